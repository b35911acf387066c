"""Order between a device's stream and the streams of other libraries, which share memory with it.

    wait_for(device, stream)        what the device does next comes after the stream's work
    let_wait(device, stream)        the other way round

``stream`` is an address, or 1 for the legacy default stream and 2 for that of the thread. A device
that plays a GPU has no stream: its work is done when it is asked for.
"""

from __future__ import annotations

from typing import Any


def stream_of(device: Any) -> Any:
    """A device's CuPy stream, or None."""
    return getattr(device, "stream", None)


def _other(stream: int) -> Any:
    import cupy

    return cupy.cuda.ExternalStream(stream)


def wait_for(device: Any, stream: int) -> None:
    """Work put on ``device`` from here on waits for what is on ``stream`` now."""
    own = stream_of(device)
    if own is not None and own.ptr != stream:
        device.enter()
        own.wait_event(_other(stream).record())


def let_wait(device: Any, stream: int) -> None:
    """Work put on ``stream`` from here on waits for what is on ``device`` now."""
    own = stream_of(device)
    if own is not None and own.ptr != stream:
        device.enter()
        _other(stream).wait_event(own.record())


def device_of(address: int) -> int:
    """The number of the GPU that an address belongs to."""
    import cupy

    return int(cupy.cuda.runtime.pointerGetAttributes(address).device)
