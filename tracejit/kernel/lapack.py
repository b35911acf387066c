"""A routine of LAPACK with its arguments, for each matrix of a stack: what the native ``main``
calls, without Python in between.

    plan = lapack_plan(node, threads=2)
    plan.routine, plan.batch       "dpotrf", 100
    plan.arguments                 Char("U"), Int(8), Buffer(0), Int(8), Info()

Comes in: a node of one of the records in ``ops/lapack.py``. Goes out: everything that a printer
needs to write the call, as data. Buffers are the node's results and then its operands, but for one
that is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from tracejit.ir.graph import Node
from tracejit.ir.types import TensorType, kind, short
from tracejit.kernel.lapack_phases import (
    SOLVE_LEAST,
    SOLVE_SHARE,
    SOLVE_SIDE,
    Blocks,
    Phases,
    phases_of,
)
from tracejit.record import dataclass

#: nanoseconds of work from which threads share a stack
PARALLEL_TIME = 20_000
#: nanoseconds that a call takes beside its arithmetic, those of BLAS less, and operations in one of
#: them
CALL_TIME, BLAS_TIME, SPEED = 400, 150, 2
#: rows and columns of a single matrix from which a routine gains by all threads: below, its parts
#: that do not share work wait for each other. By measurements on two cores. Not those
#: of ``lapack_phases.py``
WHOLE = {
    "gesdd": 320,
    "syevd": 300,
    "heevd": 300,
    "geev": 512,
    "geqp3": 320,
    "gees": 512,
    "gehrd": 512,
    "sytrd": 300,
    "hetrd": 300,
}
#: right hand sides of one system are shared among threads from so many multiplications on, so
#: many at a time at least
SHARED, TOGETHER = 1_000_000, 32
#: parts of a stack for each thread, where the memory they work in is small
PIECES = 4
SMALL_WORK = 1 << 18
#: columns that LAPACK treats at once, at most
BLOCK = 64
ALIGN = 64


@dataclass(frozen=True)
class Char:
    letter: str


@dataclass(frozen=True)
class Int:
    value: int


@dataclass(frozen=True)
class One:
    """The number 1 in the routine's dtype."""


@dataclass(frozen=True)
class Buffer:
    """The matrix or vector of this step in a buffer."""

    place: int


@dataclass(frozen=True)
class Work:
    """``offset`` bytes into the memory to work in."""

    offset: int


@dataclass(frozen=True)
class Info:
    """Where the routine says whether it failed."""


Argument = Char | Int | One | Buffer | Work | Info


@dataclass(frozen=True)
class Finite:
    """``rows`` rows of ``columns`` numbers that all must be finite: only up to the diagonal, or
    from it on, where ``part`` says "before" or "after".
    """

    buffer: int
    rows: int
    columns: int
    part: str


@dataclass(frozen=True)
class Pivots:
    """``count`` row exchanges, from 1, at ``work`` as LAPACK writes them: to be written to buffer
    ``out`` from 0, and as a permutation of ``rows`` rows to buffer ``order``. Without that they are
    places that LAPACK is free to choose, which it is told by zeros.
    """

    work: int
    count: int
    rows: int
    out: int
    order: int | None


@dataclass(frozen=True)
class Shared:
    """A single call in parts: argument ``place`` says how many of ``count`` units there are, and
    one is ``stride`` bytes from the next in buffer 0.
    """

    place: int
    stride: int
    count: int


