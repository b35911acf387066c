"""Programs with structured operations, each beside a plain twin that does without them.

    for program, twin in PAIRS.values(): compose(chain, program)(x) == compose(chain, twin)(x)

``CHAIN`` names transforms that make a scalar function of one vector out of another, so that they
nest in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.frontend.custom import custom_jvp, custom_vjp
from tracejit.frontend.remat import checkpoint

Function = Callable[[Any], Any]
X = np.array([0.4, 0.9, 0.6])


# ---- pairs ---------------------------------------------------------------------------------------


def scan_program(x: Any) -> Any:
    weight = x * 2

    def body(carry: Any, a: Any) -> Any:
        new = {"u": jnp.sin(carry["u"]) * weight[0] + a, "count": carry["count"] + 1}
        return new, (new["u"] * weight,)

    carry, (ys,) = lax.scan(body, {"u": x[1], "count": 0}, x, reverse=True)
    return carry["u"] * carry["count"] + jnp.sum(ys)


def scan_twin(x: Any) -> Any:
    u, total = x[1], 0.0
    for k in (2, 1, 0):
        u = jnp.sin(u) * x[0] * 2 + x[k]
        total = total + jnp.sum(u * x * 2)
    return u * 3 + total


def nested_scan_program(x: Any) -> Any:
    def outer(c: Any, a: Any) -> Any:
        d, ys = lax.scan(lambda d, b: (d * jnp.cos(b) + a, d + c), c, x)
        return d, ys.sum()

    c, ys = lax.scan(outer, x[0], x * 2)
    return c * ys.sum()


def nested_scan_twin(x: Any) -> Any:
    c, total = x[0], 0.0
    for k in range(3):
        d = c
        for j in range(3):
            total = total + d + c
            d = d * jnp.cos(x[j]) + x[k] * 2
        c = d
    return c * total


def cond_program(x: Any) -> Any:
    y = jnp.sin(x)
    return lax.cond(
        jnp.sum(x) > -100, lambda z: jnp.sum(y * z * z), lambda z: jnp.sum(z * y) / 0, x
    )


def cond_twin(x: Any) -> Any:
    return jnp.sum(jnp.sin(x) * x * x)


def concrete_cond_program(x: Any) -> Any:
    return lax.cond(False, lambda z: jnp.sum(z), lambda z: jnp.sum(z**3), x)


def concrete_cond_twin(x: Any) -> Any:
    return jnp.sum(x**3)


def batched_cond_program(x: Any) -> Any:
    def one(a: Any) -> Any:
        return lax.cond(a > 0.5, lambda a: a * a * x[0], jnp.exp, a)

    return jnp.sum(tj.vmap(one)(x) * x)


def batched_cond_twin(x: Any) -> Any:
    return jnp.sum(jnp.where(x > 0.5, x * x * x[0], jnp.exp(x)) * x)


def switch_program(x: Any) -> Any:
    def step(c: Any, k: Any) -> Any:
        return lax.switch(k, [jnp.sin, lambda c: c * x[0], lambda c: c * c + x[1]], c), c

    c, ys = lax.scan(step, x[2], jnp.array([2, 0, 1, 7, -3]))
    return c + jnp.sum(ys)


def switch_twin(x: Any) -> Any:
    c, total = x[2], 0.0
    for k in (2, 0, 1, 2, 0):
        total = total + c
        c = (jnp.sin(c), c * x[0], c * c + x[1])[k]
    return c + total


def fori_program(x: Any) -> Any:
    return jnp.sum(lax.fori_loop(0, 3, lambda k, c: jnp.sin(c) * x + k * c, x))


def fori_twin(x: Any) -> Any:
    c = x
    for k in range(3):
        c = jnp.sin(c) * x + k * c
    return jnp.sum(c)


def jit_program(x: Any) -> Any:
    inner = tj.jit(lambda a, b: a * jnp.cos(b) + x)
    return jnp.sum(inner(x, x * 2) * tj.jit(inner)(x * x, x))


def jit_twin(x: Any) -> Any:
    return jnp.sum((x * jnp.cos(x * 2) + x) * (x * x * jnp.cos(x) + x))


def checkpoint_program(x: Any) -> Any:
    @checkpoint
    def body(c: Any, a: Any) -> Any:
        return jnp.sin(c * a) + x[0], c

    c, ys = lax.scan(body, x[1], x)
    return checkpoint(lambda c, ys: c * jnp.sum(ys * x))(c, ys)


def checkpoint_twin(x: Any) -> Any:
    c, ys = x[1], []
    for k in range(3):
        ys.append(c)
        c = jnp.sin(c * x[k]) + x[0]
    return c * jnp.sum(jnp.stack(ys) * x)


def custom_jvp_program(x: Any) -> Any:
    f = custom_jvp(lambda a, b: jnp.sin(a) * b)
    f.defjvp(
        lambda p, t: (jnp.sin(p[0]) * p[1], jnp.cos(p[0]) * p[1] * t[0] + jnp.sin(p[0]) * t[1])
    )
    return lax.fori_loop(0, 2, lambda _, c: f(c, x), x).sum()


def custom_vjp_program(x: Any) -> Any:
    f = custom_vjp(lambda a, b: jnp.sin(a) * b)
    f.defvjp(
        lambda a, b: (jnp.sin(a) * b, (a, b)),
        lambda r, ct: (ct * jnp.cos(r[0]) * r[1], ct * jnp.sin(r[0])),
    )
    return lax.fori_loop(0, 2, lambda _, c: f(c, x), x).sum()


def custom_twin(x: Any) -> Any:
    return jnp.sum(jnp.sin(jnp.sin(x) * x) * x)


def while_program(x: Any) -> Any:
    return lax.while_loop(
        lambda s: s[1] < 3, lambda s: (jnp.sin(s[0]) * x[0] + x, s[1] + 1), (x, 0)
    )[0].sum()


def batched_while_program(x: Any) -> Any:
    def one(a: Any) -> Any:
        return lax.while_loop(lambda s: s < 2, lambda s: s * 1.5 + x[0], a)

    return jnp.sum(tj.vmap(one)(jnp.stack([x[0] / x[0] * x[1], x[2], x[0]])) * x)


def batched_while_twin(x: Any) -> Any:
    def steps(c: Any, n: int) -> Any:
        for _ in range(n):
            c = c * 1.5 + x[0]
        return c

    return jnp.sum(jnp.stack([steps(x[1], 2), steps(x[2], 2), steps(x[0], 3)]) * x)


def while_twin(x: Any) -> Any:
    c = x
    for _ in range(3):
        c = jnp.sin(c) * x[0] + x
    return c.sum()


PAIRS: dict[str, tuple[Function, Function]] = {
    "scan": (scan_program, scan_twin),
    "nested_scan": (nested_scan_program, nested_scan_twin),
    "cond": (cond_program, cond_twin),
    "concrete_cond": (concrete_cond_program, concrete_cond_twin),
    "batched_cond": (batched_cond_program, batched_cond_twin),
    "switch": (switch_program, switch_twin),
    "fori": (fori_program, fori_twin),
    "jit": (jit_program, jit_twin),
    "checkpoint": (checkpoint_program, checkpoint_twin),
    "custom_jvp": (custom_jvp_program, custom_twin),
}
#: forward mode alone
FORWARD_PAIRS: dict[str, tuple[Function, Function]] = {
    "while": (while_program, while_twin),
    "batched_while": (batched_while_program, batched_while_twin),
}
#: reverse mode alone
REVERSE_PAIRS: dict[str, tuple[Function, Function]] = {
    "custom_vjp": (custom_vjp_program, custom_twin)
}


# ---- transforms ----------------------------------------------------------------------------------


def by_grad(f: Function) -> Function:
    return lambda x: jnp.sum(tj.grad(f)(x) * jnp.cos(x))


def by_value_and_grad(f: Function) -> Function:
    def both(x: Any) -> Any:
        value, gradient = tj.value_and_grad(f)(x)
        return value * gradient.sum()

    return both


def by_jvp(f: Function) -> Function:
    return lambda x: tj.jvp(f, (x,), (jnp.cos(x),))[1]


def by_linearize(f: Function) -> Function:
    return lambda x: tj.linearize(f, x)[1](jnp.cos(x) * x[0])


def by_vjp(f: Function) -> Function:
    return lambda x: jnp.sum(tj.vjp(f, x)[1](jnp.sin(x[0]))[0] ** 2)


def by_vmap(f: Function) -> Function:
    return lambda x: jnp.sum(tj.vmap(f)(jnp.stack([x, x * 1.02])) * jnp.array([1.0, 2.0]))


def by_jacfwd(f: Function) -> Function:
    return lambda x: jnp.sum(tj.jacfwd(f)(x) * x)


def by_jacrev(f: Function) -> Function:
    return lambda x: jnp.sum(tj.jacrev(f)(x) * x)


def by_hessian(f: Function) -> Function:
    return lambda x: jnp.sum(tj.hessian(f)(x) * jnp.outer(x, x))


CHAIN: dict[str, Callable[[Function], Function]] = {
    "jit": tj.jit,
    "grad": by_grad,
    "value_and_grad": by_value_and_grad,
    "jvp": by_jvp,
    "linearize": by_linearize,
    "vjp": by_vjp,
    "vmap": by_vmap,
    "jacfwd": by_jacfwd,
    "jacrev": by_jacrev,
    "hessian": by_hessian,
    "checkpoint": checkpoint,
}
FORWARD = ("jit", "jvp", "vmap", "jacfwd")
REVERSE = ("jit", "grad", "value_and_grad", "vjp", "vmap", "jacrev", "checkpoint")


def compose(chain: Sequence[str], f: Function) -> Function:
    """The transforms applied to ``f``, the first one innermost."""
    for name in chain:
        f = CHAIN[name](f)
    return f
