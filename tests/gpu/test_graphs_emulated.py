"""Graphs with an edge each: idle threads, operands that are constants, axes of one element."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu.host_kernels import needs_compiler
from tracejit.errors import OutOfBoundsError
from tracejit.ir.graph import Graph
from tracejit.ir.text import parse
from tracejit.passes.epilogue import narrow_products
from tracejit.runtime.executable import compile_graph
from tracejit.runtime.gpu.executable import compile_gpu
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.transform import PRIMS


def graph(text: str) -> Graph:
    return parse(text.strip(), PRIMS)


@needs_compiler
def test_threads_without_columns_read_no_parts() -> None:
    """The last block of a tile read, for them, parts of the first tile as they were written."""
    sums = graph(
        """
graph sums(%x: f32[600,33]) -> (%1):
  %1 = reduce_sum(%x, axes=(0,)) : f32[33]
"""
    )
    x = np.random.default_rng(0).normal(size=(600, 33)).astype(np.float32)
    executable = compile_gpu(sums, HostDevice(orders=(1,), checks=True))
    [found] = executable.run([x])
    np.testing.assert_allclose(found, x.sum(0), rtol=1e-4, atol=1e-4)


def test_products_of_constants_pass() -> None:
    """A node without operands makes an operand."""
    product = graph(
        """
graph product(%x: f32[3,2]) -> (%2):
  %1 = constant(value=f32[2,2]{[0.9, 0.1], [-0.1, 0.9]}) : f32[2,2]
  %2 = dot_general(%x, %1, dimension_numbers=(((1,), (0,)), ((), ())), preferred_element_type=none) : f32[3,2]
"""  # noqa: E501
    )
    assert narrow_products(product) == product


CELL = """
graph cell(%table: f32[1,3], %at: i64[2]) -> (%1):
  %1 = gather(%table, %at, offset_dims=(), collapsed_slice_dims=(0, 1), start_index_map=(0, 1), operand_batching_dims=(), start_indices_batching_dims=(), slice_sizes=(1, 1), mode='error', fill_value=none) : f32[]
"""  # noqa: E501


@pytest.mark.parametrize("at", [(1, 0), (-1, 2), (0, 3)])
def test_an_index_into_one_element_is_checked(at: tuple[int, int]) -> None:
    table, index = np.ones((1, 3), np.float32), np.array(at)
    with pytest.raises(OutOfBoundsError):
        compile_graph(graph(CELL), backend="llvm", mode="default", threads=1).run([table, index])


@needs_compiler
def test_an_index_into_one_element_is_checked_on_a_gpu() -> None:
    executable = compile_gpu(graph(CELL), HostDevice())
    with pytest.raises(OutOfBoundsError):
        executable.run([np.ones((1, 3), np.float32), np.array([1, 0])])
    [found] = executable.run([np.array([[1, 2, 3]], np.float32), np.array([0, 2])])
    assert found == 3


@needs_compiler
@pytest.mark.parametrize("shape, axis", [((2, 20011, 3), 1), ((3000, 40, 3), 0)])
def test_short_axes_keep_their_parts(shape: tuple[int, ...], axis: int) -> None:
    """Sums of a short axis that is written out shared one buffer for the parts of blocks."""
    kept = tuple(n for k, n in enumerate(shape) if k != axis)
    text = f"""
graph sums(%x: f32[{",".join(map(str, shape))}]) -> (%1, %2):
  %1 = reduce_sum(%x, axes=({axis},)) : f32[{",".join(map(str, kept))}]
  %2 = reduce_min(%x, axes=({axis},)) : f32[{",".join(map(str, kept))}]
"""
    x = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    sums, least = compile_gpu(graph(text), HostDevice()).run([x])
    np.testing.assert_allclose(sums, x.sum(axis), rtol=1e-4)
    np.testing.assert_array_equal(least, x.min(axis))
