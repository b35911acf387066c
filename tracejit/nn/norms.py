"""Normalisation layers: batch, layer, group, instance and RMS.

    params = nn.layer_norm_init(128)
    y = nn.layer_norm(params, x)
    params, state = nn.batch_norm_init(64)
    y, state = nn.batch_norm(params, state, x, training=True)

Parameters are {"scale", "bias"}, either may be missing; an empty dict only normalises. Features
come last. Moments of float16 and bfloat16 are taken in float32.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend import creation, promotion, reductions
from tracejit.frontend import elementwise as ew
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import axis_number
from tracejit.frontend.custom import stop_gradient
from tracejit.frontend.promotion import convert, reshaped, to_inexact
from tracejit.ir.types import DTYPES
from tracejit.nn.layers import Params, size
from tracejit.ops import powers
from tracejit.source import here


def _scale_and_bias(name: str, features: Any, scale: bool, bias: bool, dtype: Any) -> Params:
    count = size(name, "features", features)
    params = {"scale": creation.ones(count, dtype)} if scale else {}
    return {**params, "bias": creation.zeros(count, dtype)} if bias else params


def _wide(x: Array) -> Any:
    """What moments are taken in."""
    return DTYPES["f32"] if x.dtype.itemsize == 2 else x.dtype


def _checked(name: str, params: Any, x: Any, axis: int) -> tuple[Array, int]:
    """``x`` and the axis of its features, to which the parameters must fit."""
    x = to_inexact(x)
    number = axis_number(name, axis, x.ndim)
    if not isinstance(params, dict):
        raise ArgumentError(
            f"{name}: parameters are a dict, not a {type(params).__name__}", at=here()
        )
    for key in ("scale", "bias"):
        if key in params and as_array(params[key]).shape != (x.shape[number],):
            raise ShapeError(
                f"{name}: {key} {as_array(params[key]).type} does not fit the "
                f"{x.shape[number]} features of {x.type}",
                at=here(),
            )
    return x, number


def _along(value: Any, x: Array, number: int) -> Any:
    """A vector over the features, broadcastable to ``x``."""
    value = as_array(value)
    return reshaped(value, (value.shape[0], *(1,) * (x.ndim - 1 - number)))


def _finished(params: Params, y: Any, x: Array, number: int) -> Array:
    """scale * y + bias, in the dtype that ``x`` and they have together."""
    found, like = y, [x]
    if "scale" in params:
        found = ew.multiply(found, _along(params["scale"], x, number))
        like.append(as_array(params["scale"]))
    if "bias" in params:
        found = ew.add(found, _along(params["bias"], x, number))
        like.append(as_array(params["bias"]))
    return convert(found, promotion.dtype_of(like)[0])  # type: ignore[no-any-return]


def _standard(x: Any, axes: tuple[int, ...], epsilon: Any) -> Any:
    mean = reductions.mean(x, axes, keepdims=True)
    centred = ew.subtract(x, mean)
    variance = reductions.mean(ew.square(centred), axes, keepdims=True)
    return ew.multiply(centred, ew.run(powers.rsqrt, ew.add(variance, epsilon)))


def layer_norm_init(
    features: int, *, scale: bool = True, bias: bool = True, dtype: Any = None
) -> Params:
    """Parameters of ``layer_norm``, ``group_norm`` and ``instance_norm``: "scale" ones and "bias"
    zeros, of shape (features,).
    """
    return _scale_and_bias("layer_norm", features, scale, bias, dtype)


group_norm_init = layer_norm_init
instance_norm_init = layer_norm_init


def layer_norm(params: Params, x: Any, *, epsilon: Any = 1e-5, axis: int = -1) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, moments over ``axis`` (Ba, Kiros and
    Hinton, 2016).

    Raises ShapeError where the parameters do not fit.

    >>> nn.layer_norm({}, jnp.array([1.0, 3.0]), epsilon=0.0)
    Array([-1.,  1.], dtype=float32)
    """
    x, number = _checked("layer_norm", params, x, axis)
    y = _standard(convert(x, _wide(x)), (number,), epsilon)
    return _finished(params, y, x, number)


def rms_norm_init(features: int, *, dtype: Any = None) -> Params:
    """Parameters of ``rms_norm``: "scale" ones, of shape (features,)."""
    return _scale_and_bias("rms_norm", features, True, False, dtype)


def rms_norm(params: Params, x: Any, *, epsilon: Any = 1e-6, axis: int = -1) -> Array:
    """x / sqrt(mean(x**2) + epsilon) * scale (Zhang and Sennrich, 2019).

    >>> nn.rms_norm({}, jnp.array([3.0, 4.0, 0.0, 0.0]), epsilon=0.0)
    Array([1.2, 1.6, 0. , 0. ], dtype=float32)
    """
    x, number = _checked("rms_norm", params, x, axis)
    wide = convert(x, _wide(x))
    square = reductions.mean(ew.square(wide), (number,), keepdims=True)
    y = ew.multiply(wide, ew.run(powers.rsqrt, ew.add(square, epsilon)))
    return _finished(params, y, x, number)


