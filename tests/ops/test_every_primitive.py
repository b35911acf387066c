"""Every record against its own cases: infer, jvp, transpose, batch, element, reduce, scalar.

A record added to ``ops/`` is tested here without further ado. How operands are drawn, and how a
case gives operands of its own, is said in ``op_checks.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.ops import op_checks as checks
from tests.ops.op_checks import Case
from tracejit.errors import MissingRule
from tracejit.ir.types import is_inexact
from tracejit.ops import PRIMS

#: Rules that operations do without, on purpose: "name rule"; "name jvp k" where
#: only operand k has none; "name batch some" where some combinations of batched operands have none.
MISSING = (
    "stop_gradient transpose",  # its tangent is zero: a linear part never holds it
    "nextafter transpose",  # one step from x is x as far as differences can tell
    "reduce jvp",  # the reduction by any computation; named reductions have derivatives
    "reduce batch some",  # not for batched initial values
    "polygamma jvp 0",  # no closed form in the order
    "expn jvp 0",
    "bessel_j jvp 0",
    "spherical_legendre jvp 0",  # whole numbers
    "spherical_legendre jvp 1",
    "complex_digamma jvp 0",
    "igamma_grad_a jvp 0",  # derivatives in a parameter have none in it again
    *(f"betainc_grad_{of} jvp {k}" for of in "ab" for k in range(2)),
    *(f"zeta_slope jvp {k}" for k in range(2)),
    "riemann_zeta_slope jvp 0",
    *(f"hyp1f1_slope_{of} jvp {k}" for of in "ab" for k in range(3)),
    *(f"hyp2f1_slope_{of} jvp {k}" for of in "abc" for k in range(4)),
    "fused_matmul jvp",  # written after differentiation and batching, for a GPU's library
    "fused_matmul batch",
    "fused_conv jvp",
    "fused_conv batch",
    "fused_attention jvp",
    "fused_attention batch",
    "fused_attention_grad jvp",
    "fused_attention_grad batch",
    *(  # written after differentiation and batching, for CPUs
        f"lapack_{name} {rule}"
        for name in "potrf getrf geqrf orgqr trsm gesdd syevd syevd_values geev geqp3 gtsv "
        "gees gehrd sytrd inverse_order pivots".split()
        for rule in ("jvp", "batch", "transpose")
    ),
    *(  # written after differentiation and batching, for libraries of GPUs
        f"raw_{name} {rule}"
        for name in "fft potrf getrf geqrf orgqr trsm syevd gesvd gesvdj".split()
        for rule in ("jvp", "batch", "transpose")
    ),
    "geqrf jvp",  # LAPACK's own forms of factors: qr and the functions built on them have one
    "schur jvp",
    "hessenberg jvp",
    "tridiagonal jvp",
    "factored_solve jvp 1",  # derivatives go through the matrix, the factors are constant
)

#: The operations whose tangent is not that of the function they compute.
NOT_THE_DERIVATIVE = ("stop_gradient", "reduce_precision", "factored_solve")

#: The operations without a meaning outside of their vmap: tests/lax/test_collectives.py.
BOUND = ("axis_index", "all_gather")

NAMES = sorted(set(PRIMS) - set(BOUND))


def raws_of(name: str) -> list[Any]:
    prim = PRIMS[name]
    return list(prim.cases()) if prim.cases is not None else []


@contextmanager
def noted(raw: Any, *more: Any) -> Iterator[None]:
    """Say in the traceback which case it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"case: {tuple(raw[0])} {dict(raw[1])} {more or ''}")
        raise


@pytest.mark.parametrize("name", NAMES)
def test_is_complete(name: str) -> None:
    prim = PRIMS[name]
    assert prim.name == name and prim.doc
    assert prim.cases is not None and raws_of(name), f"{name} has no cases"
    takes_operands = any(raw[0] for raw in raws_of(name))
    for rule in ("numpy", "batch") if takes_operands else ("numpy",):
        assert getattr(prim, rule) is not None or f"{name} {rule}" in MISSING, (
            f"{name} has no {rule} rule"
        )
    for raw in raws_of(name):
        assert set(raw[1]) == set(prim.params)
        hash(tuple(raw[1].values()))


