"""Fourier transforms in compiled programs, against SciPy's in double precision: all lengths up to
64 and some long ones, any axis, dtype and norm, on one thread and on two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.ops.fft import KINDS, NORMS

RNG = np.random.default_rng(0)
DTYPES = (np.float32, np.float64)


def operand(kind: str, real: Any, shape: tuple[int, ...], axis: int, n: int) -> np.ndarray:
    """A random one, ``n`` being the length of the signal along an axis."""
    full = list(shape)
    full.insert(axis, n // 2 + 1 if kind == "irfft" else n)
    x = RNG.standard_normal(full)
    if kind != "rfft":
        x = x + 1j * RNG.standard_normal(full)
    return x.astype(np.result_type(real, np.complex64) if kind != "rfft" else real)


def check(kind: str, x: np.ndarray, threads: int = 1, **params: Any) -> None:
    """As near to the truth as pocketfft, twice its error at most."""
    function = getattr(jnp.fft, kind)
    found = np.asarray(tj.jit(lambda a: function(a, **params), threads=threads)(x))
    name = "norm" if kind.endswith("n") else kind
    wide = x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)
    exact = getattr(scipy.fft, kind)(wide, **params)
    other = getattr(scipy.fft, kind)(x, **params)
    assert found.dtype == other.dtype and found.shape == other.shape, name
    size = np.linalg.norm(exact.ravel())
    error, usual = (np.linalg.norm((y - exact).ravel()) for y in (found, other))
    limit = 2 * usual + size * np.finfo(x.dtype).eps
    assert error <= limit, f"{kind} of {x.shape}, {params}: {error / size:.1e}"


@pytest.mark.parametrize("n", range(1, 65))
def test_short(n: int) -> None:
    """Which kinds, dtypes, norms and shapes go together differs from length to length."""
    kind, real, norm = KINDS[n % 4], DTYPES[n // 4 % 2], NORMS[n % 3]
    if kind == "irfft" and n == 1:
        kind = "rfft"
    shape, axis = [((), 0), ((9,), 1), ((3, 20), 1), ((2, 3), 1), ((33,), 0)][n % 5]
    x = operand(kind, real, shape, axis, n)
    more = {"n": n} if kind == "irfft" else {}
    check(kind, x, axis=axis, norm=norm, **more)


LONG = (96, 105, 121, 169, 210, 250, 343, 360, 625, 729, 1000, 1001, 1024, 1430, 2048, 3125, 4096)


@pytest.mark.parametrize("n", [*LONG, 5000])
def test_longer(n: int) -> None:
    kind = KINDS[(n + n // 7) % 4]
    x = operand(kind, DTYPES[n % 3 % 2], (2 + n % 11,), 1, n)
    check(kind, x, threads=2, **({"n": n} if kind == "irfft" else {}))


@pytest.mark.parametrize("kind", KINDS)
def test_shared_among_threads(kind: str) -> None:
    n = 1 << 15
    more = {"n": n} if kind == "irfft" else {}
    check(kind, operand(kind, np.float32, (), 0, n), threads=2, **more)
    check(kind, operand(kind, np.float32, (70,), 1, 256), threads=2)
    check(kind, operand(kind, np.float32, (70,), 0, 256), threads=2, axis=0)


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_several_axes(data: Any) -> None:
    rank = data.draw(st.integers(1, 3))
    shape = data.draw(st.tuples(*[st.sampled_from([1, 2, 3, 4, 6, 8, 9, 10, 20, 17])] * rank))
    kind = data.draw(st.sampled_from(["fftn", "ifftn", "rfftn", "irfftn"]))
    axes = data.draw(st.permutations(range(rank)))[: data.draw(st.integers(1, rank))]
    real = data.draw(st.sampled_from(DTYPES))
    norm = data.draw(st.sampled_from(NORMS))
    x = RNG.standard_normal(shape)
    if kind != "rfftn":
        x = x + 1j * RNG.standard_normal(shape)
    lengths = [shape[axis] for axis in axes]
    if kind == "irfftn":
        lengths[-1] = max(2 * (lengths[-1] - 1), 1)
    x = x.astype(real if kind == "rfftn" else np.result_type(real, np.complex64))
    check(kind, x, s=lengths, axes=axes, norm=norm)


def test_empty() -> None:
    for shape, axis in (((0, 8), 1), ((8, 0), 0), ((3, 0, 8), 2)):
        found = tj.jit(lambda x, axis=axis: jnp.fft.fft(x, axis=axis))(
            np.zeros(shape, np.complex64)
        )
        assert found.shape == shape and found.dtype == np.complex64


def test_parts_that_are_not_read() -> None:
    """A real signal has none there: the imaginary parts of the first bin and the last one."""
    for n in (12, 15, 243, 256, 1 << 15):
        x = operand("irfft", np.float64, (2,), 1, n)
        clean, ends = x.copy(), [0, -1] if n % 2 == 0 else [0]
        clean.imag[:, ends], x.imag[:, ends] = 0, np.inf
        run = tj.jit(lambda a, n=n: jnp.fft.irfft(a, n))
        np.testing.assert_array_equal(run(x), run(clean))


def test_no_python_in_between() -> None:
    """The program of a transform is kernels only, one for each axis."""
    x = np.ones((16, 32), np.complex64)
    kernels = tj.jit(jnp.fft.fft2).stages(x).kernels
    assert [k.partition("[")[0] for k in kernels] == ["kernel fft_fft_32", "kernel fft_fft_16"]
    assert not tj.jit(jnp.fft.fft).stages(np.ones((4, 17), np.complex64)).kernels


def test_source_needs_numpy_only() -> None:
    x = operand("irfft", np.float32, (3,), 1, 16)
    run = tj.jit(lambda a: jnp.fft.irfft(a * 2, 16, norm="ortho"))
    scope: dict[str, Any] = {}
    exec(run.source(x), scope)
    (found,) = (f for name, f in scope.items() if name.startswith("_lambda"))
    np.testing.assert_allclose(found(x), run(x), rtol=1e-5, atol=1e-6)
