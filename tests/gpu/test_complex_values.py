"""Complex functions of the CUDA header at infinities, nan and zeros of both signs: what the
interpreter has. Compiled for the CPU.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.host_kernels import needs_compiler
from tracejit.ir import interp
from tracejit.runtime.gpu.executable import compile_gpu
from tracejit.runtime.gpu.host_device import HostDevice

INF, NAN = np.inf, np.nan
PARTS = (INF, -INF, NAN, 0.0, -0.0, 1.0, -2.5)
Z = np.array([complex(a, b) for a in PARTS for b in PARTS])
UNARY = ("abs", "conj", "exp", "expm1", "log", "negative", "reciprocal", "sqrt", "tan", "tanh")
BINARY = ("add", "divide", "multiply", "subtract")


def assert_equal(found: np.ndarray, wanted: np.ndarray, name: str, args: object) -> None:
    """Equal parts of one sign; where one is nan the sign of the other is open."""
    for part, other in (("real", "imag"), ("imag", "real")):
        one, two = getattr(found, part), getattr(wanted, part)
        open_sign = np.isnan(getattr(wanted, other)) if np.iscomplexobj(wanted) else False
        with np.errstate(all="ignore"):
            close = (one == two) | (abs(one - two) <= 1e-13 * abs(two))
            close |= open_sign & (abs(one) == abs(two))
        close &= (np.signbit(one) == np.signbit(two)) | open_sign
        right = close | (np.isnan(one) & np.isnan(two))
        assert right.all(), (name, args, found[~right][:3], wanted[~right][:3])


@needs_compiler
@pytest.mark.parametrize("names", [UNARY, BINARY], ids=["unary", "binary"])
def test_special_values(names: tuple[str, ...]) -> None:
    x, y = (a.ravel() for a in np.meshgrid(Z, Z))
    operands = (x, y) if names is BINARY else (Z,)
    graph = tj.make_graph(lambda *xs: [getattr(jnp, name)(*xs) for name in names], *operands)
    found = compile_gpu(graph, HostDevice()).run(list(operands))
    wanted = interp.run(graph, list(operands))
    for name, one, two in zip(names, found, wanted, strict=True):
        assert_equal(np.asarray(one), two, name, operands)
