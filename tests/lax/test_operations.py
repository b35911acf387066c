"""The operations of ``lax``: strict operands, values against NumPy, JAX's forms of arguments."""

from __future__ import annotations

import numpy as np
import pytest

from tracejit import grad, jit, jvp, lax
from tracejit import numpy as jnp
from tracejit.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(1)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X = draw(3, 4)
N = RNG.integers(-50, 50, (3, 4)).astype(np.int32)


def close(found, wanted, tolerance=1e-5):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, tolerance, tolerance)


def test_every_public_name_is_there_and_documented():
    for name in lax.__all__:
        found = getattr(lax, name)
        assert found is not None
        if callable(found):
            assert found.__doc__, name


# ---- strictness ----------------------------------------------------------------------------------


def test_operands_are_not_promoted():
    close(lax.add(X, 1), X + 1)
    close(lax.mul(2.0, X), X * 2)
    close(lax.add(X, np.float32(1)), X + 1)
    close(lax.add(draw(3, 1) * 0 + 1, X), X + 1)
    with pytest.raises(DTypeError, match="dtypes differ: f32 and i32"):
        lax.add(X, N)
    with pytest.raises(DTypeError, match="dtypes differ"):
        lax.add(N, 1.5)
    with pytest.raises(ShapeError, match="differ in rank"):
        lax.add(X, draw(4))
    with pytest.raises(ShapeError, match="do not broadcast"):
        lax.sub(X, draw(3, 3))
    with pytest.raises(DTypeError, match="sin: takes"):
        lax.sin(N)


# ---- elements ------------------------------------------------------------------------------------


def test_rounding():
    halves = np.array([0.5, -0.5, 1.5, -2.5, 0.49999997, 2.3], np.float32)
    assert lax.round(halves).tolist() == [1, -1, 2, -3, 0, 2]
    even = lax.round(halves, lax.RoundingMethod.TO_NEAREST_EVEN)
    assert even.tolist() == [0, 0, 2, -2, 0, 2]


def test_powers():
    close(lax.pow(X, 3), X**3)
    close(lax.pow(np.abs(X), np.abs(N) % 3), np.abs(X) ** (np.abs(N) % 3))
    close(lax.integer_pow(X, -2), X**-2.0, 1e-4)
    close(grad(lambda x: lax.pow(x, 3))(2.0), 12)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.int64, np.uint64])
def test_mulhi(dtype):
    info = np.iinfo(dtype)
    a, b = (RNG.integers(info.min, info.max, 20, dtype) for _ in range(2))
    wanted = [(int(p) * int(q)) >> info.bits for p, q in zip(a, b, strict=True)]
    assert lax.mulhi(a, b).tolist() == wanted


def test_reduce_precision_is_rounding_to_half():
    values = np.array([1.2345, 1e30, 1e-30, 65519, 65520, -7.77, np.inf, np.nan], np.float32)
    with np.errstate(over="ignore"):
        wanted = values.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(lax.reduce_precision(values, 5, 10)), wanted)
    close(lax.reduce_precision(X, 8, 23), X)


def test_bitcast_between_widths():
    for dtype in (np.int32, np.uint8, np.int16):
        np.testing.assert_array_equal(
            np.asarray(lax.bitcast_convert_type(X, dtype)).reshape(-1), X.view(dtype).reshape(-1)
        )
    back = lax.bitcast_convert_type(X.view(np.uint8).reshape(3, 4, 4), np.float32)
    np.testing.assert_array_equal(np.asarray(back), X)
    with pytest.raises(ShapeError, match="must have size 2"):
        lax.bitcast_convert_type(X, np.float64)


def test_select_and_clamp():
    close(lax.select(X > 0, X, -X), np.abs(X))
    close(lax.select(True, X, -X), X)
    close(lax.select_n(N % 3, X, X + 1, X + 2), X + N % 3)
    close(lax.clamp(-1.0, X, 1.0), np.clip(X, -1, 1))
    with pytest.raises(ShapeError, match="`which` is"):
        lax.select(X[0] > 0, X, X)
    with pytest.raises(ArgumentError, match="two cases"):
        lax.select_n(X > 0, X, X, X)


def test_complex_parts():
    z = lax.complex(X, X + 1)
    close(lax.real(z), X)
    close(lax.imag(lax.conj(z)), -(X + 1))
    assert lax.conj(X).dtype == np.complex64


