"""What an optimiser is, how several make one, and how updates get into parameters.

    step = chain(clip_by_global_norm(1.0), scale(-0.1))
    state = step.init(params)
    updates, state = step.update(gradients, state, params)
    params = apply_updates(params, updates)

A transformation is a pair of pure functions on pytrees: ``init(params)`` gives a state, ``update(
updates, state, params=None)`` gives new updates and the next state. States are NamedTuples of
arrays: they go through ``jit``, ``scan`` and ``vmap`` and can be donated. Names, argument order and
meaning are those of optax. No transformation widens what it is given: updates and states keep the
dtype of the gradients and parameters they belong to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from tracejit.errors import ArgumentError, user_traceback
from tracejit.frontend import creation, methods, promotion, reductions
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.ir.types import DTYPES, kind
from tracejit.source import here
from tracejit.tree_util import tree_leaves, tree_map

#: number that an optimiser takes: fixed, or a function of the number of updates so far
ScalarOrSchedule = Any
INT32_MAX = int(np.iinfo(np.int32).max)


#: pytrees, for annotations
Params = Updates = OptState = MaskOrFn = Any


class TransformInitFn(Protocol):
    """``init(params) -> state``."""

    def __call__(self, params: Any) -> Any: ...


class TransformUpdateFn(Protocol):
    """``update(updates, state, params=None) -> (updates, state)``."""

    def __call__(self, updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]: ...


class TransformUpdateExtraArgsFn(Protocol):
    """``update(updates, state, params=None, **extra_args) -> (updates, state)``."""

    def __call__(
        self, updates: Any, state: Any, params: Any = None, **extra_args: Any
    ) -> tuple[Any, Any]: ...


class GradientTransformation(NamedTuple):
    """A pair of functions, ``init(params)`` and ``update(updates, state, params=None)``."""

    init: Callable[..., Any]
    update: Callable[..., Any]


class GradientTransformationExtraArgs(GradientTransformation):
    """A GradientTransformation whose ``update`` takes further keyword arguments."""


class EmptyState(NamedTuple):
    """The state of what needs none."""


#: optax's names for it
ClipState = ClipByGlobalNormState = AddDecayedWeightsState = NonNegativeParamsState = EmptyState
ScaleState = ScaleByTrustRatioState = AdaptiveGradClipState = EmptyState


def init_empty_state(params: Any) -> EmptyState:
    """The ``init`` of what needs no state."""
    return EmptyState()


def transformation(init: Callable[..., Any], update: Callable[..., Any]) -> GradientTransformation:
    """A GradientTransformation whose errors show the user's own frames only."""
    return GradientTransformation(user_traceback(init), user_traceback(update))


def wide_transformation(
    init: Callable[..., Any], update: Callable[..., Any]
) -> GradientTransformationExtraArgs:
    """``transformation`` for an ``update`` that takes extra arguments."""
    return GradientTransformationExtraArgs(user_traceback(init), user_traceback(update))


def with_extra_args_support(tx: Any) -> GradientTransformationExtraArgs:
    """``tx`` as one whose ``update`` drops extra keyword arguments where it does not know them."""
    if isinstance(tx, GradientTransformationExtraArgs):
        return tx
    if not hasattr(tx, "init") or not hasattr(tx, "update"):
        raise ArgumentError(
            f"optim: a {type(tx).__name__} is no gradient transformation", at=here()
        )

    def update(updates: Any, state: Any, params: Any = None, **_: Any) -> Any:
        return tx.update(updates, state, params)

    return GradientTransformationExtraArgs(tx.init, update)


# ---- trees ---------------------------------------------------------------------------------------


def _is_none(x: Any) -> bool:
    return x is None


