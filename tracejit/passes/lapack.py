"""Linear algebra as calls of LAPACK with ordinary operations around them, for programs on CPUs.

    lu(a)                       ->  f, pivots, order = lapack_getrf(transpose(a)); transpose(f)
    det(a)                      ->  lapack_getrf, and the product of what is on the diagonal
    factored_solve(a, lu, ...)  ->  rows in their order, and two calls of trsm

LAPACK's matrices lie column after column: the transposes that this writes fuse with what is around
them. Where matrices are empty a node stays what it is.
"""

from __future__ import annotations

from typing import Any

from tracejit.ir.build import full_like
from tracejit.ir.graph import Atom, Graph, Node, Value, walk_nodes
from tracejit.ir.types import kind
from tracejit.ops import arith, lapack, layout, logic, math, parts, reduce
from tracejit.ops import linalg_parts as m
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.cumulative import cumprod
from tracejit.ops.linalg import rows_at
from tracejit.passes.dead import drop_dead
from tracejit.passes.merge import merge_equal
from tracejit.passes.simplify import simplify
from tracejit.passes.subgraphs import replaced


def call_lapack(graph: Graph, *, off: frozenset[str] = frozenset()) -> Graph:
    """``graph`` with its linear algebra, that of inner graphs too, in routines of LAPACK.

    What is written is simplified, but for the rules in ``off``.
    """
    if not any(node.prim.name in _RULES for node in walk_nodes(graph)):
        return graph
    found = _call_lapack(graph)
    if found is graph:
        return graph
    return drop_dead(merge_equal(simplify(drop_dead(merge_equal(found)), off=off)))


def _call_lapack(graph: Graph) -> Graph:
    return replaced(graph, _call_lapack, _Writer().node)


