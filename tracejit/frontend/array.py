"""The Array that users hold, and ``apply``, the one door from Arrays to primitives.

An Array is concrete (it has data) or traced (it stands for a value of a graph); under ``grad`` and
``vjp`` outside of jit it is both. Arrays are immutable. The functions behind its operators and
methods are in ``methods.py``.

    >>> import tracejit.numpy as jnp
    >>> jnp.arange(3) * 2.5
    Array([0. , 2.5, 5. ], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import hints, source
from tracejit.config import config
from tracejit.errors import (
    ArgumentError,
    DeletedArrayError,
    DTypeError,
    ShapeError,
    TracedValueError,
    TracejitError,
    operand_note,
    user_methods,
)
from tracejit.frontend import long_loops, methods, on_device, placement, recording
from tracejit.frontend.operators import Operators
from tracejit.frontend.rewrite import active
from tracejit.frontend.trace import Trace, current_trace, leaked
from tracejit.ir import interp
from tracejit.ir.graph import Atom, Literal, Node, Value
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, type_of
from tracejit.passes.subgraphs import map_subgraphs, without_effects

_KNOWN = frozenset(DTYPES.values())


class Kind:
    """What a program depends on of an argument. Equal kinds are one object: a key by identity.

    ``device``: the Device that the argument is bound to, if any.
    """

    __slots__ = ("type", "dtype", "shape", "weak", "device")

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...], weak: bool, device: Any) -> None:
        self.type = TensorType(dtype, shape)
        self.dtype = dtype
        self.shape = shape
        self.weak = weak
        self.device = device


class Donated:
    """Takes the place of the memory of an Array that was donated to ``function``, or deleted where
    that is None.
    """

    __slots__ = ("function",)

    def __init__(self, function: str | None) -> None:
        self.function = function

    def __bool__(self) -> bool:
        return False

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        name, what = self.function, f"this array, {TensorType(dtype, shape)}, has been deleted"
        if name is None:
            raise DeletedArrayError(f"{what} by its delete()", at=source.here())
        raise DeletedArrayError(
            f"{what}: its memory was donated to `{name}`",
            at=source.here(),
            hint=f"use what `{name}` returned, or call it with jnp.copy of the array",
        )


#: Python's numbers, which have a dtype by the settings only
SCALARS = frozenset({bool, int, float, complex})

_kinds: dict[tuple[np.dtype, tuple[int, ...], bool, Any], Kind] = {}


def kind_for(
    dtype: np.dtype, shape: tuple[int, ...], weak: bool = False, device: Any = None
) -> Kind:
    """The one Kind of these."""
    key = (dtype, shape, weak, device)
    return _kinds.get(key) or _kinds.setdefault(key, Kind(*key))


@user_methods(
    *("__bool__", "__int__", "__float__", "__complex__", "__index__", "item", "tolist"),
    *("__array__", "__array_ufunc__", "__array_function__", "__dlpack__", "__dlpack_device__"),
    *("__len__", "__hash__", "__format__", "__reduce__", "block_until_ready"),
)
class Array(user_methods()(Operators)):  # type: ignore[misc]
    """An n-dimensional array of one dtype. Made by ``tracejit.numpy.array``, never directly.

    It has NumPy's operators and methods and cannot be changed in place: ``x.at[i].set(y)`` gives a
    new one.

    >>> x = jnp.array([1.0, 2.0, 3.0])
    >>> x.at[0].set(9.0), x.shape, x.dtype
    (Array([9., 2., 3.], dtype=float32), (3,), dtype('float32'))
    """

    __slots__ = ("_array", "_value", "_trace", "_is_weak", "_kind", "_place", "__weakref__")
    __array_priority__ = 100

    def __init__(
        self,
        data: np.ndarray | None,
        value: Atom | None = None,
        trace: Trace | None = None,
        weak: bool = False,
    ) -> None:
        # a program's result has no NumPy array until somebody asks for it: _data
        self._array = data
        self._value = value
        self._trace = trace
        self._is_weak = weak
        # both of a concrete Array, once a program has needed them
        self._kind: Kind | None = None
        self._place: Any = None

    # ---- what it is ----

    @property
    def _data(self) -> np.ndarray | None:
        array = self._array
        if array is None and self._place is not None:
            array = self._array = self._place.array(self._kind.shape, self._kind.dtype)
        return array

    @property
    def _weak(self) -> bool:
        return self._is_weak

    @_weak.setter
    def _weak(self, weak: bool) -> None:
        self._is_weak = weak
        if self._kind is not None:
            self._kind = kind_for(self._kind.dtype, self._kind.shape, weak, self._kind.device)

    def _find_kind(self) -> Kind:
        """Its Kind, kept from the first time on."""
        found = self._kind
        if found is None:
            held = self._array if self._value is None else self._value.type
            found = self._kind = kind_for(held.dtype, held.shape, self._is_weak)
        return found

    def delete(self) -> None:
        """Give the memory back now, on whatever device; using the array later is a
        DeletedArrayError.

        >>> x = jnp.ones(3)
        >>> x.delete()
        >>> x.is_deleted()
        True
        """
        self._array, self._place = None, Donated(None)

    @property
    def _has_value(self) -> bool:
        """Whether it is concrete, which needs no copy to the host to know. Raises
        DeletedArrayError.
        """
        if self._array is not None:
            return True
        if type(self._place) is Donated:
            self._place.array(self.shape, self.dtype)
        return self._place is not None

    @property
    def _on_gpu(self) -> bool:
        """Whether it lies on a GPU: to look at it then takes a copy that waits."""
        return placement.on_gpu(self)

    def _become(self, other: Array) -> None:
        """From here on be what ``other`` is."""
        for slot in ("_array", "_value", "_trace", "_is_weak", "_kind", "_place"):
            setattr(self, slot, getattr(other, slot))

    @property
    def type(self) -> TensorType:
        """Its TensorType: dtype and shape."""
        if self._value is not None:
            return self._value.type
        array = self._array
        return self._kind.type if array is None else type_of(array)

    @property
    def dtype(self) -> np.dtype:
        if self._value is not None:
            return self._value.type.dtype
        array = self._array
        return self._kind.dtype if array is None else array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        if self._value is not None:
            return self._value.type.shape
        array = self._array
        return self._kind.shape if array is None else array.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return self.type.size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.type.nbytes

    @property
    def weak_type(self) -> bool:
        """True for a traced Python scalar, whose dtype gives way to that of other operands."""
        return self._weak

    # ---- concrete values ----

    def concrete(self, what: str) -> np.ndarray:
        """The data; TracedValueError saying that ``what`` needs it where there is none."""
        if self._data is not None:
            return self._data
        raise self.traced_error(what)

    def traced_error(
        self, what: str, hint: str = "", kind: type[TracejitError] = TracedValueError
    ) -> TracejitError:
        """The error for using a traced value where a concrete one is needed."""
        trace, at = self._trace, source.here()
        if not trace.alive:
            return leaked(self)
        made = self.origin()
        notes = (f"the value: {self.type}  {made}",) if made else (f"the value: {self.type}",)
        return kind(
            f"{what} needs a concrete value, but this one is traced by {trace.what} "
            f"of `{trace.function}`",
            at=at,
            notes=notes,
            hint=hint or (hints.concrete(what, *at.text(), rewritten=active.is_on()) if at else ""),
        )

    def origin(self) -> str:
        """Where a traced value comes from: an argument's name or an operation and its line."""
        trace, value = self._trace, self._value
        if trace is None or isinstance(value, Literal):
            return ""
        if value in trace.origins:
            return f"argument `{trace.origins[value]}`"
        made = next((n for n in trace.builder.nodes if value in n.outputs), None)
        if made is None:
            return ""
        where = f", {made.at.short()}" if made.at else ""
        names = sorted(depends_on(trace, made))
        from_args = f", from argument{'s' * (len(names) > 1)} {', '.join(names)}" if names else ""
        return f"from {made.prim.name}{where}{from_args}"

    def __bool__(self) -> bool:
        data = self.concrete("bool()")
        if data.size != 1:
            raise ShapeError(
                f"the truth value of an array of shape {data.shape} is ambiguous",
                at=source.here(),
                hint="use .any() or .all()",
            )
        return bool(data)

    def __int__(self) -> int:
        return int(self._scalar("int()"))

    def __float__(self) -> float:
        return float(self._scalar("float()"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex()"))

    def __index__(self) -> int:
        data = self._scalar("use as an index")
        # as NumPy's: an array with axes is no index of one element, NumPy arrays would take it so
        if self.shape or data.dtype.kind not in "iu":
            raise ArgumentError(
                f"only integer arrays without axes can be used as an index, not {self.type}",
                at=source.here(),
            )
        return int(data)

    def _scalar(self, what: str) -> np.ndarray:
        data = self.concrete(what)
        if data.size != 1:
            raise ArgumentError(
                f"{what}: only an array with one element converts to a scalar, not {self.type}",
                at=source.here(),
            )
        return data.reshape(())

    def item(self, *index: int) -> Any:
        """The element as a Python scalar."""
        return self.concrete("item()").item(*index)

    def tolist(self) -> Any:
        """Nested lists of Python scalars."""
        return self.concrete("tolist()").tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._data is None:
            raise self.traced_error("conversion to a NumPy array")
        if copy:
            return np.array(self._data, dtype=dtype)
        # Arrays are immutable, so what NumPy gets to see is read-only
        view = np.asarray(self._data, dtype=dtype)
        if view is self._data:
            view = view.view()
            view.flags.writeable = False
        return view

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return methods.numpy_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return methods.numpy_function(func, args, kwargs)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        return methods.to_dlpack(self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return methods.dlpack_device(self)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return methods.cuda_array_interface(self)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return methods.array_namespace(api_version)

    def __len__(self) -> int:
        if not self.shape:
            raise ArgumentError(
                "len() of an array without axes",
                at=source.here(),
                notes=(f"the value: {self.type}  {self.origin()}".rstrip(),),
                hint="numpy.atleast_1d(x) has an axis",
            )
        return self.shape[0]

    def __repr__(self) -> str:
        if self.is_deleted():
            return f"Array<{self.type}, deleted>"
        if self._data is None:
            state = self._trace.what if self._trace.alive else "ended trace"
            return f"Array<{self.type}, traced by {state}>"
        return "Array" + repr(self._data).removeprefix("array")

    def __str__(self) -> str:
        return repr(self) if self.is_deleted() or self._data is None else str(self._data)

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        return format(self._scalar("format()").item(), spec)

    def __hash__(self) -> int:
        if self.shape or self._data is None:
            raise ArgumentError(
                "Arrays are not hashable: == compares element by element", at=source.here()
            )
        return hash(self._data.item())  # a NumPy program counts, and looks up, its numbers

    def __reduce__(self) -> Any:
        return (from_numpy, (self.concrete("pickling"),))

    def __copy__(self) -> Array:
        return placement.twin(self)  # type: ignore[no-any-return]

    def __deepcopy__(self, memo: Any) -> Array:
        return placement.twin(self)  # type: ignore[no-any-return]

    def is_deleted(self) -> bool:
        """Whether its memory has been donated: ``jit(f, donate_argnums=0)``."""
        return type(self._place) is Donated

    def block_until_ready(self) -> Array:
        """Wait until the value is there; raises what failed on its device. (CPU calls return when
        it is.)
        """
        placement.wait(self)
        return self


def depends_on(trace: Trace, node: Node) -> set[str]:
    """Names of the arguments a node's result depends on."""
    wanted = {x for x in node.inputs if isinstance(x, Value)}
    for earlier in reversed(trace.builder.nodes):
        if not wanted.isdisjoint(earlier.outputs):
            wanted.update(x for x in earlier.inputs if isinstance(x, Value))
    return {f"`{trace.origins[v]}`" for v in wanted if v in trace.origins}


def from_numpy(data: Any) -> Array:
    """An Array over NumPy data; shares memory where dtype and layout allow."""
    return Array(np.asarray(data))


def scalar_dtype(value: Any) -> np.dtype:
    """The dtype a Python scalar has on its own: bool, default_int, default_float, complex64/128."""
    if isinstance(value, bool):
        return DTYPES["bool"]
    if isinstance(value, int):
        return np.dtype(config.default_int)
    if isinstance(value, float):
        return np.dtype(config.default_float)
    return DTYPES["c128"] if np.dtype(config.default_float).itemsize == 8 else DTYPES["c64"]


def as_array(x: Any) -> Array:
    """Anything array-like as an Array: Arrays as they are, Python scalars weak, NumPy arrays
    without a copy.
    """
    if isinstance(x, Array):
        return x
    if isinstance(x, bool | int | float | complex) and not isinstance(x, np.generic):
        try:
            return Array(np.asarray(x, scalar_dtype(x)), weak=True)
        except OverflowError as error:
            raise DTypeError(
                f"the Python integer {x} does not fit {scalar_dtype(x)}",
                at=source.here(),
                hint="write it as a float",
            ) from error
    if isinstance(x, np.ndarray):
        data = x if type(x) is np.ndarray else x.view(np.ndarray)  # a subclass has rules of its own
    else:
        found = methods.from_gpu(x)
        if found is not None:
            return found  # type: ignore[no-any-return]
        data = np.asarray(methods.to_numpy(x))
    if not data.dtype.isnative:
        data = data.astype(data.dtype.newbyteorder("="))
    if data.dtype not in _KNOWN:
        raise DTypeError(
            f"arrays of dtype {data.dtype} are not supported",
            at=source.here(),
            hint=hints.supported(known.name for known in DTYPES.values()),
        )
    return Array(data)


def apply(prim: Primitive, *arrays: Array, **params: Any) -> Any:
    """``prim`` on Arrays: recorded by the innermost trace, or run at once by NumPy when there is
    none.

    Returns an Array, or a tuple of Arrays for a primitive with several results.
    """
    trace = current_trace()
    if trace is None:
        return _run_now(prim, arrays, params)
    atoms = [trace.lift(a) for a in arrays]
    out = trace.builder.emit(prim, atoms, params)
    many = isinstance(out, tuple)
    values = out if many else (out,)
    results: Sequence[Array | None] = (None,) * len(values)
    if trace.eager:
        results = _evaluated(trace.builder.nodes[-1], arrays)
    found = tuple(carrying(d, v, trace) for d, v in zip(results, values, strict=True))
    return found if many else found[0]


def carrying(held: Array | None, value: Any, trace: Trace | None, weak: bool = False) -> Array:
    """A traced Array that has the concrete value ``held``, if any, under an eager trace."""
    found = Array(None, value, trace, weak)
    if held is not None:
        found._array, found._place, kind = held._array, held._place, held._kind
        if kind is not None:
            found._kind = kind_for(kind.dtype, kind.shape, weak, kind.device)
    return found


def _evaluated(node: Node, arrays: tuple[Array, ...]) -> Sequence[Array | None]:
    """The concrete results of a node of an eager trace; None where they are not known."""
    if node.prim.effect or not all(a._has_value for a in arrays):
        return (None,) * len(node.outputs)
    node = map_subgraphs(node, without_effects)  # those come when the transform runs its graph
    place = placement.where(arrays, node.prim.name)
    if place is not None:
        return on_device.run_node(node, arrays, *place)
    return [Array(d) for d in long_loops.apply(node, [a._data for a in arrays])]


def recorded(node: Node, arrays: Sequence[Array]) -> list[Array]:
    """The results of a node on concrete Arrays, in the recording that is on."""
    now = recording.current()
    assert now is not None
    places = now.run(node.prim, node.params, arrays, lambda data: interp.apply(node, data))
    return [watched(place) for place in places]


def watched(place: recording.Watched, weak: bool = False) -> Array:
    """An Array at a place of a recording."""
    found = Array(None, weak=weak)
    found._kind = kind_for(place.data.dtype, place.data.shape, weak)
    found._place = place
    return found


def _run_now(prim: Primitive, arrays: tuple[Array, ...], params: dict[str, Any]) -> Any:
    for a in arrays:
        if a._trace is not None:
            raise leaked(a)
        if type(a._place) is Donated:
            a._place.array(a.shape, a.dtype)
    place = placement.where(arrays, prim.name)
    try:
        out_type = prim.infer(*[a.type for a in arrays], **params)
        out_types = out_type if isinstance(out_type, tuple) else (out_type,)
        node = Node(prim, (), params, tuple(Value(t) for t in out_types), None)
        found: Sequence[Array]
        if place is None and recording.current() is not None:
            found = recorded(node, arrays)
        elif place is None:
            found = [Array(d) for d in long_loops.apply(node, [a._data for a in arrays])]
        else:
            found = on_device.run_node(node, arrays, *place)
    except TracejitError as error:
        error.at = error.at or source.here()
        error.notes = error.notes or tuple(
            operand_note(k, Value(a.type), None) for k, a in enumerate(arrays, 1)
        )
        raise
    return tuple(found) if isinstance(out_type, tuple) else found[0]
