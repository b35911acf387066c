"""What called functions change under a traced condition, out of sight of the statement.

    with Journal([body]) as journal:
        trace()                         rewritten code tells of each ``obj.attr = value``
        journal.members(slots)          variables for what the statement did not know of
    journal.undo()                      all is as it was

Attributes are told of; what else functions can reach is compared with what it was (reach.py).

The statement is traced once more, then, with these among its variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optree

from tracejit.frontend.array import Array
from tracejit.frontend.call import flatten
from tracejit.frontend.rewrite.reach import Reach
from tracejit.frontend.rewrite.state import MISSING, Attribute, Slot, journals
from tracejit.tree_util import NAMESPACE


class Journal:
    """What is stored while a branch or the body of a loop is traced."""

    def __init__(self, functions: Sequence[Any]) -> None:
        self.functions = functions
        self.found: dict[tuple[int, str], tuple[Any, Any]] = {}
        self.reach = Reach(())

    def __enter__(self) -> Journal:
        self.reach = Reach(self.functions)
        journals.stack.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        journals.stack.pop()

    def undo(self) -> None:
        for (_, name), (owner, before) in self.found.items():
            if before is not MISSING:
                setattr(owner, name, before)
            elif hasattr(owner, name):
                delattr(owner, name)
        self.reach.restore()

    def members(self, slots: Sequence[Slot]) -> list[Slot]:
        """What has changed of what is older than the trace, and is none of ``slots``."""
        known = {slot.place() for slot in slots}
        known |= {place[:1] for place in known if place[1:] == ("whole",)}
        found = {
            slot.place(): slot
            for slot in self.reach.changed()
            if slot.place() not in known and (slot.place()[0],) not in known
        }
        for (key, name), (owner, before) in self.found.items():
            if (key, name) not in known and (key, name) not in found:
                if _from_outside(owner, before):
                    slot = Attribute(f"{type(owner).__name__}.{name}", lambda owner=owner: owner)
                    slot.older = key in self.reach.seen
                    found[key, name] = slot
        return list(found.values())


def _from_outside(owner: Any, before: Any) -> bool:
    """Whether an object may be older than the trace. Nodes of pytrees are made anew for each, and
    what an ended trace has left in an object was made with it.
    """
    if not optree.tree_is_leaf(owner, namespace=NAMESPACE):
        return False
    leaves = () if before is MISSING else flatten(before)[0]
    return all(not isinstance(x, Array) or x._trace is None or x._trace.alive for x in leaves)
