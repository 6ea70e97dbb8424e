"""Compiling uapi, wire and kernel with mypyc: what `setup.py`, the build backend and `./dev build` share.

The same typed source makes both builds. `TWINSOCK_COMPILE=1` asks for the compiled one; MYPYC_OPT_LEVEL is the C compiler's
-O (default 3 in wheels). The C compiler runs on every processor of this process."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension
from setuptools.command.build_ext import build_ext

LAYERS = ("uapi", "wire", "kernel")
PACKAGE = Path("src") / "twinsock"
NOT_COMPILED = {PACKAGE / "kernel/lib/extending.py"}  # it stands in for what mypyc reads
MYPYC = ["mypy==2.4.1"]  # a compiler is pinned: what it accepts changes between releases


def wanted() -> bool:
    """Tell whether the environment asks for the compiled build."""
    return os.environ.get("TWINSOCK_COMPILE", "") not in ("", "0")


def obstacle() -> str:
    """Say why nothing can be compiled here, "" when it can."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"there is no {header} (on Debian: apt-get install python3-dev)"
    return ""


def core_files() -> list[str]:
    """Return the files that are compiled, sorted."""
    return sorted(str(path) for layer in LAYERS for path in (PACKAGE / layer).rglob("*.py") if path not in NOT_COMPILED)


def extensions() -> list[Extension]:
    """Let mypyc write C for the core and describe it to setuptools; an empty list is the pure build, which says why."""
    if not wanted():
        return []
    reason = obstacle()
    if reason:
        print(f"twinsock: {reason}, so this is the pure Python build: all of it works, slower", file=sys.stderr, flush=True)
        return []
    from mypyc.build import mypycify

    options = ["--config-file=", "--strict"]
    level = os.environ.get("MYPYC_OPT_LEVEL", "3")
    made = {"target_dir": "build/c", "group_name": "twinsock"}
    return list(mypycify([*options, *core_files()], opt_level=level, debug_level="0", multi_file=True, **made))


class BuildExt(build_ext):
    """Compiles the C files of the one large extension side by side, then the small ones that name its modules."""

    def build_extensions(self) -> None:
        """Build everything, the large extension first."""
        workers = len(os.sched_getaffinity(0))
        compile_one = self.compiler.compile
        self.compiler.compile = _side_by_side(compile_one, workers)
        self.extensions.sort(key=lambda extension: -len(extension.sources))
        for extension in self.extensions[:1]:
            self.build_extension(extension)
        self.compiler.compile = compile_one
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(self.build_extension, self.extensions[1:]))


def _side_by_side(compile_one: Callable[..., list[str]], workers: int) -> Callable[..., list[str]]:
    """Wrap a compiler's `compile`: each source in a thread, and only those that changed since their object was made."""

    def compile_all(sources: list[str], output_dir: str = "", depends: list[str] | None = None, **options: Any) -> list[str]:
        headers = max((os.stat(path).st_mtime_ns for path in depends or []), default=0)

        def compile_if_changed(source: str) -> list[str]:
            obj = Path(output_dir) / Path(source).with_suffix(".o")
            if obj.exists() and obj.stat().st_mtime_ns > max(headers, os.stat(source).st_mtime_ns):
                return [str(obj)]
            return compile_one([source], output_dir=output_dir, depends=depends, **options)

        with ThreadPoolExecutor(workers) as pool:
            return [obj for objects in pool.map(compile_if_changed, sources) for obj in objects]

    return compile_all
