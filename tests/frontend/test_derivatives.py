"""grad, vjp, jvp, linearize and Jacobians: arguments, trees, integers, complex numbers, Python
control flow.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ArgumentError, GradError, TracedValueError, TreeError
from tracejit.frontend.trace import current_trace

X = np.array([0.3, 0.5, 0.9])
Z = np.array([0.3 + 0.4j, 1.2 - 0.7j, -0.5 + 0.1j])
K = np.array([1, 2, 3])
FLOAT0 = np.zeros(3, [("float0", np.void, 0)])


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6, atol=1e-9)


def three(a: Any, b: Any, c: Any = 2.0, *, k: Any = 1.0) -> Any:
    return jnp.sum(a * jnp.sin(b)) * c * k


# ---- arguments -----------------------------------------------------------------------------------


def test_argnums() -> None:
    da, db, dc = np.sin(2 * X) * 6, X * np.cos(2 * X) * 6, np.sum(X * np.sin(2 * X)) * 2
    args = (X, 2 * X, 3.0)
    close(tj.grad(three)(*args, k=2.0), da)
    close(tj.grad(three, 1)(*args, k=2.0), db)
    close(tj.grad(three, -1)(*args, k=2.0), dc)
    for argnums in ((1, 0), [1, 0], (-2, -3)):
        found = tj.grad(three, argnums)(*args, k=2.0)
        assert isinstance(found, tuple)
        close(found[0], db)
        close(found[1], da)
    (only,) = tj.grad(three, (2,))(*args, k=2.0)
    close(only, dc)
    close(tj.grad(three)(X, b=2 * X), np.sin(2 * X) * 2)  # keywords are not differentiated


def test_argnums_out_of_range() -> None:
    for argnums in (3, -4, (0, 5)):
        with pytest.raises(ArgumentError, match="argnums"):
            tj.grad(three, argnums)(X, X, 1.0)


def test_has_aux() -> None:
    def f(x: Any) -> Any:
        return jnp.sum(x**3), {"double": x * 2, "n": 3, "none": None}

    grads, aux = tj.grad(f, has_aux=True)(X)
    close(grads, 3 * X**2)
    close(aux["double"], 2 * X)
    assert aux["none"] is None
    (value, aux), grads = tj.value_and_grad(f, has_aux=True)(X)
    close(value, np.sum(X**3))
    assert int(aux["n"]) == 3
    value, pull, aux = tj.vjp(f, X, has_aux=True)
    close(pull(2.0)[0], 6 * X**2)
    value, tangent, aux = tj.jvp(f, (X,), (X,), has_aux=True)
    close(tangent, np.sum(3 * X**3))
    for jacobian in (tj.jacfwd, tj.jacrev):
        jac, aux = jacobian(lambda x: (x * x, {"sum": x.sum()}), has_aux=True)(X)
        close(jac, np.diag(2 * X))
        close(aux["sum"], X.sum())
    hessian, aux = tj.hessian(f, has_aux=True)(X)
    close(hessian, np.diag(6 * X))
    close(aux["double"], 2 * X)


def test_aux_of_a_traced_value_stays_inside_its_trace() -> None:
    @tj.jit
    def f(x: Any) -> Any:
        grads, aux = tj.grad(lambda z: (jnp.sum(z * x), z * 3), has_aux=True)(x)
        return grads + aux

    close(f(X), 4 * X)


Weights = namedtuple("Weights", "w b")


def test_trees() -> None:
    def f(params: Any, x: Any) -> Any:
        y = x @ params["layer"].w + params["layer"].b
        return jnp.sum(y * params["scale"][0])

    params = {"layer": Weights(np.ones((3, 2)), np.zeros(2)), "scale": [2.0], "none": None}
    found = tj.grad(f)(params, X)
    assert isinstance(found["layer"], Weights)
    close(found["layer"].w, np.outer(X, [2, 2]))
    close(found["layer"].b, [2, 2])
    close(found["scale"][0], 2 * X.sum())
    assert found["none"] is None
    hessian = tj.hessian(f)(params, X)
    close(hessian["layer"].b["scale"][0], [1, 1])
    close(hessian["scale"][0]["layer"].w, np.outer(X, [1, 1]))


def test_jacobians_of_trees_and_several_arguments() -> None:
    def f(a: Any, b: Any) -> Any:
        return {"product": a * b, "sum": (b.sum(),)}

    for jacobian in (tj.jacfwd, tj.jacrev):
        found = jacobian(f, (0, 1))(X, 2 * X)
        close(found["product"][0], np.diag(2 * X))
        close(found["product"][1], np.diag(X))
        close(found["sum"][0][0], np.zeros(3))
        close(found["sum"][0][1], np.ones(3))
    blocks = tj.hessian(lambda a, b: jnp.sum(a * a * b), (0, 1))(X, 2 * X)
    close(blocks[0][0], np.diag(4 * X))
    close(blocks[0][1], np.diag(2 * X))
    close(blocks[1][1], np.zeros((3, 3)))


def test_jacobians_of_scalars_constants_and_empty_arrays() -> None:
    for jacobian in (tj.jacfwd, tj.jacrev):
        close(jacobian(lambda a: jnp.stack([a * a, a]))(2.0), [4, 1])
        close(jacobian(lambda a: a * a)(2.0), 4)
        close(jacobian(lambda a: 1.0)(X), np.zeros(3))
        assert jacobian(lambda a: a * 2)(np.zeros(0)).shape == (0, 0)
        assert jacobian(lambda a: (a, None))(2.0)[1] is None
        assert jacobian(lambda a: a.reshape(3, 1) * np.ones(2))(X).shape == (3, 2, 3)
    mixed = {"a": X, "b": X.astype(np.float32)}
    forward, backward = (j(lambda d: d["a"].sum() * d["b"])(mixed) for j in (tj.jacfwd, tj.jacrev))
    assert (forward["b"].dtype, backward["b"].dtype) == (
        np.float64,
        np.float32,
    )  # output's, input's


# ---- pairs of functions --------------------------------------------------------------------------


def test_vjp_and_its_function_are_reusable() -> None:
    value, pull = tj.vjp(lambda x, y: {"a": x * y, "b": jnp.sin(y)}, X, 2 * X)
    close(value["a"], 2 * X * X)
    for scale in (1.0, 3.0):
        dx, dy = pull({"a": scale * X, "b": np.zeros(3)})
        close(dx, scale * 2 * X * X)
        close(dy, scale * X * X)
    close(tj.jit(lambda ct: pull({"a": ct, "b": ct}))(X)[0], 2 * X * X)
    close(
        tj.vmap(lambda ct: pull({"a": ct, "b": ct})[0])(np.stack([X, 2 * X])),
        [2 * X * X, 4 * X * X],
    )
    close(tj.grad(lambda s: pull({"a": s * X, "b": X})[0].sum())(1.0), np.sum(2 * X * X))


def test_linearize_and_its_function_are_reusable() -> None:
    value, push = tj.linearize(lambda d: {"o": d["a"] * d["b"]}, {"a": X, "b": 2.0})
    close(value["o"], 2 * X)
    close(push({"a": X, "b": 1.0})["o"], 3 * X)
    close(tj.vmap(lambda t: push({"a": t, "b": 0.0})["o"])(np.eye(3)), 2 * np.eye(3))


def test_wrong_tangents_and_cotangents() -> None:
    with pytest.raises(TreeError):
        tj.jvp(jnp.sin, (X,), ((X,),))
    with pytest.raises(GradError, match="tangent"):
        tj.jvp(jnp.sin, (X,), (X[:2],))
    with pytest.raises(ArgumentError, match="tuples"):
        tj.jvp(jnp.sin, X, X)
    for call in (
        lambda: tj.jvp(lambda k: k * k, (3,), (1.0,)),
        lambda: tj.jvp(lambda k: k * 1.0, (K,), (K,)),
        lambda: tj.linearize(lambda k: k * 1.0, K)[1](X),
    ):
        with pytest.raises(GradError, match="`k` is .*float0"):
            call()
    pull = tj.vjp(jnp.sin, X)[1]
    with pytest.raises(GradError, match="cotangent"):
        pull(np.ones(2))
    with pytest.raises(TreeError):
        pull((X,))


def test_grad_needs_a_real_scalar() -> None:
    for f, what in (
        (jnp.sin, "not a scalar"),
        (lambda x: x[:1], "not a scalar"),
        (lambda x: (x.sum(), x), "2 values"),
    ):
        with pytest.raises(GradError, match=what):
            tj.grad(f)(X)
    with pytest.raises(GradError, match="real floating"):
        tj.grad(lambda x: jnp.argmax(x))(X)


def test_functions_that_ignore_their_argument() -> None:
    close(tj.grad(lambda x, y: jnp.sum(x), 1)(X, 2.0), 0)
    close(tj.grad(lambda x: 1.0)(2.0), 0)
    assert tj.grad(lambda x, y: x * x, (0, 1))(2.0, None)[1] is None
    assert tj.grad(lambda x, y: x * x, (0, 1))(2.0, ())[1] == ()


def test_dtypes_of_gradients() -> None:
    assert tj.grad(lambda x: jnp.sum(x * x))(X.astype(np.float16)).dtype == np.float16
    assert tj.grad(lambda x: jnp.sum(x * X))(X.astype(np.float32)).dtype == np.float32
    step = tj.grad(lambda x: x * x)(3.0)
    assert (
        jnp.ones(2, jnp.float16) * step
    ).dtype == np.float16  # of a Python scalar: weak as that is


# ---- integers ------------------------------------------------------------------------------------


def is_float0(x: Any) -> bool:
    return x.dtype == FLOAT0.dtype


def test_integers_need_permission() -> None:
    for transform in (tj.grad, tj.jacfwd, tj.jacrev):
        with pytest.raises(GradError, match="floating or complex"):
            transform(lambda x: jnp.sum(x * 1.0))(K)
    with pytest.raises(GradError):
        tj.grad(lambda x: x * x)(3)


def test_integers_have_float0_derivatives() -> None:
    found = tj.grad(lambda d: jnp.sum(d["a"] * d["b"]), allow_int=True)({"a": K, "b": X})
    assert is_float0(found["a"])
    assert found["a"].shape == (3,)
    close(found["b"], K)
    dx, dk = tj.vjp(lambda x, k: x * k, X, K)[1](X)
    close(dx, X * K)
    assert is_float0(dk)
    (y, k), (dy, dk) = tj.jvp(lambda x, k: (x * k, k + 1), (X, K), (X, FLOAT0))
    close(dy, X * K)
    close(k, K + 1)
    assert is_float0(dk)
    dy, dk = tj.linearize(lambda x, k: (x * k, k + 1), X, K)[1](X, FLOAT0)
    close(dy, X * K)
    assert is_float0(dk)
    (dx,) = tj.vjp(lambda x: (x * 2, jnp.argmax(x)), X)[1]((X, np.zeros((), FLOAT0.dtype)))
    close(dx, 2 * X)
    assert tj.jacrev(lambda x: x * 1.0, allow_int=True)(K).shape == (3, 3)
    jac, none = tj.jacfwd(lambda x: (x * 2, jnp.argmax(x)))(X)
    close(jac, 2 * np.eye(3))
    assert none.shape == (3,)


def test_booleans_and_integers_on_the_way() -> None:
    def f(x: Any) -> Any:
        order = jnp.argsort(x)
        return jnp.sum(jnp.where(x > 0.4, x[order] * 2, x)) + jnp.floor(x).sum() + (x > 0).sum()

    close(tj.grad(f)(X), [1, 2, 2])
    close(tj.grad(lambda x: jnp.sum(x.astype("int32").astype("float64") + x))(X), np.ones(3))


# ---- complex numbers: JAX's conventions ----------------------------------------------------------


def test_gradient_of_a_real_function_of_complex_numbers() -> None:
    # df = Re(grad * dz): the conjugate of the direction of steepest ascent
    found = np.asarray(tj.grad(lambda z: jnp.sum(jnp.abs(z) ** 2 * jnp.sin(jnp.real(z))))(Z))
    real = 2 * Z.real * np.sin(Z.real) + np.abs(Z) ** 2 * np.cos(Z.real)
    close(found, real - 1j * 2 * Z.imag * np.sin(Z.real))
    close(tj.grad(lambda z: jnp.sum(jnp.abs(z)))(Z), np.conj(Z) / np.abs(Z))
    close(tj.grad(lambda z: jnp.imag(z))(1j), -1j)


def test_holomorphic() -> None:
    def f(z: Any) -> Any:
        return jnp.sum(jnp.sin(z) * z)

    first, second = np.cos(Z) * Z + np.sin(Z), -np.sin(Z) * Z + 2 * np.cos(Z)
    close(tj.grad(f, holomorphic=True)(Z), first)
    for jacobian in (tj.jacfwd, tj.jacrev):
        close(jacobian(lambda z: jnp.sin(z) * z, holomorphic=True)(Z), np.diag(first))
    close(tj.hessian(f, holomorphic=True)(Z), np.diag(second))


def test_complex_derivatives_that_say_too_little_are_errors() -> None:
    for call in (
        lambda: tj.grad(lambda z: jnp.sum(z))(Z),
        lambda: tj.jacfwd(jnp.sin)(Z),
        lambda: tj.jacrev(jnp.sin)(Z),
        lambda: tj.jacfwd(jnp.abs)(Z),
        lambda: tj.jacrev(lambda x: jnp.exp(1j * x))(X),
        lambda: tj.grad(jnp.sum, holomorphic=True)(X),
        lambda: tj.jacrev(jnp.sin, holomorphic=True)(X),
    ):
        with pytest.raises(GradError):
            call()
    close(tj.jacfwd(lambda x: jnp.exp(1j * x))(X), np.diag(1j * np.exp(1j * X)))
    close(tj.jacrev(jnp.abs)(Z), np.diag(np.conj(Z) / np.abs(Z)))


def test_complex_inside_a_real_function() -> None:
    def f(x: Any) -> Any:
        return jnp.sum(jnp.real(jnp.exp(1j * x) * x * jnp.conj(jnp.exp(1j * x)) + jnp.exp(2j * x)))

    close(tj.grad(f)(X), 1 - 2 * np.sin(2 * X))
    close(tj.hessian(f)(X), np.diag(-4 * np.cos(2 * X)))


# ---- Python control flow on values ---------------------------------------------------------------


def branching(x: Any) -> Any:
    total = 0.0
    while total < 2:
        total = total + x if x > 0.5 else total + x * x
    if total > float(x) and not bool(total > 1000):
        total = total * int(total)
    return total + np.arange(5)[int(x * 3)] * x + [x, x * 2][int(x > 0.9)]


def branching_derivative(x: float) -> float:
    h = 1e-6
    return float((branching(x + h) - branching(x - h)) / (2 * h))


@pytest.mark.parametrize("x", [0.45, 0.8, 1.3])
def test_python_control_flow_outside_of_jit(x: float) -> None:
    x64, expected = np.float64(x), branching_derivative(x)
    for derivative in (
        tj.grad(branching),
        lambda x: tj.value_and_grad(branching)(x)[1],
        lambda x: tj.vjp(branching, x)[1](np.float64(1.0))[0],
        lambda x: tj.jvp(branching, (x,), (np.float64(1.0),))[1],
        lambda x: tj.linearize(branching, x)[1](np.float64(1.0)),
        tj.jacfwd(branching),
        tj.jacrev(branching),
    ):
        np.testing.assert_allclose(derivative(x64), expected, rtol=1e-5)
    second = tj.grad(tj.grad(branching))(x64)
    for derivative in (
        tj.hessian(branching),
        tj.jacfwd(tj.jacfwd(branching)),
        tj.jacrev(tj.grad(branching)),
    ):
        np.testing.assert_allclose(derivative(x64), second, rtol=1e-9, atol=1e-12)


def test_values_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    def f(x: Any) -> Any:
        print(f"{x[0]:.2f}", x.tolist(), x.sum().item(), np.asarray(x).shape)
        for k, a in enumerate(x):
            if a > 0.4:
                return a * (k + 1)
        return x.sum()

    close(tj.grad(f)(X), [0, 2, 0])
    assert capsys.readouterr().out == f"0.30 {X.tolist()} {X.sum()} (3,)\n"


def test_values_go_through_inner_functions() -> None:
    def f(x: Any) -> Any:
        y = tj.jit(lambda a: a * 3)(x)
        z = lax.fori_loop(0, 2, lambda k, c: c * x, y)
        w = lax.cond(z > 1, jnp.sin, jnp.cos, z)
        g = tj.grad(lambda a: a * a if a > 0 else a)(w)
        return g * 5 if w > 0 and z > 0 and g > 0 else g

    x = np.float64(0.9)
    z = 3 * x**3
    close(tj.grad(f)(x), 10 * np.cos(z) * 9 * x**2)


def test_abstract_traces_have_no_values() -> None:
    def f(x: Any) -> Any:
        return x * 2 if x > 0 else x

    over_batch = tj.vmap(tj.grad(f))
    for g in (tj.jit(tj.grad(f)), tj.grad(tj.jit(f)), lambda x: over_batch(np.ones(2)), tj.jit(f)):
        with pytest.raises(TracedValueError):
            g(1.0)
        assert current_trace() is None


def test_closures_over_traced_values() -> None:
    def f(x: Any) -> Any:
        weight = jnp.sin(x)

        def inner(y: Any) -> Any:
            return jnp.sum(y * weight) * x[0] + tj.grad(lambda z: jnp.sum(z * y * weight))(x)[1]

        return tj.grad(inner)(x * 2).sum()

    # d inner / dy = weight * x0, plus weight[1] at element 1
    def twin(x: Any) -> Any:
        return jnp.sum(jnp.sin(x) * x[0]) + jnp.sin(x)[1]

    close(f(X), twin(X))
    for transform in (tj.grad, tj.jacfwd, tj.hessian, lambda f: tj.jit(tj.grad(f))):
        close(transform(f)(X), transform(twin)(X))


def test_perturbations_are_not_confused() -> None:
    # the classic: d/dx (x * d/dy (x + y)) is 1, not 2
    for outer in (tj.grad, tj.jacfwd, tj.jacrev):
        for inner in (tj.grad, tj.jacfwd, tj.jacrev):
            close(outer(lambda x, inner=inner: x * inner(lambda y: x + y)(1.0))(1.0), 1.0)


def test_derivatives_of_high_order() -> None:
    f: Callable[[Any], Any] = jnp.sin
    expected = [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin, np.cos]
    for k, derivative in enumerate(expected):
        f = (tj.grad, tj.jacfwd)[k % 2](f)
        close(f(np.float64(0.7)), derivative(0.7))


def test_while_loops_have_derivatives_of_both_modes() -> None:
    def f(x: Any) -> Any:
        return lax.while_loop(lambda s: jnp.sum(s) < 20.0, lambda s: s * 1.5 + x, x)

    x = X + 1
    steps = 0
    s, ds = x, np.ones(3)
    while s.sum() < 20:
        s, ds, steps = s * 1.5 + x, ds * 1.5 + 1, steps + 1
    assert steps > 1
    close(tj.jacfwd(f)(x), np.diag(ds))
    close(tj.linearize(f, x)[1](x), ds * x)
    close(tj.grad(lambda x: f(x).sum())(x), ds)
