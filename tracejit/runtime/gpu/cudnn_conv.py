"""Convolutions as graphs of cuDNN.

    graph = conv_graph(spec, target)         ConvSpec -> Built: operations, and who has which number

A convolution of one spatial axis is one of two whose first has extent 1, since engines know images
and volumes. A bias and a relu are operations behind the convolution, which cuDNN fuses with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.kernel.gpu.library import ConvSpec, Ints
from tracejit.record import dataclass
from tracejit.runtime.gpu import cudnn
from tracejit.runtime.gpu.cudnn import Built, Descriptor, Target, pointwise, tensor

#: dtype of operands -> what products are summed in
COMPUTE = {"f16": "f32", "bf16": "f32", "f32": "f32", "f64": "f64"}


@dataclass(frozen=True)
class _Sizes:
    """A spec's extents with at least two spatial axes."""

    x: Ints
    w: Ints
    y: Ints
    x_strides: Ints
    w_strides: Ints
    y_strides: Ints
    strides: Ints
    before: Ints
    after: Ints
    dilation: Ints


def why_not(spec: ConvSpec) -> str:
    """Why no graph is made of a spec, before cuDNN is asked; empty where one is."""
    if spec.dtype not in COMPUTE:
        return f"cuDNN has no convolutions of {spec.dtype}"
    if not 1 <= len(spec.strides) <= 3:
        return f"cuDNN convolves 1 to 3 spatial axes, not {len(spec.strides)}"
    if 0 in (*spec.x, *spec.w, *spec.y):
        return "an operand has no elements"
    if any(low < 0 or high < 0 for low, high in spec.padding):
        return "cuDNN does not crop (a padding is negative)"
    if spec.epilogue and spec.direction != "forward":
        return f"{spec.epilogue} goes with forward convolutions only"
    for shape, axes in ((spec.x, spec.x_axes), (spec.w, spec.w_axes), (spec.y, spec.y_axes)):
        if packed(shape, axes) is None:
            return f"cuDNN's tensors have their features first or last, not in the order {axes}"
    return ""


def packed(shape: Ints, axes: Ints) -> Ints | None:
    """The order, features first or features last, that ``axes`` are, where axes of one element may
    stand anywhere; None where they are neither. cuDNN makes plans for other orders too, but out of
    engines that ask only which of features and columns lies closer.

    >>> packed((32, 3, 1, 1), (2, 3, 0, 1)), packed((32, 3, 5, 5), (2, 3, 0, 1))
    ((0, 1, 2, 3), None)
    """
    first = tuple(range(len(shape)))
    last = (0, *first[2:], 1)
    found = [axis for axis in axes if shape[axis] > 1]
    orders = (axes, first, last) if axes in (first, last) else (first, last)
    return next(
        (order for order in orders if [axis for axis in order if shape[axis] > 1] == found), None
    )


def conv_graph(spec: ConvSpec, target: Target) -> Built:
    """The graph of a spec that ``why_not`` has nothing against. Raises CudnnError."""
    size, compute = _sizes(spec), COMPUTE[spec.dtype]
    x = tensor(1, spec.dtype, size.x, size.x_strides)
    w = tensor(2, spec.dtype, size.w, size.w_strides)
    scale = cudnn.DOUBLE if compute == "f64" else cudnn.FLOAT
    shared = {
        "conv_desc": _how(size, compute),
        "alpha": (1.0, scale),
        "beta": (0.0, scale),
    }
    uids = {"x": 1, "w": 2, "y": 3, "bias": 4}
    if spec.direction == "forward" and spec.epilogue:
        ops = _with_epilogue(spec, size, compute, x, w, shared)
    else:
        y = tensor(3, spec.dtype, size.y, size.y_strides)
        names = {
            "forward": {"x": x, "w": w, "y": y},
            "data": {"dx": x, "w": w, "dy": y},
            "weights": {"x": x, "dw": w, "dy": y},
        }
        ops = [Descriptor(spec.direction, **names[spec.direction], **shared)]
    graph = Descriptor("graph", ops=ops, **target.graph)
    return Built(graph, tuple(uids[name] for name in spec.operands))


def _with_epilogue(
    spec: ConvSpec,
    size: _Sizes,
    compute: str,
    x: Descriptor,
    w: Descriptor,
    shared: dict[str, object],
) -> list[Descriptor]:
    """The convolution into a tensor that is never stored, then what comes behind it."""
    steps = spec.epilogue.split("_")
    values = [
        tensor(10 + k, compute, size.y, size.y_strides, virtual=True) for k in range(len(steps))
    ]
    values.append(tensor(3, spec.dtype, size.y, size.y_strides))
    ops = [Descriptor("forward", x=x, w=w, y=values[0], **shared)]
    for step, before, after in zip(steps, values[:-1], values[1:], strict=True):
        if step == "relu":
            ops.append(pointwise("relu", before, after, compute=compute))
            continue
        channels = size.w[0]
        shape = (1, channels, *(1 for _ in size.strides))
        bias = tensor(4, spec.dtype, shape, (channels, 1, *(channels for _ in size.strides)))
        ops.append(pointwise("add", before, after, bias, compute=compute))
    return ops


def _how(size: _Sizes, compute: str) -> Descriptor:
    return Descriptor(
        "convolution",
        comp_type=cudnn.DATA_TYPES[compute],
        conv_mode=cudnn.CROSS_CORRELATION,
        spatial_dims=len(size.strides),
        pre_paddings=size.before,
        post_paddings=size.after,
        filter_strides=size.strides,
        dilations=size.dilation,
    )


def _sizes(spec: ConvSpec) -> _Sizes:
    flat = len(spec.strides) == 1
    one, none = ((1,), (0,)) if flat else ((), ())
    shapes = (spec.x, spec.w, spec.y)
    orders = (
        packed(shape, axes) or axes
        for shape, axes in zip(shapes, (spec.x_axes, spec.w_axes, spec.y_axes), strict=True)
    )
    return _Sizes(
        *((*shape[:2], 1, shape[2]) if flat else shape for shape in shapes),
        *(
            _widened_strides(shape, axes) if flat else strides(shape, axes)
            for shape, axes in zip(shapes, orders, strict=True)
        ),
        (*one, *spec.strides),
        (*none, *(low for low, _ in spec.padding)),
        (*none, *(high for _, high in spec.padding)),
        (*one, *spec.dilation),
    )


def strides(shape: Sequence[int], axes: Sequence[int]) -> Ints:
    """Steps of each axis, in elements, where ``axes`` lie in memory from major to minor.

    >>> strides((2, 3, 4, 5), (0, 2, 3, 1))
    (60, 1, 15, 3)
    """
    found, step = [0] * len(shape), 1
    for axis in reversed(axes):
        found[axis] = step
        step *= shape[axis]
    return tuple(found)


def _widened_strides(shape: Ints, axes: Ints) -> Ints:
    """Those of a tensor with an axis of one element before the spatial one, as if it had more."""
    first, second, last = strides(shape, axes)
    return (first, second, last * shape[2], last)
