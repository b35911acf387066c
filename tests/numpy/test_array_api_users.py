"""Libraries that take any array namespace take ``tracejit.numpy``: SciPy, scikit-learn and
array-api-compat. What each of them answers is in array_api_users.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tracejit.numpy as jnp

ROOT = Path(__file__).parents[2]


def answers(which: str) -> dict[str, str]:
    """What the program of this folder prints, in a process of its own."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("array_api_users.py")), which],
        env={**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return dict(line.split(": ", 1) for line in ran.stdout.splitlines())  # type: ignore[misc]


def test_scipy() -> None:
    scipy = pytest.importorskip("scipy", minversion="1.17")
    found = answers("scipy")
    wrong = {name: text for name, text in found.items() if text != "ok"}
    assert len(found) > 20 and not wrong, f"SciPy {scipy.__version__}: {wrong}"


def test_scikit_learn() -> None:
    pytest.importorskip("array_api_compat")
    sklearn = pytest.importorskip("sklearn", minversion="1.9")
    found = answers("sklearn")
    wrong = {name: text for name, text in found.items() if text != "ok"}
    assert len(found) > 10 and not wrong, f"scikit-learn {sklearn.__version__}: {wrong}"


def test_array_api_compat() -> None:
    compat = pytest.importorskip("array_api_compat")
    x = jnp.ones((2, 3))
    assert compat.is_array_api_obj(x) and not compat.is_numpy_array(x)
    assert compat.array_namespace(x) is jnp
    assert compat.array_namespace(x, 1.0, None) is jnp
    assert compat.device(x) is x.device and compat.size(x) == 6
    assert compat.to_device(x, x.device).shape == (2, 3)
    with pytest.raises(TypeError):
        compat.array_namespace(x, np.ones(2))
