"""Wrong calls over the public API: each is one of tracejit's errors, at the line of the call.

Every row runs at once, on arrays with data, and traced by jit, vjp and vmap, where nothing may get further than the trace.
"""

# ruff: noqa: E501
from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import (
    grad,
    hessian,
    jacfwd,
    jacrev,
    jit,
    jvp,
    lax,
    linearize,
    random,
    value_and_grad,
    vjp,
    vmap,
)
from tracejit.errors import InternalError, TracedValueError, TracejitError

Row = Callable[[Any], Any]

ARRAYS = {
    "a": np.ones((2, 3), np.float32),
    "b": np.ones((4, 3), np.float32),
    "c": np.ones((2, 3, 4), np.float32),
    "v": np.ones(5, np.float32),
    "w": np.ones(6, np.float32),
    "s": np.float32(2),
    "i": np.arange(4),
    "u": np.arange(4, dtype=np.uint8),
    "z": np.ones((2, 3), np.complex64),
    "m": np.array([True, False, True, True, False]),
    "e": np.ones((0, 3), np.float32),
}

OPERATORS: list[Row] = [
    lambda t: t.a + t.b,
    lambda t: t.b + t.a,
    lambda t: t.a - t.v,
    lambda t: t.a * t.c,
    lambda t: t.v / t.w,
    lambda t: t.v // t.w,
    lambda t: t.v % t.w,
    lambda t: t.v**t.w,
    lambda t: divmod(t.v, t.w),
    lambda t: t.v < t.w,
    lambda t: t.v == t.w,
    lambda t: t.v != t.w,
    lambda t: t.a @ t.b,
    lambda t: t.a @ t.a,
    lambda t: t.v @ t.w,
    lambda t: t.c @ t.a,
    lambda t: t.a @ t.s,
    lambda t: 2 @ t.a,
    lambda t: t.c @ np.ones((3, 4, 2), np.float32),
    lambda t: t.a & t.a,
    lambda t: t.v | 1,
    lambda t: t.v ^ t.v,
    lambda t: ~t.v,
    lambda t: t.v << 1,
    lambda t: t.v >> t.v,
    lambda t: t.u + 256,
    lambda t: t.u - 1000,
    lambda t: t.u * -1,
    lambda t: t.i + 2**64,
    lambda t: t.z < t.z,
    lambda t: t.z // 2,
    lambda t: t.z % 2,
    lambda t: t.v + [1.0, 2.0],
    lambda t: t.v + np.ones(4),
    lambda t: np.ones(4) + t.v,
    lambda t: [1.0, 2.0] * t.v,
    lambda t: hash(t.v),
    lambda t: bool(t.v),
    lambda t: int(t.v),
    lambda t: float(t.a),
    lambda t: complex(t.v),
    lambda t: len(t.s),
    lambda t: list(t.s),
    lambda t: operator.index(t.s),
    lambda t: [1, 2, 3][t.v],
    lambda t: 7 if t.e else 8,
]

