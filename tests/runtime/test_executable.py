"""Programs at run time: operands as they come, threads, failures, host calls, memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.fuzz.checks import check_graph, run_guarded
from tests.passes.pass_checks import graph_of
from tracejit import lax
from tracejit.codegen.llvm_ops import NATIVE
from tracejit.errors import OutOfBoundsError
from tracejit.ir.graph import Graph
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.math import EXPANSIONS
from tracejit.runtime import cpu
from tracejit.runtime.executable import Executable, compile_graph
from tracejit.transform import PRIMS as P

F32 = DTYPES["f32"]


def compiled(graph: Graph, threads: int = 2, backend: str = "llvm") -> Executable:
    made = compile_graph(graph, backend=backend, mode="default", threads=threads)
    assert isinstance(made, Executable)
    return made


def summed(x: Any) -> Any:
    return P["reduce_sum"](P["tanh"](x), axes=(1,)), P["mul"](x, x)


# ---- operands ------------------------------------------------------------------------------------


def operands() -> dict[str, np.ndarray]:
    base = np.random.default_rng(0).normal(size=(33, 40)).astype(np.float32)
    raw = np.zeros(base.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(base.shape)
    unaligned[...] = base
    read_only = base.copy()
    read_only.flags.writeable = False
    offset = np.zeros(base.size + 1, np.float32)[1:].reshape(base.shape)
    offset[...] = base
    return {
        "contiguous": base,
        "Fortran": np.asfortranarray(base),
        "strided": np.repeat(base, 2, axis=1)[:, ::2],
        "reversed": base[::-1],
        "broadcast": np.broadcast_to(base[:1], base.shape),
        "unaligned": unaligned,
        "offset": offset,
        "read-only": read_only,
    }


@pytest.mark.parametrize("backend", ("llvm", "numba"))
@pytest.mark.parametrize("name", operands())
def test_any_memory_layout(name: str, backend: str) -> None:
    x = operands()[name]
    before = x.copy()
    total, square = compiled(graph_of("f32[33,40]", summed), backend=backend).run([x])
    np.testing.assert_allclose(total, np.tanh(before).sum(axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(square, before * before)
    np.testing.assert_array_equal(x, before)


def test_big_endian_and_other_dtypes_are_converted_at_the_door() -> None:
    x = np.arange(5, dtype=">f4")
    np.testing.assert_array_equal(tj.jit(lambda x: x * 2)(x), [0, 2, 4, 6, 8])


def test_results_do_not_share_memory_with_operands_or_each_other() -> None:
    x = np.ones(5, np.float32)
    made = compiled(graph_of("f32[5]", lambda x: (x, x, P["reshape"](x, new_sizes=(1, 5)))))
    found = [*made.run([x]), x]
    for k, a in enumerate(found):
        assert not any(np.shares_memory(a, b) for b in found[:k])


def test_earlier_results_stay() -> None:
    made = compiled(graph_of("f32[100]", lambda x: P["neg"](x)))
    results = [made.run([np.full(100, k, np.float32)])[0] for k in range(20)]
    assert [r[0] for r in results] == [-k for k in range(20)]


@pytest.mark.parametrize("to", ("i8", "i16", "bool", "u8", "bf16", "f16", "i32"))
@pytest.mark.parametrize("source", ("i32", "i64", "f32"))
def test_nothing_is_written_beyond_the_end(source: str, to: str) -> None:
    # extents that leave one lane for the last vector: LLVM made that a store of the wider type
    for n in (1, 9, 17, 33):
        graph = graph_of(f"{source}[{n}]", lambda x: P["convert"](x, dtype=DTYPES[to]))
        run_guarded(compiled(graph), [np.ones(n, DTYPES[source])])


# ---- threads -------------------------------------------------------------------------------------


def test_as_many_threads_as_one_likes() -> None:
    graph = graph_of("f32[700,300]", lambda x: (*summed(x), P["reduce_sum"](x, axes=(0,))))
    x = np.random.default_rng(0).normal(size=(700, 300)).astype(np.float32)
    one, two, many = (compiled(graph, threads=n).run([x]) for n in (1, 2, 7))
    for a, b, c in zip(one, two, many, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def failing(x: Any, index: Any) -> Any:
    y = P["tanh"](P["mul"](x, x))
    taken = P["gather"](
        y,
        P["reshape"](index, new_sizes=(5, 1)),
        offset_dims=(1,),
        collapsed_slice_dims=(0,),
        start_index_map=(0,),
        operand_batching_dims=(),
        start_indices_batching_dims=(),
        slice_sizes=(1, 300),
        mode="error",
        fill_value=None,
    )
    return P["cumsum"](P["reduce_sum"](y, axes=(0,)), axis=0, reverse=False), taken


def test_callers_in_several_threads_do_not_see_each_other_s_failures() -> None:
    made = compiled(graph_of("f32[300,300]", "i32[5]", failing))
    arrays = [np.random.default_rng(k).normal(size=(300, 300)).astype("f4") for k in range(4)]
    good, bad = np.arange(5, dtype=np.int32), np.array([0, 1, 300, 2, 3], np.int32)
    wanted = [made.run([x, good]) for x in arrays]
    wrong: list[Any] = []

    def work(k: int) -> None:
        for _ in range(20):
            try:
                found = made.run([arrays[k], bad if k == 3 else good])
                same = all(np.array_equal(a, b) for a, b in zip(found, wanted[k], strict=True))
                wrong.extend([] if same and k != 3 else [k])
            except OutOfBoundsError:
                wrong.extend([] if k == 3 else [k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_failure_is_forgotten_by_the_next_call() -> None:
    made = compiled(graph_of("f32[300,300]", "i32[5]", failing))
    x = np.zeros((300, 300), np.float32)
    for index, fails in (
        ([0, 1, 2, 3, 4], False),
        ([0, 1, 2, 3, 400], True),
        ([-1] * 5, True),
        ([7] * 5, False),
    ):
        if fails:
            with pytest.raises(OutOfBoundsError):
                made.run([x, np.array(index, np.int32)])
        else:
            made.run([x, np.array(index, np.int32)])


# ---- host calls ----------------------------------------------------------------------------------


def callback(function: Any, x: Any) -> Any:
    found = P["pure_callback"](x, function=function, types=(x.type,))
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("backend", ("llvm", "numba"))
def test_what_a_host_call_raises_comes_out(backend: str) -> None:
    def raises(x: Any) -> Any:
        if x[0] > 1:
            raise ZeroDivisionError("of the user's own")
        return x

    made = compiled(
        graph_of("f32[3]", lambda x: P["neg"](callback(raises, P["neg"](P["neg"](x))))),
        backend=backend,
    )
    with pytest.raises(ZeroDivisionError, match="own"):
        made.run([np.full(3, 2, np.float32)])
    np.testing.assert_array_equal(made.run([np.ones(3, np.float32)])[0], [-1, -1, -1])


def test_a_host_call_may_run_compiled_code_of_the_same_program() -> None:
    depth: list[int] = []

    def again(x: Any) -> Any:
        depth.append(len(depth))
        return made.run([np.asarray(x)])[0] if len(depth) < 4 else np.asarray(x)

    graph = graph_of("f32[600,300]", lambda x: P["add"](callback(again, P["mul"](x, x)), x))
    made = compiled(graph)
    x = np.full((600, 300), 0.5, np.float32)
    value = 0.5
    powers = [value := value * value for _ in range(4)]
    expected = powers[-1] + sum([0.5, *powers[:-1]])
    np.testing.assert_allclose(made.run([x])[0], np.full_like(x, expected), rtol=1e-6)


def test_host_calls_within_a_loop() -> None:
    def step(c: Any, x: Any) -> Any:
        return jnp.cumsum(c + x), jnp.sort(c)[::-1]

    c, ys = tj.jit(lambda c, xs: lax.scan(step, c, xs))(jnp.ones(3), jnp.ones((4, 3)))
    assert ys.shape == (4, 3)
    np.testing.assert_allclose(np.asarray(c)[0], 5)


# ---- the rest ------------------------------------------------------------------------------------


def test_a_new_batch_size_compiles_no_kernel() -> None:
    layer = tj.jit(lambda x: jnp.tanh(x - jnp.max(x, axis=1, keepdims=True)) * 0.37)
    layer(np.ones((64, 50), np.float32))
    before = len(cpu._kernels)
    for batch in (65, 100, 128, 2000):
        layer(np.ones((batch, 50), np.float32))
    assert len(cpu._kernels) == before


def test_donated_arguments_are_accepted() -> None:
    step = tj.jit(lambda x, y: (x + y, x * y), donate_argnums=0)
    a, b = step(jnp.ones(4), jnp.full(4, 2.0))
    np.testing.assert_array_equal(a, [3] * 4)
    np.testing.assert_array_equal(b, [2] * 4)


def test_no_operands_and_no_results() -> None:
    assert compiled(graph_of("f32[3]", lambda x: ())).run([np.ones(3, np.float32)]) == []
    made = compiled(graph_of(lambda: P["iota"](dtype=F32, shape=(3,), dimension=0)))
    np.testing.assert_array_equal(made.run([])[0], [0, 1, 2])


@pytest.mark.parametrize("shape", ((0,), (3, 0), (0, 3, 2)))
def test_empty_operands(shape: tuple[int, ...]) -> None:
    type = TensorType(F32, shape)
    graph = graph_of(
        repr(type),
        lambda x: (P["tanh"](x), P["reduce_sum"](x, axes=(0,)), P["reduce_max"](x, axes=())),
    )
    check_graph(graph, [np.zeros(shape, np.float32)])


def test_numba_writes_a_result_without_axes() -> None:
    graph = graph_of("f16[33]", lambda x: P["argmax"](x, axes=(0,), index_dtype=DTYPES["i64"]))
    x = np.arange(33, dtype=np.float16) % 20
    assert compiled(graph, backend="numba").run([x])[0] == 19


def test_scalar_operations_are_listed() -> None:
    spelled = NATIVE | frozenset(EXPANSIONS)
    assert spelled <= cpu.KNOWN
    assert cpu.KNOWN - spelled <= {"check_index", "probe"}
