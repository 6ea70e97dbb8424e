"""The same bytes into a TUN device of the live kernel and of the twin: what comes back, and which counters move.

A case is a list of steps: ("in", device, bytes) writes a packet, ("wait", ms) lets time pass, ("sysctl", path, value), ("ip", arguments)
and, before anything is counted, ("before", ip's arguments) configure. ("send", address, size,
IP_MTU_DISCOVER) sends from a raw socket of protocol 99, ("route", address, source or "", device or "") connects a UDP socket. Both
sides start with `lo`, tun0 (10.0.0.1/24, fd00::1/64), tun1
(10.0.1.1/24, fd01::1/64) and the TAP device tap2 (10.0.2.1/24, fd02::1/64, link address 02:00:00:00:00:99)."""

import errno
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.dropwire import HostReasons, TwinReasons
from tests.netns import run_in_netns, run_promptly
from tests.unit.ipworld import host, send4, send6
from twinsock.kernel.drivers.tap import TunDevice, TunWire
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import dev_open, register_netdevice
from twinsock.kernel.net.core.protocol import RawHook
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import Proto
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_forward_change, inet_insert_ifa
from twinsock.kernel.net.ipv4.fib_frontend import fib_newroute
from twinsock.kernel.net.ipv4.fib_table import FibConfig
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow
from twinsock.kernel.net.ipv6.addrconf import addrconf_forward_change, inet6_addr_add
from twinsock.kernel.net.ipv6.route import Fib6Config, Flowi6, ip6_dst_lookup_flow, ip6_route_add
from twinsock.uapi import rtnetlink, snmp
from twinsock.wire import ip as wire_ip
from twinsock.wire import ip6 as wire_ip6

Step = tuple[Any, ...]
TUNSETIFF = 0x400454CA
DEVICES = ("tun0", "tun1", "tap2")
TAP_ADDRESS = bytes.fromhex("020000000099")
_TYPES = {
    "unreachable": rtnetlink.RTN_UNREACHABLE,
    "prohibit": rtnetlink.RTN_PROHIBIT,
    "blackhole": rtnetlink.RTN_BLACKHOLE,
    "local": rtnetlink.RTN_LOCAL,
}


class Outcome:
    """What a case caused: packets that came out, as (device, bytes), and counters that moved."""

    def __init__(self, packets: list[tuple[str, str]], counters: dict[str, int], answers: list[str], drops: list[list[str]]) -> None:
        self.packets = packets
        self.counters = counters
        self.answers = answers  # of "send" and "route" steps: an errno's name, "ok", or the source address
        self.drops = drops  # why packets were dropped while each "in" step wrote its packet


def on_host(steps: list[Step], reasons: HostReasons) -> Outcome:
    """Run a case on the live kernel, in a namespace of its own.

    Once more if a listener report may stand in a counter and not in its neighbour. What this host answers to itself comes
    in an interrupt, as do packets of others: drops in interrupts are this case's own when two runs have the same.
    """
    before: list[list[tuple[str, bool]]] | None = None
    for _ in range(8):
        packets, counters, answers, drops, reports = run_in_netns(_host_program, steps, reasons)
        if reports == 0 and (drops == before or all(own for step in drops for _reason, own in step)):
            break
        before = drops
    return Outcome(packets, counters, answers, [[reason for reason, _own in step] for step in drops])


def on_twin(steps: list[Step]) -> Outcome:
    """Run a case on the twin."""
    world = TwinWorld()
    for step in steps:
        if step[0] == "before":
            world.configure(step[1].split())
    before = world.counters()
    for step in steps:
        world.step(step)
    after = world.counters()
    moved = {name: value - before[name] for name, value in after.items() if value != before[name]}
    return Outcome(world.packets, moved, world.answers, world.drops)


# The live kernel.


