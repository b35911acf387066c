"""Matrix products by cuBLASLt, as far as they can be proven without a GPU.

The library makes its descriptors without one, and says what it understood. ``simulate`` does what
NVIDIA documents for descriptors that say so (column-major matrices, steps between the matrices of a
batch, epilogues on D's rows), and its results are compared with the product that was asked for.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracejit.errors import DeviceError
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.gpu.library import EPILOGUES, GemmSpec
from tracejit.ops import fused
from tracejit.ops.dot import as_matmul, dot_general
from tracejit.runtime.gpu import cublaslt, shared
from tracejit.runtime.gpu.cublaslt import (
    COMPUTE,
    EPILOGUE_NUMBERS,
    TYPES,
    Call,
    Columns,
    Context,
    GemmPlan,
    column_major,
    describe,
    one_stride,
)

needs_library = pytest.mark.skipif(
    shared.find("cublasLt") is None, reason=shared.why_missing("cublasLt")
)
DTYPE_OF = {number: DTYPES[name] for name, number in TYPES.items()}
CONTEXT = Context(handle=0, stream=lambda: 0, fill=lambda address, byte, nbytes: None)

#: (lhs shape, rhs shape, ((contracted), (batch))): as they lie, transposed, batched, cut, vectors
FORMS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Any]] = {
    "nn": ((3, 5), (5, 128), (((1,), (0,)), ((), ()))),
    "nt": ((3, 5), (128, 5), (((1,), (1,)), ((), ()))),
    "tn": ((5, 3), (5, 128), (((0,), (0,)), ((), ()))),
    "tt": ((5, 3), (128, 5), (((0,), (1,)), ((), ()))),
    "folded": ((2, 3, 5), (5, 128), (((2,), (0,)), ((), ()))),
    "two contracted": ((3, 2, 5), (2, 5, 128), (((1, 2), (0, 1)), ((), ()))),
    "batch": ((4, 3, 5), (4, 5, 128), (((2,), (1,)), ((0,), (0,)))),
    "batch nt": ((4, 3, 5), (4, 128, 5), (((2,), (2,)), ((0,), (0,)))),
    "two batches": ((2, 4, 3, 5), (2, 4, 5, 128), (((3,), (2,)), ((0, 1), (0, 1)))),
    "heads inside": ((3, 4, 5), (5, 4, 128), (((2,), (0,)), ((1,), (1,)))),
    "column": ((3, 5), (5, 1), (((1,), (0,)), ((), ()))),
    "row": ((1, 5), (5, 128), (((1,), (0,)), ((), ()))),
    "k is 1": ((3, 1), (1, 128), (((1,), (0,)), ((), ()))),
}


def spec_of(
    form: str, dtype: str = "f32", out: str | None = None, compute: str | None = None, ep: str = ""
) -> GemmSpec:
    lhs, rhs, numbers = FORMS[form]
    matmul = as_matmul(TensorType(DTYPES[dtype], lhs), TensorType(DTYPES[dtype], rhs), numbers)
    return GemmSpec(
        dtype, out or dtype, compute or ("f64" if dtype == "f64" else "f32"), matmul, ep
    )


def drawn(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Small whole numbers: sums of products of them are exact in every dtype."""
    return rng.integers(-3, 4, shape).astype(DTYPES[dtype])


# ---- what the library does with a description, in NumPy ------------------------------------------


def matrices(memory: np.ndarray, x: Columns) -> np.ndarray:
    """[batch, rows, columns] of column-major matrices in a flat memory; a view."""
    assert x.leading >= x.rows
    assert memory.dtype == DTYPE_OF[x.type]
    needed = (x.batch - 1) * x.stride + (x.columns - 1) * x.leading + x.rows
    assert memory.size >= needed, "the description reaches past the memory"
    size = memory.itemsize
    strides = (x.stride * size, size, x.leading * size)
    return np.lib.stride_tricks.as_strided(memory, (x.batch, x.rows, x.columns), strides)


