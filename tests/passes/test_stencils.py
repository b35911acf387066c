"""Scans over stencils: what is recognised, how it is cut into rounds, and that nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit
import tracejit.numpy as tnp
from tracejit import lax
from tracejit.passes import stencils
from tracejit.passes.stencils import round_of


def five_points(x, scale=0.25):
    near = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return x.at[1:-1, 1:-1].set((scale * near).astype(x.dtype))


def nine_points(x):
    y = tnp.pad(x, 1)
    n, m = x.shape
    return sum(
        y[a : a + n, b : b + m] * (0.1 + 0.01 * (a * 3 + b)) for a in (0, 1, 2) for b in (0, 1, 2)
    )


def wide(x):
    inner = 0.9 * x[2:-2] + 0.03 * (x[:-4] + x[4:]) + 0.01 * (x[1:-3] - x[3:-1])
    return x.at[2:-2].set(inner)


def periodic(x):
    return x + 0.1 * (tnp.roll(x, 1, 0) + tnp.roll(x, -1, 0) + tnp.roll(x, 1, -1) - 3 * x)


def periodic_line(x):
    return x + 0.1 * (tnp.roll(x, 1) - x)


def far_periodic(x):
    return x + 0.1 * (tnp.roll(x, 2, 0) - tnp.roll(x, -1, 0))


def one_sided(x):
    return x.at[1:].set(0.5 * (x[1:] + x[:-1]))


def life(x):
    count = sum(
        tnp.roll(x, (a, b), (0, 1)).astype("int32")
        for a in (-1, 0, 1)
        for b in (-1, 0, 1)
        if (a, b) != (0, 0)
    )
    return (count == 3) | (x & (count == 2))


def seven_points(x):
    c = slice(1, -1)
    near = x[:-2, c, c] + x[2:, c, c] + x[c, :-2, c] + x[c, 2:, c] + x[c, c, :-2] + x[c, c, 2:]
    return x.at[c, c, c].set(x[c, c, c] + 0.1 * (near - 6 * x[c, c, c]))


def wave(state):
    u, before = state
    inner = u[1:-1, 1:-1]
    near = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * inner
    return u.at[1:-1, 1:-1].set(2 * inner - before[1:-1, 1:-1] + 0.1 * near), u


def field(*shape, dtype="float32"):
    rng = np.random.default_rng(0)
    if dtype == "bool":
        return rng.random(shape) < 0.4
    if dtype.startswith("int"):
        return rng.integers(-50, 50, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tiles of small fields, so that interpreting is quick."""
    monkeypatch.setattr(stencils, "LEAST_BYTES", 256)
    monkeypatch.setattr(stencils, "ROWS_EACH", 2)
    monkeypatch.setattr(stencils, "MOST_STEPS", 4)
    monkeypatch.setattr(stencils, "LINE_BYTES", 2048)
    monkeypatch.setattr(stencils, "LEAST_LINE", 64)
    monkeypatch.setattr(stencils, "LINE_EACH", 16)


def loop(step, length):
    return lambda x: lax.fori_loop(0, length, lambda i, x: step(x), x)


def stencil_groups(function, *operands):
    text = str(tracejit.jit(function).stages(*operands).groups)
    return text.count("stencil over")


def leaves(found):
    return [np.asarray(x) for x in (found if isinstance(found, tuple) else (found,))]


def same(function, *operands):
    """The compiled function gives the bits of the same steps one after the other."""
    compiled = leaves(tracejit.jit(function)(*operands))
    kept, stencils.tile_of = stencils.tile_of, lambda form: "off"
    try:
        plain = leaves(tracejit.jit(lambda *xs: function(*xs))(*operands))
    finally:
        stencils.tile_of = kept
    for a, b in zip(compiled, plain, strict=True):
        np.testing.assert_array_equal(a, b)
    return compiled


CASES = [
    (five_points, field(40, 37)),
    (five_points, field(41, 64, dtype="float64")),
    (five_points, field(33, 70, dtype="int32")),
    (nine_points, field(36, 50)),
    (wide, field(50, 20)),
    (wide, field(1100)),
    (one_sided, field(64, 33)),
    (one_sided, field(1301)),
    (periodic, field(40, 34)),
    (periodic, field(1024)),
    (far_periodic, field(48, 21)),
    (far_periodic, field(1055, dtype="float64")),
    (life, field(40, 45, dtype="bool")),
    (seven_points, field(24, 10, 19)),
    (wave, (field(44, 33), field(44, 33))),
]


@pytest.mark.parametrize("length", [3, 10])
@pytest.mark.parametrize("step, x", CASES, ids=lambda v: getattr(v, "__name__", "x"))
def test_nothing_changes(step, x, length):
    function = loop(step, length)
    found = same(function, x)
    assert stencil_groups(function, x)
    if length == 3:
        with tracejit.settings(backend="numpy"):
            expected = leaves(tracejit.jit(lambda x: function(x))(x))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 2, 4, 5])