@dataclass(frozen=True)
class LapackPlan:
    """Call ``routine`` for each of ``batch`` steps, in ``pieces`` parts that threads share.

    ``dtype``: of the matrices. ``strides``: bytes from a step to the next, for each buffer.
    ``saved``: (offset in the memory to work in, buffer, bytes) to copy before each call: operands
    that the routine destroys. ``results``: how many of the buffers, the first ones, to fill with
    nan where the routine fails. ``clear``: the size of a square matrix in buffer 0 whose rows are
    0 behind the diagonal. ``shared``: what pieces are parts of, in place of the stack, where that
    is a single matrix. ``whole``: the routine may use all threads. ``work``: bytes of a piece.
    ``phases``: what is done in place of a single call of the routine; ``blocks``: the same, for
    triangular equations.
    """

    routine: str
    dtype: str
    arguments: tuple[Argument, ...]
    batch: int
    strides: tuple[int, ...]
    results: tuple[TensorType, ...]
    saved: tuple[tuple[int, int, int], ...] = ()
    finite: Finite | None = None
    pivots: Pivots | None = None
    clear: int = 0
    work: int = 0
    pieces: int = 1
    whole: bool = False
    shared: Shared | None = None
    phases: Phases | None = None
    blocks: Blocks | None = None

    @property
    def routines(self) -> tuple[str, ...]:
        """All that is called."""
        if self.phases is not None:
            return tuple(self.routine[0] + name for name in self.phases.routines)
        more = () if self.blocks is None else (self.routine[0] + "gemm",)
        return (self.routine, *more)


