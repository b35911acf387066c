"""Kernels as Python functions for Numba: readable, and runnable wherever NumPy and Numba are.

In: a Kernel. Out: the text of a module that defines it (``print_numba``), the compiled function
(``compile_numba``), or one module of several kernels and a driver (``print_module``).

    >>> from tracejit.kernel.text import parse
    >>> kernel = parse('''kernel double[n](in x: f32[n], out y: f32[n])
    ...   seq i in n:
    ...     y[i] = mul(2.0, x[i])
    ... ''')
    >>> x, y = np.float32([1, 2, 3, 4]), np.empty(4, np.float32)
    >>> compile_numba(kernel)([x, y], [4])
    0
    >>> y
    array([2., 4., 6., 8.], dtype=float32)

A kernel's function takes its buffers (C-contiguous arrays), its sizes, and ``flag`` (one int64) if
it checks something. Buffers of float16 and bfloat16 come as uint16 arrays of their bits.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tracejit.codegen.numba_helpers import definitions, needed
from tracejit.codegen.numba_print import Source, function_name, kernel_source
from tracejit.codegen.numba_scalar import NARROW
from tracejit.errors import BackendError
from tracejit.ir.types import DTYPES
from tracejit.kernel.nodes import Kernel, Param


def print_numba(kernel: Kernel) -> str:
    """A module that defines ``kernel`` as a function of its buffers and sizes (and ``flag``)."""
    return assemble([kernel_source(kernel)])


# ---- modules -------------------------------------------------------------------------------------


def assemble(sources: Sequence[Source], main: str = "", doc: str = "") -> str:
    """One module: imports, constants and helpers used by any of ``sources``, their functions, then
    ``main``.
    """
    constants = {name: value for source in sources for name, value in source.constants.items()}
    helpers = needed("\n".join(f"{name}()" for source in sources for name in source.helpers))
    named = "\n".join(f"{name} = {value}" for name, value in sorted(constants.items()))
    functions = [
        part for part in (definitions(helpers), *(source.text for source in sources), main) if part
    ]
    head = [f'"""{doc}"""', ""] if doc else []
    body = "\n\n\n".join(functions)
    head += _imports(body, named)
    return "\n\n".join(part for part in ("\n".join(head), named) if part) + "\n\n\n" + body + "\n"


def _imports(body: str, constants: str) -> list[str]:
    """The import lines a module needs."""
    lines = ["import math", ""] if re.search(r"\bmath\.", body) else []
    lines += ["import ml_dtypes"] if "ml_dtypes." in body else []
    lines += ["import numba"]
    lines += ["import numpy as np"] if re.search(r"\bnp\.", body + constants) else []
    return lines + (["from numba.extending import intrinsic"] if "@intrinsic" in body else [])


def kernel_names(kernels: Iterable[Kernel], taken: Iterable[str] = ()) -> dict[Kernel, str]:
    """Names for the functions of kernels that share a module: one for equal kernels, none twice
    and none of ``taken``.
    """
    found: dict[Kernel, str] = {}
    used = set(taken)
    for kernel in kernels:
        if kernel in found:
            continue
        first = name = function_name(kernel)
        number = 2
        while name in used:
            name, number = f"{first}_{number}", number + 1
        used.add(name)
        found[kernel] = name
    return found


def array_dtype(dtype: str) -> str:
    """Source of a NumPy dtype for arrays of a driver."""
    return (
        "ml_dtypes.bfloat16"
        if dtype == "bf16"
        else f"np.{DTYPES[dtype].name}".replace("np.bool", "np.bool_")
    )


def allocate_step(name: str, dtype: str, shape: Sequence[int | str]) -> str:
    """A driver's line that makes a buffer."""
    extents = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    return f"{name} = np.empty(({extents}), {array_dtype(dtype)})"


def call_step(
    kernel: Kernel, source: Source, buffers: Sequence[str], sizes: Sequence[int | str]
) -> str:
    """A driver's line that runs a kernel on these variables."""
    arguments = [
        f"{buffer}.view(np.uint16)" if param.dtype in NARROW else buffer
        for param, buffer in zip(kernel.params, buffers, strict=True)
    ]
    arguments += [*map(str, sizes), *(["flag"] if source.flag else [])]
    return f"{source.name}({', '.join(arguments)})"


