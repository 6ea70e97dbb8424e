"""Two hosts on a veth pair: neighbours, errors, fragments, forwarding, captures."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.ipworld import Recorder, host, send4, send6, veth_hosts
from twinsock.kernel.drivers.veth import veth_newlink
from twinsock.kernel.net.core.capture import Capture, MemorySink
from twinsock.kernel.net.core.dev import dev_close, dev_open, dev_set_qdisc
from twinsock.kernel.net.core.net_namespace import Net, put_net, setup_net
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow
from twinsock.kernel.net.sched.sch_netem import NetemQdisc
from twinsock.uapi import snmp
from twinsock.uapi.errno import EMSGSIZE, ENETUNREACH
from twinsock.uapi.rtnetlink import NUD_FAILED, NUD_REACHABLE, NUD_STALE
from twinsock.wire.icmp import Icmphdr
from twinsock.wire.icmp6 import Icmp6hdr
from twinsock.wire.ip import parse_addr
from twinsock.wire.pcapng import parse as parse_pcapng
from twinsock.wire.udp import Udphdr

B4 = parse_addr("10.0.0.2")
B6 = b"\xfd" + bytes(14) + b"\x02"


def test_neighbours_find_each_other_and_packets_wait_for_that() -> None:
    a, left, b, right = veth_hosts()
    got = Recorder()
    b.inet_protos[99] = got
    for i in range(3):
        assert send4(a, B4, b"%d" % i) == 0
    assert got.packets == []
    a.clock.advance_to(a.clock.now_ns)
    assert [skb.payload() for skb in got.packets] == [b"0", b"1", b"2"]
    assert a.init_net.ipv4.arp_tbl is not None and b.init_net.ipv4.arp_tbl is not None
    neigh = a.init_net.ipv4.arp_tbl.lookup(B4.to_bytes(4, "big"), left)
    assert neigh is not None and neigh.nud_state == NUD_REACHABLE and neigh.ha == right.dev_addr
    back = b.init_net.ipv4.arp_tbl.lookup(parse_addr("10.0.0.1").to_bytes(4, "big"), right)
    assert back is not None and back.nud_state == NUD_STALE and back.ha == left.dev_addr


def test_a_silent_neighbour_fails_after_three_questions_and_the_sender_hears_host_unreachable() -> None:
    a, left, _b, _right = veth_hosts()
    errors = Recorder()
    a.inet_protos[99] = errors
    assert send4(a, parse_addr("10.0.0.77"), b"12345678") == 0
    tx = left.stats.tx_packets
    a.clock.advance_to(a.clock.now_ns + 5_000_000_000)
    assert left.stats.tx_packets - tx == 2  # two more after the one at once
    [(quote, type_, code, _info)] = errors.errors
    assert (type_, code) == (3, 1) and quote.nh4 is not None and quote.nh4.daddr == parse_addr("10.0.0.77")
    assert quote.outer is not None and quote.outer.nh4 is not None and quote.outer.nh4.saddr == parse_addr("10.0.0.1")
    assert a.init_net.ipv4.arp_tbl is not None
    neigh = a.init_net.ipv4.arp_tbl.lookup(parse_addr("10.0.0.77").to_bytes(4, "big"), left)
    assert neigh is not None and neigh.nud_state == NUD_FAILED


def test_echo_over_ipv6_resolves_by_neighbour_discovery() -> None:
    a, _left, b, _right = veth_hosts()
    answers = Recorder()
    a.ping_hook6 = answers
    assert send6(a, B6, b"ping", 58, Icmp6hdr(128, 0, 1)) == 0
    a.clock.advance_to(a.clock.now_ns)
    [reply] = answers.packets
    assert reply.payload() == b"ping" and reply.nh6 is not None and reply.nh6.saddr == B6
    assert b.init_net.icmp6msg_statistics[135] >= 1


def test_link_local_addresses_pass_duplicate_detection_and_answer() -> None:
    a, left, _b, right = veth_hosts()
    assert right.ip6_ptr is not None
    target = right.ip6_ptr.addr_list[-1].addr
    assert target[:2] == b"\xfe\x80"
    answers = Recorder()
    a.ping_hook6 = answers
    assert send6(a, target, b"ping", 58, Icmp6hdr(128, 0, 1), left.ifindex) == 0
    a.clock.advance_to(a.clock.now_ns)
    assert [skb.payload() for skb in answers.packets] == [b"ping"]


def test_a_large_datagram_travels_in_fragments_and_arrives_whole() -> None:
    a, _left, b, _right = veth_hosts()
    got = Recorder()
    b.inet_protos[17] = got
    payload = bytes(range(256)) * 20
    assert send4(a, B4, payload, 17, Udphdr(1, 2)) == 0
    a.clock.advance_to(a.clock.now_ns)
    [packet] = got.packets
    assert packet.payload()[8:] == payload
    assert a.init_net.ip_statistics[snmp.IPSTATS_MIB_FRAGCREATES] == 4
    assert b.init_net.ip_statistics[snmp.IPSTATS_MIB_REASMOKS] == 1
    assert b.init_net.ipv4.fqdir is not None and b.init_net.ipv4.fqdir.mem == 0


def test_df_refuses_what_is_too_long_for_the_path() -> None:
    a, _left, _b, _right = veth_hosts()
    assert send4(a, B4, bytes(2000), pmtudisc=2) == -EMSGSIZE


def test_a_device_that_goes_down_takes_its_routes_along() -> None:
    a, left, _b, _right = veth_hosts()
    held = ip_route_output_flow(a.init_net, Flowi4(B4), None)[1]
    assert held is not None and held.check()
    dev_close(left)
    assert not held.check()
    assert ip_route_output_flow(a.init_net, Flowi4(B4), None)[0] != 0
    dev_open(left)
    assert ip_route_output_flow(a.init_net, Flowi4(B4), None)[0] == 0


def test_netem_delays_and_the_same_seed_gives_the_same_times() -> None:
    def arrivals(seed: int) -> list[int]:
        a, left, b, _right = veth_hosts(seed)
        send4(a, B4, b"first")
        a.clock.advance_to(a.clock.now_ns)
        netem = NetemQdisc(left)
        netem.latency_ns = 50_000_000
        netem.jitter_ns = 10_000_000
        dev_set_qdisc(left, netem)
        got = Recorder()
        b.inet_protos[99] = got
        start = a.clock.now_ns
        times = []
        for i in range(20):
            send4(a, B4, b"%d" % i)
        while len(got.packets) < 20:
            before = len(got.packets)
            assert a.clock.run_next()
            times.extend([a.clock.now_ns - start] * (len(got.packets) - before))
        return times

    first = arrivals(5)
    assert first == arrivals(5) and first != arrivals(6)
    assert first[0] >= 40_000_000 and first[-1] <= 60_000_000


@pytest.mark.needs("tshark", "capinfos")
@pytest.mark.slow
def test_captures_open_in_wireshark_without_a_complaint(tmp_path: Path) -> None:
    a, left, _b, _right = veth_hosts()
    sink = MemorySink()
    capture = Capture(sink)
    capture.attach(left, "a:eth0")
    lo = a.init_net.loopback_dev
    assert lo is not None
    capture.attach(lo)
    send4(a, B4, b"ping", 1, Icmphdr(8, 0, 1))
    send4(a, parse_addr("127.0.0.1"), b"hello", 17, Udphdr(1000, 2000))
    send6(a, B6, b"ping", 58, Icmp6hdr(128, 0, 1))
    a.clock.advance_to(a.clock.now_ns)
    path = tmp_path / "twin.pcapng"
    path.write_bytes(sink.getvalue())
    tshark = shutil.which("tshark")
    assert tshark is not None
    command = [tshark, "-r", str(path), "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "fields"]
    done = subprocess.run([*command, "-e", "_ws.expert", "-e", "frame.protocols"], capture_output=True, text=True, check=True)
    assert "arp" in done.stdout and "icmpv6" in done.stdout and "udp" in done.stdout
    assert "hecksum" not in done.stdout and "alformed" not in done.stdout
    info = subprocess.run(["capinfos", str(path)], capture_output=True, text=True, check=True)
    assert "pcapng" in info.stdout


def test_a_capture_names_interfaces_directions_and_comments() -> None:
    a, left, _b, _right = veth_hosts()
    sink = MemorySink()
    capture = Capture(sink)
    capture.attach(left, "a:eth0")
    netem = NetemQdisc(left)
    netem.duplicate = (1 << 32) - 1
    dev_set_qdisc(left, netem)
    send4(a, B4, b"12345678")
    a.clock.advance_to(a.clock.now_ns)
    capture.detach()
    send4(a, B4, b"12345678")
    parsed = parse_pcapng(sink.getvalue())
    assert parsed is not None
    interfaces, packets = parsed
    assert interfaces == [("a:eth0", 1)]
    assert [packet.direction for packet in packets[:3]] == [2, 2, 1]  # the question, its duplicate, an answer
    assert sum(packet.comment == "netem: duplicate" for packet in packets) >= 1
    assert left.ptype_all is None


def test_a_namespace_that_ends_takes_its_devices_and_their_other_ends_along() -> None:
    kernel = host()
    net = Net(kernel, kernel.init_user_ns)
    setup_net(net)
    err, near, _far = veth_newlink(kernel.init_net, "v0", net, "v1")
    assert err == 0 and near is not None and dev_open(near) == 0
    assert inet_insert_ifa(near, InIfaddr(parse_addr("10.9.0.1"), 24)) == 0
    put_net(net)
    assert [dev.name for dev in kernel.init_net.dev_base] == ["lo"] and net.dev_base == []
    assert ip_route_output_flow(kernel.init_net, Flowi4(parse_addr("10.9.0.2")), None)[0] == -ENETUNREACH
