"""The table of ``gpu.py``: what of a row is compared, its line, the summary; and merged figures.

    print(heading(names)); print(line(row, names, ceilings)); print("\\n".join(summary(rows, ...)))

In: rows as ``gpu.py`` keeps them in its JSON, and ceilings. Out: text and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import geometric_mean, median
from typing import Any

Row = dict[str, Any]
KINDS = ("waited", "pipelined", "launch", "device")
OWN = "tracejit"


def condensed(turns: Sequence[dict[str, list[float]]]) -> dict[str, Any]:
    """Seconds per call: the median over the turns of each turn's median, and the least."""
    found: dict[str, Any] = {"turns": len(turns)}
    for kind in KINDS:
        present = [turn[kind] for turn in turns if turn.get(kind)]
        if present:
            found[f"{kind}_seconds"] = median(map(median, present))
            found[f"{kind}_least"] = min(map(min, present))
    return found


def times(row: Row, kind: str) -> dict[str, float]:
    """Seconds by framework, of those that were timed."""
    field = f"{kind}_seconds"
    return {name: f[field] for name, f in row["frameworks"].items() if f.get(field)}


def fastest_peer(row: Row, kind: str = "pipelined") -> tuple[str, float] | None:
    found = {name: value for name, value in times(row, kind).items() if name != OWN}
    return min(found.items(), key=lambda pair: pair[1]) if found else None


def ratio(row: Row, kind: str = "pipelined") -> float | None:
    """tracejit's time by that of the fastest peer; below 1, tracejit is faster."""
    own, peer = times(row, kind).get(OWN), fastest_peer(row, kind)
    return own / peer[1] if own and peer else None


def by(row: Row, name: str, kind: str = "pipelined") -> float | None:
    """tracejit's time by one framework's."""
    found = times(row, kind)
    return found[OWN] / found[name] if OWN in found and name in found else None


def own_seconds(row: Row) -> float | None:
    """The device's time in tracejit; the host's where there are no events."""
    return times(row, "device").get(OWN) or times(row, "pipelined").get(OWN)


def copy_rate(ceilings: Row, nbytes: float) -> float | None:
    """Bytes per second of the best copy whose reads and writes are nearest to ``nbytes``."""
    rates: dict[float, float] = {}
    for found in ceilings.values():
        for size, rate in found.get("copy", {}).items():
            rates[float(size)] = max(rate, rates.get(float(size), 0.0))
    if not rates or nbytes <= 0:
        return None
    return rates[min(rates, key=lambda size: abs(math.log(size / nbytes)))]


def matmul_rate(ceilings: Row, kind: str) -> float | None:
    """Additions and multiplications per second of the best product by cuBLAS."""
    found = [c["matmul"][kind] for c in ceilings.values() if kind in c.get("matmul", {})]
    return max(found) if found else None


def of_copy(row: Row, ceilings: Row) -> float | None:
    """The share that a row limited by memory reaches of a copy of as many bytes."""
    own, nbytes = own_seconds(row), row.get("bytes")
    rate = copy_rate(ceilings, nbytes) if row.get("memory_bound") and nbytes else None
    return nbytes / own / rate if own and rate and nbytes else None


def of_library(row: Row, ceilings: Row) -> float | None:
    """The share that a row reaches of what a library does by itself."""
    own = own_seconds(row)
    if not own:
        return None
    if row.get("library") == "torch":
        kind = "device" if OWN in times(row, "device") else "pipelined"
        peer = times(row, kind).get("torch")
        return peer / own if peer else None
    if row.get("library") == "matmul":
        kind = row["dtype"] if row["precision"] != "tf32" else "tf32"
        rate = matmul_rate(ceilings, kind)
        return row["flops"] / own / rate if rate else None
    return None


# ---- lines ---------------------------------------------------------------------------------------


def short(name: str) -> str:
    return {"torch.compile": "compile", "torch.graphs": "graphs", "cupy.fuse": "cupy"}.get(
        name, name
    )


def heading(names: Sequence[str]) -> str:
    first = "".join(f"{short(name):>10}" for name in names)
    cells = f"{'device':>10}{'by torch':>9}{'by peer':>9}{'by JAX':>8}{'copy':>7}{'library':>8}"
    top = f"{'milliseconds, calls in a row':<44}{first}{cells}"
    return f"{top}{'first':>9}{'by JAX':>8}"


