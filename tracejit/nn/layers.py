"""Layers: a pure function of parameters for each, and one that makes the parameters.

    params = {"hidden": nn.linear_init(key1, 784, 128), "out": nn.linear_init(key2, 128, 10)}

    def net(params, x):
        return nn.linear(params["out"], nn.relu(nn.linear(params["hidden"], x)))

The convention of all layers of ``nn``:

- ``<layer>_init(key, sizes, ..., *, options, dtype=None)`` gives a dict of Arrays; layers without
  random values (normalisations) take no key;
- ``<layer>(params, x, ..., *, options)`` computes. It takes no key, holds no state and has no
  training mode, but where its signature says so (``dropout``, ``batch_norm``);
- features come last and leading axes are batches, if there are any;
- a bias, or a scale, is there if the dict has one.

So a net is a function of a pytree, and parameters are named as the reader of a checkpoint would
expect: "kernel", "bias", "scale", "embedding".
"""

from __future__ import annotations

from typing import Any

from tracejit import random
from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.frontend import elementwise as ew
from tracejit.frontend import indexing, promotion
from tracejit.frontend import linear as products
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.axes import integer
from tracejit.frontend.promotion import to_inexact
from tracejit.ir.types import kind
from tracejit.lax.operands import ints
from tracejit.lax.products import conv_general_dilated, transpose_pads
from tracejit.nn import initializers
from tracejit.source import here

Params = dict[str, Any]
_KERNEL = initializers.lecun_normal()
_EMBEDDING = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


def size(name: str, what: str, value: Any) -> int:
    """A positive integer that the user gave; ArgumentError for another."""
    number = integer(value, f"{name}: {what}")
    if number < 1:
        raise ArgumentError(f"{name}: {what} is positive, not {number}", at=here())
    return number


def parameter(name: str, params: Any, key: str) -> Array:
    """``params[key]``; ArgumentError where it is not there."""
    if not isinstance(params, dict) or key not in params:
        held = ", ".join(map(repr, params)) if isinstance(params, dict) else type(params).__name__
        raise ArgumentError(
            f"{name}: the parameters lack {key!r}: they are {held or 'empty'}",
            at=here(),
            hint=f"make them with nn.{name}_init",
        )
    return as_array(params[key])


def shifted(params: Params, y: Any) -> Any:
    """``y`` plus the bias, if there is one."""
    return ew.add(y, params["bias"]) if "bias" in params else y


def with_bias(params: Params, bias: bool, bias_init: Any, key: Any, shape: Any, dtype: Any) -> Any:
    """``params`` and a bias, if it is asked for."""
    return {**params, "bias": bias_init(key, shape, dtype)} if bias else params


# ---- products ------------------------------------------------------------------------------------


def linear_init(
    key: Any,
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    kernel_init: Any = _KERNEL,
    bias_init: Any = initializers.zeros,
    dtype: Any = None,
) -> Params:
    """Parameters of ``linear``: "kernel" (in_features, out_features) and "bias" (out_features,).

    >>> params = nn.linear_init(random.key(0), 4, 3)
    >>> params["kernel"].shape, params["bias"].shape
    ((4, 3), (3,))
    """
    first, second = random.split(key)
    sizes = (
        size("linear", "in_features", in_features),
        size("linear", "out_features", out_features),
    )
    params = {"kernel": kernel_init(first, sizes, dtype)}
    return with_bias(params, bias, bias_init, second, sizes[1:], dtype)  # type: ignore[no-any-return]


def linear(params: Params, x: Any) -> Array:
    """x kernel + bias over the last axis of ``x``.

    Raises ShapeError where ``x`` has another number of features.

    >>> params = {"kernel": jnp.ones((2, 3)), "bias": jnp.arange(3.0)}
    >>> nn.linear(params, jnp.array([1.0, 2.0]))
    Array([3., 4., 5.], dtype=float32)
    """
    kernel, x = parameter("linear", params, "kernel"), to_inexact(x)
    if x.ndim == 0 or x.shape[-1] != kernel.shape[0]:
        raise ShapeError(
            f"linear: the kernel {kernel.type} takes {kernel.shape[0]} features, not {x.type}",
            at=here(),
        )
    return shifted(params, products.matmul(x, kernel))  # type: ignore[no-any-return]


def embedding_init(
    key: Any,
    num_embeddings: int,
    features: int,
    *,
    embedding_init: Any = _EMBEDDING,
    dtype: Any = None,
) -> Params:
    """Parameters of ``embedding``: "embedding" (num_embeddings, features), rows of variance
    1 / features.
    """
    sizes = (
        size("embedding", "num_embeddings", num_embeddings),
        size("embedding", "features", features),
    )
    return {"embedding": embedding_init(key, sizes, dtype)}


