"""Looking into running programs: ``debug.print``, ``log``, ``callback`` and ``breakpoint``, with
JAX's names, and
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

import inspect
import logging
import pdb
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracejit.frontend import devices
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.call import flatten
from tracejit.frontend.callbacks import Flat
from tracejit.lazy import lazy
from tracejit.ops import callback as ops
from tracejit.record import dataclass
from tracejit.runtime.gpu import registry
from tracejit.source import is_internal

__all__ = ["breakpoint", "callback", "cuda_on_cpu", "log", "print"]

LOGGER = logging.getLogger("tracejit")

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


def log(
    fmt: str,
    *args: Any,
    ordered: bool = False,
    partitioned: bool = False,
    skip_format_check: bool = False,
    level: int = logging.INFO,
    **kwargs: Any,
) -> None:
    """``print`` to the logger "tracejit", at ``level``. ``ordered``, ``partitioned`` and
    ``skip_format_check`` are accepted and change nothing.

    >>> import logging
    >>> from tracejit import debug
    >>> logging.getLogger("tracejit").setLevel(logging.WARNING)
    >>> jit(lambda x: debug.log("x is {}", x) or 2 * x)(1.0)  # INFO: not shown
    Array(2., dtype=float32)
    """
    arrays = [as_array(a) for a in (*args, *kwargs.values())]
    apply(ops.host_effect, *arrays, function=_Log(level, fmt, tuple(kwargs)))


@dataclass(frozen=True)
class _Log:
    """Logs its arguments in a format: ``names`` are those of the last ones."""

    level: int
    format: str
    names: tuple[str, ...]
    __name__ = "log"

    def __call__(self, *arrays: Any) -> None:
        text = ops.Print(self.format, self.names).text(*arrays)
        LOGGER.log(self.level, "%s", text)


def breakpoint(
    *,
    backend: str | None = None,
    filter_frames: bool = True,
    num_frames: int | None = None,
    ordered: bool = False,
    token: Any = None,
    **values: Any,
) -> None:
    """Stop the running program and start Python's debugger, with the caller's arrays at hand: its
    local variables, and ``values``.

    In pdb, ``here`` is a dict of them as NumPy arrays, and each is a variable. Of a compiled
    function those are the values at this place of the program; what is no array is as it was while
    the function was traced. The other options are accepted for compatibility.

    >>> from tracejit import debug
    >>> @jit
    ... def f(x):
    ...     y = jnp.sin(x)
    ...     debug.breakpoint()  # (Pdb) p y
    ...     return y * 2
    >>> f(1.0)  # doctest: +SKIP
    """
    caller = inspect.currentframe()
    assert caller is not None and caller.f_back is not None
    frame = caller.f_back
    while frame.f_back is not None and is_internal(frame.f_code.co_filename):
        frame = frame.f_back
    names = {**frame.f_locals, **values}
    traced = {k: v for k, v in names.items() if isinstance(v, Array)}
    plain = {k: v for k, v in names.items() if k not in traced}
    stop = _Stop(tuple(traced), Plain(plain), f"{frame.f_code.co_filename}:{frame.f_lineno}")
    apply(ops.host_effect, *traced.values(), function=stop)


class Plain:
    """A dict compared by identity, as what a node holds must be."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values


@dataclass(frozen=True)
class _Stop:
    """Starts the debugger on its arguments, whose names are ``names``."""

    names: tuple[str, ...]
    plain: Plain
    place: str
    __name__ = "breakpoint"

    def __call__(self, *arrays: Any) -> None:
        names = {**self.plain.values, **dict(zip(self.names, arrays, strict=True))}
        stop = compile("__stop__()", f"<breakpoint at {self.place}>", "exec")
        # a frame with these variables, for the debugger to be in
        exec(stop, {**names, "here": names, "__stop__": pdb.Pdb().set_trace})


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
