"""Matrix products by cuBLASLt, called through ctypes; no other package stands between.

handle = create()                                    raises DeviceError without a GPU
plan = GemmPlan.make(spec, Context(handle, stream, fill))      None where the library has none
plan.run((lhs, rhs, bias, out), workspace)

cuBLASLt thinks in columns: D = op(A) op(B), column-major. A row-major matrix is the column-major
matrix of its transpose, so the row-major ``out = lhs @ rhs`` is D = out^T = rhs^T lhs^T: A is
``rhs`` and B is ``lhs``, D has N rows and M columns, and the library's bias, which has an element
for each row of D, runs along N. ``Call`` says a product in those terms and needs no library;
``Descriptors`` are the library's own, which it makes without a GPU, and which can be read back.

Numbers of attributes, types and epilogues are those of cublasLt.h, cublas_api.h and library_types.h
(CUDA 12 and 13); what the attributes mean is said there and in NVIDIA's cuBLAS documentation,
section "Using the cuBLASLt API".
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from tracejit.errors import DeviceError
from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.library import GemmSpec
from tracejit.ops.dot import Matmul, MatrixView
from tracejit.record import dataclass
from tracejit.runtime.gpu.device import LibraryPlan
from tracejit.runtime.gpu.shared import find, why_missing

#: cudaDataType
TYPES = {"f16": 2, "bf16": 14, "f32": 0, "f64": 1}
#: cublasComputeType_t: 32F keeps float32 operands whole, 32F_FAST_TF32 rounds them, 64F
COMPUTE = {"f32": 68, "tf32": 77, "f64": 70}
#: (operands, result) -> what such products may be summed in
COMPUTED_IN = {
    ("f16", "f16"): ("f32",),
    ("f16", "f32"): ("f32",),
    ("bf16", "bf16"): ("f32",),
    ("bf16", "f32"): ("f32",),
    ("f32", "f32"): ("f32", "tf32"),
    ("f64", "f64"): ("f64",),
}
#: cublasLtEpilogue_t; float64 has the first only (NVIDIA's table of supported types)
EPILOGUE_NUMBERS = {
    "": 1,
    "bias": 4,
    "relu": 2,
    "bias_relu": 2 | 4,
    "relu_aux": 2 | 128,
    "bias_relu_aux": 2 | 4 | 128,
    "gelu": 32,
    "bias_gelu": 32 | 4,
    "gelu_aux": 32 | 128,
    "bias_gelu_aux": 32 | 4 | 128,
    "drelu": 8 | 128,
    "drelu_bgrad": 8 | 128 | 16,
    "dgelu": 64 | 128,
    "dgelu_bgrad": 64 | 128 | 16,
}
#: cublasLtMatmulDescAttributes_t: number and C type
DESC = {
    "compute": (0, ctypes.c_int32),
    "scale": (1, ctypes.c_int32),
    "transpose_a": (3, ctypes.c_int32),
    "transpose_b": (4, ctypes.c_int32),
    "epilogue": (7, ctypes.c_uint32),
    "bias": (8, ctypes.c_void_p),
    "aux": (11, ctypes.c_void_p),
    "aux_leading": (12, ctypes.c_int64),
    "aux_stride": (13, ctypes.c_int64),
    "bias_type": (26, ctypes.c_int32),
}
#: cublasLtMatrixLayoutAttribute_t
LAYOUT = {
    "type": (0, ctypes.c_uint32),
    "rows": (2, ctypes.c_uint64),
    "columns": (3, ctypes.c_uint64),
    "leading": (4, ctypes.c_int64),
    "batch": (5, ctypes.c_int32),
    "stride": (6, ctypes.c_int64),
}
#: cublasLtMatmulPreferenceAttributes_t: bytes of workspace, and of alignment of A, B, C, D
PREFERENCE = {
    "workspace": (1, ctypes.c_uint64),
    **{f"alignment_{x}": (5 + k, ctypes.c_uint32) for k, x in enumerate("abcd")},
}
#: what every address is a multiple of: no kernel of the library loads more at once
ALIGNMENT = 16
#: bytes of workspace a product may ask for: what NVIDIA recommends for Hopper
WORKSPACE = 32 << 20
#: how many algorithms the library is asked for
CHOICES = 8
NOT_SUPPORTED = 15


# ---- a product in the library's terms ------------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """Column-major matrices: ``columns`` of ``rows`` elements, ``leading`` apart; ``batch`` of them
    ``stride`` apart. ``type`` is a cudaDataType.
    """

    type: int
    rows: int
    columns: int
    leading: int
    batch: int = 1
    stride: int = 0


@dataclass(frozen=True)
class Call:
    """``D = epilogue(op(A) op(B))``, all column-major; ``transpose_a`` says that op transposes.

    ``aux_leading``, ``aux_stride``: of the matrix that a gradient's epilogue reads, in elements; 0
    without one. For ``relu`` its elements are bits.
    """

    a: Columns
    b: Columns
    d: Columns
    transpose_a: bool
    transpose_b: bool
    compute: int
    scale: int
    epilogue: int
    aux_leading: int = 0
    aux_stride: int = 0


def column_major(spec: GemmSpec) -> Call | None:
    """``spec`` as cuBLASLt sees it; None where the library has no form for it.

    It has none for operands that are no matrices in memory, for batches whose steps are not all
    alike, for dtypes it does not combine, and for an auxiliary matrix whose rows do not fill the
    units that the library keeps it in (``aux_unit``).
    """
    matmul = spec.matmul
    if spec.compute not in COMPUTED_IN.get((spec.dtype, spec.out), ()):
        return None
    if spec.epilogue and spec.dtype == "f64":
        return None
    out = MatrixView(False, matmul.n, _row_major(matmul))
    a = _columns(spec.dtype, matmul.rhs_view, matmul.k, matmul.n, matmul)
    b = _columns(spec.dtype, matmul.lhs_view, matmul.m, matmul.k, matmul)
    d = _columns(spec.out, out, matmul.m, matmul.n, matmul)
    if a is None or b is None or d is None:
        return None
    unit = aux_unit(spec.epilogue)
    if (unit and matmul.n % unit) or (spec.epilogue.endswith("bgrad") and matmul.b != 1):
        return None
    return Call(
        a=a,
        b=b,
        d=d,
        transpose_a=matmul.rhs_view is not None and matmul.rhs_view.transposed,
        transpose_b=matmul.lhs_view is not None and matmul.lhs_view.transposed,
        compute=COMPUTE[spec.compute],
        scale=TYPES["f64" if spec.compute == "f64" else "f32"],
        epilogue=EPILOGUE_NUMBERS[spec.epilogue],
        aux_leading=matmul.n if unit else 0,
        aux_stride=matmul.m * matmul.n if unit and matmul.b > 1 else 0,
    )


def aux_unit(epilogue: str) -> int:
    """What the rows of the auxiliary matrix must be a multiple of, in elements (bits for relu)."""
    if not (epilogue.endswith("_aux") or epilogue.startswith(("drelu", "dgelu"))):
        return 0
    return 128 if "relu" in epilogue else 8


def _row_major(matmul: Matmul) -> tuple[int, ...]:
    """Steps of the result along its batch axes."""
    steps, size = [], matmul.m * matmul.n
    for extent in reversed(matmul.batch_shape):
        steps.append(size)
        size *= extent
    return tuple(reversed(steps))


def _columns(
    dtype: str, view: MatrixView | None, rows: int, columns: int, matmul: Matmul
) -> Columns | None:
    """Row-major matrices of ``rows`` by ``columns`` as the column-major ones in their memory."""
    if view is None:
        return None
    stride = one_stride(matmul.batch_shape, view.batch_strides)
    if stride is None:
        return None
    inner, outer = (rows, columns) if view.transposed else (columns, rows)
    return Columns(TYPES[dtype], inner, outer, view.leading, matmul.b, stride)


def one_stride(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """The one step through all batch axes in order, or None where there is none.

    >>> one_stride((2, 3), (60, 20)), one_stride((2, 3), (4, 8)), one_stride((), ())
    (20, None, 0)
    """
    axes = [(n, step) for n, step in zip(shape, strides, strict=True) if n != 1]
    for (_, outer), (n, inner) in zip(axes, axes[1:], strict=False):
        if outer != n * inner:
            return None
    return axes[-1][1] if axes else 0


# ---- the library ---------------------------------------------------------------------------------


class _Algorithm(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint64 * 8)]


class _Choice(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [
        ("algorithm", _Algorithm),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


_P, _I, _U = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_SIGNATURES: dict[str, list[Any]] = {
    "Create": [_P],
    "MatmulDescCreate": [_P, _I, _I],
    "MatmulDescDestroy": [_P],
    "MatmulDescSetAttribute": [_P, _I, _P, _U],
    "MatmulDescGetAttribute": [_P, _I, _P, _U, _P],
    "MatrixLayoutCreate": [_P, _I, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64],
    "MatrixLayoutDestroy": [_P],
    "MatrixLayoutSetAttribute": [_P, _I, _P, _U],
    "MatrixLayoutGetAttribute": [_P, _I, _P, _U, _P],
    "MatmulPreferenceCreate": [_P],
    "MatmulPreferenceDestroy": [_P],
    "MatmulPreferenceSetAttribute": [_P, _I, _P, _U],
    "MatmulPreferenceGetAttribute": [_P, _I, _P, _U, _P],
    "MatmulAlgoGetHeuristic": [*[_P] * 7, _I, _P, _P],
    "Matmul": [*[_P] * 14, _U, _P],
}


@lru_cache(maxsize=1)
def functions() -> dict[str, Any]:
    """The library's functions, by name without ``cublasLt``. Raises DeviceError without it."""
    library = find("cublasLt")
    if library is None:
        raise DeviceError(f"matrix products on a GPU: {why_missing('cublasLt')}")
    found = {}
    for name, types in _SIGNATURES.items():
        function = getattr(library, f"cublasLt{name}")
        function.argtypes, function.restype = types, ctypes.c_int
        found[name] = function
    library.cublasLtGetStatusName.argtypes = [ctypes.c_int]
    library.cublasLtGetStatusName.restype = ctypes.c_char_p
    found["GetStatusName"] = library.cublasLtGetStatusName
    return found


