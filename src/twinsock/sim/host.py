"""A simulated host: a kernel of its own, an interface on the network, processes that run ordinary Python functions."""

import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.drivers.switch import SwitchPort
from twinsock.kernel.fs.proc.root import proc_read, proc_write
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import dev_open, register_netdevice
from twinsock.kernel.net.core.neighbour import NEIGH_UPDATE_F_ADMIN, NEIGH_UPDATE_F_OVERRIDE
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.net.ipv6.addrconf import inet6_addr_add
from twinsock.kernel.sched.task import MAX_SCHEDULE_TIMEOUT
from twinsock.kernel.sched.wait import TaskWait, WaitQueueHead
from twinsock.runtime.baton import BatonTask
from twinsock.runtime.facade import KilledBySignal
from twinsock.runtime.faults import CallFaults
from twinsock.runtime.leaf.os_calls import make_room
from twinsock.runtime.process import Process, process
from twinsock.sim import units
from twinsock.uapi.rtnetlink import NUD_PERMANENT
from twinsock.uapi.signal import SIGKILL
from twinsock.wire.ip import parse_addr

if TYPE_CHECKING:
    from twinsock.sim.simulation import Simulation

RUNNING, CRASHED, PAUSED = "running", "crashed", "paused"
_RLIMIT_NOFILE = 7
_DYING_TURNS = 1000  # turns in which killed threads must have noticed
_IFA_F_NODAD = 2
_ADMIN = NEIGH_UPDATE_F_ADMIN | NEIGH_UPDATE_F_OVERRIDE


class JobFailed(Exception):
    """A program on a host ended with an exception, which is the cause, or by a signal."""


