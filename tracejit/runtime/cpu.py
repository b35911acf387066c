"""Machine code for a program: its kernels (each compiled once per process) and its ``main``.

main = compile_main(program, threads=2)      Main(call, ...)
"""

from __future__ import annotations

import ctypes
import glob
import hashlib
import importlib.util
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tracejit.codegen.llvm import print_module
from tracejit.codegen.llvm_ops import NATIVE
from tracejit.codegen.main import Env, make_env, print_main
from tracejit.ir.expr import Op, Var, const, walk
from tracejit.ir.graph import Node
from tracejit.ir.prim import Primitive
from tracejit.ir.types import short
from tracejit.kernel.math import EXPANSIONS, expand_math
from tracejit.kernel.math_half import widen_half
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.program import Program
from tracejit.kernel.text import show
from tracejit.runtime.native import Code, compile_llvm, host_target, load_extension, thread_pool

#: scalar operations that kernels may hold
KNOWN = NATIVE | frozenset(EXPANSIONS) | {"idiv", "irem", "check_index"}

_lock = threading.RLock()
_kernels: dict[Kernel, tuple[int, Code]] = {}


def can_fuse(node: Node) -> bool:
    """Whether LLVM kernels can compute a node: no complex numbers, and scalar operations all
    known.
    """
    types = (*(x.type for x in node.inputs), *(out.type for out in node.outputs))
    if any(t.dtype.kind == "c" for t in types):
        return False
    if node.prim.element is None and node.prim.lowers is not None:
        if not node.prim.lowers(*types[: len(node.inputs)], **node.params):
            return False
        return all(can_fuse(inner) for graph in node.subgraphs for inner in graph.nodes)
    if node.prim.element is None:
        return True
    return _element_known(
        node.prim, tuple(t for t in types[: len(node.inputs)]), _Params(node.params)
    )


class _Params:
    """Params as a key for a cache."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self.key = tuple((k, v if not isinstance(v, dict) else None) for k, v in params.items())

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
    return all(
        n.fn in KNOWN or n.fn == "probe" for e in exprs for n in walk(e) if isinstance(n, Op)
    )


def prepared(kernel: Kernel) -> Kernel:
    """The kernel in operations LLVM has, under a name of its own."""
    digest = hashlib.sha256(show(replace(kernel, comment="")).encode()).hexdigest()[:10]
    return replace(expand_math(widen_half(kernel), NATIVE), name=f"{kernel.name}_{digest}")


def compile_program(program: Program, threads: int) -> tuple[Code, dict[Kernel, int]]:
    """Compile ``main`` and the kernels not seen before, in one module; addresses of all kernels."""
    target = host_target()
    with _lock:
        new = {k: prepared(k) for k in program.kernels if k not in _kernels}
        text = print_main(program, target, threads)
        if new:
            text += without_header(print_module(list(new.values()), target))
        code = compile_llvm(text, ["main", *(k.name for k in new.values())])
        for kernel, made in new.items():
            _kernels[kernel] = (code.addresses[made.name], code)
        return code, {k: _kernels[k][0] for k in program.kernels}


def without_header(text: str) -> str:
    """A module's text without its target lines and declarations that ``main`` has too."""
    again = ("target ", "declare void @llvm.memcpy.p0.p0.i64")
    return "\n".join(line for line in text.splitlines() if not line.startswith(again)) + "\n"


@lru_cache(maxsize=1)
def blas() -> dict[str, int]:
    """Addresses of BLAS functions, from the pointers that SciPy publishes for Cython."""
    cython_blas = load_extension("scipy", "linalg/cython_blas")
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = cython_blas.__pyx_capi__
    return {f: int(get(table[f], name(table[f]))) for f in ("sgemm", "dgemm")}


@lru_cache(maxsize=1)
def blas_threads() -> tuple[int, int]:
    """The address of a function that sets how many threads SciPy's BLAS uses, and how many it uses
    now.

    Zeros for a BLAS that has no such function.
    """
    spec = importlib.util.find_spec("scipy")
    for place in () if spec is None else spec.submodule_search_locations or ():
        for file in sorted(
            glob.glob(f"{place}.libs/*openblas*") + glob.glob(f"{place}/.dylibs/*openblas*")
        ):
            library = ctypes.CDLL(file)
            for form in ("scipy_openblas_{}_num_threads", "openblas_{}_num_threads"):
                setter = getattr(library, form.format("set"), None)
                getter = getattr(library, form.format("get"), None)
                if setter is not None and getter is not None:
                    return ctypes.cast(setter, ctypes.c_void_p).value or 0, int(getter())
    return 0, 0


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
    return print_module(ready, target) + "\n" + print_main(program, target, threads)
