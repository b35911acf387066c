"""Two tiers of code: the same bits, a switch while programs run, processes that fork or end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tracejit as tj
import tracejit.numpy as jnp
from tests.fuzz.graphs import random_arrays, random_graph
from tests.fuzz.test_fuzz import RANDOMS
from tracejit import lax
from tracejit.codegen.target import Target
from tracejit.config import config
from tracejit.runtime import cpu, tiers
from tracejit.runtime.cache import Sources
from tracejit.runtime.executable import compile_graph
from tracejit.runtime.tiers import Loaded, Upgrades, upgrades

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every kernel is compiled anew, quickly first."""
    monkeypatch.setattr(cpu, "_kernels", {})
    monkeypatch.setattr(cpu, "tiers_on", lambda: True)
    monkeypatch.setattr(tiers, "_call_cost", lambda call: 0.0)
    yield
    assert upgrades.wait(60) and not upgrades.problem


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """The best code is made when the event is set."""
    release = threading.Event()
    upgrades.add(lambda background: release.wait(60) and None)
    yield release
    release.set()


def same(a: Any, b: Any) -> bool:
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(tj.tree.leaves(a), tj.tree.leaves(b), strict=True)
    )


# ---- bits ----------------------------------------------------------------------------------------


@given(RANDOMS)
@settings(max_examples=25)
def test_both_tiers_make_the_same_bits(rng: random.Random) -> None:
    graph = random_graph(rng.randrange, rng.choice([3, 8]), large=rng.random() < 0.3)
    arrays = random_arrays(graph, rng.randrange(2**32))
    release, masks = threading.Event(), rng.random() < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_kernels", {})
        patch.setattr(cpu, "tiers_on", lambda: True)
        patch.setattr(tiers, "_call_cost", lambda call: 0.0)
        patch.setattr(Target, "cheap_masks", masks)
        upgrades.add(lambda background: release.wait(60) and None)
        try:
            made: Any = compile_graph(graph, backend="llvm", mode="default", threads=2)
            assert not any(loaded.best for loaded in cpu._kernels.values())
            first = run(made, arrays)
        finally:
            release.set()
        assert upgrades.wait(60) and not upgrades.problem
        assert all(loaded.best for loaded in cpu._kernels.values())
        assert same(first, run(made, arrays))


def run(made: Any, arrays: Any) -> Any:
    try:
        return [np.array(x) for x in made.run([a.copy() for a in arrays])]
    except tj.errors.OutOfBoundsError:
        return []


