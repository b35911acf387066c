"""``checkpoint``: what the backward pass needs is computed again instead of being kept.

>>> block = tj.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
>>> grad(block)(0.0)
Array(1., dtype=float32)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from tracejit.errors import ArgumentError
from tracejit.frontend import key_uses
from tracejit.frontend.array import apply
from tracejit.frontend.split import Split, places
from tracejit.frontend.trace import current_trace
from tracejit.frontend.wrapping import wraps
from tracejit.record import dataclass
from tracejit.source import here
from tracejit.transform import custom

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Policy:
    """Which intermediate values a checkpoint keeps."""

    name: str
    keeps_all: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> bool:
        return self.keeps_all


class checkpoint_policies:  # noqa: N801 - a namespace
    """The policies of ``checkpoint``; all but ``everything_saveable`` keep nothing but the
    arguments.
    """

    everything_saveable = Policy("everything_saveable", keeps_all=True)
    nothing_saveable = Policy("nothing_saveable")
    dots_saveable = checkpoint_dots = Policy("dots_saveable")
    dots_with_no_batch_dims_saveable = checkpoint_dots_with_no_batch_dims = Policy(
        "dots_with_no_batch_dims_saveable"
    )

    @staticmethod
    def save_only_these_names(*names_which_can_be_saved: str) -> Policy:
        """Of values that ``checkpoint_name`` names."""
        return Policy(f"save_only_these_names{names_which_can_be_saved}")

    @staticmethod
    def save_any_names_but_these(*names_not_to_save: str) -> Policy:
        """Of values that ``checkpoint_name`` names."""
        return Policy(f"save_any_names_but_these{names_not_to_save}")

    @staticmethod
    def save_anything_except_these_names(*names_not_to_save: str) -> Policy:
        """Of values that ``checkpoint_name`` names, and all others."""
        return Policy(f"save_anything_except_these_names{names_not_to_save}")

    @staticmethod
    def save_from_both_policies(policy_1: Policy, policy_2: Policy) -> Policy:
        """What either of two keeps."""
        both = f"save_from_both_policies({policy_1.name}, {policy_2.name})"
        return Policy(both, policy_1.keeps_all or policy_2.keeps_all)

    @staticmethod
    def offload_dot_with_no_batch_dims(offload_src: str, offload_dst: str) -> Policy:
        """Nothing moves to another memory."""
        return Policy("offload_dot_with_no_batch_dims")

    @staticmethod
    def save_and_offload_only_these_names(
        *,
        names_which_can_be_saved: Sequence[str],
        names_which_can_be_offloaded: Sequence[str],
        offload_src: str,
        offload_dst: str,
    ) -> Policy:
        """Nothing moves to another memory."""
        return Policy(f"save_and_offload_only_these_names{tuple(names_which_can_be_saved)}")


def checkpoint_name(x: Any, name: str) -> Any:
    """``x``, a pytree. Its name is for policies that keep values by name; as those here keep the
    arguments only, it changes nothing.

    >>> from tracejit.ad_checkpoint import checkpoint_name
    >>> checkpoint_name(jnp.ones(2), "hidden")
    Array([1., 1.], dtype=float32)
    """
    return x


def checkpoint(
    fun: Callable[P, R],
    *,
    prevent_cse: bool = True,
    policy: Policy | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Callable[P, R]:
    """``fun``, whose intermediate values are computed again in the backward pass instead of being
    kept.

    ``policy`` is one of ``checkpoint_policies``. ``static_argnums``, ``static_argnames``: arguments
    that are passed on as they are. ``prevent_cse`` is accepted for compatibility: the
    recomputation is never merged with the forward pass.

    Raises ArgumentError for another policy.

    >>> block = tj.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
    >>> grad(block)(0.0)
    Array(1., dtype=float32)
    """
    if policy is not None and not isinstance(policy, Policy):
        raise ArgumentError(
            f"checkpoint: {policy!r} is not a policy",
            at=here(),
            hint="use one of tracejit.checkpoint_policies",
        )
    argnums = places(fun, static_argnums, static_argnames)
    named = {static_argnames} if isinstance(static_argnames, str) else set(static_argnames)

    @wraps(fun)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if current_trace() is None or (policy is not None and policy.keeps_all):
            return fun(*args, **kwargs)
        if named & kwargs.keys():
            fixed = {k: kwargs.pop(k) for k in named & kwargs.keys()}
            return checkpoint(
                wraps(fun)(functools.partial(fun, **fixed)),
                policy=policy,
                static_argnums=static_argnums,
            )(*args, **kwargs)
        call = Split.of(fun, (*args, kwargs), argnums)
        body = call.trace(lambda *given: fun(*given[:-1], **given[-1]), "checkpoint")
        key_uses.consume_all(call.leaves, body)
        outs = apply(custom.checkpoint, *body.captured, *call.leaves, body=body.graph)
        key_uses.note_results(outs, body)
        return body.outputs.build(outs)

    return checkpointed
