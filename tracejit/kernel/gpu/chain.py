"""Groups that take several kernels on a GPU: reductions cut into chunks, what needs their results,
and maps of the whole space after that.

    chain(group, nest, target)       Lowered(..., then=Lowered(...))

Results of reductions that are none of the group's wait in scratch memory, by the name of the fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracejit.ir.expr import Load, walk
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.gpu.chunks import ROWS, Chunks, LongRows
from tracejit.kernel.gpu.columns import Columns
from tracejit.kernel.gpu.maps import Maps
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.gpu.writer import GpuWriter
from tracejit.kernel.lower import Lowered, checked_lines, comment_of, kernel_name
from tracejit.kernel.nest import Item, Nest
from tracejit.passes.groups import Group


def chain(group: Group, nest: Nest, target: GpuTarget) -> Lowered:
    """The kernels of a nest with reductions, one for each stage of them."""
    return _Chain(group, nest, target).lowered()


class _Chain:
    def __init__(self, group: Group, nest: Nest, target: GpuTarget) -> None:
        self.group = group
        self.nest = nest
        self.target = target
        self.scratch: dict[str, TensorType] = {}
        self.zeroed: dict[str, TensorType] = {}
        # a reduction that is a result of the group is read from there
        self.at = {i.fold: i.out for i in nest.items if i.level == "fold" and i.out is not None}

    def lowered(self) -> Lowered:
        writers = [(stem, self.with_memory(stem, w)) for stem, w in self.writers()]
        whole: Lowered | None = None
        for stem, writer in reversed(writers):
            name = kernel_name(self.group) + (f"_{stem}" if len(writers) > 1 else "")
            kernel, sizes = writer.kernel(name, comment_of(self.group))
            places = tuple(self.place(stem, p.name) for p in kernel.params)
            whole = Lowered(
                kernel,
                self.group.inputs,
                self.group.outputs,
                sizes,
                checked_lines(self.group),
                tuple(self.scratch.values()),
                places,
                whole,
                tuple(self.zeroed.values()),
            )
        assert whole is not None
        return whole

    def writers(self) -> list[tuple[str, GpuWriter]]:
        """A kernel for each stage of reductions, with what names it; and one for maps."""
        found: list[tuple[str, GpuWriter]] = []
        items = self.nest.items
        last = max(item.stage for item in items if item.level == "fold")
        for stage in range(last + 1):
            folds = [i for i in items if i.level == "fold" and i.stage == stage]
            if not folds:
                continue
            rows = [i for i in items if i.level == "row"] if stage == last else []
            later = [i for i in items if i.stage > stage and i not in rows]
            found.append((f"fold{stage}", self.fold(folds, rows, later)))
        fulls = [replace(i, stage=0) for i in items if i.level == "full"]
        if fulls:
            axes = tuple(replace(a, reduced=False) for a in self.nest.axes)
            nest = self.part(fulls)
            found.append(("map", Maps(replace(nest, axes=axes), self.target)))
        return found

    def fold(self, folds: Sequence[Item], rows: Sequence[Item], later: Sequence[Item]) -> Chunks:
        read = {n.buffer for i in later for n in walk(i.expr) if isinstance(n, Load)}
        items: list[Item] = []
        for item in folds:
            if item.out is None and item.fold in read:
                shape = self.nest.shapes[item.fold]
                self.scratch[item.fold] = TensorType(DTYPES[item.dtype], shape)
                item = replace(item, out=item.fold)
            items.append(replace(item, stage=0))
        items += [replace(item, stage=ROWS) for item in rows]
        nest = self.part(items)
        return LongRows(nest, self.target) if nest.axes[-1].reduced else Columns(nest, self.target)

    def part(self, items: Sequence[Item]) -> Nest:
        """The nest of some of the items."""
        own = {item.fold for item in items if item.fold}
        reads = dict.fromkeys(n.buffer for i in items for n in walk(i.expr) if isinstance(n, Load))
        inputs = tuple(name for name in reads if name not in own)
        outputs = tuple(item.out for item in items if item.out is not None)
        return replace(self.nest, items=tuple(items), inputs=inputs, outputs=outputs)

    # ---- memory ----

    def with_memory(self, stem: str, writer: GpuWriter) -> GpuWriter:
        """``writer``, the buffers of which that lie between blocks are noted."""
        for name in writer.roles:
            dtype, shape = writer.nest.dtypes[name], writer.nest.shapes[name]
            table = self.zeroed if name == "tickets" else self.scratch
            table[f"{stem}_{name}"] = TensorType(DTYPES[dtype], shape)
        return writer

    def place(self, stem: str, name: str) -> int:
        """Which of the group's inputs, outputs, scratch and counters a parameter is."""
        outs = tuple(f"y{k}" for k in range(len(self.group.outputs)))
        ins = tuple(f"x{k}" for k in range(len(self.group.inputs)))
        names = (*ins, *outs, *self.scratch, *self.zeroed)
        own = f"{stem}_{name}"
        return names.index(own if own in names else self.at.get(name, name))
