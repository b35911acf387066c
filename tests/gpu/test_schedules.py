"""Schedules of fused groups on a GPU: right in the kernels' interpreter, and of the form meant."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.fuzz.graphs import random_arrays, random_graph
from tests.gpu.run_lowered import run
from tests.gpu.schedule_checks import (
    TARGET,
    biased,
    chain,
    check,
    kernels,
    layer_norm,
    lower_all,
    plus_transposed,
    relu,
    softmax_gradient,
    sums,
    text,
    variance,
)
from tests.passes.pass_checks import graph_of
from tests.passes.test_group import softmax
from tracejit.ir.build import full_like
from tracejit.kernel.gpu import chunks, columns, fused, maps, rows
from tracejit.kernel.gpu.chunks import chunks as cut_into
from tracejit.kernel.gpu.narrow import narrowed
from tracejit.kernel.gpu.program import grid_of
from tracejit.kernel.text import parse, show
from tracejit.ops.indexing import gather_params
from tracejit.transform import PRIMS as P


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reductions are cut into chunks however few elements they have."""
    monkeypatch.setattr(chunks, "BLOCKS", 6)
    for module in (chunks, columns):
        monkeypatch.setattr(module, "CHUNK", 1)
        monkeypatch.setattr(module, "AHEAD", 1)


def twice(x: Any) -> Any:
    return P["add"](x, x)


# ---- maps ----


@pytest.mark.parametrize(
    "type",
    "f32[1000] f32[1026] f16[37,40] f32[3] f64[3,5,7] u8[100] i64[33] bf16[70] f32[]".split(),
)
def test_maps(type: str) -> None:
    check(graph_of(type, twice))


def test_a_map_of_truth_values() -> None:
    check(graph_of("bool[133]", P["not"]))


def test_a_map_takes_vectors_of_16_bytes() -> None:
    for dtype, lanes in (("f32", 4), ("f16", 8), ("f64", 2), ("u8", 16)):
        assert f"vec({lanes}x1) i0" in text(graph_of(f"{dtype}[5000]", twice))
    mixed = graph_of("f16[5000]", lambda x: P["convert"](x, dtype=np.dtype("f4")))
    assert "vec(4x1)" in text(mixed)
    assert "vec" not in text(graph_of("f32[5000]", twice), replace(TARGET, vector_bytes=0))


@pytest.mark.parametrize(("type", "lanes"), [("f32[6,20]", 4), ("f32[6,22]", 2), ("f32[6,21]", 1)])
def test_a_map_of_axes_that_stay_apart(type: str, lanes: int) -> None:
    bias = f"f32[{type[-3:]}"
    found = check(graph_of(type, bias, biased))
    assert (f"vec({lanes}x1) i1" in show(found[0].kernel)) == (lanes > 1)


def test_maps_of_parts_of_operands() -> None:
    def build(x: Any) -> Any:
        part = P["slice"](x, start=(1, 0), limit=(6, 20), strides=(1, 1))
        turned = P["rev"](part, dimensions=(1,))
        return P["add"](part, turned), P["concatenate"](part, turned, dimension=1)

    check(graph_of("f32[7,24]", build))


def test_a_large_map_reads_several_vectors_before_it_uses_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maps, "RESIDENT", 0)
    for *types, build in (
        ("f32[4200]", relu),
        ("f32[9,52]", "f32[52]", biased),
        ("u8[300]", twice),
        ("f32[7,5]", "f32[5]", biased),
    ):
        (found,) = check(graph_of(*types, build))
        body = show(found.kernel)
        assert "keep0: " in body and "seq(unroll" in body
    heavy = graph_of("f32[4200]", lambda x: P["sin"](P["exp"](P["tanh"](x))))
    assert "keep0" not in text(heavy)


# ---- rows ----

ROWS = [
    *(
        "f32[6,100]",
        "f32[2,1000]",
        "f32[2,1001]",
        "f16[5,64]",
        "f32[70,5]",
        "f32[9,4]",
        "f64[3,130]",
    ),
    *("bf16[1,2304]", "f32[40,1]", "f32[70,3]", "f32[1,20]"),
]


@pytest.mark.parametrize("type", ROWS)
def test_rows(type: str) -> None:
    check(graph_of(type, softmax))
    check(graph_of(type, layer_norm))
    check(graph_of(type, sums((1,))))


def test_two_operands_of_rows() -> None:
    check(graph_of("f32[3,132]", "f32[3,132]", softmax_gradient))


def loads(kernel_text: str, buffer: str) -> int:
    return sum(f"{buffer}[" in line.partition("=")[2] for line in kernel_text.splitlines())


@pytest.mark.parametrize("length", [1024, 4096, 32768])
def test_a_row_is_read_once(length: int) -> None:
    assert loads(text(graph_of(f"f32[512,{length}]", softmax)), "x0") == 1
    assert loads(text(graph_of(f"f32[512,{length}]", layer_norm)), "x0") == 1


def test_a_row_too_long_for_registers_is_read_for_each_stage() -> None:
    assert loads(text(graph_of("f32[512,100000]", softmax)), "x0") >= 3


