"""A small GPT, trained on Python source code: modules of the standard library, as they are here.

Everything is written out: attention blocks, learned positions, weights of the output shared with
the embedding. The optimiser is AdamW with a warm-up and a cosine.
"""

import argparse
import ast
import functools
import inspect
import math
import textwrap

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn, optim, random

CONTEXT, WIDTH, HEADS, LAYERS = 64, 96, 4, 2


def read():
    """Source code as numbers, and the characters they stand for."""
    text = "".join(inspect.getsource(module) for module in (argparse, ast, inspect, textwrap))
    text = text.replace("    ", "\t")
    alphabet = sorted(set(text))
    index = {c: k for k, c in enumerate(alphabet)}
    return np.array([index[c] for c in text], np.int32), alphabet


def init(key, count):
    def normal(*shape, scale=0.02):
        nonlocal key
        key, now = random.split(key)
        return scale * random.normal(now, shape)

    def block():
        return {
            "norm1": jnp.ones(WIDTH),
            "qkv": normal(WIDTH, 3 * WIDTH),
            "mix": normal(WIDTH, WIDTH, scale=0.02 / math.sqrt(2 * LAYERS)),
            "norm2": jnp.ones(WIDTH),
            "up": normal(WIDTH, 4 * WIDTH),
            "down": normal(4 * WIDTH, WIDTH, scale=0.02 / math.sqrt(2 * LAYERS)),
        }

    return {
        "tokens": normal(count, WIDTH),
        "positions": normal(CONTEXT, WIDTH),
        "blocks": [block() for _ in range(LAYERS)],
        "norm": jnp.ones(WIDTH),
    }


def norm(scale, x):
    return scale * nn.standardize(x, epsilon=1e-5)


def attend(params, x):
    batch, time, _ = x.shape
    qkv = (x @ params["qkv"]).reshape(batch, time, 3, HEADS, WIDTH // HEADS)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    mixed = nn.dot_product_attention(q, k, v, is_causal=True)
    return mixed.reshape(batch, time, WIDTH) @ params["mix"]


def gpt(params, tokens):
    """Logits of the next character at each of (batch, time)."""
    x = params["tokens"][tokens] + params["positions"][: tokens.shape[1]]
    for block in params["blocks"]:
        x = x + attend(block, norm(block["norm1"], x))
        x = x + nn.gelu(norm(block["norm2"], x) @ block["up"]) @ block["down"]
    return norm(params["norm"], x) @ params["tokens"].T


def loss(params, tokens):
    logits = gpt(params, tokens[:, :-1])
    return optim.losses.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


@functools.partial(tj.jit, static_argnums=3)
def sample(params, key, prompt, length, temperature=0.5):
    """The prompt (CONTEXT,) moved on by ``length`` characters, which are returned."""

    def body(window, key):
        logits = gpt(params, window[None])[0, -1]
        drawn = random.categorical(key, logits / temperature).astype(window.dtype)
        return jnp.append(window[1:], drawn), drawn

    return lax.scan(body, prompt, random.split(key, length))[1]


def main(small=False):
    batch, steps = (8, 120) if small else (16, 1400)
    text, alphabet = read()
    shares = np.bincount(text) / len(text)
    unigram = float(-np.sum(shares * np.log(shares)))

    rate = optim.warmup_cosine_decay_schedule(0.0, 3e-3, steps // 10, steps, 1e-4)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(rate, weight_decay=0.01))
    params = init(random.key(0), len(alphabet))
    state = optimizer.init(params)

    @functools.partial(tj.jit, donate_argnums=(0, 1))
    def step(params, state, tokens):
        value, slope = tj.value_and_grad(loss)(params, tokens)
        updates, state = optimizer.update(slope, state, params)
        return optim.apply_updates(params, updates), state, value

    rng, losses = np.random.default_rng(0), []
    for k in range(steps):
        starts = rng.integers(0, len(text) - CONTEXT - 1, batch)
        params, state, value = step(params, state, text[starts[:, None] + np.arange(CONTEXT + 1)])
        losses.append(value)
        if k % 200 == 0:
            print(f"step {k}: loss {float(value):.3f}")

    last = float(np.mean([float(value) for value in losses[-20:]]))
    print(f"loss {last:.3f}; frequencies alone: {unigram:.3f}")
    start = text[5000 : 5000 + CONTEXT]
    drawn = sample(params, random.key(1), start, 20 if small else 400)
    shown = "".join(alphabet[k] for k in start) + "|" + "".join(alphabet[k] for k in drawn)
    print(shown.expandtabs(4))
    return {"loss": last, "unigram": unigram}


if __name__ == "__main__":
    main()
