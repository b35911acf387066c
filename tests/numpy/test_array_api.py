"""The public suite of the Python Array API standard, run on ``tracejit.numpy``.

It is no package, so it runs where the environment variable ARRAY_API_TESTS names a checkout of it,
with its submodule:

    git clone --recurse-submodules https://github.com/data-apis/array-api-tests
    pip install -r array-api-tests/requirements.txt
    ARRAY_API_TESTS=array-api-tests pytest tests/numpy/test_array_api.py

ARRAY_API_EXAMPLES says how many examples each test draws (100 unless told). What the suite found is
tested without it in test_array_api_own.py and test_array_api_special.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KNOWN = ROOT / "tests" / "array_api_skips.txt"
VERSIONS = ("2024.12", "2025.12")
MOST = 5


def known_failures() -> list[tuple[str, str]]:
    """(version, test) pairs."""
    lines = KNOWN.read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return [(version, test) for version, test in pairs]


def test_at_most_five_failures_are_known_each_with_a_reason() -> None:
    found = known_failures()
    for version in VERSIONS:
        assert sum(version == v for v, _ in found) <= MOST
    assert all(version in VERSIONS for version, _ in found)
    blocks = KNOWN.read_text(encoding="utf-8").strip().split("\n\n")
    assert all(block.startswith("# ") for block in blocks)


@pytest.mark.parametrize("version", VERSIONS)
def test_suite(version: str) -> None:
    checkout = os.environ.get("ARRAY_API_TESTS")
    if not checkout:
        pytest.skip("ARRAY_API_TESTS names no checkout of data-apis/array-api-tests")
    settings = {"ARRAY_API_TESTS_MODULE": "tracejit.numpy", "ARRAY_API_TESTS_VERSION": version}
    examples = os.environ.get("ARRAY_API_EXAMPLES", "100")
    options = ["-q", "-rfE", "-n0", "-p", "no:cacheprovider", "--tb=short", "--disable-deadline"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "array_api_tests", *options, f"--max-examples={examples}"],
        cwd=checkout,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = set(re.findall(r"^(?:FAILED|ERROR) (\S+?::.*?)(?: - .*)?$", ran.stdout, re.M))
    last = ran.stdout.strip().splitlines()[-1]
    assert re.search(r"\d+ passed", last), ran.stdout[-3000:] + ran.stderr[-3000:]
    print(f"array API {version}, {examples} examples: {last}")
    unknown = failed - {test for v, test in known_failures() if v == version}
    assert not unknown, "\n".join(sorted(unknown)) + "\n" + ran.stdout[-6000:]
