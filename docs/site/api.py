"""The API pages: one for each public namespace, from what its objects say of themselves.

pages()      {"api/tracejit.lax.md": "# tracejit.lax ...", ...}
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import typing
from types import ModuleType
from typing import Any

from docs.site.docstrings import markdown, summary

#: the public namespaces, in the order of the navigation; scipy's own are found
NAMESPACES = (
    "tracejit",
    *("tracejit.numpy", "tracejit.numpy.linalg", "tracejit.numpy.fft"),
    *("tracejit.lax", "tracejit.lax.linalg", "tracejit.random"),
    *("tracejit.nn", "tracejit.nn.initializers", "tracejit.optim"),
    *("tracejit.scipy", "tracejit.image", "tracejit.io", "tracejit.ops"),
    *("tracejit.tree", "tracejit.tree_util", "tracejit.flatten_util"),
    *("tracejit.custom_derivatives", "tracejit.debug", "tracejit.extend", "tracejit.testing"),
    *("tracejit.test_util", "tracejit.errors"),
)
#: signatures longer than this are written one parameter a line
_WIDTH = 88


def namespaces() -> list[str]:
    """The names of all public namespaces, those of ``tracejit.scipy`` with their own."""
    found: list[str] = []
    for name in NAMESPACES:
        found.append(name)
        if name == "tracejit.scipy":
            found += _below(name)
    return found


def _below(name: str) -> list[str]:
    """The public modules below ``tracejit.scipy`` that are documented on pages of their own."""
    inner = importlib.import_module(name)
    found = []
    for module in sorted(inner._MODULES):
        path = f"{name}.{module}"
        package = importlib.import_module(path)
        found.append(path)
        if hasattr(package, "__path__") and module in ("cluster", "sparse"):
            below = [sub.name for sub in pkgutil.iter_modules(package.__path__)]
            found += [f"{path}.{sub}" for sub in below if sub in package.__all__]
    return found


def pages() -> dict[str, str]:
    """The text of each page, by its path in the folder of pages."""
    return {f"api/{name}.md": page(name) for name in namespaces()}


def page(name: str) -> str:
    module = _module(name)
    members = public(name)
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Modules": [], "Values": []}
    for member, value in members.items():
        kinds[_kind(value)].append(member)
    parts = [f"# {name}\n", markdown(module.__doc__)]
    below = [other for other in namespaces() if other.rpartition(".")[0] == name]
    if below and name != "tracejit":
        parts.append("See also " + ", ".join(f"[`{other}`]({other}.md)" for other in below) + ".\n")
    for title, names in kinds.items():
        if not names:
            continue
        parts.append(f"## {title}\n")
        if title == "Values":
            parts.append(_values(members, names))
            continue
        if len(names) > 5:
            parts.append(_table(name, members, names))
        for member in names:
            parts.append(_entry(f"{name}.{member}", member, members[member]))
    return "\n".join(parts)


def _module(name: str) -> ModuleType:
    importlib.import_module(name)
    return sys.modules[name]


def public(name: str) -> dict[str, Any]:
    """The public names of a module: those of ``__all__``, else those that tracejit defines."""
    module = _module("tracejit.frontend.segments" if name == "tracejit.ops" else name)
    if (listed := getattr(module, "__all__", None)) is not None:
        return {member: getattr(module, member) for member in sorted(set(listed), key=_order)}
    found = {}
    for member in sorted(vars(module), key=_order):
        value = getattr(module, member)
        home = getattr(value, "__module__", None) or ""
        if member.startswith("_") or isinstance(value, ModuleType):
            continue
        if name == "tracejit.errors" and not isinstance(value, type):
            continue  # what the package itself uses
        if name == "tracejit" or home == module.__name__:
            found[member] = value
    return found


def _order(name: str) -> tuple[str, str]:
    return (name.lower(), name)


def _kind(value: Any) -> str:
    if isinstance(value, ModuleType):
        return "Modules"
    if isinstance(value, type):
        return "Classes"
    if typing.get_origin(value) is not None:  # the name of a type, for annotations
        return "Values"
    return "Functions" if callable(value) and not _is_dtype(value) else "Values"


def _is_dtype(value: Any) -> bool:
    return type(value).__name__ == "ScalarType"


def _table(name: str, members: dict[str, Any], names: list[str]) -> str:
    rows = [
        f"| [`{member}`](#{name}.{member}) | {summary(members[member].__doc__)} |"
        for member in names
    ]
    return "\n".join(["| name | |", "|---|---|", *rows]) + "\n"


def _values(members: dict[str, Any], names: list[str]) -> str:
    def shown(member: str) -> str:
        text = " ".join(repr(members[member]).split())
        if len(text) > 80:
            text = type(members[member]).__name__
        return re.sub(r" at 0x[0-9a-f]+", "", text).replace("|", "\\|").replace("`", "'")

    rows = [f"| `{member}` | `{shown(member)}` |" for member in names]
    return "\n".join(["| name | value |", "|---|---|", *rows]) + "\n"


def _entry(path: str, member: str, value: Any, level: str = "###") -> str:
    """The heading, the signature and the docstring of one name."""
    parts = [f"{level} `{member}` {{ #{path} }}\n"]
    if isinstance(value, ModuleType):
        parts.append(markdown(value.__doc__))
        for inner, function in public(value.__name__).items():
            parts.append(_entry(f"{path}.{inner}", f"{member}.{inner}", function, "####"))
        return "\n".join(parts)
    parts.append(f"```python\n{signature(member, value)}\n```\n")
    home = getattr(value, "__module__", None) or ""
    if not home.startswith("tracejit") and home.partition(".")[0] in ("numpy", "optree"):
        parts.append(f"{summary(value.__doc__)}\n\nThis is `{home}.{value.__name__}`.\n")
        return "\n".join(parts)
    parts.append(markdown(value.__doc__))
    if isinstance(value, type):
        parts.append(_methods(path, value))
    return "\n".join(parts)


def _methods(path: str, cls: type) -> str:
    """What a class of tracejit adds, in the order of its definition."""
    parts: list[str] = []
    for name, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if name.startswith("_") or not (callable(function) or isinstance(value, property)):
            continue
        if not getattr(function, "__doc__", None):
            continue
        label = f"{cls.__name__}.{name}"
        parts.append(f"#### `{label}` {{ #{path}.{name} }}\n")
        if not isinstance(value, property):
            parts.append(f"```python\n{signature(label, function)}\n```\n")
        parts.append(markdown(function.__doc__))
    return "\n".join(parts)


# ---- signatures ----------------------------------------------------------------------------------


def signature(name: str, value: Any) -> str:
    """``name(x, axis=None, *, keepdims: bool = False)``, broken over lines where it is long."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return f"{name}(...)"
    items: list[str] = []
    kinds = inspect.Parameter
    previous: inspect.Parameter | None = None
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        if previous is not None and previous.kind == kinds.POSITIONAL_ONLY != parameter.kind:
            items.append("/")
        if parameter.kind == kinds.KEYWORD_ONLY and not any(item[0] == "*" for item in items):
            items.append("*")
        items.append(_parameter(parameter))
        previous = parameter
    if previous is not None and previous.kind == kinds.POSITIONAL_ONLY:
        items.append("/")
    result = "" if isinstance(value, type) else _annotation(found.return_annotation)
    ending = f") -> {result}" if result else ")"
    line = f"{name}({', '.join(items)}{ending}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {item}," for item in items), ending])


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    text = stars.get(parameter.kind, "") + parameter.name
    annotation = _annotation(parameter.annotation)
    text += f": {annotation}" if annotation else ""
    if parameter.default is inspect.Parameter.empty:
        return text
    return text + (" = " if annotation else "=") + _default(parameter.default)


def _annotation(annotation: Any) -> str:
    """The text of an annotation; nothing for what says nothing."""
    if annotation is inspect.Signature.empty or annotation in (Any, "Any"):
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return "" if text == "Any" else text.replace("tracejit.frontend.array.", "")


def _default(value: Any) -> str:
    if inspect.isroutine(value) or isinstance(value, type):
        return str(value.__name__)
    return re.sub(r"<(?:function )?([\w.]+)[^>]*>", r"\1", " ".join(repr(value).split()))