INDEXING: list[Row] = [
    lambda t: t.v[5],
    lambda t: t.v[-6],
    lambda t: t.a[2],
    lambda t: t.a[0, 3],
    lambda t: t.a[0, 0, 0],
    lambda t: t.s[0],
    lambda t: t.e[0],
    lambda t: t.v["x"],
    lambda t: t.v[0.5],
    lambda t: t.v[1 + 2j],
    lambda t: t.v[True],
    lambda t: t.v[object()],
    lambda t: t.v[{}],
    lambda t: t.a[..., ...],
    lambda t: t.v[::0],
    lambda t: t.v["a":2],
    lambda t: t.v[0.5:],
    lambda t: t.v[np.array([0, 5])],
    lambda t: t.v[[0, -6]],
    lambda t: t.a[[0, 1, 1], [0, 1]],
    lambda t: t.v[np.array([0.0, 1.0])],
    lambda t: t.v[np.ones(4, bool)],
    lambda t: t.a[np.ones((3, 3), bool)],
    lambda t: t.v.at[5].set(1.0),
    lambda t: t.v.at[0].set(t.w),
    lambda t: t.a.at[0].add(t.v),
    lambda t: t.a.at[:, 0].mul(t.v),
    lambda t: t.v.at[0].set("x"),
    lambda t: t.i.at[0].set(1j),
    lambda t: t.v.at[0].set(1.0, mode="wild"),
    lambda t: t.v.at[0].get(mode="wild"),
    lambda t: operator.setitem(t.v, 9, 1.0),
    lambda t: operator.setitem(t.v, slice(0, 2), t.w),
    lambda t: jnp.take(t.v, 7),
    lambda t: jnp.take(t.a, 0, axis=2),
    lambda t: jnp.take(t.v, np.array([0.5])),
    lambda t: jnp.take_along_axis(t.a, t.i, axis=0),
    lambda t: t.v.fill(0),
    lambda t: t.v.resize((2,)),
    lambda t: t.v.put(0, 1),
]

REDUCTIONS: list[Row] = [
    lambda t: t.a.sum(axis=2),
    lambda t: t.a.sum(axis=-3),
    lambda t: t.a.sum(axis=(0, 0)),
    lambda t: t.a.sum(axis=(0, 5)),
    lambda t: t.a.sum(axis="x"),
    lambda t: t.a.sum(axis=0.5),
    lambda t: t.a.mean(axis=7),
    lambda t: t.a.var(axis=7),
    lambda t: t.a.std(axis=7),
    lambda t: t.a.prod(axis=2),
    lambda t: t.a.max(axis=2),
    lambda t: t.e.max(),
    lambda t: t.e.min(axis=0),
    lambda t: t.e.argmax(),
    lambda t: t.a.argmax(axis=2),
    lambda t: t.a.any(axis=2),
    lambda t: t.a.all(axis=-4),
    lambda t: t.a.cumsum(axis=2),
    lambda t: t.a.cumprod(axis=9),
    lambda t: t.a.ptp(axis=2),
    lambda t: t.a.sum(dtype="f23"),
    lambda t: t.a.sum(where=t.b),
    lambda t: t.a.trace(axis1=0, axis2=5),
    lambda t: t.v.trace(),
    lambda t: t.v.diagonal(),
    lambda t: t.a.sort(axis=3),
    lambda t: t.a.argsort(axis=3),
    lambda t: jnp.median(t.a, axis=4),
    lambda t: jnp.sum("x"),
    lambda t: jnp.sum(t.a, out=t.a),
]

