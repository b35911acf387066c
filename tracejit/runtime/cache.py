"""Object code on disk, so that a kernel is compiled once per machine and not once per process.

    cache = object_cache()                     None when the setting ``cache`` is off
    data = cache.get(key)                      None when there is no sound entry
    cache.put(key, data)

A key is the SHA-256 of everything the code depends on (``key_of``). An entry is one file: a magic
word, the key, a SHA-256 of both and the code. It is written under a temporary name and renamed, so
that other processes see all of it or nothing. What is not sound is compiled again and replaced. No
failure of the disk reaches the caller; ``cache_info()`` tells.

Code from these files is run: a folder or file that others could have written is not used.
"""

from __future__ import annotations

import itertools
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from tracejit.config import config
from tracejit.record import dataclass

try:  # the function alone: hashlib loads OpenSSL for it, which takes longer than a warm start may
    from _sha2 import sha256
except ImportError:
    try:
        from _sha256 import sha256
    except ImportError:
        from hashlib import sha256

MAGIC = b"tracejit object 1\n"
#: how an entry is opened: not by way of a link, and without waiting for whoever writes to a pipe
_CAREFULLY = ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
SUFFIX, TEMPORARY = ".obj", ".tmp"
_DIGEST = sha256().digest_size
_HEAD = len(MAGIC) + 2 * _DIGEST

#: an entry in use is marked as such no more often than this
_TOUCH_SECONDS = 3600.0
#: a folder is measured no more often than this, unless a process wrote a good part of the limit
_SWEEP_SECONDS = 3600.0
_SWEEP_PART = 16
#: what a sweep leaves, so that the next one is not due at once
_KEEP_PART = 0.75
#: a temporary file this old was left by a process that ended
_STALE_SECONDS = 3600.0


@dataclass(frozen=True)
class CacheInfo:
    """The disk cache: what is in it, and what this process did with it.

    ``problem``: why it is not used, or the last thing that went wrong; empty when all is well.
    """

    directory: str | None
    entries: int
    bytes: int
    limit: int
    hits: int
    misses: int
    errors: int
    problem: str

    def __str__(self) -> str:
        if self.directory is None:
            return "disk cache: off"
        lines = [
            f"disk cache: {self.directory}",
            f"{self.entries} entries, {self.bytes / 2**20:.1f} of {self.limit / 2**20:.0f} MiB",
            f"this process: {self.hits} hits, {self.misses} misses, {self.errors} errors",
        ]
        return "\n".join([*lines, *([f"problem: {self.problem}"] if self.problem else [])])


def key_of(*parts: str | bytes) -> bytes:
    """One key for several texts, which stay apart: ("ab", "c") is not ("a", "bc")."""
    whole = sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little"))
        whole.update(data)
    return whole.digest()


#: modules that turn a kernel into object code, by folder and file; "" is all of a folder
_SOURCES = (("codegen", ""), ("kernel", ""), ("ir", "expr.py"), ("runtime", "emit.py"))


def _sources() -> bytes:
    """What tells these modules' files from others: sizes and times, for reading them takes long."""
    package, parts = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), []
    for folder, only in _SOURCES:
        with os.scandir(os.path.join(package, folder)) as entries:
            for entry in entries:
                if entry.name == only or (not only and entry.name.endswith(".py")):
                    status = entry.stat()
                    parts.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
    return key_of(*sorted(parts))


class Sources:
    """The modules' files as they were when this process loaded them."""

    def __init__(self) -> None:
        try:
            self.key = _sources()
        except OSError:  # no files, as in an archive: nothing is kept
            self.key = b""

    def unchanged(self) -> bool:
        """Whether they are so still. Code of modules that were edited meanwhile is not kept:
        nobody knows which of the two made it.
        """
        try:
            return bool(self.key) and self.key == _sources()
        except OSError:
            return False


SOURCES = Sources()


