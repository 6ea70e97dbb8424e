"""Verdicts about listeners: is the queue full, does somebody accept, what was dropped and why, and what helps.

Which drops are whose: each listener counts the segments it threw away (SK_MEMINFO_DROPS); the namespace counts
ListenDrops, and among them ListenOverflows (accept queue full) and TCPReqQFullDrop (SYN queue full, cookies off).
Measured: Linux 6.18, a listener's own count also has segments that belong to no connection (a stray RST or FIN, a scan),
which ListenDrops has not; what listeners dropped that are gone is in ListenDrops alone.
"""

from __future__ import annotations

from twinsock.explain.findings import NOTE, WRONG, Finding
from twinsock.explain.words import show_endpoint, show_ms
from twinsock.inspect.owners import IN_FLIGHT
from twinsock.inspect.unix import format_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.findings import Listener, ListenSpace, ProcessFacts

STALLED_MS = 1_000
SOMAXCONN_DEFAULT = 4096
_NEAR = 0.9


class Window:
    """What two looks at the same listeners tell about the time between them."""

    def __init__(self, before: list[ListenSpace], after: list[ListenSpace]) -> None:
        self._drops: dict[int, int] = {}
        self._queue: dict[int, Listener] = {}
        self._counters: dict[int, dict[str, int]] = {}
        self.seconds = 0.0
        for space in before:
            self._counters[space.netns] = space.counters
            for listener in (*space.listeners, *space.others):
                self._drops[listener.cookie] = listener.drops
                self._queue[listener.cookie] = listener
        if before and after:
            self.seconds = max(after[0].time_ns - before[0].time_ns, 1) / 1e9

    def drops(self, listener: Listener) -> int:
        """Tell how many segments a listener dropped meanwhile; one that is new has dropped all of them."""
        before = self._drops.get(listener.cookie, 0)
        return max(listener.drops - max(before, 0), 0)

    def counter(self, space: ListenSpace, name: str) -> int:
        """Tell how far a counter has moved."""
        return space.counters.get(name, 0) - self._counters.get(space.netns, {}).get(name, 0)

    def stands_still(self, listener: Listener) -> bool:
        """Tell whether the head of a UNIX listener's queue is still the same client."""
        earlier = self._queue.get(listener.cookie)
        return earlier is not None and bool(earlier.waiting) and earlier.waiting[:1] == listener.waiting[:1]


def name_of(listener: Listener) -> str:
    """Write a listener's address: `tcp 0.0.0.0:80%eth0`, `unix /run/app.sock`."""
    record = listener.tcp
    if record is None:
        assert listener.unix is not None
        return "unix " + format_name(listener.unix.name)
    device = "%" + listener.device if listener.device else ""
    return "tcp " + show_endpoint(record.local, record.local_port) + device


def judge(space: ListenSpace, listener: Listener, window: Window | None = None) -> list[Finding]:
    """Say what is wrong with a listener, the worst first; nothing if it is healthy."""
    found: list[Finding] = []
    _owners(found, listener)
    _queue(found, space, listener, window)
    if listener.tcp is not None:
        _syn_queue(found, space, listener)
        _drops(found, space, listener, window)
    found.sort(key=lambda finding: -finding.level)
    return found


def _who(listener: Listener) -> str:
    """Name the first holder in a sentence."""
    if not listener.owners:
        return "its program"
    first = listener.owners[0]
    return f"{first.comm} (pid {first.pid})"


def _owners(found: list[Finding], listener: Listener) -> None:
    """Look at the processes that should accept."""
    full = [owner for owner in listener.owners if owner.at_fd_limit()]
    if full:
        owner = full[0]
        text = f"{owner.comm} (pid {owner.pid}) has {owner.fds_open} descriptors open of {owner.fds_max}: accept() fails with EMFILE."
        more = max(owner.fds_max * 4, 1024)
        finding = Finding(WRONG, "fd-limit", text)
        finding.help(f"prlimit --pid {owner.pid} --nofile={more}:{more}", "raises its limit at once; LimitNOFILE= of its unit for good")
        finding.help(f"twinsock leaks {owner.pid}", "says whether it forgets to close")
        found.append(finding)
    elif any(owner.fds_max > 0 and owner.fds_open > owner.fds_max * _NEAR for owner in listener.owners):
        owner = max(listener.owners, key=lambda one: one.fds_open / one.fds_max if one.fds_max > 0 else 0)
        text = f"{owner.comm} (pid {owner.pid}) has {owner.fds_open} descriptors open of {owner.fds_max}."
        found.append(Finding(NOTE, "near-fd-limit", text))
    stopped = [owner for owner in listener.owners if owner.state in ("T", "t")]
    if stopped and len(stopped) == len(listener.owners):
        traced = stopped[0].state == "t"
        text = f"{_who(listener)} is stopped{' by a debugger' if traced else ''}: nobody calls accept()."
        finding = Finding(WRONG if listener.queue > 0 else NOTE, "stopped", text)
        if not traced:
            finding.help(f"kill -CONT {stopped[0].pid}", "lets it go on")
        found.append(finding)
    if listener.ghost_kind == IN_FLIGHT:
        found.append(Finding(NOTE, "in-flight", f"no process has a descriptor of it: {listener.ghost}."))


