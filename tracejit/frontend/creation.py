"""Arrays from nothing: fills, ranges, identities, and arrays from Python and NumPy data.

    >>> arange(0, 1, 0.25)
    Array([0.  , 0.25, 0.5 , 0.75], dtype=float32)

Floating results have ``config.default_float``, integer ones ``config.default_int``, unless a dtype
is given.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import source
from tracejit.config import config
from tracejit.errors import ArgumentError, CopyError, DTypeError, ShapeError
from tracejit.frontend import array as core
from tracejit.frontend import elementwise, exchange, placement, promotion, shaping
from tracejit.frontend.axes import shape_tuple
from tracejit.frontend.devices import find
from tracejit.frontend.placement import settled
from tracejit.frontend.promotion import canonical, convert, filled
from tracejit.frontend.trace import current_trace
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops import layout, parts

Shape = int | Sequence[int]

# ---- fills ---------------------------------------------------------------------------------------


def full(
    shape: Shape, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None
) -> Any:
    """An array of ``shape`` filled with ``fill_value``, which may be an array that broadcasts.
    ``order`` is accepted, here and below: arrays have no other order than C's.

    >>> jnp.full((2, 3), jnp.arange(3))
    Array([[0, 1, 2],
           [0, 1, 2]])
    """
    sizes = shape_tuple(shape)
    if dtype is None:
        dtype = promotion.operand(fill_value).dtype
    value = promotion.typed(fill_value, canonical(dtype))
    scalar = promotion.constant_of(value)
    if scalar is not None:
        return settled(filled(scalar, TensorType(value.dtype, sizes)), device)
    return settled(shaping.broadcast_to(value, sizes), device)


def zeros(shape: Shape, dtype: Any = None, order: str = "C", *, device: Any = None) -> Any:
    """An array of zeros, in ``config.default_float`` unless ``dtype`` says otherwise.

    Raises ShapeError for a negative size, DTypeError for a dtype that arrays do not have.

    >>> jnp.zeros((2, 3), "int32").dtype
    dtype('int32')
    """
    return settled(filled(0, TensorType(_float(dtype), shape_tuple(shape))), device)


def ones(shape: Shape, dtype: Any = None, order: str = "C", *, device: Any = None) -> Any:
    """An array of ones, in ``config.default_float`` unless ``dtype`` says otherwise.

    >>> jnp.ones(2)
    Array([1., 1.], dtype=float32)
    """
    return settled(filled(1, TensorType(_float(dtype), shape_tuple(shape))), device)


def _float(dtype: Any) -> np.dtype:
    return config.default_float if dtype is None else canonical(dtype)


def _type_like(a: Any, dtype: Any, shape: Any) -> TensorType:
    a = core.as_array(a)
    sizes = a.shape if shape is None else shape_tuple(shape)
    return TensorType(a.dtype if dtype is None else canonical(dtype), sizes)


def _like(a: Any) -> Any:
    """The device that what is like ``a`` is bound to."""
    return placement.binding(a) if isinstance(a, core.Array) else None


def zeros_like(
    a: Any,
    dtype: Any = None,
    shape: Any = None,
    *,
    device: Any = None,
    order: str = "K",
    subok: bool = True,
) -> Any:
    """Zeros in the shape and dtype of ``a`` unless others are given.

    >>> jnp.zeros_like(jnp.array([1, 2]))
    Array([0, 0])
    """
    return settled(filled(0, _type_like(a, dtype, shape)), device or _like(a))


def ones_like(
    a: Any,
    dtype: Any = None,
    shape: Any = None,
    *,
    device: Any = None,
    order: str = "K",
    subok: bool = True,
) -> Any:
    """Ones in the shape and dtype of ``a`` unless others are given."""
    return settled(filled(1, _type_like(a, dtype, shape)), device or _like(a))


def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    shape: Any = None,
    *,
    device: Any = None,
    order: str = "K",
    subok: bool = True,
) -> Any:
    """An array in the shape and dtype of ``a`` filled with ``fill_value``.

    >>> jnp.full_like(jnp.ones((1, 2)), 7)
    Array([[7., 7.]], dtype=float32)
    """
    type = _type_like(a, dtype, shape)
    return full(type.shape, fill_value, type.dtype, device=device or _like(a))


def float0_zeros(a: Any) -> np.ndarray:
    """The tangent of an integer array: zeros of NumPy's zero-width dtype ``float0``, as in JAX."""
    return np.zeros(a.shape, [("float0", np.void, 0)])


# ---- from data -----------------------------------------------------------------------------------


