"""What a GPU program asks of libraries, as data: matrix products, convolutions, attention.

    spec = GemmSpec("f16", "f16", "f32", as_matmul(...), epilogue="bias_relu")
    plan = device.library(spec)                  runtime/gpu/device.py
    plan.run((lhs, rhs, bias, out), workspace)   addresses, in the order of ``spec.operands``

Nothing here knows a library: a device picks one, or says that it has none for a spec.
"""

from __future__ import annotations

from tracejit.ops.dot import Matmul
from tracejit.record import dataclass

Ints = tuple[int, ...]


@dataclass(frozen=True)
class GemmSpec:
    """``out[b] = epilogue(lhs[b] @ rhs[b])``, row-major, operands as ``matmul``'s views say.

    ``dtype`` of both operands, ``out`` of the result: f16 bf16 f32 f64; ``compute``: what products
    are summed in, "f32", "tf32" (f32 operands rounded to 10 bits, by the user's choice only) or
    "f64". ``epilogue``: "", or one of ``EPILOGUES``. ``bias`` is a vector along N (of ``out``'s
    dtype), ``aux`` what a gradient's epilogue needs or a forward one leaves for it, [M, N].
    """

    dtype: str
    out: str
    compute: str
    matmul: Matmul
    epilogue: str = ""

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the addresses that ``run`` takes, in order; written ones come last."""
        return EPILOGUES[self.epilogue]


#: epilogue -> operands of a product with it. ``gelu`` is the tanh form. "drelu"/"dgelu" multiply by
#: the derivative at aux; "_bgrad" also leaves the sum over M in ``dbias``; "_aux" leaves in ``aux``
#: what the gradient needs: for gelu what it is applied to, of the dtype of out (N a multiple of 8);
#: for relu a mask of bits, in rows of N / 8 bytes whose order is the library's own affair (N a
#: multiple of 128)
EPILOGUES: dict[str, tuple[str, ...]] = {
    "": ("lhs", "rhs", "out"),
    "bias": ("lhs", "rhs", "bias", "out"),
    "relu": ("lhs", "rhs", "out"),
    "bias_relu": ("lhs", "rhs", "bias", "out"),
    "relu_aux": ("lhs", "rhs", "out", "aux"),
    "bias_relu_aux": ("lhs", "rhs", "bias", "out", "aux"),
    "gelu": ("lhs", "rhs", "out"),
    "bias_gelu": ("lhs", "rhs", "bias", "out"),
    "gelu_aux": ("lhs", "rhs", "out", "aux"),
    "bias_gelu_aux": ("lhs", "rhs", "bias", "out", "aux"),
    "drelu": ("lhs", "rhs", "aux", "out"),
    "dgelu": ("lhs", "rhs", "aux", "out"),
    "drelu_bgrad": ("lhs", "rhs", "aux", "out", "dbias"),
    "dgelu_bgrad": ("lhs", "rhs", "aux", "out", "dbias"),
}


@dataclass(frozen=True)
class ConvSpec:
    """A convolution of one to three spatial axes, or one of its gradients.

    ``direction``: "forward" y = conv(x, w), "data" dx from (dy, w), "weights" dw from (x, dy). All
    shapes are logical: x [N, C, *spatial], w [K, C / groups, *kernel], y [N, K, *out]; ``x_axes``,
    ``w_axes``, ``y_axes`` say in which order (major to minor) these axes lie in memory: (0, 1, 2,
    3) is NCHW, (0, 2, 3, 1) NHWC. ``padding``: (before, after) for each spatial axis, of x.
    ``epilogue``: "", "bias", "relu" or "bias_relu" (forward only; the bias has K elements).
    """

    direction: str
    dtype: str
    compute: str
    x: Ints
    w: Ints
    y: Ints
    x_axes: Ints
    w_axes: Ints
    y_axes: Ints
    strides: Ints
    padding: tuple[tuple[int, int], ...]
    dilation: Ints
    groups: int = 1
    epilogue: str = ""

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the addresses that ``run`` takes, in order."""
        if self.direction == "data":
            return ("y", "w", "x")
        if self.direction == "weights":
            return ("x", "y", "w")
        return ("x", "w", "bias", "y") if "bias" in self.epilogue else ("x", "w", "y")


@dataclass(frozen=True)
class AttentionSpec:
    """softmax(q k^T * scale + mask) v for each batch and head, or its gradient; f16 or bf16.

    q [B, H, S, D], k and v [B, H, T, D] in logical order; ``axes`` in which order these four lie in
    memory (the same for all). ``mask``: "" none, "causal" (key position <= query position; S == T),
    or "bias" (an operand [B or 1, H or 1, S, T] that is added, shape ``bias``). ``direction``:
    "forward" also leaves ``stats``, the logarithm of each row's sum of exponentials, f32 [B, H, S,
    1]; "backward" gives dq, dk, dv.
    """

    direction: str
    dtype: str
    batch: int
    heads: int
    queries: int
    keys: int
    width: int
    scale: float
    axes: Ints = (0, 1, 2, 3)
    mask: str = ""
    bias: Ints = ()

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the addresses that ``run`` takes, in order."""
        extra = ("bias",) if self.mask == "bias" else ()
        if self.direction == "forward":
            return ("q", "k", "v", *extra, "out", "stats")
        return ("q", "k", "v", *extra, "out", "stats", "dout", "dq", "dk", "dv")


Spec = GemmSpec | ConvSpec | AttentionSpec
