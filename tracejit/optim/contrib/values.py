"""Optimisers that look at the value of the loss: ``update(g, state, params, value=loss)``.

    optimizer = momo()                                 step sizes from values
    optimizer = chain(adam(1e-3), reduce_on_plateau(patience=5))

>>> from tracejit import optim
>>> step = optim.contrib.reduce_on_plateau(factor=0.5, patience=2)
>>> state = step.init(jnp.ones(()))
>>> for value in (1.0, 1.0, 1.0):
...     g, state = step.update(jnp.ones(()), state, value=value)
>>> g
Array(0.5, dtype=float32)

Names, arguments, formulas and states are those of ``optax.contrib``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.frontend import creation
from tracejit.frontend import elementwise as ew
from tracejit.frontend.promotion import convert
from tracejit.numpy import finfo
from tracejit.optim import tree
from tracejit.optim.base import (
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    mapped,
    narrow,
    need_params,
    safe_increment,
    wide_transformation,
    zero_count,
    zeros_like,
)
from tracejit.optim.contrib.parts import arrays, decayed, lowest, number, scalar
from tracejit.source import here

# ---- MoMo ----------------------------------------------------------------------------------------


class MomoState(NamedTuple):
    """Averages of gradients, of values ``barf`` and of <gradient, parameters> ``gamma``; the lower
    bound of the loss ``lb``.
    """

    exp_avg: Any
    barf: Any
    gamma: Any
    lb: Any
    count: Any


class MomoAdamState(NamedTuple):
    """As of ``momo``, and the average of squares."""

    exp_avg: Any
    exp_avg_sq: Any
    barf: Any
    gamma: Any
    lb: Any
    count: Any


def _need_value(name: str, value: Any) -> None:
    if value is None:
        raise ArgumentError(f"{name}: update needs value=, the loss", at=here())


class _Model(NamedTuple):
    """The model of the loss: its value at the average ``b - gamma + inner`` in units of ``weight``,
    the squared norm of the average gradient, and the decay of parameters ``shrink``.
    """

    value: Any
    gamma: Any
    inner: Any
    norm: Any
    shrink: Any
    weight: Any

    def bound(self, lower: Any, floor: Any) -> Any:
        """A lower bound that the model is not below of."""
        cap = self.shrink * (self.value - self.gamma) + self.inner
        guess = ew.maximum(cap / (2 * self.weight * self.shrink), floor)
        return ew.select(cap < self.shrink * self.weight * lower, guess, lower)

    def step(self, lower: Any, rate: Any) -> Any:
        """How far the model goes down to the lower bound, at most ``rate``."""
        gap = self.shrink * (self.value - self.weight * lower - self.gamma) + self.inner
        tiny = ew.less_equal(self.norm, finfo(self.norm.dtype).eps)
        far = ew.maximum(gap, 0.0) / ew.select(tiny, 1, self.norm)
        return ew.minimum(rate / self.weight, ew.select(tiny, 0.0, far))

    def next_bound(self, step: Any, floor: Any) -> Any:
        found = self.value + self.inner - self.gamma - 0.5 * step * self.norm
        return ew.maximum(found / self.weight, floor)


def momo(
    learning_rate: ScalarOrSchedule = 1.0,
    beta: Any = 0.9,
    lower_bound: Any = 0.0,
    weight_decay: Any = 0.0,
    adapt_lower_bound: bool = False,
) -> GradientTransformationExtraArgs:
    """Momentum with step sizes from a model of the loss, which is above ``lower_bound``: MoMo
    (Schaipp et al., 2023). ``update`` takes ``value``.

    ``adapt_lower_bound`` estimates the bound, beginning with ``lower_bound``.
    """

    def init(params: Any) -> Any:
        dtype = lowest(params)
        zero = scalar(0.0, dtype)
        return MomoState(zeros_like(params), zero, zero, scalar(lower_bound, dtype), zero_count())

    def update(updates: Any, state: Any, params: Any, *, value: Any, **extra_args: Any) -> Any:
        need_params("momo", params)
        _need_value("momo", value)
        g, p = arrays(updates), arrays(params)
        kept = ew.select(ew.equal(state.count, 0), 0.0, scalar(beta, state.barf.dtype))
        barf = kept * state.barf + (1 - kept) * scalar(value, state.barf.dtype)
        m = mapped(lambda m, g: narrow(kept, g) * m + (1 - narrow(kept, g)) * g, state.exp_avg, g)
        gamma = kept * state.gamma + (1 - kept) * narrow(tree.vdot(g, p), kept)
        rate = number(learning_rate, state.count, barf)
        norm = narrow(tree.norm(m, squared=True), barf)
        inner = narrow(tree.vdot(m, p), barf)
        model = _Model(barf, gamma, inner, norm, 1 + rate * weight_decay, 1)
        lower = model.bound(state.lb, lower_bound) if adapt_lower_bound else state.lb
        step = model.step(lower, rate)
        decay = rate * weight_decay / model.shrink
        found = mapped(lambda m, p: -narrow(decay, p) * p - narrow(step, m) * m, m, p)
        bound = model.next_bound(step, lower_bound) if adapt_lower_bound else state.lb
        return found, MomoState(m, barf, gamma, bound, safe_increment(state.count))

    return wide_transformation(init, update)


def momo_adam(
    learning_rate: ScalarOrSchedule = 1e-2,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    lower_bound: Any = 0.0,
    weight_decay: Any = 0.0,
    adapt_lower_bound: bool = False,
) -> GradientTransformationExtraArgs:
    """Adam with step sizes from a model of the loss: MoMo-Adam (Schaipp et al., 2023). ``update``
    takes ``value``.
    """

    def init(params: Any) -> Any:
        dtype, zeros = lowest(params), zeros_like(params)
        zero, bound = scalar(0.0, dtype), scalar(lower_bound, dtype)
        return MomoAdamState(zeros, zeros, zero, zero, bound, zero_count())

    def update(updates: Any, state: Any, params: Any, *, value: Any, **extra_args: Any) -> Any:
        need_params("momo_adam", params)
        _need_value("momo_adam", value)
        g, p = arrays(updates), arrays(params)
        count = safe_increment(state.count)
        barf = b1 * state.barf + (1 - b1) * scalar(value, state.barf.dtype)
        m = mapped(lambda m, g: b1 * m + (1 - b1) * g, state.exp_avg, g)
        q = mapped(lambda q, g: b2 * q + (1 - b2) * g * g, state.exp_avg_sq, g)
        seen1, seen2 = (1 - decayed(b, count, barf) for b in (b1, b2))
        size = mapped(lambda q: eps + ew.sqrt(q / narrow(seen2, q)), q)
        norm = narrow(tree.vdot(m, tree.div(m, size)), barf)
        gamma = b1 * state.gamma + (1 - b1) * narrow(tree.vdot(g, p), barf)
        inner = narrow(tree.vdot(m, p), barf)
        rate = number(learning_rate, state.count, barf)
        model = _Model(barf, gamma, inner, norm, 1 + rate * weight_decay, seen1)
        lower = model.bound(state.lb, lower_bound) if adapt_lower_bound else state.lb
        step = model.step(lower, rate)
        decay = rate * weight_decay / model.shrink
        found = mapped(lambda m, s, p: -narrow(decay, p) * p - narrow(step, m) * m / s, m, size, p)
        bound = model.next_bound(step, lower_bound) if adapt_lower_bound else state.lb
        return found, MomoAdamState(m, q, barf, gamma, bound, count)

    return wide_transformation(init, update)


# ---- plateaus ------------------------------------------------------------------------------------


class ReduceLROnPlateauState(NamedTuple):
    """``scale`` of updates; the ``best_value``; steps without a better one; steps until counting
    begins again; values averaged so far, and their average.
    """

    scale: Any
    best_value: Any
    plateau_count: Any
    cooldown_count: Any
    count: Any
    avg_value: Any


def _check_plateau(factor: Any, rtol: Any, atol: Any) -> None:
    if not 0.0 < factor < 1.0:
        raise ArgumentError(
            f"reduce_on_plateau: factor is between 0 and 1, not {factor}", at=here()
        )
    if rtol < 0.0 or atol < 0.0 or rtol > 1.0 or rtol == atol == 0.0:
        raise ArgumentError(
            f"reduce_on_plateau: tolerances are not negative, one is positive and rtol at most 1; "
            f"not rtol={rtol}, atol={atol}",
            at=here(),
        )


def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    accumulation_size: int = 1,
    min_scale: float = 0.0,
) -> GradientTransformationExtraArgs:
    """Scales updates by ``factor`` once more each time that ``patience`` values in a row were not
    better than the best one by ``rtol`` of it and ``atol``. Comes last; ``update`` takes ``value``.

    ``accumulation_size``: values to be averaged before they count; ``cooldown``: values that do not
    count after a reduction; ``min_scale``: where reductions end.
    """
    _check_plateau(factor, rtol, atol)

    def init(params: Any) -> Any:
        high = tree.dtype(params, "highest")
        zero = zero_count()
        return ReduceLROnPlateauState(
            scalar(1.0, lowest(params)), scalar(np.inf, high), zero, zero, zero, scalar(0.0, high)
        )

    def judged(state: Any) -> Any:
        """The state after as many values as are averaged."""
        value, best = state.avg_value, state.best_value
        better = value < (1 - rtol) * best - atol
        waited = ew.select(better, 0, safe_increment(state.plateau_count))
        cooling = state.cooldown_count > 0
        reduce = ew.logical_and(ew.equal(waited, patience), ew.logical_not(cooling))
        lower = ew.maximum(ew.select(reduce, state.scale * factor, state.scale), min_scale)
        calm = ew.select(reduce, cooldown, 0)
        return ReduceLROnPlateauState(
            ew.select(cooling, state.scale, lower),
            ew.select(better, value, best),
            ew.select(ew.logical_or(cooling, reduce), 0, waited),
            ew.select(cooling, state.cooldown_count - 1, calm),
            zero_count(),
            creation.zeros_like(value),
        )

    def update(
        updates: Any, state: Any, params: Any = None, *, value: Any, **extra_args: Any
    ) -> Any:
        count = safe_increment(state.count)
        dtype = state.avg_value.dtype
        seen, given = convert(state.count, dtype), scalar(value, dtype)
        mean = (seen * state.avg_value + given) / convert(count, dtype)
        state = state._replace(avg_value=mean, count=count)
        full = ew.equal(count, accumulation_size)
        state = tree.cast_like(tree.where(full, judged(state), state), state)
        return tree.scale(state.scale, updates), state

    return wide_transformation(init, update)
