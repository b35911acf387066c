"""Loops: values, derivatives in both directions and batches, against Python loops and NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tracejit import grad, jit, jvp, lax, value_and_grad, vmap
from tracejit import numpy as jnp
from tracejit.errors import ArgumentError, DTypeError, ShapeError, TreeError

RNG = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def close(found, wanted, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), tolerance, tolerance)


def slope(f, x, step=1e-3):
    """The gradient of a scalar function by central differences in float64."""
    x = np.asarray(x, np.float64)
    found = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[at] = step
        found[at] = (float(f(x + moved)) - float(f(x - moved))) / (2 * step)
    return found


def rnn(params, h, xs, loop):
    """A recurrent net whose loop is ``lax.scan`` or a Python loop."""

    def step(h, x):
        h = jnp.tanh(params["w"] @ h + params["u"] * x)
        return h, {"norm": (h * h).sum(), "h": h}

    return loop(step, h, xs)


def python_scan(step, carry, xs, reverse=False):
    ys = []
    for x in xs[::-1] if reverse else xs:
        carry, y = step(carry, x)
        ys.append(y)
    ys = ys[::-1] if reverse else ys
    return carry, {k: jnp.stack([y[k] for y in ys]) for k in ys[0]}


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_equals_a_python_loop(reverse):
    params, h, xs = {"w": draw(3, 3), "u": draw(3)}, draw(3), draw(5)
    found = rnn(params, h, xs, lambda f, c, x: lax.scan(f, c, x, reverse=reverse))
    wanted = rnn(params, h, xs, lambda f, c, x: python_scan(f, c, x, reverse))
    close(found[0], wanted[0])
    for key in ("norm", "h"):
        close(found[1][key], wanted[1][key])


@pytest.mark.parametrize("wrap", [lambda f: f, jit])
def test_gradients_of_scan(wrap):
    params, h, xs = {"w": draw(3, 3), "u": draw(3)}, draw(3), draw(5)

    def loss(loop):
        def of(params, h, xs):
            h, ys = rnn(params, h, xs, loop)
            return h.sum() + (ys["norm"] * jnp.arange(5.0)).sum() + ys["h"][1:3].sum()

        return of

    found = wrap(grad(loss(lax.scan), (0, 1, 2)))(params, h, xs)
    wanted = grad(loss(python_scan), (0, 1, 2))(params, h, xs)
    close(found[0]["w"], wanted[0]["w"], 1e-4)
    close(found[0]["u"], wanted[0]["u"], 1e-4)
    close(found[1], wanted[1], 1e-4)
    close(found[2], wanted[2], 1e-4)


def test_forward_derivative_and_second_derivative_of_scan():
    def f(w):
        return lax.scan(lambda c, x: (jnp.sin(c * w) + x, c * c), 0.5, jnp.arange(4.0))[0]

    def unrolled(w):
        c = 0.5
        for x in range(4):
            c = jnp.sin(c * w) + float(x)
        return c

    w = np.float64(0.7)
    close(jvp(f, (w,), (1.0,))[1], jvp(unrolled, (w,), (1.0,))[1])
    close(grad(f)(w), grad(unrolled)(w))
    close(grad(grad(f))(w), grad(grad(unrolled))(w))
    close(jvp(grad(f), (w,), (1.0,))[1], grad(grad(unrolled))(w))


def test_scan_over_only_constants_is_differentiated_through_the_carry():
    """The carry's tangent starts at zero: a literal, not a linear operand."""
    found = grad(lambda w: lax.scan(lambda c, _: (c * w + 1, None), 1.0, None, 3)[0])(2.0)
    close(found, 3 * 4 + 2 * 2 + 1)