def check(status: int, what: str, where: str = "") -> None:
    """Raise DeviceError, which names the status, for one that is not success."""
    if status:
        name = (functions()["GetStatusName"](status) or b"").decode() or f"status {status}"
        raise DeviceError(f"cuBLASLt: {name} from cublasLt{what}" + (f": {where}" if where else ""))


def _called(name: str, *args: Any) -> None:
    check(functions()[name](*args), name)


def create() -> int:
    """A handle on the current device; raises DeviceError where there is no GPU or no library."""
    handle = ctypes.c_void_p()
    check(functions()["Create"](ctypes.byref(handle)), "Create", "no handle on this device")
    return handle.value or 0


class Described:
    """One of the library's descriptors: ``kind`` "MatmulDesc", "MatrixLayout" or
    "MatmulPreference".
    """

    __slots__ = ("kind", "pointer", "numbers")

    def __init__(self, kind: str, numbers: dict[str, tuple[int, Any]], *args: int) -> None:
        self.kind = kind
        self.numbers = numbers
        self.pointer = ctypes.c_void_p()
        _called(f"{kind}Create", ctypes.byref(self.pointer), *args)

    def set(self, **attributes: int) -> None:
        """Set attributes by name."""
        for name, value in attributes.items():
            number, ctype = self.numbers[name]
            box = ctype(value)
            _called(f"{self.kind}SetAttribute", self.pointer, number, ctypes.byref(box), _size(box))

    def get(self, name: str) -> int:
        """What the library has for an attribute."""
        number, ctype = self.numbers[name]
        box, written = ctype(), ctypes.c_size_t()
        _called(
            f"{self.kind}GetAttribute",
            *(self.pointer, number, ctypes.byref(box), _size(box), ctypes.byref(written)),
        )
        return box.value or 0

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            functions()[f"{self.kind}Destroy"](self.pointer)
            self.pointer = ctypes.c_void_p()


