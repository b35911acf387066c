"""Numerics on a GPU: every path of the libraries, and kernels of every family, against float64.

    python perf/gpu_check.py            a line each: PASS, FAIL or NONE (no library has it)
    python perf/gpu_check.py --only "gemm*" --json perf/results/gpu-numerics.json
    python perf/gpu_check.py --device emulate --quick       on a CPU that plays a GPU

An error is the norm of the difference divided by the norm of the result in float64, from operands
that the dtype holds exactly. float32 has a bound that products of tf32 (10 bits) would exceed.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tracejit.ir.types import DTYPES, TensorType  # noqa: E402
from tracejit.kernel.gpu.library import (  # noqa: E402
    EPILOGUES,
    AttentionSpec,
    ConvSpec,
    GemmSpec,
    Spec,
)
from tracejit.ops.dot import as_matmul  # noqa: E402

#: of sums of a few hundred products; tf32 would be off by 3e-4
TOLERANCE = {"f64": 1e-14, "f32": 3e-6, "tf32": 2e-3, "f16": 2e-3, "bf16": 1.2e-2}
#: a gradient of attention rounds its inner matrices to the dtype too
ATTENTION_TOLERANCE = {"f16": 4e-3, "bf16": 3e-2}
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """``check()``: {result: its error}, or None where no library has the path."""

    name: str
    tolerance: float
    check: Callable[[], dict[str, float] | None]


def error_of(found: np.ndarray, exact: np.ndarray) -> float:
    """The norm of the difference by that of ``exact``; infinite where a number is not finite."""
    found, exact = (np.asarray(x).astype(np.float64) for x in (found, exact))
    if found.shape != exact.shape or not np.isfinite(found).all():
        return float("inf")
    norm = float(np.linalg.norm(exact))
    return float(np.linalg.norm(found - exact)) / norm if norm else float(np.abs(found).sum())


# ---- running a spec ------------------------------------------------------------------------------


def run_spec(device: Any, spec: Spec, given: Arrays, shapes: dict[str, Any]) -> Arrays | None:
    """What a library's plan leaves in the operands of ``shapes`` (name -> shape and dtype), which
    hold NaNs before; None without a plan.
    """
    plan = device.library(spec)
    if plan is None:
        return None
    memories, results = [], {}
    for name in spec.operands:
        array = given.get(name)
        if array is None:
            shape, dtype = shapes[name]
            array = results[name] = np.empty(shape, dtype)
            memory = device.alloc(max(array.nbytes, 1))
            device.fill(memory.address, 0xFF, array.nbytes)
        else:
            array = np.ascontiguousarray(array)
            memory = device.alloc(max(array.nbytes, 1))
            device.to_device(memory.address, array)
        memories.append(memory)
    workspace = device.alloc(max(plan.workspace, 1))
    plan.run([memory.address for memory in memories], workspace.address)
    for name, memory in zip(spec.operands, memories, strict=True):
        if name in results:
            device.to_host(results[name], memory.address)
    device.synchronize()
    return results


def drawn(rng: np.random.Generator, shape: Sequence[int], dtype: str) -> np.ndarray:
    return rng.standard_normal(tuple(shape)).astype(DTYPES[dtype])


def exact(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64)


# ---- products ------------------------------------------------------------------------------------

LAST_FIRST = (((1,), (0,)), ((), ()))


def gemm_spec(
    lhs: Sequence[int],
    rhs: Sequence[int],
    dtype: str,
    *,
    compute: str | None = None,
    epilogue: str = "",
    out: str | None = None,
    numbers: Any = LAST_FIRST,
) -> GemmSpec:
    """The product of two arrays, by default ``lhs @ rhs`` in the precision of the dtype."""
    types = [TensorType(DTYPES[dtype], tuple(shape)) for shape in (lhs, rhs)]
    matmul = as_matmul(*types, numbers)
    compute = compute or ("f64" if dtype == "f64" else "f32")
    return GemmSpec(dtype, out or dtype, compute, matmul, epilogue)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_slope(x: np.ndarray) -> np.ndarray:
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)


#: (lhs, rhs, dimension numbers) by name: as they lie, transposed, batched, odd sizes, vectors
FORMS: dict[str, tuple[Any, Any, Any]] = {
    "nn": ((96, 160), (160, 128), LAST_FIRST),
    "nt": ((96, 160), (128, 160), (((1,), (1,)), ((), ()))),
    "tn": ((160, 96), (160, 128), (((0,), (0,)), ((), ()))),
    "tt": ((160, 96), (128, 160), (((0,), (1,)), ((), ()))),
    "odd": ((67, 131), (131, 35), LAST_FIRST),
    "batch": ((5, 48, 64), (5, 64, 40), (((2,), (1,)), ((0,), (0,)))),
    "heads": ((2, 32, 3, 16), (2, 24, 3, 16), (((3,), (3,)), ((0, 2), (0, 2)))),
    "folded": ((4, 24, 64), (64, 128), (((2,), (0,)), ((), ()))),
    "row": ((1, 300), (300, 128), LAST_FIRST),
    "column": ((300, 128), (128, 1), LAST_FIRST),
    "deep": ((32, 20_000), (20_000, 48), LAST_FIRST),
}


def product(x: np.ndarray, y: np.ndarray, numbers: Any) -> np.ndarray:
    """``dot_general`` in float64."""
    (x_sum, y_sum), (x_batch, y_batch) = numbers
    letters = "abcdefgh"
    left = list(letters[: x.ndim])
    right = list("ijklmnop"[: y.ndim])
    for a, b in itertools.chain(zip(x_sum, y_sum, strict=True), zip(x_batch, y_batch, strict=True)):
        right[b] = left[a]
    batch = [left[a] for a in x_batch]
    free = [c for k, c in enumerate(left) if k not in (*x_sum, *x_batch)]
    free += [c for k, c in enumerate(right) if k not in (*y_sum, *y_batch)]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(batch + free)}"
    return np.einsum(equation, exact(x), exact(y), optimize=True)


def check_gemm(
    device: Any, form: str, dtype: str, compute: str, epilogue: str, out: str
) -> dict[str, float] | None:
    """Errors of a product and of what its epilogue leaves."""
    rng = np.random.default_rng(1)
    lhs, rhs, numbers = FORMS[form]
    spec = gemm_spec(lhs, rhs, dtype, compute=compute, epilogue=epilogue, out=out, numbers=numbers)
    x, y = drawn(rng, lhs, dtype), drawn(rng, rhs, dtype)
    expected = product(x, y, numbers)
    m, n = spec.matmul.m, spec.matmul.n
    given: Arrays = {"lhs": x, "rhs": y}
    shapes: dict[str, Any] = {"out": (expected.shape, DTYPES[out]), "dbias": ((n,), DTYPES[out])}
    wanted: Arrays = {}
    name = "relu" if "relu" in epilogue else "gelu"
    if "bias" in epilogue.split("_"):
        given["bias"] = 3 * drawn(rng, (n,), out)
        expected = expected + exact(given["bias"])
    if epilogue.startswith("d"):
        before = drawn(rng, (m, n), out)
        given["aux"] = before if name == "gelu" else relu_mask(device, before, dtype, out)
        if given["aux"] is None:
            return None
        slope = gelu_slope(exact(before)) if name == "gelu" else exact(before) > 0
        expected = expected * slope.reshape(expected.shape)
        wanted["dbias"] = expected.reshape(m, n).sum(0)
    elif epilogue.endswith("aux") and name == "gelu":
        wanted["aux"] = expected
        shapes["aux"] = (expected.shape, DTYPES[out])
    elif epilogue.endswith("aux"):
        shapes["aux"] = ((m, n // 8), np.dtype(np.uint8))
    if "relu" in epilogue and not epilogue.startswith("d"):
        expected = np.maximum(expected, 0)
    elif "gelu" in epilogue and not epilogue.startswith("d"):
        expected = gelu(expected)
    wanted["out"] = expected
    found = run_spec(device, spec, given, shapes)
    if found is None:
        return None
    return {key: error_of(found[key], wanted[key]) for key in found if key in wanted}


def relu_mask(device: Any, before: np.ndarray, dtype: str, out: str) -> Any:
    """The library's own bits for ``before > 0``, from a product with the identity."""
    m, n = before.shape
    spec = gemm_spec((m, m), (m, n), dtype, epilogue="relu_aux", out=out)
    given = {"lhs": np.eye(m).astype(DTYPES[dtype]), "rhs": before.astype(DTYPES[dtype])}
    bits = ((m, n // 8), np.dtype(np.uint8))
    found = run_spec(device, spec, given, {"out": ((m, n), DTYPES[out]), "aux": bits})
    return None if found is None else found["aux"]


def gemm_cases(device: Any) -> Iterator[Case]:
    kinds = [("f32", "f32"), ("f32", "tf32"), ("f64", "f64"), ("f16", "f32"), ("bf16", "f32")]
    for (dtype, compute), form in itertools.product(kinds, FORMS):
        yield gemm_case(device, form, dtype, compute, "", dtype)
    for dtype, form in itertools.product(("f16", "bf16"), ("nn", "batch")):
        yield gemm_case(device, form, dtype, "f32", "", "f32")
    for (dtype, compute), epilogue in itertools.product(kinds, EPILOGUES):
        if epilogue:
            yield gemm_case(device, "nn", dtype, compute, epilogue, dtype)
    for form in ("nt", "tn", "folded"):
        yield gemm_case(device, form, "bf16", "f32", "bias_gelu_aux", "bf16")


def gemm_case(device: Any, form: str, dtype: str, compute: str, epilogue: str, out: str) -> Case:
    kind = dtype if compute in ("f32", "f64") else compute
    name = f"gemm {form} {kind}{f'->{out}' if out != dtype else ''} {epilogue}".strip()
    loose = 30 if kind == "f64" and epilogue else 10 if form == "deep" else 1
    tolerance = TOLERANCE[kind] * loose
    return Case(name, tolerance, lambda: check_gemm(device, form, dtype, compute, epilogue, out))


# ---- convolutions --------------------------------------------------------------------------------


DIRECTIONS = ("forward", "data", "weights")


def orders(layout: str, axes: int) -> tuple[Any, Any]:
    """How the axes of images, and of filters, lie in memory for "NCHW" or "NHWC"."""
    spatial = tuple(range(2, 2 + axes))
    order = (0, 1, *spatial) if layout == "NCHW" else (0, *spatial, 1)
    return order, order


def conv_spec(
    direction: str,
    dtype: str,
    x: Sequence[int],
    w: Sequence[int],
    layout: str,
    *,
    padding: int = 0,
    strides: int = 1,
    dilation: int = 1,
    groups: int = 1,
    epilogue: str = "",
    compute: str | None = None,
) -> ConvSpec:
    """A convolution with the same padding, stride and dilation along each spatial axis."""
    axes = len(x) - 2
    sizes = tuple(
        (n + 2 * padding - dilation * (k - 1) - 1) // strides + 1
        for n, k in zip(x[2:], w[2:], strict=True)
    )
    order, filters = orders(layout, axes)
    return ConvSpec(
        direction,
        dtype,
        compute or ("f64" if dtype == "f64" else "f32"),
        tuple(x),
        tuple(w),
        (x[0], w[0], *sizes),
        *(order, filters, order),
        (strides,) * axes,
        ((padding, padding),) * axes,
        (dilation,) * axes,
        groups,
        epilogue,
    )


def taps(spec: ConvSpec) -> Iterator[tuple[Any, Any]]:
    """For each place of the kernel: its index, and which elements of the padded x meet it."""
    for place in np.ndindex(*spec.w[2:]):
        yield (
            place,
            tuple(
                slice(k * d, k * d + (n - 1) * s + 1, s)
                for k, d, n, s in zip(place, spec.dilation, spec.y[2:], spec.strides, strict=True)
            ),
        )


def convolved(spec: ConvSpec, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The result of the spec's direction in float64, from logical operands, one place of the
    kernel at a time.
    """
    pads = ((0, 0), (0, 0), *spec.padding)
    wide = np.pad(exact(x), pads)
    out = {"forward": np.zeros(spec.y), "weights": np.zeros(spec.w)}
    back = np.zeros_like(wide)
    per, made = spec.x[1] // spec.groups, spec.w[0] // spec.groups
    for place, where in taps(spec):
        for g in range(spec.groups):
            cs, ks = slice(g * per, (g + 1) * per), slice(g * made, (g + 1) * made)
            at = (slice(None), cs, *where)
            tap = (ks, slice(None), *place)
            if spec.direction == "forward":
                found = np.tensordot(wide[at], exact(w)[tap], (1, 1))
                out["forward"][:, ks] += np.moveaxis(found, -1, 1)
            elif spec.direction == "data":
                found = np.tensordot(exact(y)[:, ks], exact(w)[tap], (1, 0))
                back[at] += np.moveaxis(found, -1, 1)
            else:
                over = (0, *range(2, y.ndim))
                out["weights"][tap] += np.tensordot(exact(y)[:, ks], wide[at], (over, over))
    if spec.direction == "data":
        inner = tuple(slice(low, low + n) for (low, _), n in zip(pads, spec.x, strict=True))
        return np.asarray(back[inner])
    return out[spec.direction]


def check_conv(device: Any, spec: ConvSpec) -> dict[str, float] | None:
    rng = np.random.default_rng(2)
    logical = {
        "x": drawn(rng, spec.x, spec.dtype),
        "w": drawn(rng, spec.w, spec.dtype),
        "y": drawn(rng, spec.y, spec.dtype),
    }
    axes = {"x": spec.x_axes, "w": spec.w_axes, "y": spec.y_axes}
    result = {"forward": "y", "data": "x", "weights": "w"}[spec.direction]
    expected = convolved(spec, logical["x"], logical["w"], logical["y"])
    given = {
        name: np.ascontiguousarray(array.transpose(axes[name]))
        for name, array in logical.items()
        if name != result
    }
    if "bias" in spec.epilogue:
        given["bias"] = 3 * drawn(rng, (spec.w[0],), spec.dtype)
        expected = expected + exact(given["bias"]).reshape(1, -1, *[1] * (expected.ndim - 2))
    if "relu" in spec.epilogue:
        expected = np.maximum(expected, 0)
    expected = expected.transpose(axes[result])
    shapes = {result: (expected.shape, DTYPES[spec.dtype])}
    found = run_spec(device, spec, given, shapes)
    return None if found is None else {result: error_of(found[result], expected)}


#: (x, w, options) by name
CONVOLUTIONS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "3x3": ((4, 32, 14, 14), (64, 32, 3, 3), {"padding": 1}),
    "1x1": ((4, 64, 14, 14), (32, 64, 1, 1), {}),
    "strided": ((4, 16, 17, 17), (24, 16, 3, 3), {"padding": 1, "strides": 2}),
    "dilated": ((2, 16, 16, 16), (16, 16, 3, 3), {"padding": 2, "dilation": 2}),
    "7x7": ((2, 3, 32, 32), (16, 3, 7, 7), {"padding": 3, "strides": 2}),
    "groups": ((2, 32, 10, 10), (32, 8, 3, 3), {"padding": 1, "groups": 4}),
    "depthwise": ((2, 32, 10, 10), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    "odd": ((3, 5, 9, 11), (7, 5, 3, 2), {}),
    "1d": ((4, 16, 50), (24, 16, 5), {"padding": 2}),
    "3d": ((2, 8, 6, 7, 8), (8, 8, 3, 3, 3), {"padding": 1}),
}


def conv_cases(device: Any) -> Iterator[Case]:
    def case(form: str, direction: str, layout: str, dtype: str, compute: str, ep: str) -> Case:
        x, w, more = CONVOLUTIONS[form]
        spec = conv_spec(direction, dtype, x, w, layout, compute=compute, epilogue=ep, **more)
        kind = dtype if compute in ("f32", "f64") else compute
        name = f"conv {form} {direction} {layout} {kind} {ep}".strip()
        tolerance = TOLERANCE[kind] * (2 if dtype in ("f32", "f64") else 1)
        return Case(name, tolerance, lambda: check_conv(device, spec))

    layouts = ("NCHW", "NHWC")
    kinds = [("f32", "f32"), ("f32", "tf32"), ("f16", "f32"), ("bf16", "f32"), ("f64", "f64")]
    for direction, layout, (dtype, compute) in itertools.product(DIRECTIONS, layouts, kinds):
        yield case("3x3", direction, layout, dtype, compute, "")
    for form, direction, dtype in itertools.product(CONVOLUTIONS, DIRECTIONS, ("f32", "f16")):
        if form != "3x3":
            yield case(form, direction, "NHWC", dtype, "f32", "")
    for ep, layout, dtype in itertools.product(("bias", "relu", "bias_relu"), layouts, kinds[:4]):
        yield case("3x3", "forward", layout, *dtype, ep)


# ---- attention -----------------------------------------------------------------------------------


def check_attention(device: Any, spec: AttentionSpec) -> dict[str, float] | None:
    """Errors of the result and the sums, or of the three gradients."""
    rng = np.random.default_rng(3)
    b, h, s, t, d = spec.batch, spec.heads, spec.queries, spec.keys, spec.width
    number, axes = DTYPES[spec.dtype], spec.axes
    q = drawn(rng, (b, h, s, d), spec.dtype)
    k, v = (drawn(rng, (b, h, t, d), spec.dtype) for _ in range(2))
    dout = drawn(rng, (b, h, s, d), spec.dtype)
    scores = exact(q) @ exact(k).swapaxes(2, 3) * spec.scale
    given: Arrays = {"q": q, "k": k, "v": v}
    if spec.mask == "bias":
        given["bias"] = drawn(rng, spec.bias, spec.dtype)
        scores = scores + exact(given["bias"])
    if spec.mask == "causal":
        scores = np.where(np.tril(np.ones((s, t), bool)), scores, -np.inf)
    most = scores.max(-1, keepdims=True)
    stats = most + np.log(np.exp(scores - most).sum(-1, keepdims=True))
    p = np.exp(scores - stats)
    out = p @ exact(v)
    wanted = {"out": out, "stats": stats}
    if spec.direction == "backward":
        dp = exact(dout) @ exact(v).swapaxes(2, 3)
        ds = p * (dp - (exact(dout) * out).sum(-1, keepdims=True)) * spec.scale
        given |= {"out": out.astype(number), "stats": stats.astype(np.float32), "dout": dout}
        wanted = {
            "dq": ds @ exact(k),
            "dk": ds.swapaxes(2, 3) @ exact(q),
            "dv": p.swapaxes(2, 3) @ exact(dout),
        }

    def laid(name: str, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x if name in ("stats", "bias") else x.transpose(axes))

    wanted = {name: laid(name, x) for name, x in wanted.items()}
    dtypes = {name: np.dtype(np.float32) if name == "stats" else number for name in wanted}
    found = run_spec(
        device,
        spec,
        {name: laid(name, x) for name, x in given.items()},
        {name: (x.shape, dtypes[name]) for name, x in wanted.items()},
    )
    return found and {name: error_of(found[name], wanted[name]) for name in wanted}


def attention_cases(device: Any) -> Iterator[Case]:
    def case(
        dtype: str, direction: str, mask: str, sizes: Any, axes: Any = (0, 1, 2, 3), **more: Any
    ) -> Case:
        b, h, s, t, d = sizes
        spec = AttentionSpec(
            direction, dtype, b, h, s, t, d, d**-0.5, axes, mask, more.get("bias", ())
        )
        shape = "x".join(map(str, sizes))
        layout = "BHSD" if axes[1] == 1 else "BSHD"
        name = f"attention {direction} {mask or 'full'} {dtype} {layout} {shape}"
        return Case(name, ATTENTION_TOLERANCE[dtype], lambda: check_attention(device, spec))

    both, swapped = ("forward", "backward"), (0, 2, 1, 3)
    square = (2, 3, 128, 128, 64)
    for dtype, direction in itertools.product(("f16", "bf16"), both):
        for mask in ("", "causal"):
            yield case(dtype, direction, mask, square)
            yield case(dtype, direction, mask, square, swapped)
            yield case(dtype, direction, mask, (1, 2, 256, 256, 128))
            yield case(dtype, direction, mask, (2, 2, 100, 100, 32))
        yield case(dtype, direction, "bias", square, bias=(1, 3, 128, 128))
        yield case(dtype, direction, "", (2, 2, 64, 192, 64))


# ---- all of them ---------------------------------------------------------------------------------


def run_case(case: Case) -> dict[str, Any]:
    """A case's verdict: PASS, FAIL, NONE, with its errors and how long it took."""
    start = time.perf_counter()
    found: dict[str, Any] = {"name": case.name, "tolerance": case.tolerance}
    try:
        errors = case.check()
    except Exception as error:  # the others still run
        text = (str(error).strip().splitlines() or [""])[0]
        found |= {"status": "FAIL", "why": f"{type(error).__name__}: {text}"[:500]}
    else:
        bad = errors is not None and any(not e <= case.tolerance for e in errors.values())
        status = "NONE" if errors is None else "FAIL" if bad else "PASS"
        found |= {"status": status, "errors": errors or {}}
    found["seconds"] = time.perf_counter() - start
    return found


def verdict(found: dict[str, Any]) -> str:
    """A line of the report."""
    errors = ", ".join(f"{name} {e:.1e}" for name, e in found.get("errors", {}).items())
    detail = found.get("why", errors)
    bound = f"  (bound {found['tolerance']:.0e})" if found["status"] == "FAIL" else ""
    return f"{found['status']}  {found['name']:<52} {detail}{bound}"


def cases(device: Any, quick: bool) -> list[Case]:
    """All cases; one of each kind where ``quick``."""
    import gpu_programs

    libraries = [*gemm_cases(device), *conv_cases(device), *attention_cases(device)]
    programs = list(gpu_programs.cases())
    if quick:
        libraries, programs = libraries[::23], programs[::9]
    pairs = itertools.zip_longest(libraries, programs)  # both, should time run out
    return [case for pair in pairs for case in pair if case is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="*", help="patterns of names, separated by commas")
    parser.add_argument("--device", choices=("cuda", "emulate"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a few cases of each kind")
    parser.add_argument("--seconds", type=float, default=240, help="stop after so long")
    parser.add_argument("--cpus", default="", help="numbers of CPUs, separated by commas")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(number) for number in chosen.cpus.split(",")])
    with ExitStack() as stack:
        if chosen.device == "emulate":
            from tracejit import debug

            stack.enter_context(debug.cuda_on_cpu((0,), checks=False))
        from gpu_frameworks import own_device

        device = own_device()
        return run_all(cases(device, chosen.quick), chosen)


def run_all(found: Sequence[Case], chosen: argparse.Namespace) -> int:
    """Run the chosen cases in the time there is, and keep what was found as it comes."""
    patterns, end = chosen.only.split(","), time.perf_counter() + chosen.seconds
    results: list[dict[str, Any]] = []
    picked = [c for c in found if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    for case in picked:
        if time.perf_counter() > end:
            break
        results.append(run_case(case))
        print(verdict(results[-1]), flush=True)
        if chosen.json is not None and (len(results) % 10 == 0 or case is picked[-1]):
            keep(chosen.json, results, len(picked))
    if chosen.json is not None:
        keep(chosen.json, results, len(picked))
    counts = {s: sum(r["status"] == s for r in results) for s in ("PASS", "FAIL", "NONE")}
    skipped = len(picked) - len(results)
    print(", ".join(f"{v} {k}" for k, v in counts.items()) + f", {skipped} not reached")
    return 1 if counts["FAIL"] else 0


def keep(path: Path, results: list[dict[str, Any]], total: int) -> None:
    """Write the verdicts so far; a run that is cut short leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"cases": total, "results": results}, indent=1) + "\n")
    os.replace(part, path)


if __name__ == "__main__":
    sys.exit(main())
