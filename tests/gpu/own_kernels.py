"""CUDA kernels that a user could write, for the tests: SAXPY and a logsumexp of segments.

Each has a meaning in NumPy; ``lse_in_cuda`` has none, so it runs as CUDA C everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import extend
from tracejit.ir.types import TensorType

SAXPY = """
__global__ void saxpy(const float* a, const float* x, const float* y, float* out, long long n) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = a[0] * x[i] + y[i];
}
"""
saxpy = extend.cuda_kernel(
    SAXPY,
    out=lambda a, x, y: x,
    args=lambda a, x, y: x.size,
    numpy=lambda a, x, y: a * x + y,
    vjp=(
        lambda a, x, y: (saxpy(a, x, y), (a, x)),
        lambda residuals, ct: (jnp.sum(ct * residuals[1]), residuals[0] * ct, ct),
    ),
)


def segments(x: Any, offsets: Any) -> list[Any]:
    return [x[a:b] for a, b in zip(offsets, offsets[1:], strict=False)]


def logsumexp_of_segments(x: Any, offsets: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.array([np.log(np.exp(part).sum()) for part in segments(x, offsets)], x.dtype)


def gradient_of_segments(x: Any, offsets: Any, y: Any, ct: Any) -> Any:
    dx = np.zeros_like(x)
    for k, (first, last) in enumerate(zip(offsets, offsets[1:], strict=False)):
        dx[first:last] = ct[k] * np.exp(x[first:last] - y[k])
    return dx


def of_dtype(x: Any, *others: Any) -> dict[str, Any]:
    return {"real": x.dtype}


OFFSETS = np.array([0, 3, 3, 70, 200])
FULL = np.array([0, 1, 70, 100, 200])


def lse_cases() -> list[Any]:
    x, offsets = TensorType(np.dtype("f8"), (200,)), TensorType(np.dtype("i8"), (5,))
    return [((x, offsets), {}, [None, FULL])]


lse_gradient = extend.cuda_kernel(
    "segment_logsumexp.cu",
    name="segment_logsumexp_grad",
    out=lambda x, offsets, y, ct: x,
    zero="dx",
    grid=lambda x, offsets, y, ct: -(-y.size // 4),
    block=128,
    args=lambda x, offsets, y, ct: y.size,
    defines=of_dtype,
    numpy=gradient_of_segments,
)


def forward(x: Any, offsets: Any) -> Any:
    y = lse(x, offsets)
    return y, (x, offsets, y)


#: runs as CUDA C everywhere; ``lse_in_numpy`` has a meaning for machines without g++
lse_settings: dict[str, Any] = {
    "name": "segment_logsumexp",
    "out": lambda x, offsets: tj.ShapeDtypeStruct((offsets.size - 1,), x.dtype),
    "grid": lambda x, offsets: -(-(offsets.size - 1) // 4),
    "block": 128,
    "args": lambda x, offsets: {"segments": offsets.size - 1},
    "defines": of_dtype,
    "cases": lse_cases,
}
lse = extend.cuda_kernel(
    "segment_logsumexp.cu",
    **lse_settings,
    numpy=logsumexp_of_segments,
    vjp=(forward, lambda residuals, ct: (lse_gradient(*residuals, ct), None)),
)
lse_in_cuda = extend.cuda_kernel("segment_logsumexp.cu", **lse_settings)

X = np.random.default_rng(0).standard_normal(200)
