"""Programs on a GPU: compiled functions, and single operations outside of jit.

program = OnDevice(executable, captured, treedef, weak, device, True)
program([x, y])                     leaves in, the function's result out; does not wait
run_node(node, [x, y], device, True)        one operation, compiled once for its types

Which device a call runs on is the first of: ``jit(device=)``, the one that arguments are bound to,
the default one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from sys import getrefcount
from typing import Any

import numpy as np
import optree

from tracejit import source
from tracejit.config import config
from tracejit.errors import TracejitError
from tracejit.frontend import array as core
from tracejit.frontend.devices import CPU, Device, common, default, find
from tracejit.frontend.placement import (
    Held,
    binding,
    memory_on,
    on_gpu,
    placed,
    put,
    upload,
)
from tracejit.frontend.structure import maker
from tracejit.ir import interp
from tracejit.ir.graph import Atom, Graph, Literal, Node, Value, params_key
from tracejit.ir.types import TensorType
from tracejit.lazy import lazy
from tracejit.ops.broadcast import broadcast_in_dim
from tracejit.ops.dynamic import dynamic_slice
from tracejit.ops.layout import slice_
from tracejit.runtime.gpu import pending

# the compiler proper loads when something is first compiled
_executable = lazy("tracejit.runtime.executable")
_gpu_executable = lazy("tracejit.runtime.gpu.executable")

#: numbers of Python that a program keeps on its device, and their types
MOST_NUMBERS = 256
_QUICK = frozenset({int, float, bool})
#: programs of single operations that are kept
MOST_PROGRAMS = 4096


def choose(
    call: Any, captured: Sequence[Any], device: Any, backend: str | None
) -> tuple[Device, bool]:
    """The device that a call runs on, and whether its results are bound to it. ``device`` and
    ``backend`` are jit's own.
    """
    if device is not None:
        return find(device), True
    if backend is not None:
        return (find("cuda"), True) if backend == "cuda" else (CPU, False)
    homes = [
        (binding(leaf), f"argument `{name}`, {leaf.type},")
        for leaf, name in zip(call.leaves, call.names, strict=True)
    ]
    homes += [(binding(a), f"an array that it closes over, {a.type},") for a in captured]
    bound = common(homes, f"`{call.name}`")
    return (default(), False) if bound is None else (bound, True)


class OnDevice:
    """A program and what stands around it, as ``Compiled`` for the CPU."""

    def __init__(
        self,
        executable: Any,
        captured: Sequence[Any],
        treedef: Any,
        weak: Sequence[bool],
        device: Device,
        bound: bool,
    ) -> None:
        self.executable = executable
        self.captured = captured
        self.device = device
        native = getattr(executable, "native", False)
        self.launch = executable.launch if native else None
        self.make = maker(treedef)
        self.name = executable.graph.name
        self.reused = executable.reused if native else ()
        self.alloc = getattr(executable, "alloc", device.runtime.alloc)
        #: numbers that were arguments: they come again
        self.numbers: dict[Any, Any] = {}
        #: kept for as long as the program is there
        self.before = [memory_on(a, device) for a in captured] if native else []
        self.addresses = [memory.address for memory in self.before]
        home = device if bound else None
        types = [y.type for y in executable.graph.outputs]
        self.results = [
            (core.kind_for(type.dtype, type.shape, weakly, home), type.nbytes or 1)
            for type, weakly in zip(types, weak, strict=True)
        ]

    def __call__(self, leaves: Sequence[Any]) -> Any:
        if self.launch is None:
            return self._on_arrays(leaves)
        device, Array, numbers = self.device, core.Array, self.numbers
        operands = []
        for leaf in leaves:
            if type(leaf) is Array:
                held = leaf._place
                memory = held.memories.get(device) if type(held) is Held else None
            else:
                # of equal numbers only zeros may differ: by their sign
                memory = numbers.get((type(leaf), leaf)) if type(leaf) in _QUICK and leaf else None
            operands.append(self._moved(leaf) if memory is None else memory)
        held = memory = None  # references count
        taken = self._take(leaves, operands) if self.reused else {}
        arrays, targets = [], []
        for k, (kind, nbytes) in enumerate(self.results):
            memory = taken[k] if k in taken else self.alloc(nbytes)
            targets.append(memory.address)
            # what placed(...) does, with fewer calls
            array = Array.__new__(Array)
            array._array = array._value = array._trace = None
            array._is_weak = kind.weak
            array._kind = kind
            array._place = Held(device, {device: memory})
            arrays.append(array)
        failed = self.launch([*self.addresses, *[memory.address for memory in operands]], targets)
        if failed is not None:
            self.executable.raise_failure(failed, () if taken else self._data(leaves))
        return self.make(arrays)

    def _moved(self, leaf: Any) -> Any:
        """The memory of what has none on the device yet."""
        memory = memory_on(leaf, self.device)
        if type(leaf) in _QUICK:
            if len(self.numbers) >= MOST_NUMBERS:
                self.numbers.clear()
            self.numbers[type(leaf), leaf] = memory
        return memory

    def _take(self, leaves: Sequence[Any], operands: list[Any]) -> dict[int, Any]:
        """The memory of donated arguments for results, by their numbers, where nobody else has it.
        The arguments are deleted.
        """
        gone = core.Donated(self.name)
        taken: dict[int, Any] = {}
        for result, operand in self.reused:
            k = operand - len(self.before)
            leaf = leaves[k]
            if type(leaf) is not core.Array:
                continue
            box = [leaf._place]
            if type(box[0]) is Held and box[0].lent:
                continue  # somebody else reads there
            leaf._array, leaf._place = None, gone
            if type(box[0]) is not Held or references(box) != _ALONE:
                continue
            del box[0].memories[self.device]
            box, operands[k] = [operands[k]], None
            if references(box) == _ALONE:
                taken[result] = box[0]
            operands[k] = box[0]
        return taken

    def _data(self, leaves: Sequence[Any]) -> list[np.ndarray]:
        arrays = (*self.captured, *map(core.as_array, leaves))
        return [a.concrete("a compiled function") for a in arrays]

    def _on_arrays(self, leaves: Sequence[Any]) -> Any:
        """For the interpreter, which runs on NumPy arrays."""
        found = self.executable.run(self._data(leaves))
        return self.make(
            [
                placed(self.device, upload(self.device, data), kind)
                for data, (kind, _) in zip(found, self.results, strict=True)
            ]
        )


def references(box: list[Any]) -> int:
    """How many references there are to what only ``box`` should hold."""
    held = box[0]
    return getrefcount(held)


_ALONE = references([object()])


# ---- outside of jit ------------------------------------------------------------------------------

_programs: OrderedDict[tuple[Any, ...], OnDevice] = OrderedDict()


def clear_programs() -> None:
    """Forget the programs of single operations."""
    _programs.clear()


def run_node(node: Node, operands: Sequence[Any], device: Device, bound: bool) -> list[Any]:
    """The results of one operation on concrete Arrays and Literals, computed on ``device``.

    What it reports of its operands (an index outside its axis) is raised at once.
    """
    if device is CPU or node.prim.effect:
        data = [x.concrete(node.prim.name) for x in map(_whole, operands)]
        found = [core.Array(d) for d in interp.apply(node, data)]
        return [put(a, device, bound=bound) for a in found]
    forms, leaves = [], []
    node, operands = _with_starts(node, operands)
    for x in operands:
        scalar = _scalar_of(x)
        forms.append((x.type, scalar is not None))
        leaves.append(x if scalar is None else scalar)
    settings = config.current()
    key = (node.prim, tuple(forms), params_key(node.params), device, bound, id(settings))
    program = _programs.get(key)
    if program is None:
        program = _programs[key] = _compiled(node, forms, device, bound)
        while len(_programs) > MOST_PROGRAMS:
            _programs.popitem(last=False)
    waiting = pending.count(device.runtime)
    results: list[Any] = program(leaves)
    if pending.count(device.runtime) != waiting:
        try:
            device.synchronize()
        except TracejitError as error:
            error.at = error.at or node.at or source.here()
            raise
    return results


def _with_starts(node: Node, operands: Sequence[Any]) -> tuple[Node, Sequence[Any]]:
    """A slice as one that begins where its operands say: ``x[0]``, ``x[1]`` ... are one program."""
    p = node.params
    if node.prim is not slice_ or any(step != 1 for step in p["strides"] or ()):
        return node, operands
    starts = tuple(core.Array(np.asarray(start, np.int64)) for start in p["start"])
    params = {"sizes": node.outputs[0].type.shape}
    return Node(dynamic_slice, node.inputs, params, node.outputs, node.at), (*operands, *starts)


def _scalar_of(x: Any) -> np.ndarray | None:
    """The scalar that an operand is filled with, where that is seen at once."""
    if isinstance(x, Literal):
        return np.asarray(x.value)
    if on_gpu(x):
        return None
    data = x._data
    if data.size and not any(data.strides):
        return data[(*(0,) * data.ndim, ...)]
    return None


def _whole(x: Any) -> Any:
    if not isinstance(x, Literal):
        return x
    return core.Array(np.broadcast_to(np.asarray(x.value), x.type.shape))


def _compiled(
    node: Node, forms: Sequence[tuple[TensorType, bool]], device: Device, bound: bool
) -> OnDevice:
    """The program of one operation; operands that are filled with a scalar are scalars."""
    inputs, nodes, operands = [], [], []
    for type, filled in forms:
        given = Value(type.with_shape(()) if filled else type)
        inputs.append(given)
        if filled and type.shape:
            params = {"shape": type.shape, "dims": ()}
            given = Value(type)
            nodes.append(Node(broadcast_in_dim, (inputs[-1],), params, (given,), None))
        operands.append(given)
    outputs = tuple(Value(value.type) for value in node.outputs)
    nodes.append(Node(node.prim, tuple(operands), node.params, outputs, None))
    graph = Graph(tuple(inputs), tuple(nodes), outputs, node.prim.name)
    executable = compile_on(graph, device)
    treedef = optree.tree_flatten([0] * len(outputs))[1]
    return OnDevice(executable, (), treedef, (False,) * len(outputs), device, bound)


def compile_on(
    graph: Graph,
    device: Device,
    *,
    backend: str | None = None,
    mode: str | None = None,
    threads: int | None = None,
    donated: frozenset[int] = frozenset(),
) -> Any:
    """An executable for a device, compiled as the settings say where no option does."""
    settings = config.current()
    backend, mode = backend or settings.backend, mode or settings.mode
    if device is CPU:
        backend = "llvm" if backend == "cuda" else backend
    elif backend != "numpy" and mode != "fast_compile":
        backend = "cuda"
    else:
        backend = "numpy"
    return _executable.compile_graph(
        graph,
        backend=backend,
        mode=mode,
        threads=threads or settings.threads,
        donated=donated,
        device=device.runtime,
    )


def stages_on(graph: Graph, device: Device, threads: int | None) -> Any:
    """Every stage of a graph up to kernels for a device."""
    settings = config.current()
    if device is CPU:
        return _executable.make_stages(graph, threads=threads or settings.threads)
    target = _gpu_executable.target_of(device.runtime, settings)
    return _gpu_executable.make_gpu_stages(graph, target, settings)


def run_graph(graph: Graph, arrays: Sequence[Any], device: Device, bound: bool) -> list[Any]:
    """A graph on concrete Arrays, operation by operation."""
    env: dict[Atom, Any] = dict(zip(graph.inputs, arrays, strict=True))

    def read(x: Atom) -> Any:
        return x if isinstance(x, Literal) else env[x]

    for node in graph.nodes:
        results = run_node(node, [read(x) for x in node.inputs], device, bound)
        env.update(zip(node.outputs, results, strict=True))
    return [put(_whole(read(x)), device, bound=bound) for x in graph.outputs]
