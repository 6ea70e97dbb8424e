"""Programs on stock packages in scenarios: server and client on hosts of their own, with loss, a partition, and every seed twice the
same. A package that is not installed (extra `packages`) skips its test by name."""

import importlib
import sys
from pathlib import Path

import pytest

import twinsock
from tests.sim.identical_runs import missing, names, run_once
from twinsock import sim

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PROGRAMS = Path(__file__).resolve().parent / "programs"


def _program(name: str) -> object:
    """Import a program as a module."""
    if str(PROGRAMS) not in sys.path:
        sys.path.insert(0, str(PROGRAMS))
    return importlib.import_module(name)


def _marks(name: str) -> list[pytest.MarkDecorator]:
    lacking = missing(name)
    return [pytest.mark.skip(reason=f"needs {', '.join(lacking)}: the extra `packages`")] if lacking else []


PARAMS = [pytest.param(name, marks=_marks(name)) for name in names()]


@pytest.mark.parametrize("name", PARAMS)
def test_two_runs_make_the_same_calls_and_print_the_same(name: str) -> None:
    first, output, calls = run_once(name)
    assert "Traceback" not in output
    assert calls > 50
    assert run_once(name)[0] == first


@pytest.mark.parametrize("name", PARAMS)
@twinsock.test(seeds=2, wall_limit=120)
def test_client_and_server_survive_loss_and_a_partition(name: str) -> None:
    program = _program(name)
    sim.conditions(latency=("1ms", "4ms"), loss=0.02)
    server = sim.host("server", program.serve)
    client = sim.host("client")
    sim.sleep(1)
    job = client.run(program.client, "server")
    sim.sleep("30ms")
    with sim.partition(server, client):
        sim.sleep(2)
    assert job.result(timeout=1500)
