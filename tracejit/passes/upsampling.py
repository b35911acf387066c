"""A convolution over a dilated left operand, as convolutions that meet no zeros.

Comes in: the operands and params of such a convolution (the gradient of one with strides). Goes
out: for each phase of the result a convolution with every ``dilation``-th kernel element, their
results interleaved. With dilation 2 along one axis:

    out[2q]     = sum over even kernel elements  w[2t]     * x[q + t]
    out[2q + 1] = sum over odd kernel elements   w[2t + 1] * x[q + t]
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from tracejit.ir.build import full_like
from tracejit.ops import layout
from tracejit.ops.conv import conv_general_dilated
from tracejit.record import dataclass

Conv = Callable[[Any, Any, dict[str, Any]], Any]

#: phases beyond this are not worth a call each
MAX_PHASES = 16


def is_upsampling(params: dict[str, Any]) -> bool:
    """Whether phases save work: gaps in the left operand, steps of one elsewhere on these axes."""
    phases = 1
    for step, stride, dilation in zip(
        params["lhs_dilation"], params["window_strides"], params["rhs_dilation"], strict=True
    ):
        if step > 1 and (stride, dilation) != (1, 1):
            return False
        phases *= step
    return 1 < phases <= MAX_PHASES


@dataclass(frozen=True)
class _Phase:
    """Kernel elements ``first, first + step, ...`` (``count`` of them) and the padding they see."""

    first: int
    count: int
    padding: tuple[int, int]


def _phase(number: int, size: int, taps: int, out: int, step: int, low: int) -> _Phase:
    """Phase ``number`` of an axis: results ``number + step * q``, of which ``out`` are computed."""
    first = (low - number) % step
    count = max(0, -(-(taps - first) // step))
    before = -((number + first - low) // step)
    return _Phase(first, count, (before, out + count - 1 - size - before))


def upsampled(lhs: Any, rhs: Any, params: dict[str, Any], conv: Conv) -> Any:
    """The convolution by phases; ``conv(lhs, rhs, params)`` writes each."""
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    out = conv_general_dilated.infer(lhs.type, rhs.type, **params)
    steps = params["lhs_dilation"]
    extents = [-(-out.shape[a] // s) for a, s in zip(out_spec[2:], steps, strict=True)]
    parts: dict[tuple[int, ...], Any] = {}
    for numbers in product(*(range(step) for step in steps)):
        phases = [
            _phase(number, lhs.type.shape[a], rhs.type.shape[b], extent, step, low)
            if step > 1
            else _Phase(0, rhs.type.shape[b], padding)
            for number, a, b, extent, step, padding in zip(
                numbers, lhs_spec[2:], rhs_spec[2:], extents, steps, params["padding"], strict=True
            )
            for low in padding[:1]
        ]
        shape = list(out.shape)
        for axis, extent in zip(out_spec[2:], extents, strict=True):
            shape[axis] = extent
        if any(phase.count == 0 for phase in phases):
            parts[numbers] = full_like(out.with_shape(tuple(shape)), 0)
            continue
        given = {
            **params,
            "padding": tuple(phase.padding for phase in phases),
            "lhs_dilation": (1,) * len(steps),
        }
        parts[numbers] = conv(lhs, _every(rhs, rhs_spec[2:], phases, steps), given)
    for place, axis in enumerate(out_spec[2:]):
        parts = _interleaved(parts, place, axis, steps[place], out.shape[axis])
    return parts[(0,) * len(steps)]


def _every(x: Any, axes: Any, phases: list[_Phase], steps: Any) -> Any:
    """Every ``step``-th element of ``axes``."""
    start, strides = [0] * x.type.ndim, [1] * x.type.ndim
    for axis, phase, step in zip(axes, phases, steps, strict=True):
        start[axis], strides[axis] = phase.first, step
    return layout.slice_(x, start=tuple(start), limit=x.type.shape, strides=tuple(strides))


def _interleaved(
    parts: dict[tuple[int, ...], Any], place: int, axis: int, step: int, extent: int
) -> dict[tuple[int, ...], Any]:
    """Parts that differ in entry ``place`` of their number, as one with all of their elements."""
    if step == 1:
        return parts
    found: dict[tuple[int, ...], Any] = {}
    for numbers in parts:
        if numbers[place]:
            continue
        rows = [parts[(*numbers[:place], n, *numbers[place + 1 :])] for n in range(step)]
        shape = rows[0].type.shape
        apart = (*shape[: axis + 1], 1, *shape[axis + 1 :])
        whole = (*shape[:axis], shape[axis] * step, *shape[axis + 1 :])
        x = layout.concatenate(
            *(layout.reshape(row, new_sizes=apart) for row in rows), dimension=axis + 1
        )
        x = layout.reshape(x, new_sizes=whole)
        limit = (*whole[:axis], extent, *whole[axis + 1 :])
        if limit != whole:
            x = layout.slice_(x, start=(0,) * len(whole), limit=limit, strides=(1,) * len(whole))
        found[numbers] = x
    return found
