"""Users' CUDA kernels as they run.

Where there is a g++ they run on the CPU; where there is NVRTC they compile for a GPU.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.host_kernels import needs_compiler
from tests.gpu.own_kernels import (
    FULL,
    OFFSETS,
    SAXPY,
    X,
    logsumexp_of_segments,
    lse,
    lse_gradient,
    lse_in_cuda,
    saxpy,
)
from tracejit import debug, extend, grad, jit, vmap
from tracejit.errors import (
    BackendError,
    DeviceError,
)
from tracejit.ir.types import TensorType
from tracejit.kernels import read
from tracejit.runtime.gpu import shared
from tracejit.runtime.gpu.nvrtc import compile_cubin
from tracejit.testing import CheckFailed, check_cuda_kernel, check_op

HERE = Path(__file__).name


def test_examples_compile_for_a_gpu() -> None:
    if missing := shared.why_missing("nvrtc"):
        pytest.skip(missing)
    for dtype in ("f4", "f8"):
        x, y = TensorType(np.dtype(dtype), (200,)), TensorType(np.dtype(dtype), (4,))
        offsets = TensorType(np.dtype("i8"), (5,))
        one = lse.definition.call((x, offsets), {}).launch.source
        two = lse_gradient.definition.call((x, offsets, y, y), {}).launch.source
        assert compile_cubin([one], 90)[one.name] and compile_cubin([two], 90)[two.name]


@needs_compiler
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_example_against_its_meaning(dtype: str) -> None:
    x = X.astype(dtype)
    check_cuda_kernel(lse, x, OFFSETS)
    y = logsumexp_of_segments(x, FULL)
    check_cuda_kernel(lse_gradient, x, FULL, y, y)
    np.testing.assert_allclose(lse_in_cuda(x, FULL), y, rtol=1e-5 if dtype == "f4" else 1e-12)


@needs_compiler
def test_example_on_an_emulated_gpu() -> None:
    x = X.astype(np.float32)

    def loss(x: Any) -> Any:
        return jnp.sum(jnp.tanh(lse(jnp.sin(x) * 2, FULL)))

    expected, slope = loss(x), grad(loss)(x)
    with debug.cuda_on_cpu():
        on_gpu = jit(tj.value_and_grad(loss), device="cuda")
        for _ in range(3):  # launched, recorded, replayed
            found, dx = on_gpu(x)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
            np.testing.assert_allclose(dx, slope, rtol=1e-4, atol=1e-6)
        rows = np.stack([x, 2 * x, -x])
        many = jit(vmap(lse, in_axes=(0, None)), device="cuda")(rows, FULL)
        np.testing.assert_allclose(many, [logsumexp_of_segments(r, FULL) for r in rows], rtol=1e-5)
        with tj.default_device("cuda"):
            np.testing.assert_allclose(lse(x, FULL), logsumexp_of_segments(x, FULL), rtol=1e-5)


@needs_compiler
def test_the_record_passes_every_check_on_an_emulated_gpu() -> None:
    with debug.cuda_on_cpu(orders=(0, 1)):
        check_op(lse.primitive, backends=("cuda",))


@pytest.mark.gpu
def test_example_on_a_gpu() -> None:
    x = X.astype(np.float32)

    def loss(x: Any) -> Any:
        return jnp.sum(jnp.tanh(lse(jnp.sin(x) * 2, FULL)))

    on_gpu = jit(tj.value_and_grad(loss), device="cuda")
    for _ in range(3):
        found, dx = on_gpu(x)
        np.testing.assert_allclose(found, loss(x), rtol=1e-5)
        np.testing.assert_allclose(dx, grad(loss)(x), rtol=1e-4, atol=1e-6)
    bins = np.arange(200, dtype=np.int32) % 5
    counts, total = jit(lambda b, w: histogram(b, w, bins_count=5), device="cuda")(bins, x)
    np.testing.assert_array_equal(counts, np.full(5, 40))
    np.testing.assert_allclose(total, x.sum(), rtol=1e-3)


@needs_compiler
def test_literal_operands_have_memory() -> None:
    with debug.cuda_on_cpu():
        f = jit(lambda: saxpy(2.0, jnp.ones(70), jnp.zeros(70)), device="cuda")
        np.testing.assert_array_equal(f(), np.full(70, 2.0))
        assert "saxpy" in str(f.stages().sources)


histogram = extend.cuda_kernel(
    """
    #define THREADS 64
    __global__ void histogram(
        long long n, int* counts, const int* bins, float* total, const float* weights) {
      extern __shared__ float part[];
      const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
      part[threadIdx.x] = i < n ? weights[i] : 0.0f;
      if (i < n) atomicAdd(&counts[bins[i]], 1);
      for (int d = THREADS / 2; d; d /= 2) {
        __syncthreads();
        if (threadIdx.x < d) part[threadIdx.x] += part[threadIdx.x + d];
      }
      if (threadIdx.x == 0) atomicAdd(total, part[0]);
    }
    """,
    static=["bins_count"],
    out=lambda bins, weights, bins_count: (
        tj.ShapeDtypeStruct((bins_count,), np.int32),
        tj.ShapeDtypeStruct((), np.float32),
    ),
    zero=("counts", "total"),
    args=lambda bins, weights, bins_count: bins.size,
    grid=lambda bins, weights, bins_count: -(-bins.size // 64),
    block=64,
    shared=64 * 4,
)


@needs_compiler
def test_parameters_in_any_order_two_results_zeros_and_shared_memory() -> None:
    rng = np.random.default_rng(1)
    bins = rng.integers(0, 5, 200).astype(np.int32)
    weights = rng.standard_normal(200).astype(np.float32)
    counts, total = histogram(bins, weights, bins_count=5)
    np.testing.assert_array_equal(counts, np.bincount(bins, minlength=5))
    np.testing.assert_allclose(total, weights.sum(), rtol=1e-4)
    with debug.cuda_on_cpu():
        f = jit(lambda b, w: histogram(b, w * 2, bins_count=6), device="cuda")
        for _ in range(3):
            counts, total = f(bins, weights)
            np.testing.assert_array_equal(counts, np.bincount(bins, minlength=6))
            np.testing.assert_allclose(total, 2 * weights.sum(), rtol=1e-4)


@needs_compiler
@pytest.mark.skipif(not shared.include_folders(), reason="NVIDIA's headers are not here")
def test_in_place_on_a_grid_of_two_axes_with_half_floats() -> None:
    add_into = extend.cuda_kernel(
        """
        #include <cuda_fp16.h>
        __global__ void add_into(const __half* x, __half* y, int rows, int columns, __half by) {
          const int column = blockIdx.x * blockDim.x + threadIdx.x;
          const int row = blockIdx.y * blockDim.y + threadIdx.y, k = row * columns + column;
          if (row < rows && column < columns) y[k] = by * x[k] + y[k];
        }
        """,
        inout="y",
        args=lambda x, y: (*x.shape, 0.5),
        block=(8, 4),
        grid=lambda x, y: (-(-x.shape[1] // 8), -(-x.shape[0] // 4)),
    )
    x = np.arange(100, dtype=np.float16).reshape(5, 20)
    y = np.ones((5, 20), np.float16)
    np.testing.assert_array_equal(add_into(x, y), x / 2 + y)
    with debug.cuda_on_cpu():
        found, kept = jit(lambda x, y: (add_into(2 * x, y), y), device="cuda")(x, y)
        np.testing.assert_array_equal(found, x + y)
        np.testing.assert_array_equal(kept, y)


@needs_compiler
def test_empty_operands_launch_nothing() -> None:
    empty = np.zeros(0, np.float32)
    in_cuda = extend.cuda_kernel(SAXPY, out=lambda a, x, y: x, args=lambda a, x, y: x.size)
    assert in_cuda(1.0, empty, empty).shape == (0,)
    with debug.cuda_on_cpu():
        assert jit(in_cuda, device="cuda")(1.0, empty, empty).shape == (0,)


def line_of(text: str) -> int:
    """The first line of this file that has the text."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(k for k, line in enumerate(lines, 1) if text in line)


