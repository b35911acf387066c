"""Two tiers of machine code: a quick one for the first calls, and the best, made behind their back.

    loaded = Loaded("softmax_1f...")          a cell that programs read the kernel's address from
    loaded.point(quick_code, best=False)
    upgrades.add(task)                        a thread compiles at low priority, and points again
    upgrades.wait()                           until all of it is done

One store of eight aligned bytes switches every program that calls the kernel, running ones too;
both tiers compute the same bits, and code once loaded stays. The thread ends with the process after
the kernel at hand (after all, where a disk cache keeps them), and a fork waits for that, so that
neither meets LLVM at work.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from tracejit.config import config, usable_cpus
from tracejit.ir.expr import Op, walk
from tracejit.kernel.nodes import Kernel, Loop, Scratch, Transpose, While
from tracejit.kernel.program import KernelCall, Program, work
from tracejit.kernel.visit import expressions, statements
from tracejit.passes.place import Branch, Run, ScanLoop, Step, WhileLoop
from tracejit.runtime.cache import object_cache
from tracejit.runtime.native import Code

#: nanoseconds that a kernel's operation takes longer in quick code; where there are small arrays,
#: which lie in memory then; without vectors; and an operation of a matrix product
SLOWER, SLOWER_ARRAYS, SLOWER_SCALAR, SLOWER_PRODUCT = 0.1, 0.5, 1.0, 0.07
#: nanoseconds that the best code takes longer to make, by character of the kernel's text; by
#: function that is written out in tens of operations
LONGER, LONGER_FUNCTION = 7_000, 1_000_000
FUNCTIONS = frozenset(
    "exp exp2 expm1 log log2 log10 log1p logistic sin cos tan tanh pow erf erfc sinh cosh".split()
)
#: how often a loop is taken to run that does not say so
GUESSED_TRIPS = 256
#: how much lower the priority is
NICE = 10
#: seconds: the first call goes first; nothing urgent came for so long; how long Python's lock is
#: held at a time; how long it is left
HEAD_START, CALM, SLICE, PAUSE = 2e-3, 30e-3, 200e-6, 20e-6
#: seconds that the end of a process waits for code which the next one will find
GRACE = 2.0


_lock = threading.Lock()


class Loaded:
    """A kernel's machine code. ``place``: where its address is."""

    __slots__ = ("name", "cell", "codes", "best")

    def __init__(self, name: str) -> None:
        self.name = name
        self.cell = ctypes.c_uint64(0)
        self.codes: list[Code] = []
        self.best = False

    @property
    def place(self) -> int:
        return ctypes.addressof(self.cell)

    @property
    def address(self) -> int:
        return self.cell.value

    def point(self, code: Code, best: bool) -> None:
        """Let programs call this code from now on; the best is not replaced."""
        with _lock:
            if not self.best:
                self.codes.append(code)  # what was there may be running
                self.cell.value = code.addresses[self.name]
                self.best = best


# ---- which tier ----------------------------------------------------------------------------------


def tiers_on() -> bool:
    """Whether there is a CPU that could make the best code beside the caller's."""
    return config.current().tiers and usable_cpus() > 1


def call_costs(program: Program, threads: int) -> dict[Kernel, float]:
    """Nanoseconds that one run of the program takes longer with quick code, for each kernel."""
    costs: dict[Kernel, float] = {}
    calls = dict(zip(map(id, program.runs), program.calls, strict=True))

    def visit(steps: tuple[Step, ...], times: int) -> None:
        for step in steps:
            match step:
                case Run():
                    call = calls[id(step)]
                    for part in call.chain if isinstance(call, KernelCall) else ():
                        cost = times * _call_cost(part) / (threads if part.split else 1)
                        costs[part.kernel] = costs.get(part.kernel, 0.0) + cost
                case WhileLoop():
                    visit((*step.cond, *step.body), times * GUESSED_TRIPS)
                case ScanLoop():
                    visit(step.body, times * step.length)
                case Branch():
                    for branch in step.branches:
                        visit(branch, times)

    visit(program.plan.steps, 1)
    return costs


def _call_cost(call: KernelCall) -> float:
    if call.product is not None:
        return call.product.matmul.flops * SLOWER_PRODUCT
    kinds = {type(s) for s in statements(call.kernel.body)}
    vectors = any(isinstance(s, Loop) and s.how == "vec" for s in statements(call.kernel.body))
    each = SLOWER_ARRAYS if kinds & {Scratch, Transpose} else SLOWER if vectors else SLOWER_SCALAR
    if While in kinds:
        each *= GUESSED_TRIPS
    return work(call.kernel, dict(zip(call.kernel.sizes, call.sizes, strict=True))) * each


