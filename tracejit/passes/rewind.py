"""Loops in place of ``while_pullback``, so that reverse mode through a ``while`` is compiled.

rewind_loops(graph)      the same object where there is none
"""

from __future__ import annotations

from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.passes.subgraphs import replaced
from tracejit.transform.rewind import expand
from tracejit.transform.tape import while_pullback


def rewind_loops(graph: Graph) -> Graph:
    """``graph`` with every ``while_pullback``, inner graphs included, written as loops that walk
    back over checkpoints.
    """
    return replaced(graph, rewind_loops, _written)


def _written(node: Node, xs: tuple[Atom, ...], env: dict[Value, Atom]) -> tuple[Atom, ...] | None:
    return expand(*xs, **node.params) if node.prim is while_pullback else None
