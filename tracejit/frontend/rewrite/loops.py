"""while and for: Python's own loops as long as nothing is traced, else ``while`` and ``scan``.

    while_(lambda: x > 1, body, ("x",), ())
    for_(range(n), body, ("s",), ("i",), "")

A loop may become traced on its way: it goes on from there. The variables that are read later are
the loop's state; their dtypes are promoted until a step leaves them as they are. A loop over the
rows of an array is a scan; one that may stop early, or whose length is traced, is a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any

from tracejit import source
from tracejit.errors import TracedValueError, TreeError
from tracejit.frontend import elementwise, key_uses, methods
from tracejit.frontend.array import Array, apply, as_array
from tracejit.frontend.bodies import converted, share_captured
from tracejit.frontend.rewrite import checks, raised
from tracejit.frontend.rewrite.branches import (
    MOST_ROUNDS,
    branch,
    check_depth,
    check_shared,
    condition,
    dropped,
    not_,
    out_of_reach,
)
from tracejit.frontend.rewrite.carry import Carry
from tracejit.frontend.rewrite.items import Items, Steps, traced_items
from tracejit.frontend.rewrite.state import (
    MISSING,
    NoValue,
    Slot,
    is_older,
    is_own,
    is_traced,
    line,
    shown,
    slots_of,
)
from tracejit.frontend.rewrite.stores import Journal
from tracejit.frontend.trace import Trace, Traced, current_trace, run_trace
from tracejit.ir.graph import Value
from tracejit.ir.types import TensorType
from tracejit.transform import loops

#: loops over this many items or fewer are unrolled where their bodies fit no scan
MOST_UNROLLED = 100


def while_(
    test: Callable[[], Any],
    body: FunctionType,
    live: Sequence[str],
    dead: Sequence[str],
    shared: Sequence[str] = (),
) -> None:
    """The ``while`` statement. ``live``: variables that are read later, of those assigned."""
    while True:
        flag = test()
        if is_traced(flag):
            break
        if not flag:
            return
        body()
    check_shared(shared, "while")
    condition(flag, "while")
    loop = Loop("while", slots_of([body], live), slots_of([body], dead), body, test)
    loop.run_while(lambda k: condition_of(test()), lambda k: body(), None)


def condition_of(flag: Any) -> Array:
    """The test of a loop as bool[]."""
    if is_traced(flag):
        return condition(flag, "while")
    return elementwise.truth(as_array(bool(flag)))  # type: ignore[no-any-return]


def for_(
    items: Any,
    body: FunctionType,
    live: Sequence[str],
    dead: Sequence[str],
    flag: str = "",
    shared: Sequence[str] = (),
) -> None:
    """The ``for`` statement; ``flag`` names the variable that stops it."""
    found = traced_items(items)
    slots, rest = slots_of([body], live), slots_of([body], dead)
    stop = next((slot for slot in slots_of([body], [flag]) if flag), None)
    if found is None:
        _each(items, body, slots, rest, stop)
        return
    check_shared(shared, "for")
    check_depth()
    static = not is_traced(found.length)
    if static and found.length == 0:
        return
    loop = Loop("for", slots, rest, body)
    if not static:
        loop.run_counted(found, body, stop)
        return
    if not _attempt(loop, found, body, stop, True):
        _each(found, body, slots, rest, stop)


def _attempt(
    loop: Loop, items: Items, body: FunctionType, stop: Slot | None, runs: bool = False
) -> bool:
    """Run a loop of known length as one node; False where it has to be unrolled. ``runs``: nothing
    can have stopped it before.
    """
    try:
        if stop is None:
            loop.run_scan(items, body)
        else:
            loop.run_counted(items, body, stop, runs)
    except (TreeError, TracedValueError):
        if items.length > MOST_UNROLLED:
            raise
        return False
    return True


def _each(
    items: Iterable[Any],
    body: Callable[[Any], Any],
    live: Sequence[Slot],
    dead: Sequence[Slot],
    stop: Slot | None,
) -> None:
    """Python's own loop; where the flag that stops it is traced, each further step is a branch."""
    iterator = iter(items)
    for item in iterator:
        body(item)
        flag = None if stop is None else stop.get()
        if is_traced(flag):
            break
        if flag:
            return
    else:
        return
    rest = list(iterator) if not isinstance(items, range) else items[items.index(item) + 1 :]
    if isinstance(rest, range) and len(rest) > 1:
        steps = Steps(rest.start, rest.step, len(rest))
        if _attempt(Loop("for", live, dead, body), steps, body, stop):  # type: ignore[arg-type]
            return
    for item in rest:
        flag = stop.get()  # type: ignore[union-attr]
        if is_traced(flag):
            branch(not_(flag), lambda item=item: body(item), None, live, dead)
        elif flag:
            return
        else:
            body(item)


