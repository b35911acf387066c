"""Losses, one number an example: the caller takes the mean.

    loss = nn.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

Names, arguments and formulas are those of ``optax.losses``. Predictions are floating; an axis that
a loss sums over is gone from the result, errors keep the shape of the predictions. ``where`` says
which classes take part.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit import errors as _errors
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import eager as _eager
from tracejit.frontend import elementwise as ew
from tracejit.frontend import promotion, reductions, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axes_tuple, axis_number
from tracejit.frontend.promotion import convert, reshaped
from tracejit.ir.types import DTYPES, kind
from tracejit.lax.loops import scan
from tracejit.nn.activations import log_sigmoid, softplus
from tracejit.nn.normalise import log_softmax, logsumexp, one_hot, softmax
from tracejit.numpy.elementwise import logaddexp
from tracejit.ops import layout
from tracejit.source import here

# fmt: off
__all__ = [
    "absolute_error", "cosine_distance", "cosine_similarity", "ctc_loss",
    "generalized_kl_divergence", "hinge_loss", "huber_loss", "kl_divergence",
    "kl_divergence_with_log_targets", "l2_loss", "log_cosh", "mean_absolute_error",
    "mean_squared_error", "multiclass_hinge_loss", "multiclass_perceptron_loss", "perceptron_loss",
    "poly_loss_cross_entropy", "safe_softmax_cross_entropy", "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss", "smooth_labels", "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels", "squared_error", "triplet_margin_loss",
]
# fmt: on


def _floating(name: str, what: str, x: Any) -> Array:
    x = as_array(x)
    if kind(x.dtype) != "f":
        raise DTypeError(f"{name}: {what} are floating, not {x.type}", at=here())
    return x


def _errors_of(name: str, predictions: Any, targets: Any) -> Array:
    """predictions - targets, of one shape; the predictions themselves without targets."""
    x = _floating(name, "predictions", predictions)
    if targets is None:
        return x
    y = as_array(targets)
    if x.shape != y.shape:
        raise ShapeError(
            f"{name}: predictions {x.type} and targets {y.type} differ in shape",
            at=here(),
            hint="they would be broadcast against each other: give both one shape",
        )
    return ew.subtract(x, y)  # type: ignore[no-any-return]


# ---- regression ----------------------------------------------------------------------------------


def squared_error(predictions: Any, targets: Any = None) -> Array:
    """(predictions - targets)**2, element by element.

    Raises ShapeError where the shapes differ, DTypeError for integers.

    >>> nn.losses.squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
    Array([0., 4.], dtype=float32)
    """
    return ew.square(_errors_of("squared_error", predictions, targets))  # type: ignore[no-any-return]


def l2_loss(predictions: Any, targets: Any = None) -> Array:
    """Half of ``squared_error``."""
    error = _errors_of("l2_loss", predictions, targets)
    return ew.multiply(0.5, ew.square(error))  # type: ignore[no-any-return]


def absolute_error(predictions: Any, targets: Any = None) -> Array:
    """|predictions - targets|, element by element: the L1 loss."""
    return ew.absolute(_errors_of("absolute_error", predictions, targets))  # type: ignore[no-any-return]


def mean_squared_error(predictions: Any, targets: Any) -> Array:
    """The mean of ``squared_error`` over all elements.

    >>> nn.losses.mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
    Array(2., dtype=float32)
    """
    return reductions.mean(ew.square(_errors_of("mean_squared_error", predictions, targets)))  # type: ignore[no-any-return]


def mean_absolute_error(predictions: Any, targets: Any) -> Array:
    """The mean of ``absolute_error`` over all elements."""
    return reductions.mean(ew.absolute(_errors_of("mean_absolute_error", predictions, targets)))  # type: ignore[no-any-return]


def huber_loss(predictions: Any, targets: Any = None, *, delta: Any = 1.0) -> Array:
    """error**2 / 2 up to ``delta``, then a straight line (Huber, 1964).

    >>> nn.losses.huber_loss(jnp.array([0.5, 3.0]), jnp.zeros(2))
    Array([0.125, 2.5  ], dtype=float32)
    """
    size = ew.absolute(_errors_of("huber_loss", predictions, targets))
    near = ew.minimum(size, delta)
    far = ew.subtract(size, near)
    return ew.add(ew.multiply(0.5, ew.square(near)), ew.multiply(delta, far))  # type: ignore[no-any-return]


def log_cosh(predictions: Any, targets: Any = None) -> Array:
    """log(cosh(error)), about error**2 / 2 near 0 and |error| - log(2) far away."""
    size = ew.absolute(_errors_of("log_cosh", predictions, targets))
    tail = softplus(ew.multiply(-2.0, size))
    return ew.subtract(ew.add(size, tail), math.log(2))  # type: ignore[no-any-return]


def cosine_similarity(
    predictions: Any, targets: Any, *, epsilon: Any = 0.0, axis: Any = -1, where: Any = None
) -> Array:
    """The cosine of the angle between vectors along ``axis``; squared norms are at least
    ``epsilon``.

    >>> nn.losses.cosine_similarity(jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0]))
    Array(0.70..., dtype=float32)
    """
    a = _floating("cosine_similarity", "predictions", predictions)
    b = _floating("cosine_similarity", "targets", targets)

    def unit(x: Array) -> Any:
        norm = reductions.sum(ew.square(x), axis, keepdims=True, where=where)
        return ew.divide(x, ew.sqrt(ew.maximum(norm, epsilon)))

    return reductions.sum(ew.multiply(unit(a), unit(b)), axis, where=where)  # type: ignore[no-any-return]


def cosine_distance(
    predictions: Any, targets: Any, *, epsilon: Any = 0.0, axis: Any = -1, where: Any = None
) -> Array:
    """1 - ``cosine_similarity``."""
    found = cosine_similarity(predictions, targets, epsilon=epsilon, axis=axis, where=where)
    return ew.subtract(1.0, found)  # type: ignore[no-any-return]


def triplet_margin_loss(
    anchors: Any,
    positives: Any,
    negatives: Any,
    axis: int = -1,
    norm_degree: Any = 2,
    margin: Any = 1.0,
    eps: Any = 1e-6,
) -> Array:
    """max(|a - p| - |a - n| + margin, 0) with norms along ``axis`` (Balntas et al., 2016)."""
    a = _floating("triplet_margin_loss", "anchors", anchors)

    def distance(b: Any) -> Any:
        powers = ew.power(ew.absolute(ew.subtract(a, b)), norm_degree)
        return ew.power(ew.add(reductions.sum(powers, axis), eps), 1.0 / norm_degree)

    gap = ew.subtract(distance(positives), distance(negatives))
    return ew.maximum(ew.add(gap, margin), 0.0)  # type: ignore[no-any-return]


# ---- two classes ---------------------------------------------------------------------------------


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Array:
    """-labels * log(p) - (1 - labels) * log(1 - p) where p = sigmoid(logits), element by element;
    labels are 0, 1 or between.

    >>> logits, labels = jnp.array([0.0, 100.0]), jnp.array([1.0, 1.0])
    >>> nn.losses.sigmoid_binary_cross_entropy(logits, labels).round(3)
    Array([0.693, 0.   ], dtype=float32)
    """
    x = _floating("sigmoid_binary_cross_entropy", "logits", logits)
    y = convert(as_array(labels), x.dtype)
    yes = ew.multiply(y, log_sigmoid(x))
    no = ew.multiply(ew.subtract(1.0, y), log_sigmoid(ew.negative(x)))
    return ew.negative(ew.add(yes, no))  # type: ignore[no-any-return]


def sigmoid_focal_loss(logits: Any, labels: Any, *, alpha: Any = None, gamma: Any = 2.0) -> Array:
    """Binary cross entropy times (1 - p_t)**gamma, where p_t is the probability given to the label
    (Lin et al., 2017); ``alpha`` weighs the label 1, 1 - alpha the label 0.
    """
    x = _floating("sigmoid_focal_loss", "logits", logits)
    y = convert(as_array(labels), x.dtype)
    loss = sigmoid_binary_cross_entropy(x, y)
    wrong = ew.add(
        ew.multiply(ew.subtract(1.0, y), ew.exp(log_sigmoid(x))),
        ew.multiply(y, ew.exp(log_sigmoid(ew.negative(x)))),
    )
    loss = ew.multiply(loss, ew.power(wrong, gamma))
    if alpha is None:
        return loss  # type: ignore[no-any-return]
    weight = ew.add(ew.multiply(alpha, y), ew.multiply(1.0 - alpha, ew.subtract(1.0, y)))
    return ew.multiply(weight, loss)  # type: ignore[no-any-return]


def hinge_loss(predictor_outputs: Any, targets: Any) -> Array:
    """max(0, 1 - output * target), with targets -1 and 1.

    >>> nn.losses.hinge_loss(jnp.array([0.5, 2.0]), jnp.array([1.0, 1.0]))
    Array([0.5, 0. ], dtype=float32)
    """
    return ew.maximum(0, ew.subtract(1, ew.multiply(predictor_outputs, targets)))  # type: ignore[no-any-return]


def perceptron_loss(predictor_outputs: Any, targets: Any) -> Array:
    """max(0, -output * target), with targets -1 and 1."""
    return ew.maximum(0, ew.negative(ew.multiply(predictor_outputs, targets)))  # type: ignore[no-any-return]


# ---- many classes --------------------------------------------------------------------------------


def _classes(name: str, logits: Any, axis: Any, where: Any) -> tuple[Array, Any]:
    """The logits, and ``where`` with the axis of classes that it may lack."""
    x = _floating(name, "logits", logits)
    if where is not None and as_array(where).ndim != x.ndim:
        where = shaping.expand_dims(where, axis)
    return x, where


def softmax_cross_entropy(logits: Any, labels: Any, axis: Any = -1, where: Any = None) -> Array:
    """-sum(labels * log_softmax(logits)) along ``axis``; labels are probabilities of classes.

    >>> nn.losses.softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([[0.0, 1.0, 0.0, 0.0]]))
    Array([1.38...], dtype=float32)
    """
    x, where = _classes("softmax_cross_entropy", logits, axis, where)
    y = as_array(labels)
    if y.ndim == x.ndim - 1 and x.shape[: y.ndim] == y.shape and kind(y.dtype) in "iu":
        raise ShapeError(
            f"softmax_cross_entropy: labels {y.type} are not probabilities of the classes of "
            f"{x.type}",
            at=here(),
            hint="for indices of classes use softmax_cross_entropy_with_integer_labels",
        )
    terms = ew.multiply(y, log_softmax(x, axis, where))
    return ew.negative(reductions.sum(terms, axis, where=where))  # type: ignore[no-any-return]


def safe_softmax_cross_entropy(logits: Any, labels: Any) -> Array:
    """``softmax_cross_entropy`` where a label of 0 beside a logit of -inf counts as 0."""
    x = _floating("safe_softmax_cross_entropy", "logits", logits)
    y = as_array(labels)
    some = ew.not_equal(y, 0.0)
    logs = ew.select(some, log_softmax(x), 0.0)
    return ew.negative(reductions.sum(ew.multiply(y, logs), -1))  # type: ignore[no-any-return]


def softmax_cross_entropy_with_integer_labels(
    logits: Any, labels: Any, axis: Any = -1, where: Any = None
) -> Array:
    """-log_softmax(logits) at the indices ``labels`` along ``axis``, in the shape of the labels.

    ``axis`` may be several axes, which are counted together, row-major. Raises DTypeError for
    labels that are not integers, ShapeError where the shapes do not fit.

    >>> logits = jnp.array([[0.0, 0.0], [0.0, 1000.0]])
    >>> nn.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.array([0, 1]))
    Array([0.69..., 0. ...], dtype=float32)
    """
    name = "softmax_cross_entropy_with_integer_labels"
    x, where = _classes(name, logits, axis, where)
    y = as_array(labels)
    if kind(y.dtype) not in "iu":
        raise DTypeError(f"{name}: labels are integers, not {y.type}", at=here())
    if isinstance(axis, tuple | list):
        x, where = _flat_classes(name, x, axis, where)
        number = x.ndim - 1
    else:
        number = axis_number(name, axis, x.ndim)
    rest = x.shape[:number] + x.shape[number + 1 :]
    if y.shape != rest:
        raise ShapeError(
            f"{name}: labels {y.type} do not fit logits {x.type} with classes along axis {number}",
            at=here(),
            hint=f"labels have the shape {rest}",
        )
    picked = _picked(x, y, number)
    found = ew.subtract(logsumexp(x, number, where=where), picked)
    if where is None:
        return found  # type: ignore[no-any-return]
    return ew.select(reductions.any(where, number), found, 0.0)  # type: ignore[no-any-return]


def _flat_classes(name: str, x: Array, axis: Any, where: Any) -> tuple[Array, Any]:
    chosen = axes_tuple(name, tuple(axis), x.ndim)
    kept = tuple(k for k in range(x.ndim) if k not in chosen)

    def flat(a: Any) -> Array:
        a = shaping.transpose(a, (*kept, *(axis_number(name, k, x.ndim) for k in axis)))
        return reshaped(a, (*a.shape[: len(kept)], math.prod(a.shape[len(kept) :])))  # type: ignore[no-any-return]

    return flat(x), None if where is None else flat(where)


def _picked(x: Array, labels: Array, axis: int) -> Any:
    """The logit of each label: a sum over classes, which fuses with its neighbours; nan for a label
    that is no class.
    """
    index = shaping.expand_dims(labels, axis)
    classes = apply(layout.iota, dtype=DTYPES["i64"], shape=x.shape, dimension=axis)
    count = x.shape[axis]
    index = ew.select(ew.less(index, 0), ew.add(index, count), index)
    found = reductions.sum(ew.select(ew.equal(classes, index), x, 0), axis)
    flat = reshaped(index, labels.shape)
    inside = ew.logical_and(ew.greater_equal(flat, 0), ew.less(flat, count))
    return ew.select(inside, found, np.nan)


def smooth_labels(labels: Any, alpha: Any, *, axis: Any = -1, where: Any = None) -> Array:
    """(1 - alpha) * labels + alpha / (number of classes that take part) (Szegedy et al., 2016)."""
    y = _floating("smooth_labels", "labels", labels)
    axes = axes_tuple("smooth_labels", axis, y.ndim)
    count: Any = math.prod(y.shape[k] for k in axes)
    if where is not None:
        marks = convert(shaping.broadcast_to(where, y.shape), y.dtype)
        count = reductions.sum(marks, axes, keepdims=True)
    return ew.add(ew.multiply(1.0 - alpha, y), ew.divide(alpha, count))  # type: ignore[no-any-return]


def multiclass_hinge_loss(scores: Any, labels: Any) -> Array:
    """max over classes of (score + 1 but for the label) - the label's score (Crammer and Singer,
    2001).
    """
    x = as_array(scores)
    hot = one_hot(labels, x.shape[-1], dtype=x.dtype)
    best = reductions.max(ew.subtract(ew.add(x, 1.0), hot), -1)
    return ew.subtract(best, reductions.sum(ew.multiply(x, hot), -1))  # type: ignore[no-any-return]


def multiclass_perceptron_loss(scores: Any, labels: Any) -> Array:
    """The largest score minus the label's."""
    x = as_array(scores)
    hot = one_hot(labels, x.shape[-1], dtype=x.dtype)
    return ew.subtract(reductions.max(x, -1), reductions.sum(ew.multiply(x, hot), -1))  # type: ignore[no-any-return]


