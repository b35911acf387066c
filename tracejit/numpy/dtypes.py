"""Dtypes by name, and questions about dtypes.

>>> float32(1)
Array(1., dtype=float32)
>>> promote_types("int64", float32)
dtype('float64')
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tracejit.config import config
from tracejit.errors import ArgumentError, DTypeError, user_methods
from tracejit.frontend import creation, eager, promotion
from tracejit.frontend.array import Array
from tracejit.frontend.promotion import canonical
from tracejit.ir.types import DTYPES, kind
from tracejit.source import here


class ScalarType:
    """A dtype that also converts: ``float32(x)`` is ``asarray(x, float32)``."""

    __slots__ = ("dtype",)

    def __init__(self, name: str) -> None:
        self.dtype = DTYPES[name]

    def __call__(self, x: Any = 0) -> Any:
        return creation.asarray(x, self.dtype)

    def __eq__(self, other: object) -> bool:
        if other is None or isinstance(other, Array | list | tuple | dict):
            return False
        try:
            return canonical(other) == self.dtype
        except DTypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"tracejit.numpy.{self.dtype.name}"

    def __instancecheck__(self, x: object) -> bool:
        """``isinstance(x[0], np.float64)``: a single number of this dtype."""
        single = isinstance(x, np.generic) or (isinstance(x, Array) and x.ndim == 0)
        return single and x.dtype == self.dtype  # type: ignore[attr-defined]

    def __or__(self, other: Any) -> Any:
        """``np.float64 | None`` in annotations."""
        return Any

    __ror__ = __or__

    @property
    def __name__(self) -> str:
        return self.dtype.name

    @property
    def __numpy_dtype__(self) -> np.dtype:
        """What NumPy 2.4 asks an object for that stands for a dtype."""
        return self.dtype

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def name(self) -> str:
        return self.dtype.name


eager.STATIC.add(ScalarType)

bool_ = ScalarType("bool")
int8, int16, int32, int64 = (
    ScalarType("i8"),
    ScalarType("i16"),
    ScalarType("i32"),
    ScalarType("i64"),
)
uint8, uint16, uint32, uint64 = (
    ScalarType("u8"),
    ScalarType("u16"),
    ScalarType("u32"),
    ScalarType("u64"),
)
float16, bfloat16 = ScalarType("f16"), ScalarType("bf16")
float32, float64 = ScalarType("f32"), ScalarType("f64")
complex64, complex128 = ScalarType("c64"), ScalarType("c128")
single, double, csingle, cdouble = float32, float64, complex64, complex128
int_, uint, float_, complex_ = int64, uint64, float64, complex128

#: what the array API standard's kinds of dtypes are, in the letters of ``ir.types.kind``
KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}
_ABSTRACT = {
    np.generic: "biufc",
    np.number: "iufc",
    np.integer: "iu",
    np.signedinteger: "i",
    np.unsignedinteger: "u",
    np.inexact: "fc",
    np.floating: "f",
    np.complexfloating: "c",
}


@user_methods("__call__")
class _Dtype:
    """``dtype(x)``, and the class of all dtypes: ``isinstance(x.dtype, jnp.dtype)``."""

    __slots__ = ()
    __name__ = "dtype"

    def __call__(self, dtype: Any, align: bool = False, copy: bool = False) -> np.dtype:
        """The NumPy dtype that ``dtype`` names; ``float`` and ``int`` name the configured defaults.

        ``align`` and ``copy`` are of structured dtypes, which arrays here do not have.
        """
        return canonical(dtype)

    def __instancecheck__(self, x: object) -> bool:
        return isinstance(x, np.dtype)

    def __getitem__(self, x: Any) -> Any:
        """``np.dtype[np.float64]`` in annotations."""
        return Any

    def __or__(self, other: Any) -> Any:
        """``dtype | None`` in annotations."""
        return np.dtype | other

    def __ror__(self, other: Any) -> Any:
        return other | np.dtype

    def __repr__(self) -> str:
        return "tracejit.numpy.dtype"


dtype = _Dtype()


def result_type(*args: Any) -> np.dtype:
    """The dtype of an operation on arrays, Python scalars and dtypes together."""
    return promotion.result_type(*args)


def promote_types(a: Any, b: Any) -> np.dtype:
    """The dtype that holds both."""
    return promotion.promote_types(a, b)


def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    """Whether values of one dtype may become another by NumPy's rule ``casting``."""
    a = from_.dtype if isinstance(from_, Array | np.ndarray | np.generic) else canonical(from_)
    b = canonical(to)
    if a == b or casting == "unsafe":
        return True
    if casting == "safe":
        return promote_types(a, b) == b
    if casting == "same_kind":
        order = "biufc".index
        same = kind(a) == kind(b) or (kind(a) in "iu" and kind(b) == "i")
        return same or (order(kind(a)) < order(kind(b)) and not (kind(a) == "i" and kind(b) == "u"))
    return False


