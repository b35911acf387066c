"""Cases of ``tracejit.nn`` beyond JAX's names: layers against PyTorch's, losses against formulas
(and against optax in tests/nn).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.vocabulary.run import NoReference
from tests.vocabulary.spec import Case, Draw, case, ints, mask, of, positive, real

NN = "tracejit.nn."


def by_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(torch, *tensors)`` on NumPy arrays."""

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            torch = importlib.import_module("torch")
        except ModuleNotFoundError as error:
            raise NoReference("PyTorch is not installed") from error

        def there(x: Any) -> Any:
            if isinstance(x, dict):
                return {k: there(v) for k, v in x.items()}
            if isinstance(x, tuple):
                return tuple(map(there, x))
            return torch.from_numpy(np.ascontiguousarray(x)) if isinstance(x, np.ndarray) else x

        def back(y: Any) -> Any:
            return tuple(map(back, y)) if isinstance(y, tuple) else y.detach().numpy()

        return back(function(torch, *map(there, args), **{k: there(v) for k, v in kwargs.items()}))

    return run


# ---- attention ---------------------------------------------------------------------------------


def attention(q: Any, k: Any, v: Any, bias: Any = 0, mask: Any = True, **options: Any) -> Any:
    """In the precision of the operands; JAX takes the softmax in float32."""
    k, v = (np.repeat(x, q.shape[2] // x.shape[2], axis=2) for x in (k, v))
    logits = np.einsum("btnh,bsnh->bnts", q, k) * options.get("scale", q.shape[-1] ** -0.5) + bias
    allowed = np.broadcast_to(mask, logits.shape)
    if options.get("is_causal"):
        allowed = np.tril(allowed)
    if (lengths := options.get("key_value_seq_lengths")) is not None:
        allowed = allowed & (np.arange(k.shape[1]) < lengths[:, None])[:, None, None]
    return np.einsum("bnts,bsnh->btnh", softmax(np.where(allowed, logits, -1e30)), v)


ATTENTION = [
    case(
        NN + "dot_product_attention",
        *(real(2, 5, 4, 3), real(2, 6, 2, 3), real(2, 6, 2, 3)),
        **options,
        reference=attention,
        tol=1e-8,
    )
    for options in (
        {},
        {"is_causal": True},
        {"bias": real(2, 4, 5, 6)},
        {"mask": mask(1, 1, 5, 6), "scale": 0.3},
        {"key_value_seq_lengths": ints(2, low=1, below=6, dtype="int32")},
    )
]


def rotated(x: np.ndarray, *_: Any, interleaved: bool = True, **__: Any) -> np.ndarray:
    """Pairs as complex numbers, turned."""
    time, half = x.shape[-3], x.shape[-1] // 2
    wide = np.exp(1j * np.arange(time)[:, None, None] * 10000.0 ** (-np.arange(half) / half))
    parts = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    turned = (parts[0] + 1j * parts[1]) * wide
    if interleaved:
        return np.stack([turned.real, turned.imag], -1).reshape(x.shape).astype(x.dtype)
    return np.concatenate([turned.real, turned.imag], -1).astype(x.dtype)


HEADS = {
    **{name: {"kernel": real(6, 2, 4), "bias": real(2, 4)} for name in ("query", "key", "value")},
    "out": {"kernel": real(2, 4, 6), "bias": real(6)},
}


def multi_head(params: Any, x: np.ndarray, source: Any = None, **options: Any) -> Any:
    source = x if source is None else source
    q, k, v = (
        np.einsum("btf,fnh->btnh", x if name == "query" else source, params[name]["kernel"])
        + params[name]["bias"]
        for name in ("query", "key", "value")
    )
    if options.pop("rotary", False):
        q, k = rotated(q), rotated(k)
    y = attention(q, k, v, **options)
    return np.einsum("btnh,nhf->btf", y, params["out"]["kernel"]) + params["out"]["bias"]


ATTENTION += [
    case(NN + "rotary_embedding", real(2, 5, 2, 6), reference=rotated),
    case(NN + "rotary_embedding", real(5, 2, 6), interleaved=False, reference=rotated),
    case(NN + "multi_head_attention", HEADS, real(2, 4, 6), reference=multi_head, tol32=1e-3),
    *(
        case(
            NN + "multi_head_attention",
            *(HEADS, real(2, 4, 6), real(2, 4, 6)),
            **options,
            reference=multi_head,
            tol32=1e-3,
        )
        for options in (
            {"is_causal": True, "rotary": True},
            {"bias": real(4, 4), "mask": mask(2, 1, 1, 4)},
        )
    ),
]

# ---- layers --------------------------------------------------------------------------------------


def weights(*kernel: int, bias: bool = True) -> dict[str, Draw]:
    params = {"kernel": real(*kernel)}
    return {**params, "bias": real(kernel[-1])} if bias else params


def torch_conv(rank: int, first: bool = False, transposed: bool = False) -> Callable[..., Any]:
    """PyTorch's convolution on our kernels and layouts."""

    def run(torch: Any, params: Any, x: Any, strides: Any = 1, padding: Any = 0, **options: Any):
        options.pop("layout", None)
        spatial = range(2, 2 + rank)
        kernel = params["kernel"]
        last, before = kernel.ndim - 1, kernel.ndim - 2
        functional = torch.nn.functional
        moved = x if first else torch.movedim(x, -1, 1)
        if transposed:
            groups = options.get("groups", 1)
            # (in / g, out) of all groups to PyTorch's (in, out / g), flipped
            k = torch.flip(kernel, list(range(rank))).permute(before, last, *range(rank))
            k = torch.cat(k.chunk(groups, 1), 0)
            call = getattr(functional, f"conv_transpose{rank}d")
            y = call(moved, k, params.get("bias"), strides, padding, **options)
        else:
            k = kernel.permute(last, before, *range(rank))
            call = getattr(functional, f"conv{rank}d")
            if isinstance(padding, str):
                padding = padding.lower()
            y = call(moved, k, params.get("bias"), strides, padding, **options)
        del spatial
        return y if first else torch.movedim(y, 1, -1)

    return by_torch(run)


def conv_cases(name: str, transposed: bool) -> list[Case]:
    def one(
        rank: int, kernel: Any, x: Any, *args: Any, first: bool = False, **options: Any
    ) -> Case:
        return case(
            NN + name,
            *(kernel, x, *args),
            **options,
            reference=torch_conv(rank, first, transposed),
            tol=1e-8,
            tol32=1e-4,
        )

    return [
        one(1, weights(3, 2, 4), real(2, 7, 2), 1, 0),
        one(1, weights(4, 2, 4), real(2, 2, 7), 2, 1, first=True, layout="NCW"),
        one(2, weights(3, 2, 2, 3), real(1, 5, 6, 2), (2, 1), (1, 0)),
        one(2, weights(3, 3, 2, 4), real(2, 6, 6, 4), 1, 1, groups=2),
        one(2, weights(2, 2, 2, 3, bias=False), real(1, 6, 6, 2), 1, 0, dilation=2),
        one(2, weights(3, 3, 2, 2), real(1, 2, 5, 5), 2, 1, first=True, layout="NCHW"),
        one(3, weights(2, 2, 2, 1, 2), real(1, 3, 4, 3, 1), 1, 0),
    ]


SAME = lambda torch, p, x, *_: torch.movedim(  # noqa: E731
    torch.nn.functional.conv2d(
        torch.movedim(x, -1, 1), p["kernel"].permute(3, 2, 0, 1), p["bias"], 1, "same"
    ),
    1,
    -1,
)

SCALES = {"scale": real(4), "bias": real(4)}
STATE = {"mean": real(4), "var": positive(4)}


def torch_norm(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    def run(torch: Any, params: Any, x: Any, *_: Any, **__: Any) -> Any:
        moved = torch.movedim(x, -1, 1) if name != "layer_norm" else x
        function = getattr(torch.nn.functional, name)
        extra = ((4,),) if name == "layer_norm" else args
        y = function(moved, *extra, weight=params.get("scale"), bias=params.get("bias"), **options)
        return torch.movedim(y, 1, -1) if name != "layer_norm" else y

    return by_torch(run)


def torch_batch_norm(
    torch: Any, params: Any, state: Any, x: Any, *, training: bool, **_: Any
) -> Any:
    mean, var = state["mean"].clone(), state["var"].clone()
    moved = torch.movedim(x, -1, 1)
    y = torch.nn.functional.batch_norm(
        moved, mean, var, params["scale"], params["bias"], training, 0.1
    )
    if training:  # PyTorch keeps the variance with n - 1
        n = x.numel() // x.shape[-1]
        var = state["var"] * 0.9 + (var - state["var"] * 0.9) * (n - 1) / n
    return torch.movedim(y, 1, -1), (mean, var)


def flat_state(result: Any) -> Any:
    y, state = result
    return y, (state["mean"], state["var"]) if isinstance(state, dict) else state


def rms(params: Any, x: Any, **_: Any) -> Any:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * params.get("scale", 1)


LAYERS = [
    case(
        NN + "linear", weights(3, 4), real(2, 3), reference=lambda p, x: x @ p["kernel"] + p["bias"]
    ),
    case(NN + "linear", weights(3, 4, bias=False), real(3), reference=lambda p, x: x @ p["kernel"]),
    case(
        NN + "embedding",
        *({"embedding": real(5, 3)}, ints(2, 4, below=5)),
        reference=lambda p, i: p["embedding"][i],
    ),
    *conv_cases("conv", False),
    *conv_cases("conv_transpose", True),
    case(NN + "conv", weights(3, 3, 2, 4), real(1, 5, 5, 2), 1, "SAME", reference=by_torch(SAME)),
    case(NN + "layer_norm", SCALES, real(3, 4), reference=torch_norm("layer_norm"), tol32=1e-4),
    case(NN + "layer_norm", {}, real(3, 4), reference=torch_norm("layer_norm"), tol32=1e-4),
    case(NN + "rms_norm", {"scale": real(4)}, real(3, 4), reference=rms, tol32=1e-4),
    case(
        NN + "group_norm", SCALES, real(2, 3, 4), 2, reference=torch_norm("group_norm", 2), tol=1e-7
    ),
    case(
        NN + "instance_norm",
        *(SCALES, real(2, 3, 3, 4)),
        reference=torch_norm("instance_norm"),
        tol=1e-7,
        tol32=1e-4,
    ),
    *(
        case(
            NN + "batch_norm",
            *(SCALES, STATE, real(3, 5, 4)),
            training=training,
            momentum=0.9,
            reference=by_torch(torch_batch_norm),
            after=flat_state,
            tol=1e-7,
            tol32=1e-4,
            grad=True if not training else "the running moments are constants of differentiation",
        )
        for training in (True, False)
    ),
]


def torch_pool(name: str, rank: int, **options: Any) -> Callable[..., Any]:
    def run(
        torch: Any, x: Any, window: Any, strides: Any = None, padding: Any = 0, **_: Any
    ) -> Any:
        padding = tuple(p[0] for p in padding) if isinstance(padding, tuple) else 0
        function = getattr(torch.nn.functional, f"{name}_pool{rank}d")
        y = function(torch.movedim(x, -1, 1), window, strides, padding, **options)
        return torch.movedim(y, 1, -1)

    return by_torch(run)


PAIRS = ((1, 1), (1, 1))
POOLING = [
    case(NN + "max_pool", real(2, 7, 3), (3,), reference=torch_pool("max", 1)),
    case(NN + "max_pool", real(1, 6, 5, 2), (2, 3), (2, 1), reference=torch_pool("max", 2)),
    case(NN + "max_pool", real(1, 4, 4, 4, 2), (2, 2, 2), reference=torch_pool("max", 3)),
    case(NN + "max_pool", real(1, 6, 6, 2), 3, 2, PAIRS, reference=torch_pool("max", 2)),
    case(NN + "avg_pool", real(2, 7, 3), (3,), (2,), reference=torch_pool("avg", 1)),
    case(NN + "avg_pool", real(1, 4, 4, 4, 2), (2, 2, 2), reference=torch_pool("avg", 3)),
    case(
        NN + "avg_pool",
        *(real(1, 6, 6, 2), 3, 2, PAIRS),
        reference=torch_pool("avg", 2, count_include_pad=False),
    ),
    case(NN + "min_pool", real(1, 4, 4, 2), 2, reference=lambda x, w: -_max_pool(-x)),
]


def _max_pool(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


# ---- recurrent -----------------------------------------------------------------------------------


def recurrent(gates: int, extra: bool = False) -> dict[str, Draw]:
    params = {
        "kernel": real(3, gates * 4),
        "recurrent": real(4, gates * 4, low=-1, high=1),
        "bias": real(gates * 4),
    }
    return {**params, "recurrent_bias": real(4)} if extra else params


def torch_recurrent(kind: str) -> Callable[..., Any]:
    def run(torch: Any, params: Any, x: Any, initial: Any = None, reverse: bool = False) -> Any:
        layer = getattr(torch.nn, kind)(3, 4, batch_first=True).to(x.dtype)
        with torch.no_grad():
            layer.weight_ih_l0[:] = params["kernel"].T
            layer.weight_hh_l0[:] = params["recurrent"].T
            layer.bias_ih_l0[:] = params["bias"]
            layer.bias_hh_l0[:] = 0
            if "recurrent_bias" in params:
                layer.bias_hh_l0[-4:] = params["recurrent_bias"]
        x = torch.flip(x, [1]) if reverse else x
        if initial is not None:
            initial = tuple(i[None] for i in initial) if kind == "LSTM" else initial[None]
        y, state = layer(x, initial)
        state = tuple(s[0] for s in state) if kind == "LSTM" else state[0]
        return torch.flip(y, [1]) if reverse else y, state

    return by_torch(run)


KINDS = {
    "rnn": ("RNN", recurrent(1)),
    "lstm": ("LSTM", recurrent(4)),
    "gru": ("GRU", recurrent(3, True)),
}


def one_step(kind: str) -> Callable[..., Any]:
    whole = torch_recurrent(kind)

    def run(params: Any, state: Any, x: Any) -> Any:
        y, after = whole(params, x[:, None], state)
        return after, y[:, 0]

    return run


RECURRENT = [
    made
    for name, (kind, params) in KINDS.items()
    for state in [(real(2, 4), real(2, 4)) if name == "lstm" else real(2, 4)]
    for made in (
        case(NN + name, params, real(2, 5, 3), reference=torch_recurrent(kind)),
        case(
            NN + name, params, real(2, 5, 3), state, reverse=True, reference=torch_recurrent(kind)
        ),
        case(NN + name + "_cell", params, state, real(2, 3), reference=one_step(kind)),
    )
]

# ---- losses --------------------------------------------------------------------------------------

LOSSES = NN + "losses."
PROBABILITIES = of(lambda x: x / x.sum(-1, keepdims=True), positive(3, 4))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def entropy(x: np.ndarray, p: np.ndarray) -> np.ndarray:
    return -(p * np.log(softmax(x))).sum(-1)


def picked(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.take_along_axis(np.log(softmax(x)), labels[..., None], -1)[..., 0]


def cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def binary(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-x))
    return -y * np.log(p) - (1 - y) * np.log(1 - p)


def huber(x: np.ndarray, y: np.ndarray, delta: float = 1.0) -> np.ndarray:
    a = np.abs(x - y)
    return np.where(a < delta, a * a / 2, delta * (a - delta / 2))


UNIT = real(3, 4, low=0.1, high=0.9)
LOSS_CASES = [
    case(LOSSES + "squared_error", real(3, 4), real(3, 4), reference=lambda x, y: (x - y) ** 2),
    case(LOSSES + "l2_loss", real(3, 4), reference=lambda x: x * x / 2),
    case(LOSSES + "absolute_error", real(5), real(5), reference=lambda x, y: np.abs(x - y)),
    case(
        LOSSES + "mean_squared_error",
        real(5),
        real(5),
        reference=lambda x, y: ((x - y) ** 2).mean(),
    ),
    case(
        LOSSES + "mean_absolute_error",
        real(5),
        real(5),
        reference=lambda x, y: np.abs(x - y).mean(),
    ),
    case(LOSSES + "huber_loss", real(9), real(9), reference=huber),
    case(LOSSES + "huber_loss", real(9), real(9), delta=0.5, reference=huber),
    case(LOSSES + "log_cosh", real(9), real(9), reference=lambda x, y: np.log(np.cosh(x - y))),
    case(LOSSES + "cosine_similarity", real(3, 4), real(3, 4), reference=cosine),
    case(
        LOSSES + "cosine_distance", real(3, 4), real(3, 4), reference=lambda x, y: 1 - cosine(x, y)
    ),
    case(LOSSES + "sigmoid_binary_cross_entropy", real(3, 4), UNIT, reference=binary),
    case(
        LOSSES + "sigmoid_focal_loss",
        *(real(5), mask(5)),
        reference=lambda x, y: binary(x, 1 * y) * np.abs(y - 1 / (1 + np.exp(-x))) ** 2,
    ),
    case(LOSSES + "hinge_loss", real(9), real(9), reference=lambda x, y: np.maximum(0, 1 - x * y)),
    case(
        LOSSES + "perceptron_loss", real(9), real(9), reference=lambda x, y: np.maximum(0, -x * y)
    ),
    case(LOSSES + "softmax_cross_entropy", real(3, 4), PROBABILITIES, reference=entropy),
    case(LOSSES + "safe_softmax_cross_entropy", real(3, 4), PROBABILITIES, reference=entropy),
    case(
        LOSSES + "softmax_cross_entropy_with_integer_labels",
        *(real(3, 5), ints(3, below=5)),
        reference=picked,
    ),
    case(
        LOSSES + "softmax_cross_entropy_with_integer_labels",
        *(real(2, 3, 5), ints(2, 3, below=5)),
        reference=picked,
    ),
    case(
        LOSSES + "poly_loss_cross_entropy",
        *(real(3, 4), PROBABILITIES),
        reference=lambda x, p: entropy(x, p) + 2 * (p * (1 - softmax(x))).sum(-1),
    ),
    case(
        LOSSES + "kl_divergence",
        *(real(3, 4), PROBABILITIES),
        reference=lambda x, p: (p * (np.log(p) - x)).sum(-1),
    ),
    case(
        LOSSES + "kl_divergence_with_log_targets",
        *(real(3, 4), real(3, 4)),
        reference=lambda x, y: (np.exp(y) * (y - x)).sum(-1),
    ),
    case(
        LOSSES + "generalized_kl_divergence",
        *(real(3, 4), PROBABILITIES),
        reference=lambda x, p: (p * (np.log(p) - x) + np.exp(x) - p).sum(-1),
    ),
    case(
        LOSSES + "smooth_labels",
        *(UNIT, 0.1),
        reference=lambda y, a: (1 - a) * y + a / y.shape[-1],
    ),
    case(
        LOSSES + "multiclass_hinge_loss",
        *(real(3, 4), ints(3, below=4)),
        reference=lambda x, i: (x + 1 - np.eye(4)[i]).max(-1) - (x * np.eye(4)[i]).sum(-1),
    ),
    case(
        LOSSES + "multiclass_perceptron_loss",
        *(real(3, 4), ints(3, below=4)),
        reference=lambda x, i: x.max(-1) - (x * np.eye(4)[i]).sum(-1),
    ),
    case(
        LOSSES + "triplet_margin_loss",
        *(real(3, 4), real(3, 4), real(3, 4)),
        margin=3.0,
        reference=lambda a, p, n, margin: np.maximum(
            np.sqrt(((a - p) ** 2).sum(-1) + 1e-6)
            - np.sqrt(((a - n) ** 2).sum(-1) + 1e-6)
            + margin,
            0,
        ),
    ),
    case(
        LOSSES + "ctc_loss",
        *(real(2, 6, 4), np.array([[0.0] * 6, [0.0] * 4 + [1.0] * 2])),
        *(ints(2, 3, low=1, below=4), np.array([[0.0] * 3, [0.0, 0.0, 1.0]])),
        vmap="the reference is of two sequences",
        reference=by_torch(
            lambda torch, x, xp, y, yp: torch.nn.functional.ctc_loss(
                torch.log_softmax(x, -1).transpose(0, 1),
                y,
                (1 - xp).sum(1).long(),
                (1 - yp).sum(1).long(),
                reduction="none",
            )
        ),
        tol=1e-8,
    ),
]

CASES = [*ATTENTION, *LAYERS, *POOLING, *RECURRENT, *LOSS_CASES]
