"""Kernels of convolutions against the NumPy meaning of the record, interpreted and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracejit.codegen.llvm import print_llvm
from tracejit.errors import InternalError
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel import conv_features, interp
from tracejit.kernel.conv import conv_kernel
from tracejit.kernel.nodes import Kernel, Loop
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify
from tracejit.ops.conv import conv_general_dilated
from tracejit.passes.conv_plan import choose_plan, geometry
from tracejit.runtime import native

LAST = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
MIXED = ((2, 0, 3, 1), (1, 3, 2, 0), (3, 1, 0, 2))


def params(rank: int, **given: Any) -> dict[str, Any]:
    base = {
        "window_strides": (1,) * rank,
        "padding": ((0, 0),) * rank,
        "lhs_dilation": (1,) * rank,
        "rhs_dilation": (1,) * rank,
        "dimension_numbers": (tuple(range(rank + 2)),) * 3,
        "feature_group_count": 1,
        "batch_group_count": 1,
        "preferred_element_type": None,
    }
    return {**base, **given}


def arrays(a: Any, b: Any, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    if dtype == "bool":
        return random.random(a) < 0.3, random.random(b) < 0.3
    scale = 3 if dtype[0] in "iu" else 1
    return tuple(
        np.asarray(random.standard_normal(n) * scale).astype(DTYPES[dtype])
        if dtype[0] != "u"
        else random.integers(0, 9, n).astype(DTYPES[dtype])
        for n in (a, b)
    )  # type: ignore[return-value]


def made(
    lhs: np.ndarray, rhs: np.ndarray, p: dict[str, Any], width: int, plan: str | None = None
) -> tuple[Kernel, Any]:
    types = (TensorType(lhs.dtype, lhs.shape), TensorType(rhs.dtype, rhs.shape))
    out = conv_general_dilated.infer(*types, **p)
    kernel = conv_kernel(*types, out, p, width, plan=plan)
    verify(kernel)
    return kernel, np.full(out.shape, 77, out.dtype)


def run_compiled(kernel: Kernel, buffers: list[np.ndarray], threads: int = 2) -> None:
    code = native.compile_llvm(print_llvm(kernel, native.host_target()), [kernel.name])
    extent = next((s.stop.value for s in kernel.body if isinstance(s, Loop)), 0)  # type: ignore[attr-defined]
    native.call_kernel(code.addresses[kernel.name], buffers, [], 0, extent, threads)


def close(got: np.ndarray, wanted: np.ndarray, dtype: str) -> None:
    exact = dtype[0] in "iu" or dtype == "bool"
    tolerance = {"f16": 2e-3, "bf16": 2e-2, "f64": 1e-12}.get(dtype, 2e-5)
    assert got.dtype == wanted.dtype
    if exact:
        np.testing.assert_array_equal(got, wanted)
    else:
        scale = max(1.0, float(np.abs(wanted.astype(np.float64)).max()))
        np.testing.assert_allclose(
            got.astype(np.float64), wanted.astype(np.float64), atol=tolerance * scale
        )


TINY = [
    ((2, 2, 5, 6), (3, 2, 3, 3), params(2), "f32"),
    ((1, 3, 4, 5), (5, 3, 1, 1), params(2), "f64"),
    ((2, 2, 9), (3, 2, 3), params(1, rhs_dilation=(2,)), "f32"),
    ((1, 2, 3, 4, 5), (2, 2, 2, 2, 3), params(3), "f32"),
    ((1, 4, 6, 7), (4, 1, 3, 3), params(2, feature_group_count=4), "f32"),
    ((4, 3, 5), (6, 3, 2), params(1, batch_group_count=2), "f32"),
    ((2, 3, 6), (4, 3, 3), params(1), "i32"),
    ((2, 3, 6), (4, 3, 3), params(1), "bool"),
    ((2, 3, 6), (4, 3, 3), params(1, preferred_element_type=DTYPES["f32"]), "f16"),
    ((2, 2, 7, 8), (3, 2, 3, 3), params(2, window_strides=(2, 3)), "f32"),
    ((2, 5, 6, 3), (3, 3, 3, 4), params(2, dimension_numbers=LAST), "f32"),
    (
        (1, 4, 5, 6),
        (3, 3, 1, 6),
        params(2, dimension_numbers=LAST, feature_group_count=6),
        "f32",
    ),
    ((3, 5, 2, 6), (2, 4, 3, 3), params(2, dimension_numbers=MIXED), "f32"),
    ((3, 4), (5, 4), params(0), "f32"),
    ((2, 2, 6, 7), (3, 2, 5, 6), params(2), "bf16"),
    ((2, 2, 4, 11), (3, 2, 3, 9), params(2), "f32"),
    ((4, 3, 9, 12), (4, 3, 8, 9), params(2, batch_group_count=2), "f64"),
]


@pytest.mark.parametrize("plan", ["pixels", "features", "window"])
@pytest.mark.parametrize("a,b,p,dtype", TINY, ids=range(len(TINY)))
def test_interpreted_and_compiled(plan: str, a: Any, b: Any, p: Any, dtype: str) -> None:
    lhs, rhs = arrays(a, b, dtype)
    wanted = conv_general_dilated.numpy(lhs, rhs, **p)  # type: ignore[misc]
    kernel, out = made(lhs, rhs, p, 4, plan)
    assert parse(show(kernel)) == kernel
    interp.run(kernel, {"lhs": lhs, "rhs": rhs, "out": out}, {})
    close(out, wanted, dtype)
    types = [TensorType(x.dtype, x.shape) for x in (lhs, rhs)]
    if plan == choose_plan(geometry(*types, p)):
        kernel, out = made(lhs, rhs, p, 16, plan)
        run_compiled(kernel, [lhs, rhs, out])
        close(out, wanted, dtype)


MEDIUM = [
    ((2, 16, 30, 30), (20, 16, 3, 3), params(2), "f32"),
    ((1, 7, 58, 58), (9, 7, 3, 3), params(2), "f32"),
    ((2, 24, 14, 14), (40, 24, 1, 1), params(2), "f32"),
    ((2, 32, 9, 9), (48, 32, 3, 3), params(2), "f32"),
    ((2, 8, 33, 40), (24, 8, 3, 5), params(2, window_strides=(2, 2)), "f32"),
    ((2, 16, 20, 20), (24, 16, 3, 3), params(2, rhs_dilation=(2, 2)), "f64"),
    ((2, 20, 23, 17), (3, 3, 17, 40), params(2, dimension_numbers=LAST), "f32"),
    ((2, 12, 20, 20), (12, 1, 3, 3), params(2, feature_group_count=12), "f32"),
    ((2, 12, 30, 30), (18, 4, 3, 3), params(2, feature_group_count=3), "f32"),
    ((2, 4, 9, 10, 20), (6, 4, 3, 3, 3), params(3), "f32"),
    ((5, 8, 26, 40), (9, 8, 24, 38), params(2), "f32"),
    ((3, 6, 40), (4, 6, 30), params(1), "f32"),
    ((2, 16, 24, 24), (24, 16, 3, 3), params(2), "f16"),
    ((2, 4, 224, 40), (3, 4, 3, 3), params(2), "f32"),
    # rows too long for scratch
    ((1, 3, 9003), (17, 3, 5), params(1, window_strides=(2,)), "f32"),
    ((1, 3, 4, 9003), (9, 3, 2, 4), params(2), "f32"),
]


@pytest.mark.parametrize("a,b,p,dtype", MEDIUM, ids=range(len(MEDIUM)))
@pytest.mark.parametrize("width", [16, 8])
def test_compiled(a: Any, b: Any, p: Any, dtype: str, width: int) -> None:
    lhs, rhs = arrays(a, b, dtype)
    if p["dimension_numbers"] is LAST:
        assert a[3] == b[2]
    wanted = conv_general_dilated.numpy(lhs, rhs, **p)  # type: ignore[misc]
    kernel, out = made(lhs, rhs, p, width)
    run_compiled(kernel, [lhs, rhs, out])
    close(out, wanted, dtype)


def test_gradient_of_weights_channels_last() -> None:
    """The result's pixels are a kernel's, its images the input's channels."""
    specs = ((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))
    lhs, rhs = arrays((3, 10, 10, 20), (3, 8, 8, 40), "f32")
    p = params(2, dimension_numbers=specs)
    wanted = conv_general_dilated.numpy(lhs, rhs, **p)  # type: ignore[misc]
    kernel, out = made(lhs, rhs, p, 16)
    assert out.shape == (3, 3, 20, 40)
    run_compiled(kernel, [lhs, rhs, out])
    close(out, wanted, "f32")


