"""``python -m tracejit demo``: train a small convolutional net on handwritten digits, then look at
what was compiled.

The data are scikit-learn's 1,797 images of 8 x 8 pixels; a fifth is held out. The training step,
``jit(value_and_grad(loss))`` with Adam, is one program.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax, nn, random, tree
from tracejit.api import jit, value_and_grad
from tracejit.errors import BackendError

Params = dict[str, Any]
BATCH = 64


def load_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images f32[n,1,8,8] in 0..1 and labels i32[n]: training and held-out."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise BackendError(
            "the demo needs scikit-learn and tqdm", hint='pip install "tracejit[examples]"'
        ) from error
    digits = load()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(images))
    held, kept = order[: len(order) // 5], order[len(order) // 5 :]
    return images[kept], labels[kept], images[held], labels[held]


def init(key: Any) -> Params:
    """Weights of two convolutions and two dense layers, He-normal."""
    shapes = {
        "conv1": (16, 1, 3, 3),
        "conv2": (32, 16, 3, 3),
        "dense1": (32 * 2 * 2, 64),
        "dense2": (64, 10),
    }
    params: Params = {}
    for name, shape in shapes.items():
        key, sub = random.split(key)
        fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
        params[name] = random.normal(sub, shape) * np.float32(np.sqrt(2.0 / fan_in))
        params[name + "_bias"] = jnp.zeros(shape[0] if len(shape) == 4 else shape[1])
    return params


def logits(params: Params, images: Any) -> Any:
    """Scores f32[n,10] of images f32[n,1,8,8]."""
    x = images
    for name in ("conv1", "conv2"):
        x = lax.conv_general_dilated(x, params[name], (1, 1), "SAME")
        x = nn.relu(x + params[name + "_bias"][:, None, None])
        x = nn.max_pool(x, (2, 2), (2, 2), axes=(2, 3))
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(x @ params["dense1"] + params["dense1_bias"])
    return x @ params["dense2"] + params["dense2_bias"]


def loss(params: Params, images: Any, labels: Any) -> Any:
    """Mean cross entropy, and the accuracy beside it."""
    scores = logits(params, images)
    log_p = nn.log_softmax(scores)
    right = jnp.mean((jnp.argmax(scores, axis=1) == labels).astype(jnp.float32))
    return -jnp.mean(jnp.sum(nn.one_hot(labels, 10) * log_p, axis=1)), right


def adam_step(params: Params, state: Any, images: Any, labels: Any) -> Any:
    """One step of Adam (Kingma and Ba, 2015): new params, new state, loss, accuracy."""
    (value, right), grads = value_and_grad(loss, has_aux=True)(params, images, labels)
    count, mean, square = state
    count = count + 1
    mean = tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
    rate = 2e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    params = tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s) + 1e-8), params, mean, square)
    return params, (count, mean, square), value, right


def train(epochs: int, step: Any, quiet: bool = False) -> tuple[Params, float, int]:
    """Train; returns the parameters, the accuracy on the held-out fifth, and the number of
    steps.
    """
    from tqdm import tqdm

    images, labels, test_images, test_labels = load_digits()
    params = init(random.key(0))
    zeros = tree.map(jnp.zeros_like, params)
    state = (jnp.zeros(()), zeros, zeros)
    scores = jit(logits)
    rng = np.random.default_rng(1)
    batches, right, count = len(images) // BATCH, 0.0, 0
    with tqdm(total=epochs * batches, unit="step", disable=quiet) as bar:
        for epoch in range(epochs):
            order = rng.permutation(len(images))
            for k in range(batches):
                pick = order[k * BATCH : (k + 1) * BATCH]
                params, state, value, batch_right = step(params, state, images[pick], labels[pick])
                count += 1
                bar.update()
                if k % 5 == 0:
                    bar.set_postfix(
                        epoch=epoch,
                        loss=f"{float(value):.4f}",
                        batch=f"{float(batch_right):.3f}",
                        held_out=f"{right:.4f}",
                    )
            found = np.argmax(np.asarray(scores(params, test_images)), axis=1)
            right = float(np.mean(found == test_labels))
    return params, right, count


def report(step: Any, params: Params) -> list[str]:
    """What the compiler did with the training step."""
    images, labels, _, _ = load_digits()
    zeros = tree.map(jnp.zeros_like, params)
    args = (params, (jnp.zeros(()), zeros, zeros), images[:BATCH], labels[:BATCH])
    stages = step.stages(*args)
    plan = stages.plan
    compiled = timed(lambda: step(*args), 20)
    plain = jit(adam_step, backend="numpy")
    plain(*args)
    interpreted = timed(lambda: plain(*args), 3)
    return [
        f"graph                {len(stages.graph.nodes)} nodes traced, "
        f"{len(stages.optimised.nodes)} after the passes",
        f"kernels              {len(stages.program.calls)} calls of "
        f"{len(stages.program.kernels)} kernels",
        f"planned peak memory  {plan.arena / 1024:.0f} KiB "
        f"(at most {plan.live / 1024:.0f} KiB alive at once)",
        f"time per step        {compiled * 1e3:.2f} ms compiled, "
        f"{interpreted * 1e3:.2f} ms op by op in NumPy"
        f" ({interpreted / compiled:.0f} times)",
    ]


def timed(call: Any, times: int) -> float:
    """The median time of a call, in seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demo; 0 when it reaches 97 % on the held-out images."""
    parser = argparse.ArgumentParser(prog="python -m tracejit demo", description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args(list(arguments))
    step = jit(adam_step)
    images, labels, _, _ = load_digits()
    params = init(random.key(0))
    zeros = tree.map(jnp.zeros_like, params)
    start = time.perf_counter()
    step(params, (jnp.zeros(()), zeros, zeros), images[:BATCH], labels[:BATCH])
    compile_seconds = time.perf_counter() - start
    start = time.perf_counter()
    params, right, steps = train(given.epochs, step)
    seconds = time.perf_counter() - start
    print(f"\nheld-out accuracy    {right:.2%} after {steps} steps in {seconds:.1f} s")
    print(f"first call           {compile_seconds:.2f} s to trace, compile and run")
    print("\n".join(report(step, params)))
    return 0 if right >= 0.97 else 1
