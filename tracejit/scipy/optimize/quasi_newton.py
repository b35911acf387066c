"""BFGS and L-BFGS: minimizers that learn the curvature from gradients.

    result = bfgs(fun, x0, gtol=1e-5)      Result(x, f, g, ...)

Nocedal and Wright, "Numerical Optimization" (2006), algorithms 6.1 and 7.4/7.5, with the line
search of ``line_search.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ArgumentError, GradError
from tracejit.frontend.derivatives import value_and_grad
from tracejit.scipy.optimize.line_search import Step, Trial, wolfe_step
from tracejit.source import here

#: values of ``status``
CONVERGED, TOO_MANY, NO_STEP, TOO_LONG_SEARCH = 0, 1, 3, 5
_RUNNING = -1


class Result(NamedTuple):
    """A minimizer's state: also what it returns. ``model``: what it knows of the curvature."""

    x: Any
    f: Any
    g: Any
    model: Any
    f_before: Any
    status: Any
    nit: Any
    nfev: Any


class History(NamedTuple):
    """The last steps (rows, oldest first), changes of the gradient, and 1 / their product."""

    steps: Any
    changes: Any
    rhos: Any


def _norm(g: Any, order: Any) -> Any:
    if order == np.inf:
        return jnp.max(jnp.abs(g), initial=0)
    if order == -np.inf:
        return jnp.min(jnp.abs(g))
    return jnp.sum(jnp.abs(g) ** order) ** (1 / order)


def _objective(fun: Callable[..., Any], dtype: np.dtype) -> Callable[[Any], Any]:
    """x -> value and gradient, both in ``dtype``."""
    both = value_and_grad(fun)

    def evaluate(x: Any) -> Any:
        try:
            f, g = both(x)
        except GradError as error:
            error.hint = error.hint or "minimize: fun(x, *args) returns a real scalar"
            raise
        return f.astype(dtype), g

    return evaluate


def _search(evaluate: Any, state: Result, d: Any, first: Any, maxiter: int) -> tuple[Any, Step]:
    """The step along ``d``: its vector, and what is known there."""

    def at(step: Any) -> Any:
        f, g = evaluate(state.x + step * d)
        return f, g, g @ d

    zero = jnp.zeros((), state.f.dtype)
    start = Trial(zero, state.f, state.g, state.g @ d)
    step = wolfe_step(at, start, first, maxiter=maxiter)
    return step.at * d, step


def _status(done: Any, step: Step, nit: Any, maxiter: Any) -> Any:
    """The code after a step: the first of the reasons to stop."""
    stuck = jnp.where(step.wolfe, NO_STEP, TOO_LONG_SEARCH)
    found = jnp.where(nit >= maxiter, TOO_MANY, _RUNNING)
    found = jnp.where(step.found, found, stuck)
    return jnp.where(done, CONVERGED, found).astype(jnp.int32)


def _start(evaluate: Any, x0: Any, model: Any, gtol: float, norm: Any, maxiter: Any) -> Result:
    f, g = evaluate(x0)
    before = f + jnp.sqrt(g @ g) / 2  # so that the first step tried is about |g| long
    status = jnp.where(_norm(g, norm) <= gtol, CONVERGED, _RUNNING)
    status = jnp.where((status == _RUNNING) & (maxiter < 1), TOO_MANY, status)
    zero, one = jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32)
    return Result(x0, f, g, model, before, status.astype(jnp.int32), zero, one)


def _running(state: Result) -> Any:
    return state.status == _RUNNING


def bfgs(
    fun: Callable[..., Any],
    x0: Any,
    *,
    maxiter: int | None = None,
    norm: Any = np.inf,
    gtol: float = 1e-5,
    line_search_maxiter: int = 10,
) -> Result:
    """The BFGS method; ``model`` of the result is the estimate of the inverse Hessian."""
    n = x0.shape[0]
    limit = 200 * n if maxiter is None else maxiter
    evaluate = _objective(fun, x0.dtype)

    def body(state: Result) -> Result:
        d = -(state.model @ state.g)
        slope = state.g @ d
        guess = 2.02 * (state.f - state.f_before) / jnp.where(slope == 0, -1, slope)
        first = jnp.where((guess > 0) & (guess < 1), guess, 1)
        s, step = _search(evaluate, state, d, first, 2 * line_search_maxiter)
        y = step.g - state.g
        model = _updated(state.model, s, y)
        nit = state.nit + 1
        status = _status(_norm(step.g, norm) <= gtol, step, nit, limit)
        count = state.nfev + step.count
        return Result(state.x + s, step.f, step.g, model, state.f, status, nit, count)

    identity = jnp.eye(n, dtype=x0.dtype)
    return lax.while_loop(_running, body, _start(evaluate, x0, identity, gtol, norm, limit))  # type: ignore[no-any-return]


