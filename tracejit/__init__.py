"""tracejit: a JIT tracing compiler for array programs, with JAX's names.

>>> import tracejit as tj
>>> import tracejit.numpy as jnp
>>> @tj.jit
... def loss(w, x, y):
...     return jnp.mean((jnp.tanh(x @ w) - y) ** 2)
>>> tj.grad(loss)(jnp.zeros(3), jnp.ones((4, 3)), jnp.ones(4))
Array([-2., -2., -2.], dtype=float32)
"""

from importlib import import_module as _import_module
from typing import Any as _Any

from tracejit.api import Array as Array
from tracejit.api import Device as Device
from tracejit.api import ShapeDtypeStruct as ShapeDtypeStruct
from tracejit.api import block_until_ready as block_until_ready
from tracejit.api import cache_info as cache_info
from tracejit.api import check_tracer_leaks as check_tracer_leaks
from tracejit.api import checking_leaks as checking_leaks
from tracejit.api import checkpoint as checkpoint
from tracejit.api import checkpoint_policies as checkpoint_policies
from tracejit.api import clear_caches as clear_caches
from tracejit.api import closure_convert as closure_convert
from tracejit.api import custom_gradient as custom_gradient
from tracejit.api import custom_jvp as custom_jvp
from tracejit.api import custom_vjp as custom_vjp
from tracejit.api import debug_infs as debug_infs
from tracejit.api import debug_key_reuse as debug_key_reuse
from tracejit.api import debug_nans as debug_nans
from tracejit.api import default_backend as default_backend
from tracejit.api import default_device as default_device
from tracejit.api import default_matmul_precision as default_matmul_precision
from tracejit.api import device_count as device_count
from tracejit.api import device_get as device_get
from tracejit.api import device_put as device_put
from tracejit.api import devices as devices
from tracejit.api import disable_jit as disable_jit
from tracejit.api import ds as ds
from tracejit.api import effects_barrier as effects_barrier
from tracejit.api import enable_x64 as enable_x64
from tracejit.api import ensure_compile_time_eval as ensure_compile_time_eval
from tracejit.api import eval_shape as eval_shape
from tracejit.api import float0 as float0
from tracejit.api import fwd_and_bwd as fwd_and_bwd
from tracejit.api import grad as grad
from tracejit.api import hessian as hessian
from tracejit.api import jacfwd as jacfwd
from tracejit.api import jacobian as jacobian
from tracejit.api import jacrev as jacrev
from tracejit.api import jit as jit
from tracejit.api import jvp as jvp
from tracejit.api import linear_transpose as linear_transpose
from tracejit.api import linearize as linearize
from tracejit.api import local_device_count as local_device_count
from tracejit.api import local_devices as local_devices
from tracejit.api import log_compiles as log_compiles
from tracejit.api import make_graph as make_graph
from tracejit.api import make_jaxpr as make_jaxpr
from tracejit.api import named_call as named_call
from tracejit.api import named_scope as named_scope
from tracejit.api import no_execution as no_execution
from tracejit.api import numpy_dtype_promotion as numpy_dtype_promotion
from tracejit.api import numpy_rank_promotion as numpy_rank_promotion
from tracejit.api import print_environment_info as print_environment_info
from tracejit.api import process_count as process_count
from tracejit.api import process_index as process_index
from tracejit.api import process_indices as process_indices
from tracejit.api import progress as progress
from tracejit.api import pure_callback as pure_callback
from tracejit.api import remat as remat
from tracejit.api import threefry_partitionable as threefry_partitionable
from tracejit.api import transfer_guard as transfer_guard
from tracejit.api import typeof as typeof
from tracejit.api import value_and_grad as value_and_grad
from tracejit.api import vjp as vjp
from tracejit.api import vmap as vmap
from tracejit.config import config as config
from tracejit.config import settings as settings
from tracejit.errors import TracejitError as TracejitError

__version__ = "0.1.0"

#: modules that ``tj.name`` loads when they are first used
_MODULES = (
    *("ad_checkpoint", "custom_derivatives", "debug", "dtypes", "extend", "fft", "flatten_util"),
    *("image", "io", "lax", "linalg", "nn", "numpy", "ops", "optim", "random", "scipy"),
    *("test_util", "testing", "tree", "tree_util", "typing"),
)


def __getattr__(name: str) -> _Any:
    if name in _MODULES:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'tracejit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
