"""Statements and expressions become calls of run-time helpers, at the positions of the originals.

    if c: x = a             def _tj_then_1():
                                nonlocal x
                                x = a
                            _tj_rt.if_(c, _tj_then_1, None, ("x",), ())
    while c: ...            _tj_rt.while_(lambda: c, _tj_body_2, ...)
    a if c else b           _tj_rt.if_expr(c, lambda: a, lambda: b)
    f(x)                    _tj_rt.fn(f)(x)

In: a function without exits (exits.py). The bodies are nested functions of the same variables, so
on Python values everything happens as it did.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from typing import Any

from tracejit.frontend.rewrite.exits import PREFIX, RUNTIME, SCOPES, Block, load, place
from tracejit.frontend.rewrite.names import Later, assigned, attributes_of, within

#: the argument that tells generated lambdas from the user's
MARK = f"{PREFIX}generated"
#: these look at the frame that calls them, or need no look at
DIRECT = frozenset("super locals globals vars dir eval exec len isinstance print type".split())
#: these go over traced ranges and arrays where a ``for`` does
ITERATORS = frozenset(("range", "zip", "enumerate", "reversed"))
#: functions of a generator whose conditions may be traced
FOLDS = frozenset(("sum", "any", "all", "max", "min"))
#: functions that see the local variables of their caller cannot be taken apart
SEES_LOCALS = frozenset("locals vars dir eval exec".split())


class Convert(ast.NodeTransformer):
    """Rewrites one function or lambda."""

    def __init__(self, later: Later | None, local: set[str], outer: set[str], first: str) -> None:
        self.later = later
        #: names of the function itself; those of functions around it; its first argument
        self.local = local
        self.outer = outer
        self.first = first
        #: names declared global
        self.globals: set[str] = set()
        self.count = 0
        #: names that nested bodies assign: each needs a binding in the function itself
        self.bound: set[str] = set()

    # ---- statements ----

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return node  # it is rewritten when it is called

    visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

    def visit_Nonlocal(self, node: ast.Nonlocal) -> Any:
        return place(ast.Pass(), node)

    visit_Global = visit_Nonlocal  # type: ignore[assignment]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        """Without its annotation, which Python does not evaluate in functions either."""
        if node.value is None:
            return place(ast.Pass(), node)
        new = ast.Assign([node.target], node.value)
        return self.visit(place(ast.copy_location(new, node), node))

    def visit_Assign(self, node: ast.Assign) -> Any:
        return self.storing(node, node.targets)

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        return self.storing(node, [node.target])

    def visit_Delete(self, node: ast.Delete) -> Any:
        return self.storing(node, node.targets)

    def storing(self, node: ast.stmt, targets: Sequence[ast.expr]) -> Any:
        """A statement after calls that tell which attributes it changes."""
        parts = [part for target in targets for part in attributes_of(target)]
        told = [
            self.call("storing", part, copy.deepcopy(part.value), ast.Constant(part.attr))
            for part in parts
        ]
        self.generic_visit(node)
        return [*told, node] if told else node

    def visit_Assert(self, node: ast.Assert) -> Any:
        """A helper looks at the condition; the rest is Python's."""
        whole = ast.copy_location(ast.Constant(None), node)
        message = self.thunk(self.message(node.msg)) if node.msg else ast.Constant(None)
        node.msg = None if node.msg is None else self.visit(copy.deepcopy(node.msg))
        node.test = self.expression("holds", whole, self.visit(node.test), message)
        return node

    def visit_Raise(self, node: ast.Raise) -> Any:
        if node.exc is not None:
            node.exc = self.message(node.exc)
        return self.generic_visit(node)

    def message(self, node: ast.expr) -> ast.expr:
        """An expression whose f-strings may hold values that only the run of the program knows."""
        return Messages(self).visit(copy.deepcopy(node))  # type: ignore[no-any-return]

    def visit_Try(self, node: ast.Try) -> Any:
        self.generic_visit(node)
        if node.handlers:
            item = ast.withitem(self.expression("trying", _first(node)))
            node.body = [place(ast.With([item], node.body), node.body[0])]
        return node

    def visit_If(self, node: ast.If) -> Any:
        names = assigned([*node.body, *node.orelse])
        assert self.later is not None
        live = self.kept(names, self.later.after[node])
        test = self.visit(node.test)
        then = self.function("then", node.body, node)
        orelse = self.function("else", node.orelse, node) if node.orelse else None
        call = self.call(
            "if_",
            node.test,
            test,
            load(then.name),
            load(orelse.name) if orelse else ast.Constant(None),
            *self.state(names, live),
        )
        return [then, *([orelse] if orelse else []), call]

    def visit_While(self, node: ast.While) -> Any:
        names = assigned(node.body)
        assert self.later is not None
        live = self.kept(names, self.later.head[node] | self.later.after[node])
        body = self.function("body", node.body, node)
        test = self.thunk(node.test)
        return [
            body,
            self.call("while_", node.test, test, load(body.name), *self.state(names, live)),
        ]

    def visit_For(self, node: ast.For) -> Any:
        item = f"{PREFIX}item"
        target = ast.Assign([node.target], load(item))
        place(ast.copy_location(target, node.target), node.target)
        names = assigned([node.target, *node.body])
        assert self.later is not None
        live = self.kept(names, self.later.head[node] | self.later.after[node])
        body = self.function("body", [target, *node.body], node, item)
        flag = getattr(node, "flag", "")
        call = self.call(
            "for_",
            node.iter,
            self.iterable(node.iter),
            load(body.name),
            *self.state(names, live),
            ast.Constant(flag),
        )
        return [body, call]

    def kept(self, names: set[str], live: set[str]) -> list[str]:
        """Of the names that a block assigns those that may be read later."""
        assert self.later is not None
        always = self.later.always | self.outer
        return sorted(n for n in names if n in live or n in always or "." in n)

    def state(self, names: set[str], live: Sequence[str]) -> list[ast.expr]:
        """The names of a statement as arguments: read later, not read later, globals."""
        own = [n for n in live if self.has(n)]
        rest = sorted(n for n in names - set(live) if self.has(n))
        shared = sorted(names & self.globals)
        return [_strings(own), _strings(rest), *([_strings(shared)] if shared else [])]

    def has(self, name: str) -> bool:
        """Whether a name is a variable of functions, or an attribute of anything."""
        return "." in name or name in self.local or name in self.outer

    def function(self, what: str, block: Block, like: ast.stmt, *args: str) -> ast.FunctionDef:
        """A nested function that runs ``block`` on the variables of the function around it."""
        self.count += 1
        name = f"{PREFIX}{what}_{self.count}"
        names = {n for n in assigned(block) if "." not in n}
        own = sorted(n for n in names if self.has(n))
        shared = sorted(names & self.globals)
        self.bound.update(own)
        body = self.visit_block(block) or [ast.Pass()]
        declared: Block = [ast.Nonlocal(own)] if own else []
        declared += [ast.Global(shared)] if shared else []
        new = ast.FunctionDef(
            name=name,
            args=_arguments(args),
            body=[*declared, *body],
            decorator_list=[],
            returns=None,
        )
        new.type_params = []  # type: ignore[attr-defined]
        return place(new, like)  # type: ignore[no-any-return]

    def visit_block(self, block: Block) -> Block:
        found: Block = []
        for statement in block:
            new = self.visit(statement)
            found += new if isinstance(new, list) else [new]
        return found

    def iterable(self, node: ast.expr) -> ast.expr:
        """What a ``for`` goes over: range, zip, enumerate and reversed may be traced there."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            return self.visit(node)  # type: ignore[no-any-return]
        if node.func.id not in ITERATORS or self.has(node.func.id):
            return self.visit(node)  # type: ignore[no-any-return]
        node.args = [
            ast.copy_location(ast.Starred(self.visit(a.value), ast.Load()), a)
            if isinstance(a, ast.Starred)
            else self.iterable(a)
            for a in node.args
        ]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        node.func = self.expression("iterator", node.func, node.func)
        return node

    # ---- expressions ----

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        if _binds(node.body) or _binds(node.orelse):
            return self.binding(node, "test", "conditional expression")
        test = self.visit(node.test)
        return self.expression(
            "if_expr", node, test, self.thunk(node.body), self.thunk(node.orelse)
        )

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        if any(_binds(value) for value in node.values[1:]):
            self.generic_visit(node)
            for k, value in enumerate(node.values[:-1]):
                node.values[k] = self.expression("known", value, value, _boolean(node))
            return node
        name = "and_" if isinstance(node.op, ast.And) else "or_"
        first, *rest = node.values
        if len(rest) > 1:
            inner = ast.BoolOp(node.op, rest)
            span = {"end_lineno": node.end_lineno, "end_col_offset": node.end_col_offset}
            ast.copy_location(inner, rest[0])
            for key, value in span.items():
                setattr(inner, key, value)
            rest = [inner]
        return self.expression(name, node, self.visit(first), self.thunk(rest[0]))

    def binding(self, node: ast.expr, test: str, what: str) -> ast.expr:
        """An expression that Python evaluates, since it assigns names: its condition is known."""
        self.generic_visit(node)
        part = getattr(node, test)
        setattr(node, test, self.expression("known", part, part, ast.Constant(what)))
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Not):
            return node
        return self.expression("not_", node, node.operand)

    def visit_Compare(self, node: ast.Compare) -> Any:
        if len(node.ops) == 1:
            self.generic_visit(node)
            if not isinstance(node.ops[0], ast.In | ast.NotIn):
                return node
            found = self.expression("contains", node, node.left, node.comparators[0])
            return (
                found if isinstance(node.ops[0], ast.In) else self.expression("not_", node, found)
            )
        if any(_binds(value) for value in node.comparators):
            return self.generic_visit(node)
        names = _strings([type(op).__name__ for op in node.ops])
        thunks = [self.thunk(value) for value in node.comparators]
        return self.expression("chain", node, self.visit(node.left), names, *thunks)

    def visit_Call(self, node: ast.Call) -> Any:
        direct = isinstance(node.func, ast.Name) and node.func.id in DIRECT
        direct = direct or getattr(node, "generated", False)
        if isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args:
            node.args = [place(load("__class__"), node), place(load(self.first), node)]
            return node
        if (folded := self.folded(node)) is not None:
            return folded
        self.generic_visit(node)
        if not direct:
            node.func = self.expression("fn", node.func, node.func)
        return node

    def folded(self, node: ast.Call) -> ast.expr | None:
        """``sum(x for x in xs if c)`` and the like: each value with its condition."""
        if not isinstance(node.func, ast.Name) or node.func.id not in FOLDS or not node.args:
            return None
        values = node.args[0]
        if not isinstance(values, ast.GeneratorExp | ast.ListComp) or len(values.generators) > 1:
            return None
        (part,) = values.generators
        if not part.ifs or part.is_async or _binds(values) or self.has(node.func.id):
            return None
        test = part.ifs[0] if len(part.ifs) == 1 else place(ast.BoolOp(ast.And(), part.ifs), node)
        pair = ast.Tuple([self.visit(test), self.thunk(values.elt)], ast.Load())
        over = ast.comprehension(part.target, self.visit(part.iter), [], 0)
        pairs = place(ast.GeneratorExp(pair, [over]), values)
        found = self.expression("folded", node, node.func, pairs, *map(self.visit, node.args[1:]))
        assert isinstance(found, ast.Call)
        found.keywords = [self.visit(keyword) for keyword in node.keywords]
        return found

    def visit_comprehension(self, node: ast.comprehension) -> Any:
        """Its conditions decide how many items there are."""
        self.generic_visit(node)
        what = ast.Constant("comprehension")
        node.ifs = [self.expression("kept", test, test, what) for test in node.ifs]
        return node

    def thunk(self, node: ast.expr) -> ast.expr:
        """``lambda: node``."""
        args = _arguments(())
        args.vararg = ast.arg(MARK)
        return place(ast.Lambda(args, self.visit(node)), node)  # type: ignore[no-any-return]

    def expression(self, name: str, like: ast.expr, *args: ast.expr) -> ast.expr:
        """A call of the helper ``name`` at the position of ``like``."""
        helper = ast.Attribute(load(RUNTIME), name, ast.Load())
        return place(ast.Call(helper, list(args), []), like)  # type: ignore[no-any-return]

    def call(self, name: str, like: ast.expr, *args: ast.expr) -> ast.stmt:
        return place(ast.Expr(self.expression(name, like, *args)), like)  # type: ignore[no-any-return]


def _boolean(node: ast.BoolOp) -> ast.expr:
    return ast.Constant("`and`" if isinstance(node.op, ast.And) else "`or`")


def _strings(values: Sequence[str]) -> ast.expr:
    return ast.Constant(tuple(values))


def _arguments(names: Sequence[str]) -> ast.arguments:
    return ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])


def _binds(expression: ast.expr) -> bool:
    """Whether an expression assigns names, which a nested function could not do for it."""
    return any(isinstance(node, ast.NamedExpr) for node in ast.walk(expression))


def _first(node: ast.Try) -> ast.expr:
    """Something at the place of the first statement of a ``try``."""
    return ast.copy_location(ast.Constant(None), node.body[0])


class Messages(ast.NodeTransformer):
    """f-strings become calls of a helper: ``f"{x:.2f}"``, ``text((x, -1, ".2f"))``."""

    def __init__(self, writer: Convert) -> None:
        self.writer = writer

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        parts: list[ast.expr] = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                how = part.format_spec or ast.Constant("")
                part = ast.Tuple([part.value, ast.Constant(part.conversion), how], ast.Load())
            parts.append(part)
        call = self.writer.expression("text", node, *parts)
        call.generated = True  # type: ignore[attr-defined]
        return call


class Mangle(ast.NodeTransformer):
    """``self.__x`` in a class C is ``self._C__x``: outside of the class nobody else does that."""

    def __init__(self, owner: str) -> None:
        self.owner = owner.lstrip("_")

    def name(self, name: str) -> str:
        private = name.startswith("__") and not name.endswith("__") and "." not in name
        return f"_{self.owner}{name}" if private and self.owner else name

    def visit(self, node: ast.AST) -> Any:
        self.generic_visit(node)
        for field in ("id", "attr", "arg"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                setattr(node, field, self.name(value))
        return node


def check(function: ast.FunctionDef | ast.Lambda) -> str:
    """Why a function cannot be rewritten; empty where it can."""
    body = function.body if isinstance(function.body, list) else [function.body]
    for node in (part for statement in body for part in within(statement)):
        if isinstance(node, ast.Yield | ast.YieldFrom | ast.Await):
            return "it is a generator"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in SEES_LOCALS and not (node.func.id in ("vars", "dir") and node.args):
                return f"it calls {node.func.id}()"
    return ""


def parameters(function: ast.FunctionDef | ast.Lambda) -> list[str]:
    """Names of the arguments."""
    a = function.args
    given = [*a.posonlyargs, *a.args, *filter(None, [a.vararg]), *a.kwonlyargs]
    return [arg.arg for arg in (*given, *filter(None, [a.kwarg]))]


def declared(function: ast.FunctionDef, kind: type) -> set[str]:
    """Names that ``global`` or ``nonlocal`` statements list."""
    return {
        name
        for statement in function.body
        for node in within(statement)
        if isinstance(node, kind)
        for name in node.names  # type: ignore[attr-defined]
    }


def rewrite(function: ast.FunctionDef | ast.Lambda, outer: Sequence[str]) -> None:
    """Rewrite a function in place. ``outer``: its free variables.

    The function has no exits from inside of blocks any more.
    """
    arguments = parameters(function)
    first = arguments[0] if arguments else ""
    if isinstance(function, ast.Lambda):
        function.body = Convert(None, set(arguments), set(outer), first).visit(function.body)
        return
    shared, enclosing = declared(function, ast.Global), declared(function, ast.Nonlocal)
    own = {n for n in assigned(function.body) if _is_local(n, function)} | set(arguments)
    writer = Convert(Later(function), own - shared - enclosing, set(outer), first)
    writer.globals = shared
    like = function.body[0]
    body = writer.visit_block(function.body)
    lead: Block = [ast.Global(sorted(shared))] if shared else []
    lead += [ast.Nonlocal(sorted(enclosing))] if enclosing else []
    missing = sorted(writer.bound - set(arguments) - enclosing - set(outer))
    if missing:  # never run: it makes them variables of this function
        bind = ast.Assign([ast.Name(n, ast.Store()) for n in missing], ast.Constant(None))
        lead.append(ast.If(ast.Constant(False), [bind], []))
    function.body = [*(place(statement, like) for statement in lead), *body]


def _is_local(name: str, function: ast.FunctionDef) -> bool:
    """Whether a name that is assigned, or changed in place, is bound in the function."""
    return "." not in name and name in _bound_names(function)


def _bound_names(function: ast.FunctionDef) -> set[str]:
    found = set()
    for statement in function.body:
        for node in within(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                found.add(node.id)
            elif isinstance(node, (*SCOPES, ast.alias, ast.ExceptHandler)):
                found |= assigned([node])
            elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.MatchMapping):
                found |= assigned([node])
    return found
