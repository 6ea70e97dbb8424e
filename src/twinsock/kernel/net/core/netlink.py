"""The kernel's end of netlink: requests that programs send, answers, dumps (Linux: include/linux/netlink.h, include/net/netlink.h).

af_netlink parses a datagram, makes a `NetlinkRequest` of each message and hands it to the `NetlinkInput` of its protocol, which adds
answers or a dump. sock_diag and rtnetlink stand on this; they do not see the sockets."""

from __future__ import annotations

from twinsock.uapi.errno import EOPNOTSUPP
from twinsock.uapi.netlink import NLM_F_DUMP, NLM_F_MULTI, NLMSG_HDRLEN
from twinsock.wire.netlink import nlmsg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task


class GenerationView:
    """Tells a dump whether what it lists has changed since it began."""

    def generation(self) -> int:
        """Return a number that changes with the tables."""
        return 0


class NetlinkDump:
    """A list that is being handed out (struct netlink_callback): messages, and how the last datagram ends."""

    def __init__(self, messages: list[bytes], done_alone: bool, view: GenerationView | None = None) -> None:
        self.messages = messages
        self.done_alone = done_alone  # NLMSG_DONE comes in a datagram of its own
        self.view = view
        self.generation = 0 if view is None else view.generation()
        self.pos = 0
        self.seq = 0
        self.portid = 0
        self.done_errno = 0  # what NLMSG_DONE says
        self.min_alloc = 0  # room that the first datagram has at least


class NetlinkRequest:
    """One message to the kernel, who sent it, and what it is answered."""

    def __init__(self, net: Net, task: Task, portid: int, data: bytes) -> None:
        self.net = net
        self.task = task
        self.portid = portid
        self.data = data
        self.type = int.from_bytes(data[4:6], "little")
        self.flags = int.from_bytes(data[6:8], "little")
        self.seq = int.from_bytes(data[8:12], "little")
        self.payload = data[NLMSG_HDRLEN:]
        self.strict = False  # NETLINK_GET_STRICT_CHK
        self.answers: list[bytes] = []
        self.dump: NetlinkDump | None = None
        self.ext_msg = ""  # the sentence of the extended acknowledgement
        self.ext_offset = -1  # of the attribute that it is about

    def wants_dump(self) -> bool:
        """Tell whether NLM_F_DUMP is set."""
        return self.flags & NLM_F_DUMP == NLM_F_DUMP

    def capable(self, cap: int) -> bool:
        """Tell whether the sender has a capability over the namespace (netlink_net_capable)."""
        return self.task.ns_capable(self.net.user_ns, cap)

    def answer(self, type_: int, flags: int, payload: bytes) -> None:
        """Send one message back."""
        self.answers.append(nlmsg(type_, flags, payload, self.seq, self.portid))

    def part(self, type_: int, payload: bytes, flags: int = NLM_F_MULTI) -> bytes:
        """Make one message of a dump."""
        return nlmsg(type_, flags, payload, self.seq, self.portid)

    def start_dump(self, messages: list[bytes], done_alone: bool, view: GenerationView | None = None) -> int:
        """Answer with a list (netlink_dump_start)."""
        self.dump = NetlinkDump(messages, done_alone, view)
        self.dump.seq = self.seq
        self.dump.portid = self.portid
        return 0

    def start_dump_failed(self, err: int) -> int:
        """Answer with a list that ends at once with an error."""
        self.start_dump([], True)
        assert self.dump is not None
        self.dump.done_errno = err
        return 0

    def refuse(self, err: int, text: str, offset: int = -1) -> int:
        """Return an error with a sentence for the extended acknowledgement (NL_SET_ERR_MSG)."""
        self.ext_msg = text
        self.ext_offset = offset
        return err


class NetlinkInput:
    """What the kernel does with one netlink protocol (struct netlink_kernel_cfg)."""

    def __init__(self, groups: int, nonroot_recv: bool = False, nonroot_send: bool = False) -> None:
        self.groups = max(groups, 32)
        self.nonroot_recv = nonroot_recv  # NL_CFG_F_NONROOT_RECV: anybody may join groups
        self.nonroot_send = nonroot_send  # NL_CFG_F_NONROOT_SEND: anybody may send to others
        self.has_kernel_socket = True

    def rcv_msg(self, req: NetlinkRequest) -> int:
        """Take a request: 0 or -errno."""
        return -EOPNOTSUPP


class NetlinkTable:
    """The protocols of a kernel; af_netlink has the one that knows sockets."""

    def __init__(self) -> None:
        self.inputs: list[NetlinkInput | None] = [None] * 32
        self.current: NetlinkRequest | None = None  # the rtnetlink request that is being worked on

    def broadcast(self, net: Net, protocol: int, data: bytes, group: int, exclude: int) -> int:
        """Send the kernel's datagram to everybody in a group but port `exclude`: 0, or -ESRCH when nobody listens."""
        raise NotImplementedError

    def has_listeners(self, net: Net, protocol: int, group: int) -> bool:
        """Tell whether a socket is in a group."""
        raise NotImplementedError


def nla_u32(value: int) -> bytes:
    """Return an attribute's 32 bits."""
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def nla_u64(value: int) -> bytes:
    """Return an attribute's 64 bits."""
    return (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")


def nla_string(text: str) -> bytes:
    """Return a string with its NUL."""
    return text.encode("latin-1") + b"\0"
