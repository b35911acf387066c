"""Products, contractions and polynomials of tracejit.numpy, against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.vocabulary.spec import Case, case, of, real

NUMBERS = ("int32", "float32", "float64", "complex64", "complex128")
ALL = ("bool", "int8", "uint8", "float16", *NUMBERS)
EMPTY = "nothing to move"


def of_numbers(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.numpy.{name}", *args, **{"dtypes": NUMBERS, "tol32": 1e-4, **options})


PRODUCTS = [
    of_numbers("matmul", real(2, 3), real(3, 4), dtypes=ALL),
    of_numbers("matmul", real(3), real(3)),
    of_numbers("matmul", real(2, 3), real(3)),
    of_numbers("matmul", real(3), real(3, 2)),
    of_numbers("matmul", real(5, 1, 2, 3), real(4, 3, 2)),
    of_numbers("matmul", real(2, 0), real(0, 3), grad=EMPTY),
    of_numbers("dot", real(2, 3), real(3, 4)),
    of_numbers("dot", real(3), real(3)),
    of_numbers("dot", real(2, 3), real()),
    of_numbers("dot", real(2, 3), real(3)),
    of_numbers("dot", real(2, 2, 3), real(4, 3, 2)),
    of_numbers("vdot", real(2, 3), real(2, 3)),
    of_numbers("inner", real(3), real(3)),
    of_numbers("inner", real(2, 3), real(4, 3)),
    of_numbers("outer", real(3), real(4)),
    of_numbers("outer", real(2, 2), real(3)),
    of_numbers("tensordot", real(2, 3, 4), real(3, 4, 2)),
    of_numbers("tensordot", real(2, 3), real(3, 2), axes=1),
    of_numbers("tensordot", real(2, 3), real(4, 2), axes=0),
    of_numbers("tensordot", real(2, 3, 4), real(4, 2, 5), axes=((0, 2), (1, 0))),
    of_numbers("vecdot", real(2, 3), real(3)),
    of_numbers("vecdot", real(3, 2), real(3, 2), axis=0),
    of_numbers("matvec", real(2, 3, 4), real(4)),
    of_numbers("vecmat", real(3), real(2, 3, 4)),
    of_numbers("kron", real(2, 3), real(2, 2)),
    of_numbers("kron", real(2), real(2, 2, 2)),
    of_numbers("cross", real(2, 3), real(3)),
    of_numbers("cross", real(3, 2), real(3, 2), axis=0),
    of_numbers("cross", real(3, 2), real(2, 3), axisa=0, axisc=0),
]
_EINSUM = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("ij->", (2, 3)),
    ("ij->ji", (2, 3)),
    ("i,i", (3,), (3,)),
    ("i,j->ij", (3,), (4,)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("i...->...", (2, 3)),
    ("iij,j->i", (2, 2, 3), (3,)),
    ("ab,ab->", (2, 3), (2, 3)),
    ("ij,ij,ij->i", (2, 3), (2, 3), (2, 3)),
    (" i j , j k -> i k ", (2, 3), (3, 4)),
    ("...,...", (3,), (3,)),
]
EINSUM = [
    *(
        of_numbers("einsum", text, *(real(*s) for s in shapes), label=text)
        for text, *shapes in _EINSUM
    ),
    of_numbers("einsum", real(2, 3), [0, 1], real(3, 4), [1, 2], [0, 2], label="numbers"),
    of_numbers("einsum", real(2, 3), [0, 1], label="numbers, implicit"),
    of_numbers("einsum", "ij,jk,kl->il", real(2, 3), real(3, 4), real(4, 2), optimize=False),
    of_numbers("einsum", "ij,jk->ik", real(1, 3), real(3, 4), label="size 1"),
    case(
        "tracejit.numpy.einsum_path",
        "ij,jk,kl->il",
        real(2, 3),
        real(3, 4),
        real(4, 2),
        grad="no array",
        jit="no array",
        vmap="no array",
        after=lambda found: len(found[0]),
    ),
]
POLYNOMIALS = [
    of_numbers("polyval", real(4), real(2, 3)),
    of_numbers(
        "polyval",
        real(20, low=-0.5, high=0.5),
        real(3),
        unroll=4,
        reference=lambda p, x, unroll: np.polyval(p, x),
    ),
    of_numbers("polyval", real(0), real(3), grad=EMPTY, dtypes=("float64",)),
    of_numbers("polyadd", real(4), real(2)),
    of_numbers("polysub", real(2), real(4)),
    of_numbers("polymul", real(4), real(2)),
    of_numbers("polyder", real(5), check_dtype="float32 stays, as JAX's"),
    of_numbers("polyder", real(5), 2, dtypes=("int32", "float64")),
    of_numbers("polyint", real(4), dtypes=("float64", "complex128")),
    of_numbers("polyint", real(4), dtypes=("float32",), check_dtype="stays, as JAX's"),
    of_numbers("polyint", real(4), 2, k=[1.0, 2.0], dtypes=("float64",)),
    of_numbers("polydiv", real(5), of(lambda x: x + 3, real(2)), dtypes=("float64", "complex128")),
    of_numbers("polydiv", real(2), of(lambda x: x + 3, real(4)), dtypes=("float64",)),
    of_numbers("poly", real(4), dtypes=("float64", "complex128"), check_dtype="real of conjugates"),
    of_numbers(
        "roots",
        real(4),
        dtypes=("float32", "float64", "complex128"),
        after=lambda z: np.sort_complex(np.asarray(z)),
        check_dtype="complex always, as JAX's",
        jit="the number of leading zeros depends on data",
        vmap="likewise",
        grad="likewise",
    ),
    of_numbers(
        "roots",
        np.array([0.0, 1.0, -3.0, 2.0, 0.0]),
        label="zeros at both ends",
        after=lambda z: np.sort_complex(np.asarray(z)),
        check_dtype="complex always, as JAX's",
    ),
    of_numbers("polyfit", real(8), real(8), 2, dtypes=("float64",), tol=1e-7),
    of_numbers("polyfit", real(8), real(8, 2), 1, dtypes=("float64",), tol=1e-7),
    of_numbers("polyfit", real(8), real(8), 2, w=real(8, low=1.0), dtypes=("float64",), tol=1e-7),
    of_numbers("polyfit", real(8), real(8), 2, cov=True, dtypes=("float64",), tol=1e-6),
]
CASES = [*PRODUCTS, *EINSUM, *POLYNOMIALS]
