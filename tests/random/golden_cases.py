"""The recorded numbers of golden.json: calls of jax.random and what they returned.

    case.call(random)      the same call on our module
    case.check(result)     AssertionError unless it agrees

``exact`` cases agree in every bit; the others are functions of log, exp, erf_inv and the like, for
which JAX and tracejit use different approximations.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

FILE = Path(__file__).with_name("golden.json")

#: relative and absolute error of the inexact cases, by the width of the dtype in bytes
TOLERANCE = {2: (1e-2, 5e-3), 4: (2e-5, 4e-6), 8: (1e-12, 1e-14)}


@cache
def golden() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def decoded(x: Any) -> Any:
    """An argument as written in the file: arrays and shapes are objects there."""
    if isinstance(x, dict):
        return np.array(x["array"], x["dtype"]) if "array" in x else tuple(x["shape"])
    return x


@dataclass(frozen=True)
class Case:
    record: dict[str, Any]

    @property
    def label(self) -> str:
        given = [*self.record["args"], *self.record["kwargs"].items()]
        return f"{self.record['name']}-" + ",".join(_short(x) for x in given)

    def call(self, random: Any, key: Any = None) -> Any:
        args = [decoded(x) for x in self.record["args"]]
        kwargs = {name: decoded(x) for name, x in self.record["kwargs"].items()}
        key = random.key(self.record["seed"]) if key is None else key
        return getattr(random, self.record["name"])(key, *args, **kwargs)

    def check(self, result: Any) -> None:
        found = np.asarray(result)
        assert found.shape == tuple(self.record["shape"])
        wanted = np.dtype(_named(self.record["dtype"]))
        # the default integer is int64 here and int32 in JAX
        assert found.dtype == wanted or (found.dtype == np.int64 and wanted == np.int32)
        if self.record.get("crc32"):
            same = np.ascontiguousarray(found.astype(wanted))
            assert zlib.crc32(same.tobytes()) == self.record["crc32"]
        if "values" in self.record:
            self._compare(found)

    def _compare(self, found: np.ndarray) -> None:
        values = np.array(self.record["values"])
        part = found.dtype.itemsize
        if found.dtype.kind == "c":
            found, part = np.stack([found.real, found.imag], -1), part // 2
        flat = found.ravel() if found.dtype.kind in "iub" else found.astype(float).ravel()
        if self.record.get("exact", True):
            np.testing.assert_array_equal(flat, values)
        else:
            relative, absolute = TOLERANCE[part]
            np.testing.assert_allclose(flat, values, rtol=relative, atol=absolute)


def _short(x: Any) -> str:
    return "array" if isinstance(x, dict) and "array" in x else str(decoded(x))


def _named(name: str) -> Any:
    return ml_dtypes.bfloat16 if name == "bfloat16" else name


def cases(kind: str) -> list[Case]:
    """The records of a list of the file: "cases" with values, "checksums" of larger arrays."""
    return [Case(record) for record in golden()[kind]]
