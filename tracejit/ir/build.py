"""Building graphs: the current Builder is the one mutable global of the compiler.

``Primitive.__call__`` adds a node to it. Rules, passes and the tracer all build graphs this way:

    >>> from tracejit.ops.arith import mul
    >>> with building() as b:
    ...     x = b.input(TensorType(np.dtype("float32"), (3,)))
    ...     y = mul(x, 2.0)
    >>> b.graph((y,))
    <Graph main(f32[3]) -> (f32[3]), 1 nodes>
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tracejit import source
from tracejit.errors import InternalError, TracejitError, locate
from tracejit.ir import graph as g
from tracejit.ir.types import TensorType

if TYPE_CHECKING:
    from tracejit.ir.prim import Primitive


class Builder:
    """Collects inputs and nodes. ``at`` is set on new nodes: a fixed position, or the user's frame
    when None.
    """

    def __init__(self, *, user_frames: bool = False) -> None:
        self.inputs: list[g.Value] = []
        self.nodes: list[g.Node] = []
        self.at: source.Position | None = None
        #: where values that have known zeros may differ from zero (transform/backward.py)
        self.live: dict[g.Atom, Any] = {}
        self.user_frames = user_frames

    def input(self, type: TensorType, name: str = "") -> g.Value:
        value = g.Value(type, name)
        self.inputs.append(value)
        return value

    def emit(self, prim: Primitive, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        """Add ``prim(*xs)``; Python and NumPy scalars among xs take the type of the first Value or
        Literal.
        """
        at = source.here() if self.user_frames else self.at
        inputs = atoms(xs)
        try:
            out = prim.infer(*[x.type for x in inputs], **params)
        except TracejitError as error:
            locate(error, inputs, at, self)
            raise
        types = out if isinstance(out, tuple) else (out,)
        outputs = tuple(g.Value(t) for t in types)
        self.nodes.append(g.Node(prim, inputs, params, outputs, at))
        return outputs if isinstance(out, tuple) else outputs[0]

    def graph(self, outputs: Iterable[g.Atom], name: str = "main") -> g.Graph:
        return g.Graph(tuple(self.inputs), tuple(self.nodes), tuple(outputs), name)

    def inline(self, sub: g.Graph, xs: Sequence[g.Atom]) -> tuple[g.Atom, ...]:
        """Add the nodes of ``sub`` applied to ``xs``; returns its outputs."""
        env: dict[g.Value, g.Atom] = dict(zip(sub.inputs, xs, strict=True))
        for node in sub.nodes:
            outs = tuple(g.Value(out.type, out.name) for out in node.outputs)
            env.update(zip(node.outputs, outs, strict=True))
            self.nodes.append(
                g.Node(node.prim, subst(node.inputs, env), node.params, outs, node.at)
            )
        return subst(sub.outputs, env)


def subst(xs: Sequence[g.Atom], env: dict[g.Value, g.Atom]) -> tuple[g.Atom, ...]:
    """Each Value of ``xs`` looked up in ``env``; Literals as they are."""
    return tuple(x if isinstance(x, g.Literal) else env[x] for x in xs)


_ATOMS = (g.Value, g.Literal)


def atoms(xs: Sequence[Any]) -> tuple[g.Atom, ...]:
    """Operands as Values and Literals; bare scalars take the type of the first of those."""
    for x in xs:
        if not isinstance(x, _ATOMS):
            break
    else:
        return tuple(xs)
    model = next((x.type for x in xs if isinstance(x, g.Value | g.Literal)), None)
    if model is None:
        raise InternalError(
            "a primitive needs at least one Value or Literal to give its scalars a type"
        )
    return tuple(x if isinstance(x, g.Value | g.Literal) else g.literal(x, model) for x in xs)


def full_like(x: g.Atom | TensorType, value: Any, dtype: np.dtype | None = None) -> g.Literal:
    """A Literal shaped as ``x``."""
    type = x if isinstance(x, TensorType) else x.type
    return g.literal(value, type if dtype is None else type.with_dtype(dtype))


class _State(threading.local):
    def __init__(self) -> None:
        self.stack: list[Builder] = []


_state = _State()


def current() -> Builder:
    """The innermost Builder; raises InternalError when no graph is being built."""
    if not _state.stack:
        raise InternalError(
            "primitives apply to Values while a graph is being built; "
            "arrays go through tracejit.numpy"
        )
    return _state.stack[-1]


@contextmanager
def building(builder: Builder | None = None) -> Iterator[Builder]:
    """Make ``builder`` (a new one by default) the current one."""
    builder = builder or Builder()
    _state.stack.append(builder)
    try:
        yield builder
    finally:
        _state.stack.pop()