def aux_matrix(memory: np.ndarray, call: Call, *, bits: bool) -> np.ndarray:
    """[batch, rows of D, columns of D] of the auxiliary matrix; a view, or a copy of its bits."""
    assert call.aux_leading % (128 if bits else 8) == 0 and call.aux_leading >= call.d.rows
    assert call.d.batch == 1 or call.aux_stride % (128 if bits else 8) == 0
    if bits:
        memory = np.unpackbits(memory.view(np.uint8), bitorder="little")
    size = memory.itemsize
    strides = (call.aux_stride * size, size, call.aux_leading * size)
    shape = (call.d.batch, call.d.rows, call.d.columns)
    return np.lib.stride_tricks.as_strided(memory, shape, strides)


def simulate(call: Call, memory: dict[str, np.ndarray]) -> None:
    """D = epilogue(op(A) op(B)), as cublasLt.h says of each part of the description."""
    a, b = matrices(memory["rhs"], call.a), matrices(memory["lhs"], call.b)
    wide = np.float64
    a = (a.swapaxes(1, 2) if call.transpose_a else a).astype(wide)
    b = (b.swapaxes(1, 2) if call.transpose_b else b).astype(wide)
    d = matrices(memory["out"], call.d)
    assert a.shape[1:] == (call.d.rows, b.shape[1]) and b.shape[2] == call.d.columns
    value = a @ b
    number = call.epilogue
    if number & 4:  # BIAS: as long as D has rows, added to every column
        assert memory["bias"].shape == (call.d.rows,)
        value = value + memory["bias"].astype(wide)[None, :, None]
    if number & 128 and number & (2 | 32):  # AUX of a forward epilogue is written
        if number & 2:
            bits = (value > 0).transpose(0, 2, 1)  # columns of D one after another
            memory["aux"][...] = np.packbits(bits.reshape(-1), bitorder="little")
            assert np.array_equal(aux_matrix(memory["aux"], call, bits=True), value > 0)
        else:
            aux_matrix(memory["aux"], call, bits=False)[...] = value
    if number & 2:
        value = np.maximum(value, 0)
    if number & 32:
        value = fused.gelu(value)
    if number & 8:
        value = value * aux_matrix(memory["aux"], call, bits=True)
    if number & 64:
        value = value * fused.gelu_slope(aux_matrix(memory["aux"], call, bits=False).astype(wide))
    if number & 16:  # BGRAD: sums of D's rows
        memory["dbias"][...] = value.sum(axis=(0, 2))
    d[...] = value


# ---- the mapping ---------------------------------------------------------------------------------


def through_library(spec: GemmSpec) -> Call:
    """What the library read back, which must be what it was given."""
    call = column_major(spec)
    assert call is not None
    if shared.find("cublasLt") is None:
        return call
    described = describe(spec)
    assert described is not None
    found = described.read()
    assert found == call
    return found


