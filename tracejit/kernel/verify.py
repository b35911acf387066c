"""What a well-formed Kernel is: scoping, types, which loops stand where, what parallel loops write.

Comes in: a Kernel. Nothing goes out, or an InternalError that names the statement.

    >>> from tracejit.kernel.text import parse
    >>> verify(parse('''kernel k(in x: f32[4])
    ...   seq i in 4:
    ...     x[i] = 1.0
    ... '''))
    Traceback (most recent call last):
        ...
    tracejit.errors.InternalError: kernel k: `x[i] = 1.0`: stores to `x`, an `in` parameter
"""

from __future__ import annotations

import re
from dataclasses import field, replace
from functools import lru_cache

from tracejit import ops
from tracejit.errors import InternalError
from tracejit.ir.expr import known, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Barrier,
    Check,
    Combine,
    Const,
    Expr,
    Fence,
    If,
    Kernel,
    Load,
    Local,
    Loop,
    Op,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
    Var,
    While,
)
from tracejit.kernel.text import HOWS, RESERVED, result_dtype, show_expr, show_statement
from tracejit.kernel.visit import statements
from tracejit.record import dataclass

#: what Accumulate may fold with: associative and commutative
ACCUMULATORS = frozenset("add mul max min and or xor".split())

_INDEX = frozenset(("idiv", "irem"))
_ROLES = ("in", "out", "inout")
_PARALLEL = frozenset(("par", "vec", "block", "thread"))


class _Bad(Exception):
    """What is wrong with a statement."""


@dataclass(frozen=True)
class _Variable:
    """A name in scope: its dtype, what it is (size, loop, local), the parallel loops around it."""

    dtype: str
    what: str
    inside: tuple[Loop, ...] = ()


@dataclass
class _Buffer:
    dtype: str
    rank: int
    writable: bool


@dataclass
class _Scope:
    """Names and enclosing loops at one place of a kernel."""

    variables: dict[str, _Variable] = field(default_factory=dict)
    buffers: dict[str, _Buffer] = field(default_factory=dict)
    loops: tuple[Loop, ...] = ()
    #: locals that a loop around this place folds into, with how: nothing else may touch them here
    folded: dict[str, str] = field(default_factory=dict)

    def inner(self) -> _Scope:
        return replace(self, variables=dict(self.variables), buffers=dict(self.buffers))

    def parallel(self) -> tuple[Loop, ...]:
        return tuple(loop for loop in self.loops if loop.how in _PARALLEL)


@lru_cache(maxsize=4096)
def has_check(kernel: Kernel) -> bool:
    """Whether the kernel takes a flag cell: it holds a Check."""
    return any(isinstance(stmt, Check) for stmt in statements(kernel.body))


def verify(kernel: Kernel) -> None:
    """Raise InternalError naming the statement that is not well-formed."""
    try:
        scope = _header(kernel)
    except _Bad as bad:
        raise InternalError(f"kernel {kernel.name}: {bad}") from None
    _Checker(kernel.name).block(kernel.body, scope)


def _header(kernel: Kernel) -> _Scope:
    """The scope of a kernel's body."""
    scope = _Scope()
    for name in (kernel.name, *kernel.sizes):
        _new_name(name, scope)
        if name in kernel.sizes:
            scope.variables[name] = _Variable("i64", "size")
    for param in kernel.params:
        _new_name(param.name, scope)
        _known_dtype(param.dtype)
        if param.role not in _ROLES:
            raise _Bad(f"role of `{param.name}` is `{param.role}`, not one of {', '.join(_ROLES)}")
        for extent in param.shape:
            if isinstance(extent, str):
                if extent not in kernel.sizes:
                    raise _Bad(f"extent `{extent}` of `{param.name}` is not a size of the kernel")
            elif extent < 0:
                raise _Bad(f"extent {extent} of `{param.name}` is negative")
        scope.buffers[param.name] = _Buffer(param.dtype, len(param.shape), param.role != "in")
    return scope


def _new_name(name: str, scope: _Scope) -> None:
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in RESERVED:
        raise _Bad(f"`{name}` is not a name")
    if name in scope.variables or name in scope.buffers:
        raise _Bad(f"`{name}` is declared already")


def _known_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise _Bad(f"`{dtype}` is not a dtype")