def test_choice_of_plan() -> None:
    def plan(a: Any, b: Any, **given: Any) -> str:
        types = [TensorType(DTYPES["f32"], shape) for shape in (a, b)]
        return choose_plan(geometry(*types, params(2, **given)))

    exchanged = ((1, 0, 2, 3),) * 3
    image = (8, 64, 58, 58)
    assert plan(image, (64, 64, 3, 3)) == "pixels"
    assert plan(image, (64, 64, 3, 3), window_strides=(2, 2)) == "features"
    assert plan(image, (64, 1, 3, 3), feature_group_count=64) == "pixels"
    assert plan(image, (8, 64, 56, 56), dimension_numbers=exchanged) == "window"
    assert plan((8, 58, 58, 64), (3, 3, 64, 64), dimension_numbers=LAST) == "features"
    assert plan((8, 512, 9, 9), (512, 512, 3, 3)) == "features"


def test_gaps_and_padding_are_refused() -> None:
    lhs, rhs = arrays((1, 1, 4), (1, 1, 3), "f32")
    with pytest.raises(InternalError, match="gaps filled"):
        made(lhs, rhs, params(1, lhs_dilation=(2,)), 4)
    for plan in ("pixels", "window"):
        with pytest.raises(InternalError, match="padded by a node of its own"):
            made(lhs, rhs, params(1, padding=((1, 1),)), 4, plan)
    depthwise = params(1, padding=((1, 1),), feature_group_count=2)
    with pytest.raises(InternalError, match="padded by a node of its own"):
        made(*arrays((1, 2, 4), (2, 1, 3), "f32"), depthwise, 4)


