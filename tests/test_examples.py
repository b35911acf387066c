"""The gallery in docs/examples: each program runs at small size and finds what it should, and its
page shows the program as it is.

``pytest --update-golden`` writes the programs into the pages.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from types import ModuleType

import pytest

GALLERY = Path(__file__).parent.parent / "docs" / "examples"
NAMES = sorted(path.stem for path in GALLERY.glob("*.py"))
# `py`, not `python`: tests/test_docs.py runs blocks of python, which here would take minutes
PROGRAM = re.compile(r"^```py\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def load(name: str) -> ModuleType:
    """The example as a module; skips the test where a third party of it is missing."""
    specification = importlib.util.spec_from_file_location(name, GALLERY / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of third parties
            specification.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] == "sklearn":
            pytest.skip("needs scikit-learn")
        raise
    return module


def run(name: str) -> dict[str, float]:
    return load(name).main(small=True)


def test_mandelbrot() -> None:
    assert abs(run("mandelbrot")["area"] - 1.5066) < 0.03  # 200 steps leave some of the outside in


def test_logistic_regression() -> None:
    found = run("logistic_regression")
    assert found["accuracy"] > 0.95
    assert found["difference"] < 1e-4  # to scikit-learn's parameters


def test_gaussian_process() -> None:
    found = run("gaussian_process")
    assert 0.15 < found["noise"] < 0.25  # 0.2 made the data
    assert found["inside"] > 0.9


def test_bayesian_net() -> None:
    found = run("bayesian_net")
    assert 0.6 < found["accepted"] <= 1
    assert found["rhat"] < 1.3
    assert found["error"] < 0.1  # the noise of one observation


def test_char_lstm() -> None:
    found = run("char_lstm")
    assert found["held"] < 0.85 * found["unigram"]


def test_digits_conv() -> None:
    assert run("digits_conv")["accuracy"] > 0.95


def test_small_gpt() -> None:
    found = run("small_gpt")
    assert found["loss"] < 0.85 * found["unigram"]


def test_neural_ode() -> None:
    found = run("neural_ode")
    assert found["loss"] < 0.05
    assert found["error"] < 0.7


def test_n_body() -> None:
    found = run("n_body")
    assert found["eight_drift"] < 1e-6 and found["planets_drift"] < 1e-6
    assert found["closure"] < 1e-4


def test_heat_equation() -> None:
    found = run("heat_equation")
    assert found["mode"] < 1e-10
    assert found["wrong"] < 0.02


def test_black_scholes() -> None:
    found = run("black_scholes")
    assert found.pop("monte_carlo") < 0.01
    assert all(difference < 1e-10 for difference in found.values()), found


def test_fixed_point() -> None:
    found = run("fixed_point")
    assert found["difference"] < 1e-10  # to the gradient through all steps
    assert found["right"] > 0.9


def test_adaptive_steps() -> None:
    found = run("adaptive_steps")
    assert found["miss"] < 1e-9
    assert found["difference"] < 1e-6


def test_each_example_is_tested_and_has_a_page() -> None:
    assert {f"test_{name}" for name in NAMES} <= globals().keys()
    index = (GALLERY / "index.md").read_text(encoding="utf-8")
    assert all(f"({name}.md)" in index for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_page_shows_the_program(name: str, request: pytest.FixtureRequest) -> None:
    page, program = GALLERY / f"{name}.md", (GALLERY / f"{name}.py").read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    (shown,) = PROGRAM.finditer(text)
    if request.config.getoption("--update-golden"):
        page.write_text(text[: shown.start(1)] + program + text[shown.end(1) :], encoding="utf-8")
    else:
        assert shown.group(1) == program, f"pytest --update-golden writes {page.name}"
