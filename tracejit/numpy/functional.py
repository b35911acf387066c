"""Functions of functions: vectorize, apply_along_axis; printing, saving and loading.

>>> apply_along_axis(jnp.sum, 0, jnp.ones((2, 3)))
Array([2., 2., 2.], dtype=float32)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, ShapeError, TracedValueError
from tracejit.frontend import promotion, shaping
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axis_number
from tracejit.frontend.promotion import reshaped
from tracejit.frontend.trace import current_trace
from tracejit.frontend.vectorize import vmap
from tracejit.source import here


def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    """``func1d`` of every vector along ``axis``; its results stand where the axis was.

    A ``func1d`` that needs values is called for one vector after the other, where they are known.
    """
    arr = as_array(arr)
    number = axis_number("apply_along_axis", axis, arr.ndim)

    def mapped(x: Any) -> Any:
        return func1d(x, *args, **kwargs)

    vectors = shaping.moveaxis(arr, number, -1)
    try:
        found = functools.reduce(lambda fun, _: vmap(fun), range(arr.ndim - 1), mapped)(vectors)
    except TracedValueError:
        if current_trace() is not None or arr.size == 0:
            raise
        rows = [mapped(x) for x in shaping.reshape(vectors, (-1, arr.shape[number]))]
        stacked = shaping.stack(rows)
        found = shaping.reshape(stacked, (*vectors.shape[:-1], *stacked.shape[1:]))
    rank = found.ndim - (arr.ndim - 1)
    return shaping.moveaxis(
        found, tuple(range(arr.ndim - 1, found.ndim)), tuple(range(number, number + rank))
    )


def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """``func(a, axis)`` for each axis in turn, reduced axes kept with size 1."""
    found = as_array(a)
    rank = found.ndim
    for axis in axes if isinstance(axes, Sequence) else (axes,):
        number = axis_number("apply_over_axes", axis, rank)
        result = as_array(func(found, number))
        found = shaping.expand_dims(result, number) if result.ndim == rank - 1 else result
        if found.ndim != rank:
            raise ShapeError(
                f"apply_over_axes: the function removed {rank - result.ndim} axes", at=here()
            )
    return found


# ---- vectorize -----------------------------------------------------------------------------------

_CORE = r"\(\s*(?:\w+\s*(?:,\s*\w+\s*)*)?\)"
_SIGNATURE = re.compile(rf"^\s*{_CORE}(?:\s*,\s*{_CORE})*\s*->\s*{_CORE}(?:\s*,\s*{_CORE})*\s*$")


def _parse_signature(signature: str, count: int) -> list[tuple[str, ...]]:
    """The names of the core axes of every argument in "(n,k),(k)->(n)"."""
    if not _SIGNATURE.match(signature):
        raise ArgumentError(
            f"vectorize: {signature!r} is no signature",
            at=here(),
            hint="write it as '(n,k),(k)->(n)'",
        )
    inputs = re.findall(_CORE, signature.split("->")[0])
    if len(inputs) != count:
        raise ArgumentError(
            f"vectorize: the signature has {len(inputs)} arguments, {count} are given", at=here()
        )
    return [tuple(re.findall(r"\w+", text)) for text in inputs]


def vectorize(
    pyfunc: Callable[..., Any] | None = None,
    *,
    excluded: Any = frozenset(),
    signature: str | None = None,
    otypes: Any = None,
    doc: str | None = None,
    cache: bool = False,
) -> Any:
    """A function of single elements (or of the core axes of ``signature``) as one that broadcasts
    over arrays.

    ``excluded``: positions and names of arguments that are handed over as they are. ``otypes``: the
    dtypes of the results. A function that needs values (``if x > 0``, ``math.sin(x)``) is called
    for one element after the other, as by NumPy, where they are known. Without ``pyfunc`` a
    decorator.

    >>> norm = jnp.vectorize(lambda v: jnp.sqrt(jnp.sum(v**2)), signature="(n)->()")
    >>> norm(jnp.array([[3.0, 4.0], [6.0, 8.0]]))
    Array([ 5., 10.], dtype=float32)
    """

    if pyfunc is None:
        options = {"excluded": excluded, "signature": signature, "otypes": otypes, "doc": doc}
        return functools.partial(vectorize, **options)

    @functools.wraps(pyfunc)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        mapped = [k for k in range(len(args)) if k not in excluded]
        names = sorted(name for name in kwargs if name not in excluded)
        xs = [as_array(args[k]) for k in mapped] + [as_array(kwargs[n]) for n in names]

        def of_mapped(*ys: Any) -> Any:
            full = list(args)
            for k, y in zip(mapped, ys, strict=False):
                full[k] = y
            return pyfunc(*full, **{**kwargs, **dict(zip(names, ys[len(mapped) :], strict=True))})

        cores = [()] * len(xs) if signature is None else _parse_signature(signature, len(xs))
        try:
            found = _broadcasting(of_mapped, xs, cores)
        except TracedValueError:
            if current_trace() is not None:
                raise
            return _one_by_one(of_mapped, xs, signature, otypes)
        return found if otypes is None else _of_types(found, otypes)

    if doc is not None:
        wrapped.__doc__ = doc
    return wrapped


def _one_by_one(fun: Callable[..., Any], xs: list[Any], signature: Any, otypes: Any) -> Any:
    """``fun`` of single numbers, or of NumPy's arrays of core axes, as NumPy's ``vectorize``."""
    data = [x.concrete("vectorize()") for x in xs]
    found = np.vectorize(fun, otypes=otypes, signature=signature)(*data)
    if isinstance(found, tuple):
        return tuple(map(_handed, found))
    return _handed(found)


def _handed(x: np.ndarray) -> Any:
    return as_array(x) if x.dtype.kind in "biufc" else x


def _of_types(found: Any, otypes: Any) -> Any:
    """The results in the dtypes that ``otypes`` names, one for each."""
    several = isinstance(found, tuple)
    names = list(otypes) if isinstance(otypes, str | list | tuple) else [otypes]
    dtypes = [promotion.canonical(float if name == "d" else name) for name in names]
    results = found if several else (found,)
    if len(dtypes) != len(results):
        raise ArgumentError(
            f"vectorize: {len(dtypes)} otypes for {len(results)} results", at=here()
        )
    converted = [promotion.convert(as_array(y), d) for y, d in zip(results, dtypes, strict=True)]
    return tuple(converted) if several else converted[0]


def _broadcasting(fun: Callable[..., Any], xs: list[Any], cores: Sequence[tuple[str, ...]]) -> Any:
    """``fun`` mapped over the axes in front of the core ones, without copying what only
    broadcasts.
    """
    sizes: dict[str, int] = {}
    leads = []
    for x, names in zip(xs, cores, strict=True):
        if x.ndim < len(names):
            raise ShapeError(f"vectorize: an argument {x.type} lacks core axes {names}", at=here())
        cut = x.ndim - len(names)
        for name, n in zip(names, x.shape[cut:], strict=True):
            if sizes.setdefault(name, n) != n:
                raise ShapeError(
                    f"vectorize: core axis {name} has sizes {sizes[name]} and {n}", at=here()
                )
        leads.append(x.shape[:cut])
    stand_ins = [as_array(np.broadcast_to(np.False_, lead)) for lead in leads]
    shape = promotion.broadcast_shapes("vectorize", stand_ins) if stand_ins else ()
    mapped = fun
    # from the innermost axis outward: an argument that lacks an axis, or has size 1 there, is not
    # mapped over it
    for k in range(len(shape)):
        axis = len(shape) - 1 - k
        in_axes = tuple(_mapped_axis(lead, len(shape), axis, shape[axis]) for lead in leads)
        if all(a is None for a in in_axes):
            mapped = _with_axis(mapped)
            continue
        mapped = vmap(mapped, in_axes=in_axes)
    # axes of size 1 are mapped by nobody: they go
    thin = [
        reshaped(x, (*(n for n in lead if n != 1), *x.shape[len(lead) :]))
        for x, lead in zip(xs, leads, strict=True)
    ]
    return mapped(*thin)


def _mapped_axis(lead: tuple[int, ...], rank: int, axis: int, size: int) -> int | None:
    place = axis - (rank - len(lead))
    return 0 if place >= 0 and lead[place] == size and size != 1 else None


def _with_axis(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The results of ``fun`` with an axis of size 1 in front."""

    def with_axis(*xs: Any) -> Any:
        found = fun(*xs)
        if isinstance(found, tuple):
            return tuple(shaping.expand_dims(y, 0) for y in found)
        return shaping.expand_dims(found, 0)

    return with_axis


