"""LAPACK called from compiled programs, without Python in between, against the interpreter."""

from __future__ import annotations

import ctypes
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.passes.pass_checks import build_graph, names
from tracejit import lax, linalg
from tracejit.codegen.lapack import print_lapack
from tracejit.ir import interp
from tracejit.ir.graph import Graph
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.lapack import Char, Int, LapackPlan, Work, lapack_plan
from tracejit.kernel.program import HostCall, LapackCall, Program
from tracejit.ops import PRIMS
from tracejit.passes.lapack import call_lapack
from tracejit.passes.pipeline import OPTIMISE, run_passes
from tracejit.runtime import executable, lapack
from tracejit.runtime.executable import compile_graph, make_stages

#: operations whose vectors are determined up to a sign, or a complex number of modulus 1
VECTORS = ("svd", "eigh", "eig", "schur")
COMPLEX_AND_REAL = ("f32", "f64", "c64", "c128")
SQUARE = ("cholesky", "lu", "svd", "eigh", "eig", "det", "slogdet", "cofactor", "qr", "geqrf")
FORMS = ("schur", "hessenberg", "tridiagonal", "pivoted")
PARAMS: dict[str, dict[str, Any]] = {
    "svd": {"full_matrices": True, "compute_uv": True},
    "eigh": {"lower": True, "vectors": True},
    "eig": {"left": True, "right": True},
    "qr": {"full_matrices": True, "pivoting": False},
    "schur": {"vectors": True},
    "tridiagonal": {"lower": True},
    "triangular_solve": {
        "left_side": True,
        "lower": True,
        "transpose_a": False,
        "conjugate_a": False,
        "unit_diagonal": False,
    },
}


def drawn(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    if dtype.startswith("c"):
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(DTYPES[dtype])


def definite(dtype: str, *shape: int) -> np.ndarray:
    x = drawn(dtype, *shape)
    return (x @ np.swapaxes(x.conj(), -1, -2) + shape[-1] * np.eye(shape[-1])).astype(x.dtype)


def graph_for(name: str, arrays: list[np.ndarray], **params: Any) -> Graph:
    types = [TensorType(x.dtype, x.shape) for x in arrays]
    return build_graph(types, lambda *xs: PRIMS[name](*xs, **params))


def close(found: Any, wanted: Any, dtype: str, note: str = "") -> None:
    single = dtype in ("f32", "c64")
    tolerance = 2e-4 if single else 1e-10
    for a, b in zip(found, wanted, strict=True):
        if single and note.startswith(VECTORS):
            a, b = np.abs(a), np.abs(b)  # NumPy computes in double precision: signs may differ
        assert a.dtype == b.dtype and a.shape == b.shape, note
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=note)


def lapack_calls(program: Program) -> list[str]:
    """The routines that a program calls; it must not call Python."""
    hosts = [call.node for call in program.calls if isinstance(call, HostCall)]
    assert not [
        n.prim.name
        for n in hosts
        if n.prim.name != "dot_general" or n.inputs[0].type.dtype.kind != "c"
    ]
    return [c.plan.routine for c in program.calls if isinstance(c, LapackCall)]


def check(name: str, arrays: list[np.ndarray], dtype: str, threads: int, **params: Any) -> None:
    """Compiled, and rewritten for the interpreter, as the record itself."""
    graph = graph_for(name, arrays, **params)
    note = f"{name} {[x.shape for x in arrays]} {dtype} {params}"
    before = [x.copy() for x in arrays]
    wanted = interp.run(graph, arrays)
    close(interp.run(call_lapack(graph), arrays), wanted, dtype, note)
    program = compile_graph(graph, backend="llvm", mode="default", threads=threads)
    close(program.run(arrays), wanted, dtype, note)
    assert lapack_calls(program.program), note
    for x, y in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=note)  # operands stay as they are


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
@pytest.mark.parametrize("name", SQUARE)
def test_square(name: str, dtype: str) -> None:
    make = definite if name in ("cholesky", "eigh") else drawn
    for shape in ((1, 1), (5, 5), (40, 3, 3)):
        a = make(dtype, *shape)
        check(name, [a], dtype, 1 + (len(shape) > 2), **PARAMS.get(name, {}))


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
@pytest.mark.parametrize("shape", [(5, 2), (2, 5), (3, 4, 2), (3, 2, 4)])
def test_not_square(dtype: str, shape: tuple[int, ...]) -> None:
    a = drawn(dtype, *shape)
    check("lu", [a], dtype, 2)
    for full in (False, True):
        check("qr", [a], dtype, 2, full_matrices=full, pivoting=False)
        check("svd", [a], dtype, 2, full_matrices=full, compute_uv=True)
    check("svd", [a], dtype, 2, full_matrices=False, compute_uv=False)
    rtol = np.full(shape[:-2], 1e-6, a.real.dtype)
    check("pinv", [a, rtol], dtype, 1, hermitian=False)


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
def test_forms(dtype: str) -> None:
    for shape in ((2, 2), (3, 5, 5)):
        a = drawn(dtype, *shape)
        for vectors in (True, False):
            check("schur", [a], dtype, 1, vectors=vectors)
        check("hessenberg", [a], dtype, 1)
        for lower in (True, False):
            check("tridiagonal", [a], dtype, 1, lower=lower)
    for shape in ((3, 3), (5, 2), (2, 5), (2, 4, 3)):
        a = drawn(dtype, *shape)
        for full in (True, False):
            check("qr", [a], dtype, 1, full_matrices=full, pivoting=True)