class Loop:
    """One traced loop over the variables ``live``; the variables ``dead`` end without a value."""

    def __init__(
        self, what: str, live: Sequence[Slot], dead: Sequence[Slot], *functions: Callable[..., Any]
    ) -> None:
        self.what = what
        self.functions = functions
        self.live, self.dead = list(live), list(dead)
        #: what functions called from the body have changed
        self.members: list[Slot] = []
        self.at = source.here()
        #: of a ``while``, whether it takes the step: a check in the body asks for it
        self.way = checks.Way()
        self.test: Callable[[], Array] | None = None
        outer = current_trace()
        self.function = outer.function if outer is not None else ""

    # ---- tracing ----

    def trace(self, run: Callable[[list[Value], Trace], Any], carry: Carry, extra: Any) -> Traced:
        """Trace ``run`` with inputs for the state and for ``extra`` types."""
        trace = Trace(self.what, function=self.function)
        types = [*(a.type for a in carry.arrays), *extra]
        names = [*carry.names(), *("" for _ in extra)]
        slots = [*self.live, *self.dead]
        before = [slot.get() for slot in slots]
        journal = Journal(self.functions)
        try:
            with raised.Branch(self.what), journal:
                traced = run_trace(
                    trace, types, names, lambda values: run(values, trace), name=self.function
                )
                self.members = journal.members(slots)
            return traced
        finally:
            journal.undo()
            for slot, value in zip(slots, before, strict=True):
                slot.set(value)

    def trace_step(
        self,
        step: Callable[[Sequence[Any]], Any],
        carry: Carry,
        extra: Sequence[tuple[TensorType, bool]],
    ) -> Traced:
        """Trace the body once; ``extra``: types of what it gets beside the state, and if weak."""

        def run(values: list[Value], trace: Trace) -> tuple[list[Array], Any]:
            n = len(carry.arrays)
            carry.put(values[:n], trace)
            self.way.condition = self.test() if self.way.asked and self.test else None
            others = [
                Array(None, value, trace, weak)
                for value, (_, weak) in zip(values[n:], extra, strict=True)
            ]
            step(others)
            return carry.take()

        with checks.under(self.way):
            return self.trace(run, carry, [type for type, _ in extra])

    def settle(
        self,
        step: Callable[[Sequence[Any]], Any],
        extra: Sequence[tuple[TensorType, bool]],
        runs: bool,
    ) -> tuple[Carry, Traced]:
        """Trace the body until the types of the state hold. ``runs``: at least one step is taken,
        so that what the body assigns first has a value after the loop.
        """
        carry = Carry(self.live, self.what, self.at)
        rounds = 0
        while True:
            asked = self.way.asked
            body = self.trace_step(step, carry, extra)
            if self.way.asked and not asked and self.test:
                continue
            self.members = [m for m in self.members if not rounds or is_older(m)]
            if self.members:
                rounds += 1
                if rounds > MOST_ROUNDS:
                    raise out_of_reach(self.members, self.what)
                self.live += self.members
                carry = Carry(self.live, self.what, self.at)
                continue
            weak, new = body.outputs
            n = len(carry.arrays)
            types = body.graph.output_types
            changed = carry.settle(types[:n], weak)
            carry.begun.update(slot.name for slot, _ in new.values())
            for index, (slot, value) in new.items():
                if runs or is_own(slot.name):
                    carry.begin(index, value)
                    changed = True
            if not changed:
                dtypes = [a.dtype for a in carry.arrays]
                graph = body.graph
                return carry, Traced(converted(graph, dtypes), body.captured, None, body.keys)

    # ---- nodes ----

    def run_scan(self, items: Items, body: Callable[[Any], Any]) -> None:
        """A loop over rows, all of them."""
        xs = items.arrays()
        slices = [(x.type.with_shape(x.shape[1:]), x._weak) for x in xs]
        carry, traced = self.settle(lambda rows: body(items.item(iter(rows))), slices, True)
        n, steps = len(carry.arrays), items.length
        key_uses.consume_loop([*carry.arrays, *xs], traced, n, steps)
        outs = apply(
            loops.scan,
            *traced.captured,
            *carry.arrays,
            *xs,
            body=traced.graph,
            n_consts=len(traced.captured),
            n_carry=n,
            length=steps,
            reverse=False,
        )
        key_uses.note_loop_results(outs, traced, n, steps)
        self.finish(carry, outs)

    def run_counted(
        self, items: Items, body: Callable[[Any], Any], stop: Slot | None, runs: bool = False
    ) -> None:
        """A loop over items one by one, as long as the flag is not set. ``runs``: at least one."""
        length = items.length

        def test(k: Any) -> Array:
            more = methods.less(k, length)
            if stop is None:
                return more
            flag = stop.get()
            return elementwise.logical_and(more, elementwise.logical_not(flag))

        self.run_while(test, lambda k: body(items.at(k)), 0, runs)

    def run_while(
        self,
        test: Callable[[Any], Array],
        body: Callable[[Any], Any],
        counter: int | None,
        runs: bool = False,
    ) -> None:
        """A ``while`` node; ``counter``: the number of the first step, where steps are counted."""
        self.live = [*self.live, *([Counter(counter)] if counter is not None else [])]
        last = self.live[-1] if counter is not None else None

        def step(_: Sequence[Any]) -> None:
            k = None if last is None else last.get()
            body(k)
            if last is not None:
                last.set(methods.add(k, 1))

        self.test = lambda: test(None if last is None else last.get())
        carry, traced = self.settle(step, (), runs)

        def check(values: list[Value], trace: Trace) -> tuple[list[Array], Any]:
            carry.put(values, trace)
            return [test(None if last is None else last.get())], None

        flag = self.trace(check, carry, ())
        if self.members:
            raise TracedValueError(
                f"the condition of a traced loop changes {shown(self.members[0].name)}",
                at=self.at,
                hint="write `while True:`, and leave the loop with `break`",
            )
        key_uses.consume_loop(carry.arrays, traced, len(carry.arrays), test=flag)
        captured, graphs = share_captured((flag, traced))
        outs = apply(
            loops.while_,
            *captured,
            *carry.arrays,
            cond=graphs[0],
            body=graphs[1],
            n_consts=len(captured),
        )
        key_uses.note_loop_results(outs, traced, len(carry.arrays))
        self.finish(carry, outs)

    def finish(self, carry: Carry, outs: Sequence[Array]) -> None:
        """Variables after the loop."""
        for slot, value in carry.results(outs):
            if value is MISSING and (is_own(slot.name) or slot.name not in carry.begun):
                continue  # no step assigns it
            if value is MISSING:
                value = NoValue(
                    f"{shown(slot.name)} is assigned only inside of a loop that may not run",
                    (f"the `{self.what}` loop is traced{line(self.at)}",),
                    f"assign {shown(slot.name)} before the loop",
                )
            slot.set(value)
        for slot in self.dead:
            slot.set(dropped(slot.name))


class Counter:
    """The number of a step, kept like a variable."""

    name = "_tj_step"

    def __init__(self, value: Any) -> None:
        self.value = value

    def place(self) -> tuple[Any, ...]:
        return (id(self),)

    def get(self) -> Any:
        return self.value

    def set(self, value: Any) -> None:
        self.value = value
