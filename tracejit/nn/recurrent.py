"""Recurrent layers: a plain one, LSTM and GRU; a cell for one step and a scan over time.

    params = nn.lstm_init(key, 64, 128)
    outputs, (h, c) = nn.lstm(params, x)                 x (..., time, 64), outputs (..., time, 128)

Gates have the order and formulas of PyTorch, side by side in one kernel:

    LSTM  i, f, g, o    c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c')
    GRU   r, z, n       n = tanh(n_x + sigmoid(r) n_h),  h' = (1 - sigmoid(z)) n + sigmoid(z) h

"kernel" (in, gates * hidden) is for the input, "recurrent" (hidden, gates * hidden) for the state,
"bias" (gates * hidden,) is added to the gates; GRU has a "recurrent_bias" (hidden,) in n_h besides.
From PyTorch: the transposed weight_ih and weight_hh, bias_ih + bias_hh for "bias", but for GRU's n,
whose bias_hh is "recurrent_bias". In Flax the state of an LSTM is (c, h), here (h, c).

The product of all inputs with the kernel is one, before the scan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit import random
from tracejit.errors import ShapeError
from tracejit.frontend import creation, promotion, shaping
from tracejit.frontend import elementwise as ew
from tracejit.frontend import linear as products
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.promotion import to_inexact
from tracejit.lax.loops import scan
from tracejit.nn import initializers
from tracejit.nn.activations import sigmoid
from tracejit.nn.layers import Params, parameter, shifted, size
from tracejit.source import here

_KERNEL = initializers.lecun_normal()
_RECURRENT = initializers.orthogonal()
Step = Callable[[Params, Any, Any], tuple[Any, Any]]


def _init(
    name: str,
    gates: int,
    key: Any,
    in_features: Any,
    hidden: Any,
    bias: bool,
    dtype: Any,
    kernel_init: Any,
    recurrent_init: Any,
) -> Params:
    n, h = size(name, "in_features", in_features), size(name, "hidden_features", hidden)
    keys = random.split(key, 1 + gates)
    squares = [recurrent_init(keys[1 + k], (h, h), dtype) for k in range(gates)]
    params = {
        "kernel": kernel_init(keys[0], (n, gates * h), dtype),
        "recurrent": shaping.concatenate(squares, 1),
    }
    return {**params, "bias": creation.zeros(gates * h, dtype)} if bias else params


def rnn_init(
    key: Any,
    in_features: int,
    hidden_features: int,
    *,
    bias: bool = True,
    dtype: Any = None,
    kernel_init: Any = _KERNEL,
    recurrent_init: Any = _RECURRENT,
) -> Params:
    """Parameters of ``rnn``: h' = tanh(x kernel + h recurrent + bias) (Elman, 1990)."""
    return _init(
        "rnn", 1, key, in_features, hidden_features, bias, dtype, kernel_init, recurrent_init
    )


def lstm_init(
    key: Any,
    in_features: int,
    hidden_features: int,
    *,
    bias: bool = True,
    dtype: Any = None,
    kernel_init: Any = _KERNEL,
    recurrent_init: Any = _RECURRENT,
) -> Params:
    """Parameters of ``lstm``, four gates side by side; recurrent kernels are orthogonal.

    >>> {name: p.shape for name, p in nn.lstm_init(random.key(0), 3, 5).items()}
    {'kernel': (3, 20), 'recurrent': (5, 20), 'bias': (20,)}
    """
    return _init(
        "lstm", 4, key, in_features, hidden_features, bias, dtype, kernel_init, recurrent_init
    )


def gru_init(
    key: Any,
    in_features: int,
    hidden_features: int,
    *,
    bias: bool = True,
    dtype: Any = None,
    kernel_init: Any = _KERNEL,
    recurrent_init: Any = _RECURRENT,
) -> Params:
    """Parameters of ``gru``, three gates side by side."""
    params = _init(
        "gru", 3, key, in_features, hidden_features, bias, dtype, kernel_init, recurrent_init
    )
    if bias:
        params["recurrent_bias"] = creation.zeros(hidden_features, dtype)
    return params


# ---- one step, from the product of the input on --------------------------------------------------


