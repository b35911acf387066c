"""Branches: ``cond`` and ``switch``. Every branch is traced to a graph, only the chosen one runs.

    >>> cond(x > 0, lambda x: x, lambda x: 0.1 * x, x)

Under ``vmap`` with a mapped predicate all branches are computed and one is selected per example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optree

from tracejit.errors import ArgumentError, DTypeError, ShapeError, TreeError
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.bodies import converted, flat, share_captured, trace_body
from tracejit.frontend.call import function_name
from tracejit.frontend.trace import Traced
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.source import here
from tracejit.transform.branch import cond as cond_primitive
from tracejit.tree_util import check_same_structure, keystr, tree_flatten_with_path, tree_unflatten

_MISSING = object()
Function = Callable[..., Any]


def cond(
    pred: Any, true_fun: Function, false_fun: Function, *operands: Any, operand: Any = _MISSING
) -> Any:
    """``true_fun(*operands)`` if ``pred`` else ``false_fun(*operands)``; both return the same types.

    ``pred`` is a scalar: a bool, or a number that is true unless 0. Raises TreeError where the branches'
    results differ in structure or types.
    """
    operands = _operands("cond", operands, operand)
    _check_callable("cond", "true_fun", true_fun)
    _check_callable("cond", "false_fun", false_fun)
    flag = _scalar("cond: the predicate", pred)
    index = promotion.convert(promotion.convert(flag, DTYPES["bool"]), DTYPES["i32"])
    return _branch("cond", index, (false_fun, true_fun), operands, ("false_fun", "true_fun"))


def switch(
    index: Any, branches: Sequence[Function], *operands: Any, operand: Any = _MISSING
) -> Any:
    """``branches[index](*operands)``; the index is clamped into the list. All branches return the same types."""
    operands = _operands("switch", operands, operand)
    branches = tuple(branches)
    if not branches:
        raise ArgumentError("switch: needs at least one branch", at=here())
    for k, branch in enumerate(branches):
        _check_callable("switch", f"branch {k}", branch)
    position = _scalar("switch: the index", index)
    if kind(position.dtype) not in "iu":
        raise DTypeError(f"switch: the index is an integer, not {position.type}", at=here())
    if len(branches) == 1:
        return branches[0](*operands)
    last = len(branches) - 1
    if position.dtype != DTYPES["i32"]:  # clamp first: the conversion must not wrap
        position = promotion.run_clip(position, 0, last) if False else _clipped(position, last)
    index32 = promotion.convert(position, DTYPES["i32"])
    names = tuple(f"branch {k}" for k in range(len(branches)))
    return _branch("switch", index32, branches, operands, names)


def platform_dependent(*args: Any, default: Function | None = None, **per_platform: Function) -> Any:
    """The function given for ``cpu``, or ``default``, applied to ``args``."""
    chosen = per_platform.get("cpu", default)
    if chosen is None:
        raise ArgumentError("platform_dependent: there is no function for cpu and no default", at=here())
    return chosen(*args)
