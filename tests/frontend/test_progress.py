"""Progress bars: of loops in Python, and of scans in programs."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tracejit import grad, jit, lax, random, vmap
from tracejit import numpy as jnp
from tracejit.errors import ArgumentError, TreeError
from tracejit.frontend import progress
from tracejit.frontend.progress import Meter


class Bar:
    """Stands for one of tqdm's: keeps what it was told."""

    made: list[Bar] = []

    def __init__(self, total, desc, file):
        self.total, self.desc, self.n = total, desc, 0
        self.updates, self.shown, self.closed = [], [], False
        Bar.made.append(self)

    def update(self, n):
        self.n += n
        self.updates.append(self.n)

    def set_postfix_str(self, text, refresh=True):
        self.shown.append(text)

    def close(self):
        self.closed = True


@pytest.fixture
def bars(monkeypatch):
    Bar.made = []
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=Bar))
    return Bar.made


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


def step(carry, x):
    return 0.5 * carry + x, carry


XS = np.arange(103, dtype=np.float32)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [0, 1, 7, 100, 103])
def test_scan_gives_the_same(n, reverse, bars):
    plain = lax.scan(step, 0.0, XS[:n], reverse=reverse)
    watched = lax.scan(step, 0.0, XS[:n], reverse=reverse, progress="train")
    np.testing.assert_allclose(watched[0], plain[0], 1e-6)
    np.testing.assert_allclose(watched[1], plain[1], 1e-6)
    assert watched[0].dtype == plain[0].dtype
    if n:
        (bar,) = bars
        assert bar.desc == "train" and bar.total == bar.n == n and bar.closed
        assert len(bar.updates) <= 21


def test_trees_and_no_xs(bars):
    def walk(state, _):
        key, x = state
        key, now = random.split(key)
        return (key, x + random.normal(now)), {"x": x}

    start = (random.key(0), jnp.zeros(()))
    plain = lax.scan(walk, start, length=30)
    watched = lax.scan(walk, start, length=30, progress={"desc": "walk", "updates": 3})
    np.testing.assert_allclose(watched[1]["x"], plain[1]["x"], 1e-6)
    assert bars[0].updates == [10, 20, 30]


def test_jit_draws_each_time(bars):
    run = jit(lambda c: lax.scan(step, c, XS, progress=True)[0])
    run(0.0), run(1.0)
    assert [bar.desc for bar in bars] == ["step", "step"]
    assert all(bar.closed and bar.n == 103 for bar in bars)


def test_once_under_grad_and_vmap(bars):
    def last(c):
        return lax.scan(step, c, XS[:8], progress=True)[0]

    assert float(jit(grad(last))(1.0)) == 0.5**8
    assert len(bars) == 1 and bars[0].updates == list(range(1, 9))
    assert vmap(last)(jnp.arange(3.0)).shape == (3,)
    assert len(bars) == 2


def test_one_program_for_equal_loops():
    assert Meter("a", 100) == Meter("a", 100) and hash(Meter("a", 100)) == hash(Meter("a", 100))
    assert Meter("", 100).blocks() == (5, 20, 0)
    assert Meter("", 97).blocks() == (5, 19, 2)
    assert Meter("", 14).blocks() == (1, 14, 0)


def test_errors_of_the_body_are_the_users():
    with pytest.raises(TreeError, match="the carry changes its type") as caught:
        lax.scan(lambda c, x: (c + 0.5, None), jnp.zeros((), int), XS, progress=True)
    assert "test_progress.py" in str(caught.value)
    for option in ({"name": "train"}, 3.5, {"updates": 0}):
        with pytest.raises(ArgumentError, match="progress"):
            lax.scan(step, 0.0, XS, progress=option)


# ---- loops in Python -----------------------------------------------------------------------------


def test_a_loop_in_python(bars):
    bar = progress.progress(range(3), desc="train")
    seen = []
    for k in bar:
        bar.show(loss=jnp.asarray(1.0 / (k + 1)), note="warm")
        seen.append(k)
    assert seen == [0, 1, 2]
    (drawn,) = bars
    assert drawn.total == 3 and drawn.updates == [1, 2, 3] and drawn.closed
    assert drawn.shown[0] == "loss=1, note=warm" and drawn.shown[-1] == "loss=0.3333, note=warm"


def test_a_bar_closes_when_the_loop_is_left(bars):
    for k in progress.progress(iter(range(10))):
        if k == 2:
            break
    assert bars[0].closed and bars[0].total is None and bars[0].n == 2
    with progress.progress(total=10) as bar:
        bar.update(4)
    assert bars[1].closed and bars[1].n == 4


def test_plain_text(without_tqdm, capsys):
    bar = progress.progress(range(100), "train")
    for k in bar:
        bar.show(loss=float(k))
    lines = capsys.readouterr().err.splitlines()
    assert 10 <= len(lines) <= 21
    assert lines[-1].startswith("train: 100/100 100%, ") and "it/s" in lines[-1]
    lax.scan(step, 0.0, XS, progress="scan")
    assert capsys.readouterr().err.splitlines()[-1].startswith("scan: 103/103 100%")
    for _ in progress.progress(iter(range(3))):
        pass
    assert capsys.readouterr().err.startswith("3, ")


def test_wrong_calls():
    with pytest.raises(ArgumentError, match="a int cannot be gone over"):
        progress.progress(3)
    with pytest.raises(ArgumentError, match="nothing to go over"):
        list(progress.progress(total=3))
