"""The verifier: well-formed graphs pass, each kind of damage is named and shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tracejit.errors import InternalError
from tracejit.ir.build import Builder, building
from tracejit.ir.graph import Graph, Literal, Node, Value
from tracejit.ir.prim import Primitive
from tracejit.ir.types import parse_type
from tracejit.ir.verify import verify
from tracejit.ops.arith import add, mul, neg
from tracejit.ops.broadcast import reduce_sum

T = parse_type("f32[2,3]")
holds = Primitive("holds", infer=lambda x, *, body: x, params=("body",))


def chain(count: int) -> Graph:
    """``count`` sums, one after the other."""
    with building() as b:
        x = b.input(T, "x")
        y: Any = x
        for _ in range(count):
            y = add(y, x)
        return b.graph((y,))


def broken(graph: Graph, *words: str) -> InternalError:
    with pytest.raises(InternalError) as caught:
        verify(graph)
    text = str(caught.value)
    assert all(word in text for word in words), text
    return caught.value


def with_node(graph: Graph, k: int, **changes: Any) -> Graph:
    nodes = list(graph.nodes)
    nodes[k] = replace(nodes[k], **changes)
    return replace(graph, nodes=tuple(nodes))


def test_good_graphs() -> None:
    verify(chain(20))
    verify(Graph((), (), (Literal(np.float32(1), T),)))
    with building() as b:
        x = b.input(T)
        verify(b.graph((reduce_sum(mul(x, 2.0), axes=(0,)), x, x)))


def test_used_before_it_is_defined() -> None:
    graph = chain(3)
    backwards = replace(graph, nodes=graph.nodes[::-1])
    broken(backwards, "operand 1 of add", "is used before it is defined")
    stray = Value(T, "stray")
    error = broken(with_node(graph, 1, inputs=(stray, stray)), "<stray: f32[2,3]>")
    assert "> " + "  %2 = add(%?stray, %?stray) : f32[2,3]" in error.notes
    broken(replace(graph, outputs=(stray,)), "output 0: <stray: f32[2,3]>")


def test_defined_twice() -> None:
    graph = chain(3)
    broken(with_node(graph, 2, outputs=graph.nodes[1].outputs), "is defined already")
    broken(with_node(graph, 2, outputs=graph.inputs), "is defined already")
    broken(replace(graph, inputs=graph.inputs * 2), "is listed twice")


def test_types_are_those_of_infer() -> None:
    graph = chain(3)
    wrong = Value(parse_type("f32[2]"))
    damaged = replace(with_node(graph, 2, outputs=(wrong,)), outputs=(wrong,))
    broken(damaged, "add makes (f32[2,3]) but the graph says (f32[2])")
    two = (Value(T), Value(T))
    broken(replace(with_node(graph, 2, outputs=two), outputs=two), "(f32[2,3], f32[2,3])")


def test_operands_that_do_not_fit() -> None:
    graph = chain(2)
    short = Literal(np.float32(0), parse_type("f32[3]"))
    damaged = with_node(graph, 1, inputs=(graph.inputs[0], short))
    broken(damaged, "add does not take these operands: ShapeError", "shapes differ")


@pytest.mark.parametrize("value, words", [(np.float64(1), "float64"), (1.0, "holds a float")])
def test_literals_have_the_dtype_of_their_type(value: Any, words: str) -> None:
    graph = chain(1)
    damaged = with_node(graph, 0, inputs=(graph.inputs[0], Literal(value, T)))
    broken(damaged, "operand 2 of add", words)


def test_params_are_those_of_the_primitive() -> None:
    with building() as b:
        graph = b.graph((reduce_sum(b.input(T), axes=(0,)),))
    for params in ({}, {"axes": (0,), "keepdims": True}, {"axis": (0,)}):
        broken(with_node(graph, 0, params=params), "reduce_sum takes the params ['axes']")
    broken(with_node(graph, 0, params={"axes": np.zeros(1)}), "cannot be compared")


def test_inner_graphs() -> None:
    inner = chain(3)
    damaged = replace(inner, nodes=inner.nodes[1:], name="body")
    for body in (damaged, (inner, damaged)):
        with building() as b:
            graph = b.graph((holds(b.input(T), body=body),))
        broken(graph, "the graph body is broken", "in a graph inside <holds")


def test_the_ten_lines_around_the_node() -> None:
    graph = chain(40)
    for k, marked in ((0, 1), (20, 5), (39, 9)):
        error = broken(with_node(graph, k, params={"extra": 1}), "takes the params []")
        assert len(error.notes) == 10
        assert [note[0] for note in error.notes].index(">") == marked
        assert f"%{k + 1} = add(" in error.notes[marked]
    small = with_node(chain(2), 0, params={"extra": 1})
    assert len(broken(small).notes) == 3


def test_the_line_of_the_user() -> None:
    with building(Builder(user_frames=True)) as b:
        graph = b.graph((neg(b.input(T)),))
    node: Node = graph.nodes[0]
    error = broken(with_node(graph, 0, params={"extra": 1}), "test_verify.py")
    assert error.at == node.at
