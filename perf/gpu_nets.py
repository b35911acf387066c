"""Workloads for GPUs from neural networks, and products in half precision.

Transformers take their sizes from their arguments, so that small ones run the same source. In the
GPT-style step parameters are float32 and products bfloat16; on float64 parameters, the reference,
everything is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gpu_workload import TOLERANCE, GpuWorkload, drawn, numbers, weights
from workload import Arguments
from workloads_nets import torch_step

Draw = Callable[[np.random.Generator], Arguments]
LAYERS_RATE, RESIDUAL_RATE, GPT_RATE, ENCODER_RATE = 0.03, 0.1, 100.0, 100.0


def own(
    name: str, title: str, inputs: Draw, tiny: Draw, array: Any, torch: Any, **more: Any
) -> Any:
    """A workload that only the GPU's table has."""
    more.setdefault("rtol", TOLERANCE[more.get("dtype", "f32")])
    more.setdefault("group", "nets")
    return GpuWorkload(name, title, 4, inputs, array, torch, tiny=tiny, **more)


# ---- training steps ------------------------------------------------------------------------------


def array_step(api: Any, loss: Callable[..., Any], rate: float) -> Callable[..., Any]:
    """(params, *data) -> (loss, params after a step of gradient descent), params a flat list. Rates
    are such that a step changes parameters about as much as they are large, so that the comparison
    of results sees every gradient.
    """

    def step(params: Any, *data: Any) -> Any:
        value, slopes = api.value_and_grad(loss)(params, *data)
        return value, [p - rate * g for p, g in zip(params, slopes, strict=True)]

    return step


# ---- products ------------------------------------------------------------------------------------


def matmul_array(api: Any) -> Callable[..., Any]:
    return lambda x, y: x @ y


def matmul_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    return wrap(lambda x, y: x @ y)


def layers(batch: int, width: int, count: int) -> Draw:
    """An input, and weight and bias of each of ``count`` layers."""

    def inputs(rng: np.random.Generator) -> Arguments:
        params = [
            array
            for _ in range(count)
            for array in (weights(rng, width, width), numbers(rng, (width,)))
        ]
        return params, numbers(rng, (batch, width))

    return inputs


def layers_array(api: Any) -> Callable[..., Any]:
    def forward(params: Any, x: Any) -> Any:
        for weight, bias in zip(params[::2], params[1::2], strict=True):
            x = api.nn.gelu(x @ weight + bias)
        return x

    return forward


def layers_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    def forward(params: Any, x: Any) -> Any:
        for weight, bias in zip(params[::2], params[1::2], strict=True):
            x = torch.nn.functional.gelu(torch.addmm(bias, x, weight), approximate="tanh")
        return x

    return wrap(forward)


def layers_step_array(api: Any) -> Callable[..., Any]:
    forward, jnp = layers_array(api), api.numpy

    def loss(params: Any, x: Any) -> Any:  # of a size whose gradients float16 can hold
        return jnp.sum(forward(params, x).astype(wide(jnp, x)) ** 2) / len(x)

    return array_step(api, loss, LAYERS_RATE)


def layers_step_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    forward = layers_torch(torch, lambda function: function)

    def loss(params: Any, x: Any) -> Any:
        total = forward(params, x)
        return (total if total.dtype == torch.float64 else total.float()).square().sum() / len(x)

    return torch_step(torch, wrap, loss, LAYERS_RATE)


def wide(jnp: Any, x: Any) -> Any:
    """What sums over numbers like ``x`` are made in."""
    return x.dtype if x.dtype == jnp.float64 else jnp.float32


def half(jnp: Any, x: Any) -> Any:
    """What products of float32 parameters like ``x`` are made of: bfloat16; float64 stays."""
    return x.dtype if x.dtype == jnp.float64 else jnp.bfloat16


# ---- convolutions --------------------------------------------------------------------------------


def images(batch: int, channels: int, size: int, filters: int = 2) -> Draw:
    """Images [N, H, W, C], and ``filters`` sets of 3x3 filters [C, 3, 3, C], scales and biases."""

    def inputs(rng: np.random.Generator) -> Arguments:
        params = []
        for _ in range(filters):
            fan = channels * 9
            params.append(weights(rng, fan, channels).reshape(channels, 3, 3, channels))
            params.append(1 + numbers(rng, (channels,), 0.1))
            params.append(numbers(rng, (channels,), 0.1))
        return params, numbers(rng, (batch, size, size, channels))

    return inputs


