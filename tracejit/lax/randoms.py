"""Bits of XLA's generator and updates by a function: rarely needed names of ``lax``.

>>> new_key, bits = lax.rng_bit_generator(jnp.zeros(2, "uint32"), (3,))
>>> bits.shape, bits.dtype
((3,), dtype('uint32'))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import elementwise, reductions, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import shape_tuple
from tracejit.frontend.promotion import canonical, convert, filled, reshaped
from tracejit.frontend.vectorize import vmap
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.lax.indexing import GatherScatterMode, ScatterDimensionNumbers, scatter_add
from tracejit.lax.loops import while_loop
from tracejit.ops.random_bits import random_bits, threefry2x32

U32, I32 = DTYPES["u32"], DTYPES["i32"]


def rng_bit_generator(
    key: Any, shape: Any, dtype: Any = np.uint32, algorithm: Any = None
) -> tuple[Array, Array]:
    """``(new key, random bits of shape and dtype)``: threefry2x32 whatever the ``algorithm``.

    ``key``: uint32[2], or the uint32[4] of other generators, of which two words count; the new key
    is of the same shape. ``tracejit.random`` is what most programs want.

    Raises ArgumentError for other keys, DTypeError for a dtype that is no unsigned integer.
    """
    words = as_array(key)
    if words.dtype != U32 or words.shape not in ((2,), (4,)):
        raise ArgumentError(
            f"rng_bit_generator: a key is uint32[2] or [4], not {words.type}", at=source.here()
        )
    found = canonical(dtype)
    if kind(found) != "u":
        raise DTypeError(
            f"rng_bit_generator: takes an unsigned integer dtype, not {found}", at=source.here()
        )
    pair = words[:2]
    zero, one = (filled(k, TensorType(U32, ())) for k in (0, 1))
    new = shaping.stack(list(apply(threefry2x32, pair[0], pair[1], one, zero)))
    bits = apply(random_bits, pair, shape=shape_tuple(shape), bit_width=found.itemsize * 8)
    return (new if words.shape == (2,) else shaping.concatenate([new, words[2:]])), bits


def scatter_apply(
    operand: Any,
    scatter_indices: Any,
    func: Callable[[Any], Any],
    dimension_numbers: ScatterDimensionNumbers,
    *,
    update_shape: Any = (),
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Array:
    """``operand`` with ``func``, a function of scalars, applied in the windows that
    ``scatter_indices`` name; where several name one element, as many times.

    ``update_shape``: that of the updates which ``scatter`` would take there. Without
    ``unique_indices`` it is a loop of unknown length.

    >>> rows = lax.ScatterDimensionNumbers((), (0,), (0,))
    >>> at = jnp.array([[0], [2], [2]])
    >>> lax.scatter_apply(jnp.ones(3), at, lambda x: 2 * x, rows, update_shape=(3,))
    Array([2., 1., 4.], dtype=float32)
    """
    x = as_array(operand)
    times = scatter_add(
        filled(0, TensorType(I32, x.shape)),
        scatter_indices,
        filled(1, TensorType(I32, shape_tuple(update_shape))),
        dimension_numbers,
        indices_are_sorted=indices_are_sorted,
        unique_indices=unique_indices,
        mode=mode,
    )

    def applied(values: Array) -> Array:
        flat = vmap(func)(reshaped(values, (values.size,)))
        return convert(reshaped(flat, values.shape), values.dtype)

    def step(state: Any) -> Any:
        k, values = state
        return k + 1, elementwise.select(times > k, applied(values), values)

    if unique_indices:
        return step((0, x))[1]
    most = reductions.max(times, initial=0)
    return while_loop(lambda state: state[0] < most, step, (np.int32(0), x))[1]
