"""Solutions defined by an equation, differentiated by the implicit function theorem.

    >>> def newton(f, x):
    ...     return lax.fori_loop(0, 6, lambda _, x: x - f(x) / grad(f)(x), x)
    >>> def root(a):
    ...     return custom_root(lambda x: x**2 - a, 1.0, newton, lambda g, y: y / g(1.0))
    >>> print(root(4.0), grad(root)(4.0))  # sqrt(a) and 1 / (2 sqrt(a))
    2.0 0.25

``custom_root`` has derivatives in both directions with respect to whatever ``f`` closes over; how
``solve`` gets to the solution takes no part in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.errors import TreeError
from tracejit.frontend import elementwise
from tracejit.frontend.call import flatten
from tracejit.frontend.custom import closure_convert, custom_jvp, stop_gradient, zero_from_primal
from tracejit.frontend.derivatives import jvp
from tracejit.source import here
from tracejit.tree_util import tree_map

Function = Callable[..., Any]


def custom_root(
    f: Function, initial_guess: Any, solve: Function, tangent_solve: Function, has_aux: bool = False
) -> Any:
    """A root of ``f`` found by ``solve(f, initial_guess)``.

    ``tangent_solve(g, y)`` solves the linear equation g(x) = y; it must be linear in y. With
    ``has_aux``, ``solve`` returns ``(root, aux)``, and aux is a constant of differentiation.

    Raises TreeError where the root has another structure than the guess. See the module's example.
    """
    equation, consts = closure_convert(f, stop_gradient(initial_guess))

    guess_tree = flatten(initial_guess)[1]

    @custom_jvp
    def root(start: Any, *values: Any) -> Any:
        return solve(lambda x: equation(x, *values), start)

    @root.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        solution, values = root(*primals), primals[1:]
        x, aux = solution if has_aux else (solution, None)
        if flatten(x)[1] != guess_tree:
            raise TreeError(
                "custom_root: solve returns another structure than the initial guess", at=here()
            )
        _, slope = jvp(lambda *v: equation(x, *v), values, tangents[1:])
        dx = tangent_solve(lambda v: jvp(lambda z: equation(z, *values), (x,), (v,))[1], slope)
        dx = tree_map(elementwise.negative, dx)
        return (solution, (dx, zero_from_primal(aux))) if has_aux else (solution, dx)

    return root(stop_gradient(initial_guess), *consts)
