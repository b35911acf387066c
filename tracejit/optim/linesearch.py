"""Line searches: how far to go along an update, found by evaluating the objective.

    optimizer = chain(sgd(1.0), scale_by_backtracking_linesearch(max_backtracking_steps=15))
    updates, state = optimizer.update(g, state, w, value=value, grad=g, value_fn=loss)

``update`` takes the objective ``value_fn`` with its ``value`` and ``grad`` at the parameters, and
whatever else ``value_fn`` takes by name. The search is a ``while_loop``: it can be compiled, and
each step of it evaluates the objective once. Sources: Armijo (1966); Nocedal and Wright, "Numerical
optimization" (1999), algorithms 3.5 and 3.6; Hager and Zhang, "CG_DESCENT" (2006), for the
condition that holds where differences of values are lost in rounding.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from tracejit import debug
from tracejit.errors import ArgumentError
from tracejit.frontend import creation
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.derivatives import linearize, value_and_grad
from tracejit.frontend.promotion import convert, is_python, typed
from tracejit.frontend.transposes import linear_transpose
from tracejit.ir.types import DTYPES
from tracejit.lax import cond, while_loop
from tracejit.optim import tree
from tracejit.optim.base import GradientTransformationExtraArgs, wide_transformation
from tracejit.optim.tree import cast_like, where
from tracejit.source import here
from tracejit.tree_util import tree_leaves

BACKTRACKING, ZOOM = "scale_by_backtracking_linesearch", "scale_by_zoom_linesearch"


def _scalar(value: Any, like: Any) -> Array:
    """A number in the real dtype of the parameters ``like``."""
    leaves = tree_leaves(like)
    dtype = ew.real(as_array(leaves[0])).dtype if leaves else DTYPES["f32"]
    return typed(value, dtype) if is_python(value) else convert(as_array(value), dtype)  # type: ignore[no-any-return]


def _arguments(name: str, value_fn: Callable[..., Any], extra: dict[str, Any]) -> Any:
    """``value_fn`` with the extra arguments that it takes; ArgumentError for others."""
    known = inspect.signature(value_fn).parameters
    unknown = sorted(set(extra) - set(known))
    if unknown:
        raise ArgumentError(
            f"{name}: value_fn takes no argument {', '.join(map(repr, unknown))}", at=here()
        )
    return functools.partial(value_fn, **extra)


def _error(excess: Any) -> Any:
    """By how much a condition is missed: 0 where it holds, infinity for nan."""
    return ew.select(ew.isnan(excess), math.inf, ew.maximum(excess, 0.0))


# ---- backtracking --------------------------------------------------------------------------------


class BacktrackingLinesearchInfo(NamedTuple):
    """``num_linesearch_steps``: evaluations of the last search; ``decrease_error``: by how much the
    value fell short of the decrease asked for, 0 where it did not.
    """

    num_linesearch_steps: Any
    decrease_error: Any


class ScaleByBacktrackingLinesearchState(NamedTuple):
    """``learning_rate``: the step of the last search; ``value``, ``grad``: of the objective at its
    end; ``info``.
    """

    learning_rate: Any
    value: Any
    grad: Any
    info: Any


class _Trial(NamedTuple):
    rate: Any
    value: Any
    grad: Any
    error: Any
    count: Any


def scale_by_backtracking_linesearch(
    max_backtracking_steps: int,
    slope_rtol: Any = 1e-4,
    decrease_factor: Any = 0.8,
    increase_factor: Any = 1.5,
    max_learning_rate: Any = 1.0,
    atol: Any = 0.0,
    rtol: Any = 0.0,
    store_grad: bool = False,
    verbose: bool = False,
) -> GradientTransformationExtraArgs:
    """Scales updates u by the first rate r with f(w + r u) <= (1 + rtol) f(w) + slope_rtol r
    <u, grad f(w)> + atol (Armijo, 1966).

    Rates begin at ``increase_factor`` times the last one, at most ``max_learning_rate``, and go
    down by ``decrease_factor``. ``store_grad`` keeps the gradient at the end for
    ``value_and_grad_from_state``. ``verbose`` prints searches that fail.

    >>> from tracejit import optim
    >>> def f(w):
    ...     return jnp.sum(w**2)
    >>> step = optim.chain(optim.sgd(1.0), optim.scale_by_backtracking_linesearch(15))
    >>> w = jnp.array([1.0, 2.0])
    >>> value, g = tj.value_and_grad(f)(w)
    >>> updates, state = step.update(g, step.init(w), w, value=value, grad=g, value_fn=f)
    >>> f(w + updates) < value
    Array(True)
    """
    settings = _Backtracking(
        max_backtracking_steps, slope_rtol, decrease_factor, increase_factor, max_learning_rate,
        atol, rtol, store_grad,
    )  # fmt: skip

    def init(params: Any) -> Any:
        info = BacktrackingLinesearchInfo(as_array(0), _scalar(math.inf, params))
        grad = tree.zeros_like(params) if store_grad else None
        return ScaleByBacktrackingLinesearchState(
            _scalar(1.0, params), _scalar(math.inf, params), grad, info
        )

    def update(
        updates: Any, state: Any, params: Any, *, value: Any, grad: Any, value_fn: Any, **extra: Any
    ) -> Any:
        f = _arguments(BACKTRACKING, value_fn, extra)
        slope = ew.real(tree.vdot(updates, tree.conj(grad)))
        end = settings.search(f, (params, updates, value, slope), state.learning_rate)
        rate = ew.select(ew.isinf(end.error), 0.0, end.rate)
        if verbose:
            missed = end.error > atol
            _report(BACKTRACKING, missed, stepsize=end.rate, error=end.error, slope=slope)
        info = BacktrackingLinesearchInfo(end.count, end.error)
        new_state = ScaleByBacktrackingLinesearchState(
            rate, end.value, end.grad if store_grad else None, info
        )
        return tree.scale(rate, updates), cast_like(new_state, state)

    return wide_transformation(init, update)


class _Backtracking(NamedTuple):
    most: Any
    slope_rtol: Any
    decrease_factor: Any
    increase_factor: Any
    max_learning_rate: Any
    atol: Any
    rtol: Any
    store_grad: bool

    def search(self, f: Callable[..., Any], line: tuple[Any, ...], rate: Any) -> _Trial:
        """The last trial on the ``line``: parameters, updates, value and slope at its start."""
        params, _, value, _ = line
        inf = _scalar(math.inf, params)
        first = _Trial(
            ew.minimum(self.increase_factor * rate, self.max_learning_rate),
            _scalar(value, params), tree.zeros_like(params), inf, as_array(0),
        )  # fmt: skip

        def more(t: _Trial) -> Any:
            return ew.logical_and(ew.logical_not(t.error <= self.atol), t.count <= self.most)

        return while_loop(more, lambda t: self.step(f, line, t), first)  # type: ignore[no-any-return]

    def step(self, f: Callable[..., Any], line: tuple[Any, ...], t: _Trial) -> Any:
        params, updates, value, slope = line
        rate = ew.select(t.count > 0, self.decrease_factor * t.rate, t.rate)
        at = tree.add_scale(params, rate, updates)
        bound = (1.0 + self.rtol) * value + rate * self.slope_rtol * slope
        found = t.grad
        if self.store_grad:
            new, push = linearize(f, at)
            missed = _error(new - bound)
            last = ew.logical_or(missed <= self.atol, ew.equal(t.count, self.most))
            one = creation.ones_like(new)
            found = cond(last, lambda: linear_transpose(push, at)(one)[0], lambda: t.grad)
        else:
            new = f(at)
            missed = _error(new - bound)
        return cast_like(_Trial(rate, new, found, missed, t.count + 1), t)


def _report(name: str, failed: Any, **numbers: Any) -> None:
    text = ", ".join(f"{key} {{{key}}}" for key in numbers)
    cond(
        failed,
        lambda: debug.print(f"{name}: no step meets the conditions: {text}", **numbers),
        lambda: None,
    )


# ---- zoom ----------------------------------------------------------------------------------------


class ZoomLinesearchInfo(NamedTuple):
    """``num_linesearch_steps``: evaluations of the last search; by how much its end misses the two
    conditions: ``decrease_error`` and ``curvature_error``.
    """

    num_linesearch_steps: Any
    decrease_error: Any
    curvature_error: Any


class ScaleByZoomLinesearchState(NamedTuple):
    """``learning_rate``: the step of the last search; ``value``, ``grad``: of the objective at its
    end; ``info``.
    """

    learning_rate: Any
    value: Any
    grad: Any
    info: Any


class _Point(NamedTuple):
    """A step along the line, and value and slope of the objective there."""

    step: Any
    value: Any
    slope: Any


class _Safe(NamedTuple):
    """The best step so far that decreases enough."""

    step: Any
    value: Any
    grad: Any


class _Search(NamedTuple):
    """``low``, ``high``: an interval that holds a good step, once it is ``found``; ``third``: the
    end that was given up last.
    """

    count: Any
    here: Any
    grad: Any
    low: Any
    high: Any
    third: Any
    safe: Any
    decrease_error: Any
    curvature_error: Any
    found: Any
    done: Any
    failed: Any


def _cubic(a: _Point, b: _Point, c: _Point) -> Any:
    """The minimum of the cubic with a's value and slope and the values of b and c."""
    db, dc = b.step - a.step, c.step - a.step
    rb = b.value - a.value - a.slope * db
    rc = c.value - a.value - a.slope * dc
    below = ew.square(db * dc) * (db - dc)
    third = (ew.square(dc) * rb - ew.square(db) * rc) / below
    second = (-ew.power(dc, 3) * rb + ew.power(db, 3) * rc) / below
    root = ew.sqrt(ew.square(second) - 3.0 * third * a.slope)
    return a.step + (root - second) / (3.0 * third)