def to_numpy(x: Any) -> np.ndarray:
    """Nested lists, tuples, buffers and objects with ``__array__`` or ``__dlpack__`` as a NumPy
    array.

    Python floats and ints in lists get the default dtypes. Raises TypeError for what is no array.
    """
    if hasattr(x, "__dlpack__") and (found := exchange.bfloat16_from(x)) is not None:
        return found
    if hasattr(x, "__array__"):
        return np.asarray(x)
    if hasattr(x, "__dlpack__"):
        return np.from_dlpack(x)
    if isinstance(x, str | bytes | dict | set) or x is None:
        raise DTypeError(f"{type(x).__name__} is not an array", at=source.here())
    data = promotion.from_lists(x) if isinstance(x, list | tuple) else np.asarray(x)
    return data if _has_numpy(x) else data.astype(_python_dtype(data.dtype), copy=False)


def _python_dtype(dtype: np.dtype) -> np.dtype:
    wanted = {"i": config.default_int, "f": config.default_float, "c": promotion.default_complex()}
    return wanted.get(dtype.kind, dtype)


def _leaves(x: Any) -> Any:
    if isinstance(x, list | tuple):
        for item in x:
            yield from _leaves(item)
    else:
        yield x


def _has_numpy(x: Any) -> bool:
    return any(isinstance(leaf, np.ndarray | np.generic | core.Array) for leaf in _leaves(x))


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, device: Any = None
) -> Any:
    """``a`` as an Array, without a copy where that can be. Lists may hold traced values.

    The result is an Array object of its own: ``x[i] = v`` on it leaves ``a`` as it is. With
    ``copy=True`` it has memory of its own too; with ``copy=False`` an Array is itself, and what
    needs a copy (a list, another dtype or device) raises CopyError.

    >>> jnp.asarray(np.arange(3, dtype=np.int8))
    Array([0, 1, 2], dtype=int8)
    """
    wanted = None if dtype is None else canonical(dtype)
    if copy is False:
        return without_copy(a, wanted, device)
    if isinstance(a, list | tuple) and promotion.holds_arrays(a):
        found = _stacked(a)
    elif wanted is not None and (isinstance(a, list | tuple) or promotion.is_python(a)):
        return settled(own(_concrete(a, wanted)), device)
    else:
        found = core.as_array(a)
    found = convert(found, found.dtype if wanted is None else wanted)
    if copy and found._trace is None and not isinstance(a, list | tuple):
        found = placement.copied(found)
    return settled(own(found), device)


def without_copy(a: Any, dtype: np.dtype | None = None, device: Any = None) -> Any:
    """``a`` as an Array over the memory it has; CopyError where it needs a copy to be one, of
    ``dtype`` and on ``device`` where they are given.
    """
    found = a if isinstance(a, core.Array) else exchange.from_gpu(a)
    if found is None:
        try:
            shares = hasattr(a, "__dlpack__") and not isinstance(a, np.ndarray)
            found = core.as_array(np.from_dlpack(a) if shares else np.asarray(a, copy=False))
        except ValueError:
            raise _needs_copy(f"{type(a).__name__} as an array") from None
    if dtype is not None and dtype != found.dtype:
        raise _needs_copy(f"{found.type} as {dtype}")
    if device is not None and found._trace is None and find(device) is not placement.home(found):
        raise _needs_copy(f"{found.type} on {find(device).name}")
    return found


def _needs_copy(what: str) -> CopyError:
    return CopyError(
        f"{what} needs a copy, which copy=False forbids",
        at=source.here(),
        hint="copy=None makes one where it must",
    )


def own(x: Any) -> Any:
    """An Array object of its own with the same data; made under a trace, it belongs to that."""
    trace = current_trace()
    if trace is None or x._trace is not None:
        return placement.twin(x)
    return core.carrying(x, trace.lift(x), trace, x._weak)


def _concrete(a: Any, dtype: np.dtype) -> Any:
    """Python numbers and lists of them, rounded to ``dtype`` once; they keep their data under a
    trace.
    """
    if isinstance(a, int) and kind(dtype) in "iu":
        promotion.check_fits(a, dtype)
    if isinstance(a, list | tuple):
        return core.Array(parts.convert.numpy(promotion.from_lists(a, dtype), dtype=dtype))
    try:
        return core.Array(np.asarray(parts.convert.numpy(np.asarray(a), dtype=dtype)))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"these lists make no array: {error}", at=source.here()) from None


def _stacked(items: Any) -> Any:
    if not isinstance(items, list | tuple):
        return core.as_array(items)
    if not items:
        return core.as_array(np.zeros((0,), config.default_float))
    return shaping.stack([_stacked(item) for item in items])


