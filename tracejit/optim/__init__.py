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

``optim.losses`` holds the losses, which are those of ``tracejit.nn.losses``; those that optax has
at its top are here too.
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.nn import losses as losses
from tracejit.nn.losses import (
    cosine_distance,
    cosine_similarity,
    ctc_loss,
    generalized_kl_divergence,
    hinge_loss,
    huber_loss,
    kl_divergence,
    l2_loss,
    log_cosh,
    safe_softmax_cross_entropy,
    sigmoid_binary_cross_entropy,
    sigmoid_focal_loss,
    smooth_labels,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    squared_error,
)
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
    AddDecayedWeightsState,
    ClipByGlobalNormState,
    ClipState,
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    NonNegativeParamsState,
    OptState,
    Params,
    ScalarOrSchedule,
    ScaleByTrustRatioState,
    ScaleState,
    TransformInitFn,
    TransformUpdateFn,
    Updates,
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
    freeze,
    masked,
    multi_transform,
    partition,
    selective_transform,
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
    momentum,
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
    "AddDecayedWeightsState", "ApplyIfFiniteState", "ClipByGlobalNormState", "ClipState",
    "EmaState", "EmptyState", "GradientTransformation", "GradientTransformationExtraArgs",
    "InjectHyperparamsState", "InjectStatefulHyperparamsState", "MaskedNode", "MaskedState",
    "MultiSteps", "MultiStepsState", "MultiTransformState", "NonNegativeParamsState", "OptState",
    "Params", "PartitionState", "ScalarOrSchedule", "ScaleByAdaDeltaState", "ScaleByAdamState",
    "ScaleByAmsgradState", "ScaleByBeliefState", "ScaleByLionState", "ScaleByNovogradState",
    "ScaleByRStdDevState", "ScaleByRStdDevWithCountState", "ScaleByRmsState",
    "ScaleByRmsWithCountState", "ScaleByRpropState", "ScaleByRssState", "ScaleByScheduleState",
    "ScaleByTrustRatioState", "ScaleState", "Schedule", "TraceState", "TransformInitFn",
    "TransformUpdateFn", "Updates", "WeightDecaySchedule", "WrappedScheduleState", "ZeroNansState",
    "adabelief", "adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adaptive_grad_clip",
    "add_decayed_weights", "amsgrad", "apply_if_finite", "apply_updates", "centralize", "chain",
    "clip", "clip_by_block_rms", "clip_by_global_norm", "constant_schedule",
    "cosine_decay_schedule", "cosine_distance", "cosine_onecycle_schedule", "cosine_similarity",
    "ctc_loss", "ema", "exponential_decay", "freeze", "fromage", "generalized_kl_divergence",
    "global_norm", "hinge_loss", "huber_loss", "identity", "incremental_update",
    "inject_hyperparams", "join_schedules", "keep_params_nonnegative", "kl_divergence", "l2_loss",
    "lamb", "lars", "linear_onecycle_schedule", "linear_schedule", "lion", "log_cosh", "losses",
    "masked", "momentum", "multi_transform", "nadam", "nadamw", "named_chain",
    "normalize_by_update_norm", "novograd", "partition", "periodic_update",
    "piecewise_constant_schedule", "piecewise_interpolate_schedule", "polynomial_schedule", "radam",
    "rmsprop", "rprop", "safe_increment", "safe_softmax_cross_entropy", "scale",
    "scale_by_adadelta", "scale_by_adam", "scale_by_adamax", "scale_by_amsgrad", "scale_by_belief",
    "scale_by_learning_rate", "scale_by_lion", "scale_by_novograd", "scale_by_radam",
    "scale_by_rms", "scale_by_rprop", "scale_by_rss", "scale_by_schedule", "scale_by_sign",
    "scale_by_stddev", "scale_by_trust_ratio", "scale_by_yogi", "schedules", "selective_transform",
    "set_to_zero", "sgd", "sgdr_schedule", "sigmoid_binary_cross_entropy", "sigmoid_focal_loss",
    "sign_sgd", "signum", "skip_not_finite", "smooth_labels", "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels", "squared_error", "stateless",
    "stateless_with_tree_map", "trace", "warmup_constant_schedule", "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule", "with_extra_args_support", "yogi", "zero_nans",
]
# fmt: on

_errors.user_functions(globals())
