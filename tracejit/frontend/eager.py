"""Public functions on concrete Arrays, outside of jit: what a call did is done again.

    add = remembered(add)
    add(x, y)            the first calls for these dtypes and shapes: promotion, checks, operations
    add(x, y)            later ones: one look-up, and the NumPy rules that these led to

A call is known by the dtypes and shapes of its Arrays, its other arguments by value, and the
settings. When it comes for the second time it is recorded (``recording.py``): which operations it
ran on its Arrays, in order. Where anybody looked at values on the way, or where the result is no
tree of Arrays, such calls are made as ever. So are those whose steps fail: errors are the call's.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType, NoneType
from typing import Any

import numpy as np
import optree

from tracejit.config import config
from tracejit.errors import public_function
from tracejit.frontend import array as core
from tracejit.frontend import placement, recording, trace
from tracejit.frontend.eager_steps import simplified
from tracejit.frontend.recording import Recording, Step, Watched, quiet
from tracejit.frontend.structure import maker
from tracejit.ir.types import DTYPES
from tracejit.tree_util import NAMESPACE

#: calls of one function that are remembered, and that are known to have come once
MOST_TAPES = 512
MOST_SEEN = 512
#: bytes of the constants of one call, and of all
MOST_BYTES = 1 << 14
MOST_TOTAL = 1 << 26
#: runs of a Tape before its steps become one function of Python
RUNS = 24
#: lists of more items are not compared item by item
MOST_ITEMS = 16

_new = object.__new__
_settings = config.current
_stack = trace._stack
_recordings = recording._current

#: both parts of a number
_BITS = struct.Struct("dd")
#: types of arguments that count by their value: immutable, and equal only where they mean the same
STATIC: set[type] = {
    *(bool, int, str, NoneType, EllipsisType, type),
    *(type(dtype) for dtype in DTYPES.values()),
}
#: types that hold one Array and nothing else, with the attribute that has it
HOLDERS: dict[type, str] = {}


# ---- what a call is known by ---------------------------------------------------------------------


def read(args: Sequence[Any], key: list[Any], leaves: list[Any]) -> bool:
    """Add to ``key`` what tells ``args`` from others, and their Arrays to ``leaves``; False where
    there is an argument of another kind.
    """
    array_type = core.Array
    for x in args:
        kind = type(x)
        if kind is array_type:
            if x._value is not None:
                return False
            leaves.append(x)
            key.append(x._kind or x._find_kind())
        elif kind in STATIC:
            key.append(kind)
            key.append(x)
        elif kind is float or kind is complex:
            key.append(kind)
            key.append(_BITS.pack(x.real, x.imag))  # zeros and nans differ in their sign
        elif isinstance(x, tuple | list):
            if len(x) > MOST_ITEMS:
                return False
            key.append(kind)
            key.append(len(x))
            if not read(x, key, leaves):
                return False
        elif not _read_rare(x, key, leaves):
            return False
    return True


def _read_rare(x: Any, key: list[Any], leaves: list[Any]) -> bool:
    kind = type(x)
    if kind in HOLDERS:
        key.append(kind)
        return read((getattr(x, HOLDERS[kind]),), key, leaves)
    if kind is slice:
        key.append(kind)
        return read((x.start, x.stop, x.step), key, leaves)
    if isinstance(x, enum.Enum):
        key.append(x)
        return True
    return False


def _replaced(x: Any, arrays: Iterator[Any]) -> Any:
    """``x`` with other Arrays in the places of its own."""
    kind = type(x)
    if kind is core.Array:
        return next(arrays)
    if isinstance(x, tuple | list):
        items = [_replaced(item, arrays) for item in x]
        if all(new is old for new, old in zip(items, x, strict=True)):
            return x
        return kind(*items) if hasattr(x, "_fields") else kind(items)
    if kind in HOLDERS:
        return kind(_replaced(getattr(x, HOLDERS[kind]), arrays))
    if kind is slice:
        return slice(*(_replaced(end, arrays) for end in (x.start, x.stop, x.step)))
    return x


# ---- calls that are done again -------------------------------------------------------------------


def _of_argument(leaf: Any, weak: bool) -> Any:
    found = placement.twin(leaf)
    if found._is_weak != weak:
        found._weak = weak
    return found


class Tape:
    """The steps of a call and what it returns."""

    __slots__ = ("count", "given", "steps", "results", "make", "only", "runs", "written", "nbytes")

    def __init__(
        self,
        count: int,
        given: Sequence[tuple[int, np.ndarray]],
        steps: Sequence[Step],
        results: Sequence[tuple[Any, ...]],
        make: Callable[[Sequence[Any]], Any] | None,
    ) -> None:
        """``count``: of values; ``given``: constants among them. ``results``: for each leaf how it
        is found, see ``_result``; ``make`` builds the tree, None where the leaf is the result.
        """
        self.count = count
        self.given = given
        self.steps = [(s.rule, s.takes, s.gives) for s in steps]
        self.results = results
        self.make = make
        self.runs = 0
        kept = [data for _, data in given] + [x for how, x, _ in results if how == "constant"]
        self.nbytes = sum(data.nbytes for data in kept)
        #: one function for all steps, and where the results are in the list that it gives
        self.written: tuple[Callable[..., Any], Sequence[tuple[Any, ...]]] | None = None
        # the most frequent: one operation on Arrays alone, whose result is returned
        plain = len(steps) == 1 and not given and make is None and results[0][0] == "value"
        only = plain and steps[0].takes == tuple(range(len(steps[0].takes)))
        self.only = (steps[0].rule, results[0][2]) if only and len(steps[0].gives) == 1 else None

    def __call__(self, leaves: Sequence[Any]) -> Any:
        if self.only is not None:
            rule, kind = self.only
            data = [a._data for a in leaves]
            out = quiet.context.run(rule, *data)
            if type(out) is not np.ndarray:
                out = np.asarray(out)
            return _array(out, kind)
        if self.written is not None:
            whole, results = self.written
            values = quiet.context.run(whole, *[a._data for a in leaves])
        else:
            values, results = self._step_by_step(leaves), self.results
        found = [self._result(leaves, values, *result) for result in results]
        return found[0] if self.make is None else self.make(found)

    def _step_by_step(self, leaves: Sequence[Any]) -> list[Any]:
        values: list[Any] = [None] * self.count
        for k, leaf in enumerate(leaves):
            values[k] = leaf._data
        for k, data in self.given:
            values[k] = data
        if self.steps:
            quiet.context.run(self._run, values)
            self.runs += 1
            if self.runs == RUNS:
                self._write(len(leaves))
        return values

    def _write(self, count: int) -> None:
        """Make one function of the steps: takes the data of the Arrays, gives those of the results
        that are computed.
        """
        names: dict[str, Any] = {"ndarray": np.ndarray, "as_array": np.asarray}
        names.update((f"v{k}", data) for k, data in self.given)
        lines = [f"def whole({', '.join(f'v{k}' for k in range(count))}):"]
        for number, (rule, takes, gives) in enumerate(self.steps):
            names[f"rule{number}"] = rule
            call = f"rule{number}({', '.join(f'v{k}' for k in takes)})"
            if len(gives) == 1:
                v = f"v{gives[0]}"
                one = f"{v}[0] if isinstance({v}, tuple) else as_array({v})"
                lines += [f"  {v} = {call}", f"  if type({v}) is not ndarray: {v} = {one}"]
            else:
                lines.append("  " + " ".join(f"v{k}," for k in gives) + " = " * bool(gives) + call)
                lines += [f"  v{k} = as_array(v{k})" for k in gives]
        wanted = [k for how, k, _ in self.results if how == "value"]
        lines.append(f"  return [{', '.join(f'v{k}' for k in wanted)}]")
        exec("\n".join(lines), names)
        places = iter(range(len(wanted)))
        results = [(h, next(places) if h == "value" else x, kind) for h, x, kind in self.results]
        self.written = names["whole"], results

    def _run(self, values: list[Any]) -> None:
        for rule, takes, gives in self.steps:
            out = rule(*[values[k] for k in takes])
            if len(gives) == 1:
                if type(out) is not np.ndarray:
                    out = out[0] if isinstance(out, tuple) else np.asarray(out)
                values[gives[0]] = out
            elif gives:
                for k, one in zip(gives, out, strict=True):
                    values[k] = np.asarray(one)

    @staticmethod
    def _result(leaves: Sequence[Any], values: list[Any], how: str, x: Any, kind: Any) -> Any:
        if how == "value":
            return _array(values[x], kind)
        if how == "constant":
            return _array(x.copy(), kind)
        if how == "argument":
            return leaves[x]
        if how == "alias":
            return _of_argument(leaves[x], kind.weak)
        return x  # "static"


def _array(data: Any, kind: Any) -> Any:
    """``Array(data)`` of a known kind."""
    found = _new(core.Array)
    found._array = data
    found._value = found._trace = found._place = None
    found._is_weak = kind.weak
    found._kind = kind
    return found


# ---- recording -----------------------------------------------------------------------------------

#: a call that is made as ever
NEVER = False


def _plain_settings() -> bool:
    """Whether nothing but the operations happens, on the CPU."""
    now = _settings()
    return now.default_device == "cpu" and not (
        now.debug_nans
        or now.debug_infs
        or now.check_keys
        or now.check_leaks
        or now.disable_jit
        or now.no_execution
        or now.log_compiles
    )


def record(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Any]
) -> tuple[Any, Any]:
    """The result of a call, and its Tape, or NEVER."""
    if not _plain_settings() or any(a.is_deleted() or a._find_kind().device for a in leaves):
        return function(*args, **kwargs), NEVER
    now = Recording()
    stand_ins = [core.watched(now.new(a._data), a._is_weak) for a in leaves]
    arrays = iter(stand_ins)
    given_args, given_kwargs = args, kwargs
    args = _replaced(args, arrays)
    kwargs = {name: _replaced(x, arrays) for name, x in kwargs.items()}
    try:
        with now.on():
            result = function(*args, **kwargs)
    except Exception:  # what it raises in an ordinary call may say more
        return function(*given_args, **given_kwargs), NEVER
    _written(stand_ins, leaves, now)
    found, treedef = optree.tree_flatten(result, namespace=NAMESPACE)
    results = [_described(x, now, stand_ins) for x in found]
    own = {id(s): leaf for s, leaf in zip(stand_ins, leaves, strict=True)}
    settled = [own[id(x)] if id(x) in own else _settled(x, leaves) for x in found]
    real = optree.tree_unflatten(treedef, settled)
    if now.looked or None in results:
        return real, NEVER
    steps, constants, same = simplified(now, [x for how, x, _ in results if how == "value"])
    if sum(x.nbytes for x in constants.values()) > MOST_BYTES:
        return real, NEVER
    results = [_renamed(result, constants, same) for result in results]
    make = None if len(found) == 1 and found[0] is result else maker(treedef)
    return real, Tape(len(now.data), list(constants.items()), steps, results, make)


def _renamed(
    result: tuple[Any, ...], constants: dict[int, np.ndarray], same: dict[int, int]
) -> tuple[Any, ...]:
    """How a leaf is found after ``simplified``."""
    how, x, kind = result
    if how != "value":
        return result
    number = same.get(x, x)
    return ("constant", constants[number], kind) if number in constants else (how, number, kind)


def _written(stand_ins: Sequence[Any], leaves: Sequence[Any], now: Recording) -> None:
    """Where a function has written into an Array, it is the caller's that changes."""
    for k, (stand_in, leaf) in enumerate(zip(stand_ins, leaves, strict=True)):
        place = stand_in._place
        if type(place) is not Watched or place.slot != k:
            now.looked = True
            leaf._become(_settled(placement.twin(stand_in), leaves))


