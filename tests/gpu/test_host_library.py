"""Products, convolutions and attention of the device that plays a GPU, against the operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracejit.errors import DeviceError
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.gpu.library import EPILOGUES, AttentionSpec, ConvSpec, GemmSpec, Spec
from tracejit.ops.conv import conv_general_dilated
from tracejit.ops.dot import as_matmul
from tracejit.ops.fused import gelu, gelu_slope
from tracejit.ops.fused_attention import fused_attention, fused_attention_grad
from tracejit.runtime.gpu.host_device import HostDevice

rng = np.random.default_rng(3)


def run(spec: Spec, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """The operands after the call."""
    device = HostDevice()
    plan = device.library(spec)
    assert plan is not None
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    memories = {name: device.alloc(arrays[name].nbytes) for name in spec.operands}
    for name, memory in memories.items():
        device.to_device(memory.address, arrays[name])
    workspace = device.alloc(plan.workspace)
    plan.run([memories[name].address for name in spec.operands], workspace.address)
    results = {}
    for name, memory in memories.items():
        results[name] = np.empty_like(arrays[name])
        device.to_host(results[name], memory.address)
    return results


def draw(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return rng.normal(size=shape).astype(DTYPES[dtype])


def close(found: np.ndarray, wanted: np.ndarray, dtype: str) -> None:
    tolerance = {"f64": 1e-12, "f32": 1e-5, "f16": 2e-3, "bf16": 1e-2}[dtype]
    found, wanted = found.astype(np.float64), np.asarray(wanted).astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


# ---- products ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
@pytest.mark.parametrize(
    ("left", "right", "numbers", "text"),
    [
        ((5, 7), (7, 8), (((1,), (0,)), ((), ())), "mk,kn->mn"),
        ((7, 5), (8, 7), (((0,), (1,)), ((), ())), "km,nk->mn"),
        ((3, 5, 7), (3, 8, 7), (((2,), (2,)), ((0,), (0,))), "bmk,bnk->bmn"),
        ((2, 3, 7, 5), (2, 3, 7, 8), (((2,), (2,)), ((0, 1), (0, 1))), "abkm,abkn->abmn"),
        ((5, 0), (0, 8), (((1,), (0,)), ((), ())), "mk,kn->mn"),
    ],
)
def test_products(left: Any, right: Any, numbers: Any, text: str, dtype: str) -> None:
    x, y = draw(left, dtype), draw(right, dtype)
    matmul = as_matmul(TensorType(x.dtype, left), TensorType(y.dtype, right), numbers)
    wanted = np.einsum(text, x.astype(np.float64), y.astype(np.float64))
    spec = GemmSpec(dtype, dtype, "f64" if dtype == "f64" else "f32", matmul)
    out = np.zeros(wanted.shape, DTYPES[dtype])
    close(run(spec, lhs=x, rhs=y, out=out)["out"], wanted, dtype)


def plain(m: int, k: int, n: int, dtype: str = "f32"):
    types = TensorType(DTYPES[dtype], (m, k)), TensorType(DTYPES[dtype], (k, n))
    return as_matmul(*types, (((1,), (0,)), ((), ())))


@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_epilogues(epilogue: str) -> None:
    m, k, n = 6, 9, 128
    x, y, bias = draw((m, k), "f16"), draw((k, n), "f16"), draw((n,), "f16")
    relu = "relu" in epilogue
    positive = rng.random((m, n)) < 0.5
    aux = np.packbits(positive, axis=-1) if relu else draw((m, n), "f16")
    out = run(
        GemmSpec("f16", "f16", "f32", plain(m, k, n, "f16"), epilogue),
        **{"lhs": x, "rhs": y, "bias": bias, "aux": aux, "dbias": bias},
        out=np.zeros((m, n), np.float16),
    )
    z = x.astype(np.float64) @ y.astype(np.float64)
    if epilogue.startswith("d"):
        z = z * (positive if relu else gelu_slope(aux.astype(np.float64)))
        close(out["out"], z, "f16")
        if epilogue.endswith("bgrad"):
            close(out["dbias"], z.sum(0), "f16")
        return
    z = z + bias if "bias" in epilogue else z
    wanted = np.maximum(z, 0) if relu else gelu(z) if "gelu" in epilogue else z
    close(out["out"], wanted, "f16")
    if epilogue.endswith("aux"):
        found = np.unpackbits(out["aux"], axis=-1) if relu else out["aux"]
        close(found, z > 0 if relu else z, "f16")


def test_tf32_reads_ten_bits() -> None:
    spec = GemmSpec("f32", "f32", "tf32", plain(1, 1, 1))
    x, one = np.full((1, 1), 1 + 2**-12, np.float32), np.ones((1, 1), np.float32)
    assert run(spec, lhs=x, rhs=one, out=one.copy())["out"] == 1


def test_operands_lie_within_the_devices_memory() -> None:
    device = HostDevice()
    plan = device.library(GemmSpec("f32", "f32", "f32", plain(4, 4, 4)))
    assert plan is not None and plan is device.library(
        GemmSpec("f32", "f32", "f32", plain(4, 4, 4))
    )
    full, small, workspace = device.alloc(64), device.alloc(60), device.alloc(plan.workspace)
    with pytest.raises(DeviceError, match="Gemm: the operand out of 64 bytes leaves"):
        plan.run((full.address, full.address, small.address), workspace.address)
    assert (
        HostDevice(libraries=False).library(GemmSpec("f32", "f32", "f32", plain(4, 4, 4))) is None
    )


# ---- convolutions --------------------------------------------------------------------------------

CONVOLUTIONS = {
    "plain": ((2, 3, 9, 8), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "strides": ((2, 3, 9, 8), (4, 3, 3, 2), (2, 3), ((1, 1), (0, 1)), (1, 1), 1),
    "dilation": ((2, 3, 11, 9), (4, 3, 3, 2), (2, 1), ((2, 2), (1, 0)), (2, 3), 1),
    "groups": ((2, 6, 9, 8), (4, 3, 3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1), 2),
    "depthwise": ((2, 6, 9, 8), (6, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 6),
    "row": ((2, 3, 12), (4, 3, 5), (2,), ((2, 2),), (1,), 1),
    "volume": ((2, 3, 6, 7, 5), (4, 3, 3, 3, 2), (1, 2, 1), ((1, 1),) * 3, (1, 1, 1), 1),
}


def convolution(case: Any, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    _, _, strides, padding, dilation, groups = case
    axes = tuple(range(x.ndim))
    return conv_general_dilated.numpy(
        x,
        w,
        window_strides=strides,
        padding=padding,
        lhs_dilation=(1,) * len(strides),
        rhs_dilation=dilation,
        dimension_numbers=(axes, axes, axes),
        feature_group_count=groups,
        batch_group_count=1,
        preferred_element_type=None,
    )


def spec_of(case: Any, direction: str, y: Any, *, last: bool, **more: Any) -> ConvSpec:
    x, w, strides, padding, dilation, groups = case
    first = tuple(range(len(x)))
    axes = (0, *first[2:], 1) if last else first
    return ConvSpec(
        direction,
        "f64",
        "f64",
        x,
        w,
        y,
        axes,
        axes,
        axes,
        strides,
        padding,
        dilation,
        groups,
        **more,
    )


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_their_gradients(name: str, last: bool) -> None:
    case = CONVOLUTIONS[name]
    x, w = draw(case[0], "f64"), draw(case[1], "f64")
    y = convolution(case, x, w)
    dy = draw(y.shape, "f64")

    def stored(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(a, 1, -1)) if last else a

    def logical(a: np.ndarray) -> np.ndarray:
        return np.moveaxis(a, -1, 1) if last else a

    all_of = {"x": stored(x), "w": stored(w), "y": stored(dy)}
    found = run(spec_of(case, "forward", y.shape, last=last), **all_of)["y"]
    close(logical(found), y, "f64")
    # the gradients are adjoint to it
    dx = logical(run(spec_of(case, "data", y.shape, last=last), **all_of)["x"])
    dw = logical(run(spec_of(case, "weights", y.shape, last=last), **all_of)["w"])
    other_x, other_w = draw(x.shape, "f64"), draw(w.shape, "f64")
    close((dx * other_x).sum(), (convolution(case, other_x, w) * dy).sum(), "f64")
    close((dw * other_w).sum(), (convolution(case, x, other_w) * dy).sum(), "f64")


def test_bias_and_relu_after_a_convolution() -> None:
    case = CONVOLUTIONS["strides"]
    x, w, bias = draw(case[0], "f64"), draw(case[1], "f64"), draw((4,), "f64")
    y = convolution(case, x, w)
    spec = spec_of(case, "forward", y.shape, last=False, epilogue="bias_relu")
    found = run(spec, x=x, w=w, bias=bias, y=y * 0)["y"]
    close(found, np.maximum(y + bias[:, None, None], 0), "f64")


# ---- attention -----------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 1, 3)])
@pytest.mark.parametrize("mask", ["", "causal", "bias"])
def test_attention_and_its_gradient(mask: str, axes: Any) -> None:
    b, h, s, t, d = 2, 3, 6, 6 if mask == "causal" else 9, 8
    rows, columns = ([n[k] for k in axes] for n in ((b, h, s, d), (b, h, t, d)))
    q, k, v, dout = (draw(tuple(n), "f16") for n in (rows, columns, columns, rows))
    bias = [draw((1, h, s, t), "f16")] if mask == "bias" else []
    common = {"scale": 0.3, "mask": mask, "axes": axes}
    out, stats = fused_attention.numpy(q, k, v, *bias, **common)
    shape = (1, h, s, t) if bias else ()
    named = {"q": q, "k": k, "v": v, "dout": dout, "dq": q, "dk": k, "dv": v}
    named |= {"bias": bias[0]} if bias else {}
    spec = AttentionSpec("forward", "f16", b, h, s, t, d, 0.3, axes, mask, shape)
    found = run(spec, **named, out=q, stats=stats * 0)
    close(found["out"], out, "f16")
    close(found["stats"], stats, "f32")
    spec = AttentionSpec("backward", "f16", b, h, s, t, d, 0.3, axes, mask, shape)
    found = run(spec, **named, out=out, stats=stats)
    wanted = fused_attention_grad.numpy(q, k, v, *bias, out, stats, dout, **common)
    for name, value in zip(("dq", "dk", "dv"), wanted, strict=True):
        close(found[name], value, "f16")
