"""The shape of the package: import order, sizes, who reads the environment, weight of import.

Everything here is read from the syntax trees, so a violation shows even in code that no test runs.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tracejit"

#: bottom up; a module may import from its own layer and from the ones above it in this list.
#: Names that are not listed are public namespaces (numpy, lax, nn, ...): the layer NAMESPACES.
BASE = (
    "errors",
    "hints",
    "source",
    "config",
    "tree",
    "tree_util",
    "tree_nodes",
    "kernels",
    "lazy",
    "record",
)
COMPILER = ("ir", "ops", "transform", "passes", "kernel", "codegen", "runtime", "frontend")
TOP = ("api", "__init__", "__main__", "doctor", "demo")
NAMESPACES = len(COMPILER) + 1

#: packages that only the modules that wrap them import, inside functions, on first need
LAZY = {
    *("numba", "llvmlite", "scipy", "cupy", "cupyx", "cupy_backends", "cuda", "cudnn"),
    *("sklearn", "tqdm", "matplotlib", "PIL", "torch", "jax", "graphviz", "mpi4py"),
    *("imageio", "imageio_ffmpeg", "av"),
}
#: packages whose modules may use each other at call time
TOGETHER = ("tracejit.ops", "tracejit.transform", "tracejit.frontend")
#: own modules that load at first use: the compiler proper, and the namespace that Arrays name as
#: theirs
LAZY_DOORS = {
    ("tracejit.api", "tracejit.doctor"),
    ("tracejit.api", "tracejit.runtime.cache"),
    ("tracejit.debug", "tracejit.runtime.gpu.host_device"),
    ("tracejit.frontend.dispatch", "tracejit.runtime.executable"),
    ("tracejit.frontend.dispatch", "tracejit.runtime.replay"),
    ("tracejit.frontend.exchange", "tracejit.runtime.gpu.dlpack"),
    ("tracejit.frontend.interop", "tracejit.numpy"),
    ("tracejit.frontend.on_device", "tracejit.runtime.executable"),
    ("tracejit.frontend.on_device", "tracejit.runtime.gpu.executable"),
    ("tracejit.ir.graph", "tracejit.ir.text"),
    ("tracejit.ops", "tracejit.frontend.segments"),
    ("tracejit.runtime.cpu", "tracejit.codegen.llvm"),
    ("tracejit.runtime.cpu", "tracejit.codegen.llvm_ops"),
    ("tracejit.runtime.cpu", "tracejit.kernel.complex"),
    ("tracejit.runtime.cpu", "tracejit.kernel.math"),
    ("tracejit.runtime.cpu", "tracejit.kernel.math_half"),
    ("tracejit.runtime.cpu", "tracejit.codegen.quick"),
    ("tracejit.runtime.executable", "tracejit.codegen.numba"),
    ("tracejit.runtime.executable", "tracejit.runtime.gpu.executable"),
    ("tracejit.runtime.gpu.cupy_device", "cupy"),
    ("tracejit.runtime.gpu.registry", "tracejit.runtime.gpu.cupy_device"),
    ("tracejit.runtime.gpu.registry", "tracejit.runtime.gpu.shared"),
    ("tracejit.runtime.gpu.streams", "cupy"),
    ("tracejit.runtime.stages", "tracejit.codegen.module"),
    ("tracejit.runtime.stages", "tracejit.runtime.gpu.code"),
}
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sources()}


def layer(module: str) -> int:
    """Position of a module in the import order, bottom up."""
    _, _, below = module.partition(".")
    first = below.split(".")[0] or "__init__"
    if first in BASE:
        return 0
    if first in COMPILER:
        return COMPILER.index(first) + 1
    return NAMESPACES + 1 if first in TOP else NAMESPACES


def imported(node: ast.AST, module: str) -> Iterator[str]:
    """The modules an import statement names, relative ones resolved; a name may be a submodule."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            is_package = MODULES[module].name == "__init__.py"
            parts = module.split(".")
            parts = parts[: len(parts) - node.level + is_package]
            base = ".".join([*parts, *filter(None, [node.module])])
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            yield submodule if submodule in MODULES else base