def group_norm(
    params: Params, x: Any, groups: int, *, epsilon: Any = 1e-5, axis: int = -1
) -> Array:
    """Moments over all axes but the first, for each of ``groups`` groups of features (Wu and He,
    2018).

    ``x`` has a batch axis, its first. Raises ArgumentError where the features are not divisible.

    >>> nn.group_norm({}, jnp.array([[1.0, 3.0, 10.0, 30.0]]), 2, epsilon=0.0)
    Array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    x, number = _checked("group_norm", params, x, axis)
    count = size("group_norm", "groups", groups)
    features = x.shape[number]
    if x.ndim < 2 or number == 0:
        raise ShapeError(f"group_norm: {x.type} has no batch axis before its features", at=here())
    if features % count:
        raise ArgumentError(
            f"group_norm: {features} features are not divisible by groups {count}", at=here()
        )
    shape = (*x.shape[:number], count, features // count, *x.shape[number + 1 :])
    grouped = reshaped(convert(x, _wide(x)), shape)
    axes = tuple(k for k in range(1, len(shape)) if k != number)
    y = reshaped(_standard(grouped, axes, epsilon), x.shape)
    return _finished(params, y, x, number)


def instance_norm(params: Params, x: Any, *, epsilon: Any = 1e-5, axis: int = -1) -> Array:
    """Moments over the spatial axes, for each example and feature (Ulyanov et al., 2016)."""
    x, number = _checked("instance_norm", params, x, axis)
    axes = tuple(k for k in range(1, x.ndim) if k != number)
    if not axes:
        raise ShapeError(f"instance_norm: {x.type} has no spatial axes", at=here())
    return _finished(params, _standard(convert(x, _wide(x)), axes, epsilon), x, number)


def batch_norm_init(
    features: int, *, scale: bool = True, bias: bool = True, dtype: Any = None
) -> tuple[Params, Params]:
    """Parameters and state of ``batch_norm``: {"scale", "bias"} and the running {"mean", "var"}."""
    params = _scale_and_bias("batch_norm", features, scale, bias, dtype)
    state = {"mean": creation.zeros(features, dtype), "var": creation.ones(features, dtype)}
    return params, state


def batch_norm(
    params: Params,
    state: Params,
    x: Any,
    *,
    training: bool,
    momentum: Any = 0.99,
    epsilon: Any = 1e-5,
    axis: Any = -1,
) -> tuple[Array, Params]:
    """Moments over all axes but that of the features (Ioffe and Szegedy, 2015); gives the result
    and the next state.

    ``training``: use the moments of this batch, and move the running ones towards them: momentum *
    running + (1 - momentum) * batch, where the variance is the mean square (not n - 1). Else use
    the running ones, and the state stays. PyTorch's ``momentum`` is 1 minus this one.

    >>> params, state = nn.batch_norm_init(1)
    >>> y, state = nn.batch_norm(params, state, jnp.array([[1.0], [3.0]]), training=True)
    >>> y.ravel().round(3), state["mean"]
    (Array([-1.,  1.], dtype=float32), Array([0.02], dtype=float32))
    """
    x, number = _checked("batch_norm", params, x, axis)
    if not isinstance(state, dict) or not {"mean", "var"} <= set(state):
        raise ArgumentError(
            "batch_norm: the state has 'mean' and 'var'", at=here(), hint="from nn.batch_norm_init"
        )
    if as_array(state["mean"]).shape != (x.shape[number],):
        raise ShapeError(
            f"batch_norm: the state {as_array(state['mean']).type} does not fit the "
            f"{x.shape[number]} features of {x.type}",
            at=here(),
        )
    wide = convert(x, _wide(x))
    if not training:
        mean, variance = (convert(_along(state[k], x, number), wide.dtype) for k in ("mean", "var"))
        y = ew.multiply(ew.subtract(wide, mean), ew.run(powers.rsqrt, ew.add(variance, epsilon)))
        return _finished(params, y, x, number), state
    axes = tuple(k for k in range(x.ndim) if k != number)
    if not prod(x.shape[k] for k in axes):
        raise ShapeError(f"batch_norm: {x.type} has no examples to train on", at=here())
    mean = reductions.mean(wide, axes, keepdims=True)
    centred = ew.subtract(wide, mean)
    variance = reductions.mean(ew.square(centred), axes, keepdims=True)
    y = ew.multiply(centred, ew.run(powers.rsqrt, ew.add(variance, epsilon)))
    found = {"mean": mean, "var": variance}
    return _finished(params, y, x, number), {
        name: _moved(state[name], found[name], momentum) for name in state if name in found
    }


def _moved(running: Any, batch: Any, momentum: Any) -> Any:
    """The next running moment, a constant of differentiation."""
    running = as_array(running)
    new = convert(reshaped(stop_gradient(batch), running.shape), running.dtype)
    return ew.add(ew.multiply(momentum, running), ew.multiply(1.0 - momentum, new))
