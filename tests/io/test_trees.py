"""``io.save`` and ``io.load``: every dtype and structure comes back, bad files are named."""

from __future__ import annotations

import dataclasses
import io as python_io
import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import io, nn, optim, random
from tracejit.errors import (
    ArgumentError,
    DTypeError,
    FileError,
    MissingFileError,
    ShapeError,
    TracedValueError,
    TreeError,
)
from tracejit.ir.types import DTYPES

FORMATS = ("npz", "safetensors")


class Point(NamedTuple):
    x: Any
    y: Any


@tj.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    weight: Any
    bias: Any
    name: str = tj.tree.static(default="dense")


@tj.tree_util.register_pytree_node_class
class Pair:
    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b

    def tree_flatten(self) -> Any:
        return (self.a, self.b), None

    @classmethod
    def tree_unflatten(cls, static: None, children: Any) -> Pair:
        return cls(*children)


def filled(dtype: np.dtype, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Any bits of a dtype, nan and inf included."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    raw = raw % 2 if dtype == np.bool_ else raw
    return raw.astype(np.uint8).view(dtype).reshape(shape)


def bits(x: Any) -> tuple[Any, ...]:
    x = np.asarray(x)
    return x.dtype, x.shape, x.tobytes()


def same(a: Any, b: Any) -> bool:
    (x, one), (y, other) = tj.tree.flatten(a), tj.tree.flatten(b)
    return one == other and [*map(bits, x)] == [*map(bits, y)]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (5, 3)], ids=str)
def test_every_dtype_comes_back_in_every_bit(
    tmp_path: Path, format: str, shape: tuple[int, ...]
) -> None:
    path = tmp_path / f"tree.{format}"
    tree = {name: jnp.asarray(filled(dtype, shape)) for name, dtype in DTYPES.items()}
    io.save(path, tree)
    assert same(io.load(path), tree)
    assert same(io.load(path, like=tree), tree)
    contents = io.describe(path).arrays
    assert {k: (v.shape, v.dtype) for k, v in contents.items()} == {
        k: (shape, dtype) for k, dtype in DTYPES.items()
    }
    if format == "safetensors":
        assert same(io.load(path, mmap=True), tree)


LEAVES = st.builds(
    lambda dtype, shape, seed: jnp.asarray(filled(DTYPES[dtype], tuple(shape), seed)),
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 99),
)
TREES = st.recursive(
    LEAVES | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(st.integers(-2, 2), inner, max_size=3)
    ),
    max_leaves=8,
)


@hypothesis.given(TREES, st.sampled_from(FORMATS))
def test_trees_come_back(tree: Any, format: str) -> None:
    file = python_io.BytesIO()
    io.save(file, tree, format=format)
    assert same(io.load(file), tree)
    assert same(io.load(file, like=tree), tree)


@pytest.mark.parametrize("format", FORMATS)
def test_classes_come_back_by_like(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"tree.{format}"
    tree = {
        "layer": Layer(jnp.ones((2, 3)), jnp.zeros(3), name="first"),
        "point": Point(jnp.arange(3), (jnp.float32(1), None)),
        "pair": Pair(jnp.ones(1), OrderedDict(b=jnp.ones(2), a=jnp.ones(3))),
        "keys": random.split(random.key(3), 4),
    }
    io.save(path, tree)
    back = io.load(path, like=tj.tree.map(jnp.zeros_like, tree))
    assert same(back, tree)
    assert back["layer"].name == "first" and isinstance(back["point"], Point)
    # shapes and dtypes suffice
    assert same(io.load(path, like=tj.eval_shape(lambda: tree)), tree)
    plain = io.load(path)
    assert set(plain["layer"]) == {"weight", "bias"} and set(plain["point"]) == {"x", "y"}
    assert plain["point"]["y"][1] is None
    assert bool((plain["keys"] == tree["keys"]).all())
    names = io.describe(path).arrays
    assert {"layer.weight", "point.x", "point.y.0", "keys.words"} <= set(names)


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_goes_on_where_it_was_saved(tmp_path: Path, format: str) -> None:
    def loss(params: Any) -> Any:
        return jnp.sum(nn.linear(params, jnp.ones((2, 3))) ** 2)

    optimizer = optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.adamw(optim.cosine_decay_schedule(0.1, 10), mu_dtype="bfloat16"),
    )

    @tj.jit
    def step(params: Any, state: Any) -> Any:
        updates, state = optimizer.update(tj.grad(loss)(params), state, params)
        return optim.apply_updates(params, updates), state

    def run(state: Any, count: int) -> Any:
        for _ in range(count):
            state = step(*state)
        return state

    params = nn.linear_init(random.key(0), 3, 4)
    fresh = (params, optimizer.init(params))
    middle = run(fresh, 3)
    path = tmp_path / f"run.{format}"
    io.save(path, middle)
    back = io.load(path, like=fresh)
    assert same(back, middle)
    assert same(run(back, 2), run(middle, 2))


