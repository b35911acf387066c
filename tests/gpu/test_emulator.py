"""CUDA C on the CPU: what the language has, threads that wait for each other, and its errors."""

from __future__ import annotations

import math
import re

import ml_dtypes
import numpy as np
import pytest

from tests.gpu.host_kernels import kernel, launch, load, needs_compiler, source
from tracejit.errors import BackendError, DeviceError
from tracejit.runtime.gpu import host_compile
from tracejit.runtime.gpu.device import CudaSource
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.runtime.gpu.shared import include_folders

pytestmark = needs_compiler

ORDERS = (0, 1, 2, 9)


@pytest.fixture(scope="module")
def device() -> HostDevice:
    """Runs every launch in four orders, with all checks."""
    return HostDevice(orders=ORDERS, checks=True)


@pytest.fixture(scope="module")
def plain() -> HostDevice:
    return HostDevice()


def zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


# ---- threads, blocks, shared memory --------------------------------------------------------------


def test_a_kernel_without_barriers(device: HostDevice) -> None:
    text = kernel(
        "const float* x, float* y, long long n",
        """
        long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) y[i] = 2 * x[i] + gridDim.x;
        """,
    )
    x = np.arange(1000, dtype=np.float32)
    _, y = launch(device, text, 8, 128, x, zeros(1000), 1000)
    assert np.array_equal(y, 2 * x + 8)


def test_three_axes_of_blocks_and_threads(device: HostDevice) -> None:
    text = kernel(
        "int* y",
        """
        int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        y[b * 24 + t] = blockIdx.z * 100 + threadIdx.y * 10 + threadIdx.z;
        """,
    )
    (y,) = launch(device, text, (2, 3, 2), (2, 3, 4), zeros(12, 24, dtype=np.int32))
    want = y * 0
    for b in range(12):
        for t in range(24):
            want[b, t] = b // 6 * 100 + t // 2 % 3 * 10 + t // 6
    assert np.array_equal(y, want)


SOFTMAX = kernel(
    "const float* x, float* y, long long n",
    """
  extern __shared__ float row[];
  __shared__ float part[32];
  x += blockIdx.x * n; y += blockIdx.x * n;
  float m = -3e38f, s = 0;
  for (long long i = threadIdx.x; i < n; i += blockDim.x) m = fmaxf(m, row[i] = x[i]);
  for (int d = 16; d; d >>= 1) m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, d));
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = m;
  __syncthreads();
  for (int w = 0; w < blockDim.x / 32; w++) m = fmaxf(m, part[w]);
  __syncthreads();
  for (long long i = threadIdx.x; i < n; i += blockDim.x) s += row[i] = expf(row[i] - m);
  for (int d = 16; d; d >>= 1) s += __shfl_xor_sync(0xffffffffu, s, d);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
  __syncthreads();
  s = 0;
  for (int w = 0; w < blockDim.x / 32; w++) s += part[w];
  for (long long i = threadIdx.x; i < n; i += blockDim.x) y[i] = row[i] / s;
    """,
)


def test_softmax_by_shuffles_and_shared_memory(device: HostDevice) -> None:
    x = np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32)
    _, y = launch(device, SOFTMAX, 5, 128, x, zeros(5, 300), 300, shared=1200)
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-5)


def test_transposing_through_a_tile(device: HostDevice) -> None:
    text = """
template <int SIDE> __device__ __forceinline__ void copy(const float* x, float* y, int n) {
  __shared__ float tile[SIDE][SIDE + 1];
  const int j = blockIdx.x * SIDE + threadIdx.x, i = blockIdx.y * SIDE + threadIdx.y;
  for (int k = 0; k < SIDE; k += 8) tile[threadIdx.y + k][threadIdx.x] = x[(i + k) * n + j];
  __syncthreads();
  const int u = blockIdx.y * SIDE + threadIdx.x, v = blockIdx.x * SIDE + threadIdx.y;
  for (int k = 0; k < SIDE; k += 8) y[(v + k) * n + u] = tile[threadIdx.x][threadIdx.y + k];
}
""" + kernel("const float* x, float* y, int n", "copy<32>(x, y, n);")
    x = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    _, y = launch(device, text, (2, 2), (32, 8), x, zeros(64, 64), np.int32(64))
    assert np.array_equal(y, x.T)


