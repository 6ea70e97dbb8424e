"""A packet's way through `lo`, IPv6."""

from tests.unit.ipworld import Recorder, host
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import Proto
from twinsock.kernel.net.ipv4.inet_sock import InetSock, Ipv6Pinfo
from twinsock.kernel.net.ipv6.addrconf import LOOPBACK6
from twinsock.kernel.net.ipv6.ip6_output import inet6_csk_xmit
from twinsock.kernel.net.ipv6.route import Flowi6, ip6_dst_lookup_flow
from twinsock.uapi import errno, snmp
from twinsock.wire.icmp6 import Icmp6hdr
from twinsock.wire.ip6 import parse_addr
from twinsock.wire.udp import Udphdr


def _sock(kernel_net: object, proto: int) -> InetSock:
    sk = InetSock(kernel_net, 10, Proto("TEST", 0), 2, proto)  # type: ignore[arg-type]
    sk.pinet6 = Ipv6Pinfo()
    sk.sk_v6_daddr = LOOPBACK6
    sk.sk_v6_rcv_saddr = LOOPBACK6
    return sk


def test_a_packet_of_a_connected_socket_comes_back_through_lo() -> None:
    kernel = host()
    net = kernel.init_net
    got = Recorder()
    kernel.inet6_protos[17] = got
    skb = SkBuff(b"hello")
    skb.h = Udphdr(1000, 2000)
    assert inet6_csk_xmit(_sock(net, 17), skb) == 0
    [packet] = got.packets
    assert packet.h is skb.h and packet.payload() == b"hello"
    mib = net.ip6_statistics
    assert mib[snmp.IPSTATS_MIB_INRECEIVES] == mib[snmp.IPSTATS_MIB_INDELIVERS] == mib[snmp.IPSTATS_MIB_OUTREQUESTS] == 1
    assert mib[snmp.IPSTATS_MIB_INOCTETS] == mib[snmp.IPSTATS_MIB_OUTOCTETS] == 53


def test_an_echo_request_is_answered_and_an_unknown_protocol_refused() -> None:
    kernel = host()
    net = kernel.init_net
    answers = Recorder()
    kernel.ping_hook6 = answers
    skb = SkBuff(b"ping")
    skb.h = Icmp6hdr(128, 0, 0x12340001)
    inet6_csk_xmit(_sock(net, 58), skb)
    [reply] = answers.packets
    assert isinstance(reply.h, Icmp6hdr) and reply.h.type == 129 and reply.payload() == b"ping"
    assert inet6_csk_xmit(_sock(net, 99), SkBuff(b"12345678")) == 0
    assert net.ip6_statistics[snmp.IPSTATS_MIB_INUNKNOWNPROTOS] == 1
    assert net.icmp6msg_statistics[4] == 1


def test_route_failures_have_linux_errnos() -> None:
    net = host().init_net
    somewhere = parse_addr("2001:db8::1")
    assert somewhere is not None
    assert ip6_dst_lookup_flow(net, Flowi6(somewhere), None)[0] == -errno.ENETUNREACH
    flow = Flowi6(LOOPBACK6)
    err, rt = ip6_dst_lookup_flow(net, flow, None)
    assert err == 0 and rt is not None and flow.saddr == LOOPBACK6 and rt.mtu == 65536 - 0 and rt.advmss() == 65476
