"""Muon: momentum whose matrices are made orthogonal; other parameters are Adam's.

    optimizer = muon(0.02, adam_learning_rate=3e-4)

Sources: Jordan et al., "Muon: an optimizer for hidden layers" (2024); Newton-Schulz iterations
after Björck and Bowie (1971), Bernstein and Newhouse (2024); coefficients "dion" of Ahn et al.
(2025).
Names, arguments and states are those of ``optax.contrib``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tracejit.numpy as jnp
from tracejit.errors import ArgumentError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.vectorize import vmap
from tracejit.lax import rsqrt
from tracejit.optim.base import (
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    cast,
    chain,
    dtype_or_none,
    mapped,
    narrow,
    safe_increment,
    transformation,
    zero_count,
    zeros_like,
)
from tracejit.optim.contrib.matrices import (
    MuonDimensionNumbers,
    as_matrices,
    axes_of,
    sizes_of,
)
from tracejit.optim.masks import MaskedNode, partition
from tracejit.optim.moments import F32, F64, bias_correction, mixed, precision, update_moment
from tracejit.optim.optimizers import adamw
from tracejit.optim.transform import add_decayed_weights, scale_by_learning_rate
from tracejit.source import here
from tracejit.tree_util import tree_leaves, tree_map

#: a, b, c of the step (a + b X X' + c (X X')**2) X; of "dion" one row for each step
COEFFICIENTS = (3.4445, -4.775, 2.0315)
PRESETS: dict[str, Any] = {
    "standard": COEFFICIENTS,
    "dion": (
        (4.0848, -6.8946, 2.927),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
}
PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")


def _is_numbers(x: Any) -> bool:
    return isinstance(x, MuonDimensionNumbers)


def _resolved(numbers: Any, updates: Any) -> Any:
    return numbers(updates) if callable(numbers) else numbers


def _by_leaf(f: Callable[[Any, Any], Any], tree: Any, numbers: Any) -> Any:
    """``f(leaf, dimension numbers)``; these are a tree, a prefix of it, or one for all leaves."""
    if numbers is None or _is_numbers(numbers):
        return tree_map(lambda x: f(x, numbers), tree)
    return tree_map(
        lambda n, part: tree_map(lambda x: f(x, n), part), numbers, tree, is_leaf=_is_numbers
    )


# ---- orthogonal matrices -------------------------------------------------------------------------


def _normalized(x: Array, how: str, eps: Any) -> tuple[Array, Array]:
    """The matrix with singular values of at most 1, and its product with its own transpose."""
    if how == "frobenius":
        x = x / (jnp.linalg.norm(x) + eps)
    elif how == "spectral":
        wide = x.astype("float32") if x.dtype.itemsize == 2 else x  # LAPACK has no half
        x = x / (narrow(jnp.linalg.norm(wide, ord=2), x) + eps)
    gram = x @ jnp.conj(x.T)
    if how == "aol":  # Prach and Lampert, "Almost-orthogonal layers" (2022)
        s = rsqrt(jnp.maximum(abs(gram).sum(-1), eps))[:, None]
        return x * s, gram * s * s.T
    if how == "schatten":
        s = rsqrt(jnp.maximum(jnp.linalg.norm(gram), eps))
        return x * s, gram * s * s
    return x, gram


def _orthogonal(x: Array, coefficients: list[Any], how: str, eps: Any) -> Array:
    """Newton-Schulz steps towards U V' of x = U S V'."""
    turned = x.shape[0] > x.shape[1]
    x, gram = _normalized(x.T if turned else x, how, eps)
    for k, (a, b, c) in enumerate(coefficients):
        if k:
            gram = x @ jnp.conj(x.T)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if turned else x


def _steps(ns_coeffs: Any, ns_steps: int, dtype: Any) -> list[Any]:
    """Three scalars for each step."""
    given = promotion.convert(as_array(ns_coeffs), dtype)
    if given.ndim == 1:
        return [tuple(given[k] for k in range(3))] * ns_steps
    return [tuple(row[k] for k in range(3)) for row in given]


def _check_coefficients(shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2) or shape[-1] != 3:
        raise ArgumentError(
            f"scale_by_muon: coefficients have the shape (3,) or (steps, 3), not {shape}", at=here()
        )


def orthogonalize_via_newton_schulz(
    x: Any,
    ns_coeffs: Any,
    ns_steps: int = 5,
    preconditioning: str = "frobenius",
    eps: Any = 1e-8,
    dimension_numbers: Any = None,
) -> Array:
    """Nearly the orthogonal matrix next to ``x``, of the same shape, by Newton-Schulz iterations.

    ``preconditioning``: what makes singular values at most 1 first: "frobenius", "spectral", "aol"
    or "schatten". ``dimension_numbers`` says what is a matrix in arrays of more axes.
    """
    x = as_array(x)
    if x.ndim != 2 and not _is_numbers(dimension_numbers):
        raise ArgumentError(
            f"scale_by_muon: {x.type} needs dimension numbers to be a matrix", at=here()
        )
    if preconditioning not in PRECONDITIONINGS:
        raise ArgumentError(
            f"scale_by_muon: preconditioning is one of {', '.join(map(repr, PRECONDITIONINGS))}, "
            f"not {preconditioning!r}",
            at=here(),
        )
    _check_coefficients(as_array(ns_coeffs).shape)
    numbers = MuonDimensionNumbers() if x.ndim == 2 else dimension_numbers
    stack, back = as_matrices(x, *axes_of("scale_by_muon", x, numbers))
    steps = _steps(ns_coeffs, ns_steps, x.dtype)
    return back(vmap(lambda m: _orthogonal(m, steps, preconditioning, eps))(stack))


# ---- transformations -----------------------------------------------------------------------------


class MuonState(NamedTuple):
    """``count``: updates so far; ``mu``: the average of gradients; ``ns_coeffs``."""

    count: Any
    mu: Any
    ns_coeffs: Any


def scale_by_muon(
    ns_coeffs: Any = COEFFICIENTS,
    ns_steps: int = 5,
    beta: Any = 0.95,
    eps: Any = 1e-8,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    weight_dimension_numbers: Any = None,
) -> GradientTransformation:
    """The average of gradients, made orthogonal: Muon (Jordan et al., 2024).

    ``adaptive`` multiplies by the inner product of both (dual norm). ``weight_dimension_numbers``:
    a tree of them, or a function of the updates that gives one.
    """
    dtype = dtype_or_none(mu_dtype)

    def init(params: Any) -> Any:
        wide = any(precision(p) == F64 for p in tree_leaves(params))
        found = promotion.convert(as_array(jnp.array(ns_coeffs, "float64")), F64 if wide else F32)
        _check_coefficients(found.shape)
        if found.ndim == 2:
            if found.shape[0] > ns_steps:
                raise ArgumentError(
                    f"scale_by_muon: {found.shape[0]} rows of coefficients for {ns_steps} steps",
                    at=here(),
                )
        return MuonState(zero_count(), zeros_like(params, dtype), found)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        numbers = _resolved(weight_dimension_numbers, updates)
        mu = update_moment(updates, state.mu, beta, 1)
        count = safe_increment(state.count)
        if nesterov:
            later = bias_correction(mu, beta, safe_increment(count))
            now = bias_correction(updates, beta, count)
            mu_hat = mapped(lambda m, g: mixed(beta, g, m), later, now)
        else:
            mu_hat = bias_correction(mu, beta, count)

        def orthogonal(x: Any, n: Any) -> Any:
            return orthogonalize_via_newton_schulz(
                x, state.ns_coeffs, ns_steps, preconditioning, eps, n
            )

        found = _by_leaf(orthogonal, mu_hat, numbers)
        if adaptive:
            found = mapped(lambda y, m: (jnp.conj(m) * y).sum() * y, found, mu_hat)
        return found, MuonState(count, cast(mu, dtype), state.ns_coeffs)

    return transformation(init, update)


def scale_by_shape(
    weight_dimension_numbers: Any = None, consistent_rms: Any = None
) -> GradientTransformation:
    """Multiplies matrices by sqrt(max(1, columns / rows)), so that rates carry over to other
    widths; or by ``consistent_rms`` * sqrt(max(rows, columns)), so that updates are as large as
    Adam's (Liu et al., "Muon is scalable", 2025).
    """

    def one(x: Any, numbers: Any) -> Any:
        x = as_array(x)
        rows, columns, _ = axes_of("scale_by_shape", x, numbers or MuonDimensionNumbers())
        fan_in, fan_out = sizes_of(x, rows, columns)
        if consistent_rms is not None:
            return ew.multiply(narrow(max(fan_in, fan_out) ** 0.5 * consistent_rms, x), x)
        return ew.multiply(max(1, fan_out / fan_in) ** 0.5, x)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        return _by_leaf(one, updates, _resolved(weight_dimension_numbers, updates)), state

    return transformation(lambda params: EmptyState(), update)


def _is_place(x: Any) -> bool:
    return x is None or _is_numbers(x) or isinstance(x, MaskedNode)


def _labels(given: Any) -> Callable[[Any], Any]:
    """Which parameters are Muon's: by their dimension numbers, or matrices."""
    if given is None:
        return lambda params: tree_map(
            lambda x: "muon" if as_array(x).ndim == 2 else "adam", params
        )

    def labels(params: Any) -> Any:
        def one(numbers: Any, part: Any) -> Any:
            return tree_map(lambda _: "adam" if numbers is None else "muon", part)

        return tree_map(one, _resolved(given, params), params, is_leaf=_is_place)

    return labels