PADDED = [
    ((2, 3, 5, 6), (4, 3, 3, 3), params(2, padding=((1, 1), (1, 1))), "f32"),
    ((1, 2, 6, 40), (3, 2, 3, 5), params(2, padding=((2, 0), (1, 3))), "f32"),
    ((1, 5, 9, 3), (3, 3, 3, 9), params(2, padding=((1, 1),) * 2, dimension_numbers=LAST), "f32"),
    (
        (1, 5, 34, 2),
        (5, 5, 2, 5),
        params(2, window_strides=(2, 2), padding=((2, 2), (2, 1)), dimension_numbers=LAST),
        "f32",
    ),
    (
        (1, 7, 9, 2),
        (3, 3, 2, 5),
        params(2, rhs_dilation=(2, 3), padding=((2, 3), (3, 1)), dimension_numbers=LAST),
        "f64",
    ),
    (
        (1, 7, 8, 6),
        (3, 3, 2, 9),
        params(2, padding=((1, 1),) * 2, dimension_numbers=LAST, feature_group_count=3),
        "f32",
    ),
    ((4, 3, 9), (6, 3, 4), params(1, padding=((3, 5),), batch_group_count=2), "f32"),
    ((1, 2, 3, 4, 5), (3, 2, 2, 3, 3), params(3, padding=((1, 0), (1, 1), (0, 2))), "f32"),
    ((2, 3, 8, 9), (4, 3, 3, 3), params(2, padding=((-1, 2), (1, -2))), "f32"),
    ((2, 3, 1, 2), (4, 3, 5, 3), params(2, padding=((2, 2), (2, 2))), "i32"),
    ((2, 3, 5, 6), (4, 3, 3, 3), params(2, padding=((1, 1), (1, 1))), "bf16"),
    # rows so wide that zeros are read at their ends
    (
        (1, 3, 45, 2),
        (3, 4, 2, 5),
        params(2, padding=((1, 1), (2, 3)), dimension_numbers=LAST),
        "f32",
    ),
    (
        (1, 2, 3, 66),
        (3, 2, 3, 3),
        params(2, window_strides=(1, 2), rhs_dilation=(1, 4), padding=((1, 1), (4, 3))),
        "f64",
    ),
    # the gradient of weights: pixels of the result are few, images lie side by side
    ((2, 5, 6, 4), (2, 5, 6, 5), params(2, padding=((1, 1),) * 2, dimension_numbers=MIXED), "f32"),
]


@pytest.mark.parametrize("a,b,p,dtype", PADDED, ids=range(len(PADDED)))
def test_padding_left_out(a: Any, b: Any, p: Any, dtype: str) -> None:
    if p["dimension_numbers"] is MIXED:
        p = {**p, "dimension_numbers": ((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))}
    lhs, rhs = arrays(a, b, dtype)
    wanted = conv_general_dilated.numpy(lhs, rhs, **p)  # type: ignore[misc]
    kernel, out = made(lhs, rhs, p, 4)
    assert parse(show(kernel)) == kernel
    interp.run(kernel, {"lhs": lhs, "rhs": rhs, "out": out}, {})
    close(out, wanted, dtype)
    kernel, out = made(lhs, rhs, p, 16)
    run_compiled(kernel, [lhs, rhs, out])
    close(out, wanted, dtype)


def test_sums_held_while_a_large_operand_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_features, "ONCE_BYTES", 100)
    monkeypatch.setattr(conv_features, "LONG", 9)
    images = ((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))
    for padding in (((0, 0),) * 2, ((1, 1),) * 2):
        for numbers, *shapes in (
            (images, (2, 5, 4, 3), (2, 4, 3, 17)),
            (MIXED, (2, 4, 2, 5), (3, 5, 4, 2)),
        ):
            p = params(2, padding=padding, dimension_numbers=numbers)
            lhs, rhs = arrays(*shapes, "f32")
            wanted = conv_general_dilated.numpy(lhs, rhs, **p)  # type: ignore[misc]
            kernel, out = made(lhs, rhs, p, 4, "features")
            interp.run(kernel, {"lhs": lhs, "rhs": rhs, "out": out}, {})
            close(out, wanted, "f32")
            kernel, out = made(lhs, rhs, p, 16, "features")
            run_compiled(kernel, [lhs, rhs, out])
            close(out, wanted, "f32")


def test_nothing_to_compute() -> None:
    lhs, rhs = arrays((0, 1, 4), (1, 1, 3), "f32")
    kernel, _ = made(lhs, rhs, params(1), 4)
    assert kernel.body == ()
