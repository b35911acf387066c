"""Fourier transforms by cuFFT, called through ctypes.

    library = Cufft(lambda: stream.ptr, device.copy)       for a device
    plan = library.plan(spec)                              None where cuFFT has none
    plan.run((x, y), workspace)

A plan knows sizes and strides (cuFFT's "advanced data layout"); the memory it works in is ours, set
before a call where it is another one, so that nothing is allocated while a program is recorded.
cuFFT overwrites the spectrum of a transform to real numbers: it gets a copy. Numbers are those of
cufft.h (CUDA 12 and 13).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

from tracejit.errors import DeviceError
from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.library import FftSpec, Spec
from tracejit.runtime.gpu.device import LibraryPlan
from tracejit.runtime.gpu.shared import find, why_missing

#: (kind, dtype) -> cufftType and the function that runs it
KINDS = {
    ("fft", "f32"): (0x29, "ExecC2C"),
    ("ifft", "f32"): (0x29, "ExecC2C"),
    ("rfft", "f32"): (0x2A, "ExecR2C"),
    ("irfft", "f32"): (0x2C, "ExecC2R"),
    ("fft", "f64"): (0x69, "ExecZ2Z"),
    ("ifft", "f64"): (0x69, "ExecZ2Z"),
    ("rfft", "f64"): (0x6A, "ExecD2Z"),
    ("irfft", "f64"): (0x6C, "ExecZ2D"),
}
#: CUFFT_FORWARD, CUFFT_INVERSE
DIRECTIONS = {"fft": -1, "ifft": 1}
STATUS = {
    1: "INVALID_PLAN",
    2: "ALLOC_FAILED",
    3: "INVALID_TYPE",
    4: "INVALID_VALUE",
    5: "INTERNAL_ERROR",
    6: "EXEC_FAILED",
    7: "SETUP_FAILED",
    8: "INVALID_SIZE",
    9: "UNALIGNED_DATA",
    11: "INVALID_DEVICE",
    13: "NO_WORKSPACE",
    14: "NOT_IMPLEMENTED",
    16: "NOT_SUPPORTED",
    17: "MISSING_DEPENDENCY",
    18: "NVRTC_FAILURE",
    19: "NVJITLINK_FAILURE",
}
#: what a plan that cannot be made says of its sizes
NOT_SUPPORTED = frozenset((8, 14, 16))
ALIGNMENT = 256

_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
#: types of arguments, by name without ``cufft``; a handle of cuFFT is an int
SIGNATURES: dict[str, list[Any]] = {
    "Create": [_P],
    "Destroy": [_I],
    "SetAutoAllocation": [_I, _I],
    "MakePlanMany64": [_I, _I, _P, _P, _L, _L, _P, _L, _L, _I, _L, _P],
    "SetStream": [_I, _P],
    "SetWorkArea": [_I, _P],
    "ExecC2C": [_I, _P, _P, _I],
    "ExecZ2Z": [_I, _P, _P, _I],
    **{f"Exec{name}": [_I, _P, _P] for name in ("R2C", "C2R", "D2Z", "Z2D")},
}


@lru_cache(maxsize=1)
def functions() -> dict[str, Any]:
    """The library's functions, by name without ``cufft``. Raises DeviceError without it."""
    library = find("cufft")
    if library is None:
        raise DeviceError(f"Fourier transforms on a GPU: {why_missing('cufft')}")
    found = {}
    for name, types in SIGNATURES.items():
        function = getattr(library, f"cufft{name}")
        function.argtypes, function.restype = types, ctypes.c_int
        found[name] = function
    return found


def check(status: int, what: str, where: str = "") -> None:
    """Raise DeviceError, which names the status, for one that is not success."""
    if status:
        name = STATUS.get(status, f"status {status}")
        raise DeviceError(f"cuFFT: {name} from cufft{what}" + (f": {where}" if where else ""))


def text(spec: FftSpec) -> str:
    """A spec in one line, for messages."""
    where = "the first axes" if spec.first else "the last axes"
    return f"{spec.batch} x {spec.kind} of {list(spec.lengths)}, {spec.dtype}, over {where}"


class FftPlan(LibraryPlan):
    """A transform made ready: only addresses, workspace and stream change from run to run."""

    def __init__(
        self,
        spec: FftSpec,
        handle: ctypes.c_int,
        nbytes: int,
        stream: Callable[[], int],
        copy: Callable[[int, int, int], None],
    ) -> None:
        self.spec = spec
        self._handle = handle
        self._stream = stream
        self._copy = copy
        self._lock = threading.Lock()
        self._area = 0
        name = KINDS[spec.kind, spec.dtype][1]
        self._exec, self._destroy = functions()[name], functions()["Destroy"]
        self._name = name
        self._more = (DIRECTIONS[spec.kind],) if spec.kind in DIRECTIONS else ()
        #: bytes of a spectrum that is copied, which lies before the memory that cuFFT works in
        self._copied = 0
        if spec.kind == "irfft":
            item = 2 * DTYPES[spec.dtype].itemsize
            self._copied = spec.batch * prod(spec.extents[0]) * item
        self._own = nbytes
        self._at = -(-self._copied // ALIGNMENT) * ALIGNMENT
        self.workspace = self._at + nbytes

    @classmethod
    def make(
        cls, spec: FftSpec, stream: Callable[[], int], copy: Callable[[int, int, int], None]
    ) -> FftPlan | None:
        """A plan for ``spec``; None where the library takes no such sizes. Raises DeviceError where
        it fails.
        """
        call = functions()
        handle, nbytes = ctypes.c_int(), ctypes.c_size_t()
        check(call["Create"](ctypes.byref(handle)), "Create", "no plan on this device")
        check(call["SetAutoAllocation"](handle, 0), "SetAutoAllocation")
        rank, (step, *distances) = len(spec.lengths), spec.strides
        sizes = ctypes.c_longlong * rank
        lengths, x, y = sizes(*spec.lengths), *(sizes(*extents) for extents in spec.extents)
        status = call["MakePlanMany64"](
            *(handle, rank, lengths, x, step, distances[0], y, step, distances[1]),
            *(KINDS[spec.kind, spec.dtype][0], spec.batch, ctypes.byref(nbytes)),
        )
        if status:
            call["Destroy"](handle)
            if status in NOT_SUPPORTED:
                return None
            check(status, "MakePlanMany64", text(spec))
        return cls(spec, handle, nbytes.value, stream, copy)

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        """Put the transform on the stream."""
        x, y = addresses
        call = functions()
        with self._lock:
            if self._copied:
                self._copy(workspace, x, self._copied)
                x = workspace
            check(call["SetStream"](self._handle, self._stream()), "SetStream")
            area = workspace + self._at
            if self._own and area != self._area:
                check(call["SetWorkArea"](self._handle, area), "SetWorkArea")
                self._area = area
            status = self._exec(self._handle, x, y, *self._more)
        check(status, self._name, text(self.spec) if status else "")

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._destroy(self._handle)


class Cufft:
    """The library on one stream of the device that is current when plans are asked for.

    ``copy(target, source, nbytes)`` copies within the device, on that stream.
    """

    def __init__(self, stream: Callable[[], int], copy: Callable[[int, int, int], None]) -> None:
        self._stream = stream
        self._copy = copy

    def plan(self, spec: Spec) -> LibraryPlan | None:
        """A plan for a transform; None where the library has none, or is missing."""
        if not isinstance(spec, FftSpec) or why_missing("cufft"):
            return None
        return FftPlan.make(spec, self._stream, self._copy)
