"""NumPy 2's promotion (NEP 50) and broadcasting: operands of a user's call become equal in dtype
and shape.

    >>> [x.dtype.name for x in promoted("add", jnp.ones(3), 2)]  # the Python scalar gives way
    ['float32', 'float32']
    >>> [x.dtype.name for x in promoted("add", jnp.arange(3), 2.5)]  # int64 and a weak float
    ['float32', 'float32']

Dtypes of arrays combine as in NumPy (int64 and float32 give float64; bfloat16 with float16 gives
float32), with ``config.promotion = "jax"`` as in JAX (int64 and float32 give float32). A Python
scalar, and a traced one, only raises the kind: an int among float32 arrays stays float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import hints, source
from tracejit.config import config
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import array as core
from tracejit.frontend import placement, recording
from tracejit.frontend.trace import current_trace
from tracejit.ir.graph import Literal, Value, literal
from tracejit.ir.types import DTYPES, TensorType, bfloat16, complex_dtype, kind
from tracejit.ops import broadcast, layout, parts
from tracejit.ops.family import shape_hint

BOOL, F32 = DTYPES["bool"], DTYPES["f32"]
_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}
_KNOWN = frozenset(DTYPES.values())
#: integers that no integer dtype holds both
_NO_INTEGER = [{DTYPES[name], DTYPES["u64"]} for name in ("i8", "i16", "i32", "i64")]


# ---- dtypes --------------------------------------------------------------------------------------


def default_complex() -> np.dtype:
    """The complex dtype whose parts are ``config.default_float``."""
    return complex_dtype(config.default_float)


def canonical(dtype: Any) -> np.dtype:
    """Any way of naming a dtype as an np.dtype: ``float`` and ``int`` mean the configured defaults.

    Raises DTypeError for what is no dtype and for dtypes that tracejit does not have.
    """
    if dtype is float:
        return config.default_float
    if dtype is int:
        return config.default_int
    if dtype is complex:
        return default_complex()
    if isinstance(dtype, str) and dtype == "bfloat16":
        return bfloat16
    if isinstance(dtype, core.Array):
        return dtype.dtype
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError):
        raise DTypeError(
            f"{dtype!r} is not a dtype",
            at=source.here(),
            hint=hints.name(str(dtype), [known.name for known in DTYPES.values()]),
        ) from None
    found = found if found.isnative else found.newbyteorder("=")
    if found not in _KNOWN:
        raise DTypeError(f"arrays of dtype {found} are not supported", at=source.here())
    return found


def promote_types(a: Any, b: Any) -> np.dtype:
    """The dtype that holds both, by NumPy's table, in which bfloat16 takes float16's place, or by
    JAX's, where ``config.promotion`` says so.
    """
    a, b = canonical(a), canonical(b)
    if a == b:
        return a
    if config.promotion == "jax":
        whole = [kind(x) in "biu" for x in (a, b)]
        if any(whole) and not all(whole):
            return b if whole[0] else a
        if {a, b} in _NO_INTEGER:
            return config.default_float
    if bfloat16 in (a, b):
        other = b if a == bfloat16 else a
        if kind(other) in "biu":
            found = np.promote_types(np.float16, other)
            return bfloat16 if found == np.float16 else found
        return F32 if other == np.float16 else other
    return np.promote_types(a, b)


def weak_dtype(strong: np.dtype, scalar: np.dtype) -> np.dtype:
    """The dtype of ``strong`` together with a Python scalar whose own dtype is ``scalar``."""
    if _RANK[kind(scalar)] <= _RANK[kind(strong)]:
        return strong
    if kind(scalar) == "c" and kind(strong) == "f":
        return complex_dtype(strong)
    return scalar


def dtype_of(arrays: Sequence[Any]) -> tuple[np.dtype, bool]:
    """The common dtype of Arrays, and whether it is weak (all of them are)."""
    strong = [a.dtype for a in arrays if not a._weak]
    weak = [a.dtype for a in arrays if a._weak]
    if strong:
        found = strong[0]
        for dtype in strong[1:]:
            if dtype != found:
                found = promote_types(found, dtype)
    else:
        found = weak[0]
    for dtype in weak:
        found = weak_dtype(found, dtype)
    return found, not strong


def result_type(*args: Any) -> np.dtype:
    """The dtype that NumPy's rules give the operands: arrays, Python scalars and dtypes."""
    stand_ins = [a if _is_value(a) else np.zeros((), canonical(a)) for a in args]
    return dtype_of([core.as_array(a) for a in stand_ins])[0]


def _is_value(x: Any) -> bool:
    return isinstance(x, core.Array | np.ndarray | np.generic | bool | int | float | complex | list)


def inexact(dtype: np.dtype) -> np.dtype:
    """``dtype`` where it is floating or complex, the default float where it is not."""
    return dtype if kind(dtype) in "fc" else config.default_float


# ---- conversion and broadcasting of Arrays -------------------------------------------------------


