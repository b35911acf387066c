"""Operations with kernels of their own on a GPU: what the interpreter of kernels makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.gpu.cuda_kernels import host
from tests.gpu.run_lowered import run
from tests.ops.op_checks import Case
from tests.passes.pass_checks import bits, interesting
from tracejit.ir.build import building
from tracejit.ir.graph import Graph, Value, literal
from tracejit.ir.types import DTYPES, TensorType, kind, parse_type
from tracejit.kernel.gpu import extrema, scans, sort
from tracejit.kernel.gpu import folds as folding
from tracejit.kernel.gpu.custom import RULES, lower_custom
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.lower import Lowered
from tracejit.kernel.nodes import Const, Loop
from tracejit.ops.indexing import scatter_params
from tracejit.ops.window import window_params
from tracejit.passes.groups import Group
from tracejit.runtime.gpu.code import load_kernels
from tracejit.transform import PRIMS

TARGET = GpuTarget(arch=90, multiprocessors=132, compute="f32", workspace=lambda spec: None)
LOWER = sorted(name for name, prim in PRIMS.items() if prim.cases and (prim.lower or prim in RULES))


def group_of(name: str, types: Sequence[Any], params: dict[str, Any]) -> Group:
    """A group of one node; a number among the types is a Literal of the type beside it."""
    prim = PRIMS[name]
    with building() as b:
        xs = [b.input(t) if isinstance(t, TensorType) else literal(t[0], t[1]) for t in types]
        outs = prim(*xs, **params)
        graph: Graph = b.graph(list(outs) if isinstance(outs, tuple) else [outs])
    (node,) = graph.nodes
    inputs = tuple(dict.fromkeys(x for x in node.inputs if isinstance(x, Value)))
    return Group("lower", (node,), inputs, node.outputs)


def chain_of(lowered: Lowered | None) -> list[Lowered]:
    return [] if lowered is None else [lowered, *chain_of(lowered.then)]


@dataclass(frozen=True)
class Job:
    """An operation's kernels, what they are given and what its NumPy rule makes of that."""

    lowered: Lowered
    values: dict[Value, np.ndarray]
    updated: np.ndarray | None
    wanted: tuple[np.ndarray, ...]

    def compare(self, outs: Sequence[np.ndarray], tolerance: float) -> None:
        for out, want in zip(outs, self.wanted, strict=True):
            assert out.dtype == want.dtype and out.shape == want.shape
            if tolerance:
                wide = np.complex128 if kind(want.dtype) == "c" else np.float64
                np.testing.assert_allclose(
                    out.astype(wide), want.astype(wide), rtol=tolerance, atol=tolerance
                )
            else:
                assert np.array_equal(bits(out), bits(np.asarray(want))), (out, want)


def job(
    name: str, arrays: Sequence[Any], params: dict[str, Any], *, deterministic: bool = False
) -> Job:
    """``arrays`` may hold a scalar with the type that it fills."""
    types = [TensorType(a.dtype, a.shape) if isinstance(a, np.ndarray) else a for a in arrays]
    group = group_of(name, types, params)
    whole = [
        a if isinstance(a, np.ndarray) else np.full(a[1].shape, a[0], a[1].dtype) for a in arrays
    ]
    inputs = zip(group.node.inputs, whole, strict=True)
    with np.errstate(all="ignore"):
        wanted = PRIMS[name].rule("numpy")(*whole, **params)
    return Job(
        lower_custom(group, replace(TARGET, deterministic=deterministic)),
        {v: a for v, a in inputs if isinstance(v, Value)},
        whole[0] if group.updates else None,
        wanted if isinstance(wanted, tuple) else (wanted,),
    )


def check(
    name: str,
    arrays: Sequence[Any],
    params: dict[str, Any],
    *,
    deterministic: bool = False,
    tolerance: float = 0.0,
) -> Lowered:
    """Run the kernels of an operation in the interpreter."""
    one = job(name, arrays, params, deterministic=deterministic)
    outs, flag = run(one.lowered, one.values, one.updated)
    assert flag == 0
    one.compare(outs, tolerance)
    return one.lowered


