"""Pytrees: nested containers seen as a list of leaves and a structure. A thin layer over optree.

In: tuples, lists, dicts (keys sorted), OrderedDicts, defaultdicts, deques, namedtuples, registered
classes; None is a tree without leaves and any other object a leaf. Out: leaves and a hashable,
comparable treedef.

    >>> leaves, treedef = tree_flatten({"b": 1, "a": (2, None)})
    >>> leaves, tree_unflatten(treedef, [x * 10 for x in leaves])
    ([2, 1], {'b': 10, 'a': (20, None)})

Names and semantics follow ``jax.tree_util``; ``tracejit.tree`` has the short names.
"""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import optree
from optree import PyTreeSpec as PyTreeDef

from tracejit import source
from tracejit.errors import ArgumentError, TreeError
from tracejit.tree_nodes import (
    NAMESPACE,
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    KeyEntry,
    KeyPath,
    Partial,
    SequenceKey,
    keystr,
    register_dataclass,
    register_pytree_node,
    register_pytree_node_class,
    register_pytree_with_keys,
    register_pytree_with_keys_class,
    register_static,
    static,
)

__all__ = [
    "DictKey",
    "FlattenedIndexKey",
    "GetAttrKey",
    "KeyEntry",
    "KeyPath",
    "Partial",
    "PyTreeDef",
    "SequenceKey",
    "all_leaves",
    "default_registry",
    "flatten_one_level",
    "flatten_one_level_with_keys",
    "is_tree_node",
    "keystr",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "register_pytree_with_keys",
    "register_pytree_with_keys_class",
    "register_static",
    "static",
    "tree_all",
    "tree_broadcast",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_leaves",
    "tree_leaves_with_path",
    "tree_map",
    "tree_map_with_path",
    "tree_reduce",
    "tree_reduce_associative",
    "tree_structure",
    "tree_transpose",
    "tree_unflatten",
    "treedef_children",
    "treedef_is_leaf",
    "treedef_tuple",
]

_MISSING = object()
_DICTS = (dict, OrderedDict, defaultdict)
_SEQUENCES = (list, tuple, deque)

IsLeaf = Callable[[Any], bool] | None


def _key(node_type: Any, entry: Any) -> Any:
    """The key of a child that optree calls ``entry`` of a node of class ``node_type``."""
    if node_type in _DICTS:
        return DictKey(entry)
    if node_type in _SEQUENCES:
        return SequenceKey(entry)
    if optree.is_namedtuple_class(node_type):
        return GetAttrKey(optree.namedtuple_fields(node_type)[entry])
    if optree.is_structseq_class(node_type):
        return GetAttrKey(optree.structseq_fields(node_type)[entry])
    # classes registered here name their children by keys already; others only number them
    return FlattenedIndexKey(entry) if isinstance(entry, int) else entry


# ------------------------------------------------------------------------- flatten and unflatten


def tree_flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], PyTreeDef]:
    """Leaves from left to right, and the structure. A node for which ``is_leaf`` holds is a leaf.

    >>> tree_flatten({"b": 1, "a": (2, None)})[0]
    [2, 1]
    """
    return optree.tree_flatten(tree, is_leaf, namespace=NAMESPACE)


def tree_unflatten(treedef: PyTreeDef, leaves: Iterable[Any]) -> Any:
    """The tree of a structure and its leaves. Raises TreeError for another number of them.

    >>> tree_unflatten(tree_structure({"a": 0, "b": 0}), [1, 2])
    {'a': 1, 'b': 2}
    """
    leaves = list(leaves)
    if len(leaves) != treedef.num_leaves:
        raise TreeError(
            f"tree.unflatten: {len(leaves)} leaves for a structure of {treedef.num_leaves}",
            at=source.here(),
            notes=(f"structure: {treedef}",),
        )
    return treedef.unflatten(leaves)


