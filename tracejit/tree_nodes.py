"""What is a node of a pytree: the keys of paths, and how classes become containers.

In: a class and how to take it apart. Out: its objects are nodes for ``tree_util``'s functions.

    >>> def split(s): return (s.start, s.stop), s.step
    >>> register_pytree_node(slice, split, lambda step, ends: slice(*ends, step))
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import optree

from tracejit import source
from tracejit.errors import ArgumentError, WrongValueError

#: optree's namespace of our classes, so that they never clash with another library's
NAMESPACE = "tracejit"

KeyEntry = TypeVar("KeyEntry", bound=Hashable)
KeyPath = tuple[Any, ...]
Class = TypeVar("Class", bound=type)


# ---------------------------------------------------------------------------------- keys of a path


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceKey:
    """Step into a list or tuple: ``[0]``."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"


@dataclasses.dataclass(frozen=True, slots=True)
class DictKey:
    """Step into a dict: ``['a']``."""

    key: Hashable

    def __str__(self) -> str:
        return f"[{self.key!r}]"


@dataclasses.dataclass(frozen=True, slots=True)
class GetAttrKey:
    """Step into an attribute: ``.name``."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class FlattenedIndexKey:
    """Step into the n-th child of a class registered without names for its children."""

    key: int

    def __str__(self) -> str:
        return f"[<flat index {self.key}>]"


def keystr(keys: KeyPath, *, simple: bool = False, separator: str = "") -> str:
    """A path as text: ``['a'][0].w``; with ``simple=True, separator="/"``: ``a/0/w``."""
    return separator.join(map(_simple, keys) if simple else map(str, keys))


def _simple(key: Any) -> str:
    match key:
        case SequenceKey(step) | DictKey(step) | GetAttrKey(step) | FlattenedIndexKey(step):
            return str(step)
    return str(key)


# --------------------------------------------------------------------------------- registration


def register_pytree_node(
    nodetype: type,
    flatten_func: Callable[[Any], tuple[Iterable[Any], Any]],
    unflatten_func: Callable[[Any, Any], Any],
    flatten_with_keys_func: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]] | None = None,
) -> None:
    """Make a class a container.

    ``flatten_func(x) -> (children, static)`` and ``unflatten_func(static, children) -> x``;
    the function with keys gives pairs of key and child as the children.
    """

    def flatten(node: Any) -> tuple[Any, ...]:
        children, static = flatten_func(node)
        return tuple(children), static

    def flatten_with_keys(node: Any) -> tuple[Any, ...]:
        assert flatten_with_keys_func is not None
        pairs, static = flatten_with_keys_func(node)
        pairs = tuple(pairs)
        return tuple(child for _, child in pairs), static, tuple(key for key, _ in pairs)

    chosen = flatten if flatten_with_keys_func is None else flatten_with_keys
    try:
        optree.register_pytree_node(nodetype, chosen, unflatten_func, namespace=NAMESPACE)
    except (ValueError, TypeError) as error:
        wrong = WrongValueError if isinstance(error, ValueError) else ArgumentError
        raise wrong(f"register_pytree_node: {error}", at=source.here()) from None


def register_pytree_with_keys(
    nodetype: type,
    flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]],
    unflatten_func: Callable[[Any, Any], Any],
    flatten_func: Callable[[Any], tuple[Iterable[Any], Any]] | None = None,
) -> None:
    """The same for a class that names its children, as pairs of key and child."""
    register_pytree_node(nodetype, flatten_func or _never, unflatten_func, flatten_with_keys)


def _never(node: Any) -> tuple[Iterable[Any], Any]:
    raise AssertionError("the flatten function with keys is the one in use")


def register_pytree_node_class(cls: Class) -> Class:
    """Decorator of a class with ``tree_flatten(self)`` and ``tree_unflatten(static, children)``."""
    register_pytree_node(cls, lambda node: node.tree_flatten(), cls.tree_unflatten)  # type: ignore[attr-defined]
    return cls


def register_pytree_with_keys_class(cls: Class) -> Class:
    """Decorator of a class with ``tree_flatten_with_keys`` and ``tree_unflatten``."""
    register_pytree_with_keys(
        cls,
        lambda node: node.tree_flatten_with_keys(),
        cls.tree_unflatten,  # type: ignore[attr-defined]
    )
    return cls


def register_static(cls: Class) -> Class:
    """Decorator of a class whose objects have no leaves: they belong to the structure."""
    register_pytree_node(cls, lambda node: ((), node), lambda static, _: static)
    return cls


def register_dataclass(
    nodetype: Class,
    data_fields: Sequence[str] | None = None,
    meta_fields: Sequence[str] | None = None,
    drop_fields: Sequence[str] = (),
) -> Class:
    """Make a dataclass a container of ``data_fields``; ``meta_fields`` belong to the structure.

    Without lists, the fields made by ``tree.static()`` are meta. Dropped fields are not kept.
    """
    data, meta = _dataclass_fields(nodetype, data_fields, meta_fields, tuple(drop_fields))

    def flatten(node: Any) -> tuple[Any, Any]:
        pairs = tuple((GetAttrKey(name), getattr(node, name)) for name in data)
        return pairs, tuple(getattr(node, name) for name in meta)

    def unflatten(static: Any, children: Any) -> Any:
        known = zip((*data, *meta), (*children, *static), strict=True)
        return nodetype(**dict(known))

    register_pytree_with_keys(nodetype, flatten, unflatten)
    return nodetype


def _dataclass_fields(
    nodetype: type,
    data_fields: Sequence[str] | None,
    meta_fields: Sequence[str] | None,
    drop_fields: tuple[str, ...],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Data and meta fields, checked against the class."""

    def wrong(why: str) -> ArgumentError:
        return ArgumentError(f"register_dataclass: {nodetype.__name__}: {why}", at=source.here())

    is_dataclass = dataclasses.is_dataclass(nodetype)
    if (data_fields is None) != (meta_fields is None):
        raise wrong("give both data_fields and meta_fields, or neither")
    if data_fields is None or meta_fields is None:
        if not is_dataclass:
            raise wrong("not a dataclass, so data_fields and meta_fields are needed")
        fields = [f for f in dataclasses.fields(nodetype) if f.name not in drop_fields]
        data_fields = [f.name for f in fields if not f.metadata.get("static", False)]
        meta_fields = [f.name for f in fields if f.metadata.get("static", False)]
    if both := sorted(set(data_fields) & set(meta_fields)):
        raise wrong(f"fields both data and meta: {', '.join(both)}")
    if is_dataclass:
        taken = {f.name for f in dataclasses.fields(nodetype) if f.init} - set(drop_fields)
        given = {*data_fields, *meta_fields}
        if missing := sorted(taken - given):
            raise wrong(f"fields that are neither data, meta nor dropped: {', '.join(missing)}")
        if unknown := sorted(given - taken):
            raise wrong(f"not fields that __init__ takes: {', '.join(unknown)}")
    return tuple(data_fields), tuple(meta_fields)


