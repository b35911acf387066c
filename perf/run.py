"""Time the workloads in tracejit, JAX and torch, each in processes of their own that take turns.

    python perf/run.py
    python perf/run.py --only softmax,conv* --frameworks tracejit,jax --rounds 5
    python perf/run.py --only issue2 --json perf/results/issue2.json

Printed: milliseconds of the first call (trace, compile, run; after an unrelated call that makes
each framework load what it loads lazily) and of a call with everything in place (median over the
rounds of each round's median), and the ratio of tracejit's time to that of the fastest peer.
All results are compared first; the exit status is 1 where they differ or tracejit fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import frameworks
import workloads
from session import Workers
from workload import Workload

Row = dict[str, Any]


def suitable(workload: Workload, names: Sequence[str]) -> list[str]:
    """The frameworks that have this workload."""
    without = set()
    if workload.torch is None:
        without |= {"torch", "torch.compile"}
    if not workload.compiled:
        without |= {"torch.compile"}
    return [name for name in names if name not in without]


def measure(
    workload: Workload,
    names: Sequence[str],
    *,
    threads: int,
    rounds: int,
    seconds: float,
    firsts: int = 1,
    cache_folder: str | None = None,
) -> Row:
    """One row of the table. ``firsts``: processes for first calls (one for torch.compile)."""
    extra: dict[str, list[float]] = {}
    for _ in range(firsts - 1):
        quick = [name for name in suitable(workload, names) if name != "torch.compile"]
        with Workers(workload, quick, threads=threads, cache_folder=cache_folder) as workers:
            for name, value in workers.first().items():
                extra.setdefault(name, []).append(value)
    row: Row = {"name": workload.name, "title": workload.title, "issue": workload.issue}
    with Workers(
        workload, suitable(workload, names), threads=threads, cache_folder=cache_folder
    ) as workers:
        first = workers.first()
        row["different"] = workers.compare()
        about = {name: worker.about for name, worker in workers.workers.items()}
        samples = {} if row["different"] else workers.turns(rounds, seconds)
        row["failed"] = {name: str(error) for name, error in workers.failed.items()}
        row["missing"] = [name for name, error in workers.failed.items() if error.missing]
    row["frameworks"] = {
        name: {
            **about[name],
            "first_seconds": median([first[name], *extra.get(name, ())]),
            "run_seconds": median(map(median, turns)),
            "least_seconds": min(map(min, turns)),
            "turns": [median(turn) for turn in turns],
        }
        for name, turns in samples.items()
    }
    return row


def ratio(row: Row, field: str) -> float | None:
    """tracejit's time by that of the fastest peer."""
    found = {name: figures[field] for name, figures in row["frameworks"].items()}
    if "tracejit" not in found or len(found) < 2:
        return None
    return float(
        found["tracejit"] / min(value for name, value in found.items() if name != "tracejit")
    )


def first_ratio(row: Row) -> float | None:
    """tracejit's first call by JAX's: torch's eager calls compile nothing."""
    found = row["frameworks"]
    if "tracejit" not in found or "jax" not in found:
        return None
    return float(found["tracejit"]["first_seconds"] / found["jax"]["first_seconds"])


# ---- the table -----------------------------------------------------------------------------------


def heading(names: Sequence[str]) -> str:
    columns = "".join(f"{name:>22}" for name in names)
    under = "".join(f"{'first':>12}{'run':>10}" for _ in names)
    last = f"{'run by':>14}{'first':>8}"
    return f"{'milliseconds':<36}{columns}{'fastest peer':>14}{'by JAX':>8}\n{'':<36}{under}{last}"


def line(row: Row, names: Sequence[str]) -> str:
    cells = [f"{row['title']:<36}"]
    for name in names:
        figures = row["frameworks"].get(name)
        if figures is None:
            cells.append(f"{'failed' if name in row['failed'] else '-':>22}")
            continue
        cells.append(f"{_milliseconds(figures['first_seconds']):>12}")
        cells.append(f"{_milliseconds(figures['run_seconds']):>10}")
    run, first = ratio(row, "run_seconds"), first_ratio(row)
    cells.append(f"{'-' if run is None else f'{run:.2f}':>14}")
    cells.append(f"{'-' if first is None else f'{first:.2f}':>8}")
    return "".join(cells)


def _milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.4f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def summary(rows: Sequence[Row]) -> list[str]:
    """Geometric means of the ratios."""
    found = []
    for what, values in (
        ("run time by the fastest peer's", [ratio(row, "run_seconds") for row in rows]),
        ("least run time by the fastest peer's", [ratio(row, "least_seconds") for row in rows]),
        ("first call by JAX's", [first_ratio(row) for row in rows]),
    ):
        present = [value for value in values if value is not None]
        if present:
            mean = geometric_mean(present)
            found.append(
                f"geometric mean of {what}: {mean:.3f} ({1 / mean:.2f} times as fast, "
                f"{len(present)} rows, worst {max(present):.2f})"
            )
    return found


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    processor = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        processor = next(
            part.split(":", 1)[1].strip() for part in text.splitlines() if "model name" in part
        )
    except (OSError, StopIteration):
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": processor,
        "cpus": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "load": load,
    }


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names or patterns, separated by commas; issue2")
    parser.add_argument("--frameworks", default=",".join(frameworks.NAMES))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each framework")
    parser.add_argument("--seconds", type=float, default=0.2, help="length of a turn")
    parser.add_argument("--firsts", type=int, default=1, help="processes for the first call")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    found = parser.parse_args(arguments)
    found.frameworks = found.frameworks.split(",")
    unknown = set(found.frameworks) - set(frameworks.NAMES)
    if unknown:
        parser.error(f"no framework {sorted(unknown)}; there are: {', '.join(frameworks.NAMES)}")
    try:
        found.only = workloads.select([name for name in found.only.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    about = machine(chosen.threads)
    print(
        f"{about['processor']}, {about['threads']} threads, load {about['load']}; "
        f"{chosen.rounds} rounds of {chosen.seconds} s"
    )
    print(heading(chosen.frameworks))
    rows: list[Row] = []
    missing: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="perf_") as cache_folder:
        for workload in chosen.only:
            row = measure(
                workload,
                [name for name in chosen.frameworks if name not in missing],
                threads=chosen.threads,
                rounds=chosen.rounds,
                seconds=chosen.seconds,
                firsts=chosen.firsts,
                cache_folder=cache_folder,
            )
            rows.append(row)
            for name in row["missing"]:
                missing.add(name)
                print(f"without {name}: {row['failed'][name]}", file=sys.stderr)
            print(line(row, chosen.frameworks), flush=True)
            problems = [why for name, why in row["failed"].items() if name not in row["missing"]]
            print("".join(f"  {why}\n" for why in (*row["different"], *problems)), end="")
    print("\n".join(summary(rows)))
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
        print(f"figures: {chosen.json}")
    bad = any(row["different"] or "tracejit" in row["failed"] for row in rows)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
