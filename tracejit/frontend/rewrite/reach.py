"""What functions called under a traced condition can reach and change, as it was before.

    reach = Reach([body])           lists, dicts, sets, NumPy arrays, attributes, variables
    trace()
    reach.changed()                 a slot for each thing that is no longer what it was
    reach.restore()                 all is as it was

A statement shows which variables it changes; a function that it calls may change anything that it
reaches through its arguments, its closure, ``self`` and global variables. All of these are looked
at, by identity: the user's own objects, functions and containers, not those of installed packages.
"""

from __future__ import annotations

import functools
import inspect
import opcode
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tracejit import source
from tracejit.errors import TracedValueError
from tracejit.frontend.array import Array
from tracejit.frontend.rewrite.exits import PREFIX
from tracejit.frontend.rewrite.find import is_users
from tracejit.frontend.rewrite.state import (
    MISSING,
    Attribute,
    Cell,
    Item,
    Slot,
    Whole,
    contents,
    journals,
    replace_contents,
)

#: so many objects are looked at
MOST_OBJECTS = 20_000
#: bytes of NumPy arrays that are copied; further ones cannot be written to while tracing goes on
MOST_BYTES = 1 << 22
_STORE_GLOBAL = opcode.opmap["STORE_GLOBAL"]
_ATOMS = (int, float, complex, str, bytes, type(None), range, np.generic, np.dtype, Array)


class Reach:
    """The state of everything that ``functions`` reach."""

    def __init__(self, functions: Sequence[Any]) -> None:
        #: by identity; what is kept here keeps its identity
        self.seen: dict[int, Any] = {}
        #: lists, dicts, sets and NumPy arrays: the object, a copy of it, how it is reached
        self.containers: list[tuple[Any, Any, str]] = []
        self.objects: list[tuple[Any, dict[str, Any], str]] = []
        self.cells: dict[int, tuple[CellType, Any, str]] = {}
        #: dicts of modules: the names that functions read there
        self.modules: dict[tuple[int, str], tuple[dict[str, Any], Any]] = {}
        self.bytes = 0
        self.locked: list[np.ndarray] = []
        self.todo: deque[tuple[Any, str]] = deque((f, "") for f in functions if f is not None)
        while self.todo and len(self.seen) < MOST_OBJECTS:
            self.look(*self.todo.popleft())

    # ---- before ----

    def look(self, x: Any, path: str) -> None:
        if isinstance(x, _ATOMS) or id(x) in self.seen:
            return
        self.seen[id(x)] = x
        match x:
            case list() | deque():
                self.containers.append((x, contents(x), path))
                self.todo.extend((part, f"{path}[{k}]") for k, part in enumerate(x))
            case dict():
                self.containers.append((x, contents(x), path))
                self.todo.extend((part, f"{path}[{key!r}]") for key, part in x.items())
            case tuple():
                self.todo.extend((part, f"{path}[{k}]") for k, part in enumerate(x))
            case set():
                self.containers.append((x, contents(x), path))
            case np.ndarray():
                self.array(x, path)
            case FunctionType():
                self.function(x)
            case MethodType():
                self.todo += [(x.__self__, path.rpartition(".")[0] or path), (x.__func__, path)]
            case functools.partial():
                self.todo += [(x.func, path), (x.args, path), (x.keywords, path)]
            case type():
                self.methods(x)
            case Iterator():
                pass  # seen is enough: next_ asks for it
            case _:
                self.object(x, path)

    def array(self, x: np.ndarray, path: str) -> None:
        if not x.flags.writeable:
            return
        if self.bytes + x.nbytes <= MOST_BYTES:
            self.bytes += x.nbytes
            self.containers.append((x, contents(x), path))
        else:
            x.flags.writeable = False
            self.locked.append(x)

    def object(self, x: Any, path: str) -> None:
        found = getattr(x, "__dict__", None)
        if isinstance(found, dict) and _is_users(type(x)):
            self.objects.append((x, dict(found), path))
            self.todo.extend((part, f"{path}.{name}") for name, part in found.items())
            self.todo.append((type(x), ""))
        elif isinstance(found, dict) and isinstance(wrapped := found.get("__wrapped__"), Callable):
            self.todo.append((wrapped, path))

    def methods(self, owner: type) -> None:
        for base in owner.__mro__:
            if _is_users(base):
                for part in vars(base).values():
                    part = getattr(part, "__func__", getattr(part, "fget", part))
                    if isinstance(part, FunctionType):
                        self.todo.append((part, ""))

    def function(self, x: FunctionType) -> None:
        """Its closure; of a function of the user's also its defaults, and the globals it names."""
        code = x.__code__
        own = is_users(code.co_filename) or code.co_filename.startswith("<")
        for name, cell in zip(code.co_freevars, x.__closure__ or (), strict=True):
            if name.startswith(PREFIX):
                continue
            value = Cell(name, cell).get()
            if own and id(cell) not in self.cells:
                self.cells[id(cell)] = (cell, value, name)
            self.todo.append((value, name))
        if not own:
            return
        self.todo += [(x.__defaults__, ""), (x.__kwdefaults__, "")]
        self.space(x.__globals__, _names(code))
        if _STORE_GLOBAL in code.co_code[::2]:  # it may make global variables
            for name in set(code.co_names) - x.__globals__.keys():
                self.modules[id(x.__globals__), name] = (x.__globals__, MISSING)

    def space(self, space: dict[str, Any], names: frozenset[str]) -> None:
        for name in names & space.keys():
            value = space[name]
            if (id(space), name) in self.modules:
                continue
            self.modules[id(space), name] = (space, value)
            if isinstance(value, ModuleType):
                if is_users(getattr(value, "__file__", None) or sys.executable):
                    self.space(vars(value), names)
            else:
                self.todo.append((value, name))

    # ---- after ----

    def changed(self) -> Iterator[Slot]:
        """Slots for what is no longer what it was; TracedValueError for global variables."""
        for cell, before, name in self.cells.values():
            slot = Cell(name, cell)
            if slot.get() is not before:
                yield slot
        for owner, found, path in self.objects:
            now = owner.__dict__
            for name in _different(found, now):
                yield Attribute(f"{path or type(owner).__name__}.{name}", lambda o=owner: o, [name])
        for owner, before, path in self.containers:
            yield from _slots(owner, before, path)
        for (_, name), (space, before) in self.modules.items():
            if space.get(name, MISSING) is not before:
                raise TracedValueError(
                    f"a function that is called under a traced condition assigns the global "
                    f"variable `{name}`",
                    at=source.here(),
                    hint="make it a local variable, and return it",
                )

    def restore(self) -> None:
        """Put everything back."""
        for x in self.locked:
            x.flags.writeable = True
        for cell, before, name in self.cells.values():
            Cell(name, cell).set(before)
        for owner, found, _ in self.objects:
            if any(_different(found, owner.__dict__)):
                owner.__dict__.clear()
                owner.__dict__.update(found)
        for owner, before, path in self.containers:
            if any(_slots(owner, before, path)):
                replace_contents(owner, before)
        for (_, name), (space, before) in self.modules.items():
            Item(name, space, name).set(before)


