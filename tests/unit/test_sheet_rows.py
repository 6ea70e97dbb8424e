"""Every measured row of the fact sheets has a test that exists, or a stated reason why it has none."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.parity.sheet_rows import ROWS, SECTIONS, WITHOUT, covered, section_of, sections

ROOT = Path(__file__).parents[2]


@cache
def names_in(path: Path) -> tuple[set[str], set[str]]:
    """Return the functions that a file defines, and every name that it uses."""
    tree = ast.parse(path.read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return defined, {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("node", sorted({node for nodes in ROWS.values() for node in nodes.split()}))
def test_each_row_of_the_sheets_points_at_a_test_that_exists(node: str) -> None:
    path, _, name = node.partition("::")
    defined, used = names_in(ROOT / path)
    assert name in defined and (name in used or name.startswith("test_"))


@pytest.mark.parametrize("section", SECTIONS)
def test_each_row_of_a_section_has_a_test_or_a_reason(section: str) -> None:
    tested = covered()
    rows = sections()[section]
    assert [row for row in rows if row not in tested and row not in WITHOUT] == []
    assert [row for row in rows if row in tested and row in WITHOUT] == []
    mapped = {row for row in (*tested, *WITHOUT) if section_of(row) == section}
    assert sorted(mapped - set(rows)) == [], "not a row of the sheet"


def test_reasons_are_deviations_that_are_documented_or_are_stated_in_words() -> None:
    documented = set(re.findall(r"^\| (D-[a-z]+-\d+) \|", (ROOT / "docs/deviations.md").read_text(), re.MULTILINE))
    for row, reason in WITHOUT.items():
        named = set(re.findall(r"\bD-[a-z]+-\d+\b", reason))
        assert named <= documented, row
        assert named or len(reason.split()) >= 4, row
