"""Users' CUDA kernels as operations: types, values, derivatives, batching, messages.

Where there is a g++ the kernels run on the CPU; where there is NVRTC they compile for a GPU.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.host_kernels import needs_compiler
from tracejit import debug, extend, grad, jit, vmap
from tracejit.errors import (
    ArgumentError,
    BackendError,
    DeviceError,
    DTypeError,
    MissingRule,
    ShapeError,
)
from tracejit.frontend.cuda_text import dtypes_of, find_kernel, with_c_linkage
from tracejit.ir.types import TensorType
from tracejit.kernels import read
from tracejit.runtime.gpu import shared
from tracejit.runtime.gpu.nvrtc import compile_cubin
from tracejit.testing import CheckFailed, check_cuda_kernel, check_grads, check_op

SAXPY = """
__global__ void saxpy(const float* a, const float* x, const float* y, float* out, long long n) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = a[0] * x[i] + y[i];
}
"""
saxpy = extend.cuda_kernel(
    SAXPY,
    out=lambda a, x, y: x,
    args=lambda a, x, y: x.size,
    numpy=lambda a, x, y: a * x + y,
    vjp=(
        lambda a, x, y: (saxpy(a, x, y), (a, x)),
        lambda residuals, ct: (jnp.sum(ct * residuals[1]), residuals[0] * ct, ct),
    ),
)


def segments(x: Any, offsets: Any) -> list[Any]:
    return [x[a:b] for a, b in zip(offsets, offsets[1:], strict=False)]


def logsumexp_of_segments(x: Any, offsets: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.array([np.log(np.exp(part).sum()) for part in segments(x, offsets)], x.dtype)


def gradient_of_segments(x: Any, offsets: Any, y: Any, ct: Any) -> Any:
    dx = np.zeros_like(x)
    for k, (first, last) in enumerate(zip(offsets, offsets[1:], strict=False)):
        dx[first:last] = ct[k] * np.exp(x[first:last] - y[k])
    return dx


def of_dtype(x: Any, *others: Any) -> dict[str, Any]:
    return {"real": x.dtype}


OFFSETS = np.array([0, 3, 3, 70, 200])
FULL = np.array([0, 1, 70, 100, 200])


def lse_cases() -> list[Any]:
    x, offsets = TensorType(np.dtype("f8"), (200,)), TensorType(np.dtype("i8"), (5,))
    return [((x, offsets), {}, [None, FULL])]


lse_gradient = extend.cuda_kernel(
    "segment_logsumexp.cu",
    name="segment_logsumexp_grad",
    out=lambda x, offsets, y, ct: x,
    zero="dx",
    grid=lambda x, offsets, y, ct: -(-y.size // 4),
    block=128,
    args=lambda x, offsets, y, ct: y.size,
    defines=of_dtype,
    numpy=gradient_of_segments,
)


def forward(x: Any, offsets: Any) -> Any:
    y = lse(x, offsets)
    return y, (x, offsets, y)


#: runs as CUDA C everywhere; ``lse_in_numpy`` has a meaning for machines without g++
lse_settings: dict[str, Any] = {
    "name": "segment_logsumexp",
    "out": lambda x, offsets: tj.ShapeDtypeStruct((offsets.size - 1,), x.dtype),
    "grid": lambda x, offsets: -(-(offsets.size - 1) // 4),
    "block": 128,
    "args": lambda x, offsets: {"segments": offsets.size - 1},
    "defines": of_dtype,
    "cases": lse_cases,
}
lse = extend.cuda_kernel(
    "segment_logsumexp.cu",
    **lse_settings,
    numpy=logsumexp_of_segments,
    vjp=(forward, lambda residuals, ct: (lse_gradient(*residuals, ct), None)),
)
lse_in_cuda = extend.cuda_kernel("segment_logsumexp.cu", **lse_settings)

X = np.random.default_rng(0).standard_normal(200)


# ---- texts ---------------------------------------------------------------------------------------


def test_parameters_are_read_from_the_text() -> None:
    text = """
    // __global__ void not_this(int x) {}
    template <class T> __device__ T twice(T x) { return 2 * x; }
    __global__ void __launch_bounds__(128, 2)
    f(float const * __restrict__ x, /* n, */ unsigned long long n,
      const float3* p, double out[], bool flag = true) {}
    """
    found = find_kernel(text, None)
    assert found.name == "f" and found.line == 4
    shown = [(p.name, p.type, p.pointer, p.const) for p in found.parameters]
    assert shown == [
        ("x", "float", True, True),
        ("n", "unsigned long long", False, False),
        ("p", "float3", True, True),
        ("out", "double", True, False),
        ("flag", "bool", False, False),
    ]


@pytest.mark.parametrize(
    ("type", "names"),
    [
        ("float", ["float32"]),
        ("long long", ["int64"]),
        ("__half", ["float16"]),
        ("__nv_bfloat16", ["bfloat16"]),
        ("unsigned char", ["uint8"]),
        ("bool", ["bool"]),
        ("float2", ["complex64", "float32"]),
        ("float4", ["float32"]),
        ("real", ["float64"]),
        ("index_t", ["int32"]),
        ("Particle", []),
    ],
)
def test_element_types(type: str, names: list[str]) -> None:
    text = "typedef double real;\nusing index_t = int;"
    assert [d.name for d in dtypes_of(type, text)] == names


def test_extern_c_is_added_once_and_keeps_lines() -> None:
    text = 'void helper();\n__global__ void a() {}\nextern "C" __global__ void b() {}'
    assert with_c_linkage(text, "a").splitlines()[1] == 'extern "C" __global__ void a() {}'
    assert with_c_linkage(text, "b") == text


def test_texts_without_the_kernel_are_refused() -> None:
    two = "__global__ void a(int* x) {}\n__global__ void b(int* x) {}"
    with pytest.raises(ArgumentError, match=r"2 kernels(.|\n)*hint: say which: name='a' or 'b'"):
        extend.cuda_kernel(two, out=lambda: None)
    with pytest.raises(ArgumentError, match=r"no kernel 'c'(.|\n)*there are: a, b"):
        extend.cuda_kernel(two, name="c", out=lambda: None)
    with pytest.raises(ArgumentError, match="no function of it is __global__"):
        extend.cuda_kernel("void a() {}\n")
    with pytest.raises(ArgumentError, match=r"is a template(.|\n)*defines="):
        extend.cuda_kernel("template <class T> __global__ void a(T* x) {}", out=lambda: None)
    with pytest.raises(ArgumentError, match="there is no file 'nowhere.cu'"):
        extend.cuda_kernel("nowhere.cu")


def test_a_file_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.cu").write_text(SAXPY)
    monkeypatch.chdir(tmp_path)
    mine = extend.cuda_kernel(Path("mine.cu"), out=lambda a, x, y: x, args=0)
    assert mine.definition.origin == ("mine.cu", 1)
    assert [p.name for p in mine.definition.operands] == ["a", "x", "y"]


# ---- definitions and calls that do not fit -------------------------------------------------------


def test_definitions_that_do_not_fit() -> None:
    with pytest.raises(ArgumentError, match=r"`f` has no result: all its pointers are const"):
        extend.cuda_kernel("__global__ void f(const float* x) {}")
    with pytest.raises(ArgumentError, match=r"out= is missing: the types of `y` of `f`"):
        extend.cuda_kernel("__global__ void f(const float* x, float* y) {}")
    with pytest.raises(ArgumentError, match=r"`Body`, the type of `x` of `f`, is unknown"):
        extend.cuda_kernel("__global__ void f(const Body* x, float* y) {}", out=lambda x: x)
    with pytest.raises(ArgumentError, match=r"inout names 'x', which is no result(.|\n)*: y"):
        extend.cuda_kernel("__global__ void f(const float* x, float* y) {}", inout="x")
    with pytest.raises(ArgumentError, match="batch='often' is no way to batch"):
        extend.cuda_kernel(SAXPY, out=lambda a, x, y: x, batch="often")


def test_a_wrong_dtype_names_the_parameter_and_the_line() -> None:
    with pytest.raises(DTypeError) as caught:
        saxpy(2.0, np.ones(3), jnp.ones(3))
    message = str(caught.value)
    assert "operand 2 is f64[3]; parameter `x` of the kernel is 'const float* x'" in message
    assert "test_own_cuda.py" in message and "saxpy(2.0, np.ones(3), jnp.ones(3))" in message
    with pytest.raises(DTypeError, match="operand 3 is i64"):
        jit(lambda x, y: saxpy(1.0, x, y))(jnp.ones(3), np.arange(3))


def test_a_wrong_number_of_operands() -> None:
    with pytest.raises(ArgumentError, match=r"takes 3 operands \(a, x, y\); 2 were given"):
        saxpy(1.0, jnp.ones(3))


def given(**settings: Any) -> Any:
    """A call of a kernel with these settings."""
    text = "__global__ void f(const float* x, float* y, int n, float s) {}"
    settings = {"out": lambda x: x, "args": (1, 2.0), "numpy": lambda x: x, **settings}
    return extend.cuda_kernel(text, **settings)(jnp.ones(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"args": ()}, "args= gives 0 numbers; the kernel takes 2: n, s"),
        ({"args": {"n": 1}}, "args= and the kernel differ in 's'"),
        ({"args": (2**31, 1.0)}, "'int n' cannot be 2147483648: it does not fit"),
        ({"args": (1.5, 1.0)}, "'int n' cannot be 1.5"),
        ({"args": lambda x: (jnp.ones(()), 1.0)}, "`n` is an array(.|\n)*const int[*] n"),
        ({"block": 2000}, "a block of 2000 threads: it has 1 to 1024"),
        ({"grid": lambda x: 1.5}, "grid= is an int, not 1.5"),
        ({"grid": (1, 2, 3, 4)}, "grid= has one to three extents, not 4"),
        ({"shared": -1}, "shared=-1 is negative"),
        ({"out": lambda x: (x, x)}, "out= gives 2 types for 1 results, `y`"),
        ({"out": lambda x: x.shape}, "out= gives 1 types|out= gives no type for `y`"),
        ({"numpy": lambda x: x[:2]}, r"numpy= returns shapes \[\(2,\)\]"),
        ({"numpy": lambda x: (x, x)}, "numpy= returns shapes"),
        ({"out": lambda x, y: x}, "missing 1 required positional argument"),
    ],
)
def test_calls_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        given(**settings)


def test_a_result_of_another_dtype_than_the_parameters() -> None:
    with pytest.raises(DTypeError, match="result `y` is f64.* by out=; .* 'float[*] y', float32"):
        given(out=lambda x: tj.ShapeDtypeStruct(x.shape, np.float64))


def test_static_arguments_are_named() -> None:
    text = "__global__ void power(const float* x, float* y, int n, int k) {}"
    power = extend.cuda_kernel(
        text,
        static=["k"],
        out=lambda x, k: x,
        args=lambda x, k: (x.size, k),
        numpy=lambda x, k: x**k,
    )
    np.testing.assert_array_equal(power(np.float32([2, 3]), k=2), [4, 9])
    np.testing.assert_array_equal(jit(lambda x: power(x, k=3))(np.float32([2, 3])), [8, 27])
    with pytest.raises(ArgumentError, match="k= is missing"):
        power(jnp.ones(2))
    with pytest.raises(ArgumentError, match=r"takes no argument 'j'(.|\n)*there are: k"):
        power(jnp.ones(2), j=1)
    with pytest.raises(ArgumentError, match="k= is static"):
        power(jnp.ones(2), k=[1])


# ---- values, derivatives, batches: in NumPy, so everywhere ---------------------------------------


def test_python_numbers_take_the_type_of_the_parameter() -> None:
    y = saxpy(2, np.float32([1, 2]), np.float32([1, 1]))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [3, 5])


def test_combines_with_generated_kernels() -> None:
    x = np.linspace(0, 1, 50, dtype=np.float32)
    found = jit(lambda x: jnp.sum(saxpy(2.0, jnp.sin(x), x * x) * 3))(x)
    np.testing.assert_allclose(found, 3 * np.sum(2 * np.sin(x) + x * x), rtol=1e-5)


def test_gradients_by_vjp() -> None:
    x, y = np.float32([1, 2, 3]), np.float32([0, 1, 0])
    for transform in (lambda f: f, jit):
        da, dx, dy = transform(grad(lambda *v: jnp.sum(saxpy(*v) ** 2), (0, 1, 2)))(2.0, x, y)
        ct = 2 * (2 * x + y)
        np.testing.assert_allclose(da, np.sum(ct * x))
        np.testing.assert_allclose(dx, 2 * ct)
        np.testing.assert_allclose(dy, ct)


def test_second_derivatives() -> None:
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    check_grads(lambda x: jnp.sum(saxpy(2.0, x, x) ** 2), (x,), order=2, modes=("rev",))
    wrong = extend.cuda_kernel(
        SAXPY,
        out=lambda a, x, y: x,
        args=lambda a, x, y: x.size,
        numpy=lambda a, x, y: a * x + y,
        vjp=(lambda *v: (wrong(*v), ()), lambda kept, ct: (jnp.sum(ct), ct, ct)),
    )
    with pytest.raises(CheckFailed, match="vjp is not the adjoint of differences"):
        check_grads(lambda x: jnp.sum(wrong(2.0, x, x) ** 2), (x,), modes=("rev",))


def test_gradients_agree_with_differences() -> None:
    check_grads(lambda x: jnp.sum(lse(x, FULL) ** 2), (X,), modes=("rev",))
    check_grads(
        jit(lambda x: jnp.sum(vmap(lambda s: lse(s * x, FULL))(jnp.arange(1.0, 3.0)))),
        (X,),
        modes=("rev",),
    )


def test_gradients_by_jvp() -> None:
    text = "__global__ void scale(const double* x, double* y, double by) {}"
    scale = extend.cuda_kernel(
        text,
        static={"by": 3.0},
        out=lambda x, by: x,
        args=lambda x, by: by,
        numpy=lambda x, by: by * x,
        jvp=lambda primals, tangents, by: (scale(*primals, by=by), by * tangents[0]),
    )
    check_grads(lambda x: jnp.sum(scale(x) * x), (np.arange(3.0),))
    check_grads(lambda x: scale(x, by=-1.0), (np.arange(3.0),))


def test_without_a_rule_the_operation_is_named() -> None:
    with pytest.raises(MissingRule, match="`segment_logsumexp_grad` has no jvp rule"):
        grad(lambda ct: jnp.sum(lse_gradient(X, FULL, X[:4], ct)))(X[:4])


def test_the_record_passes_every_check() -> None:
    check_op(lse.primitive)


def test_vmap_launches_once_for_each_example() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = vmap(saxpy, in_axes=(0, 0, None))(jnp.arange(3.0), x, x[0])
    np.testing.assert_array_equal(found, np.arange(3)[:, None] * x + x[0])
    graph = tj.make_graph(vmap(saxpy, in_axes=(None, 0, 0)), 1.0, x, x)
    assert "scan" in str(graph)


def test_vmap_in_one_launch() -> None:
    text = "__global__ void add(const float* x, const float* y, float* z, int n) {}"
    settings: dict[str, Any] = {
        "args": lambda x, y: x.size,
        "numpy": lambda x, y: x + y,
        "batch": "broadcast_all",
    }
    plus = extend.cuda_kernel(text, out=lambda x, y: x, **settings)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    mapped = vmap(plus, in_axes=(0, None))
    np.testing.assert_array_equal(jit(mapped)(x, x[0]), x + x[0])
    assert "scan" not in str(tj.make_graph(mapped, x, x[0]))
    first = extend.cuda_kernel(
        text, out=lambda x, y: tj.ShapeDtypeStruct((4,), x.dtype), **settings
    )
    with pytest.raises(ShapeError, match=r"out= gives f32\[4\], not f32\[3,4\]"):
        vmap(first, in_axes=(0, None))(x, x[0])


def test_vmap_by_a_rule() -> None:
    seen: list[Any] = []
    table = jnp.arange(100.0)

    def rule(size: int, batched: Any, x: Any, y: Any) -> Any:
        seen.append((size, batched))
        return x + y[:, None] + table[0] if batched[0] else x[None] + y[:, None], True

    text = "__global__ void add(const float* x, const float* y, float* z) {}"
    plus = extend.cuda_kernel(text, out=lambda x, y: x, numpy=lambda x, y: x + y, batch=rule)
    x, y = np.arange(4, dtype=np.float32), np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(vmap(plus, (None, 0))(x, y), x + y[:, None])
    np.testing.assert_array_equal(jit(vmap(plus))(np.stack([x] * 3), y), x + y[:, None])
    assert seen == [(3, [False, True]), (3, [True, True])]
    wrong = extend.cuda_kernel(
        text, out=lambda x, y: x, numpy=lambda x, y: x + y, batch=lambda *given: (given[2], True)
    )
    with pytest.raises(ShapeError, match=r"batch rule returns f32\[4\]; .* f32\[3,4\]"):
        vmap(wrong, (None, 0))(x, y)


def test_a_name_of_a_built_in_operation() -> None:
    text = "__global__ void copy(const float* x, float* y) {}"
    own = extend.cuda_kernel(text, out=lambda x: x, numpy=lambda x: x + 1)
    assert own.primitive.name == "cuda.copy"
    np.testing.assert_array_equal(jit(own)(jnp.ones(3)), [2, 2, 2])


def test_what_it_is_given_stays_as_it_is() -> None:
    def spoils(x: Any) -> Any:
        x += 1
        return x

    text = "__global__ void f(const float* x, float* y) {}"
    with pytest.raises(ValueError, match="read-only"):
        extend.cuda_kernel(text, out=lambda x: x, numpy=spoils)(jnp.ones(3))


# ---- the kernels themselves ----------------------------------------------------------------------


def test_examples_compile_for_a_gpu() -> None:
    if missing := shared.why_missing("nvrtc"):
        pytest.skip(missing)
    for dtype in ("f4", "f8"):
        x, y = TensorType(np.dtype(dtype), (200,)), TensorType(np.dtype(dtype), (4,))
        offsets = TensorType(np.dtype("i8"), (5,))
        one = lse.definition.call((x, offsets), {}).launch.source
        two = lse_gradient.definition.call((x, offsets, y, y), {}).launch.source
        assert compile_cubin([one], 90)[one.name] and compile_cubin([two], 90)[two.name]


@needs_compiler
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_example_against_its_meaning(dtype: str) -> None:
    x = X.astype(dtype)
    check_cuda_kernel(lse, x, OFFSETS)
    y = logsumexp_of_segments(x, FULL)
    check_cuda_kernel(lse_gradient, x, FULL, y, y)
    np.testing.assert_allclose(lse_in_cuda(x, FULL), y, rtol=1e-5 if dtype == "f4" else 1e-12)


@needs_compiler
def test_example_on_an_emulated_gpu() -> None:
    x = X.astype(np.float32)

    def loss(x: Any) -> Any:
        return jnp.sum(jnp.tanh(lse(jnp.sin(x) * 2, FULL)))

    expected, slope = loss(x), grad(loss)(x)
    with debug.cuda_on_cpu():
        on_gpu = jit(tj.value_and_grad(loss), device="cuda")
        for _ in range(3):  # launched, recorded, replayed
            found, dx = on_gpu(x)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
            np.testing.assert_allclose(dx, slope, rtol=1e-4, atol=1e-6)
        rows = np.stack([x, 2 * x, -x])
        many = jit(vmap(lse, in_axes=(0, None)), device="cuda")(rows, FULL)
        np.testing.assert_allclose(many, [logsumexp_of_segments(r, FULL) for r in rows], rtol=1e-5)
        with tj.default_device("cuda"):
            np.testing.assert_allclose(lse(x, FULL), logsumexp_of_segments(x, FULL), rtol=1e-5)


@needs_compiler
def test_the_record_passes_every_check_on_an_emulated_gpu() -> None:
    with debug.cuda_on_cpu(orders=(0, 1)):
        check_op(lse.primitive, backends=("cuda",))


@pytest.mark.gpu
def test_example_on_a_gpu() -> None:
    x = X.astype(np.float32)

    def loss(x: Any) -> Any:
        return jnp.sum(jnp.tanh(lse(jnp.sin(x) * 2, FULL)))

    on_gpu = jit(tj.value_and_grad(loss), device="cuda")
    for _ in range(3):
        found, dx = on_gpu(x)
        np.testing.assert_allclose(found, loss(x), rtol=1e-5)
        np.testing.assert_allclose(dx, grad(loss)(x), rtol=1e-4, atol=1e-6)
    bins = np.arange(200, dtype=np.int32) % 5
    counts, total = jit(lambda b, w: histogram(b, w, bins_count=5), device="cuda")(bins, x)
    np.testing.assert_array_equal(counts, np.full(5, 40))
    np.testing.assert_allclose(total, x.sum(), rtol=1e-3)


@needs_compiler
def test_literal_operands_have_memory() -> None:
    with debug.cuda_on_cpu():
        f = jit(lambda: saxpy(2.0, jnp.ones(70), jnp.zeros(70)), device="cuda")
        np.testing.assert_array_equal(f(), np.full(70, 2.0))
        assert "saxpy" in str(f.stages().sources)


histogram = extend.cuda_kernel(
    """
    #define THREADS 64
    __global__ void histogram(
        long long n, int* counts, const int* bins, float* total, const float* weights) {
      extern __shared__ float part[];
      const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
      part[threadIdx.x] = i < n ? weights[i] : 0.0f;
      if (i < n) atomicAdd(&counts[bins[i]], 1);
      for (int d = THREADS / 2; d; d /= 2) {
        __syncthreads();
        if (threadIdx.x < d) part[threadIdx.x] += part[threadIdx.x + d];
      }
      if (threadIdx.x == 0) atomicAdd(total, part[0]);
    }
    """,
    static=["bins_count"],
    out=lambda bins, weights, bins_count: (
        tj.ShapeDtypeStruct((bins_count,), np.int32),
        tj.ShapeDtypeStruct((), np.float32),
    ),
    zero=("counts", "total"),
    args=lambda bins, weights, bins_count: bins.size,
    grid=lambda bins, weights, bins_count: -(-bins.size // 64),
    block=64,
    shared=64 * 4,
)


@needs_compiler
def test_parameters_in_any_order_two_results_zeros_and_shared_memory() -> None:
    rng = np.random.default_rng(1)
    bins = rng.integers(0, 5, 200).astype(np.int32)
    weights = rng.standard_normal(200).astype(np.float32)
    counts, total = histogram(bins, weights, bins_count=5)
    np.testing.assert_array_equal(counts, np.bincount(bins, minlength=5))
    np.testing.assert_allclose(total, weights.sum(), rtol=1e-4)
    with debug.cuda_on_cpu():
        f = jit(lambda b, w: histogram(b, w * 2, bins_count=6), device="cuda")
        for _ in range(3):
            counts, total = f(bins, weights)
            np.testing.assert_array_equal(counts, np.bincount(bins, minlength=6))
            np.testing.assert_allclose(total, 2 * weights.sum(), rtol=1e-4)


@needs_compiler
@pytest.mark.skipif(not shared.include_folders(), reason="NVIDIA's headers are not here")
def test_in_place_on_a_grid_of_two_axes_with_half_floats() -> None:
    add_into = extend.cuda_kernel(
        """
        #include <cuda_fp16.h>
        __global__ void add_into(const __half* x, __half* y, int rows, int columns, __half by) {
          const int column = blockIdx.x * blockDim.x + threadIdx.x;
          const int row = blockIdx.y * blockDim.y + threadIdx.y, k = row * columns + column;
          if (row < rows && column < columns) y[k] = by * x[k] + y[k];
        }
        """,
        inout="y",
        args=lambda x, y: (*x.shape, 0.5),
        block=(8, 4),
        grid=lambda x, y: (-(-x.shape[1] // 8), -(-x.shape[0] // 4)),
    )
    x = np.arange(100, dtype=np.float16).reshape(5, 20)
    y = np.ones((5, 20), np.float16)
    np.testing.assert_array_equal(add_into(x, y), x / 2 + y)
    with debug.cuda_on_cpu():
        found, kept = jit(lambda x, y: (add_into(2 * x, y), y), device="cuda")(x, y)
        np.testing.assert_array_equal(found, x + y)
        np.testing.assert_array_equal(kept, y)


@needs_compiler
def test_empty_operands_launch_nothing() -> None:
    empty = np.zeros(0, np.float32)
    in_cuda = extend.cuda_kernel(SAXPY, out=lambda a, x, y: x, args=lambda a, x, y: x.size)
    assert in_cuda(1.0, empty, empty).shape == (0,)
    with debug.cuda_on_cpu():
        assert jit(in_cuda, device="cuda")(1.0, empty, empty).shape == (0,)


def line_of(text: str) -> int:
    """The first line of this file that has the text."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(k for k, line in enumerate(lines, 1) if text in line)


