"""Wrong calls over the public API: each is one of tracejit's errors, at the line of the call.

Every row runs twice: at once, on arrays with data, and traced by jit, where nothing may get further than the trace.
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
from tracejit import grad, hessian, jacfwd, jacrev, jit, jvp, linearize, value_and_grad, vjp, vmap
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

ROWS = {
    f"{name}-{k}": row
    for name, rows in (
        ("operators", OPERATORS),
        ("indexing", INDEXING),
        ("reductions", REDUCTIONS),
        ("shaping", SHAPING),
        ("transforms", TRANSFORMS),
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


@pytest.mark.parametrize("name", ROWS)
def test_traced(name: str) -> None:
    row = ROWS[name]

    def program(arrays: Any) -> Any:
        result = row(SimpleNamespace(**arrays))
        return result if isinstance(result, tj.Array) else 0

    check(row, lambda: jit(program)(ARRAYS))


def test_there_are_about_two_hundred() -> None:
    assert len(ROWS) >= 200
    assert TracedValueError.__mro__.index(TracejitError) < TracedValueError.__mro__.index(TypeError)