def _host_program(
    steps: list[Step], reasons: HostReasons
) -> tuple[list[tuple[str, str]], dict[str, int], list[str], list[list[tuple[str, bool]]], int]:
    run_promptly()
    tuns = {name: _open_tun(name) for name in DEVICES}
    _ip("link set tap2 address " + TAP_ADDRESS.hex(":"))
    for i, name in enumerate(tuns):
        conf = f"/proc/sys/net/ipv6/conf/{name}/"
        Path(conf + "addr_gen_mode").write_text("1")
        Path(conf + "router_solicitations").write_text("0")
        Path(conf + "mldv2_unsolicited_report_interval").write_text("1000000")
        _ip(f"address add 10.0.{i}.1/24 dev {name}")
        _ip(f"link set {name} up")
        _ip(f"-6 address add fd0{i}::1/64 dev {name} nodad")
    _mld_octets[0] = 0
    end = time.monotonic() + 10
    while not _mld_octets[0] and time.monotonic() < end:  # tap2 reports the group of its IPv6 address, once, a little later
        _drain(tuns["tap2"], 14)
        time.sleep(0.001)
    before_steps = [step for step in steps if step[0] == "before"]
    for step in before_steps:
        _ip(step[1])
    time.sleep(0.05 if before_steps else 0.005)
    for fd in tuns.values():
        _drain(fd, 14 if fd == tuns["tap2"] else 0)
    _mld_octets[0] = 0
    before = _host_counters()
    out: list[tuple[str, str]] = []
    answers: list[str] = []
    drops: list[list[tuple[str, bool]]] = []
    for step in steps:
        if step[0] == "in":
            reasons.take()
            os.write(tuns[step[1]], step[2])
            drops.append(reasons.take_all())
        elif step[0] == "wait":
            time.sleep(step[1] / 1000)
        elif step[0] == "sysctl":
            Path("/proc/sys/" + step[1]).write_text(str(step[2]))
        elif step[0] == "ip":
            _ip(step[1])
        elif step[0] == "send":
            answers.append(_attempt(_host_send, *step[1:]))
        elif step[0] == "route":
            answers.append(_attempt(_host_route, *step[1:]))
        for name, fd in tuns.items():
            out.extend((name, normalise(name, data)) for data in _drain(fd, 14 if name == "tap2" else 0))
    after = _host_counters()
    reports = _forget_mld(before, after)
    return out, {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}, answers, drops, reports


def _attempt(func: Callable[..., str], *args: Any) -> str:
    try:
        return func(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _host_send(address: str, size: int, discover: int) -> str:
    six = ":" in address
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 99) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, 23, discover)
        else:
            sock.setsockopt(socket.IPPROTO_IP, 10, discover)
        sock.sendto(bytes(size), (address, 0))
    return "ok"


def _host_route(address: str, source: str, device: str) -> str:
    six = ":" in address
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if source:
            sock.bind((source, 0))
        sock.connect((address, 9))
        return str(sock.getsockname()[0])


_mld_octets = [0]


def _forget_mld(before: dict[str, int], after: dict[str, int]) -> int:
    """Take multicast listener reports out of the counts, for the twin does not send them; say how many there were."""
    reports = after["Icmp6OutMLDv2Reports"] - before["Icmp6OutMLDv2Reports"]
    if reports == 0:
        return 0
    octets = _mld_octets[0]
    for name in ("Icmp6OutMLDv2Reports", "Icmp6OutMsgs", "Icmp6OutType143", "Ip6OutMcastPkts", "Ip6OutRequests", "Ip6OutTransmits"):
        after[name] -= reports
    for name in ("Ip6OutMcastOctets", "Ip6OutOctets"):
        after[name] -= octets
    if not after["Icmp6OutType143"]:
        del after["Icmp6OutType143"]
    return reports


def _open_tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), 0x1001 if name.startswith("tun") else 0x1002))
    return fd


def _drain(fd: int, header: int) -> list[bytes]:
    found = []
    while True:
        try:
            data = os.read(fd, 70000)
        except BlockingIOError:
            return found
        if data[header] >> 4 == 6 and data[header + 6] == 0:
            _mld_octets[0] += len(data) - header  # multicast listener reports
            continue
        found.append(data)


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


