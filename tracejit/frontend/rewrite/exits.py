"""break, continue and return become flags, so that a block is left only at its end.

    if c: return a          if c: value = a
    return b                else: value = b
                            return value

Where one side of an ``if`` always leaves, what follows moves into the other side. Elsewhere, and in
loops, flags say that the rest is to be skipped; a loop stops when its flag is set. The result has
the meaning of the original on any values.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

#: begins all names that rewriting adds
PREFIX = "_tj_"
VALUE, DONE = f"{PREFIX}value", f"{PREFIX}done"
#: what generated code calls the helpers
RUNTIME = f"{PREFIX}rt"

Block = list[ast.stmt]
LOOPS = (ast.While, ast.For)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


class Unsupported(Exception):
    """A function that cannot be rewritten; it is left as it is."""


def place(node: Any, like: ast.AST) -> Any:
    """``node`` and what it holds at the source position of ``like``, where they have none."""
    for part in ast.walk(node):
        if "lineno" in part._attributes and not hasattr(part, "lineno"):
            ast.copy_location(part, like)
    return node


def load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def assign(name: str, value: ast.expr, like: ast.AST) -> ast.stmt:
    return place(ast.Assign([ast.Name(name, ast.Store())], value), like)  # type: ignore[no-any-return]


def check_results(block: Sequence[ast.stmt]) -> None:
    """What is returned must have a value: a helper looks, at the position of the expression."""
    for statement in block:
        if isinstance(statement, ast.Return) and statement.value is not None:
            helper = ast.Attribute(load(RUNTIME), "result", ast.Load())
            call = place(ast.Call(helper, [statement.value], []), statement.value)
            call.generated = True
            statement.value = call
        for inner in blocks_of(statement):
            check_results(inner)


def negation(expression: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), expression)


def blocks_of(statement: ast.AST) -> list[Block]:
    """The blocks that a compound statement runs in its own scope."""
    if isinstance(statement, SCOPES):
        return []
    found: list[Block] = [
        block
        for name in ("body", "orelse", "finalbody")
        if (block := getattr(statement, name, None)) and isinstance(block, list)
    ]
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        found.append(part.body)
    return found


def exits(block: Sequence[ast.stmt]) -> set[str]:
    """How a block may be left before its end: "return", "break", "continue"."""
    found: set[str] = set()
    for statement in block:
        if isinstance(statement, ast.Return | ast.Break | ast.Continue):
            found.add(type(statement).__name__.lower())
        elif isinstance(statement, LOOPS):
            found |= exits(statement.body) & {"return"} | exits(statement.orelse)
        else:
            for inner in blocks_of(statement):
                found |= exits(inner)
    return found


def falls_through(block: Sequence[ast.stmt]) -> bool:
    """Whether control may reach the end of a block."""
    for statement in block:
        if isinstance(statement, ast.Return | ast.Break | ast.Continue | ast.Raise):
            return False
        if isinstance(statement, ast.If) and statement.orelse:
            if not falls_through(statement.body) and not falls_through(statement.orelse):
                return False
        if isinstance(statement, ast.While) and is_true(statement.test):
            if "break" not in exits(statement.body):
                return False
    return True


def is_true(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant) and bool(test.value)


class Leaving:
    """Rewrites the body of one function."""

    def __init__(self, returns: bool) -> None:
        #: whether returns become flags; where there is only one, at the end, they need not
        self.returns = returns
        self.loops = 0

    def block(self, block: Block, loop: int) -> Block:
        """``block`` without exits. ``loop``: the number of the loop it is in, or 0."""
        done: Block = []
        for k, statement in enumerate(block):
            rest = block[k + 1 :]
            kinds = exits([statement])
            if isinstance(statement, ast.Return | ast.Break | ast.Continue):
                return [*done, *self.leave(statement, loop)]
            if isinstance(statement, ast.If) and kinds and rest:
                one_way = self.one_way(statement, rest, loop)
                if one_way is not None:
                    return [*done, one_way]
            done += self.statement(statement, loop)
            lost = self.returns and loop and isinstance(statement, LOOPS) and "return" in kinds
            if kinds and (rest or lost) and (kinds - {"return"} or self.returns):
                return [*done, self.guarded(statement, kinds, rest, loop)]
        return done

    def leave(self, statement: ast.stmt, loop: int) -> Block:
        """What stands for return, break or continue."""
        if isinstance(statement, ast.Continue):
            return [assign(_skip(loop), ast.Constant(True), statement)]
        if isinstance(statement, ast.Break):
            return [assign(stop(loop), ast.Constant(True), statement)]
        assert isinstance(statement, ast.Return)
        if not self.returns:
            return [statement]
        found = [
            assign(VALUE, statement.value or ast.Constant(None), statement),
            assign(DONE, ast.Constant(True), statement),
        ]
        return [*found, assign(stop(loop), ast.Constant(True), statement)] if loop else found

    def one_way(self, statement: ast.If, rest: Block, loop: int) -> ast.stmt | None:
        """The ``if`` with what follows inside of the one side that gets there, if it is one."""
        body, orelse = statement.body, statement.orelse
        if not falls_through(body):
            orelse = [*orelse, *rest] if falls_through(orelse) else orelse
        elif not falls_through(orelse):
            body = [*body, *rest]
        else:
            return None
        return self.branch(statement, body, orelse, loop)

    def branch(self, statement: ast.If, body: Block, orelse: Block, loop: int) -> ast.stmt:
        new = ast.If(
            statement.test, self.block(body, loop) or [ast.Pass()], self.block(orelse, loop)
        )
        return place(ast.copy_location(new, statement), statement)  # type: ignore[no-any-return]

    def guarded(self, statement: ast.stmt, kinds: set[str], rest: Block, loop: int) -> ast.stmt:
        """What follows a statement that may have left, where it has not."""
        like = rest[0] if rest else statement
        told = getattr(statement, "told", False)
        if isinstance(statement, LOOPS) and loop and "return" in kinds and not told:
            leave = [assign(stop(loop), ast.Constant(True), like)]
            return place(ast.If(load(DONE), leave, self.block(rest, loop)), like)  # type: ignore[no-any-return]
        test = negation(self.left(kinds, loop))
        return place(ast.If(test, self.block(rest, loop) or [ast.Pass()], []), like)  # type: ignore[no-any-return]

    def left(self, kinds: set[str], loop: int) -> ast.expr:
        """Whether one of the flags is set."""
        if not loop:
            return load(DONE)
        names = [stop(loop)] if kinds & {"break", "return"} else []
        names += [_skip(loop)] if "continue" in kinds else []
        flags: list[ast.expr] = [load(name) for name in names]
        return flags[0] if len(flags) == 1 else ast.BoolOp(ast.Or(), flags)

    def statement(self, statement: ast.stmt, loop: int) -> Block:
        """A statement with the blocks inside of it rewritten."""
        if isinstance(statement, LOOPS):
            return self.loop(statement, loop)
        if isinstance(statement, ast.If):
            return [self.branch(statement, statement.body, statement.orelse, loop)]
        if isinstance(statement, SCOPES):
            return [statement]
        final = exits(getattr(statement, "finalbody", []))
        if final or (isinstance(statement, ast.TryStar) and exits([statement])):
            raise Unsupported("it leaves a `finally` or `except*` block")
        if isinstance(statement, ast.Try) and statement.orelse:
            kinds = exits(statement.body)
            if kinds:  # the else block is for a body that came to its end
                statement.orelse = [self.guarded(statement.body[0], kinds, statement.orelse, loop)]
            else:
                statement.orelse = self.block(statement.orelse, loop)
            statement.body = self.block(statement.body, loop)
            statement.finalbody = self.block(statement.finalbody, loop)
            for handler in statement.handlers:
                handler.body = self.block(handler.body, loop)
            return [statement]
        for inner in blocks_of(statement):
            inner[:] = self.block(inner, loop) or [place(ast.Pass(), inner[0])]
        return [statement]

    def loop(self, statement: ast.While | ast.For, outer: int) -> Block:
        """A loop whose body has no exits; ``.flag`` names the flag that stops a ``for``."""
        self.loops += 1
        number = self.loops
        over = f"{PREFIX}over_{number}" if statement.orelse else ""
        if isinstance(statement, ast.While) and _assigns(statement.test):
            leave: Block = [place(ast.Break(), statement.test)]
            if over:  # the test ended the loop: its else block runs
                leave.insert(0, assign(over, ast.Constant(True), statement))
            body: Block = [place(ast.If(statement.test, statement.body, leave), statement.test)]
            statement.test = place(ast.Constant(True), statement.test)
        else:
            body, over = statement.body, ""
        kinds = exits(body)
        stops = bool(kinds & ({"break", "return"} if self.returns else {"break"}))
        orelse = statement.orelse
        statement.body = self.block(body, number)
        if "continue" in kinds:
            statement.body.insert(0, assign(_skip(number), ast.Constant(False), body[0]))
        statement.orelse = []
        if "return" not in kinds and exits(orelse):
            statement.told = True  # type: ignore[attr-defined] # what leaves sets its flag there
        if not stops:
            return [statement, *self.block(orelse, outer)]
        running = negation(load(stop(number)))
        if isinstance(statement, ast.For):
            statement.flag = stop(number)  # type: ignore[attr-defined]
        elif is_true(statement.test):
            statement.test = place(running, statement.test)
        else:
            test = ast.BoolOp(ast.And(), [running, statement.test])
            statement.test = place(ast.copy_location(test, statement.test), statement.test)
        found: Block = [assign(stop(number), ast.Constant(False), statement), statement]
        if over:
            found.insert(0, assign(over, ast.Constant(False), statement))
        if outer and "return" in kinds and exits(orelse):
            # the loop around it ends for what happens here, too, or for what the else block does
            leave = [assign(stop(outer), ast.Constant(True), statement)]
            found.append(place(ast.If(load(DONE), leave, []), statement))
            statement.told = True  # type: ignore[attr-defined]
        if orelse:
            ended = load(over) if over else negation(load(stop(number)))
            last = place(ast.If(ended, orelse, []), orelse[0])
            found += self.block([last], outer)
        return found


def stop(loop: int) -> str:
    """The flag that stops a loop."""
    return f"{PREFIX}break_{loop}"


def _skip(loop: int) -> str:
    return f"{PREFIX}continue_{loop}"


def _assigns(expression: ast.expr) -> bool:
    return any(isinstance(node, ast.NamedExpr) for node in ast.walk(expression))


def without_exits(function: ast.FunctionDef) -> None:
    """Rewrite a function so that it returns once, at its end, and no loop is left from inside.

    Raises Unsupported where it cannot.
    """
    body = function.body
    check_results(body)
    inner = any("return" in exits(block) for s in body for block in blocks_of(s))
    writer = Leaving(inner)
    if not inner:
        function.body = writer.block(body, 0)
        return
    last = body[-1]
    if falls_through(body):
        body = [*body, place(ast.Return(ast.Constant(None)), last)]
    first = assign(DONE, ast.Constant(False), body[0])
    end = place(ast.Return(load(VALUE)), last)
    function.body = [first, *writer.block(body, 0), end]
