"""Writing the kernels of one operation for a GPU, one after the other, with memory between them.

    kernels = Kernels("cumsum", [x_type], [y_type])
    totals = kernels.memory("f32", (rows, chunks), "totals")
    with kernels.kernel("fold", rows * chunks) as (k, block):
        buffer = k.scratch("f32", (256,))                     # shared by the block
        with k.loop("thread", 256, name="t") as t:
            ...
    with kernels.each("add", x_type.size) as (k, number):     # a thread for each number
        k.store(kernels.ys[0], ...)
    kernels.written, kernels.places(kernel)

What it gives out are the builders of ``kernel/build.py``, with what threads do besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tracejit.errors import TracejitError
from tracejit.ir.expr import Const, Expr, Load, Op, Var, const, iadd, imul
from tracejit.ir.graph import Literal
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.kernel.build import (
    Index,
    KernelBuilder,
    Operand,
    Output,
    Scalar,
    constant,
    operand,
    output,
)
from tracejit.kernel.gpu.narrow import narrowed
from tracejit.kernel.lower import Lowered
from tracejit.kernel.nodes import Atomic, Combine, Kernel, Loop, Param, Store
from tracejit.kernel.program import filled
from tracejit.kernel.unify import unify
from tracejit.kernel.visit import nodes_of, statements
from tracejit.record import dataclass

#: threads of a block where nothing else decides
THREADS = 256
#: the extent that may change from call to call
SIZE = "n0"


class GpuBuilder(KernelBuilder):
    """Collects statements of threads too."""

    def combine(self, var: Var, fn: str, width: int, *, prefix: bool = False) -> None:
        """Fold ``var`` over ``width`` neighbouring threads."""
        if width > 1:
            self.emit(Combine(var.name, fn, width, prefix))

    def atomic(
        self, out: Output, index: Index, fn: str, value: Scalar, guard: Expr | None = None
    ) -> None:
        """``out[index] = fn(out[index], value)`` as one step."""
        place = tuple(const(i) if isinstance(i, int) else i for i in index)
        value = value if isinstance(value, Expr) else constant(value, out.dtype)
        self.emit(Atomic(out.buffer, place, fn, value, guard))


class Kernels:
    """Kernels over operands ``xs``, results ``ys`` and memory.

    ``reads``: types of what is in memory already. ``operands``: which of them each operand is (all
    of them, in order, unless told), a Literal where it is one scalar everywhere, or None for the
    first result's memory, which holds the operand already (``Primitive.updates``). ``scalars``: the
    Literals among them. ``deterministic``: results have the same bits every time.
    """

    def __init__(
        self,
        name: str,
        reads: Sequence[TensorType],
        outs: Sequence[TensorType],
        operands: Sequence[int | Literal | None] | None = None,
        comment: str = "",
        deterministic: bool = False,
    ) -> None:
        self.name, self.comment, self.deterministic = name, comment, deterministic
        self.buffers: list[TensorType] = []
        self.written: list[Kernel] = []
        self.sizes: list[tuple[int, ...]] = []
        sources = [Param(f"x{k}", short(t.dtype), t.shape, "in") for k, t in enumerate(reads)]
        results = [Param(f"y{k}", short(t.dtype), t.shape, "out") for k, t in enumerate(outs)]
        self.params = {p.name: p for p in (*sources, *results)}
        self.ys = [output(p, t) for p, t in zip(results, outs, strict=True)]
        self.xs: list[Operand] = []
        for x in range(len(reads)) if operands is None else operands:
            if isinstance(x, Literal):
                self.xs.append(filled(x))
            elif x is None:
                self.xs.append(operand(results[0], outs[0]))
            else:
                self.xs.append(operand(sources[x], reads[x]))
        self.updates = operands is not None and None in operands
        self.scalars = {k for k, x in enumerate(operands or ()) if isinstance(x, Literal)}

    def memory(self, dtype: str, shape: Sequence[int], name: str) -> Output:
        """Memory that the kernels hand results on in, uninitialised."""
        type = TensorType(DTYPES[dtype], tuple(shape))
        name = name if name not in self.params else f"{name}{len(self.params)}"
        self.params[name] = Param(name, dtype, type.shape, "inout")
        self.buffers.append(type)
        return output(self.params[name], type)

    @contextmanager
    def kernel(
        self, stem: str, blocks: Expr | int, sizes: Mapping[str, int] | None = None
    ) -> Iterator[tuple[GpuBuilder, Var]]:
        """A kernel of so many blocks: its builder and the number of the block. ``sizes``: numbers
        that are parameters, so that another number takes no other kernel.
        """
        name = f"{self.name}_{stem}" if stem else self.name
        given = dict(sizes or {})
        k = GpuBuilder([name, *self.params, *given, SIZE])
        stop = blocks if isinstance(blocks, Expr) else const(blocks)
        with k.loop("block", stop, name="b") as block:
            yield k, block
        body = k.finish()
        written = {s.buffer for s in statements(body) if isinstance(s, Store | Atomic)}
        read = {n.buffer for n in nodes_of(body) if isinstance(n, Load)}
        read |= {s.buffer for s in statements(body) if isinstance(s, Atomic)}
        params = [
            Param(p.name, p.dtype, p.shape, self.role(p.name, written, read))
            for p in self.params.values()
            if p.name in written or p.name in read
        ]
        self.written.append(Kernel(name, tuple(given), tuple(params), body, self.comment))
        self.sizes.append(tuple(given.values()))

    def role(self, name: str, written: set[str], read: set[str]) -> str:
        """That of a parameter, by what a kernel does with it."""
        if name not in written:
            return "in"
        return "inout" if name in read or self.updates and name == "y0" else "out"

    @contextmanager
    def each(
        self, stem: str, count: int, sizes: Mapping[str, int] | None = None
    ) -> Iterator[tuple[GpuBuilder, Var]]:
        """A kernel with a thread for each number below ``count``."""
        threads = THREADS
        while threads > 32 and threads >= 2 * count:
            threads //= 2
        with self.kernel(stem, blocks(count, threads), sizes) as (k, block):
            with k.loop("thread", threads, name="t") as thread:
                number = k.local("i64", iadd(imul(block, threads), thread), "number")
                with k.when(Op("lt", (number, const(count)), "bool")):
                    yield k, number

    def nothing(self) -> None:
        """A kernel for results without elements."""
        with self.each("", 0):
            pass

    def places(self, kernel: Kernel) -> tuple[int, ...]:
        """Which of operands, results and memory each parameter of a kernel is."""
        order = list(self.params)
        return tuple(order.index(p.name) for p in kernel.params)


@dataclass(frozen=True)
class Made:
    """Kernels that run one after the other, what their parameters are, counted as
    ``Lowered.places`` does, the values of their sizes, and the memory they share.
    """

    kernels: tuple[Kernel, ...]
    places: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[int, ...], ...]
    memory: tuple[TensorType, ...] = ()

    @staticmethod
    def of(written: Kernels) -> Made:
        """What has been written."""
        places = tuple(map(written.places, written.written))
        sizes = tuple(written.sizes)
        return Made(tuple(written.written), places, sizes, tuple(written.buffers))


def lowered_for(
    make: Callable[[Sequence[TensorType]], Made],
    types: Sequence[TensorType],
    extent: int,
    binding: Lowered | None = None,
    more: Sequence[TensorType] | None = None,
) -> Lowered:
    """What ``make`` writes for operands of ``types``, for any ``extent`` of their first axes.

    That extent becomes the size ``n0`` of kernels that, written for an extent longer by one, differ
    by it alone. ``more``: the types with that; if not given, those whose first axis is as long.
    ``binding``: the reads, writes and checks.
    """
    one = make(types)
    kernels, other = one.kernels, None
    if extent > 1:
        more = more or [
            t.with_shape((extent + 1, *t.shape[1:])) if t.shape[:1] == (extent,) else t
            for t in types
        ]
        try:
            other = make(more)
        except TracejitError:  # the params say how long the axis is
            other = None
    if other is not None and len(other.kernels) == len(kernels):
        pairs = zip(kernels, other.kernels, strict=True)
        general = [unify(a, b, extent, extent + 1, SIZE) for a, b in pairs]
        kernels = tuple(
            g if g is not None and _threads_fixed(g) else k
            for g, k in zip(general, kernels, strict=True)
        )
    chain: Lowered | None = None
    b = binding or Lowered(kernels[0], (), (), ())
    for kernel, places, sizes in reversed(list(zip(kernels, one.places, one.sizes, strict=True))):
        sizes = (*sizes, extent) if SIZE in kernel.sizes else sizes
        chain = Lowered(kernel, b.reads, b.writes, sizes, b.checks, one.memory, places, chain)
    assert chain is not None
    return with_narrow(chain)


def _threads_fixed(kernel: Kernel) -> bool:
    """Whether blocks have as many threads for every size."""
    threads = [s for s in statements(kernel.body) if isinstance(s, Loop) and s.how == "thread"]
    return all(isinstance(loop.stop, Const) for loop in threads)


def with_narrow(lowered: Lowered) -> Lowered:
    """``lowered`` with each kernel saying whether 32 bits hold its indices."""
    then = None if lowered.then is None else with_narrow(lowered.then)
    sizes = dict(zip(lowered.kernel.sizes, lowered.sizes, strict=True))
    return replace(lowered, kernel=narrowed(lowered.kernel, sizes), then=then)


def blocks(count: int, threads: int) -> Expr:
    """Blocks for so many threads. Not folded: the count may become a size of the kernel."""
    if threads == 1:
        return const(count)
    total = Op("add", (const(count), const(threads - 1)), "i64")
    return Op("idiv", (total, const(threads)), "i64")


def threads_for(count: int, most: int = THREADS) -> int:
    """Threads for a row of ``count``: a power of two from 32 on."""
    found = 32
    while found < min(count, most):
        found *= 2
    return found


def indices(number: Expr, extents: Sequence[int]) -> tuple[Expr, ...]:
    """The index that ``number`` stands for; an extent of 0 divides nothing."""
    from_end: list[Expr] = []
    for extent in reversed(extents[1:]):
        if extent <= 1:
            from_end.append(const(0))
            continue
        from_end.append(Op("irem", (number, const(extent)), "i64"))
        number = Op("idiv", (number, const(extent)), "i64")
    return (*([number] if extents else []), *reversed(from_end))