def memory_of(spec: GemmSpec, form: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Flat memory of every operand; what is written is filled with 99 before."""
    rng = np.random.default_rng(seed)
    m = spec.matmul
    lhs, rhs, _ = FORMS[form]
    size = m.b * m.m * m.n
    memory = {
        "lhs": drawn(rng, spec.dtype, lhs).ravel(),
        "rhs": drawn(rng, spec.dtype, rhs).ravel(),
        "bias": drawn(rng, spec.out, (m.n,)),
        "out": np.full(size, 99, DTYPES[spec.out]),
        "dbias": np.full(m.n, 99, DTYPES[spec.out]),
        "aux": drawn(rng, spec.out, (size,)),
    }
    if "relu" in spec.epilogue:
        memory["aux"] = rng.integers(0, 256, size // 8).astype(np.uint8)
    return memory


@pytest.mark.parametrize("form", [f for f in FORMS if f != "heads inside"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "f64"])
def test_the_description_computes_the_product(form: str, dtype: str) -> None:
    spec = spec_of(form, dtype)
    memory = memory_of(spec, form)
    lhs, rhs, numbers = FORMS[form]
    simulate(through_library(spec), memory)
    wanted = dot_general.numpy(  # type: ignore[misc]
        memory["lhs"].reshape(lhs),
        memory["rhs"].reshape(rhs),
        dimension_numbers=numbers,
        preferred_element_type=None,
    )
    assert np.array_equal(memory["out"].reshape(wanted.shape), wanted)


@pytest.mark.parametrize("form", ["nn", "nt", "tn", "tt", "folded", "batch"])
@pytest.mark.parametrize("epilogue", [e for e in EPILOGUES if e])
def test_the_description_computes_the_epilogue(form: str, epilogue: str) -> None:
    spec = spec_of(form, ep=epilogue)
    if epilogue.endswith("bgrad") and spec.matmul.b > 1:
        assert column_major(spec) is None
        return
    memory = memory_of(spec, form)
    before = {name: x.copy() for name, x in memory.items()}
    lhs, rhs, numbers = FORMS[form]
    simulate(through_library(spec), memory)
    product = dot_general.numpy(  # type: ignore[misc]
        before["lhs"].reshape(lhs),
        before["rhs"].reshape(rhs),
        dimension_numbers=numbers,
        preferred_element_type=None,
    ).reshape(spec.matmul.b, -1, spec.matmul.n)
    forward = epilogue.startswith(("bias", "relu", "gelu"))
    if "bias" in spec.operands:
        product = product + before["bias"]
    aux = before["aux"]
    if forward and "relu" in epilogue:
        wanted = np.maximum(product, 0)
    elif forward and "gelu" in epilogue:
        wanted = fused.gelu(product)
    elif "drelu" in epilogue:
        mask = np.unpackbits(aux, bitorder="little").reshape(product.shape)
        wanted = np.where(mask, product, 0)
    elif "dgelu" in epilogue:
        wanted = product * fused.gelu_slope(aux.reshape(product.shape))
    else:
        wanted = product
    close = {"rtol": 1e-5, "atol": 1e-4}
    np.testing.assert_allclose(memory["out"].reshape(product.shape), wanted, **close)
    if epilogue.endswith("_aux") and "gelu" in epilogue:
        assert np.array_equal(memory["aux"].reshape(product.shape), product)
    if epilogue.endswith("_aux") and "relu" in epilogue:
        bits = np.unpackbits(memory["aux"], bitorder="little").reshape(product.shape)
        assert np.array_equal(bits, product > 0)
    if epilogue.endswith("bgrad"):
        np.testing.assert_allclose(memory["dbias"], wanted.sum(axis=(0, 1)), **close)


def test_the_bias_runs_along_the_columns_of_the_row_major_result() -> None:
    call = column_major(spec_of("nn", ep="bias"))
    assert call is not None
    assert (call.d.rows, call.d.columns, call.d.leading) == (128, 3, 128)
    assert call.epilogue == 4 and not call.transpose_a and not call.transpose_b


def test_wide_results_of_narrow_operands() -> None:
    spec = spec_of("nn", "f16", "f32", ep="bias")
    call = through_library(spec)
    assert (call.a.type, call.d.type, call.compute, call.scale) == (2, 0, 68, 0)


def test_tf32_is_only_taken_when_asked_for() -> None:
    assert through_library(spec_of("nn")).compute == COMPUTE["f32"] == 68
    assert through_library(spec_of("nn", compute="tf32")).compute == 77


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (spec_of("nn", "f64", ep="bias"), "float64 has no epilogues"),
        (spec_of("nn", "f16", "f16", "f64"), "no such sums"),
        (spec_of("nn", "f32", "f16"), "no such result"),
        (spec_of("column", ep="gelu_aux"), "rows of the auxiliary matrix"),
        (spec_of("column", ep="drelu"), "rows of the mask"),
    ],
)
def test_what_the_library_has_no_form_for(spec: GemmSpec, why: str) -> None:
    assert column_major(spec) is None, why
    assert GemmPlan.make(spec, CONTEXT) is None


def test_batches_that_are_not_evenly_spaced_have_no_plan() -> None:
    lhs = TensorType(DTYPES["f32"], (2, 3, 4, 5))
    rhs = TensorType(DTYPES["f32"], (2, 6, 4, 5))
    matmul = as_matmul(lhs, rhs, (((3,), (3,)), ((0, 2), (0, 2))))
    assert matmul.lhs_view is not None and matmul.lhs_view.batch_strides == (60, 5)
    assert column_major(GemmSpec("f32", "f32", "f32", matmul)) is None
    assert one_stride((2, 4), (60, 5)) is None
    assert one_stride((2, 1, 4), (20, 7, 5)) == 5


def test_batches_between_the_other_axes() -> None:
    spec = spec_of("heads inside")
    memory = memory_of(spec, "heads inside")
    lhs, rhs, numbers = FORMS["heads inside"]
    simulate(through_library(spec), memory)
    wanted = np.einsum("mbk,kbn->bmn", memory["lhs"].reshape(lhs), memory["rhs"].reshape(rhs))
    assert np.array_equal(memory["out"].reshape(wanted.shape), wanted)
    assert numbers[1] == ((1,), (1,))


# ---- plans ---------------------------------------------------------------------------------------


class FakeLibrary:
    """Plays the two functions that need a GPU; the descriptors are the library's own."""

    def __init__(self, found: int = 2, failing: int = 0, status: int = 15) -> None:
        self.found, self.failing, self.status = found, failing, status
        self.asked: tuple[Any, ...] = ()
        self.calls: list[tuple[Any, ...]] = []
        self.functions = {**cublaslt.functions()}
        self.functions["MatmulAlgoGetHeuristic"] = self.heuristic
        self.functions["Matmul"] = self.matmul

    def heuristic(self, *args: Any) -> int:
        self.asked = args
        choices, count = args[8], args[9]._obj
        for k in range(self.found):
            choices[k].workspace = 1000 * (self.found - k)
            choices[k].algorithm.data[0] = k
        count.value = self.found
        return 0 if self.found else 15

    def matmul(self, *args: Any) -> int:
        self.calls.append(args)
        return self.status if len(self.calls) <= self.failing else 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> FakeLibrary:
    fake = FakeLibrary(**getattr(request, "param", {}))
    monkeypatch.setattr(cublaslt, "functions", lambda: fake.functions)
    return fake


def made(spec: GemmSpec, stream: int = 5) -> GemmPlan:
    context = Context(handle=7, stream=lambda: stream, fill=CONTEXT.fill)
    plan = GemmPlan.make(spec, context)
    assert isinstance(plan, GemmPlan)
    return plan


@needs_library
def test_a_plan_passes_addresses_in_the_library_s_order(library: FakeLibrary) -> None:
    plan = made(spec_of("nn", "f16", ep="bias_relu"))
    assert plan.workspace == 2000
    plan.run((16, 32, 48, 64), 256)
    (call,) = library.calls
    assert call[0].value == 7
    assert (call[3], call[5], call[8], call[10]) == (32, 16, 64, 64), "A is rhs, B lhs, C and D out"
    assert (call[13], call[14], call[15]) == (256, 2000, 5)
    assert plan._descriptors.operation.get("bias") == 48
    one, zero = call[2]._obj, call[7]._obj
    assert isinstance(one, ctypes.c_float) and (one.value, zero.value) == (1.0, 0.0)
    plan.run((16, 32, 80, 64), 256)
    assert plan._descriptors.operation.get("bias") == 80


@needs_library
def test_a_gradient_s_plan_sets_aux_and_bias_gradient(library: FakeLibrary) -> None:
    plan = made(spec_of("nn", ep="dgelu_bgrad"))
    plan.run((16, 32, 48, 64, 80), 0)
    operation = plan._descriptors.operation
    assert (operation.get("aux"), operation.get("bias")) == (48, 80)


@needs_library
def test_float64_is_scaled_by_float64(library: FakeLibrary) -> None:
    made(spec_of("nn", "f64")).run((16, 32, 48), 0)
    assert isinstance(library.calls[0][2]._obj, ctypes.c_double)


@needs_library
@pytest.mark.parametrize("library", [{"failing": 1}], indirect=True)
def test_the_next_algorithm_runs_where_one_does_not(library: FakeLibrary) -> None:
    plan = made(spec_of("nn"))
    plan.run((16, 32, 48), 0)
    plan.run((16, 32, 48), 0)
    tried = [call[12]._obj.data[0] for call in library.calls]
    assert tried == [0, 1, 1]


@needs_library
@pytest.mark.parametrize("library", [{"failing": 9}, {"failing": 9, "status": 13}], indirect=True)
def test_failures_name_the_status_and_the_product(library: FakeLibrary) -> None:
    status = {15: "NOT_SUPPORTED", 13: "EXECUTION_FAILED"}[library.status]
    plan = made(spec_of("nn", ep="bias"))
    with pytest.raises(DeviceError, match=f"CUBLAS_STATUS_{status}.*Matmul") as caught:
        plan.run((16, 32, 48, 64), 0)
    assert "[3,5] @ [5,128], f32 in f32 bias" in str(caught.value)


@needs_library
@pytest.mark.parametrize("library", [{"found": 0}], indirect=True)
def test_no_algorithm_is_no_plan(library: FakeLibrary) -> None:
    assert GemmPlan.make(spec_of("nn"), CONTEXT) is None


@needs_library
def test_choices_are_limited_by_workspace_and_alignment(library: FakeLibrary) -> None:
    """The library keeps what it is asked for until the question is answered."""
    asked: dict[str, int] = {}

    def heuristic(*args: Any) -> int:
        get = library.functions["MatmulPreferenceGetAttribute"]
        for name, (number, ctype) in cublaslt.PREFERENCE.items():
            box, written = ctype(), ctypes.c_size_t()
            assert (
                get(args[6], number, ctypes.byref(box), ctypes.sizeof(box), ctypes.byref(written))
                == 0
            )
            asked[name] = box.value
        return library.heuristic(*args)

    library.functions["MatmulAlgoGetHeuristic"] = heuristic
    made(spec_of("nn"))
    assert asked == {"workspace": 32 << 20, **{f"alignment_{x}": 16 for x in "abcd"}}


@needs_library
def test_there_is_no_handle_without_a_gpu() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceError, match="CUBLAS_STATUS_NOT_INITIALIZED from cublasLtCreate"):
        cublaslt.create()


