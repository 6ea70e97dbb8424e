"""Hosts behind a router: forwarding, errors on the way, path MTU, addresses and routes; and what the network layer leaves out."""

from tests.unit.ipworld import Recorder, host, send4, send6, veth_hosts
from twinsock.kernel.drivers.veth import VethDev, veth_newlink
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import dev_get_by_name, dev_open, dev_set_mtu
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_del_ifa, inet_forward_change, inet_insert_ifa
from twinsock.kernel.net.ipv4.fib_frontend import fib_delroute, fib_newroute, inet_addr_type
from twinsock.kernel.net.ipv4.fib_table import FibConfig
from twinsock.kernel.net.ipv4.ip_output import datagram_truesize
from twinsock.kernel.net.ipv4.route import Flowi4, Rtable, ip_route_output_flow
from twinsock.kernel.net.ipv6.addrconf import inet6_addr_add, ipv6_chk_addr
from twinsock.kernel.time.timer import Clock
from twinsock.uapi import snmp
from twinsock.uapi.errno import EADDRNOTAVAIL, EEXIST, EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV, ESRCH
from twinsock.uapi.netlink import NLM_F_CREATE, NLM_F_REPLACE
from twinsock.uapi.rtnetlink import IFA_F_TENTATIVE, NUD_STALE, RTAX_MAX, RTAX_MTU, RTN_BROADCAST, RTN_LOCAL, RTN_UNICAST, RTN_UNREACHABLE
from twinsock.wire.icmp import Icmphdr
from twinsock.wire.ip import Iphdr, parse_addr
from twinsock.wire.udp import Udphdr

A, B = parse_addr("10.0.0.1"), parse_addr("10.0.1.1")


def route(net_prefix: str, plen: int, gw: str = "", oif: int = 0) -> FibConfig:
    cfg = FibConfig(parse_addr(net_prefix), plen)
    cfg.gw = parse_addr(gw) if gw else 0
    cfg.oif = oif
    return cfg


def chain() -> tuple[Kernel, Kernel, Kernel, VethDev]:
    """Make a (10.0.0.1) -- router -- b (10.0.1.1); the device is the router's towards b."""
    clock = Clock()
    a, r, b = host(clock, 1), host(clock, 2), host(clock, 3)
    towards_b: VethDev | None = None
    for i, end in enumerate((a, b)):
        err, near, far = veth_newlink(end.init_net, "eth0", r.init_net, f"eth{i}")
        assert err == 0 and near is not None and far is not None
        assert inet_insert_ifa(near, InIfaddr(10 << 24 | i << 8 | 1, 24)) == 0
        assert inet_insert_ifa(far, InIfaddr(10 << 24 | i << 8 | 254, 24)) == 0
        assert dev_open(near) == 0 and dev_open(far) == 0
        assert fib_newroute(end.init_net, route("0.0.0.0", 0, f"10.0.{i}.254")) == 0
        towards_b = far
    inet_forward_change(r.init_net, 1)
    assert towards_b is not None
    return a, r, b, towards_b


def settle(kernel: Kernel) -> None:
    kernel.clock.advance_to(kernel.clock.now_ns + 1_000_000)


def test_a_router_passes_packets_on_and_takes_one_from_the_ttl() -> None:
    a, r, b, _dev = chain()
    got = Recorder()
    b.inet_protos[99] = got
    assert send4(a, B, b"hello") == 0
    settle(a)
    [packet] = got.packets
    assert packet.payload() == b"hello" and packet.nh4 is not None and packet.nh4.ttl == 63
    assert r.init_net.ip_statistics[snmp.IPSTATS_MIB_FORWDATAGRAMS] == 1