def _quadratic(a: _Point, b: _Point) -> Any:
    """The minimum of the parabola with a's value and slope and b's value."""
    d = b.step - a.step
    bend = (b.value - a.value - a.slope * d) / ew.square(d)
    return a.step - a.slope / (2.0 * bend)


def _within(x: Any, s: _Search, margin: float) -> Any:
    """Whether ``x`` lies in the interval, by a part of its length from the ends."""
    left, right = ew.minimum(s.low.step, s.high.step), ew.maximum(s.low.step, s.high.step)
    gap = margin * (right - left)
    return ew.logical_and(x > left + gap, x < right - gap)


def _middle(s: _Search) -> Any:
    """Where to look next in the interval."""
    cubic, parabola = _cubic(s.low, s.high, s.third), _quadratic(s.low, s.high)
    halved = (s.low.step + s.high.step) / 2.0
    inner = ew.select(_within(parabola, s, 0.1), parabola, halved)
    return ew.select(_within(cubic, s, 0.2), cubic, inner)


def _bracketed(s: _Search, p: _Point, decrease: Any) -> tuple[tuple[Any, ...], Any]:
    """The interval after a step of the first phase, which goes farther and farther; and whether it
    holds a good step.
    """
    rises = ew.logical_and(p.value >= s.here.value, s.count > 0)
    beyond = ew.logical_or(decrease > 0.0, rises)
    turned = ew.logical_and(p.slope >= 0.0, ew.logical_not(beyond))
    low, high = where(turned, (p, s.here), (s.here, p))
    return (low, high, low), ew.logical_or(beyond, turned)


