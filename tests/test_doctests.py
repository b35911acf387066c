"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn, random

ROOT = Path(__file__).parent.parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules_with_examples() -> list[str]:
    found = []
    for path in sorted((ROOT / "tracejit").rglob("*.py")):
        if ">>>" in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


#: names that examples use without importing them
KNOWN = {"np": np, "jnp": jnp, "tj": tj, "lax": lax, "nn": nn, "random": random, "key": random.key}
KNOWN |= {name: getattr(tj, name) for name in ("jit", "grad", "vmap")}


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_run(name: str) -> None:
    importlib.import_module(name)
    module = sys.modules[name]  # ``tracejit.config`` as an attribute is an object, not the module
    names = {k: v for k, v in KNOWN.items() if not hasattr(module, k)}
    result = doctest.testmod(module, optionflags=FLAGS, extraglobs=names)
    assert result.failed == 0
