"""A primitive operation is one frozen record; its fields are all that the system knows of the
operation.

What a family can derive (shapes of elementwise operations, batching of layout operations ...) is
filled in by the family's maker in ``ops/``. A field that is None is a missing feature: whoever
needs it raises ``MissingRule`` naming the primitive and the field. Making a record has no side
effect.

Rules are written with primitives applied to Values: inside a rule ``mul(dx, cos(x))`` adds nodes to
the graph that is being built (``ir/build.py``); Python scalars among the arguments become Literals
of the type of the first Value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tracejit import hints
from tracejit.errors import MissingRule
from tracejit.ir import build
from tracejit.record import dataclass


@dataclass(frozen=True)
class Spell:
    """How each printer writes a scalar operation: a template with ``{0} {1} ...`` for the
    arguments.

    A dict maps letters of the argument's kind (``f i u b c``, several at once as in "iu") to
    templates. LLVM templates are the right-hand side of one instruction: ``{t}`` the result type
    (``<16 x float>``), ``{a}`` the type of the first argument, ``{m}`` the first argument's
    intrinsic suffix (``v16f32``). A printer with no template for an operation takes
    ``kernel/math.py``'s expansion, then the record's ``scalar`` definition; with neither, the
    operation runs as its NumPy body between kernels.
    """

    c: str | Mapping[str, str] | None = None
    numba: str | Mapping[str, str] | None = None
    llvm: str | Mapping[str, str] | None = None

    def get(self, printer: str, kind: str) -> str | None:
        """The template of ``printer`` for arguments of ``kind``, or None."""
        spelled = getattr(self, printer)
        if spelled is None or isinstance(spelled, str):
            return spelled
        return next((text for kinds, text in spelled.items() if kind in kinds), None)


@dataclass(frozen=True)
class Reduce:
    """The reduction a primitive is: fold ``fn`` over ``axes`` (the param of that name) from
    ``identity(dtype)``.
    """

    fn: str
    identity: Callable[[Any], bool | int | float]


@dataclass(frozen=True, eq=False)
class Primitive:
    """One operation. ``xs`` are Values or Literals, ``params`` static keyword arguments.

    infer
        ``(*types, **params) -> TensorType | tuple``; raises ShapeError or DTypeError on bad input
    numpy
        ``(*arrays, **params) -> array | tuple``: the meaning, the oracle of every test
    params
        names of the static parameters, in the order of the text form
    jvp
        ``(dxs, ys, xs, **params) -> dys``: dxs has None for an operand without tangent; ys is a
        tuple; a dy may be None (zero). Linear in dxs, built from linear primitives only
    push
        in place of jvp for operations that hold graphs: ``(mode, xs, dxs, **params) -> (ys, dys)``.
        Mode "jvp": one joint node is fine; mode "linearize": the nodes that depend on dxs must be
        linear and separate from the rest
    transpose
        ``(cts, xs, **params) -> cts of operands``: xs holds ``Linear(type)`` for the operands the
        node is linear in and Values for the others (answer None for those); a ct may be None
        (zero); cts is a tuple, one per output
    batch
        ``(size, mask, xs, **params) -> outs``: operands with mask True carry a batch axis of
        ``size`` at axis 0; every output gets one too. May return ``Partly(outs, mask)``
    element
        ``(xs, index, **params) -> Expr``: one output element; ``xs[k](index)`` reads operand k
        there, ``xs[k].type`` is its type. For several outputs: a tuple of Exprs
    reduce
        a ``Reduce``: the operation folds one operand over the axes in ``params["axes"]``
    library
        name of a library call ("gemm", "conv"): how contractions run
    lower
        ``(k, xs, outs, **params)``: writes its loops with a kernel builder (``kernel/build.py``)
    updates
        True when the result is the first operand, changed in places: ``lower`` finds that operand
        in the result's memory already and writes only what changes
    lowers
        ``(*types, **params) -> bool``: whether ``lower`` takes these operands (None: it takes all);
        where it does not, the element rule serves, or the NumPy body between kernels
    into
        ``(outs, *xs, **params)``: writes the results into ``outs``, one array per output: what a
        compiled program calls in place of ``numpy``, whose results it would have to copy
    cuda
        a user's own CUDA kernel: ``(*types, **params) -> CudaLaunch`` (``kernel/gpu/source.py``)
    scalar
        ``(*exprs) -> Expr``: definition by other scalar operations, for printers without a spelling
    spell
        how printers write it, for scalar operations
    domain
        where generated tests draw inputs: ``(low, high)`` or one such pair per operand
    kinds
        letters of the dtypes accepted ("fc" ...), for tests and documentation
    effect
        True when the node must run once, in order (debug print, callback)
    heavy
        True when recomputing it in several consumers costs more than a load (exp, erf ...)
    cases
        ``() -> [(types, params), ...]``: typical uses, for the generated tests
    """

    name: str
    infer: Callable[..., Any]
    numpy: Callable[..., Any] | None = None
    params: tuple[str, ...] = ()
    jvp: Callable[..., Any] | None = None
    push: Callable[..., Any] | None = None
    transpose: Callable[..., Any] | None = None
    batch: Callable[..., Any] | None = None
    element: Callable[..., Any] | None = None
    reduce: Reduce | None = None
    library: str | None = None
    lower: Callable[..., Any] | None = None
    lowers: Callable[..., bool] | None = None
    updates: bool = False
    into: Callable[..., None] | None = None
    cuda: Callable[..., Any] | None = None
    scalar: Callable[..., Any] | None = None
    spell: Spell | None = None
    domain: Any = None
    kinds: str = "biufc"
    effect: bool = False
    heavy: bool = False
    cases: Callable[[], list[Any]] | None = None
    doc: str = ""

    def __call__(self, *xs: Any, **params: Any) -> Any:
        """Add this operation to the graph being built; returns its Value, or a tuple of them."""
        return build.current().emit(self, xs, params)

    def __repr__(self) -> str:
        return self.name

    def rule(self, field: str) -> Callable[..., Any]:
        """The rule in ``field``; raises MissingRule, which names the primitive and the field, where
        there is none.
        """
        found = getattr(self, field)
        if found is None:
            raise MissingRule(f"`{self.name}` has no {field} rule", hint=hints.missing_rule(field))
        return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Linear:
    """Stands in a transpose rule for an operand the node is linear in: only its type is known."""

    type: Any


@dataclass(frozen=True)
class Partly:
    """What a batch rule returns when only some outputs carry a batch axis."""

    outs: tuple[Any, ...]
    mask: tuple[bool, ...]


def is_linear(x: Any) -> bool:
    """Whether operand ``x`` of a transpose rule is one the node is linear in."""
    return isinstance(x, Linear)
