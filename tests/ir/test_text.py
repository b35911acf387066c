"""The text form: what it looks like, and that it reads back to an equal graph."""

from __future__ import annotations

import math
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tracejit.errors import ArgumentError
from tracejit.ir.build import Builder, building
from tracejit.ir.graph import ConstArray, Graph, Literal, literal
from tracejit.ir.prim import Primitive
from tracejit.ir.text import parse, show
from tracejit.ir.types import DTYPES, TensorType, is_inexact, parse_type
from tracejit.ir.verify import verify
from tracejit.ops import PRIMS
from tracejit.ops.arith import add, max_, mul
from tracejit.ops.broadcast import broadcast_in_dim, reduce_sum
from tracejit.ops.layout import constant, transpose

F32 = DTYPES["f32"]

#: takes any operands and any param: for what no real operation has
anything = Primitive("anything", infer=lambda *xs, value: xs[0] if xs else (), params=("value",))
pair = Primitive("pair", infer=lambda x: (x, x.with_shape(())))
ALL = {**PRIMS, "anything": anything, "pair": pair}


def round_trip(graph: Graph) -> str:
    """The text of ``graph``, which must read back to an equal one and to the same text."""
    text = show(graph, full=True)
    again = parse(text, ALL)
    assert again == graph, text
    uncommented = "\n".join(line.split("  # ")[0].rstrip() for line in text.split("\n"))
    assert show(again, full=True) == uncommented
    return text


def holding(value: Any) -> Graph:
    """A graph of one node whose param is ``value``."""
    with building() as b:
        x = b.input(parse_type("f32[2]"))
        return b.graph((anything(x, value=value),))


def param_of(graph: Graph) -> Any:
    return graph.nodes[0].params["value"]


# ---- looks ---------------------------------------------------------------------------------------


def test_a_graph() -> None:
    with building() as b:
        x = b.input(parse_type("f32[2,3]"), "x")
        bias = b.input(parse_type("f32[3]"), "params['bias']")
        wide = broadcast_in_dim(bias, shape=(2, 3), dims=(1,))
        y = add(mul(x, 2.0), wide)
        y.name = "y"
        graph = b.graph((y, Literal(np.int32(0), parse_type("i32[]"))))
    assert round_trip(graph).split("\n") == [
        "graph main(%x: f32[2,3], %1: f32[3] \"params['bias']\") -> (%y, 0:i32[]):",
        "  %2 = broadcast_in_dim(%1, shape=(2, 3), dims=(1,)) : f32[2,3]",
        "  %3 = mul(%x, 2.0) : f32[2,3]",
        "  %y = add(%3, %2) : f32[2,3]",
    ]
    again = parse(show(graph), PRIMS)
    assert [v.name for v in again.inputs] == ["x", "params['bias']"]
    assert again.nodes[-1].outputs[0].name == "y"


def test_the_line_of_the_user_is_a_comment() -> None:
    with building(Builder(user_frames=True)) as b:
        x = b.input(parse_type("f32[]"))
        graph = b.graph((mul(x, 3.0),))
    assert graph.nodes[0].at is not None
    line = round_trip(graph).split("\n")[1]
    assert line.endswith(f"# test_text.py:{graph.nodes[0].at.line}")


def test_inner_graphs_are_indented_blocks() -> None:
    with building() as b:
        c = b.input(parse_type("f32[]"), "carry")
        inner = b.graph((holding_in(b, c),), "step")
    graph = holding((inner, inner, 3))
    assert round_trip(graph).split("\n") == [
        "graph main(%0: f32[2]) -> (%1):",
        "  %1 = anything(%0, value=(@0, @1, 3)) : f32[2]",
        *[
            line
            for number in (0, 1)
            for line in (
                f"    @{number} = graph step(%carry: f32[]) -> (%2):",
                "      %1 = anything(%carry, value=@0) : f32[]",
                "        @0 = graph main(%0: f32[]) -> (%1, %0):",
                "          %1 = mul(%0, %0) : f32[]",
                "      %2 = add(%1, 1.0) : f32[]",
            )
        ],
    ]


def holding_in(b: Builder, c: Any) -> Any:
    with building() as deeper:
        x = deeper.input(parse_type("f32[]"))
        body = deeper.graph((mul(x, x), x))
    return add(anything(c, value=body), 1.0)


def test_several_outputs_and_none() -> None:
    with building() as b:
        x = b.input(parse_type("f32[3]"))
        first, second = pair(x)
        anything(value="printed # once")
        graph = b.graph((second, first))
    assert round_trip(graph).split("\n") == [
        "graph main(%0: f32[3]) -> (%2, %1):",
        "  %1, %2 = pair(%0) : f32[3], f32[]",
        "  anything(value='printed # once')",
    ]


def test_names_that_clash_become_numbers() -> None:
    with building() as b:
        xs = [b.input(parse_type("f32[]"), name) for name in ("x", "x", "1", "two words", "inf")]
        graph = b.graph((add(xs[0], xs[1]),))
    header = round_trip(graph).split("\n")[0]
    assert header == (
        "graph main(%x: f32[], %1: f32[] 'x', %2: f32[] '1', %3: f32[] 'two words', %inf: f32[])"
        " -> (%5):"
    )