# ---- shapes --------------------------------------------------------------------------------------


def test_making_and_moving():
    assert lax.iota(np.int32, 3).tolist() == [0, 1, 2]
    assert lax.broadcasted_iota(np.float32, (2, 3), 1).tolist() == [[0, 1, 2]] * 2
    close(lax.full((2,), 3.0), [3, 3])
    close(lax.broadcast(X, (2,)), np.stack([X, X]))
    close(lax.broadcast_in_dim(X, (3, 2, 4), (0, 2)), np.repeat(X[:, None], 2, 1))
    close(lax.broadcast_in_dim(2.0, (2, 2), ()), np.full((2, 2), 2))
    assert lax.broadcast_to_rank(X, 4).shape == (1, 1, 3, 4)
    assert lax.broadcast_shapes((3, 1), (2, 1, 4)) == (2, 3, 4)
    close(lax.reshape(X, (4, 3), (1, 0)), X.T)
    assert lax.collapse(draw(2, 3, 4), 1).shape == (2, 12)
    close(lax.rev(X, (0, 1)), X[::-1, ::-1])
    close(lax.concatenate([X, X + 1], 1), np.concatenate([X, X + 1], 1))
    parts = lax.split(X, (1, 3), 1)
    close(parts[1], X[:, 1:])
    close(lax.unstack(X, 1)[2], X[:, 2])
    close(lax.tile(X, (2, 1)), np.tile(X, (2, 1)))
    close(lax.pad(X, 0.0, ((1, 2, 0), (0, -1, 0))), np.pad(X[:, :3], ((1, 2), (0, 0))))
    assert lax.shape_as_value((2, 3)).tolist() == [2, 3]


def test_slices():
    close(lax.slice(X, (0, 1), (3, 4), (2, 1)), X[0:3:2, 1:4])
    close(lax.slice_in_dim(X, -2, None), X[-2:])
    close(lax.index_in_dim(X, -1, 1, keepdims=False), X[:, -1])
    close(lax.index_take(X, (np.array([0, 2]), np.array([1, 1])), (0, 1)), X[[0, 2], [1, 1]])
    with pytest.raises(ShapeError, match="is outside axis"):
        lax.index_in_dim(X, 3)


def test_dynamic_slices():
    close(lax.dynamic_slice(X, (-2, 1), (2, 2)), X[1:, 1:3])
    close(lax.dynamic_slice(X, (2, 3), (2, 2)), X[1:, 2:])  # moved inside
    close(jit(lambda i: lax.dynamic_index_in_dim(X, i, keepdims=False))(-1), X[2])
    wanted = X.copy()
    wanted[:, 2] = 7
    close(lax.dynamic_update_index_in_dim(X, jnp.full(3, 7.0), 2, 1), wanted)
    found = grad(lambda x: lax.dynamic_slice_in_dim(x, 1, 2).sum())(np.ones(4, np.float32))
    assert found.tolist() == [0, 1, 1, 0]


# ---- folds ---------------------------------------------------------------------------------------


def test_reductions_and_running_folds():
    close(lax.reduce_sum(X, (0,)), X.sum(0))
    close(lax.reduce_max(X, (1, 0)), X.max())
    assert lax.reduce_xor(N, (0,)).tolist() == np.bitwise_xor.reduce(N, 0).tolist()
    assert lax.argmax(X, 1, np.int32).tolist() == X.argmax(1).tolist()
    close(lax.cumsum(X, 1, reverse=True), X[:, ::-1].cumsum(1)[:, ::-1])
    close(lax.cumlogsumexp(X, 0), np.logaddexp.accumulate(X, 0))


def test_reduce():
    close(lax.reduce(X, 0.0, lax.add, (1,)), X.sum(1))
    close(lax.reduce(X, 1.0, lambda a, b: a + b, (1,)), X.sum(1) + 1)
    close(lax.reduce(X, -np.inf, jnp.maximum, (0, 1)), X.max())
    close(grad(lambda x: lax.reduce(x, 0.0, lax.add, (0, 1)))(X), np.ones_like(X))

    def larger(a, b):
        wins = a[0] > b[0]
        return lax.select(wins, a[0], b[0]), lax.select(wins, a[1], b[1])

    top, place = lax.reduce((X, N), (np.float32(-np.inf), np.int32(0)), larger, (1,))
    close(top, X.max(1))
    assert place.tolist() == N[np.arange(3), X.argmax(1)].tolist()


