"""Schedules as CUDA C: on the CPU that plays a GPU, and as instructions of a real one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.gpu.host_kernels import needs_compiler
from tests.gpu.schedule_checks import (
    biased,
    check,
    kernels,
    layer_norm,
    plus_transposed,
    relu,
    softmax_gradient,
    sums,
    variance,
)
from tests.passes.pass_checks import graph_of
from tests.passes.test_group import softmax
from tracejit.codegen.cuda import cuda_source
from tracejit.runtime.gpu import nvrtc, shared
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.runtime.gpu.nvrtc import compile_cubin, inspect, sass

needs_nvrtc = pytest.mark.skipif(bool(shared.why_missing("nvrtc")), reason="NVRTC is not installed")


@pytest.fixture(scope="module")
def device() -> Iterator[HostDevice]:
    yield HostDevice(orders=(0, 1, 7))


EMULATED: dict[str, tuple[Any, ...]] = {
    "map": ("f32[100003]", relu),
    "half": ("f16[301,40]", "f16[40]", biased),
    "softmax": ("f32[50,1000]", softmax),
    "norm": ("bf16[13,3000]", layer_norm),
    "gradient": ("f32[5,2052]", "f32[5,2052]", softmax_gradient),
    "sum": ("f32[500001]", sums((0,))),
    "columns": ("f32[3000,70]", sums((0,))),
    "images": ("f32[20,6,9,9]", variance((0, 2, 3))),
    "transpose": ("f32[200,150]", "f32[150,200]", plus_transposed),
}


@needs_compiler
@pytest.mark.parametrize("name", EMULATED)
def test_on_the_host(device: HostDevice, name: str) -> None:
    check(graph_of(*EMULATED[name]), device=device)


#: graphs, and whether all that they read and write are vectors of 16 bytes
LARGE: dict[str, tuple[Any, ...]] = {
    "map": ("f32[16777216]", relu),
    "bias": ("f32[65536,1024]", "f32[1024]", biased),
    "softmax_256": ("f32[65536,256]", softmax),
    "softmax_1000": ("f32[65536,1000]", softmax),
    "softmax_4096": ("bf16[8192,4096]", softmax),
    "softmax_32768": ("f32[8192,32768]", softmax),
    "norm": ("f32[65536,1024]", layer_norm),
    "gradient": ("f32[65536,2048]", "f32[65536,2048]", softmax_gradient),
    "sum": ("f32[67108864]", sums((0,))),
    "columns": ("f16[65536,1024]", sums((0,))),
    "images": ("f32[32,64,56,56]", sums((0, 2, 3))),
    "transpose": ("f32[4096,4096]", "f32[4096,4096]", plus_transposed),
}


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    sources = []
    for name, given in LARGE.items():
        (kernel,) = kernels(graph_of(*given))
        sources.append(cuda_source(replace(kernel, name=f"{name}_kernel")))
    return compile_cubin(sources, 90)


@needs_nvrtc
@pytest.mark.parametrize("name", LARGE)
def test_registers_hold_all(images: dict[str, bytes], name: str) -> None:
    """No kernel keeps anything in local memory, and enough threads fit a multiprocessor."""
    found = inspect(images[f"{name}_kernel"])[f"{name}_kernel"]
    assert found.local == 0
    assert found.registers <= 64 and found.shared <= 20 << 10


@needs_nvrtc
@pytest.mark.parametrize("name", [name for name in LARGE if name != "transpose"])
def test_accesses_are_of_16_bytes(images: dict[str, bytes], name: str) -> None:
    if nvrtc.tool("cuobjdump") is None:
        pytest.skip("cuobjdump is not installed: pip install nvidia-cuda-cuobjdump")
    text = (
        sass(images[f"{name}_kernel"])
        .partition(f"Function : {name}_kernel\n")[2]
        .partition("Function : ")[0]
    )
    assert re.search(r"LDG\.E\.128", text)
    if name.startswith(("softmax", "norm", "gradient", "bias", "map")):
        assert re.search(r"STG\.E\.128", text)
