"""Compiled programs against the interpreter: each of the table with LLVM, a few with Numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree
import pytest

import tracejit as tj
from tests.programs.table import PROGRAMS
from tracejit.ir.types import kind, real_dtype

#: few: Numba compiles slowly
NUMBA = "softmax-33 layouts gathers recurrence nested floats-bfloat16 integers-int32".split()


def assert_close(found: Any, wanted: Any) -> None:
    """The same tree of arrays, floats within some rounding errors of the largest."""
    a, tree = optree.tree_flatten(found)
    b, wanted_tree = optree.tree_flatten(wanted)
    assert tree == wanted_tree
    for got, want in zip(map(np.asarray, a), map(np.asarray, b), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        if kind(want.dtype) not in "fc" or not want.size:
            np.testing.assert_array_equal(got, want)
            continue
        wide = np.complex128 if kind(want.dtype) == "c" else np.float64
        eps = {2: 8e-3, 4: 1.2e-7, 8: 2.3e-16}[real_dtype(want.dtype).itemsize]
        got, want = got.astype(wide), want.astype(wide)
        np.testing.assert_allclose(
            got, want, rtol=0, atol=100 * eps * max(1.0, float(np.nanmax(np.abs(want))))
        )


@pytest.mark.parametrize("name", PROGRAMS)
def test_llvm(name: str) -> None:
    function, args = PROGRAMS[name]
    wanted = tj.jit(function, mode="fast_compile")(*args)
    compiled = tj.jit(function, backend="llvm", threads=2)
    assert_close(compiled(*args), wanted)
    assert_close(compiled(*args), wanted)


@pytest.mark.parametrize("name", NUMBA)
def test_numba(name: str) -> None:
    function, args = PROGRAMS[name]
    wanted = tj.jit(function, mode="fast_compile")(*args)
    assert_close(tj.jit(function, backend="numba")(*args), wanted)
