"""Where the data of Arrays lies: on the host, on GPUs, on both. Copies between them.

    put(x, device)              an Array bound to the device
    memory_on(x, device)        its memory there, copied first where need be, then kept
    where([x, y])               the device that an operation on these runs on

An Array is bound to a device ("committed") when a user put it there or when it was computed of such
Arrays: its Kind has the device then. Others move by themselves to where they are used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import OutOfMemoryError
from tracejit.frontend import array as core
from tracejit.frontend import recording
from tracejit.frontend.devices import CPU, Device, common, default, find
from tracejit.frontend.trace import current_trace
from tracejit.ir.types import TensorType
from tracejit.runtime import buffers
from tracejit.runtime.gpu import pending
from tracejit.runtime.gpu.device import ROOM
from tracejit.source import here

#: scalars of which a device keeps copies
MOST_SCALARS = 4096


class Held:
    """The place of an Array that has memory on a GPU; false, as code for the CPU cannot use it.

    ``home``: the GPU that it belongs to, None where the host's data was copied there for calls.
    ``host``: where the same data lies on the host, once somebody looked. ``lent``: whether others
    have the address: the memory is not given to results then.
    """

    __slots__ = ("home", "memories", "host", "lent")

    def __init__(self, home: Device | None, memories: dict[Device, Any], host: Any = None) -> None:
        self.home = home
        self.memories = memories
        self.host = host
        self.lent = False

    def __bool__(self) -> bool:
        return False

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The data on the host: waits for the device and raises what failed on it."""
        if self.host is None:
            assert self.home is not None
            data = download(self.home, self.memories[self.home], TensorType(dtype, shape))
            self.host = buffers.place_of(data)
        return self.host.array(shape, dtype)  # type: ignore[no-any-return]


# ---- copies --------------------------------------------------------------------------------------


def allocate(device: Device, nbytes: int) -> Any:
    """Memory on a GPU, of at least one byte. Raises OutOfMemoryError at the user's line."""
    try:
        return device.runtime.alloc(nbytes or 1)
    except OutOfMemoryError as error:
        error.at, error.hint = error.at or here(), error.hint or ROOM
        raise


def upload(device: Device, data: np.ndarray) -> Any:
    """New memory on a GPU with a copy of ``data``."""
    data = buffers.ready(data)
    memory = allocate(device, data.nbytes)
    if data.nbytes:
        device.runtime.to_device(memory.address, data)
    return memory


def download(device: Device, memory: Any, type: TensorType) -> np.ndarray:
    """A copy on the host; waits, and raises what failed before."""
    data = buffers.empty(type)
    if data.nbytes:
        device.runtime.to_host(data, memory.address)
    else:
        device.runtime.synchronize()
    pending.drain(device.runtime)
    return data


_scalars: OrderedDict[tuple[Any, ...], Any] = OrderedDict()


def scalar_on(value: np.ndarray, device: Device) -> Any:
    """Memory with one element, kept: numbers come again."""
    key = (device, value.dtype, value.tobytes())
    memory = _scalars.get(key)
    if memory is None:
        memory = _scalars[key] = upload(device, value)
        while len(_scalars) > MOST_SCALARS:
            _scalars.popitem(last=False)
    return memory


def memory_on(leaf: Any, device: Device) -> Any:
    """The memory on a GPU of an Array, NumPy array or number. An Array keeps what was copied."""
    array = leaf if type(leaf) is core.Array else core.as_array(leaf)
    held = array._place
    if type(held) is Held:
        memory = held.memories.get(device)
        if memory is not None:
            return memory
    data = array.concrete("a compiled function")
    if data.ndim == 0:
        return scalar_on(data, device)
    memory = upload(device, data)
    if array is leaf:
        if type(held) is not Held:
            held = array._place = Held(None, {}, array._place)
        held.memories[device] = memory
    return memory


# ---- Arrays --------------------------------------------------------------------------------------


def placed(device: Device, memory: Any, kind: Any) -> Any:
    """An Array over device memory; bound to where its Kind says."""
    array = core.Array(None, weak=kind.weak)
    array._kind = kind
    array._place = Held(device, {device: memory})
    return array