def tree_leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves from left to right; None has none.

    >>> tree_leaves({"b": 1, "a": (2, None)})
    [2, 1]
    """
    return optree.tree_leaves(tree, is_leaf, namespace=NAMESPACE)


def tree_structure(tree: Any, is_leaf: IsLeaf = None) -> PyTreeDef:
    """The structure without the leaves: hashable, equal for trees of one structure.

    >>> tree_structure({"a": 1}) == tree_structure({"a": [1]})
    False
    """
    return optree.tree_structure(tree, is_leaf, namespace=NAMESPACE)


def tree_flatten_with_path(
    tree: Any, is_leaf: Callable[..., bool] | None = None, is_leaf_takes_path: bool = False
) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    """Pairs of path and leaf, and the structure. With ``is_leaf_takes_path``: ``is_leaf(path,
    node)``.

    >>> [(keystr(path), leaf) for path, leaf in tree_flatten_with_path({"a": [3, 4]})[0]]
    [("['a'][0]", 3), ("['a'][1]", 4)]
    """
    if is_leaf is not None and is_leaf_takes_path:
        is_leaf = _without_path(tree, is_leaf)
    accessors, leaves, treedef = optree.tree_flatten_with_accessor(
        tree, is_leaf, namespace=NAMESPACE
    )
    paths = (tuple(_key(step.type, step.entry) for step in accessor) for accessor in accessors)
    return list(zip(paths, leaves, strict=True)), treedef


def _without_path(tree: Any, is_leaf: Callable[..., bool]) -> Callable[[Any], bool]:
    """``is_leaf(path, node)`` as the function of a node that flattening ``tree`` calls in order."""
    answers: list[bool] = []

    def visit(path: KeyPath, node: Any) -> None:
        answers.append(is_leaf(path, node))
        if not answers[-1] and not all_leaves((node,)):
            for key, child in flatten_one_level_with_keys(node)[0]:
                visit((*path, key), child)

    visit((), tree)
    in_order = iter(answers)
    return lambda node: next(in_order)


def tree_leaves_with_path(
    tree: Any, is_leaf: Callable[..., bool] | None = None, is_leaf_takes_path: bool = False
) -> list[tuple[KeyPath, Any]]:
    """Pairs of path and leaf."""
    return tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path)[0]


def flatten_one_level(tree: Any) -> tuple[Iterable[Any], Any]:
    """The children of the outermost node, and what else its class needs to be rebuilt."""
    children, static, _, _ = _one_level(tree)
    return children, static


def flatten_one_level_with_keys(tree: Any) -> tuple[Iterable[tuple[Any, Any]], Any]:
    """The same with each child paired with its key."""
    children, static, entries, _ = _one_level(tree)
    keys = [_key(type(tree), entry) for entry in entries]
    return list(zip(keys, children, strict=True)), static


def _one_level(tree: Any) -> tuple[Any, ...]:
    if all_leaves((tree,)):
        raise TreeError(f"an object of class {type(tree).__name__} is a leaf", at=source.here())
    return tuple(optree.tree_flatten_one_level(tree, namespace=NAMESPACE))


def all_leaves(iterable: Iterable[Any], is_leaf: IsLeaf = None) -> bool:
    """True if no element is a container (None counts as one)."""
    return optree.all_leaves(iterable, is_leaf, namespace=NAMESPACE)


def is_tree_node(typ: type) -> bool:
    """True if objects of this class are containers."""
    return optree.register_pytree_node.get(typ, namespace=NAMESPACE) is not None


# --------------------------------------------------------------------------------- map and reduce


def tree_map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """Apply ``f`` to each leaf of ``tree`` and what stands in its place in the others.

    Raises TreeError where these lack a node of ``tree``.

    >>> tree_map(lambda w, g: w - g, {"w": 3, "b": 1}, {"w": 1, "b": 1})
    {'w': 2, 'b': 0}
    """
    leaves, treedef = tree_flatten(tree, is_leaf)
    if not rest:
        return treedef.unflatten(map(f, leaves))
    columns = [_up_to("tree.map", treedef, other, k) for k, other in enumerate(rest, 2)]
    return treedef.unflatten(map(f, leaves, *columns))


def tree_map_with_path(
    f: Callable[..., Any],
    tree: Any,
    *rest: Any,
    is_leaf: Callable[..., bool] | None = None,
    is_leaf_takes_path: bool = False,
) -> Any:
    """``tree_map`` whose function gets the path of each leaf as its first argument.

    >>> tree_map_with_path(lambda path, x: f"{keystr(path)} = {x}", {"a": [3, 4]})
    {'a': ["['a'][0] = 3", "['a'][1] = 4"]}
    """
    pairs, treedef = tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path)
    columns = [_up_to("tree.map_with_path", treedef, other, k) for k, other in enumerate(rest, 2)]
    rows = zip(pairs, *columns, strict=True)
    return treedef.unflatten([f(path, leaf, *others) for (path, leaf), *others in rows])


def tree_reduce(
    function: Callable[[Any, Any], Any],
    tree: Any,
    initializer: Any = _MISSING,
    is_leaf: IsLeaf = None,
) -> Any:
    """Fold the leaves from left to right, from ``initializer`` if given.

    Raises ArgumentError without leaves and initializer.

    >>> tree_reduce(lambda a, b: a + b, {"a": 1, "b": (2, 3)}, 10)
    16
    """
    leaves = tree_leaves(tree, is_leaf)
    if initializer is not _MISSING:
        return functools.reduce(function, leaves, initializer)
    if not leaves:
        raise _empty("tree.reduce", "initializer")
    return functools.reduce(function, leaves)


def tree_reduce_associative(
    operation: Callable[[Any, Any], Any],
    tree: Any,
    *,
    identity: Any = _MISSING,
    is_leaf: IsLeaf = None,
) -> Any:
    """Combine the leaves by a balanced tree of calls: n leaves, log n levels."""
    leaves = tree_leaves(tree, is_leaf)
    if leaves:
        return _balanced(operation, leaves)
    if identity is _MISSING:
        raise _empty("tree.reduce_associative", "identity")
    return identity


def _empty(function: str, argument: str) -> ArgumentError:
    message = f"{function}: a tree without leaves needs {argument}="
    return ArgumentError(message, at=source.here())


def _balanced(operation: Callable[[Any, Any], Any], leaves: list[Any]) -> Any:
    if len(leaves) == 1:
        return leaves[0]
    middle = len(leaves) // 2
    return operation(_balanced(operation, leaves[:middle]), _balanced(operation, leaves[middle:]))


def tree_all(tree: Any, *, is_leaf: IsLeaf = None) -> bool:
    """True if every leaf is true.

    >>> tree_all({"a": 1, "b": [True, 0]})
    False
    """
    return all(tree_leaves(tree, is_leaf))


def tree_broadcast(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf = None) -> Any:
    """Repeat each leaf of ``prefix_tree`` over the subtree of ``full_tree`` in its place.

    >>> tree_broadcast({"a": 0, "b": 1}, {"a": [5, 6], "b": 7})
    {'a': [0, 0], 'b': 1}
    """
    leaves, treedef = tree_flatten(prefix_tree, is_leaf)
    subtrees = _up_to("tree.broadcast", treedef, full_tree, 2)
    pairs = zip(leaves, subtrees, strict=True)
    return treedef.unflatten([_filled(leaf, subtree, is_leaf) for leaf, subtree in pairs])


def _filled(leaf: Any, tree: Any, is_leaf: IsLeaf) -> Any:
    return tree_map(lambda _: leaf, tree, is_leaf=is_leaf)


def tree_transpose(
    outer_treedef: PyTreeDef, inner_treedef: PyTreeDef | None, pytree_to_transpose: Any
) -> Any:
    """A list of dicts becomes a dict of lists; ``inner_treedef`` None: that of the first dict.

    >>> tree_transpose(tree_structure([0, 0]), None, [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    {'a': [1, 3], 'b': [2, 4]}
    """
    subtrees = _up_to("tree.transpose", outer_treedef, pytree_to_transpose, 2)
    if inner_treedef is None:
        if not subtrees:
            raise _empty("tree.transpose", "inner_treedef")
        inner_treedef = tree_structure(subtrees[0])
    rows = [_up_to("tree.transpose", inner_treedef, subtree, 2) for subtree in subtrees]
    columns = zip(*rows, strict=True) if rows else [()] * inner_treedef.num_leaves
    return inner_treedef.unflatten([outer_treedef.unflatten(column) for column in columns])


# --------------------------------------------------------------------------- where two trees differ


class Difference(NamedTuple):
    """The first place where two structures differ, and what stands there in each."""

    path: KeyPath
    first: str
    second: str


def difference(first: PyTreeDef, second: PyTreeDef, *, prefix: bool = False) -> Difference | None:
    """Where the structures part, or None; with ``prefix`` a leaf of ``first`` fits anything."""
    return _difference(first, second, prefix, ())


def _difference(a: PyTreeDef, b: PyTreeDef, prefix: bool, path: KeyPath) -> Difference | None:
    if a.is_leaf() and (prefix or b.is_leaf()) and a.type is None:
        return None
    both_dicts = prefix and a.type in _DICTS and b.type in _DICTS  # map pairs dicts by key
    if a.type is not b.type and not both_dicts:
        return Difference(path, _describe(a), _describe(b))
    keys_a, keys_b = a.entries(), b.entries()
    if keys_a != keys_b and not (both_dicts and set(keys_a) == set(keys_b)):
        return Difference(path, _describe(a), _describe(b))
    children = dict(zip(keys_b, b.children(), strict=True))
    for entry, child in zip(keys_a, a.children(), strict=True):
        found = _difference(child, children[entry], prefix, (*path, _key(a.type, entry)))
        if found:
            return found
    if not both_dicts and a.one_level() != b.one_level():
        return Difference(path, str(a.one_level()), str(b.one_level()))
    return None


def _describe(treedef: PyTreeDef) -> str:
    if treedef.type is None:
        return "a leaf"
    if treedef.type is type(None):
        return "None"
    entries = treedef.entries()
    if treedef.type in _DICTS:
        return f"{treedef.type.__name__} with keys {', '.join(map(repr, entries)) or '(none)'}"
    noun = "child" if len(entries) == 1 else "children"
    return f"{treedef.type.__name__} with {len(entries)} {noun}"


def check_same_structure(
    what: str, first: PyTreeDef, second: PyTreeDef, names: tuple[str, str] = ("tree 1", "tree 2")
) -> None:
    """Raise a TreeError that names the first differing path unless the structures are equal."""
    if first != second:
        found = difference(first, second) or Difference((), str(first), str(second))
        raise _tree_error(what, found, names)


def _tree_error(what: str, found: Difference, names: tuple[str, str]) -> TreeError:
    where = keystr(found.path) or "the root"
    width = max(map(len, names))
    return TreeError(
        f"{what}: the trees differ at {where}",
        at=source.here(),
        notes=(f"{names[0]:{width}}: {found.first}", f"{names[1]:{width}}: {found.second}"),
    )


def _up_to(what: str, treedef: PyTreeDef, other: Any, number: int) -> list[Any]:
    """What stands in ``other`` at each leaf of ``treedef``."""
    try:
        return treedef.flatten_up_to(other)
    except ValueError:
        found = difference(treedef, tree_structure(other), prefix=True)
        if found is None:  # not a difference in structure: a user's own flatten function raised it
            raise
    raise _tree_error(what, found, ("tree 1", f"tree {number}"))


def check_hashable_static(what: str, treedef: PyTreeDef) -> None:
    """Raise a TreeError for unhashable static data: a cache keyed by it misses later changes."""

    def check(node_type: Any, static: Any, children: Any) -> None:
        if node_type in _DICTS or node_type in _SEQUENCES:
            return
        try:
            hash(static)
        except TypeError:
            message = f"{what}: the static data of a {node_type.__name__} cannot be hashed"
            hint = "use a tuple, or a frozen dataclass, or make the data a leaf"
            notes = (f"static data: {static!r}",)
            raise TreeError(message, at=source.here(), notes=notes, hint=hint) from None

    treedef.walk([None] * treedef.num_leaves, check)


# ------------------------------------------------------------------------------ treedefs as trees


def treedef_children(treedef: PyTreeDef) -> list[PyTreeDef]:
    """The structures of the children."""
    return treedef.children()


def treedef_is_leaf(treedef: PyTreeDef) -> bool:
    """True for a single leaf and for a container without children."""
    return treedef.num_nodes == 1


def treedef_tuple(treedefs: Iterable[PyTreeDef]) -> PyTreeDef:
    """The structure of a tuple of trees of the given structures."""
    return optree.treespec_tuple(treedefs, namespace=NAMESPACE)


class PyTreeRegistry(NamedTuple):
    """The registered classes that one optree namespace sees."""

    namespace: str

    def flatten(self, tree: Any, leaf_predicate: IsLeaf = None) -> tuple[list[Any], PyTreeDef]:
        return optree.tree_flatten(tree, leaf_predicate, namespace=self.namespace)

    def flatten_one_level(self, tree: Any) -> tuple[Iterable[Any], Any] | None:
        """Children and static data, or None for a leaf."""
        return None if all_leaves((tree,)) else flatten_one_level(tree)


default_registry = PyTreeRegistry(NAMESPACE)
