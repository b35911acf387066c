"""The thread pool: every chunk runs once, whoever calls and however often."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from tracejit import jit, settings
from tracejit.ir.expr import Const, Op
from tracejit.runtime.native import thread_pool

BODY = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 4)
LOOP = ctypes.CFUNCTYPE(
    None, *(ctypes.c_void_p,) * 5, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int
)


def run(body, chunks: int, threads: int) -> None:
    """``body(low, high)`` over chunks of ten rows."""

    def call(args, dims, steps, data) -> None:
        pair = ctypes.cast(args, ctypes.POINTER(ctypes.POINTER(ctypes.c_int64))).contents
        assert ctypes.cast(dims, ctypes.POINTER(ctypes.c_int64)).contents.value == 1
        body(pair[0], pair[1])

    pairs = np.array([(10 * k, 10 * k + 10) for k in range(chunks)] or [(0, 0)], np.int64)
    cells = [np.array([v], np.int64) for v in (pairs.ctypes.data, chunks, 16, 0)]
    function = BODY(call)
    pointers = [c.ctypes.data for c in cells]
    LOOP(thread_pool().address)(
        ctypes.cast(function, ctypes.c_void_p).value, *pointers, 0, 1, threads
    )


@pytest.mark.parametrize("chunks", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("threads", [1, 2, 64])
def test_each_chunk_runs_once(chunks: int, threads: int) -> None:
    for _ in range(20):
        seen: list[int] = []
        run(lambda low, high, seen=seen: seen.append(low), chunks, threads)
        assert sorted(seen) == [10 * k for k in range(chunks)]


def test_limit_of_threads() -> None:
    names: set[int] = set()
    run(lambda low, high: names.add(threading.get_ident()), 50, 1)
    assert names == {threading.get_ident()}


def test_callers_in_several_threads_and_within_each_other() -> None:
    failures: list[BaseException] = []

    def call() -> None:
        try:
            for _ in range(30):
                seen: list[int] = []
                run(lambda low, high, seen=seen: seen.append(low), 9, 4)
                assert sorted(seen) == [10 * k for k in range(9)]
        except BaseException as error:
            failures.append(error)

    callers = [threading.Thread(target=call) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures

    outer: list[int] = []

    def nested(low: int, high: int) -> None:
        run(lambda low, high: outer.append(low), 3, 4)

    run(nested, 4, 4)
    assert len(outer) == 12


def test_many_small_jobs_agree_with_one_thread() -> None:
    x = np.random.default_rng(0).standard_normal((300, 400), dtype=np.float32)

    def f(x):
        return x / x.max(axis=1, keepdims=True) + x.sum(axis=0)

    alone, shared = jit(f, threads=1), jit(f, threads=2)
    expected = np.asarray(alone(x))
    for _ in range(300):
        np.testing.assert_array_equal(shared(x), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX, of other tests
def test_a_child_process_works_after_fork() -> None:
    x = np.ones((500, 500), np.float32)
    f = jit(lambda x: x * 2.0 + x.sum(axis=0), threads=2)
    f(x)
    child = os.fork()
    if child == 0:
        try:
            right = bool((np.asarray(f(x)) == 502.0).all())
            g = jit(lambda x: x - 1.0)  # and compiles
            right = right and bool((np.asarray(g(x)) == 0.0).all())
        finally:
            os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


CHILD = """
import os, signal, sys, time
import numpy as np
from tracejit import jit
f = jit(lambda x: x * 2.0 + x.sum())
time.sleep(float(sys.argv[1]))
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if f(np.ones(3))[0] == 5.0 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("delay", ["0", "0.04"])
def test_a_child_process_works_that_is_forked_while_the_compiler_loads(delay: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", CHILD, delay], check=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX, of other tests
def test_a_child_process_makes_expressions_while_another_thread_does() -> None:
    stop = threading.Event()

    def make() -> None:
        k = 0
        while not stop.is_set():
            Op("add", (Const(k, "i64"), Const(1, "i64")), "i64")
            k += 1

    other = threading.Thread(target=make)
    other.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                Op("mul", (Const(os.getpid(), "i64"), Const(1, "i64")), "i64")
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        other.join()


def test_setting_threads_to_one_needs_no_pool() -> None:
    with settings(threads=1):
        f = jit(lambda x: x + 1.0)
        np.testing.assert_array_equal(f(np.zeros(100_000)), np.ones(100_000))


COMPILING = """
import os, threading, time
import numpy as np
from tracejit import jit

def compiled(k):
    return jit(lambda x: (x * k).sum(0) + k)(np.ones((40, 40), np.float32))

def work():
    k = 0
    while not done:
        k += 1
        compiled(k + 0.5)

done = False
compiled(0.25)
thread = threading.Thread(target=work)
thread.start()
for number in range(5):
    time.sleep(0.02)
    pid = os.fork()
    if pid == 0:
        compiled(1000.25 + number)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
done = True
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_compiles_that_is_forked_while_another_thread_does() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILING], check=True, timeout=60)
