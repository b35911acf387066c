"""Looking into running programs: ``debug.print`` and ``debug.callback``, with JAX's names.

@jit
def f(x):
    debug.print("x is {x}", x=x)
    return x * 2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.frontend.array import apply, as_array
from tracejit.frontend.call import flatten
from tracejit.frontend.callbacks import Flat
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
    apply(ops.host_effect, *[as_array(leaf) for leaf in leaves], function=Flat(callback, treedef))
