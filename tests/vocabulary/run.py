"""Finds the cases of this folder, calls them and compares results; the tests are in
``test_vocabulary.py``.

    for label, case in cases():
        call = Call.of(case, label, "float64")
        assert_same(call.ours(), call.theirs(), case, call)
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import tracejit as tj
from tests.vocabulary.spec import Case, Draw
from tracejit.ir.types import is_inexact

HERE = Path(__file__).parent
#: where a name is looked for, in this order, for each namespace
REFERENCES = {
    "tracejit.numpy": ("numpy", "jax.numpy"),
    "tracejit.scipy": ("scipy", "jax.scipy"),
    "tracejit": ("jax",),
}


class NoReference(Exception):
    """What a case is compared with is not installed."""


# ---- finding -------------------------------------------------------------------------------------


def files() -> list[str]:
    """The files of this folder that may hold cases."""
    own = ("spec", "run", "names")
    return sorted(
        path.stem
        for path in HERE.glob("*.py")
        if path.stem not in own and not path.stem.startswith(("test_", "_"))
    )


@functools.cache
def cases() -> tuple[tuple[str, Case], ...]:
    """Every case of every file, with an id that says what is called.

    A file that does not import is one case, which fails with the reason.
    """
    found: list[tuple[str, Case]] = []
    for file in files():
        try:
            of_file = importlib.import_module(f"tests.vocabulary.{file}").CASES
        except Exception as error:  # the other files' cases run
            found.append((f"import-{file}", Case(f"{file} does not import", same=_raiser(error))))
            continue
        found += [(label(case), case) for case in of_file]
    return tuple(_distinct(found))


def _raiser(error: Exception) -> Callable[[Any, Any], None]:
    def fail(ours: Any, theirs: Any) -> None:
        raise error

    return fail


def _distinct(found: Sequence[tuple[str, Case]]) -> Iterator[tuple[str, Case]]:
    seen: dict[str, int] = {}
    for name, case in found:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), case


def label(case: Case) -> str:
    """``numpy.sum(axis=1,keepdims=True)``: short, and the same in every process."""
    name = case.name.removeprefix("tracejit.")
    if case.label:
        return f"{name}({case.label})"
    shown = [text for x in case.args if (text := _shown(x))]
    shown += [f"{key}={_shown(x) or '..'}" for key, x in (case.kwargs or {}).items()]
    return f"{name}({','.join(shown)})"


def _shown(x: Any) -> str:
    """A plain value in an id; nothing for what is drawn, or long, or has no short text."""
    if isinstance(x, Draw | np.ndarray) or callable(x) and not isinstance(x, type):
        return ""
    text = x.__name__ if isinstance(x, type) else repr(x)
    return "" if len(text) > 24 or " at 0x" in text or "Draw" in text else re.sub(r"\s", "", text)


# ---- calling -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A case with its arrays drawn: ``arrays`` in the order in which the call holds them."""

    case: Case
    draws: tuple[Draw, ...]
    arrays: tuple[np.ndarray, ...]

    @staticmethod
    def of(case: Case, name: str, dtype: str, sample: int = 0) -> Call:
        rng = np.random.default_rng([zlib.crc32(name.encode()), sample])
        draws = tuple(_draws((case.args, case.kwargs or {})))
        return Call(case, draws, tuple(draw.make(rng, np.dtype(dtype)) for draw in draws))

    def ours(self, *arrays: Any) -> Any:
        """tracejit's function on ``arrays``, by default its own."""
        return self._run(provided(self.case.name), arrays or self.arrays)

    def theirs(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = reference(self.case)
            args, kwargs = _filled((self.case.args, self.case.kwargs or {}), iter(self.arrays))
            if self.case.reference is None and _named(self.case.name)[0].startswith("jax"):
                args, kwargs = _for_jax((args, kwargs))
            return function(*args, **kwargs)

    def _run(self, function: Callable[..., Any], arrays: Sequence[Any]) -> Any:
        args, kwargs = _filled((self.case.args, self.case.kwargs or {}), iter(arrays))
        return function(*args, **kwargs)


def _draws(x: Any) -> Iterator[Draw]:
    if isinstance(x, Draw):
        yield x
    elif isinstance(x, tuple | list):
        for item in x:
            yield from _draws(item)
    elif isinstance(x, dict):
        yield from _draws(list(x.values()))


def _filled(x: Any, arrays: Iterator[Any]) -> Any:
    """``x`` with arrays in the places of its draws."""
    if isinstance(x, Draw):
        return next(arrays)
    if isinstance(x, dict):
        return {key: _filled(value, arrays) for key, value in x.items()}
    if type(x) in (tuple, list):
        return type(x)(_filled(item, arrays) for item in x)
    return x


def _for_jax(x: Any) -> Any:
    """Arguments of tracejit's own types (dimension numbers, modes) as those of JAX."""
    if isinstance(x, dict):
        return {key: _for_jax(value) for key, value in x.items()}
    if type(x).__module__.startswith("tracejit."):
        own = getattr(jax().lax, type(x).__name__)
        return own[x.name] if hasattr(x, "name") else own(*x)
    return type(x)(map(_for_jax, x)) if type(x) in (tuple, list) else x


def provided(name: str) -> Any:
    """What tracejit has under a dotted name; AttributeError where it has nothing."""
    return at_path(name)


def reference(case: Case) -> Callable[..., Any]:
    """What the case is compared with; NoReference where JAX would be it and is not there."""
    return case.reference or _named(case.name)[1]


def is_numpy(case: Case) -> bool:
    """Whether NumPy's function of the name is the reference: then dtypes are its dtypes."""
    return case.reference is None and _named(case.name)[0].startswith("numpy.")


@functools.cache
def _named(name: str) -> tuple[str, Callable[..., Any]]:
    own = next(space for space in REFERENCES if name == space or name.startswith(space + "."))
    for root in REFERENCES[own]:
        path = root + name.removeprefix(own)
        try:
            if root.startswith("jax"):
                jax()
            return path, at_path(path)
        except (AttributeError, ModuleNotFoundError):
            continue
    raise NoReference(f"no reference for {name}: JAX is not installed, or has no such name")


@functools.cache
def jax() -> Any:
    """JAX in double precision on the CPU; ModuleNotFoundError where it is not installed."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("jax")
        module.config.update("jax_enable_x64", True)
    return module


def jax_in_single(path: str) -> Callable[..., Any]:
    """JAX's function as it is by default, without 64 bits: ``jax_in_single("jax.random.ball")``."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            with jax().enable_x64(False):
                return at_path(path)(*args, **kwargs)
        except ModuleNotFoundError as error:
            raise NoReference("JAX is not installed") from error

    return call


def at_path(path: str) -> Any:
    """The object at a dotted path: modules as far as they go, then attributes."""
    parts = path.split(".")
    found = importlib.import_module(parts[0])
    for k, part in enumerate(parts[1:], 2):
        module = ".".join(parts[:k])
        try:
            if not hasattr(found, part):
                importlib.import_module(module)
            found = getattr(found, part)
        except ModuleNotFoundError as error:
            if error.name and not module.startswith(error.name):
                raise  # the module is there, and lacks something
            raise AttributeError(f"there is no {path}") from error
    return found


# ---- comparing -----------------------------------------------------------------------------------


def leaves(result: Any) -> list[np.ndarray]:
    """The arrays of a result of ours, NumPy's or JAX's: of tuples, lists, dicts and other trees."""
    if result is None:
        return []
    if isinstance(result, tuple | list):
        return [leaf for item in result for leaf in leaves(item)]
    if isinstance(result, dict):
        return [leaf for key in sorted(result) for leaf in leaves(result[key])]
    if isinstance(result, np.ndarray | np.generic | bool | int | float | complex):
        return [np.asarray(result)]
    if hasattr(result, "__array__"):
        return [np.asarray(result)]
    inside = tj.tree.leaves(result)
    assert inside != [result], f"{type(result).__name__} is no array: give the case `after`"
    return [leaf for item in inside for leaf in leaves(item)]


def assert_same(
    ours: Any, theirs: Any, call: Call, *, dtype: bool = True, of_numpy: bool = False
) -> None:
    """Both results hold equal arrays, up to the tolerance of the case; ``of_numpy``: theirs have
    NumPy's dtypes.
    """
    case = call.case
    if case.after is not None:
        ours, theirs = case.after(ours), case.after(theirs)
    if case.same is not None:
        case.same(ours, theirs)
        return
    found, expected = leaves(ours), leaves(theirs)
    assert len(found) == len(expected), f"{len(found)} arrays for {len(expected)}"
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape, f"shape {got.shape} for {want.shape}"
        if dtype:
            known = default_dtype(want.dtype, call) if of_numpy else want.dtype
            assert got.dtype == known, f"dtype {got.dtype} for {known}"
        assert_close(got, want, tolerance(case, (got, want, *call.arrays)))


def default_dtype(dtype: np.dtype, call: Call) -> np.dtype:
    """What stands for NumPy's ``dtype`` where neither an array nor the call names one: floats that
    are made from integers, or from nothing, are ``config.default_float``.
    """
    given = [*call.case.args, *(call.case.kwargs or {}).values(), *call.arrays]
    floats = [x for x in given if isinstance(x, np.ndarray | np.generic) and is_inexact(x.dtype)]
    if dtype.kind not in "fc" or floats or any(isinstance(x, type | np.dtype) for x in given):
        return dtype
    default = np.dtype(tj.config.default_float)
    return default if dtype.kind == "f" else np.result_type(default, np.complex64)


def assert_close(got: np.ndarray, want: np.ndarray, tol: float) -> None:
    if got.dtype.kind in "biuSUO" and want.dtype.kind in "biuSUO":
        np.testing.assert_array_equal(got, want)
        return
    wide = np.complex128 if "c" in got.dtype.kind + want.dtype.kind else np.float64
    np.testing.assert_allclose(got.astype(wide), want.astype(wide), rtol=tol, atol=tol)


def tolerance(case: Case, arrays: Sequence[np.ndarray]) -> float:
    """By the narrowest floating array of the results and of what was drawn."""
    dtypes = [x.dtype for x in arrays if is_inexact(x.dtype)]
    widths = [2 if d == ml_dtypes.bfloat16 else np.zeros((), d).real.itemsize for d in dtypes]
    return {2: max(case.tol32, 2e-2), 4: max(case.tol, case.tol32)}.get(
        min(widths, default=8), case.tol
    )


# ---- what is checked -----------------------------------------------------------------------------


def wide_dtype(case: Case) -> str | None:
    """The dtype that derivatives are checked in; None where the case has no floating arrays."""
    if not has_free_arrays(case):
        return None
    kinds = {np.dtype(d).kind for d in case.dtypes}
    return "float64" if "f" in kinds else "complex128" if "c" in kinds else None


def has_gradient(case: Case) -> bool:
    return case.grad is True and wide_dtype(case) is not None


def has_arrays(case: Case) -> bool:
    return any(True for _ in _draws((case.args, case.kwargs or {})))


def has_free_arrays(case: Case) -> bool:
    """Whether the case draws arrays that take the dtypes of the case."""
    return not all(draw.fixed for draw in _draws((case.args, case.kwargs or {})))


def first_dtype(case: Case) -> str:
    """What jit and vmap are checked with: one dtype, since each costs a compilation."""
    floats = [d for d in case.dtypes if np.dtype(d).kind in "fc"] if has_free_arrays(case) else []
    return (floats or list(case.dtypes))[-1]


def _if_there(name: str) -> Any:
    try:
        return provided(name)
    except (AttributeError, ModuleNotFoundError):
        return None


def without_case(paths: Sequence[str]) -> list[str]:
    """The functions among ``paths`` that no case calls, under no name they have there."""
    called = {case.name for _, case in cases()}
    tried = {id(found) for name in called if (found := _if_there(name)) is not None}
    return [
        path
        for path in paths
        if callable(provided(path))
        and not isinstance(provided(path), type)
        and path not in called
        and id(provided(path)) not in tried
    ]