class extended(np.generic):  # noqa: N801 - JAX's name
    """The family of the dtypes that NumPy does not have."""


class prng_key(extended):  # noqa: N801 - JAX's name
    """The family of the dtypes of keys."""


def issubdtype(arg1: Any, arg2: Any) -> bool:
    """Whether a dtype belongs to another or to a family such as ``floating``."""
    family = arg1 if isinstance(arg1, type) else getattr(arg1, "type", None)
    if any(isinstance(t, type) and issubclass(t, extended) for t in (family, arg2)):
        return isinstance(family, type) and isinstance(arg2, type) and issubclass(family, arg2)
    if isinstance(arg1, type) and arg1 in _ABSTRACT:
        return isinstance(arg2, type) and issubclass(arg1, arg2)
    first = canonical(arg1)
    if isinstance(arg2, type) and arg2 in _ABSTRACT:
        return kind(first) in _ABSTRACT[arg2]
    return first == canonical(arg2)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind named as in the array API standard: "integral", "real floating"
    ...
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    found = canonical(dtype)
    for wanted in kinds:
        if isinstance(wanted, str) and wanted in KINDS:
            if _letter(found) in KINDS[wanted]:
                return True
        elif isinstance(wanted, str) and wanted not in DTYPES and wanted not in np.sctypeDict:
            raise ArgumentError(
                f"isdtype: there is no kind {wanted!r}",
                at=here(),
                hint=f"there are: {', '.join(KINDS)}",
            )
        elif found == canonical(wanted):
            return True
    return False


_letter = kind


class FloatInfo:
    """The limits of a floating dtype: the attributes of NumPy's ``finfo``, of which those that are
    real numbers are Python floats, as the array API standard has it.
    """

    #: of these ``tiny`` is ``smallest_normal`` by its old name
    REAL = (
        *("eps", "epsneg", "max", "min", "resolution", "smallest_normal", "smallest_subnormal"),
        "tiny",
    )
    WHOLE = ("bits", "iexp", "machep", "maxexp", "minexp", "negep", "nexp", "nmant", "precision")
    __slots__ = (*REAL, *WHOLE, "dtype", "_text")

    def __init__(self, dtype: np.dtype) -> None:
        found: Any = ml_dtypes.finfo(dtype) if dtype == DTYPES["bf16"] else np.finfo(dtype)
        for name in self.REAL:
            setattr(self, name, float(getattr(found, name)))
        for name in self.WHOLE:
            setattr(self, name, int(getattr(found, name)))
        self.dtype: np.dtype = np.dtype(found.dtype)
        self._text = (repr(found), str(found))

    def __repr__(self) -> str:
        return self._text[0]

    def __str__(self) -> str:
        return self._text[1]


def finfo(dtype: Any) -> FloatInfo:
    """Limits of a floating dtype, or of the parts of a complex one: eps, max, min, tiny, bits ...

    Raises DTypeError for other dtypes.

    >>> jnp.finfo(jnp.float16).max, jnp.finfo(jnp.complex64).dtype
    (65504.0, dtype('float32'))
    """
    found = _dtype_of(dtype)
    if kind(found) not in "fc":
        raise DTypeError(
            f"finfo: {found} is no floating dtype", at=here(), hint="iinfo has those of integers"
        )
    return FloatInfo(found)


def iinfo(int_type: Any) -> np.iinfo:
    """Limits of an integer dtype: min, max, bits. Raises DTypeError for other dtypes.

    >>> jnp.iinfo("int8").max
    127
    """
    found = _dtype_of(int_type)
    if kind(found) not in "iu":
        raise DTypeError(
            f"iinfo: {found} is no integer dtype", at=here(), hint="finfo has those of floats"
        )
    return np.iinfo(found)


def _dtype_of(x: Any) -> np.dtype:
    return x.dtype if isinstance(x, Array | np.ndarray | np.generic) else canonical(x)


def issctype(x: Any) -> bool:
    """Whether ``x`` names a dtype that tracejit has."""
    try:
        canonical(x)
    except DTypeError:
        return False
    return True


def isscalar(element: Any) -> bool:
    """Whether ``element`` is a number or an array without axes."""
    return np.isscalar(element) or (isinstance(element, Array | np.ndarray) and element.ndim == 0)


def iscomplexobj(x: Any) -> bool:
    """Whether ``x`` has a complex dtype, or is one."""
    if isinstance(x, type | np.dtype | ScalarType):
        return kind(promotion.canonical(x)) == "c"
    return kind(creation.asarray(x).dtype) == "c"


def isrealobj(x: Any) -> bool:
    """Whether ``x`` has no complex dtype."""
    return not iscomplexobj(x)


def default_float() -> np.dtype:
    """The dtype of floating arrays made from nothing."""
    return config.default_float
