"""Loops in one kernel on a GPU: a thread for each element, time inside it, the state in registers.

    lower_loop_gpu(group, partition, target) -> Lowered(kernel, reads, writes, sizes)

    block b in idiv(add(n0, 255), 256):
      thread t in 256:
        i0: i64 = add(mul(b, 256), t)
        z0: f32 = x0[i0]
        seq step in steps:
          t1: f32 = add(mul(0.9, z0), mul(0.1, x1[step, i0]))
          y0[step, i0] = t1
          z0 = t1

Neighbouring threads have neighbouring elements, so that a step reads and writes whole rows. Each
thread stops by itself in a loop with a condition. Extents are sizes, the inner ones too: a thread
divides by them once, before its steps.
"""

from __future__ import annotations

from dataclasses import replace

from tracejit.kernel.gpu.convert import converted
from tracejit.kernel.gpu.kernels import with_narrow
from tracejit.kernel.gpu.target import GpuTarget
from tracejit.kernel.lower import Lowered
from tracejit.kernel.lower_loop import checked, loop_kernel
from tracejit.kernel.sizes import generalise
from tracejit.passes.groups import Group, Partition


def lower_loop_gpu(group: Group, partition: Partition, target: GpuTarget) -> Lowered:
    """The kernel of a loop group. Elements may lie anywhere: no access is wider than one."""
    kernel, steps = loop_kernel(group, partition, 4, alone=True)
    kernel, sizes = generalise(kernel)
    if steps is not None:
        kernel = replace(kernel, sizes=("steps", *kernel.sizes))
        sizes = (steps, *sizes)
    lowered = Lowered(kernel, group.inputs, group.outputs, sizes, checked(group.node))
    return with_narrow(converted(lowered))
