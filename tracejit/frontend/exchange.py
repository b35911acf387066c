"""Arrays on GPUs and other libraries' tensors there: the same memory, without a copy.

    to_dlpack(x, stream=7)              a capsule; stream 7 waits for what computes x
    cuda_array_interface(x)             the protocol of Numba and CuPy, version 3
    from_gpu(tensor)                    an Array over a CuPy array, a CUDA tensor of torch, ...

Such an Array is bound to the tensor's device. Others see what is written to shared memory, so do
not write there. A tensor that begins at no multiple of 16 bytes is copied.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import hints
from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import array as core
from tracejit.frontend.devices import Device, gpus, missing
from tracejit.frontend.placement import allocate, copied, on_gpu, placed
from tracejit.ir.types import DTYPES, TensorType
from tracejit.lazy import lazy
from tracejit.runtime.gpu import streams
from tracejit.runtime.gpu.device import Memory
from tracejit.source import here

# capsules are made by ctypes: their layout loads when one is asked for
_dlpack = lazy("tracejit.runtime.gpu.dlpack")

#: what addresses of operands are multiples of; tensors that begin elsewhere are copied
ALIGNMENT = 16
#: streams by their names in the two protocols
_LEGACY, _NO_ORDER = 1, -1

# ---- out -----------------------------------------------------------------------------------------


def dlpack_device(x: Any) -> tuple[int, int]:
    """The device an Array lies on, by DLPack's numbers."""
    if on_gpu(x):
        return (_dlpack.CUDA, x._place.home.id)
    return x.concrete("__dlpack_device__()").__dlpack_device__()  # type: ignore[no-any-return]


