"""How the tests of the vocabulary say what a public function is checked with.

One file a namespace (``numpy_elementwise.py``, ``scipy_special.py`` ...) holds ``CASES``, a list of
``Case``; ``test_vocabulary.py`` runs every one of them, ``python -m tests.vocabulary`` counts.

    case("tracejit.numpy.sum", real(3, 4), axis=1, keepdims=True)
    case("tracejit.numpy.linalg.det", real(2, 3, 3), vmap=(0,))
    case("tracejit.numpy.unique", ints(7, below=4), jit="shape depends on data")

A Case is one call: arrays to draw, other arguments as they are. It is checked

- against ``reference`` (by default the function of the same name in NumPy, SciPy or, where neither
  has it, JAX): values, shapes, and where the reference is NumPy's dtypes; for each of ``dtypes``;
- under ``jit``: the same values and dtypes as without;
- under ``vmap`` over a new leading axis of the drawn arrays: a stack of single results;
- under ``grad``: forward and reverse mode in float64 against differences, and one against the other
  (``tracejit.test_util.check_grads`` at order 1 with both modes).

A check that does not apply is switched off with its reason, a string, never with False.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

#: dtypes a case is run with unless it says otherwise
FLOATS = ("float32", "float64")
NUMBERS = ("int32", "float32", "float64", "complex64", "complex128")
REALS = ("int32", "uint8", "float32", "float64")


@dataclass(frozen=True)
class Draw:
    """An array to draw: ``make(rng, dtype)``. ``fixed``: keeps its own dtype (indices, masks), and
    is not differentiated.
    """

    make: Callable[[np.random.Generator, np.dtype], np.ndarray]
    fixed: bool = False


@dataclass(frozen=True)
class Case:
    """One call of ``name`` and what it is checked for.

    ``name``: dotted path from ``tracejit``. ``args``: Draws and plain values; a list or tuple may
    hold Draws. ``kwargs``: keyword arguments, of both functions. ``reference``: what it is compared
    with, None to find it by name. ``dtypes``: of the drawn arrays that are not fixed.
    ``jit``, ``vmap``, ``grad``: True, or the reason why not; ``grad`` may hold "not smooth", "no
    float result", "a tangent needs ..." and is checked in float64 (and complex128 where
    ``dtypes`` names no real float). ``tol``: relative and absolute, for float64; float32 gets
    ``tol32``. ``same``: how results compare; None: elementwise closeness (for signs of vectors and
    the like give a function of (ours, theirs) that asserts). ``after``: applied to both results
    first: what has one answer (``lambda qr: qr[0] @ qr[1]``). ``label`` tells cases of one name
    apart.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Any = None
    reference: Callable[..., Any] | None = None
    dtypes: tuple[str, ...] = FLOATS
    jit: bool | str = True
    vmap: bool | str = True
    grad: bool | str = True
    check_dtype: bool | str = True
    tol: float = 1e-9
    tol32: float = 2e-5
    after: Callable[[Any], Any] | None = None
    same: Callable[[Any, Any], None] | None = None
    label: str = ""


_OPTIONS = ("reference", "dtypes", "jit", "vmap", "grad", "check_dtype", "tol", "tol32", "after")


def case(name: str, *args: Any, **kwargs: Any) -> Case:
    """A Case; the options of ``Case`` are taken out of ``kwargs``, the rest are the call's."""
    options = {key: kwargs.pop(key) for key in (*_OPTIONS, "same", "label") if key in kwargs}
    return Case(name, args, kwargs, **options)


def real(*shape: int, low: float = -2.0, high: float = 2.0) -> Draw:
    """Numbers in [low, high): whole ones for integer dtypes, with imaginary parts for complex."""

    def make(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
        if dtype.kind in "iu":
            floor = max(low, 0) if dtype.kind == "u" else low
            return rng.integers(int(floor), max(int(high), int(floor) + 1) + 1, shape).astype(dtype)
        if dtype.kind == "b":
            return rng.integers(0, 2, shape).astype(dtype)
        x = rng.uniform(low, high, shape)
        if dtype.kind == "c":
            x = x + 1j * rng.uniform(low, high, shape)
        return np.asarray(x, dtype)

    return Draw(make)


def positive(*shape: int, low: float = 0.1, high: float = 3.0) -> Draw:
    """Numbers above zero."""
    return real(*shape, low=low, high=high)


def ints(*shape: int, below: int, low: int = 0, dtype: str = "int64") -> Draw:
    """Whole numbers in [low, below), whatever the dtype of the case: indices, counts, labels."""
    return Draw(lambda rng, _: rng.integers(low, below, shape).astype(dtype), fixed=True)


def mask(*shape: int) -> Draw:
    """Truth values."""
    return Draw(lambda rng, _: rng.integers(0, 2, shape).astype(bool), fixed=True)


def of(function: Callable[..., np.ndarray], *draws: Draw, fixed: bool = False) -> Draw:
    """What ``function`` makes of other draws: ``of(lambda a: a @ a.T + 3 * np.eye(3), real(3, 3))``
    is a positive definite matrix.
    """

    def make(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
        return np.asarray(function(*(d.make(rng, dtype) for d in draws)))

    return Draw(make, fixed)
