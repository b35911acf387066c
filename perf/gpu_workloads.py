"""All workloads for GPUs, the most telling first: a run that is cut short has measured those.

find("softmax").arguments(quick=True)
select(["softmax*", "gpt_step"])
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import replace

import gpu_arrays as arrays
import gpu_nets as nets
import gpu_solvers as solvers
import workloads
from gpu_workload import GpuWorkload, drawn, scaled

_BY_HEAD = (8, 2048, 16, 64)
_SMALL_HEADS = (2, 16, 2, 8)
ATTENTION_FLOPS = 4.0 * 8 * 16 * 2048 * 2048 * 64
LAYER_FLOPS = 2.0 * 4 * 4096**3
IMAGES, FILTERS = (80, 64, 56, 56), (64, 64, 3, 3)
SMALL_IMAGES, SMALL_FILTERS = (2, 8, 6, 6), (8, 8, 3, 3)
CONV_FLOPS = 2.0 * 80 * 56 * 56 * 64 * 64 * 9
RESIDUAL_FLOPS = 6 * 2.0 * 64 * 28 * 28 * 256 * 256 * 9


def products(dtype: str) -> tuple[GpuWorkload, ...]:
    """A product of matrices, and a chain of layers with bias and gelu, in half precision."""
    square, small = [(8192, 8192)] * 2, [(48, 48)] * 2
    more = {"dtype": dtype, "precision": "any", "library": "matmul", "heavy": True}
    return (
        nets.own(
            f"matmul_{dtype}",
            f"matmul 8192, {dtype}",
            drawn(*square),
            drawn(*small),
            nets.matmul_array,
            nets.matmul_torch,
            flops=2.0 * 8192**3,
            group="arrays",
            **more,
        ),
        nets.own(
            f"layers_{dtype}",
            f"4 layers gelu(x @ w + b) 4096, {dtype}",
            nets.layers(4096, 4096, 4),
            nets.layers(24, 32, 2),
            nets.layers_array,
            nets.layers_torch,
            flops=LAYER_FLOPS,
            **more,
        ),
        nets.own(
            f"layers_step_{dtype}",
            f"4 layers 4096 training step, {dtype}",
            nets.layers(4096, 4096, 4),
            nets.layers(24, 32, 2),
            nets.layers_step_array,
            nets.layers_step_torch,
            flops=3 * LAYER_FLOPS - LAYER_FLOPS / 4,
            **more,
        ),
    )


def attention(name: str, title: str, causal: bool, gradient: bool) -> GpuWorkload:
    array = nets.attention_gradient_array if gradient else nets.attention_array
    torch = nets.attention_gradient_torch if gradient else nets.attention_torch
    return nets.own(
        name,
        title,
        nets.heads(*_BY_HEAD),
        nets.heads(*_SMALL_HEADS),
        array(causal),
        torch(causal),
        dtype="bf16",
        precision="any",
        library="torch",
        heavy=True,
        flops=ATTENTION_FLOPS * (3.5 if gradient else 1) / (2 if causal else 1),
    )


ATTENTION = (
    attention("attention_bf16", "attention 8x16x2048x64, bf16", False, False),
    attention("attention_causal", "causal attention 8x16x2048x64, bf16", True, False),
    attention("attention_gradient", "gradient of attention 8x16x2048x64, bf16", False, True),
    attention("attention_causal_gradient", "gradient of causal attention, bf16", True, True),
)


def residual(dtype: str) -> GpuWorkload:
    name = "residual_step" if dtype == "f32" else f"residual_step_{dtype}"
    return nets.own(
        name,
        f"residual block step 64x28x28x256, {dtype}",
        nets.images(64, 256, 28),
        nets.images(2, 8, 5),
        nets.residual_array,
        nets.residual_torch,
        dtype=dtype,
        precision="f32" if dtype == "f32" else "any",
        library="torch",
        flops=RESIDUAL_FLOPS,
        heavy=True,
        rtol={"f32": 3e-4, "f16": 2e-2, "bf16": 6e-2}[dtype],
        training=True,
    )


GPT = nets.own(
    "gpt_step",
    "GPT training step, 6x768, 8x1024, bf16",
    nets.gpt(6, 768, 8192, 8, 1024),
    nets.gpt(2, 128, 48, 2, 16),
    nets.gpt_array(64),
    nets.gpt_torch(64),
    precision="any",
    group="large",
    heavy=True,
    rtol=8e-2,
    differing=0.02,
    training=True,
)

MLP = scaled(
    workloads.find("mlp_step"),
    "MLP training step, batch 128",
    workloads.find("mlp_step").inputs,
    workloads.find("mlp_step").inputs,
    group="nets",
    short=True,
)

ENCODERS = (
    nets.own(
        "block_step",
        "transformer block training step 8x128x256",
        nets.encoder_inputs(1, 256, 8, 128),
        nets.encoder_inputs(1, 64, 2, 8),
        nets.encoder_step_array,
        nets.encoder_step_torch,
        rtol=1e-4,
        training=True,
        short=True,
    ),
    nets.own(
        "blocks_forward",
        "12 blocks forward 8x512x768",
        nets.encoder_inputs(12, 768, 8, 512),
        nets.encoder_inputs(2, 64, 2, 8),
        nets.encoder_array(64),
        nets.encoder_torch(64),
        group="large",
        heavy=True,
        rtol=1e-3,
    ),
)

CONVOLUTION = (
    scaled(
        workloads.find("conv"),
        "conv 80x64x56x56, 3x3, 64 to 64",
        drawn(IMAGES, FILTERS),
        drawn(SMALL_IMAGES, SMALL_FILTERS),
        flops=CONV_FLOPS,
        library="torch",
        group="nets",
        heavy=True,
    ),
    scaled(
        workloads.find("conv_gradient"),
        "gradient of sum(relu(conv)^2)",
        drawn(IMAGES, FILTERS),
        drawn(SMALL_IMAGES, SMALL_FILTERS),
        flops=3 * CONV_FLOPS,
        library="torch",
        group="nets",
        heavy=True,
    ),
)

RECURRENCE = (
    nets.own(
        "lstm_gradient",
        "LSTM gradient, 64 steps of 32x128",
        nets.lstm_inputs(64, 32, 128),
        nets.lstm_inputs(5, 3, 8),
        nets.lstm_array,
        nets.lstm_torch,
        compiled=False,
        rtol=1e-4,
        training=True,
    ),
)


def with_tf32(row: GpuWorkload) -> GpuWorkload:
    """The same row with products of float32 rounded to tf32. In a training step that moves numbers
    across relu's corner, and with them elements of the gradient.
    """
    name, title = f"{row.name}_tf32", f"{row.title}, tf32"
    loose = {"rtol": 5e-2, "differing": 0.05} if row.training else {"rtol": 1e-2}
    return replace(row, name=name, title=title, precision="tf32", **loose)


_ROWS = {
    row.name: row
    for row in (
        *arrays.ELEMENTWISE,
        *arrays.REDUCTIONS,
        *arrays.LAYOUT,
        *arrays.PRODUCTS,
        *arrays.LOOPS,
        *arrays.DISPATCH,
        *arrays.FLOAT64,
        *arrays.EMBEDDING,
        *products("f16"),
        *products("bf16"),
        *ATTENTION,
        *(residual(dtype) for dtype in ("f32", "f16", "bf16")),
        GPT,
        MLP,
        *ENCODERS,
        *CONVOLUTION,
        *RECURRENCE,
        *solvers.ROWS,
    )
}
_FIRST = (
    *("chain", "softmax", "layer_norm", "matmul", "matmul_bf16", "mlp_step", "conv"),
    *("attention_bf16", "layers_f16", "gpt_step", "residual_step", "black_scholes"),
    *("gelu_gradient", "sum_all", "sum_axis0", "sum_axis1", "transpose_add", "softmax_large"),
    *("chain_large", "conv_gradient", "attention_causal_gradient", "block_step", "dispatch"),
    *("cumsum_rows", "sort_rows", "small_products", "embedding_gradient", "lstm_gradient"),
    *("mandelbrot", "n_body", "stencil", "conjugate_gradient", "blocks_forward"),
)
_LAST = ("cholesky", "scalar_loop")
_MIDDLE = tuple(name for name in _ROWS if name not in (*_FIRST, *_LAST))
TF32 = tuple(
    with_tf32(_ROWS[name])
    for name in ("matmul", "conv", "mlp_step", "residual_step", "blocks_forward")
)
WORKLOADS = tuple(_ROWS[name] for name in (*_FIRST, *_MIDDLE, *_LAST)) + TF32
#: what a machine without a GPU that plays one runs in moments
SMALLEST = ("chain", "softmax", "sum_axis0", "transpose_add", "matmul", "mlp_step")
WARM_UP = scaled(
    workloads.WARM_UP,
    "x * 2, 3 elements",
    drawn((3,)),
    drawn((3,)),
    cupy=lambda xp, erf, fuse: fuse(lambda x: x * 2),
)


def find(name: str) -> GpuWorkload:
    """The workload of that name; ValueError where there is none."""
    for workload in (*WORKLOADS, WARM_UP):
        if workload.name == name:
            return workload
    raise ValueError(f"no workload {name!r}; there are: {', '.join(w.name for w in WORKLOADS)}")


def select(patterns: Sequence[str]) -> tuple[GpuWorkload, ...]:
    """Workloads whose names match one of the patterns; all for none. ValueError for a pattern that
    matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(w.name, pattern) for w in WORKLOADS):
            find(pattern)
    return tuple(
        w
        for w in WORKLOADS
        if not patterns or any(fnmatch.fnmatchcase(w.name, p) for p in patterns)
    )
