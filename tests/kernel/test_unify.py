"""Kernels that differ by one size are one kernel; a new batch compiles no convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.kernel.text import parse, show
from tracejit.kernel.unify import unify
from tracejit.kernel.verify import verify

TEXT = """kernel k(in x: f32[{n},3], out y: f32[{n},3])
  par t in {t}:
    vec(16x2) j in 3:
      y[idiv(t, {q}), j] = add(x[irem(t, {r}), j], {c})
"""


def kernel(n: int, t: int, q: int = 2, r: int = 5, c: float = 1.0) -> Any:
    return parse(TEXT.format(n=n, t=t, q=q, r=r, c=c))


def test_multiples_and_offsets_of_a_size_follow_from_it() -> None:
    found = unify(kernel(8, 16, r=5), kernel(9, 18, r=6), 8, 9, "n")
    assert found is not None
    verify(found)
    assert found.sizes == ("n",) and found.params[0].shape == ("n", 3)
    assert "par t in mul(n, 2)" in show(found) and "irem(t, add(n, -3))" in show(found)
    assert parse(show(found)) == found
    # the same for other sizes with the same schedule
    assert unify(kernel(20, 40, r=17), kernel(21, 42, r=18), 20, 21, "n") == found


def test_other_schedules_stay_apart() -> None:
    assert unify(kernel(8, 16), kernel(9, 18, c=2.0), 8, 9, "n") is None
    assert (
        unify(
            kernel(8, 16),
            parse(TEXT.format(n=9, t=18, q=2, r=5, c=1.0).replace("x2", "x1")),
            8,
            9,
            "n",
        )
        is None
    )
    assert unify(kernel(8, 4), kernel(9, 5), 8, 10, "n") is None
    same = kernel(8, 16)
    assert unify(same, same, 8, 9, "n") is same


def net(x: Any, w: Any, v: Any) -> Any:
    x = jnp.maximum(lax.conv_general_dilated(x, w, (1, 1), "SAME"), 0.0)
    return jnp.sum(lax.conv_general_dilated(x, v, (1, 1), "VALID") ** 2)


def test_a_new_batch_of_images_has_the_same_kernels() -> None:
    rng = np.random.default_rng(0)
    w, v = rng.standard_normal((16, 3, 3, 3)), rng.standard_normal((16, 16, 3, 3))
    w, v = w.astype(np.float32), v.astype(np.float32)
    step = tj.jit(tj.value_and_grad(net, argnums=(0, 1, 2)))
    known: set[Any] = set()
    for batch in (20, 17, 33, 1, 3):
        x = rng.standard_normal((batch, 3, 12, 12)).astype(np.float32)
        found, expected = step(x, w, v), tj.value_and_grad(net, argnums=(0, 1, 2))(x, w, v)
        for a, b in zip(tj.tree.leaves(found), tj.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-2)
        convs = {k for k in step.stages(x, w, v).program.kernels if k.name.startswith("conv")}
        if batch in (17, 33):
            assert convs <= known
        known |= convs