def _narrowed(s: _Search, p: _Point, decrease: Any) -> tuple[_Point, _Point, _Point]:
    """The interval after a step of the second phase, which looks inside of it."""
    worse = ew.logical_or(decrease > 0.0, p.value >= s.low.value)
    away = ew.logical_and(p.slope * (s.high.step - s.low.step) >= 0.0, ew.logical_not(worse))
    high = where(worse, p, where(away, s.low, s.high))
    low = where(worse, s.low, p)
    return low, high, where(ew.logical_or(worse, away), s.high, s.low)


def scale_by_zoom_linesearch(
    max_linesearch_steps: int,
    max_learning_rate: Any = None,
    tol: Any = 0.0,
    increase_factor: Any = 2.0,
    slope_rtol: Any = 1e-4,
    curv_rtol: Any = 0.9,
    approx_dec_rtol: Any = 1e-6,
    stepsize_precision: Any = 1e-5,
    initial_guess_strategy: str = "keep",
    verbose: bool = False,
) -> GradientTransformationExtraArgs:
    """Scales updates u by a rate r that decreases the value enough and where the slope is small:
    f(w + r u) <= f(w) + slope_rtol r s and abs(<u, grad f(w + r u)>) <= curv_rtol abs(s) for
    s = <u, grad f(w)>, the strong Wolfe conditions.

    First the step grows by ``increase_factor`` until an interval holds such a rate, then the
    interval is narrowed with cubics, parabolas and halving. ``approx_dec_rtol``: a decrease that
    rounding hides counts (Hager and Zhang, 2006). ``initial_guess_strategy``: "one", or "keep", the
    last rate. Where no rate is found in ``max_linesearch_steps``, or the interval is shorter than
    ``stepsize_precision``, the best one that decreases is taken.

    ``update`` takes ``value``, ``grad`` and ``value_fn``, and what else ``value_fn`` takes by name.
    """
    if initial_guess_strategy not in ("one", "keep"):
        raise ArgumentError(
            f"{ZOOM}: initial_guess_strategy is 'one' or 'keep', not {initial_guess_strategy!r}",
            at=here(),
        )
    settings = _Zoom(
        max_linesearch_steps, max_learning_rate, tol, increase_factor, slope_rtol, curv_rtol,
        approx_dec_rtol, stepsize_precision,
    )  # fmt: skip

    def init(params: Any) -> Any:
        inf = _scalar(math.inf, params)
        info = ZoomLinesearchInfo(as_array(0), inf, inf)
        return ScaleByZoomLinesearchState(_scalar(1.0, params), inf, tree.zeros_like(params), info)

    def update(
        updates: Any, state: Any, params: Any, *, value: Any, grad: Any, value_fn: Any, **extra: Any
    ) -> Any:
        f = _arguments(ZOOM, value_fn, extra)
        guess = state.learning_rate if initial_guess_strategy == "keep" else 1.0
        end = settings.search(f, (params, updates, value, grad), guess)
        if verbose:
            errors = {k: getattr(end, k) for k in ("decrease_error", "curvature_error")}
            _report(ZOOM, end.failed, stepsize=end.here.step, **errors)
        info = ZoomLinesearchInfo(end.count, end.decrease_error, end.curvature_error)
        new_state = ScaleByZoomLinesearchState(end.here.step, end.here.value, end.grad, info)
        return tree.scale(end.here.step, updates), cast_like(new_state, state)

    return wide_transformation(init, update)


