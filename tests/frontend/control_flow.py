"""What the tests of jit(control_flow=True) share."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import tracejit as tj

flow = functools.partial(tj.jit, control_flow=True)
X = np.array([3.0, -1.0, 2.0])


def agrees(function: Any, *calls: tuple[Any, ...]) -> None:
    """The compiled function gives what Python gives."""
    compiled = flow(function)
    for args in calls:
        wanted = function(*args)
        tj.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), compiled(*args), wanted
        )
