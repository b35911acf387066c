"""Array: promotion, operators, methods, indexing, updates, NumPy's functions on Arrays, errors."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit.numpy as jnp
from tests.numpy.agree import check, traced
from tracejit.config import settings
from tracejit.errors import (
    ArgumentError,
    DTypeError,
    OutOfBoundsError,
    ShapeError,
    TracedValueError,
    TracejitError,
)
from tracejit.frontend.derivatives import grad, make_graph

BF16 = np.dtype(ml_dtypes.bfloat16)
NAMES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
NAMES += " complex64 complex128"


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ---- promotion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("a", NAMES.split())
def test_arrays_promote_as_in_numpy(a: str) -> None:
    for b in NAMES.split():
        x, y = np.ones(2, a), np.ones(2, b)
        assert (jnp.asarray(x) * jnp.asarray(y)).dtype == (x * y).dtype
        assert jnp.promote_types(a, b) == np.promote_types(a, b)


@pytest.mark.parametrize(
    ("dtype", "scalar", "expected"),
    [
        ("int64", 2.5, "float32"),
        ("int8", 2, "int8"),
        ("bool", 2, "int64"),
        ("bool", True, "bool"),
        ("bool", 1.0, "float32"),
        ("float16", 1.5, "float16"),
        (BF16, 1.5, BF16),
        (BF16, 3, BF16),
        ("float32", 1e300, "float32"),
        ("float64", 1, "float64"),
        ("float64", 1j, "complex128"),
        ("float32", 1j, "complex64"),
        ("int32", 1j, "complex64"),
        ("float32", np.float64(2), "float64"),
    ],
)
def test_python_scalars_are_weak(dtype: Any, scalar: Any, expected: Any) -> None:
    x = jnp.asarray(np.ones(3, dtype))
    with np.errstate(over="ignore"):
        assert (x * scalar).dtype == expected
        assert (scalar * x).dtype == expected
    (found,) = traced(lambda x: x * scalar, np.ones(3, dtype))
    assert found.dtype == expected


def test_traced_python_scalars_are_weak() -> None:
    graph = make_graph(lambda x, s: x * jnp.sin(s), np.ones(3, BF16), 2.0)
    assert graph.outputs[0].type.dtype == BF16


def test_bfloat16_promotes_like_a_16_bit_float() -> None:
    x = jnp.asarray(np.ones(2, BF16))
    for other, expected in [
        ("float16", "float32"),
        ("int8", BF16),
        ("int16", "float32"),
        ("int32", "float64"),
    ]:
        assert (x + jnp.asarray(np.ones(2, other))).dtype == expected


def test_python_floats_are_rounded_once() -> None:
    x = np.ones(2)
    for f in (
        lambda a: a * 0.1,
        lambda a: a.at[0].set(0.1),
        lambda a: jnp.where(a > 0, 0.1, a),
        lambda a: 0.1 / a,
        lambda a: jnp.clip(a, 0, 0.1),
        lambda a: jnp.full(2, 0.1, "float64") * a,
        lambda a: jnp.array([0.1, 0.1], "float64") * a,
        lambda a: jnp.pad(a, 1, constant_values=0.1),
    ):
        assert np.asarray(f(jnp.asarray(x)))[0] == 0.1
        assert traced(f, x)[0][0] == 0.1


def test_integers_that_do_not_fit() -> None:
    x = jnp.asarray(np.ones(2, np.int8))
    with pytest.raises(DTypeError, match="300 does not fit int8"):
        x + 300
    assert not (x == 300).any()
    assert (jnp.asarray(np.ones(2, np.uint64)) | 2**63).dtype == np.uint64


def test_default_dtypes_follow_the_settings() -> None:
    assert jnp.zeros(2).dtype == np.float32
    with settings(default_float="float64", default_int="int32"):
        assert (jnp.arange(3) * 2.5).dtype == np.float64
        assert jnp.array([1.5]).dtype == np.float64
        assert jnp.arange(3).dtype == np.int32
    assert jnp.array([1, 2]).dtype == np.int64
    assert jnp.array(np.ones(2)).dtype == np.float64


# ---- operators and methods -----------------------------------------------------------------------

OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "divmod": divmod,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    f = OPERATORS[name]
    x, y = rng().normal(size=(3, 4)), rng().normal(size=(4,)) + 0.1
    i, j = rng().integers(-9, 9, (3, 4)), np.array([-3, 2, -1, 5])
    for a, b in [(x, y), (i, j), (x, j)]:
        check(f, f, a, b, dtype=name != "/")
        # the NumPy array on the left gives way to the Array
        np.testing.assert_allclose(np.asarray(f(a, jnp.asarray(b))), f(a, b), rtol=1e-6)
    check(lambda a: f(a, 2), lambda a: f(a, 2), i, dtype=False)
    check(lambda a: f(7, a), lambda a: f(7, a), j, dtype=False)


def test_bit_operators() -> None:
    i, j = np.array([12, -7, 3]), np.array([10, 5, 1])
    for f in (
        lambda a, b: a & b,
        lambda a, b: a | b,
        lambda a, b: a ^ b,
        lambda a, b: a << b,
        lambda a, b: a >> b,
    ):
        check(f, f, i, j)
    check(lambda a: ~a, lambda a: ~a, i)
    check(lambda a: ~a, lambda a: ~a, i > 0)
    check(lambda a: 1 << a, lambda a: 1 << a, j)


def test_unary_operators_and_powers() -> None:
    x = np.array([1.5, -2.0, 4.0])
    for f in (
        lambda a: -a,
        lambda a: +a,
        abs,
        lambda a: a**3,
        lambda a: a**-2,
        lambda a: 2.0**a,
        lambda a: a**2.0,
    ):
        check(f, f, x)
    check(lambda a: a**0.5, lambda a: a**0.5, np.abs(x))
    check(lambda a: a @ a, lambda a: a @ a, x)
    with pytest.raises(DTypeError, match="negative integer powers"):
        jnp.arange(3) ** -1


def test_floor_division_conventions() -> None:
    for dtype in (np.int8, np.int32, np.uint8):
        a = np.array([7, 100, 0, 5, 3], dtype)
        b = np.array([2, 7, 3, 0, 1], dtype)
        if dtype != np.uint8:
            a, b = np.concatenate([a, -a, a]), np.concatenate([b, b, -b])
        with np.errstate(divide="ignore"):
            check(lambda a, b: a // b, lambda a, b: a // b, a, b)
            check(lambda a, b: a % b, lambda a, b: a % b, a, b)
    with np.errstate(all="ignore"):
        a = np.array([7.5, -7.5, 7.5, -7.5, 1.0, np.inf, -1.0])
        b = np.array([2.0, 2.0, -2.0, -2.0, 0.0, 2.0, np.inf])
        # of infinities the array API standard prefers floor(a / b); divmod has Python's quotients
        np.testing.assert_array_equal(np.asarray(jnp.floor_divide(a, b)), np.floor(a / b))
        np.testing.assert_array_equal(np.asarray(jnp.divmod(a, b)[0]), np.floor_divide(a, b))
        np.testing.assert_array_equal(np.asarray(jnp.remainder(a, b)), np.remainder(a, b))


def test_augmented_assignment_rebinds() -> None:
    x = jnp.ones(3)
    y = x
    x += 1
    np.testing.assert_array_equal(np.asarray(x), [2, 2, 2])
    np.testing.assert_array_equal(np.asarray(y), [1, 1, 1])


METHODS = [
    ("sum", ()), ("sum", (0,)), ("prod", ()), ("mean", (1,)), ("var", ()), ("std", (0,)),
    ("min", ()), ("max", (1,)),
    ("argmin", ()), ("argmax", (1,)), ("any", ()), ("all", ()), ("cumsum", (1,)),
    ("cumprod", ()),
    ("argsort", (0,)), ("clip", (-0.5, 0.5)), ("conj", ()), ("conjugate", ()),
    ("diagonal", ()), ("trace", ()),
    ("take", ([0, 2],)), ("repeat", (2,)), ("round", (1,)), ("ravel", ()), ("flatten", ()),
    ("reshape", (4, 3)),
    ("reshape", ((2, -1),)), ("transpose", ()), ("transpose", (1, 0)), ("swapaxes", (0, 1)),
    ("squeeze", ()),
    ("astype", (int,)), ("copy", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), METHODS)
def test_methods(name: str, args: tuple[Any, ...]) -> None:
    x = rng().normal(size=(3, 4))
    check(lambda a: getattr(jnp.asarray(a), name)(*args), lambda a: getattr(a, name)(*args), x)


def test_attributes() -> None:
    z = rng().normal(size=(2, 3)) + 1j
    for name in ("T", "mT", "real", "imag"):
        check(lambda a, n=name: getattr(jnp.asarray(a), n), lambda a, n=name: getattr(a, n), z)
    x = jnp.arange(6.0).reshape(2, 3)
    assert (x.ndim, x.size, len(x), x.itemsize, x.nbytes) == (2, 6, 2, 4, 24)
    assert [float(v) for v in x.flat] == [0, 1, 2, 3, 4, 5]
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x[1, 2].item() == 5
    assert 5.0 in x and 7.0 not in x
    assert x.view("int32").dtype == np.int32
    assert [r.tolist() for r in x] == x.tolist()
    (three,) = pickle.loads(pickle.dumps(x))[:1, 0].tolist()
    assert three == 0 and copy.deepcopy(x) is not x
    assert (x == None) is False  # noqa: E711
    assert x.__array_namespace__().__name__ == "tracejit.numpy"


def test_in_place_methods_say_what_to_use() -> None:
    with pytest.raises(ArgumentError, match="numpy.partition"):
        jnp.zeros(2).partition(1)
    with pytest.raises(ArgumentError, match="numpy.resize"):
        jnp.zeros(2).resize(3)
    with pytest.raises(ArgumentError, match="no `out` argument"):
        jnp.zeros(2).sum(out=np.zeros(()))


# ---- indexing ------------------------------------------------------------------------------------

PICK, COLUMN = np.array([0, 2, -1]), np.array([[1], [2]])
INDICES = [
    0, -1, (1, -2), slice(None), slice(1, None), slice(None, None, -1), slice(-2, 0, -2),
    slice(5, 2), slice(1, 3, 5),
    ..., None, (..., 1), (0, ..., 2), (None, 1, None), (slice(None), None, 2),
    (1, slice(None, None, 2), -1),
    PICK, [0, 1], (PICK, PICK), (PICK, 1), (1, PICK), (slice(None), PICK), (slice(None),
    PICK, PICK), (PICK, slice(None), PICK),
    (PICK, slice(1, None, 2), 1), (COLUMN, slice(None), PICK), (None, PICK, None),
    (PICK, None, PICK), (0, slice(None), PICK), (..., PICK),
    (slice(None, None, -1), PICK), (slice(1), COLUMN, PICK), np.zeros((0,), int), np.int64(2),
    (np.array([[0, 1], [2, 0]]), 0),
    (slice(None), slice(None), PICK), (slice(None), COLUMN, slice(0, 1)), (),
]  # fmt: skip


@pytest.mark.parametrize("idx", INDICES, ids=str)
def test_reading_and_setting(idx: Any) -> None:
    x = rng().normal(size=(3, 4, 5))
    part = x[idx]
    value = rng().normal(size=part.shape)

    def changed(how: str) -> Any:
        def numpy(a: np.ndarray, v: Any) -> np.ndarray:
            a = a.copy()
            if how == "set":
                a[idx] = v
            else:
                ufunc = {
                    "add": np.add,
                    "multiply": np.multiply,
                    "min": np.minimum,
                    "max": np.maximum,
                }[how]
                ufunc.at(a, idx, v)
            return a

        return numpy

    check(lambda a: jnp.asarray(a)[idx], lambda a: a[idx], x)
    repeated = isinstance(idx, tuple) and any(isinstance(k, np.ndarray) for k in idx)
    for how in ("add", "multiply", "min", "max") + (() if repeated else ("set",)):
        check(lambda a, v, h=how: getattr(jnp.asarray(a).at[idx], h)(v), changed(how), x, value)
    check(lambda a: jnp.asarray(a).at[idx].set(7), lambda a: changed("set")(a, 7), x)


@pytest.mark.parametrize("mode", ["error", "clip", "wrap", "fill"])
def test_traced_indices(mode: str) -> None:
    x = rng().normal(size=(4, 5))
    i = np.array([0, 3, -1])
    check(lambda a, k: a[k], lambda a, k: a[k], jnp_args(x), i)
    check(lambda a, k: a[:, k, None], lambda a, k: a[:, k, None], jnp_args(x), i)
    check(lambda a, k: a[k, k + 1], lambda a, k: a[k, k + 1], jnp_args(x), i)
    check(lambda a, k: a[k[0]], lambda a, k: a[k[0]], jnp_args(x), i)
    check(lambda a, k: a.at[k].get(mode=mode), lambda a, k: np.asarray(a)[k], jnp_args(x), i)
    check(lambda a, k: a[k], lambda a, k: a[k], jnp_args(x), np.array([1, 3], np.uint8))


def jnp_args(x: np.ndarray) -> Any:
    """An Array that is NumPy's, too: what the tests of traced indices read."""
    return jnp.asarray(x)


