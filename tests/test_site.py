"""The pages of the site: every public name, node and rule is on one, and links lead to something.

CI builds the site with mkdocs (``.ci/run``); these tests need only the pages.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.site import api, build, docstrings, reference
from tests.vocabulary.names import is_provided, listed
from tracejit.ir.expr import Expr
from tracejit.kernel import nodes
from tracejit.passes.simplify import RULES

CODE = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    build.gather(folder)
    return folder


def test_every_public_name_is_on_a_page() -> None:
    texts = api.pages()
    everything = "".join(texts.values())
    missing = []
    for space, names in listed().items():
        values = texts.get(f"api/{space}.md", "")
        for name in names:
            said = f"{{ #{space}.{name} }}" in everything or f"| `{name}` |" in values
            if is_provided(f"{space}.{name}") and not said:
                missing.append(f"{space}.{name}")
    assert not missing


def test_links_and_anchors_exist(pages: Path) -> None:
    ids = {path: anchors(path) for path in pages.rglob("*.md")}
    broken = []
    for path in ids:
        text = re.sub(r"`[^`\n]*`", "", CODE.sub("", path.read_text(encoding="utf-8")))
        for target in LINK.findall(text):
            if ":" in target:
                continue
            file, _, anchor = target.partition("#")
            place = (path.parent / file).resolve() if file else path
            if not place.is_file() or (anchor and anchor not in ids[place]):
                broken.append(f"{path.relative_to(pages)}: {target}")
    assert not broken


def anchors(path: Path) -> set[str]:
    """What headings of a page are called in links."""
    found = set()
    for title in re.findall(r"^#+ (.*)$", CODE.sub("", path.read_text("utf-8")), re.MULTILINE):
        own = re.search(r"\{ #(\S+) \}", title)
        plain = re.sub(r"[^\w\s-]", "", title).strip().lower()
        found.add(own.group(1) if own else re.sub(r"[\s-]+", "-", plain))
    return found


def test_every_page_is_in_the_navigation(pages: Path) -> None:
    named = build.configuration(pages, pages / "site")
    missing = [
        str(path.relative_to(pages))
        for path in pages.rglob("*.md")
        if not re.search(rf"[ :]{re.escape(path.relative_to(pages).as_posix())}$", named, re.M)
    ]
    assert not missing


def test_every_node_has_an_example() -> None:
    shown = {type(example) for example in reference.EXAMPLES}
    assert shown == {
        *nodes.Stmt.__subclasses__(),
        *Expr.__subclasses__(),
        nodes.Kernel,
        nodes.Param,
    }


def test_tables_hold_everything() -> None:
    assert all(f"| `{rule.name}` |" in reference.rules() for rule in RULES)
    for part in reference.PARTS.values():
        assert len(part()) > 100


def test_pages_that_ask_for_tables_get_them() -> None:
    asked = {
        name
        for path in build.DOCS.glob("*.md")
        for name in re.findall(r"<!-- site: (\w+) -->", path.read_text(encoding="utf-8"))
    }
    assert asked == set(reference.PARTS)


def test_docstrings_become_markdown() -> None:
    text = """One ``a * b`` and x*y, <z>.

    - first,
      and more
    - second

    name
        what it is

    f(x)      its value

    >>> 1 + 1
    2
    """
    assert docstrings.markdown(text).splitlines() == [
        "One `a * b` and x\\*y, &lt;z&gt;.",
        "",
        "- first, and more",
        "- second",
        "",
        "- `name`: what it is",
        "",
        "```text",
        "f(x)      its value",
        "```",
        "",
        "```pycon",
        ">>> 1 + 1",
        "2",
        "```",
    ]
    assert docstrings.summary("Sum of ``x.y``. More.") == "Sum of `x.y`."


def test_signatures() -> None:
    def f(a: int, /, b: object, *, c: str = "x", d: object = None) -> list[int]: ...

    assert (
        api.signature("f", f)
        == "f(a: int, /, b: object, *, c: str = 'x', d: object = None) -> list[int]"
    )

    def g(*rest: int, key: int) -> None: ...

    assert api.signature("g", g) == "g(*rest: int, key: int) -> None"