def next_(iterator: Any, *default: Any) -> Any:
    """``next``: an iterator that is older than a traced branch would move on in both branches."""
    if any(id(iterator) in journal.reach.seen for journal in journals.stack):
        raise TracedValueError(
            "next() takes an item of an iterator under a traced condition: whether it moves on is "
            "not known while tracing",
            at=source.here(),
            hint="take the item before the condition, or index a list or array",
        )
    return next(iterator, *default)


def _different(before: dict[Any, Any], now: dict[Any, Any]) -> Iterator[Any]:
    """The keys that have other values, or none."""
    for key in {**before, **now}:
        if before.get(key, MISSING) is not now.get(key, MISSING):
            yield key


def _slots(owner: Any, before: Any, path: str) -> Iterator[Slot]:
    """For a container that is no longer like ``before``: its items, or the whole."""
    if isinstance(owner, dict):
        yield from (Item(f"{path}[{key!r}]", owner, key) for key in _different(before, owner))
    elif isinstance(owner, list | deque):
        if len(owner) != len(before):
            yield Whole(path, owner)
            return
        for k, (a, b) in enumerate(zip(before, owner, strict=True)):
            if a is not b:
                yield Item(f"{path}[{k}]", owner, k)
    elif isinstance(owner, np.ndarray):
        if owner.tobytes() != before.tobytes():
            yield Whole(path, owner)
    elif owner != before:
        yield Whole(path, owner)


@functools.cache
def _names(code: CodeType) -> frozenset[str]:
    """The global names and attributes that a function, and those within it, mention."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    return frozenset(code.co_names).union(*inner)


@functools.lru_cache(maxsize=1024)
def _is_users(kind: type) -> bool:
    """Whether a class is the user's own."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        return kind.__module__ not in sys.builtin_module_names
    return is_users(inspect.getsourcefile(module) or file) if module is not None else True
