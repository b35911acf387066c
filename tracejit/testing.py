"""Tests for operations: ``check_op(op)`` runs on any record what the suite runs on the built-in
ones.

    >>> from tracejit.testing import check_op, check_grads
    >>> from tracejit.ops.math import tanh
    >>> check_op(tanh)
    >>> check_grads(jnp.tanh, (0.5,), order=2)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import TracejitError
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.call import FlatCall, flatten, trace_call
from tracejit.frontend.derivatives import jvp, vjp
from tracejit.frontend.dispatch import jit
from tracejit.frontend.vectorize import vmap
from tracejit.ir.prim import Primitive
from tracejit.ir.text import parse, show
from tracejit.ir.types import TensorType, is_inexact, kind
from tracejit.ir.verify import verify
from tracejit.transform import PRIMS


class CheckFailed(TracejitError, AssertionError):
    """A record breaks one of the rules that hold for every operation."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise CheckFailed(what, at=source.here())


def check_op(op: Primitive, *, seed: int = 0, backends: Sequence[str] = ("llvm",)) -> None:
    """Check a record over its ``cases``: types, text, back ends, batching, derivative and adjoint.

    ``op.cases()`` lists (types, params) or (types, params, arrays); operands are drawn from
    ``op.domain``. Raises CheckFailed naming the operation and the property that fails.

    >>> from tracejit.ops import math
    >>> check_op(math.tanh)
    """
    rng = np.random.default_rng(seed)
    cases = [] if op.cases is None else op.cases()
    require(bool(cases), f"`{op.name}` lists no cases to check")
    for case in cases:
        types, params = case[0], case[1]
        given = case[2] if len(case) > 2 else [None] * len(types)
        arrays = [
            draw(t, op.domain, rng) if a is None else np.asarray(a)
            for t, a in zip(types, given, strict=True)
        ]

        def run(*xs: Any, _params: Any = params) -> Any:
            return apply(op, *[as_array(x) for x in xs], **_params)

        label = f"`{op.name}` on {', '.join(map(repr, types))}"
        expected = _leaves(run(*arrays))
        _check_text(op, run, arrays, label)
        for backend in backends:
            got = _leaves(jit(run, backend=backend)(*arrays))
            _close(got, expected, f"{label}: back end {backend} differs from NumPy", types)
        if op.batch is not None and types:
            _check_batch(run, arrays, label, types)
        if (
            op.jvp is not None
            and types
            and all(kind(t.dtype) == "f" and t.dtype.itemsize >= 4 for t in types)
        ):
            wide = [a.astype(np.float64) for a in arrays]
            check_grads(run, tuple(wide), order=1)


def draw(type: TensorType, domain: Any, rng: np.random.Generator) -> np.ndarray:
    """Operands within ``domain``, of ``type``."""
    low, high = (-3.0, 3.0) if domain is None else domain if np.isscalar(domain[0]) else domain[0]
    values = rng.uniform(low, high, type.shape)
    if kind(type.dtype) == "b":
        return values > (low + high) / 2
    if kind(type.dtype) in "iu":
        return np.round(np.abs(values) if kind(type.dtype) == "u" else values).astype(type.dtype)
    if kind(type.dtype) == "c":
        return (values + 1j * rng.uniform(low, high, type.shape)).astype(type.dtype)
    return values.astype(type.dtype)


def _leaves(result: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in flatten(result)[0]]


def _close(
    got: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    what: str,
    types: Sequence[TensorType],
) -> None:
    for a, b in zip(got, expected, strict=True):
        require(
            a.dtype == b.dtype and a.shape == b.shape,
            f"{what}: {a.dtype}{a.shape}, {b.dtype}{b.shape}",
        )
        if is_inexact(b.dtype):
            eps = float(np.finfo(b.real.dtype).eps) if b.dtype.itemsize > 2 else 0.01
            ok = np.allclose(
                a.astype(np.complex128),
                b.astype(np.complex128),
                rtol=64 * eps,
                atol=64 * eps,
                equal_nan=True,
            )
        else:
            ok = bool(np.array_equal(a, b))
        require(ok, what)


