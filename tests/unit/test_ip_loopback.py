"""A packet's way through `lo`."""

from tests.unit.ipworld import Recorder, host
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import Proto
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.ip_output import ip_queue_xmit
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow
from twinsock.uapi import errno, snmp
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_LOCAL
from twinsock.wire.icmp import Icmphdr
from twinsock.wire.ip import IP_DF, parse_addr
from twinsock.wire.udp import Udphdr

LOOPBACK = parse_addr("127.0.0.1")


def test_a_packet_of_a_connected_socket_comes_back_through_lo() -> None:
    kernel = host()
    net = kernel.init_net
    got = Recorder()
    kernel.inet_protos[17] = got
    sk = InetSock(net, 2, Proto("TEST", 0), 2, 17)
    sk.inet_saddr = LOOPBACK
    sk.sk_daddr = LOOPBACK
    skb = SkBuff(b"hello")
    skb.h = Udphdr(1000, 2000)
    assert ip_queue_xmit(sk, skb, None) == 0
    [packet] = got.packets
    assert packet.h is skb.h and packet.payload() == b"hello"
    assert packet.nh4 is not None and packet.nh4.frag_off == IP_DF and packet.nh4.ttl == 64
    assert packet.dev is net.loopback_dev
    mib = net.ip_statistics
    assert mib[snmp.IPSTATS_MIB_INRECEIVES] == mib[snmp.IPSTATS_MIB_INDELIVERS] == mib[snmp.IPSTATS_MIB_OUTREQUESTS] == 1
    assert mib[snmp.IPSTATS_MIB_INOCTETS] == mib[snmp.IPSTATS_MIB_OUTOCTETS] == 33
    assert sk.sk_dst_cache is not None and sk.sk_dst_cache.type == RTN_LOCAL


def test_without_a_handler_the_sender_hears_protocol_unreachable() -> None:
    kernel = host()
    net = kernel.init_net
    sk = InetSock(net, 2, Proto("TEST", 0), 3, 99)
    sk.inet_saddr = LOOPBACK
    sk.sk_daddr = LOOPBACK
    skb = SkBuff(b"12345678")
    assert ip_queue_xmit(sk, skb, None) == 0
    assert net.ip_statistics[snmp.IPSTATS_MIB_INUNKNOWNPROTOS] == 1
    assert net.icmp_statistics[snmp.ICMP_MIB_OUTDESTUNREACHS] == 1
    assert net.icmp_statistics[snmp.ICMP_MIB_INDESTUNREACHS] == 1


def test_an_echo_request_is_answered() -> None:
    kernel = host()
    net = kernel.init_net
    answers = Recorder()
    kernel.ping_hook4 = answers
    sk = InetSock(net, 2, Proto("TEST", 0), 3, 1)
    sk.inet_saddr = LOOPBACK
    sk.sk_daddr = LOOPBACK
    skb = SkBuff(b"ping")
    skb.h = Icmphdr(8, 0, 0x12340001)
    ip_queue_xmit(sk, skb, None)
    [reply] = answers.packets
    assert isinstance(reply.h, Icmphdr) and reply.h.id() == 0x1234 and reply.payload() == b"ping"


def test_route_failures_have_linux_errnos() -> None:
    net = host().init_net
    assert ip_route_output_flow(net, Flowi4(parse_addr("192.0.2.1")), None)[0] == -errno.ENETUNREACH
    assert ip_route_output_flow(net, Flowi4(LOOPBACK, parse_addr("192.0.2.7")), None)[0] == -errno.ENETUNREACH
    assert ip_route_output_flow(net, Flowi4(LOOPBACK, oif=7), None)[0] == -errno.ENODEV
    flow = Flowi4(0)
    err, rt = ip_route_output_flow(net, flow, None)
    assert err == 0 and rt is not None and flow.daddr == flow.saddr == LOOPBACK
    err, rt = ip_route_output_flow(net, Flowi4(parse_addr("127.255.255.255")), None)
    assert rt is not None and rt.type == RTN_BROADCAST
    flow = Flowi4(parse_addr("127.9.9.9"))
    err, rt = ip_route_output_flow(net, flow, None)
    assert rt is not None and rt.type == RTN_LOCAL and flow.saddr == LOOPBACK and rt.mtu == 65535 and rt.advmss() == 65495
