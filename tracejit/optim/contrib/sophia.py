"""Sophia: steps by the diagonal of the Hessian, which is estimated now and then.

    optimizer = sophia(1e-3)
    updates, state = optimizer.update(g, state, params, obj_fn=lambda w: loss(w, batch))

Sources: Liu et al., "Sophia: a scalable stochastic second-order optimizer" (2023); Hutchinson, "A
stochastic estimator of the trace" (1990). Names, arguments and states are those of
``optax.contrib``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracejit import debug
from tracejit.errors import ArgumentError
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import as_array
from tracejit.frontend.derivatives import grad, jvp
from tracejit.lax import cond
from tracejit.optim import tree
from tracejit.optim.base import (
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    cast,
    chain,
    dtype_or_none,
    mapped,
    narrow,
    need_params,
    safe_increment,
    wide_transformation,
    with_extra_args_support,
    zero_count,
    zeros_like,
)
from tracejit.optim.contrib.parts import arrays, lowest
from tracejit.optim.moments import bias_correction, update_moment
from tracejit.optim.transform import add_decayed_weights, scale_by_learning_rate
from tracejit.random import PRNGKey, rademacher, split
from tracejit.source import here


class HutchinsonState(NamedTuple):
    """``key`` for the next draw."""

    key: Any


def hutchinson_estimator_diag_hessian(random_seed: Any = None) -> GradientTransformationExtraArgs:
    """The diagonal of the Hessian of ``obj_fn(params)`` in place of updates: signs times the
    product of the Hessian with them (Hutchinson, 1990). ``random_seed``: a key. ``update`` takes
    ``obj_fn``.
    """

    def init(params: Any) -> Any:
        return HutchinsonState(PRNGKey(0) if random_seed is None else random_seed)

    def update(
        updates: Any, state: Any, params: Any = None, obj_fn: Any = None, **extra_args: Any
    ) -> Any:
        need_params("hutchinson_estimator_diag_hessian", params)
        if obj_fn is None:
            raise ArgumentError(
                "hutchinson_estimator_diag_hessian: update needs obj_fn=, a function of the "
                "parameters",
                at=here(),
            )
        parts = split(state.key)
        params = arrays(params)
        dtype = lowest(params)
        signs = tree.random_like(parts[1], params, rademacher, dtype=dtype)
        product = jvp(grad(obj_fn), (params,), (tree.cast_like(signs, params),))[1]
        return mapped(ew.multiply, product, signs), HutchinsonState(parts[0])

    return wide_transformation(init, update)


#: what ``sophia`` estimates with
HUTCHINSON = hutchinson_estimator_diag_hessian()


class SophiaState(NamedTuple):
    """Averages of gradients ``mu`` and of diagonals ``nu``, and the state of the estimator."""

    count: Any
    mu: Any
    nu: Any
    hessian_fn_state: Any


def scale_by_sophia(
    b1: Any = 0.965,
    b2: Any = 0.99,
    eps: Any = 1e-8,
    gamma: Any = 0.01,
    clip_threshold: Any = 1.0,
    update_interval: int = 10,
    hessian_diagonal_fn: Any = HUTCHINSON,
    mu_dtype: Any = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
) -> GradientTransformationExtraArgs:
    """Divides the average of gradients by ``gamma`` times that of Hessian diagonals, and clips:
    Sophia (Liu et al., 2023).

    The diagonal is estimated every ``update_interval`` steps by ``hessian_diagonal_fn``, a
    transformation that takes the extra arguments of ``update``. ``verbose`` prints the share of
    elements that are not clipped.
    """
    dtype = dtype_or_none(mu_dtype)
    estimator = with_extra_args_support(hessian_diagonal_fn)

    def init(params: Any) -> Any:
        averages = zeros_like(params, dtype), zeros_like(params)
        return SophiaState(zero_count(), *averages, estimator.init(params))

    def report(found: Any, count: Any) -> None:
        inside = tree.sum(mapped(lambda u: ew.less(abs(u), clip_threshold), found))
        share = inside / tree.size(found)
        now = ew.equal(ew.remainder(count, print_win_rate_every_n_steps), 0)
        text = "sophia: {} of the elements are not clipped"
        cond(now, lambda: debug.print(text, share), lambda: None)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        need_params("sophia", params)
        count = safe_increment(state.count)
        mu = update_moment(updates, state.mu, b1, 1)

        def scaled(m: Any, h: Any) -> Any:
            h = as_array(h)
            return ew.divide(m, ew.maximum(ew.multiply(narrow(gamma, h), h), narrow(eps, h)))

        found = mapped(scaled, bias_correction(mu, b1, count), state.nu)
        if clip_threshold is not None:
            if verbose:
                report(found, count)
            found = tree.clip(found, -clip_threshold, clip_threshold)

        def estimated() -> Any:
            diagonal, held = estimator.update(
                updates, state.hessian_fn_state, params=params, **extra_args
            )
            return held, tree.cast_like(update_moment(diagonal, state.nu, b2, 1), state.nu)

        due = ew.equal(ew.remainder(state.count, update_interval), 0)
        held, nu = cond(due, estimated, lambda: (state.hessian_fn_state, state.nu))
        return found, SophiaState(count, cast(mu, dtype), nu, held)

    return wide_transformation(init, update)


def sophia(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.965,
    b2: Any = 0.99,
    eps: Any = 1e-8,
    weight_decay: Any = 1e-4,
    weight_decay_mask: Any = None,
    gamma: Any = 0.01,
    clip_threshold: Any = 1.0,
    update_interval: int = 10,
    hessian_diagonal_fn: Any = HUTCHINSON,
    mu_dtype: Any = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
) -> GradientTransformationExtraArgs:
    """Sophia (Liu et al., 2023). ``update`` takes ``obj_fn``, the loss as a function of the
    parameters alone.
    """
    return chain(
        scale_by_sophia(
            b1, b2, eps, gamma, clip_threshold, update_interval, hessian_diagonal_fn, mu_dtype,
            verbose, print_win_rate_every_n_steps,
        ),
        add_decayed_weights(weight_decay, mask=weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )  # fmt: skip
