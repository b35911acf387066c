"""A square block copied and transposed in registers.

    transpose(16) panel[c, 0] = rhs[n, c] in rows, columns

Comes in: a Transpose and the Printer that writes its kernel. Goes out: a loop over pieces of 16
bytes of the block's rows, which are columns of the target. In it vector ``k`` takes the piece of
every row ``k`` modulo the rows in 16 bytes, one beside the other; interleaving pairs of vectors
inside those 16 bytes, log2(rows) times, leaves a column in each. A block that is not whole is
copied first, row by row under a mask.

LLVM's time decides the form: it grows steeply with shuffles that feed each other; here few do. A
block of 16 by 16 that exchanges halves, quarters and so on of its rows in one piece of straight
code (Eklundh, "A fast computer method for matrix transposing", 1972) takes seven times as long to
compile and runs no faster.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.codegen.llvm_emit import is_constant, memory
from tracejit.codegen.llvm_flow import Flow
from tracejit.codegen.llvm_memory import Memory, memory_suffix
from tracejit.ir.expr import Expr, index
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import Transpose

#: bytes inside of which every CPU shuffles vectors without crossing lanes
LANE_BYTES = 16


def print_transpose(p: Flow, s: Transpose) -> None:
    """Write the instructions of ``s``: without masks where the block is whole."""
    dtype = p.buffers[s.source].dtype
    element, size = memory(dtype), DTYPES[dtype].itemsize
    first, step = _place(p, s.source, s.at), _step(p, s.source, s.axis)
    rows, columns = (p.value(x) for x in (s.rows, s.columns))
    assert isinstance(rows, str) and isinstance(columns, str)
    if is_constant(rows) and is_constant(columns):
        whole = "true" if min(int(rows), int(columns)) >= s.side else "false"
    else:
        sides = [p.emit(f"icmp sle i64 {s.side}, {n}", n) for n in (rows, columns)]
        whole = p.emit(f"and i1 {sides[0]}, {sides[1]}", *sides)
    if whole != "true":
        first, step = _padded(p, s, (rows, columns), (first, step, whole))
    to, across = _place(p, s.target, s.to), _step(p, s.target, -2)
    piece = min(s.side, LANE_BYTES // size)

    def pieces(k: str) -> None:
        """Columns ``k`` to ``k + piece`` of the block."""
        at = p.emit(f"getelementptr {element}, ptr {first}, i64 {k}", first, k)
        vectors = _pieces(p, s, at, step, piece)
        down = p.imul(k, across)
        place = p.emit(f"getelementptr {element}, ptr {to}, i64 {down}", to, down)
        for number, vector in enumerate(_interleaved(p, vectors, f"<{s.side} x {element}>")):
            if number:
                place = _next(p, place, element, across)
            p.line(f"store <{s.side} x {element}> {vector}, ptr {place}, align {size}")

    p.stored(s.target)
    p.loop("0", str(s.side), piece, pieces, (), frozenset({s.target}))
    p.stored(s.target)


def _place(p: Memory, name: str, place: tuple[Expr, ...]) -> str:
    """The address of an element."""
    buffer = p.buffers[name]
    offset = p.flat(buffer, tuple(index(i) for i in place))
    return p.displaced(buffer, p.pointer(buffer, offset), offset.const)


def _step(p: Memory, name: str, axis: int) -> str:
    """Elements between two rows along ``axis``."""
    shape, step = p.buffers[name].shape, "1"
    for extent in shape[len(shape) + axis + 1 :]:
        step = p.imul(step, str(extent) if isinstance(extent, int) else p.scalar(extent))
    return step


def _next(p: Memory, address: str, element: str, step: str) -> str:
    return p.emit(f"getelementptr {element}, ptr {address}, i64 {step}", address, step)


def _padded(
    p: Flow, s: Transpose, limits: tuple[str, str], origin: tuple[str, str, str]
) -> tuple[str, str]:
    """Where to read the block and how far its rows are apart: in the source where it is whole, else
    in a copy with zeros outside of the limits.
    """
    first, step, whole = origin
    rows, columns = limits
    source, side = p.buffers[s.source], s.side
    element, size = memory(source.dtype), DTYPES[source.dtype].itemsize
    block, vector = f"%block{p.counter}", f"<{side} x {element}>"
    p.counter += 1
    p.allocas.append(f"  {block} = alloca [{side * side} x {element}], align 64")
    lanes = "<" + ", ".join(f"i64 {k}" for k in range(side)) + ">"

    def row(r: str) -> None:
        inside = p.emit(f"icmp slt i64 {r}, {rows}", r, rows)
        limit = p.emit(f"select i1 {inside}, i64 {columns}, i64 0", inside, columns)
        wide = p.splat(limit, "i64", side)
        mask = p.emit(f"icmp slt <{side} x i64> {lanes}, {wide}", wide)
        down, here = p.imul(r, step), p.imul(r, str(side))
        address = p.emit(f"getelementptr {element}, ptr {first}, i64 {down}", first, down)
        copy = p.emit(f"getelementptr {element}, ptr {block}, i64 {here}", block, here)
        found = p.emit(
            f"call {vector} @llvm.masked.load.{memory_suffix(source.dtype, side)}.p0("
            f"ptr {address}, i32 {size}, <{side} x i1> {mask}, {vector} zeroinitializer)",
            address,
            mask,
            buffer=s.source,
        )
        p.line(f"store {vector} {found}, ptr {copy}, align {size}")

    part = {"true": "false", "false": "true"}.get(whole) or p.emit(f"xor i1 {whole}, true", whole)
    p.branch(part, lambda: p.loop("0", str(side), 1, row, (), frozenset()), (), region=True)
    if whole == "false":
        return block, str(side)
    return (
        p.emit(f"select i1 {whole}, ptr {first}, ptr {block}", whole, first),
        p.emit(f"select i1 {whole}, i64 {step}, i64 {side}", whole, step),
    )


def _pieces(p: Memory, s: Transpose, at: str, step: str, piece: int) -> list[str]:
    """``piece`` vectors: the one of number ``k`` is what lies from ``at`` on in rows ``k``, ``k +
    piece`` and so on.
    """
    dtype = p.buffers[s.source].dtype
    element, size = memory(dtype), DTYPES[dtype].itemsize
    vectors: list[str] = []
    for k in range(piece):
        at = _next(p, at, element, step) if k else at
        found = []
        for row in range(0, s.side, piece):
            down = p.imul(step, str(row))
            address = at if row == 0 else _next(p, at, element, down)
            found.append(p.fresh())  # not hoisted: the copy of a block is written right here
            p.line(f"{found[-1]} = load <{piece} x {element}>, ptr {address}, align {size}")
        vectors.append(_joined(p, found, piece, element))
    return vectors


def _joined(p: Memory, parts: Sequence[str], width: int, element: str) -> str:
    """Vectors of ``width`` elements one beside the other."""
    while len(parts) > 1:
        order = ", ".join(f"i32 {k}" for k in range(2 * width))
        vector = f"<{width} x {element}>"
        parts = [
            p.emit(f"shufflevector {vector} {a}, {vector} {b}, <{2 * width} x i32> <{order}>", a, b)
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
        width *= 2
    return parts[0]


def _interleaved(p: Memory, vectors: Sequence[str], vector: str) -> Sequence[str]:
    """Element ``k`` of every vector, lane by lane, in vector ``k``."""
    count, side = len(vectors), int(vector[1:].split()[0])
    half, rounds = count // 2, count.bit_length() - 1
    for _ in range(rounds):
        mixed = []
        for a, b in zip(vectors[:half], vectors[half:], strict=True):
            for start in (0, half):
                picked = [
                    source + lane + start + k
                    for lane in range(0, side, count)
                    for k in range(half)
                    for source in (0, side)
                ]
                order = ", ".join(f"i32 {k}" for k in picked)
                text = f"shufflevector {vector} {a}, {vector} {b}, <{side} x i32> <{order}>"
                mixed.append(p.emit(text, a, b))
        vectors = mixed
    return vectors