def test_short_rows_share_a_block() -> None:
    body = text(graph_of("f32[100000,24]", softmax))
    assert "thread t in 256" in body and "combine(8) max" in body
    assert "combine(32) max" in text(graph_of("f32[100000,256]", softmax))
    assert "combine(256) max" in text(graph_of("f32[100000,4096]", softmax))


def test_a_few_long_rows_take_many_blocks() -> None:
    found = kernels(graph_of("f32[2,1000000]", softmax))
    assert len(found) == 3
    assert all("atomic(add) tickets" in show(k) and grid_of(k, (2,)) > 200 for k in found[:2])


def test_a_few_rows_that_no_registers_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = lower_all(graph_of("f32[10,100000]", softmax))
    assert len(list(chain(found))) == 3
    monkeypatch.setattr(fused, "LONG", 1)
    monkeypatch.setattr(rows, "FEW", 0)
    monkeypatch.setattr(rows, "MANY", 0)
    for build, count in ((softmax, 3), (layer_norm, 3)):
        (found,) = check(graph_of("f32[3,132]", build))
        assert len(list(chain(found))) == count


# ---- reductions in chunks ----

REDUCED = [
    *(("f32[900]", (0,)), ("bf16[1025]", (0,)), ("f32[40,12]", (0,)), ("f32[3,2,100]", (0, 2))),
    *(("f32[3,40,8]", (1,)), ("f16[30,40]", (0,)), ("f32[37,3,9]", (0,)), ("f64[4,3,30]", (0, 1))),
    *(("f32[1,64]", (0,)), ("f32[2,3,4,5]", (1, 3)), ("f32[2,3,4,5]", (0, 2)), ("f32[90,1]", (0,))),
    *(("f32[3,2,24,5,2]", (2,)), ("f32[6,5,20]", (1,)), ("f32[3,40,12]", (0, 1))),
]


@pytest.mark.parametrize(("type", "axes"), REDUCED[::2])
def test_reductions(type: str, axes: tuple[int, ...]) -> None:
    check(graph_of(type, sums(axes)))
    check(graph_of(type, variance(axes)))


@pytest.mark.parametrize(("type", "axes"), REDUCED)
@pytest.mark.usefixtures("short_chunks")
def test_reductions_in_chunks(type: str, axes: tuple[int, ...]) -> None:
    check(graph_of(type, sums(axes)))
    check(graph_of(type, variance(axes)))


@pytest.mark.parametrize("type", ["i64[200,5]", "u8[150,2]", "i32[30,64]"])
def test_reductions_of_integers(type: str) -> None:
    check(graph_of(type, sums((0,))))
    check(graph_of(type, sums((0, 1))))


def test_whether_all_or_any_hold() -> None:
    def build(x: Any) -> Any:
        return P["reduce_and"](x, axes=(0,)), P["reduce_or"](x, axes=(0,))

    check(graph_of("bool[40,6]", build))
    check(graph_of("bool[300]", build))


@pytest.mark.usefixtures("short_chunks")
def test_chunks_are_really_cut() -> None:
    (found,) = lower_all(graph_of("f32[40,36]", sums((0,))))
    assert found.zeroed and len(found.scratch) == 2 and found.then is None
    assert "atomic(add) tickets" in show(found.kernel)


def test_a_sum_has_the_same_bits_whatever_the_device() -> None:
    graph = graph_of("f32[300000]", sums((0,)))
    small = replace(TARGET, multiprocessors=20)
    assert kernels(graph) == kernels(graph, small)


@pytest.mark.parametrize("groups", [1, 3, 500, 100000])
@pytest.mark.parametrize("total", [1, 7, 8192, 8193, 1 << 26])
def test_chunks_cover_all_steps(groups: int, total: int) -> None:
    parts, length = cut_into(groups, total, 8192)
    assert parts * length >= total > (parts - 1) * length
    assert parts <= chunks.BLOCKS and length & (length - 1) == 0


def test_reductions_along_what_operands_rows_are() -> None:
    def build(x: Any) -> Any:
        y = P["transpose"](x, permutation=(1, 0))
        return P["reduce_sum"](P["mul"](y, y), axes=(1,))

    (found,) = check(graph_of("f32[30,20]", build))
    assert "vec(4x1)" in show(found.kernel)


# ---- transposes ----


@pytest.mark.parametrize("shape", [(40, 33), (8, 32), (9, 9)])
@pytest.mark.parametrize("dtype", ["f32", "f16", "f64", "u8"])
def test_transposed_operands(shape: tuple[int, int], dtype: str) -> None:
    a, b = shape
    (found,) = check(graph_of(f"{dtype}[{a},{b}]", f"{dtype}[{b},{a}]", plus_transposed))
    body = show(found.kernel)
    assert "across0" in body and "barrier" in body


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0), (2, 0, 1)])
def test_axes_in_another_order(order: tuple[int, ...]) -> None:
    check(graph_of("f32[8,9,16]", lambda x: P["transpose"](x, permutation=order)))