def test_the_last_block_sums_what_all_wrote(device: HostDevice) -> None:
    """Fences and an atomic counter order blocks: no race is reported."""
    text = "__device__ unsigned arrived;\n" + kernel(
        "const float* x, float* parts, float* y",
        """
  __shared__ bool last;
  float v = x[blockIdx.x * 32 + threadIdx.x];
  for (int d = 16; d; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = v;
    __threadfence();
    last = atomicInc(&arrived, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float s = 0;
    for (int b = 0; b < gridDim.x; b++) s += parts[b];
    y[0] = s;
  }
        """,
    )
    x = np.arange(320, dtype=np.float32)
    assert launch(device, text, 10, 32, x, zeros(10), zeros(1))[2] == x.sum()
    without = text.replace("__threadfence();", "")
    with pytest.raises(DeviceError, match="race between blocks: this reads global memory"):
        launch(HostDevice(checks=True), without, 10, 32, x, zeros(10), zeros(1))


# ---- warps ---------------------------------------------------------------------------------------


def test_shuffles(device: HostDevice) -> None:
    text = kernel(
        "int* y",
        """
        int t = threadIdx.x; const unsigned all = 0xffffffffu;
        y[t] = __shfl_sync(all, t, 5);
        y[t + 32] = __shfl_sync(all, t, 3, 8);
        y[t + 64] = __shfl_up_sync(all, t, 2, 16);
        y[t + 96] = __shfl_down_sync(all, t, 3, 8);
        y[t + 128] = __shfl_xor_sync(all, t, 9, 8);
        double wide = __shfl_sync(all, t + 0.5, 31);
        y[t + 160] = (int)(2 * wide);
        """,
    )
    (y,) = launch(device, text, 1, 32, zeros(6, 32, dtype=np.int32))
    t = np.arange(32)
    assert np.array_equal(y[0], np.full(32, 5))
    assert np.array_equal(y[1], t // 8 * 8 + 3)
    assert np.array_equal(y[2], np.where(t % 16 >= 2, t - 2, t))
    assert np.array_equal(y[3], np.where(t % 8 < 5, t + 3, t))
    assert np.array_equal(y[4], np.where((t ^ 9) <= (t | 7), t ^ 9, t))
    assert np.array_equal(y[5], np.full(32, 63))


def test_votes_and_reductions(device: HostDevice) -> None:
    text = kernel(
        "unsigned* y",
        """
        int t = threadIdx.x; const unsigned all = 0xffffffffu;
        unsigned v[] = {__ballot_sync(all, t % 3 == 0), (unsigned)__any_sync(all, t == 7),
          (unsigned)__all_sync(all, t < 31), (unsigned)__all_sync(all, t < 32),
          __reduce_add_sync(all, (unsigned)t), (unsigned)__reduce_min_sync(all, 5 - t),
          __reduce_max_sync(all, (unsigned)t ^ 21), __reduce_xor_sync(all, (unsigned)t * 77),
          __match_any_sync(all, t / 16), __reduce_or_sync(all, 1u << t)};
        for (int k = 0; k < 10; k++) if (t == k) y[k] = v[k];
        """,
    )
    (y,) = launch(device, text, 1, 32, zeros(10, dtype=np.uint32))
    t = np.arange(32)
    ballot = int(sum(1 << int(k) for k in t if k % 3 == 0))
    xor = int(np.bitwise_xor.reduce(t * 77))
    assert y.tolist() == [
        *(ballot, 1, 0, 1, 496, 2**32 - 26, max(t ^ 21), xor, 0xFFFF, 2**32 - 1),
    ]


def test_parts_of_a_warp_meet_each_other(device: HostDevice) -> None:
    text = kernel(
        "int* y",
        """
        int t = threadIdx.x, half = t / 16;
        const unsigned mask = half ? 0xffff0000u : 0xffffu;
        int v = t;
        for (int d = 8; d; d >>= 1) v += __shfl_xor_sync(mask, v, d);
        y[t] = v + __popc(__activemask());
        """,
    )
    (y,) = launch(device, text, 1, 32, zeros(32, dtype=np.int32))
    assert y.tolist() == [120 + 32] * 16 + [376 + 32] * 16


def test_lanes_see_each_others_memory_after_syncwarp(device: HostDevice) -> None:
    body = """
        __shared__ int s[64];
        int t = threadIdx.x;
        s[t] = t;
        __syncwarp();
        y[t] = s[t ^ 1];
        """
    (y,) = launch(device, kernel("int* y", body), 1, 64, zeros(64, dtype=np.int32))
    assert np.array_equal(y, np.arange(64) ^ 1)
    with pytest.raises(DeviceError, match="race between threads of a block|nobody has written"):
        other = kernel("int* y", body.replace("t ^ 1", "t ^ 32"))
        launch(HostDevice(checks=True), other, 1, 64, zeros(64, dtype=np.int32))


def test_barriers_that_vote(device: HostDevice) -> None:
    text = kernel(
        "int* y",
        """
        int t = threadIdx.x;
        int a = __syncthreads_or(t == 40), b = __syncthreads_and(t != 40);
        int c = __syncthreads_count(t % 2);
        y[t] = a * 100 + b * 10 + c;
        """,
    )
    (y,) = launch(device, text, 1, 48, zeros(48, dtype=np.int32))
    assert set(y.tolist()) == {124}


# ---- atomic operations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        *((np.int32, "int"), (np.uint32, "unsigned"), (np.int64, "long long")),
        *((np.uint64, "unsigned long long"), (np.float32, "float"), (np.float64, "double")),
    ],
)
def test_atomics(device: HostDevice, dtype: type, name: str) -> None:
    text = kernel(
        f"{name}* y",
        """
        atomicAdd(y, 3); atomicSub(y + 1, 1); atomicMin(y + 2, threadIdx.x + 4);
        atomicMax(y + 3, threadIdx.x); atomicExch(y + 4, 7);
        """,
    )
    start = np.array([1, 500, 90, 0, 0], dtype)
    (y,) = launch(device, text, 2, 64, start)
    assert y.tolist() == [1 + 3 * 128, 500 - 128, 4, 63, 7]