def windows(x, size, strides, fold, fill):
    """Pooling of a matrix with SAME padding, by loops."""
    pads = lax.padtype_to_pads(x.shape, size, strides, "SAME")
    padded = np.pad(x, pads, constant_values=fill)
    counts = [-(-n // s) for n, s in zip(x.shape, strides, strict=True)]
    out = np.empty(counts, x.dtype)
    for i, j in np.ndindex(*counts):
        a, b = i * strides[0], j * strides[1]
        out[i, j] = fold(padded[a : a + size[0], b : b + size[1]])
    return out


@pytest.mark.parametrize(
    "computation, fold, init",
    [
        (lax.add, np.sum, 0.0),
        (jnp.maximum, np.max, -np.inf),
        (lambda a, b: lax.min(b, a), np.min, np.inf),
        (lax.mul, np.prod, 1.0),
        (lambda a, b: a + b * b, lambda w: (w * w).sum(), 0.0),
    ],
)
def test_reduce_window(computation, fold, init):
    x = draw(5, 6)
    found = lax.reduce_window(x, init, computation, (2, 3), (1, 2), "SAME")
    close(found, windows(x, (2, 3), (1, 2), fold, init))
    assert lax.reduce_window_shape_tuple(x.shape, (2, 3), (1, 2), "SAME") == found.shape


def test_pooling_gradient():
    x = np.array([[1.0, 3.0, 2.0, 5.0]], np.float32)

    def f(x):
        return lax.reduce_window(x, -np.inf, lax.max, (1, 2), (1, 2), "VALID").sum()

    assert grad(f)(x).tolist() == [[0, 1, 0, 1]]


def test_order():
    close(lax.sort(X, 0), np.sort(X, 0))
    keys, values = lax.sort_key_val(X, N, 1)
    assert values.tolist() == np.take_along_axis(N, X.argsort(1), 1).tolist()
    top, places = lax.top_k(X, 2, axis=0)
    close(top, -np.sort(-X, 0)[:2])
    assert places.dtype == np.int32
    close(lax.approx_min_k(X, 2)[0], np.sort(X, 1)[:, :2])


# ---- gather and scatter --------------------------------------------------------------------------


def test_gather_and_scatter():
    rows = lax.GatherDimensionNumbers((1,), (0,), (0,))
    into = lax.ScatterDimensionNumbers((1,), (0,), (0,))
    at = np.array([[2], [0], [2]])
    close(lax.gather(X, at, rows, (1, 4)), X[[2, 0, 2]])
    added = X.copy()
    np.add.at(added, [2, 0, 2], 1)
    close(lax.scatter_add(X, at, np.ones((3, 4), np.float32), into), added)
    close(lax.scatter_sub(X, at[:2], X[[2, 0]], into)[1], X[1])
    far = np.array([[1], [9]])
    with pytest.raises(IndexError):
        lax.gather(X, far, rows, (1, 4))
    assert np.isnan(np.asarray(lax.gather(X, far, rows, (1, 4), mode="fill"))[1]).all()
    close(lax.gather(X, far, rows, (1, 4), mode="clip"), X[[1, 2]])
    close(lax.scatter(X, far, np.zeros((2, 4), np.float32), into, mode="drop")[2], X[2])
    with pytest.raises(ArgumentError, match="mode is one of"):
        lax.gather(X, far, rows, (1, 4), mode="wild")


# ---- products ------------------------------------------------------------------------------------


def test_contractions():
    a, b = draw(2, 3, 4), draw(2, 4, 5)
    close(lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,)))), a @ b)
    close(lax.batch_matmul(a, b), a @ b)
    close(lax.dot(a[0], b[0], precision=lax.Precision.HIGHEST), a[0] @ b[0])
    assert lax.dot(a[0], b[0], preferred_element_type=np.float64).dtype == np.float64
    with pytest.raises(ShapeError, match="no product"):
        lax.dot(a[0], a[0])
    with pytest.raises(DTypeError, match="not a precision"):
        lax.dot(a[0], b[0], precision="sloppy")


