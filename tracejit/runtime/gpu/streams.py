"""Order between a device's stream and the streams of other libraries, which share memory with it.

    wait_for(device, stream)        what the device does next comes after the stream's work
    let_wait(device, stream)        the other way round
    Shared(device, owner)           keeps memory until nobody is at it any more

``stream`` is an address, or 1 for the legacy default stream and 2 for that of the thread. A device
that plays a GPU has no stream: its work is done when it is asked for.
"""

from __future__ import annotations

from typing import Any

from tracejit.lazy import lazy

cupy = lazy("cupy")


def stream_of(device: Any) -> Any:
    """A device's CuPy stream, or None."""
    return getattr(device, "stream", None)


class _Stream:
    """Another library's stream, by CUDA's protocol for streams."""

    def __init__(self, address: int) -> None:
        self.address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


def _other(stream: int) -> Any:
    return cupy.cuda.Stream.from_external(_Stream(stream))


def wait_for(device: Any, stream: int) -> None:
    """Work put on ``device`` from here on waits for what is on ``stream`` now."""
    own = stream_of(device)
    if own is not None and own.ptr != stream:
        with device.at("waiting for another library's stream"):
            own.wait_event(_other(stream).record())


def let_wait(device: Any, stream: int) -> None:
    """Work put on ``stream`` from here on waits for what is on ``device`` now."""
    own = stream_of(device)
    if own is not None and own.ptr != stream:
        with device.at("letting another library's stream wait"):
            _other(stream).wait_event(own.record())


class Shared:
    """Memory that another library uses too. Whoever has it last waits for all work on the device: a
    kernel of either may still be at it, and the memory may be given away next.
    """

    __slots__ = ("device", "owner")

    def __init__(self, device: Any, owner: Any) -> None:
        self.device = device
        self.owner = owner

    def __del__(self) -> None:
        if stream_of(self.device) is not None:
            try:
                cupy.cuda.runtime.deviceSynchronize()
            except Exception:  # of failed work, which others report
                pass


def device_of(address: int) -> int:
    """The number of the GPU that an address belongs to."""
    return int(cupy.cuda.runtime.pointerGetAttributes(address).device)
