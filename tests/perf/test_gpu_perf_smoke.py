"""The GPU's harness at work without a GPU: definitions, tables, deadlines; no time is asserted."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import time
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


def row(name: str = "made_up", **seconds: float) -> dict:
    figures = {
        key.replace("_", "."): {
            "pipelined_seconds": value,
            "waited_seconds": 3 * value,
            "device_seconds": value / 2,
            "first_seconds": 10 * value,
        }
        for key, value in seconds.items()
    }
    return {
        "name": name,
        "title": name.replace("_", " "),
        "dtype": "f16",
        "precision": "any",
        "memory_bound": True,
        "bytes": 8e6,
        "flops": 4e9,
        "library": "matmul",
        "short": False,
        "frameworks": figures,
        "different": {},
        "failed": {},
    }


CEILINGS = {
    "torch": {"copy": {"1000000": 4e9, "8000000": 3.2e7}, "matmul": {"f16": 1e10, "tf32": 1e9}},
    "tracejit": {"copy": {"8000000": 1e7}, "matmul": {"f16": 1.6e10}},
}


# ---- definitions ---------------------------------------------------------------------------------


def test_rows_are_named_once_and_fit_the_table():
    found = module("gpu_workloads")
    names = [w.name for w in found.WORKLOADS]
    assert len(set(names)) == len(names) > 40
    assert all(len(w.title) <= 43 for w in found.WORKLOADS)
    assert set(found.SMALLEST) < set(names)
    assert [w.name for w in found.select(["softmax*"])] == [
        "softmax",
        "softmax_large",
        "softmax_f64",
    ]
    assert found.select([]) == found.WORKLOADS
    with pytest.raises(ValueError, match="no workload 'nonesuch'"):
        found.select(["nonesuch"])


@pytest.mark.parametrize(
    "name",
    [
        *("chain", "black_scholes", "softmax_f64", "gelu_gradient", "layers_step_bf16"),
        *("attention_causal_gradient", "residual_step", "gpt_step", "lstm_gradient"),
        *("embedding_gradient", "n_body", "scalar_loop", "matmul_f16"),
        *("fft_filter", "fft2_filter", "cholesky_many", "solve_4096", "eigvalsh_2048"),
    ],
)
def test_tiny_rows_agree_with_float64(name, tmp_path):
    """By the CPU back end; torch's operations, or NumPy's, are the reference."""
    worker, session = module("gpu_worker"), module("gpu_session")
    workload = module("gpu_workloads").find(name)
    found, exact = tmp_path / "found.npz", tmp_path / "exact.npz"
    about = worker.Session("reference", "cpu", True).reference(name, str(exact))
    assert about["bytes"] > 0 and about["by"]
    own = worker.Session("tracejit", "cpu", True)
    assert own.first(name, str(found))["seconds"] > 0
    why, error = session.difference(found, exact, workload.rtol, workload.differing)
    assert why == "" and error <= 10 * workload.rtol
    samples = own.time(name, 0.001)
    assert samples["waited"] and samples["pipelined"] and not samples["device"]
    own.forget(name)
    with pytest.raises(KeyError):
        own.time(name, 0.001)


def test_arguments_are_what_the_dtype_holds():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    found = module("gpu_workload")
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    exact = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}
    for name, dtype in exact.items():
        np.testing.assert_array_equal(
            found.held_exactly(x, name), x.astype(dtype).astype(np.float32)
        )
    first, second = (module("gpu_workloads").find("layers_bf16").arguments(True) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])
    long = found.numbers(np.random.default_rng(0), (2, found.MOST_DRAWN))
    np.testing.assert_array_equal(long[0], long[1])
    np.testing.assert_array_equal(
        found.held_exactly(long, "bf16")[1], found.held_exactly(long[1], "bf16")
    )


def test_results_are_compared(tmp_path):
    difference, worker = module("gpu_session").difference, module("gpu_worker")
    session = worker.Session("reference", "cpu", True)
    b = np.arange(1.0, 101.0)

    def stored(name, *arrays):
        session.store(str(tmp_path / name), arrays)
        return tmp_path / f"{name}.npz"

    exact = stored("exact", b)
    assert difference(stored("a", b.astype(np.float32)), exact, 1e-5, 0) == ("", pytest.approx(0))
    assert "shapes" in difference(stored("a", b[:50]), exact, 1e-5, 0)[0]
    assert "shapes" in difference(stored("a", b, b), exact, 1e-5, 0)[0]
    a = b.copy()
    a[3] += 9
    why, error = difference(stored("a", a), exact, 1e-5, 0)
    assert "1 of 100" in why and error == pytest.approx(9 / np.linalg.norm(b))
    assert difference(stored("a", a), exact, 1e-5, 0.01)[0] == ""
    a[3] = np.nan
    assert "finite" in difference(stored("a", a), exact, 1e-5, 0.01)[0]


def test_large_results_are_thinned():
    worker = module("gpu_worker")
    kept = worker.thinned(np.arange(5 * worker.KEPT).reshape(5, -1))
    assert kept.ndim == 1 and worker.KEPT / 2 < kept.size <= 2 * worker.KEPT
    assert set(np.unique(kept % 2)) == {0, 1} and kept[1] % 2 == 1


# ---- the numerics' own references ----------------------------------------------------------------


def test_references_of_convolutions_are_adjoint():
    check = module("gpu_check")
    rng = np.random.default_rng(0)
    for x, w, more in check.CONVOLUTIONS.values():
        specs = [check.conv_spec(d, "f64", x, w, "NCHW", **more) for d in check.DIRECTIONS]
        given = [rng.standard_normal(shape) for shape in (specs[0].x, specs[0].w, specs[0].y)]
        y, dx, dw = (check.convolved(spec, *given) for spec in specs)
        inner = np.vdot(y, given[2])
        assert np.vdot(dx, given[0]) == pytest.approx(inner)
        assert np.vdot(dw, given[1]) == pytest.approx(inner)


def test_references_of_products():
    check = module("gpu_check")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 5, 3, 4)), rng.standard_normal((2, 7, 3, 4))
    numbers = (((3,), (3,)), ((0, 2), (0, 2)))
    expected = np.einsum("bshd,bthd->bhst", x, y)
    np.testing.assert_allclose(check.product(x, y, numbers), expected)
    step = 1e-6
    slope = (check.gelu(x + step) - check.gelu(x - step)) / (2 * step)
    np.testing.assert_allclose(check.gelu_slope(x), slope, rtol=1e-6, atol=1e-8)


def test_verdicts(tmp_path):
    check = module("gpu_check")
    found = {
        errors if errors is None else tuple(errors): check.run_case(
            check.Case("made up", 1e-3, lambda errors=errors: errors)
        )["status"]
        for errors in (None, {"good": 1e-4}, {"bad": 1e-2}, {"nan": float("nan")})
    }
    assert found == {None: "NONE", ("good",): "PASS", ("bad",): "FAIL", ("nan",): "FAIL"}

    def broken():
        raise ValueError("no such thing\nand more")

    verdict = check.verdict(check.run_case(check.Case("broken", 1e-3, broken)))
    assert verdict.startswith("FAIL") and "ValueError: no such thing" in verdict
    assert check.error_of(np.array([np.nan]), np.ones(1)) == np.inf
    check.keep(tmp_path / "sub" / "n.json", [{"status": "PASS"}], 7)
    assert json.loads((tmp_path / "sub" / "n.json").read_text())["cases"] == 7


def test_cases_are_named_once():
    check = module("gpu_check")
    names = [case.name for case in check.cases(None, quick=False)]
    assert len(names) == len(set(names)) > 400
    assert 10 < len(check.cases(None, quick=True)) < 60


# ---- programs ------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("g++") is None, reason="a CPU that plays a GPU needs g++")
def test_programs_are_planned_without_a_gpu():
    plan, find = module("gpu_plan"), module("gpu_workloads").find
    debug = importlib.import_module("tracejit.debug")
    with debug.cuda_on_cpu((0,), checks=False):
        softmax = plan.facts(plan.planned(find("softmax")))
        layers = plan.facts(plan.planned(find("layers_bf16"), quick=True))
    assert softmax["kernels"] == softmax["launches"] == 1 and not softmax["host"]
    assert [spec.dtype for spec in layers["library"]] == ["bf16"] * 2
    text = plan.line(find("layers_bf16"), layers)
    assert "2 Gemm" in text and "on the host" not in text


# ---- deadlines and processes ---------------------------------------------------------------------


def test_deadline():
    now = [5.0]
    deadline = module("gpu_session").Deadline(100, clock=lambda: now[0])
    assert (deadline.left, deadline.share(0.25), deadline.until(0.6)) == (100, 25, 60)
    now[0] += 70
    assert (deadline.left, deadline.share(0.5), deadline.until(0.6)) == (30, 30, 0)
    now[0] += 40
    assert deadline.over and deadline.left == 0


def test_a_silent_worker_is_ended(tmp_path):
    session = module("gpu_session")
    worker = session.Worker("tracejit", str(tmp_path), session.Options("cpu", True))
    start = time.monotonic()
    with pytest.raises(session.WorkerError, match="no answer within") as caught:
        worker.started(0.02)
    assert caught.value.ended and time.monotonic() - start < 30
    assert worker.process.poll() is not None


def test_a_team_gives_up_what_is_missing(tmp_path):
    session = module("gpu_session")
    team = session.Team(str(tmp_path), lambda name: session.Options("emulate", True))
    try:
        for _ in range(2):
            with pytest.raises(session.WorkerError) as caught:
                team.ask("jax", "", "describe", timeout=60)
            assert caught.value.missing
    finally:
        team.close()
    assert team.key("torch.compile", "nets") == ("torch.compile", "nets")
    assert team.key("jax", "nets") == ("jax", "")


def test_parts_that_frameworks_lack():
    why, find = module("gpu_frameworks").missing_part, module("gpu_workloads").find
    assert why("cupy.fuse", find("gpt_step")) and not why("cupy.fuse", find("chain"))
    assert why("torch.compile", find("lstm_gradient")) and not why("torch", find("lstm_gradient"))
    assert why("torch.graphs", find("chain")) and not why("torch.graphs", find("mlp_step"))


def test_events_surround_calls_behind_a_busy_device():
    log = []
    timer = module("gpu_frameworks").Timer(
        lambda: log.append("event") or len(log),
        lambda start, end: float(end - start),
        lambda seconds: log.append(f"spin {seconds}"),
        lambda: log.append("wait"),
    )
    assert timer.seconds(lambda: log.append("call"), 2, 0.5) == 1.5
    assert log == ["wait", "spin 0.5", "event", "call", "call", "event", "wait"]


# ---- tables --------------------------------------------------------------------------------------


def test_condensed_turns():
    found = module("gpu_table").condensed(
        [
            {"waited": [3.0, 1.0, 2.0], "device": []},
            {"waited": [5.0], "device": []},
            {"waited": [4.0, 4.0], "device": [1.0]},
        ]
    )
    assert found == {
        "turns": 3,
        "waited_seconds": 4.0,
        "waited_least": 1.0,
        "device_seconds": 1.0,
        "device_least": 1.0,
    }


def test_ratios_and_shares():
    table = module("gpu_table")
    found = row(tracejit=1.0, jax=4.0, torch=2.0)
    assert table.fastest_peer(found) == ("torch", 2.0)
    assert table.ratio(found) == 0.5 and table.by(found, "jax") == 0.25
    assert table.ratio(row(tracejit=1.0)) is None
    assert table.own_seconds(found) == 0.5
    # 8 MB in half a second, of a copy of 8 MB at 32 MB/s; 4 GFLOP in half a second of 16 a second
    assert table.of_copy(found, CEILINGS) == pytest.approx(0.5)
    assert table.of_library(found, CEILINGS) == pytest.approx(0.5)
    assert table.of_library({**found, "precision": "tf32"}, CEILINGS) == pytest.approx(8.0)
    assert table.of_library({**found, "library": "torch"}, CEILINGS) == 2.0
    assert table.of_copy(found, {}) is None and table.of_library(found, {}) is None


def test_lines_and_summary():
    table = module("gpu_table")
    names = ("tracejit", "jax", "torch", "torch.compile", "cupy.fuse")
    rows = [row("one", tracejit=1.0, jax=4.0, torch=2.0), row("two", tracejit=8.0, jax=1.0)]
    rows[1] |= {"different": {"torch": "result 0"}, "failed": {"cupy.fuse": "- none"}}
    widths = {len(table.heading(names))} | {len(table.line(r, names, CEILINGS)) for r in rows}
    assert len(widths) == 1
    assert "wrong" in table.line(rows[1], names, CEILINGS)
    first, *_ = table.summary(rows, CEILINGS)
    assert "mean 2.000, 1 of 2 below 1; worst: two 8.00, one 0.50" in first
    short = {**rows[0], "short": True}
    assert any("one: tracejit 1000000.0" in text for text in table.summary([short], {}))
    assert table.problems(rows) == ["two, torch: wrong: result 0", "two, cupy.fuse: - none"]
    assert table.summary([], {}) == []


def test_figures_of_two_runs():
    merged = module("gpu_table").merged
    old = {"rows": [row("one", tracejit=1.0, jax=1.0), row("two", jax=1.0)], "machine": {"a": 1}}
    now = row("one", tracejit=3.0)
    now["failed"] = {"torch": "ended"}
    new = {"rows": [now], "ceilings": {"torch": {}}}
    found = merged(old, new)
    assert [r["name"] for r in found["rows"]] == ["one", "two"]
    one = found["rows"][0]
    assert one["frameworks"]["tracejit"]["pipelined_seconds"] == 3.0
    assert "jax" in one["frameworks"] and one["failed"] == {"torch": "ended"}
    assert found["ceilings"] == {"torch": {}} and found["machine"] == {"a": 1}
    again = row("one", jax=2.0)
    again["frameworks"]["torch"] = again["frameworks"]["jax"]
    whole = merged(found, {"rows": [again]})["rows"][0]
    assert set(whole["frameworks"]) == {"tracejit", "jax", "torch"} and whole["failed"] == {}


def test_options():
    options = module("gpu").options
    found = options(["--quick", "--emulate", "--frameworks", "torch,tracejit"])
    assert (found.device, found.rounds) == ("emulate", 1)
    assert found.frameworks == ["tracejit", "torch"] and len(found.only) == 6
    with pytest.raises(SystemExit):
        options(["--frameworks", "nonesuch"])
    with pytest.raises(SystemExit):
        options(["--parts", ""])


def test_figures_are_kept_as_they_come(tmp_path):
    gpu = module("gpu")
    results = gpu.Results(tmp_path, merge=True)
    results.figures["rows"] = [row("one", tracejit=1.0)]
    results.update(now=True)
    later = gpu.Results(tmp_path, merge=True)
    later.figures["rows"] = [row("two", tracejit=1.0)]
    assert [r["name"] for r in later.whole()["rows"]] == ["one", "two"]
    text = gpu.report(later.whole(), ["tracejit"], tmp_path)
    assert text.splitlines() == (tmp_path / "gpu-table.txt").read_text().splitlines()


def test_one_row_through_processes(tmp_path, capsys):
    """All of it, on the CPU back end."""
    arguments = ["--device", "cpu", "--quick", "--frameworks", "tracejit", "--only", "chain"]
    status = module("gpu").main([*arguments, "--parts", "workloads", "--out", str(tmp_path)])
    assert status == 0, capsys.readouterr().out
    (found,) = json.loads((tmp_path / "gpu-workloads.json").read_text())["rows"]
    assert found["frameworks"]["tracejit"]["pipelined_seconds"] > 0
    assert found["reference"] and not found["different"] and not found["failed"]
    assert "log1p(exp(tanh(x)))" in capsys.readouterr().out
    assert sys.modules["gpu"].RESULTS != tmp_path
