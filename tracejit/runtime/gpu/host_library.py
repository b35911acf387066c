"""Matrix products, convolutions and attention of the device that plays a GPU, by NumPy.

    plan = host_plan(spec, put, within)         spec of kernel/gpu/library.py
    plan.run((lhs, rhs, out), workspace)        reads and writes host memory at these addresses

Written from what ``kernel/gpu/library.py`` says, to compare libraries and generated kernels with:
operands are views of memory as the spec lays them out, sums are of float64, results are rounded
once. The workspace is scribbled over, before operands are read and after results are written, so
that a program which keeps something there shows.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tracejit.ir.types import DTYPES
from tracejit.kernel.gpu.library import (
    AttentionSpec,
    ConvSpec,
    FftSpec,
    GemmSpec,
    Ints,
    SolverSpec,
    Spec,
)
from tracejit.ops.dot import Matmul, MatrixView
from tracejit.ops.fused import gelu, gelu_slope
from tracejit.record import dataclass
from tracejit.runtime.gpu.device import LibraryPlan
from tracejit.runtime.gpu.host_solver import solver_plan

Arrays = dict[str, np.ndarray]
#: puts work on the device's stream
Put = Callable[[Callable[[], None]], None]
#: raises where bytes at an address are not of the device: (address, bytes, what asks)
Within = Callable[[int, int, str], None]

WORKSPACE = 1024
_SPATIAL = 2  # of a convolution's operands: the axes from this one on


@dataclass(frozen=True)
class Operand:
    """How an operand lies in memory: ``strides`` in elements, for each logical axis."""

    dtype: np.dtype
    shape: Ints
    strides: Ints

    @property
    def nbytes(self) -> int:
        if 0 in self.shape:
            return 0
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return (last + 1) * self.dtype.itemsize

    def at(self, address: int) -> np.ndarray:
        """A view of the memory there."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        raw = (ctypes.c_uint8 * self.nbytes).from_address(address)
        steps = tuple(s * self.dtype.itemsize for s in self.strides)
        return as_strided(np.frombuffer(raw, np.uint8).view(self.dtype), self.shape, steps)


class HostPlan(LibraryPlan):
    """``compute`` takes the operands that are read, as float64 (bits of a mask as they are), and
    gives those that are written.
    """

    workspace = WORKSPACE

    def __init__(
        self,
        spec: Spec,
        operands: dict[str, Operand],
        compute: Callable[[Spec, Arrays], Arrays],
        put: Put,
        within: Within,
    ) -> None:
        self.spec = spec
        self.operands = operands
        self.compute = compute
        self.put = put
        self.within = within

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        named = dict(zip(self.spec.operands, addresses, strict=True))
        for name, address in named.items():
            kind = type(self.spec).__name__.removesuffix("Spec")
            self.within(address, self.operands[name].nbytes, f"{kind}: the operand {name}")
        self.within(workspace, self.workspace, "the workspace of a library")
        self.put(lambda: self._run(named, workspace))

    def _run(self, addresses: dict[str, int], workspace: int) -> None:
        ctypes.memset(workspace, 0xFF, self.workspace)
        views = {name: self.operands[name].at(address) for name, address in addresses.items()}
        wide = {
            name: view if view.dtype == np.uint8 else view.astype(np.float64)
            for name, view in views.items()
        }
        with np.errstate(all="ignore"):
            for name, result in self.compute(self.spec, wide).items():
                views[name][...] = result.astype(views[name].dtype)
        ctypes.memset(workspace, 0xFF, self.workspace)


def host_plan(spec: Spec, put: Put, within: Within) -> LibraryPlan | None:
    """A plan for ``spec``; None for a product of operands that are no matrices in memory, and for
    attention on other dtypes than f16 and bf16.
    """
    if isinstance(spec, FftSpec | SolverSpec):
        return solver_plan(spec, put, within)
    if isinstance(spec, GemmSpec):
        operands = _gemm_operands(spec)
        return None if operands is None else HostPlan(spec, operands, _gemm, put, within)
    if isinstance(spec, ConvSpec):
        return HostPlan(spec, _conv_operands(spec), _CONV[spec.direction], put, within)
    if spec.dtype not in ("f16", "bf16"):
        return None
    compute = _attention if spec.direction == "forward" else _attention_gradient
    return HostPlan(spec, _attention_operands(spec), compute, put, within)


# ---- memory --------------------------------------------------------------------------------------


def _laid_out(dtype: str, shape: Ints, axes: Ints | None = None) -> Operand:
    """A contiguous operand whose logical axes lie in the order ``axes``, major to minor."""
    strides, size = [0] * len(shape), 1
    for axis in reversed(axes or tuple(range(len(shape)))):
        strides[axis] = size
        size *= shape[axis]
    return Operand(DTYPES[dtype], shape, tuple(strides))


