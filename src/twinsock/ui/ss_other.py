"""Rows of UNIX, PACKET, NETLINK, VSOCK and XDP sockets as ss(8) writes them."""

from __future__ import annotations

from twinsock.inspect.filter import Subject
from twinsock.ui.ss_extra import SKMEM_NAMES, arrows
from twinsock.ui.ss_sheet import STATE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.netlink_sockets import NetlinkRecord
    from twinsock.inspect.packet import PacketRecord
    from twinsock.inspect.unix import UnixRecord
    from twinsock.inspect.virtual import VsockRecord, XdpRecord
    from twinsock.ui.ss_run import View
    from twinsock.ui.ss_sheet import Row

_STREAM, _DGRAM, _RAW, _SEQPACKET = 1, 2, 3, 5
UNIX_TYPES = {_STREAM: ("unix_stream", "u_str"), _DGRAM: ("unix_dgram", "u_dgr"), _SEQPACKET: ("unix_seqpacket", "u_seq")}
PACKET_TYPES = {_RAW: ("packet_raw", "p_raw"), _DGRAM: ("packet_dgram", "p_dgr")}
VSOCK_TYPES = {_STREAM: ("vsock_stream", "v_str"), _DGRAM: ("vsock_dgram", "v_dgr"), _SEQPACKET: ("vsock_stream", "v_str")}
CLOSED = 7
_AF_UNIX, _AF_NETLINK, _AF_PACKET = 1, 16, 17
_ALL_PROTOCOLS = 3
_ANY = 0xFFFFFFFF
_NETLINK_NAMES = {
    0: "rtnl",
    2: "usersock",
    3: "fw",
    4: "tcpdiag",
    5: "nflog",
    6: "xfrm",
    7: "selinux",
    8: "iscsi",
    9: "audit",
    10: "fiblookup",
    11: "connector",
    12: "nft",
    13: "ip6fw",
    14: "dec-rt",
    15: "uevent",
    16: "genl",
    18: "scsi-trans",
    19: "ecryptfs",
    20: "rdma",
    21: "crypto",
}
_ETHERNET_NAMES = {0x0800: "ip", 0x0806: "arp", 0x8035: "rarp", 0x8100: "802.1Q", 0x86DD: "ipv6", 0x8847: "mpls_uc", 0x88CC: "LLDP"}
_PACKET_FLAGS = ((0, "running"), (1, "auxdata"), (2, "origdev"), (3, "vnethdr"), (4, "loss"))


def unix_row(view: View, record: UnixRecord) -> Row:
    """Write a UNIX socket."""
    from twinsock.inspect.unix import format_name

    options = view.options
    netid = UNIX_TYPES.get(record.type, ("", "?"))[1]
    extra = view.users(record.inode)
    if options.has("memory"):
        extra += _skmem(record.skmeminfo)
    if options.has("extended"):
        if record.uid:
            extra += f" uid:{record.uid}"
        extra += " " + arrows(record.shutdown) + _file_and_clients(record)
    extra += view.our_extra(record.inode, record.cookie)
    queues = str(record.rqueue or 0), str(record.wqueue or 0)
    return (netid, STATE_NAMES[record.state], *queues, format_name(record.name), f" {record.inode}", "*", f" {record.peer or 0}", extra)


def _file_and_clients(record: UnixRecord) -> str:
    """Write a path's file and who waits to be accepted; the device in the odd way in which ss(8) reads the number."""
    text = ""
    if record.file_inode is not None and record.device is not None:
        import os

        text += f" ino:{record.file_inode} dev:{os.major(record.device)}/{os.minor(record.device)}"
    if record.waiting is not None:
        text += " peers:" + "".join([f" {inode}" for inode in record.waiting])
    return text


def packet_row(view: View, record: PacketRecord) -> Row:
    """Write a packet socket."""
    options = view.options
    netid = PACKET_TYPES.get(record.type, ("", "?"))[1]
    extra = view.users(record.inode)
    if options.has("extended"):
        extra += f" uid:{record.uid}" if record.uid else ""
        extra += f" ino:{record.inode} sk:{record.cookie:x}"
        extra += " " if options.has("oneline") else "\n\t"
        flags = "".join([name + " " for bit, name in _PACKET_FLAGS if (record.flags or 0) >> bit & 1])
        extra += f"ver:{record.version or 0} cpy_thresh:{record.copy_threshold or 0} flags( {flags})"
    if options.has("memory"):
        extra += _skmem(record.skmeminfo)
    extra += view.our_extra(record.inode, record.cookie)
    if record.num == _ALL_PROTOCOLS:
        name = "*"
    else:
        name = "" if view.numeric else _ETHERNET_NAMES.get(record.num, "")
        name = name or f"[{record.num}]"
    device = view.device(record.ifindex, record.netns) if record.ifindex else "*"
    received = record.skmeminfo[0] if record.skmeminfo else 0
    return netid, STATE_NAMES[CLOSED], str(received), "0", name, ":" + device, "", "*", extra