def to_dlpack(
    x: Any,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule over an Array's memory, by the options of the array API."""
    options = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
    on_host: Any = {name: value for name, value in options.items() if value is not None}
    if not on_gpu(x):
        data = x.concrete("__dlpack__()")
        if data.dtype == DTYPES["bf16"]:  # NumPy does not know it
            return _bfloat16_capsule(data, dl_device, copy, max_version)
        return data.__dlpack__(stream=stream, **on_host)
    own = dlpack_device(x)
    if dl_device is not None and tuple(dl_device) != own:
        if dl_device[0] != _dlpack.CPU or copy is False:
            raise BufferError(f"an array on {x._place.home.name} is not shared with {dl_device}")
        return x.concrete("__dlpack__()").__dlpack__(**on_host)
    x = copied(x) if copy else x
    device, memory = _lend(x)
    if stream != _NO_ORDER:
        streams.let_wait(device.runtime, stream or _LEGACY)
    shared = streams.Shared(device.runtime, memory)
    tensor = _dlpack.Tensor(memory.address, x.shape, None, x.dtype, own, shared)
    newest = max_version or (0, 0)
    return _dlpack.export(tensor, versioned=newest[0] >= 1)


def _bfloat16_capsule(data: np.ndarray, dl_device: Any, copy: bool | None, newest: Any) -> Any:
    if dl_device is not None and tuple(dl_device) != (_dlpack.CPU, 0):
        raise BufferError(f"an array on the CPU is not shared with {dl_device}")
    data = data.copy() if copy else data
    strides = tuple(step // data.itemsize for step in data.strides)
    own = (_dlpack.CPU, 0)
    tensor = _dlpack.Tensor(data.ctypes.data, data.shape, strides, data.dtype, own, data)
    return _dlpack.export(tensor, versioned=(newest or (0, 0))[0] >= 1)


class _Bits:
    """Memory of another library as NumPy reads it: 16-bit words. ``owner`` keeps it."""

    def __init__(self, tensor: Any) -> None:
        steps = tensor.strides or _dlpack.row_major(tensor.shape)
        self.owner = tensor.owner
        self.__array_interface__ = {
            "version": 3,
            "typestr": "<u2",
            "data": (tensor.address, False),
            "shape": tensor.shape,
            "strides": tuple(2 * step for step in steps),
        }


def bfloat16_from(x: Any) -> np.ndarray | None:
    """A bfloat16 tensor on the CPU that speaks DLPack, as a NumPy array over its memory; None for
    anything else.
    """
    if not hasattr(x, "__dlpack__") or not str(getattr(x, "dtype", "")).endswith("bfloat16"):
        return None
    if x.__dlpack_device__()[0] != _dlpack.CPU:
        return None
    try:
        tensor = _dlpack.take(x.__dlpack__())
    except BufferError as error:
        raise _unsupported(str(error)) from None
    return np.asarray(_Bits(tensor)).view(DTYPES["bf16"])


def _lend(x: Any) -> tuple[Device, Memory]:
    """An Array's device and memory, which from here on is not given to results."""
    held = x._place
    held.lent = True
    return held.home, held.memories[held.home]


def cuda_array_interface(x: Any) -> dict[str, Any]:
    """``__cuda_array_interface__``, version 3: https://nvidia.github.io/numba-cuda/user/
    cuda_array_interface.html. Raises AttributeError for what is on no GPU, as the protocol wants.
    """
    if not on_gpu(x) or x._trace is not None or x.dtype.kind == "V":
        raise AttributeError("only arrays on a GPU have __cuda_array_interface__")
    device, memory = _lend(x)
    stream = streams.stream_of(device.runtime)
    if stream is None:
        device.runtime.synchronize()
    return {
        "shape": x.shape,
        "typestr": x.dtype.str,
        "data": (memory.address if x.size else 0, False),
        "strides": None,
        "stream": None if stream is None else stream.ptr,
        "version": 3,
    }


# ---- in ------------------------------------------------------------------------------------------


def from_dlpack(x: Any) -> Any:
    """An Array over another library's tensor, where that lies."""
    found = from_gpu(x)
    if found is not None:
        return found
    narrow = bfloat16_from(x)
    return core.as_array(np.from_dlpack(x) if narrow is None else narrow)


def from_gpu(x: Any) -> Any:
    """An Array over a tensor on a GPU, bound to that; None for what is no such tensor.

    Raises DeviceError where the GPU is not there, ArgumentError for memory with gaps, DTypeError.
    """
    if isinstance(x, core.Array):
        return x if on_gpu(x) else None
    place = getattr(x, "__dlpack_device__", None)
    if place is not None:
        kind, number = place()
        if kind not in (_dlpack.CUDA, _dlpack.CUDA_MANAGED):
            return None
        return _from_capsule(x, _device(number))
    found = getattr(x, "__cuda_array_interface__", None)
    return None if found is None else _from_interface(x, found)


def _from_capsule(x: Any, device: Device) -> Any:
    own = streams.stream_of(device.runtime)
    stream = _NO_ORDER if own is None else own.ptr
    try:
        capsule = x.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # those who speak the protocol's first version only
        capsule = x.__dlpack__(stream=stream)
    try:
        tensor = _dlpack.take(capsule)
    except BufferError as error:
        raise _unsupported(str(error)) from None
    return _over(tensor, device)


def _from_interface(x: Any, found: dict[str, Any]) -> Any:
    address, _ = found["data"]
    dtype, shape = np.dtype(found["typestr"]), tuple(found["shape"])
    if dtype not in DTYPES.values() or not dtype.isnative:
        raise _unsupported(f"arrays of dtype {dtype} are not supported")
    if found.get("mask") is not None:
        raise ArgumentError("arrays with a mask are not supported", at=here())
    several = len(gpus()) > 1 and address
    device = _device(streams.device_of(address) if several else 0)
    stream = found.get("stream") if found.get("version", 0) >= 3 else _LEGACY
    if stream is not None:
        streams.wait_for(device.runtime, stream)
    steps = found.get("strides")
    strides = None if steps is None else tuple(step // dtype.itemsize for step in steps)
    return _over(
        _dlpack.Tensor(address, shape, strides, dtype, (_dlpack.CUDA, device.id), x), device
    )


def _unsupported(what: str) -> DTypeError:
    return DTypeError(
        what, at=here(), hint=hints.supported(known.name for known in DTYPES.values())
    )


def _device(number: int) -> Device:
    """GPU ``number``; DeviceError where it is not there."""
    available = gpus()
    if number >= len(available):
        raise missing(f"cuda:{number}", len(available))
    return available[number]


def _over(tensor: Any, device: Device) -> Any:
    """An Array over a tensor's memory. Exchanged axes are put in order by a copy on the device, and
    memory that begins where no wide access may (``tensor[1:]``) is copied too.
    """
    type = TensorType(tensor.dtype, tensor.shape)
    order = _order(tensor)
    if order is None:
        raise ArgumentError(
            f"the elements of a tensor, {type}, do not lie one after the other: strides of "
            f"{tensor.strides} elements",
            at=here(),
            hint="pass a contiguous copy of it",
        )
    shape = tuple(tensor.shape[k] for k in order)
    memory = Memory(tensor.address, type.nbytes, streams.Shared(device.runtime, tensor.owner))
    own = bool(type.nbytes and tensor.address % ALIGNMENT)
    if own:
        memory = allocate(device, type.nbytes)
        device.runtime.copy(memory.address, tensor.address, type.nbytes)
        device.runtime.synchronize()  # then the owner may give the tensor's memory to others
    array = placed(device, memory, core.kind_for(type.dtype, shape, False, device))
    array._place.lent = not own
    if order == tuple(range(type.ndim)):
        return array
    back = tuple(order.index(k) for k in range(type.ndim))
    found = core.methods.transpose(array, back)
    device.runtime.synchronize()  # for the same reason
    return found


def _order(tensor: Any) -> tuple[int, ...] | None:
    """The order of axes in which memory is contiguous; None where there is none."""
    axes = tuple(range(len(tensor.shape)))
    if tensor.strides is None or 0 in tensor.shape:
        return axes
    for order in (axes, tuple(sorted(axes, key=lambda k: -tensor.strides[k]))):
        shape = tuple(tensor.shape[k] for k in order)
        expected = _dlpack.row_major(shape)
        strides = tuple(tensor.strides[k] for k in order)
        if all(n == 1 or a == b for n, a, b in zip(shape, strides, expected, strict=True)):
            return order
    return None
