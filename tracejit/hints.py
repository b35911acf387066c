"""Remedies: fixed mechanical checks on shapes, dtypes, names and the user's expression.

In: what does not fit. Out: one sentence that would make it fit, or an empty string. Pure functions.

    broadcasting((2, 3), (3, 2))     "the shapes would agree if operand 2 were transposed"
    broadcasting((4, 3), (4,))       "give operand 2 an axis: x[:, None] has shape (4, 1)"
    concrete("bool()", "while x > 0:", "x > 0")     names lax.while_loop
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable

Shape = tuple[int, ...]


def broadcasting(a: Shape, b: Shape) -> str:
    """How two shapes that do not broadcast could be made to."""
    if len(a) > 1 and a == b[::-1]:
        return "the shapes would agree if operand 2 were transposed"
    for number, small, large in ((2, b, a), (1, a, b)):
        axis = _missing_axis(small, large)
        if axis is not None:
            index = ", ".join([":"] * axis + ["None"] + [":"] * (len(small) - axis))
            wide = (*small[:axis], 1, *small[axis:])
            return f"give operand {number} an axis: x[{index}] has shape {wide}"
    if math.prod(a) == math.prod(b) and len(a) != len(b):
        return f"both have {math.prod(a)} elements: reshape one of them"
    return ""


def _missing_axis(small: Shape, large: Shape) -> int | None:
    """Where one more axis of size 1 in ``small`` makes it broadcast to ``large``."""
    if not small or len(small) >= len(large):
        return None
    for axis in range(len(small), 0, -1):
        if broadcasts((*small[:axis], 1, *small[axis:]), large):
            return axis
    return None


def broadcasts(a: Shape, b: Shape) -> bool:
    """Whether two shapes have a common one by NumPy's rules."""
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False))


def contraction(a: Shape, b: Shape) -> str:
    """How two operands of a matrix product could be made to fit."""
    if len(a) == len(b) == 2:
        if a[1] == b[1]:
            return "the shapes would agree if operand 2 were transposed"
        if a[0] == b[0]:
            return "the shapes would agree if operand 1 were transposed"
        if a[0] == b[1]:
            return "the shapes would agree if the operands changed places"
    return ""


def reshape(shape: Shape, sizes: Shape) -> str:
    """What is wrong with a new shape of another size."""
    if sizes.count(-1) > 1:
        return "only one size can be -1"
    size, known = math.prod(shape), math.prod(n for n in sizes if n != -1)
    if -1 in sizes:
        return f"{size} elements are no multiple of {known}"
    for axis, n in enumerate(sizes):
        rest = known // n if n else 0
        if rest and size % rest == 0:
            fitted = (*sizes[:axis], size // rest, *sizes[axis + 1 :])
            return f"{fitted} has the right number of elements"
    return ""


def name(wrong: str, known: Iterable[str]) -> str:
    """A known name close to a wrong one, or the list of all."""
    listed = list(known)
    close = difflib.get_close_matches(str(wrong), listed, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are: {', '.join(listed)}" if listed else ""


#: Python functions that need concrete numbers, and what to call instead; others have the same name
_PYTHON = {
    "pow": "power",
    "fabs": "abs",
    "gamma": "exp(lgamma(x))",
    "fmod": "fmod",
    "dist": "linalg.norm",
}
_BUILTIN = {"float": "x.astype(float)", "int": "x.astype(int)", "complex": "x.astype(complex)"}


def called(expression: str) -> str:
    """What to call on a traced value instead of a function of ``math`` or NumPy, or ``float``."""
    found = re.match(r"(?:\w+\.)*?(math|cmath|np|numpy|onp)\.([\w.]+)\(", expression)
    if found:
        own = _PYTHON.get(found[2], found[2]) if "math" in found[1] else found[2]
        wrong = f"{found[1]}.{found[2]}"
        return f"call tracejit.numpy.{own}, which works on traced values, instead of {wrong}"
    built_in = re.match(r"(\w+)\(", expression)
    if built_in and built_in[1] in _BUILTIN:
        return f"use {_BUILTIN[built_in[1]]} to convert the dtype and stay traced"
    return ""


STATIC = "or mark the argument static with static_argnums"
FLOW = "jit(control_flow=True)"


def concrete(what: str, line: str, expression: str, *, rewritten: bool = False) -> str:
    """What to write where ``what`` (``bool()``, an index ...) needs a traced value's number.

    ``rewritten``: under jit(control_flow=True), which does not help here, then.
    """
    if found := called(expression):
        return found
    if what == "bool()":
        found = _control(line.strip(), expression)
        return found.replace(f"{FLOW}, ", "").replace(f"{FLOW} or ", "") if rewritten else found
    if what == "use as an index":
        if re.match(r"range\(", expression):
            return f"use {FLOW} or lax.fori_loop, {STATIC}"
        if re.search(r"\]\s*\[", expression) or re.match(r"\w+\[", expression):
            return f"numpy.asarray(items)[i] takes a traced index where items[i] does not; {STATIC}"
        return f"shapes, axes and counts are static: take them from x.shape, {STATIC}"
    if missing := re.search(r" without (\w+)", what):
        return f"pass {missing[1]}=, the length of the result: shapes are known before values are"
    if what.startswith("arange:"):
        return f"shapes are static: take them from x.shape, {STATIC}"
    if what.startswith("conversion to"):
        return "call the function of the same name in tracejit.numpy instead of NumPy's"
    return f"return the array and convert it outside, {STATIC}"


def _control(text: str, expression: str) -> str:
    if re.match(r"while\b", text):
        return f"use {FLOW} or lax.while_loop, {STATIC}"
    if re.match(r"assert\b", text):
        return "return the condition and check it outside; shapes and dtypes can be checked here"
    if re.search(r"\bin\b", expression):
        return "use numpy.isin or (x == v).any(), which stay traced"
    if re.match(r"(min|max|sorted)\(", expression):
        return "use numpy.minimum, numpy.maximum or numpy.sort, which stay traced"
    if _chained(expression) or re.search(r"\b(and|or|not)\b", text.partition(":")[0]):
        return f"write & | ~ for and, or, not, with each side in parentheses, use {FLOW}, {STATIC}"
    if re.match(r"(if|elif)\b", text) or re.search(r"\bif\b.*\belse\b", text):
        return f"use {FLOW}, numpy.where or lax.cond, {STATIC}"
    return f"use {FLOW}, numpy.where, lax.cond or lax.while_loop, {STATIC}"


def axes(count: int) -> str:
    """Which axes there are."""
    return f"axes are {-count} to {count - 1}" if count else "it has no axes"


def position(size: int) -> str:
    """Which static positions an axis has."""
    return (
        f"positions are {-size} to {size - 1}"
        if size
        else "look at x.shape first where an array may be empty"
    )


def missing_rule(field: str) -> str:
    """What to do without a rule of an operation."""
    if field in ("jvp", "push"):
        return "give the derivative with custom_jvp or custom_vjp, or cut it off with stop_gradient"
    if field == "transpose":
        return "take the derivative with jvp or jacfwd, or give it with custom_vjp"
    if field == "batch":
        return "map with lax.map, which runs one example after another"
    return ""


def supported(names: Iterable[str]) -> str:
    """The dtypes there are."""
    return f"there are: {', '.join(names)}"


def _chained(expression: str) -> bool:
    """Whether the text is a chain of comparisons such as ``0 < x < 1``."""
    return len(re.findall(r"(?<![<>=!])(?:<=?|>=?|==|!=)(?![<>=])", expression)) > 1
