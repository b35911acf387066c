"""Branches and counted loops in SSA form: where phis and hoisted instructions go.

``Flow`` adds this to ``Memory``; a body is a function that prints it:

    self.branch(cond, lambda: self.block(s.then), assigned(s.then))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracejit.codegen.llvm_emit import Level, is_constant, reg
from tracejit.codegen.llvm_memory import Memory, Value
from tracejit.codegen.llvm_scan import assigned, stored_buffers
from tracejit.kernel.nodes import Stmt


class Flow(Memory):
    """``env`` holds the current value of every local; after a branch or a loop the merged ones."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: dict[str, str] = {}
        self.registers: dict[str, int] = {}  # scratch arrays kept as locals, and their lengths

    def elements(self, name: str) -> list[str]:
        """The locals that a scratch array in registers is."""
        return [f"{name}[{k}]" for k in range(self.registers[name])]

    def assigned(self, body: Sequence[Stmt]) -> list[str]:
        """Locals that change in ``body``, elements of arrays in registers too."""
        names = assigned(body)
        for buffer in sorted(stored_buffers(body) & self.registers.keys()):
            names += self.elements(buffer)
        return names

    def branch(
        self,
        cond: str,
        body: Callable[[], None],
        names: Sequence[str],
        *,
        region: bool = False,
        certain: bool = False,
        stored: frozenset[str] = frozenset(),
    ) -> None:
        """Run ``body`` if ``cond``. Loops inside may hoist into the preheader of a ``region``, but
        no loads of what is ``stored``.
        """
        if cond in ("true", "false"):
            if cond == "true":
                body()
            return
        yes, after = self.labels("then", "after")
        self.line(f"br i1 {cond}, label %{yes}, label %{after}")
        origin, outer = self.label, self.lines
        names = [n for n in names if n in self.env]
        before = {n: self.env[n] for n in names}
        level = Level([] if region else None, region or certain, stored)
        self.levels.append(level)
        self.lines = []
        self.label = yes
        body()
        self.levels.pop()
        inner, self.lines = self.lines, outer
        self.lines.append(f"{yes}:")
        self.lines += level.pre or []
        self.lines += inner
        last = self.label
        self.line(f"br label %{after}")
        self.start(after)
        for n in names:
            if self.env[n] != before[n]:
                self.env[n] = self.merge(n, before[n], origin, self.env[n], last)

    def merge(self, name: str, a: Value, from_a: str, b: Value, from_b: str) -> Value:
        """A phi for each part."""
        dtype = self.dtypes[name]
        if isinstance(a, str) and isinstance(b, str):
            phi = self.fresh()
            self.line(f"{phi} = phi {reg(dtype)} [ {a}, %{from_a} ], [ {b}, %{from_b} ]")
            return phi
        assert isinstance(a, tuple) and isinstance(b, tuple)
        parts = []
        for x, y in zip(a, b, strict=True):
            parts.append(self.fresh())
            self.line(
                f"{parts[-1]} = phi {reg(dtype, self.width)} [ {x}, %{from_a} ], [ {y}, %{from_b} ]"
            )
        return tuple(parts)

    def around(self, before: str, top: str, head: Sequence[str]) -> list[str]:
        """The lines of a loop, now at their end: what its level hoisted stands before them."""
        level = self.levels.pop()
        return [
            f"{before}:",
            *(level.pre or ()),
            f"  br label %{top}",
            f"{top}:",
            *head,
            *self.lines,
        ]

    def loop(
        self,
        lo: str,
        hi: str,
        step: int,
        body: Callable[[str], None],
        names: Sequence[str],
        stored: frozenset[str],
    ) -> None:
        """``for index in range(lo, hi, step): body(index)``, rotated."""
        trips = -1
        if is_constant(lo) and is_constant(hi):
            trips = max(0, -(-(int(hi) - int(lo)) // step))
            if trips == 0:
                return
            if trips == 1:
                body(lo)
                return
        before, top, after = self.labels("before", "loop", "after")
        origin = self.label
        if trips < 0:
            some = self.emit(f"icmp slt i64 {lo}, {hi}", lo, hi)
            self.line(f"br i1 {some}, label %{before}, label %{after}")
        else:
            self.line(f"br label %{before}")
        names = [n for n in names if n in self.env]
        first = {n: self.env[n] for n in names}
        outer, self.lines = self.lines, []
        self.levels.append(Level([], True, stored))
        index = self.fresh()
        phis = {n: self.renamed(first[n]) for n in names}
        self.env.update(phis)
        self.label = top
        body(index)
        following, more = self.fresh(), self.fresh()
        self.line(f"{following} = add i64 {index}, {step}")
        self.line(f"{more} = icmp slt i64 {following}, {hi}")
        self.line(f"br i1 {more}, label %{top}, label %{after}")
        latch = self.label
        head = [f"  {index} = phi i64 [ {lo}, %{before} ], [ {following}, %{latch} ]"]
        for n in names:
            head += self.phi_lines(n, phis[n], first[n], before, self.env[n], latch)
        self.lines = [*outer, *self.around(before, top, head)]
        self.start(after)
        for n in names:
            if trips < 0:
                self.env[n] = self.merge(n, first[n], origin, self.env[n], latch)
            else:
                self.relevel(self.env[n])

    def relevel(self, v: Value) -> None:
        """After a loop that ran for certain, its last values belong to the level around it."""
        for text in (v,) if isinstance(v, str) else v:
            if not is_constant(text) and text in self.level_of:
                self.level_of[text] = min(self.level_of[text], len(self.levels) - 1)

    def renamed(self, v: Value) -> Value:
        return self.fresh() if isinstance(v, str) else tuple(self.fresh() for _ in v)

    def phi_lines(
        self, name: str, phi: Value, a: Value, from_a: str, b: Value, from_b: str
    ) -> list[str]:
        many = isinstance(phi, tuple)
        t = reg(self.dtypes[name], self.width if many else 0)
        rows = zip(phi, a, b, strict=True) if many else [(phi, a, b)]
        return [f"  {p} = phi {t} [ {x}, %{from_a} ], [ {y}, %{from_b} ]" for p, x, y in rows]
