"""Peak memory of the training steps: as planned, and of the process beside JAX's.

    python perf/peak_memory.py
    python perf/peak_memory.py --only mlp_step,conv_gradient --frameworks tracejit,jax,torch

``planned``: bytes of the one arena a program allocates; ``alive``: the most bytes of intermediate
values alive at one time, below which no plan can get. The other columns are measured from outside:
by how much the process's peak resident size exceeds the size with the arguments in place,
in the first call (compilation with it) and in later calls.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import frameworks
import workloads
from session import Workers
from worker import limit_cpus
from workload import Workload

MEGABYTE = 1e6


def plan_bytes(workload: Workload) -> tuple[int, int]:
    """(bytes of the arena, most bytes alive at once) of a workload's program."""
    import tracejit

    framework = frameworks.load("tracejit", threads=1, x64=workload.x64)
    arguments = [framework.resident(argument) for argument in workload.make_inputs()]
    plan = tracejit.jit(workload.array(tracejit)).stages(*arguments).plan
    return plan.arena, plan.live


def process_bytes(
    workload: Workload, names: Sequence[str], threads: int
) -> dict[str, dict[str, int]]:
    """What each framework's process grew by, measured one after the other."""
    found = {}
    for name in names:
        with Workers(workload, [name], threads=threads) as workers:
            reply = workers.ask(name, "memory") if name in workers.workers else None
            if reply is not None:
                found[name] = reply
            else:
                print(f"without {name}: {workers.failed[name]}", file=sys.stderr)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names or patterns; by default training steps")
    parser.add_argument("--frameworks", default="tracejit,jax")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    names = chosen.frameworks.split(",")
    training = ",".join(w.name for w in workloads.WORKLOADS if w.training)
    selected = workloads.select((chosen.only or training).split(","))
    limit_cpus(chosen.threads)
    os.environ.update(frameworks.environment(chosen.threads, ""))
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    columns = "".join(f"{name + ' first':>16}{'later':>9}" for name in names)
    print(f"{'megabytes':<36}{'planned':>10}{'alive':>10}{'ratio':>8}{columns}")
    for workload in selected:
        arena, live = plan_bytes(workload)
        share = f"{arena / live:.3f}" if live else "-"
        cells = [f"{arena / MEGABYTE:>10.2f}{live / MEGABYTE:>10.2f}{share:>8}"]
        found = process_bytes(workload, names, chosen.threads)
        for name in names:
            figures = found.get(name)
            cells.append(
                f"{'-':>16}{'-':>9}"
                if figures is None
                else f"{figures['first_call'] / MEGABYTE:>16.1f}{figures['calls'] / MEGABYTE:>9.1f}"
            )
        print(f"{workload.title:<36}{''.join(cells)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
