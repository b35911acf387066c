"""Kernels of matrix products against the NumPy meaning of ``dot_general``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernel.test_conv import arrays, close, run_compiled
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel import interp
from tracejit.kernel.matmul import matmul_kernel
from tracejit.kernel.verify import verify
from tracejit.ops.dot import dot_general

NONE: Any = ((), ())
PLAIN = (((1,), (0,)), NONE)
ROWS = (((1,), (1,)), NONE)
BATCHED = (((2,), (1,)), ((0,), (0,)))
CASES = [
    ((3, 4), (4, 5), PLAIN, "f32", None),
    ((3, 4), (4, 5), PLAIN, "i32", None),
    ((3, 4), (4, 5), PLAIN, "u8", "u32"),
    ((3, 4), (4, 5), PLAIN, "bool", None),
    ((3, 4), (4, 5), PLAIN, "f16", None),
    ((3, 4), (4, 5), PLAIN, "bf16", None),
    ((3, 6), (5, 6), ROWS, "f64", None),
    ((3, 21), (5, 21), ROWS, "bool", None),
    ((5, 3), (5, 4), (((0,), (0,)), NONE), "f32", None),
    ((2, 3, 4), (2, 4, 5), BATCHED, "f32", None),
    ((4,), (4,), (((0,), (0,)), NONE), "f32", None),
    ((3,), (5,), (NONE, NONE), "f32", None),
    ((), (), (NONE, NONE), "f32", None),
    ((3, 2, 5, 4), (4, 5, 7, 2), (((3, 2), (0, 1)), ((1,), (3,))), "f32", None),
    ((2, 5, 3, 4), (2, 6, 3, 4), (((3,), (3,)), ((0, 2), (0, 2))), "f32", None),
    ((2, 3, 4), (4, 5, 2), (((2,), (0,)), NONE), "f32", None),
]


def made(a: np.ndarray, b: np.ndarray, p: dict[str, Any], width: int) -> Any:
    types = (TensorType(a.dtype, a.shape), TensorType(b.dtype, b.shape))
    out = dot_general.infer(*types, **p)
    kernel = matmul_kernel(*types, out, p, width)
    verify(kernel)
    return kernel, np.full(out.shape, 1, out.dtype)


@pytest.mark.parametrize("a,b,numbers,dtype,preferred", CASES, ids=range(len(CASES)))
def test_small(a: Any, b: Any, numbers: Any, dtype: str, preferred: str | None) -> None:
    lhs, rhs = arrays(a, b, dtype)
    element = None if preferred is None else DTYPES[preferred]
    p = {"dimension_numbers": numbers, "preferred_element_type": element}
    wanted = dot_general.numpy(lhs, rhs, **p)  # type: ignore[misc]
    kernel, out = made(lhs, rhs, p, 4)
    interp.run(kernel, {"lhs": lhs, "rhs": rhs, "out": out}, {})
    close(out, wanted, dtype)
    kernel, out = made(lhs, rhs, p, 16)
    run_compiled(kernel, [lhs, rhs, out])
    close(out, wanted, dtype)


@pytest.mark.parametrize(
    "a,b,numbers,dtype",
    [
        ((20, 16, 16), (20, 16, 16), BATCHED, "f32"),
        ((6, 33, 50), (6, 50, 70), BATCHED, "f64"),
        ((6, 33, 50), (6, 70, 50), (((2,), (2,)), ((0,), (0,))), "f32"),
        ((6, 50, 33), (6, 50, 70), (((1,), (1,)), ((0,), (0,))), "f32"),
        ((65, 130), (130, 90), PLAIN, "i16"),
        ((65, 130), (130, 90), PLAIN, "bf16"),
        ((1, 130), (90, 130), ROWS, "f32"),
        ((130, 65), (90, 130), (((0,), (1,)), NONE), "i64"),
    ],
)
@pytest.mark.parametrize("width", [16, 8])
def test_medium(a: Any, b: Any, numbers: Any, dtype: str, width: int) -> None:
    lhs, rhs = arrays(a, b, dtype)
    p = {"dimension_numbers": numbers, "preferred_element_type": None}
    kernel, out = made(lhs, rhs, p, width)
    run_compiled(kernel, [lhs, rhs, out])
    close(out, dot_general.numpy(lhs, rhs, **p), dtype)  # type: ignore[misc]
