"""Convolutions and their gradients as a library's: which one, with which operands, in which order.

Everything runs on the host: graphs before and after ``library_convolutions`` give the same results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax
from tracejit import numpy as jnp
from tracejit.ir.graph import Graph, Node
from tracejit.ir.interp import run
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.gpu.conv import conv_call, conv_spec, features_last, fused_spec
from tracejit.kernel.gpu.library import ConvSpec, Spec
from tracejit.kernel.gpu.specs import takes
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.ops.conv import conv_general_dilated
from tracejit.ops.fused_conv import OPERANDS, fused_conv
from tracejit.passes.conv_library import library_convolutions
from tracejit.passes.libraries import with_convolutions
from tracejit.passes.pipeline import OPTIMISE, run_passes

rng = np.random.default_rng(7)

#: name -> shapes of x and w, strides, padding, dilation of the kernel, groups, dimension numbers
CASES: dict[str, tuple[Any, ...]] = {
    "plain": ((2, 3, 9, 8), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1, None),
    "strides": ((2, 3, 9, 8), (4, 3, 3, 2), (2, 3), ((1, 1), (0, 1)), (1, 1), 1, None),
    "dilation": ((2, 3, 11, 9), (4, 3, 3, 2), (2, 1), ((2, 2), (1, 0)), (2, 3), 1, None),
    "one side": ((2, 3, 8, 8), (4, 3, 3, 3), (2, 2), ((0, 1), (0, 1)), (1, 1), 1, None),
    "no room left": ((2, 3, 7, 10), (4, 3, 2, 3), (3, 4), ((0, 0), (0, 0)), (1, 1), 1, None),
    "groups": ((2, 6, 9, 8), (4, 3, 3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1), 2, None),
    "depthwise": ((2, 6, 9, 8), (6, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 6, None),
    "one pixel": ((2, 3, 9, 8), (4, 3, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1, None),
    "row": ((2, 3, 12), (4, 3, 5), (2,), ((2, 2),), (1,), 1, None),
    "volume": ((2, 3, 6, 7, 5), (4, 3, 3, 3, 2), (1, 2, 1), ((1, 1),) * 3, (1, 1, 1), 1, None),
    "channels last": (
        *((2, 9, 8, 3), (3, 3, 3, 4), (2, 1), ((1, 1), (1, 1)), (1, 1), 1),
        ("NHWC", "HWIO", "NHWC"),
    ),
    "odd orders": (
        *((9, 2, 3, 8), (3, 3, 4, 3), (1, 2), ((1, 1), (1, 1)), (1, 1), 1),
        ("HNCW", "IHOW", "CHWN"),
    ),
    "groups last": (
        *((2, 9, 8, 6), (3, 3, 3, 4), (2, 2), ((1, 1), (1, 1)), (1, 1), 2),
        ("NHWC", "HWIO", "NHWC"),
    ),
}


def convolve(case: tuple[Any, ...]) -> Callable[[Any, Any], Any]:
    _, _, strides, padding, dilation, groups, numbers = case

    def apply(x: Any, w: Any) -> Any:
        return lax.conv_general_dilated(
            x,
            w,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=numbers,
            feature_group_count=groups,
        )

    return apply


def loss(case: tuple[Any, ...]) -> Callable[[Any, Any], Any]:
    return lambda x, w: jnp.sin(convolve(case)(x, w)).sum()


def operands(case: tuple[Any, ...], dtype: Any = np.float64) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(dtype) for shape in case[:2]]


def simplified(graph: Graph) -> Graph:
    """The graph as it comes to what makes library calls of its convolutions."""
    return run_passes(graph, OPTIMISE, off=frozenset(("keep_layouts", "canonicalise")))


def with_library(graph: Graph, last: bool | None = True) -> Graph:
    return library_convolutions(graph, lambda node: True, lambda dtype: last)


def named(graph: Graph, name: str) -> list[Node]:
    return [node for node in graph.nodes if node.prim.name == name]


def directions(graph: Graph) -> list[str]:
    return sorted(node.params["direction"] for node in named(graph, "fused_conv"))


def reference(spec: ConvSpec, arrays: list[np.ndarray]) -> np.ndarray:
    """What a library is to compute, by ``fused_conv``'s rule."""
    shapes = {"x": spec.x, "w": spec.w, "y": spec.y}
    return fused_conv.rule("numpy")(  # type: ignore[no-any-return]
        *arrays,
        direction=spec.direction,
        shape=shapes[OPERANDS[spec.direction][2]],
        orders=(spec.x_axes, spec.w_axes, spec.y_axes),
        window_strides=spec.strides,
        padding=spec.padding,
        rhs_dilation=spec.dilation,
        feature_group_count=spec.groups,
        epilogue=spec.epilogue,
    )


