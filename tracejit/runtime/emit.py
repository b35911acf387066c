"""LLVM as we use it: text to object code, in several threads at once, and a linker.

    emitter = Emitter()                       the host's CPU
    emitter.emit_all([(lambda: text, BEST)], threads=2)
    tracker, addresses = emitter.link(object_bytes, ["main"], "library")

llvmlite calls LLVM under one lock. LLVM itself needs none when each thread has a context and a
target machine of its own, so text is compiled through the same functions without that lock.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracejit.codegen.target import Target
from tracejit.errors import BackendError

#: major versions of LLVM whose options are known: one that it does not have ends the process
_KNOWN_LLVM = range(14, 23)

#: levels of optimisation. QUICK takes a fifth of the time, for code that only calls other code
QUICK, BEST = 0, 2

Text = Callable[[], str]


class Emitter:
    """LLVM for this process's CPU, loaded when this is made."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm
        from llvmlite.binding import ffi

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.llvm, self.ffi = llvm, ffi
        self.version = ".".join(map(str, llvm.llvm_version_info))
        self.cpu = llvm.get_host_cpu_name()
        self.features = llvm.get_host_cpu_features().flatten()
        self.lock = threading.RLock()
        self.busy = 0
        self.linker: Any = None
        first = self._machine()
        #: machines that are free, by how much they optimise
        self.machines: dict[int, list[Any]] = {BEST: [first], QUICK: []}
        self.target = Target(
            self.cpu,
            self.features,
            vector_bytes(self.features),
            first.triple,
            str(first.target_data),
        )

    def _machine(self, level: int = BEST, jit: bool = False) -> Any:
        # the small code model: constants are addressed relative to the code
        return self.llvm.Target.from_default_triple().create_target_machine(
            cpu=self.cpu,
            features=self.features,
            opt=level,
            reloc="pic",
            codemodel="small",
            jit=jit,
        )

    # ---- compiling ----

    def emit_all(self, texts: Iterable[tuple[Text, int]], threads: int) -> list[bytes]:
        """Object code of each text, at the level beside it. Texts are asked for by the caller's
        thread, in order, while other threads compile those that are there.

        Raises BackendError when LLVM rejects one.
        """
        with self._options():
            if threads <= 1:
                return [self._emit(text(), level) for text, level in texts]
            work = _Work(self._emit)
            helpers = [threading.Thread(target=work.run) for _ in range(threads - 1)]
            for helper in helpers:
                helper.start()
            try:
                for text, level in texts:
                    work.add(text(), level)
            finally:
                work.close()
                work.run()
                for helper in helpers:
                    helper.join()
            return work.results()

    @contextmanager
    def _options(self) -> Iterator[None]:
        """Without loop strength reduction while we compile: it takes a third of LLVM's time, and
        addresses in our loops are already sums of a pointer and a multiple of the counter.

        The option holds for the process, so it is as it was when nobody compiles.
        """
        if self.llvm.llvm_version_info[0] not in _KNOWN_LLVM:
            yield
            return
        with self.lock:
            self.busy += 1
            if self.busy == 1:
                self.llvm.set_option("tracejit", "-disable-lsr=true")
        try:
            yield
        finally:
            with self.lock:
                self.busy -= 1
                if self.busy == 0:
                    self.llvm.set_option("tracejit", "-disable-lsr=false")

    def _emit(self, text: str, level: int) -> bytes:
        with self.lock:
            free = self.machines[level]
            machine = free.pop() if free else self._machine(level)
            context = self.llvm.create_context()
        try:
            return self._unlocked(text, machine, context)
        finally:
            with self.lock:
                context.close()
                free.append(machine)

    def _unlocked(self, text: str, machine: Any, context: Any) -> bytes:
        """What llvmlite's ``parse_assembly`` and ``emit_object`` do, without its lock."""
        call, ffi = _without_lock(self.ffi.lib), self.ffi
        with ffi.OutputString() as error:
            module = call("LLVMPY_ParseAssembly")(context, text.encode(), error)
            try:
                if error:
                    raise BackendError(f"LLVM rejects a generated module: {error}")
                buffer = call("LLVMPY_TargetMachineEmitToMemory")(machine, module, 1, error)
                if not buffer:
                    raise BackendError(f"LLVM cannot compile a generated module: {error}")
            finally:
                if module:
                    call("LLVMPY_DisposeModule")(module)
        try:
            start, size = (call(f"LLVMPY_GetBuffer{what}")(buffer) for what in ("Start", "Size"))
            return ctypes.string_at(start, size)
        finally:
            call("LLVMPY_DisposeMemoryBuffer")(buffer)

    def assembly(self, text: str) -> str:
        """The machine code of a module as text."""
        with self.lock, self._options():
            return str(self._machine().emit_assembly(self.llvm.parse_assembly(text)))

    # ---- linking ----

    def link(self, data: bytes, names: Sequence[str], library: str) -> tuple[Any, dict[str, int]]:
        """Load object code. Addresses hold while the first result lives.

        Raises BackendError where that is impossible.
        """
        with self.lock:
            if self.linker is None:  # it takes possession of the machine it is given
                self.linker = self.llvm.create_lljit_compiler(self._machine(jit=True))
            builder = self.llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
            for name in names:
                builder.export_symbol(name)
            try:
                tracker = builder.link(self.linker, library)
            except RuntimeError as error:
                raise BackendError(f"a compiled kernel cannot be loaded: {error}") from error
            return tracker, {name: tracker[name] for name in names}


def _without_lock(library: Any) -> Callable[[str], Any]:
    """Functions of llvmlite's library by name; those that have no lock around them as they are."""

    def find(name: str) -> Any:
        function = getattr(library, name)
        return getattr(function, "_cfn", function)

    return find


class _Work:
    """Texts that threads take and compile, in the order they come."""

    def __init__(self, compile: Callable[[str, int], bytes]) -> None:
        self.compile = compile
        self.found: dict[int, bytes] = {}
        self.failure: BaseException | None = None
        self.waiting: list[tuple[int, str, int]] = []
        self.count = 0
        self.closed = False
        self.changed = threading.Condition()

    def add(self, text: str, level: int) -> None:
        with self.changed:
            self.waiting.append((self.count, text, level))
            self.count += 1
            self.changed.notify()

    def close(self) -> None:
        """No text comes any more."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def run(self) -> None:
        """Compile until nothing is left."""
        while True:
            with self.changed:
                while not self.waiting and not self.closed:
                    self.changed.wait()
                if not self.waiting or self.failure is not None:
                    return
                number, text, level = self.waiting.pop(0)
            try:
                self.found[number] = self.compile(text, level)
            except BaseException as error:
                self.failure = error
                return

    def results(self) -> list[bytes]:
        if self.failure is not None:
            raise self.failure
        return [self.found[k] for k in range(self.count)]


def vector_bytes(features: str) -> int:
    """The width of vector registers that kernels use."""
    on = set(features.split(","))
    if {"+avx512f", "+avx512dq", "+avx512bw", "+avx512vl"} <= on:
        return 64
    return 32 if "+avx2" in on else 16