class _Checker:
    """Walks the statements of one kernel."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel

    def block(self, body: tuple[Stmt, ...], scope: _Scope) -> None:
        scope = scope.inner()
        for stmt in body:
            try:
                self.statement(stmt, scope)
            except _Bad as bad:
                line = show_statement(stmt)
                raise InternalError(f"kernel {self.kernel}: `{line}`: {bad}") from None

    def statement(self, stmt: Stmt, scope: _Scope) -> None:
        match stmt:
            case Loop():
                self.loop(stmt, scope)
            case Local():
                _new_name(stmt.name, scope)
                _known_dtype(stmt.dtype)
                _expect(stmt.value, stmt.dtype, scope)
                scope.variables[stmt.name] = _Variable(stmt.dtype, "local", scope.parallel())
            case Scratch():
                _new_name(stmt.name, scope)
                _known_dtype(stmt.dtype)
                if any(not isinstance(n, int) or n < 1 for n in stmt.shape):
                    raise _Bad("extents of scratch are positive constants")
                scope.buffers[stmt.name] = _Buffer(stmt.dtype, len(stmt.shape), True)
            case Set():
                target = _assigned(stmt.name, scope)
                _expect(stmt.value, target.dtype, scope)
                if target.inside != scope.parallel():
                    raise _Bad(
                        f"sets `{stmt.name}` of outside the {scope.parallel()[-1].how} loop around"
                    )
            case Accumulate():
                self.accumulate(stmt, scope)
            case Store():
                self.store(stmt, scope)
            case Transpose():
                self.transpose(stmt, scope)
            case If():
                _expect(stmt.cond, "bool", scope)
                self.block(stmt.then, scope)
                self.block(stmt.orelse, scope)
            case While():
                _expect(stmt.cond, "bool", scope)
                self.block(stmt.body, scope)
            case Check():
                _expect(stmt.ok, "bool", scope)
                if stmt.code < 1:
                    raise _Bad("codes start at 1")
            case Barrier():
                if not any(loop.how in ("block", "thread") for loop in scope.loops):
                    raise _Bad("a barrier stands inside a block or thread loop")
            case Combine() | Atomic() | Fence():
                self.among_threads(stmt, scope)

    def among_threads(self, stmt: Combine | Atomic | Fence, scope: _Scope) -> None:
        """What only a GPU's threads do."""
        loop = next((loop for loop in scope.loops if loop.how == "thread"), None)
        if loop is None or any(inner.how == "vec" for inner in scope.loops):
            raise _Bad("stands inside a thread loop, and in no vec loop")
        if isinstance(stmt, Fence):
            return
        if stmt.fn not in ACCUMULATORS and not (isinstance(stmt, Atomic) and stmt.fn == "exchange"):
            raise _Bad(f"cannot fold with `{stmt.fn}`")
        if isinstance(stmt, Atomic):
            self.store(Store(stmt.buffer, stmt.index, stmt.value, stmt.guard), scope)
            if stmt.old is not None:
                _new_name(stmt.old, scope)
                scope.variables[stmt.old] = _Variable(stmt.value.dtype, "local", scope.parallel())
            return
        if _assigned(stmt.name, scope).inside != scope.parallel():
            raise _Bad(f"`{stmt.name}` is not a local of the thread")
        threads = known(loop.stop) or 0
        if stmt.width & (stmt.width - 1) or not 1 < stmt.width <= max(threads, 32):
            raise _Bad("the width is a power of two, and at most the threads of the block")
        if stmt.width > 32 and stmt.width != threads:
            raise _Bad("more than a warp is the whole block")

    def loop(self, loop: Loop, scope: _Scope) -> None:
        _new_name(loop.var, scope)
        _expect(loop.start, "i64", scope)
        _expect(loop.stop, "i64", scope)
        _loop_fits(loop, scope.loops)
        inside = scope.inner()
        inside.loops = (*scope.loops, loop)
        inside.variables[loop.var] = _Variable("i64", "loop")
        if loop.how in ("vec", "thread"):
            inside.folded = scope.folded | _folded(loop, scope)
        self.block(loop.body, inside)

    def accumulate(self, stmt: Accumulate, scope: _Scope) -> None:
        if stmt.fn not in ACCUMULATORS:
            raise _Bad(f"cannot accumulate with `{stmt.fn}`")
        target = _assigned(stmt.name, scope, folding=stmt.fn)
        _expect(stmt.value, target.dtype, scope)
        between = scope.parallel()[len(target.inside) :]
        if any(loop.how not in ("vec", "thread") for loop in between):
            raise _Bad(f"folds into `{stmt.name}` of outside a {between[0].how} loop")

    def store(self, stmt: Store, scope: _Scope) -> None:
        buffer = _buffer(stmt.buffer, scope)
        if not buffer.writable:
            raise _Bad(f"stores to `{stmt.buffer}`, an `in` parameter")
        _check_index(stmt.buffer, stmt.index, buffer, scope)
        _expect(stmt.value, buffer.dtype, scope)
        if stmt.guard is not None:
            _expect(stmt.guard, "bool", scope)

    def transpose(self, stmt: Transpose, scope: _Scope) -> None:
        target, source = _buffer(stmt.target, scope), _buffer(stmt.source, scope)
        if not target.writable:
            raise _Bad(f"stores to `{stmt.target}`, an `in` parameter")
        if target.dtype != source.dtype or target is source:
            raise _Bad("source and target are two buffers of one dtype")
        if min(target.rank, source.rank) < 2 or stmt.side < 1 or stmt.side & (stmt.side - 1):
            raise _Bad("blocks have two axes, and their side is a power of two")
        if not -source.rank <= stmt.axis < -1:
            raise _Bad("the rows of a block run along another axis than the last")
        _check_index(stmt.target, stmt.to, target, scope)
        _check_index(stmt.source, stmt.at, source, scope)
        for limit in (stmt.rows, stmt.columns):
            _expect(limit, "i64", scope)
        if any(loop.how == "vec" for loop in scope.loops):
            raise _Bad("a transpose inside a vec loop")