broken = extend.cuda_kernel(
    """
    __global__ void broken(const float* x, float* y) {
      y[0] = undeclared[0];
    }
    """,
    out=lambda x: x,
)


@needs_compiler
def test_the_compilers_message_names_the_users_line() -> None:
    place = f"line 3 (test_own_cuda.py:{line_of('y[0] = undeclared[0];')})"
    with pytest.raises(BackendError, match=re.escape(place)) as caught:
        broken(jnp.ones(3))
    assert "y[0] = undeclared[0];" in str(caught.value)


def test_nvrtcs_message_names_the_users_line() -> None:
    if missing := shared.why_missing("nvrtc"):
        pytest.skip(missing)
    source = broken.definition.call((TensorType(np.dtype("f4"), (3,)),), {}).launch.source
    place = f"test_own_cuda.py:{line_of('y[0] = undeclared[0];')}"
    with pytest.raises(BackendError, match=re.escape(place)):
        compile_cubin([source], 90)


reads_behind = extend.cuda_kernel(
    """
    __global__ void reads_behind(const float* x, float* y) {
      y[threadIdx.x] = x[threadIdx.x + 1];
    }
    """,
    out=lambda x: x,
    block=32,
    grid=1,
)
misses_barrier = extend.cuda_kernel(
    """
    __global__ void misses_barrier(const float* x, float* y) {
      __shared__ float part[64];
      part[threadIdx.x] = x[threadIdx.x];
      y[threadIdx.x] = part[63 - threadIdx.x];
    }
    """,
    out=lambda x: x,
    block=64,
    grid=1,
)