def constant_of(array: Any) -> Any:
    """The scalar an Array is filled with where that is known without computing, else None.

    Scalars need no node: they become Literals in the graph.
    """
    if isinstance(array._value, Literal):
        return array._value.value
    if array._trace is None and array.ndim == 0 and not array._on_gpu:
        if recording.is_watched(array) and not (array._weak and kind(array.dtype) in "iu"):
            return None  # of weak integers it matters whether they fit
        return array._data[()]
    return None


def filled(value: Any, type: TensorType, *, weak: bool = False) -> Any:
    """An Array of ``type`` filled with one scalar: a Literal inside a trace, data outside."""
    trace = current_trace()
    if trace is None:
        return core.Array(np.full(type.shape, value, type.dtype), weak=weak)
    atom = literal(value, type)
    data = repeated(atom.value, type) if trace.eager else None
    return core.Array(data, atom, trace, weak)


def repeated(value: Any, type: TensorType) -> np.ndarray:
    """One scalar as a read-only array of any shape that takes the memory of one element."""
    scalar = np.asarray(value, type.dtype)
    if type.shape == ():
        return scalar
    data: np.ndarray = np.ndarray(type.shape, type.dtype, scalar, strides=(0,) * type.ndim)
    data.flags.writeable = False
    return data


def spread(value: Any, type: TensorType, *, weak: bool = False) -> Any:
    """Like ``filled``, for an operand of one operation: outside a trace it takes no memory."""
    if current_trace() is None:
        return core.Array(repeated(value, type), weak=weak)
    return filled(value, type, weak=weak)


def convert(array: Any, dtype: np.dtype, *, weak: bool = False) -> Any:
    """``array`` in ``dtype``; nothing where it has that already. Python ints that do not fit are a
    DTypeError.
    """
    if array.dtype == dtype:
        return array if array._weak == weak else relabelled(array, weak)
    value = constant_of(array)
    if value is not None:
        return spread(_cast(value, dtype, array._weak), array.type.with_dtype(dtype), weak=weak)
    found = core.apply(parts.convert, array, dtype=dtype)
    found._weak = weak
    return found


def relabelled(array: Any, weak: bool) -> Any:
    """The same value with another weak flag."""
    found = placement.twin(array)
    found._weak = weak
    return found


def check_fits(value: int, dtype: np.dtype) -> None:
    """DTypeError when a Python integer is beyond an integer dtype."""
    info = np.iinfo(dtype)
    if not info.min <= value <= info.max:
        raise DTypeError(
            f"the Python integer {value} does not fit {dtype}",
            at=source.here(),
            hint="convert the array to a wider dtype with .astype first",
        )


def _cast(value: Any, dtype: np.dtype, weak: bool) -> Any:
    if weak and kind(dtype) in "iu" and kind(value.dtype) in "iu":
        check_fits(int(value), dtype)
    return parts.convert.numpy(np.asarray(value), dtype=dtype)[()]


def broadcast_shapes(name: str, arrays: Sequence[Any]) -> tuple[int, ...]:
    """The common shape by NumPy's rules; ShapeError naming ``name`` and the operands."""
    first = arrays[0].shape
    if all(a.shape == first for a in arrays[1:]):
        return first
    shapes = [a.shape for a in arrays]
    rank = max(map(len, shapes))
    found = []
    for k in range(-rank, 0):
        sizes = {s[k] for s in shapes if len(s) >= -k} - {1}
        if len(sizes) > 1:
            raise ShapeError(
                f"{name}: shapes do not broadcast: {' and '.join(map(str, shapes))}",
                at=source.here(),
                notes=operand_notes(arrays),
                hint=shape_hint(*shapes[:2]) if len(shapes) == 2 else "",
            )
        found.append(sizes.pop() if sizes else 1)
    return tuple(found)


def operand_notes(arrays: Sequence[Any]) -> tuple[str, ...]:
    """``operand 1: f32[2,3]  from sin, model.py:3`` for each operand."""
    notes = []
    for k, a in enumerate(arrays, 1):
        made = a.origin() if a._trace is not None and isinstance(a._value, Value) else ""
        notes.append(f"operand {k}: {a.type}" + (f"  {made}" if made else ""))
    return tuple(notes)


def broadcast_to(array: Any, shape: tuple[int, ...]) -> Any:
    """``array`` with a wider shape, to which it is known to broadcast."""
    if array.shape == shape:
        return array
    value = constant_of(array)
    if value is not None:
        return spread(value, array.type.with_shape(shape), weak=array._weak)
    lead = len(shape) - array.ndim
    dims = tuple(range(lead, len(shape)))
    found = core.apply(broadcast.broadcast_in_dim, array, shape=shape, dims=dims)
    found._weak = array._weak
    return found


def is_python(x: Any) -> bool:
    """Whether ``x`` is a Python number (NumPy's scalars, some of which inherit from them, are
    not).
    """
    return isinstance(x, bool | int | float | complex) and not isinstance(x, np.generic)


