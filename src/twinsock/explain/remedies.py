"""What helps: each remedy is tried on the twin before it is offered, best and least dangerous first."""

from __future__ import annotations

from twinsock.explain.blockers import looks_outgoing, uid_of
from twinsock.explain.report import Remedy
from twinsock.explain.words import join_words, quote, show_endpoint, show_ms, show_target, stop_commands
from twinsock.inspect.address import format_address
from twinsock.inspect.facts import REUSEADDR
from twinsock.inspect.owners import HIDDEN
from twinsock.uapi.errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EMFILE, ENFILE, ENODEV, EPERM
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.socket import AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Blocker, Report
    from twinsock.explain.twin import AdoptedHost, Attempt
    from twinsock.inspect.facts import Question, Snapshot

FREE_PORTS_SHOWN = 3
_OPEN = (1, 4, 5, 8)  # ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT


class Search:
    """What the remedies are made from."""

    def __init__(self, report: Report, snapshot: Snapshot, twin: AdoptedHost, attempt: Attempt) -> None:
        self.report = report
        self.snapshot = snapshot
        self.question = snapshot.question
        self.twin = twin
        self.attempt = attempt
        self.helps: list[Remedy] = []

    def works(self, question: Question, without: frozenset[int] = frozenset(), flags: int = 0) -> bool:
        """Ask the twin whether a change makes it succeed; `flags` are added to every other socket."""
        known = [(0 if old < 0 else old) | flags for old in self.snapshot.flags]
        return not self.twin.attempt(question, known, without).errno

    def add(self, action: str, text: str, verified: bool = True) -> None:
        """Offer one remedy."""
        self.helps.append(Remedy(action, text, verified))


def find_remedies(report: Report, snapshot: Snapshot, twin: AdoptedHost, attempt: Attempt) -> None:
    """Fill the report's remedies."""
    search = Search(report, snapshot, twin, attempt)
    errno = attempt.errno
    if errno == EADDRINUSE and report.question.port:
        _own_options(search)
        _waiting(search)
        _owners(search)
        _outgoing(search)
        _other_user(search)
        _other_address(search)
        _other_port(search)
    elif errno == EADDRINUSE:
        _exhausted(search)
    elif errno == EACCES:
        _privileged(search)
    elif errno == EADDRNOTAVAIL:
        _not_local(search)
    elif errno == ENODEV:
        search.add("ip -brief link", "shows the interfaces of this namespace", False)
    elif errno == EMFILE:
        limit = max(snapshot.task.fds_max * 4, 4096)
        search.add(f"prlimit --pid {snapshot.task.pid} --nofile={limit}:", "raises the limit of the running process")
        search.add("LimitNOFILE= in the unit, or ulimit -n", "raises it for the next start", False)
    elif errno == ENFILE:
        limit = max(snapshot.task.files_max * 2, 65536)
        search.add(f"sysctl -w fs.file-max={limit}", "raises the limit of the machine")
        search.add("lsof -n | awk '{print $2, $1}' | sort | uniq -c | sort -n | tail", "shows who has so many files open", False)
    elif errno == EPERM:
        search.add("run it as root, or with CAP_NET_ADMIN", "the option is refused to others", False)
    report.remedies = search.helps


def _own_options(search: Search) -> None:
    """Offer the smallest change of the new socket's own options that is enough."""
    question = search.question
    if question.family == AF_INET6 and question.is_wildcard() and not question.is_mapped() and question.v6only != 1:
        other = question.copy()
        other.v6only = 1
        if search.works(other):
            search.add(
                "setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)", "before bind(): serves IPv6 alone and leaves IPv4 to the one that has it"
            )
    if not question.reuseaddr:
        other = question.copy()
        other.reuseaddr = True
        if search.works(other):
            text = "before bind() in the new server: enough here, since every socket in the way has it too"
            if question.protocol == IPPROTO_UDP:
                text += "; of several such UDP sockets the one bound last receives"
            search.add("setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)", text)
            return
    if not question.reuseport:
        other = question.copy()
        other.reuseport = True
        if search.works(other):
            search.add(
                "setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)",
                "before bind(): both then serve the port, and the kernel deals connections out; right only for the same service",
            )


