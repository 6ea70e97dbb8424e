"""`struct inet_sock`, `struct ipv6_pinfo`, `struct inet_connection_sock` (Linux: include/net/inet_sock.h, inet_connection_sock.h)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import IN6ADDR_ANY, Proto, Sock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

# inet_flags bits
INET_FLAGS_PKTINFO: Final = 0
INET_FLAGS_TTL: Final = 1
INET_FLAGS_TOS: Final = 2
INET_FLAGS_RECVOPTS: Final = 3
INET_FLAGS_RETOPTS: Final = 4
INET_FLAGS_PASSSEC: Final = 5
INET_FLAGS_ORIGDSTADDR: Final = 6
INET_FLAGS_CHECKSUM: Final = 7
INET_FLAGS_RECVFRAGSIZE: Final = 8
INET_FLAGS_RECVERR: Final = 9
INET_FLAGS_RECVERR_RFC4884: Final = 10
INET_FLAGS_FREEBIND: Final = 11
INET_FLAGS_HDRINCL: Final = 12
INET_FLAGS_MC_LOOP: Final = 13
INET_FLAGS_MC_ALL: Final = 14
INET_FLAGS_TRANSPARENT: Final = 15
INET_FLAGS_IS_ICSK: Final = 16
INET_FLAGS_NODEFRAG: Final = 17
INET_FLAGS_BIND_ADDRESS_NO_PORT: Final = 18
INET_FLAGS_DEFER_CONNECT: Final = 19
INET_FLAGS_MC6_LOOP: Final = 20
INET_FLAGS_RECVERR6: Final = 21
INET_FLAGS_REPFLOW: Final = 22
INET_FLAGS_RTALERT_ISOLATE: Final = 23
INET_FLAGS_SNDFLOW: Final = 24
INET_FLAGS_RTALERT: Final = 25
INET_FLAGS_MC6_ALL: Final = 26
INET_FLAGS_AUTOFLOWLABEL_SET: Final = 27
INET_FLAGS_AUTOFLOWLABEL: Final = 28
INET_FLAGS_DONTFRAG: Final = 29
INET_FLAGS_RECVERR6_RFC4884: Final = 30


class IpMcSocklist:
    """`struct ip_mc_socklist`: a group that a socket joined on one device, with its source filter."""

    def __init__(self, multiaddr: int, address: int, ifindex: int, sfmode: int) -> None:
        self.multiaddr = multiaddr
        self.address = address  # the device's address that was named, 0 for an index
        self.ifindex = ifindex
        self.sfmode = sfmode  # MCAST_EXCLUDE, MCAST_INCLUDE
        self.sources: list[int] = []
        self.sl_max = -1  # sources there is memory for, -1: no list yet


class Ipv6McSocklist:
    """`struct ipv6_mc_socklist`: a group that a socket joined on one device, with its source filter."""

    def __init__(self, addr: bytes, ifindex: int, sfmode: int) -> None:
        self.addr = addr
        self.ifindex = ifindex
        self.sfmode = sfmode
        self.sources: list[bytes] = []
        self.sl_max = -1  # sources there is memory for, -1: no list yet


class Ipv6AcSocklist:
    """`struct ipv6_ac_socklist`: an anycast address that a socket joined."""

    def __init__(self, addr: bytes, ifindex: int) -> None:
        self.addr = addr
        self.ifindex = ifindex


class Ipv6Pinfo:
    """`struct ipv6_pinfo`: the IPv6 half of an AF_INET6 socket."""

    def __init__(self) -> None:
        self.saddr = IN6ADDR_ANY  # source address for sending
        self.flow_label = 0
        self.hop_limit = -1
        self.mcast_hops = 1
        self.mcast_oif = 0
        self.ucast_oif = 0
        self.pmtudisc = 1
        self.frag_size = 0
        self.tclass = 0
        self.min_hopcount = 0
        self.rxopt = 0  # bits of the IPV6_RECV* options
        self.srcprefs = 0
        self.sndflow = 0
        self.mc_list: list[Ipv6McSocklist] = []  # newest first
        self.ac_list: list[Ipv6AcSocklist] = []
        self.daddr_cache = IN6ADDR_ANY  # destination whose route sk_dst_cache is
        self.sticky_pktinfo_ifindex = 0
        self.sticky_pktinfo_addr = IN6ADDR_ANY
        self.hopopt = b""  # sticky extension headers, IPV6_HOPOPTS and the like
        self.dst0opt = b""
        self.srcrt = b""
        self.dst1opt = b""
        self.rxpmtu = 0  # IPV6_RECVPATHMTU: what to report, 0 none
        self.rxpmtu_daddr = IN6ADDR_ANY


class InetSock(Sock):
    """`struct inet_sock`: an AF_INET or AF_INET6 socket (`pinet6` is None for AF_INET)."""

    # defaults: what a socket never changes takes no room in it
    pinet6: Ipv6Pinfo | None = None
    inet_flags = 0
    inet_saddr = 0  # source for sending; 0 for multicast and broadcast binds
    inet_sport = 0  # as sk_num, 0 until a port is owned
    inet_id = 0
    inet_opt: bytes | None = None
    tos = 0
    uc_ttl = -1
    mc_ttl = 1
    min_ttl = 0
    mc_index = 0
    mc_addr = 0
    uc_index = 0
    pmtudisc = 1
    local_port_range = 0  # IP_LOCAL_PORT_RANGE: low | high << 16, 0: none
    rcv_tos = 0

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.mc_list: list[IpMcSocklist] = []  # newest first

    def inet_test_bit(self, bit: int) -> bool:
        """Tell whether inet flag `bit` is set."""
        return bool(self.inet_flags >> bit & 1)

    def inet_assign_bit(self, bit: int, on: bool) -> None:
        """Set or clear inet flag `bit`."""
        if on:
            self.inet_flags |= 1 << bit
        else:
            self.inet_flags &= ~(1 << bit)


def inet_sk_state_store(sk: InetSock, state: int) -> None:
    """Store the state and tell who listens."""
    trace = sk.sk_net.kernel.trace
    if trace is not None:
        trace.inet_sock_set_state(sk, sk.sk_state, state)
    sk.sk_state = state
