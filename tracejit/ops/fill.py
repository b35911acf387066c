"""Tensors written out: ``full`` makes a buffer of one repeated scalar, ``copy`` a buffer of its own
for a value.

Inside a graph Literals and values need neither; the back ends insert them where a program must own
a buffer.
"""

from __future__ import annotations

import numpy as np

from tracejit.ir.expr import Const
from tracejit.ir.graph import ConstArray
from tracejit.ir.prim import Primitive
from tracejit.ir.types import DTYPES, TensorType, short
from tracejit.ops.family import elementwise

full = Primitive(
    "full",
    params=("value", "shape"),
    infer=lambda *, value, shape: TensorType(value.array.dtype, shape),
    numpy=lambda *, value, shape: np.full(shape, value.array),
    jvp=lambda dxs, ys, xs, **params: (None,),
    element=lambda xs, index, *, value, shape: Const(value.array.item(), short(value.array.dtype)),
    cases=lambda: [
        ((), {"value": ConstArray(np.asarray(1.5, np.float32)), "shape": (2, 3)}),
        ((), {"value": ConstArray(np.asarray(7, DTYPES["i32"])), "shape": ()}),
    ],
    doc="A tensor of one repeated scalar.",
)

copy = elementwise(
    "copy",
    lambda x: x,
    jvp="linear",
    transpose=lambda cts, xs: cts,
    element=lambda xs, index: xs[0](index),
    doc="x in a buffer of its own.",
)
