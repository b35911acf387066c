"""The passes for a GPU, in their order: those of ``pipeline.py``, and those that give parts of a
graph to libraries.

    run_passes(graph, for_libraries(takes, features_last))
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracejit.ir.graph import Graph, Node
from tracejit.passes.attention import fuse_attention
from tracejit.passes.conv_epilogue import fuse_conv_epilogues
from tracejit.passes.conv_layout import keep_features_order
from tracejit.passes.conv_library import library_convolutions
from tracejit.passes.dead import drop_dead
from tracejit.passes.epilogue import fuse_epilogues, narrow_products
from tracejit.passes.pipeline import PREPARE, REDUCE, Pass
from tracejit.passes.simplify import simplify
from tracejit.passes.solver import call_solvers
from tracejit.passes.spectra import call_transforms

Takes = Callable[[Node], bool]


def with_convolutions(
    graph: Graph, takes: Takes, features_last: Callable[[np.dtype], bool | None]
) -> Graph:
    """``graph`` with its convolutions, biases and relus behind them in the forms that a library
    has, and what lies between in the order in which it leaves images.
    """
    found = library_convolutions(graph, takes, features_last)
    return fuse_conv_epilogues(keep_features_order(found), takes)


def for_libraries(
    takes: Takes, features_last: Callable[[np.dtype], bool | None]
) -> tuple[Pass, ...]:
    """The passes for a GPU whose libraries have what ``takes`` says of a node. ``features_last``:
    in which order of axes they like images of a dtype best.
    """

    def find_attention(graph: Graph) -> Graph:
        return fuse_attention(graph, takes)

    def find_convolutions(graph: Graph) -> Graph:
        return with_convolutions(graph, takes, features_last)

    def find_transforms(graph: Graph) -> Graph:
        return call_transforms(graph, takes)

    def find_solvers(graph: Graph, *, off: frozenset[str] = frozenset()) -> Graph:
        return call_solvers(graph, takes, off=off)

    def find_epilogues(graph: Graph) -> Graph:
        return fuse_epilogues(graph, takes)

    return (
        *REDUCE,
        find_transforms,  # after the rules, which see more in one node than in several
        find_solvers,
        find_attention,  # after the rules, which bring softmax and its gradient to fewer forms
        find_convolutions,
        simplify,  # the transposes around both meet others
        drop_dead,
        *PREPARE,
        narrow_products,  # takes back what was converted for a CPU's BLAS
        find_epilogues,  # last: it looks at what follows a product
    )
