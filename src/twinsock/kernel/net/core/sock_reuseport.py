"""Groups of sockets that share an address by SO_REUSEPORT (Linux: net/core/sock_reuseport.c, sheet 03, 3.10).

socks   [ a | b | c ]        num_socks = 3: they share the traffic
closed  [ d ]                num_closed_socks = 1: was shut down, and may hand its connections to the others

Left out: eBPF programs (D-bind-3)."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.uapi.errno import EBUSY, EINVAL
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.snmp import LINUX_MIB_TCPMIGRATEREQFAILURE
from twinsock.uapi.socket import SOCK_RAW, SOCK_STREAM
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.net.core.sock import Sock

_MASK32: Final = 0xFFFFFFFF


@mypyc_attr(allow_interpreted_subclasses=True)
class ReuseportProg:
    """A program attached with SO_ATTACH_REUSEPORT_CBPF; subclasses override `run`."""

    def run(self, skb: SkBuff, hdr_len: int) -> int:
        """Return the slot of the member that gets the packet; beyond the last slot the hash decides."""
        raise NotImplementedError


class SockReuseport:
    """`struct sock_reuseport`: the members of one group, in slot order."""

    def __init__(self) -> None:
        self.socks: list[Sock] = []
        self.closed: list[Sock] = []
        self.num_closed_socks = 0  # len(closed)
        self.bind_inany = False  # bound to a wildcard
        self.has_conns = False  # a UDP member was connected once
        self.prog: ReuseportProg | None = None
        self.incoming_cpu = 0  # members with SO_INCOMING_CPU


def reuseport_alloc(sk: Sock, bind_inany: bool) -> int:
    """Make `sk` a group of its own, or bring it back into the group it was shut down in."""
    group = sk.sk_reuseport_cb
    if group is None:
        group = SockReuseport()
        group.bind_inany = bind_inany
        sk.sk_reuseport_cb = group
        _add(group, sk)
    elif group.num_closed_socks != 0:
        return _resurrect(sk, group, None, bind_inany)
    elif bind_inany:
        group.bind_inany = True
    return 0


def reuseport_add_sock(sk: Sock, mate: Sock, bind_inany: bool) -> int:
    """Let `sk` join the group of `mate`, which is made if need be."""
    if mate.sk_reuseport_cb is None:
        err = reuseport_alloc(mate, bind_inany)
        if err:
            return err
    group = mate.sk_reuseport_cb
    assert group is not None
    old = sk.sk_reuseport_cb
    if old is not None and old.num_closed_socks != 0:
        return _resurrect(sk, old, group, group.bind_inany)
    if old is not None and len(old.socks) != 1:
        return -EBUSY
    sk.sk_reuseport_cb = group
    _add(group, sk)
    return 0


def reuseport_detach_sock(sk: Sock) -> None:
    """Take `sk` out of its group; the last member moves into its slot."""
    group = sk.sk_reuseport_cb
    if group is None:
        return
    sk.sk_reuseport_cb = None
    if not _remove_closed(group, sk):
        _remove(group, sk)


def reuseport_stop_listen_sock(sk: Sock) -> None:
    """A listener stops: with tcp_migrate_req it stays in the group as closed, so that others inherit its connections."""
    group = sk.sk_reuseport_cb
    if group is not None and sk.sk_protocol == IPPROTO_TCP and sk.sk_net.ipv4.sysctl_tcp_migrate_req:
        _remove(group, sk)
        group.closed.append(sk)
        group.num_closed_socks += 1
        return
    reuseport_detach_sock(sk)


def reuseport_select_sock(sk: Sock, hash_: int, skb: SkBuff | None, hdr_len: int) -> Sock | None:
    """Choose the member of the group of `sk` that gets a packet: by program, else by processor, else by hash."""
    group = sk.sk_reuseport_cb
    if group is None or not group.socks:
        return None
    if group.prog is not None and skb is not None:
        index = group.prog.run(skb, hdr_len)
        if 0 <= index < len(group.socks):
            return group.socks[index]
    return _select_by_hash(group, hash_)


def reuseport_migrate_sock(sk: Sock, hash_: int) -> Sock | None:
    """Choose the listener that takes a connection over from the closed listener `sk`, with tcp_migrate_req."""
    group = sk.sk_reuseport_cb
    if group is None or not sk.sk_net.ipv4.sysctl_tcp_migrate_req:
        return None
    if not group.socks:
        sk.sk_net.net_statistics[LINUX_MIB_TCPMIGRATEREQFAILURE] += 1
        return None
    return _select_by_hash(group, hash_)


def reuseport_update_incoming_cpu(sk: Sock, val: int) -> None:
    """SO_INCOMING_CPU changes to `val`."""
    group = sk.sk_reuseport_cb
    if group is not None and sk in group.socks:
        group.incoming_cpu += (val >= 0) - (sk.sk_incoming_cpu >= 0)
    sk.sk_incoming_cpu = val


def reuseport_attach_prog(sk: Sock, prog: ReuseportProg) -> int:
    """SO_ATTACH_REUSEPORT_CBPF: a socket that is not in a group becomes a group of one, if it has SO_REUSEPORT."""
    if sk.sk_reuseport_cb is None:
        if not sk.sk_reuseport or _is_hashed(sk):
            return -EINVAL
        err = reuseport_alloc(sk, False)
        if err:
            return err
    group = sk.sk_reuseport_cb
    assert group is not None
    group.prog = prog
    return 0


def _is_hashed(sk: Sock) -> bool:
    """Tell whether a socket is in the tables that packets are looked up in."""
    if sk.sk_type == SOCK_STREAM:
        return sk.sk_state != TCP_CLOSE
    return sk.sk_type == SOCK_RAW or sk.sk_num != 0


def _select_by_hash(group: SockReuseport, hash_: int) -> Sock | None:
    """Scale the hash to a slot; connected members are passed over, members on this processor preferred."""
    count = len(group.socks)
    start = ((hash_ & _MASK32) * count) >> 32
    cpu = group.socks[0].sk_net.kernel.cpu
    first: Sock | None = None
    for step in range(count):
        index = start + step
        member = group.socks[index if index < count else index - count]
        if member.sk_state == TCP_ESTABLISHED:
            continue
        if not group.incoming_cpu or member.sk_incoming_cpu == cpu:
            return member
        if first is None:
            first = member
    return first


def _resurrect(sk: Sock, old: SockReuseport, group: SockReuseport | None, bind_inany: bool) -> int:
    """A socket that was shut down listens again: in its old group, or in that of its new address."""
    if old is group:
        _remove_closed(group, sk)
        _add(group, sk)
        return 0
    if group is None:
        group = SockReuseport()
        group.bind_inany = bind_inany
    _remove_closed(old, sk)
    sk.sk_reuseport_cb = group
    _add(group, sk)
    return 0


def _add(group: SockReuseport, sk: Sock) -> None:
    group.socks.append(sk)
    group.incoming_cpu += sk.sk_incoming_cpu >= 0


def _remove(group: SockReuseport, sk: Sock) -> None:
    last = group.socks.pop()
    if last is not sk:
        group.socks[group.socks.index(sk)] = last
    group.incoming_cpu -= sk.sk_incoming_cpu >= 0


def _remove_closed(group: SockReuseport, sk: Sock) -> bool:
    if sk not in group.closed:
        return False
    group.closed.remove(sk)
    group.num_closed_socks -= 1
    return True