def _updated(model: Any, s: Any, y: Any) -> Any:
    """The inverse Hessian after a step ``s`` that changed the gradient by ``y`` (equation 6.17);
    as it was where the curvature along ``s`` is not positive.
    """
    product = y @ s
    curved = product > 0
    rho = 1 / jnp.where(curved, product, 1)
    left = jnp.eye(s.shape[0], dtype=s.dtype) - rho * s[:, None] * y[None, :]
    new = left @ model @ left.T + rho * s[:, None] * s[None, :]
    return jnp.where(curved, new, model)


def lbfgs(
    fun: Callable[..., Any],
    x0: Any,
    *,
    maxiter: float | None = None,
    norm: Any = np.inf,
    maxcor: int = 10,
    ftol: float = 2.220446049250313e-09,
    gtol: float = 1e-5,
    maxfun: float | None = None,
    maxgrad: float | None = None,
    maxls: int = 20,
) -> Result:
    """The L-BFGS method with the last ``maxcor`` steps; ``model`` of the result is its History.

    ``ftol``: it ends where a step lowers the value by less than this share of it. ``maxfun`` and
    ``maxgrad`` bound the evaluations.
    """
    if maxcor < 1:
        raise ArgumentError(f"minimize: maxcor is at least 1, not {maxcor}", at=here())
    n = x0.shape[0]
    limit = 15000 if maxiter is None else maxiter
    calls = min(15000 if k is None else k for k in (maxfun, maxgrad))
    evaluate = _objective(fun, x0.dtype)

    def body(state: Result) -> Result:
        d = -_times_inverse(state.model, state.g)
        steep = jnp.sqrt(state.g @ state.g)
        first = jnp.where(state.nit == 0, jnp.minimum(1, 1 / jnp.where(steep > 0, steep, 1)), 1)
        s, step = _search(evaluate, state, d, first, maxls)
        model = _remembered(state.model, s, step.g - state.g)
        largest = jnp.maximum(jnp.maximum(jnp.abs(state.f), jnp.abs(step.f)), 1)
        level = step.found & (state.f - step.f <= ftol * largest)
        nit, count = state.nit + 1, state.nfev + step.count
        done = (_norm(step.g, norm) <= gtol) | level
        status = _status(done, step, jnp.where(count >= calls, limit, nit), limit)
        return Result(state.x + s, step.f, step.g, model, state.f, status, nit, count)

    rows = jnp.zeros((maxcor, n), x0.dtype)
    model = History(rows, rows, jnp.zeros((maxcor,), x0.dtype))
    return lax.while_loop(_running, body, _start(evaluate, x0, model, gtol, norm, limit))  # type: ignore[no-any-return]


def _remembered(model: History, s: Any, y: Any) -> History:
    """The history with one more step, the oldest one dropped; as it was without curvature."""
    product = y @ s
    curved = product > 0
    rho = 1 / jnp.where(curved, product, 1)

    def shifted(rows: Any, row: Any) -> Any:
        return jnp.where(curved, jnp.concatenate([rows[1:], row[None]]), rows)

    return History(shifted(model.steps, s), shifted(model.changes, y), shifted(model.rhos, rho))


def _times_inverse(model: History, g: Any) -> Any:
    """The inverse Hessian times ``g``: the two-loop recursion (algorithm 7.4).

    Rows that were never filled have rho 0 and change nothing.
    """
    count = model.rhos.shape[0]

    def backward(k: Any, carry: Any) -> Any:
        q, shares = carry
        j = count - 1 - k
        share = model.rhos[j] * (model.steps[j] @ q)
        return q - share * model.changes[j], shares.at[j].set(share)

    q, shares = lax.fori_loop(0, count, backward, (g, jnp.zeros_like(model.rhos)))
    last = model.changes[-1]
    size = model.rhos[-1] * (last @ last)
    q = q / jnp.where(size > 0, size, 1)

    def forward(j: Any, r: Any) -> Any:
        back = model.rhos[j] * (model.changes[j] @ r)
        return r + (shares[j] - back) * model.steps[j]

    return lax.fori_loop(0, count, forward, q)