def test_modes_outside() -> None:
    x = np.arange(4.0)
    i = np.array([-9, -1, 2, 9])

    def both(f: Any) -> list[Any]:
        at_once = np.asarray(f(jnp.asarray(x), i))
        np.testing.assert_array_equal(at_once, traced(f, x, i)[0])
        return at_once.tolist()

    assert both(lambda a, k: a.at[k].get(mode="clip")) == [0, 3, 2, 3]
    assert both(lambda a, k: a.at[k].get(mode="wrap")) == [3, 3, 2, 1]
    assert both(lambda a, k: a.at[k].get(mode="fill", fill_value=-5)) == [-5, 3, 2, -5]
    assert both(lambda a, k: a.at[k].set(7.0, mode="drop")) == [0, 1, 7, 7]
    assert both(lambda a, k: a.at[k].add(1.0, mode="clip")) == [1, 1, 3, 5]
    assert jnp.asarray(x).at[9].set(1.0, mode="drop").tolist() == x.tolist()
    assert jnp.asarray(x).at[9].get(mode="clip") == 3
    assert np.isnan(jnp.asarray(x).at[9].get(mode="fill").item())


def test_out_of_bounds() -> None:
    x = jnp.arange(3.0)
    for idx in (3, -4, [0, 5], (0, 0)):
        with pytest.raises(OutOfBoundsError):
            x[idx]
    with pytest.raises(OutOfBoundsError, match="index 3 is out of bounds for axis 0 with size 3"):
        make_graph(lambda a: a[3], x)
    with pytest.raises(OutOfBoundsError):
        traced(lambda a, k: a[k], np.arange(3.0), np.array(7))
    with pytest.raises(OutOfBoundsError):
        traced(lambda a, k: a.at[k].set(0), np.arange(3.0), np.array(7))


