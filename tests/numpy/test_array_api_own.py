"""The Python Array API standard without its public suite: names and signatures, inspection, dtypes,
Python scalars, DLPack, masks, copies. Special values are in test_array_api_special.py.
"""

from __future__ import annotations

import inspect
import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tests.numpy.array_api_names as standard
import tracejit as tj
import tracejit.numpy as jnp
from tracejit.config import settings
from tracejit.errors import ArgumentError, AxisError, CopyError, DTypeError, OutOfBoundsError

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
REAL = ("float32", "float64")
COMPLEX = ("complex64", "complex128")

# ---- names and signatures ------------------------------------------------------------------------

NAMES = [
    *((jnp, name, text) for name, text in standard.FUNCTIONS.items()),
    *((jnp.linalg, name, text) for name, text in standard.LINALG.items()),
    *((jnp.fft, name, text) for name, text in standard.FFT.items()),
    *((tj.Array, name, text) for name, text in standard.METHODS.items()),
    *((jnp.__array_namespace_info__(), name, text) for name, text in standard.INFO.items()),
]


def wanted_parameters(text: str) -> list[inspect.Parameter]:
    """The parameters of a line of the list; a default stands as None."""
    source = text.replace("=", "=None")
    return list(inspect.signature(eval(f"lambda {source}: 0")).parameters.values())


@pytest.mark.parametrize(("owner", "name", "text"), NAMES, ids=[n for _, n, _ in NAMES])
def test_signatures(owner: Any, name: str, text: str) -> None:
    """By position in the standard's order, by keyword under its names, with defaults where it has
    them.
    """
    function = getattr(owner, name)
    found = list(inspect.signature(function).parameters.values())
    found = found[1:] if owner is tj.Array else found
    by_name = {p.name: p for p in found}
    for place, wanted in enumerate(wanted_parameters(text)):
        if wanted.kind == wanted.KEYWORD_ONLY:
            own = by_name[wanted.name]
            assert own.kind in (own.KEYWORD_ONLY, own.POSITIONAL_OR_KEYWORD)
        else:
            own = found[place]
        if wanted.kind == wanted.POSITIONAL_OR_KEYWORD:
            assert own.name == wanted.name and own.kind == wanted.kind
        if wanted.kind == wanted.VAR_POSITIONAL:
            assert own.kind == wanted.kind
        elif own.kind != own.VAR_POSITIONAL:
            assert (own.default is not own.empty) >= (wanted.default is not wanted.empty), own.name


def test_constants_dtypes_and_attributes() -> None:
    assert jnp.pi == np.pi and jnp.e == np.e and jnp.inf == np.inf and jnp.newaxis is None
    assert np.isnan(jnp.nan)
    for name in standard.CONSTANTS:
        assert hasattr(jnp, name)
    for one, two in itertools.product(standard.DTYPES, repeat=2):
        assert (getattr(jnp, one) == getattr(jnp, two)) == (one == two)
        assert (jnp.zeros(1, getattr(jnp, one)).dtype == getattr(jnp, two)) == (one == two)
    x = jnp.ones((2, 3))
    assert all(hasattr(x, name) for name in standard.ATTRIBUTES)
    assert x.T.shape == x.mT.shape == (3, 2) and x.size == 6 and x.ndim == 2


def test_dtypes_compare_with_anything() -> None:
    for other in (None, [], (1, 2), {}, {"names": 3}, "nonsense", object(), 3, str, tj.Array):
        assert not jnp.float64 == other
        assert jnp.float64 != other
    assert jnp.float32 == "float32" and jnp.float32 == np.dtype("float32")


# ---- the namespace's account of itself -----------------------------------------------------------


def test_namespace_of_an_array() -> None:
    x = jnp.ones(2)
    assert x.__array_namespace__() is jnp
    assert x.__array_namespace__(api_version=jnp.__array_api_version__) is jnp
    assert x.__array_namespace__(api_version="2024.12") is jnp
    with pytest.raises(ArgumentError, match="2020.12"):
        x.__array_namespace__(api_version="2020.12")