class _Writer:
    """``turned``: for a matrix that is written as a transpose, what it is the transpose of."""

    def __init__(self) -> None:
        self.turned: dict[Atom, Atom] = {}

    def node(self, node: Node, inputs: tuple[Atom, ...], env: dict[Value, Atom]) -> Any:
        if node.prim is layout.transpose and _swaps(node):
            self.turned[node.outputs[0]] = inputs[0]
        rule = _RULES.get(node.prim.name)
        if rule is None or 0 in (v.type.size for v in (*inputs, *node.outputs)):
            return None
        return rule(self, *inputs, **node.params)

    def swapped(self, x: Any) -> Any:
        """The transpose of each matrix; of a transpose, what it was made of."""
        if x in self.turned:
            return self.turned[x]
        found = m.swapped(x)
        self.turned[found] = x
        return found

    # ---- factorisations ----

    def cholesky(self, a: Any) -> Any:
        return lapack.lapack_potrf(a)

    def lu(self, a: Any) -> Any:
        factors, pivots, order = lapack.lapack_getrf(self.swapped(a))
        return self.swapped(factors), pivots, order

    def pivots(self, pivots: Any, *, permutation_size: int) -> Any:
        return lapack.lapack_pivots(pivots, permutation_size=permutation_size)

    def geqrf(self, a: Any) -> Any:
        factors, taus = lapack.lapack_geqrf(self.swapped(a), checked=False)
        return self.swapped(factors), taus

    def qr(self, a: Any, *, full_matrices: bool, pivoting: bool) -> Any:
        rows, columns = a.type.shape[-2:]
        inner = rows if full_matrices else min(rows, columns)
        if pivoting:
            factors, taus, *order = lapack.lapack_geqp3(self.swapped(a))
        else:
            factors, taus = lapack.lapack_geqrf(self.swapped(a), checked=True)
            order = []
        r = m.swapped(m.first_columns(factors, inner))
        # zero, and nan where the matrix was not finite
        first = m.first_columns(taus, 1)
        zero = layout.reshape(arith.sub(first, first), new_sizes=a.type.shape[:-2])
        zero = broadcast_in_dim(zero, shape=r.type.shape, dims=tuple(range(a.type.ndim - 2)))
        r = logic.select(m.inside(r.type.shape, logic.ge, 0), r, zero)
        if inner <= columns:
            factors = m.first_rows(factors, inner)
        else:
            config = ((0, 0, 0),) * (a.type.ndim - 2) + ((0, inner - columns, 0), (0, 0, 0))
            factors = layout.pad(factors, layout.scalar(0, a.type.dtype), config=config)
        return self.swapped(lapack.lapack_orgqr(factors, taus)), r, *order

    # ---- equations ----

    def triangular(self, a: Any, b: Any, **params: bool) -> Any:
        if params["conjugate_a"] and not params["transpose_a"]:
            a, params = m.conj(a), {**params, "conjugate_a": False}
        if kind(a.type.dtype) != "c":
            params = {**params, "conjugate_a": False}
        if a in self.turned and not params["conjugate_a"]:
            a = self.turned[a]
            for name in ("lower", "transpose_a"):
                params[name] = not params[name]
        return lapack.lapack_trsm(b, a, **params)

    def factored(self, a: Any, lu: Any, order: Any, b: Any, *, transposed: bool) -> Any:
        rest = {"left_side": True, "conjugate_a": False, "transpose_a": transposed}
        low = dict(rest, lower=True, unit_diagonal=True)
        up = dict(rest, lower=False, unit_diagonal=False)
        if not transposed:
            y = self.triangular(lu, rows_at(b, order), **low)
            return self.triangular(lu, y, **up)
        y = self.triangular(lu, self.triangular(lu, b, **up), **low)
        return rows_at(y, lapack.lapack_inverse_order(order))

    def tridiagonal_equations(self, dl: Any, d: Any, du: Any, b: Any) -> Any:
        if d.type.shape[-1] == 1:
            return arith.div(b, m.as_columns(d, b.type.shape[-1]))
        return self.swapped(lapack.lapack_gtsv(self.swapped(b), dl, d, du))

    # ---- values and vectors ----

    def svd(self, a: Any, *, full_matrices: bool, compute_uv: bool) -> Any:
        params = {"full_matrices": full_matrices, "compute_uv": compute_uv}
        values, *vectors = lapack.lapack_gesdd(self.swapped(a), **params)
        return values, *map(self.swapped, vectors)

    def eigh(self, a: Any, *, lower: bool, vectors: bool) -> Any:
        x = self.swapped(a)
        if not vectors:
            return lapack.lapack_syevd_values(x, lower=lower)
        found, values = lapack.lapack_syevd(x, lower=lower)
        return values, self.swapped(found)

    def eig(self, a: Any, *, left: bool, right: bool) -> Any:
        found = lapack.lapack_geev(self.swapped(a), left=left, right=right)
        if kind(a.type.dtype) == "c":
            return found[0], *map(self.swapped, found[1:])
        real, imaginary, *vectors = found
        return parts.complex_(real, imaginary), *(
            self.swapped(_of_pairs(v, imaginary)) for v in vectors
        )

    def schur(self, a: Any, *, vectors: bool) -> Any:
        return tuple(map(self.swapped, lapack.lapack_gees(self.swapped(a), vectors=vectors)))

    def hessenberg(self, a: Any) -> Any:
        if a.type.shape[-1] < 2:
            return None
        found, taus = lapack.lapack_gehrd(self.swapped(a))
        return self.swapped(found), taus

    def tridiagonal(self, a: Any, *, lower: bool) -> Any:
        if a.type.shape[-1] < 2:
            return None
        found, *rest = lapack.lapack_sytrd(self.swapped(a), lower=lower)
        return self.swapped(found), *rest

    # ---- functions of a matrix ----

    def slogdet(self, a: Any) -> Any:
        factors, pivots, _ = lapack.lapack_getrf(self.swapped(a))
        d = _diagonal(factors)
        axis = d.type.ndim - 1
        place = layout.iota(dtype=pivots.type.dtype, shape=pivots.type.shape, dimension=axis)
        moved = logic.ne(pivots, place)
        turned = _select(moved, d, -1, 1)
        modulus = arith.abs_(d)
        zero = logic.eq(modulus, full_like(modulus, 0))
        if kind(d.type.dtype) == "c":
            ones = logic.select(zero, full_like(modulus, 1), modulus)
            signs = arith.mul(arith.div(d, m.like(ones, d)), turned)
        else:
            signs = arith.mul(_select(logic.lt(d, full_like(d, 0)), d, -1, 1), turned)
        sign = _product(signs)
        logarithm = reduce_sum(math.log(modulus), axes=(axis,))
        singular = reduce.reduce_or(zero, axes=(axis,))
        return (
            logic.select(singular, full_like(sign, 0), sign),
            logic.select(singular, full_like(logarithm, -float("inf")), logarithm),
        )

    def det(self, a: Any) -> Any:
        sign, logarithm = self.slogdet(a)
        return arith.mul(sign, m.like(math.exp(logarithm), sign))

    def cofactor(self, a: Any) -> Any:
        """det(U) det(V^H) conj(U) diag(p) conj(V^H), where p[k] is the product of all singular
        values but the k-th.
        """
        values, u, vh = self.svd(a, full_matrices=True, compute_uv=True)
        n, axis = values.type.shape[-1], values.type.ndim - 1
        one = full_like(m.first_columns(values, 1), 1)
        before = layout.concatenate(one, m.first_columns(values, n - 1), dimension=axis)
        after = layout.concatenate(m.last_columns(values, 1), one, dimension=axis)
        if n == 1:
            before = after = one
        others = arith.mul(
            cumprod(before, axis=axis, reverse=False), cumprod(after, axis=axis, reverse=True)
        )
        turn = arith.mul(self.det(u), self.det(vh))
        wide = broadcast_in_dim(turn, shape=others.type.shape, dims=tuple(range(axis)))
        scale = arith.mul(wide, m.like(others, wide))
        return m.matmul(m.times_columns(m.conj(u), scale), m.conj(vh))

    def pinv(self, a: Any, rtol: Any, *, hermitian: bool) -> Any:
        if hermitian:
            values, v = self.eigh(a, lower=True, vectors=True)
            u, size = v, arith.abs_(values)
        else:
            values, u, vh = self.svd(a, full_matrices=False, compute_uv=True)
            size, v = values, m.adjoint(vh)
        axis = values.type.ndim - 1
        limit = arith.mul(rtol, reduce.reduce_max(size, axes=(axis,)))
        limit = broadcast_in_dim(limit, shape=size.type.shape, dims=tuple(range(axis)))
        large = logic.gt(size, limit)
        safe = logic.select(large, values, full_like(values, 1))
        inverse = arith.div(full_like(values, 1), safe)
        inverse = logic.select(large, inverse, full_like(values, 0))
        return m.matmul(m.times_columns(v, inverse), m.adjoint(u))


