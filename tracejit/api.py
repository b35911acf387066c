"""The public functions, gathered from where they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tracejit import tree
from tracejit.errors import user_traceback
from tracejit.frontend import methods
from tracejit.frontend.array import Array
from tracejit.frontend.call import flatten
from tracejit.frontend.callbacks import pure_callback
from tracejit.frontend.contexts import (
    check_tracer_leaks,
    checking_leaks,
    debug_infs,
    debug_key_reuse,
    debug_nans,
    default_matmul_precision,
    disable_jit,
    enable_x64,
    ensure_compile_time_eval,
    log_compiles,
    named_call,
    named_scope,
    no_execution,
    numpy_dtype_promotion,
    numpy_rank_promotion,
    threefry_partitionable,
    transfer_guard,
)
from tracejit.frontend.custom import (
    closure_convert,
    custom_gradient,
    custom_jvp,
    custom_vjp,
)
from tracejit.frontend.derivatives import (
    FLOAT0,
    grad,
    jvp,
    linearize,
    make_graph,
    value_and_grad,
    vjp,
)
from tracejit.frontend.devices import (
    Device,
    default_backend,
    default_device,
    device_count,
    devices,
    local_device_count,
    local_devices,
    process_count,
    process_index,
    process_indices,
)
from tracejit.frontend.dispatch import ALL_JITTED, Jitted, jit
from tracejit.frontend.eager import forget
from tracejit.frontend.jacobians import hessian, jacfwd, jacobian, jacrev
from tracejit.frontend.on_device import clear_programs
from tracejit.frontend.progress import progress
from tracejit.frontend.remat import checkpoint, checkpoint_policies
from tracejit.frontend.shapes import ShapeDtypeStruct, eval_shape, typeof
from tracejit.frontend.trace import current_trace
from tracejit.frontend.transposes import fwd_and_bwd, linear_transpose, make_jaxpr
from tracejit.frontend.vectorize import vmap
from tracejit.frontend.window_index import ds
from tracejit.lazy import lazy

if TYPE_CHECKING:
    from tracejit.runtime.cache import CacheInfo

_cache = lazy("tracejit.runtime.cache")
_doctor = lazy("tracejit.doctor")

remat = checkpoint
#: the dtype of tangents of integers, which have no data
float0 = FLOAT0


def block_until_ready(x: Any) -> Any:
    """``x``, a pytree, once every array in it has its value: at once on the CPU, whose calls return
    when done. On a GPU it waits, and raises what failed there.

    >>> tj.block_until_ready({"w": jnp.ones(2)})
    {'w': Array([1., 1.], dtype=float32)}
    """
    for leaf in flatten(x)[0]:
        if isinstance(leaf, Array):
            leaf.block_until_ready()
    return x


def device_get(x: Any) -> Any:
    """``x``, a pytree, with NumPy arrays in place of Arrays; traced ones stay.

    >>> tj.device_get({"w": jnp.ones(2)})
    {'w': array([1., 1.], dtype=float32)}
    """

    def fetched(leaf: Any) -> Any:
        traced = isinstance(leaf, Array) and leaf._trace is not None
        return leaf if traced else np.asarray(leaf)

    return tree.map(fetched, x)


@user_traceback
def device_put(
    x: Any,
    device: Any = None,
    *,
    src: Any = None,
    donate: bool = False,
    may_alias: bool | None = None,
) -> Any:
    """``x``, a pytree, with its arrays on ``device``, a Device or a name, and bound to it: calls
    with them run there. None is the default device, and binds nothing.

    ``donate``: Arrays that went to another device are deleted. ``src`` and ``may_alias`` are
    accepted and change nothing: where it can be, memory is shared. Inside a traced function values
    stay where the program runs. Raises DeviceError for a device that is not there.

    >>> tj.device_put({"w": np.ones(2)}, "cpu")["w"].device
    CpuDevice(id=0)
    """

    def put(leaf: Any) -> Any:
        found = methods.device_put(leaf, device)
        moved = isinstance(leaf, Array) and found.device != leaf.device
        if donate and moved and current_trace() is None:
            leaf.delete()
        return found

    return tree.map(put, x)


def clear_caches() -> None:
    """Forget every compiled program of every jitted function, and what is remembered of calls
    outside of jit: the next calls compile again.

    >>> double = jit(lambda x: 2 * x)
    >>> double(1.0), double.cache_size()
    (Array(2., dtype=float32), 1)
    >>> tj.clear_caches()
    >>> double.cache_size()
    0
    """
    for jitted in list(ALL_JITTED):
        jitted.clear_cache()
    clear_programs()
    forget()


def effects_barrier() -> None:
    """Wait until all effects of the programs called so far (prints, callbacks) have happened. On
    the CPU they have when a call returns.

    >>> tj.effects_barrier()
    """
    for device in devices():
        device.synchronize()


def print_environment_info(return_string: bool = False) -> str | None:
    """Print, or return, what ``python -m tracejit doctor`` finds: versions, CPU, threads, GPU.

    >>> "tracejit" in tj.print_environment_info(return_string=True)
    True
    """
    text = _doctor.report()
    if return_string:
        return text
    print(text)
    return None


def cache_info() -> CacheInfo:
    """The disk cache of compiled kernels: its folder, entries, bytes and limit, and the hits,
    misses and errors of this process.

    The setting ``cache`` (or ``TRACEJIT_CACHE``) is the folder or "off", ``cache_limit`` the bytes
    kept in it.

    >>> with tj.settings(cache="off"):
    ...     print(tj.cache_info())
    disk cache: off
    """
    return _cache.cache_info()  # type: ignore[no-any-return]


__all__ = [
    "Array",
    "Device",
    "Jitted",
    "ShapeDtypeStruct",
    "block_until_ready",
    "cache_info",
    "check_tracer_leaks",
    "checking_leaks",
    "checkpoint",
    "checkpoint_policies",
    "clear_caches",
    "closure_convert",
    "custom_gradient",
    "custom_jvp",
    "custom_vjp",
    "debug_infs",
    "debug_key_reuse",
    "debug_nans",
    "default_backend",
    "default_device",
    "default_matmul_precision",
    "device_count",
    "device_get",
    "device_put",
    "devices",
    "disable_jit",
    "ds",
    "effects_barrier",
    "enable_x64",
    "ensure_compile_time_eval",
    "eval_shape",
    "float0",
    "fwd_and_bwd",
    "grad",
    "hessian",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linear_transpose",
    "linearize",
    "local_device_count",
    "local_devices",
    "log_compiles",
    "numpy_dtype_promotion",
    "numpy_rank_promotion",
    "make_graph",
    "make_jaxpr",
    "named_call",
    "named_scope",
    "no_execution",
    "print_environment_info",
    "process_count",
    "process_index",
    "process_indices",
    "progress",
    "pure_callback",
    "remat",
    "threefry_partitionable",
    "transfer_guard",
    "typeof",
    "value_and_grad",
    "vjp",
    "vmap",
]
