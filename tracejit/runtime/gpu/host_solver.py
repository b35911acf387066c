"""Fourier transforms and linear algebra of the device that plays a GPU, by NumPy and LAPACK.

    plan = solver_plan(spec, put, within)       spec: a FftSpec or a SolverSpec
    plan.run((a, info), workspace)              reads and writes host memory at these addresses

Written from what ``kernel/gpu/library.py`` says, as ``host_library.py`` is: matrices are views of
memory, column after column; what a routine does not write stays, and what it leaves open is filled
with nan (integers with -1), so that a program which reads it shows. The workspace is scribbled
over.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tracejit.ir.types import DTYPES, complex_dtype, kind, real_dtype
from tracejit.kernel.gpu.library import FftSpec, SolverSpec
from tracejit.ops import linalg_parts as m
from tracejit.runtime.gpu.device import LibraryPlan

Arrays = dict[str, np.ndarray]
Put = Callable[[Callable[[], None]], None]
Within = Callable[[int, int, str], None]

WORKSPACE = 1024


def memory(address: int, dtype: np.dtype, count: int) -> np.ndarray:
    """``count`` elements that lie at an address."""
    if not count:
        return np.empty(0, dtype)
    raw = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(raw, dtype)


def columns(flat: np.ndarray, rows: int, count: int, batch: int = 1) -> np.ndarray:
    """[batch, rows, count] of matrices that lie column after column; a view."""
    size = flat.itemsize
    return as_strided(flat, (batch, rows, count), (rows * count * size, size, rows * size))


class HostSolverPlan(LibraryPlan):
    """``compute`` changes the operands, of which ``sizes`` has the dtypes and lengths."""

    workspace = WORKSPACE

    def __init__(
        self,
        spec: FftSpec | SolverSpec,
        sizes: dict[str, tuple[np.dtype, int]],
        compute: Callable[[Arrays], None],
        put: Put,
        within: Within,
    ) -> None:
        self.spec = spec
        self.sizes = sizes
        self.compute = compute
        self.put = put
        self.within = within
        self.recorded = spec.recorded

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        named = dict(zip(self.spec.operands, addresses, strict=True))
        for name, address in named.items():
            dtype, count = self.sizes[name]
            what = f"{type(self.spec).__name__.removesuffix('Spec')}: the operand {name}"
            self.within(address, dtype.itemsize * count, what)
        self.within(workspace, self.workspace, "the workspace of a library")
        self.put(lambda: self._run(named, workspace))

    def _run(self, addresses: dict[str, int], workspace: int) -> None:
        ctypes.memset(workspace, 0xFF, self.workspace)
        with np.errstate(all="ignore"):
            self.compute({n: memory(a, *self.sizes[n]) for n, a in addresses.items()})
        ctypes.memset(workspace, 0xFF, self.workspace)


def solver_plan(spec: FftSpec | SolverSpec, put: Put, within: Within) -> LibraryPlan:
    """A plan for ``spec``."""
    if isinstance(spec, FftSpec):
        return HostSolverPlan(spec, _fft_sizes(spec), lambda at: _fft(spec, at), put, within)
    compute = _COMPUTE[spec.routine]
    return HostSolverPlan(spec, solver_sizes(spec), lambda at: compute(spec, at), put, within)


# ---- Fourier transforms --------------------------------------------------------------------------


def _fft_sizes(spec: FftSpec) -> dict[str, tuple[np.dtype, int]]:
    real = DTYPES[spec.dtype]
    wide = complex_dtype(real)
    x, y = (prod(extents) * spec.batch for extents in spec.extents)
    dtypes = real if spec.kind == "rfft" else wide, real if spec.kind == "irfft" else wide
    return {"x": (dtypes[0], x), "y": (dtypes[1], y)}


def _fft(spec: FftSpec, at: Arrays) -> None:
    """Sums over the axes behind that of the batch."""
    step, *steps = spec.strides
    views = []
    for name, extents, distance in zip("xy", spec.extents, steps, strict=True):
        size = at[name].itemsize
        inner = [step * prod(extents[k + 1 :]) * size for k in range(len(extents))]
        views.append(as_strided(at[name], (spec.batch, *extents), (distance * size, *inner)))
    x, y = views
    axes = tuple(range(1, x.ndim))
    if spec.kind == "irfft":
        length = spec.lengths[-1]
        ends = x[:, :1].imag, x[:, length // 2 :].imag if length % 2 == 0 else x[:, :1].imag
        assert not any(end.any() for end in ends if np.isfinite(end).all()), "no real signal"
        y[...] = np.fft.irfft(x, length, axis=1, norm="forward")
    elif spec.kind == "rfft":
        y[...] = np.fft.rfftn(x, axes=axes)
    else:
        function, norm = (
            (np.fft.fftn, "backward") if spec.kind == "fft" else (np.fft.ifftn, "forward")
        )
        y[...] = function(x, axes=axes, norm=norm)  # type: ignore[operator]


# ---- linear algebra ------------------------------------------------------------------------------


def solver_sizes(spec: SolverSpec) -> dict[str, tuple[np.dtype, int]]:
    """The dtype and the number of elements of each operand, by name."""
    dtype, rows, cols, batch = DTYPES[spec.dtype], spec.m, spec.n, spec.batch
    k, square = min(rows, cols), rows if "A" in spec.options or spec.routine == "gesvdj" else cols
    order = rows if spec.options[:1] == ("L",) else cols
    return {
        "a": (dtype, batch * (order * order if spec.routine == "trsm" else rows * cols)),
        "b": (dtype, batch * rows * cols),
        "info": (DTYPES["i32"], batch),
        "pivots": (DTYPES["i32" if spec.options == ("batched",) else "i64"], batch * k),
        "taus": (dtype, batch * (spec.count or k)),
        "values": (real_dtype(dtype), batch * k),
        "u": (dtype, batch * rows * square),
        "v": (dtype, batch * cols * cols),
    }


def _matrices(spec: SolverSpec, at: Arrays) -> np.ndarray:
    return columns(at["a"], spec.m, spec.n, spec.batch)


def _rows(flat: np.ndarray, batch: int) -> np.ndarray:
    return flat.reshape(batch, -1)


def _fill(x: np.ndarray) -> None:
    """Scribble over what is left open."""
    x[...] = np.nan if kind(x.dtype) in "fc" else -1


def _potrf(spec: SolverSpec, at: Arrays) -> None:
    a = _matrices(spec, at)
    for k in range(spec.batch):
        upper, failed = m.lapack("potrf", a.dtype)(a[k], lower=0, clean=0)
        mask = np.triu(np.ones(a.shape[1:], bool))
        a[k][mask] = upper[mask] if not failed else 7
        at["info"][k] = failed


def _getrf(spec: SolverSpec, at: Arrays) -> None:
    a, pivots = _matrices(spec, at), _rows(at["pivots"], spec.batch)
    for k in range(spec.batch):
        factors, found, failed = m.lapack("getrf", a.dtype)(a[k])
        a[k], pivots[k], at["info"][k] = factors, found + 1, failed


def _geqrf(spec: SolverSpec, at: Arrays) -> None:
    a, taus = _matrices(spec, at), _rows(at["taus"], spec.batch)
    for k in range(spec.batch):
        a[k], taus[k], _, at["info"][k] = m.lapack("geqrf", a.dtype)(a[k])


def _orgqr(spec: SolverSpec, at: Arrays) -> None:
    a, taus = _matrices(spec, at), _rows(at["taus"], spec.batch)
    for k in range(spec.batch):
        q, _, at["info"][k] = m.lapack("orgqr", a.dtype)(a[k], taus[k])
        a[k] = q


def _trsm(spec: SolverSpec, at: Arrays) -> None:
    side, triangle, way, diagonal = spec.options
    order = spec.m if side == "L" else spec.n
    a = columns(at["a"], order, order, spec.batch)
    b = columns(at["b"], spec.m, spec.n, spec.batch)
    for k in range(spec.batch):
        b[k] = m.blas("trsm", b.dtype)(
            1,
            a[k],
            b[k],
            side=int(side == "R"),
            lower=int(triangle == "L"),
            trans_a="NTC".index(way),
            diag=int(diagonal == "U"),
        )


def _finite(x: np.ndarray) -> None:
    assert np.isfinite(x).all(), "iterations need not come to an end where a matrix has nan"


def _syevd(spec: SolverSpec, at: Arrays) -> None:
    vectors, triangle = spec.options
    a, values = _matrices(spec, at), _rows(at["values"], spec.batch)
    for k in range(spec.batch):
        _finite(np.tril(a[k]) if triangle == "L" else np.triu(a[k]))
        values[k], found = np.linalg.eigh(a[k], triangle)
        a[k] = found if vectors == "V" else np.nan
    at["info"][...] = 0


def _gesvd(spec: SolverSpec, at: Arrays) -> None:
    assert spec.m >= spec.n, "gesvd takes no wide matrices"
    _values(spec, at, spec.options[0] == "A", turned=False)


def _gesvdj(spec: SolverSpec, at: Arrays) -> None:
    assert max(spec.m, spec.n) <= 32, "gesvdjBatched takes small matrices only"
    _values(spec, at, True, turned=True)


def _values(spec: SolverSpec, at: Arrays, full: bool, *, turned: bool) -> None:
    a, values = _matrices(spec, at), _rows(at["values"], spec.batch)
    _finite(a)
    u, s, vh = np.linalg.svd(a, full_matrices=full)
    values[...] = s
    if "u" in spec.operands:
        v = vh.conj().swapaxes(1, 2) if turned else vh
        columns(at["u"], *u.shape[1:], spec.batch)[...] = u
        columns(at["v"], *v.shape[1:], spec.batch)[...] = v
    _fill(a)
    at["info"][...] = 0


_COMPUTE: dict[str, Callable[[SolverSpec, Arrays], None]] = {
    "potrf": _potrf,
    "getrf": _getrf,
    "geqrf": _geqrf,
    "orgqr": _orgqr,
    "trsm": _trsm,
    "syevd": _syevd,
    "gesvd": _gesvd,
    "gesvdj": _gesvdj,
}
