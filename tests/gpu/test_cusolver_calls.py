"""What tracejit hands to cuSOLVER and cuBLAS by ctypes, and to cuFFT: read by functions with the C
types of NVIDIA's headers (``fake_solver.py``), and compared with these headers and the libraries
where they are installed.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gpu.fake_solver import fake_libraries
from tests.gpu.host_kernels import needs_compiler
from tests.gpu.test_cusolver import DTYPE_NAMES, drawn, positive
from tracejit.errors import DeviceError
from tracejit.kernel.gpu.library import SolverSpec
from tracejit.ops import lapack
from tracejit.runtime.gpu import cufft, cusolver, nvrtc, shared
from tracejit.runtime.gpu.cusolver import Cusolver
from tracejit.runtime.gpu.host_device import HostDevice
from tracejit.runtime.gpu.host_solver import solver_plan, solver_sizes


def specs(dtype: str) -> list[SolverSpec]:
    """Each routine, for one matrix, for few, and for many at once."""
    one = [
        SolverSpec("potrf", dtype, 4, 4),
        SolverSpec("potrf", dtype, 4, 4, 3),
        SolverSpec("potrf", dtype, 260, 260, 2),
        SolverSpec("getrf", dtype, 4, 4),
        SolverSpec("getrf", dtype, 5, 3, 2),
        SolverSpec("getrf", dtype, 3, 3, 4, 0, ("batched",)),
        SolverSpec("geqrf", dtype, 5, 3, 2),
        SolverSpec("geqrf", dtype, 3, 5),
        SolverSpec("orgqr", dtype, 5, 3, 2, 3),
        SolverSpec("orgqr", dtype, 4, 4, 1, 2),
        SolverSpec("gesvd", dtype, 5, 3, 2, 0, ("A",)),
        SolverSpec("gesvd", dtype, 5, 3, 1, 0, ("S",)),
        SolverSpec("gesvd", dtype, 4, 4, 1, 0, ("N",)),
        SolverSpec("gesvdj", dtype, 5, 3, 2, 0, ("A",)),
        SolverSpec("gesvdj", dtype, 3, 5, 2, 0, ("N",)),
    ]
    one += [
        SolverSpec("syevd", dtype, 4, 4, batch, 0, (vectors, triangle))
        for batch in (1, 3)
        for vectors, triangle in ("NL", "NU", "VL", "VU")
    ]
    return one + [
        SolverSpec("trsm", dtype, 4, 3, batch, 0, (side, triangle, way, diagonal))
        for batch in (1, 3)
        for side, triangle in ("LL", "LU", "RL", "RU")
        for way, diagonal in ("NN", "TU", "CN")
    ]


def memory_of(spec: SolverSpec) -> dict[str, np.ndarray]:
    """Flat memory of every operand."""
    sizes = solver_sizes(spec)
    found = {name: np.full(sizes[name][1], 9, sizes[name][0]) for name in spec.operands}
    if spec.routine in ("potrf", "syevd"):
        found["a"][...] = positive(spec.dtype, spec.batch, spec.m, spec.m).ravel()
    elif spec.routine == "trsm":
        order = spec.m if spec.options[0] == "L" else spec.n
        matrices = drawn(spec.dtype, spec.batch, order, order) + 3 * np.eye(order)
        found["a"][...] = matrices.ravel()
        found["b"][...] = drawn(spec.dtype, found["b"].size)
    elif spec.routine == "orgqr":
        shape = (spec.batch, spec.n, spec.m)
        factors = lapack.lapack_geqrf.rule("numpy")(drawn(spec.dtype, *shape), checked=False)
        found["a"][...] = factors[0].ravel()
        found["taus"][...] = factors[1][:, : spec.count].ravel()
    else:
        found["a"][...] = drawn(spec.dtype, found["a"].size)
    return found


def bound(host: HostDevice) -> Cusolver:
    return Cusolver(lambda: 5 << 33, host.load, host.launch)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_what_goes_to_the_libraries(dtype: str) -> None:
    """Through C, to functions that do what NVIDIA says of their arguments."""
    host = HostDevice()
    with fake_libraries() as fake:
        library = bound(host)
        for spec in specs(dtype):
            found = memory_of(spec)
            wanted = {name: x.copy() for name, x in found.items()}
            plan = library.plan(spec)
            assert plan is not None and plan.recorded == (spec.routine == "trsm")
            workspace = host.alloc(max(plan.workspace, 1))
            plan.run([x.ctypes.data for x in found.values()], workspace.address)
            own = solver_plan(spec, lambda work: work(), lambda *args: None)
            scratch = host.alloc(own.workspace)
            own.run([x.ctypes.data for x in wanted.values()], scratch.address)
            host.synchronize()
            for name, x in found.items():
                assert x.tobytes() == wanted[name].tobytes(), (spec, name)
            assert set(fake.streams.values()) <= {5 << 33}


def test_many_matrices_are_one_call() -> None:
    with fake_libraries() as fake:
        library = Cusolver(lambda: 5 << 33, lambda sources: {sources[0].name: None}, print)
        few, many = SolverSpec("geqrf", "f32", 4, 3, 256), SolverSpec("geqrf", "f32", 4, 3, 257)
        assert library.plan(few) is not None and library.plan(many) is None
        options = ("L", "L", "N", "N")
        for routine, batch in (("potrf", 10_000), ("trsm", 10_000)):
            assert library.plan(SolverSpec(routine, "f32", 4, 4, batch, 0, options)) is not None
        assert "XsyevBatched_bufferSize" not in fake.calls
        assert library.plan(SolverSpec("syevd", "f32", 4, 4, 5000, 0, ("V", "L"))) is not None
        assert "XsyevBatched_bufferSize" in fake.calls


def test_older_libraries_take_eigenvalues_one_by_one() -> None:
    with fake_libraries():
        older = {k: f for k, f in cusolver.functions().items() if k not in cusolver.NEWER}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cusolver, "functions", lambda: older)
            library = Cusolver(lambda: 5 << 33, lambda sources: {sources[0].name: None}, print)
            spec = SolverSpec("syevd", "f64", 4, 4, 3, 0, ("V", "L"))
            plan, memory = library.plan(spec), memory_of(spec)
            assert plan is not None
            before, work = memory["a"].reshape(3, 4, 4).copy(), np.empty(plan.workspace, np.uint8)
            plan.run([x.ctypes.data for x in memory.values()], work.ctypes.data)
            wanted = np.linalg.eigvalsh(before)
            np.testing.assert_allclose(memory["values"].reshape(3, 4), wanted, rtol=1e-10)


def test_failures_name_the_function() -> None:
    with fake_libraries() as fake:
        library = Cusolver(lambda: 5 << 33, lambda sources: {sources[0].name: None}, print)
        fake.failing["Xgetrf_bufferSize"] = 3
        with pytest.raises(DeviceError, match="cuSOLVER: INVALID_VALUE from Xgetrf_bufferSize"):
            library.plan(SolverSpec("getrf", "f32", 3, 3))
        plan = library.plan(SolverSpec("trsm", "f32", 3, 3, 1, 0, ("L", "L", "N", "N")))
        fake.failing["Strsm_v2"] = 13
        assert plan is not None
        work = np.empty(plan.workspace + 256, np.uint8)
        start = -(-work.ctypes.data // 256) * 256
        with pytest.raises(DeviceError, match="cuBLAS: EXECUTION_FAILED from Strsm_v2"):
            plan.run([work.ctypes.data] * 2, start)


@pytest.mark.skipif(shared.find("cusolver") is None, reason=shared.why_missing("cusolver"))
def test_the_real_libraries_have_every_function() -> None:
    """They load without a GPU, and say that there is none."""
    found = cusolver.functions()
    assert {"Xpotrf", "ZpotrfBatched", "Cungqr", "StrsmBatched", "XsyevBatched"} <= set(found)
    with pytest.raises(DeviceError, match="NOT_INITIALIZED"):
        bound(HostDevice())._opened()


HEADERS = [
    ("cusolverDn.h", "cusolverDn", cusolver.SOLVER_SIGNATURES),
    ("cublas_api.h", "cublas", cusolver.BLAS_SIGNATURES),
    ("cufft.h", "cufft", cufft.SIGNATURES),
]


def header(name: str) -> str:
    """A header of CUDA without its comments."""
    for folder in shared.include_folders():
        file = Path(folder) / name
        if file.exists():
            return re.sub(r"/\*.*?\*/|//[^\n]*", "", file.read_text(), flags=re.S)
    pytest.skip(f"there is no {name}")


def c_type(text: str) -> Any:
    """The type that ctypes has for an argument's declaration."""
    if "*" in text or "[" in text or re.search(r"(cusolverDn|cublas)Handle_t|cudaStream_t", text):
        return ctypes.c_void_p
    if re.search(r"cusolverDnParams_t|gesvdjInfo_t", text):
        return ctypes.c_void_p
    for name, found in (
        ("int64_t", ctypes.c_int64),
        ("size_t", ctypes.c_size_t),
        ("signed char", ctypes.c_byte),
        ("long long", ctypes.c_longlong),
    ):
        if name in text:
            return found
    known = r"\bint\b|cublas(FillMode|SideMode|Operation|DiagType)_t|cusolverEigMode_t"
    assert re.search(known + r"|cudaDataType|cufftType|cufftHandle", text), text
    return ctypes.c_int


