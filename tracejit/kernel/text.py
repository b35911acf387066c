"""Kernels as indented text: ``show`` prints one, ``parse`` reads it back to an equal Kernel.

Comes in: a Kernel. Goes out: text, one statement a line, two spaces a level (and the way back).

    kernel softmax_0[n0,n1](in x: f32[n0,n1], out y: f32[n0,n1])       # model.py:12
      par i in n0:
        m: f32 = -inf
        vec(16x4) j in n1:
          m max= x[i, j]

What is left out follows from the rest: locals and loads have the dtype of their declaration, an
operation the one of ``result_dtype`` (else it is printed: ``convert[f64](m)``), a constant the one
its looks suggest (``1`` i64, ``1.0`` f32, ``(1+2j)`` c64, ``true`` bool; else ``1.0:f16``).
Loops print as ``vec(16x4) j in n`` (width x unroll), ``seq(unroll 8) j in 2..n`` (start..stop).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import partial

from tracejit.errors import InternalError
from tracejit.ir.expr import show_scalar, walk_new
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
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
    Var,
    While,
)
from tracejit.record import dataclass

HOWS = ("par", "seq", "vec", "block", "thread")
#: words no variable or buffer may be called
RESERVED = frozenset(
    "if else while check barrier fence pass in true false inf nan infj nanj".split() + [*HOWS]
)

_BOOLEAN = frozenset("eq ne lt le gt ge is_finite is_nan".split())
_PART = {"c64": "f32", "c128": "f64"}
_WHOLE = {"f32": "c64", "f64": "c128"}


def result_dtype(fn: str, dtypes: Sequence[str]) -> str | None:
    """The dtype of ``fn`` applied to arguments of these dtypes; None where it does not follow."""
    if fn in _BOOLEAN:
        return "bool"
    if fn in ("convert", "bitcast") or not dtypes:
        return None
    if fn in ("real", "imag", "abs"):
        return _PART.get(dtypes[0], dtypes[0])
    if fn == "complex":
        return _WHOLE.get(dtypes[0])
    if fn == "select":
        return dtypes[1] if len(dtypes) > 1 else None
    return dtypes[0]


# ---- printing ------------------------------------------------------------------------------------


def show(kernel: Kernel) -> str:
    """The text of a kernel; ends with a newline."""
    sizes = f"[{','.join(kernel.sizes)}]" if kernel.sizes else ""
    params = ", ".join(map(show_param, kernel.params))
    comment = " ".join(kernel.comment.split())
    narrow = " narrow" if kernel.narrow else ""
    head = f"kernel {kernel.name}{sizes}({params}){narrow}"
    head += f"       # {comment}" if comment else ""
    return "\n".join([head, *_block(kernel.body, 1, {})]) + "\n"


def show_param(param: Param) -> str:
    """``in x: f32[n0,4]``."""
    return f"{param.role} {param.name}: {param.dtype}[{','.join(map(str, param.shape))}]"


def show_statement(stmt: Stmt, done: dict[Expr, str] | None = None) -> str:
    """The first line of a statement, without its body: how messages name it. ``done``: texts of
    expressions, kept from one statement to the next.
    """
    text = partial(show_expr, done={} if done is None else done)
    match stmt:
        case Loop():
            return f"{stmt.how}{_vectors(stmt)} {stmt.var} in {_range(stmt, text)}:"
        case Local():
            return f"{stmt.name}: {stmt.dtype} = {text(stmt.value)}"
        case Scratch():
            return f"{stmt.name}: {stmt.dtype}[{','.join(map(str, stmt.shape))}] scratch"
        case Set():
            return f"{stmt.name} = {text(stmt.value)}"
        case Accumulate():
            return f"{stmt.name} {stmt.fn}= {text(stmt.value)}"
        case Store() | Atomic():
            index = ", ".join(map(text, stmt.index))
            guard = "" if stmt.guard is None else f" if {text(stmt.guard)}"
            stored = f"{stmt.buffer}[{index}] = {text(stmt.value)}{guard}"
            if isinstance(stmt, Store):
                return stored
            return f"atomic({stmt.fn}) {stored}" + (f" -> {stmt.old}" if stmt.old else "")
        case Transpose():
            to, at = (", ".join(map(text, index)) for index in (stmt.to, stmt.at))
            block = f"{stmt.target}[{to}] = {stmt.source}[{at}]"
            limits = f"{text(stmt.rows)}, {text(stmt.columns)}"
            axis = "" if stmt.axis == -2 else f", axis {stmt.axis}"
            return f"transpose({stmt.side}{axis}) {block} in {limits}"
        case If():
            return f"if {text(stmt.cond)}:"
        case While():
            return f"while {text(stmt.cond)}:"
        case Check():
            return f"check {text(stmt.ok)}, code {stmt.code}"
        case Barrier():
            return "barrier"
        case Combine():
            return f"{'prefix' if stmt.prefix else 'combine'}({stmt.width}) {stmt.fn} {stmt.name}"
        case Fence():
            return "fence"
    raise InternalError(f"not a statement of the Kernel IR: {stmt!r}")


def show_expr(expr: Expr, done: dict[Expr, str] | None = None) -> str:
    """An expression, with every dtype that would not be inferred."""
    done = {} if done is None else done
    for node in walk_new(expr, done):
        match node:
            case Const():
                suffix = "" if node.dtype == _looks(node.value) else f":{node.dtype}"
                done[node] = show_scalar(node.value) + suffix
            case Var():
                done[node] = node.name
            case Op():
                follows = result_dtype(node.fn, [arg.dtype for arg in node.args])
                dtype = "" if node.dtype == follows else f"[{node.dtype}]"
                done[node] = f"{node.fn}{dtype}({', '.join(done[arg] for arg in node.args)})"
            case Load():
                guard = "" if node.guard is None else f" if {done[node.guard]}"
                done[node] = f"{node.buffer}[{', '.join(done[i] for i in node.index)}{guard}]"
    return done[expr]


def _looks(value: bool | int | float | complex) -> str:
    """The dtype a constant has when none is printed."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "i64"
    return "f32" if isinstance(value, float) else "c64"