class Job:
    """One process of a host. `result()` waits for its end."""

    def __init__(self, host: "Host", call: Callable[[], Any], title: str, uid: int) -> None:
        self.host = host
        self.title = title
        self.ended = False
        self.crashed = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.seen = False  # somebody asked for the result
        self._call = call
        self._wq = WaitQueueHead()
        sim = host.sim
        self.process = Process(host.kernel, sim.prng.u64(), host.name, sim.baton, uid)
        self.process.skew_ns = host.skew_ns
        self.process.names = sim.names
        self.process.faults = host.faults
        self.process.allowed = sim.allowed
        self.process.killed = self._killed
        self.process.first.comm = title
        if host.nofile:
            make_room(self.process, host.nofile)
            self.process.first.set_rlimit(_RLIMIT_NOFILE, host.nofile, host.nofile)
        sim.baton.spawn(self.process.first, self._body)

    def __repr__(self) -> str:
        return f"<Job {self.title} on {self.host.name}: {self.state()}>"

    def state(self) -> str:
        """Say in a word or two how it is: running, ended, crashed, or what ended it."""
        if self.crashed:
            return "crashed"
        if not self.ended:
            return "running"
        return "ended" if self.error is None else f"ended by {type(self.error).__name__}: {self.error}"

    def tasks(self) -> list[BatonTask]:
        """List its threads that have not ended."""
        return [task for task in self.host.kernel.tasks if isinstance(task, BatonTask) and task.owner is self.process and not task.done]

    def _body(self) -> None:
        try:
            self.value = self._call()
            self._join_threads()
        except SystemExit as stop:
            if stop.code not in (None, 0):
                self.error = stop
        except BaseException as error:
            self.error = error
        self._end()

    def _join_threads(self) -> None:
        """Wait for threads that are no daemons, as the interpreter does at its end."""
        threading = sys.modules.get("threading")
        while threading is not None:
            own = {task.ident for task in self.tasks() if task is not self.process.first}
            left = [thread for ident, thread in sorted(threading._active.items()) if ident in own and not thread.daemon]
            if not left:
                return
            left[0].join()

    def _killed(self, signo: int) -> None:
        """End by a signal's default action: no handler, no `finally` runs."""
        baton = self.host.sim.baton
        me = self.process.task
        self.error = KilledBySignal(signo)
        self._end()
        baton.abandon(me)
        baton.vanish(me)

    def _end(self) -> None:
        """Kill what threads are left, wait for them, and give back what the process had."""
        kernel, sim = self.host.kernel, self.host.sim
        me = self.process.task
        for task in self.tasks():
            if task is not me:
                task.send_signal(SIGKILL)
                sim.baton.cont(task)
        for _ in range(_DYING_TURNS):
            if not [task for task in self.tasks() if task is not me]:
                break
            sim.baton.yield_now(me)
        kernel.do_exit(me)
        self.ended = True
        sim.journal.add(f"{self.host.name} {self.title} {self.state()}")
        self._wq.wake_up(0, 0)

    def done(self) -> bool:
        """Tell whether it has ended."""
        return self.ended or self.crashed

    def result(self, timeout: units.Duration | None = None) -> Any:
        """Wait for the end and return what the function returned. Raises JobFailed, TimeoutError after `timeout` (virtual)."""
        self.wait(timeout)
        self.seen = True
        if self.crashed:
            raise JobFailed(f"{self.title} on {self.host.name}: the host crashed")
        if isinstance(self.error, KilledBySignal):
            raise JobFailed(f"{self.title} on {self.host.name}: ended by signal {self.error.args[0]}")
        if self.error is not None:
            raise JobFailed(f"{self.title} on {self.host.name}: {type(self.error).__name__}: {self.error}") from self.error
        return self.value

    def wait(self, timeout: units.Duration | None = None) -> None:
        """Wait for the end, whatever it is. Raises TimeoutError."""
        me = process()
        clock = me.kernel.clock
        deadline = -1 if timeout is None else clock.now_ns + units.nanoseconds(timeout)
        while not self.done():
            left = MAX_SCHEDULE_TIMEOUT if deadline < 0 else deadline - clock.now_ns
            if deadline >= 0 and left <= 0:
                raise TimeoutError(f"{self.title} on {self.host.name} has not ended after {timeout!r}")
            wait = TaskWait(me.task)
            self._wq.prepare_to_wait(wait)
            me.task.schedule_timeout(left)
            self._wq.finish_wait(wait)
            me.check(0)

    def __await__(self) -> Any:
        """Wait within asyncio: `await job`."""
        import asyncio

        return asyncio.get_running_loop().run_in_executor(None, self.result).__await__()

    def send_signal(self, signo: int) -> None:
        """Send it a signal, kill(2)."""
        if not self.done():
            self.process.first.send_signal(int(signo))

    def vanish(self) -> None:
        """Have it end without a word, as the power failed."""
        if self.done():
            return
        self.crashed = True
        for task in self.tasks():
            self.host.sim.baton.abandon(task)
        self._wq.wake_up(0, 0)


