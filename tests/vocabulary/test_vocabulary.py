"""Every case of this folder: against its reference, under jit, under vmap, and its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tests.vocabulary import run
from tests.vocabulary.spec import Case
from tracejit.test_util import check_grads


def params(wanted: Callable[[Case], bool]) -> list[Any]:
    return [pytest.param(name, case, id=name) for name, case in run.cases() if wanted(case)]


def values() -> list[Any]:
    return [
        pytest.param(name, case, dtype, id=f"{name}-{dtype}")
        for name, case in run.cases()
        for dtype in (case.dtypes if run.has_free_arrays(case) else case.dtypes[-1:])
    ]


@pytest.mark.parametrize(("name", "case", "dtype"), values())
def test_value(name: str, case: Case, dtype: str) -> None:
    if name.startswith("import-"):
        case.same(None, None)
    call = run.Call.of(case, name, dtype)
    ours = call.ours()
    try:
        theirs = call.theirs()
        exact = run.is_numpy(case) and case.check_dtype is True
    except run.NoReference as error:
        pytest.skip(str(error))
    run.assert_same(ours, theirs, call, dtype=exact, of_numpy=True)


@pytest.mark.parametrize(("name", "case"), params(lambda c: c.jit is True and run.has_arrays(c)))
def test_jit(name: str, case: Case) -> None:
    call = run.Call.of(case, name, run.first_dtype(case))
    run.assert_same(tj.jit(call.ours)(*call.arrays), call.ours(), call)


def batched(case: Case) -> bool:
    return not isinstance(case.vmap, str) and run.has_arrays(case)


@pytest.mark.parametrize(("name", "case"), params(batched))
def test_vmap(name: str, case: Case) -> None:
    """Over all drawn arrays, or those whose positions among them the case lists."""
    samples = [run.Call.of(case, name, run.first_dtype(case), k) for k in range(2)]
    first = samples[0]
    places = range(len(first.arrays)) if case.vmap is True else case.vmap
    axes = [0 if k in places else None for k in range(len(first.arrays))]
    singles = [
        [s.arrays[k] if axis == 0 else first.arrays[k] for k, axis in enumerate(axes)]
        for s in samples
    ]
    whole = [
        np.stack(both) if axis == 0 else both[0]
        for axis, both in zip(axes, zip(*singles, strict=True), strict=True)
    ]
    found = tj.vmap(first.ours, in_axes=tuple(axes))(*whole)
    for k, arrays in enumerate(singles):
        one = tj.tree.map(lambda leaf, k=k: leaf[k], found)
        run.assert_same(one, first.ours(*arrays), first)


@pytest.mark.parametrize(("name", "case"), params(run.has_gradient))
def test_grad(name: str, case: Case) -> None:
    """Forward and reverse mode against differences, in the arrays that are not fixed."""
    call = run.Call.of(case, name, run.wide_dtype(case))
    places = [k for k, draw in enumerate(call.draws) if not draw.fixed]
    results: list[Any] = []

    def smooth(*xs: Any) -> Any:
        arrays = list(call.arrays)
        for k, x in zip(places, xs, strict=True):
            arrays[k] = x
        results.append([leaf for leaf in run_leaves(call.ours(*arrays)) if leaf.dtype.kind in "fc"])
        return results[-1]

    tol = max(1e-6, 100 * case.tol)
    check_grads(smooth, tuple(call.arrays[k] for k in places), 1, rtol=tol, atol=tol)
    assert results[0], "the result holds no floating array: say grad='no float result'"


def run_leaves(result: Any) -> list[Any]:
    """The Arrays of a result, traced or not."""
    return [leaf for leaf in tj.tree.leaves(result) if hasattr(leaf, "dtype")]