broken = extend.cuda_kernel(
    """
    __global__ void broken(const float* x, float* y) {
      y[0] = undeclared[0];
    }
    """,
    out=lambda x: x,
)


@needs_compiler
def test_the_compilers_message_names_the_users_line() -> None:
    place = f"line 3 ({HERE}:{line_of('y[0] = undeclared[0];')})"
    with pytest.raises(BackendError, match=re.escape(place)) as caught:
        broken(jnp.ones(3))
    assert "y[0] = undeclared[0];" in str(caught.value)


def test_nvrtcs_message_names_the_users_line() -> None:
    if missing := shared.why_missing("nvrtc"):
        pytest.skip(missing)
    source = broken.definition.call((TensorType(np.dtype("f4"), (3,)),), {}).launch.source
    place = f"{HERE}:{line_of('y[0] = undeclared[0];')}"
    with pytest.raises(BackendError, match=re.escape(place)):
        compile_cubin([source], 90)


reads_behind = extend.cuda_kernel(
    """
    __global__ void reads_behind(const float* x, float* y) {
      y[threadIdx.x] = x[threadIdx.x + 1];
    }
    """,
    out=lambda x: x,
    block=32,
    grid=1,
)
misses_barrier = extend.cuda_kernel(
    """
    __global__ void misses_barrier(const float* x, float* y) {
      __shared__ float part[64];
      part[threadIdx.x] = x[threadIdx.x];
      y[threadIdx.x] = part[63 - threadIdx.x];
    }
    """,
    out=lambda x: x,
    block=64,
    grid=1,
)


