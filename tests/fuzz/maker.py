"""The state of making a random graph: the values so far, and how one is chosen among them.

maker = Maker(random.Random(0).randrange, inputs, exact=True, depth=2)
x = maker.any(of_kind("f"))
maker.keep(tanh(x))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.ir.build import full_like
from tracejit.ir.graph import Value
from tracejit.ir.types import kind

#: ``pick(n)`` chooses one of ``range(n)``: a ``random.Random``'s, or hypothesis's
Pick = Callable[[int], int]

#: no value has more elements
LIMIT = 3000


class Maker:
    """Adds random nodes to the current builder. ``values`` grows; ``exact`` are those without
    rounding."""

    def __init__(
        self, pick: Pick, inputs: Sequence[Value], exact: bool, depth: int, limit: int = LIMIT
    ) -> None:
        self.pick = pick
        self.limit = limit
        self.values: list[Value] = list(inputs)
        self.exact: set[Value] = {v for v in inputs if exact or kind(v.type.dtype) not in "fc"}
        self.depth = depth

    # ---- choosing ----

    def one_of(self, items: Sequence[Any]) -> Any:
        return items[self.pick(len(items))]

    def any(self, keep: Callable[[Value], bool] = lambda v: True) -> Value | None:
        fitting = [v for v in self.values if keep(v)]
        if not fitting:
            return None
        # recent values more often, so that graphs get deep
        return fitting[-1 - min(self.pick(len(fitting)), self.pick(len(fitting)))]

    def like(self, x: Value, exact: bool = False) -> Any:
        """A value of the same type, made from another shape where needed, or a literal."""
        found = self.any(lambda v: v.type == x.type and (not exact or v in self.exact))
        if found is not None and self.pick(6):
            return found
        return full_like(x, self.number(x.type.dtype))

    def number(self, dtype: np.dtype) -> Any:
        if kind(dtype) == "b":
            return bool(self.pick(2))
        return (
            self.one_of((1, 0, 2, 3)) if kind(dtype) in "iu" else self.one_of((1.0, 0.0, -0.5, 2.0))
        )

    def keep(self, value: Value, *exact_if: Any) -> Value:
        """Note a new value; a float is exact when all of ``exact_if`` are."""
        self.values.append(value)
        if kind(value.type.dtype) not in "fc" or (
            exact_if and all(not isinstance(v, Value) or v in self.exact for v in exact_if)
        ):
            self.exact.add(value)
        return value

    def axes(self, n: int) -> tuple[int, ...]:
        return tuple(a for a in range(n) if self.pick(2))


def of_kind(kinds: str, more: Callable[[Value], bool] = lambda v: True) -> Callable[[Value], bool]:
    return lambda v: kind(v.type.dtype) in kinds and more(v)
