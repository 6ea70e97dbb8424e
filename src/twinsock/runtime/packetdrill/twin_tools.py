"""`ip`, `tc`, `ethtool`, files and counters of the twin, as far as scripts use them."""

from twinsock.kernel.drivers.tap import TunDevice
from twinsock.kernel.fs import namei
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.fs.ramfs import sys_open
from twinsock.kernel.fs.read_write import sys_write
from twinsock.kernel.net.core.dev import dev_set_qdisc
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.ipv4.fib_frontend import fib_newroute
from twinsock.kernel.net.ipv4.fib_table import FibConfig
from twinsock.kernel.net.sched.sch_fifo import PfifoQdisc
from twinsock.runtime.facade import TwinEnv
from twinsock.uapi import snmp
from twinsock.uapi.fcntl import O_CREAT, O_TRUNC, O_WRONLY
from twinsock.uapi.netlink import NLM_F_CREATE, NLM_F_REPLACE
from twinsock.uapi.rtnetlink import RTAX_ADVMSS, RTAX_INITCWND, RTAX_LOCK, RTAX_MAX, RTAX_MTU
from twinsock.wire.ip import parse_addr
from twinsock.wire.l4 import csum_fold, ones_sum
from twinsock.wire.tcp import TCPHDR_CWR, TCPHDR_FIN, TCPHDR_PSH


def make_file(env: TwinEnv, path: str, size: int) -> int:
    """Make a file of zeros, with the folders above it, or remove it (size -1): 0 or -errno."""
    task = env.task
    name = path.encode()
    if size < 0:
        return namei.sys_unlink(task, name)
    parts = name.split(b"/")[1:-1]
    for index in range(len(parts)):
        namei.sys_mkdir(task, b"/" + b"/".join(parts[: index + 1]), 0o755)
    fd = sys_open(task, name, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    if fd < 0:
        return fd
    ret = sys_write(task, fd, bytes(size))
    sys_close(task, fd)
    return min(ret, 0)


def counters(net: Net) -> dict[str, int]:
    """Return the counters as nstat(8) names them."""
    found = {f"Ip{name}": net.ip_statistics[i] for i, name in enumerate(snmp.IP_NAMES)}
    found.update({f"Icmp{name}": net.icmp_statistics[i] for i, name in enumerate(snmp.ICMP_NAMES)})
    found.update({f"Tcp{name}": net.tcp_statistics[i] for i, name in enumerate(snmp.TCP_NAMES)})
    found.update({f"TcpExt{name}": net.net_statistics[i] for i, name in enumerate(snmp.TCPEXT_NAMES)})
    return found


def segments(data: bytes, gso_size: int) -> list[bytes]:
    """Cut a TCP super-packet into what the wire carries, as software segmentation does."""
    six = data[0] >> 4 == 6
    start = 40 if six else (data[0] & 15) * 4
    header = start + (data[start + 12] >> 4) * 4
    payload = data[header:]
    ident = int.from_bytes(data[4:6], "big")
    seq = int.from_bytes(data[start + 4 : start + 8], "big")
    found = []
    for offset in range(0, max(len(payload), 1), gso_size):
        piece = payload[offset : offset + gso_size]
        tcp = bytearray(data[start:header])
        tcp[4:8] = ((seq + offset) & 0xFFFFFFFF).to_bytes(4, "big")
        if offset + gso_size < len(payload):
            tcp[13] &= ~(TCPHDR_FIN | TCPHDR_PSH) & 0xFF
        if offset:
            tcp[13] &= ~TCPHDR_CWR & 0xFF
        ip = bytearray(data[:start])
        if six:
            ip[4:6] = (len(tcp) + len(piece)).to_bytes(2, "big")
        else:
            ip[2:4] = (start + len(tcp) + len(piece)).to_bytes(2, "big")
            ip[4:6] = ((ident + offset // gso_size) & 0xFFFF).to_bytes(2, "big")
            ip[10:12] = b"\0\0"
            ip[10:12] = csum_fold(ones_sum(bytes(ip))).to_bytes(2, "big")
        found.append(bytes(ip) + bytes(tcp) + piece)
    return found


def run_tool(net: Net, dev: TunDevice, argv: list[str]) -> int:
    """Do what a command does, and give its exit code; what cannot be done fails with 2."""
    if argv[0] == "ip":
        return _ip(net, dev, argv[1:])
    if argv[0] == "tc":
        return _tc(dev, argv[1:])
    return 2


def _tc(dev: TunDevice, words: list[str]) -> int:
    """tc qdisc add|replace|delete dev tun0 root [pfifo [limit N]]"""
    if words[:1] != ["qdisc"] or "root" not in words or words[2:4] != ["dev", dev.name]:
        return 1
    if words[1] in ("delete", "del"):
        if dev.qdisc is None:
            return 2
        dev_set_qdisc(dev, None)
        return 0
    rest = words[words.index("root") + 1 :]
    if not rest or rest[0] != "pfifo":
        return 2
    limit = int(rest[rest.index("limit") + 1]) if "limit" in rest else dev.tx_queue_len
    dev_set_qdisc(dev, PfifoQdisc(dev, limit))
    return 0


def _ip(net: Net, dev: TunDevice, words: list[str]) -> int:
    """ip tcp_metrics flush all | ip route change PREFIX via A dev D [advmss N] [mtu [lock] N] [initcwnd N]"""
    if words[:2] == ["tcp_metrics", "flush"]:
        net.ipv4.tcp_metrics.clear()
        return 0
    if words[:1] != ["route"] or words[1] not in ("change", "add", "replace"):
        return 2
    route = FibConfig(parse_addr(words[2].partition("/")[0]), int(words[2].partition("/")[2] or 32))
    route.oif = dev.ifindex
    metrics = [0] * (RTAX_MAX + 1)
    rest = words[3:]
    numbers = {"advmss": RTAX_ADVMSS, "mtu": RTAX_MTU, "initcwnd": RTAX_INITCWND}
    while rest:
        name = rest.pop(0)
        if name == "via" and rest:
            route.gw = parse_addr(rest.pop(0))
        elif name == "dev" and rest:
            rest.pop(0)
        elif name in numbers and rest:
            if rest[0] == "lock":
                metrics[RTAX_LOCK] |= 1 << numbers[name]
                rest.pop(0)
            metrics[numbers[name]] = int(rest.pop(0))
        else:
            return 1
    route.metrics = metrics
    route.nlflags = NLM_F_REPLACE | (0 if words[1] == "change" else NLM_F_CREATE)
    return 1 if fib_newroute(net, route) else 0
