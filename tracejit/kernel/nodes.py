"""The Kernel IR: loop nests over scalar expressions. One page; printed and read back by
``text.py``.

Buffers are row-major and contiguous. ``Param.shape`` entries are ints (small extents are constants)
or names of run-time sizes (i64), listed in ``Kernel.sizes``. Expressions are those of
``ir/expr.py``.

Every decision is a field here and the printers take none: ``Loop.how`` says which loop is split
over threads (``par``, only outermost), which one is a vector (``vec`` with ``width`` lanes,
``unroll`` vectors at a time), which run in order (``seq``); ``Accumulate`` states that the order of
a reduction is free, so that a ``vec`` loop may keep one accumulator per lane and unrolled copy.

A ``vec`` loop may hold ``seq`` loops, ``While`` and ``If``: its locals are then vectors and
conditions masks. ``any_lane(c)`` holds where ``c`` does in some lane of the vectors at hand; a
kernel must mean the same with each lane by itself, where it is ``c``.

A kernel for a GPU is one ``block`` loop, whose body declares what the threads of a block share
(Scratch: shared memory) and ends in one ``thread`` loop of constant extent. Threads run in any
order between the Barriers and Combines at which they meet, blocks in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from tracejit.ir.expr import Const, Expr, Load, Op, Var
from tracejit.record import dataclass

__all__ = [
    "Accumulate",
    "Atomic",
    "Combine",
    "Const",
    "Expr",
    "Fence",
    "If",
    "Kernel",
    "Load",
    "Local",
    "Loop",
    "Op",
    "Param",
    "Scratch",
    "Set",
    "Stmt",
    "Store",
    "Transpose",
    "Var",
    "While",
    "Barrier",
    "Check",
]


class Stmt:
    """Base of the statements."""

    __slots__ = ()


@dataclass(frozen=True)
class Param:
    """A buffer argument. ``role``: ``in`` is only read, ``out`` only written before it is read,
    ``inout`` both.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    role: str

    def extents(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape when the run-time sizes have these values."""
        return tuple(sizes[n] if isinstance(n, str) else n for n in self.shape)


@dataclass(frozen=True)
class Loop(Stmt):
    """``for var in range(start, stop)``; ``var`` is an i64. ``how``: seq, par, vec, block, thread.

    ``width``/``unroll`` count for ``vec`` only: lanes of one vector and vectors per trip of the
    main loop; the rest runs as masked vectors, so any extent works; with ``unroll`` 0 all does. For
    ``seq``, ``unroll`` == extent asks for full unrolling.
    """

    how: str
    var: str
    start: Expr
    stop: Expr
    body: tuple[Stmt, ...]
    width: int = 1
    unroll: int = 1


@dataclass(frozen=True)
class Local(Stmt):
    """Declare a scalar (a vector inside ``vec``) and give it its first value."""

    name: str
    dtype: str
    value: Expr


@dataclass(frozen=True)
class Scratch(Stmt):
    """Declare a small local array of constant shape, uninitialised (stack or registers). Used like
    a buffer.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Set(Stmt):
    """Assign to a local declared earlier."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Accumulate(Stmt):
    """``name = fn(name, value)`` with ``fn`` associative and commutative, in any order.

    ``fn``: add, mul, max, min (nan-propagating), and, or, xor. Inside a ``vec`` loop on a local
    declared outside it this is a reduction across lanes; on a local declared inside, lane by lane.
    """

    name: str
    fn: str
    value: Expr


@dataclass(frozen=True)
class Store(Stmt):
    """``buffer[index] = value``; with ``guard``, only where it holds."""

    buffer: str
    index: tuple[Expr, ...]
    value: Expr
    guard: Expr | None = None


@dataclass(frozen=True)
class Transpose(Stmt):
    """Copy a square block, transposed: ``target[.., i + c, j + r] = source[.., y + r, x + c]`` for
    ``r`` and ``c`` below ``side``, where ``to`` ends in ``i, j`` and ``at`` in ``y, x``; zero where
    ``r >= rows`` or ``c >= columns``, and nothing is read there. ``axis``: which axis of the source
    ``r`` runs along, the last but one unless told. Not inside a ``vec`` loop.
    """

    target: str
    to: tuple[Expr, ...]
    source: str
    at: tuple[Expr, ...]
    side: int
    rows: Expr
    columns: Expr
    axis: int = -2


@dataclass(frozen=True)
class If(Stmt):
    cond: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


@dataclass(frozen=True)
class While(Stmt):
    """``while cond: body``. Inside ``vec``: runs until no lane's condition holds; finished lanes
    keep their locals.
    """

    cond: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class Check(Stmt):
    """Record failure number ``code`` (>= 1) in the kernel's flag when ``ok`` is false (in any
    lane); go on.
    """

    ok: Expr
    code: int


@dataclass(frozen=True)
class Barrier(Stmt):
    """All threads of a block meet (GPU)."""


@dataclass(frozen=True)
class Combine(Stmt):
    """Fold the local ``name`` of ``width`` neighbouring threads by ``fn``, as in Accumulate; each
    of them then holds the result, or with ``prefix`` the fold of the threads up to itself (GPU).

    ``width``: a power of two up to 32, all threads of a warp being there, or the extent of the
    thread loop, a power of two from 32 on, all threads of the block being there. The order is that
    of a butterfly: first the 32 threads of each warp at distances 16, 8 ... 1, then their results
    likewise; so each thread holds the same bits. A prefix has distances 1, 2, ... 16, then the
    totals of the warps likewise.
    """

    name: str
    fn: str
    width: int
    prefix: bool = False


@dataclass(frozen=True)
class Atomic(Stmt):
    """``buffer[index] = fn(buffer[index], value)`` as one step, whatever other threads do; with
    ``guard``, only where it holds (GPU). ``fn``: as in Accumulate, or ``exchange`` (the value).

    ``old`` is declared as a local that holds what was there before; zero where ``guard`` fails.
    """

    buffer: str
    index: tuple[Expr, ...]
    fn: str
    value: Expr
    guard: Expr | None = None
    old: str | None = None


@dataclass(frozen=True)
class Fence(Stmt):
    """What a thread stored before this is seen by all threads of the device before what it stores
    after (GPU).
    """


@dataclass(frozen=True)
class Kernel:
    """A function over buffers. ``sizes``: names of run-time i64 arguments used in shapes and
    expressions.

    ``flag``: True when a Check occurs; the caller passes one i64 cell that is 0 while all is well.
    ``narrow``: no i64 made of loop variables, sizes and constants takes more than 32 bits here, so
    that a GPU may compute it in 32 bits. ``comment`` (the user's lines it comes from) takes no part
    in equality.
    """

    name: str
    sizes: tuple[str, ...]
    params: tuple[Param, ...]
    body: tuple[Stmt, ...]
    comment: str = ""
    narrow: bool = False
    _hash: int = field(default=0, init=False, repr=False)

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Kernel):
            return self is other
        mine = (self.name, self.sizes, self.params, self.body, self.narrow)
        return mine == (other.name, other.sizes, other.params, other.body, other.narrow)

    def __hash__(self) -> int:
        if not self._hash:  # computed once: programs look their kernels up at every call
            made = hash((self.name, self.sizes, self.params, self.body))
            object.__setattr__(self, "_hash", made)
        return self._hash