@pytest.mark.parametrize("last", [True, False, None])
@pytest.mark.parametrize("name", CASES)
def test_a_convolution_and_its_gradients_become_library_calls(name: str, last: bool | None) -> None:
    case = CASES[name]
    arrays = operands(case)
    graph = simplified(tj.make_graph(tj.value_and_grad(loss(case), (0, 1)), *arrays))
    made = with_library(graph, last)
    assert not named(made, "conv_general_dilated")
    assert directions(made) == ["data", "forward", "weights"]
    for wanted, found in zip(run(graph, arrays), run(made, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_not_reversed_for_gradients(name: str) -> None:
    graph = simplified(tj.make_graph(tj.grad(loss(CASES[name])), *operands(CASES[name])))
    assert not named(with_library(graph), "rev")


@pytest.mark.parametrize("name", CASES)
def test_specs_of_nodes_as_they_lie(name: str) -> None:
    """Convolutions and gradients for kernels need no other operands than they have."""
    case = CASES[name]
    arrays = operands(case)
    graph = simplified(tj.make_graph(tj.grad(loss(case), 1), *arrays))
    seen: list[str] = []

    def watch(node: Node, outs: tuple[np.ndarray, ...]) -> None:
        call = conv_call(node, "f32") if node.prim.library == "conv" else None
        values.update(zip(node.outputs, outs, strict=True))
        if call is not None:
            spec, order = call
            assert order == (0, 1, 2) and spec.dtype == spec.compute == "f64"
            seen.append(spec.direction)
            found = reference(spec, [values[x] for x in node.inputs])
            np.testing.assert_allclose(found, outs[0], rtol=1e-10, atol=1e-10)

    values: dict[Any, Any] = dict(zip(graph.inputs, arrays, strict=True))
    run(graph, arrays, watch=watch)
    assert sorted(seen) == ["forward", "weights"]


def same(function: Callable[..., Any], arrays: list[np.ndarray], last: bool | None = True) -> Graph:
    """The graph of ``function`` with library calls; the interpreter agrees with it."""
    graph = simplified(tj.make_graph(function, *arrays))
    made = with_library(graph, last)
    for wanted, found in zip(run(graph, arrays), run(made, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    return made


def test_a_transposed_convolution_reads_its_kernel_reversed() -> None:
    arrays = [rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((3, 4, 3, 5))]
    made = same(lambda x, w: lax.conv_transpose(x, w, (2, 3), "SAME"), arrays)
    assert directions(made) == ["data"]


def test_second_derivatives() -> None:
    case = CASES["strides"]
    x, w = operands(case)

    def directional(x: Any, w: Any) -> Any:
        return tj.jvp(tj.grad(loss(case), (0, 1)), (x, w), (x, w))[1]

    made = same(directional, [x, w])
    assert set(directions(made)) == {"data", "forward", "weights"}


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_batches(axes: tuple[int | None, int | None]) -> None:
    case = CASES["strides"]
    arrays = [
        x if axis is None else np.stack([x, x + 1, x * 2])
        for x, axis in zip(operands(case), axes, strict=True)
    ]
    made = same(tj.vmap(tj.grad(loss(case), (0, 1)), axes), arrays)
    assert len(directions(made)) == 3


def test_convolutions_inside_loops() -> None:
    case = ((2, 3, 9, 8), (3, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1, None)

    def function(x: Any, w: Any) -> Any:
        return lax.fori_loop(0, 3, lambda _, x: jnp.tanh(convolve(case)(x, w)), x)

    made = same(function, operands(case))
    assert "fused_conv" in str(made)


def test_a_graph_stays_where_no_library_takes_it() -> None:
    case = CASES["plain"]
    graph = simplified(tj.make_graph(convolve(case), *operands(case)))
    assert library_convolutions(graph, lambda node: False, lambda _: True) is graph


@pytest.mark.parametrize(
    "change",
    [
        {"lhs_dilation": (2, 1)},  # gaps, but forwards: only a reversed kernel has a library
        {"padding": ((-1, 0), (0, 0))},
    ],
)
def test_what_libraries_do_not_have(change: dict[str, Any]) -> None:
    image, kernel = (TensorType(DTYPES["f32"], s) for s in ((2, 3, 8, 8), (4, 3, 3, 3)))
    params = {
        "window_strides": (1, 1),
        "padding": ((1, 1), (1, 1)),
        "lhs_dilation": (1, 1),
        "rhs_dilation": (1, 1),
        "dimension_numbers": ((0, 1, 2, 3),) * 3,
        "feature_group_count": 1,
        "batch_group_count": 1,
        "preferred_element_type": None,
    }
    out = conv_general_dilated.infer(image, kernel, **params)
    assert conv_spec(image, kernel, out, params, "tf32") is not None
    params |= change
    out = conv_general_dilated.infer(image, kernel, **params)
    assert conv_spec(image, kernel, out, params, "tf32") is None


def test_integers_and_mixed_dtypes_have_no_library() -> None:
    shapes = ((2, 3, 8, 8), (4, 3, 3, 3))
    ints = [rng.integers(-3, 3, shape) for shape in shapes]
    assert not directions(same(convolve(CASES["plain"]), ints))
    halves = [rng.standard_normal(shape).astype(np.float16) for shape in shapes]
    made = same(
        lambda x, w: lax.conv(x, w, (1, 1), "SAME", preferred_element_type=jnp.float32), halves
    )
    assert not directions(made)


def test_what_specs_say_of_precision() -> None:
    asked: list[ConvSpec] = []

    def workspace(spec: Spec) -> int | None:
        assert isinstance(spec, ConvSpec)
        asked.append(spec)
        return 0

    case = CASES["plain"]
    for dtype in (np.float16, np.float32, np.float64):
        graph = simplified(tj.make_graph(convolve(case), *operands(case, dtype)))
        made = with_convolutions(
            graph, takes(GpuTarget(90, 132, "tf32", workspace)), features_last("tf32")
        )
        [node] = named(made, "fused_conv")
        types = tuple(x.type for x in node.inputs)
        spec, order = conv_call(node, "tf32") or (None, ())
        assert spec == asked[-1] == fused_spec(types, dict(node.params), "tf32")
        assert order == (0, 1, 2)
    assert [(spec.dtype, spec.compute) for spec in asked] == [
        ("f16", "f32"),
        ("f32", "tf32"),
        ("f64", "f64"),
    ]
    last, first = (0, 2, 3, 1), (0, 1, 2, 3)
    assert [spec.x_axes for spec in asked] == [last, last, first]
