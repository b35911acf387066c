"""The parts of written pages that are made from the package: tables of rules, nodes, settings.

A page holds a line ``<!-- site: rules -->``; on the site the table of that name stands there.

filled("text <!-- site: passes --> text")      "text | pass | ... text"
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

from docs.site.docstrings import cell, inline, markdown
from tracejit.config import _READ, FROM_ENVIRONMENT, Settings
from tracejit.ir import expr
from tracejit.ir.types import DTYPES
from tracejit.kernel import nodes
from tracejit.kernel.text import show, show_expr, show_param, show_statement
from tracejit.passes import (
    attention,
    conv_library,
    epilogue,
    group,
    libraries,
    loops,
    place,
    rules_arith,
    stencils,
)
from tracejit.passes.pipeline import PREPARE, REDUCE
from tracejit.passes.rule import Const, Family, Hole, P, Rest, Rule
from tracejit.passes.simplify import RULES
from tracejit.transform import PRIMS

_MARK = re.compile(r"^<!-- site: (\w+) -->$", re.MULTILINE)


def filled(text: str) -> str:
    """The page ``text`` with what the package says in place of the marks."""
    return _MARK.sub(lambda mark: PARTS[mark.group(1)](), text)


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _code(text: str) -> str:
    return cell(f"`{text}`")


# ---- the graph -----------------------------------------------------------------------------------


def dtypes() -> str:
    rows = [(f"`{name}`", f"`{dtype.name}`") for name, dtype in DTYPES.items()]
    return _rows(("in texts", "dtype"), rows)


def structured() -> str:
    """The operations that hold graphs."""
    found = [prim for _, prim in sorted(PRIMS.items()) if prim.push is not None]
    found += [PRIMS[name] for name in ("call", "custom_vjp_call") if PRIMS[name] not in found]
    rows = [
        (f"`{p.name}`", ", ".join(f"`{name}`" for name in p.params), inline(p.doc))
        for p in sorted(found, key=lambda p: p.name)
    ]
    return _rows(("operation", "params", ""), rows)


# ---- the Kernel IR -------------------------------------------------------------------------------

_I, _J = expr.Var("i", "i64"), expr.Var("j", "i64")
_X = expr.Load("x", (_I, _J), "f32")
_S = expr.Var("s", "f32")
_HOLDS = expr.Op("lt", (_X, expr.Const(1.0, "f32")), "bool")
_ADD = nodes.Accumulate("s", "add", _X)
_BUFFER = nodes.Param("x", "f32", ("n0", 8), "in")
_LOOP = nodes.Loop("vec", "j", expr.Const(0, "i64"), expr.Const(8, "i64"), (_ADD,), 8, 1)
_SHARE = nodes.Loop("par", "i", expr.Const(0, "i64"), expr.Var("n0", "i64"), (_LOOP,))
_TILE = nodes.Transpose(
    "t", (_J, _I), "x", (_I, _J), 16, expr.Const(16, "i64"), expr.Const(16, "i64")
)

#: one of each class, to be printed
EXAMPLES: tuple[Any, ...] = (
    *(expr.Const(1.0, "f32"), _I, _X, expr.Op("max", (_S, _X), "f32")),
    *(_BUFFER, nodes.Kernel("sums", ("n0",), (_BUFFER,), (_SHARE,)), _SHARE, _LOOP),
    nodes.Local("s", "f32", expr.Const(0.0, "f32")),
    *(nodes.Set("s", expr.Op("neg", (_S,), "f32")), _ADD, nodes.Scratch("t", "f32", (16, 16))),
    *(nodes.Store("y", (_I,), _S), nodes.Store("y", (_I,), _S, _HOLDS), _TILE),
    *(nodes.If(_HOLDS, (_ADD,)), nodes.While(_HOLDS, (_ADD,)), nodes.Check(_HOLDS, 1)),
    *(nodes.Barrier(), nodes.Combine("s", "add", 32), nodes.Combine("s", "add", 32, True)),
    *(nodes.Atomic("y", (_I,), "add", _S), nodes.Fence()),
)


def text_of(node: Any) -> str:
    """The text form of a node; for statements the first line."""
    if isinstance(node, nodes.Kernel):
        return show(node).splitlines()[0]
    if isinstance(node, nodes.Param):
        return show_param(node)
    return show_expr(node) if isinstance(node, expr.Expr) else show_statement(node)


def kernel_nodes() -> str:
    """Every class of the Kernel IR: what it is, its fields, and how it prints."""
    parts = []
    for cls in dict.fromkeys(type(example) for example in EXAMPLES):
        texts = [text_of(example) for example in EXAMPLES if type(example) is cls]
        block = "\n".join(texts)
        parts.append(f"### {cls.__name__}\n\n```text\n{block}\n```\n\n{_fields(cls)}\n")
        parts.append(markdown(cls.__doc__ if not _made_up(cls) else ""))
    return "\n".join(parts)


def _made_up(cls: type) -> bool:
    """Dataclasses without a docstring get their signature for one."""
    return (cls.__doc__ or "").startswith(f"{cls.__name__}(")


def _fields(cls: type) -> str:
    if not dataclasses.is_dataclass(cls):
        names = cls.__match_args__  # type: ignore[attr-defined]
    else:
        names = tuple(f.name for f in dataclasses.fields(cls) if f.init)
    return "Fields: " + (", ".join(f"`{name}`" for name in names) or "none") + "."


# ---- passes --------------------------------------------------------------------------------------


def passes() -> str:
    """The passes in their order, with what their modules say."""
    parts = []
    for title, steps in (("Reduce", REDUCE), ("Prepare", PREPARE)):
        order = " → ".join(f"`{step.__name__}`" for step in steps)
        parts.append(f"## {title}\n\n{order}\n")
        for step in dict.fromkeys(steps):
            if title == "Prepare" and step in REDUCE:
                continue
            parts.append(f"### `{step.__name__}`\n")
            parts.append(_module_text(inspect.getmodule(step)))
    parts.append("## For the libraries of a GPU\n")
    parts.append(markdown(libraries.for_libraries.__doc__))
    for module in (attention, conv_library, epilogue):
        parts.append(f"### `{module.__name__.removeprefix('tracejit.')}`\n")
        parts.append(_module_text(module))
    return "\n".join(parts)


def planning() -> str:
    """The steps behind the passes."""
    parts = []
    for module in (group, loops, stencils, place):
        parts.append(f"### `{module.__name__.removeprefix('tracejit.')}`\n")
        parts.append(_module_text(module))
    return "\n".join(parts)


def _module_text(module: Any) -> str:
    return markdown(module.__doc__)


def pattern(found: Any) -> str:
    """A pattern as text: ``transpose(transpose(x, permutation=p), permutation=q)``."""
    match found:
        case P():
            params = (f"{name}={pattern(value)}" for name, value in found.params.items())
            return f"{found.prim.name}({', '.join([*map(pattern, found.args), *params])})"
        case Hole() | Const():
            return found.name + (f":{found.kinds}" if found.kinds else "")
        case Rest():
            return f"*{found.name}"
        case Family():
            names = [prim.name for prim in found.prims]
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            return f"{{{shown}}}(..., {found.maker}(...))"
    return repr(found)


def _row(rule: Rule) -> tuple[str, ...]:
    put = _code(pattern(rule.put)) if isinstance(rule.put, (P, Hole, Const)) else "computed"
    if isinstance(rule.put, (int, float, bool)):
        put = _code(repr(rule.put))
    return (f"`{rule.name}`", _code(pattern(rule.find)), put, "" if rule.when is None else "yes")


def rules() -> str:
    """Every rule: its name, what it finds, what it puts there."""
    head = ("rule", "finds", "puts", "has a condition")
    parts = [f"{len(RULES)} rules are exact:\n", _rows(head, [_row(rule) for rule in RULES])]
    fast = rules_arith.FAST
    parts.append(
        f"\n{len(fast)} more keep the value up to rounding; they are not used unless asked:\n"
    )
    parts.append(_rows(head, [_row(rule) for rule in fast]))
    return "\n".join(parts)


# ---- settings ------------------------------------------------------------------------------------


def settings() -> str:
    """Every setting with its variable, its values and what stands behind it in the source."""
    said = _comments(inspect.getsource(Settings))
    rows = []
    for knob in dataclasses.fields(Settings):
        if knob.name not in _READ:
            continue
        variable = f"`TRACEJIT_{knob.name.upper()}`" if knob.name in FROM_ENVIRONMENT else ""
        if knob.name == "default_device":
            variable = "`TRACEJIT_DEVICE`"
        rows.append((f"`{knob.name}`", variable, _legal(knob.name), said.get(knob.name, "")))
    return _rows(("setting", "environment", "values", ""), rows)


def _legal(name: str) -> str:
    """What a setting may be: what its reader says of a value that is not legal."""
    try:
        _READ[name](3.5)
    except ValueError as legal:
        return inline(str(legal))
    return ""


def _comments(text: str) -> dict[str, str]:
    """What is said of the fields of a class: behind them, or above those without a comment."""
    found: dict[str, str] = {}
    above = ""
    for line in text.splitlines():
        code, _, comment = line.partition("#")
        name = re.match(r" +(\w+): ", code)
        if name is None:
            above = comment.strip()
            continue
        above = "" if comment else above
        found[name.group(1)] = inline(comment.strip() or above)
    return found


PARTS: dict[str, Callable[[], str]] = {
    "dtypes": dtypes,
    "structured": structured,
    "kernel_nodes": kernel_nodes,
    "passes": passes,
    "planning": planning,
    "rules": rules,
    "settings": settings,
}
