"""Workloads on plain arrays: elementwise, along rows and columns, products, dispatch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from workload import Arguments, Workload, normal

SQUARE = (1000, 1000)


def chain_array(api: Any) -> Callable[..., Any]:
    jnp = api.numpy
    return lambda x: jnp.log1p(jnp.exp(jnp.tanh(x)))


def chain_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    return wrap(lambda x: torch.log1p(torch.exp(torch.tanh(x))))


def options(rng: np.random.Generator) -> Arguments:
    spot, strike = rng.uniform(50, 150, (2, 1_000_000)).astype(np.float32)
    return spot, strike, rng.uniform(0.1, 2, 1_000_000).astype(np.float32)


def price(spot: Any, strike: Any, years: Any, log: Any, exp: Any, sqrt: Any, erf: Any) -> Any:
    """Prices of European calls and puts (Black and Scholes 1973)."""
    rate, volatility = 0.03, 0.2

    def normal_cdf(x: Any) -> Any:
        return 0.5 * (1.0 + erf(x * math.sqrt(0.5)))

    spread = volatility * sqrt(years)
    d1 = (log(spot / strike) + (rate + 0.5 * volatility**2) * years) / spread
    d2 = d1 - spread
    discounted = strike * exp(-rate * years)
    call = spot * normal_cdf(d1) - discounted * normal_cdf(d2)
    put = discounted * normal_cdf(-d2) - spot * normal_cdf(-d1)
    return call, put


def black_scholes_array(api: Any) -> Callable[..., Any]:
    jnp = api.numpy
    return lambda *given: price(*given, jnp.log, jnp.exp, jnp.sqrt, api.lax.erf)


def black_scholes_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    return wrap(lambda *given: price(*given, torch.log, torch.exp, torch.sqrt, torch.erf))


def softmax_array(api: Any) -> Callable[..., Any]:
    jnp = api.numpy

    def softmax(x: Any) -> Any:
        e = jnp.exp(x - jnp.max(x, axis=1, keepdims=True))
        return e / jnp.sum(e, axis=1, keepdims=True)

    return softmax


def softmax_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    return wrap(lambda x: torch.softmax(x, dim=1))


def layer_norm_array(api: Any) -> Callable[..., Any]:
    jnp = api.numpy

    def layer_norm(x: Any, scale: Any, bias: Any) -> Any:
        centred = x - jnp.mean(x, axis=1, keepdims=True)
        variance = jnp.mean(centred * centred, axis=1, keepdims=True)
        return centred / jnp.sqrt(variance + 1e-5) * scale + bias

    return layer_norm


def layer_norm_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    layer_norm = torch.nn.functional.layer_norm
    return wrap(lambda x, scale, bias: layer_norm(x, x.shape[1:], scale, bias))


def gelu_gradient_array(api: Any) -> Callable[..., Any]:
    return api.grad(lambda x: api.numpy.sum(api.nn.gelu(x)))


def gelu_gradient_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    total = wrap(lambda x: torch.nn.functional.gelu(x, approximate="tanh").sum())

    def gradient(x: Any) -> Any:
        return torch.autograd.grad(total(x.requires_grad_()), x)[0]

    return gradient


def small_products_array(api: Any) -> Callable[..., Any]:
    return lambda x, y: api.nn.relu(x @ y)


def small_products_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    return wrap(lambda x, y: torch.relu(x @ y))


def tree_of_30(rng: np.random.Generator) -> Arguments:
    layers = [
        {name: rng.standard_normal(4).astype(np.float32) for name in ("weight", "bias", "scale")}
        for _ in range(10)
    ]
    return (layers,)


def tree_sum(layers: Any) -> Any:
    total = 0.0
    for layer in layers:
        total = total + layer["weight"] + layer["bias"] + layer["scale"]
    return total


def simple(name: str, title: str, array: Any, torch: Any, **more: Any) -> Workload:
    """A workload that is one expression: of (numpy namespace, x...), and of (torch, x...)."""
    return Workload(
        name,
        title,
        array=lambda api: lambda *xs: array(api.numpy, *xs),
        torch=lambda module, wrap: wrap(lambda *xs: torch(module, *xs)),
        **more,
    )


FIRST_FIVE = (
    Workload(
        "chain",
        "log1p(exp(tanh(x))), 1M",
        2,
        normal((1_000_000,)),
        chain_array,
        chain_torch,
        memory_bound=True,
    ),
    Workload(
        "black_scholes",
        "Black-Scholes, 1M",
        3,
        options,
        black_scholes_array,
        black_scholes_torch,
    ),
    Workload(
        "softmax",
        "softmax 1000x1000",
        2,
        normal(SQUARE),
        softmax_array,
        softmax_torch,
        memory_bound=True,
    ),
    Workload(
        "layer_norm",
        "layer norm 1000x1000",
        2,
        normal(SQUARE, (1000,), (1000,)),
        layer_norm_array,
        layer_norm_torch,
        memory_bound=True,
    ),
    Workload(
        "gelu_gradient",
        "gradient of gelu, 1000x1000",
        3,
        normal(SQUARE),
        gelu_gradient_array,
        gelu_gradient_torch,
        memory_bound=True,
    ),
)

REDUCTIONS = (
    simple(
        "sum_all",
        "sum, 1000x1000",
        lambda jnp, x: jnp.sum(x),
        lambda torch, x: x.sum(),
        issue=3,
        inputs=normal(SQUARE),
        rtol=1e-3,  # of a sum near 0
        memory_bound=True,
    ),
    simple(
        "sum_axis0",
        "sum over axis 0, 1000x1000",
        lambda jnp, x: jnp.sum(x, axis=0),
        lambda torch, x: x.sum(0),
        issue=2,
        inputs=normal(SQUARE),
        memory_bound=True,
    ),
    simple(
        "sum_axis1",
        "sum over axis 1, 1000x1000",
        lambda jnp, x: jnp.sum(x, axis=1),
        lambda torch, x: x.sum(1),
        issue=2,
        inputs=normal(SQUARE),
        memory_bound=True,
    ),
)

LAYOUT = (
    simple(
        "transpose_add",
        "x + y.T, 1000x1000",
        lambda jnp, x, y: x + y.T,
        lambda torch, x, y: x + y.T,
        issue=3,
        inputs=normal(SQUARE, SQUARE),
        memory_bound=True,
    ),
    simple(
        "cumsum_rows",
        "cumsum along rows, 1000x1000",
        lambda jnp, x: jnp.cumsum(x, axis=1),
        lambda torch, x: x.cumsum(1),
        issue=3,
        inputs=normal(SQUARE),
        memory_bound=True,
    ),
    simple(
        "sort_rows",
        "sort along rows, 1000x1000",
        lambda jnp, x: jnp.sort(x, axis=1),
        lambda torch, x: torch.sort(x, dim=1).values,
        issue=3,
        inputs=normal(SQUARE),
    ),
)

PRODUCTS = (
    simple(
        "matmul",
        "matmul 1000",
        lambda jnp, x, y: x @ y,
        lambda torch, x, y: x @ y,
        issue=3,
        inputs=normal(SQUARE, SQUARE),
        flops=2e9,
    ),
    Workload(
        "small_products",
        "512 products 16x16, relu",
        3,
        normal((512, 16, 16), (512, 16, 16)),
        small_products_array,
        small_products_torch,
    ),
)

DISPATCH = (
    simple(
        "dispatch",
        "x + 1, 4 elements",
        lambda jnp, x: x + 1,
        lambda torch, x: x + 1,
        issue=2,
        inputs=normal((4,)),
    ),
    Workload(
        "dispatch_tree",
        "sum of 30 leaves of 4 elements",
        3,
        tree_of_30,
        lambda api: tree_sum,
        lambda torch, wrap: wrap(tree_sum),
    ),
)

#: a call between the two above; only ``micro.py`` times it
FOUR_ARGUMENTS = simple(
    "dispatch_four",
    "a + b + c + d, 4 elements",
    lambda jnp, a, b, c, d: a + b + c + d,
    lambda torch, a, b, c, d: a + b + c + d,
    issue=0,
    inputs=normal((4,), (4,), (4,), (4,)),
)

FLOAT64 = tuple(workload.in_float64() for workload in FIRST_FIVE)

#: what a worker calls before anything is timed: lazy imports are not compile time
WARM_UP = simple(
    "warm_up",
    "x * 2, 3 elements",
    lambda jnp, x: x * 2,
    lambda torch, x: x * 2,
    issue=0,
    inputs=normal((3,)),
)