def _host_counters() -> dict[str, int]:
    found: dict[str, int] = {}
    for path in ("/proc/net/snmp", "/proc/net/netstat"):
        lines = Path(path).read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group, _, rest = names.partition(":")
            if group not in ("Ip", "IpExt", "Icmp", "IcmpMsg") and path.endswith("snmp"):
                continue
            for name, value in zip(rest.split(), values.split()[1:], strict=True):
                if group != "TcpExt" or name == "IPReversePathFilter":
                    found[f"{group}.{name}"] = int(value)
    for line in Path("/proc/net/snmp6").read_text().splitlines():
        name, value = line.split()
        if name.startswith(("Ip6", "Icmp6")):
            found[name] = int(value)
    for path in ("/proc/net/sockstat", "/proc/net/sockstat6"):
        for line in Path(path).read_text().splitlines():
            words = line.split()
            if words[0].startswith("FRAG"):
                found[words[0] + "inuse"] = int(words[2])
                found[words[0] + "memory"] = int(words[4])
    # settings, not counts
    found.pop("Ip.Forwarding", None)
    found.pop("Ip.DefaultTTL", None)
    return found


def normalise(dev: str, data: bytes) -> str:
    """Give a packet's bytes in hex without what differs from run to run: IPv4's and IPv6's identification, the flow label's value."""
    if dev == "tap2":
        if data[12:14] == b"\x08\x06":
            return data.hex()
        return data[:14].hex() + normalise("", data[14:])
    if data[0] >> 4 == 4:
        data = data[:4] + b"\0\0" + data[6:10] + b"\0\0" + data[12:]
    else:
        label = int.from_bytes(data[1:4], "big") & 0xFFFFF
        data = data[:1] + (int.from_bytes(data[1:4], "big") & 0xF00000 | (label != 0)).to_bytes(3, "big") + data[4:]
        if data[6] == 44:
            data = data[:44] + bytes(4) + data[48:]
    return data.hex()


# The twin.


class _Wire(TunWire):
    def __init__(self, world: "TwinWorld") -> None:
        self.world = world

    def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
        self.world.packets.append((dev.name, normalise(dev.name, dev.frame(skb))))


class _OwnSocket(RawHook):
    """The sending socket, which gets what comes back to this host."""

    def local_deliver(self, skb: SkBuff, protocol: int) -> bool:
        return protocol == 99