def _size(box: Any) -> int:
    return ctypes.sizeof(box)


class Descriptors:
    """The library's descriptors of a ``Call``; made without a handle, so without a GPU."""

    __slots__ = ("operation", "a", "b", "d")

    def __init__(self, call: Call, out: str) -> None:
        self.operation = Described("MatmulDesc", DESC, call.compute, call.scale)
        self.operation.set(
            transpose_a=int(call.transpose_a),
            transpose_b=int(call.transpose_b),
            epilogue=call.epilogue,
        )
        if call.epilogue & (4 | 16):
            self.operation.set(bias_type=TYPES[out], bias=ALIGNMENT)
        if call.aux_leading:
            # the library asks for the alignment of these addresses when it chooses an algorithm
            self.operation.set(aux_leading=call.aux_leading, aux=ALIGNMENT)
            if call.aux_stride:
                self.operation.set(aux_stride=call.aux_stride)
        self.a, self.b, self.d = (_layout(x) for x in (call.a, call.b, call.d))

    def read(self) -> Call:
        """The product as the library has it."""
        operation = self.operation
        return Call(
            a=_read(self.a),
            b=_read(self.b),
            d=_read(self.d),
            transpose_a=bool(operation.get("transpose_a")),
            transpose_b=bool(operation.get("transpose_b")),
            compute=operation.get("compute"),
            scale=operation.get("scale"),
            epilogue=operation.get("epilogue"),
            aux_leading=operation.get("aux_leading"),
            aux_stride=operation.get("aux_stride"),
        )