def _matrices(dtype: str, view: MatrixView, matmul: Matmul, rows: int, columns: int) -> Operand:
    steps = (1, view.leading) if view.transposed else (view.leading, 1)
    shape = (*matmul.batch_shape, rows, columns)
    return Operand(DTYPES[dtype], shape, (*view.batch_strides, *steps))


# ---- matrix products -----------------------------------------------------------------------------


def _gemm_operands(spec: GemmSpec) -> dict[str, Operand] | None:
    matmul = spec.matmul
    if matmul.lhs_view is None or matmul.rhs_view is None:
        return None
    shape = (*matmul.batch_shape, matmul.m, matmul.n)
    aux = _laid_out(spec.out, shape)
    if "relu" in spec.epilogue:  # a bit for each element
        if "aux" in spec.operands and matmul.n % 8:
            return None
        aux = Operand(np.dtype(np.uint8), *_rows_of_bits(shape))
    return {
        "lhs": _matrices(spec.dtype, matmul.lhs_view, matmul, matmul.m, matmul.k),
        "rhs": _matrices(spec.dtype, matmul.rhs_view, matmul, matmul.k, matmul.n),
        "bias": _laid_out(spec.out, (matmul.n,)),
        "dbias": _laid_out(spec.out, (matmul.n,)),
        "out": _laid_out(spec.out, shape),
        "aux": aux,
    }


def _rows_of_bits(shape: Ints) -> tuple[Ints, Ints]:
    packed = (*shape[:-1], shape[-1] // 8)
    return packed, _laid_out("u8", packed).strides


def tf32(x: np.ndarray) -> np.ndarray:
    """float32 values rounded to the 10 bits that a tensor core reads of them, half away from zero.

    >>> tf32(np.array([1 + 2**-10, 1 + 2**-12])).tolist()
    [1.0009765625, 1.0]
    """
    bits = x.astype(np.float32).view(np.uint32)
    finite = (bits & 0x7F800000) != 0x7F800000
    rounded = (bits + np.where(finite, 0x1000, 0).astype(np.uint32)) & np.uint32(0xFFFFE000)
    return np.where(finite, rounded, bits).astype(np.uint32).view(np.float32).astype(np.float64)


def _read(spec: GemmSpec | ConvSpec, x: np.ndarray) -> np.ndarray:
    return tf32(x) if spec.compute == "tf32" else x


def _gemm(spec: Spec, at: Arrays) -> Arrays:
    assert isinstance(spec, GemmSpec)
    z = np.matmul(_read(spec, at["lhs"]), _read(spec, at["rhs"]))
    name, written = spec.epilogue, {}
    if name.startswith(("drelu", "dgelu")):
        z = z * (_bits(at["aux"]) if "relu" in name else gelu_slope(at["aux"]))
        if name.endswith("_bgrad"):
            written["dbias"] = z.sum(axis=tuple(range(z.ndim - 1)))
    else:
        if "bias" in name:
            z = z + at["bias"]
        if name.endswith("_aux"):
            written["aux"] = np.packbits(z > 0, axis=-1) if "relu" in name else z
        if "relu" in name:
            z = np.maximum(z, 0)
        elif "gelu" in name:
            z = gelu(z)
    return {**written, "out": z}


def _bits(packed: np.ndarray) -> np.ndarray:
    return np.unpackbits(packed, axis=-1)


# ---- convolutions --------------------------------------------------------------------------------


def _conv_operands(spec: ConvSpec) -> dict[str, Operand]:
    return {
        "x": _laid_out(spec.dtype, spec.x, spec.x_axes),
        "w": _laid_out(spec.dtype, spec.w, spec.w_axes),
        "y": _laid_out(spec.dtype, spec.y, spec.y_axes),
        "bias": _laid_out(spec.dtype, (spec.y[1],)),
    }


def _taps(spec: ConvSpec) -> Iterator[tuple[Ints, tuple[slice, ...]]]:
    """For each element of the kernel the part of the padded x that it is multiplied with."""
    for tap in np.ndindex(*spec.w[_SPATIAL:]):
        starts = [k * d for k, d in zip(tap, spec.dilation, strict=True)]
        ends = [(n - 1) * s + 1 for n, s in zip(spec.y[_SPATIAL:], spec.strides, strict=True)]
        yield (
            tap,
            tuple(
                slice(a, a + max(n, 0), s)
                for a, n, s in zip(starts, ends, spec.strides, strict=True)
            ),
        )


def _grouped(x: np.ndarray, groups: int, axis: int = 1) -> np.ndarray:
    """The features split into groups, all spatial axes as one: [N, G, C / G, positions]."""
    features = x.shape[axis] // groups
    return x.reshape(*x.shape[:axis], groups, features, math.prod(x.shape[axis + 1 :]))


def _weights_at(spec: ConvSpec, w: np.ndarray, tap: Ints) -> np.ndarray:
    """[G, K / G, C / G]"""
    return w[(..., *tap)].reshape(spec.groups, spec.w[0] // spec.groups, spec.w[1])


def _padded(spec: ConvSpec, x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), *spec.padding))


