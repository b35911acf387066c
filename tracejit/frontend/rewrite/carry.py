"""The state of a traced loop: the variables that its steps hand on, as arrays.

    carry = Carry(slots, "while", at)
    carry.put(values, trace)            variables stand for the values of one step
    arrays, ... = carry.take()          what the step made of them
    carry.settle(types, weak)           True where a dtype was promoted: trace the step again

Numbers become arrays; what is no number (strings, functions) must stay as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import optree

from tracejit import source
from tracejit.errors import TreeError
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, as_array
from tracejit.frontend.call import flatten
from tracejit.frontend.rewrite.state import (
    MISSING,
    NoValue,
    Shell,
    Slot,
    Typed,
    adopt,
    describe,
    is_number,
    same,
    shown,
)
from tracejit.frontend.trace import Trace, current_trace
from tracejit.ir.types import TensorType
from tracejit.record import dataclass
from tracejit.tree_util import keystr, tree_flatten_with_path


@dataclass(frozen=True)
class Fixed:
    """A leaf that is no number."""

    value: Any


@dataclass(frozen=True)
class Moving:
    """A leaf that is the array of this number."""

    number: int


@dataclass(frozen=True)
class Variable:
    """A value: its tree and leaves."""

    tree: Any
    leaves: tuple[Fixed | Moving, ...]


class Carry:
    """Variables with a value are carried; others may be begun later."""

    def __init__(self, slots: Sequence[Slot], what: str, at: source.Position | None) -> None:
        self.slots = list(slots)
        self.what = what
        self.at = at
        self.arrays: list[Array] = []
        self.before = [slot.get() for slot in slots]
        self.values: list[Variable | Any] = [self.variable(value) for value in self.before]
        #: variables that have no value before the loop and one after a step
        self.begun: set[str] = set()
        self.given: list[Any] = []
        self.kept = [False] * len(self.slots)

    def variable(self, value: Any) -> Any:
        if value is MISSING or isinstance(value, NoValue):
            return MISSING
        leaves, tree = flatten(value)
        found: list[Fixed | Moving] = []
        for leaf in leaves:
            if is_number(leaf):
                found.append(Moving(len(self.arrays)))
                self.arrays.append(as_array(leaf))
            else:
                found.append(Fixed(leaf))
        return Variable(tree, tuple(found))

    def begin(self, k: int, value: Any) -> None:
        """Carry variable ``k``, which has no value yet, from zeros of what a step gave it."""
        leaves, tree = flatten(value)
        zeros = [
            promotion.filled(0, leaf.type, weak=leaf._weak) if isinstance(leaf, Shell) else leaf
            for leaf in leaves
        ]
        self.values[k] = self.variable(optree.tree_unflatten(tree, zeros))

    def names(self) -> list[str]:
        """A name for each array."""
        found = [""] * len(self.arrays)
        for slot, value in zip(self.slots, self.values, strict=True):
            if value is MISSING:
                continue
            shell = optree.tree_unflatten(value.tree, list(range(len(value.leaves))))
            paths = [keystr(path) for path, _ in tree_flatten_with_path(shell)[0]]
            for leaf, path in zip(value.leaves, paths, strict=True):
                if isinstance(leaf, Moving):
                    found[leaf.number] = slot.name + path
        return found

    def built(self, value: Variable, arrays: Sequence[Any]) -> Any:
        leaves = [
            arrays[leaf.number] if isinstance(leaf, Moving) else leaf.value for leaf in value.leaves
        ]
        return optree.tree_unflatten(value.tree, leaves)

    def put(self, atoms: Sequence[Any], trace: Trace) -> None:
        """Give the variables the values of one step."""
        arrays = [
            Array(None, atom, trace, array._weak)
            for atom, array in zip(atoms, self.arrays, strict=True)
        ]
        self.given = []
        for k, (slot, value) in enumerate(zip(self.slots, self.values, strict=True)):
            found = self.before[k] if value is MISSING else self.built(value, arrays)
            self.given.append(found)
            slot.set(found)

    def take(self) -> tuple[list[Array], Any]:
        """The arrays of the state after a step; which are weak, and variables that it began."""
        arrays: list[Any] = [None] * len(self.arrays)
        new: dict[int, Any] = {}
        for k, (slot, value) in enumerate(zip(self.slots, self.values, strict=True)):
            end = slot.get()
            if isinstance(end, NoValue):
                end = MISSING if value is MISSING else end.fail()
            if value is MISSING:
                if end is not MISSING:
                    new[k] = (slot, _shell(end))
                continue
            self.kept[k] = end is self.given[k]
            self.compare(slot, value, end, arrays)
        return arrays, ([a._weak for a in arrays], new)

    def compare(self, slot: Slot, value: Variable, end: Any, arrays: list[Any]) -> None:
        """Sort the leaves of a variable into ``arrays``; TreeError where its structure or a shape
        changed.
        """
        leaves, tree = (None, None) if end is MISSING else flatten(end)
        if tree != value.tree:
            raise self.changes(slot, self.built(value, self.arrays), end)
        for before, after in zip(value.leaves, leaves, strict=True):
            if isinstance(before, Moving) and is_number(after):
                found = arrays[before.number] = as_array(after)
                was = self.arrays[before.number]
                if found.shape != was.shape:
                    raise self.changes(slot, was, found, found.origin())
            elif isinstance(before, Moving) or not same(before.value, after):
                raise self.changes(slot, self.built(value, self.arrays), end)

    def changes(self, slot: Slot, before: Any, after: Any, made: str = "") -> TreeError:
        """The error for a variable whose type does not stay."""
        return TreeError(
            f"{shown(slot.name)} changes its type in a traced `{self.what}` loop",
            at=self.at,
            notes=(
                f"before a step: {describe(before)}",
                f"after a step: {describe(after)}" + (f"  {made}" if made else ""),
            ),
            hint="give it the structure and the shapes before the loop that the body gives it",
        )

    def settle(self, types: Sequence[TensorType], weak: Sequence[bool]) -> bool:
        """Promote the state to what a step returns; True where that changed it."""
        changed = False
        for k, (array, type) in enumerate(zip(self.arrays, types, strict=True)):
            dtype, is_weak = promotion.dtype_of([array, Typed(type, weak[k])])
            if dtype != array.dtype or is_weak != array._weak:
                self.arrays[k] = promotion.convert(array, dtype, weak=is_weak)
                changed = True
        return changed

    def results(self, outs: Sequence[Array]) -> Iterator[tuple[Slot, Any]]:
        """Each variable and its value after the loop."""
        for out, array in zip(outs, self.arrays, strict=True):
            out._weak = array._weak
        for k, (slot, value) in enumerate(zip(self.slots, self.values, strict=True)):
            if value is MISSING:
                yield slot, MISSING
                continue
            found = self.built(value, outs)
            before = self.before[k]
            # arrays made outside of this trace, and Python's numbers, cannot become others
            own = not isinstance(before, Array) or before._trace is current_trace()
            yield slot, adopt(before, found) if self.kept[k] and own else found


def _shell(value: Any) -> Any:
    """A value with a Shell for each number."""
    leaves, tree = flatten(value)
    found = []
    for leaf in leaves:
        if is_number(leaf):
            array = as_array(leaf)
            found.append(Shell(array.type, array._weak))
        else:
            found.append(leaf)
    return optree.tree_unflatten(tree, found)
