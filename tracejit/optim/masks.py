"""Transformations for some of the parameters, and different ones for different parameters.

    masked(add_decayed_weights(1e-4), {"w": True, "b": False})
    partition({"net": adam(1e-3), "head": sgd(0.1)}, {"net": "net", "head": "head"})

Masked leaves are replaced by ``MaskedNode()``, a container without leaves: the inner transformation
holds no state for them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracejit.errors import ArgumentError
from tracejit.optim.base import (
    GradientTransformationExtraArgs,
    set_to_zero,
    wide_transformation,
    with_extra_args_support,
)
from tracejit.source import here
from tracejit.tree_util import tree_leaves, tree_map, tree_structure


class MaskedState(NamedTuple):
    """The state of the inner transformation."""

    inner_state: Any


class MaskedNode(NamedTuple):
    """Stands for a parameter that takes no part."""


class PartitionState(NamedTuple):
    """The states of the transformations by label."""

    inner_states: Any


MultiTransformState = PartitionState


def _hidden(tree: Any, mask: Any) -> Any:
    return tree_map(lambda m, x: x if m else MaskedNode(), mask, tree)


def _is_function(mask: Any) -> bool:
    leaves = tree_leaves(tree_map(callable, mask))
    return bool(leaves) and all(leaves)


def masked(
    inner: Any, mask: Any, *, mask_compatible_extra_args: bool = False
) -> GradientTransformationExtraArgs:
    """``inner`` for the leaves where ``mask`` is true; other updates pass as they are.

    ``mask``: a tree of bools with the structure of the parameters or a prefix of it, or a function
    of the parameters that gives one.

    >>> from tracejit import optim
    >>> step = optim.masked(optim.scale(-1.0), {"w": True, "b": False})
    >>> step.update({"w": jnp.ones(1), "b": jnp.ones(1)}, step.init({"w": 0.0, "b": 0.0}))[0]
    {'w': Array([-1.], dtype=float32), 'b': Array([1.], dtype=float32)}
    """
    inner = with_extra_args_support(inner)

    def init(params: Any) -> Any:
        found = mask(params) if _is_function(mask) else mask
        return MaskedState(inner.init(_hidden(params, found)))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        found = mask(updates) if _is_function(mask) else mask
        if mask_compatible_extra_args:
            shape = tree_structure(updates)
            extra = {
                name: _hidden(value, found) if tree_structure(value) == shape else value
                for name, value in extra.items()
            }
        some = None if params is None else _hidden(params, found)
        new, inner_state = inner.update(_hidden(updates, found), state.inner_state, some, **extra)
        updates = tree_map(lambda m, new, old: new if m else old, found, new, updates)
        return updates, MaskedState(inner_state)

    return wide_transformation(init, update)


def partition(
    transforms: dict[Any, Any], param_labels: Any, *, mask_compatible_extra_args: bool = False
) -> GradientTransformationExtraArgs:
    """A transformation for each label: ``param_labels`` is a tree of keys of ``transforms`` with
    the structure of the parameters or a prefix of it, or a function of the parameters.

    Raises ArgumentError for a label without a transformation.

    >>> from tracejit import optim
    >>> step = optim.partition({"fast": optim.sgd(1.0), "slow": optim.sgd(0.1)},
    ...                        {"w": "fast", "b": "slow"})
    >>> params = {"w": jnp.zeros(1), "b": jnp.zeros(1)}
    >>> step.update({"w": jnp.ones(1), "b": jnp.ones(1)}, step.init(params))[0]
    {'w': Array([-1.], dtype=float32), 'b': Array([-0.1], dtype=float32)}
    """

    def parts(tree: Any) -> dict[Any, Any]:
        labels = param_labels(tree) if callable(param_labels) else param_labels
        missing = set(tree_leaves(labels)) - set(transforms)
        if missing:
            shown = ", ".join(sorted(map(repr, missing)))
            raise ArgumentError(
                f"partition: no transformation for the labels {shown}",
                at=here(),
                notes=(f"labels with one: {', '.join(map(repr, transforms))}",),
            )

        def mask(group: Any) -> Any:
            return tree_map(lambda label: label == group, labels)

        option = {"mask_compatible_extra_args": mask_compatible_extra_args}
        return {group: masked(tx, mask(group), **option) for group, tx in transforms.items()}

    def init(params: Any) -> Any:
        return PartitionState({group: tx.init(params) for group, tx in parts(params).items()})

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        states = {}
        for group, tx in parts(updates).items():
            updates, states[group] = tx.update(updates, state.inner_states[group], params, **extra)
        return updates, PartitionState(states)

    return wide_transformation(init, update)


multi_transform = partition


def freeze(mask: Any) -> GradientTransformationExtraArgs:
    """Makes updates zero where ``mask`` is true; comes last in a chain."""
    return masked(set_to_zero(), mask)


def selective_transform(optimizer: Any, *, freeze_mask: Any) -> GradientTransformationExtraArgs:
    """``optimizer`` where ``freeze_mask`` (a tree, or a function of the parameters) is false, zeros
    elsewhere; nothing is kept for frozen parameters.

    >>> from tracejit import optim
    >>> step = optim.selective_transform(optim.sgd(1.0), freeze_mask={"w": False, "b": True})
    >>> params = {"w": jnp.ones(1), "b": jnp.ones(1)}
    >>> step.update(params, step.init(params))[0]
    {'w': Array([-1.], dtype=float32), 'b': Array([0.], dtype=float32)}
    """

    def labels(tree: Any) -> Any:
        found = freeze_mask(tree) if callable(freeze_mask) else freeze_mask
        return tree_map(lambda frozen: "freeze" if frozen else "train", found)

    return partition({"train": optimizer, "freeze": set_to_zero()}, labels)
