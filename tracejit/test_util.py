"""Checks of derivatives against differences: names and signatures of ``jax.test_util``.

A function and arguments come in; nothing comes out, or CheckFailed (an AssertionError) is raised.

    >>> from tracejit.test_util import check_grads
    >>> check_grads(lambda x: jnp.sin(x) * x, (np.float64(0.5),), order=2)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tracejit import errors as _errors
from tracejit import source
from tracejit.errors import ArgumentError, TracejitError
from tracejit.frontend.call import flatten
from tracejit.frontend.creation import float0_zeros
from tracejit.frontend.derivatives import jvp, vjp
from tracejit.ir.types import is_inexact

#: how far a derivative may be from differences, by the width of the numbers in bytes
_TOLERANCE = {2: 1e-1, 4: 2e-3, 8: 1e-5}
#: the step of differences, likewise
_STEP = {2: 1e-1, 4: 1e-2, 8: 1e-4}


class CheckFailed(TracejitError, AssertionError):
    """A function or a record breaks a rule that a check states."""


def require(holds: bool, what: str) -> None:
    """Raise CheckFailed, saying ``what``, unless it ``holds``."""
    if not holds:
        raise CheckFailed(what, at=source.here())


def check_jvp(
    f: Callable[..., Any],
    f_jvp: Callable[..., Any],
    args: Sequence[Any],
    atol: float | None = None,
    rtol: float | None = None,
    eps: float = 1e-4,
    err_msg: str = "",
) -> None:
    """Check ``f_jvp(args, tangents)``, values and tangents of ``f``, in one random direction.

    Tangents are compared with differences of ``f`` of step ``eps``. ``atol``, ``rtol``: by default
    1e-5 in double precision, 2e-3 where an argument or result is in single. Raises CheckFailed;
    ``err_msg`` begins its message.

    >>> from tracejit.test_util import check_jvp
    >>> x = np.float64(0.5)
    >>> check_jvp(jnp.sin, lambda xs, dxs: (jnp.sin(*xs), jnp.cos(*xs) * dxs[0]), (x,))
    """
    point = _Point(f, args)
    direction = point.direction(0)
    value, tangent = f_jvp(point.args(), point.tangents(direction))
    tell = partial(_close, rtol=rtol, atol=atol, start=err_msg, width=_width(point.xs))
    tell(_leaves(value), _leaves(f(*point.args())), "its jvp: other values than without")
    of_floats = [is_inexact(y.dtype) for y in _leaves(value)]
    found = [t for t, wanted in zip(_leaves(tangent), of_floats, strict=True) if wanted]
    tell(found, point.slopes(direction, eps), "its jvp differs from differences")


def check_vjp(
    f: Callable[..., Any],
    f_vjp: Callable[..., Any],
    args: Sequence[Any],
    atol: float | None = None,
    rtol: float | None = None,
    eps: float = 1e-4,
    err_msg: str = "",
) -> None:
    """Check ``f_vjp(*args)``, the values of ``f`` and its pullback, in one random direction.

    The cotangents it gives are multiplied by the direction, the differences of ``f`` by the
    cotangents it was given: both sums are one number. Tolerances are those of ``check_jvp``.

    >>> from tracejit.test_util import check_vjp
    >>> x = np.float64(0.5)
    >>> check_vjp(jnp.sin, lambda x: (jnp.sin(x), lambda ct: (ct * jnp.cos(x),)), (x,))
    """
    point = _Point(f, args)
    value, pull = f_vjp(*point.args())
    tell = partial(_close, rtol=rtol, atol=atol, start=err_msg)
    leaves, treedef = flatten(value)
    values = [np.asarray(leaf) for leaf in leaves]
    tell(values, _leaves(f(*point.args())), "its vjp: other values than without")
    rng = np.random.default_rng(1)
    cts = [_like(y, rng) if is_inexact(y.dtype) else float0_zeros(y) for y in values]
    pulled = _leaves(pull(treedef.unflatten(cts)))
    direction = point.direction(0)
    wanted = [ct for ct in cts if is_inexact(ct.dtype)]
    # of complex numbers the product is bilinear, and its real part counts, as JAX has it
    got = _product(direction, [p for p, x in zip(pulled, point.xs, strict=True) if _moves(x)])
    expected = _product(point.slopes(direction, eps), wanted)
    tell([got], [expected], "its vjp is not the adjoint of differences", width=_width(point.xs))


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Check all derivatives of ``f`` at ``args`` up to ``order``, in forward and reverse mode,
    against differences in a random direction.

    ``f`` takes and returns pytrees; their integers and truth values have no derivative and stay.
    ``modes``: "fwd" and "rev". ``eps``: the step of the differences (of fourth order), by default
    1e-4 in double precision, 1e-2 in single. Raises CheckFailed.

    >>> from tracejit.test_util import check_grads
    >>> check_grads(jnp.tanh, (np.array([0.5, 1.0]),), order=2)
    """
    if wrong := [mode for mode in modes if mode not in ("fwd", "rev")]:
        raise ArgumentError(f"check_grads: there is no mode {wrong[0]!r}", at=source.here())
    step = _STEP[_width(_Point(f, args).xs)] if eps is None else eps
    _check_order(f, tuple(args), order, tuple(modes), {"atol": atol, "rtol": rtol, "eps": step}, "")


