"""The doctor's lines, the command line, and the loader of kernel sources."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracejit import doctor, kernels
from tracejit.__main__ import COMMANDS
from tracejit.config import settings
from tracejit.errors import InternalError

ROOT = Path(__file__).parent.parent


def test_every_line_says_something() -> None:
    lines = doctor.report().splitlines()
    labels = [line[:12].strip() for line in lines]
    wanted = (
        "tracejit packages processor LLVM threads products BLAS LAPACK GPU backend cache kernels"
    )
    assert set(wanted.split()) <= set(labels)
    assert all(line[13:].strip() for line in lines)
    assert not any("cannot be found out" in line for line in lines)


def test_a_section_that_fails_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[tuple[str, str]]:
        yield "before", "is kept"
        raise OSError("no such device\nsecond line")

    monkeypatch.setattr(doctor, "SECTIONS", (broken,))
    before, failed = doctor.report().splitlines()
    assert before.split() == ["before", "is", "kept"]
    assert failed.endswith("cannot be found out: OSError: no such device")


def test_a_gpu_is_described_or_its_lack_explained() -> None:
    description, why = doctor.gpu()
    assert bool(description) != bool(why)


def test_cache_states(tmp_path: Path) -> None:
    (tmp_path / "kernel.o").write_bytes(bytes(2**20))
    assert doctor.cache_state(None) == "off"
    assert doctor.cache_state(str(tmp_path)) == f"{tmp_path} (1 files, 1.0 MiB)"
    assert "does not exist" in doctor.cache_state(str(tmp_path / "none"))
    with settings(cache="off", backend="numba"):
        assert {"backend": "numba, mode default", "cache": "off"}.items() <= dict(
            doctor.places()
        ).items()


def test_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tracejit", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name in done.stdout for name in COMMANDS)


def test_kernel_sources_are_found_by_name() -> None:
    assert kernels.folder() == ROOT / "kernels"
    assert kernels.read("README.md").startswith("# kernels")
    with pytest.raises(InternalError, match=r"no kernel source '\.\./README\.md'"):
        kernels.read("../README.md")


def test_a_gpus_libraries_and_what_is_missing_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "gpu", lambda: ("a GPU", ""))
    monkeypatch.setattr(doctor.shared, "versions", lambda: {"cudnn": "9.19.0"})
    why = {"cufft": "libcufft.so.12 was not found: pip install nvidia-cufft"}
    monkeypatch.setattr(doctor.shared, "why_missing", lambda name: why.get(name, ""))
    assert [text for _, text in doctor.devices()] == [
        "a GPU",
        "with cudnn 9.19.0",
        "no cufft, so Fourier transforms are computed by the host: " + why["cufft"],
    ]
