"""Reading and replacing parts of arrays: ``x[idx]``, ``x.at[idx].set(v)``, ``x[idx] = v``,
iteration.

    >>> jnp.arange(5)[::-2]
    Array([4, 2, 0])
    >>> jnp.zeros(3).at[1].add(2.0)
    Array([0., 2., 0.], dtype=float32)

Static slices are slices of the graph, everything else gathers and scatters. ``index_plan.py`` reads
the index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import array as core
from tracejit.frontend import at_once, eager, elementwise, promotion, shaping, window_index
from tracejit.frontend import trace as tracing
from tracejit.frontend.index_plan import (
    Plan,
    as_tuple,
    check_mask,
    is_mask,
    parse,
    with_flags,
)
from tracejit.frontend.promotion import filled, operand_notes, reshaped, spread
from tracejit.ir.types import DTYPES, kind
from tracejit.ops import indexing as windows
from tracejit.ops import layout
from tracejit.record import dataclass
from tracejit.source import here

BOOL = DTYPES["bool"]


# ---- reading -------------------------------------------------------------------------------------


def mode_or_jax(mode: str | None, in_jax: str) -> str | None:
    """``mode``, or where none is given JAX's, if ``config.out_of_bounds`` says so."""
    return in_jax if mode is None and config.out_of_bounds == "jax" else mode


def getitem(
    x: Any,
    idx: Any,
    mode: str | None = None,
    fill_value: Any = None,
    unique: bool = False,
    is_sorted: bool = False,
) -> Any:
    """``x[idx]`` by NumPy's rules. Indices outside raise OutOfBoundsError unless ``mode`` says
    otherwise.
    """
    if window_index.present(idx):
        return window_index.read(
            core.as_array(x), idx, lambda w, i: getitem(w, i, mode, fill_value)
        )
    x, idx = with_flags(core.as_array(x), idx)
    plan = parse(x, idx, mode_or_jax(mode, "clip"))
    found = _cut_all(x, plan)
    if plan.arrays:
        found = _gathered(found, plan, fill_value)
    return reshaped(found, plan.result_shape)


def _cut_all(x: Any, plan: Plan) -> Any:
    """``x`` with the slices of every axis taken; axes of static ints stay with size 1."""
    if all(c.count == n for c, n in zip(plan.cuts, x.shape, strict=True)):
        found = x
    elif promotion.constant_of(x) is not None:
        return spread(
            promotion.constant_of(x), x.type.with_shape(tuple(c.count for c in plan.cuts))
        )
    else:
        found = core.apply(
            layout.slice_,
            x,
            start=tuple(c.start for c in plan.cuts),
            limit=tuple(c.limit for c in plan.cuts),
            strides=tuple(c.step for c in plan.cuts),
        )
    reverse = tuple(k for k, c in enumerate(plan.cuts) if c.reverse)
    return core.apply(layout.rev, found, dimensions=reverse) if reverse else found


def _index_vectors(plan: Plan) -> Any:
    """The index arrays side by side: the last axis is the index vector."""
    columns = [reshaped(a, (*a.shape, 1)) for _, a in plan.arrays]
    if len(columns) == 1:
        return columns[0]
    return core.apply(layout.concatenate, *columns, dimension=columns[0].ndim - 1)


def _window_dims(plan: Plan, rank: int) -> tuple[int, ...]:
    """Axes of the gathered result (before new axes) that are the slices' axes."""
    before = sum(k is not None for k in plan.layout[: plan.before])
    kept = rank - len(plan.arrays)
    lead = len(plan.array_shape)
    return (*range(before), *range(before + lead, kept + lead))


def _gathered(x: Any, plan: Plan, fill_value: Any) -> Any:
    axes = tuple(axis for axis, _ in plan.arrays)
    params = windows.gather_params(
        _window_dims(plan, x.ndim),
        tuple(sorted(axes)),
        axes,
        tuple(1 if k in axes else n for k, n in enumerate(x.shape)),
        mode=plan.mode,
        fill_value=fill_value if plan.mode == "fill" else None,
    )
    return core.apply(windows.gather, x, _index_vectors(plan), **params)