@pytest.mark.parametrize("dtype", ["f32", "c128"])
def test_tridiagonal_equations(dtype: str) -> None:
    for stack, n, columns in itertools.product(((), (3,)), (2, 5), (1, 3)):
        bands = [drawn(dtype, *stack, n, seed=k) for k in range(3)]
        check("tridiagonal_solve", [*bands, drawn(dtype, *stack, n, columns)], dtype, 1)
    ones = np.ones((2, 3))
    graph = graph_for("tridiagonal_solve", [0 * ones, ones * [[1], [0]], 0 * ones, ones[..., None]])
    found = compile_graph(graph, backend="llvm", mode="default", threads=1).run(
        [0 * ones, ones * [[1], [0]], 0 * ones, ones[..., None]]
    )
    np.testing.assert_array_equal(found[0][0], ones[0, :, None])
    assert np.isnan(found[0][1]).all()


@pytest.mark.parametrize("dtype", ["f32", "c128"])
def test_values_of_one_triangle(dtype: str) -> None:
    a = drawn(dtype, 3, 4, 4)  # the other triangle counts for nothing
    for lower, vectors in itertools.product((False, True), repeat=2):
        check("eigh", [a], dtype, 2, lower=lower, vectors=vectors)
    for left, right in itertools.product((False, True), repeat=2):
        check("eig", [a], dtype, 2, left=left, right=right)
    check("pinv", [definite(dtype, 4, 4), np.asarray(1e-6, a.real.dtype)], dtype, 1, hermitian=True)


@pytest.mark.parametrize("dtype", ["f32", "c128"])
@pytest.mark.parametrize("columns", [1, 3])
def test_triangular(dtype: str, columns: int) -> None:
    a = drawn(dtype, 3, 4, 4) + 4 * np.eye(4, dtype=DTYPES[dtype])
    keys = tuple(PARAMS["triangular_solve"])
    for flags in itertools.product((False, True), repeat=4):
        params = dict(zip(keys, (*flags, flags[0] != flags[1]), strict=True))
        b = drawn(dtype, 3, *((4, columns) if params["left_side"] else (columns, 4)))
        check("triangular_solve", [a, b], dtype, 1, **params)


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (20, 3, 3)])
def test_factored(dtype: str, shape: tuple[int, ...]) -> None:
    a = drawn(dtype, *shape)
    factors, _, order = PRIMS["lu"].rule("numpy")(a)
    for transposed, columns in itertools.product((False, True), (1, 3)):
        b = drawn(dtype, *shape[:-1], columns, seed=1)
        check("factored_solve", [a, factors, order, b], dtype, 2, transposed=transposed)


def test_pivots() -> None:
    order = np.array([[2, 1, 4], [0, 3, 2]], np.int32)
    graph = graph_for("lu_pivots_to_permutation", [order], permutation_size=5)
    program = compile_graph(graph, backend="llvm", mode="default", threads=1)
    assert not any(isinstance(c, HostCall) for c in program.program.calls)
    np.testing.assert_array_equal(program.run([order])[0], interp.run(graph, [order])[0])
    with pytest.raises(tj.errors.OutOfBoundsError):
        program.run([order + 3])


@pytest.mark.parametrize("name", [*SQUARE, "pinv"])
def test_empty(name: str) -> None:
    for shape in ((0, 0), (0, 3, 3), (2, 0, 0)):
        a = drawn("f64", *shape)
        arrays = [a, np.zeros(shape[:-2])] if name == "pinv" else [a]
        params = {"hermitian": False} if name == "pinv" else PARAMS.get(name, {})
        graph = graph_for(name, arrays, **params)
        program = compile_graph(graph, backend="llvm", mode="default", threads=2)
        close(program.run(arrays), interp.run(graph, arrays), "f64", f"{name} {shape}")


