"""What NumPy programs use around arrays: other names of dtypes, kinds of arrays that are one kind
here, text of numbers, and questions about memory.

>>> print(jnp.ascontiguousarray(jnp.arange(2).T), jnp.binary_repr(10), jnp.intp)
[0 1] 1010 tracejit.numpy.int64
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tracejit import errors as _errors
from tracejit.errors import WrongValueError
from tracejit.frontend import creation, elementwise
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import by_numpy
from tracejit.ir.types import kind
from tracejit.numpy.dtypes import ScalarType
from tracejit.source import here

byte, short, intc, intp = (ScalarType(name) for name in ("i8", "i16", "i32", "i64"))
ubyte, ushort, uintc, uintp = (ScalarType(name) for name in ("u8", "u16", "u32", "u64"))
half, longlong, ulonglong = ScalarType("f16"), ScalarType("i64"), ScalarType("u64")
long = ScalarType("i64" if np.dtype(np.long).itemsize == 8 else "i32")
ulong = ScalarType("u64" if np.dtype(np.ulong).itemsize == 8 else "u32")

# NumPy's own: what is asked of dtypes that arrays here do not have, constants, tables
False_, True_ = np.False_, np.True_
bytes_, str_, void = np.bytes_, np.str_, np.void
datetime64, timedelta64 = np.datetime64, np.timedelta64
longdouble, clongdouble = np.longdouble, np.clongdouble
little_endian = np.little_endian
typecodes = np.typecodes
base_repr, binary_repr = np.base_repr, np.binary_repr
mintypecode, typename = np.mintypecode, np.typename


def _host(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's ``function``, from Arrays to Arrays: of values that are known."""
    name = function.__name__

    def given(x: Any) -> Any:
        if isinstance(x, Array):
            return x.concrete(f"{name}()")
        return type(x)(map(given, x)) if type(x) in (list, tuple) else x

    @functools.wraps(function)
    def on_host(*args: Any, **kwargs: Any) -> Any:
        plain = {key: given(x) for key, x in kwargs.items()}
        found = by_numpy(name, function, *map(given, args), **plain)
        known = isinstance(found, np.ndarray | np.generic) and found.dtype.kind in "biufc"
        return as_array(found) if known else found

    return _errors.public_function(on_host)


array2string = _host(np.array2string)
common_type = _host(np.common_type)
format_float_positional = _host(np.format_float_positional)
format_float_scientific = _host(np.format_float_scientific)
may_share_memory = _host(np.may_share_memory)
min_scalar_type = _host(np.min_scalar_type)
nditer = _host(np.nditer)
shares_memory = _host(np.shares_memory)

#: functions whose results are complex where they have to be; of values that are known
emath = SimpleNamespace(
    **{
        name: _host(getattr(np.emath, name))
        for name in (
            *("arccos", "arcsin", "arctanh", "log", "log10", "log2", "logn", "power", "sqrt"),
        )
    }
)


def asanyarray(a: Any, dtype: Any = None, order: Any = None, **options: Any) -> Any:
    """``asarray``: there are no subclasses of arrays."""
    return creation.asarray(a, dtype, order, **options)


def ascontiguousarray(a: Any, dtype: Any = None) -> Any:
    """``a`` as an Array with an axis at least: all lie in row-major order.

    >>> jnp.ascontiguousarray(2.0)
    Array([2.], dtype=float32)
    """
    found = creation.asarray(a, dtype)
    return found if found.ndim else found.reshape(1)


def asfortranarray(a: Any, dtype: Any = None) -> Any:
    """``asarray``: arrays have no other order than C's."""
    return creation.asarray(a, dtype)


def require(a: Any, dtype: Any = None, requirements: Any = None) -> Any:
    """``asarray``: what can be required of the memory of an array holds, or has no meaning."""
    return creation.asarray(a, dtype)


def asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> Any:
    """``asarray`` of values that are known and finite, else WrongValueError."""
    found = creation.asarray(a, dtype, order)
    if kind(found.dtype) in "fc":
        data = found.concrete("asarray_chkfinite()")
        if not np.isfinite(data).all():
            raise WrongValueError("asarray_chkfinite: there are infs or nans", at=here())
    return found


def real_if_close(a: Any, tol: float = 100) -> Any:
    """The real part of ``a`` where all imaginary parts are known and within ``tol`` roundings of
    0, else ``a``.

    >>> jnp.real_if_close(jnp.array([2.1 + 4e-15j]), tol=1000)
    Array([2.1], dtype=float32)
    """
    a = as_array(a)
    if kind(a.dtype) != "c":
        return a
    limit = tol * np.finfo(a.dtype).eps if tol > 1 else tol
    return a.real if np.all(np.abs(a.concrete("real_if_close()").imag) < limit) else a


def fix(x: Any) -> Any:
    """``trunc``: the next number towards zero without a fraction."""
    return elementwise.trunc(x)


def broadcast(*args: Any) -> Any:
    """NumPy's ``broadcast``: the shape that arrays have together, and their elements in turn."""
    return by_numpy("broadcast", np.broadcast, *(as_array(a).concrete("broadcast()") for a in args))


def isfortran(a: Any) -> bool:
    """False: arrays have no other order than C's."""
    return False


def savez_compressed(file: Any, *args: Any, allow_pickle: bool = True, **kwds: Any) -> None:
    """``savez`` with compression."""
    plain = [as_array(a).concrete("savez_compressed()") for a in args]
    named = {name: as_array(a).concrete("savez_compressed()") for name, a in kwds.items()}
    np.savez_compressed(file, *plain, **named)


def about_missing(name: str) -> str:
    """What to do about a name of NumPy that is not here."""
    if name in ("matrix", "asmatrix", "bmat", "mat"):
        return "there are no matrices: use arrays with @"
    if name in ("rec", "recarray", "record", "char", "strings", "chararray"):
        return "arrays hold numbers only: import numpy for these"
    return ""


__all__ = [
    *("False_", "True_", "array2string", "asanyarray", "asarray_chkfinite", "ascontiguousarray"),
    *("asfortranarray", "base_repr", "binary_repr", "broadcast", "byte", "bytes_", "clongdouble"),
    *("common_type", "datetime64", "emath", "fix", "format_float_positional"),
    *("format_float_scientific", "half", "intc", "intp", "isfortran", "little_endian", "long"),
    *("longdouble", "longlong", "may_share_memory", "min_scalar_type", "mintypecode", "nditer"),
    *("real_if_close", "require", "savez_compressed", "shares_memory", "short", "str_"),
    *("timedelta64", "typecodes", "typename", "ubyte", "uintc", "uintp", "ulong", "ulonglong"),
    *("ushort", "void"),
]