def test_masks() -> None:
    x = rng().normal(size=(3, 4))
    mask, rows = x > 0, np.array([True, False, True])
    for idx in (
        mask,
        rows,
        (rows, slice(1, 3)),
        (slice(None), np.array([True, False, True, True])),
        (rows, 0),
    ):
        check(lambda a, k=idx: jnp.asarray(a)[k], lambda a, k=idx: a[k], x)

    def numpy_set(a: np.ndarray, m: np.ndarray, v: Any) -> np.ndarray:
        a = a.copy()
        a[m] = v
        return a

    check(lambda a, m: jnp.asarray(a).at[m].set(0), lambda a, m: numpy_set(a, m, 0), x, mask)
    check(lambda a, m: jnp.asarray(a).at[m].set(x[0]), lambda a, m: numpy_set(a, m, x[0]), x, rows)
    check(lambda a: jnp.asarray(a).at[mask].set(np.arange(mask.sum())),
          lambda a: numpy_set(a, mask, np.arange(mask.sum())), x)  # fmt: skip
    check(
        lambda a, m: jnp.asarray(a).at[m].multiply(3), lambda a, m: np.where(m, a * 3, a), x, mask
    )
    with pytest.raises(TracedValueError, match="where"):
        make_graph(lambda a, m: a[m], x, mask)
    with pytest.raises(OutOfBoundsError, match="mask"):
        jnp.asarray(x)[np.ones(2, bool)]