def test_atomics_of_bits_and_compare_and_swap(device: HostDevice) -> None:
    text = """
__device__ float atomic_max(float* p, float v) {  // floats by compare and swap
  int old = *(int*)p, seen;
  do { seen = old; old = atomicCAS((int*)p, seen, __float_as_int(fmaxf(v, __int_as_float(seen)))); }
  while (seen != old);
  return __int_as_float(old);
}
""" + kernel(
        "unsigned* y, float* z, unsigned short* h",
        """
        unsigned t = threadIdx.x;
        atomicOr(y, 1u << t); atomicAnd(y + 1, ~(1u << t)); atomicXor(y + 2, t);
        atomicInc(y + 3, 9); atomicDec(y + 4, 9); atomic_max(z, t * 0.5f - 3);
        if (t == 2) atomicCAS(h + 1, (unsigned short)5, (unsigned short)6);
        """,
    )
    y, z, h = launch(
        device,
        text,
        1,
        32,
        np.array([0, 2**32 - 1, 0, 0, 0], np.uint32),
        np.array([-100], np.float32),
        np.array([5, 5, 5], np.uint16),
    )
    assert y.tolist() == [2**32 - 1, 0, 0, 2, 8]
    assert z == 12.5 and h.tolist() == [5, 6, 5]


# ---- numbers -------------------------------------------------------------------------------------

