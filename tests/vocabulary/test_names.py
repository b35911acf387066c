"""Every listed name is there with JAX's or NumPy's signature, or docs/not-provided.md says why."""

from __future__ import annotations

import pytest

from tests.vocabulary import names, run

SPACES = sorted(names.listed())


@pytest.mark.parametrize("space", SPACES)
def test_names_are_provided_or_say_why_not(space: str) -> None:
    said = names.not_provided()
    paths = [f"{space}.{name}" for name in names.listed()[space]]
    silent = [path for path in paths if path not in said and not names.is_provided(path)]
    assert not silent, f"neither there nor in {names.ABSENT.name}: {', '.join(silent)}"


def test_what_is_not_provided_is_not_there() -> None:
    both = [path for path in names.not_provided() if names.is_provided(path)]
    assert not both, f"there, though {names.ABSENT.name} says they are not: {', '.join(both)}"


@pytest.mark.parametrize("space", SPACES)
def test_signatures(space: str) -> None:
    """A call that JAX (or NumPy, or SciPy) takes means the same here."""
    try:
        run.jax()
    except ModuleNotFoundError:
        pytest.skip("JAX is not installed")
    wrong = [
        f"{path}: {what}"
        for name in names.listed()[space]
        if (path := f"{space}.{name}") not in names.DIFFERENT
        and names.is_provided(path)
        and (what := names.wrong_signature(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_different_signatures_are_different() -> None:
    """The list of exceptions holds none that are no more."""
    try:
        run.jax()
    except ModuleNotFoundError:
        pytest.skip("JAX is not installed")
    stale = [
        path
        for path in names.DIFFERENT
        if names.is_provided(path) and not names.wrong_signature(path)
    ]
    assert not stale, f"these have JAX's signature: {', '.join(stale)}"
