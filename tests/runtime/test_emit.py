"""LLVM in several threads: the same object code as in one, and errors that arrive."""

from __future__ import annotations

import threading

import pytest

from tracejit.errors import BackendError
from tracejit.runtime import native
from tracejit.runtime.emit import BEST, QUICK, Emitter, vector_bytes


@pytest.fixture(scope="module")
def emitter() -> Emitter:
    return Emitter()


def function(number: int, length: int) -> str:
    """A function of ``length`` multiplications and additions."""
    target = native.host_target()
    lines = [f'target triple = "{target.triple}"', f'target datalayout = "{target.layout}"']
    lines += [f"define double @f{number}(double %v0) {{"]
    for k in range(length):
        kind = ("fmul", "fadd")[k % 2]
        lines.append(f"  %v{k + 1} = {kind} double %v{k}, {number}.5")
    return "\n".join([*lines, f"  ret double %v{length}", "}", ""])


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_make_the_same_code(emitter: Emitter, threads: int) -> None:
    texts = [function(k, 20 + 37 * k % 200) for k in range(12)]
    alone = emitter.emit_all([(lambda t=t: t, BEST) for t in texts], 1)
    assert emitter.emit_all([(lambda t=t: t, BEST) for t in texts], threads) == alone
    assert len(set(alone)) == len(texts)


def test_callers_in_several_threads(emitter: Emitter) -> None:
    texts = [function(k, 50) for k in range(6)]
    alone = emitter.emit_all([(lambda t=t: t, BEST) for t in texts], 1)
    found: list[list[bytes]] = []

    def call() -> None:
        found.append(emitter.emit_all([(lambda t=t: t, BEST) for t in texts], 2))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [alone] * 4


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_text_that_llvm_rejects(emitter: Emitter, threads: int) -> None:
    texts = [function(k, 30) for k in range(5)] + ["define void @k( {"]
    with pytest.raises(BackendError, match="LLVM rejects"):
        emitter.emit_all([(lambda t=t: t, BEST) for t in texts], threads)
    assert len(emitter.emit_all([(lambda: texts[0], QUICK)], threads)) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_text_that_cannot_be_printed(emitter: Emitter, threads: int) -> None:
    def fail() -> str:
        raise ValueError("no text")

    with pytest.raises(ValueError, match="no text"):
        emitter.emit_all(
            [(lambda: function(0, 5), QUICK), (fail, BEST), (lambda: function(1, 5), BEST)], threads
        )
    assert threading.active_count() < 50


def test_widths_of_vectors() -> None:
    wide = "+avx2,+avx512f,+avx512dq,+avx512bw,+avx512vl"
    assert [vector_bytes(f) for f in (wide, "+avx2,+avx512f", "+avx2", "+neon", "")] == [
        64,
        32,
        32,
        16,
        16,
    ]
