"""Which results may take the memory of arguments that the caller will not use again.

    reused(plan, frozenset({0}))        ((1, 0),): result 1 may lie where argument 0 does

The plan itself does not change: results and arguments have storages of their own in it, and what is
found here holds whether a call lets two of them be one piece of memory or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tracejit.passes.inplace import operands_in_place
from tracejit.passes.place import Branch, Copy, Plan, Run, ScanLoop, Step, WhileLoop


def reused(plan: Plan, donated: frozenset[int]) -> tuple[tuple[int, int], ...]:
    """Pairs of a result and a donated argument of as many bytes, each in one pair at most.

    The argument is read for the last time before the result's memory is touched, or by the very
    step that does so, element by element.
    """
    if not donated:
        return ()
    arguments, results = _storages(plan, "in"), _storages(plan, "out")
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for time, step in enumerate(plan.steps):
        for slot in touched((step,)):
            for storage in plan.slots[slot].storages:
                first.setdefault(storage, time)
                last[storage] = time
    pairs = []
    free = [k for k in sorted(donated) if arguments[k] in last]
    for j, result in results.items():
        for k in free:
            if _nbytes(plan, result) != _nbytes(plan, arguments[k]) or result not in first:
                continue
            begin, end = first[result], last[arguments[k]]
            if end < begin or end == begin and _in_place(plan, begin, arguments[k], result):
                pairs.append((j, k))
                free.remove(k)
                break
    return tuple(pairs)


def _storages(plan: Plan, kind: str) -> dict[int, int]:
    """Storages of arguments or results by their numbers."""
    return {s.number: k for k, s in enumerate(plan.storages) if s.kind == kind}


def _nbytes(plan: Plan, storage: int) -> int:
    """Bytes of the argument or result that a storage, which may be longer, is for."""
    return next(slot.type.nbytes for slot in plan.slots if slot.storage == storage)


def touched(steps: Sequence[Step]) -> Iterator[int]:
    """The slots that steps read, write or exchange."""
    for step in steps:
        match step:
            case Run():
                yield from (*step.reads, *step.writes)
            case Copy():
                yield from (step.target, step.source)
            case WhileLoop():
                yield from (step.flag, *_flat(step.swaps))
                yield from touched((*step.cond, *step.body))
            case ScanLoop():
                yield from (*_flat(step.swaps), *(s for move in step.moves for s in move[:2]))
                yield from touched(step.body)
            case Branch():
                yield step.index
                for branch in step.branches:
                    yield from touched(branch)


def _flat(pairs: Iterable[tuple[int, int]]) -> Iterator[int]:
    return (slot for pair in pairs for slot in pair)


def _in_place(plan: Plan, time: int, source: int, target: int) -> bool:
    """Whether a step may write to ``target`` while it reads ``source``, were they one."""
    step = plan.steps[time]
    if isinstance(step, Copy):  # copies nothing then
        return True
    if not isinstance(step, Run):
        return False
    of = {v: plan.slots[slot] for v, slot in zip(step.group.reads, step.reads, strict=True)}
    for out, slot in zip(step.group.outputs, step.writes, strict=True):
        if plan.slots[slot].storages == (target,):
            taken = list(operands_in_place(step.group, step.partition, out))
            reading = [v for v, read in of.items() if source in read.storages]
            return len(reading) == 1 and reading[0] in taken
    return False
