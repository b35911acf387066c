"""Pytrees: containers, paths, structure errors, registered classes."""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracejit import tree, tree_util
from tracejit.errors import ArgumentError, TreeError
from tracejit.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, Partial, SequenceKey

Point = namedtuple("Point", "x y")


@tree_util.register_pytree_node_class
class Plain:
    """Registered without keys: one child, one piece of static data."""

    def __init__(self, child: Any, label: Any = None) -> None:
        self.child, self.label = child, label

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and vars(self) == vars(other)

    def tree_flatten(self) -> tuple[tuple[Any], Any]:
        return (self.child,), self.label

    @classmethod
    def tree_unflatten(cls, label: Any, children: Any) -> Plain:
        return cls(*children, label)


@tree_util.register_pytree_with_keys_class
class Keyed:
    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right

    def tree_flatten_with_keys(self) -> tuple[Any, None]:
        return ((GetAttrKey("left"), self.left), (GetAttrKey("right"), self.right)), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> Keyed:
        return cls(*children)


@tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    number: int


@tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    weight: Any
    bias: Any
    name: str = tree.static(default="dense")


TREES = st.recursive(
    st.integers() | st.none(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=3).map(OrderedDict),
        st.builds(Point, inner, inner),
        st.builds(Plain, inner, st.integers(0, 2)),
        st.builds(Layer, inner, inner),
    ),
    max_leaves=12,
)


@given(TREES)
def test_round_trip(value: Any) -> None:
    leaves, treedef = tree.flatten(value)
    assert tree.unflatten(treedef, leaves) == value
    assert tree.map(lambda x: x, value) == value
    assert [leaf for _, leaf in tree.leaves_with_path(value)] == leaves == tree.leaves(value)


@given(TREES, TREES)
def test_treedefs_compare_and_hash_by_structure(a: Any, b: Any) -> None:
    first, second = tree.structure(a), tree.structure(b)
    same = tree.structure(tree.map(lambda x: "other", a))
    assert first == same and hash(first) == hash(same)
    assert (first == second) == (tree_util.difference(first, second) is None)


def test_dict_keys_are_sorted_and_ordered_dicts_are_not() -> None:
    assert tree.leaves({"b": 1, "a": 2}) == [2, 1]
    assert tree.leaves(OrderedDict(b=1, a=2)) == [1, 2]
    assert tree.structure({"b": 1, "a": 2}) == tree.structure({"a": 1, "b": 2})
    assert tree.structure({"a": 1}) != tree.structure(OrderedDict(a=1))


def test_none_is_an_empty_tree() -> None:
    assert tree.leaves([None, 1, (None,)]) == [1]
    assert tree.leaves([None, 1], is_leaf=lambda x: x is None) == [None, 1]


def test_defaultdict_keeps_its_factory() -> None:
    doubled = tree.map(lambda x: 2 * x, defaultdict(list, a=1))
    assert doubled == {"a": 2} and doubled.default_factory is list


def test_paths_and_their_text() -> None:
    value = {"a": [1, Point(2, Plain(3))], "b": Keyed(4, Layer(5, 6))}
    paths = [path for path, _ in tree.leaves_with_path(value)]
    assert paths[0] == (DictKey("a"), SequenceKey(0))
    assert paths[2] == (DictKey("a"), SequenceKey(1), GetAttrKey("y"), FlattenedIndexKey(0))
    assert [tree_util.keystr(path) for path in paths] == [
        "['a'][0]",
        "['a'][1].x",
        "['a'][1].y[<flat index 0>]",
        "['b'].left",
        "['b'].right.weight",
        "['b'].right.bias",
    ]
    assert tree_util.keystr(paths[2], simple=True, separator="/") == "a/1/y/0"


def test_is_leaf_may_take_the_path() -> None:
    value = {"a": [1, 2], "b": [3, None]}
    stop = functools.partial(lambda path, node: path == (DictKey("a"),))
    pairs = tree.leaves_with_path(value, is_leaf=stop, is_leaf_takes_path=True)
    assert pairs == [((DictKey("a"),), [1, 2]), ((DictKey("b"), SequenceKey(0)), 3)]


