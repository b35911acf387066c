"""What rules with ``symbolic_zeros=True`` see. They are traced before it is known which tangents
are zero: only those of integers are symbolic, every floating argument counts as differentiated.

>>> @tj.custom_jvp
... def repeated(x, n):
...     return x * n
>>> def rule(primals, tangents):
...     dx, dn = tangents
...     assert isinstance(dn, tj.custom_derivatives.SymbolicZero)
...     return repeated(*primals), dx * primals[1]
>>> _ = repeated.defjvp(rule, symbolic_zeros=True)
>>> grad(repeated)(2.0, 3)
Array(3., dtype=float32)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tracejit.frontend import methods
from tracejit.frontend.array import as_array
from tracejit.frontend.shapes import ShapeDtypeStruct
from tracejit.ir.types import is_inexact
from tracejit.tree_util import tree_map

Function = Callable[..., Any]


class SymbolicZero:
    """A tangent that is zero without being an array; a rule may return it for a zero tangent.
    ``aval`` has its ``shape`` and ``dtype``, which is float0 for the tangent of an integer.
    """

    __slots__ = ("aval",)

    def __init__(self, aval: Any) -> None:
        self.aval = aval

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.aval.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.aval.shape)

    def __repr__(self) -> str:
        return f"SymbolicZero({self.aval!r})"

    @staticmethod
    def from_primal_value(val: Any) -> SymbolicZero:
        """The zero tangent of an array or number.

        >>> from tracejit.custom_derivatives import SymbolicZero
        >>> SymbolicZero.from_primal_value(2.0)
        SymbolicZero(ShapeDtypeStruct(shape=(), dtype=float32))
        """
        array = as_array(val)
        of_floats = is_inexact(array.dtype)
        dtype = array.dtype if of_floats else methods.float0_zeros(array).dtype
        return SymbolicZero(ShapeDtypeStruct(array.shape, dtype))

    @property
    def ndim(self) -> int:
        """The length of ``shape``."""
        return len(self.shape)

    def array(self) -> Any:
        """The zeros."""
        found = np.zeros(self.shape, self.dtype)
        return found if found.dtype.names else as_array(found)


class CustomVJPPrimal:
    """An argument of the forward rule of a ``custom_vjp``, and whether it may be differentiated."""

    __slots__ = ("value", "perturbed")

    def __init__(self, value: Any, perturbed: bool) -> None:
        self.value = value
        self.perturbed = perturbed

    def __repr__(self) -> str:
        return f"CustomVJPPrimal(value={self.value!r}, perturbed={self.perturbed})"


def custom_vjp_primal_tree_values(tree: Any) -> Any:
    """The values of a tree of CustomVJPPrimal.

    >>> from tracejit.custom_derivatives import CustomVJPPrimal, custom_vjp_primal_tree_values
    >>> custom_vjp_primal_tree_values({"x": CustomVJPPrimal(2.0, perturbed=True)})
    {'x': 2.0}
    """
    return tree_map(lambda leaf: leaf.value, tree)


def jvp_rule(jvp: Function) -> Function:
    """A rule for which zeros are symbolic as one for which they are arrays."""

    @functools.wraps(jvp)
    def rule(*args: Any) -> Any:
        *fixed, primals, tangents = args
        out, tangent = jvp(*fixed, primals, tree_map(_symbolic, tangents))
        return out, _instantiated(tangent)

    return rule


def vjp_rules(fwd: Function, bwd: Function, fixed: Collection[int]) -> tuple[Function, Function]:
    """The same for both rules of a ``custom_vjp``; ``fixed``: the static arguments."""

    @functools.wraps(fwd)
    def forward(*args: Any) -> Any:
        static = {k + len(args) if k < 0 else k for k in fixed}
        return fwd(*(a if k in static else tree_map(_primal, a) for k, a in enumerate(args)))

    @functools.wraps(bwd)
    def backward(*args: Any) -> Any:
        *rest, cts = args
        return _instantiated(bwd(*rest, tree_map(_symbolic, cts)))

    return forward, backward


def _symbolic(tangent: Any) -> Any:
    is_zero = isinstance(tangent, np.ndarray) and tangent.dtype.names is not None
    return SymbolicZero(ShapeDtypeStruct(tangent.shape, tangent.dtype)) if is_zero else tangent


def _primal(leaf: Any) -> CustomVJPPrimal:
    return CustomVJPPrimal(leaf, is_inexact(as_array(leaf).dtype))


def _instantiated(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.array() if isinstance(leaf, SymbolicZero) else leaf, tree)
