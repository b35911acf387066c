"""Reading between elements: map_coordinates, against SciPy's with the names of its modes."""

from __future__ import annotations

from typing import Any

import scipy.ndimage

from tests.vocabulary.spec import Case, case, real

#: what SciPy calls the modes
MODES = {
    "constant": "grid-constant",
    "nearest": "nearest",
    "wrap": "grid-wrap",
    "mirror": "mirror",
    "reflect": "reflect",
}


def scipy_map(x: Any, coordinates: Any, order: int, mode: str = "constant", cval: float = 0) -> Any:
    return scipy.ndimage.map_coordinates(x, coordinates, order=order, mode=MODES[mode], cval=cval)


def mapped(*args: Any, **options: Any) -> Case:
    return case("tracejit.scipy.ndimage.map_coordinates", *args, reference=scipy_map, **options)


CASES = [
    mapped(real(4, 5), [real(3, low=-6, high=9), real(3, low=-6, high=9)], order, mode, cval=1.5)
    for mode in MODES
    for order in (0, 1)
]
CASES += [
    mapped(real(6), [real(2, 3, low=-3, high=8)], order=1),
    mapped(real(2, 3, 2), [real(4), real(4), real(4)], 1, "mirror"),
    mapped(real(1, 3), [real(4), real(4)], 1, "reflect"),
    mapped(real(2, 3), [real(0), real(0)], order=1, grad="nothing to move"),
]
