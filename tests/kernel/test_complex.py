"""Complex kernels as real ones: what they compute, and what the kernels of programs hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir.types import DTYPES
from tracejit.kernel import interp
from tracejit.kernel.complex import OPERATIONS, split_complex
from tracejit.kernel.text import parse
from tracejit.kernel.verify import verify
from tracejit.runtime.cpu import KNOWN_COMPLEX

RNG = np.random.default_rng(0)


def drawn(*shape: int, dtype: str = "complex128") -> np.ndarray:
    return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(dtype)


def as_parts(x: np.ndarray) -> np.ndarray:
    """The same memory, as what a split kernel reads."""
    if x.dtype.kind != "c":
        return x
    return x.view(np.zeros(0, x.dtype).real.dtype).reshape(*x.shape, 2)


KERNELS = {
    "a store that reads what it writes": """
        kernel k(inout x: c128[5], in y: c128[5])
          vec(4x2) i in 5:
            x[i] = mul(x[i], y[i])
        """,
    "locals, a loop and a condition": """
        kernel k(in y: c128[5], out x: c128[5])
          vec(4x1) i in 5:
            z: c128 = (0.0+0.0j):c128
            n: i32 = 0:i32
            while and(lt(abs(z), 2.0:f64), lt(n, 9:i32)):
              z = add(square(z), y[i])
              n = add(n, 1:i32)
            if gt(n, 3:i32):
              z = conj(z)
            else:
              z = div(z, y[i])
            x[i] = z
        """,
    "a scratch array and a sum": """
        kernel k(in y: c64[5], out x: c64[1])
          t: c64[5] scratch
          seq i in 5:
            t[i] = neg(y[i])
          s: c64 = (0.0+0.0j)
          seq i in 5:
            s add= t[sub(4, i)]
          x[0] = s
        """,
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_same_results_in_real_numbers(name: str) -> None:
    lines = KERNELS[name].strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    kernel = parse("\n".join(line[indent:] for line in lines))
    split = split_complex(kernel)
    verify(split)
    assert not any(p.dtype in ("c64", "c128") for p in split.params)
    arrays = {p.name: drawn(*p.shape, dtype=DTYPES[p.dtype].name) for p in kernel.params}
    ours = {name: a.copy() for name, a in arrays.items()}
    interp.run(kernel, arrays, {})
    interp.run(split, {name: as_parts(a) for name, a in ours.items()}, {})
    for name, want in arrays.items():
        np.testing.assert_allclose(ours[name], want, rtol=1e-6)


def test_a_kernel_without_complex_numbers_stays() -> None:
    kernel = parse("kernel k(in x: f32[4], out y: f32[4])\n  seq i in 4:\n    y[i] = x[i]\n")
    assert split_complex(kernel) is kernel


def test_the_operations_are_those_that_kernels_may_hold() -> None:
    assert frozenset(OPERATIONS) == KNOWN_COMPLEX


PROGRAMS: dict[str, Callable[..., Any]] = {
    "arithmetic": lambda z, w: z * w - z / w + 1 / z,
    "parts": lambda z, w: z.real * w.imag + abs(z),
    "exp": lambda z, w: jnp.exp(z) * jnp.exp(1j * w.real),
    "choice": lambda z, w: jnp.where((z == w) | (z.real > 0), z.conj(), -w),
    "precision": lambda z, w: z.astype("complex64") * 2.5 + w.real,
    "transposed": lambda z, w: (z.T * 2).reshape(-1)[::-1],
    "joined": lambda z, w: jnp.concatenate([z, w * 2], 1)[:, 1::2],
    "padded": lambda z, w: jnp.pad(z, ((1, 0), (2, 3)), constant_values=1j) * 2,
    "picked": lambda z, w: z[jnp.array([0, 2, 2])] + w[:1],
    "power": lambda z, w: z**3,
    "built": lambda z, w: lax.complex(z.real + 1, w.imag),
}


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 5), (40, 33), (4, 1), (64, 80)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str, shape: tuple[int, int], dtype: str) -> None:
    z, w = drawn(*shape, dtype=dtype), drawn(*shape, dtype=dtype)
    want = PROGRAMS[name](jnp.asarray(z), jnp.asarray(w))
    found = tj.jit(PROGRAMS[name])(z, w)
    assert found.dtype == want.dtype
    tol = 1e-4 if dtype == "complex64" or name == "precision" else 1e-11
    np.testing.assert_allclose(found, want, rtol=tol, atol=tol)


@pytest.mark.parametrize("name", ["div", "abs", "exp", "reciprocal", "eq"])
def test_special_values_as_numpy_has_them(name: str) -> None:
    ends = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e300, 1e-310]
    z = np.array([complex(a, b) for a in ends for b in ends])
    a, b = (x.copy() for x in np.meshgrid(z, z))
    operations: dict[str, Callable[..., Any]] = {
        "div": lambda a, b: a / b,
        "abs": lambda a, b: abs(a),
        "exp": lambda a, b: jnp.exp(a),
        "reciprocal": lambda a, b: jnp.reciprocal(a),
        "eq": lambda a, b: a == b,
    }
    with np.errstate(all="ignore"):
        want = np.asarray(operations[name](jnp.asarray(a), jnp.asarray(b)))
    found = np.asarray(tj.jit(operations[name])(a, b))
    np.testing.assert_allclose(found.real, want.real, rtol=1e-12)
    np.testing.assert_allclose(found.imag, want.imag, rtol=1e-12)


def test_maps_of_complex_numbers_are_one_kernel() -> None:
    program = tj.jit(lambda z: jnp.exp(z) * 2 + abs(z))
    assert len(program.stages(drawn(8, 9)).kernels) == 1


def test_a_loop_of_complex_numbers() -> None:
    """Mandelbrot's, as it is written down."""

    def escape(c: Any) -> Any:
        def step(_: Any, state: Any) -> Any:
            z, n = state
            z = jnp.where(abs(z) < 2, z * z + c, z)
            return z, n + (abs(z) < 2)

        return lax.fori_loop(0, 20, step, (c * 0, jnp.zeros(c.shape, "int32")))[1]

    c = np.linspace(-2, 1, 31)[:, None] + 1j * np.linspace(-1, 1, 21)
    z, n = c * 0, np.zeros(c.shape, int)
    for _ in range(20):
        z = np.where(abs(z) < 2, z * z + c, z)
        n += abs(z) < 2
    np.testing.assert_array_equal(tj.jit(escape)(c), n)


def test_the_numba_back_end_too() -> None:
    z, w = drawn(7, 9), drawn(7, 9)

    def program(z: Any, w: Any) -> Any:
        return jnp.where(z.real > 0, z * w, z / w) + abs(z)

    np.testing.assert_allclose(tj.jit(program, backend="numba")(z, w), tj.jit(program)(z, w))