def array(
    object: Any,
    dtype: Any = None,
    copy: bool = True,
    order: Any = None,
    ndmin: int = 0,
    *,
    device: Any = None,
    subok: bool = False,
) -> Any:
    """An Array from nested lists, numbers, NumPy arrays or Arrays; NumPy data is copied.

    Python floats and ints get ``config.default_float`` and ``config.default_int`` unless ``dtype``
    says otherwise. Raises DTypeError for what holds no numbers.

    >>> jnp.array([[1.0, 2.0], [3.0, 4.0]])
    Array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    found = asarray(object, dtype, device=device)
    if copy and isinstance(object, np.ndarray) and found._has_value and not found._on_gpu:
        found = own(placement.copied(found))
    if found.ndim < ndmin:
        found = shaping.reshape(found, (1,) * (ndmin - found.ndim) + found.shape)
    return found


# ---- ranges and identities -----------------------------------------------------------------------


def iota(dtype: np.dtype, shape: tuple[int, ...], dimension: int) -> Any:
    """The index along one axis."""
    if dtype == DTYPES["bool"]:
        return convert(iota(DTYPES["i64"], shape, dimension), dtype)
    return core.apply(layout.iota, dtype=dtype, shape=shape, dimension=dimension)


def _static_number(x: Any, name: str) -> Any:
    if isinstance(x, core.Array):
        return x.concrete(f"arange: {name}").item()
    return x.item() if isinstance(x, np.generic | np.ndarray) else x


def arange(
    start: Any, stop: Any = None, step: Any = None, dtype: Any = None, *, device: Any = None
) -> Any:
    """Evenly spaced numbers from ``start`` (0 when only one is given) to before ``stop``.

    In ``config.default_int``, of floats in ``config.default_float``, unless ``dtype`` says
    otherwise. The bounds must be known while tracing: a traced one raises TracedValueError, a step
    of 0 ArgumentError.

    >>> jnp.arange(2, 10, 3)
    Array([2, 5, 8])
    """
    if stop is None:
        start, stop = 0, start
    step = 1 if step is None else step
    given = [x for x in (start, stop, step) if isinstance(x, core.Array | np.ndarray | np.generic)]
    start, stop, step = (
        _static_number(x, n) for x, n in ((start, "start"), (stop, "stop"), (step, "step"))
    )
    if step == 0:
        raise ArgumentError("arange: step is 0", at=source.here())
    if dtype is not None:
        wanted = canonical(dtype)
    else:
        wanted = promotion.result_type(start, stop, step, *given)
    count = max(math.ceil((stop - start) / step), 0)
    if kind(wanted) in "iu" and any(isinstance(x, float) and x % 1 for x in (start, step)):
        # NumPy's: the first two are truncated, and the rest follow at their distance
        first, second = (int(x) for x in (start, start + step))
        start, step = first, second - first
        whole = np.arange(count) * step + start
        return settled(core.as_array(whole.astype(wanted)), device)
    if current_trace() is None or kind(wanted) == "b":
        return settled(core.Array((np.arange(count) * step + start).astype(wanted)), device)
    whole = isinstance(start, int) and isinstance(step, int)
    # floats are computed in float64 and rounded once, as outside of a trace
    found = iota(wanted if whole else DTYPES["f64"], (count,), 0)
    found = found if step == 1 else elementwise.multiply(found, step)
    found = found if start == 0 else elementwise.add(found, start)
    return convert(found, wanted)


def eye(
    N: Any,
    M: Any = None,
    k: int = 0,
    dtype: Any = None,
    order: str = "C",
    *,
    device: Any = None,
) -> Any:
    """Ones on the k-th diagonal of an N x M matrix, zeros elsewhere; above the main one for k > 0.

    >>> jnp.eye(2, 3, k=1)
    Array([[0., 1., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    shape = shape_tuple((N, N if M is None else M))
    wanted = _float(dtype)
    if current_trace() is None:
        return settled(core.Array(np.eye(*shape, k).astype(wanted)), device)
    rows, columns = (iota(DTYPES["i64"], shape, d) for d in (0, 1))
    return convert(elementwise.equal(elementwise.add(rows, operator.index(k)), columns), wanted)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Ones at and below the k-th diagonal."""
    shape = shape_tuple((N, N if M is None else M))
    return convert(lower_mask(shape, k), _float(dtype))


def lower_mask(shape: tuple[int, int], k: int) -> Any:
    """True at and below the k-th diagonal."""
    rows, columns = (iota(DTYPES["i64"], shape, d) for d in (0, 1))
    return elementwise.greater_equal(elementwise.add(rows, operator.index(k)), columns)


def _triangle(name: str, m: Any, k: int, lower: bool) -> Any:
    m = core.as_array(m)
    if m.ndim < 2:
        raise ShapeError(
            f"{name}: takes a matrix or a stack of them, not {m.type}", at=source.here()
        )
    mask = shaping.broadcast_to(lower_mask(m.shape[-2:], k if lower else k - 1), m.shape)
    zero = filled(0, m.type)
    return elementwise.select(mask, *((m, zero) if lower else (zero, m)))


def tril(m: Any, k: int = 0) -> Any:
    """``m`` with zeros above the k-th diagonal of its last two axes.

    >>> jnp.tril(jnp.ones((2, 2)))
    Array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    return _triangle("tril", m, k, True)


def triu(m: Any, k: int = 0) -> Any:
    """``m`` with zeros below the k-th diagonal of its last two axes.

    >>> jnp.triu(jnp.ones((2, 2)))
    Array([[1., 1.],
           [0., 1.]], dtype=float32)
    """
    return _triangle("triu", m, k, False)