def test_info() -> None:
    info = jnp.__array_namespace_info__()
    found = info.capabilities()
    assert found["boolean indexing"] is True and found["data-dependent shapes"] is True
    assert jnp.ones((1,) * found["max dimensions"]).ndim == found["max dimensions"]
    assert info.default_device() in info.devices() and isinstance(info.devices(), tuple)
    for device in info.devices():
        assert jnp.ones(2, device=device).device is device
        assert info.default_dtypes(device=device) == info.default_dtypes()
    with pytest.raises(ArgumentError, match="device"):
        info.dtypes(device="nowhere")
    with pytest.raises(ArgumentError, match="kind"):
        info.dtypes(kind="numbers")


def test_info_tells_the_defaults_in_force() -> None:
    def check() -> None:
        found = jnp.__array_namespace_info__().default_dtypes()
        assert jnp.zeros(1).dtype == jnp.linspace(0, 1, 2).dtype == found["real floating"]
        assert jnp.asarray(1j).dtype == found["complex floating"]
        assert jnp.arange(3).dtype == jnp.asarray(1).dtype == found["integral"]
        assert jnp.argmax(jnp.zeros(3)).dtype == found["indexing"]

    check()
    with settings(default_float="float64", default_int="int32"):
        check()


def test_info_dtypes_by_kind() -> None:
    dtypes = jnp.__array_namespace_info__().dtypes
    assert list(dtypes()) == standard.DTYPES or set(dtypes()) == set(standard.DTYPES)
    for kind in (
        *("bool", "signed integer", "unsigned integer", "integral", "real floating"),
        *("complex floating", "numeric", ("bool", "integral"), (), "bool"),
    ):
        wanted = {n for n, d in dtypes().items() if jnp.isdtype(d, kind)}
        assert set(dtypes(kind=kind)) == wanted
        assert all(jnp.empty(1, d).dtype == d for d in dtypes(kind=kind).values())


# ---- dtypes --------------------------------------------------------------------------------------


def test_limits_are_python_numbers() -> None:
    for name in (*REAL, *COMPLEX, "float16", "bfloat16"):
        found = jnp.finfo(getattr(jnp, name))
        for limit in ("eps", "max", "min", "smallest_normal"):
            assert type(getattr(found, limit)) is float
        assert type(found.bits) is int and jnp.isdtype(found.dtype, "real floating")
    assert jnp.finfo("float64").max == np.finfo("float64").max
    assert jnp.finfo(jnp.ones(2, "complex64")).dtype == np.float32
    assert "float32" in repr(jnp.finfo("float32")) and "eps" in str(jnp.finfo("float32"))
    for name in INTEGERS:
        found, info = jnp.iinfo(name), np.iinfo(name)
        assert (found.min, found.max, found.bits) == (info.min, info.max, info.bits)
    for function, dtype in ((jnp.finfo, "int8"), (jnp.iinfo, "float32"), (jnp.finfo, "bool")):
        with pytest.raises(DTypeError, match="no (floating|integer) dtype"):
            function(dtype)


def test_isdtype_and_can_cast() -> None:
    assert jnp.isdtype(jnp.int8, "signed integer") and not jnp.isdtype(jnp.int8, "bool")
    assert jnp.isdtype(jnp.float32, (jnp.float64, "real floating"))
    assert jnp.isdtype(jnp.float32, jnp.float32) and not jnp.isdtype(jnp.float32, jnp.float64)
    assert jnp.can_cast(jnp.int8, jnp.int16) and not jnp.can_cast(jnp.int16, jnp.int8)
    assert jnp.can_cast(jnp.ones(2, "float32"), jnp.float64)
    assert jnp.result_type(jnp.int8, jnp.uint8) == np.int16
    assert jnp.result_type(jnp.float32, jnp.complex128) == np.complex128
    assert jnp.result_type(jnp.ones(1, "float32"), 1.0, 2) == np.float32


# ---- operators with Python scalars ---------------------------------------------------------------

