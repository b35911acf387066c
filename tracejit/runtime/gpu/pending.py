"""Failures of work that nobody has waited for yet.

    pending.add(device, executable.check)     at a launch whose kernels check indices
    pending.drain(device)                     after waiting: raises what a check finds

A launch returns before its kernels run, so an index outside its axis shows only when somebody waits
for the device: at a copy to the host, ``block_until_ready``, or an operation outside of jit.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from tracejit.errors import TracejitError

if TYPE_CHECKING:
    from tracejit.runtime.gpu.device import Device

Check = Callable[[], None]

#: of each device its checks, oldest first; equal ones are one, however often they were added
_waiting: weakref.WeakKeyDictionary[Device, dict[Check, None]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def add(device: Device, check: Check) -> None:
    """Have ``check`` run when somebody next waits for ``device``.

    It raises for a failure in any launch since it last ran, and forgets that.
    """
    with _lock:
        _waiting.setdefault(device, {})[check] = None


def count(device: Device) -> int:
    """How many checks wait."""
    return len(_waiting.get(device, ()))


def drain(device: Device) -> None:
    """Run all checks of ``device``, whose work is done. Raises the first failure; the others are
    notes of it.
    """
    with _lock:
        checks = _waiting.pop(device, {})
    failures: list[TracejitError] = []
    for check in checks:
        try:
            check()
        except TracejitError as error:
            failures.append(error)
    if failures:
        first, *others = failures
        also = (f"also: {e.what}, {e.at.short() if e.at else 'elsewhere'}" for e in others)
        first.notes += tuple(dict.fromkeys(also))
        raise first
