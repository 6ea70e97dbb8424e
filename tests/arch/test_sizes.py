"""Files end at 1,000 lines and functions at 70."""

from tests.arch.sources import Source, all_sources

FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 70

# "path" or "path:function" -> why it may be longer.
LONGER: dict[str, str] = {
    "src/twinsock/kernel/net/core/netns_tcp.py:__init__": "one line for each sysctl",
}


def too_long(source: Source) -> list[str]:
    """Return what is too long in one file, as "path" or "path:function"."""
    bad = []
    if len(source.text.splitlines()) > FILE_LINES_MAX:
        bad.append(source.path)
    for function in source.functions():
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            bad.append(f"{source.path}:{function.name}")
    return bad


def test_files_and_functions_stay_short_or_have_a_reason() -> None:
    assert [name for source in all_sources() for name in too_long(source) if name not in LONGER] == []


def test_every_reason_for_more_length_is_still_needed() -> None:
    found = {name for source in all_sources() for name in too_long(source)}
    assert set(LONGER) - found == set()
    assert all(LONGER.values())


def test_a_long_file_and_a_long_function_are_found() -> None:
    assert too_long(Source("a.py", "x = 1\n" * 1000)) == []
    assert too_long(Source("a.py", "x = 1\n" * 1001)) == ["a.py"]
    assert too_long(Source("a.py", "def f():\n" + "    x = 1\n" * 69)) == []
    assert too_long(Source("a.py", "class C:\n    def f(self):\n" + "        x = 1\n" * 70)) == ["a.py:f"]
