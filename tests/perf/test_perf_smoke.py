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
    return {"name": "made_up", "title": "made up", "failed": {}, "frameworks": figures}


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


def test_a_worker_that_dies_is_reported():
    session, workloads = module("session"), module("workloads")
    with session.Workers(workloads.find("dispatch"), ["tracejit"], threads=1) as workers:
        process = workers.workers["tracejit"].process
        process.kill()
        process.wait()
        assert workers.first() == {}
        assert "the process ended" in str(workers.failed["tracejit"])


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
    assert workloads.select([]) == workloads.select(["all"]) == workloads.WORKLOADS
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
    table = module("table")
    rows = [row(tracejit=1.0, jax=4.0, torch=2.0), row(tracejit=8.0, jax=1.0, torch_compile=16.0)]
    rows[1]["name"] = "other"
    assert [table.ratio(r, "run_seconds") for r in rows] == [0.5, 8.0]
    assert [table.first_ratio(r) for r in rows] == [0.25, 8.0]
    assert table.ratio(row(tracejit=1.0), "run_seconds") is None
    first, *_ = table.summary(rows)
    assert "2.000" in first and "worst: other 8.00, made_up 0.50" in first
    assert "of 2 rows 1 at or below 1.0, 1 at or below 1/0.95" in first
    text = table.line(rows[0], ("tracejit", "jax", "torch", "torch.compile"))
    assert "0.50" in text and "-" in text
    widths = {len(part) for part in table.heading(("tracejit", "jax")).splitlines()}
    assert widths == {len(table.line(rows[0], ("tracejit", "jax")))}


def test_share_of_what_limits_a_row():
    table, run = module("table"), module("run")
    about = {"limit": {"kind": "copy", "work": 8.0, "amount": 64.0}}
    limit = run.rate(about, [[2.0, 4.0, 3.0], [5.0]])
    assert limit == {"kind": "copy", "work": 8.0, "rate": 16.0, "best": 32.0}
    assert run.rate(None, None) is None
    limited = {**row(tracejit=1.0, jax=2.0), "limit": limit}
    assert table.of_peak(limited) == 0.5
    assert "50% copy" in table.line(limited, ("tracejit",))
    assert table.of_peak(row(tracejit=1.0)) is None


def test_goals_name_the_rows_that_miss_them():
    goals = module("table").goals
    slow = {**row(tracejit=3.0, jax=2.0), "name": "dispatch_tree"}
    fast = {**row(tracejit=1.0, jax=30.0), "name": "stencil"}
    equal = {**row(tracejit=1.0, jax=0.96), "name": "dispatch"}
    found = {text[8:].partition(":")[0]: text for text in goals([slow, fast, equal])}
    assert found["not slower than the fastest peer (0.95 is equal)"].startswith("missed")
    assert "2 of 3 rows; not dispatch_tree 1.50" in "\n".join(found.values())
    assert found["20 times as fast as JAX"].startswith("met")
    assert found["30 arguments not slower than JAX"].startswith("missed")
    assert found["a call under 2.5 microseconds"].startswith("missed")
    assert "85 % of a copy's bandwidth" not in found
    assert goals([]) == []


def test_generated_peaks_compute_what_they_time():
    from tracejit.kernel import interp
    from tracejit.kernel.text import parse

    machine = module("machine")
    x = np.full((1, 4), 0.5, np.float32)
    y = np.zeros_like(x)
    interp.run(
        parse(machine.COPY.format(width=4)), {"x": x, "y": y}, {"n0": 1, "n1": 4, "repeats": 2}
    )
    np.testing.assert_array_equal(x, y)
    interp.run(parse(machine.fma_text(4)), {"x": x, "y": y}, {"n0": 1, "repeats": 3})
    expected = 0.0
    for k in range(machine.CHAINS):
        chain = 0.5 * (k + 1)
        for _ in range(3):
            chain = chain * 0.5 + 0.5
        expected += chain
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize("how", ["kernel", "memcpy"])
@pytest.mark.parametrize("threads", [1, 2])
def test_copies_copy_everything(how, threads):
    tracejit = importlib.import_module("tracejit")
    machine = module("machine")
    with tracejit.settings(threads=threads):
        native, amount = machine.Machine().copy(80_000, threads, how)
        native.run(1)
    x, y = native.arrays
    np.testing.assert_array_equal(x, y)
    assert amount % (2 * x.nbytes) == 0 and 2 * x.nbytes <= 80_000


def test_multiply_adds_in_both_precisions():
    machine = module("machine")
    for dtype in ("f32", "f64"):
        native, amount = machine.Machine().fma(dtype, 1)
        native.run(1)
        np.testing.assert_allclose(native.arrays[1], machine.CHAINS, rtol=1e-5)
        assert amount == pytest.approx(machine.LONG_SUM, rel=0.01)


def test_processor_name():
    name = module("machine").processor_name
    assert name("model name\t: Fast One\ncpu family\t: 25\nmodel\t\t: 17\n") == (
        "Fast One (family 25, model 17)"
    )
    assert name("")


