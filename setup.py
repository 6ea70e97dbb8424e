"""The part of the build that pyproject.toml cannot say: with TWINSOCK_COMPILE=1 the core becomes C (tools/compiling.py)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "tools"))

import compiling
from setuptools import setup

# A build backend runs this file once more to learn what it needs, before mypyc is there.
asked_only = "egg_info" in sys.argv or "dist_info" in sys.argv or "sdist" in sys.argv
setup(ext_modules=[] if asked_only else compiling.extensions(), cmdclass={"build_ext": compiling.BuildExt})