def naive_conv(x, w, strides, pads):
    """NHWC, HWIO, by loops over the kernel."""
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    (kh, kw), (sh, sw) = w.shape[:2], strides
    oh, ow = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    out = np.zeros((x.shape[0], oh, ow, w.shape[3]), np.float32)
    for i, j in np.ndindex(kh, kw):
        out += x[:, i : i + oh * sh : sh, j : j + ow * sw : sw] @ w[i, j]
    return out


NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize("padding", ["SAME", "VALID", "SAME_LOWER", ((1, 2), (0, 1))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_convolution(padding, strides):
    x, w = draw(2, 6, 7, 3), draw(3, 2, 3, 4)
    pads = padding
    if isinstance(padding, str):
        pads = lax.padtype_to_pads((6, 7), (3, 2), strides, padding)
    wanted = naive_conv(x, w, strides, pads)
    close(lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=NHWC), wanted, 1e-4)
    first = lax.conv_general_dilated(
        x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), strides, padding
    )
    close(first, wanted.transpose(0, 3, 1, 2), 1e-4)
    shape = lax.conv_general_shape_tuple(x.shape, w.shape, strides, padding, NHWC)
    assert shape == wanted.shape


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_conv_transpose_is_the_adjoint(padding):
    x, w = draw(1, 8, 6, 2), draw(3, 3, 2, 4)

    def forward(x):
        return lax.conv_general_dilated(x, w, (2, 2), padding, dimension_numbers=NHWC)

    y = forward(x)
    ct = draw(*y.shape)
    pulled = grad(lambda x: (forward(x) * ct).sum())(x)
    found = lax.conv_transpose(ct, w, (2, 2), padding, transpose_kernel=True)
    rows, columns = found.shape[1:3]  # VALID leaves out what the kernel never reached
    close(found, np.asarray(pulled)[:, :rows, :columns], 1e-4)


def test_conv_patches_and_local():
    x = draw(1, 4, 5, 2)
    patches = lax.conv_general_dilated_patches(x, (2, 3), (1, 1), "VALID", dimension_numbers=NHWC)
    close(patches[0, 1, 2], x[0, 1:3, 2:5].transpose(2, 0, 1).reshape(-1))
    kernels = draw(3, 3, 12, 6)
    local = lax.conv_general_dilated_local(
        x, kernels, (1, 1), "VALID", (2, 3), dimension_numbers=NHWC
    )
    close(local, np.einsum("bhwi,hwio->bhwo", np.asarray(patches), kernels), 1e-4)


def test_wrong_convolutions():
    x, w = draw(1, 4, 5, 2), draw(3, 3, 2, 4)
    with pytest.raises(ArgumentError, match="use conv_transpose"):
        lax.conv_general_dilated(x, w, (1, 1), "SAME", (2, 2), dimension_numbers=NHWC)
    with pytest.raises(ArgumentError, match="padding is"):
        lax.conv_general_dilated(x, w, (1, 1), "FULL", dimension_numbers=NHWC)
    with pytest.raises(ArgumentError, match="different spatial axes"):
        lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HXIO", "NHWC"))


# ---- equations and hints -------------------------------------------------------------------------


def test_custom_root():
    def newton(f, start):
        def step(x):
            return x - f(x) / jvp(f, (x,), (jnp.ones_like(x),))[1]

        return lax.fori_loop(0, 20, lambda _, x: step(x), start)

    def root(a):
        return lax.custom_root(lambda x: x * x - a, jnp.array(1.0), newton, lambda g, y: y / g(1.0))

    close(root(2.0), np.sqrt(2))
    close(grad(root)(2.0), 0.5 / np.sqrt(2))
    close(jit(grad(root))(2.0), 0.5 / np.sqrt(2))
    close(jvp(root, (2.0,), (1.0,))[1], 0.5 / np.sqrt(2))
    close(grad(grad(root))(2.0), -0.25 * 2**-1.5)


def test_hints_leave_values_alone():
    assert float(jit(lambda x: lax.optimization_barrier({"x": x})["x"] * 2)(3.0)) == 6
    assert grad(lambda x: lax.optimization_barrier(x) ** 2)(3.0).tolist() == 6
    assert lax.composite(lambda x: x + 1, "mine.add_one")(2) == 3
    assert lax.stage(2.0).tolist() == 2
    assert lax.dce_sink(2.0) is None
