"""What fusion finds: groups of nodes, each one kernel or one call, and the partition they form.

print(partition)      groups with bytes before and after, and why edges were not fused
"""

from __future__ import annotations

from tracejit.ir.graph import Graph, Node, Value
from tracejit.passes.loop_form import LoopForm
from tracejit.passes.stencils import StencilForm
from tracejit.record import dataclass


@dataclass(frozen=True)
class Group:
    """One kernel or call. ``kind``: fused, library, lower, host, loop, stencil, control.

    ``inputs``: values read from buffers; ``outputs``: values written to buffers. For "fused":
    ``roots`` in order (outputs and inner reductions), ``space`` and its ``reduced`` axes. For
    "loop", "stencil": the ``form`` of a loop inside one kernel. "control": ``parts`` partition the
    sub-graphs, and ``reason`` says why a loop is none of the former.
    """

    kind: str
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    roots: tuple[Value, ...] = ()
    space: tuple[int, ...] = ()
    reduced: tuple[int, ...] = ()
    parts: tuple[Partition, ...] = ()
    form: LoopForm | StencilForm | None = None
    reason: str = ""

    @property
    def node(self) -> Node:
        """The node of a group of one."""
        return self.nodes[0]

    @property
    def updates(self) -> bool:
        """Whether the result is the first operand, changed in places."""
        return self.kind in ("lower", "library") and self.node.prim.updates

    @property
    def reads(self) -> tuple[Value, ...]:
        """The inputs, without one that is only updated."""
        if self.updates and self.node.inputs[0] not in self.node.inputs[1:]:
            return self.inputs[1:]
        return self.inputs

    @property
    def rows(self) -> tuple[int, ...]:
        """Extents of the axes that are not reduced."""
        return tuple(n for axis, n in enumerate(self.space) if axis not in self.reduced)

    @property
    def nbytes(self) -> int:
        """Bytes read from and written to buffers; an update writes as much as it reads."""
        written = self.reads if self.updates else self.outputs
        return sum(v.type.nbytes for v in (*self.reads, *written))

    def __str__(self) -> str:
        names = ", ".join(node.prim.name for node in self.nodes)
        ins, outs = (", ".join(repr(v.type) for v in vs) for vs in (self.inputs, self.outputs))
        over = ""
        if self.kind == "fused":
            axes = f" reducing {list(self.reduced)}" if self.reduced else ""
            over = f" over {list(self.space)}{axes}"
        elif self.form is not None:
            over = f" over {list(self.space)}"
            names += f" of {', '.join(self.form.names) or 'nothing'}"
            if isinstance(self.form, StencilForm):
                over = f"{over}, {self.form}"
        lines = [
            f"{self.kind}{over}: {names}",
            f"    reads {ins or 'nothing'}; writes {outs}; {self.nbytes} bytes",
        ]
        if self.reason:
            lines.append(f"    not one kernel: {self.reason}")
        for part in self.parts:
            lines += ["    " + line for line in str(part).splitlines()]
        return "\n".join(lines)


@dataclass(frozen=True)
class Partition:
    """``groups`` in an order to run them; ``views`` maps values to the value whose buffer they
    read.

    ``kept`` lists (producer, consumer, reason) for each edge between groups.
    """

    graph: Graph
    groups: tuple[Group, ...]
    views: dict[Value, Value]
    kept: tuple[tuple[Value, str, str], ...] = ()

    def base(self, value: Value) -> Value:
        return self.views.get(value, value)

    def bytes_unfused(self) -> int:
        """Bytes moved if every node read its operands from memory and wrote its results there."""
        moved = 0
        for node in self.graph.nodes:
            if node.outputs[0] not in self.views and node.prim.name != "constant":
                values = [x for x in node.inputs if isinstance(x, Value)]
                moved += sum(v.type.nbytes for v in (*values, *node.outputs))
        return moved

    def __str__(self) -> str:
        fused = sum(group.nbytes for group in self.groups)
        lines = [
            f"{len(self.groups)} groups of {len(self.graph.nodes)} nodes; "
            f"bytes {self.bytes_unfused()} -> {fused}"
        ]
        lines += [f"{k}: {group}" for k, group in enumerate(self.groups)]
        lines += [
            f"not fused: {value.type} into {consumer}: {reason}"
            for value, consumer, reason in self.kept
        ]
        return "\n".join(lines)