@pytest.mark.parametrize("name", LOWER)
def test_cases_of_primitives(name: str) -> None:
    prim = PRIMS[name]
    assert prim.cases is not None
    for raw in prim.cases():
        case = Case(prim, raw)
        check(name, case.arrays, case.params, tolerance=1e-5)


def drawn(type: str, seed: int = 0) -> np.ndarray:
    """Values with ties, signed zeros, infinities and nan."""
    t = parse_type(type)
    rng = np.random.default_rng(seed)
    return rng.choice(interesting(t.dtype), size=t.shape).astype(t.dtype)


# ---- running folds -------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("name", ("cumsum", "cummax", "cumlogsumexp"))
@pytest.mark.parametrize("shape, axis", (((3, 150), 1), ((300,), 0), ((2, 40, 3), 1), ((7, 5), 1)))
def test_running_folds(name: str, shape: tuple[int, ...], axis: int, reverse: bool) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    check(name, [x], {"axis": axis, "reverse": reverse}, tolerance=1e-5)


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("name", ("cumsum", "cummax", "cumlogsumexp"))
@pytest.mark.parametrize("shape, axis", (((2, 300), 1), ((90, 2), 0)))
def test_running_folds_in_chunks(
    name: str, shape: tuple[int, ...], axis: int, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "CHUNK", 128)
    monkeypatch.setattr(scans, "STEPS", 16)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = check(name, [x], {"axis": axis, "reverse": reverse}, tolerance=1e-5)
    assert len(chain_of(found)) == 3


@pytest.mark.parametrize("dtype", ("i8", "u8", "u16", "i64", "f16", "bf16", "f64", "c64"))
@pytest.mark.parametrize("name", ("cumsum", "cumprod", "cummin"))
def test_running_folds_of_dtypes(name: str, dtype: str) -> None:
    if dtype == "c64" and name == "cummin":
        return
    small = np.random.default_rng(1).integers(0, 3, (2, 70))
    exact = kind(DTYPES[dtype]) not in "fc"
    x = small.astype(DTYPES[dtype]) if exact else (small / 2 + 0.5).astype(DTYPES[dtype])
    tolerance = 0.0 if exact else 1e-2 if DTYPES[dtype].itemsize == 2 else 1e-5
    check(name, [x], {"axis": 1, "reverse": False}, tolerance=tolerance)


def test_the_running_maximum_keeps_nan() -> None:
    check("cummax", [drawn("f32[3,100]")], {"axis": 1, "reverse": False})
    check("cummax", [drawn("bool[3,100]")], {"axis": 1, "reverse": True})


# ---- places of extrema ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ("f32", "f16", "bool", "i8", "u64"))
@pytest.mark.parametrize("name", ("argmax", "argmin"))
@pytest.mark.parametrize("shape, axis", (((3, 40), 1), ((2, 90), 1), ((40, 3), 0), ((2, 3, 1), 1)))
def test_places_of_extrema(
    name: str, shape: tuple[int, ...], axis: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extrema, "WARP_ROW", 64)
    for seed in range(2):
        x = drawn(f"{dtype}[{','.join(map(str, shape))}]", seed)
        if seed:  # mostly without nan
            x = np.where(x != x, x.dtype.type(1), x)
        check(name, [x], {"axes": (axis,), "index_dtype": DTYPES["i32"]})


@pytest.mark.parametrize("shape, axis", (((1, 150), 1), ((70, 3), 0), ((1, 50, 2), 1)))
def test_places_of_extrema_in_chunks(
    shape: tuple[int, ...], axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extrema, "CHUNK", 64)
    monkeypatch.setattr(extrema, "STEPS", 16)
    for low in (0, -100):
        x = np.random.default_rng(0).integers(low, 100, shape).astype(np.float32)
        params = {"axes": (axis,), "index_dtype": DTYPES["i64"]}
        assert len(chain_of(check("argmax", [x], params))) == 2
        check("argmin", [np.where(x == 3, np.nan, x).astype(np.float32)], params)
        check("argmax", [np.full_like(x, -np.inf)], params)


