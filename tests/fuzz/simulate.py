"""A memory plan carried out on names of values instead of numbers: what is read is what was meant.

check_values(partition, program)      AssertionError where a step reads, or a result holds, another
                                      value than the graph says

Each run of a group makes new names; loops run as often as they say, ``while`` loops as often as
``pick(4)``, branches by ``pick``. The graph says which name a group is to read, the plan where it
looks: what lies there must be that name, to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from tracejit.ir.graph import Value
from tracejit.kernel.program import KernelCall, Program
from tracejit.passes.groups import Group, Partition
from tracejit.passes.inplace import operands_in_place
from tracejit.passes.place import Branch, Copy, Run, ScanLoop, Step, WhileLoop

#: a name, and at which of its bytes
Name = tuple[int, int]
#: a piece of memory, and at which of its bytes
Place = tuple[Any, int]
Names = dict[Value, Name]

#: loops of many steps run this often
MOST_STEPS = 7


class Memory:
    """Which byte of which value is where."""

    def __init__(self) -> None:
        self.pieces: dict[Any, list[tuple[int, int, Name]]] = {}

    def write(self, place: Place, nbytes: int, name: Name | None) -> None:
        piece, start = place
        kept = []
        for low, high, (value, at) in self.pieces.get(piece, []):
            if low < start:
                kept.append((low, min(high, start), (value, at)))
            if high > start + nbytes:
                first = max(low, start + nbytes)
                kept.append((first, high, (value, at + first - low)))
        if name is not None and nbytes:
            kept.append((start, start + nbytes, name))
        self.pieces[piece] = [k for k in kept if k[0] < k[1]]

    def read(self, place: Place, nbytes: int) -> list[tuple[int, int, Name]]:
        """Parts of a region that hold something, from its start on."""
        piece, start = place
        found = []
        for low, high, (value, at) in sorted(self.pieces.get(piece, [])):
            first, end = max(low, start), min(high, start + nbytes)
            if first < end:
                found.append((first - start, end - start, (value, at + first - low)))
        return found

    def holds(self, place: Place, nbytes: int, name: Name) -> bool:
        at = 0
        for low, high, (value, first) in self.read(place, nbytes):
            if low != at or value != name[0] or first != name[1] + low:
                return False
            at = high
        return at == nbytes


def overlap(a: Place, n: int, b: Place, m: int) -> bool:
    return a[0] == b[0] and a[1] < b[1] + m and b[1] < a[1] + n


def check_values(
    partition: Partition,
    program: Program,
    reused: Iterable[tuple[int, int]] = (),
    pick: Callable[[int], int] = lambda n: 0,
) -> None:
    """``reused``: results that lie where an argument does."""
    _Simulation(program, dict(reused), pick).run(partition)


class _Simulation:
    def __init__(self, program: Program, reused: dict[int, int], pick: Callable[[int], int]):
        self.plan, self.pick = program.plan, pick
        self.memory = Memory()
        self.names = count()
        self.call_of = dict(zip(map(id, program.runs), program.calls, strict=True))
        self.constants: Names = {}
        self.slots: list[Place] = []
        for slot in self.plan.slots:
            place: Place = ("nowhere", 0)
            if slot.storage is not None:
                storage = self.plan.storages[slot.storage]
                place = (storage.kind, storage.number), storage.offset
                if storage.kind == "out" and storage.number in reused:
                    place = ("in", reused[storage.number]), 0
            self.slots.append(place)

    def fresh(self) -> Name:
        return next(self.names), 0

    def nbytes(self, slot: int) -> int:
        return self.plan.slots[slot].type.nbytes

    # ---- all of it ----

    def run(self, partition: Partition) -> None:
        names: Names = {}
        for k, value in enumerate(partition.graph.inputs):
            names[value] = self.fresh()
            self.memory.write((("in", k), 0), value.type.nbytes, names[value])
        for k, node in enumerate(self.plan.constants):
            value = node.outputs[0]
            self.constants[value] = self.fresh()
            self.memory.write((("const", k), 0), value.type.nbytes, self.constants[value])
        self.steps(partition, self.plan.steps, names)
        outs = {s.number: k for k, s in enumerate(self.plan.storages) if s.kind == "out"}
        for k, y in enumerate(partition.graph.outputs):
            slot = next(s for s in self.plan.slots if s.storage == outs[k])
            self.expect(slot.number, names[partition.base(y)], f"result {k}")

    def expect(self, slot: int, name: Name, what: str) -> None:
        nbytes = self.nbytes(slot)
        assert self.memory.holds(self.slots[slot], nbytes, name), (
            f"{what} is not in slot {slot} at {self.slots[slot]}, {nbytes} bytes: wanted {name}, "
            f"there is {self.memory.read(self.slots[slot], nbytes)}"
        )

    def steps(self, partition: Partition, steps: Sequence[Step], names: Names) -> None:
        """Carry out the steps of one partition; ``names`` are those of its values."""
        for node in partition.graph.nodes:
            if node.prim.name == "constant":
                names[node.outputs[0]] = self.constants[node.outputs[0]]
        groups: Iterator[Group] = iter(partition.groups)
        for step in steps:
            if isinstance(step, Copy):
                self.copy(step)
                continue
            group = next(groups)
            match step:
                case Run():
                    assert step.group is group
                    self.call(step, partition, names)
                case WhileLoop():
                    self.while_loop(step, group, partition, names)
                case ScanLoop():
                    self.scan_loop(step, group, partition, names)
                case Branch():
                    self.branch(step, group, partition, names)
        assert next(groups, None) is None

    # ---- steps ----

    def copy(self, step: Copy) -> None:
        target, source = self.slots[step.target], self.slots[step.source]
        if target == source:
            return
        assert not overlap(target, step.nbytes, source, step.nbytes), "a copy onto itself"
        found = self.memory.read(source, step.nbytes)
        self.memory.write(target, step.nbytes, None)
        for low, high, name in found:
            self.memory.write((target[0], target[1] + low), high - low, name)

    def call(self, step: Run, partition: Partition, names: Names) -> None:
        group, slots = step.group, self.slots
        for value, slot in zip(group.reads, step.reads, strict=True):
            self.expect(slot, names[partition.base(value)], f"operand {value} of {group}")
        if group.updates:
            updated = names[partition.base(group.inputs[0])]
            self.expect(step.writes[0], updated, f"what {group} updates")
        for out, slot in zip(group.outputs, step.writes, strict=True):
            allowed = set(operands_in_place(group, partition, out)) if not group.updates else ()
            for value, read in zip(group.reads, step.reads, strict=True):
                if overlap(slots[slot], self.nbytes(slot), slots[read], self.nbytes(read)):
                    assert slots[slot] == slots[read] and value in allowed, (
                        f"{group} writes to its operand {value}"
                    )
        self.apart(step)
        for slot in self.scratch(step):
            self.memory.write(slots[slot], self.nbytes(slot), self.fresh())
        for out, slot in zip(group.outputs, step.writes, strict=True):
            names[out] = self.fresh()
            self.memory.write(slots[slot], self.nbytes(slot), names[out])

    def scratch(self, step: Run) -> list[int]:
        """Slots of a call that only its kernels know."""
        call = self.call_of[id(step)]
        chain = call.chain if isinstance(call, KernelCall) else ()
        return sorted({s for part in chain for s in part.slots} - {*step.reads, *step.writes})

    def apart(self, step: Run) -> None:
        """Results and scratch do not overlap; scratch and operands do not."""
        scratch = self.scratch(step)
        written = [*step.writes, *scratch]
        pairs = [(a, b) for k, a in enumerate(written) for b in written[:k]]
        for a, b in [*pairs, *((a, b) for a in scratch for b in step.reads)]:
            assert not overlap(self.slots[a], self.nbytes(a), self.slots[b], self.nbytes(b)), (
                f"slots {a} and {b} of {step.group} overlap"
            )

    def operands(self, group: Group, partition: Partition, names: Names) -> list[Name]:
        return [names[partition.base(x)] for x in group.node.inputs if isinstance(x, Value)]

    def swap(self, pairs: Sequence[tuple[int, int]]) -> None:
        for a, b in pairs:
            self.slots[a], self.slots[b] = self.slots[b], self.slots[a]

    def part(self, part: Partition, steps: Sequence[Step], given: Sequence[Name]) -> list[Name]:
        """Names of the results of a sub-graph."""
        names = dict(zip(part.graph.inputs, given, strict=True))
        self.steps(part, steps, names)
        return [names[part.base(y)] for y in part.graph.outputs if isinstance(y, Value)]

    def while_loop(self, step: WhileLoop, group: Group, partition: Partition, names: Names) -> None:
        cond, body = group.parts
        given, n = self.operands(group, partition, names), group.node.params["n_consts"]
        consts, carry = given[:n], given[n:]
        for k in range(most := self.pick(4), -1, -1):
            [flag] = self.part(cond, step.cond, [*consts, *carry])
            self.expect(step.flag, flag, f"the condition after {most - k} steps")
            if k:
                carry = self.part(body, step.body, [*consts, *carry])
                self.swap(step.swaps)
        names.update(zip(group.outputs, carry, strict=True))

    def scan_loop(self, step: ScanLoop, group: Group, partition: Partition, names: Names) -> None:
        [body], p = group.parts, group.node.params
        given, c, s = self.operands(group, partition, names), p["n_consts"], p["n_carry"]
        consts, carry, arrays = given[:c], given[c : c + s], given[c + s :]
        made: list[tuple[int, list[Name]]] = []
        skipped = max(step.length - MOST_STEPS, 0) // 2 * 2  # as even as it was
        for turn in range(step.length - skipped):
            k = step.length - 1 - turn if step.reverse else turn
            for slot, base, stride in step.moves:
                piece, at = self.slots[base]
                self.slots[slot] = piece, at + k * stride
            strides = [stride for *_, stride in step.moves[: len(arrays)]]
            slices = [(x, at + k * n) for (x, at), n in zip(arrays, strides, strict=True)]
            found = self.part(body, step.body, [*consts, *carry, *slices])
            carry = found[:s]
            made.append((k, found[s:]))
            self.swap(step.swaps)
        names.update(zip(group.outputs, carry, strict=False))
        for j, (_, base, stride) in enumerate(step.moves[len(arrays) :]):
            piece, at = self.slots[base]
            for k, slices in made:
                assert self.memory.holds((piece, at + k * stride), stride, slices[j]), (
                    f"result {j} of step {k} is not in its place"
                )
            out = group.outputs[s + j]
            names[out] = self.fresh()
            self.memory.write(self.slots[base], out.type.nbytes, names[out])

    def branch(self, step: Branch, group: Group, partition: Partition, names: Names) -> None:
        index, *given = self.operands(group, partition, names)
        self.expect(step.index, index, "the number of a branch")
        k = self.pick(len(step.branches))
        found = self.part(group.parts[k], step.branches[k], given)
        names.update(zip(group.outputs, found, strict=True))
