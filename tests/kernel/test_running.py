"""Running folds along rows: tiles of rows in lanes."""

from __future__ import annotations

import pytest

from tests.fuzz.checks import check_graph
from tests.fuzz.graphs import random_arrays
from tests.passes.pass_checks import graph_of
from tracejit.transform import PRIMS as P


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("fn", ("cumsum", "cummax", "cumlogsumexp"))
@pytest.mark.parametrize("shape", ("16,64", "17,100", "2,19,131", "40,63", "3,200"))
def test_along_rows(fn: str, shape: str, reverse: bool) -> None:
    axis = shape.count(",")
    graph = graph_of(f"f32[{shape}]", lambda x: P[fn](x, axis=axis, reverse=reverse))
    check_graph(graph, random_arrays(graph, 1))


@pytest.mark.parametrize("dtype", ("f64", "i32", "i8", "bf16", "u16", "i64"))
def test_dtypes(dtype: str) -> None:
    graph = graph_of(f"{dtype}[33,90]", lambda x: P["cumsum"](x, axis=1, reverse=True))
    check_graph(graph, random_arrays(graph, 1))
