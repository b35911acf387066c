"""The quick ``@dataclass`` does what the library's does."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from dataclasses import FrozenInstanceError, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tracejit
from tracejit.record import dataclass as quick


def classes(dataclass: Any) -> dict[str, type]:
    """The same classes, made by one decorator or the other."""

    @dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2
        names: list[str] = field(default_factory=list)
        at: Any = field(default=None, compare=False)
        count: ClassVar[int] = 7

    @dataclass(frozen=True)
    class Solid(Point):
        z: int = 3

        def __repr__(self) -> str:
            return f"Solid {self.z}"

    @dataclass
    class Open:
        x: int
        total: int = field(default=0, init=False, repr=False)

        def __post_init__(self) -> None:
            self.total = self.x + 1

    @dataclass(frozen=True)
    class Own:
        x: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 5

    @dataclass(frozen=True)
    class Empty:
        pass

    @dataclass(frozen=True, slots=True)
    class Slots:
        x: int

    @dataclass(frozen=True, eq=False)
    class Identity:
        x: int

    found = (Point, Solid, Open, Own, Empty, Slots, Identity)
    return {cls.__name__: cls for cls in found}


QUICK, LIBRARY = classes(quick), classes(dataclasses.dataclass)


def both(test: Any) -> None:
    """``test`` gives the same for the classes of both."""
    found = []
    for made in (QUICK, LIBRARY):
        try:
            found.append(test(**made))
        except Exception as error:
            found.append((type(error), str(error).replace("classes.<locals>.", "")))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "test",
    [
        lambda Point, **_: repr(Point(1)),
        lambda Point, **_: repr(Point(y=5, x=1, names=["a"], at=3)),
        lambda Point, **_: (Point(1) == Point(1), Point(1) == Point(2), Point(1) == 1),
        lambda Point, **_: Point(1, at=1) == Point(1, at=2),
        lambda Point, **_: hash(Point(1, names=())) == hash((1, 2, ())),
        lambda Point, **_: Point(1).names is Point(1).names,
        lambda Point, **_: Point(),
        lambda Point, **_: Point(1, 2, [], 3, 4),
        lambda Point, **_: Point(1, w=2),
        lambda Point, **_: (Point.y, Point.count, Point.at, hasattr(Point, "names")),
        lambda Point, **_: Point.__match_args__,
        lambda Point, **_: [f.name for f in dataclasses.fields(Point)],
        lambda Point, **_: repr(dataclasses.replace(Point(1), y=9)),
        lambda Point, **_: dataclasses.asdict(Point(1)),
        lambda Point, **_: setattr(Point(1), "x", 2),
        lambda Point, **_: delattr(Point(1), "x"),
        lambda Point, **_: repr(copy.copy(Point(4))),
        lambda Solid, **_: (repr(Solid(1, z=4)), Solid(1) == Solid(1), Solid(1).y),
        lambda Solid, Point, **_: Solid(1) == Point(1),
        lambda Solid, **_: [f.name for f in dataclasses.fields(Solid)],
        lambda Open, **_: (repr(Open(3)), Open(3).total, Open(3) == Open(3)),
        lambda Open, **_: hash(Open(3)),
        lambda Open, **_: Open(3, 4),
        lambda Own, **_: (Own(1) == Own(2), hash(Own(1))),
        lambda Empty, **_: (repr(Empty()), Empty() == Empty(), hash(Empty())),
        lambda Slots, **_: (repr(Slots(1)), hasattr(Slots(1), "__dict__")),
        lambda Identity, **_: Identity(1) == Identity(1),
    ],
)
def test_the_same_as_the_library(test: Any) -> None:
    both(test)


def test_patterns() -> None:
    match Stored(4):
        case Stored(x):
            assert x == 4


def test_frozen_instances_stay_as_they_are() -> None:
    point = QUICK["Point"](1)
    with pytest.raises(FrozenInstanceError):
        point.x = 2
    with pytest.raises(FrozenInstanceError):
        point.other = 2
    assert point.x == 1


@quick(frozen=True)
class Stored:
    """Found by its name, so it can be pickled."""

    x: int


def test_pickles() -> None:
    assert pickle.loads(pickle.dumps(Stored(3))) == Stored(3)


def test_mutable_defaults_are_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):

        @quick
        class Wrong:
            x: list[int] = []


def test_the_package_uses_it() -> None:
    root = Path(tracejit.__file__).parent
    slow = re.compile(r"^from dataclasses import (.*, )?dataclass\b", re.MULTILINE)
    found = [p.name for p in root.rglob("*.py") if slow.search(p.read_text())]
    assert found == ["record.py"] or found == []
