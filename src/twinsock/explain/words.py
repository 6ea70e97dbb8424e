"""Names and sentences: addresses, states, times, owners, as people write them."""

from __future__ import annotations

from twinsock.explain.report import UNKNOWN, Remedy
from twinsock.inspect.address import format_address
from twinsock.inspect.facts import REUSEADDR, REUSEPORT
from twinsock.uapi.errno import EPERM
from twinsock.uapi.in_ import IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP
from twinsock.uapi.socket import AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET
from twinsock.uapi.tcp import TCP_CLOSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Blocker, Report
    from twinsock.inspect.facts import Question, TaskRecord
    from twinsock.inspect.records import SocketRecord

_STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "SYN_RECV",
}
TIMER_TIME_WAIT = 3
PROTOCOLS = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp", IPPROTO_MPTCP: "mptcp"}


def show_endpoint(address: bytes, port: int, zone: str = "") -> str:
    """Write address and port, an IPv6 address in brackets."""
    shown = format_address(address) + (("%" + zone) if zone else "")
    return f"[{shown}]:{port}" if len(address) == 16 else f"{shown}:{port}"


def show_target(question: Question) -> str:
    """Write what is asked about as a target that `why` understands."""
    if question.family == AF_UNIX:
        from twinsock.inspect.unix import format_name

        kind = "unix-dgram" if question.type == SOCK_DGRAM else "unix-seqpacket" if question.type == SOCK_SEQPACKET else "unix"
        return kind + ":" + format_name(question.path)
    return PROTOCOLS.get(question.protocol, "tcp") + "://" + show_endpoint(question.address, question.port, question.zone)


def state_of(record: SocketRecord) -> str:
    """Name a socket's state; what the kernel calls CLOSE with a port is BOUND."""
    if record.protocol == IPPROTO_UDP:
        return "CONNECTED" if record.remote_port else "BOUND"
    if is_time_wait(record):
        return "TIME_WAIT" if record.state == 6 else "FIN_WAIT2"
    if record.state == TCP_CLOSE:
        return "BOUND"
    return _STATES.get(record.state, str(record.state))


def is_time_wait(record: SocketRecord) -> bool:
    """Tell whether only the small socket is left that Linux keeps in TIME_WAIT and in orphaned FIN_WAIT2."""
    return record.timer == TIMER_TIME_WAIT and record.protocol != IPPROTO_UDP


def show_reuse(flags: int) -> str:
    """Write reuse flags."""
    if flags < 0:
        return "reuse flags hidden"
    names = [name for bit, name in ((REUSEADDR, "SO_REUSEADDR"), (REUSEPORT, "SO_REUSEPORT")) if flags & bit]
    return f"it has {' and '.join(names)} set" if names else "no reuse flags"


def options_of(question: Question) -> str:
    """Write the options that a question sets."""
    names = []
    if question.reuseaddr:
        names.append("SO_REUSEADDR")
    if question.reuseport:
        names.append("SO_REUSEPORT")
    if question.family == AF_INET6 and question.v6only >= 0:
        names.append("IPV6_V6ONLY" if question.v6only else "IPV6_V6ONLY off")
    if question.freebind:
        names.append("IP_FREEBIND")
    if question.transparent:
        names.append("IP_TRANSPARENT")
    return " + ".join(names) or "no options"


def show_ms(milliseconds: int) -> str:
    """Write a duration in its largest fitting unit."""
    seconds = milliseconds / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def join_words(words: list[str], last: str = "and") -> str:
    """Write "a, b and c"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" {last} " + words[-1] if words else ""


def quote(word: str) -> str:
    """Quote a word for a shell if need be."""
    if word and all(char.isalnum() or char in "/._-:=,+@%" for char in word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def stop_commands(blocker: Blocker) -> list[tuple[str, str]]:
    """Give the commands that end a socket's holders, each with what it ends."""
    found: list[tuple[str, str]] = []
    for holder in blocker.holders:
        name = f"{holder.comm} (pid {holder.pid})"
        engine, _, ident = holder.unit.partition(" ")
        if ident and engine in ("docker", "podman"):
            found.append((f"{engine} stop {ident}", f"container {ident}"))
        elif holder.unit.endswith(".service") and holder.pid != 1:
            found.append((f"systemctl stop {quote(holder.unit)}", holder.unit))
        elif holder.pid == 1 and holder.comm.startswith("systemd"):
            found.append(("systemctl list-sockets", "the socket unit it shows for this address (systemctl stop NAME.socket)"))
        else:
            found.append((f"kill {holder.pid}", name))
    if not blocker.holders and blocker.ghost_pid > 0:
        found.append((f"kill {blocker.ghost_pid}", f"pid {blocker.ghost_pid}, through which the socket lives"))
    return found


def task_notes(task: TaskRecord) -> list[str]:
    """Tell what else may refuse the task's sockets."""
    notes: list[str] = []
    if task.programs:
        notes.append(f"BPF programs of its cgroup {task.cgroup} run at {join_words(task.programs)}")
    if task.pid and task.seccomp:
        notes.append("a seccomp filter is active in the process: it may refuse socket() or bind() with any error, and cannot be read")
    return notes


def doubt_programs(report: Report, task: TaskRecord) -> None:
    """Withdraw a success over which BPF programs of the cgroup have the last word."""
    question = report.question
    version = "6" if question.family == AF_INET6 else "4"
    hooks = ["connect" + version] if question.connect else ["bind" + version, "post_bind" + version]
    found = [hook for hook in ["sock_create", *hooks] if hook in task.programs]
    if not found:
        return
    report.result = UNKNOWN
    report.errno = EPERM
    report.rule = "cgroup-bpf"
    report.call = "socket" if found[0] == "sock_create" else "connect" if question.connect else "bind"
    report.unless = f"the BPF programs at {join_words(found)}"
    report.path = [f"__sys_{report.call}", "__cgroup_bpf_run_filter_sock" + ("" if found[0] in ("sock_create",) else "_addr")]
    report.sentence = (
        f"everything else would allow it, but BPF programs of the cgroup {task.cgroup} decide at {join_words(found)}, "
        "and what they decide cannot be read. --prove tells."
    )
    report.remedies.append(Remedy("systemctl show -p SocketBindAllow -p SocketBindDeny UNIT", "if systemd attached them", False))
