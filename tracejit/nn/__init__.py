"""Functions of neural networks, with the names of ``jax.nn``; layers with parameters, pooling,
dropout and losses besides.

>>> from tracejit import nn
>>> x, w = jnp.array([[1.0, -1.0]]), jnp.eye(2)
>>> nn.softmax(nn.relu(x @ w), axis=-1).round(3)
Array([[0.731, 0.269]], dtype=float32)

A layer is a pair of functions: ``linear_init(key, ...)`` gives a dict of parameters and
``linear(params, x)`` computes. ``nn.layers`` says more on the convention.

>>> params = nn.linear_init(random.key(0), 4, 2)
>>> nn.linear(params, jnp.ones((3, 4))).shape
(3, 2)
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.frontend import eager as _eager
from tracejit.nn import initializers as initializers
from tracejit.nn import losses as losses
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
    sparse_plus,
    sparse_sigmoid,
    squareplus,
    swish,
    tanh,
)
from tracejit.nn.attention import dot_product_attention
from tracejit.nn.layers import (
    conv,
    conv_init,
    conv_transpose,
    conv_transpose_init,
    embedding,
    embedding_init,
    linear,
    linear_init,
)
from tracejit.nn.multihead import (
    multi_head_attention,
    multi_head_attention_cache,
    multi_head_attention_init,
    multi_head_attention_step,
    rotary_embedding,
)
from tracejit.nn.normalise import (
    dropout,
    log_softmax,
    logmeanexp,
    logsumexp,
    one_hot,
    softmax,
    standardize,
)
from tracejit.nn.norms import (
    batch_norm,
    batch_norm_init,
    group_norm,
    group_norm_init,
    instance_norm,
    instance_norm_init,
    layer_norm,
    layer_norm_init,
    rms_norm,
    rms_norm_init,
)
from tracejit.nn.pooling import avg_pool, max_pool, min_pool
from tracejit.nn.recurrent import (
    bidirectional,
    gru,
    gru_cell,
    gru_init,
    lstm,
    lstm_cell,
    lstm_init,
    rnn,
    rnn_cell,
    rnn_init,
)

# fmt: off
__all__ = [
    "avg_pool", "batch_norm", "batch_norm_init", "bidirectional", "celu", "conv", "conv_init",
    "conv_transpose", "conv_transpose_init", "dot_product_attention", "dropout", "elu", "embedding",
    "embedding_init", "gelu", "glu", "group_norm", "group_norm_init", "gru", "gru_cell", "gru_init",
    "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "identity", "initializers",
    "instance_norm", "instance_norm_init", "layer_norm", "layer_norm_init", "leaky_relu", "linear",
    "linear_init", "log1mexp", "log_sigmoid", "log_softmax", "logmeanexp", "logsumexp", "losses",
    "lstm", "lstm_cell", "lstm_init", "max_pool", "min_pool", "mish", "multi_head_attention",
    "multi_head_attention_cache", "multi_head_attention_init", "multi_head_attention_step",
    "one_hot", "relu", "relu6", "rms_norm", "rms_norm_init", "rnn", "rnn_cell", "rnn_init",
    "rotary_embedding", "selu", "sigmoid", "silu", "soft_sign", "softmax", "softplus",
    "sparse_plus", "sparse_sigmoid", "squareplus", "standardize", "swish", "tanh",
]
# fmt: on

_errors.user_functions(globals(), _eager.remembering())
