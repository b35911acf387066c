"""The record of one workload. Workloads are in ``workloads_*.py``, all in ``workloads.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

#: arguments of a call: arrays, and nests of tuples, lists and dicts of them
Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Workload:
    """A function, its arguments, and how exactly frameworks must agree on its results.

    ``array(api)``: the function in terms of ``api``, the module ``tracejit`` or ``jax``, with
    ``api.numpy``, ``api.lax``, ``api.nn``, ``api.grad``: one source for both.
    ``torch(torch, wrap)``: the same for torch, ``wrap`` being ``torch.compile`` or nothing; None
    where torch cannot say it. ``rtol`` is relative to the largest element, and up to the fraction
    ``differing`` of the elements may be off: where rounding decides a comparison. ``flops``:
    multiplications and additions of a row that arithmetic limits, else 0.
    """

    name: str
    title: str
    issue: int
    inputs: Callable[[np.random.Generator], Arguments]
    array: Callable[[Any], Callable[..., Any]]
    torch: Callable[[Any, Any], Callable[..., Any]] | None = None
    compiled: bool = True  # whether torch.compile is worth a row
    x64: bool = False
    rtol: float = 1e-5
    differing: float = 0.0
    memory_bound: bool = False
    flops: float = 0.0
    training: bool = False  # its peak memory is compared too

    def make_inputs(self) -> Arguments:
        """The arguments: the same numbers in every framework and process."""
        return self.inputs(np.random.default_rng(20240607))

    def in_float64(self) -> Workload:
        """The same workload on float64 arguments."""

        def inputs(rng: np.random.Generator) -> Arguments:
            return tuple(argument.astype(np.float64) for argument in self.inputs(rng))

        return replace(
            self,
            name=f"{self.name}_f64",
            title=f"{self.title}, f64",
            issue=3,
            inputs=inputs,
            x64=True,
            rtol=1e-11,
        )


def normal(*shapes: tuple[int, ...], scale: float = 1.0) -> Callable[..., Arguments]:
    """Arguments drawn from the normal distribution, as float32."""

    def inputs(rng: np.random.Generator) -> Arguments:
        return tuple((scale * rng.standard_normal(s)).astype(np.float32) for s in shapes)

    return inputs
