"""Values of the user's variables before, inside and after a rewritten statement.

    slots = slots_of(body, ("x", "self.h"))     where the values are kept
    slots[0].get(), slots[0].set(1)             MISSING where a variable has no value
    NoValue("y", ...)                           stands for a value that does not exist

Variables are the cells that the statement's nested functions share with the function around them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import CellType, FunctionType
from typing import Any, NoReturn

import numpy as np
import optree

from tracejit import source
from tracejit.errors import TracedValueError
from tracejit.frontend import promotion
from tracejit.frontend.array import Array, as_array, carrying
from tracejit.frontend.call import flatten
from tracejit.frontend.rewrite.exits import PREFIX
from tracejit.frontend.trace import Trace
from tracejit.ir.types import TensorType

#: a variable without a value
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()


def is_traced(x: Any) -> bool:
    """Whether ``x`` is an Array whose value is not known yet."""
    return isinstance(x, Array) and x._trace is not None and not x._has_value


def is_number(x: Any) -> bool:
    """Whether a leaf of a value can be part of a graph."""
    if isinstance(x, Array):
        return True
    if isinstance(x, np.ndarray | np.generic):
        return x.dtype.kind in "biufcV" and x.dtype.names is None
    return promotion.is_python(x)


# ---- values that do not exist --------------------------------------------------------------------


class NoValue:
    """Stands for a variable's value where the program leaves it open; any use of it is an error."""

    def __init__(self, what: str, notes: Sequence[str] = (), hint: str = "") -> None:
        self.__dict__.update(what=what, notes=tuple(notes), hint=hint)

    def fail(self, *args: Any, **kwargs: Any) -> NoReturn:
        own = self.__dict__
        raise TracedValueError(
            own["what"], at=source.here(), notes=own["notes"], hint=own["hint"]
        ) from None

    def __repr__(self) -> str:
        return f"<no value: {self.__dict__['what']}>"

    def __getattr__(self, name: str) -> Any:
        self.fail()

    def __setattr__(self, name: str, value: Any) -> None:
        self.fail()

    __hash__ = None  # type: ignore[assignment]


def _uses() -> Iterable[str]:
    names = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or".split()
    yield from (f"__{side}{name}__" for name in names for side in ("", "r", "i"))
    yield from (f"__{name}__" for name in "neg pos abs invert complex int float round".split())
    yield from (f"__{name}__" for name in "eq ne lt le gt ge bool len iter next call".split())
    yield from (f"__{name}__" for name in "getitem setitem delitem contains index".split())
    yield from (f"__{name}__" for name in "array array_ufunc array_function enter exit".split())


for _name in _uses():
    setattr(NoValue, _name, NoValue.fail)


def line(at: source.Position | None) -> str:
    """`` at model.py:12``."""
    return f" at {at.short()}" if at is not None else ""


# ---- variables -----------------------------------------------------------------------------------


class Cell:
    """A local variable."""

    def __init__(self, name: str, cell: CellType) -> None:
        self.name = name
        self.cell = cell

    def place(self) -> tuple[Any, ...]:
        """What tells a variable from others: equal for slots of one variable."""
        return (id(self.cell),)

    def get(self) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:
            return MISSING

    def set(self, value: Any) -> None:
        if value is not MISSING:
            self.cell.cell_contents = value
        elif self.get() is not MISSING:
            del self.cell.cell_contents


class _Journals(threading.local):
    def __init__(self) -> None:
        self.stack: list[Any] = []


#: of the traces that are under way, the innermost last: stores.Journal
journals = _Journals()


def storing(owner: Any, name: str) -> None:
    """Called before ``owner.name`` is assigned or deleted."""
    if journals.stack:
        found = journals.stack[-1].found
        if (id(owner), name) not in found:
            found[id(owner), name] = (owner, getattr(owner, name, MISSING))


