"""The text form of a graph: ``show`` prints it, ``parse`` reads it back to an equal Graph.

    >>> def main(x, b):
    ...     return jnp.exp(x) + b
    >>> print(show(tj.make_graph(main, np.ones((2, 3)), np.ones(3))))
    graph main(%x: f64[2,3], %b: f64[3]) -> (%4):
      %2 = exp(%x) : f64[2,3]                                         # ...:2
      %3 = broadcast_in_dim(%b, shape=(2, 3), dims=(1,)) : f64[2,3]   # ...:2
      %4 = add(%2, %3) : f64[2,3]                                     # ...:2

A Literal is written as its scalar, with ``:type`` where that is not the type of the first Value
operand. Graphs inside a node follow its line as indented blocks ``@0 = graph ...``. Arrays of more
than 64 elements are elided unless ``full=True``. Positions and what has no text (``<function>``) do
not read back.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.ir.expr import show_scalar
from tracejit.ir.graph import Atom, ConstArray, Graph, Literal, Node, Value
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, kind, parse_type, real_dtype, short
from tracejit.record import dataclass

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: column of the comments, where the line is shorter
_COMMENT = 64
#: arrays up to this many elements are always written out
_SMALL = 64


# ---- printing ------------------------------------------------------------------------------------


def show(graph: Graph, *, full: bool = False) -> str:
    """``graph`` as text; with ``full`` large constants are written out, so that the text parses."""
    return "\n".join(line for line, _ in listing(graph, full=full))


def listing(graph: Graph, *, full: bool = False) -> list[tuple[str, Node | None]]:
    """The lines of ``show``, each with the node it states (None for headers and inner graphs).

    Works on broken graphs too: a value that nothing defines prints as ``%?``.
    """
    names = name_values(graph)
    found: list[tuple[str, Node | None]] = [(_header(graph, names), None)]
    for node in graph.nodes:
        line, blocks = _node_line(node, names, full)
        found.append((_commented("  " + line, node), node))
        for number, block in enumerate(blocks):
            first, *rest = (text for text, _ in listing(block, full=full))
            found.append((f"    @{number} = {first}", None))
            found.extend(("    " + text, None) for text in rest)
    return found


def name_values(graph: Graph) -> dict[Value, str]:
    """The printed name of every value: its hint if that is an identifier not taken, or a number."""
    names: dict[Value, str] = {}
    taken: set[str] = set()
    for value in (*graph.inputs, *(out for node in graph.nodes for out in node.outputs)):
        hint = value.name
        usable = _IDENTIFIER.fullmatch(hint) is not None and hint not in taken
        names.setdefault(value, f"%{hint if usable else len(names)}")
        taken.add(hint)
    return names


def _header(graph: Graph, names: Mapping[Value, str]) -> str:
    inputs = []
    for value in graph.inputs:
        name = names[value]
        # a hint such as params['w'] cannot be the name: it stands behind the type
        hint = f" {value.name!r}" if value.name and name != f"%{value.name}" else ""
        inputs.append(f"{name}: {value.type}{hint}")
    outputs = ", ".join(_atom(x, names, None) for x in graph.outputs)
    return f"graph {_plain(graph.name) or 'main'}({', '.join(inputs)}) -> ({outputs}):"


def _plain(name: str) -> str:
    """``name`` reduced to letters, digits and underscores: ``<lambda>`` -> ``lambda``."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


def _commented(line: str, node: Node) -> str:
    return line if node.at is None else f"{line.ljust(_COMMENT)}  # {node.at.short()}"


def _node_line(node: Node, names: Mapping[Value, str], full: bool) -> tuple[str, list[Graph]]:
    """The line of a node, and the graphs among its params, which it names ``@0``, ``@1`` ..."""
    blocks: list[Graph] = []
    model = next((x.type for x in node.inputs if isinstance(x, Value)), None)
    arguments = [_atom(x, names, model) for x in node.inputs]
    known = [name for name in node.prim.params if name in node.params]
    for name in (*known, *sorted(set(node.params) - set(known))):
        arguments.append(f"{name}={show_param(node.params[name], blocks, full=full)}")
    call = f"{node.prim.name}({', '.join(arguments)})"
    if not node.outputs:
        return call, blocks
    results = ", ".join(names[out] for out in node.outputs)
    return f"{results} = {call} : {', '.join(str(out.type) for out in node.outputs)}", blocks


def _atom(x: Atom, names: Mapping[Value, str], model: TensorType | None) -> str:
    if isinstance(x, Value):
        return names.get(x, f"%?{x.name}")
    text = show_number(np.asarray(x.value, x.type.dtype)[()])
    return text if x.type == model else f"{text}:{x.type}"


