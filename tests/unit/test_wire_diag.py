"""unix_diag, packet_diag, netlink_diag and rtnetlink bytes come back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builds import fields
from twinsock.inspect import links, netlink_sockets, packet, records, unix, virtual
from twinsock.inspect.virtual import parse_vsock, parse_xdp
from twinsock.wire import netlink_diag, packet_diag, rtnetlink, unix_diag, vsock_diag, xdp_diag
from twinsock.wire.netlink import nlattrs

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
s32 = st.integers(-0x80000000, 0x7FFFFFFF)
u64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)
attributes = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=4)


def comes_back(record, parse, *bounds):
    data = record.emit()
    again = parse(data, 0, len(data)) if bounds else parse(data)
    assert again is not None
    assert fields(again) == fields(record)


@given(u32, u32, u32, u64)
def test_requests_of_every_family_come_back(states, show, inode, cookie):
    comes_back(unix_diag.UnixDiagReq(states, show, inode, cookie), unix_diag.parse_req)
    comes_back(packet_diag.PacketDiagReq(show, inode, cookie), packet_diag.parse_req)
    comes_back(vsock_diag.VsockDiagReq(states), vsock_diag.parse_req)
    comes_back(xdp_diag.XdpDiagReq(show), xdp_diag.parse_req)
    comes_back(netlink_diag.NetlinkDiagReq(show, states & 0xFF, inode, cookie), netlink_diag.parse_req)


@given(u8, u8, u16, u32, u32, u64, attributes)
def test_sockets_of_every_family_come_back(type_, state, num, inode, portid, cookie, attrs):
    comes_back(unix_diag.UnixDiagMsg(type_, state, inode, cookie, attrs), unix_diag.parse_msg, True)
    comes_back(packet_diag.PacketDiagMsg(type_, num, inode, cookie, attrs), packet_diag.parse_msg, True)
    comes_back(xdp_diag.XdpDiagMsg(type_, inode, cookie, attrs), xdp_diag.parse_msg, True)
    vsock = vsock_diag.VsockDiagMsg(type_, state, inode)
    vsock.shutdown, vsock.src_cid, vsock.src_port, vsock.dst_cid, vsock.dst_port = state, portid, num, inode, portid
    vsock.cookie = cookie
    comes_back(vsock, vsock_diag.parse_msg, True)
    msg = netlink_diag.NetlinkDiagMsg(num & 0xFF, portid, inode, attrs)
    msg.type, msg.state, msg.dst_portid, msg.dst_group, msg.cookie = type_, state, inode, portid, cookie
    comes_back(msg, netlink_diag.parse_msg, True)


@given(st.tuples(*[u8] * 8), u16, u32, s32, attributes)
def test_links_addresses_and_routes(small, type_, number, index, attrs):
    link = rtnetlink.IfInfoMsg(small[0], type_, index, number, number)
    address = rtnetlink.IfAddrMsg(*small[:4], number)
    route = rtnetlink.RtMsg(*small[:3])
    route.dst_len, route.src_len, route.tos, route.protocol, route.scope = small[3:]
    route.flags = number
    link.attributes = address.attributes = route.attributes = attrs
    comes_back(link, rtnetlink.parse_ifinfo, True)
    comes_back(address, rtnetlink.parse_ifaddr, True)
    comes_back(route, rtnetlink.parse_rt, True)


@pytest.mark.parametrize(
    "parse",
    [
        unix_diag.parse_msg,
        packet_diag.parse_msg,
        netlink_diag.parse_msg,
        vsock_diag.parse_msg,
        xdp_diag.parse_msg,
        rtnetlink.parse_ifinfo,
        rtnetlink.parse_ifaddr,
        rtnetlink.parse_rt,
    ],
)
def test_what_is_too_short_is_none(parse):
    assert parse(b"\0" * 7, 0, 7) is None


def test_records_of_virtual_sockets_hold_what_the_bytes_say():
    message = vsock_diag.VsockDiagMsg(1, 10, 77)
    message.src_cid, message.src_port, message.dst_cid, message.dst_port, message.cookie = 0xFFFFFFFF, 22, 2, 1024, 9
    data = message.emit()
    record = parse_vsock(data, 0, len(data))
    assert (record.local, record.local_port, record.remote, record.remote_port) == (0xFFFFFFFF, 22, 2, 1024)
    assert (record.state, record.inode, record.cookie) == (10, 77, 9)
    data = xdp_diag.XdpDiagMsg(3, 78, 9, [(1, bytes([2, 0, 0, 0, 5, 0, 0, 0])), (2, bytes(4))]).emit()
    xdp = parse_xdp(data, 0, len(data))
    assert (xdp.inode, xdp.ifindex, xdp.queue, xdp.uid) == (78, 2, 5, 0)


PARSERS = [
    links.parse_link,
    links.parse_address,
    links.parse_route,
    netlink_sockets.parse_record,
    packet.parse_record,
    unix.parse_record,
    virtual.parse_vsock,
    virtual.parse_xdp,
    lambda data, start, end: records.parse_record(data, start, end, 6, 0),
]


@given(st.binary(max_size=64), attributes, st.sampled_from(PARSERS))
def test_records_parse_from_any_bytes_without_an_exception(head, attrs, parse):
    for data in (head, head + nlattrs(attrs), bytes(72) + nlattrs(attrs)):
        parse(data, 0, len(data))