@pytest.mark.parametrize("shapes", [((3, 0), (0, 128)), ((0, 5), (5, 128)), ((3, 5), (5, 0))])
@pytest.mark.parametrize("epilogue", ["", "relu", "gelu_aux", "relu_aux", "dgelu_bgrad", "bias"])
def test_products_without_elements_do_not_reach_the_library(shapes: Any, epilogue: str) -> None:
    lhs, rhs = (TensorType(DTYPES["f16"], shape) for shape in shapes)
    matmul = as_matmul(lhs, rhs, (((1,), (0,)), ((), ())))
    spec = GemmSpec("f16", "f16", "f32", matmul, epilogue)
    filled: dict[int, int] = {}
    context = Context(0, lambda: 0, lambda address, byte, nbytes: filled.update({address: nbytes}))
    plan = GemmPlan.make(spec, context)
    size = matmul.m * matmul.n * 2
    if epilogue == "bias" and size:
        assert plan is None, "rows of the bias take a kernel"
        return
    assert plan is not None and plan.workspace == 0
    addresses = dict(zip(spec.operands, range(1, 9), strict=False))
    plan.run(tuple(addresses.values()), 0)
    wanted = {addresses["out"]: size}
    if "dbias" in addresses:
        wanted[addresses["dbias"]] = matmul.n * 2
    if epilogue.endswith("_aux"):
        wanted[addresses["aux"]] = size // 16 if "relu" in epilogue else size
    assert filled == {address: nbytes for address, nbytes in wanted.items() if nbytes}


