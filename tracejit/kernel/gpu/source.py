"""CUDA C of one kernel, printed or written by a user, as it goes to a compiler."""

from __future__ import annotations

from typing import Any

from tracejit.record import dataclass


@dataclass(frozen=True)
class CudaSource:
    """CUDA C of one kernel: ``extern "C" __global__ void name(...)`` over 8-byte parameters only
    (pointers and ``long long``), unless ``arguments`` says otherwise.

    ``contract``: whether products may fuse with sums (``-fmad``). ``shared``: bytes of dynamic
    shared memory. ``header``: whether ``kernels/tracejit.cuh`` is put in front. ``arguments``: for
    kernels of users, the type of each parameter: "p" pointer, or a short dtype name.
    ``origin``: the file and line where the text begins, for messages.
    """

    name: str
    text: str
    contract: bool = True
    shared: int = 0
    header: bool = True
    arguments: tuple[str, ...] | None = None
    origin: tuple[str, int] | None = None


@dataclass(frozen=True)
class CudaLaunch:
    """How a user's kernel is launched: on ``grid`` blocks of ``block`` threads, each an int or up
    to three; ``scalars``: NumPy scalars that follow the operands' and results' pointers.

    ``order``: the kernel's arguments, as places among operands, results and scalars; None for all
    of them. ``starts``: what each result holds before: the operand of that number, zeros for -1,
    anything for None.
    """

    source: CudaSource
    grid: int | tuple[int, ...]
    block: int | tuple[int, ...]
    scalars: tuple[Any, ...] = ()
    order: tuple[int, ...] | None = None
    starts: tuple[int | None, ...] = ()
