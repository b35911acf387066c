"""The syntax tree of a function, and a function of a rewritten tree.

    converted(f)        f rewritten; f itself where it cannot be

The tree comes from the source file, so all positions are the user's; code keeps the file's name,
and the functions that rewriting adds carry the name of the user's function. The new function shares
globals, defaults and the cells of its free variables with the old one.
"""

from __future__ import annotations
import __future__

import ast
import copy
import inspect
import linecache
import re
from functools import lru_cache
from types import CellType, CodeType, FunctionType
from typing import Any

from tracejit import source
from tracejit.frontend.rewrite.convert import (
    MARK,
    Mangle,
    check,
    parameters,
    rewrite,
)
from tracejit.frontend.rewrite.exits import PREFIX, RUNTIME, Unsupported, without_exits
from tracejit.frontend.rewrite.matches import without_matches
from tracejit.record import dataclass

Function = ast.FunctionDef | ast.Lambda
_FACTORY, _FUNCTION = f"{PREFIX}factory", f"{PREFIX}function"
_GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True)
class Rewritten:
    """New code for a function, or why there is none."""

    code: CodeType | None
    reason: str = ""


#: why a function of another package is left as it is
OTHERS = "it is not the user's own"
_known: dict[tuple[str, CodeType], Rewritten] = {}


#: folders of installed packages some function of which is to be rewritten
_asked: set[str] = set()
_INSTALLED = re.compile(r"(.*[/\\](?:site|dist)-packages[/\\])([^/\\]+)")


def is_users(file: str) -> bool:
    """Whether a file is the user's own: not of this package, Python's library or an installed one
    that does not ask for it.
    """
    if source.is_internal(file):
        return False
    if package := _INSTALLED.match(file):
        return package[0] in _asked
    return not source.is_stdlib(file)


def ask(file: str) -> None:
    """Rewrite functions of the installed package that ``file`` belongs to, from here on."""
    package = _INSTALLED.match(file)
    if package and package[0] not in _asked and not source.is_internal(file):
        _asked.add(package[0])
        for key, found in list(_known.items()):
            if found.reason == OTHERS:
                del _known[key]


def rewritten(function: FunctionType) -> Rewritten:
    """The rewritten code of ``function``, made once."""
    code = function.__code__
    key = (code.co_filename, code)
    found = _known.get(key)
    if found is None:
        found = _known[key] = _rewritten(code)
        if found.code is not None:  # it needs no other
            _known[code.co_filename, found.code] = Rewritten(None, "it is rewritten")
    return found


def converted(function: FunctionType, runtime: Any) -> FunctionType:
    """``function`` with its statements rewritten; itself where it has no source."""
    code = rewritten(function).code
    if code is None:
        return function
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells[RUNTIME] = CellType(runtime)
    closure = tuple(cells[name] for name in code.co_freevars)
    new = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, closure
    )
    new.__kwdefaults__ = function.__kwdefaults__
    new.__dict__.update(function.__dict__)
    new.__qualname__ = function.__qualname__
    new.__module__ = function.__module__
    new.__doc__ = function.__doc__
    new.__annotations__ = function.__annotations__
    new.__wrapped__ = function  # type: ignore[attr-defined]
    return new


def _rewritten(code: CodeType) -> Rewritten:
    if not is_users(code.co_filename):
        return Rewritten(None, OTHERS)
    if code.co_flags & _GENERATORS:
        return Rewritten(None, "it is a generator or a coroutine")
    node = syntax(code)
    if node is None:
        return Rewritten(None, "its source is not at hand")
    reason = check(node)
    if reason:
        return Rewritten(None, reason)
    node = copy.deepcopy(node)
    try:
        return Rewritten(_compiled(node, code))
    except Unsupported as error:
        return Rewritten(None, str(error))


# ---- finding -------------------------------------------------------------------------------------


def syntax(code: CodeType) -> Function | None:
    """The function or lambda that ``code`` was compiled from, if the file still holds it."""
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)
    if not lines:
        return None
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    names = sorted(code.co_varnames[:count])
    found = [
        node
        for node in _functions("".join(lines)).get((code.co_name, code.co_firstlineno), ())
        if sorted(_mangled(parameters(node), code)) == names
    ]
    if len(found) > 1:
        found = [node for node in found if _holds(node, code)]
        found = sorted(found, key=lambda node: _extent(node)[2:])[:1] if found else []
    return found[0] if found and _is_current(found[0], code) else None


