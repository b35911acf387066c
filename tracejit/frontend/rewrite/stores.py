"""Attributes that called functions change under a traced condition, out of sight of the statement.

    with Journal() as journal:
        trace()                         rewritten code tells of each ``obj.attr = value``
    journal.undo()                      the attributes are as they were
    journal.members(slots)              variables for those that the statement did not know of

The statement is traced once more, then, with these among its variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optree

from tracejit.frontend.array import Array
from tracejit.frontend.call import flatten
from tracejit.frontend.rewrite.state import MISSING, Attribute, journals
from tracejit.tree_util import NAMESPACE


class Journal:
    """What is stored while a branch or the body of a loop is traced."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, str], tuple[Any, Any]] = {}

    def __enter__(self) -> Journal:
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

    def members(self, slots: Sequence[Any]) -> list[Attribute]:
        """Attributes of objects from outside that are none of ``slots``."""
        known = {(id(s.owner()), s.path[-1]) for s in slots if isinstance(s, Attribute)}
        return [
            Attribute(f"{type(owner).__name__}.{name}", lambda owner=owner: owner)
            for (key, name), (owner, before) in self.found.items()
            if (key, name) not in known and _from_outside(owner, before)
        ]


def _from_outside(owner: Any, before: Any) -> bool:
    """Whether an object may be older than the trace. Nodes of pytrees are made anew for each, and
    what an ended trace has left in an object was made with it.
    """
    if not optree.tree_is_leaf(owner, namespace=NAMESPACE):
        return False
    leaves = () if before is MISSING else flatten(before)[0]
    return all(not isinstance(x, Array) or x._trace is None or x._trace.alive for x in leaves)