VALUES = [
    ("__float_as_int(1.5f)", np.float32(1.5).view(np.int32)),
    ("__int_as_float(0x7f800000) > 1e38f", 1),
    ("__double_as_longlong(-2.0) == (long long)0xc000000000000000ull", 1),
    ("__hiloint2double(0x40080000, 0) == 3.0", 1),
    ("__popc(0xf0f0u) + 100 * __popcll(7ull)", 308),
    ("__clz(1) + 100 * __clz(0)", 3231),
    ("__clzll(1) + __ffs(8) + __ffsll(0)", 67),
    ("__brev(1u) == 0x80000000u && __brevll(1ull) == 1ull << 63", 1),
    ("__byte_perm(0x33221100u, 0x77665544u, 0x7250) == 0x77225500u", 1),
    ("__byte_perm(0x80u, 0u, 0x0008) == 0xff", 0),  # the other bytes are byte 0
    ("__mul24(-3, 5)", -15),
    ("__mulhi(1 << 30, 8) + __umulhi(1u << 31, 4)", 4),
    ("__mul64hi(1ll << 62, 8) + (int)__umul64hi(1ull << 63, 4)", 4),
    ("__funnelshift_l(0x80000000u, 1u, 1)", 3),
    ("__dp4a(0x01020304, 0x01010101, 5)", 15),
    ("__float2int_rn(2.5f) + __float2int_rz(-2.7f) * 10 + __float2int_ru(1.1f) * 100", 182),
    ("__float2int_rz(1e20f) == 2147483647 && __float2int_rn(__int_as_float(0x7fc00000)) == 0", 1),
    ("__float2uint_rz(-3.f) == 0 && __double2ll_rz(1e300) == 9223372036854775807ll", 1),
    ("min(3, 5u) + max(2.5, 1.0) * 2 + min(1, 2)", 9),
    ("fmaxf(__int_as_float(0x7fc00000), 2.f) + max(1.f, __int_as_float(0x7fc00000))", 3),
    ("abs(-3) + abs(-2.5f) + fabs(-1.5) + abs(-3ll)", 10),
    ("isnan(__int_as_float(0x7fc00000)) + isinf(1.f) + isfinite(1.0) + signbit(-0.f)", 3),
    ("make_float4(1, 2, 3, 4).w + make_int2(5, 6).y + sizeof(float4) + alignof(double2)", 42),
    ("sizeof(float3) + alignof(short4) + sizeof(dim3)", 32),
    ("warpSize + (int)dim3(7).y + (int)dim3(4, 5).y", 38),
]


def test_intrinsics(plain: HostDevice) -> None:
    lines = "\n".join(f"y[{k}] = (double)({text});" for k, (text, _) in enumerate(VALUES))
    (y,) = launch(plain, kernel("double* y", lines), 1, 1, zeros(len(VALUES), dtype=np.float64))
    wrong = [(text, got, want) for got, (text, want) in zip(y, VALUES, strict=True) if got != want]
    assert not wrong


FUNCTIONS = {
    **{f: getattr(math, f) for f in "exp expm1 sin cos tan tanh sinh cosh asinh atan".split()},
    **{f: getattr(math, f) for f in "sqrt log log2 log10 log1p erf erfc lgamma floor".split()},
    "rsqrt": lambda x: x**-0.5,
    "cbrt": lambda x: x ** (1 / 3),
    "exp2": lambda x: 2**x,
    "exp10": lambda x: 10**x,
    "sinpi": lambda x: math.sin(math.pi * x),
    "cospi": lambda x: math.cos(math.pi * x),
    "normcdf": lambda x: math.erfc(-x / math.sqrt(2)) / 2,
}


def test_functions_of_float_and_double(plain: HostDevice) -> None:
    names = list(FUNCTIONS)
    fast = ("exp", "log", "sin", "cos", "tan", "log2", "log10", "exp10")
    body = "\n".join(
        [
            *(f"y[{k}] = {f}(x); y[{k} + 100] = {f}f((float)x);" for k, f in enumerate(names)),
            *(f"y[{k} + 200] = {f}((float)x);" for k, f in enumerate(names)),
            *(f"y[{k} + 300] = __{f}f((float)x);" for k, f in enumerate(fast)),
        ]
    )
    (y,) = launch(
        plain, kernel("double x, double* y", body), 1, 1, np.float64(0.7), zeros(400, dtype="f8")
    )
    want = np.array([f(0.7) for f in FUNCTIONS.values()])
    np.testing.assert_allclose(y[: len(names)], want, rtol=1e-12)
    np.testing.assert_allclose(y[100 : 100 + len(names)], want, rtol=3e-6)
    np.testing.assert_allclose(y[200 : 200 + len(names)], want, rtol=3e-6)
    np.testing.assert_allclose(
        y[300 : 300 + len(fast)], [FUNCTIONS[f](0.7) for f in fast], rtol=3e-6
    )


def test_inverses_of_the_error_function(plain: HostDevice) -> None:
    text = kernel(
        "const double* x, double* y, double* z, double* w",
        "int t = threadIdx.x; y[t] = erfinv(x[t]); z[t] = erfcinv(x[t]); w[t] = normcdfinv(x[t]);",
    )
    x = np.array([1e-300, 1e-9, 0.01, 0.3, 0.5, 0.6, 0.99, 1 - 1e-12])
    _, y, z, w = launch(plain, text, 1, len(x), x, x * 0, x * 0, x * 0)
    np.testing.assert_allclose([math.erf(v) for v in y], x, rtol=1e-14)
    np.testing.assert_allclose([math.erfc(v) for v in z], x, rtol=1e-11)
    np.testing.assert_allclose([math.erfc(-v / math.sqrt(2)) / 2 for v in w], x, rtol=1e-11)