def _loop_fits(loop: Loop, around: tuple[Loop, ...]) -> None:
    """Whether this kind of loop may stand inside those."""
    outer = [other.how for other in around]
    if loop.how not in HOWS:
        raise _Bad(f"`{loop.how}` is not a way to run a loop")
    if loop.width < 1 or loop.unroll < (loop.how != "vec"):
        raise _Bad(
            "width and unroll are at least 1, or 0 vectors of a vec loop come without a mask"
        )
    if loop.width > 1 and loop.how != "vec":
        raise _Bad("only a vec loop has a width")
    if loop.unroll > 1 and loop.how not in ("vec", "seq"):
        raise _Bad("only vec and seq loops unroll")
    if loop.how == "par" and outer:
        raise _Bad("a par loop is outermost")
    if loop.how == "block" and any(how != "block" for how in outer):
        raise _Bad("a block loop is outermost")
    if "vec" in outer and loop.how != "seq":
        raise _Bad(f"a {loop.how} loop inside a vec loop")
    if loop.how == "thread" and ("par" in outer or "thread" in outer):
        raise _Bad("a thread loop inside a par or thread loop")


def _folded(loop: Loop, scope: _Scope) -> dict[str, str]:
    """Locals of outside that the loop folds into, each with its one operation."""
    found: dict[str, str] = {}
    for stmt in statements(loop.body):
        if isinstance(stmt, Accumulate) and stmt.name in scope.variables:
            if found.setdefault(stmt.name, stmt.fn) != stmt.fn:
                raise _Bad(
                    f"`{stmt.name}` is folded with `{found[stmt.name]}` and with `{stmt.fn}`"
                )
    return found


def _assigned(name: str, scope: _Scope, folding: str | None = None) -> _Variable:
    """The local that a Set or Accumulate writes."""
    variable = scope.variables.get(name)
    if variable is None:
        raise _Bad(f"`{name}` is not declared here")
    if variable.what != "local":
        raise _Bad(f"`{name}` is a {variable.what}, not a local")
    if folding is None and name in scope.folded:
        raise _Bad(f"`{name}` is being folded by the loop around")
    return variable


def _buffer(name: str, scope: _Scope) -> _Buffer:
    if name not in scope.buffers:
        raise _Bad(f"buffer `{name}` is not declared here")
    return scope.buffers[name]


# ---- expressions ---------------------------------------------------------------------------------


def _expect(expr: Expr, dtype: str, scope: _Scope) -> None:
    """Check an expression and its dtype."""
    for node in walk(expr):
        match node:
            case Const():
                _check_const(node)
            case Var():
                _check_var(node, scope)
            case Load():
                buffer = _buffer(node.buffer, scope)
                if node.dtype != buffer.dtype:
                    raise _Bad(
                        f"loads {node.dtype} from `{node.buffer}`, which holds {buffer.dtype}"
                    )
                _check_index(node.buffer, node.index, buffer, None)
                if node.guard is not None and node.guard.dtype != "bool":
                    raise _Bad(f"guard `{show_expr(node.guard)}` is {node.guard.dtype}, not bool")
            case Op():
                _check_op(node)
            case _:
                raise _Bad(f"not an expression: {node!r}")
    if expr.dtype != dtype:
        raise _Bad(f"`{show_expr(expr)}` is {expr.dtype}, not {dtype}")