def _queue(found: list[Finding], space: ListenSpace, listener: Listener, window: Window | None) -> None:
    """Look at the accept queue."""
    stands = listener.stands_ms > 0 or (window is not None and listener.tcp is None and window.stands_still(listener))
    stuck = listener.oldest_ms >= STALLED_MS or stands
    waited = f"the oldest has waited {show_ms(listener.oldest_ms)}" if listener.oldest_ms >= 0 else "none was taken while it was watched"
    share = ""
    if listener.members > 1:
        share = f" It is one of {listener.members} members of a SO_REUSEPORT group and gets 1/{listener.members} of the connections."
    if listener.is_full():
        lost = "SYNs are dropped" if listener.tcp is not None else "connect() blocks, or fails with EAGAIN"
        text = f"the accept queue is full ({listener.queue} wait, the limit is {listener.limit}): {lost}."
        if stuck:
            text += f" {_who(listener)} does not call accept(): {waited}."
        else:
            text += f" {_who(listener)} does not call accept() fast enough."
        finding = Finding(WRONG, "stuck-member" if share and stuck else "full", text + share)
        _offer_wake(finding, listener) if stuck else _offer_limit(finding, space, listener)
        found.append(finding)
    elif stuck and listener.queue > 0:
        text = f"{_who(listener)} does not call accept(): {listener.queue} wait, {waited}." + share
        finding = Finding(WRONG, "stuck-member" if share else "stalled", text)
        _offer_wake(finding, listener)
        found.append(finding)
    if listener.tcp is not None and listener.limit == space.somaxconn and 0 <= space.somaxconn < SOMAXCONN_DEFAULT:
        text = f"its limit {listener.limit} is net.core.somaxconn: listen() may have asked for more."
        finding = Finding(NOTE, "clamped", text)
        _offer_limit(finding, space, listener)
        found.append(finding)


def _offer_wake(finding: Finding, listener: Listener) -> None:
    """Say how to get a program going that does not accept."""
    at_limit = any(owner.at_fd_limit() for owner in listener.owners)
    stopped = bool(listener.owners) and all(owner.state in ("T", "t") for owner in listener.owners)
    if at_limit or stopped or not listener.owners:
        return
    owner = listener.owners[0]
    finding.help(f"cat /proc/{owner.pid}/task/*/wchan", "shows where its threads sleep (needs ptrace access)")
    restart = _restart(owner)
    ends = "ends it, and it has to be started again" if restart.startswith("kill") else "starts it anew"
    finding.help(restart, ends + "; what waits in the queue is reset")
    if listener.members > 1:
        finding.help("sysctl -w net.ipv4.tcp_migrate_req=1", "lets another member take over the queue of one that closes")


def _restart(owner: ProcessFacts) -> str:
    """Give the command that ends a process so that it comes back if somebody looks after it."""
    if owner.unit.endswith(".service"):
        return f"systemctl restart {owner.unit}"
    engine, _, ident = owner.unit.partition(" ")
    return f"{engine} restart {ident}" if engine in ("docker", "podman") and ident else f"kill {owner.pid}"


def _offer_limit(finding: Finding, space: ListenSpace, listener: Listener) -> None:
    """Say how to make the queue longer."""
    if listener.tcp is not None and listener.limit == space.somaxconn:
        more = max(listener.limit * 4, SOMAXCONN_DEFAULT)
        finding.help(f"sysctl -w net.core.somaxconn={more}", "in its network namespace; counts from the program's next listen() on")
    else:
        up_to = f", up to {space.somaxconn} (net.core.somaxconn)" if space.somaxconn > listener.limit else ""
        finding.help(f"listen(fd, {max(listener.limit * 4, 128)})", f"in the program, which asked for {listener.limit} itself{up_to}")


def _syn_queue(found: list[Finding], space: ListenSpace, listener: Listener) -> None:
    """Look at the half-open connections: one more than the limit fits."""
    if listener.limit < 0 or listener.syn_recv <= listener.limit * listener.members:
        return
    then = "further SYNs are answered with cookies" if space.syncookies else "further SYNs are dropped"
    text = f"{listener.syn_recv} half-open connections fill the SYN queue (limit {listener.limit}): {then}."
    finding = Finding(NOTE if space.syncookies else WRONG, "syn-queue-full", text)
    _offer_limit(finding, space, listener)
    if not space.syncookies:
        finding.help("sysctl -w net.ipv4.tcp_syncookies=1", "answers without a queue entry when it is full")
    found.append(finding)


