"""A character LSTM, trained on Python's own documentation: the texts that ``help()`` shows.

``nn.lstm`` runs a whole batch of sequences; sampling runs ``nn.lstm_cell`` in a ``scan`` that feeds
each character back.
"""

import math
import re
from pydoc_data.topics import topics  # ships with Python

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn, optim, random


def read(length):
    """The text as numbers, and the characters they stand for."""
    text = "\n".join(topics[name] for name in sorted(topics))
    text = re.sub(r"[^ -~\n]|[-=*+|]{3,}", "", text)  # no rare characters, no rules of tables
    text = re.sub(r" +", " ", text)[:length]
    alphabet = sorted(set(text))
    index = {c: k for k, c in enumerate(alphabet)}
    return np.array([index[c] for c in text], np.int32), alphabet


def init(key, count, width):
    keys = random.split(key, 3)
    return {
        "embedding": nn.embedding_init(keys[0], count, 32),
        "lstm": nn.lstm_init(keys[1], 32, width),
        "out": nn.linear_init(keys[2], width, count),
    }


def loss(params, characters):
    """Mean cross entropy in bits of the next character of each (batch, time + 1)."""
    hidden, _ = nn.lstm(params["lstm"], nn.embedding(params["embedding"], characters[:, :-1]))
    log_p = nn.log_softmax(nn.linear(params["out"], hidden))
    found = jnp.take_along_axis(log_p, characters[:, 1:, None], axis=-1)
    return -jnp.mean(found) / math.log(2)


def sample(params, key, first, length, temperature=0.6):
    """``length`` characters, each drawn given those before it."""

    def body(carry, key):
        state, character = carry
        embedded = nn.embedding(params["embedding"], character)
        state, hidden = nn.lstm_cell(params["lstm"], state, embedded)
        logits = nn.linear(params["out"], hidden)
        character = random.categorical(key, logits / temperature)
        return (state, character), character

    zeros = jnp.zeros(params["lstm"]["recurrent"].shape[0])
    keys = random.split(key, length)
    return lax.scan(body, ((zeros, zeros), first), keys)[1]


def main(small=False):
    batch, time = 32, 64
    length, width, steps = (100_000, 64, 100) if small else (500_000, 160, 800)
    text, alphabet = read(length)
    kept, held = text[: -length // 10], text[-length // 10 :]
    shares = np.bincount(kept) / len(kept)
    unigram = float(-np.sum(shares * np.log2(np.maximum(shares, 1e-9))))

    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(1e-2 if small else 4e-3))
    params = init(random.key(0), len(alphabet), width)
    state = optimizer.init(params)

    @tj.jit
    def step(params, state, characters):
        value, slope = tj.value_and_grad(loss)(params, characters)
        updates, state = optimizer.update(slope, state, params)
        return optim.apply_updates(params, updates), state, value

    rng = np.random.default_rng(0)
    for k in range(steps):
        starts = rng.integers(0, len(kept) - time - 1, batch)
        characters = kept[starts[:, None] + np.arange(time + 1)]
        params, state, value = step(params, state, characters)
        if k % 200 == 0:
            print(f"step {k}: {float(value):.3f} bits a character")

    windows = held[: len(held) // (time + 1) * (time + 1)].reshape(-1, time + 1)[:256]
    held_loss = float(tj.jit(loss)(params, windows))
    print(f"held-out text: {held_loss:.3f} bits; frequencies alone: {unigram:.3f}")
    drawn = tj.jit(sample, static_argnums=3)(params, random.key(1), alphabet.index("\n"), 400)
    print("".join(alphabet[k] for k in np.asarray(drawn)))
    return {"held": held_loss, "unigram": unigram}


if __name__ == "__main__":
    main()
