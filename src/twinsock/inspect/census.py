"""Census of one network namespace: how many sockets of each kind and state its tables list, and their inodes.

TCP, UDP, UNIX, packet and netlink sockets come over sock_diag, RAW and ping sockets from /proc/net. Counted by columns:
a hundred thousand sockets take a few hundredths of a second.
"""

from __future__ import annotations

from twinsock.inspect.findings import Census
from twinsock.inspect.port import NotAvailable
from twinsock.inspect.sockets import inet_sockets
from twinsock.inspect.table import socket_table
from twinsock.inspect.unix import ALL_STATES, unix_sockets
from twinsock.uapi.in6 import IPPROTO_ICMPV6
from twinsock.uapi.in_ import IPPROTO_ICMP, IPPROTO_MPTCP, IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.inet_diag import INET_DIAG_SKMEMINFO
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG, NLMSG_HDRLEN
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN
from twinsock.wire.inet_diag import MSG_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort
    from twinsock.inspect.table import Group

TIMER_TIME_WAIT = 3
_RMEM, _FORWARD, _WMEM_QUEUED = 0, 4, 5  # SK_MEMINFO_*
_ALL = 0xFFFFFFFF
_FIRST_ATTRIBUTE = (NLMSG_HDRLEN + MSG_SIZE) // 4
_MEMORY_WORDS = 10
_MEMORY_HEAD = INET_DIAG_SKMEMINFO << 16 | 4 * _MEMORY_WORDS
_DIAG = (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_MPTCP)
_PROC_FILES = (
    ("raw", IPPROTO_RAW, AF_INET),
    ("raw6", IPPROTO_RAW, AF_INET6),
    ("icmp", IPPROTO_ICMP, AF_INET),
    ("icmp6", IPPROTO_ICMPV6, AF_INET6),
)


def take_census(port: KernelPort, netns: int = 0, memory: bool = False) -> Census:
    """Count the sockets of a namespace; what has no table is noted. Raises OSError, ProcessLookupError if it is gone."""
    census = Census(netns)
    ext = 1 << (INET_DIAG_SKMEMINFO - 1) if memory else 0
    for protocol in _DIAG:
        # With the states of the netlink mask alone sockets that are only bound would be missing: all bits are set.
        table = socket_table(port, (AF_INET, AF_INET6), (protocol,), _ALL, (netns,), ext)
        for note in table.notes:
            _note(census, note, protocol != IPPROTO_UDPLITE and protocol != IPPROTO_MPTCP)
        for group in table.groups:
            inodes = group.column("inode")
            states = group.column("state")
            timers = group.column("timer")
            families = group.column("family")
            for key in zip(families, states, timers, inodes, strict=True):
                place = (protocol, key[0], key[1], key[2] == TIMER_TIME_WAIT, key[3] != 0)
                census.inet[place] = census.inet.get(place, 0) + 1
            for inode in inodes:
                census.inodes.setdefault(inode, protocol)
            if protocol == IPPROTO_TCP:
                census.waiting += sum([n for n, state in zip(group.column("rqueue"), states, strict=True) if state == TCP_LISTEN])
                census.bound += [inode for inode, state in zip(inodes, states, strict=True) if state == TCP_CLOSE]
            if memory and protocol in census.memory:
                census.memory[protocol] += _charged(group)
    for name, protocol, family in _PROC_FILES:
        _add_file(port, census, name, protocol, family)
    _add_others(port, census)
    census.inodes.pop(0, None)
    return census


def with_handler(port: KernelPort, netns: int) -> bool:
    """Tell whether TCP can be asked in a namespace. Raises OSError: PermissionError, ProcessLookupError if it is gone."""
    try:
        inet_sockets(port, AF_INET, IPPROTO_TCP, 1 << TCP_LISTEN, netns)
    except NotAvailable:
        return False
    return True


def _note(census: Census, sentence: str, matters: bool) -> None:
    if matters and sentence not in census.notes:
        census.notes.append(sentence)
        census.refused = True


def _charged(group: Group) -> int:
    """Add up the bytes that sockets are charged for: receive and write queues, and what they hold ahead.

    In messages of one length the attribute mostly stands at one place: that is looked up once, and checked in all.
    """
    total = 0
    with memoryview(group.data) as view, view.cast("I") as words:
        step = group.stride // 4
        at = _FIRST_ATTRIBUTE
        while at + _MEMORY_WORDS <= step:
            head = words[at]
            if head == _MEMORY_HEAD:
                break
            at += max((head & 0xFFFF) + 3 >> 2, 1)
        else:
            return 0
        if words[at::step].tolist() == [_MEMORY_HEAD] * len(group):
            for field in (_RMEM, _FORWARD, _WMEM_QUEUED):
                total += sum(words[at + 1 + field :: step].tolist())
            return total
    for row in range(len(group)):
        info = group.record(row).skmeminfo
        if info is not None:
            total += info[_RMEM] + info[_FORWARD] + info[_WMEM_QUEUED]
    return total


def _add_file(port: KernelPort, census: Census, name: str, protocol: int, family: int) -> None:
    """Count the lines of a file of /proc/net."""
    from twinsock.inspect.procnet import parse_inet

    try:
        records = parse_inet(port.read("/proc/net/" + name, census.netns), family, protocol)
    except OSError:
        return  # this kernel has no such protocol
    for record in records:
        key = (protocol, family, record.state, False, record.inode != 0)
        census.inet[key] = census.inet.get(key, 0) + 1
        census.inodes.setdefault(record.inode, protocol)


def _add_others(port: KernelPort, census: Census) -> None:
    """Count UNIX, packet and netlink sockets. Raises OSError."""
    from twinsock.inspect.netlink_sockets import netlink_sockets
    from twinsock.inspect.packet import packet_sockets
    from twinsock.uapi.socket import AF_NETLINK, AF_PACKET, AF_UNIX

    for record in unix_sockets(port, ALL_STATES, 0, census.netns, census.notes):
        key = (record.type, record.state, record.inode != 0)
        census.unix[key] = census.unix.get(key, 0) + 1
        census.inodes.setdefault(record.inode, -AF_UNIX)
    try:
        packets = packet_sockets(port, 0, census.netns)
        census.packet = len(packets)
        for packet in packets:
            census.inodes.setdefault(packet.inode, -AF_PACKET)
    except (NotAvailable, PermissionError) as error:
        _note(census, f"packet sockets are not counted: {error.strerror}", True)
    try:
        for netlink in netlink_sockets(port, 0, census.netns):
            if netlink.portid:
                census.inodes.setdefault(netlink.inode, -AF_NETLINK)
                census.netlink += 1
                if netlink.protocol == NETLINK_SOCK_DIAG:
                    census.askers.append(netlink.inode)
    except (NotAvailable, PermissionError) as error:
        _note(census, f"netlink sockets are not counted: {error.strerror}", True)
