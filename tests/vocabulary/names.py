"""The list of names, tests/data/api-names.txt, and what it is checked with.

for space, names in listed().items(): ...            "tracejit.numpy": ("abs", "absolute", ...)
not_provided()                                       {"tracejit.numpy.float8_e5m2": "reason"}
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from tests.vocabulary import run

ROOT = Path(__file__).parent.parent.parent
LIST = ROOT / "tests" / "data" / "api-names.txt"
ABSENT = ROOT / "docs" / "not-provided.md"
#: parameters that place values on several devices, or pass through to XLA: no meaning here
OF_SHARDING = {"out_sharding", "sharding", "in_shardings", "out_shardings", "reduce_axes"}
OF_SHARDING |= {"spmd_axis_name", "sum_match", "manual_axis_type", "is_ref", "_dot_general"}
#: functions whose signature is another one, each with the reason
DIFFERENT: dict[str, str] = {
    **{
        f"tracejit.numpy.{name}": "takes two arrays by position, and no out= or where="
        for name in (
            *("add", "subtract", "multiply", "maximum", "minimum", "logaddexp", "logaddexp2"),
            *("bitwise_and", "bitwise_or", "bitwise_xor"),
            *("logical_and", "logical_or", "logical_xor", "negative"),
        )
    },
    "tracejit.numpy.array": "takes what NumPy's takes, copy= by position too",
    "tracejit.numpy.clip": "the array is needed: JAX's default is for names it has given up",
    "tracejit.numpy.fromfile": "dtype float is the default float; JAX hands on to NumPy",
    "tracejit.numpy.fromiter": "JAX hands on to NumPy, whose like= has no meaning here",
    "tracejit.numpy.vectorize": "without pyfunc it makes a decorator, as NumPy's",
    "tracejit.checkpoint": "concrete= is deprecated in JAX",
    "tracejit.remat": "as tracejit.checkpoint",
    "tracejit.default_matmul_precision": "the precision is needed",
    "tracejit.jit": "no static arguments are (), not None: the same",
    "tracejit.debug.callback": "the function is needed: JAX's None is for a name it has given up",
    "tracejit.debug.log": "the text is needed: JAX's None is for a name it has given up",
    "tracejit.debug.print": "the text is needed: JAX's None is for a name it has given up",
    "tracejit.tree_util.Partial": "func is by position, as in functools.partial",
    "tracejit.lax.all_gather": "to= is about types of several devices",
    "tracejit.lax.rng_bit_generator": "one algorithm, whatever is asked for",
    "tracejit.random.lognormal": "1.0, not np.float32(1.0): the same default",
}


def listed() -> dict[str, tuple[str, ...]]:
    """The names of each namespace."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    rows = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {space: tuple(names.split()) for space, _, names in rows}


def not_provided() -> dict[str, str]:
    """The names that docs/not-provided.md lists, each with its reason."""
    if not ABSENT.exists():
        return {}
    rows = re.findall(r"^\| *`?(tracejit[\w.]*)`? *\| *(.*?) *\|$", ABSENT.read_text("utf-8"), re.M)
    return dict(rows)


def is_provided(path: str) -> bool:
    try:
        run.provided(path)
    except AttributeError:
        return False
    return True


def jax_path(path: str) -> str:
    return "jax" + path.removeprefix("tracejit")


def others(path: str) -> list[Any]:
    """What JAX, and NumPy or SciPy, have under the name."""
    own = next(space for space in run.REFERENCES if path == space or path.startswith(space + "."))
    found = []
    for root in ("jax" + own.removeprefix("tracejit"), *run.REFERENCES[own][:1]):
        name = root + path.removeprefix(own)
        try:
            if name.startswith("jax"):
                run.jax()
            found.append(run.at_path(name))
        except (AttributeError, ModuleNotFoundError):
            continue
    return found


def signature(f: Any) -> inspect.Signature | None:
    """The signature of a function; None of classes and of what has none."""
    if not callable(f) or hasattr(f, "dtype"):
        return None
    try:
        return inspect.signature(f)
    except (TypeError, ValueError):
        return None


def wrong_signature(path: str) -> str:
    """How the signature differs from JAX's and from NumPy's; "" where it is one of them."""
    ours = signature(run.provided(path))
    theirs = [s for f in others(path) if (s := signature(f)) is not None]
    if ours is None or not theirs:
        return ""
    differences = [difference(ours, one) for one in theirs]
    return "" if "" in differences else differences[0]


def difference(ours: inspect.Signature, theirs: inspect.Signature) -> str:
    """What a call written for ``theirs`` may miss in ``ours``; "" where nothing."""
    mine = list(ours.parameters.values())
    yours = [
        p
        for p in theirs.parameters.values()
        if p.name not in OF_SHARDING and p.kind is not p.VAR_KEYWORD
    ]
    for k, p in enumerate(yours):
        if k >= len(mine):
            return f"lacks {p.name}"
        q = mine[k]
        if p.kind is p.KEYWORD_ONLY:  # their order has no meaning
            q = next((m for m in mine if m.name == p.name), q)
        if q.name != p.name and p.kind not in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL):
            return f"has {q.name} for {p.name}"
        if q.kind != p.kind and not (
            q.kind is q.POSITIONAL_OR_KEYWORD and p.kind in (p.POSITIONAL_ONLY, p.KEYWORD_ONLY)
        ):
            return f"{p.name} is {q.kind.description}, not {p.kind.description}"
        if not same_default(q.default, p.default):
            return f"{p.name} is {q.default!r} by default, not {p.default!r}"
    for q in mine[len(yours) :]:
        if q.default is q.empty and q.kind not in (q.VAR_KEYWORD, q.VAR_POSITIONAL):
            return f"needs {q.name} too"
    return ""


def same_default(mine: Any, yours: Any) -> bool:
    if mine is yours:
        return True
    if mine is inspect.Parameter.empty or yours is inspect.Parameter.empty:
        return False
    if " object at 0x" in repr(yours) or repr(yours) == "<not-specified>":
        return True  # a marker for "not given": that it can be left out is what counts
    try:
        if type(mine) is type(yours) and bool(mine == yours):
            return True
    except ValueError:
        pass
    return _text(mine) == _text(yours)


def _text(x: Any) -> str:
    """A default as it reads: enumerations and types of two packages by their names."""
    named = getattr(x, "__name__", None) or getattr(x, "name", None)
    return str(named) if named else repr(x)
