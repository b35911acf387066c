"""On a real GPU (``pytest -m gpu``): what the emulated devices promise holds there too.

Programs of every kind against the CPU, libraries against NumPy's meaning of their specs,
recordings, late failures, lack of memory, memory shared with CuPy and torch, users' kernels.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
import tracejit.scipy.fft as scipy_fft
from tests.gpu.own_kernels import OFFSETS, X, lse, lse_in_cuda, saxpy
from tests.gpu.test_cufft import SPECS as FFT_SPECS
from tests.gpu.test_cufft import memory_of as signal_of
from tests.gpu.test_cusolver import positive
from tests.gpu.test_cusolver_calls import memory_of as matrices_of
from tests.gpu.test_cusolver_calls import specs as solver_specs
from tests.gpu.test_host_library import CONVOLUTIONS, plain, spec_of
from tests.programs.table import PROGRAMS
from tests.programs.test_programs import assert_close
from tracejit import debug, grad, jit, lax, nn
from tracejit.errors import DeviceError, OutOfBoundsError, OutOfMemoryError
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.gpu.library import (
    EPILOGUES,
    AttentionSpec,
    ConvSpec,
    FftSpec,
    GemmSpec,
    Spec,
)
from tracejit.kernel.gpu.source import CudaSource
from tracejit.ops.dot import as_matmul
from tracejit.runtime.gpu.cufft import text as fft_text
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.testing import check_grads

pytestmark = pytest.mark.gpu

f32 = np.float32


@pytest.fixture
def gpu() -> Iterator[tj.Device]:
    found = tj.devices("gpu")[0]
    yield found
    found.synchronize()  # what failed late is the test's that did it


def data(*shape: int, seed: int = 0, dtype: Any = f32) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def same(found: Any, wanted: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    for a, b in zip(tj.tree.leaves(found), tj.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype.kind == "V":
            a, b = a.astype(f32), b.astype(f32)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


# ---- programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(gpu: tj.Device, name: str) -> None:
    """Launched one by one, recorded, and replayed."""
    function, args = PROGRAMS[name]
    wanted = jit(function, mode="fast_compile")(*args)
    compiled = jit(function, device=gpu)
    for _ in range(3):
        assert_close(compiled(*args), wanted)


def mlp(params: Any, x: Any) -> Any:
    for w, b in params:
        x = jnp.tanh(x @ w + b)
    return jnp.mean(x**2)


def lstm(w: Any, xs: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        h, c = c
        i, f, g, o = jnp.split(jnp.concatenate([h, x], axis=1) @ w, 4, axis=1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((xs.shape[1], w.shape[1] // 4))
    return jnp.mean(lax.scan(step, (zero, zero), xs)[1] ** 2)


def convolve(w: Any, x: Any) -> Any:
    y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.mean(nn.relu(y) ** 2)


GRADIENTS = {
    "mlp": (mlp, ([(data(20, 33), data(33)), (data(33, 7), data(7))], data(65, 20))),
    "lstm": (lstm, (0.3 * data(24, 64), data(9, 5, 8))),
    "convolution": (convolve, (0.3 * data(3, 3, 8, 16), data(4, 12, 12, 8))),
    "attention": (
        lambda q, k: jnp.mean(nn.dot_product_attention(q, k, k) ** 2),
        (data(2, 16, 4, 32), data(2, 16, 4, 32, seed=1)),
    ),
    "sort": (lambda x, y: jnp.sum(jnp.sort(x)[:10] * y), (data(1000), data(10))),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(gpu: tj.Device, name: str) -> None:
    function, args = GRADIENTS[name]
    wanted = jit(grad(function))(*args)
    compiled = jit(grad(function), device=gpu)
    for _ in range(3):
        same(compiled(*args), wanted, rtol=2e-3, atol=2e-5)


def test_gradients_are_differences(gpu: tj.Device) -> None:
    with tj.default_device(gpu):
        check_grads(lambda x: jnp.sum(nn.softmax(x @ x) ** 2), (data(4, 4, dtype=np.float64),), 2)


def test_loops_that_wait_for_the_host(gpu: tj.Device, capsys: Any) -> None:
    def f(x: Any, n: Any) -> Any:
        def body(i: Any, x: Any) -> Any:
            debug.print("step {i}", i=i)
            y = lax.cond(i % 2 == 0, lambda x: nn.softmax(x @ x), lambda x: x * 2, x)
            return tj.pure_callback(
                lambda y: np.asarray(y) + 1, tj.ShapeDtypeStruct(y.shape, y.dtype), y
            )

        return lax.while_loop(
            lambda x: x.sum() < 1e3, lambda x: x * 1.5 + 1, lax.fori_loop(0, n, body, x)
        )

    x, n = data(5, 5), np.int32(3)
    wanted = jit(f)(x, n)
    for _ in range(3):
        same(jit(f, device=gpu)(x, n), wanted)
    assert capsys.readouterr().out == "step 0\nstep 1\nstep 2\n" * 4


def test_sizes_from_small_to_large(gpu: tj.Device) -> None:
    f = jit(lambda x: (nn.softmax(x), jnp.sum(x, axis=0), jnp.max(x)), device=gpu)
    for shape in ((1, 1), (3, 5), (17, 1025), (1000, 64), (5, 200_000), (200_000, 5)):
        x = data(*shape)
        e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
        softmax, total, largest = map(np.asarray, f(x))
        np.testing.assert_allclose(softmax, e / e.sum(axis=1, keepdims=True), rtol=2e-5, atol=1e-9)
        wide = x.astype(np.float64)
        bound = 1e-5 * np.abs(wide).sum(axis=0).max()
        np.testing.assert_allclose(total, wide.sum(axis=0), rtol=0, atol=bound)
        assert largest == x.max()


# ---- libraries -----------------------------------------------------------------------------------


def run(device: Any, spec: Spec, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The operands after the call; the test is skipped where no library has it."""
    plan = device.library(spec)
    if plan is None:
        pytest.skip("no library has it here")
    arrays = {name: np.ascontiguousarray(arrays[name]) for name in spec.operands}
    memories = {name: device.alloc(array.nbytes) for name, array in arrays.items()}
    for name, memory in memories.items():
        device.to_device(memory.address, arrays[name])
    workspace = device.alloc(plan.workspace)
    places = [memories[name].address for name in spec.operands]
    plan.run(places, workspace.address)
    device.record(lambda: plan.run(places, workspace.address)).launch()  # and in a graph
    found = {name: np.empty_like(array) for name, array in arrays.items()}
    for name, memory in memories.items():
        device.to_host(found[name], memory.address)
    return found


