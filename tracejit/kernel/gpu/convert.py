"""Any kernel for a CPU as a kernel for a GPU: coverage first, speed where it is simple.

Comes in: a Kernel with ``par``, ``vec`` and ``seq`` loops. Goes out: one with a ``block`` and a
``thread`` loop, or several of them (``converted``).

    par i in n0:                          block b in idiv(add(mul(n0, 60), 255), 256):
      vec(16x1) j in 60:                    thread t in 256:
        y[i, j] = x[i, j]                     number: i64 = add(mul(b, 256), t)
                                              if lt(number, mul(n0, 60)):
                                                i: i64 = idiv(number, 60)
                                                j: i64 = irem(number, 60)
                                                y[i, j] = x[i, j]

An iteration of the ``par`` loop is a thread, and so is one of the loops directly inside it where
these are independent: neighbours in memory are neighbouring threads then. All else runs in order
within its thread; a kernel that has no such loop is one thread. Scratch too large for a thread is
shared memory of a block whose other threads rest; scratch too large for that is a buffer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from tracejit.errors import InternalError
from tracejit.ir.expr import Const, Expr, Load, Op, Var, const, iadd, idiv, imod, imul, isub, walk
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.gpu.scalars import Index, Scalars, with_buffers
from tracejit.kernel.lower import Lowered
from tracejit.kernel.nodes import (
    Accumulate,
    Check,
    If,
    Kernel,
    Local,
    Loop,
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
)
from tracejit.kernel.program import evaluate_size
from tracejit.kernel.visit import nodes_of, statements
from tracejit.record import dataclass

#: threads of a block: many where there are blocks enough, few where there are not
THREADS, FEWER, FEWEST = 256, 64, 32
#: so many iterations fill a GPU with blocks of THREADS
ENOUGH = 1 << 16
#: bytes of scratch that a thread keeps for itself, and that a block shares
PRIVATE_BYTES, SHARED_BYTES = 1 << 10, 48 << 10

_CLOSED = frozenset("add sub mul idiv irem min max".split())


def to_gpu(kernel: Kernel, sizes: Sequence[int] = ()) -> Kernel:
    """``kernel`` for a GPU; ``sizes`` are the values of its run-time sizes, in order.

    Raises InternalError where its scratch needs memory that only ``converted`` can ask for.

    >>> from tracejit.kernel.text import parse, show
    >>> print(show(to_gpu(parse('''kernel twice(in x: f32[8], out y: f32[8])
    ...   vec(4x1) i in 8:
    ...     y[i] = mul(2.0, x[i])
    ... '''))), end="")
    kernel twice(in x: f32[8], out y: f32[8])
      block block0 in idiv(add(8, 31), 32):
        thread thread0 in 32:
          number: i64 = add(mul(block0, 32), thread0)
          if lt(number, 8):
            i: i64 = number
            y[i] = mul(2.0, x[i])
    """
    found = _Converter(kernel, dict(zip(kernel.sizes, sizes, strict=False))).convert()
    if found.buffers:
        raise InternalError(f"kernel {kernel.name} needs memory for its scratch on a GPU")
    return found.kernel


def converted(lowered: Lowered) -> Lowered:
    """``lowered``, a CPU's, with each of its kernels for a GPU: loops that stand side by side
    become kernels one after the other, and large scratch is memory between the kernels.
    """
    operands = len(lowered.reads) + len(lowered.writes)
    if lowered.places is None:
        operands = len(lowered.kernel.params)
    scratch = list(lowered.scratch)
    links: list[tuple[Lowered, _Found, tuple[int, ...]]] = []
    link: Lowered | None = lowered
    while link is not None:
        kernel = link.kernel
        places = link.places if link.places is not None else tuple(range(len(kernel.params)))
        for part in _parts(kernel):
            found = _Converter(part, dict(zip(kernel.sizes, link.sizes, strict=False))).convert()
            first = operands + len(scratch)
            scratch += found.buffers
            more = tuple(range(first, first + len(found.buffers)))
            links.append((link, found, (*places, *more)))
        link = link.then
    chain: Lowered | None = None
    for link, found, places in reversed(links):
        chain = replace(
            link, kernel=found.kernel, scratch=tuple(scratch), places=places, then=chain
        )
    assert chain is not None
    single = chain.then is None and not scratch and lowered.places is None
    return replace(chain, places=None) if single else chain


def _parts(kernel: Kernel) -> list[Kernel]:
    """The loops of a kernel that is nothing but several loops, each as a kernel."""
    body = kernel.body
    if len(body) < 2 or not all(isinstance(stmt, Loop) for stmt in body):
        return [kernel]
    return [replace(kernel, name=f"{kernel.name}_{k}", body=(stmt,)) for k, stmt in enumerate(body)]


@dataclass(frozen=True)
class _Found:
    """A kernel, and the types of buffers that are parameters of it besides those it had."""

    kernel: Kernel
    buffers: tuple[TensorType, ...] = ()


@dataclass(frozen=True)
class _Level:
    """A loop that threads share: what precedes it in the body around it, and how far it may go.
    ``exact``: it goes as far as ``extent``.
    """

    before: tuple[Stmt, ...]
    loop: Loop
    extent: Expr
    exact: bool


class _Converter:
    def __init__(self, kernel: Kernel, sizes: dict[str, int]) -> None:
        self.kernel = kernel
        self.sizes = sizes
        self.taken = {kernel.name, *kernel.sizes, *(p.name for p in kernel.params)}
        for stmt in statements(kernel.body):
            name = stmt.var if isinstance(stmt, Loop) else getattr(stmt, "name", None)
            self.taken |= {name} if name else set()
        self.scalars = Scalars(self.unique)
        self.dtypes = {p.name: p.dtype for p in kernel.params}

    def unique(self, stem: str) -> str:
        """A name that nothing in the kernel has."""
        number = 0
        while f"{stem}{number}" in self.taken:
            number += 1
        self.taken.add(f"{stem}{number}")
        return f"{stem}{number}"

    def convert(self) -> _Found:
        levels, inner = self.levels()
        total: Expr = const(1)
        for level in levels:
            total = imul(total, level.extent)
        body = self.scalars.block(inner, self.dtypes)
        own = _scratch(body)
        nbytes = sum(prod(s.shape) * DTYPES[s.dtype].itemsize for s in own)
        if nbytes <= PRIVATE_BYTES:
            return _Found(self.kernel_of(levels, total, body, self.threads(total)))
        body = self.scalars.apart(body)
        own = _scratch(body)
        body = _without_scratch(body)
        if nbytes <= SHARED_BYTES:
            return _Found(self.kernel_of(levels, total, body, FEWEST, tuple(own)))
        return self.in_memory(levels, total, body, own)

    def threads(self, total: Expr) -> int:
        """Threads of a block, for ``total`` iterations."""
        if any(isinstance(n, Var) and n.name not in self.sizes for n in walk(total)):
            return THREADS
        count = evaluate_size(total, self.sizes)
        return THREADS if count >= ENOUGH else FEWER if count > FEWEST else FEWEST

    def kernel_of(
        self,
        levels: Sequence[_Level],
        total: Expr,
        body: tuple[Stmt, ...],
        threads: int,
        shared: tuple[Stmt, ...] = (),
        params: tuple[Param, ...] = (),
        number: str = "",
    ) -> Kernel:
        """The loops over blocks and threads; with ``shared`` scratch a block has one iteration."""
        block, thread = self.unique("block"), self.unique("thread")
        number = number or ("number" if "number" not in self.taken else self.unique("number"))
        own = 1 if shared else threads
        place = iadd(imul(Var(block, "i64"), own), const(0) if shared else Var(thread, "i64"))
        at = Var(number, "i64")
        work = self.decoded(levels, at, body)
        inside: Expr = Op("lt", (at, total), "bool")
        if shared:
            first = Op("eq", (Var(thread, "i64"), const(0)), "bool")
            inside = first
        guarded = work if self.full(levels, own) and not shared else (If(inside, work),)
        statements: tuple[Stmt, ...] = (Local(number, "i64", place), *guarded)
        loop = Loop("thread", thread, const(0), const(threads), statements)
        grid = Loop("block", block, const(0), _blocks(total, own), (*shared, loop))
        return Kernel(
            self.kernel.name,
            self.kernel.sizes,
            (*self.kernel.params, *params),
            (grid,),
            self.kernel.comment,
        )

    def full(self, levels: Sequence[_Level], threads: int) -> bool:
        """Whether every thread has an iteration, whatever the outermost extent is."""
        inner = [level.extent for level in levels[1:]]
        known = [int(n.value) for n in inner if isinstance(n, Const)]  # type: ignore[arg-type]
        return len(known) == len(inner) and prod(known) % threads == 0 and bool(prod(known))

    def in_memory(
        self, levels: Sequence[_Level], total: Expr, body: tuple[Stmt, ...], own: list[Scratch]
    ) -> _Found:
        """Scratch as rows of buffers, one row for each iteration."""
        count = evaluate_size(total, self.sizes)
        number = "number" if "number" not in self.taken else self.unique("number")
        names = {s.name for s in own}

        def put(name: str, index: Index) -> tuple[str, Index]:
            return name, ((Var(number, "i64"), *index) if name in names else index)

        body = tuple(with_buffers(stmt, put) for stmt in body)
        rows = max(count, 1)
        params = tuple(Param(s.name, s.dtype, (rows, *s.shape), "inout") for s in own)
        threads = self.threads(const(count))
        kernel = self.kernel_of(levels, total, body, threads, params=params, number=number)
        return _Found(kernel, tuple(TensorType(DTYPES[s.dtype], (rows, *s.shape)) for s in own))

    def decoded(
        self, levels: Sequence[_Level], number: Expr, body: tuple[Stmt, ...]
    ) -> tuple[Stmt, ...]:
        """``body`` for iteration ``number`` of the loops together, the last running fastest."""
        offsets: list[Expr] = []
        rest = number
        for level in reversed(levels):
            last = level is levels[0]
            divisor = const(1) if level.extent == const(0) else level.extent
            offsets.insert(0, rest if last else imod(rest, divisor))
            rest = idiv(rest, divisor)
        for level, offset in reversed(list(zip(levels, offsets, strict=True))):
            loop = level.loop
            if not level.exact:
                stop = self.scalars.expr(loop.stop)
                body = (If(Op("lt", (Var(loop.var, "i64"), stop), "bool"), body),)
            start = self.scalars.expr(loop.start)
            place = Local(loop.var, "i64", iadd(start, offset))
            body = (*self.scalars.block(level.before, self.dtypes), place, *body)
        return body

    # ---- which loops threads share ----

    def levels(self) -> tuple[list[_Level], tuple[Stmt, ...]]:
        """The loops that threads share, from outside in, and the body inside them."""
        found: list[_Level] = []
        body = self.kernel.body
        while body and isinstance(body[-1], Loop):
            loop, before = body[-1], body[:-1]
            extent = self.extent(loop)
            harmless = all(isinstance(s, Local | Check) for s in before)
            if extent is None or not harmless or not self.shareable(loop):
                break
            written = set(_stored(loop.body))
            read = [*before, *(s for level in found for s in level.before)]
            if any(n.buffer in written for n in nodes_of(read) if isinstance(n, Load)):
                break
            found.append(_Level(before, loop, *extent))
            body = loop.body
        return self.joined(found, body), body

    def joined(self, levels: list[_Level], body: tuple[Stmt, ...]) -> list[_Level]:
        """``levels`` with a loop over blocks of an axis, and the one inside a block, as one loop
        over the axis where nothing else asks for the number of the block.
        """
        if len(levels) < 2 or levels[0].loop.start != const(0):
            return levels
        (outer, inner), rest = levels[:2], levels[2:]
        block, length = Var(outer.loop.var, "i64"), inner.extent
        read = [*inner.before, *body, *(s for level in rest for s in (*level.before, level.loop))]
        match inner.loop.stop, length:
            case Op(fn="min", args=(a, b)), Const(value=int(count)):
                whole = a if self.closed(a) else b
            case _:
                return levels
        count_of = Op("idiv", (Op("add", (whole, const(count - 1)), "i64"), length), "i64")
        same = outer.loop.stop in (count_of, idiv(iadd(whole, count - 1), length))
        if not same or inner.loop.start != imul(block, length) or block in nodes_of(read):
            return levels
        loop = replace(inner.loop, start=const(0), stop=whole)
        return [_Level((*outer.before, *inner.before), loop, whole, True), *rest]

    def extent(self, loop: Loop) -> tuple[Expr, bool] | None:
        """How many iterations a loop has at most, by sizes alone, and whether always."""
        if self.closed(loop.start) and self.closed(loop.stop):
            count = isub(loop.stop, loop.start)
            if isinstance(count, Const):
                return const(max(int(count.value), 0)), True  # type: ignore[arg-type]
            exact = loop.start == const(0)
            return (count if exact else Op("max", (count, const(0)), "i64")), True
        match loop.stop:
            case Op(fn="min", args=(a, b)):
                for end in (a, b):
                    length = isub(end, loop.start) if end == loop.start else _beyond(end, loop)
                    if length is not None and self.closed(length):
                        return length, False
        length = _beyond(loop.stop, loop)
        return (length, True) if length is not None and self.closed(length) else None

    def closed(self, expr: Expr) -> bool:
        """Whether an extent is made of sizes and numbers only."""
        for node in walk(expr):
            match node:
                case Const():
                    pass
                case Var(name=name):
                    if name not in self.kernel.sizes:
                        return False
                case Op(fn=fn) if fn in _CLOSED:
                    pass
                case _:
                    return False
        return True

    def shareable(self, loop: Loop) -> bool:
        """Whether the iterations of a loop may run at the same time."""
        if loop.how == "par":
            return True
        inside = statements(loop.body)
        own = {s.name for s in inside if isinstance(s, Local | Scratch)}
        if any(isinstance(s, Set | Accumulate) and s.name not in own for s in inside):
            return False
        params = {p.name for p in self.kernel.params}
        written = set(_stored(loop.body)) - own
        if not written <= params or any(isinstance(s, Transpose) for s in inside):
            return False
        return all(self.apart(loop, name) for name in written)

    def apart(self, loop: Loop, name: str) -> bool:
        """Whether no two iterations of a loop touch the same element of a buffer it writes."""
        stores = {
            s.index for s in statements(loop.body) if isinstance(s, Store) and s.buffer == name
        }
        loads = {n.index for n in nodes_of(loop.body) if isinstance(n, Load) and n.buffer == name}
        if loop.how == "vec":  # lanes are independent: none reads what another one writes
            return loads <= stores
        changing = {s.name for s in statements(loop.body) if isinstance(s, Local)}
        changing |= {s.var for s in statements(loop.body) if isinstance(s, Loop)}
        changing.add(loop.var)

        def steps(entry: Expr) -> bool:
            """Whether an entry of an index is the loop's variable, or that and something fixed."""
            parts = entry.args if isinstance(entry, Op) and entry.fn == "add" else (entry,)
            others = [part for part in parts if part != Var(loop.var, "i64")]
            fixed = all(
                not (isinstance(n, Load) or isinstance(n, Var) and n.name in changing)
                for part in others
                for n in walk(part)
            )
            return len(others) == len(parts) - 1 and fixed

        first, *rest = stores | loads
        return any(
            steps(entry) and all(other[place] == entry for other in rest)
            for place, entry in enumerate(first)
        )


