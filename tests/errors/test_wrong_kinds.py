"""Arguments of a wrong kind: what Python raises inside becomes an error of ours with the user's
line; what the user's own code raises stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
import tracejit.scipy.linalg
from tracejit import errors, lax, optim
from tracejit.errors import TracejitError

CALLS: dict[str, Callable[[], Any]] = {
    "polyval": lambda: jnp.polyval(1j, jnp.ones((3, 3))),
    "block": lambda: jnp.block([]),
    "patches": lambda: lax.conv_general_dilated_patches(3.0, (2,), (1,), "SAME"),
    "dot_general": lambda: lax.dot_general(jnp.ones(3), jnp.ones(3), ()),
    "lu_solve": lambda: tracejit.scipy.linalg.lu_solve(jnp.ones(3), (2, 2)),
    "rmsprop": lambda: optim.rmsprop(0.1, bias_correction=7).init(jnp.ones(2)),
    "keepdims": lambda: jnp.sum(jnp.ones(3), keepdims=jnp.ones(2)),
    "no such argument": lambda: jnp.sum(jnp.ones(3), axes=0),
    "no argument": lambda: jnp.sum(),
}


@pytest.mark.parametrize("name", CALLS)
def test_errors_are_ours(name: str) -> None:
    with pytest.raises(TracejitError) as caught:
        CALLS[name]()
    assert caught.value.at is not None and caught.value.at.file == __file__


def test_what_the_user_raises_stays() -> None:
    def fails(*_: Any) -> Any:
        raise KeyError("mine")

    for call in (
        lambda: jnp.vectorize(fails)(np.ones(3)),
        lambda: lax.map(fails, jnp.ones(3)),
        lambda: lax.cond(True, fails, fails, 1.0),
    ):
        with pytest.raises(KeyError, match="mine") as caught:
            call()
        assert not isinstance(caught.value, TracejitError)


def test_frames_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "show_internal_frames", True)
    with pytest.raises(IndexError) as caught:
        jnp.block([])
    assert not isinstance(caught.value, TracejitError)
