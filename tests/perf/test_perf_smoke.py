"""The harness of ``perf/`` at work on one tiny workload; no time is asserted."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "perf"


@pytest.fixture(autouse=True)
def perf(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts import each other as top-level modules."""
    monkeypatch.syspath_prepend(str(FOLDER))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def row(**seconds: float) -> dict:
    """A row as ``measure`` makes it; the first call takes ten times as long."""
    figures = {
        name.replace("_", "."): {
            "run_seconds": value,
            "least_seconds": value / 2,
            "first_seconds": 10 * value,
        }
        for name, value in seconds.items()
    }
    return {"title": "made up", "failed": {}, "frameworks": figures}


def test_one_row_through_a_process(tmp_path, capsys):
    target = tmp_path / "figures" / "one.json"
    arguments = ["--only", "dispatch", "--frameworks", "tracejit", "--rounds", "2"]
    status = module("run").main([*arguments, "--seconds", "0.001", "--json", str(target)])
    assert status == 0, capsys.readouterr().out
    (found,) = json.loads(target.read_text())["rows"]
    figures = found["frameworks"]["tracejit"]
    assert len(figures["turns"]) == 2
    assert 0 < figures["least_seconds"] <= figures["run_seconds"]
    assert "x + 1, 4 elements" in capsys.readouterr().out


def test_a_worker_that_fails_is_reported():
    session, workloads = module("session"), module("workloads")
    with session.Workers(workloads.find("dispatch"), ["nonesuch"], threads=1) as workers:
        assert "no framework 'nonesuch'" in str(workers.failed["nonesuch"])
        assert workers.first() == {} and workers.turns(1, 0.0) == {}


def test_workloads_are_named_once_and_reproducible():
    workloads = module("workloads")
    names = [w.name for w in workloads.WORKLOADS]
    assert len(set(names)) == len(names)
    first, second = (workloads.find("layer_norm").make_inputs() for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    (wide,) = workloads.find("softmax_f64").make_inputs()
    assert wide.dtype == np.float64


def test_select():
    workloads = module("workloads")
    assert [w.name for w in workloads.select(["softmax", "matmul"])] == ["softmax", "matmul"]
    assert {w.issue for w in workloads.select(["issue2"])} == {2}
    assert len(workloads.select(["sum_*"])) == 3
    assert workloads.select([]) == workloads.WORKLOADS
    with pytest.raises(ValueError, match="no workload 'nonesuch'"):
        workloads.select(["nonesuch"])


def test_differences_are_found():
    difference, workload = module("session").difference, module("workloads").find("softmax")
    a = np.arange(1.0, 101.0, dtype=np.float32)
    assert difference([a], [a * np.float32(1 + 1e-6)], workload) == ""
    assert "1 arrays, not 2" in difference([a], [a, a], workload)
    assert "shape" in difference([a], [a[:50]], workload)
    assert "dtype" in difference([a], [a.astype(np.float64)], workload)
    b = a.copy()
    b[3] = np.nan
    assert "1 of 100 elements" in difference([b], [a], workload)
    assert difference([b], [a], replace(workload, differing=0.01)) == ""


def test_ratios():
    run = module("run")
    rows = [row(tracejit=1.0, jax=4.0, torch=2.0), row(tracejit=8.0, jax=1.0, torch_compile=16.0)]
    assert [run.ratio(r, "run_seconds") for r in rows] == [0.5, 8.0]
    assert [run.first_ratio(r) for r in rows] == [0.25, 8.0]
    assert run.ratio(row(tracejit=1.0), "run_seconds") is None
    assert "2.000" in run.summary(rows)[0] and "worst 8.00" in run.summary(rows)[0]
    text = run.line(rows[0], ("tracejit", "jax", "torch", "torch.compile"))
    assert "0.50" in text and "-" in text


def test_generated_peaks_compute_what_they_time():
    from tracejit.kernel import interp
    from tracejit.kernel.text import parse

    micro = module("micro")
    x = np.full((1, 4), 0.5, np.float32)
    y = np.zeros_like(x)
    interp.run(
        parse(micro.COPY.format(width=4)), {"x": x, "y": y}, {"n0": 1, "n1": 4, "repeats": 2}
    )
    np.testing.assert_array_equal(x, y)
    interp.run(parse(micro.fma_text(4)), {"x": x, "y": y}, {"n0": 1, "repeats": 3})
    expected = 0.0
    for k in range(micro.CHAINS):
        chain = 0.5 + k
        for _ in range(3):
            chain = chain * 0.5 + 0.5
        expected += chain
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    plot = module("plot")
    data = {"machine": {"processor": "any", "threads": 2}, "rows": [row(tracejit=1.0, jax=3.0)]}
    assert plot.speedups(data["rows"]) == [("made up", {"jax": 3.0})]
    plot.draw(data, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
