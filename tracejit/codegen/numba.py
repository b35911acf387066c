"""Kernels as Python functions for Numba: readable, and runnable wherever NumPy and Numba are.

In: a Kernel. Out: the text of a module that defines it (``print_numba``), the compiled function
(``compile_numba``), or one module of several kernels and a driver (``print_module``).

    >>> run = compile_numba(kernel)
    >>> run([x, y], [4])
    0

A kernel's function takes its buffers (C-contiguous arrays), its sizes, and ``flag`` (one int64) if it checks
something. Buffers of float16 and bfloat16 come as uint16 arrays of their bits.
"""

from __future__ import annotations

import builtins
import keyword
import linecache
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.codegen.numba_helpers import definitions, needed
from tracejit.codegen.numba_scalar import (
    NARROW,
    SCALAR,
    TAKEN,
    Text,
    constant,
    define,
    letter,
    spell,
    spelled,
    strip,
    whole,
)
from tracejit.errors import BackendError, InternalError
from tracejit.ir.expr import Const, Expr, Load, Op, Var, children, rebuild, walk
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import (
    Accumulate,
    Barrier,
    Check,
    If,
    Kernel,
    Local,
    Loop,
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    While,
)
from tracejit.kernel.text import show
from tracejit.kernel.verify import statements

#: a longer expression is split into several statements
_LONG = 72
#: an expression of more nodes than this that occurs twice is computed once
_SHARED = 6
_BUILTINS = frozenset(dir(builtins))
_CONSTANT = re.compile(r"(F32|[IU]\d+|F64|C64|C128)_\w+")


@dataclass(frozen=True)
class Source:
    """A printed kernel: its function, the module constants (name -> definition) and the helpers it needs."""

    name: str
    text: str
    constants: dict[str, str]
    helpers: tuple[str, ...]
    flag: bool


def print_numba(kernel: Kernel) -> str:
    """A module that defines ``kernel`` as a function of its buffers and sizes (and ``flag``)."""
    return assemble([kernel_source(kernel)])


def kernel_source(kernel: Kernel, name: str | None = None) -> Source:
    """The function of a kernel, called ``name`` (else as the kernel), apart from what it needs around it."""
    return _Printer(kernel, name).source()


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
            return (*stmt.index, stmt.value) if stmt.guard is None else (*stmt.index, stmt.value, stmt.guard)
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
    """Names of a kernel -> names of its function. A name declared again as another type is another variable."""

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
        self.kernel = kernel
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
        #: where scratch is declared: line number and depth
        self.scratch_at = (0, 1)

    def source(self) -> Source:
        kernel = self.kernel
        for size in kernel.sizes:
            self.names.declare(size, "i64")
        for param in kernel.params:
            self.names.declare(param.name, param)
            if param.dtype in NARROW:
                self.packed.add(param.name)
        self.block(kernel.body)
        parallel = any(isinstance(stmt, Loop) and stmt.how == "par" for stmt in kernel.body)
        options = 'parallel=True, error_model="numpy"' if parallel else 'error_model="numpy"'
        arguments = [self.names.given[p.name] for p in kernel.params]
        arguments += [self.names.given[n] for n in kernel.sizes] + (["flag"] if self.flag else [])
        dump = ["    # " + line for line in (*_comment(kernel), *show(kernel).rstrip().split("\n"))]
        head = [f"@numba.njit({options})", f"def {self.name}({', '.join(arguments)}):", *dump]
        text = "\n".join((line.rstrip() for line in (*head, *self.lines)))
        return Source(self.name, text, self.constants, needed("\n".join(self.lines)), self.flag)

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    # -- statements

    def block(self, body: tuple[Stmt, ...]) -> None:
        before = len(self.lines)
        for stmt in body:
            self.statement(stmt)
        if len(self.lines) == before:
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
                raise BackendError(f"numba: kernel {self.kernel.name} has a barrier, which only a GPU can run")
            case _:
                raise InternalError(f"not a statement of the Kernel IR: {stmt!r}")

    def loop(self, loop: Loop) -> None:
        stop = self.value(loop.stop)
        bounds = stop if loop.start == Const(0, "i64") else f"{self.value(loop.start)}, {stop}"
        kind = "numba.prange" if loop.how == "par" else "range"
        self.indices.add(loop.var)
        head = f"for {self.names.declare(loop.var, 'i64')} in {kind}({bounds}):"
        if loop.how != "par":
            self.nested(head, loop.body)
            return
        # each thread has scratch of its own
        outside, self.scratch_at = self.scratch_at, (len(self.lines) + 1, self.depth + 1)
        self.nested(head, loop.body)
        self.scratch_at = outside

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
            self.nested(f"if {self.value(stmt.guard)}:", (Store(stmt.buffer, stmt.index, stmt.value),))
            return
        value = self.value(stmt.value)
        if stmt.buffer in self.packed:
            value = f"{stmt.value.dtype}_encode({value})"
        index = ", ".join(map(self.value, stmt.index)) or "()"
        self.line(f"{self.names.given[stmt.buffer]}[{index}] = {value}")

    # -- expressions

    def value(self, expr: Expr) -> str:
        """The text of an expression; parts that are long or used twice become statements in front of it."""
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
                return whole(self.names.given[node.name], _bits(node.dtype), node.name in self.indices)
            case Load():
                return whole(self.load(node, texts), _bits(node.dtype))
            case Op("add", (first, Const(int(value), "i64")), "i64") if value < 0 and texts[first].index:
                return whole(f"({texts[first].typed} - {-value})", index=True)
            case Op():
                return spell(node, [texts[arg] for arg in node.args], self.constants)
        raise InternalError(f"not an expression: {node!r}")

    def load(self, node: Load, texts: dict[Expr, Text]) -> str:
        index = ", ".join(strip(texts[entry].typed) for entry in node.index) or "()"
        text = f"{self.names.given[node.buffer]}[{index}]"
        if node.buffer in self.packed:
            text = f"{node.dtype}_decode({text})"
        if node.guard is None:
            return text
        zero = constant(_zero(node.dtype), self.constants)
        return f"({text} if {strip(texts[node.guard].typed)} else {zero})"


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