SHAPING: list[Row] = [
    lambda t: t.a.reshape(4, 2),
    lambda t: t.a.reshape(-1, -1),
    lambda t: t.a.reshape(-1, 4),
    lambda t: t.a.reshape(-2, 3),
    lambda t: t.e.reshape(-1, 0),
    lambda t: t.a.reshape(2.5, 2),
    lambda t: t.a.reshape("x"),
    lambda t: t.a.reshape((2, 3), order="K"),
    lambda t: t.a.transpose(0, 0),
    lambda t: t.a.transpose(0),
    lambda t: t.a.transpose(0, 2),
    lambda t: t.a.swapaxes(0, 2),
    lambda t: t.a.squeeze(0),
    lambda t: t.a.squeeze(5),
    lambda t: t.v.mT,
    lambda t: t.v.astype("floot"),
    lambda t: t.v.astype("U3"),
    lambda t: t.v.astype(object),
    lambda t: t.v.view("float64"),
    lambda t: jnp.concatenate([t.a, t.b], axis=1),
    lambda t: jnp.concatenate([t.a, t.v]),
    lambda t: jnp.concatenate([t.a, t.a], axis=2),
    lambda t: jnp.concatenate([]),
    lambda t: jnp.concatenate([t.s, t.s]),
    lambda t: jnp.stack([t.a, t.b]),
    lambda t: jnp.stack([t.a, t.a], axis=4),
    lambda t: jnp.stack([]),
    lambda t: jnp.split(t.v, 2),
    lambda t: jnp.split(t.a, 2, axis=5),
    lambda t: jnp.expand_dims(t.a, 5),
    lambda t: jnp.expand_dims(t.a, (0, 0)),
    lambda t: jnp.moveaxis(t.a, 0, 4),
    lambda t: jnp.moveaxis(t.a, (0, 1), 0),
    lambda t: jnp.broadcast_to(t.a, (4, 3)),
    lambda t: jnp.broadcast_to(t.a, (3,)),
    lambda t: jnp.flip(t.a, axis=3),
    lambda t: jnp.roll(t.a, 1, axis=3),
    lambda t: jnp.pad(t.a, ((1, 1),) * 3),
    lambda t: jnp.pad(t.a, 1, mode="wild"),
    lambda t: jnp.tile(t.a, (2, -1)),
    lambda t: jnp.repeat(t.a, -1),
    lambda t: jnp.where(t.m, t.v, t.w),
    lambda t: jnp.where(t.a > 0, t.a, t.b),
    lambda t: jnp.clip(t.v, t.w, 2),
    lambda t: jnp.zeros((2, -1)),
    lambda t: jnp.zeros(2.5),
    lambda t: jnp.zeros("x"),
    lambda t: jnp.zeros(3, dtype="int7"),
    lambda t: jnp.ones(3, dtype=str),
    lambda t: jnp.full((2,), t.v),
    lambda t: jnp.eye(-1),
    lambda t: jnp.arange(0, 1, 0),
    lambda t: jnp.linspace(0, 1, -3),
    lambda t: jnp.array([[1, 2], [3]]),
    lambda t: jnp.array("text"),
    lambda t: jnp.array(None),
    lambda t: jnp.array([object()]),
    lambda t: jnp.array(2**70),
    lambda t: jnp.array([300], dtype="uint8"),
    lambda t: jnp.asarray({"x": 1}),
    lambda t: jnp.einsum("ij,jk->ik", t.a, t.a),
    lambda t: jnp.einsum("ij->ijk", t.a),
    lambda t: jnp.einsum("ijk", t.a),
    lambda t: jnp.einsum("i-j", t.a),
    lambda t: jnp.einsum("ij,jk", t.a),
    lambda t: jnp.tensordot(t.a, t.b, axes=2),
    lambda t: jnp.tensordot(t.a, t.a, axes=5),
    lambda t: jnp.dot(t.a, t.a),
    lambda t: jnp.vdot(t.v, t.w),
    lambda t: jnp.inner(t.a, t.v),
    lambda t: jnp.cross(t.v, t.v),
    lambda t: jnp.sin("x"),
    lambda t: jnp.sin(None),
    lambda t: jnp.add(t.v, None),
    lambda t: jnp.maximum(t.v, t.w),
    lambda t: jnp.arctan2(t.z, t.z),
    lambda t: jnp.bitwise_and(t.v, 1),
    lambda t: jnp.left_shift(t.v, 1),
]