def _parts(gates: Any, count: int) -> list[Any]:
    width = gates.shape[-1] // count
    return [shaping.cut(gates, gates.ndim - 1, k * width, (k + 1) * width) for k in range(count)]


def _rnn_step(params: Params, h: Any, gates: Any) -> tuple[Any, Any]:
    h = ew.tanh(ew.add(gates, products.matmul(h, params["recurrent"])))
    return h, h


def _lstm_step(params: Params, state: Any, gates: Any) -> tuple[Any, Any]:
    h, c = state
    i, f, g, o = _parts(ew.add(gates, products.matmul(h, params["recurrent"])), 4)
    c = ew.add(ew.multiply(sigmoid(f), c), ew.multiply(sigmoid(i), ew.tanh(g)))
    h = ew.multiply(sigmoid(o), ew.tanh(c))
    return (h, c), h


def _gru_step(params: Params, h: Any, gates: Any) -> tuple[Any, Any]:
    r, z, n = _parts(gates, 3)
    r_h, z_h, n_h = _parts(products.matmul(h, params["recurrent"]), 3)
    if "recurrent_bias" in params:
        n_h = ew.add(n_h, params["recurrent_bias"])
    n = ew.tanh(ew.add(n, ew.multiply(sigmoid(ew.add(r, r_h)), n_h)))
    z = sigmoid(ew.add(z, z_h))
    h = ew.add(ew.multiply(ew.subtract(1.0, z), n), ew.multiply(z, h))
    return h, h


_STATES = {"rnn": 1, "lstm": 2, "gru": 1}
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}
_STEPS: dict[str, Step] = {"rnn": _rnn_step, "lstm": _lstm_step, "gru": _gru_step}


def _projected(name: str, params: Params, x: Any, axes: int) -> tuple[Array, int]:
    """The gates' share of the input, and the number of hidden features."""
    kernel = parameter(name, params, "kernel")
    recurrent = parameter(name, params, "recurrent")
    x = to_inexact(x)
    hidden = recurrent.shape[0]
    wide = _GATES[name] * hidden
    if kernel.shape[-1:] != (wide,) or recurrent.shape[-1:] != (wide,):
        raise ShapeError(
            f"{name}: kernel {kernel.type} and recurrent {recurrent.type} do not have "
            f"{_GATES[name]} gates",
            at=here(),
        )
    if x.ndim < axes or x.shape[-1] != kernel.shape[0]:
        what = "(..., time, features)" if axes == 2 else "(..., features)"
        raise ShapeError(
            f"{name}: the kernel {kernel.type} takes {what} with {kernel.shape[0]} features, not "
            f"{x.type}",
            at=here(),
        )
    return shifted(params, products.matmul(x, kernel)), hidden