def show_number(value: Any) -> str:
    """The text of a NumPy scalar, from which ``parse`` makes the same bits given the dtype."""
    dtype = value.dtype
    if kind(dtype) == "c":
        return f"complex({show_number(value.real)}, {show_number(value.imag)})"
    if kind(dtype) != "f":
        return show_scalar(value.item())
    if np.isnan(value):
        if value.tobytes() == np.asarray(math.nan, dtype).tobytes():
            return "nan"
        return f"nan(0x{int.from_bytes(value.tobytes(), sys.byteorder):x})"
    if np.isinf(value):
        return show_scalar(float(value))
    # the shortest digits of the narrow type, unless rounding them twice gives another number
    text = str(value)
    text = text if "." in text or "e" in text else f"{text}.0"
    same = np.asarray(float(text), dtype).tobytes() == value.tobytes()
    return text if same else repr(float(value))


def show_param(value: Any, blocks: list[Graph], *, full: bool) -> str:
    """The text of a param; graphs are appended to ``blocks`` and named by their number there."""
    if isinstance(value, Graph):
        blocks.append(value)
        return f"@{len(blocks) - 1}"
    if isinstance(value, tuple | list):
        items = [show_param(item, blocks, full=full) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if isinstance(value, ConstArray):
        return _show_array(value.array, full)
    if isinstance(value, np.generic) and value.dtype in DTYPES.values():
        return f"{show_number(value)}:{short(value.dtype)}"
    if isinstance(value, np.dtype) and value in DTYPES.values():
        return short(value)
    if isinstance(value, TensorType):
        return str(value)
    # exact types: an enum member or a str subclass would come back as something else
    if value is None:
        return "none"
    if type(value) is str:
        return repr(value)
    if type(value) is complex:
        return f"complex({show_scalar(value.real)}, {show_scalar(value.imag)})"
    if type(value) in (bool, int, float):
        return show_scalar(value)
    name = getattr(value, "__name__", None) or getattr(value, "name", None) or type(value).__name__
    return f"<{re.sub(r'[<>]', '', str(name))}>"


def _show_array(array: np.ndarray, full: bool) -> str:
    type = TensorType(array.dtype, array.shape)
    if array.size <= _SMALL:
        return f"{type}{{{_nested(array)}}}"
    return f"{type}{{hex:{array.tobytes().hex()}}}" if full else f"{type}{{...}}"


def _nested(array: np.ndarray) -> str:
    if array.ndim == 0:
        return show_number(array[()])
    if array.ndim == 1:
        return ", ".join(show_number(x) for x in array)
    return ", ".join(f"[{_nested(row)}]" for row in array)


# ---- tokens --------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#.*)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<hex>hex:[0-9a-f]*)
      | (?P<value>%\w+)
      | (?P<block>@\d+)
      | (?P<opaque><[^>]*>)
      | (?P<type>[a-z]+\d*\[[\d,]*\])
      | (?P<number>-?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|inf\b|nan\b(?:\(0x[0-9a-f]+\))?))
      | (?P<word>[A-Za-z_][\w.]*)
      | (?P<mark>->|\.\.\.|[(){}\[\]=:,])""",
    re.VERBOSE,
)


class _Line:
    """The tokens of one line and how far they have been read."""

    def __init__(self, text: str, number: int) -> None:
        self.indent = len(text) - len(text.lstrip(" "))
        self.number = number
        self.tokens: list[tuple[str, str]] = []
        self.next = 0
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self.error(f"cannot read {text[at : at + 20]!r}")
            if found.lastgroup not in (None, "space"):
                self.tokens.append((str(found.lastgroup), found.group()))
            at = found.end()

    def error(self, what: str) -> ArgumentError:
        return ArgumentError(f"graph text, line {self.number}: {what}")

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self.next + ahead
        return self.tokens[at] if at < len(self.tokens) else ("end", "end of line")

    def take(self, *kinds: str) -> str:
        """The next token, which must be one of ``kinds`` (any when none is given)."""
        found, text = self.peek()
        if found == "end" or (kinds and found not in kinds):
            raise self.error(f"expected a {' or '.join(kinds) or 'token'}, found {text!r}")
        self.next += 1
        return text

    def accept(self, text: str) -> bool:
        """Step over ``text`` if it comes next."""
        if self.peek()[1] != text or self.peek()[0] == "string":
            return False
        self.next += 1
        return True

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected {text!r}, found {self.peek()[1]!r}")

    def end(self) -> None:
        if self.next < len(self.tokens):
            raise self.error(f"unexpected {self.peek()[1]!r}")


# ---- parsing -------------------------------------------------------------------------------------


def parse(text: str, prims: Mapping[str, Primitive]) -> Graph:
    """The graph that ``text`` states; ``prims`` maps the names of primitives to their records.

    Raises ArgumentError, with the number of the line, for text that is not a whole graph.
    """
    lines = [_Line(line, number) for number, line in enumerate(text.split("\n"), 1)]
    reader = _Reader([line for line in lines if line.tokens], prims)
    if not reader.lines:
        raise ArgumentError("graph text: there is no graph in it")
    graph = reader.graph()
    if reader.at < len(reader.lines):
        raise reader.lines[reader.at].error("text after the end of the graph")
    return graph


@dataclass(frozen=True)
class _Bits:
    """A nan that is not the usual one."""

    bits: int


class _Reader:
    """Reads lines from ``at`` on, one method per construct."""

    def __init__(self, lines: Sequence[_Line], prims: Mapping[str, Primitive]) -> None:
        self.lines = lines
        self.prims = prims
        self.at = 0

    def graph(self) -> Graph:
        """A header (read from where its line stands) and the lines indented deeper than it."""
        line = self.lines[self.at]
        self.at += 1
        line.expect("graph")
        name = line.take("word", "number")
        env: dict[str, Value] = {}
        inputs = _inputs(line, env)
        nodes: list[Node] = []
        while self.at < len(self.lines) and self.lines[self.at].indent > line.indent:
            nodes.append(self.node(env))
        line.expect("->")
        line.expect("(")
        outputs = []
        while not line.accept(")"):
            outputs.append(_settled(line, _argument(line, env), None))
            line.accept(",")
        line.expect(":")
        line.end()
        return Graph(inputs, tuple(nodes), tuple(outputs), name)

    def node(self, env: dict[str, Value]) -> Node:
        line = self.lines[self.at]
        self.at += 1
        blocks = self.blocks(line)
        names: list[str] = []
        while line.peek()[0] == "value":
            names.append(line.take("value"))
            line.accept(",")
        if names:
            line.expect("=")
        prim = self.prim(line)
        inputs, params = _arguments(line, env, blocks)
        types: list[TensorType] = []
        if names:
            line.expect(":")
            types.append(_type(line))
            while line.accept(","):
                types.append(_type(line))
        line.end()
        if len(names) != len(types):
            raise line.error(f"{len(names)} results but {len(types)} types")
        outputs = tuple(_define(line, n, t, env) for n, t in zip(names, types, strict=True))
        return Node(prim, inputs, params, outputs)

    def blocks(self, line: _Line) -> list[Graph]:
        """The graphs written below a node's line."""
        found: list[Graph] = []
        while self.at < len(self.lines) and self.lines[self.at].indent > line.indent:
            first = self.lines[self.at]
            number = first.take("block")
            if number != f"@{len(found)}":
                raise first.error(f"expected @{len(found)}, found {number!r}")
            first.expect("=")
            found.append(self.graph())
        return found

    def prim(self, line: _Line) -> Primitive:
        name = line.take("word")
        if name not in self.prims:
            close = difflib.get_close_matches(name, self.prims, n=3)
            raise ArgumentError(
                f"graph text, line {line.number}: there is no operation `{name}`",
                hint=f"did you mean {' or '.join(close)}?" if close else "",
            )
        return self.prims[name]


