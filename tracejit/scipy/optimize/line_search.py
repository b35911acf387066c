"""A step length along a direction that satisfies the strong Wolfe conditions.

    step = wolfe_step(fun_and_slope, f0, g0, direction, first_step, options)
    step.x_step, step.f, step.g, step.found

Nocedal and Wright, "Numerical Optimization" (2006): algorithm 3.5 (bracket) and 3.6 (zoom), as one
loop over one function evaluation each, so that it runs under jit and, lane by lane, under vmap.
Near a minimum values differ by rounding alone: values that do count as equal, and slopes decide
(Hager and Zhang, "A new conjugate gradient method with guaranteed descent", 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.tree_util import tree_map


class Trial(NamedTuple):
    """What is known at one step length: value, gradient and slope along the direction."""

    at: Any
    f: Any
    g: Any
    slope: Any


class Search(NamedTuple):
    """The state of the loop.

    ``at``: the step length to try next. ``low``: while bracketing the trial before, then the best
    end of the bracket, ``high`` the other one. ``zooming``: a bracket was found. ``done``: ``low``
    holds the accepted trial.
    """

    at: Any
    low: Trial
    high: Trial
    zooming: Any
    done: Any
    count: Any


class Step(NamedTuple):
    """The accepted trial, whether it satisfies what it should, and how often f was evaluated."""

    at: Any
    f: Any
    g: Any
    found: Any
    wolfe: Any
    count: Any


def rounding(f: Any) -> Any:
    """How far values near ``f`` are off by rounding."""
    return 4 * jnp.finfo(f.dtype).eps * jnp.abs(f)


def _where(flag: Any, a: Any, b: Any) -> Any:
    return tree_map(lambda x, y: jnp.where(flag, x, y), a, b)


def _cubic(low: Trial, high: Trial) -> Any:
    """The minimizer of the cubic through both trials (equation 3.59), kept away from the ends; the
    middle where there is none.
    """
    width = high.at - low.at
    safe = jnp.where(width == 0, 1, width)
    d1 = low.slope + high.slope - 3 * (high.f - low.f) / safe
    inside = d1 * d1 - low.slope * high.slope
    d2 = jnp.sign(width) * jnp.sqrt(jnp.maximum(inside, 0))
    below = high.slope - low.slope + 2 * d2
    share = 1 - (high.slope + d2 - d1) / jnp.where(below == 0, 1, below)
    good = (inside >= 0) & (below != 0) & (share >= 0.1) & (share <= 0.9) & jnp.isfinite(share)
    return low.at + jnp.where(good, share, 0.5) * width


def _advance(state: Search, new: Trial, start: Trial, c1: float, c2: float) -> Search:
    """One round of either algorithm; which of its cases holds is chosen by value."""
    low, high = state.low, state.high
    noise = rounding(start.f)
    # a value that is not a number counts as too large: the step is shortened
    too_high = ~(new.f <= start.f + c1 * new.at * start.slope + noise)
    not_less = (new.f >= low.f + noise) & (state.zooming | (state.count > 0))
    worse = too_high | not_less
    accepted = ~worse & (jnp.abs(new.slope) <= -c2 * start.slope)
    # bracketing: beyond a minimum the two last trials enclose it
    uphill = new.slope >= 0
    turned = jnp.where(state.zooming, new.slope * (high.at - low.at) >= 0, uphill)
    zooming = state.zooming | worse | uphill
    next_high = _where(worse, new, _where(turned, low, high))
    next_low = _where(worse, low, new)
    at = jnp.where(zooming, _cubic(next_low, next_high), 2 * new.at)
    return Search(at, next_low, next_high, zooming, accepted, state.count + 1)


def wolfe_step(
    evaluate: Callable[[Any], tuple[Any, Any, Any]],
    start: Trial,
    first: Any,
    *,
    maxiter: int,
    c1: float = 1e-4,
    c2: float = 0.9,
) -> Step:
    """The step found from ``first`` on; ``evaluate(at)`` gives value, gradient and slope there.

    ``wolfe`` tells whether the strong Wolfe conditions hold, with constants ``c1`` and ``c2``;
    ``found`` whether the function became smaller at all: the best trial is given then.
    """
    tiny = jnp.finfo(start.f.dtype).eps

    def going(state: Search) -> Any:
        width = jnp.abs(state.high.at - state.low.at)
        largest = jnp.maximum(jnp.abs(state.high.at), jnp.abs(state.low.at))
        flat = state.zooming & (width <= tiny * largest)
        return ~state.done & ~flat & (state.count < maxiter)

    def body(state: Search) -> Search:
        f, g, slope = evaluate(state.at)
        return _advance(state, Trial(state.at, f, g, slope), start, c1, c2)

    no = jnp.zeros((), bool)
    first = jnp.asarray(first, start.f.dtype)
    state = lax.while_loop(
        going, body, Search(first, start, start, no, no, jnp.zeros((), jnp.int32))
    )
    best = state.low
    found = state.done | (best.f < start.f)
    return Step(best.at, best.f, best.g, found, state.done, state.count)
