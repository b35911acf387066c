"""The knobs: environment variables read once, overrides by name, one frozen record in force.

In: ``TRACEJIT_*`` variables at import, ``config.update(name, value)`` or ``config.name = value``
for the process, ``with settings(...)`` for a block. Out: ``config.<name>``, or
``config.current()``, a frozen ``Settings``.

    >>> with settings(backend="numba", show="graph,kernel"):
    ...     config.backend, config.show
    ('numba', ('graph', 'kernel'))

Inside the package write ``from tracejit.config import config``: the attribute ``tracejit.config``
is the object.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import field, fields, replace
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from tracejit import source
from tracejit.errors import ArgumentError, user_traceback
from tracejit.record import dataclass

STAGES = ("graph", "passes", "groups", "plan", "kernel", "source")
BACKENDS = ("llvm", "numba", "numpy", "cuda")
MODES = ("default", "fast_compile", "debug")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTS = ("int32", "int64")


@dataclass(frozen=True)
class Settings:
    """All knobs. Equal settings from ``config.current()`` are one object: a key by identity."""

    show: tuple[str, ...] = ()  # stages printed when a function is compiled
    dump: str | None = None  # folder that receives every stage as a file
    check: int = 0  # 1: verify after every pass; 2: replay every pass on the real inputs too
    off: tuple[str, ...] = ()  # passes and rules that are skipped
    backend: str = "llvm"  # which printer writes the kernels; "numpy" runs without kernels
    cache: str | None = None  # folder of compiled kernels
    cache_limit: int = 512 << 20  # bytes of compiled kernels that are kept there
    tiers: bool = True  # kernels are compiled quickly first and well behind the caller's back
    time: bool = False  # print how long each stage took
    threads: int = 1  # of our kernels and of BLAS
    mode: str = "default"  # fast_compile: no fusion; debug: replays every pass on the inputs
    # dtypes of new arrays and of Python numbers
    default_float: np.dtype = field(default_factory=lambda: np.dtype(np.float32))
    default_int: np.dtype = field(default_factory=lambda: np.dtype(np.int64))
    promotion: str = "numpy"  # "jax": an integer array gives way to a floating one
    out_of_bounds: str = "error"  # "jax": reads take the nearest element, writes are dropped
    const_limit: int = 1 << 20  # constants up to this many bytes are folded
    precision: str = "f32"  # of f32 products on a GPU: tf32 rounds operands to 10 bits
    deterministic: bool = False  # float sums on a GPU have the same bits every time
    debug_nans: bool = False  # a nan that is computed is an error that names the operation
    debug_infs: bool = False  # the same for inf
    threefry_partitionable: bool = True  # off: random numbers as in JAX before 0.5
    check_keys: bool = False  # a random key that is used twice is an error
    check_leaks: bool = False  # a traced value that outlives its trace is an error at once
    disable_jit: bool = False  # jitted functions run op by op
    no_execution: bool = False  # compiled programs do not run: an error
    log_compiles: bool = False  # a warning of the logger "tracejit" for each compilation
    default_device: str = "cpu"  # where calls run whose arguments are bound to no device
    emulated: Any = None  # the device that plays the GPU: see ``emulating``


def _one_of(*legal: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in legal:
            raise ValueError(" | ".join(legal))
        return str(value)

    return read


def _names(legal: tuple[str, ...] = ()) -> Callable[[Any], tuple[str, ...]]:
    """Names separated by commas, or a sequence of them; any identifier where ``legal`` is empty."""

    def read(value: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        wanted = "names separated by commas" + (f", of {', '.join(legal)}" if legal else "")
        if not isinstance(parts, (list, tuple, set, frozenset)):
            raise ValueError(wanted)
        found = tuple(
            part.strip() if isinstance(part, str) else "?" for part in parts if part != ""
        )
        if not all(name in legal if legal else name.isidentifier() for name in found):
            raise ValueError(wanted)
        return found

    return read


def _integer(low: int, high: int | None = None) -> Callable[[Any], int]:
    wanted = f"an integer from {low}" + ("" if high is None else f" to {high}")

    def read(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, str) else value.__index__()
        except (ValueError, AttributeError):
            raise ValueError(wanted) from None
        if isinstance(value, bool) or number < low or (high is not None and number > high):
            raise ValueError(wanted)
        return int(number)

    return read


def _flag(value: Any) -> bool:
    if value in ("0", "1", 0, 1):
        return value in ("1", 1)
    raise ValueError("0 | 1")


def _switch(value: Any) -> bool:
    if value in ("on", "off", "1", "0", True, False):
        return value in ("on", "1", True)
    raise ValueError("on | off")


def _folder(value: Any) -> str | None:
    """A path; ``off``, None and the empty text mean none."""
    if value is None or value in ("", "off"):
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("a folder | off")
    path = os.path.abspath(os.path.expanduser(os.fsdecode(value)))
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError("a folder | off (there is a file of that name)")
    return path


def _dtype(*legal: str) -> Callable[[Any], np.dtype]:
    def read(value: Any) -> np.dtype:
        try:
            dtype: np.dtype = np.dtype(ml_dtypes.bfloat16 if value == "bfloat16" else value)
        except TypeError:
            raise ValueError(" | ".join(legal)) from None
        if value is None or dtype.name not in legal or not dtype.isnative:
            raise ValueError(" | ".join(legal))
        return dtype

    return read


def _device(value: Any) -> str:
    """``cpu`` or ``cuda:<number>``; a device has that for a name."""
    text = "cpu" if value is None else getattr(value, "name", value)
    found = _DEVICE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("cpu | gpu | cuda | cuda:<number>")
    if found[1] == "cpu":
        if int(found[2] or 0):
            raise ValueError("cpu | gpu | cuda | cuda:<number> (there is one CPU device)")
        return "cpu"
    return f"cuda:{int(found[2] or 0)}"


_DEVICE = re.compile(r"(cpu|gpu|cuda)(?::(\d+))?")

#: how each knob is read; a ValueError's text is the list of legal values
_READ: dict[str, Callable[[Any], Any]] = {
    "show": _names(STAGES),
    "dump": _folder,
    "check": _integer(0, 2),
    "off": _names(),
    "backend": _one_of(*BACKENDS),
    "cache": _folder,
    "cache_limit": _integer(0),
    "tiers": _switch,
    "time": _flag,
    "threads": _integer(1),
    "mode": _one_of(*MODES),
    "default_float": _dtype(*_FLOATS),
    "default_int": _dtype(*_INTS),
    "promotion": _one_of("numpy", "jax"),
    "out_of_bounds": _one_of("error", "jax"),
    "const_limit": _integer(0),
    "precision": _one_of("f32", "tf32"),
    "deterministic": _switch,
    "debug_nans": _switch,
    "debug_infs": _switch,
    "threefry_partitionable": _switch,
    "check_keys": _switch,
    "check_leaks": _switch,
    "disable_jit": _switch,
    "no_execution": _switch,
    "log_compiles": _switch,
    "default_device": _device,
}
_NAMES = tuple(knob.name for knob in fields(Settings) if knob.name in _READ)
#: the knobs that have an environment variable, ``TRACEJIT_`` and the name in capitals
FROM_ENVIRONMENT = (
    "show",
    "dump",
    "check",
    "off",
    "backend",
    "cache",
    "tiers",
    "time",
    "threads",
    "default_float",
    "default_int",
    "promotion",
    "out_of_bounds",
    "precision",
    "deterministic",
    "debug_nans",
    "debug_infs",
    "threefry_partitionable",
    "check_keys",
    "check_leaks",
    "disable_jit",
    "log_compiles",
)

#: JAX's names of settings, for ``config.update``, and ours with how the values read
_FROM_JAX: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "jax_enable_x64": ("default_float", lambda on: "float64" if on else "float32"),
    "jax_debug_nans": ("debug_nans", bool),
    "jax_debug_infs": ("debug_infs", bool),
    "jax_threefry_partitionable": ("threefry_partitionable", bool),
    "jax_debug_key_reuse": ("check_keys", bool),
    "jax_check_tracer_leaks": ("check_leaks", bool),
    "jax_disable_jit": ("disable_jit", bool),
    "jax_no_execution": ("no_execution", bool),
    "jax_log_compiles": ("log_compiles", bool),
    "jax_default_device": ("default_device", lambda device: device),
    "jax_platforms": ("default_device", lambda names: names.split(",")[0]),
    "jax_platform_name": ("default_device", lambda name: name),
    "jax_default_matmul_precision": ("precision", lambda name: matmul_precision(name)),
}
#: settings of JAX that have no meaning here: they choose how XLA compiles, where it keeps programs,
#: what is logged and how tracebacks look. ``config.update`` takes them and changes nothing.
_OF_XLA = frozenset(
    {
        *("jax_array", "jax_compilation_cache_dir", "jax_compiler_enable_remat_pass"),
        *(
            "jax_cpu_enable_async_dispatch",
            "jax_default_dtype_bits",
            "jax_disable_most_optimizations",
        ),
        *("jax_enable_checks", "jax_enable_compilation_cache", "jax_enable_custom_prng"),
        *("jax_explain_cache_misses", "jax_include_full_tracebacks_in_locations"),
        *("jax_legacy_prng_key", "jax_logging_level", "jax_numpy_rank_promotion"),
        *("jax_persistent_cache_enable_xla_caches", "jax_persistent_cache_min_compile_time_secs"),
        *("jax_persistent_cache_min_entry_size_bytes", "jax_raise_persistent_cache_errors"),
        *("jax_remat3", "jax_softmax_custom_jvp", "jax_traceback_filtering", "jax_transfer_guard"),
        *("jax_use_direct_linearize", "jax_log_checkpoint_residuals"),
        *("jax_dump_ir_to", "jax_dump_ir_modes"),
        *("xla_python_client_mem_fraction", "jax_captured_constants_warn_bytes"),
    }
)
#: settings of JAX with the one value that is so here
_FIXED: dict[str, tuple[Any, ...]] = {
    "jax_default_prng_impl": ("threefry2x32",),
    "jax_num_cpu_devices": (1, -1),
    "jax_numpy_dtype_promotion": ("standard",),
}
#: what ``config.<name>`` is for JAX's names
_AS_JAX: dict[str, Callable[[Settings], Any]] = {
    "jax_enable_x64": lambda now: now.default_float == np.float64,
    "x64_enabled": lambda now: now.default_float == np.float64,
    "jax_platforms": lambda now: now.default_device.partition(":")[0],
    "jax_platform_name": lambda now: now.default_device.partition(":")[0],
    "jax_default_matmul_precision": lambda now: {"f32": None}.get(now.precision, "tensorfloat32"),
    "jax_compilation_cache_dir": lambda now: now.cache,
    "jax_enable_compilation_cache": lambda now: now.cache is not None,
    "jax_numpy_rank_promotion": lambda now: "allow",
    "jax_threefry_partitionable": lambda now: now.threefry_partitionable,
}
#: how JAX names what products of float32 round their operands to
_EXACT = ("highest", "float32", "F32_F32_F32", None)
_ROUNDED = (
    "default",
    "high",
    "fastest",
    "bfloat16",
    "bfloat16_3x",
    "tensorfloat32",
    "TF32_TF32_F32",
)


def matmul_precision(name: Any) -> str:
    """The setting ``precision`` for JAX's name of a precision of products: "f32" or "tf32", the
    least that is more precise. Raises ArgumentError for a name that JAX does not have.
    """
    if name in _EXACT:
        return "f32"
    if name in _ROUNDED:
        return "tf32"
    raise ArgumentError(
        f"default_matmul_precision: there is no precision {name!r}",
        at=source.here(),
        hint=f"there are: {', '.join(n for n in (*_EXACT, *_ROUNDED) if n)}",
    )


def _validated(name: str, value: Any, *, shown_as: str | None = None) -> Any:
    shown_as = shown_as or name
    if name not in _READ:
        raise ArgumentError(
            f"config: there is no setting {name!r}", at=source.here(), hint=_suggest(name, _NAMES)
        )
    try:
        return _READ[name](value)
    except ValueError as legal:
        message = f"config: {shown_as}={value!r} is not a legal value"
        raise ArgumentError(message, at=source.here(), hint=f"legal: {legal}") from None


def legal(name: str, value: Any) -> Any:
    """``value`` as the setting ``name`` would hold it; ArgumentError when it is not a legal
    value.
    """
    return _validated(name, value)


def _suggest(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_environment(environment: Mapping[str, str]) -> Settings:
    """The settings that environment variables ask for; unknown ``TRACEJIT_*`` names are errors."""
    known = {f"TRACEJIT_{name.upper()}": name for name in FROM_ENVIRONMENT}
    known["TRACEJIT_DEVICE"] = "default_device"
    home = environment.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    values: dict[str, Any] = {"threads": usable_cpus(), "cache": os.path.join(home, "tracejit")}
    for variable in sorted(environment):
        if not variable.startswith("TRACEJIT_"):
            continue
        if variable not in known:
            raise ArgumentError(
                f"config: there is no environment variable {variable}",
                hint=_suggest(variable, tuple(known)),
            )
        text = environment[variable]
        if text or known[variable] in ("cache", "dump"):
            values[known[variable]] = _validated(known[variable], text, shown_as=variable)
    return Settings(**values)


@cache
def _merged(base: Settings, overrides: tuple[tuple[str, Any], ...]) -> Settings:
    return _interned(replace(base, **dict(overrides)))


@cache
def _interned(value: Settings) -> Settings:
    return value


#: overrides of the blocks that this thread or task is in, as sorted (name, value) pairs
_OVERRIDES: ContextVar[tuple[tuple[str, Any], ...]] = ContextVar("tracejit settings", default=())


class Config:
    """The settings in force: the process's, overridden by this thread's ``settings`` blocks."""

    __slots__ = ("_base",)

    _base: Settings

    def __init__(self, base: Settings) -> None:
        object.__setattr__(self, "_base", _interned(base))

    def current(self) -> Settings:
        """What is in force here, as one frozen record; equal settings are the identical object."""
        overrides = _OVERRIDES.get()
        return _merged(self._base, overrides) if overrides else self._base

    @user_traceback
    def update(self, name: str, value: Any) -> None:
        """Set one knob for the process. A ``settings`` block that names it still overrides it.

        JAX's names work where there is such a knob: ``config.update("jax_debug_nans", True)``;
        ``jax_enable_x64`` sets the default float. Those about XLA's work change nothing.
        """
        if name in _OF_XLA:
            return
        if name in _FIXED and value not in _FIXED[name]:
            raise ArgumentError(
                f"config: {name}={value!r} is not a legal value",
                at=source.here(),
                hint=f"it is always {_FIXED[name][0]!r}",
            )
        if name in _FIXED:
            return
        if name in _FROM_JAX:
            name, read = _FROM_JAX[name]
            value = read(value)
        changed = replace(self._base, **{name: _validated(name, value)})
        object.__setattr__(self, "_base", _interned(changed))

    def read(self, name: str) -> Any:
        """``config.<name>`` of a name in a string."""
        return getattr(self, name)

    def config_with_absl(self) -> None:
        """Command lines are not read: for programs that call it."""

    def parse_flags_with_absl(self) -> None:
        """Command lines are not read: for programs that call it."""

    def __setattr__(self, name: str, value: Any) -> None:
        self.update(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in _READ:
            return getattr(self.current(), name)
        if name in _AS_JAX:
            return _AS_JAX[name](self.current())
        if name in _FROM_JAX:
            return getattr(self.current(), _FROM_JAX[name][0])
        if name in _FIXED:
            return _FIXED[name][0]
        raise AttributeError(f"config has no setting {name!r}; {_suggest(name, _NAMES)}")

    def __dir__(self) -> list[str]:
        return ["current", "update", *_NAMES]

    def __repr__(self) -> str:
        now = self.current()
        return "\n".join(f"{name:14} {_show(getattr(now, name))}" for name in _NAMES)


def _show(value: Any) -> str:
    if value is None:
        return "off"
    return ",".join(value) or "-" if isinstance(value, tuple) else str(value)


@user_traceback
def settings(**overrides: Any) -> AbstractContextManager[Settings]:
    """Override knobs inside a ``with`` block, for this thread or asyncio task only.

    Raises ArgumentError for a name or value that does not exist.

    >>> with settings(default_float="float64"):
    ...     jnp.ones(2).dtype
    dtype('float64')
    """
    return _overridden({name: _validated(name, value) for name, value in overrides.items()})


@contextmanager
def _overridden(checked: dict[str, Any]) -> Iterator[Settings]:
    merged = {**dict(_OVERRIDES.get()), **checked}
    token = _OVERRIDES.set(tuple(sorted(merged.items())))
    try:
        yield config.current()
    finally:
        _OVERRIDES.reset(token)


def emulating(device: Any) -> AbstractContextManager[Settings]:
    """A block in which ``device`` plays the GPU. It is part of the settings so that programs made
    for it are told apart.
    """
    return _overridden({"emulated": device})


config = Config(read_environment(os.environ))
