"""Small measurements: this machine, a call that does nothing, compile time by stage, kernels.

    python perf/micro.py                        all of them
    python perf/micro.py peaks                  bandwidth of copies, multiply-adds per second
    python perf/micro.py dispatch               a call with 1, 4 and 30 arguments, and the peers'
    python perf/micro.py eager                  calls outside of jit, and the peers' (perf/eager.py)
    python perf/micro.py stages mlp*            milliseconds of each stage of a first call
    python perf/micro.py kernels softmax conv   each kernel's GB/s and GFLOP/s by the machine's
    python perf/micro.py warm mlp_step          a new process: import to result, disk cache warm

Everything is measured in processes of its own, on as many CPUs as there are threads; ``--json``
keeps the figures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import eager
import frameworks
import run
import workloads
from machine import describe
from session import WorkerError, asked
from workload import Workload

KINDS = ("peaks", "dispatch", "eager", "stages", "kernels", "warm")
PEERS = ("tracejit", "jax", "torch")
Figures = dict[str, Any]


# ---- the machine ---------------------------------------------------------------------------------


def peaks(threads: int, seconds: float) -> Figures:
    return asked(frameworks.MACHINE, workloads.WARM_UP, threads, "peaks", seconds=seconds)


def peak_lines(found: Figures) -> Iterator[str]:
    yield f"vectors of {found['vector_bytes']} bytes; the most in many short samples"
    counts = list(found["fma"]["f32"])
    heading = "".join(f"{f'{n} thread' + 's' * (n != '1'):>26}" for n in counts)
    yield f"{'copy, GB/s read and written':<36}{heading}"
    for nbytes in found["copy"]:
        by_threads = found["copy"][nbytes]
        rates = [(by_threads[n]["kernel"] / 1e9, by_threads[n]["memcpy"] / 1e9) for n in counts]
        cells = "".join(f"{f'{own:.1f} kernel {c:.1f} C':>26}" for own, c in rates)
        half = int(nbytes) / 2e6
        yield f"{f'{half:g} MB to {half:g} MB':<36}{cells}"
    yield "multiply-adds in registers, GFLOP/s"
    for dtype, rates in found["fma"].items():
        yield f"{dtype:<36}" + "".join(f"{rates[n] / 1e9:>26.1f}" for n in counts)


# ---- dispatch ------------------------------------------------------------------------------------


def dispatch(threads: int, rounds: int) -> list[Figures]:
    rows = (workloads.find("dispatch"), workloads.FOUR_ARGUMENTS, workloads.find("dispatch_tree"))
    return [
        run.measure(w, PEERS, threads=threads, rounds=rounds, seconds=0.1, limits=False)
        for w in rows
    ]


def dispatch_lines(rows: Sequence[Figures]) -> Iterator[str]:
    names = "".join(f"{name:>12}" for name in PEERS)
    yield f"{'microseconds of a call':<36}{names}{'least':>12}{'jax':>8}"
    for row in rows:
        found = row["frameworks"]
        fields = [(n, "run_seconds", 12) for n in PEERS]
        fields += [("tracejit", "least_seconds", 12), ("jax", "least_seconds", 8)]
        cells = [
            f"{found[n][field] * 1e6:>{width}.2f}" if n in found else f"{'-':>{width}}"
            for n, field, width in fields
        ]
        yield f"{row['title']:<36}{''.join(cells)}"


# ---- stages --------------------------------------------------------------------------------------


def stages(workload: Workload, threads: int, rounds: int) -> Figures:
    """The median of each stage over ``rounds`` processes."""
    found = [asked("tracejit", workload, threads, "stages") for _ in range(rounds)]
    return {stage: median(times[stage] for times in found) for stage in found[0]}


def stage_heading(found: Figures) -> str:
    names = [name for name in found if name != "count"]
    cells = "".join(f"{name:>10}" for name in (*names, "sum", "how many"))
    return f"{'milliseconds':<36}{cells}"


def stage_line(title: str, found: Figures) -> str:
    times = [value for name, value in found.items() if name != "count"]
    cells = "".join(f"{value * 1e3:>10.2f}" for value in (*times, sum(times)))
    return f"{title:<36}{cells}{found['count']:>10.0f}"


# ---- kernels -------------------------------------------------------------------------------------


def kernel_lines(title: str, found: Figures, shapes: bool = False) -> Iterator[str]:
    """A line for each call of a program: median time, and both rates by the machine's."""
    yield (
        f"{title:<36}{'us':>10}{'least':>10}{'GB/s':>8}{'of copy':>8}{'GFLOP/s':>9}{'of fma':>8}"
        f"{'threads':>8}"
    )
    for call in found["calls"]:
        if "least" not in call:
            yield f"  {call['name']}"
            continue
        peak = found["fma_rate"]["f64" if call["dtype"] == "f64" else "f32"][str(call["threads"])]
        moved, done = call["bytes"] / call["median"], call["flops"] / call["median"]
        share = f"{moved / call['copy_rate']:.0%}" if "copy_rate" in call else "-"
        mark = "" if call["exact"] else "+"  # loops whose length the data decide
        yield (
            f"  {call['name'][:33]:<34}{call['median'] * 1e6:>10.2f}{call['least'] * 1e6:>10.2f}"
            f"{moved / 1e9:>8.1f}{share:>8}{f'{done / 1e9:.1f}{mark}':>9}"
            f"{f'{done / peak:.0%}{mark}':>8}{call['threads']:>8}"
        )
        if shapes and call["shapes"]:
            yield f"    {call['shapes']}"