def _blocks(total: Expr, own: int) -> Expr:
    """Blocks of so many iterations. Not folded: a number in it may become a size."""
    if own == 1:
        return total
    count = Op("add", (total, const(own - 1)), "i64")
    return Op("idiv", (count, const(own)), "i64")


def _beyond(end: Expr, loop: Loop) -> Expr | None:
    """How far ``end`` lies beyond the loop's start, where it is written as a sum with that."""
    if isinstance(end, Op) and end.fn == "add" and end.args[0] == loop.start:
        return end.args[1]
    return None


def _stored(body: Sequence[Stmt]) -> Iterator[str]:
    """Names of the buffers that ``body`` writes."""
    for stmt in statements(body):
        if isinstance(stmt, Store):
            yield stmt.buffer
        elif isinstance(stmt, Transpose):
            yield stmt.target


def _scratch(body: Sequence[Stmt]) -> list[Scratch]:
    return [s for s in statements(body) if isinstance(s, Scratch)]


def _without_scratch(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    """``body`` with its scratch declared elsewhere."""
    found: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, Scratch):
            continue
        if isinstance(stmt, If):
            then, orelse = _without_scratch(stmt.then), _without_scratch(stmt.orelse)
            stmt = replace(stmt, then=then, orelse=orelse)
        elif hasattr(stmt, "body"):
            stmt = replace(stmt, body=_without_scratch(stmt.body))  # type: ignore[type-var]
        found.append(stmt)
    return tuple(found)