def test_few_steps(length):
    same(loop(five_points, length), field(40, 37))
    same(loop(periodic, length), field(1024))


@pytest.mark.parametrize("rows", [9, 12, 13, 16, 17, 25])
def test_any_number_of_rows(rows):
    same(loop(five_points, 7), field(rows, 40))
    same(loop(periodic, 7), field(rows, 40))


@pytest.mark.parametrize("n", [1025, 1087, 1152])
def test_any_number_of_elements(n):
    same(loop(wide, 9), field(n))
    same(loop(periodic, 9), field(n))


def test_coefficients_of_the_step():
    """A step may read slices, the counter, and tables; backward too."""
    x, c = field(48, 40), field(11)
    table = field(48, 40)

    def forward(x, c, table):
        body = lambda x, k: (five_points(x, k) + table, None)  # noqa: E731
        return lax.scan(body, x, c)[0]

    def backward(x, c, table):
        body = lambda x, k: (five_points(x, k) + table, None)  # noqa: E731
        return lax.scan(body, x, c, reverse=True)[0]

    def counted(x):
        return lax.fori_loop(0, 11, lambda i, x: five_points(x) * (1 + 0.01 * i), x)

    def state(x):
        def step(i, c):
            x, t, n = c
            return five_points(x) + t, t * 1.5, n + 3

        return lax.fori_loop(0, 11, step, (x, 0.25, 7))

    for function, operands in (
        (forward, (x, c, table)),
        (backward, (x, c, table)),
        (counted, (x,)),
        (state, (x,)),
    ):
        assert stencil_groups(function, *operands) == 2, function
        same(function, *operands)


def test_slices_that_are_fields():
    x, forces = field(48, 40), field(6, 48, 40)

    def function(x, forces):
        return lax.scan(lambda x, f: (five_points(x) + f, None), x, forces)[0]

    assert stencil_groups(function, x, forces)
    same(function, x, forces)


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.T[: x.shape[0], : x.shape[1]] * 0.5 + x,
        lambda x: x + x[::-1],
        lambda x: x + x[0],
        lambda x: x + tnp.sum(x) * 1e-3,
        lambda x: tnp.cumsum(x, 0) * 0.1,
        lambda x: 0.5 * x + 0.1 * tnp.roll(x, 11, 0),
    ],
)
def test_no_stencils(step):
    x = field(48, 48)
    assert not stencil_groups(loop(step, 9), x)
    same(loop(step, 9), x)


def test_stacked_results_stay_as_they_are():
    def function(x):
        return lax.scan(lambda x, _: (five_points(x), x[0]), x, None, length=9)

    x = field(48, 40)
    assert not stencil_groups(function, x)


def test_gradient_of_a_stencil():
    x = field(40, 36)

    def loss(x):
        return tnp.sum(loop(five_points, 9)(x) ** 2)

    same(tracejit.grad(loss), x)


@pytest.mark.parametrize("shape", [(3, 40, 36), (9, 10, 36), (1, 40, 36), (2, 2, 40, 20)])
def test_many_fields(shape):
    """Leading axes that have nothing to do with each other, and those of one element."""
    function = loop(five_points, 10)
    for _ in shape[2:]:
        function = tracejit.vmap(function)
    x = field(*shape)
    assert stencil_groups(function, x)
    same(function, x)
    lines = field(3, 1024)
    assert stencil_groups(tracejit.vmap(loop(periodic_line, 10)), lines)
    same(tracejit.vmap(loop(periodic_line, 10)), lines)


def test_columns():
    """Neighbours along the last axis alone: rows are elements."""
    step = lambda x: x.at[:, 1:].add(0.5 * x[:, :-1])  # noqa: E731
    assert stencil_groups(loop(step, 10), field(5, 1100))
    same(loop(step, 10), field(5, 1100))


def test_inside_another_loop():
    x = field(40, 36)

    def function(x):
        return lax.fori_loop(0, 3, lambda i, x: loop(five_points, 9)(x) * 0.9 + 0.1, x)

    assert stencil_groups(function, x)
    same(function, x)


def test_small_fields_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(stencils, "LEAST_BYTES", 1 << 16)
    assert not stencil_groups(loop(five_points, 9), field(48, 40))


@pytest.mark.parametrize(
    "length, most, steps", [(100, 4, 4), (100, 6, 5), (100, 8, 8), (20, 3, 2), (100, 32, 25)]
)
def test_steps_of_a_round(length, most, steps):
    assert round_of(length, most) == steps


def test_groups_show_the_form():
    text = str(tracejit.jit(loop(periodic, 12)).stages(field(40, 34)).groups)
    assert "steps at once, reading 1 rows away, the last next to the first" in text
