"""The Python in README and docs runs: blocks of one page share a namespace, in order.

What a block prints is compared with a block marked ``text`` right after it; ``pytest
--update-golden`` writes it.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.vocabulary.names import not_provided

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\n?^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = updated = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": page.stem}
    file, program = tmp_path / f"{page.stem}.py", ""  # all blocks so far, each at its line
    for match in BLOCK.finditer(text):
        line = text[: match.start()].count("\n") + 1
        program += "\n" * (line - program.count("\n")) + match.group(1)
        file.write_text(program, encoding="utf-8")
        block = "\n" * line + match.group(1)
        exec(compile(block, str(file), "exec", dont_inherit=True), namespace)
        printed, expected = tidy(capsys.readouterr().out), match.group(2)
        # a machine with narrower vectors prints another width
        if page.name != "gpu.md":
            printed = re.sub(r"vec\((4|8|16)x", "vec(16x", printed)
        if expected is None:
            continue
        if request.config.getoption("--update-golden"):
            updated = updated.replace(f"```text\n{expected}```", f"```text\n{printed}```", 1)
        else:
            assert printed == expected, f"{page.name}:{line}"
    if updated != text:
        page.write_text(updated, encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def tidy(text: str) -> str:
    """Printed text without blanks at the ends of lines and of the whole."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


#: what stands for what in the prose and tables of all pages
KNOWN = {
    **{"tj": "tracejit", "tracejit": "tracejit", "jnp": "tracejit.numpy", "np": "numpy"},
    **{name: f"tracejit.{name}" for name in ("lax", "nn", "optim", "random", "debug")},
}
NAME = re.compile(rf"(?<![\w.])({'|'.join(KNOWN)})((?:\.[A-Za-z]\w*)+)(?![\w/])(?<!\.cuh)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_exist(page: Path) -> None:
    """Dotted names in inline code: so the rows of tables of correspondences are true."""
    missing = []
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        for root, path in NAME.findall(code):
            if f"{root}{path}" not in not_provided() and not found(KNOWN[root], path[1:]):
                missing.append(f"{root}{path}")
    assert not missing, f"{page.name} names {missing}"


def found(module: str, path: str) -> bool:
    value: Any = importlib.import_module(module)
    for name in path.split("."):
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True
