"""Matrix products with what follows them on each element, as the libraries of GPUs compute them.

    fused_matmul(x: f16[64,256], w: f16[256,512], bias: f16[512], epilogue="bias_gelu_aux",
                 dimension_numbers=(((1,), (0,)), ((), ())), preferred_element_type=None)
        -> f16[64,512], f16[64,512]

``passes/epilogue.py`` writes these where a target's library has them, after differentiation and
batching: the record needs no rules for either, and has none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops.dot import DimensionNumbers, accumulator, dot_general, free_axes

#: epilogue -> (operands after the two matrices, results after the product). ``bias`` is a vector
#: along the last axis; ``gelu`` is the tanh form; "d..." multiply by the derivative at ``aux``,
#: which the "_aux" ones leave: for gelu what it was applied to, for relu one bit an element, set
#: where that was positive; ``dbias`` is the sum over all axes but the last
EPILOGUES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bias": (("bias",), ()),
    "relu": ((), ()),
    "bias_relu": (("bias",), ()),
    "relu_aux": ((), ("aux",)),
    "bias_relu_aux": (("bias",), ("aux",)),
    "gelu": ((), ()),
    "bias_gelu": (("bias",), ()),
    "gelu_aux": ((), ("aux",)),
    "bias_gelu_aux": (("bias",), ("aux",)),
    "drelu": (("aux",), ()),
    "drelu_bgrad": (("aux",), ("dbias",)),
    "dgelu": (("aux",), ()),
    "dgelu_bgrad": (("aux",), ("dbias",)),
}
#: what the last axis must be a multiple of for an ``aux``: libraries keep it in such units
UNITS = {"relu": 128, "gelu": 8}

_SLOPE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def gelu(x: np.ndarray) -> np.ndarray:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))): Hendrycks and Gimpel (2016).

    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(3)
    array([-0.159,  0.   ,  0.841])
    """
    inner = _SLOPE * x * (1 + _CUBIC * x * x)
    return np.asarray(0.5 * x * (1 + np.tanh(inner)))


def gelu_slope(x: np.ndarray) -> np.ndarray:
    """The derivative of ``gelu``.

    >>> gelu_slope(np.array([-1.0, 0.0, 1.0])).round(3)
    array([-0.083,  0.5  ,  1.083])
    """
    t = np.tanh(_SLOPE * x * (1 + _CUBIC * x * x))
    return np.asarray(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * _SLOPE * (1 + 3 * _CUBIC * x * x))


def activation(epilogue: str) -> str:
    """The function in an epilogue's name: "relu", "gelu" or ""."""
    return next((name for name in UNITS if name in epilogue), "")


