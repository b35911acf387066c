"""A convolutional net on scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels.

Layers are functions of a dict of parameters. Batch norm's running moments are an argument and a
result, and so is the key of dropout: nothing is hidden.
"""

import numpy as np
from sklearn.datasets import load_digits

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import nn, optim, random


def init(key):
    keys = random.split(key, 4)
    first, running_first = nn.batch_norm_init(16)
    second, running_second = nn.batch_norm_init(32)
    params = {
        "conv1": nn.conv_init(keys[0], 1, 16, (3, 3), bias=False),
        "norm1": first,
        "conv2": nn.conv_init(keys[1], 16, 32, (3, 3), bias=False),
        "norm2": second,
        "hidden": nn.linear_init(keys[2], 2 * 2 * 32, 64),
        "out": nn.linear_init(keys[3], 64, 10),
    }
    return params, {"norm1": running_first, "norm2": running_second}


def net(params, running, images, key=None):
    """Logits of (n, 8, 8, 1), and the running moments; a key means training."""
    after, x = {}, images
    for conv, norm in (("conv1", "norm1"), ("conv2", "norm2")):
        x = nn.conv(params[conv], x)
        x, after[norm] = nn.batch_norm(
            params[norm], running[norm], x, training=key is not None, momentum=0.9
        )
        x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
    x = nn.relu(nn.linear(params["hidden"], x.reshape(len(x), -1)))
    if key is not None:
        x = nn.dropout(key, x, 0.3)
    return nn.linear(params["out"], x), after


def loss(params, running, images, labels, key):
    logits, running = net(params, running, images, key)
    return nn.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), running


def main(small=False):
    epochs, batch = (4, 64) if small else (20, 64)
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(images))
    held, kept = order[:360], order[360:]

    steps = epochs * (len(kept) // batch)
    optimizer = optim.adamw(optim.cosine_decay_schedule(3e-3, steps))
    params, running = init(random.key(0))
    state = optimizer.init(params)

    @tj.jit
    def step(params, running, state, images, labels, key):
        slope, running = tj.grad(loss, has_aux=True)(params, running, images, labels, key)
        updates, state = optimizer.update(slope, state, params)
        return optim.apply_updates(params, updates), running, state

    predict = tj.jit(lambda *arguments: jnp.argmax(net(*arguments)[0], axis=-1))
    key, rng = random.key(1), np.random.default_rng(1)
    for epoch in range(epochs):
        for pick in np.split(rng.permutation(kept)[: len(kept) // batch * batch], steps // epochs):
            key, now = random.split(key)
            params, running, state = step(params, running, state, images[pick], labels[pick], now)
        right = float((predict(params, running, images[held]) == labels[held]).mean())
        if epoch % 5 == 4 or small:
            print(f"epoch {epoch + 1}: {right:.3f} of the held-out images right")
    if not small:
        draw(images[held], labels[held], np.asarray(predict(params, running, images[held])))
    return {"accuracy": right}


def draw(images, labels, found):
    import matplotlib.pyplot as plt

    worst = np.argsort(found == labels, kind="stable")[:24]  # the wrong ones first
    figure, panels = plt.subplots(2, 12, figsize=(9, 1.9), layout="constrained")
    for panel, k in zip(panels.flat, worst, strict=True):
        panel.imshow(images[k, :, :, 0], cmap="gray_r")
        panel.set_axis_off()
        wrong = found[k] != labels[k]
        panel.set_title(f"{found[k]}, is {labels[k]}" if wrong else str(found[k]), fontsize=8)
        panel.title.set_color("crimson" if wrong else "black")
    figure.savefig("digits_conv.png", dpi=80)


if __name__ == "__main__":
    main()
