"""Batches, padding and windows against plain NumPy, their order by keys, errors."""

from __future__ import annotations

from typing import Any

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import io, random
from tracejit.errors import ArgumentError, DTypeError, ShapeError, TreeError


@hypothesis.given(st.integers(0, 20), st.integers(1, 8), st.booleans(), st.booleans())
def test_batches_hold_every_row_once(
    count: int, size: int, shuffled: bool, drop_last: bool
) -> None:
    data = {"x": np.arange(2.0 * count).reshape(count, 2), "y": (np.arange(count),)}
    key = random.key(count) if shuffled else None
    made = io.batches(data, size, key=key, drop_last=drop_last)
    found = list(made)
    assert len(found) == len(made) == (count // size if drop_last else -(-count // size))
    rows = [row for batch in found for row in batch["y"][0].tolist()]
    assert len(set(rows)) == len(rows) == (count // size * size if drop_last else count)
    if not shuffled:
        assert rows == list(range(len(rows)))
    for batch in found:
        np.testing.assert_array_equal(batch["x"][:, 0], 2 * np.asarray(batch["y"][0]))
    again = io.batches(data, size, key=key, drop_last=drop_last)
    assert [b["y"][0].tolist() for b in again] == [b["y"][0].tolist() for b in found]
    # iterated again it starts again
    assert [b["y"][0].tolist() for b in made] == [b["y"][0].tolist() for b in found]


def test_keys_shuffle_differently_and_keys_are_rows_too() -> None:
    x = np.arange(50)
    orders = {tuple(next(io.batches(x, 50, key=random.key(n))).tolist()) for n in range(4)}
    assert len(orders) == 4
    keys = random.split(random.key(0), 5)
    found = list(io.batches((keys, np.arange(5)), 2, key=random.key(1)))
    for some, numbers in found:
        assert bool((some == keys[numbers]).all())


def test_errors_of_batches() -> None:
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        ({"a": np.zeros(3), "b": np.zeros(4)}, 2, ShapeError, r"number of rows(.|\n)*\['b'\]: 4"),
        (np.zeros(()), 2, ShapeError, "no rows"),
        ({}, 2, ArgumentError, "no arrays"),
        (np.zeros(3), 0, ArgumentError, "size is at least 1"),
        (np.zeros(3), 1.5, ArgumentError, "size is an integer"),
    ]
    for data, size, kind, message in wrong:
        with pytest.raises(kind, match=message) as caught:
            io.batches(data, size)
        assert "test_batching.py" in str(caught.value)


@hypothesis.given(
    st.lists(
        hnp.arrays(np.int16, st.tuples(st.integers(0, 5), st.just(2))), min_size=1, max_size=5
    ),
    st.integers(0, 6) | st.none(),
    st.sampled_from(["left", "right"]),
)
def test_padding(rows: list[np.ndarray], length: int | None, side: str) -> None:
    values, lengths, mask = io.pad_sequences(rows, length, value=-7, side=side)
    size = max(map(len, rows)) if length is None else length
    assert values.shape == (len(rows), size, 2) and values.dtype == np.int16
    assert mask.dtype == bool and lengths.dtype == np.int32
    for row, value, count, real in zip(
        rows, *map(np.asarray, (values, lengths, mask)), strict=True
    ):
        kept = row[:size]
        assert count == len(kept) == real.sum()
        np.testing.assert_array_equal(value[real], kept)
        assert (value[~real] == -7).all()


def test_padding_of_lists() -> None:
    assert io.pad_sequences([[1.5], [], [1, 2]]).values.tolist() == [[1.5, 0], [0, 0], [1, 2]]
    assert io.pad_sequences([[1], []]).values.dtype == np.int64
    assert io.pad_sequences([[1], [2.5]], dtype="bfloat16").values.dtype == jnp.bfloat16
    wrong: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        ([], {}, ArgumentError, "no sequences"),
        ([1, 2], {}, ShapeError, "sequence 0 has shape"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], {}, ShapeError, "only the first axis"),
        (["text"], {}, ArgumentError, "not text"),
        ([[1]], {"side": "top"}, ArgumentError, "side is"),
        ([[1]], {"dtype": "none such"}, DTypeError, "no dtype"),
    ]
    for rows, options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            io.pad_sequences(rows, **options)


def test_collate() -> None:
    examples = [{"x": np.arange(n + 1), "y": (n, [float(n)] * n), "z": np.eye(2)} for n in range(3)]
    made = io.collate(examples, pad_value=-1)
    assert made["x"].tolist() == [[0, -1, -1], [0, 1, -1], [0, 1, 2]]
    assert made["y"][0].tolist() == [0, 1, 2] and made["z"].shape == (3, 2, 2)
    assert made["y"][1].tolist() == [[-1, -1], [1, -1], [2, 2]]
    with pytest.raises(ShapeError, match=r"differ in the shape of \['x'\]"):
        io.collate(examples)
    with pytest.raises(TreeError, match="differ at"):
        io.collate([{"a": 1}, {"b": 1}])
    with pytest.raises(ArgumentError, match="no examples"):
        io.collate([])


@hypothesis.given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 7))
def test_windows(count: int, length: int, step: int) -> None:
    stream = np.arange(count) * 3
    if length > count:
        with pytest.raises(ShapeError, match="no window"):
            io.windows(stream, length, step)
        return
    expected = np.lib.stride_tricks.sliding_window_view(stream, length)[::step]
    np.testing.assert_array_equal(io.windows(stream, length, step), expected)


def test_windows_inside_programs() -> None:
    stream = jnp.arange(100)

    @tj.jit
    def step(key: Any, stream: Any) -> Any:
        return io.random_windows(key, stream, 16, 9), io.windows(stream, 10).sum()

    found, total = step(random.key(0), stream)
    np.testing.assert_array_equal(found, io.random_windows(random.key(0), stream, 16, 9))
    np.testing.assert_array_equal(np.diff(found, axis=1), 1)
    assert found.shape == (16, 9) and int(total) == 4950
    starts = np.asarray(io.random_windows(random.key(1), np.arange(5), 200, 4))[:, 0]
    assert set(starts.tolist()) == {0, 1}
    assert not np.array_equal(found, io.random_windows(random.key(1), stream, 16, 9))
    with pytest.raises(ShapeError, match="no window of 101"):
        io.random_windows(random.key(0), stream, 1, 101)


@hypothesis.given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_streams_go_on_where_they_ended(count: int, size: int, length: int, targets: bool) -> None:
    stream = np.arange(count)
    if count < size * length + targets:
        with pytest.raises(ShapeError, match="too short"):
            io.stream_batches(stream, size, length, targets=targets)
        return
    made = io.stream_batches(stream, size, length, targets=targets)
    found = list(made)
    assert len(found) == len(made) >= 1
    inputs = [batch[0] if targets else batch for batch in found]
    tracks = np.concatenate([np.asarray(x) for x in inputs], 1)
    np.testing.assert_array_equal(np.diff(tracks, axis=1), 1)
    assert tracks.shape == (size, length * len(found))
    if targets:
        for now, later in found:
            np.testing.assert_array_equal(np.asarray(now) + 1, later)


def test_streams_have_no_other_length() -> None:
    with pytest.raises(ArgumentError, match="length is at least 1"):
        io.stream_batches(np.arange(9), 2, 0)
