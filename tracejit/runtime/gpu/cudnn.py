"""cuDNN's graph API by ctypes: the library, its descriptors and what it says when it fails.

    x = Descriptor("tensor", unique_id=1, data_type=DATA_TYPES["f16"], dimensions=..., strides=...)
    Target(Handle(lambda: stream.ptr))       plans that run on a GPU's stream
    Target.described(json)                   plans for a GPU that is not here

In: attributes by name, of which ``KINDS`` knows number and type. Out: finished descriptors, which
keep alive what they were made of. Names and numbers are those of ``cudnn_graph.h`` of cuDNN 9.
Nothing here imports CuPy or needs a GPU; the library loads at the first descriptor.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from ctypes import byref, c_bool, c_char, c_double, c_float, c_int, c_int64, c_void_p, cast
from functools import lru_cache
from typing import Any

from tracejit.errors import BackendError, DeviceError
from tracejit.record import dataclass
from tracejit.runtime.gpu import shared

#: what an attribute's elements are: number of the type and how they lie in memory
Type = tuple[int, Any]
HANDLE: Type = (0, c_void_p)
DATA_TYPE: Type = (1, c_int)
BOOLEAN: Type = (2, c_bool)
INT64: Type = (3, c_int64)
FLOAT: Type = (4, c_float)
DOUBLE: Type = (5, c_double)
VOID_PTR: Type = (6, c_void_p)
CONVOLUTION_MODE: Type = (7, c_int)
HEUR_MODE: Type = (8, c_int)
NUMERICAL_NOTE: Type = (11, c_int)
POINTWISE_MODE: Type = (14, c_int)
DESCRIPTOR: Type = (15, c_void_p)
REDUCTION_OPERATOR: Type = (18, c_int)
BEHAVIOR_NOTE: Type = (19, c_int)
INT32: Type = (23, c_int)
CHAR: Type = (24, c_char)


def _convolution(first: int, *tensors: str) -> dict[str, tuple[int, Type]]:
    """Attributes of a convolution's operation: numbers count up from ``first``."""
    kinds = {"alpha": FLOAT, "beta": FLOAT, "conv_desc": DESCRIPTOR}
    kinds |= {name: DESCRIPTOR for name in tensors}
    return {name: (first + k, kind) for k, (name, kind) in enumerate(kinds.items())}


