"""LAPACK's factorisations of one large matrix in parts that the program's own threads share.

    phases_of("getrf", 1000, 1000, threads=2)
        ->  Phases("getrf", 1000, 1000, 1000, block=64, tasks=(1, 6, 6, ...), ...)

A phase ends when all its tasks are done. Between two of them lies the factorisation of one panel of
some columns: a task of its own, which first brings these columns up to date, while the other
tasks of the phase do so with the columns to the right of them ("look ahead"). LAPACK and BLAS run
on one thread within a task. With their threads instead, products would have to wait for panels, and
their threads, which look for work for some 25 ms before they sleep, would take the cores from ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tracejit.record import dataclass

#: rows and columns of a matrix from which threads share its factorisation: by measurements on two
#: cores
LEAST = {"getrf": 160, "potrf": 160, "geqrf": 128, "orgqr": 128, "ungqr": 128}
#: columns of a panel, where there are so many columns, and where there are fewer
BLOCK, BLOCK_FROM, SMALL_BLOCK = 64, 512, 32
#: columns of a strip, at least, and strips of a thread in a phase, at most
STRIP, STRIPS = 48, 3
#: sizes of a triangular matrix, and of the other side, from which products do most of the work of
#: its equations, and columns that are left to trsm then
SOLVE_LEAST, SOLVE_SIDE, SOLVE_BLOCK = 64, 16, 32
#: columns of right hand sides that are enough for a thread
SOLVE_SHARE = 400


@dataclass(frozen=True)
class Phases:
    """``tasks``: how many there are in each phase. ``count``: columns in panels of ``block``.
    ``routines``: what is called, without the letter of the dtype. ``places``: where in the memory
    to work in there is what ``spaces`` asks for.
    """

    kind: str
    rows: int
    columns: int
    count: int
    block: int
    tasks: tuple[int, ...]
    routines: tuple[str, ...]
    places: tuple[int, ...] = ()

    @property
    def panels(self) -> int:
        return -(-self.count // self.block)

    def spaces(self, item: int) -> tuple[int, ...]:
        """Bytes of memory to work in, for elements of ``item`` bytes."""
        reflectors = self.block**2 * self.panels * item, self.block * self.columns * item
        return {
            "getrf": (8 * self.count,),
            "potrf": (8 * self.panels,),
            "geqrf": (*reflectors, 8),
        }.get(self.kind, (*reflectors, self.rows * self.count * item))


@dataclass(frozen=True)
class Blocks:
    """Triangular equations by blocks of ``size`` unknowns of ``count``, the first ones first if
    ``forward``. ``left``: BLAS's matrix of unknowns is to the right of the triangular one, whose
    leading dimension is ``count``, that of the unknowns ``leading``; ``other`` is how many columns
    (``left``) or rows of unknowns there are. ``letters``: trsm's. What follows of the unknowns is
    brought up to date by products that are as large as can be.
    """

    left: bool
    forward: bool
    letters: str
    count: int
    leading: int
    other: int
    size: int = SOLVE_BLOCK

    @property
    def steps(self) -> int:
        return -(-self.count // self.size)


def phases_of(
    name: str, rows: int, columns: int, threads: int, count: int | None = None
) -> Phases | None:
    """Phases of routine ``name`` for a matrix of LAPACK's, with ``count`` reflectors; None where
    one thread is as fast.
    """
    least = min(rows, columns) if count is None else count
    if threads < 2 or name not in LEAST or least < LEAST[name]:
        return None
    block = BLOCK if least >= BLOCK_FROM else SMALL_BLOCK
    routines, write = _KINDS[name]
    tasks = write(columns, least, block, threads)
    own = () if name in ("orgqr", "ungqr", "geqrf") else (name,)
    return Phases(name, rows, columns, least, block, tasks, (*own, *routines))


def strips(columns: int, threads: int) -> int:
    """How many tasks share the work on ``columns`` columns beside the next panel's."""
    return min(-(-max(columns, 0) // STRIP), STRIPS * threads - 1)


def _ahead(columns: int, count: int, block: int, threads: int, taken: int = 1) -> Iterator[int]:
    """The next panel's task, and strips of what lies behind it, and behind other columns that
    belong to it.
    """
    for start in range(block, count, block):
        yield 1 + strips(columns - min(start + taken * block, count), threads)


def _getrf(columns: int, count: int, block: int, threads: int) -> tuple[int, ...]:
    """Last: exchanges of rows in all panels but the last one, the pivots as results, and columns
    beside the square.
    """
    last = -(-count // block) + strips(columns - count, threads)
    return (1, *_ahead(columns, count, block, threads), last)


def _potrf(columns: int, count: int, block: int, threads: int) -> tuple[int, ...]:
    """The columns of the panel after the next one belong to the panel's task, too. Last: zeros
    behind the diagonal.
    """
    return (1, *_ahead(columns, count, block, threads, taken=2), 2 * threads)


def _geqrf(columns: int, count: int, block: int, threads: int) -> tuple[int, ...]:
    last = (strips(columns - count, threads),) if columns > count else ()
    return (1, *_ahead(columns, count, block, threads), *last)


def _orgqr(columns: int, count: int, block: int, threads: int) -> tuple[int, ...]:
    """What reflectors each panel has; then strips, which need nothing of each other."""
    return (-(-count // block), max(1, min(columns // STRIP, 4 * threads)))


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[int, int, int, int], tuple[int, ...]]]] = {
    "getrf": (("laswp", "trsm", "gemm"), _getrf),
    "potrf": (("trsm", "gemm"), _potrf),
    "geqrf": (("geqrt3", "larfb"), _geqrf),
    "orgqr": (("larft", "larfb"), _orgqr),
    "ungqr": (("larft", "larfb"), _orgqr),
}
