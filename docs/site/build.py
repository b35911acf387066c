"""Build the site: gather the written pages, make the others, run mkdocs on all of them.

python -m docs.site.build FOLDER       the site; fails on any warning

Comes in: README.md, docs/**/*.md, docs/images, docs/examples and the package's docstrings. Goes
out: HTML files in FOLDER that fetch nothing from elsewhere; search needs a server, such as
``python -m http.server --directory FOLDER``.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docs.site import api, reference
from docs.site.docstrings import markdown

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
CONFIG = DOCS / "site" / "mkdocs.yml"
IMAGES = (".png", ".jpg", ".gif", ".svg")


def gather(target: Path) -> None:
    """All pages of the site, as Markdown, into the folder ``target``."""
    for path in sorted(DOCS.rglob("*")):
        place = target / path.relative_to(DOCS)
        if path.suffix == ".md":
            _write(place, reference.filled(path.read_text(encoding="utf-8")))
        elif path.suffix in IMAGES:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    _write(target / "index.md", _from_readme((ROOT / "README.md").read_text(encoding="utf-8")))
    shutil.copyfile(DOCS / "site" / "site.css", target / "site.css")
    examples = [p for p in sorted((DOCS / "examples").glob("*.py")) if p.stem[0] != "_"]
    for path in examples:
        if not path.with_suffix(".md").exists():
            _write(target / "examples" / f"{path.stem}.md", example_page(path))
    if not (target / "examples" / "index.md").exists():
        _write(target / "examples" / "index.md", gallery(examples))
    for name, text in api.pages().items():
        _write(target / name, text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _from_readme(text: str) -> str:
    """The front page: links that lead into docs/ from the README lead beside it here."""
    return re.sub(r"\]\(docs/", "](", text.replace("](docs/examples)", "](docs/examples/index.md)"))


def example_page(path: Path) -> str:
    """The page of an example: its docstring, its pictures, its text."""
    source = path.read_text(encoding="utf-8")
    code = "\n".join(source.splitlines()[ast.parse(source).body[0].end_lineno :]).strip()
    title, subtitle, rest = _said(path)
    parts = [f"# {title}\n", subtitle, markdown(rest), *_pictures(path, title)]
    parts.append(f"`docs/examples/{path.name}`:\n\n```python\n{code}\n```\n")
    return "\n".join(parts)


def _said(path: Path) -> tuple[str, str, str]:
    """Title, subtitle and text of an example, from its docstring ``Title: subtitle.``"""
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
    first, _, rest = said.partition("\n\n")
    title, _, more = " ".join(first.split()).partition(": ")
    return title.rstrip("."), markdown(more[:1].upper() + more[1:]), rest


def _pictures(path: Path, title: str) -> list[str]:
    folder = DOCS / "images" / "examples"
    found = [p for p in sorted(folder.glob(f"{path.stem}*")) if p.suffix in IMAGES]
    return [f"![{title}](../images/examples/{picture.name})\n" for picture in found]


def gallery(examples: list[Path]) -> str:
    """All examples, each with what it says of itself and its first picture."""
    parts = ["# Examples\n", "Each is one file, and runs in the tests at a small size.\n"]
    for path in examples:
        title, subtitle, rest = _said(path)
        parts += [f"## [{title}]({path.stem}.md)\n", subtitle or markdown(rest)]
        parts += _pictures(path, title)[:1]
    return "\n".join(parts)


def configuration(pages: Path, site: Path) -> str:
    """The text of the configuration for these folders, with ``folder/*`` written out."""
    lines: list[str] = []
    for line in CONFIG.read_text(encoding="utf-8").splitlines():
        globbed = re.fullmatch(r"( *)- (\w+): (\w+)/\*", line)
        if globbed is None:
            lines.append(line)
            continue
        indent, title, folder = globbed.groups()
        lines.append(f"{indent}- {title}:")
        for path in _in_order(folder, pages):
            name = f'"{path.stem}": ' if folder == "api" else ""
            lines.append(f"{indent}    - {name}{path.relative_to(pages).as_posix()}")
    return "\n".join([*lines, f"docs_dir: {pages}", f"site_dir: {site}", ""])


def _in_order(folder: str, pages: Path) -> list[Path]:
    """The pages of a folder: namespaces in their order, others by name, an index first."""
    if folder == "api":
        return [pages / "api" / f"{name}.md" for name in api.namespaces()]
    found = sorted((pages / folder).glob("*.md"))
    return sorted(found, key=lambda path: path.stem not in ("index", "README"))


def build(site: Path) -> int:
    """Build into ``site``; the exit code of mkdocs, which any warning makes 1."""
    with tempfile.TemporaryDirectory() as scratch:
        pages, config = Path(scratch) / "pages", Path(scratch) / "mkdocs.yml"
        gather(pages)
        config.write_text(configuration(pages, site.resolve()), encoding="utf-8")
        command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
        without_news = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        run = subprocess.run([*command, "--config-file", str(config)], env=without_news)
        return run.returncode


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m docs.site.build FOLDER")
    sys.exit(build(Path(sys.argv[1])))