def residual_array(api: Any) -> Callable[..., Any]:
    """A step of a residual block, relu(x + norm(conv(relu(norm(conv(x)))))), trained on sum(y^2);
    norms are over the batch (Ioffe and Szegedy 2015).
    """
    jnp, nn = api.numpy, api.nn

    def conv(x: Any, w: Any) -> Any:
        numbers = ("NHWC", "OHWI", "NHWC")
        return api.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)

    def norm(x: Any, scale: Any, bias: Any) -> Any:
        y = x.astype(wide(jnp, x))
        mean = jnp.mean(y, axis=(0, 1, 2))
        variance = jnp.mean((y - mean) ** 2, axis=(0, 1, 2))
        return ((y - mean) / jnp.sqrt(variance + 1e-5) * scale + bias).astype(x.dtype)

    def loss(params: Any, x: Any) -> Any:
        w1, s1, b1, w2, s2, b2 = params
        y = nn.relu(norm(conv(x, w1), s1, b1))
        y = nn.relu(x + norm(conv(y, w2), s2, b2))
        return jnp.sum(y.astype(wide(jnp, y)) ** 2) / (len(y) * y.shape[1])

    return array_step(api, loss, RESIDUAL_RATE)


def residual_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    functional = torch.nn.functional

    def conv(x: Any, w: Any) -> Any:  # both are in the memory format "channels last"
        return functional.conv2d(x, w.permute(0, 3, 1, 2), padding=1)

    def norm(x: Any, scale: Any, bias: Any) -> Any:
        return functional.batch_norm(x, None, None, scale, bias, training=True)

    def loss(params: Any, x: Any) -> Any:
        w1, s1, b1, w2, s2, b2 = params
        x = x.permute(0, 3, 1, 2)
        y = torch.relu(norm(conv(x, w1), s1, b1))
        y = torch.relu(x + norm(conv(y, w2), s2, b2))
        total = (y if y.dtype == torch.float64 else y.float()).square().sum()
        return total / (len(y) * y.shape[2])

    return torch_step(torch, wrap, loss, RESIDUAL_RATE)


# ---- attention -----------------------------------------------------------------------------------


def heads(batch: int, length: int, count: int, width: int) -> Draw:
    return drawn(*[(batch, length, count, width)] * 3)


def flash(api: Any) -> str | None:
    """How to ask JAX for cuDNN's attention, where there is a GPU; tracejit chooses by itself."""
    on_gpu = getattr(api, "default_backend", lambda: "")() == "gpu"
    return "cudnn" if on_gpu else None


def attention_array(causal: bool) -> Callable[[Any], Callable[..., Any]]:
    def make(api: Any) -> Callable[..., Any]:
        how = flash(api)

        def attention(q: Any, k: Any, v: Any) -> Any:
            return api.nn.dot_product_attention(q, k, v, is_causal=causal, implementation=how)

        return attention

    return make


def attention_torch(causal: bool) -> Callable[[Any, Any], Callable[..., Any]]:
    def make(torch: Any, wrap: Any) -> Callable[..., Any]:
        return wrap(lambda q, k, v: attend(torch, q, k, v, causal))

    return make


def attend(torch: Any, q: Any, k: Any, v: Any, causal: bool) -> Any:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    found = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return found.transpose(1, 2)


def attention_gradient_array(causal: bool) -> Callable[[Any], Callable[..., Any]]:
    def make(api: Any) -> Callable[..., Any]:
        forward, jnp = attention_array(causal)(api), api.numpy

        def total(q: Any, k: Any, v: Any) -> Any:
            return jnp.sum(forward(q, k, v).astype(wide(jnp, q)) ** 2)

        return api.grad(total, argnums=(0, 1, 2))

    return make


def attention_gradient_torch(causal: bool) -> Callable[[Any, Any], Callable[..., Any]]:
    def make(torch: Any, wrap: Any) -> Callable[..., Any]:
        def total(q: Any, k: Any, v: Any) -> Any:
            found = attend(torch, q, k, v, causal)
            return (found if found.dtype == torch.float64 else found.float()).square().sum()

        compiled = wrap(total)

        def gradient(*given: Any) -> Any:
            given = tuple(x.requires_grad_() for x in given)
            return torch.autograd.grad(compiled(*given), given)

        return gradient

    return make


# ---- transformers --------------------------------------------------------------------------------


