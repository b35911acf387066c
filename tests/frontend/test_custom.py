"""Derivatives given by the user, recomputation, constants of differentiation."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import tracejit as tj
from tracejit import grad, hessian, jit, jvp, lax, value_and_grad, vjp, vmap
from tracejit import numpy as jnp
from tracejit.errors import ArgumentError, GradError
from tracejit.frontend.custom import (
    closure_convert,
    custom_gradient,
    custom_jvp,
    custom_vjp,
    stop_gradient,
    zero_from_primal,
)
from tracejit.frontend.remat import checkpoint, checkpoint_policies

XS = np.array([0.5, 1.5, -2.0], np.float32)


def close(found, wanted, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), tolerance, tolerance)


@custom_jvp
def sine(x, scale=2.0):
    return jnp.sin(x) * scale


@sine.defjvp
def _sine_jvp(primals, tangents):
    (x, scale), (dx, dscale) = primals, tangents
    return sine(x, scale), 10 * jnp.cos(x) * scale * dx + jnp.sin(x) * dscale


def test_custom_jvp():
    close(sine(1.0), 2 * np.sin(1))
    close(sine(1.0, scale=3.0), 3 * np.sin(1))
    for wrap in (lambda f: f, jit):
        close(wrap(sine)(1.0), 2 * np.sin(1))
        close(wrap(grad(sine))(1.0), 20 * np.cos(1))
        close(wrap(grad(sine, (0, 1)))(1.0, 3.0), [30 * np.cos(1), np.sin(1)])
        close(wrap(lambda x: jvp(sine, (x,), (1.0,))[1])(1.0), 20 * np.cos(1))
        close(wrap(vmap(grad(sine)))(XS), 20 * np.cos(XS))
        close(wrap(grad(lambda xs: vmap(sine)(xs).sum()))(XS), 20 * np.cos(XS))
    close(grad(grad(sine))(1.0), -20 * np.sin(1))


def test_custom_jvp_in_loops_and_branches():
    def f(x):
        return lax.scan(lambda c, _: (sine(c), None), x, None, 2)[0]

    def g(x):
        return lax.cond(x > 0, sine, lambda x: x, x)

    once = 2 * np.sin(0.3)
    close(grad(f)(0.3), 20 * np.cos(once) * 20 * np.cos(0.3), 1e-4)
    close(jit(grad(g))(0.3), 20 * np.cos(0.3))


def test_rules_that_call_their_function_nest_to_the_third_order():
    @custom_jvp
    def power(x):
        return jnp.exp(2 * x)

    @power.defjvp
    def _(primals, tangents):
        y = power(*primals)
        return y, 2 * y * tangents[0]

    third = grad(grad(grad(power)))
    close(third(0.3), 8 * np.exp(0.6))
    close(vmap(grad(power))(XS), 2 * np.exp(2 * XS))
    with pytest.raises(GradError, match="call it again"):
        grad(third)(0.3)


def test_rules_of_functions_inside_each_other_are_traced_a_bounded_number_of_times():
    runs = []

    def nested(depth):
        if depth == 0:
            return jnp.sin
        inner = nested(depth - 1)

        @custom_jvp
        def outer(x):
            runs.append(depth)
            return inner(x)

        outer.defjvp(lambda xs, dxs: (outer(*xs), dxs[0] * inner(jnp.cos(xs[0]))))
        return outer

    close(grad(nested(5))(0.3), np.sin(np.cos(0.3)))
    assert len(runs) < 1000  # 11,204 when each function counts for itself


def test_a_derivative_inside_a_rule_uses_up_an_order_of_its_own():
    @custom_jvp
    def cube(x):
        return x**3

    cube.defjvp(lambda xs, dxs: (cube(*xs), 3 * xs[0] ** 2 * dxs[0] + 0 * cube(*xs)))

    def layer(depth):
        if depth == 0:
            return cube

        @custom_jvp
        def f(x):
            return layer(depth - 1)(x)

        f.defjvp(lambda xs, dxs: (f(*xs), grad(layer(depth - 1))(xs[0]) * dxs[0]))
        return f

    close(grad(layer(5))(0.5), 0.75)


def test_defjvps_and_integer_arguments():
    f = custom_jvp(lambda x, n: x**2 * n)
    f.defjvps(lambda t, out, x, n: 7 * t * n, None)
    close(grad(f)(3.0, 2), 14)

    @custom_jvp
    def g(x, n):
        return x * n, n

    @g.defjvp
    def rule(primals, tangents):
        (x, n), (dx, dn) = primals, tangents
        assert dn.dtype.names == ("float0",)
        return (x * n, n), (dx * n * 5, dn)

    close(grad(lambda x: g(x, 3)[0])(2.0), 15)


def test_nondiff_argnums():
    @functools.partial(custom_jvp, nondiff_argnums=(0,))
    def apply(fun, x):
        return fun(x)

    @apply.defjvp
    def _(fun, primals, tangents):
        return fun(primals[0]), 3 * tangents[0]

    close(grad(lambda x: apply(jnp.sin, x))(1.0), 3)

    @functools.partial(custom_vjp, nondiff_argnums=(1,))
    def power(x, n):
        return x**n

    power.defvjp(lambda x, n: (x**n, x), lambda n, x, ct: (ct * n * 100,))
    close(jit(lambda x: grad(power)(x, 3))(2.0), 300)


@custom_vjp
def clipped(x, limits):
    return {"x": x * 2, "n": limits["low"].sum()}


clipped.defvjp(
    lambda x, limits: (clipped(x, limits), (x, limits)),
    lambda res, ct: (jnp.clip(ct["x"], res[1]["low"], res[1]["high"]), None),
)


def test_custom_vjp():
    limits = {"low": np.float32(-1), "high": np.float32(1)}

    def f(x, limits):
        return (clipped(x, limits)["x"] * jnp.array([5.0, 0.5, -3.0])).sum()

    for wrap in (lambda f: f, jit):
        close(wrap(f)(XS, limits), (XS * 2 * [5, 0.5, -3]).sum())
        dx, dlimits = wrap(grad(f, (0, 1)))(XS, limits)
        close(dx, [1, 0.5, -1])
        assert float(dlimits["low"]) == 0 and float(dlimits["high"]) == 0
    batch = np.stack([XS, XS + 1])
    close(vmap(grad(f), (0, None))(batch, limits), np.broadcast_to([1, 0.5, -1], (2, 3)))


@custom_vjp
def product(x, y):
    return x * y


product.defvjp(lambda x, y: (x * y, (x, y)), lambda r, ct: (r[1] * ct * 100, r[0] * ct))


def test_custom_vjp_in_transforms():
    close(grad(product, (0, 1))(2.0, 3.0), [300, 2])
    close(vmap(grad(product), (0, None))(XS, 2.0), [200, 200, 200])
    total = grad(lambda x, y: vmap(product, (0, None))(x, y).sum(), (0, 1))(XS, 2.0)
    close(total[0], [200, 200, 200])
    close(total[1], XS.sum())
    close(grad(lambda x: lax.scan(lambda c, _: (product(c, 2.0), None), x, None, 3)[0])(1.0), 8e6)
    close(grad(lambda x: lax.cond(x > 0, lambda x: product(x, 2.0), lambda x: x, x))(1.0), 200)
    close(grad(checkpoint(lambda x: product(jnp.sin(x), 2.0)))(1.0), 200 * np.cos(1))
    close(grad(lambda x: lax.map(lambda v: product(v, v), x).sum())(XS), 101 * XS)
    with pytest.raises(GradError, match="only a custom_vjp"):
        jvp(product, (1.0, 2.0), (1.0, 1.0))


def test_values_at_hand_reach_body_and_rules_under_plain_grad():
    @custom_vjp
    def f(x):
        return x * 2 if x > 0 else x * 3

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * (20 if x > 0 else 30),))
    assert [float(v) for v in value_and_grad(f)(1.0)] == [2, 20]
    assert [float(v) for v in value_and_grad(f)(-1.0)] == [-3, 30]


def test_closing_over_a_differentiated_value_is_an_error():
    def outer(z):
        @custom_vjp
        def f(x):
            return x * z

        f.defvjp(lambda x: (x * z, None), lambda res, ct: (ct * z * 2,))
        return f(3.0) + grad(f)(3.0)

    close(vmap(outer)(XS), XS * 5)
    close(jit(outer)(2.0), 10)
    with pytest.raises(GradError, match="closes over a value that is being differentiated"):
        grad(outer)(2.0)


def test_large_captured_arrays():
    weights = jnp.array(np.arange(200.0, dtype=np.float32))

    @custom_vjp
    def f(x):
        return (x * weights).sum()

    f.defvjp(lambda x: (f(x), None), lambda res, ct: (ct * weights.sum() * 2,))
    close(grad(f)(1.0), 2 * 19900)
    close(jit(vmap(grad(f)))(XS), [39800] * 3)


def test_custom_gradient():
    @custom_gradient
    def log1pexp(x):
        e = jnp.exp(x)
        return jnp.log(1 + e), lambda ct: ct * (1 - 1 / (1 + e))

    close(log1pexp(1.0), np.log1p(np.exp(1)))
    assert float(grad(log1pexp)(100.0)) == 1
    close(vmap(grad(log1pexp))(XS), 1 / (1 + np.exp(-XS)))
    s = 1 / (1 + np.exp(-0.5))
    close(grad(grad(log1pexp))(0.5), s * (1 - s))


def test_wrong_rules():
    f = custom_vjp(lambda x, y: x)
    with pytest.raises(ArgumentError, match="no derivative rules"):
        f(1.0, 2.0)
    f.defvjp(lambda x, y: (x, None), lambda res, ct: ct)
    with pytest.raises(GradError, match="tuple of 2 cotangents"):
        grad(f)(1.0, 2.0)
    f.defvjp(lambda x, y: (x, None), lambda res, ct: (jnp.ones(3), None))
    with pytest.raises(GradError, match="cotangent of `x` is"):
        grad(f)(1.0, 2.0)
    f.defvjp(lambda x, y: x, lambda res, ct: (ct, ct))
    with pytest.raises(ArgumentError, match="pair \\(output, residuals\\)"):
        grad(f)(1.0, 2.0)
    g = custom_jvp(lambda x: x)
    g.defjvp(lambda p, t: (p[0], (t[0], t[0])))
    with pytest.raises(Exception, match="tangent differs from the output"):
        grad(g)(1.0)
    with pytest.raises(ArgumentError, match="keyword-only"):
        h = custom_jvp(lambda x, *, k=1: x)
        h.defjvp(lambda p, t: (p[0], t[0]))
        grad(h)(1.0)


@pytest.mark.parametrize("wrap", [lambda f: f, jit])
def test_checkpoint(wrap):
    def f(x, *, scale=1.0):
        return jnp.sin(jnp.sin(x)) * scale

    kept = checkpoint(f)
    close(wrap(kept)(1.0, scale=2.0), 2 * np.sin(np.sin(1)))
    close(wrap(grad(kept))(0.7), grad(f)(0.7))
    close(wrap(lambda x: jvp(kept, (x,), (1.0,))[1])(0.7), grad(f)(0.7))
    close(wrap(grad(grad(kept)))(0.7), grad(grad(f))(0.7))
    close(wrap(vmap(grad(kept)))(XS), vmap(grad(f))(XS))
    close(wrap(lambda x: vjp(kept, x)[1](2.0)[0])(0.7), 2 * grad(f)(0.7))
    close(wrap(hessian(kept))(0.7), grad(grad(f))(0.7))


def test_checkpoint_of_a_scan_body():
    def loss(body):
        return lambda w: lax.scan(lambda c, x: (body(c, w) + x, None), 0.5, jnp.arange(4.0))[0]

    def step(c, w):
        return jnp.tanh(c * w)

    close(jit(grad(loss(checkpoint(step))))(0.3), grad(loss(step))(0.3))


def test_checkpoint_arguments():
    f = checkpoint(lambda x, n: x**n, static_argnums=1)
    close(grad(f)(2.0, 3), 12)
    assert checkpoint(jnp.sin, policy=checkpoint_policies.everything_saveable)(0.0) == 0
    with pytest.raises(ArgumentError, match="not a policy"):
        checkpoint(jnp.sin, policy="all")


def test_stop_gradient():
    close(grad(lambda x: stop_gradient(x) * x)(3.0), 3)
    tree = stop_gradient({"a": np.float32(1), "n": 3, "name": "w"})
    assert tree["name"] == "w" and int(tree["n"]) == 3
    assert float(grad(lambda x: stop_gradient({"x": x})["x"])(3.0)) == 0


def test_closure_convert_and_zeros():
    def outer(w):
        converted, consts = closure_convert(lambda x: x * w, 1.0)
        return converted(3.0, *consts) + sum(consts)

    close(grad(outer)(2.0), 4)
    zeros = zero_from_primal((np.float32(1), np.int32(2)))
    assert float(zeros[0]) == 0 and zeros[1].dtype.names == ("float0",)


def test_arguments_named_as_not_differentiated() -> None:
    @functools.partial(tj.custom_jvp, nondiff_argnames=("power",))
    def raised(x, power):
        return x**power

    @raised.defjvp
    def _(power, primals, tangents):
        (x,), (dx,) = primals, tangents
        return raised(x, power), 10.0 * power * dx

    assert float(tj.grad(lambda x: raised(x, 3))(2.0)) == 30.0

    @functools.partial(tj.custom_vjp, nondiff_argnames="scale")
    def scaled(x, scale):
        return x

    scaled.defvjp(lambda x, scale: (x, None), lambda scale, _, ct: (scale * ct,))
    assert float(tj.grad(lambda x: scaled(x, 5.0))(2.0)) == 5.0
    with pytest.raises(tj.TracejitError, match="no argument `skale`"):
        tj.custom_vjp(lambda x, scale: x, nondiff_argnames=("skale",))


def test_checkpoint_with_static_names() -> None:
    @functools.partial(tj.checkpoint, static_argnames=("mode",))
    def f(x, mode):
        return jnp.sin(x) if mode == "sin" else x

    assert float(tj.grad(lambda x: f(x, mode="sin"))(0.0)) == 1.0
    assert float(tj.jit(tj.grad(lambda x: f(x, "sin")))(0.0)) == 1.0


def test_linearize_with_aux() -> None:
    y, f_jvp, aux = tj.linearize(lambda x: (x**2, {"twice": 2 * x}), 3.0, has_aux=True)
    assert (float(y), float(f_jvp(1.0)), float(aux["twice"])) == (9.0, 6.0, 6.0)


@pytest.mark.parametrize("method", (None, "sequential", "expand_dims", "broadcast_all"))
def test_how_callbacks_are_mapped(method) -> None:
    shapes = []

    def host(x, y):
        shapes.append((x.shape, y.shape))
        return x + y.sum(-1)

    def f(x, y):
        return tj.pure_callback(host, tj.ShapeDtypeStruct((), np.float64), x, y, vmap_method=method)

    x, y = np.arange(3.0), np.ones(2)
    found = tj.vmap(f, in_axes=(0, None))(x, y)
    np.testing.assert_array_equal(found, x + 2)
    expected = {
        "expand_dims": {((3,), (1, 2))},
        "broadcast_all": {((3,), (3, 2))},
    }.get(method, {((), (2,))})
    assert set(shapes) == expected


def test_rules_with_symbolic_zeros():
    zero = tj.custom_derivatives.SymbolicZero

    @custom_jvp
    def scaled(x, n):
        return x * n, n

    def rule(primals, tangents):
        dx, dn = tangents
        assert not isinstance(dx, zero) and isinstance(dn, zero) and dn.shape == (2,)
        return scaled(*primals), (dx * primals[1], dn)

    scaled.defjvp(rule, symbolic_zeros=True)
    n = jnp.array([2, 3])
    close(grad(lambda x: jnp.sum(scaled(x, n)[0]))(jnp.array([1.0, 1.0])), [2, 3])

    @functools.partial(custom_vjp, nondiff_argnums=(0,))
    def g(power, x, n):
        return x**power * n

    def forward(power, x, n):
        assert x.perturbed and not n.perturbed
        return g(power, x.value, n.value), tj.custom_derivatives.custom_vjp_primal_tree_values((x,))

    g.defvjp(
        forward,
        lambda power, saved, ct: (7 * ct, zero.from_primal_value(3)),
        symbolic_zeros=True,
    )
    close(grad(g, 1)(2, 5.0, 3), 7)
    assert isinstance(tj.custom_derivatives.zero_from_primal(1.0, symbolic_zeros=True), zero)
