"""Layers beyond the cases of tests/vocabulary/nn.py: what init makes, narrow dtypes, attention
against PyTorch, caches, masks of time, losses against optax, and nets that learn.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from tracejit import grad, jit, lax, nn, optim, random, tree, value_and_grad, vmap
from tracejit import numpy as jnp
from tracejit.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(8)
KEY = random.key(3)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def close(found, wanted, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), tolerance, tolerance)


# ---- parameters ----------------------------------------------------------------------------------


def test_what_init_makes():
    made = {
        "linear": nn.linear_init(KEY, 100, 50, dtype="float64"),
        "bare": nn.linear_init(KEY, 3, 4, bias=False),
        "embedding": nn.embedding_init(KEY, 50, 16),
        "conv": nn.conv_init(KEY, 4, 8, (3, 5), groups=2),
        "line": nn.conv_transpose_init(KEY, 4, 8, 3),
        "lstm": nn.lstm_init(KEY, 3, 5),
        "gru": nn.gru_init(KEY, 3, 5),
        "rnn": nn.rnn_init(KEY, 3, 5, bias=False),
        "norm": nn.layer_norm_init(4, bias=False),
        "rms": nn.rms_norm_init(4),
        "heads": nn.multi_head_attention_init(KEY, 8, 4, key_heads=2, bias=False),
    }
    shapes = tree.map(lambda x: x.shape, made)
    assert shapes["linear"] == {"kernel": (100, 50), "bias": (50,)}
    assert shapes["bare"] == {"kernel": (3, 4)} and shapes["embedding"] == {"embedding": (50, 16)}
    assert shapes["conv"] == {"kernel": (3, 5, 2, 8), "bias": (8,)}
    assert shapes["line"]["kernel"] == (3, 4, 8) and shapes["norm"] == {"scale": (4,)}
    assert shapes["lstm"] == {"kernel": (3, 20), "recurrent": (5, 20), "bias": (20,)}
    assert shapes["gru"]["recurrent_bias"] == (5,) and "bias" not in shapes["rnn"]
    assert shapes["heads"]["key"] == {"kernel": (8, 2, 2)}
    assert made["linear"]["kernel"].dtype == np.float64
    assert abs(float(made["linear"]["kernel"].std()) - 0.1) < 0.01
    assert abs(float(made["embedding"]["embedding"].std()) - 0.25) < 0.03
    square = np.asarray(made["lstm"]["recurrent"][:, :5])
    close(square @ square.T, np.eye(5))
    assert shapes == tree.map(lambda x: x.shape, jit(lambda key: {**made})(KEY))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_dtypes_stay(dtype):
    x = jnp.asarray(draw(2, 6, 8), dtype)

    def like(params):
        return tree.map(lambda p: p.astype(dtype), params)

    params, state = nn.batch_norm_init(8)
    results = [
        nn.linear(like(nn.linear_init(KEY, 8, 4)), x),
        nn.conv(like(nn.conv_init(KEY, 8, 4, 3)), x),
        nn.layer_norm(like(nn.layer_norm_init(8)), x),
        nn.rms_norm({}, x),
        nn.group_norm({}, x, 2),
        nn.batch_norm(like(params), state, x, training=True)[0],
        nn.lstm(like(nn.lstm_init(KEY, 8, 4)), x)[0],
        nn.gru(like(nn.gru_init(KEY, 8, 4)), x)[0],
        nn.multi_head_attention(like(nn.multi_head_attention_init(KEY, 8, 2)), x, rotary=True),
    ]
    assert {r.dtype for r in results} == {jnp.dtype(dtype)}
    # moments of large numbers do not overflow
    big = jnp.full((1, 64), 300.0, dtype).at[0, 0].set(0.0)
    assert np.isfinite(np.asarray(nn.layer_norm({}, big), np.float32)).all()


# ---- attention -----------------------------------------------------------------------------------


def test_attention_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    params = tree.map(lambda p: p.astype("float64"), nn.multi_head_attention_init(KEY, 8, 2))
    x = draw(2, 5, 8)
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        kernels = [
            np.asarray(params[n]["kernel"]).reshape(8, 8).T for n in ("query", "key", "value")
        ]
        layer.in_proj_weight[:] = torch.tensor(np.concatenate(kernels))
        layer.in_proj_bias[:] = 0
        layer.out_proj.weight[:] = torch.tensor(np.asarray(params["out"]["kernel"]).reshape(8, 8).T)
        layer.out_proj.bias[:] = 0
    causal = np.triu(np.ones((5, 5), bool), 1)
    tensor = torch.tensor(x)
    wanted = layer(tensor, tensor, tensor, attn_mask=torch.tensor(causal))[0].detach()
    close(nn.multi_head_attention(params, x, is_causal=True), wanted, 1e-9)
    close(nn.multi_head_attention(params, x, mask=~causal), wanted, 1e-9)
    added = np.where(causal, -1e30, 0.0)
    close(nn.multi_head_attention(params, x, bias=added), wanted, 1e-9)
    close(nn.multi_head_attention(params, x[0], is_causal=True), wanted[0], 1e-9)
    lengths = np.array([3, 5], np.int32)
    padding = np.arange(5) >= lengths[:, None]
    wanted = layer(tensor, tensor, tensor, key_padding_mask=torch.tensor(padding))[0].detach()
    close(nn.multi_head_attention(params, x, key_value_seq_lengths=lengths), wanted, 1e-9)
    close(nn.multi_head_attention(params, x, mask=~padding[:, None, None]), wanted, 1e-9)


@pytest.mark.parametrize("rotary", [False, True])
def test_steps_with_a_cache_are_causal_attention(rotary):
    params = nn.multi_head_attention_init(KEY, 8, 4, key_heads=2)
    x = draw(2, 6, 8).astype(np.float32)
    whole = nn.multi_head_attention(params, x, is_causal=True, rotary=rotary)
    cache = nn.multi_head_attention_cache(params, 2, 8)
    step = jit(lambda cache, x: nn.multi_head_attention_step(params, cache, x, rotary=rotary))
    cache, first = step(cache, x[:, :3])  # a prompt, then one by one
    found = [first]
    for k in range(3, 6):
        cache, y = step(cache, x[:, k : k + 1])
        found.append(y)
    assert int(cache["index"]) == 6
    close(jnp.concatenate(found, 1), whole, 1e-5)

    def body(cache, x):
        return nn.multi_head_attention_step(params, cache, x[:, None], rotary=rotary)

    cache = nn.multi_head_attention_cache(params, 2, 8)
    _, ys = jit(lambda cache, x: lax.scan(body, cache, x))(cache, x.swapaxes(0, 1))
    close(ys[:, :, 0].swapaxes(0, 1), whole, 1e-5)


def test_rotary_products_depend_on_distances_only():
    q, k = draw(1, 9, 2, 6), draw(1, 9, 2, 6)
    q[:], k[:] = q[:, :1], k[:, :1]
    for interleaved in (True, False):
        turned = [nn.rotary_embedding(x, interleaved=interleaved) for x in (q, k)]
        products = np.einsum("btnh,bsnh->nts", *map(np.asarray, turned))
        for distance in range(-3, 4):
            along = np.diagonal(products, distance, 1, 2)
            close(along, np.repeat(along[:, :1], along.shape[1], 1), 1e-9)
    shifted = nn.rotary_embedding(q, jnp.arange(9) + 5)
    assert not np.allclose(shifted, nn.rotary_embedding(q))


# ---- recurrent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_scans_are_cells_in_a_row(name):
    layer, cell = getattr(nn, name), getattr(nn, f"{name}_cell")
    params = getattr(nn, f"{name}_init")(KEY, 3, 4)
    x = draw(2, 5, 3).astype(np.float32)
    outputs, last = layer(params, x)
    state, found = None, []
    for k in range(5):
        state, y = cell(params, state, x[:, k])
        found.append(y)
    close(outputs, jnp.stack(found, 1))
    tree.map(close, last, state)
    close(layer(params, x[0])[0], outputs[0])
    close(vmap(lambda row: layer(params, row)[0])(x), outputs)
    both, (there, back) = nn.bidirectional(layer, params, params, x)
    close(both[..., :4], outputs)
    close(both[..., 4:], jnp.flip(layer(params, np.flip(x, 1))[0], 1))
    # padded steps leave the state alone
    mask = np.arange(5) < np.array([[3], [5]])
    masked, ends = layer(params, x, mask=mask)
    short, end = layer(params, x[:1, :3])
    close(masked[:1, :3], short)
    assert not np.asarray(masked)[0, 3:].any()
    tree.map(lambda a, b: close(a[:1], b), ends, end)
    backwards, _ = layer(params, x, mask=mask, reverse=True)
    close(backwards[:1, :3], layer(params, x[:1, :3], reverse=True)[0])


# ---- losses --------------------------------------------------------------------------------------


def test_losses_are_those_of_optax():
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    x, y = draw(4, 5).astype(np.float32), draw(4, 5).astype(np.float32)
    p = np.asarray(nn.softmax(y))
    labels = np.array([0, 4, 2, 1], np.int32)
    where = RNG.random((4, 5)) < 0.7
    where[:, 0] = True
    calls = {
        "squared_error": [(x, y), (x,)],
        "l2_loss": [(x, y)],
        "huber_loss": [(x, y), (x,)],
        "log_cosh": [(x, y), (50 * x,)],
        "cosine_similarity": [(x, y), (x, y, {"epsilon": 20.0, "axis": 0, "where": where})],
        "cosine_distance": [(x, y)],
        "sigmoid_binary_cross_entropy": [(x, p), (x, labels[:, None])],
        "sigmoid_focal_loss": [(x, p, {"alpha": 0.3, "gamma": 1.5})],
        "hinge_loss": [(x, y)],
        "perceptron_loss": [(x, y)],
        "softmax_cross_entropy": [(x, p), (x, p, {"axis": 0}), (x, p, {"where": where})],
        "softmax_cross_entropy_with_integer_labels": [
            *((x, labels), (x.T, labels, {"axis": 0}), (x, labels, {"where": where})),
            *(
                (x, labels - 5),
                (x, np.array(7), {"axis": (0, 1)}),
                (x, np.array(7), {"axis": (1, 0)}),
            ),
        ],
        "safe_softmax_cross_entropy": [(x, p)],
        "smooth_labels": [(p, 0.1), (p, 0.1, {"where": where})],
        "multiclass_hinge_loss": [(x, labels)],
        "multiclass_perceptron_loss": [(x, labels)],
        "poly_loss_cross_entropy": [(x, p), (x, p, {"epsilon": 1.0, "axis": 0})],
        "kl_divergence": [(x, p), (x, p * where), (x, p, {"axis": 0, "where": where})],
        "kl_divergence_with_log_targets": [(x, np.log(p))],
        "generalized_kl_divergence": [(x, p)],
        "triplet_margin_loss": [(x, y, p)],
        "ctc_loss": [
            (
                draw(2, 6, 4),
                np.eye(6)[:2] * 0,
                np.array([[1, 1], [2, 3]]),
                np.array([[0, 0], [0, 1.0]]),
            )
        ],
    }
    flat = [
        (name, *((args, {}) if not isinstance(args[-1], dict) else (args[:-1], args[-1])))
        for name, several in calls.items()
        for args in several
    ]
    # one program: most of the time is XLA's to compile
    wanted = jax.jit(lambda: [getattr(optax.losses, n)(*a, **o) for n, a, o in flat])()
    for (name, args, options), want in zip(flat, wanted, strict=True):
        found = getattr(optim.losses, name)(*args, **options)
        assert found.shape == want.shape, name
        np.testing.assert_allclose(found, want, 2e-4, 2e-5, err_msg=name)


def test_extreme_logits():
    x = jnp.array([[1e4, -1e4, 0.0]])
    loss = nn.losses.softmax_cross_entropy_with_integer_labels(x, jnp.array([1]))
    assert loss.tolist() == [2e4]
    slope = grad(lambda x: nn.losses.sigmoid_binary_cross_entropy(x, 1.0))
    assert [float(slope(v)) for v in (-1e4, 1e4)] == [-1, 0]
    safe = nn.losses.safe_softmax_cross_entropy(jnp.array([0.0, -jnp.inf]), jnp.array([1.0, 0.0]))
    assert float(safe) == 0
    outside = nn.losses.softmax_cross_entropy_with_integer_labels(x, jnp.array([3]))
    assert np.isnan(outside.item())


# ---- wrong calls ---------------------------------------------------------------------------------

LINEAR = nn.linear_init(KEY, 3, 4)
CONV = nn.conv_init(KEY, 4, 6, (3, 3), groups=2)
HEADS = nn.multi_head_attention_init(KEY, 8, 2)
LSTM = nn.lstm_init(KEY, 3, 4)
IMAGE, TEXT = jnp.ones((1, 5, 5, 4)), jnp.ones((2, 5, 8))

WRONG = {
    "takes 3 features, not f32[2]": lambda: nn.linear(LINEAR, jnp.ones(2)),
    "the parameters lack 'kernel'": lambda: nn.linear({"weight": jnp.ones(2)}, jnp.ones(2)),
    "in_features is positive, not 0": lambda: nn.linear_init(KEY, 0, 3),
    "in_features 5 are not divisible by groups 2": lambda: nn.conv_init(KEY, 5, 6, 3, groups=2),
    "takes 2 features (groups=1), not 4": lambda: nn.conv(CONV, IMAGE),
    "takes 4 features (groups=2), not 5": lambda: nn.conv(CONV, IMAGE, groups=2, layout="NCHW"),
    "layout is 'NHWC' or 'NCHW'": lambda: nn.conv(CONV, IMAGE, groups=2, layout="NWC"),
    "takes NHWC, with or without N": lambda: nn.conv(CONV, jnp.ones((5, 4)), groups=2),
    "strides is a positive int, or 2": lambda: nn.conv(CONV, IMAGE, (1, 2, 3), groups=2),
    "padding is 'SAME', 'VALID'": lambda: nn.conv(CONV, IMAGE, 1, "FULL", groups=2),
    "has not one entry for each of 2 axes": lambda: nn.conv(CONV, IMAGE, 1, [(1, 1)], groups=2),
    "kernel_size has 1 to 3 positive entries": lambda: nn.conv_init(KEY, 1, 1, (1, 1, 1, 1)),
    "indices are integers, not f32[2]": lambda: nn.embedding(
        {"embedding": jnp.eye(3)}, jnp.ones(2)
    ),
    "scale f32[4] does not fit the 3 features": lambda: nn.layer_norm(
        nn.layer_norm_init(4), jnp.ones((2, 3))
    ),
    "8 features are not divisible by groups 3": lambda: nn.group_norm({}, TEXT, 3),
    "has no spatial axes": lambda: nn.instance_norm({}, jnp.ones((2, 3))),
    "the state has 'mean' and 'var'": lambda: nn.batch_norm({}, {}, TEXT, training=False),
    "no examples to train on": lambda: nn.batch_norm(
        *nn.batch_norm_init(3), jnp.ones((0, 3)), training=True
    ),
    "features 8 are not divisible by heads 3": lambda: nn.multi_head_attention_init(KEY, 8, 3),
    "heads 4 are not divisible by key_heads 3": lambda: nn.multi_head_attention_init(
        KEY, 8, 4, key_heads=3
    ),
    "the query kernel f32[8,2,4] takes": lambda: nn.multi_head_attention(
        HEADS, jnp.ones((2, 5, 7))
    ),
    "the mask bool[2,5] does not broadcast": lambda: nn.multi_head_attention(
        HEADS, TEXT, mask=np.ones((2, 5), bool)
    ),
    "the mask is boolean, not f32[5,5]": lambda: nn.multi_head_attention(
        HEADS, TEXT, mask=jnp.zeros((5, 5))
    ),
    "an even number of features": lambda: nn.rotary_embedding(jnp.ones((3, 2, 5))),
    "with 3 features, not f32[2,5,8]": lambda: nn.lstm(LSTM, TEXT),
    "the state has 2 array(s) of shape (2, 4)": lambda: nn.lstm(
        LSTM, jnp.ones((2, 5, 3)), (jnp.ones((2, 4)), jnp.ones((1, 4)))
    ),
    "the mask bool[5] does not have the shape (2, 5)": lambda: nn.lstm(
        LSTM, jnp.ones((2, 5, 3)), mask=np.ones(5, bool)
    ),
    "rate is between 0 and 1, not 1.5": lambda: nn.dropout(KEY, jnp.ones(3), 1.5),
    "differ in shape": lambda: nn.losses.squared_error(jnp.ones((3, 1)), jnp.ones(3)),
    "predictions are floating": lambda: nn.losses.huber_loss(jnp.arange(3), jnp.arange(3)),
    "labels are integers, not f32[2]": lambda: nn.losses.softmax_cross_entropy_with_integer_labels(
        jnp.ones((2, 3)), jnp.ones(2)
    ),
    "labels have the shape (2,)": lambda: nn.losses.softmax_cross_entropy_with_integer_labels(
        jnp.ones((2, 3)), jnp.arange(3)
    ),
    "are not probabilities of the classes": lambda: nn.losses.softmax_cross_entropy(
        jnp.ones((2, 3)), jnp.arange(2)
    ),
    "indices are whole numbers": lambda: nn.one_hot(1.5, 3),
    "do not fit": lambda: nn.losses.ctc_loss(TEXT, jnp.ones((2, 5)), jnp.ones((2, 3)), jnp.ones(2)),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_calls(message):
    with pytest.raises((ShapeError, ArgumentError, DTypeError)) as caught:
        WRONG[message]()
    assert message in str(caught.value)
    assert "test_layers.py" in str(caught.value)
    with pytest.raises((ShapeError, ArgumentError, DTypeError)):
        if "whole numbers" not in message:
            jit(WRONG[message])()
        else:
            WRONG[message]()


# ---- learning ------------------------------------------------------------------------------------


def trained(loss, params, optimizer, steps):
    @jit
    def step(params, state, key):
        value, slope = value_and_grad(loss)(params, key)
        updates, state = optimizer.update(slope, state, params)
        return optim.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    for key in random.split(random.key(1), steps):
        params, state, value = step(params, state, key)
    return params, float(value)


def test_a_net_learns_two_moons():
    angle = np.linspace(0, np.pi, 100)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.concatenate([upper, np.array([1.0, 0.5]) - upper]).astype(np.float32)
    y = np.repeat([0, 1], 100)
    keys = random.split(KEY)
    params = {"in": nn.linear_init(keys[0], 2, 32), "out": nn.linear_init(keys[1], 32, 2)}

    def net(params, x, key=None):
        h = nn.relu(nn.linear(params["in"], x))
        h = h if key is None else nn.dropout(key, h, 0.1)
        return nn.linear(params["out"], h)

    def loss(params, key):
        logits = net(params, x, key)
        return nn.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(0.02))
    params, _ = trained(loss, params, optimizer, 150)
    assert (np.asarray(net(params, x)).argmax(1) == y).mean() > 0.97


def test_a_convolutional_net_learns_bars():
    images = np.zeros((16, 8, 8, 1), np.float32)
    for k in range(8):
        images[k, k], images[8 + k, :, k] = 1, 1
    y = np.repeat([0.0, 1.0], 8).astype(np.float32)
    keys = random.split(KEY)
    norm, running = nn.batch_norm_init(4)
    params = {
        "conv": nn.conv_init(keys[0], 1, 4, (3, 3)),
        "norm": norm,
        "out": nn.linear_init(keys[1], 4, 1),
    }

    def net(params, state, training):
        h, state = nn.batch_norm(
            params["norm"], state, nn.conv(params["conv"], images), training=training, momentum=0.5
        )
        h = nn.max_pool(nn.relu(h), 2).mean((1, 2))
        return nn.linear(params["out"], h)[:, 0], state

    @jit
    def step(params, opt, state):
        def loss(params):
            logits, after = net(params, state, True)
            return nn.losses.sigmoid_binary_cross_entropy(logits, y).mean(), after

        (value, state_), slope = value_and_grad(loss, has_aux=True)(params)
        updates, opt = optimizer.update(slope, opt, params)
        return optim.apply_updates(params, updates), opt, state_, value

    optimizer = optim.adam(0.05)
    opt, state = optimizer.init(params), running
    for _ in range(120):
        params, opt, state, value = step(params, opt, state)
    assert float(value) < 0.1
    assert ((np.asarray(net(params, state, False)[0]) > 0) == (y > 0.5)).all()


def test_an_lstm_learns_to_remember():
    x = RNG.integers(0, 2, (64, 6, 1)).astype(np.float32)
    y = x[:, 0, 0]
    keys = random.split(KEY)
    params = {"lstm": nn.lstm_init(keys[0], 1, 8), "out": nn.linear_init(keys[1], 8, 1)}

    def loss(params, key):
        _, (h, _) = nn.lstm(params["lstm"], x)
        logits = nn.linear(params["out"], h)[:, 0]
        return nn.losses.sigmoid_binary_cross_entropy(logits, y).mean()

    assert trained(loss, params, optim.adam(0.05), 150)[1] < 0.1


def test_attention_learns_to_copy():
    x = RNG.integers(0, 5, (32, 6))
    keys = random.split(KEY, 4)
    params = {
        "embedding": nn.embedding_init(keys[0], 5, 16),
        "attention": nn.multi_head_attention_init(keys[1], 16, 2),
        "norm": nn.rms_norm_init(16),
        "out": nn.linear_init(keys[2], 16, 5),
    }

    def loss(params, key):
        h = nn.embedding(params["embedding"], x)
        h = h + nn.multi_head_attention(params["attention"], h, is_causal=True, rotary=True)
        logits = nn.linear(params["out"], nn.rms_norm(params["norm"], h))
        # each step tells the one before
        return nn.losses.softmax_cross_entropy_with_integer_labels(logits[:, 1:], x[:, :-1]).mean()

    assert trained(loss, params, optim.adam(0.01), 200)[1] < 0.3