def _inputs(line: _Line, env: dict[str, Value]) -> tuple[Value, ...]:
    found: list[Value] = []
    line.expect("(")
    while not line.accept(")"):
        name = line.take("value")
        line.expect(":")
        value = _define(line, name, _type(line), env)
        if line.peek()[0] == "string":
            value.name = ast.literal_eval(line.take("string"))
        found.append(value)
        line.accept(",")
    return tuple(found)


def _define(line: _Line, name: str, type: TensorType, env: dict[str, Value]) -> Value:
    if name in env:
        raise line.error(f"{name} is defined twice")
    env[name] = Value(type, "" if name[1:].isdigit() else name[1:])
    return env[name]


def _type(line: _Line) -> TensorType:
    text = line.take("type")
    if text.partition("[")[0] not in DTYPES:
        raise line.error(f"{text!r} is not a type; dtypes are {', '.join(DTYPES)}")
    return parse_type(text)


#: an operand before the types are known: a Value, or a scalar with its type when that is written
_Argument = Value | tuple[Any, TensorType | None]


def _argument(line: _Line, env: Mapping[str, Value]) -> _Argument:
    if line.peek()[0] == "value":
        name = line.take("value")
        if name not in env:
            raise line.error(f"{name} is used before it is defined")
        return env[name]
    scalar = _scalar(line)
    return scalar, _type(line) if line.accept(":") else None