PROGRAMS = {
    "softmax": lambda x: tj.nn.softmax(x * 3, axis=-1),
    "sums": lambda x: (x.sum(), x.sum(0), x.mean(1), x.max(0)),
    "transposed": lambda x: (x.T + 1, jnp.cumsum(x, axis=1)),
    "product": lambda x: jnp.tanh(x @ x.T) @ x,
    "loop": lambda x: lax.fori_loop(0, 5, lambda k, y: jnp.sin(y) + x, x),
    "special": lambda x: (lax.lgamma(x), lax.erf(x), jnp.log1p(jnp.exp(x))),
    "sorted": lambda x: (jnp.sort(x, axis=1), x[::-1], x[jnp.argsort(x[:, 0])]),
    "small floats": lambda x: jnp.exp(x.astype(jnp.float16)).sum(1),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("shape", [(64, 96), (9, 1003), (130, 7)], ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.usefixtures("quick")
def test_programs_of_users(name: str, shape: tuple[int, int], dtype: str, held: Any) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    function = tj.jit(PROGRAMS[name])
    first = function(x)
    assert not any(loaded.best for loaded in cpu._kernels.values())
    held.set()
    assert upgrades.wait(60)
    assert all(loaded.best for loaded in cpu._kernels.values())
    assert same(first, function(x))


# ---- which tier ----------------------------------------------------------------------------------


def test_what_runs_long_is_the_best_at_once(
    monkeypatch: pytest.MonkeyPatch, held: threading.Event
) -> None:
    monkeypatch.setattr(cpu, "_kernels", {})
    monkeypatch.setattr(cpu, "tiers_on", lambda: True)
    x = np.ones((1600, 1600), "f4")
    stages = tj.jit(lambda a: a @ a).stages(x)
    cpu.compile_program(stages.program, 2, tiers=True)
    assert all(loaded.best for loaded in cpu._kernels.values())
    stages = tj.jit(lambda a: jnp.exp(a) + 1).stages(x[:100])
    cpu.compile_program(stages.program, 2, tiers=True)
    assert not cpu._kernels[stages.program.kernels[0]].best
    cpu.compile_program(stages.program, 2)  # the best is asked for
    assert cpu._kernels[stages.program.kernels[0]].best


def test_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_kernels", {})
    with tj.settings(tiers="off"):
        assert not tiers.tiers_on()
        tj.jit(lambda x: jnp.exp(x) * 5)(np.ones(70, "f4"))
    assert cpu._kernels and all(loaded.best for loaded in cpu._kernels.values())
    monkeypatch.setattr(tiers, "usable_cpus", lambda: 1)
    with tj.settings(tiers="on"):
        assert not tiers.tiers_on()
    monkeypatch.setattr(tiers, "usable_cpus", lambda: 2)
    with tj.settings(tiers="on"):
        assert tiers.tiers_on() and config.current().tiers


# ---- the switch ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_other_threads_run_the_program_meanwhile(held: threading.Event) -> None:
    x = np.random.default_rng(1).standard_normal((80, 90)).astype("f4")
    function = tj.jit(lambda x: jnp.cumsum(tj.nn.softmax(x) @ x.T, axis=1) + x.sum())
    expected = np.array(function(x))
    done, wrong = threading.Event(), []

    def call() -> None:
        while not done.is_set():
            if not same(function(x), expected):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    held.set()
    assert upgrades.wait(60)
    for _ in range(50):
        assert same(function(x), expected)
    done.set()
    for caller in callers:
        caller.join()
    assert not wrong and all(loaded.best for loaded in cpu._kernels.values())


@pytest.mark.usefixtures("quick")
def test_several_callers_compile_at_once() -> None:
    x, found = np.linspace(0, 1, 500, dtype="f4"), []
    functions = [tj.jit(lambda x, k=k: jnp.exp(x * (k % 3)) + k % 3) for k in range(9)]
    callers = [threading.Thread(target=lambda f=f: found.append(f(x))) for f in functions]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert upgrades.wait(60) and len(found) == 9
    for k, function in enumerate(functions):
        np.testing.assert_allclose(function(x), np.exp(x * (k % 3)) + k % 3, rtol=1e-6)


def test_a_failure_leaves_the_quick_code() -> None:
    worker = Upgrades()

    def fail(background: Any) -> None:
        raise ValueError("no")

    ran = []
    worker.add(fail)
    worker.add(lambda background: ran.append(background.rest()))
    assert worker.wait(60) and worker.problem == "ValueError: no" and ran == [None]
    worker.stop()
    worker.add(lambda background: ran.append(None))
    assert len(ran) == 1 and worker.thread is not None and not worker.thread.is_alive()


def test_the_best_code_is_not_replaced() -> None:
    loaded = Loaded("k")
    for address, best in ((8, False), (16, True), (24, False)):
        loaded.point(cpu.Code({"k": address}, b"", 0.0, None), best)
    assert loaded.address == 16 and len(loaded.codes) == 2


# ---- processes -----------------------------------------------------------------------------------

SCRIPT = """
import os, sys
import numpy as np
import tracejit as tj, tracejit.numpy as jnp
from tracejit.runtime import library
from tracejit.runtime.tiers import upgrades
if "no library" in os.environ.get("TEST", ""):
    library.PRODUCTS = ()
f = tj.jit(lambda x: jnp.log1p(jnp.exp(jnp.tanh(x))) / x.sum())
"""


def in_process(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + script],
        env={**os.environ, "TRACEJIT_TIERS": "on", "TRACEJIT_THREADS": "2", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


THREAD = "import threading; threading.Thread(target=f, args=(x,)).start()"


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "os._exit(0)", THREAD])
def test_exit_right_after_a_first_call(end: str) -> None:
    in_process(f"x = np.ones(5000, np.float32); f(x); g = tj.jit(lambda x: x @ x.T)\n{end}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_fork_right_after_a_first_call() -> None:
    script = """
x = np.linspace(0, 1, 5000, dtype=np.float32)
first = np.array(f(x))
for k in range(4):
    child = os.fork()
    if not child:
        same = np.array_equal(f(x), first)
        other = tj.jit(lambda y: jnp.exp(y) * k)(x)
        same = same and np.allclose(other, np.exp(x) * k, rtol=1e-5) and upgrades.wait(60)
        same = same and np.array_equal(f(x), first) and not upgrades.problem
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0, k
assert upgrades.wait(60) and not upgrades.problem and np.array_equal(f(x), first)
print("done")
"""
    assert in_process(script, TRACEJIT_THREADS="1") == "done\n"


def test_the_best_code_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sources, "unchanged", lambda self: True)
    script = """
f(np.ones(5000, np.float32))
assert upgrades.wait(60) and not upgrades.problem
print(tj.cache_info().hits, tj.cache_info().entries, len(upgrades.tasks), upgrades.thread)
"""
    assert in_process(script, TRACEJIT_CACHE=str(tmp_path), TEST="no library").split()[0] == "0"
    hits, entries, *thread = in_process(
        script, TRACEJIT_CACHE=str(tmp_path), TEST="no library"
    ).split()
    assert hits == entries and thread == ["0", "None"]


def test_common_products_are_there_when_asked_for() -> None:
    script = """
import time
from tracejit.runtime import cpu
end = time.monotonic() + 60
while len(cpu._kernels) < len(library.PRODUCTS) and time.monotonic() < end:
    time.sleep(0.05)
before = len(cpu._kernels)
a = np.random.default_rng(0).standard_normal((512, 512)).astype("f4")
product = tj.jit(lambda x, y: x @ y)(a[:256], a)
print(before, len(cpu._kernels), np.allclose(product, a[:256] @ a, atol=1e-3), upgrades.problem)
"""
    assert in_process(script).split() == ["8", "8", "True"]
