"""What a GPU program asks of libraries, as data: matrix products, convolutions, attention, Fourier
transforms, linear algebra.

    spec = GemmSpec("f16", "f16", "f32", as_matmul(...), epilogue="bias_relu")
    plan = device.library(spec)                  runtime/gpu/device.py
    plan.run((lhs, rhs, bias, out), workspace)   addresses, in the order of ``spec.operands``

Nothing here knows a library: a device picks one, or says that it has none for a spec.
"""

from __future__ import annotations

from math import prod

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


@dataclass(frozen=True)
class FftSpec:
    """``batch`` Fourier transforms over one to three axes, none of them scaled.

    ``kind``: "fft" and "ifft" (complex, exponents of either sign), "rfft" (real to the first half
    of the spectrum along the last axis) and "irfft" (that spectrum to real; one axis only, its
    first bin and the last of an even length are real). ``dtype``: of the real numbers, f32 or f64.
    ``lengths``: of the signal. Where ``first``, these axes lie before that of the batch in memory,
    else behind it. ``x`` may be written to while an "irfft" runs, and is what it was after it.
    """

    kind: str
    dtype: str
    lengths: Ints
    batch: int
    first: bool = False

    @property
    def extents(self) -> tuple[Ints, Ints]:
        """Of the axes in ``x`` and in ``y``."""
        half = (*self.lengths[:-1], self.lengths[-1] // 2 + 1)
        return (
            half if self.kind == "irfft" else self.lengths,
            half if self.kind == "rfft" else self.lengths,
        )

    @property
    def strides(self) -> tuple[int, int, int]:
        """From an element to the next of the last axis, and from a transform to the next: in both
        of ``x`` and ``y``, for the former; of each, in elements, for the latter.
        """
        x, y = self.extents
        return (self.batch, 1, 1) if self.first else (1, prod(x), prod(y))

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the addresses that ``run`` takes, in order."""
        return ("x", "y")

    @property
    def recorded(self) -> bool:
        """Whether the call can be part of a recording."""
        return True


@dataclass(frozen=True)
class SolverSpec:
    """A routine of LAPACK for each of ``batch`` matrices that lie one after the other, ``m`` rows
    by ``n`` columns, column after column and with nothing between columns. What it means, and which
    operands it has, ``ROUTINES`` says.

    ``dtype``: f32 f64 c64 c128. ``count``: right hand sides, reflectors. ``options``: letters.
    """

    routine: str
    dtype: str
    m: int
    n: int
    batch: int = 1
    count: int = 0
    options: tuple[str, ...] = ()

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the addresses that ``run`` takes, in order."""
        names = ROUTINES[self.routine]
        if self.options[:1] == ("N",) and "u" in names:
            return tuple(name for name in names if name not in ("u", "v"))
        return names

    @property
    def recorded(self) -> bool:
        """Whether the call can be part of a recording: cuSOLVER's cannot, cuBLAS's can."""
        return self.routine == "trsm"


#: routine -> its operands. ``a`` is overwritten everywhere but in trsm, ``info`` has an i32 for
#: each matrix: 0 where all went well.
#:   potrf   the upper triangle of Hermitian a becomes U of a = U^H U; below it, a stays
#:   getrf   L and U of P a = L U; pivots from 1: i64, or i32 where options are ("batched",)
#:   geqrf   R and the reflectors of a = Q R; taus: min(m, n) of them
#:   orgqr   the first n columns of Q from ``count`` reflectors
#:   trsm    b := op(a)^-1 b, or b op(a)^-1; b has m rows and n columns. options: side "L" "R",
#:           triangle "L" "U", op "N" "T" "C", diagonal "N" or "U" (ones)
#:   syevd   options: "V" or "N" (no vectors), triangle "L" "U". values ascend, of the real dtype;
#:           a becomes the eigenvectors
#:   gesvd   m >= n. options: "A", "S" (n columns of u) or "N". values descend; u, and v = V^H
#:   gesvdj  the same of small matrices of any shape ("A" or "N"), but v = V
ROUTINES: dict[str, tuple[str, ...]] = {
    "potrf": ("a", "info"),
    "getrf": ("a", "pivots", "info"),
    "geqrf": ("a", "taus", "info"),
    "orgqr": ("taus", "a", "info"),
    "trsm": ("a", "b"),
    "syevd": ("a", "values", "info"),
    "gesvd": ("a", "values", "u", "v", "info"),
    "gesvdj": ("a", "values", "u", "v", "info"),
}


Spec = GemmSpec | ConvSpec | AttentionSpec | FftSpec | SolverSpec