def test_vectors_without_nvidias_headers(device: HostDevice) -> None:
    text = kernel(
        "const float4* x, float2* y",
        """
        float4 v = __ldg(x + threadIdx.x);
        y[threadIdx.x] = make_float2(v.x + v.y, v.z * v.w);
        """,
    )
    x = np.arange(32, dtype=np.float32).reshape(8, 4)
    _, y = launch(device, text, 1, 8, x, zeros(8, 2))
    assert np.array_equal(y, np.stack([x[:, 0] + x[:, 1], x[:, 2] * x[:, 3]], 1))


@pytest.mark.skipif(not include_folders(), reason="NVIDIA's headers are not here")
def test_halves_of_nvidias_headers(device: HostDevice) -> None:
    text = "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n" + kernel(
        "const __half* x, const __nv_bfloat16* y, float* z, __half* h, __nv_bfloat16* b, float4* v",
        """
        int t = threadIdx.x;
        z[t] = __half2float(x[t]) * __bfloat162float(y[t]);
        h[t] = __float2half(z[t]); b[t] = __float2bfloat16(z[t]);
        atomicAdd(h + 32, __float2half(1.f));
        __half w = __shfl_xor_sync(0xffffffffu, x[t], 1);
        v[t] = make_float4(__half2float(w), 0, 0, sizeof(float4));
        """,
    )
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=32).astype(np.float16), rng.normal(size=32).astype(ml_dtypes.bfloat16)
    h, b = np.zeros(33, np.float16), np.zeros(32, ml_dtypes.bfloat16)
    _, _, z, h, b, v = launch(device, text, 1, 32, x, y, zeros(32), h, b, zeros(32, 4))
    want = x.astype(np.float32) * y.astype(np.float32)
    assert np.array_equal(z, want)
    assert np.array_equal(h[:32], want.astype(np.float16)) and h[32] == 32
    assert np.array_equal(b, want.astype(ml_dtypes.bfloat16))
    assert np.array_equal(v[:, 0], x[np.arange(32) ^ 1].astype(np.float32)) and v[0, 3] == 16


# ---- texts ---------------------------------------------------------------------------------------


def test_kernels_of_one_name(plain: HostDevice) -> None:
    one, two = (kernel("float* y", f"y[threadIdx.x] = {k};") for k in (1, 2))
    results = [launch(plain, text, 1, 4, zeros(4))[0][0] for text in (one, two, one)]
    assert results == [1, 2, 1]


def test_many_kernels_at_once(plain: HostDevice) -> None:
    texts = [
        kernel("float* y", f"__shared__ float s; s = {k}; *y = s;", f"k{k}") for k in range(20)
    ]
    functions = plain.load([source(text) for text in texts])
    memory = plain.alloc(4)
    for k in range(20):
        plain.launch(functions[f"k{k}"], 1, 1, (memory.address,))
        y = zeros(1)
        plain.to_host(y, memory.address)
        assert y == k


def test_macros_and_includes_and_constants(plain: HostDevice) -> None:
    text = """
#include <math.h>
#include <cuda_runtime.h>
#define TWICE(x) (2 * (x))
__constant__ float table[2] = {3, 4};
struct Pair { float a, b; };
static __device__ float from(const Pair& p) { return p.a + p.b; }
""" + kernel("Pair p, float* y", "*y = TWICE(from(p)) + table[1] + sqrt(4.f) + std::exp(0.f);")
    pair = np.array([(1, 2)], [("a", "f4"), ("b", "f4")])
    device = plain
    memory = device.alloc(4)
    device.launch(load(device, text), 1, 1, (pair, memory.address))
    y = zeros(1)
    device.to_host(y, memory.address)
    assert y == 13


