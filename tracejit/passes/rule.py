"""Rewrite rules as data, and the traversal that applies them.

    x, p, q = Hole("x"), Hole("p"), Hole("q")
    Rule("transpose_twice",
         find=P(transpose, P(transpose, x, permutation=p), permutation=q),
         put=lambda x, p, q: transpose(x, permutation=tuple(p[k] for k in q)))

    rewrite(graph, RuleSet(rules))  ->  a Graph in which no rule applies any more

A node is looked at after its operands, so a rule sees simplified operands, and what ``put``
builds is looked at in turn: one walk reaches the fixed point. Rules are found by the operation at
the root of ``find`` and by one of its operands, so a node to which no rule could apply costs a
few dictionary look-ups.

``exact=True`` promises equal bits, inf, -0.0 and subnormals included; a nan stays a nan (IEEE 754
fixes neither its sign nor its payload).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from itertools import product
from typing import Any

import numpy as np

from tracejit.errors import InternalError
from tracejit.ir.build import building
from tracejit.ir.graph import Atom, ConstArray, Graph, Literal, Node, Value, hashable
from tracejit.ir.prim import Primitive
from tracejit.ir.types import TensorType, kind, parse_type, type_of
from tracejit.ops.layout import constant
from tracejit.passes.subgraphs import map_subgraphs
from tracejit.record import dataclass

#: operations whose operands may change places without changing a bit of the result
COMMUTATIVE = frozenset("add mul and or xor eq ne".split())
#: what one node may become at most, one rule after the other: more is a loop
MAX_CHAIN = 60

Captures = dict[str, Any]


# ---- patterns ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hole:
    """Matches any operand or param and captures it; the same name means the same thing.

    As an operand it may be limited to dtypes of ``kinds`` (letters of ``ir.types.kind``).
    """

    name: str
    kinds: str = ""


@dataclass(frozen=True)
class Const:
    """Matches a Literal of ``kinds`` and captures it."""

    name: str
    kinds: str = ""


@dataclass(frozen=True)
class Rest:
    """Matches all remaining operands and captures their tuple; last operand of a pattern."""

    name: str


class P:
    """Matches ``prim`` on operands that match ``args`` with params that match ``params``.

    A Python scalar among the operands matches the Literal that has this value (``-0.0`` is not
    ``0.0``). Params that are not named are free. Operands of a commutative operation match in
    either order.
    """

    __slots__ = ("prim", "args", "params")

    def __init__(self, prim: Primitive, *args: Any, **params: Any) -> None:
        self.prim, self.args, self.params = prim, args, params


@dataclass(frozen=True)
class Family:
    """Matches any of ``prims`` with an operand made by ``maker``: ``put`` gets the node itself.

    For rules that hold for a whole family of operations; ``put(node, producers)`` looks closer.
    """

    prims: tuple[Primitive, ...]
    maker: str


@dataclass(frozen=True)
class Case:
    """A graph for the tests of a rule: ``build`` applied to inputs of ``types``."""

    types: tuple[TensorType, ...]
    build: Callable[..., Any]


def case(*types_and_build: Any) -> Case:
    """``case("f32[2,3]", lambda x: ...)``: the types of the inputs as text, the builder last."""
    *types, build = types_and_build
    return Case(tuple(parse_type(text) for text in types), build)


@dataclass(frozen=True)
class Rule:
    """``find`` is replaced by ``put`` where ``when`` holds.

    ``put`` is a Hole of ``find``, a pattern to build, or a function of the captures; it may
    answer None: the rule does not apply here. ``cases`` are instances for the generated test,
    where it cannot draw them from ``find``.
    """

    name: str
    find: P | Family
    put: Any
    when: Callable[..., bool] | None = None
    exact: bool = True
    cases: tuple[Case, ...] = ()


# ---- finding rules -------------------------------------------------------------------------------


def orders(pattern: Any) -> list[Any]:
    """The pattern with operands of commutative operations in every order that matters."""
    if not isinstance(pattern, P):
        return [pattern]
    found = [
        P(pattern.prim, *args, **pattern.params) for args in product(*map(orders, pattern.args))
    ]
    if pattern.prim.name in COMMUTATIVE and not plain(pattern.args):
        found += [P(p.prim, *p.args[::-1], **p.params) for p in found]
    return found


def plain(args: Sequence[Any]) -> bool:
    """Whether both operands are holes without conditions, so that their order does not matter."""
    return all(isinstance(a, Hole) for a in args) and len({a.kinds for a in args}) == 1


def needs(pattern: P) -> tuple[int, str] | None:
    """An operand that must be made by a certain operation, or be a Literal ("")."""
    for k, arg in enumerate(pattern.args):
        if isinstance(arg, P):
            return k, arg.prim.name
    for k, arg in enumerate(pattern.args):
        if not isinstance(arg, Hole | Rest):
            return k, ""
    return None


Entry = tuple[int, Rule, P | None]


class RuleSet:
    """Rules, indexed by the root of their patterns; earlier ones win. ``off``: left out."""

    def __init__(self, rules: Iterable[Rule], off: frozenset[str] = frozenset()) -> None:
        self.rules = tuple(rule for rule in rules if rule.name not in off)
        #: operation -> what an operand must be -> (number, rule, pattern)
        self.index: dict[str, dict[Any, list[Entry]]] = {}
        for number, rule in enumerate(self.rules):
            if isinstance(rule.find, Family):
                for prim in rule.find.prims:
                    self._enter(prim, rule.find.maker, (number, rule, None))
                continue
            for pattern in orders(rule.find):
                self._enter(pattern.prim, needs(pattern), (number, rule, pattern))

    def _enter(self, prim: Primitive, key: Any, entry: Entry) -> None:
        self.index.setdefault(prim.name, {}).setdefault(key, []).append(entry)

    def candidates(self, node: Node, producers: dict[Value, Node]) -> Sequence[Entry]:
        """The rules that could apply to ``node``, in order."""
        at = self.index.get(node.prim.name)
        if at is None:
            return ()
        found = list(at.get(None, ()))
        lists = 1 if found else 0
        makers: set[str] = set()
        for k, x in enumerate(node.inputs):
            if isinstance(x, Literal):
                more = at.get((k, ""))
            else:
                made = producers.get(x)
                if made is None:
                    continue
                maker = made.prim.name
                more = at.get((k, maker))
                if maker in at and maker not in makers:
                    makers.add(maker)
                    found += at[maker]
                    lists += 1
            if more:
                found += more
                lists += 1
        if lists > 1:
            found.sort(key=_number)
        return found


def _number(entry: Entry) -> int:
    return entry[0]


# ---- matching ------------------------------------------------------------------------------------


def match_node(pattern: P, node: Node, producers: dict[Value, Node], found: Captures) -> bool:
    """Whether ``node`` is an instance of ``pattern``; captures go into ``found``."""
    args, inputs = pattern.args, node.inputs
    if args and isinstance(args[-1], Rest):
        count = len(args) - 1
        if len(inputs) < count:
            return False
        found[args[-1].name] = inputs[count:]
        args, inputs = args[:-1], inputs[:count]
    elif len(args) != len(inputs):
        return False
    for arg, x in zip(args, inputs, strict=True):
        if not match_atom(arg, x, producers, found):
            return False
    for name, wanted in pattern.params.items():
        value = node.params[name]
        if not isinstance(wanted, Hole):
            if value != wanted:
                return False
        elif wanted.name not in found:
            found[wanted.name] = value
        elif hashable(found[wanted.name]) != hashable(value):
            return False
    return True


def match_atom(pattern: Any, x: Atom, producers: dict[Value, Node], found: Captures) -> bool:
    if isinstance(pattern, P):
        made = producers.get(x) if isinstance(x, Value) else None
        if made is None or made.prim.name != pattern.prim.name or len(made.outputs) != 1:
            return False
        return match_node(pattern, made, producers, found)
    if isinstance(pattern, Hole | Const):
        if isinstance(pattern, Const) and not isinstance(x, Literal):
            return False
        if pattern.kinds and kind(x.type.dtype) not in pattern.kinds:
            return False
        if pattern.name in found:
            return bool(found[pattern.name] == x)
        found[pattern.name] = x
        return True
    return isinstance(x, Literal) and is_scalar(x, pattern)


def is_scalar(x: Literal, value: bool | int | float) -> bool:
    """Whether ``x`` holds ``value``, a zero's sign included; True and False are flags only."""
    if x.value != value or (isinstance(value, bool) and kind(x.type.dtype) != "b"):
        return False
    return value != 0 or bool(np.all(np.signbit(parts(x.value)) == np.signbit(value)))


