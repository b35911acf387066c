"""What a graph of cuDNN is made into a plan from: the graph, and which tensor has which number."""

from __future__ import annotations

from tracejit.record import dataclass
from tracejit.runtime.gpu.cudnn import Descriptor


@dataclass(frozen=True)
class Scratch:
    """A tensor of the graph that lies in the workspace: its number, its bytes, whether it has to be
    zero before.
    """

    uid: int
    nbytes: int
    zeroed: bool = False


@dataclass(frozen=True)
class Built:
    """A graph. ``uids``: the numbers of the operands, in the order of ``spec.operands``;
    ``scalars``: numbers of tensors that are values on the host, f32.
    """

    graph: Descriptor
    uids: tuple[int, ...]
    scratch: tuple[Scratch, ...] = ()
    scalars: tuple[tuple[int, float], ...] = ()