def test_operations_of_a_kernel_are_counted():
    from tracejit.kernel.text import parse

    profiling = module("profiling")
    kernel = parse(
        """\
kernel counted[n](in x: f32[n], out y: f32[n])
  par i in 4:
    part: i64 = mul(i, 2)
    rows: i64 = min(sub(n, part), 10)
    vec(4x1) j in rows:
      y[j] = fma(x[j], x[j], add(x[j], 1.0))
"""
    )
    assert profiling.flops(kernel.body, {"n": 100}) == (4 * 10 * 3.0, True)
    assert profiling.flops(kernel.body, {"n": 6}) == (4 * 6 * 3.0, True)
    assert profiling.flops(kernel.body, {}) == (4 * 3.0, False)


def test_kernels_and_stages_of_a_workload():
    tracejit = importlib.import_module("tracejit")
    profiling, workload = module("profiling"), module("workloads").find("dispatch")
    function = tracejit.jit(workload.array(tracejit))
    arguments = list(workload.make_inputs())
    stages = profiling.stage_seconds(function, arguments, 1)
    assert {"trace", "passes", "llvm"} <= set(stages) and stages["count"] == 1
    (call,) = profiling.kernel_figures(function, arguments, 1, 0.001)["calls"]
    assert (call["bytes"], call["flops"], call["exact"]) == (32, 4.0, True)
    assert 0 < call["least"] <= call["median"]


def test_lines_of_micro():
    micro = module("micro")
    call = {
        "name": "copy",
        "shapes": "in f32[1000]",
        "dtype": "f32",
        "threads": 1,
        "bytes": 8e9,
        "flops": 5e9,
        "exact": False,
        "least": 0.5,
        "median": 1.0,
        "copy_rate": 16e9,
    }
    found = {"calls": [call, {"name": "host sort", "threads": 1}], "fma_rate": {"f32": {"1": 5e10}}}
    heading, first, shapes, host = micro.kernel_lines("title", found, shapes=True)
    assert len(heading) == len(first) and "50%" in first and "10%+" in first
    assert "f32[1000]" in shapes and "host sort" in host
    times = {"tracejit": {"cold": 0.2, "warm": 0.04}, "jax": {"cold": 0.3, "warm": 0.08}}
    assert micro.warm_line("title", times).split() == "title 200.0 40.0 300.0 80.0 0.50".split()
    assert "-" in micro.warm_line("title", {"tracejit": times["tracejit"]})
    goal, mean = micro.warm_summary({"mlp_step": times})
    assert "40.0 ms, met" in goal and "0.500" in mean
    stages = {"trace": 0.001, "llvm": 0.002, "count": 3.0}
    assert micro.stage_line("title", stages).split() == "title 1.00 2.00 3.00 3".split()
    assert len(micro.stage_heading(stages)) == len(micro.stage_line("title", stages))


def test_first_calls_find_no_cache_and_warm_ones_do(monkeypatch):
    monkeypatch.setenv("TRACEJIT_CACHE", "somewhere")
    environment = module("frameworks").environment
    cold, warm = environment(2, "folder"), environment(2, "folder", "kept")
    assert cold["TRACEJIT_CACHE"] == "off" and "JAX_COMPILATION_CACHE_DIR" not in cold
    assert Path(warm["TRACEJIT_CACHE"]) == Path("kept", "tracejit")
    assert Path(warm["JAX_COMPILATION_CACHE_DIR"]) == Path("kept", "jax")


def test_memory_table():
    memory = module("peak_memory")
    figures = {
        name: {"first_call": 3e6, "calls": c} for name, c in (("tracejit", 1e6), ("jax", 2e6))
    }
    found = {"name": "one", "title": "made up", "planned": 10, "alive": 8, "frameworks": figures}
    assert memory.by_jax(found) == 0.5
    assert memory.line(found, ("tracejit", "jax", "torch")).split()[-1] == "0.50"
    assert "1.250" in memory.line(found, ("tracejit",))
    assert memory.goal([found]).startswith("met")
    worse = {**found, "frameworks": {"tracejit": figures["jax"], "jax": figures["tracejit"]}}
    assert memory.goal([found, worse]) == "missed  peak memory at or below JAX's: not one 2.00"
    assert memory.goal([]) == ""


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    plot = module("plot")
    rows = [row(tracejit=1.0, jax=4.0, torch=2.0), row(jax=3.0)]
    assert plot.run_points(rows) == [("made up", {"tracejit": 0.5, "jax": 2.0, "torch": 1.0})]
    assert plot.first_points(rows[:1]) == {"made up": {"tracejit": 0.25, "jax": 1.0}}
    assert plot.clipped(0.01, (0.1, 10)) == (0.1, "<") and plot.clipped(1, (0.1, 10)) == (1, "")
    data = {"machine": {"processor": "any", "threads": 2}, "rows": rows[:1]}
    later = {**data, "rows": [{**rows[0], "title": "again"}]}
    assert [found["title"] for found in plot.merged([data, later])["rows"]] == ["again"]
    plot.draw(data, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
