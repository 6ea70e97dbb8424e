"""Every module says what it is."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lacks_docstring(source: str) -> bool:
    """Tell whether a module has code but no docstring."""
    tree = ast.parse(source)
    return bool(tree.body) and ast.get_docstring(tree) is None


@pytest.mark.parametrize("folder", ["src", "tests"])
def test_every_module_says_what_it_is(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*.py") if lacks_docstring(path.read_text())]
    assert files == []


def test_the_docstring_check_can_fail() -> None:
    assert lacks_docstring("import os\n")
    assert not lacks_docstring('"""What it is."""\nimport os\n')
