"""Knobs: environment variables, legal values, overrides for a block and a thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tracejit.config import (
    FROM_ENVIRONMENT,
    Config,
    Settings,
    config,
    read_environment,
    settings,
    usable_cpus,
)
from tracejit.errors import ArgumentError


def test_defaults() -> None:
    read = read_environment({"XDG_CACHE_HOME": "/var/somewhere"})
    assert read == Settings(threads=usable_cpus(), cache="/var/somewhere/tracejit")
    assert (read.default_float, read.default_int) == (np.float32, np.int64)


def test_every_variable_is_read(tmp_path: Path) -> None:
    read = read_environment(
        {
            "TRACEJIT_SHOW": "graph, kernel",
            "TRACEJIT_DUMP": str(tmp_path),
            "TRACEJIT_CHECK": "2",
            "TRACEJIT_OFF": "neg_neg,drop_dead",
            "TRACEJIT_BACKEND": "numba",
            "TRACEJIT_CACHE": "off",
            "TRACEJIT_TIERS": "off",
            "TRACEJIT_TIME": "1",
            "TRACEJIT_THREADS": "3",
            "OTHER_VARIABLE": "ignored",
        }
    )
    assert read == Settings(
        show=("graph", "kernel"),
        dump=str(tmp_path),
        check=2,
        off=("neg_neg", "drop_dead"),
        backend="numba",
        cache=None,
        tiers=False,
        time=True,
        threads=3,
    )


@pytest.mark.parametrize(
    ("variable", "text", "legal"),
    [
        ("SHOW", "graph,kernels", "graph, passes, groups, plan, kernel, source"),
        ("CHECK", "3", "an integer from 0 to 2"),
        ("OFF", "neg neg", "names separated by commas"),
        ("BACKEND", "xla", "llvm | numba | numpy | cuda"),
        ("CACHE", __file__, "a folder | off"),
        ("DUMP", __file__, "a folder | off"),
        ("TIERS", "some", "on | off"),
        ("TIME", "yes", "0 | 1"),
        ("THREADS", "0", "an integer from 1"),
        ("THREADS", "two", "an integer from 1"),
    ],
)
def test_an_illegal_value_names_the_legal_ones(variable: str, text: str, legal: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_environment({f"TRACEJIT_{variable}": text})
    assert f"TRACEJIT_{variable}={text!r}" in str(caught.value)
    assert legal in str(caught.value)


@pytest.mark.parametrize("name", FROM_ENVIRONMENT)
def test_an_empty_variable_counts_as_unset_or_off(name: str) -> None:
    read = read_environment({f"TRACEJIT_{name.upper()}": ""})
    off = {"cache": None, "dump": None}
    assert getattr(read, name) == off.get(name, getattr(read_environment({}), name))


def test_a_misspelt_variable_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="TRACEJIT_BACKED") as caught:
        read_environment({"TRACEJIT_BACKED": "numba"})
    assert "did you mean 'TRACEJIT_BACKEND'?" in str(caught.value)


def test_the_environment_is_read_when_the_package_is_imported() -> None:
    script = "from tracejit.config import config; print(config.backend, config.threads)"
    environment = {"TRACEJIT_BACKEND": "numpy", "TRACEJIT_THREADS": "7", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["numpy", "7"]


def test_update_and_assignment() -> None:
    own = Config(Settings())
    own.update("default_float", "float64")
    own.threads = 5
    assert (own.default_float, own.threads) == (np.float64, 5)
    assert config.default_float == np.float32


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ("float16", np.float16),
        (np.float64, np.float64),
        (np.dtype("float32"), np.float32),
        (float, np.float64),
        ("bfloat16", ml_dtypes.bfloat16),
        (ml_dtypes.bfloat16, ml_dtypes.bfloat16),
    ],
)
def test_default_float_takes_what_numpy_takes(value: object, dtype: object) -> None:
    with settings(default_float=value) as now:
        assert now.default_float == dtype


@pytest.mark.parametrize("value", ["int32", None, "nonsense", ">f4", np.complex64])
def test_default_float_must_be_floating(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"legal: float16 \| bfloat16 \| float32 \| float64"):
        with settings(default_float=value):
            pass


def test_an_unknown_setting_points_at_the_users_line() -> None:
    with pytest.raises(ArgumentError) as caught:
        config.update("backnd", "numba")
    assert "test_config.py" in str(caught.value)
    assert "did you mean 'backend'?" in str(caught.value)
    with pytest.raises(AttributeError, match="did you mean 'threads'"):
        _ = config.thread


def test_blocks_nest_and_end() -> None:
    before = config.current()
    with settings(show="graph", check=1):
        with settings(show=("kernel",)):
            assert (config.show, config.check) == (("kernel",), 1)
        assert config.show == ("graph",)
    assert config.current() is before


def test_a_block_ends_when_an_error_leaves_it() -> None:
    before = config.current()
    with pytest.raises(ZeroDivisionError), settings(check=2):
        _ = 1 / 0
    assert config.current() is before


def test_equal_settings_are_one_object() -> None:
    with settings(mode="debug", threads=2) as first:
        pass
    with settings(threads=2), settings(mode="debug") as second:
        assert first is second


def test_a_block_does_not_reach_other_threads() -> None:
    seen: list[str] = []
    with settings(mode="debug"):
        thread = threading.Thread(target=lambda: seen.append(config.mode))
        thread.start()
        thread.join()
    assert seen == ["default"]


def test_a_process_wide_update_shows_inside_a_block_that_sets_something_else() -> None:
    before = config.const_limit
    try:
        with settings(check=1):
            config.update("const_limit", 5)
            assert (config.const_limit, config.check) == (5, 1)
    finally:
        config.update("const_limit", before)


def test_jaxs_names_of_settings() -> None:
    before = config.current()
    try:
        config.update("jax_enable_x64", True)
        assert config.jax_enable_x64 and config.x64_enabled and config.read("jax_enable_x64")
        config.jax_enable_x64 = False
        assert not config.jax_enable_x64 and config.default_float == np.float32
        for name in (
            "jax_traceback_filtering",
            "jax_compilation_cache_dir",
        ):
            config.update(name, "any")  # XLA's: nothing changes
        config.update("jax_default_prng_impl", "threefry2x32")
        config.parse_flags_with_absl()
        config.config_with_absl()
        assert config.current() == before and config.jax_threefry_partitionable
        assert (config.jax_platforms, config.jax_debug_nans) == ("cpu", False)
        assert config.jax_numpy_dtype_promotion == "standard"
        assert config.jax_numpy_rank_promotion == "allow"
    finally:
        config.update("default_float", before.default_float)
    with pytest.raises(ArgumentError, match="always 'threefry2x32'"):
        config.update("jax_default_prng_impl", "rbg")
    with pytest.raises(ArgumentError, match="no setting"):
        config.update("jax_no_such_thing", 1)
