"""Fusion: the nodes of a graph partitioned into groups, each of which becomes one kernel or one
call.

    partition(graph, can_fuse) -> Partition(groups, views, kept)

A group computes some *roots*, values that need a buffer or are reductions; everything between roots
is substituted into its consumers (``pull.py``). Groups are found greedily in graph order: a root
joins the group whose results or operands it reads when both run over the same space, when no cycle
arises and when the elements it reads there are the ones at hand. Spaces:

    map       space (a, b), reduced ()     every root has the shape of the space
    rows      space (a, b), reduced (1,)   the last axes are reduced; maps of the whole space too
    columns   space (a, b), reduced (0,)   other axes are reduced; maps of the results
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import field

from tracejit.ir.expr import Expr, Load, walk
from tracejit.ir.graph import Graph, Node, Value
from tracejit.passes.groups import Group, Partition
from tracejit.passes.loop_form import LoopForm
from tracejit.passes.loop_operands import buffers
from tracejit.passes.loops import recognise
from tracejit.passes.pull import Puller
from tracejit.passes.small import FEW, STEPS, feeds_fold
from tracejit.passes.space import index_for, is_trailing, pull_root, space_index
from tracejit.passes.stencils import StencilForm, tiled
from tracejit.passes.weigh import bytes_moved, worth_storing
from tracejit.record import dataclass

#: operations whose result is their operand's memory read in another shape
VIEWS = frozenset(("reshape", "barrier", "stop_gradient"))
CONTROL = frozenset(("scan", "while", "cond"))
#: a value read several times is computed once when recomputing costs more than this (heavy
#: operations cost 10)
RECOMPUTE_LIMIT = 24
#: expressions are cut when they grow beyond this cost
EXPRESSION_LIMIT = 160
#: and when so many operations follow each other: rules of elements call each other
DEPTH_LIMIT = 100
#: at most this many buffers in one kernel
BUFFER_LIMIT = 28
#: a chain of row operations in one kernel needs this many rows to share among threads, or a small
#: space
MIN_ROWS = 8
SMALL_SPACE = 1 << 15


@dataclass(eq=False)
class Draft:
    """A group being built."""

    kind: str
    number: int
    roots: list[Value] = field(default_factory=list)
    node: Node | None = None
    space: tuple[int, ...] = ()
    reduced: tuple[int, ...] = ()
    reads: dict[Value, None] = field(default_factory=dict)
    before: int = 0  # bit set of the drafts that must run earlier


def partition(graph: Graph, can_fuse: Callable[[Node], bool]) -> Partition:
    """Partition ``graph``; ``can_fuse(node)`` says whether the back end can compute the node inside
    a kernel. Of the partitions tried, the one that moves the fewest bytes.
    """
    best = _Partitioner(graph, can_fuse).run()
    stored = worth_storing(best)
    if stored:
        other = _Partitioner(graph, can_fuse, stored).run()
        if bytes_moved(other) < bytes_moved(best):
            best = other
    return best


def classify(node: Node, can_fuse: Callable[[Node], bool]) -> str:
    """constant, view, map, reduce, library, lower, host, loop, stencil or control."""
    prim = node.prim
    if prim.name == "constant":
        return "constant"
    if prim.name in VIEWS and isinstance(node.inputs[0], Value):
        return "view"
    if prim.name in CONTROL:
        if not isinstance(_loop_form(node, can_fuse), str):
            return "loop"
        return "control" if isinstance(tiled(node, can_fuse), str) else "stencil"
    if can_fuse(node):
        lowers = getattr(can_fuse, "lowers", None)
        if _prefers_lower(node) or lowers is not None and lowers(node):
            return "lower"
        if prim.reduce is not None:
            return "reduce"
        if prim.element is not None:
            return "map"
        if prim.library is not None:
            return "library"
        if prim.lower is not None:
            return "lower"
    return "host"


def _prefers_lower(node: Node) -> bool:
    """Whether a kernel of its own is worth more than fusing an element rule: changing the operand
    in place, or loops that compute once what each element would.
    """
    prim, types = node.prim, (x.type for x in node.inputs)
    if prim.lowers is None:
        return prim.updates and prim.library is None
    return prim.element is not None and bool(prim.lowers(*types, **node.params))


def _loop_form(node: Node, can_fuse: Callable[[Node], bool]) -> LoopForm | str:
    """How a loop becomes one kernel, or why it does not; a branch has neither."""
    return recognise(node, can_fuse) if node.prim.name in ("scan", "while") else ""


class _Partitioner:
    def __init__(
        self,
        graph: Graph,
        can_fuse: Callable[[Node], bool],
        stored: frozenset[Value] = frozenset(),
    ) -> None:
        self.graph = graph
        self.can_fuse = can_fuse
        self.stored = stored
        self.kinds = {node: classify(node, can_fuse) for node in graph.nodes}
        self.views: dict[Value, Value] = {}
        for node in graph.nodes:
            if self.kinds[node] == "view":
                source = node.inputs[0]
                assert isinstance(source, Value)
                self.views[node.outputs[0]] = self.base(source)
        self.cost: dict[Value, int] = {}
        self.depth: dict[Value, int] = {}
        self.roots = self.choose_roots()
        self.drafts: list[Draft] = []
        self.owner: dict[Value, Draft] = {}
        self.readers: dict[Value, list[Draft]] = {}
        self.awaited = 0  # bit set of the drafts that others come after
        self.position = {node: k for k, node in enumerate(graph.nodes)}
        self.results = {self.base(x) for x in graph.outputs if isinstance(x, Value)}

    def base(self, value: Value) -> Value:
        return self.views.get(value, value)

    # ---- which values get a buffer ----

    def choose_roots(self) -> set[Value]:
        """Values that are computed once: results of the graph, operands of opaque nodes,
        reductions, shared heavy ones.
        """
        roots = {self.base(x) for x in self.graph.outputs if isinstance(x, Value)}
        roots.update(map(self.base, self.stored))
        for node in self.graph.nodes:
            kind = self.kinds[node]
            if kind not in ("constant", "view", "map", "reduce", "loop"):
                roots.update(self.base(x) for x in node.inputs if isinstance(x, Value))
            if kind not in ("view", "map"):
                roots.update(node.outputs)
        uses = {value: len(users) for value, users in self.graph.users.items()}
        for node in self.graph.nodes:
            if self.kinds[node] == "loop":
                roots.update(self.base(x) for x in self._loop_buffers(node, roots))
            if self.kinds[node] not in ("map", "view", "reduce"):
                continue
            if _expands(node) and not self._unrolled(node):
                for x in node.inputs:
                    if isinstance(x, Value) and self.cost.get(self.base(x), 0) > 2:
                        roots.add(self.base(x))
            cost = self._own_cost(node) + sum(
                0 if (b := self.base(x)) in roots else self.cost.get(b, 0)
                for x in set(node.inputs)
                if isinstance(x, Value)
            )
            inner = (x for x in node.inputs if isinstance(x, Value) and self.base(x) not in roots)
            depth = 1 + max((self.depth.get(x, 0) for x in inner), default=0)
            for out in node.outputs:
                self.depth[out] = depth
                if self.kinds[node] == "map":
                    self.cost[out] = cost
                    shared = uses.get(out, 0) > 1 and cost > RECOMPUTE_LIMIT
                    if shared or cost > EXPRESSION_LIMIT or depth > DEPTH_LIMIT:
                        roots.add(out)
        return roots

    def _loop_buffers(self, node: Node, roots: set[Value]) -> Iterable[Value]:
        """The operands that a loop in one kernel reads from memory."""
        form = _loop_form(node, self.can_fuse)
        assert isinstance(form, LoopForm)

        def is_buffer(value: Value) -> bool:
            return self.base(value) in roots or value not in self.graph.producer

        puller = Puller(self.graph.producer, stop=is_buffer, name=lambda v: "x")

        def pull(value: Value, index: tuple[Expr, ...]) -> Expr | None:
            cost = self.cost.get(self.base(value), RECOMPUTE_LIMIT)
            if is_buffer(value) or cost >= RECOMPUTE_LIMIT:
                return None
            return puller.read(value, index)

        return buffers(node, form, pull)

    def _unrolled(self, node: Node) -> bool:
        """Whether ``node`` repeats elements only along a short last axis of what is folded next: a
        kernel has one copy of its body for each, and computes once what they share.
        """
        x, out = node.inputs[0], node.outputs[0]
        return (
            node.prim.name == "broadcast_in_dim"
            and node.params["dims"] == tuple(range(out.type.ndim - 1))
            and x.type.shape == out.type.shape[:-1]
            and out.type.shape[-1] <= FEW
            and feeds_fold(out, self.graph, STEPS)
        )

    def _own_cost(self, node: Node) -> int:
        if node.prim.heavy:
            return 10
        if node.prim.spell is None and node.prim.name in ("random_bits", "threefry2x32"):
            return 100
        return 1

    # ---- groups ----

    def run(self) -> Partition:
        for node in self.graph.nodes:
            kind = self.kinds[node]
            if kind in ("view", "constant"):
                continue
            if kind in ("map", "reduce"):
                for out in node.outputs:
                    if out in self.roots:
                        self.place(out, node, kind)
            else:
                self.place_opaque(node, kind)
        self.update_last()
        ordered = self.order()
        groups = tuple(self.finish(draft) for draft in ordered)
        return Partition(self.graph, groups, self.views, self.reasons())

    def new_draft(self, kind: str, **given: object) -> Draft:
        draft = Draft(kind, len(self.drafts), **given)  # type: ignore[arg-type]
        self.drafts.append(draft)
        return draft

    def place_opaque(self, node: Node, kind: str) -> None:
        draft = self.new_draft(kind, node=node, roots=list(node.outputs))
        if kind == "loop" and node.outputs:
            for value in self.boundary(node.outputs[0]):
                self.note_read(draft, value)
        else:
            for x in node.inputs:
                if isinstance(x, Value):
                    self.note_read(draft, self.base(x))
        for out in node.outputs:
            self.owner[out] = draft
        draft.before |= self._effects_before(node)
        self.awaited |= draft.before

    def _effects_before(self, node: Node) -> int:
        """Nodes with effects stay in order."""
        if not node.prim.effect:
            return 0
        bits = 0
        for other in self.drafts[:-1]:
            if other.node is not None and other.node.prim.effect:
                bits |= other.before | 1 << other.number
        return bits

    def note_read(self, draft: Draft, value: Value) -> None:
        if value in draft.reads:
            return
        draft.reads[value] = None
        self.readers.setdefault(value, []).append(draft)
        source = self.owner.get(value)
        if source is not None and source is not draft:
            self.run_after(draft, source)

    def run_after(self, draft: Draft, source: Draft) -> None:
        """``draft`` and all that come after it come after ``source``."""
        bits = source.before | 1 << source.number
        if draft.before & bits == bits:
            return
        mine = 1 << draft.number
        draft.before |= bits
        self.awaited |= bits
        if self.awaited & mine:  # seldom: nothing comes after the newest draft
            for other in self.drafts:
                if other.before & mine:
                    other.before |= bits

    def boundary(self, root: Value) -> dict[Value, None]:
        """Buffers that the expression of ``root`` reads, in order of first use."""
        found: dict[Value, None] = {}
        seen: set[Value] = set()
        stack = [x for x in reversed(self.graph.producer[root].inputs) if isinstance(x, Value)]
        while stack:
            value = stack.pop()
            source = self.base(value)
            if source in self.roots or source not in self.graph.producer:
                found[source] = None
            elif source not in seen:
                seen.add(source)
                inputs = self.graph.producer[source].inputs
                stack.extend(x for x in reversed(inputs) if isinstance(x, Value))
        return found

    def place(self, root: Value, node: Node, kind: str) -> None:
        """Put ``root`` into an existing group, or open one for it."""
        reads = self.boundary(root)
        if kind == "reduce":
            space, reduced = node.inputs[0].type.shape, tuple(sorted(node.params["axes"]))
        else:
            space, reduced = root.type.shape, ()
        for draft in self.candidates(reads):
            joined = self.joined_space(draft, root, space, reduced)
            if joined is not None and self.may_join(draft, root, reads, joined):
                draft.space, draft.reduced = joined
                break
        else:
            draft = self.new_draft("fused", space=space, reduced=reduced)
        draft.roots.append(root)
        self.owner[root] = draft
        for value in reads:
            if self.owner.get(value) is not draft:
                self.note_read(draft, value)

    def candidates(self, reads: Iterable[Value]) -> list[Draft]:
        """Groups that make or read what is read here: first those that share the most bytes, of
        equals the latest.
        """
        shared: dict[Draft, int] = {}
        for value in reads:
            near = [self.owner[value]] if value in self.owner else []
            for draft in dict.fromkeys((*near, *self.readers.get(value, ())[-6:])):
                if draft.kind == "fused":
                    shared[draft] = shared.get(draft, 0) + value.type.nbytes
        order = sorted(shared, key=lambda draft: (-shared[draft], -draft.number))
        return order[:8]

    def joined_space(
        self, draft: Draft, root: Value, space: tuple[int, ...], reduced: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The space of ``draft`` with ``root`` in it, or None where they do not fit."""
        if reduced:  # a reduction over the same space, or over a map's space along its last axes
            if space != draft.space:
                return None
            if draft.reduced:
                return (space, reduced) if draft.reduced == reduced else None
            return (space, reduced) if is_trailing(space, reduced) else None
        if not draft.reduced:
            return (draft.space, ()) if space == draft.space else None
        rows = tuple(n for axis, n in enumerate(draft.space) if axis not in draft.reduced)
        ones = tuple(1 if axis in draft.reduced else n for axis, n in enumerate(draft.space))
        if space in (rows, ones):
            return draft.space, draft.reduced
        if space == draft.space and is_trailing(space, draft.reduced):
            return draft.space, draft.reduced
        return None

    def may_join(
        self,
        draft: Draft,
        root: Value,
        reads: dict[Value, None],
        joined: tuple[tuple[int, ...], tuple[int, ...]],
    ) -> bool:
        mine = 1 << draft.number
        for value in reads:
            source = self.owner.get(value)
            if source is not None and source is not draft and source.before & mine:
                return False  # a cycle
        if len({*draft.reads, *reads, *draft.roots}) >= BUFFER_LIMIT:
            return False
        space, reduced = joined
        inner = [value for value in reads if self.owner.get(value) is draft]
        if not inner and not any(
            _worth_sharing(value, space) for value in reads if value in draft.reads
        ):
            return False
        if reduced and self._mixes_levels(draft, root, space):
            rows = math.prod(n for axis, n in enumerate(space) if axis not in reduced)
            if rows < MIN_ROWS and math.prod(space) > SMALL_SPACE:
                return False
        return not inner or self.aligned(draft, root, space, reduced)

    def _mixes_levels(self, draft: Draft, root: Value, space: tuple[int, ...]) -> bool:
        """Whether the group would hold both reductions and maps of the whole space."""
        shapes = {r.type.shape for r in (*draft.roots, root)}
        return space in shapes

    def aligned(
        self, draft: Draft, root: Value, space: tuple[int, ...], reduced: tuple[int, ...]
    ) -> bool:
        """Whether ``root`` reads the group's own values only at the element that is being
        computed.
        """
        names = {value: f"r{k}" for k, value in enumerate(draft.roots)}
        puller = Puller(
            self.graph.producer,
            stop=lambda v: v in names or self.base(v) not in names and self.is_buffer(v),
            name=lambda v: names.get(v, "outside"),
        )
        index = space_index(space)
        shape_of = {names[v]: v.type.shape for v in draft.roots}
        try:
            expr = pull_root(puller, self.graph, root, index, space, reduced)
        except RecursionError:
            return False
        for load in walk(expr):
            if isinstance(load, Load) and load.buffer in shape_of:
                if load.index != index_for(shape_of[load.buffer], index, space, reduced):
                    return False
        return True

    def is_buffer(self, value: Value) -> bool:
        source = self.base(value)
        return source in self.roots or source not in self.graph.producer

    # ---- the finished groups ----

    def update_last(self) -> None:
        """What updates a value in place runs after all that read the value, where it can."""
        for draft in self.drafts:
            calls = draft.kind in ("lower", "library")
            if draft.node is not None and calls and draft.node.prim.updates:
                updated = draft.node.inputs[0]
                assert isinstance(updated, Value)
                for reader in self.readers.get(self.base(updated), ()):
                    if reader is not draft and not reader.before >> draft.number & 1:
                        self.run_after(draft, reader)

    def order(self) -> list[Draft]:
        """Drafts in an order that respects ``before``, close to the order of the graph."""
        at = self.position
        last = {
            d.number: max((at[self.graph.producer[r]] for r in d.roots), default=0)
            for d in self.drafts
        }
        waiting = sorted(self.drafts, key=lambda d: (last[d.number], d.number))
        found: list[Draft] = []
        done = 0
        while waiting:
            # nearly always the first one
            ready = (k for k, d in enumerate(waiting) if not d.before & ~done)
            draft = waiting.pop(next(ready))
            done |= 1 << draft.number
            found.append(draft)
        return found

    def finish(self, draft: Draft) -> Group:
        if draft.kind != "fused":
            node = draft.node
            assert node is not None
            inputs = tuple(dict.fromkeys(x for x in node.inputs if isinstance(x, Value)))
            if draft.kind == "stencil":
                steps = tiled(node, self.can_fuse)
                assert isinstance(steps, StencilForm)
                outs = node.outputs
                return Group("stencil", (node,), inputs, outs, outs, steps.space, form=steps)
            form = _loop_form(node, self.can_fuse) if draft.kind in ("loop", "control") else ""
            if isinstance(form, LoopForm):
                used = {*self.graph.users, *self.graph.outputs}
                outputs = tuple(out for out in node.outputs if out in used)
                nodes, inputs = self.members(draft)
                nodes = (node, *(n for n in nodes if n is not node))
                return Group("loop", nodes, inputs, outputs, outputs, form.space, form=form)
            parts = (
                tuple(partition(sub, self.can_fuse) for sub in node.subgraphs)
                if draft.kind == "control"
                else ()
            )
            return Group(
                draft.kind, (node,), inputs, node.outputs, node.outputs, parts=parts, reason=form
            )
        outputs = tuple(
            root
            for root in draft.roots
            if root in self.results or any(d is not draft for d in self.readers.get(root, ()))
        )
        nodes, inputs = self.members(draft)
        return Group(
            "fused", nodes, inputs, outputs, tuple(draft.roots), draft.space, draft.reduced
        )

    def members(self, draft: Draft) -> tuple[tuple[Node, ...], tuple[Value, ...]]:
        """The nodes computed inside the group, and the values it reads from buffers (views as
        such).
        """
        own = set(draft.roots)
        inside: set[Node] = set()
        inputs: dict[Value, None] = {}
        stack: list[Value] = list(reversed(draft.roots))
        seen: set[Value] = set()
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            if value not in own and self.base(value) not in own and self.is_buffer(value):
                inputs[value] = None
                continue
            node = self.graph.producer[value]
            inside.add(node)
            stack.extend(x for x in reversed(node.inputs) if isinstance(x, Value))
        return tuple(sorted(inside, key=self.position.__getitem__)), tuple(inputs)

    def reasons(self) -> tuple[tuple[Value, str, str], ...]:
        """For each edge between groups, why its ends are not one group."""
        found = []
        for draft in self.drafts:
            for value in draft.reads:
                source = self.owner.get(value)
                if source is not None and source is not draft:
                    found.append((value, _title(draft), _reason(source, draft)))
        return tuple(found)


def _title(draft: Draft) -> str:
    return draft.node.prim.name if draft.node is not None else f"kernel over {list(draft.space)}"


def _reason(source: Draft, draft: Draft) -> str:
    for end in (source, draft):
        if end.kind != "fused" and end.node is not None:
            return f"{end.node.prim.name} is a {end.kind} call"
    if source.space != draft.space:
        return f"spaces differ: {list(source.space)} and {list(draft.space)}"
    if source.reduced != draft.reduced:
        return f"reduced axes differ: {source.reduced} and {draft.reduced}"
    return "elements are not read where they are made, or too few rows for a chain"


def _expands(node: Node) -> bool:
    """Whether elements of an operand are read more often than once or twice."""
    if node.prim.name.startswith(("gather", "reduce_window", "select_and")):
        return True
    size = node.outputs[0].type.size
    return node.prim.reduce is None and any(
        isinstance(x, Value) and size >= 2 * max(x.type.size, 1) and x.type.size > 1
        for x in node.inputs
    )


def _worth_sharing(value: Value, space: tuple[int, ...]) -> bool:
    return value.type.size * 4 >= math.prod(space)
