"""Products that take over what follows them: found where they are, left where they must be.

The graphs are those of networks written as users write them; each is run by the interpreter before
and after the pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit import grad, jit, lax, nn
from tracejit.errors import TracejitError
from tracejit.ir import interp
from tracejit.ir.graph import Graph, Node, walk_nodes
from tracejit.ir.text import parse
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ir.verify import verify
from tracejit.kernel.gpu import library
from tracejit.ops import fused
from tracejit.ops.dot import dot_general
from tracejit.ops.fused import fused_matmul
from tracejit.passes.epilogue import fuse_epilogues, narrow_products
from tracejit.passes.group import partition
from tracejit.runtime import cpu
from tracejit.transform import PRIMS

#: how far a fused graph may be from the other one, of the largest element
NEAR = {"float32": 1e-6, "float16": 3e-3, "bfloat16": 2e-2}


def everything(node: Node) -> bool:
    return True


def quick_gelu(x: Any) -> Any:
    return x * nn.sigmoid(1.702 * x)


def cubed_gelu(x: Any) -> Any:
    return 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def sigmoid_gelu(x: Any) -> Any:
    """(1 + tanh(y)) / 2 is the logistic function of 2 y."""
    return x * nn.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


def arrays(dtype: str, *shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    drawn = (rng.normal(size=shape) / math.sqrt(shape[0]) for shape in shapes)
    return [np.asarray(jnp.asarray(x).astype(dtype)) for x in drawn]


def network(activation: Callable[[Any], Any]) -> Callable[..., Any]:
    def forward(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any) -> Any:
        hidden = activation(x @ w1 + b1)
        return activation(hidden @ w2 + b2) @ w3

    return forward


def squares(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: (function(*args).astype("float32") ** 2).mean()


def operands(dtype: str = "float32", width: int = 128) -> list[Any]:
    shapes = ((24, 32), (32, width), (width,), (width, 2 * width), (2 * width,), (2 * width, 16))
    return arrays(dtype, *shapes)


def optimised(function: Callable[..., Any], args: list[Any]) -> Graph:
    return narrow_products(jit(function).stages(*args).optimised)


def gradients(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    return grad(squares(function), argnums=tuple(range(count)))


def epilogues(graph: Graph) -> list[str]:
    return [n.params["epilogue"] for n in walk_nodes(graph) if n.prim is fused_matmul]


def fuse(
    function: Callable[..., Any], args: list[Any], takes: Callable[[Node], bool] = everything
) -> Graph:
    """The graph of ``function`` after the pass, which is compared with the one before."""
    before = optimised(function, args)
    after = fuse_epilogues(before, takes)
    verify(after)
    near = NEAR[str(args[0].dtype)]
    results = zip(interp.run(before, args), interp.run(after, args), strict=True)
    for old, new in results:
        old, new = old.astype(np.float64), new.astype(np.float64)
        np.testing.assert_allclose(new, old, rtol=0, atol=near * np.abs(old).max())
    return after


# ---- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(NEAR))
@pytest.mark.parametrize("activation", [nn.gelu, cubed_gelu, sigmoid_gelu])
def test_gelu_and_its_gradient(activation: Any, dtype: str) -> None:
    args = operands(dtype)
    assert epilogues(fuse(network(activation), args)) == ["bias_gelu"] * 2
    both = fuse(gradients(network(activation), 6), args)
    assert epilogues(both) == ["bias_gelu_aux"] * 2 + ["dgelu_bgrad"] * 2
    assert not any(node.prim.name == "tanh" for node in both.nodes)


@pytest.mark.parametrize("dtype", list(NEAR))
def test_relu_and_its_gradient(dtype: str) -> None:
    args = operands(dtype)
    if dtype != "float32":
        # the fused sum is rounded once: near 0 it may have another sign than the one rounded twice
        args = [np.zeros_like(x) if x.ndim == 1 else x for x in args]
    assert epilogues(fuse(network(nn.relu), args)) == ["bias_relu"] * 2
    both = fuse(gradients(network(nn.relu), 6), args)
    assert epilogues(both) == ["bias_relu_aux"] * 2 + ["drelu_bgrad"] * 2
    assert not any(node.prim.name in ("le", "select") for node in both.nodes)


def test_relu_is_the_same_to_the_last_bit() -> None:
    args = operands()
    function = gradients(network(nn.relu), 6)
    before = optimised(function, args)
    after = fuse_epilogues(before, everything)
    for old, new in zip(interp.run(before, args), interp.run(after, args), strict=True):
        assert np.array_equal(old, new)


def test_text(golden: Callable[..., None]) -> None:
    after = fuse(gradients(network(nn.gelu), 6), operands("float16"))
    golden(re.sub(r" *# .*", "", str(after)))
    assert parse(str(after), PRIMS) == after


@pytest.mark.parametrize("activation", [lambda x: nn.gelu(x, approximate=False), quick_gelu])
@pytest.mark.parametrize("dtype", list(NEAR))
def test_other_functions_stay(activation: Any, dtype: str) -> None:
    args = operands(dtype)
    assert epilogues(fuse(network(activation), args)) == ["bias"] * 2
    assert set(epilogues(fuse(gradients(network(activation), 6), args))) == {"bias"}


def test_a_function_that_is_gelu_but_for_some_values_stays() -> None:
    """Where there is a choice, many points are no proof."""

    def cut(x: Any) -> Any:
        return jnp.where(x > 77.5, 0, nn.gelu(x))

    # the gelu within is one; what is made of it stays
    after = fuse(network(cut), operands())
    assert epilogues(after) == ["bias_gelu_aux"] * 2
    assert sum(node.prim.name == "select" for node in after.nodes) == 2


def test_maximum_is_relu_without_a_gradient() -> None:
    """The gradient of a maximum is a half where both are equal: the operand is still needed."""
    function = network(lambda x: jnp.maximum(x, 0))
    assert epilogues(fuse(function, operands())) == ["bias_relu"] * 2
    assert set(epilogues(fuse(gradients(function, 6), operands()))) == {"bias"}


# ---- forms ---------------------------------------------------------------------------------------


def test_batches_of_rows_and_biases_of_more_axes() -> None:
    args = arrays("float32", (3, 4, 32), (32, 24), (1, 24))
    after = fuse(lambda x, w, b: nn.relu(x @ w + b), args)
    assert epilogues(after) == ["bias_relu"]
    assert [node.prim.name for node in after.nodes] == ["reshape", "fused_matmul"]


def test_products_without_a_bias() -> None:
    args = arrays("float32", (24, 32), (32, 16))
    assert epilogues(fuse(lambda x, w: nn.relu(x @ w), args)) == ["relu"]
    assert epilogues(fuse(lambda x, w: nn.gelu(x @ w), args)) == ["gelu"]


def test_both_results_of_a_product_that_is_read_before_gelu() -> None:
    args = arrays("float32", (24, 32), (32, 16))

    def function(x: Any, w: Any) -> Any:
        product = x @ w
        return nn.gelu(product), product

    after = fuse(function, args)
    assert epilogues(after) == ["gelu_aux"] and len(after.nodes) == 1


def test_a_product_that_is_read_before_relu_keeps_it() -> None:
    args = arrays("float32", (24, 32), (32, 16), (16,))

    def function(x: Any, w: Any, b: Any) -> Any:
        summed = x @ w + b
        return nn.relu(summed), summed

    assert epilogues(fuse(function, args)) == ["bias"]


def test_a_product_that_is_read_before_its_bias_stays() -> None:
    args = arrays("float32", (24, 32), (32, 16), (16,))

    def function(x: Any, w: Any, b: Any) -> Any:
        product = x @ w
        return nn.relu(product + b), product

    assert epilogues(fuse(function, args)) == []


@pytest.mark.parametrize("shape", [(24, 1), (24, 16), ()])
def test_what_is_added_along_another_axis_is_no_bias(shape: tuple[int, ...]) -> None:
    args = [*arrays("float32", (24, 32), (32, 16)), np.ones(shape, np.float32)]
    assert epilogues(fuse(lambda x, w, b: x @ w + b, args)) == []


def test_a_product_s_gradient_that_something_else_reads_stays() -> None:
    args = arrays("float32", (24, 32), (32, 128), (128, 16), (16, 128))

    def function(x: Any, w: Any, y: Any, v: Any) -> Any:
        z = x @ w
        ct = y @ v
        return jnp.where(z <= 0, 0, ct), ct, nn.relu(z)

    args[2] = args[2][:24]
    assert "drelu" not in epilogues(fuse(function, args))


def test_rows_that_masks_do_not_fit_keep_the_comparison() -> None:
    """A comparison with 0 is made of the result, so the operand is not kept for it."""
    args = operands(width=24)
    after = fuse(gradients(network(nn.relu), 6), args)
    assert epilogues(after) == ["bias_relu"] * 2
    first = next(node for node in after.nodes if node.prim is fused_matmul)
    [signs] = [n for n in after.nodes if n.prim.name == "le" and n.inputs[0] in first.outputs]
    assert signs.inputs[0] is first.outputs[0]


def test_rows_that_an_aux_does_not_fit_are_not_kept() -> None:
    function = gradients(network(nn.gelu), 6)
    assert set(epilogues(fuse(function, operands(width=15)))) == {"bias"}


def test_inner_graphs_of_loops() -> None:
    args = arrays("float32", (24, 64), (64, 64), (64,))

    def function(x: Any, w: Any, b: Any) -> Any:
        return lax.fori_loop(0, 5, lambda k, h: nn.relu(h @ w + b), x)

    after = fuse(function, args)
    assert epilogues(after) == ["bias_relu"]
    assert not any(node.prim is fused_matmul for node in after.nodes)


def test_small_products_in_loops_stay() -> None:
    args = arrays("float32", (2, 3), (3, 3), (3,))

    def function(x: Any, w: Any, b: Any) -> Any:
        return lax.fori_loop(0, 5, lambda k, h: nn.relu(h @ w + b), x)

    assert epilogues(fuse(function, args)) == []


# ---- what the target has -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "wanted"),
    [
        ((), []),
        (("bias",), ["bias"] * 2),
        (("bias", "bias_gelu_aux"), ["bias_gelu_aux"] * 2),
        (("bias_gelu_aux", "dgelu"), ["bias_gelu_aux"] * 2 + ["dgelu"] * 2),
        (("dgelu_bgrad",), ["dgelu_bgrad"] * 2),
    ],
)
def test_only_what_the_target_takes(has: tuple[str, ...], wanted: list[str]) -> None:
    after = fuse(
        gradients(network(nn.gelu), 6), operands(), lambda node: node.params["epilogue"] in has
    )
    assert epilogues(after) == wanted


@pytest.mark.parametrize(
    ("has", "wanted"),
    [
        (("bias", "drelu_bgrad"), ["bias"] * 2),
        (("bias_relu", "drelu_bgrad"), ["bias_relu"] * 2),
        (("bias_relu_aux", "drelu"), ["bias_relu_aux"] * 2 + ["drelu"] * 2),
        (("bias_relu_aux",), []),
    ],
)
def test_a_gradient_reads_the_mask_that_its_product_leaves(
    has: tuple[str, ...], wanted: list[str]
) -> None:
    after = fuse(
        gradients(network(nn.relu), 6), operands(), lambda node: node.params["epilogue"] in has
    )
    assert epilogues(after) == wanted


def test_the_pass_leaves_a_graph_without_products_as_it_is() -> None:
    graph = optimised(lambda x: nn.gelu(x) + 1, arrays("float32", (24, 32)))
    assert fuse_epilogues(graph, everything) is graph
    assert narrow_products(graph) is graph


def test_fused_products_are_groups_of_their_own() -> None:
    after = fuse(gradients(network(nn.gelu), 6), operands())
    parts = partition(after, everything)
    kinds = [group.kind for group in parts.groups if fused_matmul in {n.prim for n in group.nodes}]
    assert kinds == ["library"] * 4
    assert all(len(group.nodes) == 1 for group in parts.groups if group.kind == "library")


def test_processors_run_a_fused_product_by_its_meaning() -> None:
    after = fuse(network(nn.gelu), operands())
    groups = partition(after, cpu.can_fuse).groups
    assert [group.kind for group in groups if group.nodes[0].prim is fused_matmul] == ["host"] * 2


def test_gpus_run_a_fused_product_by_their_library() -> None:
    ability = pytest.importorskip("tracejit.runtime.gpu.ability")
    after = fuse(gradients(network(nn.gelu), 6), operands())
    groups = partition(after, ability.can_fuse).groups
    kinds = {group.kind for group in groups if fused_matmul in {n.prim for n in group.nodes}}
    assert kinds == {"library"}


def test_names_are_those_of_the_specs() -> None:
    for name, (read, left) in fused.EPILOGUES.items():
        assert library.EPILOGUES[name] == ("lhs", "rhs", *read, "out", *left)
    assert set(library.EPILOGUES) == {"", *fused.EPILOGUES}


# ---- 16-bit floats -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_of_16_bits_are_not_widened(dtype: str) -> None:
    args = operands(dtype)
    wide = jit(network(nn.relu)).stages(*args).optimised
    assert any(node.prim.name == "convert" for node in wide.nodes), "what BLAS needs"
    narrow = narrow_products(wide)
    verify(narrow)
    assert not any(node.prim.name == "convert" for node in narrow.nodes)
    [old], [new] = interp.run(wide, args), interp.run(narrow, args)
    assert np.array_equal(old, new)


def test_operands_in_another_order_are_not_widened() -> None:
    args = arrays("float16", (4, 24, 8, 16), (4, 24, 8, 16))
    function = lambda q, k: jnp.einsum("bshd,bthd->bhst", q, k)  # noqa: E731
    wide = jit(function).stages(*args).optimised
    narrow = narrow_products(wide)
    verify(narrow)
    assert not any(out.type.dtype == DTYPES["f32"] for n in narrow.nodes for out in n.outputs)
    [old], [new] = interp.run(wide, args), interp.run(narrow, args)
    assert np.array_equal(old, new)


def test_wide_results_of_narrow_operands_stay_wide() -> None:
    args = arrays("float16", (64, 80), (80, 96))
    function = lambda x, w: x.astype("float32") @ w.astype("float32")  # noqa: E731
    narrow = narrow_products(jit(function).stages(*args).optimised)
    [node] = narrow.nodes
    assert node.prim is dot_general and node.outputs[0].type.dtype == DTYPES["f32"]
    assert {x.type.dtype for x in node.inputs} == {DTYPES["f16"]}


def test_products_of_float32_stay() -> None:
    args = operands()
    graph = jit(network(nn.relu)).stages(*args).optimised
    assert narrow_products(graph) is graph


# ---- the operation -------------------------------------------------------------------------------


def test_slope_is_the_derivative_of_gelu() -> None:
    x, step = np.linspace(-6, 6, 101), 1e-6
    slope = (fused.gelu(x + step) - fused.gelu(x - step)) / (2 * step)
    np.testing.assert_allclose(fused.gelu_slope(x), slope, atol=1e-8)


def test_nan_stays_nan_in_relu() -> None:
    out = fused_matmul.rule("numpy")(
        np.array([[np.nan, 1.0]], np.float32),
        np.array([[1.0, 0.0], [0.0, 1.0]], np.float32),
        dimension_numbers=(((1,), (0,)), ((), ())),
        preferred_element_type=None,
        epilogue="relu",
    )
    assert np.isnan(out[0, 0])


@pytest.mark.parametrize(
    ("epilogue", "more", "words"),
    [
        ("swish", (), "no epilogue `swish`"),
        ("bias", (), "takes"),
        ("gelu_aux", (), "8 divides"),
        ("drelu", ((3, 1),), "128 divides"),
    ],
)
def test_what_does_not_fit_is_an_error(
    epilogue: str, more: tuple[tuple[int, ...], ...], words: str
) -> None:
    f32 = DTYPES["f32"]
    types = [TensorType(f32, shape) for shape in ((3, 4), (4, 5), *more)]
    with pytest.raises(TracejitError, match=words):
        fused_matmul.infer(
            *types,
            dimension_numbers=(((1,), (0,)), ((), ())),
            preferred_element_type=None,
            epilogue=epilogue,
        )
