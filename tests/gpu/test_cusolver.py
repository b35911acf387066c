"""Linear algebra in GPU programs: cuSOLVER and cuBLAS, as far as they can be proven without a GPU.

Programs run on the device that plays a GPU, whose library does what the specs say on matrices that
lie column after column, and are compared with the interpreter; then on CuPy's device, with
functions in C in place of the libraries (``fake_solver.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.linalg as tl
import tracejit.numpy as jnp
import tracejit.scipy.linalg as sl
from tests.gpu.fake_cupy import fake_cuda
from tests.gpu.host_kernels import needs_compiler
from tracejit.ir import interp
from tracejit.ir.types import DTYPES
from tracejit.kernel.program import HostCall, LibraryCall
from tracejit.runtime.gpu import code, nvrtc, registry, shared
from tracejit.runtime.gpu.cupy_device import CupyDevice
from tracejit.runtime.gpu.executable import GpuExecutable, compile_gpu
from tracejit.runtime.gpu.host_device import HostDevice

RANDOM = np.random.default_rng(5)
TOLERANCE = {"f32": 2e-4, "f64": 1e-10, "c64": 2e-4, "c128": 1e-10}


def drawn(dtype: str, *shape: int) -> np.ndarray:
    x = RANDOM.normal(size=shape)
    if dtype.startswith("c"):
        x = x + 1j * RANDOM.normal(size=shape)
    return x.astype(DTYPES[dtype])


def positive(dtype: str, *shape: int) -> np.ndarray:
    """Positive definite matrices."""
    x = drawn(dtype, *shape)
    return (x @ x.conj().swapaxes(-1, -2) + 2 * np.eye(shape[-1])).astype(DTYPES[dtype])


def symmetric(dtype: str, *shape: int) -> np.ndarray:
    x = drawn(dtype, *shape)
    return (x + x.conj().swapaxes(-1, -2)) / 2


def compiled(function: Any, *arrays: np.ndarray, libraries: bool = True) -> GpuExecutable:
    graph = tj.make_graph(function, *arrays)
    return compile_gpu(graph, HostDevice(libraries=libraries))


def check(function: Any, *arrays: np.ndarray, host: int = 0, tolerance: float = 0.0) -> Any:
    """Three runs against the interpreter; ``host``: calls of the host that are allowed."""
    graph = tj.make_graph(function, *arrays)
    made = compile_gpu(graph, HostDevice())
    calls = made.program.calls
    names = [c.node.prim.name for c in calls if isinstance(c, HostCall)]
    assert len(names) <= host, names
    with np.errstate(all="ignore"):
        wanted = interp.run(graph, list(arrays))
    name = next(k for k, v in DTYPES.items() if v == arrays[0].dtype)
    for _ in range(3):
        found = made.run(list(arrays))
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            close = tolerance or TOLERANCE[name]
            np.testing.assert_allclose(a, b, rtol=close, atol=close)
    return made


DTYPE_NAMES = ("f32", "f64", "c64", "c128")
SHAPES = ((3, 3), (1, 1), (7, 7), (3, 4, 4), (2, 3, 5, 5))


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cholesky(dtype: str, shape: tuple[int, ...]) -> None:
    made = check(lambda a: tl.cholesky(a, symmetrize_input=False), positive(dtype, *shape))
    assert [c.spec.routine for c in made.program.calls if isinstance(c, LibraryCall)] == ["potrf"]


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_matrices_that_are_not_positive_definite_are_nan(dtype: str) -> None:
    a = np.stack([positive(dtype, 4, 4) for _ in range(4)])
    a[1, 2, 2] = -1
    a[3, 0, 0] = np.nan
    made = compiled(lambda a: tl.cholesky(a, symmetrize_input=False), a)
    (low,) = made.run([a])
    assert np.isnan(low[[1, 3]]).all() and np.isfinite(low[[0, 2]]).all()
    np.testing.assert_allclose(low[0], np.linalg.cholesky(a[0]), rtol=1e-4, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize(
    "shape", [(3, 3), (1, 1), (5, 3), (2, 6), (3, 4, 4), (2, 3, 4, 2)], ids=str
)
def test_lu(dtype: str, shape: tuple[int, ...]) -> None:
    check(lambda a: tl.lu(a), drawn(dtype, *shape))


@needs_compiler
def test_lu_of_singular_matrices_and_nan() -> None:
    a = np.zeros((3, 3, 3))
    a[1] = np.arange(9).reshape(3, 3)
    a[2, 1, 1] = np.nan
    made = compiled(lambda a: tl.lu(a), a)
    _, pivots, order = made.run([a])
    assert pivots.min() >= 0 and pivots.max() < 3
    assert np.array_equal(np.sort(order, axis=-1), np.tile(np.arange(3), (3, 1)))


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("stack", [(), (3,)], ids=str)
@pytest.mark.parametrize("left", [True, False])
def test_triangular_solve(dtype: str, stack: tuple[int, ...], left: bool) -> None:
    a = drawn(dtype, *stack, 4, 4) + 4 * np.eye(4, dtype=DTYPES[dtype])
    b = drawn(dtype, *stack, *((4, 3) if left else (3, 4)))

    def all_ways(a: Any, b: Any) -> Any:
        ways = [(t, c) for t in (False, True) for c in (False, True)]
        return [
            tl.triangular_solve(
                *(a, b), left_side=left, lower=lower, transpose_a=t, conjugate_a=c, unit_diagonal=u
            )
            for lower in (False, True)
            for t, c in ways
            for u in (False, True)
        ]

    check(all_ways, a, b)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("stack", [(), (3,)], ids=str)
def test_solve_and_inverse(dtype: str, stack: tuple[int, ...]) -> None:
    a, b = drawn(dtype, *stack, 5, 5), drawn(dtype, *stack, 5, 2)
    check(lambda a, b: (jnp.linalg.solve(a, b), jnp.linalg.inv(a)), a, b)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4), (3, 4, 2)], ids=str)
@pytest.mark.parametrize("full", [True, False])
def test_qr(dtype: str, shape: tuple[int, ...], full: bool) -> None:
    check(lambda a: tl.qr(a, full_matrices=full), drawn(dtype, *shape))


@needs_compiler
def test_qr_of_what_is_not_finite() -> None:
    a = drawn("f64", 3, 4, 2)
    a[1, 0, 0] = np.inf
    check(lambda a: tl.qr(a, full_matrices=False), a)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("uplo", ["L", "U"])
def test_eigh(dtype: str, shape: tuple[int, ...], uplo: str) -> None:
    """Eigenvectors are those of one phase or another: what they make up is compared."""

    def both(a: Any) -> Any:
        w, v = jnp.linalg.eigh(a, UPLO=uplo)
        return w, jnp.linalg.eigvalsh(a, UPLO=uplo), v

    a = symmetric(dtype, *shape)
    w, alone, v = compiled(both, a).run([a])
    close = TOLERANCE[dtype]
    np.testing.assert_allclose(w, np.linalg.eigvalsh(a), rtol=close, atol=close)
    np.testing.assert_allclose(alone, w, rtol=close, atol=close)
    back = (v * w[..., None, :]) @ v.conj().swapaxes(-1, -2)
    np.testing.assert_allclose(back, a, rtol=close, atol=10 * close)


@needs_compiler
def test_eigh_of_what_is_not_finite() -> None:
    a = symmetric("f32", 3, 4, 4)
    a[1, 0, 3] = np.nan  # of the other triangle
    a[2, 3, 0] = np.inf
    w, v = compiled(lambda a: jnp.linalg.eigh(a, symmetrize_input=False), a).run([a])
    assert np.isfinite(w[:2]).all() and np.isnan(w[2]).all() and np.isnan(v[2]).all()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize(
    "shape", [(3, 3), (5, 3), (2, 4), (3, 4, 2), (2, 2, 5), (2, 40, 33), (33, 40)], ids=str
)
@pytest.mark.parametrize("full", [True, False])
def test_svd(dtype: str, shape: tuple[int, ...], full: bool) -> None:
    a = drawn(dtype, *shape)

    def both(a: Any) -> Any:
        return *jnp.linalg.svd(a, full_matrices=full), jnp.linalg.svdvals(a)

    u, s, vh, alone = compiled(both, a).run([a])
    close = 20 * TOLERANCE[dtype]
    k = s.shape[-1]
    np.testing.assert_allclose(s, np.linalg.svd(a, compute_uv=False), rtol=close, atol=close)
    np.testing.assert_allclose(alone, s, rtol=close, atol=close)
    back = (u[..., :, :k] * s[..., None, :]) @ vh[..., :k, :]
    np.testing.assert_allclose(back, a, rtol=close, atol=close)
    for x in (u.swapaxes(-1, -2), vh):
        one = x @ x.conj().swapaxes(-1, -2)
        np.testing.assert_allclose(one, np.eye(x.shape[-2]) + 0 * one, rtol=close, atol=close)


@needs_compiler
def test_svd_of_what_is_not_finite() -> None:
    a = drawn("f64", 3, 4, 2)
    a[1, 0, 0] = np.nan
    u, s, vh = compiled(lambda a: jnp.linalg.svd(a, full_matrices=False), a).run([a])
    for x in (u, s, vh):
        assert np.isnan(x[1]).all() and np.isfinite(x[[0, 2]]).all()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("stack", [(), (3,)], ids=str)
def test_determinants(dtype: str, stack: tuple[int, ...]) -> None:
    a = drawn(dtype, *stack, 4, 4)
    host = 2 if dtype.startswith("c") else 0  # products of complex numbers have no kernel
    check(lambda a: (jnp.linalg.det(a), *jnp.linalg.slogdet(a)), a, host=host)


@needs_compiler
@pytest.mark.parametrize("dtype", ["f32", "f64", "c128"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4)], ids=str)
def test_pseudo_inverse(dtype: str, shape: tuple[int, ...]) -> None:
    check(lambda a: jnp.linalg.pinv(a), drawn(dtype, *shape), host=3, tolerance=1e-3)


@needs_compiler
def test_gradients_and_batches() -> None:
    """What differentiation and vmap leave is made of the same routines."""
    a, b = positive("f64", 4, 4), drawn("f64", 3, 4)

    def loss(a: Any, b: Any) -> Any:
        low = tl.cholesky(a)
        x = sl.solve_triangular(low, b, lower=True)
        return jnp.sum(x**2) + jnp.sum(jnp.log(jnp.diagonal(low))) + jnp.linalg.slogdet(a)[1]

    gradient = tj.vmap(tj.grad(loss, argnums=(0, 1)), in_axes=(None, 0))
    check(gradient, a, b, tolerance=1e-8)


@needs_compiler
def test_right_hand_sides_that_are_one_number() -> None:
    """They are no arrays in memory before a library reads them."""
    a = positive("f64", 4, 4)
    made = check(lambda a: (jnp.linalg.solve(a, jnp.ones((4, 2))), jnp.linalg.inv(a)), a)
    assert not any(isinstance(c, HostCall) for c in made.program.calls)


@needs_compiler
def test_what_only_the_host_has() -> None:
    a = drawn("f64", 4, 4)
    check(lambda a: (jnp.sum(jnp.abs(jnp.linalg.eigvals(a))), sl.schur(a)[0]), a, host=3)


@needs_compiler
def test_det_of_singular_matrices_has_a_gradient() -> None:
    a = np.diag([1.0, 2.0, 0.0])
    made = compiled(tj.grad(lambda a: jnp.linalg.det(a)), a)
    np.testing.assert_allclose(made.run([a])[0], np.diag([0, 0, 2.0]), atol=1e-12)


@needs_compiler
def test_in_a_loop() -> None:
    """Where a recording is broken by a library that cannot be recorded."""

    def steps(a: Any) -> Any:
        def body(k: Any, x: Any) -> Any:
            return jnp.linalg.inv(tl.cholesky(x @ x.T + jnp.eye(3))) + 1.0

        return tj.lax.fori_loop(0, 4, body, a)

    check(steps, drawn("f64", 3, 3))


@needs_compiler
def test_without_libraries_the_host_does_it() -> None:
    a = positive("f64", 3, 3)
    made = compiled(lambda a: (tl.cholesky(a), jnp.linalg.inv(a)), a, libraries=False)
    assert not any(isinstance(c, LibraryCall) for c in made.program.calls)
    low, inverse = made.run([a])
    np.testing.assert_allclose(low, np.linalg.cholesky(a), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(inverse, np.linalg.inv(a), rtol=1e-8)


@needs_compiler
@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0)], ids=str)
def test_empty_stacks(shape: tuple[int, ...]) -> None:
    a = np.zeros(shape)
    check(lambda a: (tl.cholesky(a), jnp.linalg.svd(a, full_matrices=False)), a, host=9)


# ---- on a GPU as CuPy has it ---------------------------------------------------------------------


@pytest.fixture
def cuda() -> Any:
    with fake_cuda() as found:
        yield found


@needs_compiler
def test_programs_on_a_gpu(cuda: Any) -> None:
    """The calls reach the libraries on the device's stream, and none is recorded but cuBLAS's."""
    a, b = positive("f64", 4, 4), drawn("f64", 4, 2)

    def both(a: Any, b: Any) -> Any:
        low = tl.cholesky(a) * 1.0
        x = sl.solve_triangular(low, b + 1.0, lower=True)
        return low, jnp.tanh(x) + 1.0, *jnp.linalg.eigh(a), jnp.linalg.inv(a)

    device = CupyDevice(0)
    with registry.emulated(device):
        compiled, there = tj.jit(both, device="gpu"), [tj.device_put(x, "gpu") for x in (a, b)]
        for _ in range(4):
            low, x, w, v, inverse = map(np.asarray, compiled(*there))
    np.testing.assert_allclose(low, np.linalg.cholesky(a), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(w, np.linalg.eigvalsh(a), rtol=1e-10)
    np.testing.assert_allclose(inverse @ a, np.eye(4), atol=1e-9)
    found = cuda.libraries.calls
    assert {"Xpotrf", "Dtrsm_v2", "Xsyevd", "Xgetrf"} <= set(found)
    assert found.count("Xpotrf") == 4


@needs_compiler
def test_recordings_end_before_cusolver_and_go_on_behind_it(cuda: Any) -> None:
    a, b = positive("f64", 4, 4), drawn("f64", 4, 2)

    def solved(a: Any, b: Any) -> Any:
        low = tl.cholesky(a * 2.0 + 1.0)
        return jnp.tanh(sl.solve_triangular(low, b, lower=True)) + 1.0

    with registry.emulated(CupyDevice(0)):
        compiled, there = tj.jit(solved, device="gpu"), [tj.device_put(x, "gpu") for x in (a, b)]
        for _ in range(6):
            found = np.asarray(compiled(*there))
    wanted = np.tanh(np.linalg.solve(np.linalg.cholesky(2 * a + 1), b)) + 1
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)
    calls = cuda.libraries.calls
    assert calls.count("Xpotrf") == 6 and calls.count("Dtrsm_v2") < 6
    assert cuda.calls["graphLaunch"] > 0


@needs_compiler
def test_a_missing_library_is_said_once() -> None:
    a = positive("f64", 3, 3)
    with fake_cuda(libraries=False):
        device = CupyDevice(0)
        with registry.emulated(device), pytest.warns(RuntimeWarning) as said:
            low = tj.jit(tl.cholesky, device="gpu")(a)
            np.testing.assert_allclose(np.asarray(low), np.linalg.cholesky(a), rtol=1e-10)
            tj.jit(lambda a: jnp.linalg.inv(a), device="gpu")(a)
    texts = [str(w.message) for w in said]
    wanted = "cusolver was not found: pip install it; the host computes in its place"
    assert texts.count(wanted) == 1


@pytest.mark.skipif(bool(shared.why_missing("nvrtc")), reason="NVRTC is not installed")
@pytest.mark.parametrize("dtype", ["f32", "c128"])
def test_kernels_around_the_calls_compile_for_a_gpu(dtype: str) -> None:
    a = positive(dtype, 3, 4, 4)

    def all_of(a: Any) -> Any:
        values, vectors = jnp.linalg.eigh(a)
        return tl.cholesky(a), tl.lu(a), tl.qr(a), jnp.linalg.svd(a), values, vectors

    sources = [code.source_of(k) for k in compiled(all_of, a).program.kernels]
    assert len(nvrtc.compile_cubin(sources, 90)) == len(sources) > 5