def _check_index(name: str, index: tuple[Expr, ...], buffer: _Buffer, scope: _Scope | None) -> None:
    """Rank and dtypes of an index; its expressions too when a scope is given."""
    if len(index) != buffer.rank:
        raise _Bad(f"`{name}` has {buffer.rank} axes, the index {len(index)}")
    for entry in index:
        if entry.dtype != "i64":
            raise _Bad(f"index `{show_expr(entry)}` of `{name}` is {entry.dtype}, not i64")
        if scope is not None:
            _expect(entry, "i64", scope)


def _check_const(node: Const) -> None:
    _known_dtype(node.dtype)
    letter, value = node.dtype[0] if node.dtype not in ("bool", "bf16") else node.dtype, node.value
    if letter == "bool":
        fits = isinstance(value, bool)
    elif letter in "iu":
        bits = int(node.dtype[1:])
        low, high = (
            (-(1 << bits - 1), (1 << bits - 1) - 1) if letter == "i" else (0, (1 << bits) - 1)
        )
        fits = type(value) is int and low <= value <= high
    else:
        # a NumPy scalar is no Python number here: its text would not read back
        fits = type(value) in ((float, int, complex) if letter == "c" else (float, int))
    if not fits:
        raise _Bad(f"constant {value!r} does not fit {node.dtype}")


def _check_var(node: Var, scope: _Scope) -> None:
    variable = scope.variables.get(node.name)
    if variable is None:
        raise _Bad(f"`{node.name}` is not declared here")
    if variable.dtype != node.dtype:
        raise _Bad(f"`{node.name}` is {variable.dtype}, read as {node.dtype}")
    if node.name in scope.folded:
        raise _Bad(
            f"reads `{node.name}` inside the loop that folds it: its value is not known there"
        )


def _check_op(node: Op) -> None:
    """Operand and result dtypes of a scalar operation."""
    dtypes = [arg.dtype for arg in node.args]
    if node.fn not in ARITY and node.fn not in ops.PRIMS:
        raise _Bad(f"`{node.fn}` is not a scalar operation")
    if node.fn in _INDEX and dtypes != ["i64", "i64"]:
        raise _Bad(f"`{node.fn}` takes two i64, not {', '.join(dtypes)}")
    arity = ARITY.get(node.fn)
    if arity is not None and len(dtypes) != arity:
        raise _Bad(f"`{node.fn}` takes {arity} operands, not {len(dtypes)}")
    if node.fn == "any_lane" and dtypes != ["bool"]:
        raise _Bad(f"`any_lane` takes a bool, not {', '.join(dtypes)}")
    if node.fn == "select" and dtypes[0] != "bool":
        raise _Bad(f"condition `{show_expr(node.args[0])}` of select is {dtypes[0]}, not bool")
    alike = dtypes[1:] if node.fn == "select" else dtypes
    if arity is not None and len(set(alike)) > 1:
        raise _Bad(f"operands of `{node.fn}` differ in dtype: {', '.join(alike)}")
    _known_dtype(node.dtype)
    if node.fn == "bitcast" and DTYPES[dtypes[0]].itemsize != DTYPES[node.dtype].itemsize:
        raise _Bad(f"bitcast from {dtypes[0]} to {node.dtype} changes the width")
    follows = result_dtype(node.fn, dtypes)
    if arity is not None and node.fn not in ("convert", "bitcast") and node.dtype != follows:
        raise _Bad(f"`{node.fn}` of {', '.join(dtypes)} is declared {node.dtype}")


def _arities() -> dict[str, int]:
    one = """neg abs sign sqrt rsqrt cbrt square reciprocal exp exp2 expm1 log log2 log10 log1p
        logistic sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erf_inv lgamma
        digamma erfcx gamma ndtri bessel_i0e bessel_i1e
        floor ceil round trunc is_finite is_nan not population_count clz convert bitcast
        real imag conj any_lane"""
    two = """add sub mul div rem idiv irem pow max min atan2 copysign nextafter and or xor
        shift_left shift_right_logical shift_right_arithmetic eq ne lt le gt ge complex"""
    three = "fma select clamp"
    return {fn: n for n, names in ((1, one), (2, two), (3, three)) for fn in names.split()}


#: operand counts of the operations of the compiler; those of users are taken as they come
ARITY = _arities()
