"""tracejit.lax: shapes, slices, gathers, products, convolutions, control flow, named axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vocabulary.spec import Case, case, ints, mask, positive, real
from tracejit import lax as our_lax

ALL = ("bool", "int32", "uint8", "float32", "float64", "complex64")
WIDE = ("float32", "float64")
NO = "no float result"


def lax(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.lax.{name}", *args, **{"tol32": 1e-4, **options})


def moves(name: str, *args: Any, **options: Any) -> Case:
    """A function that only moves elements."""
    return lax(name, *args, **{"dtypes": ALL, "tol": 0.0, "tol32": 0.0, **options})


def padded(x: Any, value: Any, config: Any) -> np.ndarray:
    """lax.pad in NumPy: the space between elements, then the edges, negative ones cut."""
    for axis, (low, high, inside) in enumerate(config):
        x = np.moveaxis(np.asarray(x), axis, 0)
        n = len(x)
        wide = np.full((n + max(n - 1, 0) * inside, *x.shape[1:]), value, x.dtype)
        wide[:: inside + 1] = x
        edges = [(max(low, 0), max(high, 0)), *[(0, 0)] * (x.ndim - 1)]
        wide = np.pad(wide, edges, constant_values=value)
        wide = wide[max(-low, 0) : len(wide) - max(-high, 0)]
        x = np.moveaxis(wide, 0, axis)
    return x


SHAPES = [
    moves("reshape", real(2, 6), (3, 4), reference=np.reshape),
    moves("reshape", real(2, 6), (3, 4), (1, 0), reference=lambda x, s, d: x.T.reshape(s)),
    moves("transpose", real(2, 3, 4), (1, 2, 0), reference=np.transpose),
    moves("rev", real(2, 3), (1,), reference=np.flip),
    moves("squeeze", real(1, 2, 1), (0, 2), reference=np.squeeze),
    moves("expand_dims", real(2, 3), (0, 2), reference=np.expand_dims),
    moves("broadcast", real(2, 3), (4,), reference=lambda x, s: np.broadcast_to(x, (*s, 2, 3))),
    moves(
        "broadcast_in_dim",
        real(3),
        (2, 3, 4),
        (1,),
        reference=lambda x, s, d: np.broadcast_to(x[:, None], s),
    ),
    moves("broadcast_to_rank", real(3), 3, reference=lambda x, rank: x.reshape(1, 1, 3)),
    moves("broadcast_like", real(3), real(2, 3), reference=lambda x, y: np.broadcast_to(x, (2, 3))),
    moves("collapse", real(2, 3, 4), 1, reference=lambda x, k: x.reshape(2, 12)),
    moves("collapse", real(2, 3, 4), 0, 2, reference=lambda x, *_: x.reshape(6, 4)),
    moves("concatenate", [real(2, 3), real(1, 3)], 0, reference=np.concatenate),
    moves("stack", [real(2), real(2)], 1, reference=np.stack),
    moves("unstack", real(2, 3), 1, reference=lambda x, k: tuple(np.moveaxis(x, k, 0))),
    moves("split", real(6), [2, 4], reference=lambda x, sizes: np.split(x, [2])),
    moves("tile", real(2, 3), (2, 1), reference=np.tile),
    moves(
        "pad",
        real(2, 3),
        0,
        [(1, 0, 2), (-1, 2, 0)],
        reference=padded,
        dtypes=("int32",),
        jit="weak",
    ),
    lax("pad", real(2, 3), real(), [(1, 0, 2), (-1, 2, 0)], reference=padded),
    moves("slice", real(4, 5), (1, 0), (4, 5), reference=lambda x, a, b: x[1:4, 0:5]),
    moves("slice", real(4, 5), (1, 0), (4, 5), (2, 3), reference=lambda x, *_: x[1:4:2, ::3]),
    moves("slice_in_dim", real(4, 5), 1, 4, 2, axis=1, reference=lambda x, *_, axis: x[:, 1:4:2]),
    moves("index_in_dim", real(4, 5), 2, axis=1, reference=lambda x, k, axis: x[:, 2:3]),
    moves(
        "index_in_dim", real(4, 5), -1, 0, keepdims=False, reference=lambda x, *_, keepdims: x[-1]
    ),
    moves(
        "dynamic_slice",
        real(4, 5),
        (ints(below=4), 2),
        (2, 3),
        reference=lambda x, s, n: x[min(s[0], 2) :][:2, 2:5],
    ),
    moves(
        "dynamic_slice_in_dim",
        real(6),
        ints(below=9),
        3,
        reference=lambda x, s, n: x[min(s, 3) :][:3],
    ),
    moves(
        "dynamic_index_in_dim", real(4, 2), ints(below=4), 0, False, reference=lambda x, k, *_: x[k]
    ),
    moves("dynamic_update_slice", real(6), real(2), (ints(below=9),)),
    moves("dynamic_update_slice_in_dim", real(6, 2), real(2, 2), ints(below=4), 0),
    moves("dynamic_update_index_in_dim", real(4, 2), real(2), ints(below=4), 0),
    moves("index_take", real(4, 5), (ints(3, below=4),), (0,), reference=lambda x, k, a: x[k[0]]),
    moves("full", (2, 3), 7, np.int8, reference=np.full),
    moves("full_like", real(2, 3), 2, reference=np.full_like, grad="constant"),
    moves("iota", np.int32, 5, reference=lambda d, n: np.arange(n, dtype=d)),
    moves(
        "broadcasted_iota",
        np.int32,
        (2, 3),
        1,
        reference=lambda d, s, k: np.broadcast_to(np.arange(3, dtype=d), s),
    ),
    lax("empty", (2, 3), np.float32, same=lambda a, b: a.shape == b.shape or 1 / 0),
    lax(
        "dtype",
        real(2),
        reference=lambda x: np.asarray(x).dtype,
        jit="no array",
        vmap="no array",
        grad=NO,
        same=lambda a, b: a == b or 1 / 0,
    ),
    lax("shape_as_value", (2, 3), reference=np.asarray),
    lax(
        "convert_element_type",
        real(3),
        np.float64,
        reference=lambda x, d: x.astype(d),
        dtypes=("int32", "float32", "bool"),
    ),
    lax(
        "convert_element_type",
        real(3),
        np.int32,
        reference=lambda x, d: x.astype(d),
        dtypes=WIDE,
        grad=NO,
    ),
    lax(
        "bitcast_convert_type",
        real(3),
        np.int32,
        reference=lambda x, d: x.view(d),
        dtypes=("float32",),
        grad=NO,
    ),
    lax(
        "bitcast_convert_type",
        real(3, 2),
        np.int64,
        reference=lambda x, d: x.view(d)[:, 0],
        dtypes=("float32",),
        grad=NO,
    ),
]

_TAKE_ROWS = our_lax.GatherDimensionNumbers(
    offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,)
)
_PUT_ROWS = our_lax.ScatterDimensionNumbers(
    update_window_dims=(1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
)
INDEXED = [
    moves(
        "gather",
        real(5, 3),
        ints(4, 1, below=5),
        _TAKE_ROWS,
        (1, 3),
        reference=lambda x, k, *_: x[k[:, 0]],
    ),
    moves(
        "gather",
        real(5, 3),
        ints(4, 1, below=9),
        _TAKE_ROWS,
        (1, 3),
        mode="clip",
        reference=lambda x, k, *_, mode: x[np.minimum(k[:, 0], 4)],
    ),
    lax(
        "gather",
        real(5, 3),
        ints(4, 1, below=9),
        _TAKE_ROWS,
        (1, 3),
        mode="fill",
        fill_value=7.0,
        reference=lambda x, k, *_, mode, fill_value: np.where(
            k < 5, x[np.minimum(k[:, 0], 4)], x.dtype.type(7)
        ),
    ),
    *(
        lax(
            f"scatter_{how}",
            positive(5, 3),
            ints(4, 1, below=5),
            positive(4, 3),
            _PUT_ROWS,
            reference=_scattered,
            grad=grad,
        )
        for how, combine, grad in (
            ("add", np.add, True),
            ("sub", np.subtract, True),
            ("mul", np.multiply, "of rows that meet: not linear"),
            ("min", np.minimum, "ties"),
            ("max", np.maximum, "ties"),
        )
        for _scattered in [lambda x, k, u, _, f=combine: _at(f, x, k[:, 0], u)]
    ),
    lax(
        "scatter",
        real(5, 3),
        np.array([[3], [1]]),
        real(2, 3),
        _PUT_ROWS,
        reference=lambda x, k, u, _: np.stack([x[0], u[1], x[2], u[0], x[4]]),
    ),
    lax(
        "scatter",
        real(5, 3),
        np.array([[9], [1]]),
        real(2, 3),
        _PUT_ROWS,
        mode="drop",
        reference=lambda x, k, u, _, mode: np.stack([x[0], u[1], *x[2:]]),
    ),
    lax(
        "scatter_apply",
        real(5, 3),
        np.array([[3], [1]]),
        np.square,
        _PUT_ROWS,
        update_shape=(2, 3),
        reference=lambda x, *_, update_shape: np.stack([x[0], x[1] ** 2, x[2], x[3] ** 2, x[4]]),
        label="square",
    ),
]


def _at(combine: Any, x: np.ndarray, places: np.ndarray, updates: np.ndarray) -> np.ndarray:
    found = np.array(x)
    combine.at(found, places, updates)
    return found


NUMBERS = ("int32", "float32", "float64", "complex64")
PRODUCTS = [
    lax("dot", real(2, 3), real(3, 4), reference=np.dot, dtypes=NUMBERS),
    lax("dot", real(3), real(3), reference=np.dot),
    lax(
        "dot_general",
        real(2, 3, 4),
        real(2, 4, 5),
        (((2,), (1,)), ((0,), (0,))),
        reference=lambda x, y, _: x @ y,
        dtypes=NUMBERS,
    ),
    lax(
        "dot_general",
        real(3, 4),
        real(4, 3),
        (((0, 1), (1, 0)), ((), ())),
        reference=lambda x, y, _: np.tensordot(x, y, ((0, 1), (1, 0))),
    ),
    lax(
        "dot_general",
        real(2, 3),
        real(3, 2),
        (((1,), (0,)), ((), ())),
        preferred_element_type=np.float64,
        reference=lambda x, y, _, preferred_element_type: x.astype(np.float64) @ y,
        dtypes=("float32",),
    ),
    lax("batch_matmul", real(2, 3, 4), real(2, 4, 5), reference=np.matmul),
    lax("conv", real(1, 2, 5, 5), real(3, 2, 2, 2), (1, 2), "SAME"),
    lax("conv_with_general_padding", real(1, 2, 5), real(3, 2, 2), (2,), [(1, 0)], (1,), (2,)),
    lax(
        "conv_general_dilated", real(2, 2, 6), real(4, 1, 3), (2,), [(1, 2)], feature_group_count=2
    ),
    lax(
        "conv_general_dilated",
        real(1, 5, 5, 2),
        real(2, 2, 2, 3),
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
    lax(
        "conv_general_dilated",
        real(2, 2, 6),
        real(4, 2, 3),
        (1,),
        [(1, 2)],
        lhs_dilation=(2,),
        rhs_dilation=(2,),
    ),
    lax("conv_general_dilated", real(4, 2, 6), real(4, 2, 3), (1,), "VALID", batch_group_count=2),
    lax(
        "conv_transpose",
        real(1, 5, 2),
        real(3, 2, 4),
        (2,),
        "SAME",
        dimension_numbers=("NHC", "HIO", "NHC"),
    ),
    lax(
        "conv_transpose",
        real(1, 5, 2),
        real(3, 4, 2),
        (2,),
        "VALID",
        dimension_numbers=("NHC", "HIO", "NHC"),
        transpose_kernel=True,
    ),
    lax("conv_general_dilated_patches", real(1, 2, 5, 5), (2, 2), (1, 1), "VALID"),
    lax("conv_general_dilated_local", real(1, 2, 4), real(3, 4, 3), (1,), "VALID", (2,)),
    lax("conv_shape_tuple", (1, 2, 5, 5), (3, 2, 2, 2), (1, 1), [(0, 0), (1, 1)]),
    lax(
        "conv_general_shape_tuple",
        (1, 2, 5, 5),
        (3, 2, 2, 2),
        (1, 1),
        [(0, 0), (1, 1)],
        ("NCHW", "OIHW", "NCHW"),
    ),
    lax(
        "conv_transpose_shape_tuple",
        (1, 2, 5, 5),
        (3, 2, 2, 2),
        (1, 1),
        [(0, 0), (1, 1)],
        ("NCHW", "OIHW", "NCHW"),
    ),
    lax("conv_general_permutations", ("NHWC", "HWIO", "NCHW")),
    lax("conv_dimension_numbers", (1, 5, 5, 2), (2, 2, 2, 3), ("NHWC", "HWIO", "NHWC")),
    lax("padtype_to_pads", (5, 6), (2, 3), (2, 2), "SAME"),
    lax("padtype_to_pads", (5, 6), (2, 3), (2, 2), "VALID"),
]


def _scan(f: Any, init: Any, xs: Any, length: Any = None, reverse: bool = False, **_: Any) -> Any:
    carry, ys = init, []
    for x in (xs[::-1] if reverse else xs) if xs is not None else [None] * length:
        carry, y = f(carry, x)
        ys.append(y)
    return carry, np.stack(ys[::-1] if reverse else ys)


def _while(test: Any, body: Any, state: Any) -> Any:
    while test(state):
        state = body(state)
    return state


def _for(low: int, high: int, body: Any, state: Any) -> Any:
    for k in range(low, high):
        state = body(k, state)
    return state


_STEP = lambda c, x: (c + x, c * x)  # noqa: E731
CONTROL = [
    lax("scan", _STEP, real(3), real(4, 3), reference=_scan, label="sum"),
    lax("scan", _STEP, real(3), real(4, 3), reverse=True, reference=_scan, label="reverse"),
    lax("scan", _STEP, real(), real(6), unroll=2, reference=_scan, label="unroll"),
    lax(
        "scan",
        lambda c, _: (c * c, c),
        real(3, low=-0.9, high=0.9),
        None,
        length=3,
        reference=_scan,
        label="length",
    ),
    lax("fori_loop", 0, 4, lambda k, x: x * 0.5 + k, real(3), reference=_for, label="4 steps"),
    lax("fori_loop", 3, 3, lambda k, x: x * 2, real(3), reference=_for, label="no steps"),
    lax(
        "while_loop",
        lambda x: (x < 9).all(),
        lambda x: x * 2,
        positive(3),
        reference=_while,
        vmap="the reference is one loop",
        label="double",
    ),
    lax(
        "cond",
        mask(),
        lambda x: x * 2,
        lambda x: x - 1,
        real(3),
        reference=lambda p, f, g, x: f(x) if p else g(x),
        label="two",
    ),
    lax(
        "switch",
        ints(below=3),
        [lambda x: x, lambda x: -x, lambda x: x * x],
        real(3),
        reference=lambda k, fs, x: fs[k](x),
        label="three",
    ),
    lax(
        "switch",
        7,
        [lambda x: x, lambda x: -x],
        real(3),
        reference=lambda k, fs, x: fs[-1](x),
        label="clamped",
    ),
    lax(
        "map",
        lambda x: x * x.sum(),
        real(5, 3),
        reference=lambda f, xs: np.stack([f(x) for x in xs]),
        label="rows",
    ),
    lax(
        "map",
        lambda x: x * x.sum(),
        real(5, 3),
        batch_size=2,
        reference=lambda f, xs, batch_size: np.stack([f(x) for x in xs]),
        label="batches",
    ),
    lax(
        "associative_scan",
        lambda a, b: a * b,
        real(7),
        reference=lambda f, x: np.cumprod(x),
        label="products",
    ),
    lax(
        "associative_scan",
        lambda a, b: a + b,
        real(2, 5),
        axis=1,
        reverse=True,
        reference=lambda f, x, axis, reverse: np.flip(np.cumsum(np.flip(x, 1), 1), 1),
        label="sums back",
    ),
    lax(
        "platform_dependent",
        real(3),
        default=lambda x: x * 2,
        reference=lambda x, default: default(x),
        label="default",
    ),
    lax(
        "custom_root",
        lambda x: x * x * x - 5,
        1.5,
        lambda f, x: np.cbrt(5.0),
        lambda g, y: y / g(1.0),
        reference=lambda *_: np.cbrt(5.0),
        label="cube root",
    ),
]
CASES = [*SHAPES, *INDEXED, *PRODUCTS, *CONTROL]
