"""The frameworks that are compared on a GPU, each behind the same few functions.

    framework = load("torch", "cuda")
    run = framework.prepare(workload)
    arguments = framework.resident(workload.arguments(quick=False), workload.dtype)
    with framework.precision("tf32"):
        framework.wait(run(*arguments))

In: a framework's name, and "cuda", "cpu" or "emulate" (tracejit on a CPU that plays a GPU). Out:
functions on arguments that lie on the device. ``precision`` sets what products of float32 are
computed in, alike in all: "f32", "tf32", or "any", the framework's default.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import frameworks
import numpy as np
from frameworks import leaves, mapped

NAMES = ("tracejit", "jax", "torch", "torch.compile", "torch.graphs", "cupy.fuse")
#: those that take long to compile; "torch.graphs" is torch.compile with CUDA graphs
COMPILED = ("torch.compile", "torch.graphs")
REFERENCE = "reference"
FLOATS = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64"}


class MissingError(Exception):
    """A framework is not installed, or has nothing to run on."""


@dataclass(frozen=True)
class Framework:
    """``prepare(workload)``: the function to time. ``resident(tree, dtype)``: arguments on the
    device, floating ones as ``dtype``. ``wait``: until a result is there. ``to_numpy``: its arrays.
    ``precision(name)``: a block. ``timer``: device events, None where there are none.
    """

    name: str
    version: str
    prepare: Callable[[Any], Callable[..., Any]]
    resident: Callable[[Any, str], Any]
    wait: Callable[[Any], Any]
    to_numpy: Callable[[Any], list[np.ndarray]]
    precision: Callable[[str], AbstractContextManager[Any]]
    timer: Timer | None = None


@dataclass(frozen=True)
class Timer:
    """Events on the stream that calls go to: ``event()`` makes one that is recorded now; ``spin``
    keeps the device busy for so many seconds; ``synchronize`` waits for all.
    """

    event: Callable[[], Any]
    elapsed: Callable[[Any, Any], float]
    spin: Callable[[float], None]
    synchronize: Callable[[], None]

    def seconds(self, call: Callable[[], Any], count: int, busy: float) -> float:
        """Seconds of the device for one of ``count`` calls in a row. They are put on the stream
        while it is busy with something else, so that the host's part does not show.
        """
        self.synchronize()
        self.spin(busy)
        start = self.event()
        for _ in range(count):
            call()
        end = self.event()
        self.synchronize()
        return self.elapsed(start, end) / count


def environment(folder: str) -> dict[str, str]:
    """Environment variables of a worker: caches that no earlier run has filled, and memory that
    frameworks take only as they need it.
    """
    found = frameworks.environment(os.cpu_count() or 1, folder)
    for name in ("JAX_PLATFORMS", "TRACEJIT_THREADS"):
        del found[name]
    return {
        **found,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TRITON_CACHE_DIR": os.path.join(folder, "triton"),
        "CUPY_CACHE_DIR": os.path.join(folder, "cupy"),
        "CUDA_CACHE_PATH": os.path.join(folder, "cuda"),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def missing_part(name: str, workload: Any) -> str:
    """Why a framework takes no part in a row, or the empty text."""
    if name in ("torch", *COMPILED) and workload.torch is None:
        return "torch cannot say it"
    if name in COMPILED and not workload.compiled:
        return "nothing to compile"
    if name == "torch.graphs" and not workload.short:
        return "launches are not what takes time"
    if name == "cupy.fuse" and workload.cupy is None:
        return "not a chain that cupy.fuse takes"
    return ""


def load(name: str, device: str) -> Framework:
    """Import a framework. Raises MissingError, ValueError for a name not in NAMES."""
    makers = {
        "tracejit": _tracejit,
        "jax": _jax,
        "torch": _torch,
        "torch.compile": lambda device: _torch(device, name, {}),
        "torch.graphs": lambda device: _torch(device, name, {"mode": "reduce-overhead"}),
        "cupy.fuse": _cupy,
    }
    if name not in makers:
        raise ValueError(f"no framework {name!r}; there are: {', '.join(NAMES)}")
    if device == "emulate" and name != "tracejit":
        raise MissingError(f"{name} has no CPU that plays a GPU")
    try:
        return makers[name](device)
    except ImportError as error:
        raise MissingError(str(error)) from error


def as_dtype(array: Any, dtype: str) -> np.ndarray:
    """A NumPy array with floating numbers as ``dtype``."""
    import ml_dtypes

    array = np.asarray(array)
    if array.dtype.kind != "f":
        return array
    number = ml_dtypes.bfloat16 if dtype == "bf16" else np.dtype(FLOATS[dtype])
    return array.astype(number, copy=False)


def plain(array: Any) -> np.ndarray:
    """An array whose dtype NumPy knows by itself: bfloat16 as float32."""
    array = np.asarray(array)
    return array if array.dtype.kind in "biuf" else array.astype(np.float32)


# ---- tracejit ------------------------------------------------------------------------------------


def _tracejit(device: str) -> Framework:
    api = frameworks._submodules("tracejit")
    kept = ExitStack()  # the process plays a GPU until its end
    if device == "emulate":
        emulator = getattr(api.debug, "cuda_on_cpu", None)
        if emulator is None:
            raise MissingError("this tracejit cannot play a GPU")
        kept.enter_context(emulator((0,), checks=False))
    on_gpu = device != "cpu"
    if on_gpu and not hasattr(api, "device_put"):
        raise MissingError("this tracejit knows no GPU")

    kept_precision = [""]

    def prepare(workload: Any) -> Callable[..., Any]:
        function = workload.array(api)
        return api.jit(function, device="cuda") if on_gpu else api.jit(function)

    def resident(tree: Any, dtype: str) -> Any:
        found = mapped(lambda x: api.numpy.asarray(as_dtype(x, dtype)), tree)
        return api.device_put(found, "cuda") if on_gpu else found

    @contextmanager
    def precision(name: str) -> Any:
        if kept_precision[0] != name:  # a setting of the process, as a user would make it
            api.config.update("precision", "tf32" if name == "tf32" else "f32")
            kept_precision[0] = name
        yield

    def wait(result: Any, kept: ExitStack = kept) -> Any:
        return (
            result.block_until_ready()
            if isinstance(result, api.Array)
            else api.block_until_ready(result)
        )

    return Framework(
        "tracejit",
        api.__version__,
        prepare,
        resident,
        wait,
        lambda result: [plain(leaf) for leaf in leaves(result)],
        precision,
        _own_timer() if device == "cuda" else None,
    )


#: a kernel that does nothing for so many cycles
SPIN = """extern "C" __global__ void perf_spin(long long cycles) {
  long long start = clock64();
  while (clock64() - start < cycles) {}
}
"""
CYCLES = 1.9e9  # a second; what matters is that it is not much less


def own_device() -> Any:
    """The GPU as tracejit's run time sees it. Raises MissingError."""
    from tracejit.runtime.gpu import registry

    found = registry.gpus()
    if not found:
        raise MissingError(registry.problem())
    return found[0]