def _conv(spec: Spec, at: Arrays) -> Arrays:
    assert isinstance(spec, ConvSpec)
    x, w = _padded(spec, _read(spec, at["x"])), _read(spec, at["w"])
    y = np.zeros((spec.y[0], spec.groups, spec.y[1] // spec.groups, math.prod(spec.y[_SPATIAL:])))
    for tap, part in _taps(spec):
        seen = _grouped(x[(..., *part)], spec.groups)
        y += np.matmul(_weights_at(spec, w, tap), seen)
    y = y.reshape(spec.y)
    if "bias" in spec.epilogue:
        y = y + at["bias"].reshape(-1, *(1,) * len(spec.y[_SPATIAL:]))
    return {"y": np.maximum(y, 0) if "relu" in spec.epilogue else y}


def _conv_data(spec: Spec, at: Arrays) -> Arrays:
    assert isinstance(spec, ConvSpec)
    dy, w = _grouped(_read(spec, at["y"]), spec.groups), _read(spec, at["w"])
    dx = _padded(spec, np.zeros(spec.x))
    for tap, part in _taps(spec):
        turned = _weights_at(spec, w, tap).transpose(0, 2, 1)
        dx[(..., *part)] += np.matmul(turned, dy).reshape(*spec.x[:2], *spec.y[_SPATIAL:])
    inner = (
        slice(before, before + n)
        for (before, _), n in zip(spec.padding, spec.x[_SPATIAL:], strict=True)
    )
    return {"x": dx[(..., *inner)]}


def _conv_weights(spec: Spec, at: Arrays) -> Arrays:
    assert isinstance(spec, ConvSpec)
    dy = _grouped(_read(spec, at["y"]), spec.groups)
    x = _padded(spec, _read(spec, at["x"]))
    dw = np.zeros(spec.w)
    for tap, part in _taps(spec):
        seen = _grouped(x[(..., *part)], spec.groups)
        dw[(..., *tap)] = np.matmul(dy, seen.swapaxes(-1, -2)).sum(axis=0).reshape(spec.w[:2])
    return {"w": dw}


_CONV = {"forward": _conv, "data": _conv_data, "weights": _conv_weights}


# ---- attention -----------------------------------------------------------------------------------


def _attention_operands(spec: AttentionSpec) -> dict[str, Operand]:
    rows = (spec.batch, spec.heads, spec.queries, spec.width)
    columns = (spec.batch, spec.heads, spec.keys, spec.width)
    shapes = dict.fromkeys(("q", "out", "dout", "dq"), rows)
    shapes |= dict.fromkeys(("k", "v", "dk", "dv"), columns)
    found = {name: _laid_out(spec.dtype, shape, spec.axes) for name, shape in shapes.items()}
    found["bias"] = _laid_out(spec.dtype, spec.bias)
    found["stats"] = _laid_out("f32", (*rows[:3], 1))
    return found


def _scores(spec: AttentionSpec, at: Arrays) -> np.ndarray:
    """q k^T * scale + mask, [B, H, S, T]."""
    scores = np.matmul(at["q"], at["k"].swapaxes(-1, -2)) * spec.scale
    if spec.mask == "bias":
        scores = scores + at["bias"]
    if spec.mask == "causal":
        scores = np.where(np.tri(spec.queries, spec.keys, dtype=bool), scores, -np.inf)
    return scores


def _attention(spec: Spec, at: Arrays) -> Arrays:
    assert isinstance(spec, AttentionSpec)
    scores = _scores(spec, at)
    most = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    powers = np.exp(scores - np.where(np.isfinite(most), most, 0))
    total = powers.sum(axis=-1, keepdims=True)
    return {"out": np.matmul(powers / total, at["v"]), "stats": np.log(total) + most}


def _attention_gradient(spec: Spec, at: Arrays) -> Arrays:
    """Dao et al., "FlashAttention" (2022), appendix B: from the stored result and statistics."""
    assert isinstance(spec, AttentionSpec)
    p = np.exp(_scores(spec, at) - at["stats"])
    delta = (at["dout"] * at["out"]).sum(axis=-1, keepdims=True)
    ds = p * (np.matmul(at["dout"], at["v"].swapaxes(-1, -2)) - delta) * spec.scale
    return {
        "dq": np.matmul(ds, at["k"]),
        "dk": np.matmul(ds.swapaxes(-1, -2), at["q"]),
        "dv": np.matmul(p.swapaxes(-1, -2), at["dout"]),
    }
