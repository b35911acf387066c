"""Attention as graphs of cuDNN, forward and backward.

    graph = attention_graph(spec, target)    AttentionSpec -> Built: operations, operands' numbers

cuDNN fuses chains that it knows into one kernel that never stores the scores (Dao et al. 2022,
"FlashAttention"). Forward, with l the logarithm of each row's sum of exponentials:

    s = mask(q k^T * scale + bias)    p = softmax(s)    out = p v    stats = l

Backward, from out, stats and dout:

    delta = sum(dout * out)    p = exp(s - stats)    dv = p^T dout
    ds = p * (dout v^T - delta) * scale    dk = ds^T q    dq = ds k

``delta`` and the f32 sums of dq lie in the plan's workspace; cuDNN sets those to zero itself (from
9.6 on). Which chains cuDNN knows is said by NVIDIA's cudnn-frontend, whose nodes for attention
expand to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracejit.kernel.gpu.library import AttentionSpec, Ints
from tracejit.runtime.gpu import cudnn
from tracejit.runtime.gpu.cudnn import Built, Descriptor, Scratch, Target
from tracejit.runtime.gpu.cudnn_conv import strides

#: the lowest f32
LOWEST = -3.4028234663852886e38
#: widths of a head that have kernels
WIDEST = 256


def why_not(spec: AttentionSpec) -> str:
    """Why no graph is made of a spec, before cuDNN is asked; empty where one is."""
    if spec.dtype not in ("f16", "bf16"):
        return f"cuDNN's attention takes f16 and bf16, not {spec.dtype}"
    if spec.width % 8 or spec.width > WIDEST:
        return f"cuDNN's heads are multiples of 8 up to {WIDEST} wide, not {spec.width}"
    if spec.axes[-1] != 3:
        return "cuDNN's heads lie with neighbouring elements side by side"
    if 0 in (spec.batch, spec.heads, spec.queries, spec.keys, spec.width):
        return "an operand has no elements"
    if spec.mask == "causal" and spec.queries != spec.keys:
        return "a causal mask is for as many queries as keys"
    return _why_no_gradient(spec) if spec.direction == "backward" else ""


def _why_no_gradient(spec: AttentionSpec) -> str:
    """What the gradients of some versions get wrong, as NVIDIA's cudnn-frontend knows."""
    number = cudnn.library().cudnnGetVersion()
    if spec.queries == spec.keys == 1:
        return "cuDNN has no gradient for one query and one key"
    if number in (91000, 91001):
        return f"the gradients of cuDNN {cudnn.version()} are wrong"
    if number <= 91500 and spec.keys % 128:
        return f"the gradients of cuDNN {cudnn.version()} take multiples of 128 keys"
    return ""


def attention_graph(spec: AttentionSpec, target: Target) -> Built:
    """The graph of a spec that ``why_not`` has nothing against. Raises CudnnError."""
    made = _Graph(spec)
    if spec.direction == "forward":
        _forward(made)
    else:
        _backward(made)
    graph = Descriptor("graph", ops=made.operations, **target.graph)
    uids = tuple(made.named[name] for name in spec.operands)
    return Built(graph, uids, tuple(made.scratch), tuple(made.scalars))


