"""Devices as users see them: the CPU and the GPUs, and which of them a call runs on.

    >>> devices("cpu")
    [CpuDevice(id=0)]
    >>> find("cpu") is devices("cpu")[0]
    True

A call runs on the device that ``jit(device=)`` names; else where its arguments were put; else on
the default device.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tracejit import source
from tracejit.config import Settings, config, legal, settings
from tracejit.errors import ArgumentError, DeviceError, user_traceback
from tracejit.runtime.gpu import pending, registry

if TYPE_CHECKING:
    from tracejit.runtime.gpu.device import Device as RuntimeDevice

PLATFORMS = {"cpu": "cpu", "gpu": "gpu", "cuda": "gpu"}


class Device:
    """A CPU or GPU, one object for each: ``devices()`` has them.

    ``platform`` is "cpu" or "gpu", ``id`` the number among those, ``name`` what names it wherever a
    device is asked for.

    >>> device = tj.devices("cpu")[0]
    >>> device, device.platform, device.id, device.name
    (CpuDevice(id=0), 'cpu', 0, 'cpu')
    """

    __slots__ = ("platform", "id", "name", "runtime", "__weakref__")

    def __init__(self, platform: str, id: int, runtime: RuntimeDevice | None = None) -> None:
        self.platform = platform
        self.id = id
        self.name = "cpu" if runtime is None else f"cuda:{id}"
        #: what programs run on; None for the CPU
        self.runtime: Any = runtime

    @property
    def device_kind(self) -> str:
        """The model: "NVIDIA H200", or the name of the processor."""
        if self.runtime is not None:
            return self.runtime.properties.name  # type: ignore[no-any-return]
        return processor_name()

    def __repr__(self) -> str:
        return f"{'CpuDevice' if self.runtime is None else 'CudaDevice'}(id={self.id})"

    def __reduce__(self) -> Any:
        return (find, (self.name,))

    def synchronize(self) -> None:
        """Wait until all work is done; raises what failed in it."""
        if self.runtime is not None:
            self.runtime.synchronize()
            pending.drain(self.runtime)


class SingleDeviceSharding:
    """Where an Array lies, in JAX's words: ``x.sharding``. It names the device for ``device_put``.

    >>> jnp.ones(2).sharding
    SingleDeviceSharding(device=CpuDevice(id=0))
    """

    __slots__ = ("_device",)

    is_fully_addressable = is_fully_replicated = True
    memory_kind = "device"

    def __init__(self, device: Device, *, memory_kind: str | None = None) -> None:
        self._device = device

    @property
    def name(self) -> str:
        """What names the device."""
        return self._device.name

    @property
    def device_set(self) -> set[Device]:
        return {self._device}

    @property
    def num_devices(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SingleDeviceSharding) and self._device is other._device

    def __hash__(self) -> int:
        return hash(self._device)

    def __repr__(self) -> str:
        return f"SingleDeviceSharding(device={self._device!r})"


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as facts:
            for line in facts:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return os.uname().machine if hasattr(os, "uname") else "cpu"


#: the CPU, where everything runs that is not asked to run elsewhere
CPU = Device("cpu", 0)
_known: dict[Any, Device] = {}


def user_device(runtime: RuntimeDevice, number: int = 0) -> Device:
    """The one Device over a device of the run time, GPU ``number``."""
    return _known.get(runtime) or _known.setdefault(runtime, Device("gpu", number, runtime))


def gpus() -> list[Device]:
    """The GPUs of this machine."""
    return [user_device(runtime, number) for number, runtime in enumerate(registry.gpus())]


def name_of(given: Any) -> str:
    """The name of a device, "cpu" or "cuda:0", of any way to give one; ArgumentError for others."""
    try:
        return legal("default_device", given)  # type: ignore[no-any-return]
    except ArgumentError:
        raise ArgumentError(
            f"{given!r} names no device",
            at=source.here(),
            hint='devices are "cpu", "gpu", "cuda:1" and what tracejit.devices() lists',
        ) from None


def find(given: Any) -> Device:
    """The Device that ``given`` is or names: "cpu", "gpu", "cuda", "cuda:1".

    Raises ArgumentError for what names no device, DeviceError for one that is not there.
    """
    if isinstance(given, Device):
        return given
    name = name_of(given)
    if name == "cpu":
        return CPU
    found, number = gpus(), int(name.partition(":")[2])
    if number < len(found):
        return found[number]
    raise missing(name, len(found))


def missing(name: str, count: int) -> DeviceError:
    """The error for a GPU that is not there, where there are ``count``."""
    if count:
        return DeviceError(
            f"there is no device {name}",
            at=source.here(),
            hint=f"this machine has {count}, counted from 0",
        )
    return DeviceError(
        f"there is no GPU: {registry.problem()}",
        at=source.here(),
        hint="python -m tracejit doctor says what is found here",
    )


def default() -> Device:
    """The device of calls whose arguments are bound to none."""
    now = config.current()
    if now.default_device != "cpu":
        return find(now.default_device)
    return find("cuda") if now.backend == "cuda" else CPU


def common(homes: Iterable[tuple[Device | None, str]], what: str) -> Device | None:
    """The device that operands are bound to, each given with how a message calls it; None where
    they are bound to none. Raises DeviceError for two.
    """
    first: tuple[Device, str] | None = None
    for device, name in homes:
        if device is None:
            continue
        if first is None:
            first = device, name
        elif device is not first[0]:
            raise DeviceError(
                f"{what}: operands are on two devices, {first[0].name} and {device.name}",
                at=source.here(),
                notes=(f"{first[1]} is on {first[0].name}", f"{name} is on {device.name}"),
                hint=f'move one: tracejit.device_put(x, "{first[0].name}")',
            )
    return None if first is None else first[0]


# ---- what users call -----------------------------------------------------------------------------


@user_traceback
def devices(backend: str | None = None) -> list[Device]:
    """The devices of a platform, "cpu" or "gpu" (also "cuda"), or of the default one.

    Raises DeviceError, which says why, where there is no GPU.

    >>> tj.devices("cpu")
    [CpuDevice(id=0)]
    """
    wanted = default().platform if backend is None else backend
    if wanted not in PLATFORMS:
        raise ArgumentError(
            f"devices: there is no platform {wanted!r}",
            at=source.here(),
            hint='there are: "cpu", "gpu" (also called "cuda")',
        )
    if wanted == "cpu":
        return [CPU]
    found = gpus()
    if not found:
        raise missing("cuda", 0)
    return found


@user_traceback
def local_devices(
    process_index: int | None = None,
    backend: str | None = None,
    host_id: int | None = None,
) -> list[Device]:
    """``devices(backend)``: there is one process, so all are local.

    >>> tj.local_devices(backend="cpu")
    [CpuDevice(id=0)]
    """
    return devices(backend)  # type: ignore[no-any-return]


@user_traceback
def device_count(backend: str | None = None) -> int:
    """How many ``devices(backend)`` there are.

    >>> tj.device_count("cpu")
    1
    """
    return len(devices(backend))


@user_traceback
def local_device_count(backend: str | None = None) -> int:
    """``device_count(backend)``: there is one process, so all are local.

    >>> tj.local_device_count("cpu")
    1
    """
    return len(devices(backend))


def process_index(backend: str | None = None) -> int:
    """The number of this process: there is one.

    >>> tj.process_index(), tj.process_count(), tj.process_indices()
    (0, 1, [0])
    """
    return 0


def process_count(backend: str | None = None) -> int:
    """How many processes there are: one."""
    return 1


def process_indices(backend: str | None = None) -> list[int]:
    """The numbers of all processes: [0]."""
    return [0]


@user_traceback
def default_backend() -> str:
    """The platform of the default device, "cpu" or "gpu".

    >>> tj.default_backend()
    'cpu'
    """
    return default().platform


@user_traceback
def default_device(new_val: Any = None) -> AbstractContextManager[Settings]:
    """A block in which calls run on a device unless their arguments are bound to another.

    ``new_val`` is a Device or a name; None is the CPU. Raises DeviceError where it is not there.
    For the process: ``config.default_device = "cuda"`` or ``TRACEJIT_DEVICE=cuda``.

    >>> with tj.default_device("cpu"):
    ...     tj.default_backend()
    'cpu'
    """
    return settings(default_device=CPU.name if new_val is None else find(new_val).name)
