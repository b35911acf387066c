"""Vectors of neighbours: x[j - 1] and x[j + 1] out of the vectors of x[j], not loaded again.

Comes in: what a statement reads in a vec loop of several vectors a trip. Goes out: for each read,
which other one it is shuffled from. Two vectors a trip, of 16 lanes each:

    a = load x[0:16];  b = load x[16:32]
    x[j + 1]:  shuffle a, b: a1 .. a15 b0;  load x[17:33]

Nothing is read that the statement does not read. A load that begins inside a line of the cache
reads two lines where vectors are as long as lines are; and a core shuffles while it loads.
"""

from __future__ import annotations

from collections.abc import Iterable

#: bytes of a line of the cache
LINE = 64


def sources(places: Iterable[int], width: int) -> dict[int, int]:
    """For reads at these places, from one lane 0 on, the place whose vectors they are made of.

    Reads less than a vector apart share one: a whole number of vectors away from lane 0, if it lies
    among them, for rows of memory begin at lines most times.
    """
    found: dict[int, int] = {}
    cluster: list[int] = []
    for place in [*sorted(set(places)), None]:
        if place is not None and (not cluster or place - cluster[0] < width):
            cluster.append(place)
            continue
        if len(cluster) > 1:
            aligned = -(-cluster[0] // width) * width
            middle = aligned if aligned <= cluster[-1] else cluster[len(cluster) // 2]
            found.update(dict.fromkeys(cluster, middle))
        cluster = [] if place is None else [place]
    return found


def order(shift: int, width: int) -> str:
    """The lanes from ``shift`` on of two vectors that follow each other."""
    return ", ".join(f"i32 {shift + lane}" for lane in range(width))
