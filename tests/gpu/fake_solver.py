"""cuFFT, cuSOLVER and cuBLAS as far as tracejit calls them: C functions with the types of NVIDIA's
headers, over memory of the host.

    with fake_libraries(put) as fake:         what the ctypes bindings call inside
        plan = Cufft(stream, copy).plan(spec)
    fake.calls                                names of what was called, in order

Arguments go through C: a pointer that is cut to 32 bits, or a float in an int's place, shows. What
each function does was written from NVIDIA's documentation of its arguments: column-major
matrices at a leading dimension, transforms at strides and distances. Workspaces must be as large as
was said, and are scribbled over; ``put(stream, work)`` decides when work happens.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from tracejit.ir.types import DTYPES, real_dtype
from tracejit.kernel.gpu.library import SolverSpec
from tracejit.runtime.gpu import cufft, cusolver, host_solver

Put = Callable[[int, Callable[[], None]], None]
SIZE = ctypes.c_size_t
DTYPE = {0: "f32", 1: "f64", 4: "c64", 5: "c128"}
LETTER = {"S": "f32", "D": "f64", "C": "c64", "Z": "c128"}
#: bytes that every function asks for
DEVICE, HOST = 768, 48


def memory(address: int, dtype: Any, count: int) -> np.ndarray:
    return host_solver.memory(address, np.dtype(dtype), count)


def scribble(address: int | None, nbytes: int) -> None:
    if nbytes:
        assert address, "no memory to work in"
        ctypes.memset(address, 0xEE, nbytes)


class Fake:
    def __init__(self, put: Put) -> None:
        self.put = put
        self.calls: list[str] = []
        self.plans: dict[int, dict[str, Any]] = {}
        self.handles = itertools.count(77)
        self.streams: dict[int, int] = {}
        self.workspaces: dict[int, tuple[int, int]] = {}
        #: name -> a status to give once
        self.failing: dict[str, int] = {}
        self.kept: list[Any] = []
        #: whether a stream records
        self.recording: Callable[[], bool] = lambda: False

    def table(self, signatures: dict[str, list[Any]], prefix: str) -> dict[str, Any]:
        """C functions by name."""
        found = {}
        for pattern, types in signatures.items():
            for letter in "SDCZ" if "{}" in pattern else " ":
                name = cusolver.spelled(pattern, letter)
                body = getattr(self, prefix + pattern.replace("{}", ""))
                args = (LETTER[letter],) if letter != " " else ()
                found[name] = self.function(name, types, body, args)
        return found

    def function(self, name: str, types: list[Any], body: Any, args: tuple[Any, ...]) -> Any:
        def run(*given: Any) -> int:
            self.calls.append(name)
            if body.__name__.startswith("solver_") and self.recording():
                return 900  # what cuSOLVER does is no part of a recording
            if name in self.failing:
                return self.failing.pop(name)
            try:
                body(*args, *given)
            except BaseException as error:  # C knows no exceptions
                self.kept.append(error)
                return 4242
            return 0

        made = ctypes.CFUNCTYPE(ctypes.c_int, *types)(run)
        self.kept.append(made)
        return made

    def work(self, stream: int, body: Callable[[], None]) -> None:
        def run() -> None:
            with np.errstate(all="ignore"):
                body()

        self.put(stream, run)

    # ---- cuFFT ----

    def fft_Create(self, out: int) -> None:
        ctypes.c_int.from_address(out).value = handle = next(self.handles)
        self.plans[handle] = {"auto": True, "area": None}

    def fft_Destroy(self, handle: int) -> None:
        del self.plans[handle]

    def fft_SetAutoAllocation(self, handle: int, auto: int) -> None:
        self.plans[handle]["auto"] = bool(auto)

    def fft_MakePlanMany64(self, handle: int, rank: int, n: int, *args: Any) -> None:
        inembed, istride, idist, onembed, ostride, odist, type_, batch, size = args

        def extents(address: int) -> tuple[int, ...]:
            return tuple((ctypes.c_longlong * rank).from_address(address))

        assert not self.plans[handle]["auto"], "cuFFT would allocate"
        self.plans[handle] |= {
            "n": extents(n),
            "in": (extents(inembed), istride, idist),
            "out": (extents(onembed), ostride, odist),
            "type": type_,
            "batch": batch,
        }
        SIZE.from_address(size).value = DEVICE

    def fft_SetStream(self, handle: int, stream: int) -> None:
        self.plans[handle]["stream"] = stream

    def fft_SetWorkArea(self, handle: int, area: int) -> None:
        self.plans[handle]["area"] = area

    def _layout(self, plan: dict[str, Any], side: str, address: int, dtype: Any) -> np.ndarray:
        """[batch, *n]: element (b, i, j, k) lies at b * dist + ((i * e1 + j) * e2 + k) * stride."""
        embed, stride, dist = plan[side]
        half = {("out", 0x2A): 1, ("out", 0x6A): 1, ("in", 0x2C): 1, ("in", 0x6C): 1}
        n = list(plan["n"])
        if half.get((side, plan["type"])):
            n[-1] = n[-1] // 2 + 1
        size = np.dtype(dtype).itemsize
        steps = [prod(embed[k + 1 :]) * stride * size for k in range(len(n))]
        last = (plan["batch"] - 1) * dist * size
        last += sum((m - 1) * s for m, s in zip(n, steps, strict=True))
        flat = memory(address, dtype, last // size + 1)
        return as_strided(flat, (plan["batch"], *n), (dist * size, *steps))

    def _exec(self, handle: int, type_: int, source: int, target: int, direction: int) -> None:
        plan = dict(self.plans[handle])
        assert plan["type"] == type_, "another function's plan"
        big = type_ >= 0x69
        wide, real = (np.complex128, np.float64) if big else (np.complex64, np.float32)
        forward, backward = type_ in (0x2A, 0x6A), type_ in (0x2C, 0x6C)
        x = self._layout(plan, "in", source, real if forward else wide)
        y = self._layout(plan, "out", target, real if backward else wide)
        axes = tuple(range(1, x.ndim))

        def run() -> None:
            scribble(plan["area"], DEVICE)
            if forward:
                y[...] = np.fft.rfftn(x, axes=axes)
            elif backward:
                assert len(axes) == 1
                y[...] = np.fft.irfft(x, plan["n"][0], axis=1, norm="forward")
                x[...] = np.nan  # "out-of-place complex-to-real transforms overwrite their input"
            elif direction == -1:
                y[...] = np.fft.fftn(x, axes=axes)
            else:
                assert direction == 1
                y[...] = np.fft.ifftn(x, axes=axes, norm="forward")

        self.work(plan["stream"], run)

    def fft_ExecC2C(self, handle: int, x: int, y: int, direction: int) -> None:
        self._exec(handle, 0x29, x, y, direction)

    def fft_ExecZ2Z(self, handle: int, x: int, y: int, direction: int) -> None:
        self._exec(handle, 0x69, x, y, direction)

    def fft_ExecR2C(self, handle: int, x: int, y: int) -> None:
        self._exec(handle, 0x2A, x, y, 0)

    def fft_ExecD2Z(self, handle: int, x: int, y: int) -> None:
        self._exec(handle, 0x6A, x, y, 0)

    def fft_ExecC2R(self, handle: int, x: int, y: int) -> None:
        self._exec(handle, 0x2C, x, y, 0)

    def fft_ExecZ2D(self, handle: int, x: int, y: int) -> None:
        self._exec(handle, 0x6C, x, y, 0)

    # ---- handles ----

    def _handle(self, out: int) -> None:
        ctypes.c_void_p.from_address(out).value = (next(self.handles) << 36) + 8  # 64 bits of it

    solver_Create = solver_CreateParams = solver_CreateGesvdjInfo = blas_Create_v2 = _handle

    def solver_SetStream(self, handle: int, stream: int) -> None:
        assert handle >> 36
        self.streams[handle] = stream

    def blas_SetStream_v2(self, handle: int, stream: int) -> None:
        self.streams[handle] = stream
        self.workspaces.pop(handle, None)  # as cuBLAS does

    def blas_SetWorkspace_v2(self, handle: int, workspace: int, nbytes: int) -> None:
        assert workspace % 256 == 0
        self.workspaces[handle] = workspace, nbytes

    # ---- cuSOLVER ----

    def run(self, handle: int, spec: SolverSpec, work: Any, **at: int | None) -> None:
        """A routine on matrices that lie one after the other. ``work``: (device, bytes, host,
        bytes)
        """
        sizes = host_solver.solver_sizes(spec)
        # of no result is there only a part in memory
        views = {k: memory(a, *sizes[k]) for k, a in at.items() if a and k in spec.operands}
        assert set(views) == set(spec.operands), "a result without an address"

        def compute() -> None:
            scribble(work[0], work[1])
            scribble(work[2], work[3])
            host_solver._COMPUTE[spec.routine](spec, views)

        self.work(self.streams[handle], compute)

    def sizes(self, *args: int) -> None:
        SIZE.from_address(args[0]).value = DEVICE
        SIZE.from_address(args[1]).value = HOST

    @staticmethod
    def worked(work: tuple[Any, ...]) -> tuple[Any, ...]:
        device, nbytes, host, size = work[:4]
        assert (nbytes, size) == (DEVICE, HOST) and device and host
        return device, nbytes, host, size

    def solver_Xpotrf_bufferSize(self, *args: Any) -> None:
        self.sizes(*args[-2:])

    solver_Xgetrf_bufferSize = solver_Xgeqrf_bufferSize = solver_Xsyevd_bufferSize = (
        solver_Xpotrf_bufferSize
    )
    solver_Xgesvd_bufferSize = solver_Xpotrf_bufferSize

    def solver_XsyevBatched_bufferSize(self, *args: Any) -> None:
        self.sizes(*args[-3:-1])

    def solver_Xpotrf(self, h: int, params: int, uplo: int, n: int, *rest: Any) -> None:
        type_, a, lda, compute, *work, info = rest
        assert lda == n and uplo == 1 and compute == type_ and params >> 36
        self.run(h, SolverSpec("potrf", DTYPE[type_], n, n), self.worked(work), a=a, info=info)

    def solver_Xgetrf(self, h: int, params: int, m: int, n: int, *rest: Any) -> None:
        type_, a, lda, pivots, compute, *work, info = rest
        assert lda == m and compute == type_
        spec = SolverSpec("getrf", DTYPE[type_], m, n)
        self.run(h, spec, self.worked(work), a=a, pivots=pivots, info=info)

    def solver_Xgeqrf(self, h: int, params: int, m: int, n: int, *rest: Any) -> None:
        type_, a, lda, tau_type, taus, compute, *work, info = rest
        assert lda == m and tau_type == compute == type_
        spec = SolverSpec("geqrf", DTYPE[type_], m, n)
        self.run(h, spec, self.worked(work), a=a, taus=taus, info=info)

    def _syevd(self, h: int, batch: int, jobz: int, uplo: int, n: int, *rest: Any) -> None:
        type_, a, lda, real, values, compute, *work, info = rest
        assert lda == n and compute == type_ and DTYPE[real] == of_real(DTYPE[type_])
        spec = SolverSpec("syevd", DTYPE[type_], n, n, batch, 0, ("NV"[jobz], "LU"[uplo]))
        self.run(h, spec, self.worked(work), a=a, values=values, info=info)

    def solver_Xsyevd(self, h: int, params: int, *rest: Any) -> None:
        self._syevd(h, 1, *rest)

    def solver_XsyevBatched(self, h: int, params: int, *rest: Any) -> None:
        *rest_, batch = rest
        self._syevd(h, batch, *rest_)

    def solver_Xgesvd(self, h: int, params: int, jobu: int, jobvt: int, *rest: Any) -> None:
        m, n, type_, a, lda, real, s, u_type, u, ldu, v_type, v, ldvt, compute, *work, info = rest
        assert jobu == jobvt and lda == ldu == m >= n == ldvt
        assert u_type == v_type == compute == type_ and DTYPE[real] == of_real(DTYPE[type_])
        spec = SolverSpec("gesvd", DTYPE[type_], m, n, 1, 0, (chr(jobu),))
        self.run(h, spec, self.worked(work), a=a, values=s, u=u, v=v, info=info)

    def gather(self, h: int, spec: SolverSpec, work: Any, name: str, table: int, **at: int) -> None:
        """A routine on matrices at addresses, which are read when the work is done."""
        dtype = DTYPES[spec.dtype]
        count = spec.m * spec.n

        def compute() -> None:
            places = memory(table, np.uint64, spec.batch).tolist()
            scribble(*work)
            many = np.concatenate([memory(p, dtype, count) for p in places])
            sizes = host_solver.solver_sizes(spec)
            views = {k: memory(a, *sizes[k]) for k, a in at.items()}
            host_solver._COMPUTE[spec.routine](spec, {**views, name: many})
            for p, one in zip(places, many.reshape(spec.batch, count), strict=True):
                memory(p, dtype, count)[...] = one

        self.work(self.streams[h], compute)

    def solver_potrfBatched(self, t: str, h: int, uplo: int, n: int, *rest: Any) -> None:
        table, lda, info, batch = rest
        assert lda == n and uplo == 1
        self.gather(h, SolverSpec("potrf", t, n, n, batch), (0, 0), "a", table, info=info)

    def solver_orgqr_bufferSize(self, t: str, h: int, *args: Any) -> None:
        ctypes.c_int.from_address(args[-1]).value = DEVICE // DTYPES[t].itemsize

    def solver_orgqr(self, t: str, h: int, m: int, n: int, k: int, *rest: Any) -> None:
        a, lda, taus, work, size, info = rest
        nbytes = size * DTYPES[t].itemsize
        assert lda == m and nbytes == DEVICE
        spec = SolverSpec("orgqr", t, m, n, 1, k)
        self.run(h, spec, (work, nbytes, 0, 0), a=a, taus=taus, info=info)

    def solver_gesvdjBatched_bufferSize(self, t: str, h: int, *args: Any) -> None:
        ctypes.c_int.from_address(args[-3]).value = DEVICE // DTYPES[t].itemsize
        assert args[-2] >> 36 and args[-1] > 1

    def solver_gesvdjBatched(self, t: str, h: int, jobz: int, m: int, n: int, *rest: Any) -> None:
        a, lda, s, u, ldu, v, ldv, work, size, info, params, batch = rest
        nbytes = size * DTYPES[t].itemsize
        assert lda == ldu == m and ldv == n and params >> 36 and nbytes == DEVICE and u and v
        scribble(u, batch * m * m * DTYPES[t].itemsize)
        scribble(v, batch * n * n * DTYPES[t].itemsize)
        spec = SolverSpec("gesvdj", t, m, n, batch, 0, ("NA"[jobz],))
        self.run(h, spec, (work, nbytes, 0, 0), a=a, values=s, u=u, v=v, info=info)

    # ---- cuBLAS ----

    def _trsm(self, t: str, h: int, batch: int, args: Any, a: int, b: int, many: bool) -> None:
        side, uplo, way, diagonal, m, n, alpha, lda, ldb = args
        one = memory(alpha, DTYPES[t], 1)[0]
        order = m if side == 0 else n
        assert one == 1 and lda == order and ldb == m
        options = ("LR"[side], "LU"[uplo], "NTC"[way], "NU"[diagonal])
        spec = SolverSpec("trsm", t, m, n, batch, 0, options)
        work = self.workspaces[h]
        if not many:
            self.run(h, spec, (*work, 0, 0), a=a, b=b)
            return

        def compute() -> None:
            firsts = memory(a, np.uint64, batch).tolist()
            seconds = memory(b, np.uint64, batch).tolist()
            scribble(*work)
            single = SolverSpec("trsm", t, m, n, 1, 0, options)
            for x, y in zip(firsts, seconds, strict=True):
                views = {"a": memory(x, DTYPES[t], order**2), "b": memory(y, DTYPES[t], m * n)}
                host_solver._COMPUTE["trsm"](single, views)

        self.work(self.streams[h], compute)

    def blas_trsm_v2(self, t: str, h: int, *args: Any) -> None:
        *head, a, lda, b, ldb = args
        self._trsm(t, h, 1, (*head, lda, ldb), a, b, False)

    def blas_trsmBatched(self, t: str, h: int, *args: Any) -> None:
        *head, a, lda, b, ldb, batch = args
        self._trsm(t, h, batch, (*head, lda, ldb), a, b, True)

    def blas_getrfBatched(self, t: str, h: int, n: int, *args: Any) -> None:
        table, lda, pivots, info, batch = args
        assert lda == n
        spec = SolverSpec("getrf", t, n, n, batch, 0, ("batched",))
        self.gather(h, spec, self.workspaces[h], "a", table, pivots=pivots, info=info)


def of_real(dtype: str) -> str:
    return {"f32": "f32", "f64": "f64", "c64": "f32", "c128": "f64"}[dtype]


assert all(DTYPES[of_real(name)] == real_dtype(DTYPES[name]) for name in LETTER.values())


@contextmanager
def fake_libraries(put: Put | None = None) -> Iterator[Fake]:
    """The bindings call the functions of a ``Fake`` inside; without ``put``, which do their work at
    once.
    """
    fake = Fake(put or (lambda stream, work: work()))
    transforms = fake.table(cufft.SIGNATURES, "fft_")
    solvers = fake.table(cusolver.SOLVER_SIGNATURES, "solver_")
    solvers |= fake.table(cusolver.BLAS_SIGNATURES, "blas_")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cufft, "functions", lambda: transforms)
        patch.setattr(cusolver, "functions", lambda: solvers)
        for module in (cufft, cusolver):
            patch.setattr(module, "why_missing", lambda name: "")
        yield fake
    errors = [kept for kept in fake.kept if isinstance(kept, BaseException)]
    assert not errors, errors
