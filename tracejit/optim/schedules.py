"""Learning rates that change: functions of the number of updates so far.

    rate = warmup_cosine_decay_schedule(0.0, 1e-3, warmup_steps=100, decay_steps=10_000)
    rate(100)                     0.001
    step = adam(rate)

A schedule takes a Python integer or an integer array. It computes in float64 and its result is
weak: like a Python float, it takes the precision of what it meets. Names, argument order and
formulas are those of optax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tracejit.errors import ArgumentError
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array
from tracejit.frontend.promotion import typed
from tracejit.ir.types import DTYPES
from tracejit.optim.wrappers import InjectHyperparamsState as InjectHyperparamsState
from tracejit.optim.wrappers import InjectStatefulHyperparamsState as InjectStatefulHyperparamsState
from tracejit.optim.wrappers import StatefulSchedule as StatefulSchedule
from tracejit.optim.wrappers import WrappedSchedule as WrappedSchedule
from tracejit.optim.wrappers import inject_hyperparams as inject_hyperparams
from tracejit.optim.wrappers import inject_stateful_hyperparams as inject_stateful_hyperparams
from tracejit.source import here

Schedule = Callable[[Any], Any]
F64 = DTYPES["f64"]


def _number(x: Any) -> Array:
    """A count, or a value of a schedule, in float64."""
    return typed(x, F64)  # type: ignore[no-any-return]


def _schedule(value_at: Callable[[Array], Any]) -> Schedule:
    """A schedule from a function of the count in float64; its result is weak: it widens nothing."""

    def schedule(count: Any) -> Any:
        return typed(value_at(_number(count)), F64, weak=True)

    return schedule


def _power(base: Any, exponent: Any) -> Any:
    return ew.power(_number(base), _number(exponent))


def constant_schedule(value: Any) -> Schedule:
    """Always ``value``."""
    return lambda count: value


def polynomial_schedule(
    init_value: Any,
    end_value: Any,
    power: Any,
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    """From ``init_value`` to ``end_value`` along (1 - t / transition_steps)**power, where t counts
    from ``transition_begin``.

    Constant at ``init_value`` where ``transition_steps`` is not positive.

    >>> from tracejit import optim
    >>> float(optim.polynomial_schedule(1.0, 0.0, 2, 10)(5))
    0.25
    """
    if transition_steps <= 0:
        return constant_schedule(init_value)
    begin = max(transition_begin, 0)

    def value_at(count: Array) -> Any:
        steps = ew.clip(ew.subtract(count, begin), 0, transition_steps)
        rest = ew.subtract(1, ew.divide(steps, transition_steps))
        rest = rest if power == 1 else _power(rest, power)
        return ew.add(ew.multiply(init_value - end_value, rest), end_value)

    return _schedule(value_at)


def linear_schedule(
    init_value: Any, end_value: Any, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """A straight line from ``init_value`` to ``end_value``.

    >>> from tracejit import optim
    >>> rate = optim.linear_schedule(0.0, 1.0, 4)
    >>> [float(rate(k)) for k in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def piecewise_constant_schedule(
    init_value: Any, boundaries_and_scales: dict[int, float] | None = None
) -> Schedule:
    """``init_value``, multiplied by a scale at each boundary that the count has reached.

    Raises ArgumentError for a negative scale.

    >>> from tracejit import optim
    >>> rate = optim.piecewise_constant_schedule(1.0, {2: 0.5, 4: 0.5})
    >>> [float(rate(k)) for k in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    scales = _sorted_scales("piecewise_constant_schedule", boundaries_and_scales)

    def value_at(count: Array) -> Any:
        value = _number(init_value)
        for boundary, scale in scales:
            before = ew.less(count, boundary)
            value = ew.multiply(value, ew.select(before, _number(1.0), _number(scale)))
        return value

    return _schedule(value_at)


def _sorted_scales(name: str, given: dict[int, float] | None) -> list[tuple[int, float]]:
    if any(scale < 0 for scale in (given or {}).values()):
        raise ArgumentError(f"{name}: scales are not negative: {given}", at=here())
    return sorted((given or {}).items())


def exponential_decay(
    init_value: Any,
    transition_steps: int,
    decay_rate: Any,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Any = None,
) -> Schedule:
    """init_value * decay_rate**(t / transition_steps), t counted from ``transition_begin``.

    ``staircase`` takes the floor of the quotient; the value does not pass ``end_value``. Constant
    where ``transition_steps`` is not positive or ``decay_rate`` is 0.

    >>> from tracejit import optim
    >>> float(optim.exponential_decay(1.0, 10, 0.5)(20))
    0.25
    """
    if transition_steps <= 0 or decay_rate == 0:
        return constant_schedule(init_value)
    begin = max(transition_begin, 0)

    def value_at(count: Array) -> Any:
        steps = ew.subtract(count, begin)
        exponent = ew.divide(steps, transition_steps)
        if staircase:
            exponent = ew.floor(exponent)
        decayed = ew.multiply(init_value, _power(decay_rate, exponent))
        value = ew.select(ew.less_equal(steps, 0), _number(init_value), decayed)
        if end_value is None:
            return value
        return (ew.maximum if decay_rate < 1 else ew.minimum)(value, end_value)

    return _schedule(value_at)


def cosine_decay_schedule(
    init_value: Any, decay_steps: int, alpha: Any = 0.0, exponent: Any = 1.0
) -> Schedule:
    """From ``init_value`` to alpha * init_value along half a cosine (Loshchilov and Hutter, 2017).

    init_value * ((1 - alpha) * (0.5 (1 + cos(pi t / decay_steps)))**exponent + alpha). Raises
    ArgumentError where ``decay_steps`` is not positive.

    >>> from tracejit import optim
    >>> float(optim.cosine_decay_schedule(1.0, 10, alpha=0.1)(10))
    0.1
    """
    if not decay_steps > 0:
        raise ArgumentError(
            f"cosine_decay_schedule: decay_steps is positive, not {decay_steps}", at=here()
        )

    def value_at(count: Array) -> Any:
        steps = ew.minimum(count, decay_steps)
        angle = ew.multiply(ew.divide(steps, decay_steps), math.pi)
        bell = ew.multiply(0.5, ew.add(1, ew.cos(angle)))
        bell = bell if exponent == 1 else _power(bell, exponent)
        return ew.multiply(init_value, ew.add(ew.multiply(1 - alpha, bell), alpha))

    return _schedule(value_at)


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after the other: each counts from its own boundary.

    Raises ArgumentError unless there is one boundary less than schedules.

    >>> from tracejit import optim
    >>> rate = optim.join_schedules([lambda t: 1.0, lambda t: 0.5], [3])
    >>> float(rate(2)), float(rate(3))
    (1.0, 0.5)
    """
    if len(boundaries) != len(schedules) - 1:
        raise ArgumentError(
            f"join_schedules: {len(schedules)} schedules meet at {len(schedules) - 1} boundaries, "
            f"not at {len(boundaries)}",
            at=here(),
        )

    def value_at(step: Array) -> Any:
        value = schedules[0](step)
        for boundary, later in zip(boundaries, schedules[1:], strict=True):
            before = ew.less(step, boundary)
            value = ew.select(before, _number(value), _number(later(ew.subtract(step, boundary))))
        return value

    return _schedule(value_at)


def warmup_constant_schedule(init_value: Any, peak_value: Any, warmup_steps: int) -> Schedule:
    """A straight line to ``peak_value``, which stays."""
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: Any,
    peak_value: Any,
    warmup_steps: int,
    decay_steps: int,
    end_value: Any = 0.0,
    exponent: Any = 1.0,
) -> Schedule:
    """A straight line to ``peak_value``, then a cosine to ``end_value`` at ``decay_steps``, counted
    from the start.

    >>> from tracejit import optim
    >>> rate = optim.warmup_cosine_decay_schedule(0.0, 1.0, 10, 110)
    >>> [round(float(rate(k)), 3) for k in (5, 10, 60, 110)]
    [0.5, 1.0, 0.5, 0.0]
    """
    alpha = 0.0 if peak_value == 0.0 else end_value / peak_value
    rest = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)
    return join_schedules(
        [linear_schedule(init_value, peak_value, warmup_steps), rest], [warmup_steps]
    )


