"""The plot of the figures that ``perf/run.py --json`` wrote.

    python perf/plot.py perf/results/cpu.json                      writes docs/images/benchmarks.png
    python perf/plot.py perf/results/cpu.json --out plot.svg

Left, a row for each workload: each framework's run time divided by that of the fastest of JAX,
torch and torch.compile, on a logarithmic axis; left of 1 is faster than all of them. Right: first
calls divided by JAX's. Several files are drawn as one table; a row that occurs again replaces the
earlier one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: colours of Okabe and Ito's palette, which the colour-blind can tell apart, and a shape for each
STYLES = {
    "tracejit": ("#D55E00", "D"),
    "jax": ("#0072B2", "o"),
    "torch": ("#009E73", "s"),
    "torch.compile": ("#CC79A7", "^"),
}
DEFAULT = Path(__file__).resolve().parent.parent / "docs" / "images" / "benchmarks.png"
#: what lies outside is drawn as an arrow at the edge
RUN_RANGE, FIRST_RANGE = (0.02, 20.0), (0.05, 20.0)
Points = list[tuple[str, dict[str, float]]]


def run_points(rows: Sequence[dict[str, Any]]) -> Points:
    """(title, {framework: its run time by the fastest peer's}) of every row with tracejit and a
    peer.
    """
    found = []
    for row in rows:
        times = {name: figures["run_seconds"] for name, figures in row["frameworks"].items()}
        peers = [value for name, value in times.items() if name != "tracejit"]
        if "tracejit" in times and peers:
            fastest = min(peers)
            found.append((row["title"], {name: value / fastest for name, value in times.items()}))
    return found


def first_points(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """{title: {framework: its first call by JAX's}}, of those that compile."""
    found = {}
    for row in rows:
        times = {name: figures["first_seconds"] for name, figures in row["frameworks"].items()}
        if "jax" in times:
            found[row["title"]] = {
                name: value / times["jax"] for name, value in times.items() if name != "torch"
            }
    return found


def merged(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several files' rows as one table, about the machine of the last."""
    rows = {row["name"]: row for table in tables for row in table["rows"]}
    return {"machine": tables[-1]["machine"], "rows": list(rows.values())}


def clipped(value: float, limits: tuple[float, float]) -> tuple[float, str]:
    """Where a point is drawn, and the arrow that marks it when that is the edge."""
    low, high = limits
    return (low, "<") if value < low else (high, ">") if value > high else (value, "")


def draw_panel(axes: Any, points: Points, limits: tuple[float, float], label: str) -> None:
    for place, (_, found) in enumerate(points):
        inside = [clipped(value, limits)[0] for value in found.values()]
        if inside:
            axes.plot([min(inside), max(inside)], [place, place], color="#cccccc", linewidth=1.2)
    for name, (colour, marker) in STYLES.items():
        own = name == "tracejit"
        for place, (_, found) in enumerate(points):
            if name in found:
                x, arrow = clipped(found[name], limits)
                axes.plot(
                    [x],
                    [place],
                    arrow or marker,
                    color=colour,
                    markersize=7 if own else 5.5,
                    zorder=4 if own else 3,
                    clip_on=False,
                )
    axes.axvline(1.0, color="black", linewidth=1.0, zorder=1)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    ticks = [
        x for x in (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20) if limits[0] <= x <= limits[1]
    ]
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(label)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def draw(data: dict[str, Any], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    runs = run_points(data["rows"])
    firsts = first_points(data["rows"])
    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(10, 1.6 + 0.27 * len(runs)),
        sharey=True,
        layout="constrained",
        gridspec_kw={"width_ratios": (3, 2)},
    )
    draw_panel(left, runs, RUN_RANGE, "run time / fastest peer's")
    draw_panel(
        right,
        [(title, firsts.get(title, {})) for title, _ in runs],
        FIRST_RANGE,
        "first call / JAX's",
    )
    left.set_yticks(range(len(runs)), [title for title, _ in runs])
    left.set_ylim(len(runs) - 0.4, -0.6)
    present = [name for name in STYLES if any(name in found for _, found in runs)]
    handles = [
        Line2D([], [], color=STYLES[n][0], marker=STYLES[n][1], linestyle="", label=n)
        for n in present
    ]
    machine = data["machine"]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(
        f"{machine['processor']}, {machine['threads']} threads: further left is faster", fontsize=11
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", type=Path, nargs="+", help="files that perf/run.py --json wrote")
    parser.add_argument("--out", type=Path, default=DEFAULT)
    chosen = parser.parse_args(arguments)
    data = merged([json.loads(path.read_text(encoding="utf-8")) for path in chosen.figures])
    if not run_points(data["rows"]):
        parser.error("no row with tracejit and a peer")
    draw(data, chosen.out)
    print(f"plot: {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
