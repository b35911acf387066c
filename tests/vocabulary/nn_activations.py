"""tracejit.nn's functions of JAX's names, against SciPy's where it has them, else JAX's."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from tests.vocabulary.spec import Case, case, ints, mask, of, positive, real

FLOATS = ("float16", "float32", "float64")
NO = "no float result"


def nn(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.nn.{name}", *args, **{"dtypes": FLOATS, **options})


def attention(
    q: Any,
    k: Any,
    v: Any,
    bias: Any = 0.0,
    mask: Any = True,
    scale: Any = None,
    is_causal: bool = False,
) -> np.ndarray:
    """Scaled dot products in NumPy; (batch, length, heads, width), keys' heads repeated."""
    k, v = (np.repeat(x, q.shape[2] // x.shape[2], 2) for x in (k, v))
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    weights = np.einsum("bqhd,bkhd->bhqk", q, k) * scale + bias
    if is_causal:
        mask = np.tril(np.ones(weights.shape[2:], bool))
    weights = scipy.special.softmax(np.where(mask, weights, -np.inf), -1)
    return np.einsum("bhqk,bkhd->bqhd", weights, v)


_X = of(lambda x: np.where(np.abs(x) < 0.05, x.dtype.type(0.3), x), real(3, 4, low=-4.0, high=4.0))
ACTIVATIONS = [
    *(
        nn(name, _X, reference=lambda x, f=f: f(x).astype(x.dtype))
        for name, f in (
            ("relu", lambda x: np.maximum(x, 0)),
            ("relu6", lambda x: np.clip(x, 0, 6)),
            ("sigmoid", lambda x: scipy.special.expit(x.astype(np.float64))),
            ("silu", lambda x: x * scipy.special.expit(x.astype(np.float64))),
            ("swish", lambda x: x * scipy.special.expit(x.astype(np.float64))),
            ("softplus", lambda x: np.logaddexp(x, 0)),
            ("soft_sign", lambda x: x / (1 + np.abs(x))),
            ("log_sigmoid", lambda x: -np.logaddexp(-x, 0)),
            ("tanh", np.tanh),
            ("hard_tanh", lambda x: np.clip(x, -1, 1)),
            ("hard_sigmoid", lambda x: np.clip(x + 3, 0, 6) / 6),
            ("hard_silu", lambda x: x * np.clip(x + 3, 0, 6) / 6),
            ("hard_swish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
            ("elu", lambda x: np.where(x > 0, x, np.expm1(x))),
            ("celu", lambda x: np.where(x > 0, x, np.expm1(x))),
            (
                "selu",
                lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
            ),
            ("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x)),
            ("mish", lambda x: x * np.tanh(np.logaddexp(x, 0))),
            ("squareplus", lambda x: (x + np.sqrt(x * x + 4)) / 2),
            ("sparse_plus", lambda x: np.where(np.abs(x) < 1, (x + 1) ** 2 / 4, np.maximum(x, 0))),
            ("sparse_sigmoid", lambda x: np.clip(x + 1, 0, 2) / 2),
            ("identity", lambda x: x),
        )
    ),
    nn("gelu", _X),
    nn(
        "gelu",
        _X,
        approximate=False,
        reference=lambda x, approximate: (x * scipy.special.ndtr(x.astype(np.float64))).astype(
            x.dtype
        ),
    ),
    nn("elu", _X, 0.5, dtypes=FLOATS[1:]),
    nn("celu", _X, 0.5, dtypes=FLOATS[1:]),
    nn("leaky_relu", _X, 0.2, dtypes=FLOATS[1:]),
    nn("squareplus", _X, 1.0, dtypes=FLOATS[1:]),
    nn("log1mexp", positive(3, 4), dtypes=FLOATS[1:], reference=lambda x: np.log(-np.expm1(-x))),
    nn("glu", real(3, 4), reference=lambda x: x[:, :2] * scipy.special.expit(x[:, 2:])),
    nn("glu", real(4, 3), axis=0, dtypes=FLOATS[1:]),
    nn("softmax", _X, reference=lambda x: scipy.special.softmax(x, -1)),
    nn("softmax", _X, axis=0, reference=scipy.special.softmax),
    nn("softmax", _X, axis=(0, 1), reference=scipy.special.softmax),
    nn("softmax", _X, where=of(lambda m: m | (np.arange(4) == 1), mask(3, 4)), dtypes=FLOATS[1:]),
    nn("log_softmax", _X, reference=lambda x: scipy.special.log_softmax(x, -1)),
    nn("log_softmax", _X, axis=0, reference=scipy.special.log_softmax),
    nn("logsumexp", _X, reference=scipy.special.logsumexp),
    nn("logsumexp", _X, axis=1, keepdims=True, reference=scipy.special.logsumexp),
    nn("logsumexp", _X, axis=1, b=positive(3, 4), reference=scipy.special.logsumexp),
    nn(
        "logsumexp",
        _X,
        axis=1,
        b=real(3, 4),
        return_sign=True,
        dtypes=FLOATS[1:],
        reference=scipy.special.logsumexp,
    ),
    nn(
        "logsumexp",
        np.array([-np.inf, -np.inf]),
        reference=scipy.special.logsumexp,
        label="nothing",
    ),
    nn(
        "logmeanexp",
        _X,
        axis=1,
        dtypes=FLOATS[1:],
        reference=lambda x, axis: scipy.special.logsumexp(x, axis) - np.log(4),
    ),
    nn(
        "logmeanexp",
        _X,
        axis=0,
        keepdims=True,
        where=of(lambda m: m | (np.arange(3) == 1)[:, None], mask(3, 4)),
        dtypes=FLOATS[1:],
    ),
    nn("standardize", _X, tol32=1e-3, tol=1e-8, dtypes=FLOATS[1:]),
    nn("standardize", _X, axis=0, epsilon=1e-2, dtypes=FLOATS[1:], tol32=1e-3),
    nn("standardize", _X, mean=real(3, 1), variance=positive(3, 1), dtypes=FLOATS[1:], tol32=1e-3),
    nn("one_hot", ints(2, 3, below=4), 4, reference=lambda x, n: np.eye(n, dtype=np.float32)[x]),
    nn("one_hot", ints(3, low=-1, below=6), 4, axis=0),
    nn("one_hot", ints(3, below=4), 4, dtype=np.int32),
    nn(
        "dot_product_attention",
        real(2, 3, 2, 4),
        real(2, 5, 2, 4),
        real(2, 5, 2, 4),
        dtypes=FLOATS[1:],
        reference=attention,
    ),
    nn(
        "dot_product_attention",
        real(1, 3, 2, 4),
        real(1, 3, 1, 4),
        real(1, 3, 1, 4),
        is_causal=True,
        scale=0.3,
        dtypes=FLOATS[1:],
        reference=attention,
    ),
    nn(
        "dot_product_attention",
        real(1, 3, 2, 4),
        real(1, 3, 2, 4),
        real(1, 3, 2, 4),
        bias=real(1, 2, 3, 3),
        mask=of(lambda m: m | np.eye(3, dtype=bool), mask(1, 2, 3, 3)),
        dtypes=FLOATS[1:],
        reference=attention,
    ),
]
CASES = ACTIVATIONS
