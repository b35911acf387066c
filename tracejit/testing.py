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

from tracejit import test_util
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.call import FlatCall, flatten, trace_call
from tracejit.frontend.cuda_launch import run_emulated
from tracejit.frontend.cuda_ops import cuda_kernel
from tracejit.frontend.dispatch import jit
from tracejit.frontend.vectorize import vmap
from tracejit.ir.prim import Primitive
from tracejit.ir.text import parse, show
from tracejit.ir.types import TensorType, is_inexact, kind
from tracejit.ir.verify import verify
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.test_util import CheckFailed, require
from tracejit.transform import PRIMS


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
    """Check derivatives of ``f`` at ``args`` up to ``order``: ``tracejit.test_util.check_grads``,
    whose ``order`` must be said.

    >>> check_grads(lambda x: jnp.sin(x) * x, (np.float64(0.5),), order=2)
    """
    test_util.check_grads(f, args, order, modes, atol, rtol, eps)


def check_cuda_kernel(
    kernel: cuda_kernel,
    *operands: Any,
    orders: Sequence[int] = (0, 1, 2),
    rtol: float | None = None,
    atol: float | None = None,
    **static: Any,
) -> None:
    """Check a kernel of ``extend.cuda_kernel`` on operands, without a GPU: it runs on the CPU, in
    several ``orders`` of its threads, with every access looked at.

    Raises DeviceError for an access outside of an operand or result, a race or a barrier that not
    all threads reach, naming the line; CheckFailed where results differ from the kernel's ``numpy``
    meaning by more than ``rtol`` and ``atol`` (by default 64 ulps of 1), or hold a nan where that
    has none: memory that nobody wrote is full of them. BackendError where there is no g++.
    """
    arrays, params = kernel.given(operands, static)
    data = [a.concrete("check_cuda_kernel") for a in arrays]
    call = kernel.definition.call(tuple(a.type for a in arrays), params)
    found = run_emulated(HostDevice(orders, checks=True), call, data)
    if kernel.definition.settings.numpy is None:
        return
    expected = kernel.primitive.rule("numpy")(*data, **params)
    expected = expected if isinstance(expected, tuple) else (expected,)
    names = [p.name for p in kernel.definition.results]
    for name, got, want in zip(names, found, expected, strict=True):
        what = f"`{kernel.__name__}`: result `{name}` differs from numpy="
        if rtol is None and atol is None:
            _close([got], [want], what, ())
            continue
        wide = np.complex128 if is_inexact(want.dtype) else want.dtype
        a, b = got.astype(wide), want.astype(wide)
        require(np.allclose(a, b, rtol=rtol or 0.0, atol=atol or 0.0, equal_nan=True), what)


__all__ = ["Array", "CheckFailed", "check_cuda_kernel", "check_grads", "check_op"]
