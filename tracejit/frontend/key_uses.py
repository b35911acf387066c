"""Which random keys have been used, under the setting ``check_keys``.

    consume(words)     the key is drawn from, or split: the second time is a KeyReuseError
    fresh(words)       these keys are new: of ``key``, ``split``, ``fold_in``
    again(words)       these may be used once more: of ``clone``

``words`` are Arrays u32[..., 2]. Concrete keys are known by their value, so that ``keys[0]`` taken
twice from an array is one key. In a trace a key is known by where it comes from; what a finished
trace has used of its arguments is used by whoever called it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from tracejit import source
from tracejit.config import config
from tracejit.errors import KeyReuseError
from tracejit.frontend.array import Array
from tracejit.frontend.trace import Trace, Traced, current_trace
from tracejit.ir.graph import Literal, params_key

#: traces whose body runs any number of times
BRANCHES = ("cond", "switch")
LOOPS = ("scan", "while_loop", "fori_loop", "map", "associative_scan")
#: operations that only take a key out of others
TAKING = ("slice", "reshape", "squeeze", "dynamic_slice", "gather", "convert", "transpose")
HINT = "use each key once: random.split it; random.clone says that it is meant"


class _Used(threading.local):
    def __init__(self) -> None:
        self.values: dict[tuple[int, ...], Any] = {}
        self.spare: dict[tuple[int, ...], int] = {}


_used = _Used()


def consume(words: Array) -> None:
    """Note that the keys ``words`` are used; KeyReuseError where they were before."""
    if not config.current().check_keys:
        return
    inner = current_trace()
    if inner is not None and inner is not words._trace:
        if inner.what in LOOPS:
            raise _reused("a key from outside is used in every step of a loop", None)
        if inner.what in BRANCHES:  # another branch may use it too
            return
    if words._has_value:
        _consume_values(words)
    else:
        _consume_traced(words, words._trace)


def consume_all(leaves: Sequence[Array], *traced: Traced) -> None:
    """Note that the arguments are used which a function used that was traced for them; of several
    functions only one runs.
    """
    for k in sorted({k for body in traced for k in body.keys_used}):
        consume(leaves[k])


def consume_loop(leaves: Sequence[Array], body: Traced) -> None:
    """``consume_all`` for the body of a loop, whose carry comes first: a key that is used and goes
    on unchanged is used again in the next step.
    """
    consume_all(leaves, body)
    inputs = body.graph.inputs[len(body.captured) :]
    for k in body.keys_used:
        if k < len(body.graph.outputs) and body.graph.outputs[k] is inputs[k]:
            raise _reused("a key that goes on unchanged is used in every step of a loop", None)


def _consume_values(words: Array) -> None:
    at = source.here()
    for key in _values(words):
        if _used.spare.get(key):
            _used.spare[key] -= 1
        elif key in _used.values:
            raise _reused(f"the key {list(key)} is used again", _used.values[key])
        else:
            _used.values[key] = at


def _values(words: Array) -> list[tuple[int, ...]]:
    return [tuple(key) for key in words.concrete("random").reshape(-1, 2).tolist()]


def _consume_traced(words: Array, trace: Trace) -> None:
    known = _origin(words._value, trace)
    if trace.keys_spare.get(known):
        trace.keys_spare[known] -= 1
    elif known in trace.keys_used:
        raise _reused("a key is used again", trace.keys_used[known])
    else:
        trace.keys_used[known] = source.here()


def _origin(atom: Any, trace: Trace) -> Any:
    """What tells where a traced key comes from: of equal slices of one array, the same."""
    if isinstance(atom, Literal):
        return (atom.value.item(), atom.type)
    node = next((n for n in reversed(trace.builder.nodes) if atom in n.outputs), None)
    if node is None or node.prim.name not in TAKING:
        return atom
    return (node.prim.name, params_key(node.params), *(_origin(x, trace) for x in node.inputs))


def _reused(what: str, before: Any) -> KeyReuseError:
    notes = (f"first used at {before.short()}",) if before is not None else ()
    return KeyReuseError(f"random: {what}", at=source.here(), notes=notes, hint=HINT)


def fresh(words: Array) -> None:
    """Note that the keys ``words`` were made anew.

    Where one of them was used before, a program begins again or another one has the same seed: its
    keys have the values of the first one's, also those that come out of compiled functions and
    loops, which nobody sees being made. All uses are forgotten.
    """
    if not config.current().check_keys or not words._has_value:
        return
    if not _used.values.keys().isdisjoint(_values(words)):
        _used.values.clear()


def again(words: Array) -> None:
    """Note that the keys ``words`` may be used once more."""
    if not config.current().check_keys:
        return
    if words._has_value:
        for key in _values(words):
            _used.spare[key] = _used.spare.get(key, 0) + 1
    else:
        known = _origin(words._value, words._trace)
        words._trace.keys_spare[known] = words._trace.keys_spare.get(known, 0) + 1
