"""Machine code for a program: its kernels (each compiled once per process) and its ``main``.

main = compile_main(program, threads=2)      Main(call, ...)
"""

from __future__ import annotations

import ctypes
import threading
import time
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from tracejit.codegen.main import Env, make_env, print_main
from tracejit.ir.expr import Op, Var, const, walk
from tracejit.ir.graph import Node
from tracejit.ir.prim import Primitive
from tracejit.ir.types import short
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.program import Program
from tracejit.kernel.text import show
from tracejit.lazy import lazy
from tracejit.passes.place import Copy, Run
from tracejit.record import dataclass
from tracejit.runtime.blas import blas, blas_threads
from tracejit.runtime.cache import key_of
from tracejit.runtime.emit import BEST, QUICK
from tracejit.runtime.native import (
    Code,
    Job,
    compile_objects,
    host_target,
    load_object,
    text_job,
    thread_pool,
)

__all__ = ["Main", "blas", "blas_threads", "can_fuse", "compile_main", "compile_program", "sources"]

# the printers load when something is not in the disk cache
_llvm = lazy("tracejit.codegen.llvm")
_llvm_ops = lazy("tracejit.codegen.llvm_ops")
_math = lazy("tracejit.kernel.math")
_half = lazy("tracejit.kernel.math_half")

#: scalar operations that kernels may hold: those LLVM has and those that are written in these.
#: Listed, since the modules that spell them load only when something is compiled
KNOWN = frozenset(
    "abs acos acosh add and asin asinh atan atan2 atanh bitcast cbrt ceil check_index clamp clz "
    "convert copysign cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor fma ge gt idiv "
    "irem is_finite is_nan le lgamma log log10 log1p log2 logistic lt max min mul ne neg nextafter "
    "not or population_count pow probe reciprocal rem round rsqrt select shift_left "
    "shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh trunc "
    "xor".split()
)
#: about how much longer LLVM text is than a kernel's: for the order of compilation
KERNEL_WEIGHT = 10

_lock = threading.RLock()
_kernels: dict[Kernel, tuple[int, Code]] = {}


def can_fuse(node: Node) -> bool:
    """Whether LLVM kernels can compute a node: no complex numbers, and scalar operations all
    known.
    """
    types = (*(x.type for x in node.inputs), *(out.type for out in node.outputs))
    if any(t.dtype.kind == "c" for t in types):
        return False
    prim = node.prim
    if prim.lowers is not None and prim.lowers(*types[: len(node.inputs)], **node.params):
        return all(can_fuse(inner) for graph in node.subgraphs for inner in graph.nodes)
    if prim.element is None and prim.lowers is not None:
        return False
    if node.prim.element is None:
        return True
    return _element_known(
        node.prim, tuple(t for t in types[: len(node.inputs)]), _Params(node.params)
    )


class _Params:
    """Params as a key for a cache."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self.key = tuple(params.items())

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Params) and self.key == other.key


class _Probe:
    """Stands for an operand while an element rule is tried out."""

    def __init__(self, type: Any) -> None:
        self.type, self.dtype, self.shape = type, short(type.dtype), type.shape

    def __call__(self, index: Any, guard: Any = None) -> Any:
        return Op("probe", tuple(index), self.dtype)


@lru_cache(maxsize=8192)
def _element_known(prim: Primitive, types: tuple[Any, ...], params: _Params) -> bool:
    assert prim.element is not None
    out = prim.infer(*types, **params.params)
    shape = (out[0] if isinstance(out, tuple) else out).shape
    index = tuple(Var(f"i{k}", "i64") if n != 1 else const(0) for k, n in enumerate(shape))
    try:
        found = prim.element([_Probe(t) for t in types], index, **params.params)
    except NotImplementedError:
        return False
    exprs = found if isinstance(found, tuple) else (found,)
    return all(n.fn in KNOWN for e in exprs for n in walk(e) if isinstance(n, Op))


def prepared(kernel: Kernel, name: str = "") -> Kernel:
    """The kernel in operations LLVM has, under a name of its own."""
    ready = _math.expand_math(_half.widen_half(kernel), _llvm_ops.NATIVE)
    return replace(ready, name=name or _content(kernel)[0])  # type: ignore[no-any-return]


def _content(kernel: Kernel) -> tuple[str, str]:
    """A name for the kernel that no other has, and the text that says all about it."""
    text = show(replace(kernel, comment=""))
    return f"{kernel.name}_{key_of(text).hex()[:10]}", text


def kernel_job(kernel: Kernel) -> tuple[str, Job]:
    """The function's name and the module of a kernel, which is known by the kernel's text: where
    there is object code of it, it is not printed.
    """
    name, text = _content(kernel)
    make = partial(_kernel_text, kernel, name)
    return name, Job(key_of("kernel", text), make, KERNEL_WEIGHT * len(text))


def _kernel_text(kernel: Kernel, name: str) -> str:
    return _llvm.print_module([prepared(kernel, name)], host_target())  # type: ignore[no-any-return]


def _main_level(program: Program) -> int:
    """``main`` only fills tables and calls: where it does so once, it need not be quick."""
    once = all(isinstance(step, Run | Copy) for step in program.plan.steps)
    return QUICK if once else BEST


def compile_program(program: Program, threads: int) -> tuple[Code, dict[Kernel, int]]:
    """Compile ``main`` and the kernels not seen before, side by side; addresses of all kernels."""
    with _lock:
        start = time.perf_counter()
        new = [k for k in program.kernels if k not in _kernels]
        named = [kernel_job(k) for k in new]
        main = text_job(print_main(program, host_target(), threads), _main_level(program))
        *made, data = compile_objects([*(job for _, job in named), main], threads)
        for kernel, (name, _), code in zip(new, named, made, strict=True):
            loaded = load_object(code, [name])
            _kernels[kernel] = (loaded.addresses[name], loaded)
        code = replace(load_object(data, ["main"]), seconds=time.perf_counter() - start)
        return code, {k: _kernels[k][0] for k in program.kernels}


@dataclass(frozen=True)
class Main:
    """A program's ``main``: ``call(args, results, arena, env)``, all addresses."""

    call: Any
    env: Env
    code: Code
    pool: int
    addresses: dict[Kernel, int]


_MAIN = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 4)


def compile_main(program: Program, threads: int) -> Main:
    """Compile a program for this CPU."""
    code, addresses = compile_program(program, threads)
    pool = thread_pool().address if threads > 1 else 0
    return Main(_MAIN(code.addresses["main"]), make_env(program), code, pool, addresses)


def sources(program: Program, threads: int) -> str:
    """All LLVM text of a program."""
    ready = [prepared(k) for k in program.kernels]
    target = host_target()
    return _llvm.print_module(ready, target) + "\n" + print_main(program, target, threads)