def _own_timer() -> Timer:
    import cupy

    from tracejit.runtime.gpu.device import CudaSource

    device = own_device()
    spin = device.load([CudaSource("perf_spin", SPIN, header=False)])["perf_spin"]

    def event() -> Any:
        found = cupy.cuda.Event()
        found.record(device.stream)
        return found

    return Timer(
        event,
        lambda start, end: cupy.cuda.get_elapsed_time(start, end) * 1e-3,
        lambda seconds: device.launch(spin, 1, 32, (int(seconds * CYCLES),)),
        device.synchronize,
    )


# ---- JAX -----------------------------------------------------------------------------------------


def _jax(device: str) -> Framework:
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    api = frameworks._submodules("jax")
    if device == "cuda" and api.default_backend() != "gpu":
        raise MissingError("this JAX sees no GPU")
    names = {"f32": "highest", "tf32": "tensorfloat32", "any": None}

    @contextmanager
    def precision(name: str) -> Any:
        with api.default_matmul_precision(names[name]) if names[name] else nullcontext():
            yield

    def resident(tree: Any, dtype: str) -> Any:
        api.config.update("jax_enable_x64", dtype == "f64")
        return api.block_until_ready(mapped(lambda x: api.numpy.asarray(as_dtype(x, dtype)), tree))

    def wait(result: Any) -> Any:
        return (
            result.block_until_ready()
            if isinstance(result, api.Array)
            else (api.block_until_ready(result))
        )

    return Framework(
        "jax",
        api.__version__,
        lambda workload: api.jit(workload.array(api)),
        resident,
        wait,
        lambda result: [plain(leaf) for leaf in leaves(result)],
        precision,
    )


# ---- torch ---------------------------------------------------------------------------------------