def _described(x: Any, now: Recording, stand_ins: Sequence[Any]) -> tuple[Any, ...] | None:
    """How a leaf of a result is found in another call; None where that cannot be told."""
    if type(x) is not core.Array:
        return ("static", x, None) if type(x) in STATIC or type(x) is float else None
    if x._value is not None:
        return None
    for k, given in enumerate(stand_ins):
        if x is given:
            return "argument", k, None
    kind, place = x._find_kind(), x._place
    if type(place) is Watched and place.recording is now:
        return ("alias" if place.slot < len(stand_ins) else "value"), place.slot, kind
    if place is not None or kind.device is not None or x._array.nbytes > MOST_BYTES:
        return None
    if x._array.base is not None or not x._array.flags.writeable:
        return None
    return "constant", x._array.copy(), kind


def _settled(x: Any, leaves: Sequence[Any]) -> Any:
    """A leaf of a recorded result as it is after the recording."""
    if type(x) is core.Array and type(x._place) is Watched:
        slot = x._place.slot
        if slot < len(leaves):
            return _of_argument(leaves[slot], x._is_weak)
        x._array, x._place = x._place.data, None
    return x


# ---- the door ------------------------------------------------------------------------------------

#: what was made of each function: methods of Arrays are public functions too
_doors: dict[Callable[..., Any], Callable[..., Any]] = {}