#: descriptor -> its number, and attribute -> its number and type
KINDS: dict[str, tuple[int, dict[str, tuple[int, Type]]]] = {
    "pointwise": (
        0,
        {
            "mode": (0, POINTWISE_MODE),
            "math_prec": (1, DATA_TYPE),
            "relu_lower_clip": (3, DOUBLE),
            "axis": (9, INT64),
        },
    ),
    "convolution": (
        1,
        {
            "comp_type": (100, DATA_TYPE),
            "conv_mode": (101, CONVOLUTION_MODE),
            "dilations": (102, INT64),
            "filter_strides": (103, INT64),
            "post_paddings": (104, INT64),
            "pre_paddings": (105, INT64),
            "spatial_dims": (106, INT64),
        },
    ),
    "engine": (
        2,
        {
            "global_index": (1301, INT64),
            "numerical_note": (1303, NUMERICAL_NOTE),
            "behavior_note": (1305, BEHAVIOR_NOTE),
        },
    ),
    "engine_config": (3, {"engine": (300, DESCRIPTOR), "workspace_size": (303, INT64)}),
    "heuristics": (
        4,
        {
            "mode": (200, HEUR_MODE),
            "operation_graph": (201, DESCRIPTOR),
            "results": (202, DESCRIPTOR),
            "deviceprop": (204, DESCRIPTOR),
        },
    ),
    "plan": (
        5,
        {
            "handle": (400, HANDLE),
            "engine_config": (401, DESCRIPTOR),
            "workspace_size": (402, INT64),
            "deviceprop": (407, DESCRIPTOR),
        },
    ),
    "forward": (10, _convolution(700, "w", "x", "y")),
    "weights": (11, _convolution(712, "dw", "x", "dy")),
    "data": (12, _convolution(706, "w", "dx", "dy")),
    "operation_pointwise": (
        13,
        {
            "descriptor": (750, DESCRIPTOR),
            "x": (751, DESCRIPTOR),
            "b": (752, DESCRIPTOR),
            "y": (753, DESCRIPTOR),
            "alpha1": (754, FLOAT),
            "alpha2": (755, FLOAT),
            "t": (758, DESCRIPTOR),
        },
    ),
    "graph": (15, {"handle": (800, HANDLE), "ops": (801, DESCRIPTOR)}),
    "variant_pack": (
        16,
        {
            "unique_ids": (1000, INT64),
            "data_pointers": (1001, VOID_PTR),
            "workspace": (1003, VOID_PTR),
        },
    ),
    "tensor": (
        17,
        {
            "byte_alignment": (900, INT64),
            "data_type": (901, DATA_TYPE),
            "dimensions": (902, INT64),
            "strides": (903, INT64),
            "unique_id": (906, INT64),
            "is_virtual": (907, BOOLEAN),
            "is_by_value": (908, BOOLEAN),
        },
    ),
    "matmul": (18, {"comp_type": (1500, DATA_TYPE)}),
    "operation_matmul": (
        19,
        {
            "a": (1520, DESCRIPTOR),
            "b": (1521, DESCRIPTOR),
            "c": (1522, DESCRIPTOR),
            "descriptor": (1523, DESCRIPTOR),
        },
    ),
    "reduction": (21, {"operator": (1600, REDUCTION_OPERATOR), "comp_type": (1601, DATA_TYPE)}),
    "operation_reduction": (
        22,
        {
            "x": (1610, DESCRIPTOR),
            "y": (1611, DESCRIPTOR),
            "descriptor": (1612, DESCRIPTOR),
        },
    ),
    "operation_reshape": (31, {"x": (2200, DESCRIPTOR), "y": (2201, DESCRIPTOR)}),
    "deviceprop": (38, {"device_id": (2700, INT32), "json_representation": (2702, CHAR)}),
}

DATA_TYPES = {"f32": 0, "f64": 1, "f16": 2, "i32": 4, "bf16": 9, "bool": 11}
CROSS_CORRELATION = 1
POINTWISE = {
    **{"add": 0, "mul": 1, "min": 2, "max": 3, "sub": 9, "div": 6, "exp": 13, "log": 15},
    **{"identity": 21, "relu": 100, "ge": 303, "gen_index": 501, "select": 601},
}
REDUCTION = {"add": 0, "max": 3}
HEURISTICS = {"A": 3, "fallback": 2}
NUMERICAL_NOTES = (
    *("tensor_core", "down_convert_inputs", "reduced_precision_reduction", "fft"),
    *("nondeterministic", "winograd", "winograd_tile_4x4", "winograd_tile_6x6"),
    *("winograd_tile_13x13", "strict_nan_prop"),
)
BEHAVIOR_NOTES = (
    *("runtime_compilation", "filter_int8x32_reorder", "bias_int8x32_reorder"),
    *("cuda_graph_native", "cublaslt_dependency"),
)
#: the first version that makes plans from properties, 9.8
OLDEST = 90800


# ---- the library ---------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def library() -> Any:
    """cuDNN's library with its functions' types. Raises BackendError where there is none."""
    found = shared.find("cudnn")
    if found is None:
        raise BackendError(f"cuDNN cannot be used: {shared.why_missing('cudnn')}")
    pointer, size = ctypes.POINTER, ctypes.c_size_t
    found.cudnnGetVersion.restype = size
    found.cudnnGetErrorString.restype = ctypes.c_char_p
    found.cudnnGetErrorString.argtypes = [c_int]
    found.cudnnGetLastErrorString.restype = None
    found.cudnnGetLastErrorString.argtypes = [ctypes.c_char_p, size]
    types: dict[str, list[Any]] = {
        "cudnnCreate": [pointer(c_void_p)],
        "cudnnDestroy": [c_void_p],
        "cudnnSetStream": [c_void_p, c_void_p],
        "cudnnBackendCreateDescriptor": [c_int, pointer(c_void_p)],
        "cudnnBackendDestroyDescriptor": [c_void_p],
        "cudnnBackendFinalize": [c_void_p],
        "cudnnBackendSetAttribute": [c_void_p, c_int, c_int, c_int64, c_void_p],
        "cudnnBackendGetAttribute": [c_void_p, c_int, c_int, c_int64, pointer(c_int64), c_void_p],
        "cudnnBackendExecute": [c_void_p, c_void_p, c_void_p],
    }
    for name, arguments in types.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, c_int
    if found.cudnnGetVersion() < OLDEST:
        raise BackendError(
            f"cuDNN {version(found)} is too old: 9.8 is the first that is used",
            hint="pip install nvidia-cudnn-cu13",
        )
    return found