def parts(value: Any) -> Any:
    """The real and imaginary part of a complex scalar, other scalars as they are."""
    return np.asarray((value.real, value.imag)) if isinstance(value, np.complexfloating) else value


# ---- applying ------------------------------------------------------------------------------------

#: outputs of a node that are known while compiling
Known = tuple[Literal | ConstArray, ...]
#: asked before the rules: what the outputs of a node are known to be, or None
Shortcut = Callable[[Node, dict[Value, Node]], Known | None]


@dataclass
class Rewriter:
    """One walk over one graph. ``nodes``: the new graph; ``counts``: which rules fired."""

    rules: RuleSet
    counts: dict[str, int]
    inside: Callable[[Graph], Graph]
    shortcut: Shortcut | None = None
    nodes: list[Node] = field(default_factory=list)
    producers: dict[Value, Node] = field(default_factory=dict)
    env: dict[Value, Atom] = field(default_factory=dict)
    changed: bool = False
    fired: int = 0
    budget: int = 1_000

    def add(self, node: Node) -> None:
        """Take over ``node`` of the old graph, simplified."""
        if node.prim.params:
            deeper = map_subgraphs(node, self.inside)
            self.changed = self.changed or deeper is not node
            node = deeper
        env = self.env
        ins = node.inputs
        if env and not env.keys().isdisjoint(values(ins)):
            ins = tuple(env.get(x, x) if isinstance(x, Value) else x for x in ins)
            node = node.reading(ins)
        outs = self.settle(node, ())
        if outs is not node.outputs:
            self.env.update(zip(node.outputs, outs, strict=True))

    def settle(self, node: Node, chain: tuple[str, ...]) -> tuple[Atom, ...]:
        """The outputs of ``node`` after all rules; ``chain`` names the rules that led to it."""
        producers = self.producers
        if self.shortcut is not None:
            known = self.shortcut(node, producers)
            if known is not None:
                self.changed = True
                return tuple(self.held(x, node) for x in known)
        for _, rule, pattern in self.rules.candidates(node, producers):
            found: Captures = {}
            if pattern is None:
                found = {"node": node, "producers": producers}
            elif not match_node(pattern, node, producers, found):
                continue
            if rule.when is not None and not rule.when(**found):
                continue
            outs = self.apply(rule, node, found, chain)
            if outs is not None:
                return outs
        self.nodes.append(node)
        for out in node.outputs:
            producers[out] = node
        return node.outputs

    def held(self, x: Literal | ConstArray, node: Node) -> Atom:
        """A known output of ``node`` as an operand of others."""
        if isinstance(x, Literal):
            return x
        out = Value(type_of(x.array), node.outputs[0].name)
        made = Node(constant, (), {"value": x}, (out,), node.at)
        self.nodes.append(made)
        self.producers[out] = made
        return out

    def apply(
        self, rule: Rule, node: Node, found: Captures, chain: tuple[str, ...]
    ) -> tuple[Atom, ...] | None:
        """What ``rule`` puts in the place of ``node``, settled; None when it declines."""
        if len(chain) >= MAX_CHAIN or self.fired >= self.budget:
            raise InternalError(
                f"the rewrite rule `{rule.name}` loops on `{node.prim.name}`: "
                f"the last rules were {', '.join((*chain[-5:], rule.name))}",
                at=node.at,
                hint=f"leave it out with TRACEJIT_OFF={rule.name}",
            )
        with building() as b:
            b.at = node.at
            result = construct(rule.put, found)
        if result is None:
            return None
        self.changed = True
        self.fired += 1
        self.counts[rule.name] = self.counts.get(rule.name, 0) + 1
        chain = (*chain, rule.name)
        local: dict[Value, Atom] = {}
        for new in b.nodes:
            if local:
                ins = tuple(local.get(x, x) if isinstance(x, Value) else x for x in new.inputs)
                new = new.reading(ins)
            new = map_subgraphs(new, self.inside)
            local.update(zip(new.outputs, self.settle(new, chain), strict=True))
        results = result if isinstance(result, tuple) else (result,)
        outs = tuple(local.get(x, x) if isinstance(x, Value) else x for x in results)
        check_types(rule, node, outs)
        for old, out in zip(node.outputs, outs, strict=True):
            if isinstance(out, Value) and not out.name:
                out.name = old.name
        return outs