@needs_compiler
@pytest.mark.parametrize(
    ("kernel", "what", "line"),
    [
        (reads_behind, "out-of-bounds read", "y[threadIdx.x] = x[threadIdx.x + 1];"),
        (misses_barrier, "barrier is missing", "y[threadIdx.x] = part[63 - threadIdx.x];"),
    ],
)
def test_wrong_accesses_are_named(kernel: Any, what: str, line: str) -> None:
    x = jnp.ones(kernel.definition.settings.block)
    place = f"{HERE}:{line_of(line)}: thread"
    with pytest.raises(DeviceError, match=what) as caught:
        check_cuda_kernel(kernel, x)
    assert place in str(caught.value) and line in str(caught.value)
    with debug.cuda_on_cpu(), pytest.raises(DeviceError, match=re.escape(place)):
        jit(kernel, device="cuda")(x).block_until_ready()


@needs_compiler
def test_what_nobody_wrote_is_found() -> None:
    half = extend.cuda_kernel(
        "__global__ void half(const float* x, float* y) {\n  if (threadIdx.x < 16) y[threadIdx.x] "
        "= x[threadIdx.x];\n}",
        out=lambda x: x,
        block=32,
        grid=1,
        numpy=lambda x: x,
    )
    with pytest.raises(CheckFailed, match="`half`: result `y` differs from numpy="):
        check_cuda_kernel(half, jnp.ones(32))


@needs_compiler
def test_functions_of_the_header() -> None:
    total = extend.cuda_kernel(
        """
        __global__ void total(const float* x, float* y) {
          __shared__ float part[32];
          const float all = tj_block<256>(
              x[threadIdx.x], part, [](float a, float b) { return a + b; });
          if (threadIdx.x == 0) y[0] = all;
        }
        """,
        out=lambda x: tj.ShapeDtypeStruct((), x.dtype),
        grid=1,
        header=True,
        numpy=np.sum,
    )
    check_cuda_kernel(total, np.arange(256, dtype=np.float32))


def test_without_a_compiler_it_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: Any) -> Any:
        raise BackendError("g++ is not there", hint="install g++")

    monkeypatch.setattr("tracejit.frontend.cuda_launch.HostDevice.load", none)
    with pytest.raises(
        BackendError, match="install g[+][+], or give .* `histogram` in NumPy: numpy="
    ):
        histogram(np.zeros(3, np.int32), np.zeros(3, np.float32), bins_count=2)


def test_the_folder_of_kernels_has_the_example() -> None:
    assert read("segment_logsumexp.cu").startswith("// log(sum(exp(x)))")
