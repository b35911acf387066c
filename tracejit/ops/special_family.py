"""What the records of special functions have in common: SciPy, imported at the first call, gives
their meaning.

    dawsn = from_scipy("dawsn", "dawsn", lambda dx, y, x: ..., doc="Dawson's integral.")
"""

from __future__ import annotations

import math as scalar_math
from typing import Any

from tracejit.errors import MissingRule
from tracejit.ir.prim import Primitive
from tracejit.ops.family import elementwise, scipy_special

ROOT_PI = scalar_math.sqrt(scalar_math.pi)


def from_scipy(name: str, scipy: str, jvp: Any, *, arity: int = 1, **fields: Any) -> Primitive:
    """A record whose meaning is a function of scipy.special."""
    return elementwise(
        name, scipy_special(scipy), arity=arity, jvp=jvp, kinds="f", heavy=True, **fields
    )


def unknown(name: str, operand: str) -> Any:
    """A jvp rule for an operand whose derivative has no closed form here."""

    def rule(*_: Any, **__: Any) -> Any:
        raise MissingRule(f"`{name}` has no derivative with respect to `{operand}`")

    return rule