def _preset(ns_coeffs: Any) -> Any:
    """Coefficients, by name too."""
    if not isinstance(ns_coeffs, str):
        return ns_coeffs
    if ns_coeffs not in PRESETS:
        raise ArgumentError(
            f"muon: coefficients are numbers or one of {', '.join(map(repr, PRESETS))}, not "
            f"{ns_coeffs!r}",
            at=here(),
        )
    return PRESETS[ns_coeffs]


def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Any = COEFFICIENTS,
    ns_steps: int = 5,
    beta: Any = 0.95,
    eps: Any = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Any = None,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    adam_b1: Any = 0.9,
    adam_b2: Any = 0.999,
    adam_eps_root: Any = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule = None,
    muon_weight_dimension_numbers: Any = None,
    consistent_rms: Any = None,
) -> GradientTransformationExtraArgs:
    """Muon (Jordan et al., 2024) for matrices, AdamW for other parameters.

    ``muon_weight_dimension_numbers``: a tree of dimension numbers, None for AdamW's parameters; or
    a function of the parameters that gives one. ``ns_coeffs``: three numbers, rows of three, or
    "standard" or "dion". ``consistent_rms``: see ``scale_by_shape``.

    >>> from tracejit import optim
    >>> step = optim.contrib.muon(0.1)
    >>> params = {"kernel": jnp.eye(2), "bias": jnp.ones(2)}
    >>> updates, _ = step.update(params, step.init(params), params)
    """
    labels = _labels(muon_weight_dimension_numbers)

    def numbers(updates: Any) -> Any:
        """Of the parameters that are left where others are masked."""
        if muon_weight_dimension_numbers is None:
            return tree_map(lambda _: MuonDimensionNumbers(), updates)
        given = _resolved(muon_weight_dimension_numbers, updates)
        return tree_map(
            lambda n, part: tree_map(lambda _: n, part), given, updates, is_leaf=_is_place
        )

    orthogonal = chain(
        scale_by_muon(
            _preset(ns_coeffs), ns_steps, beta, eps, mu_dtype,
            nesterov=nesterov, adaptive=adaptive, preconditioning=preconditioning,
            weight_dimension_numbers=numbers,
        ),
        scale_by_shape(numbers, consistent_rms),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )  # fmt: skip
    adam = adamw(
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay, nesterov=nesterov,
    )  # fmt: skip
    return partition({"muon": orthogonal, "adam": adam}, labels)
