"""Transformations around others: gradients gathered over several steps, steps skipped, numbers that
can be changed while training.

    optim.MultiSteps(adam(1e-3), every_k_schedule=4)         one update from four gradients
    optim.apply_if_finite(adam(1e-3), max_consecutive_errors=5)
    optim.inject_hyperparams(adam)(learning_rate=1e-3)       state.hyperparams["learning_rate"]

Whether an update happens is decided by data: both outcomes are computed and one is chosen, which
keeps the step one program that fuses.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, user_methods
from tracejit.frontend import creation, promotion, reductions
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.ir.types import DTYPES, kind
from tracejit.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    mapped,
    narrow,
    safe_increment,
    wide_transformation,
    with_extra_args_support,
    zero_count,
    zeros_like,
)
from tracejit.source import here
from tracejit.tree_util import tree_leaves, tree_map


def _chosen(flag: Any, new: Any, old: Any) -> Any:
    """``new`` where the flag is true, in the dtypes of ``old``."""

    def one(a: Any, b: Any) -> Any:
        b = as_array(b)
        return promotion.convert(ew.select(flag, a, b), b.dtype)

    return tree_map(one, new, old)


# ---- updates that are not finite -----------------------------------------------------------------


class ApplyIfFiniteState(NamedTuple):
    """``notfinite_count``: bad updates in a row; ``last_finite``; ``total_notfinite``: all of them;
    ``inner_state``.
    """

    notfinite_count: Any
    last_finite: Any
    total_notfinite: Any
    inner_state: Any


def _all_finite(tree: Any) -> Array:
    found: Any = as_array(True)
    for leaf in tree_leaves(tree):
        found = ew.logical_and(found, reductions.all(ew.isfinite(leaf)))
    return found  # type: ignore[no-any-return]


def apply_if_finite(inner: Any, max_consecutive_errors: int) -> GradientTransformationExtraArgs:
    """``inner``, with zeros in place of updates that hold nan or infinity; after
    ``max_consecutive_errors`` of them in a row they are let through.

    >>> from tracejit import optim
    >>> step = optim.apply_if_finite(optim.sgd(1.0), 2)
    >>> g, state = step.update(jnp.array([jnp.nan]), step.init(jnp.zeros(1)))
    >>> g, int(state.notfinite_count)
    (Array([0.], dtype=float32), 1)
    """
    inner = with_extra_args_support(inner)

    def init(params: Any) -> Any:
        return ApplyIfFiniteState(zero_count(), as_array(True), zero_count(), inner.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        finite = _all_finite(updates)
        count = ew.select(finite, 0, safe_increment(state.notfinite_count))
        go = ew.logical_or(finite, ew.greater(count, max_consecutive_errors))
        new, inner_state = inner.update(updates, state.inner_state, params, **extra)
        total = safe_increment(state.total_notfinite)
        return mapped(lambda u: ew.select(go, u, 0), new), ApplyIfFiniteState(
            count,
            finite,
            ew.select(finite, state.total_notfinite, total),
            _chosen(go, inner_state, state.inner_state),
        )

    return wide_transformation(init, update)


# ---- several gradients for one update ------------------------------------------------------------


class MultiStepsState(NamedTuple):
    """``mini_step``: gradients gathered; ``gradient_step``: updates made; ``acc_grads``: what is
    gathered; ``skip_state``: what the function that skips had to say.
    """

    mini_step: Any
    gradient_step: Any
    inner_opt_state: Any
    acc_grads: Any
    skip_state: Any = ()


def _never(updates: Any, gradient_step: Any, params: Any) -> Any:
    return as_array(False), ()


def skip_not_finite(updates: Any, gradient_step: Any, params: Any) -> Any:
    """For ``MultiSteps(should_skip_update_fn=)``: skips gradients with nan or infinity."""
    bad: Any = as_array(np.int32(0))
    for leaf in tree_leaves(updates):
        some = ew.logical_not(ew.isfinite(leaf))
        bad = ew.add(bad, promotion.convert(reductions.sum(some), bad.dtype))
    skip = ew.greater(bad, 0)
    return skip, {"should_skip": skip, "num_not_finite": bad}


@user_methods()
class MultiSteps:
    """Gathers gradients over ``every_k_schedule`` steps (a number, or a function of the number of
    updates) and then makes one update; in between updates are zero.

    ``use_grad_mean``: their mean, else their sum. ``should_skip_update_fn(updates, step, params)``
    gives a flag, and a tree that tells why, for gradients to be left out. ``accumulator_dtype``:
    what is gathered in.

    >>> from tracejit import optim
    >>> step = optim.MultiSteps(optim.sgd(1.0), 2)
    >>> state = step.init(jnp.zeros(()))
    >>> for g in (1.0, 3.0):
    ...     update, state = step.update(jnp.array(g), state)
    ...     print(float(update))
    0.0
    -2.0
    """

    def __init__(
        self,
        opt: Any,
        every_k_schedule: int | Callable[[Any], Any],
        use_grad_mean: bool = True,
        should_skip_update_fn: Callable[..., Any] | None = None,
        accumulator_dtype: Any = np.float32,
    ) -> None:
        self._inner = with_extra_args_support(opt)
        self._every = every_k_schedule
        self._mean = use_grad_mean
        self._skip = should_skip_update_fn or _never
        self._dtype = promotion.canonical(accumulator_dtype)

    @property
    def inner_opt(self) -> GradientTransformationExtraArgs:
        """The transformation that makes the updates."""
        return self._inner

    def init(self, params: Any) -> MultiStepsState:
        """The state for ``params``."""
        steps = zero_count()
        _, skip_state = self._skip(zeros_like(params), steps, params)
        gathered = zeros_like(params, self._dtype)
        return MultiStepsState(steps, steps, self._inner.init(params), gathered, skip_state)

    def _gathered(self, updates: Any, state: MultiStepsState) -> Any:
        def add(g: Any, sum_: Any) -> Any:
            sum_ = as_array(sum_)
            if not self._mean:
                return promotion.convert(ew.add(g, sum_), sum_.dtype)
            seen = narrow(ew.add(state.mini_step, 1), sum_)
            step = ew.divide(ew.subtract(g, sum_), seen)
            return promotion.convert(ew.add(sum_, step), sum_.dtype)

        return mapped(add, updates, state.acc_grads)

    def update(
        self, updates: Any, state: MultiStepsState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, MultiStepsState]:
        """The update, zeros until enough gradients are there, and the next state."""
        every = self._every(state.gradient_step) if callable(self._every) else self._every
        skip, skip_state = self._skip(updates, state.gradient_step, params)
        skip = as_array(skip)
        if skip.dtype != np.bool_ or skip.shape:
            raise DTypeError(
                f"MultiSteps: should_skip_update_fn returns {skip.type}, not one bool", at=here()
            )
        gathered = self._gathered(updates, state)
        like = mapped(lambda a, u: promotion.convert(a, as_array(u).dtype), gathered, updates)
        found, inner = self._inner.update(like, state.inner_opt_state, params, **extra_args)
        last = ew.equal(state.mini_step, ew.subtract(every, 1))
        keep = ew.logical_not(skip)
        emit = ew.logical_and(last, keep)
        empty = tree_map(lambda a: creation.zeros_like(a), gathered)
        count = ew.remainder(safe_increment(state.mini_step), every)
        return mapped(lambda u: ew.select(emit, u, 0), found), MultiStepsState(
            _chosen(keep, count, state.mini_step),
            ew.select(emit, safe_increment(state.gradient_step), state.gradient_step),
            _chosen(emit, inner, state.inner_opt_state),
            _chosen(keep, _chosen(last, empty, gathered), state.acc_grads),
            skip_state,
        )

    def has_updated(self, state: MultiStepsState) -> Array:
        """Whether the last step made an update."""
        some = ew.greater(state.gradient_step, 0)
        return ew.logical_and(ew.equal(state.mini_step, 0), some)  # type: ignore[no-any-return]

    def gradient_transformation(self) -> GradientTransformation:
        """The pair of functions."""
        return GradientTransformation(self.init, self.update)


# ---- numbers in the state ------------------------------------------------------------------------


class InjectStatefulHyperparamsState(NamedTuple):
    """``hyperparams``: numbers by name, which may be replaced between steps;
    ``hyperparams_states``: the counts of those that are schedules.
    """

    count: Any
    hyperparams: Any
    hyperparams_states: Any
    inner_state: Any


InjectHyperparamsState = InjectStatefulHyperparamsState


class WrappedScheduleState(NamedTuple):
    """``count``: updates so far."""

    count: Any


class StatefulSchedule(Protocol):
    """A schedule with a state of its own, which may look at the extra arguments of ``update``."""

    def init(self) -> Any: ...

    def update(self, state: Any, **extra_args: Any) -> Any: ...

    def __call__(self, state: Any, **extra_args: Any) -> Any: ...


@user_methods()
class WrappedSchedule:
    """A schedule as a StatefulSchedule, whose state is the count of updates."""

    def __init__(self, schedule_fn: Callable[[Any], Any]) -> None:
        self.schedule_fn = schedule_fn

    def init(self) -> WrappedScheduleState:
        """The state before the first update."""
        return WrappedScheduleState(zero_count())

    def update(self, state: Any, **extra_args: Any) -> WrappedScheduleState:
        """The state after one more."""
        return WrappedScheduleState(safe_increment(state.count))

    def __call__(self, state: Any, **extra_args: Any) -> Any:
        return self.schedule_fn(state.count)


def _stateful(value: Any) -> Any:
    """A schedule of either kind as one with a state."""
    own = all(callable(getattr(value, name, None)) for name in ("init", "update"))
    return value if own else WrappedSchedule(value)


def _widest(params: Any) -> Any:
    dtypes = [as_array(p).dtype for p in tree_leaves(params)]
    real = [d for d in dtypes if kind(d) == "f"]
    return functools.reduce(promotion.promote_types, real) if real else DTYPES["f32"]


def _float_of(value: Any, dtype: Any) -> Array:
    """Weak floats in ``dtype``; what has a dtype of its own keeps it."""
    array = as_array(value)
    if kind(array.dtype) == "f" and array._weak:
        return promotion.typed(value, dtype)  # type: ignore[no-any-return]
    return array


def _is_number(value: Any) -> bool:
    kinds = (int, float, np.ndarray, np.generic, Array)
    return isinstance(value, kinds) and not isinstance(value, bool)


def inject_hyperparams(
    inner_factory: Callable[..., Any],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: Any = None,
) -> Callable[..., GradientTransformationExtraArgs]:
    """``inner_factory`` with its numbers kept in the state, under ``hyperparams``: they can be read
    and replaced between steps without compiling again.

    Numbers, arrays and schedules count, except those named in ``static_args``; they get
    ``hyperparam_dtype``, by default the widest dtype of the parameters.

    >>> from tracejit import optim
    >>> step = optim.inject_hyperparams(optim.sgd)(learning_rate=0.5)
    >>> state = step.init(jnp.zeros(1))
    >>> state.hyperparams["learning_rate"] = jnp.array(0.25)
    >>> step.update(jnp.ones(1), state)[0]
    Array([-0.25], dtype=float32)
    """
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    signature = inspect.signature(inner_factory)
    unknown = static - set(signature.parameters)
    if unknown:
        raise ArgumentError(
            f"inject_hyperparams: {sorted(unknown)} are no arguments of the optimiser", at=here()
        )
    fixed_dtype = None if hyperparam_dtype is None else promotion.canonical(hyperparam_dtype)

    @functools.wraps(inner_factory)
    def made(*args: Any, **kwargs: Any) -> GradientTransformationExtraArgs:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        free = {n: v for n, v in given.items() if n not in static}
        schedules = {n: _stateful(v) for n, v in free.items() if callable(v)}
        numbers = {n: v for n, v in free.items() if n not in schedules and _is_number(v)}
        rest = {n: v for n, v in given.items() if n not in schedules and n not in numbers}
        return _injected(inner_factory, schedules, numbers, rest, fixed_dtype)

    return made


def _injected(
    factory: Callable[..., Any],
    schedules: dict[str, Any],
    numbers: dict[str, Any],
    rest: dict[str, Any],
    fixed_dtype: Any,
) -> GradientTransformationExtraArgs:
    def scheduled(states: Any, dtype: Any, **extra: Any) -> dict[str, Any]:
        return {n: _float_of(f(states[n], **extra), dtype) for n, f in schedules.items()}

    def init(params: Any) -> Any:
        dtype = fixed_dtype or _widest(params)
        found = {name: _float_of(value, dtype) for name, value in numbers.items()}
        states = {name: schedule.init() for name, schedule in schedules.items()}
        found.update(scheduled(states, dtype))
        inner = factory(**rest, **found).init(params)
        return InjectStatefulHyperparamsState(zero_count(), found, states, inner)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        dtype = fixed_dtype or _widest(updates if params is None else params)
        found = {n: _float_of(v, dtype) for n, v in state.hyperparams.items()}
        found.update(scheduled(state.hyperparams_states, dtype, **extra))
        states = {
            name: schedules[name].update(one, **extra)
            for name, one in state.hyperparams_states.items()
        }
        inner = with_extra_args_support(factory(**rest, **found))
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra)
        count = safe_increment(state.count)
        return updates, InjectStatefulHyperparamsState(count, found, states, inner_state)

    return wide_transformation(init, update)


def inject_stateful_hyperparams(
    inner_factory: Callable[..., Any],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: Any = None,
) -> Callable[..., GradientTransformationExtraArgs]:
    """The older name of ``inject_hyperparams``."""
    return inject_hyperparams(inner_factory, static_args, hyperparam_dtype)
