"""Numbers that lie in pairs, read and written upward and downward; scratch of a vector's rest."""

from __future__ import annotations

import numpy as np
import pytest

from tests.codegen.llvm_kernels import check
from tracejit.codegen.llvm import print_module
from tracejit.kernel.text import parse
from tracejit.runtime.cpu import prepared
from tracejit.runtime.native import host_target

RNG = np.random.default_rng(0)

PAIRS = """
kernel pairs[n0](in x: f32[n0,2], out y: f32[n0,2])
  vec(WIDTH) i in n0:
    a: f32 = x[sub(sub(n0, 1), i), 0]
    b: f32 = x[sub(sub(n0, 1), i), 1]
    c: f32 = x[i, 0]
    d: f32 = x[i, 1]
    p: f32 = add(mul(a, 2.0), c)
    q: f32 = sub(b, d)
    y[TO, 0] = p
    y[TO, 1] = q
"""


@pytest.mark.parametrize("to", ["i", "sub(sub(n0, 1), i)"])
@pytest.mark.parametrize("width", ["8x1", "4x2", "16x0", "8x3"])
def test_pairs(to: str, width: str) -> None:
    kernel = parse(PAIRS.replace("TO", to).replace("WIDTH", width))
    for n in (1, 5, 8, 16, 29, 67):
        x = RNG.standard_normal((n, 2)).astype(np.float32)
        check(kernel, {"x": x, "y": np.zeros_like(x)}, (n,))


def test_pairs_are_whole_vectors() -> None:
    """Also in code that a thread in the background writes, which rests between statements."""
    kernel = prepared(parse(PAIRS.replace("TO", "i").replace("WIDTH", "8x1")), "pairs")
    rests: list[int] = []
    text = print_module([kernel], host_target())
    assert "gather" not in text and "scatter" not in text
    assert print_module([kernel], host_target(), lambda: rests.append(1)) == text
    assert rests


def test_scratch_around_a_vector() -> None:
    """What is written in the rest of a loop is read after that, not before."""
    kernel = parse("""
kernel k[n0](in x: f32[n0], out y: f32[n0])
  z: f32[2,8] scratch
  vec(8x1) l in min(n0, 8):
    z[0, l] = x[l]
    a: f32 = z[0, l]
    z[1, l] = mul(a, 2.0)
    seq i in 2:
      y[l] = z[i, l]
""")
    for n in (3, 8, 11):
        x = RNG.standard_normal(n).astype(np.float32)
        check(kernel, {"x": x, "y": np.zeros_like(x)}, (n,))
