"""Census of network namespaces: their sockets, who holds them, and which sysctls were changed since they were made.

A new namespace begins with the kernel's own values, whatever its maker's are, so what differs was set here. Compared
with the defaults of Linux 6.18; values that a new namespace copies from the first one (tcp_rmem, tcp_max_tw_buckets,
the congestion control) are left out.
"""

from __future__ import annotations

from twinsock.inspect.census import take_census
from twinsock.inspect.findings import Census
from twinsock.inspect.sysctl import read_sysctl
from twinsock.uapi.errno import ENOENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinsock.inspect.port import KernelPort, Namespace

DEFAULTS = (
    ("net/core/somaxconn", "4096"),
    ("net/core/optmem_max", "131072"),
    ("net/ipv4/ip_local_port_range", "32768 60999"),
    ("net/ipv4/ip_local_reserved_ports", ""),
    ("net/ipv4/ip_unprivileged_port_start", "1024"),
    ("net/ipv4/ip_nonlocal_bind", "0"),
    ("net/ipv4/ip_autobind_reuse", "0"),
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/ping_group_range", "1 0"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/tcp_tw_reuse", "2"),
    ("net/ipv4/tcp_tw_reuse_delay", "1000"),
    ("net/ipv4/tcp_fin_timeout", "60"),
    ("net/ipv4/tcp_abort_on_overflow", "0"),
    ("net/ipv4/tcp_migrate_req", "0"),
    ("net/ipv4/tcp_fastopen", "1"),
    ("net/ipv4/tcp_timestamps", "1"),
    ("net/ipv4/tcp_rfc1337", "0"),
    ("net/ipv4/tcp_syn_retries", "6"),
    ("net/ipv4/tcp_synack_retries", "5"),
    ("net/ipv4/tcp_syn_linear_timeouts", "4"),
    ("net/ipv4/tcp_retries1", "3"),
    ("net/ipv4/tcp_retries2", "15"),
    ("net/ipv4/tcp_orphan_retries", "0"),
    ("net/ipv4/tcp_keepalive_time", "7200"),
    ("net/ipv4/tcp_keepalive_intvl", "75"),
    ("net/ipv4/tcp_keepalive_probes", "9"),
    ("net/ipv4/tcp_l3mdev_accept", "0"),
    ("net/ipv4/udp_l3mdev_accept", "0"),
    ("net/ipv4/raw_l3mdev_accept", "1"),
    ("net/ipv6/bindv6only", "0"),
    ("net/ipv6/ip_nonlocal_bind", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/unix/max_dgram_qlen", "10"),
)


class NamespaceCensus:
    """One namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.processes: list[tuple[int, str]] = []  # (pid, name) of the first few
        self.census: Census | None = None  # None: hidden
        self.unlisted = 0  # sockets with a descriptor that no table lists
        self.changed: list[tuple[str, str, str]] = []  # (sysctl, value, default)
        self.hidden: list[str] = []  # what could not be read


def take_namespaces(port: KernelPort, namespaces: Sequence[Namespace], notes: list[str]) -> list[NamespaceCensus]:
    """Look into each namespace; those that end meanwhile are left out. Raises OSError."""
    found: list[NamespaceCensus] = []
    for namespace in namespaces:
        one = NamespaceCensus(namespace)
        one.processes = [(pid, _comm(port, pid)) for pid in namespace.pids]
        netns = 0 if namespace.own else namespace.inode
        if namespace.accessible:
            try:
                one.census = take_census(port, netns)
                one.changed = changed_sysctls(port, netns)
            except ProcessLookupError:
                continue
            except PermissionError as error:
                one.hidden.append(str(error.strerror))
        else:
            one.hidden.append(namespace.reason)
        found.append(one)
    _count_unlisted(port, found, notes)
    return found


def _comm(port: KernelPort, pid: int) -> str:
    try:
        return port.read(f"/proc/{pid}/comm").decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def changed_sysctls(port: KernelPort, netns: int = 0) -> list[tuple[str, str, str]]:
    """List the sysctls of a namespace that are not as in a new one: (name, value, default). Raises OSError."""
    changed: list[tuple[str, str, str]] = []
    for name, default in DEFAULTS:
        try:
            value = read_sysctl(port, name, netns)
        except OSError as error:
            if error.errno == ENOENT:
                continue
            raise
        if value is None:
            continue
        value = " ".join(value.split())
        if value != default:
            changed.append((name.replace("/", "."), value, default))
    return changed


def _count_unlisted(port: KernelPort, found: list[NamespaceCensus], notes: list[str]) -> None:
    """Find the sockets that only descriptors lead to, and give them to their namespaces."""
    listed: set[int] = set()
    for one in found:
        if one.census is not None:
            listed.update(one.census.inodes)
    owners = port.owners(None)
    if owners.hidden:
        notes.append(f"the descriptors of {owners.hidden} processes (needs CAP_SYS_PTRACE or the same user): sockets that no table lists")
    homes = {one.namespace.cookie: one for one in found if one.namespace.cookie}
    for socket in owners.unlisted([inode for inode in owners.first if inode not in listed]).values():
        home = homes.get(socket.netns_cookie)
        if home is not None:
            home.unlisted += 1
