"""What an AddressTable says of addresses."""

from twinsock.kernel.net.core.addrs import AddressTable, AddressView, inet_addr_type
from twinsock.uapi.if_ import IFF_LOOPBACK
from twinsock.uapi.rtnetlink import (
    IFA_F_OPTIMISTIC,
    IFA_F_TENTATIVE,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
)

LINK_LOCAL = bytes.fromhex("fe80" + "00" * 13 + "01")


def test_an_address_brings_its_broadcast_and_a_loopback_device_its_whole_net() -> None:
    table = AddressTable()
    table.add_device(1, IFF_LOOPBACK)
    table.add_device(2, 0)
    table.add_address4(1, 0x7F000001, 8)
    table.add_address4(2, 0x0A010101, 24)
    kinds = [inet_addr_type(table, addr, 0) for addr in (0x7F090909, 0x0A010101, 0x0A0101FF, 0x0A010102, 0xE0000001, 0)]
    assert kinds == [RTN_LOCAL, RTN_LOCAL, RTN_BROADCAST, RTN_UNICAST, RTN_MULTICAST, RTN_BROADCAST]


def test_addresses_of_a_vrf_are_local_only_inside_it() -> None:
    table = AddressTable()
    table.add_device(5, 0, master=5)
    table.add_device(2, 0, master=5)
    table.add_address4(2, 0x0A010101, 24)
    assert inet_addr_type(table, 0x0A010101, 0) == RTN_UNICAST
    assert inet_addr_type(table, 0x0A010101, table.l3mdev_master_ifindex(2)) == RTN_LOCAL


def test_tentative_addresses_do_not_count_unless_optimistic_and_link_scope_needs_its_device() -> None:
    table = AddressTable()
    table.add_device(2, 0)
    table.add_device(3, 0)
    table.add_address6(2, bytes(15) + b"\x05", RT_SCOPE_UNIVERSE, IFA_F_TENTATIVE)
    table.add_address6(2, bytes(15) + b"\x06", RT_SCOPE_UNIVERSE, IFA_F_TENTATIVE | IFA_F_OPTIMISTIC)
    table.add_address6(2, LINK_LOCAL, RT_SCOPE_LINK)
    assert not table.ipv6_chk_addr(bytes(15) + b"\x05", 0)
    assert table.ipv6_chk_addr(bytes(15) + b"\x06", 3)
    assert table.ipv6_chk_addr(LINK_LOCAL, 2) and not table.ipv6_chk_addr(LINK_LOCAL, 3)


def test_a_namespace_without_addresses_knows_none() -> None:
    view = AddressView()
    assert inet_addr_type(view, 0x7F000001, 0) == RTN_UNICAST
    assert not view.dev_exists(1) and not view.ipv6_chk_addr(bytes(16), 0) and view.l3mdev_master_ifindex(1) == 0