def poly_loss_cross_entropy(
    logits: Any, labels: Any, *, epsilon: Any = 2.0, axis: Any = -1, where: Any = None
) -> Array:
    """Cross entropy + epsilon * (1 - p_t) (Leng et al., "PolyLoss", 2022)."""
    x, where = _classes("poly_loss_cross_entropy", logits, axis, where)
    p = softmax(x, axis, where)
    rest = reductions.sum(ew.multiply(labels, ew.subtract(1.0, p)), axis, where=where)
    return ew.add(softmax_cross_entropy(x, labels, axis, where), ew.multiply(epsilon, rest))  # type: ignore[no-any-return]


# ---- distributions -------------------------------------------------------------------------------


def kl_divergence(log_predictions: Any, targets: Any, axis: Any = -1, where: Any = None) -> Array:
    """sum(targets * (log(targets) - log_predictions)) along ``axis``: how far predictions are from
    the targets (Kullback and Leibler, 1951). A target of 0 counts as 0.

    >>> p = jnp.array([0.5, 0.5])
    >>> nn.losses.kl_divergence(jnp.log(p), p)
    Array(0., dtype=float32)
    """
    x = _floating("kl_divergence", "log_predictions", log_predictions)
    y = _floating("kl_divergence", "targets", targets)
    none = ew.equal(y, 0)
    logs = ew.select(none, 0, ew.log(ew.select(none, 1, y)))
    return reductions.sum(ew.multiply(y, ew.subtract(logs, x)), axis, where=where)  # type: ignore[no-any-return]


