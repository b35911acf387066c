"""Modules that load when they are first used, so that ``import tracejit`` stays quick.

executable = lazy("tracejit.runtime.executable")
executable.compile_graph(graph)                       imports it now
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any


class _Lazy(ModuleType):
    """Stands for a module until one of its names is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # tools look for __path__ and the like: that is no use
            raise AttributeError(name)
        module = importlib.import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def lazy(name: str) -> Any:
    """The module ``name``, imported at its first use."""
    return _Lazy(name)


#: how long a process that is about to fork waits for what is being prefetched
_PATIENCE_SECONDS = 30.0


def prefetch(call: Callable[[], Any]) -> None:
    """Run ``call`` in a thread of its own, so that what it loads is there when it is first needed.

    An exception is dropped: whoever needs the thing meets it again. A process forks when the thread
    is done: the child would find the locks of half-loaded modules taken by nobody.
    """

    def run() -> None:
        with suppress(Exception):
            call()

    thread = threading.Thread(target=run, name="tracejit-prefetch", daemon=True)
    thread.start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lambda: _wait_for(thread))


def _wait_for(thread: threading.Thread) -> None:
    if thread is not threading.current_thread() and thread.is_alive():
        thread.join(_PATIENCE_SECONDS)
