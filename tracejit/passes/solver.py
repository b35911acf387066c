"""Linear algebra as calls of a GPU's libraries with ordinary operations around them.

    cholesky(a)    ->  f, info = raw_potrf(a); select(info == 0, its lower triangle, nan)

Comes in: any graph, and ``takes(node)``, which says of a record of ``ops/raw_solver.py`` whether
the target has a library for it. ``passes/lapack.py`` first writes the routines of LAPACK that a
function of matrices is made of; here each becomes what the libraries have, which differs: failures
are numbers that a kernel makes nan of, only one triangle is written, row exchanges count from 1,
only matrices with no fewer rows than columns have singular values. What nobody takes stays a
routine of LAPACK, run by the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.ir.build import Builder, building, full_like
from tracejit.ir.graph import Atom, Graph, Node, Value
from tracejit.ir.types import DTYPES, TensorType, kind
from tracejit.ops import arith, lapack, layout, logic, parts, reduce
from tracejit.ops import linalg_parts as m
from tracejit.ops import raw_solver as raw
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.family import ADD
from tracejit.passes.dead import drop_dead
from tracejit.passes.lapack import call_lapack
from tracejit.passes.merge import merge_equal
from tracejit.passes.simplify import simplify
from tracejit.passes.subgraphs import replaced

Takes = Callable[[Node], bool]

I32 = DTYPES["i32"]
#: rows and columns up to which many matrices have their singular values found at once
SMALL = 32
#: rows for each matrix of a stack up to which many are factored at once
ROWS_EACH = 128


def call_solvers(graph: Graph, takes: Takes, *, off: frozenset[str] = frozenset()) -> Graph:
    """``graph`` with its linear algebra, that of inner graphs too, in calls of libraries. What is
    written is simplified, but for the rules in ``off``.
    """
    written = call_lapack(graph, off=off)
    if written is graph or not takes(_probe()):
        return graph
    found = _found(written, takes)
    if found is written:
        return written
    return drop_dead(merge_equal(simplify(drop_dead(merge_equal(found)), off=off)))


def _probe() -> Node:
    """A node that any library for linear algebra takes."""
    x = TensorType(DTYPES["f32"], (2, 2))
    outs = raw.raw_potrf.infer(x)
    return Node(raw.raw_potrf, (Value(x),), {}, tuple(map(Value, outs)))


def _found(graph: Graph, takes: Takes) -> Graph:
    def rule(node: Node, inputs: tuple[Atom, ...], env: dict[Value, Atom]) -> Any:
        write = _RULES.get(node.prim)
        if write is None or 0 in (v.type.size for v in (*inputs, *node.outputs)):
            return None
        if not _all_taken(node, write, takes):
            return None
        return write(*map(_in_memory, inputs), **node.params)

    return replaced(graph, lambda sub: _found(sub, takes), rule)


def _all_taken(node: Node, write: Callable[..., Any], takes: Takes) -> bool:
    """Whether the libraries take every call that would stand for a node."""
    builder = Builder()
    with building(builder):
        write(*(Value(x.type) for x in node.inputs), **node.params)
    return all(takes(made) for made in builder.nodes if made.prim.library == "solver")


def _in_memory(x: Atom) -> Any:
    """``x``, or an array of the one number that it is: libraries read memory."""
    if isinstance(x, Value):
        return x
    places = layout.iota(dtype=DTYPES["f32"], shape=x.type.shape, dimension=0)
    nothing = arith.mul(places, full_like(places, 0))  # no rule of floats, which may be nan
    return ADD(parts.convert(nothing, dtype=x.type.dtype), x)


# ---- what failed ---------------------------------------------------------------------------------


def _failed(info: Any) -> Any:
    return logic.ne(info, full_like(info, 0))


def _wide(mask: Any, type: TensorType) -> Any:
    """A mask of matrices, for each element of what a stack of them has."""
    return broadcast_in_dim(mask, shape=type.shape, dims=tuple(range(mask.type.ndim)))


def _nan_where(mask: Any, x: Any) -> Any:
    """``x`` with nothing in the matrices that ``mask`` says."""
    return logic.select(_wide(mask, x.type), full_like(x, m.nothing(x.type.dtype)), x)


def _finite(x: Any) -> Any:
    """Which matrices of a stack are finite."""
    rank = x.type.ndim
    if kind(x.type.dtype) == "c":
        ok = logic.and_(logic.is_finite(parts.real(x)), logic.is_finite(parts.imag(x)))
    else:
        ok = logic.is_finite(x)
    return reduce.reduce_and(ok, axes=(rank - 2, rank - 1))


def _made_finite(x: Any, ok: Any) -> Any:
    """Zeros in place of matrices that iterations need not come to an end of."""
    return logic.select(_wide(ok, x.type), x, full_like(x, 0))


# ---- factorisations ------------------------------------------------------------------------------


def _potrf(a: Any) -> Any:
    found, info = raw.raw_potrf(a)
    rank = a.type.ndim
    below = m.inside(a.type.shape, logic.le, 0)
    on = logic.select(m.inside(a.type.shape, logic.eq, 0), found, full_like(found, 0))
    # a sum of positive numbers, or nan: libraries need not call that a failure
    total = reduce_sum(m.real(on), axes=(rank - 2, rank - 1))
    bad = logic.or_(_failed(info), logic.is_nan(total))
    return _nan_where(bad, logic.select(below, found, full_like(found, 0)))


def _getrf(x: Any) -> Any:
    columns, rows = x.type.shape[-2:]
    count = x.type.size // (rows * columns)
    batched = count > 1 and rows == columns and rows <= ROWS_EACH * count
    factors, pivots, _ = raw.raw_getrf(x, batched=batched)
    # among nan there is no largest element: whatever was taken for one stays a row
    pivots = arith.sub(pivots, full_like(pivots, 1))
    pivots = arith.max_(pivots, full_like(pivots, 0))
    pivots = arith.min_(pivots, full_like(pivots, rows - 1))
    if pivots.type.dtype != I32:
        pivots = parts.convert(pivots, dtype=I32)
    return factors, pivots, lapack.lapack_pivots(pivots, permutation_size=rows)


def _geqrf(x: Any, *, checked: bool) -> Any:
    factors, taus, _ = raw.raw_geqrf(x)
    if checked:
        bad = logic.not_(_finite(x))
        factors, taus = _nan_where(bad, factors), _nan_where(bad, taus)
    return factors, taus


def _orgqr(x: Any, taus: Any) -> Any:
    return raw.raw_orgqr(x, taus)[0]


# ---- values and vectors --------------------------------------------------------------------------


def _vectors(x: Any, lower: bool) -> tuple[Any, Any]:
    """Eigenvectors, transposed, and eigenvalues."""
    return _syevd(x, lower, True)


def _values(x: Any, lower: bool) -> Any:
    return _syevd(x, lower, False)[1]


def _syevd(x: Any, lower: bool, vectors: bool) -> tuple[Any, Any]:
    # the triangle of a matrix is the other one of its transpose
    ok = _finite(m.triangle(x, lower=not lower))
    found, values, info = raw.raw_syevd(_made_finite(x, ok), lower=lower, vectors=vectors)
    bad = logic.or_(logic.not_(ok), _failed(info))
    return (_nan_where(bad, found) if vectors else found), _nan_where(bad, values)


def _gesdd(x: Any, *, full_matrices: bool, compute_uv: bool) -> Any:
    columns, rows = x.type.shape[-2:]
    ok = _finite(x)
    clean = _made_finite(x, ok)
    many = x.type.size > rows * columns and max(rows, columns) <= SMALL
    write = _small_values if many else _large_values
    info, values, *vectors = write(clean, full_matrices, compute_uv)
    bad = logic.or_(logic.not_(ok), _failed(info))
    found = [_nan_where(bad, y) for y in (values, *vectors)]
    return tuple(found) if compute_uv else found[0]


def _large_values(x: Any, full: bool, vectors: bool) -> tuple[Any, ...]:
    """One after the other; a wide matrix by its transpose: a^T = U S V^H is a = conj(V) S U^T."""
    columns, rows = x.type.shape[-2:]
    job = ("A" if full else "S") if vectors else "N"
    y = x if rows >= columns else m.swapped(x)
    _, values, *found, info = raw.raw_gesvd(y, job=job)
    if rows < columns and found:
        found = [m.swapped(found[1]), m.swapped(found[0])]
    return info, values, *found


def _small_values(x: Any, full: bool, vectors: bool) -> tuple[Any, ...]:
    """All at once."""
    _, values, *found, info = raw.raw_gesvdj(x, job="A" if vectors else "N")
    if not vectors:
        return info, values
    u, v = found  # both transposed; wanted is the transpose of V^H
    k = values.type.shape[-1]
    u, v = (u, v) if full else (m.first_rows(u, k), m.first_rows(v, k))
    return info, values, u, m.adjoint(v)


_RULES: dict[Any, Callable[..., Any]] = {
    lapack.lapack_potrf: _potrf,
    lapack.lapack_getrf: _getrf,
    lapack.lapack_geqrf: _geqrf,
    lapack.lapack_orgqr: _orgqr,
    lapack.lapack_trsm: lambda b, a, **params: raw.raw_trsm(b, a, **params),
    lapack.lapack_gesdd: _gesdd,
    lapack.lapack_syevd: lambda x, *, lower: _vectors(x, lower),
    lapack.lapack_syevd_values: lambda x, *, lower: _values(x, lower),
}
