"""What a GPU would be given for each row of the table, at full size; no GPU is needed.

    python perf/gpu_plan.py
    python perf/gpu_plan.py --only "gpt_step,conv*" --cudnn tests/data/h200.json

A line for each row: its kernels (compiled to machine code by NVRTC where it is there, with the most
registers of a thread and the kernels whose registers spill to memory), calls of libraries, steps
that run on the host, which a row should not have, and the arena. ``--cudnn``: whether cuDNN has a
plan for each convolution and attention on the GPU that the file describes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for _folder in (os.path.dirname(os.path.abspath(__file__)),):
    sys.path[:0] = [_folder, os.path.dirname(_folder)]

import gpu_workloads  # noqa: E402
import numpy as np  # noqa: E402
from frameworks import mapped  # noqa: E402
from gpu_frameworks import FLOATS  # noqa: E402
from gpu_workload import GpuWorkload  # noqa: E402

import tracejit  # noqa: E402
from tracejit import debug  # noqa: E402
from tracejit.kernel.gpu.library import AttentionSpec, ConvSpec  # noqa: E402
from tracejit.kernel.program import HostCall, LibraryCall  # noqa: E402
from tracejit.runtime.gpu import cudnn_check, nvrtc, shared  # noqa: E402
from tracejit.runtime.gpu.code import source_of  # noqa: E402

ARCH = 90


def planned(workload: GpuWorkload, quick: bool = False) -> Any:
    """Every stage of the row's program for a GPU. Nothing is run."""
    import ml_dtypes

    float_dtype = ml_dtypes.bfloat16 if workload.dtype == "bf16" else FLOATS[workload.dtype]

    def stand_in(x: Any) -> Any:
        x = np.asarray(x)
        dtype = np.dtype(float_dtype) if x.dtype.kind == "f" else x.dtype
        return tracejit.ShapeDtypeStruct(x.shape, dtype)

    arguments = mapped(stand_in, workload.arguments(quick))
    precision = "tf32" if workload.precision == "tf32" else "f32"
    with tracejit.settings(precision=precision):
        return tracejit.jit(workload.array(tracejit), device="cuda").stages(*arguments)


def facts(stages: Any) -> dict[str, Any]:
    """What the program consists of."""
    program = stages.program
    found: dict[str, Any] = {
        "kernels": len(program.kernels),
        "launches": len(program.calls),
        "library": [c.spec for c in program.calls if isinstance(c, LibraryCall)],
        "host": [c for c in program.calls if isinstance(c, HostCall)],
        "arena": program.plan.arena,
    }
    if not shared.why_missing("nvrtc"):
        sources = [source_of(kernel) for kernel in dict.fromkeys(program.kernels)]
        start = time.perf_counter()
        images = nvrtc.compile_cubin(sources, ARCH)
        found["nvrtc_seconds"] = time.perf_counter() - start
        resources = [nvrtc.inspect(images[s.name])[s.name] for s in sources]
        found["registers"] = max((r.registers for r in resources), default=0)
        found["spilling"] = [
            (s.name, r.local) for s, r in zip(sources, resources, strict=True) if r.local
        ]
    return found


def line(workload: GpuWorkload, found: dict[str, Any]) -> str:
    specs = Counter(type(spec).__name__.removesuffix("Spec") for spec in found["library"])
    calls = ", ".join(f"{count} {name}" for name, count in specs.items()) or "-"
    registers = f"{found['registers']} registers" if "registers" in found else ""
    text = f"{workload.name:<26}{found['kernels']:>4} kernels {found['launches']:>5} calls"
    text += f"  {calls:<32}{found['arena'] / 1e6:>9.1f} MB  {registers}"
    for call in found["host"]:
        text += f"\n    on the host: {getattr(call, 'name', '') or call}"[:200]
    for name, nbytes in found.get("spilling", ()):
        text += f"\n    {nbytes} bytes of local memory: {name}"
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names or patterns, separated by commas")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--cudnn", type=Path, help="JSON of a GPU's properties, as cuDNN writes it")
    chosen = parser.parse_args(arguments)
    bad, specs = 0, {}
    with debug.cuda_on_cpu((0,), checks=False):
        for workload in gpu_workloads.select([p for p in chosen.only.split(",") if p]):
            try:
                found = facts(planned(workload, chosen.quick))
            except Exception as error:  # the others are planned still
                text = (str(error).strip().splitlines() or [""])[0]
                print(f"{workload.name:<26}FAILED {type(error).__name__}: {text}"[:400])
                bad += 1
                continue
            print(line(workload, found), flush=True)
            asked = (s for s in found["library"] if isinstance(s, ConvSpec | AttentionSpec))
            specs |= dict.fromkeys(asked, workload.name)
    if chosen.cudnn is not None and specs:
        for checked in cudnn_check.check_plans(list(specs), chosen.cudnn.read_text()):
            missing = f"NO PLAN: {checked.error}" if checked.error else ""
            size = f"engine {checked.engine}, workspace {checked.workspace / 1e6:.1f} MB"
            print(f"{specs[checked.spec]:<26}{missing or size}  {checked.spec}"[:300])
            bad += bool(checked.error)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
