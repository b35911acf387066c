"""Small programs, each with the arguments it is tried on: what compiled code must get right.

for name, (function, arguments) in PROGRAMS.items(): ...
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn, random

PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
SIZES = (1, 2, 3, 15, 16, 17, 31, 33, 1000)


def draw(*shape: int, dtype: Any = "float32", seed: int = 0) -> np.ndarray:
    """Numbers between -2 and 2 (0 and 9 for integers)."""
    rng = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0, 10, shape).astype(dtype)
    if np.dtype(dtype) == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    drawn = rng.uniform(-2, 2, shape)
    return (
        drawn + 1j * rng.uniform(-2, 2, shape) if np.dtype(dtype).kind == "c" else drawn
    ).astype(dtype)


def program(*args: Any, name: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function in the table, with its arguments."""

    def put(function: Callable[..., Any]) -> Callable[..., Any]:
        title = name or function.__name__
        assert title not in PROGRAMS, title
        PROGRAMS[title] = (function, args)
        return function

    return put


# ---- elements ------------------------------------------------------------------------------------

for n in SIZES:
    program(draw(n), draw(n, seed=1), name=f"chain-{n}")(
        lambda x, y: jnp.tanh(x * y + 1) - jnp.exp(-x * x) / (1 + jnp.abs(y))
    )
    program(draw(n, 17), name=f"softmax-{n}")(lambda x: nn.softmax(x, axis=1))
    program(draw(5, n), name=f"softmax_gradient-{n}")(
        tj.grad(lambda x: jnp.sum(nn.log_softmax(x, axis=1) ** 2))
    )
    program(draw(n, n), name=f"columns-{n}")(
        lambda x: (jnp.sum(x, axis=0), jnp.mean(x * x, axis=1))
    )
    program(draw(n, 3), draw(3, n, seed=2), name=f"product-{n}")(lambda x, y: jnp.tanh(x @ y) + 1)

for dtype in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
    x, y = draw(33, dtype=dtype), draw(33, dtype=dtype, seed=1)
    program(x, y, name=f"logic-{dtype}")(
        lambda x, y: ((x & y) | ~x, x == y, jnp.where(x > y, x, y))
    )
    program(x, y, name=f"integers-{dtype}")(
        lambda x, y: (
            x + y,
            x * y,
            x // (y + 1),
            x % (y + 1),
            jnp.sum(x),
            jnp.max(x),
            jnp.prod(y[:3]),
        )
    )
for dtype in ("float16", ml_dtypes.bfloat16, "float32", "float64", "complex64", "complex128"):
    x, y = draw(4, 33, dtype=dtype), draw(4, 33, dtype=dtype, seed=1)
    label = np.dtype(dtype).name
    program(x, y, name=f"floats-{label}")(lambda x, y: (x * y + x / (y * y + 3), jnp.exp(x), -x))
    program(x, y, name=f"sums-{label}")(
        lambda x, y: (jnp.sum(x * y, axis=1), jnp.mean(x, axis=0), x @ y.T)
    )
    for other in ("int32", "float64", "float32", "bool", "float16"):
        if np.dtype(dtype).kind != "c":
            program(x, name=f"convert-{label}-{other}")(lambda x, to=other: (x * 3).astype(to))


@program(draw(7, 9), draw(9, seed=1), draw(7, 1, seed=2), np.float32(0.5))
def broadcasts(x, y, z, s):
    return x + y * z - s, y[None, :, None] * z[:, 0], jnp.broadcast_to(y, (3, 2, 9)) + s


