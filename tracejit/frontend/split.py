"""Calls in which some arguments are static: the others are flattened to arrays and traced.

call = Split.of(f, (3, x), argnums=(0,))       3 stays as it is, x is traced
body = call.trace(f, "checkpoint")
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from tracejit import hints
from tracejit.errors import ArgumentError
from tracejit.frontend import methods
from tracejit.frontend.array import Array, carrying
from tracejit.frontend.bodies import trace_body
from tracejit.frontend.call import arrays_of, flatten, function_name, leaf_names
from tracejit.frontend.trace import Traced, current_trace
from tracejit.frontend.wrapping import wraps
from tracejit.ir.graph import Value
from tracejit.ir.types import TensorType, is_inexact
from tracejit.record import dataclass
from tracejit.source import here
from tracejit.tree_util import tree_unflatten

Function = Callable[..., Any]


def places(
    fun: Function, numbers: int | Sequence[int], names: str | Sequence[str]
) -> tuple[int, ...]:
    """Positions of arguments that are given by position and by name; ArgumentError for a name that
    ``fun`` does not have.
    """
    found = (numbers,) if isinstance(numbers, int) else tuple(numbers)
    words = (names,) if isinstance(names, str) else tuple(names)
    if not words:
        return found
    known = list(inspect.signature(fun).parameters)
    for word in words:
        if word not in known:
            raise ArgumentError(
                f"`{function_name(fun)}` has no argument `{word}`",
                at=here(),
                hint=hints.name(word, known),
            )
    return (*found, *(known.index(word) for word in words if known.index(word) not in found))


@dataclass(frozen=True)
class Split:
    """A call: arguments at ``static`` are passed as they are, the others are leaves of arrays."""

    fun: Function
    args: tuple[Any, ...]
    static: frozenset[int]
    leaves: tuple[Array, ...]
    treedef: Any
    names: tuple[str, ...]

    @staticmethod
    def of(fun: Function, args: tuple[Any, ...], argnums: Sequence[int]) -> Split:
        static = frozenset(k + len(args) if k < 0 else k for k in argnums)
        masked = tuple(None if k in static else a for k, a in enumerate(args))
        leaves, treedef = flatten(masked)
        names = leaf_names(fun, masked, {})
        return Split(
            fun, args, static, arrays_of(leaves, names, function_name(fun)), treedef, names
        )

    @property
    def eager(self) -> bool:
        """Whether the values at hand travel with the traced ones (under grad outside of jit)."""
        trace = current_trace()
        return trace is not None and trace.eager and all(leaf._has_value for leaf in self.leaves)

    @property
    def fixed(self) -> tuple[Any, ...]:
        """The static arguments."""
        return tuple(a for k, a in enumerate(self.args) if k in self.static)

    def merged(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """All arguments, those that are arrays from ``given`` (None at the static ones)."""
        return tuple(self.args[k] if k in self.static else g for k, g in enumerate(given))

    def arrays(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments that are arrays, rebuilt of ``leaves``."""
        given = tree_unflatten(self.treedef, leaves)
        return tuple(g for k, g in enumerate(given) if k not in self.static)

    def trace(self, fun: Function, what: str, finish: Function | None = None) -> Traced:
        """Trace ``fun`` at all arguments."""

        @wraps(fun)
        def body(*given: Any) -> Any:
            return fun(*self.merged(given))

        return trace_body(
            body, self.leaves, self.treedef, what, names=self.names, eager=self.eager, finish=finish
        )


def positional(fun: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Keyword and default arguments put in their positions."""
    try:
        bound = inspect.signature(fun).bind(*args, **kwargs)
    except ValueError:  # a function without a signature
        if kwargs:
            raise ArgumentError(
                f"`{function_name(fun)}` takes no keyword arguments here", at=here()
            ) from None
        return args
    except TypeError as error:
        raise ArgumentError(f"`{function_name(fun)}`: {error}", at=here()) from None
    bound.apply_defaults()
    if bound.kwargs:
        names = ", ".join(bound.kwargs)
        raise ArgumentError(
            f"`{function_name(fun)}` has derivatives of its own; its keyword-only arguments "
            f"{names} have no position",
            at=here(),
            hint="make them positional, and static with nondiff_argnums where they are no arrays",
        )
    return bound.args


def placeholder(type: TensorType, like: Array | None = None) -> Array:
    """An Array that only has a type (and the data of ``like``), to trace a rule at."""
    return carrying(like, Value(type), None, like is not None and like._weak)


def inexact(leaves: Sequence[Any]) -> list[Any]:
    """Those of floating or complex dtype."""
    return [leaf for leaf in leaves if is_inexact(leaf.type.dtype)]


def with_float0(leaves: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """``tangents`` at the inexact leaves, float0 zeros at the others."""
    rest = iter(tangents)
    return [
        next(rest) if is_inexact(leaf.type.dtype) else methods.float0_zeros(leaf.type)
        for leaf in leaves
    ]