class Attribute:
    """An attribute of an object that a variable, or a chain of attributes of one, holds."""

    #: False where the object may have been made by the statement itself
    older = True

    def __init__(
        self, name: str, root: Callable[[], Any], path: Sequence[str] | None = None
    ) -> None:
        self.name = name
        self.path = name.split(".")[1:] if path is None else path
        self.root = root

    def place(self) -> tuple[Any, ...]:
        return id(self.owner()), self.path[-1]

    def owner(self) -> Any:
        found = self.root()
        for name in self.path[:-1]:
            found = MISSING if found is MISSING else getattr(found, name, MISSING)
        return found

    def get(self) -> Any:
        owner = self.owner()
        return MISSING if owner is MISSING else getattr(owner, self.path[-1], MISSING)

    def set(self, value: Any) -> None:
        if value is self.get():
            return
        owner = self.owner()
        storing(owner, self.path[-1])
        if value is not MISSING:
            setattr(owner, self.path[-1], value)
        else:
            delattr(owner, self.path[-1])


class Item:
    """An item of a list or dict, or a key that it may get."""

    def __init__(self, name: str, owner: Any, key: Any) -> None:
        self.name = name
        self.container = owner
        self.key = key

    def place(self) -> tuple[Any, ...]:
        return id(self.container), "item", self.key

    def get(self) -> Any:
        try:
            return self.container[self.key]
        except LookupError:
            return MISSING

    def set(self, value: Any) -> None:
        if value is not MISSING:
            self.container[self.key] = value
        elif isinstance(self.container, dict):
            self.container.pop(self.key, None)


class Whole:
    """All that a list, set or NumPy array holds. It cannot be left without a value."""

    def __init__(self, name: str, owner: Any) -> None:
        self.name = name
        self.container = owner

    def place(self) -> tuple[Any, ...]:
        return id(self.container), "whole"

    def get(self) -> Any:
        return contents(self.container)

    def set(self, value: Any) -> None:
        if isinstance(value, NoValue):
            value.fail()
        if isinstance(self.container, np.ndarray) and is_traced(value):
            raise TracedValueError(
                f"a function that is called under a traced condition changes the NumPy array "
                f"`{self.name}`",
                at=source.here(),
                hint="return the new value, or make it an array of tracejit: jnp.asarray",
            )
        replace_contents(self.container, value)


def contents(container: Any) -> Any:
    """A copy of a list, dict, set or NumPy array, without the class that it may be of."""
    if isinstance(container, np.ndarray):
        return container.copy()
    for kind in (dict, set):
        if isinstance(container, kind):
            return kind(container)
    return list(container)


def replace_contents(container: Any, value: Any) -> None:
    """Give a container other contents."""
    if isinstance(container, np.ndarray):
        container[...] = value
    elif isinstance(container, list):
        container[:] = value
    else:
        container.clear()
        (container.extend if isinstance(container, deque) else container.update)(value)


Slot = Cell | Attribute | Item | Whole


