"""Bodies under gravity, moved by leapfrog, which keeps the energy.

Forces are ``grad`` of the potential: nobody writes them down. The orbits are the figure of eight of
three equal bodies (Chenciner and Montgomery, 2000) and a star with planets.
"""

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax


def potential(positions, masses):
    """The energy of each pair, once."""
    i, j = np.triu_indices(len(masses), k=1)
    distance = jnp.linalg.norm(positions[i] - positions[j], axis=-1)
    return -jnp.sum(masses[i] * masses[j] / distance)


def energy(positions, velocities, masses):
    return 0.5 * jnp.sum(masses[:, None] * velocities**2) + potential(positions, masses)


@tj.jit(static_argnames=("steps", "every"))
def simulate(positions, velocities, masses, dt, steps, every):
    """Leapfrog (kick, drift, kick): (positions, velocities) each ``every`` steps."""

    def acceleration(positions):
        return -tj.grad(potential)(positions, masses) / masses[:, None]

    def leap(_, state):
        positions, velocities = state
        velocities = velocities + 0.5 * dt * acceleration(positions)
        positions = positions + dt * velocities
        return positions, velocities + 0.5 * dt * acceleration(positions)

    def record(state, _):
        state = lax.fori_loop(0, every, leap, state)
        return state, state

    return lax.scan(record, (positions, velocities), None, length=steps // every)[1]


def figure_of_eight():
    """Positions, velocities, masses and the period, from the paper."""
    first = np.array([0.97000436, -0.24308753])
    last = np.array([-0.93240737, -0.86473146])
    positions = np.array([first, -first, [0, 0]])
    return positions, np.array([-last / 2, -last / 2, last]), np.ones(3), 6.32591398


def planets():
    """A star of mass 1 and planets on nearly circular orbits; the inner one has the period 2 pi."""
    radii, masses = np.array([1.0, 1.6, 2.3, 3.2]), np.array([1e-3, 3e-4, 2e-3, 5e-4])
    angles, speeds = np.array([0.0, 2.0, 4.0, 5.5]), 1.05 / np.sqrt(radii)
    outward = np.stack([np.cos(angles), np.sin(angles)], 1)
    positions = np.concatenate([[[0, 0]], radii[:, None] * outward])
    velocities = speeds[:, None] * np.stack([-np.sin(angles), np.cos(angles)], 1)
    masses = np.append(1.0, masses)
    velocities = np.concatenate([[-(masses[1:] @ velocities)], velocities])  # at rest as a whole
    return positions, velocities, masses, 2 * np.pi


def main(small=False):
    steps = 10_000
    paths, numbers = [], {}
    for name, system, periods in (
        ("eight", figure_of_eight(), 1 if small else 50),
        ("planets", planets(), 2 if small else 50),
    ):
        positions, velocities, masses, period = system
        path = simulate(
            positions, velocities, masses, np.float64(period / steps), periods * steps, 50
        )
        energies = tj.vmap(energy, in_axes=(0, 0, None))(*path, masses)
        start = energy(positions, velocities, masses)
        drift = float(jnp.max(jnp.abs(energies / start - 1)))
        print(f"{name}: {periods * steps} steps, energy drifts by {drift:.1e}")
        numbers[f"{name}_drift"] = drift
        paths.append(np.asarray(path[0]))
    # After whole periods the three are where they began.
    numbers["closure"] = float(np.abs(paths[0][-1] - figure_of_eight()[0]).max())
    print(f"eight: after its periods {numbers['closure']:.1e} from where it began")
    if not small:
        draw(paths)
    return numbers


def draw(paths):
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 4), width_ratios=(1.4, 1), layout="constrained")
    for panel, path, shown in zip(panels, paths, (200, 2400), strict=True):
        for k in range(path.shape[1]):
            (line,) = panel.plot(*path[:shown, k].T, linewidth=0.8)
            panel.plot(*path[shown // 4, k], "o", color=line.get_color())
        panel.set_aspect("equal")
    figure.savefig("n_body.png", dpi=80)


if __name__ == "__main__":
    main()