ARITHMETIC = (operator.add, operator.sub, operator.mul)
IN_PLACE = {operator.add: operator.iadd, operator.sub: operator.isub, operator.mul: operator.imul}


@pytest.mark.parametrize("dtype", (*INTEGERS, *REAL, *COMPLEX))
def test_scalars_take_the_dtype_of_the_array(dtype: str) -> None:
    """A Python number of the array's kind or a lower one."""
    x = jnp.asarray([1, 2, 3], dtype=dtype)
    numbers: list[Any] = [2]
    numbers += [2.5] if dtype in (*REAL, *COMPLEX) else []
    numbers += [1 + 2j] if dtype in COMPLEX else []
    for number, op in itertools.product(numbers, ARITHMETIC):
        for found, wanted in (
            (op(x, number), op(np.asarray(x), number)),
            (op(number, x), op(number, np.asarray(x))),
        ):
            assert found.dtype == dtype and found.tolist() == wanted.tolist()
        before, y = x, x
        y = IN_PLACE[op](y, number)
        assert y.dtype == dtype and y.tolist() == op(x, number).tolist()
        assert before is x and x.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("x1", "x2"), [(jnp.ones(2, "float32"), 3), (3, jnp.ones(2, "float32"))])
def test_scalars_are_arguments_of_functions(x1: Any, x2: Any) -> None:
    for name in (
        *("add", "subtract", "multiply", "divide", "pow", "remainder", "floor_divide", "hypot"),
        *("atan2", "copysign", "maximum", "minimum", "logaddexp", "nextafter"),
    ):
        assert getattr(jnp, name)(x1, x2).dtype == np.float32, name
    for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        assert getattr(jnp, name)(x1, x2).dtype == np.bool_
    assert jnp.where(jnp.asarray([True, False]), x1, x2).dtype == np.float32
    assert jnp.clip(jnp.arange(4, dtype=jnp.int8), 1, 2).dtype == np.int8


ORDER = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


@pytest.mark.parametrize("dtype", ("uint8", "int8", "int64", "uint64"))
def test_integers_compare_with_numbers_beyond_their_dtype(dtype: str) -> None:
    limits = np.iinfo(dtype)
    data = [int(limits.min), 1, int(limits.max)]
    x = jnp.asarray(data, dtype=dtype)
    for number in (-(2**70), int(limits.min) - 1, -1, 0, int(limits.max) + 1, 2**70):
        for op in ORDER:
            assert op(x, number).tolist() == [op(n, number) for n in data]
            assert op(number, x).tolist() == [op(number, n) for n in data]


def test_large_integers_in_lists_are_exact() -> None:
    data = [0, 2**63 + 1, 2**64 - 1]
    assert jnp.asarray(data, dtype=jnp.uint64).tolist() == data
    for wrong in ([0, 2**64], [-1, 2**63], [[1], [-1]]):
        with pytest.raises(DTypeError, match="does not fit"):
            jnp.asarray(wrong, dtype=jnp.uint64)
    with pytest.raises(DTypeError, match="list"):
        jnp.asarray([None, 1], dtype=jnp.int64)


def test_conversions_to_python() -> None:
    assert bool(jnp.asarray(2)) is True and int(jnp.asarray(2.7)) == 2
    assert float(jnp.asarray(2)) == 2.0 and complex(jnp.asarray(1 + 2j)) == 1 + 2j
    assert complex(jnp.asarray(True)) == 1 and operator.index(jnp.asarray(3)) == 3
    with pytest.raises(TypeError):
        operator.index(jnp.asarray(3.0))


# ---- copies, devices, DLPack ---------------------------------------------------------------------