def test_map_takes_the_first_tree_as_prefix_of_the_others() -> None:
    assert tree.map(lambda a, b: (a, b), [1, 2], [[3, 4], None]) == [(1, [3, 4]), (2, None)]


def test_map_with_path() -> None:
    joined = tree.map_with_path(
        lambda path, a, b: f"{tree_util.keystr(path)}={a + b}", {"x": 1}, {"x": 2}
    )
    assert joined == {"x": "['x']=3"}


def test_an_error_of_the_users_function_is_left_alone() -> None:
    def fails(*_: int) -> None:
        raise ValueError("the user's own")

    with pytest.raises(ValueError, match="^the user's own$"):
        tree.map(fails, [1], [2])


def test_reduce() -> None:
    assert tree.reduce(lambda a, b: f"({a}{b})", [1, (2, 3)]) == "((12)3)"
    assert tree.reduce(lambda a, b: a + b, [], 7) == 7
    assert tree.reduce_associative(lambda a, b: f"({a}{b})", list(range(5))) == "((01)(2(34)))"
    assert tree.reduce_associative(lambda a, b: a + b, None, identity=0) == 0
    for reducer in (tree.reduce, tree.reduce_associative):
        with pytest.raises(ArgumentError, match="without leaves"):
            reducer(lambda a, b: a + b, [])


def test_all_and_broadcast() -> None:
    assert tree.all({"a": True, "b": [1, None]}) and not tree.all([True, 0])
    assert tree.broadcast({"a": 1, "b": 2}, {"a": (0, 0), "b": 0}) == {"a": (1, 1), "b": 2}
    assert tree.broadcast(1, [None, 4]) == [None, 1]