def iterate(x: Any) -> Iterator[Any]:
    """The rows of an array along its first axis; under tracing the loop over them is unrolled."""
    if x.ndim == 0:
        raise ArgumentError(
            "iteration over an array without axes",
            at=here(),
            notes=operand_notes((x,)),
            hint="numpy.atleast_1d(x) has an axis",
        )
    return (_row(x, k) for k in range(x.shape[0]))


def _row(x: Any, k: int) -> Any:
    found = at_once.getitem(x, k)
    return getitem(x, k) if found is None else found


def take(
    a: Any,
    indices: Any,
    axis: int | None = None,
    out: None = None,
    mode: str | None = None,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    fill_value: Any = None,
) -> Any:
    """Elements of ``a`` at ``indices`` along ``axis``, of the flattened array by default.

    Negative indices count from the end. ``mode`` says what one out of bounds is: "error" (the
    default: OutOfBoundsError), "clip", "wrap", or "fill": ``fill_value``, by default nan, or the
    smallest integer.

    >>> jnp.take(jnp.array([10.0, 20.0, 30.0]), jnp.array([2, 0]))
    Array([30., 10.], dtype=float32)
    """
    a = core.as_array(a)
    if axis is None:
        a, axis = shaping.ravel(a), 0
    number = shaping.axis_number("take", axis, a.ndim)
    mode = "error" if mode == "raise" else mode_or_jax(mode, "fill")
    index = core.as_array(indices)
    if kind(index.dtype) not in "iub" and index.size:
        raise DTypeError(f"take: indices are integers, not {index.type}", at=here())
    if mode == "clip" and a.shape[number]:  # negative indices too do not count from the end
        index = elementwise.clip(index, 0, a.shape[number] - 1)
    return getitem(a, (*[slice(None)] * number, index), mode, fill_value)


def take_along_axis(
    arr: Any, indices: Any, axis: int | None = -1, mode: str | None = None, fill_value: Any = None
) -> Any:
    """``arr`` at ``indices`` along ``axis``, the other axes of both together (they broadcast).

    >>> x = jnp.array([[3.0, 1.0], [5.0, 9.0]])
    >>> jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1)
    Array([[1., 3.],
           [5., 9.]], dtype=float32)
    """
    arr, index = core.as_array(arr), core.as_array(indices)
    if axis is None:
        arr, axis = shaping.ravel(arr), 0
    return getitem(arr, along(arr, index, axis), mode_or_jax(mode, "fill"), fill_value)


def along(arr: Any, index: Any, axis: int) -> tuple[Any, ...]:
    """The full index that ``take_along_axis`` stands for."""
    number = shaping.axis_number("take_along_axis", axis, arr.ndim)
    if index.ndim != arr.ndim:
        raise ShapeError(
            "take_along_axis: arr and indices need the same number of axes",
            at=here(),
            notes=operand_notes((arr, index)),
        )
    found: list[Any] = []
    for k, n in enumerate(arr.shape):
        wide = [1] * arr.ndim
        wide[k] = n
        found.append(index if k == number else np.arange(n).reshape(wide))
    return tuple(found)


# ---- replacing -----------------------------------------------------------------------------------

#: how `.at[...]` combines old and new elements
COMBINE: dict[str, Callable[..., Any]] = {
    "set": lambda old, new: new,
    "add": elementwise.add,
    "mul": elementwise.multiply,
    "min": elementwise.minimum,
    "max": elementwise.maximum,
}


def updated(
    x: Any,
    idx: Any,
    value: Any,
    how: str,
    mode: str | None = None,
    unique: bool = False,
    is_sorted: bool = False,
) -> Any:
    """A copy of ``x`` with ``value`` combined into ``x[idx]``; ``value`` broadcasts and takes the
    dtype of ``x``.
    """
    x = core.as_array(x)
    if window_index.present(idx):
        return window_index.write(x, idx, lambda w, i: updated(w, i, value, how, mode))
    wide, parts = with_flags(x, idx)
    if wide is not x:
        return reshaped(updated(wide, parts, value, how, mode, unique, is_sorted), x.shape)
    value = _fitting(value, x)
    masked = _masked_update(x, idx, value, how)
    if masked is not None:
        return masked
    plan = parse(x, idx, mode_or_jax(mode, "drop"))
    value = _spread_value(value, plan, x)
    if not plan.arrays:
        return _updated_basic(x, plan, value, how)
    if all(_is_whole(c, n) for c, n in zip(plan.cuts, x.shape, strict=True)):
        return _scattered(x, plan, value, how, unique, is_sorted)
    # slices and arrays mixed: scatter into the sliced part, then put that back
    part = _scattered(_cut_all(x, plan), plan, value, how, unique, is_sorted)
    return _put_back(x, plan, part)


