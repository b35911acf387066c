"""The GPUs of this machine, or the one that plays a GPU.

gpus()                      (CupyDevice(0), ...), opened when first asked for; () without one
problem()                   why there is none, and what to install
with emulated(device):      inside, ``gpus()`` is just that device
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import platform
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tracejit.config import Settings, config, emulating
from tracejit.lazy import lazy

if TYPE_CHECKING:
    from tracejit.runtime.gpu.device import Device

# CuPy loads when the first GPU is opened
_cupy_device = lazy("tracejit.runtime.gpu.cupy_device")

#: what installs CuPy and the libraries for it
EXTRA = "pip install 'tracejit[cuda12]' or 'tracejit[cuda13]'"


def gpus() -> tuple[Device, ...]:
    """The GPUs that this process can use, by their ids."""
    emulated_device = config.current().emulated
    if emulated_device is not None:
        return (emulated_device,)
    return () if problem() else _opened()


@functools.cache
def _opened() -> tuple[Device, ...]:
    return tuple(_cupy_device.CupyDevice(k) for k in range(driver()[0]))


def emulated(device: Device) -> AbstractContextManager[Settings]:
    """A block in which ``device`` is the only GPU, for this thread or asyncio task."""
    return emulating(device)


@functools.cache
def problem() -> str:
    """Why there is no GPU to use, or the empty text."""
    missing = "" if importlib.util.find_spec("cupy") else f"CuPy is not installed ({EXTRA})"
    return "; ".join(filter(None, (driver()[1], missing)))


@functools.cache
def driver() -> tuple[int, str]:
    """How many devices the NVIDIA driver sees, and why it sees none."""
    library = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0, f"no NVIDIA driver ({library} is not found)"
    status = driver.cuInit(0)
    if status:
        return 0, f"the NVIDIA driver does not start (cuInit gives {status})"
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    return count.value, "" if count.value else "the NVIDIA driver sees no device"