def binding(array: Any) -> Device | None:
    """The device that an Array is bound to."""
    kind = array._kind
    return None if kind is None else kind.device


def home(array: Any) -> Device:
    """The device on which a concrete Array lies."""
    bound = binding(array)
    if bound is None and type(array._place) is Held:
        bound = array._place.home
    return bound or CPU


def on_gpu(array: Any) -> bool:
    """Whether a concrete Array lies on a GPU."""
    return type(array._place) is Held and array._place.home is not None


def where(arrays: Sequence[Any], what: str) -> tuple[Device, bool] | None:
    """The device that an operation ``what`` on Arrays runs on, and whether its results are bound
    to it. None is the CPU with results that are not. Raises DeviceError for operands on two.
    """
    for array in arrays:
        kind = array._kind
        if kind is not None and kind.device is not None:
            bound = common(
                ((binding(a), f"operand {k}, {a.type},") for k, a in enumerate(arrays, 1)), what
            )
            assert bound is not None
            return bound, True
    device = default()
    return None if device is CPU else (device, False)


def bind(array: Any, device: Device | None) -> Any:
    """A concrete Array, which nobody else has, bound to the device; None unbinds."""
    kind = array._find_kind()
    array._kind = core.kind_for(kind.dtype, kind.shape, kind.weak, device)
    return array


def twin(array: Any) -> Any:
    """Another Array object of the same value, concrete or traced."""
    found = core.Array(array._array, array._value, array._trace, array._is_weak)
    found._kind, found._place = array._kind, array._place
    return found


def own(found: Any, given: Any) -> Any:
    """``found``, as another object where it is ``given`` itself: ``x[i] = v`` changes the object,
    and what NumPy makes a copy must not change with it.
    """
    return twin(found) if found is given else found


def put(array: Any, device: Device | None, *, bound: bool = True) -> Any:
    """A concrete Array on ``device``, and bound to it. With None: where it is, or on the default
    device if it is bound to none.
    """
    if device is None:
        if binding(array) is not None or on_gpu(array):
            return array
        device, bound = default(), False
    if binding(array) is device:
        return array
    if device is CPU:
        if recording.is_watched(array):
            found = twin(array)
        else:
            found = core.Array(array.concrete("device_put"), weak=array._weak)
        return bind(found, CPU if bound else None)
    array._find_kind()
    held = array._place
    memory = held.memories.get(device) if type(held) is Held else None
    if memory is None:
        memory = upload(device, array.concrete("device_put"))
    found = placed(device, memory, array._kind)
    if type(held) is Held:
        found._place.host = held.host
    return bind(found, device if bound else None)


def settled(array: Any, device: Any) -> Any:
    """What a creation function returns for its argument ``device``. Inside a trace it stays where
    the program runs.
    """
    target = None if device is None else find(device)
    if current_trace() is not None or array._trace is not None:
        return array
    return put(array, target)


def copied(array: Any) -> Any:
    """The same value in memory of its own, where it lies."""
    if recording.is_watched(array):
        return core.watched(recording.changed(np.array, array))
    if not on_gpu(array):
        found = core.Array(np.array(array.concrete("copy")), weak=False)
        return bind(found, CPU) if binding(array) is CPU else found
    device = array._place.home
    source, nbytes = array._place.memories[device], array.type.nbytes
    memory = allocate(device, nbytes)
    if nbytes:
        device.runtime.copy(memory.address, source.address, nbytes)
    kind = array._find_kind()
    return placed(device, memory, core.kind_for(kind.dtype, kind.shape, False, kind.device))


def snapshot(array: Any) -> Any:
    """A copy that keeps the value, whatever others write to memory that they share."""
    if on_gpu(array) and not array._place.lent:
        return twin(array)
    return copied(array)


def wait(array: Any) -> None:
    """Wait until an Array's value is there; raises what failed on its device."""
    if on_gpu(array):
        array._place.home.synchronize()
