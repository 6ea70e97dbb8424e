"""Which addresses bind(2) accepts, and in which order it refuses: the same calls on the live kernel and on the twin."""

import itertools
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bind_oracle import TwinHost
from tests.netns import run_in_netns
from twinsock.kernel.net.core.addrs import AddressTable
from twinsock.kernel.net.ipv4.adopt import new_socket, new_tcp_sock, new_udp_sock
from twinsock.kernel.net.ipv4.af_inet import inet_bind
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_FREEBIND, INET_FLAGS_TRANSPARENT
from twinsock.kernel.net.ipv6.af_inet6 import inet6_bind
from twinsock.kernel.sched.task import Cred, Task
from twinsock.uapi.if_ import IFF_LOOPBACK
from twinsock.uapi.rtnetlink import IFA_F_TENTATIVE, RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE

pytestmark = [pytest.mark.root, pytest.mark.needs("ip")]

V4, V6 = socket.AF_INET, socket.AF_INET6
A, B = 2, 3  # ifindex of the two ends of the veth pair; tw0 is created with B
ADDRESSES4 = [
    "0.0.0.0",
    "0.0.0.1",
    "0.1.2.3",
    "10.1.1.0",
    "10.1.1.1",
    "10.1.1.2",
    "10.1.1.255",
    "10.1.2.255",
    "10.2.0.1",
    "10.3.3.2",
    "10.3.3.3",
    "127.0.0.0",
    "127.0.0.1",
    "127.9.9.9",
    "127.255.255.255",
    "128.0.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
]
ADDRESSES6 = [
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "::ffff:10.1.1.1",
    "::ffff:10.1.1.0",
    "::ffff:10.9.9.9",
    "::ffff:224.0.0.1",
    "2001:db8::1",
    "2001:db8::",
    "2001:db8::2",
    "2001:db8:9::1",
    "fe80::1",
    "fe80::2",
    "ff01::1",
    "ff02::1",
    "ff05::1",
    "ff0e::1",
]

Case = tuple[int, str, int, int, str, int, int, int]  # family, address, type, port, device, scope, options, uid
FREEBIND, TRANSPARENT, V6ONLY = 1, 2, 4


def prepare_devices() -> None:
    """Two devices: tw1 (index 2) has 10.1.1.1/24 and fe80::1, tw0 (index 3) a tentative address; lo has a /24 beside 127/8."""
    for command in (
        "link add tw0 type veth peer name tw1",
        "link set tw1 addrgenmode none",
        "link set tw0 addrgenmode none",
        "link set tw1 up",
        "addr add 10.1.1.1/24 brd + dev tw1",
        "addr add 10.3.3.2/31 dev tw1",
        "addr add 10.2.0.1/24 dev lo",
        "addr add 2001:db8::1/64 nodad dev tw1",
        "addr add fe80::1/64 nodad dev tw1",
        "addr add 2001:db8:9::1/64 dev tw0",
        "addr add fe80::2/64 nodad dev tw0",
        "link set tw0 up",
    ):
        if command == "link set tw0 up":
            Path("/proc/sys/net/ipv6/conf/tw0/dad_transmits").write_text("1000")  # tentative for as long as the test runs
        subprocess.run(["ip", *command.split()], check=True)


def twin_table() -> AddressTable:
    """The same devices and addresses."""
    table = AddressTable()
    table.add_device(1, IFF_LOOPBACK)
    table.add_device(A, 0)
    table.add_device(B, 0)
    table.add_address4(1, 0x7F000001, 8)
    table.add_address4(1, 0x0A020001, 24)
    table.add_address4(A, 0x0A010101, 24, 0x0A0101FF)
    table.add_address4(A, 0x0A030302, 31)
    table.add_address6(1, socket.inet_pton(V6, "::1"), RT_SCOPE_HOST)
    table.add_address6(A, socket.inet_pton(V6, "2001:db8::1"), RT_SCOPE_UNIVERSE)
    table.add_address6(A, socket.inet_pton(V6, "fe80::1"), RT_SCOPE_LINK)
    table.add_address6(B, socket.inet_pton(V6, "2001:db8:9::1"), RT_SCOPE_UNIVERSE, IFA_F_TENTATIVE)
    table.add_address6(B, socket.inet_pton(V6, "fe80::2"), RT_SCOPE_LINK)
    return table


def cases() -> list[Case]:
    """Return every combination of address, type, device, scope, options, port and user that says something of its own."""
    found: list[Case] = []
    for address, type_, device in itertools.product(ADDRESSES4, (1, 2), ("", "lo", "tw0", "tw1")):
        for options, port, uid in itertools.product((0, FREEBIND, TRANSPARENT), (80, 8080), (0, 1000)):
            found.append((V4, address, type_, port, device, 0, options, uid))
    for address, type_, device, scope in itertools.product(ADDRESSES6, (1, 2), ("", "lo", "tw0", "tw1"), (0, 1, A, B, 77)):
        for options, port, uid in itertools.product((0, FREEBIND, V6ONLY), (80, 8080), (0, 1000)):
            found.append((V6, address, type_, port, device, scope, options, uid))
    return found


def sockaddr(case: Case) -> bytes:
    """Return the address of a case as bytes."""
    family, address, _, port, _, scope, _, _ = case
    packed = socket.inet_pton(family, address)
    if family == V4:
        return struct.pack("=H", V4) + struct.pack("!H", port) + packed + bytes(8)
    return struct.pack("=H", V6) + struct.pack("!H", port) + bytes(4) + packed + struct.pack("=I", scope)