def test_vmap_of_scan_and_scan_of_vmap():
    xs, start = draw(4, 6), draw(4)
    one = lambda c, row: lax.scan(lambda c, x: (c + x, c * x), c, row)  # noqa: E731
    carry, ys = vmap(one)(start, xs)
    for k in range(4):
        wanted = one(start[k], xs[k])
        close(carry[k], wanted[0])
        close(ys[k], wanted[1])
    shared = vmap(one, (None, 0))(start[0], xs)[0]
    close(shared, start[0] + xs.sum(1))
    stepwise = lax.scan(lambda c, x: (vmap(jnp.add)(c, x), None), start, xs.T)[0]
    close(stepwise, start + xs.sum(1))


def test_grad_of_scan_in_vmap_in_cond():
    def f(flag, w, xs):
        def yes(w):
            return vmap(lambda row: grad(lambda v: one(v, row))(w))(xs).sum()

        def one(v, row):
            return lax.scan(lambda c, x: (c * v + x, None), 1.0, row)[0]

        return lax.cond(flag, yes, lambda w: -w, w)

    w, xs = np.float64(1.5), draw(3, 2).astype(np.float64)
    wanted = (2 * w + xs[:, 0]).sum()  # one = v * v + v x0 + x1
    close(f(True, w, xs), wanted)
    close(jit(f)(True, w, xs), wanted)
    close(f(False, w, xs), -w)
    close(grad(f, 1)(True, w, xs), 6.0)


def test_weak_carries_take_the_type_the_body_gives():
    carry, _ = lax.scan(lambda c, x: (c + x, None), 0, np.arange(3, dtype=np.float64))
    assert carry.dtype == np.float64 and float(carry) == 3
    assert lax.scan(lambda c, x: (0.0, None), np.float64(1), None, 2)[0].dtype == np.float64
    assert lax.while_loop(lambda c: c < 3, lambda c: c + np.float32(1), 0).dtype == np.float32


def test_scan_of_length_zero_and_without_xs():
    carry, ys = lax.scan(lambda c, x: (c + x, c), 2.0, np.zeros((0,), np.float32))
    assert float(carry) == 2 and ys.shape == (0,)
    carry, ys = lax.scan(lambda c, _: (c * 2, c), 1.0, length=4)
    assert float(carry) == 16 and ys.tolist() == [1, 2, 4, 8]
    close(grad(lambda x: lax.scan(lambda c, _: (c * x, None), x, length=0)[0])(3.0), 1)


def test_wrong_scans():
    f64, f32 = np.float64(1), np.float32(1)
    with pytest.raises(
        TreeError, match=r"carry at \['h'\]\[1\] changes its type: f32\[\] became f64\[\]"
    ):
        lax.scan(
            lambda c, x: ({"h": (c["h"][0], c["h"][1] * x)}, None), {"h": (f64, f32)}, np.ones(2)
        )
    with pytest.raises(TreeError, match="another structure"):
        lax.scan(lambda c, x: ((c, c), None), f32, np.ones(2))
    with pytest.raises(ArgumentError, match="must return a pair"):
        lax.scan(lambda c, x: c, f32, np.ones(2))
    with pytest.raises(ShapeError, match="differ in size"):
        lax.scan(lambda c, x: (c, None), f32, (np.ones(2), np.ones(3)))
    with pytest.raises(ShapeError, match="no leading axis"):
        lax.scan(lambda c, x: (c, None), f32, f32)
    with pytest.raises(ShapeError, match="length is 3"):
        lax.scan(lambda c, x: (c, None), f32, np.ones(2), length=3)
    with pytest.raises(ArgumentError, match="length must be given"):
        lax.scan(lambda c, x: (c, None), f32)


def test_fori_loop_values_and_reverse_derivative():
    def power(x, n):
        return lax.fori_loop(0, n, lambda i, v: v * x, jnp.ones_like(x))

    assert float(power(2.0, 5)) == 32
    close(grad(power)(2.0, 5), 80)
    close(jit(grad(lambda x: power(x, 5)))(2.0), 80)
    close(jit(power)(2.0, 5), 32)  # a traced bound: a while loop
    assert float(lax.fori_loop(3, 1, lambda i, v: v + 1, 0.0)) == 0
    assert lax.fori_loop(2, 5, lambda i, v: v + i, np.float32(0)).dtype == np.float32
    close(jit(grad(power))(2.0, 5), 80)  # walked back along a tape
    with pytest.raises(DTypeError, match="upper is a scalar integer"):
        lax.fori_loop(0, 2.5, lambda i, v: v, 0.0)


