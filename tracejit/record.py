"""``@dataclass`` as in the standard library, made ten times faster, for imports that do not wait.

@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0

The library's decorator compiles the text of six methods for every class, half a millisecond each
time, which was most of what importing this package took. Here ``__init__`` is compiled when the
first instance is made, and the other methods are closures over the fields' names. Fields are the
library's own, so ``dataclasses.fields`` and ``replace`` work; options that are rare go to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers know
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, **rare: Any
    ) -> Any:
        """The class with ``__init__``, ``__repr__``, ``__eq__`` and ``__hash__`` by its fields."""

        def make(cls: type) -> type:
            if rare or not eq:
                return dataclasses.dataclass(frozen=frozen, eq=eq, **rare)(cls)
            return _complete(cls, frozen)

        return make if cls is None else make(cls)


def _complete(cls: type, frozen: bool) -> type:
    fields = _fields(cls)
    compared = tuple(f.name for f in fields.values() if f.compare)
    hashed = tuple(f.name for f in fields.values() if (f.compare if f.hash is None else f.hash))
    methods: dict[str, Any] = {
        "__init__": _first_init(cls, fields, frozen),
        "__repr__": _repr(tuple(f.name for f in fields.values() if f.repr)),
    }
    for name, method in methods.items():
        if name not in cls.__dict__:
            setattr(cls, name, method)
    own_eq, own_hash = "__eq__" in cls.__dict__, cls.__dict__.get("__hash__")
    if not own_eq:
        cls.__eq__ = _eq(_values(compared))  # type: ignore[assignment,method-assign]
    if own_hash is None:  # absent, or taken away by an __eq__ of the class's own
        cls.__hash__ = _hash(_values(hashed)) if frozen else None  # type: ignore[assignment,method-assign]
    if frozen:
        for name in ("__setattr__", "__delattr__"):
            if name in cls.__dict__:
                raise TypeError(f"a frozen class has no {name} of its own: {cls.__name__}")
        cls.__setattr__, cls.__delattr__ = _cannot_assign, _cannot_delete  # type: ignore[assignment,method-assign]
    if "__match_args__" not in cls.__dict__:
        cls.__match_args__ = tuple(f.name for f in fields.values() if f.init)  # type: ignore[attr-defined]
    return cls


def _fields(cls: type) -> dict[str, Field[Any]]:
    """Fields of the bases, then the class's own, as the library keeps them."""
    found: dict[str, Field[Any]] = {}
    for base in cls.__mro__[-1:0:-1]:
        found.update(getattr(base, "__dataclass_fields__", {}))
    for name, type in cls.__dict__.get("__annotations__", {}).items():
        if str(type).startswith(("ClassVar", "typing.ClassVar")):
            continue
        default = cls.__dict__.get(name, MISSING)
        field = default if isinstance(default, Field) else dataclasses.field(default=default)
        field.name, field.type = name, type
        field._field_type = dataclasses._FIELD  # type: ignore[attr-defined]
        if isinstance(default, Field):
            if field.default is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, field.default)
        elif getattr(default, "__hash__", True) is None:
            raise ValueError(f"mutable default of {name} in {cls.__name__}: use default_factory")
        found[name] = field
    cls.__dataclass_fields__ = found  # type: ignore[attr-defined]
    cls.__dataclass_params__ = dataclasses._DataclassParams(  # type: ignore[attr-defined]
        *(True, True, True, False, False, True),
        **{} if _OLD else {"match_args": True, "kw_only": False, "slots": False},
        **{} if _OLD else {"weakref_slot": False},
    )
    return found


_OLD = len(getattr(dataclasses._DataclassParams, "__slots__", ())) == 6  # type: ignore[attr-defined]


def _first_init(cls: type, fields: dict[str, Field[Any]], frozen: bool) -> Callable[..., None]:
    """An ``__init__`` that puts the real one in its place."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        real = _init(cls, fields, frozen)
        if cls.__dict__.get("__init__") is __init__:
            cls.__init__ = real  # type: ignore[misc]
        real(self, *args, **kwargs)

    return __init__


def _init(cls: type, fields: dict[str, Field[Any]], frozen: bool) -> Callable[..., None]:
    scope: dict[str, Any] = {"_missing": MISSING, "_set": object.__setattr__}
    head, body = ["self"], []
    for name, field in fields.items():
        value = name
        if field.default_factory is not MISSING:
            scope[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}()"
            if field.init:
                head.append(f"{name}=_missing")
                value += f" if {name} is _missing else {name}"
        elif field.default is not MISSING:
            scope[f"_default_{name}"] = field.default
            if field.init:
                head.append(f"{name}=_default_{name}")
            else:
                value = f"_default_{name}"
        elif field.init:
            head.append(name)
        else:
            continue
        body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    exec(f"def __init__({', '.join(head)}):\n  " + "\n  ".join(body or ["pass"]), scope)
    init: Callable[..., None] = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _values(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """The values of these fields."""
    if len(names) > 1:
        return attrgetter(*names)
    if names:
        get = attrgetter(names[0])
        return lambda self: (get(self),)
    return lambda self: ()


def _eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: Any) -> Any:
        if other.__class__ is self.__class__:
            return values(self) == values(other)
        return NotImplemented

    return __eq__


def _hash(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        return hash(values(self))

    return __hash__


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        parts = (f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({', '.join(parts)})"

    return __repr__


def _cannot_assign(self: Any, name: str, value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _cannot_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