def _drops(found: list[Finding], space: ListenSpace, listener: Listener, window: Window | None) -> None:
    """Look at what was dropped."""
    if window is not None:
        dropped = window.drops(listener)
        if dropped:
            rate = f"dropped {dropped} segments in {window.seconds:.1f} s ({dropped / window.seconds:.1f} a second)"
            found.append(_drop_finding(space, listener, rate, window.counter(space, "ListenDrops")))
        elif listener.drops > 0:
            found.append(Finding(NOTE, "has-dropped", f"{listener.drops} segments were dropped over its life, none meanwhile."))
        return
    if listener.drops > 0:
        finding = _drop_finding(space, listener, f"dropped {listener.drops} segments over its life", space.counters.get("ListenDrops", -1))
        finding.help("twinsock listeners --for 10", "says whether it still does")
        found.append(finding)


def _drop_finding(space: ListenSpace, listener: Listener, what: str, in_namespace: int) -> Finding:
    """Judge drops: those that ListenDrops does not know were no connections."""
    if in_namespace == 0:
        return Finding(NOTE, "strays", f"{what}; none was a connection (ListenDrops stands still): stray RST or FIN, or a scan.")
    finding = Finding(WRONG, "drops", what + ".")
    if not listener.is_full():
        _offer_limit(finding, space, listener)
    return finding


class Share:
    """One counter of a namespace and whose it is."""

    def __init__(self, name: str, value: int, meaning: str) -> None:
        self.name = name
        self.value = value
        self.meaning = meaning
        self.of: list[tuple[Listener, int]] = []  # (listener, its part)
        self.unattributed = 0
        self.why = ""  # who the rest may belong to
        self.exact = True  # False: the parts are the most that can be theirs


def attribute(space: ListenSpace, window: Window | None = None) -> list[Share]:
    """Say which listeners the namespace's counters belong to, as far as the kernel tells; counters of 0 are left out."""

    def value(name: str) -> int:
        return space.counters.get(name, 0) if window is None else window.counter(space, name)

    tcp = [listener for listener in (*space.listeners, *space.others) if listener.tcp is not None]
    parts = [(one, one.drops if window is None else window.drops(one)) for one in tcp if one.drops > 0]
    parts = [(one, part) for one, part in parts if part > 0]
    total = value("ListenDrops")
    overflows = value("ListenOverflows")
    shares: list[Share] = []
    if total:
        shares.append(_split_drops(Share("ListenDrops", total, "SYNs and handshakes dropped"), parts))
    if overflows:
        share = _split_drops(Share("ListenOverflows", overflows, "of those, because an accept queue was full"), parts)
        if overflows != total:
            share.exact = share.exact and len(parts) == 1 and not share.unattributed
        shares.append(share)
    full = [one for one in tcp if one.limit >= 0 and one.syn_recv > one.limit * one.members]
    for name, meaning in (
        ("TCPReqQFullDrop", "SYN queue full, dropped"),
        ("TCPReqQFullDoCookies", "every SYN (tcp_syncookies is 2)" if space.syncookies == 2 else "SYN queue full, answered with a cookie"),
        ("SyncookiesSent", "cookies sent"),
        ("SyncookiesRecv", "cookies that came back"),
        ("SyncookiesFailed", "wrong cookies"),
        ("TCPFastOpenListenOverflow", "fast open queue full"),
        ("TCPMigrateReqFailure", "requests lost when a group's member closed"),
    ):
        count = value(name)
        if count:
            share = Share(name, count, meaning)
            share.unattributed = count
            share.why = "the kernel does not tell whose"
            if name.startswith("TCPReqQFull") and len(full) == 1:
                share.of, share.unattributed, share.why, share.exact = [(full[0], count)], 0, "", False
            shares.append(share)
    return shares


def _split_drops(share: Share, parts: list[tuple[Listener, int]]) -> Share:
    """Give the listeners' own counts as parts of a counter."""
    counted = sum([part for _one, part in parts])
    share.of = [(one, min(part, share.value)) for one, part in parts]
    if counted > share.value:
        share.exact = len(parts) == 1
        share.why = f"the listeners count {counted}: stray segments too"
    else:
        share.unattributed = share.value - counted
        share.why = "of listeners that are gone" if share.unattributed else ""
    return share


def share_sentence(share: Share) -> str:
    """Write a counter and whose it is in one sentence."""
    text = f"{share.name} {share.value} ({share.meaning})"
    most = "" if share.exact else "at most "
    parts = [f"{most}{part} of {name_of(one)}" for one, part in share.of]
    if share.unattributed:
        parts.append(f"{share.unattributed} unattributed")
    return text + ": " + ", ".join(parts) + (f"; {share.why}" if share.why else "")
