"""Reverse mode through ``while`` in bounded memory: ``while_pullback`` written as loops.

    outs = expand(while_pullback operands, params)      nodes in place of the operation

A loop of n steps, n not known before it has run, is walked back in blocks of B steps. Where a block
begins is found again from checkpoints: among the blocks up to b, kept are those whose number is b
with its lowest bits cleared, one for each level, as in a binary counter. Going back one block runs
the loop again from the nearest kept one, on average half a block for each level; inside a block
every carry is kept. Time is that of the loop times about log2(n / B) / 2 + 3, memory is B and some
20 carries, known when the program is compiled. Multi-level checkpointing is Griewank's, "Achieving
logarithmic growth of temporal and spatial complexity in reverse automatic differentiation" (1992);
with blocks that are known only when they end it is the scheme of Stumm and Walther, "New algorithms
for optimal online checkpointing" (2010), with binary levels.

As these are ordinary loops they compile, and have derivatives of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ir import build
from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, ConstArray, Graph, literal
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops import arith, bits, logic, reduce
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.dynamic import dynamic_slice, dynamic_update_slice
from tracejit.ops.layout import constant, reshape
from tracejit.transform import loops

I64 = TensorType(DTYPES["i64"], ())
NEVER = np.iinfo(np.int64).max
#: bytes that the carries of one block may take, and the most steps of a block
BLOCK_BYTES, MOST_STEPS, FEWEST_STEPS = 16 << 20, 512, 8
#: checkpoints, beside the start: with more blocks than 2 to this power time grows faster
LEVELS = 20

Atoms = tuple[Atom, ...]


def expand(*xs: Atom, cond: Graph, body: Graph, pull: Graph, n_consts: int, n_sums: int) -> Atoms:
    """Cotangents of a loop: the results of ``while_pullback`` on these operands, as nodes of the
    current builder.
    """
    n = len(body.inputs)
    consts, carry, cts = xs[:n_consts], xs[n_consts:n], xs[n:]
    walk = _Walk(cond, body, pull, n_consts)
    steps = walk.count(consts, carry)
    sums = tuple(full_like(t, 0) for t in pull.output_types[:n_sums])
    blocks = arith.div(arith.add(steps, walk.block - 1), walk.block)
    places, kept = walk.first(carry)
    state = (arith.sub(blocks, 1), *sums, *cts, places, *kept)

    def back(known: Atoms, state: Atoms) -> Atoms:
        steps, *consts = known
        b, rest = state[0], state[1 : 1 + len(pull.outputs)]
        at, places, kept = walk.seek(tuple(consts), b, state[1 + len(rest)], state[2 + len(rest) :])
        first = arith.mul(b, walk.block)
        count = arith.min_(arith.sub(steps, first), _int(walk.block))
        rest = walk.pull_block(tuple(consts), at, count, rest)
        return (arith.sub(b, 1), *rest, places, *kept)

    outs = loop((steps, *consts), state, lambda _, s: logic.ge(s[0], _int(0)), back)
    return outs[1 : 1 + len(pull.outputs)]


def _int(value: int) -> Atom:
    return literal(value, I64)


def loop(
    consts: Atoms,
    carry: Atoms,
    cond: Callable[[Atoms, Atoms], Atom],
    body: Callable[[Atoms, Atoms], Atoms],
) -> Atoms:
    """A ``while`` node: ``cond`` and ``body`` write the graphs for (consts, carry)."""

    def graph(rule: Callable[[Atoms, Atoms], Any]) -> Graph:
        with build.building() as b:
            inner = tuple(b.input(x.type) for x in (*consts, *carry))
            found = rule(inner[: len(consts)], inner[len(consts) :])
            return b.graph(found if isinstance(found, tuple) else (found,), "rewind")

    outs = loops.while_(*consts, *carry, cond=graph(cond), body=graph(body), n_consts=len(consts))
    return tuple(outs)


def _entry(rows: Atom, k: Atom) -> Atom:
    """Row ``k`` of a stack."""
    shape = rows.type.shape[1:]
    found = dynamic_slice(rows, k, *(_int(0) for _ in shape), sizes=(1, *shape))
    return reshape(found, new_sizes=shape)  # type: ignore[no-any-return]


def _with_entry(rows: Atom, k: Atom, row: Atom) -> Atom:
    """The stack with row ``k`` replaced."""
    new = reshape(row, new_sizes=(1, *row.type.shape))
    return dynamic_update_slice(rows, new, k, *(_int(0) for _ in row.type.shape))  # type: ignore[no-any-return]


class _Walk:
    """One loop, and how far its blocks reach."""

    def __init__(self, cond: Graph, body: Graph, pull: Graph, n_consts: int) -> None:
        self.cond, self.body, self.pull = cond, body, pull
        carry = body.input_types[n_consts:]
        fit = BLOCK_BYTES // max(sum(t.nbytes for t in carry), 1)
        self.block = max(min(fit, MOST_STEPS), FEWEST_STEPS)

    def step(self, consts: Atoms, carry: Atoms) -> Atoms:
        return build.current().inline(self.body, (*consts, *carry))

    def count(self, consts: Atoms, carry: Atoms) -> Atom:
        """How many steps the loop takes."""

        def running(consts: Atoms, state: Atoms) -> Atom:
            return build.current().inline(self.cond, (*consts, *state[1:]))[0]

        def step(consts: Atoms, state: Atoms) -> Atoms:
            return (arith.add(state[0], 1), *self.step(consts, state[1:]))

        return loop(consts, (_int(0), *carry), running, step)[0]

    def first(self, carry: Atoms) -> tuple[Atom, Atoms]:
        """The checkpoints before anything ran: block numbers, and carries. The last but one is that
        of block 0 for good, the last whatever has no level.
        """
        numbers = np.full(LEVELS + 2, NEVER)
        numbers[LEVELS] = 0
        places = constant(value=ConstArray(numbers))
        kept = []
        for x in carry:
            rows = full_like(x.type.with_shape((LEVELS + 2, *x.type.shape)), 0)
            kept.append(_with_entry(rows, _int(LEVELS), x))
        return places, tuple(kept)

    def seek(self, consts: Atoms, b: Atom, places: Atom, kept: Atoms) -> tuple[Atoms, Atom, Atoms]:
        """The carry at the start of block ``b``, and the checkpoints as they are then."""
        wide = places.type
        target = broadcast_in_dim(b, shape=wide.shape, dims=())
        usable = logic.select(logic.le(places, target), places, full_like(wide, -1))
        best = reduce.argmax(usable, axes=(0,), index_dtype=I64.dtype)
        start = (_entry(places, best), *(_entry(rows, best) for rows in kept))
        n = len(kept)

        def on(known: Atoms, state: Atoms) -> Atoms:
            b, *consts = known
            at = self._run_block(tuple(consts), state[1 : 1 + n])
            number = arith.add(state[0], 1)
            slot = _slot(number, b)
            rows = [
                _with_entry(old, slot, new)
                for old, new in zip(state[1 + n :], (number, *at), strict=True)
            ]
            return (number, *at, *rows)

        def before(known: Atoms, state: Atoms) -> Atom:
            return logic.lt(state[0], known[0])  # type: ignore[no-any-return]

        found = loop((b, *consts), (*start, places, *kept), before, on)
        return found[1 : 1 + n], found[1 + n], found[2 + n :]

    def _run_block(self, consts: Atoms, carry: Atoms) -> Atoms:
        def step(consts: Atoms, state: Atoms) -> Atoms:
            return (arith.add(state[0], 1), *self.step(consts, state[1:]))

        def inside(_: Atoms, state: Atoms) -> Atom:
            return logic.lt(state[0], _int(self.block))  # type: ignore[no-any-return]

        return loop(consts, (_int(0), *carry), inside, step)[1:]

    def pull_block(self, consts: Atoms, carry: Atoms, count: Atom, cts: Atoms) -> Atoms:
        """Run ``count`` steps from ``carry``, keeping each carry, and go back over them."""
        n = len(carry)
        tape = [full_like(x.type.with_shape((self.block, *x.type.shape)), 0) for x in carry]

        def keep(known: Atoms, state: Atoms) -> Atoms:
            k, now, tape = state[0], state[1 : 1 + n], state[1 + n :]
            rows = [_with_entry(t, k, x) for t, x in zip(tape, now, strict=True)]
            return (arith.add(k, 1), *self.step(known[1:], now), *rows)

        def more(known: Atoms, state: Atoms) -> Atom:
            return logic.lt(state[0], known[0])  # type: ignore[no-any-return]

        forward = loop((count, *consts), (_int(0), *carry, *tape), more, keep)
        tape_now = forward[1 + n :]

        def pull(known: Atoms, state: Atoms) -> Atoms:
            k = state[0]
            consts, tape = known[: len(known) - n], known[len(known) - n :]
            before = [_entry(t, k) for t in tape]
            outs = build.current().inline(self.pull, (*consts, *before, *state[1:]))
            return (arith.sub(k, 1), *outs)

        start = (arith.sub(count, 1), *cts)
        return loop((*consts, *tape_now), start, lambda _, s: logic.ge(s[0], _int(0)), pull)[1:]


def _slot(number: Atom, b: Atom) -> Atom:
    """Where the checkpoint of block ``number`` is kept on the way to ``b``: at the count of its
    lowest zero bits, if it is ``b`` with those cleared; else at the last place.
    """
    lowest = logic.and_(number, arith.neg(number))
    level = bits.population_count(arith.sub(lowest, 1))
    same = logic.eq(bits.shift_right_logical(number, level), bits.shift_right_logical(b, level))
    fits = logic.and_(same, logic.lt(level, _int(LEVELS)))
    return logic.select(fits, level, _int(LEVELS + 1))  # type: ignore[no-any-return]
