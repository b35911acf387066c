"""Random bits as a function of key and position: threefry2x32, the same bits as JAX's default.

    threefry2x32(k0: u32[5], k1: u32[5], hi: u32[5], lo: u32[5])  -> u32[5], u32[5]
    random_bits(key: u32[2], shape=(3, 4), bit_width=32)          -> u32[3,4]

threefry2x32 is the 20-round Threefry block cipher of Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3" (2011), with a key of two words and a counter of two words. With (o0, o1) =
threefry2x32(key, counter) the functions of keys are, all as in JAX with partitionable threefry:

    bits      counter = (high, low) words of the row-major position p; 32 bits: o0 ^ o1;
              64 bits: o0 << 32 | o1; 8 and 16 bits: the low bits of o0 ^ o1
    split     key number p of the result is (o0, o1) at counter = words of p
    fold_in   (o0, o1) at counter = (0, data)

As each element depends on nothing but the key and its own position, bits fuse into their consumers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError
from tracejit.ir.expr import Const, Expr, Op, const
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.ops.broadcast import with_batch_axis
from tracejit.ops.family import same_shape
from tracejit.ops.layout import linear_index

U32 = DTYPES["u32"]
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA  # the constant of the key schedule
HINT = "make one with random.key"
MASK = 0xFFFFFFFF
#: pairs of words up to which the cipher runs on Python's integers
FEW = 6
#: the numbers up to 32 as arrays: NumPy converts scalars at each call
_WORDS = tuple(np.array(k, np.uint32) for k in range(33))
WIDTHS = {8: DTYPES["u8"], 16: DTYPES["u16"], 32: U32, 64: DTYPES["u64"]}


# ---- the cipher ----------------------------------------------------------------------------------


def threefry_arrays(k0: Any, k1: Any, c0: Any, c1: Any) -> tuple[Any, Any]:
    """The cipher on uint32 arrays that broadcast against each other."""
    spread = np.broadcast(k0, k1, c0, c1)
    if spread.size <= FEW:
        pairs = [threefry_integers(*map(int, four)) for four in spread]
        words = np.array(pairs, np.uint32).reshape(*spread.shape, 2)
        return words[..., 0].copy(), words[..., 1].copy()
    with np.errstate(over="ignore"):
        keys = (np.asarray(k0), np.asarray(k1), np.asarray(k0 ^ k1 ^ np.uint32(PARITY)))
        x0 = np.array(np.broadcast_to(c0 + keys[0], spread.shape))
        x1 = np.array(np.broadcast_to(c1 + keys[1], spread.shape))
        left = np.empty_like(x1)
        for group in range(5):
            for turn in ROTATIONS[group % 2]:
                np.add(x0, x1, x0)
                np.left_shift(x1, _WORDS[turn], left)
                np.right_shift(x1, _WORDS[32 - turn], x1)
                np.bitwise_or(left, x1, x1)
                np.bitwise_xor(x1, x0, x1)
            np.add(x0, keys[(group + 1) % 3], x0)
            np.add(x1, keys[(group + 2) % 3] + _WORDS[group + 1], x1)
    return x0, x1


def threefry_integers(k0: int, k1: int, c0: int, c1: int) -> tuple[int, int]:
    """The cipher on Python's integers: for few words that is quicker."""
    keys = (k0, k1, k0 ^ k1 ^ PARITY)
    x0, x1 = c0 + k0 & MASK, c1 + k1 & MASK
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            x0 = x0 + x1 & MASK
            x1 = (x1 << turn | x1 >> 32 - turn) & MASK ^ x0
        x0 = x0 + keys[(group + 1) % 3] & MASK
        x1 = x1 + keys[(group + 2) % 3] + group + 1 & MASK
    return x0, x1


def _u32(fn: str, a: Expr, b: Expr | int) -> Expr:
    return Op(fn, (a, Const(b, "u32") if isinstance(b, int) else b), "u32")


def threefry_exprs(k0: Expr, k1: Expr, c0: Expr, c1: Expr) -> tuple[Expr, Expr]:
    """The cipher on expressions of dtype u32."""
    keys = (k0, k1, _u32("xor", _u32("xor", k0, k1), PARITY))
    x0, x1 = _u32("add", c0, keys[0]), _u32("add", c1, keys[1])
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            x0 = _u32("add", x0, x1)
            left, right = _u32("shift_left", x1, turn), _u32("shift_right_logical", x1, 32 - turn)
            x1 = _u32("xor", _u32("or", left, right), x0)
        x0 = _u32("add", x0, keys[(group + 1) % 3])
        x1 = _u32("add", _u32("add", x1, keys[(group + 2) % 3]), group + 1)
    return x0, x1


