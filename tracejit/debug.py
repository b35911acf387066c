"""Looking into running programs: ``debug.print`` and ``debug.callback``, with JAX's names, and
``debug.cuda_on_cpu``, which runs programs for a GPU without one.

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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracejit.frontend import devices
from tracejit.frontend.array import apply, as_array
from tracejit.frontend.call import flatten
from tracejit.frontend.callbacks import Flat
from tracejit.lazy import lazy
from tracejit.ops import callback as ops
from tracejit.runtime.gpu import registry

__all__ = ["callback", "cuda_on_cpu", "print"]

# g++ and the CUDA emulator are looked for when they are used
_host = lazy("tracejit.runtime.gpu.host_device")


@contextmanager
def cuda_on_cpu(
    orders: Sequence[int] = (0, 1, 2), *, checks: bool = True, memory: int = 8 << 30
) -> Iterator[devices.Device]:
    """A block in which the CPU plays a GPU: programs for "cuda" run, compiled by g++ from the very
    CUDA C that a GPU would run. Slow: for finding mistakes, not for computing.

    Each kernel runs in several ``orders`` of its threads and blocks (0 forward, 1 backward, others
    shuffled); where results differ there is a race. With ``checks``, every access is looked at: one
    outside of an array or not aligned, two threads that use one place with no barrier between, a
    read of shared memory that was never written. ``memory``: bytes that the device has.

    Raises BackendError where there is no g++, DeviceError for what the checks find: it names the
    kernel, line, thread and block, in generated kernels and in a user's own.

    >>> from tracejit import debug
    >>> with debug.cuda_on_cpu() as device:  # doctest: +SKIP
    ...     jit(lambda x: 2 * x, device=device)(jnp.arange(3.0))
    Array([0., 2., 4.], dtype=float32)
    """
    device = _host.HostDevice(orders, checks, memory=memory)
    with registry.emulated(device):
        yield devices.user_device(device)
        devices.user_device(device).synchronize()


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