def _torch(device: str, name: str = "torch", compiled: dict[str, Any] | None = None) -> Framework:
    """torch; ``compiled``: what torch.compile is told, None for eager calls."""
    torch = importlib.import_module("torch")
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingError("this torch sees no GPU")
    torch.backends.cudnn.benchmark = True

    @contextmanager
    def precision(name: str) -> Any:
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        torch.backends.cudnn.allow_tf32 = name != "f32"
        yield

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        if compiled is None:
            return function
        return torch.compile(function, dynamic=False, **compiled)

    def resident(tree: Any, dtype: str) -> Any:
        number = getattr(torch, FLOATS[dtype])

        def moved(x: Any) -> Any:
            found = torch.from_numpy(np.array(x)).to(device)
            return found.to(number) if found.is_floating_point() else found

        return mapped(moved, tree)

    def to_numpy(result: Any) -> list[np.ndarray]:
        found = []
        for leaf in leaves(result):
            leaf = leaf.detach().cpu()
            narrow = leaf.dtype in (torch.bfloat16, torch.float16)
            found.append((leaf.float() if narrow else leaf).numpy())
        return found

    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    return Framework(
        name,
        torch.__version__,
        lambda workload: workload.torch(torch, wrap),
        resident,
        lambda result: synchronize(),
        to_numpy,
        precision,
        torch_timer(torch) if device == "cuda" else None,
    )


def torch_timer(torch: Any) -> Timer:
    def event() -> Any:
        found = torch.cuda.Event(enable_timing=True)
        found.record()
        return found

    return Timer(
        event,
        lambda start, end: start.elapsed_time(end) * 1e-3,
        lambda seconds: torch.cuda._sleep(int(seconds * CYCLES)),
        torch.cuda.synchronize,
    )


# ---- CuPy ----------------------------------------------------------------------------------------


def _cupy(device: str) -> Framework:
    """CuPy, or NumPy and SciPy in its place on a CPU: the definitions are the same."""
    if device == "cuda":
        xp = importlib.import_module("cupy")
        if not xp.cuda.is_available():
            raise MissingError("this CuPy sees no GPU")
        erf = importlib.import_module("cupyx.scipy.special").erf
        fuse, version = xp.fuse, xp.__version__
        timer = Timer(
            lambda: _recorded(xp.cuda.Event()),
            lambda start, end: xp.cuda.get_elapsed_time(start, end) * 1e-3,
            _cupy_spin(xp),
            xp.cuda.get_current_stream().synchronize,
        )
    else:
        xp, fuse, timer = np, lambda function: function, None
        erf = importlib.import_module("scipy.special").erf
        version = np.__version__

    def to_numpy(result: Any) -> list[np.ndarray]:
        return [np.asarray(x if xp is np else xp.asnumpy(x)) for x in leaves(result)]

    return Framework(
        "cupy.fuse",
        version,
        lambda workload: workload.cupy(xp, erf, fuse),
        lambda tree, dtype: mapped(lambda x: xp.asarray(as_dtype(x, dtype)), tree),
        lambda result: None if timer is None else timer.synchronize(),
        to_numpy,
        lambda name: nullcontext(),
        timer,
    )


def _recorded(event: Any) -> Any:
    event.record()
    return event


def _cupy_spin(cupy: Any) -> Callable[[float], None]:
    kernel = cupy.RawKernel(SPIN, "perf_spin")
    return lambda seconds: kernel((1,), (32,), (np.int64(seconds * CYCLES),))


# ---- what all are compared with ------------------------------------------------------------------


def reference(workload: Any, quick: bool, device: str) -> tuple[list[np.ndarray], int, str]:
    """Results in float64, by torch's operations on the CPU (on the GPU for heavy rows), or by
    NumPy, with tracejit's derivatives, where there is no torch; the bytes of arguments and results
    on the device; and who computed it.
    """
    given = workload.arguments(quick)
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        torch = None
    if torch is None or workload.torch is None:
        api = frameworks._submodules("tracejit")
        function = api.jit(workload.array(api), backend="numpy")
        found = [plain(x) for x in leaves(function(*mapped(_as_float64, given)))]
        who = "NumPy"
    else:
        place = "cuda" if workload.heavy and device == "cuda" else "cpu"
        function = workload.torch(torch, lambda inner: inner)
        result = function(*mapped(lambda x: torch.from_numpy(_as_float64(x)).to(place), given))
        found = [leaf.detach().cpu().numpy() for leaf in leaves(result)]
        who = f"torch float64, {place}"
        if place == "cuda":
            del result
            torch.cuda.empty_cache()
    width = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8}[workload.dtype]
    nbytes = sum(x.size * (width if x.dtype.kind == "f" else x.itemsize) for x in leaves(given))
    nbytes += sum(x.size * (width if x.dtype.kind == "f" else x.itemsize) for x in found)
    return found, nbytes, who


def _as_float64(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind == "f" else np.array(x)
