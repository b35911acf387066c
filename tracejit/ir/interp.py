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

from tracejit.config import config
from tracejit.errors import InternalError, NonFiniteError, TracejitError
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value
from tracejit.ir.types import TensorType, is_inexact, type_of

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
    found = tuple(
        checked(np.asarray(a), value.type, node.prim.name)
        for a, value in zip(outs, node.outputs, strict=True)
    )
    settings = config.current()
    if settings.debug_nans or settings.debug_infs:
        refuse(node, arrays, found)
    return found


def refuse(node: Node, arrays: Sequence[Any], outs: Sequence[Any]) -> None:
    """Raise NonFiniteError where ``outs``, computed by ``node``, hold what the settings forbid."""
    for out in outs:
        what = non_finite(out)
        if what:
            raise NonFiniteError(
                f"{node.prim.name}: computed {what}",
                at=node.at,
                notes=tuple(_described(k, np.asarray(a)) for k, a in enumerate(arrays, 1)),
            )


def non_finite(array: Any) -> str:
    """ "nan" or "inf" where ``array`` holds that and the settings forbid it, else an empty text."""
    settings = config.current()
    array = np.asarray(array)
    if not is_inexact(array.dtype):
        return ""
    if settings.debug_nans and np.isnan(array).any():
        return "nan"
    return "inf" if settings.debug_infs and np.isinf(array).any() else ""


def _described(number: int, array: np.ndarray) -> str:
    """An operand of a message: its type, and the range of its values."""
    text = f"operand {number}: {type_of(array)}"
    if array.size == 0 or array.dtype.kind == "c":
        return text
    if array.size == 1:
        return f"{text} = {array.reshape(-1)[0]}"
    return f"{text}, from {array.min()} to {array.max()}"


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