def _block(body: Sequence[Stmt], level: int, done: dict[Expr, str]) -> Iterator[str]:
    indent = "  " * level
    if not body:
        yield f"{indent}pass"
    for stmt in body:
        yield indent + show_statement(stmt, done)
        match stmt:
            case Loop() | While():
                yield from _block(stmt.body, level + 1, done)
            case If():
                yield from _block(stmt.then, level + 1, done)
                if stmt.orelse:
                    yield f"{indent}else:"
                    yield from _block(stmt.orelse, level + 1, done)


def _vectors(loop: Loop) -> str:
    if loop.width == 1 and loop.unroll == 1:
        return ""
    if loop.width == 1 and loop.how != "vec":
        return f"(unroll {loop.unroll})"
    return f"({loop.width}x{loop.unroll})"


def _range(loop: Loop, text: Callable[[Expr], str]) -> str:
    start = "" if loop.start == Const(0, "i64") else f"{text(loop.start)}.."
    return start + text(loop.stop)


# ---- reading -------------------------------------------------------------------------------------

_REAL = r"(?:\d+\.\d+(?:e[+-]?\d+)?|\d+(?:e[+-]?\d+)?|inf\b|nan\b)"
_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<complex> (?<![\w\]])\([-+\w.]+j\) | -?(?:\d[\d.]*(?:e[+-]?\d+)?|inf|nan)j\b )
      | (?P<real> -?{_REAL} )
      | (?P<name> [A-Za-z_]\w* )
      | (?P<mark> \.\. | [()\[\],:] )
    )""",
    re.VERBOSE,
)
_NAME = r"[A-Za-z_]\w*"
_KERNEL = re.compile(rf"kernel ({_NAME})(?:\[([\w,]*)\])?\((.*)\)( narrow)?\s*$")
_PARAM = re.compile(rf"(\w+) ({_NAME}): (\w+)\[([\w,]*)\]")
_LOOP = re.compile(rf"({'|'.join(HOWS)})(?:\((?:(\d+)x(\d+)|unroll (\d+))\))? ({_NAME}) in (.*):$")
_SCRATCH = re.compile(rf"({_NAME}): (\w+)\[([\d,]*)\] scratch$")
_TRANSPOSE = re.compile(r"transpose\((\d+)(?:, axis (-\d+))?\) (.*)$")
_LOCAL = re.compile(rf"({_NAME}): (\w+) = (.*)$")
_ATOMIC = re.compile(rf"atomic\((\w+)\) (.*?)(?: -> ({_NAME}))?$")
_COMBINE = re.compile(rf"(combine|prefix)\((\d+)\) (\w+) ({_NAME})$")
_UPDATE = re.compile(rf"({_NAME}) (\w*)= (.*)$")


class _Bad(Exception):
    """What is wrong with the line being read."""


@dataclass
class _Scope:
    """What names mean: dtypes of variables, and of buffers. Blocks read in a copy."""

    variables: dict[str, str] = field(default_factory=dict)
    buffers: dict[str, str] = field(default_factory=dict)

    def inner(self) -> _Scope:
        return _Scope(dict(self.variables), dict(self.buffers))

    def dtype(self, table: dict[str, str], name: str) -> str:
        if name not in table:
            raise _Bad(f"`{name}` is not declared")
        return table[name]


def parse(text: str) -> Kernel:
    """Read the text of one kernel. Raises InternalError with the number and text of a bad line."""
    lines = [(n, line.rstrip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InternalError("kernel text is empty")
    reader = _Lines(lines)
    try:
        return reader.kernel()
    except _Bad as bad:
        number, line = lines[min(max(reader.at - 1, 0), len(lines) - 1)]
        raise InternalError(f"kernel text, line {number}: {bad}: `{line.strip()}`") from None


class _Lines:
    """The lines still to be read; ``at`` is the next one."""

    def __init__(self, lines: list[tuple[int, str]]) -> None:
        self.lines = lines
        self.at = 0

    def take(self) -> str:
        self.at += 1
        return self.lines[self.at - 1][1].strip()

    def kernel(self) -> Kernel:
        head, _, comment = self.take().partition("#")
        found = _KERNEL.match(head)
        if found is None:
            raise _Bad("expected `kernel name[sizes](params)`")
        name, sizes_text, params_text, narrow = found.groups()
        sizes = tuple(s for s in (sizes_text or "").split(",") if s)
        params = tuple(_read_param(text) for text in re.split(r",\s+", params_text) if text)
        scope = _Scope(dict.fromkeys(sizes, "i64"), {p.name: p.dtype for p in params})
        body = self.block(scope, 1)
        if self.at < len(self.lines):
            self.at += 1
            raise _Bad("indentation does not fit")
        return Kernel(name, sizes, params, body, comment.strip(), bool(narrow))

    def block(self, scope: _Scope, level: int) -> tuple[Stmt, ...]:
        """The statements indented by ``level``, with their bodies."""
        scope = scope.inner()
        body: list[Stmt] = []
        while self.at < len(self.lines) and self.indented(level):
            stmt = self.statement(self.take(), scope, level)
            if stmt is not None:
                body.append(stmt)
        return tuple(body)

    def indented(self, level: int) -> bool:
        line = self.lines[self.at][1]
        return len(line) - len(line.lstrip()) == 2 * level

    def statement(self, line: str, scope: _Scope, level: int) -> Stmt | None:
        """One statement; None for ``pass``."""
        word = line.split(" ", 1)[0]
        if line == "pass":
            return None
        if line in ("barrier", "fence"):
            return Barrier() if line == "barrier" else Fence()
        if word in ("if", "while") and line.endswith(":"):
            cond = _Tokens(line[len(word) : -1], scope).whole()
            body = self.block(scope, level + 1)
            return (
                While(cond, body) if word == "while" else If(cond, body, self.orelse(scope, level))
            )
        if word == "check":
            return _read_check(line[len(word) :], scope)
        if found := _LOOP.match(line):
            return self.loop(found, scope, level)
        if found := _COMBINE.match(line):
            return Combine(found[4], found[3], int(found[2]), found[1] == "prefix")
        if found := _ATOMIC.match(line):
            return _read_atomic(found, scope)
        if found := _TRANSPOSE.match(line):
            return _read_transpose(int(found[1]), int(found[2] or -2), found[3], scope)
        return _read_assignment(line, scope)

    def orelse(self, scope: _Scope, level: int) -> tuple[Stmt, ...]:
        if (
            self.at < len(self.lines)
            and self.indented(level)
            and self.lines[self.at][1].strip() == "else:"
        ):
            self.at += 1
            return self.block(scope, level + 1)
        return ()

    def loop(self, found: re.Match[str], scope: _Scope, level: int) -> Loop:
        how, width, unroll, full, var, limits = found.groups()
        tokens = _Tokens(limits, scope)
        start: Expr = Const(0, "i64")
        stop = tokens.expr()
        if tokens.accept(".."):
            start, stop = stop, tokens.expr()
        tokens.finish()
        inside = scope.inner()
        inside.variables[var] = "i64"
        body = self.block(inside, level + 1)
        return Loop(how, var, start, stop, body, int(width or 1), int(unroll or full or 1))


def _read_param(text: str) -> Param:
    found = _PARAM.fullmatch(text.strip())
    if found is None:
        raise _Bad(f"expected `role name: dtype[shape]`, not `{text}`")
    role, name, dtype, dims = found.groups()
    shape = tuple(int(d) if d.isdigit() else d for d in dims.split(",") if d)
    return Param(name, _read_dtype(dtype), shape, role)


def _read_dtype(name: str) -> str:
    if name not in DTYPES:
        raise _Bad(f"`{name}` is not a dtype")
    return name


def _read_check(text: str, scope: _Scope) -> Check:
    tokens = _Tokens(text, scope)
    ok = tokens.expr()
    tokens.expect(",")
    tokens.expect("code")
    code = tokens.expr()
    tokens.finish()
    if not isinstance(code, Const) or not isinstance(code.value, int):
        raise _Bad("the code of a check is a number")
    return Check(ok, code.value)


def _read_transpose(side: int, axis: int, text: str, scope: _Scope) -> Transpose:
    target, _, rest = text.partition(" = ")
    place = _Tokens(target, scope).whole()
    tokens = _Tokens(rest, scope)
    source = tokens.expr()
    tokens.expect("in")
    rows = tokens.expr()
    tokens.expect(",")
    columns = tokens.expr()
    tokens.finish()
    if not isinstance(place, Load) or not isinstance(source, Load):
        raise _Bad("expected `transpose(side) target[index] = source[index] in rows, columns`")
    return Transpose(
        place.buffer, place.index, source.buffer, source.index, side, rows, columns, axis
    )


def _read_atomic(found: re.Match[str], scope: _Scope) -> Atomic:
    store = _read_assignment(found[2], scope)
    if not isinstance(store, Store):
        raise _Bad("expected `atomic(fn) buffer[index] = value`")
    if found[3]:
        scope.variables[found[3]] = store.value.dtype
    return Atomic(store.buffer, store.index, found[1], store.value, store.guard, found[3])


def _read_assignment(line: str, scope: _Scope) -> Stmt:
    """Local, Scratch, Set, Accumulate, Store; declares what it declares in ``scope``."""
    if found := _SCRATCH.match(line):
        name, dtype, dims = found.groups()
        scope.buffers[name] = _read_dtype(dtype)
        return Scratch(name, dtype, tuple(int(d) for d in dims.split(",") if d))
    if found := _LOCAL.match(line):
        name, dtype, value = found.groups()
        stmt = Local(name, _read_dtype(dtype), _Tokens(value, scope).whole())
        scope.variables[name] = dtype
        return stmt
    if found := _UPDATE.match(line):
        name, fn, value = found.groups()
        expr = _Tokens(value, scope).whole()
        return Accumulate(name, fn, expr) if fn else Set(name, expr)
    target, equals, value = line.partition(" = ")
    if not equals:
        raise _Bad("not a statement")
    place = _Tokens(target, scope).whole()
    if not isinstance(place, Load):
        raise _Bad("expected `buffer[index] = value`")
    tokens = _Tokens(value, scope)
    stored = tokens.expr()
    guard = tokens.expr() if tokens.accept("if") else None
    tokens.finish()
    return Store(place.buffer, place.index, stored, guard)


@dataclass
class _Open:
    """A call or load whose arguments are being read."""

    name: str
    dtype: str | None
    is_load: bool
    args: list[Expr] = field(default_factory=list)
    guarded: bool = False


class _Tokens:
    """Expressions and the marks between, as tokens. No recursion: fused expressions are deep."""

    def __init__(self, text: str, scope: _Scope) -> None:
        self.scope = scope
        self.tokens: list[tuple[str, str]] = []
        self.at = 0
        position, text = 0, text.rstrip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise _Bad(f"cannot read `{text[position:].strip()}`")
            self.tokens.append((found.lastgroup or "", found[found.lastgroup or 0]))
            position = found.end()

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead][1] if self.at + ahead < len(self.tokens) else ""

    def accept(self, token: str) -> bool:
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise _Bad(f"expected `{token}` before `{self.peek() or 'the end'}`")

    def finish(self) -> None:
        if self.at < len(self.tokens):
            raise _Bad(f"unexpected `{self.peek()}`")

    def whole(self) -> Expr:
        """The expression that takes up all the text."""
        expr = self.expr()
        self.finish()
        return expr

    def expr(self) -> Expr:
        """The next expression."""
        stack: list[_Open] = []
        while True:
            value = self.atom(stack)
            while value is not None:
                if not stack:
                    return value
                stack[-1].args.append(value)
                value = self.after_argument(stack)

    def atom(self, stack: list[_Open]) -> Expr | None:
        """A constant, a variable, a call without arguments; None when a call or load was opened."""
        if self.at >= len(self.tokens):
            raise _Bad("expression ends early")
        kind, token = self.tokens[self.at]
        if kind == "complex" or kind == "real" or token in ("true", "false"):
            self.at += 1
            return self.constant(kind, token)
        if kind != "name" or token in RESERVED:
            raise _Bad(f"unexpected `{token}`")
        self.at += 1
        dtype = None
        if (
            self.peek() == "["
            and self.peek(1) in DTYPES
            and self.peek(2) == "]"
            and self.peek(3) == "("
        ):
            dtype = self.peek(1)
            self.at += 3
        if self.peek() not in ("(", "["):
            return Var(token, self.scope.dtype(self.scope.variables, token))
        stack.append(_Open(token, dtype, is_load=self.accept("[")))
        if not stack[-1].is_load:
            self.at += 1
        stack[-1].guarded = self.accept("if")
        return self.close(stack.pop()) if self.peek() in (")", "]") else None

    def after_argument(self, stack: list[_Open]) -> Expr | None:
        """Close the innermost call or load, or go on to its next argument (None)."""
        top = stack[-1]
        if self.accept(","):
            return None
        if top.is_load and not top.guarded and self.accept("if"):
            top.guarded = True
            return None
        return self.close(stack.pop())

    def close(self, top: _Open) -> Expr:
        self.expect("]" if top.is_load else ")")
        if top.is_load:
            dtype = self.scope.dtype(self.scope.buffers, top.name)
            guard = top.args.pop() if top.guarded else None
            return Load(top.name, tuple(top.args), dtype, guard)
        follows = top.dtype or result_dtype(top.name, [arg.dtype for arg in top.args])
        if follows is None:
            raise _Bad(f"`{top.name}` needs its dtype: `{top.name}[f32](...)`")
        return Op(top.name, tuple(top.args), follows)

    def constant(self, kind: str, token: str) -> Const:
        value: bool | int | float | complex
        if kind == "complex":
            value = complex(token)
        elif kind == "real":
            value = int(token) if re.fullmatch(r"-?\d+", token) else float(token)
        else:
            value = token == "true"
        return Const(value, _read_dtype(self.next_name()) if self.accept(":") else _looks(value))

    def next_name(self) -> str:
        self.at += 1
        return self.peek(-1)
