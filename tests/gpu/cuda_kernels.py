"""Kernels as text, run as CUDA C on the CPU and in the kernels' interpreter.

check('''kernel k(...)...''')       prints, compiles and compares; returns the CudaSource
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tracejit.codegen.cuda import cuda_source
from tracejit.errors import BackendError
from tracejit.ir.types import DTYPES
from tracejit.kernel import interp
from tracejit.kernel.gpu.source import CudaSource
from tracejit.kernel.nodes import Const, Kernel, Loop, Store
from tracejit.kernel.nodes import Param as Parameter
from tracejit.kernel.text import parse
from tracejit.kernel.verify import has_check, verify
from tracejit.runtime.gpu import host_compile
from tracejit.runtime.gpu.device import Device
from tracejit.runtime.gpu.host_device import HostDevice


def host(**options: object) -> HostDevice:
    """The CPU as a GPU; the test is skipped where there is no compiler for it."""
    try:
        host_compile.compiler()
    except BackendError as error:
        pytest.skip(str(error))
    return HostDevice(**options)  # type: ignore[arg-type]


def samples(param: Parameter, sizes: Mapping[str, int], seed: int) -> np.ndarray:
    """What a parameter holds before: small numbers of both signs where the dtype has them."""
    random, shape = np.random.default_rng(seed), param.extents(sizes)
    if param.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if param.dtype[0] in "iu":
        return random.integers(0, 60, shape).astype(DTYPES[param.dtype])
    if param.dtype[0] == "c":
        return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(
            DTYPES[param.dtype]
        )
    return random.standard_normal(shape).astype(DTYPES[param.dtype])


def grid_of(kernel: Kernel, sizes: Mapping[str, int]) -> int:
    """The extent of the block loop."""
    block = kernel.body[0]
    assert isinstance(block, Loop)
    cell = np.zeros((), np.int64)
    params = (Parameter("grid", "i64", (), "out"),)
    interp.run(
        Kernel("k", kernel.sizes, params, (Store("grid", (), block.stop),)), {"grid": cell}, sizes
    )
    return int(cell)


def launch(
    device: Device,
    function: object,
    kernel: Kernel,
    source: CudaSource,
    arrays: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
) -> int:
    """Run a kernel on arrays, in place; returns the flag."""
    memory = {name: device.alloc(max(a.nbytes, 1)) for name, a in arrays.items()}
    for name, array in arrays.items():
        device.to_device(memory[name].address, array)
    flag, cell = np.zeros(1, np.int64), device.alloc(8)
    device.to_device(cell.address, flag)
    block = kernel.body[0]
    assert isinstance(block, Loop)
    threads = block.body[-1]
    assert isinstance(threads, Loop) and isinstance(threads.stop, Const)
    arguments = [memory[p.name].address for p in kernel.params]
    arguments += [sizes[n] for n in kernel.sizes] + ([cell.address] if has_check(kernel) else [])
    count = int(threads.stop.value)  # type: ignore[arg-type]
    device.launch(function, grid_of(kernel, sizes), count, arguments, source.shared)
    for name, array in arrays.items():
        device.to_host(array, memory[name].address)
    device.to_host(flag, cell.address)
    return int(flag[0])


def same(got: np.ndarray, wanted: np.ndarray, rtol: float, what: str) -> None:
    """Equal, or nearly so where numbers are rounded; nan is nan."""
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, wanted, err_msg=what)
        return
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(
        got.astype(wide), wanted.astype(wide), rtol=rtol, atol=1e-6 if rtol else 0, err_msg=what
    )


def check_all(
    devices: Sequence[Device],
    texts: Sequence[str],
    sizes: Mapping[str, int] | None = None,
    rtol: float = 2e-6,
) -> list[CudaSource]:
    """Each kernel on each device against the interpreter."""
    kernels = [parse(text) for text in texts]
    for kernel in kernels:
        verify(kernel)
    sources = [cuda_source(kernel) for kernel in kernels]
    wanted = []
    for kernel in kernels:
        own = {n: (sizes or {}).get(n, 3) for n in kernel.sizes}
        before = {p.name: samples(p, own, k) for k, p in enumerate(kernel.params)}
        after = {name: a.copy() for name, a in before.items()}
        wanted.append((own, before, after, interp.run(kernel, after, own)))
    for device in devices:
        functions = device.load(sources)
        for kernel, source, (own, before, after, flag) in zip(
            kernels, sources, wanted, strict=True
        ):
            arrays = {name: a.copy() for name, a in before.items()}
            got = launch(device, functions[source.name], kernel, source, arrays, own)
            assert bool(got) == bool(flag), kernel.name
            for param in kernel.params:
                loose = 1e-2 if param.dtype in ("f16", "bf16") else rtol
                what = f"{kernel.name}: {param.name}"
                same(arrays[param.name], after[param.name], loose, what)
    return sources


def check(text: str, **options: object) -> CudaSource:
    """One kernel in one order of threads."""
    (source,) = check_all([host()], [text], **options)  # type: ignore[arg-type]
    return source
