"""Everything that is measured on a GPU, in one run of at most eight minutes.

    python perf/gpu.py
    python perf/gpu.py --only "softmax*,matmul*" --frameworks tracejit,torch --rounds 5
    python perf/gpu.py --parts workloads --merge --only gpt_step
    python perf/gpu.py --device cpu --quick             the definitions, in tiny sizes, on a CPU
    python perf/gpu.py --emulate --quick --frameworks tracejit     a CPU plays the GPU

The parts, in this order: ``device`` (what it is, versions), ``ceilings`` (copies, products and
convolutions by the libraries), ``numerics`` (``gpu_check.py``, while others compile), ``workloads``
(the table). Figures are kept in ``perf/results/gpu-*.json`` as they come, so that a run that is
ended loses nothing of what it measured; the time is divided so that the first rows of the table are
measured in any case. ``docs/benchmarks.md`` says how it is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import gpu_frameworks  # noqa: E402
import gpu_table  # noqa: E402
import gpu_workloads  # noqa: E402
from gpu_session import (  # noqa: E402
    Deadline,
    Options,
    Team,
    WorkerError,
    command,
    difference,
    split_cpus,
    variables,
)
from gpu_workload import GpuWorkload  # noqa: E402
from machine import describe  # noqa: E402

PARTS = ("device", "ceilings", "numerics", "workloads")
#: when, as a part of the whole time, ceilings are over, first calls, and all
CEILINGS_END, FIRSTS_END = 0.12, 0.62
#: seconds that a first call may take, and of a turn
LONG_LIMIT, OTHER_LIMIT, TURN_LIMIT = 90.0, 60.0, 30.0
#: a compilation begins only if so many seconds are left, and may overrun them by as many
MARGIN = 15.0
RESULTS = Path(__file__).resolve().parent / "results"
REFERENCE = gpu_frameworks.REFERENCE
#: what works in processes of its own beside the others
BESIDE = (*gpu_frameworks.COMPILED, REFERENCE)


class Results:
    """Figures on disk, replaced as a whole every few seconds."""

    def __init__(self, folder: Path, merge: bool) -> None:
        self.folder = folder
        self.old: dict[str, Any] = {}
        path = self.path("workloads")
        if merge and path.exists():
            self.old = json.loads(path.read_text(encoding="utf-8"))
        self.figures: dict[str, Any] = {"rows": []}
        self.written = 0.0
        self.lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self.folder / f"gpu-{name}.json"

    def whole(self) -> dict[str, Any]:
        return gpu_table.merged(self.old, self.figures) if self.old else self.figures

    def keep(self, name: str, figures: Any) -> None:
        """Write one file so that it is there as a whole or not at all."""
        path = self.path(name)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)

    def update(self, now: bool = False) -> None:
        with self.lock:
            if now or time.monotonic() - self.written > 3:
                self.keep("workloads", self.whole())
                self.written = time.monotonic()


class Bench:
    """One run: the workers, the rows so far, and the time that is left."""

    def __init__(self, chosen: argparse.Namespace, folder: str, results: Results) -> None:
        self.chosen = chosen
        self.folder = folder
        self.results = results
        self.deadline = Deadline(60 * chosen.minutes)
        usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        front, back = split_cpus(usable)
        self.back = back
        self.team = Team(
            folder,
            lambda name: Options(chosen.device, chosen.quick, back if name in BESIDE else front),
        )
        self.prepared: dict[tuple[str, str], set[str]] = {}
        self.rows: dict[str, dict[str, Any]] = {
            w.name: row_of(w, chosen.quick) for w in chosen.only
        }
        self.turns: dict[tuple[str, str], list[Any]] = {}
        results.figures["rows"] = list(self.rows.values())

    def say(self, text: str) -> None:
        print(f"[{self.deadline.seconds - self.deadline.left:5.0f} s] {text}", flush=True)

    # ---- device and ceilings ----

    def begin(self) -> None:
        """Start every process: imports take seconds, side by side."""
        parts = self.chosen.parts
        if "workloads" not in parts:
            return  # processes start as they are needed
        for name in self.chosen.frameworks:
            for group in self.groups(name):
                self.team.begin(name, group)
        self.team.begin(REFERENCE)
        self.team.settle(max(20.0, self.deadline.until(CEILINGS_END)))
        names = [name for name in self.chosen.frameworks if self.groups(name)]
        there = [name for name in names if name not in self.team.missing]
        self.say(f"there are: {', '.join(there) or 'no frameworks'}")
        for name in set(names) - set(there):
            self.say(f"  {name}: {self.team.missing[name]}")
        if not there:
            raise KeyboardInterrupt

    def groups(self, name: str) -> list[str]:
        """The groups of rows that a framework has processes for."""
        taking = [w for w in self.chosen.only if not gpu_frameworks.missing_part(name, w)]
        return sorted({Team.key(name, w.group)[1] for w in taking})

    def describe(self) -> None:
        found: dict[str, Any] = {"machine": describe(os.cpu_count() or 1)}
        try:
            found |= self.team.ask("tracejit", "", "describe", timeout=60)
        except WorkerError as error:
            found["errors"] = {"all": str(error)}
        self.results.keep("device", found)
        self.results.figures["machine"] = found["machine"]
        self.results.figures["device"] = found.get("properties")
        self.say(f"device: {found.get('properties')}; libraries: {found.get('libraries')}")
        for name, why in found.get("errors", {}).items():
            self.say(f"  {name}: {why}")

    def ceilings(self) -> None:
        found = self.results.figures.setdefault("ceilings", {})
        seconds = 0.01 if self.chosen.quick else 0.15
        for name in ("torch", "tracejit"):
            if name not in self.chosen.frameworks:
                continue
            timeout = max(20.0, self.deadline.until(CEILINGS_END))
            try:
                found[name] = self.team.ask(name, "", "ceilings", seconds=seconds, timeout=timeout)
            except WorkerError as error:
                found[name] = {"errors": {"all": str(error)}}
            self.say(f"ceilings by {name}")
            print("\n".join(ceiling_lines(found[name])), flush=True)
        self.results.update(now=True)

    def numerics(self) -> subprocess.Popen[bytes] | None:
        """Start the numerics in a process of their own."""
        if self.chosen.device == "cpu":
            return None
        options = Options(self.chosen.device, self.chosen.quick, self.back)
        seconds = max(20.0, self.deadline.until(FIRSTS_END))
        if self.chosen.parts[-1] == "numerics":
            seconds = self.deadline.left
        more = ["--seconds", str(seconds), "--json", str(self.results.path("numerics"))]
        self.log = open(Path(self.folder, "numerics.log"), "wb")  # noqa: SIM115
        return subprocess.Popen(
            [*command("gpu_check.py", options), *more],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=variables(self.folder),
        )

    def end_numerics(self, process: subprocess.Popen[bytes] | None, wait: float) -> None:
        if process is None:
            return
        try:
            process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.log.close()
        text = Path(self.log.name).read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines()
        bad = [line for line in lines if not line.startswith("PASS")]
        self.say(f"numerics: {len(lines) - len(bad)} lines PASS; the others:")
        print("\n".join(bad[-80:]), flush=True)

    # ---- first calls ----

    def first(self, name: str, workload: GpuWorkload, until: float) -> None:
        """One framework's first call of a workload, or why there is none."""
        row, key = self.rows[workload.name], Team.key(name, workload.group)
        why = gpu_frameworks.missing_part(name, workload)
        if why:
            row["failed"][name] = f"- {why}"
            return
        if until < (MARGIN if name in BESIDE else 1.0):
            row["failed"][name] = "no time left for its first call"
            return
        do = "reference" if name == REFERENCE else "first"
        limit = min(LONG_LIMIT if name in BESIDE else OTHER_LIMIT, until + MARGIN)
        save = str(self.saved(name, workload))
        try:
            found = self.team.ask(
                name, workload.group, do, name=workload.name, save=save, timeout=limit
            )
        except WorkerError as error:
            row["failed"][name] = str(error)
            if error.ended:  # what it had compiled is gone; it comes again when it is timed
                self.prepared.pop(key, None)
            return
        row["failed"].pop(name, None)
        if name == REFERENCE:
            row["bytes"], row["reference"] = found["bytes"], found["by"]
            return
        self.prepared.setdefault(key, set()).add(workload.name)
        figures = row["frameworks"].setdefault(name, {})
        figures.setdefault("first_seconds", found["seconds"])
        self.results.update()

    def saved(self, name: str, workload: GpuWorkload) -> Path:
        return Path(self.folder, f"{workload.name}.{name}.npz")

    def firsts(self) -> None:
        """First calls: frameworks one after another; torch.compile, and what all are compared with,
        in processes beside them.
        """
        rows, names = self.chosen.only, self.chosen.frameworks

        def through(name: str, workloads: Sequence[GpuWorkload]) -> None:
            for workload in workloads:
                self.first(name, workload, self.deadline.until(FIRSTS_END))

        beside = [threading.Thread(target=through, args=(REFERENCE, rows), daemon=True)]
        for name in set(names) & set(BESIDE):
            for group in {w.group for w in rows}:
                of_group = [w for w in rows if w.group == group]
                beside.append(threading.Thread(target=through, args=(name, of_group), daemon=True))
        for thread in beside:
            thread.start()
        for workload in rows:
            for name in names:
                if name not in BESIDE:
                    self.first(name, workload, self.deadline.until(FIRSTS_END))
        self.say("first calls done, but for those beside them")
        for thread in beside:
            thread.join()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.compare, rows))
        self.results.update(now=True)

    def compare(self, workload: GpuWorkload) -> None:
        """Check every framework's results against float64."""
        row = self.rows[workload.name]
        exact = self.saved(REFERENCE, workload)
        if not row.get("reference"):
            peers = [n for n in ("jax", "torch") if n in row["frameworks"]]
            row["reference"] = peers[0] if peers else None
            exact = self.saved(peers[0], workload) if peers else exact
        for name in list(row["frameworks"]):
            if row["reference"] is None:
                row["failed"][name] = "there is nothing to compare its results with"
                del row["frameworks"][name]
                continue
            why, error = difference(
                self.saved(name, workload), exact, workload.rtol, workload.differing
            )
            row["frameworks"][name]["error"] = error
            if why:
                row["different"][name] = why

    # ---- timing ----

    def time(self) -> None:
        """Turns of all frameworks on each row, row by row, as many rounds as there is time for."""
        for number in range(self.chosen.rounds):
            for workload in self.chosen.only:
                row = self.rows[workload.name]
                names = [n for n in self.chosen.frameworks if n in row["frameworks"]]
                names = [n for n in names if n not in row["different"]]
                shift = number % max(len(names), 1)
                for name in names[shift:] + names[:shift]:
                    if self.deadline.left < MARGIN:
                        self.say(f"out of time in round {number + 1}")
                        return
                    self.turn(name, workload)
            self.say(f"round {number + 1} of {self.chosen.rounds} done")

    def turn(self, name: str, workload: GpuWorkload) -> None:
        """A framework's samples of one row."""
        row, key = self.rows[workload.name], Team.key(name, workload.group)
        if name in row["failed"]:
            return
        if workload.name not in self.prepared.get(key, set()):
            self.first(name, workload, self.deadline.left - MARGIN)
            if name in row["failed"]:
                return
        asked = {"name": workload.name, "seconds": self.chosen.seconds}
        limit = min(TURN_LIMIT, self.deadline.left)
        try:
            found = self.team.ask(name, workload.group, "time", timeout=limit, **asked)
        except WorkerError as error:
            row["failed"][name] = str(error)
            if error.ended:
                self.prepared.pop(key, None)
            return
        turns = self.turns.setdefault((name, workload.name), [])
        turns.append(found)
        row["frameworks"][name] |= gpu_table.condensed(turns)
        self.results.update()

    # ---- all ----

    def run(self) -> None:
        parts = self.chosen.parts
        self.begin()
        if "device" in parts:
            self.describe()
        if "ceilings" in parts:
            self.ceilings()
        process = self.numerics() if "numerics" in parts else None
        try:
            if "workloads" in parts:
                self.firsts()
                self.results.figures["versions"] = self.team.versions
            wait = self.deadline.until(FIRSTS_END) if "workloads" in parts else self.deadline.left
            self.end_numerics(process, max(wait, 5.0))
            process = None
            if "workloads" in parts:
                self.time()
        finally:
            self.end_numerics(process, 0.1)
            self.results.update(now=True)


