"""NumPy's ``out=``: functions of a public module that write their result into an Array as well.

    add = writing(add)
    add(a, b, out=a)              a[...] = add(a, b), and gives a
    add(a, b, out=a, where=m)     only where m holds

Functions of elements take ``where``, ``dtype`` and ``casting`` too, as NumPy's ufuncs do.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, shaping
from tracejit.frontend.array import as_array
from tracejit.frontend.promotion import canonical, convert
from tracejit.numpy.host import write
from tracejit.source import here

Function = Callable[..., Any]

#: functions of NumPy that take ``out`` and whose JAX form does not
MORE = ("concatenate", "dot")
#: what a ufunc of NumPy takes besides its operands, and JAX's functions of that name do not
OPTIONS = frozenset(("out", "where", "dtype", "casting"))


def writing(function: Function) -> Function:
    """``function``, which takes ``out`` where NumPy's of the same name does."""
    known = getattr(np, function.__name__, None)
    if isinstance(known, np.ufunc):
        return _of_elements(function, known)
    takes_out = "out" in inspect.signature(function).parameters or function.__name__ in MORE
    return _of_arrays(function) if takes_out else function


def _of_arrays(function: Function) -> Function:
    @functools.wraps(function)
    def door(*args: Any, **kwargs: Any) -> Any:
        if not kwargs or kwargs.get("out") is None:
            return function(*args, **kwargs)
        return _written(function, args, kwargs)

    return door


def _of_elements(function: Function, known: np.ufunc) -> Function:
    count = known.nin

    @functools.wraps(function)
    def door(*args: Any, **kwargs: Any) -> Any:
        if len(args) <= count and (not kwargs or OPTIONS.isdisjoint(kwargs)):
            return function(*args, **kwargs)
        return _as_ufunc(function, known, args, kwargs)

    return door


def _written(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A call with ``out``."""
    kwargs = dict(kwargs)
    out, casting = kwargs.pop("out"), kwargs.get("casting", "same_kind")
    result = function(*args, **kwargs)
    if np.shape(out) != result.shape:
        raise ShapeError(
            f"{function.__name__}: the result has the shape {result.shape}, out {np.shape(out)}",
            at=here(),
        )
    return _into(function.__name__, result, out, True, casting)


def _as_ufunc(
    function: Function, known: np.ufunc, args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """A call with any of ``OPTIONS``, or with ``out`` as a further positional argument."""
    name, kwargs = function.__name__, dict(kwargs)
    given, where = kwargs.pop("out", None), kwargs.pop("where", True)
    dtype, casting = kwargs.pop("dtype", None), kwargs.pop("casting", "same_kind")
    operands, more = list(args[: known.nin]), tuple(args[known.nin :])
    if more and given is not None:
        raise ArgumentError(f"{name}: out is given twice", at=here())
    outs = more or (given if isinstance(given, tuple) else (given,) * (given is not None))
    if len(outs) not in (0, known.nout) and not (more and len(outs) < known.nout):
        raise ArgumentError(f"{name}: has {known.nout} results, not {len(outs)}", at=here())
    if dtype is not None and not all(types.endswith("?") for types in known.types):
        to = canonical(dtype)
        operands = [as_array(x) for x in operands]
        shaping.check_casting(name, operands, to, casting)
        operands = [convert(x, to) for x in operands]
    results = function(*operands, **kwargs)
    outs += (None,) * (known.nout - len(outs))
    if where is not True and None in outs:
        raise ArgumentError(
            f"{name}: with where= there is nothing to keep elsewhere",
            at=here(),
            hint="pass out=, or use jnp.where(condition, result, other)",
        )
    if known.nout == 1:
        return _into(name, results, outs[0], where, casting)
    each = zip(results, outs, strict=True)
    return tuple(_into(name, result, out, where, casting) for result, out in each)


def _into(name: str, result: Any, out: Any, where: Any, casting: str) -> Any:
    """``out`` after ``result`` was written into it; the result where there is none."""
    if out is None:
        return result
    if not hasattr(out, "dtype"):
        raise ArgumentError(f"{name}: out is an array, not {type(out).__name__}", at=here())
    shaping.check_casting(name, [result], out.dtype, casting)
    if where is not True:
        result = promotion.broadcast_to(convert(as_array(result), out.dtype), np.shape(out))
        mask = promotion.broadcast_to(ew.truth(where), np.shape(out))
        result = ew.select(mask, result, as_array(out))
    write(name, out, result)
    return out
