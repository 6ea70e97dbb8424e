"""Every row of the fact sheets that claims a case has one."""

import ast
from pathlib import Path

import pytest

from tests.parity.sheet_rows import OPEN, ROWS

ROOT = Path(__file__).parents[2]


def is_run(path: Path, name: str) -> bool:
    """Tell whether a file defines a test of this name, or a program that something else in the file names too."""
    tree = ast.parse(path.read_text())
    defined = any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)
    used = any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))
    return defined and (used or name.startswith("test_"))


@pytest.mark.parametrize("node", sorted({node for nodes in ROWS.values() for node in nodes.split()}))
def test_each_row_of_the_sheets_points_at_a_test_that_exists(node: str) -> None:
    path, _, name = node.partition("::")
    assert is_run(ROOT / path, name)


def test_no_row_is_both_covered_and_open() -> None:
    assert not set(ROWS) & set(OPEN)
    assert len(OPEN) == len(set(OPEN))