def test_setitem_is_a_functional_update() -> None:
    data = np.zeros(4)
    x = jnp.asarray(data)
    other = x
    alias = jnp.asarray(data)
    x[1:3] = [5, 6]
    x[0] += 2
    x[np.array([False, False, False, True])] = 9
    assert x.tolist() == [2, 5, 6, 9] and other is x
    assert data.tolist() == [0, 0, 0, 0] and alias.tolist() == [0, 0, 0, 0]

    def f(a: Any) -> Any:
        b = a * 1
        b[0] = a[1] * 3
        b[1:] *= 2
        a[2] = 0
        return (b * a).sum()

    given = jnp.array([1.0, 2.0, 3.0])
    assert traced(f, np.array([1.0, 2.0, 3.0]))[0] == 6 * 1 + 4 * 2
    assert grad(f)(given).tolist() == [6.0, 3 + 8.0, 0.0]
    assert given.tolist() == [1, 2, 3]


def test_setitem_of_a_constant_keeps_what_was_read_before() -> None:
    big = jnp.arange(100.0)

    def f(x: Any) -> Any:
        table = jnp.array(np.ones(3))
        before = table * x
        table[0] = x[0]
        return before.sum() + (table * x).sum() + big[0] * x[0]

    assert traced_with_captures(f, np.array([2.0, 3.0, 4.0])) == 9 + (4 + 3 + 4)


