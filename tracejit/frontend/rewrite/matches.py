"""``match`` over values becomes a chain of ``if``, which may be traced.

    match x:                        _tj_subject_1 = x
        case 0: a                   if _tj_subject_1 == 0: a
        case y if y > 1: b          else:
                                        y = _tj_subject_1
                                        if y > 1: b

Patterns of classes, sequences and mappings, which look at structures, stay as they are.
"""

from __future__ import annotations

import ast

from tracejit.frontend.rewrite.exits import PREFIX, SCOPES, Block, assign, load, place


class Matches(ast.NodeTransformer):
    """Rewrites the ``match`` statements of one function."""

    def __init__(self) -> None:
        self.count = 0

    def visit(self, node: ast.AST) -> ast.AST | list[ast.AST]:
        return node if isinstance(node, SCOPES) else super().visit(node)

    def visit_Match(self, node: ast.Match) -> ast.Match | Block:
        self.generic_visit(node)
        if not all(is_value(case.pattern) for case in node.cases):
            return node
        self.count += 1
        subject = f"{PREFIX}subject_{self.count}"
        rest: Block = []
        for case in reversed(node.cases):
            rest = chosen(case, subject, rest)
        return [assign(subject, node.subject, node), *rest]


def without_matches(function: ast.FunctionDef) -> None:
    """Rewrite the ``match`` statements of a function in place."""
    writer = Matches()
    body: Block = []
    for statement in function.body:
        found = writer.visit(statement)
        body += found if isinstance(found, list) else [found]  # type: ignore[arg-type]
    function.body = body


def is_value(pattern: ast.pattern) -> bool:
    """Whether a pattern compares with values, or takes anything."""
    match pattern:
        case ast.MatchValue() | ast.MatchSingleton() | ast.MatchAs(pattern=None):
            return True
        case ast.MatchOr():
            return all(is_value(p) and not isinstance(p, ast.MatchAs) for p in pattern.patterns)
    return False


def chosen(case: ast.match_case, subject: str, rest: Block) -> Block:
    """The ``if`` for one case; ``rest``: what follows where it is not taken."""
    lead: Block = []
    tests: list[ast.expr] = []
    if not isinstance(case.pattern, ast.MatchAs):
        tests.append(fits(case.pattern, subject))
    elif case.pattern.name is not None:
        lead.append(assign(case.pattern.name, load(subject), case.pattern))
    if case.guard is not None:
        tests.append(case.guard)
    if not tests:
        return [*lead, *case.body]
    test = tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests)
    found = place(ast.If(place(test, case.pattern), case.body, rest), case.pattern)
    return [*lead, found]


def fits(pattern: ast.pattern, subject: str) -> ast.expr:
    """Whether the subject is one of the values of a pattern."""
    if isinstance(pattern, ast.MatchOr):
        return place(ast.BoolOp(ast.Or(), [fits(p, subject) for p in pattern.patterns]), pattern)  # type: ignore[no-any-return]
    if isinstance(pattern, ast.MatchSingleton):
        test = ast.Compare(load(subject), [ast.Is()], [ast.Constant(pattern.value)])
    else:
        assert isinstance(pattern, ast.MatchValue)
        test = ast.Compare(load(subject), [ast.Eq()], [pattern.value])
    return place(test, pattern)  # type: ignore[no-any-return]
