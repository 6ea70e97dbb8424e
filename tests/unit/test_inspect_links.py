"""Links, addresses and routes from rtnetlink bytes."""

from tests.unit.test_inspect_table import RecordedPort
from twinsock.inspect.links import Links, get_local_routes, in_prefix, parse_address, parse_link, route_type
from twinsock.uapi.errno import ENOENT
from twinsock.uapi.rtnetlink import IFA_ADDRESS, IFA_FLAGS, IFA_LOCAL, IFLA_IFNAME, IFLA_LINKINFO, IFLA_MASTER, RTA_DST, RTA_TABLE
from twinsock.wire.netlink import U32, nlattr, nlattrs, nlmsg, nlmsg_done
from twinsock.wire.rtnetlink import IfAddrMsg, IfInfoMsg, RtMsg


def link(index, name, *attributes):
    msg = IfInfoMsg(0, 1, index, 1, 0)
    msg.attributes = [(IFLA_IFNAME, name + b"\0"), *attributes]
    data = msg.emit()
    return parse_link(data, 0, len(data))


def test_an_interface_belongs_to_the_vrf_above_its_bridge():
    vrf_info = nlattrs([(1, b"vrf\0"), (2, nlattr(1, U32.pack(7000)))])
    links = Links(
        [
            link(1, b"lo"),
            link(2, b"red", (IFLA_LINKINFO, vrf_info)),
            link(3, b"br0", (IFLA_MASTER, U32.pack(2)), (IFLA_LINKINFO, nlattr(1, b"bridge\0"))),
            link(4, b"eth0", (IFLA_MASTER, U32.pack(3))),
        ]
    )
    assert [links.vrf_of(index) for index in (1, 2, 3, 4, 5)] == [0, 2, 2, 2, 0]
    assert links.by_name["red"].vrf_table == 7000
    assert links.by_name["br0"].vrf_table == 0


def test_a_point_to_point_address_is_the_local_one_and_flags_are_all_32_bits():
    msg = IfAddrMsg(2, 32, 0, 0, 7)
    msg.attributes = [(IFA_ADDRESS, b"\x0a\0\0\2"), (IFA_LOCAL, b"\x0a\0\0\1"), (IFA_FLAGS, U32.pack(0x880))]
    data = msg.emit()
    address = parse_address(data, 0, len(data))
    assert (address.address, address.index, address.flags) == (b"\x0a\0\0\1", 7, 0x880)


def route(table, type_, dst, prefix):
    msg = RtMsg(2, min(table, 252), type_)
    msg.dst_len = prefix
    msg.attributes = [(RTA_DST, dst), (RTA_TABLE, U32.pack(table))]
    return nlmsg(24, 2, msg.emit())


def test_the_longest_route_of_the_table_asked_for_decides():
    answer = [route(255, 2, b"\x7f\0\0\0", 8) + route(255, 3, b"\x7f\xff\xff\xff", 32), route(1000, 1, bytes(4), 0) + nlmsg_done(2, 0, 0)]
    routes = get_local_routes(RecordedPort(answer), 2)
    assert [route_type(routes, address) for address in (b"\x7f\1\1\1", b"\x7f\xff\xff\xff", b"\x0a\0\0\1")] == [2, 3, 0]


def test_a_table_that_does_not_exist_has_no_routes():
    assert get_local_routes(RecordedPort([OSError(ENOENT, "FIB table does not exist")]), 2) == []


def test_prefixes_of_every_length_compare_bits():
    assert in_prefix(b"\x0a\1\2\3", b"\x0a\1\2\0", 24)
    assert not in_prefix(b"\x0a\1\3\3", b"\x0a\1\2\0", 24)
    assert in_prefix(b"\x0a\1\3\3", bytes(4), 0)