def _arguments(
    line: _Line, env: Mapping[str, Value], blocks: Sequence[Graph]
) -> tuple[tuple[Atom, ...], dict[str, Any]]:
    """What stands in the parentheses of a node: operands, then params."""
    operands: list[_Argument] = []
    params: dict[str, Any] = {}
    line.expect("(")
    while not line.accept(")"):
        if line.peek()[0] == "word" and line.peek(1)[1] == "=":
            name = line.take("word")
            line.expect("=")
            params[name] = _param(line, blocks)
        else:
            operands.append(_argument(line, env))
        if not line.accept(",") and line.peek()[1] != ")":
            raise line.error(f"expected ',' or ')', found {line.peek()[1]!r}")
    model = next((x.type for x in operands if isinstance(x, Value)), None)
    return tuple(_settled(line, x, model) for x in operands), params


def _settled(line: _Line, x: _Argument, model: TensorType | None) -> Atom:
    if isinstance(x, Value):
        return x
    scalar, type = x
    type = type or model
    if type is None:
        raise line.error("a scalar without a Value beside it needs its type: 2.0:f32[3]")
    return Literal(_number(scalar, type.dtype), type)


def _scalar(line: _Line) -> Any:
    """A Python scalar, _Bits, or for complex numbers a pair of those."""
    found, text = line.peek()
    if found == "number":
        line.next += 1
        if text.startswith("nan(") or text.startswith("-nan("):
            return _Bits(int(text[text.index("x") + 1 : -1], 16))
        return float(text) if re.search(r"[.ein]", text) else int(text)
    if line.accept("true"):
        return True
    if line.accept("false"):
        return False
    if line.accept("complex"):
        line.expect("(")
        re_part = _scalar(line)
        line.expect(",")
        im_part = _scalar(line)
        line.expect(")")
        return re_part, im_part
    raise line.error(f"expected a value, found {text!r}")


def _number(scalar: Any, dtype: np.dtype) -> Any:
    """The NumPy scalar of ``dtype`` that ``_scalar`` read."""
    if isinstance(scalar, _Bits):
        return np.frombuffer(scalar.bits.to_bytes(dtype.itemsize, sys.byteorder), dtype)[0]
    if isinstance(scalar, tuple):
        out = np.zeros((), dtype)
        out.real, out.imag = (_number(part, real_dtype(dtype)) for part in scalar)
        return out[()]
    return np.asarray(scalar, dtype)[()]


def _param(line: _Line, blocks: Sequence[Graph]) -> Any:
    found, text = line.peek()
    if found == "string":
        return ast.literal_eval(line.take())
    if found == "block":
        number = int(line.take()[1:])
        if number >= len(blocks):
            raise line.error(f"there is no block {text} below this line")
        return blocks[number]
    if found == "opaque":
        raise line.error(f"{text} has no text form: such a graph cannot be read back")
    if found == "type":
        type = _type(line)
        return _array(line, type) if line.peek()[1] == "{" else type
    if line.accept("none"):
        return None
    if found == "word" and text in DTYPES:
        line.next += 1
        return DTYPES[text]
    if line.accept("("):
        items = []
        while not line.accept(")"):
            items.append(_param(line, blocks))
            if not line.accept(",") and line.peek()[1] != ")":
                raise line.error(f"expected ',' or ')', found {line.peek()[1]!r}")
        return tuple(items)
    scalar = _scalar(line)
    if line.accept(":"):
        return _number(scalar, DTYPES[line.take("word")])
    return complex(*scalar) if isinstance(scalar, tuple) else scalar


def _array(line: _Line, type: TensorType) -> ConstArray:
    """``{1.0, 2.0}`` or ``{[1, 2], [3, 4]}`` or ``{hex:...}`` behind a type."""
    line.expect("{")
    if line.accept("..."):
        raise line.error("an array is left out here: print with full=True to read it back")
    if line.peek()[0] == "hex":
        data = bytes.fromhex(line.take()[len("hex:") :])
        if len(data) != type.nbytes:
            raise line.error(f"{len(data)} bytes given for {type}")
        array = np.frombuffer(data, type.dtype).reshape(type.shape)
    else:
        items = []
        while line.peek()[1] != "}":
            # the shape is known: brackets and commas are for the reader of the text
            if not any(line.accept(mark) for mark in "[],"):
                items.append(_number(_scalar(line), type.dtype))
        if len(items) != type.size:
            raise line.error(f"{len(items)} elements given for {type}")
        array = np.array(items, type.dtype).reshape(type.shape)
    line.expect("}")
    return ConstArray(array)