def test_tiles_have_no_bank_conflicts() -> None:
    """Rows of a tile take an odd number of words."""
    for dtype, size in (("f32", 4), ("f16", 2), ("u8", 1)):
        graph = graph_of(f"{dtype}[100,100]", lambda x: P["transpose"](x, permutation=(1, 0)))
        (line,) = (s for s in text(graph).splitlines() if "scratch" in s)
        row = int(line.partition("[")[2].partition("]")[0].split(",")[1])
        assert row * size % 4 == 0 and row * size // 4 % 2 == 1


# ---- sizes ----


def summed(x: Any) -> Any:
    return P["reduce_sum"](x, axes=(0,))


@pytest.mark.parametrize(
    "build", [twice, softmax, layer_norm, summed, sums((0, 1)), sums((1,)), variance((0,))]
)
@pytest.mark.parametrize("batches", [(64, 77), (1024, 1100), (50000, 60000)])
def test_a_new_batch_has_the_same_kernels(build: Any, batches: tuple[int, int]) -> None:
    a, b = (kernels(graph_of(f"f32[{n},100]", build)) for n in batches)
    assert a == b and all(k.sizes for k in a)


def test_a_new_batch_of_images_has_the_same_kernels() -> None:
    def turned(x: Any) -> Any:
        return P["transpose"](x, permutation=(0, 2, 3, 1))

    for build in (turned, variance((0, 2, 3))):
        a, b = (kernels(graph_of(f"f32[{n},16,9,9]", build)) for n in (33, 48))
        assert a == b


def test_a_mean_over_the_batch_is_the_same_kernel() -> None:
    def build(x: Any) -> Any:
        total = P["reduce_sum"](x, axes=(0,))
        return P["mul"](total, full_like(total, 1.0 / x.type.shape[0]))

    a, b = (kernels(graph_of(f"f32[{n},100]", build)) for n in (96, 120))
    assert a == b
    check(graph_of("f32[96,10]", build))


@pytest.mark.parametrize("type", ["f32[0]", "f32[0,5]", "f32[5,0]", "f32[0,0]"])
def test_empty_operands(type: str) -> None:
    def build(x: Any) -> Any:
        return twice(x), *(P["reduce_sum"](x, axes=(a,)) for a in range(x.type.ndim))

    def extrema(x: Any) -> Any:
        return P["reduce_max"](x, axes=tuple(range(x.type.ndim)))

    check(graph_of(type, build))
    check(graph_of(type, extrema))


def test_how_wide_indices_are() -> None:
    for extent, narrow in ((1000, True), (1 << 28, True), (1 << 31, False)):
        for build in (twice, summed):
            assert all(k.narrow == narrow for k in kernels(graph_of(f"f32[{extent}]", build)))
    (kernel,) = kernels(graph_of("f32[4096,4096]", softmax))
    assert kernel.narrow and narrowed(kernel, {"n0": 1 << 18}).narrow
    assert not narrowed(kernel, {"n0": 1 << 20}).narrow


HEAD = """kernel k[n0](in x: f32[n0], in c: i64[n0], out y: i64[n0])
  block b in n0:
    thread t in 32:
"""


@pytest.mark.parametrize(
    ("line", "narrow"),
    [
        ("y[b] = mul(b, 1000)", True),
        ("y[b] = mul(mul(b, 100000), 100000)", False),
        ("y[b] = mul(mul(c[b], 100000), 100000)", True),  # data: 64 bits anyway
        ("y[b] = idiv(add(b, -5), 3)", True),
        ("y[b] = shift_left(b, 3)", False),  # not known
        ("y[b] = select(gt(x[b], 0.0), b, 5000000000)", False),
        ("y[b] = convert[i64](x[mul(b, 3) if lt(b, 1)])", True),
    ],
)
def test_what_takes_more_than_32_bits(line: str, narrow: bool) -> None:
    kernel = parse(f"{HEAD}      {line}\n")
    assert narrowed(kernel, {"n0": 1000}).narrow == narrow


# ---- all of it ----


def test_an_index_outside_is_told() -> None:
    params = gather_params(
        offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,), slice_sizes=(1, 4)
    )
    graph = graph_of("f32[5,4]", "i64[3,1]", lambda x, i: P["gather"](x, i, **params))
    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    (found,) = check(graph, [x, np.array([[4], [0], [2]])])
    wrong = {found.reads[0]: x, found.reads[1]: np.array([[4], [5], [2]])}
    (out,), flag = run(found, wrong)
    assert flag == 1 and len(found.checks) == 1
    np.testing.assert_array_equal(out[[0, 2]], x[[4, 2]])


@pytest.mark.parametrize("seed", range(18))
def test_random_graphs(seed: int) -> None:
    graph = random_graph(Random(seed).randrange, size=10)
    if max((v.type.size for n in graph.nodes for v in n.outputs), default=0) <= 500:
        check(graph, random_arrays(graph, seed))


@pytest.mark.parametrize("seed", range(100, 106))
@pytest.mark.usefixtures("short_chunks")
def test_random_graphs_in_small_pieces(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "RESIDENT", 0)
    graph = random_graph(Random(seed).randrange, size=10)
    if max((v.type.size for n in graph.nodes for v in n.outputs), default=0) <= 500:
        check(graph, random_arrays(graph, seed))
