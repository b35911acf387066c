"""Python inside programs: pure_callback for values, host_effect for printing and logging.

    pure_callback(x; function, types)    results of a Python function, of the types promised
    host_effect(x; function)             calls the function when the program runs; no result

Both run on the host, between kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ArgumentError
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType
from tracejit.ops.broadcast import with_batch_axis
from tracejit.record import dataclass


def _numpy_callback(*arrays: Any, function: Any, types: tuple[TensorType, ...]) -> tuple[Any, ...]:
    found = function(*[np.array(a) for a in arrays])  # its own: ours are used again
    results = found if isinstance(found, tuple | list) else (found,)
    if len(results) != len(types):
        raise ArgumentError(
            f"pure_callback: {_name(function)} returned {len(results)} arrays, not {len(types)}"
        )
    outs = tuple(np.asarray(r, t.dtype) for r, t in zip(results, types, strict=True))
    for out, type in zip(outs, types, strict=True):
        if out.shape != type.shape:
            raise ArgumentError(
                f"pure_callback: {_name(function)} returned shape {out.shape} "
                f"where {type} was promised"
            )
    return outs


def _name(function: Any) -> str:
    return f"`{getattr(function, '__name__', type(function).__name__)}`"


def name_of(function: Any) -> str:
    """A callback's name, for messages and text forms."""
    return getattr(function, "__name__", "callback")


@dataclass(frozen=True)
class OneByOne:
    """A callback over a batch: ``function`` on each example, results stacked."""

    function: Any
    mask: tuple[bool, ...]
    size: int

    @property
    def __name__(self) -> str:
        return name_of(self.function)

    def __call__(self, *arrays: Any) -> Any:
        rows = []
        for k in range(self.size):
            found = self.function(
                *[np.asarray(a[k]) if m else a for a, m in zip(arrays, self.mask, strict=True)]
            )
            rows.append(found if isinstance(found, tuple | list) else (found,))
        return tuple(
            np.stack([np.asarray(r) for r in column]) for column in zip(*rows, strict=True)
        )


def _batch_callback(size: int, mask: Any, xs: Any, *, function: Any, types: Any) -> Any:
    batched = tuple(t.with_shape((size, *t.shape)) for t in types)
    method = getattr(function, "vmap_method", None)
    if method in ("expand_dims", "broadcast_all"):  # once, with all examples
        lead = 1 if method == "expand_dims" else size
        full = [x if m else with_batch_axis(x, lead, False) for x, m in zip(xs, mask, strict=True)]
        return pure_callback(*full, function=function, types=batched)
    return pure_callback(*xs, function=OneByOne(function, tuple(mask), size), types=batched)


def _double(x: Any) -> Any:
    return x * 2


def _ignore(*arrays: Any) -> None:
    pass


def _cases_callback() -> list[Any]:
    types = [TensorType(DTYPES["f32"], shape) for shape in ((3,), (), (0, 2))]
    return [((t,), {"function": _double, "types": (t,)}) for t in types]


pure_callback = Primitive(
    "pure_callback",
    params=("function", "types"),
    infer=lambda *xs, function, types: types,
    numpy=_numpy_callback,
    batch=_batch_callback,
    cases=_cases_callback,
    doc="Results of a Python function of its arguments only; it may run any number of times.",
)


def _numpy_effect(*arrays: Any, function: Any) -> tuple[Any, ...]:
    function(*[np.array(a) for a in arrays])
    return ()


def _batch_effect(size: int, mask: Any, xs: Any, *, function: Any) -> Any:
    full = [with_batch_axis(x, size, m) for x, m in zip(xs, mask, strict=True)]
    return host_effect(*full, function=EachOnce(function, size))


@dataclass(frozen=True)
class EachOnce:
    """An effect over a batch: ``function`` on each example in order."""

    function: Any
    size: int

    @property
    def __name__(self) -> str:
        return name_of(self.function)

    def __call__(self, *arrays: Any) -> None:
        for k in range(self.size):
            self.function(*[np.asarray(a[k]) for a in arrays])


@dataclass(frozen=True)
class Print:
    """Prints its arguments in a format: ``names`` are those of the last ones."""

    format: str
    names: tuple[str, ...]

    @property
    def __name__(self) -> str:
        return "print"

    def text(self, *arrays: Any) -> str:
        """The format with the arrays in place."""
        split = len(arrays) - len(self.names)
        named = dict(zip(self.names, arrays[split:], strict=True))
        return self.format.format(*arrays[:split], **named)

    def __call__(self, *arrays: Any) -> None:
        print(self.text(*arrays))


host_effect = Primitive(
    "host_effect",
    params=("function",),
    infer=lambda *xs, function: (),
    numpy=_numpy_effect,
    transpose=lambda cts, xs, *, function: (None,) * len(xs),
    batch=_batch_effect,
    effect=True,
    cases=lambda: [((TensorType(DTYPES["f32"], (3,)),), {"function": _ignore})],
    doc="Call a Python function with the operands when the program runs, in program order.",
)
