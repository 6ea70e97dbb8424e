"""What the parity programs about UDP, RAW and ping sockets share: counters, poll bits, structures, devices with addresses."""

import struct
import subprocess
from pathlib import Path
from typing import Any

from twinsock.uapi import snmp

ALL_BITS = 0x3FFF
SNMP_GROUPS = ("Udp", "UdpLite", "Icmp", "Ip")
_TWIN_FIELDS = {
    "Udp": ("udp_statistics", "UDP_MIB_"),
    "UdpLite": ("udplite_statistics", "UDP_MIB_"),
    "Udp6": ("udp6_statistics", "UDP_MIB_"),
    "UdpLite6": ("udplite6_statistics", "UDP_MIB_"),
    "Icmp": ("icmp_statistics", "ICMP_MIB_"),
    "Ip": ("ip_statistics", "IPSTATS_MIB_"),
}


def counters(env: Any, group: str) -> dict[str, int]:
    """Return the counters of one group that are not zero, by name in capitals; Ip without those that only one kernel shows."""
    if env.kind == "twin":
        field, prefix = _TWIN_FIELDS[group]
        values = getattr(env.task.net, field)
        names = {n[len(prefix) :]: v for n, v in vars(snmp).items() if n.startswith(prefix)}
        return {name: values[at] for name, at in sorted(names.items()) if at < len(values) and values[at]}
    if group.endswith("6"):
        found = {}
        with open("/proc/net/snmp6") as file:
            for line in file:
                name, value = line.split()
                if name.startswith(group) and int(value):
                    found[name[len(group) :].upper()] = int(value)
        return dict(sorted(found.items()))
    with open("/proc/net/snmp") as file:
        lines = [line.split() for line in file if line.startswith(group + ":")]
    return {name.upper(): int(value) for name, value in sorted(zip(lines[0][1:], lines[1][1:], strict=True), key=str) if int(value)}


def changes(env: Any, group: str, before: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Return which counters of a group have moved since `before`, and by how much."""
    after = counters(env, group)
    return tuple((name, after[name] - before.get(name, 0)) for name in sorted(after) if after[name] != before.get(name, 0))


def bits(env: Any, sock: Any) -> int:
    """Return the poll bits of a socket."""
    poll = env.select.poll()
    poll.register(sock.fileno(), ALL_BITS)
    found = poll.poll(0)
    return found[0][1] if found else 0


def meminfo(sock: Any) -> tuple[int, ...]:
    """Return the nine values of SO_MEMINFO."""
    return struct.unpack("=9I", sock.getsockopt(1, 55, 36))


def udp(env: Any, *address: Any, family: int = 2, proto: int = 0, options: tuple[tuple[int, int, Any], ...] = ()) -> Any:
    """Make a non-blocking UDP socket, set options, and bind it if an address is given."""
    sock = env.socket.socket(family, 2, proto)
    sock.setblocking(False)
    for level, name, value in options:
        sock.setsockopt(level, name, value)
    if address:
        sock.bind(address)
    return sock


def int_cmsg(level: int, type_: int, value: int) -> tuple[int, int, bytes]:
    """Return a control message that holds an int."""
    return level, type_, struct.pack("=i", value)


def local_port_range(env: Any, low: int, high: int) -> None:
    """Set net.ipv4.ip_local_port_range."""
    if env.kind == "host":
        env.sysctl("ipv4/ip_local_port_range", f"{low} {high}")
        return
    env.task.net.ipv4.ip_local_ports_low = low
    env.task.net.ipv4.ip_local_ports_high = high


def add_veth(env: Any, name: str, address: str, prefix: int) -> int:
    """Give the namespace a device `name` (half of a veth pair, both up) with an IPv4 or IPv6 address; return its index."""
    if env.kind == "host":
        _ip(f"link add {name} type veth peer name {name}p")
        # IPv6 would report the groups of its own addresses, and look for others that have them, a random time later.
        for end in (name, name + "p") if ":" not in address else (name + "p",):
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        _ip(f"link set {name} addrgenmode none up")
        _ip(f"link set {name}p up")
        _ip(f"addr add {address}/{prefix} dev {name}{' nodad' if ':' in address else ''}")
        import socket

        return socket.if_nametoindex(name)
    return _twin_veth(env, name, address, prefix)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def _twin_veth(env: Any, name: str, address: str, prefix: int) -> int:
    import socket

    from twinsock.kernel.drivers.veth import veth_newlink
    from twinsock.kernel.net.core.dev import dev_open
    from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
    from twinsock.kernel.net.ipv6.addrconf import inet6_addr_add

    net = env.task.net
    _, dev, peer = veth_newlink(net, name, net, name + "p")
    assert dev is not None and peer is not None
    dev_open(dev)
    dev_open(peer)
    if ":" in address:
        inet6_addr_add(dev, socket.inet_pton(socket.AF_INET6, address), prefix, 0x02)
    else:
        inet_insert_ifa(dev, InIfaddr(int.from_bytes(socket.inet_aton(address), "big"), prefix))
    return int(dev.ifindex)
