"""Plans of cuDNN: of the engines that it proposes for a graph, one that keeps the spec's promises.

    library = Cudnn(lambda: stream.ptr)              for a device
    plan = library.plan(spec)                        None: why(spec) says why
    plan.run((x, w, y), workspace)
    cudnn_plan(spec, Target.described(json))         a plan for a device that is not here

cuDNN's heuristics rank engines by the time they expect (mode A), and know some that take nearly
everything (fallback). An engine is passed over where it computes with less than the spec asks for:
tensor cores round f32 operands to 10 bits. Engines that give the same bits every time come first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence

from tracejit.errors import InternalError
from tracejit.kernel.gpu.library import AttentionSpec, ConvSpec, Spec
from tracejit.record import dataclass
from tracejit.runtime.gpu import cudnn, cudnn_attention, cudnn_conv, shared
from tracejit.runtime.gpu.cudnn import Built, CudnnError, Descriptor, Handle, Target
from tracejit.runtime.gpu.device import LibraryPlan

#: a plan whose workspace is larger than this gives way to one of the next few that needs less
ROOM = 64 << 20
FEW = 4
#: packs of addresses that a plan keeps
PACKS = 8
ALIGNMENT = 256

_reasons: dict[Spec, str] = {}


@dataclass(frozen=True)
class Engine:
    """An engine as configured by the heuristics: its number and what it says about itself."""

    config: Descriptor
    index: int
    notes: tuple[str, ...]
    behaviour: tuple[str, ...]


class CudnnPlan(LibraryPlan):
    """A graph with an engine. ``engine``, ``notes``, ``behaviour``: which one, and what it says of
    its numbers and of itself.
    """

    def __init__(self, built: Built, engine: Engine, plan: Descriptor, target: Target) -> None:
        self.engine = engine.index
        self.notes = engine.notes
        self.behaviour = engine.behaviour
        self._plan = plan
        self._handle = target.handle
        at = _rounded(plan.get("workspace_size")[0])
        offsets = []
        for piece in built.scratch:
            offsets.append(at)
            at += _rounded(piece.nbytes)
        self.workspace = at
        self._offsets = tuple(offsets)
        self._scalars = [ctypes.c_float(value) for _, value in built.scalars]
        self._uids = (
            *built.uids,
            *(piece.uid for piece in built.scratch),
            *(uid for uid, _ in built.scalars),
        )
        self._packs: dict[tuple[int, ...], Descriptor] = {}

    def run(self, addresses: Sequence[int], workspace: int) -> None:
        """Put the call on the handle's stream. Raises CudnnError."""
        handle = self._handle
        if handle is None:
            raise InternalError("a plan that was made without a GPU cannot run")
        key = (*addresses, workspace)
        with handle.lock:
            handle.enter()
            pack = self._packs.get(key) or self._pack(key)
            status = cudnn.library().cudnnBackendExecute(
                handle.value, self._plan.pointer, pack.pointer
            )
        if status:
            cudnn.check(status, "run a plan")

    def _pack(self, key: tuple[int, ...]) -> Descriptor:
        """The addresses as cuDNN takes them; programs have theirs in one arena, so few occur."""
        if len(self._packs) >= PACKS:
            del self._packs[next(iter(self._packs))]
        *addresses, workspace = key
        inside = (workspace + offset for offset in self._offsets)
        hosted = (ctypes.addressof(scalar) for scalar in self._scalars)
        self._packs[key] = pack = Descriptor(
            "variant_pack",
            unique_ids=self._uids,
            data_pointers=(*addresses, *inside, *hosted),
            workspace=workspace or None,
        )
        return pack


def _rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class Cudnn:
    """cuDNN for the device that is current when it is asked for its first plan; ``stream()`` gives
    the address of the stream that plans put their calls on.
    """

    def __init__(self, stream: Callable[[], int]) -> None:
        self._stream = stream
        self._target: Target | None = None

    def plan(self, spec: Spec) -> CudnnPlan | None:
        """A plan for a convolution or attention; None where cuDNN has none, or is missing, of which
        ``why(spec)`` tells. Raises CudnnError where the device has failed.
        """
        if missing := shared.why_missing("cudnn"):
            _reasons[spec] = missing
            return None
        if self._target is None:
            self._target = Target(Handle(self._stream))
        return cudnn_plan(spec, self._target)


