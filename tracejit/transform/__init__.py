"""Graph-to-graph transforms, and the operations that hold graphs (their rules need the transforms).

``PRIMS`` is the full table of records: those of ``ops`` and the structured ones.
"""

from __future__ import annotations

from tracejit import ops
from tracejit.ir.prim import Primitive
from tracejit.transform import branch, custom, linear, loops, tape

PRIMS: dict[str, Primitive] = {**ops.PRIMS, **ops.collect((branch, loops, tape, custom, linear))}
