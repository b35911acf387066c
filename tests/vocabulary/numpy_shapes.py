"""Shapes, joining, indexing and creation in tracejit.numpy, against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vocabulary.spec import Case, case, ints, mask, of, positive, real

ALL = ("bool", "int8", "int32", "uint8", "float16", "float32", "float64", "complex64")
FLOATING = ("float32", "float64")
NO = "no float result"
STEPS = "not smooth"
EMPTY = "nothing to move"


def np_name(name: str) -> str:
    return f"tracejit.numpy.{name}"


def moves(name: str, *args: Any, **options: Any) -> Case:
    """A function that only moves elements: every dtype, values exactly NumPy's."""
    return case(np_name(name), *args, **{"dtypes": ALL, "tol": 0.0, "tol32": 0.0, **options})


SHAPES = [
    moves("reshape", real(2, 6), (3, 4)),
    moves("reshape", real(2, 6), (-1, 3)),
    moves("reshape", real(2, 6), -1),
    moves("reshape", real(2, 6), (4, 3), order="F"),
    moves("reshape", real(0, 4), (2, 0), grad=EMPTY),
    moves("reshape", real(), (1, 1)),
    moves("ravel", real(2, 3)),
    moves("ravel", real(2, 3), order="F"),
    moves("transpose", real(2, 3, 4)),
    moves("transpose", real(2, 3, 4), (1, 0, 2)),
    moves("transpose", real(2, 3, 4), axes=(-1, 0, 1)),
    moves("permute_dims", real(2, 3, 4), (2, 0, 1)),
    moves("matrix_transpose", real(2, 3, 4)),
    moves("swapaxes", real(2, 3, 4), 0, -1),
    moves("moveaxis", real(2, 3, 4), 0, -1),
    moves("moveaxis", real(2, 3, 4), (0, 1), (-1, 0)),
    moves("rollaxis", real(2, 3, 4), 2),
    moves("rollaxis", real(2, 3, 4), 0, 3),
    moves("expand_dims", real(2, 3), 1),
    moves("expand_dims", real(2, 3), (0, -1)),
    moves("squeeze", real(1, 2, 1)),
    moves("squeeze", real(1, 2, 1), 0),
    moves("squeeze", real(1, 2, 1), axis=(0, -1)),
    moves("atleast_1d", real()),
    moves("atleast_2d", real(3)),
    moves("atleast_3d", real(2, 3)),
    moves("atleast_1d", real(), real(2, 2), label="two"),
    moves("atleast_2d", real(), real(2, 2), label="two"),
    moves("atleast_3d", real(3), real(2, 2), label="two"),
    moves("broadcast_to", real(3), (2, 3)),
    moves("broadcast_to", real(2, 1), (4, 2, 3)),
    moves("broadcast_arrays", real(3), real(2, 1)),
    case(np_name("broadcast_shapes"), (2, 1), (3,), (1, 1)),
    case(np_name("broadcast_shapes"), (2, 0), 1),
    moves("flip", real(2, 3)),
    moves("flip", real(2, 3), 1),
    moves("flip", real(2, 3, 2), (0, 2)),
    moves("fliplr", real(2, 3)),
    moves("flipud", real(2, 3)),
    moves("rot90", real(2, 3)),
    moves("rot90", real(2, 3, 2), k=2, axes=(1, 2)),
    moves("rot90", real(2, 3), 3),
    moves("roll", real(2, 5), 2),
    moves("roll", real(2, 5), -1, axis=1),
    moves("roll", real(2, 5), (1, 2), axis=(0, 1)),
    moves("roll", real(2, 5), (1, 1), axis=1),
    moves("tile", real(2, 3), 2),
    moves("tile", real(2, 3), (2, 1, 2)),
    moves("repeat", real(2, 3), 2),
    moves("repeat", real(2, 3), 2, axis=0),
    moves("repeat", real(2, 3), np.array([1, 0, 2]), axis=1),
    moves("resize", real(2, 3), (4, 2)),
    moves("resize", real(5), 3),
    moves("resize", real(0), (2, 2), grad=EMPTY),
    moves("diagonal", real(3, 4)),
    moves("diagonal", real(3, 4, 2), offset=1),
    moves("diagonal", real(2, 3, 4), -1, 1, 2),
    moves("diag", real(3)),
    moves("diag", real(3), k=1),
    moves("diag", real(3, 4), -1),
    moves("diagflat", real(2, 2), 1),
    moves("trace", real(3, 4), dtypes=("int32", "int8", *FLOATING, "complex128"), tol32=1e-5),
    moves("trace", real(2, 3, 4), offset=1, axis1=1, axis2=2, tol32=1e-5, dtypes=FLOATING),
    moves("trace", real(3, 3), dtype=np.float64, dtypes=("float32",)),
    moves("tril", real(3, 4)),
    moves("tril", real(2, 3, 3), k=1),
    moves("triu", real(3, 4), -1),
    moves("triu", real(2, 3, 3)),
    moves("copy", real(2, 3)),
    moves("astype", real(2, 3), np.float32, grad="rounded"),
    moves("astype", real(2, 3), np.float64, dtypes=("float32", "int32", "bool")),
    moves("astype", real(3), np.int32, dtypes=("float32", "bool", "int8"), grad=NO),
    case(np_name("ndim"), real(2, 3), grad=NO, jit="no array", vmap="no array"),
    case(np_name("shape"), real(2, 3), grad=NO, jit="no array", vmap="no array"),
    case(np_name("size"), real(2, 3), grad=NO, jit="no array", vmap="no array"),
    case(np_name("size"), real(2, 3), 1, grad=NO, jit="no array", vmap="no array"),
    case(np_name("size"), real(2, 3), axis=(0, 1), grad=NO, jit="no array", vmap="no array"),
]