def folds(*dtypes: str) -> Graph:
    """The first of two, unless it is zero: associative, but not commutative; 0 is neutral."""
    with building() as b:
        left = [b.input(parse_type(f"{d}[]")) for d in dtypes]
        right = [b.input(parse_type(f"{d}[]")) for d in dtypes]
        nothing = PRIMS["eq"](left[0], PRIMS["mul"](left[0], 0))
        return b.graph([PRIMS["select"](nothing, y, x) for x, y in zip(left, right, strict=True)])


@pytest.mark.parametrize("shape, axes", (((3, 200), (1,)), ((150, 2, 2), (0, 1)), ((5,), (0,))))
def test_folds_of_graphs(
    shape: tuple[int, ...], axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "STEPS", 8)
    rng = np.random.default_rng(0)
    x = np.where(rng.random(shape) < 0.7, 0, rng.normal(size=shape)).astype(np.float32)
    y = np.where(x == 0, 0, rng.integers(1, 99, shape))
    params = {"computation": folds("f32", "i64"), "axes": axes}
    found = check("reduce", [x, y, np.zeros((), np.float32), np.zeros((), np.int64)], params)
    assert len(chain_of(found)) == {(3, 200): 3, (150, 2, 2): 3, (5,): 1}[shape]


# ---- sorting -------------------------------------------------------------------------------------


def sort_params(dimension: int, num_keys: int = 1) -> dict[str, Any]:
    return {"dimension": dimension, "num_keys": num_keys, "is_stable": True}


@pytest.mark.parametrize("dtype", ("f32", "f64", "bf16", "i8", "u64", "bool", "i64", "c64"))
def test_sorts_with_places(dtype: str) -> None:
    x = drawn(f"{dtype}[3,21]")
    places = np.broadcast_to(np.arange(21), (3, 21)).copy()
    check("sort", [x, places], sort_params(1))


@pytest.mark.parametrize(
    "shape, dimension", (((40,), 0), ((3, 2, 17), 2), ((9, 10), 0), ((4, 1), 1))
)
def test_sorts_of_shapes(shape: tuple[int, ...], dimension: int) -> None:
    check("sort", [drawn(f"f32[{','.join(map(str, shape))}]")], sort_params(dimension))


def test_a_sort_by_two_keys() -> None:
    keys = [drawn("i8[2,20]"), drawn("f32[2,20]", 1), drawn("f32[2,20]", 2)]
    check("sort", keys, sort_params(1, 2))


@pytest.mark.parametrize("n", (20, 32, 70))
@pytest.mark.parametrize("dtype", ("f32", "i64"))
def test_long_rows_are_merged(dtype: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "SHARED_BYTES", 256)
    x, places = drawn(f"{dtype}[2,{n}]"), np.broadcast_to(np.arange(n), (2, n)).copy()
    found = check("sort", [x, places], sort_params(1))
    limit = 32 if dtype == "f32" else 16
    assert (len(chain_of(found)) > 1) == (n > limit)


