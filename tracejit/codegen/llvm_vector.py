"""A vec loop: a main loop of several vectors, what is left under masks, and the fold across lanes.

vec j in n1 (16 lanes, 4 at a time): s = add(s, x[j])

s0 s1 s2 s3 = -0.0                           # one accumulator for each of the 4 vectors
loop over 64 elements at a time              # no masks
s0 = (s0 + s1) + (s2 + s3)
loop over the rest, 16 lanes under a mask    # without cheap masks: full vectors, then one masked
s = s + (halves of s0 folded onto each other)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracejit.codegen.llvm_emit import is_constant, literal, reg
from tracejit.codegen.llvm_flow import Flow
from tracejit.codegen.llvm_ops import apply
from tracejit.codegen.llvm_scan import identity_of, reductions, stored_buffers
from tracejit.codegen.target import Target
from tracejit.kernel.nodes import Loop, Stmt


class Vectors(Flow):
    """Prints vec loops; ``block`` comes from ``Printer``."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target
        self.declared_under: dict[str, tuple[str, ...] | None] = {}
        self.reducing: set[str] = set()

    def block(self, body: Sequence[Stmt]) -> None:
        raise NotImplementedError

    def combine(self, fn: str, dtype: str, a: str, b: str, width: int) -> str:
        return apply(self, fn, dtype, (dtype, dtype), (a, b), width)

    def vec_loop(self, s: Loop, lo: str, hi: str) -> None:
        names = [n for n in self.assigned(s.body) if n in self.env]
        cond = "true"
        if is_constant(lo) and is_constant(hi):
            cond = "true" if int(lo) < int(hi) else "false"
        else:
            cond = self.emit(f"icmp slt i64 {lo}, {hi}", lo, hi)
        stored = stored_buffers(s.body)
        self.branch(cond, lambda: self.vectors(s, lo, hi, names), names, region=True, stored=stored)

    def vectors(self, s: Loop, lo: str, hi: str, names: Sequence[str]) -> None:
        """Main loop of ``unroll`` vectors, single ones under a mask, the fold across lanes."""
        folds = reductions(s.body, names)
        scalars = {n: self.env[n] for n in names}
        stored = stored_buffers(s.body)
        self.width, self.vector = s.width, s.var
        self.dtypes[s.var] = "i64"
        self.reducing |= set(names)
        self.parts = max(s.unroll, 1)
        span = s.width * self.parts
        for n in names:
            identity = literal(identity_of(folds[n], self.dtypes[n]), self.dtypes[n])
            self.env[n] = (self.splat(identity, self.dtypes[n], s.width),) * self.parts
            self.declared_under[n] = None

        def body(index: str) -> None:
            self.env[s.var] = index
            self.block(s.body)

        def masked(index: str) -> None:
            self.mask = (self.tail_mask(index, hi, few=s.unroll > 0),)
            body(index)
            self.mask = None

        whole = self.whole(lo, hi, span) if s.unroll else lo
        if s.unroll:
            self.loop(lo, whole, span, body, names, stored)
        self.parts = 1
        for n in names:
            self.env[n] = (self.tree(folds[n], self.dtypes[n], self.env[n]),)  # type: ignore[arg-type]
        known = is_constant(whole) and is_constant(hi)
        if not s.unroll or (s.unroll > 1 and self.target.cheap_masks and not known):
            # one copy of the body for what is left: less to compile than full vectors and a tail
            self.loop(whole, hi, s.width, masked, names, stored)
        else:
            if s.unroll > 1:
                full = self.whole(whole, hi, s.width)
                self.loop(whole, full, s.width, body, names, stored)
                whole = full
            self.tail(whole, hi, masked, names, stored)
        self.width, self.parts, self.vector = 0, 0, ""
        self.reducing -= set(names)
        for n in names:
            lanes = self.env[n]
            self.env[n] = self.combine(
                folds[n],
                self.dtypes[n],
                scalars[n],
                self.across(folds[n], self.dtypes[n], lanes[0], s.width),
                0,  # type: ignore[arg-type]
            )

    def tail(
        self,
        lo: str,
        hi: str,
        body: Callable[[str], None],
        names: Sequence[str],
        stored: frozenset[str],
    ) -> None:
        """At most one vector."""
        if is_constant(lo) and is_constant(hi):
            if int(lo) < int(hi):
                body(lo)
            return
        cond = self.emit(f"icmp slt i64 {lo}, {hi}", lo, hi)
        # some segment of the loop runs, and all hold the same body: it loads what this one does
        self.branch(cond, lambda: body(lo), names, certain=True, stored=stored)

    def whole(self, lo: str, hi: str, span: int) -> str:
        """Where the last whole span ends."""
        count = self.isub(hi, lo)
        if is_constant(count):
            return self.iadd(lo, str(int(count) // span * span))
        if span & (span - 1) == 0:
            full = self.emit(f"and i64 {count}, {-span}", count)
        else:
            full = self.imul(self.emit(f"udiv i64 {count}, {span}", count), str(span))
        return self.iadd(full, lo)

    def tail_mask(self, index: str, hi: str, few: bool) -> str:
        """The lanes below ``hi``; ``few``: no more are left than 32 bits hold."""
        left, w = self.isub(hi, index), self.width
        lanes = "<" + ", ".join(f"i32 {k}" for k in range(w)) + ">"
        if is_constant(left):
            return (
                "<"
                + ", ".join(f"i1 {'true' if k < int(left) else 'false'}" for k in range(w))
                + ">"
            )
        if not few:
            left = self.emit(f"call i64 @llvm.umin.i64(i64 {left}, i64 {w})", left)
        narrow = self.emit(f"trunc i64 {left} to i32", left)
        wide = self.splat(narrow, "i32", w)
        return self.emit(f"icmp ult <{w} x i32> {lanes}, {wide}", wide)

    def tree(self, fn: str, dtype: str, parts: tuple[str, ...]) -> str:
        """Fold the unrolled accumulators."""
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            odd = parts[-1:] if len(parts) % 2 else ()
            parts = tuple(self.combine(fn, dtype, a, b, self.width) for a, b in pairs) + odd
        return parts[0]

    def across(self, fn: str, dtype: str, vector: str, width: int) -> str:
        """Fold the lanes: halves onto each other. ``width`` is a power of two."""
        while width > 1:
            whole, width = reg(dtype, width), width // 2
            halves = []
            for half in range(2):
                picked = ", ".join(f"i32 {half * width + k}" for k in range(width))
                halves.append(
                    self.emit(
                        f"shufflevector {whole} {vector}, {whole} poison, "
                        f"<{width} x i32> <{picked}>",
                        vector,
                    )
                )
            vector = self.combine(fn, dtype, halves[0], halves[1], width)
        return self.emit(f"extractelement {reg(dtype, 1)} {vector}, i64 0", vector)
