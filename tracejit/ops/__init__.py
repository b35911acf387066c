"""All primitive operations: ``PRIMS[name]`` is the record, from the written list of modules."""

from __future__ import annotations

from types import ModuleType

from tracejit.ir.prim import Primitive
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

MODULES += (linalg, linalg_solve, linalg_spectral, linalg_scalars)


def collect(modules: tuple[ModuleType, ...]) -> dict[str, Primitive]:
    """Every record found in ``modules``, by its own name."""
    found: dict[str, Primitive] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Primitive):
                found[value.name] = value
    return found


PRIMS: dict[str, Primitive] = collect(MODULES)
