"""Which names statements assign and read, and which of them are read later.

    assigned([x = 1, y[0] = 2])     {"x", "y"}: to change a part of y counts
    Later(function)                 .after[statement], .head[loop]: the names read from there on

Names with a dot are attributes: ``self.h = 1`` assigns ``self.h``. Attributes, and what a nested
function reads, may be read at any time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from tracejit.frontend.rewrite.exits import SCOPES, blocks_of

#: methods that change a list, dict or set in place
MUTATORS = frozenset(
    "append extend insert pop remove clear reverse sort update setdefault popitem add discard "
    "appendleft popleft extendleft rotate".split()
)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def within(node: ast.AST) -> Iterator[ast.AST]:
    """``node`` and what belongs to its scope: not the inside of nested functions and classes, but
    their defaults, decorators and base classes.
    """
    yield node
    for child in _outside(node) if isinstance(node, SCOPES) else ast.iter_child_nodes(node):
        yield from within(child)


def _outside(scope: ast.AST) -> Iterator[ast.AST]:
    """What is evaluated where a function or class is defined."""
    arguments = getattr(scope, "args", None)
    holders = ("decorator_list", "bases", "keywords")
    for part in (scope, *([arguments] if arguments else [])):
        for name in (*holders, "defaults", "kw_defaults"):
            yield from (child for child in getattr(part, name, ()) if child is not None)


def dotted(node: ast.AST) -> str | None:
    """``self.cell.h`` for a chain of attributes of a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return base and f"{base}.{node.attr}"
    return None


def changed(node: ast.AST) -> str | None:
    """The name or attribute that a store into ``node`` changes: ``x`` for ``x[0].y[1]``."""
    while isinstance(node, ast.Subscript | ast.Starred):
        node = node.value
    name = dotted(node)
    while name is None and isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
        name = dotted(node)
    return name


def assigned(block: Iterable[ast.AST]) -> set[str]:
    """Names that statements bind, unbind or change in place."""
    found: set[str | None] = set()
    for statement in block:
        hidden = _targets_of_comprehensions(statement)
        for node in within(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                found.add(node.id if id(node) not in hidden else None)
            elif isinstance(node, ast.Attribute | ast.Subscript):
                found.add(None if isinstance(node.ctx, ast.Load) else changed(node))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found.add(changed(node.func.value) if node.func.attr in MUTATORS else None)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.alias):
                found.add(node.asname or node.name.partition(".")[0])
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
                found.add(node.name)
            elif isinstance(node, ast.MatchMapping):
                found.add(node.rest)
    names = {name for name in found if name is not None}
    # where the object itself is another one, its attributes are its own affair
    return {name for name in names if name.partition(".")[0] not in names or "." not in name}


def _targets_of_comprehensions(node: ast.AST) -> set[int]:
    return {
        id(name)
        for part in within(node)
        if isinstance(part, COMPREHENSIONS)
        for generator in part.generators
        for name in ast.walk(generator.target)
    }


def reads(*nodes: ast.AST | None) -> set[str]:
    """Names that are read anywhere inside."""
    return {
        part.id
        for node in nodes
        if node is not None
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Store)
    }


def bound(target: ast.AST) -> set[str]:
    """Names that an assignment to ``target`` gives new values, whatever they were."""
    if isinstance(target, ast.Name):
        return {target.id}
    if isinstance(target, ast.Starred):
        return bound(target.value)
    if isinstance(target, ast.Tuple | ast.List):
        return {name for part in target.elts for name in bound(part)}
    return set()


def attributes_of(target: ast.AST) -> list[ast.Attribute]:
    """The attributes of named objects that an assignment to ``target`` sets."""
    if isinstance(target, ast.Tuple | ast.List):
        return [found for part in target.elts for found in attributes_of(part)]
    if isinstance(target, ast.Starred):
        return attributes_of(target.value)
    return [target] if isinstance(target, ast.Attribute) and dotted(target) else []


class Later:
    """The names that may be read after each statement of a function."""

    def __init__(self, function: ast.FunctionDef) -> None:
        #: after an if or a loop; at the head of a loop, where its test and next step read
        self.after: dict[ast.AST, set[str]] = {}
        self.head: dict[ast.AST, set[str]] = {}
        self.always = captured(function.body)
        self.block(function.body, set())

    def block(self, block: Sequence[ast.stmt], out: set[str]) -> set[str]:
        for statement in reversed(block):
            out = self.statement(statement, out)
        return out

    def statement(self, statement: ast.stmt, out: set[str]) -> set[str]:
        """Names read from before ``statement`` on, given those read after it."""
        match statement:
            case ast.If():
                self.after[statement] = out
                sides = self.block(statement.body, out) | self.block(statement.orelse, out)
                return sides | reads(statement.test)
            case ast.While() | ast.For():
                return self.loop(statement, out)
            case ast.Assign():
                kept = out - {n for target in statement.targets for n in bound(target)}
                return kept | reads(statement.value, *statement.targets)
            case ast.AugAssign() if isinstance(statement.target, ast.Name):
                return out | {statement.target.id} | reads(statement.value)
            case ast.Delete():
                return out | reads(*statement.targets)
            case ast.Return():
                return reads(statement.value)
            case _ if blocks_of(statement):
                # an error may leave the block anywhere: all that is read inside may be read next
                every = out | reads(statement)
                for block in blocks_of(statement):
                    self.block(block, every)
                return every
        return out | reads(statement)

    def loop(self, statement: ast.While | ast.For, out: set[str]) -> set[str]:
        self.after[statement] = out
        flag = getattr(statement, "flag", None)
        once = out | ({flag} if flag else set())
        once |= reads(statement.test) if isinstance(statement, ast.While) else set()
        target = bound(statement.target) if isinstance(statement, ast.For) else set()
        head = once
        while True:
            grown = once | (self.block(statement.body, head) - target)
            if grown == head:
                break
            head = grown
        self.head[statement] = head
        return head | (reads(statement.iter) if isinstance(statement, ast.For) else set())


def captured(block: Sequence[ast.stmt]) -> set[str]:
    """Names that nested functions, classes and generators read: when, nobody knows."""
    inner = (*SCOPES, ast.GeneratorExp)
    return {
        name
        for statement in block
        for node in within(statement)
        if isinstance(node, inner)
        for name in reads(node)
    }