def version(found: Any = None) -> str:
    """``9.19.0``, of the library that is loaded or ``found``."""
    number = (found or library()).cudnnGetVersion()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def check(status: int, doing: str) -> None:
    """Raise DeviceError for a status that is none of success, with the library's own words."""
    if status == 0:
        return
    found = library()
    text = ctypes.create_string_buffer(4096)
    found.cudnnGetLastErrorString(text, len(text))
    name = found.cudnnGetErrorString(status).decode()
    said = text.value.decode(errors="replace").strip()
    raise CudnnError(f"cuDNN failed to {doing}: {name} ({status})", notes=tuple(said.splitlines()))


class CudnnError(DeviceError):
    """cuDNN does not take something, or failed; ``notes`` are its own words."""


# ---- descriptors ---------------------------------------------------------------------------------


class Descriptor:
    """A finished descriptor. ``attributes``: by name, one value or a sequence of them; a scale
    (alpha, beta) may be a pair of value and type, FLOAT or DOUBLE. Raises CudnnError where cuDNN
    refuses it.
    """

    __slots__ = ("kind", "pointer", "kept")

    def __init__(self, kind: str, /, *, finish: bool = True, **attributes: Any) -> None:
        self.kind = kind
        self.pointer = c_void_p()
        self.kept: list[Descriptor] = []
        found = library()
        number, _ = KINDS[kind]
        check(
            found.cudnnBackendCreateDescriptor(number, byref(self.pointer)),
            f"make a descriptor ({kind})",
        )
        for name, value in attributes.items():
            self._set(name, value)
        if finish:
            check(found.cudnnBackendFinalize(self.pointer), f"finish a descriptor ({kind})")

    def _set(self, name: str, value: Any) -> None:
        number, type_ = KINDS[self.kind][1][name]
        if isinstance(value, tuple) and len(value) == 2 and value[1] in (FLOAT, DOUBLE):
            value, type_ = value
        values = list(value) if isinstance(value, Sequence) else [value]
        self.kept += [v for v in values if isinstance(v, Descriptor)]
        raw = [v.pointer if isinstance(v, Descriptor) else v for v in values]
        if type_ is CHAR:
            array: Any = ctypes.create_string_buffer(bytes(value), len(value))
        else:
            array = (type_[1] * len(raw))(*raw)
        status = library().cudnnBackendSetAttribute(
            self.pointer, number, type_[0], len(raw), cast(array, c_void_p)
        )
        check(status, f"set {name} of a descriptor ({self.kind})")

    def get(self, name: str, most: int = 1) -> list[Any]:
        """Up to ``most`` elements of an attribute that are numbers."""
        number, (type_, element) = KINDS[self.kind][1][name]
        count, array = c_int64(), (element * most)()
        status = library().cudnnBackendGetAttribute(
            self.pointer, number, type_, most, byref(count), cast(array, c_void_p)
        )
        check(status, f"read {name} of a descriptor ({self.kind})")
        return list(array[: min(count.value, most)])

    def read(self, name: str, kind: str, most: int | None = None) -> list[Descriptor]:
        """The descriptors that an attribute holds, all of them or the first ``most``."""
        number, (type_, _) = KINDS[self.kind][1][name]
        found, count = library(), c_int64()
        if most is None:
            status = found.cudnnBackendGetAttribute(
                self.pointer, number, type_, 0, byref(count), None
            )
            check(status, f"count {name} of a descriptor ({self.kind})")
            most = count.value
        empty = [Descriptor(kind, finish=False) for _ in range(most)]
        array = (c_void_p * max(most, 1))(*[one.pointer for one in empty])
        status = found.cudnnBackendGetAttribute(
            self.pointer, number, type_, most, byref(count), cast(array, c_void_p)
        )
        check(status, f"read {name} of a descriptor ({self.kind})")
        for one in empty:
            one.kept.append(self)
        return empty[: count.value]

    def __del__(self) -> None:
        if self.pointer.value:
            library().cudnnBackendDestroyDescriptor(self.pointer)


