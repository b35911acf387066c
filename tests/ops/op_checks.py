"""What the record of a primitive is held to: one function per rule, for a record and a case.

A case is ``(types, params)`` or ``(types, params, arrays)``: the arrays then are the operands
(indices that must lie in range, keys ...), with None for an operand that may be drawn. Operands are
drawn from the record's ``domain``: integers between its ends (0 where an unsigned one has none),
both parts of complex numbers.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tests.ops.evaluate import element_values, scalar_values
from tracejit.errors import DTypeError, ShapeError
from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.graph import ConstArray, Graph, Literal, literal
from tracejit.ir.prim import Linear, Partly
from tracejit.ir.types import DTYPES, TensorType, is_inexact, kind
from tracejit.ops import PRIMS

F64, C128 = DTYPES["f64"], DTYPES["c128"]
STEP = 1e-6
BATCH = 3


class Case:
    """A case made concrete: types, params and operands."""

    def __init__(self, prim: Any, raw: Any, seed: int = 0) -> None:
        self.prim = prim
        self.types, self.params = tuple(raw[0]), dict(raw[1])
        self.given = tuple(raw[2]) if len(raw) > 2 else (None,) * len(self.types)
        self.arrays = self.draw(seed)

    def draw(self, seed: int) -> list[Any]:
        rng = np.random.default_rng(seed)
        drawn = [sample(rng, t, domain_of(self.prim, k)) for k, t in enumerate(self.types)]
        return [
            d if g is None else np.asarray(g, t.dtype)
            for d, g, t in zip(drawn, self.given, self.types, strict=True)
        ]

    def outputs(self) -> list[TensorType]:
        return listed(self.prim.infer(*self.types, **self.params))

    def run(self, arrays: Any) -> list[Any]:
        """The numpy rule, its results checked against ``infer``."""
        with np.errstate(all="ignore"):
            outs = [np.asarray(a) for a in listed(self.prim.numpy(*arrays, **self.params))]
        types = self.outputs()
        assert len(outs) == len(types)
        for out, type in zip(outs, types, strict=True):
            assert (out.dtype, out.shape) == (type.dtype, type.shape), (
                f"{self.prim}: {out.dtype}{out.shape}, {type}"
            )
        return outs

    @property
    def inexact(self) -> list[int]:
        """The operands that carry derivatives."""
        return [k for k, t in enumerate(self.types) if is_inexact(t.dtype)]


def listed(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple | list) else [out]


def domain_of(prim: Any, k: int) -> tuple[float, float]:
    domain = prim.domain
    if domain is None:
        return (-3.0, 3.0)
    return domain[k] if isinstance(domain[0], tuple) else domain


def sample(rng: Any, type: TensorType, domain: tuple[float, float]) -> Any:
    """An array of ``type`` drawn from ``domain``."""
    low, high = domain
    letter = kind(type.dtype)
    if letter == "b":
        return rng.integers(0, 2, type.shape).astype(np.bool_)
    if letter in "iu":
        info = np.iinfo(type.dtype)
        low, high = (
            min(max(int(end), info.min), info.max) for end in (np.ceil(low), np.floor(high))
        )
        return rng.integers(low, high, type.shape, type.dtype, endpoint=True)
    drawn = rng.uniform(low, high, type.shape)
    if letter == "c":
        drawn = drawn + 1j * rng.uniform(low, high, type.shape)
    return np.asarray(drawn).astype(type.dtype)


def direction(rng: Any, type: TensorType) -> Any:
    """A tangent: normal numbers."""
    drawn = rng.standard_normal(type.shape)
    if type.dtype.kind == "c":
        drawn = drawn + 1j * rng.standard_normal(type.shape)
    return np.asarray(drawn).astype(type.dtype)


# ---- the same case in double precision -----------------------------------------------------------


def widened(prim: Any, raw: Any) -> Any:
    """``raw`` with floating dtypes made f64 (c128), in params too; None where that is not
    possible."""
    types = tuple(wide_type(t) for t in raw[0])
    arrays = tuple(raw[2]) if len(raw) > 2 else (None,) * len(types)
    try:
        params = {name: wide(value) for name, value in raw[1].items()}
        outs = listed(prim.infer(*types, **params))
    except (ShapeError, DTypeError):
        return None
    if any(is_inexact(t.dtype) and t != wide_type(t) for t in outs):
        return None
    return types, params, arrays


def wide(value: Any) -> Any:
    if isinstance(value, np.dtype):
        return wide_dtype(value)
    if isinstance(value, Graph):
        return wide_graph(value)
    if isinstance(value, ConstArray):
        return ConstArray(value.array.astype(wide_dtype(value.array.dtype)))
    if isinstance(value, tuple):
        return tuple(wide(item) for item in value)
    return value


def wide_dtype(dtype: np.dtype) -> np.dtype:
    return {"f": F64, "c": C128}.get(kind(dtype), dtype)


def wide_type(type: TensorType) -> TensorType:
    return type.with_dtype(wide_dtype(type.dtype))


def wide_graph(graph: Graph) -> Graph:
    with building() as b:
        env: dict[Any, Any] = {v: b.input(wide_type(v.type), v.name) for v in graph.inputs}

        def read(x: Any) -> Any:
            return literal(x.value, wide_type(x.type)) if isinstance(x, Literal) else env[x]

        for node in graph.nodes:
            outs = listed(
                node.prim(
                    *[read(x) for x in node.inputs], **{k: wide(v) for k, v in node.params.items()}
                )
            )
            env.update(zip(node.outputs, outs, strict=True))
        return b.graph([read(x) for x in graph.outputs], graph.name)


# ---- the rules -----------------------------------------------------------------------------------


def check_infer(prim: Any, raw: Any) -> None:
    """infer gives the shape and dtype of what the numpy rule computes."""
    case = Case(prim, raw)
    case.run(case.arrays)


def jvp_modes(prim: Any) -> tuple[str, ...]:
    if prim.push is not None:
        return ("jvp", "linearize")
    return ("rule",) if prim.jvp is not None else ()


def jvp_graph(case: Case, moved: tuple[int, ...], mode: str) -> tuple[Graph, list[bool]]:
    """From operands and tangents of the ``moved`` ones to tangents; also which outputs have one."""
    with building() as b:
        xs = tuple(b.input(t) for t in case.types)
        dxs = tuple(b.input(t) if k in moved else None for k, t in enumerate(case.types))
        if mode == "rule":
            ys = tuple(listed(case.prim(*xs, **case.params)))
            dys = case.prim.jvp(dxs, ys, xs, **case.params)
        else:
            ys, dys = case.prim.push(mode, xs, dxs, **case.params)
        dys = listed(dys)
        assert len(dys) == len(case.outputs())
        return b.graph([dy for dy in dys if dy is not None]), [dy is not None for dy in dys]


def check_jvp(prim: Any, raw: Any, moved: tuple[int, ...], mode: str) -> None:
    """The jvp rule agrees with central differences along a direction of the ``moved`` operands."""
    case = Case(prim, raw)
    rng = np.random.default_rng(1)
    tangents = {k: direction(rng, case.types[k]) for k in moved}
    graph, present = jvp_graph(case, moved, mode)
    found = iter(interp.run(graph, [*case.arrays, *tangents.values()]))
    ahead, behind = (
        case.run(
            [a + s * STEP * tangents[k] if k in tangents else a for k, a in enumerate(case.arrays)]
        )
        for s in (1, -1)
    )
    for type, up, down, has in zip(case.outputs(), ahead, behind, present, strict=True):
        if not is_inexact(type.dtype):
            assert not has or not np.any(next(found)), f"{prim}: a tangent of an integer output"
            continue
        dy = next(found) if has else np.zeros(type.shape, type.dtype)
        with np.errstate(all="ignore"):
            slope = np.where(
                up == down, 0, (up - down) / (2 * STEP)
            )  # equal infinities have slope 0
        told = ~(np.isnan(up) & np.isnan(down))  # elements filled with nan
        assert told.any() or not told.size
        np.testing.assert_allclose(dy[told], slope[told], rtol=2e-5, atol=2e-6)


def linear_sets(
    prim: Any, raws: list[Any]
) -> tuple[list[list[tuple[int, ...]]], set[tuple[int, ...]]]:
    """The sets of operands the operation is linear in, by trying: for each case; in all cases.

    Trying tells nothing where there are too few elements: such a case takes what holds in all
    others.
    """
    found: list[Any] = []
    for raw in raws:
        case = Case(prim, raw)
        telling = (
            min(
                [t.size for t in [*case.outputs(), *(case.types[k] for k in case.inexact)]],
                default=0,
            )
            > 1
        )
        found.append(
            {s for s in subsets(case.inexact) if is_linear_in(case, s)} if telling else None
        )
    known = [sets for sets in found if sets is not None]
    common = set.intersection(*known) if known else set()
    return [sorted(common if sets is None else sets) for sets in found], common


def subsets(items: list[int]) -> list[tuple[int, ...]]:
    if len(items) > 4:
        return [*[(k,) for k in items], tuple(items)]
    return [s for n in range(1, len(items) + 1) for s in itertools.combinations(items, n)]


def is_linear_in(case: Case, moved: tuple[int, ...]) -> bool:
    """Whether f(2 u - 3 v) = 2 f(u) - 3 f(v) in these operands, at random u and v."""
    if not all(is_inexact(t.dtype) for t in case.outputs()):
        return False
    rng = np.random.default_rng(2)
    u, v = ({k: direction(rng, case.types[k]) for k in moved} for _ in range(2))

    def at(values: dict[int, Any]) -> list[Any]:
        return case.run([values.get(k, a) for k, a in enumerate(case.arrays)])

    left = at({k: 2 * u[k] - 3 * v[k] for k in moved})
    pairs = zip(left, at(u), at(v), strict=True)
    with np.errstate(all="ignore"):
        return all(
            np.allclose(both, 2 * fu - 3 * fv, rtol=1e-9, atol=1e-9) for both, fu, fv in pairs
        )


def check_transpose(prim: Any, raw: Any, moved: tuple[int, ...]) -> None:
    """<f(u), c> = <u, f'(c)> with <a, b> = Re(sum(a * b)), for each output and all together."""
    case = Case(prim, raw)
    rng = np.random.default_rng(3)
    outs = case.outputs()
    u = {k: direction(rng, case.types[k]) for k in moved}
    c = [direction(rng, t) for t in outs]
    fu = case.run([u.get(k, a) for k, a in enumerate(case.arrays)])
    for used in {tuple(range(len(outs))), *[(k,) for k in range(len(outs))]}:
        with building() as b:
            cts = tuple(b.input(t) if k in used else None for k, t in enumerate(outs))
            fixed = {k: b.input(t) for k, t in enumerate(case.types) if k not in moved}
            xs = tuple(fixed.get(k, Linear(t)) for k, t in enumerate(case.types))
            answer = prim.transpose(cts, xs, **case.params)
            assert len(answer) == len(case.types)
            assert all(answer[k] is None for k in fixed), (
                f"{prim}: a cotangent for an operand it is not linear in"
            )
            kept = [k for k in moved if answer[k] is not None]
            graph = b.graph([answer[k] for k in kept])
        for k in kept:
            assert answer[k].type == case.types[k], (
                f"{prim}: cotangent {answer[k].type} of {case.types[k]}"
            )
        back = interp.run(graph, [*[c[k] for k in used], *[case.arrays[k] for k in fixed]])
        left = sum(pairing(fu[k], c[k]) for k in used)
        right = sum(pairing(u[k], array) for k, array in zip(kept, back, strict=True))
        np.testing.assert_allclose(right, left, rtol=1e-9, atol=1e-9)


