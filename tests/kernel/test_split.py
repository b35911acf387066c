"""Guards decided, loops cut where they change: what the kernels look like, and that they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.fuzz.checks import check_graph
from tests.fuzz.graphs import random_arrays
from tests.passes.pass_checks import graph_of
from tests.passes.test_group import groups
from tracejit.ir.build import full_like
from tracejit.ir.expr import Const, Load, Op, Var, const, iadd, walk
from tracejit.ir.graph import Graph, literal
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel import interp
from tracejit.kernel.facts import FALSE, TRUE, Facts, Form
from tracejit.kernel.lower import lower_group
from tracejit.kernel.nodes import If, Kernel, Loop
from tracejit.kernel.split import split
from tracejit.kernel.text import parse, show
from tracejit.kernel.visit import expressions, statements
from tracejit.transform import PRIMS as P

ROW, COLUMN = Var("i", "i64"), Var("j", "i64")


def compare(fn: str, a: Any, b: Any) -> Op:
    return Op(fn, (a, b), "bool")


def kernel_of(graph: Graph) -> Kernel:
    parts = groups(graph)
    (group,) = [g for g in parts.groups if g.kind == "fused"]
    return lower_group(group, parts, 64).kernel


def guards(body: Any) -> int:
    """Loads under a guard and selects in the statements of a loop."""
    found = {n for s in statements(body) for e in expressions(s) for n in walk(e)}
    return sum(
        isinstance(n, Load) and n.guard is not None or isinstance(n, Op) and n.fn == "select"
        for n in found
    )


def vectors(kernel: Kernel) -> list[Loop]:
    return [s for s in statements(kernel.body) if isinstance(s, Loop) and s.how == "vec"]


# ---- facts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fn, low, high, answer",
    (
        ("lt", 0, 10, True),
        ("lt", 0, 11, None),
        ("lt", 10, 20, False),
        ("ge", 10, 20, True),
        ("le", 0, 11, True),
        ("gt", 11, 20, True),
        ("eq", 10, 11, True),
        ("eq", 11, 20, False),
        ("ne", 0, 10, True),
        ("ne", 0, 20, None),
    ),
)
def test_comparisons_of_an_index(fn: str, low: int, high: int, answer: bool | None) -> None:
    facts = Facts().with_range(ROW, low, high)
    assert facts.decide(compare(fn, ROW, const(10))) is answer
    shifted = compare(fn, iadd(ROW, 7), const(17))
    assert facts.decide(shifted) is answer


def test_values_without_known_range_decide_nothing() -> None:
    load = Load("x", (ROW,), "i64")
    facts = Facts().with_range(ROW, 0, 10)
    assert facts.decide(compare("lt", load, const(5))) is None
    far = Op("mul", (ROW, const(1 << 61)), "i64")
    assert facts.decide(compare("lt", far, const(1 << 62))) is None
    narrow = Op("add", (Op("convert", (ROW,), "i8"), Const(100, "i8")), "i8")
    assert facts.decide(compare("gt", narrow, Const(120, "i8"))) is None


def test_two_indices_are_compared_by_their_difference() -> None:
    facts = Facts().with_range(ROW, 0, 100).with_range(COLUMN, 0, 100)
    ahead = facts.with_between(Form(((ROW, 1), (COLUMN, -1))), 0, float("inf"))
    assert facts.decide(compare("ge", ROW, COLUMN)) is None
    assert ahead.decide(compare("ge", ROW, COLUMN)) is True
    assert ahead.decide(compare("lt", ROW, COLUMN)) is False
    assert ahead.decide(compare("gt", COLUMN, ROW)) is False
    assert ahead.decide(compare("gt", ROW, COLUMN)) is None


def test_selects_and_guards_fold() -> None:
    facts = Facts().with_range(ROW, 1, 9)
    inside = Op("and", (compare("ge", ROW, const(1)), compare("lt", ROW, const(9))), "bool")
    load = Load("x", (iadd(ROW, -1),), "f32", inside)
    assert facts.fold(Op("select", (inside, load, Const(0.0, "f32")), "f32")) == Load(
        "x", (iadd(ROW, -1),), "f32"
    )
    outside = compare("lt", ROW, const(0))
    assert facts.fold(Load("x", (ROW,), "f32", outside)) == Const(0.0, "f32")
    assert facts.fold(Op("or", (outside, Var("flag", "bool")), "bool")) == Var("flag", "bool")
    assert facts.with_known({Var("flag", "bool"): TRUE}).fold(Var("flag", "bool")) == TRUE
    assert facts.fold(Op("not", (inside,), "bool")) == FALSE


# ---- kernels -------------------------------------------------------------------------------------


def padded(x: Any, *sides: tuple[int, int]) -> Any:
    zero = literal(np.zeros((), x.type.dtype), TensorType(x.type.dtype, ()))
    return P["pad"](x, zero, config=tuple((a, b, 0) for a, b in sides))


def test_the_middle_of_a_padded_row_has_no_guards() -> None:
    kernel = kernel_of(graph_of("f32[100,200]", lambda x: P["exp"](padded(x, (1, 1), (1, 1)))))
    (rows,) = kernel.body
    assert isinstance(rows, Loop)
    (choice,) = [s for s in rows.body if isinstance(s, If)]
    pieces = [guards(s.body) for s in choice.then if isinstance(s, Loop)]
    assert pieces[1] == 0 and min(pieces[0], pieces[2]) > 0
    assert guards(choice.orelse) == 0
    assert parse(show(kernel)) == kernel


def test_pieces_of_a_concatenation() -> None:
    def build(x: Any, y: Any) -> Any:
        return P["concatenate"](x, y, dimension=1)

    kernel = kernel_of(graph_of("f32[9,100]", "f32[9,160]", build))
    assert [guards(loop.body) for loop in vectors(kernel)] == [0, 3, 0]


def test_many_pieces_keep_their_guards_but_for_the_longest() -> None:
    def build(*xs: Any) -> Any:
        return P["concatenate"](*xs, dimension=1)

    kernel = kernel_of(graph_of(*(f"f32[9,{n}]" for n in (100, 300, 90, 310, 110, 320)), build))
    assert sum(guards(loop.body) == 0 for loop in vectors(kernel)) == 3
    assert len(vectors(kernel)) <= 7


def test_a_triangle_is_cut_where_the_row_is() -> None:
    def build(x: Any) -> Any:
        i, j = (P["iota"](dtype=DTYPES["i64"], shape=(90, 170), dimension=k) for k in (0, 1))
        return P["select"](P["ge"](P["add"](i, full_like(i, 3)), j), x, full_like(x, 0.0))

    graph = graph_of("f32[90,170]", build)
    found = [guards(loop.body) for loop in vectors(kernel_of(graph))]
    assert found == [0, 1, 0]
    check_graph(graph, random_arrays(graph, 1))


def test_a_guard_that_always_holds_is_gone() -> None:
    text = """\
