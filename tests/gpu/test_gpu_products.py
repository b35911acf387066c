"""Products and convolutions that no library takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.gpu.cuda_kernels import host
from tests.gpu.run_lowered import garbage, run_chain, run_on
from tests.gpu.test_custom import TARGET
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.kernel.gpu import products
from tracejit.kernel.gpu.products import conv_gpu, matmul_gpu
from tracejit.runtime.gpu.device import Device
from tracejit.transform import PRIMS

DOT, CONV = PRIMS["dot_general"], PRIMS["conv_general_dilated"]


def operands(dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Small whole numbers: their products and sums are exact."""
    rng = np.random.default_rng(0)
    found = [rng.integers(0, 3, shape).astype(DTYPES[dtype]) for shape in shapes]
    return [x - np.asarray(1, x.dtype) if kind(x.dtype) in "if" else x for x in found]


def check(
    prim: Any, arrays: list[np.ndarray], params: dict[str, Any], device: Device | None = None
) -> None:
    types = [TensorType(a.dtype, a.shape) for a in arrays]
    out = prim.infer(*types, **params)
    make = matmul_gpu if prim is DOT else conv_gpu
    lowered = make(*types, out, params, TARGET)
    result = garbage(out)
    memory = [*arrays, result, *map(garbage, lowered.scratch)]
    if device is None:
        run_chain(lowered, memory)
    else:
        run_on(device, lowered, memory)
    wanted = prim.rule("numpy")(*arrays, **params)
    assert np.array_equal(result, wanted), (result, wanted)


def numbers(lhs: Any, rhs: Any, lhs_batch: Any = (), rhs_batch: Any = ()) -> dict[str, Any]:
    dims = ((lhs, rhs), (lhs_batch, rhs_batch))
    return {"dimension_numbers": dims, "preferred_element_type": None}


SHAPES = (
    ((17, 9), (9, 20), numbers((1,), (0,))),
    ((9, 15), (9, 13), numbers((0,), (0,))),
    ((13, 20), (14, 20), numbers((1,), (1,))),
    ((2, 13, 5), (2, 5, 12), numbers((2,), (1,), (0,), (0,))),
    ((12, 2, 3), (3, 2, 13), numbers((1, 2), (1, 0))),
    ((3, 100), (100,), numbers((1,), (0,))),
    ((70,), (70,), numbers((0,), (0,))),
    ((4, 3), (3, 40), numbers((1,), (0,))),
    ((13, 0), (0, 14), numbers((1,), (0,))),
    ((3, 0), (0, 2), numbers((1,), (0,))),
    ((0, 3), (3, 2), numbers((1,), (0,))),
)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that the interpreter is done with soon."""
    monkeypatch.setattr(products, "TILE", 16)
    monkeypatch.setattr(products, "SIDE", 8)
    monkeypatch.setattr(products, "STEPS", 8)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("left, right, params", SHAPES)
def test_products(left: Any, right: Any, params: dict[str, Any]) -> None:
    check(DOT, operands("i32", left, right), params)


@pytest.mark.parametrize("dtype", ("bool", "i8", "u64", "f16", "bf16", "f64", "c64"))
def test_products_of_dtypes(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TILE", "SIDE", "STEPS"):
        monkeypatch.setattr(products, name, 8)
    for left, right, params in (((13, 5), (5, 12), SHAPES[0][2]), SHAPES[5]):
        check(DOT, operands(dtype, left, right), params)


@pytest.mark.usefixtures("small_tiles")
def test_a_product_of_several_tiles() -> None:
    check(DOT, operands("i32", (2, 14, 10), (2, 10, 19)), numbers((2,), (1,), (0,), (0,)))


def test_as_cuda_c() -> None:
    """Compiled and run in several orders of threads, every access checked."""
    device = host(orders=(0, 1, 7), checks=True)
    for dtype in ("i32", "f16", "bool"):
        check(DOT, operands(dtype, (130, 40), (40, 70)), numbers((1,), (0,)), device)
    check(DOT, operands("f32", (3, 200), (50, 200)), numbers((1,), (1,)), device)
    for left, right, params in CONVOLUTIONS[:3]:
        check(CONV, operands("f32", left, right), params, device)


def convolution(
    rank: int, *, groups: int = 1, batch_groups: int = 1, last: bool = False, **given: Any
) -> dict[str, Any]:
    ones = (1,) * rank
    first = tuple(range(rank + 2))
    turned = (0, rank + 1, *range(1, rank + 1))
    specs = (turned, (rank + 1, rank, *range(rank)), turned) if last else (first,) * 3
    return {
        "window_strides": ones,
        "padding": ((0, 0),) * rank,
        "lhs_dilation": ones,
        "rhs_dilation": ones,
        "dimension_numbers": specs,
        "feature_group_count": groups,
        "batch_group_count": batch_groups,
        "preferred_element_type": None,
        **given,
    }


CONVOLUTIONS = (
    ((2, 3, 6, 5), (4, 3, 3, 2), convolution(2, padding=((1, 1), (0, 1)), window_strides=(2, 1))),
    ((2, 6, 5, 3), (3, 2, 3, 4), convolution(2, last=True, padding=((2, 0), (-1, 1)))),
    ((1, 4, 9), (6, 2, 3), convolution(1, groups=2, rhs_dilation=(2,))),
    ((2, 2, 5), (3, 2, 3), convolution(1, lhs_dilation=(3,), padding=((2, 1),))),
    ((4, 2, 5), (4, 2, 2), convolution(1, batch_groups=2)),
    ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), convolution(3)),
    ((3, 2), (5, 2), convolution(0)),
    ((1, 2, 2), (3, 2, 4), convolution(1)),
)


@pytest.mark.parametrize("left, right, params", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", ("i32", "f16"))
def test_convolutions(left: Any, right: Any, params: dict[str, Any], dtype: str) -> None:
    check(CONV, operands(dtype, left, right), params)


def test_other_rows_have_the_same_kernel() -> None:
    kernels = set()
    for rows in (40, 50, 200):
        types = [TensorType(DTYPES["i32"], s) for s in ((rows, 70), (70, 30))]
        params = numbers((1,), (0,))
        kernels.add(matmul_gpu(*types, DOT.infer(*types, **params), params, TARGET).kernel)
    assert len(kernels) == 1


def test_another_batch_has_the_same_kernel() -> None:
    params = convolution(2)
    kernels = set()
    for batch in (40, 50):
        types = [TensorType(DTYPES["i32"], s) for s in ((batch, 3, 8, 8), (4, 3, 3, 3))]
        kernels.add(conv_gpu(*types, CONV.infer(*types, **params), params, TARGET).kernel)
    assert len(kernels) == 1
