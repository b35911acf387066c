"""What programs for NumPy use around arrays: ``x.flat``, other names of dtypes, text, ways to build
arrays from directives; each against NumPy."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import ArgumentError, DTypeError, OutOfBoundsError, ShapeError, WrongValueError


def same(function: Callable[[Any], Any]) -> None:
    """``function`` of either namespace gives equal values, shapes and dtypes."""
    with tj.settings(default_float="float64"):
        found, wanted = function(jnp), function(np)
    many = isinstance(wanted, tuple | list)
    for a, b in zip(found if many else (found,), wanted if many else (wanted,), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12, atol=1e-12)
        assert np.shape(a) == np.shape(b)
        if isinstance(b, np.ndarray | np.generic):
            assert np.asarray(a).dtype == b.dtype


# ---- elements in row-major order -----------------------------------------------------------------


def write_flat(xp: Any, idx: Any, value: Any) -> Any:
    x = xp.arange(6).reshape(2, 3)
    x.flat[idx] = value
    return x


@pytest.mark.parametrize(
    ("idx", "value"),
    [
        (3, 10),
        (-1, 7),
        ([0, 4], [7, 8]),
        (slice(4, None), 1),
        (slice(None), [1, 2]),
        (slice(0, 0), 5),
        (slice(1, 3), [1, 2, 3]),
    ],
)
def test_flat_is_written_as_by_numpy(idx: Any, value: Any) -> None:
    same(lambda xp: write_flat(xp, idx, value))


def test_flat_is_read_as_by_numpy() -> None:
    def read(xp: Any) -> list[Any]:
        x = xp.arange(6).reshape(2, 3)
        it = x.flat
        first = next(it)
        return [*x.flat, first, next(it), it.index, *it.coords, len(x.flat), x.flat[2:4], x.flat[4]]

    same(read)
    x = jnp.arange(2)
    it = x.flat
    assert [next(it), next(it)] == [0, 1]
    with pytest.raises(StopIteration):
        next(it)
    with pytest.raises(OutOfBoundsError):
        x.flat[5] = 1
    assert np.asarray(x.flat).tolist() == x.flat.copy().tolist() == [0, 1]


def test_parts_are_set_as_by_numpy() -> None:
    def change(xp: Any) -> Any:
        x, y = xp.arange(6).reshape(2, 3) * 1j, xp.ones(2)
        x.real = 3
        x.imag += xp.arange(3)
        y.real = 5
        y.flat = [1, 2, 3]
        x.put([0, -1], [1, 2])
        return x, y

    same(change)
    with pytest.raises(DTypeError, match="no imaginary part"):
        jnp.ones(2).imag = 1


def test_parts_are_set_under_jit() -> None:
    @tj.jit
    def change(x: Any) -> Any:
        x.flat[1] = 5.0
        return x

    assert change(jnp.zeros((2, 2))).tolist() == [[0, 5], [0, 0]]


# ---- arguments that have no meaning here, or little ----------------------------------------------


@pytest.mark.parametrize("name", ["zeros", "ones", "empty"])
def test_the_order_in_memory_is_accepted(name: str) -> None:
    same(lambda xp: getattr(xp, name)((2, 3), dtype=float, order="F").shape)
    same(lambda xp: getattr(xp, f"{name}_like")(xp.arange(3), order="C").shape)
    same(lambda xp: xp.full((2,), 3.0, order="F"))
    same(lambda xp: xp.eye(2, order="F"))
    same(lambda xp: xp.arange(4).reshape(2, 2).ravel(order="K"))


def test_casting() -> None:
    same(lambda xp: xp.concatenate([xp.arange(2), xp.ones(2)], casting="safe"))
    same(lambda xp: xp.stack([xp.arange(2), xp.arange(2)], dtype=float, casting="safe"))
    same(lambda xp: xp.vstack([xp.arange(2), xp.arange(2)], casting="no"))
    same(lambda xp: xp.hstack([xp.arange(2), xp.arange(2)], casting="no"))
    same(lambda xp: xp.arange(2).astype(float, order="C", casting="safe", copy=False))
    with pytest.raises(DTypeError, match="not 'safe'"):
        jnp.concatenate([jnp.ones(2), jnp.ones(2)], dtype=int, casting="safe")
    with pytest.raises(DTypeError, match="not 'safe'"):
        jnp.ones(2).astype(int, casting="safe")


# ---- names ---------------------------------------------------------------------------------------


def test_dtypes_have_numpys_other_names() -> None:
    names = "byte short intc intp long longlong ubyte ushort uintc uintp ulong ulonglong half"
    for name in names.split():
        assert jnp.zeros(2, getattr(jnp, name)).dtype == np.dtype(getattr(np, name))


def test_dtypes_ask_what_a_number_is() -> None:
    x = jnp.array([1.5], dtype="float64")
    assert isinstance(x[0], jnp.float64) and not isinstance(x[0], jnp.float32)
    assert isinstance(np.float32(1), jnp.float32) and not isinstance(x, jnp.float64)
    assert isinstance(x.dtype, jnp.dtype) and not isinstance("f4", jnp.dtype)
    assert jnp.float32.__name__ == "float32"

    def annotated(a: jnp.float64 | None, b: jnp.dtype[jnp.float64]) -> None: ...

    assert callable(annotated)


@pytest.mark.parametrize(
    "function",
    [
        lambda xp: xp.ascontiguousarray(2.0),
        lambda xp: xp.asfortranarray(xp.arange(4).reshape(2, 2)),
        lambda xp: xp.asanyarray([1, 2]),
        lambda xp: xp.require([1, 2], float, "C"),
        lambda xp: xp.fix([-1.5, 1.5]),
        lambda xp: xp.real_if_close([2.1 + 4e-14j], tol=1000),
        lambda xp: xp.real_if_close([2.1 + 4e-3j]),
        lambda xp: xp.emath.sqrt(xp.array([-4.0, 4.0])),
        lambda xp: xp.broadcast(xp.ones((3, 1)), xp.ones(2)).shape,
        lambda xp: [x + 0 for x in xp.nditer(xp.arange(3))],
        lambda xp: xp.isfortran(xp.ones(2)),
    ],
)
def test_functions_are_numpys(function: Callable[[Any], Any]) -> None:
    same(function)


def test_text_and_questions() -> None:
    for xp in (jnp, np):
        x = xp.array([1.0, 2.5], dtype="float64")
        assert xp.array2string(x, separator=",") == "[1. ,2.5]"
        assert xp.format_float_positional(x[1], precision=3) == "2.5"
        assert (xp.binary_repr(10), xp.base_repr(255, 16)) == ("1010", "FF")
        assert xp.common_type(x) is np.float64 and xp.min_scalar_type(10) == np.uint8
        assert not xp.shares_memory(x, xp.ones(2)) and not xp.may_share_memory(x, xp.ones(2))
        xp.testing.assert_equal({"x": x}, {"x": [1.0, 2.5]})
        with pytest.raises(AssertionError):
            xp.testing.assert_array_equal(x, x + 1)
        assert xp.polynomial.Polynomial([1, 2])(x).tolist() == xp.poly1d([2, 1])(x).tolist()
        file = io.BytesIO()
        xp.savez_compressed(file, x=x)
        file.seek(0)
        assert np.load(file)["x"].tolist() == [1.0, 2.5]
    with pytest.raises(WrongValueError, match="infs or nans"):
        jnp.asarray_chkfinite([1.0, np.nan])
    with pytest.raises(AttributeError, match="no matrices"):
        _ = jnp.matrix
    assert jnp.ma.masked_where(x > 1, x).mask.tolist() == [False, True]


@pytest.mark.parametrize(
    "name", ["divide", "power", "equal", "less", "gcd", "remainder", "hypot", "left_shift"]
)
def test_functions_of_two_have_the_methods_of_ufuncs(name: str) -> None:
    same(lambda xp: getattr(xp, name).outer(xp.array([4, 6]), xp.array([2, 3, 1])))
    assert isinstance(getattr(jnp, name), jnp.ufunc)
    if name in ("gcd", "hypot", "divide"):
        same(lambda xp: getattr(xp, name).reduce(xp.array([12, 18, 30])))


# ---- building arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize("directive", ["-1", "0,2", "0,2,0", "1,2,0", "0", "0,3", "1,3,1"])
def test_directives_of_r_are_numpys(directive: str) -> None:
    same(
        lambda xp: (
            xp.r_[directive, xp.array([1, 2, 3]), xp.array([4, 5, 6])]
            if directive not in ("-1",)
            else xp.r_[directive, xp.eye(2), xp.eye(2)]
        )
    )
    with pytest.raises(ArgumentError):
        jnp.r_["nonsense", [1]]
    with pytest.raises(ArgumentError, match="no matrices"):
        jnp.r_["c", [1]]


@pytest.mark.parametrize(
    "function",
    [
        lambda xp: xp.arange(0, 5, 0.5, dtype=int),
        lambda xp: xp.arange(-3, 3, 0.5, dtype=int),
        lambda xp: xp.geomspace(1, 1000, 3, endpoint=False),
        lambda xp: xp.geomspace(3, 10, 7),
        lambda xp: xp.logspace(2.0, 3.0, num=4, base=[2.0, 3.0]),
        lambda xp: xp.logspace(2.0, 3.0, num=4, base=[2.0, 3.0], axis=-1),
        lambda xp: xp.unravel_index([31, 41, 13], (7, 6), order="F"),
        lambda xp: xp.ravel_multi_index(([3, 6, 6], [4, 5, 1]), (4, 4), mode=("clip", "wrap")),
        lambda xp: xp.ix_([0, 1], []),
        lambda xp: xp.indices(n for n in (2, 3)),
        lambda xp: xp.vander([1, 2, 3], 0),
        lambda xp: xp.poly([[0.0, 1 / 3], [-1 / 2, 0.0]]),
        lambda xp: xp.pad(xp.arange(3), (5, 6), "symmetric", reflect_type="odd"),
        lambda xp: xp.pad(xp.arange(3), (7, 6), "reflect", reflect_type="odd"),
        lambda xp: xp.pad(xp.eye(2, 3), ((4, 1), (0, 7)), "reflect", reflect_type="odd"),
        lambda xp: xp.pad(xp.array([[2.0]]), 2, "reflect", reflect_type="odd"),
        lambda xp: xp.partition(xp.array([5, 1, 4, 2]), (0, 3))[xp.array([0, 3])],
        lambda xp: xp.isin(xp.arange(4), [1, 2], kind="sort"),
        lambda xp: xp.einsum("ij,jk", xp.eye(2), xp.eye(2, dtype=int), dtype=float, order="C"),
        lambda xp: xp.nanvar([[1, np.nan, 3], [3, 4, 5]], axis=1, correction=1),
        lambda xp: xp.reshape(xp.arange(4), xp.array([2, 2])),
    ],
)
def test_arguments_are_numpys(function: Callable[[Any], Any]) -> None:
    same(function)


def test_a_function_as_mode_of_pad() -> None:
    def fill(row: Any, width: Any, axis: int, options: Any) -> None:
        row[: width[0]] = options.get("filler", 10)
        row[-width[1] :] = axis

    same(lambda xp: xp.pad(xp.arange(6).reshape(2, 3), 2, fill))
    same(lambda xp: xp.pad(xp.arange(6).reshape(2, 3), ((1, 1), (2, 2)), fill, filler=7))
    with pytest.raises(ArgumentError, match="no argument 'filler'"):
        jnp.pad(jnp.ones(2), 1, filler=7)


def test_index_exp_is_a_tuple() -> None:
    assert jnp.index_exp[1:] == (slice(1, None),) and jnp.s_[1:] == slice(1, None)


# ---- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3), None), (2, 1), ((2, 2), (1, 1)), ((1, 2), (-1, 0)), (3, 0)]
)
def test_sliding_windows_are_numpys(shape: Any, axis: Any) -> None:
    def windows(xp: Any) -> Any:
        x = xp.arange(20).reshape(4, 5)
        return xp.lib.stride_tricks.sliding_window_view(x, shape, axis=axis)

    same(windows)


def test_strided_copies_are_numpys() -> None:
    def strided(xp: Any) -> Any:
        x = xp.arange(12.0).reshape(3, 4)
        s = x.strides
        return xp.lib.stride_tricks.as_strided(x, (2, 3, 2, 2), (*s, *s))

    same(strided)
    as_strided = jnp.lib.stride_tricks.as_strided
    assert tj.jit(lambda x: as_strided(x, (2, 2), (8, 8)))(np.arange(3.0)).tolist() == [
        [0, 1],
        [1, 2],
    ]
    with pytest.raises(OutOfBoundsError, match="outside of"):
        as_strided(jnp.arange(3), (4,), (8,))
    with pytest.raises(ArgumentError, match="do not fit"):
        as_strided(jnp.arange(3), (2,), (3,))
    with pytest.raises(ShapeError, match="does not fit axis 0"):
        jnp.lib.stride_tricks.sliding_window_view(jnp.arange(3), 4)


def test_what_is_asked_of_the_memory() -> None:
    x = jnp.arange(6).reshape(2, 3)
    assert x.flags["C_CONTIGUOUS"] and not x.flags.writeable and x.base is None
    assert x.strides == np.arange(6).reshape(2, 3).strides and jnp.__version__ == np.__version__


# ---- functions of elements -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda xp: xp.vectorize(lambda a, b: a - b if a > b else a + b)([1, 2, 3, 4], 2),
        lambda xp: xp.vectorize(lambda x: x * 2, otypes=[float])(xp.arange(3)),
        lambda xp: xp.vectorize(lambda x: int(x) + 1, otypes=[complex])(xp.ones((2, 2))),
        lambda xp: xp.vectorize(lambda x: (x, x * 2.0), otypes="fd")(xp.arange(3)),
        lambda xp: xp.vectorize(otypes=[float])(lambda x: x + 1)(xp.arange(3)),
        lambda xp: xp.vectorize(lambda v: float(v[0]) if v[0] > 1 else 0.0, signature="(n)->()")(
            xp.arange(6.0).reshape(3, 2)
        ),
    ],
)
def test_vectorize_takes_functions_that_need_values(function: Callable[[Any], Any]) -> None:
    same(function)


def test_vectorize_of_values_under_jit_is_an_error() -> None:
    with pytest.raises(tj.errors.TracedValueError):
        tj.jit(jnp.vectorize(lambda a: 1 if a > 0 else 2))(jnp.ones(2))
    with pytest.raises(ArgumentError, match="1 otypes for 2 results"):
        jnp.vectorize(lambda a: (a, a), otypes=[float])(jnp.ones(2))


# ---- histograms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bins", ["auto", "fd", "doane", "scott", "stone", "rice", "sturges", "sqrt"]
)
def test_estimators_of_bins_are_numpys(bins: str) -> None:
    data = np.sin(np.arange(50.0)) + np.arange(50.0) / 9
    same(lambda xp: xp.histogram(xp.asarray(data), bins=bins))
    if bins != "stone":  # that warns
        same(lambda xp: xp.histogram_bin_edges(xp.asarray(data), bins, range=(-0.5, 0.7)))


@pytest.mark.parametrize(
    "bins", [[[0, 0.5, 1], [0, 0.5, 0.7, 1]], [[0, 0.5, 1], 3], (2, 3), [0.0, 0.5, 1.0], 4]
)
def test_bins_of_two_axes_are_numpys(bins: Any) -> None:
    same(
        lambda xp: (lambda h: (h[0], h[1], h[2]))(
            xp.histogram2d(xp.array([0.1, 0.2, 0.9]), xp.array([0.4, 0.5, 0.6]), bins=bins)
        )
    )


def test_a_list_of_columns_is_a_sample() -> None:
    for sample in ([[0.1, 0.2], [0.9, 0.4]], [np.arange(3.0), np.arange(3.0)]):
        same(lambda xp, given=sample: xp.histogramdd(given, bins=2)[0])
    same(lambda xp: xp.histogram([1, 2, 1], bins=[0, 1, 2, 3]))
    with pytest.raises(ArgumentError, match="bins for 3 axes of 2"):
        jnp.histogramdd(jnp.ones((4, 2)), bins=[2, 2, 2])


# ---- between the libraries -----------------------------------------------------------------------


def test_a_matrix_of_numpys_is_an_array() -> None:
    with pytest.warns(PendingDeprecationWarning):
        row = np.asmatrix([[1.0, 2.0]])
    assert jnp.kron(row, row.T).tolist() == [[1, 2], [2, 4]]


def test_an_array_of_one_element_is_no_index_of_numpys() -> None:
    given = np.arange(5) * 10
    assert given[jnp.array([3])].tolist() == [30] and given[jnp.array([3])[0]] == 30
    with pytest.raises(TypeError):
        [1, 2][jnp.array([1])]


def test_a_block_is_a_copy() -> None:
    a = jnp.zeros(2)
    b = jnp.block(a)
    b[0] = 1.0
    assert a.tolist() == [0, 0]