def pairing(a: Any, b: Any) -> float:
    return float(np.real(np.sum(a * b)))


def check_batch(prim: Any, raw: Any, mask: tuple[bool, ...]) -> None:
    """The batch rule computes what a loop over the batch stacks."""
    case = Case(prim, raw)
    others = [case.draw(seed) for seed in range(BATCH)]
    arrays = []
    for k, (array, batched) in enumerate(zip(case.arrays, mask, strict=True)):
        if not batched:
            arrays.append(array)
        elif case.given[k] is None:
            arrays.append(np.stack([draw[k] for draw in others]))
        else:
            # the given values in another order
            arrays.append(np.stack([np.roll(array, shift) for shift in range(BATCH)]))
    with building() as b:
        xs = tuple(b.input(TensorType(a.dtype, a.shape)) for a in arrays)
        out = prim.batch(BATCH, mask, xs, **case.params)
        out_mask = out.mask if isinstance(out, Partly) else None
        outs = listed(out.outs if isinstance(out, Partly) else out)
        graph = b.graph(outs)
    found = interp.run(graph, arrays)
    singles = [
        case.run([a[n] if m else a for a, m in zip(arrays, mask, strict=True)])
        for n in range(BATCH)
    ]
    for k, array in enumerate(found):
        one_each = [single[k] for single in singles]
        wanted = np.stack(one_each) if out_mask is None or out_mask[k] else one_each[0]
        assert_same(array, wanted)


