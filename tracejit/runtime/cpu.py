"""Machine code for a program: its kernels (each compiled once per process) and its ``main``.

main = compile_main(program, threads=2)      Main(call, ...)
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

from tracejit.codegen.main import Env, make_env, print_main
from tracejit.ir.graph import Node
from tracejit.kernel.fft import has_kernels
from tracejit.kernel.nodes import Kernel
from tracejit.kernel.probe import computable
from tracejit.kernel.program import Program
from tracejit.kernel.text import show
from tracejit.lazy import lazy
from tracejit.passes.place import Copy, Run
from tracejit.record import dataclass
from tracejit.runtime.blas import blas, blas_threads
from tracejit.runtime.cache import key_of, object_cache
from tracejit.runtime.emit import BEST, QUICK
from tracejit.runtime.native import (
    Code,
    Job,
    find_objects,
    host_target,
    keep_object,
    load_object,
    make_objects,
    text_job,
    thread_pool,
)
from tracejit.runtime.tiers import Background, Loaded, call_costs, saving, tiers_on, upgrades

__all__ = ["Main", "blas", "blas_threads", "can_fuse", "compile_main", "compile_program", "sources"]

# the printers load when something is not in the disk cache
_llvm = lazy("tracejit.codegen.llvm")
_llvm_ops = lazy("tracejit.codegen.llvm_ops")
_quick = lazy("tracejit.codegen.quick")
_math = lazy("tracejit.kernel.math")
_half = lazy("tracejit.kernel.math_half")
_complex = lazy("tracejit.kernel.complex")

#: scalar operations that kernels may hold: those LLVM has and those that are written in these.
#: Listed, since the modules that spell them load only when something is compiled
KNOWN = frozenset(
    "abs acos acosh add and asin asinh atan atan2 atanh bessel_i0e bessel_i1e betainc "
    "betainc_grad_a betainc_grad_b betaincc bitcast cbrt ceil check_index clamp clz convert "
    "copysign cos cosh digamma div eq erf erf_inv erfc erfcx exp exp2 expm1 floor fma gamma ge gt "
    "idiv igamma igamma_grad_a igammac irem is_finite is_nan le lgamma log log10 log1p log2 "
    "logistic lt max min mul ndtri ne neg nextafter not or population_count pow probe reciprocal "
    "rem round rsqrt select shift_left shift_right_arithmetic shift_right_logical sign sin sinh "
    "sqrt square student_cdf sub tan tanh trunc xor".split()
)
#: the same where complex numbers go in or come out: those that have a form in real ones
KNOWN_COMPLEX = frozenset(
    "abs add complex conj convert div eq exp imag mul ne neg real reciprocal select square "
    "sub".split()
)
#: about how much longer LLVM text is than a kernel's: for the order of compilation
KERNEL_WEIGHT = 10
#: seconds that a kernel is waited for which another thread compiles: about what that takes
PATIENCE = 10e-3
#: so much is worth a module of its own
BUNDLE_WEIGHT = 4_000

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child must not find it taken by a thread that is not there
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
_kernels: dict[Kernel, Loaded] = {}
#: kernels that another thread compiles just now
_coming: dict[Kernel, threading.Event] = {}


def can_fuse(node: Node) -> bool:
    """Whether LLVM kernels can compute a node, its scalar operations all being known, or LAPACK."""
    if node.prim.library == "lapack":
        return True
    if node.prim.library == "lanes":
        return has_kernels(node, host_target().vector_bytes)
    return computable(node, KNOWN, KNOWN_COMPLEX)


def prepared(kernel: Kernel, name: str = "") -> Kernel:
    """The kernel in operations LLVM has, under a name of its own."""
    parts = _complex.split_complex(kernel)
    ready = _math.expand_math(_half.widen_half(parts), _llvm_ops.NATIVE)
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


def compile_program(
    program: Program, threads: int, tiers: bool = False
) -> tuple[Code, dict[Kernel, int]]:
    """Compile ``main`` and the kernels not seen before, side by side; addresses of all kernels.

    ``tiers``: some of them may be quick code for now. Else all is the best.
    """
    with _lock:
        start = time.perf_counter()
        work = _Compilation(program, threads, tiers)
        code = replace(work.run(), seconds=time.perf_counter() - start)
        return code, {k: _kernels[k].address for k in program.kernels}


class _Compilation:
    """What one program needs that is not there yet."""

    def __init__(self, program: Program, threads: int, tiers: bool) -> None:
        self.threads = threads
        known = _kernels.get
        self.new = [
            k for k in program.kernels if (found := known(k)) is None or not (tiers or found.best)
        ]
        named = [kernel_job(k) for k in self.new]
        self.names = [name for name, _ in named]
        main = text_job(print_main(program, host_target(), threads), _main_level(program))
        #: ``main`` is the last
        self.jobs = [*(job for _, job in named), main]
        self.found = find_objects(self.jobs)
        self.costs = call_costs(program, threads) if tiers and self.new else None

    def run(self) -> Code:
        """Compile and load; the code of ``main``."""
        main = len(self.new)
        missing = [k for k, data in enumerate(self.found) if data is None]
        beside = max(1, min(self.threads, len(missing)))
        quick = [k for k in missing if k < main and self._quick(k, beside)]
        best = [k for k in missing if k not in quick and not self._came(k)]
        bundles: list[list[int]] = []
        if quick:
            bundles = self._bundles(quick)
            if main in best:  # it costs little beside others, and much in a module of its own
                best.remove(main)
                bundles[-1].append(main)
        best.sort(key=lambda k: -self.jobs[k].weight)  # long ones first: then threads end together
        ready: dict[int, Kernel] = {}
        jobs = [*(self.jobs[k] for k in best), *(self._bundle(b, ready) for b in bundles)]
        made = make_objects(jobs, self.threads)
        for k, data in zip(best, made, strict=False):
            keep_object(self.jobs[k], data)
            self.found[k] = data
        code = None
        for bundle, data in zip(bundles, made[len(best) :], strict=True):
            loaded = load_object(data, [self._name(k) for k in bundle])
            for k in bundle:
                if k == main:
                    code = loaded
                    if object_cache() is not None:
                        upgrades.add(partial(_keep_main, self.jobs[k]))
                else:
                    self._entry(k).point(loaded, best=False)
                    upgrades.add(partial(_upgrade, _kernels[self.new[k]], self.jobs[k], ready[k]))
        for k, whole in enumerate(self.found):
            if whole is not None:
                loaded = load_object(whole, [self._name(k)])
                if k == main:
                    code = loaded
                else:
                    self._entry(k).point(loaded, best=True)
        assert code is not None
        return code

    def _name(self, number: int) -> str:
        return self.names[number] if number < len(self.names) else "main"

    def _entry(self, number: int) -> Loaded:
        return _kernels.setdefault(self.new[number], Loaded(self.names[number]))

    def _quick(self, number: int, beside: int) -> bool:
        """Whether quick code of a kernel is ready so much sooner that its first run may be slow.
        ``beside``: how many are compiled at a time.
        """
        if self.costs is None:
            return False
        kernel = self.new[number]
        characters = self.jobs[number].weight // KERNEL_WEIGHT
        return self.costs[kernel] < saving(kernel, characters) / beside

    def _came(self, number: int) -> bool:
        """Whether another thread has made the best code meanwhile. Where it is about to this waits,
        not for long: on a busy machine a thread of low priority may be at it for seconds.
        """
        kernel = self.new[number] if number < len(self.new) else None
        if kernel is None:
            return False
        coming = _coming.get(kernel)
        if coming is not None:
            coming.wait(PATIENCE)
        loaded = _kernels.get(kernel)
        return loaded is not None and loaded.best

    def _bundles(self, numbers: list[int]) -> list[list[int]]:
        """Modules of several kernels each: one costs half a millisecond, however little is in it.
        The least is the last.
        """
        total = sum(self.jobs[k].weight for k in numbers)
        count = max(1, min(len(numbers), total // BUNDLE_WEIGHT))
        count = min(count, max(self.threads, total // (4 * BUNDLE_WEIGHT)))
        bundles: list[list[int]] = [[] for _ in range(count)]
        weights = [0] * count
        for k in sorted(numbers, key=lambda k: -self.jobs[k].weight):
            least = weights.index(min(weights))
            bundles[least].append(k)
            weights[least] += self.jobs[k].weight
        order = sorted(range(count), key=lambda n: -weights[n])
        return [bundles[n] for n in order]

    def _bundle(self, numbers: list[int], ready: dict[int, Kernel]) -> Job:
        """A module of the quick code of kernels, and of ``main`` where that is among them."""

        def text() -> str:
            target = host_target()
            kernels = []
            for k in numbers:
                if k < len(self.new):
                    ready[k] = prepared(self.new[k], self.names[k])
                    kernels.append(_quick.quick(ready[k], target.cheap_masks))
            printed = _llvm.print_module(kernels, target)
            if len(self.new) not in numbers:
                return printed  # type: ignore[no-any-return]
            lines = self.jobs[-1].text().splitlines()
            return "\n".join([printed, *(x for x in lines if not x.startswith("target "))])

        return Job(b"", text, sum(self.jobs[k].weight for k in numbers), QUICK)


def compile_ahead(kernel: Kernel, background: Background) -> None:
    """The best code of a kernel that programs are likely to call."""
    if kernel in _kernels:
        return
    done = _coming.setdefault(kernel, threading.Event())
    try:
        name, job = kernel_job(kernel)
        [data] = find_objects([job])
        loaded = Loaded(name)
        if data is not None:
            loaded.point(load_object(data, [name]), best=True)
        else:
            background.rest()
            _upgrade(loaded, job, prepared(kernel, name), background)
        known = _kernels.setdefault(kernel, loaded)
        known.point(loaded.codes[-1], best=True)  # a program may have compiled quick code meanwhile
    finally:
        del _coming[kernel]
        done.set()


def _upgrade(loaded: Loaded, job: Job, ready: Kernel, background: Background) -> None:
    """Put the best code of a kernel in the place of the quick."""
    if loaded.best:
        return
    text = _llvm.print_module([ready], host_target(), background.rest)
    [data] = background.low(lambda: make_objects([replace(job, text=lambda: text)], 1))
    loaded.point(load_object(data, [loaded.name]), best=True)
    keep_object(job, data)


def _keep_main(job: Job, background: Background) -> None:
    """Compile a ``main`` by itself, for other processes."""
    [data] = background.low(lambda: make_objects([job], 1))
    keep_object(job, data)


@dataclass(frozen=True)
class Main:
    """A program's ``main``: ``call(args, results, arena, env)``, all addresses. ``cells``: where
    the addresses of kernels are.
    """

    call: Any
    env: Env
    code: Code
    pool: int
    cells: dict[Kernel, int]


_MAIN = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 4)


def compile_main(program: Program, threads: int) -> Main:
    """Compile a program for this CPU."""
    code, _ = compile_program(program, threads, tiers_on())
    pool = thread_pool().address if threads > 1 else 0
    cells = {k: _kernels[k].place for k in program.kernels}
    return Main(_MAIN(code.addresses["main"]), make_env(program), code, pool, cells)


def sources(program: Program, threads: int) -> str:
    """All LLVM text of a program."""
    ready = [prepared(k) for k in program.kernels]
    target = host_target()
    return _llvm.print_module(ready, target) + "\n" + print_main(program, target, threads)
