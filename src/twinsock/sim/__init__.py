"""Scenarios on simulated hosts: `from twinsock import sim`.

    @twinsock.test(seeds=200)
    def test_a_client_gets_its_answer() -> None:
        server = sim.host("server", serve)
        client = sim.host("client")
        job = client.run(ask, "server")
        with sim.partition(server, client):
            sim.sleep(3)
        assert job.result(timeout=60) == b"answer"

Everything here belongs to the simulation that runs in this process; `sim.current()` returns it."""

from collections.abc import Callable
from typing import Any

from twinsock.sim.host import Host, Job, JobFailed
from twinsock.sim.network import DROP, PASS, Fault, Packet
from twinsock.sim.simulation import InvariantBroken, Simulation, SimulationError, TimeLimit, current
from twinsock.sim.units import Delay, Duration, normal, pareto, uniform

__all__ = [
    "DROP",
    "PASS",
    "Delay",
    "Duration",
    "Fault",
    "Host",
    "InvariantBroken",
    "Job",
    "JobFailed",
    "Packet",
    "Simulation",
    "SimulationError",
    "TimeLimit",
    "always",
    "buggified",
    "buggify",
    "conditions",
    "current",
    "eventually",
    "heal",
    "hold",
    "host",
    "link",
    "normal",
    "now",
    "pareto",
    "partition",
    "rule",
    "sleep",
    "uniform",
]


def host(name: str, main: Callable[..., Any] | str | None = None, *args: Any, **options: Any) -> Host:
    """Add a host, `Simulation.host`."""
    return current().host(name, main, *args, **options)


def conditions(**values: Any) -> None:
    """Set the network's conditions, `Simulation.conditions`."""
    current().conditions(**values)


def link(source: Host | str, dest: Host | str, *, oneway: bool = False, **values: Any) -> None:
    """Set the conditions between two hosts, `Simulation.link`."""
    current().link(source, dest, oneway=oneway, **values)


def partition(left: Any, right: Any = None, *, oneway: bool = False) -> Fault:
    """Cut hosts off from each other, `Simulation.partition`."""
    return current().partition(left, right, oneway=oneway)


def hold(left: Any, right: Any = None, *, oneway: bool = False) -> Fault:
    """Keep packets back, `Simulation.hold`."""
    return current().hold(left, right, oneway=oneway)


def rule(func: Callable[[Packet], Any], left: Any = None, right: Any = None, *, oneway: bool = False) -> Fault:
    """Decide packet by packet, `Simulation.rule`."""
    return current().rule(func, left, right, oneway=oneway)


def heal() -> None:
    """End every fault, `Simulation.heal`."""
    current().heal()


def buggify(*hosts: Host | str, **chances: float) -> None:
    """Make calls go wrong as they may, `Simulation.buggify`."""
    current().buggify(*hosts, **chances)


def buggified(site: str) -> bool:
    """Tell a program whether to do the rare thing here, `Simulation.buggified`; False outside of a simulation."""
    try:
        return current().buggified(site)
    except SimulationError:
        return False


def always(condition: Callable[[], Any], text: str = "") -> None:
    """Watch a condition at every turn, `Simulation.always`."""
    current().always(condition, text)


def eventually(condition: Callable[[], Any], within: Duration = 60, every: Duration = "100ms") -> Any:
    """Wait until a condition is true, `Simulation.eventually`."""
    return current().eventually(condition, within, every)


def sleep(duration: Duration) -> None:
    """Let virtual time pass."""
    current().sleep(duration)


def now() -> float:
    """Return the virtual seconds since the start."""
    return current().now
