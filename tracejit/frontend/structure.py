"""Pytrees that come again in the same structure: code for one structure, written once.

    read = reader(treedef)          read(args, kwargs): the leaves of the tree (args, kwargs), where
                                    it has that structure, else None
    make = maker(treedef)           make([y, x, z]) is the tree

A registry that walks any tree takes as long for 30 leaves as a small program does. The code for one
structure only looks whether a tree has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optree

from tracejit.tree_util import NAMESPACE

Read = Callable[[tuple[Any, ...], dict[str, Any]], Sequence[Any] | None]
Make = Callable[[Sequence[Any]], Any]

#: trees of more leaves go through the registry
MOST_LEAVES = 2000
#: deeper ones, too: Python's parser takes so many brackets within each other and no more
MOST_LEVELS = 60


#: no tree
NONE = object()


class _Leaf:
    """Stands for a leaf, by its number."""

    def __init__(self, number: int) -> None:
        self.number = number


def _template(treedef: Any) -> Any:
    """A tree with stand-ins for its leaves; NONE where a node of the user's own refuses them."""
    if treedef.num_leaves > MOST_LEAVES:
        return NONE
    try:
        tree = optree.tree_unflatten(treedef, [_Leaf(k) for k in range(treedef.num_leaves)])
    except Exception:  # whatever a constructor raises
        return NONE
    return tree if _within(tree, MOST_LEVELS) else NONE


def _within(tree: Any, levels: int) -> bool:
    """Whether a tree has at most so many levels."""
    if not isinstance(tree, dict | list | tuple):
        return True
    children = tree.values() if isinstance(tree, dict) else tree
    return levels > 0 and all(_within(child, levels - 1) for child in children)


def _defined(name: str, lines: list[str], constants: dict[str, Any]) -> Any:
    """The function that ``lines`` define."""
    space = dict(constants)
    exec("\n".join(lines), space)
    return space[name]


# ---- leaves of a tree ----------------------------------------------------------------------------


def reader(treedef: Any) -> Read | None:
    """A function that gives the leaves of ``args`` and ``kwargs`` that make a tree of this
    structure, and None for others.

    None where there is a node that is no list, tuple, namedtuple, dict or None.
    """
    template = _template(treedef)
    if template is NONE:
        return None
    writer = _Reader()
    if not writer.visit_call(*template):
        return None
    lines = [
        "def read(args, kwargs):",
        "  try:",
        *(f"    {line}" for line in writer.lines),
        f"    return [{', '.join(writer.leaves)}]",
        "  except KeyError:",
        "    return None",
    ]
    read = _defined("read", lines, writer.constants)
    # a namedtuple may be registered with an order of its own
    numbers = [leaf.number for leaf in read(*template)]
    return read if numbers == list(range(treedef.num_leaves)) else None


class _Reader:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.leaves: list[str] = []
        self.constants: dict[str, Any] = {}
        self.variables = 0

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def variable(self) -> str:
        self.variables += 1
        return f"v{self.variables}"

    def visit_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Lines for the arguments of a call, whose types are known."""
        sizes = [
            f"len({name}) == {len(given)}" if given else f"not {name}"
            for name, given in (("args", args), ("kwargs", kwargs))
        ]
        self.lines.append(f"if not ({' and '.join(sizes)}): return None")
        return self.children(args, "args") and self.children(kwargs, "kwargs")

    def visit(self, tree: Any, at: str) -> bool:
        """Lines that check the node which the expression ``at`` gives; False where there are
        none.
        """
        kind: type = type(tree)
        if kind is _Leaf:
            self.leaves.append(at)
            return True
        name = self.variable()
        self.lines.append(f"{name} = {at}")
        if tree is None:
            self.lines.append(f"if {name} is not None: return None")
            return True
        if kind is not dict and kind is not list and kind is not tuple:
            if not optree.is_namedtuple(tree):
                return False
        wanted = f"type({name}) is {self.constant(kind)} and len({name}) == {len(tree)}"
        self.lines.append(f"if not ({wanted}): return None")
        return self.children(tree, name)

    def children(self, tree: Any, name: str) -> bool:
        if type(tree) is dict:
            keys = optree.tree_flatten({key: _Key(key) for key in tree}, namespace=NAMESPACE)[0]
            children = [(tree[k.key], f"{name}[{self.constant(k.key)}]") for k in keys]
        else:
            names = [self.variable() for _ in tree]
            if names:
                self.lines.append(f"{', '.join(names)}, = {name}")
            children = list(zip(tree, names, strict=True))
        return all(self.visit(child, place) for child, place in children)


class _Key:
    """Stands for the value at a dict's key: flattened, these are in optree's order."""

    def __init__(self, key: Any) -> None:
        self.key = key


# ---- a tree of leaves ----------------------------------------------------------------------------


def maker(treedef: Any) -> Make:
    """A function that builds the tree from its leaves."""
    constants: dict[str, Any] = {}
    text = _display(_template(treedef), constants)
    if text is None:
        return lambda leaves: optree.tree_unflatten(treedef, leaves)
    return _defined("make", ["def make(leaves):", f"  return {text}"], constants)  # type: ignore[no-any-return]


def _display(tree: Any, constants: dict[str, Any]) -> str | None:
    """An expression that builds the tree; None where a node is no list, tuple or dict."""
    kind = type(tree)
    if kind is _Leaf:
        return f"leaves[{tree.number}]"
    if tree is None:
        return "None"
    if kind not in (dict, list, tuple):
        return None
    values = [_display(value, constants) for value in (tree.values() if kind is dict else tree)]
    if None in values:
        return None
    if kind is dict:
        keys = [f"c{len(constants) + k}" for k in range(len(tree))]
        constants.update(zip(keys, tree, strict=True))
        return "{" + ", ".join(f"{k}: {v}" for k, v in zip(keys, values, strict=True)) + "}"
    inside = "".join(f"{value}, " for value in values)
    return f"[{inside}]" if kind is list else f"({inside})"
