"""Peak memory of the training steps: as planned, and of the process beside the peers'.

    python perf/peak_memory.py
    python perf/peak_memory.py --only mlp_step,conv_gradient --frameworks tracejit,jax --rounds 1

``planned``: bytes of the one arena a program allocates; ``alive``: the most bytes of intermediate
values alive at one time, below which no plan can get. The other columns are measured from outside:
by how much the process's peak resident size exceeds the size with the arguments in place and
nothing compiled, in the first call (compilation with it) and in later calls; the median over
``--rounds`` processes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import frameworks
import workloads
from machine import describe
from run import suitable, write
from session import WorkerError, asked
from workload import Workload

MEGABYTE = 1e6
NAMES = ("tracejit", "jax", "torch")
Row = dict[str, Any]


def measure(workload: Workload, names: Sequence[str], threads: int, rounds: int) -> Row:
    """One row: bytes by framework, one process after the other."""
    row: Row = {"name": workload.name, "title": workload.title, "frameworks": {}}
    for name in suitable(workload, names):
        try:
            if name == "tracejit":
                row |= asked(name, workload, threads, "plan")
            found = [asked(name, workload, threads, "memory") for _ in range(rounds)]
        except WorkerError as error:
            print(f"without {name}: {error}", file=sys.stderr)
            continue
        row["frameworks"][name] = {
            field: median(figures[field] for figures in found) for field in found[0]
        }
    return row


def heading(names: Sequence[str]) -> str:
    columns = "".join(f"{name + ' first':>20}{'later':>9}" for name in names)
    return f"{'megabytes':<36}{'planned':>10}{'alive':>10}{'ratio':>8}{columns}{'later by JAX':>14}"


def line(row: Row, names: Sequence[str]) -> str:
    planned, alive = row.get("planned"), row.get("alive")
    cells = [
        f"{'-' if value is None else f'{value / MEGABYTE:.2f}':>10}" for value in (planned, alive)
    ]
    cells.append(f"{planned / alive:>8.3f}" if planned and alive else f"{'-':>8}")
    for name in names:
        found = row["frameworks"].get(name)
        cells.append(
            f"{'-':>20}{'-':>9}"
            if found is None
            else f"{found['first_call'] / MEGABYTE:>20.1f}{found['calls'] / MEGABYTE:>9.1f}"
        )
    ratio = by_jax(row)
    cells.append(f"{'-' if ratio is None else f'{ratio:.2f}':>14}")
    return f"{row['title']:<36}{''.join(cells)}"


def by_jax(row: Row) -> float | None:
    """tracejit's peak in later calls by JAX's."""
    found = row["frameworks"]
    if "tracejit" not in found or not found.get("jax", {}).get("calls"):
        return None
    return float(found["tracejit"]["calls"] / found["jax"]["calls"])


def goal(rows: Sequence[Row]) -> str:
    """Which rows need more memory than JAX."""
    found = {row["name"]: by_jax(row) for row in rows}
    ratios = {name: value for name, value in found.items() if value is not None}
    more = ", ".join(f"{name} {value:.2f}" for name, value in ratios.items() if value > 1)
    verdict = (
        f"missed  peak memory at or below JAX's: not {more}"
        if more
        else (f"met     peak memory at or below JAX's: {len(ratios)} rows")
    )
    return verdict if ratios else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names or patterns; by default training steps")
    parser.add_argument("--frameworks", default=",".join(NAMES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each framework")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    chosen = parser.parse_args(arguments)
    names = chosen.frameworks.split(",")
    if set(names) - set(frameworks.NAMES):
        parser.error(f"frameworks are: {', '.join(frameworks.NAMES)}")
    training = ",".join(w.name for w in workloads.WORKLOADS if w.training)
    print(heading(names))
    rows = []
    for workload in workloads.select((chosen.only or training).split(",")):
        rows.append(measure(workload, names, chosen.threads, chosen.rounds))
        print(line(rows[-1], names), flush=True)
    print(goal(rows))
    if chosen.json is not None:
        write(chosen.json, {"machine": describe(chosen.threads), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
