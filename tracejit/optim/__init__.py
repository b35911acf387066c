"""Optimisers, with the names, arguments and numbers of optax.

>>> from tracejit import optim
>>> def loss(w):
...     return jnp.sum((w - 3.0) ** 2)
>>> optimizer = optim.adam(0.1)
>>> @jit
... def step(w, state):
...     updates, state = optimizer.update(grad(loss)(w), state, w)
...     return optim.apply_updates(w, updates), state
>>> w = jnp.zeros(2)
>>> state = optimizer.init(w)
>>> for _ in range(200):
...     w, state = step(w, state)
>>> w.round(2)
Array([3., 3.], dtype=float32)

``optim.losses`` holds the losses, which are those of ``tracejit.nn.losses``.
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.nn import losses as losses
from tracejit.optim import schedules as schedules
from tracejit.optim.adaptive import (
    ScaleByAdaDeltaState,
    ScaleByAdamState,
    ScaleByAmsgradState,
    ScaleByBeliefState,
    ScaleByNovogradState,
    ScaleByRmsState,
    ScaleByRmsWithCountState,
    ScaleByRpropState,
    ScaleByRssState,
    ScaleByRStdDevState,
    ScaleByRStdDevWithCountState,
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_belief,
    scale_by_novograd,
    scale_by_radam,
    scale_by_rms,
    scale_by_rprop,
    scale_by_rss,
    scale_by_stddev,
    scale_by_yogi,
)
from tracejit.optim.base import (
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    TransformInit,
    TransformUpdate,
    apply_updates,
    chain,
    global_norm,
    identity,
    incremental_update,
    named_chain,
    periodic_update,
    safe_increment,
    set_to_zero,
    stateless,
    stateless_with_tree_map,
    with_extra_args_support,
)
from tracejit.optim.masks import (
    MaskedNode,
    MaskedState,
    MultiTransformState,
    PartitionState,
    masked,
    multi_transform,
    partition,
)
from tracejit.optim.optimizers import (
    adabelief,
    adadelta,
    adagrad,
    adam,
    adamax,
    adamaxw,
    adamw,
    amsgrad,
    fromage,
    lamb,
    lars,
    lion,
    nadam,
    nadamw,
    novograd,
    radam,
    rmsprop,
    rprop,
    sgd,
    sign_sgd,
    signum,
    yogi,
)
from tracejit.optim.schedules import (
    Schedule,
    constant_schedule,
    cosine_decay_schedule,
    cosine_onecycle_schedule,
    exponential_decay,
    join_schedules,
    linear_onecycle_schedule,
    linear_schedule,
    piecewise_constant_schedule,
    piecewise_interpolate_schedule,
    polynomial_schedule,
    sgdr_schedule,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
)
from tracejit.optim.transform import (
    EmaState,
    ScaleByLionState,
    ScaleByScheduleState,
    TraceState,
    WeightDecaySchedule,
    ZeroNansState,
    adaptive_grad_clip,
    add_decayed_weights,
    centralize,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
    ema,
    keep_params_nonnegative,
    normalize_by_update_norm,
    scale,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_schedule,
    scale_by_sign,
    scale_by_trust_ratio,
    trace,
    zero_nans,
)
from tracejit.optim.wrappers import (
    ApplyIfFiniteState,
    InjectHyperparamsState,
    InjectStatefulHyperparamsState,
    MultiSteps,
    MultiStepsState,
    WrappedScheduleState,
    apply_if_finite,
    inject_hyperparams,
    skip_not_finite,
)

# fmt: off
__all__ = [
    "ApplyIfFiniteState", "EmaState", "EmptyState", "GradientTransformation",
    "GradientTransformationExtraArgs", "InjectHyperparamsState", "InjectStatefulHyperparamsState",
    "MaskedNode", "MaskedState", "MultiSteps", "MultiStepsState", "MultiTransformState",
    "PartitionState", "ScalarOrSchedule", "ScaleByAdaDeltaState", "ScaleByAdamState",
    "ScaleByAmsgradState", "ScaleByBeliefState", "ScaleByLionState", "ScaleByNovogradState",
    "ScaleByRStdDevState", "ScaleByRStdDevWithCountState", "ScaleByRmsState",
    "ScaleByRmsWithCountState", "ScaleByRpropState", "ScaleByRssState", "ScaleByScheduleState",
    "Schedule", "TraceState", "TransformInit", "TransformUpdate", "WeightDecaySchedule",
    "WrappedScheduleState", "ZeroNansState", "adabelief", "adadelta", "adagrad", "adam", "adamax",
    "adamaxw", "adamw", "adaptive_grad_clip", "add_decayed_weights", "amsgrad", "apply_if_finite",
    "apply_updates", "centralize", "chain", "clip", "clip_by_block_rms", "clip_by_global_norm",
    "constant_schedule", "cosine_decay_schedule", "cosine_onecycle_schedule", "ema",
    "exponential_decay", "fromage", "global_norm", "identity", "incremental_update",
    "inject_hyperparams", "join_schedules", "keep_params_nonnegative", "lamb", "lars",
    "linear_onecycle_schedule", "linear_schedule", "lion", "losses", "masked", "multi_transform",
    "nadam", "nadamw", "named_chain", "normalize_by_update_norm", "novograd", "partition",
    "periodic_update", "piecewise_constant_schedule", "piecewise_interpolate_schedule",
    "polynomial_schedule", "radam", "rmsprop", "rprop", "safe_increment", "scale",
    "scale_by_adadelta", "scale_by_adam", "scale_by_adamax", "scale_by_amsgrad", "scale_by_belief",
    "scale_by_learning_rate", "scale_by_lion", "scale_by_novograd", "scale_by_radam",
    "scale_by_rms", "scale_by_rprop", "scale_by_rss", "scale_by_schedule", "scale_by_sign",
    "scale_by_stddev", "scale_by_trust_ratio", "scale_by_yogi", "schedules", "set_to_zero", "sgd",
    "sgdr_schedule", "sign_sgd", "signum", "skip_not_finite", "stateless",
    "stateless_with_tree_map", "trace", "warmup_constant_schedule", "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule", "with_extra_args_support", "yogi", "zero_nans",
]
# fmt: on

_errors.user_functions(globals())
