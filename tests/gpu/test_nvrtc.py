"""CUDA C through NVRTC, which needs no GPU: all forms compile, to the instructions meant."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.gpu.cuda_texts import KERNELS
from tests.gpu.test_cuda_printer import REAL, kernel_of
from tracejit.codegen.cuda import cuda_source
from tracejit.config import settings
from tracejit.errors import BackendError
from tracejit.kernel.gpu.source import CudaSource
from tracejit.kernel.text import parse
from tracejit.runtime.cache import cache_info
from tracejit.runtime.gpu import nvrtc, shared
from tracejit.runtime.gpu.nvrtc import Resources, compile_cubin, inspect, sass

pytestmark = pytest.mark.skipif(bool(shared.why_missing("nvrtc")), reason="NVRTC is not installed")

SOURCES = [cuda_source(parse(text)) for text in KERNELS.values()]


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    return compile_cubin(SOURCES, 90)


_sass = cache(sass)


def instructions(images: dict[str, bytes], name: str) -> list[str]:
    """The loads and stores of a kernel, in order."""
    if nvrtc.tool("cuobjdump") is None:
        pytest.skip("cuobjdump is not installed: pip install nvidia-cuda-cuobjdump")
    _, _, text = _sass(images[name]).partition(f"Function : {name}\n")
    own = text.partition("Function : ")[0]
    return re.findall(r"\b((?:LDG|STG|LDL|STL|LDS|STS)[.\w]*)", own)


def test_every_form_compiles(images):
    assert set(images) == set(KERNELS)
    older = compile_cubin(SOURCES, 80)
    assert set(older) == set(KERNELS) and older["map1"] != images["map1"]


@pytest.mark.parametrize("arch", [80, 90])
def test_every_operation_compiles(arch):
    sources = [cuda_source(kernel_of(dtype, 100)[0]) for dtype in REAL]
    assert set(compile_cubin(sources, arch)) == {f"every_{dtype}" for dtype in REAL}


def test_vectors_are_one_access(images):
    for name in ("map1", "flat"):
        found = instructions(images, name)
        assert found and all(".128" in access for access in found), name
    columns = instructions(images, "colsum")
    assert any(re.match(r"LDG\.E\.128", access) for access in columns)
    assert columns.count("STG.E.128") == 2
    lanes = instructions(images, "lanes")
    assert "LDG.E.64" in lanes and "STG.E.64" in lanes  # 8 bool: m and p


def test_locals_stay_in_registers(images):
    for name, image in images.items():
        assert inspect(image)[name].local == 0, name
        found = instructions(images, name)
        assert not any(access.startswith(("LDL", "STL")) for access in found), name


def test_resources(images):
    found = inspect(images["tile"])["tile"]
    assert 10 <= found.registers <= 64 and found.local == 0
    assert found.shared >= 32 * 33 * 4
    (spilled,) = compile_cubin(
        [
            CudaSource(
                "spilled",
                'extern "C" __global__ void spilled(float* x, long long n) {\n'
                "  float a[64];\n  for (int k = 0; k < 64; ++k) a[k * n & 63] = x[k];\n"
                "  x[0] = a[n % 64];\n}\n",
            )
        ],
        90,
    ).values()
    assert inspect(spilled)["spilled"].local >= 256
    assert isinstance(inspect(spilled)["spilled"], Resources)


def test_resources_are_those_of_cuobjdump(images):
    tool = nvrtc.tool("cuobjdump")
    if tool is None:
        pytest.skip("cuobjdump is not installed: pip install nvidia-cuda-cuobjdump")
    text = nvrtc._run(tool, "--dump-resource-usage", images["softmax"])
    for name, found in inspect(images["softmax"]).items():
        usage = re.search(rf"Function {name}:\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)", text)
        assert usage is not None
        assert found == Resources(int(usage[1]), int(usage[3]), int(usage[2]))


def test_a_product_fuses_with_a_sum_unless_forbidden():
    text = 'extern "C" __global__ void k(float* x) { x[0] = x[1] * x[2] + x[3]; }\n'
    if nvrtc.tool("cuobjdump") is None:
        pytest.skip("cuobjdump is not installed: pip install nvidia-cuda-cuobjdump")
    fused, apart = (
        sass(compile_cubin([CudaSource("k", text, contract=c, header=False)], 90)["k"])
        for c in (True, False)
    )
    assert "FFMA" in fused and "FFMA" not in apart


def test_errors_name_the_kernel_and_the_line():
    good = SOURCES[0]
    bad = CudaSource("bad", 'extern "C" __global__ void bad(float* x) {\n  x[0] = y;\n}\n')
    with pytest.raises(BackendError, match='(?s)kernel bad:.*line 2: .*"y".*\n    x\\[0\\] = y;'):
        compile_cubin([good, bad], 90)
    users = CudaSource("bad", bad.text, arguments=("p",), origin=("model.py", 10))
    with pytest.raises(BackendError, match="line 2 \\(model.py:11\\)"):
        compile_cubin([users], 90)


def test_too_much_static_shared_memory_is_an_error():
    text = (
        'extern "C" __global__ void k(float* x) {\n  __shared__ float s[20000];\n'
        "  s[threadIdx.x] = x[0]; __syncthreads(); x[1] = s[threadIdx.x + 7];\n}\n"
    )
    with pytest.raises(BackendError, match="cannot compile k"):
        compile_cubin([CudaSource("k", text)], 90)


def test_kernels_of_users_may_include_headers():
    text = (
        '#include <cuda_fp16.h>\nextern "C" __global__ void k(__half* x)'
        " { x[0] = __hadd(x[1], x[2]); }\n"
    )
    assert shared.include_folders()
    source = CudaSource("k", text, header=False, arguments=("p",))
    assert "k" in inspect(compile_cubin([source], 90)["k"])


def test_the_disk_cache_knows_images(tmp_path):
    few = SOURCES[:2]
    with settings(cache=str(tmp_path)):
        first = compile_cubin(few, 90)
        before = cache_info()
        again = compile_cubin(few[::-1], 90)
        after = cache_info()
        assert first == again and after.misses == before.misses and before.entries >= 3
        # comments in front take no part
        text = "// model.py:99\n" + few[0].text.split("\n", 1)[1]
        assert compile_cubin([CudaSource(few[0].name, text)], 90)[few[0].name] == first["map1"]
        assert compile_cubin(few, 80)["map1"] != first["map1"]


def test_programs_are_of_like_lengths():
    sources = [CudaSource(f"k{k}", "x" * n) for k, n in enumerate((50, 10, 20, 30))]
    mine = CudaSource("mine", "x", arguments=("p",))
    exact = CudaSource("exact", "x", contract=False)
    programs = nvrtc._programs([*sources, mine, exact], 2)
    names = [sorted(s.name for s in program.sources) for program in programs]
    assert sorted(names) == [["exact"], ["k0", "k1"], ["k2", "k3"], ["mine"]]
