"""Addresses, loads and stores.

Every index becomes a sum of scalars, a multiple of the lane number, and vectors:

    x[i, add(j, 1)] with j the vec variable  ->  terms [i*n1, j], const 1, lane 1: a vector load
    x[j, 0]                                  ->  lane n1: a gather
    x[ids[j]]                                ->  vectors [ids[j]]: a gather
    x[i]                                     ->  lane 0: one scalar load

``Memory`` adds this to the Emitter; ``value(expr)`` comes from ``Printer``.
"""

from __future__ import annotations

from tracejit.codegen.llvm_emit import Emitter, is_constant, memory, reg
from tracejit.codegen.llvm_ops import Spelling
from tracejit.codegen.llvm_shift import LINE, order, sources
from tracejit.codegen.llvm_strided import LONGEST_STEP, lane_masks, merged, shuffled, starts
from tracejit.ir.expr import Const, Expr, Load, Op, Var, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import Stmt, Store
from tracejit.record import dataclass

#: a scalar's text, or one text per unrolled vector
Value = str | tuple[str, ...]


@dataclass
class Linear:
    """``const + sum(terms) + lane * (lane number) + sum(vectors)``; ``lane``: a number or name."""

    const: int = 0
    terms: tuple[str, ...] = ()
    lane: str = "0"
    vectors: tuple[tuple[str, ...], ...] = ()

    @property
    def uniform(self) -> bool:
        return self.lane == "0" and not self.vectors

    @property
    def step(self) -> int:
        """1 or -1 where lanes lie side by side, upward or downward; 0 elsewhere."""
        return int(self.lane) if self.lane in ("1", "-1") and not self.vectors else 0

    @property
    def apart(self) -> int:
        """The step between lanes where it is a number; 0 elsewhere."""
        return int(self.lane) if is_constant(self.lane) and not self.vectors else 0


@dataclass
class Buffer:
    """Where a buffer lies. ``lanes``: each of so many lanes has its own copy, interleaved."""

    pointer: str
    dtype: str
    shape: tuple[int | str, ...]
    lanes: int = 0