@pytest.mark.parametrize("name", NAMES)
def test_infer(name: str) -> None:
    for raw in raws_of(name):
        with noted(raw):
            checks.check_infer(PRIMS[name], raw)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NOT_THE_DERIVATIVE])
def test_jvp(name: str) -> None:
    prim = PRIMS[name]
    for raw in raws_of(name):
        with noted(raw):
            wide = checks.widened(prim, raw)
            if wide is None or not any(is_inexact(t.dtype) for t in Case(prim, wide).outputs()):
                continue
            moving = [k for k in Case(prim, wide).inexact if f"{name} jvp {k}" not in MISSING]
            modes = checks.jvp_modes(prim)
            assert modes or not moving or f"{name} jvp" in MISSING, f"{name} has no jvp rule"
        sets = {*[(k,) for k in moving], tuple(moving)} - {()}
        for moved, mode in itertools.product(sorted(sets), modes):
            with noted(raw, moved, mode):
                checks.check_jvp(prim, wide, moved, mode)


@pytest.mark.parametrize("name", NAMES)
def test_transpose(name: str) -> None:
    prim = PRIMS[name]
    raws = [wide for raw in raws_of(name) if (wide := checks.widened(prim, raw)) is not None]
    found, always = checks.linear_sets(prim, raws)
    if prim.transpose is None:
        # single cases may be linear by accident: a maximum over one element, x to the power 1
        assert not always or f"{name} transpose" in MISSING, (
            f"{name} is linear and has no transpose rule"
        )
        return
    for raw, sets in zip(raws, found, strict=True):
        for moved in sets:
            with noted(raw, moved):
                try:
                    checks.check_transpose(prim, raw, moved)
                except MissingRule:
                    # an operand that only the tangent looks at seems linear by trying
                    if moved in always and name not in NOT_THE_DERIVATIVE:
                        raise


def masks_of(raw: Any) -> list[tuple[bool, ...]]:
    """Which operands carry the batch axis: every choice, or of many: each alone, and all."""
    count = len(raw[0])
    if count > 4:
        return [tuple(j == k for j in range(count)) for k in range(count)] + [(True,) * count]
    return [mask for mask in itertools.product((False, True), repeat=count) if any(mask)]


@pytest.mark.parametrize("name", [n for n in NAMES if PRIMS[n].batch is not None])
def test_batch(name: str) -> None:
    for raw in raws_of(name):
        for mask in masks_of(raw):
            with noted(raw, mask):
                try:
                    checks.check_batch(PRIMS[name], raw, mask)
                except MissingRule:
                    if f"{name} batch some" not in MISSING:
                        raise


@pytest.mark.parametrize("name", [n for n in NAMES if PRIMS[n].element is not None])
def test_element(name: str) -> None:
    for raw in raws_of(name):
        with noted(raw):
            checks.check_element(PRIMS[name], raw)


@pytest.mark.parametrize("name", [n for n in NAMES if PRIMS[n].reduce is not None])
def test_reduce(name: str) -> None:
    for raw in raws_of(name):
        with noted(raw):
            checks.check_reduce(PRIMS[name], raw)


@pytest.mark.parametrize("name", [n for n in NAMES if PRIMS[n].scalar is not None])
def test_scalar(name: str) -> None:
    for raw in raws_of(name):
        with noted(raw):
            checks.check_scalar(PRIMS[name], raw)


@pytest.mark.parametrize("entry", MISSING)
def test_what_is_listed_is_missing(entry: str) -> None:
    name, rule, *operand = entry.split()
    if not operand:
        assert getattr(PRIMS[name], rule) is None and (rule != "jvp" or PRIMS[name].push is None)
        return
    with pytest.raises(MissingRule):
        if rule == "batch":
            for raw in raws_of(name):
                for mask in masks_of(raw):
                    checks.check_batch(PRIMS[name], raw, mask)
        else:
            case = Case(PRIMS[name], raws_of(name)[0])
            checks.jvp_graph(case, (int(operand[0]),), checks.jvp_modes(case.prim)[0])