def warmup_exponential_decay_schedule(
    init_value: Any,
    peak_value: Any,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: Any,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Any = None,
) -> Schedule:
    """A straight line to ``peak_value``, then ``exponential_decay`` from there."""
    rest = exponential_decay(
        peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value
    )
    return join_schedules(
        [linear_schedule(init_value, peak_value, warmup_steps), rest], [warmup_steps]
    )


def sgdr_schedule(cosine_kwargs: Iterable[dict[str, Any]]) -> Schedule:
    """Warm restarts: one ``warmup_cosine_decay_schedule`` after the other (Loshchilov and Hutter,
    2017).
    """
    parts, boundaries, steps = [], [], 0
    for kwargs in cosine_kwargs:
        parts.append(warmup_cosine_decay_schedule(**kwargs))
        steps += kwargs["decay_steps"]
        boundaries.append(steps)
    return join_schedules(parts, boundaries[:-1])


# ---- pieces that are interpolated ----------------------------------------------------------------


def _line(start: Any, end: Any, part: Any) -> Any:
    return ew.add(ew.multiply(end - start, part), start)


def _cosine(start: Any, end: Any, part: Any) -> Any:
    wave = ew.add(ew.cos(ew.multiply(math.pi, part)), 1)
    return ew.add(end, ew.multiply((start - end) / 2.0, wave))


