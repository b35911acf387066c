"""Writing loops: the ``k`` that a primitive's ``lower(k, xs, outs, **params)`` rule gets.

Comes in: Operands to read, Outputs to write. Goes out: statements of a kernel (``k.finish()``).

    with k.nest(x.shape[:-1]) as rows, k.loop("seq", x.shape[-1]) as j:
        k.store(out, (*rows, j), k.op("mul", x((*rows, j)), 2))

Shapes are those of ``x.shape``: an extent may be a run-time size, so a rule does not look at
``x.type.shape`` for them. Python numbers among operands take the dtype of the expressions beside
them. Locals are declared in the block that is open and end with it; their names, and those of loop
variables, are made unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from tracejit.errors import InternalError
from tracejit.ir import expr as ex
from tracejit.ir.types import TensorType, short
from tracejit.kernel.nodes import (
    Accumulate,
    Barrier,
    Check,
    Const,
    Expr,
    If,
    Load,
    Local,
    Loop,
    Op,
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
    Var,
    While,
)
from tracejit.kernel.text import RESERVED, result_dtype
from tracejit.record import dataclass

#: an operand of an expression: a Python number becomes a constant
Scalar = Expr | bool | int | float | complex
Index = Sequence[Expr | int]
Extent = Expr | int


@dataclass(frozen=True)
class Operand:
    """Something to read: ``x(index)`` is its element there, an expression.

    With ``guard``, nothing is read where that is false, and the value is zero.
    """

    type: TensorType
    shape: tuple[Extent, ...]
    read: Callable[[tuple[Expr, ...]], Expr]

    @property
    def dtype(self) -> str:
        return short(self.type.dtype)

    def __call__(self, index: Index, guard: Expr | None = None) -> Expr:
        element = self.read(_index(index, len(self.shape)))
        return element if guard is None else guarded(element, guard)


@dataclass(frozen=True)
class Output:
    """A buffer to write."""

    buffer: str
    type: TensorType
    shape: tuple[Extent, ...]

    @property
    def dtype(self) -> str:
        return short(self.type.dtype)


def operand(param: Param, type: TensorType) -> Operand:
    """The Operand that reads a buffer parameter."""
    return Operand(type, extents(param), lambda index: Load(param.name, index, param.dtype))


def output(param: Param, type: TensorType) -> Output:
    """The Output that writes a buffer parameter."""
    return Output(param.name, type, extents(param))


def extents(param: Param) -> tuple[Extent, ...]:
    """The shape of a parameter for expressions: named sizes are Vars."""
    return tuple(Var(n, "i64") if isinstance(n, str) else n for n in param.shape)


def guarded(element: Expr, guard: Expr) -> Expr:
    """``element``, reading nothing where ``guard`` is false, and zero there."""
    done: dict[Expr, Expr] = {}
    for node in ex.walk(element):
        kids = tuple(done[kid] for kid in ex.children(node))
        done[node] = ex.rebuild(node, kids)
        match done[node]:
            case Load() as load:
                both = guard if load.guard is None else Op("and", (load.guard, guard), "bool")
                done[node] = Load(load.buffer, load.index, load.dtype, both)
    safe = done[element]
    if isinstance(safe, Load) and safe.guard == guard:
        return safe
    return Op("select", (guard, safe, constant(0, safe.dtype)), safe.dtype)


def constant(value: bool | int | float | complex, dtype: str | np.dtype) -> Const:
    """A constant of ``dtype``, its value as the Python type that goes with it."""
    name = dtype_name(dtype)
    if isinstance(value, np.generic):
        value = value.item()
    if name == "bool":
        return Const(bool(value), name)
    if name[0] == "c":
        return Const(complex(value), name)
    if isinstance(value, complex):
        raise InternalError(f"complex constant {value} for {name}")
    if name[0] in "fb":
        return Const(float(value), name)
    if value != int(value):
        raise InternalError(f"constant {value} is not an integer, for {name}")
    return Const(int(value), name)


def dtype_name(dtype: str | np.dtype) -> str:
    """The short name of a dtype given either way."""
    return dtype if isinstance(dtype, str) else short(dtype)


def _index(index: Index, rank: int) -> tuple[Expr, ...]:
    if len(index) != rank:
        raise InternalError(f"index of {len(index)} entries into {rank} axes")
    return tuple(map(ex.index, index))


_FOLDED = {"add": ex.iadd, "sub": ex.isub, "mul": ex.imul, "idiv": ex.idiv, "irem": ex.imod}


def operation(fn: str, args: Sequence[Scalar], dtype: str | np.dtype | None = None) -> Expr:
    """``fn`` applied: numbers take the dtype of the other operands, the result's dtype is inferred.

    ``dtype`` is needed where it does not follow (convert, bitcast). Index arithmetic folds.
    """
    beside = args[1:] if fn == "select" else args
    models = [arg.dtype for arg in beside if isinstance(arg, Expr)]
    if fn in ("idiv", "irem"):
        models = ["i64"]
    if not models:
        models = [_alone(fn, beside, dtype)]
    exprs = tuple(
        arg
        if isinstance(arg, Expr)
        else constant(arg, "bool" if fn == "select" and k == 0 else models[0])
        for k, arg in enumerate(args)
    )
    if fn in _FOLDED and all(_is_index(arg) for arg in exprs):
        return _FOLDED[fn](*exprs)
    follows = result_dtype(fn, [arg.dtype for arg in exprs])
    if dtype is None and follows is None:
        raise InternalError(f"`{fn}` needs a dtype")
    name = follows if dtype is None else dtype_name(dtype)
    if fn == "convert" and exprs[0].dtype == name:
        return exprs[0]
    return Op(fn, exprs, name or "")


def _alone(fn: str, args: Sequence[Scalar], dtype: str | np.dtype | None) -> str:
    """The dtype of numbers beside no expression: extents may be ints, so integers are i64."""
    if dtype is not None:
        return dtype_name(dtype)
    if all(isinstance(arg, int) and not isinstance(arg, bool) for arg in args):
        return "i64"
    raise InternalError(f"`{fn}` of numbers only needs a dtype")


def _is_index(arg: Expr) -> bool:
    """An i64; constants only where folding them cannot overflow."""
    return arg.dtype == "i64" and not (isinstance(arg, Const) and abs(arg.value) >= 1 << 31)


class KernelBuilder:
    """Collects statements.

    ``names``: taken already (parameters, sizes); ``width``, ``unroll``: those of vec loops.
    """

    def __init__(self, names: Iterable[str] = (), *, width: int = 16, unroll: int = 1) -> None:
        self.width = width
        self.unroll = unroll
        self._taken = set(names) | RESERVED
        self._blocks: list[list[Stmt]] = [[]]
        self._loops: list[str] = []
        self._dtypes: dict[str, str] = {}

    # ---- expressions

    def const(self, value: bool | int | float | complex, dtype: str | np.dtype = "i64") -> Const:
        """A constant."""
        return constant(value, dtype)

    def op(self, fn: str, *args: Scalar, dtype: str | np.dtype | None = None) -> Expr:
        """A scalar operation: ``k.op("add", x, 1)``, ``k.op("convert", i, dtype="f32")``."""
        return operation(fn, args, dtype)

    def load(self, x: Operand | Output, index: Index, guard: Expr | None = None) -> Expr:
        """Element of an operand, or of an output written before."""
        if isinstance(x, Output):
            return Load(x.buffer, _index(index, len(x.shape)), x.dtype, guard)
        return x(index, guard)

    def load_from(self, buffer: str, index: Index, guard: Expr | None = None) -> Expr:
        """Element of scratch."""
        return Load(buffer, tuple(map(ex.index, index)), self._dtype_of(buffer), guard)

    # ---- statements

    def store(self, out: Output, index: Index, value: Scalar, guard: Expr | None = None) -> None:
        """``out[index] = value``; with ``guard``, only where that holds."""
        place = _index(index, len(out.shape))
        self.emit(Store(out.buffer, place, _as(value, out.dtype), guard))

    def store_to(self, buffer: str, index: Index, value: Scalar, guard: Expr | None = None) -> None:
        """The same for scratch."""
        place = tuple(map(ex.index, index))
        self.emit(Store(buffer, place, _as(value, self._dtype_of(buffer)), guard))

    def local(self, dtype: str | np.dtype, value: Scalar, name: str | None = None) -> Var:
        """Declare a variable with its first value."""
        var = Var(self.unique(name or "t"), dtype_name(dtype))
        self.emit(Local(var.name, var.dtype, _as(value, var.dtype)))
        return var

    def set(self, var: Var, value: Scalar) -> None:
        """Assign to a local."""
        self.emit(Set(var.name, _as(value, var.dtype)))

    def accumulate(self, var: Var, fn: str, value: Scalar) -> None:
        """``var = fn(var, value)``, the order of the whole reduction being free."""
        self.emit(Accumulate(var.name, fn, _as(value, var.dtype)))

    def scratch(self, dtype: str | np.dtype, shape: Sequence[int], name: str | None = None) -> str:
        """Declare a small array of constant shape, uninitialised; returns its name."""
        buffer = self.unique(name or "a")
        self._dtypes[buffer] = dtype_name(dtype)
        self.emit(Scratch(buffer, self._dtypes[buffer], tuple(shape)))
        return buffer

    def transpose(
        self, target: str, to: Index, source: str, at: Index, side: int, rows: int, columns: int
    ) -> None:
        """Copy a square block of one buffer into another, transposed."""
        places = (tuple(map(ex.index, place)) for place in (to, at))
        first, second = places
        limits = (constant(rows, "i64"), constant(columns, "i64"))
        self.emit(Transpose(target, first, source, second, side, *limits))

    def check(self, ok: Expr, code: int) -> None:
        """Record failure ``code`` when ``ok`` is false, and go on."""
        self.emit(Check(ok, code))

    def barrier(self) -> None:
        """All threads of a block meet."""
        self.emit(Barrier())

    def emit(self, stmt: Stmt) -> None:
        """Add a finished statement to the open block."""
        self._blocks[-1].append(stmt)

    # ---- blocks

    @contextmanager
    def loop(
        self,
        how: str,
        stop: Extent,
        start: Extent = 0,
        width: int | None = None,
        unroll: int | None = None,
        name: str | None = None,
    ) -> Iterator[Var]:
        """``for i in range(start, stop)``; gives ``i``. Inside another loop ``par`` is ``seq``."""
        if how == "par" and self._loops:
            how = "seq"
        if how == "vec":
            width, unroll = width or self.width, self.unroll if unroll is None else unroll
        var = Var(self.unique(name or "ijlmn"[min(len(self._loops), 4)]), "i64")
        self._loops.append(how)
        with self._block() as body:
            yield var
        self._loops.pop()
        limits = ex.index(start), ex.index(stop)
        copies = 1 if unroll is None else unroll
        self.emit(Loop(how, var.name, *limits, tuple(body), width or 1, copies))

    @contextmanager
    def nest(self, shape: Sequence[Extent], how: str = "par") -> Iterator[tuple[Var, ...]]:
        """Loops over every index of ``shape``, the first run as ``how``, the others as ``seq``."""
        with ExitStack() as stack:
            ways = [how, *["seq"] * len(shape)]
            yield tuple(
                stack.enter_context(self.loop(*pair)) for pair in zip(ways, shape, strict=False)
            )

    @contextmanager
    def when(self, cond: Expr) -> Iterator[None]:
        """``if cond:``."""
        with self._block() as body:
            yield
        self.emit(If(cond, tuple(body)))

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """``else:`` of the ``when`` just before."""
        if not self._blocks[-1] or not isinstance(self._blocks[-1][-1], If):
            raise InternalError("`otherwise` follows a `when`")
        before = self._blocks[-1].pop()
        with self._block() as body:
            yield
        if isinstance(before, If):
            self.emit(If(before.cond, before.then, tuple(body)))

    @contextmanager
    def repeat(self, cond: Expr) -> Iterator[None]:
        """``while cond:``, over locals that the body sets."""
        with self._block() as body:
            yield
        self.emit(While(cond, tuple(body)))

    def finish(self) -> tuple[Stmt, ...]:
        """The statements written."""
        if len(self._blocks) != 1:
            raise InternalError("a block of the kernel is still open")
        return tuple(self._blocks[0])

    def unique(self, name: str) -> str:
        """``name``, or with a number behind it where it is taken; taken from now on."""
        found, number = name, 0
        while found in self._taken:
            number += 1
            found = f"{name}{number}" if not name[-1].isdigit() else f"{name}_{number}"
        self._taken.add(found)
        return found

    @contextmanager
    def _block(self) -> Iterator[list[Stmt]]:
        body: list[Stmt] = []
        self._blocks.append(body)
        yield body
        if self._blocks.pop() is not body:
            raise InternalError("blocks of a kernel were closed out of order")

    def _dtype_of(self, buffer: str) -> str:
        if buffer not in self._dtypes:
            raise InternalError(f"`{buffer}` is no scratch of this kernel")
        return self._dtypes[buffer]


def _as(value: Scalar, dtype: str) -> Expr:
    return value if isinstance(value, Expr) else constant(value, dtype)