def block(rng: np.random.Generator, width: int) -> list[np.ndarray]:
    """Of one block: scale and bias of two norms, and four linear maps."""
    norm = [np.ones(width, np.float32), np.zeros(width, np.float32)]

    def linear(rows: int, columns: int) -> list[np.ndarray]:
        return [weights(rng, rows, columns), np.zeros(columns, np.float32)]

    attention = [*norm, *linear(width, 3 * width), *linear(width, width)]
    return [*attention, *norm, *linear(width, 4 * width), *linear(4 * width, width)]


PER_BLOCK = 12


def gpt(blocks: int, width: int, vocabulary: int, batch: int, length: int) -> Draw:
    """Parameters (a flat list: embedding, positions, last norm, blocks), words and next words."""

    def inputs(rng: np.random.Generator) -> Arguments:
        params = [weights(rng, width, vocabulary).T.copy(), numbers(rng, (length, width), 0.1)]
        params += [np.ones(width, np.float32), np.zeros(width, np.float32)]
        for _ in range(blocks):
            params += block(rng, width)
        found = rng.integers(0, vocabulary, (2, batch, length))
        return params, found[0], found[1]

    return inputs


def norm_array(api: Any) -> Callable[..., Any]:
    jnp = api.numpy

    def norm(x: Any, scale: Any, bias: Any) -> Any:
        y = x.astype(wide(jnp, x))
        mean = jnp.mean(y, axis=-1, keepdims=True)
        variance = jnp.mean((y - mean) ** 2, axis=-1, keepdims=True)
        return ((y - mean) / jnp.sqrt(variance + 1e-5) * scale + bias).astype(x.dtype)

    return norm


def gpt_array(head_width: int) -> Callable[[Any], Callable[..., Any]]:
    """The training step of a decoder (Radford et al. 2019) with tied embeddings."""

    def make(api: Any) -> Callable[..., Any]:
        jnp, nn = api.numpy, api.nn
        norm, attention = norm_array(api), attention_array(True)(api)

        def decoder(params: Any, x: Any) -> Any:
            batch, length, width = x.shape
            s1, t1, wi, bi, wo, bo, s2, t2, wu, bu, wd, bd = (p.astype(x.dtype) for p in params)
            parts = (norm(x, s1, t1) @ wi + bi).reshape(batch, length, 3, -1, head_width)
            mixed = attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
            x = x + mixed.reshape(batch, length, width) @ wo + bo
            return x + nn.gelu(norm(x, s2, t2) @ wu + bu) @ wd + bd

        def loss(params: Any, words: Any, following: Any) -> Any:
            table, places, scale, bias, *blocks = params
            kind = half(jnp, table)
            x = (table[words] + places).astype(kind)
            for k in range(0, len(blocks), PER_BLOCK):
                x = decoder(blocks[k : k + PER_BLOCK], x)
            logits = norm(x, scale, bias) @ table.astype(kind).T
            log_p = nn.log_softmax(logits.astype(wide(jnp, table)))
            return -jnp.mean(jnp.take_along_axis(log_p, following[..., None], axis=-1))

        return array_step(api, loss, GPT_RATE)

    return make


def gpt_torch(head_width: int) -> Callable[[Any, Any], Callable[..., Any]]:
    def make(torch: Any, wrap: Any) -> Callable[..., Any]:
        functional = torch.nn.functional

        def decoder(params: Any, x: Any) -> Any:
            batch, length, width = x.shape
            s1, t1, wi, bi, wo, bo, s2, t2, wu, bu, wd, bd = (p.to(x.dtype) for p in params)
            parts = functional.layer_norm(x, (width,), s1, t1) @ wi + bi
            q, k, v = parts.reshape(batch, length, 3, -1, head_width).unbind(2)
            x = x + attend(torch, q, k, v, True).reshape(batch, length, width) @ wo + bo
            up = functional.layer_norm(x, (width,), s2, t2) @ wu + bu
            return x + functional.gelu(up, approximate="tanh") @ wd + bd

        def loss(params: Any, words: Any, following: Any) -> Any:
            table, places, scale, bias, *blocks = params
            exact = table.dtype == torch.float64
            kind = torch.float64 if exact else torch.bfloat16
            x = (functional.embedding(words, table) + places).to(kind)
            for k in range(0, len(blocks), PER_BLOCK):
                x = decoder(blocks[k : k + PER_BLOCK], x)
            x = functional.layer_norm(x, x.shape[-1:], scale.to(kind), bias.to(kind))
            logits = x @ table.to(kind).T
            logits = logits if exact else logits.float()
            return functional.cross_entropy(logits.flatten(0, 1), following.flatten())

        return torch_step(torch, wrap, loss, GPT_RATE)

    return make