def embedding(params: Params, indices: Any) -> Array:
    """The row of the table for each index, in the shape (*indices.shape, features).

    Indices outside of the table behave as those of any array. Raises DTypeError for indices that
    are not integers.

    >>> nn.embedding({"embedding": jnp.eye(3)}, jnp.array([2, 0]))
    Array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    table, index = parameter("embedding", params, "embedding"), as_array(indices)
    if kind(index.dtype) not in "iu":
        raise DTypeError(f"embedding: indices are integers, not {index.type}", at=here())
    return indexing.take(table, index, axis=0)  # type: ignore[no-any-return]


# ---- convolutions --------------------------------------------------------------------------------

_LAYOUTS = {
    1: ("NWC", "NCW", "WIO"),
    2: ("NHWC", "NCHW", "HWIO"),
    3: ("NDHWC", "NCDHW", "DHWIO"),
}


def _kernel_sizes(name: str, kernel_size: Any) -> tuple[int, ...]:
    sizes = (kernel_size,) if isinstance(kernel_size, int) else ints(kernel_size)
    if len(sizes) not in _LAYOUTS or any(n < 1 for n in sizes):
        raise ArgumentError(
            f"{name}: kernel_size has 1 to 3 positive entries, not {kernel_size}", at=here()
        )
    return tuple(sizes)


def _groups(name: str, groups: Any, in_features: int, out_features: int) -> int:
    number = size(name, "groups", groups)
    for what, count in (("in_features", in_features), ("out_features", out_features)):
        if count % number:
            raise ArgumentError(
                f"{name}: {what} {count} are not divisible by groups {number}", at=here()
            )
    return number


def conv_init(
    key: Any,
    in_features: int,
    out_features: int,
    kernel_size: Any,
    *,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Any = _KERNEL,
    bias_init: Any = initializers.zeros,
    dtype: Any = None,
) -> Params:
    """Parameters of ``conv`` and ``conv_transpose``: "kernel" (*kernel_size, in_features / groups,
    out_features) and "bias" (out_features,).

    ``kernel_size`` has an entry for each spatial axis, 1 to 3 of them; an int is one axis.

    >>> nn.conv_init(random.key(0), 3, 16, (5, 5))["kernel"].shape
    (5, 5, 3, 16)
    """
    sizes = _kernel_sizes("conv", kernel_size)
    n_in, n_out = (
        size("conv", "in_features", in_features),
        size("conv", "out_features", out_features),
    )
    number = _groups("conv", groups, n_in, n_out)
    first, second = random.split(key)
    params = {"kernel": kernel_init(first, (*sizes, n_in // number, n_out), dtype)}
    return with_bias(params, bias, bias_init, second, (n_out,), dtype)  # type: ignore[no-any-return]


conv_transpose_init = conv_init


def _layout(name: str, layout: str | None, rank: int) -> tuple[str, str]:
    """The specs of operand and kernel."""
    if rank not in _LAYOUTS:
        raise ShapeError(f"{name}: a kernel has 1 to 3 spatial axes, not {rank}", at=here())
    last, first, kernel = _LAYOUTS[rank]
    if layout not in (None, last, first):
        raise ArgumentError(
            f"{name}: layout is {last!r} or {first!r} for {rank} spatial axes, not {layout!r}",
            at=here(),
        )
    return layout or last, kernel


def _each(name: str, what: str, given: Any, rank: int) -> tuple[int, ...]:
    values = (given,) * rank if isinstance(given, int) else tuple(ints(given))
    if len(values) != rank or any(v < 1 for v in values):
        raise ArgumentError(
            f"{name}: {what} is a positive int, or {rank} of them, not {given}", at=here()
        )
    return values


def _pads(name: str, padding: Any, rank: int) -> Any:
    """A name, or (low, high) pairs; an int is both sides of all axes."""
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ArgumentError(
                f"{name}: padding is 'SAME', 'VALID', an int or pairs, not {padding!r}", at=here()
            )
        return padding.upper()
    if isinstance(padding, int):
        return ((padding, padding),) * rank
    pairs = tuple((p, p) if isinstance(p, int) else tuple(ints(p)) for p in padding)
    if len(pairs) != rank or any(len(p) != 2 for p in pairs):
        raise ArgumentError(
            f"{name}: padding {padding} has not one entry for each of {rank} axes", at=here()
        )
    return pairs


def _operands(
    name: str, params: Params, x: Any, layout: str | None, groups: int
) -> tuple[Array, Array, tuple[str, str], bool]:
    """Operand and kernel, checked; the operand with a batch axis, and whether it was added."""
    kernel, x = parameter(name, params, "kernel"), to_inexact(x)
    rank = kernel.ndim - 2
    specs = _layout(name, layout, rank)
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: the kernel {kernel.type} takes {specs[0]}, with or without N, not {x.type}",
            at=here(),
        )
    single = x.ndim == rank + 1
    given = x.type
    if single:
        x = promotion.reshaped(x, (1, *x.shape))
    number = size(name, "groups", groups)
    features = x.shape[specs[0].index("C")]
    if features != kernel.shape[-2] * number:
        raise ShapeError(
            f"{name}: the kernel {kernel.type} takes {kernel.shape[-2] * number} features "
            f"(groups={number}), not {features}, those of {given} in {specs[0]}",
            at=here(),
        )
    _groups(name, number, features, kernel.shape[-1])
    x, kernel = promotion.promoted(name, x, kernel)
    return x, kernel, specs, single


def _finished(params: Params, y: Array, spec: str, single: bool) -> Array:
    if "bias" in params:
        bias = as_array(params["bias"])
        if not spec.endswith("C"):
            bias = promotion.reshaped(bias, (bias.shape[0], *(1,) * (y.ndim - 2)))
        y = ew.add(y, bias)
    return promotion.reshaped(y, y.shape[1:]) if single else y  # type: ignore[no-any-return]


def conv(
    params: Params,
    x: Any,
    strides: Any = 1,
    padding: Any = "SAME",
    *,
    dilation: Any = 1,
    groups: int = 1,
    layout: str | None = None,
) -> Array:
    """Convolution over the spatial axes of the kernel, 1 to 3 of them; the kernel is not flipped.

    ``padding``: "SAME", "VALID", an int, or an int or (low, high) for each axis. ``dilation``
    spreads the kernel. ``layout``: of ``x`` and the result, features last by default: "NWC",
    "NHWC", "NDHWC", or "NCW", "NCHW", "NCDHW"; the kernel keeps its own. The axis N may be missing.
    Raises ShapeError where the features do not fit.

    >>> params = nn.conv_init(random.key(0), 3, 16, (3, 3))
    >>> nn.conv(params, jnp.ones((8, 32, 32, 3)), strides=2).shape
    (8, 16, 16, 16)
    """
    x, kernel, specs, single = _operands("conv", params, x, layout, groups)
    rank = kernel.ndim - 2
    y = conv_general_dilated(
        x,
        kernel,
        _each("conv", "strides", strides, rank),
        _pads("conv", padding, rank),
        None,
        _each("conv", "dilation", dilation, rank),
        (specs[0], specs[1], specs[0]),
        feature_group_count=groups,
    )
    return _finished(params, y, specs[0], single)


def conv_transpose(
    params: Params,
    x: Any,
    strides: Any = 1,
    padding: Any = "SAME",
    *,
    dilation: Any = 1,
    groups: int = 1,
    layout: str | None = None,
) -> Array:
    """The adjoint of a strided convolution ("deconvolution"): sizes grow by the strides.

    The kernel is laid out and applied as in ``conv``, so it is the flipped kernel of the
    convolution whose adjoint this is. Padding pairs are those of that convolution: they take away
    from the result. Other arguments are those of ``conv``.

    >>> params = nn.conv_transpose_init(random.key(0), 16, 3, (4, 4))
    >>> nn.conv_transpose(params, jnp.ones((8, 16, 16, 16)), strides=2).shape
    (8, 32, 32, 3)
    """
    x, kernel, specs, single = _operands("conv_transpose", params, x, layout, groups)
    rank = kernel.ndim - 2
    steps = _each("conv_transpose", "strides", strides, rank)
    inner = _each("conv_transpose", "dilation", dilation, rank)
    reach = [(n - 1) * d + 1 for n, d in zip(kernel.shape, inner, strict=False)]
    pads = _pads("conv_transpose", padding, rank)
    if isinstance(pads, str):
        outer = [transpose_pads(n, s, pads) for n, s in zip(reach, steps, strict=True)]
    else:
        outer = [(n - 1 - low, n - 1 - high) for n, (low, high) in zip(reach, pads, strict=True)]
    y = conv_general_dilated(
        x,
        kernel,
        (1,) * rank,
        outer,
        steps,
        inner,
        (specs[0], specs[1], specs[0]),
        feature_group_count=groups,
    )
    return _finished(params, y, specs[0], single)
