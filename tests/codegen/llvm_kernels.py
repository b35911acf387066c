"""Short spellings for kernels written by hand; native runs of them against the interpreter."""

from __future__ import annotations

import numpy as np

from tracejit.codegen.llvm import print_llvm
from tracejit.ir.expr import Const, Expr, Op, Var, const
from tracejit.ir.types import DTYPES
from tracejit.kernel import interp
from tracejit.kernel.nodes import (
    Kernel,
    Loop,
    Param,
    Stmt,
)
from tracejit.runtime import native

SIZES = [0, 1, 15, 16, 17, 63, 64, 65, 1000]
i, j, k = (Var(name, "i64") for name in "ijk")
n0, n1, n2 = (Var(name, "i64") for name in ("n0", "n1", "n2"))
CODES: dict[str, native.Code] = {}


def op(fn: str, *args: Expr, dtype: str = "") -> Op:
    result = (
        "bool"
        if fn in ("eq", "ne", "lt", "le", "gt", "ge", "is_nan", "is_finite")
        else args[0].dtype
    )
    return Op(fn, args, dtype or result)


def f32(value: float) -> Const:
    return Const(value, "f32")


def local(name: str, dtype: str = "f32") -> Var:
    return Var(name, dtype)


def vec(*body: Stmt, var: Var = j, stop: Expr = n1, width: int = 16, unroll: int = 4) -> Loop:
    return Loop("vec", var.name, const(0), stop, body, width, unroll)


def seq(*body: Stmt, var: Var = k, stop: Expr = n2, unroll: int = 1) -> Loop:
    return Loop("seq", var.name, const(0), stop, body, 1, unroll)


def par(*body: Stmt) -> Loop:
    return Loop("par", "i", const(0), n0, body)


def kernel(params: str, *body: Stmt, sizes: tuple[str, ...] = ("n0", "n1")) -> Kernel:
    """``params`` as in "in x: f32[n0,n1]; out y: f32[n0]"."""
    made = []
    for text in params.split(";"):
        role, name, type = text.replace(":", " ").split()
        dtype, dims = type.rstrip("]").split("[")
        shape = tuple(int(d) if d.isdigit() else d for d in dims.split(",") if d)
        made.append(Param(name, dtype, shape, role))
    return Kernel("k", sizes, tuple(made), tuple(body))


def compiled(source: Kernel, target: native.Target | None = None) -> int:
    text = print_llvm(source, target or native.host_target())
    if text not in CODES:
        CODES[text] = native.compile_llvm(text, [source.name])
    return CODES[text].addresses[source.name]


def run(
    source: Kernel,
    arrays: dict[str, np.ndarray],
    sizes: tuple[int, ...],
    threads: int = 1,
    target: native.Target | None = None,
) -> tuple[dict[str, np.ndarray], int]:
    """Run on copies; returns them and the flag."""
    copies = {name: array.copy() for name, array in arrays.items()}
    ordered = [copies[param.name] for param in source.params]
    flag = native.call_kernel(
        compiled(source, target), ordered, sizes, 0, sizes[0] if sizes else 0, threads
    )
    return copies, flag


def check(
    source: Kernel,
    arrays: dict[str, np.ndarray],
    sizes: tuple[int, ...],
    threads: int = 1,
    rtol: float = 2e-6,
) -> dict[str, np.ndarray]:
    """The kernel gives what the interpreter gives."""
    wanted = {name: array.copy() for name, array in arrays.items()}
    wanted_flag = interp.run(source, wanted, dict(zip(source.sizes, sizes, strict=True)))
    got, flag = run(source, arrays, sizes, threads)
    assert flag == wanted_flag
    for name, array in wanted.items():
        exact = array.dtype.kind in "biu"
        np.testing.assert_allclose(
            got[name].astype(array.dtype if exact else np.float64),
            array if exact else array.astype(np.float64),
            rtol=0 if exact else rtol,
            atol=0 if exact else rtol,
            err_msg=name,
        )
    return got


def data(*shape: int, seed: int = 0, dtype: str = "f32") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype])


def exp(x: Expr) -> Expr:
    """A quick one: range reduction by magic numbers and a polynomial."""
    x = op("max", op("min", x, f32(88.0)), f32(-87.0))
    magic = f32(12582912.0 + 127)
    shifted = op("fma", x, f32(1.442695041), magic)
    n = op("sub", shifted, magic)
    r = op("fma", n, f32(2.12194440e-4), op("fma", n, f32(-0.693359375), x))
    p: Expr = f32(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = op("fma", p, r, f32(c))
    y = op("add", op("fma", p, op("mul", r, r), r), f32(1.0))
    bits = op("shift_left", op("bitcast", shifted, dtype="i32"), Const(23, "i32"))
    return op("mul", y, op("bitcast", bits, dtype="f32"))
