"""An adaptive integrator in plain Python: ``while`` and ``if`` on traced values.

``jit(control_flow=True)`` compiles them as they stand. ``grad`` goes back through the ``while``,
however many steps it took: here it aims a ball that the air slows down.
"""

import math

import numpy as np
from scipy.integrate import solve_ivp

import tracejit as tj
import tracejit.numpy as jnp

GRAVITY, DRAG = 9.81, 0.01


def motion(state):
    """d/dt of (x, y, vx, vy): gravity, and drag that grows with the square of the speed."""
    velocity = state[2:]
    speed = jnp.sqrt(velocity @ velocity)
    return jnp.concatenate([velocity, jnp.array([0.0, -GRAVITY]) - DRAG * speed * velocity])


def attempt(field, y, h):
    """A step of third order, and how far it is from one of second (Bogacki and Shampine, 1989)."""
    k1 = field(y)
    k2 = field(y + h * k1 / 2)
    k3 = field(y + h * 3 / 4 * k2)
    new = y + h * (2 * k1 + 3 * k2 + 4 * k3) / 9
    k4 = field(new)
    return new, h * (-5 * k1 + 6 * k2 + 8 * k3 - 9 * k4) / 72


def integrate(field, y, end, tolerance):
    """``y`` after the time ``end``, and the numbers of steps taken and refused."""
    t, h, taken, refused = 0.0, end / 100, 0, 0
    while t < end:
        h = min(h, end - t)
        new, difference = attempt(field, y, h)
        error = jnp.sqrt(jnp.mean((difference / (1 + abs(y))) ** 2)) / tolerance
        if error < 1:
            t, y = t + h, new
            taken += 1
        else:
            refused += 1
        # the step that would just do, with some care; the size of a step is no part of the answer
        h = h * tj.lax.stop_gradient(jnp.clip(0.9 * error ** (-1 / 3), 0.2, 5.0))
    return y, taken, refused


@tj.jit(control_flow=True)
def flight(angle, speed, tolerance=1e-8):
    """Where the ball is after two seconds."""
    start = jnp.array([0.0, 0.0, speed * jnp.cos(angle), speed * jnp.sin(angle)])
    return integrate(motion, start, 2.0, tolerance)


def aim(height, speed):
    """The angle at which the ball is at ``height`` after two seconds: Newton's method."""
    angle = 0.5

    def miss(angle):
        return flight(angle, speed)[0][1] - height

    for _ in range(10):
        value, slope = tj.value_and_grad(miss)(angle)
        angle = angle - value / slope
        print(f"angle {math.degrees(angle):8.4f} degrees, misses by {abs(float(value)):.1e}")
        if abs(value) < 1e-10:
            break
    return float(angle), abs(float(value))


def main(small=False):
    # Python's floats, here times and steps, are float32 under jit unless told otherwise.
    with tj.settings(default_float="float64"):
        return run()


def run():
    angle, miss = aim(height=10.0, speed=30.0)
    state, taken, refused = flight(angle, 30.0)
    print(f"{int(taken)} steps taken, {int(refused)} refused")

    start = [0, 0, 30 * np.cos(angle), 30 * np.sin(angle)]

    def field(t, y):  # for SciPy
        return np.append(y[2:], [0, -GRAVITY] - DRAG * np.hypot(y[2], y[3]) * y[2:])

    exact = solve_ivp(field, (0, 2), start, rtol=1e-12, atol=1e-12).y[:, -1]
    difference = float(np.abs(np.asarray(state) - exact).max())

    # A whole fan of shots: each takes its own steps.
    fan = tj.vmap(lambda angle: flight(angle, 30.0)[0])(np.linspace(0.2, 1.4, 100))
    print(f"SciPy is {difference:.1e} away; a fan of shots is {fan.shape}")
    return {"miss": miss, "difference": difference, "taken": int(taken)}


if __name__ == "__main__":
    main()
