"""Fourier transforms: tracejit.numpy.fft against NumPy's, lax.fft against JAX's."""

from __future__ import annotations

from typing import Any

from tests.vocabulary.spec import Case, case, real

FLOATS = ("float32", "float64")
ANY = ("int32", "float32", "float64", "complex64", "complex128")
COMPLEX = ("complex64", "complex128")
NO_ARRAYS = "no arrays"
NORMS = ("ortho", "forward")


def transform(name: str, *args: Any, **options: Any) -> Case:
    real_input = name in ("rfft", "rfftn", "rfft2", "ihfft")
    dtypes = FLOATS if real_input else ANY
    return case(f"tracejit.numpy.fft.{name}", *args, **{"dtypes": dtypes, **options})


CASES: list[Case] = []
for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    CASES += [
        transform(_name, real(6)),
        transform(_name, real(7)),
        transform(_name, real(4, 5), axis=0),
        transform(_name, real(2, 5), 8),
        transform(_name, real(2, 5), 3),
        transform(_name, real(5, 2), 7, 0),
        transform(_name, real(2, 3, 4), n=5, axis=1, norm="backward"),
        transform(_name, real(0, 4), grad="nothing to move"),
        *(transform(_name, real(5), norm=norm) for norm in NORMS),
        *(transform(_name, real(3, 4), n=6, axis=0, norm=norm) for norm in NORMS),
    ]
    if _name not in ("irfft", "hfft"):
        CASES.append(transform(_name, real(1)))
for _name in ("fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn"):
    CASES += [
        transform(_name, real(4, 6)),
        transform(_name, real(3, 5)),
        transform(_name, real(2, 3, 4)),
        transform(_name, real(3, 4), s=(5, 3), axes=(0, 1)),
        transform(_name, real(2, 3, 4), s=(3, 2), axes=(2, 0)),
        transform(_name, real(2, 3, 4), axes=(-1, 1)),
        transform(_name, real(3, 4), s=(-1, 5), axes=(0, 1)),
        transform(_name, real(3, 4), axes=(1, 1)),
        *(transform(_name, real(3, 5), norm=norm) for norm in NORMS),
    ]
for _name in ("fftn", "ifftn", "rfftn", "irfftn"):
    CASES += [
        transform(_name, real(2, 2, 3, 2)),
        transform(_name, real(2, 3), axes=(0,)),
        transform(_name, real(0, 3), axes=(1,), grad="nothing to move"),
    ]
CASES += [
    transform("fftn", real(2, 3), axes=(), check_dtype="NumPy gives the array back as it is"),
    transform("fft", real(4), dtypes=("int8", "bool")),
]
for _name in ("fftshift", "ifftshift"):
    CASES += [
        transform(_name, real(5)),
        transform(_name, real(4, 3)),
        transform(_name, real(4, 3), axes=0),
        transform(_name, real(2, 5, 3), axes=(1, 2)),
        transform(_name, real(1, 2)),
        transform(_name, real(0, 3), grad="nothing to move"),
    ]
for _name in ("fftfreq", "rfftfreq"):
    CASES += [transform(_name, n, dtypes=("float64",), vmap=NO_ARRAYS) for n in (1, 2, 5, 8)]
    CASES += [
        transform(_name, 5, 0.25, dtypes=("float64",)),
        transform(_name, 6, d=3, dtypes=("float64",)),
        transform(_name, 6, real(low=0.5), dtypes=("float64",), check_dtype="that of d"),
    ]


def of_lax(x: Any, *args: Any, **options: Any) -> Case:
    return case("tracejit.lax.fft", x, *args, **options)


CASES += [
    of_lax(real(2, 6), "FFT", (6,), dtypes=ANY),
    of_lax(real(3, 4), "IFFT", (3, 4), dtypes=COMPLEX),
    of_lax(real(2, 5), "RFFT", (2, 5)),
    of_lax(real(2, 4), "IRFFT", (7,), dtypes=COMPLEX),
    of_lax(real(2, 4), "irfft", (2, 6), dtypes=COMPLEX),
    of_lax(real(2, 4), "fft", (), dtypes=COMPLEX),
]