@pytest.mark.parametrize("name, printed", [("<lambda>", "lambda"), ("Net.step[0]", "Net_step_0")])
def test_graph_names(name: str, printed: str) -> None:
    assert round_trip(Graph((), (), (), name)) == f"graph {printed}() -> ():"


# ---- literals ------------------------------------------------------------------------------------


def scalars(dtype: np.dtype) -> Any:
    """NumPy scalars of ``dtype``: any bits at all, and numbers people write."""
    bits = st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize)
    if dtype == np.bool_:
        return st.booleans().map(np.bool_)
    drawn = bits.map(lambda data: np.frombuffer(data, dtype)[0])
    common = [0.0, -0.0, 1.0, 0.1, math.nan, math.inf, -math.inf] if is_inexact(dtype) else [0, 1]
    return drawn | st.sampled_from(common).map(lambda x: np.asarray(x, dtype)[()])


@pytest.mark.parametrize("name", DTYPES)
@hypothesis.given(st.data())
def test_literals_keep_their_bits(name: str, data: Any) -> None:
    value = data.draw(scalars(DTYPES[name]))
    type = TensorType(DTYPES[name], (2,))
    with building() as b:
        x = b.input(type)
        one = anything(x, Literal(value, type), value=1)
        graph = b.graph((one, Literal(value, type.with_shape(()))))
    round_trip(graph)
    again = parse(show(graph), ALL).nodes[0].inputs[1]
    assert isinstance(again, Literal) and again.value.tobytes() == value.tobytes()


@pytest.mark.parametrize(
    "value, type, text",
    [
        (0.1, "f32[2]", "0.1"),
        (-0.0, "f16[2]", "-0.0"),
        (1.0, "bf16[2]", "1.0"),
        (1e30, "f32[2]", "1e+30"),
        (math.nan, "f64[2]", "nan"),
        (-math.inf, "f32[2]", "-inf"),
        (True, "bool[2]", "true"),
        (2**64 - 1, "u64[2]", "18446744073709551615"),
        (complex(1, -0.0), "c64[2]", "complex(1.0, -0.0)"),
    ],
)
def test_how_literals_look(value: Any, type: str, text: str) -> None:
    with building() as b:
        x = b.input(parse_type(type))
        graph = b.graph((anything(x, literal(value, x.type), value=0),))
    assert f"anything(%0, {text}, value=0)" in round_trip(graph)


def test_a_literal_of_another_type_says_so() -> None:
    with building() as b:
        x = b.input(parse_type("f32[2,3]"))
        scalar, same = literal(2.0, parse_type("f32[]")), literal(2.0, x.type)
        first = anything(scalar, x, same, value=0)
        alone = anything(same, value=0)
        graph = b.graph((first, alone))
    text = round_trip(graph)
    assert "%1 = anything(2.0:f32[], %0, 2.0, value=0) : f32[]" in text
    assert "%2 = anything(2.0:f32[2,3], value=0) : f32[2,3]" in text


# ---- params --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, text",
    [
        (3, "3"),
        (-3, "-3"),
        (3.0, "3.0"),
        (1e16, "1e+16"),
        (-0.0, "-0.0"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (True, "true"),
        (None, "none"),
        ("it's\n#", '"it\'s\\n#"'),
        ("]", "']'"),
        ((), "()"),
        ((1,), "(1,)"),
        (((0, 1), ("a", None)), "((0, 1), ('a', none))"),
        (DTYPES["bf16"], "bf16"),
        (TensorType(F32, (2,)), "f32[2]"),
        (1 + 2j, "complex(1.0, 2.0)"),
        (np.float32(0.1), "0.1:f32"),
        (np.float64(2.0), "2.0:f64"),
        (np.bool_(True), "true:bool"),
        (ConstArray(np.float32([[1, 2], [3, 4]])), "f32[2,2]{[1.0, 2.0], [3.0, 4.0]}"),
        (ConstArray(np.float32(1.5)), "f32[]{1.5}"),
        (ConstArray(np.zeros((0, 3), np.int8)), "i8[0,3]{}"),
        (ConstArray(np.array([True, False])), "bool[2]{true, false}"),
    ],
)
def test_params(value: Any, text: str) -> None:
    graph = holding(value)
    assert f"anything(%0, value={text}) :" in round_trip(graph)
    again = param_of(parse(show(graph), ALL))
    assert type(again) is type(value) and repr(again) == repr(value)


def test_large_arrays_are_elided_unless_asked_for() -> None:
    value = np.random.default_rng(0).standard_normal((10, 7)).astype(np.float32)
    with building() as b:
        graph = b.graph((constant(value=ConstArray(value)),))
    round_trip(graph)
    assert "constant(value=f32[10,7]{...}) : f32[10,7]" in show(graph)
    with pytest.raises(ArgumentError, match="line 2: .*full=True"):
        parse(show(graph), PRIMS)


