"""How the tests of this folder compare a function with NumPy's: on arrays, and inside a trace.

agrees("sum", x, axis=0)      jnp.sum(x, axis=0) equals np.sum(x, axis=0), at once and traced
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit.frontend.derivatives import make_graph
from tracejit.ir import interp


def traced(fun: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """The results of ``fun`` traced abstractly and run by the interpreter."""
    graph = make_graph(fun, *arrays)
    assert len(graph.inputs) == len(arrays), "the trace captured an array"
    return interp.run(graph, arrays)


def flat(result: Any) -> list[Any]:
    """The arrays of a result, which may be one or a tuple or list of them."""
    return list(result) if isinstance(result, tuple | list) else [result]


def check(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *args: Any,
    trace: bool = True,
    dtype: bool = True,
    tol: float = 1e-6,
    **kwargs: Any,
) -> None:
    """``ours(*args)`` equals ``theirs(*args)``; NumPy arrays among ``args`` are what is traced."""
    expected = [np.asarray(e) for e in flat(theirs(*args, **kwargs))]
    found = flat(ours(*args, **kwargs))
    runs = [[np.asarray(f) for f in found]]
    if trace:
        places = [k for k, a in enumerate(args) if isinstance(a, np.ndarray)]

        def of_arrays(*xs: Any) -> Any:
            full = list(args)
            for k, x in zip(places, xs, strict=True):
                full[k] = x
            return ours(*full, **kwargs)

        runs.append(traced(of_arrays, *(args[k] for k in places)))
    for run in runs:
        assert len(run) == len(expected)
        for f, e in zip(run, expected, strict=True):
            assert f.shape == e.shape, (f.shape, e.shape)
            if dtype:
                assert f.dtype == e.dtype, (f.dtype, e.dtype)
            wide = e.astype(np.complex128 if e.dtype.kind == "c" else np.float64)
            np.testing.assert_allclose(f.astype(wide.dtype), wide, rtol=tol, atol=tol)


def agrees(name: str, *args: Any, **options: Any) -> None:
    """``check`` for the functions of one name in both namespaces."""
    check(getattr(jnp, name), getattr(np, name), *args, **options)