def own_imports(path: Path, *, typing: bool = True) -> Iterator[tuple[ast.AST, str]]:
    """Import statements of this package's modules: the statement and the module."""
    name = module_name(path)
    tree = syntax(path)
    skipped = set() if typing else for_typing_only(tree)
    for node in set(ast.walk(tree)) - skipped:
        for target in imported(node, name):
            if target.split(".")[0] == "tracejit":
                yield node, target


def for_typing_only(tree: ast.AST) -> set[ast.AST]:
    """Statements under ``if TYPE_CHECKING``: no import at run time."""
    return {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for node in ast.walk(block)
    }


def at(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_imports_point_downward() -> None:
    wrong = [
        f"{at(path, node)}: {module_name(path)} imports {target}"
        for path in sources()
        for node, target in own_imports(path)
        if layer(target) > layer(module_name(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_bottom_layer_does_not_import_the_package_itself() -> None:
    """``tracejit/__init__.py`` imports everything: importing it from below would be a cycle."""
    wrong = [
        at(path, node)
        for path in sources()
        for node, target in own_imports(path)
        if target == "tracejit" and layer(module_name(path)) < layer("tracejit")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_in_a_circle() -> None:
    def whole(module: str) -> str:
        # rules of operations use each other's operations, and an Array and the functions on it each
        # other, at call time: these packages count as one module
        return next((one for one in TOGETHER if module.startswith(one + ".")), module)

    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        targets = {whole(target) for _, target in own_imports(path, typing=False)}
        graph.setdefault(whole(name), set()).update(targets - {"tracejit", whole(name)})
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circle = (*trail[trail.index(name) :], name)
            pytest.fail("imports go in a circle: " + " -> ".join(circle))
        if name not in done:
            for target in sorted(graph.get(name, ())):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_no_import_inside_a_function_but_of_heavy_packages() -> None:
    wrong = [
        f"{at(path, node)}: {target}"
        for path in sources()
        for function in functions(syntax(path))
        for node in ast.walk(function)
        for target in imported(node, module_name(path))
        if target.split(".")[0] not in LAZY
    ]
    assert not wrong, "\n".join(wrong)


def test_heavy_packages_are_not_imported_at_the_top() -> None:
    wrong = []
    for path in sources():
        tree = syntax(path)
        later = {node for function in functions(tree) for node in ast.walk(function)}
        for node in set(ast.walk(tree)) - later - for_typing_only(tree):
            heavy = {name.split(".")[0] for name in imported(node, module_name(path))} & LAZY
            wrong += [f"{at(path, node)}: {name}" for name in heavy]
    assert not wrong, "\n".join(wrong)


def test_modules_are_imported_by_name_only_on_the_command_line() -> None:
    """``import_module("tracejit...")`` would go around the import order; ``lazy`` is the one
    door.
    """
    wrong = [
        at(path, node)
        for path in sources()
        if path.name != "__main__.py"
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("import_module", "__import__"))
        and node.args
        and "tracejit" in ast.unparse(node.args[0])
    ]
    assert not wrong, "\n".join(wrong)


def test_lazy_doors_are_the_known_ones() -> None:
    found = {
        (module_name(path), ast.literal_eval(node.args[0]))
        for path in sources()
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy"
    }
    assert found == LAZY_DOORS


def test_files_are_short() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    long = [f"{path.relative_to(ROOT)}: {n}" for path, n in sizes.items() if n >= MAX_FILE_LINES]
    assert not long, f"{MAX_FILE_LINES} lines or more:\n" + "\n".join(long)


def test_functions_are_short() -> None:
    long = [
        f"{at(path, function)}: {function.name}, {lines}"
        for path in sources()
        for function in functions(syntax(path))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) >= MAX_FUNCTION_LINES
    ]
    assert not long, f"{MAX_FUNCTION_LINES} lines or more:\n" + "\n".join(long)


def test_the_environment_is_read_only_in_config() -> None:
    wrong = []
    for path in sources():
        if path == PACKAGE / "config.py":
            continue
        for node in ast.walk(syntax(path)):
            names = {node.attr} if isinstance(node, ast.Attribute) else set()
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                names = {alias.name for alias in node.names}
            if names & {"environ", "environb", "getenv", "putenv"}:
                wrong.append(at(path, node))
    assert not wrong, "\n".join(wrong)


def test_import_loads_nothing_heavy() -> None:
    script = "import sys, tracejit; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(done.stdout.split()) & LAZY
