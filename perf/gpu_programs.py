"""Small programs for each family of generated kernels, compared with NumPy on float64 operands.

    for case in cases(): print(verdict(run_case(case)))          gpu_check.py

The reference is tracejit's NumPy back end, which runs each operation by its NumPy meaning. Programs
on integers and those that only move numbers are compared bit by bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import gpu_check
import numpy as np

import tracejit
import tracejit.numpy as jnp
from tracejit import lax, nn, random
from tracejit.ir.types import DTYPES

#: of a program's result, by dtype of its operands
TOLERANCE = {"f64": 1e-12, "f32": 2e-6, "f16": 3e-3, "bf16": 2e-2}

Program = Callable[..., Any]
Draw = Callable[[np.random.Generator], tuple[np.ndarray, ...]]


def normal(*shapes: tuple[int, ...]) -> Draw:
    return lambda rng: tuple(rng.standard_normal(shape) for shape in shapes)


def positive(*shapes: tuple[int, ...]) -> Draw:
    return lambda rng: tuple(rng.uniform(0.1, 3.0, shape) for shape in shapes)


def unit(*shapes: tuple[int, ...]) -> Draw:
    return lambda rng: tuple(rng.uniform(-0.95, 0.95, shape) for shape in shapes)


#: functions of one number by where their operands lie
SCALARS: dict[str, tuple[Draw, tuple[Any, ...]]] = {
    "any": (
        normal((1003,)),
        (
            *(jnp.exp, jnp.exp2, jnp.expm1, jnp.sin, jnp.cos, jnp.tanh, jnp.sinh),
            *(jnp.cosh, jnp.arctan, jnp.arcsinh, lax.erf, lax.erfc, nn.sigmoid, nn.gelu),
            *(jnp.cbrt, jnp.square, jnp.abs, jnp.negative, nn.softplus),
        ),
    ),
    "positive": (
        positive((1003,)),
        (
            *(jnp.log, jnp.log2, jnp.log10, jnp.log1p, jnp.sqrt, lax.rsqrt, lax.lgamma),
            *(lax.digamma, jnp.reciprocal),
        ),
    ),
    "unit": (unit((1003,)), (jnp.tan, jnp.arcsin, jnp.arccos, jnp.arctanh, lax.erf_inv)),
}

#: name -> (program, operands), in every floating dtype
FLOATING: dict[str, tuple[Program, Draw]] = {
    "chain": (lambda x: jnp.log1p(jnp.exp(jnp.tanh(x))), normal((1001, 7))),
    "broadcast": (lambda x, y, z: x * y + z, normal((33, 65), (65,), (33, 1))),
    "where": (lambda x, y: jnp.where(x > y, x, jnp.clip(y, -1, 1)), normal((999,), (999,))),
    "sum all": (lambda x: jnp.sum(0.01 * jnp.abs(x)), normal((1000, 257))),
    "sum rows": (lambda x: jnp.sum(x * x, axis=1), normal((67, 1025))),
    "sum columns": (lambda x: jnp.sum(x * x, axis=0), normal((1025, 67))),
    "sum middle": (lambda x: jnp.sum(jnp.exp(x), axis=1), normal((9, 130, 35))),
    "mean variance": (lambda x: (jnp.mean(x, 1), jnp.var(x, 1)), normal((40, 700))),
    "softmax": (lambda x: nn.softmax(x, axis=-1), normal((37, 1000))),
    "softmax long": (lambda x: nn.softmax(x, axis=-1), normal((3, 20_000))),
    "log_softmax": (lambda x: nn.log_softmax(x, axis=0), normal((100, 33))),
    "layer norm": (
        lambda x, s, b: (
            (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(1, keepdims=True) + 1e-5) * s + b
        ),
        normal((50, 768), (768,), (768,)),
    ),
    "matmul odd": (lambda x, y: x @ y, normal((65, 33), (33, 17))),
    "matmul bias gelu": (lambda x, y, b: nn.gelu(x @ y + b), normal((64, 96), (96, 128), (128,))),
    "einsum": (lambda x, y: jnp.einsum("bij,bkj->bik", x, y), normal((4, 9, 16), (4, 7, 16))),
    "attention": (
        lambda q, k, v: nn.dot_product_attention(q, k, v, is_causal=True),
        normal(*[(2, 40, 3, 16)] * 3),
    ),
    "conv": (
        lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME"),
        normal((2, 8, 12, 12), (16, 8, 3, 3)),
    ),
    "max pool": (lambda x: nn.max_pool(x, (2, 2), (2, 2)), normal((2, 12, 12, 5))),
    "cumsum": (lambda x: jnp.cumsum(jnp.abs(x), axis=1), normal((13, 2049))),
    "scan": (
        lambda x: lax.scan(lambda c, a: (0.5 * c + a, c * a), x[0], x)[1],
        normal((30, 64)),
    ),
    "fori": (lambda x: lax.fori_loop(0, 10, lambda k, x: x + 0.1 * jnp.sin(x), x), normal((500,))),
}

#: in float32 only: what the other dtypes would not show anew
SINGLE: dict[str, tuple[Program, Draw]] = {
    "while": (
        lambda x: lax.while_loop(lambda x: jnp.max(x) < 100, lambda x: 1.5 * x, x),
        positive((100,)),
    ),
    "cond": (
        lambda x: lax.cond(jnp.sum(x) > 0, jnp.sin, jnp.cos, x),
        positive((100,)),
    ),
    "gradient of softmax": (
        tracejit.grad(lambda x, y: jnp.sum(nn.softmax(x, axis=1) * y)),
        normal((20, 300), (20, 300)),
    ),
    "gradient of conv": (
        tracejit.grad(
            lambda x, w: jnp.sum(nn.relu(lax.conv_general_dilated(x, w, (2, 2), "SAME")) ** 2),
            argnums=(0, 1),
        ),
        normal((2, 8, 11, 11), (16, 8, 3, 3)),
    ),
    "gradient of layers": (
        tracejit.grad(
            lambda w, v, b, x: jnp.mean((nn.gelu(nn.relu(x @ w) @ v + b)) ** 2), argnums=(0, 1, 2)
        ),
        normal((64, 128), (128, 128), (128,), (32, 64)),
    ),
    "gradient of attention": (
        tracejit.grad(
            lambda q, k, v: jnp.sum(nn.dot_product_attention(q, k, v) ** 2), argnums=(0, 1, 2)
        ),
        normal(*[(2, 24, 3, 16)] * 3),
    ),
    "vmap": (tracejit.vmap(lambda x, y: x @ y + jnp.sum(y)), normal((9, 8, 8), (9, 8))),
    "complex": (lambda x, y: jnp.abs(jnp.exp(1j * x) * (y + 2j)), normal((333,), (333,))),
    "stencil": (
        lambda x: x.at[1:-1, 1:-1].set(
            0.25 * (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:])
        ),
        normal((65, 70)),
    ),
    "several results": (lambda x: (x + 1, jnp.sum(x), x.T, jnp.max(x, 0)), normal((31, 45))),
    "deep sum": (lambda x: jnp.sum(x.reshape(-1, 1000), axis=0), positive((3_000_000,))),
}


def whole(low: int, high: int, *shapes: tuple[int, ...], dtype: Any = np.int32) -> Draw:
    return lambda rng: tuple(rng.integers(low, high, shape).astype(dtype) for shape in shapes)


def table_and(low: int, high: int, *shape: int) -> Draw:
    return lambda rng: (
        rng.standard_normal((high, 20)).astype(np.float32),
        rng.integers(low, high, shape),
    )


#: compared bit by bit
EXACT: dict[str, tuple[Program, Draw]] = {
    "transpose": (lambda x: x.T, whole(-99, 99, (67, 129))),
    "transpose 4": (lambda x: jnp.transpose(x, (2, 0, 3, 1)), whole(-99, 99, (5, 6, 7, 33))),
    "x + y.T": (lambda x, y: x + y.T, whole(-99, 99, (65, 100), (100, 65))),
    "reverse slice": (lambda x: x[::-1, 2:-1:3], whole(0, 99, (31, 77))),
    "concatenate pad": (
        lambda x, y: jnp.pad(jnp.concatenate([x, y], 1), ((1, 2), (3, 0))),
        whole(0, 99, (10, 20), (10, 31)),
    ),
    "gather": (lambda x, k: x[k], table_and(0, 50, 333)),
    "take_along": (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), whole(0, 9, (9, 40))),
    "scatter set": (lambda x, k: x.at[jnp.unique(k, size=8)].set(1.0), table_and(0, 50, 40)),
    "scatter add": (
        lambda x, k: jnp.zeros(50, jnp.int32).at[k].add(1),
        table_and(0, 50, 5000),
    ),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (x[0, 0], 3), (4, 9)), whole(2, 9, (20, 20))),
    "sort": (lambda x: jnp.sort(x, axis=1), whole(-999, 999, (7, 1000))),
    "argmax": (lambda x: (jnp.argmax(x, 1), jnp.argmin(x, 0)), whole(-99, 99, (33, 300))),
    "bits": (lambda x, y: (x ^ y) + (x << 3) - (y >> 2), whole(0, 2**20, (500,), (500,))),
    "divide": (lambda x, y: (x // y, x % y), whole(1, 99, (500,), (500,))),
    "small integers": (lambda x: jnp.cumsum(x, dtype=np.int8), whole(-9, 9, (400,), dtype=np.int8)),
    "any all": (lambda x: (jnp.any(x > 8, 1), jnp.all(x > 0, 0)), whole(0, 10, (40, 50))),
    "sum of integers": (lambda x: jnp.sum(x, 0), whole(-999, 999, (3000, 5), dtype=np.int64)),
    "matmul of integers": (lambda x, y: x @ y, whole(-9, 9, (33, 20), (20, 31))),
    "random bits": (lambda s: random.bits(random.key(s), (1001,)), whole(0, 9, ())),
    "random integers": (lambda s: random.randint(random.key(s), (999,), 0, 77), whole(0, 9, ())),
    "uniform": (lambda s: random.uniform(random.key(s), (1001,)), whole(0, 9, ())),
    "empty": (lambda x: (x + 1, jnp.sum(x)), whole(0, 9, (0, 3))),
    "scalar": (lambda x: x * x + 1, whole(0, 9, ())),
}


def cases() -> Iterator[gpu_check.Case]:
    """All programs; the first is one that any GPU must get right."""
    for name, (program, draw) in FLOATING.items():
        for dtype in ("f32", "f16", "bf16", "f64"):
            yield case(f"program {name} {dtype}", program, draw, dtype)
    for dtype, (draw, functions) in itertools.product(("f32", "f64", "f16"), SCALARS.values()):
        for function in functions:
            name = getattr(function, "__name__", str(function))
            yield case(f"function {name} {dtype}", lambda x, f=function: f(x), draw, dtype)
    for name, (program, draw) in SINGLE.items():
        yield case(f"program {name}", program, draw, "f32")
    for name, (program, draw) in EXACT.items():
        yield case(f"exact {name}", program, draw, "")


def case(name: str, program: Program, draw: Draw, dtype: str) -> gpu_check.Case:
    return gpu_check.Case(name, TOLERANCE.get(dtype, 0.0), lambda: check(program, draw, dtype))


def check(program: Program, draw: Draw, dtype: str) -> dict[str, float]:
    """Errors of a program's results on the GPU; ``dtype`` "": any difference at all is infinite."""
    given = draw(np.random.default_rng(4))
    if dtype:
        given = tuple(x.astype(DTYPES[dtype]) for x in given)
    wide = tuple(x.astype(np.float64) if dtype else x for x in given)
    expected = leaves(tracejit.jit(program, backend="numpy")(*wide))
    arguments = [tracejit.device_put(jnp.asarray(x), "cuda") for x in given]
    compiled = tracejit.jit(program, device="cuda")
    found, again, third = (leaves(compiled(*arguments)) for _ in range(3))
    if len(found) != len(expected):
        raise AssertionError(f"{len(found)} results, not {len(expected)}")
    errors = {}
    for k, exact in enumerate(expected):
        calls = (found[k], again[k], third[k])  # launched one by one, recorded, replayed
        if dtype and calls[0].dtype.kind != "i":
            errors[f"{k}"] = max(gpu_check.error_of(x, exact) for x in calls)
        else:
            same = all(x.shape == exact.shape and np.array_equal(x, exact) for x in calls)
            errors[f"{k}"] = 0.0 if same else math.inf
    return errors


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in tracejit.tree_util.tree_leaves(tree)]
