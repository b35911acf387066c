"""Calls of native programs from Python.

    call = caller(main_address, operands=2, results=1, release=False)
    call(arena, env, x, y, out)          integers: addresses

Where Python is not CPython, or its functions cannot be linked, the same goes through ctypes.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tracejit.codegen.trampoline import print_trampoline
from tracejit.errors import BackendError
from tracejit.runtime.native import compile_llvm, host_target

#: in PyMethodDef.ml_flags: an array of arguments and their number
METH_FASTCALL = 0x80

_MAIN = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 4)
_NEW = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)


class _MethodDef(ctypes.Structure):
    """Python's PyMethodDef, and the code it points to."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )
    code: Any


class _Record(int):
    """The address of a Record of ``codegen/trampoline.py``; it keeps what native code refers to."""

    words: Any
    method: _MethodDef


@lru_cache(maxsize=1)
def trampoline() -> _MethodDef | None:
    """The description of ``call_program``, compiled once; None where there cannot be one."""
    if sys.implementation.name != "cpython":
        return None
    try:
        code = compile_llvm(print_trampoline(host_target()), ["call_program"])
    except BackendError:
        return None
    method = _MethodDef(b"call_program", code.addresses["call_program"], METH_FASTCALL, None)
    method.code = code
    return method


def caller(main: int, *, operands: int, results: int, release: bool) -> Callable[..., Any]:
    """A function of the addresses of arena, env, operands and results, that calls ``main``.

    ``release``: other Python threads may run meanwhile.
    """
    method = trampoline()
    if method is None:
        return through_ctypes(main, operands, results)
    words = (ctypes.c_uint64 * 4)(main, 2 + operands + results, operands, release)
    record = _Record(ctypes.addressof(words))
    record.words, record.method = words, method
    make = _NEW(("PyCFunction_NewEx", ctypes.pythonapi))
    return make(ctypes.addressof(method), record, None)  # type: ignore[no-any-return]


def through_ctypes(main: int, operands: int, results: int) -> Callable[..., Any]:
    """The same by ctypes."""
    function = _MAIN(main)
    arguments = ctypes.c_void_p * max(operands, 1)
    targets = ctypes.c_void_p * max(results, 1)

    def call(arena: int, env: int, *addresses: int) -> None:
        given = map(int, addresses)
        function(
            arguments(*[next(given) for _ in range(operands)]),
            targets(*given),
            int(arena),
            int(env),
        )

    return call