class _Graph:
    """A graph that is being written: tensors get their numbers here, operations their order."""

    def __init__(self, spec: AttentionSpec) -> None:
        self.spec = spec
        self.operations: list[Descriptor] = []
        self.named: dict[str, int] = {}
        self.scratch: list[Scratch] = []
        self.scalars: list[tuple[int, float]] = []
        self.count = 0
        batch, heads = spec.batch, spec.heads
        self.score: Ints = (batch, heads, spec.queries, spec.keys)
        self.row: Ints = (batch, heads, spec.queries, 1)

    def number(self) -> int:
        self.count += 1
        return self.count

    def operand(self, name: str, rows: int, *, turned: bool = False) -> Descriptor:
        """[B, H, rows, D] in the order of the spec; ``turned``: as [B, H, D, rows]."""
        spec = self.spec
        shape: Ints = (spec.batch, spec.heads, rows, spec.width)
        steps = strides(shape, spec.axes)
        if turned:
            shape, steps = _turned(shape), _turned(steps)
        return self.stored(name, spec.dtype, shape, steps)

    def stored(self, name: str, dtype: str, shape: Ints, steps: Ints) -> Descriptor:
        """A tensor whose address is given."""
        self.named[name] = self.number()
        return cudnn.tensor(self.named[name], dtype, shape, steps)

    def rows(self, name: str) -> Descriptor:
        """One f32 for each query, given or left for the gradient."""
        return self.stored(name, "f32", self.row, _packed(self.row))

    def within(self, shape: Ints, dtype: str = "f32", steps: Ints | None = None) -> Descriptor:
        """A tensor that is never stored."""
        return cudnn.tensor(self.number(), dtype, shape, steps or _packed(shape), virtual=True)

    def held(self, shape: Ints) -> Descriptor:
        """An f32 tensor in the workspace."""
        self.scratch.append(Scratch(self.number(), 4 * math.prod(shape)))
        return cudnn.tensor(self.count, "f32", shape, _packed(shape))

    def scalar(self, value: float) -> Descriptor:
        """A number on the host."""
        self.scalars.append((self.number(), value))
        return cudnn.tensor(self.count, "f32", (1,) * 4, (1,) * 4, by_value=True)

    # ---- operations, which give what they write ----

    def map(
        self,
        mode: str,
        x: Descriptor,
        b: Descriptor | None = None,
        *,
        into: Descriptor | None = None,
        shape: Ints | None = None,
    ) -> Descriptor:
        """``mode`` on each element; the shape is that of the scores if not told."""
        y = into or self.within(shape or self.score)
        self.operations.append(cudnn.pointwise(mode, x, y, b))
        return y

    def fold(self, mode: str, x: Descriptor) -> Descriptor:
        """``mode`` over each row."""
        how = Descriptor(
            "reduction", operator=cudnn.REDUCTION[mode], comp_type=cudnn.DATA_TYPES["f32"]
        )
        y = self.within(self.row)
        self.operations.append(Descriptor("operation_reduction", descriptor=how, x=x, y=y))
        return y

    def product(self, a: Descriptor, b: Descriptor, into: Descriptor | None = None) -> Descriptor:
        """A matrix product for each batch and head, of the shape of the scores if not told."""
        how = Descriptor("matmul", comp_type=cudnn.DATA_TYPES["f32"])
        c = into or self.within(self.score)
        self.operations.append(Descriptor("operation_matmul", descriptor=how, a=a, b=b, c=c))
        return c

    def view(self, x: Descriptor, shape: Ints, steps: Ints) -> Descriptor:
        """``x`` as operand of a product, rounded to the spec's dtype."""
        y = self.within(shape, self.spec.dtype, steps)
        self.operations.append(Descriptor("operation_reshape", x=x, y=y))
        return y

    def scores(self, q: Descriptor, k: Descriptor) -> Descriptor:
        """q k^T * scale + bias; ``k`` is turned."""
        s = self.map("mul", self.product(q, k), self.scalar(self.spec.scale))
        if self.spec.mask == "bias":
            shape = self.spec.bias
            bias = self.stored("bias", self.spec.dtype, shape, _packed(shape))
            s = self.map("add", s, bias)
        return s

    def masked(self, s: Descriptor) -> Descriptor:
        """Scores without those of later keys, where the mask is causal."""
        if self.spec.mask != "causal":
            return s
        places = [self.within(self.score, "i32") for _ in range(2)]
        for axis, place in zip((2, 3), places, strict=True):
            self.operations.append(cudnn.pointwise("gen_index", s, place, axis=axis))
        seen = self.within(self.score, "bool")
        self.operations.append(cudnn.pointwise("ge", places[0], seen, places[1], compute="bool"))
        found = self.within(self.score)
        # what a key counts that a query does not see: kernels before 9.10 let infinities meet
        unseen = self.scalar(-math.inf if cudnn.library().cudnnGetVersion() >= 91000 else LOWEST)
        self.operations.append(cudnn.pointwise("select", s, found, unseen, seen))
        return found


def _forward(g: _Graph) -> None:
    spec = g.spec
    q, k = g.operand("q", spec.queries), g.operand("k", spec.keys, turned=True)
    s = g.masked(g.scores(q, k))
    most = g.fold("max", s)
    e = g.map("exp", g.map("sub", s, most))
    total = g.fold("add", e)
    log = g.map("log", total, shape=g.row)
    g.map("add", most, log, into=g.rows("stats"))
    p = g.map("div", e, total, into=g.within(g.score, spec.dtype))
    g.product(p, g.operand("v", spec.keys), into=g.operand("out", spec.queries))


def _backward(g: _Graph) -> None:
    spec = g.spec
    image: Ints = (spec.batch, spec.heads, spec.queries, spec.width)
    q, out, dout = (g.operand(name, spec.queries) for name in ("q", "out", "dout"))
    k, v = (g.operand(name, spec.keys, turned=True) for name in ("k", "v"))
    # cuDNN knows the chain with a factor for dropout here
    summed = g.fold("add", g.map("mul", dout, out, shape=image))
    delta = g.map("mul", summed, g.scalar(1.0), into=g.held(g.row))
    s = g.map("sub", g.scores(q, k), g.rows("stats"))
    p = g.map("exp", g.masked(s))
    turned, steps = _turned(g.score), _turned(_packed(g.score))
    g.product(g.view(p, turned, steps), dout, into=g.operand("dv", spec.keys))
    dp = g.map("sub", g.product(dout, v), delta)
    ds = g.map("mul", g.map("mul", dp, p), g.scalar(spec.scale))
    g.product(g.view(ds, turned, steps), q, into=g.operand("dk", spec.keys))
    plain: Ints = (spec.batch, spec.heads, spec.keys, spec.width)
    summed = g.product(ds, g.view(k, plain, strides(plain, spec.axes)), into=g.held(image))
    g.map("identity", summed, into=g.operand("dq", spec.queries))


def _packed(shape: Sequence[int]) -> Ints:
    return strides(shape, range(len(shape)))


def _turned(values: Ints) -> Ints:
    """With the last two exchanged."""
    return (*values[:-2], values[-1], values[-2])