def test_asarray_copies_as_told() -> None:
    data = np.arange(3.0)
    view, own = jnp.asarray(data, copy=False), jnp.asarray(data, copy=True)
    data[0] = 9.0
    assert view.tolist() == [9, 1, 2] and own.tolist() == [0, 1, 2]
    assert jnp.asarray(view, copy=False) is view and jnp.asarray(view) is not view
    cases: list[Callable[[], Any]] = [
        lambda: jnp.asarray([1, 2], copy=False),
        lambda: jnp.asarray(1.0, copy=False),
        lambda: jnp.asarray(view, dtype="float32", copy=False),
        lambda: jnp.asarray(data, dtype="float32", copy=False),
    ]
    for case in cases:
        with pytest.raises(CopyError, match="copy=False") as error:
            case()
        assert isinstance(error.value, ValueError) and isinstance(error.value, BufferError)


def test_creation_takes_a_device() -> None:
    device = jnp.ones(1).device
    x = jnp.asarray([1.0, 2.0], device=device)
    made = (
        *(jnp.zeros(2, device=device), jnp.ones(2, device=device), jnp.empty(2, device=device)),
        *(jnp.full(2, 1, device=device), jnp.arange(2, device=device), jnp.eye(2, device=device)),
        *(jnp.linspace(0, 1, 2, device=device), jnp.zeros_like(x, device=device)),
        *(jnp.ones_like(x, device=device), jnp.full_like(x, 1, device=device)),
        *(jnp.empty_like(x, device=device), jnp.astype(x, jnp.int8, copy=False, device=device)),
        x.to_device(device),
    )
    assert all(array.device is device for array in made)


@pytest.mark.parametrize("dtype", standard.DTYPES)
def test_dlpack_to_and_from_numpy(dtype: str) -> None:
    x = jnp.asarray([0, 1, 1], dtype=dtype)
    assert tuple(map(int, x.__dlpack_device__())) == (1, 0)
    there = np.from_dlpack(x)
    assert there.dtype == dtype and there.tolist() == x.tolist()
    for copy, device in itertools.product((None, True), (None, x.device)):
        back = jnp.from_dlpack(there, copy=copy, device=device)
        assert back.dtype == dtype and back.tolist() == x.tolist() and back.device is x.device
    for options in ({"max_version": (1, 0)}, {"copy": True, "max_version": (1, 0)}):
        assert x.__dlpack__(**options) is not None
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(2, 7), copy=False, max_version=(1, 0))


def test_dlpack_shares_memory() -> None:
    data = np.arange(3.0)
    shared, kept = jnp.from_dlpack(data, copy=False), jnp.from_dlpack(data, copy=True)
    data[0] = 5.0
    assert shared.tolist() == [5, 1, 2] and kept.tolist() == [0, 1, 2]


# ---- indexing ------------------------------------------------------------------------------------

BOX = np.arange(12.0).reshape(3, 4)
ROWS = BOX[:, 0] > 3
MASKS = (
    True, False, (True, 1), (1, True), (..., True), (slice(None), False), (ROWS, True),
    (True, None, slice(1, 3)), (..., True, BOX[0] > 1), np.array(True), (True, True), (1, True, 2),
    (slice(None), True, [1, 2]), (np.array([0, 1]), np.array(True)), BOX > 5, np.zeros(0, bool),
    np.zeros((3, 0), bool), (slice(None), np.zeros(0, bool)), (0, [True, False, True, False]),
)  # fmt: skip


@pytest.mark.parametrize("index", MASKS, ids=range(len(MASKS)))
def test_masks_of_any_shape(index: Any) -> None:
    """Single truth values add an axis; masks without elements choose none. As in NumPy."""
    x, wanted = jnp.asarray(BOX), BOX[index]
    for found in (x[index], tj.jit(lambda x: x[index])(x)):
        assert found.shape == wanted.shape and found.tolist() == wanted.tolist()
    for value in (-1.0, wanted + 1):
        changed = BOX.copy()
        changed[index] = value
        assert x.at[index].set(value).tolist() == changed.tolist()
        own = jnp.asarray(BOX)
        own[index] = value
        assert own.tolist() == changed.tolist() and x.tolist() == BOX.tolist()


def test_a_traced_truth_value_is_no_index() -> None:
    with pytest.raises(tj.errors.TracedValueError, match="mask"):
        tj.jit(lambda x: x[x.sum() > 0])(BOX)


