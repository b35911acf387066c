"""Trees of arrays to files and back: parameters, optimiser states, random keys.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> save(path, {"layers": [{"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}]})
    >>> describe(path).arrays["layers.0.w"]
    ShapeDtypeStruct(shape=(2, 3), dtype=float32)
    >>> load(path)["layers"][0]["b"]
    Array([0., 0., 0.], dtype=float32)

A leaf's name in the file is its path with dots, as in PyTorch's state dicts. The file also says
what the containers were, so that ``load(path)`` gives dicts, lists and tuples again; ``like=``
gives any registered class. No pickle: loading a file runs no code of it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tracejit import tree_util
from tracejit.errors import ArgumentError, DTypeError, FileError, ShapeError, TreeError
from tracejit.frontend.array import Array, as_array, from_numpy
from tracejit.frontend.shapes import ShapeDtypeStruct
from tracejit.io import npz, safetensors
from tracejit.io.files import is_path, reading, suffix, title, unreadable, writing
from tracejit.random import PRNGKeyArray
from tracejit.source import here
from tracejit.tree_util import keystr

_FORMATS = {".npz": "npz", ".safetensors": "safetensors"}
#: the entry of safetensors' metadata that holds the structure
_NOTE = "tracejit"
#: a name that is taken by the formats
_TAKEN = {npz.RESERVED, "__metadata__"}
_DICTS = ("dict", "OrderedDict", "defaultdict")
_PYTHON = (bool, int, float, complex)
#: lines of an error that lists leaves
_LINES = 6


class Contents(NamedTuple):
    """What a file holds: ``arrays`` by name, as ShapeDtypeStructs, and ``metadata``."""

    arrays: dict[str, ShapeDtypeStruct]
    metadata: dict[str, str]


# ---- names ----


def _names(tree: Any) -> tuple[list[str], list[Any], Any]:
    """A name for each leaf: its path with dots, in full where two would be equal."""
    pairs, treedef = tree_util.tree_flatten_with_path(tree)
    names = [keystr(path, simple=True, separator=".") or "value" for path, _ in pairs]
    if len(set(names)) < len(names) or _TAKEN & set(names):
        names = [keystr(path) for path, _ in pairs]
    if len(set(names)) < len(names):
        raise TreeError("io.save: two leaves of the tree have the same path", at=here())
    return names, [leaf for _, leaf in pairs], treedef


def _skeleton(treedef: Any, names: Iterator[str]) -> Any:
    """The structure as JSON: a name for a leaf, null for None, [kind, children] for a node."""
    if treedef.type is None:
        return next(names)
    if treedef.type is type(None):
        return None
    children = [_skeleton(child, names) for child in treedef.children()]
    if treedef.type is PRNGKeyArray:
        return ["key", children]
    if treedef.type in (list, deque):
        return ["list", children]
    if treedef.type is tuple:
        return ["tuple", children]
    keys = [_json_key(entry) for entry in _entries(treedef)]
    return ["dict", [list(pair) for pair in zip(keys, children, strict=True)]]


def _entries(treedef: Any) -> list[Any]:
    fields = getattr(treedef.type, "_fields", None)
    entries = list(treedef.entries())
    return list(fields) if isinstance(fields, tuple) and len(fields) == len(entries) else entries


def _json_key(entry: Any) -> Any:
    if entry is None or type(entry) in (str, int, float, bool):
        return entry
    return str(getattr(entry, "name", None) or getattr(entry, "key", None) or repr(entry))


def _rebuilt(note: Any, arrays: dict[str, Array]) -> Any:
    """The tree of a skeleton; KeyError, TypeError or ValueError for one that is broken."""
    if note is None:
        return None
    if isinstance(note, str):
        return arrays[note]
    kind, children = note
    if kind == "dict":
        return {key: _rebuilt(child, arrays) for key, child in children}
    built = [_rebuilt(child, arrays) for child in children]
    if kind == "key":
        return PRNGKeyArray(*built)
    return {"list": list, "tuple": tuple}[kind](built)


# ---- save ----


def save(
    path: Any,
    tree: Any,
    metadata: dict[str, str] | None = None,
    *,
    format: str | None = None,
    compressed: bool = False,
) -> None:
    """Write a tree of arrays to a file, ``.safetensors`` or ``.npz`` by its suffix.

    Leaves: arrays of every dtype, Python's and NumPy's numbers, random keys; 0-d and empty arrays
    too. Nodes: all containers and registered classes. ``metadata``: texts by name. ``format``:
    "npz" or "safetensors" where there is no suffix, or for a binary file object. ``compressed``: of
    npz. complex128 is not in safetensors: it is stored as float64 with a last axis of 2.

    The file appears under its name when it is complete; an error leaves an older one as it was.
    Raises ArgumentError for a leaf that is no array, which names it, for an unknown suffix or wrong
    metadata; MissingFileError for a missing folder; TracedValueError under jit.

    >>> import io
    >>> file = io.BytesIO()
    >>> save(file, {"w": np.ones(2), "step": 3}, format="npz")
    >>> load(file)
    {'step': Array(3), 'w': Array([1., 1.])}
    """
    what = "io.save"
    chosen = _format(what, path, format)
    noted = _checked_metadata(what, metadata)
    names, leaves, treedef = _names(tree)
    pairs = zip(names, leaves, strict=True)
    arrays = {name: _leaf_values(what, name, leaf) for name, leaf in pairs}
    structure = _skeleton(treedef, iter(names))
    if compressed and chosen != "npz":
        raise ArgumentError(f"{what}: {chosen} files are not compressed", at=here())
    with writing(path, what) as file:
        if chosen == "npz":
            npz.write(file, arrays, {"tree": structure, "metadata": noted}, compressed)
        else:
            wide = [name for name, array in arrays.items() if array.dtype == np.complex128]
            for name in wide:
                parts = arrays[name]
                arrays[name] = np.stack([parts.real, parts.imag], -1)
            note = {"tree": structure, "complex128": wide}
            safetensors.write(file, arrays, {**noted, _NOTE: json.dumps(note)})


def _format(what: str, path: Any, format: str | None) -> str:
    chosen = _FORMATS.get(suffix(path)) if format is None else format
    if chosen in _FORMATS.values():
        return str(chosen)
    if format is not None:
        message = f'{what}: format is "npz" or "safetensors", not {format!r}'
    else:
        message = f"{what}: the name of {title(path)} does not end in .npz or .safetensors"
    hint = "" if format is not None else 'rename it, or give format="safetensors"'
    raise ArgumentError(message, at=here(), hint=hint)


def _checked_metadata(what: str, metadata: dict[str, str] | None) -> dict[str, str]:
    noted = dict(metadata or {})
    for key, value in noted.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ArgumentError(
                f"{what}: metadata are texts by name, not {key!r}: {value!r}",
                at=here(),
                hint="json.dumps(value) is a text",
            )
        if key == _NOTE:
            raise ArgumentError(f"{what}: the name {_NOTE!r} of metadata is taken", at=here())
    return noted


def _leaf_values(what: str, name: str, leaf: Any) -> np.ndarray:
    if isinstance(leaf, str | bytes) or callable(leaf):
        raise _no_array(what, name, leaf)
    if type(leaf) in _PYTHON:
        try:
            return np.array(
                leaf, {bool: bool, int: np.int64, float: None, complex: None}[type(leaf)]
            )
        except OverflowError:
            raise DTypeError(f"{what}: {name}: {leaf} does not fit int64", at=here()) from None
    try:
        array = as_array(leaf)
    except DTypeError as error:
        raise DTypeError(f"{what}: {name}: {error.what}", at=here(), hint=error.hint) from None
    except (TypeError, ValueError, RuntimeError):
        raise _no_array(what, name, leaf) from None
    return array.concrete(what)


def _no_array(what: str, name: str, leaf: Any) -> ArgumentError:
    return ArgumentError(
        f"{what}: leaf {name} is no array but {type(leaf).__name__}",
        at=here(),
        hint="texts belong into metadata=, or into the static part of a registered class",
    )


# ---- load ----


def load(path: Any, like: Any = None, *, format: str | None = None, mmap: bool = False) -> Any:
    """The tree of a file that ``save`` wrote, or of any .npz or .safetensors file.

    ``like``: a tree of arrays or ShapeDtypeStructs (``tj.eval_shape``): the result has its
    structure and classes; each leaf must be in the file with the same shape and dtype, and no
    other. A Python number in it gives a Python number. Without ``like``: dicts, lists and tuples as
    they were, other classes as dicts of their fields; for a file of another program a dict of
    arrays by name. ``mmap``: of a safetensors file, read what is used when it is used; the file
    must not be changed in place meanwhile (replacing it, as ``save`` does, is fine).

    Raises MissingFileError, FileError for a file that is truncated or of another format; TreeError
    that names missing and extra leaves; ShapeError and DTypeError that name the leaf.

    >>> import io
    >>> file, tree = io.BytesIO(), {"w": jnp.ones(2), "key": random.key(0)}
    >>> save(file, tree, format="safetensors")
    >>> load(file, like=tree)["key"] == tree["key"]
    Array(True)
    """
    what = "io.load"
    if mmap and not is_path(path):
        raise ArgumentError(f"{what}: a file object is not mapped: give its path", at=here())
    with reading(path, what) as file:
        if _format_of(what, path, file, format) == "npz":
            if mmap:
                raise ArgumentError(f"{what}: only .safetensors files are mapped", at=here())
            values, note = npz.read(file, path, what)
        else:
            values, note = _tensors(what, path, file, mmap)
    if like is not None:
        return _like(what, path, like, values)
    arrays = {name: from_numpy(array) for name, array in values.items()}
    if "tree" not in note:
        return arrays
    try:
        return _rebuilt(note["tree"], arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(what, path, f"its note of the structure is broken: {error}") from None


def _format_of(what: str, path: Any, file: Any, format: str | None) -> str:
    """The format of an open file, by its first bytes where no name says it."""
    if format is not None or suffix(path) in _FORMATS:
        return _format(what, path, format)
    start = file.read(2)
    file.seek(0)
    return "npz" if start == b"PK" else "safetensors"


def _tensors(
    what: str, path: Any, file: Any, mapped: bool
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    header = safetensors.read_header(file, path, what)
    note = _note(what, path, header.metadata)
    if mapped:
        buffer = safetensors.memory_map(file)
        values = {
            name: safetensors.mapped(buffer, path, what, name, place)
            for name, place in header.tensors.items()
        }
    else:
        values = {
            name: safetensors.read(file, path, what, name, place)
            for name, place in header.tensors.items()
        }
    for name in note.get("complex128", ()):
        values[name] = _complex(what, path, name, values.get(name))
    return values, note


def _complex(what: str, path: Any, name: str, parts: np.ndarray | None) -> np.ndarray:
    if parts is None or parts.dtype != np.float64 or parts.shape[-1:] != (2,):
        raise unreadable(what, path, f"tensor {name!r} is not the parts of complex numbers")
    return np.ascontiguousarray(parts).view(np.complex128)[..., 0]


def _note(what: str, path: Any, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        note = json.loads(metadata.get(_NOTE, "{}"))
    except ValueError as error:
        raise unreadable(what, path, error) from None
    if not isinstance(note, dict):
        raise unreadable(what, path, "its note of the structure is broken")
    return note


def _like(what: str, path: Any, like: Any, values: dict[str, np.ndarray]) -> Any:
    names, leaves, treedef = _names(like)
    missing = [name for name in names if name not in values]
    extra = sorted(set(values) - set(names))
    if missing or extra:
        notes = [f"missing in the file: {name}" for name in missing[:_LINES]]
        notes += [f"only in the file: {name}" for name in extra[:_LINES]]
        left = len(missing) + len(extra) - len(notes)
        notes += [f"and {left} more"] * (left > 0)
        raise TreeError(
            f"{what}: {title(path)} does not hold the leaves of `like`",
            at=here(),
            notes=tuple(notes),
        )
    pairs = zip(names, leaves, strict=True)
    return treedef.unflatten([_fitting(what, name, leaf, values[name]) for name, leaf in pairs])


def _fitting(what: str, name: str, leaf: Any, found: np.ndarray) -> Any:
    if type(leaf) in _PYTHON:
        if found.shape != () or not np.can_cast(found.dtype, np.array(leaf).dtype, "same_kind"):
            raise ShapeError(
                f"{what}: {name} is {_said(found)} in the file, a number in `like`", at=here()
            )
        return type(leaf)(found.item())
    try:
        expected = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else as_array(leaf)
    except (TypeError, ValueError):
        raise _no_array(what, name, leaf) from None
    shape = tuple(expected.shape)
    if shape != found.shape:
        raise ShapeError(
            f"{what}: {name} has shape {found.shape} in the file, {shape} in `like`", at=here()
        )
    # dtypes of other libraries, such as torch.float32, compare by name
    if str(expected.dtype).removeprefix("torch.") != str(found.dtype):
        raise DTypeError(
            f"{what}: {name} has dtype {found.dtype} in the file, {expected.dtype} in `like`",
            at=here(),
            hint="load it without `like`, or with one of the file's dtypes, and convert it",
        )
    return from_numpy(found)


def _said(array: np.ndarray) -> str:
    return f"an array of shape {array.shape} and dtype {array.dtype}"


def describe(path: Any, *, format: str | None = None) -> Contents:
    """The names, shapes and dtypes of the arrays of a file, and its metadata.

    Of a safetensors file only the header is read. Raises MissingFileError, FileError.

    >>> import io
    >>> file = io.BytesIO()
    >>> save(file, [jnp.ones(2)], metadata={"epoch": "3"}, format="safetensors")
    >>> describe(file)
    Contents(arrays={'0': ShapeDtypeStruct(shape=(2,), dtype=float32)}, metadata={'epoch': '3'})
    """
    what = "io.describe"
    with reading(path, what) as file:
        if _format_of(what, path, file, format) == "npz":
            values, note = npz.read(file, path, what)
            shapes = {name: ShapeDtypeStruct(x.shape, x.dtype) for name, x in values.items()}
            return Contents(shapes, dict(note.get("metadata", {})))
        header = safetensors.read_header(file, path, what)
    note = _note(what, path, header.metadata)
    wide = set(note.get("complex128", ()))
    found = {}
    for name, place in header.tensors.items():
        if place.dtype is None:
            raise FileError(
                f"{what}: {name!r} of {title(path)} has dtype {place.called}, which is not "
                "supported",
                at=here(),
            )
        shape, dtype = place.shape, place.dtype
        if name in wide:
            shape, dtype = shape[:-1], np.dtype(np.complex128)
        found[name] = ShapeDtypeStruct(shape, dtype)
    return Contents(found, {k: v for k, v in header.metadata.items() if k != _NOTE})
