"""Second moments with little memory: one number for each row and column in place of each element.

    optimizer = adafactor(1e-3)

Sources: Shazeer and Stern, "Adafactor" (2018); Anil et al., "Memory-efficient adaptive
optimization" (SM3, 2019). Names, arguments and states are those of optax.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import DTypeError
from tracejit.frontend import creation, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import convert
from tracejit.ir.types import kind
from tracejit.numpy.linalg import norm as _norm
from tracejit.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    chain,
    mapped,
    narrow,
    need_params,
    safe_increment,
    square_norm,
    stateless_with_tree_map,
    transformation,
    zero_count,
    zeros_like,
)
from tracejit.optim.moments import F32, mixed, power_of_count, update_moment
from tracejit.optim.transform import (
    add_decayed_weights,
    clip_by_block_rms,
    ema,
    scale,
    scale_by_learning_rate,
)
from tracejit.source import here
from tracejit.tree_util import tree_map

# ---- Adafactor -----------------------------------------------------------------------------------


class FactoredState(NamedTuple):
    """``v_row``, ``v_col``: averages of squares along the two largest axes of each factored
    parameter; ``v``: of each element of the others. What is not used has one element.
    """

    count: Any
    v_row: Any
    v_col: Any
    v: Any


def _decay_by_power(i: Any, exponent: Any = 0.8) -> Any:
    """1 - (i + 1)**-exponent (Shazeer and Stern, 2018, section 7.2), in single precision."""
    return ew.subtract(1.0, power_of_count(ew.add(i, 1), as_array(-exponent), F32))


def _factored_axes(shape: tuple[int, ...], factored: bool, least: int) -> tuple[int, int] | None:
    """The second largest and the largest axis, if both are large enough."""
    if not factored or len(shape) < 2:
        return None
    order = np.argsort(shape)
    return (int(order[-2]), int(order[-1])) if shape[order[-2]] >= least else None


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _inverse_root(x: Any) -> Any:
    return ew.reciprocal(ew.sqrt(x))


def _by_rows_and_columns(
    g: Array, squares: Array, row: Any, column: Any, axes: tuple[int, int], decay: Any
) -> tuple[Any, Any, Any]:
    """The update and the next averages."""
    lower, upper = axes
    row = mixed(decay, reductions.mean(squares, upper), row)
    column = mixed(decay, reductions.mean(squares, lower), column)
    inner = lower - 1 if lower > upper else lower
    level = reductions.mean(row, inner, keepdims=True)
    by_row = shaping.expand_dims(_inverse_root(ew.divide(row, level)), upper)
    by_column = shaping.expand_dims(_inverse_root(column), lower)
    return ew.multiply(ew.multiply(g, by_row), by_column), row, column


def scale_by_factored_rms(
    factored: bool = True,
    decay_rate: Any = 0.8,
    step_offset: Any = 0,
    min_dim_size_to_factor: int = 128,
    epsilon: Any = 1e-30,
    decay_rate_fn: Callable[[Any, Any], Any] = _decay_by_power,
) -> GradientTransformation:
    """Divides by the root of an average of squares, which is kept for rows and columns only where
    two axes have ``min_dim_size_to_factor`` elements or more: Adafactor (Shazeer and Stern, 2018).

    ``decay_rate_fn(steps, decay_rate)`` gives the decay of the average; ``step_offset`` is taken
    from the steps.
    """

    def init(params: Any) -> Any:
        def part(which: str) -> Any:
            def one(p: Any) -> Any:
                p = as_array(p)
                axes = _factored_axes(p.shape, factored, min_dim_size_to_factor)
                shape: tuple[int, ...] = (1,)
                if axes is None:
                    shape = p.shape if which == "v" else shape
                elif which != "v":
                    shape = _without(p.shape, axes[1] if which == "row" else axes[0])
                return creation.zeros(shape, dtype=p.dtype)

            return tree_map(one, params)

        return FactoredState(zero_count(), part("row"), part("column"), part("v"))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        need_params("scale_by_factored_rms", params)
        decay = decay_rate_fn(ew.subtract(state.count, step_offset), decay_rate)

        def one(g: Any, row: Any, column: Any, v: Any, p: Any) -> Any:
            g, p = as_array(g), as_array(p)
            squares = ew.add(square_norm(g), narrow(epsilon, ew.real(g)))
            axes = _factored_axes(p.shape, factored, min_dim_size_to_factor)
            if axes is None:
                v = mixed(decay, squares, v)
                found = ew.multiply(g, _inverse_root(v))
            else:
                found, row, column = _by_rows_and_columns(g, squares, row, column, axes, decay)
            return found, *(convert(x, p.dtype) for x in (row, column, v))

        packed = mapped(lambda *xs: _Packed(one(*xs)), updates, *state[1:], params)
        parts = [
            tree_map(lambda x, k=k: x.parts[k], packed, is_leaf=lambda x: isinstance(x, _Packed))
            for k in range(4)
        ]
        return parts[0], FactoredState(safe_increment(state.count), *parts[1:])

    return transformation(init, update)


class _Packed:
    """Several results for one leaf: a leaf itself."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts


def adafactor(
    learning_rate: ScalarOrSchedule = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: Any = 0.8,
    decay_offset: Any = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: Any = 1.0,
    momentum: Any = None,
    dtype_momentum: Any = np.float32,
    weight_decay_rate: Any = None,
    eps: Any = 1e-30,
    factored: bool = True,
    weight_decay_mask: Any = None,
) -> GradientTransformationExtraArgs:
    """Adafactor (Shazeer and Stern, 2018): Adam's second moments in the memory of rows and columns,
    and steps relative to the size of parameters (``multiply_by_parameter_scale``).

    ``clipping_threshold``: the largest root mean square of a leaf's update, None for no limit.
    ``momentum``: the decay of an average of updates, kept in ``dtype_momentum``.

    >>> from tracejit import optim
    >>> step = optim.adafactor(0.1, min_dim_size_to_factor=2)
    >>> w = jnp.ones((3, 2))
    >>> state = step.init(w)
    >>> state[0].v_row.shape, state[0].v_col.shape
    ((2,), (3,))
    >>> step.update(w, state, w)[0].round(3)[0]
    Array([-0.1, -0.1], dtype=float32)
    """
    parts: list[Any] = [
        scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)
    ]
    if clipping_threshold is not None:
        parts.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        parts.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        parts.append(scale_by_param_block_rms())
    if momentum is not None:
        parts.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        parts.append(add_decayed_weights(weight_decay_rate, mask=weight_decay_mask))
    return chain(*parts, scale(-1))


# ---- by the size of parameters -------------------------------------------------------------------


def safe_norm(
    x: Any, min_norm: Any, ord: Any = None, axis: Any = None, keepdims: bool = False
) -> Array:
    """max(norm of x, min_norm), with derivative zero where the norm is below: also at zero.

    ``ord`` as of ``numpy.linalg.norm``.
    """
    x = as_array(x)
    wide = _norm(x, ord=ord, axis=axis, keepdims=True)
    small = ew.less_equal(wide, min_norm)
    kept = _norm(ew.select(small, creation.ones_like(x), x), ord=ord, axis=axis, keepdims=keepdims)
    flags = small if keepdims else shaping.squeeze(small, axis)
    return ew.select(flags, min_norm, kept)  # type: ignore[no-any-return]


def safe_root_mean_squares(x: Any, min_rms: Any) -> Array:
    """max(root mean square of x, min_rms), with derivative zero where it is below: also at zero."""
    x = as_array(x)
    small = ew.less_equal(ew.sqrt(reductions.mean(square_norm(x))), min_rms)
    kept = ew.select(small, creation.ones_like(x), x)
    return ew.select(small, min_rms, ew.sqrt(reductions.mean(square_norm(kept))))  # type: ignore[no-any-return]


def _by_size(name: str, size: Callable[[Any, Any], Any], least: Any) -> GradientTransformation:
    def one(u: Any, p: Any) -> Any:
        need_params(name, p)
        return ew.multiply(u, narrow(size(p, least), as_array(u)))

    return stateless_with_tree_map(one)


def scale_by_param_block_norm(min_scale: Any = 1e-3) -> GradientTransformation:
    """Multiplies each leaf by the norm of its parameter, at least ``min_scale``."""
    return _by_size("scale_by_param_block_norm", safe_norm, min_scale)


def scale_by_param_block_rms(min_scale: Any = 1e-3) -> GradientTransformation:
    """Multiplies each leaf by the root mean square of its parameter, at least ``min_scale``."""
    return _by_size("scale_by_param_block_rms", safe_root_mean_squares, min_scale)


# ---- SM3 -----------------------------------------------------------------------------------------


class ScaleBySM3State(NamedTuple):
    """``mu``: for each parameter a vector for each axis, the largest sums of squares across it;
    ``nu``: the average of updates.
    """

    mu: Any
    nu: Any


def _spread(vectors: Any, shape: tuple[int, ...]) -> list[Any]:
    """The vector of each axis along that axis of an array of this shape."""
    others = [tuple(j for j in range(len(shape)) if j != k) for k in range(len(shape))]
    return [shaping.expand_dims(v, o) if o else v for v, o in zip(vectors, others, strict=True)]


def scale_by_sm3(b1: Any = 0.9, b2: Any = 1.0, eps: Any = 1e-8) -> GradientTransformation:
    """Divides by the root of sums of squares, of which each element knows the least of its rows and
    columns: SM3 (Anil et al., 2019). Raises DTypeError for complex parameters.
    """
    share = 1.0 - b2 if b2 != 1.0 else 1.0

    def init(params: Any) -> Any:
        def vectors(p: Any) -> list[Any]:
            p = as_array(p)
            if kind(p.dtype) == "c":
                raise DTypeError(f"scale_by_sm3: a parameter is {p.type}", at=here())
            return [creation.zeros((n,), dtype=p.dtype) for n in p.shape]

        return ScaleBySM3State(tree_map(vectors, params), zeros_like(params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        def summed(g: Any, vectors: Any) -> Any:
            g = as_array(g)
            least = functools.reduce(ew.minimum, _spread(vectors, g.shape))
            return ew.add(ew.multiply(share, ew.square(g)), ew.multiply(b2, least))

        def divided(g: Any, total: Any) -> Any:
            some = ew.greater(total, 0)
            small = ew.add(ew.select(some, total, 1.0), narrow(eps, as_array(total)))
            return ew.multiply(g, ew.select(some, _inverse_root(small), 0.0))

        def largest(total: Any) -> list[Any]:
            n = total.ndim
            axes = [tuple(j for j in range(n) if j != k) for k in range(n)]
            return [reductions.max(total, a) if a else total for a in axes]

        totals = tree_map(summed, updates, state.mu)
        nu = update_moment(tree_map(divided, updates, totals), state.nu, b1, 1)
        return nu, ScaleBySM3State(tree_map(largest, totals), nu)

    return transformation(init, update)


def sm3(learning_rate: Any, momentum: Any = 0.9) -> GradientTransformationExtraArgs:
    """SM3 (Anil et al., 2019): AdaGrad in the memory of one vector for each axis."""
    return chain(scale_by_sm3(momentum), scale(-learning_rate))