JOINING = [
    moves("concatenate", [real(2, 3), real(4, 3)]),
    moves("concatenate", (real(2, 3), real(2, 1), real(2, 0)), axis=1),
    moves("concatenate", [real(2, 3), real(2)], axis=None),
    moves("concatenate", [real(2), ints(3, below=5)], label="promoted"),
    moves("concatenate", [real(2), real(3)], dtype=np.float64, dtypes=("float32", "int32")),
    moves("concat", [real(2, 3), real(4, 3)], axis=-2),
    moves("stack", [real(2, 3), real(2, 3)]),
    moves("stack", [real(2, 3), real(2, 3)], axis=-1),
    moves("stack", [real(2), real(2)], axis=1, dtype=np.float64, dtypes=("float32",)),
    moves("vstack", [real(3), real(2, 3)]),
    moves("hstack", [real(2, 3), real(2, 1)]),
    moves("hstack", [real(2), real()]),
    moves("dstack", [real(2, 3), real(2, 3)]),
    moves("dstack", [real(3), real(3)]),
    moves("column_stack", [real(3), real(3, 2)]),
    moves("append", real(2, 3), real(2)),
    moves("append", real(2, 3), real(1, 3), axis=0),
    moves("block", [[real(2, 2), real(2, 1)], [real(1, 3)]]),
    moves("block", [real(2), real(1)]),
    moves("split", real(6, 2), 3),
    moves("split", real(6), [2, 3, 7]),
    moves("split", real(2, 6), (1, -2), axis=1),
    moves("array_split", real(7), 3),
    moves("array_split", real(2, 5), 2, axis=1),
    moves("hsplit", real(2, 4), 2),
    moves("vsplit", real(4, 2), [1]),
    moves("dsplit", real(2, 2, 4), 2),
    moves("unstack", real(2, 3)),
    moves("unstack", real(2, 3), axis=1),
    moves("insert", real(5), 1, 9),
    moves("insert", real(5), [1, 3], real(2)),
    moves("insert", real(2, 3), 1, real(2), axis=1),
    moves("insert", real(2, 3), -1, 5, axis=0),
    moves("insert", real(2, 3), slice(0, 2), 7, axis=1, label="slice"),
    moves("delete", real(5), 1),
    moves("delete", real(5), [0, -1]),
    moves("delete", real(2, 4), slice(0, 3, 2), axis=1, label="slice"),
    moves("delete", real(2, 4), np.array([True, False, False, True]), axis=1, label="mask"),
    *(
        moves("pad", real(2, 3), width, mode=mode)
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap")
        for width in (1, ((1, 2), (2, 0)))
    ),
    *(
        case(np_name("pad"), real(2, 4), ((1, 2), (0, 3)), mode=mode, grad=grad)
        for mode, grad in (
            ("linear_ramp", True),
            ("maximum", True),
            ("minimum", True),
            ("mean", True),
            ("median", True),
        )
    ),
    moves("pad", real(4), (5, 6), mode="reflect"),
    moves("pad", real(4), (5, 6), mode="symmetric"),
    moves("pad", real(4), (9, 6), mode="wrap"),
    moves("pad", real(2, 3), 1, constant_values=7),
    moves("pad", real(2, 3), 1, constant_values=((1, 2), (3, 4))),
    moves("pad", real(4), 3, mode="reflect", reflect_type="odd", dtypes=FLOATING, tol32=1e-5),
    case(np_name("pad"), real(5), 2, mode="mean", stat_length=2),
    case(np_name("pad"), real(5), 2, mode="linear_ramp", end_values=(1.0, -1.0)),
    moves("pad", real(2, 3), {1: (1, 2)}, label="dict"),
]