def traced_with_captures(f: Any, *arrays: np.ndarray) -> float:
    from tracejit.frontend.derivatives import value_and_grad

    return float(value_and_grad(f)(*map(jnp.asarray, arrays))[0])


def test_an_ellipsis_separates_index_arrays() -> None:
    x, i = np.arange(24.0).reshape(4, 6), np.array([0, 2, 1])
    for idx in [(None, i, ..., 1), (..., i, 1), (i, ..., i), (None, i, i, ...), (i, None, 1)]:
        np.testing.assert_array_equal(np.asarray(jnp.asarray(x)[idx]), x[idx])


def test_apply_power_and_divide_at() -> None:
    x = jnp.array([1.0, 2.0, 3.0])
    assert x.at[1].power(3).tolist() == [1, 8, 3]
    assert x.at[1:].divide(2).tolist() == [1, 1, 1.5]
    assert x.at[np.array([0, 2])].apply(jnp.negative).tolist() == [-1, 2, -3]
    assert x.at[x > 1].apply(jnp.square).tolist() == [1, 4, 9]
    assert x.at[0].subtract(1).tolist() == [0, 2, 3]


def test_gradients_through_indexing() -> None:
    x = jnp.arange(1.0, 6.0)
    assert grad(lambda a: (a[1:4] ** 2).sum())(x).tolist() == [0, 4, 6, 8, 0]
    assert grad(lambda a: (a[::-2] * jnp.arange(3.0)).sum())(x).tolist() == [2, 0, 1, 0, 0]
    assert grad(lambda a: a[jnp.array([0, 0, 3])].sum())(x).tolist() == [2, 0, 0, 1, 0]
    assert grad(lambda a: (a.at[1].set(a[0]) ** 2).sum())(x).tolist() == [4, 0, 6, 8, 10]
    assert grad(lambda a: a.at[a > 2].set(0).sum())(x).tolist() == [1, 1, 0, 0, 0]


def test_bad_indices() -> None:
    x = jnp.arange(6.0).reshape(2, 3)
    for idx, error in [
        ("a", ArgumentError),
        (1.5, DTypeError),
        ((..., ...), ArgumentError),
    ]:
        with pytest.raises(error):
            x[idx]
    with pytest.raises(ArgumentError):
        x[::0]
    with pytest.raises(ShapeError, match="does not fit"):
        x.at[0].set(jnp.ones(2))
    with pytest.raises(DTypeError, match="complex"):
        x.at[0].set(1j)
    with pytest.raises(TracedValueError, match="dynamic_slice"):
        make_graph(lambda a, n: a[:n], x, 2)
    with pytest.raises(ArgumentError):
        iter(jnp.float32(1)).__next__()