def _layout(x: Columns) -> Described:
    found = Described("MatrixLayout", LAYOUT, x.type, x.rows, x.columns, x.leading)
    if x.batch != 1:
        found.set(batch=x.batch, stride=x.stride)
    return found


def _read(layout: Described) -> Columns:
    return Columns(*(layout.get(name) for name in LAYOUT))


def describe(spec: GemmSpec) -> Descriptors | None:
    """The descriptors of ``spec``; None where the library has no form for it. Needs no GPU."""
    call = column_major(spec)
    return None if call is None else Descriptors(call, spec.out)


# ---- plans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Context:
    """What plans need of a device: its handle, the stream of the moment, and ``fill(address, byte,
    nbytes)``, which sets memory on that stream. ``limit``: bytes of workspace a plan may ask for.
    """

    handle: int
    stream: Callable[[], int]
    fill: Callable[[int, int, int], None]
    limit: int = WORKSPACE


def text(spec: GemmSpec) -> str:
    """A spec in one line, for messages."""
    m = spec.matmul
    batch = f"{m.b} x " if m.b != 1 else ""
    kinds = spec.dtype if spec.out == spec.dtype else f"{spec.dtype} to {spec.out}"
    return (
        f"{batch}[{m.m},{m.k}] @ [{m.k},{m.n}], {kinds} in {spec.compute} {spec.epilogue}".rstrip()
    )