class _Zoom(NamedTuple):
    most: Any
    max_learning_rate: Any
    tol: Any
    increase_factor: Any
    slope_rtol: Any
    curv_rtol: Any
    approx_dec_rtol: Any
    precision: Any

    def search(self, value_fn: Callable[..., Any], line: tuple[Any, ...], guess: Any) -> _Search:
        """The end of a search on the ``line``: parameters, updates, value and gradient at its
        start.
        """
        params, updates, value, grad = line
        f = value_and_grad(value_fn)
        slope = _scalar(ew.real(tree.vdot(updates, grad)), params)
        start = _Point(_scalar(0.0, params), _scalar(value, params), slope)

        def step(s: _Search) -> Any:
            at, capped = self.next_step(s, guess)
            found_value, found_grad = f(tree.add_scale(params, at, updates))
            found_slope = ew.real(tree.vdot(tree.conj(found_grad), updates))
            p = cast_like(_Point(at, found_value, found_slope), s.here)
            return cast_like(self.advanced(s, p, found_grad, start, capped), s)

        inf, no = _scalar(math.inf, params), as_array(False)
        safe = _Safe(start.step, start.value, grad)
        first = _Search(
            as_array(0), start, grad, start, start, start, safe, inf, inf, no, no, no
        )  # fmt: skip
        return while_loop(  # type: ignore[no-any-return]
            lambda s: ew.logical_not(ew.logical_or(s.done, s.failed)), step, first
        )

    def next_step(self, s: _Search, guess: Any) -> tuple[Any, Any]:
        """Where to look next, and whether that is as far as steps may go."""
        farther = ew.select(ew.equal(s.count, 0), guess, self.increase_factor * s.here.step)
        capped: Any = as_array(False)
        if self.max_learning_rate is not None:
            capped = ew.greater_equal(farther, self.max_learning_rate)
            farther = ew.minimum(farther, self.max_learning_rate)
        return ew.select(s.found, _middle(s), farther), capped

    def errors(self, p: _Point, start: _Point) -> tuple[Any, Any]:
        """By how much a step misses decrease and curvature."""
        c = self.slope_rtol
        change = p.value - start.value
        decrease = change - c * p.step * start.slope
        if self.approx_dec_rtol is not None:
            flat = p.slope - (2 * c - 1.0) * start.slope
            rounding = change - self.approx_dec_rtol * ew.absolute(start.value)
            decrease = ew.minimum(decrease, ew.maximum(flat, rounding))
        steep = ew.absolute(p.slope) - self.curv_rtol * ew.absolute(start.slope)
        return _error(decrease), _error(steep)

    def advanced(self, s: _Search, p: _Point, grad: Any, start: _Point, capped: Any) -> _Search:
        """The search after the objective is known at ``p``."""
        decrease, curvature = self.errors(p, start)
        error = ew.maximum(decrease, curvature)
        good = error <= self.tol
        first, bracketed = _bracketed(s, p, decrease)
        bracketed = ew.logical_or(bracketed, good)
        ends = where(s.found, _narrowed(s, p, decrease), first)
        better = ew.logical_or(ew.logical_not(s.found), p.value < s.safe.value)
        better = ew.logical_and(decrease <= self.tol, better)
        safe = where(better, _Safe(p.step, p.value, grad), s.safe)
        found = ew.logical_or(s.found, bracketed)
        done = ew.logical_or(good, ew.logical_and(capped, ew.logical_not(found)))
        length = ew.absolute(s.high.step - s.low.step)
        short = ew.logical_and(length <= self.precision, safe.step > 0.0)
        over = ew.logical_or(s.count + 1 >= self.most, ew.logical_and(s.found, short))
        failed = ew.logical_and(over, ew.logical_not(done))
        fallback = ew.logical_or(safe.step > 0.0, ew.isinf(decrease))
        end, grad = where(
            ew.logical_and(failed, fallback),
            (_Point(safe.step, safe.value, p.slope), safe.grad),
            (p, grad),
        )
        return _Search(
            s.count + 1, end, grad, *ends, safe, decrease, curvature, found, done, failed
        )  # fmt: skip


