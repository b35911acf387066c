"""``docs/errors.md`` lists every class of error. (``tests/test_docs.py`` runs its programs.)"""

from __future__ import annotations

import re
from pathlib import Path

from tracejit import errors
from tracejit.errors import TracejitError

TEXT = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")


def test_every_class_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+Error|MissingRule|FailedAssertion)` \|([^|]*)\|", TEXT, re.M)
    classes = {c.__name__: c for c in vars(errors).values() if isinstance(c, type)}
    own = {n for n, c in classes.items() if issubclass(c, TracejitError) and c is not TracejitError}
    assert {name for name, _ in listed} == own
    for name, bases in listed:
        others = re.findall(r"`(?:numpy\.\w+\.)?(\w+)`", bases)
        assert [c.__name__ for c in classes[name].__bases__[1:]] == others, name
