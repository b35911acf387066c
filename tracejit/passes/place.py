"""The memory plan: what runs in which order, and where every buffer lies.

    plan = place_buffers(partition)     Plan(steps, slots, storages, peak)

Steps name their buffers by *slot*, an entry of the table of pointers that the program works on. A
slot starts at a *storage*: an argument, a result, a constant or a piece of the arena. A loop
updates a carry in place where its body allows it, else it exchanges the slots of old and new carry
instead of copying; it moves slots along the leading axis of a scan's operands. Storages of the
arena get offsets by their lifetimes, largest first.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import field

from tracejit.ir.graph import Node, Value
from tracejit.ir.types import TensorType
from tracejit.passes.groups import Group, Partition
from tracejit.passes.inplace import Chains, carried, operands_in_place
from tracejit.record import dataclass
from tracejit.source import Position

#: bytes that buffers are aligned to: a line of a CPU's cache, unless a plan is asked for more
ALIGN = 64


@dataclass
class Storage:
    """A piece of memory. ``kind``: in, out, const, arena, or zero (see ``kernel/scratch.py``);
    ``number``: which argument, result or constant.
    """

    kind: str
    number: int
    nbytes: int
    first: int = 0
    last: int = 0
    offset: int = 0
    names: list[str] = field(default_factory=list)
    at: Position | None = None


@dataclass(frozen=True)
class Slot:
    """An entry of the pointer table. It starts at ``storage``; after exchanges it is in one of
    ``storages``.
    """

    number: int
    type: TensorType
    storage: int | None
    storages: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """Run a group: a kernel, a library call or a host function."""

    group: Group
    partition: Partition
    reads: tuple[int, ...]
    writes: tuple[int, ...]


@dataclass(frozen=True)
class Copy:
    """Copy ``nbytes``, unless both slots point to the same place."""

    target: int
    source: int
    nbytes: int


@dataclass(frozen=True)
class WhileLoop:
    """Run ``cond``; while the bool at ``flag`` holds run ``body``, exchange the slots in ``swaps``,
    run ``cond`` again.
    """

    cond: tuple[Step, ...]
    flag: int
    body: tuple[Step, ...]
    swaps: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ScanLoop:
    """``length`` times: point each slot in ``moves`` to its base slot + step * stride bytes, run
    ``body``, exchange ``swaps``.
    """

    length: int
    reverse: bool
    moves: tuple[tuple[int, int, int], ...]
    body: tuple[Step, ...]
    swaps: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Branch:
    """Run the branch that the i32 at ``index`` names, clamped."""

    index: int
    branches: tuple[tuple[Step, ...], ...]


Step = Run | Copy | WhileLoop | ScanLoop | Branch


@dataclass(frozen=True)
class Plan:
    """``arena``: bytes to allocate; ``live``: the most bytes alive at once, the least any plan
    could do with.
    """

    steps: tuple[Step, ...]
    slots: tuple[Slot, ...]
    storages: tuple[Storage, ...]
    constants: tuple[Node, ...]
    arena: int
    live: int

    def __str__(self) -> str:
        rows = [f"arena {self.arena} bytes, at most {self.live} alive at once"]
        rows.append(
            f"{'memory':<10}{'bytes':>12}{'offset':>12}{'birth':>7}{'death':>7}  values, line"
        )
        for s in self.storages:
            where = str(s.offset) if s.kind == "arena" else ""
            line = f"  # {s.at.short()}" if s.at is not None else ""
            name = s.kind if s.kind == "arena" else f"{s.kind} {s.number}"
            chain = " -> ".join(s.names)
            rows.append(
                f"{name:<10}{s.nbytes:>12}{where:>12}{s.first:>7}{s.last:>7}  {chain}{line}"
            )
        return "\n".join(rows)


def place_buffers(partition: Partition, align: int = ALIGN) -> Plan:
    """Plan the memory of a partitioned graph, sub-graphs included; in the arena, storages begin at
    multiples of ``align``.
    """
    planner = _Planner(align)
    graph = partition.graph
    for k, v in enumerate(graph.inputs):
        planner.new_slot(v, planner.new_storage("in", k, v.type, v.name))
    for k, y in enumerate(graph.outputs):
        assert isinstance(y, Value)
        planner.new_slot(partition.base(y), planner.new_storage("out", k, y.type, ""))
    steps = planner.visit(partition)
    planner.tick()
    arena = assign_offsets([s for s in planner.storages if s.kind == "arena"])
    return Plan(
        steps,
        tuple(planner.slots),
        tuple(planner.storages),
        tuple(planner.constants),
        arena,
        most_alive([s for s in planner.storages if s.kind == "arena"]),
    )


class _Planner:
    def __init__(self, align: int) -> None:
        self.align = align
        self.slots: list[Slot] = []
        self.storages: list[Storage] = []
        self.constants: list[Node] = []
        self.slot_of: dict[Value, int] = {}
        self.time = 0
        # storages that several values hold at one time: results do not take their place
        self.shared: set[int] = set()
        # values whose memory is promised to what is made from them
        self.given: set[Value] = set()
        # open loops: when each began, and the storages touched since
        self.scopes: list[tuple[int, set[int]]] = []

    # ---- slots and storages ----

    def tick(self) -> int:
        self.time += 1
        return self.time

    def new_storage(
        self, kind: str, number: int, type: TensorType, name: str, at: Position | None = None
    ) -> int:
        nbytes = -(-max(type.nbytes, 1) // self.align) * self.align
        names = [f"{name or 'value'}: {type}"]
        self.storages.append(Storage(kind, number, nbytes, self.time, self.time, 0, names, at))
        return len(self.storages) - 1

    def new_slot(
        self,
        value: Value | None,
        storage: int | None,
        also: Sequence[int] = (),
        type: TensorType | None = None,
    ) -> int:
        number = len(self.slots)
        storages = tuple(dict.fromkeys((*(() if storage is None else (storage,)), *also)))
        slot_type = value.type if value is not None else type
        assert slot_type is not None
        self.slots.append(Slot(number, slot_type, storage, storages))
        if value is not None:
            self.slot_of[value] = number
        return number

    def touch(self, slot: int) -> None:
        """The slot's memory is alive now."""
        for storage in self.slots[slot].storages:
            self.storages[storage].last = self.time
            for _, touched in self.scopes:
                touched.add(storage)

    def slot(self, partition: Partition, value: Value) -> int:
        return self.slot_of[partition.base(value)]

    # ---- steps ----

    def visit(self, partition: Partition) -> tuple[Step, ...]:
        for node in partition.graph.nodes:
            if node.prim.name == "constant" and node.outputs[0] not in self.slot_of:
                out = node.outputs[0]
                storage = self.new_storage(
                    "const", len(self.constants), out.type, "constant", node.at
                )
                self.new_slot(out, storage)
                self.constants.append(node)
        self.forget(partition)
        self.share_with_results(partition)
        ends: dict[int, set[Value]] = {}
        for value, use in self.last_uses(partition).items():
            ends.setdefault(use, set()).add(value)
        steps: list[Step] = []
        for k, group in enumerate(partition.groups):
            self.tick()
            dying = ends.get(k, set())
            if group.kind == "control":
                steps += getattr(self, "visit_" + group.node.prim.name)(group, partition, dying)
                continue
            for v in group.inputs:
                self.touch(self.slot(partition, v))
            for out in group.outputs:
                self.output_slot(out, group, partition, dying)
            reads = tuple(self.slot(partition, v) for v in group.reads)
            writes = tuple(self.slot(partition, v) for v in group.outputs)
            for slot in writes:
                self.touch(slot)
            if group.updates:  # what is updated is there first
                source = self.slot(partition, group.inputs[0])
                if source != writes[0]:
                    steps.append(Copy(writes[0], source, group.outputs[0].type.nbytes))
            steps.append(Run(group, partition, reads, writes))
        self.tick()
        for y in partition.graph.outputs:
            if isinstance(y, Value):
                self.touch(self.slot(partition, y))
        return tuple(steps)

    def forget(self, partition: Partition) -> None:
        """Where values lay when this graph, the body of several loops, was planned before. Those
        of its results are known anew.
        """
        results = {partition.base(y) for y in partition.graph.outputs if isinstance(y, Value)}
        for group in partition.groups:
            for out in group.outputs:
                if out not in results:
                    self.slot_of.pop(out, None)
                    self.given.discard(out)

    def share_with_results(self, partition: Partition) -> None:
        """Values that results are made from in place lie where the results will, and give their
        memory to nothing else.
        """
        chains = Chains(partition)
        for y in partition.graph.outputs:
            if isinstance(y, Value) and (base := partition.base(y)) in self.slot_of:
                for v in chains.of(base)[1:]:
                    if v in chains.made:
                        self.slot_of.setdefault(v, self.slot_of[base])
                        self.given.add(v)

    def last_uses(self, partition: Partition) -> dict[Value, int]:
        """The last group that reads each value made in this partition; results are read after
        all.
        """
        last: dict[Value, int] = {}
        for k, group in enumerate(partition.groups):
            last.update((partition.base(v), k) for v in group.inputs)
        for y in partition.graph.outputs:
            if isinstance(y, Value):
                last.pop(partition.base(y), None)
        made = {out for group in partition.groups for out in group.outputs}
        return {v: k for v, k in last.items() if v in made}

    def output_slot(
        self, out: Value, group: Group, partition: Partition, dying: set[Value]
    ) -> None:
        """A slot for a result: a dying operand's memory where the kernel works in place, else
        memory of its own.
        """
        if out in self.slot_of:
            return
        node = partition.graph.producer[out]
        for v in operands_in_place(group, partition, out):
            source = partition.base(v)
            if source in dying and (storage := self.own_storage(source)) is not None:
                dying.discard(source)
                self.storages[storage].names.append(f"{node.prim.name}: {out.type}")
                if group.updates:
                    self.slot_of[out] = self.slot_of[source]
                else:
                    self.new_slot(out, storage)
                return
        self.new_slot(out, self.new_storage("arena", 0, out.type, node.prim.name, node.at))

    def own_storage(self, value: Value) -> int | None:
        """The piece of the arena that holds ``value`` and nothing else, if there is one."""
        storages = self.slots[self.slot_of[value]].storages if value not in self.given else ()
        own = len(storages) == 1 and storages[0] not in self.shared
        return storages[0] if own and self.storages[storages[0]].kind == "arena" else None

    def result_slots(self, group: Group) -> list[int]:
        """Slots of a structured node's results, made where they do not exist."""
        for out in group.outputs:
            if out not in self.slot_of:
                node = group.node
                self.new_slot(out, self.new_storage("arena", 0, out.type, node.prim.name, node.at))
            self.touch(self.slot_of[out])
        return [self.slot_of[out] for out in group.outputs]

    def open_scope(self) -> None:
        self.scopes.append((self.time, set()))
        self.tick()

    def close_scope(self) -> None:
        """What was there before a loop and is touched by it stays alive to its end: the loop comes
        back to it.
        """
        self.tick()
        began, touched = self.scopes.pop()
        for storage in touched:
            if self.storages[storage].first <= began:
                self.storages[storage].last = self.time
                for _, outer in self.scopes:
                    outer.add(storage)

    def bind_inputs(self, part: Partition, slots: Sequence[int]) -> None:
        for v, slot in zip(part.graph.inputs, slots, strict=True):
            self.slot_of[v] = slot
            self.touch(slot)

    def operands(self, group: Group, partition: Partition) -> list[int]:
        found = [self.slot(partition, x) for x in group.node.inputs if isinstance(x, Value)]
        for slot in found:
            self.touch(slot)
        return found

    def carry(
        self, group: Group, partition: Partition, operands: Sequence[int], dying: set[Value]
    ) -> tuple[list[int], list[Step], list[tuple[int, int]]]:
        """Slots of the carried values, copies of their first values, and which slots to exchange
        after each step.
        """
        node, body = group.node, group.parts[-1]
        first, n = node.params["n_consts"], carried(body.graph, node.params)
        current: list[int] = []
        copies: list[Step] = []
        swaps: list[tuple[int, int]] = []
        chains = Chains(body)
        bases = [partition.base(x) for x in node.inputs if isinstance(x, Value)]
        for k, init in enumerate(operands[first : first + n]):
            x, y, out = body.graph.inputs[first + k], body.graph.outputs[k], group.outputs[k]
            assert isinstance(y, Value)
            if y is x:  # handed on: no memory of its own, never written
                self.shared.update(self.slots[init].storages)
                current.append(init)
                continue
            free = bases[first + k] in dying and bases.count(bases[first + k]) == 1
            spare = self.own_storage(bases[first + k]) if free else None
            if spare is not None:  # nobody reads the first value later: the carry begins there
                dying.discard(bases[first + k])
            home = self.slot_of.get(out)
            if chains.of(body.base(y))[-1] is x:
                a = self.one_carry(out, init, spare, home, node.at)
                self.slot_of[body.base(y)] = a
            else:
                old, new = self.two_carries(node, out, spare, home)
                a = self.new_slot(None, old, (new,), out.type)
                b = self.new_slot(None, new, (old,), out.type)
                self.slot_of[body.base(y)] = b
                swaps.append((a, b))
            if a != init and (spare is None or self.slots[a].storage != spare):  # not there yet
                copies.append(Copy(a, init, out.type.nbytes))
            current.append(a)
            self.touch(a)
        return current, copies, swaps

    def one_carry(
        self, out: Value, init: int, spare: int | None, home: int | None, at: Position | None
    ) -> int:
        """The slot of a carry that is updated in place: where the result shall be, or where the
        first value is if nobody needs that any more.
        """
        if home is not None:
            return home
        if spare is not None:
            return init
        return self.new_slot(
            None, self.new_storage("arena", 0, out.type, "carry", at), (), out.type
        )

    def two_carries(
        self, node: Node, out: Value, spare: int | None, home: int | None
    ) -> tuple[int, int]:
        """Storages of a carry's old and new value. The result's own memory is one of them, the one
        that holds the last value if that is known; where it is a slice that an outer loop moves, or
        one of two, the result is copied there.
        """
        result = self.slots[home] if home is not None else None
        place = result.storage if result is not None and len(result.storages) == 1 else None
        length = node.params.get("length", 1)
        odd = node.prim.name == "scan" and length % 2 == 1
        # in an outer loop slots exchanged an odd number of times begin the wrong way round
        old, new = (None if self.scopes and length % 2 else spare), None
        if place is not None:
            if old is None and not odd:
                old = place
            else:
                new = place
        if old is None:
            old = self.new_storage("arena", 0, out.type, "carry", node.at)
        if new is None:
            new = self.new_storage("arena", 0, out.type, "next carry", node.at)
        return old, new

    def finish_carry(self, outs: Sequence[Value], current: Sequence[int]) -> list[Step]:
        """Results of a loop: its carry slots themselves, or copies where a result has its own
        memory.
        """
        steps: list[Step] = []
        for out, slot in zip(outs, current, strict=True):
            if out in self.slot_of:
                self.touch(self.slot_of[out])
                self.touch(slot)
                if slot != self.slot_of[out]:
                    steps.append(Copy(self.slot_of[out], slot, out.type.nbytes))
            else:
                self.slot_of[out] = slot
        return steps

    def visit_while(self, group: Group, partition: Partition, dying: set[Value]) -> list[Step]:
        cond, body = group.parts
        operands, n = self.operands(group, partition), group.node.params["n_consts"]
        current, copies, swaps = self.carry(group, partition, operands, dying)
        self.open_scope()
        self.bind_inputs(cond, [*operands[:n], *current])
        self.bind_inputs(body, [*operands[:n], *current])
        cond_steps = self.visit(cond)
        flag_value = cond.graph.outputs[0]
        assert isinstance(flag_value, Value)
        flag = self.slot(cond, flag_value)
        body_steps = self.visit(body)
        for a, _ in swaps:
            self.touch(a)
        self.touch(flag)
        self.close_scope()
        loop = WhileLoop(cond_steps, flag, body_steps, tuple(swaps))
        return [*copies, loop, *self.finish_carry(group.outputs, current)]

    def visit_scan(self, group: Group, partition: Partition, dying: set[Value]) -> list[Step]:
        node, (body,) = group.node, group.parts
        p = node.params
        c, s = p["n_consts"], p["n_consts"] + p["n_carry"]
        operands = self.operands(group, partition)
        current, copies, swaps = self.carry(group, partition, operands, dying)
        moves: list[tuple[int, int, int]] = []
        slices: list[int] = []
        for v, base in zip(body.graph.inputs[s:], operands[s:], strict=True):
            slot = self.new_slot(None, None, self.slots[base].storages, v.type)
            moves.append((slot, base, v.type.nbytes))
            slices.append(slot)
        stacked = group.outputs[p["n_carry"] :]
        for y, out in zip(body.graph.outputs[p["n_carry"] :], stacked, strict=True):
            assert isinstance(y, Value)
            if out not in self.slot_of:
                self.new_slot(out, self.new_storage("arena", 0, out.type, "scan", node.at))
            base = self.slot_of[out]
            slot = self.new_slot(None, None, self.slots[base].storages, y.type)
            self.slot_of[body.base(y)] = slot
            moves.append((slot, base, y.type.nbytes))
        self.open_scope()
        self.bind_inputs(body, [*operands[:c], *current, *slices])
        for slot, base, _ in moves:
            self.touch(base)
            self.touch(slot)
        body_steps = self.visit(body)
        for a, _ in swaps:
            self.touch(a)
        self.close_scope()
        loop = ScanLoop(p["length"], p["reverse"], tuple(moves), body_steps, tuple(swaps))
        return [*copies, loop, *self.finish_carry(group.outputs[: p["n_carry"]], current)]

    def visit_cond(self, group: Group, partition: Partition, dying: set[Value]) -> list[Step]:
        operands = self.operands(group, partition)
        results = self.result_slots(group)
        self.open_scope()
        branches: list[tuple[Step, ...]] = []
        for part in group.parts:
            self.bind_inputs(part, operands[1:])
            for y, slot in zip(part.graph.outputs, results, strict=True):
                assert isinstance(y, Value)
                self.slot_of[part.base(y)] = slot
                self.touch(slot)
            branches.append(self.visit(part))
        self.close_scope()
        return [Branch(operands[0], tuple(branches))]