# ---- matrices that have no result ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
def test_not_positive_definite(dtype: str) -> None:
    a = definite(dtype, 3, 4, 4)
    a[1] *= -1
    check("cholesky", [a], dtype, 1)
    assert np.isnan(np.asarray(tj.jit(jnp.linalg.cholesky)(a))[1]).all()


@pytest.mark.parametrize("dtype", ["f32", "c128"])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize(
    "name", [*(n for n in SQUARE if n not in ("geqrf", "cholesky", "lu")), "schur"]
)
def test_not_finite(name: str, dtype: str, bad: float) -> None:
    if name in ("det", "slogdet") and dtype.startswith("c"):
        pytest.skip("NumPy divides infinite complex numbers in its own way")
    a = definite(dtype, 4, 5, 5)
    for k, where in enumerate(((0, 0), (3, 1), (1, 3))):
        a[(k, *where)] = bad
    with np.errstate(all="ignore"):
        check(name, [a], dtype, 1, **PARAMS.get(name, {}))


@pytest.mark.parametrize("name", ["cholesky", "lu", "geqrf", "triangular_solve"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_ends(name: str, bad: float) -> None:
    """Without a result of which it is known what it is: it ends, and says nothing of the others."""
    a = definite("f64", 3, 6, 6)
    broken = a.copy()
    broken[1, 2, 1] = bad
    arrays = [a, drawn("f64", 3, 6, 2)] if name == "triangular_solve" else [a]
    graph = graph_for(name, arrays, **PARAMS.get(name, {}))
    program = compile_graph(graph, backend="llvm", mode="default", threads=1)
    whole, found = program.run(arrays), program.run([broken, *arrays[1:]])
    assert not np.isfinite(found[0][1]).all()
    for x, y in zip(whole, found, strict=True):
        np.testing.assert_array_equal(x[[0, 2]], y[[0, 2]])


def test_singular() -> None:
    a = np.array([[1.0, 2.0], [2.0, 4.0]])
    check("det", [np.stack([a, a + np.eye(2)])], "f64", 1)
    check("slogdet", [np.stack([a, a + np.eye(2)])], "f64", 1)
    check("slogdet", [np.zeros((3, 3), np.complex64)], "c64", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isfinite(np.asarray(tj.jit(jnp.linalg.inv)(a))).any()


# ---- within programs -----------------------------------------------------------------------------

MATRIX = definite("f64", 6, 6)
VECTOR = np.arange(6.0)


def program_of(function: Callable[..., Any], *args: Any) -> Program:
    return make_stages(tj.make_graph(function, *args), threads=2).program


@pytest.mark.parametrize(
    "loss",
    [
        lambda a: jnp.sum(jnp.linalg.solve(a, VECTOR)),
        lambda a: jnp.sum(jnp.linalg.inv(a)),
        jnp.linalg.det,
        lambda a: jnp.linalg.slogdet(a)[1],
        lambda a: jnp.sum(jnp.linalg.cholesky(a)),
        lambda a: jnp.sum(jnp.linalg.svd(a)[0] ** 3),
        lambda a: jnp.sum(jnp.linalg.svd(a, compute_uv=False)),
        lambda a: jnp.sum(jnp.linalg.eigh(a)[1] ** 3),
        lambda a: jnp.sum(jnp.linalg.eigvalsh(a) ** 2),
        lambda a: jnp.sum(jnp.linalg.qr(a)[0] ** 3),
        lambda a: jnp.sum(jnp.linalg.pinv(a)),
        lambda a: jnp.sum(jnp.linalg.lstsq(a, VECTOR)[0]),
    ],
)
def test_gradients(loss: Callable[..., Any]) -> None:
    assert lapack_calls(program_of(tj.grad(loss), MATRIX))
    stack = np.stack([MATRIX, MATRIX + np.eye(6)])
    assert lapack_calls(program_of(tj.vmap(tj.grad(loss)), stack))
    wanted = np.stack([tj.grad(loss)(m) for m in stack])
    found = tj.jit(tj.vmap(tj.grad(loss)))(stack)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


def test_solve_of_many_right_hand_sides_factors_once() -> None:
    program = program_of(tj.vmap(jnp.linalg.solve, in_axes=(None, 0)), MATRIX, np.ones((9, 6)))
    assert lapack_calls(program) == ["dgetrf", "dtrsm", "dtrsm"]


@pytest.mark.parametrize("left", [True, False])
def test_threads_share_right_hand_sides(left: bool) -> None:
    a = definite("f64", 130, 130)
    b = drawn("f64", 130, 101) if left else drawn("f64", 101, 130)
    params = {**PARAMS["triangular_solve"], "left_side": left}
    check("triangular_solve", [a, b], "f64", 2, **params)
    graph = graph_for("triangular_solve", [a, b], **params)
    for threads in (1, 2):
        program = compile_graph(graph, backend="llvm", mode="default", threads=threads)
        (call,) = [c for c in program.program.calls if isinstance(c, LapackCall)]
        assert (call.plan.pieces > 1) == (threads > 1) == (call.plan.shared is not None)


def test_vectors_take_the_routine_of_vectors() -> None:
    program = program_of(jnp.linalg.solve, MATRIX, VECTOR)
    assert lapack_calls(program) == ["dgetrf", "dtrsv", "dtrsv"]


def test_memory_of_an_operand_that_is_read_nowhere_else() -> None:
    """A factorisation takes the place of what is computed for it: nothing is copied."""
    stages = make_stages(
        tj.make_graph(lambda a: jnp.linalg.cholesky(a @ a.T) + 1, MATRIX), threads=1
    )
    (call,) = [c for c in stages.program.calls if isinstance(c, LapackCall)]
    assert len(call.slots) == 1 and all(type(s).__name__ == "Run" for s in stages.plan.steps)


def test_in_scan_and_while() -> None:
    def step(carry: Any, x: Any) -> Any:
        found = jnp.linalg.solve(carry + jnp.diag(x), x)
        return jnp.linalg.cholesky(carry) @ jnp.linalg.cholesky(carry).T + 0.1, found

    def scanned(a: Any, xs: Any) -> Any:
        return lax.scan(step, a, xs)

    def looped(a: Any) -> Any:
        def body(state: Any) -> Any:
            k, x = state
            q, r = jnp.linalg.qr(x)
            return k + 1, r @ q

        return lax.while_loop(lambda s: s[0] < 5, body, (0, a))[1]

    xs = np.abs(drawn("f64", 4, 6))
    for function, args in ((scanned, (MATRIX, xs)), (looped, (MATRIX,))):
        assert lapack_calls(program_of(function, *args))
        graph = tj.make_graph(function, *args)
        wanted = interp.run(graph, list(args))
        found = compile_graph(graph, backend="llvm", mode="default", threads=2).run(list(args))
        close(found, wanted, "f64")


def test_other_back_ends_and_debug() -> None:
    def f(a: Any) -> Any:
        return jnp.linalg.solve(a, VECTOR), jnp.linalg.eigh(a)[0], linalg.lu(a)[2]

    wanted = [np.asarray(x) for x in f(MATRIX)]
    for found in (
        tj.jit(f, backend="numba")(MATRIX),
        tj.jit(f, backend="numpy")(MATRIX),
        tj.jit(f, mode="debug")(MATRIX),
        tj.jit(f, threads=1)(MATRIX),
    ):
        close([np.asarray(x) for x in found], wanted, "f64")


# ---- the pass, the text, the library -------------------------------------------------------------


def test_pass_leaves_what_it_does_not_know() -> None:
    graph = tj.make_graph(lambda a: a @ a + 1, MATRIX)
    assert call_lapack(graph) is graph
    graph = tj.make_graph(jnp.linalg.cholesky, MATRIX)
    assert "lapack_potrf" in names(run_passes(graph, OPTIMISE))
    assert "cholesky" in names(run_passes(graph, OPTIMISE, off=frozenset(("call_lapack",))))


def test_transposes_meet() -> None:
    """Factors that only triangular systems read stay as LAPACK leaves them."""
    graph = run_passes(tj.make_graph(jnp.linalg.solve, MATRIX, VECTOR), OPTIMISE)
    assert names(graph).count("transpose") == 1


def test_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executable, "lapack", lambda: None)
    program = program_of(jnp.linalg.cholesky, MATRIX)
    assert any(isinstance(c, HostCall) for c in program.calls)
    graph = tj.make_graph(jnp.linalg.cholesky, MATRIX)
    found = compile_graph(graph, backend="llvm", mode="default", threads=1).run([MATRIX])
    close(found, [np.linalg.cholesky(MATRIX)], "f64")


def test_library_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its integers have 32 bits."""
    other = lapack._scipys()
    assert other is not None and other.integers == 4
    monkeypatch.setattr(executable, "lapack", lambda: other)
    for name in ("lu", "svd", "eigh", "eig", "qr"):
        a = definite("c128", 3, 5, 5)
        check(name, [a], "c128", 2, **PARAMS.get(name, {}))


def plans(dtype: str, *shape: int) -> list[LapackPlan]:
    found = []
    for name in (*SQUARE, *FORMS, "eigh_values", "svd_thin", "svd_values", "eigenvalues"):
        if shape[0] != shape[1] and name not in (
            "svd",
            "svd_thin",
            "svd_values",
            "qr",
            "lu",
            "pivoted",
        ):
            continue
        record = {"eigh_values": "eigh", "eigenvalues": "eig"}.get(name, name.partition("_")[0])
        record = "qr" if record == "pivoted" else record
        params = dict(PARAMS.get(record, {}))
        params |= {"pivoting": True} if name == "pivoted" else {}
        params |= {"vectors": False} if name == "eigh_values" else {}
        params |= {"left": False, "right": False} if name == "eigenvalues" else {}
        params |= {"full_matrices": False} if name.startswith("svd_") else {}
        params |= {"compute_uv": False} if name == "svd_values" else {}
        a = np.zeros(shape, DTYPES[dtype])
        graph = call_lapack(graph_for(record, [a], **params))
        found += [lapack_plan(n, 2) for n in graph.nodes if n.prim.library == "lapack"]
    return found


def wanted_work(plan: LapackPlan) -> int:
    """How many numbers LAPACK says ``work`` should have, when asked."""
    found = lapack.lapack()
    assert found is not None and found.integers == 8
    (k,) = [k for k, a in enumerate(plan.arguments) if is_size(plan, k)][:1]
    cells: list[Any] = []
    for place, argument in enumerate(plan.arguments):
        match argument:
            case Char(letter):
                cells.append(ctypes.c_char(letter.encode()))
            case Int(value):
                cells.append(ctypes.c_int64(-1 if is_size(plan, place) else value))
            case _:
                cells.append((ctypes.c_double * 8)())
    letters = sum(isinstance(a, Char) for a in plan.arguments)
    types = (*(ctypes.c_void_p,) * len(cells), *(ctypes.c_size_t,) * letters)
    call = ctypes.CFUNCTYPE(None, *types)(found.routines[plan.routine])
    call(*map(ctypes.addressof, cells), *(1,) * letters)
    number = np.float32 if plan.dtype in ("f32", "c64") else np.float64
    return int(np.frombuffer(cells[k - 1], number)[0])


def is_size(plan: LapackPlan, k: int) -> bool:
    """Whether argument ``k`` says how large the memory before it is."""
    before = plan.arguments[k - 1]
    offsets = [a.offset for a in plan.arguments if isinstance(a, Work)]
    return (
        isinstance(plan.arguments[k], Int)
        and isinstance(before, Work)
        and before.offset not in {offset for offset, *_ in plan.saved}
        and offsets.count(before.offset) == 1
        and plan.arguments[k] != Int(1)
    )


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
@pytest.mark.parametrize("shape", [(3, 3), (40, 40), (300, 300), (300, 20), (20, 300), (90, 60)])
def test_memory_to_work_in_is_what_lapack_asks_for(dtype: str, shape: tuple[int, ...]) -> None:
    asked = 0
    for plan in plans(dtype, *shape):
        sizes = [a.value for k, a in enumerate(plan.arguments) if is_size(plan, k)]
        if sizes:
            assert isinstance(sizes[0], int)
            assert wanted_work(plan) <= sizes[0], (plan.routine, shape)
            asked += 1
    assert asked >= 3


def test_text_holds_no_address() -> None:
    for plan in plans("c128", 6, 6):
        text = "\n".join(print_lapack(plan, "lapack_0"))
        assert text == "\n".join(print_lapack(plan, "lapack_0"))
        assert "inttoptr" not in text and text.count(f"@{'lapack_0'}(") == 1


def test_threads_share_a_stack() -> None:
    a = definite("f64", 200, 12, 12)
    graph = graph_for("eigh", [a], **PARAMS["eigh"])
    program = compile_graph(graph, backend="llvm", mode="default", threads=2)
    (call,) = [c for c in program.program.calls if isinstance(c, LapackCall)]
    assert call.plan.pieces > 1
    one = compile_graph(graph, backend="llvm", mode="default", threads=1)
    (call,) = [c for c in one.program.calls if isinstance(c, LapackCall)]
    assert call.plan.pieces == 1
    for x, y in zip(program.run([a]), one.run([a]), strict=True):
        np.testing.assert_array_equal(x, y)
