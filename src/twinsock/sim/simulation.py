"""A simulation: hosts, the network between them, one virtual time, one seed."""

import random
from collections.abc import Callable, Iterable
from typing import Any

from twinsock.kernel.kernel import Prng
from twinsock.kernel.net.core.capture import Capture, CaptureSink
from twinsock.kernel.time.timer import Clock, Timer
from twinsock.kernel.trace import Trace
from twinsock.runtime.baton import Baton, BatonTask, BatonWatch, Deadlock
from twinsock.runtime.process import Process, install_process, process
from twinsock.sim import network as net
from twinsock.sim import units
from twinsock.sim.host import CRASHED, PAUSED, RUNNING, Host, Job, callable_of, run_call
from twinsock.sim.journal import Journal

TESTER = "test"  # the host on which the scenario itself runs
TIME_LIMIT = 3600.0
_SITE_CHANCE = 1 << 30  # of 2**32: a quarter of the sites are active in a run, and fire a quarter of the times


class SimulationError(Exception):
    """The simulation could not go on, or ended otherwise than it should."""


class InvariantBroken(SimulationError):
    """A condition that `always` watches did not hold."""


class TimeLimit(SimulationError):
    """The scenario has not ended within its limit of virtual time."""


class _Limit(Timer):
    def __init__(self, sim: "Simulation", seconds: float) -> None:
        super().__init__()
        self.sim = sim
        self.seconds = seconds

    def fire(self) -> None:
        """Give up; when nothing else would ever happen it is a deadlock."""
        if self.sim.clock.next_event_ns() < 0:
            raise Deadlock("every task waits, and no timer or packet will ever wake one")
        self.sim.baton.fail(TimeLimit(f"not at its end after {self.seconds:g} s of virtual time (time_limit)"))


class _Watch(BatonWatch):
    def __init__(self, sim: "Simulation") -> None:
        self.sim = sim

    def turn(self, task: BatonTask) -> None:
        """Check what must always hold, then note who runs."""
        sim = self.sim
        sim.check_invariants()
        owner = task.owner
        sim.journal.turn(task, owner.hostname if isinstance(owner, Process) else "?")


