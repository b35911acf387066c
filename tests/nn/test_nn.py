"""Activations, softmax and its relatives, attention, pooling, dropout."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tracejit import grad, jit, nn, random, vmap
from tracejit import numpy as jnp
from tracejit.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(2)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X = np.concatenate([draw(40) * 3, [0, 1, -1, 6, -3, 3]]).astype(np.float32)


def close(found, wanted, tolerance=1e-5):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, tolerance, tolerance)


def erf(x):
    return np.array([math.erf(v) for v in x])


def sig(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def negative_part(x, alpha=1.0):
    return alpha * np.expm1(np.minimum(x, 0) / alpha)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": sig,
    "softplus": lambda x: np.logaddexp(x, 0),
    "soft_sign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x * sig(x),
    "swish": lambda x: x * sig(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "log_sigmoid": lambda x: -np.logaddexp(-x, 0),
    "leaky_relu": lambda x: np.where(x >= 0, x, 0.01 * x),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "elu": lambda x: np.where(x > 0, x, negative_part(x)),
    "celu": lambda x: np.where(x > 0, x, negative_part(x)),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * negative_part(x))
    ),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2,
    "tanh": np.tanh,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    function, wanted = getattr(nn, name), ACTIVATIONS[name]
    close(function(X), wanted(X))
    close(jit(function)(X), wanted(X))
    assert function(X).dtype == np.float32
    assert np.isnan(float(function(np.float32(np.nan))))
    smooth = X[np.abs(X - np.round(X)) > 0.05].astype(np.float64)
    slope = (wanted(smooth + 1e-5) - wanted(smooth - 1e-5)) / 2e-5
    close(vmap(grad(function))(smooth), slope, 1e-4)


def test_derivatives_at_kinks():
    assert grad(nn.relu)(0.0) == 0
    assert grad(nn.relu6)(6.0) == 0
    assert grad(nn.softplus)(0.0) == 0.5
    assert grad(grad(nn.softplus))(0.0) == 0.25
    assert grad(nn.leaky_relu)(0.0) == 1
    assert nn.relu(np.array([-1, 2])).tolist() == [0, 2]


def test_large_arguments():
    far = np.array([-1e4, 1e4], np.float32)
    assert nn.softplus(far).tolist() == [0, 1e4]
    assert vmap(grad(nn.softplus))(far).tolist() == [0, 1]
    assert vmap(grad(nn.elu))(far).tolist() == [0, 1]
    assert nn.log_sigmoid(far).tolist() == [-1e4, 0]


def test_gelu_exact_glu_log1mexp():
    close(nn.gelu(X, approximate=False), 0.5 * X * (1 + erf(X / math.sqrt(2))))
    x = draw(3, 4)
    close(nn.glu(x), x[:, :2] * sig(x[:, 2:]))
    close(nn.log1mexp(np.float64([1e-10, 0.5, 30])), np.log(-np.expm1([-1e-10, -0.5, -30.0])))
    with pytest.raises(ShapeError, match="cannot be halved"):
        nn.glu(draw(3))


def numpy_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("axis", [-1, 0, (0, 1)])
def test_softmax(axis):
    x, w = draw(3, 5), draw(3, 5)
    wanted = numpy_softmax(x, axis)
    for wrap in (lambda f: f, jit):
        close(wrap(lambda x: nn.softmax(x, axis))(x), wanted)
        close(wrap(lambda x: nn.log_softmax(x, axis))(x), np.log(wanted))
        close(wrap(lambda x: nn.logsumexp(x, axis))(x), np.log(np.exp(x).sum(axis)))
        found = wrap(grad(lambda x: (nn.softmax(x, axis) * w).sum()))(x)
        close(found, wanted * (w - (wanted * w).sum(axis, keepdims=True)))
        found = wrap(grad(lambda x: (nn.log_softmax(x, axis) * w).sum()))(x)
        close(found, w - wanted * w.sum(axis, keepdims=True))
        close(wrap(grad(lambda x: nn.logsumexp(x, axis).sum()))(x), wanted)


def test_softmax_does_not_overflow_and_differentiates_twice():
    x = np.array([1e4, 0, -1e4], np.float32)
    assert nn.softmax(x).tolist() == [1, 0, 0]
    assert nn.log_softmax(x).tolist() == [0, -1e4, -2e4]
    assert float(nn.logsumexp(x)) == 1e4
    assert float(nn.logsumexp(np.array([-np.inf, -np.inf], np.float32))) == -np.inf
    second = grad(lambda v: grad(lambda u: nn.softmax(u)[0])(v)[0])(np.zeros(2))
    close(second, [0, 0])


def test_masked_rows():
    x, where = draw(2, 4), np.array([[True, True, False, True], [True, False, False, True]])
    masked = np.where(where, x, -np.inf)
    close(nn.softmax(x, where=where), numpy_softmax(masked))
    close(nn.logsumexp(x, 1, where=where), np.log(np.exp(masked).sum(1)))
    close(nn.logmeanexp(x, 1, where=where), np.log(np.exp(masked).sum(1) / where.sum(1)))
    assert nn.log_softmax(x, where=where)[0, 2] == -np.inf


def test_logsumexp_with_weights_and_sign():
    x, b = draw(2, 4), draw(2, 4)
    total = (b * np.exp(x)).sum(1)
    value, sign = nn.logsumexp(x, 1, b=b, return_sign=True)
    close(value, np.log(np.abs(total)), 1e-4)
    assert sign.tolist() == np.sign(total).tolist()
    close(
        nn.logsumexp(x, 1, b=np.abs(b), keepdims=True)[:, 0], np.log((np.abs(b) * np.exp(x)).sum(1))
    )


def test_standardize_and_one_hot():
    x = draw(4, 6) * 5 + 100
    wanted = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    close(nn.standardize(x), wanted, 1e-3)
    assert nn.one_hot(np.array([0, 2, 5, -1]), 3).tolist() == [
        [1, 0, 0],
        [0, 0, 1],
        [0] * 3,
        [0] * 3,
    ]
    assert nn.one_hot(np.array([0, 1]), 3, axis=0, dtype=int).tolist() == [[1, 0], [0, 1], [0, 0]]


def attention(q, k, v, allowed=None):
    k, v = (np.repeat(x, q.shape[2] // k.shape[2], 2) for x in (k, v))
    logits = np.einsum("btnh,bsnh->bnts", q, k) / math.sqrt(q.shape[-1])
    if allowed is not None:
        logits = np.where(allowed, logits, -1e30)
    return np.einsum("bnts,bsnh->btnh", numpy_softmax(logits), v)


@pytest.mark.parametrize("groups", [4, 2, 1])
def test_attention(groups):
    q, k, v = draw(2, 5, 4, 8), draw(2, 7, groups, 8), draw(2, 7, groups, 8)
    row, column = np.arange(5)[:, None], np.arange(7)
    close(nn.dot_product_attention(q, k, v), attention(q, k, v))
    close(jit(nn.dot_product_attention)(q, k, v), attention(q, k, v))
    causal = nn.dot_product_attention(q, k, v, is_causal=True)
    close(causal, attention(q, k, v, column <= row))
    near = nn.dot_product_attention(q, k, v, local_window_size=(2, 1))
    close(near, attention(q, k, v, (column >= row - 2) & (column <= row + 1)))
    mask = draw(2, 1, 5, 7) > -1
    close(nn.dot_product_attention(q, k, v, mask=mask), attention(q, k, v, mask))
    lengths = np.array([3, 7], np.int32)
    padded = nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths)
    close(padded, attention(q, k, v, column < lengths[:, None, None, None]))
    assert not np.asarray(nn.dot_product_attention(q, k, v, query_seq_lengths=lengths))[0, 3:].any()
    close(nn.dot_product_attention(q[0], k[0], v[0]), attention(q, k, v)[0])


def test_attention_gradient_and_errors():
    q, k, v = draw(1, 3, 2, 4), draw(1, 3, 2, 4), draw(1, 3, 2, 4)
    f = lambda v: nn.dot_product_attention(q, k, v, is_causal=True).sum()  # noqa: E731
    total = np.asarray(grad(f)(v)).sum()
    close(total, 3 * 2 * 4)  # the weights of each row sum to one
    with pytest.raises(ShapeError, match="do not fit"):
        nn.dot_product_attention(q, draw(1, 3, 2, 5), v)
    with pytest.raises(ArgumentError, match="not known"):
        nn.dot_product_attention(q, k, v, implementation="flash")


def test_pooling():
    x = draw(2, 4, 6, 3)
    blocks = x.reshape(2, 2, 2, 3, 2, 3)
    close(nn.max_pool(x, 2), blocks.max((2, 4)))
    close(nn.min_pool(x, (2, 2)), blocks.min((2, 4)))
    close(nn.avg_pool(x, 2), blocks.mean((2, 4)))
    first = nn.avg_pool(x.transpose(0, 3, 1, 2), 2, axes=(2, 3))
    close(first, blocks.mean((2, 4)).transpose(0, 3, 1, 2))
    ones = np.ones((1, 5, 5, 1), np.float32)
    close(nn.avg_pool(ones, 3, 2, "SAME"), np.ones((1, 3, 3, 1)))
    corner = nn.avg_pool(ones, 3, 2, "SAME", count_include_pad=True)[0, 0, 0, 0]
    close(corner, 4 / 9)
    close(nn.max_pool(draw(1, 3, 3, 1) - 100, 3, 1, ((1, 1), (1, 1))).max() < 0, True)
    with pytest.raises(ArgumentError, match="one entry for each"):
        nn.max_pool(x, (2, 2, 2))


def test_dropout():
    key, x = random.key(0), np.ones((100, 100), np.float32)
    found = np.asarray(nn.dropout(key, x, 0.25))
    assert set(np.unique(found)) == {np.float32(0), np.float32(1) / np.float32(0.75)}
    assert abs(found.mean() - 1) < 0.05
    slope = grad(lambda x: nn.dropout(key, x, 0.25).sum())(x)
    np.testing.assert_array_equal(np.asarray(slope), found)
    assert nn.dropout(key, x, 0.25, deterministic=True).tolist() == x.tolist()
    assert not np.asarray(nn.dropout(key, x, 1.0)).any()
    assert np.asarray(jit(lambda r: nn.dropout(key, x, r))(0.25)).tolist() == found.tolist()
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        nn.dropout(key, x, 1.5)


def test_mean_of_a_batch_of_losses_compiles():
    """A classifier's loss and gradient, jitted, equal the un-jitted ones."""
    w, x, labels = draw(4, 3), draw(5, 4), np.array([0, 1, 2, 1, 0])

    def loss(w):
        logits = nn.log_softmax(nn.gelu(x @ w))
        return -(logits * nn.one_hot(labels, 3)).sum() / 5

    close(jit(loss)(w), loss(w))
    close(jit(grad(loss))(w), grad(loss)(w))
    assert jnp.isfinite(loss(w))
