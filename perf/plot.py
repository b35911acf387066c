"""A bar plot of the figures that ``perf/run.py --json`` wrote.

    python perf/plot.py perf/results/cpu.json                      writes docs/images/benchmarks.png
    python perf/plot.py perf/results/cpu.json --out plot.svg

One bar for each peer and workload: the peer's run time divided by tracejit's, on a logarithmic
axis. Bars to the right of 1 are rows in which tracejit is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLOURS = {"jax": "#4878a8", "torch": "#d98452", "torch.compile": "#8f6aa8"}
DEFAULT = Path(__file__).resolve().parent.parent / "docs" / "images" / "benchmarks.png"


def speedups(rows: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, float]]]:
    """(title, {peer: its run time by tracejit's}) of every row that has both."""
    found = []
    for row in rows:
        times = {name: figures["run_seconds"] for name, figures in row["frameworks"].items()}
        own = times.pop("tracejit", None)
        if own is not None and times:
            found.append((row["title"], {name: value / own for name, value in times.items()}))
    return found


def draw(data: dict[str, Any], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bars = speedups(data["rows"])
    peers = [name for name in COLOURS if any(name in found for _, found in bars)]
    thickness = 0.8 / max(len(peers), 1)
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.36 * len(bars)), layout="constrained")
    for k, peer in enumerate(peers):
        places = [n + k * thickness for n, (_, found) in enumerate(bars) if peer in found]
        lengths = [found[peer] for _, found in bars if peer in found]
        # a bar starts at 1, equal speed, and goes to either side
        widths = [length - 1 for length in lengths]
        axes.barh(places, widths, thickness, left=1.0, color=COLOURS[peer], label=peer)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks([n + 0.4 - thickness / 2 for n in range(len(bars))], [t for t, _ in bars])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("run time by tracejit's (right of 1: tracejit is faster)")
    machine = data["machine"]
    axes.set_title(f"{machine['processor']}, {machine['threads']} threads")
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", type=Path, help="a file that perf/run.py --json wrote")
    parser.add_argument("--out", type=Path, default=DEFAULT)
    chosen = parser.parse_args(arguments)
    data = json.loads(chosen.figures.read_text(encoding="utf-8"))
    if not speedups(data["rows"]):
        parser.error(f"{chosen.figures} has no row with tracejit and a peer")
    draw(data, chosen.out)
    print(f"plot: {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
