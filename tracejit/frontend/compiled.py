"""A compiled program and the way into it from Arrays: what runs at every call of a jitted function.

program = Compiled(executable, captured, outputs)
program([x, y])                    leaves of the arguments in, the function's result out
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.frontend.array import SCALARS, Array, Donated, Kind, as_array, kind_for
from tracejit.frontend.call import OutTree
from tracejit.frontend.devices import Device
from tracejit.frontend.placement import Held, bind
from tracejit.frontend.structure import maker
from tracejit.runtime import buffers

_new = Array.__new__


def kind_of(leaf: Any) -> Kind | type | None:
    """What a program depends on of an argument; None for what is no array or number.

    Numbers of Python count by their type: their dtype depends on the settings.
    """
    if type(leaf) is Array:
        return leaf._kind or leaf._find_kind()
    if isinstance(leaf, np.ndarray | np.generic):
        return kind_for(leaf.dtype, leaf.shape)
    return type(leaf) if type(leaf) in SCALARS else None


def locate(array: Array) -> buffers.Place:
    """Where an Array's data lies, made contiguous and aligned first where it is not."""
    held = array._place
    if type(held) is Held and held.host is not None:
        return held.host  # type: ignore[no-any-return]
    data = buffers.ready(array.concrete("a compiled function"))
    array._array = data
    place = buffers.place_of(data)
    if type(held) is Held:
        held.host = place
    else:
        array._place = place
    return place


def take(leaf: Any) -> buffers.Place:
    """Where a NumPy array or a number lies; a copy that the Place keeps where need be."""
    if type(leaf) is np.ndarray and leaf.dtype.isnative:
        return buffers.place_of(leaf if leaf.flags.carray else buffers.ready(leaf))
    return locate(as_array(leaf))


class Compiled:
    """A program and what stands around it: arrays it captured, and the tree of its results."""

    __slots__ = (
        "executable",
        "device",
        "captured",
        "outputs",
        "launch",
        "results",
        "before",
        "make",
        "name",
        "reused",
    )

    def __init__(
        self,
        executable: Any,
        captured: tuple[Array, ...],
        outputs: OutTree,
        device: Device | None = None,
    ) -> None:
        """``device``: the CPU where results are bound to it."""
        self.executable = executable
        self.device = device
        self.captured = captured
        self.outputs = outputs
        native = getattr(executable, "native", False)
        self.launch = executable.launch if native else None
        self.before = tuple(locate(a) for a in captured) if native else ()
        self.make = maker(outputs.treedef)
        self.reused = executable.reused if native else ()
        self.name = executable.graph.name
        #: of each result: its kind, whether it is weak, and where to find memory for it
        self.results = []
        if native:
            for type_, weak in zip(executable.output_types, outputs.weak, strict=True):
                kind = kind_for(type_.dtype, type_.shape, weak, device)
                self.results.append((kind, weak, buffers.shelf(type_.nbytes)))

    def __call__(self, leaves: Sequence[Any]) -> Any:
        launch = self.launch
        if launch is None:
            return self._on_arrays(leaves)
        operands = [
            leaf._place or locate(leaf) if type(leaf) is Array else take(leaf) for leaf in leaves
        ]
        if self.before:
            operands = [*self.before, *operands]
        if self.reused:
            return self._reusing(leaves, operands)
        arrays, places = [], []
        for kind, weak, shelf in self.results:
            place = shelf.take()
            # what Array(...) does, without a call
            array = _new(Array)
            array._array = array._value = array._trace = None
            array._is_weak = weak
            array._kind = kind
            array._place = place
            arrays.append(array)
            places.append(place)
        failed = launch(operands, places)
        if failed is not None:
            self.executable.raise_failure(failed, self._data(leaves))
        return self.make(arrays)

    def _reusing(self, leaves: Sequence[Any], operands: list[buffers.Place | int]) -> Any:
        """The same where results take the memory of donated arguments, if nobody else has it."""
        gone = Donated(self.name)
        taken: dict[int, buffers.Place] = {}
        for result, operand in self.reused:
            leaf = leaves[operand - len(self.before)]
            if type(leaf) is Array:
                leaf._array, leaf._place = None, gone
                place = buffers.regain(operands, operand)
                if place is not None:
                    taken[result] = place
        arrays, places = [], []
        for k, (kind, weak, shelf) in enumerate(self.results):
            array = Array(None, weak=weak)
            array._kind = kind
            array._place = taken[k] if k in taken else shelf.take()
            arrays.append(array)
            places.append(array._place)
        failed = self.launch(operands, places)
        if failed is not None:  # what a host call raised: other failures need the arguments
            self.executable.raise_failure(failed, ())
        return self.make(arrays)

    def _data(self, leaves: Sequence[Any]) -> list[np.ndarray]:
        return [a.concrete("a compiled function") for a in (*self.captured, *map(as_array, leaves))]

    def _on_arrays(self, leaves: Sequence[Any]) -> Any:
        """For what runs on NumPy arrays: the interpreter, and the Numba back end."""
        arrays = [Array(d) for d in self.executable.run(self._data(leaves))]
        if self.device is not None:
            for array in arrays:
                bind(array, self.device)
        return self.outputs.build(arrays)
