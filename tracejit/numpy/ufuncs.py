"""Universal functions: a function of elements with its ways over arrays, as NumPy's ``ufunc``.

    >>> larger = frompyfunc(lambda x, y: jnp.where(x > y, x, y), 2, 1)
    >>> larger.reduce(jnp.array([1, 3, 2])), larger.accumulate(jnp.array([1, 3, 2]))
    (Array(3), Array([1, 3, 3]))

The arithmetic functions themselves stay plain functions, which call faster; ``with_methods`` hangs
the methods onto them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.errors import ArgumentError, user_methods
from tracejit.frontend import creation, indexing, promotion, reductions, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.axes import axes_tuple, axis_number, integer
from tracejit.frontend.promotion import canonical, convert, reshaped, to_inexact
from tracejit.ir.types import DTYPES
from tracejit.lax.loops import scan
from tracejit.numpy.functional import vectorize
from tracejit.numpy.host import write
from tracejit.source import here

Function = Callable[..., Any]


class _Kind(type):
    """Functions that carry the methods of a ufunc count as ufuncs."""

    def __instancecheck__(cls, x: Any) -> bool:
        return super().__instancecheck__(x) or hasattr(x, "reduceat")


@user_methods("__call__", "reduce", "accumulate", "at", "outer", "reduceat")
class ufunc(metaclass=_Kind):  # noqa: N801  # NumPy's name
    """A function of ``nin`` elements with ``nout`` results, and its methods over arrays.

    Made by ``frompyfunc``. ``identity`` is what a reduction starts with. ``call``, ``reduce``,
    ``accumulate``, ``at`` and ``reduceat`` are faster ways to the same results.
    """

    def __init__(
        self,
        func: Function,
        /,
        nin: int,
        nout: int,
        *,
        name: str | None = None,
        nargs: int | None = None,
        identity: Any = None,
        call: Function | None = None,
        reduce: Function | None = None,
        accumulate: Function | None = None,
        at: Function | None = None,
        reduceat: Function | None = None,
    ) -> None:
        if not callable(func):
            raise ArgumentError(f"ufunc: {func!r} is no function", at=here())
        self.nin, self.nout = integer(nin, "ufunc: nin"), integer(nout, "ufunc: nout")
        self.nargs = self.nin if nargs is None else integer(nargs, "ufunc: nargs")
        self.identity = identity
        self.__name__ = name or getattr(func, "__name__", "ufunc")
        self.__doc__ = getattr(func, "__doc__", None)
        self._call = call or vectorize(func)
        self._reduce, self._accumulate, self._at, self._reduceat = reduce, accumulate, at, reduceat

    def __repr__(self) -> str:
        return f"<jnp.ufunc {self.__name__!r}>"

    def __call__(self, *args: Any, out: None = None, where: None = None) -> Any:
        ew.no_out(self.__name__, out)
        if where is not None:
            raise ArgumentError(
                f"{self.__name__}: there is no where= here, results have no old values to keep",
                at=here(),
                hint="use jnp.where(condition, result, other)",
            )
        if len(args) != self.nargs:
            raise ArgumentError(
                f"{self.__name__}: takes {self.nargs} arrays, {len(args)} are given", at=here()
            )
        return self._call(*args)

    def _of_two(self, method: str) -> None:
        if (self.nin, self.nout) != (2, 1):
            raise ArgumentError(
                f"{self.__name__}.{method}: is for functions of two arrays with one result, not of "
                f"{self.nin} with {self.nout}",
                at=here(),
            )

    def reduce(
        self,
        a: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
    ) -> Any:
        """The elements along ``axis`` combined from first to last; all for None.

        ``initial`` comes first, by default the ``identity``; elements where ``where`` is false are
        left out. Raises ArgumentError over an empty axis with neither.
        """
        self._of_two("reduce")
        ew.no_out(f"{self.__name__}.reduce", out)
        if self._reduce is not None:
            return self._reduce(a, axis, dtype, None, keepdims, initial, where)
        a = _typed(a, dtype)
        axes = axes_tuple(f"{self.__name__}.reduce", axis, a.ndim)
        rows, kept = _in_front(a, axes)
        needed = rows.shape[0] == 0 or where is not None
        first = self.identity if initial is None and needed else initial
        if first is None and needed:
            raise ArgumentError(
                f"{self.__name__}.reduce: there is nothing to start with",
                at=here(),
                hint="initial=",
            )
        flags = None if where is None else _in_front(_flags(where, a), axes)[0]
        if first is None:
            found, rows = rows[0], rows[1:]
        else:
            found = promotion.broadcast_to(promotion.typed(first, rows.dtype), rows.shape[1:])

        def step(total: Any, x: Any) -> Any:
            row, flag = x
            after = convert(self(total, row), total.dtype)
            return (after if flag is None else ew.select(flag, after, total)), None

        found = scan(step, found, (rows, flags), length=rows.shape[0])[0]
        return reshaped(found, kept) if keepdims else found

    def accumulate(self, a: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Any:
        """The results of ``reduce`` after each element along ``axis``."""
        self._of_two("accumulate")
        ew.no_out(f"{self.__name__}.accumulate", out)
        if self._accumulate is not None:
            return self._accumulate(a, axis, dtype)
        a = _typed(a, dtype)
        number = axis_number(f"{self.__name__}.accumulate", axis, a.ndim)
        rows = shaping.moveaxis(a, number, 0)
        if rows.shape[0] == 0:
            return a

        def step(total: Any, row: Any) -> Any:
            after = convert(self(total, row), total.dtype)
            return after, after

        rest = scan(step, rows[0], rows[1:])[1]
        return shaping.moveaxis(shaping.concatenate([rows[:1], rest], 0), 0, number)

    def at(self, a: Any, indices: Any, b: Any = None, /, *, inplace: bool = True) -> Any:
        """The function applied at ``indices`` of ``a``, or with inplace=False of a copy, one after
        the other: an element that is named twice changes twice.
        """
        name = f"{self.__name__}.at"
        if inplace:
            return write(name, a, self.at(a, indices, b, inplace=False))
        if (self.nin == 2) != (b is not None) or self.nout != 1 or self.nin > 2:
            raise ArgumentError(f"{name}: takes {self.nin} arrays and the indices", at=here())
        if self._at is not None:
            return self._at(a, indices, b)
        a = as_array(a)
        places = reshaped(creation.iota(DTYPES["i64"], (a.size,), 0), a.shape)
        picked = as_array(indexing.getitem(places, indices))
        values = None
        if b is not None:
            wide = promotion.broadcast_to(promotion.typed(b, a.dtype), picked.shape)
            values = shaping.ravel(wide)

        def step(flat: Any, x: Any) -> Any:
            place, value = x
            old = indexing.take(flat, place, 0, mode="promise_in_bounds")
            new = convert(self(old) if value is None else self(old, value), flat.dtype)
            return indexing.updated(flat, place, new, "set", "promise_in_bounds"), None

        flat = scan(step, shaping.ravel(a), (shaping.ravel(picked), values))[0]
        return reshaped(flat, a.shape)

    def outer(self, A: Any, B: Any, /) -> Any:
        """The function of every element of ``A`` with every element of ``B``."""
        if self.nin != 2:
            raise ArgumentError(f"{self.__name__}.outer: is for functions of two arrays", at=here())
        one, two = as_array(A), as_array(B)
        return self(reshaped(one, (*one.shape, *(1,) * two.ndim)), two)

    def reduceat(
        self, a: Any, indices: Any, axis: int = 0, dtype: Any = None, out: None = None
    ) -> Any:
        """Reductions from each of ``indices`` to before the next one, the last to the end; the
        element itself where the next is not larger.
        """
        self._of_two("reduceat")
        ew.no_out(f"{self.__name__}.reduceat", out)
        if self._reduceat is not None:
            return self._reduceat(a, indices, axis, dtype)
        a = _typed(a, dtype)
        number = axis_number(f"{self.__name__}.reduceat", axis, a.ndim)
        rows, starts = shaping.moveaxis(a, number, 0), as_array(indices)
        n = rows.shape[0]
        after = shaping.concatenate([starts[1:], as_array([n])], 0)
        ends = ew.select(ew.greater(after, starts), after, ew.add(starts, 1))
        shape = (starts.size, *(1,) * (rows.ndim - 1))
        starts_of, ends_of = reshaped(starts, shape), reshaped(ends, shape)

        def step(found: Any, x: Any) -> Any:
            place, row = x
            inside = ew.logical_and(ew.greater(place, starts_of), ew.less(place, ends_of))
            return ew.select(inside, convert(self(found, row), found.dtype), found), None

        first = indexing.take(rows, starts, 0)
        found = scan(step, first, (creation.iota(DTYPES["i64"], (n,), 0), rows))[0]
        return shaping.moveaxis(found, 0, number)


def _typed(a: Any, dtype: Any) -> Any:
    return as_array(a) if dtype is None else convert(as_array(a), canonical(dtype))


def _flags(where: Any, a: Any) -> Any:
    return promotion.broadcast_to(ew.truth(where), a.shape)


def _in_front(a: Any, axes: Sequence[int]) -> tuple[Any, tuple[int, ...]]:
    """``a`` with the axes merged into a first one, and its shape with them kept as size 1."""
    rest = [k for k in range(a.ndim) if k not in axes]
    moved = shaping.transpose(a, (*axes, *rest))
    kept = tuple(1 if k in axes else n for k, n in enumerate(a.shape))
    count = 1
    for k in axes:
        count *= a.shape[k]
    return reshaped(moved, (count, *(a.shape[k] for k in rest))), kept


def frompyfunc(func: Function, /, nin: int, nout: int, *, identity: Any = None) -> ufunc:
    """A ufunc of a function of elements: it broadcasts over arrays, reduces, accumulates.

    >>> product = jnp.frompyfunc(lambda x, y: x * y, nin=2, nout=1, identity=1)
    >>> product.outer(jnp.array([1, 2]), jnp.array([3, 4]))
    Array([[3, 4],
           [6, 8]])
    """
    return ufunc(func, nin, nout, identity=identity)


# ---- the arithmetic functions --------------------------------------------------------------------


def _summed(fold: Function) -> Function:
    return lambda a, axis, dtype, out, keep, initial, where: fold(
        a, axis, dtype, None, keep, initial, where
    )


def _extreme(fold: Function) -> Function:
    return lambda a, axis, dtype, out, keep, initial, where: fold(
        _typed(a, dtype), axis, None, keep, initial, where
    )


def _judged(fold: Function) -> Function:
    return lambda a, axis, dtype, out, keep, initial, where: fold(a, axis, None, keep, where=where)


def _odd(a: Any, axis: Any, dtype: Any, out: Any, keep: bool, initial: Any, where: Any) -> Any:
    """Whether an odd number of elements is true."""
    count = reductions.sum(ew.truth(a), axis, None, None, keep, initial, where)
    return ew.equal(ew.remainder(count, 2), 1)


def _running(fold: Function) -> Function:
    """A running fold, which widens the integers that ``sum`` widens."""
    return lambda a, axis, dtype: fold(a, axis, dtype)


def _updating(how: str) -> Function:
    return lambda a, indices, b: indexing.updated(as_array(a), indices, b, how)


#: name, operands, identity, and the faster ways
KNOWN: dict[str, dict[str, Any]] = {
    "add": {
        "identity": 0,
        "reduce": _summed(reductions.sum),
        "accumulate": _running(reductions.cumsum),
        "at": _updating("add"),
    },
    "multiply": {
        "identity": 1,
        "reduce": _summed(reductions.prod),
        "accumulate": _running(reductions.cumprod),
        "at": _updating("mul"),
    },
    "maximum": {"reduce": _extreme(reductions.max), "at": _updating("max")},
    "minimum": {"reduce": _extreme(reductions.min), "at": _updating("min")},
    "subtract": {},
    "logaddexp": {"identity": float("-inf")},
    "logaddexp2": {"identity": float("-inf")},
    "logical_and": {"identity": True, "reduce": _judged(reductions.all)},
    "logical_or": {"identity": False, "reduce": _judged(reductions.any)},
    "logical_xor": {"identity": False, "reduce": _odd},
    "bitwise_and": {"identity": -1},
    "bitwise_or": {"identity": 0},
    "bitwise_xor": {"identity": 0},
    "negative": {"nin": 1},
    "divide": {},
    "floor_divide": {},
    "power": {},
    "float_power": {},
    "remainder": {},
    "fmod": {},
    "gcd": {"identity": 0},
    "lcm": {},
    "fmax": {},
    "fmin": {},
    "hypot": {"identity": 0},
    "arctan2": {},
    "copysign": {},
    "left_shift": {},
    "right_shift": {},
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), {}),
}


def _on_truth(plain: ufunc) -> dict[str, Function]:
    """The ways of a logical function, which begin with the truth of the elements."""
    return {
        "accumulate": lambda a, axis, dtype: plain.accumulate(ew.truth(a), axis),
        "reduceat": lambda a, places, axis, dtype: plain.reduceat(ew.truth(a), places, axis),
    }


def _on_floats(plain: ufunc) -> dict[str, Function]:
    """The ways of a function that makes floats of integers."""
    return {
        "reduce": lambda a, axis, dtype, out, keep, initial, where: plain.reduce(
            to_inexact(a), axis, dtype, None, keep, initial, where
        ),
        "accumulate": lambda a, axis, dtype: plain.accumulate(to_inexact(a), axis, dtype),
        "reduceat": lambda a, places, axis, dtype: plain.reduceat(
            to_inexact(a), places, axis, dtype
        ),
    }


#: the functions that do
_FLOATS = ("divide", "float_power", "hypot", "arctan2", "copysign", "logaddexp", "logaddexp2")


def with_methods(namespace: dict[str, Any]) -> None:
    """Hang a ufunc's methods onto the functions of ``namespace`` that have two operands."""
    for name, options in KNOWN.items():
        function = namespace[name]
        if name.startswith("logical_"):
            options = {**options, **_on_truth(ufunc(function, 2, 1, call=function))}
        if name in _FLOATS:
            identity = options.get("identity")
            plain = ufunc(function, 2, 1, call=function, identity=identity)
            options = {**options, **_on_floats(plain)}
        given = {"nin": 2, "nout": 1, "name": name, "call": function, **options}
        of_elements = ufunc(function, **given)
        for method in ("reduce", "accumulate", "at", "outer", "reduceat"):
            setattr(function, method, getattr(of_elements, method))
        for field in ("nin", "nout", "nargs", "identity"):
            setattr(function, field, getattr(of_elements, field))
