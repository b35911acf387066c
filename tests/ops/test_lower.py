"""Operations with kernels of their own, against their NumPy meaning: compiled, and kernels run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ops.op_checks import Case
from tracejit.errors import OutOfBoundsError
from tracejit.ir.build import building, full_like
from tracejit.ir.graph import Graph
from tracejit.ir.types import DTYPES, TensorType, type_of
from tracejit.kernel import interp as kernel_interp
from tracejit.kernel.program import KernelCall, lower_program
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify
from tracejit.ops import PRIMS, arith, logic
from tracejit.ops.indexing import scatter_params
from tracejit.passes.group import partition
from tracejit.passes.place import place_buffers
from tracejit.runtime.cpu import can_fuse
from tracejit.runtime.executable import Executable, compile_graph

FOLDS = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
NAMES = ("argmax", "argmin", *FOLDS, "scatter", "sort", "top_k", "reduce")
RANDOM = np.random.default_rng(0)
I64 = DTYPES["i64"]
LAST = {"dimension": 1, "num_keys": 1, "is_stable": True}

CASES = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name in NAMES
    for k in range(len(PRIMS[name].cases()))  # type: ignore[misc]
]


def graph_of(name: str, arrays: list[Any], params: dict[str, Any]) -> Graph:
    with building() as b:
        out = PRIMS[name](*(b.input(type_of(a)) for a in arrays), **params)
        return b.graph(out if isinstance(out, tuple) else (out,))


def kinds(executable: Executable) -> list[str]:
    return [group.kind for group in executable.stages.partition.groups]


def compiled(
    name: str, *arrays: Any, backend: str = "llvm", threads: int = 1, **params: Any
) -> tuple[Executable, list[Any]]:
    executable = compile_graph(
        graph_of(name, list(arrays), params), backend=backend, mode="default", threads=threads
    )
    assert isinstance(executable, Executable)
    return executable, executable.run(arrays)


def agree(found: list[Any], expected: Any, rtol: float = 0.0) -> None:
    expected = expected if isinstance(expected, tuple) else (expected,)
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype == DTYPES["bf16"]:
            a, b = a.astype(np.float32), b.astype(np.float32)
        if rtol:
            np.testing.assert_allclose(a, b, rtol, rtol)
        else:
            np.testing.assert_array_equal(a, b)


def check(name: str, *arrays: Any, rtol: float = 0.0, **params: Any) -> None:
    """Native, and with the values of the numpy rule."""
    executable, found = compiled(name, *arrays, **params)
    assert kinds(executable) == ["lower"]
    params = {k: v for k, v in params.items() if k not in ("backend", "threads")}
    agree(found, PRIMS[name].rule("numpy")(*arrays, **params), rtol)


def drawn(dtype: str, *shape: int) -> Any:
    """Few different values, so that there are ties; zeros of both signs, infinities and nan."""
    values = RANDOM.integers(0, 5, shape)
    if dtype[0] not in "fb" or dtype == "bool":
        extremes = np.array([0, 1, 2, 3, 4] if dtype == "bool" else limits(dtype))
        return extremes[values].astype(DTYPES[dtype])
    special = np.array([-1.5, -0.0, 0.0, 2.0, np.inf])
    array = special[values]
    if array.size > 6:
        array.flat[array.size // 2] = np.nan
        array.flat[array.size - 1] = -np.inf
    return array.astype(DTYPES[dtype])


def limits(dtype: str) -> Any:
    info = np.iinfo(DTYPES[dtype])
    return np.array([info.min, info.max, 0, 1, 100], DTYPES[dtype])


# ---- every case of the records, compiled and as kernels ------------------------------------------


@pytest.mark.parametrize("name, number", CASES)
def test_cases(name: str, number: int) -> None:
    case = Case(PRIMS[name], PRIMS[name].cases()[number])  # type: ignore[misc]
    executable, found = compiled(name, *case.arrays, **case.params)
    assert "host" not in kinds(executable)
    agree(found, PRIMS[name].rule("numpy")(*case.arrays, **case.params), rtol=1e-5)


@pytest.mark.parametrize("name, number", CASES)
def test_kernels(name: str, number: int) -> None:
    check_kernel(Case(PRIMS[name], PRIMS[name].cases()[number]))  # type: ignore[misc]


def test_kernel_of_rows_sorted_side_by_side() -> None:
    check_kernel(Case(PRIMS["sort"], ([TensorType(DTYPES["f64"], (3, 5, 3))] * 2, LAST)))


def check_kernel(case: Case) -> None:
    """The kernel is well-formed, reads back, and runs in plain Python."""
    name = case.prim.name
    graph = graph_of(name, case.arrays, case.params)
    program = lower_program(place_buffers(partition(graph, can_fuse)), vector_bytes=32)
    (call,) = program.calls
    assert isinstance(call, KernelCall)
    kernel = parse(show(call.kernel))
    assert kernel == call.kernel
    verify(kernel)
    outs = [np.empty(t.shape, t.dtype) for t in graph.output_types]
    names, arrays = [p.name for p in kernel.params], case.arrays
    if case.prim.updates:  # the result holds the operand already
        outs[0][...], arrays = arrays[0], arrays[1:]
    buffers = dict(zip(names, [*arrays, *outs], strict=True))
    assert kernel_interp.run(kernel, buffers, dict(zip(kernel.sizes, call.sizes, strict=True))) == 0
    expected = PRIMS[name].rule("numpy")(*case.arrays, **case.params)
    agree(outs, expected, rtol=1e-5)


# ---- arg-extrema ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "i8", "u64", "bf16", "f32", "f64"])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_arg_extrema(name: str, dtype: str) -> None:
    for shape in ((3, 700), (2, 3, 70), (9, 2, 1)):
        for axis in range(len(shape)) if dtype == "f32" else (1,):
            x = drawn(dtype, *shape)
            check(name, x, axes=(axis,), index_dtype=DTYPES["i32"])


def test_arg_extrema_of_rows_without_order() -> None:
    x = np.full((5, 300), -np.inf, np.float32)
    x[1] = np.nan
    x[2, 280] = np.nan
    x[3, 5], x[3, 299] = np.inf, np.nan
    check("argmax", x, axes=(1,), index_dtype=I64)
    check("argmin", x, axes=(1,), index_dtype=I64)
    check("argmax", x.T.copy(), axes=(0,), index_dtype=I64)


# ---- running folds -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "u8", "i64", "bf16", "f32", "f64"])
@pytest.mark.parametrize("name", FOLDS)
def test_running_folds(name: str, dtype: str) -> None:
    letter = "b" if dtype == "bool" else "f" if dtype == "bf16" else dtype[0]
    if letter not in PRIMS[name].kinds:
        return
    rtol = {"f16": 2e-3, "bf16": 2e-2, "f32": 1e-5, "f64": 1e-12}.get(dtype, 0.0)
    shapes = [((10, 37), 1), ((3, 5, 40), 1), ((2, 6, 3), 1), ((70,), 0), ((9, 2, 8), 2)]
    for shape, axis in shapes if dtype == "f32" else shapes[:2]:
        check(name, drawn(dtype, *shape), rtol=rtol, axis=axis, reverse=len(shape) == 3)


def test_running_sum_keeps_the_sign_of_zero() -> None:
    x = np.array([-0.0, -0.0, 1.0], np.float32)
    _, (found,) = compiled("cumsum", x, axis=0, reverse=False)
    assert np.signbit(found).tolist() == [True, True, False]


# ---- scatter -------------------------------------------------------------------------------------

ROWS = ((1,), (0,), (0,))


@pytest.mark.parametrize("dtype", ["bool", "u8", "i64", "bf16", "f32"])
@pytest.mark.parametrize("kind", ["set", "add", "mul", "min", "max"])
def test_scatter_kinds(kind: str, dtype: str) -> None:
    x, updates = drawn(dtype, 6, 35), drawn(dtype, 20, 35)
    indices = RANDOM.integers(0, 6, (20, 1))
    check("scatter", x, indices, updates, rtol=1e-6, **scatter_params(kind, *ROWS))
    points = RANDOM.integers(0, [6, 35], (50, 2)).astype(np.uint16)
    check(
        "scatter",
        x,
        points,
        drawn(dtype, 50),
        rtol=1e-6,
        **scatter_params(kind, (), (0, 1), (0, 1)),
    )


def test_scatter_shares_columns_among_threads() -> None:
    x, updates = np.zeros((7, 600), np.float32), np.ones((400, 600), np.float32)
    indices = RANDOM.integers(0, 7, (400, 1))
    params = scatter_params("add", *ROWS)
    executable, found = compiled("scatter", x, indices, updates, threads=2, **params)
    assert executable.program.calls[0].split  # type: ignore[union-attr]
    agree(found, PRIMS["scatter"].rule("numpy")(x, indices, updates, **params))


def test_scatter_of_batches() -> None:
    batching = {"operand_batching_dims": (0,), "scatter_indices_batching_dims": (1,)}
    x, updates = drawn("i64", 5, 9, 4), drawn("i64", 6, 5, 4)
    indices = RANDOM.integers(0, 9, (6, 5, 1))
    params = scatter_params("add", (2,), (1,), (1,), **batching)
    check("scatter", x, indices, updates, **params)


@pytest.mark.parametrize("mode", ["clip", "drop", "fill"])
def test_scatter_outside(mode: str) -> None:
    x, updates = drawn("f32", 8, 8), drawn("f32", 30, 2, 3)
    indices = RANDOM.integers(-4, 12, (30, 2))
    params = scatter_params("set", (1, 2), (), (0, 1), mode=mode)
    check("scatter", x, indices, updates, **params)


def test_scatter_outside_is_an_error() -> None:
    x, updates = np.zeros((4, 3), np.float32), np.ones((2, 3), np.float32)
    params = scatter_params("add", *ROWS)
    for index in (-1, 4):
        with pytest.raises(OutOfBoundsError):
            compiled("scatter", x, np.array([[0], [index]]), updates, **params)


def test_scatter_into_a_constant_fills_the_result_first() -> None:
    indices, updates = RANDOM.integers(0, 9, (5, 1)), drawn("i32", 5, 4)
    with building() as b:
        i, u = b.input(type_of(indices)), b.input(type_of(updates))
        table = full_like(TensorType(DTYPES["i32"], (9, 4)), 7)
        graph = b.graph((PRIMS["scatter"](table, i, u, **scatter_params("add", *ROWS)),))
    executable = compile_graph(graph, backend="llvm", mode="default", threads=1)
    assert isinstance(executable, Executable) and kinds(executable) == ["fused", "lower"]
    assert executable.program.plan.arena == 0
    expected = np.full((9, 4), 7, np.int32)
    np.add.at(expected, indices[:, 0], updates)
    agree(executable.run([indices, updates]), expected)


# ---- sort and top_k ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "i8", "u32", "i64", "u64", "bf16", "f32", "f64"])
def test_sort(dtype: str) -> None:
    x = drawn(dtype, 3, 70)
    check("sort", x, **LAST)
    places = np.broadcast_to(np.arange(70), x.shape).copy()
    check("sort", x, places, **LAST)  # equal keys keep their order
    check("sort", x, places, **{**LAST, "dimension": 0})
    check("top_k", x, k=3)
    check("top_k", x, k=70)


def test_sort_keeps_the_signs_of_zeros() -> None:
    x = drawn("f32", 3, 40)
    _, (found,) = compiled("sort", x, **LAST)
    expected = PRIMS["sort"].rule("numpy")(x, **LAST)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def test_sort_by_several_keys() -> None:
    xs = drawn("u8", 3, 50), drawn("f64", 3, 50), drawn("f32", 3, 50)
    check("sort", *xs, **{**LAST, "num_keys": 2})
    check("sort", *xs, **{**LAST, "num_keys": 3})


def test_sort_of_any_length() -> None:
    for n in (1, 2, 16, 17, 65, 1025):
        check("sort", RANDOM.standard_normal((2, n)).astype(np.float32), **LAST)
        # enough rows to sort side by side
        check("sort", RANDOM.standard_normal((2, n, 5)).astype(np.float32), **LAST)


def test_long_rows_are_sorted_on_the_host() -> None:
    x = RANDOM.standard_normal((1, 40000)).astype(np.float32)
    executable, found = compiled("sort", x, **LAST)
    assert kinds(executable) == ["host"]
    agree(found, np.sort(x))
    check("top_k", x, k=4)


# ---- folds of a graph ----------------------------------------------------------------------------


def first_largest() -> Graph:
    """(value, place) pairs: the larger value, the earlier place."""
    with building() as b:
        types = [TensorType(DTYPES["f32"], ()), TensorType(I64, ())] * 2
        a, i, c, j = (b.input(t) for t in types)
        wins = logic.or_(logic.gt(a, c), logic.and_(logic.eq(a, c), logic.lt(i, j)))
        return b.graph((logic.select(wins, a, c), logic.select(wins, i, j)))


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_fold(axes: tuple[int, ...]) -> None:
    x = RANDOM.integers(0, 50, (12, 9, 10)).astype(np.float32)
    places = np.arange(x.size).reshape(x.shape)
    inits = np.array(-np.inf, np.float32), np.array(1 << 60)
    check("reduce", x, places, *inits, computation=first_largest(), axes=axes)


def test_fold_of_other_operations_runs_on_the_host() -> None:
    with building() as b:
        one = TensorType(DTYPES["f32"], ())
        left, right = b.input(one), b.input(one)
        both = PRIMS["sort"](
            PRIMS["concatenate"](
                *(PRIMS["reshape"](arith.add(v, v), new_sizes=(1,)) for v in (left, right)),
                dimension=0,
            ),
            dimension=0,
            num_keys=1,
            is_stable=True,
        )
        graph = b.graph((PRIMS["reduce_max"](both, axes=(0,)),))
    x, init = RANDOM.standard_normal((3, 4)).astype(np.float32), np.array(-9, np.float32)
    executable, found = compiled("reduce", x, init, computation=graph, axes=(1,))
    assert kinds(executable) == ["host"]
    agree(found, PRIMS["reduce"].rule("numpy")(x, init, computation=graph, axes=(1,)), rtol=1e-6)


# ---- the other back end --------------------------------------------------------------------------


def test_numba_finds_the_largest() -> None:
    x = drawn("f32", 3, 40)
    _, found = compiled("top_k", x, k=3, backend="numba")
    agree(found, PRIMS["top_k"].rule("numpy")(x, k=3))


def test_numba_scatters() -> None:
    x, updates = drawn("f32", 6, 35), drawn("f32", 20, 35)
    indices = RANDOM.integers(0, 6, (20, 1))
    params = scatter_params("max", *ROWS)
    executable, found = compiled("scatter", x, indices, updates, backend="numba", **params)
    agree(found, PRIMS["scatter"].rule("numpy")(x, indices, updates, **params))
    with pytest.raises(OutOfBoundsError):
        executable.run([x, indices + 6, updates])
