"""``out=`` and a ufunc's ``where=``, ``dtype=``, ``casting=``, against NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit import grad, jit
from tracejit.errors import ArgumentError, DTypeError, ShapeError, TracejitError

UFUNCS = [
    name
    for name in sorted(dir(np))
    if isinstance(getattr(np, name), np.ufunc) and hasattr(jnp, name)
]
#: of matrices, of their own shapes
PRODUCTS = ("matmul", "matvec", "vecmat", "vecdot")


def operands(name: str) -> list[np.ndarray]:
    """What the ufunc takes: floats where it does."""
    known = getattr(np, name)
    rng = np.random.default_rng(len(name))
    floats = any(t.startswith("f" * known.nin) or t.startswith("fi") for t in known.types)
    values = rng.uniform(0.1, 0.9, (known.nin, 2, 3)).astype("f4") + ("cosh" in name)
    if name == "ldexp":
        return [values[0], np.array([[1, 2, 3], [0, 1, 2]], "i4")]
    return list(values if floats else rng.integers(1, 5, (known.nin, 2, 3)).astype("i4"))


@pytest.mark.parametrize("name", [n for n in UFUNCS if n not in PRODUCTS])
def test_every_ufunc_writes_where_a_mask_holds(name: str) -> None:
    given, known = operands(name), getattr(np, name)
    mask = np.array([[True, False, True], [False, True, True]])
    results = known(*given)
    results = results if isinstance(results, tuple) else (results,)
    wanted = [np.full_like(r, 1) for r in results]
    known(*given, out=tuple(wanted), where=mask)
    outs = [jnp.asarray(np.full_like(r, 1)) for r in results]
    found = getattr(jnp, name)(*given, out=tuple(outs), where=mask)
    assert all(f is o for f, o in zip(found if len(outs) > 1 else (found,), outs, strict=True))
    for out, want in zip(outs, wanted, strict=True):
        assert out.dtype == want.dtype
        np.testing.assert_allclose(out, want, rtol=2e-6)


@pytest.mark.parametrize("name", ["sum", "max", "cumsum", "mean", "clip", "take", "dot", "median"])
def test_functions_of_arrays(name: str) -> None:
    a = np.arange(6.0, dtype="f4").reshape(2, 3)
    more: dict[str, Any] = {
        "clip": {"min": 1, "max": 3},
        "take": {"indices": [0, 2], "axis": 1},
        "dot": {"b": np.ones((3, 2), "f4")},
    }.get(name, {"axis": 0})
    want = getattr(np, name)(a, **more)
    out = jnp.zeros(want.shape, want.dtype)
    assert getattr(jnp, name)(jnp.asarray(a), **more, out=out) is out
    np.testing.assert_allclose(out, want)


def test_positional_and_in_place() -> None:
    a = jnp.array([1.0, 2.0])
    assert jnp.add(a, 1, a) is a
    assert a.tolist() == [2.0, 3.0]
    whole, rest = jnp.zeros(2), jnp.zeros(2)
    found = jnp.divmod(a, 2, whole, rest)
    assert found[0] is whole and found[1] is rest
    assert (whole.tolist(), rest.tolist()) == ([1.0, 1.0], [0.0, 1.0])


def test_into_an_array_of_numpy() -> None:
    out = np.zeros(2)
    assert jnp.exp(jnp.zeros(2), out=out) is out
    assert out.tolist() == [1.0, 1.0]


def test_dtype() -> None:
    found = jnp.add(jnp.arange(3), 1, dtype="float64")
    assert (found.dtype, found.tolist()) == (np.dtype("f8"), [1.0, 2.0, 3.0])


def test_under_transforms() -> None:
    def halved(x: Any) -> Any:
        out = jnp.zeros_like(x)
        jnp.multiply(x, 3, out=out, where=x > 0)
        return jnp.sum(out, out=None)

    x = jnp.array([1.0, -1.0])
    assert jit(halved)(x) == 3
    assert grad(halved)(x).tolist() == [3.0, 0.0]


WRONG: dict[type[TracejitError], list[Callable[[Any, Any], Any]]] = {
    ShapeError: [
        lambda a, i: jnp.sum(a, out=a),
        lambda a, i: jnp.add(a, jnp.ones((2, 3)), out=a),
    ],
    DTypeError: [
        lambda a, i: jnp.exp(a, out=i),
        lambda a, i: jnp.add(a, a, dtype="int32"),
        lambda a, i: jnp.add(i, i, out=i, casting="no", dtype="int32"),
    ],
    ArgumentError: [
        lambda a, i: jnp.add(a, a, where=a > 0),
        lambda a, i: jnp.add(a, a, a, out=a),
        lambda a, i: jnp.add(a, a, out=(a, a)),
        lambda a, i: jnp.add(a, a, out=[0, 0, 0]),
        lambda a, i: a.sum(out=a),
    ],
}


@pytest.mark.parametrize(
    ("kind", "call"), [(kind, call) for kind, calls in WRONG.items() for call in calls]
)
def test_errors(kind: type[TracejitError], call: Callable[[Any, Any], Any]) -> None:
    a, i = jnp.ones(3), jnp.arange(3)
    with pytest.raises(kind) as caught:
        call(a, i)
    assert "test_out.py" in str(caught.value)
    assert a.tolist() == [1.0, 1.0, 1.0]
