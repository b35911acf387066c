"""GaLore: optimisers on gradients that are projected to few directions, in little memory.

    optimizer = galore(1e-3, rank=64)

Source: Zhao et al., "GaLore: memory-efficient LLM training by gradient low-rank projection" (2024).
Names, arguments and states are those of ``optax.contrib``.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import creation
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import convert
from tracejit.lax import cond
from tracejit.optim.adaptive import scale_by_adam
from tracejit.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    chain,
    narrow,
    safe_increment,
    transformation,
    zero_count,
)
from tracejit.optim.contrib.matrices import GaLoreDimensionNumbers, as_matrices, axes_of
from tracejit.optim.transform import add_decayed_weights, scale_by_learning_rate
from tracejit.source import here
from tracejit.tree_util import tree_map


class GaLoreState(NamedTuple):
    """``count``: updates so far; the state of the optimiser inside; ``projector`` of each
    parameter, empty where it is not projected.
    """

    count: Any
    base_optimizer_state: Any
    projector: Any


def _is_place(x: Any) -> bool:
    return x is None or isinstance(x, GaLoreDimensionNumbers)


def _matrix(x: Any, numbers: Any) -> tuple[Array, Any]:
    """A parameter as one matrix, and the function that puts a matrix back."""
    x = as_array(x)
    rows, columns, others = axes_of("galore", x, numbers)
    if others:
        raise ShapeError(f"galore: {numbers} leaves out axes {others} of {x.type}", at=here())
    stack, back = as_matrices(x, rows, columns, ())
    return stack, back


def _numbers_of(given: Any, params: Any) -> Any:
    if given is None:
        return tree_map(
            lambda p: GaLoreDimensionNumbers() if as_array(p).ndim == 2 else None, params
        )
    if isinstance(given, GaLoreDimensionNumbers):
        return tree_map(lambda p: given if as_array(p).ndim >= 2 else None, params)
    return given(params) if callable(given) else given


class _Pair(NamedTuple):
    first: Any
    second: Any


def _pairs(f: Any, numbers: Any, *trees: Any) -> tuple[Any, Any]:
    """Two trees, of a function that gives two results for each leaf."""

    def is_pair(x: Any) -> bool:
        return isinstance(x, _Pair)

    found = tree_map(lambda n, *xs: _Pair(*f(n, *xs)), numbers, *trees, is_leaf=_is_place)
    return (
        tree_map(lambda pair: pair.first, found, is_leaf=is_pair),
        tree_map(lambda pair: pair.second, found, is_leaf=is_pair),
    )


def _first(rank: int, numbers: Any, p: Any) -> tuple[Any, Any]:
    """Zeros for the projector of a parameter, and zeros like what it is projected to."""
    p = as_array(p)
    if numbers is None:
        return creation.zeros((0, 0), dtype=p.dtype), creation.zeros_like(p)
    m, n = _matrix(p, numbers)[0].shape[1:]
    few = min(rank, m, n)
    shapes = ((m, few), (few, n)) if m >= n else ((n, few), (m, few))
    return creation.zeros(shapes[0], dtype=p.dtype), creation.zeros(shapes[1], dtype=p.dtype)


def scale_by_galore(
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: float = 1.0,
    base_optimizer: Any = None,
    weight_dimension_numbers: Any = None,
) -> GradientTransformation:
    """Projects matrices to their ``rank`` largest singular directions, found anew every
    ``update_proj_gap`` steps, and updates by ``base_optimizer`` (Adam) there: GaLore (Zhao et al.,
    2024). ``scale`` multiplies what comes back.

    ``weight_dimension_numbers``: of all parameters of two axes or more, a tree with None where a
    parameter is not projected, or a function of the parameters that gives one.
    """
    if not isinstance(rank, int) or rank <= 0:
        raise ArgumentError(f"galore: rank is a positive integer, not {rank!r}", at=here())
    inner = scale_by_adam() if base_optimizer is None else base_optimizer

    def init(params: Any) -> Any:
        numbers = _numbers_of(weight_dimension_numbers, params)
        projectors, proxies = _pairs(functools.partial(_first, rank), numbers, params)
        return GaLoreState(zero_count(), inner.init(proxies), projectors)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        numbers = _numbers_of(weight_dimension_numbers, updates)
        due = ew.equal(ew.remainder(state.count, update_proj_gap), 0)

        def projected(n: Any, g: Any, projector: Any) -> tuple[Any, Any]:
            if n is None:
                return g, projector
            m = _matrix(g, n)[0][0]
            few = min(rank, *m.shape)
            tall = m.shape[0] >= m.shape[1]

            def directions() -> Any:
                u, _, vh = jnp.linalg.svd(convert(m, np.dtype(np.float32)), full_matrices=False)
                return convert(u[:, :few] if tall else vh[:few].T, m.dtype)

            projector = cond(due, directions, lambda: projector)
            return (projector.T @ m if tall else m @ projector), projector

        def back(n: Any, low: Any, projector: Any, g: Any) -> Any:
            if n is None:
                return low
            stack, restored = _matrix(g, n)
            tall = stack.shape[1] >= stack.shape[2]
            wide = projector @ low if tall else low @ projector.T
            return ew.multiply(narrow(scale, stack), restored(wide[None]))

        low, projectors = _pairs(projected, numbers, updates, state.projector)
        found, held = inner.update(low, state.base_optimizer_state, None)
        found = tree_map(back, numbers, found, projectors, updates, is_leaf=_is_place)
        return found, GaLoreState(safe_increment(state.count), held, projectors)

    return transformation(init, update)


def galore(
    learning_rate: ScalarOrSchedule,
    rank: int = 128,
    update_proj_gap: int = 200,
    scale: float = 1.0,
    base_optimizer: Any = None,
    weight_decay: Any = 0.0,
    mask: Any = None,
    weight_dimension_numbers: Any = None,
) -> GradientTransformationExtraArgs:
    """GaLore (Zhao et al., 2024): Adam in the memory of a few directions of each matrix."""
    return chain(
        scale_by_galore(rank, update_proj_gap, scale, base_optimizer, weight_dimension_numbers),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