def test_the_compilers_message() -> None:
    good = kernel("float* y", "*y = 1;", "good")
    bad = kernel("float* y", "float z = 1;\n*y = zz + 1;", "bad")
    with pytest.raises(BackendError) as caught:
        HostDevice().load([source(good), source(bad)])
    said = str(caught.value)
    assert said.startswith("kernel bad does not compile for the CPU: line 3: ‘zz’ was not declared")
    assert "3 | *y = zz + 1;" in said
    undefined = "__device__ float nowhere(float);\n" + kernel("float* y", "*y = nowhere(1);")
    with pytest.raises(BackendError, match="nowhere"):
        HostDevice().load([source(undefined)])


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    host_compile.compiler.cache_clear()
    monkeypatch.setattr(host_compile.shutil, "which", lambda name: None)
    try:
        with pytest.raises(BackendError, match="takes the compiler g\\+\\+, which is not there"):
            host_compile.compiler()
    finally:
        monkeypatch.undo()
        host_compile.compiler.cache_clear()


def test_generated_kernels_have_the_header(plain: HostDevice) -> None:
    functions = plain.load([CudaSource("kernel", kernel("float* y", "*y = 5;"))])
    memory = plain.alloc(4)
    plain.launch(functions["kernel"], 1, 1, (memory.address,))
    y = zeros(1)
    plain.to_host(y, memory.address)
    assert y == 5


# ---- errors of threads that wait -----------------------------------------------------------------

WRONG = {
    "divergent barrier: threads of a block wait at different ones": (
        "if (threadIdx.x < 8) __syncthreads();\nelse\n__syncthreads();",
        [2, 4],
    ),
    "lanes of one mask, 0xffffffff, meet in different places": (
        "if (threadIdx.x < 8) __syncwarp();\nelse __syncwarp();",
        [3, 2],
    ),
    "__shfl_sync: mask 0x00000001 does not name the lane that calls, 1": (
        "y[threadIdx.x] = __shfl_sync(1u, 3, 0);",
        [2],
    ),
    "__any_sync: mask 0xffffffff names lane 16, but the block has 16 threads": (
        "if (blockDim.x == 16) y[0] = __any_sync(0xffffffffu, 3);",
        [2],
    ),
    "__syncwarp: mask 0xffffffff names lane 0, which has ended": (
        "if (threadIdx.x == 0) return;\n__syncwarp();",
        [3],
    ),
    "__shfl_sync: lane 0 reads from lane 9, which mask 0x000000ff does not name": (
        "if (threadIdx.x < 8) y[threadIdx.x] = __shfl_sync(0xffu, 3, 9);",
        [2],
    ),
    "deadlock: __syncwarp waits for lane 31, which waits elsewhere": (
        "if (threadIdx.x == 31) __syncthreads();\nelse __syncwarp();",
        [3, 2],
    ),
    "deadlock: __syncwarp waits for lane 31, which has ended": (
        "if (threadIdx.x == 31) return;\n__syncwarp();",
        [3],
    ),
    "assert(y == 0) failed": ("assert(y == 0);", [2]),
    "__trap() failed": ("if (threadIdx.x == 3) __trap();", [2]),
}


@pytest.mark.parametrize("what", WRONG)
def test_threads_that_do_not_meet(plain: HostDevice, what: str) -> None:
    body, lines = WRONG[what]
    block = 16 if "16 threads" in what else 32
    with pytest.raises(DeviceError) as caught:
        launch(plain, kernel("float* y", body), 1, block, zeros(32))
    said = str(caught.value)
    assert said.startswith(f"kernel kernel: {what}"), said
    assert [int(n) for n in re.findall(r"kernel, line (\d+): thread", said)] == lines
    (y,) = launch(plain, kernel("float* y", "y[threadIdx.x] = 1;"), 1, 32, zeros(32))
    assert y.all()  # the device is as good as before


def test_wrong_addresses_do_not_end_the_process(plain: HostDevice) -> None:
    for body, what in (
        ("*(float*)8 = 1;", "access to an address that is no memory"),
        ("*y = 7 / (int)(threadIdx.x * y[0]);", "an integer division by zero"),
        ("volatile float big[100000]; big[(int)*y] = 1;", "local variables take more than 256 KiB"),
    ):
        with pytest.raises(DeviceError, match=what):
            launch(plain, kernel("float* y", body), 1, 1, zeros(1))


def test_waiting_for_ever() -> None:
    text = kernel("volatile int* y", "if (threadIdx.x) *y = 1; else while (*y == 0) {}")
    with pytest.raises(DeviceError, match="still runs after 1 seconds"):
        launch(HostDevice(seconds=1), text, 1, 32, zeros(1, dtype=np.int32))
