"""A square block copied and transposed in registers.

    transpose(16) panel[c, 0] = rhs[n, c] in rows, columns

Comes in: a Transpose and the Printer that writes its kernel. Goes out: a load for each row (masked
where the block is not whole), log2(side) rounds of shuffles, a store for each column. In the round
of distance d, rows i and i + d exchange their blocks of d elements off the diagonal (Eklundh, "A
fast computer method for matrix transposing", 1972).
"""

from __future__ import annotations

from tracejit.codegen.llvm_emit import is_constant, memory
from tracejit.codegen.llvm_flow import Flow
from tracejit.codegen.llvm_memory import Memory, memory_suffix
from tracejit.ir.expr import Expr, iadd, index
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import Transpose


def print_transpose(p: Flow, s: Transpose) -> None:
    """Write the instructions of ``s``: without masks where the block is whole."""
    rows, columns = (p.value(x) for x in (s.rows, s.columns))
    assert isinstance(rows, str) and isinstance(columns, str)
    whole = p.emit(f"icmp sle i64 {s.side}, {rows}", rows)
    wide = p.emit(f"icmp sle i64 {s.side}, {columns}", columns)
    if is_constant(rows) and is_constant(columns):
        whole = "true" if min(int(rows), int(columns)) >= s.side else "false"
    else:
        whole = p.emit(f"and i1 {whole}, {wide}", whole, wide)
    part = {"true": "false", "false": "true"}.get(whole) or p.emit(f"xor i1 {whole}, true", whole)
    p.branch(whole, lambda: _block(p, s, None), ())
    p.branch(part, lambda: _block(p, s, (rows, columns)), ())
    p.stored(s.target)


def _block(p: Memory, s: Transpose, limits: tuple[str, str] | None) -> None:
    element = memory(p.buffers[s.source].dtype)
    distance = s.side // 2
    if limits is not None or s.side < 4:
        rows = [_load_row(p, s, r, limits) for r in range(s.side)]
    else:  # the first round is done by loading halves of rows
        rows = [_load_halves(p, s, r) for r in range(s.side)]
        distance //= 2
    while distance:
        for r in range(s.side):
            if not r & distance:
                pair = rows[r], rows[r + distance]
                rows[r] = _exchanged(p, pair, (s.side, distance, 0), element)
                rows[r + distance] = _exchanged(p, pair, (s.side, distance, distance), element)
        distance //= 2
    size = DTYPES[p.buffers[s.target].dtype].itemsize
    p.stored(s.target)
    for c, row in enumerate(rows):
        address = _address(p, s.target, s.to, c, -2)
        p.line(f"store <{s.side} x {element}> {row}, ptr {address}, align {size}")


def _load_halves(p: Memory, s: Transpose, r: int) -> str:
    """The same half of two rows that lie half a block apart: the first of rows ``r`` and ``r +
    side / 2``, or, for a row of the lower half, the second of ``r - side / 2`` and ``r``.
    """
    dtype, half = p.buffers[s.source].dtype, s.side // 2
    element, size = memory(dtype), DTYPES[dtype].itemsize
    halves = []
    for row in (r % half, r % half + half):
        address = _address(p, s.source, s.at, row, s.axis)
        address = p.displaced(p.buffers[s.source], address, r // half * half)
        text = f"load <{half} x {element}>, ptr {address}, align {size}"
        halves.append(p.emit(text, address, buffer=s.source, uncertain=True))
    order = ", ".join(f"i32 {k}" for k in range(s.side))
    vector = f"<{half} x {element}>"
    return p.emit(
        f"shufflevector {vector} {halves[0]}, {vector} {halves[1]}, <{s.side} x i32> <{order}>",
        *halves,
    )


def _load_row(p: Memory, s: Transpose, r: int, limits: tuple[str, str] | None) -> str:
    """Row ``r`` of the block, zeros outside of the limits."""
    dtype, side = p.buffers[s.source].dtype, s.side
    element, size = memory(dtype), DTYPES[dtype].itemsize
    address = _address(p, s.source, s.at, r, s.axis)
    if limits is None:
        text = f"load <{side} x {element}>, ptr {address}, align {size}"
        return p.emit(text, address, buffer=s.source, uncertain=True)
    rows, columns = limits
    inside = p.emit(f"icmp slt i64 {r}, {rows}", rows)
    limit = p.emit(f"select i1 {inside}, i64 {columns}, i64 0", inside, columns)
    lanes = "<" + ", ".join(f"i64 {k}" for k in range(side)) + ">"
    wide = p.splat(limit, "i64", side)
    mask = p.emit(f"icmp slt <{side} x i64> {lanes}, {wide}", wide)
    return p.emit(
        f"call <{side} x {element}> @llvm.masked.load.{memory_suffix(dtype, side)}.p0("
        f"ptr {address}, i32 {size}, <{side} x i1> {mask}, <{side} x {element}> zeroinitializer)",
        address,
        mask,
        buffer=s.source,
    )


def _address(p: Memory, name: str, place: tuple[Expr, ...], row: int, axis: int) -> str:
    """Where row ``row`` of the block at ``place`` begins."""
    buffer = p.buffers[name]
    moved = [index(i) for i in place]
    moved[axis] = iadd(moved[axis], row)
    offset = p.flat(buffer, tuple(moved))
    return p.displaced(buffer, p.pointer(buffer, offset), offset.const)


def _exchanged(p: Memory, pair: tuple[str, str], blocks: tuple[int, int, int], element: str) -> str:
    """Every second block of ``distance`` elements from ``start`` on, of both rows in turn."""
    side, distance, start = blocks
    picked: list[int] = []
    for block in range(start, side, 2 * distance):
        picked += range(block, block + distance)
        picked += range(side + block, side + block + distance)
    order = ", ".join(f"i32 {k}" for k in picked)
    vector = f"<{side} x {element}>"
    return p.emit(
        f"shufflevector {vector} {pair[0]}, {vector} {pair[1]}, <{side} x i32> <{order}>", *pair
    )
