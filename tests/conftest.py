"""Shared by all tests: what is marked `root` or `needs` skips, with the reason, where that is not to be had."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import twinsock
from tests.builds import COMPILED
from tests.netns import netns_missing, run_in_netns

pytest_plugins = ["twinsock.pytest_plugin"]
# A machine that is busy draws examples slowly, which says nothing about what is tested.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


def pytest_configure(config: pytest.Config) -> None:
    """Let child processes of tests import the twinsock under test."""
    src = str(Path(twinsock.__file__).parents[1])
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != src]
    os.environ["PYTHONPATH"] = os.pathsep.join([src, *paths])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here."""
    if item.get_closest_marker("root") is not None:
        reason = netns_missing(root_needed=True)
        if reason:
            pytest.skip(reason)
    if COMPILED and item.get_closest_marker("pure") is not None:
        pytest.skip("the compiled build's functions cannot be watched")
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")


@pytest.fixture
def in_netns() -> Callable[..., Any]:
    """`run_in_netns`, or a skip where no network namespace can be had, not even in a user namespace."""
    reason = netns_missing()
    if reason:
        pytest.skip(reason)
    return run_in_netns
