"""`twinsock why` answers within a blink: nothing heavy is imported on its way."""

import subprocess
import sys

import pytest

from tests.arch.sources import ROOT

_HEAVY = """
    argparse asyncio contextlib ctypes dataclasses email enum functools http importlib inspect ipaddress json logging pathlib
    random re shutil signal socket string subprocess tempfile textwrap threading types typing urllib weakref
"""
HEAVY = set(_HEAVY.split())


def loaded(code: str) -> set[str]:
    """Run code in a bare interpreter and return the modules that it left loaded."""
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); before = set(sys.modules)\n{code}\n"
    script += "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def heavy_imports(code: str) -> set[str]:
    """Run code in a bare interpreter and return the heavy or foreign modules that it left loaded."""
    return {name for name in loaded(code) if name in HEAVY or not (name in sys.stdlib_module_names or name == "twinsock")}


@pytest.mark.parametrize("module", ["twinsock", "twinsock.ui.cli"])
def test_importing_the_command_loads_no_heavy_module(module: str) -> None:
    assert heavy_imports(f"import {module}") == set()


# What `twinsock why 8080` takes from the standard library when the port is free, beyond what each interpreter has loaded.
# `fcntl` is for sockets of namespaces without a process, which are looked for where some process holds a socket of another namespace.
LIGHT = """
    __future__ _ctypes _heapq _socket _struct errno fcntl heapq struct
"""


COMMANDS = ("['why', '18080']", "['ss', '-tan']", "['listeners']", "['ports']", "['leaks']", "['ns']")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_takes_nothing_heavy_along(command: str) -> None:
    quiet = "import io\nkept, sys.stdout = sys.stdout, io.StringIO()\n"
    run = f"from twinsock.ui.cli import dispatch\ndispatch({command})\nsys.stdout = kept"
    assert heavy_imports(quiet + run) == set()


def test_a_free_port_needs_only_these_modules_of_the_standard_library() -> None:
    run = "import os, io\nbefore |= set(sys.modules)\nkept, sys.stdout = sys.stdout, io.StringIO()\n"
    run += "from twinsock.ui.cli import dispatch\ndispatch(['why', '18080'])\nsys.stdout = kept\n"
    assert loaded(run) - {"twinsock"} <= set(LIGHT.split())


def test_a_heavy_or_foreign_import_is_found() -> None:
    assert "json" in heavy_imports("import json")
    assert heavy_imports("sys.modules['psutil'] = sys") == {"psutil"}
