"""The project's Python files, parsed once, and what the architecture checks ask of them."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source:
    """One Python file: where it is, its dotted module name, its text and its tree."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.tree = ast.parse(text)
        inside = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__")
        self.module = inside.replace("/", ".")
        self.is_package = path.endswith("/__init__.py")

    @property
    def layer(self) -> str:
        """The folder below src/twinsock/: "kernel", "ui"...; "" for the package's own files."""
        parts = self.path.split("/")
        return parts[2] if len(parts) > 3 else ""

    def functions(self) -> Iterator[Function]:
        """Yield every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


class Import:
    """One imported module, or module and name: `from os import path` is `os.path`."""

    def __init__(self, name: str, line: int, only_types: bool) -> None:
        self.name = name
        self.line = line
        self.only_types = only_types

    @property
    def top(self) -> str:
        """The first part of the dotted name."""
        return self.name.partition(".")[0]


def imports_of(source: Source) -> list[Import]:
    """Return all imports of a file, wherever they stand; `only_types` marks those below `if TYPE_CHECKING:`."""
    found: list[Import] = []
    todo: list[tuple[ast.AST, bool]] = [(source.tree, False)]
    while todo:
        node, only_types = todo.pop()
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, only_types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(source, node)
            found += [Import(f"{base}.{alias.name}", node.lineno, only_types) for alias in node.names]
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            todo += [(child, True) for child in node.body]
            todo += [(child, only_types) for child in node.orelse]
        else:
            todo += [(child, only_types) for child in ast.iter_child_nodes(node)]
    return sorted(found, key=lambda item: (item.line, item.name))


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = source.module.split(".")
    keep = len(parts) - node.level + source.is_package
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")


def is_below(name: str, package: str) -> bool:
    """Tell whether a dotted name is a package or something in it."""
    return name == package or name.startswith(package + ".")


@functools.cache
def sources(folder: str) -> list[Source]:
    """Parse every Python file below a folder of the project."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    return [Source(str(path.relative_to(ROOT)), path.read_text()) for path in paths]


@functools.cache
def all_sources() -> list[Source]:
    """Parse every Python file of the project, `./dev` among them."""
    dev = Source("dev", (ROOT / "dev").read_text())
    return [dev, *sources("src"), *sources("tests"), *sources("bench")]
