"""Operations of your own, on the same terms as the built-in ones.

    >>> from tracejit import extend
    >>> from tracejit.ops.arith import abs_, add, div
    >>> from tracejit.ops.powers import square
    >>> softsign = extend.elementwise(
    ...     "softsign",
    ...     lambda x: x / (1 + abs(x)),  # NumPy meaning
    ...     kinds="f",
    ...     # the derivative in primitives: makes grad, hessian ... work
    ...     jvp=lambda dx, y, x: div(dx, square(add(abs_(x), 1.0))),
    ...     # the definition in scalar operations: makes it fuse into kernels
    ...     scalar=lambda x: scalar("div", x, scalar("add", scalar("abs", x), 1.0)),
    ... )
    >>> softsign_fn = extend.function(softsign)
    >>> grad(softsign_fn)(1.0)
    Array(0.25, dtype=float32)

``tracejit.testing.check_op(softsign)`` tests the record. Primitives for rules are in
``tracejit.ops``. ``docs/adding-an-op.md`` has the whole story, ``docs/own-cuda.md`` that of
``cuda_kernel``, which makes an operation of CUDA C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.frontend.array import apply, as_array
from tracejit.frontend.cuda_ops import cuda_kernel
from tracejit.ir.expr import Const, Expr, Op
from tracejit.ir.prim import Linear, Partly, Primitive, Reduce, Spell, is_linear
from tracejit.ops.family import elementwise

__all__ = [
    "Linear",
    "Partly",
    "Primitive",
    "Reduce",
    "Spell",
    "cuda_kernel",
    "elementwise",
    "function",
    "is_linear",
    "scalar",
]


def function(prim: Primitive) -> Callable[..., Any]:
    """A function of arrays that applies ``prim``; operands must agree in shape and dtype as the
    primitive asks.

    Keyword arguments are the primitive's params. Arrays it does not take raise ShapeError or
    DTypeError.

    >>> from tracejit.ops import arith
    >>> function(arith.add)(jnp.ones(2), jnp.ones(2))
    Array([2., 2.], dtype=float32)
    """

    def run(*xs: Any, **params: Any) -> Any:
        return apply(prim, *[as_array(x) for x in xs], **params)

    run.__name__ = prim.name
    run.__doc__ = prim.doc or f"Apply the primitive `{prim.name}`."
    return run


def scalar(fn: str, *args: Expr | bool | int | float) -> Expr:
    """The scalar operation ``fn`` in a ``scalar`` or ``element`` rule; numbers take the dtype of
    the first expression.

    The result has that dtype too, or bool for comparisons.

    >>> from tracejit.ir.expr import Var
    >>> print(scalar("div", Var("x", "f32"), 2.0))
    div(x, 2.0)
    """
    model = next(a for a in args if isinstance(a, Expr))
    full = tuple(a if isinstance(a, Expr) else Const(a, model.dtype) for a in args)
    compares = fn in ("eq", "ne", "lt", "le", "gt", "ge", "is_nan", "is_finite")
    dtype = "bool" if compares else full[1].dtype if fn == "select" else model.dtype
    return Op(fn, full, dtype)