def compare(gpu: tj.Device, spec: Spec, arrays: dict[str, np.ndarray], *names: str) -> None:
    """A library's results against those of the device that plays a GPU."""
    dtype = spec.dtype
    found, wanted = run(gpu.runtime, spec, arrays), run(HostDevice(), spec, arrays)
    tolerance = {"f64": 1e-12, "f32": 2e-5, "f16": 2e-3, "bf16": 2e-2}[dtype]
    for name in names:
        a, b = (x[name].astype(np.float64) for x in (found, wanted))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()))


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
@pytest.mark.parametrize("shapes", [((64, 96), (96, 128)), ((5, 7), (7, 8)), ((3, 40, 24),) * 2])
def test_products(gpu: tj.Device, shapes: Any, dtype: str) -> None:
    x, y = (data(*shape, seed=k).astype(DTYPES[dtype]) for k, shape in enumerate(shapes))
    batched = x.ndim == 3
    numbers = (((2,), (2,)), ((0,), (0,))) if batched else (((1,), (0,)), ((), ()))
    matmul = as_matmul(TensorType(x.dtype, x.shape), TensorType(y.dtype, y.shape), numbers)
    spec = GemmSpec(dtype, dtype, "f64" if dtype == "f64" else "f32", matmul)
    out = np.zeros((matmul.b, matmul.m, matmul.n), x.dtype)
    compare(gpu, spec, {"lhs": x, "rhs": y, "out": out}, "out")


