"""Functions of single elements against NumPy, on arrays and inside a trace."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit.numpy as jnp
from tests.numpy.agree import agrees, check, traced
from tracejit.frontend.derivatives import grad

RNG = np.random.default_rng(0)
F, G = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
INTS, POSITIVE = RNG.integers(-9, 9, (3, 4)), RNG.integers(1, 9, (3, 4))
Z = F + 1j * G

REAL = """sin cos tan arctan sinh cosh tanh arcsinh exp exp2 expm1 cbrt floor ceil trunc rint
absolute
negative square sign signbit isnan isinf isfinite isposinf isneginf fabs degrees radians sinc i0
spacing positive
nan_to_num isreal iscomplex real imag conj unwrap logical_not modf frexp round abs acos asin
atan""".split()
COMPLEX = """sin exp sqrt absolute negative square sign conj isnan isfinite real imag angle log
reciprocal iscomplex
isreal nan_to_num rint sort_complex""".split()
BINARY = """add subtract multiply divide floor_divide remainder fmod arctan2 maximum minimum fmax
fmin hypot logaddexp
logaddexp2 copysign heaviside equal less greater_equal not_equal logical_and logical_or
logical_xor nextafter""".split()
INTEGER = """add subtract multiply floor_divide remainder fmod maximum minimum equal less
bitwise_and bitwise_or
bitwise_xor gcd lcm left_shift right_shift divmod""".split()


@pytest.mark.parametrize("name", REAL)
def test_of_real_numbers(name: str) -> None:
    agrees(name, np.tanh(F))
    agrees(name, np.zeros((0, 3)))
    if name != "unwrap":
        agrees(name, np.array(0.5))
    if name not in ("frexp", "spacing"):
        agrees(name, F.astype(np.float32) / 4, tol=1e-5)


@pytest.mark.parametrize("name", COMPLEX)
def test_of_complex_numbers(name: str) -> None:
    agrees(name, Z)


@pytest.mark.parametrize("name", "log log2 log10 log1p sqrt reciprocal arccosh".split())
def test_of_positive_numbers(name: str) -> None:
    agrees(name, np.abs(F) + 1.1)


@pytest.mark.parametrize("name", BINARY)
def test_of_two_arrays(name: str) -> None:
    agrees(name, F, G)
    agrees(name, F, G[0])
    agrees(name, F[:, :1].copy(), G[0])
    if name != "nextafter":
        agrees(name, F, 2.5)
        agrees(name, 2.5, F)


@pytest.mark.parametrize("name", INTEGER)
def test_of_integers(name: str) -> None:
    agrees(name, INTS, POSITIVE)
    agrees(name, INTS, 3)
    agrees(name, INTS.astype(np.int8), POSITIVE.astype(np.int8))


@pytest.mark.parametrize("name", "sin sqrt exp mean var divide".split())
def test_functions_of_integers_compute_in_the_default_float(name: str) -> None:
    args = (POSITIVE, 3) if name == "divide" else (POSITIVE,)
    found = getattr(jnp, name)(*args)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.asarray(found), getattr(np, name)(*args), rtol=1e-6)


def test_powers() -> None:
    agrees("power", np.abs(F), G)
    agrees("power", F, 3)
    agrees("power", np.abs(INTS), POSITIVE)
    agrees("power", 2, POSITIVE)
    agrees("float_power", np.abs(F), 2.5)
    agrees("ldexp", F, POSITIVE)


def test_rounding_and_clipping() -> None:
    agrees("round", F, 2)
    agrees("round", F * 100, -1)
    agrees("around", INTS, -1)
    agrees("clip", F, -0.5, 0.5)
    agrees("clip", INTS, 0, None)
    agrees("bitwise_count", INTS)
    agrees("invert", INTS > 0)
    agrees("right_shift", INTS.astype(np.uint16), 2)


def test_choice() -> None:
    agrees("where", F > 0, F, G)
    agrees("where", F > 0, F, 0.0)
    check(lambda x, y: jnp.select([x > 1, x > 0], [x, y], 3.0),
          lambda x, y: np.select([x > 1, x > 0], [x, y], 3.0), F, G)  # fmt: skip
    pieces = [lambda z: -z, 2.0, lambda z: z * z]
    check(lambda x: jnp.piecewise(x, [x < 0, x > 1], pieces),
          lambda x: np.piecewise(x, [x < 0, x > 1], pieces), F)  # fmt: skip
    for mode in ("clip", "wrap"):
        check(lambda k, x, y, m=mode: jnp.choose(k, (x, y), mode=m),
              lambda k, x, y, m=mode: np.choose(k, (x, y), mode=m), POSITIVE, F, G)  # fmt: skip


def test_comparison_of_arrays() -> None:
    agrees("isclose", F, F + 1e-9)
    agrees("allclose", F, G)
    agrees("allclose", F, F)
    agrees("array_equal", F, F)
    agrees("array_equal", F, F[0])
    agrees("array_equiv", F, F[0])
    nan = np.array([np.nan, np.inf, 1.0])
    agrees("isclose", nan, nan, equal_nan=True)
    agrees("array_equal", nan, nan, equal_nan=True)


def test_special_values() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])
    for name in "isnan isinf isfinite signbit nan_to_num sign isposinf isneginf".split():
        agrees(name, x)
    inf = np.array([np.inf, -np.inf, 1.0])
    agrees("logaddexp", inf, inf)
    agrees("hypot", inf, np.array([np.nan, 1.0, np.inf]))
    agrees("fmax", np.array([np.nan, 1, np.nan]), np.array([2, np.nan, np.nan]))
    agrees("frexp", np.array([0.0, 5e-324, -1e308, 3.0]))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_16_bit_floats_keep_their_dtype(dtype: Any) -> None:
    x = (np.arange(6) / 4).astype(dtype)
    y = jnp.asarray(x)
    for f in (
        jnp.sin,
        jnp.exp,
        lambda a: a + 1,
        lambda a: a * 2.5,
        jnp.mean,
        jnp.sum,
        jnp.var,
        jnp.sort,
    ):
        assert f(y).dtype == dtype
        assert traced(f, x)[0].dtype == dtype


def test_gradients_at_awkward_places() -> None:
    assert grad(jnp.sinc)(0.0) == 0
    assert grad(lambda x: jnp.where(x < 1, x, jnp.sqrt(x)))(0.0) == 1
    assert grad(lambda x: jnp.logaddexp(x, -jnp.inf))(1.0) == 1
    assert grad(lambda x: jnp.nan_to_num(x))(2.0) == 1