def test_while_loop():
    def f(x):
        return lax.while_loop(lambda s: s[0] < 50, lambda s: (s[0] * x, s[1] + 1), (x, 0))

    value, count = f(3.0)
    assert float(value) == 81 and int(count) == 3
    batch = np.array([2.0, 3.0, 60.0], np.float32)
    values, counts = vmap(f)(batch)
    assert values.tolist() == [64, 81, 60] and counts.tolist() == [5, 3, 0]
    assert jit(vmap(f))(batch)[1].tolist() == [5, 3, 0]
    close(jvp(lambda x: f(x)[0], (3.0,), (1.0,))[1], 4 * 27)
    close(jit(lambda x: jvp(lambda x: f(x)[0], (x,), (1.0,))[1])(3.0), 4 * 27)
    with pytest.raises(ShapeError, match="not a scalar bool"):
        lax.while_loop(lambda s: s > 0, lambda s: s, np.ones(2))


def test_while_captures_outer_values():
    limit, step = jnp.array(np.full(100, 10.0)), draw(100) ** 2 + 1

    def f(x, step):
        return lax.while_loop(lambda v: (v < limit).any(), lambda v: v + step, x)

    x = np.zeros(100, np.float64)
    wanted = x.copy()
    while (wanted < 10).any():
        wanted = wanted + step
    close(f(x, step), wanted)
    close(jit(f)(x, step), wanted)


def test_map_one_by_one_and_in_batches():
    xs = draw(7, 3)
    for size in (None, 1, 3, 7, 10):
        found = lax.map(lambda row: {"sum": row.sum(), "row": row * 2}, xs, batch_size=size)
        close(found["sum"], xs.sum(1))
        close(found["row"], xs * 2)
    with pytest.raises(ArgumentError, match="positive"):
        lax.map(lambda x: x, xs, batch_size=0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(n, reverse):
    x = draw(2, n)
    found = lax.associative_scan(jnp.add, x, reverse=reverse, axis=1)
    wanted = np.cumsum(x[:, ::-1], 1)[:, ::-1] if reverse else np.cumsum(x, 1)
    close(found, wanted)


def test_associative_scan_of_pairs_keeps_the_order():
    """Affine maps x -> a x + b under composition: associative, not commutative."""
    a, b = draw(9), draw(9)
    scale, shift = lax.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), (a, b))
    wanted = (1.0, 0.0)
    for k in range(9):
        wanted = (wanted[0] * a[k], a[k] * wanted[1] + b[k])
        close((scale[k], shift[k]), wanted, 1e-4)
    total = grad(lambda a: lax.associative_scan(jnp.multiply, a)[-1])(np.array([2.0, 3.0, 4.0]))
    close(total, [12, 8, 6])


def test_value_and_grad_of_a_stack_of_layers():
    layers, x = {"w": draw(4, 3, 3), "b": draw(4, 3)}, draw(3)

    def loss(layers):
        return lax.scan(lambda h, p: (jnp.tanh(p["w"] @ h + p["b"]), None), x, layers)[0].sum()

    value, found = value_and_grad(loss)(layers)

    def numpy_loss(w):
        h = x
        for k in range(4):
            h = np.tanh(w[k] @ h + layers["b"][k])
        return h.sum()

    close(value, numpy_loss(layers["w"]))
    close(found["w"], slope(numpy_loss, layers["w"]), 1e-3)


def test_errors_of_a_fori_loop_name_it() -> None:
    with pytest.raises(TreeError, match="fori_loop: the carry"):
        lax.fori_loop(0, 3, lambda i, x: x[None], jnp.ones(2))
