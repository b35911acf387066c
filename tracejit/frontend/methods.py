"""Everything behind the operators and methods of ``Array``, gathered under one name.

    methods.add(x, 1)      methods.reshape(x, (2, 3))      methods.getitem(x, 0)

The functions are those of ``tracejit.numpy``: elementwise.py, reductions.py, shaping.py,
indexing.py, linear.py, ordering.py, creation.py, interop.py. promotion.py makes their operands
agree in dtype and shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend import array as core
from tracejit.frontend import placement
from tracejit.frontend.axes import by_numpy
from tracejit.frontend.creation import eye, float0_zeros, full, ones_like, to_numpy, zeros_like
from tracejit.frontend.devices import CPU, SingleDeviceSharding, default, find
from tracejit.frontend.eager import remembered
from tracejit.frontend.elementwise import (
    absolute,
    add,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    clip,
    conjugate,
    divide,
    divmod,
    equal,
    floor_divide,
    greater,
    greater_equal,
    imag,
    left_shift,
    less,
    less_equal,
    multiply,
    negative,
    not_equal,
    positive,
    power,
    real,
    remainder,
    right_shift,
    round,
    run,
    subtract,
)
from tracejit.frontend.exchange import (
    cuda_array_interface,
    dlpack_device,
    from_dlpack,
    from_gpu,
    to_dlpack,
)
from tracejit.frontend.flat import Flat, asarray_flags, fill, put, set_part, strides_of
from tracejit.frontend.indexing import At, getitem, iterate, setitem, take
from tracejit.frontend.interop import array_namespace, numpy_function, numpy_ufunc
from tracejit.frontend.linear import dot, matmul, trace
from tracejit.frontend.ordering import argsort, compress, nonzero, repeat, searchsorted, sort
from tracejit.frontend.promotion import canonical, convert
from tracejit.frontend.reductions import (
    all,
    any,
    argmax,
    argmin,
    cumprod,
    cumsum,
    max,
    mean,
    min,
    prod,
    ptp,
    std,
    sum,
    var,
)
from tracejit.frontend.shaping import (
    broadcast_to,
    concatenate,
    diagonal,
    matrix_transpose,
    moveaxis,
    ravel,
    reshape,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from tracejit.ir.types import kind
from tracejit.ops import parts
from tracejit.source import here

__all__ = [
    "At",
    "Flat",
    "absolute",
    "add",
    "all",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "array_namespace",
    "asarray_flags",
    "astype",
    "astype_as",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "broadcast_to",
    "clip",
    "compress",
    "concatenate",
    "conjugate",
    "copy",
    "cumprod",
    "cumsum",
    "cuda_array_interface",
    "device_of",
    "device_put",
    "diagonal",
    "divide",
    "divmod",
    "dlpack_device",
    "dot",
    "equal",
    "eye",
    "fill",
    "float0_zeros",
    "floor_divide",
    "from_dlpack",
    "from_gpu",
    "full",
    "getitem",
    "greater",
    "greater_equal",
    "imag",
    "immutable",
    "is_operand",
    "iterate",
    "left_shift",
    "less",
    "less_equal",
    "matmul",
    "matrix_transpose",
    "max",
    "mean",
    "min",
    "moveaxis",
    "multiply",
    "negative",
    "nonzero",
    "not_equal",
    "numpy_function",
    "numpy_ufunc",
    "ones_like",
    "positive",
    "power",
    "prod",
    "ptp",
    "put",
    "ravel",
    "real",
    "remainder",
    "repeat",
    "reshape",
    "right_shift",
    "round",
    "searchsorted",
    "set_part",
    "setitem",
    "sizes_of",
    "sort",
    "squeeze",
    "stack",
    "std",
    "strides_of",
    "subtract",
    "sum",
    "swapaxes",
    "take",
    "to_dlpack",
    "to_numpy",
    "trace",
    "transpose",
    "var",
    "view",
    "zeros_like",
]


def is_operand(x: Any) -> bool:
    """Whether an operator takes ``x``; with anything else Python asks the other operand."""
    if isinstance(
        x, core.Array | bool | int | float | complex | np.ndarray | np.generic | list | tuple
    ):
        return True
    return hasattr(x, "__array__") and not isinstance(x, type)


def sizes_of(given: tuple[Any, ...]) -> Any:
    """``x.reshape(2, 3)`` and ``x.reshape((2, 3))`` alike."""
    return (
        given[0] if len(given) == 1 and isinstance(given[0], tuple | list | np.ndarray) else given
    )


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """``x`` in another dtype: floats truncate to integers, of complex numbers the real part is
    taken.

    >>> jnp.astype(jnp.array([1.7, -1.7]), int)
    Array([ 1, -1])
    """
    found = convert(core.as_array(x), canonical(float if dtype is None else dtype))
    if device is not None:
        found = placement.settled(found, device)
    return placement.own(found, x) if copy else found


def astype_as(x: Any, dtype: Any, casting: str = "unsafe", device: Any = None) -> Any:
    """``x.astype``: DTypeError where NumPy's rule ``casting`` forbids it."""
    if casting != "unsafe":
        wanted = canonical(float if dtype is None else dtype)
        if not by_numpy("astype", np.can_cast, x.dtype, wanted, casting):
            raise DTypeError(f"astype: {x.dtype} to {wanted} is not {casting!r}", at=here())
    return astype(x, dtype, device=device)


