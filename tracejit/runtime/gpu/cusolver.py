"""Linear algebra by cuSOLVER, and triangular equations by cuBLAS, called through ctypes.

    library = Cusolver(lambda: stream.ptr, device.load, device.launch)      for a device
    plan = library.plan(spec)                                     None where they have none
    plan.run((a, info), workspace)

Routines of many matrices take a list of addresses on the device, which a kernel of ours writes into
the workspace. Those for one matrix run one after the other. cuSOLVER waits for the device within
some routines and records none (``SolverSpec.recorded``). Numbers are those of cusolver_common.h,
cublas_api.h and library_types.h (CUDA 12 and 13).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from tracejit.errors import DeviceError
from tracejit.ir.types import DTYPES, real_dtype, short
from tracejit.kernel.gpu.library import SolverSpec, Spec
from tracejit.kernel.gpu.source import CudaSource
from tracejit.passes.solver import ROWS_EACH
from tracejit.record import dataclass
from tracejit.runtime.gpu.device import LibraryPlan
from tracejit.runtime.gpu.shared import find, why_missing

#: cudaDataType
TYPES = {"f32": 0, "f64": 1, "c64": 4, "c128": 5}
LETTERS = {"f32": "S", "f64": "D", "c64": "C", "c128": "Z"}
#: cublasFillMode_t, cublasSideMode_t, cublasOperation_t, cublasDiagType_t, cusolverEigMode_t
TRIANGLES = {"L": 0, "U": 1}
SIDES = {"L": 0, "R": 1}
WAYS = {"N": 0, "T": 1, "C": 2}
DIAGONALS = {"N": 0, "U": 1}
VECTORS = {"N": 0, "V": 1, "A": 1}
SOLVER_STATUS = {
    1: "NOT_INITIALIZED",
    2: "ALLOC_FAILED",
    3: "INVALID_VALUE",
    4: "ARCH_MISMATCH",
    5: "MAPPING_ERROR",
    6: "EXECUTION_FAILED",
    7: "INTERNAL_ERROR",
    8: "MATRIX_TYPE_NOT_SUPPORTED",
    9: "NOT_SUPPORTED",
}
BLAS_STATUS = {
    1: "NOT_INITIALIZED",
    3: "ALLOC_FAILED",
    7: "INVALID_VALUE",
    8: "ARCH_MISMATCH",
    11: "MAPPING_ERROR",
    13: "EXECUTION_FAILED",
    14: "INTERNAL_ERROR",
    15: "NOT_SUPPORTED",
}
#: matrices that are worked on one after the other, at most
REPEATS = 256
#: bytes that cuBLAS works in
BLAS_WORKSPACE = 4 << 20
ALIGNMENT = 256
_MOST = 2**31 - 1

_P, _I, _L, _U, _C = (
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_size_t,
    ctypes.c_byte,
)
#: memory to work in: on the device and on the host, and where failures go
_WORK: list[Any] = [_P, _U, _P, _U, _P]
_SIZES: list[Any] = [_P, _P]
#: types of arguments, by name without ``cusolverDn``; {} stands for the letter of a dtype
SOLVER_SIGNATURES: dict[str, list[Any]] = {
    "Create": [_P],
    "CreateParams": [_P],
    "CreateGesvdjInfo": [_P],
    "SetStream": [_P, _P],
    "Xpotrf_bufferSize": [_P, _P, _I, _L, _I, _P, _L, _I, *_SIZES],
    "Xpotrf": [_P, _P, _I, _L, _I, _P, _L, _I, *_WORK],
    "Xgetrf_bufferSize": [_P, _P, _L, _L, _I, _P, _L, _I, *_SIZES],
    "Xgetrf": [_P, _P, _L, _L, _I, _P, _L, _P, _I, *_WORK],
    "Xgeqrf_bufferSize": [_P, _P, _L, _L, _I, _P, _L, _I, _P, _I, *_SIZES],
    "Xgeqrf": [_P, _P, _L, _L, _I, _P, _L, _I, _P, _I, *_WORK],
    "Xsyevd_bufferSize": [_P, _P, _I, _I, _L, _I, _P, _L, _I, _P, _I, *_SIZES],
    "Xsyevd": [_P, _P, _I, _I, _L, _I, _P, _L, _I, _P, _I, *_WORK],
    "XsyevBatched_bufferSize": [_P, _P, _I, _I, _L, _I, _P, _L, _I, _P, _I, *_SIZES, _L],
    "XsyevBatched": [_P, _P, _I, _I, _L, _I, _P, _L, _I, _P, _I, *_WORK, _L],
    "Xgesvd_bufferSize": [
        *(_P, _P, _C, _C, _L, _L, _I, _P, _L, _I, _P, _I, _P, _L, _I, _P, _L, _I),
        *_SIZES,
    ],
    "Xgesvd": [
        *(_P, _P, _C, _C, _L, _L, _I, _P, _L, _I, _P, _I, _P, _L, _I, _P, _L, _I),
        *_WORK,
    ],
    "{}potrfBatched": [_P, _I, _I, _P, _I, _P, _I],
    "{}orgqr_bufferSize": [_P, _I, _I, _I, _P, _I, _P, _P],
    "{}orgqr": [_P, _I, _I, _I, _P, _I, _P, _P, _I, _P],
    "{}gesvdjBatched_bufferSize": [_P, _I, _I, _I, _P, _I, _P, _P, _I, _P, _I, _P, _P, _I],
    "{}gesvdjBatched": [_P, _I, _I, _I, _P, _I, _P, _P, _I, _P, _I, _P, _I, _P, _P, _I],
}
#: functions that are not in every version
NEWER = frozenset(("XsyevBatched_bufferSize", "XsyevBatched"))
#: by name without ``cublas``
BLAS_SIGNATURES: dict[str, list[Any]] = {
    "Create_v2": [_P],
    "SetStream_v2": [_P, _P],
    "SetWorkspace_v2": [_P, _P, _U],
    "{}trsm_v2": [_P, _I, _I, _I, _I, _I, _I, _P, _P, _I, _P, _I],
    "{}trsmBatched": [_P, _I, _I, _I, _I, _I, _I, _P, _P, _I, _P, _I, _I],
    "{}getrfBatched": [_P, _I, _P, _I, _P, _P, _I],
}


def spelled(name: str, letter: str) -> str:
    """The name of a function for a dtype: complex orgqr is ungqr."""
    if letter in "CZ" and "orgqr" in name:
        name = name.replace("orgqr", "ungqr")
    return name.format(letter)


@lru_cache(maxsize=1)
def functions() -> dict[str, Any]:
    """The libraries' functions, by name without ``cusolverDn`` and ``cublas``. Raises DeviceError
    without them.
    """
    found: dict[str, Any] = {}
    for library, prefix, signatures in (
        ("cusolver", "cusolverDn", SOLVER_SIGNATURES),
        ("cublas", "cublas", BLAS_SIGNATURES),
    ):
        opened = find(library)
        if opened is None:
            raise DeviceError(f"linear algebra on a GPU: {why_missing(library)}")
        for name, types in signatures.items():
            for letter in "SDCZ" if "{}" in name else " ":
                own = spelled(name, letter)
                function = getattr(opened, prefix + own, None)
                if function is None and name in NEWER:
                    continue
                if function is None:
                    raise DeviceError(f"linear algebra on a GPU: {library} has no {prefix}{own}")
                function.argtypes, function.restype = types, ctypes.c_int
                # both have a Create and a SetStream: cuBLAS's end with a version
                found[own] = function
    return found


def called(name: str, *args: Any) -> None:
    """Call a function; raises DeviceError, which names the status, unless it succeeds."""
    status = functions()[name](*args)
    if status:
        blas = any(name == spelled(n, x) for n in BLAS_SIGNATURES for x in "SDCZ")
        library, names = ("cuBLAS", BLAS_STATUS) if blas else ("cuSOLVER", SOLVER_STATUS)
        raise DeviceError(f"{library}: {names.get(status, f'status {status}')} from {name}")


#: the kernel that writes the addresses of the matrices of a stack
POINTERS = CudaSource(
    "tracejit_pointers",
    """extern "C" __global__ void tracejit_pointers(
    unsigned long long* table, long long first, long long step, long long count) {
  long long k = (long long)blockIdx.x * 256 + threadIdx.x;
  if (k < count) table[k] = (unsigned long long)(first + k * step);
}
""",
    header=False,
)


@dataclass(frozen=True)
class Context:
    """What plans need of a device: handles of both libraries, the stream of the moment, and
    ``pointers(table, first, step, count)``, which writes addresses on that stream.
    """

    solver: int
    params: int
    jacobi: int
    blas: int
    stream: Callable[[], int]
    pointers: Callable[[int, int, int, int], None]


def _made(name: str) -> int:
    handle = ctypes.c_void_p()
    called(name, ctypes.byref(handle))
    return handle.value or 0


class SolverPlan(LibraryPlan):
    """A routine made ready: only addresses, workspace and stream change from run to run.

    ``device``, ``host``: bytes of memory to work in that the routine asks for; ``before``: bytes in
    front of it, for addresses and for what nobody reads.
    """

    def __init__(self, spec: SolverSpec, context: Context) -> None:
        self.spec = spec
        self.recorded = spec.recorded
        self._context = context
        self._lock = threading.Lock()
        dtype = DTYPES[spec.dtype]
        self._item, self._real = dtype.itemsize, real_dtype(dtype).itemsize
        self._type, self._real_type = TYPES[spec.dtype], TYPES[short(real_dtype(dtype))]
        self._letter = LETTERS[spec.dtype]
        self._before = self._device = 0
        self._host = ctypes.create_string_buffer(1)
        #: the number 1, of any dtype
        self._one = ((ctypes.c_float if self._real == 4 else ctypes.c_double) * 2)(1.0, 0.0)
        self._batched = repeats(spec) < spec.batch
        self._prepare = getattr(self, f"prepare_{spec.routine}")
        self._call = getattr(self, f"call_{spec.routine}")
        self._prepare()
        self.workspace = self._before + self._device

    @classmethod
    def make(cls, spec: SolverSpec, context: Context) -> LibraryPlan | None:
        """A plan for ``spec``; None where the libraries take no such sizes, or would be called too
        often.
        """
        if max(spec.m, spec.n, spec.batch) > _MOST or repeats(spec) > REPEATS:
            return None
        return cls(spec, context)

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        """Put the routine on the stream, or run it."""
        named = dict(zip(self.spec.operands, addresses, strict=True))
        stream = self._context.stream()
        with self._lock:
            if self.spec.routine == "trsm" or self.spec.options == ("batched",):
                called("SetStream_v2", self._context.blas, stream)
                # a stream's own workspace would be allocated, which a recording does not allow
                own = workspace + self._before
                called("SetWorkspace_v2", self._context.blas, own, self._device)
            else:
                called("SetStream", self._context.solver, stream)
            self._call(named, workspace)

    # ---- sizes ----

    def _solver(self, name: str, *args: Any) -> None:
        """A function of the 64-bit interface."""
        called(name, self._context.solver, self._context.params, *args)

    def _own(self, name: str, *args: Any, blas: bool = False) -> None:
        """A function with a letter."""
        handle = self._context.blas if blas else self._context.solver
        called(spelled(name, self._letter), handle, *args)

    def _sized(self, name: str, *args: Any, more: tuple[int, ...] = ()) -> None:
        """Ask for the memory that a function of the 64-bit interface works in."""
        device, host = ctypes.c_size_t(), ctypes.c_size_t()
        self._solver(f"{name}_bufferSize", *args, ctypes.byref(device), ctypes.byref(host), *more)
        self._device = device.value
        self._host = ctypes.create_string_buffer(max(host.value, 1))

    def _in_front(self, *sizes: int) -> tuple[int, ...]:
        """Offsets of pieces in front of the memory to work in."""
        found = []
        for nbytes in sizes:
            found.append(self._before)
            self._before += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return tuple(found)

    def _work(self, workspace: int, info: int) -> tuple[Any, ...]:
        """The last arguments of a function of the 64-bit interface."""
        host = ctypes.addressof(self._host)
        size = len(self._host) if len(self._host) > 1 else 0
        return workspace + self._before, self._device, host if size else None, size, info

    def _pointers(self, table: int, first: int, elements: int) -> int:
        """Write the addresses of matrices of so many elements."""
        self._context.pointers(table, first, elements * self._item, self.spec.batch)
        return table

    # ---- factorisations ----

    def prepare_potrf(self) -> None:
        if self._batched:
            self._in_front(8 * self.spec.batch)
        else:
            n = self.spec.n
            self._sized("Xpotrf", 1, n, self._type, None, n, self._type)

    def call_potrf(self, at: dict[str, int], workspace: int) -> None:
        n, batch = self.spec.n, self.spec.batch
        if self._batched:
            table = self._pointers(workspace, at["a"], n * n)
            self._own("{}potrfBatched", 1, n, table, n, at["info"], batch)
            return
        for k in range(batch):
            a, work = at["a"] + k * n * n * self._item, self._work(workspace, at["info"] + 4 * k)
            self._solver("Xpotrf", 1, n, self._type, a, n, self._type, *work)

    def prepare_getrf(self) -> None:
        m, n = self.spec.m, self.spec.n
        if self.spec.options == ("batched",):
            self._in_front(8 * self.spec.batch)
            self._device = BLAS_WORKSPACE
        else:
            self._sized("Xgetrf", m, n, self._type, None, m, self._type)

    def call_getrf(self, at: dict[str, int], workspace: int) -> None:
        m, n, batch = self.spec.m, self.spec.n, self.spec.batch
        if self.spec.options == ("batched",):
            table = self._pointers(workspace, at["a"], n * n)
            args = (n, table, n, at["pivots"], at["info"], batch)
            self._own("{}getrfBatched", *args, blas=True)
            return
        for k in range(batch):
            a, pivots = at["a"] + k * m * n * self._item, at["pivots"] + k * min(m, n) * 8
            work = self._work(workspace, at["info"] + 4 * k)
            self._solver("Xgetrf", m, n, self._type, a, m, pivots, self._type, *work)

    def prepare_geqrf(self) -> None:
        m, n, type_ = self.spec.m, self.spec.n, self._type
        self._sized("Xgeqrf", m, n, type_, None, m, type_, None, type_)

    def call_geqrf(self, at: dict[str, int], workspace: int) -> None:
        m, n, type_ = self.spec.m, self.spec.n, self._type
        for k in range(self.spec.batch):
            a, taus = at["a"] + k * m * n * self._item, at["taus"] + k * min(m, n) * self._item
            work = self._work(workspace, at["info"] + 4 * k)
            self._solver("Xgeqrf", m, n, type_, a, m, type_, taus, type_, *work)

    def prepare_orgqr(self) -> None:
        m, n, count, size = self.spec.m, self.spec.n, self.spec.count, ctypes.c_int()
        self._own("{}orgqr_bufferSize", m, n, count, None, m, None, ctypes.byref(size))
        self._device = size.value * self._item

    def call_orgqr(self, at: dict[str, int], workspace: int) -> None:
        m, n, count = self.spec.m, self.spec.n, self.spec.count
        for k in range(self.spec.batch):
            a, taus = at["a"] + k * m * n * self._item, at["taus"] + k * count * self._item
            work, size = workspace + self._before, self._device // self._item
            self._own("{}orgqr", m, n, count, a, m, taus, work, size, at["info"] + 4 * k)

    # ---- triangular equations ----

    def prepare_trsm(self) -> None:
        if self._batched:
            self._in_front(8 * self.spec.batch, 8 * self.spec.batch)
        self._device = BLAS_WORKSPACE

    def call_trsm(self, at: dict[str, int], workspace: int) -> None:
        m, n, batch = self.spec.m, self.spec.n, self.spec.batch
        side, triangle, way, diagonal = self.spec.options
        order = m if side == "L" else n
        letters = (SIDES[side], TRIANGLES[triangle], WAYS[way], DIAGONALS[diagonal])
        head = (*letters, m, n, ctypes.addressof(self._one))
        if self._batched:
            a = self._pointers(workspace, at["a"], order * order)
            second = workspace + self._before // 2
            b = self._pointers(second, at["b"], m * n)
            self._own("{}trsmBatched", *head, a, order, b, m, batch, blas=True)
            return
        for k in range(batch):
            a, b = at["a"] + k * order * order * self._item, at["b"] + k * m * n * self._item
            self._own("{}trsm_v2", *head, a, order, b, m, blas=True)

    # ---- values and vectors ----

    def _eigen(self, a: int | None, values: int | None) -> tuple[Any, ...]:
        vectors, triangle = self.spec.options
        n, real = self.spec.n, self._real_type
        head = (VECTORS[vectors], TRIANGLES[triangle], n, self._type, a, n)
        return (*head, real, values, self._type)

    def prepare_syevd(self) -> None:
        if self._batched:
            self._sized("XsyevBatched", *self._eigen(None, None), more=(self.spec.batch,))
        else:
            self._sized("Xsyevd", *self._eigen(None, None))

    def call_syevd(self, at: dict[str, int], workspace: int) -> None:
        n, batch = self.spec.n, self.spec.batch
        if self._batched:
            work = self._work(workspace, at["info"])
            self._solver("XsyevBatched", *self._eigen(at["a"], at["values"]), *work, batch)
            return
        for k in range(batch):
            a, values = at["a"] + k * n * n * self._item, at["values"] + k * n * self._real
            work = self._work(workspace, at["info"] + 4 * k)
            self._solver("Xsyevd", *self._eigen(a, values), *work)

    def _singular(self, *places: int | None) -> tuple[Any, ...]:
        """``places``: of a, values, u and v."""
        a, values, u, v = places
        m, n, type_, real = self.spec.m, self.spec.n, self._type, self._real_type
        job = ord(self.spec.options[0])
        head = (job, job, m, n, type_, a, m, real, values)
        return (*head, type_, u, m, type_, v, n, type_)

    def prepare_gesvd(self) -> None:
        self._sized("Xgesvd", *self._singular(None, None, None, None))

    def call_gesvd(self, at: dict[str, int], workspace: int) -> None:
        m, n = self.spec.m, self.spec.n
        left = m if self.spec.options[0] == "A" else n
        steps = (m * n * self._item, n * self._real, m * left * self._item, n * n * self._item)
        for k in range(self.spec.batch):
            places = (
                at[name] + k * step if name in at else None
                for name, step in zip(("a", "values", "u", "v"), steps, strict=True)
            )
            work = self._work(workspace, at["info"] + 4 * k)
            self._solver("Xgesvd", *self._singular(*places), *work)

    def prepare_gesvdj(self) -> None:
        """Room for vectors that are not asked for, too: they have an address in any case."""
        m, n, batch, size = self.spec.m, self.spec.n, self.spec.batch, ctypes.c_int()
        jobs = (VECTORS[self.spec.options[0]], m, n)
        more = (ctypes.byref(size), self._context.jacobi, batch)
        self._own("{}gesvdjBatched_bufferSize", *jobs, None, m, None, None, m, None, n, *more)
        self._device = size.value * self._item
        if "u" not in self.spec.operands:
            self._in_front(batch * m * m * self._item, batch * n * n * self._item)

    def call_gesvdj(self, at: dict[str, int], workspace: int) -> None:
        m, n, batch = self.spec.m, self.spec.n, self.spec.batch
        u = at.get("u", workspace)
        v = at.get("v", workspace + -(-batch * m * m * self._item // ALIGNMENT) * ALIGNMENT)
        jobs = (VECTORS[self.spec.options[0]], m, n)
        matrices = (at["a"], m, at["values"], u, m, v, n)
        work, size = workspace + self._before, self._device // self._item
        more = (work, size, at["info"], self._context.jacobi, batch)
        self._own("{}gesvdjBatched", *jobs, *matrices, *more)


def repeats(spec: SolverSpec) -> int:
    """How many calls of a library a spec is."""
    if spec.routine in ("potrf", "trsm"):
        order = spec.n if spec.options[:1] == ("R",) else spec.m
        return 1 if order <= ROWS_EACH * spec.batch else spec.batch
    if spec.routine == "gesvdj" or spec.options == ("batched",):
        return 1
    if spec.routine == "syevd" and "XsyevBatched" in functions():
        return 1
    return spec.batch


class Cusolver:
    """The libraries for the device that is current when they are asked for their first plan."""

    def __init__(
        self,
        stream: Callable[[], int],
        load: Callable[[Sequence[CudaSource]], dict[str, Any]],
        launch: Callable[..., None],
    ) -> None:
        self._stream = stream
        self._load = load
        self._launch = launch
        self._context: Context | None = None

    def plan(self, spec: Spec) -> LibraryPlan | None:
        """A plan for a routine; None where the libraries have none, or are missing."""
        if not isinstance(spec, SolverSpec) or why_missing("cusolver"):
            return None
        if self._context is None:
            self._context = self._opened()
        return SolverPlan.make(spec, self._context)

    def _opened(self) -> Context:
        kernel = self._load([POINTERS])[POINTERS.name]

        def pointers(table: int, first: int, step: int, count: int) -> None:
            self._launch(kernel, -(-count // 256), 256, (table, first, step, count))

        names = ("Create", "CreateParams", "CreateGesvdjInfo", "Create_v2")
        return Context(*map(_made, names), self._stream, pointers)
