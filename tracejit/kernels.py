"""Hand-written kernel sources: the top-level folder ``kernels``, which the wheel carries.

In: the name of a file. Out: its text. The only place that knows where the folder is.

    >>> "README.md" in names()
    True
    >>> read("README.md").splitlines()[0]
    '# kernels'
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tracejit.errors import InternalError

_PACKAGE = Path(__file__).resolve().parent


@cache
def folder() -> Path:
    """``kernels/`` of a checkout, else the copy inside the installed package."""
    checkout, installed = _PACKAGE.parent / "kernels", _PACKAGE / "_kernels"
    for place, sign in ((checkout, _PACKAGE.parent / "pyproject.toml"), (installed, installed)):
        if place.is_dir() and sign.exists():
            return place
    raise InternalError(
        f"the folder of kernel sources is missing: neither {checkout} nor {installed}"
    )


def names() -> tuple[str, ...]:
    """All files, with the path below the folder in POSIX form."""
    files = (path for path in folder().rglob("*") if path.is_file())
    return tuple(sorted(path.relative_to(folder()).as_posix() for path in files))


@cache
def read(name: str) -> str:
    """The text of one file."""
    if name not in names():
        raise InternalError(f"there is no kernel source {name!r}; there are: {', '.join(names())}")
    return (folder() / name).read_text(encoding="utf-8")