def _waiting(search: Search) -> None:
    """Offer to wait where everything in the way goes by itself."""
    blockers = search.report.blockers
    if not blockers or any(blocker.lasts_ms < 0 for blocker in blockers):
        return
    question = search.question
    longest = max(blocker.lasts_ms for blocker in blockers)
    search.add(
        f"twinsock why {quote(show_target(question))}{_option_words(question)} --wait",
        f"returns when the address is free, in {show_ms(longest)} at most",
    )
    search.add(f"ss -K state time-wait sport = :{question.port}", "as root: ends those TIME_WAIT sockets now")
    other = question.copy()
    other.reuseaddr = True
    if not search.works(other) and search.works(other, frozenset(), REUSEADDR):
        search.add(
            "setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)",
            "before bind() in the server, for good: from its next restart on TIME_WAIT is no hindrance (it does not help this time)",
        )


def _option_words(question: Question) -> str:
    """Write the question's options as the command takes them."""
    words = ""
    for name, given in (("--reuseaddr", question.reuseaddr), ("--reuseport", question.reuseport), ("--v6only", question.v6only == 1)):
        if given:
            words += " " + name
    return words + (f" --device {quote(question.device)}" if question.device else "")


def _owners(search: Search) -> None:
    """Offer to stop those who hold the sockets in the way."""
    actions: list[str] = []
    names: list[str] = []
    gone: set[int] = set()
    blockers = [blocker for blocker in search.report.blockers if blocker.holders or blocker.ghost_pid > 0]
    for blocker in blockers:
        for action, name in stop_commands(blocker):
            if action not in actions:
                actions.append(action)
                names.append(name)
        gone.update(_alike(search, blocker) - {search.question.held})
    if any(blocker.ghost_kind == HIDDEN for blocker in search.report.blockers):
        command = f"sudo twinsock why {quote(show_target(search.question))}{_option_words(search.question)}"
        search.add(command, "root sees which process it is, and its reuse flags", False)
    if not actions or len(actions) > 6:
        return
    if not search.works(search.question, frozenset(gone)):
        return
    text = f"stops {join_words(names)}, which frees the address"
    lingering = [index for index in gone if index >= 0 and search.snapshot.sockets[index].state in _OPEN]
    if lingering and search.question.protocol != IPPROTO_UDP and not search.works(search.question, frozenset(gone.difference(lingering))):
        text = f"stops {join_words(names)}; its open connections may hold the address in TIME_WAIT for another 60 s"
    search.add(" && ".join(actions), text)


def _alike(search: Search, blocker: Blocker) -> set[int]:
    """Find every socket of the same holders: stopping them ends all of these."""
    pids = {holder.pid for holder in blocker.holders}
    gone = {blocker.index}
    owners = search.snapshot.owners
    if owners is None:
        return gone
    for index, record in enumerate(search.snapshot.sockets):
        holders = {pid for pid, _fd in owners.pid_fds(record.inode)} if record.inode else set()
        if holders and holders <= pids:
            gone.add(index)
    return gone


def _outgoing(search: Search) -> None:
    """Offer to keep the port out of the automatic range when a client's connection took it."""
    snapshot = search.snapshot
    found = [blocker for blocker in search.report.blockers if looks_outgoing(snapshot, snapshot.sockets[blocker.index])]
    if not found:
        return
    sure = any(blocker.lasts_ms < 0 for blocker in found)
    ranges = [str(low) if low == high else f"{low}-{high}" for low, high in snapshot.sysctls.reserved]
    value = ",".join([*ranges, str(search.question.port)])
    search.add(
        f"sysctl -w net.ipv4.ip_local_reserved_ports={value}",
        ("" if sure else "if it was a client's connection: ")
        + "keeps the kernel from giving this port to a client again (it does not end the connection that has it now)",
    )


def _other_user(search: Search) -> None:
    """Offer the owner's user where only the uid stands in the way."""
    if not search.question.reuseport:
        return
    for blocker in search.report.blockers:
        if blocker.rule != "other-user" or blocker.uid < 0:
            continue
        other = search.question.copy()
        other.uid = blocker.uid
        if other.uid != uid_of(search.snapshot) and search.works(other):
            search.add(f"run it as uid {blocker.uid}", "the same user as the other socket's; then the two share the port")
            return


def _other_address(search: Search) -> None:
    """Offer another address of this host that is not disputed."""
    question = search.question
    if any(not any(blocker_address(search, blocker)) for blocker in search.report.blockers):
        return
    for address in local_addresses(search):
        if len(address) != len(question.address) or address == question.address:
            continue
        other = question.copy()
        other.address = address
        if search.works(other):
            search.add(f"bind to {show_endpoint(address, question.port)}", "nobody disputes that address")
            return