def tensor(
    uid: int,
    dtype: str,
    shape: Sequence[int],
    strides: Sequence[int],
    *,
    virtual: bool = False,
    by_value: bool = False,
) -> Descriptor:
    """A tensor of a graph: ``virtual`` ones exist only within it, ones ``by_value`` on the host."""
    return Descriptor(
        "tensor",
        unique_id=uid,
        data_type=DATA_TYPES[dtype],
        dimensions=tuple(shape),
        strides=tuple(strides),
        byte_alignment=16,
        is_virtual=virtual,
        is_by_value=by_value,
    )


def pointwise(
    mode: str,
    x: Descriptor,
    y: Descriptor,
    b: Descriptor | None = None,
    t: Descriptor | None = None,
    *,
    compute: str = "f32",
    **settings: Any,
) -> Descriptor:
    """An operation ``y = mode(x, b)`` on each element; ``t``: what ``select`` chooses by."""
    how = Descriptor("pointwise", mode=POINTWISE[mode], math_prec=DATA_TYPES[compute], **settings)
    operands = {name: value for name, value in (("b", b), ("t", t)) if value is not None}
    return Descriptor("operation_pointwise", descriptor=how, x=x, y=y, **operands)


# ---- what plans are made for ---------------------------------------------------------------------


class Handle:
    """A handle on the device that is current when it is made; ``stream()`` gives the address of the
    stream that its work goes onto. Raises CudnnError.

    Its calls come one after another: whoever calls holds ``lock``.
    """

    def __init__(self, stream: Callable[[], int]) -> None:
        self.lock = threading.Lock()
        self._stream = stream
        self._last: int | None = None
        self._made = c_void_p()
        check(library().cudnnCreate(byref(self._made)), "make a handle")
        assert self._made.value is not None
        self.value: int = self._made.value

    def enter(self) -> None:
        """See that work goes onto the stream of now."""
        stream = self._stream()
        if stream != self._last:
            check(library().cudnnSetStream(self.value, stream), "set the stream")
            self._last = stream


@dataclass(frozen=True)
class Target:
    """What plans are made for: the GPU of a ``handle``, or one of which only ``properties`` are
    known, whose plans cannot run.
    """

    handle: Handle | None = None
    properties: Descriptor | None = None

    @staticmethod
    def described(json: str) -> Target:
        """A GPU that a text describes, as ``device_properties`` gives it. Raises CudnnError."""
        return Target(None, Descriptor("deviceprop", json_representation=json.encode()))

    @property
    def graph(self) -> dict[str, Any]:
        """Attributes of a graph for this target."""
        return {} if self.handle is None else {"handle": self.handle.value}

    @property
    def heuristics(self) -> dict[str, Any]:
        """Attributes of a search for engines for this target."""
        return {} if self.properties is None else {"deviceprop": self.properties}

    @property
    def plan(self) -> dict[str, Any]:
        """Attributes of a plan for this target."""
        return self.graph or self.heuristics


def device_properties(device: int) -> str:
    """The properties of a GPU of this machine as a text. Raises CudnnError."""
    return properties_text(Descriptor("deviceprop", device_id=device))


def properties_text(properties: Descriptor) -> str:
    """What a descriptor of properties says, in cuDNN's JSON."""
    return bytes(properties.get("json_representation", 1 << 16)).rstrip(b"\0").decode()


# ---- graphs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scratch:
    """A tensor of a graph that lies in the plan's workspace: its number and its bytes."""

    uid: int
    nbytes: int


@dataclass(frozen=True)
class Built:
    """A graph. ``uids``: numbers of its operands' tensors, in the order of ``spec.operands``;
    ``scalars``: number and value of tensors that are one f32 on the host.
    """

    graph: Descriptor
    uids: tuple[int, ...]
    scratch: tuple[Scratch, ...] = ()
    scalars: tuple[tuple[int, float], ...] = ()
