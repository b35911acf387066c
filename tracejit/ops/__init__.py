"""All primitive operations: ``PRIMS[name]`` is the record, from the written list of modules.

Users know ``tracejit.ops`` for ``segment_sum`` and its like, JAX's names: those are functions of
Arrays, found in ``frontend/segments.py`` at first use.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tracejit.ir.prim import Primitive
from tracejit.lazy import lazy
from tracejit.ops import (
    arith,
    bits,
    broadcast,
    callback,
    collective,
    conv,
    cumulative,
    dot,
    dynamic,
    family,
    fft,
    fill,
    fused,
    fused_attention,
    fused_conv,
    indexing,
    lapack,
    layout,
    linalg,
    linalg_scalars,
    linalg_solve,
    linalg_spectral,
    logic,
    math,
    parts,
    powers,
    random_bits,
    raw_fft,
    raw_solver,
    reduce,
    sort,
    special,
    special_beta,
    special_logs,
    special_more,
    special_slopes,
    window,
)

MODULES: tuple[ModuleType, ...] = (
    broadcast,
    family,
    arith,
    logic,
    parts,
    powers,
    math,
    special,
    bits,
)
MODULES += (fill, layout, reduce, dot, conv, fused, fused_conv, fused_attention)
MODULES += (callback, collective, dynamic, indexing, cumulative, sort, window, random_bits, fft)
MODULES += (special_beta, special_logs, special_more, special_slopes)

MODULES += (linalg, linalg_solve, linalg_spectral, linalg_scalars, lapack)
MODULES += (raw_fft, raw_solver)


def collect(modules: tuple[ModuleType, ...]) -> dict[str, Primitive]:
    """Every record found in ``modules``, by its own name."""
    found: dict[str, Primitive] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Primitive):
                found[value.name] = value
    return found


PRIMS: dict[str, Primitive] = collect(MODULES)

SEGMENTS = ("segment_max", "segment_min", "segment_prod", "segment_sum")
_segments = lazy("tracejit.frontend.segments")


def __getattr__(name: str) -> Any:
    if name in SEGMENTS:
        return getattr(_segments, name)
    raise AttributeError(f"module 'tracejit.ops' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *SEGMENTS})