@pytest.mark.parametrize("k", (1, 5, 20))
@pytest.mark.parametrize("dtype", ("f32", "i64"))
def test_the_largest(dtype: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check("top_k", [drawn(f"{dtype}[2,25]")], {"k": k})
    monkeypatch.setattr(sort, "SHARED_BYTES", 256)
    found = check("top_k", [drawn(f"{dtype}[1,90]")], {"k": k})
    assert len(chain_of(found)) > 1


# ---- scatter -------------------------------------------------------------------------------------


def rows(kind_: str, **more: Any) -> dict[str, Any]:
    return scatter_params(kind_, (1,), (0,), (0,), **more)


@pytest.mark.parametrize("deterministic", (False, True))
@pytest.mark.parametrize("dtype", ("f32", "i32", "bool", "c64", "f16"))
@pytest.mark.parametrize("how", ("set", "add", "mul", "min", "max"))
def test_scattered_rows(how: str, dtype: str, deterministic: bool) -> None:
    if dtype == "c64" and how in ("min", "max"):
        return
    rng = np.random.default_rng(0)
    x, u = (rng.integers(0, 4, shape).astype(DTYPES[dtype]) for shape in ((6, 5), (9, 5)))
    indices = rng.integers(0, 4, (9, 1))
    check("scatter", [x, indices, u], rows(how), deterministic=deterministic)


@pytest.mark.parametrize("mode", ("clip", "drop"))
@pytest.mark.parametrize("how", ("set", "add"))
def test_scattered_windows(how: str, mode: str) -> None:
    rng = np.random.default_rng(1)
    x, u = rng.normal(size=(6, 7)), rng.normal(size=(8, 2, 3))
    indices = rng.integers(-2, 7, (8, 2))
    params = scatter_params(how, (1, 2), (), (1, 0), mode=mode)
    for deterministic in (False, True):
        check("scatter", [x, indices, u], params, deterministic=deterministic, tolerance=1e-12)


def test_a_scatter_in_order_has_the_bits_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    x, u = (rng.normal(size=s).astype(np.float32) for s in ((5, 2), (40, 2)))
    indices = rng.integers(0, 5, (40, 1))
    check("scatter", [x, indices, u], rows("add"), deterministic=True)
    monkeypatch.setattr(sort, "SHARED_BYTES", 256)
    found = check("scatter", [x, indices, u], rows("add"), deterministic=True)
    assert len(chain_of(found)) == 3


def test_kernels_of_a_scatter_are_as_few_as_can_be() -> None:
    x, u, indices = np.zeros((6, 5)), np.ones((9, 5)), np.zeros((9, 1), np.int64)

    def count(params: dict[str, Any], updates: Any = u) -> int:
        return len(chain_of(check("scatter", [x, indices, updates], params)))

    assert count(rows("set")) == 3
    assert count(rows("set"), (2.0, parse_type("f64[9,5]"))) == 1
    assert count(rows("add")) == 1
    one = np.arange(9)[:, None] % 6
    assert (
        len(chain_of(check("scatter", [x, one[:6], u[:6]], rows("set", unique_indices=True)))) == 1
    )


def test_indices_outside_are_told() -> None:
    params = rows("add")
    group = group_of(
        "scatter", [parse_type(t) for t in ("f32[4,3]", "i64[2,1]", "f32[2,3]")], params
    )
    x, u = np.zeros((4, 3), np.float32), np.ones((2, 3), np.float32)
    values = dict(zip(group.node.inputs, (x, np.array([[1], [4]]), u), strict=True))
    for deterministic in (False, True):
        lowered = lower_custom(group, replace(TARGET, deterministic=deterministic))
        assert run(lowered, values, x)[1] == 1


# ---- windows -------------------------------------------------------------------------------------

WINDOWS = (
    ((6, 7), window_params((3, 2), (2, 1), ((1, 1), (0, 1)))),
    ((9,), window_params((3,), (2,), ((1, 2),), None, (2,))),
    ((5,), window_params((2,), (1,), ((1, 1),), (3,))),
    ((2, 4, 3), window_params((1, 2, 1), (1, 2, 1))),
    ((8,), window_params((3,), (1,), ((-2, -1),))),
)


@pytest.mark.parametrize("shape, params", WINDOWS)
@pytest.mark.parametrize("name", ("reduce_window_sum", "reduce_window_max", "reduce_window_min"))
def test_folds_of_windows(name: str, shape: tuple[int, ...], params: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    check(name, [x], params, tolerance=1e-6)


@pytest.mark.parametrize("select", ("ge", "le"))
@pytest.mark.parametrize("shape, params", WINDOWS)
def test_adjoints_of_pooling(shape: tuple[int, ...], params: dict[str, Any], select: str) -> None:
    params = {"select": select, **params}
    x = np.random.default_rng(0).integers(0, 4, shape).astype(np.float32)
    t = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    check("select_and_gather_add", [t, x], params)
    source = PRIMS["select_and_gather_add"].rule("numpy")(t, x, **params)
    check("select_and_scatter_add", [np.asarray(source), x], params, tolerance=1e-6)


# ---- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, types, params",
    (
        ("cumsum", ("f32[{},9]",), {"axis": 1, "reverse": False}),
        ("sort", ("f32[{},40]",), sort_params(1)),
        ("argmax", ("f32[{},70]",), {"axes": (1,), "index_dtype": DTYPES["i32"]}),
        ("reduce_window_max", ("f32[{},8]",), window_params((1, 2), (1, 2))),
        ("scatter", ("f32[{},5]", "i64[7,1]", "f32[7,5]"), rows("add")),
    ),
)
def test_another_batch_has_the_same_kernels(name: str, types: Any, params: Any) -> None:
    texts = set()
    for batch in (200, 412):
        group = group_of(name, [parse_type(t.format(batch)) for t in types], params)
        links = chain_of(lower_custom(group, TARGET))
        texts.add(tuple(link.kernel for link in links))
        assert {size for link in links for size in link.sizes} == {batch}
    assert len(texts) == 1


@pytest.mark.parametrize("batch", range(1, 10))
def test_blocks_have_as_many_threads_for_every_size(batch: int) -> None:
    """A short axis decides how many there are: one longer by one may take more."""
    params = {"axes": (1,), "index_dtype": DTYPES["i32"]}
    group = group_of("argmax", [TensorType(DTYPES["f32"], (batch, 40))], params)
    (block,) = lower_custom(group, TARGET).kernel.body
    assert isinstance(block, Loop)
    (thread,) = block.body
    assert isinstance(thread, Loop) and isinstance(thread.stop, Const)


# ---- as CUDA C -----------------------------------------------------------------------------------


def jobs() -> list[tuple[Job, float]]:
    """Operations of the extents that their kernels are for, and how near results are."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    along = {"axis": 1, "reverse": True}
    places, updates = rng.integers(0, 300, (2000, 1)), normal(2000, 4)
    pool = window_params((1, 3, 2), (1, 2, 1), ((0, 0), (1, 1), (0, 1)))
    index = {"axes": (1,), "index_dtype": DTYPES["i32"]}
    return [
        (job("cumsum", [normal(2, 20000)], along), 1e-2),
        (job("cummax", [normal(3, 700, 5)], along), 0),
        (job("cumlogsumexp", [normal(3, 3000)], along), 1e-4),
        (job("argmax", [normal(2, 70000)], index), 0),
        (job("argmin", [normal(40, 90)], index), 0),
        (job("sort", [drawn("f32[3,9000]"), rng.integers(0, 9, (3, 9000))], sort_params(1)), 0),
        (job("sort", [drawn("f64[50,100]")], sort_params(1)), 0),
        (job("top_k", [drawn("f16[2,9000]")], {"k": 30}), 0),
        (job("scatter", [normal(300, 4), places, updates], rows("add")), 1e-4),
        (job("scatter", [normal(300, 4), places, updates], rows("set")), 0),
        (job("scatter", [normal(300, 4), places, updates], rows("add"), deterministic=True), 0),
        (job("reduce_window_max", [normal(4, 30, 20)], pool), 0),
        (
            job(
                "select_and_scatter_add",
                [normal(4, 15, 20), normal(4, 30, 20)],
                {"select": "ge", **pool},
            ),
            1e-5,
        ),
    ]


def test_as_cuda_c() -> None:
    """Compiled and run in several orders of threads, every access checked."""
    device = host(orders=(0, 1, 7), checks=True)
    found = jobs()
    load_kernels(device, [link.kernel for one, _ in found for link in chain_of(one.lowered)])
    for one, tolerance in found:
        outs, flag = run(one.lowered, one.values, one.updated, device)
        assert flag == 0
        one.compare(outs, tolerance)