class Memory(Emitter):
    """Loads and stores of a Printer."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: dict[str, Buffer] = {}
        self.env: dict[str, Value] = {}
        self.linears: dict[str, Linear] = {}
        self.width = 0  # lanes of the current vec loop; 0 outside
        self.parts = 0  # vectors per trip of the current vec loop
        self.vector = ""  # its variable
        self.mask: tuple[str, ...] | None = None
        self.diverged = False  # lanes may be off for another reason than the end of the loop
        self.zero_cell = ""
        # by buffer, terms and constant of a read's offset: the constant of the read it is made of
        self.neighbours: dict[tuple[str, tuple[str, ...], int], int] = {}
        self.allocas: list[str] = []

    def value(self, expr: Expr) -> Value:
        raise NotImplementedError

    # ---- index expressions -----------------------------------------------------------------------

    def linear(self, e: Expr) -> Linear:
        """An index expression as a sum."""
        match e:
            case Const():
                return Linear(int(e.value))
            case Var() if e.name == self.vector:
                start = self.scalar(e.name)
                return (
                    Linear(int(start), (), "1") if is_constant(start) else Linear(0, (start,), "1")
                )
            case Var() if e.name in self.linears:
                return self.linears[e.name]
            case Op(fn="add", args=(a, b)):
                return self.sum(self.linear(a), self.linear(b))
            case Op(fn="sub", args=(a, b)):
                return self.sum(self.linear(a), self.scale(self.linear(b), "-1"))
            case Op(fn="mul", args=(a, b)):
                x, y = self.linear(a), self.linear(b)
                for one, other in ((x, y), (y, x)):
                    if one.uniform and not one.terms:
                        return self.scale(other, str(one.const))
                    if one.uniform and len(one.terms) == 1 and one.const == 0:
                        return self.scale(other, one.terms[0])
        v = self.value(e)
        if isinstance(v, tuple):
            return Linear(vectors=(v,))
        return Linear(int(v)) if is_constant(v) else Linear(0, (v,))

    def scalar(self, name: str) -> str:
        v = self.env[name]
        assert isinstance(v, str)
        return v

    def sum(self, a: Linear, b: Linear) -> Linear:
        lane = self.iadd(a.lane, b.lane)
        return Linear(a.const + b.const, a.terms + b.terms, lane, a.vectors + b.vectors)

    def scale(self, a: Linear, factor: str) -> Linear:
        if factor == "1":
            return a
        if factor == "0":
            return Linear()
        terms = tuple(self.imul(t, factor) for t in a.terms)
        const = 0
        if is_constant(factor):
            const = a.const * int(factor)
        elif a.const:
            terms += (self.imul(str(a.const), factor),)
        vectors = a.vectors
        if vectors:
            wide = self.splat(factor, "i64", self.width)
            ops = Spelling(self, self.width)
            vectors = tuple(tuple(ops.binary("mul", "i64", x, wide) for x in v) for v in vectors)
        return Linear(const, terms, self.imul(a.lane, factor), vectors)

    def flat(self, buffer: Buffer, index: tuple[Expr, ...]) -> Linear:
        """The row-major offset, in elements."""
        total, stride = Linear(), "1"
        for e, extents in reversed(merge_axes(index, buffer.shape)):
            total = self.sum(self.scale(self.linear(e), stride), total)
            for extent in extents:
                stride = self.imul(
                    stride, str(extent) if isinstance(extent, int) else self.scalar(extent)
                )
        if buffer.lanes:
            total = self.scale(total, str(buffer.lanes))
            total.lane = self.iadd(total.lane, "1")
        return total

    def pointer(self, buffer: Buffer, offset: Linear) -> str:
        """The address of lane 0 without the constant part; outer terms first, so they hoist."""
        sums: dict[int, str] = {}
        for term in offset.terms:
            level = self.level_of.get(term, 0)
            sums[level] = self.iadd(sums[level], term) if level in sums else term
        p = buffer.pointer
        for level in sorted(sums):
            p = self.emit(
                f"getelementptr {memory(buffer.dtype)}, ptr {p}, i64 {sums[level]}", p, sums[level]
            )
        return p

    def displaced(self, buffer: Buffer, p: str, count: int) -> str:
        if count == 0:
            return p
        return self.emit(f"getelementptr {memory(buffer.dtype)}, ptr {p}, i64 {count}", p)

    def lane_pointers(self, buffer: Buffer, p: str, offset: Linear, part: int) -> str:
        """The addresses of one part, ``p`` being that of lane 0 without the constant part."""
        ops, w = Spelling(self, self.width), self.width
        p = self.displaced(buffer, p, offset.const)
        if offset.lane != "0":
            start = self.imul(offset.lane, str(part * w))
            p = (
                p
                if start == "0"
                else self.emit(
                    f"getelementptr {memory(buffer.dtype)}, ptr {p}, i64 {start}", p, start
                )
            )
        index = ""
        if offset.lane != "0":
            index = iota(w)
            if offset.lane != "1":
                index = ops.binary("mul", "i64", index, self.splat(offset.lane, "i64", w))
        for vector in offset.vectors:
            index = ops.binary("add", "i64", vector[part], index) if index else vector[part]
        if not index:
            index = "zeroinitializer"
        return self.emit(
            f"getelementptr {memory(buffer.dtype)}, ptr {p}, <{w} x i64> {index}", p, index
        )

    # ---- masks -----------------------------------------------------------------------------------

    def any(self, masks: tuple[str, ...]) -> str:
        """Whether some lane of some part is on."""
        ops = Spelling(self, self.width)
        total = masks[0]
        for mask in masks[1:]:
            total = ops.binary("or", "bool", total, mask)
        bits = self.emit(f"bitcast {reg('bool', self.width)} {total} to i{self.width}", total)
        return self.emit(f"icmp ne i{self.width} {bits}, 0", bits)

    def wide(self, v: Value, dtype: str) -> tuple[str, ...]:
        """A value as vectors, one per part."""
        return v if isinstance(v, tuple) else (self.splat(v, dtype, self.width),) * self.parts

    def both(self, mask: tuple[str, ...] | None, cond: Value | None) -> tuple[str, ...] | None:
        """Lanes that are on in both; None is all of them."""
        if cond is None:
            return mask
        conds = self.wide(cond, "bool")
        if mask is None:
            return conds
        ops = Spelling(self, self.width)
        return tuple(ops.binary("and", "bool", m, c) for m, c in zip(mask, conds, strict=True))

    # ---- loads -----------------------------------------------------------------------------------

    def load(self, e: Load) -> Value:
        buffer = self.buffers[e.buffer]
        offset = self.flat(buffer, e.index)
        guard = None if e.guard is None else self.value(e.guard)
        if offset.uniform:
            return self.load_uniform(e.buffer, offset, guard)
        mask = self.both(self.mask, guard)
        if buffer.lanes and guard is None:
            # every lane has its copy of this element, lanes that are off too
            mask = None if offset.lane == "1" and not offset.vectors else mask
        masks = mask if mask is not None else (None,) * self.parts
        p = self.pointer(buffer, offset)
        near = self.neighbours.get((e.buffer, offset.terms, offset.const))
        if near is not None and mask is None and offset.step == 1:
            return self.load_shifted(e.buffer, p, offset, near)
        parts = []
        half = half_of_pair(e.index, buffer.shape) if abs(offset.apart) == 2 else None
        for part, m in enumerate(masks):
            if offset.step:
                parts.append(self.load_vector(e.buffer, p, offset, part, m))
            elif half is not None:
                parts.append(self.load_half(e.buffer, p, offset, part, m, half))
            elif 1 < offset.apart <= LONGEST_STEP < self.width:
                parts.append(self.load_strided(e.buffer, p, offset, part, m))
            else:
                parts.append(self.gather(e.buffer, self.lane_pointers(buffer, p, offset, part), m))
        return tuple(parts)

    def load_uniform(self, name: str, offset: Linear, guard: Value | None) -> Value:
        """One element for all lanes. Where it may not be read, a cell that holds zero is."""
        buffer = self.buffers[name]
        p = self.pointer(buffer, offset)
        p = self.displaced(buffer, p, offset.const)
        if isinstance(guard, tuple):
            on = self.both(self.mask, guard)
            assert on is not None
            v = self.load_scalar(name, self.or_zero(self.any(on), p), False)
            ops = Spelling(self, self.width)
            zero = ops.constant(0, buffer.dtype)
            wide = self.wide(v, buffer.dtype)
            return tuple(
                ops.select(g, x, zero, buffer.dtype) for g, x in zip(guard, wide, strict=True)
            )
        conds = [guard] if isinstance(guard, str) else []
        if self.diverged and self.mask is not None:
            conds.append(self.any(self.mask))
        for cond in conds:
            p = self.or_zero(cond, p)
        return self.load_scalar(name, p, not conds)

    def or_zero(self, cond: str, p: str) -> str:
        """``p`` where ``cond`` holds, else the address of a zero."""
        if not self.zero_cell:
            self.zero_cell = "%zero"
            self.allocas += ["  %zero = alloca i64, align 8", "  store i64 0, ptr %zero, align 8"]
        return self.emit(f"select i1 {cond}, ptr {p}, ptr {self.zero_cell}", cond, p)

    def load_scalar(self, name: str, p: str, uncertain: bool) -> str:
        buffer = self.buffers[name]
        size = DTYPES[buffer.dtype].itemsize
        v = self.emit(
            f"load {memory(buffer.dtype)}, ptr {p}, align {size}",
            p,
            buffer=name,
            uncertain=uncertain,
        )
        if buffer.dtype == "bf16":
            return self.emit(f"bitcast i16 {v} to bfloat", v)
        return self.emit(f"icmp ne i8 {v}, 0", v) if buffer.dtype == "bool" else v

    def side_by_side(self, offset: Linear, part: int) -> int:
        """Where the vector of a part begins: for a downward one, at its last lane."""
        start = offset.const + offset.step * part * self.width
        return start if offset.step == 1 else start - (self.width - 1)

    def reverse(self, v: str, element: str) -> str:
        """The lanes in the opposite order."""
        w = self.width
        order = ", ".join(f"i32 {k}" for k in reversed(range(w)))
        return self.emit(
            f"shufflevector <{w} x {element}> {v}, <{w} x {element}> poison, <{w} x i32> <{order}>",
            v,
        )

    def load_vector(self, name: str, p: str, offset: Linear, part: int, mask: str | None) -> str:
        buffer = self.buffers[name]
        p = self.displaced(buffer, p, self.side_by_side(offset, part))
        if mask is not None and offset.step < 0:
            mask = self.reverse(mask, "i1")
        v = self.load_lanes(name, p, mask)
        v = v if offset.step > 0 else self.reverse(v, memory(buffer.dtype))
        return self.from_memory(v, buffer.dtype)

    def load_lanes(self, name: str, p: str, mask: str | None) -> str:
        """As many elements as lanes, from ``p`` on, as they are in memory."""
        buffer, w = self.buffers[name], self.width
        element, size = memory(buffer.dtype), DTYPES[buffer.dtype].itemsize
        if mask is None:
            return self.emit(
                f"load <{w} x {element}>, ptr {p}, align {size}", p, buffer=name, uncertain=True
            )
        return self.emit(
            f"call <{w} x {element}> @llvm.masked.load.{memory_suffix(buffer.dtype, w)}.p0("
            f"ptr {p}, i32 {size}, "
            f"<{w} x i1> {mask}, <{w} x {element}> zeroinitializer)",
            p,
            mask,
            buffer=name,
        )

    def find_neighbours(self, value: Expr) -> None:
        """Note which reads of a statement have most elements in common."""
        self.neighbours = {}
        if self.parts < 2 or self.mask is not None:
            return
        places: dict[tuple[str, tuple[str, ...]], set[int]] = {}
        for e in walk(value):
            if not isinstance(e, Load) or e.guard is not None or e.buffer not in self.buffers:
                continue
            buffer = self.buffers[e.buffer]
            whole = DTYPES[e.dtype].itemsize * self.width == LINE and buffer.pointer
            if (
                not whole
                or buffer.lanes
                or any(isinstance(n, Load) for i in e.index for n in walk(i))
            ):
                continue
            offset = self.flat(buffer, e.index)
            if offset.step == 1:
                places.setdefault((e.buffer, offset.terms), set()).add(offset.const)
        for (name, terms), consts in places.items():
            for const, near in sources(consts, self.width).items():
                self.neighbours[name, terms, const] = near

    def load_shifted(self, name: str, p: str, offset: Linear, near: int) -> tuple[str, ...]:
        """The vectors at ``offset``, made of those that begin at the constant ``near``."""
        buffer, w, shift = self.buffers[name], self.width, offset.const - near
        type = f"<{w} x {memory(buffer.dtype)}>"
        at = [near + part * w for part in range(self.parts)]
        loaded = [self.load_lanes(name, self.displaced(buffer, p, k), None) for k in at]
        found = []
        for part in range(self.parts):
            first = part if shift >= 0 else part - 1
            if shift == 0:
                v = loaded[part]
            elif not 0 <= first < self.parts - 1:
                place = self.displaced(buffer, p, at[part] + shift)
                v = self.load_lanes(name, place, None)
            else:
                a, b = loaded[first : first + 2]
                lanes = order(shift % w, w)
                v = self.emit(f"shufflevector {type} {a}, {type} {b}, <{w} x i32> <{lanes}>", a, b)
            found.append(self.from_memory(v, buffer.dtype))
        return tuple(found)

    def load_strided(self, name: str, p: str, offset: Linear, part: int, mask: str | None) -> str:
        """Lanes that lie a few elements apart, out of vectors of all elements between them."""
        buffer, w, step = self.buffers[name], self.width, offset.apart
        first = offset.const + part * w * step
        masks = [None] * step if mask is None else lane_masks(self.emit, mask, step, w)
        vectors = [
            self.load_lanes(name, self.displaced(buffer, p, first + start), m)
            for start, m in zip(starts(step, w), masks, strict=True)
        ]
        v = merged(self.emit, memory(buffer.dtype), vectors, step, w)
        return self.from_memory(v, buffer.dtype)

    def load_half(
        self, name: str, p: str, offset: Linear, part: int, mask: str | None, half: int
    ) -> str:
        """Lanes that are one half of pairs, out of vectors of both: those serve the other half."""
        buffer, w = self.buffers[name], self.width
        vectors = []
        for k in (0, 1):
            at, lanes = pairs(offset, w, part, k)
            on = None if mask is None else shuffled(self.emit, "i1", mask, mask, lanes)
            vectors.append(self.load_lanes(name, self.displaced(buffer, p, at - half), on))
        order = [2 * lane + half for lane in range(w)]
        v = shuffled(self.emit, memory(buffer.dtype), *vectors, order[:: offset.apart // 2])
        return self.from_memory(v, buffer.dtype)

    def gather(self, name: str, p: str, mask: str | None) -> str:
        buffer, w = self.buffers[name], self.width
        element, size = memory(buffer.dtype), DTYPES[buffer.dtype].itemsize
        on = mask or "splat (i1 true)"
        v = self.emit(
            f"call <{w} x {element}> @llvm.masked.gather.{memory_suffix(buffer.dtype, w)}.v{w}p0("
            f"<{w} x ptr> {p}, "
            f"i32 {size}, <{w} x i1> {on}, <{w} x {element}> zeroinitializer)",
            p,
            on,
            buffer=name,
            uncertain=mask is None,
        )
        return self.from_memory(v, buffer.dtype)

    def from_memory(self, v: str, dtype: str) -> str:
        if dtype == "bf16":
            return self.emit(f"bitcast <{self.width} x i16> {v} to <{self.width} x bfloat>", v)
        if dtype != "bool":
            return v
        return self.emit(f"icmp ne <{self.width} x i8> {v}, zeroinitializer", v)

    # ---- stores ----------------------------------------------------------------------------------

    def store(self, s: Store) -> None:
        buffer = self.buffers[s.buffer]
        v = self.value(s.value)
        guard = None if s.guard is None else self.value(s.guard)
        offset = self.flat(buffer, s.index)
        self.stored(s.buffer)
        if offset.uniform and isinstance(v, str) and not isinstance(guard, tuple):
            conds = [guard] if guard is not None else []
            if self.diverged and self.mask is not None:
                conds.append(self.any(self.mask))
            self.store_scalar(buffer, offset, v, conds)
            return
        mask = self.both(self.mask, guard)
        masks = mask if mask is not None else (None,) * self.parts
        wide = self.wide(v, buffer.dtype)
        p = self.pointer(buffer, offset)
        for part, m in enumerate(masks):
            if offset.step:
                self.store_vector(buffer, p, offset, part, wide[part], m)
            else:
                self.scatter(buffer, self.lane_pointers(buffer, p, offset, part), wide[part], m)

    def store_in_turn(self, first: Store, second: Store) -> bool:
        """Two vectors whose elements lie in turn, written as whole vectors; False where they do not
        lie so, and nothing is written.
        """
        buffer = self.buffers[first.buffer]
        if not self.width or buffer.dtype not in ("f32", "f64"):
            return False
        offset = self.flat(buffer, first.index)
        if abs(offset.apart) != 2:
            return False
        guard = None if first.guard is None else self.value(first.guard)
        values = [self.wide(self.value(s.value), buffer.dtype) for s in (first, second)]
        self.stored(first.buffer)
        mask = self.both(self.mask, guard)
        masks = mask if mask is not None else (None,) * self.parts
        p, w, element = self.pointer(buffer, offset), self.width, memory(buffer.dtype)
        for part, (a, b, m) in enumerate(zip(*values, masks, strict=True)):
            for half in (0, 1):
                start, lanes = pairs(offset, w, part, half)
                order = [lane + w * (k % 2) for k, lane in enumerate(lanes)]
                on = None if m is None else shuffled(self.emit, "i1", m, m, order)
                v = shuffled(self.emit, element, a, b, order)
                self.store_vector(buffer, p, Linear(start, offset.terms, "1"), 0, v, on)
        return True

    def store_scalar(self, buffer: Buffer, offset: Linear, v: str, conds: list[str]) -> None:
        p = self.displaced(buffer, self.pointer(buffer, offset), offset.const)
        if buffer.dtype == "bool":
            v = self.emit(f"zext i1 {v} to i8", v)
        elif buffer.dtype == "bf16":
            v = self.emit(f"bitcast bfloat {v} to i16", v)
        write = f"store {memory(buffer.dtype)} {v}, ptr {p}, align {DTYPES[buffer.dtype].itemsize}"
        if not conds:
            self.line(write)
            return
        cond = conds[0]
        for other in conds[1:]:
            cond = self.emit(f"and i1 {cond}, {other}", cond, other)
        yes, after = self.labels("store", "stored")
        self.line(f"br i1 {cond}, label %{yes}, label %{after}")
        self.start(yes)
        self.line(write)
        self.line(f"br label %{after}")
        self.start(after)

    def to_memory(self, v: str, dtype: str) -> str:
        if dtype == "bf16":
            return self.emit(f"bitcast <{self.width} x bfloat> {v} to <{self.width} x i16>", v)
        if dtype != "bool":
            return v
        return self.emit(f"zext <{self.width} x i1> {v} to <{self.width} x i8>", v)

    def store_vector(
        self, buffer: Buffer, p: str, offset: Linear, part: int, v: str, mask: str | None
    ) -> None:
        w, size = self.width, DTYPES[buffer.dtype].itemsize
        p = self.displaced(buffer, p, self.side_by_side(offset, part))
        v = self.to_memory(v, buffer.dtype)
        if offset.step < 0:
            v = self.reverse(v, memory(buffer.dtype))
            mask = None if mask is None else self.reverse(mask, "i1")
        typed = f"<{w} x {memory(buffer.dtype)}> {v}"
        if mask is None:
            self.line(f"store {typed}, ptr {p}, align {size}")
        elif mask[0] == "<" and mask.count("true") == 1:
            # LLVM 22 makes one lane of a truncated vector a scalar store of the width before it was
            # truncated
            lane = ["true" in x for x in mask.split(",")].index(True)
            one = self.emit(f"extractelement {typed}, i32 {lane}", v)
            q = self.displaced(buffer, p, lane)
            self.line(f"store {memory(buffer.dtype)} {one}, ptr {q}, align {size}")
        else:
            name = memory_suffix(buffer.dtype, w)
            self.line(
                f"call void @llvm.masked.store.{name}.p0({typed}, ptr {p}, i32 {size}, "
                f"<{w} x i1> {mask})"
            )

    def scatter(self, buffer: Buffer, p: str, v: str, mask: str | None) -> None:
        w, size = self.width, DTYPES[buffer.dtype].itemsize
        typed = f"<{w} x {memory(buffer.dtype)}> {self.to_memory(v, buffer.dtype)}"
        on = mask or "splat (i1 true)"
        name = memory_suffix(buffer.dtype, w)
        self.line(
            f"call void @llvm.masked.scatter.{name}.v{w}p0({typed}, <{w} x ptr> {p}, i32 {size}, "
            f"<{w} x i1> {on})"
        )


def pairs(offset: Linear, width: int, part: int, half: int) -> tuple[int, list[int]]:
    """Where half of a part's pairs begin, which lie side by side upward or downward, and the lanes
    that the elements there belong to.
    """
    lanes = [(half * width + k) // 2 for k in range(width)]
    if offset.apart > 0:
        return offset.const + (2 * part + half) * width, lanes
    first = offset.const - 2 * (width * (part + 1) - 1)
    return first + half * width, [width - 1 - lane for lane in lanes]


def half_of_pair(index: tuple[Expr, ...], shape: tuple[int | str, ...]) -> int | None:
    """Which of two, where an element is one of a last axis of two: a part of a complex number."""
    match index:
        case (*_, Const(value=0 | 1 as half)) if shape[-1] == 2:
            return int(half)
    return None


def in_turn(first: Stmt, second: Stmt | None) -> bool:
    """Whether two stores write places 0 and 1 of a last axis, under one condition, what is known
    before both: the parts of a complex number.
    """
    match first, second:
        case Store(index=(*a, Const(value=0))), Store(index=(*b, Const(value=1)), value=Var()):
            same = first.buffer == second.buffer and first.guard is second.guard
            return same and a == b
    return False


def iota(width: int, start: int = 0) -> str:
    """The lane numbers as an i64 vector constant."""
    return "<" + ", ".join(f"i64 {start + k}" for k in range(width)) + ">"


def memory_suffix(dtype: str, width: int) -> str:
    element = memory(dtype)
    return f"v{width}" + (element if element[0] == "i" else dtype)


def merge_axes(
    index: tuple[Expr, ...], shape: tuple[int | str, ...]
) -> list[tuple[Expr, tuple[int | str, ...]]]:
    """Axes and extents; two indexed ``idiv(e, n), irem(e, n)``, n the second extent, are one."""
    axes: list[tuple[Expr, tuple[int | str, ...]]] = []
    for e, extent in zip(index, shape, strict=True):
        if axes and isinstance(e, Op) and e.fn == "irem" and is_extent(e.args[1], extent):
            before, extents = axes[-1]
            if isinstance(before, Op) and before.fn == "idiv" and before.args == e.args:
                axes[-1] = (e.args[0], (*extents, extent))
                continue
        axes.append((e, (extent,)))
    return axes


def is_extent(e: Expr, extent: int | str) -> bool:
    return (isinstance(e, Const) and e.value == extent) or (isinstance(e, Var) and e.name == extent)
