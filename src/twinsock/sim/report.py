"""What a failed run tells: the error, who waits where, what each host's sockets and counters are, and the last packets as a picture."""

import sys
import traceback
from typing import Any

from twinsock.runtime.baton import Deadlock
from twinsock.runtime.process import Process
from twinsock.runtime.runner import where_it_waits
from twinsock.sim.host import CRASHED, Host
from twinsock.sim.journal import FrameLine
from twinsock.sim.simulation import TESTER, Simulation, TimeLimit

PICTURE_LINES = 40
_LANE = 30  # characters between two hosts of the picture
_OURS = ("/twinsock/sim/", "/twinsock/runtime/", "/asyncio/", "/threading.py", "/concurrent/")


def report(sim: Simulation, error: BaseException | None) -> str:
    """Put everything together."""
    parts = [f"seed {sim.seed}, at {sim.now:.6f} s of virtual time, after {sim.journal.events} events"]
    if error is not None:
        parts.append(error_text(error))
    for part in (
        jobs_text(sim),
        tasks_text(sim),
        *(host_text(host) for host in sim.hosts.values() if host.name != TESTER or len(host.ss("-tuna").splitlines()) > 1),
        picture(sim),
    ):
        if part and part not in parts:
            parts.append(part)
    return "\n\n".join(parts) + "\n"


def error_text(error: BaseException) -> str:
    """Show an exception with the frames that belong to the scenario and its programs."""
    if isinstance(error, Deadlock):
        return "Deadlock: every task waits, and no timer or packet will ever wake one"
    if isinstance(error, TimeLimit):
        return str(error)
    shown = traceback.TracebackException.from_exception(error)
    chain: Any = shown
    while chain is not None:
        kept = [frame for frame in chain.stack if not any(part in frame.filename for part in _OURS)]
        chain.stack = traceback.StackSummary.from_list(kept or list(chain.stack)[-3:])
        chain = chain.__cause__ or chain.__context__
    return "".join(shown.format()).rstrip()


def jobs_text(sim: Simulation) -> str:
    """List the programs that ended by an exception."""
    lines = []
    for host in sim.hosts.values():
        for job in host.jobs:
            if job.error is not None and job is not sim.body:
                lines.append(f"{job.title} on {host.name} {job.state()}\n{error_text(job.error)}")
    return "\n".join(lines)


def tasks_text(sim: Simulation) -> str:
    """Say who waits on what."""
    threading: Any = sys.modules.get("threading")
    names = {} if threading is None else {ident: thread.name for ident, thread in list(threading._active.items())}
    lines = []
    for task in sim.baton.sleeping:
        owner = task.owner
        host = owner.hostname if isinstance(owner, Process) else "?"
        name = task.comm if isinstance(owner, Process) and task is owner.first else names.get(task.ident) or "thread"
        lines.append(f"  {host:<10} {name} (task {task.pid}) waits in {where_it_waits(task)}")
    lines += coroutines()
    return "pending tasks\n" + "\n".join(lines) if lines else ""


def coroutines() -> list[str]:
    """Say where the tasks of asyncio wait."""
    tasks: Any = sys.modules.get("asyncio.tasks")
    lines = []
    for task in sorted(tasks._all_tasks, key=lambda task: str(task.get_name())) if tasks is not None else []:
        stack = task.get_stack(limit=1)
        if task.done() or not stack:
            continue
        frame = stack[0]
        lines.append(f"  asyncio    {task.get_name()} waits at {frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})")
    return lines


def host_text(host: Host) -> str:
    """Show a host's sockets and counters."""
    if host.state == CRASHED:
        return f"host {host.name} ({host.address}): crashed"
    sockets = host.ss("-tuna").rstrip().splitlines()
    lines = [f"host {host.name} ({host.address}): {host.state}, started {host.starts} time{'s' * (host.starts != 1)}"]
    lines += [f"  {line.rstrip()}" for line in sockets] if len(sockets) > 1 else ["  no sockets"]
    counters = [f"{name} {value}" for name, value in host.counters().items() if not name.startswith(_ALWAYS)]
    line = "  counters:"
    for item in counters:
        if len(line) + len(item) > 130:
            lines.append(line)
            line = "   "
        line += f"  {item}"
    return "\n".join([*lines, line] if counters else lines)


_ALWAYS = ("IpForwarding", "IpDefaultTTL", "TcpRto", "TcpMaxConn", "IpExt", "Icmp", "TcpExtTCPMemoryPressures")


def picture(sim: Simulation) -> str:
    """Draw the last packets: a column for each host, an arrow for each packet."""
    frames = [frame for frame in sim.journal.frames if frame.text != "ARP"][-PICTURE_LINES:]
    used = {frame.source for frame in frames} | {frame.dest for frame in frames}
    hosts = [name for name in sim.hosts if name in used]
    if not frames:
        return ""
    head = " " * 13 + "".join(f"{name:<{_LANE}}" for name in hosts)
    return "\n".join([f"last packets (of {sim.journal.frame_count})", head.rstrip(), *(_arrow(frame, hosts) for frame in frames)])


def _arrow(frame: FrameLine, hosts: list[str]) -> str:
    left, right = sorted((hosts.index(frame.source), hosts.index(frame.dest)))
    width = (right - left) * _LANE - 1
    body = f" {_short(frame.text)} "[: width - 3]
    ok = frame.fate in ("arrived", "sent")
    line = body.center(width - 1, "-")
    arrow = line + (">" if ok else "x") if frame.source == hosts[left] else ("<" if ok else "x") + line
    late = f"  +{(frame.end_ns - frame.at_ns) / 1e6:.3g} ms" if frame.end_ns > frame.at_ns else ""
    if frame.fate == "sent":
        late = "  under way"
    note = late if ok else f"  {frame.fate}"
    return f"{frame.at_ns / 1e9:11.6f}  " + " " * (left * _LANE) + "|" + arrow + "|" + note


def _short(text: str) -> str:
    """Leave ports and numbers out that do not help to follow a conversation."""
    head, bracket, rest = text.partition("[")
    if not bracket:
        return text
    flags, _, numbers = rest.partition("]")
    length = numbers.rpartition(" length ")[2] if " length " in numbers else ""
    return f"{head.split(' > ')[0]}>{head.split(' > ')[1].strip()} [{flags}]" + (f" {length}" if length else "")