def _infer_threefry(*types: TensorType) -> Any:
    if len(types) != 4:
        raise ArgumentError(f"threefry2x32: takes two key and two counter words, not {len(types)}")
    if any(x.dtype != U32 for x in types):
        names = ", ".join(short(x.dtype) for x in types)
        raise DTypeError(f"threefry2x32: takes u32 operands, not {names}")
    same_shape("threefry2x32", types)
    return types[0], types[0]


def _numpy_threefry(*xs: Any) -> Any:
    return tuple(np.asarray(x) for x in threefry_arrays(*xs))


def _batch_threefry(size: int, mask: Any, xs: Any) -> Any:
    return threefry2x32(*[with_batch_axis(x, size, m) for x, m in zip(xs, mask, strict=True)])


threefry2x32 = Primitive(
    "threefry2x32",
    infer=_infer_threefry,
    numpy=_numpy_threefry,
    jvp=lambda dxs, ys, xs: (None, None),
    batch=_batch_threefry,
    element=lambda xs, index: threefry_exprs(*[x(index) for x in xs]),
    domain=(0, 2**32 - 1),
    kinds="u",
    heavy=True,
    cases=lambda: [((TensorType(U32, shape),) * 4, {}) for shape in ((5,), (), (2, 3), (0,))],
    doc="The Threefry cipher with 20 rounds on pairs of 32-bit words: (key0, key1, high, low).",
)


# ---- bits ----------------------------------------------------------------------------------------


def _infer_bits(key: TensorType, *, shape: tuple[int, ...], bit_width: int) -> TensorType:
    if bit_width not in WIDTHS:
        raise ArgumentError(f"random_bits: bit_width is 8, 16, 32 or 64, not {bit_width}")
    if key.dtype != U32:
        raise DTypeError(
            f"random_bits: a key is u32[2], not {key}", hint="make one with random.key"
        )
    if key.ndim == 0 or key.shape[-1] != 2:
        raise ShapeError(
            f"random_bits: a key is u32[2], not {key}", hint="make one with random.key"
        )
    return TensorType(WIDTHS[bit_width], (*key.shape[:-1], *shape))


def _numpy_bits(key: Any, *, shape: tuple[int, ...], bit_width: int) -> Any:
    size = math.prod(shape)
    if size <= 2**32:
        high, low = _WORDS[0], np.arange(size, dtype=np.uint32).reshape(shape)
    else:
        position = np.arange(size, dtype=np.uint64).reshape(shape)
        high, low = (position >> np.uint64(32)).astype(np.uint32), position.astype(np.uint32)
    lead = (*key.shape[:-1], *(1,) * len(shape))
    o0, o1 = threefry_arrays(key[..., 0].reshape(lead), key[..., 1].reshape(lead), high, low)
    if bit_width == 64:
        return (o0.astype(np.uint64) << np.uint64(32)) | o1.astype(np.uint64)
    return np.asarray(o0 ^ o1).astype(WIDTHS[bit_width], copy=False)


def _element_bits(xs: Any, index: Any, *, shape: tuple[int, ...], bit_width: int) -> Expr:
    key = xs[0]
    lead = key.type.ndim - 1
    where = tuple(index[:lead])
    position = linear_index(tuple(index[lead:]), shape)
    high: Expr = Const(0, "u32")
    if int(np.prod(shape, dtype=np.int64)) > 2**32:
        high = Op("convert", (Op("shift_right_logical", (position, const(32)), "i64"),), "u32")
    low: Expr = Op("convert", (position,), "u32")
    keys = key((*where, const(0))), key((*where, const(1)))
    o0, o1 = threefry_exprs(*keys, high, low)
    if bit_width == 64:
        wide = [Op("convert", (o,), "u64") for o in (o0, o1)]
        upper = Op("shift_left", (wide[0], Const(32, "u64")), "u64")
        return Op("or", (upper, wide[1]), "u64")
    mixed = _u32("xor", o0, o1)
    return mixed if bit_width == 32 else Op("convert", (mixed,), f"u{bit_width}")


random_bits = Primitive(
    "random_bits",
    params=("shape", "bit_width"),
    infer=_infer_bits,
    numpy=_numpy_bits,
    jvp=lambda dxs, ys, xs, **params: (None,),
    batch=lambda size, mask, xs, **params: random_bits(xs[0], **params),
    element=_element_bits,
    domain=(0, 2**32 - 1),
    kinds="u",
    heavy=True,
    cases=lambda: [
        ((TensorType(U32, (2,)),), {"shape": (5,), "bit_width": 32}),
        ((TensorType(U32, (2,)),), {"shape": (3, 4), "bit_width": 64}),
        ((TensorType(U32, (2,)),), {"shape": (), "bit_width": 16}),
        ((TensorType(U32, (3, 2)),), {"shape": (1, 7), "bit_width": 8}),
        ((TensorType(U32, (2,)),), {"shape": (0, 2), "bit_width": 32}),
    ],
    doc="Uniform random bits for a key u32[2]; leading axes of the key are kept in front.",
)