def saving(kernel: Kernel, characters: int) -> float:
    """Nanoseconds by which the quick code is ready sooner."""
    functions = sum(
        isinstance(node, Op) and node.fn in FUNCTIONS
        for s in statements(kernel.body)
        for expr in expressions(s)
        for node in walk(expr)
    )
    return LONGER * characters + LONGER_FUNCTION * functions


# ---- the thread ----------------------------------------------------------------------------------

Task = Callable[["Background"], None]


class Upgrades:
    """A thread that runs tasks in order."""

    def __init__(self) -> None:
        self.tasks: deque[Task] = deque()
        #: done when there is nothing else, and nobody waits for them
        self.later: deque[Task] = deque()
        self.problem = ""
        self._reset()

    def _reset(self) -> None:
        self.changed = threading.Condition()
        #: held while a task runs
        self.working = threading.Lock()
        self.busy = False
        self.thread: threading.Thread | None = None
        self.stopping = False

    def add(self, task: Task, urgent: bool = True) -> None:
        with self.changed:
            if self.stopping:
                return
            (self.tasks if urgent else self.later).append(task)
            self._start()
            self.changed.notify_all()

    def _start(self) -> None:
        if self.thread is None:
            thread = threading.Thread(target=self._run, name="tracejit-upgrades", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # Python is ending
                self.stopping = True
                self.tasks.clear()
            else:
                self.thread = thread

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is left to do; whether that is so."""
        with self.changed:
            if self.tasks:  # left by the process that forked this one
                self._start()
            return self.changed.wait_for(
                lambda: self.stopping or not (self.tasks or self.busy), seconds
            )

    def stop(self) -> None:
        """End the thread, for good: after the task at hand, or after all tasks, if that is soon,
        where the disk cache keeps their code for the next process.
        """
        if object_cache() is not None:
            self.wait(GRACE)
        with self.changed:
            self.stopping = True
            self.tasks.clear()
            self.later.clear()
            self.changed.notify_all()
        if self.thread is not None:
            self.thread.join()

    def _run(self) -> None:
        background, calm = Background(), False
        while True:
            with self.changed:
                self.busy = False
                self.changed.notify_all()
                idle = not self.tasks
                self.changed.wait_for(lambda: self.stopping or self.tasks or self.later)
                if not self.tasks and not calm:
                    self.changed.wait_for(lambda: self.stopping or self.tasks, CALM)
                if self.stopping:
                    return
                self.busy = bool(self.tasks)
                calm = not self.busy
            if idle and self.busy:
                time.sleep(HEAD_START)
            with self.working:
                try:
                    task = (self.tasks or self.later).popleft()
                except IndexError:  # taken away at the end of the process
                    continue
                try:
                    task(background)
                except Exception as error:  # the quick code goes on being used
                    self.problem = f"{type(error).__name__}: {error}"

    # ---- fork ----

    def before_fork(self) -> None:
        self.working.acquire()

    def after_fork(self) -> None:
        self.working.release()

    def in_child(self) -> None:
        """The thread is not there: the next task starts another, which does what is left too."""
        global _lock
        _lock = threading.Lock()
        self._reset()


class Background:
    """What a task asks for so that it disturbs nobody.

    ``rest()`` gives Python's lock up where it was held for a while: whoever waits for it would else
    wait for Python to ask for it, some 5 ms. ``low(call)`` is ``call()`` at low priority, for what
    does without that lock: a thread that has it and no CPU holds up all others.
    """

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.thread: threading.Thread | None = None

    def rest(self) -> None:
        if time.perf_counter() - self.last > SLICE:
            time.sleep(PAUSE)
            self.last = time.perf_counter()

    def low(self, call: Callable[[], Any]) -> Any:
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, name="tracejit-low", daemon=True)
            self.thread.start()
        found: list[Any] = []
        done = threading.Event()

        def run() -> None:
            try:
                found.append(call())
            except BaseException as error:
                found.append(error)
            done.set()

        self.calls.put(run)
        done.wait()
        self.last = time.perf_counter()
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    def _run(self) -> None:
        _lower_priority()
        while True:
            self.calls.get()()


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere it would be the process's
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


upgrades = Upgrades()
atexit.register(upgrades.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=upgrades.before_fork,
        after_in_parent=upgrades.after_fork,
        after_in_child=upgrades.in_child,
    )