class Simulation:
    """What a scenario works with. Times are virtual seconds, or texts as "20ms"; `sim.random` is seeded."""

    def __init__(self, seed: int, time_limit: float = TIME_LIMIT, keep: bool = False, trace: Trace | None = None) -> None:
        self.seed = seed
        self.prng = Prng(seed)
        self.random = random.Random(seed)
        self.clock = Clock()
        self.baton = Baton(self.clock)
        self.baton.watch = _Watch(self)
        self.trace = trace
        self.journal = Journal(self.clock, keep)
        self.network = net.Network(self.journal)
        self.hosts: dict[str, Host] = {}
        self.names: list[tuple[str, list[str]]] = []
        self.time_limit = time_limit
        self.body: Job | None = None
        self._invariants: list[tuple[Callable[[], Any], str]] = []
        self._sites: dict[str, bool] = {}
        self._buggify = False
        self._captures: list[Capture] = []
        self.allowed: set[str] = set()  # doors to the world outside that programs may use
        self.pcap: CaptureSink | None = None  # where the packets of every host go
        self._capture: Capture | None = None

    def __repr__(self) -> str:
        return f"<Simulation seed={self.seed} at {self.now:.6f} s: {', '.join(self.hosts)}>"

    # The run

    def execute(self, func: Callable[..., Any], *args: Any) -> Job:
        """Run a scenario on a host of its own, to its end; the job says how it went. Raises what made the simulation fail."""
        tester = self.host(TESTER, start=False)
        if self.time_limit:
            self.clock.hrtimer_start(_Limit(self, self.time_limit), round(self.time_limit * 1e9))
        self.body = Job(tester, lambda: run_call(func, args, {}), getattr(func, "__name__", "scenario"), 0)
        tester.jobs.append(self.body)
        install_process(self.body.process)
        random.seed(self.prng.u64())
        self.baton.drive(self.body.process.first)
        if self.baton.failure is not None:
            raise self.baton.failure
        return self.body

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.now_ns / 1e9

    def sleep(self, duration: units.Duration) -> None:
        """Let virtual time pass."""
        process().sleep_ns(units.nanoseconds(duration))

    # Hosts

    def host(
        self,
        name: str,
        main: Callable[..., Any] | str | None = None,
        *args: Any,
        address: str = "",
        sysctl: dict[str, Any] | None = None,
        uid: int = 0,
        nofile: int = 0,
        mtu: int = 1500,
        clock_skew: float = 0.0,
        start: bool = True,
        **kw: Any,
    ) -> Host:
        """Add a host and start its main program: a function, a coroutine function, or the path of a program file.

        `address`: as 10.0.0.7/24, the next free one if not given. `sysctl`: {"net.core.somaxconn": 16}. `nofile`: limit of descriptors.
        `clock_skew`: seconds by which its time of day is ahead. `args` and `kw` go to the main program, again at each restart.
        Raises ValueError for a name or address that is taken."""
        if name in self.hosts:
            raise ValueError(f"there is a host {name!r} already")
        prefix = address or f"10.0.{(len(self.hosts) + 1) >> 8}.{(len(self.hosts) + 1) & 255}/16"
        if "/" not in prefix:
            prefix += "/16"
        if any(host.address == prefix.partition("/")[0] for host in self.hosts.values()):
            raise ValueError(f"{address} is taken")
        call, title = (None, "") if main is None or not start else callable_of(main, args, kw)
        options = {"title": title, "sysctl": sysctl or {}, "uid": uid, "nofile": nofile, "mtu": mtu, "skew_ns": round(clock_skew * 1e9)}
        self.names.append((prefix.partition("/")[0], [name]))
        host = Host(self, name, prefix, call, options)
        self.hosts[name] = host
        return host

    # The network and its faults

    def conditions(self, **conditions: Any) -> None:
        """Set the conditions of the network: latency, loss, duplicate, reorder, corrupt (0 to 1), bandwidth, queue (packets)."""
        self.network.set(conditions)

    def link(self, source: Host | str, dest: Host | str, *, oneway: bool = False, **conditions: Any) -> None:
        """Set conditions between two hosts, or in one direction."""
        (left,), (right,) = net.names(source), net.names(dest)
        self._known(left, right)
        self.network.link(left, right, oneway, conditions)

    def partition(self, left: Any, right: Any = None, *, oneway: bool = False) -> net.Fault:
        """Let nothing through between two groups of hosts (None: everybody else), or from the first to the second only."""
        return self.network.bring(
            net.Partition(self.network, self._text("partition", left, right, oneway), self._between(left, right, oneway))
        )

    def hold(self, left: Any, right: Any = None, *, oneway: bool = False) -> net.Fault:
        """Keep packets back until the fault ends."""
        return self.network.bring(net.Hold(self.network, self._text("hold", left, right, oneway), self._between(left, right, oneway)))

    def rule(self, func: net.Rule, left: Any = None, right: Any = None, *, oneway: bool = False) -> net.Fault:
        """Have a function decide about each packet: None lets it pass, `sim.DROP` throws it away, a duration delays it."""
        touches = (lambda source, dest: True) if left is None else self._between(left, right, oneway)
        return self.network.bring(net.RuleFault(self.network, f"rule {getattr(func, '__name__', 'rule')}", touches, func))

    def heal(self) -> None:
        """End every fault: mend the network, resume paused hosts, start crashed ones again, make no more calls go wrong."""
        self.journal.add("heal")
        self.network.heal()
        self._buggify = False
        for host in self.hosts.values():
            host.faults.chance = host.faults.spurious = host.faults.accept_delay_ns = 0
            if host.state == PAUSED:
                host.resume()
            elif host.state == CRASHED:
                host.restart()

    def _known(self, *wanted: str) -> None:
        for name in wanted:
            if name not in self.hosts:
                raise ValueError(f"there is no host {name!r}: there are {', '.join(self.hosts)}")

    def _between(self, left: Any, right: Any, oneway: bool) -> Callable[[str, str], bool]:
        self._known(*sorted(net.names(left)), *([] if right is None else sorted(net.names(right))))
        return net.between(left, right, oneway)

    def _text(self, what: str, left: Any, right: Any, oneway: bool) -> str:
        others = "the others" if right is None else ",".join(sorted(net.names(right)))
        return f"{what} {','.join(sorted(net.names(left)))} {'>' if oneway else '|'} {others}"

    # Faults within programs

    def buggify(self, *hosts: Host | str, short: float = 0.25, spurious: float = 0.05) -> None:
        """Make calls of hosts (none named: all) go wrong as they may: short reads and writes, and calls that have to be made again.

        Sites in programs, `sim.buggified("name")`, are active from now on too. Ends with `heal()`."""
        self._buggify = True
        chosen = [self.hosts[name] for item in hosts for name in net.names(item)] or [h for h in self.hosts.values() if h.name != TESTER]
        for host in chosen:
            host.faults.chance = units.chance("short", short)
            host.faults.spurious = units.chance("spurious", spurious)
        self.journal.add(f"buggify {' '.join(host.name for host in chosen)}")

    def buggified(self, site: str) -> bool:
        """Tell a program whether to do the rare thing here: a site is active in a quarter of the runs, and fires a quarter of the times."""
        if not self._buggify:
            return False
        if site not in self._sites:
            self._sites[site] = self.prng.u32() < _SITE_CHANCE
        fires = self._sites[site] and self.prng.u32() < _SITE_CHANCE
        if fires:
            self.journal.add(f"buggified {site}")
        return fires

    # What must hold

    def always(self, condition: Callable[[], Any], text: str = "") -> None:
        """Check a condition at every turn of a task from now on: it fails by returning False or by raising. It must not make calls."""
        self._invariants.append((condition, text or getattr(condition, "__name__", "condition")))

    def check_invariants(self) -> None:
        """Check what `always` was told. Raises InvariantBroken."""
        for condition, text in self._invariants:
            try:
                held = condition()
            except Exception as error:
                raise InvariantBroken(f"{text}: {type(error).__name__}: {error}") from error
            if held is False:
                raise InvariantBroken(f"{text} does not hold")

    def eventually(self, condition: Callable[[], Any], within: units.Duration = 60, every: units.Duration = "100ms") -> Any:
        """Wait until a condition is true, and return what it returned. An exception counts as not yet. Raises AssertionError."""
        deadline = self.clock.now_ns + units.nanoseconds(within)
        problem: Exception | None = None
        while True:
            try:
                value = condition()
                problem = None
            except Exception as error:
                value, problem = None, error
            if value:
                return value
            if self.clock.now_ns >= deadline:
                name = getattr(condition, "__name__", "condition")
                raise AssertionError(f"{name} was not true within {within!r} of virtual time") from problem
            self.sleep(every)

    def never_failed(self) -> list[Job]:
        """List the jobs that ended by an exception of which nobody has asked for the result."""
        jobs = [job for host in self.hosts.values() for job in host.jobs]
        return [job for job in jobs if job.error is not None and not job.seen and job is not self.body]

    # Packets

    def capture(self, sink: CaptureSink, hosts: Iterable[Host | str] = ()) -> None:
        """Write every frame that hosts (none named: all there are) send or receive as pcapng."""
        capture = Capture(sink)
        chosen = [name for item in hosts for name in net.names(item)] or list(self.hosts)
        for name in chosen:
            if self.hosts[name].state == RUNNING:
                capture.attach(self.hosts[name].port, f"{name}:eth0")
        self._captures.append(capture)

    def plugged(self, host: Host) -> None:
        """Record a host's packets from its start."""
        if self.pcap is not None:
            if self._capture is None:
                self._capture = Capture(self.pcap)
            self._capture.attach(host.port, f"{host.name}:eth0")


_current: list[Simulation] = []


def current() -> Simulation:
    """Return the simulation that runs. Raises SimulationError outside of one."""
    if not _current:
        raise SimulationError("no simulation runs: this is for functions under @twinsock.test, or under `twinsock sweep`")
    return _current[0]


def enter(simulation: Simulation) -> None:
    """Say which simulation runs in this process."""
    _current[:] = [simulation]