@program(draw(5, 40), draw(40), draw(40, seed=1))
def layer_norm(x, scale, shift):
    mean = jnp.mean(x, axis=-1, keepdims=True)
    var = jnp.var(x, axis=-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * scale + shift


program(draw(5, 40), draw(40), draw(40, seed=1), name="layer_norm_gradient")(
    tj.grad(lambda *args: jnp.sum(jnp.tanh(layer_norm(*args))), argnums=(0, 1, 2))
)


@program(draw(6, 10), draw(10, 8, seed=1), draw(8, 3, seed=2))
def network(x, w, v):
    return tj.value_and_grad(lambda w, v: jnp.mean((jnp.tanh(x @ w) @ v) ** 2), argnums=(0, 1))(
        w, v
    )


# ---- reductions ----------------------------------------------------------------------------------

for axes in itertools.chain.from_iterable(itertools.combinations(range(3), k) for k in range(4)):
    letters = "".join(map(str, axes)) or "none"
    program(draw(3, 17, 5), name=f"reduce-{letters}")(
        lambda x, axes=axes: (
            jnp.sum(x, axis=axes),
            jnp.max(x * 2, axis=axes),
            jnp.min(x, axis=axes, keepdims=True),
        )
    )
    program(draw(3, 17, 5, dtype="int32"), name=f"reduce_integers-{letters}")(
        lambda x, axes=axes: (
            jnp.sum(x, axis=axes),
            jnp.any(x > 8, axis=axes),
            jnp.all(x > 0, axis=axes),
        )
    )
    program(draw(3, 17, 5), name=f"normalise-{letters}")(
        lambda x, axes=axes: (
            (x - jnp.mean(x, axis=axes, keepdims=True)) / jnp.std(x, axis=axes, keepdims=True)
            if axes
            else x
        )
    )


@program(np.round(draw(9, 21)))
def arguments(x):
    return jnp.argmax(x, axis=1), jnp.argmin(x, axis=0), jnp.argmax(x)


@program(draw(4, 21))
def logsumexp(x):
    return nn.logsumexp(x, axis=1), tj.grad(lambda x: jnp.sum(nn.logsumexp(x, axis=0)))(x)


@program(draw(3, 0, 4), draw(0, 5))
def empties(x, y):
    return (
        jnp.sum(x, axis=1),
        x * 2,
        jnp.sum(y),
        y.T @ y,
        jnp.concatenate([x, x], 1),
        jnp.all(y > 0),
    )


@program(np.float32(2), np.float64(3.0), np.int32(4))
def scalars(x, y, n):
    return jnp.sin(x) * 2, y * x, n + 1, jnp.zeros(()), x


@program(draw(1, 1), draw(1))
def ones(x, y):
    return (
        jnp.sum(x, axis=0),
        jnp.max(x),
        x * y,
        x.reshape(()),
        jnp.exp(x - jnp.max(x, axis=1, keepdims=True)),
    )


# ---- layout --------------------------------------------------------------------------------------


@program(draw(4, 6, 5))
def layouts(x):
    return (
        jnp.transpose(x, (2, 0, 1)) * 2,
        x[1:3, ::2, 4],
        jnp.flip(x, 1) + x,
        jnp.reshape(jnp.transpose(x), (10, 12)),
        jnp.swapaxes(x, 0, 2).reshape(-1)[5:60:7],
    )


@program(draw(4, 6))
def pads(x):
    zero = jnp.float32(0.5)
    return (
        jnp.pad(x, ((1, 2), (0, 3))),
        lax.pad(x, zero, ((1, 0, 2), (-1, 2, 0))),
        jnp.pad(x, 1, mode="edge"),
        jnp.roll(x, 2, axis=1),
    )


@program(draw(4, 6), draw(2, 6, seed=1))
def joins(x, y):
    return (
        jnp.concatenate([x, y * 2, x[:0]]),
        jnp.stack([x, x + 1], axis=1),
        jnp.concatenate([x, x.T[:, :4].reshape(4, 6)], 1),
    )


@program(draw(9, 5), np.array([[0, 8], [3, 3]]), np.array([-2, 20, 4]))
def gathers(x, inside, any):
    return (
        x[inside],
        x[inside, 2],
        jnp.take(x, any, axis=0, mode="clip"),
        jnp.take(x, any, axis=0, mode="fill"),
        jnp.take(x, any, axis=0, mode="wrap"),
        jnp.take_along_axis(x, inside[:, :1].repeat(5, 1), axis=0),
    )


@program(draw(9, 5), np.array([0, 8, 3, 3]), draw(4, 5, seed=1), np.int32(2))
def updates(x, index, rows, k):
    return (
        x.at[index].add(rows),
        x.at[2, 1].set(7.0),
        lax.dynamic_slice(x, (k, 1), (3, 2)),
        lax.dynamic_update_slice(x, rows, (k * 4, 0)),
        tj.grad(lambda x: jnp.sum(x[index] ** 2))(x),
    )


# ---- products ------------------------------------------------------------------------------------

DOTS = {
    "nn": ((3, 4), (4, 5), ((1,), (0,)), ((), ())),
    "nt": ((33, 40), (17, 40), ((1,), (1,)), ((), ())),
    "tn": ((40, 33), (40, 17), ((0,), (0,)), ((), ())),
    "tt": ((40, 33), (17, 40), ((0,), (1,)), ((), ())),
    "batched": ((6, 20, 30), (6, 30, 10), ((2,), (1,)), ((0,), (0,))),
    "batch_last": ((20, 30, 6), (30, 10, 6), ((1,), (0,)), ((2,), (2,))),
    "two_batches": ((2, 3, 4, 5), (2, 3, 5, 6), ((3,), (2,)), ((0, 1), (0, 1))),
    "two_contracted": ((4, 5, 6), (5, 4, 7), ((0, 1), (1, 0)), ((), ())),
    "vector": ((50,), (50,), ((0,), (0,)), ((), ())),
    "matrix_vector": ((33, 64), (64,), ((1,), (0,)), ((), ())),
    "outer": ((7,), (9,), ((), ()), ((), ())),
    "nothing_contracted": ((7, 0), (0, 9), ((1,), (0,)), ((), ())),
    "empty": ((0, 4), (4, 5), ((1,), (0,)), ((), ())),
    "large": ((130, 129), (129, 131), ((1,), (0,)), ((), ())),
}
for label, (a, b, contract, batch) in DOTS.items():
    for dtype in (
        ("float32", "float64", "float16", "int32") if label in ("nt", "batched") else ("float32",)
    ):
        program(draw(*a, dtype=dtype), draw(*b, dtype=dtype, seed=1), name=f"dot-{label}-{dtype}")(
            lambda x, y, dims=(contract, batch): lax.dot_general(x, y, dims) + 1
        )
program(draw(3, 4, dtype="complex64"), draw(4, 5, dtype="complex64"), name="dot-complex")(
    lambda x, y: x @ y
)


def convolution(x: Any, w: Any, stride: int, padding: str) -> Any:
    return lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


for stride, padding in ((1, "SAME"), (2, "VALID"), (2, "SAME")):
    images, weights = draw(2, 9, 8, 3), draw(3, 3, 3, 17, seed=1)
    program(images, weights, name=f"conv-{padding}-{stride}")(
        lambda x, w, s=stride, p=padding: jnp.maximum(convolution(x, w, s, p), 0)
    )
    program(images, weights, name=f"conv_gradient-{padding}-{stride}")(
        tj.grad(
            lambda x, w, s=stride, p=padding: jnp.sum(convolution(x, w, s, p) ** 2), argnums=(0, 1)
        )
    )


# ---- control flow --------------------------------------------------------------------------------


@program(draw(4), draw(6, 4, seed=1), draw(4, 4, seed=2))
def recurrence(h, xs, w):
    def step(h, x):
        h = jnp.tanh(h @ w + x)
        return h, (h * 2, jnp.sum(h))

    return lax.scan(step, h, xs), lax.scan(step, h, xs, reverse=True)


program(draw(4), draw(6, 4, seed=1), draw(4, 4, seed=2), name="recurrence_gradient")(
    tj.grad(lambda h, xs, w: jnp.sum(recurrence(h, xs, w)[0][1][0]), argnums=(0, 1, 2))
)


@program(draw(3), draw(3, seed=1))
def exchanged(a, b):
    # carries that trade places, are handed on, or become constants
    return lax.scan(
        lambda c, _: ((c[1], c[0], c[2], c[2] * 0 + 1), c[3]), (a, b, a, b), None, length=5
    )


@program(draw(5), np.int32(7))
def loops(x, n):
    return (
        lax.fori_loop(0, n, lambda i, y: y * 0.9 + jnp.float32(i), x),
        lax.while_loop(
            lambda c: jnp.sum(c[0] * c[0]) > 0.1, lambda c: (c[0] * 0.5, c[1] + 1), (x, 0)
        ),
        lax.fori_loop(0, 0, lambda i, y: y + 1, x),
    )


@program(draw(5), np.int32(1), np.int32(-3), np.int32(9))
def branches(x, k, low, high):
    choices = [lambda x: x * 2, lambda x: jnp.cumsum(x), lambda x: jnp.zeros(5, jnp.float32)]
    return (
        lax.switch(k, choices, x),
        lax.switch(low, choices, x),
        lax.switch(high, choices, x),
        lax.cond(x[0] > 5, lambda x: x, lambda x: (x @ x) * x, x),
    )


@program(draw(4, 4))
def nested(x):
    def outer(c, k):
        inner = lax.fori_loop(
            0, 3, lambda i, y: lax.cond(i == k, lambda y: y @ y * 0.1, lambda y: y + i, y), c
        )
        return inner, jnp.sum(
            lax.while_loop(lambda y: y[0, 0] < 3, lambda y: y + jnp.abs(y) + 0.5, inner)
        )

    return lax.scan(outer, x, jnp.arange(4))


# ---- random numbers, host calls ------------------------------------------------------------------


@program(np.array([1, 2], np.uint32), draw(33))
def randoms(key, x):
    a, b = random.split(random.wrap_key_data(key))
    return (
        random.normal(a, (33,)) * x,
        random.bernoulli(b, 0.5, (7, 3)),
        random.bits(a, (5,)),
        nn.dropout(b, x, 0.5),
    )


@program(np.round(draw(6, 9)))
def sorts(x):
    return (
        jnp.sort(x, axis=0) * 2,
        jnp.argsort(x, axis=1),
        lax.top_k(x + 1, 3),
        jnp.cumsum(x, axis=1),
        jnp.cumprod(x[0]),
    )


@program(draw(5, dtype="complex64"))
def complexes(z):
    return (
        jnp.abs(z),
        z.real * 2,
        jnp.conj(z) * z,
        jnp.exp(z),
        tj.grad(lambda x: jnp.abs(x * (1 + 2j)) ** 2)(3.0),
    )


# ---- results -------------------------------------------------------------------------------------


@program(draw(5), draw(2, 3, seed=1))
def odd_results(x, y):
    z = x + 1
    return (
        x,
        x,
        3.0,
        z,
        z,
        jnp.zeros((2, 2)),
        y.reshape(3, 2),
        jnp.arange(4),
        jnp.array([1, 2, 3]),
        z.reshape(1, 5),
    )


@program(draw(8, 20))
def shared_expensive(x):
    # read by many: computed once, though fusion would like it in each of them
    y = jnp.exp(jnp.sin(jnp.tanh(jnp.log1p(jnp.abs(x)))))
    return [jnp.sum(y * k, axis=k % 2) for k in range(6)], y[::-1] + y, y.T @ y


@program(draw(3, 5))
def deep(x):
    for k in range(300):
        x = jnp.sin(x.reshape((5, 3) if k % 2 == 0 else (3, 5))) * 1.1 + 0.1
    return x
