"""The table of ``run.py``: ratios of a row, its line, the summary and which goals are met.

    print(heading(names)); print(line(row, names)); print("\\n".join(summary(rows)))

In: rows as ``run.measure`` makes them, or as they are read from its JSON. Out: text and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import geometric_mean
from typing import Any

Row = dict[str, Any]

#: a peer that is faster by no more than this counts as equal
EQUAL = 1 / 0.95


def ratio(row: Row, field: str) -> float | None:
    """tracejit's time by that of the fastest peer."""
    found = {name: figures[field] for name, figures in row["frameworks"].items()}
    if "tracejit" not in found or len(found) < 2:
        return None
    return float(
        found["tracejit"] / min(value for name, value in found.items() if name != "tracejit")
    )


def by_jax(row: Row, field: str) -> float | None:
    """tracejit's time by JAX's."""
    found = row["frameworks"]
    if "tracejit" not in found or "jax" not in found:
        return None
    return float(found["tracejit"][field] / found["jax"][field])


def first_ratio(row: Row) -> float | None:
    """tracejit's first call by JAX's: torch's eager calls compile nothing."""
    return by_jax(row, "first_seconds")


def of_peak(row: Row) -> float | None:
    """What a row achieves of the rate of the machine that limits it, measured in turns with it."""
    limit, own = row.get("limit"), row["frameworks"].get("tracejit")
    if limit is None or own is None:
        return None
    return float(limit["work"] / own["run_seconds"] / limit["rate"])


# ---- lines ---------------------------------------------------------------------------------------


def heading(names: Sequence[str]) -> str:
    columns = "".join(f"{name:>22}" for name in names)
    under = "".join(f"{'first':>12}{'run':>10}" for _ in names)
    return (
        f"{'milliseconds':<36}{columns}{'run by':>14}{'first':>8}{'of':>12}\n"
        f"{'':<36}{under}{'fastest peer':>14}{'by JAX':>8}{'peak':>12}"
    )


def line(row: Row, names: Sequence[str]) -> str:
    cells = [f"{row['title']:<36}"]
    for name in names:
        figures = row["frameworks"].get(name)
        if figures is None:
            cells.append(f"{'failed' if name in row['failed'] else '-':>22}")
            continue
        cells.append(f"{milliseconds(figures['first_seconds']):>12}")
        cells.append(f"{milliseconds(figures['run_seconds']):>10}")
    run, first, peak = ratio(row, "run_seconds"), first_ratio(row), of_peak(row)
    cells.append(f"{'-' if run is None else f'{run:.2f}':>14}")
    cells.append(f"{'-' if first is None else f'{first:.2f}':>8}")
    cells.append(f"{'-' if peak is None else f'{peak:.0%} ' + row['limit']['kind']:>12}")
    return "".join(cells)


def milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.4f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def present(rows: Sequence[Row], value: Callable[[Row], float | None]) -> dict[str, float]:
    """{name of a row: value} of the rows that have one, largest first."""
    found = {row["name"]: value(row) for row in rows}
    kept = {name: number for name, number in found.items() if number is not None}
    return dict(sorted(kept.items(), key=lambda pair: -pair[1]))


def summary(rows: Sequence[Row]) -> list[str]:
    """Geometric means of the ratios, how many rows are won, and the worst ones."""
    lines = []
    for what, value in (
        ("run time by the fastest peer's", lambda row: ratio(row, "run_seconds")),
        ("least run time by the fastest peer's", lambda row: ratio(row, "least_seconds")),
        ("run time by JAX's", lambda row: by_jax(row, "run_seconds")),
        ("first call by JAX's", first_ratio),
    ):
        found = present(rows, value)
        if not found:
            continue
        mean = geometric_mean(found.values())
        won = sum(number <= 1.0 for number in found.values())
        equal = sum(number <= EQUAL for number in found.values())
        worst = ", ".join(f"{name} {number:.2f}" for name, number in list(found.items())[:5])
        lines.append(
            f"geometric mean of {what}: {mean:.3f} ({1 / mean:.2f} times as fast); of "
            f"{len(found)} rows {won} at or below 1.0, {equal} at or below 1/0.95; worst: {worst}"
        )
    return lines


# ---- goals ---------------------------------------------------------------------------------------


def goals(rows: Sequence[Row]) -> list[str]:
    """Each goal for speed, how many of its rows reach it, and those that do not."""
    runs = present(rows, lambda row: ratio(row, "run_seconds"))
    firsts = present(rows, first_ratio)
    jax = present(rows, lambda row: by_jax(row, "run_seconds"))
    copies = {row["name"]: of_peak(row) for row in rows if limited(row, "copy")}
    sums = {row["name"]: of_peak(row) for row in rows if limited(row, "fma")}
    loops = ("mandelbrot", "n_body", "stencil")
    own = {row["name"]: row["frameworks"].get("tracejit") for row in rows}
    call = {n: own[n]["run_seconds"] * 1e6 for n in ("dispatch",) if own.get(n)}
    found = [
        goal("not slower than the fastest peer (0.95 is equal)", runs, lambda x: x <= EQUAL),
        mean_goal("2.5 times as fast as the fastest peer", runs, 1 / 2.5),
        goal(
            "20 times as fast as JAX",
            {name: 1 / jax[name] for name in loops if name in jax},
            lambda x: x >= 20,
        ),
        goal("85 % of a copy's bandwidth", copies, lambda x: x >= 0.85),
        goal(
            "65 % of the machine's fma, convolution",
            {name: sums[name] for name in ("conv",) if name in sums},
            lambda x: x >= 0.65,
        ),
        goal(
            "85 % of the machine's fma, matmul",
            {name: sums[name] for name in ("matmul",) if name in sums},
            lambda x: x >= 0.85,
        ),
        goal("first call at most half of JAX's", firsts, lambda x: x <= 0.5),
        mean_goal("first call a quarter of JAX's", firsts, 0.25),
        goal("a call under 2.5 microseconds", call, lambda x: x < 2.5),
        goal(
            "30 arguments not slower than JAX",
            {name: jax[name] for name in ("dispatch_tree",) if name in jax},
            lambda x: x <= EQUAL,
        ),
    ]
    return [text for text in found if text]


def limited(row: Row, kind: str) -> bool:
    return of_peak(row) is not None and row["limit"]["kind"] == kind


def goal(what: str, values: dict[str, Any], reached: Callable[[float], bool]) -> str:
    if not values:
        return ""
    missed = {name: value for name, value in values.items() if not reached(value)}
    if not missed:
        return f"met     {what}: {named(values) if len(values) < 4 else f'{len(values)} rows'}"
    return f"missed  {what}: {len(values) - len(missed)} of {len(values)} rows; not {named(missed)}"


def mean_goal(what: str, values: dict[str, float], most: float) -> str:
    """The same for a geometric mean, over at least two rows."""
    if len(values) < 2:
        return ""
    mean = geometric_mean(values.values())
    verdict = "met   " if mean <= most else "missed"
    return f"{verdict}  {what}, geometric mean: {mean:.3f} (goal {most:.2f})"


def named(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())
