"""Hand-made packets: replies and counters of the twin equal the live kernel's."""

import itertools
from collections.abc import Iterator

import pytest

from tests.dropwire import HostReasons
from tests.netns import netns_missing
from tests.parity.ipwire import Outcome, Step, on_host, on_twin, wire6
from twinsock.wire.arp import ArpPacket
from twinsock.wire.ethernet import Ethhdr
from twinsock.wire.icmp import Icmphdr
from twinsock.wire.icmp6 import Icmp6hdr
from twinsock.wire.ip import IP_DF, IP_MF, Iphdr, parse_addr
from twinsock.wire.ip6 import FragHdr, Ipv6hdr
from twinsock.wire.l4 import pseudo_sum4, pseudo_sum6
from twinsock.wire.udp import Udphdr

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(netns_missing(root_needed=True)), reason=netns_missing(root_needed=True))]


def ip4(
    body: bytes = b"",
    src: str = "10.0.0.9",
    dst: str = "10.0.0.1",
    proto: int = 17,
    ttl: int = 64,
    frag: int = 0,
    ident: int = 7,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    iph = Iphdr(parse_addr(src), parse_addr(dst), proto)
    iph.ttl, iph.frag_off, iph.id, iph.tos, iph.options = ttl, frag, ident, tos, options
    return iph.emit(len(body)) + body


def ip6(body: bytes = b"", src: str = "fd00::9", dst: str = "fd00::1", nexthdr: int = 17, hop_limit: int = 64, tclass: int = 0) -> bytes:
    hdr = Ipv6hdr(wire6(src), wire6(dst), nexthdr)
    hdr.hop_limit, hdr.tclass = hop_limit, tclass
    return hdr.emit(len(body)) + body


def udp(size: int = 4, src: str = "10.0.0.9", dst: str = "10.0.0.1", port: int = 9999) -> bytes:
    return Udphdr(1234, port).to_bytes(bytes(size), pseudo_sum4(parse_addr(src), parse_addr(dst), 17, size + 8))


def echo(size: int = 8, type_: int = 8) -> bytes:
    return Icmphdr(type_, 0, 0x00010002).to_bytes((bytes(range(256)) * (size // 256 + 1))[:size], 0)


def icmp4(type_: int, code: int, un: int, body: bytes) -> bytes:
    return Icmphdr(type_, code, un).to_bytes(body, 0)


def icmp6(type_: int, code: int, un: int, body: bytes, src: str = "fd00::9", dst: str = "fd00::1") -> bytes:
    return Icmp6hdr(type_, code, un).to_bytes(body, pseudo_sum6(wire6(src), wire6(dst), 58, len(body) + 8))


def frags(body: bytes, cuts: list[int], order: list[int] | None = None, **kwargs: object) -> list[Step]:
    """Cut an IPv4 payload at the given offsets."""
    edges = [0, *cuts, len(body)]
    pieces: list[Step] = []
    for start, end in itertools.pairwise(edges):
        more = IP_MF if end < len(body) else 0
        pieces.append(("in", "tun0", ip4(body[start:end], frag=start // 8 | more, **kwargs)))  # type: ignore[arg-type]
    return [pieces[i] for i in order] if order else pieces


def frag6(body: bytes, start: int, more: bool, nexthdr: int = 58, ident: int = 77) -> Step:
    return ("in", "tun0", ip6(FragHdr(nexthdr, start, more, ident).emit() + body, nexthdr=44))


def into(data: bytes, dev: str = "tun0") -> Step:
    return ("in", dev, data)


def bad_sum(data: bytes) -> bytes:
    return data[:10] + bytes((data[10] ^ 0x55,)) + data[11:]


FORWARD: Step = ("sysctl", "net/ipv4/ip_forward", 1)
FORWARD6: Step = ("sysctl", "net/ipv6/conf/all/forwarding", 1)
ELSEWHERE = "10.0.1.9"

CASES: dict[str, list[Step]] = {
    # IPv4, header checks
    "echo": [into(ip4(echo(), proto=1))],
    "echo-empty": [into(ip4(echo(0), proto=1))],
    "echo-tos-ecn": [into(ip4(echo(), proto=1, tos=0x1D)), into(ip4(echo(), proto=1, tos=2)), into(ip4(echo(), proto=1, tos=3))],
    "echo-df": [into(ip4(echo(), proto=1, frag=IP_DF))],
    "echo-ttl-1": [into(ip4(echo(), proto=1, ttl=1))],
    "echo-ttl-0": [into(ip4(echo(), proto=1, ttl=0))],
    "echo-1472": [into(ip4(echo(1472), proto=1))],
    "echo-trailing-bytes": [into(ip4(echo(), proto=1) + b"trailer")],
    "echo-to-127": [into(ip4(echo(), proto=1, dst="127.0.0.1"))],
    "echo-from-127": [into(ip4(echo(), proto=1, src="127.0.0.1"))],
    "echo-from-0": [into(ip4(echo(), proto=1, src="0.0.0.0"))],
    "echo-from-multicast": [into(ip4(echo(), proto=1, src="224.0.0.9"))],
    "echo-from-broadcast": [into(ip4(echo(), proto=1, src="255.255.255.255"))],
    "echo-from-own-address": [into(ip4(echo(), proto=1, src="10.0.0.1"))],
    "echo-from-subnet-broadcast": [into(ip4(echo(), proto=1, src="10.0.0.255"))],
    "echo-from-unroutable": [into(ip4(echo(), proto=1, src="192.0.2.1"))],
    "echo-from-other-link": [into(ip4(echo(), proto=1, src="10.0.1.9"))],
    "echo-to-0": [into(ip4(echo(), proto=1, dst="0.0.0.0"))],
    "echo-to-other-own-address": [into(ip4(echo(), proto=1, dst="10.0.1.1"))],
    "echo-to-broadcast": [into(ip4(echo(), proto=1, dst="10.0.0.255"))],
    "echo-to-limited-broadcast": [into(ip4(echo(), proto=1, dst="255.255.255.255"))],
    "echo-to-broadcast-answered": [("sysctl", "net/ipv4/icmp_echo_ignore_broadcasts", 0), into(ip4(echo(), proto=1, dst="10.0.0.255"))],
    "echo-to-all-hosts": [("sysctl", "net/ipv4/icmp_echo_ignore_broadcasts", 0), into(ip4(echo(), proto=1, dst="224.0.0.1"))],
    "echo-to-unjoined-group": [into(ip4(echo(), proto=1, dst="239.1.1.1"))],
    "echo-to-class-e": [into(ip4(echo(), proto=1, dst="240.0.0.1"))],
    "echo-ignored": [("sysctl", "net/ipv4/icmp_echo_ignore_all", 1), into(ip4(echo(), proto=1))],
    "echo-bad-icmp-checksum": [into(ip4(echo()[:2] + b"\0\0" + echo()[4:], proto=1))],
    "header-bad-checksum": [into(bad_sum(ip4(echo(), proto=1)))],
    "header-truncated": [into(ip4(echo(), proto=1)[:-3])],
    "header-short-ihl": [into(b"\x44" + ip4(echo(), proto=1)[1:])],
    "header-19-bytes": [into(ip4()[:19])],
    "header-total-length-too-small": [into(b"\x45\0\0\x10" + ip4(echo(), proto=1)[4:])],
    "ecn-counted-before-checksum": [into(bad_sum(ip4(echo(), proto=1, tos=3)))],
    "icmp-short": [into(ip4(b"\x08\0\0", proto=1))],
    "icmp-unknown-type": [into(ip4(icmp4(40, 0, 0, b"12345678"), proto=1)), into(ip4(icmp4(7, 0, 0, b"12345678"), proto=1))],
    "icmp-timestamp-short": [into(ip4(icmp4(13, 0, 0, b"12"), proto=1))],
    "icmp-address-mask": [into(ip4(icmp4(17, 0, 0, b"1234"), proto=1))],
    "icmp-info-request": [into(ip4(icmp4(15, 0, 0, b"1234"), proto=1))],
    "icmp-source-quench": [into(ip4(icmp4(4, 0, 0, ip4(udp(), "10.0.0.1", "10.0.0.9", proto=99)), proto=1))],
    "icmp-redirect": [into(ip4(icmp4(5, 1, 0x0A000008, ip4(udp(), "10.0.0.1", "192.0.2.9", proto=99)), proto=1))],
    "icmp-unreachable-for-udp": [into(ip4(icmp4(3, 3, 0, ip4(udp(), "10.0.0.1", "10.0.0.9", proto=99)), proto=1))],
    "icmp-unreachable-unknown-code": [into(ip4(icmp4(3, 16, 0, ip4(udp(), "10.0.0.1", "10.0.0.9", proto=99)), proto=1))],
    "icmp-unreachable-short-quote": [into(ip4(icmp4(3, 3, 0, ip4(udp(), "10.0.0.1", "10.0.0.9", proto=99)[:24]), proto=1))],
    "icmp-unreachable-no-quote": [into(ip4(icmp4(3, 3, 0, b""), proto=1))],
    "icmp-time-exceeded": [into(ip4(icmp4(11, 0, 0, ip4(udp(), "10.0.0.1", "10.0.0.9", proto=99)), proto=1))],
    "icmp-parameter-problem": [into(ip4(icmp4(12, 0, 1 << 24, ip4(udp(), "10.0.0.1", "10.0.0.9", proto=99)), proto=1))],
    "icmp-echo-reply-unasked": [into(ip4(echo(type_=0), proto=1))],
    "icmp-unreachable-broadcast": [into(ip4(icmp4(3, 3, 0, ip4(udp(), "10.0.0.1", "10.0.0.9", proto=99)), proto=1, dst="10.0.0.255"))],
    "frag-needed": [
        into(ip4(icmp4(3, 4, 1000, ip4(udp(), "10.0.0.1", "10.0.0.9", proto=99, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
    ],
    "frag-needed-below-minimum": [
        into(ip4(icmp4(3, 4, 300, ip4(echo(), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
    ],
    "frag-needed-for-reply": [
        into(ip4(icmp4(3, 4, 1000, ip4(echo(1400, 0), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
        into(ip4(echo(968), proto=1)),
        into(ip4(echo(1472), proto=1, src="10.0.0.8")),
    ],
    "frag-needed-for-reply-below-minimum": [
        into(ip4(icmp4(3, 4, 300, ip4(echo(1400, 0), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
    ],
    "frag-needed-for-reply-mtu-0": [
        into(ip4(icmp4(3, 4, 0, ip4(echo(1400, 0), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
    ],
    "frag-needed-larger-than-device": [
        into(ip4(icmp4(3, 4, 9000, ip4(echo(1400, 0), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
    ],
    "frag-needed-ignored": [
        ("sysctl", "net/ipv4/ip_no_pmtu_disc", 2),
        into(ip4(icmp4(3, 4, 1000, ip4(echo(1400, 0), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
    ],
    "frag-needed-for-echo": [
        into(ip4(icmp4(3, 4, 1000, ip4(echo(1400), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
        into(ip4(echo(968), proto=1)),
    ],
    "frag-needed-mtu-0": [
        into(ip4(icmp4(3, 4, 0, ip4(echo(1400), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1)),
        into(ip4(echo(1472), proto=1)),
    ],
    # IPv4, what nobody wants
    "unknown-protocol": [into(ip4(b"12345678", proto=99))],
    "unknown-protocol-long": [into(ip4(bytes(range(256)) * 4, proto=99))],
    "unknown-protocol-broadcast": [into(ip4(b"12345678", proto=99, dst="10.0.0.255"))],
    "unknown-protocol-from-unroutable": [into(ip4(b"12345678", proto=99, src="192.0.2.1"))],
    "unknown-protocol-tos": [into(ip4(b"12345678", proto=99, tos=0xB9))],
    "unknown-protocol-to-other-own-address": [into(ip4(b"12345678", proto=99, dst="10.0.1.1"))],
    "unknown-protocol-flood": [into(ip4(b"12345678", proto=99, ident=i)) for i in range(80)],
    "not-for-us": [into(ip4(udp(), dst="10.0.0.77"))],
    "not-for-us-no-route": [into(ip4(udp(), dst="192.0.2.1"))],
    # IPv4 fragments
    "frags-in-order": frags(echo(3000), [1480, 2960], proto=1),
    "frags-reversed": frags(echo(3000), [1480, 2960], [2, 1, 0], proto=1),
    "frags-with-duplicate": frags(echo(3000), [1480, 2960], [0, 0, 2, 1], proto=1),
    "frags-incomplete": frags(echo(3000), [1480, 2960], [0, 2], proto=1),
    "frags-one-small": frags(echo(100), [64], [0], proto=1),
    "frags-two-queues": [into(ip4(b"x" * 64, frag=IP_MF, ident=i, proto=1)) for i in (1, 2)],
    "frags-overlap": [
        into(ip4(b"x" * 64, frag=IP_MF, proto=1)),
        into(ip4(b"y" * 64, frag=IP_MF | 4, proto=1)),
        into(ip4(b"z" * 8, frag=8, proto=1)),
    ],
    "frags-inside-another": [into(ip4(b"x" * 64, frag=IP_MF, proto=1)), into(ip4(b"y" * 16, frag=IP_MF | 2, proto=1))],
    "frags-end-moves": [into(ip4(b"x" * 16, frag=4, proto=1)), into(ip4(b"x" * 32, frag=8, proto=1))],
    "frags-odd-middle": [into(ip4(b"x" * 13, frag=IP_MF, proto=1)), into(ip4(b"x" * 5, frag=1, proto=1))],
    "frags-empty": [into(ip4(b"", frag=IP_MF, proto=1)), into(ip4(b"", frag=2, proto=1))],
    "frags-too-long": [into(ip4(b"x" * 1480, frag=IP_MF | 8180, proto=1)), into(ip4(b"x" * 800, frag=8100, proto=1))],
    "frags-ping-of-death": [into(ip4(b"x" * (1480 * 8), frag=i * 1480 | IP_MF, proto=1)) for i in range(5)]
    + [into(ip4(b"x" * 8000, frag=7400, proto=1))],
    "frags-ecn-ce": [into(ip4(echo(24)[:16], frag=IP_MF, proto=1, tos=2)), into(ip4(echo(24)[16:], frag=2, proto=1, tos=3))],
    "frags-ecn-mixed": [into(ip4(echo(24)[:16], frag=IP_MF, proto=1, tos=0)), into(ip4(echo(24)[16:], frag=2, proto=1, tos=3))],
    "frags-df": frags(echo(3000), [1480, 2960], proto=1, ident=9),
    "frags-no-memory": [("sysctl", "net/ipv4/ipfrag_low_thresh", 1000), ("sysctl", "net/ipv4/ipfrag_high_thresh", 2000)]
    + [into(ip4(b"x" * 64, frag=IP_MF, ident=i, proto=1)) for i in range(5)],
    "frags-unknown-protocol": frags(bytes(range(64)), [32], proto=99),
    # IPv4 forwarding
    "forward": [FORWARD, into(ip4(udp(), dst=ELSEWHERE))],
    "forward-ttl-1": [FORWARD, into(ip4(udp(), dst=ELSEWHERE, ttl=1))],
    "forward-ttl-2": [FORWARD, into(ip4(udp(), dst=ELSEWHERE, ttl=2))],
    "forward-no-route": [FORWARD, into(ip4(udp(), dst="192.0.2.1"))],
    "forward-unreachable": [FORWARD, ("ip", "route add unreachable 192.0.2.0/24"), into(ip4(udp(), dst="192.0.2.1"))],
    "forward-prohibit": [FORWARD, ("ip", "route add prohibit 192.0.2.0/24"), into(ip4(udp(), dst="192.0.2.1"))],
    "forward-blackhole": [FORWARD, ("ip", "route add blackhole 192.0.2.0/24"), into(ip4(udp(), dst="192.0.2.1"))],
    "forward-gateway": [FORWARD, ("ip", "route add 192.0.2.0/24 via 10.0.1.9"), into(ip4(udp(), dst="192.0.2.1"))],
    "forward-longest-prefix": [
        FORWARD,
        ("ip", "route add 192.0.2.0/24 dev tun1"),
        ("ip", "route add 192.0.2.8/32 dev tun0"),
        into(ip4(udp(), dst="192.0.2.1")),
        into(ip4(udp(), dst="192.0.2.8", src=ELSEWHERE), "tun1"),
    ],
    "forward-fragmenting": [FORWARD, ("ip", "link set tun1 mtu 600"), into(ip4(udp(1400), dst=ELSEWHERE, ident=5))],
    "forward-df-too-big": [FORWARD, ("ip", "link set tun1 mtu 600"), into(ip4(udp(1400), dst=ELSEWHERE, frag=IP_DF))],
    "forward-fragment-of-fragment": [FORWARD, ("ip", "link set tun1 mtu 600"), into(ip4(b"x" * 1200, dst=ELSEWHERE, frag=IP_MF | 10))],
    "forward-broadcast": [FORWARD, into(ip4(udp(), dst="10.0.1.255", proto=99))],
    "forward-multicast": [FORWARD, into(ip4(udp(), dst="239.1.1.1"))],
    "forward-options": [
        FORWARD,
        ("ip", "link set tun1 mtu 600"),
        into(ip4(udp(1400), dst=ELSEWHERE, options=b"\x01\x01\x01\x00", ident=5)),
    ],
    "forward-fragments-untouched": [FORWARD, into(ip4(b"x" * 64, dst=ELSEWHERE, frag=IP_MF))],
    "forward-from-own-address": [FORWARD, into(ip4(udp(), src="10.0.0.1", dst=ELSEWHERE))],
    "rp-filter-strict": [("sysctl", "net/ipv4/conf/all/rp_filter", 1), into(ip4(echo(), proto=1, src="10.0.1.9"))],
    "rp-filter-strict-unroutable": [("sysctl", "net/ipv4/conf/all/rp_filter", 1), into(ip4(echo(), proto=1, src="192.0.2.1"))],
    "rp-filter-loose": [("sysctl", "net/ipv4/conf/all/rp_filter", 2), into(ip4(echo(), proto=1, src="10.0.1.9"))],
    "rp-filter-loose-unroutable": [("sysctl", "net/ipv4/conf/all/rp_filter", 2), into(ip4(echo(), proto=1, src="192.0.2.1"))],
    "accept-local": [("sysctl", "net/ipv4/conf/tun0/accept_local", 1), into(ip4(echo(), proto=1, src="10.0.0.1"))],
    "route-localnet": [("sysctl", "net/ipv4/conf/tun0/route_localnet", 1), into(ip4(echo(), proto=1, dst="127.0.0.1"))],
    "no-ratelimit": [("sysctl", "net/ipv4/icmp_ratelimit", 0), *[into(ip4(b"12345678", proto=99, ident=i)) for i in range(20)]],
    "errors-from-inbound-address": [
        ("sysctl", "net/ipv4/icmp_errors_use_inbound_ifaddr", 1),
        FORWARD,
        into(ip4(udp(), dst=ELSEWHERE, ttl=1)),
    ],
    # IPv6
    "echo6": [into(ip6(icmp6(128, 0, 5, b"abcdefgh"), nexthdr=58))],
    "echo6-tclass": [into(ip6(icmp6(128, 0, 5, b"abcdefgh"), nexthdr=58, tclass=0x2A))],
    "echo6-hop-limit-1": [into(ip6(icmp6(128, 0, 5, b"abcdefgh"), nexthdr=58, hop_limit=1))],
    "echo6-1432": [into(ip6(icmp6(128, 0, 5, bytes(1452)), nexthdr=58))],
    "echo6-bad-checksum": [into(ip6(b"\x80\0\0\0" + bytes(8), nexthdr=58))],
    "echo6-short": [into(ip6(b"\x80\0", nexthdr=58))],
    "echo6-truncated": [into(ip6(icmp6(128, 0, 5, b"abcdefgh"), nexthdr=58)[:-2])],
    "echo6-trailing-bytes": [into(ip6(icmp6(128, 0, 5, b"abcdefgh"), nexthdr=58) + b"trailer")],
    "echo6-from-multicast": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", src="ff02::9"), nexthdr=58, src="ff02::9"))],
    "echo6-from-loopback": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", src="::1"), nexthdr=58, src="::1"))],
    "echo6-to-loopback": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="::1"), nexthdr=58, dst="::1"))],
    "echo6-from-unspecified": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", src="::"), nexthdr=58, src="::"))],
    "echo6-from-unroutable": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", src="2001:db8::9"), nexthdr=58, src="2001:db8::9"))],
    "echo6-to-all-nodes": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="ff02::1"), nexthdr=58, dst="ff02::1"))],
    "echo6-to-unjoined-group": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="ff05::77"), nexthdr=58, dst="ff05::77"))],
    "echo6-to-interface-local": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="ff01::1"), nexthdr=58, dst="ff01::1"))],
    "echo6-to-scope-0": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="ff00::1"), nexthdr=58, dst="ff00::1"))],
    "echo6-to-other-own-address": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="fd01::1"), nexthdr=58, dst="fd01::1"))],
    "echo6-to-neighbour": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="fd00::77"), nexthdr=58, dst="fd00::77"))],
    "echo6-to-unroutable": [into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="2001:db8::77"), nexthdr=58, dst="2001:db8::77"))],
    "unknown-protocol6": [into(ip6(b"12345678", nexthdr=99))],
    "unknown-protocol6-long": [into(ip6(bytes(range(256)) * 5, nexthdr=99))],
    "unknown-protocol6-flood": [into(ip6(b"12345678", nexthdr=99)) for _ in range(30)],
    "no-next-header6": [into(ip6(b"12345678", nexthdr=59))],
    "hop-by-hop6": [into(ip6(b"\x3a\0\x01\x04\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=0))],
    "hop-by-hop6-unknown-skip": [into(ip6(b"\x3a\0\x1e\x04\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=0))],
    "hop-by-hop6-unknown-discard": [into(ip6(b"\x3a\0\x5e\x04\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=0))],
    "hop-by-hop6-unknown-complain": [into(ip6(b"\x3a\0\x9e\x04\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=0))],
    "hop-by-hop6-overrun": [into(ip6(b"\x3a\0\x1e\x09\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=0))],
    "dest-options6": [into(ip6(b"\x3a\0\x01\x04\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=60))],
    "dest-options6-unknown-complain": [into(ip6(b"\x3a\0\x9e\x04\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=60))],
    "dest-options6-unknown-protocol": [into(ip6(b"\x63\0\x01\x04\0\0\0\0" + b"12345678", nexthdr=60))],
    "routing6-type-3": [into(ip6(b"\x3a\0\x03\0\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=43))],
    "routing6-unknown-type": [into(ip6(b"\x3a\0\x63\0\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=43))],
    "routing6-type-0": [into(ip6(b"\x3a\0\0\0\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=43))],
    "routing6-type-4": [into(ip6(b"\x3a\0\x04\0\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=43))],
    "routing6-segments-left": [into(ip6(b"\x3a\0\x63\x01\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=43))],
    "hop-by-hop6-late": [into(ip6(b"\0\0\x01\x04\0\0\0\0" + b"\x3a\0\x01\x04\0\0\0\0" + icmp6(128, 0, 5, b"abcdefgh"), nexthdr=60))],
    "icmp6-unknown-error": [into(ip6(icmp6(100, 0, 0, ip6(b"12345678", "fd00::1", "fd00::9", nexthdr=99)), nexthdr=58))],
    "icmp6-unknown-info": [into(ip6(icmp6(200, 0, 0, b"12345678"), nexthdr=58))],
    "icmp6-unreachable": [into(ip6(icmp6(1, 4, 0, ip6(b"12345678", "fd00::1", "fd00::9", nexthdr=99)), nexthdr=58))],
    "icmp6-unreachable-short": [into(ip6(icmp6(1, 4, 0, ip6(b"12345678", "fd00::1", "fd00::9", nexthdr=99)[:44]), nexthdr=58))],
    "icmp6-too-big": [
        into(ip6(icmp6(2, 0, 1300, ip6(icmp6(128, 0, 5, bytes(100)), "fd00::1", "fd00::9", nexthdr=58)), nexthdr=58)),
        into(ip6(icmp6(128, 0, 5, bytes(1400)), nexthdr=58)),
    ],
    "icmp6-too-big-below-1280": [
        into(ip6(icmp6(2, 0, 600, ip6(icmp6(128, 0, 5, bytes(100)), "fd00::1", "fd00::9", nexthdr=58)), nexthdr=58)),
        into(ip6(icmp6(128, 0, 5, bytes(1400)), nexthdr=58)),
    ],
    "frags6": [frag6(icmp6(128, 0, 5, bytes(1600))[:1208], 0, True), frag6(icmp6(128, 0, 5, bytes(1600))[1208:], 1208, False)],
    "frags6-reversed": [frag6(icmp6(128, 0, 5, bytes(600))[304:], 304, False), frag6(icmp6(128, 0, 5, bytes(600))[:304], 0, True)],
    "frags6-incomplete": [frag6(bytes(64), 0, True)],
    "frags6-atomic": [frag6(icmp6(128, 0, 5, bytes(8)), 0, False)],
    "frags6-overlap": [frag6(bytes(64), 0, True), frag6(bytes(64), 32, True)],
    "frags6-duplicate": [frag6(bytes(64), 0, True), frag6(bytes(64), 0, True)],
    "frags6-odd": [frag6(bytes(61), 0, True)],
    "frags6-too-long": [frag6(bytes(1000), 65528, False)],
    "frags6-short-header": [into(ip6(b"\x3a\0\0", nexthdr=44))],
    "forward6": [FORWARD6, into(ip6(b"12345678", dst="fd01::9"))],
    "forward6-hop-limit-1": [FORWARD6, into(ip6(b"12345678", dst="fd01::9", hop_limit=1))],
    "forward6-too-big": [FORWARD6, ("ip", "link set tun1 mtu 1300"), into(ip6(bytes(1400), dst="fd01::9"))],
    "forward6-no-route": [FORWARD6, into(ip6(b"12345678", dst="2001:db8::9"))],
    "forward6-unreachable": [FORWARD6, ("ip", "-6 route add unreachable 2001:db8::/32"), into(ip6(b"12345678", dst="2001:db8::9"))],
    "forward6-prohibit": [FORWARD6, ("ip", "-6 route add prohibit 2001:db8::/32"), into(ip6(b"12345678", dst="2001:db8::9"))],
    "forward6-blackhole": [FORWARD6, ("ip", "-6 route add blackhole 2001:db8::/32"), into(ip6(b"12345678", dst="2001:db8::9"))],
    "forward6-gateway": [FORWARD6, ("ip", "-6 route add 2001:db8::/32 via fd01::9"), into(ip6(b"12345678", dst="2001:db8::9"))],
    "forward6-link-local-source": [FORWARD6, into(ip6(b"12345678", src="fe80::9", dst="fd01::9"))],
    "forward6-off": [into(ip6(b"12345678", dst="fd01::9"))],
    "subnet-router-anycast": [FORWARD6, into(ip6(icmp6(128, 0, 5, b"abcdefgh", dst="fd00::"), nexthdr=58, dst="fd00::"))],
}


MAC = bytes.fromhex("020000000042")
TAP = bytes.fromhex("020000000099")
ALL = b"\xff" * 6


def frame(data: bytes, proto: int = 0x800, dst: bytes = TAP, src: bytes = MAC) -> Step:
    return ("in", "tap2", Ethhdr(dst, src, proto).emit() + data)


def arp(op: int, sip: str, tip: str, tha: bytes = bytes(6), dst: bytes = ALL, sha: bytes = MAC) -> Step:
    return frame(ArpPacket(op, sha, parse_addr(sip), tha, parse_addr(tip)).emit(), 0x806, dst, sha)


def ns(target: str, src: str, dst: str, options: bytes = b"", mac: bytes = b"", hops: int = 255) -> Step:
    body = icmp6(135, 0, 0, wire6(target) + options, src, dst)
    return frame(ip6(body, src, dst, 58, hops), 0x86DD, mac or b"\x33\x33" + wire6(dst)[12:])


def na(target: str, flags: int, src: str, dst: str = "fd02::1", options: bytes = b"") -> Step:
    return frame(ip6(icmp6(136, 0, flags, wire6(target) + options, src, dst), src, dst, 58, 255), 0x86DD)


LINK_LOCAL: Step = ("before", "-6 address add fe80::99/64 dev tap2 nodad")
SLLA = b"\x01\x01" + MAC
TLLA = b"\x02\x01" + MAC
TO_TAP = "10.0.2.9"
CASES |= {
    "arp-request": [arp(1, TO_TAP, "10.0.2.1")],
    "arp-request-unicast": [arp(1, TO_TAP, "10.0.2.1", dst=TAP)],
    "arp-request-for-other": [arp(1, TO_TAP, "10.0.2.7")],
    "arp-request-other-device's-address": [arp(1, TO_TAP, "10.0.0.1")],
    "arp-request-other-device's-address-ignored": [("sysctl", "net/ipv4/conf/tap2/arp_ignore", 1), arp(1, TO_TAP, "10.0.0.1")],
    "arp-request-own-address-despite-ignore": [("sysctl", "net/ipv4/conf/tap2/arp_ignore", 1), arp(1, TO_TAP, "10.0.2.1")],
    "arp-request-from-other-subnet": [arp(1, "192.0.2.9", "10.0.2.1")],
    "arp-request-from-routed-subnet": [arp(1, "10.0.0.9", "10.0.2.1")],
    "arp-request-for-loopback": [arp(1, TO_TAP, "127.0.0.1")],
    "arp-request-for-broadcast": [arp(1, TO_TAP, "10.0.2.255")],
    "arp-probe": [arp(1, "0.0.0.0", "10.0.2.1")],
    "arp-gratuitous": [arp(1, TO_TAP, TO_TAP)],
    "arp-not-for-us": [arp(1, TO_TAP, "10.0.2.1", dst=bytes.fromhex("020000000077"))],
    "arp-learnt-from-request": [arp(1, TO_TAP, "10.0.2.1"), FORWARD, into(ip4(udp(), dst=TO_TAP))],
    "arp-resolution": [
        FORWARD,
        into(ip4(udp(), dst=TO_TAP)),
        into(ip4(udp(8), dst=TO_TAP)),
        arp(2, TO_TAP, "10.0.2.1", TAP, TAP),
        into(ip4(udp(12), dst=TO_TAP)),
    ],
    "arp-gateway": [
        FORWARD,
        ("ip", "route add 192.0.2.0/24 via 10.0.2.9"),
        into(ip4(udp(), dst="192.0.2.1")),
        arp(2, TO_TAP, "10.0.2.1", TAP, TAP),
    ],
    "arp-reply-unasked": [arp(2, TO_TAP, "10.0.2.1", TAP, TAP), FORWARD, into(ip4(udp(), dst=TO_TAP))],
    "arp-reply-by-broadcast": [FORWARD, into(ip4(udp(), dst=TO_TAP)), arp(2, TO_TAP, "10.0.2.1", TAP, ALL)],
    "arp-queue-overflows": [
        FORWARD,
        *[into(ip4(udp(1000), dst=TO_TAP, ident=i)) for i in range(150)],
        arp(2, TO_TAP, "10.0.2.1", TAP, TAP),
    ],
    "echo-ethernet": [arp(1, TO_TAP, "10.0.2.1"), frame(ip4(echo(), TO_TAP, "10.0.2.1", 1))],
    "echo-ethernet-other-host": [frame(ip4(echo(), TO_TAP, "10.0.2.1", 1), dst=bytes.fromhex("020000000077"))],
    "echo-ethernet-unicast-in-broadcast": [arp(1, TO_TAP, "10.0.2.1"), frame(ip4(echo(), TO_TAP, "10.0.2.1", 1), dst=ALL)],
    "unknown-protocol-in-broadcast-frame": [arp(1, TO_TAP, "10.0.2.1"), frame(ip4(b"12345678", TO_TAP, "10.0.2.1", 99), dst=ALL)],
    "echo-ethernet-padded": [arp(1, TO_TAP, "10.0.2.1"), frame(ip4(echo(), TO_TAP, "10.0.2.1", 1) + bytes(10))],
    "forward-to-broadcast-frame": [FORWARD, frame(ip4(udp(), TO_TAP, ELSEWHERE), dst=ALL)],
    "solicitation": [ns("fd02::1", "fd02::9", "ff02::1:ff00:1", SLLA)],
    "solicitation-unicast": [ns("fd02::1", "fd02::9", "fd02::1", SLLA, TAP)],
    "solicitation-without-address": [ns("fd02::1", "fd02::9", "ff02::1:ff00:1")],
    "solicitation-hop-limit": [ns("fd02::1", "fd02::9", "ff02::1:ff00:1", SLLA, hops=64)],
    "solicitation-for-other": [ns("fd02::7", "fd02::9", "ff02::1:ff00:1", SLLA)],
    "solicitation-zero-option": [ns("fd02::1", "fd02::9", "ff02::1:ff00:1", b"\x01\0" + MAC)],
    "solicitation-duplicate-detection": [ns("fd02::1", "::", "ff02::1:ff00:1")],
    "solicitation-duplicate-detection-with-address": [ns("fd02::1", "::", "ff02::1:ff00:1", SLLA)],
    "solicitation-for-other-device's-address": [ns("fd00::1", "fd02::9", "ff02::1:ff00:1", SLLA)],
    "advertisement-unasked": [na("fd02::9", 0x60000000, "fd02::9", options=TLLA), FORWARD6, into(ip6(b"12345678", dst="fd02::9"))],
    "nd-without-link-local-address": [FORWARD6, into(ip6(b"12345678", dst="fd02::9"))],
    "nd-resolution": [
        LINK_LOCAL,
        FORWARD6,
        into(ip6(b"12345678", dst="fd02::9")),
        into(ip6(b"12345679", dst="fd02::9")),
        na("fd02::9", 0x60000000, "fd02::9", options=TLLA),
        into(ip6(b"12345680", dst="fd02::9")),
    ],
    "nd-resolution-without-address": [LINK_LOCAL, FORWARD6, into(ip6(b"12345678", dst="fd02::9")), na("fd02::9", 0x60000000, "fd02::9")],
    "nd-learnt-from-solicitation": [
        ns("fd02::1", "fd02::9", "ff02::1:ff00:1", SLLA),
        FORWARD6,
        into(ip6(b"12345678", dst="fd02::9")),
    ],
    "nd-resolution-of-link-local": [
        LINK_LOCAL,
        frame(ip6(icmp6(128, 0, 5, b"abcdefgh", "fe80::9", "fe80::99"), "fe80::9", "fe80::99", 58), 0x86DD),
    ],
    "echo6-multicast-from-link-local": [
        LINK_LOCAL,
        ns("fe80::99", "fe80::9", "ff02::1:ff00:99", SLLA),
        frame(ip6(icmp6(128, 0, 5, b"abcdefgh", "fe80::9", "ff02::1"), "fe80::9", "ff02::1", 58), 0x86DD, bytes.fromhex("333300000001")),
    ],
    "secondary-address-answers": [
        ("ip", "address add 10.0.2.2/24 dev tap2"),
        arp(1, TO_TAP, "10.0.2.2"),
        frame(ip4(echo(), TO_TAP, "10.0.2.2", 1)),
    ],
    "router-advertises-as-router": [FORWARD6, ns("fd02::1", "fd02::9", "ff02::1:ff00:1", SLLA)],
}
OPTIONS = {
    "record-route": b"\x07\x07\x04\0\0\0\0\0",
    "record-route-two": b"\x07\x0b\x04" + bytes(9),
    "record-route-full": b"\x07\x07\x08\x0a\0\0\x09\0",
    "record-route-bad-pointer": b"\x07\x07\x03\0\0\0\0\0",
    "record-route-no-room": b"\x07\x06\x04\0\0\0\0\0",
    "record-route-short": b"\x07\x02\x04\0",
    "record-route-after-nop": b"\x01\x07\x07\x04\0\0\0\0",
    "source-route": b"\x83\x07\x04\x0a\0\x01\x09\0",
    "source-route-done": b"\x83\x07\x08\x0a\0\x01\x09\0",
    "strict-source-route": b"\x89\x07\x04\x0a\0\x01\x09\0",
    "time-full": b"\x44\x04\x05\0",
    "time-overflow": b"\x44\x04\x05\xf0",
    "time-short": b"\x44\x03\x05\0",
    "time-bad-pointer": b"\x44\x08\x04\0\0\0\0\0",
    "time-no-room": b"\x44\x08\x06\0\0\0\0\0",
    "overrun": b"\x07\x20\x04\0",
    "length-1": b"\x99\x01\0\0",
    "unknown": b"\x99\x04\0\0",
    "nop": b"\x01\x01\x01\0",
    "router-alert": b"\x94\x04\0\0",
}
for _name, _options in OPTIONS.items():
    CASES["option-" + _name] = [into(ip4(echo(), proto=1, options=_options))]
    CASES["option-forwarded-" + _name] = [FORWARD, into(ip4(b"12345678", proto=99, dst=ELSEWHERE, options=_options))]
PTB: Step = into(ip4(icmp4(3, 4, 1000, ip4(echo(1400, 0), "10.0.0.1", "10.0.0.9", proto=1, frag=IP_DF)), proto=1))
PTB6: Step = into(ip6(icmp6(2, 0, 1300, ip6(icmp6(129, 0, 5, bytes(100)), "fd00::1", "fd00::9", nexthdr=58)), nexthdr=58))


def sends(address: str, sizes: list[int], modes: list[int]) -> list[Step]:
    return [("send", address, size, mode) for mode in modes for size in sizes]


def routes(*flows: tuple[str, str, str]) -> list[Step]:
    return [("route", *flow) for flow in flows]


CASES |= {
    "send": sends("10.0.0.9", [0, 1, 100, 1479, 1480, 1481, 3000, 65515, 65516, 65536], [0, 1, 2, 3, 4, 5]),
    "send-learned-mtu": [PTB, *sends("10.0.0.9", [980, 981, 1480, 1481, 3000], [0, 1, 2, 3, 4, 5])],
    "send-to-lo": sends("127.0.0.1", [0, 100, 65515, 65516], [0, 1, 2]),
    "send-to-own-address": sends("10.0.0.1", [100, 3000], [0, 2]),
    "send-to-broadcast": sends("10.0.0.255", [100, 3000], [0, 2]),
    "send-to-unjoined-group": [("ip", "route add 239.0.0.0/8 dev tun0"), *sends("239.1.1.1", [100], [0, 2])],
    "send-to-all-hosts": [("ip", "route add 224.0.0.0/4 dev tun0"), *sends("224.0.0.1", [100, 3000], [0])],
    "send-without-route": sends("192.0.2.1", [100], [0]),
    "send-unreachable": [("ip", "route add unreachable 192.0.2.0/24"), *sends("192.0.2.1", [100], [0])],
    "send-prohibited": [("ip", "route add prohibit 192.0.2.0/24"), *sends("192.0.2.1", [100], [0])],
    "send-blackhole": [("ip", "route add blackhole 192.0.2.0/24"), *sends("192.0.2.1", [100], [0])],
    "send-small-mtu": [("ip", "link set tun0 mtu 68"), *sends("10.0.0.9", [48, 49, 200], [0, 2])],
    "send6": sends("fd00::9", [0, 1, 100, 1460, 1461, 3000, 65487, 65488, 65535, 65536], [0, 1, 2, 3, 4, 5]),
    "send6-learned-mtu": [PTB6, *sends("fd00::9", [1260, 1261, 1460, 1461, 3000], [0, 1, 2, 3, 4, 5])],
    "send6-to-lo": sends("::1", [0, 100, 65535], [0, 1, 2]),
    "send6-to-own-address": sends("fd00::1", [100, 3000], [0]),
    "send6-to-group": sends("ff05::77", [100], [0]),
    "send6-without-route": sends("2001:db8::1", [100], [0]),
    "send6-unreachable": [("ip", "-6 route add unreachable 2001:db8::/32"), *sends("2001:db8::1", [100], [0])],
    "send6-prohibited": [("ip", "-6 route add prohibit 2001:db8::/32"), *sends("2001:db8::1", [100], [0])],
    "send6-blackhole": [("ip", "-6 route add blackhole 2001:db8::/32"), *sends("2001:db8::1", [100], [0])],
    "routes": routes(
        ("10.0.0.9", "", ""),
        ("10.0.1.9", "", ""),
        ("10.0.0.1", "", ""),
        ("10.0.1.1", "10.0.0.1", ""),
        ("127.0.0.1", "", ""),
        ("127.9.9.9", "", ""),
        ("127.0.0.1", "10.0.0.1", ""),
        ("127.0.0.1", "127.0.0.9", ""),
        ("10.0.0.9", "127.0.0.1", ""),
        ("10.0.0.9", "10.0.1.1", ""),
        ("0.0.0.0", "", ""),
        ("0.0.0.0", "10.0.0.1", ""),
        ("10.0.0.255", "", ""),
        ("10.0.0.0", "", ""),
        ("255.255.255.255", "", ""),
        ("255.255.255.255", "10.0.1.1", ""),
        ("255.255.255.255", "", "tun1"),
        ("127.255.255.255", "", ""),
        ("224.0.0.1", "", ""),
        ("224.0.0.1", "10.0.1.1", ""),
        ("224.0.0.1", "", "tun1"),
        ("239.1.1.1", "", ""),
        ("239.1.1.1", "", "tun1"),
        ("240.0.0.1", "", ""),
        ("192.0.2.1", "", ""),
        ("192.0.2.1", "10.0.0.1", ""),
        ("192.0.2.1", "", "tun1"),
        ("10.0.0.9", "", "tun1"),
        ("10.0.0.9", "", "lo"),
        ("10.0.0.1", "", "tun1"),
        ("127.0.0.1", "", "tun1"),
        ("0.1.2.3", "", ""),
    ),
    "routes-configured": [
        ("ip", "route add 192.0.2.0/24 via 10.0.1.9"),
        ("ip", "route add 192.0.2.128/25 dev tun0"),
        ("ip", "route add unreachable 198.51.100.0/25"),
        ("ip", "route add prohibit 198.51.100.128/25"),
        ("ip", "route add blackhole 203.0.113.0/24"),
        ("ip", "route add 0.0.0.0/0 via 10.0.0.9"),
        *routes(
            ("192.0.2.1", "", ""),
            ("192.0.2.129", "", ""),
            ("198.51.100.1", "", ""),
            ("198.51.100.129", "", ""),
            ("203.0.113.1", "", ""),
            ("8.8.8.8", "", ""),
            ("8.8.8.8", "10.0.1.1", ""),
            ("8.8.8.8", "", "tun1"),
            ("198.51.100.1", "", "tun1"),
            ("239.1.1.1", "", ""),
            ("255.255.255.255", "", ""),
        ),
    ],
    "routes6": routes(
        ("fd00::9", "", ""),
        ("fd01::9", "", ""),
        ("fd00::1", "", ""),
        ("fd00::1", "fd01::1", ""),
        ("::1", "", ""),
        ("::1", "fd00::1", ""),
        ("fd00::9", "::1", ""),
        ("2001:db8::1", "", ""),
        ("2001:db8::1", "fd00::1", ""),
        ("2001:db8::1", "", "tun0"),
        ("fd00::9", "", "tun1"),
        ("fd00::9", "", "lo"),
        ("fd00::1", "", "tun1"),
        ("ff05::1", "", ""),
        ("ff05::1", "", "tun1"),
    ),
    "routes6-configured": [
        ("ip", "-6 route add 2001:db8::/32 via fd01::9"),
        ("ip", "-6 route add 2001:db8:1::/48 dev tun0"),
        ("ip", "-6 route add unreachable 2001:db8:2::/48"),
        ("ip", "-6 route add prohibit 2001:db8:3::/48"),
        ("ip", "-6 route add blackhole 2001:db8:4::/48"),
        *routes(
            ("2001:db8::1", "", ""),
            ("2001:db8:1::1", "", ""),
            ("2001:db8:2::1", "", ""),
            ("2001:db8:3::1", "", ""),
            ("2001:db8:4::1", "", ""),
            ("2001:db8:1::1", "", "tun1"),
        ),
    ],
}
SLOW: dict[str, list[Step]] = {
    "frags-timeout": [("sysctl", "net/ipv4/ipfrag_time", 1), into(ip4(b"x" * 64, frag=IP_MF)), ("wait", 1300)],
    "frags-timeout-without-first": [("sysctl", "net/ipv4/ipfrag_time", 1), into(ip4(b"x" * 64, frag=8)), ("wait", 1300)],
    "frags6-timeout": [("sysctl", "net/ipv6/ip6frag_time", 1), frag6(bytes(64), 0, True), ("wait", 1300)],
    "arp-fails": [FORWARD, into(ip4(udp(), dst=TO_TAP)), ("wait", 3400), into(ip4(udp(), dst=TO_TAP))],
    "nd-fails": [LINK_LOCAL, FORWARD6, into(ip6(b"12345678", dst="fd02::9")), ("wait", 3400)],
    "peer-tokens-come-back": [
        *[into(ip4(b"12345678", proto=99, ident=i)) for i in range(10)],
        ("wait", 1100),
        *[into(ip4(b"12345678", proto=99, ident=i)) for i in range(3)],
    ],
}


@pytest.fixture(scope="module")
def reasons() -> Iterator[HostReasons]:
    reasons = HostReasons()
    yield reasons
    reasons.close()


def named(name: str, outcome: Outcome) -> list[list[str]]:
    """Leave out the fragments that Linux reports without a reason when it frees the whole, delivered or not (D-ip-8)."""
    if not name.startswith("frags"):
        return outcome.drops
    return [[reason for reason in drops if reason != "NOT_SPECIFIED"] for drops in outcome.drops]


def compare(name: str, steps: list[Step], reasons: HostReasons) -> None:
    host = on_host(steps, reasons)
    twin = on_twin(steps)
    assert twin.answers == host.answers
    assert twin.packets == host.packets
    assert twin.counters == host.counters
    assert named(name, twin) == named(name, host)


@pytest.mark.parametrize("name", list(CASES))
def test_packet_gets_the_reply_the_counters_and_the_drop_reason_of_linux(name: str, reasons: HostReasons) -> None:
    compare(name, CASES[name], reasons)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SLOW))
def test_timers_of_the_network_layer_do_what_linux_does(name: str, reasons: HostReasons) -> None:
    compare(name, SLOW[name], reasons)