TRANSFORMS: list[Row] = [
    lambda t: grad(lambda x: x)(t.v),
    lambda t: grad(lambda x: x.sum())(t.i),
    lambda t: grad(lambda x: x.sum(), argnums=1)(t.v),
    lambda t: grad(lambda x: x.sum(), argnums=(0, 3))(t.v),
    lambda t: grad(lambda x: x.sum(), argnums="x")(t.v),
    lambda t: grad(lambda x: (x.sum(), x))(t.v),
    lambda t: grad(lambda x: None)(t.v),
    lambda t: grad(lambda x: "x")(t.v),
    lambda t: grad(lambda x: x.sum(), has_aux=True)(t.v),
    lambda t: grad(lambda x: (x * 1j).sum())(t.v),
    lambda t: grad(lambda x: x.sum())("x"),
    lambda t: grad(lambda x: x.sum())(),
    lambda t: grad(3),
    lambda t: value_and_grad(None),
    lambda t: value_and_grad(lambda x: x)(t.v),
    lambda t: jacfwd(lambda x: x)(t.i),
    lambda t: jacrev(lambda x: x)(t.i),
    lambda t: jacrev(lambda x: x, argnums=2)(t.v),
    lambda t: hessian(lambda x: x.sum())(t.i),
    lambda t: hessian("f"),
    lambda t: jvp(lambda x: x, t.v, t.v),
    lambda t: jvp(lambda x: x, (t.v,), (t.w,)),
    lambda t: jvp(lambda x: x, (t.v,), (t.v, t.v)),
    lambda t: jvp(lambda x: x, (t.v,), ([t.v],)),
    lambda t: jvp(lambda x: x, (t.v,), ("x",)),
    lambda t: jvp(5, (t.v,), (t.v,)),
    lambda t: vjp(lambda x: x, t.v)[1](t.w),
    lambda t: vjp(lambda x: x, t.v)[1]((t.v,)),
    lambda t: vjp(lambda x: x, "x"),
    lambda t: vjp(t.v),
    lambda t: linearize(lambda x: x, t.v)[1](t.w),
    lambda t: linearize(lambda x: x, t.v)[1](t.v, t.v),
    lambda t: linearize(t.v),
    lambda t: vmap(lambda x, y: x + y)(t.a, t.b),
    lambda t: vmap(lambda x: x, in_axes=3)(t.a),
    lambda t: vmap(lambda x: x, in_axes="x")(t.a),
    lambda t: vmap(lambda x: x, in_axes=0.5)(t.a),
    lambda t: vmap(lambda x: x, in_axes=(0, 0))(t.a),
    lambda t: vmap(lambda x: x, in_axes=((0, 0),))(t.a),
    lambda t: vmap(lambda x: x, in_axes=None)(t.a),
    lambda t: vmap(lambda x: x, out_axes=5)(t.a),
    lambda t: vmap(lambda x: x, out_axes=None)(t.a),
    lambda t: vmap(lambda x: x, out_axes=(0, 0))(t.a),
    lambda t: vmap(lambda x: x, axis_size=7)(t.a),
    lambda t: vmap(lambda x: x)(t.s),
    lambda t: vmap(lambda x: "x")(t.a),
    lambda t: vmap(t.a),
    lambda t: jit(lambda x: x)("x"),
    lambda t: jit(lambda x: x)(object()),
    lambda t: jit(lambda x: x)({"k": [t.a, "x"]}),
    lambda t: jit(lambda x: x)(np.array(["x"])),
    lambda t: jit(lambda x: x)(2**80),
    lambda t: jit(lambda x: {1, 2})(t.a),
    lambda t: jit(lambda x: x, static_argnums=0)([1]),
    lambda t: jit(lambda x: x, static_argnums=0)(np.ones(2)),
    lambda t: jit(lambda x: x, static_argnames="y"),
    lambda t: jit(lambda x: x, static_argnums=4),
    lambda t: jit(lambda x: x, static_argnums="x"),
    lambda t: jit(lambda x: x, static_argnames=3),
    lambda t: jit(lambda x: x, donate_argnums=4),
    lambda t: jit(lambda x: x, backend="xla")(np.ones(2)),
    lambda t: jit(lambda x: x, mode="fast")(np.ones(2)),
    lambda t: jit(lambda x: x, threads=-1)(np.ones(2)),
    lambda t: jit(5),
    lambda t: tj.eval_shape(lambda x: x + np.ones(3), t.v),
    lambda t: tj.eval_shape(5, t.v),
    lambda t: tj.config.update("backend", "xla"),
    lambda t: tj.config.update("wild", 1),
    lambda t: tj.settings(threads=0),
    lambda t: tj.settings(default_float="int32"),
]