def matmul_step(out: str, left: str, right: str) -> str:
    """A driver's line that multiplies matrices (or stacks of them)."""
    return f"np.matmul({left}, {right}, out={out})"


def print_driver(
    name: str, inputs: Sequence[str], steps: Sequence[str], outputs: Sequence[str], flag: bool
) -> str:
    """The function that runs the steps: arrays in, contiguous or not; one array or a tuple of them
    out.
    """
    lines = [f"def {name}({', '.join(inputs)}):"]
    lines += [
        f"    {array} = np.ascontiguousarray({array}).reshape(np.shape({array}))"
        for array in inputs
    ]
    lines += ["    flag = np.zeros(1, np.int64)"] if flag else []
    lines += [f"    {step}" for step in steps]
    if flag:
        lines += [
            "    if flag[0]:",
            f'        raise IndexError("{name}: an index lies outside its axis")',
        ]
    return "\n".join([*lines, f"    return {', '.join(outputs)}"])


def print_module(
    name: str,
    kernels: Iterable[Kernel],
    inputs: Sequence[str],
    steps: Callable[[dict[Kernel, Source]], Sequence[str]],
    outputs: Sequence[str],
    doc: str = "",
) -> str:
    """A standalone module with the kernels and ``def name(*inputs)``; ``steps`` writes the lines in
    between.
    """
    names = kernel_names(kernels, {name, *inputs})
    sources = {kernel: kernel_source(kernel, own) for kernel, own in names.items()}
    flag = any(source.flag for source in sources.values())
    driver = print_driver(name, inputs, steps(sources), outputs, flag)
    return assemble(list(sources.values()), driver, doc)


# ---- compiling -----------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def compile_numba(kernel: Kernel) -> Callable[[Sequence[np.ndarray], Sequence[int]], int]:
    """``run(buffers, sizes) -> flag``: 0, or the code of a Check that failed.

    Raises BackendError where Numba is missing. Equal kernels are compiled once in a process.
    """
    source = kernel_source(kernel)
    function = _load(source, kernel)
    narrow = [param.dtype in NARROW for param in kernel.params]

    def run(buffers: Sequence[np.ndarray], sizes: Sequence[int] = ()) -> int:
        views = [b.view(np.uint16) if n else b for b, n in zip(buffers, narrow, strict=True)]
        if not source.flag:
            function(*views, *sizes)
            return 0
        flag = np.zeros(1, np.int64)
        function(*views, *sizes, flag)
        return int(flag[0])

    return run


def _load(source: Source, kernel: Kernel) -> Callable[..., None]:
    """The compiled function of a kernel's module."""
    try:
        import numba
    except ImportError as error:
        raise BackendError("the numba backend needs Numba", hint="pip install numba") from error
    types, text = numba.types, assemble([source])
    filename = f"<tracejit {kernel.name} {hash(text) & 0xFFFFFFFF:08x}>"
    # Numba and tracebacks look the lines up here
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    # not the name of a module: Numba imports the one a function says it is from
    namespace: dict[str, Any] = {"__name__": filename}
    exec(compile(text, filename, "exec"), namespace)

    def array(param: Param) -> Any:
        dtype = DTYPES["u16" if param.dtype in NARROW else param.dtype]
        # an `in` buffer may be read-only; what is writable converts to that
        return types.Array(
            numba.from_dtype(dtype), len(param.shape), "C", readonly=param.role == "in"
        )

    signature = [*map(array, kernel.params), *[types.int64] * len(kernel.sizes)]
    signature += [types.Array(types.int64, 1, "C")] if source.flag else []
    function = namespace[source.name]
    function.compile(tuple(signature))
    function.disable_compile()
    return function  # type: ignore[no-any-return]


__all__ = [
    "Source",
    "allocate_step",
    "array_dtype",
    "assemble",
    "call_step",
    "compile_numba",
    "kernel_names",
    "kernel_source",
    "matmul_step",
    "print_driver",
    "print_module",
    "print_numba",
]
