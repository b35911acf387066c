"""Fourier transforms: bad input, precision, derivatives of derivatives, what programs hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.ops.op_checks import Case
from tracejit import lax
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.ops import PRIMS
from tracejit.scipy import fft as cosine
from tracejit.test_util import check_grads

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6))

BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: jnp.fft.fft(X, n=0), ShapeError, "0 points"),
    (lambda: jnp.fft.fft(X, -3), ShapeError, "-3 points"),
    (lambda: jnp.fft.fft(X, 2.5), ArgumentError, "must be an integer"),
    (lambda: jnp.fft.fft(X, axis=2), ShapeError, "no axis 2"),
    (lambda: jnp.fft.fft(np.float32(1)), ShapeError, "no axis -1"),
    (lambda: jnp.fft.fft(np.zeros((3, 0))), ShapeError, "0 points"),
    (lambda: jnp.fft.irfft(np.ones(1)), ShapeError, "0 points"),
    (lambda: jnp.fft.fft(X, norm="backwards"), ArgumentError, "did you mean 'backward'"),
    (lambda: jnp.fft.rfft(X + 1j), DTypeError, "takes real numbers"),
    (lambda: jnp.fft.ihfft(X + 1j), DTypeError, "takes real numbers"),
    (lambda: jnp.fft.rfftn(X * 1j), DTypeError, "takes real numbers"),
    (lambda: jnp.fft.fftn(X, axes=(0, 2)), ShapeError, "no axis 2"),
    (lambda: jnp.fft.fftn(X, s=(2,), axes=(0, 1)), ShapeError, "1 lengths in s for 2 axes"),
    (lambda: jnp.fft.fftn(X, s=(2, 2, 2)), ShapeError, "3 lengths for 2 axes"),
    (lambda: jnp.fft.fft2(np.ones(3)), ShapeError, "no axis -2"),
    (lambda: jnp.fft.fftn(X, s=(2, 0)), ShapeError, "0 points"),
    (lambda: jnp.fft.rfftn(X, axes=()), ShapeError, "at least one axis"),
    (lambda: jnp.fft.fftfreq(0), ArgumentError, "positive integer"),
    (lambda: jnp.fft.fftfreq(2.0), ArgumentError, "must be an integer"),
    (lambda: jnp.fft.rfftfreq(4, np.ones(2)), ArgumentError, "d is a number"),
    (lambda: jnp.fft.fftfreq(4, 0), ArgumentError, "d = 0"),
    (lambda: jnp.fft.fftfreq(4, dtype="int32"), ArgumentError, "a floating one"),
    (lambda: jnp.fft.fftshift(X, axes=2), ShapeError, "no axis 2"),
    (lambda: lax.fft(X, "FFFT", (6,)), ArgumentError, "no type of transform"),
    (lambda: lax.fft(X, 1, (6,)), ArgumentError, "no type of transform"),
    (lambda: lax.fft(X, "FFT", (5,)), ShapeError, "does not fit"),
    (lambda: lax.fft(X, "RFFT", (1, 4, 6)), ShapeError, "3 lengths"),
    (lambda: lax.fft(X * 1j, "RFFT", (6,)), DTypeError, "takes real numbers"),
    (lambda: cosine.dct(X, type=5), ArgumentError, "type is 1, 2, 3 or 4"),
    (lambda: cosine.dct(X, norm="orto"), ArgumentError, "did you mean 'ortho'"),
    (lambda: cosine.dct(np.ones((3, 1)), 1), ShapeError, "two points"),
    (lambda: cosine.dctn(X, axes=(0, 0)), ShapeError, "twice"),
    (lambda: cosine.dctn(X, s=(1, 2, 3)), ShapeError, "3 lengths"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input_names_the_users_line(
    call: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)) as caught:
        call()
    assert "test_fft.py" in str(caught.value)
    files = [entry.path.name for entry in caught.traceback]
    assert set(files) == {"test_fft.py"}, "frames of tracejit are hidden"


def test_the_same_error_under_jit() -> None:
    with pytest.raises(ShapeError, match="no axis 3"):
        tj.jit(lambda x: jnp.fft.fft(x, axis=3))(X)


@pytest.mark.parametrize(
    ("given", "spectrum"),
    [
        ("float16", "complex64"),
        ("float32", "complex64"),
        ("float64", "complex128"),
        ("complex64", "complex64"),
        ("complex128", "complex128"),
        ("int32", "complex64"),
        ("bool", "complex64"),
    ],
)
def test_precision(given: str, spectrum: str) -> None:
    x = np.ones(4, given)
    assert jnp.fft.fft(x).dtype == spectrum
    assert jnp.fft.irfft(x).dtype == ("float64" if spectrum == "complex128" else "float32")
    assert tj.jit(jnp.fft.fft)(x).dtype == spectrum


def test_bfloat16_is_computed_in_single_precision() -> None:
    assert jnp.fft.rfft(jnp.ones(4, dtype="bfloat16")).dtype == "complex64"


@pytest.mark.parametrize("name", ["fft", "dct"])
def test_results_written_in_place_are_those_of_the_numpy_rule(name: str) -> None:
    prim = PRIMS[name]
    for raw in prim.cases():
        call = Case(prim, raw)
        types = call.outputs()
        outs = [np.full(t.shape, np.nan, t.dtype) for t in types]
        prim.into(outs, *call.arrays, **call.params)
        for out, want in zip(outs, call.run(call.arrays), strict=True):
            np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-6)


def test_results_without_the_module_below_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracejit.ops.fft._pocketfft", lambda: None)
    found = tj.jit(lambda x: (jnp.fft.rfft(x), cosine.dct(x)))(X)
    np.testing.assert_allclose(found[0], np.fft.rfft(X))
    np.testing.assert_allclose(found[1], cosine.dct(X))


def test_large_arrays_are_divided_among_threads() -> None:
    x = RNG.normal(size=(256, 1024))
    np.testing.assert_allclose(tj.jit(jnp.fft.fft2)(x), np.fft.fft2(x), atol=1e-9)


def test_a_transform_over_any_axis_is_one_node() -> None:
    def program(x: Any) -> Any:
        return jnp.fft.irfftn(jnp.fft.rfftn(x, axes=(2, 0), norm="ortho"), (4, 2), (2, 0))

    graph = tj.make_graph(program, np.ones((2, 3, 4)))
    assert [node.prim.name for node in graph.nodes] == ["fft", "fft"]


def filtered(x: Any, gain: Any) -> Any:
    return jnp.sum(jnp.fft.irfft(jnp.fft.rfft(x) * gain, x.shape[-1]) ** 3)


@pytest.mark.parametrize("n", [6, 7])
def test_second_derivatives(n: int) -> None:
    x, gain = RNG.normal(size=(2, n)), RNG.normal(size=n // 2 + 1)
    check_grads(filtered, (x, gain), order=2)


@pytest.mark.parametrize("name", ["fft", "ifft", "hfft", "irfft"])
def test_gradients_of_a_real_loss_of_complex_numbers(name: str) -> None:
    z = RNG.normal(size=5) + 1j * RNG.normal(size=5)
    check_grads(lambda z: jnp.sum(jnp.abs(getattr(jnp.fft, name)(z)) ** 2), (z,), order=2)


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_second_derivatives_of_cosine_transforms(kind: int) -> None:
    x = RNG.normal(size=5)
    check_grads(lambda x: jnp.sum(cosine.dct(x, kind) * cosine.idct(x**2, kind)), (x,), order=2)


def test_the_gradient_of_parsevals_sum() -> None:
    x = RNG.normal(size=8)
    loss = tj.jit(tj.grad(lambda x: jnp.sum(jnp.abs(jnp.fft.fft(x, norm="ortho")) ** 2)))
    np.testing.assert_allclose(loss(x), 2 * x)


def test_jacobian_is_the_matrix_of_the_transform() -> None:
    matrix = tj.jacfwd(jnp.fft.rfft)(np.ones(5))
    np.testing.assert_allclose(matrix, np.fft.rfft(np.eye(5), axis=0), atol=1e-12)


def test_vmap_over_any_axis() -> None:
    found = tj.vmap(jnp.fft.rfft, in_axes=1, out_axes=1)(X)
    np.testing.assert_allclose(found, np.fft.rfft(X, axis=0), atol=1e-12)


def test_a_loop_of_transforms() -> None:
    """A split-step method: the wave spreads, its norm stays."""
    phase = np.exp(-0.1j * np.fft.fftfreq(16) ** 2)

    @tj.jit
    def run(psi: Any) -> Any:
        return lax.fori_loop(0, 5, lambda _, p: jnp.fft.ifft(jnp.fft.fft(p) * phase), psi)

    psi = np.exp(-((np.arange(16) - 8.0) ** 2)).astype(complex)
    want = np.fft.ifft(np.fft.fft(psi) * phase**5)
    np.testing.assert_allclose(run(psi), want, atol=1e-12)


def test_names_are_those_of_numpy() -> None:
    assert jnp.fft.fft is not None and tj.fft.fft(X).shape == X.shape
    assert set(jnp.fft.__all__) == {n for n in np.fft.__all__}
