"""Vectors of elements that lie a few apart: whole vectors loaded and shuffled, not gathered.

Comes in: an address, the step between lanes (2 to ``LONGEST_STEP``) and maybe a mask. Goes out: the
name of the vector. Eight lanes of ``x[2 * j]``:

    a = load x[0:8];  b = load x[7:15]            # never beyond the last lane's element
    v = shuffle a, b: a0 a2 a4 a6 b1 b3 b5 b7
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: beyond this step a gather reads less
LONGEST_STEP = 4

Emit = Callable[..., str]


def starts(step: int, width: int) -> list[int]:
    """Where the loaded vectors begin: the last one ends with the element of the last lane."""
    return [*(k * width for k in range(step - 1)), (step - 1) * (width - 1)]


def picked(step: int, width: int) -> list[tuple[int, int]]:
    """For every lane, which of the loaded vectors has its element, and at which place."""
    begins = starts(step, width)
    found = []
    for lane in range(width):
        at = lane * step
        vector = next(k for k, begin in enumerate(begins) if begin <= at < begin + width)
        found.append((vector, at - begins[vector]))
    return found


def lane_masks(emit: Emit, mask: str, step: int, width: int) -> list[str]:
    """For each loaded vector, which of its elements are those of lanes that are on."""
    masks = []
    lanes = picked(step, width)
    for vector in range(step):
        order = [width] * width  # the second operand of the shuffle: false
        for lane, (source, place) in enumerate(lanes):
            if source == vector:
                order[place] = lane
        masks.append(shuffled(emit, "i1", mask, "zeroinitializer", order))
    return masks


def merged(emit: Emit, element: str, vectors: Sequence[str], step: int, width: int) -> str:
    """The lanes picked from the loaded vectors, one shuffle for each vector after the first."""
    lanes = picked(step, width)
    value = vectors[0]
    for number, vector in enumerate(vectors[1:], 1):
        order = [
            width + place if source == number else (place if number == 1 else lane)
            for lane, (source, place) in enumerate(lanes)
        ]
        # lanes of vectors that come later are anything
        order = [k if lanes[lane][0] <= number else 0 for lane, k in enumerate(order)]
        value = shuffled(emit, element, value, vector, order)
    return value


def shuffled(emit: Emit, element: str, a: str, b: str, order: Sequence[int]) -> str:
    width = len(order)
    lanes = ", ".join(f"i32 {k}" for k in order)
    return emit(
        f"shufflevector <{width} x {element}> {a}, <{width} x {element}> {b}, "
        f"<{width} x i32> <{lanes}>",
        a,
        b,
    )
