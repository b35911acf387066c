"""What a first program of one's own comes across: namespaces, stages as text, sources that run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import TracedValueError

X = np.linspace(-1, 2, 6, dtype=np.float32)


def add(x: Any, y: Any) -> Any:
    return x + y


def maximum(x: Any, y: Any) -> Any:
    return jnp.maximum(x, y) * 2


def kernels_as_arguments(add: Any, mul: Any) -> Any:
    return (add + mul).sum() * (add * mul)


def builtins_as_arguments(min: Any, np: Any) -> Any:
    return lax.cond(min.sum() > 0, lambda x: x * 2, lambda x: -x, min) + np


def variables_as_kernels(x: Any, limit: Any) -> Any:
    """Buffers of the loop are called after operations, as its kernels are."""

    def halve(state: Any) -> Any:
        count, value = state
        return count + 1, value * 0.5

    return lax.while_loop(lambda state: state[0] < 5, halve, (0, x))[1] + limit


PROGRAMS = (
    add,
    maximum,
    kernels_as_arguments,
    builtins_as_arguments,
    variables_as_kernels,
)


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_source_runs_whatever_things_are_called(function: Callable[..., Any]) -> None:
    compiled = tj.jit(function)
    namespace: dict[str, Any] = {"__name__": "generated"}
    exec(compiled.source(X, X[::-1]), namespace)
    # a function called as a helper of the module gets an underscore
    name = "maximum_" if function is maximum else function.__name__
    found = namespace[name](X, X[::-1])
    np.testing.assert_allclose(found, np.asarray(compiled(X, X[::-1])), rtol=1e-6)


def test_namespaces_are_attributes_of_the_package() -> None:
    program = """
import sys
import tracejit as tj
assert "tracejit.nn" not in sys.modules
assert tj.nn.relu(-1.0) == 0 and tj.random.split(tj.random.key(0)).shape == (2,)
assert tj.lax.add(1.0, 2.0) == tj.numpy.asarray(3.0)
assert "random" in dir(tj) and not hasattr(tj, "nothing")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_stages_print() -> None:
    stages = tj.jit(lambda x: jnp.exp(x).sum()).stages(X)
    text = str(stages)
    assert all(f"--- {part}\n" in text for part in ("graph", "optimised", "groups", "plan"))
    assert "%1 = exp(%x) : f32[6]" in text and "kernel exp_reduce_sum" in text
    assert len(repr(stages)) < 100


@pytest.mark.parametrize(
    "function, hint",
    [
        (jnp.nonzero, "pass size="),
        (jnp.unique, "pass size="),
        (lambda x: jnp.repeat(x, x.astype(int)), "pass total_repeat_length="),
        (lambda x: jnp.arange(x[0]), "shapes are static"),
    ],
)
def test_results_of_unknown_length_say_what_to_pass(function: Any, hint: str) -> None:
    with pytest.raises(TracedValueError, match=hint):
        tj.jit(function)(X)