def kl_divergence_with_log_targets(
    log_predictions: Any, log_targets: Any, axis: Any = -1, where: Any = None
) -> Array:
    """``kl_divergence`` for targets given as logarithms."""
    x = _floating("kl_divergence_with_log_targets", "log_predictions", log_predictions)
    y = _floating("kl_divergence_with_log_targets", "log_targets", log_targets)
    return reductions.sum(ew.multiply(ew.exp(y), ew.subtract(y, x)), axis, where=where)  # type: ignore[no-any-return]


def generalized_kl_divergence(
    log_predictions: Any, targets: Any, axis: Any = -1, where: Any = None
) -> Array:
    """``kl_divergence`` + sum(predictions - targets): for positive numbers that do not sum to 1."""
    rest = reductions.sum(ew.subtract(ew.exp(log_predictions), targets), axis, where=where)
    return ew.add(kl_divergence(log_predictions, targets, axis, where), rest)  # type: ignore[no-any-return]


# ---- sequences -----------------------------------------------------------------------------------


def ctc_loss(
    logits: Any,
    logit_paddings: Any,
    labels: Any,
    label_paddings: Any,
    *,
    blank_id: int = 0,
    log_epsilon: Any = -100000.0,
) -> Array:
    """-log P(labels | logits) summed over all alignments with blanks: connectionist temporal
    classification (Graves et al., 2006), one number a sequence.

    ``logits`` (B, T, K), ``labels`` (B, N); paddings have the shapes (B, T) and (B, N), 1 where a
    step or a label is not there, which is at the end. ``log_epsilon`` stands for log(0). Raises
    ShapeError where shapes do not fit.
    """
    x = _floating("ctc_loss", "logits", logits)
    y, x_pad, y_pad = as_array(labels), as_array(logit_paddings), as_array(label_paddings)
    fits = x.ndim == 3 and y.ndim == 2 and x.shape[0] == y.shape[0] and y.shape == y_pad.shape
    if not fits or x_pad.shape != x.shape[:2]:
        raise ShapeError(
            f"ctc_loss: logits {x.type} and paddings {x_pad.type}, labels {y.type} and paddings "
            f"{y_pad.type} do not fit",
            at=here(),
            hint="shapes are (B, T, K), (B, T), (B, N), (B, N)",
        )
    if not 0 <= blank_id < x.shape[2]:
        raise ArgumentError(f"ctc_loss: blank_id {blank_id} is no class of {x.type}", at=here())
    batch, count = y.shape
    logs = log_softmax(x)
    # labels with blanks around each: blank, y0, blank, y1, ... blank
    blanks = promotion.broadcast_to(as_array(np.full((1, 1), blank_id, y.dtype)), (batch, count))
    pairs = reshaped(shaping.stack([blanks, y], 2), (batch, 2 * count))
    path = shaping.concatenate([pairs, shaping.cut(blanks, 1, 0, 1)], 1) if count else blanks
    emitted = _emitted(logs, path)  # (B, T, 2 N + 1)
    return _alignments(emitted, path, x_pad, y_pad, blank_id, log_epsilon)