# ---- modules -------------------------------------------------------------------------------------


def assemble(sources: Sequence[Source], main: str = "", doc: str = "") -> str:
    """One module: imports, constants and helpers used by any of ``sources``, their functions, then ``main``."""
    constants = {name: value for source in sources for name, value in source.constants.items()}
    helpers = needed("\n".join(f"{name}()" for source in sources for name in source.helpers))
    named = "\n".join(f"{name} = {value}" for name, value in sorted(constants.items()))
    functions = [part for part in (definitions(helpers), *(source.text for source in sources), main) if part]
    head = [f'"""{doc}"""', ""] if doc else []
    body = "\n\n\n".join(functions)
    head += _imports(body, named)
    return "\n\n".join(part for part in ("\n".join(head), named) if part) + "\n\n\n" + body + "\n"


def _imports(body: str, constants: str) -> list[str]:
    """The import lines a module needs."""
    lines = ["import math", ""] if re.search(r"\bmath\.", body) else []
    lines += ["import ml_dtypes"] if "ml_dtypes." in body else []
    lines += ["import numba"]
    lines += ["import numpy as np"] if re.search(r"\bnp\.", body + constants) else []
    return lines + (["from numba.extending import intrinsic"] if "@intrinsic" in body else [])


def distinct_sources(kernels: Iterable[Kernel]) -> dict[Kernel, Source]:
    """The functions of kernels that share a module: equal kernels share one, names are made different."""
    found: dict[Kernel, Source] = {}
    taken: set[str] = set()
    for kernel in kernels:
        if kernel in found:
            continue
        first = name = _Names().declare(kernel.name)
        number = 2
        while name in taken:
            name, number = f"{first}_{number}", number + 1
        taken.add(name)
        found[kernel] = kernel_source(kernel, name)
    return found


def array_dtype(dtype: str) -> str:
    """Source of a NumPy dtype for arrays of a driver."""
    return "ml_dtypes.bfloat16" if dtype == "bf16" else f"np.{DTYPES[dtype].name}".replace("np.bool", "np.bool_")


def allocate_step(name: str, dtype: str, shape: Sequence[int | str]) -> str:
    """A driver's line that makes a buffer."""
    extents = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    return f"{name} = np.empty(({extents}), {array_dtype(dtype)})"