def _state(name: str, given: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The state to begin with: zeros where none is given."""
    count = _STATES[name]
    if given is None:
        zero = creation.zeros(shape, dtype)
        return zero if count == 1 else (zero,) * count
    parts = (given,) if count == 1 else tuple(given)
    arrays = [as_array(part) for part in parts]
    if len(arrays) != count or any(a.shape != shape for a in arrays):
        shown = ", ".join(str(a.type) for a in arrays)
        raise ShapeError(
            f"{name}: the state has {count} array(s) of shape {shape}, not {shown}", at=here()
        )
    found = tuple(promotion.convert(a, dtype) for a in arrays)
    return found[0] if count == 1 else found


def _cell(name: str, params: Params, state: Any, x: Any) -> tuple[Any, Array]:
    gates, hidden = _projected(name, params, x, 1)
    state = _state(name, state, (*gates.shape[:-1], hidden), gates.dtype)
    return _STEPS[name](params, state, gates)


def rnn_cell(params: Params, state: Any, x: Any) -> tuple[Any, Array]:
    """One step of ``rnn``: gives (state, output), both h (..., hidden)."""
    return _cell("rnn", params, state, x)


def lstm_cell(params: Params, state: Any, x: Any) -> tuple[Any, Array]:
    """One step of ``lstm``: from the state (h, c) and x (..., features) to ((h, c), h); the form of
    a body of ``scan``. None as the state is zeros.
    """
    return _cell("lstm", params, state, x)


def gru_cell(params: Params, state: Any, x: Any) -> tuple[Any, Array]:
    """One step of ``gru``: gives (state, output), both h (..., hidden)."""
    return _cell("gru", params, state, x)


# ---- all steps -----------------------------------------------------------------------------------


def _over_time(
    name: str, params: Params, x: Any, initial: Any, reverse: bool, mask: Any
) -> tuple[Array, Any]:
    gates, hidden = _projected(name, params, x, 2)
    lead = gates.shape[:-2]
    state = _state(name, initial, (*lead, hidden), gates.dtype)
    time = gates.ndim - 2
    step = _STEPS[name]
    steps = shaping.moveaxis(gates, time, 0)
    if mask is None:
        state, ys = scan(lambda s, g: step(params, s, g), state, steps, reverse=reverse)
        return shaping.moveaxis(ys, 0, time), state
    flags = as_array(mask)
    if flags.shape != (*lead, gates.shape[time]):
        raise ShapeError(
            f"{name}: the mask {flags.type} does not have the shape "
            f"{(*lead, gates.shape[time])} of batch and time",
            at=here(),
        )

    def body(s: Any, now: Any) -> tuple[Any, Any]:
        g, flag = now
        flag = shaping.expand_dims(flag, -1)
        new, y = step(params, s, g)
        if _STATES[name] == 1:
            return ew.select(flag, new, s), ew.select(flag, y, 0)
        kept = tuple(ew.select(flag, a, b) for a, b in zip(new, s, strict=True))
        return kept, ew.select(flag, y, 0)

    flags = shaping.moveaxis(flags, -1, 0)
    state, ys = scan(body, state, (steps, flags), reverse=reverse)
    return shaping.moveaxis(ys, 0, time), state


def rnn(
    params: Params, x: Any, initial: Any = None, *, reverse: bool = False, mask: Any = None
) -> tuple[Array, Any]:
    """A plain recurrent layer over ``x`` (..., time, features): outputs (..., time, hidden) and the
    last state. Arguments are those of ``lstm``.
    """
    return _over_time("rnn", params, x, initial, reverse, mask)


def lstm(
    params: Params, x: Any, initial: Any = None, *, reverse: bool = False, mask: Any = None
) -> tuple[Array, Any]:
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) over ``x`` (..., time, features):
    outputs (..., time, hidden) and the last state (h, c).

    ``initial``: the state to begin with, zeros by default. ``reverse``: from the last step to the
    first, outputs in their places. ``mask`` (..., time): where it is false the state stays and the
    output is zero. Raises ShapeError where sizes do not fit.

    >>> params = nn.lstm_init(random.key(0), 3, 5)
    >>> outputs, (h, c) = nn.lstm(params, jnp.ones((2, 7, 3)))
    >>> outputs.shape, h.shape
    ((2, 7, 5), (2, 5))
    """
    return _over_time("lstm", params, x, initial, reverse, mask)


def gru(
    params: Params, x: Any, initial: Any = None, *, reverse: bool = False, mask: Any = None
) -> tuple[Array, Any]:
    """Gated recurrent units (Cho et al., 2014) over ``x`` (..., time, features): outputs (...,
    time, hidden) and the last state. Arguments are those of ``lstm``.
    """
    return _over_time("gru", params, x, initial, reverse, mask)


def bidirectional(
    layer: Callable[..., tuple[Array, Any]],
    forward: Params,
    backward: Params,
    x: Any,
    initial: Any = (None, None),
    *,
    mask: Any = None,
) -> tuple[Array, tuple[Any, Any]]:
    """``layer`` (rnn, lstm or gru) in both directions: outputs side by side, and both states.

    >>> keys = random.split(random.key(0))
    >>> params = [nn.gru_init(k, 3, 5) for k in keys]
    >>> nn.bidirectional(nn.gru, *params, jnp.ones((2, 7, 3)))[0].shape
    (2, 7, 10)
    """
    there, first = layer(forward, x, initial[0], mask=mask)
    back, second = layer(backward, x, initial[1], reverse=True, mask=mask)
    return shaping.concatenate([there, back], -1), (first, second)