def slots_of(functions: Sequence[FunctionType], names: Sequence[str]) -> list[Slot]:
    """Where the variables ``names`` of the bodies of a statement are kept."""
    cells: dict[str, CellType] = {}
    for function in functions:
        cells.update(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    space = functions[0].__globals__
    found: list[Slot] = []
    for name in names:
        first, *rest = name.split(".")
        if not rest:
            if first in cells:
                found.append(Cell(name, cells[first]))
            continue
        root = Cell(first, cells[first]).get if first in cells else lambda n=first: space.get(n)
        slot = Attribute(name, root)
        if slot.owner() is not MISSING and slot.owner() is not None:
            found.append(slot)
    return found


def is_older(slot: Slot) -> bool:
    """Whether what holds a variable is for certain older than the statement that changes it."""
    return not isinstance(slot, Attribute) or slot.older


def is_own(name: str) -> bool:
    """Whether rewriting added a variable: a flag, or the value that is returned."""
    return name.startswith(PREFIX)


def shown(name: str) -> str:
    """A variable in messages."""
    return "the value returned" if is_own(name) else f"`{name}`"


# ---- values as leaves ----------------------------------------------------------------------------


class Inside:
    """Values of variables as one trace sees them: each Array from outside as its own Array.

    What is changed in place while a branch or body is traced is then the trace's own.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.origins: dict[int, Array] = {}
        self.made: dict[int, Array] = {}
        #: NumPy arrays and sets can be changed in place, too
        self.copies: dict[int, Any] = {}
        self.given: dict[int, Any] = {}

    def value(self, outside: Any) -> Any:
        """The stand-in for a value: containers are copied."""
        leaves, treedef = flatten(outside)
        return optree.tree_unflatten(treedef, [self.leaf(leaf) for leaf in leaves])

    def leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray | set):
            found = self.copies[id(leaf)] = self.copies.get(id(leaf), leaf.copy())
            self.given[id(found)] = leaf
            return found
        if not is_traced(leaf):
            return leaf
        found = self.made.get(id(leaf))
        if found is None:
            found = carrying(None, self.trace.lift(leaf), self.trace, leaf._weak)
            self.made[id(leaf)] = found
            self.origins[id(found._value)] = leaf
        return found

    def outside(self, leaf: Any) -> Any:
        """The Array outside that a leaf still is, or the leaf."""
        if isinstance(leaf, Array) and leaf._trace is self.trace:
            origin = self.origins.get(id(leaf._value))
            if origin is not None and origin._weak == leaf._weak:
                return origin
        before = self.given.get(id(leaf))
        if before is not None and type(before) is type(leaf) and _equal(before, leaf):
            return before
        return leaf


def _equal(a: Any, b: Any) -> bool:
    return a.tobytes() == b.tobytes() if isinstance(a, np.ndarray) else bool(a == b)


def adopt(before: Any, after: Any) -> Any:
    """``after`` in the place of ``before``, which was changed in place: others hold it, too."""
    if type(before) is list and type(after) is list:
        before[:] = after
    elif type(before) is dict and type(after) is dict:
        before.clear()
        before.update(after)
    elif type(before) is set and type(after) is set:
        before.clear()
        before.update(after)
    elif isinstance(before, Array) and isinstance(after, Array) and before is not after:
        before._become(after)
    else:
        return after
    return before


def same(a: Any, b: Any) -> bool:
    """Whether two leaves are one value for sure."""
    if a is b:
        return True
    if promotion.is_python(a) and promotion.is_python(b):
        return type(a) is type(b) and repr(a) == repr(b)
    if is_number(a) or is_number(b) or isinstance(a, NoValue) or isinstance(b, NoValue):
        return False
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:  # whatever a comparison raises
        return False


def describe(value: Any) -> str:
    """A value in messages: ``f32[3]``, ``int``, ``(f32[], f32[2])``."""
    if value is MISSING:
        return "no value"
    leaves, treedef = flatten(value)
    if treedef.num_nodes == 1 and leaves:
        return _described(leaves[0])
    if treedef.num_nodes > 12:
        return f"{type(value).__name__} of {treedef.num_leaves} leaves"
    shell = optree.tree_unflatten(treedef, [_Text(_described(leaf)) for leaf in leaves])
    return repr(shell)


class _Text:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _described(leaf: Any) -> str:
    if isinstance(leaf, Array | Shell):
        return str(leaf.type)
    if is_number(leaf):
        return str(as_array(leaf).type) if not promotion.is_python(leaf) else repr(leaf)
    short = isinstance(leaf, str) or (isinstance(leaf, set) and len(leaf) < 5)
    return repr(leaf) if short else type(leaf).__name__


class Shell:
    """What is known of a number when the trace that made it has ended."""

    def __init__(self, type: TensorType, weak: bool) -> None:
        self.type = type
        self._weak = weak


class Typed:
    """What promotion looks at: a dtype and whether it is weak."""

    def __init__(self, type: TensorType, weak: bool) -> None:
        self.dtype = type.dtype
        self._weak = weak
