"""Workloads from neural networks: training steps, convolution, attention, recurrence, embedding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from workload import Arguments, Workload, normal

RATE = 0.1


def torch_step(
    torch: Any, wrap: Any, loss: Callable[..., Any], rate: float = RATE
) -> Callable[..., Any]:
    """(params, *data) -> (loss, params after a step of gradient descent), params a flat list."""
    compiled_loss = wrap(loss)
    update = wrap(
        lambda params, slopes: [p - rate * g for p, g in zip(params, slopes, strict=True)]
    )

    def step(params: Any, *data: Any) -> Any:
        params = [p.requires_grad_() for p in params]
        value = compiled_loss(params, *data)
        slopes = torch.autograd.grad(value, params)
        with torch.no_grad():
            return value, update(params, slopes)

    return step


def array_step(api: Any, loss: Callable[..., Any]) -> Callable[..., Any]:
    """The same in tracejit and JAX."""

    def step(params: Any, *data: Any) -> Any:
        value, slopes = api.value_and_grad(loss)(params, *data)
        return value, [p - RATE * g for p, g in zip(params, slopes, strict=True)]

    return step


# ---- multilayer perceptron -----------------------------------------------------------------------


def mlp_inputs(rng: np.random.Generator) -> Arguments:
    sizes = (784, 512, 512, 10)
    params = []
    for rows, columns in zip(sizes[:-1], sizes[1:], strict=True):
        params.append((rng.standard_normal((rows, columns)) / math.sqrt(rows)).astype(np.float32))
        params.append(np.zeros(columns, np.float32))
    x = rng.standard_normal((128, 784)).astype(np.float32)
    return params, x, rng.integers(0, 10, 128)


def mlp_array(api: Any) -> Callable[..., Any]:
    jnp, nn = api.numpy, api.nn

    def loss(params: Any, x: Any, labels: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = params
        hidden = nn.relu(nn.relu(x @ w1 + b1) @ w2 + b2)
        log_p = nn.log_softmax(hidden @ w3 + b3)
        return -jnp.mean(jnp.sum(log_p * nn.one_hot(labels, 10), axis=1))

    return array_step(api, loss)


def mlp_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    def loss(params: Any, x: Any, labels: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = params
        hidden = torch.relu(torch.addmm(b2, torch.relu(torch.addmm(b1, x, w1)), w2))
        return torch.nn.functional.cross_entropy(torch.addmm(b3, hidden, w3), labels)

    return torch_step(torch, wrap, loss)


# ---- convolution ---------------------------------------------------------------------------------


def conv_array(api: Any) -> Callable[..., Any]:
    def conv(x: Any, w: Any) -> Any:
        return api.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        )

    return conv


def conv_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    return wrap(lambda x, w: torch.nn.functional.conv2d(x, w, padding=1))


def conv_gradient_array(api: Any) -> Callable[..., Any]:
    conv = conv_array(api)
    return api.grad(lambda x, w: api.numpy.sum(api.nn.relu(conv(x, w)) ** 2), argnums=(0, 1))


def conv_gradient_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    def total(x: Any, w: Any) -> Any:
        return torch.relu(torch.nn.functional.conv2d(x, w, padding=1)).square().sum()

    compiled = wrap(total)

    def gradient(x: Any, w: Any) -> Any:
        return torch.autograd.grad(compiled(x.requires_grad_(), w.requires_grad_()), (x, w))

    return gradient


# ---- attention and transformer -------------------------------------------------------------------

BATCH, LENGTH, WIDTH, HEADS = 8, 128, 256, 8


def attention_array(api: Any) -> Callable[..., Any]:
    def attention(q: Any, k: Any, v: Any) -> Any:
        scores = q @ api.numpy.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]))
        return api.nn.softmax(scores, axis=-1) @ v

    return attention


def attention_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    return wrap(torch.nn.functional.scaled_dot_product_attention)


def block_params(rng: np.random.Generator) -> list[np.ndarray]:
    """Of one block: scales and biases of the two norms, and four linear maps."""

    def linear(rows: int, columns: int) -> list[np.ndarray]:
        weight = rng.standard_normal((rows, columns)) / math.sqrt(rows)
        return [weight.astype(np.float32), np.zeros(columns, np.float32)]

    def norm() -> list[np.ndarray]:
        return [np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)]

    attention = [*norm(), *linear(WIDTH, 3 * WIDTH), *linear(WIDTH, WIDTH)]
    return [*attention, *norm(), *linear(WIDTH, 4 * WIDTH), *linear(4 * WIDTH, WIDTH)]


def block_inputs(rng: np.random.Generator) -> Arguments:
    return block_params(rng), rng.standard_normal((BATCH, LENGTH, WIDTH)).astype(np.float32)


def blocks_inputs(rng: np.random.Generator) -> Arguments:
    x = rng.standard_normal((BATCH, LENGTH, WIDTH)).astype(np.float32)
    return [block_params(rng) for _ in range(12)], x


def flat_blocks_inputs(rng: np.random.Generator) -> Arguments:
    layers, x = blocks_inputs(rng)
    return [array for layer in layers for array in layer], x


def block_array(api: Any) -> Callable[..., Any]:
    jnp, nn = api.numpy, api.nn
    attention = attention_array(api)

    def norm(x: Any, scale: Any, bias: Any) -> Any:
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
        return centred / jnp.sqrt(variance + 1e-5) * scale + bias

    def block(params: Any, x: Any) -> Any:
        s1, t1, wi, bi, wo, bo, s2, t2, wu, bu, wd, bd = params
        heads = (norm(x, s1, t1) @ wi + bi).reshape(BATCH, LENGTH, 3, HEADS, WIDTH // HEADS)
        qkv = jnp.transpose(heads, (2, 0, 3, 1, 4))
        mixed = jnp.transpose(attention(qkv[0], qkv[1], qkv[2]), (0, 2, 1, 3))
        x = x + mixed.reshape(BATCH, LENGTH, WIDTH) @ wo + bo
        return x + nn.gelu(norm(x, s2, t2) @ wu + bu) @ wd + bd

    return block


def block_torch(torch: Any) -> Callable[..., Any]:
    functional = torch.nn.functional

    def block(params: Any, x: Any) -> Any:
        s1, t1, wi, bi, wo, bo, s2, t2, wu, bu, wd, bd = params
        heads = functional.layer_norm(x, (WIDTH,), s1, t1) @ wi + bi
        q, k, v = heads.reshape(BATCH, LENGTH, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + mixed.reshape(BATCH, LENGTH, WIDTH) @ wo + bo
        up = functional.layer_norm(x, (WIDTH,), s2, t2) @ wu + bu
        return x + functional.gelu(up, approximate="tanh") @ wd + bd

    return block


def block_step_array(api: Any) -> Callable[..., Any]:
    block = block_array(api)
    return array_step(api, lambda params, x: api.numpy.mean(block(params, x) ** 2))


def block_step_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    block = block_torch(torch)
    return torch_step(torch, wrap, lambda params, x: block(params, x).square().mean())


def blocks_array(api: Any) -> Callable[..., Any]:
    block = block_array(api)

    def forward(layers: Any, x: Any) -> Any:
        for params in layers:
            x = block(params, x)
        return x

    return forward


def blocks_step_array(api: Any) -> Callable[..., Any]:
    forward = blocks_array(api)

    def loss(flat: Any, x: Any) -> Any:
        size = len(flat) // 12
        layers = [flat[k * size : (k + 1) * size] for k in range(12)]
        return api.numpy.mean(forward(layers, x) ** 2)

    return array_step(api, loss)


def blocks_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    block = block_torch(torch)

    def forward(layers: Any, x: Any) -> Any:
        for params in layers:
            x = block(params, x)
        return x

    return wrap(forward)


# ---- recurrence and embedding --------------------------------------------------------------------

STEPS, SEQUENCES, UNITS = 64, 32, 128


def lstm_inputs(rng: np.random.Generator) -> Arguments:
    weights = rng.uniform(-1, 1, (2, 4 * UNITS, UNITS)) / math.sqrt(UNITS)
    x = rng.standard_normal((STEPS, SEQUENCES, UNITS)).astype(np.float32)
    return [*weights.astype(np.float32), np.zeros(4 * UNITS, np.float32)], x


def lstm_array(api: Any) -> Callable[..., Any]:
    jnp, nn = api.numpy, api.nn

    def loss(params: Any, x: Any) -> Any:
        w_input, w_hidden, bias = params

        def step(state: Any, x_t: Any) -> Any:
            hidden, cell = state
            gates = x_t @ w_input.T + hidden @ w_hidden.T + bias
            i, f, g, o = jnp.split(gates, 4, axis=1)
            cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            hidden = nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        zero = jnp.zeros((SEQUENCES, UNITS), jnp.float32)
        return jnp.mean(api.lax.scan(step, (zero, zero), x)[1] ** 2)

    return api.grad(loss)


def lstm_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    zero = torch.zeros(1, SEQUENCES, UNITS)
    no_bias = torch.zeros(4 * UNITS)

    def gradient(params: Any, x: Any) -> Any:
        params = [p.requires_grad_() for p in params]
        found = torch.lstm(x, (zero, zero), [*params, no_bias], True, 1, 0.0, True, False, False)
        return torch.autograd.grad(found[0].square().mean(), params)

    return gradient


def embedding_inputs(rng: np.random.Generator) -> Arguments:
    table = rng.standard_normal((50_000, 64)).astype(np.float32)
    return table, rng.integers(0, 50_000, 8192)


def embedding_array(api: Any) -> Callable[..., Any]:
    return api.grad(lambda table, words: api.numpy.sum(table[words] ** 2))


def embedding_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    total = wrap(lambda table, words: torch.nn.functional.embedding(words, table).square().sum())

    def gradient(table: Any, words: Any) -> Any:
        return torch.autograd.grad(total(table.requires_grad_(), words), table)[0]

    return gradient


IMAGES, FILTERS = (8, 64, 56, 56), (64, 64, 3, 3)
CONV_FLOPS = 2.0 * math.prod(IMAGES) * 64 * 9

WORKLOADS = (
    Workload(
        "mlp_step",
        "MLP training step, 784-512-512-10",
        2,
        mlp_inputs,
        mlp_array,
        mlp_torch,
        rtol=1e-4,
        training=True,
    ),
    Workload(
        "conv",
        "conv 8x64x56x56, 3x3, 64 to 64",
        2,
        normal(IMAGES, FILTERS),
        conv_array,
        conv_torch,
        rtol=1e-4,
        flops=CONV_FLOPS,
    ),
    Workload(
        "conv_gradient",
        "gradient of sum(relu(conv)^2)",
        2,
        normal(IMAGES, FILTERS),
        conv_gradient_array,
        conv_gradient_torch,
        rtol=1e-4,
        flops=3 * CONV_FLOPS,
        training=True,
    ),
    Workload(
        "attention",
        "attention 4x8x256x64",
        3,
        normal(*[(4, 8, 256, 64)] * 3),
        attention_array,
        attention_torch,
        rtol=1e-4,
    ),
    Workload(
        "block_step",
        "transformer block training step",
        3,
        block_inputs,
        block_step_array,
        block_step_torch,
        rtol=1e-4,
        training=True,
    ),
    Workload(
        "blocks_forward",
        "12 transformer blocks forward",
        3,
        blocks_inputs,
        blocks_array,
        blocks_torch,
        rtol=1e-3,
    ),
    Workload(
        "lstm_gradient",
        "LSTM gradient, 64 steps",
        3,
        lstm_inputs,
        lstm_array,
        lstm_torch,
        compiled=False,  # torch's LSTM is one operation
        rtol=1e-4,
        training=True,
    ),
    Workload(
        "embedding_gradient",
        "embedding gradient, 50,000x64",
        3,
        embedding_inputs,
        embedding_array,
        embedding_torch,
        rtol=1e-4,
        training=True,
    ),
)

#: for the stages of its first call: the largest program here
TWELVE_BLOCKS_STEP = Workload(
    "blocks_step",
    "12 transformer blocks training step",
    0,
    flat_blocks_inputs,
    blocks_step_array,
    rtol=1e-3,
)
