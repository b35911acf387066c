"""Linear algebra in GPU programs: cuSOLVER and cuBLAS, as far as they can be proven without a GPU.

Programs run on the device that plays a GPU, whose library does what the specs say on matrices that
lie column after column, and are compared with the interpreter. What is handed to the libraries by
ctypes is read by functions with the C types of NVIDIA's headers (``fake_solver.py``), in place of
the real ones.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.linalg as tl
import tracejit.numpy as jnp
import tracejit.scipy.linalg as sl
from tests.gpu.fake_cupy import fake_cuda
from tests.gpu.fake_solver import fake_libraries
from tests.gpu.host_kernels import needs_compiler
from tracejit.errors import DeviceError
from tracejit.ir import interp
from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.library import SolverSpec
from tracejit.kernel.program import HostCall, LibraryCall
from tracejit.ops import lapack
from tracejit.runtime.gpu import cufft, cusolver, registry, shared
from tracejit.runtime.gpu.cupy_device import CupyDevice
from tracejit.runtime.gpu.cusolver import Cusolver
from tracejit.runtime.gpu.executable import GpuExecutable, compile_gpu
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.runtime.gpu.host_solver import solver_plan, solver_sizes

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


# ---- what goes to the libraries ------------------------------------------------------------------


def specs(dtype: str) -> list[SolverSpec]:
    """Each routine, for one matrix, for few, and for many at once."""
    one = [
        SolverSpec("potrf", dtype, 4, 4),
        SolverSpec("potrf", dtype, 4, 4, 3),
        SolverSpec("potrf", dtype, 260, 260, 2),
        SolverSpec("getrf", dtype, 4, 4),
        SolverSpec("getrf", dtype, 5, 3, 2),
        SolverSpec("getrf", dtype, 3, 3, 4, 0, ("batched",)),
        SolverSpec("geqrf", dtype, 5, 3, 2),
        SolverSpec("geqrf", dtype, 3, 5),
        SolverSpec("orgqr", dtype, 5, 3, 2, 3),
        SolverSpec("orgqr", dtype, 4, 4, 1, 2),
        SolverSpec("gesvd", dtype, 5, 3, 2, 0, ("A",)),
        SolverSpec("gesvd", dtype, 5, 3, 1, 0, ("S",)),
        SolverSpec("gesvd", dtype, 4, 4, 1, 0, ("N",)),
        SolverSpec("gesvdj", dtype, 5, 3, 2, 0, ("A",)),
        SolverSpec("gesvdj", dtype, 3, 5, 2, 0, ("N",)),
    ]
    one += [
        SolverSpec("syevd", dtype, 4, 4, batch, 0, (vectors, triangle))
        for batch in (1, 3)
        for vectors, triangle in ("NL", "NU", "VL", "VU")
    ]
    return one + [
        SolverSpec("trsm", dtype, 4, 3, batch, 0, (side, triangle, way, diagonal))
        for batch in (1, 3)
        for side, triangle in ("LL", "LU", "RL", "RU")
        for way, diagonal in ("NN", "TU", "CN")
    ]


def memory_of(spec: SolverSpec) -> dict[str, np.ndarray]:
    """Flat memory of every operand."""
    sizes = solver_sizes(spec)
    found = {name: np.full(sizes[name][1], 9, sizes[name][0]) for name in spec.operands}
    if spec.routine in ("potrf", "syevd"):
        found["a"][...] = positive(spec.dtype, spec.batch, spec.m, spec.m).ravel()
    elif spec.routine == "trsm":
        order = spec.m if spec.options[0] == "L" else spec.n
        matrices = drawn(spec.dtype, spec.batch, order, order) + 3 * np.eye(order)
        found["a"][...] = matrices.ravel()
        found["b"][...] = drawn(spec.dtype, found["b"].size)
    elif spec.routine == "orgqr":
        shape = (spec.batch, spec.n, spec.m)
        factors = lapack.lapack_geqrf.rule("numpy")(drawn(spec.dtype, *shape), checked=False)
        found["a"][...] = factors[0].ravel()
        found["taus"][...] = factors[1][:, : spec.count].ravel()
    else:
        found["a"][...] = drawn(spec.dtype, found["a"].size)
    return found


def bound(host: HostDevice) -> Cusolver:
    return Cusolver(lambda: 5 << 33, host.load, host.launch)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_what_goes_to_the_libraries(dtype: str) -> None:
    """Through C, to functions that do what NVIDIA says of their arguments."""
    host = HostDevice()
    with fake_libraries() as fake:
        library = bound(host)
        for spec in specs(dtype):
            found = memory_of(spec)
            wanted = {name: x.copy() for name, x in found.items()}
            plan = library.plan(spec)
            assert plan is not None and plan.recorded == (spec.routine == "trsm")
            workspace = host.alloc(max(plan.workspace, 1))
            plan.run([x.ctypes.data for x in found.values()], workspace.address)
            own = solver_plan(spec, lambda work: work(), lambda *args: None)
            scratch = host.alloc(own.workspace)
            own.run([x.ctypes.data for x in wanted.values()], scratch.address)
            host.synchronize()
            for name, x in found.items():
                assert x.tobytes() == wanted[name].tobytes(), (spec, name)
            assert set(fake.streams.values()) <= {5 << 33}


def test_many_matrices_are_one_call() -> None:
    with fake_libraries() as fake:
        library = Cusolver(lambda: 5 << 33, lambda sources: {sources[0].name: None}, print)
        few, many = SolverSpec("geqrf", "f32", 4, 3, 256), SolverSpec("geqrf", "f32", 4, 3, 257)
        assert library.plan(few) is not None and library.plan(many) is None
        options = ("L", "L", "N", "N")
        for routine, batch in (("potrf", 10_000), ("trsm", 10_000)):
            assert library.plan(SolverSpec(routine, "f32", 4, 4, batch, 0, options)) is not None
        assert "XsyevBatched_bufferSize" not in fake.calls
        assert library.plan(SolverSpec("syevd", "f32", 4, 4, 5000, 0, ("V", "L"))) is not None
        assert "XsyevBatched_bufferSize" in fake.calls


def test_older_libraries_take_eigenvalues_one_by_one() -> None:
    with fake_libraries():
        older = {k: f for k, f in cusolver.functions().items() if k not in cusolver.NEWER}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cusolver, "functions", lambda: older)
            library = Cusolver(lambda: 5 << 33, lambda sources: {sources[0].name: None}, print)
            spec = SolverSpec("syevd", "f64", 4, 4, 3, 0, ("V", "L"))
            plan, memory = library.plan(spec), memory_of(spec)
            assert plan is not None
            before, work = memory["a"].reshape(3, 4, 4).copy(), np.empty(plan.workspace, np.uint8)
            plan.run([x.ctypes.data for x in memory.values()], work.ctypes.data)
            wanted = np.linalg.eigvalsh(before)
            np.testing.assert_allclose(memory["values"].reshape(3, 4), wanted, rtol=1e-10)


def test_failures_name_the_function() -> None:
    with fake_libraries() as fake:
        library = Cusolver(lambda: 5 << 33, lambda sources: {sources[0].name: None}, print)
        fake.failing["Xgetrf_bufferSize"] = 3
        with pytest.raises(DeviceError, match="cuSOLVER: INVALID_VALUE from Xgetrf_bufferSize"):
            library.plan(SolverSpec("getrf", "f32", 3, 3))
        plan = library.plan(SolverSpec("trsm", "f32", 3, 3, 1, 0, ("L", "L", "N", "N")))
        fake.failing["Strsm_v2"] = 13
        assert plan is not None
        work = np.empty(plan.workspace + 256, np.uint8)
        start = -(-work.ctypes.data // 256) * 256
        with pytest.raises(DeviceError, match="cuBLAS: EXECUTION_FAILED from Strsm_v2"):
            plan.run([work.ctypes.data] * 2, start)


@pytest.mark.skipif(shared.find("cusolver") is None, reason=shared.why_missing("cusolver"))
def test_the_real_libraries_have_every_function() -> None:
    """They load without a GPU, and say that there is none."""
    found = cusolver.functions()
    assert {"Xpotrf", "ZpotrfBatched", "Cungqr", "StrsmBatched", "XsyevBatched"} <= set(found)
    with pytest.raises(DeviceError, match="NOT_INITIALIZED"):
        bound(HostDevice())._opened()


HEADERS = [
    ("cusolverDn.h", "cusolverDn", cusolver.SOLVER_SIGNATURES),
    ("cublas_api.h", "cublas", cusolver.BLAS_SIGNATURES),
    ("cufft.h", "cufft", cufft.SIGNATURES),
]


def header(name: str) -> str:
    """A header of CUDA without its comments."""
    for folder in shared.include_folders():
        file = Path(folder) / name
        if file.exists():
            return re.sub(r"/\*.*?\*/|//[^\n]*", "", file.read_text(), flags=re.S)
    pytest.skip(f"there is no {name}")


def c_type(text: str) -> Any:
    """The type that ctypes has for an argument's declaration."""
    if "*" in text or "[" in text or re.search(r"(cusolverDn|cublas)Handle_t|cudaStream_t", text):
        return ctypes.c_void_p
    if re.search(r"cusolverDnParams_t|gesvdjInfo_t", text):
        return ctypes.c_void_p
    for name, found in (
        ("int64_t", ctypes.c_int64),
        ("size_t", ctypes.c_size_t),
        ("signed char", ctypes.c_byte),
        ("long long", ctypes.c_longlong),
    ):
        if name in text:
            return found
    known = r"\bint\b|cublas(FillMode|SideMode|Operation|DiagType)_t|cusolverEigMode_t"
    assert re.search(known + r"|cudaDataType|cufftType|cufftHandle", text), text
    return ctypes.c_int