def test_many_optimisers_states_come_back() -> None:
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    makers = ("sgd", "adam", "adagrad", "rmsprop", "lion", "lamb", "novograd", "adafactor", "rprop")
    for maker in (getattr(optim, name) for name in makers if hasattr(optim, name)):
        optimizer = optim.MultiSteps(maker(0.1), 2)
        state = optimizer.init(params)
        _, state = optimizer.update(params, state, params)
        file = python_io.BytesIO()
        io.save(file, state, format="safetensors")
        assert same(io.load(file, like=state), state), maker


def test_python_numbers_come_back_as_such() -> None:
    file, tree = python_io.BytesIO(), {"i": 2**40, "f": 0.1, "b": True, "c": 1j, "n": np.int8(3)}
    io.save(file, tree, format="npz")
    back = io.load(file, like=tree)
    assert {k: v for k, v in back.items() if k != "n"} == {
        k: v for k, v in tree.items() if k != "n"
    }
    assert type(back["b"]) is bool and type(back["i"]) is int and back["n"].dtype == np.int8


def test_names_that_would_be_equal_are_told_apart() -> None:
    one, two = jnp.zeros(1), jnp.ones(2)
    for tree in ({"a.b": one, "a": {"b": two}}, {"a": {0: one, "0.0": two}, "a.0": [one]}):
        for format in FORMATS:
            file = python_io.BytesIO()
            io.save(file, tree, format=format)
            assert same(io.load(file), tree)
            assert same(io.load(file, like=tree), tree)
    io.save(file, {"__metadata__": one, "__tracejit__": two, "file": one}, format="npz")
    assert set(io.load(file)) == {"__metadata__", "__tracejit__", "file"}


@pytest.mark.parametrize("format", FORMATS)
def test_single_leaf_and_trees_without_leaves(format: str) -> None:
    for tree in (jnp.arange(3), {}, [], None, {"a": (), "b": None}):
        file = python_io.BytesIO()
        io.save(file, tree, format=format)
        assert same(io.load(file), tree)


