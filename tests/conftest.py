"""What all tests share: golden texts, the gpu marker, how many examples hypothesis draws.

def test_text(golden):
    golden(str(graph))  # compared with tests/golden/<folder>/<file>/<test>.txt
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from tracejit import doctor
from tracejit.config import config as settings_in_force

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden"

hypothesis.settings.register_profile(
    "default",
    max_examples=20,
    deadline=None,  # the first example of a test may compile
    derandomize=True,  # a run of CI gives the same verdict on the same commit
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("default")


def pytest_configure() -> None:
    """What the user's disk cache holds has no part in tests, nor in processes they start. Tests run
    the best code at once; those of the tiers say so.
    """
    for name in ("cache", "tiers"):
        os.environ[f"TRACEJIT_{name.upper()}"] = "off"
        settings_in_force.update(name, "off")
    if folder := os.environ.get("COLLECT_GRAPHS"):  # tests/gpu/suite.py reads them
        from tests.gpu import collect

        collect.start(folder)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Workers for the whole suite; a file or a folder runs in this process, without their start."""
    whole = {TESTS, TESTS.parent}
    if any(
        (config.invocation_params.dir / argument).resolve() in whole for argument in config.args
    ):
        return None  # xdist's own count: one worker for each CPU
    return 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (why := doctor.gpu()[1]):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {why}"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Compare a text with its stored form; a second text of one test needs a ``name``."""
    folder = GOLDEN / request.path.relative_to(TESTS).with_suffix("")

    def check(text: str, name: str = "") -> None:
        stem = "-".join(filter(None, (request.node.name, name)))
        path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', stem).strip('-')}.txt"
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        stored = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != stored:
            lines = difflib.unified_diff(
                stored.splitlines(), text.splitlines(), "stored", "now", lineterm=""
            )
            where = path.relative_to(TESTS.parent)
            pytest.fail(
                f"{where} differs; if the change is meant, run pytest with --update-golden\n"
                + "\n".join(lines),
                pytrace=False,
            )

    return check