class ObjectCache:
    """The entries of one folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.hits = self.misses = self.errors = 0
        self.problem = ""
        self._numbers = itertools.count()
        self._written = 0
        self._swept = False
        self._lock = threading.Lock()
        self._usable: bool | None = None

    # ---- entries ----

    def get(self, key: bytes) -> bytes | None:
        """The code of an entry, or None where there is none that is sound."""
        found = self._read(key) if self._ready(create=False) else None
        with self._lock:
            self.hits += found is not None
            self.misses += found is None
        return found

    def put(self, key: bytes, data: bytes) -> None:
        """Write an entry. A failure is counted and otherwise without effect."""
        if not self._ready(create=True):
            return
        name = f".{os.getpid()}-{next(self._numbers)}-{key.hex()[:16]}{TEMPORARY}"
        temporary = os.path.join(self.folder, name)
        whole = MAGIC + key + sha256(key + data).digest() + data
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(whole)
            os.replace(temporary, self._path(key))
        except OSError as error:
            self._failed(f"an entry cannot be written: {error}")
            self._usable = None  # the folder may be gone: look again
            with suppress(OSError):
                os.unlink(temporary)
            return
        self._written += len(whole)
        self._sweep_if_due()

    def _path(self, key: bytes) -> str:
        return os.path.join(self.folder, key.hex() + SUFFIX)

    def _read(self, key: bytes) -> bytes | None:
        path = self._path(key)
        flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in _CAREFULLY)
        try:
            handle = os.open(path, flags)
            status = os.fstat(handle)
            if why := others_can_write(status) or no_file(status):
                os.close(handle)
                self._failed(f"{path} is not used: {why}")
                return None
            with open(handle, "rb") as file:
                whole = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._failed(f"an entry cannot be read: {error}")
            return None
        data = whole[_HEAD:]
        if whole[:_HEAD] != MAGIC + key + sha256(key + data).digest():
            self._failed(f"{path} was damaged, and is compiled again")
            return None
        if time.time() - status.st_mtime > _TOUCH_SECONDS:
            with suppress(OSError):  # on a disk that cannot be written it keeps its age
                os.utime(path)
        return data

    # ---- the folder ----

    def _ready(self, create: bool) -> bool:
        """Whether the folder is there and ours alone, which is looked up once."""
        if self._usable is None:
            try:
                if create:
                    os.makedirs(self.folder, mode=0o700, exist_ok=True)
                why = others_can_write(os.stat(self.folder))
            except FileNotFoundError as error:
                if not create:  # not yet
                    return False
                why = str(error)
            except OSError as error:
                why = str(error)
            self._usable = not why
            if why:
                self._failed(f"{self.folder} is not used: {why}")
        return self._usable

    def _failed(self, problem: str) -> None:
        with self._lock:
            self.errors += 1
            self.problem = problem

    def _files(self) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
        """All files of ours; those that vanish meanwhile are passed over."""
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith((SUFFIX, TEMPORARY)):
                    with suppress(OSError):
                        yield entry, entry.stat(follow_symlinks=False)

    def measure(self) -> tuple[int, int]:
        """How many entries there are, and their bytes."""
        sizes = [s.st_size for entry, s in self._files() if entry.name.endswith(SUFFIX)]
        return len(sizes), sum(sizes)

    def _sweep_if_due(self) -> None:
        """Measuring a large folder takes long: it is done once an hour, by whoever comes first,
        and by a process that has written much.
        """
        much = self._written > config.cache_limit // _SWEEP_PART
        if self._swept and not much:
            return
        self._swept = True
        marker = os.path.join(self.folder, "swept")
        with suppress(OSError):
            try:
                recent = time.time() - os.stat(marker).st_mtime < _SWEEP_SECONDS
            except FileNotFoundError:
                recent = False
            if recent and not much:
                return
            os.close(os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600))
            os.utime(marker)
        self._written = 0
        self.sweep()

    def sweep(self) -> None:
        """Remove the entries used longest ago while there are more bytes than the limit allows,
        and what processes that ended left behind.
        """
        now, found = time.time(), []
        for entry, status in self._files():
            if entry.name.endswith(SUFFIX):
                found.append((status.st_mtime, status.st_size, entry.path))
            elif now - status.st_mtime > _STALE_SECONDS:
                with suppress(OSError):
                    os.unlink(entry.path)
        total = sum(size for _, size, _ in found)
        if total <= config.cache_limit:
            return
        for _, size, path in sorted(found):
            if total <= config.cache_limit * _KEEP_PART:
                return
            with suppress(OSError):
                os.unlink(path)
            total -= size


def others_can_write(status: os.stat_result) -> str:
    """Why a file or folder may hold what somebody else wrote; empty when it cannot."""
    if sys.platform == "win32":  # rights there are not in the mode; the folder is the user's own
        return ""
    if status.st_uid != os.geteuid():
        return "it belongs to another user, and code from it would be run"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "other users may write to it, and code from it would be run"
    return ""


def no_file(status: os.stat_result) -> str:
    """Why an entry is none; empty when it may be one."""
    return "" if stat.S_ISREG(status.st_mode) else "it is no file"


_caches: dict[str, ObjectCache] = {}


def _after_fork() -> None:
    """In a child: the threads that held these are not there."""
    for cache in _caches.values():
        cache._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def object_cache() -> ObjectCache | None:
    """The cache in the folder that the setting ``cache`` names; None when that is off."""
    folder = config.cache
    if folder is None:
        return None
    found = _caches.get(folder)
    return found if found is not None else _caches.setdefault(folder, ObjectCache(folder))


def cache_info() -> CacheInfo:
    """What the disk cache holds, and how this process fared with it."""
    cache, limit = object_cache(), config.cache_limit
    if cache is None:
        return CacheInfo(None, 0, 0, limit, 0, 0, 0, "")
    entries, size = cache.measure()
    counts = (cache.hits, cache.misses, cache.errors)
    return CacheInfo(cache.folder, entries, size, limit, *counts, cache.problem)