def _diagonal(x: Any) -> Any:
    """The diagonals of square matrices, read as they lie: every (n + 1)-th element."""
    *stack, n, _ = x.type.shape
    flat = layout.reshape(x, new_sizes=(*stack, n * n))
    zeros, ones = (0,) * len(stack), (1,) * len(stack)
    return layout.slice_(flat, start=(*zeros, 0), limit=(*stack, n * n), strides=(*ones, n + 1))


def _product(x: Any) -> Any:
    """The product along the last axis; complex numbers, which kernels do not fold, half of them
    with the other half.
    """
    axis = x.type.ndim - 1
    if kind(x.type.dtype) != "c":
        return reduce.reduce_prod(x, axes=(axis,))
    stack = x.type.shape[:-1]
    while (n := x.type.shape[-1]) > 1:
        half = n // 2
        first, second, rest = (
            _part(x, low, high) for low, high in ((0, half), (half, 2 * half), (2 * half, n))
        )
        both = arith.mul(first, second)
        x = layout.concatenate(both, rest, dimension=axis) if n % 2 else both
    return layout.reshape(x, new_sizes=stack)


def _part(x: Any, low: int, high: int) -> Any:
    """Elements of the last axis."""
    stack = x.type.shape[:-1]
    zeros, ones = (0,) * len(stack), (1,) * len(stack)
    return layout.slice_(x, start=(*zeros, low), limit=(*stack, high), strides=(*ones, 1))


def _swaps(node: Node) -> bool:
    """Whether a transpose exchanges the last two axes and no others."""
    order = node.params["permutation"]
    n = len(order)
    return n >= 2 and order == (*range(n - 2), n - 1, n - 2)


def _select(mask: Any, model: Any, yes: int, no: int) -> Any:
    return logic.select(mask, full_like(model, yes), full_like(model, no))


def _of_pairs(x: Any, imaginary: Any) -> Any:
    """LAPACK's eigenvectors of a real matrix, one a row here, as complex ones: of a pair, whose
    first has the positive imaginary part, the rows hold the real and the imaginary part.
    """
    n, rows = x.type.shape[-1], x.type.ndim - 2
    wide = m.as_columns(imaginary, n)
    zero = full_like(x, 0)
    none = logic.eq(wide, zero)
    first = logic.gt(wide, zero)

    def moved(by: int) -> Any:
        config = [(0, 0, 0)] * x.type.ndim
        config[rows] = (by, -by, 0)
        return layout.pad(x, layout.scalar(0, x.type.dtype), config=tuple(config))

    second = logic.lt(wide, zero)
    real = logic.select(second, moved(1), x)
    part = logic.select(first, moved(-1), arith.neg(x))
    return parts.complex_(real, logic.select(none, zero, part))


_RULES: dict[str, Any] = {
    "cholesky": _Writer.cholesky,
    "lu": _Writer.lu,
    "lu_pivots_to_permutation": _Writer.pivots,
    "geqrf": _Writer.geqrf,
    "qr": _Writer.qr,
    "triangular_solve": _Writer.triangular,
    "factored_solve": _Writer.factored,
    "tridiagonal_solve": _Writer.tridiagonal_equations,
    "svd": _Writer.svd,
    "eigh": _Writer.eigh,
    "eig": _Writer.eig,
    "schur": _Writer.schur,
    "hessenberg": _Writer.hessenberg,
    "tridiagonal": _Writer.tridiagonal,
    "det": _Writer.det,
    "slogdet": _Writer.slogdet,
    "cofactor": _Writer.cofactor,
    "pinv": _Writer.pinv,
}

#: names of the operations that are written in LAPACK's routines
REWRITTEN = frozenset(_RULES)