def operand(x: Any) -> Any:
    """``x`` as an Array as far as its dtype and shape go: the value of a Python number may be
    another.

    Python ints beyond int64 are weak uint64: masks of uint64 arrays.
    """
    if not is_python(x):
        return core.as_array(x)
    big = isinstance(x, int) and 2**63 <= x < 2**64
    return core.Array(np.zeros((), DTYPES["u64"] if big else core.scalar_dtype(x)), weak=True)


def number(x: Any, type: TensorType, *, weak: bool = False) -> Any:
    """A Python number as an Array of ``type``, rounded only once."""
    letter = kind(type.dtype)
    if isinstance(x, int) and letter in "iu":
        check_fits(x, type.dtype)
        value = x
    elif letter in "fc" and not isinstance(x, complex) and -1e4 < x < 1e4:
        value = x
    else:  # may overflow or truncate
        value = parts.convert.numpy(np.asarray(x), dtype=type.dtype)
    return spread(value, type, weak=weak)


def typed(x: Any, dtype: np.dtype, *, weak: bool = False) -> Any:
    """Anything array-like as an Array of ``dtype``."""
    if isinstance(x, core.Array):
        return x if x._weak == weak and x.dtype == dtype else convert(x, dtype, weak=weak)
    if is_python(x):
        return number(x, TensorType(dtype, ()), weak=weak)
    if isinstance(x, list | tuple) and not holds_arrays(x):
        return core.Array(parts.convert.numpy(from_lists(x, dtype), dtype=dtype))
    return convert(core.as_array(x), dtype, weak=weak)


def from_lists(x: Any, dtype: np.dtype | None = None) -> np.ndarray:
    """Nested lists as a NumPy array of one of our dtypes.

    Raises ArgumentError where the lists differ in length, DTypeError where their integers do not
    fit ``dtype``, which they are to be converted to.
    """
    try:
        data = np.asarray(x)
    except ValueError as error:
        raise ArgumentError(
            "nested lists of different lengths are no array",
            at=source.here(),
            hint="pad them to one length",
        ) from error
    whole = dtype is not None and kind(dtype) in "iu" and data.size > 0
    letter = data.dtype.kind
    if whole and (letter == "O" or (letter == "f" and np.abs(data).max() >= 2**63)):
        # integers beyond 2**63 among others are floats or objects to NumPy
        exact = np.asarray(x, object)
        if all(isinstance(leaf, int | np.integer) for leaf in exact.flat):
            data, letter = exact, "i"
    if whole and letter in "iu":
        check_fits(int(data.min()), dtype)
        check_fits(int(data.max()), dtype)
        return data.astype(dtype)
    if data.dtype not in _KNOWN:
        raise DTypeError(f"a list of {type(data.flat[0]).__name__} is no array", at=source.here())
    return data


def holds_arrays(x: Any) -> bool:
    """Whether an Array is somewhere in nested lists."""
    if isinstance(x, list | tuple):
        return any(holds_arrays(item) for item in x)
    return isinstance(x, core.Array)


def promoted(name: str, *xs: Any, to: np.dtype | None = None, weak: bool = False) -> list[Any]:
    """Operands as Arrays of one dtype (``to``, or the promoted one), not yet of one shape."""
    if not xs:
        raise ArgumentError(f"{name}: needs at least one array", at=source.here())
    if to is None:
        to, weak = dtype_of([operand(x) for x in xs])
    return [typed(x, to, weak=weak) for x in xs]


def prepared(name: str, *xs: Any, to: np.dtype | None = None, weak: bool = False) -> list[Any]:
    """Operands as Arrays of one dtype and one shape: what an elementwise primitive takes."""
    if to is None and _alike(xs):
        return list(xs)
    if to is None:
        to, weak = dtype_of([operand(x) for x in xs])
    arrays = [None if is_python(x) else typed(x, to, weak=weak) for x in xs]
    given = [a for a in arrays if a is not None]
    shape = broadcast_shapes(name, given) if given else ()
    type = TensorType(to, shape)
    return [
        number(x, type, weak=weak) if a is None else broadcast_to(a, shape)
        for x, a in zip(xs, arrays, strict=True)
    ]


def _alike(xs: Sequence[Any]) -> bool:
    """Whether all operands are Arrays of one dtype and shape: nothing is to be done."""
    first = xs[0]
    return isinstance(first, core.Array) and all(
        isinstance(x, core.Array)
        and x.shape == first.shape
        and x.dtype == first.dtype
        and x._weak == first._weak
        for x in xs[1:]
    )


def to_inexact(x: Any) -> Any:
    """An Array as it is where it is floating or complex, in the default float otherwise."""
    array = core.as_array(x)
    return convert(array, inexact(array.dtype), weak=array._weak)


def reshaped(array: Any, shape: tuple[int, ...]) -> Any:
    """``array`` under another shape of the same size; no node where it has that or is one repeated
    scalar.
    """
    if array.shape == shape:
        return array
    value = constant_of(array)
    if value is not None:
        return spread(value, array.type.with_shape(shape), weak=array._weak)
    return core.apply(layout.reshape, array, new_sizes=shape)
