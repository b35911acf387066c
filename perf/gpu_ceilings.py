"""What a GPU and its libraries can do: copies within the device, products by cuBLAS, convolutions
by cuDNN.

    measure("torch", "cuda", quick=False, seconds=0.1)    {"copy": {bytes: rate}, "matmul": ...}

Through torch, which calls the libraries directly (cuDNN chooses by trying), and through tracejit's
own binding of them; on a CPU whatever these do there, to see that the code works. Bytes count
reads and writes, flops additions and multiplications; a rate is the best of several runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gpu_frameworks
import numpy as np

#: bytes read and written: a few cache lines of each multiprocessor up to many times the L2 cache
FOOTPRINTS = (1_000_000, 8_000_000, 32_000_000, 80_000_000, 200_000_000, 800_000_000, 4 * 10**9)
SIZES = {"f32": 4096, "tf32": 8192, "f16": 8192, "bf16": 8192, "f64": 4096}
#: images and filters of convolutions: those of the table
CONVOLUTIONS = {
    "f32": ((80, 64, 56, 56), (64, 64, 3, 3)),
    "f16": ((64, 256, 28, 28), (256, 256, 3, 3)),
    "bf16": ((64, 256, 28, 28), (256, 256, 3, 3)),
}


def measure(name: str, device: str, quick: bool, seconds: float) -> dict[str, Any]:
    """All ceilings that a framework reaches; what fails is named under ``errors``."""
    found: dict[str, Any] = {"copy": {}, "matmul": {}, "conv": {}, "errors": {}}
    sizes = FOOTPRINTS[:2] if quick else FOOTPRINTS
    source = _Torch(device, quick) if name == "torch" else _Own(quick)

    def kept(kind: str, key: Any, make: Callable[[Any], tuple[Callable[[], Any], float]]) -> None:
        try:
            call, amount = make(key)
            found[kind][str(key)] = amount / source.best(call, seconds)
        except Exception as error:
            text = (str(error).strip().splitlines() or [""])[0]
            found["errors"][f"{kind} {key}"] = f"{type(error).__name__}: {text}"[:500]

    for size in sizes:
        kept("copy", size, source.copy)
    for dtype in SIZES:
        kept("matmul", dtype, source.matmul)
    for dtype in CONVOLUTIONS:
        kept("conv", dtype, source.conv)
    return found


def shapes(dtype: str, quick: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return ((2, 4, 6, 6), (4, 4, 3, 3)) if quick else CONVOLUTIONS[dtype]


def conv_flops(x: tuple[int, ...], w: tuple[int, ...]) -> float:
    return 2.0 * x[0] * x[2] * x[3] * float(np.prod(w))


def best(call: Callable[[], Any], wait: Callable[[], Any], timer: Any, seconds: float) -> float:
    """The least seconds of a call, in batches."""
    call()
    wait()
    start = time.perf_counter()
    call()
    wait()
    one = time.perf_counter() - start
    count = max(1, min(50, round(seconds / 4 / max(one, 1e-6))))
    least, end = float("inf"), time.perf_counter() + seconds
    while least == float("inf") or time.perf_counter() < end:
        if timer is not None:
            least = min(least, timer.seconds(call, count, min(0.02, 20e-6 * count)))
            continue
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        least = min(least, (time.perf_counter() - start) / count)
    return least


class _Torch:
    """The libraries through torch."""

    def __init__(self, device: str, quick: bool) -> None:
        import torch

        self.torch, self.device, self.quick = torch, device, quick
        on_gpu = device == "cuda"
        self.timer = gpu_frameworks.torch_timer(torch) if on_gpu else None
        self.wait = torch.cuda.synchronize if on_gpu else lambda: None
        torch.backends.cudnn.benchmark = True

    def best(self, call: Callable[[], Any], seconds: float) -> float:
        return best(call, self.wait, self.timer, seconds)

    def copy(self, nbytes: int) -> tuple[Callable[[], Any], float]:
        x = self.torch.ones(nbytes // 8, dtype=self.torch.float32, device=self.device)
        y = self.torch.empty_like(x)
        return lambda: y.copy_(x), 2.0 * x.nbytes

    def random(self, shape: tuple[int, ...], dtype: str) -> Any:
        number = getattr(self.torch, gpu_frameworks.FLOATS.get(dtype, "float32"))
        return self.torch.randn(shape, device=self.device).to(number)

    def matmul(self, dtype: str) -> tuple[Callable[[], Any], float]:
        size = 64 if self.quick else SIZES[dtype]
        x, y = (self.random((size, size), dtype) for _ in range(2))
        out = self.torch.empty_like(x)
        self.torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        return lambda: self.torch.matmul(x, y, out=out), 2.0 * size**3

    def conv(self, dtype: str) -> tuple[Callable[[], Any], float]:
        torch = self.torch
        sizes = shapes(dtype, self.quick)
        x, w = (self.random(s, dtype).contiguous(memory_format=torch.channels_last) for s in sizes)
        torch.backends.cudnn.allow_tf32 = False
        return lambda: torch.nn.functional.conv2d(x, w, padding=1), conv_flops(*sizes)


class _Own:
    """The libraries through tracejit's run time."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.device = gpu_frameworks.own_device()
        real = hasattr(self.device, "stream")
        self.timer = gpu_frameworks._own_timer() if real else None

    def best(self, call: Callable[[], Any], seconds: float) -> float:
        return best(call, self.device.synchronize, self.timer, seconds)

    def copy(self, nbytes: int) -> tuple[Callable[[], Any], float]:
        device, half = self.device, nbytes // 2
        x, y = device.alloc(half), device.alloc(half)
        device.fill(x.address, 1, half)
        return lambda kept=(x, y): device.copy(y.address, x.address, half), 2.0 * half

    def filled(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Device memory of random numbers."""
        from gpu_check import DTYPES

        number = DTYPES["f32" if dtype == "tf32" else dtype]
        array = np.random.default_rng(0).standard_normal(shape, np.float32).astype(number)
        memory = self.device.alloc(array.nbytes)
        self.device.to_device(memory.address, array)
        return memory

    def planned(self, spec: Any, *memories: Any) -> Callable[[], Any]:
        plan = self.device.library(spec)
        if plan is None:
            raise gpu_frameworks.MissingError("no library has it")
        workspace = self.device.alloc(max(plan.workspace, 1))
        addresses = [memory.address for memory in memories]
        kept = (memories, workspace)
        return lambda kept=kept: plan.run(addresses, workspace.address)

    def matmul(self, dtype: str) -> tuple[Callable[[], Any], float]:
        from gpu_check import gemm_spec

        size = 64 if self.quick else SIZES[dtype]
        number, compute = ("f32", "tf32") if dtype == "tf32" else (dtype, None)
        spec = gemm_spec((size, size), (size, size), number, compute=compute)
        memories = [self.filled((size, size), number) for _ in range(3)]
        return self.planned(spec, *memories), 2.0 * size**3

    def conv(self, dtype: str) -> tuple[Callable[[], Any], float]:
        from gpu_check import conv_spec

        x, w = shapes(dtype, self.quick)
        spec = conv_spec("forward", dtype, x, w, "NHWC", padding=1)
        memories = [self.filled(shape, dtype) for shape in (x, w, spec.y)]
        return self.planned(spec, *memories), conv_flops(x, w)
