"""Users' CUDA kernels: reading their texts, and definitions and calls that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.gpu.own_kernels import SAXPY, saxpy
from tracejit import extend, jit
from tracejit.errors import ArgumentError, DTypeError
from tracejit.frontend.cuda_text import dtypes_of, find_kernel, with_c_linkage

HERE = Path(__file__).name


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
    assert HERE in message and "saxpy(2.0, np.ones(3), jnp.ones(3))" in message
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
