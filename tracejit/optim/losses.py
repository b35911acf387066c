"""The losses of ``optax.losses``: those of ``tracejit.nn.losses``, and overlaps of segments,
rankings, embeddings and sparse choices.

>>> from tracejit.optim import losses
>>> losses.dice_loss(jnp.array([[0.0, 0.0]]), jnp.array([[1.0, 0.0]])).round(3)
Array([0.171], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tracejit.numpy as jnp
from tracejit import errors as _errors
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.vectorize import vmap
from tracejit.ir.types import kind
from tracejit.lax import scan, stop_gradient
from tracejit.nn import log_softmax, sigmoid, softmax
from tracejit.nn import losses as _nn
from tracejit.nn.losses import *  # noqa: F403 - the same names
from tracejit.optim.projections import projection_simplex
from tracejit.source import here


def _floating(name: str, x: Any) -> Array:
    x = as_array(x)
    if kind(x.dtype) != "f":
        raise DTypeError(f"{name}: takes floating arrays, not {x.type}", at=here())
    return x


# ---- segments ------------------------------------------------------------------------------------


def _same_shapes(name: str, predictions: Any, targets: Any) -> tuple[Array, Array]:
    p, t = as_array(predictions), as_array(targets)
    if p.shape != t.shape:
        raise ShapeError(f"{name}: predictions {p.type} and targets {t.type} differ", at=here())
    return p, t


def dice_loss(
    predictions: Any,
    targets: Any,
    *,
    class_weights: Any = None,
    smooth: Any = 1.0,
    alpha: Any = 0.5,
    beta: Any = 0.5,
    apply_softmax: bool = True,
    reduction: str = "mean",
    ignore_background: bool = False,
    axis: Any = None,
) -> Array:
    """1 - the overlap of predicted and true segments (Milletari, Navab and Ahmadi, "V-Net", 2016);
    with other ``alpha`` and ``beta``, the weights of false positives and negatives, Tversky's
    (Salehi, Erdogmus and Gholipour, 2017).

    Shapes (batch, ..., classes), the last axis may be left out for one class. ``axis``: the axes of
    a segment, all but the first and last by default. ``reduction`` over classes: "mean", "sum" or
    "none". ``apply_softmax``: predictions are logits (of a sigmoid for one class).
    """
    p, t = as_array(predictions), as_array(targets)
    p = p[..., None] if p.ndim == t.ndim - 1 else p
    p, t = _same_shapes("dice_loss", p, t[..., None] if t.ndim == p.ndim - 1 else t)
    if apply_softmax:
        p = sigmoid(p) if p.shape[-1] == 1 else softmax(p, axis=-1)
    axes = tuple(range(1, p.ndim - 1)) if axis is None else axis
    both = (p * t).sum(axes)
    wrong, missed = p.sum(axes) - both, t.sum(axes) - both
    loss = 1.0 - (both + smooth) / (both + alpha * wrong + beta * missed + smooth)
    if class_weights is not None:
        weights = as_array(class_weights)
        if weights.ndim != 1:
            raise ShapeError(f"dice_loss: class_weights {weights.type} is no vector", at=here())
        loss = loss * weights
    if ignore_background and p.shape[-1] > 1:
        loss = loss[..., 1:]
    choices = {"mean": lambda x: x.mean(-1), "sum": lambda x: x.sum(-1), "none": lambda x: x}
    if reduction not in choices:
        raise ArgumentError(
            f"dice_loss: reduction is one of {', '.join(map(repr, choices))}, not {reduction!r}",
            at=here(),
        )
    return choices[reduction](loss)  # type: ignore[no-any-return]


def binary_dice_loss(
    predictions: Any, targets: Any, *, smooth: Any = 1.0, apply_sigmoid: bool = True
) -> Array:
    """``dice_loss`` of one class, with or without a last axis for it."""
    p, t = as_array(predictions), as_array(targets)
    if p.ndim == t.ndim and p.shape[-1] != 1:
        p, t = p[..., None], t[..., None]
    return dice_loss(p, t, smooth=smooth, apply_softmax=apply_sigmoid)


def multiclass_generalized_dice_loss(
    predictions: Any,
    targets: Any,
    *,
    smooth: Any = 1.0,
    apply_softmax: bool = True,
    ignore_background: bool = False,
) -> Array:
    """The mean ``dice_loss`` with classes weighted by 1 / their number of elements squared (Sudre
    et al., 2017).
    """
    p, t = _same_shapes("multiclass_generalized_dice_loss", predictions, targets)
    rare = 1.0 / (jnp.square(t.sum(tuple(range(t.ndim - 1)))) + 1e-7)
    weights = rare / rare.sum() * rare.shape[0]
    found = dice_loss(
        p, t, class_weights=weights, smooth=smooth, apply_softmax=apply_softmax,
        reduction="none", ignore_background=ignore_background,
    )  # fmt: skip
    return found.mean()  # type: ignore[no-any-return]


# ---- rankings and embeddings ---------------------------------------------------------------------


def ranking_softmax_loss(
    logits: Any,
    labels: Any,
    *,
    where: Any = None,
    weights: Any = None,
    reduce_fn: Callable[..., Any] | None = jnp.mean,
) -> Array:
    """-sum of labels * log softmax(logits) over each list, the last axis: ListNet (Cao et al.,
    2007). ``where``: which items there are; ``reduce_fn`` over lists, None for none.
    """
    x = _floating("ranking_softmax_loss", logits)
    y = as_array(labels).astype(x.dtype)
    if where is not None:
        y, x = jnp.where(where, y, 0), jnp.where(where, x, -jnp.inf)
    y = y if weights is None else y * as_array(weights).astype(x.dtype)
    logs = log_softmax(x, axis=-1)
    terms = y * (logs if where is None else jnp.where(where, logs, 0))
    loss = -terms.sum(-1)
    lists = None if where is None else jnp.any(as_array(where), -1)
    if reduce_fn is None:
        return loss if lists is None else jnp.where(lists, loss, 0.0)  # type: ignore[no-any-return]
    found = reduce_fn(loss, where=lists)
    if reduce_fn is jnp.mean:  # of no lists at all
        empty = jnp.isnan(found) & ~jnp.any(jnp.isnan(loss))
        found = jnp.where(empty, 0.0, found)
    return found  # type: ignore[no-any-return]


def ntxent(embeddings: Any, labels: Any, temperature: Any = 0.07) -> Array:
    """How far embeddings of one label are from each other, relative to others: the normalised
    temperature-scaled cross entropy (Chen et al., "SimCLR", 2020).
    """
    x, y = _floating("ntxent", embeddings), as_array(labels)
    if y.shape[0] != x.shape[0]:
        raise ShapeError(f"ntxent: {x.shape[0]} embeddings, {y.shape[0]} labels", at=here())
    eps = jnp.finfo(x.dtype).eps
    near = _nn.cosine_similarity(x[None], x[:, None], epsilon=eps) / temperature
    same = y[:, None] == y[None]
    pairs = same & ~jnp.eye(x.shape[0], dtype=bool)
    others = jnp.where(same, -jnp.inf, near)
    most = jnp.maximum(others, jnp.where(pairs, near, -jnp.inf)).max(1, keepdims=True)
    shifted = near - stop_gradient(most)
    apart = jnp.where(same, 0, jnp.exp(shifted)).sum(1, keepdims=True)
    total = jnp.where(pairs, jnp.exp(shifted) + apart, 1)
    found = jnp.where(pairs, shifted - jnp.log(total), 0)
    return -found.sum() / pairs.sum()  # type: ignore[no-any-return]


# ---- sparse choices ------------------------------------------------------------------------------


def sparsemax_loss(logits: Any, labels: Any) -> Array:
    """The loss whose minimiser is the sparse sigmoid, of binary labels (Martins and Astudillo,
    2016).
    """
    x = jnp.where(labels, -as_array(logits), logits)
    bend = jnp.square(jnp.clip(x, -1, 1) + 1) / 4
    return jnp.where(x < 1, bend, x)  # type: ignore[no-any-return]


def multiclass_sparsemax_loss(scores: Any, labels: Any) -> Array:
    """The loss of sparsemax, the projection to probabilities, for scores (batch, classes) and
    integer labels (Martins and Astudillo, 2016).
    """

    def one(x: Array, k: Array) -> Any:
        p = projection_simplex(x)
        above = jnp.where(p > 0, x - x[k], 0)
        return (p * above).sum() + 0.5 * (1 - (p * p).sum())

    return vmap(one)(jnp.asarray(scores), jnp.asarray(labels))  # type: ignore[no-any-return]


def make_fenchel_young_loss(max_fun: Callable[..., Any]) -> Callable[..., Array]:
    """The loss max_fun(scores) - <targets, scores> over the last axis, of a smooth maximum
    (Blondel, Martins and Niculae, 2020).

    >>> from tracejit.optim import losses
    >>> loss = losses.make_fenchel_young_loss(nn.logsumexp)  # softmax cross entropy
    >>> loss(jnp.array([1.0, 1.0]), jnp.array([1.0, 0.0])).round(3)
    Array(0.693, dtype=float32)
    """

    def loss(scores: Any, targets: Any, *args: Any, **kwargs: Any) -> Array:
        x, y = as_array(scores), as_array(targets)
        flat = x.reshape(-1, x.shape[-1])
        top = vmap(lambda row: max_fun(row, *args, **kwargs))(flat).reshape(x.shape[:-1])
        return top - (y * x).sum(-1)  # type: ignore[no-any-return]

    return loss


# ---- others --------------------------------------------------------------------------------------


def convex_kl_divergence(
    log_predictions: Any, targets: Any, axis: Any = -1, where: Any = None
) -> Array:
    """The older name of ``generalized_kl_divergence``."""
    return _nn.generalized_kl_divergence(log_predictions, targets, axis=axis, where=where)


def ctc_loss_with_forward_probs(
    logits: Any,
    logit_paddings: Any,
    labels: Any,
    label_paddings: Any,
    *,
    blank_id: int = 0,
    log_epsilon: Any = -100000.0,
) -> tuple[Array, Array, Array]:
    """``ctc_loss`` with the logarithms of its forward probabilities: of having emitted n labels and
    then a blank, (T, B, N + 1), and with label n as the last, (T, B, N) (Graves et al., 2006).
    """
    args = (logits, logit_paddings, labels, label_paddings)
    _nn.ctc_loss(*args, blank_id=blank_id, log_epsilon=log_epsilon)  # checks
    x, x_pad, y, y_pad = map(as_array, args)
    batch, count = y.shape
    logs = jnp.moveaxis(log_softmax(_floating("ctc_loss_with_forward_probs", x)), 1, 0)
    blank = logs[..., blank_id : blank_id + 1]
    emit = jnp.take_along_axis(logs, jnp.broadcast_to(y[None], (logs.shape[0], *y.shape)), axis=2)
    same = jnp.pad((y[:, :-1] == y[:, 1:]).astype(x.dtype), ((0, 0), (0, 1)))
    floor = as_array(log_epsilon).astype(x.dtype)

    def joined(phi: Array, more: Array) -> Any:
        return jnp.concatenate([phi[:, :1], jnp.logaddexp(phi[:, 1:], more)], -1)

    def step(state: Any, now: Any) -> Any:
        phi, last = state
        emitted, blanks, pad = now
        ready = joined(phi, last + floor * same)  # a label twice needs a blank in between
        next_last = jnp.logaddexp(ready[:, :-1], last) + emitted
        next_phi = joined(ready + blanks, last + blanks + floor * (1 - same))
        gone = pad[:, None] > 0.5
        state = jnp.where(gone, phi, next_phi), jnp.where(gone, last, next_last)
        return state, state

    begin = jnp.full((batch, count + 1), floor, dtype=x.dtype).at[:, 0].set(0.0)
    first = begin, jnp.full((batch, count), floor, dtype=x.dtype)
    _, (phi, last) = scan(step, first, (emit, blank, x_pad.T))
    end = joined(phi[-1], last[-1])
    phi = phi.at[-1].set(end)
    length = count - y_pad.sum(1).astype("int32")
    found = jnp.take_along_axis(end, length[:, None], axis=1)[:, 0]
    return -found, phi, last


__all__ = sorted(
    {
        *_nn.__all__,
        *("binary_dice_loss", "convex_kl_divergence", "ctc_loss_with_forward_probs", "dice_loss"),
        *("make_fenchel_young_loss", "multiclass_generalized_dice_loss", "ntxent"),
        *("multiclass_sparsemax_loss", "ranking_softmax_loss", "sparsemax_loss"),
    }
)

_errors.user_functions(globals())