def test_transpose() -> None:
    rows = [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": 5, "b": 6}]
    outer, inner = tree.structure([0] * 3), tree.structure({"a": 0, "b": 0})
    assert tree.transpose(outer, inner, rows) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert tree.transpose(outer, None, rows) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert tree.transpose(tree.structure([]), inner, []) == {"a": [], "b": []}


@pytest.mark.parametrize(
    ("first", "second", "where", "there"),
    [
        ([1, 2], (1, 2), "the root", ("list with 2 children", "tuple with 2 children")),
        ({"a": [1]}, {"a": [1, 2]}, "['a']", ("list with 1 child", "list with 2 children")),
        ({"a": {"x": 1}}, {"a": {"y": 1}}, "['a']", ("keys 'x'", "keys 'y'")),
        ((1, None), (1, 2), "[1]", ("None", "a leaf")),
        (Point(1, [2]), Point(1, 3), ".y", ("list with 1 child", "a leaf")),
        (Layer(1, (2,)), Layer(1, [2]), ".bias", ("tuple", "list")),
        ([Layer(1, 2)], [Layer(1, 2, "conv")], "[0]", ("dense", "conv")),
        ([Static(1)], [Static(2)], "[0]", ("number=1", "number=2")),
    ],
)
def test_a_mismatch_names_the_path(
    first: Any, second: Any, where: str, there: tuple[str, str]
) -> None:
    with pytest.raises(TreeError) as caught:
        tree.map(lambda a, b: a, first, second)
    assert caught.value.what == f"tree.map: the trees differ at {where}"
    assert caught.value.at is not None and caught.value.at.file == __file__
    for text, note in zip(there, caught.value.notes, strict=True):
        assert text in note
    with pytest.raises(TreeError, match="carry"):
        tree_util.check_same_structure("carry", tree.structure(first), tree.structure(second))


def test_the_message(golden: Any) -> None:
    with pytest.raises(TreeError) as caught:
        tree.map(lambda p, g: p - g, {"w": 1, "b": [2, 3]}, {"w": 1, "b": [2]})
    golden("\n".join(line for line in str(caught.value).splitlines() if "test_tree.py" not in line))


def test_a_wrong_number_of_leaves() -> None:
    with pytest.raises(TreeError, match="1 leaves for a structure of 2"):
        tree.unflatten(tree.structure([1, 2]), [1])


def test_treedefs_as_trees() -> None:
    whole = tree.structure((1, [2, 3]))
    first, second = tree_util.treedef_children(whole)
    assert tree_util.treedef_is_leaf(first) and not tree_util.treedef_is_leaf(second)
    assert tree_util.treedef_tuple([first, second]) == whole
    assert isinstance(whole, tree_util.PyTreeDef)
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_one_level() -> None:
    children, static = tree_util.flatten_one_level({"b": [1], "a": 2})
    assert list(children) == [2, [1]] and list(static) == ["a", "b"]
    pairs, label = tree_util.flatten_one_level_with_keys(Plain([1], "label"))
    assert list(pairs) == [(FlattenedIndexKey(0), [1])] and label == "label"
    with pytest.raises(TreeError, match="class int is a leaf"):
        tree_util.flatten_one_level(3)
    assert tree_util.default_registry.flatten_one_level(3) is None


def test_what_is_a_node() -> None:
    nodes = (list, dict, Point, type(None), Plain, Partial)
    assert all(map(tree_util.is_tree_node, nodes))
    assert not any(map(tree_util.is_tree_node, (int, str, object)))
    assert tree_util.all_leaves([1, "a"]) and not tree_util.all_leaves([1, [2]])


def test_dataclass_with_named_fields() -> None:
    class Bare:
        def __init__(self, x: int, unit: str) -> None:
            self.x, self.unit = x, unit

    tree_util.register_dataclass(Bare, data_fields=["x"], meta_fields=["unit"])
    moved = tree.map(lambda x: x + 1, Bare(1, "m"))
    assert (moved.x, moved.unit) == (2, "m")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"data_fields": ["x"]}, "both data_fields and meta_fields"),
        ({"data_fields": ["x"], "meta_fields": []}, "neither data, meta nor dropped: y"),
        ({"data_fields": ["x", "y", "z"], "meta_fields": []}, "not fields that __init__ takes: z"),
        ({"data_fields": ["x", "y"], "meta_fields": ["y"]}, "both data and meta: y"),
    ],
)
def test_dataclass_fields_are_checked(fields: dict[str, Any], why: str) -> None:
    @dataclasses.dataclass
    class Pair:
        x: int
        y: int = 0

    with pytest.raises(ArgumentError, match=why):
        tree_util.register_dataclass(Pair, **fields)
    tree_util.register_dataclass(Pair, ["x"], [], drop_fields=["y"])
    assert tree.map(lambda x: -x, Pair(1, 5)) == Pair(-1, 0)


def test_a_class_registers_once() -> None:
    with pytest.raises(ArgumentError, match="already registered"):
        tree_util.register_pytree_node_class(Plain)


def test_unhashable_static_data_is_found() -> None:
    tree_util.check_hashable_static(
        "jit", tree.structure([Plain(1, (2,)), {"a": None}, Point(1, 2)])
    )
    with pytest.raises(TreeError, match="static data of a Plain cannot be hashed"):
        tree_util.check_hashable_static("jit", tree.structure([Plain(1, [2])]))


def test_partial() -> None:
    add = Partial(lambda a, b, *, c: (a, b, c), 1, c=3)
    leaves, treedef = tree.flatten(add)
    assert leaves == [1, 3] and add(2) == (1, 2, 3)
    assert tree.unflatten(treedef, [10, 30])(2) == (10, 2, 30)
    assert hash(treedef) == hash(tree.structure(add))


def test_partial_of_a_partial() -> None:
    inner = functools.partial(max, 1)
    assert tree.leaves(Partial(inner, 2)) == [2]
    assert tree.structure(Partial(inner, 2)) == tree.structure(Partial(inner, 5))
    assert Partial(inner, 2)(0) == 2
    assert tree.leaves(Partial(Partial(max, 1), 2)) == [1, 2]