INDEXING = [
    moves("take", real(2, 5), ints(3, below=5), axis=1),
    moves("take", real(2, 5), ints(2, 2, below=10)),
    moves("take", real(5), -2),
    moves("take", real(5), ints(4, low=-9, below=9), mode="wrap"),
    moves("take", real(5), ints(4, low=-9, below=9), mode="clip"),
    moves("take_along_axis", real(2, 5), ints(2, 3, below=5), axis=1),
    moves("take_along_axis", real(2, 5), ints(1, 5, below=2), 0),
    moves("take_along_axis", real(6), ints(3, below=6), axis=None),
    moves("where", mask(2, 3), real(2, 3), real(3)),
    moves("where", mask(3), real(3), 0.5, dtypes=FLOATING),
    moves("where", mask(3), 1, 2, label="scalars", vmap=True),
    moves("where", real(3), real(3), real(3), label="numbers as truth", grad=STEPS),
    moves("select", [mask(4), mask(4)], [real(4), real(4)]),
    moves("select", [mask(4), mask(4)], [real(4), real(4)], default=7),
    moves("choose", ints(4, below=3), [real(4), real(4), real(4)], jit="reads", vmap="reads"),
    moves("choose", ints(4, below=9), [real(4), real(4), real(4)], mode="wrap"),
    moves("choose", ints(4, low=-3, below=9), [real(4), real(4), real(4)], mode="clip"),
    case(
        np_name("piecewise"),
        real(6),
        [of(lambda m: m, mask(6)), mask(6)],
        [lambda x: -x, lambda x: x * x],
        dtypes=("int32", *FLOATING),
    ),
    case(np_name("piecewise"), real(6), [mask(6)], [3, lambda x: x + 1]),
    moves("tril_indices", 3, dtypes=FLOATING),
    moves("tril_indices", 3, k=-1, m=4),
    moves("triu_indices", 3),
    moves("triu_indices", 3, 1, 4),
    moves("tril_indices_from", real(3, 4), k=1, grad=NO),
    moves("triu_indices_from", real(3, 4), -1, grad=NO),
    moves("diag_indices", 3, ndim=3),
    moves("diag_indices_from", real(3, 3), grad=NO),
    moves("mask_indices", 3, np.triu, reference=np.mask_indices, label="triu"),
    moves("ix_", ints(2, below=4), ints(3, below=4)),
    moves("indices", (2, 3)),
    moves("indices", (2, 3), sparse=True),
    moves("indices", (2,), dtype=np.float64),
    moves("unravel_index", ints(4, below=12), (3, 4)),
    moves("unravel_index", 7, (3, 4)),
    moves("ravel_multi_index", (ints(4, below=3), ints(4, below=4)), (3, 4), jit="x", vmap="x"),
    moves("ravel_multi_index", (ints(4, below=9), ints(4, below=9)), (3, 4), mode="wrap"),
    moves("ravel_multi_index", (ints(4, below=9), ints(4, below=9)), (3, 4), mode="clip"),
    moves(
        "ravel_multi_index", (ints(4, below=3), ints(4, below=4)), (3, 4), mode="wrap", order="F"
    ),
    moves("meshgrid", real(2), real(3)),
    moves("meshgrid", real(2), real(3), indexing="ij"),
    moves("meshgrid", real(2), real(3), sparse=True),
    moves("meshgrid", real(2), real(3), real(2)),
    moves("apply_along_axis", lambda x: x * 2, 1, real(2, 3), label="same", dtypes=FLOATING),
    moves(
        "apply_along_axis",
        lambda x: x.sum(),
        0,
        real(2, 3),
        label="less",
        tol32=1e-5,
        dtypes=FLOATING,
    ),
    case(
        np_name("apply_over_axes"),
        lambda a, axis: a.sum(axis),
        real(2, 3, 4),
        (0, 2),
        label="sum",
        tol32=1e-5,
    ),
]