class _Plan:
    """A plan in the making."""

    def __init__(self, node: Node, threads: int) -> None:
        self.threads = threads
        updated = 1 if node.prim.updates else 0
        self.node = node
        self.x = node.inputs[0].type
        self.own = [out.type for out in node.outputs]
        types = [*self.own, *(x.type for x in node.inputs[updated:])]
        depth = self.x.ndim - 2
        self.batch = prod(self.x.shape[:depth])
        self.steps = [t.with_shape(t.shape[depth:]) for t in types]
        self.params: dict[str, Any] = dict(node.params)
        self.end = 0
        self.saved: list[tuple[int, int, int]] = []
        self.flops = 0.0

    @property
    def complex(self) -> bool:
        return kind(self.x.dtype) == "c"

    @property
    def item(self) -> int:
        return self.x.dtype.itemsize

    @property
    def real(self) -> int:
        """Bytes of a real number."""
        return self.item // 2 if self.complex else self.item

    def named(self, name: str) -> str:
        return {"f32": "s", "f64": "d", "c64": "c", "c128": "z"}[short(self.x.dtype)] + name

    def work(self, nbytes: int) -> Work:
        """Memory to work in."""
        place = Work(self.end)
        self.end += -(-max(nbytes, 8) // ALIGN) * ALIGN
        return place

    def sized(self, count: int, item: int) -> tuple[Work, Int]:
        """The same as LAPACK asks for it: with how many numbers fit."""
        return self.work(count * item), Int(count)

    def copy(self, buffer: int) -> Work:
        """A copy of a buffer's matrix, made before each call."""
        nbytes = self.steps[buffer].nbytes
        place = self.work(nbytes)
        self.saved.append((place.offset, buffer, nbytes))
        return place

    def whole(self, name: str, threads: int) -> bool:
        """Whether one call of the routine is worth all threads."""
        large = name in WHOLE and min(self.x.shape[-2:]) >= WHOLE[name]
        return large and threads > 1 and self.batch == 1

    def phases(self, name: str, count: int | None = None) -> Phases | None:
        """The routine in phases, with memory to work in."""
        columns, rows = self.x.shape[-2:]
        found = phases_of(name, rows, columns, self.threads, count) if self.batch == 1 else None
        if found is None:
            return None
        self.end = 0
        places = tuple(self.work(nbytes).offset for nbytes in found.spaces(self.item))
        return replace(found, places=places)

    def finish(self, routine: str, arguments: tuple[Argument, ...], **more: Any) -> LapackPlan:
        threads = self.threads
        call = BLAS_TIME if routine[1:] in ("trsm", "trsv") else CALL_TIME
        time = self.batch * (call + self.flops / SPEED)
        split = self.batch > 1 and threads > 1 and time >= PARALLEL_TIME
        each = PIECES if self.end <= SMALL_WORK else 1
        shared: Shared | None = more.get("shared")
        if shared is not None:
            pieces = min(shared.count // TOGETHER, threads * PIECES)
            if more.get("blocks") is not None:
                pieces = min(pieces, threads * max(1, shared.count // (threads * SOLVE_SHARE)))
            split = self.batch == 1 and threads > 1 and pieces > 1 and self.flops >= SHARED
            more = more if split else {**more, "shared": None}
        else:
            pieces = min(self.batch, threads * each)
        return LapackPlan(
            routine,
            short(self.x.dtype),
            arguments,
            self.batch,
            tuple(t.nbytes for t in self.steps),
            tuple(self.steps[: len(self.own)]),
            tuple(self.saved),
            work=self.end,
            pieces=pieces if split else 1,
            whole=self.whole(routine[1:], threads) and more.get("phases") is None,
            **more,
        )


def lapack_plan(node: Node, threads: int) -> LapackPlan:
    """How to call LAPACK for a node, on at most ``threads`` threads."""
    plan = _Plan(node, threads)
    routine, arguments, more = _WRITERS[node.prim.name](plan)
    return plan.finish(plan.named(routine), arguments, **more)


Written = tuple[str, tuple[Argument, ...], dict[str, Any]]


def _potrf(p: _Plan) -> Written:
    n = p.x.shape[-1]
    p.flops = n**3 / 3
    return (
        "potrf",
        (Char("U"), Int(n), Buffer(0), Int(n), Info()),
        {
            "clear": n,
            "phases": p.phases("potrf"),
        },
    )


def _getrf(p: _Plan) -> Written:
    columns, rows = p.x.shape[-2:]
    count = min(rows, columns)
    p.flops = 2 * rows * columns * count / 3
    exchanges = p.work(8 * count)
    arguments = (Int(rows), Int(columns), Buffer(0), Int(rows), exchanges, Info())
    more = {"pivots": Pivots(exchanges.offset, count, rows, 1, 2), "phases": p.phases("getrf")}
    return "getrf", arguments, more


def _geqrf(p: _Plan) -> Written:
    columns, rows = p.x.shape[-2:]
    p.flops = 2 * rows * columns * min(rows, columns)
    work, size = p.sized(BLOCK * columns, p.item)
    arguments = (Int(rows), Int(columns), Buffer(0), Int(rows), Buffer(1), work, size, Info())
    finite = _all_finite(p, 0) if p.params["checked"] else None
    return "geqrf", arguments, {"finite": finite, "phases": p.phases("geqrf")}


def _orgqr(p: _Plan) -> Written:
    columns, rows = p.x.shape[-2:]
    count = p.steps[1].shape[-1]
    p.flops = 2 * rows * columns * count
    work, size = p.sized(BLOCK * columns, p.item)
    sizes = (Int(rows), Int(columns), Int(count))
    name = "ungqr" if p.complex else "orgqr"
    arguments = (*sizes, Buffer(0), Int(rows), Buffer(1), work, size, Info())
    return name, arguments, {"phases": p.phases(name, count)}


def _trsm(p: _Plan) -> Written:
    """Row-major matrices are the transposes of BLAS's: sides and triangles change places."""
    rows, columns = p.x.shape[-2:]
    n = p.steps[1].shape[-1]
    p.flops = rows * columns * n
    left, transposed = p.params["left_side"], p.params["transpose_a"]
    adjoint = transposed and p.params["conjugate_a"]
    part = Char("U" if p.params["lower"] else "L")
    unit = Char("U" if p.params["unit_diagonal"] else "N")
    if p.x.size == p.batch * n and not (adjoint and left and p.complex):
        # a vector lies alike in both orders; from the right, its equation is the transposed one
        way = "C" if adjoint else "T" if transposed != left else "N"
        arguments = (part, Char(way), unit, Int(n), Buffer(1), Int(n), Buffer(0), Int(1))
        return "trsv", arguments, {}
    way = "C" if adjoint else "T" if transposed else "N"
    letters = (Char("R" if left else "L"), part, Char(way), unit)
    matrices = (Buffer(1), Int(n), Buffer(0), Int(columns))
    shared = Shared(4, p.item, columns) if left else Shared(5, columns * p.item, rows)
    sizes = (Int(columns), Int(rows), One())
    blocks = None
    if n >= SOLVE_LEAST and (columns if left else rows) >= SOLVE_SIDE:
        text = "".join(x.letter for x in letters)
        # BLAS's letter for the part says where numbers are before the transposition
        forward = ((part.letter == "L") == (way == "N")) != left
        other = columns if left else rows
        blocks = Blocks(not left, forward, text, n, columns, other)
    return "trsm", (*letters, *sizes, *matrices), {"shared": shared, "blocks": blocks}


def _gesdd(p: _Plan) -> Written:
    vectors, full = p.params["compute_uv"], p.params["full_matrices"]
    columns, rows = p.x.shape[-2:]
    k, longer = min(rows, columns), max(rows, columns)
    p.flops = (12 if vectors else 3) * longer * k * k
    buffer = len(p.own)
    a = p.copy(buffer)
    if vectors:
        outs: tuple[Argument, ...]
        outs = (Buffer(1), Int(rows), Buffer(2), Int(columns if full else k))
        least = 4 * k * k + 8 * k
    else:
        none = p.work(p.item)
        outs = (none, Int(1), none, Int(1))
        least = 8 * k
    blocked = BLOCK * (rows + columns) + 4 * k
    work, size = p.sized(least + blocked + longer, p.item)
    real: tuple[Argument, ...] = ()
    if p.complex:
        count = max(5 * k * k + 5 * k, 2 * longer * k + 2 * k * k + k) if vectors else 7 * k
        real = (p.work(count * p.real),)
    letter = Char(("A" if full else "S") if vectors else "N")
    head = (letter, Int(rows), Int(columns), a, Int(rows), Buffer(0), *outs)
    arguments = (*head, work, size, *real, p.work(8 * 8 * k), Info())
    return "gesdd", arguments, {"finite": _all_finite(p, buffer)}


def _syevd(p: _Plan) -> Written:
    vectors = p.node.prim.name == "lapack_syevd"
    n = p.x.shape[-1]
    p.flops = (9 if vectors else 2) * n**3
    part = "after" if p.params["lower"] else "before"
    matrix: Argument = Buffer(0) if vectors else p.copy(1)
    values = Buffer(1 if vectors else 0)
    head = (Char("V" if vectors else "N"), Char("L" if p.params["lower"] else "U"), Int(n))
    numbers = 1 + 6 * n + 2 * n * n if vectors else 2 * n + 1
    whole = p.sized((3 + 5 * n) if vectors else 1, 8)
    if p.complex:
        work = p.sized((n * n + 2 * n if vectors else n + 1) + BLOCK * n, p.item)
        count = 1 + 5 * n + 2 * n * n if vectors else n
        more: tuple[Argument, ...] = (*work, *p.sized(count, p.real), *whole)
    else:
        more = (*p.sized(numbers + BLOCK * n, p.item), *whole)
    finite = Finite(0 if vectors else 1, n, n, part)
    name = "heevd" if p.complex else "syevd"
    return name, (*head, matrix, Int(n), values, *more, Info()), {"finite": finite}


def _geev(p: _Plan) -> Written:
    n = p.x.shape[-1]
    left, right = p.params["left"], p.params["right"]
    p.flops = (25 if left or right else 10) * n**3
    buffer = len(p.own)
    count = 1 if p.complex else 2
    a = p.copy(buffer)
    values = tuple(Buffer(k) for k in range(count))
    none = p.work(p.item)
    vectors: list[Argument] = []
    for wanted in (left, right):
        vectors += [Buffer(count), Int(n)] if wanted else [none, Int(1)]
        count += wanted
    work, size = p.sized((4 + 2 * BLOCK) * n, p.item)
    real = (p.work(2 * n * p.real),) if p.complex else ()
    letters = (Char("V" if left else "N"), Char("V" if right else "N"))
    head = (*letters, Int(n), a, Int(n), *values, *vectors)
    arguments = (*head, work, size, *real, Info())
    return "geev", arguments, {"finite": _all_finite(p, buffer)}


def _all_finite(p: _Plan, buffer: int) -> Finite:
    rows, columns = p.x.shape[-2:]
    return Finite(buffer, rows, columns, "all")


def _geqp3(p: _Plan) -> Written:
    columns, rows = p.x.shape[-2:]
    p.flops = 2 * rows * columns * min(rows, columns)
    places = p.work(8 * columns)
    work, size = p.sized(2 * columns + (columns + 1) * BLOCK, p.item)
    real = (p.work(2 * columns * p.real),) if p.complex else ()
    head = (Int(rows), Int(columns), Buffer(0), Int(rows), places, Buffer(1))
    more = {"finite": _all_finite(p, 0), "pivots": Pivots(places.offset, columns, columns, 2, None)}
    return "geqp3", (*head, work, size, *real, Info()), more


def _gtsv(p: _Plan) -> Written:
    """Of the band below, the first element counts for nothing."""
    count, n = p.x.shape[-2:]
    p.flops = 8 * n * count
    below, middle, above = (p.copy(k) for k in (1, 2, 3))
    bands = (Work(below.offset + p.item), middle, above)
    return "gtsv", (Int(n), Int(count), *bands, Buffer(0), Int(n), Info()), {}


def _gees(p: _Plan) -> Written:
    n = p.x.shape[-1]
    p.flops = 25 * n**3
    none = p.work(max(p.item, 8))
    values = tuple(p.work(n * p.item) for _ in range(1 if p.complex else 2))
    vectors = (Buffer(1), Int(n)) if p.params["vectors"] else (none, Int(1))
    work, size = p.sized((3 + BLOCK) * n + (BLOCK + 1) * BLOCK, p.item)
    real = (p.work(n * p.real),) if p.complex else ()
    letters = (Char("V" if p.params["vectors"] else "N"), Char("N"))
    # nothing is selected: neither the function that would say so is called, nor its answers kept
    head = (*letters, none, Int(n), Buffer(0), Int(n), none, *values, *vectors)
    return "gees", (*head, work, size, *real, none, Info()), {"finite": _all_finite(p, 0)}


def _gehrd(p: _Plan) -> Written:
    n = p.x.shape[-1]
    p.flops = 10 * n**3 / 3
    # with room for the triangular factors of blocks
    work, size = p.sized(BLOCK * n + (BLOCK + 1) * BLOCK, p.item)
    sizes = (Int(n), Int(1), Int(n))
    return "gehrd", (*sizes, Buffer(0), Int(n), Buffer(1), work, size, Info()), {}


def _sytrd(p: _Plan) -> Written:
    n = p.x.shape[-1]
    p.flops = 4 * n**3 / 3
    work, size = p.sized(BLOCK * n, p.item)
    letter = Char("L" if p.params["lower"] else "U")
    outs = (Buffer(1), Buffer(2), Buffer(3))
    name = "hetrd" if p.complex else "sytrd"
    return name, (letter, Int(n), Buffer(0), Int(n), *outs, work, size, Info()), {}


_WRITERS: dict[str, Callable[[_Plan], Written]] = {
    "lapack_potrf": _potrf,
    "lapack_getrf": _getrf,
    "lapack_geqrf": _geqrf,
    "lapack_orgqr": _orgqr,
    "lapack_trsm": _trsm,
    "lapack_gesdd": _gesdd,
    "lapack_syevd": _syevd,
    "lapack_syevd_values": _syevd,
    "lapack_geev": _geev,
    "lapack_geqp3": _geqp3,
    "lapack_gtsv": _gtsv,
    "lapack_gees": _gees,
    "lapack_gehrd": _gehrd,
    "lapack_sytrd": _sytrd,
}