LAX: list[Row] = [
    lambda t: lax.add(t.v, t.w),
    lambda t: lax.add(t.v, t.i),
    lambda t: lax.mul(t.a, t.c),
    lambda t: lax.sin(t.i),
    lambda t: lax.sin("x"),
    lambda t: lax.max(t.z, t.z),
    lambda t: lax.bitwise_and(t.v, t.v),
    lambda t: lax.select(t.v, t.v, t.v),
    lambda t: lax.select(t.m, t.v, t.w),
    lambda t: lax.clamp(0.0, t.v, t.w),
    lambda t: lax.reshape(t.a, (7,)),
    lambda t: lax.transpose(t.a, (0, 0)),
    lambda t: lax.transpose(t.a, (0,)),
    lambda t: lax.broadcast_in_dim(t.a, (2, 4), (0, 1)),
    lambda t: lax.broadcast_in_dim(t.a, (2, 3), (0,)),
    lambda t: lax.concatenate([t.a, t.b], 1),
    lambda t: lax.concatenate([], 0),
    lambda t: lax.rev(t.a, (2,)),
    lambda t: lax.slice(t.v, (0,), (9,)),
    lambda t: lax.slice(t.v, (3,), (1,)),
    lambda t: lax.slice(t.v, (0,), (4,), (0,)),
    lambda t: lax.slice(t.a, (0,), (1,)),
    lambda t: lax.dynamic_slice(t.v, (0, 0), (2,)),
    lambda t: lax.dynamic_slice(t.v, (0,), (9,)),
    lambda t: lax.dynamic_update_slice(t.v, t.a, (0,)),
    lambda t: lax.dynamic_update_slice(t.v, t.w, (0,)),
    lambda t: lax.pad(t.v, 0.0, ((1, 1, 0), (0, 0, 0))),
    lambda t: lax.pad(t.v, 0.0, ((-9, 0, 0),)),
    lambda t: lax.iota("float99", 3),
    lambda t: lax.dot(t.a, t.a),
    lambda t: lax.dot_general(t.a, t.b, (((1,), (0,)), ((), ()))),
    lambda t: lax.dot_general(t.a, t.b, (((5,), (1,)), ((), ()))),
    lambda t: lax.sort(t.a, dimension=4),
    lambda t: lax.top_k(t.v, 9),
    lambda t: lax.top_k(t.v, -1),
    lambda t: lax.cumsum(t.a, axis=3),
    lambda t: lax.conv_general_dilated(t.a, t.a, (1, 1), "SAME"),
    lambda t: lax.conv_general_dilated(t.a, t.c, (1,), "SAME"),
    lambda t: lax.conv_general_dilated(t.c, t.c, (0,), "SAME"),
    lambda t: lax.reduce_window(t.a, 0.0, lax.add, (9,), (1,), "VALID"),
    lambda t: lax.convert_element_type(t.v, "wild"),
    lambda t: lax.bitcast_convert_type(t.v, "complex64"),
    lambda t: lax.cond(t.v, lambda: 1.0, lambda: 2.0),
    lambda t: lax.cond(t.m[0], lambda: 1.0, lambda: t.v),
    lambda t: lax.cond(t.m[0], lambda: 1.0, 2.0),
    lambda t: lax.cond(t.m[0], lambda x: x, lambda x: x),
    lambda t: lax.switch(t.v, [lambda: 1.0]),
    lambda t: lax.switch(t.i[0], []),
    lambda t: lax.while_loop(lambda x: x, lambda x: x, t.v),
    lambda t: lax.while_loop(lambda x: x < 3, lambda x: (x, x), t.s),
    lambda t: lax.while_loop(1, lambda x: x, t.s),
    lambda t: lax.fori_loop(0.5, 3, lambda i, x: x, 0.0),
    lambda t: lax.fori_loop(0, 3, lambda i, x: t.v, 0.0),
    lambda t: lax.fori_loop(0, 3, lambda x: x, 0.0),
    lambda t: lax.scan(lambda c, x: c, 0.0, t.v),
    lambda t: lax.scan(lambda c, x: (t.a, x), 0.0, t.v),
    lambda t: lax.scan(lambda c, x: (c, x), 0.0, (t.v, t.w)),
    lambda t: lax.scan(lambda c, x: (c, x), 0.0, t.s),
    lambda t: lax.scan(lambda c, x: (c, x), 0.0),
    lambda t: lax.scan(lambda c, x: (c, x), 0.0, t.v, length=9),
    lambda t: lax.map(lambda x: "x", t.v),
    lambda t: lax.associative_scan(lambda a, b: a + b, t.v, axis=3),
]

