"""Transformations under the names of ``optax.transforms``: those of ``tracejit.optim`` that are no
optimisers, and the norms of units.
"""

from __future__ import annotations

from typing import Any

from tracejit import errors as _errors
from tracejit.errors import ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, as_array
from tracejit.optim.around import (
    ConditionallyMaskState,
    ConditionallyTransformState,
    ConditionFn,
    MonitorState,
    ShouldSkipUpdateFunction,
    SnapshotState,
    conditionally_mask,
    conditionally_transform,
    flatten,
    measure_with_ema,
    monitor,
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
    skip_large_updates,
    snapshot,
)
from tracejit.optim.base import NonNegativeParamsState, chain, named_chain
from tracejit.optim.further import AddNoiseState, add_noise
from tracejit.optim.masks import (
    MaskedNode,
    MaskedState,
    PartitionState,
    freeze,
    masked,
    partition,
    selective_transform,
)
from tracejit.optim.transform import (
    EmaState,
    TraceState,
    ZeroNansState,
    adaptive_grad_clip,
    add_decayed_weights,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
    ema,
    keep_params_nonnegative,
    trace,
    unit_norm,
    zero_nans,
)
from tracejit.optim.wrappers import (
    ApplyIfFiniteState,
    MultiSteps,
    MultiStepsState,
    apply_if_finite,
    skip_not_finite,
)
from tracejit.source import here

# fmt: off
__all__ = [
    "AddNoiseState", "ApplyIfFiniteState", "ConditionFn", "ConditionallyMaskState",
    "ConditionallyTransformState", "EmaState", "MaskedNode", "MaskedState", "MonitorState",
    "MultiSteps", "MultiStepsState", "NonNegativeParamsState", "PartitionState",
    "ShouldSkipUpdateFunction", "SnapshotState", "TraceState", "ZeroNansState",
    "adaptive_grad_clip", "add_decayed_weights", "add_noise", "apply_if_finite", "chain", "clip",
    "clip_by_block_rms", "clip_by_global_norm", "conditionally_mask", "conditionally_transform",
    "ema", "flatten", "freeze", "keep_params_nonnegative", "masked", "measure_with_ema", "monitor",
    "named_chain", "partition", "per_example_global_norm_clip", "per_example_layer_norm_clip",
    "selective_transform", "skip_large_updates", "skip_not_finite", "snapshot", "trace",
    "unitwise_clip", "unitwise_norm", "zero_nans",
]
# fmt: on


def unitwise_norm(x: Any, axis: Any = None) -> Array:
    """The norm of each unit at the places of its elements: of columns, of the last axis' features
    of kernels, of all of a vector; or over ``axis``.
    """
    x = as_array(x)
    return promotion.broadcast_to(unit_norm(x, axis), x.shape)  # type: ignore[no-any-return]


def unitwise_clip(g_norm: Any, max_norm: Any, grad: Any, div_eps: Any = 1e-6) -> Array:
    """The gradient scaled to ``max_norm`` where its ``g_norm`` is not below that. Shapes are equal,
    else ShapeError.
    """
    size, most, g = map(as_array, (g_norm, max_norm, grad))
    if not size.shape == most.shape == g.shape:
        raise ShapeError(
            f"unitwise_clip: shapes differ: {size.type}, {most.type}, {g.type}", at=here()
        )
    factor = ew.divide(most, ew.maximum(size, div_eps))
    return ew.select(ew.less(size, most), g, ew.multiply(g, factor))  # type: ignore[no-any-return]


_errors.user_functions(globals())