def flattened(x: Any, order: str = "C") -> Any:
    """A copy of ``x`` with one axis."""
    return placement.own(ravel(x, order), x)


def view(x: Any, dtype: Any = None) -> Any:
    """The bits of ``x`` read as another dtype of the same width."""
    x = core.as_array(x)
    if dtype is None or canonical(dtype) == x.dtype:
        return x
    wanted = canonical(dtype)
    if kind(x.dtype) == "b" and wanted.itemsize == 1:
        return convert(x, wanted)
    if x.dtype.itemsize != wanted.itemsize or kind(x.dtype) in "bc" or kind(wanted) in "bc":
        raise DTypeError(
            f"view: {x.dtype} and {wanted} do not have the same width",
            at=here(),
            hint="use .astype to convert values",
        )
    return run(parts.bitcast, x, dtype=wanted)


def copy(a: Any, order: str | None = None) -> Any:
    """The same values; concrete data gets memory of its own. ``order`` is accepted: arrays have no
    other order than C's.
    """
    a = core.as_array(a)
    return placement.copied(a) if a._trace is None else a


def device_put(x: Any, device: Any = None) -> Any:
    """One array on a device, bound to it; a traced value goes where the program runs."""
    target = None if device is None else find(device)
    if isinstance(x, np.ndarray) and target in (None, CPU):
        x = np.array(x)
    x = core.as_array(x)
    return x if x._trace is not None else placement.put(x, target)


def device_of(x: Any) -> Any:
    """The device an Array lies on; of a traced value the default one."""
    if x._trace is None or x._has_value:
        return placement.home(x)
    return default()


def sharding_of(x: Any) -> Any:
    """``x.sharding``."""
    return SingleDeviceSharding(device_of(x))


def is_bound(x: Any) -> bool:
    """Whether an Array is bound to its device."""
    return x._trace is None and placement.binding(x) is not None


def to_bytes(x: Any, order: str = "C") -> bytes:
    """The bytes of an Array's elements."""
    return bytes(x.concrete("tobytes()").tobytes(order))


def immutable(what: str, hint: str) -> ArgumentError:
    """The error for NumPy methods that write in place."""
    return ArgumentError(f"{what}: arrays are immutable", at=here(), hint=hint)


#: operators and methods that are done at once when they come again
_REMEMBERED = (
    *("absolute", "add", "all", "any", "argmax", "argmin", "argsort", "astype", "bitwise_and"),
    *("bitwise_not", "bitwise_or", "bitwise_xor", "clip", "conjugate", "copy", "cumprod", "cumsum"),
    *("diagonal", "divide", "divmod", "dot", "equal", "flattened", "floor_divide", "getitem"),
    *("greater", "greater_equal", "imag", "left_shift", "less", "less_equal", "matmul"),
    *("matrix_transpose", "max", "mean", "min", "multiply", "negative", "not_equal", "positive"),
    *("power", "prod", "ptp", "ravel", "real", "remainder", "repeat", "reshape", "right_shift"),
    *("round", "searchsorted", "sort", "squeeze", "std", "subtract", "sum", "swapaxes", "take"),
    *("trace", "transpose", "var", "view"),
)
for _name in _REMEMBERED:
    globals()[_name] = remembered(globals()[_name])
