"""Kernels of Fourier transforms: their tables, their texts, and what the interpreter makes of
them.
"""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest

from tracejit.ir.build import Builder, building
from tracejit.ir.graph import Node, Value
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel import interp
from tracejit.kernel.fft import Steps, columns, fft_steps, has_kernels
from tracejit.kernel.fft_tables import PRIMES, pass_table, radices, root, roots, smooth
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify
from tracejit.ops import fft

RNG = np.random.default_rng(0)


def node(kind: str, dtype: str, shape: tuple[int, ...], axes: Any, lengths: Any) -> Node:
    builder = Builder()
    with building(builder):
        x = Value(TensorType(DTYPES[dtype], shape))
        fft.fft(x, kind=kind, axes=axes, lengths=lengths, norm="ortho")
    return builder.nodes[-1]


def run(steps: Steps, x: np.ndarray, out: TensorType) -> np.ndarray:
    """The steps, by the interpreter, on views of real numbers."""
    types = (TensorType(x.dtype, x.shape), out, *steps.between)
    held = [np.zeros(t.shape, t.dtype) for t in types]
    held[0][...] = x
    for step in steps.steps:
        kernel, sizes = step.kernel, dict(zip(step.kernel.sizes, step.sizes, strict=True))
        arrays = dict(zip((p.name for p in kernel.params[2:]), step.tables, strict=True))
        for param, number in zip(kernel.params, (step.x, step.y), strict=False):
            flat = held[number].reshape(-1).view(DTYPES[param.dtype])
            shape = param.extents(sizes)
            arrays[param.name] = flat[: math.prod(shape)].reshape(shape)
        assert interp.run(kernel, arrays, sizes) == 0
    return held[1]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 12, 100, 1001])
def test_roots(n: int) -> None:
    found = roots(n, np.arange(n)).astype(np.float64)
    with mpmath.workdps(40):
        for k in range(n):
            exact = mpmath.expjpi(mpmath.mpf(-2 * k) / n)
            for part, wanted in zip(found[k], (exact.real, exact.imag), strict=True):
                assert abs(part - wanted) <= 2.0**-53 * max(abs(part), 2.0**-60)
    assert (found[1:, 0] == found[:0:-1, 0]).all()
    assert (found[1:, 1] == -found[:0:-1, 1]).all()
    assert root(8, 9) == root(8, 1) == (math.sqrt(0.5), -math.sqrt(0.5))


def test_lengths() -> None:
    for n in range(1, 2000):
        left = n
        for p in PRIMES:
            while left % p == 0:
                left //= p
        assert smooth(n) == (left == 1)
        if smooth(n):
            assert math.prod(radices(n)) == n
    assert radices(1024) == (8, 8, 16) and radices(1) == ()
    assert len(pass_table(1024, (8, 8, 16))) == 7 * 128 + 7 * 16
    assert columns(1024, 8, 4) * (1024 // columns(1024, 8, 4)) == 1024
    assert columns(32, 8, 4) == 0  # 4 by 8


CASES = [
    ("fft", "c64", (5, 16), (1,), (16,)),
    ("ifft", "c128", (3, 11), (1,), (11,)),
    ("fft", "c64", (2, 6, 5), (1,), (6,)),
    ("ifft", "c64", (3, 13, 2), (1,), (13,)),
    ("rfft", "f32", (4, 20), (1,), (20,)),
    ("rfft", "f64", (2, 14, 3), (1,), (14,)),
    ("irfft", "c64", (5, 5), (1,), (8,)),
    ("irfft", "c128", (4, 3, 3), (1,), (4,)),
    ("rfft", "f64", (1, 2), (1,), (2,)),
    ("fft", "c128", (36,), (0,), (36,)),
    ("rfft", "f32", (2, 72), (1,), (72,)),
    ("irfft", "c64", (2, 37), (1,), (72,)),
    ("rfft", "f32", (3, 15), (1,), (15,)),
    ("rfft", "f64", (2, 63), (1,), (63,)),
    ("rfft", "f64", (2, 9, 3), (1,), (9,)),
    ("irfft", "c64", (3, 8), (1,), (15,)),
    ("irfft", "c128", (2, 32), (1,), (63,)),
    ("irfft", "c64", (2, 5, 3), (1,), (9,)),
    ("fft", "c64", (4, 6), (0, 1), (4, 6)),
    ("rfft", "f32", (3, 4, 8), (0, 2), (3, 8)),
    ("irfft", "c128", (4, 3, 4), (0, 1, 2), (4, 3, 6)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_interpreted(case: Any) -> None:
    made = node(*case)
    kind, dtype, shape, axes, lengths = case
    x = RNG.standard_normal(shape)
    if dtype[0] == "c":
        x = x + 1j * RNG.standard_normal(shape)
    x = x.astype(DTYPES[dtype])
    wanted = fft.fft.rule("numpy")(x, kind=kind, axes=axes, lengths=lengths, norm="ortho")
    for vector_bytes in (16, 32):
        assert has_kernels(made, vector_bytes)
        steps = fft_steps(made, vector_bytes, threads=1)
        for step in steps.steps:
            verify(step.kernel)
            assert parse(show(step.kernel)) == step.kernel
        found = run(steps, x, made.outputs[0].type)
        tolerance = 2e-6 if dtype in ("f32", "c64") else 1e-14
        np.testing.assert_allclose(found, wanted, tolerance, tolerance * np.abs(wanted).max())


def test_which_have_kernels() -> None:
    def known(kind: str, dtype: str, shape: tuple[int, ...], length: int) -> bool:
        return has_kernels(node(kind, dtype, shape, (len(shape) - 1,), (length,)), 64)

    assert known("fft", "c64", (3, 13), 13) and not known("fft", "c64", (3, 17), 17)
    assert known("rfft", "f32", (3, 39), 39) and not known("rfft", "f32", (3, 34), 34)
    assert not known("fft", "c64", (0, 4), 4)
    assert not known("fft", "c64", (1 << 23,), 1 << 23)
    assert known("irfft", "c64", ((1 << 20) + 1,), 1 << 21)


def names(kind: str, dtype: str, shape: tuple[int, ...], length: int, threads: int) -> list[str]:
    made = node(kind, dtype, shape, (len(shape) - 1,), (length,))
    return [step.kernel.name for step in fft_steps(made, 64, threads).steps]


def test_long_ones_are_shared() -> None:
    n = 1 << 15
    assert names("fft", "c64", (n,), n, 2) == [f"fft_columns_fft_{n}", f"fft_rows_fft_{n}"]
    assert len(names("fft", "c64", (100, n), n, 2)) == 1
    real = names("rfft", "f32", (2 * n,), 2 * n, 2)
    assert real[-1] == f"fft_ends_rfft_{2 * n}" and len(real) == 3
    back = names("irfft", "c64", (n + 1,), 2 * n, 2)
    assert back[0] == f"fft_ends_irfft_{2 * n}" and len(back) == 3
