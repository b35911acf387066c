"""``scan`` with a progress bar: a scan over some twenty blocks, each a scan of its own, with a call
of the bar between two blocks. Inside of blocks nothing is slower than without.

    lax.scan(step, state, batches, progress="train")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.frontend import progress, promotion, shaping
from tracejit.frontend.array import apply, as_array
from tracejit.ops import callback
from tracejit.tree_util import tree_map

Function = Callable[..., Any]


def scan(
    plain: Function, f: Function, init: Any, xs: Any, steps: int, reverse: bool, option: Any
) -> tuple[Any, Any]:
    """``plain(f, init, xs, steps, reverse)`` with a bar; ``option`` is what the user gave."""
    meter = progress.meter(option, f, steps)
    if steps == 0:
        return plain(f, init, xs, steps, reverse)  # type: ignore[no-any-return]
    size, count, left = meter.blocks()
    whole = size * count

    def tell(done: Any) -> None:
        apply(callback.host_effect, as_array(done), function=meter)

    def block(carry: Any, now: Any) -> Any:
        part, done = now
        carry, ys = plain(f, carry, part, size, reverse)
        tell(done)
        return carry, ys

    def cut(start: int, stop: int) -> Any:
        return tree_map(lambda x: shaping.cut(as_array(x), 0, start, stop), xs)

    def blocked(x: Any) -> Any:
        return promotion.reshaped(x, (count, size, *x.shape[1:]))

    dones = np.arange(1, count + 1) * size
    if reverse:
        dones = dones[::-1] + left
    tell(np.int64(0))
    carry, rest = init, None
    if left and reverse:
        carry, rest = plain(f, carry, cut(whole, steps), left, True)
        tell(np.int64(left))
    parts = tree_map(blocked, cut(0, whole) if left else tree_map(as_array, xs))
    carry, ys = plain(block, carry, (parts, dones.copy()), count, reverse)
    ys = tree_map(lambda y: promotion.reshaped(y, (whole, *y.shape[2:])), ys)
    if left and not reverse:
        carry, rest = plain(f, carry, cut(whole, steps), left, False)
        tell(np.int64(steps))
    if left:
        ys = tree_map(lambda y, r: shaping.concatenate([y, r]), ys, rest)
    return carry, ys
