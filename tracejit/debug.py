"""Looking into running programs: ``debug.print`` and ``debug.callback``, with JAX's names.

@jit
def f(x):
    debug.print("x is {x}", x=x)
    return x * 2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.frontend.array import apply, as_array
from tracejit.frontend.call import flatten
from tracejit.ops import callback as ops

__all__ = ["callback", "print"]


def print(fmt: str, *args: Any, ordered: bool = False, **kwargs: Any) -> None:
    """Print ``fmt.format(*args, **kwargs)`` with the values that the arrays have when the program
    runs.

    Prints keep the order of the program, so ``ordered`` changes nothing. Under vmap each example
    prints.
    """
    arrays = [as_array(a) for a in (*args, *kwargs.values())]
    apply(ops.host_effect, *arrays, function=ops.Print(fmt, tuple(kwargs)))


def callback(
    callback: Callable[..., None], *args: Any, ordered: bool = False, **kwargs: Any
) -> None:
    """Call ``callback(*args, **kwargs)`` with NumPy arrays when the program runs; its result is
    ignored.
    """
    leaves, treedef = flatten((args, kwargs))
    shown = _Shown(callback, treedef)
    apply(ops.host_effect, *[as_array(leaf) for leaf in leaves], function=shown)


class _Shown:
    """A user's callback and the tree of its arguments, compared by both."""

    def __init__(self, function: Callable[..., None], treedef: Any) -> None:
        self.function, self.treedef = function, treedef
        self.__name__ = getattr(function, "__name__", "callback")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shown) and (self.function, self.treedef) == (
            other.function,
            other.treedef,
        )

    def __hash__(self) -> int:
        return hash((self.function, self.treedef))

    def __call__(self, *arrays: np.ndarray) -> None:
        args, kwargs = self.treedef.unflatten(arrays)
        self.function(*args, **kwargs)
