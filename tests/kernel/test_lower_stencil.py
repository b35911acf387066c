"""Kernels that do several steps of a stencil: what is written, and that each back end agrees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tests.fuzz.checks import check_graph
from tests.passes.test_stencils import (
    CASES,
    field,
    five_points,
    leaves,
    loop,
    nine_points,
    periodic,
    small,  # noqa: F401
    wide,
)
from tracejit.kernel import interp
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify
from tracejit.passes import stencils


def kernel_of(function: Any, *operands: Any) -> Kernel:
    (kernel,) = tj.jit(function).stages(*operands).program.kernels
    return kernel


@pytest.mark.parametrize("step, x", CASES[::2], ids=lambda v: getattr(v, "__name__", "x"))
def test_every_stage(step: Any, x: Any) -> None:
    """Verified, read back, compared to the interpreter, nothing written around results."""
    function = loop(step, 4)
    graph = tj.jit(function).stages(x).graph
    check_graph(graph, list(x) if isinstance(x, tuple) else [x])


@pytest.mark.parametrize(
    "step, x",
    [(nine_points, field(24, 21)), (periodic, field(24, 18)), (periodic, field(1030))],
    ids=["wave", "around", "line"],
)
def test_interpreted(step: Any, x: Any) -> None:
    """The kernel means what its machine code does, whatever scratch memory holds at first."""
    program = tj.jit(loop(step, 3)).stages(x).program
    (kernel,), (call,) = program.kernels, program.calls
    verify(kernel)
    assert parse(show(kernel)) == kernel
    out = np.empty_like(x)
    interp.run(kernel, {"x0": x, "y0": out}, dict(zip(kernel.sizes, call.sizes, strict=True)))
    np.testing.assert_array_equal(out, np.asarray(tj.jit(loop(step, 3))(x)))


@pytest.mark.parametrize("step, x", [CASES[7]])
def test_numba(step: Any, x: Any) -> None:
    wanted = leaves(tj.jit(loop(step, 5))(x))
    for a, b in zip(leaves(tj.jit(loop(step, 5), backend="numba")(x)), wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_of_each_step_follow_each_other() -> None:
    text = show(kernel_of(loop(five_points, 4), field(64, 512)))
    lines = text.splitlines()
    assert lines[1] == "  par tile in idiv(add(n0, 6), 7):"
    assert lines[2] == "    r0: f32[3,3,512] scratch"
    assert "      seq level in 1..3:" in lines
    assert any(line.strip().startswith("y0[i0, i1] = ") for line in lines)


def test_lines_are_aligned() -> None:
    """A vector begins where one of the tile does, a multiple of 64 elements before it."""
    text = show(kernel_of(loop(wide, 3), field(4096)))
    assert "r0: f32[2,512] scratch" in text
    assert "mul(idiv(add(mul(sub(2, level), 2), 63), 64), 64)" in text


def test_tiles_follow_from_the_extents() -> None:
    form = stencils.recognise(
        next(
            node
            for node in tj.jit(loop(five_points, 100)).stages(field(512, 512)).optimised.nodes
            if node.prim.name == "scan"
        ),
        lambda node: True,
    )
    assert isinstance(form, stencils.StencilForm) and form.reach == 1 and not form.wraps
