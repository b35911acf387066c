"""What a function did to concrete Arrays, as steps that can be done again: ``frontend/eager.py``.

While a function is recorded, its Arrays hold ``Watched`` places: operations note what they take and
give, and whoever looks at values in any other way is seen. What a function did without looking
depends on dtypes, shapes and static arguments alone.

    recording = Recording()
    with recording.on():
        result = function(watched(recording.new(data)))
    recording.steps                       rules of NumPy, and the numbers of what they take and give
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tracejit.record import dataclass


class _Current(threading.local):
    recording: Recording | None = None


_current = _Current()


def current() -> Recording | None:
    """The recording that this thread is in."""
    return _current.recording


class _Quiet(threading.local):
    """A context in which NumPy ignores floating-point errors: to enter it takes a tenth of the time
    that ``np.errstate`` does. A thread is in it once at most.
    """

    def __init__(self) -> None:
        self.context = contextvars.Context()
        self.context.run(np.seterr, all="ignore")


quiet = _Quiet()


class Watched:
    """The place of an Array while a function is recorded; false, as code for programs cannot use
    it.
    """

    __slots__ = ("recording", "slot", "data")

    def __init__(self, recording: Recording, slot: int, data: np.ndarray) -> None:
        self.recording = recording
        self.slot = slot
        self.data = data

    def __bool__(self) -> bool:
        return False

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The data, for somebody who looks at it."""
        self.recording.looked = True
        return self.data


@dataclass(frozen=True)
class Step:
    """``rule(*values of takes)``, whose results get the numbers ``gives``; floating-point errors
    are to be ignored around it. ``what``: the primitive and its parameters, where it is one.
    """

    rule: Callable[..., Any]
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    what: tuple[Any, Any] | None = None


class Differs(Exception):
    """A recorded answer is another one this time: the steps are not what the function would do."""


class Recording:
    """The steps of one call. ``looked``: somebody looked at values, so another call may differ."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.looked = False
        #: of every value
        self.data: dict[int, np.ndarray] = {}
        #: data that was there before: of arguments of the function by number, constants by object
        self.constants: dict[int, tuple[int, np.ndarray]] = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        before, _current.recording = _current.recording, self
        try:
            yield
        finally:
            _current.recording = before

    def new(self, data: np.ndarray) -> Watched:
        """The place of a new value."""
        place = Watched(self, len(self.data), data)
        self.data[place.slot] = data
        return place

    def slot(self, array: Any) -> tuple[int, np.ndarray]:
        """The number and the data of a concrete Array."""
        place = array._place
        if type(place) is Watched and place.recording is self:
            return place.slot, place.data
        data = array._data
        found = self.constants.get(id(data))
        if found is None:
            found = self.constants[id(data)] = (len(self.data), data)
            self.data[found[0]] = data
        return found

    def run(
        self, prim: Any, params: dict[str, Any], arrays: Sequence[Any], call: Callable[..., Any]
    ) -> list[Watched]:
        """Places of the results of ``call(data)``, which is ``prim`` on Arrays."""
        slots = [self.slot(a) for a in arrays]
        outs = call([data for _, data in slots])
        if prim.effect:
            self.looked = True
        places = [self.new(out) for out in outs]
        rule = _plain(prim.rule("numpy"), [data for _, data in slots], params, outs)
        if params:
            rule = functools.partial(rule, **params)
        takes, gives = tuple(slot for slot, _ in slots), tuple(p.slot for p in places)
        self.steps.append(Step(rule, takes, gives, (prim, tuple(params.items()))))
        return places

    def check(self, test: Callable[..., Any], arrays: Sequence[Any]) -> bool:
        """The truth of ``test(*data)``, which every other run is to find again."""
        slots = [self.slot(a) for a in arrays]
        answer = bool(test(*[data for _, data in slots]))

        def again(*data: np.ndarray) -> None:
            if bool(test(*data)) is not answer:
                raise Differs

        self.steps.append(Step(again, tuple(slot for slot, _ in slots), ()))
        return answer


def _plain(
    rule: Callable[..., Any], data: Sequence[Any], params: dict[str, Any], outs: Sequence[Any]
) -> Any:
    """What a rule calls while it ignores floating-point errors (``family.quiet``), where that gives
    an array of the dtype that the rule sees to.
    """
    inside = getattr(rule, "plain", None)
    if inside is None:
        return rule
    with np.errstate(all="ignore"):
        found = inside(*data, **params)
    same = isinstance(found, np.ndarray | np.generic) and found.dtype == outs[0].dtype
    return inside if same and found.shape == outs[0].shape else rule


def holds(test: Callable[..., Any], *arrays: Any) -> bool:
    """The truth of ``test`` of the data of concrete Arrays: what a function may ask of values and
    be recorded all the same.
    """
    recording = _current.recording
    if recording is None:
        return bool(test(*[a._data for a in arrays]))
    return recording.check(test, arrays)


def is_watched(array: Any) -> bool:
    """Whether an Array takes part in a recording: what is done with its value then is to be an
    operation.
    """
    return type(array._place) is Watched


def changed(rule: Callable[..., Any], array: Any) -> Watched:
    """The place of ``rule`` of the data of an Array that is watched."""
    place = array._place
    now: Recording = place.recording
    found = now.new(rule(place.data))
    now.steps.append(Step(rule, (place.slot,), (found.slot,)))
    return found
