"""Parts of an optimiser's state by name: ``tree.get(state, "mu")``, wherever in it that is.

    get(state, "learning_rate")            the only value of that name
    set(state, learning_rate=0.1)          the state with another one
    map_params(optimizer, f, state)        ``f`` on what the state holds of each parameter

A name is a field of a NamedTuple, a key of a dict, or the class name of a NamedTuple, which stands
for all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tracejit.errors import ArgumentError
from tracejit.source import here
from tracejit.tree_util import DictKey, SequenceKey, register_pytree_node_class, tree_map


class NamedTupleKey(NamedTuple):
    """The step of a path into a NamedTuple: its class name and the field."""

    tuple_name: str
    name: str

    def __str__(self) -> str:
        return f"{self.tuple_name}.{self.name}"


#: ``filtering(path, value)`` says whether a value of the name is meant
Filter = Callable[[tuple[Any, ...], Any], bool] | None


def _is_named(node: Any) -> bool:
    return isinstance(node, tuple) and hasattr(node, "_fields")


def _children(node: Any) -> list[tuple[Any, Any, Any]]:
    """The name, step and value of each part of a container; none for a leaf."""
    if _is_named(node):
        kind = type(node).__name__
        return [(f, NamedTupleKey(kind, f), getattr(node, f)) for f in node._fields]
    if isinstance(node, dict):
        return [(k, DictKey(k), value) for k, value in node.items()]
    if isinstance(node, list | tuple):
        return [(None, SequenceKey(k), value) for k, value in enumerate(node)]
    return []


def _found(node: Any, name: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    """Paths and values of everything that is called ``name``, outermost first."""
    if _is_named(node) and type(node).__name__ == name:
        yield path, node
    for key, step, value in _children(node):
        if key is not None and key == name:
            yield (*path, step), value
        yield from _found(value, name, (*path, step))


def get_all_with_path(tree: Any, key: Any, filtering: Filter = None) -> list[tuple[Any, Any]]:
    """All values called ``key``, each with its path."""
    found = _found(tree, key, ())
    return [(path, value) for path, value in found if filtering is None or filtering(path, value)]


def get(tree: Any, key: Any, default: Any = None, filtering: Filter = None) -> Any:
    """The value called ``key``, or ``default`` where there is none.

    Raises ArgumentError where there are several; ``filtering(path, value)`` tells them apart.

    >>> from tracejit import optim
    >>> state = optim.adam(0.1).init(jnp.zeros(2))
    >>> optim.tree.get(state, "count")
    Array(0, dtype=int32)
    """
    found = get_all_with_path(tree, key, filtering)
    if len(found) > 1:
        places = ["".join(f"[{step}]" for step in path) for path, _ in found]
        raise ArgumentError(
            f"tree.get: there are {len(found)} values called {key!r}",
            at=here(),
            notes=tuple(places),
            hint="say which one with filtering(path, value)",
        )
    return found[0][1] if found else default


def set(tree: Any, filtering: Filter = None, /, **kwargs: Any) -> Any:
    """``tree`` with other values for the names given; raises ArgumentError for a name that is not
    there.

    >>> from tracejit import optim
    >>> state = optim.adam(0.1).init(jnp.zeros(2))
    >>> optim.tree.set(state, count=jnp.array(5))[0].count
    Array(5)
    """
    for name in kwargs:
        if not get_all_with_path(tree, name, filtering):
            raise ArgumentError(f"tree.set: nothing is called {name!r}", at=here())

    def meant(name: Any, path: tuple[Any, ...], value: Any) -> bool:
        return name in kwargs and (filtering is None or filtering(path, value))

    def replaced(node: Any, path: tuple[Any, ...]) -> Any:
        if _is_named(node) and meant(type(node).__name__, path, node):
            return kwargs[type(node).__name__]
        parts = _children(node)
        if not parts:
            return node
        new = [
            kwargs[name] if meant(name, (*path, step), value) else replaced(value, (*path, step))
            for name, step, value in parts
        ]
        if _is_named(node):
            return type(node)(*new)
        if isinstance(node, dict):
            return type(node)(zip(node, new, strict=True))
        return type(node)(new)

    return replaced(tree, ())


@register_pytree_node_class
class _Parameters:
    """Stands for the parameters while a state is made, to see where it holds something of them."""

    def tree_flatten(self) -> tuple[tuple[()], None]:
        return (), None

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> _Parameters:
        return cls()


def map_params(
    initable: Any,
    f: Callable[..., Any],
    state: Any,
    /,
    *rest: Any,
    transform_non_params: Callable[[Any], Any] | None = None,
    is_leaf: Callable[[Any], bool] | None = None,
) -> Any:
    """``state`` with ``f(leaf, *rest leaves)`` on each part that is like the parameters.

    ``initable``: the optimiser, or its ``init``. ``rest``: trees like the parameters.
    ``transform_non_params``: a function for all other leaves.

    >>> from tracejit import optim
    >>> step = optim.adam(0.1)
    >>> state = optim.tree.map_params(step, lambda m: m + 1, step.init(jnp.zeros(2)))
    >>> state[0].mu, state[0].count
    (Array([1., 1.], dtype=float32), Array(0, dtype=int32))
    """
    init = initable.init if hasattr(initable, "init") else initable

    def is_parameters(x: Any) -> bool:
        return isinstance(x, _Parameters)

    def one(place: Any, value: Any) -> Any:
        if is_parameters(place):
            return tree_map(f, value, *rest, is_leaf=is_leaf)
        return value if transform_non_params is None else transform_non_params(value)

    return tree_map(one, init(_Parameters()), state, is_leaf=is_parameters)