# ---- NVIDIA's numbers ----------------------------------------------------------------------------


def header(name: str) -> str:
    library = shared.find("cublasLt")
    folders = [Path(library._name).parent.parent / "include"] if library else []
    for folder in (*folders, *map(Path, shared.include_folders())):
        if (folder / name).exists():
            return (folder / name).read_text(encoding="utf-8")
    pytest.skip(f"no {name} on this machine")


def enum(text: str, name: str) -> int:
    """The value of an enumerator, which may be an expression of others."""
    found = re.search(rf"\b{name}\s*=\s*([^,/}}]+)", text)
    assert found, name
    value = re.sub(r"\b[A-Z]\w+", lambda m: str(enum(text, m[0])), found[1])
    return int(eval(value))  # numbers and | only


def test_numbers_are_those_of_the_header() -> None:
    text = header("cublasLt.h")
    for name, number in EPILOGUE_NUMBERS.items():
        words = (name or "default").upper().replace("BIAS_RELU", "RELU_BIAS")
        words = words.replace("BIAS_GELU", "GELU_BIAS").replace("BIAS_AUX", "AUX_BIAS")
        assert enum(text, f"CUBLASLT_EPILOGUE_{words}") == number
    assert set(EPILOGUE_NUMBERS) == set(EPILOGUES)
    desc = {
        **{"compute": "COMPUTE_TYPE", "scale": "SCALE_TYPE", "transpose_a": "TRANSA"},
        **{"transpose_b": "TRANSB", "epilogue": "EPILOGUE", "bias": "BIAS_POINTER"},
        **{"aux": "EPILOGUE_AUX_POINTER", "aux_leading": "EPILOGUE_AUX_LD"},
        **{"aux_stride": "EPILOGUE_AUX_BATCH_STRIDE", "bias_type": "BIAS_DATA_TYPE"},
    }
    assert set(desc) == set(cublaslt.DESC)
    for name, word in desc.items():
        assert enum(text, f"CUBLASLT_MATMUL_DESC_{word}") == cublaslt.DESC[name][0]
    layout = {
        **{"type": "TYPE", "rows": "ROWS", "columns": "COLS", "leading": "LD"},
        **{"batch": "BATCH_COUNT", "stride": "STRIDED_BATCH_OFFSET"},
    }
    for name, word in layout.items():
        assert enum(text, f"CUBLASLT_MATRIX_LAYOUT_{word}") == cublaslt.LAYOUT[name][0]
    preference = {"workspace": "MAX_WORKSPACE_BYTES"}
    preference |= {f"alignment_{x}": f"MIN_ALIGNMENT_{x.upper()}_BYTES" for x in "abcd"}
    for name, word in preference.items():
        assert enum(text, f"CUBLASLT_MATMUL_PREF_{word}") == cublaslt.PREFERENCE[name][0]
    result = text[text.index("typedef struct {", text.index("Results structure used")) :]
    fields = re.findall(r"^  (\w+) (\w+)(?:\[(\d+)\])?;", result[: result.index("}")], re.M)
    assert [name for _, name, _ in fields] == [
        "algo",
        "workspaceSize",
        "state",
        "wavesCount",
        "reserved",
    ]
    assert ctypes.sizeof(cublaslt._Choice) == 96


