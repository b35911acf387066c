"""Operations that are no maps, reductions or library calls: each with kernels of its own.

    lower_custom(group, target) -> Lowered(kernel, reads, writes, sizes, ..., then)

``RULES`` has the operations whose loops are others on a GPU; what the ``lower`` rule of any other
operation writes for a CPU is converted (``convert.py``). The extent of the first axis becomes a
size of the kernels where nothing but numbers of blocks and bounds depends on it: another batch
compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from tracejit.ir.graph import Literal, Node
from tracejit.ir.prim import Primitive
from tracejit.ir.types import TensorType, short
from tracejit.kernel.build import KernelBuilder, operand, output
from tracejit.kernel.gpu import extrema, folds, scans, scatter, sort, window
from tracejit.kernel.gpu.convert import converted
from tracejit.kernel.gpu.kernels import Kernels, Made, lowered_for
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.lower import Lowered, kernel_name
from tracejit.kernel.nodes import Kernel, Param
from tracejit.kernel.program import filled
from tracejit.ops import cumulative, indexing, reduce
from tracejit.ops import sort as sorting
from tracejit.ops import window as windows
from tracejit.ops.reduce import highest, lowest
from tracejit.passes.groups import Group

#: elements of a window that are written out one by one, at most: a loop over more of them costs
#: less than their text
WINDOW = 49
#: record of an operation -> its rule ``(kernels, **params)``
RULES: dict[Primitive, Callable[..., None]] = {
    cumulative.cumlogsumexp: scans.running("logaddexp", lowest),
    cumulative.cummax: scans.running("max", lowest),
    cumulative.cummin: scans.running("min", highest),
    cumulative.cumprod: scans.running("mul", lambda dtype: 1),
    cumulative.cumsum: scans.running("add", cumulative.zero),
    indexing.scatter: scatter.scatter,
    reduce.argmax: extrema.arg_extremum("max", lowest),
    reduce.argmin: extrema.arg_extremum("min", highest),
    reduce.reduce: folds.fold,
    sorting.sort: sort.sort,
    sorting.top_k: sort.top_k,
    windows.reduce_window_max: window.window_fold("max", lowest),
    windows.reduce_window_min: window.window_fold("min", highest),
    windows.reduce_window_sum: window.window_fold("add", lambda dtype: 0),
    windows.select_and_gather_add: window.select_gather,
    windows.select_and_scatter_add: window.select_scatter,
}


def has_rule(node: Node) -> bool:
    """Whether ``RULES`` has kernels for a node that are all there is, or worth more than an element
    rule that fuses. They take any extents and dtypes, whatever a CPU's ``lowers`` says.
    """
    if node.prim not in RULES or node.prim is reduce.reduce:  # some graphs are no scalar operations
        return False
    return node.prim.element is None or prod(node.params["window_dimensions"]) > WINDOW


def lower_custom(group: Group, target: GpuTarget) -> Lowered:
    """The kernels of a group of kind "lower"."""
    types = tuple(x.type for x in group.node.inputs)
    first = group.outputs[0].type.shape[:1]
    made = _Custom(group, target.deterministic)
    return lowered_for(made.of, types, first[0] if first else 0, made.binding)


class _Custom:
    """Writes the kernels of a group, for the extents at hand and for others."""

    def __init__(self, group: Group, deterministic: bool) -> None:
        self.group = group
        self.node = group.node
        self.deterministic = deterministic

    def of(self, types: Sequence[TensorType]) -> Made:
        """The kernels for operands of these types."""
        node, group = self.node, self.group
        found = node.prim.infer(*types, **node.params)
        outs = found if isinstance(found, tuple) else (found,)
        of = dict(zip(node.inputs, types, strict=True))
        rule = RULES.get(node.prim)
        if rule is None:
            return self.converted(types, outs)
        operands: list[int | Literal | None] = []
        for k, x in enumerate(node.inputs):
            if isinstance(x, Literal):
                operands.append(Literal(x.value, types[k]))
            else:
                operands.append(None if self.updated(k) else group.reads.index(x))
        reads = [of[v] for v in group.reads]
        kernels = Kernels(
            kernel_name(group), reads, outs, operands, self.comment, self.deterministic
        )
        rule(kernels, **node.params)
        return Made.of(kernels)

    def updated(self, k: int) -> bool:
        """Whether operand ``k`` is in the result's memory."""
        return k == 0 and self.group.updates

    @property
    def comment(self) -> str:
        return self.node.at.short() if self.node.at is not None else ""

    def converted(self, types: Sequence[TensorType], outs: Sequence[TensorType]) -> Made:
        """What the operation's own rule writes for a CPU, made into kernels of a GPU."""
        node, group = self.node, self.group
        of = dict(zip(node.inputs, types, strict=True))
        params = {
            v: Param(f"x{k}", short(v.type.dtype), of[v].shape, "in")
            for k, v in enumerate(group.reads)
        }
        results = [Param(f"y{k}", short(t.dtype), t.shape, "inout") for k, t in enumerate(outs)]
        builder = KernelBuilder([p.name for p in (*params.values(), *results)])
        xs = [
            filled(Literal(x.value, of[x]))
            if isinstance(x, Literal)
            else operand(results[0] if self.updated(k) else params[x], of[x])
            for k, x in enumerate(node.inputs)
        ]
        ys = [output(p, t) for p, t in zip(results, outs, strict=True)]
        node.prim.rule("lower")(builder, xs, ys, **node.params)
        buffers = (*params.values(), *results)
        kernel = Kernel(kernel_name(group), (), buffers, builder.finish(), self.comment)
        link: Lowered | None = converted(Lowered(kernel, group.reads, group.outputs, ()))
        kernels: list[Kernel] = []
        places: list[tuple[int, ...]] = []
        memory: tuple[TensorType, ...] = ()
        while link is not None:
            kernels.append(link.kernel)
            places.append(link.places or tuple(range(len(link.kernel.params))))
            memory, link = link.scratch, link.then
        return Made(tuple(kernels), tuple(places), ((),) * len(kernels), memory)

    @property
    def binding(self) -> Lowered:
        """What the kernels read and write, and where a failed Check of them comes from."""
        nothing = Kernel("", (), (), ())
        return Lowered(nothing, self.group.reads, self.group.outputs, (), (self.node.at,))
