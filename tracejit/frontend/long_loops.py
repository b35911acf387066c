"""Loops outside of jit: short ones run operation by operation with NumPy, long ones are compiled.

>>> lax.fori_loop(0, 100_000, lambda i, x: x + 1, 0)
Array(100000)

A loop counts as long when NumPy would run more than ``LIMIT`` operations: of a scan that is known
before, a while loop is compiled when it comes to be long and goes on from there. So the same
program always runs the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.config import Settings, config
from tracejit.frontend import on_device
from tracejit.frontend.placement import CPU
from tracejit.ir import interp
from tracejit.ir.graph import Graph, Node, Value
from tracejit.ir.text import show
from tracejit.ir.types import type_of
from tracejit.transform import branch, loops

#: operations with NumPy that take about as long as the compiler
LIMIT = 20_000


def run(graph: Graph, arrays: Sequence[Any]) -> list[np.ndarray]:
    """The outputs of ``graph`` on concrete operands."""
    if not any(node.prim in (loops.scan, loops.while_, branch.call) for node in graph.nodes):
        return interp.run(graph, arrays)
    env: dict[Value, np.ndarray] = {}
    for value, array in zip(graph.inputs, arrays, strict=True):
        env[value] = interp.checked(np.asarray(array), value.type, "input")
    for node in graph.nodes:
        outs = apply(node, [interp.read(x, env) for x in node.inputs])
        env.update(zip(node.outputs, outs, strict=True))
    return [interp.read(x, env) for x in graph.outputs]


def apply(node: Node, arrays: Sequence[Any]) -> Sequence[np.ndarray]:
    """The outputs of one node on concrete operands."""
    if node.prim is branch.call:
        return run(node.params["graph"], arrays)
    if node.prim not in (loops.scan, loops.while_) or not _may_compile(config.current()):
        return interp.apply(node, arrays)
    if node.prim is loops.while_:
        return _while(node, arrays)
    return _compiled(node, arrays) if _operations(node) > LIMIT else interp.apply(node, arrays)


def _may_compile(settings: Settings) -> bool:
    """Whether nothing asks for single operations."""
    return (
        settings.backend != "numpy"
        and settings.mode == "default"
        and not (settings.disable_jit or settings.debug_nans or settings.debug_infs)
    )


def _operations(node: Node) -> int:
    """How many operations a node stands for; of a while loop one step."""
    inner = sum(_operations(n) for graph in node.subgraphs for n in graph.nodes)
    return 1 + inner * int(node.params["length"] if node.prim is loops.scan else 1)


def _while(node: Node, arrays: Sequence[Any]) -> Sequence[np.ndarray]:
    cond, body, n_consts = (node.params[name] for name in ("cond", "body", "n_consts"))
    consts, carry = arrays[:n_consts], arrays[n_consts:]
    for _ in range(max(1, LIMIT // _operations(node))):
        if not interp.run(cond, (*consts, *carry))[0]:
            return tuple(np.asarray(x) for x in carry)
        carry = interp.run(body, (*consts, *carry))
    return _compiled(node, (*consts, *carry))


def _compiled(node: Node, arrays: Sequence[Any]) -> Sequence[np.ndarray]:
    inputs = tuple(Value(type_of(np.asarray(a))) for a in arrays)
    outputs = tuple(Value(y.type) for y in node.outputs)
    program = Node(node.prim, inputs, node.params, outputs, node.at)
    graph = Graph(inputs, (program,), outputs, node.prim.name)
    found: list[np.ndarray] = _program(show(graph, full=True), config.current())(graph).run(arrays)
    return found


class _Program:
    """Compiles the first graph of a text that it is given."""

    def __init__(self) -> None:
        self.executable: Any = None

    def __call__(self, graph: Graph) -> Any:
        if self.executable is None:
            self.executable = on_device.compile_on(graph, CPU)
        return self.executable


@functools.lru_cache(maxsize=64)
def _program(text: str, settings: Settings) -> _Program:
    """Equal loops share one program: un-jitted code traces its loops at each call."""
    return _Program()
