"""Network and transport headers: parse(emit(x)) == x, and checksums that notice a flipped bit."""

from hypothesis import given
from hypothesis import strategies as st

from tests.builds import fields
from twinsock.wire import arp, ethernet, icmp, icmp6, ip, ip6, pcapng, udp
from twinsock.wire.l4 import ones_sum, pseudo_sum4, pseudo_sum6

U8 = st.integers(0, 255)
U16 = st.integers(0, 65535)
U32 = st.integers(0, 2**32 - 1)
MAC = st.binary(min_size=6, max_size=6)
ADDR6 = st.binary(min_size=16, max_size=16)


@given(U32, U32, U8, U8, U8, U16, U16, st.integers(0, 10), st.binary(max_size=64))
def test_an_ipv4_header_survives(
    saddr: int, daddr: int, proto: int, tos: int, ttl: int, ident: int, frag: int, words: int, body: bytes
) -> None:
    iph = ip.Iphdr(saddr, daddr, proto)
    iph.tos, iph.ttl, iph.id, iph.frag_off, iph.options = tos, ttl, ident, frag, bytes(range(4 * words))
    data = b"xx" + iph.emit(len(body)) + body
    parsed = ip.parse(data, 2)
    assert parsed.status == ip.IPPARSE_OK and parsed.iph is not None
    assert fields(parsed.iph) == fields(iph) == fields(iph.copy())
    assert parsed.tot_len == len(data) - 2 and parsed.header_len == 20 + 4 * words