@pytest.mark.parametrize(("file", "prefix", "signatures"), HEADERS, ids=[h[0] for h in HEADERS])
def test_types_of_arguments_are_those_of_the_headers(
    file: str, prefix: str, signatures: Any
) -> None:
    text = header(file)
    for pattern, types in signatures.items():
        for letter in "SDCZ" if "{}" in pattern else " ":
            name = prefix + cusolver.spelled(pattern, letter)
            match = re.search(rf"\b{name}\s*\(([^)]*)\)\s*;", text)
            assert match, name
            given = [c_type(part) for part in match[1].split(",")]
            assert given == types, name


def test_numbers_are_those_of_the_headers() -> None:
    text = "".join(map(header, ("cusolver_common.h", "cublas_api.h", "library_types.h", "cufft.h")))

    def number(name: str) -> int:
        match = re.search(rf"\b{name}\s*=?\s*(-?(?:0x)?[0-9A-Fa-f]+)", text)
        assert match, name
        return int(match[1], 0)

    for name, value in {
        **{f"CUSOLVER_STATUS_{n}": k for k, n in cusolver.SOLVER_STATUS.items()},
        **{f"CUBLAS_STATUS_{n}": k for k, n in cusolver.BLAS_STATUS.items()},
        **{f"CUFFT_{n}": k for k, n in cufft.STATUS.items()},
        "CUDA_R_32F": cusolver.TYPES["f32"],
        "CUDA_R_64F": cusolver.TYPES["f64"],
        "CUDA_C_32F": cusolver.TYPES["c64"],
        "CUDA_C_64F": cusolver.TYPES["c128"],
        "CUBLAS_FILL_MODE_LOWER": cusolver.TRIANGLES["L"],
        "CUBLAS_FILL_MODE_UPPER": cusolver.TRIANGLES["U"],
        "CUBLAS_SIDE_LEFT": cusolver.SIDES["L"],
        "CUBLAS_SIDE_RIGHT": cusolver.SIDES["R"],
        "CUBLAS_OP_N": cusolver.WAYS["N"],
        "CUBLAS_OP_T": cusolver.WAYS["T"],
        "CUBLAS_OP_C": cusolver.WAYS["C"],
        "CUBLAS_DIAG_NON_UNIT": cusolver.DIAGONALS["N"],
        "CUBLAS_DIAG_UNIT": cusolver.DIAGONALS["U"],
        "CUSOLVER_EIG_MODE_NOVECTOR": cusolver.VECTORS["N"],
        "CUSOLVER_EIG_MODE_VECTOR": cusolver.VECTORS["V"],
        "CUFFT_C2C": cufft.KINDS["fft", "f32"][0],
        "CUFFT_R2C": cufft.KINDS["rfft", "f32"][0],
        "CUFFT_C2R": cufft.KINDS["irfft", "f32"][0],
        "CUFFT_Z2Z": cufft.KINDS["ifft", "f64"][0],
        "CUFFT_D2Z": cufft.KINDS["rfft", "f64"][0],
        "CUFFT_Z2D": cufft.KINDS["irfft", "f64"][0],
        "CUFFT_FORWARD": cufft.DIRECTIONS["fft"],
        "CUFFT_INVERSE": cufft.DIRECTIONS["ifft"],
    }.items():
        assert number(name) == value, name


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