def line(row: Row, names: Sequence[str], ceilings: Row) -> str:
    found = times(row, "pipelined")
    cells = [f"{row['title'][:43]:<44}"]
    for name in names:
        why = "wrong" if row.get("different", {}).get(name) else "-"
        cells.append(f"{milliseconds(found[name]) if name in found else why:>10}")
    device = times(row, "device").get(OWN)
    cells.append(f"{milliseconds(device) if device else '-':>10}")
    cells.append(f"{number(by(row, 'torch', 'device')):>9}{number(ratio(row)):>9}")
    cells.append(f"{number(by(row, 'jax')):>8}{percent(of_copy(row, ceilings)):>7}")
    cells.append(f"{percent(of_library(row, ceilings)):>8}")
    first = times(row, "first").get(OWN)
    cells.append(f"{milliseconds(first) if first else '-':>9}{number(by(row, 'jax', 'first')):>8}")
    return "".join(cells)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.4f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def present(rows: Sequence[Row], value: Any) -> dict[str, float]:
    """{name of a row: value} of the rows that have one, largest first."""
    found = {row["name"]: value(row) for row in rows}
    kept = {name: v for name, v in found.items() if v is not None}
    return dict(sorted(kept.items(), key=lambda pair: -pair[1]))


def summary(rows: Sequence[Row], ceilings: Row) -> list[str]:
    """Geometric means of the ratios and the worst rows, shares of ceilings, launches."""
    lines = []
    for what, value in (
        ("time by the fastest peer's", ratio),
        ("time by JAX's", lambda row: by(row, "jax")),
        ("time by torch.compile's", lambda row: by(row, "torch.compile")),
        ("device time by torch's", lambda row: by(row, "torch", "device")),
        ("device time by torch.compile's", lambda row: by(row, "torch.compile", "device")),
        ("first call by JAX's", lambda row: by(row, "jax", "first")),
        ("first call by torch.compile's", lambda row: by(row, "torch.compile", "first")),
    ):
        found = present(rows, value)
        if found:
            won = sum(v <= 1 for v in found.values())
            worst = ", ".join(f"{name} {v:.2f}" for name, v in list(found.items())[:5])
            mean = geometric_mean(found.values())
            lines.append(f"{what}: mean {mean:.3f}, {won} of {len(found)} below 1; worst: {worst}")
    for what, value in (
        ("share of a copy", lambda row: of_copy(row, ceilings)),
        ("share of the library", lambda row: of_library(row, ceilings)),
    ):
        found = dict(reversed(present(rows, value).items()))
        if found:
            least = ", ".join(f"{name} {v:.0%}" for name, v in list(found.items())[:6])
            lines.append(f"{what}: mean {geometric_mean(found.values()):.0%}; least: {least}")
    for row in rows:
        for kind, what in (("pipelined", "in a row"), ("waited", "that is waited for")):
            each = [f"{short(name)} {v * 1e6:.1f}" for name, v in times(row, kind).items()]
            if row.get("short") and each:
                lines.append(f"microseconds, a call {what}, {row['name']}: {', '.join(each)}")
    return lines


def problems(rows: Sequence[Row]) -> list[str]:
    """What is missing from the table and why, a line each."""
    return [
        f"{row['name']}, {name}: {what}{why}"
        for row in rows
        for what, field in (("wrong: ", "different"), ("", "failed"))
        for name, why in row.get(field, {}).items()
    ]


# ---- figures of several runs ---------------------------------------------------------------------


def merged(old: Row, new: Row) -> Row:
    """Figures of two runs as one: a row's framework that was timed anew replaces the older one, and
    rows or frameworks that were not measured now stay.
    """
    rows = {row["name"]: row for row in old.get("rows", [])}
    for row in new.get("rows", []):
        before = rows.get(row["name"], {})
        whole = {**before, **row}
        for field in ("frameworks", "different", "failed"):
            kept = {
                name: value
                for name, value in before.get(field, {}).items()
                if not any(name in row.get(f, {}) for f in ("frameworks", "different", "failed"))
            }
            whole[field] = {**kept, **row.get(field, {})}
        rows[row["name"]] = whole
    found = {**old, **new, "rows": list(rows.values())}
    if "ceilings" in old or "ceilings" in new:
        found["ceilings"] = {**old.get("ceilings", {}), **new.get("ceilings", {})}
    return found
