"""Images, against JAX's functions."""

from __future__ import annotations

from typing import Any

from tests.vocabulary.spec import Case, case, positive, real

METHODS = ("linear", "cubic", "lanczos3", "lanczos5", "cubic-pytorch", "area")
# JAX computes weights in single precision
CLOSE = {"tol": 1e-6, "dtypes": ("float32", "float64")}


def resize(*args: Any, **options: Any) -> Case:
    return case("tracejit.image.resize", *args, **{**CLOSE, **options})


CASES = [
    resize(real(5, 6), shape, method, antialias)
    for method in METHODS
    for shape in ((3, 4), (9, 7))
    for antialias in (True, False)
]
CASES += [
    resize(real(4, 6), (8, 3), "nearest", dtypes=("uint8", "int32", "float32", "float64")),
    resize(real(2, 5, 4, 3), (2, 7, 2, 3), "bilinear"),
    resize(real(3, 4), shape=(3, 4), method="bicubic"),
    resize(real(4), (1,), "triangle"),
    resize(real(1, 3), (4, 3), "bicubic-pytorch", antialias=False),
]
for _method in METHODS:
    for _antialias in (True, False):
        _args = (positive(2, low=0.5, high=1.6), real(2, low=-1, high=1))
        CASES.append(
            case(
                "tracejit.image.scale_and_translate",
                real(5, 6),
                (4, 7),
                (0, 1),
                *_args,
                _method,
                _antialias,
                **CLOSE,
            )
        )
CASES.append(
    case(
        "tracejit.image.scale_and_translate",
        real(2, 5, 3),
        shape=(2, 4, 3),
        spatial_dims=(1,),
        scale=positive(1, low=0.6),
        translation=real(1),
        method="linear",
        **CLOSE,
    )
)
