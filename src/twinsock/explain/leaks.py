"""Verdicts about what a process forgets: connections that only it keeps, dead and never used sockets, descriptors, heirs."""

from __future__ import annotations

from twinsock.explain.findings import NOTE, WRONG, Finding
from twinsock.explain.words import join_words, show_endpoint, show_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.findings import InheritedListener, LeakProcess, LeakSnapshot, WaitingClose

DEAD_MANY = 10
UNBOUND_SOME = 10
UNBOUND_MANY = 100
GROWTH_LEAST = 3
FD_NEAR = 0.9
FD_MUCH = 0.75
_SHOWN = 5


class Growth:
    """How a process changed between two looks."""

    def __init__(self, before: LeakProcess | None, after: LeakProcess, seconds: float) -> None:
        self.seconds = seconds
        old_closing = {one.record.cookie for one in before.closing} if before else set[int]()
        self.closing = len(after.closing) - len(old_closing)
        self.dead = len(after.dead) - (len(before.dead) if before else 0)
        self.unbound = len(after.unbound) - (len(before.unbound) if before else 0)
        self.fds = after.facts.fds_open - before.facts.fds_open if before and before.facts.fds_open >= 0 else 0
        self.is_new = before is None


def growths(before: LeakSnapshot, after: LeakSnapshot) -> dict[int, Growth]:
    """Compare two looks, process by process."""
    seconds = max(after.time_ns - before.time_ns, 1) / 1e9
    return {pid: Growth(before.processes.get(pid), one, seconds) for pid, one in after.processes.items()}


def judge(process: LeakProcess, older_ms: int, growth: Growth | None = None, everything: bool = False) -> list[Finding]:
    """Say what a process leaks, the worst first; `everything`: also what is too little to speak of."""
    found: list[Finding] = []
    _closing(found, process, older_ms)
    _dead(found, process)
    _unbound(found, process, everything)
    _descriptors(found, process)
    for one in process.inherited:
        found.append(_heir(process, one))
    if growth is not None and not growth.is_new:
        _growth(found, process, growth)
    found.sort(key=lambda finding: -finding.level)
    return found


def _numbers(fds: list[int]) -> str:
    """Write descriptors, the first few."""
    shown = [str(fd) for fd in sorted(fds)[:_SHOWN]]
    more = f" and {len(fds) - _SHOWN} more" if len(fds) > _SHOWN else ""
    return ("descriptor " if len(fds) == 1 else "descriptors ") + ", ".join(shown) + more


def _peers(closing: list[WaitingClose]) -> str:
    """Name who has closed most of them."""
    counts: dict[str, int] = {}
    for one in closing:
        # The busier end is the server: name its address.
        name = show_endpoint(one.record.remote, one.record.remote_port)
        local = f"local port {one.record.local_port}"
        counts[name] = counts.get(name, 0) + 1
        counts[local] = counts.get(local, 0) + 1
    best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:1]
    return f"; {best[0][1]} of them: {best[0][0]}" if best and best[0][1] > 1 else f"; the other end is {best[0][0]}" if best else ""


def _closing(found: list[Finding], process: LeakProcess, older_ms: int) -> None:
    if not process.closing:
        return
    oldest = max([one.age_ms for one in process.closing])
    old = [one for one in process.closing if one.age_ms >= older_ms]
    count = len(process.closing)
    many = "connection is" if count == 1 else "connections are"
    text = f"{count} {many} in CLOSE_WAIT, for up to {show_ms(max(oldest, 0))}: the other side has closed, the program has not. "
    text += _numbers([one.fd for one in process.closing]) + _peers(process.closing) + "."
    finding = Finding(WRONG if old else NOTE, "close-wait", text)
    if old:
        finding.help("close() when recv() returns 0", "in the program; no sysctl ends CLOSE_WAIT")
        finding.help(f"kill {process.facts.pid}", "ends them all for now, with the program")
    found.append(finding)


def _dead(found: list[Finding], process: LeakProcess) -> None:
    if not process.dead:
        return
    count = len(process.dead)
    text = f"{count} dead {'socket is' if count == 1 else 'sockets are'} still open (reset, refused, or shut down; no table lists them): "
    finding = Finding(WRONG if count >= DEAD_MANY else NOTE, "dead", text + _numbers(list(process.dead.values())) + ".")
    finding.help("close() after ECONNRESET, ECONNREFUSED, ETIMEDOUT", "in the program")
    found.append(finding)


def _unbound(found: list[Finding], process: LeakProcess, everything: bool) -> None:
    count = len(process.unbound)
    if not count or (count < UNBOUND_SOME and not everything):
        return
    text = f"{count} {'socket was' if count == 1 else 'sockets were'} never bound nor connected: "
    finding = Finding(WRONG if count >= UNBOUND_MANY else NOTE, "never-bound", text + _numbers(list(process.unbound.values())) + ".")
    if count >= UNBOUND_MANY:
        finding.help("close() where connect() or bind() fails", "in the program: such sockets are mostly left by error paths")
    found.append(finding)


def _descriptors(found: list[Finding], process: LeakProcess) -> None:
    facts = process.facts
    if facts.fds_max <= 0 or facts.fds_open < facts.fds_max * FD_MUCH:
        return
    text = f"{facts.fds_open} descriptors are open, the limit (RLIMIT_NOFILE) is {facts.fds_max}"
    if facts.at_fd_limit():
        finding = Finding(WRONG, "fd-limit", text + ": socket(), accept() and open() fail with EMFILE.")
    else:
        near = facts.fds_open >= facts.fds_max * FD_NEAR
        finding = Finding(WRONG if near else NOTE, "near-fd-limit", text + ".")
    more = max(facts.fds_max * 4, 1024)
    finding.help(f"prlimit --pid {facts.pid} --nofile={more}:{more}", "raises its limit at once; LimitNOFILE= of its unit for good")
    found.append(finding)


def what_of(one: InheritedListener) -> str:
    """Name an inherited listener."""
    return "unix " + one.what if isinstance(one.what, str) else "tcp " + show_endpoint(one.what.local, one.what.local_port)


def _heir(process: LeakProcess, one: InheritedListener) -> Finding:
    text = (
        f"descriptor {one.fd} is the listener {what_of(one)} of {one.maker_comm} (pid {one.maker_pid}): inherited. "
        f"The address stays taken when {one.maker_comm} ends."
    )
    finding = Finding(NOTE, "inherited-listener", text)
    finding.help(
        "SOCK_CLOEXEC, or close_fds in the code that starts it", f"in {one.maker_comm}, unless it hands the listener over on purpose"
    )
    return finding


def _growth(found: list[Finding], process: LeakProcess, growth: Growth) -> None:
    kinds = ((growth.closing, "CLOSE_WAIT"), (growth.dead, "dead"), (growth.unbound, "never bound"))
    parts = [f"{count:+d} {name}" for count, name in kinds if count > 0]
    most = max([count for count, _name in kinds])
    grown = max(most, growth.fds)
    if grown < GROWTH_LEAST:
        return
    if growth.fds > 0:
        parts.append(f"{growth.fds:+d} descriptors")
    text = f"it grows: {join_words(parts)} in {growth.seconds:.1f} s"
    facts = process.facts
    if growth.fds > 0 and facts.fds_max > facts.fds_open:
        left = (facts.fds_max - facts.fds_open) * growth.seconds / growth.fds
        text += f"; at this pace its limit of {facts.fds_max} descriptors is reached in {show_ms(int(left * 1000))}"
    found.append(Finding(WRONG if most >= GROWTH_LEAST else NOTE, "grows", text + "."))
