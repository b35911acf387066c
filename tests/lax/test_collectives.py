"""Collectives over named axes of vmap: their values, in nests, loops and gradients; bad calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ArgumentError, ShapeError

X = np.random.default_rng(0).standard_normal((4, 6, 8)).astype(np.float32)
GROUPS = [[0, 2], [3, 1]]


def each(fun: Callable[..., Any], x: Any = X, **options: Any) -> np.ndarray:
    """``fun`` of every row, at once and compiled: the same."""
    mapped = tj.vmap(fun, axis_name="i", **options)
    at_once, compiled = np.asarray(mapped(x)), np.asarray(tj.jit(mapped)(x))
    np.testing.assert_allclose(at_once, compiled, rtol=1e-5, atol=1e-6)
    return at_once


def same(found: Any, expected: Any) -> None:
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_folds() -> None:
    full = np.broadcast_to
    same(each(lambda x: lax.psum(x, "i")), full(X.sum(0), X.shape))
    same(each(lambda x: lax.pmean(x, "i")), full(X.mean(0), X.shape))
    same(each(lambda x: lax.pmax(x, "i")), full(X.max(0), X.shape))
    same(each(lambda x: lax.pmin(x, "i")), full(X.min(0), X.shape))
    assert each(lambda x: lax.psum(x, "i"), X.astype(np.int8)).dtype == np.int8


def test_folds_in_groups() -> None:
    found = each(lambda x: lax.psum(x, "i", axis_index_groups=GROUPS))
    same(found, np.stack([X[0] + X[2], X[1] + X[3], X[0] + X[2], X[1] + X[3]]))
    same(each(lambda x: lax.pmean(x, "i", axis_index_groups=GROUPS)), found / 2)


def test_a_python_number_is_static() -> None:
    each(lambda x: x * (1 if lax.psum(1, "i") == 4 else None))
    each(lambda x: x.reshape(lax.axis_size("i"), -1))


def test_gathers() -> None:
    everywhere = np.broadcast_to(X, (4, *X.shape))
    same(each(lambda x: lax.all_gather(x, "i")), everywhere)
    same(each(lambda x: lax.all_gather(x, "i", axis=-1)), np.moveaxis(everywhere, 1, -1))
    tiled = each(lambda x: lax.all_gather(x, "i", axis=1, tiled=True))
    same(tiled, np.broadcast_to(np.concatenate(list(X), axis=1), (4, 6, 32)))
    grouped = each(lambda x: lax.all_gather(x, "i", axis_index_groups=GROUPS))
    same(grouped, np.stack([X[[0, 2]], X[[3, 1]], X[[0, 2]], X[[3, 1]]]))


def test_exchanges() -> None:
    square = X[:, :4]
    same(each(lambda x: lax.all_to_all(x, "i", 0, 0), square), square.swapaxes(0, 1))
    same(each(lambda x: lax.pswapaxes(x, "i", 0), square), square.swapaxes(0, 1))
    moved = each(lambda x: lax.all_to_all(x, "i", 0, 1), square)
    same(moved, np.moveaxis(square.swapaxes(0, 1), 1, 2))
    tiled = each(lambda x: lax.all_to_all(x, "i", 1, 0, tiled=True))
    parts = X.reshape(4, 6, 4, 2).transpose(2, 0, 1, 3)
    same(tiled, parts.reshape(4, 24, 2))
    same(each(lambda x: lax.psum_scatter(x, "i"), square), square.sum(0))
    tiled = each(lambda x: lax.psum_scatter(x, "i", scatter_dimension=1, tiled=True))
    same(tiled, X.sum(0).reshape(6, 4, 2).transpose(1, 0, 2))


def test_permutations() -> None:
    found = each(lambda x: lax.ppermute(x, "i", [(0, 1), (1, 3)]))
    same(found, np.stack([0 * X[0], X[0], 0 * X[0], X[1]]))
    same(each(lambda x: lax.pshuffle(x, "i", [3, 0, 1, 2])), X[[3, 0, 1, 2]])


def test_in_nests_of_vmaps() -> None:
    def inner(x: Any) -> Any:
        return x - lax.pmean(x, ("i", "j")) + lax.axis_index(("i", "j")) * lax.psum(x, "i")

    found = tj.vmap(tj.vmap(inner, axis_name="j"), axis_name="i")(X)
    index = np.arange(24).reshape(4, 6, 1)
    same(np.asarray(found), X - X.mean((0, 1)) + index * X.sum(0))
    swapped = tj.vmap(tj.vmap(inner, axis_name="j", in_axes=1, out_axes=1), axis_name="i")(X)
    assert swapped.shape == X.shape


@pytest.mark.parametrize("loop", ("scan", "while", "cond", "jit", "checkpoint"))
def test_inside_control_flow(loop: str) -> None:
    def step(x: Any) -> Any:
        return x - lax.pmean(x, "i") + lax.axis_index("i")

    def fun(x: Any) -> Any:
        if loop == "scan":
            return lax.scan(lambda c, _: (step(c), None), x, None, length=2)[0]
        if loop == "while":
            return lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, step(c[1])), (0, x))[1]
        if loop == "cond":
            return step(lax.cond(x[0, 0] > -1e9, step, lambda x: x, x))
        wrapped = tj.jit(step) if loop == "jit" else tj.checkpoint(step)
        return wrapped(wrapped(x))

    index = np.arange(4.0)[:, None, None]
    once = X - X.mean(0) + index
    same(each(fun), once - once.mean(0) + index)


def test_a_loop_over_nothing_mapped() -> None:
    def fun(x: Any) -> Any:
        total = lax.fori_loop(0, 3, lambda k, c: c + lax.axis_index("i") * k, 0.0)
        return x + total

    same(each(fun), X + 3 * np.arange(4.0)[:, None, None])


def test_gradients() -> None:
    weights = np.arange(1.0, 5.0, dtype=np.float32)

    def loss(x: Any, w: Any) -> Any:
        return jnp.sum(w * jnp.sin(x - lax.pmean(x, "i")))

    def total(x: Any) -> Any:
        return jnp.sum(tj.vmap(loss, axis_name="i")(x, weights))

    def plain(x: Any) -> Any:
        return jnp.sum(weights[:, None] * jnp.sin(x - jnp.mean(x, axis=0)))

    rows = X[:, :, 0]
    same(np.asarray(tj.grad(total)(rows)), np.asarray(tj.grad(plain)(rows)))
    # inside: the cotangents of all examples meet, as in JAX
    inside = tj.vmap(tj.grad(loss), axis_name="i")(rows, weights)
    same(np.asarray(inside), np.asarray(tj.grad(plain)(rows)))


def test_a_cached_graph_does_not_outlive_its_axis() -> None:
    scaled = tj.jit(lambda x: x * lax.axis_size("i"))
    same(np.asarray(tj.vmap(scaled, axis_name="i")(X)), 4 * X)
    same(np.asarray(tj.vmap(scaled, axis_name="i")(X[:2])), 2 * X[:2])
    with pytest.raises(ArgumentError, match="unbound axis name: 'i'"):
        scaled(X)


def test_bad_calls() -> None:
    with pytest.raises(ArgumentError, match="did you mean"):
        tj.vmap(lambda x: lax.psum(x, "batsh"), axis_name="batch")(X)
    with pytest.raises(ArgumentError, match="cover 4 examples"):
        each(lambda x: lax.psum(x, "i", axis_index_groups=[[0, 1], [2]]))
    with pytest.raises(ShapeError, match="6 long, not 4"):
        each(lambda x: lax.all_to_all(x, "i", 0, 0))
    with pytest.raises(ArgumentError, match="destination twice"):
        each(lambda x: lax.ppermute(x, "i", [(0, 1), (2, 1)]))
    with pytest.raises(ArgumentError, match="outside of 4"):
        each(lambda x: lax.ppermute(x, "i", [(0, 4)]))
    with pytest.raises(ArgumentError, match="no permutation"):
        each(lambda x: lax.pshuffle(x, "i", [0, 0, 1, 2]))


@pytest.mark.parametrize("size, chunk", [(10, 3), (9, 3), (4, 8), (1, 1)])
def test_vmap_in_chunks(size: int, chunk: int) -> None:
    x = np.random.default_rng(1).standard_normal((size, 5))
    w = np.arange(5.0)

    def fun(row: Any, w: Any) -> Any:
        return {"dot": row @ w, "row": jnp.sin(row)}

    plain = tj.vmap(fun, in_axes=(0, None), out_axes={"dot": 0, "row": 1})(x, w)
    chunked = tj.vmap(fun, in_axes=(0, None), out_axes={"dot": 0, "row": 1}, chunk=chunk)
    for found in (chunked(x, w), tj.jit(chunked)(x, w)):
        same(np.asarray(found["dot"]), np.asarray(plain["dot"]))
        same(np.asarray(found["row"]), np.asarray(plain["row"]))
    slope = tj.grad(lambda w: jnp.sum(chunked(x, w)["dot"] ** 2))(w)
    same(np.asarray(slope), 2 * x.T @ (x @ w))


def test_results_of_chunks_that_do_not_depend_on_the_example() -> None:
    fun = tj.vmap(lambda x: (2 * x, jnp.ones(3)), out_axes=(0, None), chunk=2)
    doubled, ones = fun(np.arange(5.0))
    same(np.asarray(doubled), 2 * np.arange(5.0))
    same(np.asarray(ones), np.ones(3))


def test_chunks_bound_memory() -> None:
    """Pairwise differences of n points take n * n; in chunks, chunk * n."""

    def nearest(x: Any, points: Any) -> Any:
        return jnp.sort(jnp.abs(x - points))[1]  # a sort needs its operand in memory

    x = np.random.default_rng(2).standard_normal(1024).astype(np.float32)

    def peak(**options: Any) -> int:
        f = tj.jit(tj.vmap(nearest, in_axes=(0, None), **options))
        return f.stages(x, x).plan.arena

    assert peak(chunk=16) * 8 < peak()


def test_bad_chunks() -> None:
    for chunk in (0, -1, 1.5):
        with pytest.raises(ArgumentError, match="chunk is a positive integer"):
            tj.vmap(jnp.sin, chunk=chunk)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="all examples at once"):
        tj.vmap(jnp.sin, axis_name="i", chunk=2)
