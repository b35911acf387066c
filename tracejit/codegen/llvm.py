"""Kernel -> LLVM IR text with explicit SIMD; no optimisation pass has to run on it.

    text = print_llvm(kernel, host_target())
    code = compile_llvm(text, [kernel.name])                 # runtime/native.py

The function is ``void name(ptr args, ptr dims, ptr steps, ptr data)``, what Numba's
``parallel_for`` calls:

- ``args[0]`` points to ``dims[0]`` adjacent pairs ``lo, hi`` (i64), the part of the ``par`` loop's
  range to run; a kernel without a ``par`` loop looks at neither. ``steps`` is not read.
- ``data`` points to 8-byte cells: the buffers in the order of ``kernel.params``, the sizes in the
  order of ``kernel.sizes``, and, if a Check occurs, the address of the i64 flag.

Buffers may be the same memory only where the kernel works in place element by element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from tracejit.codegen.llvm_emit import Level, is_constant, literal, memory
from tracejit.codegen.llvm_memory import Buffer, Value, in_turn, iota
from tracejit.codegen.llvm_ops import Spelling, apply
from tracejit.codegen.llvm_scan import (
    register_arrays,
    set_anywhere,
    stored_buffers,
    uniform_locals,
    uses_check,
    work,
)
from tracejit.codegen.llvm_transpose import print_transpose
from tracejit.codegen.llvm_vector import Vectors
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
    Transpose,
    While,
)

#: operations in a branch under a mask that are worth a jump: about what a wrong guess of it costs
BRANCH_WORTH = 30


def print_llvm(kernel: Kernel, target: Target) -> str:
    """The LLVM module of one kernel, as text."""
    return print_module([kernel], target)


def print_module(
    kernels: Sequence[Kernel], target: Target, rest: Callable[[], None] | None = None
) -> str:
    """One LLVM module with a function for each kernel, as text. ``rest`` is called before each
    statement: a thread in the background lets others run there.
    """
    bits = target.vector_bytes * 8
    width = f'"prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'
    return "\n".join(
        [
            f'target triple = "{target.triple}"',
            f'target datalayout = "{target.layout}"',
            *(Printer(kernel, target, rest).text() for kernel in kernels),
            f"attributes #0 = {{ nounwind {width} }}",
            "",
        ]
    )


class Printer(Vectors):
    """Prints one kernel: ``env`` maps every name in scope to its current value."""

    def __init__(
        self, kernel: Kernel, target: Target, rest: Callable[[], None] | None = None
    ) -> None:
        super().__init__(target)
        self.rest = rest
        self.kernel = kernel
        self.memo: dict[Expr, Value] = {}
        self.changing = set_anywhere(kernel.body)
        self.mutable = self.changing - uniform_locals(kernel.body)
        self.registers = register_arrays(kernel.body)
        self.flag = ""

    # ---- the function ----------------------------------------------------------------------------

    def text(self) -> str:
        """The function."""
        self.prologue()
        head, self.lines = self.lines, []
        self.block(self.kernel.body)
        self.line("ret void")
        return "\n".join(
            [
                f"define void @{self.kernel.name}"
                "(ptr %args, ptr %dims, ptr %steps, ptr %data) #0 {",
                "entry:",
                *self.allocas,
                *head,
                *self.lines,
                "}",
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

    # ---- expressions -----------------------------------------------------------------------------

    def value(self, e: Expr) -> Value:
        match e:
            case Const():
                return literal(e.value, e.dtype)  # type: ignore[arg-type]
            case Var():
                if e.name == self.vector:
                    return self.lane_numbers(self.scalar(e.name))
                if e.name in self.reducing:
                    raise InternalError(
                        f"kernel {self.kernel.name} reads `{e.name}` while it is being reduced"
                    )
                return self.env[e.name]
        found = self.memo.get(e)
        if found is None:
            if not isinstance(e, Load):
                found = self.operation(e)
            elif e.buffer in self.registers:
                found = self.env[self.element(e)]
            else:
                found = self.load(e)
            self.memo[e] = found
        return found

    def lane_numbers(self, start: str) -> tuple[str, ...]:
        """The vec variable as vectors."""
        if is_constant(start):
            return tuple(
                iota(self.width, int(start) + part * self.width) for part in range(self.parts)
            )
        ops, wide = Spelling(self, self.width), self.splat(start, "i64", self.width)
        return tuple(
            ops.binary("add", "i64", wide, iota(self.width, p * self.width))
            for p in range(self.parts)
        )

    def operation(self, e: Expr) -> Value:
        assert isinstance(e, Op)
        args = [self.value(x) for x in e.args]
        if e.fn == "any_lane":
            lanes = self.both(self.mask, args[0]) if isinstance(args[0], tuple) else None
            return args[0] if lanes is None else self.any(lanes)
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
        return tuple(
            apply(self, e.fn, e.dtype, sources, part, self.width)
            for part in zip(*wide, strict=True)
        )

    def uniform(self, e: Expr) -> str:
        """The value of an expression that must be the same in all lanes."""
        v = self.value(e)
        if isinstance(v, tuple):
            raise InternalError(f"kernel {self.kernel.name}: `{e}` differs between lanes")
        return v

    # ---- statements ------------------------------------------------------------------------------

    def block(self, body: Sequence[Stmt]) -> None:
        """Print statements; what they declare ends with them."""
        last: Stmt | None = None
        for s, following in zip_longest(body, body[1:]):
            self.memo = {}
            if last is not None:
                last = None  # it was written together with the one before
            elif in_turn(s, following) and self.pair_stored(s, following):
                last = s
            else:
                self.statement(s)
        self.memo = {}
        for s in body:
            if isinstance(s, Local):
                self.env.pop(s.name, None)
                self.linears.pop(s.name, None)
            elif isinstance(s, Scratch) and s.name in self.registers:
                for name in self.elements(s.name):
                    self.env.pop(name, None)

    def pair_stored(self, first: Any, second: Any) -> bool:
        """Two stores written as one; False where they are not, and are to be printed."""
        if first.buffer in self.registers:
            return False
        if self.rest is not None:
            self.rest()
        return self.store_in_turn(first, second)

    def statement(self, s: Stmt) -> None:
        if self.rest is not None:
            self.rest()
        if self.width and isinstance(s, Local | Store):
            self.find_neighbours(s.value)
        match s:
            case Local():
                self.declare(s)
            case Set():
                self.assign(s.name, self.value(s.value))
            case Accumulate():
                self.accumulate(s)
            case Store() if s.buffer in self.registers:
                self.assign(self.element(s), self.value(s.value))
            case Store():
                self.store(s)
            case Transpose():
                print_transpose(self, s)
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

    def element(self, access: Load | Store) -> str:
        """The local that is this element of a scratch array in registers."""
        return f"{access.buffer}[{self.flat(self.buffers[access.buffer], access.index).const}]"

    def declare(self, s: Local) -> None:
        v = self.value(s.value)
        if self.width and s.name in self.mutable:
            v = self.wide(v, s.dtype)
        elif self.width and s.dtype == "i64" and s.name not in self.changing:
            self.linears[s.name] = self.linear(s.value)
        self.dtypes[s.name] = s.dtype
        self.env[s.name] = v
        self.declared_under[s.name] = self.mask

    def assign(self, name: str, v: Value) -> None:
        """Give a local a new value: under another mask than its own, only in the lanes on."""
        old = self.env[name]
        dtype = self.dtypes[name]
        if isinstance(old, str):
            if isinstance(v, tuple) or self.diverged:
                raise InternalError(
                    f"kernel {self.kernel.name} sets `{name}`, declared outside, inside a vec loop"
                )
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
                raise InternalError(
                    f"kernel {self.kernel.name} accumulates a vector into the scalar `{s.name}`"
                )
            self.assign(s.name, self.combine(s.fn, dtype, old, v, 0))
            return
        wide = self.wide(v, dtype)
        self.assign(
            s.name,
            tuple(
                self.combine(s.fn, dtype, x, y, self.width) for x, y in zip(old, wide, strict=True)
            ),
        )

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
        count = math.prod(s.shape)
        if s.name in self.registers:
            zero = literal(0, s.dtype)
            first = self.wide(zero, s.dtype) if self.width else zero
            for name in self.elements(s.name):
                self.env[name], self.dtypes[name] = first, s.dtype
                self.declared_under[name] = self.mask
            # only its shape is used
            self.buffers[s.name] = Buffer("", s.dtype, s.shape)
            return
        lanes = self.width * self.parts
        name = f"%{s.name}.{self.counter}"
        self.counter += 1
        self.allocas.append(
            f"  {name} = alloca [{max(count * max(lanes, 1), 1)} x {memory(s.dtype)}], align 64"
        )
        self.buffers[s.name] = Buffer(name, s.dtype, s.shape, lanes)
        self.stored(s.name)

    # ---- branches --------------------------------------------------------------------------------

    def if_(self, s: If) -> None:
        cond = self.value(s.cond)
        names = self.assigned((s,))
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
                self.predicated(body)
                self.mask, self.diverged = outside

    def predicated(self, body: Sequence[Stmt]) -> None:
        """Print a body under the mask; a long one is passed over where no lane is on."""
        if work(body) < BRANCH_WORTH:
            self.block(body)
            return
        assert self.mask is not None
        self.branch(self.any(self.mask), lambda: self.block(body), self.assigned(body))

    # ---- loops -----------------------------------------------------------------------------------

    def any_loop(self, s: Loop) -> None:
        if s.how == "par":
            self.counted(s, *self.par_range())
            return
        lo, hi = self.value(s.start), self.value(s.stop)
        if isinstance(lo, tuple) or isinstance(hi, tuple):
            self.ragged_loop(s)
        elif s.how == "vec" and not self.width:
            self.vec_loop(s, lo, hi)
        elif (
            s.how == "seq" and is_constant(lo) and is_constant(hi) and s.unroll >= int(hi) - int(lo)
        ):
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
        self.loop(lo, hi, 1, body, self.assigned(s.body), stored_buffers(s.body))

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
        names = [n for n in self.assigned((s,)) if n in self.env]
        first = {n: self.env[n] for n in names}
        outer, self.lines = self.lines, []
        self.levels.append(Level([], False, stored_buffers((s,))))
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
        head = []
        for n in names:
            head += self.phi_lines(n, phis[n], first[n], before, self.env[n], latch)
        self.lines = [*outer, *self.around(before, top, head)]
        self.start(after)
        for n in names:
            self.env[n] = phis[n]
            self.relevel(phis[n])

    # ---- vec loops -------------------------------------------------------------------------------