def encoder_array(head_width: int) -> Callable[[Any], Callable[..., Any]]:
    """Blocks with attention to all positions, in float32, attention written out."""

    def make(api: Any) -> Callable[..., Any]:
        jnp, nn = api.numpy, api.nn
        norm = norm_array(api)

        def encoder(params: Any, x: Any) -> Any:
            batch, length, width = x.shape
            s1, t1, wi, bi, wo, bo, s2, t2, wu, bu, wd, bd = params
            parts = (norm(x, s1, t1) @ wi + bi).reshape(batch, length, 3, -1, head_width)
            q, k, v = jnp.transpose(parts, (2, 0, 3, 1, 4))
            scores = q @ jnp.swapaxes(k, -1, -2) * (1 / math.sqrt(head_width))
            mixed = jnp.transpose(nn.softmax(scores, axis=-1) @ v, (0, 2, 1, 3))
            x = x + mixed.reshape(batch, length, width) @ wo + bo
            return x + nn.gelu(norm(x, s2, t2) @ wu + bu) @ wd + bd

        def forward(params: Any, x: Any) -> Any:
            for k in range(0, len(params), PER_BLOCK):
                x = encoder(params[k : k + PER_BLOCK], x)
            return x

        return forward

    return make


def encoder_torch(head_width: int) -> Callable[[Any, Any], Callable[..., Any]]:
    def make(torch: Any, wrap: Any) -> Callable[..., Any]:
        functional = torch.nn.functional

        def encoder(params: Any, x: Any) -> Any:
            batch, length, width = x.shape
            s1, t1, wi, bi, wo, bo, s2, t2, wu, bu, wd, bd = params
            parts = functional.layer_norm(x, (width,), s1, t1) @ wi + bi
            q, k, v = parts.reshape(batch, length, 3, -1, head_width).unbind(2)
            x = x + attend(torch, q, k, v, False).reshape(batch, length, width) @ wo + bo
            up = functional.layer_norm(x, (width,), s2, t2) @ wu + bu
            return x + functional.gelu(up, approximate="tanh") @ wd + bd

        def forward(params: Any, x: Any) -> Any:
            for k in range(0, len(params), PER_BLOCK):
                x = encoder(params[k : k + PER_BLOCK], x)
            return x

        return wrap(forward)

    return make


def encoder_step_array(api: Any) -> Callable[..., Any]:
    forward = encoder_array(32)(api)
    loss = lambda params, x: api.numpy.mean(forward(params, x) ** 2)  # noqa: E731
    return array_step(api, loss, ENCODER_RATE)


def encoder_step_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    forward = encoder_torch(32)(torch, lambda function: function)
    loss = lambda params, x: forward(params, x).square().mean()  # noqa: E731
    return torch_step(torch, wrap, loss, ENCODER_RATE)


def encoder_inputs(blocks: int, width: int, batch: int, length: int) -> Draw:
    def inputs(rng: np.random.Generator) -> Arguments:
        params = [array for _ in range(blocks) for array in block(rng, width)]
        return params, numbers(rng, (batch, length, width))

    return inputs


# ---- recurrence ----------------------------------------------------------------------------------


def lstm_inputs(steps: int, sequences: int, units: int) -> Draw:
    def inputs(rng: np.random.Generator) -> Arguments:
        found = rng.uniform(-1, 1, (2, 4 * units, units)) / math.sqrt(units)
        bias = np.zeros(4 * units, np.float32)
        return [*found.astype(np.float32), bias], numbers(rng, (steps, sequences, units))

    return inputs


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

        zero = jnp.zeros_like(x[0])
        return jnp.mean(api.lax.scan(step, (zero, zero), x)[1] ** 2)

    return api.grad(loss)


def lstm_torch(torch: Any, wrap: Any) -> Callable[..., Any]:
    def gradient(params: Any, x: Any) -> Any:
        params = [p.requires_grad_() for p in params]
        zero, none = torch.zeros_like(x[:1]), torch.zeros_like(params[2])
        found = torch.lstm(x, (zero, zero), [*params, none], True, 1, 0.0, True, False, False)
        return torch.autograd.grad(found[0].square().mean(), params)

    return gradient
