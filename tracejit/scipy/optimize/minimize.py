"""``minimize``: SciPy's entry to the minimizers, with gradients by ``grad``.

>>> found = minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), method="BFGS")
>>> print(found.x, found.success)
[3. 3.] True
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend.promotion import to_inexact
from tracejit.ir.types import kind
from tracejit.scipy.optimize import quasi_newton
from tracejit.source import here


class OptimizeResults(NamedTuple):
    """What ``minimize`` found: a pytree.

    ``x``, ``fun`` and ``jac``: the point, the value and the gradient there. ``success``: whether it
    converged. ``status``: 0 converged, 1 too many iterations, 3 no step makes the function smaller,
    5 the line search took too long. ``hess_inv``: the estimate of the inverse Hessian (BFGS), or
    None. ``nfev``, ``njev``, ``nit``: how many values, gradients and iterations it took.
    """

    x: Any
    success: Any
    status: Any
    fun: Any
    jac: Any
    hess_inv: Any
    nfev: Any
    njev: Any
    nit: Any


#: names in small letters -> the minimizer
_METHODS: dict[str, Callable[..., quasi_newton.Result]] = {
    "bfgs": quasi_newton.bfgs,
    "l-bfgs": quasi_newton.lbfgs,
    "l-bfgs-b": quasi_newton.lbfgs,
    "l-bfgs-experimental-do-not-rely-on-this": quasi_newton.lbfgs,
}


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    method: str,
    tol: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> OptimizeResults:
    """A local minimum of ``fun(x, *args)``, a real scalar, near the vector ``x0`` (n,).

    ``method``: "BFGS", or "L-BFGS" for many variables ("L-BFGS-B" and JAX's long name are the same,
    without bounds). ``tol`` stands for the option ``gtol``: the norm of the gradient at which it
    ends. ``options`` of BFGS: maxiter (200 n), norm (inf), gtol (1e-5), line_search_maxiter (10);
    of L-BFGS: maxiter, norm, maxcor (10), ftol (2.2e-9), gtol, maxfun, maxgrad, maxls (20).

    Works under jit and vmap; it has no derivatives in reverse mode. Raises ShapeError where ``x0``
    is no vector, DTypeError where it is complex, ArgumentError for an unknown method or option, and
    where ``args`` is no tuple.

    >>> def rosenbrock(x):
    ...     return 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2
    >>> found = minimize(rosenbrock, np.array([-1.2, 1.0]), method="L-BFGS")
    >>> print(found.success, np.round(found.x, 3))
    True [1. 1.]
    """
    if not isinstance(args, tuple):
        raise ArgumentError(f"minimize: args is a tuple, not {type(args).__name__}", at=here())
    solver = _METHODS.get(method.lower()) if isinstance(method, str) else None
    if solver is None:
        raise ArgumentError(
            f"minimize: there is no method {method!r}", at=here(), hint="legal: BFGS | L-BFGS"
        )
    x0 = to_inexact(x0)
    if x0.ndim != 1:
        raise ShapeError(f"minimize: x0 is a vector, not {x0.type}", at=here())
    if kind(x0.dtype) == "c":
        raise DTypeError(f"minimize: x0 is real, not {x0.type}", at=here())
    x0._weak = False
    known = _options(solver, method, tol, options)
    found = solver(lambda x: fun(x, *args), x0, **known)
    return OptimizeResults(
        x=found.x,
        success=found.status == quasi_newton.CONVERGED,
        status=found.status,
        fun=found.f,
        jac=found.g,
        hess_inv=None if isinstance(found.model, quasi_newton.History) else found.model,
        nfev=found.nfev,
        njev=found.nfev,
        nit=found.nit,
    )


def _options(
    solver: Callable[..., Any], method: str, tol: float | None, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The options as keywords of ``solver``; ArgumentError names one that it does not have."""
    found = dict(options or {})
    if tol is not None:
        found.setdefault("gtol", tol)
    legal = list(inspect.signature(solver).parameters)[2:]
    unknown = [name for name in found if name not in legal]
    if unknown:
        raise ArgumentError(
            f"minimize: {method} has no option {unknown[0]!r}",
            at=here(),
            hint="options: " + ", ".join(legal),
        )
    return found
