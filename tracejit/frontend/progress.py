"""Progress bars: for loops of training in Python, and for loops that run inside programs.

    bar = tj.progress(range(1000), desc="train")
    for step in bar:
        params, loss = train_step(params)
        bar.show(loss=loss)            train:  42%|####    | 420/1000, 96.1it/s, loss=0.31

``tqdm`` draws the bar where it is installed; else it is plain text: one line that is written
again on a terminal, and at most twenty lines elsewhere. Bars go to standard error.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tracejit.errors import ArgumentError
from tracejit.frontend.axes import integer
from tracejit.frontend.call import function_name
from tracejit.record import dataclass
from tracejit.source import here

#: seconds between two looks at values that are to be shown
_SECONDS = 0.1
#: updates of a loop inside a program
UPDATES = 20


class _Text:
    """A bar without ``tqdm``: the part of its interface that is used here."""

    def __init__(self, total: int | None, desc: str) -> None:
        self.total, self.desc, self.n = total, desc, 0
        self._postfix = ""
        self._start = self._last = time.monotonic()
        self._shown, self._closed = -1, False
        self._live = sys.stderr.isatty()

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        self._postfix = text

    def update(self, n: int) -> None:
        self.n += n
        now = time.monotonic()
        if self._live:
            due = now - self._last >= _SECONDS
        elif self.total:
            due = self.n * UPDATES // self.total > self._shown * UPDATES // self.total
        else:
            due = now - self._last >= 5.0
        if due or self.n == self.total:
            self._last = now
            self._write()

    def _write(self) -> None:
        self._shown = self.n
        seconds = max(time.monotonic() - self._start, 1e-9)
        count = (
            f"{self.n}/{self.total} {100 * self.n // self.total}%" if self.total else f"{self.n}"
        )
        parts = [f"{count}, {self.n / seconds:.3g} it/s", *filter(None, [self._postfix])]
        line = f"{self.desc}: " * bool(self.desc) + ", ".join(parts)
        sys.stderr.write(f"\r{line}\x1b[K" if self._live else f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        if not self._closed and self._shown != self.n:
            self._write()
        if not self._closed and self._live:
            sys.stderr.write("\n")
        self._closed = True


def _bar(total: int | None, desc: str) -> Any:
    try:
        import tqdm
    except ImportError:
        return _Text(total, desc)
    return tqdm.tqdm(total=total, desc=desc or None, file=sys.stderr)


# ---- loops in Python -----------------------------------------------------------------------------


def _shown(value: Any) -> str:
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)


class Progress:
    """What ``progress`` gives: an iterable with ``show``, and a context with ``update``."""

    def __init__(self, iterable: Any, desc: str, total: int | None) -> None:
        self._iterable = iterable
        self._bar = _bar(total, desc)
        self._values: dict[str, Any] = {}
        self._looked = 0.0

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ArgumentError("progress: there is nothing to go over", at=here())
        try:
            for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def show(self, **values: Any) -> None:
        """Values beside the bar. They are read some ten times a second, not each time: arrays that
        are still being computed are not waited for in between.
        """
        self._values = values

    def update(self, steps: int = 1) -> None:
        """That many steps are done."""
        now = time.monotonic()
        if self._values and now - self._looked >= _SECONDS:
            self._looked = now
            self._postfix()
        self._bar.update(steps)

    def _postfix(self) -> None:
        text = ", ".join(f"{name}={_shown(value)}" for name, value in self._values.items())
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Draw the last state and end the line."""
        if self._values:
            self._postfix()
            self._values = {}
        self._bar.close()


def progress(
    iterable: Iterable[Any] | None = None, desc: str = "", total: int | None = None
) -> Progress:
    """A progress bar over ``iterable``, with steps per second and what ``show`` is given.

    ``total``: the number of steps, by default the length of the iterable if it has one. Without an
    iterable it is a context whose ``update(steps)`` counts.

    >>> bar = tj.progress(range(3), desc="train")  # doctest: +SKIP
    >>> for step in bar:  # doctest: +SKIP
    ...     bar.show(loss=1.0 / (step + 1))
    train: 100%|##########| 3/3 [00:00<00:00, 5000.00it/s, loss=0.3333]
    """
    if iterable is not None and not isinstance(iterable, Iterable):
        raise ArgumentError(f"progress: a {type(iterable).__name__} cannot be gone over", at=here())
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # type: ignore[arg-type]
    return Progress(iterable, str(desc), None if total is None else integer(total, "total"))


# ---- loops in programs ---------------------------------------------------------------------------

#: bars of running loops, by thread and meter
_running: dict[tuple[int, Meter], Any] = {}


@dataclass(frozen=True)
class Meter:
    """Called from a program with the number of steps that are done: 0 begins a bar, ``total`` ends
    it. Equal for equal loops, so that programs with one are compiled once.
    """

    desc: str
    total: int
    updates: int = UPDATES

    @property
    def __name__(self) -> str:
        return "progress"

    def __call__(self, done: Any) -> None:
        place = (threading.get_ident(), self)
        steps = int(done)
        if steps == 0:
            left = _running.pop(place, None)
            if left is not None:
                left.close()
            _running[place] = _bar(self.total, self.desc)
            return
        bar = _running.get(place)
        if bar is None:
            return
        bar.update(steps - bar.n)
        if steps >= self.total:
            _running.pop(place).close()

    def blocks(self) -> tuple[int, int, int]:
        """How the steps are cut: the size of a block, the number of blocks, and what is left.

        A number of blocks that divides the steps leaves nothing, which saves joining results.
        """
        most = min(self.updates, self.total)
        even = next(n for n in range(most, 0, -1) if self.total % n == 0)
        if 4 * even >= most:
            return self.total // even, even, 0
        size = -(-self.total // most)
        return size, self.total // size, self.total % size


_OPTIONS = ("desc", "updates")


def meter(option: Any, function: Any, total: int) -> Meter:
    """The Meter for ``scan(..., progress=option)``: True, a description, or a dict with ``desc``
    and ``updates``.
    """
    if isinstance(option, bool | str):
        option = {} if isinstance(option, bool) else {"desc": option}
    if not isinstance(option, dict) or set(option) - set(_OPTIONS):
        raise ArgumentError(
            f"scan: progress is a bool, a description, or a dict with {' and '.join(_OPTIONS)}, "
            f"not {option!r}",
            at=here(),
        )
    updates = integer(option.get("updates", UPDATES), "scan: progress updates")
    if updates < 1:
        raise ArgumentError(f"scan: progress updates are positive, not {updates}", at=here())
    return Meter(str(option.get("desc", function_name(function))), total, updates)
