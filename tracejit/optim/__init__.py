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
from tracejit.optim import assignment as assignment
from tracejit.optim import contrib as contrib
from tracejit.optim import losses as losses
from tracejit.optim import microbatching as microbatching
from tracejit.optim import perturbations as perturbations
from tracejit.optim import projections as projections
from tracejit.optim import schedules as schedules
from tracejit.optim import second_order as second_order
from tracejit.optim import transforms as transforms
from tracejit.optim import tree as tree
from tracejit.optim import tree_utils as tree_utils
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
from tracejit.optim.around import (
    ConditionallyMaskState,
    ConditionallyTransformState,
    LookaheadParams,
    LookaheadState,
    MonitorState,
    ShouldSkipUpdateFunction,
    SnapshotState,
    conditionally_mask,
    conditionally_transform,
    flatten,
    lookahead,
    measure_with_ema,
    monitor,
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
    skip_large_updates,
    snapshot,
)
from tracejit.optim.base import (
    AdaptiveGradClipState,
    AddDecayedWeightsState,
    ClipByGlobalNormState,
    ClipState,
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    MaskOrFn,
    NonNegativeParamsState,
    OptState,
    Params,
    ScalarOrSchedule,
    ScaleByTrustRatioState,
    ScaleState,
    TransformInitFn,
    TransformUpdateExtraArgsFn,
    TransformUpdateFn,
    Updates,
    apply_updates,
    chain,
    global_norm,
    identity,
    incremental_update,
    init_empty_state,
    named_chain,
    periodic_update,
    safe_increment,
    safe_int32_increment,
    set_to_zero,
    stateless,
    stateless_with_tree_map,
    with_extra_args_support,
)
from tracejit.optim.factored import (
    FactoredState,
    ScaleBySM3State,
    adafactor,
    safe_norm,
    safe_root_mean_squares,
    scale_by_factored_rms,
    scale_by_param_block_norm,
    scale_by_param_block_rms,
    scale_by_sm3,
    sm3,
)
from tracejit.optim.further import (
    AddNoiseState,
    ApplyEvery,
    ScaleByAdanState,
    adan,
    add_noise,
    apply_every,
    multi_normal,
    noisy_sgd,
    optimistic_adam,
    optimistic_adam_v2,
    optimistic_gradient_descent,
    polyak_sgd,
    scale_by_adan,
    scale_by_distance_over_gradients,
    scale_by_optimistic_gradient,
    scale_by_polyak,
    scale_gradient,
)
from tracejit.optim.lbfgs import ScaleByLBFGSState, lbfgs, scale_by_lbfgs
from tracejit.optim.linear_algebra import matrix_inverse_pth_root, nnls, power_iteration
from tracejit.optim.linesearch import (
    ScaleByBacktrackingLinesearchState,
    ScaleByZoomLinesearchState,
    ZoomLinesearchInfo,
    scale_by_backtracking_linesearch,
    scale_by_zoom_linesearch,
    value_and_grad_from_state,
)
from tracejit.optim.losses import (
    convex_kl_divergence,
    cosine_distance,
    cosine_similarity,
    ctc_loss,
    ctc_loss_with_forward_probs,
    generalized_kl_divergence,
    hinge_loss,
    huber_loss,
    kl_divergence,
    l2_loss,
    log_cosh,
    ntxent,
    safe_softmax_cross_entropy,
    sigmoid_binary_cross_entropy,
    sigmoid_focal_loss,
    smooth_labels,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    squared_error,
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
from tracejit.optim.microbatching import microbatch
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
from tracejit.optim.tree import (
    bias_correction,
    update_infinity_moment,
    update_moment,
    update_moment_per_elem_norm,
)
from tracejit.optim.tree_state import map_params as tree_map_params
from tracejit.optim.wrappers import (
    ApplyIfFiniteState,
    InjectHyperparamsState,
    InjectStatefulHyperparamsState,
    MultiSteps,
    MultiStepsState,
    WrappedSchedule,
    WrappedScheduleState,
    apply_if_finite,
    inject_hyperparams,
    inject_stateful_hyperparams,
    skip_not_finite,
)

# fmt: off
__all__ = [
    "AdaptiveGradClipState", "AddDecayedWeightsState", "AddNoiseState", "ApplyEvery",
    "ApplyIfFiniteState", "ClipByGlobalNormState", "ClipState", "ConditionallyMaskState",
    "ConditionallyTransformState", "EmaState", "EmptyState", "FactoredState",
    "GradientTransformation", "GradientTransformationExtraArgs", "InjectHyperparamsState",
    "InjectStatefulHyperparamsState", "LookaheadParams", "LookaheadState", "MaskOrFn", "MaskedNode",
    "MaskedState", "MonitorState", "MultiSteps", "MultiStepsState", "MultiTransformState",
    "NonNegativeParamsState", "OptState", "Params", "PartitionState", "ScalarOrSchedule",
    "ScaleByAdaDeltaState", "ScaleByAdamState", "ScaleByAdanState", "ScaleByAmsgradState",
    "ScaleByBacktrackingLinesearchState", "ScaleByBeliefState", "ScaleByLBFGSState",
    "ScaleByLionState", "ScaleByNovogradState", "ScaleByRStdDevState",
    "ScaleByRStdDevWithCountState", "ScaleByRmsState", "ScaleByRmsWithCountState",
    "ScaleByRpropState", "ScaleByRssState", "ScaleBySM3State", "ScaleByScheduleState",
    "ScaleByTrustRatioState", "ScaleByZoomLinesearchState", "ScaleState", "Schedule",
    "ShouldSkipUpdateFunction", "SnapshotState", "TraceState", "TransformInitFn",
    "TransformUpdateExtraArgsFn", "TransformUpdateFn", "Updates", "WeightDecaySchedule",
    "WrappedSchedule", "WrappedScheduleState", "ZeroNansState", "ZoomLinesearchInfo", "adabelief",
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan",
    "adaptive_grad_clip", "add_decayed_weights", "add_noise", "amsgrad", "apply_every",
    "apply_if_finite", "apply_updates", "assignment", "bias_correction", "centralize", "chain",
    "clip", "clip_by_block_rms", "clip_by_global_norm", "conditionally_mask",
    "conditionally_transform", "constant_schedule", "contrib", "convex_kl_divergence",
    "cosine_decay_schedule", "cosine_distance", "cosine_onecycle_schedule", "cosine_similarity",
    "ctc_loss", "ctc_loss_with_forward_probs", "ema", "exponential_decay", "flatten", "freeze",
    "fromage", "generalized_kl_divergence", "global_norm", "hinge_loss", "huber_loss", "identity",
    "incremental_update", "init_empty_state", "inject_hyperparams", "inject_stateful_hyperparams",
    "join_schedules", "keep_params_nonnegative", "kl_divergence", "l2_loss", "lamb", "lars",
    "lbfgs", "linear_onecycle_schedule", "linear_schedule", "lion", "log_cosh", "lookahead",
    "losses", "masked", "matrix_inverse_pth_root", "measure_with_ema", "microbatch",
    "microbatching", "momentum", "monitor", "multi_normal", "multi_transform", "nadam", "nadamw",
    "named_chain", "nnls", "noisy_sgd", "normalize_by_update_norm", "novograd", "ntxent",
    "optimistic_adam", "optimistic_adam_v2", "optimistic_gradient_descent", "partition",
    "per_example_global_norm_clip", "per_example_layer_norm_clip", "periodic_update",
    "perturbations", "piecewise_constant_schedule", "piecewise_interpolate_schedule", "polyak_sgd",
    "polynomial_schedule", "power_iteration", "projections", "radam", "rmsprop", "rprop",
    "safe_increment", "safe_int32_increment", "safe_norm", "safe_root_mean_squares",
    "safe_softmax_cross_entropy", "scale", "scale_by_adadelta", "scale_by_adam", "scale_by_adamax",
    "scale_by_adan", "scale_by_amsgrad", "scale_by_backtracking_linesearch", "scale_by_belief",
    "scale_by_distance_over_gradients", "scale_by_factored_rms", "scale_by_lbfgs",
    "scale_by_learning_rate", "scale_by_lion", "scale_by_novograd", "scale_by_optimistic_gradient",
    "scale_by_param_block_norm", "scale_by_param_block_rms", "scale_by_polyak", "scale_by_radam",
    "scale_by_rms", "scale_by_rprop", "scale_by_rss", "scale_by_schedule", "scale_by_sign",
    "scale_by_sm3", "scale_by_stddev", "scale_by_trust_ratio", "scale_by_yogi",
    "scale_by_zoom_linesearch", "scale_gradient", "schedules", "second_order",
    "selective_transform", "set_to_zero", "sgd", "sgdr_schedule", "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss", "sign_sgd", "signum", "skip_large_updates", "skip_not_finite", "sm3",
    "smooth_labels", "snapshot", "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels", "squared_error", "stateless",
    "stateless_with_tree_map", "trace", "transforms", "tree", "tree_map_params", "tree_utils",
    "update_infinity_moment", "update_moment", "update_moment_per_elem_norm",
    "value_and_grad_from_state", "warmup_constant_schedule", "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule", "with_extra_args_support", "yogi", "zero_nans",
]
# fmt: on

_errors.user_functions(globals())
