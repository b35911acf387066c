"""One kernel as a Python function for Numba, apart from the module around it.

In: a Kernel. Out: its ``Source``: the function's text, the module constants and the helpers that it
needs.

    >>> from tracejit.kernel.text import parse
    >>> kernel = parse('''kernel double[n](in x: f32[n], out y: f32[n])
    ...   seq i in n:
    ...     y[i] = mul(2.0, x[i])
    ... ''')
    >>> print(kernel_source(kernel).text)
    @numba.njit(error_model="numpy")
    def double(x, y, n):
        # kernel double[n](in x: f32[n], out y: f32[n])
        #   seq i in n:
        #     y[i] = mul(2.0, x[i])
        for i in range(n):
            y[i] = F32_2 * x[i]

Statements become Python statements one by one; ``numba_scalar.py`` writes the expressions.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable
from dataclasses import field
from typing import Any

from tracejit.codegen.numba_helpers import needed
from tracejit.codegen.numba_scalar import (
    NARROW,
    SCALAR,
    TAKEN,
    Text,
    constant,
    define,
    lacking,
    letter,
    spell,
    spelled,
    strip,
    whole,
)
from tracejit.errors import BackendError, InternalError
from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, rebuild, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.math import expand_math
from tracejit.kernel.math_half import widen_half
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
from tracejit.kernel.text import show
from tracejit.kernel.visit import statements, transpose_loops
from tracejit.ops import PRIMS
from tracejit.record import dataclass

#: a longer expression is split into several statements
_LONG = 72
#: an expression of more nodes than this that occurs twice is computed once
_SHARED = 6
_BUILTINS = frozenset(dir(builtins))
_CONSTANT = re.compile(r"(F32|[IU]\d+|F64|C64|C128)_\w+")


@dataclass(frozen=True)
class Source:
    """A printed kernel: its function, the module constants (name -> definition) and the helpers it
    needs.
    """

    name: str
    text: str
    constants: dict[str, str]
    helpers: tuple[str, ...]
    flag: bool


def kernel_source(kernel: Kernel, name: str | None = None) -> Source:
    """The function of a kernel, called ``name`` (else as the kernel), apart from what it needs
    around it.
    """
    return _Printer(kernel, name).source()


def _expanded(kernel: Kernel) -> Kernel:
    """``kernel`` with the functions that have no Numba spelling in terms of others (digamma,
    erf_inv).
    """
    missing = {
        node.fn
        for stmt in statements(kernel.body)
        for expr in _expressions(stmt)
        for node in walk(expr)
        if isinstance(node, Op) and lacking(node)
    }
    return expand_math(widen_half(kernel), frozenset(PRIMS) - missing) if missing else kernel


def function_name(kernel: Kernel) -> str:
    """The name of a kernel's function: that of the kernel, unless Python or the module uses it."""
    return free_name(kernel.name)


def free_name(name: str) -> str:
    """``name``, or one like it that neither Python nor a generated module uses for itself."""
    return _Names().declare(name)


def takes_flag(kernel: Kernel) -> bool:
    """Whether the function of a kernel has the argument ``flag``: it may record a failure."""
    return any(
        isinstance(stmt, Check) or any(_checks(expr) for expr in _expressions(stmt))
        for stmt in statements(kernel.body)
    )


def _checks(expr: Expr) -> bool:
    return any(isinstance(node, Op) and node.fn == "check_index" for node in walk(expr))


