"""Docstrings as Markdown.

Comes in: a docstring, which is plain text with ``code`` and examples. Goes out: Markdown.

    markdown('Sum of ``x``.' + chr(10) * 2 + '>>> f(1)')     "Sum of `x`." and a block of code
"""

from __future__ import annotations

import inspect
import re

_ITEM = re.compile(r"(?:[-*]|\d+\.) +")
_SPECIAL = re.compile(r"([\\*_\[\]#|])")


def markdown(text: str | None) -> str:
    """The docstring ``text`` as Markdown: paragraphs, lists, definitions and blocks of code."""
    lines = inspect.cleandoc(text or "").splitlines()
    found: list[str] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
        elif lines[at].lstrip().startswith(">>>"):
            block, at = _take(lines, at, lambda line: bool(line.strip()))
            found.append(_fence(block, "pycon"))
        elif lines[at].startswith("    "):
            block, at = _take(lines, at, lambda line: line.startswith("    ") or not line.strip())
            found.append(_fence(block, "text"))
        elif _defines(lines, at):
            block, at = _take(lines, at, lambda line: not _blank_before_prose(line))
            found.append(_definitions(block))
        else:
            block, at = _take(lines, at, _is_prose)
            found.append(_fence(block, "text") if _has_columns(block) else _paragraph(block))
    return "\n\n".join(found) + "\n" if found else ""


def _take(lines: list[str], at: int, wanted: object) -> tuple[list[str], int]:
    """The lines from ``at`` on for which ``wanted`` holds, without blank ones behind them."""
    end = at
    while end < len(lines) and wanted(lines[end]):  # type: ignore[operator]
        end += 1
    block = lines[at:end]
    while block and not block[-1].strip():
        block.pop()
    return block, max(end, at + 1)


def _is_prose(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(">>>")


def _blank_before_prose(line: str) -> bool:
    return not line.strip()


def _has_columns(block: list[str]) -> bool:
    """Lines of code with what they give in a second column."""
    return any(re.search(r"\S {3,}\S", line) for line in block)


def _defines(lines: list[str], at: int) -> bool:
    """A line of one word with an indented line behind it: a name and what it means."""
    following = lines[at + 1] if at + 1 < len(lines) else ""
    return re.fullmatch(r"[\w.]+", lines[at]) is not None and following.startswith("    ")


def _definitions(block: list[str]) -> str:
    items: list[list[str]] = []
    for line in block:
        if line.startswith(" "):
            items[-1].append(line.strip())
        else:
            items.append([line.strip()])
    return "\n".join(f"- `{name}`: {inline(' '.join(rest))}" for name, *rest in items)


def _paragraph(block: list[str]) -> str:
    """A paragraph, or a list where its lines begin with dashes."""
    parts: list[str] = []
    for line in block:
        if _ITEM.match(line.lstrip()) and not (parts and not line.startswith(("-", "*", "1"))):
            parts.append("- " + _ITEM.sub("", line.lstrip(), count=1))
        elif parts:
            parts[-1] += " " + line.strip()
        else:
            parts.append(line.strip())
    shown: list[str] = []
    for part in parts:
        is_item = part.startswith("- ")
        body = inline(part[2:] if is_item else part)
        if is_item and shown and not shown[-1].startswith("- "):
            shown.append("")
        shown.append(f"- {body}" if is_item else body)
    return "\n".join(shown)


def _fence(block: list[str], language: str) -> str:
    text = inspect.cleandoc("\n" + "\n".join(block))
    return f"```{language}\n{text}\n```"


def inline(text: str) -> str:
    """One paragraph: ``code`` becomes code, and nothing else means anything to Markdown."""
    found = []
    for k, part in enumerate(re.split(r"``(.+?)``|`([^`]+)`", text)):
        if part is None:
            continue
        if k % 3:
            fence = "``" if "`" in part else "`"
            found.append(f"{fence}{part}{fence}")
        else:
            escaped = part.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            found.append(_SPECIAL.sub(r"\\\1", escaped))
    return "".join(found)


def summary(text: str | None) -> str:
    """The first sentence of a docstring, as one cell of a table."""
    first = inspect.cleandoc(text or "").split("\n\n")[0]
    lines = first.splitlines()
    while lines and lines[-1].lstrip().startswith((">>>", "...")):
        lines.pop()
    joined = " ".join(line.strip() for line in lines)
    # the end of a sentence is a full stop outside of code
    end = re.match(r"(?:``.+?``|[^`])+?[.:](?=\s|$)", joined)
    sentence = (end.group() if end else joined).rstrip(":")
    return cell(inline(sentence))


def cell(text: str) -> str:
    """Markdown as it may stand in a table: bars outside of code are escaped already."""
    return re.sub(r"`([^`]*\|[^`]*)`", lambda code: _coded(code.group(1)), text)


def _coded(text: str) -> str:
    """Code with bars, which tables would take for the end of a cell."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
    return f"<code>{safe}</code>"