class Host:
    """One host. Make it with `Simulation.host`."""

    def __init__(self, sim: "Simulation", name: str, address: str, main: Callable[[], Any] | None, options: dict[str, Any]) -> None:
        self.sim = sim
        self.name = name
        self.address = address.partition("/")[0]
        self._prefix = address
        self._main = main
        self._title = options["title"]
        self._sysctl: dict[str, Any] = options["sysctl"]
        self._uid: int = options["uid"]
        self._mtu: int = options["mtu"]
        self.nofile: int = options["nofile"]
        self.skew_ns: int = options["skew_ns"]
        self.faults = CallFaults(sim.prng.u64())
        self.jobs: list[Job] = []
        self.state = CRASHED
        self.starts = 0
        self.kernel: Kernel
        self.port: SwitchPort
        self.main_job: Job | None = None
        self.mac = b""
        self.address6 = b"\xfd" + bytes(13) + (parse_addr(self.address) & 0xFFFF).to_bytes(2, "big")
        self._boot()

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}: {self.state}>"

    def _boot(self) -> None:
        sim = self.sim
        self.kernel = kernel = start_kernel(sim.prng.u64(), sim.clock)
        if sim.trace is not None:
            kernel.trace = sim.trace
        net = kernel.init_net
        proc_write(kernel.tasks[0], "/proc/sys/net/ipv6/conf/default/accept_dad", b"0")
        self.port = port = SwitchPort(net, "eth0", sim.network.switch, self._mtu)
        port.label = self.name
        port.dev_addr = self.mac = self.mac or port.dev_addr
        _check(register_netdevice(port))
        _check(inet_insert_ifa(port, InIfaddr(parse_addr(self.address), int(self._prefix.partition("/")[2]))))
        _check(dev_open(port))
        sim.network.plug(port)
        sim.plugged(self)
        _check(inet6_addr_add(port, self.address6, 64, _IFA_F_NODAD))
        for other in sim.hosts.values():
            if other is not self:
                self._meet(other)
                other._meet(self)
        for name, value in self._sysctl.items():
            self.sysctl(name, value)
        self.state = RUNNING
        self.starts += 1
        sim.journal.add(f"{self.name} boots")
        if self._main is not None:
            self.main_job = self._start(self._main, self._title, self._uid)

    def _meet(self, other: "Host") -> None:
        """Know the link address of a host for good, as if it were reached through a router: a host that is cut off is silent, no more."""
        net = self.kernel.init_net
        four, six = net.ipv4.arp_tbl, net.ipv6.nd_tbl
        assert four is not None and six is not None
        four.lookup_or_create(parse_addr(other.address).to_bytes(4, "big"), self.port).update(other.mac, NUD_PERMANENT, _ADMIN)
        six.lookup_or_create(other.address6, self.port).update(other.mac, NUD_PERMANENT, _ADMIN)

    def _start(self, call: Callable[[], Any], title: str, uid: int) -> Job:
        if self.state == CRASHED:
            raise RuntimeError(f"{self.name} has crashed: restart() it first")
        job = Job(self, call, title, uid)
        self.jobs.append(job)
        if self.state == PAUSED:
            self.sim.baton.stop(job.process.first)
        return job

    def run(self, func: Callable[..., Any] | str, *args: Any, uid: int | None = None, **kw: Any) -> Job:
        """Start a process which calls a function, runs a coroutine function under asyncio, or a program file (a path)."""
        call, title = callable_of(func, args, kw)
        return self._start(call, title, self._uid if uid is None else uid)

    def call(self, func: Callable[..., Any] | str, *args: Any, timeout: units.Duration | None = None, **kw: Any) -> Any:
        """Run a function there and wait for its result."""
        return self.run(func, *args, **kw).result(timeout)

    # Faults

    def crash(self) -> None:
        """Fail as by a power cut: nothing is sent any more, no `finally` runs, and nothing of it is ever heard again."""
        if self.state == CRASHED:
            return
        self.sim.journal.add(f"{self.name} crashes")
        self.state = CRASHED
        mine = process() in [job.process for job in self.jobs]
        for job in self.jobs:
            job.vanish()
        self.sim.network.unplug(self.port)
        self.sim.clock.hosts.remove(self.kernel)
        if mine:
            current = self.sim.baton.current
            assert current is not None
            self.sim.baton.vanish(current)

    def restart(self, after: units.Duration = 0) -> None:
        """Crash, unless it has, and boot again; its main program starts anew. `after`: how long it is away."""
        self.crash()
        if after:
            self.sim.sleep(after)
        self._boot()

    def pause(self) -> "Paused":
        """Stop every process of the host (SIGSTOP); its kernel goes on. Resume with `resume()`, or as a `with` block."""
        if self.state == RUNNING:
            self.state = PAUSED
            self.sim.journal.add(f"{self.name} pauses")
            for job in self.jobs:
                for task in job.tasks():
                    self.sim.baton.stop(task)
        return Paused(self)

    def resume(self) -> None:
        """Let the processes of a paused host go on (SIGCONT)."""
        if self.state == PAUSED:
            self.state = RUNNING
            self.sim.journal.add(f"{self.name} resumes")
            for job in self.jobs:
                for task in job.tasks():
                    self.sim.baton.cont(task)

    def terminate(self) -> None:
        """Send SIGTERM to every process, as `systemctl stop` does."""
        self.sim.journal.add(f"{self.name} SIGTERM")
        for job in self.jobs:
            job.send_signal(15)

    def fd_limit(self, count: int) -> None:
        """Let its processes open no descriptor beyond `count` (RLIMIT_NOFILE); 0: as at the start."""
        for job in self.jobs:
            make_room(job.process, count)
            for task in job.tasks():
                task.rlim_cur[_RLIMIT_NOFILE] = count or self.nofile or 1024
        self.sim.journal.add(f"{self.name} fd limit {count}")

    def slow_accept(self, delay: units.Duration) -> None:
        """Have every accept() of the host take so long before it looks; 0: at once again."""
        self.faults.accept_delay_ns = units.nanoseconds(delay)
        self.sim.journal.add(f"{self.name} accepts after {delay}")

    # What it looks like inside

    def sysctl(self, name: str, value: Any = None) -> str:
        """Read a setting as net.core.somaxconn, or set it. Raises OSError."""
        path = "/proc/sys/" + name.replace(".", "/")
        init = self.kernel.tasks[0]
        if value is not None:
            written = proc_write(init, path, str(value).encode())
            if written < 0:
                raise OSError(-written, f"{self.name}: sysctl {name}={value}: no such setting, or not with this value")
        err, text = proc_read(init, path)
        if err < 0:
            raise OSError(-err, f"{self.name}: sysctl {name}: no such setting")
        return text.decode().strip()

    def proc(self, path: str) -> str:
        """Read a file as /proc/net/tcp. Raises OSError."""
        err, text = proc_read(self.kernel.tasks[0], path)
        if err < 0:
            raise OSError(-err, f"{self.name}: {path}")
        return text.decode()

    def counters(self) -> dict[str, int]:
        """Return every counter of nstat(8) that is not 0, as {"TcpExtListenDrops": 3}."""
        found: dict[str, int] = {}
        for path in ("/proc/net/snmp", "/proc/net/netstat"):
            lines = self.proc(path).splitlines()
            for head, values in zip(lines[::2], lines[1::2], strict=True):
                title = head.partition(":")[0]
                for name, value in zip(head.split()[1:], values.split()[1:], strict=True):
                    if int(value):
                        found[title + name] = int(value)
        return found

    def ss(self, *arguments: str) -> str:
        """Return what `ss` prints for its sockets, with arguments as `ss` takes them ("-tan", "state", "listening")."""
        from twinsock.sim.tools import ss

        return ss(self.kernel, list(arguments) or ["-tuna"])


class Paused:
    """What `Host.pause` returns: the end of the `with` block resumes."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def __enter__(self) -> "Paused":
        return self

    def __exit__(self, *args: object) -> None:
        self.host.resume()


def _check(err: int) -> None:
    if err < 0:
        raise OSError(-err, f"the simulation's own call failed with errno {-err}")


def callable_of(func: Callable[..., Any] | str, args: tuple[Any, ...], kw: dict[str, Any]) -> tuple[Callable[[], Any], str]:
    """Give what a process is to call, and its name."""
    if isinstance(func, str):
        return lambda: _program(func, args), func.rpartition("/")[2]
    title = getattr(func, "__name__", type(func).__name__)
    return lambda: run_call(func, args, kw), title


def run_call(func: Callable[..., Any], args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
    """Call a function; run what is a coroutine under asyncio."""
    result = func(*args, **kw)
    if inspect.iscoroutine(result):
        import asyncio

        return asyncio.run(result)
    return result


def _program(path: str, args: tuple[Any, ...]) -> None:
    import runpy

    sys.argv = [path, *map(str, args)]
    runpy.run_path(path, run_name="__main__")