RANDOM: list[Row] = [
    lambda t: random.normal(t.v),
    lambda t: random.normal("x"),
    lambda t: random.normal(random.key(0), (-2,)),
    lambda t: random.normal(random.key(0), "x"),
    lambda t: random.normal(random.key(0), (2,), "int32"),
    lambda t: random.uniform(random.key(0), (2,), minval=t.v),
    lambda t: random.randint(random.key(0), (2,), 0, 5, "float32"),
    lambda t: random.bernoulli(random.key(0), t.v, (3,)),
    lambda t: random.split(random.key(0), -1),
    lambda t: random.choice(random.key(0), t.v, (9,), replace=False),
    lambda t: random.permutation(random.key(0), t.a, axis=4),
    lambda t: random.key("x"),
    lambda t: random.key(0.5),
    lambda t: random.fold_in(random.key(0), 0.5),
]

ARGUMENT_COUNTS: list[Row] = [
    lambda t: jit(lambda x: x)(t.v, t.v),
    lambda t: jit(lambda x: x)(),
    lambda t: jit(lambda x: x)(y=t.v),
    lambda t: grad(lambda x: x.sum())(t.v, t.v),
    lambda t: vmap(lambda x: x)(t.a, t.a),
    lambda t: vjp(lambda x, y: x, t.v),
    lambda t: jvp(lambda x, y: x, (t.v,), (t.v,)),
    lambda t: jacrev(lambda x, y: x)(t.v),
    lambda t: value_and_grad(lambda x: (x.sum(), x), has_aux=True)(t.v, t.v),
]

ROWS = {
    f"{name}-{k}": row
    for name, rows in (
        ("operators", OPERATORS),
        ("indexing", INDEXING),
        ("reductions", REDUCTIONS),
        ("shaping", SHAPING),
        ("transforms", TRANSFORMS),
        ("lax", LAX),
        ("random", RANDOM),
        ("counts", ARGUMENT_COUNTS),
    )
    for k, row in enumerate(rows)
}


def check(row: Row, program: Callable[[], Any]) -> None:
    with pytest.raises(TracejitError) as caught:
        program()
    error = caught.value
    assert not isinstance(error, InternalError), error
    assert error.at is not None, error
    assert (error.at.file, error.at.line) == (__file__, row.__code__.co_firstlineno), error
    assert "tracejit/" not in str(error)


@pytest.mark.parametrize("name", ROWS)
def test_at_once(name: str) -> None:
    row = ROWS[name]
    table = SimpleNamespace(**{key: jnp.asarray(value) for key, value in ARRAYS.items()})
    check(row, lambda: row(table))


TRACERS: dict[str, Callable[[Any], Any]] = {
    "jit": lambda program: jit(program)(ARRAYS),
    "vjp": lambda program: vjp(program, ARRAYS),
    "vmap": lambda program: vmap(program, in_axes=None, axis_size=2)(ARRAYS),
}


@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize("name", ROWS)
def test_traced(name: str, tracer: str) -> None:
    row = ROWS[name]

    def program(arrays: Any) -> Any:
        result = row(SimpleNamespace(**{key: jnp.asarray(x) for key, x in arrays.items()}))
        return result if isinstance(result, tj.Array) else 0

    check(row, lambda: TRACERS[tracer](program))


def test_there_are_about_two_hundred() -> None:
    assert len(ROWS) >= 200
    assert TracedValueError.__mro__.index(TracejitError) < TracedValueError.__mro__.index(TypeError)