def values(atoms: Sequence[Atom]) -> Iterator[Value]:
    return (x for x in atoms if isinstance(x, Value))


def construct(put: Any, found: Captures) -> Any:
    """The right-hand side of a rule, built with the current builder."""
    if isinstance(put, Hole | Const):
        return found[put.name]
    if isinstance(put, P):
        params = {k: found[v.name] if isinstance(v, Hole) else v for k, v in put.params.items()}
        return put.prim(*[construct(arg, found) for arg in put.args], **params)
    return put(**found) if callable(put) else put


def check_types(rule: Rule, node: Node, outs: tuple[Atom, ...]) -> None:
    """Raise InternalError unless a rule keeps the types of what it replaces."""
    was, now = tuple(v.type for v in node.outputs), tuple(x.type for x in outs)
    if was != now:
        raise InternalError(f"the rewrite rule `{rule.name}` turns {was} into {now}", at=node.at)


def rewrite(
    graph: Graph,
    rules: RuleSet,
    *,
    shortcut: Shortcut | None = None,
    counts: dict[str, int] | None = None,
) -> Graph:
    """``graph`` and the graphs inside it with all rules applied; the same object when none did.

    ``counts`` is filled with how often each rule fired. Values that are no longer read stay:
    ``drop_dead`` removes them.
    """
    counts = {} if counts is None else counts
    # the old graph is kept beside the new one: an id means something only while its object lives
    done: dict[int, tuple[Graph, Graph]] = {}

    def walk(graph: Graph) -> Graph:
        if id(graph) in done:
            return done[id(graph)][1]
        rewriter = Rewriter(rules, counts, walk, shortcut)
        rewriter.budget += 100 * len(graph.nodes)
        for node in graph.nodes:
            rewriter.add(node)
        env = rewriter.env
        new = graph
        if rewriter.changed:
            outs = tuple(env.get(x, x) if isinstance(x, Value) else x for x in graph.outputs)
            new = Graph(graph.inputs, tuple(rewriter.nodes), outs, graph.name)
        done[id(graph)], done[id(new)] = (graph, new), (new, new)
        return new

    return walk(graph)