def row_of(workload: GpuWorkload, quick: bool) -> dict[str, Any]:
    """A row before anything is measured. In tiny sizes nothing is compared with ceilings."""
    fields = ("name", "title", "dtype", "precision", "memory_bound", "flops", "library", "short")
    row = {field: getattr(workload, field) for field in fields}
    if quick:
        row |= {"memory_bound": False, "flops": 0.0, "library": ""}
    return {**row, "frameworks": {}, "different": {}, "failed": {}}


def ceiling_lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"  copy of {int(size) / 1e6:6.0f} MB {rate / 1e9:8.0f} GB/s"
        for size, rate in found.get("copy", {}).items()
    ]
    for kind in ("matmul", "conv"):
        for dtype, rate in found.get(kind, {}).items():
            lines.append(f"  {kind} {dtype:<6} {rate / 1e12:8.1f} TFLOP/s")
    return lines + [f"  {what}: {why}" for what, why in found.get("errors", {}).items()]


def report(figures: dict[str, Any], names: Sequence[str], folder: Path) -> str:
    """The table as text, which is kept beside the figures too."""
    ceilings = figures.get("ceilings", {})
    rows = figures["rows"]
    lines = [gpu_table.heading(names)]
    lines += [gpu_table.line(row, names, ceilings) for row in rows]
    lines += gpu_table.summary(rows, ceilings)
    lines += [text for text in gpu_table.problems(rows) if ": - " not in text]
    (folder / "gpu-table.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "\n".join(lines)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names or patterns, separated by commas")
    parser.add_argument("--frameworks", default=",".join(gpu_frameworks.NAMES))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="turns of each framework")
    parser.add_argument("--seconds", type=float, default=0.15, help="length of a turn")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--emulate", action="store_true", help="a CPU plays the GPU")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one short round")
    parser.add_argument("--merge", action="store_true", help="keep older figures of other rows")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the figures")
    found = parser.parse_args(arguments)
    found.device = "emulate" if found.emulate else found.device
    if found.quick:
        found.rounds, found.seconds = 1, 0.01
    for field, known in (("frameworks", gpu_frameworks.NAMES), ("parts", PARTS)):
        given = [part for part in getattr(found, field).split(",") if part]
        if set(given) - set(known) or not given:
            parser.error(f"{field} are: {', '.join(known)}")
        setattr(found, field, [part for part in known if part in given])
    patterns = [name for name in found.only.split(",") if name]
    if found.emulate and not patterns:
        patterns = list(gpu_workloads.SMALLEST)
    try:
        found.only = gpu_workloads.select(patterns)
    except ValueError as error:
        parser.error(str(error))
    return found


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    results = Results(chosen.out, chosen.merge)
    with tempfile.TemporaryDirectory(prefix="perf_", ignore_cleanup_errors=True) as folder:
        bench = Bench(chosen, folder, results)
        before = signal.signal(signal.SIGTERM, interrupt)
        try:
            bench.run()
        except KeyboardInterrupt:
            bench.say("ended; what was measured is kept")
        finally:
            signal.signal(signal.SIGTERM, before)
            bench.team.close()
    if "workloads" in chosen.parts:
        print(report(results.whole(), chosen.frameworks, chosen.out))
    print(f"figures: {chosen.out}/gpu-*.json")
    rows = results.figures["rows"] if "workloads" in chosen.parts else []
    bad = any("tracejit" in {**row["different"], **row["failed"]} for row in rows)
    return 1 if bad and "tracejit" in chosen.frameworks else 0


if __name__ == "__main__":
    sys.exit(main())