def _is_current(node: Function, code: CodeType) -> bool:
    """Whether the file is still the one that ``code`` came from: instructions have the extents of
    expressions and statements.
    """
    extents = {_whole(part) for part in ast.walk(node) if hasattr(part, "lineno")}
    places = _places(code)
    return 2 * len(places & extents) >= len(places)


def _whole(node: Any) -> tuple[int, int, int, int]:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _places(code: CodeType) -> set[tuple[int, int, int, int]]:
    """Where instructions of ``code`` begin and end in the source."""
    return {
        (start, first, end, last)
        for start, end, first, last in code.co_positions()
        if start is not None and end is not None and first is not None and last is not None
        if first != last
    }


@lru_cache(maxsize=64)
def _functions(text: str) -> dict[tuple[str, int], list[Function]]:
    """Functions and lambdas of a module by name and first line."""
    found: dict[tuple[str, int], list[Function]] = {}
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a notebook's magic, or not Python at all
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            line = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            found.setdefault((node.name, line), []).append(node)
        elif isinstance(node, ast.Lambda):
            found.setdefault(("<lambda>", node.lineno), []).append(node)
    return found


def _extent(node: Function) -> tuple[int, int, int, int]:
    body = node.body if isinstance(node, ast.Lambda) else node
    return (
        body.lineno,
        body.col_offset,
        body.end_lineno or body.lineno,
        body.end_col_offset or 0,
    )


def _holds(node: Function, code: CodeType) -> bool:
    """Whether all of ``code`` lies within ``node``, and reaches its ends."""
    line, col, end_line, end_col = _extent(node)
    places = _places(code)
    inside = all(
        (line, col) <= (start, first) and (end, last) <= (end_line, end_col)
        for start, first, end, last in places
    )
    return inside and bool(places) and min(p[:2] for p in places) == (line, col)


def _owner(code: CodeType) -> str:
    """The class whose method ``code`` is, or empty."""
    outer = code.co_qualname.rpartition(".")[0].rpartition(".")[2]
    return "" if outer == "<locals>" else outer


def _mangled(names: list[str], code: CodeType) -> list[str]:
    mangle = Mangle(_owner(code))
    return [mangle.name(name) for name in names]


# ---- compiling -----------------------------------------------------------------------------------


def _compiled(node: Function, old: CodeType) -> CodeType:
    """The code of a function with the statements of ``node`` rewritten."""
    if owner := _owner(old):
        node = Mangle(owner).visit(node)
    node.args.defaults = []
    node.args.kw_defaults = [None] * len(node.args.kwonlyargs)
    for arg in ast.walk(node.args):
        if isinstance(arg, ast.arg):
            arg.annotation = None
    statement: ast.stmt
    if isinstance(node, ast.FunctionDef):
        node.decorator_list, node.returns = [], None
        node.args.defaults = []
        without_docstring(node)
        without_matches(node)
        without_exits(node)
        rewrite(node, old.co_freevars)
        node.name = _FUNCTION  # under its own it would hide the global of that name
        statement = node
    else:
        rewrite(node, old.co_freevars)
        statement = ast.Return(node)
    outer = ast.arguments(
        [], [ast.arg(n) for n in (*old.co_freevars, RUNTIME)], None, [], [], None, []
    )
    factory = ast.FunctionDef(_FACTORY, outer, [statement], [], None)
    factory.type_params = []  # type: ignore[attr-defined]
    module = ast.fix_missing_locations(ast.Module([factory], []))
    flags = old.co_flags & inspect_flags()
    compiled = compile(module, old.co_filename, "exec", flags, dont_inherit=True)
    made = next(c for c in compiled.co_consts if isinstance(c, CodeType))
    new = next(c for c in made.co_consts if isinstance(c, CodeType))
    return _named(new, old.co_name, old.co_qualname)


def without_docstring(node: ast.FunctionDef) -> None:
    """The docstring stays with the function; among statements it would be one more."""
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.copy_location(ast.Pass(), node.body[0])]


@lru_cache(maxsize=1)
def inspect_flags() -> int:
    """The bits of ``co_flags`` that ``from __future__ import`` sets."""
    return sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


def _named(code: CodeType, name: str, full: str) -> CodeType:
    """``code`` under another name, and what is nested in it by the user's names."""
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name.startswith(PREFIX) or MARK in constant.co_varnames:
                constant = _named(constant, name, full)
            else:
                inside = "." if not code.co_flags & inspect.CO_NEWLOCALS else ".<locals>."
                constant = _named(constant, constant.co_name, full + inside + constant.co_name)
        constants.append(constant)
    return code.replace(co_name=name, co_qualname=full, co_consts=tuple(constants))