def mapped(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """``f`` on each leaf; None in ``tree`` stays, whatever the others have there."""
    return tree_map(lambda x, *ys: None if x is None else f(x, *ys), tree, *rest, is_leaf=_is_none)


def zeros_like(tree: Any, dtype: Any = None) -> Any:
    """Zeros in place of each leaf."""
    return tree_map(lambda x: creation.zeros_like(as_array(x), dtype=dtype), tree)


def full_like(tree: Any, value: Any) -> Any:
    """``value`` in place of each element of each leaf."""
    return tree_map(lambda x: creation.full_like(as_array(x), value), tree)


def cast(tree: Any, dtype: Any) -> Any:
    """Each leaf in ``dtype``; as it is for None."""
    if dtype is None:
        return tree
    return mapped(lambda x: promotion.convert(as_array(x), dtype), tree)


def dtype_or_none(dtype: Any) -> Any:
    """A dtype that the user gave, or None."""
    return None if dtype is None else promotion.canonical(dtype)


def narrow(value: Any, like: Array) -> Any:
    """A factor that leaves the dtype of ``like`` as it is: Python numbers do already."""
    if promotion.is_python(value):
        return value
    value = as_array(value)
    keeps = kind(value.dtype) in "biuf" or kind(like.dtype) == "c"
    return promotion.convert(value, like.dtype) if keeps else value


def square_norm(x: Any) -> Array:
    """|x|**2 of each element: real for complex x too."""
    x = as_array(x)
    if kind(x.dtype) == "c":
        return ew.add(ew.square(ew.real(x)), ew.square(ew.imag(x)))  # type: ignore[no-any-return]
    return ew.square(x)  # type: ignore[no-any-return]


def need_params(name: str, params: Any) -> None:
    """ArgumentError where ``update`` was called without the parameters it needs."""
    if params is None:
        raise ArgumentError(
            f"{name}: update needs the parameters",
            at=here(),
            hint="call update(updates, state, params)",
        )


# ---- counts --------------------------------------------------------------------------------------


def zero_count() -> Array:
    """A count of updates: a 32-bit integer, as in optax."""
    return creation.zeros((), dtype=DTYPES["i32"])  # type: ignore[no-any-return]


def safe_increment(count: Any) -> Array:
    """count + 1, which stays at the largest number of its dtype."""
    count = as_array(count)
    top = INT32_MAX if count.dtype == np.int32 else int(np.iinfo(count.dtype).max)
    return ew.select(ew.less(count, top), ew.add(count, 1), top)


#: optax's older name of it
safe_int32_increment = safe_increment

# ---- transformations that hold nothing -----------------------------------------------------------


def identity() -> GradientTransformation:
    """Leaves updates as they are."""
    return transformation(
        lambda params: EmptyState(),
        lambda updates, state, params=None: (
            updates,
            state,
        ),
    )


def set_to_zero() -> GradientTransformation:
    """Makes updates zero: parameters stay."""
    return stateless(lambda updates, params: zeros_like(updates))


def stateless(f: Callable[[Any, Any], Any]) -> GradientTransformation:
    """A transformation without a state from ``f(updates, params)``.

    >>> from tracejit import optim
    >>> halve = optim.stateless(lambda updates, params: tj.tree.map(lambda g: g / 2, updates))
    >>> halve.update({"w": jnp.ones(2)}, halve.init(None))[0]
    {'w': Array([0.5, 0.5], dtype=float32)}
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        return f(updates, params), state

    return transformation(lambda params: EmptyState(), update)


def stateless_with_tree_map(f: Callable[[Any, Any], Any]) -> GradientTransformation:
    """A transformation without a state from ``f(update, param)`` on single leaves."""

    def whole(updates: Any, params: Any) -> Any:
        if params is None:
            return mapped(lambda u: f(u, None), updates)
        return mapped(f, updates, params)

    return stateless(whole)


# ---- several as one ------------------------------------------------------------------------------


def chain(*args: Any) -> GradientTransformationExtraArgs:
    """One transformation after the other; the state is the tuple of their states.

    >>> from tracejit import optim
    >>> step = optim.chain(optim.clip(1.0), optim.scale(-0.1))
    >>> step.update(jnp.array([5.0, 0.5]), step.init(jnp.zeros(2)))[0]
    Array([-0.1 , -0.05], dtype=float32)
    """
    parts = [with_extra_args_support(tx) for tx in args]

    def init(params: Any) -> Any:
        return tuple(part.init(params) for part in parts)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        if len(state) != len(parts):
            raise ArgumentError(
                f"chain: a state of {len(state)} parts for {len(parts)} transformations",
                at=here(),
                hint="take the state that init or the last update gave",
            )
        found = []
        for part, one in zip(parts, state, strict=True):
            updates, one = part.update(updates, one, params, **extra)
            found.append(one)
        return updates, tuple(found)

    return wide_transformation(init, update)


def named_chain(*args: tuple[str, Any]) -> GradientTransformationExtraArgs:
    """``chain`` of (name, transformation) pairs; the state is a dict by name."""
    names = [name for name, _ in args]
    if len(set(names)) != len(names):
        raise ArgumentError(f"named_chain: names {names} are not unique", at=here())
    parts = {name: with_extra_args_support(tx) for name, tx in args}

    def init(params: Any) -> Any:
        return {name: tx.init(params) for name, tx in parts.items()}

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        found = {}
        for name, tx in parts.items():
            updates, found[name] = tx.update(updates, state[name], params, **extra)
        return updates, found

    return wide_transformation(init, update)


# ---- updates into parameters ---------------------------------------------------------------------


def apply_updates(params: Any, updates: Any) -> Any:
    """params + updates, leaf by leaf, in the dtype of the parameters.

    Raises TreeError where the trees differ, ShapeError where a sum would have another shape.

    >>> from tracejit import optim
    >>> optim.apply_updates({"w": jnp.ones(2)}, {"w": jnp.array([-0.5, 0.5])})
    {'w': Array([0.5, 1.5], dtype=float32)}
    """

    def add(p: Any, u: Any) -> Any:
        p = as_array(p)
        return methods.astype(ew.add(p, u), p.dtype)

    return mapped(add, params, updates)


def incremental_update(new_tensors: Any, old_tensors: Any, step_size: Any) -> Any:
    """step_size * new + (1 - step_size) * old: a running average of parameters (Polyak and
    Juditsky, 1992).

    >>> from tracejit import optim
    >>> optim.incremental_update(jnp.ones(2), jnp.zeros(2), 0.25)
    Array([0.25, 0.25], dtype=float32)
    """

    def mix(new: Any, old: Any) -> Any:
        s = narrow(step_size, as_array(new))
        return ew.add(ew.multiply(s, new), ew.multiply(1.0 - s, old))

    return mapped(mix, new_tensors, old_tensors)


def periodic_update(new_tensors: Any, old_tensors: Any, steps: Any, update_period: Any) -> Any:
    """The new tensors where ``steps`` is a multiple of ``update_period``, else the old ones."""
    now = ew.equal(ew.remainder(steps, update_period), 0)
    return mapped(lambda new, old: ew.select(now, new, old), new_tensors, old_tensors)


def global_norm(updates: Any) -> Array:
    """The Euclidean norm of all leaves together.

    >>> from tracejit import optim
    >>> optim.global_norm({"a": jnp.array([3.0]), "b": jnp.array([4.0])})
    Array(5., dtype=float32)
    """
    total: Any = 0.0
    for leaf in tree_leaves(updates):
        total = ew.add(total, reductions.sum(square_norm(leaf)))
    return ew.sqrt(total)  # type: ignore[no-any-return]
