"""sum, any, all, max, min of values or of generators, where conditions or values may be traced.

    sum(x for x in xs if x > 0)     folded(sum, ((x > 0, lambda: x) for x in xs))
    max(a, b)                       extreme("max")(a, b)

A comprehension whose condition is traced has no length that is known: ``kept`` says so.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from tracejit import source
from tracejit.errors import TracedValueError
from tracejit.frontend import elementwise, methods
from tracejit.frontend.array import Array
from tracejit.frontend.rewrite import active
from tracejit.frontend.rewrite.branches import Thunk, and_, if_expr, not_, or_
from tracejit.frontend.rewrite.checks import check
from tracejit.frontend.rewrite.state import MISSING, is_traced

# ---- conditions ----------------------------------------------------------------------------------


def kept(test: Any, what: str) -> Any:
    """The condition of a comprehension or of ``filter``: TracedValueError where it is traced."""
    if not is_traced(test):
        return test
    raise TracedValueError(
        f"how many items this {what} keeps depends on a traced value",
        at=source.here(),
        notes=(f"the condition: {test.type}{test.origin() and '  ' + test.origin()}",),
        hint="keep all of them and mask: jnp.where(condition, xs, 0); or the chosen ones in an "
        "array of a known size: xs[jnp.nonzero(condition, size=n)]; sum, any, all, max and min of "
        "such a generator compile",
    )


def kept_by(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of ``filter``."""
    return lambda x: kept(function(x), "filter")


# ---- generators with conditions ------------------------------------------------------------------


def folded(function: Any, pairs: Iterable[tuple[Any, Thunk]], *args: Any, **options: Any) -> Any:
    """``function`` of the values whose conditions hold; each value is looked at where one does."""
    if function is sum:
        total = options.get("start", *args[:1] or (0,))
        for test, value in pairs:
            total = if_expr(test, lambda t=total, v=value: t + v(), lambda t=total: t)
        return total
    if function is any:
        return any_(and_(test, value) for test, value in pairs)
    if function is all:
        return all_(or_(not_(test), value) for test, value in pairs)
    if function in (max, min) and not set(options) - {"default"}:
        return _best(function, pairs, **options)
    values = [value() for test, value in pairs if kept(test, "generator")]
    return function(values, *args, **options)


def _best(function: Any, pairs: Iterable[tuple[Any, Thunk]], default: Any = MISSING) -> Any:
    better = operator.gt if function is max else operator.lt
    some: Any = False
    best = default
    for test, value in pairs:
        if not is_traced(test) and not test:
            continue
        if best is MISSING:  # what stands where there is none is never seen
            best = value()
            some = test
            continue
        take = and_(
            test,
            lambda v=value, s=some, b=best: or_(not_(s), lambda: better(v(), b)),
        )
        best = if_expr(take, value, lambda b=best: b)
        some = or_(some, lambda t=test: t)
    if default is MISSING and is_traced(some):
        empty = ValueError(f"{function.__name__}() arg is an empty sequence")
        check(elementwise.truth(some), empty, source.here())
    return function(()) if best is MISSING else best


# ---- values --------------------------------------------------------------------------------------


def any_(values: Any) -> Any:
    """``any``, where one of the values may be traced."""
    return _joined(values, or_, any)


def all_(values: Any) -> Any:
    """``all``, where one of the values may be traced."""
    return _joined(values, and_, all)


def _joined(values: Any, connect: Any, plain: Any) -> Any:
    if not isinstance(values, list | tuple | Array):
        return _lazily(values, connect, plain)
    if not (is_traced(values) or any(map(is_traced, values))):
        return plain(values)
    if isinstance(values, Array) and values.ndim == 1:
        return methods.any(values) if plain is any else methods.all(values)
    return _lazily(values, connect, plain)


def _lazily(values: Any, connect: Any, plain: Any) -> Any:
    found: Any = plain(())
    for value in values:
        truth = elementwise.truth(value) if is_traced(value) else bool(value)
        if not is_traced(truth) and truth is not found and not is_traced(found):
            return truth
        found = connect(found, lambda truth=truth: truth)
    return found


def extreme(name: str, plain: Any) -> Callable[..., Any]:
    """``max`` or ``min``, where one of the values, or of their keys, may be traced."""
    better = operator.gt if name == "max" else operator.lt

    def choose(*args: Any, key: Any = None, **options: Any) -> Any:
        if not args:
            return plain(*args, **options)
        key = key and active.converted(key)
        values = list(args[0] if len(args) == 1 else args)
        keys = values if key is None else [key(value) for value in values]
        if not any(map(is_traced, keys)):
            chosen = dict(zip(map(id, values), keys, strict=True))
            return plain(values, key=lambda v: chosen[id(v)], **options)
        (best, found), *rest = zip(keys, values, strict=True)
        for rank, value in rest:
            pick = better(rank, best)
            found = if_expr(pick, lambda v=value: v, lambda f=found: f)
            best = found if key is None else if_expr(pick, lambda r=rank: r, lambda b=best: b)
        return found

    return choose
