"""Time the workloads in tracejit, JAX and torch, each in processes of their own that take turns.

    python perf/run.py
    python perf/run.py --only softmax,conv* --frameworks tracejit,jax --rounds 5
    python perf/run.py --only all --json perf/results/cpu.json

Printed: milliseconds of the first call (trace, compile, run; after an unrelated call that makes
each framework load what it loads lazily) and of a call with everything in place (median over the
rounds of each round's median), the ratio of tracejit's time to that of the fastest peer, and what
share it reaches of what limits the row: a copy of as many bytes, or multiply-adds in registers.
All results are compared first; the exit status is 1 where they differ or tracejit fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import frameworks
import workloads
from machine import describe
from session import Workers, asked
from table import Row, goals, heading, line, summary
from workload import Workload


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
    limits: bool = True,
) -> Row:
    """One row of the table. ``firsts``: processes for first calls (one for torch.compile);
    ``limits``: whether what limits the row takes turns with it.
    """
    chosen = suitable(workload, names)
    limits = limits and "tracejit" in names and (workload.memory_bound or workload.flops > 0)
    turning = [*chosen, frameworks.MACHINE] if limits else chosen
    extra: dict[str, list[float]] = {}
    for _ in range(firsts - 1):
        quick = [name for name in chosen if name != "torch.compile"]
        with Workers(workload, quick, threads=threads, cache_folder=cache_folder) as workers:
            for name, value in workers.first().items():
                extra.setdefault(name, []).append(value)
    row: Row = {"name": workload.name, "title": workload.title, "issue": workload.issue}
    with Workers(workload, turning, threads=threads, cache_folder=cache_folder) as workers:
        first = workers.first()
        row["different"] = workers.compare()
        about = {name: worker.about for name, worker in workers.workers.items()}
        samples = {} if row["different"] else workers.turns(rounds, seconds)
        row["failed"] = {name: str(error) for name, error in workers.failed.items()}
        row["missing"] = [name for name, error in workers.failed.items() if error.missing]
    row["limit"] = rate(about.pop(frameworks.MACHINE, None), samples.pop(frameworks.MACHINE, None))
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


def rate(about: dict[str, Any] | None, turns: list[list[float]] | None) -> dict[str, Any] | None:
    """What limits a row: ``work`` bytes or flops, of which the machine does ``rate`` a second."""
    if about is None or not turns:
        return None
    limit = dict(about["limit"])
    amount = limit.pop("amount")
    return {
        **limit,
        "rate": amount / median(map(median, turns)),
        "best": amount / min(map(min, turns)),
    }


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names or patterns, separated by commas; all")
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


def write(path: Path, figures: dict[str, Any]) -> None:
    """Keep figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"figures: {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    about = describe(chosen.threads)
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
    print("\n".join((*summary(rows), *goals(rows))))
    about["load_after"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    about["rounds"], about["seconds"] = chosen.rounds, chosen.seconds
    if chosen.json is not None:
        about["peaks"] = asked(
            frameworks.MACHINE, workloads.WARM_UP, chosen.threads, "peaks", seconds=chosen.seconds
        )
        write(chosen.json, {"machine": about, "rows": rows})
    bad = any(row["different"] or "tracejit" in row["failed"] for row in rows)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
