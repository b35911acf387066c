"""What a traced function does with random keys: which of its arguments it uses up, and which of its
results are used up already.

    trace.keys.used[origin(words, nodes)] = at            while it is traced: see ``key_uses``
    facts = facts_of(trace.keys, graph, sources)          once it is finished
    facts.used, facts.results_used                        what whoever calls it has to note

A key inside a trace is known by its origin: a value, and the steps (slices, reshapes) that take the
key out of it. Two equal slices of one array are one key, and an array is used up together with each
of its parts. A key that only passes through a call, a branch or a loop keeps its origin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from tracejit.ir.graph import Atom, Graph, Literal, Node, Value, params_key
from tracejit.record import dataclass
from tracejit.source import Position

#: operations that only take a key out of others
TAKING = ("slice", "reshape", "squeeze", "dynamic_slice", "gather", "convert", "transpose")
#: how deep an index is compared
DEPTH = 8


@dataclass(frozen=True)
class Step:
    """One operation that takes a key out of others. ``rest`` are its other operands."""

    name: str
    params: tuple[Any, ...]
    rest: tuple[Any, ...]
    node: Node = field(compare=False, repr=False)


class Origin(NamedTuple):
    """Where a key comes from: a value, and the steps from it to the key."""

    base: Any
    steps: tuple[Step, ...] = ()

    def within(self, other: Origin) -> bool:
        """Whether this is ``other`` or a part of it."""
        n = len(other.steps)
        return self.base == other.base and self.steps[:n] == other.steps


class Use(NamedTuple):
    """A key is used up: of ``source``, the number of an argument or result or an outer Array, what
    ``steps`` take; ``at`` is where.
    """

    source: Any
    steps: tuple[Step, ...]
    at: Position | None


class Event(NamedTuple):
    """A key from outside of the trace is used, or may be used once more."""

    words: Any
    again: bool
    at: Position | None


@dataclass(frozen=True)
class KeyFacts:
    """What a finished trace does with keys.

    ``used``: arguments (by number) and captured Arrays that are used up, or parts of them;
    ``outside``: what happens to keys that are no arguments, in order; ``results_used``: results
    that are used up; ``results_spare``: results that ``clone`` gave so many further uses.
    """

    used: tuple[Use, ...] = ()
    outside: tuple[Event, ...] = ()
    results_used: tuple[Use, ...] = ()
    results_spare: tuple[tuple[int, int], ...] = ()


#: of a function without keys
NONE = KeyFacts()


class KeyRecord:
    """What has happened to keys in an open trace."""

    __slots__ = ("used", "spare", "outside")

    def __init__(self) -> None:
        #: where each key of this trace was used
        self.used: dict[Origin, Position | None] = {}
        #: how many further uses ``clone`` has allowed
        self.spare: dict[Origin, int] = {}
        self.outside: list[Event] = []

    def __bool__(self) -> bool:
        return bool(self.used or self.spare or self.outside)

    def first_use(self, known: Origin) -> tuple[bool, Position | None]:
        """Whether the key, a part of it or an array that holds it is used up, and where."""
        for other, at in self.used.items():
            if known.within(other) or other.within(known):
                return True, at
        return False, None


# ---- origins -------------------------------------------------------------------------------------


def origin(atom: Atom, nodes: Sequence[Node]) -> Origin:
    """Where the key ``atom`` comes from."""
    return _origin(atom, {y: node for node in nodes for y in node.outputs})


def _origin(atom: Atom, made: Mapping[Any, Node]) -> Origin:
    steps: list[Step] = []
    while True:
        if isinstance(atom, Literal):
            return Origin((atom.value.item(), atom.type), tuple(reversed(steps)))
        node = made.get(atom)
        if node is None:
            return Origin(atom, tuple(reversed(steps)))
        if node.prim.name in TAKING:
            rest = tuple(_expression(x, made, DEPTH) for x in node.inputs[1:])
            steps.append(Step(node.prim.name, params_key(node.params), rest, node))
            atom = node.inputs[0]
            continue
        passed = _passed_on(node, node.outputs.index(atom))
        if passed is None:
            return Origin(atom, tuple(reversed(steps)))
        atom, inner = passed
        steps += reversed(inner)


def _expression(atom: Atom, made: Mapping[Any, Node], depth: int) -> Any:
    """An index as something that equals another one which is computed in the same way."""
    if isinstance(atom, Literal):
        return (atom.value.item(), atom.type)
    node = made.get(atom)
    if node is None or depth == 0 or node.prim.effect or len(node.outputs) > 1:
        return atom
    inputs = (_expression(x, made, depth - 1) for x in node.inputs)
    return (node.prim.name, params_key(node.params), *inputs)


def _passed_on(node: Node, k: int) -> tuple[Atom, tuple[Step, ...]] | None:
    """The operand that result ``k`` of a call, branch or loop is, and the steps from it."""
    loop = "n_carry" in node.params or node.prim.name == "while"
    if node.prim.name == "cond":
        found = {_result(graph, k) for graph in node.params["branches"]}
        operands = node.inputs[1:]
    else:
        bodies = [
            node.params[p] for p in ("body", "graph") if isinstance(node.params.get(p), Graph)
        ]
        if len(bodies) != 1 or len(bodies[0].inputs) != len(node.inputs):
            return None
        found = {_result(bodies[0], k)}
        operands = node.inputs
    if len(found) != 1:
        return None
    passed = found.pop()
    if passed is None or (loop and not _stays(node, k, *passed)):
        return None
    return operands[passed[0]], passed[1]


def _result(graph: Graph, k: int) -> tuple[int, tuple[Step, ...]] | None:
    """The number of the input that output ``k`` comes from, and the steps from it."""
    found = origin(graph.outputs[k], graph.nodes)
    inputs = list(graph.inputs)
    if not isinstance(found.base, Value) or found.base not in inputs:
        return None
    return inputs.index(found.base), found.steps


def _stays(node: Node, k: int, number: int, steps: tuple[Step, ...]) -> bool:
    """Whether what a loop passes on is its own carry, which then stays as it was."""
    carried = node.params.get("n_carry", len(node.outputs))
    return k < carried and number == node.params["n_consts"] + k and not steps


# ---- of a finished trace -------------------------------------------------------------------------


def facts_of(record: KeyRecord, graph: Graph, sources: Mapping[Any, Any]) -> KeyFacts:
    """The facts of a finished trace; ``sources`` says for values which argument or Array they
    are.
    """
    used = tuple(
        Use(sources[known.base], known.steps, at)
        for known, at in record.used.items()
        if known.base in sources and is_static(known.steps)
    )
    results, spare = [], []
    for k, atom in enumerate(graph.outputs):
        known = origin(atom, graph.nodes)
        if record.spare.get(known):
            spare.append((k, record.spare[known]))
            continue
        n = len(known.steps)
        for other, at in record.used.items():
            if known.within(other):
                results.append(Use(k, (), at))
                break
            if other.within(known) and is_static(other.steps[n:]):
                results.append(Use(k, other.steps[n:], at))
    return KeyFacts(used, tuple(record.outside), tuple(results), tuple(spare))


def is_static(steps: Sequence[Step]) -> bool:
    """Whether the steps can be taken anywhere: they have no operands of their own."""
    return not any(step.rest for step in steps)
