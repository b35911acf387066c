"""Kernel -> LLVM IR text with explicit SIMD. The text is final: no optimisation pass has to run on it.

    text = print_llvm(kernel, host_target())
    code = compile_llvm(text, [kernel.name])                 # runtime/native.py

The function is ``void name(ptr args, ptr dims, ptr steps, ptr data)``, what Numba's ``parallel_for`` calls:

- ``args[0]`` points to ``dims[0]`` adjacent pairs ``lo, hi`` (i64), the part of the ``par`` loop's range to run;
  a kernel without a ``par`` loop looks at neither. ``steps`` is not read.
- ``data`` points to 8-byte cells: the buffers in the order of ``kernel.params``, the sizes in the order of
  ``kernel.sizes``, and, if a Check occurs, the address of the i64 flag.

Buffers may be the same memory only where the kernel works in place element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracejit.codegen.llvm_emit import Level, is_constant, literal, memory, reg
from tracejit.codegen.llvm_memory import Buffer, Memory, Value, iota
from tracejit.codegen.llvm_ops import Spelling, apply
from tracejit.codegen.llvm_scan import (
    assigned,
    identity_of,
    reductions,
    set_anywhere,
    stored_buffers,
    uses_check,
)
from tracejit.codegen.target import Target
from tracejit.errors import InternalError
from tracejit.ir.expr import Const, Expr, Load, Op, Var
from tracejit.kernel.nodes import (
    Accumulate,
    Barrier,
    Check,
    If,
    Kernel,
    Local,
    Loop,
    Scratch,
    Set,
    Stmt,
    Store,
    While,
)


def print_llvm(kernel: Kernel, target: Target) -> str:
    """The LLVM module of one kernel, as text."""
    return Printer(kernel, target).text()


class Printer(Memory):
    """Prints one kernel: ``env`` maps every name in scope to its current value."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        super().__init__()
        self.kernel = kernel
        self.target = target
        self.memo: dict[Expr, Value] = {}
        self.dtypes: dict[str, str] = {}
        self.mutable = set_anywhere(kernel.body)
        self.declared_under: dict[str, tuple[str, ...] | None] = {}
        self.reducing: set[str] = set()
        self.flag = ""

    # ---- the function --------------------------------------------------------------------------------

    def text(self) -> str:
        self.prologue()
        head, self.lines = self.lines, []
        self.block(self.kernel.body)
        self.line("ret void")
        bits = self.target.vector_bytes * 8
        return "\n".join(
            [
                f'target triple = "{self.target.triple}"',
                f'target datalayout = "{self.target.layout}"',
                f"define void @{self.kernel.name}(ptr %args, ptr %dims, ptr %steps, ptr %data) #0 {{",
                "entry:",
                *self.allocas,
                *head,
                *self.lines,
                "}",
                f'attributes #0 = {{ nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}" }}',
                "",
            ]
        )

    def prologue(self) -> None:
        """Read buffers, sizes and the flag's address out of ``data``."""
        cell = 0
        for param in self.kernel.params:
            pointer = self.cell(cell, "ptr")
            self.buffers[param.name] = Buffer(pointer, param.dtype, param.shape)
            cell += 1
        for size in self.kernel.sizes:
            self.env[size] = self.cell(cell, "i64")
            self.dtypes[size] = "i64"
            cell += 1
        if uses_check(self.kernel.body):
            self.flag = self.cell(cell, "ptr")

    def cell(self, number: int, type: str) -> str:
        p = self.emit(f"getelementptr i64, ptr %data, i64 {number}") if number else "%data"
        return self.emit(f"load {type}, ptr {p}, align 8", p)

    # ---- expressions -----------------------------------------------------------------------------------

    def value(self, e: Expr) -> Value:
        match e:
            case Const():
                return literal(e.value, e.dtype)  # type: ignore[arg-type]
            case Var():
                if e.name == self.vector:
                    return self.lane_numbers(self.scalar(e.name))
                if e.name in self.reducing:
                    raise InternalError(f"kernel {self.kernel.name} reads `{e.name}` while it is being reduced")
                return self.env[e.name]
        found = self.memo.get(e)
        if found is None:
            found = self.memo[e] = self.load(e) if isinstance(e, Load) else self.operation(e)
        return found

    def lane_numbers(self, start: str) -> tuple[str, ...]:
        """The vec variable as vectors."""
        if is_constant(start):
            return tuple(iota(self.width, int(start) + part * self.width) for part in range(self.parts))
        ops, wide = Spelling(self, self.width), self.splat(start, "i64", self.width)
        return tuple(ops.binary("add", "i64", wide, iota(self.width, p * self.width)) for p in range(self.parts))

    def operation(self, e: Expr) -> Value:
        assert isinstance(e, Op)
        args = [self.value(x) for x in e.args]
        sources = tuple(x.dtype for x in e.args)
        if e.dtype == "i64" and all(isinstance(a, str) for a in args):
            match e.fn, args:
                case "add", (str(a), str(b)):
                    return self.iadd(a, b)
                case "sub", (str(a), str(b)):
                    return self.isub(a, b)
                case "mul", (str(a), str(b)):
                    return self.imul(a, b)
        if all(isinstance(a, str) for a in args):
            return apply(self, e.fn, e.dtype, sources, tuple(args), 0)  # type: ignore[arg-type]
        wide = [self.wide(a, source) for a, source in zip(args, sources, strict=True)]
        return tuple(apply(self, e.fn, e.dtype, sources, part, self.width) for part in zip(*wide, strict=True))

    def uniform(self, e: Expr) -> str:
        """The value of an expression that must be the same in all lanes."""
        v = self.value(e)
        if isinstance(v, tuple):
            raise InternalError(f"kernel {self.kernel.name}: `{e}` differs between lanes")
        return v

    # ---- statements ------------------------------------------------------------------------------------

    def block(self, body: Sequence[Stmt]) -> None:
        """Print statements; what they declare ends with them."""
        for s in body:
            self.memo = {}
            self.statement(s)
        self.memo = {}
        for s in body:
            if isinstance(s, Local):
                self.env.pop(s.name, None)
                self.linears.pop(s.name, None)

    def statement(self, s: Stmt) -> None:
        match s:
            case Local():
                self.declare(s)
            case Set():
                self.assign(s.name, self.value(s.value))
            case Accumulate():
                self.accumulate(s)
            case Store():
                self.store(s)
            case Loop():
                self.any_loop(s)
            case If():
                self.if_(s)
            case While():
                self.while_(s)
            case Check():
                self.check(s)
            case Scratch():
                self.scratch(s)
            case Barrier():
                pass
            case _:
                raise InternalError(f"no LLVM text for {type(s).__name__}")

    def declare(self, s: Local) -> None:
        v = self.value(s.value)
        if self.width and s.name in self.mutable:
            v = self.wide(v, s.dtype)
        elif self.width and s.dtype == "i64":
            self.linears[s.name] = self.linear(s.value)
        self.dtypes[s.name] = s.dtype
        self.env[s.name] = v
        self.declared_under[s.name] = self.mask

    def assign(self, name: str, v: Value) -> None:
        """The new value, where the mask differs from that of the declaration only in the lanes that are on."""
        old = self.env[name]
        dtype = self.dtypes[name]
        if isinstance(old, str):
            if isinstance(v, tuple) or self.diverged:
                raise InternalError(f"kernel {self.kernel.name} sets `{name}`, declared outside, inside a vec loop")
            self.env[name] = v
            return
        v = self.wide(v, dtype)
        if self.mask is not None and self.mask is not self.declared_under[name]:
            ops = Spelling(self, self.width)
            v = tuple(ops.select(m, x, y, dtype) for m, x, y in zip(self.mask, v, old, strict=True))
        self.env[name] = v

    def accumulate(self, s: Accumulate) -> None:
        old, v, dtype = self.env[s.name], self.value(s.value), self.dtypes[s.name]
        if isinstance(old, str):
            if isinstance(v, tuple):
                raise InternalError(f"kernel {self.kernel.name} accumulates a vector into the scalar `{s.name}`")
            self.assign(s.name, self.combine(s.fn, dtype, old, v, 0))
            return
        wide = self.wide(v, dtype)
        self.assign(
            s.name,
            tuple(self.combine(s.fn, dtype, x, y, self.width) for x, y in zip(old, wide, strict=True)),
        )

    def combine(self, fn: str, dtype: str, a: str, b: str, width: int) -> str:
        return apply(self, fn, dtype, (dtype, dtype), (a, b), width)

    def check(self, s: Check) -> None:
        """Write the code into the flag, unless a failure was written before."""
        ok = self.value(s.ok)
        if isinstance(ok, tuple):
            ops = Spelling(self, self.width)
            bad = self.any(self.both(self.mask, tuple(ops.invert(x) for x in ok)))  # type: ignore[arg-type]
        else:
            bad = Spelling(self, 0).invert(ok)
            if self.diverged and self.mask is not None:
                on = self.any(self.mask)
                bad = self.emit(f"and i1 {bad}, {on}", bad, on)
        fail, after = self.labels("fail", "checked")
        self.line(f"br i1 {bad}, label %{fail}, label %{after}")
        self.start(fail)
        old, none, new = self.fresh(), self.fresh(), self.fresh()
        self.line(f"{old} = load i64, ptr {self.flag}, align 8")
        self.line(f"{none} = icmp eq i64 {old}, 0")
        self.line(f"{new} = select i1 {none}, i64 {s.code}, i64 {old}")
        self.line(f"store i64 {new}, ptr {self.flag}, align 8")
        self.line(f"br label %{after}")
        self.start(after)

    def scratch(self, s: Scratch) -> None:
        count = 1
        for extent in s.shape:
            count *= extent
        lanes = self.width * self.parts
        name = f"%{s.name}.{self.counter}"
        self.counter += 1
        self.allocas.append(f"  {name} = alloca [{max(count * max(lanes, 1), 1)} x {memory(s.dtype)}], align 64")
        self.buffers[s.name] = Buffer(name, s.dtype, s.shape, lanes)
        self.stored(s.name)

    # ---- branches --------------------------------------------------------------------------------------

    def if_(self, s: If) -> None:
        cond = self.value(s.cond)
        names = assigned((s,))
        if isinstance(cond, str):
            self.branch(cond, lambda: self.block(s.then), names)
            if s.orelse:
                self.branch(Spelling(self, 0).invert(cond), lambda: self.block(s.orelse), names)
            return
        ops = Spelling(self, self.width)
        outside = (self.mask, self.diverged)
        for body, side in ((s.then, cond), (s.orelse, tuple(ops.invert(c) for c in cond))):
            if body:
                self.mask, self.diverged = self.both(outside[0], side), True
                self.block(body)
                self.mask, self.diverged = outside

    def branch(
        self, cond: str, body: Callable[[], None], names: Sequence[str], *, region: bool = False, certain: bool = False
    ) -> None:
        """Run ``body`` if ``cond``. A ``region`` has a preheader that loops inside may hoist into."""
        if cond in ("true", "false"):
            if cond == "true":
                body()
            return
        yes, after = self.labels("then", "after")
        self.line(f"br i1 {cond}, label %{yes}, label %{after}")
        origin, outer = self.label, self.lines
        names = [n for n in names if n in self.env]
        before = {n: self.env[n] for n in names}
        level = Level([] if region else None, region or certain, frozenset())
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
            self.line(f"{parts[-1]} = phi {reg(dtype, self.width)} [ {x}, %{from_a} ], [ {y}, %{from_b} ]")
        return tuple(parts)

    # ---- loops -----------------------------------------------------------------------------------------

    def any_loop(self, s: Loop) -> None:
        if s.how == "par":
            lo, hi = self.par_range()
        else:
            lo, hi = self.value(s.start), self.value(s.stop)
        if s.how == "vec" and not self.width:
            self.vec_loop(s, lo, hi)  # type: ignore[arg-type]
        elif isinstance(lo, tuple) or isinstance(hi, tuple):
            self.ragged_loop(s)
        elif s.how == "seq" and is_constant(lo) and is_constant(hi) and s.unroll >= int(hi) - int(lo):
            for k in range(int(lo), int(hi)):
                self.env[s.var] = str(k)
                self.block(s.body)
        else:
            self.counted(s, lo, hi)

    def counted(self, s: Loop, lo: str, hi: str) -> None:
        def body(index: str) -> None:
            self.env[s.var] = index
            self.block(s.body)

        self.dtypes[s.var] = "i64"
        self.loop(lo, hi, 1, body, assigned(s.body), stored_buffers(s.body))

    def par_range(self) -> tuple[str, str]:
        """The part of the par loop to run: from the first pair's lo to the last pair's hi."""
        count = self.emit("load i64, ptr %dims, align 8")
        base = self.emit("load ptr, ptr %args, align 8")
        start = self.emit(f"load i64, ptr {base}, align 8", base)
        last = self.emit(f"shl i64 {count}, 1", count)
        cell = self.emit(f"getelementptr i64, ptr {base}, i64 {last}", base, last)
        cell = self.emit(f"getelementptr i64, ptr {cell}, i64 -1", cell)
        # a pool with more threads than pairs hands out empty shares: then this reads no pair at all
        empty = self.emit(f"icmp eq i64 {count}, 0", count)
        safe = self.emit(f"select i1 {empty}, ptr {base}, ptr {cell}", empty, base, cell)
        return start, self.emit(f"load i64, ptr {safe}, align 8", safe)

    def loop(
        self,
        lo: str,
        hi: str,
        step: int,
        body: Callable[[str], None],
        names: Sequence[str],
        stored: frozenset[str],
    ) -> None:
        """``for index in range(lo, hi, step): body(index)``, rotated; ``hi`` is reached in whole steps or passed."""
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
        level = Level([], True, stored)
        self.levels.append(level)
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
        self.levels.pop()
        head = [f"  {index} = phi i64 [ {lo}, %{before} ], [ {following}, %{latch} ]"]
        for n in names:
            head += self.phi_lines(n, phis[n], first[n], before, self.env[n], latch)
        outer += [f"{before}:", *(level.pre or ()), f"  br label %{top}", f"{top}:", *head, *self.lines]
        self.lines = outer
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

    def phi_lines(self, name: str, phi: Value, a: Value, from_a: str, b: Value, from_b: str) -> list[str]:
        many = isinstance(phi, tuple)
        t = reg(self.dtypes[name], self.width if many else 0)
        rows = zip(phi, a, b, strict=True) if many else [(phi, a, b)]
        return [f"  {p} = phi {t} [ {x}, %{from_a} ], [ {y}, %{from_b} ]" for p, x, y in rows]

    def ragged_loop(self, s: Loop) -> None:
        """A loop inside vec whose bounds differ between lanes: a While over a vector counter."""
        var = Var(s.var, "i64")
        self.mutable.add(s.var)
        step = Set(s.var, Op("add", (var, Const(1, "i64")), "i64"))
        stop = Var(f"{s.var}.stop", "i64")
        self.block(
            (
                Local(s.var, "i64", s.start),
                Local(stop.name, "i64", s.stop),
                While(Op("lt", (var, stop), "bool"), (*s.body, step)),
            )
        )

    def while_(self, s: While) -> None:
        """The condition is tested at the top; inside vec it becomes the mask of the body."""
        before, top, inside, after = self.labels("before", "while", "do", "after")
        self.line(f"br label %{before}")
        names = [n for n in assigned((s,)) if n in self.env]
        first = {n: self.env[n] for n in names}
        outer, self.lines = self.lines, []
        level = Level([], False, stored_buffers((s,)))
        self.levels.append(level)
        phis = {n: self.renamed(first[n]) for n in names}
        self.env.update(phis)
        self.label = top
        outside = (self.mask, self.diverged)
        self.memo = {}
        cond = self.value(s.cond)
        if isinstance(cond, tuple):
            active = self.both(self.mask, cond)
            assert active is not None
            self.line(f"br i1 {self.any(active)}, label %{inside}, label %{after}")
            self.mask, self.diverged = active, True
        else:
            self.line(f"br i1 {cond}, label %{inside}, label %{after}")
        self.start(inside)
        self.block(s.body)
        self.mask, self.diverged = outside
        self.line(f"br label %{top}")
        latch = self.label
        self.levels.pop()
        head = []
        for n in names:
            head += self.phi_lines(n, phis[n], first[n], before, self.env[n], latch)
        outer += [f"{before}:", *(level.pre or ()), f"  br label %{top}", f"{top}:", *head, *self.lines]
        self.lines = outer
        self.start(after)
        for n in names:
            self.env[n] = phis[n]
            self.relevel(phis[n])

    # ---- vec loops ---------------------------------------------------------------------------------------

    def vec_loop(self, s: Loop, lo: str, hi: str) -> None:
        names = [n for n in assigned(s.body) if n in self.env]
        cond = "true"
        if is_constant(lo) and is_constant(hi):
            cond = "true" if int(lo) < int(hi) else "false"
        else:
            cond = self.emit(f"icmp slt i64 {lo}, {hi}", lo, hi)
        self.branch(cond, lambda: self.vectors(s, lo, hi, names), names, region=True)

    def vectors(self, s: Loop, lo: str, hi: str, names: Sequence[str]) -> None:
        """Main loop of ``unroll`` vectors, then single ones under a mask, then the reduction across lanes."""
        folds = reductions(s.body, names)
        scalars = {n: self.env[n] for n in names}
        stored = stored_buffers(s.body)
        self.width, self.vector = s.width, s.var
        self.dtypes[s.var] = "i64"
        self.reducing |= set(names)
        span = s.width * s.unroll
        for n in names:
            identity = literal(identity_of(folds[n], self.dtypes[n]), self.dtypes[n])
            self.env[n] = (self.splat(identity, self.dtypes[n], s.width),) * s.unroll
            self.declared_under[n] = None

        def body(index: str) -> None:
            self.env[s.var] = index
            self.block(s.body)

        def masked(index: str) -> None:
            self.mask = (self.tail_mask(index, hi),)
            body(index)
            self.mask = None

        self.parts = s.unroll
        whole = self.whole(lo, hi, span)
        self.loop(lo, whole, span, body, names, stored)
        self.parts = 1
        for n in names:
            self.env[n] = (self.tree(folds[n], self.dtypes[n], self.env[n]),)  # type: ignore[arg-type]
        known = is_constant(whole) and is_constant(hi)
        if s.unroll > 1 and self.target.cheap_masks and not known:
            # one copy of the body for what is left: less code to compile than full vectors and a tail
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
                folds[n], self.dtypes[n], scalars[n], self.across(folds[n], self.dtypes[n], lanes[0], s.width), 0  # type: ignore[arg-type]
            )

    def tail(
        self, lo: str, hi: str, body: Callable[[str], None], names: Sequence[str], stored: frozenset[str]
    ) -> None:
        """At most one vector."""
        if is_constant(lo) and is_constant(hi):
            if int(lo) < int(hi):
                body(lo)
            return
        cond = self.emit(f"icmp slt i64 {lo}, {hi}", lo, hi)
        # some segment of the vec loop runs, and all hold the same body: what it loads is loaded in any case
        self.branch(cond, lambda: body(lo), names, certain=True)

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

    def tail_mask(self, index: str, hi: str) -> str:
        """The lanes below ``hi``."""
        left, w = self.isub(hi, index), self.width
        lanes = "<" + ", ".join(f"i32 {k}" for k in range(w)) + ">"
        if is_constant(left):
            return "<" + ", ".join(f"i1 {'true' if k < int(left) else 'false'}" for k in range(w)) + ">"
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
                    self.emit(f"shufflevector {whole} {vector}, {whole} poison, <{width} x i32> <{picked}>", vector)
                )
            vector = self.combine(fn, dtype, halves[0], halves[1], width)
        return self.emit(f"extractelement {reg(dtype, 1)} {vector}, i64 0", vector)