@needs_compiler
@pytest.mark.parametrize(
    ("kernel", "what", "line"),
    [
        (reads_behind, "out-of-bounds read", "y[threadIdx.x] = x[threadIdx.x + 1];"),
        (misses_barrier, "barrier is missing", "y[threadIdx.x] = part[63 - threadIdx.x];"),
    ],
)
def test_wrong_accesses_are_named(kernel: Any, what: str, line: str) -> None:
    x = jnp.ones(kernel.definition.settings.block)
    place = f"test_own_cuda.py:{line_of(line)}: thread"
    with pytest.raises(DeviceError, match=what) as caught:
        check_cuda_kernel(kernel, x)
    assert place in str(caught.value) and line in str(caught.value)
    with debug.cuda_on_cpu(), pytest.raises(DeviceError, match=re.escape(place)):
        jit(kernel, device="cuda")(x).block_until_ready()


@needs_compiler
def test_what_nobody_wrote_is_found() -> None:
    half = extend.cuda_kernel(
        "__global__ void half(const float* x, float* y) {\n  if (threadIdx.x < 16) y[threadIdx.x] "
        "= x[threadIdx.x];\n}",
        out=lambda x: x,
        block=32,
        grid=1,
        numpy=lambda x: x,
    )
    with pytest.raises(CheckFailed, match="`half`: result `y` differs from numpy="):
        check_cuda_kernel(half, jnp.ones(32))


@needs_compiler
def test_functions_of_the_header() -> None:
    total = extend.cuda_kernel(
        """
        __global__ void total(const float* x, float* y) {
          __shared__ float part[32];
          const float all = tj_block<256>(
              x[threadIdx.x], part, [](float a, float b) { return a + b; });
          if (threadIdx.x == 0) y[0] = all;
        }
        """,
        out=lambda x: tj.ShapeDtypeStruct((), x.dtype),
        grid=1,
        header=True,
        numpy=np.sum,
    )
    check_cuda_kernel(total, np.arange(256, dtype=np.float32))


def test_without_a_compiler_it_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: Any) -> Any:
        raise BackendError("g++ is not there", hint="install g++")

    monkeypatch.setattr("tracejit.frontend.cuda_launch.HostDevice.load", none)
    with pytest.raises(
        BackendError, match="install g[+][+], or give .* `histogram` in NumPy: numpy="
    ):
        histogram(np.zeros(3, np.int32), np.zeros(3, np.float32), bins_count=2)


def test_the_folder_of_kernels_has_the_example() -> None:
    assert read("segment_logsumexp.cu").startswith("// log(sum(exp(x)))")
