"""Gaussian process regression: length scale, amplitude and noise from the marginal likelihood.

The likelihood goes through a Cholesky factorisation, and so does its gradient. See Rasmussen and
Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1.
"""

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import optim
from tracejit.scipy.linalg import cho_solve


def kernel(params, a, b):
    """Covariance of the process at ``a`` (n,) and ``b`` (m,): squared exponential."""
    distance = (a[:, None] - b[None, :]) / jnp.exp(params["length"])
    return jnp.exp(2 * params["amplitude"]) * jnp.exp(-0.5 * distance**2)


def factor(params, x):
    """The Cholesky factor of the covariance of the observations."""
    noise = jnp.exp(2 * params["noise"])
    return jnp.linalg.cholesky(kernel(params, x, x) + noise * jnp.eye(len(x)))


def loss(params, x, y):
    """Minus the log marginal likelihood."""
    lower = factor(params, x)
    fit = 0.5 * y @ cho_solve((lower, True), y)
    return fit + jnp.sum(jnp.log(jnp.diag(lower))) + 0.5 * len(x) * np.log(2 * np.pi)


@tj.jit
def predict(params, x, y, new):
    """Mean and standard deviation of new observations."""
    lower = factor(params, x)
    cross = kernel(params, x, new)
    mean = cross.T @ cho_solve((lower, True), y)
    explained = jnp.sum(cross * cho_solve((lower, True), cross), axis=0)
    variance = jnp.exp(2 * params["amplitude"]) - explained + jnp.exp(2 * params["noise"])
    return mean, jnp.sqrt(variance)


def train(params, x, y, steps):
    optimizer = optim.adam(0.05)

    @tj.jit
    def step(params, state):
        value, slope = tj.value_and_grad(loss)(params, x, y)
        updates, state = optimizer.update(slope, state)
        return optim.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    for _ in range(steps):
        params, state, value = step(params, state)
    return params, float(value)


def curve(x):
    return np.sin(3 * x) + 0.5 * x


def main(small=False):
    rng = np.random.default_rng(0)
    x = np.sort(np.concatenate([rng.uniform(-3, 0.5, 40), rng.uniform(1.8, 3, 20)]))
    y = curve(x) + 0.2 * rng.standard_normal(60)
    params = {name: np.zeros(()) for name in ("length", "amplitude", "noise")}
    params, value = train(params, x, y, 150 if small else 400)
    found = {name: float(np.exp(value)) for name, value in params.items()}
    print(f"-log likelihood {value:.2f},", ", ".join(f"{k} {v:.3f}" for k, v in found.items()))

    new = np.linspace(-3.5, 3.5, 300)
    mean, sigma = map(np.asarray, predict(params, x, y, new))
    drawn = curve(new) + 0.2 * rng.standard_normal(300)
    inside = float(np.mean(np.abs(drawn - mean) < 2 * sigma))
    print(f"new observations within two standard deviations: {inside:.2f}")
    if not small:
        draw(x, y, new, mean, sigma, curve(new))
    return {"noise": found["noise"], "inside": inside, "loss": value}


def draw(x, y, new, mean, sigma, truth):
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(8, 4), layout="constrained")
    panel.fill_between(new, mean - 2 * sigma, mean + 2 * sigma, alpha=0.25, label="two sigma")
    panel.plot(new, mean, label="mean")
    panel.plot(new, truth, "k--", linewidth=1, label="truth")
    panel.plot(x, y, "k.", label="observations")
    panel.legend()
    figure.savefig("gaussian_process.png", dpi=80)


if __name__ == "__main__":
    main()
