"""Which random keys have been used, under the setting ``check_keys``.

    consume(words)               the key is drawn from, or split: a second time is a KeyReuseError
    begin(words)                 a seed gave this key
    fresh(words)                 these keys are new: of ``split``, ``fold_in``
    again(words)                 these may be used once more: of ``clone``
    consume_all(leaves, traced)  a traced function runs, with what it does to keys
    note_results(outs, traced)   it has run: some of its results are keys that are used up

``words`` are Arrays u32[..., 2]. Concrete keys are known by their value, so that ``keys[0]`` taken
twice from an array is one key. In a trace a key is known by where it comes from. What a trace does
to keys happens when its function runs, not while it is traced: ``key_facts`` keeps it until then.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tracejit import source
from tracejit.config import config
from tracejit.errors import KeyReuseError
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.key_facts import Event, Origin, Use, is_static, origin
from tracejit.frontend.trace import Trace, Traced, open_traces

#: traces of functions that run while they are traced, as far as values are at hand
NOW = ("grad", "vjp", "jvp", "jacfwd", "linearize")
HINT = "use each key once: random.split it; random.clone says that it is meant"


class _Used(threading.local):
    def __init__(self) -> None:
        self.values: dict[tuple[int, ...], Any] = {}
        self.spare: dict[tuple[int, ...], int] = {}
        #: keys that seeds gave
        self.seeded: set[tuple[int, ...]] = set()


_used = _Used()


# ---- one key -------------------------------------------------------------------------------------


def consume(words: Array, at: Any = None) -> None:
    """Note that the keys ``words`` are used; KeyReuseError where they were before."""
    if not config.current().check_keys:
        return
    at = at or source.here()
    trace = _place(words)
    if trace is None:
        _consume_values(words, at)
    elif words._trace is trace:
        _consume_traced(_known(words), trace, at)
    else:
        trace.keys.outside.append(Event(_kept(words), False, at))


def again(words: Array) -> None:
    """Note that the keys ``words`` may be used once more."""
    if not config.current().check_keys:
        return
    trace = _place(words)
    if trace is None:
        for key in _values(words):
            _used.spare[key] = _used.spare.get(key, 0) + 1
    elif words._trace is trace:
        known = _known(words)
        trace.keys.spare[known] = trace.keys.spare.get(known, 0) + 1
    else:
        trace.keys.outside.append(Event(_kept(words), True, source.here()))


def fresh(words: Array) -> None:
    """Note that the keys ``words`` were made anew.

    Where one of them was used before, a program begins again: its keys have the values of the first
    run's, also those that come out of compiled functions and loops, which nobody sees being made.
    All uses are forgotten.
    """
    if not config.current().check_keys or not words._has_value:
        return
    if not _used.values.keys().isdisjoint(_values(words)):
        _used.values.clear()


def begin(words: Array) -> None:
    """Note that a seed gave the key ``words``. Where it did before, a program begins again or
    another one has the same seed: all uses are forgotten.
    """
    if not config.current().check_keys or not words._has_value:
        return
    found = _values(words)
    if not _used.seeded.isdisjoint(found):
        _used.values.clear()
        _used.spare.clear()
    _used.seeded.update(found)
    fresh(words)


def _place(words: Array) -> Trace | None:
    """The innermost trace that has to remember what happens to ``words``; None where it happens
    now.
    """
    for trace in open_traces():
        if not (trace.eager and words._has_value and trace.what in NOW):
            return trace
    return None


def _kept(words: Array) -> Array:
    """``words`` as something that is there when a trace that it belongs to has ended."""
    if words._has_value and words._trace is not None:
        return as_array(words.concrete("random"))
    return words


def _known(words: Array) -> Origin:
    return origin(words._value, words._trace.builder.nodes)


def _consume_values(words: Array, at: Any) -> None:
    for key in _values(words):
        if _used.spare.get(key):
            _used.spare[key] -= 1
        elif key in _used.values:
            raise _reused(f"the key {list(key)} is used again", _used.values[key], at)
        else:
            _used.values[key] = at


def _values(words: Array) -> list[tuple[int, ...]]:
    return [tuple(key) for key in words.concrete("random").reshape(-1, 2).tolist()]


def _consume_traced(known: Origin, trace: Trace, at: Any) -> None:
    whole = (Origin(known.base, known.steps[:n]) for n in range(len(known.steps)))
    if trace.keys.spare.get(known):
        trace.keys.spare[known] -= 1
    elif not any(trace.keys.spare.get(array) for array in whole):
        reused, before = trace.keys.first_use(known)
        if reused:
            raise _reused("a key is used again", before, at)
        trace.keys.used[known] = at


def _reused(what: str, before: Any, at: Any) -> KeyReuseError:
    notes = (f"first used at {before.short()}",) if before is not None else ()
    return KeyReuseError(f"random: {what}", at=at, notes=notes, hint=HINT)


# ---- a function that was traced ------------------------------------------------------------------


def consume_all(leaves: Sequence[Any], *traced: Traced) -> None:
    """A function that was traced for ``leaves`` runs: what it uses is used now. Of several
    functions only one runs.
    """
    if not config.current().check_keys:
        return
    uses: dict[Any, Use] = {}
    for body in traced:
        for use in body.keys.used:
            uses.setdefault((_name(use.source), use.steps), use)
    for use in uses.values():
        inside = isinstance(use.source, int)
        words = _taken(as_array(leaves[use.source] if inside else use.source), use)
        if words is not None:
            consume(words, None if inside else use.at)
    for event in _one_of(*(body.keys.outside for body in traced)):
        if event.again:
            again(event.words)
        else:
            consume(event.words, event.at)


def note_results(outs: Sequence[Any], *traced: Traced) -> None:
    """The function has run: note which of its results ``outs`` are keys that are used up; None
    stands for a result that nobody gets.
    """
    if not config.current().check_keys:
        return
    for body in traced:
        for use in body.keys.results_used:
            if outs[use.source] is not None:
                words = _taken(as_array(outs[use.source]), use)
                if words is not None:
                    _note_used(words, use.at)
        for k, count in body.keys.results_spare:
            for _ in range(count if outs[k] is not None else 0):
                again(as_array(outs[k]))


def _note_used(words: Array, at: Any) -> None:
    trace = _place(words)
    if trace is None:
        for key in _values(words):
            _used.values.setdefault(key, at)
    elif words._trace is trace:
        trace.keys.used.setdefault(_known(words), at)


def _name(source: Any) -> Any:
    """A source as something that two branches have in common."""
    return source if isinstance(source, int) else id(source)


def _taken(words: Array, use: Use) -> Array | None:
    """The part of ``words`` that was used; None where ``words`` are a batch of what was traced, of
    which that part cannot be told.
    """
    if use.steps and use.steps[0].node.inputs[0].type.shape != words.shape:
        return None
    for step in use.steps:
        words = apply(step.node.prim, words, **step.node.params)
    return words


def _one_of(*histories: Sequence[Event]) -> list[Event]:
    """What may happen to keys from outside where one of several functions runs: of each key the
    history that uses it most.
    """
    if len(histories) == 1:
        return list(histories[0])
    best: dict[Any, list[Event]] = {}
    for history in histories:
        by_key: dict[Any, list[Event]] = {}
        for event in history:
            by_key.setdefault(_same(event.words), []).append(event)
        for key, events in by_key.items():
            if _net(events) >= _net(best.get(key, ())):
                best[key] = events
    return [event for events in best.values() for event in events]


def _same(words: Array) -> Any:
    return tuple(_values(words)) if words._has_value else words._value


def _net(events: Sequence[Event]) -> int:
    return sum(-1 if event.again else 1 for event in events)


# ---- loops ---------------------------------------------------------------------------------------


def consume_loop(
    leaves: Sequence[Any],
    body: Traced,
    carried: int,
    steps: int | None = None,
    test: Traced | None = None,
) -> None:
    """``consume_all`` for the body of a loop of so many ``steps``, None for any number, and for the
    ``test`` of a while loop. The carry comes first: a key in it that is used up at the end of a
    step must not be used in the next one.
    """
    if not config.current().check_keys or steps == 0:
        return
    parts = [body] if test is None else [body, test]
    if steps != 1:
        _check_outside(parts)
        _check_carry(parts, carried, steps)
    for part in parts:
        consume_all(leaves, part)


def note_loop_results(
    outs: Sequence[Any], body: Traced, carried: int, steps: int | None = None
) -> None:
    """``note_results`` for a loop, whose results are the carry and then what each step gave."""
    if not config.current().check_keys or steps == 0:
        return
    note_results(outs, body)
    late = _used_up([body], carried, steps) - {use.source for use in body.keys.results_used}
    for k in late:
        _note_used(as_array(outs[k]), None)


def _check_outside(parts: Sequence[Traced]) -> None:
    what = "a key from outside is used in every step of a loop"
    for part in parts:
        left = Counter[Any]()
        for event in part.keys.outside:
            left[_same(event.words)] += -1 if event.again else 1
            if left[_same(event.words)] > 0:
                raise _reused(what, None, event.at)
        for use in part.keys.used:
            if not isinstance(use.source, int):
                raise _reused(what, None, use.at)


def _check_carry(parts: Sequence[Traced], carried: int, steps: int | None) -> None:
    body = parts[0]
    before = _used_up(parts, carried, None if steps is None else steps - 1)
    for use in [use for part in parts for use in part.keys.used]:
        if isinstance(use.source, int) and use.source in before and use.source < carried:
            goes_on = _carry_of(body, use.source) == use.source
            how = "goes on unchanged is used" if goes_on else "was used goes on and is used again"
            raise _reused(f"a key that {how} in every step of a loop", None, use.at)


def _used_up(parts: Sequence[Traced], carried: int, steps: int | None) -> set[int]:
    """Which keys of the carry may be used up after so many steps: those that a step or the test
    has used, and what becomes of them when they move.
    """
    body = parts[0]
    given = {use.source for use in body.keys.results_used if use.source < carried}
    tested = {use.source for part in parts[1:] for use in part.keys.used}
    moves = {k: _carry_of(body, k) for k in range(carried)} if given or tested else {}
    given |= {k for k, j in moves.items() if j in tested}
    found: set[int] = set()
    for _ in range(carried + 1 if steps is None else min(steps, carried + 1)):
        found = given | {k for k, j in moves.items() if j in found}
    return found


def _carry_of(body: Traced, k: int) -> int | None:
    """The number of the argument that result ``k`` of a body is."""
    known = origin(body.graph.outputs[k], body.graph.nodes)
    inputs = list(body.graph.inputs[len(body.captured) :])
    if known.steps or not is_static(known.steps) or known.base not in inputs:
        return None
    return inputs.index(known.base)