def _check_text(
    op: Primitive, run: Callable[..., Any], arrays: Sequence[np.ndarray], label: str
) -> None:
    graph = trace_call(FlatCall.of(run, tuple(arrays), {}), "check_op").graph
    verify(graph)
    require(
        parse(show(graph, full=True), {**PRIMS, op.name: op}) == graph,
        f"{label}: its text does not read back",
    )


def _check_batch(
    run: Callable[..., Any], arrays: Sequence[np.ndarray], label: str, types: Sequence[TensorType]
) -> None:
    batched = [np.stack([a, a]) for a in arrays]
    got = _leaves(vmap(run)(*batched))
    single = _leaves(run(*arrays))
    _close(
        got,
        [np.stack([s, s]) for s in single],
        f"{label}: batching differs from a stack of singles",
        types,
    )


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 1,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Check derivatives of ``f`` at ``args`` up to ``order`` against central differences in a
    random direction.

    Raises CheckFailed. Forward mode is checked against differences, (f(x + eps dx) - f(x - eps dx))
    / (2 eps), reverse mode against forward mode: ``<ct, J dx> = <J' ct, dx>``; against differences
    where ``modes`` is ("rev",), as functions with a custom_vjp need. Defaults in float64: ``eps``
    1e-5, ``rtol`` and ``atol`` 1e-5; in narrower dtypes 1e-2 and 2e-2.

    >>> check_grads(lambda x: jnp.sin(x) * x, (np.float64(0.5),), order=2)
    """
    rng = np.random.default_rng(7)
    wide = any(np.asarray(leaf).dtype == np.float64 for leaf in flatten(tuple(args))[0])
    step = eps or (1e-5 if wide else 1e-2)
    tol = rtol or (1e-5 if wide else 2e-2)
    slack = atol or tol
    leaves, treedef = flatten(tuple(args))
    xs = [np.asarray(leaf) for leaf in leaves]
    dxs = [
        rng.standard_normal(x.shape).astype(x.dtype) if is_inexact(x.dtype) else np.zeros_like(x)
        for x in xs
    ]

    def at(scale: float) -> list[np.ndarray]:
        moved = [(x + scale * dx).astype(x.dtype) for x, dx in zip(xs, dxs, strict=True)]
        return _leaves(f(*treedef.unflatten(moved)))

    plus, minus = at(step), at(-step)
    slopes = [
        (a.astype(np.float64) - b.astype(np.float64)) / (2 * step)
        for a, b in zip(plus, minus, strict=True)
    ]
    if "fwd" in modes:
        y, dy = jvp(f, treedef.unflatten(xs), treedef.unflatten(dxs))
        tangents = _leaves(dy)
        for got, want in zip(tangents, slopes, strict=True):
            require(
                np.allclose(got, want, rtol=tol, atol=slack),
                f"jvp differs from differences: {got} and {want}",
            )
    else:
        y = f(*treedef.unflatten(xs))
        tangents = [s.astype(v.dtype) for s, v in zip(slopes, _leaves(y), strict=True)]
    if "rev" in modes:
        cts = [rng.standard_normal(t.shape).astype(t.dtype) for t in tangents]
        _, pull = vjp(f, *treedef.unflatten(xs))
        pulled = _leaves(pull(flatten(y)[1].unflatten(cts)))
        one = sum(float(np.vdot(c, t)) for c, t in zip(cts, tangents, strict=True))
        two = sum(float(np.vdot(p, d)) for p, d in zip(pulled, dxs, strict=True))
        require(
            bool(np.isclose(one, two, rtol=tol, atol=slack)),
            f"vjp is not the adjoint of {'jvp' if 'fwd' in modes else 'differences'}: "
            f"{one} and {two}",
        )
    if order > 1:

        def directional(*inner: Any) -> Any:
            if "fwd" in modes:
                return jvp(f, inner, treedef.unflatten(dxs))[1]
            ones = flatten(y)[1].unflatten([np.ones_like(t) for t in tangents])
            return vjp(f, *inner)[1](ones)

        check_grads(directional, treedef.unflatten(xs), order - 1, modes, atol, rtol, eps)


__all__ = ["Array", "CheckFailed", "check_grads", "check_op"]