# ---- a new process -------------------------------------------------------------------------------


def warm(workload: Workload, threads: int, rounds: int) -> dict[str, Figures]:
    """Seconds from after the import to the first result, of new processes in turns: with an empty
    disk cache, and with what an earlier process has left there.
    """
    names = ("tracejit", "jax")
    times: dict[str, dict[str, list[float]]] = {n: {"cold": [], "warm": []} for n in names}
    with tempfile.TemporaryDirectory(prefix="perf_") as cache:

        def turn(name: str, disk_cache: str | None) -> float:
            more = {"fresh": True, "disk_cache": disk_cache}
            return float(asked(name, workload, threads, "fresh", **more)["seconds"])

        for name in names:
            try:
                turn(name, cache)
                for _ in range(rounds):
                    times[name]["cold"].append(turn(name, None))
                    times[name]["warm"].append(turn(name, cache))
            except WorkerError as error:
                print(f"without {name}: {error}", file=sys.stderr)
                del times[name]
    return {name: {k: median(v) for k, v in found.items()} for name, found in times.items()}


def warm_heading() -> str:
    names = f"{'tracejit cold':>16}{'warm':>10}{'jax cold':>16}{'warm':>10}{'warm by JAX':>14}"
    return f"{'milliseconds, import to result':<36}{names}"


def warm_line(title: str, found: dict[str, Figures]) -> str:
    cells = ""
    for name in ("tracejit", "jax"):
        times = found.get(name)
        cells += (
            f"{'-':>16}{'-':>10}"
            if times is None
            else f"{times['cold'] * 1e3:>16.1f}{times['warm'] * 1e3:>10.1f}"
        )
    both = len(found) == 2
    ratio = f"{found['tracejit']['warm'] / found['jax']['warm']:.2f}" if both else "-"
    return f"{title:<36}{cells}{ratio:>14}"


def warm_summary(rows: dict[str, dict[str, Figures]]) -> Iterator[str]:
    if "tracejit" in rows.get("mlp_step", {}):
        seconds = rows["mlp_step"]["tracejit"]["warm"]
        verdict = "met" if seconds < 0.05 else "missed"
        yield f"goal, MLP step in a new process under 50 ms: {seconds * 1e3:.1f} ms, {verdict}"
    both = [f for f in rows.values() if len(f) == 2]
    if both:
        mean = geometric_mean(f["tracejit"]["warm"] / f["jax"]["warm"] for f in both)
        yield f"geometric mean of warm starts by JAX's: {mean:.3f} ({len(both)} rows)"


# ---- command line --------------------------------------------------------------------------------


def show_stages(chosen: Sequence[Workload], options: argparse.Namespace) -> Figures:
    rows: Figures = {}
    for workload in chosen:
        try:
            found = stages(workload, options.threads, options.rounds)
        except WorkerError as error:  # the other rows are still of use
            print(f"{workload.title:<36}  {error}")
            continue
        if not rows:
            print(stage_heading(found))
        print(stage_line(workload.title, found), flush=True)
        rows[workload.name] = found
    return rows


def show_kernels(chosen: Sequence[Workload], options: argparse.Namespace) -> Figures:
    rows: Figures = {}
    for workload in chosen:
        try:
            found = asked("tracejit", workload, options.threads, "kernels", seconds=options.seconds)
        except WorkerError as error:
            print(f"{workload.title:<36}  {error}")
            continue
        print("\n".join(kernel_lines(workload.title, found, options.shapes)), flush=True)
        rows[workload.name] = found
    return rows


def show_warm(chosen: Sequence[Workload], options: argparse.Namespace) -> Figures:
    print(warm_heading())
    rows: Figures = {}
    for workload in chosen:
        rows[workload.name] = warm(workload, options.threads, options.rounds)
        print(warm_line(workload.title, rows[workload.name]), flush=True)
    print("\n".join(warm_summary(rows)))
    return rows


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="", help=f"{', '.join(KINDS)}; all by default")
    parser.add_argument("workloads", nargs="*", help="names or patterns; all by default")
    parser.add_argument("--only", default="", help="the same, separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="processes or turns of each figure")
    parser.add_argument("--seconds", type=float, default=0.1, help="of samples of each kernel")
    parser.add_argument("--shapes", action="store_true", help="the arguments of each kernel")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args(arguments)
    if options.what and options.what not in KINDS:
        parser.error(f"what is measured: {', '.join(KINDS)}")
    try:
        options.workloads = workloads.select(
            [*options.workloads, *(name for name in options.only.split(",") if name)]
        )
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    what = [options.what] if options.what else list(KINDS)
    found: Figures = {"machine": describe(options.threads)}
    if "peaks" in what:
        found["peaks"] = peaks(options.threads, 5 * options.seconds)
        print("\n".join(peak_lines(found["peaks"])))
    if "dispatch" in what:
        found["dispatch"] = dispatch(options.threads, options.rounds)
        print("\n".join(dispatch_lines(found["dispatch"])))
    if "eager" in what:
        found["eager"] = eager.measure(options.rounds)
        print("\n".join(eager.lines(found["eager"])))
    for name, show in (("stages", show_stages), ("kernels", show_kernels), ("warm", show_warm)):
        if name in what:
            found[name] = show(options.workloads, options)
    if options.json is not None:
        run.write(options.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
