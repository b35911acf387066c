"""The SSA graph: Values, Literals, Nodes, Graphs. Frozen; a transform or pass returns a new Graph.

A Value is known by identity. A Literal is a scalar constant standing for a tensor filled with it:
it needs no node, no buffer and no broadcast, so ``x * 2`` is one node and a zero tangent is
``Literal(0, type)``. Two graphs are equal when they are the same up to the naming of their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tracejit.ir.types import TensorType, short
from tracejit.lazy import lazy
from tracejit.record import dataclass
from tracejit.source import Position

if TYPE_CHECKING:
    from tracejit.ir.prim import Primitive

# the text form is made of this module's classes: it loads when a graph is printed
_text = lazy("tracejit.ir.text")


class Value:
    """The result of a node or an input of a graph. ``name`` is a hint from the user's code, for
    display only.
    """

    __slots__ = ("type", "name")

    def __init__(self, type: TensorType, name: str = "") -> None:
        self.type = type
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name or 'value'}: {self.type}>"


@dataclass(frozen=True, eq=False)
class Literal:
    """A tensor of ``type`` filled with one scalar. ``value`` is a NumPy scalar of
    ``type.dtype``.
    """

    value: Any
    type: TensorType

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """Bit-exact identity: nan equals nan, 0.0 differs from -0.0."""
        return (np.asarray(self.value).tobytes(), self.type)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"{self.value}:{self.type}"


Atom = Value | Literal


def literal(value: Any, type: TensorType) -> Literal:
    """A Literal of ``type``; ``value`` is cast to its dtype (raises OverflowError for ints that do
    not fit).
    """
    return Literal(np.asarray(value, type.dtype)[()], type)


class ConstArray:
    """An array constant held as a param of a ``constant`` node: read-only, compared by its
    bytes.
    """

    __slots__ = ("array", "_hash")

    def __init__(self, array: np.ndarray) -> None:
        array = np.array(array, order="C", copy=True)
        array.flags.writeable = False
        self.array = array
        self._hash = hash(
            (array.dtype.num, array.shape, array.tobytes() if array.nbytes <= 256 else array.nbytes)
        )

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, ConstArray)
            and self.array.dtype == other.array.dtype
            and self.array.shape == other.array.shape
            and self.array.tobytes() == other.array.tobytes()
        )

    def __repr__(self) -> str:
        return f"{short(self.array.dtype)}{list(self.array.shape)}"


@dataclass(frozen=True, eq=False)
class Node:
    """``outputs = prim(*inputs, **params)``; ``at`` is the user's code position."""

    prim: Primitive
    inputs: tuple[Atom, ...]
    params: Mapping[str, Any]
    outputs: tuple[Value, ...]
    at: Position | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<{self.prim.name} -> {', '.join(repr(out.type) for out in self.outputs)}>"

    def reading(self, inputs: tuple[Atom, ...]) -> Node:
        """The same operation on other operands, with the same results."""
        return Node(self.prim, inputs, self.params, self.outputs, self.at)

    @property
    def subgraphs(self) -> tuple[Graph, ...]:
        """The graphs among the params (bodies of loops, branches)."""
        found: list[Graph] = []
        for value in self.params.values():
            if isinstance(value, Graph):
                found.append(value)
            elif isinstance(value, tuple) and Graph in map(type, value):
                found.extend(item for item in value if isinstance(item, Graph))
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Graph:
    """``inputs`` (all Values, distinct), ``nodes`` in an order that defines before use, ``outputs``
    (Atoms).
    """

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Atom, ...]
    name: str = "main"

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """A hashable form in which values are numbers: equal for graphs equal up to naming."""
        number: dict[Value, int] = {}
        for value in self.inputs:
            number[value] = len(number)
        rows: list[Any] = []
        for node in self.nodes:
            rows.append(
                (
                    node.prim.name,
                    tuple(atom_key(x, number) for x in node.inputs),
                    params_key(node.params),
                )
            )
            for out in node.outputs:
                number[out] = len(number)
            rows.append(tuple(out.type for out in node.outputs))
        outs = tuple(atom_key(x, number) for x in self.outputs)
        return (tuple(v.type for v in self.inputs), tuple(rows), outs)

    @cached_property
    def _hash(self) -> int:
        return hash(self.key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Graph) and self.key == other.key)

    def __repr__(self) -> str:
        ins = ", ".join(repr(v.type) for v in self.inputs)
        outs = ", ".join(repr(v.type) for v in self.outputs)
        return f"<Graph {self.name}({ins}) -> ({outs}), {len(self.nodes)} nodes>"

    def __str__(self) -> str:
        return str(_text.show(self)).rstrip("\n")

    @cached_property
    def producer(self) -> dict[Value, Node]:
        """The node that makes each value (inputs have none)."""
        return {out: node for node in self.nodes for out in node.outputs}

    @cached_property
    def users(self) -> dict[Value, list[Node]]:
        """The nodes that read each value; a value that is also an output may have none."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for x in set(node.inputs):
                if isinstance(x, Value):
                    found.setdefault(x, []).append(node)
        return found

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.outputs)


def atom_key(x: Atom, number: dict[Value, int]) -> Any:
    return x.key if isinstance(x, Literal) else number[x]


def params_key(params: Mapping[str, Any]) -> tuple[Any, ...]:
    """Params as a hashable tuple sorted by name."""
    return tuple(
        sorted(
            ((name, hashable(value)) for name, value in params.items()), key=lambda item: item[0]
        )
    )


def hashable(value: Any) -> Any:
    """A param as something hashable, with floats compared by their text so that nan equals
    itself.
    """
    if isinstance(value, float):
        return ("float", repr(value))
    if isinstance(value, bool | int | str | np.dtype | type(None)):
        return (type(value).__name__, value)
    if isinstance(value, tuple | list):
        return tuple(hashable(item) for item in value)
    return value


def walk_nodes(graph: Graph) -> Iterator[Node]:
    """Every node of a graph and of the graphs inside it, outermost first."""
    for node in graph.nodes:
        yield node
        for sub in node.subgraphs:
            yield from walk_nodes(sub)
