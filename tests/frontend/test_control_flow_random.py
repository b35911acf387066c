"""Random programs of Python's control flow: compiled, they do what they do on NumPy's scalars.

Each is a function of two floats, an integer and an array, made of if, while, for, match, break,
continue, early return, and, or, not, chained comparisons, conditional expressions, sums and the
like of generators with conditions, assert, try with finally, stores into the array, and calls of
functions that change dicts, lists, objects and variables around them.
"""

from __future__ import annotations

import functools
import linecache
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.frontend.rewrite.entry import fn

COUNT, PER_TEST = 320, 40
#: of these values, derivatives and batches are compared
SAMPLES = 3
HEADER = """
class Box:
    def __init__(self, h):
        self.h, self.n = h, 0

    def put(self, value):
        if value > 0:
            self.h = self.h * 0.5 + value
        self.n += 1


def put(items, key, value):
    items[key] = items[key] * 0.5 + value
"""


class Program:
    """Writes one function."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.loops = 0
        self.depth = 0
        self.work = 0

    def text(self, name: str) -> str:
        self.lines = [f"def {name}(x, y, n, v):"]
        self.add("a, b, k = x, y * 0.5, 0")
        self.add("w = v * 1.0")
        self.add("box, table, items, count = Box(x), {'p': y, 'q': 1.0}, [0.0, x], 0")
        self.add("def bump(z):")
        self.add("    nonlocal count")
        self.add("    count += 1")
        self.add("    items[1] = items[1] * 0.5 + z")
        self.block(3, loop=False)
        self.add("held = table['p'] - table['q'] + items[0] * items[1] + box.h + box.n + count")
        self.add("return a - b + k + w[0] * 0.5 + w.sum() + held")
        return "\n".join(self.lines) + "\n"

    def add(self, line: str) -> None:
        self.lines.append("    " * (self.depth + 1) + line)

    def pick(self, *options: Any) -> Any:
        return self.random.choice(options)

    # ---- expressions ----

    def number(self) -> str:
        return str(round(self.random.uniform(-2, 2), 2))

    def value(self, depth: int = 2) -> str:
        if depth == 0 or self.random.random() < 0.3:
            return self.pick("a", "b", "x", "y", "w[k % 3]", "w[1]", self.number())
        one, two = self.value(depth - 1), self.value(depth - 1)
        return self.pick(
            f"({one} + {two})",
            f"({one} - {two})",
            f"{self.number()} * {one}",
            f"{one} / (1.5 + abs({two}))",
            f"({one} if {self.test(depth - 1)} else {two})",
            f"max({one}, {two})",
        )

    def test(self, depth: int = 2) -> str:
        if depth == 0 or self.random.random() < 0.4:
            return self.pick(
                f"{self.value(depth and 1)} > {self.number()}",
                f"{self.value(0)} < {self.value(0)}",
                f"-1 < {self.value(0)} <= 1.5",
                "n > 2",
                "k % 2 == 1",
            )
        one, two = self.test(depth - 1), self.test(depth - 1)
        return self.pick(f"({one} and {two})", f"({one} or {two})", f"not {one}")

    # ---- statements ----

    def block(self, depth: int, loop: bool) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.statement(depth, loop)

    def inside(self, depth: int, loop: bool) -> None:
        self.depth += 1
        self.block(depth - 1, loop)
        self.depth -= 1

    def statement(self, depth: int, loop: bool) -> None:
        self.work += 1
        kinds = ["assign", "assign", "update", "store", "local", "call", "call", "fold", "check"]
        if depth and self.work < 14:
            kinds += ["branch", "branch", "branch", "count", "loop", "loop", "rows"]
            kinds += ["cases", "finish"]
        if loop:
            kinds += ["leave", "leave"]
        getattr(self, self.pick(*kinds))(depth, loop)

    def assign(self, depth: int, loop: bool) -> None:
        self.add(f"{self.pick('a', 'b')} = {self.value()}")

    def update(self, depth: int, loop: bool) -> None:
        self.add(self.pick("k += 1", "a -= b * 0.25", f"b += {self.value(1)}", "a, b = b, a"))

    def store(self, depth: int, loop: bool) -> None:
        self.add(f"w[{self.pick('0', '2', 'k % 3', 'n % 3')}] = {self.value(1)}")

    def local(self, depth: int, loop: bool) -> None:
        self.add(f"t = {self.value(1)}")
        self.add(f"b = t * 0.5 + {self.number()}")

    def call(self, depth: int, loop: bool) -> None:
        value = self.value(1)
        self.add(
            self.pick(
                f"put(table, {self.pick('0', '1')} and 'p' or 'q', {value})",
                f"put(items, {self.pick(0, 1)}, {value})",
                f"box.put({value})",
                f"bump({value})",
            )
        )

    def fold(self, depth: int, loop: bool) -> None:
        test = f"e {self.pick('<', '>')} {self.value(0)}"
        self.add(
            self.pick(
                f"a = a * 0.5 + sum(e * 0.5 for e in v if {test})",
                f"b = max((e for e in v if {test}), default=b)",
                f"b = min((e * 2 for e in v if {test} and e > -1), default={self.number()})",
                f"k += 1 if any(e > 0 for e in v if {test}) else 0",
                f"a = a if all(e < 1 for e in v if {test}) else -a",
            )
        )

    def check(self, depth: int, loop: bool) -> None:
        self.add("assert abs(a) < 1e200 and b == b, f'{a:.3f} and {b!r}'")

    def cases(self, depth: int, loop: bool) -> None:
        self.add(f"match {self.pick('n', 'k % 3')}:")
        self.depth += 1
        for pattern in ("0", f"1 if {self.test(1)}", "1 | 2", f"m if m > 2 and {self.test(1)}"):
            if self.random.random() < 0.6:
                self.add(f"case {pattern}:")
                self.inside(depth, loop)
                self.ending(loop)
        self.add("case _:")
        self.inside(depth, loop)
        self.depth -= 1

    def finish(self, depth: int, loop: bool) -> None:
        self.add("try:")
        self.inside(depth, loop)
        self.add("finally:")
        self.add("    b = b * 0.5")

    def branch(self, depth: int, loop: bool) -> None:
        self.add(f"if {self.test()}:")
        self.inside(depth, loop)
        self.ending(loop)
        if self.random.random() < 0.4:
            self.add(f"elif {self.test()}:")
            self.inside(depth, loop)
            self.ending(loop)
        if self.random.random() < 0.5:
            self.add("else:")
            self.inside(depth, loop)
            self.ending(loop)

    def ending(self, loop: bool) -> None:
        """What a branch may end with."""
        if self.random.random() < 0.25:
            self.depth += 1
            exits = ["return a * 0.5 + k"] + (["break", "continue"] * 2 if loop else [])
            self.add(self.pick(*exits))
            self.depth -= 1

    def leave(self, depth: int, loop: bool) -> None:
        self.add(f"if {self.test(1)}:")
        self.add("    " + self.pick("break", "continue", "return b - a"))

    def otherwise(self, depth: int, loop: bool) -> None:
        if self.random.random() < 0.2:
            self.add("else:")
            self.inside(depth, loop)

    def count(self, depth: int, loop: bool) -> None:
        self.loops += 1
        i = f"i{self.loops}"
        self.add(f"for {i} in {self.pick('range(n)', 'range(3)', 'range(1, n + 1)')}:")
        self.depth += 1
        self.add(self.pick(f"k += {i}", f"a = a * 0.5 + {i}"))
        self.depth -= 1
        self.inside(depth, True)
        self.otherwise(depth, loop)

    def rows(self, depth: int, loop: bool) -> None:
        items = self.pick(
            "e in v", "j, e in enumerate(v)", "e, f in zip(v, v * 2)", "e in reversed(v)"
        )
        self.add(f"for {items}:")
        self.depth += 1
        self.add("b = b * 0.5 + e")
        self.depth -= 1
        self.inside(depth, True)
        self.otherwise(depth, loop)

    def loop(self, depth: int, loop: bool) -> None:
        self.loops += 1
        c = f"c{self.loops}"
        self.add(f"{c} = 0")
        self.add(f"while {c} < {self.pick('3', 'n')}{self.pick('', f' and {self.test(1)}')}:")
        self.depth += 1
        self.add(f"{c} += 1")
        self.depth -= 1
        self.inside(depth, True)
        self.otherwise(depth, loop)


@functools.cache
def programs() -> SimpleNamespace:
    """All programs, as one module whose source can be read."""
    text = HEADER + "\n".join(Program(seed).text(f"program_{seed}") for seed in range(COUNT))
    file = "<random control flow>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, Any] = {}
    exec(compile(text, file, "exec"), space)
    return SimpleNamespace(**space)


def arguments(seed: int) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(seed)
    return [
        (*rng.normal(size=2) * 2, np.int64(rng.integers(0, 5)), rng.normal(size=3))
        for _ in range(SAMPLES)
    ]


def plain(seed: int) -> Callable[..., Any]:
    return getattr(programs(), f"program_{seed}")  # type: ignore[no-any-return]


def compiled(seed: int, **options: Any) -> Any:
    return tj.jit(plain(seed), control_flow=True, **options)


@pytest.mark.parametrize("first", range(0, COUNT, PER_TEST))
def test_programs_do_what_python_does(first: int) -> None:
    with tj.settings(default_float="float64"):
        for seed in range(first, first + PER_TEST):
            f = compiled(seed, mode="fast_compile")
            for args in arguments(seed):
                wanted = plain(seed)(*args)
                np.testing.assert_allclose(
                    f(*args), wanted, rtol=1e-9, atol=1e-12, err_msg=str(seed)
                )


def test_rewritten_programs_are_the_same_on_python_values() -> None:
    for seed in range(COUNT):
        for args in arguments(seed):
            x, y, n, v = args
            values = (float(x), float(y), int(n), v)
            assert fn(plain(seed))(*values) == plain(seed)(*values), seed


@pytest.mark.parametrize("seed", range(0, COUNT, 32))
def test_machine_code_does_what_python_does(seed: int) -> None:
    with tj.settings(default_float="float64"):
        f = compiled(seed)
        for args in arguments(seed):
            np.testing.assert_allclose(f(*args), plain(seed)(*args), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(1, COUNT, 16))
def test_derivatives_are_those_outside_of_jit(seed: int) -> None:
    with tj.settings(default_float="float64"):
        f = compiled(seed)
        for args in arguments(seed)[:2]:
            wanted = tj.grad(plain(seed), argnums=(0, 1, 3))(*args)
            found = tj.grad(f, argnums=(0, 1, 3))(*args)
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(2, COUNT, 16))
def test_batches_are_single_calls_side_by_side(seed: int) -> None:
    with tj.settings(default_float="float64"):
        samples = arguments(seed)
        batch = [np.stack(column) for column in zip(*samples, strict=True)]
        found = tj.vmap(compiled(seed, mode="fast_compile"))(*batch)
        wanted = [plain(seed)(*args) for args in samples]
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