SORTING = [
    moves("sort", real(3, 5)),
    moves("sort", real(3, 5), axis=0),
    moves("sort", real(3, 5), axis=None),
    moves("sort", real(0, 3), axis=0, grad=EMPTY),
    moves(
        "argsort",
        real(3, 5),
        grad=NO,
        kind="stable",
        reference=lambda a, kind: np.argsort(a, kind=kind),
    ),
    moves("argsort", real(3, 5), axis=0, grad=NO, dtypes=FLOATING),
    moves("argsort", real(3, 5), axis=None, grad=NO, dtypes=FLOATING),
    moves(
        "sort",
        of(lambda x: np.where(x > 1, np.nan, x), real(3, 5)),
        dtypes=FLOATING,
        label="nan",
        grad="nan",
    ),
    moves(
        "argsort",
        of(lambda x: np.where(x > 1, np.nan, x), real(5)),
        dtypes=FLOATING,
        label="nan",
        grad=NO,
    ),
    moves(
        "sort",
        real(3, 5),
        descending=True,
        reference=lambda a, descending: -np.sort(-a),
        dtypes=("int32", *FLOATING),
    ),
    moves(
        "argsort",
        real(5),
        descending=True,
        reference=lambda a, descending: np.argsort(-a),
        dtypes=FLOATING,
        grad=NO,
    ),
    moves("lexsort", (ints(6, below=2), ints(6, below=3))),
    moves("lexsort", ints(2, 6, below=3), label="rows"),
    moves("lexsort", (ints(2, 6, below=2), ints(2, 6, below=3)), axis=0),
    *(
        case(
            np_name("partition"),
            real(3, 7),
            2,
            axis=axis,
            dtypes=("int32", *FLOATING),
            reference=lambda a, k, axis: np.partition(a, k, axis),
            after=lambda x: x,
            same=lambda a, b, axis=axis: _partitioned(a, b, axis),
            grad=STEPS,
        )
        for axis in (-1, 0)
    ),
    case(
        np_name("argpartition"),
        real(7),
        2,
        dtypes=("int32", *FLOATING),
        same=lambda a, b: sorted(np.asarray(a)) == sorted(np.asarray(b)) or 1 / 0,
        grad=NO,
    ),
]


def _partitioned(ours: Any, theirs: Any, axis: int) -> None:
    one, two = np.asarray(ours), np.asarray(theirs)
    np.testing.assert_array_equal(np.take(one, 2, axis), np.take(two, 2, axis))
    np.testing.assert_array_equal(np.sort(one, axis), np.sort(two, axis))