@pytest.mark.parametrize(("file", "prefix", "signatures"), HEADERS, ids=[h[0] for h in HEADERS])
def test_types_of_arguments_are_those_of_the_headers(
    file: str, prefix: str, signatures: Any
) -> None:
    text = header(file)
    for pattern, types in signatures.items():
        for letter in "SDCZ" if "{}" in pattern else " ":
            name = prefix + cusolver.spelled(pattern, letter)
            match = re.search(rf"\b{name}\s*\(([^)]*)\)\s*;", text)
            assert match, name
            given = [c_type(part) for part in match[1].split(",")]
            assert given == types, name


def test_numbers_are_those_of_the_headers() -> None:
    text = "".join(map(header, ("cusolver_common.h", "cublas_api.h", "library_types.h", "cufft.h")))

    def number(name: str) -> int:
        match = re.search(rf"\b{name}\s*=?\s*(-?(?:0x)?[0-9A-Fa-f]+)", text)
        assert match, name
        return int(match[1], 0)

    for name, value in {
        **{f"CUSOLVER_STATUS_{n}": k for k, n in cusolver.SOLVER_STATUS.items()},
        **{f"CUBLAS_STATUS_{n}": k for k, n in cusolver.BLAS_STATUS.items()},
        **{f"CUFFT_{n}": k for k, n in cufft.STATUS.items()},
        "CUDA_R_32F": cusolver.TYPES["f32"],
        "CUDA_R_64F": cusolver.TYPES["f64"],
        "CUDA_C_32F": cusolver.TYPES["c64"],
        "CUDA_C_64F": cusolver.TYPES["c128"],
        "CUBLAS_FILL_MODE_LOWER": cusolver.TRIANGLES["L"],
        "CUBLAS_FILL_MODE_UPPER": cusolver.TRIANGLES["U"],
        "CUBLAS_SIDE_LEFT": cusolver.SIDES["L"],
        "CUBLAS_SIDE_RIGHT": cusolver.SIDES["R"],
        "CUBLAS_OP_N": cusolver.WAYS["N"],
        "CUBLAS_OP_T": cusolver.WAYS["T"],
        "CUBLAS_OP_C": cusolver.WAYS["C"],
        "CUBLAS_DIAG_NON_UNIT": cusolver.DIAGONALS["N"],
        "CUBLAS_DIAG_UNIT": cusolver.DIAGONALS["U"],
        "CUSOLVER_EIG_MODE_NOVECTOR": cusolver.VECTORS["N"],
        "CUSOLVER_EIG_MODE_VECTOR": cusolver.VECTORS["V"],
        "CUFFT_C2C": cufft.KINDS["fft", "f32"][0],
        "CUFFT_R2C": cufft.KINDS["rfft", "f32"][0],
        "CUFFT_C2R": cufft.KINDS["irfft", "f32"][0],
        "CUFFT_Z2Z": cufft.KINDS["ifft", "f64"][0],
        "CUFFT_D2Z": cufft.KINDS["rfft", "f64"][0],
        "CUFFT_Z2D": cufft.KINDS["irfft", "f64"][0],
        "CUFFT_FORWARD": cufft.DIRECTIONS["fft"],
        "CUFFT_INVERSE": cufft.DIRECTIONS["ifft"],
    }.items():
        assert number(name) == value, name


@pytest.mark.skipif(bool(shared.why_missing("nvrtc")), reason="NVRTC is not installed")
def test_the_kernel_of_addresses_compiles_for_a_gpu() -> None:
    assert nvrtc.compile_cubin([cusolver.POINTERS], 90)[cusolver.POINTERS.name]