class GemmPlan(LibraryPlan):
    """One product, ready: only addresses, workspace and stream change from run to run.

    Addresses are multiples of ``ALIGNMENT``. Several threads may run one plan.
    """

    def __init__(
        self, spec: GemmSpec, descriptors: Descriptors, choices: list[_Choice], context: Context
    ) -> None:
        self.spec = spec
        self.workspace = choices[0].workspace
        self._descriptors = descriptors
        self._context = context
        # where the first fails to run, another does that asks for no more memory
        self._choices = [c for c in choices if c.workspace <= self.workspace]
        self._algorithm = ctypes.byref(self._choices[0].algorithm)
        self._matmul = functions()["Matmul"]
        self._set = functions()["MatmulDescSetAttribute"]
        self._lock = threading.Lock()
        scalar = ctypes.c_double if spec.compute == "f64" else ctypes.c_float
        self._alpha, self._beta = scalar(1.0), scalar(0.0)
        self._fixed = (
            ctypes.c_void_p(context.handle),
            descriptors.operation.pointer,
            ctypes.byref(self._alpha),
            ctypes.byref(self._beta),
        )
        names = spec.operands
        self._places = tuple(names.index(name) for name in ("rhs", "lhs", "out"))
        self._pointers = [
            (names.index(name), DESC[attribute][0], ctypes.c_void_p())
            for name, attribute in (("bias", "bias"), ("dbias", "bias"), ("aux", "aux"))
            if name in names
        ]

    @classmethod
    def make(cls, spec: GemmSpec, context: Context) -> LibraryPlan | None:
        """A plan for ``spec``; None where the library has none. Raises DeviceError where it fails.

        Products without elements, or without anything to sum, do not reach the library.
        """
        matmul = spec.matmul
        if not (matmul.b and matmul.m and matmul.n and matmul.k):
            return (
                None if "bias" in spec.operands and _written(spec)["out"] else Zeros(spec, context)
            )
        descriptors = describe(spec)
        if descriptors is None:
            return None
        choices = _choices(spec, descriptors, context)
        return cls(spec, descriptors, choices, context) if choices else None

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        """Put the product on the stream."""
        a, b, d = self._places
        handle, operation, one, zero = self._fixed
        layouts, out = self._descriptors, addresses[d]
        with self._lock:
            # bias and aux are attributes of the operation, read when the call is made
            for place, number, box in self._pointers:
                if box.value != addresses[place]:
                    box.value = addresses[place]
                    check(self._set(operation, number, ctypes.byref(box), 8), "SetAttribute")
            status = self._matmul(
                *(handle, operation, one, addresses[a], layouts.a.pointer),
                *(addresses[b], layouts.b.pointer, zero, out, layouts.d.pointer),
                *(out, layouts.d.pointer, self._algorithm, workspace, self.workspace),
                self._context.stream(),
            )
            if status == 0:
                return
            if status != NOT_SUPPORTED or len(self._choices) == 1:
                check(status, "Matmul", text(self.spec))
            del self._choices[0]
            self._algorithm = ctypes.byref(self._choices[0].algorithm)
        self.run(addresses, workspace)


class Zeros(LibraryPlan):
    """A product that has nothing to sum, or no elements: what it writes is zero."""

    def __init__(self, spec: GemmSpec, context: Context) -> None:
        written = _written(spec)
        self._fill = context.fill
        self._written = [
            (spec.operands.index(name), size) for name, size in written.items() if size
        ]

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        """Zero what the product would write."""
        for place, nbytes in self._written:
            self._fill(addresses[place], 0, nbytes)


def _written(spec: GemmSpec) -> dict[str, int]:
    """Bytes of what a product writes, by operand."""
    matmul, size = spec.matmul, DTYPES[spec.out].itemsize
    found = {"out": matmul.b * matmul.m * matmul.n * size}
    if "dbias" in spec.operands:
        found["dbias"] = matmul.n * size
    if spec.epilogue.endswith("_aux"):
        found["aux"] = found["out"] // (8 * size) if "relu" in spec.epilogue else found["out"]
    return found


def _choices(spec: GemmSpec, descriptors: Descriptors, context: Context) -> list[_Choice]:
    """Algorithms that the library offers, best first."""
    preference = Described("MatmulPreference", PREFERENCE)
    preference.set(workspace=context.limit, **{f"alignment_{x}": ALIGNMENT for x in "abcd"})
    found, count = (_Choice * CHOICES)(), ctypes.c_int()
    layouts = [x.pointer for x in (descriptors.a, descriptors.b, descriptors.d, descriptors.d)]
    status = functions()["MatmulAlgoGetHeuristic"](
        *(context.handle, descriptors.operation.pointer, *layouts, preference.pointer),
        *(CHOICES, found, ctypes.byref(count)),
    )
    if status == NOT_SUPPORTED:
        return []
    check(status, "MatmulAlgoGetHeuristic", text(spec))
    return [choice for choice in found[: count.value] if choice.state == 0]
