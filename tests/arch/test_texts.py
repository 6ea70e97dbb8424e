"""What stands in comments and documents: known deviations, and no path of anybody's machine."""

import re
from pathlib import Path

import pytest

from tests.arch.sources import ROOT, Source, sources

ID = re.compile(r"\bD-[a-z0-9]+-[0-9]+\b")
TWIN = re.compile(r"\bTwin:(?! D-[a-z0-9]+-[0-9]+\b)")
ROW = re.compile(r"^\|\s*(D-[^\s|]*)\s*\|(.*)\|\s*$", re.MULTILINE)
# Home folders of people and of root; the parts are joined so that this file does not match itself.
HOME = re.compile("(?<![\\w.~-])(" + "|".join(["/home" + "/[a-z]", "/Users" + "/[A-Za-z]", "/root" + "/[A-Za-z.]"]) + ")")
TEXTS = ("*.py", "*.md", "*.toml", "*.txt", "*.pkt", "dev", ".ci/run")
SKIPPED = {".git", "__pycache__", "build", "dist"}


def twin_comments_without_id(source: Source) -> list[str]:
    """Return the lines whose `Twin:` names no deviation."""
    lines = source.text.splitlines()
    return [f"{source.path}:{i}: {line.strip()}" for i, line in enumerate(lines, 1) if TWIN.search(line)]


def ids_in_code(files: list[Source]) -> set[str]:
    """Return every deviation id that the code names."""
    return {found for source in files for found in ID.findall(source.text)}


def documented(text: str) -> dict[str, list[str]]:
    """Read the table of docs/deviations.md: id -> its other five cells."""
    return {row[1]: [cell.strip() for cell in row[2].split("|")] for row in ROW.finditer(text)}


def row_errors(rows: dict[str, list[str]]) -> list[str]:
    """Return what is wrong with rows: a malformed id, a missing cell, a test that does not exist."""
    bad = []
    for name, cells in rows.items():
        if not ID.fullmatch(name):
            bad.append(f"{name}: an id is D-<area>-<number>")
        elif len(cells) != 5 or not all(cells):
            bad.append(f"{name}: six cells: id, area, what Linux does, what the twin does, why, test")
        elif not (ROOT / cells[4].strip("`").partition("::")[0]).is_file():
            bad.append(f"{name}: there is no {cells[4]}")
    return bad


def machine_paths(name: str, text: str, checkout: str) -> list[str]:
    """Return the lines of a text that name a home folder or the folder of this checkout."""
    here = re.compile(re.escape(checkout) + r"\b") if checkout.count("/") > 1 else HOME
    lines = text.splitlines()
    return [f"{name}:{i}: {line.strip()}" for i, line in enumerate(lines, 1) if HOME.search(line) or here.search(line)]


def _texts() -> list[Path]:
    found = [path for pattern in TEXTS for path in ROOT.rglob(pattern)]
    return [
        path
        for path in found
        if path.is_file() and not any(part in SKIPPED or part.startswith((".venv", ".mypy")) for part in path.relative_to(ROOT).parts)
    ]


def _deviations() -> dict[str, list[str]]:
    return documented((ROOT / "docs/deviations.md").read_text())


def test_every_twin_comment_names_its_deviation() -> None:
    assert [line for source in sources("src") for line in twin_comments_without_id(source)] == []


def test_deviations_in_the_code_and_in_the_document_are_the_same() -> None:
    assert ids_in_code(sources("src")) == set(_deviations())


def test_every_deviation_has_all_its_cells_and_a_test() -> None:
    assert row_errors(_deviations()) == []


def test_no_text_names_a_path_of_somebodys_machine() -> None:
    bad = []
    for path in _texts():
        bad += machine_paths(str(path.relative_to(ROOT)), path.read_text(errors="replace"), str(ROOT))
    assert bad == []


def test_a_twin_comment_without_an_id_is_found() -> None:
    assert twin_comments_without_id(Source("a.py", "x = 1  # Twin: we round down"))
    assert twin_comments_without_id(Source("a.py", "x = 1  # Twin: D-7 we round down"))
    assert not twin_comments_without_id(Source("a.py", "x = 1  # Twin: D-tcp-7: we round down"))


def test_an_id_known_to_one_side_only_is_found() -> None:
    code = ids_in_code([Source("a.py", '"""Left out: fast open (D-tcp-1)."""\nx = 1  # Twin: D-udp-2: no early demux')])
    assert code == {"D-tcp-1", "D-udp-2"}
    assert set(documented("| id | area |\n| --- | --- |\n| D-tcp-1 | tcp | a | b | c | `dev` |\n")) == {"D-tcp-1"}


@pytest.mark.parametrize(
    "row", ["| D-7 | tcp | a | b | c | `dev` |", "| D-tcp-7 | tcp | a | b | `dev` |", "| D-tcp-7 | tcp | a | b | c | x.py |"]
)
def test_a_malformed_row_of_deviations_is_found(row: str) -> None:
    assert row_errors(documented(row))
    assert not row_errors(documented("| D-tcp-7 | tcp | a | b | c | `dev` |"))


@pytest.mark.parametrize("text", ["cd /ho" + "me/jane/twinsock", "/Us" + "ers/Jane/x", "run /ro" + "ot/venv/bin/x", "at /srv/checkout/x"])
def test_a_path_of_a_machine_is_found(text: str) -> None:
    assert machine_paths("a.md", text, "/srv/checkout")
    assert not machine_paths("a.md", "see /proc/net/tcp, net/root/x and ~/.cache", "/srv/checkout")
