"""The Mandelbrot set: one while loop for each pixel, all of them in one kernel.

The function of one point is what the textbook says. ``vmap`` makes a picture of it: each pixel
leaves its loop at its own step.
"""

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax

ESCAPED = 100.0  # |z| > 2 is enough to escape; a larger radius makes the smooth count smoother


def escape(c, limit):
    """Steps until z -> z^2 + c leaves the disc; ``limit`` where it never does."""

    def going(state):
        step, z = state
        return (step < limit) & (abs(z) < ESCAPED)

    def body(state):
        step, z = state
        return step + 1, z * z + c

    step, z = lax.while_loop(going, body, (0, c))
    smooth = step + 1 - jnp.log2(jnp.log2(jnp.maximum(abs(z), 2.0)))  # no bands of whole numbers
    return jnp.where(step < limit, smooth, limit)


@tj.jit(static_argnames=("width", "height", "limit"))
def picture(centre, span, width, height, limit):
    """Escape times of a picture ``span`` wide around ``centre``."""
    x = centre[0] + span * jnp.linspace(-0.5, 0.5, width)
    y = centre[1] + span * height / width * jnp.linspace(-0.5, 0.5, height)
    c = x + 1j * y[:, None]
    return tj.vmap(tj.vmap(escape, in_axes=(0, None)), in_axes=(0, None))(c, limit)


def main(small=False):
    width, limit = (200, 200) if small else (1200, 1000)
    times = picture((-0.75, 0.0), 2.7, width, width * 9 // 10, limit)
    # The set is where the loop ended by its limit; its area is known to be 1.5066.
    pixel = (2.7 / (width - 1)) ** 2
    area = float(jnp.sum(times == limit)) * pixel
    print(f"area {area:.4f}, known to be 1.5066")
    if not small:
        # The same compiled function at another place.
        valley = picture((-0.7436, 0.1318), 0.004, width, width * 9 // 10, limit)
        draw(times, valley, limit)
    return {"area": area}


def draw(whole, valley, limit):
    import matplotlib.pyplot as plt
    import numpy as np

    colours = plt.get_cmap("twilight_shifted").with_extremes(bad="black")  # bad: the set itself
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    for panel, times in zip(panels, (whole, valley), strict=True):
        shade = np.log(np.asarray(times))
        panel.imshow(np.where(times == limit, np.nan, shade), cmap=colours)
        panel.set_axis_off()
    figure.savefig("mandelbrot.png", dpi=56, facecolor="white")


if __name__ == "__main__":
    main()
