"""Kernels of the adjoints of pooling and of strided reads, against the NumPy meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ops.op_checks import Case
from tests.ops.test_lower import agree, check, check_kernel, compiled, drawn, kinds
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops import PRIMS
from tracejit.ops.window import result_shape, window_params

RANDOM = np.random.default_rng(5)

#: shape, window, strides, padding, dilation of the window
WINDOWS: list[tuple[Any, ...]] = [
    ((3, 4, 10), (1, 2, 2), (1, 2, 2), None, None),
    ((2, 7, 9), (1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 0)), None),
    ((2, 5, 37), (1, 3, 3), None, ((0, 0), (1, 1), (1, 1)), None),
    ((2, 7, 6, 20), (1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (1, 2), (0, 1), (0, 0)), None),
    ((1, 8, 8, 9), (1, 2, 2, 1), (1, 2, 2, 1), None, None),
    ((40,), (3,), (2,), ((2, 2),), (2,)),
    ((3, 30), (1, 2), (1, 3), ((0, 0), (-1, 1)), None),
    ((2, 4, 5, 6, 8), (1, 2, 3, 2, 1), (1, 2, 2, 1, 1), None, None),
    ((9, 16), (4, 1), (1, 1), ((3, 3), (0, 0)), None),
    # rows to clear begin with the window's own number
    ((1, 6, 1, 21), (1, 2, 1, 1), (1, 1, 1, 1), ((0, 0), (1, 1), (0, 0), (0, 0)), None),
]


def cases() -> list[Any]:
    return [
        pytest.param(shape, window_params(window, strides, padding, None, dilation), id=f"{k}")
        for k, (shape, window, strides, padding, dilation) in enumerate(WINDOWS)
    ]


def count_of(shape: Any, p: dict[str, Any]) -> tuple[int, ...]:
    return result_shape("", TensorType(DTYPES["f32"], shape), p)


@pytest.mark.parametrize("shape, p", cases())
def test_select_and_scatter(shape: Any, p: dict[str, Any]) -> None:
    for dtype in ("f32", "f64", "bf16", "i32"):
        x, source = drawn(dtype, *shape), drawn(dtype, *count_of(shape, p))
        for select in ("ge", "le"):
            with np.errstate(all="ignore"):
                check("select_and_scatter_add", source, x, select=select, **p)


def test_rows_of_nan_and_of_the_identity() -> None:
    p = window_params((1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 1)))
    for fill in (np.nan, -np.inf, np.inf):
        x = np.full((1, 9, 40), fill, np.float32)
        source = RANDOM.standard_normal(count_of(x.shape, p)).astype(np.float32)
        check("select_and_scatter_add", source, x, select="ge", **p)


def test_many_planes_on_two_threads() -> None:
    for axes in ((0, 0, 1, 1), (0, 1, 1, 0)):
        window = tuple(3 if axis else 1 for axis in axes)
        strides = tuple(2 if axis else 1 for axis in axes)
        padding = tuple((1, 1) if axis else (0, 0) for axis in axes)
        p = window_params(window, strides, padding)
        shape = (4, 16, 33, 33) if axes[3] else (4, 33, 33, 16)
        x = RANDOM.standard_normal(shape).astype(np.float32)
        source = RANDOM.standard_normal(count_of(shape, p)).astype(np.float32)
        check("select_and_scatter_add", source, x, select="ge", threads=2, **p)


@pytest.mark.parametrize("shape, p", cases())
def test_dilated_sums(shape: Any, p: dict[str, Any]) -> None:
    turned = {**p, "window_strides": p["base_dilation"], "base_dilation": p["window_strides"]}
    if max(turned["base_dilation"]) == 1 or 0 in count_of(shape, turned):
        return
    for dtype in ("f32", "f64", "i32"):
        x = RANDOM.integers(-9, 9, shape).astype(DTYPES[dtype])
        check("reduce_window_sum", x, **turned)


def test_other_windows_keep_their_element_rule() -> None:
    x = RANDOM.standard_normal((4, 6, 3)).astype(np.float32)
    plain = window_params((2, 2, 1), (2, 2, 1))
    executable, found = compiled("reduce_window_sum", x, **plain)
    assert kinds(executable) == ["fused"]
    agree(found, PRIMS["reduce_window_sum"].rule("numpy")(x, **plain), rtol=1e-6)
    # three channels last are too few for lanes, and no window slides over them
    source = RANDOM.standard_normal((2, 3, 3)).astype(np.float32)
    executable, found = compiled("select_and_scatter_add", source, x, select="ge", **plain)
    assert kinds(executable) == ["fused"]
    wanted = PRIMS["select_and_scatter_add"].rule("numpy")(source, x, select="ge", **plain)
    agree(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("shape, p", cases()[1:4])
def test_kernels(shape: Any, p: dict[str, Any]) -> None:
    operand = TensorType(DTYPES["f32"], shape)
    types = [operand.with_shape(count_of(shape, p)), operand]
    check_kernel(Case(PRIMS["select_and_scatter_add"], (types, {"select": "ge", **p})))


# ---- elements that lie a few apart ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "i8", "f16", "f32", "f64"])
@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_strided_reads(step: int, dtype: str) -> None:
    for count in (1, 16, 33, 200):
        for first in (0, 1):
            x = drawn(dtype, 3, first + (count - 1) * step + 1)
            p = {"start": (0, first), "limit": x.shape, "strides": (1, step)}
            _, found = compiled("slice", x, **p)
            agree(found, x[:, first::step])


def test_strided_reads_under_a_guard() -> None:
    x = RANDOM.standard_normal((2, 75)).astype(np.float32)
    for stride in (2, 3, 4):
        p = window_params((1, 5), (1, stride), ((0, 0), (4, 3)))
        _, found = compiled("reduce_window_max", x, **p)
        agree(found, PRIMS["reduce_window_max"].rule("numpy")(x, **p))