def aux_type(epilogue: str, out: TensorType) -> TensorType:
    """The type of the ``aux`` that goes with a product of type ``out``. Raises ShapeError."""
    name = activation(epilogue)
    if not out.shape or out.shape[-1] % UNITS[name]:
        raise ShapeError(
            f"fused_matmul: {epilogue} takes a last axis that {UNITS[name]} divides, not {out}"
        )
    if name == "gelu":
        return out
    return TensorType(DTYPES["u8"], (*out.shape[:-1], out.shape[-1] // 8))


def _infer(
    lhs: TensorType,
    rhs: TensorType,
    *more: TensorType,
    dimension_numbers: DimensionNumbers,
    preferred_element_type: np.dtype | None,
    epilogue: str,
) -> Any:
    if epilogue not in EPILOGUES:
        raise ArgumentError(f"fused_matmul: no epilogue `{epilogue}`: there are {list(EPILOGUES)}")
    out = dot_general.infer(
        lhs,
        rhs,
        dimension_numbers=dimension_numbers,
        preferred_element_type=preferred_element_type,
    )
    (_, contract), (_, batch) = dimension_numbers
    if kind(out.dtype) != "f":
        raise DTypeError(f"fused_matmul: floats only, not {out}")
    if len(free_axes(rhs.ndim, contract, batch)) != 1:
        raise ShapeError(f"fused_matmul: the right operand {rhs} keeps one axis of its own")
    vector = TensorType(out.dtype, out.shape[-1:])
    operands, results = EPILOGUES[epilogue]
    types = {"bias": vector, "dbias": vector}
    if "aux" in (*operands, *results):
        types["aux"] = aux_type(epilogue, out)
    wanted = tuple(types[name] for name in operands)
    if more != wanted:
        raise ShapeError(f"fused_matmul: {epilogue} takes {operands} of {wanted}, not {more}")
    found = (out, *(types[name] for name in results))
    return found if results else out


def _numpy(
    lhs: Any,
    rhs: Any,
    *more: Any,
    dimension_numbers: DimensionNumbers,
    preferred_element_type: np.dtype | None,
    epilogue: str,
) -> Any:
    wide = accumulator(np.dtype(preferred_element_type or lhs.dtype))
    product = dot_general.rule("numpy")(
        lhs.astype(wide, copy=False),
        rhs.astype(wide, copy=False),
        dimension_numbers=dimension_numbers,
        preferred_element_type=None,
    )
    operands, results = EPILOGUES[epilogue]
    types = _infer(
        *(TensorType(x.dtype, x.shape) for x in (lhs, rhs, *more)),
        dimension_numbers=dimension_numbers,
        preferred_element_type=preferred_element_type,
        epilogue=epilogue,
    )
    made = applied(product, epilogue, dict(zip(operands, more, strict=True)))
    if not results:
        return made["out"].astype(types.dtype, copy=False)
    named = zip(("out", *results), types, strict=True)
    return tuple(made[name].astype(type.dtype, copy=False) for name, type in named)


def applied(
    product: np.ndarray, epilogue: str, given: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """``epilogue`` on a product that is not rounded yet: ``out``, ``aux`` and ``dbias`` by name,
    not rounded either. ``given``: ``bias`` and ``aux``, where the epilogue reads them.
    """
    of, x = activation(epilogue), product
    with np.errstate(all="ignore"):
        if "bias" in given:
            x = x + given["bias"].astype(x.dtype, copy=False)
        if "aux" in given and of == "relu":
            bits = np.unpackbits(given["aux"], axis=-1, bitorder="little")
            x = np.where(bits.astype(np.bool_), x, np.zeros((), x.dtype))
        elif "aux" in given:
            x = x * gelu_slope(given["aux"].astype(x.dtype, copy=False))
        elif of == "relu":
            aux = np.packbits(x > 0, axis=-1, bitorder="little")
            return {"out": np.where(x <= 0, np.zeros((), x.dtype), x), "aux": aux}
        elif of == "gelu":
            return {"out": gelu(x), "aux": x}
        return {"out": x, "dbias": x.sum(axis=tuple(range(x.ndim - 1)))}


def _cases() -> list[Any]:
    found = []
    for epilogue, (operands, results) in EPILOGUES.items():
        columns = UNITS[activation(epilogue)] if "aux" in (*operands, *results) else 5
        for dtype in ("f32", "f16", "bf16"):
            out = TensorType(DTYPES[dtype], (3, columns))
            vector = TensorType(DTYPES[dtype], (columns,))
            more = (vector if name == "bias" else aux_type(epilogue, out) for name in operands)
            types = (out.with_shape((3, 4)), out.with_shape((4, columns)))
            params = {
                "dimension_numbers": (((1,), (0,)), ((), ())),
                "preferred_element_type": None,
                "epilogue": epilogue,
            }
            found.append(((*types, *more), params))
    return found + _odd_cases()


def _odd_cases() -> list[Any]:
    """Batches, several rows' axes, transposed operands, wide results, nothing to sum."""

    def case(lhs: Any, rhs: Any, bias: int, numbers: Any, epilogue: str, wide: bool = False) -> Any:
        dtype = DTYPES["f16" if wide else "f32"]
        types = (TensorType(dtype, lhs), TensorType(dtype, rhs))
        more = (TensorType(DTYPES["f32"], (bias,)),) if bias else ()
        preferred = DTYPES["f32"] if wide else None
        params = {"dimension_numbers": numbers, "preferred_element_type": preferred}
        return (*types, *more), {**params, "epilogue": epilogue}

    none: Any = ((), ())
    return [
        case((2, 3, 4), (2, 4, 5), 5, (((2,), (1,)), ((0,), (0,))), "bias_relu"),
        case((2, 3, 4), (5, 4), 5, (((2,), (1,)), none), "bias_gelu"),
        case((4, 1), (4, 8), 0, (((0,), (0,)), none), "gelu_aux"),
        case((3, 4), (4, 5), 5, (((1,), (0,)), none), "bias", True),
        case((3, 0), (0, 8), 8, (((1,), (0,)), none), "bias_gelu_aux"),
        case((0, 4), (4, 5), 0, (((1,), (0,)), none), "relu"),
    ]


fused_matmul = Primitive(
    "fused_matmul",
    params=("dimension_numbers", "preferred_element_type", "epilogue"),
    infer=_infer,
    numpy=_numpy,
    library="gemm_epilogue",
    domain=(-1.0, 1.0),
    kinds="f",
    cases=_cases,
    lowers=lambda *types, **params: False,  # no loops of its own: a library, or the NumPy meaning
    doc="A product of matrices with a bias, relu or gelu, or the gradient of one, applied before "
    "it is rounded; written by passes of the GPU back end only, so without derivative and batch.",
)
