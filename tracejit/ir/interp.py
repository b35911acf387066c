"""Run a graph op by op with NumPy: the meaning of every operation and the oracle of every test.

    >>> graph = tj.make_graph(lambda x: jnp.sin(x) * 2, 1.0)
    >>> run(graph, [np.float32(0.0)])
    [array(0., dtype=float32)]

Each primitive's ``numpy`` rule does the work. Results have exactly the dtype and shape that
``infer`` gives; a difference is an InternalError here rather than a wrong number later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import InternalError, TracejitError
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value
from tracejit.ir.types import TensorType

Watch = Callable[[Node, tuple[np.ndarray, ...]], None]


def run(graph: Graph, arrays: Sequence[Any], *, watch: Watch | None = None) -> list[np.ndarray]:
    """The outputs of ``graph`` on ``arrays``, one per input. ``watch(node, outputs)`` sees each
    step.
    """
    env: dict[Value, np.ndarray] = {}
    for value, array in zip(graph.inputs, arrays, strict=True):
        env[value] = checked(np.asarray(array), value.type, "input")
    for node in graph.nodes:
        outs = apply(node, [read(x, env) for x in node.inputs])
        env.update(zip(node.outputs, outs, strict=True))
        if watch is not None:
            watch(node, outs)
    return [read(x, env) for x in graph.outputs]


def apply(node: Node, arrays: Sequence[Any]) -> tuple[np.ndarray, ...]:
    """The outputs of one node on concrete operands."""
    try:
        out = node.prim.rule("numpy")(*arrays, **node.params)
    except TracejitError as error:
        error.at = error.at or node.at
        raise
    outs = out if isinstance(out, tuple) else (out,)
    return tuple(
        checked(np.asarray(a), value.type, node.prim.name)
        for a, value in zip(outs, node.outputs, strict=True)
    )


def read(x: Atom, env: dict[Value, np.ndarray]) -> np.ndarray:
    """The array of an atom; a Literal becomes a read-only view of one element."""
    if isinstance(x, Literal):
        return np.broadcast_to(x.value, x.type.shape)
    return env[x]


def checked(array: np.ndarray, type: TensorType, name: str) -> np.ndarray:
    if array.dtype != type.dtype or array.shape != type.shape:
        raise InternalError(
            f"{name}: computed {array.dtype}{list(array.shape)} where the graph says {type}"
        )
    return array
