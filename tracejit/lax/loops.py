"""Loops: ``scan``, ``while_loop``, ``fori_loop``, ``map`` and ``associative_scan``.

    >>> carry, ys = scan(lambda c, x: (c + x, c * x), 0.0, jnp.arange(4.0))
    >>> print(carry, ys)
    6.0 [0. 0. 2. 9.]

Bodies are traced once to a graph. Values from outside (weights) are operands of the loop, concrete
and traced alike. A loop of known length can be differentiated in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError, DTypeError, ShapeError, TreeError
from tracejit.frontend import key_uses, methods, promotion, shaping
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.axes import axis_number, integer
from tracejit.frontend.bodies import flat, share_captured, trace_body
from tracejit.frontend.call import call_user, flatten, function_name
from tracejit.frontend.trace import Traced
from tracejit.frontend.vectorize import vmap
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.lax import plain_loops, watched
from tracejit.source import here
from tracejit.transform import loops
from tracejit.tree_util import (
    check_same_structure,
    keystr,
    tree_flatten_with_path,
    tree_leaves,
    tree_map,
    tree_structure,
    tree_unflatten,
)

Function = Callable[..., Any]
_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


# ---- carries -------------------------------------------------------------------------------------


class Carry:
    """The state of a loop: its leaves as Arrays and the tree they make.

    A leaf that began as a Python scalar takes the dtype that the body gives it.
    """

    def __init__(self, name: str, init: Any) -> None:
        leaves, self.treedef = flatten(init)
        self.name = name
        try:
            self.leaves = [as_array(leaf) for leaf in leaves]
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"{name}: the initial value holds something that is no array", at=here()
            ) from error

    def finish(self, after: Any) -> list[Array]:
        """What a body returned for the carry, as leaves; results that are Python scalars take the
        carry's dtype.
        """
        found, treedef = flatten(after)
        check_same_structure(
            f"{self.name}: the body returns a carry of another structure",
            self.treedef,
            treedef,
            ("before", "after"),
        )
        arrays = []
        for before, leaf in zip(self.leaves, found, strict=True):
            array = as_array(leaf)
            gives_way = array._weak and not before._weak and array.dtype != before.dtype
            if gives_way and _RANK[kind(array.dtype)] <= _RANK[kind(before.dtype)]:
                array = promotion.convert(array, before.dtype)
            arrays.append(array)
        return arrays

    def settle(self, types: Sequence[TensorType], weak: Sequence[bool]) -> bool:
        """Compare with what the body returned; True when a weak leaf was promoted and the body must
        be traced again.

        Raises TreeError naming the leaf where a type changes.
        """
        changed = False
        for k, (leaf, after, is_weak) in enumerate(zip(self.leaves, types, weak, strict=True)):
            if (
                leaf._weak
                and leaf.shape == after.shape
                and (leaf.dtype != after.dtype or not is_weak)
            ):
                dtype = promotion.dtype_of([leaf, _Typed(after.dtype, is_weak)])[0]
                if dtype == after.dtype:
                    self.leaves[k] = promotion.convert(leaf, dtype, weak=is_weak)
                    changed = True
                    continue
            if leaf.type != after:
                raise TreeError(
                    f"{self.name}: the carry{self.path(k)} changes its type: {leaf.type} "
                    f"became {after}",
                    at=here(),
                    hint="give the initial value the type that the body returns, or convert in the "
                    "body with .astype",
                )
        return changed

    def path(self, k: int) -> str:
        """`` at ['h'][0]`` for leaf k."""
        shell = tree_unflatten(self.treedef, list(range(len(self.leaves))))
        path = keystr(tree_flatten_with_path(shell)[0][k][0])
        return f" at {path}" if path else ""


class _Typed:
    """What promotion looks at: a dtype and whether it is weak."""

    def __init__(self, dtype: np.dtype, weak: bool) -> None:
        self.dtype = dtype
        self._weak = weak


def _traced_body(
    carry: Carry, trace: Callable[[], Traced], results: Callable[[Traced], tuple[Any, Any]]
) -> Traced:
    """Trace a loop body until the types of the carry hold."""
    while True:
        body = trace()
        if not carry.settle(*results(body)):
            return body


def _rebuilt(treedef: Any, arrays: Sequence[Array], weak: Sequence[bool]) -> Any:
    for array, is_weak in zip(arrays, weak, strict=True):
        array._weak = is_weak
    return tree_unflatten(treedef, arrays)


# ---- scan ----------------------------------------------------------------------------------------


def scan(
    f: Function,
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
    *,
    progress: bool | str | dict[str, Any] = False,
) -> tuple[Any, Any]:
    """Run ``carry, y = f(carry, x)`` over the leading axis of ``xs``; gives (carry, stacked ys).

    ``xs`` may be None with ``length`` given. ``reverse`` runs from the last step; ys keep their
    places. ``unroll`` is accepted for compatibility: the compiler decides. ``progress`` draws a bar
    while the program runs: True, what it is called, or {"desc": ..., "updates": 20}. Raises
    ShapeError where leading axes differ, TreeError where the body changes the type of the carry.

    >>> lax.scan(lambda total, x: (total + x, total), 0.0, jnp.array([1.0, 2.0, 3.0]))
    (Array(6., dtype=float32), Array([0., 1., 3.], dtype=float32))
    """
    if not callable(f):
        raise ArgumentError(f"scan: the body is a {type(f).__name__}, not a function", at=here())
    carry = Carry("scan", init)
    x_arrays = [as_array(x) for x in flatten(xs)[0]]
    steps = _scan_length(x_arrays, xs, length)
    if progress:
        return watched.scan(scan, f, init, xs, steps, bool(reverse), progress)
    return _scan(carry, f, init, xs, steps, bool(reverse))


def _scan(carry: Carry, f: Function, init: Any, xs: Any, steps: int, reverse: bool) -> Any:
    """A scan of so many steps, for the function that ``carry`` names."""
    if plain_loops.wanted() and steps:
        return plain_loops.scan(f, init, xs, steps, reverse)
    x_arrays = [as_array(x) for x in flatten(xs)[0]]
    n = len(carry.leaves)
    treedef = tree_structure((init, xs))
    names = flat(f, (init, xs))[2]
    y_tree: list[Any] = []

    def finish(result: Any) -> Any:
        _check_pair(f, result)
        y_tree[:] = [tree_structure(result[1])]
        return carry.finish(result[0]), result[1]

    def trace() -> Traced:
        slices = [x.type.with_shape(x.shape[1:]) for x in x_arrays]
        types = [*(leaf.type for leaf in carry.leaves), *slices]
        leaves = [*carry.leaves, *x_arrays]
        return trace_body(f, leaves, treedef, carry.name, types=types, names=names, finish=finish)

    body = _traced_body(carry, trace, lambda b: (b.graph.output_types[:n], b.outputs.weak[:n]))
    key_uses.consume_loop([*carry.leaves, *x_arrays], body, n, steps)
    outs = apply(
        loops.scan,
        *body.captured,
        *carry.leaves,
        *x_arrays,
        body=body.graph,
        n_consts=len(body.captured),
        n_carry=n,
        length=steps,
        reverse=reverse,
    )
    key_uses.note_loop_results(outs, body, n, steps)
    weak = body.outputs.weak
    return _rebuilt(carry.treedef, outs[:n], weak[:n]), _rebuilt(
        y_tree[0], outs[n:], (False,) * len(outs[n:])
    )


def _check_pair(f: Function, result: Any) -> None:
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise ArgumentError(
            f"scan: `{function_name(f)}` must return a pair (carry, y), not {_described(result)}",
            at=here(),
        )


def _described(result: Any) -> str:
    if isinstance(result, tuple | list):
        return f"a {type(result).__name__} of {len(result)}"
    return f"a {type(result).__name__}"


def _scan_length(xs: Sequence[Array], tree: Any, length: Any) -> int:
    sizes: dict[int, str] = {}
    for (path, _), x in zip(tree_flatten_with_path(tree)[0], xs, strict=True):
        where = f"xs{keystr(path)}"
        if x.ndim == 0:
            raise ShapeError(
                f"scan: {where} is {x.type}, which has no leading axis to scan over", at=here()
            )
        sizes.setdefault(x.shape[0], where)
    if len(sizes) > 1:
        notes = tuple(f"{where}: {n}" for n, where in sizes.items())
        raise ShapeError("scan: the leading axes of xs differ in size", at=here(), notes=notes)
    if length is not None:
        given = integer(length, "scan: length")
        if sizes and given not in sizes:
            (n,) = sizes
            raise ShapeError(
                f"scan: length is {given}, but xs has leading axes of size {n}", at=here()
            )
        return given
    if not sizes:
        raise ArgumentError("scan: without xs, length must be given", at=here())
    return next(iter(sizes))


# ---- while ---------------------------------------------------------------------------------------


def while_loop(cond_fun: Function, body_fun: Function, init_val: Any) -> Any:
    """Repeat ``val = body_fun(val)`` while ``cond_fun(val)``.

    Differentiable in both directions, any number of times. Reverse mode walks back over checkpoints
    in memory that does not grow with the loop, for a few times the work (``transform/rewind.py``);
    where the length is known ``scan`` and ``fori_loop`` keep what they need instead.

    Raises ShapeError where ``cond_fun`` returns no scalar, TreeError where the type of the value
    changes.

    >>> lax.while_loop(lambda x: x < 100, lambda x: 2 * x, 1)
    Array(128)
    """
    for what, fun in (("cond_fun", cond_fun), ("body_fun", body_fun)):
        if not callable(fun):
            raise ArgumentError(
                f"while_loop: {what} is a {type(fun).__name__}, not a function", at=here()
            )
    if plain_loops.wanted():
        return plain_loops.while_loop(cond_fun, body_fun, init_val)
    carry = Carry("while_loop", init_val)
    treedef = tree_structure((init_val,))
    names = flat(body_fun, (init_val,))[2]

    def trace() -> Traced:
        return trace_body(
            body_fun, carry.leaves, treedef, "while_loop", names=names, finish=carry.finish
        )

    body = _traced_body(carry, trace, lambda b: (b.graph.output_types, b.outputs.weak))
    test = trace_body(cond_fun, carry.leaves, treedef, "while_loop", names=names, finish=_truth)
    key_uses.consume_loop(carry.leaves, body, len(carry.leaves), test=test)
    captured, (cond_graph, body_graph) = share_captured((test, body))
    outs = apply(
        loops.while_,
        *captured,
        *carry.leaves,
        cond=cond_graph,
        body=body_graph,
        n_consts=len(captured),
    )
    key_uses.note_loop_results(outs, body, len(carry.leaves))
    return _rebuilt(carry.treedef, outs, body.outputs.weak)


def _truth(result: Any) -> Array:
    """The condition of a loop as one bool."""
    flag = as_array(result) if not isinstance(result, tuple | list | dict | None) else None
    if flag is None or flag.shape != ():
        shown = _described(result) if flag is None else str(flag.type)
        raise ShapeError(f"while_loop: the condition returns {shown}, not a scalar bool", at=here())
    return promotion.convert(flag, DTYPES["bool"])


def fori_loop(
    lower: Any, upper: Any, body_fun: Function, init_val: Any, *, unroll: int | bool | None = None
) -> Any:
    """``for i in range(lower, upper): val = body_fun(i, val)``.

    With bounds that are known while tracing this is a ``scan``; with traced bounds it is a
    ``while_loop``.

    ``i`` is an integer scalar. Raises DTypeError for other bounds, TreeError where the type of the
    value changes.

    >>> lax.fori_loop(1, 5, lambda i, product: product * i, 1)
    Array(24)
    """
    first, last = as_array(lower), as_array(upper)
    for what, bound in (("lower", first), ("upper", last)):
        if bound.shape != () or kind(bound.dtype) not in "iu":
            raise DTypeError(f"fori_loop: {what} is a scalar integer, not {bound.type}", at=here())
    first, last = promotion.promoted("fori_loop", first, last)
    if first._data is not None and last._data is not None:
        steps = max(int(last._data) - int(first._data), 0)
        start = Array(first._data, weak=first._weak)

        def step(state: Any, _: Any) -> Any:
            i, val = state
            return (i + 1, call_user(body_fun, (i, val), {})), None

        step.__name__ = function_name(body_fun)
        state = (start, init_val)
        return _scan(Carry("fori_loop", state), step, state, None, steps, False)[0][1]

    def body(state: Any) -> Any:
        i, val = state
        return i + 1, call_user(body_fun, (i, val), {})

    body.__name__ = function_name(body_fun)
    return while_loop(lambda state: methods.less(state[0], last), body, (first, init_val))[1]


# ---- map -----------------------------------------------------------------------------------------


def map(f: Function, xs: Any, *, batch_size: int | None = None) -> Any:
    """``f`` on each entry of the leading axis of ``xs``, one after the other, results stacked.

    With ``batch_size`` that many entries at a time are computed together, by ``vmap``.

    >>> lax.map(jnp.sum, jnp.arange(6.0).reshape(3, 2))
    Array([1., 5., 9.], dtype=float32)
    """
    if batch_size is None:
        return scan(_second_of(f), (), xs)[1]
    size = integer(batch_size, "map: batch_size")
    if size < 1:
        raise ArgumentError(f"map: batch_size is positive, not {size}", at=here())
    leaves = [as_array(x) for x in tree_leaves(xs)]
    count = _scan_length(leaves, xs, None)
    whole = count // size * size

    def blocks(x: Any) -> Any:
        head = shaping.cut(as_array(x), 0, 0, whole)
        return promotion.reshaped(head, (whole // size, size, *head.shape[1:]))

    ys = scan(_second_of(vmap(f)), (), tree_map(blocks, xs))[1]
    ys = tree_map(lambda y: promotion.reshaped(y, (whole, *y.shape[2:])), ys)
    if whole == count:
        return ys
    rest = vmap(f)(tree_map(lambda x: shaping.cut(as_array(x), 0, whole, count), xs))
    return tree_map(lambda y, r: shaping.concatenate([y, r]), ys, rest)


def _second_of(f: Function) -> Function:
    """A scan body without a carry."""

    def body(_: Any, x: Any) -> Any:
        return (), f(x)

    body.__name__ = function_name(f)
    return body


# ---- associative scan ----------------------------------------------------------------------------


def associative_scan(fn: Function, elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefixes of ``elems`` along ``axis`` folded with the associative ``fn(a, b)``, in
    parallel.

    The work-efficient algorithm of Blelloch, "Prefix sums and their applications" (1990): fold
    neighbours, scan the half as many results, fill in the places between.

    >>> lax.associative_scan(jnp.maximum, jnp.array([1, 3, 2, 5]))
    Array([1, 3, 3, 5])
    """
    if not callable(fn):
        raise ArgumentError(
            f"associative_scan: fn is a {type(fn).__name__}, not a function", at=here()
        )
    leaves, treedef = flatten(elems)
    arrays = [as_array(leaf) for leaf in leaves]
    if not arrays:
        return elems
    number = axis_number("associative_scan", axis, arrays[0].ndim)
    sizes = {a.shape[number] for a in arrays if a.ndim > number}
    if len(sizes) != 1 or any(a.ndim <= number for a in arrays):
        shown = ", ".join(str(a.type) for a in arrays)
        raise ShapeError(
            f"associative_scan: axis {number} differs in size among {shown}", at=here()
        )
    if reverse:
        arrays = [shaping.flip(a, number) for a in arrays]

    def combine(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
        result = fn(tree_unflatten(treedef, a), tree_unflatten(treedef, b))
        found, result_tree = flatten(result)
        check_same_structure(
            "associative_scan: fn changes the structure",
            treedef,
            result_tree,
            ("taken", "returned"),
        )
        return [as_array(x) for x in found]

    found = _prefixes(combine, arrays, number)
    if reverse:
        found = [shaping.flip(a, number) for a in found]
    return tree_unflatten(treedef, found)


def _prefixes(combine: Function, xs: list[Array], axis: int) -> list[Array]:
    n = xs[0].shape[axis]
    if n < 2:
        return xs

    def every_second(x: Array, start: int, stop: int) -> Array:
        return shaping.cut(x, axis, start, max(stop, start), 2)

    # pairs (0, 1), (2, 3), ... folded, and their prefixes: the results at 1, 3, 5 ...
    even_n = n // 2 * 2
    folded = combine(
        [every_second(x, 0, even_n) for x in xs], [every_second(x, 1, even_n) for x in xs]
    )
    odd = _prefixes(combine, folded, axis)
    # the results at 2, 4, 6 ... are those one place before and the element there
    count = (n - 1) // 2
    if count:
        before = [shaping.cut(x, axis, 0, count) for x in odd]
        even = combine(before, [every_second(x, 2, n) for x in xs])
        even = [
            shaping.concatenate([shaping.cut(x, axis, 0, 1), e], axis)
            for x, e in zip(xs, even, strict=True)
        ]
    else:
        even = [shaping.cut(x, axis, 0, 1) for x in xs]
    return [_interleave(e, o, axis) for e, o in zip(even, odd, strict=True)]


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    """e0, o0, e1, o1 ...; ``even`` may have one more."""
    n = odd.shape[axis]
    pairs = shaping.stack([shaping.cut(even, axis, 0, n), odd], axis + 1)
    mixed = promotion.reshaped(pairs, (*odd.shape[:axis], 2 * n, *odd.shape[axis + 1 :]))
    if even.shape[axis] == n:
        return mixed
    return shaping.concatenate([mixed, shaping.cut(even, axis, n, n + 1)], axis)
