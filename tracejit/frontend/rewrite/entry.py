"""The doors: ``controlled(f)`` for ``jit``, and ``fn(f)`` for each call inside of rewritten code.

controlled(f)       f with Python's control flow on traced values
fn(f)(x)            what ``f(x)`` became: a function of the user's own is rewritten, too
"""

from __future__ import annotations

import builtins
import functools
import inspect
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from tracejit import source
from tracejit.errors import ArgumentError
from tracejit.frontend.call import call_user, flatten, function_name
from tracejit.frontend.rewrite import (
    active,
    branches,
    checks,
    folds,
    items,
    loops,
    raised,
    reach,
    state,
)
from tracejit.frontend.rewrite.find import ask, converted, is_users, rewritten
from tracejit.frontend.rewrite.state import NoValue

_BUILTINS: dict[Any, Any] = {
    any: folds.any_,
    all: folds.all_,
    max: folds.extreme("max", max),
    min: folds.extreme("min", min),
    next: reach.next_,
}
#: these call a function for each item
_CALLERS = (builtins.map, builtins.filter, functools.reduce)


def fn(function: Any) -> Any:
    """What is called where the user wrote ``function``."""
    kind = type(function)
    if kind is FunctionType:
        return converted(function, Runtime)
    if kind is MethodType:
        inner = function.__func__
        if type(inner) is FunctionType:
            new = converted(inner, Runtime)
            return function if new is inner else MethodType(new, function.__self__)
        return function
    if kind is BuiltinFunctionType:
        return (
            _caller(function) if function is functools.reduce else _BUILTINS.get(function, function)
        )
    if kind is type:
        return _caller(function) if function in _CALLERS else function
    if kind is functools.partial:
        return functools.partial(fn(function.func), *function.args, **function.keywords)
    method = inspect.getattr_static(kind, "__call__", None)
    if type(method) is FunctionType and is_users(method.__code__.co_filename):
        new = converted(method, Runtime)
        return function if new is method else MethodType(new, function)
    return function


def _caller(function: Any) -> Any:
    """``map`` and the like, whose first argument is a function."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if args and callable(args[0]):
            first = fn(args[0])
            args = (folds.kept_by(first) if function is filter else first, *args[1:])
        return function(*args, **kwargs)

    return call


def result(value: Any) -> Any:
    """What a function returns; TracedValueError where it has no value."""
    for leaf in (value, *(value if isinstance(value, tuple | list) else ())):
        if type(leaf) is NoValue:
            leaf.fail()
    return value


class Runtime:
    """The helpers that rewritten code calls."""

    if_ = staticmethod(branches.if_)
    if_expr = staticmethod(branches.if_expr)
    and_ = staticmethod(branches.and_)
    or_ = staticmethod(branches.or_)
    not_ = staticmethod(branches.not_)
    contains = staticmethod(branches.contains)
    chain = staticmethod(branches.chain)
    while_ = staticmethod(loops.while_)
    for_ = staticmethod(loops.for_)
    result = staticmethod(result)
    storing = staticmethod(state.storing)
    iterator = staticmethod(items.iterator)
    folded = staticmethod(folds.folded)
    kept = staticmethod(folds.kept)
    known = staticmethod(branches.known)
    holds = staticmethod(lambda test, said: checks.holds(test, said, branches.condition))
    text = staticmethod(checks.text)
    trying = staticmethod(raised.trying)
    fn = staticmethod(fn)


def controlled(function: Any) -> Any:
    """``function`` with its statements, and those of functions it calls, rewritten.

    Raises ArgumentError where the source of a function is not at hand.
    """
    plain = function
    while isinstance(plain, functools.partial | MethodType):
        plain = plain.func if isinstance(plain, functools.partial) else plain.__func__
    if isinstance(plain, FunctionType):
        ask(plain.__code__.co_filename)
    if isinstance(plain, FunctionType) and _is_readable(plain):
        found = rewritten(plain)
        if found.code is None and found.reason != "it is rewritten":
            raise _unreadable(plain, found.reason)
    elif inspect.isbuiltin(plain):
        raise _unreadable(plain, "it is not written in Python")
    inner = fn(function)

    @functools.wraps(function, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        with active.rewriting(fn):
            result = call_user(inner, args, kwargs)
        for leaf in flatten(result)[0]:
            if isinstance(leaf, NoValue):
                leaf.fail()
        return result

    run.__name__ = function_name(function)
    return run


def _is_readable(function: FunctionType) -> bool:
    """Whether the source of a function could be there: not for those of installed packages."""
    file = function.__code__.co_filename
    return is_users(file) or file.startswith("<")


def _unreadable(function: Any, reason: str) -> ArgumentError:
    name = getattr(function, "__name__", type(function).__name__)
    return ArgumentError(
        f"jit: control_flow=True cannot rewrite `{name}`: {reason}",
        at=source.here(),
        hint="write the function in a file or a notebook, as a plain `def`, or use lax.cond and "
        "lax.while_loop",
    )
