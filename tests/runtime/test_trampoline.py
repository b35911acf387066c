"""The native way into a program, and the one through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.errors import BackendError
from tracejit.runtime import trampoline
from tracejit.runtime.buffers import place_of, pointer

#: main(args, results, arena, env): results[0][0] = args[0][0] - args[1][0], and the arena's address
MAIN = ctypes.CFUNCTYPE(None, *(ctypes.POINTER(ctypes.c_void_p),) * 2, *(ctypes.c_void_p,) * 2)


def subtract(args: Any, results: Any, arena: int | None, env: int | None) -> None:
    a, b = (ctypes.c_double.from_address(args[k]).value for k in range(2))
    ctypes.c_double.from_address(results[0]).value = a - b
    ctypes.c_int64.from_address(results[1]).value = (arena or 0) * 100 + (env or 0)


CALLBACK = MAIN(subtract)
ADDRESS = ctypes.cast(CALLBACK, ctypes.c_void_p).value or 0


def native(release: bool) -> Callable[..., Any]:
    return trampoline.caller(ADDRESS, operands=2, results=2, release=release)


CALLERS = {
    "native": lambda: native(False),
    "native, released": lambda: native(True),
    "ctypes": lambda: trampoline.through_ctypes(ADDRESS, 2, 2),
}


@pytest.mark.parametrize("name", CALLERS)
def test_operands_results_arena_and_env_arrive(name: str) -> None:
    call = CALLERS[name]()
    a, b, out, seen = np.array(5.0), np.array(3.0), np.zeros(1), np.zeros(1, np.int64)
    for first, second, expected in ((a, b, 2.0), (b, a, -2.0)):
        call(7, 9, place_of(first), pointer(second), place_of(out), place_of(seen))
        assert (out[0], seen[0]) == (expected, 709)


def test_there_is_a_native_way_here() -> None:
    assert trampoline.trampoline() is not None
    assert type(native(False)).__name__ == "builtin_function_or_method"


@pytest.mark.parametrize("count", (0, 1, 5, 7, 100))
def test_a_wrong_number_of_addresses_is_refused(count: int) -> None:
    with pytest.raises(TypeError):
        native(False)(*range(count))


@pytest.mark.parametrize("wrong", ("text", 1.5, None, -1, 1 << 64))
def test_what_is_no_address_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, OverflowError)):
        native(False)(0, 0, wrong, 0, 0, 0)


def test_largest_address() -> None:
    # -1 as a word is how the C-API says that there is an error; here there is none
    out, seen = np.zeros(1), np.zeros(1, np.int64)
    a = np.array(1.0)
    native(False)((1 << 64) - 1, 1, pointer(a), pointer(a), pointer(out), pointer(seen))
    assert seen[0] == -99


def test_programs_run_without_the_native_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trampoline, "trampoline", lambda: None)
    f = tj.jit(lambda x, y: (x @ y, jnp.sum(x), jnp.sort(y)))
    x = jnp.ones((3, 3))
    for _ in range(3):
        product, total, _ = f(x, x)
        assert (float(product[0, 0]), float(total)) == (3, 9)
    assert float(tj.jit(lambda: jnp.float32(2.0))()) == 2
    assert tj.jit(lambda x: ())(x) == ()


def test_a_machine_that_cannot_link_it_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str, names: Any) -> Any:
        raise BackendError("a compiled kernel cannot be loaded")

    monkeypatch.setattr(trampoline, "compile_llvm", refuse)
    assert trampoline.trampoline.__wrapped__() is None