def _emitted(logs: Array, path: Array) -> Any:
    """log_softmax of each step at each place of the path."""
    hot = one_hot(path, logs.shape[2], dtype=logs.dtype)
    spread = ew.multiply(shaping.expand_dims(logs, 2), shaping.expand_dims(hot, 1))
    return reductions.sum(spread, 3)


def _alignments(
    emitted: Any, path: Array, x_pad: Array, y_pad: Array, blank_id: int, low: Any
) -> Array:
    """The forward recursion over steps, and the sum of the two places where a path may end."""
    batch, places = path.shape
    place = apply(layout.iota, dtype=DTYPES["i64"], shape=(batch, places), dimension=1)
    floor = promotion.filled(low, emitted.type.with_shape((batch, places)))

    def shifted(a: Any, by: int) -> Any:
        return shaping.padded(
            shaping.cut(a, 1, 0, max(places - by, 0)), ((0, 0, 0), (min(by, places), 0, 0)), low
        )

    earlier = shaping.padded(
        shaping.cut(path, 1, 0, max(places - 2, 0)), ((0, 0, 0), (min(2, places), 0, 0)), blank_id
    )
    jumps = ew.logical_and(ew.not_equal(path, blank_id), ew.not_equal(path, earlier))
    jumps = ew.logical_and(jumps, ew.greater_equal(place, 2))

    def step(state: Any, now: Any) -> Any:
        alpha, begun = state
        emit, pad = now
        moved = logaddexp(alpha, shifted(alpha, 1))
        moved = logaddexp(moved, ew.select(jumps, shifted(alpha, 2), low))
        first = ew.select(ew.less(place, 2), 0.0, floor)
        moved = ew.add(ew.select(begun, moved, first), emit)
        gone = ew.greater(shaping.expand_dims(pad, 1), 0.5)
        return (ew.select(gone, alpha, moved), ew.logical_or(begun, ew.logical_not(gone))), None

    begun = as_array(np.zeros((batch, 1), bool))
    xs = (shaping.transpose(emitted, (1, 0, 2)), shaping.transpose(x_pad, (1, 0)))
    (alpha, begun), _ = scan(step, (floor, begun), xs)
    length = ew.multiply(2, reductions.sum(ew.less(y_pad, 0.5), 1, keepdims=True))
    ends = ew.logical_or(ew.equal(place, length), ew.equal(place, ew.subtract(length, 1)))
    # without a step only the empty labels have a path
    none = ew.select(ew.equal(place, 0), 0.0, floor)
    alpha = ew.select(begun, alpha, none)
    return ew.negative(logsumexp(ew.select(ends, alpha, low), 1))  # type: ignore[no-any-return]


_errors.user_functions(globals(), _eager.remembering())