@pytest.mark.parametrize("name", DTYPES)
@hypothesis.given(st.data())
def test_arrays_keep_their_bits(name: str, data: Any) -> None:
    shape = data.draw(st.sampled_from([(), (0,), (3,), (2, 2), (5, 13)]))
    items = [data.draw(scalars(DTYPES[name])) for _ in range(min(3, math.prod(shape)))]
    array = np.zeros(shape, DTYPES[name])
    array.reshape(-1)[: len(items)] = items
    round_trip(holding(ConstArray(array)))


def test_what_has_no_text_form() -> None:
    for value in (show, lambda x: x, frozenset({1}), F32.type):
        graph = holding((1, value))
        assert "value=(1, <" in show(graph)
        with pytest.raises(ArgumentError, match="line 2: <.*has no text form"):
            parse(show(graph), ALL)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "there is no graph"),
        ("graph main(%0: f32[2]) -> (%1):\n  %1 = adds(%0, %0) : f32[2]", "did you mean add"),
        ("graph main(%0: f32[2]) -> (%1):", "line 1: %1 is used before it is defined"),
        ("graph main() -> (%1):\n  %1 = neg(%0) : f32[2]", "line 2: %0 is used before"),
        ("graph main(%0: f32[2]) -> ():\n  %0 = neg(%0) : f32[2]", "line 2: %0 is defined twice"),
        ("graph main(%0: f31[2]) -> ():", "line 1: 'f31\\[2\\]' is not a type"),
        ("graph main(%0: f32[2]) -> (2.0):", "line 1: a scalar without a Value"),
        ("graph main(%0: f32[2]) -> ()", "line 1: expected ':', found 'end of line'"),
        ("graph main(%0: f32[2]) -> (): ?", "line 1: cannot read '\\?'"),
        ("graph main() -> ():\ngraph main() -> ():", "line 2: text after the end"),
        ("graph main(%0: i8[]) -> ():\n  %1 = neg(%0 %0) : i8[]", "line 2: expected ',' or '\\)'"),
        ("graph main(%0: i8[]) -> ():\n  %1, %2 = neg(%0) : i8[]", "line 2: 2 results but 1 types"),
        (
            "graph main(%0: i8[]) -> ():\n  %1 = anything(%0, value=@0) : i8[]",
            "line 2: there is no block @0",
        ),
        (
            "graph main(%0: i8[]) -> ():\n  %1 = anything(%0, value=i8[2]{1}) : i8[]",
            "line 2: 1 elements given for i8\\[2\\]",
        ),
    ],
)
def test_text_that_is_no_graph(text: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse(text, ALL)
    caught.match(message)


# ---- every graph reads back ----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PRIMS))
def test_every_operation_reads_back(name: str) -> None:
    prim = PRIMS[name]
    for types, params, *_ in prim.cases() if prim.cases is not None else []:
        with building() as b:
            out = prim(*[b.input(t) for t in types], **params)
            graph = b.graph(out if isinstance(out, tuple) else (out,))
        verify(graph)
        if ">" in show(graph, full=True).replace("->", ""):
            # a Python function among the params: said rather than guessed
            with pytest.raises(ArgumentError, match="has no text form"):
                parse(show(graph, full=True), PRIMS)
        else:
            round_trip(graph)


@st.composite
def graphs(draw: Any) -> Graph:
    """Random graphs of a few operations, with Literals as operands and outputs."""
    dtype = DTYPES[draw(st.sampled_from(["f32", "i32", "bf16", "f64"]))]
    with building() as b:
        names = st.sampled_from(["", "x", "y", "a[0]"])
        shapes = st.sampled_from([(), (2,), (2, 3), (0, 1)])
        values: list[Any] = [
            b.input(TensorType(dtype, draw(shapes)), draw(names))
            for _ in range(draw(st.integers(1, 3)))
        ]
        for _ in range(draw(st.integers(0, 8))):
            x = draw(st.sampled_from(values))
            other = literal(draw(st.integers(-3, 3)), x.type)
            match draw(st.integers(0, 4)):
                case 0:
                    same = [v for v in values if v.type == x.type]
                    out = draw(st.sampled_from([add, mul, max_]))(x, draw(st.sampled_from(same)))
                case 1:
                    out = draw(st.sampled_from([add, mul, max_]))(other, x)
                case 2:
                    out = transpose(x, permutation=tuple(range(x.type.ndim))[::-1])
                case 3:
                    out = reduce_sum(x, axes=tuple(range(draw(st.integers(0, x.type.ndim)))))
                case _:
                    out = anything(x, value=(b.graph((x,)), draw(st.floats()), draw(st.text())))
            out.name = draw(names)
            values.append(out)
        outputs = draw(st.lists(st.sampled_from(values), max_size=3))
        return b.graph([*outputs, literal(1, TensorType(dtype, (2,)))], draw(names) or "main")


@hypothesis.given(graphs())
def test_random_graphs_read_back(graph: Graph) -> None:
    verify(graph)
    round_trip(graph)
