"""Looking into running programs: ``debug.print`` and ``debug.callback``, with JAX's names.

>>> from tracejit import debug
>>> @jit
... def f(x):
...     debug.print("x is {x}", x=x)
...     return x * 2
>>> f(1.0)
x is 1.0
Array(2., dtype=float32)
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

    >>> from tracejit import debug
    >>> @jit
    ... def double(x):
    ...     debug.print("x is {x}, of shape {}", x.shape[0], x=x)
    ...     return 2 * x
    >>> double(jnp.array([1.0, 2.0]))
    x is [1. 2.], of shape 2
    Array([2., 4.], dtype=float32)
    """
    arrays = [as_array(a) for a in (*args, *kwargs.values())]
    apply(ops.host_effect, *arrays, function=ops.Print(fmt, tuple(kwargs)))


def callback(
    callback: Callable[..., None], *args: Any, ordered: bool = False, **kwargs: Any
) -> None:
    """Call ``callback(*args, **kwargs)`` with NumPy arrays when the program runs; its result is
    ignored.

    Arguments are pytrees. Calls keep the order of the program, so ``ordered`` changes nothing;
    under vmap there is one for each example.

    >>> from tracejit import debug
    >>> seen = []
    >>> @jit
    ... def double(x):
    ...     debug.callback(seen.append, x)
    ...     return 2 * x
    >>> double(1.0), seen
    (Array(2., dtype=float32), [array(1., dtype=float32)])
    """
    leaves, treedef = flatten((args, kwargs))
    apply(ops.host_effect, *[as_array(leaf) for leaf in leaves], function=Flat(callback, treedef))