def _expressions(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions of a statement, without those of the statements inside it."""
    match stmt:
        case Loop():
            return (stmt.start, stmt.stop)
        case Local() | Set() | Accumulate():
            return (stmt.value,)
        case Store():
            return (
                (*stmt.index, stmt.value)
                if stmt.guard is None
                else (*stmt.index, stmt.value, stmt.guard)
            )
        case If() | While():
            return (stmt.cond,)
        case Check():
            return (stmt.ok,)
    return ()


def _declared(kernel: Kernel) -> frozenset[str]:
    """The names of the locals, scratch buffers and loop variables of a kernel."""
    found: set[str] = set()
    for stmt in statements(kernel.body):
        match stmt:
            case Local() | Scratch():
                found.add(stmt.name)
            case Loop():
                found.add(stmt.var)
    return frozenset(found)


# ---- names ---------------------------------------------------------------------------------------


@dataclass
class _Names:
    """Names of a kernel -> names of its function. A name declared again as another type is another
    variable.
    """

    given: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, Any] = field(default_factory=dict)
    #: names of the kernel that may be declared later on
    expected: frozenset[str] = frozenset()

    def declare(self, name: str, kind: Any = None) -> str:
        """The Python name for ``name``, from here on."""
        found = re.sub(r"\W", "_", name)
        while (
            keyword.iskeyword(found)
            or found in TAKEN
            or found in _BUILTINS
            or _CONSTANT.fullmatch(found)
            or self.kinds.get(found, kind) != kind
        ):
            found += "_"
        self.kinds[found] = kind
        self.given[name] = found
        return found

    def fresh(self, stem: str, kind: Any) -> str:
        """A name that nothing has."""
        number = 0
        while f"{stem}{number}" in self.kinds or f"{stem}{number}" in self.expected:
            number += 1
        self.kinds[f"{stem}{number}"] = kind
        return f"{stem}{number}"


# ---- one kernel ----------------------------------------------------------------------------------


class _Printer:
    """Writes the function of one kernel, statement by statement."""

    def __init__(self, kernel: Kernel, name: str | None) -> None:
        self.given = kernel
        self.kernel = kernel = _expanded(kernel)
        self.names = _Names(expected=_declared(kernel))
        self.name = self.names.declare(name or kernel.name, kernel)
        self.lines: list[str] = []
        self.depth = 1
        self.constants: dict[str, str] = {}
        self.flag = takes_flag(kernel)
        #: loop variables, sizes, and locals that are sums of such: what indices are made of
        self.indices = set(kernel.sizes)
        #: whether the expression written last is made of these only
        self.index = False
        self.assigned = {s.name for s in statements(kernel.body) if isinstance(s, Set | Accumulate)}
        #: buffers that hold bits of a narrow float
        self.packed: set[str] = set()
        #: of each buffer
        self.dtypes = {p.name: p.dtype for p in kernel.params}
        self.dtypes |= {s.name: s.dtype for s in statements(kernel.body) if isinstance(s, Scratch)}
        #: where scratch is declared: line number and depth
        self.scratch_at = (0, 1)
        #: within a loop that threads share: buffer without axes -> the variable of its element
        self.elements: dict[str, str] = {}

    def source(self) -> Source:
        kernel = self.kernel
        for size in kernel.sizes:
            self.names.declare(size, "i64")
        for param in kernel.params:
            self.names.declare(param.name, param)
            if param.dtype in NARROW:
                self.packed.add(param.name)
        self.block(kernel.body)
        parallel = any(isinstance(s, Loop) and is_shared(s) for s in statements(kernel.body))
        options = 'parallel=True, error_model="numpy"' if parallel else 'error_model="numpy"'
        arguments = [self.names.given[p.name] for p in kernel.params]
        arguments += [self.names.given[n] for n in kernel.sizes] + (["flag"] if self.flag else [])
        dump = [
            "    # " + line for line in (*_comment(kernel), *show(self.given).rstrip().split("\n"))
        ]
        head = [f"@numba.njit({options})", f"def {self.name}({', '.join(arguments)}):", *dump]
        text = "\n".join(line.rstrip() for line in (*head, *self.lines))
        return Source(self.name, text, self.constants, needed("\n".join(self.lines)), self.flag)

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    # -- statements

    def block(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            self.statement(stmt)
        if all(isinstance(stmt, Scratch) for stmt in body):
            self.line("pass")

    def nested(self, head: str, body: tuple[Stmt, ...]) -> None:
        self.line(head)
        self.depth += 1
        self.block(body)
        self.depth -= 1

    def statement(self, stmt: Stmt) -> None:
        match stmt:
            case Loop():
                self.loop(stmt)
            case Local():
                value = self.value(stmt.value)
                if stmt.name not in self.assigned and self.index:
                    self.indices.add(stmt.name)
                self.line(f"{self.names.declare(stmt.name, stmt.dtype)} = {value}")
            case Scratch():
                self.scratch(stmt)
            case Set():
                self.line(f"{self.names.given[stmt.name]} = {self.value(stmt.value)}")
            case Accumulate():
                self.accumulate(stmt)
            case Store():
                self.store(stmt)
            case Transpose():
                self.loop(transpose_loops(stmt, self.dtypes[stmt.source]))
            case If():
                self.nested(f"if {self.value(stmt.cond)}:", stmt.then)
                if stmt.orelse:
                    self.nested("else:", stmt.orelse)
            case While():
                self.loop_while(stmt)
            case Check():
                self.line(f"if not ({self.value(stmt.ok)}) and flag[0] == 0:")
                self.line(f"    flag[0] = {stmt.code}")
            case Barrier():
                raise BackendError(
                    f"numba: kernel {self.kernel.name} has a barrier, which only a GPU can run"
                )
            case _:
                raise InternalError(f"not a statement of the Kernel IR: {stmt!r}")

    def loop(self, loop: Loop) -> None:
        stop = self.value(loop.stop)
        bounds = stop if loop.start == Const(0, "i64") else f"{self.value(loop.start)}, {stop}"
        kind = "numba.prange" if is_shared(loop) else "range"
        self.indices.add(loop.var)
        head = f"for {self.names.declare(loop.var, 'i64')} in {kind}({bounds}):"
        if not is_shared(loop):
            self.nested(head, loop.body)
            return
        # prange takes an array without axes for a scalar: what the loop reads of them is read here
        for buffer in dict.fromkeys(_without_axes(loop)):
            name = self.names.fresh("t", ("element", buffer))
            self.line(f"{name} = {self.names.given[buffer]}[()]")
            self.elements[buffer] = name
        # each thread has scratch of its own
        outside, self.scratch_at = self.scratch_at, (len(self.lines) + 1, self.depth + 1)
        self.nested(head, loop.body)
        self.scratch_at = outside
        self.elements = {}

    def loop_while(self, stmt: While) -> None:
        before = len(self.lines)
        cond = self.value(stmt.cond)
        extra = self.lines[before:]
        if not extra:
            self.nested(f"while {cond}:", stmt.body)
            return
        # a condition of several statements
        del self.lines[before:]
        self.line("while True:")
        self.depth += 1
        self.lines += ["    " + line for line in extra]
        self.line(f"if not ({cond}):")
        self.line("    break")
        self.block(stmt.body)
        self.depth -= 1

    def scratch(self, stmt: Scratch) -> None:
        """Allocated once, in front of the loops around it: its first contents do not matter."""
        name = self.names.declare(stmt.name, ("scratch", stmt.dtype, stmt.shape))
        shape = ", ".join(map(str, stmt.shape)) + ("," if len(stmt.shape) == 1 else "")
        place, depth = self.scratch_at
        text = "    " * depth + f"{name} = np.empty(({shape}), {SCALAR[stmt.dtype]})"
        if text not in self.lines[place : place + 1]:
            self.lines.insert(place, text)

    def accumulate(self, stmt: Accumulate) -> None:
        name, dtype = self.names.given[stmt.name], stmt.value.dtype
        sign = {"add": "+", "mul": "*"}.get(stmt.fn)
        if sign and (dtype in ("u64", "f32", "f64") or letter(dtype) == "c"):
            self.line(f"{name} {sign}= {self.value(stmt.value)}")
            return
        folded = Op(stmt.fn, (Var(stmt.name, dtype), stmt.value), dtype)
        self.line(f"{name} = {self.value(folded)}")

    def store(self, stmt: Store) -> None:
        if stmt.guard is not None:
            self.nested(
                f"if {self.value(stmt.guard)}:", (Store(stmt.buffer, stmt.index, stmt.value),)
            )
            return
        value = self.value(stmt.value)
        if stmt.buffer in self.packed:
            value = f"{stmt.value.dtype}_encode({value})"
        index = ", ".join(map(self.value, stmt.index)) or "()"
        self.line(f"{self.names.given[stmt.buffer]}[{index}] = {value}")

    # -- expressions

    def value(self, expr: Expr) -> str:
        """The text of an expression; parts that are long or used twice become statements in front
        of it.
        """
        expr = _defined(expr)
        uses: dict[Expr, int] = {}
        nodes = list(walk(expr))
        weight: dict[Expr, int] = {}
        for node in nodes:
            weight[node] = 1 + sum(weight[kid] for kid in children(node))
            for kid in children(node):
                uses[kid] = uses.get(kid, 0) + 1
        texts: dict[Expr, Text] = {}
        for node in nodes:
            text = self.node(node, texts)
            shared = uses.get(node, 0) > 1 and weight[node] > _SHARED
            long = len(text.typed) > _LONG and isinstance(node, Op)
            if node is not expr and (shared or long):
                name = self.names.fresh("t", node.dtype)
                self.line(f"{name} = {strip(text.typed)}")
                text = whole(name, _bits(node.dtype), text.index)
            texts[node] = text
        self.index = texts[expr].index
        return strip(texts[expr].typed)

    def node(self, node: Expr, texts: dict[Expr, Text]) -> Text:
        match node:
            case Const(value, dtype):
                index = dtype == "i64" and abs(value) < 2**31
                return whole(constant(node, self.constants), _bits(dtype), index)
            case Var():
                return whole(
                    self.names.given[node.name], _bits(node.dtype), node.name in self.indices
                )
            case Load():
                return whole(self.load(node, texts), _bits(node.dtype))
            case Op("add", (first, Const(int(value), "i64")), "i64") if (
                value < 0 and texts[first].index
            ):
                return whole(f"({texts[first].typed} - {-value})", index=True)
            case Op():
                return spell(node, [texts[arg] for arg in node.args], self.constants)
        raise InternalError(f"not an expression: {node!r}")

    def load(self, node: Load, texts: dict[Expr, Text]) -> str:
        index = ", ".join(strip(texts[entry].typed) for entry in node.index) or "()"
        text = f"{self.names.given[node.buffer]}[{index}]"
        if not node.index:
            text = self.elements.get(node.buffer, text)
        if node.buffer in self.packed:
            text = f"{node.dtype}_decode({text})"
        if node.guard is None:
            return text
        zero = constant(_zero(node.dtype), self.constants)
        return f"({text} if {strip(texts[node.guard].typed)} else {zero})"


def is_shared(loop: Loop) -> bool:
    """Whether threads share a loop: not one of a single trip.

    That may write an array without axes, which ``prange`` takes for a scalar.
    """
    return loop.how == "par" and (loop.start, loop.stop) != (Const(0, "i64"), Const(1, "i64"))


def _without_axes(loop: Loop) -> Iterable[str]:
    """The buffers without axes that a loop reads and does not write, in order."""
    inside = tuple(statements(loop.body))
    written = {stmt.buffer for stmt in inside if isinstance(stmt, Store)}
    for stmt in inside:
        for expr in _expressions(stmt):
            for node in walk(expr):
                if isinstance(node, Load) and not node.index and node.buffer not in written:
                    yield node.buffer


def _comment(kernel: Kernel) -> Iterable[str]:
    """The user's lines, unless they fit the first line of the dump."""
    return kernel.comment.strip().split("\n") if "\n" in kernel.comment.strip() else ()


def _bits(dtype: str) -> int:
    return DTYPES[dtype].itemsize * 8


def _zero(dtype: str) -> Const:
    kind = letter(dtype)
    return Const(False if kind == "b" else 0 if kind in "iu" else 0.0, dtype)


def _defined(expr: Expr) -> Expr:
    """``expr`` with operations that have no spelling replaced by their definitions."""
    if all(spelled(node) for node in walk(expr) if isinstance(node, Op)):
        return expr
    done: dict[Expr, Expr] = {}
    for node in walk(expr):
        own = rebuild(node, tuple(done[kid] for kid in children(node)))
        done[node] = own if not isinstance(own, Op) or spelled(own) else _defined(define(own))
    return done[expr]
