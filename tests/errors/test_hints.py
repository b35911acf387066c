"""The remedies that messages offer do help: what a hint proposes makes the shapes fit."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from tracejit import hints

SHAPES = [s for rank in range(4) for s in itertools.product((1, 2, 3, 6), repeat=rank)]


def test_what_broadcasting_proposes_helps() -> None:
    kinds = set()
    for a, b in itertools.product(SHAPES, repeat=2):
        hint = hints.broadcasting(a, b)
        if hints.broadcasts(a, b) or not hint:
            continue
        x, y = np.ones(a), np.ones(b)
        if "transposed" in hint:
            kinds.add("transpose")
            np.broadcast_shapes(a, y.T.shape)
        elif found := re.search(r"operand (\d) an axis: x\[(.*)\] has shape (.*)", hint):
            kinds.add("axis")
            index = tuple({":": slice(None), "None": None}[part] for part in found[2].split(", "))
            wide = [x, y][int(found[1]) - 1][index]
            assert str(wide.shape) == found[3]
            np.broadcast_shapes(wide.shape, [b, a][int(found[1]) - 1])
        else:
            kinds.add("reshape")
            x.reshape(b)
    assert kinds == {"transpose", "axis", "reshape"}


def test_broadcasts_is_numpys_rule() -> None:
    for a, b in itertools.product(SHAPES + [(0,), (0, 1)], repeat=2):
        try:
            np.broadcast_shapes(a, b)
            fits = True
        except ValueError:
            fits = False
        assert hints.broadcasts(a, b) == fits


def test_what_contraction_proposes_helps() -> None:
    for a, b in itertools.product([s for s in SHAPES if len(s) == 2], repeat=2):
        hint = hints.contraction(a, b)
        if a[1] == b[0] or not hint:
            continue
        x, y = np.ones(a), np.ones(b)
        if "operand 1" in hint:
            x = x.T
        elif "operand 2" in hint:
            y = y.T
        else:
            x, y = y, x
        x @ y


def test_what_reshape_proposes_helps() -> None:
    for shape, sizes in itertools.product(SHAPES, repeat=2):
        if np.prod(shape) == np.prod(sizes):
            continue
        if found := re.match(r"\((.*?)\) has", hints.reshape(shape, sizes)):
            np.ones(shape).reshape([int(n) for n in found[1].split(",") if n])


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("math.sin(x)", "tracejit.numpy.sin"),
        ("math.pow(x, 2)", "tracejit.numpy.power"),
        ("np.asarray(x * 2)", "tracejit.numpy.asarray"),
        ("numpy.linalg.norm(x)", "tracejit.numpy.linalg.norm"),
        ("float(x)", "x.astype(float)"),
        ("self.f(x)", ""),
        ("", ""),
    ],
)
def test_functions_of_numpy_and_math(expression: str, named: str) -> None:
    assert (named in hints.called(expression)) if named else not hints.called(expression)


@pytest.mark.parametrize(
    ("line", "expression", "named"),
    [
        ("    if x > 0:", "x > 0", "numpy.where or lax.cond"),
        ("    while x > 0:", "x > 0", "lax.while_loop"),
        ("    y = 1 if x else 2", "x", "numpy.where or lax.cond"),
        ("    assert x > 0", "x > 0", "check it outside"),
        ("    if a < x < b:", "a < x < b", "& | ~"),
        ("    if x >= 0:", "x >= 0", "numpy.where"),
        ("    if x > 0 and y > 0:", "x > 0", "& | ~"),
        ("    return not x", "not x", "& | ~"),
        ("    return max(x, y)", "max(x, y)", "numpy.maximum"),
        ("    return 3 in x", "3 in x", "numpy.isin"),
    ],
)
def test_control_flow(line: str, expression: str, named: str) -> None:
    assert named in hints.concrete("bool()", line, expression)


def test_names() -> None:
    assert hints.name("flaot32", ["float32", "int32"]) == "did you mean 'float32'?"
    assert hints.name("x", ["alpha", "beta"]) == "there are: alpha, beta"
    assert hints.name("x", []) == ""
