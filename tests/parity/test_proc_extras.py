"""Smaller files of /proc/net on both kernels, byte for byte: groups and filters of devices, packet types, tables that are empty."""

import os
from typing import Any

import pytest

from tests.parity.harness import assert_parity
from tests.parity.test_netlink_route import CREATE, EXCL, NEWADDR, SETLINK, addr, code, link, make_veth, u32

pytestmark = [pytest.mark.root]

EMPTY = ("ip6_flowlabel", "ip6_mr_cache", "ip6_mr_vif", "ip_mr_cache", "ip_mr_vif", "psched", "rt_acct", "rt_cache", "anycast6", "mcfilter")
NEW = CREATE | EXCL
# What belongs to parts of the kernel that the twin has not: netfilter, XFRM, and four tables of routing that it keeps in another shape.
ABSENT = ("dev_snmp6", "fib_trie", "fib_triestat", "mcfilter6", "rt6_stats", "stat", "xfrm_stat", "xt_recent", "netfilter")
ABSENT += ("arp_tables", "ip_tables", "ip6_tables", "ipt_", "ip6t_", "nf_", "synproxy", "connector", "ipconfig", "pnp")


def read(env: Any, name: str) -> bytes:
    fd = env.os.open(f"/proc/net/{name}", os.O_RDONLY)
    text = b""
    while part := env.os.read(fd, 1 << 20):
        text += part
    env.os.close(fd)
    return text


def empty(env: Any) -> Any:
    return [(name, read(env, name), read(env, name)[:5]) for name in (*EMPTY, "dev_mcast")]


def names(env: Any) -> Any:
    """What a fresh namespace lists, in order, without what the twin leaves out."""
    return [name for name in env.os.listdir("/proc/net") if not name.startswith(ABSENT)]


def cable(env: Any) -> None:
    make_veth(env)
    for index, last in ((2, b"\x11"), (3, b"\x22")):
        code(env, SETLINK, 0, link(index, 0, 0, (1, b"\2\0\0\0\0" + last)))


def groups(env: Any) -> Any:
    cable(env)
    out = [read(env, "dev_mcast")]
    code(env, NEWADDR, NEW, addr(2, 24, 2, (2, b"\x0a\0\0\1"), (1, b"\x0a\0\0\1")))
    code(env, NEWADDR, NEW, addr(10, 64, 2, (2, b"\xfd" + bytes(14) + b"\1"), (8, u32(2))))
    for _ in range(1000):  # the live kernel joins the group of an IPv6 address some time later
        if b"3333ff000001" in read(env, "dev_mcast"):
            break
        env.time.sleep(0.01)
    out.append(read(env, "dev_mcast"))
    one, two = env.socket.socket(2, 2), env.socket.socket(2, 2)
    group = b"\xef\1\1"
    one.setsockopt(0, 35, group + b"\1" + bytes(4) + u32(2))
    two.setsockopt(0, 35, group + b"\1" + bytes(4) + u32(2))
    six = env.socket.socket(10, 2)
    six.setsockopt(41, 20, b"\xff\2" + bytes(13) + b"\x77" + u32(2))
    out.append(read(env, "dev_mcast"))
    one.close()
    six.setsockopt(41, 21, b"\xff\2" + bytes(13) + b"\x77" + u32(2))
    out.append(read(env, "dev_mcast"))
    two.close()
    return [*out, read(env, "dev_mcast")]


def sources(env: Any) -> Any:
    here, source = b"\x7f\0\0\1", b"\x0a\x09\x09"
    one, two = env.socket.socket(2, 2), env.socket.socket(2, 2)
    one.setsockopt(0, 39, b"\xef\1\1\2" + here + source + b"\1")
    one.setsockopt(0, 39, b"\xef\1\1\2" + here + source + b"\2")
    out = [read(env, "mcfilter")]
    two.setsockopt(0, 39, b"\xef\1\1\2" + here + source + b"\1")
    out.append(read(env, "mcfilter"))
    three = env.socket.socket(2, 2)
    three.setsockopt(0, 35, b"\xef\1\1\3" + bytes(4) + u32(1))
    three.setsockopt(0, 38, b"\xef\1\1\3" + here + source + b"\7")  # IP_BLOCK_SOURCE
    out.append(read(env, "mcfilter"))
    one.close()
    return [*out, read(env, "mcfilter"), three.fileno() > 0, two.fileno() > 0]


def types(env: Any) -> Any:
    def look() -> list[bytes]:
        return [line for line in read(env, "ptype").splitlines() if b"llc_rcv" not in line and b"snap_rcv" not in line]

    out = [look()]
    every = env.socket.socket(17, 3, env.socket.htons(3))
    out.append(look())
    bound = env.socket.socket(17, 2, 0)
    out.append(look())
    env.sys.bind(bound.fileno(), b"\x11\0\0\3" + u32(1) + bytes(12), 20)
    out.append(look())
    every.close()
    out.append(look())
    bound.close()
    return [*out, look()]


def softnet(env: Any) -> Any:
    def counted() -> tuple[int, set[int]]:
        rows = [line.split() for line in read(env, "softnet_stat").splitlines()]
        return sum(int(row[0], 16) for row in rows), {len(row) for row in rows} | {len(column) for row in rows for column in row}

    before, shape = counted()
    udp = env.socket.socket(2, 2)
    for _ in range(10):
        udp.sendto(b"x", ("127.0.0.1", 9))
    after, _shape = counted()
    return shape, after - before >= 10


@pytest.mark.parametrize("program", [empty, names, groups, sources, types, softnet])
def test_files_of_proc_net_are_the_same(program: Any) -> None:
    assert_parity(program)
