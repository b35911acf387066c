"""The general reduce on a GPU: a fold by a graph of scalars, of one or several operands together.

    fold(kernels, computation=graph, axes=(1,))

The fold is associative and may not be commutative, so that neighbours are folded in order: a thread
takes STEPS of them, and what threads come to is folded likewise until one is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from tracejit.ir.expr import Expr, iadd, imul
from tracejit.ir.graph import Graph
from tracejit.kernel.build import Output
from tracejit.kernel.gpu.kernels import GpuBuilder, Kernels, indices
from tracejit.ops.lower_reduce import scalar_results

#: elements that a thread folds, and results that keep a GPU busy with a thread for each
STEPS, BUSY = 64, 1 << 15

Index = tuple[Expr, ...]
#: the elements of all operands at a result and a step
Read = Callable[[GpuBuilder, Expr, Expr], Sequence[Expr]]
#: what becomes of the fold at a number
Found = Callable[[GpuBuilder, Expr, Sequence[Expr]], None]


def fold(kernels: Kernels, *, computation: Graph, axes: tuple[int, ...]) -> None:
    """The rule of ``reduce``."""
    xs, inits = kernels.xs[: len(kernels.ys)], kernels.xs[len(kernels.ys) :]
    shape = xs[0].type.shape
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    folded = sorted(axes)
    extents = [shape[axis] for axis in kept]
    results, n = prod(extents), prod(shape[axis] for axis in folded)
    if not results:
        kernels.nothing()
        return

    def read(k: GpuBuilder, result: Expr, step: Expr) -> Sequence[Expr]:
        at = dict(zip(kept, indices(result, extents), strict=True))
        at |= zip(folded, indices(step, [shape[axis] for axis in folded]), strict=True)
        return [x([at[axis] for axis in range(len(shape))]) for x in xs]

    def write(stem: str, parts: int, count: int, steps: int, read: Read, found: Found) -> None:
        """A thread for each part of a result: ``steps`` of ``count``, in order."""
        with kernels.each(stem, results * parts) as (k, number):
            result, part = indices(number, (results, parts))
            states = [k.local(init.dtype, init(()), "state") for init in inits]
            start = k.local("i64", imul(part, steps), "start")
            with k.loop("seq", k.op("min", iadd(start, steps), count), start, name="i") as i:
                given = read(k, result, i)
                values = [k.local(x.dtype, x, "value") for x in given]
                after = scalar_results(computation, [*states, *values]) or ()
                news = [k.local(e.dtype, e, "new") for e in after]
                for state, new in zip(states, news, strict=True):
                    k.set(state, new)
            found(k, number, states)

    def store(k: GpuBuilder, number: Expr, states: Sequence[Expr]) -> None:
        for y, state in zip(kernels.ys, states, strict=True):
            k.store(y, indices(number, extents), state)

    turn = 0
    source: Read = read
    while results < BUSY and n > 2 * STEPS:
        parts = -(-n // STEPS)
        memory = [kernels.memory(x.dtype, (results, parts), f"part{turn}_") for x in xs]
        write(f"parts{turn}", parts, n, STEPS, source, _into(memory))
        source, n, turn = _from(memory), parts, turn + 1
    write("", 1, n, n, source, store)


def _into(memory: Sequence[Output]) -> Found:
    def store(k: GpuBuilder, number: Expr, states: Sequence[Expr]) -> None:
        for out, state in zip(memory, states, strict=True):
            k.store(out, indices(number, out.type.shape), state)

    return store


def _from(memory: Sequence[Output]) -> Read:
    return lambda k, result, step: [k.load(out, (result, step)) for out in memory]