kernel k(in x: f32[64], inout y: f32[64])
  par i in 64:
    seq k in 3:
      y[i] = add(y[i], x[i if and(ge(add(i, k), 0), lt(add(i, k), 66))])
"""
    assert "if" not in show(split(parse(text)))


@pytest.mark.parametrize("start, stop", ((0, 200), (5, 61), (16, 17), (30, 30)))
def test_cut_loops_do_the_same(start: int, stop: int) -> None:
    text = f"""\
kernel k(in x: f32[300], inout y: f32[300], inout z: f32[300])
  seq r in 4:
    s: f32 = 0.0
    t: bool = gt(r, 1)
    vec(16x2) i in {start}..{stop}:
      a: bool = and(ge(i, 20), lt(add(i, mul(r, 2)), 151))
      s add= select(a, x[i if a], 2.0)
      y[i] = select(and(t, eq(i, 77)), 5.0, y[i])
      z[i] = add(z[i], select(le(i, mul(r, 40)), 1.0, x[i])) if ne(i, 40)
    y[add(r, 250)] = s
"""
    kernel = parse(text)
    changed = split(kernel)
    assert parse(show(changed)) == changed
    x = np.arange(300, dtype=np.float32)
    results = []
    for made in (kernel, changed):
        y, z = np.ones(300, np.float32), np.ones(300, np.float32)
        interp.run(made, {"x": x, "y": y, "z": z}, {})
        results.append((y, z))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", ("f32[5000]", "i8[3,70]", "f64[7,3,200]", "f32[2,3]"))
def test_padded_and_joined_arrays(shape: str) -> None:
    def build(x: Any) -> Any:
        sides = [(2, 1)] * x.type.ndim
        wide = padded(x, *sides)
        last = x.type.ndim - 1
        return wide, P["concatenate"](x, x, P["neg"](x), dimension=last)

    graph = graph_of(shape, build)
    check_graph(graph, random_arrays(graph, 1))


# ---- what changes --------------------------------------------------------------------------------

SWAPS = """kernel swap(in x: f32[2], out y: f32[2])
  a: f32 = x[0]
  b: f32 = x[1]
  seq i in 3:
    t: f32 = a
    a = b
    b = t
    y[0] = select(lt(i, 5), a, b)
  y[1] = b
"""

CHECKS_TWICE = """kernel twice(in x: f32[1], out y: f32[1])
  a: f32 = x[0]
  seq i in 1:
    if lt(a, 1.0):
      a = add(a, 5.0)
      y[0] = select(lt(a, 1.0), 0.0, select(lt(i, 3), a, 0.0))
"""

READS_AGAIN = """kernel again(in x: f32[1], inout y: f32[1])
  y[0] = x[0]
  seq i in 1:
    if lt(y[0], 1.0):
      y[0] = add(y[0], 5.0)
      if lt(y[0], 1.0):
        y[0] = select(lt(i, 3), 0.0, 1.0)
"""


@pytest.mark.parametrize(
    "text, x, wanted",
    ((SWAPS, [1.0, 2.0], [2.0, 1.0]), (CHECKS_TWICE, [0.5], [5.5]), (READS_AGAIN, [0.5], [5.5])),
    ids=("swap", "condition", "buffer"),
)
def test_what_was_known_of_a_variable_ends_where_it_changes(
    text: str, x: list[float], wanted: list[float]
) -> None:
    kernel = parse(text)
    for which in (kernel, split(kernel)):
        y = np.zeros(len(x), "f4")
        assert not interp.run(which, {"x": np.array(x, "f4"), "y": y}, {})
        np.testing.assert_array_equal(y, np.array(wanted, "f4"))