@given(U32, U32, st.integers(0, 159))
def test_a_flipped_bit_in_an_ipv4_header_is_noticed(saddr: int, daddr: int, bit: int) -> None:
    data = bytearray(ip.Iphdr(saddr, daddr, 17).emit(0))
    data[bit // 8] ^= 1 << bit % 8
    assert ip.parse(bytes(data)).status != ip.IPPARSE_OK


@given(ADDR6, ADDR6, U8, U8, st.integers(0, 2**20 - 1), U8, st.binary(max_size=64))
def test_an_ipv6_header_survives(saddr: bytes, daddr: bytes, nexthdr: int, tclass: int, label: int, hops: int, body: bytes) -> None:
    hdr = ip6.Ipv6hdr(saddr, daddr, nexthdr)
    hdr.tclass, hdr.flow_label, hdr.hop_limit = tclass, label, hops
    parsed, length = ip6.parse(hdr.emit(len(body)) + body)
    assert parsed is not None and fields(parsed) == fields(hdr) == fields(hdr.copy()) and length == len(body)


@given(U8, st.integers(0, 8191), st.booleans(), U32)
def test_a_fragment_header_survives(nexthdr: int, offset: int, more: bool, ident: int) -> None:
    fh = ip6.FragHdr(nexthdr, offset * 8, more, ident)
    parsed = ip6.parse_frag(fh.emit())
    assert parsed is not None and fields(parsed) == fields(fh)


@given(ADDR6)
def test_an_ipv6_address_survives_as_text(addr: bytes) -> None:
    assert ip6.parse_addr(ip6.format_addr(addr)) == addr


@given(U32)
def test_an_ipv4_address_survives_as_text(addr: int) -> None:
    assert ip.parse_addr(ip.format_addr(addr)) == addr


def test_addresses_as_people_write_them() -> None:
    assert ip6.format_addr(bytes(15) + b"\x01") == "::1"
    assert ip6.format_addr(b"\x20\x01\x0d\xb8" + bytes(10) + b"\0\1") == "2001:db8::1"
    assert ip6.parse_addr("::ffff:192.0.2.1") == bytes(10) + b"\xff\xff\xc0\0\2\1"
    for text in ("", ":", "1::2::3", "1:2:3:4:5:6:7:8:9", "12345::", "::g", "::1.2.3"):
        assert ip6.parse_addr(text) is None, text
    for text in ("", "1.2.3", "1.2.3.256", "1.2.3.4.5", "a.b.c.d", "1..2.3"):
        assert ip.parse_addr(text) == -1, text


@given(U16, U16, st.binary(max_size=100), U32, U32)
def test_a_udp_header_survives_and_its_checksum_holds(source: int, dest: int, body: bytes, saddr: int, daddr: int) -> None:
    uh = udp.Udphdr(source, dest)
    pseudo = pseudo_sum4(saddr, daddr, 17, 8 + len(body))
    data = uh.to_bytes(body, pseudo)
    parsed = udp.parse(data, 0, len(data), pseudo)
    assert parsed is not None and (parsed.source, parsed.dest, parsed.len) == (source, dest, 8 + len(body))
    assert parsed.check != 0 and not parsed.csum_bad and data[8:] == body
    uh.csum_bad = True
    broken = udp.parse(uh.to_bytes(body, pseudo), 0, len(data), pseudo)
    assert broken is not None and broken.csum_bad and broken.check != 0


@given(U16, st.integers(8, 40), st.binary(min_size=32, max_size=32))
def test_udp_lite_covers_what_it_says(source: int, coverage: int, body: bytes) -> None:
    uh = udp.Udphdr(source, 7)
    uh.coverage = coverage
    data = bytearray(uh.to_bytes(body, 0))
    data[-1] ^= 1
    parsed = udp.parse(bytes(data), 0, len(data), 0, lite=True)
    assert parsed is not None and parsed.csum_bad == (coverage == 40)


@given(U8, U8, U32, st.binary(max_size=100))
def test_an_icmp_message_survives(type_: int, code: int, un: int, body: bytes) -> None:
    data = icmp.Icmphdr(type_, code, un).to_bytes(body, 0)
    parsed = icmp.parse(data, 0, len(data))
    assert parsed is not None and (parsed.type, parsed.code, parsed.un, parsed.csum_bad) == (type_, code, un, False)


@given(U8, U8, U32, st.binary(max_size=100), ADDR6, ADDR6)
def test_an_icmpv6_message_survives(type_: int, code: int, un: int, body: bytes, saddr: bytes, daddr: bytes) -> None:
    pseudo = pseudo_sum6(saddr, daddr, 58, 8 + len(body))
    data = icmp6.Icmp6hdr(type_, code, un).to_bytes(body, pseudo)
    parsed = icmp6.parse(data, 0, len(data), pseudo)
    assert parsed is not None and (parsed.type, parsed.code, parsed.un, parsed.csum_bad) == (type_, code, un, False)


@given(st.lists(st.tuples(U8, st.binary(min_size=6, max_size=6)), max_size=4))
def test_neighbour_discovery_options_survive(options: list[tuple[int, bytes]]) -> None:
    assert icmp6.nd_options(b"".join(icmp6.nd_option(kind, value) for kind, value in options)) == options
    assert icmp6.nd_options(b"\x01\x00" + bytes(6)) is None


@given(MAC, MAC, U16, st.integers(1, 2), U32, U32)
def test_ethernet_headers_and_arp_packets_survive(a: bytes, b: bytes, proto: int, op: int, sip: int, tip: int) -> None:
    eth = ethernet.parse(ethernet.Ethhdr(a, b, proto).emit())
    assert eth is not None and fields(eth) == {"dest": a, "source": b, "proto": proto}
    packet = arp.parse(arp.ArpPacket(op, a, sip, b, tip).emit())
    assert packet is not None and fields(packet) == {"op": op, "sha": a, "sip": sip, "tha": b, "tip": tip}


@given(st.lists(st.tuples(st.integers(0, 2**62), st.binary(max_size=70), st.integers(0, 2), st.text(max_size=9)), max_size=5))
def test_a_capture_survives_with_times_and_comments(packets: list[tuple[int, bytes, int, str]]) -> None:
    data = pcapng.section_header("test") + pcapng.interface_description("eth0", pcapng.LINKTYPE_ETHERNET)
    for time_ns, body, direction, comment in packets:
        data += pcapng.EnhancedPacket(0, time_ns, body, direction=direction, comment=comment).emit()
    parsed = pcapng.parse(data)
    assert parsed is not None and parsed[0] == [("eth0", 1)]
    assert [(p.time_ns, p.data, p.direction, p.comment) for p in parsed[1]] == packets


@given(st.binary(max_size=99))
def test_the_sum_does_not_depend_on_how_it_is_cut(data: bytes) -> None:
    half = len(data) // 4 * 2
    assert ones_sum(data) == (ones_sum(data[:half]) + ones_sum(data[half:])) % 0xFFFF


@given(st.binary(max_size=80))
def test_no_bytes_make_a_parser_fail(data: bytes) -> None:
    ip.parse(data)
    ip6.parse(data)
    ip6.skip_exthdrs(0, data)
    udp.parse(data, 0, len(data), 0)
    icmp.parse(data, 0, len(data))
    icmp6.parse(data, 0, len(data), 0)
    icmp6.nd_options(data)
    ethernet.parse(data)
    arp.parse(data)
    pcapng.parse(data)


def test_a_packet_longer_than_its_length_field_announces_nothing() -> None:
    assert ip.Iphdr(1, 2, 6).emit(65515)[2:4] == b"\xff\xff"
    assert ip.Iphdr(1, 2, 6).emit(65516)[2:4] == b"\0\0"
