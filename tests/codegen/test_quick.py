"""Kernels in the form that is compiled first: what changes, and that the meaning does not."""

from __future__ import annotations

import numpy as np
import pytest

from tracejit.codegen.quick import quick
from tracejit.kernel.interp import run
from tracejit.kernel.text import parse, show
from tracejit.kernel.verify import verify

MAP = """\
kernel k[n](in x: f32[n,n], out y: f32[n,n])
  par i in n:
    s: f32 = 0.0
    vec(16x4) j in n:
      s add= x[i, j]
    vec(16x4) j1 in n:
      y[i, j1] = mul(x[i, j1], s)
    vec(16x2) j2 in 32:
      y[i, 0] = x[0, i]
"""


def test_loops_that_fold_keep_their_form() -> None:
    made = show(quick(parse(MAP), masks=True))
    assert made.count("vec(16x4)") == 1 and "vec(16x0) j1" in made and "vec(16x1) j2" in made
    assert "vec(16x1) j1" in show(quick(parse(MAP), masks=False))
    assert parse(made) == quick(parse(MAP), masks=True)
    verify(parse(made))


BLOCKS = """\
kernel k[n](in x: f32[n,n], out y: f32[n,n])
  par i in idiv(add(n, 3), 4):
    tile: f32[8,8] scratch
    seq j in idiv(add(n, 7), 8):
      rows: i64 = min(4, sub(n, mul(i, 4)))
      transpose(8) tile[0, 0] = x[mul(i, 4), mul(j, 8)] in rows, sub(n, mul(j, 8))
      seq a in mul(j, 8)..min(n, add(mul(j, 8), 8)):
        vec(8x2) b in mul(i, 4)..min(n, add(mul(i, 4), 4)):
          y[a, b] = tile[sub(a, mul(j, 8)), sub(b, mul(i, 4))]
"""


@pytest.mark.parametrize("n", [1, 4, 8, 19])
@pytest.mark.parametrize("masks", [True, False])
def test_blocks_are_transposed(n: int, masks: bool) -> None:
    kernel = parse(BLOCKS)
    made = quick(kernel, masks)
    verify(made)
    assert "transpose" in show(kernel) and "transpose" not in show(made)
    x = np.arange(n * n, dtype="f4").reshape(n, n)
    y = np.zeros_like(x)
    run(made, {"x": x, "y": y}, {"n": n})
    np.testing.assert_array_equal(y, x.T)