def static(**options: Any) -> Any:
    """``dataclasses.field(**options)`` for a meta field of ``register_dataclass``.

    >>> import dataclasses
    >>> from tracejit import tree
    >>> @register_dataclass
    ... @dataclasses.dataclass
    ... class Layer:
    ...     weight: float
    ...     name: str = tree.static(default="dense")
    >>> tree.leaves(Layer(2.0))
    [2.0]
    """
    metadata = {**(options.pop("metadata", None) or {}), "static": True}
    return dataclasses.field(metadata=metadata, **options)


class Partial(functools.partial):  # type: ignore[type-arg]
    """``functools.partial`` as a container: bound arguments are children, the function is static.

    Arguments bound by an inner plain ``functools.partial`` stay static; those of an inner Partial
    are children.
    """

    def __new__(cls, func: Callable[..., Any], /, *args: Any, **keywords: Any) -> Partial:
        if isinstance(func, functools.partial) and not isinstance(func, Partial):
            func = _Closed(func)
        return super().__new__(cls, func, *args, **keywords)


@dataclasses.dataclass(frozen=True)
class _Closed:
    """A callable that ``functools.partial`` does not merge with."""

    func: Callable[..., Any]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.func(*args, **keywords)


register_pytree_node(
    Partial,
    lambda node: ((node.args, node.keywords), node.func),
    lambda func, children: Partial(func, *children[0], **children[1]),
)
