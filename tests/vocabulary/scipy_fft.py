"""Cosine transforms, against SciPy's."""

from __future__ import annotations

from typing import Any

from tests.vocabulary.spec import Case, case, real

FLOATS = ("float32", "float64")


def transform(name: str, *args: Any, **options: Any) -> Case:
    return case(f"tracejit.scipy.fft.{name}", *args, **{"dtypes": FLOATS, **options})


CASES: list[Case] = []
for _name in ("dct", "idct"):
    CASES += [
        *(
            transform(_name, real(2, 5), type=kind, norm=norm)
            for kind in (1, 2, 3, 4)
            for norm in (None, "ortho", "forward")
        ),
        transform(_name, real(5), 2, 7),
        transform(_name, real(5), 3, 3),
        transform(_name, real(4, 3), axis=0, n=6, norm="backward"),
        transform(_name, real(1)),
        transform(_name, real(4), dtypes=("complex64", "complex128")),
        transform(_name, real(2, 4), dtypes=("int32",)),
    ]
for _name in ("dctn", "idctn"):
    CASES += [
        *(
            transform(_name, real(3, 4), type=kind, norm=norm)
            for kind in (1, 2, 3, 4)
            for norm in (None, "ortho")
        ),
        transform(_name, real(2, 3, 4), axes=(0, 2)),
        transform(_name, real(3, 4), s=(2, 5)),
        transform(_name, real(3, 4), s=(5,)),
        transform(_name, real(3, 4), 2, [5], [0], "ortho"),
        transform(_name, real(2, 2, 3)),
    ]
