"""cuDNN's plans for an H200, made without one: every kind of spec, in another process."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax, nn
from tracejit.errors import DeviceError, InternalError
from tracejit.kernel.gpu.conv import conv_call, features_last
from tracejit.kernel.gpu.library import AttentionSpec, ConvSpec, Spec
from tracejit.kernel.gpu.specs import takes
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.passes.libraries import with_convolutions
from tracejit.passes.pipeline import OPTIMISE, run_passes
from tracejit.runtime.gpu import cudnn, cudnn_conv, cudnn_plan, shared
from tracejit.runtime.gpu.cudnn_check import Checked, check_plans, missing

#: of data sheets; ``cudnn.device_properties`` gives the text of a real GPU
H200 = (Path(__file__).parents[1] / "data" / "h200.json").read_text()

DIRECTIONS = ("forward", "data", "weights")
DTYPES = ("f32", "f16", "bf16", "f64")


def conv(
    direction: str = "forward",
    dtype: str = "f32",
    last: bool = True,
    image: tuple[int, ...] = (28, 28),
    kernel: tuple[int, ...] = (3, 3),
    strides: tuple[int, ...] = (),
    padding: tuple[tuple[int, int], ...] = (),
    dilation: tuple[int, ...] = (),
    features: tuple[int, int] = (64, 32),
    groups: int = 1,
    epilogue: str = "",
    compute: str = "",
) -> ConvSpec:
    """A convolution of 8 images with channels last or first."""
    n, (into, out) = len(image), features
    strides, dilation = strides or (1,) * n, dilation or (1,) * n
    padding = padding or ((1, 1),) * n
    result = tuple(
        (size + low + high - (k - 1) * gap - 1) // step + 1
        for size, k, (low, high), step, gap in zip(
            image, kernel, padding, strides, dilation, strict=True
        )
    )
    axes = (0, *range(2, 2 + n), 1) if last else tuple(range(2 + n))
    return ConvSpec(
        direction=direction,
        dtype=dtype,
        compute=compute or ("f64" if dtype == "f64" else "f32"),
        x=(8, into, *image),
        w=(out, into // groups, *kernel),
        y=(8, out, *result),
        x_axes=axes,
        w_axes=axes,
        y_axes=axes,
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=groups,
        epilogue=epilogue,
    )


KINDS: dict[str, Callable[[str, str, bool], ConvSpec]] = {
    "plain": lambda d, t, last: conv(d, t, last),
    "groups": lambda d, t, last: conv(d, t, last, groups=4),
    "one spatial axis": lambda d, t, last: conv(d, t, last, (30,), (5,), (2,), ((2, 2),)),
    "three spatial axes": lambda d, t, last: conv(d, t, last, (8, 9, 10), (3, 3, 3)),
    "strides": lambda d, t, last: conv(d, t, last, strides=(2, 3), kernel=(5, 3)),
    "dilation": lambda d, t, last: conv(d, t, last, dilation=(2, 2), padding=((2, 2), (2, 2))),
    "padding on one side": lambda d, t, last: conv(
        d, t, last, strides=(2, 2), padding=((0, 1), (0, 1))
    ),
    "odd channels": lambda d, t, last: conv(d, t, last, features=(5, 7)),
}
CONVOLUTIONS: dict[str, ConvSpec] = {
    f"{kind}: {direction} {dtype} {'last' if last else 'first'}": make(direction, dtype, last)
    for (kind, make), direction, dtype, last in itertools.product(
        KINDS.items(), DIRECTIONS, DTYPES, (True, False)
    )
}
EPILOGUES: dict[str, ConvSpec] = {
    f"{epilogue} {dtype} {last}": conv(dtype=dtype, last=last, epilogue=epilogue)
    for epilogue, dtype, last in itertools.product(("bias", "bias_relu"), DTYPES, (True, False))
}
TF32: dict[str, ConvSpec] = {
    f"tf32 {direction}": conv(direction, compute="tf32") for direction in DIRECTIONS
}
TF32["tf32 bias_relu"] = conv(epilogue="bias_relu", compute="tf32")
REFUSED: dict[str, Spec] = {
    "crops": conv(padding=((-1, 0), (0, 0))),
    "dtype": conv(dtype="i32"),
    "order": replace(conv(), w_axes=(2, 3, 1, 0)),
    "empty": conv(features=(0, 4)),
    "epilogue of a gradient": conv("data", epilogue="relu"),
}
#: operands whose orders in memory differ, or do not matter
ORDERS: dict[str, ConvSpec] = {
    f"kernels first, images last {direction} {dtype}": replace(
        conv(direction, dtype), w_axes=(0, 1, 2, 3)
    )
    for direction, dtype in itertools.product(DIRECTIONS, ("f32", "f16"))
}
ORDERS["kernels of one pixel"] = replace(
    conv("forward", "f16", kernel=(1, 1), padding=((0, 0),) * 2), w_axes=(2, 3, 0, 1)
)


def attention(direction: str, dtype: str, mask: str = "", **changes: Any) -> AttentionSpec:
    """Attention of 4 heads over 256 places, the bias for all batches."""
    spec = AttentionSpec(direction, dtype, 2, 4, 256, 256, 64, 0.125, mask=mask)
    spec = replace(spec, bias=(1, 4, 256, 256)) if mask == "bias" else spec
    return replace(spec, **changes)


#: few, as cuDNN compiles a kernel for each
ATTENTION: dict[str, AttentionSpec] = {
    f"attention {direction} {dtype} {mask}": attention(direction, dtype, mask)
    for direction in ("forward", "backward")
    for dtype, mask in (("f16", ""), ("bf16", "causal"), ("f16", "bias"))
}
ATTENTION["heads inside, other lengths"] = attention(
    "forward", "bf16", axes=(0, 2, 1, 3), queries=100, keys=77, width=128
)
REFUSED["attention in f32"] = attention("forward", "f32")
REFUSED["attention of odd heads"] = attention("forward", "f16", width=60)
REFUSED["attention turned around"] = attention("forward", "f16", axes=(0, 1, 3, 2))
REFUSED["causal attention to more keys"] = attention("forward", "f16", "causal", keys=512)
REFUSED["gradient of one place"] = attention("backward", "f16", queries=1, keys=1)
#: cuDNN compiles these too
COMPILED: dict[str, ConvSpec] = {
    "relu alone": conv(dtype="f16", epilogue="relu"),
    "depthwise": conv(features=(32, 32), groups=32),
}


def network_specs(dtype: Any) -> list[Spec]:
    """What a step of training a small residual network asks of a library."""
    asked: dict[Spec, None] = {}

    def workspace(spec: Spec) -> int | None:
        asked[spec] = None
        return None if isinstance(spec, ConvSpec) and "relu" in spec.epilogue else 0

    def block(x: Any, w: Any, stride: int, groups: int = 1) -> Any:
        return lax.conv_general_dilated(x, w, (stride, stride), "SAME", feature_group_count=groups)

    def loss(ws: Any, x: Any) -> Any:
        h = nn.relu(block(x, ws[0], 2))
        h = h + nn.relu(block(nn.relu(block(h, ws[1], 1)), ws[2], 1, 4))
        return block(h, ws[3], 2).mean((2, 3)).astype("float32").var()

    shapes = ((32, 3, 7, 7), (32, 32, 1, 1), (32, 8, 3, 3), (48, 32, 3, 3))
    ws = [np.zeros(shape, dtype) for shape in shapes]
    graph = tj.make_graph(tj.grad(loss), ws, np.zeros((4, 3, 56, 56), dtype))
    graph = run_passes(graph, OPTIMISE, off=frozenset(("keep_layouts", "canonicalise")))
    made = with_convolutions(
        graph, takes(GpuTarget(90, 132, "f32", workspace)), features_last("f32")
    )
    calls = [conv_call(node, "f32") for node in made.nodes if node.prim.name == "fused_conv"]
    assert len(calls) == 11  # forward, weights and data of four, but for the first image
    return [call[0] for call in calls if call is not None]


@pytest.fixture(scope="module")
def checked() -> dict[Spec, Checked]:
    """What cuDNN plans for every spec of this file: one process for all."""
    if reason := missing():
        pytest.skip(reason)
    groups = (CONVOLUTIONS, EPILOGUES, TF32, ORDERS, ATTENTION, COMPILED, REFUSED)
    specs = list(dict.fromkeys(spec for group in groups for spec in group.values()))
    specs += [spec for dtype in (np.float16, np.float32) for spec in network_specs(dtype)]
    return {one.spec: one for one in check_plans(specs, H200)}


PLANNED: dict[str, Spec] = {
    **CONVOLUTIONS,
    **EPILOGUES,
    **TF32,
    **ORDERS,
    **ATTENTION,
    **COMPILED,
}


def test_every_kind_of_spec_has_a_plan(checked: dict[Spec, Checked]) -> None:
    failed = {name: one.error for name, spec in PLANNED.items() if (one := checked[spec]).error}
    assert not failed
    for spec in PLANNED.values():
        assert checked[spec].engine >= 0
        assert 0 <= checked[spec].workspace < 64 << 20


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_network_has_plans(checked: dict[Spec, Checked], dtype: Any) -> None:
    for spec in network_specs(dtype):
        assert not checked[spec].error


def test_f32_is_f32(checked: dict[Spec, Checked]) -> None:
    strict = [one for one in checked.values() if getattr(one.spec, "compute", "") == "f32"]
    assert any(one.spec.dtype == "f32" for one in strict)
    for one in strict:
        assert "tensor_core" not in one.notes or one.spec.dtype != "f32", one
        assert not {"down_convert_inputs", "reduced_precision_reduction"}.intersection(one.notes)
    assert any("tensor_core" in checked[spec].notes for spec in TF32.values())
    halves = [checked[conv(direction, "f16")] for direction in DIRECTIONS]
    assert all("tensor_core" in one.notes for one in halves)


def test_results_are_the_same_every_time(checked: dict[Spec, Checked]) -> None:
    for spec in PLANNED.values():
        assert "nondeterministic" not in checked[spec].notes


@pytest.mark.parametrize("name", REFUSED)
def test_why_there_is_no_plan(checked: dict[Spec, Checked], name: str) -> None:
    one = checked[REFUSED[name]]
    assert one.engine == -1 and one.error


def test_gradients_of_attention_have_room_for_their_sums(checked: dict[Spec, Checked]) -> None:
    spec = ATTENTION["attention backward f16 "]
    rows = spec.batch * spec.heads * spec.queries
    assert checked[spec].workspace >= 4 * rows * (spec.width + 1)


# ---- in this process: without a driver, plans of kernels that are compiled already ---------------


@pytest.fixture
def target() -> cudnn.Target:
    if reason := shared.why_missing("cudnn"):
        pytest.skip(reason)
    return cudnn.Target.described(H200)


def test_errors_name_status_and_reason(target: cudnn.Target) -> None:
    with pytest.raises(DeviceError, match="CUDNN_STATUS_") as caught:
        cudnn.tensor(1, "f32", (2, 3, 4, 5), (60, 20, 5))
    assert "tensor" in str(caught.value)


def test_properties_as_a_text(target: cudnn.Target) -> None:
    assert target.properties is not None
    found = json.loads(cudnn.properties_text(target.properties))
    given = json.loads(H200)
    assert {name: given[name] for name in found} == found
    assert set(given) - set(found) <= {"comment"}


def test_reasons_are_kept(target: cudnn.Target) -> None:
    spec = conv(dtype="i32")
    assert cudnn_plan.cudnn_plan(spec, target) is None
    assert "i32" in cudnn_plan.why(spec)
    assert cudnn_plan.cudnn_plan(conv(), target) is not None
    assert cudnn_plan.why(conv()) == ""


def test_a_plan_without_a_gpu_does_not_run(target: cudnn.Target) -> None:
    plan = cudnn_plan.cudnn_plan(conv(), target)
    assert plan is not None
    with pytest.raises(InternalError, match="without a GPU"):
        plan.run((0, 0, 0), 0)


def test_calls_differ_in_their_addresses_only(
    target: cudnn.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = cudnn_plan.cudnn_plan(conv(epilogue="bias"), target)
    assert plan is not None
    library, calls = cudnn.library(), []

    class Recorder:
        """The library, with calls that are noted instead of run."""

        def __getattr__(self, name: str) -> Any:
            return getattr(library, name)

        def cudnnBackendExecute(self, handle: int, plan: Any, pack: Any) -> int:
            calls.append((handle, plan.value, pack.value))
            return 0

    class Handle:
        value, lock, entered = 7, threading.Lock(), 0

        def enter(self) -> None:
            self.entered += 1

    handle = Handle()
    plan._handle = handle  # type: ignore[assignment]
    monkeypatch.setattr(cudnn, "library", Recorder)
    for start in (1 << 20, 2 << 20, 1 << 20):
        plan.run([start + 4096 * k for k in range(4)], 1 << 30)
    first, second, third = calls
    assert first == third and first != second
    assert handle.entered == 3 and {call[0] for call in calls} == {7}
    for k in range(3 * cudnn_plan.PACKS):
        plan.run([4096 * (k + j + 1) for j in range(4)], 1 << 30)
    assert len(plan._packs) == cudnn_plan.PACKS


def test_missing_library_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "why_missing", lambda name: f"no {name} here")
    found = cudnn_plan.Cudnn(lambda: 0)
    assert found.plan(conv()) is None
    assert cudnn_plan.why(conv()) == "no cudnn here"


@pytest.mark.parametrize(
    ("shape", "axes", "order"),
    [
        ((8, 3, 5, 5), (0, 1, 2, 3), (0, 1, 2, 3)),
        ((8, 3, 5, 5), (0, 2, 3, 1), (0, 2, 3, 1)),
        ((8, 3, 1, 1), (2, 3, 0, 1), (0, 1, 2, 3)),
        ((8, 1, 5, 5), (1, 0, 2, 3), (0, 1, 2, 3)),
        ((8, 3, 5, 5), (2, 3, 1, 0), None),
    ],
)
def test_orders_that_engines_read(
    shape: tuple[int, ...], axes: tuple[int, ...], order: tuple[int, ...] | None
) -> None:
    assert cudnn_conv.packed(shape, axes) == order
