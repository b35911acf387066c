"""Arrays in portions: shuffled batches, padded sequences, windows of streams of tokens.

>>> data = {"x": np.arange(10.0), "y": np.arange(10)}
>>> [batch["y"].tolist() for batch in batches(data, 4)]
[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tracejit import numpy as jnp
from tracejit import random, tree_util
from tracejit.errors import ArgumentError, ShapeError
from tracejit.frontend.array import Array, as_array, from_numpy
from tracejit.io.files import Stream, array_like, dtype_of, held, whole
from tracejit.random import PRNGKeyArray
from tracejit.source import here
from tracejit.tree_util import keystr


class Padded(NamedTuple):
    """Sequences of different lengths in one array.

    ``values`` (N, L, ...), ``lengths`` (N,) int32, ``mask`` (N, L) bool: true where a value is.
    """

    values: Array
    lengths: Array
    mask: Array


def batches(arrays: Any, size: int, *, key: Any = None, drop_last: bool = False) -> Stream:
    """The rows of a tree of arrays in batches of ``size``, as trees of the same structure.

    ``arrays``: a tree of arrays with one number of rows, their first axis. ``key``: a random key,
    by which rows are shuffled: the same order for the same key; None keeps the order. The last
    batch may be shorter; with ``drop_last`` it is left out. Returns an iterator with a length;
    a loop over one that has ended starts it again. For epochs: ``random.fold_in(key, epoch)``.

    Raises ShapeError for arrays without rows or with different numbers of them, ArgumentError.

    >>> shuffled = batches(np.arange(6), 4, key=random.key(0), drop_last=True)
    >>> len(shuffled), next(shuffled).shape
    (1, (4,))
    """
    what = "io.batches"
    step = whole(what, "size", size, 1)
    is_key = lambda x: isinstance(x, PRNGKeyArray)  # noqa: E731
    pairs, treedef = tree_util.tree_flatten_with_path(arrays, is_key)
    rows = {keystr(path): _row_count(what, keystr(path), leaf) for path, leaf in pairs}
    if not rows:
        raise ArgumentError(f"{what}: no arrays", at=here())
    first, count = next(iter(rows.items()))
    for name, other in rows.items():
        if other != count:
            raise ShapeError(
                f"{what}: arrays differ in their number of rows",
                at=here(),
                notes=(f"{first or 'array'}: {count}", f"{name}: {other}"),
            )
    # rows are taken by NumPy: a batch is a copy anyway
    leaves = [leaf if is_key(leaf) else held(what, leaf) for _, leaf in pairs]
    order = None if key is None else held(what, random.permutation(key, count))
    total = count // step if drop_last else -(-count // step)

    def items() -> Iterator[Any]:
        for number in range(total):
            start = number * step
            stop = min(start + step, count)
            rows = slice(start, stop) if order is None else order[start:stop]
            yield treedef.unflatten(
                [leaf[rows] if is_key(leaf) else from_numpy(leaf[rows]) for leaf in leaves]
            )

    return Stream(items, total)


def _row_count(what: str, name: str, leaf: Any) -> int:
    shape = leaf.shape if isinstance(leaf, PRNGKeyArray) else array_like(what, leaf).shape
    if not shape:
        raise ShapeError(f"{what}: {name or 'an array'} has no rows: it has no axes", at=here())
    return int(shape[0])


def pad_sequences(
    sequences: Iterable[Any],
    length: int | None = None,
    value: Any = 0,
    dtype: Any = None,
    *,
    side: str = "right",
) -> Padded:
    """Sequences (L1, ...), (L2, ...), ... as (values (N, L, ...), lengths (N,), mask (N, L)).

    ``length``: L, to which longer sequences are cut at their end; by default that of the longest.
    ``value``: what fills the rest, at the "right" or "left" ``side``. ``dtype``: by default the
    common one of the sequences. Raises ShapeError for sequences without an axis or with different
    further axes, ArgumentError for no sequences and an unknown side, DTypeError.

    >>> pad_sequences([[1, 2, 3], [4]], value=-1).values
    Array([[ 1,  2,  3], [ 4, -1, -1]])
    """
    what = "io.pad_sequences"
    if side not in ("right", "left"):
        raise ArgumentError(f'{what}: side is "right" or "left", not {side!r}', at=here())
    rows = [_sequence(what, sequence) for sequence in sequences]
    if not rows:
        raise ArgumentError(f"{what}: no sequences", at=here())
    for number, row in enumerate(rows):
        if row.ndim == 0 or row.shape[1:] != rows[0].shape[1:]:
            raise ShapeError(
                f"{what}: sequence {number} has shape {row.shape}, the first {rows[0].shape}",
                at=here(),
                notes=("only the first axis may differ",),
            )
    size = max(map(len, rows)) if length is None else whole(what, "length", length, 0)
    wanted = _common(rows) if dtype is None else dtype_of(what, dtype)
    rows = [row[:size] for row in rows]
    values = np.full((len(rows), size, *rows[0].shape[1:]), value, wanted)
    for target, row in zip(values, rows, strict=True):
        target[slice(0, len(row)) if side == "right" else slice(size - len(row), size)] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    places = np.arange(size) if side == "right" else np.arange(size)[::-1]
    return Padded(from_numpy(values), from_numpy(lengths), from_numpy(places < lengths[:, None]))


def _sequence(what: str, sequence: Any) -> np.ndarray:
    if isinstance(sequence, str):
        raise ArgumentError(
            f"{what}: sequences are numbers, not text", at=here(), hint="io.encode_bytes(text)"
        )
    return held(what, sequence)


def _common(rows: list[np.ndarray]) -> np.dtype:
    # an empty list has the dtype of floats, which says nothing
    known = [row.dtype for row in rows if row.size] or [row.dtype for row in rows]
    return jnp.result_type(*known)


def collate(examples: Iterable[Any], pad_value: Any = None) -> Any:
    """Trees of one structure as one tree of arrays with a new first axis, one row an example.

    ``pad_value``: leaves that differ in their first axis are padded with it to the longest; None
    is a ShapeError for them, which names the leaf. Raises ArgumentError for no examples, TreeError
    for different structures.

    >>> examples = [{"x": [1.0, 2.0], "y": 0}, {"x": [3.0, 4.0], "y": 1}]
    >>> [np.shape(leaf) for leaf in tj.tree.leaves(collate(examples))]
    [(2, 2), (2,)]
    """
    what = "io.collate"
    listed = list(examples)
    if not listed:
        raise ArgumentError(f"{what}: no examples", at=here())
    number_list = lambda x: isinstance(x, list)  # noqa: E731
    first, treedef = tree_util.tree_flatten_with_path(listed[0], number_list)
    columns: list[list[np.ndarray]] = [[] for _ in first]
    for example in listed:
        leaves, other = tree_util.tree_flatten(example, number_list)
        tree_util.check_same_structure(what, treedef, other, ("first", "other"))
        for column, leaf in zip(columns, leaves, strict=True):
            column.append(held(what, leaf))
    return treedef.unflatten(
        _stacked(what, keystr(path), column, pad_value)
        for (path, _), column in zip(first, columns, strict=True)
    )


def _stacked(what: str, name: str, column: list[np.ndarray], pad_value: Any) -> Array:
    shapes = {leaf.shape for leaf in column}
    if len(shapes) == 1:
        return from_numpy(np.stack(column).astype(jnp.result_type(*{x.dtype for x in column})))
    if pad_value is None or len({shape[1:] for shape in shapes}) > 1 or () in shapes:
        listed = ", ".join(map(str, sorted(shapes, key=str)[:4]))
        raise ShapeError(
            f"{what}: examples differ in the shape of {name or 'the array'}: {listed}",
            at=here(),
            hint="pad_value=0 pads the first axis" if pad_value is None else "",
        )
    return pad_sequences(column, value=pad_value).values


# ---- streams of tokens ----


def windows(tokens: Any, length: int, step: int | None = None) -> Array:
    """Windows (N, length, ...) of a stream (T, ...), the next ``step`` further on (by default
    ``length``: without overlap); what is left at the end is dropped. Works under jit.

    Raises ShapeError for a stream that is shorter than a window.

    >>> windows(np.arange(7), 3, step=2)
    Array([[0, 1, 2], [2, 3, 4], [4, 5, 6]])
    """
    what = "io.windows"
    stream, size = _stream(what, tokens, length)
    stride = size if step is None else whole(what, "step", step, 1)
    starts = np.arange(0, stream.shape[0] - size + 1, stride)
    return stream[starts[:, None] + np.arange(size)]


def random_windows(key: Any, tokens: Any, count: int, length: int) -> Array:
    """``count`` windows (count, length, ...) of a stream (T, ...) at random places, with
    repetition, by a random key. Works under jit. Raises as ``windows``.

    For a language model: windows of ``length + 1``, of which ``[:, :-1]`` are the inputs and
    ``[:, 1:]`` the targets.

    >>> random_windows(random.key(0), np.arange(100), 4, 9).shape
    (4, 9)
    """
    what = "io.random_windows"
    stream, size = _stream(what, tokens, length)
    number = whole(what, "count", count, 0)
    last = stream.shape[0] - size + 1
    starts = random.randint(key, (number,), 0, last)
    return stream[starts[:, None] + np.arange(size, dtype=np.int32)]


def stream_batches(tokens: Any, size: int, length: int, *, targets: bool = True) -> Stream:
    """A stream (T,) for a recurrent language model: batches that go on where the last ended.

    The stream is cut into ``size`` tracks of equal length; each batch is the next ``length`` tokens
    of all tracks, (size, length). With ``targets`` it is a pair of inputs and of targets, the same
    one token later. Tokens that do not fill the last batch are dropped. Returns an iterator with a
    length, as ``batches``. Raises ShapeError for a stream too short for one batch.

    >>> inputs, targets = next(stream_batches(np.arange(13), size=2, length=3))
    >>> inputs.tolist(), targets.tolist()
    ([[0, 1, 2], [6, 7, 8]], [[1, 2, 3], [7, 8, 9]])
    """
    what = "io.stream_batches"
    stream = held(what, tokens)
    rows, columns = whole(what, "size", size, 1), whole(what, "length", length, 1)
    ahead = int(bool(targets))
    if stream.ndim == 0 or stream.shape[0] < rows * columns + ahead:
        raise ShapeError(
            f"{what}: a stream of shape {stream.shape} is too short for one batch, "
            f"{rows} x {columns}{' and one token' * ahead}",
            at=here(),
        )
    track = (stream.shape[0] - ahead) // rows
    total = track // columns
    inputs = stream[: rows * track].reshape(rows, track, *stream.shape[1:])
    later = stream[ahead : rows * track + ahead].reshape(inputs.shape)

    def items() -> Iterator[Any]:
        for number in range(total):
            now = slice(number * columns, (number + 1) * columns)
            pair = tuple(from_numpy(np.ascontiguousarray(x[:, now])) for x in (inputs, later))
            yield pair if targets else pair[0]

    return Stream(items, total)


def _stream(what: str, tokens: Any, length: int) -> tuple[Array, int]:
    stream = as_array(tokens) if hasattr(tokens, "shape") else array_like(what, tokens)
    size = whole(what, "length", length, 1)
    if stream.ndim == 0 or stream.shape[0] < size:
        raise ShapeError(
            f"{what}: a stream of shape {stream.shape} has no window of {size}", at=here()
        )
    return stream, size
