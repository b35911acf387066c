"""Recorded steps without those that need not be done again, before they become a Tape.

    steps, constants, names = simplified(recording, results)

What depends on constants alone is computed once; the same operation on the same values is done
once; a broadcast for NumPy's elementwise functions is left to them. Every result keeps its bits.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import numpy as np

from tracejit.frontend.recording import Recording, Step
from tracejit.ops.broadcast import broadcast_in_dim

#: bytes up to which a value that depends on nothing is kept rather than computed again
MOST_BYTES = 1 << 12


def simplified(
    recording: Recording, results: Iterable[int]
) -> tuple[list[Step], dict[int, np.ndarray], dict[int, int]]:
    """The steps that ``results``, numbers of values, need; constants by number; and for values that
    are no longer computed which other one is the same.
    """
    constants = dict(recording.constants.values())
    same: dict[int, int] = {}
    done: dict[object, tuple[int, ...]] = {}
    kept: list[Step] = []
    for step in recording.steps:
        takes = tuple(same.get(k, k) for k in step.takes)
        if all(k in constants for k in takes) and _is_small(recording, step):
            constants.update((k, recording.data[k]) for k in step.gives)
            continue
        key = None if step.what is None else (step.what, takes)
        if key is not None and key in done:
            same.update(zip(step.gives, done[key], strict=True))
            continue
        if key is not None:
            done[key] = step.gives
        kept.append(Step(step.rule, takes, step.gives, step.what))
    outputs = {same.get(k, k) for k in results}
    kept = _without_broadcasts(kept, outputs, recording, same)
    used = outputs.union(*(step.takes for step in kept))
    return kept, {k: data for k, data in constants.items() if k in used}, same


def _is_small(recording: Recording, step: Step) -> bool:
    return sum(recording.data[k].nbytes for k in step.gives) <= MOST_BYTES


def _without_broadcasts(
    steps: Sequence[Step], outputs: set[int], recording: Recording, same: dict[int, int]
) -> list[Step]:
    """The steps with broadcasts left out whose results go only to functions that broadcast, each
    beside an operand of the full shape.
    """
    data = recording.data
    readers: dict[int, list[Step]] = {}
    for step in steps:
        for k in step.takes:
            readers.setdefault(k, []).append(step)
    gone: dict[int, int] = {}
    found: list[Step] = []
    for step in steps:
        k = step.gives[0] if step.gives else -1
        is_broadcast = step.what is not None and step.what[0] is broadcast_in_dim
        if (
            not is_broadcast
            or k in outputs
            or not all(_broadcasts(reader, k, data, gone) for reader in readers.get(k, ()))
        ):
            found.append(step)
            continue
        wide = _wide(step, data)
        if data[step.takes[0]].shape == wide:
            gone[k] = gone.get(step.takes[0], step.takes[0])
        else:
            gone[k] = k
            found.append(Step(operator.methodcaller("reshape", wide), step.takes, step.gives, None))
    return [Step(s.rule, tuple(gone.get(k, k) for k in s.takes), s.gives, s.what) for s in found]


def _wide(step: Step, data: dict[int, np.ndarray]) -> tuple[int, ...]:
    """The shape of the operand of a broadcast beside the result's, without axes of 1 in front."""
    params = dict(step.what[1])  # type: ignore[index]
    sizes = [1] * len(params["shape"])
    for axis, dim in enumerate(params["dims"]):
        sizes[dim] = data[step.takes[0]].shape[axis]
    while sizes and sizes[0] == 1 and len(sizes) > data[step.takes[0]].ndim:
        sizes.pop(0)
    return tuple(sizes)


def _broadcasts(step: Step, number: int, data: dict[int, np.ndarray], gone: dict[int, int]) -> bool:
    """Whether a step broadcasts operand ``number`` itself, to the shape that another one has."""
    if not isinstance(step.rule, np.ufunc) and step.rule is not np.where:
        return False
    return any(
        k != number and k not in gone and data[k].shape == data[number].shape for k in step.takes
    )