def check_element(prim: Any, raw: Any) -> None:
    """The element rule computes what the numpy rule does."""
    case = Case(prim, raw)
    wanted = case.run(case.arrays)
    with np.errstate(all="ignore"):
        found = element_values(prim, case.outputs(), case.arrays, case.params)
    for a, b in zip(found, wanted, strict=True):
        assert_same(a, b)


def check_reduce(prim: Any, raw: Any) -> None:
    """Folding the scalar operation from its identity over the axes is the numpy rule."""
    case = Case(prim, raw)
    if len(case.arrays) != 1:
        return
    (x,), (wanted,) = case.arrays, case.run(case.arrays)
    axes = case.params["axes"]
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    rows = np.transpose(x, (*axes, *rest)).reshape(-1, *(x.shape[a] for a in rest))
    total = np.full(rows.shape[1:], prim.reduce.identity(x.dtype)).astype(x.dtype)
    for row in rows:
        total = PRIMS[prim.reduce.fn].numpy(total, row)
    assert_same(np.asarray(total), wanted)


def check_scalar(prim: Any, raw: Any) -> None:
    """The definition by other scalar operations computes what the numpy rule does."""
    case = Case(prim, raw)
    (wanted,) = case.run(case.arrays)
    assert_same(scalar_values(prim, case.arrays), wanted)


TOLERANCE = {"f16": 2e-3, "bf16": 2e-2, "f32": 2e-6, "f64": 1e-13, "c64": 4e-6, "c128": 1e-13}
RTOL = {DTYPES[name]: value for name, value in TOLERANCE.items()}


def assert_same(found: Any, wanted: Any) -> None:
    """Equal types and integers; floats up to rounding, with nan, inf and -0.0 where wanted."""
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    if not is_inexact(wanted.dtype):
        np.testing.assert_array_equal(found, wanted)
        return
    if wanted.dtype.kind != "c":
        zero = (wanted == 0) & (found == 0)
        np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(wanted[zero]))
    rtol = RTOL[wanted.dtype]
    common = C128 if wanted.dtype.kind == "c" else F64
    np.testing.assert_allclose(found.astype(common), wanted.astype(common), rtol=rtol, atol=rtol)
