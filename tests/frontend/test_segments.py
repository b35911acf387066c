"""Segments: ids that name none, and none at all."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
from tracejit import ops

DATA = np.array([1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_ids_outside_do_not_count(dtype) -> None:
    """Negative ones neither: they are what rows that fill up a batch are marked with."""
    ids = np.array([-1, 0, 2, 120], dtype)
    for count in (3, 121, 300):
        wanted = np.zeros(count)
        wanted[[k for k in (0, 2, 120) if k < count]] = [2, 4, 8][: 3 if count > 120 else 2]

        def total(data, ids, count=count):
            return ops.segment_sum(data, ids, num_segments=count)

        np.testing.assert_array_equal(total(DATA, ids), wanted)
        np.testing.assert_array_equal(tj.jit(total)(DATA, ids), wanted)
    slope = tj.grad(lambda x: ops.segment_max(x, ids, num_segments=3)[np.array([0, 2])].sum())
    np.testing.assert_array_equal(slope(DATA), [0, 1, 1, 0])


def test_clipped_ids() -> None:
    ids = np.array([-5, 0, 1, 9])
    found = ops.segment_sum(DATA, ids, num_segments=2, mode="clip")
    np.testing.assert_array_equal(found, [3, 12])


def test_no_segments_and_no_rows() -> None:
    ids = np.array([0, 1, 2, -1])
    for name in ("segment_sum", "segment_prod", "segment_min", "segment_max"):
        function = getattr(ops, name)
        assert function(DATA, ids, num_segments=0).shape == (0,)
        assert function(DATA[:0], ids[:0], num_segments=2).shape == (2,)
