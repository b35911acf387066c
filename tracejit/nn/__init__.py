"""Functions of neural networks, with the names of ``jax.nn``; pooling and dropout besides.

>>> from tracejit import nn
>>> x, w = jnp.array([[1.0, -1.0]]), jnp.eye(2)
>>> nn.softmax(nn.relu(x @ w), axis=-1).round(3)
Array([[0.731, 0.269]], dtype=float32)
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.nn import initializers as initializers
from tracejit.nn.activations import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    identity,
    leaky_relu,
    log1mexp,
    log_sigmoid,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softplus,
    squareplus,
    swish,
    tanh,
)
from tracejit.nn.attention import dot_product_attention
from tracejit.nn.normalise import (
    dropout,
    log_softmax,
    logmeanexp,
    logsumexp,
    one_hot,
    softmax,
    standardize,
)
from tracejit.nn.pooling import avg_pool, max_pool, min_pool

# fmt: off
__all__ = [
    "avg_pool", "celu", "dot_product_attention", "dropout", "elu", "gelu", "glu", "hard_sigmoid",
    "hard_silu", "hard_swish", "hard_tanh", "identity", "initializers", "leaky_relu", "log1mexp",
    "log_sigmoid", "log_softmax", "logmeanexp", "logsumexp", "max_pool", "min_pool", "mish",
    "one_hot", "relu", "relu6", "selu", "sigmoid", "silu", "soft_sign", "softmax", "softplus",
    "squareplus", "standardize", "swish", "tanh",
]
# fmt: on

_errors.user_functions(globals())
