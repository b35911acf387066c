"""What figures of a GPU are measured on: device, driver, versions of all libraries.

    describe("cuda")["device"]["name"]

Under ``cudnn_properties`` is the description of the device that cuDNN writes itself, from which it
makes plans on machines without that device (``cudnn_check.py``).
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from typing import Any

PACKAGES = (
    *("cupy-cuda13x", "cupy-cuda12x", "jax", "jaxlib", "jax-cuda13-plugin", "torch", "triton"),
    *("numpy", "llvmlite", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cuda-nvrtc"),
    *("nvidia-cuda-runtime",),
)


def describe(device: str) -> dict[str, Any]:
    """Facts of the device; ``errors`` says which could not be found, and why."""
    found: dict[str, Any] = {"errors": {}, "packages": packages()}

    def kept(name: str, find: Callable[[], Any]) -> None:
        try:
            found[name] = find()
        except Exception as error:
            found["errors"][name] = f"{type(error).__name__}: {error}"[:500]

    kept("libraries", libraries)
    kept("properties", properties)
    if device == "cuda":
        kept("device", cuda_device)
        kept("torch", torch_versions)
        kept("cudnn_properties", cudnn_properties)
    return found


def packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def libraries() -> dict[str, str]:
    """cuBLASLt, cuDNN and NVRTC as tracejit loads them."""
    from tracejit.runtime.gpu import shared

    return shared.versions()


def properties() -> dict[str, Any]:
    """The device as tracejit's schedules see it."""
    import gpu_frameworks

    found = gpu_frameworks.own_device().properties
    names = ("name", "arch", "multiprocessors", "memory", "shared")
    return {name: getattr(found, name) for name in names}


def cuda_device() -> dict[str, Any]:
    """The driver's own words."""
    import cupy

    runtime = cupy.cuda.runtime
    words = runtime.getDeviceProperties(runtime.getDevice())
    plain = {
        key: value.decode(errors="replace") if isinstance(value, bytes) else value
        for key, value in words.items()
        if isinstance(value, bytes | int | float | tuple | list)
    }
    plain.pop("uuid", None)
    free, total = runtime.memGetInfo()
    return {
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "free": free,
        "total": total,
        **plain,
    }


def torch_versions() -> dict[str, Any]:
    """The libraries that torch brings along."""
    import torch

    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "name": torch.cuda.get_device_name(0),
    }


def cudnn_properties() -> dict[str, Any]:
    from tracejit.runtime.gpu import cudnn

    found: dict[str, Any] = json.loads(cudnn.device_properties(0))
    return found
