"""Code for one pytree structure against the registry of pytrees."""

from __future__ import annotations

import random
from collections import OrderedDict, namedtuple
from typing import Any

import optree
import pytest

from tracejit.frontend.structure import MOST_LEAVES, maker, reader
from tracejit.tree_util import NAMESPACE, register_pytree_node_class

Point = namedtuple("Point", "x y")


@register_pytree_node_class
class Pair:
    def __init__(self, a: Any, b: Any) -> None:
        assert not isinstance(a, str)
        self.a, self.b = a, b

    def tree_flatten(self) -> Any:
        return (self.a, self.b), None

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> Pair:
        return cls(*children)


def structure(tree: Any) -> Any:
    return optree.tree_structure(tree, namespace=NAMESPACE)  # type: ignore[arg-type]


def random_tree(rng: random.Random, depth: int) -> Any:
    kind = rng.choice(("leaf", "list", "tuple", "dict", "none", "point")) if depth else "leaf"
    if kind == "leaf":
        return object()
    if kind == "none":
        return None
    children = [random_tree(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == "point":
        return Point(random_tree(rng, depth - 1), random_tree(rng, depth - 1))
    if kind == "dict":
        keys = rng.sample(["b", "a", "key of words", 3, 1, "'\"", (1, 2)], len(children))
        return dict(zip(keys, children, strict=True))
    return children if kind == "list" else tuple(children)


@pytest.mark.parametrize("seed", range(60))
def test_leaves_and_trees_are_those_of_the_registry(seed: int) -> None:
    rng = random.Random(seed)
    args = tuple(random_tree(rng, 4) for _ in range(rng.randrange(3)))
    kwargs = {name: random_tree(rng, 2) for name in rng.sample("zyx", rng.randrange(3))}
    leaves, treedef = optree.tree_flatten((args, kwargs), namespace=NAMESPACE)  # type: ignore[arg-type]
    read = reader(treedef)
    assert read is not None
    found = read(args, kwargs)
    assert found is not None
    assert len(found) == len(leaves)
    assert all(a is b for a, b in zip(found, leaves, strict=True))
    made = maker(treedef)(leaves)
    assert repr(made) == repr(optree.tree_unflatten(treedef, leaves))
    assert structure(made) == treedef


@pytest.mark.parametrize("seed", range(30))
def test_trees_of_another_structure_are_told_apart(seed: int) -> None:
    rng = random.Random(seed)
    trees = [((random_tree(rng, 3), random_tree(rng, 2)), {}) for _ in range(12)]
    for one in trees:
        read = reader(structure(one))
        assert read is not None
        for other in trees:
            found = read(*other)
            if structure(one) == structure(other):
                assert found == optree.tree_leaves(other, namespace=NAMESPACE)  # type: ignore[arg-type]
            elif found is not None:  # it saw a node where there was a leaf: whoever called looks
                assert any(not optree.tree_is_leaf(x, namespace=NAMESPACE) for x in found)  # type: ignore[arg-type]


def test_only_the_very_types_count() -> None:
    read = reader(structure((({"a": 1, "b": 2}, [3], (4, 5)), {})))
    assert read is not None
    assert read(({"b": 2, "a": 1}, [3], (4, 5)), {}) == [1, 2, 3, 4, 5]
    for args in (
        (OrderedDict(a=1, b=2), [3], (4, 5)),
        ({"a": 1, "c": 2}, [3], (4, 5)),
        ({"a": 1}, [3], (4, 5)),
        ({"a": 1, "b": 2}, (3,), (4, 5)),
        ({"a": 1, "b": 2}, [3], Point(4, 5)),
        ({"a": 1, "b": 2}, [3]),
        ({"a": 1, "b": 2}, [3], None),
    ):
        assert read(args, {}) is None
    assert read(({"b": 2, "a": 1}, [3], (4, 5)), {"more": 1}) is None


def test_nodes_of_the_user_s_own_go_through_the_registry() -> None:
    assert reader(structure(((Pair(1, 2),), {}))) is None
    assert reader(structure(((OrderedDict(a=1),), {}))) is None
    made = maker(structure([Pair(1, {"b": 2, "a": 3})]))([7, 8, 9])
    assert (made[0].a, made[0].b) == (7, {"b": 9, "a": 8})
    made = maker(structure([Point(1, 2)]))([7, 8])
    assert made == [Point(7, 8)] and type(made[0]) is Point


def test_a_constructor_that_refuses_stand_ins_is_no_problem() -> None:
    @register_pytree_node_class
    class Strict(Pair):
        def __init__(self, a: Any, b: Any) -> None:
            if not isinstance(a, int):
                raise ValueError("integers only")
            super().__init__(a, b)

    treedef = structure(((Strict(1, 2),), {}))
    assert reader(treedef) is None
    (args, _) = maker(treedef)([3, 4])
    assert args[0].a == 3


def test_large_trees_go_through_the_registry() -> None:
    tree = ((list(range(MOST_LEAVES + 1)),), {})
    assert reader(structure(tree)) is None
    assert maker(structure(tree))(list(range(MOST_LEAVES + 1))) == tree


def test_dicts_keep_the_order_of_their_keys() -> None:
    made = maker(structure({"b": 1, "a": {"d": 2, "c": 3}}))([1, 2, 3])
    assert list(made) == ["b", "a"] and list(made["a"]) == ["d", "c"]
    assert made == {"b": 3, "a": {"d": 2, "c": 1}}


def test_deep_trees_go_through_the_registry() -> None:
    import tracejit as tj

    f = tj.jit(lambda tree: tj.tree_util.tree_map(lambda x: x * 2, tree))
    for levels in (50, 59, 61, 199, 201, 450):
        tree: Any = 1.5
        for k in range(levels):
            tree = {"a": tree} if k % 3 == 0 else [tree] if k % 3 == 1 else (tree,)
        for _ in range(3):
            [leaf] = optree.tree_leaves(f(tree), namespace=NAMESPACE)  # type: ignore[arg-type]
            assert float(leaf) == 3.0
