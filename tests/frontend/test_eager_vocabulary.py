"""Cases of every function of the vocabulary, remembered and not: the same bits and dtypes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.vocabulary import run
from tests.vocabulary.spec import Case
from tracejit.frontend import eager
from tracejit.frontend.array import Array

#: a setting under which calls are made as ever
AS_EVER = {"log_compiles": True}


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, to the bit, or what it raises."""
    try:
        result = call()
    except Exception as error:
        return type(error), getattr(error, "what", str(error)), getattr(error, "hint", "")
    leaves, structure = tj.tree.flatten(result)
    return structure, [described(leaf) for leaf in leaves]


def described(leaf: Any) -> Any:
    if isinstance(leaf, Array):
        data = np.asarray(leaf)
        return "Array", data.dtype, data.shape, leaf.weak_type, data.tobytes()
    if isinstance(leaf, np.ndarray | np.generic):
        return type(leaf), leaf.dtype, leaf.shape, leaf.tobytes()
    return type(leaf), "" if callable(leaf) else repr(leaf)


#: cases of one function that are run here; ``EAGER_CASES=all`` runs them all
MOST_CASES = 10_000 if os.environ.get("EAGER_CASES") == "all" else 2


def arguments() -> list[Any]:
    found: dict[str, list[Any]] = {}
    for name, case in run.cases():
        of_function = found.setdefault(case.name, [])
        if not name.startswith("import-") and len(of_function) < MOST_CASES:
            of_function.append(pytest.param(name, case, id=name))
    return [param for of_function in found.values() for param in of_function]


@pytest.mark.parametrize(("name", "case"), arguments())
def test_same_as_ever(name: str, case: Case) -> None:
    """The third call does again what the second one did, here with other values."""
    dtype = run.first_dtype(case)
    calls = [run.Call.of(case, name, dtype, sample) for sample in range(2)]
    given = [tuple(map(jnp.array, call.arrays)) for call in calls]
    runs = [lambda c=c, a=a: c.ours(*a) for c, a in zip(calls, given, strict=True)]
    with tj.settings(**AS_EVER):
        expected = [outcome(one) for one in runs]
    assert not any(isinstance(one[0], type) for one in expected), expected
    before = [[np.asarray(x).tobytes() for x in arrays] for arrays in given]
    for k in (0, 0, 1, 0):
        assert outcome(runs[k]) == expected[k]
    assert before == [[np.asarray(x).tobytes() for x in arrays] for arrays in given]


def test_most_functions_are_remembered() -> None:
    """Of the public functions that the cases call, with Arrays, most come to a Tape."""
    eager.forget()
    taped, others = set(), set()
    for name, case in run.cases():
        function = None if name.startswith("import-") else run.provided(case.name)
        memory = getattr(function, "memory", None)
        if memory is None or case.name in taped:
            continue
        call = run.Call.of(case, name, run.first_dtype(case))
        arrays = tuple(map(jnp.array, call.arrays))
        for _ in range(2):
            outcome(lambda call=call, arrays=arrays: call.ours(*arrays))
        (taped if any(memory.tapes.values()) else others).add(case.name)
    others -= taped
    assert len(taped) > 4 * len(others), sorted(others)