def test_path_mtu_is_learnt_from_a_router_and_expires_after_ten_minutes() -> None:
    a, _r, b, towards_b = chain()
    assert dev_set_mtu(towards_b, 1200) == 0
    got = Recorder()
    b.inet_protos[1] = got
    errors = Recorder()
    a.inet_protos[99] = errors
    held = ip_route_output_flow(a.init_net, Flowi4(B), None)[1]
    assert isinstance(held, Rtable) and held.mtu == 1500
    assert send4(a, B, bytes(1300), pmtudisc=2) == 0
    settle(a)
    [(_quote, type_, code, mtu)] = errors.errors
    assert (type_, code, mtu) == (3, 4, 1200)
    held.update_pmtu(mtu)
    assert held.mtu == 1200 and not held.locked(RTAX_MTU)
    a.clock.advance_to(a.clock.now_ns + 600_000_000_000)
    assert held.mtu == 1500


def test_a_path_mtu_below_552_locks_the_route_there() -> None:
    a, _r, _b, _dev = chain()
    rt = ip_route_output_flow(a.init_net, Flowi4(B), None)[1]
    assert rt is not None
    rt.update_pmtu(300)
    assert rt.mtu == 552 and rt.locked(RTAX_MTU)


def test_routes_are_added_replaced_and_deleted_with_linux_errnos() -> None:
    a, left, _b, _right = veth_hosts()
    net = a.init_net
    assert fib_newroute(net, route("192.0.2.0", 24, "10.0.0.2")) == 0
    assert fib_newroute(net, route("192.0.2.0", 24, "10.0.0.3")) == -EEXIST
    replaced = route("192.0.2.0", 24, "10.0.0.3")
    replaced.nlflags = NLM_F_CREATE | NLM_F_REPLACE
    assert fib_newroute(net, replaced) == 0
    rt = ip_route_output_flow(net, Flowi4(parse_addr("192.0.2.1")), None)[1]
    assert rt is not None and rt.rt_gateway == parse_addr("10.0.0.3")
    replaced.metrics = [0] * (RTAX_MAX + 1)
    replaced.metrics[RTAX_MTU] = 1400
    assert fib_newroute(net, replaced) == 0
    assert not rt.check()
    rt = ip_route_output_flow(net, Flowi4(parse_addr("192.0.2.1")), None)[1]
    assert rt is not None and rt.mtu == 1400
    assert fib_newroute(net, route("192.0.2.1", 24, "10.0.0.2")) == -EINVAL
    assert fib_newroute(net, route("198.51.100.0", 24, "172.16.0.1")) == -ENETUNREACH
    assert fib_newroute(net, route("198.51.100.0", 24, oif=77)) == -ENODEV
    better = route("192.0.2.0", 24, oif=left.ifindex)
    better.priority = 5
    assert fib_newroute(net, better) == 0
    assert fib_delroute(net, route("192.0.2.0", 24, "10.0.0.3")) == 0
    rt = ip_route_output_flow(net, Flowi4(parse_addr("192.0.2.1")), None)[1]
    assert rt is not None and rt.rt_gateway == 0
    assert fib_delroute(net, route("203.0.113.0", 24)) == -ESRCH
    refusal = route("203.0.113.0", 24)
    refusal.type = RTN_UNREACHABLE
    assert fib_newroute(net, refusal) == 0
    assert ip_route_output_flow(net, Flowi4(parse_addr("203.0.113.1")), None)[0] == -EHOSTUNREACH


def test_deleting_a_primary_address_takes_its_secondaries_along() -> None:
    a, left, _b, _right = veth_hosts()
    net = a.init_net
    assert inet_insert_ifa(left, InIfaddr(parse_addr("10.0.0.5"), 24)) == 0
    assert inet_insert_ifa(left, InIfaddr(parse_addr("10.0.0.5"), 24)) == -EEXIST
    assert inet_addr_type(net, parse_addr("10.0.0.5")) == RTN_LOCAL
    assert inet_addr_type(net, parse_addr("10.0.0.255")) == RTN_BROADCAST
    assert inet_del_ifa(left, parse_addr("10.0.0.77"), 24) == -EADDRNOTAVAIL
    assert inet_del_ifa(left, A, 24) == 0
    for text in ("10.0.0.1", "10.0.0.5", "10.0.0.255"):
        assert inet_addr_type(net, parse_addr(text)) == RTN_UNICAST, text
    assert ip_route_output_flow(net, Flowi4(parse_addr("10.0.0.2")), None)[0] == -ENETUNREACH