def _is_whole(cut: Any, size: int) -> bool:
    return cut.count == size and not cut.reverse


def _fitting(value: Any, x: Any) -> Any:
    given = promotion.operand(value)
    if kind(given.dtype) == "c" and kind(x.dtype) != "c":
        raise DTypeError(
            f"a complex value does not fit an array of {x.dtype}",
            at=here(),
            notes=operand_notes((x, given)),
            hint="take .real or .imag of the value",
        )
    return promotion.typed(value, x.dtype)


def _masked_update(x: Any, idx: Any, value: Any, how: str) -> Any:
    """``x[mask] = value`` as a select; None where the index is no mask or a concrete mask takes one
    value each.
    """
    if isinstance(idx, list):
        return None
    parts = as_tuple(idx)
    if len(parts) != 1 or not is_mask(parts[0]):
        return None
    mask = core.as_array(parts[0])
    check_mask(mask, x.shape[: mask.ndim], x)
    if mask.size == 0:
        return None
    rest = x.shape[mask.ndim :]
    while value.ndim > len(rest) and value.shape[0] == 1:
        value = reshaped(value, value.shape[1:])
    if value.ndim > len(rest) or not _broadcasts(value.shape, rest):
        if mask._data is None:
            raise mask.traced_error(
                "setting masked elements one by one",
                "give one value for all of them, or use numpy.where",
            )
        return None
    new = COMBINE[how](x, promotion.broadcast_to(value, x.shape))
    wide = promotion.broadcast_to(reshaped(mask, (*mask.shape, *(1,) * len(rest))), x.shape)
    return elementwise.select(wide, new, x)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    lead = len(to) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, to[lead:], strict=True))


def _spread_value(value: Any, plan: Plan, x: Any) -> Any:
    """``value`` in the shape of ``x[idx]``, without the new axes."""
    shape = plan.result_shape
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshaped(value, value.shape[1:])
    if not _broadcasts(value.shape, shape):
        raise ShapeError(
            f"a value of shape {value.shape} does not fit the indexed part, of shape {shape}",
            at=here(),
            notes=operand_notes((x, value)),
            hint="it must broadcast to that shape",
        )
    value = promotion.broadcast_to(value, shape)
    kept = [plan.cuts[k].count for k in plan.layout[: plan.before] if k is not None]
    kept += plan.array_shape
    kept += [plan.cuts[k].count for k in plan.layout[plan.before :] if k is not None]
    return reshaped(value, tuple(kept))


def _updated_basic(x: Any, plan: Plan, value: Any, how: str) -> Any:
    part = reshaped(value, tuple(c.count for c in plan.cuts))
    if all(_is_whole(c, n) for c, n in zip(plan.cuts, x.shape, strict=True)):
        return COMBINE[how](x, part)
    if how == "add" and x.dtype != BOOL:
        return elementwise.add(x, _padded(_turned(part, plan), plan, 0))
    if how != "set":
        part = COMBINE[how](_cut_all(x, plan), part)
    return _put_back(x, plan, part)


def _turned(part: Any, plan: Plan) -> Any:
    reverse = tuple(k for k, c in enumerate(plan.cuts) if c.reverse)
    if not reverse or promotion.constant_of(part) is not None:
        return part
    return core.apply(layout.rev, part, dimensions=reverse)


def _padded(part: Any, plan: Plan, value: Any) -> Any:
    """``part`` at its place in an array of the full shape, ``value`` elsewhere."""
    config = tuple(
        (c.start, n - c.limit, c.step - 1) for c, n in zip(plan.cuts, plan.shape, strict=True)
    )
    return shaping.padded(part, config, value)


def _put_back(x: Any, plan: Plan, part: Any) -> Any:
    """``x`` with the sliced part replaced: a choice by position, which fuses with what is around
    it.
    """
    if 0 in part.shape:
        return x
    flags = _padded(filled(True, part.type.with_dtype(BOOL)), plan, False)
    constant = promotion.constant_of(part)
    new = (
        filled(constant, x.type) if constant is not None else _padded(_turned(part, plan), plan, 0)
    )
    return elementwise.select(flags, new, x)


