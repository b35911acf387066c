"""European options: the price by Black and Scholes, its Greeks by nested ``grad``.

Only the price is written down. Delta, gamma, vega and the others are its derivatives; ``vmap`` goes
over strikes and maturities, and a Monte Carlo price shares the same paths for its own Greeks.
"""

import numpy as np
from scipy.stats import norm as exact

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, random
from tracejit.scipy.stats import norm


def price(spot, strike, time, rate, sigma):
    """A call: the right to buy at ``strike`` after ``time``."""
    d1 = (jnp.log(spot / strike) + (rate + sigma**2 / 2) * time) / (sigma * jnp.sqrt(time))
    d2 = d1 - sigma * jnp.sqrt(time)
    return spot * norm.cdf(d1) - strike * jnp.exp(-rate * time) * norm.cdf(d2)


GREEKS = {
    "price": price,
    "delta": tj.grad(price),
    "gamma": tj.grad(tj.grad(price)),
    "speed": tj.grad(tj.grad(tj.grad(price))),
    "vega": tj.grad(price, argnums=4),
    "vanna": tj.grad(tj.grad(price), argnums=4),
    "theta": lambda *market: -tj.grad(price, argnums=2)(*market),
}


@tj.jit
def table(spot, strikes, times, rate, sigma):
    """Each of GREEKS at each maturity and strike, in one program."""

    def at(strike, time):
        return {name: greek(spot, strike, time, rate, sigma) for name, greek in GREEKS.items()}

    return tj.vmap(tj.vmap(at, in_axes=(0, None)), in_axes=(None, 0))(strikes, times)


def closed_forms(s, k, t, r, v):
    """The same from the textbook (Hull, Options, Futures, and Other Derivatives)."""
    root = v * np.sqrt(t)
    d1 = (np.log(s / k) + (r + v * v / 2) * t) / root
    d2, bell, paid = d1 - root, exact.pdf(d1), k * np.exp(-r * t)
    gamma = bell / (s * root)
    return {
        "price": s * exact.cdf(d1) - paid * exact.cdf(d2),
        "delta": exact.cdf(d1),
        "gamma": gamma,
        "speed": -gamma / s * (d1 / root + 1),
        "vega": s * bell * np.sqrt(t),
        "vanna": -bell * d2 / v,
        "theta": -s * bell * v / (2 * np.sqrt(t)) - r * paid * exact.cdf(d2),
    }


@tj.jit
def implied(observed, spot, strike, time, rate):
    """The volatility at which the formula gives ``observed``, by Newton's method."""

    def newton(_, sigma):
        value, vega = tj.value_and_grad(price, argnums=4)(spot, strike, time, rate, sigma)
        return sigma - (value - observed) / vega

    return lax.fori_loop(0, 12, newton, jnp.full_like(observed, 0.5))


@tj.jit
def monte_carlo(spot, strike, time, rate, sigma, draws):
    """The price from simulated ends; its ``grad`` is the pathwise delta."""
    end = spot * jnp.exp((rate - sigma**2 / 2) * time + sigma * jnp.sqrt(time) * draws)
    return jnp.exp(-rate * time) * jnp.mean(jnp.maximum(end - strike, 0))


def main(small=False):
    # Python's floats as arguments are float32 arrays unless told otherwise.
    with tj.settings(default_float="float64"):
        return run(100_000 if small else 4_000_000, small)


def run(paths, small):
    spot, rate, sigma = 100.0, 0.03, 0.25
    strikes, times = np.linspace(70, 130, 61), np.linspace(0.1, 2, 20)
    found = table(spot, strikes, times, rate, sigma)
    expected = closed_forms(spot, strikes, times[:, None], rate, sigma)
    numbers = {name: float(np.max(np.abs(found[name] - expected[name]))) for name in GREEKS}
    for name, difference in numbers.items():
        print(f"{name:>6} at strike 100, one year: {found[name][9, 30]:9.6f}; {difference:.0e} off")

    # vmap makes a surface of volatilities from a surface of prices.
    volatility = tj.vmap(tj.vmap(implied, (0, None, 0, None, None)), (0, None, None, 0, None))
    back = volatility(found["price"][5:], spot, strikes, times[5:], rate)
    numbers["implied"] = float(jnp.max(jnp.abs(back - sigma)))

    draws = random.normal(random.key(0), (paths,))
    value, delta = tj.value_and_grad(monte_carlo)(spot, 100.0, 1.0, rate, sigma, draws)
    print(f"Monte Carlo: price {float(value):.3f}, delta {float(delta):.4f}")
    numbers["monte_carlo"] = abs(float(delta - tj.grad(price)(spot, 100.0, 1.0, rate, sigma)))
    if not small:
        draw(strikes, times, found)
    return numbers


def draw(strikes, times, found):
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
    for panel, name in zip(panels.flat, list(GREEKS)[:6], strict=True):
        for k in (1, 4, 9, 19):
            panel.plot(strikes, found[name][k], label=f"{times[k]:.1f} years")
        panel.set_title(name)
    panels[0, 0].legend(fontsize=8)
    figure.savefig("black_scholes.png", dpi=80)


if __name__ == "__main__":
    main()