def local_addresses(search: Search) -> list[bytes]:
    """List the addresses that could be bound instead, loopback last."""
    found = [local.address for local in search.snapshot.addresses if local.address[:2] != b"\xfe\x80"]
    return sorted(found, key=_is_loopback)


def _is_loopback(address: bytes) -> bool:
    """Tell whether an address never leaves this host."""
    return address[0] == 127 if len(address) == 4 else address == bytes(15) + b"\1"


def blocker_address(search: Search, blocker: Blocker) -> bytes:
    """Give the local address of the socket in the way."""
    return search.snapshot.sockets[blocker.index].local


def _other_port(search: Search) -> None:
    """Offer the next ports that are free."""
    question = search.question
    other = question.copy()
    free: list[int] = []
    for port in search.snapshot.nearby_ports:
        other.port = port
        if search.works(other):
            free.append(port)
            if len(free) == FREE_PORTS_SHOWN:
                break
    search.report.next_free = free
    if free:
        search.add(f"use port {free[0]}", "is free" if len(free) == 1 else f"is free; so {join_words([str(port) for port in free[1:]])}")


def offer_range(report: Report, snapshot: Snapshot) -> None:
    """Offer a larger range of automatic ports."""
    low, high = snapshot.sysctls.port_range
    if high - low < 50000:
        action = 'sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
        report.remedies.append(Remedy(action, f"widens the automatic range, now {low} {high}", False))
    if snapshot.sysctls.reserved:
        action = "sysctl net.ipv4.ip_local_reserved_ports"
        report.remedies.append(Remedy(action, "shows the ports that are kept out of the range", False))


def _exhausted(search: Search) -> None:
    """Offer ways to more automatic ports."""
    offer_range(search.report, search.snapshot)
    search.helps += search.report.remedies
    search.add(
        "setsockopt(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)",
        "before bind() with port 0 and connect(): the port is then chosen for the destination, and can serve many of them",
        False,
    )


def _privileged(search: Search) -> None:
    """Offer the ways to a low port."""
    port = search.question.port
    search.add("setcap cap_net_bind_service=+ep PROGRAM", "lets that program bind low ports as any user", False)
    search.add("AmbientCapabilities=CAP_NET_BIND_SERVICE", "in the [Service] section of its unit", False)
    search.add(f"sysctl -w net.ipv4.ip_unprivileged_port_start={port}", f"lets everybody in this namespace bind {port} and above", False)


def _not_local(search: Search) -> None:
    """Offer addresses that are local, or ways to bind one that is not."""
    question = search.question
    rule = search.report.rule
    if rule == "no-loopback":
        search.add("ip link set lo up", "inside this namespace; brings 127.0.0.1 and ::1", False)
    if rule == "tentative-address":
        search.add("wait a second or two", "the duplicate address check ends by itself; or add the address with nodad", False)
    if question.family != AF_INET6 or question.is_mapped():
        wildcard = question.copy()
        wildcard.address = question.address[:-4] + bytes(4)
    else:
        wildcard = question.copy()
        wildcard.address = bytes(16)
    wildcard.zone = ""
    same = [address for address in local_addresses(search) if len(address) == len(question.address)]
    same = [address for address in same if not _is_loopback(address)]
    near = [address for address in same if address[0] == question.address[0]] or same
    if near and rule == "not-local":
        search.add(f"bind to {show_endpoint(near[0], question.port)}", "is an address of this host", False)
    if not question.is_wildcard() and search.works(wildcard):
        search.add(f"bind to {show_endpoint(wildcard.address, question.port)}", "every address, those that come later too")
    other = question.copy()
    other.freebind = True
    if search.works(other):
        name = "IPPROTO_IPV6, IPV6_FREEBIND" if question.family == AF_INET6 and not question.is_mapped() else "IPPROTO_IP, IP_FREEBIND"
        search.add(f"setsockopt({name}, 1)", "before bind(): takes an address that the host does not have yet (a floating one)")
    if rule == "not-local":
        prefix = 128 if len(question.address) == 16 else 32
        search.add(f"ip addr add {format_address(question.address)}/{prefix} dev INTERFACE", "if this host should have the address", False)
