"""Branches: ``cond`` and ``switch``. Every branch is traced to a graph, only the chosen one runs.

    >>> x = jnp.float32(-2.0)
    >>> cond(x > 0, lambda x: x, lambda x: 0.5 * x, x)
    Array(-1., dtype=float32)

Under ``vmap`` with a mapped predicate all branches are computed and one is selected per example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.errors import ArgumentError, DTypeError, ShapeError, TreeError
from tracejit.frontend import elementwise, key_uses, promotion
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.bodies import converted, flat, share_captured, trace_body
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
    """``true_fun(*operands)`` if ``pred`` else ``false_fun(*operands)``; both return the same
    types.

    ``pred`` is a scalar: a bool, or a number that is true unless 0. Raises TreeError where the
    branches' results differ in structure or types. The order of JAX's first version,
    ``cond(pred, true_operand, true_fun, false_operand, false_fun)``, works too.

    >>> lax.cond(True, lambda x: x + 1, lambda x: x - 1, 3.0)
    Array(4., dtype=float32)
    """
    if len(operands) == 2 and callable(false_fun) and callable(operands[1]):
        first, last = false_fun, operands[1]
        return cond(pred, lambda x, _: first(x), lambda _, x: last(x), true_fun, operands[0])
    operands = _operands("cond", operands, operand)
    _check_callable("cond", "true_fun", true_fun)
    _check_callable("cond", "false_fun", false_fun)
    flag = _scalar("cond: the predicate", pred)
    index = promotion.convert(promotion.convert(flag, DTYPES["bool"]), DTYPES["i32"])
    return _branch("cond", index, (false_fun, true_fun), operands, ("false_fun", "true_fun"))


def switch(
    index: Any, branches: Sequence[Function], *operands: Any, operand: Any = _MISSING
) -> Any:
    """``branches[index](*operands)``; the index is clamped into the list. All branches return the
    same types.

    Raises TreeError where their results differ in structure or types, DTypeError for an index that
    is no integer.

    >>> lax.switch(2, [jnp.sin, jnp.cos, jnp.square], 3.0)
    Array(9., dtype=float32)
    """
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
    if position.dtype.itemsize >= 4:  # clamp first: the conversion must not wrap
        position = elementwise.clip(position, 0, len(branches) - 1)
    index32 = promotion.convert(position, DTYPES["i32"])
    names = tuple(f"branch {k}" for k in range(len(branches)))
    return _branch("switch", index32, branches, operands, names)


def platform_dependent(
    *args: Any, default: Function | None = None, **per_platform: Function
) -> Any:
    """The function given for ``cpu``, or ``default``, applied to ``args``."""
    chosen = per_platform.get("cpu", default)
    if chosen is None:
        raise ArgumentError(
            "platform_dependent: there is no function for cpu and no default", at=here()
        )
    return chosen(*args)


# ---- checks --------------------------------------------------------------------------------------


def _operands(name: str, operands: tuple[Any, ...], operand: Any) -> tuple[Any, ...]:
    if operand is _MISSING:
        return operands
    if operands:
        raise ArgumentError(f"{name}: takes either operands or operand=, not both", at=here())
    return (operand,)


def _check_callable(name: str, what: str, fun: Any) -> None:
    if not callable(fun):
        raise ArgumentError(f"{name}: {what} is a {type(fun).__name__}, not a function", at=here())


def _scalar(what: str, x: Any) -> Array:
    array = as_array(x)
    if array.shape != ():
        raise ShapeError(
            f"{what} is a scalar, not {array.type}",
            at=here(),
            hint="reduce it with .any() or .all(), use numpy.where, or vmap the function",
        )
    return array


# ---- the node ------------------------------------------------------------------------------------


def _branch(
    name: str,
    index: Array,
    branches: Sequence[Function],
    operands: tuple[Any, ...],
    titles: Sequence[str],
) -> Any:
    """The ``cond`` node over traced branches."""
    traced: list[Traced] = []
    for fun in branches:
        leaves, treedef, names = flat(fun, operands)
        traced.append(trace_body(fun, leaves, treedef, name, names=names))
    key_uses.consume_all(leaves, *traced)
    first = traced[0].outputs
    for body, title in zip(traced[1:], titles[1:], strict=True):
        check_same_structure(
            f"{name}: the branches return different structures",
            first.treedef,
            body.outputs.treedef,
            (titles[0], title),
        )
    captured, graphs = share_captured(traced)
    dtypes, weak = _common_types(name, traced, titles)
    graphs = tuple(converted(graph, dtypes) for graph in graphs)
    outs = apply(cond_primitive, index, *captured, *leaves, branches=graphs)
    key_uses.note_results(outs, *traced)
    for out, is_weak in zip(outs, weak, strict=True):
        out._weak = is_weak
    return tree_unflatten(first.treedef, outs)


def _common_types(
    name: str, traced: Sequence[Traced], titles: Sequence[str]
) -> tuple[list[Any], list[bool]]:
    """The dtype of each result and whether it is weak; Python scalars give way, anything else must
    agree.
    """
    dtypes, weak = [], []
    treedef = traced[0].outputs.treedef
    for k in range(treedef.num_leaves):
        types = [body.graph.outputs[k].type for body in traced]
        flags = [body.outputs.weak[k] for body in traced]
        stand_ins = [_StandIn(t.dtype, w) for t, w in zip(types, flags, strict=True)]
        dtype, all_weak = promotion.dtype_of(stand_ins)
        agreed = all(w or t.dtype == dtype for t, w in zip(types, flags, strict=True))
        if not agreed or len({t.shape for t in types}) > 1:
            raise _types_differ(name, traced[0], k, types, titles)
        dtypes.append(dtype)
        weak.append(all_weak)
    return dtypes, weak


class _StandIn:
    """What promotion looks at: a dtype and whether it is weak."""

    def __init__(self, dtype: Any, weak: bool) -> None:
        self.dtype = dtype
        self._weak = weak


def _types_differ(
    name: str, body: Traced, leaf: int, types: Sequence[TensorType], titles: Sequence[str]
) -> TreeError:
    shell = tree_unflatten(body.outputs.treedef, list(range(len(body.outputs.weak))))
    path = keystr(tree_flatten_with_path(shell)[0][leaf][0])
    width = max(map(len, titles))
    return TreeError(
        f"{name}: the branches return different types" + (f" at {path}" if path else ""),
        at=here(),
        notes=tuple(f"{title:{width}}: {t}" for title, t in zip(titles, types, strict=True)),
        hint="convert the results with .astype, or give them one shape",
    )
