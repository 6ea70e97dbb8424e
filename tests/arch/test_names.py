"""Names: Linux's or plain English, never camelCase; tests are sentences; every module says what it is."""

import ast
import re

import pytest

from tests.arch.sources import Source, all_sources, imports_of, sources

FUNCTION = re.compile(r"_*[a-z][a-z0-9_]*|__[a-z]+__|visit_[A-Za-z]+|_")
CLASS = re.compile(r"_?[A-Z][A-Za-z0-9]*")
MODULE = re.compile(r"[a-z_][a-z0-9_]*")
TEST_WORDS_MIN = 4


def bad_names(source: Source) -> list[str]:
    """Return functions, arguments and classes whose names are not written as names of that kind are."""
    bad = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and not CLASS.fullmatch(node.name):
            bad.append(f"{source.path}:{node.lineno}: class {node.name}")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not FUNCTION.fullmatch(node.name):
            bad.append(f"{source.path}:{node.lineno}: function {node.name}")
        if isinstance(node, ast.arg) and not FUNCTION.fullmatch(node.arg):
            bad.append(f"{source.path}:{node.lineno}: argument {node.arg}")
    if not MODULE.fullmatch(source.path.rpartition("/")[2].removesuffix(".py")):
        bad.append(f"{source.path}: file name")
    return bad


def borrowed_helpers(source: Source) -> list[str]:
    """Return imports of another module's `_helper`: what other files use has a name without the underscore."""
    return [
        f"{source.path}:{item.line}: {item.name}"
        for item in imports_of(source)
        if item.top == "twinsock" and re.fullmatch(r"_[^_].*", item.name.rpartition(".")[2])
    ]


def short_test_names(source: Source) -> list[str]:
    """Return tests whose name is no sentence."""
    return [
        f"{source.path}:{function.lineno}: {function.name}"
        for function in source.functions()
        if function.name.startswith("test") and len(function.name.split("_")) - 1 < TEST_WORDS_MIN
    ]


def lacks_docstring(source: Source) -> bool:
    """Tell whether a module has no docstring."""
    return not ast.get_docstring(source.tree)


@pytest.mark.parametrize("check", [bad_names, borrowed_helpers])
def test_names_are_written_as_names_of_their_kind_are(check: object) -> None:
    assert callable(check)
    assert [line for source in all_sources() for line in check(source)] == []


def test_names_of_tests_are_sentences_of_four_words_at_least() -> None:
    assert [line for source in sources("tests") for line in short_test_names(source)] == []


def test_every_module_says_what_it_is() -> None:
    assert [source.path for source in all_sources() if lacks_docstring(source)] == []


@pytest.mark.parametrize(
    "text",
    ["def sendMsg(): ...", "class tcp_sock: ...", "def f(skBuff): ...", "class C:\n    def getName(self): ..."],
)
def test_a_name_in_the_wrong_case_is_found(text: str) -> None:
    assert bad_names(Source("src/twinsock/kernel/net/core/sock.py", text))


def test_a_file_name_in_the_wrong_case_is_found() -> None:
    assert bad_names(Source("src/twinsock/kernel/net/ipv4/tcpInput.py", ""))


def test_a_borrowed_private_helper_is_found() -> None:
    assert borrowed_helpers(Source("src/twinsock/ui/cli.py", "from twinsock.ui.table import _align"))
    assert not borrowed_helpers(Source("src/twinsock/ui/cli.py", "from twinsock import __version__\nimport _socket"))


def test_a_test_named_in_three_words_is_found() -> None:
    assert short_test_names(Source("tests/unit/test_x.py", "def test_bind_works_fine(): ..."))
    assert not short_test_names(Source("tests/unit/test_x.py", "def test_bind_to_port_zero_picks_a_port(): ..."))


def test_a_module_without_docstring_is_found() -> None:
    assert lacks_docstring(Source("src/twinsock/ui/cli.py", "import sys\n"))
    assert not lacks_docstring(Source("src/twinsock/ui/cli.py", '"""The command."""\nimport sys\n'))
