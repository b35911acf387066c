"""Check the rules every pass relies on; a broken graph is a defect of the pass that made it.

    verify(graph)   # None, or InternalError with the lines around the offending node

Rules: values are defined once and before use, literals have the dtype of their type, params are
those of the primitive, and ``infer`` gives exactly the types of the outputs. Inner graphs are
checked the same way.
"""

from __future__ import annotations

import numpy as np

from tracejit.errors import InternalError
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value, params_key
from tracejit.ir.text import listing

#: how many lines of the graph an error shows
_SHOWN = 10


def verify(graph: Graph) -> None:
    """Raise InternalError unless ``graph`` is well formed."""
    defined: set[Value] = set()
    for value in graph.inputs:
        if value in defined:
            raise _broken(graph, None, f"input {value} is listed twice")
        defined.add(value)
    for node in graph.nodes:
        # inner graphs first: the params of a node are only comparable when these are sound
        for sub in node.subgraphs:
            try:
                verify(sub)
            except InternalError as error:
                # the excerpt shows the inner graph: say where that one stands
                error.notes = (*error.notes, f"in a graph inside {node}")
                raise
        problem = _node_problem(node, defined)
        if problem:
            raise _broken(graph, node, problem)
        defined.update(node.outputs)
    for number, x in enumerate(graph.outputs):
        problem = _atom_problem(x, defined)
        if problem:
            raise _broken(graph, None, f"output {number}: {problem}")


def _node_problem(node: Node, defined: set[Value]) -> str:
    """What is wrong with a node, or an empty string."""
    for number, x in enumerate(node.inputs, 1):
        problem = _atom_problem(x, defined)
        if problem:
            return f"operand {number} of {node.prim.name}: {problem}"
    if set(node.params) != set(node.prim.params):
        return (
            f"{node.prim.name} takes the params {sorted(node.prim.params)} "
            f"but was given {sorted(node.params)}"
        )
    try:
        hash(params_key(node.params))
    except TypeError as error:
        return f"the params of {node.prim.name} cannot be compared: {error}"
    if len(set(node.outputs)) != len(node.outputs) or not defined.isdisjoint(node.outputs):
        return f"{node.prim.name} defines a value that is defined already"
    return _type_problem(node)


def _type_problem(node: Node) -> str:
    try:
        out = node.prim.infer(*[x.type for x in node.inputs], **node.params)
    except Exception as error:  # whatever a shape rule raises is what this function reports
        return f"{node.prim.name} does not take these operands: {type(error).__name__}: {error}"
    types = out if isinstance(out, tuple) else (out,)
    stated = tuple(value.type for value in node.outputs)
    if types != stated:
        return f"{node.prim.name} makes {_listed(types)} but the graph says {_listed(stated)}"
    return ""


def _listed(types: tuple[object, ...]) -> str:
    return f"({', '.join(map(str, types))})"


def _atom_problem(x: Atom, defined: set[Value]) -> str:
    if isinstance(x, Value):
        return "" if x in defined else f"{x} is used before it is defined"
    if not isinstance(x, Literal):
        return f"{x!r} is neither a Value nor a Literal"
    if not isinstance(x.value, np.generic) or x.value.dtype != x.type.dtype:
        kind = getattr(x.value, "dtype", type(x.value).__name__)
        return f"the literal {x} holds a {kind}"
    return ""


def _broken(graph: Graph, node: Node | None, problem: str) -> InternalError:
    """The error, with the lines around ``node`` (or the header), that one marked by ``>``."""
    lines = listing(graph)
    marked = next((k for k, (_, owner) in enumerate(lines) if owner is node), 0)
    first = max(0, min(marked - _SHOWN // 2, len(lines) - _SHOWN))
    notes = tuple(
        f"{'>' if number == marked else ' '} {text}"
        for number, (text, _) in enumerate(lines[first : first + _SHOWN], first)
    )
    at = None if node is None else node.at
    return InternalError(f"the graph {graph.name} is broken: {problem}", at=at, notes=notes)
