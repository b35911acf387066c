"""Memory that a plan knows nothing of: what a call's kernels hand results on in, and counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tracejit.ir.graph import ConstArray, Node, Value
from tracejit.ir.types import TensorType
from tracejit.ops.layout import constant
from tracejit.passes.place import ALIGN, Plan, Slot, Storage


class Scratch:
    """Memory at the end of the arena that a call's kernels hand results on in."""

    def __init__(self, plan: Plan, align: int = ALIGN) -> None:
        self.align = align
        self.start = -(-plan.arena // align) * align
        self.before = plan
        self.plan = plan
        self.counters: list[int] = []
        self.tables: dict[int, int] = {}
        self.last = max((s.last for s in plan.storages), default=0)

    def slots(self, types: tuple[TensorType, ...]) -> tuple[int, ...]:
        """Slots for values of these types; those of the next call may lie in the same place."""
        plan, end = self.plan, self.start
        slots, storages = list(plan.slots), list(plan.storages)
        for type in types:
            storage = Storage("arena", 0, -(-type.nbytes // self.align) * self.align, offset=end)
            storage.last = self.last
            storage.names.append(f"partial results: {type}")
            slots.append(Slot(len(slots), type, len(storages), (len(storages),)))
            storages.append(storage)
            end += storage.nbytes
        live = max(plan.live, self.before.live + end - self.start)
        self.plan = replace(
            plan,
            slots=tuple(slots),
            storages=tuple(storages),
            arena=max(plan.arena, end),
            live=live,
        )
        return tuple(range(len(plan.slots), len(slots)))

    def constants(self, arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[int, ...]:
        """Slots for arrays that never change; an array has one, however often it is asked for."""
        found: list[int] = []
        for array in arrays:
            known = self.tables.get(id(array))
            if known is None:
                known = self._constant(array)
                self.tables[id(array)] = known
            found.append(known)
        return tuple(found)

    def _constant(self, array: np.ndarray[Any, Any]) -> int:
        plan, type = self.plan, TensorType(array.dtype, array.shape)
        node = Node(constant, (), {"value": ConstArray(array)}, (Value(type),))
        nbytes = -(-max(type.nbytes, 1) // self.align) * self.align
        storage = Storage("const", len(plan.constants), nbytes, names=[f"table: {type}"])
        storage.last = self.last
        slot = Slot(len(plan.slots), type, len(plan.storages), (len(plan.storages),))
        self.plan = replace(
            plan,
            slots=(*plan.slots, slot),
            storages=(*plan.storages, storage),
            constants=(*plan.constants, node),
        )
        return slot.number

    def zeroed(self, types: tuple[TensorType, ...]) -> tuple[int, ...]:
        """Slots for counters: zero when the program is loaded, and left zero by every kernel that
        uses them. All calls have the same ones.
        """
        slots, storages = list(self.plan.slots), list(self.plan.storages)
        found: list[int] = []
        for k, type in enumerate(types):
            at = self.counters[k] if k < len(self.counters) else len(storages)
            if at == len(storages):
                self.counters.append(at)
                storages.append(Storage("zero", k, 0))
                storages[at].names.append("counters, zero between kernels")
            nbytes = -(-type.nbytes // self.align) * self.align
            storages[at].nbytes = max(storages[at].nbytes, nbytes)
            found.append(len(slots))
            slots.append(Slot(len(slots), type, at, (at,)))
        self.plan = replace(self.plan, slots=tuple(slots), storages=tuple(storages))
        return tuple(found)
