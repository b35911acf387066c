"""Whether cuDNN has plans for specs on a GPU that is not here.

    check_plans([spec, ...], Path("h200.json").read_text())    -> [Checked(spec, engine=47, ...)]
    missing()                                                  "" or what is needed for that

cuDNN makes plans from a description of a GPU's properties, up to the machine code of engines that
it compiles at run time. Those open the driver's library, so another process gets one that answers
the few questions asked while compiling and runs nothing.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tracejit.errors import BackendError, TracejitError
from tracejit.kernel.gpu.library import Spec
from tracejit.record import dataclass
from tracejit.runtime.gpu import cudnn, shared
from tracejit.runtime.gpu.cudnn_plan import cudnn_plan, why

#: a driver for which every kernel loads and nothing runs
DRIVER = """
#define FOUND(name, value) int name(void **out) { *out = (void *)(value); return 0; }
#define FINE(name) int name(void) { return 0; }
#define NO_DEVICE(name) int name(void) { return 100; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks) { *blocks = 1; return 0; }
int cuOccupancyMaxPotentialClusterSize(int *size) { *size = 8; return 0; }
FOUND(cuLibraryLoadData, 16) FOUND(cuLibraryGetKernel, 32) FOUND(cuKernelGetFunction, 32)
FINE(cuLibraryUnload) FINE(cuKernelSetAttribute) FINE(cuFuncSetAttribute)
NO_DEVICE(cuCtxGetCurrent) NO_DEVICE(cuCtxGetLimit) NO_DEVICE(cuCtxPopCurrent)
NO_DEVICE(cuCtxPushCurrent) NO_DEVICE(cuDeviceGetCount) NO_DEVICE(cuGetErrorName)
NO_DEVICE(cuGetErrorString) NO_DEVICE(cuGetProcAddress) NO_DEVICE(cuInit)
NO_DEVICE(cuKernelGetAttribute) NO_DEVICE(cuLaunchCooperativeKernel) NO_DEVICE(cuLaunchKernel)
NO_DEVICE(cuLaunchKernelEx) NO_DEVICE(cuLibraryLoadFromFile) NO_DEVICE(cuLinkAddData)
NO_DEVICE(cuLinkComplete) NO_DEVICE(cuLinkCreate) NO_DEVICE(cuLinkDestroy)
NO_DEVICE(cuStreamGetCtx)
"""


@dataclass(frozen=True)
class Checked:
    """What cuDNN plans for a spec: the engine's number, its workspace in bytes, what it says about
    its numbers and behaviour, how long it took; ``error``: why there is no plan.
    """

    spec: Spec
    engine: int = -1
    workspace: int = 0
    notes: tuple[str, ...] = ()
    behaviour: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""


def missing() -> str:
    """What ``check_plans`` lacks here, in one line; empty where it can work."""
    if shutil.which("gcc") is None:
        return "plans without a GPU need gcc, for a driver that runs nothing"
    return shared.why_missing("nvrtc") or shared.why_missing("cudnn")


def check_plans(specs: Sequence[Spec], properties: str) -> list[Checked]:
    """What cuDNN plans for each spec on the GPU that ``properties`` describe (JSON, as
    ``cudnn.device_properties`` gives it). Raises BackendError where ``missing`` says why.
    """
    if reason := missing():
        raise BackendError(reason)
    with tempfile.TemporaryDirectory() as folder:
        source, driver = Path(folder, "driver.c"), Path(folder, "libcuda.so.1")
        source.write_text(DRIVER)
        build = ["gcc", "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o", str(driver)]
        _run([*build, str(source)], b"")
        work = pickle.dumps((str(driver), properties, list(specs)))
        answer = _run([sys.executable, "-m", __spec__.name], work)
    return [
        Checked(spec, *values) for spec, values in zip(specs, pickle.loads(answer), strict=True)
    ]


def _run(command: list[str], work: bytes) -> bytes:
    """Output of a command that starts where this package can be imported."""
    root = Path(__file__).parents[3]
    done = subprocess.run(command, input=work, capture_output=True, cwd=root, timeout=600)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-5:]
        raise BackendError(f"{Path(command[0]).name} ended with {done.returncode}", notes=(*said,))
    return done.stdout


def main() -> None:
    """Answer what ``check_plans`` of another process asks on the standard input."""
    # what libraries print goes to the error stream: the output is for the answer
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    driver, properties, specs = pickle.load(sys.stdin.buffer)
    ctypes.CDLL(driver, ctypes.RTLD_GLOBAL)
    target = cudnn.Target.described(properties)
    pickle.dump([_checked(spec, target) for spec in specs], answer)
    answer.close()


def _checked(spec: Spec, target: cudnn.Target) -> tuple[object, ...]:
    """Fields of ``Checked`` behind the spec."""
    start = time.perf_counter()
    try:
        plan = cudnn_plan(spec, target)
        error = "" if plan else why(spec)
    except TracejitError as failure:
        plan, error = None, str(failure)
    seconds = time.perf_counter() - start
    if plan is None:
        return (-1, 0, (), (), seconds, error)
    return (plan.engine, plan.workspace, plan.notes, plan.behaviour, seconds, "")


if __name__ == "__main__":
    main()