# ---- shapes that do not fit ----------------------------------------------------------------------


def test_shape_errors_name_operands_and_hint() -> None:
    a, b = jnp.ones((2, 3)), jnp.ones((3, 2))
    with pytest.raises(
        ShapeError, match=r"add: shapes do not broadcast: \(2, 3\) and \(3, 2\)"
    ) as caught:
        a + b
    assert "operand 2: f32[3,2]" in str(caught.value) and "transposed" in str(caught.value)
    assert "a + b" in str(caught.value)
    with pytest.raises(ShapeError, match="contracted sizes differ: 3 and 2"):
        a @ a
    with pytest.raises(ShapeError, match="does not fit shape"):
        a.reshape(4, -1)
    with pytest.raises(ShapeError, match="no axis 2"):
        a.sum(2)


# ---- NumPy's functions on Arrays -----------------------------------------------------------------


def test_numpy_functions_become_ours() -> None:
    x = np.array([1.0, 4.0, 9.0], np.float32)

    def f(a: Any) -> Any:
        return (
            np.sqrt(a)
            + np.concatenate([a, a])[:3]
            + np.add.reduce(a)
            + np.linspace(0, 1, 3)
            + np.mean(a)
        )

    check(f, f, x, dtype=False)
    assert isinstance(f(jnp.asarray(x)), jnp.Array)
    assert isinstance(np.float32(2) * jnp.asarray(x), jnp.Array)
    assert isinstance(x * jnp.asarray(x), jnp.Array)
    assert np.shape(jnp.asarray(x)) == (3,)
    (found,) = traced(lambda a: np.multiply.outer(x, x)[0] * np.maximum(a, 2), x)
    np.testing.assert_allclose(found, x * np.maximum(x, 2))


def test_numpy_functions_that_do_not_exist_here() -> None:
    x = jnp.array([1.0, 2.0])
    assert np.nanstd(x) == pytest.approx(0.5)
    with pytest.raises(TracedValueError, match="there is no tracejit.numpy"):
        make_graph(lambda a: np.datetime_as_string(a), x)
    assert isinstance(np.real_if_close(x), jnp.Array) and np.isneginf(x).shape == (2,)
    out = np.zeros(2)
    np.add(x, 1, out=out)
    assert out.tolist() == [2, 3]


def test_asarray_of_a_traced_value_names_the_way_out() -> None:
    with pytest.raises(TracedValueError, match="tracejit.numpy"):
        make_graph(lambda a: np.asarray(a), np.ones(2))


def test_lists_may_hold_traced_values() -> None:
    check(
        lambda a: jnp.array([[a[0], 1.0], [2.0, a[1]]]),
        lambda a: np.array([[a[0], 1], [2, a[1]]]),
        np.ones(2),
    )
    assert jnp.array([jnp.ones(2), [2, 3]]).shape == (2, 2)
    assert jnp.array(3.0, ndmin=2).shape == (1, 1)


@pytest.mark.parametrize("bad", ["text", {"a": 1}, None, object()])
def test_what_is_no_array(bad: Any) -> None:
    with pytest.raises((TracejitError, TypeError, ValueError)):
        jnp.asarray(bad)


def test_every_pair_of_basic_indices_composes() -> None:
    x = np.arange(24).reshape(4, 6)
    parts = [slice(1, None), slice(None, None, -2), slice(None, -1), 1]
    for a, b in itertools.product(parts, parts):
        np.testing.assert_array_equal(np.asarray(jnp.asarray(x)[a, b]), x[a, b])


def test_assignment_changes_the_object_and_nothing_else() -> None:
    a = jnp.arange(3.0)
    b = jnp.asarray(a)
    a[0] = 9.0
    np.testing.assert_array_equal(a, [9.0, 1.0, 2.0])
    np.testing.assert_array_equal(b, [0.0, 1.0, 2.0])


def test_a_traced_function_may_not_change_outer_arrays() -> None:
    outer = jnp.zeros(3)

    def f(x):
        outer[0] = x
        return outer

    with pytest.raises(ArgumentError, match="made outside"):
        make_graph(f, 1.0)
    np.testing.assert_array_equal(outer, [0.0, 0.0, 0.0])