class Memory:
    """The calls of one function that are remembered, and those that came once."""

    __slots__ = ("function", "tapes", "seen")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.tapes: dict[tuple[Any, ...], Any] = {}
        self.seen: dict[tuple[Any, ...], None] = {}

    def begin(self, key: tuple[Any, ...], leaves: list[Any], args: Any, kwargs: Any) -> Any:
        """A call that is not remembered: the second one is recorded."""
        if key not in self.seen:
            result = self.function(*args, **kwargs)
            _drop_oldest(self.seen, MOST_SEEN)
            self.seen[key] = None
            return result
        result, tape = record(self.function, args, kwargs, leaves)
        _drop_oldest(self.tapes, MOST_TAPES)
        if tape:
            _make_room(tape.nbytes)
        self.tapes[key] = tape
        self.seen.pop(key, None)
        return result

    def clear(self) -> None:
        self.tapes.clear()
        self.seen.clear()


_kept = 0


def _make_room(nbytes: int) -> None:
    """Forget everything where the constants would take too much memory together."""
    global _kept
    if _kept + nbytes > MOST_TOTAL:
        forget()
    _kept += nbytes


def _drop_oldest(table: dict[Any, Any], most: int) -> None:
    while len(table) >= most:
        try:
            table.pop(next(iter(table)), None)
        except (RuntimeError, StopIteration):  # another thread was here
            return


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, whose calls on concrete Arrays are remembered. It is to depend on nothing but
    its arguments and the settings, and to change nothing else.
    """
    if function in _doors:
        return _doors[function]
    memory = Memory(function)
    tapes = memory.tapes

    @functools.wraps(function)
    def door(*args: Any, **kwargs: Any) -> Any:
        traces = _stack.traces
        if _recordings.recording is None and (not traces or traces[-1] is None):
            key: list[Any] = [id(_settings())]
            leaves: list[Any] = []
            if kwargs:
                key += kwargs
            if read(args, key, leaves) and (not kwargs or read(kwargs.values(), key, leaves)):
                known = tuple(key)
                tape = tapes.get(known)
                if tape is None:
                    return memory.begin(known, leaves, args, kwargs)
                if tape:
                    try:
                        return tape(leaves)
                    except Exception:  # the call itself says what is wrong
                        pass
        return function(*args, **kwargs)

    door.memory = memory  # type: ignore[attr-defined]
    _doors[function] = door
    return door


def forget() -> None:
    """Forget all calls."""
    global _kept
    _kept = 0
    for door in _doors.values():
        door.memory.clear()  # type: ignore[attr-defined]


def remembering(*others: str, around: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
    """``remembered`` for the functions of a public module (``errors.user_functions``), except
    ``others``: those that read or change something else than their arguments, as files. ``around``
    goes around what is remembered.
    """

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        if function.__name__ in others:
            return public_function(function)
        found = remembered(function)
        found = public_function(found if around is None else around(found))
        vars(found).update(vars(function))  # what was given to it since: methods of ufuncs
        return found

    return wrap