def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: Any, boundaries_and_scales: dict[int, float] | None = None
) -> Schedule:
    """From each boundary's value to the next along a "linear" or "cosine" curve; at a boundary the
    value is the last one times its scale.
    """
    curves = {"linear": _line, "cosine": _cosine}
    if interpolate_type not in curves:
        raise ArgumentError(
            "piecewise_interpolate_schedule: interpolate_type is 'linear' or 'cosine', not "
            f"{interpolate_type!r}",
            at=here(),
        )
    curve = curves[interpolate_type]
    scales = _sorted_scales("piecewise_interpolate_schedule", boundaries_and_scales)

    def value_at(count: Array) -> Any:
        place, start, begin = count, init_value, 0
        value = _number(0.0)
        for boundary, scale in scales:
            end = start * scale
            part = ew.divide(ew.subtract(place, begin), max(boundary - begin, 1))
            inside = ew.logical_and(ew.less_equal(begin, place), ew.less(place, boundary))
            value = ew.select(inside, curve(start, end, part), value)
            start, begin = end, boundary
        return ew.select(ew.less_equal(begin, place), _number(start), value)

    return _schedule(value_at)


def _check_steps(name: str, transition_steps: int) -> None:
    if transition_steps <= 0:
        raise ArgumentError(
            f"{name}: transition_steps is positive, not {transition_steps}", at=here()
        )


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: Any,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Up to ``peak_value`` at ``pct_start``, down again at ``pct_final``, then to a tiny rate
    (Smith and Topin, 2019).

    >>> from tracejit import optim
    >>> rate = optim.linear_onecycle_schedule(100, 1.0)
    >>> round(float(rate(0)), 3), round(float(rate(30)), 3)
    (0.04, 1.0)
    """
    _check_steps("linear_onecycle_schedule", transition_steps)
    pieces = {
        int(pct_start * transition_steps): div_factor,
        int(pct_final * transition_steps): 1.0 / div_factor,
        transition_steps: 1.0 / final_div_factor,
    }
    return piecewise_interpolate_schedule("linear", peak_value / div_factor, pieces)


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: Any,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Up to ``peak_value`` at ``pct_start`` and down to a tiny rate, along cosines (Smith and
    Topin, 2019).
    """
    _check_steps("cosine_onecycle_schedule", transition_steps)
    pieces = {
        int(pct_start * transition_steps): div_factor,
        int(transition_steps): 1.0 / (div_factor * final_div_factor),
    }
    return piecewise_interpolate_schedule("cosine", peak_value / div_factor, pieces)