def live_answer(case: Case) -> tuple[int, int, int]:
    """Return (errno, device, IPV6_V6ONLY) afterwards."""
    family, address, type_, port, device, scope, options, uid = case
    with socket.socket(family, type_) as sock:
        if device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if options & FREEBIND:
            sock.setsockopt(socket.IPPROTO_IP, 15, 1)
        if options & TRANSPARENT:
            sock.setsockopt(socket.IPPROTO_IP, 19, 1)
        if options & V6ONLY:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        err = 0
        os.seteuid(uid)
        try:
            sock.bind((address, port, 0, scope) if family == V6 else (address, port))
        except OSError as exc:
            err = exc.errno or 0
        finally:
            os.seteuid(0)
        v6only = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) if family == V6 else 0
        return err, sock.getsockopt(socket.SOL_SOCKET, 62), v6only


def twin_answer(host: TwinHost, case: Case) -> tuple[int, int, int]:
    """Return the same from the twin."""
    family, _, type_, _, device, _, options, uid = case
    sk: Any = new_tcp_sock(host.net, int(family)) if type_ == 1 else new_udp_sock(host.net, int(family))
    sk.sk_bound_dev_if = {"": 0, "lo": 1, "tw0": B, "tw1": A}[device]
    sk.inet_assign_bit(INET_FLAGS_FREEBIND, bool(options & FREEBIND))
    sk.inet_assign_bit(INET_FLAGS_TRANSPARENT, bool(options & TRANSPARENT))
    sk.sk_ipv6only = int(bool(options & V6ONLY))
    task = Task(host.kernel, host.net, None, Cred(uid, uid, host.net.user_ns), 1, "test")
    sock = new_socket(task, sk)
    err = -(inet_bind if family == V4 else inet6_bind)(task, sock, sockaddr(case))
    answer = (err, sk.sk_bound_dev_if, sk.sk_ipv6only)
    host.close(sock)
    return answer


def live_answers(nonlocal_bind: int) -> list[tuple[int, int, int]]:
    """Answer all cases in this namespace."""
    for family in ("ipv4", "ipv6"):
        Path(f"/proc/sys/net/{family}/ip_nonlocal_bind").write_text(str(nonlocal_bind))
    return [live_answer(case) for case in cases()]


@pytest.mark.slow
@pytest.mark.parametrize("nonlocal_bind", [0, 1])
def test_every_kind_of_address_ends_as_on_linux(nonlocal_bind: int) -> None:
    live = run_in_netns(live_answers, nonlocal_bind, setup=prepare_devices, timeout=60)
    host = TwinHost()
    host.net.addrs = twin_table()
    host.net.ipv4.sysctl_ip_nonlocal_bind = nonlocal_bind
    host.net.ipv6.sysctl_ip_nonlocal_bind = nonlocal_bind
    twin = [twin_answer(host, case) for case in cases()]
    wrong = [f"{case}: Linux {a}, twin {b}" for case, a, b in zip(cases(), live, twin, strict=True) if a != b]
    assert wrong == []


RAW_ADDRESSES = [
    b"",
    sockaddr((V4, "127.0.0.1", 1, 80, "", 0, 0, 0))[:15],
    sockaddr((V4, "127.0.0.1", 1, 8080, "", 0, 0, 0)),
    sockaddr((V4, "127.0.0.1", 1, 80, "", 0, 0, 0)) + bytes(12),
    bytes(2) + sockaddr((V4, "0.0.0.0", 1, 8080, "", 0, 0, 0))[2:],
    bytes(2) + sockaddr((V4, "127.0.0.1", 1, 8080, "", 0, 0, 0))[2:],
    sockaddr((V6, "::1", 1, 8080, "", 0, 0, 0)),
    sockaddr((V6, "::1", 1, 8080, "", 0, 0, 0))[:24],
    sockaddr((V6, "::1", 1, 8080, "", 0, 0, 0))[:23],
    sockaddr((V6, "fe80::1", 1, 8080, "", 2, 0, 0))[:24],
    bytes(2) + sockaddr((V6, "::", 1, 8080, "", 0, 0, 0))[2:],
]


def live_raw(bound_first: bool) -> list[int]:
    """Bind to malformed addresses by way of libc."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    results = []
    for family, raw, uid in itertools.product((V4, V6), RAW_ADDRESSES, (0, 1000)):
        with socket.socket(family) as sock:
            if bound_first:
                sock.bind(("", 0))
            os.seteuid(uid)
            done = libc.bind(sock.fileno(), raw, len(raw))
            results.append(ctypes.get_errno() if done else 0)
            os.seteuid(0)
    return results


@pytest.mark.parametrize("bound_first", [False, True])
def test_malformed_addresses_and_bound_sockets_are_refused_in_linux_order(bound_first: bool) -> None:
    live = run_in_netns(live_raw, bound_first, setup=prepare_devices)
    host = TwinHost()
    host.net.addrs = twin_table()
    twin = []
    for family, raw, uid in itertools.product((V4, V6), RAW_ADDRESSES, (0, 1000)):
        task = Task(host.kernel, host.net, None, Cred(uid, uid, host.net.user_ns), 1, "test")
        sock = new_socket(task, new_tcp_sock(host.net, int(family)))
        bind = inet_bind if family == V4 else inet6_bind
        if bound_first:
            bind(task, sock, sockaddr((family, "0.0.0.0" if family == V4 else "::", 1, 0, "", 0, 0, 0)))
        twin.append(-bind(task, sock, raw))
        host.close(sock)
    assert twin == live
