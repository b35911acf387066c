"""Fourier and cosine transforms in GPU programs: cuFFT, as far as it can be proven without a GPU.

Programs run on the device that plays a GPU, whose library does what the specs say on memory at the
strides they say, and are compared with the interpreter. What is handed to cuFFT by ctypes is read
by functions with the C types of NVIDIA's header (``fake_solver.py``), in place of the real ones.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
import tracejit.scipy.fft as sf
from tests.gpu.fake_cupy import fake_cuda
from tests.gpu.fake_solver import fake_libraries
from tests.gpu.host_kernels import needs_compiler
from tracejit.errors import DeviceError
from tracejit.frontend.array import apply
from tracejit.ir import interp
from tracejit.kernel.gpu.library import FftSpec
from tracejit.kernel.program import HostCall, LibraryCall
from tracejit.ops import fft as records
from tracejit.runtime.gpu import cufft, host_solver, registry, shared
from tracejit.runtime.gpu.cufft import Cufft, text
from tracejit.runtime.gpu.cupy_device import CupyDevice
from tracejit.runtime.gpu.executable import GpuExecutable, compile_gpu
from tracejit.runtime.gpu.host_device import HostDevice

RANDOM = np.random.default_rng(6)


def drawn(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    x = RANDOM.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * RANDOM.normal(size=shape)
    return x.astype(dtype)


def compiled(function: Any, *arrays: np.ndarray, libraries: bool = True) -> GpuExecutable:
    return compile_gpu(tj.make_graph(function, *arrays), HostDevice(libraries=libraries))


def specs(made: GpuExecutable) -> list[FftSpec]:
    return [c.spec for c in made.program.calls if isinstance(c, LibraryCall)]


def check(function: Any, *arrays: np.ndarray, tolerance: float = 1e-10) -> GpuExecutable:
    """Three runs against the interpreter, no call of the host."""
    graph = tj.make_graph(function, *arrays)
    made = compile_gpu(graph, HostDevice())
    assert not [c for c in made.program.calls if isinstance(c, HostCall)]
    wanted = interp.run(graph, list(arrays))
    for _ in range(3):
        for a, b in zip(made.run(list(arrays)), wanted, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return made


FORMS: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
    ("fft", (5,), (0,), (5,)),
    ("fft", (3, 8), (1,), (8,)),
    ("ifft", (4, 3), (0,), (4,)),
    ("fft", (2, 3, 4), (1,), (3,)),
    ("ifft", (2, 3, 4), (2, 0), (4, 2)),
    ("fft", (2, 3, 4, 5), (1, 2), (3, 4)),
    ("ifft", (2, 3, 2, 3, 2), (0, 1, 2, 3, 4), (2, 3, 2, 3, 2)),
    ("fft", (1, 6), (0,), (1,)),
    ("fft", (1, 1), (0, 1), (1, 1)),
    ("rfft", (8,), (0,), (8,)),
    ("rfft", (3, 7), (1,), (7,)),
    ("rfft", (6, 3), (0,), (6,)),
    ("rfft", (2, 5, 3), (1,), (5,)),
    ("rfft", (2, 4, 5), (1, 2), (4, 5)),
    ("rfft", (2, 4, 5), (2, 1), (5, 4)),
    ("rfft", (4, 6, 3), (0, 1), (4, 6)),
    ("rfft", (2, 3, 4, 5), (0, 1, 2, 3), (2, 3, 4, 5)),
    ("rfft", (3, 1), (1,), (1,)),
    ("irfft", (5,), (0,), (8,)),
    ("irfft", (3, 5), (1,), (9,)),
    ("irfft", (4, 3), (0,), (6,)),
    ("irfft", (2, 4, 3), (1,), (7,)),
    ("irfft", (2, 4, 3), (0, 2), (2, 4)),
    ("irfft", (2, 4, 3), (2, 1), (3, 6)),
    ("irfft", (3, 1), (1,), (1,)),
]


@needs_compiler
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("norm", records.NORMS)
def test_transforms(form: Any, norm: str) -> None:
    """Spectra that belong to no real signal too: what pocketfft does not read counts nothing."""
    kind, shape, axes, lengths = form
    x = drawn(*shape, dtype=np.float64 if kind == "rfft" else np.complex128)
    params = {"kind": kind, "axes": axes, "lengths": lengths, "norm": norm}
    check(lambda x: _apply(records.fft, x, **params), x)


def _apply(record: Any, x: Any, **params: Any) -> Any:
    return apply(record, x, **params)


@needs_compiler
@pytest.mark.parametrize("type", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", records.NORMS)
def test_cosine_transforms(type: int, norm: str) -> None:
    for shape, axes in (((6,), (0,)), ((3, 5), (0, 1)), ((2, 4, 3), (1,)), ((2, 2), (1,))):
        x = drawn(*shape)
        check(lambda x, axes=axes: _apply(records.dct, x, type=type, axes=axes, norm=norm), x)


@needs_compiler
def test_float32() -> None:
    x = drawn(4, 30, dtype=np.float32)
    check(lambda x: (jnp.fft.rfft(x), sf.dct(x), jnp.fft.fft2(x)), x, tolerance=2e-4)


def test_what_a_library_is_asked_for() -> None:
    """Axes at either end are read where they lie; one call has up to three."""

    def asked(axes: tuple[int, ...], *shape: int) -> list[FftSpec]:
        x = drawn(*shape, dtype=np.complex64)
        return specs(compiled(lambda x: jnp.fft.fftn(x, axes=axes), x))

    assert asked((-1,), 3, 8) == [FftSpec("fft", "f32", (8,), 3)]
    assert asked((0,), 3, 8) == [FftSpec("fft", "f32", (3,), 8, True)]
    assert asked((0, 2), 3, 8, 5) == [
        FftSpec("fft", "f32", (5,), 24),
        FftSpec("fft", "f32", (3,), 40, True),
    ]
    assert asked((0, 1, 2, 3), 2, 3, 4, 5) == [
        FftSpec("fft", "f32", (3, 4, 5), 2),
        FftSpec("fft", "f32", (2,), 60, True),
    ]


@needs_compiler
def test_factors_join_kernels() -> None:
    """A factor is no kernel of its own where one stands before the transform, or behind it."""
    x = drawn(3, 8, dtype=np.complex128)
    before = check(lambda x: jnp.fft.ifft(x * x), x)
    behind = check(lambda x: jnp.abs(jnp.fft.ifft(x)), x)
    for made in (before, behind):
        assert len(made.program.calls) == 2


@needs_compiler
def test_gradients_and_batches() -> None:
    x = drawn(3, 6)

    def loss(x: Any) -> Any:
        y = jnp.fft.rfft(x) * jnp.arange(4)
        return jnp.sum(jnp.abs(jnp.fft.irfft(y, 6)) ** 2) + jnp.sum(sf.dct(x, norm="ortho") ** 3)

    check(tj.vmap(tj.grad(loss)), x)
    check(tj.vmap(lambda x: jnp.fft.fft(x), in_axes=1, out_axes=1), x)


@needs_compiler
def test_in_a_loop_at_odd_places() -> None:
    """Signals of 5 float32 of a scan: each but the first begins at no multiple of 16 bytes."""

    def steps(xs: Any) -> Any:
        return tj.lax.scan(lambda c, x: (c + jnp.abs(jnp.fft.rfft(x)), jnp.fft.fft(x)), c0, xs)

    c0 = np.zeros(3, np.float32)
    made = check(steps, drawn(4, 5, dtype=np.float32), tolerance=1e-4)
    assert any(c.before for c in made.program.calls if isinstance(c, LibraryCall))


@needs_compiler
def test_without_a_library_the_host_does_it() -> None:
    x = drawn(3, 8)
    made = compiled(lambda x: (jnp.fft.rfft(x), sf.dct(x)), x, libraries=False)
    assert not specs(made)
    np.testing.assert_allclose(made.run([x])[0], np.fft.rfft(x), rtol=1e-10)


@needs_compiler
def test_empty() -> None:
    x = np.zeros((0, 4), np.complex64)
    (found,) = compiled(lambda x: jnp.fft.fft(x), x).run([x])
    assert found.shape == (0, 4)


def test_strides_reach_every_element_once() -> None:
    for first, (kind, lengths, batch) in itertools.product(
        (True, False), [("fft", (3, 4), 5), ("rfft", (6,), 2), ("irfft", (7,), 3)]
    ):
        spec = FftSpec(kind, "f32", lengths, batch, first)
        step, *distances = spec.strides
        for extents, distance in zip(spec.extents, distances, strict=True):
            size = int(np.prod(extents))
            places = {b * distance + k * step for b in range(batch) for k in range(size)}
            assert places == set(range(batch * size))


# ---- what goes to the library --------------------------------------------------------------------

SPECS = [
    FftSpec(kind, dtype, lengths, batch, first)
    for kind, lengths in (
        ("fft", (8,)),
        ("ifft", (5,)),
        ("fft", (3, 4)),
        ("ifft", (2, 3, 4)),
        ("rfft", (8,)),
        ("rfft", (3, 5)),
        ("rfft", (2, 3, 4)),
        ("irfft", (8,)),
        ("irfft", (7,)),
    )
    for dtype in ("f32", "f64")
    for batch in (1, 6)
    for first in (False, True)
]


def memory_of(spec: FftSpec) -> list[np.ndarray]:
    """A signal, and memory for what becomes of it."""
    (x, count), (y, size) = host_solver._fft_sizes(spec).values()
    signal = drawn(count, dtype=x)
    if spec.kind == "irfft":  # a spectrum of something real
        half = spec.extents[0][0]
        rows = signal.reshape((half, spec.batch) if spec.first else (spec.batch, half))
        ends = rows if spec.first else rows.T
        ends[0].imag = 0
        if spec.lengths[0] % 2 == 0:
            ends[-1].imag = 0
    return [signal, np.full(size, 9, y)]


@pytest.mark.parametrize("spec", SPECS, ids=text)
def test_what_goes_to_the_library(spec: FftSpec) -> None:
    """Through C, to functions that do what NVIDIA says of their arguments."""
    found = memory_of(spec)
    wanted = [x.copy() for x in found]
    host = HostDevice()
    with fake_libraries() as fake:
        plan = Cufft(lambda: 5 << 33, ctypes.memmove).plan(spec)
        assert plan is not None and plan.recorded
        for _ in range(2):
            workspace = host.alloc(plan.workspace)
            plan.run([x.ctypes.data for x in found], workspace.address)
        assert fake.calls.count("SetWorkArea") == 2  # it lies elsewhere the second time
        plan.run([x.ctypes.data for x in found], workspace.address)
        assert fake.calls.count("SetWorkArea") == 2
        assert {p["stream"] for p in fake.plans.values()} == {5 << 33}
        del plan
        assert not fake.plans, "a plan was not given back"
    scratch = host.alloc(1024)
    own = host_solver.solver_plan(spec, lambda work: work(), lambda *args: None)
    own.run([x.ctypes.data for x in wanted], scratch.address)
    for a, b in zip(found, wanted, strict=True):
        assert np.array_equal(a, b)


def test_sizes_that_it_does_not_take_have_no_plan() -> None:
    with fake_libraries() as fake:
        library = Cufft(lambda: 0, ctypes.memmove)
        fake.failing["MakePlanMany64"] = 8
        assert library.plan(FftSpec("fft", "f32", (8,), 1)) is None
        assert not fake.plans
        fake.failing["MakePlanMany64"] = 5
        with pytest.raises(DeviceError, match=r"cuFFT: INTERNAL_ERROR .* 1 x fft of \[8\], f32"):
            library.plan(FftSpec("fft", "f32", (8,), 1))


@pytest.mark.skipif(shared.find("cufft") is None, reason=shared.why_missing("cufft"))
def test_the_real_library_has_every_function() -> None:
    """It loads without a GPU, and says that there is none."""
    assert set(cufft.functions()) == set(cufft.SIGNATURES)
    with pytest.raises(DeviceError, match="from cufftCreate"):
        Cufft(lambda: 0, ctypes.memmove).plan(FftSpec("fft", "f32", (8,), 3))


@needs_compiler
def test_programs_on_a_gpu() -> None:
    """Transforms are part of recordings."""
    x = drawn(3, 8, dtype=np.float32)

    def function(x: Any) -> Any:
        y = jnp.fft.rfft(jnp.tanh(x), axis=0) * 2.0
        return jnp.fft.irfft(y, 3, axis=0) + 1.0, sf.dct(x)

    with fake_cuda() as cuda:
        device = CupyDevice(0)
        with registry.emulated(device):
            compiled, there = tj.jit(function, device="gpu"), tj.device_put(x, "gpu")
            for _ in range(4):
                found = [np.asarray(y) for y in compiled(there)]
        calls = cuda.libraries.calls
        assert calls.count("ExecC2R") < 4 and cuda.calls["graphLaunch"] > 0
    np.testing.assert_allclose(found[0], 2 * np.tanh(x) + 1, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[1], sf.dct(jnp.asarray(x)), rtol=1e-4, atol=1e-4)


@needs_compiler
def test_a_missing_library_is_said_once() -> None:
    x = drawn(3, 8)
    with fake_cuda(libraries=False):
        device = CupyDevice(0)
        with registry.emulated(device), pytest.warns(RuntimeWarning) as said:
            found = np.asarray(tj.jit(lambda x: jnp.fft.rfft(x), device="gpu")(x))
    np.testing.assert_allclose(found, np.fft.rfft(x), rtol=1e-10)
    wanted = "cufft was not found: pip install it; the host computes in its place"
    assert [str(w.message) for w in said].count(wanted) == 1