CREATION = [
    *(
        moves(name, *args, **kwargs)
        for name in ("zeros", "ones", "empty")
        for args, kwargs in (
            (((2, 3),), {}),
            ((3,), {"dtype": np.int8}),
            (((),), {"dtype": bool}),
            (((0, 2),), {"dtype": np.complex64}),
        )
        if name != "empty"
    ),
    *(
        moves(name, real(2, 3), **kwargs, grad="constant")
        for name in ("zeros_like", "ones_like")
        for kwargs in ({}, {"dtype": np.int8}, {"shape": (4,)})
    ),
    case(np_name("empty"), (2, 3), dtype=np.int8, same=lambda a, b: a.shape == b.shape or 1 / 0),
    case(
        np_name("empty_like"),
        real(2, 3),
        grad="constant",
        same=lambda a, b: a.shape == b.shape or 1 / 0,
    ),
    moves("full", (2, 3), 7, reference=lambda s, v: np.full(s, v)),
    moves("full", (2, 3), real(3)),
    moves("full", 2, 2.5, dtype=np.int32),
    moves("full_like", real(2, 3), 2, grad="constant"),
    moves("full_like", real(2, 3), 2.5, dtype=np.float64, shape=(2,), grad="constant"),
    moves("arange", 5),
    moves("arange", 2, 9, 3),
    moves("arange", 5, 0, -2),
    moves("arange", 0.0, 1.0, 0.3, tol32=1e-6),
    moves("arange", 3, dtype=np.float64),
    moves("arange", 0),
    moves("arange", 5, 2),
    case(np_name("linspace"), 0.0, 1.0, 5),
    case(np_name("linspace"), 0, 1, 5, endpoint=False),
    case(np_name("linspace"), 0.0, 1.0, 5, retstep=True),
    case(np_name("linspace"), real(2), real(2), 4, axis=1),
    case(np_name("linspace"), real(), 3.0, 4, dtypes=(*FLOATING, "complex128")),
    case(np_name("linspace"), 0, 9, 4, dtype=np.int32),
    case(np_name("linspace"), 0.0, 1.0, 1),
    case(np_name("linspace"), 0.0, 1.0, 0),
    case(np_name("logspace"), 0.0, 2.0, 5, tol32=1e-4),
    case(np_name("logspace"), 0.0, 2.0, 5, base=2.0, endpoint=False),
    case(np_name("logspace"), real(2), real(2), 3),
    case(np_name("geomspace"), 1.0, 100.0, 5, tol32=1e-4),
    case(np_name("geomspace"), -1.0, -100.0, 5, tol32=1e-4),
    case(
        np_name("geomspace"),
        positive(2),
        positive(2),
        4,
        endpoint=False,
        axis=-1,
        check_dtype="float32 stays",
    ),
    moves("eye", 3),
    moves("eye", 3, 4, k=1, dtype=np.int32),
    moves("eye", 3, 2, -1),
    moves("identity", 3),
    moves("identity", 2, dtype=bool),
    moves("tri", 3),
    moves("tri", 3, 4, 1, dtype=np.int8),
    case(np_name("vander"), real(4), tol32=1e-4, check_dtype="float32 stays, as JAX's"),
    case(np_name("vander"), real(4), 3, increasing=True, check_dtype="float32 stays, as JAX's"),
    *(case(np_name(n), 7, tol32=1e-5) for n in ("hanning", "hamming", "blackman", "bartlett")),
    *(case(np_name(n), 1) for n in ("hanning", "hamming", "blackman", "bartlett")),
    *(case(np_name(n), 0) for n in ("hanning", "hamming", "blackman", "bartlett")),
    case(np_name("kaiser"), 7, 3.5),
    case(np_name("kaiser"), 1, 3.5),
    moves("array", real(2, 3)),
    moves("array", [[1, 2], [3, 4]]),
    moves("array", [1.5, 2], ndmin=3),
    moves("array", real(3), dtype=np.float64, dtypes=("float32", "int32")),
    moves("asarray", real(2, 3)),
    moves("asarray", [1, 2], dtype=np.uint8),
    moves("asarray", 3.5),
    moves("asarray", [True, False]),
    moves("asarray", [1j, 2]),
    moves("fromfunction", lambda i, j: i * 2 + j, (2, 3), label="ij"),
    moves("fromfunction", lambda i: i, (3,), dtype=np.int64, label="i"),
    moves("fromiter", [1, 2, 3], np.int32),
    moves("frombuffer", b"\x01\x00\x02\x00", np.int16),
    moves("frombuffer", b"\x01\x00\x02\x00", dtype=np.uint8, count=2, offset=1),
    moves("fromstring", "1 2 3.5", sep=" "),
    moves("fromstring", "1,2", dtype=np.int32, sep=","),
]

CASES = [*SHAPES, *JOINING, *INDEXING, *SORTING, *CREATION]