@pytest.mark.parametrize("epilogue", [e for e in EPILOGUES if "relu_" not in e and "drelu" != e])
def test_epilogues(gpu: tj.Device, epilogue: str) -> None:
    m, k, n = 64, 96, 128
    x, y, bias, aux = (
        data(*s, seed=i).astype(np.float16) for i, s in enumerate(((m, k), (k, n), (n,), (m, n)))
    )
    spec = GemmSpec("f16", "f16", "f32", plain(m, k, n, "f16"), epilogue)
    arrays = {"lhs": x, "rhs": 0.1 * y, "bias": bias, "aux": aux, "dbias": bias, "out": aux}
    names = ("out", *({"dbias"} & {*spec.operands}), *(["aux"] if "_aux" in epilogue else []))
    compare(gpu, spec, {name: a.astype(np.float16) for name, a in arrays.items()}, *names)


def test_the_gradient_of_relu_reads_what_the_product_left(gpu: tj.Device) -> None:
    """The order of the bits in between is the library's own."""
    m, k, n = 64, 96, 128
    x, y = data(m, k, dtype=np.float16), 0.1 * data(k, n, dtype=np.float16)
    arrays = {"lhs": x, "rhs": y.astype(np.float16), "out": np.zeros((m, n), np.float16)}
    arrays |= {"aux": np.zeros((m, n // 8), np.uint8), "dbias": np.zeros(n, np.float16)}
    spec = GemmSpec("f16", "f16", "f32", plain(m, k, n, "f16"), "relu_aux")
    forward = run(gpu.runtime, spec, arrays)
    arrays["aux"] = forward["aux"]
    found = run(gpu.runtime, replace(spec, epilogue="drelu_bgrad"), arrays)
    z = x.astype(f32) @ arrays["rhs"].astype(f32)
    np.testing.assert_allclose(forward["out"], np.maximum(z, 0), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(found["out"], z * (z > 0), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(found["dbias"], (z * (z > 0)).sum(0), rtol=2e-2, atol=0.2)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("direction", ["forward", "data", "weights"])
@pytest.mark.parametrize("name", ["plain", "strides", "dilation", "groups"])
def test_convolutions(gpu: tj.Device, name: str, direction: str, dtype: str) -> None:
    """Tensor cores are for f16 and bf16; f32 keeps its digits."""
    x, w, strides, padding, dilation, groups = CONVOLUTIONS[name]
    x, w = ((n[0] * 8, n[1] * 8, *n[2:]) for n in (x, w))
    out = tuple(
        (n + a + b - d * (k - 1) - 1) // s + 1
        for n, k, s, (a, b), d in zip(x[2:], w[2:], strides, padding, dilation, strict=True)
    )
    y = (x[0], w[0], *out)
    case = (x, w, strides, padding, dilation, groups)
    spec: ConvSpec = replace(spec_of(case, direction, y, last=True), dtype=dtype, compute="f32")
    last = {"x": x, "w": w, "y": y}
    arrays = {
        key: (0.2 * data(n[0], *n[2:], n[1])).astype(DTYPES[dtype]) for key, n in last.items()
    }
    compare(gpu, spec, arrays, {"forward": "y", "data": "x", "weights": "w"}[direction])


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("mask", ["", "causal", "bias"])
def test_attention(gpu: tj.Device, mask: str, dtype: str) -> None:
    b, h, s, d = 2, 3, 128, 64
    shape = (1, h, s, s) if mask == "bias" else ()
    names = ("q", "k", "v", "out", "dout", "dq", "dk", "dv")
    arrays = {n: data(b, h, s, d, seed=k).astype(DTYPES[dtype]) for k, n in enumerate(names)}
    arrays["stats"] = np.zeros((b, h, s, 1), f32)
    arrays["bias"] = data(1, h, s, s).astype(DTYPES[dtype])
    forward = AttentionSpec("forward", dtype, b, h, s, s, d, 0.125, (0, 1, 2, 3), mask, shape)
    compare(gpu, forward, arrays, "out", "stats")
    kept = run(HostDevice(), forward, arrays)
    arrays |= {"out": kept["out"], "stats": kept["stats"]}
    compare(gpu, replace(forward, direction="backward"), arrays, "dq", "dk", "dv")


@pytest.mark.parametrize("causal", [False, True])
def test_attention_in_bf16(gpu: tj.Device, causal: bool) -> None:
    q, k, v = (data(2, 128, 4, 64, seed=n).astype(ml_dtypes.bfloat16) for n in range(3))

    def loss(q: Any, k: Any, v: Any) -> Any:
        y = nn.dot_product_attention(q, k, v, is_causal=causal)
        return jnp.mean(y.astype("float32") ** 2), y

    f = tj.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    wanted = jit(f)(*(x.astype(f32) for x in (q, k, v)))
    for _ in range(3):
        found = jit(f, device=gpu)(q, k, v)
    for a, b in zip(tj.tree.leaves(found), tj.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a).astype(f32), np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02 * float(np.abs(b).max()))


def run_once(device: Any, spec: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The operands after one call, which may overwrite them."""
    plan = device.library(spec)
    if plan is None:
        pytest.skip("no library has it here")
    memories = {name: device.alloc(array.nbytes) for name, array in arrays.items()}
    for name, array in arrays.items():
        device.to_device(memories[name].address, array)
    workspace = device.alloc(max(plan.workspace, 1))
    plan.run([memories[name].address for name in spec.operands], workspace.address)
    found = {name: np.empty_like(array) for name, array in arrays.items()}
    for name, memory in memories.items():
        device.to_host(found[name], memory.address)
    return found


@pytest.mark.parametrize("spec", FFT_SPECS, ids=fft_text)
def test_fourier_transforms(gpu: tj.Device, spec: FftSpec) -> None:
    """In recordings too, and what is transformed stays what it was."""
    arrays = dict(zip("xy", signal_of(spec), strict=True))
    found, wanted = run(gpu.runtime, spec, arrays), run(HostDevice(), spec, arrays)
    assert np.array_equal(found["x"], arrays["x"])
    close = 1e-4 if spec.dtype == "f32" else 1e-11
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=close, atol=close)


#: what is the same whatever signs and phases a library takes
COMPARED = {
    "potrf": ("a", "info"),
    "getrf": ("a", "pivots", "info"),
    "geqrf": ("info",),
    "orgqr": ("a", "info"),
    "trsm": ("b",),
    "syevd": ("values", "info"),
    "gesvd": ("values", "info"),
    "gesvdj": ("values", "info"),
}


@pytest.mark.parametrize("dtype", ["f32", "f64", "c64", "c128"])
def test_routines_of_linear_algebra(gpu: tj.Device, dtype: str) -> None:
    for spec in solver_specs(dtype):
        arrays = matrices_of(spec)
        found = run_once(gpu.runtime, spec, arrays)
        wanted = run_once(HostDevice(), spec, arrays)
        close = 2e-3 if dtype in ("f32", "c64") else 1e-9
        for name in COMPARED[spec.routine]:
            np.testing.assert_allclose(
                found[name], wanted[name], rtol=close, atol=close, err_msg=f"{spec}: {name}"
            )


@pytest.mark.parametrize("dtype", ["f32", "f64", "c64", "c128"])
@pytest.mark.parametrize("shape", [(5, 5), (300, 300), (7, 6, 6), (2, 40, 40)], ids=str)
def test_linear_algebra(gpu: tj.Device, shape: tuple[int, ...], dtype: str) -> None:
    """What factors make up is compared; on the device from call to call."""
    a, b = positive(dtype, *shape), data(*shape, seed=1).astype(DTYPES[dtype])

    def all_of(a: Any, b: Any) -> Any:
        low, (q, r) = jnp.linalg.cholesky(a), jnp.linalg.qr(b)
        (w, v), (u, s, vh) = jnp.linalg.eigh(a), jnp.linalg.svd(b, full_matrices=False)
        sign, size = jnp.linalg.slogdet(a)
        h = jnp.conj(jnp.swapaxes(v, -1, -2))
        rebuilt = (v * w[..., None, :]) @ h, (u * s[..., None, :]) @ vh, q @ r
        return low, jnp.linalg.solve(a, b), w, s, sign, size / shape[-1], *rebuilt

    compiled = jit(all_of, device=gpu)
    wanted = jit(all_of)(a, b)
    rtol = 5e-3 if dtype in ("f32", "c64") else 1e-8
    for _ in range(3):
        same(compiled(a, b), wanted, rtol=rtol, atol=rtol * float(np.abs(a).max()))


def test_matrices_that_fail_are_nan(gpu: tj.Device) -> None:
    a = np.stack([np.eye(4), -np.eye(4), np.full((4, 4), np.nan)]).astype(f32)
    f = jit(lambda a: (jnp.linalg.cholesky(a), *jnp.linalg.eigh(a), jnp.linalg.svdvals(a)))
    low, w, v, s = map(np.asarray, f(tj.device_put(a, gpu)))
    assert np.isfinite(low[0]).all() and np.isnan(low[1:]).any(axis=(1, 2)).all()
    for x in (w, v, s):
        assert np.isfinite(x[:2]).all() and np.isnan(x[2]).all()


def test_transforms_of_any_axes_and_lengths(gpu: tj.Device) -> None:
    x = data(6, 35, 8)

    def f(x: Any) -> Any:
        found = [jnp.abs(jnp.fft.fftn(x, axes=axes)) for axes in ((0,), (1,), (2,), (0, 2), None)]
        return *found, jnp.fft.irfft(jnp.fft.rfft(x, axis=1), 35, axis=1), scipy_fft.dctn(x)

    for _ in range(3):
        same(jit(f, device=gpu)(x), jit(f)(x), rtol=2e-3, atol=2e-3)


# ---- how programs run ----------------------------------------------------------------------------


class Recordings:
    def __init__(self, runtime: Any, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = runtime.record

        def record(work: Any) -> Any:
            self.count += 1
            return real(work)

        patch.setattr(runtime, "record", record)


def test_training_is_one_graph(gpu: tj.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = Recordings(gpu.runtime, monkeypatch)

    def step(params: Any, x: Any) -> Any:
        loss, grads = tj.value_and_grad(mlp)(params, x)
        return tj.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

    params, x = GRADIENTS["mlp"][1]
    there = tj.device_put(params, gpu)
    jitted, here = jit(step, donate_argnums=0), jit(step)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            there, loss = jitted(there, x)
            params, expected = here(params, x)
    same(loss, expected, rtol=1e-3)
    assert 1 <= recordings.count <= 8


def test_threads(gpu: tj.Device) -> None:
    f, x = jit(lambda x: nn.softmax(nn.softmax(x @ x) @ x)), data(64, 64)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            own = data(64, 64, seed=seed)
            wanted = np.asarray(f(own))
            for _ in range(20):
                np.testing.assert_allclose(f(tj.device_put(own, gpu)), wanted, rtol=1e-3)
        except BaseException as error:
            failures.append(error)

    f(tj.device_put(x, gpu))
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_indices_that_fail(gpu: tj.Device) -> None:
    f, x = jit(lambda x, i: nn.softmax(x @ x)[i]), tj.device_put(data(5, 5), gpu)
    for _ in range(4):
        y = f(x, jnp.array([7]))
        with pytest.raises(OutOfBoundsError, match=r"\[i\]"):
            y.block_until_ready()
        f(x, jnp.array([1])).block_until_ready()


def test_out_of_memory(gpu: tj.Device) -> None:
    pool = pytest.importorskip("cupy").get_default_memory_pool()
    x = tj.device_put(data(4000, 8), gpu)

    def f(x: Any) -> Any:
        y = nn.softmax(x @ x.T)
        return (y @ x + (y @ y) @ x).sum(axis=0)

    wanted = np.asarray(jit(f)(data(4000, 8)))
    with gpu.runtime.at("setting a limit"):
        pool.free_all_blocks()
        pool.set_limit(size=pool.total_bytes() + (120 << 20))  # two products take 122 MiB
        try:
            with pytest.raises(OutOfMemoryError) as caught:
                jit(f)(x).block_until_ready()
            assert "f32[4000,4000]" in str(caught.value) and "test_on_gpu.py" in str(caught.value)
            small = jit(f)(tj.device_put(data(200, 8), gpu))
            same(small, jit(f)(data(200, 8)), rtol=1e-3, atol=1e-3)
        finally:
            pool.set_limit(size=0)
    np.testing.assert_allclose(jit(f)(x), wanted, rtol=1e-3, atol=1e-3)


WILD = """
import numpy as np
import tracejit as tj
from tracejit.errors import DeviceError
from tracejit.kernel.gpu.source import CudaSource

gpu = tj.devices("gpu")[0]
device = gpu.runtime
text = 'extern "C" __global__ void wild(float* x) { x[1ll << 40] = 1; }'
device.launch(device.load([CudaSource("wild", text, header=False)])["wild"], 1, 1, [0])
for _ in range(2):
    try:
        tj.jit(lambda x: x + 1)(tj.device_put(np.ones(3), gpu)).block_until_ready()
    except DeviceError as error:
        print(error)
"""


def test_a_lost_context_is_said(gpu: tj.Device) -> None:
    done = subprocess.run([sys.executable, "-c", WILD], capture_output=True, text=True)
    assert done.stdout.count("the context of cuda:0 is lost") == 2, done.stdout + done.stderr
    assert "it was lost before" in done.stdout


def test_a_launch_that_is_refused_harms_nothing(gpu: tj.Device) -> None:
    runtime, f = gpu.runtime, jit(lambda x: nn.softmax(x @ x), device=gpu)
    wanted = np.asarray(f(data(5, 5)))
    from_user = 'extern "C" __global__ void idle(float* x) {}'
    idle = runtime.load([CudaSource("idle", from_user, header=False)])["idle"]
    with pytest.raises(DeviceError, match="launching a kernel"):
        runtime.launch(idle, 1, 4096, [0])
    np.testing.assert_array_equal(f(data(5, 5)), wanted)


# ---- other libraries, users' kernels -------------------------------------------------------------


def test_memory_shared_with_cupy(gpu: tj.Device) -> None:
    cupy: Any = pytest.importorskip("cupy")
    f = jit(lambda x: jnp.exp(x) * 2)
    with gpu.runtime.at("a test"):
        for size in (1000, 0):
            theirs = cupy.arange(size, dtype=f32) / 1000
            for ours in (jnp.asarray(theirs), tj.numpy.from_dlpack(theirs)):
                assert ours.device is gpu
                back = cupy.asarray(f(ours))
                np.testing.assert_allclose(back.get(), 2 * np.exp(theirs.get()), rtol=1e-6)
                again = cupy.from_dlpack(f(ours))
                np.testing.assert_allclose(again.get(), back.get())
        odd = cupy.arange(1001, dtype=f32)[1:]  # begins at no multiple of 16 bytes
        np.testing.assert_array_equal(jit(lambda x: x * 2)(jnp.asarray(odd)), 2 * odd.get())


def test_memory_shared_with_torch(gpu: tj.Device) -> None:
    torch: Any = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch sees no GPU")
    theirs = torch.linspace(0, 1, 1000, device="cuda")
    ours = tj.numpy.from_dlpack(theirs)
    back = torch.from_dlpack(jit(lambda x: x * 2 + 1)(ours))
    torch.testing.assert_close(back, theirs * 2 + 1)
    half = jnp.asarray(theirs.to(torch.bfloat16))
    np.testing.assert_array_equal(
        np.asarray(half).astype(f32), theirs.to(torch.bfloat16).float().cpu().numpy()
    )


def test_kernels_of_users(gpu: tj.Device) -> None:
    x, y = data(1000), data(1000, seed=1)
    for _ in range(3):
        found = jit(saxpy, device=gpu)(f32(2), x, y)
    np.testing.assert_allclose(found, 2 * x + y, rtol=1e-6)
    found = jit(grad(lambda x: lse(x, OFFSETS).sum()), device=gpu)(X)
    wanted = jit(grad(lambda x: lse(x, OFFSETS).sum()))(X)
    same(found, wanted, rtol=1e-9)
    same(jit(lse_in_cuda, device=gpu)(X, OFFSETS), jit(lse)(X, OFFSETS), rtol=1e-9)


def test_two_gpus(gpu: tj.Device) -> None:
    devices = tj.devices("gpu")
    if len(devices) < 2:
        pytest.skip("there is one GPU")
    f, x = jit(lambda x: nn.softmax(x @ x)), data(64, 64)
    wanted = np.asarray(f(x))
    for device in (*devices, *devices):
        found = f(tj.device_put(x, device))
        assert found.device is device
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
    there = tj.device_put(tj.device_put(x, devices[1]), devices[0])
    np.testing.assert_array_equal(there, x)
    with pytest.raises(DeviceError, match="cuda:0 and cuda:1"):
        jit(jnp.add)(there, tj.device_put(x, devices[1]))