def netlink_row(view: View, record: NetlinkRecord) -> Row:
    """Write a netlink socket."""
    options = view.options
    local = str(record.protocol) if view.numeric else netlink_name(record.protocol)
    if view.numeric:
        holder = str(record.portid)
    else:
        holder = _netlink_holder(view, record.portid)
    extra = ""
    if options.has("extended"):
        groups = sum([1 << number - 1 for number in record.groups or () if number <= 32])
        extra += f" sk=0 cb=0 groups=0x{groups:08x}"
    if options.has("memory"):
        extra += "\t" + _skmem(record.skmeminfo)
    memory = record.skmeminfo or (0, 0, 0)
    return "nl", STATE_NAMES[CLOSED], str(memory[0]), str(memory[2]), local, ":" + holder, "", "*", extra


def vsock_row(view: View, record: VsockRecord) -> Row:
    """Write a VSOCK socket."""
    cells = ["*" if part == _ANY else str(part) for part in (record.local, record.local_port, record.remote, record.remote_port)]
    extra = view.users(record.inode)
    if view.options.has("extended"):
        extra += f" ino:{record.inode} sk:{record.cookie:x} {arrows(record.shutdown)}"
    netid = VSOCK_TYPES.get(record.type, ("", "?"))[1]
    return netid, STATE_NAMES[record.state], "0", "0", cells[0], ":" + cells[1], cells[2], ":" + cells[3], extra


def xdp_row(view: View, record: XdpRecord) -> Row:
    """Write an XDP socket."""
    device = view.device(record.ifindex, record.netns) if record.ifindex else "*"
    extra = view.users(record.inode)
    if view.options.has("extended"):
        extra += (f" uid:{record.uid}" if record.uid else "") + f" ino:{record.inode} sk:{record.cookie:x}"
    return "xdp", STATE_NAMES[CLOSED], "0", "0", device, f":q{record.queue or 0}", "", "*", extra


def netlink_name(protocol: int) -> str:
    """Name a netlink protocol as iproute2 does."""
    return _NETLINK_NAMES.get(protocol, str(protocol))


def _netlink_holder(view: View, portid: int) -> str:
    """Name the process that a port id mostly is: `kernel`, `systemd/1`, or the number alone."""
    if not portid:
        return "kernel"
    if portid < 1 << 22:
        try:
            return view.port.read(f"/proc/{portid}/comm").decode("utf-8", "replace").rstrip("\n") + f"/{portid}"
        except OSError:
            pass
    return str(portid)


def _skmem(words: tuple[int, ...] | None) -> str:
    if words is None:
        return ""
    return " skmem:({})".format(",".join([f"{name}{word}" for name, word in zip(SKMEM_NAMES, words, strict=False)]))


def unix_subject(record: UnixRecord, names: dict[int, str]) -> Subject:
    """Give what a filter looks at; `names` are those of the other ends by inode."""
    from twinsock.inspect.unix import format_name

    subject = Subject(_AF_UNIX, b"", record.inode, b"", record.peer or 0)
    if record.name:
        subject.local_name = format_name(record.name)
    subject.remote_name = names.get(record.peer or 0, "")
    name = subject.local_name
    subject.autobound = not name or (len(name) == 6 and name[0] == "@" and not name[1:].strip("0123456789abcdef"))
    return subject


def packet_subject(record: PacketRecord) -> Subject:
    """Give what a filter looks at: the protocol's name, the interface."""
    subject = Subject(_AF_PACKET, b"", 0, b"", 0)
    subject.ifindex = record.ifindex or 0
    subject.local_name = "*" if record.num == _ALL_PROTOCOLS else _ETHERNET_NAMES.get(record.num, str(record.num))
    return subject


def netlink_subject(record: NetlinkRecord) -> Subject:
    """Give what a filter looks at: the protocol's name, the port id."""
    subject = Subject(_AF_NETLINK, b"", record.portid, b"", record.dst_portid)
    subject.local_name = netlink_name(record.protocol)
    return subject
