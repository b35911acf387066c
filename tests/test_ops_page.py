"""docs/ops.md lists every operation and which rules it has; ``pytest --update-golden`` writes
it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tracejit.ir.graph import Node, Value
from tracejit.ir.prim import Primitive
from tracejit.passes.lapack import REWRITTEN
from tracejit.runtime.cpu import can_fuse
from tracejit.transform import PRIMS

PAGE = Path(__file__).parent.parent / "docs" / "ops.md"

HEAD = """# Operations

Every operation is one record; a column says which rules it has. A missing rule is an error that
names it.

- **derivative**: forward rule (reverse mode follows by transposition); **transpose**: it is linear
and has an adjoint; **batch**: vmap
- **kernel**: how it runs natively: *element* fuses as an expression or index map, *reduce* fuses as
a reduction, *library* is BLAS or a generated
  contraction, *lower* has a kernel of its own, *control* is a loop or branch of the native program,
  *lapack* calls LAPACK in programs for CPUs, *host* runs its NumPy meaning between kernels

| operation | derivative | transpose | batch | kernel | meaning |
|---|---|---|---|---|---|
"""


def kernel(prim: Primitive) -> str:
    if prim.name in ("scan", "while", "cond", "call", "constant"):
        return "control"
    if prim.reduce is not None:
        return "reduce"
    if prim.element is not None:
        return "element" if any(map(can_fuse, typical_nodes(prim))) else "host"
    if prim.name in REWRITTEN or prim.library == "lapack":
        return "lapack"
    if prim.library is not None:
        return "library"
    return "lower" if prim.lower is not None else "host"


def typical_nodes(prim: Primitive) -> list[Node]:
    """A node of the operation for each of its cases."""
    nodes = []
    for types, params, *_ in prim.cases() if prim.cases is not None else ():
        out = prim.infer(*types, **params)
        outs = out if isinstance(out, tuple) else (out,)
        nodes.append(Node(prim, tuple(map(Value, types)), params, tuple(map(Value, outs))))
    return nodes


def row(prim: Primitive) -> str:
    def mark(*fields: object) -> str:
        return "yes" if any(field is not None for field in fields) else ""

    cells = [
        f"`{prim.name}`",
        mark(prim.jvp, prim.push),
        mark(prim.transpose),
        mark(prim.batch),
        kernel(prim),
        prim.doc.replace("|", "\\|"),
    ]
    return "| " + " | ".join(cells) + " |"


def test_page_lists_every_operation(request: pytest.FixtureRequest) -> None:
    text = HEAD + "\n".join(row(PRIMS[name]) for name in sorted(PRIMS)) + "\n"
    if request.config.getoption("--update-golden"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