def test_an_ipv6_address_is_tentative_until_nobody_has_answered() -> None:
    a, left, _b, right = veth_hosts()
    free, taken = b"\xfd" + bytes(14) + b"\x33", b"\xfd" + bytes(14) + b"\x02"
    assert inet6_addr_add(left, free, 64) == 0
    assert inet6_addr_add(left, taken, 64) == 0
    assert not ipv6_chk_addr(a.init_net, free, None, False)
    a.clock.advance_to(a.clock.now_ns + 3_000_000_000)
    assert ipv6_chk_addr(a.init_net, free, None, False)
    assert not ipv6_chk_addr(a.init_net, taken, None, False)
    assert left.ip6_ptr is not None and right.ip6_ptr is not None
    assert [ifp.flags & IFA_F_TENTATIVE for ifp in left.ip6_ptr.addr_list if ifp.addr == taken] == [IFA_F_TENTATIVE]


def test_datagrams_are_charged_as_measured() -> None:
    # Measured: Linux 6.18, UDP over loopback: a small datagram, one that needs a 2 KiB buffer, an 8 KiB one, a paged one
    for payload, truesize in ((5, 832), (100, 832), (1000, 2304), (1472, 2304), (5000, 8448)):
        assert datagram_truesize(payload + 8, 65535, 20, 0) == truesize
    assert datagram_truesize(40000 + 8, 65535, 20, 0) == 832 + 40000


def test_no_multicast_report_and_no_router_solicitation_leaves_a_host() -> None:
    a, left, _b, _right = veth_hosts()
    a.clock.advance_to(a.clock.now_ns + 60_000_000_000)
    sent = {type_: a.init_net.icmp6msg_statistics[256 + type_] for type_ in (131, 133, 143)}
    assert sent == {131: 0, 133: 0, 143: 0} and left.ip_ptr is not None and len(left.ip_ptr.mc_list) == 1


def test_a_redirect_changes_no_route() -> None:
    a, _left, _b, _right = veth_hosts()
    net = a.init_net
    assert fib_newroute(net, route("192.0.2.0", 24, "10.0.0.2")) == 0
    lo = dev_get_by_name(net, "lo")
    assert lo is not None
    quote = Iphdr(A, parse_addr("192.0.2.1"), 99).emit(8) + bytes(8)
    send4(a, A, quote, 1, Icmphdr(5, 1, parse_addr("10.0.0.3")))
    assert net.icmp_statistics[snmp.ICMP_MIB_INREDIRECTS] == 1
    rt = ip_route_output_flow(net, Flowi4(parse_addr("192.0.2.1")), None)[1]
    assert rt is not None and rt.rt_gateway == parse_addr("10.0.0.2")


def test_a_router_records_its_address_and_passes_labels_on_unread() -> None:
    a, _r, b, _dev = chain()
    got = Recorder()
    b.inet_protos[17] = got
    rt = ip_route_output_flow(a.init_net, Flowi4(B), None)[1]
    assert rt is not None
    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.net.ipv4.ip_output import ip_local_out

    skb = SkBuff(b"x")
    skb.h, skb.dst, skb.nh4 = Udphdr(1, 2), rt, Iphdr(A, B, 17)
    skb.nh4.options = b"\x07\x07\x04\0\0\0\0\0" + b"\x86\x06\0\0\0\1\0\0"
    assert ip_local_out(a.init_net, skb) == 0
    settle(a)
    [packet] = got.packets
    assert packet.nh4 is not None and packet.nh4.options == b"\x07\x07\x08\x0a\0\1\xfe\0" + b"\x86\x06\0\0\0\1\0\0"


def test_stale_neighbours_are_kept() -> None:
    a, left, _b, _right = veth_hosts()
    assert send6(a, b"\xfd" + bytes(14) + b"\x02", b"x") == 0
    a.clock.advance_to(a.clock.now_ns + 600_000_000_000)
    assert a.init_net.ipv6.nd_tbl is not None
    neigh = a.init_net.ipv6.nd_tbl.lookup(b"\xfd" + bytes(14) + b"\x02", left)
    assert neigh is not None and neigh.nud_state == NUD_STALE