def _scattered(x: Any, plan: Plan, value: Any, how: str, unique: bool, is_sorted: bool) -> Any:
    axes = tuple(axis for axis, _ in plan.arrays)
    params = windows.scatter_params(
        how,
        _window_dims(plan, x.ndim),
        tuple(sorted(axes)),
        axes,
        mode="drop" if plan.mode == "fill" else plan.mode,
        unique_indices=bool(unique),
        indices_are_sorted=bool(is_sorted),
    )
    return core.apply(windows.scatter, x, _index_vectors(plan), value, **params)


def setitem(x: Any, idx: Any, value: Any) -> None:
    """``x[idx] = value``: from here on the Array object ``x`` stands for the updated array.

    No data is written: other Arrays that share it, and NumPy arrays it came from, stay as they are.
    While a function is traced it may change the Arrays it made, not those it finds outside.
    """
    trace = tracing.current_trace()
    if trace is not None and x._trace is not trace:
        raise ArgumentError(
            f"x[i] = v: {trace.what} of `{trace.function}` would change an array made outside "
            "of it",
            at=here(),
            hint="x = x.at[i].set(v) makes a changed copy",
        )
    x._become(updated(x, idx, value, "set"))
    x._weak = False


_again = eager.remembered(updated)

# ---- x.at ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class At:
    """``x.at``: index it to choose a part."""

    array: Any

    def __getitem__(self, idx: Any) -> Part:
        return Part(self.array, idx)

    def __repr__(self) -> str:
        return f"<at of {self.array.type}>"


@dataclass(frozen=True)
class Part:
    """``x.at[idx]``: its methods return copies of x with that part changed.

    ``mode``: what happens to indices outside: None or "error" raise OutOfBoundsError; "drop" or
    "fill" leave them out; "clip" moves them to the edge; "wrap" counts around; "promise_in_bounds"
    does not look.
    """

    array: Any
    idx: Any

    def get(
        self,
        *,
        mode: str | None = None,
        fill_value: Any = None,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The part; with mode="fill" elements outside are ``fill_value`` (nan, or the extreme
        integer).
        """
        return getitem(self.array, self.idx, mode, fill_value)

    def _change(
        self,
        how: str,
        values: Any,
        indices_are_sorted: bool,
        unique_indices: bool,
        mode: str | None,
    ) -> Any:
        return _again(self.array, self.idx, values, how, mode, unique_indices, indices_are_sorted)

    def set(
        self,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The part replaced; of several values for one element the last stays."""
        return self._change("set", values, indices_are_sorted, unique_indices, mode)

    def add(
        self,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The part plus ``values``; an element indexed twice gets both."""
        return self._change("add", values, indices_are_sorted, unique_indices, mode)

    def subtract(
        self,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The part less ``values``."""
        return self.add(elementwise.negative(values), mode=mode, unique_indices=unique_indices)

    def multiply(
        self,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The part times ``values``."""
        return self._change("mul", values, indices_are_sorted, unique_indices, mode)

    mul = multiply

    def divide(
        self,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The part divided by ``values``."""
        ones = updated(
            promotion.filled(1, self.array.type), self.idx, values, "mul", mode, unique_indices
        )
        return elementwise.divide(self.array, ones)

    def min(
        self,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The smaller of the part and ``values``."""
        return self._change("min", values, indices_are_sorted, unique_indices, mode)

    def max(
        self,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The larger of the part and ``values``."""
        return self._change("max", values, indices_are_sorted, unique_indices, mode)

    def power(
        self,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The part to the power ``values``."""
        return self.apply(lambda part: elementwise.power(part, values), mode=mode)

    def apply(
        self,
        func: Callable[[Any], Any],
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        wrap_negative_indices: bool = True,
    ) -> Any:
        """The part with an elementwise function applied (once, however often an element is
        indexed).
        """
        if not isinstance(self.idx, tuple | list) and is_mask(self.idx):
            mask = core.as_array(self.idx)
            rest = (1,) * (self.array.ndim - mask.ndim)
            return elementwise.select(
                reshaped(mask, (*mask.shape, *rest)), func(self.array), self.array
            )
        return self.set(func(self.get(mode=mode)), mode=mode)