# ---- text and files ------------------------------------------------------------------------------


def array_repr(
    arr: Any, max_line_width: Any = None, precision: Any = None, suppress_small: Any = None
) -> str:
    """The text of an array with its dtype."""
    arr = as_array(arr)
    if arr._data is None:
        return repr(arr)
    return "Array" + np.array_repr(
        arr._data, max_line_width, precision, suppress_small
    ).removeprefix("array")


def array_str(
    a: Any, max_line_width: Any = None, precision: Any = None, suppress_small: Any = None
) -> str:
    """The text of an array's data."""
    a = as_array(a)
    return (
        str(a)
        if a._data is None
        else np.array_str(a._data, max_line_width, precision, suppress_small)
    )


def save(file: Any, arr: Any, allow_pickle: bool = True) -> None:
    """Write an array as an .npy file."""
    np.save(file, as_array(arr).concrete("save()"), allow_pickle=allow_pickle)


def savez(file: Any, *args: Any, allow_pickle: bool = True, **kwds: Any) -> None:
    """Write arrays as an .npz file; ``allow_pickle`` has no part, arrays hold no objects."""
    plain = [as_array(a).concrete("savez()") for a in args]
    np.savez(file, *plain, **{name: as_array(a).concrete("savez()") for name, a in kwds.items()})


def load(
    file: Any,
    mmap_mode: Any = None,
    allow_pickle: bool = False,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    *,
    max_header_size: int = 10000,
) -> Any:
    """Read an .npy file as an array, or an .npz file as NumPy's mapping from names to NumPy
    arrays. The arguments are those of ``numpy.load``.
    """
    found = np.load(
        file,
        mmap_mode,
        allow_pickle,
        fix_imports,
        encoding,
        max_header_size=max_header_size,
    )
    return as_array(found) if isinstance(found, np.ndarray) else found


def fromfile(file: Any, dtype: Any = float, count: int = -1, sep: str = "", offset: int = 0) -> Any:
    """Numbers from a binary file or text."""
    return as_array(np.fromfile(file, promotion.canonical(dtype), count, sep, offset))
