"""Tiled matrix products against NumPy: every way, transposition, edge and batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracejit
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.llvm import print_llvm
from tracejit.ir.types import TensorType, short
from tracejit.kernel import gemm, interp
from tracejit.kernel.gemm import DEPTH, Gemm, choose_tile, gemm_kernel, oriented, prefers_blas
from tracejit.kernel.program import GemmCall, KernelCall
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify
from tracejit.ops.dot import as_matmul
from tracejit.runtime.native import call_kernel, compile_llvm, host_target


def operands(
    m: int, n: int, k: int, letters: str, batch: int = 0, dtype: str = "float32"
) -> tuple[np.ndarray, np.ndarray, Any]:
    """A pair of operands and the numbers of their product; "nt": the right one transposed."""
    rng = np.random.default_rng(m * 1000 + n * 100 + k)
    shapes = [(m, k) if letters[0] == "n" else (k, m), (k, n) if letters[1] == "n" else (n, k)]
    front = (batch,) if batch else ()
    lhs, rhs = (rng.standard_normal((*front, *shape)).astype(dtype) for shape in shapes)
    first = len(front)
    contract = ((first + (letters[0] == "n"),), (first + (letters[1] == "t"),))
    axes = tuple(range(first))
    return lhs, rhs, (contract, (axes, axes))


def wanted(lhs: np.ndarray, rhs: np.ndarray, letters: str) -> np.ndarray:
    pair = (
        x if letter == "n" else x.swapaxes(-1, -2)
        for x, letter in zip((lhs, rhs), letters, strict=True)
    )
    left, right = (x.astype(np.float64) for x in pair)
    return left @ right


def made(lhs: np.ndarray, rhs: np.ndarray, numbers: Any, lanes: int) -> Gemm:
    types = (TensorType(x.dtype, x.shape) for x in (lhs, rhs))
    product = gemm_kernel(as_matmul(*types, numbers), lhs.size, rhs.size, short(lhs.dtype), lanes)
    verify(product.kernel)
    assert parse(show(product.kernel)) == product.kernel
    return product


def buffers(product: Gemm, lhs: np.ndarray, rhs: np.ndarray) -> list[np.ndarray]:
    """The operands and a result full of garbage, in the shapes of the parameters."""
    sizes = dict(zip(product.kernel.sizes, product.sizes, strict=True))
    found = [
        x.reshape(p.extents(sizes)) for x, p in zip((lhs, rhs), product.kernel.params, strict=False)
    ]
    return [*found, np.full(product.kernel.params[2].extents(sizes), np.nan, lhs.dtype)]


def compiled(product: Gemm, lhs: np.ndarray, rhs: np.ndarray, threads: int = 1) -> np.ndarray:
    code = compile_llvm(print_llvm(product.kernel, host_target()), [product.kernel.name])
    found = buffers(product, lhs, rhs)
    call_kernel(
        code.addresses[product.kernel.name], found, product.sizes, 0, product.tasks, threads
    )
    return found[2]


def close(found: np.ndarray, right: np.ndarray, k: int) -> None:
    tolerance = 1e-13 if found.dtype == np.float64 else 2e-6
    np.testing.assert_allclose(found.reshape(right.shape), right, atol=tolerance * (k + 8), rtol=0)


LETTERS = ["nn", "nt", "tn", "tt"]


@pytest.mark.parametrize("letters", LETTERS)
@pytest.mark.parametrize("m,n,k", [(1, 5, 9), (5, 1, 9), (3, 7, 11), (34, 6, 4), (9, 40, 33)])
def test_interpreted(m: int, n: int, k: int, letters: str) -> None:
    lhs, rhs, numbers = operands(m, n, k, letters)
    product = made(lhs, rhs, numbers, lanes=4)
    found = buffers(product, lhs, rhs)
    sizes = dict(zip(product.kernel.sizes, product.sizes, strict=True))
    interp.run(product.kernel, dict(zip(("lhs", "rhs", "out"), found, strict=True)), sizes)
    close(found[2], wanted(lhs, rhs, letters), k)


@pytest.mark.parametrize("letters", LETTERS)
@pytest.mark.parametrize(
    "m,n,k",
    [
        (1, 1, 64),  # one number
        (1, 257, 100),
        (130, 1, 77),
        (2, 70, 100),
        (4, 33, 200),
        (33, 31, 37),  # edges everywhere
        (64, 96, 64),
        (100, 10, 512),
        (97, 203, DEPTH + 37),  # more than one stretch
        (517, 130, DEPTH + 5),  # a left operand in blocks
        (70, 800, 300),  # a right operand beyond the cache
        (129, 700, 260),  # a last part with less than a tile
    ],
)
def test_compiled(m: int, n: int, k: int, letters: str) -> None:
    lhs, rhs, numbers = operands(m, n, k, letters)
    product = made(lhs, rhs, numbers, host_target().vector_bytes // 4)
    close(compiled(product, lhs, rhs, threads=2), wanted(lhs, rhs, letters), k)


@settings(max_examples=25, deadline=None, database=None)
@given(
    m=st.integers(1, 80),
    n=st.integers(1, 80),
    k=st.integers(1, 80),
    letters=st.sampled_from(LETTERS),
    batch=st.sampled_from([0, 1, 3]),
    dtype=st.sampled_from(["float32", "float64"]),
    lanes=st.sampled_from([4, 8, 16]),
)
def test_random(m: int, n: int, k: int, letters: str, batch: int, dtype: str, lanes: int) -> None:
    lhs, rhs, numbers = operands(m, n, k, letters, batch, dtype)
    product = made(lhs, rhs, numbers, lanes)
    close(compiled(product, lhs, rhs), wanted(lhs, rhs, letters), k)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_heads_as_batch_axes(dtype: str) -> None:
    """A batch of which neither axis is the first: rows lie far apart, columns begin inside."""
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, 3, 37, 5, 33)).astype(dtype)
    numbers = (((3,), (3,)), ((0, 2), (0, 2)))
    product = made(q, k, numbers, 16)
    close(compiled(product, q, k), np.einsum("bqhd,bkhd->bhqk", q, k), 33)


def test_a_new_batch_size_is_the_same_kernel() -> None:
    kernels = set()
    for m in (64, 96, 200, 1000):
        lhs, rhs, numbers = operands(m, 256, 256, "nn")
        kernels.add(made(lhs, rhs, numbers, 16).kernel)
        kernels.add(made(lhs.T.copy(), rhs, (((0,), (0,)), ((), ())), 16).kernel)
    assert len(kernels) == 2


def test_ways() -> None:
    def way(m: int, n: int, k: int, letters: str) -> str:
        lhs, rhs, numbers = operands(m, n, k, letters)
        types = (TensorType(x.dtype, x.shape) for x in (lhs, rhs))
        return choose_tile(oriented(as_matmul(*types, numbers))[0], 4, 16).way

    assert way(128, 128, 128, "nn") == "direct"
    assert way(128, 128, 128, "nt") == "panels"
    assert way(128, 1024, 1024, "nn") == "panels"
    assert way(256, 1, 256, "nn") == "dots"
    assert way(1, 256, 256, "nt") == "dots"
    assert way(1, 256, 256, "nn") == "direct"
    assert way(256, 1, 256, "tn") == "direct"
    assert way(512, 128, 2048, "tn") == "blocks"


def test_large_products_go_to_blas() -> None:
    def call(m: int, n: int, k: int) -> Any:
        lhs, rhs = jnp.zeros((m, k), "float32"), jnp.zeros((k, n), "float32")
        return tracejit.jit(jnp.matmul).stages(lhs, rhs).program.calls[0]

    assert isinstance(call(1000, 1000, 1000), KernelCall)
    assert isinstance(call(1000, 1000, 1000).product, GemmCall)
    assert isinstance(call(2000, 1500, 1500), GemmCall)
    types = (TensorType(np.dtype("float32"), (2000, 2000)),) * 2
    assert prefers_blas(as_matmul(*types, (((1,), (0,)), ((), ()))), 4)


@pytest.mark.parametrize("letters", LETTERS)
@pytest.mark.parametrize("m,n,k", [(60, 37, 20), (37, 60, 5), (1, 40, 30), (300, 200, 100)])
def test_blas(m: int, n: int, k: int, letters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "BLAS_BYTES", 0)
    lhs, rhs, numbers = operands(m, n, k, letters)
    product = tracejit.jit(lambda a, b: lax.dot_general(a, b, numbers))
    assert [type(c) for c in product.stages(lhs, rhs).program.calls] == [GemmCall]
    for threads in (1, 2):
        found = tracejit.jit(product, threads=threads)(lhs, rhs)
        close(np.asarray(found), wanted(lhs, rhs, letters), k)


@pytest.mark.parametrize("backend", ["llvm", "numba"])
@pytest.mark.parametrize("threads", [1, 2])
def test_through_jit(backend: str, threads: int) -> None:
    rng = np.random.default_rng(1)
    for a, b in [
        ((130, 70), (70, 90)),
        ((3, 33, 40), (3, 40, 65)),
        ((5, 0), (0, 4)),
        ((0, 5), (5, 4)),
    ]:
        x, y = (rng.standard_normal(shape).astype(np.float32) for shape in (a, b))
        found = tracejit.jit(jnp.matmul, backend=backend, threads=threads)(x, y)
        np.testing.assert_allclose(np.asarray(found), x @ y, atol=1e-4)