def call_step(kernel: Kernel, source: Source, buffers: Sequence[str], sizes: Sequence[int | str]) -> str:
    """A driver's line that runs a kernel on these variables."""
    arguments = [
        f"{buffer}.view(np.uint16)" if param.dtype in NARROW else buffer
        for param, buffer in zip(kernel.params, buffers, strict=True)
    ]
    arguments += [*map(str, sizes), *(["flag"] if source.flag else [])]
    return f"{source.name}({', '.join(arguments)})"


def matmul_step(out: str, left: str, right: str) -> str:
    """A driver's line that multiplies matrices (or stacks of them)."""
    return f"np.matmul({left}, {right}, out={out})"


def print_driver(name: str, inputs: Sequence[str], steps: Sequence[str], outputs: Sequence[str], flag: bool) -> str:
    """The function that runs the steps: arrays in, contiguous or not; one array or a tuple of them out."""
    lines = [f"def {name}({', '.join(inputs)}):"]
    lines += [f"    {array} = np.ascontiguousarray({array}).reshape(np.shape({array}))" for array in inputs]
    lines += ["    flag = np.zeros(1, np.int64)"] if flag else []
    lines += [f"    {step}" for step in steps]
    if flag:
        lines += ["    if flag[0]:", f'        raise IndexError("{name}: an index lies outside its axis")']
    return "\n".join([*lines, f"    return {', '.join(outputs)}"])


def print_module(
    name: str,
    kernels: Iterable[Kernel],
    inputs: Sequence[str],
    steps: Callable[[dict[Kernel, Source]], Sequence[str]],
    outputs: Sequence[str],
    doc: str = "",
) -> str:
    """A standalone module with the kernels and ``def name(*inputs)``; ``steps`` writes the lines in between."""
    sources = distinct_sources(kernels)
    flag = any(source.flag for source in sources.values())
    driver = print_driver(name, inputs, steps(sources), outputs, flag)
    return assemble(list(sources.values()), driver, doc)


# ---- compiling -----------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def compile_numba(kernel: Kernel) -> Callable[[Sequence[np.ndarray], Sequence[int]], int]:
    """``run(buffers, sizes) -> flag`` (0, or the code of a Check that failed), compiled for the kernel's types.

    Raises BackendError where Numba is missing. Equal kernels are compiled once in a process.
    """
    text = print_numba(kernel)
    function = _load(text, kernel)
    narrow = [param.dtype in NARROW for param in kernel.params]
    flagged = takes_flag(kernel)

    def run(buffers: Sequence[np.ndarray], sizes: Sequence[int] = ()) -> int:
        views = [b.view(np.uint16) if n else b for b, n in zip(buffers, narrow, strict=True)]
        if not flagged:
            function(*views, *sizes)
            return 0
        flag = np.zeros(1, np.int64)
        function(*views, *sizes, flag)
        return int(flag[0])

    return run


def _load(text: str, kernel: Kernel) -> Callable[..., None]:
    """The compiled function of a kernel's module."""
    try:
        import numba
    except ImportError as error:
        raise BackendError("the numba backend needs Numba", hint="pip install numba") from error
    types = numba.types
    filename = f"<tracejit {kernel.name} {hash(text) & 0xFFFFFFFF:08x}>"
    # Numba and tracebacks look the lines up here
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    namespace: dict[str, Any] = {"__name__": kernel.name}
    exec(compile(text, filename, "exec"), namespace)

    def array(param: Param) -> Any:
        dtype = DTYPES["u16" if param.dtype in NARROW else param.dtype]
        # an `in` buffer may be read-only; what is writable converts to that
        return types.Array(numba.from_dtype(dtype), len(param.shape), "C", readonly=param.role == "in")

    signature = [*map(array, kernel.params), *[types.int64] * len(kernel.sizes)]
    signature += [types.Array(types.int64, 1, "C")] if takes_flag(kernel) else []
    function = namespace[_Names().declare(kernel.name)]
    function.compile(tuple(signature))
    function.disable_compile()
    return function  # type: ignore[no-any-return]


__all__ = [
    "Source",
    "allocate_step",
    "array_dtype",
    "assemble",
    "call_step",
    "compile_numba",
    "distinct_sources",
    "kernel_source",
    "matmul_step",
    "print_driver",
    "print_module",
    "print_numba",
    "takes_flag",
]
