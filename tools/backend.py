"""The build backend of pyproject.toml: setuptools', which asks for mypyc too when the compiled build is wanted."""

from __future__ import annotations

from typing import Any

import compiling
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Return what a wheel needs beyond setuptools, PEP 517."""
    needs = list(build_meta.get_requires_for_build_wheel(config_settings))
    return needs + compiling.MYPYC if compiling.wanted() and not compiling.obstacle() else needs
