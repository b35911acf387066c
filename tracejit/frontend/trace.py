"""Tracing: run a Python function on Arrays that record what is done to them.

    traced = run_trace(Trace("jit"), [TensorType(f32, (3,))], ["x"], call, name="f")
    traced.graph, traced.captured, traced.outputs

Traces nest: a grad inside a jit, the body of a scan inside a grad. Every operation goes to the
innermost trace. What it reads from outside (arrays, values of outer traces) becomes an extra input
of its graph, so a graph never refers to another one's values.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracejit import source
from tracejit.errors import LeakedTracerError
from tracejit.frontend.key_facts import NONE, KeyFacts, KeyRecord, facts_of
from tracejit.ir.build import Builder
from tracejit.ir.graph import Atom, ConstArray, Graph, Value, literal
from tracejit.ir.types import TensorType, type_of
from tracejit.ops.layout import constant
from tracejit.record import dataclass

#: concrete arrays of at most this many elements become constants of the graph; larger ones are
#: passed in
CONST_LIMIT = 64


class Trace:
    """One run of a user's function. ``what`` names the transform for messages ("jit", "vmap",
    "scan" ...).

    With ``eager`` every value also carries its concrete result, so Python control flow on values
    works.
    """

    __slots__ = (
        "builder",
        "what",
        "eager",
        "alive",
        "captured",
        "constants",
        "origins",
        "function",
        "keys",
        "__weakref__",
    )

    def __init__(self, what: str, *, eager: bool = False, function: str = "") -> None:
        self.builder = Builder(user_frames=True)
        self.what = what
        self.eager = eager
        self.function = function
        self.alive = True
        self.captured: dict[int, tuple[Any, Value]] = {}
        self.constants: dict[int, tuple[Any, Value]] = {}
        self.origins: dict[Value, str] = {}
        #: what happens to random keys: see ``frontend/key_uses.py``
        self.keys = KeyRecord()

    def lift(self, array: Any) -> Atom:
        """The atom in this trace for an Array from anywhere."""
        if array._trace is self:
            return array._value
        if array._trace is None:
            return self._lift_concrete(array)
        if not array._trace.alive:
            raise leaked(array)
        return self._capture(array, array._value.type)

    def _lift_concrete(self, array: Any) -> Atom:
        if array._on_gpu:
            return self._capture(array, array.type)
        data = array._data
        if data.ndim == 0:
            return literal(data, type_of(data))
        if data.size > CONST_LIMIT:
            return self._capture(array, type_of(data))
        found = self.constants.get(id(array))
        if found is None:
            value = self.builder.emit(constant, (), {"value": ConstArray(data)})
            found = self.constants[id(array)] = (array, value)
        return found[1]

    def _capture(self, array: Any, type: TensorType) -> Value:
        found = self.captured.get(id(array))
        if found is None:
            name = getattr(array._value, "name", "") if array._trace is not None else ""
            found = self.captured[id(array)] = (array, Value(type, name))
        return found[1]


def leaked(array: Any, what: str = "is used after the trace has ended") -> LeakedTracerError:
    """The error for a value that outlives its trace, naming the trace and where the value was
    made.
    """
    trace = array._trace
    made = next((n for n in trace.builder.nodes if array._value in n.outputs), None)
    where = f" from {made.prim.name} at {made.at.short()}" if made is not None and made.at else ""
    return LeakedTracerError(
        f"a value traced by {trace.what} of `{trace.function}` ({array._value.type}{where}) {what}",
        at=source.here(),
        hint="return it from the function instead of storing it in an outer variable",
    )


class _Stack(threading.local):
    def __init__(self) -> None:
        self.traces: list[Trace | None] = []
        self.note: Callable[[Trace], None] | None = None


_stack = _Stack()


def current_trace() -> Trace | None:
    """The innermost trace of this thread, or None outside of tracing."""
    return _stack.traces[-1] if _stack.traces else None


def open_traces() -> Iterator[Trace]:
    """The traces of this thread, innermost first, as far as ``outside`` lets them be seen."""
    for trace in reversed(_stack.traces):
        if trace is None:
            return
        yield trace


@contextmanager
def outside() -> Iterator[None]:
    """A block in which no trace records: operations on concrete values run at once."""
    _stack.traces.append(None)
    try:
        yield
    finally:
        _stack.traces.pop()


@contextmanager
def noting(note: Callable[[Trace], None]) -> Iterator[None]:
    """A block in which ``note`` is called with every trace that begins."""
    before, _stack.note = _stack.note, note
    try:
        yield
    finally:
        _stack.note = before


def alive_value(trace: Trace) -> Any:
    """A value of this trace that something still refers to, or None."""
    holders = gc.get_referrers(trace)
    return next((h for h in holders if getattr(h, "_trace", None) is trace), None)


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    if _stack.note is not None:
        _stack.note(trace)
    _stack.traces.append(trace)
    try:
        yield trace
    finally:
        _stack.traces.pop()
        trace.alive = False


@dataclass(frozen=True)
class Traced:
    """A finished trace: ``graph`` takes ``captured`` (Arrays from outside) and then the
    arguments. ``keys``: which random keys among arguments and results it uses up.
    """

    graph: Graph
    captured: tuple[Any, ...]
    outputs: Any
    keys: KeyFacts = NONE


def run_trace(
    trace: Trace,
    types: Sequence[TensorType],
    names: Sequence[str],
    call: Callable[[list[Value]], tuple[Sequence[Any], Any]],
    *,
    name: str,
) -> Traced:
    """Run ``call(input values) -> (output Arrays, extra)`` under ``trace`` and close its graph."""
    with tracing(trace):
        values = [Value(t, n) for t, n in zip(types, names, strict=True)]
        for value, argument in zip(values, names, strict=True):
            trace.origins[value] = argument
        arrays, extra = call(values)
        outputs = tuple(trace.lift(array) for array in arrays)
    captured = tuple(trace.captured.values())
    inputs = (*(value for _, value in captured), *values)
    graph = Graph(inputs, tuple(trace.builder.nodes), outputs, name)
    facts = NONE
    if trace.keys:
        outer = {value: array for array, value in (*captured, *trace.constants.values())}
        facts = facts_of(trace.keys, graph, {**outer, **{v: k for k, v in enumerate(values)}})
    return Traced(graph, tuple(array for array, _ in captured), extra, facts)
