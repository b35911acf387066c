"""The disk cache: what is kept, what is refused, and that no failure of the disk reaches a user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import settings
from tracejit.codegen.llvm import print_llvm
from tracejit.kernel.text import parse
from tracejit.runtime import cache as disk
from tracejit.runtime import loader, native
from tracejit.runtime.cache import MAGIC, SUFFIX, TEMPORARY, ObjectCache, key_of, object_cache

ROOT = Path(__file__).parent.parent.parent
KEY, OTHER = key_of("one"), key_of("two")

SCRIPT = """
import sys
import numpy as np
import tracejit as tj, tracejit.numpy as jnp
step = tj.jit(tj.value_and_grad(lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 2)))
value, slope = step(np.full((40, 30), 0.01, np.float32), np.ones((20, 40), np.float32))
info = tj.cache_info()
print(info.hits, info.misses, info.errors, info.entries, "llvmlite" in sys.modules)
print(float(value), float(slope[0, 0]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that will be the cache, whether or not somebody edits the package meanwhile."""
    path = tmp_path / "cache"
    monkeypatch.setattr(disk.Sources, "unchanged", lambda self: True)
    with settings(cache=path):
        yield path


def cache() -> ObjectCache:
    found = object_cache()
    assert found is not None
    return found


def entry(folder: Path, key: bytes = KEY) -> Path:
    return folder / (key.hex() + SUFFIX)


def run(folder: Path | str, script: str = SCRIPT) -> list[list[str]]:
    """What a new process prints, as words of lines."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TRACEJIT_CACHE": str(folder), "TRACEJIT_THREADS": "2"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return [line.split() for line in done.stdout.splitlines()]


# ---- in new processes ----------------------------------------------------------------------------


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    (hits, misses, errors, entries, llvm), first = run(tmp_path)
    assert (hits, errors, llvm) == ("0", "0", "True") and int(misses) == int(entries) > 3
    (hits, misses, errors, again, llvm), second = run(tmp_path)
    assert (hits, misses, errors, again) == (entries, "0", "0", entries)
    assert second == first
    if loader.available():
        assert llvm == "False"


def test_damaged_entries_are_compiled_again_and_replaced(tmp_path: Path) -> None:
    _, first = run(tmp_path)
    for k, path in enumerate(sorted(tmp_path.glob(f"*{SUFFIX}"))):
        whole = path.read_bytes()
        harmed = bytearray(whole)
        harmed[-1 - k % len(harmed)] ^= 1
        path.write_bytes([bytes(harmed), whole[: len(whole) // 2], b"", whole + b"x"][k % 4])
    (hits, misses, errors, entries, _), second = run(tmp_path)
    assert (hits, misses, errors) == ("0", entries, entries)
    assert second == first
    (hits, misses, errors, entries, _), third = run(tmp_path)
    assert (hits, misses, errors) == (entries, "0", "0")
    assert third == first


def test_processes_at_the_same_time(tmp_path: Path) -> None:
    found: list[list[list[str]]] = []
    threads = [threading.Thread(target=lambda: found.append(run(tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len({tuple(lines[1]) for lines in found}) == 1
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(TEMPORARY)]
    (_, misses, errors, _, _), _ = run(tmp_path)
    assert (misses, errors) == ("0", "0")


def test_off(tmp_path: Path) -> None:
    script = "import tracejit as tj; print(tj.jit(lambda x: x + 1)(1.0)); print(tj.cache_info())"
    environment = {**os.environ, "TRACEJIT_CACHE": "off", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["2.0", "disk cache: off"]
    assert not list(tmp_path.iterdir())


# ---- entries -------------------------------------------------------------------------------------


def test_an_entry_comes_back(folder: Path) -> None:
    store = cache()
    assert store.get(KEY) is None
    assert not folder.exists()
    store.put(KEY, b"code")
    assert store.get(KEY) == b"code" and store.get(OTHER) is None
    assert (store.hits, store.misses, store.errors) == (1, 2, 0)
    info = tj.cache_info()
    assert (info.directory, info.entries, info.hits, info.misses) == (str(folder), 1, 1, 2)
    assert info.bytes == entry(folder).stat().st_size == len(MAGIC) + 64 + 4
    assert str(info).splitlines()[0] == f"disk cache: {folder}"


def test_only_the_user_can_read_and_write(folder: Path) -> None:
    before = os.umask(0)
    try:
        cache().put(KEY, b"code")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(folder).stat().st_mode) == 0o600
    assert sorted(p.name for p in folder.iterdir()) == [entry(folder).name, "swept"]


def test_an_entry_under_another_name_is_not_used(folder: Path) -> None:
    store = cache()
    store.put(KEY, b"code")
    entry(folder).rename(entry(folder, OTHER))
    assert store.get(OTHER) is None
    assert store.errors == 1 and "damaged" in store.problem
    store.put(OTHER, b"new")
    assert store.get(OTHER) == b"new"


def test_a_folder_that_others_can_write_is_not_used(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    store = cache()
    store.put(KEY, b"code")
    assert store.get(KEY) is None and not list(folder.iterdir())
    assert "other users may write to it" in tj.cache_info().problem
    assert "problem: " in str(tj.cache_info())


def test_an_entry_that_others_can_write_is_not_used(folder: Path) -> None:
    cache().put(KEY, b"code")
    entry(folder).chmod(0o666)
    assert cache().get(KEY) is None
    assert "other users may write to it" in tj.cache_info().problem
    entry(folder).unlink()
    target = folder / "elsewhere"
    target.write_bytes(b"")
    entry(folder).symlink_to(target)
    assert cache().get(KEY) is None and cache().errors == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", None)])
def test_an_entry_that_is_no_file_is_passed_over(folder: Path, make: Any) -> None:
    cache().put(KEY, b"code")
    entry(folder).unlink()
    make(entry(folder))
    files = os.listdir("/dev/fd")
    for k in range(3):
        assert cache().get(KEY) is None
        assert cache().errors == k + 1 and "is no file" in cache().problem
    assert len(os.listdir("/dev/fd")) == len(files)


def test_a_folder_of_another_user_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert cache().get(KEY) is None
    assert "belongs to another user" in tj.cache_info().problem


def test_a_disk_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(old: str, new: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    double = tj.jit(lambda x: 2 * x - 0.125)
    assert float(double(4.0)) == 7.875
    info = tj.cache_info()
    assert info.errors > 0 and info.entries == 0 and "No space left" in info.problem
    assert not [p for p in folder.iterdir() if p.name.endswith(TEMPORARY)]


def test_a_path_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with settings(cache=tmp_path / "file" / "cache"):
        cache().put(KEY, b"code")
        assert cache().get(KEY) is None
        assert tj.cache_info().errors > 0


def test_a_folder_that_vanishes_is_made_again(folder: Path) -> None:
    store = cache()
    store.put(KEY, b"code")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert store.get(KEY) is None
    store.put(KEY, b"code")
    store.put(KEY, b"code")
    assert store.get(KEY) == b"code"


# ---- the limit -----------------------------------------------------------------------------------


def test_entries_used_longest_ago_go_first(folder: Path) -> None:
    keys = [key_of(str(k)) for k in range(10)]
    store = cache()
    for k, key in enumerate(keys):
        store.put(key, bytes(1000))
        os.utime(entry(folder, key), (0, 1_000_000 + k))
    stale, fresh = folder / f".1-1-a{TEMPORARY}", folder / f".1-2-a{TEMPORARY}"
    for path in (stale, fresh):
        path.write_bytes(b"")
    os.utime(stale, (0, 1_000_000))
    assert store.get(keys[0]) is not None  # marks it as used
    assert entry(folder, keys[0]).stat().st_mtime > time.time() - 60
    with settings(cache_limit=6000):
        store.sweep()
    left = [key for key in keys if entry(folder, key).exists()]
    assert left == [keys[0], *keys[-3:]]
    assert fresh.exists() and not stale.exists()


def test_writing_much_sweeps(folder: Path) -> None:
    with settings(cache_limit=10_000):
        store = cache()
        for k in range(30):
            store.put(key_of(str(k)), bytes(1000))
        assert 0 < tj.cache_info().bytes <= 10_000


def test_sweeps_are_rare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[int] = []
    monkeypatch.setattr(ObjectCache, "sweep", lambda self: sweeps.append(1))
    for _ in range(2):  # two processes
        store = ObjectCache(str(folder))
        for k in range(20):
            store.put(key_of(str(k)), b"code")
    assert len(sweeps) == 1


# ---- keys ----------------------------------------------------------------------------------------


def test_keys_tell_texts_apart() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("abc", "")}) == 4
    assert key_of("a", b"b") == key_of(b"a", "b")


KERNEL = """\
kernel scale(in x: f32[64], out y: f32[64])
  vec(16x1) i in 64:
    y[i] = mul(x[i], {factor})
"""


def test_equal_kernels_share_an_entry_and_others_do_not(folder: Path) -> None:
    x = np.arange(64, dtype=np.float32)
    for factor, hits in ((3.0, 0), (5.0, 0), (3.0, 1)):
        before = cache().hits
        kernel = parse(KERNEL.format(factor=factor))
        code = native.compile_llvm(print_llvm(kernel, native.host_target()), ["scale"])
        y = np.zeros_like(x)
        native.call_kernel(code.addresses["scale"], [x, y], [])
        np.testing.assert_array_equal(y, factor * x)
        assert cache().hits - before == hits


def test_code_of_modules_edited_meanwhile_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.host_target()
    monkeypatch.setattr(disk.Sources, "unchanged", lambda self: False)
    assert float(tj.jit(lambda x: x * 0.375)(8.0)) == 3.0
    assert tj.cache_info().entries == 0


def test_sources_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = disk.Sources()
    assert sources.key == disk.Sources().key
    monkeypatch.setattr(disk, "_sources", lambda: b"edited")
    assert not sources.unchanged() and disk.Sources().unchanged()

    def missing() -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(disk, "_sources", missing)
    assert not sources.unchanged() and not disk.Sources().unchanged()
