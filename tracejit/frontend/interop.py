"""NumPy's own functions called on Arrays: ``np.sin(x)`` and ``np.concatenate([x, y])`` become
tracejit's.

A function that tracejit lacks runs in NumPy when all Arrays have data, and is an error naming it
when one is traced.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.frontend import array as core
from tracejit.lazy import lazy
from tracejit.source import here

_namespace = lazy("tracejit.numpy")

#: what ``ufunc.reduce`` and ``ufunc.accumulate`` are called
REDUCE = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}
ACCUMULATE = {"add": "cumsum", "multiply": "cumprod"}


#: versions of the Python Array API standard that the namespace follows, oldest first
ARRAY_API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")


def array_namespace(api_version: str | None = None) -> ModuleType:
    """``tracejit.numpy``, which lies above this module: loaded when a user asks for it.

    Raises ArgumentError for a version of the Array API standard that it does not follow.
    """
    if api_version is not None and api_version not in ARRAY_API_VERSIONS:
        raise ArgumentError(
            f"tracejit.numpy does not follow version {api_version!r} of the array API standard",
            at=here(),
            hint=f"it follows {', '.join(ARRAY_API_VERSIONS)}",
        )
    _namespace.ndarray  # noqa: B018 - loads it, and then it is the module itself that answers
    return sys.modules[_namespace.__name__]


def numpy_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer to ``ufunc(*inputs)`` (or ``ufunc.reduce`` ...) with an Array among the inputs."""
    kwargs = dict(kwargs)
    outs = kwargs.pop("out", None)
    if outs is not None and any(o is not None for o in outs):
        if any(isinstance(o, core.Array) for o in outs):
            raise ArgumentError(
                f"numpy.{ufunc.__name__}: arrays are immutable, there is no out", at=here()
            )
        return getattr(ufunc, method)(
            *_as_numpy(f"numpy.{ufunc.__name__} with out=", inputs), out=outs, **kwargs
        )
    names = {
        "__call__": {ufunc.__name__: ufunc.__name__},
        "reduce": REDUCE,
        "accumulate": ACCUMULATE,
    }
    found = getattr(array_namespace(), names.get(method, {}).get(ufunc.__name__, ""), None)
    dtype = kwargs.pop("dtype", None) if method == "__call__" else None
    if method != "__call__":
        kwargs.setdefault("axis", 0)
    if found is None:
        dotted = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        return _run_in_numpy(getattr(ufunc, method), f"numpy.{dotted}", inputs, kwargs)
    result = found(*inputs, **kwargs)
    return result if dtype is None else result.astype(dtype)


def numpy_function(func: Any, args: Any, kwargs: Any) -> Any:
    """The answer to a NumPy function with an Array somewhere among its arguments."""
    module = getattr(func, "__module__", None) or "numpy"
    found: Any = array_namespace()
    for part in module.split(".")[1:]:
        found = getattr(found, part, None)
    found = getattr(found, func.__name__, None)
    if found is None:
        return _run_in_numpy(func, f"{module}.{func.__name__}", args, kwargs)
    return found(*args, **kwargs)


def _run_in_numpy(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """A function that tracejit does not have, on the data of the Arrays."""
    args, kwargs = (
        _as_numpy(name, args),
        dict(zip(kwargs, _as_numpy(name, tuple(kwargs.values())), strict=True)),
    )
    result = func(*args, **kwargs)
    return core.from_numpy(result) if isinstance(result, np.ndarray | np.generic) else result


def _as_numpy(name: str, args: Any) -> Any:
    """Arguments with the Arrays in them, also in lists and tuples, as NumPy arrays."""
    if isinstance(args, core.Array):
        if args._data is None:
            error = args.traced_error(name)
            own = name.replace("numpy", "tracejit.numpy", 1)
            error.hint = f"there is no {own}: compute it from functions of tracejit.numpy"
            raise error
        return args._data
    if isinstance(args, list | tuple):
        return type(args)(_as_numpy(name, x) for x in args)
    return args