def _check_order(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    order: int,
    modes: tuple[str, ...],
    how: dict[str, Any],
    start: str,
) -> None:
    point = _Point(f, args)
    args = point.args()
    if "fwd" in modes:
        check_jvp(f, partial(jvp, f), args, **how, err_msg=start)
    if "rev" in modes:
        check_vjp(f, partial(vjp, f), args, **how, err_msg=start)
    if order == 1:
        return
    tangents = point.tangents(point.direction(2))
    rng = np.random.default_rng(3)
    leaves, treedef = flatten(f(*args))
    values = [np.asarray(leaf) for leaf in leaves]
    cts = [_like(y, rng) if is_inexact(y.dtype) else float0_zeros(y) for y in values]

    def forward(*xs: Any) -> Any:
        return _inexact(jvp(f, xs, tangents)[1])

    def reverse(*xs: Any) -> Any:
        return _inexact(vjp(f, *xs)[1](treedef.unflatten(cts)))

    for mode, derivative in (("fwd", forward), ("rev", reverse)):
        if mode in modes:
            kind = "jvp" if mode == "fwd" else "vjp"
            _check_order(derivative, args, order - 1, modes, how, f"{start}of its {kind}: ")


class _Point:
    """``f`` at ``args`` as a function of the floating leaves of its arguments."""

    def __init__(self, f: Callable[..., Any], args: Sequence[Any]) -> None:
        leaves, self.treedef = flatten(tuple(args))
        self.f = f
        self.xs = [np.asarray(leaf) for leaf in leaves]
        if not any(map(_moves, self.xs)):
            raise ArgumentError(
                "a check of derivatives needs a floating argument",
                at=source.here(),
                hint="integers have no derivative: convert them with .astype(float)",
            )

    def args(self) -> tuple[Any, ...]:
        return self.treedef.unflatten(self.xs)  # type: ignore[no-any-return]

    def direction(self, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [_like(x, rng) for x in self.xs if _moves(x)]

    def tangents(self, direction: Sequence[np.ndarray]) -> tuple[Any, ...]:
        rest = iter(direction)
        leaves = [next(rest) if _moves(x) else float0_zeros(x) for x in self.xs]
        return self.treedef.unflatten(leaves)  # type: ignore[no-any-return]

    def moved(self, direction: Sequence[np.ndarray], by: float) -> list[np.ndarray]:
        rest = iter(direction)
        xs = [
            np.asarray(x + by * next(rest), x.dtype) if _moves(x) else np.asarray(x)
            for x in self.xs
        ]
        ys = _leaves(self.f(*self.treedef.unflatten(xs)))
        return [y.astype(_wide(y.dtype)) for y in ys if is_inexact(y.dtype)]

    def slopes(self, direction: Sequence[np.ndarray], eps: float) -> list[np.ndarray]:
        """The derivative along ``direction``: the difference of fourth order, Fornberg (1988)."""
        near = zip(self.moved(direction, eps), self.moved(direction, -eps), strict=True)
        far = zip(self.moved(direction, 2 * eps), self.moved(direction, -2 * eps), strict=True)
        return [
            (8 * _minus(*one) - _minus(*two)) / (12 * eps)
            for one, two in zip(near, far, strict=True)
        ]


def _moves(x: np.ndarray) -> bool:
    return bool(is_inexact(x.dtype))


def _inexact(tree: Any) -> list[Any]:
    return [leaf for leaf in flatten(tree)[0] if is_inexact(leaf.dtype)]


def _minus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``x - y``, and 0 of infinities that are equal."""
    with np.errstate(invalid="ignore"):
        return np.where(x == y, 0, x - y)


def _leaves(result: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in flatten(result)[0]]


def _wide(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def _like(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(x.shape)
    if x.dtype.kind == "c":
        values = values + 1j * rng.standard_normal(x.shape)
    return np.asarray(values, x.dtype)


def _product(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(
        sum(float(np.sum(x * y.astype(_wide(y.dtype))).real) for x, y in zip(xs, ys, strict=True))
    )


def _width(xs: Sequence[np.ndarray]) -> int:
    """Bytes of one number, of the narrowest floating array."""
    return min(x.real.dtype.itemsize for x in xs if _moves(x))


def _close(
    got: Sequence[np.ndarray],
    wanted: Sequence[np.ndarray],
    what: str,
    rtol: float | None,
    atol: float | None,
    start: str = "",
    width: int = 0,
) -> None:
    require(len(got) == len(wanted), f"{start}{what}: {len(got)} and {len(wanted)} arrays")
    for a, b in zip(got, wanted, strict=True):
        require(a.shape == b.shape, f"{start}{what}: shapes {a.shape} and {b.shape}")
        if not is_inexact(a.dtype):
            require(np.array_equal(a, b), f"{start}{what}: {a} and {b}")
            continue
        default = _TOLERANCE[min(width or 8, a.real.dtype.itemsize)]
        relative = default if rtol is None else rtol
        absolute = default if atol is None else atol
        same = np.allclose(
            a.astype(_wide(a.dtype)),
            b.astype(_wide(b.dtype)),
            rtol=relative,
            atol=absolute * max(1.0, float(np.sqrt(a.size))),
            equal_nan=True,
        )
        require(same, f"{start}{what}: {a} and {b}")


__all__ = ["check_grads", "check_jvp", "check_vjp"]

_errors.user_functions(globals())