def test_types_are_those_of_the_headers() -> None:
    api = header("cublas_api.h")
    for name, word in {"f32": "32F", "tf32": "32F_FAST_TF32", "f64": "64F"}.items():
        assert enum(api, f"CUBLAS_COMPUTE_{word}") == COMPUTE[name]
    assert enum(api, "CUBLAS_STATUS_NOT_SUPPORTED") == cublaslt.NOT_SUPPORTED
    types = header("library_types.h")
    for name, word in {"f16": "16F", "bf16": "16BF", "f32": "32F", "f64": "64F"}.items():
        assert enum(types, f"CUDA_R_{word}") == TYPES[name]


# ---- finding libraries ---------------------------------------------------------------------------


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = shared.Library("libno_such_library.so.{cuda}", "no-such-package")
    monkeypatch.setitem(shared.LIBRARIES, "absent", absent)
    monkeypatch.setitem(
        shared.LIBRARIES, "second", shared.Library("libc.so.6", "libc", required=("absent",))
    )
    monkeypatch.setattr(shared, "_loaded", {})
    assert shared.find("absent") is None
    assert "pip install no-such-package" in shared.why_missing("absent")
    assert "libno_such_library.so.13" in shared.why_missing("absent")
    assert shared.why_missing("second").startswith("second needs absent: ")


def test_a_broken_library_says_why_it_does_not_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libbroken_for_test.so").write_text("no library", encoding="utf-8")
    broken = shared.Library("libbroken_for_test.so", "something")
    monkeypatch.setitem(shared.LIBRARIES, "broken", broken)
    monkeypatch.setattr(shared, "_loaded", {})
    monkeypatch.setattr(shared, "_wheels", lambda: [str(tmp_path)])
    assert shared.find("broken") is None
    assert re.search("does not load .*libbroken_for_test.so", shared.why_missing("broken"))


def test_headers_are_of_one_place() -> None:
    folders = shared.include_folders()
    if not folders:
        pytest.skip("no CUDA headers on this machine")
    assert any((Path(folder) / "cuda_fp16.h").exists() for folder in folders)


def test_versions_are_of_what_is_there() -> None:
    found = shared.versions()
    assert set(found) == {name for name in shared.LIBRARIES if shared.find(name)}
    assert all(re.fullmatch(r"\d+(\.\d+)+", version) for version in found.values())