# ---- what the search knows already ---------------------------------------------------------------


def value_and_grad_from_state(value_fn: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """``value_and_grad(value_fn)`` that takes value and gradient from the ``state`` of a line
    search which has computed them at the same parameters; at the first step it computes them.

    >>> from tracejit import optim
    >>> def f(w):
    ...     return jnp.sum((w - 1.0) ** 2)
    >>> step = optim.lbfgs()
    >>> w = jnp.array([4.0, 5.0])
    >>> state = step.init(w)
    >>> value_and_grad = optim.value_and_grad_from_state(f)
    >>> for _ in range(3):
    ...     value, g = value_and_grad(w, state=state)
    ...     updates, state = step.update(g, state, w, value=value, grad=g, value_fn=f)
    ...     w = optim.apply_updates(w, updates)
    >>> w.round(3)
    Array([1., 1.], dtype=float32)
    """

    def from_state(params: Any, *fn_args: Any, state: Any, **fn_kwargs: Any) -> tuple[Any, Any]:
        value, grad = tree.get(state, "value"), tree.get(state, "grad")
        if value is None or grad is None:
            raise ArgumentError(
                "value_and_grad_from_state: the state holds no value and gradient",
                at=here(),
                hint="backtracking line search keeps them with store_grad=True",
            )

        def computed() -> Any:
            found = value_and_grad(value_fn)(params, *fn_args, **fn_kwargs)
            return cast_like(found, (value, grad))

        return cond(ew.isfinite(value), lambda: (value, grad), computed)  # type: ignore[no-any-return]

    return from_state
