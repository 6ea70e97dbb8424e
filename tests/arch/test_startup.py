"""`twinsock why` answers within a blink: the command's own module imports nothing heavy."""

import subprocess
import sys

import pytest

from tests.arch.sources import ROOT

_HEAVY = """
    argparse asyncio ctypes dataclasses email enum http inspect ipaddress json logging pathlib re subprocess tempfile
    typing urllib
"""
HEAVY = set(_HEAVY.split())


def heavy_imports(code: str) -> set[str]:
    """Run code in a bare interpreter and return the heavy or foreign modules that it left loaded."""
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); before = set(sys.modules)\n{code}\n"
    script += "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    return {name for name in loaded if name in HEAVY or not (name in sys.stdlib_module_names or name == "twinsock")}


@pytest.mark.parametrize("module", ["twinsock", "twinsock.ui.cli"])
def test_importing_the_command_loads_no_heavy_module(module: str) -> None:
    assert heavy_imports(f"import {module}") == set()


def test_a_heavy_or_foreign_import_is_found() -> None:
    assert "json" in heavy_imports("import json")
    assert heavy_imports("sys.modules['psutil'] = sys") == {"psutil"}