@pytest.mark.parametrize("format", FORMATS)
def test_metadata(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"m.{format}"
    io.save(path, [jnp.ones(2)], metadata={"épo": "3 ☃", "x": ""})
    assert io.describe(path).metadata == {"épo": "3 ☃", "x": ""}
    with pytest.raises(ArgumentError, match="texts by name"):
        io.save(path, [], metadata={"epoch": 3})  # type: ignore[dict-item]
    with pytest.raises(ArgumentError, match="is taken"):
        io.save(path, [], metadata={"tracejit": ""})


# ---- other programs' files ----


def test_safetensors_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = {
        name: filled(dtype, (3, 2))
        for name, dtype in DTYPES.items()
        if name not in ("bf16", "c128")
    }
    path = tmp_path / "ours.safetensors"
    io.save(path, arrays)
    found = library.load_file(path)
    assert {k: bits(v) for k, v in found.items()} == {k: bits(v) for k, v in arrays.items()}
    library.save_file(arrays, tmp_path / "its.safetensors", {"who": "else"})
    assert same(io.load(tmp_path / "its.safetensors"), arrays)
    assert same(io.load(tmp_path / "its.safetensors", mmap=True), arrays)
    assert io.describe(tmp_path / "its.safetensors").metadata == {"who": "else"}


def test_state_dicts_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    state = {**net.state_dict(), "half": torch.ones(3, dtype=torch.bfloat16)}
    path = tmp_path / "torch.safetensors"
    library.save_file(state, path)
    flat = io.load(path)
    assert sorted(flat) == sorted(state) and flat["half"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(flat["0.weight"], state["0.weight"].numpy())
    shapes = {
        0: {"weight": jnp.zeros((3, 2)), "bias": jnp.zeros(3)},
        2: {"weight": jnp.zeros((1, 3)), "bias": jnp.zeros(1)},
        "half": jnp.zeros(3, jnp.bfloat16),
    }
    tree = io.load(path, like=shapes)
    np.testing.assert_array_equal(tree[2]["bias"], state["2.bias"].numpy())
    io.save(path, tree)
    again = library.load_file(path)
    assert all(torch.equal(again[name], state[name]) for name in state)
    io.save(path, net.state_dict())  # tensors are leaves too
    assert same(io.load(path)["0.weight"], tree[0]["weight"])


def test_npz_of_numpy_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, w=np.arange(6.0).reshape(2, 3).T, b=np.array(2, ">i4"))
    found = io.load(path)
    np.testing.assert_array_equal(found["w"], np.arange(6.0).reshape(2, 3).T)
    assert found["b"].dtype == np.int32 and int(found["b"]) == 2
    for compressed in (False, True):
        io.save(path, {"x": {"y": jnp.ones(1000)}}, compressed=compressed)
        with np.load(path, allow_pickle=False) as archive:
            np.testing.assert_array_equal(archive["x.y"], np.ones(1000))
    assert path.stat().st_size < 2000


def test_mapped_arrays_do_not_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    io.save(path, {"w": jnp.arange(8.0), "e": jnp.zeros(0)})
    before = path.read_bytes()
    tree = io.load(path, mmap=True)
    double = tj.jit(lambda w: w * 2, donate_argnums=0)
    np.testing.assert_array_equal(double(tree["w"]), np.arange(8.0) * 2)
    assert path.read_bytes() == before
    # a file with an odd header: its arrays are copied to where the processor wants them
    text = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    text += b" " * ((7 - len(text)) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + np.float32([1, 2]).tobytes())
    np.testing.assert_array_equal(io.load(path, mmap=True)["w"], [1, 2])


# ---- errors ----


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    io.save(path, {"layers": [{"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}]})
    return path


def test_missing_and_extra_leaves_are_named(saved: Path) -> None:
    like = {"layers": [{"w": jnp.ones((2, 3)), "scale": jnp.zeros(3)}]}
    with pytest.raises(TreeError) as caught:
        io.load(saved, like=like)
    assert "missing in the file: layers.0.scale" in str(caught.value)
    assert "only in the file: layers.0.b" in str(caught.value)
    assert "test_trees.py" in str(caught.value) and "io.load(saved, like=like)" in str(caught.value)
    with pytest.raises(TreeError, match="and 14 more"):
        io.load(saved, like=[jnp.ones(1)] * 20)


def test_wrong_shapes_and_dtypes_are_named(saved: Path) -> None:
    good = io.load(saved)["layers"][0]
    with pytest.raises(ShapeError, match=r"layers.0.w has shape \(2, 3\) .* \(3, 2\) in `like`"):
        io.load(saved, like={"layers": [{**good, "w": jnp.ones((3, 2))}]})
    with pytest.raises(DTypeError, match="layers.0.b has dtype float32 in the file, int32"):
        io.load(saved, like={"layers": [{**good, "b": jnp.zeros(3, jnp.int32)}]})
    with pytest.raises(ShapeError, match="layers.0.b is an array of shape"):
        io.load(saved, like={"layers": [{**good, "b": 1.0}]})


def test_leaves_that_are_no_arrays_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    wrong = {"name": "net", "f": print, "o": object(), "s": np.array(["a"]), "big": 2**70}
    for name, leaf in wrong.items():
        with pytest.raises((ArgumentError, DTypeError), match=f"a.{name}\\b"):
            io.save(path, {"a": {name: leaf}})
    with pytest.raises(TracedValueError, match="io.save"):
        tj.jit(lambda x: io.save(path, {"x": x}))(1.0)
    assert not list(tmp_path.iterdir())


def test_an_older_file_survives_an_error(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        io.save(saved, {"w": jnp.ones(1000)})
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]


def test_links_and_permissions_stay(saved: Path) -> None:
    link = saved.with_name("latest.safetensors")
    link.symlink_to(saved)
    saved.chmod(0o640)
    io.save(link, {"w": jnp.ones(2)})
    assert link.is_symlink() and set(io.load(saved)) == {"w"}
    assert saved.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_files(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"a.{format}"
    io.save(path, {"w": jnp.arange(100.0), "b": jnp.ones(3)})
    whole = path.read_bytes()
    for size in (0, 3, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FileError, match=f"a.{format}"):
            io.load(path)


@pytest.mark.parametrize("format", FORMATS)
def test_any_damage_is_an_error_or_harmless(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"a.{format}"
    io.save(path, {"w": jnp.arange(4.0), "k": random.key(0)})
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(300):
        raw = bytearray(whole)
        for place in generator.integers(0, len(raw), 2):
            raw[place] = generator.integers(0, 256)
        path.write_bytes(raw)
        try:
            io.load(path)
        except (FileError, DTypeError):
            pass


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([{"run": "code"}], object))
    with pytest.raises(FileError, match="cannot read .*a.npz"):
        io.load(path)
    np.savez(path, a=np.array(["text"]))
    with pytest.raises(FileError, match="'a' of .* has dtype <U4"):
        io.load(path)
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\x89PNG" * 10)
    with pytest.raises(FileError, match="truncated, or no safetensors"):
        io.load(path)


def header(path: Path, entries: Any, data: bytes = b"") -> Path:
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_headers_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"

    def one(**entry: Any) -> Any:
        return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}}

    assert set(io.load(header(path, one(), bytes(8)))) == {"w"}
    lies = [
        one(shape=[3]),
        one(shape=[-2]),
        one(shape=[2.0]),
        one(data_offsets=[0, 80]),
        one(data_offsets=[8, 0]),
        one(data_offsets=[0]),
        one(dtype=3),
        {"w": {"dtype": "F32"}},
        {"w": [1]},
        [1],
        {**one(), "v": one()["w"]},
        {**one(), "__metadata__": {"a": 1}},
    ]
    for lie in lies:
        with pytest.raises(FileError):
            io.load(header(path, lie, bytes(8)))
    with pytest.raises(FileError, match="more than its header says"):
        io.load(header(path, one(), bytes(9)))
    with pytest.raises(DTypeError, match="'w' of .* has dtype F8_E4M3"):
        io.load(header(path, one(dtype="F8_E4M3", shape=[8]), bytes(8)))
    broken = {**one(), "__metadata__": {"tracejit": json.dumps({"tree": ["list", ["x"]]})}}
    with pytest.raises(FileError, match="structure is broken"):
        io.load(header(path, broken, bytes(8)))


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no file .*none.npz"):
        io.load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        io.save(tmp_path / "none" / "a.npz", {})
    with pytest.raises(ArgumentError, match="does not end in .npz or .safetensors"):
        io.save(tmp_path / "a.pickle", {})
    with pytest.raises(ArgumentError, match='format is "npz" or "safetensors"'):
        io.save(tmp_path / "a", {}, format="zip")
    with pytest.raises(ArgumentError, match="a path or a binary file object"):
        io.load(3)
    (tmp_path / "folder.npz").mkdir()
    for call in (lambda p: io.load(p), lambda p: io.save(p, {})):
        with pytest.raises(FileError, match="is a folder"):
            call(tmp_path / "folder.npz")
    with pytest.raises(ArgumentError, match="not mapped"):
        io.load(python_io.BytesIO(), mmap=True)
    with pytest.raises(ArgumentError, match="not compressed"):
        io.save(tmp_path / "a.safetensors", {}, compressed=True)
    # no suffix that says it: the first bytes do
    for format in FORMATS:
        io.save(tmp_path / "plain", {"w": jnp.ones(2)}, format=format)
        assert set(io.load(tmp_path / "plain")) == {"w"}