# ---- offsets -------------------------------------------------------------------------------------


#: in which order storages are laid out: largest first is best most times, and one of these nearly
#: always
ORDERS: tuple[Callable[[Storage], tuple[int, ...]], ...] = (
    lambda s: (-s.nbytes, s.first),
    lambda s: (-s.nbytes * (s.last - s.first + 1),),
    lambda s: (s.first - s.last, -s.nbytes),
    lambda s: (s.first, -s.nbytes),
)


def assign_offsets(storages: Sequence[Storage]) -> int:
    """Lay storages out so that those alive together do not overlap; returns the size of the arena.

    The order of ORDERS that needs least; the first one where it needs no more than is alive at
    once.
    """
    least = most_alive(storages)
    best: tuple[int, dict[int, int]] | None = None
    for order in ORDERS:
        size, offsets = lay_out(sorted(storages, key=order))
        if best is None or size < best[0]:
            best = size, offsets
        if size <= least:
            break
    assert best is not None
    for storage in storages:
        storage.offset = best[1][id(storage)]
    return best[0]


def lay_out(storages: Sequence[Storage]) -> tuple[int, dict[int, int]]:
    """Each storage in turn at the lowest gap that fits; the size of all, and the offset of each by
    its id.

    After Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020.
    """
    offsets: dict[int, int] = {}
    placed: list[tuple[int, int, Storage]] = []  # by offset
    size = 0
    for k, storage in enumerate(storages):
        offset = 0
        for start, _, other in placed:
            if other.first > storage.last or storage.first > other.last:
                continue
            if start - offset >= storage.nbytes:
                break
            offset = max(offset, start + other.nbytes)
        offsets[id(storage)] = offset
        insort(placed, (offset, k, storage))
        size = max(size, offset + storage.nbytes)
    return size, offsets


def most_alive(storages: Sequence[Storage]) -> int:
    """The most bytes alive at one time."""
    changes: dict[int, int] = {}
    for s in storages:
        changes[s.first] = changes.get(s.first, 0) + s.nbytes
        changes[s.last + 1] = changes.get(s.last + 1, 0) - s.nbytes
    most = alive = 0
    for time in sorted(changes):
        alive += changes[time]
        most = max(most, alive)
    return most