class TwinWorld:
    """The twin's host with the same devices."""

    def __init__(self) -> None:
        self.packets: list[tuple[str, str]] = []
        self.answers: list[str] = []
        self.drops: list[list[str]] = []
        self.kernel: Kernel = host()
        self.reasons = TwinReasons()
        self.kernel.trace = self.reasons
        self.net = self.kernel.init_net
        self.tuns: dict[str, TunDevice] = {}
        for i, name in enumerate(DEVICES):
            tun = TunDevice(self.net, name, _Wire(self), name.startswith("tap"))
            if tun.ethernet:
                tun.dev_addr = TAP_ADDRESS
            assert register_netdevice(tun) == 0
            self.tuns[name] = tun
            assert tun.ip6_ptr is not None
            tun.ip6_ptr.addr_gen_mode = 1
            address = 10 << 24 | i << 8 | 1
            assert inet_insert_ifa(tun, InIfaddr(address, 24)) == 0
            assert dev_open(tun) == 0
            assert inet6_addr_add(tun, wire6(f"fd0{i}::1"), 64, rtnetlink.IFA_F_NODAD) == 0

    def step(self, step: Step) -> None:
        """Do one step; what comes out of several devices is put in their order, as a reader of each in turn sees it."""
        start = len(self.packets)
        self._do(step)
        self.packets[start:] = sorted(self.packets[start:], key=_device_of)

    def _do(self, step: Step) -> None:
        if step[0] == "in":
            self.reasons.take()
            self.tuns[step[1]].deliver(step[2])
            self.drops.append(self.reasons.take())
        elif step[0] == "wait":
            self.kernel.clock.advance_to(self.kernel.clock.now_ns + step[1] * 1_000_000)
        elif step[0] == "sysctl":
            self._sysctl(step[1], int(step[2]))
        elif step[0] == "ip":
            self.configure(step[1].split())
        elif step[0] == "send":
            self.answers.append(_answer(self._send(*step[1:])))
        elif step[0] == "route":
            self.answers.append(self._route(*step[1:]))

    def _send(self, address: str, size: int, discover: int) -> int:
        self.kernel.raw_hook4 = self.kernel.raw_hook6 = _OwnSocket()
        err = self._send_it(address, size, discover)
        self.kernel.raw_hook4 = self.kernel.raw_hook6 = None
        return err

    def _send_it(self, address: str, size: int, discover: int) -> int:
        if ":" in address:
            return send6(self.kernel, wire6(address), bytes(size), pmtudisc=discover)
        return send4(self.kernel, wire_ip.parse_addr(address), bytes(size), pmtudisc=discover)

    def _route(self, address: str, source: str, device: str) -> str:
        sk = InetSock(self.net, 2, Proto("TEST", 0), 2, 17)
        if device:
            sk.sk_bound_dev_if = 1 if device == "lo" else self.tuns[device].ifindex
        if ":" in address:
            fl6 = Flowi6(wire6(address), wire6(source or "::"), 17, oif=sk.sk_bound_dev_if)
            err, _rt6 = ip6_dst_lookup_flow(self.net, fl6, sk)
            return _answer(err) if err else wire_ip6.format_addr(fl6.saddr)
        fl4 = Flowi4(wire_ip.parse_addr(address), wire_ip.parse_addr(source or "0.0.0.0"), 17, oif=sk.sk_bound_dev_if)
        err, _rt = ip_route_output_flow(self.net, fl4, sk)
        if err == -errno.ENETUNREACH:
            self.net.ip_statistics[snmp.IPSTATS_MIB_OUTNOROUTES] += 1  # connect(2) counts, not routing
        return _answer(err) if err else wire_ip.format_addr(fl4.saddr)

    def _sysctl(self, path: str, value: int) -> None:
        parts = path.split("/")
        ipv4 = self.net.ipv4
        if parts[:3] == ["net", "ipv4", "conf"]:
            conf = ipv4.devconf_all if parts[3] == "all" else self._in_dev(parts[3]).cnf
            setattr(conf, parts[4], value)
        elif path == "net/ipv4/ip_forward":
            inet_forward_change(self.net, value)
        elif path == "net/ipv6/conf/all/forwarding":
            addrconf_forward_change(self.net, value)
        elif path == "net/ipv4/ipfrag_time":
            assert ipv4.fqdir is not None
            ipv4.fqdir.timeout = value * 250
        elif path == "net/ipv6/ip6frag_time":
            assert self.net.ipv6.fqdir is not None
            self.net.ipv6.fqdir.timeout = value * 250
        elif path in ("net/ipv4/ipfrag_high_thresh", "net/ipv4/ipfrag_low_thresh"):
            assert ipv4.fqdir is not None
            setattr(ipv4.fqdir, parts[-1].removeprefix("ipfrag_"), value)
        else:
            name = "sysctl_" + parts[-1]
            assert hasattr(ipv4, name), path
            setattr(ipv4, name, value)
        ipv4.fib.flush_cache() if ipv4.fib is not None else None

    def _in_dev(self, name: str) -> Any:
        for dev in self.net.dev_base:
            if dev.name == name:
                return dev.ip_ptr
        raise AssertionError(name)

    def configure(self, words: list[str]) -> None:
        """Do what `ip` does with these arguments."""
        six = words[0] == "-6"
        words = words[1:] if six else words
        assert words[:2] in (["route", "add"], ["link", "set"], ["address", "add"]), words
        if words[0] == "address":
            prefix, _, plen = words[2].partition("/")
            flags = rtnetlink.IFA_F_NODAD if "nodad" in words else 0
            if six:
                assert inet6_addr_add(self.tuns[words[4]], wire6(prefix), int(plen), flags) == 0
            else:
                assert inet_insert_ifa(self.tuns[words[4]], InIfaddr(wire_ip.parse_addr(prefix), int(plen))) == 0
            return
        if words[0] == "link":
            from twinsock.kernel.net.core.dev import dev_set_mtu

            assert dev_set_mtu(self.tuns[words[2]], int(words[4])) == 0
            return
        rest = words[2:]
        type_ = rtnetlink.RTN_UNICAST
        if rest[0] in _TYPES:
            type_ = _TYPES[rest.pop(0)]
        prefix, _, plen = rest.pop(0).partition("/")
        options = dict(zip(rest[::2], rest[1::2], strict=True))
        oif = self.tuns[options["dev"]].ifindex if "dev" in options else 0
        if six:
            cfg6 = Fib6Config(wire6(prefix), int(plen))
            cfg6.type, cfg6.oif = type_, oif
            cfg6.gw = wire6(options["via"]) if "via" in options else b""
            assert ip6_route_add(self.net, cfg6) == 0
        else:
            cfg = FibConfig(wire_ip.parse_addr(prefix), int(plen))
            cfg.type, cfg.oif = type_, oif
            cfg.gw = wire_ip.parse_addr(options["via"]) if "via" in options else 0
            assert fib_newroute(self.net, cfg) == 0

    def counters(self) -> dict[str, int]:
        """Read everything that /proc shows on the other side."""
        net = self.net
        found: dict[str, int] = {}
        for i, name in enumerate(snmp.IP_NAMES):
            if i > snmp.IPSTATS_MIB_DEFAULTTTL:
                found["Ip." + name] = net.ip_statistics[i]
        for i, name in enumerate(snmp.IPEXT_NAMES):
            found["IpExt." + name] = net.ip_statistics[snmp.IPSTATS_MIB_INNOROUTES + i]
        for i, name in enumerate(snmp.ICMP_NAMES):
            found["Icmp." + name] = net.icmp_statistics[i]
        for type_ in range(256):
            found[f"IcmpMsg.InType{type_}"] = net.icmpmsg_statistics[type_]
            found[f"IcmpMsg.OutType{type_}"] = net.icmpmsg_statistics[256 + type_]
        found["TcpExt.IPReversePathFilter"] = net.net_statistics[snmp.LINUX_MIB_IPREVERSEPATHFILTER]
        for name, slot in snmp.IP6_SLOTS:
            found["Ip6" + name] = net.ip6_statistics[slot]
        for i, name in enumerate(snmp.ICMP6_NAMES):
            found["Icmp6" + name] = net.icmp6_statistics[i]
        names = dict(snmp.ICMP6MSG_NAMES)
        for type_ in range(256):
            name = names.get(type_, f"Type{type_}")
            found["Icmp6In" + name] = net.icmp6msg_statistics[type_]
            found["Icmp6Out" + name] = net.icmp6msg_statistics[256 + type_]
            # /proc shows sums by type number as well
            found[f"Icmp6InType{type_}"] = net.icmp6msg_statistics[type_]
            found[f"Icmp6OutType{type_}"] = net.icmp6msg_statistics[256 + type_]
        for key, fqdir in (("FRAG:", net.ipv4.fqdir), ("FRAG6:", net.ipv6.fqdir)):
            assert fqdir is not None
            found[key + "inuse"] = fqdir.nqueues()
            found[key + "memory"] = fqdir.mem
        return found


def _answer(err: int) -> str:
    return errno.errorcode[-err] if err < 0 else "ok"


def _device_of(packet: tuple[str, str]) -> int:
    return DEVICES.index(packet[0])


def wire6(text: str) -> bytes:
    """Parse an IPv6 address."""
    addr = wire_ip6.parse_addr(text)
    assert addr is not None, text
    return addr