def cudnn_plan(spec: Spec, target: Target) -> CudnnPlan | None:
    """A plan for a convolution or attention; None where cuDNN has none, of which ``why`` tells.

    Raises BackendError where there is no cuDNN.
    """
    reason: CudnnPlan | str = _reason(spec)
    if not reason:
        try:
            reason = _best(spec, _graph(spec, target), target)
        except CudnnError as error:
            reason = _said(error)
    if isinstance(reason, CudnnPlan):
        _reasons.pop(spec, None)
        return reason
    _reasons[spec] = reason
    return None


def why(spec: Spec) -> str:
    """Why the last plan for ``spec`` was None; empty where there was one, or none was asked for."""
    return _reasons.get(spec, "")


def _said(error: CudnnError) -> str:
    """An error in one line."""
    return "; ".join((error.what, *error.notes[-1:]))


def _reason(spec: Spec) -> str:
    if isinstance(spec, ConvSpec):
        return cudnn_conv.why_not(spec)
    if isinstance(spec, AttentionSpec):
        return cudnn_attention.why_not(spec)
    return "cuDNN is not asked for products of matrices"


def _graph(spec: Spec, target: Target) -> Built:
    if isinstance(spec, ConvSpec):
        return cudnn_conv.conv_graph(spec, target)
    assert isinstance(spec, AttentionSpec)
    return cudnn_attention.attention_graph(spec, target)


def forbidden(spec: Spec) -> frozenset[str]:
    """Numerical notes of engines that compute with less than ``spec`` asks for."""
    found = {"down_convert_inputs", "reduced_precision_reduction"}
    if isinstance(spec, ConvSpec):
        if (spec.dtype, spec.compute) == ("f32", "f32"):
            found.add("tensor_core")
        # Winograd's larger tiles and transforms lose digits that a direct sum keeps
        found |= {"winograd_tile_6x6", "winograd_tile_13x13"}
    return frozenset(found)


def _best(spec: Spec, built: Built, target: Target) -> CudnnPlan | str:
    """The first plan in the order of ``_engines`` with a workspace of reasonable size, or of the
    first few that with the smallest; why there is none.
    """
    found: list[CudnnPlan] = []
    reason = "cuDNN knows no engine for it"
    for engine in _engines(spec, built.graph, target):
        try:
            plan = Descriptor("plan", engine_config=engine.config, **target.plan)
        except CudnnError as error:
            reason = _said(error)
            continue
        found.append(CudnnPlan(built, engine, plan, target))
        if found[-1].workspace <= ROOM or len(found) == FEW:
            break
    return min(found, key=lambda plan: plan.workspace) if found else reason


def _engines(spec: Spec, graph: Descriptor, target: Target) -> Iterator[Engine]:
    """Engines that keep the spec's promises: those that always give the same bits first, in the
    order of the heuristics.
    """
    without = forbidden(spec)
    later = []
    for mode in ("A", "fallback"):
        for engine in _proposed(graph, target, mode):
            if not without.isdisjoint(engine.notes):
                continue
            if "nondeterministic" in engine.notes:
                later.append(engine)
            else:
                yield engine
    yield from later


def _proposed(graph: Descriptor, target: Target, mode: str) -> Iterator[Engine]:
    try:
        search = Descriptor(
            "heuristics",
            operation_graph=graph,
            mode=cudnn.HEURISTICS[mode],
            **target.heuristics,
        )
        configs = search.read("results", "engine_config")
    except CudnnError:
        return  # this mode knows none for the graph; another may
    for config in configs:
        engine = config.read("engine", "engine", 1)[0]
        yield Engine(
            config,
            engine.get("global_index")[0],
            _named(engine.get("numerical_note", 16), cudnn.NUMERICAL_NOTES),
            _named(engine.get("behavior_note", 16), cudnn.BEHAVIOR_NOTES),
        )


def _named(numbers: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[n] if 0 <= n < len(names) else f"note {n}" for n in numbers)