@pytest.mark.parametrize("shape", [(2,), (3, 2), (3, 4, 1)])
def test_masks_that_do_not_fit(shape: tuple[int, ...]) -> None:
    x, mask = jnp.asarray(BOX), np.zeros(shape, bool)
    for case in (lambda: x[mask], lambda: x.at[mask].set(1.0)):
        with pytest.raises(OutOfBoundsError, match="mask"):
            case()


def test_axes_that_are_not_there() -> None:
    x = jnp.ones((2, 3))
    cases: list[Callable[[], Any]] = [
        lambda: jnp.expand_dims(x, axis=3),
        lambda: jnp.expand_dims(x, axis=(0, 5)),
        lambda: jnp.sum(x, axis=2),
        lambda: jnp.flip(x, axis=-3),
        lambda: jnp.moveaxis(x, 0, 4),
    ]
    for case in cases:
        with pytest.raises(AxisError) as error:
            case()
        assert isinstance(error.value, IndexError) and isinstance(error.value, ValueError)


# ---- results -------------------------------------------------------------------------------------


def test_lists_of_results_are_tuples() -> None:
    """Since version 2025.12; as in NumPy 2."""
    x = jnp.ones(2)
    for found in (
        *(jnp.meshgrid(x, x), jnp.broadcast_arrays(x, 1.0), jnp.unstack(x), jnp.nonzero(x)),
        jnp.__array_namespace_info__().devices(),
    ):
        assert type(found) is tuple
    assert jnp.broadcast_shapes((2, 1), (3,), ()) == (2, 3)


def test_sets_and_searches() -> None:
    x = jnp.asarray([3, 1, 2, 1, 3])
    everything = jnp.unique_all(x)
    assert everything.values.tolist() == [1, 2, 3] and everything.counts.tolist() == [2, 1, 2]
    assert everything.values[everything.inverse_indices].tolist() == x.tolist()
    assert x[everything.indices].tolist() == everything.values.tolist()
    assert jnp.unique_counts(x).counts.tolist() == [2, 1, 2]
    assert jnp.unique_inverse(x).inverse_indices.shape == x.shape
    nans = jnp.asarray([np.nan, 1.0, np.nan])
    assert jnp.unique_values(nans).size == 3  # the standard: every nan is a value of its own
    order = jnp.argsort(x)
    found = jnp.searchsorted(x, jnp.asarray([1, 3]), side="right", sorter=order)
    assert found.tolist() == [2, 5]
    assert jnp.isin(x, jnp.asarray([1, 7])).tolist() == [False, True, False, True, False]
    assert jnp.isin(x, 3, invert=True).tolist() == [False, True, True, True, False]
    assert jnp.count_nonzero(jnp.asarray([[1, 0], [1, 1]]), axis=1, keepdims=True).shape == (2, 1)


def test_sums_along_axes() -> None:
    x = jnp.asarray([[1, 2], [3, 4]], dtype=jnp.int8)
    assert jnp.sum(x).dtype == np.int64 and jnp.prod(x, dtype=jnp.int8).dtype == np.int8
    found = jnp.cumulative_sum(x, axis=1, include_initial=True)
    assert found.tolist() == [[0, 1, 3], [0, 3, 7]] and found.dtype == np.int64
    assert jnp.cumulative_prod(x, axis=0).tolist() == [[1, 2], [3, 8]]
    assert jnp.diff(x, axis=0, n=1, prepend=x[:1]).tolist() == [[0, 0], [2, 2]]
    assert jnp.take_along_axis(x, jnp.asarray([[1], [0]]), axis=1).tolist() == [[2], [3]]
    assert jnp.repeat(x, jnp.asarray([1, 2]), axis=0).shape == (3, 2)
    assert jnp.tile(x, (2, 1, 1)).shape == (2, 2, 2)
    assert jnp.expand_dims(x, axis=(0, -1)).shape == (1, 2, 2, 1)
