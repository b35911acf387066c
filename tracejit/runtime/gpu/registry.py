"""The GPUs of this machine, or the one that plays a GPU.

gpus()                      (CupyDevice(0), ...), opened when first asked for; () without one
problem()                   why there is none, and what to install
with emulated(device):      inside, ``gpus()`` is just that device
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tracejit.config import Settings, config, emulating
from tracejit.errors import DeviceError
from tracejit.lazy import lazy

if TYPE_CHECKING:
    from tracejit.runtime.gpu.device import Device

# CuPy loads when the first GPU is opened, what looks for packages when there is a driver
_cupy_device = lazy("tracejit.runtime.gpu.cupy_device")
_shared = lazy("tracejit.runtime.gpu.shared")

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
    try:
        return tuple(_cupy_device.CupyDevice(k) for k in range(driver()[0]))
    except ImportError as error:
        said = str(error).strip().splitlines()
        raise DeviceError(f"CuPy does not load: {said[0] if said else 'an ImportError'}") from error


def emulated(device: Device) -> AbstractContextManager[Settings]:
    """A block in which ``device`` is the only GPU, for this thread or asyncio task."""
    return emulating(device)


@functools.cache
def problem() -> str:
    """Why there is no GPU to use, or the empty text."""
    missing = "" if importlib.util.find_spec("cupy") else f"CuPy is not installed ({EXTRA})"
    return "; ".join(filter(None, (driver()[1], missing))) or _too_old()


def _too_old() -> str:
    """What is wrong with the driver's version, if anything is."""
    known = _driver_version()
    built = _shared.built_for() if known else None
    if built is None or known >= 1000 * built:
        return ""
    return (
        f"the NVIDIA driver knows CUDA up to {known // 1000}.{known % 1000 // 10}, and the CuPy "
        f"installed is for CUDA {built} (install a newer driver, or CuPy for an older CUDA: "
        f"{EXTRA})"
    )


@functools.cache
def driver() -> tuple[int, str]:
    """How many devices the NVIDIA driver sees, and why it sees none."""
    library = _library()
    if library is None:
        return 0, f"no NVIDIA driver ({_FILE} is not found)"
    status = library.cuInit(0)
    if status:
        return 0, f"the NVIDIA driver does not start ({_said(library, status)})"
    count = ctypes.c_int(0)
    library.cuDeviceGetCount(ctypes.byref(count))
    return count.value, "" if count.value else "the NVIDIA driver sees no device"


_FILE = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def _library() -> Any:
    """The driver's library, or None."""
    try:
        return ctypes.CDLL(_FILE)
    except OSError:
        return None


def _said(library: Any, status: int) -> str:
    """An error of the driver in its own words: "CUDA_ERROR_NO_DEVICE, 100"."""
    name = ctypes.c_char_p()
    failed = library.cuGetErrorName(status, ctypes.byref(name))
    known = b"cuInit" if failed or name.value is None else name.value
    return f"{known.decode()}, {status}"


def _driver_version() -> int:
    """The newest CUDA that the driver serves: 12040 is 12.4; 0 where it does not say."""
    version = ctypes.c_int(0)
    library = _library()
    if library is not None:
        library.cuDriverGetVersion(ctypes.byref(version))
    return version.value
