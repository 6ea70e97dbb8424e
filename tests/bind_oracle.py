"""One bind program, two kernels: the same steps on real sockets in a fresh network namespace and on the twin.

`LiveHost` and `TwinHost` have the same methods; each returns 0 or an errno, `port_of` the local port. Both know two devices, lo and
a second one, and the addresses of lo. The twin has no TCP engine here: connections are entered into its tables directly,
as their ends would be.
"""

import contextlib
import errno
import os
import socket
import struct
import subprocess
from typing import Any

from twinsock.kernel.kernel import Kernel, Prng
from twinsock.kernel.net.core.addrs import AddressTable
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.sock import SOCK_BINDPORT_LOCK
from twinsock.kernel.net.ipv4.adopt import new_socket, new_tcp_sock, new_timewait_sock, new_udp_sock
from twinsock.kernel.net.ipv4.af_inet import inet_bind
from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock, inet_csk_listen_start, inet_unhash
from twinsock.kernel.net.ipv4.inet_hash_connect import inet_hash_connect
from twinsock.kernel.net.ipv4.inet_hashtables import (
    LOOPBACK4_IPV6,
    inet_bhash2_update_saddr,
    inet_ehash_del,
    inet_ehash_insert,
    inet_inherit_port,
    inet_put_port,
    inet_twsk_bind_unhash,
    inet_twsk_inherit_port,
)
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_BIND_ADDRESS_NO_PORT, InetSock
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.kernel.net.ipv4.udp_table import UdpPortSock, udp_lib_rehash, udp_lib_unhash
from twinsock.kernel.net.ipv6.af_inet6 import inet6_bind
from twinsock.kernel.sched.task import Cred, Task
from twinsock.uapi.if_ import IFF_LOOPBACK
from twinsock.uapi.rtnetlink import RT_SCOPE_HOST
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_SENT

LO = 1
OTHER_DEVICE = "twin0"
IPV6_V6ONLY = 26
IP_BIND_ADDRESS_NO_PORT = 24
IP_LOCAL_PORT_RANGE = 51


class Address:
    """One kind of bind address; `over` is the loopback address that a connection from it uses."""

    def __init__(self, family: int, text: str, v6only: int, over: str) -> None:
        self.family = family
        self.text = text
        self.v6only = v6only
        self.over = over
        packed = socket.inet_pton(family, text)
        if family == socket.AF_INET:
            self._head, self._tail = struct.pack("=H", family), packed + bytes(8)
        else:
            self._head, self._tail = struct.pack("=H", family), bytes(4) + packed + bytes(4)

    def raw(self, port: int) -> bytes:
        """Return the sockaddr."""
        return self._head + port.to_bytes(2, "big") + self._tail

    def __repr__(self) -> str:
        return f"{self.text}{' v6only' if self.v6only else ''}"


V4, V6 = socket.AF_INET, socket.AF_INET6
ADDRESSES = [
    Address(V4, "0.0.0.0", 0, "127.0.0.1"),
    Address(V4, "127.0.0.1", 0, "127.0.0.1"),
    Address(V4, "127.0.0.2", 0, "127.0.0.2"),
    Address(V6, "::", 0, "::ffff:127.0.0.1"),
    Address(V6, "::", 1, "::1"),
    Address(V6, "::1", 0, "::1"),
    Address(V6, "::ffff:0.0.0.0", 0, "::ffff:127.0.0.1"),
    Address(V6, "::ffff:127.0.0.1", 0, "::ffff:127.0.0.1"),
]
DEVICES = ["", "lo", OTHER_DEVICE]


class Config:
    """What a socket is created with."""

    def __init__(self, address: Address, reuse: int, reuseport: int, device: str, uid: int = 0) -> None:
        self.address = address
        self.reuse = reuse
        self.reuseport = reuseport
        self.device = device
        self.uid = uid

    def __repr__(self) -> str:
        flags = "R" * self.reuse + "P" * self.reuseport or "-"
        return f"<{self.address} {flags} dev={self.device or '-'} uid={self.uid}>"


def all_configs(uids: tuple[int, ...] = (0,)) -> list[Config]:
    """Return every combination."""
    return [Config(a, r, p, d, u) for a in ADDRESSES for r in (0, 1) for p in (0, 1) for d in DEVICES for u in uids]


def make_devices() -> None:
    """Add the second device to the caller's namespace."""
    subprocess.run(["ip", "link", "add", OTHER_DEVICE, "type", "veth", "peer", "name", "twin1"], check=True)


class LiveHost:
    """The kernel this runs on; the caller is in a fresh namespace that `make_devices` prepared."""

    SERVER_PORT = 1

    def __init__(self) -> None:
        self._servers: dict[str, socket.socket] = {}

    def create(self, config: Config, type_: int = socket.SOCK_STREAM) -> socket.socket:
        """Make a socket with the options of `config`."""
        sock = socket.socket(config.address.family, type_)
        if config.address.family == V6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_V6ONLY, config.address.v6only)
        if config.reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if config.reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if config.device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, config.device.encode())
        if config.uid:
            os.fchown(sock.fileno(), config.uid, -1)
        return sock

    def bind(self, sock: socket.socket, address: Address, port: int) -> int:
        """bind(2)."""
        return _errno_of(sock.bind, (address.text, port))

    def listen(self, sock: socket.socket) -> int:
        """listen(2)."""
        return _errno_of(sock.listen, 8)

    def unlisten(self, sock: socket.socket) -> int:
        """shutdown(2) of a listener, or of anything else."""
        return _errno_of(sock.shutdown, socket.SHUT_RDWR)

    def connect(self, sock: socket.socket, over: str, server: int = 0) -> tuple[int, Any]:
        """Connect to a listener on `over`: (errno, the other end)."""
        listener = self._server(over, server)
        err = _errno_of(sock.connect, listener.getsockname())
        return (err, None) if err else (0, listener.accept()[0])

    def child_of(self, sock: socket.socket, over: str) -> tuple[Any, Any]:
        """Connect to the listener `sock` and accept: (accepted socket, the client)."""
        device = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        client = socket.socket(sock.family if sock.family == V4 or ":" in over else V4)
        if device:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        client.connect((over, sock.getsockname()[1]))
        sock.setblocking(False)
        child = sock.accept()[0]
        sock.setblocking(True)
        return child, client

    def configure(self, low: int, high: int, reserved: list[int], autobind_reuse: int) -> None:
        """Set the namespace's range of automatic ports."""
        for name, value in (
            ("ip_local_port_range", f"{low} {high}"),
            ("ip_local_reserved_ports", ",".join(map(str, reserved)) + "\n"),
            ("ip_autobind_reuse", str(autobind_reuse)),
            ("tcp_tw_reuse", "0"),  # else the answers depend on how long the questions take
        ):
            with open(f"/proc/sys/net/ipv4/{name}", "w") as file:
                file.write(value)

    def port_range(self, sock: socket.socket, low: int, high: int) -> None:
        """IP_LOCAL_PORT_RANGE."""
        sock.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", low | high << 16))

    def no_port(self, sock: socket.socket) -> None:
        """IP_BIND_ADDRESS_NO_PORT."""
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)

    def connect_udp(self, sock: socket.socket, over: str) -> None:
        """Connect a UDP socket, which narrows its address."""
        sock.connect((over, 9))

    def time_wait(self, sock: socket.socket, other: socket.socket) -> None:
        """Close both ends, `sock` first: it becomes a TIME_WAIT."""
        sock.close()
        other.close()

    def forget(self, remains: Any) -> None:
        """A TIME_WAIT ends by itself."""

    def toggle(self, sock: socket.socket, reuse: int, reuseport: int) -> None:
        """Set both flags."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuseport)

    def fchown(self, sock: socket.socket, uid: int) -> None:
        """fchown(2)."""
        os.fchown(sock.fileno(), uid, -1)

    def bindtodevice(self, sock: socket.socket, device: str) -> None:
        """SO_BINDTODEVICE."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")

    def close(self, sock: socket.socket) -> None:
        """Close without leaving a TIME_WAIT."""
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def port_of(self, sock: socket.socket) -> int:
        """Return the local port."""
        return int(sock.getsockname()[1])

    def _server(self, over: str, server: int) -> socket.socket:
        plain = over.removeprefix("::ffff:")
        key = f"{plain}/{server}"
        if key not in self._servers:
            listener = socket.socket(V6 if ":" in plain else V4)
            listener.bind((plain, self.SERVER_PORT + server))
            listener.listen(512)
            self._servers[key] = listener
        listener = self._servers[key]
        return _Mapped(listener, self.SERVER_PORT + server) if over.startswith("::ffff:") else listener


class _Mapped:
    """An IPv4 listener that is connected to from an AF_INET6 socket."""

    def __init__(self, listener: socket.socket, port: int) -> None:
        self._address = ("::ffff:" + listener.getsockname()[0], port)
        self.accept = listener.accept

    def getsockname(self) -> tuple[str, int]:
        """Return what to connect to."""
        return self._address


def _errno_of(call: Any, *args: Any) -> int:
    try:
        call(*args)
    except OSError as exc:
        return exc.errno or 0
    return 0


class TwinHost:
    """The same host as Net, tables and functions of the twin."""

    SERVER_PORT = LiveHost.SERVER_PORT

    def __init__(self, seed: int = 0) -> None:
        self.kernel = Kernel(seed)
        self.net: Net = self.kernel.init_net
        table = AddressTable()
        table.add_device(LO, IFF_LOOPBACK)
        table.add_device(2, 0)
        table.add_device(3, 0)
        table.add_address4(LO, 0x7F000001, 8)
        table.add_address6(LO, socket.inet_pton(V6, "::1"), RT_SCOPE_HOST)
        self.net.addrs = table
        self.task = Task(self.kernel, self.net, None, Cred(0, 0, self.net.user_ns), 1, "test")
        self.ifindex = {"": 0, "lo": LO, OTHER_DEVICE: 3}

    def create(self, config: Config, type_: int = socket.SOCK_STREAM) -> Socket:
        """Make a socket with the options of `config`."""
        sk: InetSock
        if type_ == socket.SOCK_STREAM:
            sk = new_tcp_sock(self.net, int(config.address.family))
        else:
            sk = new_udp_sock(self.net, int(config.address.family))
        sk.sk_ipv6only = config.address.v6only
        sk.sk_reuse = config.reuse
        sk.sk_reuseport = config.reuseport
        sk.sk_bound_dev_if = self.ifindex[config.device]
        sock = new_socket(self.task, sk)
        sk.sk_uid = config.uid
        return sock

    def bind(self, sock: Socket, address: Address, port: int) -> int:
        """bind(2)."""
        return -(inet_bind if address.family == V4 else inet6_bind)(self.task, sock, address.raw(port))

    def listen(self, sock: Socket) -> int:
        """listen(2)."""
        sk = _csk(sock)
        if sk.sk_state not in (TCP_CLOSE, TCP_LISTEN):
            return errno.EINVAL
        return 0 if sk.sk_state == TCP_LISTEN else -inet_csk_listen_start(sk)

    def unlisten(self, sock: Socket) -> int:
        """shutdown(2) of a listener."""
        sk = _csk(sock)
        if sk.sk_state != TCP_LISTEN:
            return errno.ENOTCONN
        inet_unhash(sk)
        sk.sk_state = TCP_CLOSE
        self._drop_automatic_port(sk)
        return 0

    def connect(self, sock: Socket, over: str, server: int = 0) -> tuple[int, Any]:
        """Connect to a listener on `over`."""
        sk = _csk(sock)
        sk.sk_dport = self.SERVER_PORT + server
        was_any = not any(sk.sk_v6_rcv_saddr) if sk.sk_family == V6 else sk.sk_rcv_saddr == 0
        if sk.sk_family == V6 and ":" in over:
            sk.sk_v6_daddr = socket.inet_pton(V6, over)
        v4 = over.removeprefix("::ffff:")
        addr4 = LOOPBACK4_IPV6 if ":" in v4 else int.from_bytes(socket.inet_aton(v4), "big")
        sk.sk_daddr = addr4
        if was_any or (sk.sk_family == V6 and sk.sk_rcv_saddr == 0):
            # the preferred source of 127.0.0.0/8 is 127.0.0.1
            source = LOOPBACK4_IPV6 if ":" in v4 else 0x7F000001
            mapped = over if over == "::1" else "::ffff:127.0.0.1"
            inet_bhash2_update_saddr(sk, source, socket.inet_pton(V6, mapped))
        sk.sk_state = TCP_SYN_SENT
        err = inet_hash_connect(sk)
        sk.sk_state = TCP_CLOSE if err else TCP_ESTABLISHED
        if err and was_any:
            inet_bhash2_update_saddr(sk, 0, bytes(16))
        return -err, None

    def child_of(self, sock: Socket, over: str) -> tuple[Any, Any]:
        """Make a connection accepted by the listener."""
        listener = _csk(sock)
        child = new_tcp_sock(self.net, listener.sk_family)
        child.sk_reuse, child.sk_reuseport = listener.sk_reuse, listener.sk_reuseport
        child.sk_bound_dev_if, child.sk_ipv6only = listener.sk_bound_dev_if, listener.sk_ipv6only
        child.sk_state = TCP_ESTABLISHED
        child.sk_dport = 60000
        child.sk_num = listener.sk_num
        v4 = over.removeprefix("::ffff:")
        addr4 = LOOPBACK4_IPV6 if ":" in v4 else int.from_bytes(socket.inet_aton(v4), "big")
        child.sk_rcv_saddr = child.sk_daddr = addr4
        if listener.sk_family == V6:
            mapped = over if ":" in over else "::ffff:" + over
            child.sk_v6_rcv_saddr = child.sk_v6_daddr = socket.inet_pton(V6, mapped)
        inet_inherit_port(listener, child)
        inet_ehash_insert(child)
        child_sock = new_socket(self.task, child)
        return child_sock, None

    def configure(self, low: int, high: int, reserved: list[int], autobind_reuse: int) -> None:
        """Set the namespace's range of automatic ports."""
        ipv4 = self.net.ipv4
        ipv4.ip_local_ports_low, ipv4.ip_local_ports_high = low, high
        ipv4.sysctl_local_reserved_ports = [(port, port) for port in sorted(reserved)]
        ipv4.sysctl_ip_autobind_reuse = autobind_reuse
        ipv4.sysctl_tcp_tw_reuse = 0

    def port_range(self, sock: Socket, low: int, high: int) -> None:
        """IP_LOCAL_PORT_RANGE."""
        _sk(sock).local_port_range = low | high << 16

    def no_port(self, sock: Socket) -> None:
        """IP_BIND_ADDRESS_NO_PORT."""
        _sk(sock).inet_assign_bit(INET_FLAGS_BIND_ADDRESS_NO_PORT, True)

    def connect_udp(self, sock: Socket, over: str) -> None:
        """Connect a UDP socket, which narrows its address."""
        sk = sock.sk
        assert isinstance(sk, UdpPortSock)
        v4 = over.removeprefix("::ffff:")
        if sk.sk_rcv_saddr == 0:
            sk.sk_rcv_saddr = LOOPBACK4_IPV6 if ":" in v4 else int.from_bytes(socket.inet_aton(v4), "big")
            if sk.sk_family == V6:
                sk.sk_v6_rcv_saddr = socket.inet_pton(V6, over)
            udp_lib_rehash(sk)
        sk.sk_state = TCP_ESTABLISHED

    def time_wait(self, sock: Socket, other: Any) -> InetTimewaitSock:
        """Replace a connection by its TIME_WAIT."""
        sk = _csk(sock)
        tw = new_timewait_sock(self.net, sk.sk_family)
        tw.sk_reuse, tw.sk_reuseport, tw.sk_ipv6only = sk.sk_reuse, sk.sk_reuseport, sk.sk_ipv6only
        tw.sk_bound_dev_if, tw.sk_dport = sk.sk_bound_dev_if, sk.sk_dport
        tw.sk_rcv_saddr, tw.sk_daddr = sk.sk_rcv_saddr, sk.sk_daddr
        tw.sk_v6_rcv_saddr, tw.sk_v6_daddr = sk.sk_v6_rcv_saddr, sk.sk_v6_daddr
        tw.tw_ts_recent_stamp = 1
        inet_twsk_inherit_port(sk, tw)
        inet_ehash_insert(tw)
        self.close(sock)
        return tw

    def forget(self, remains: Any) -> None:
        """End a TIME_WAIT."""
        if isinstance(remains, InetTimewaitSock):
            inet_ehash_del(remains)
            inet_twsk_bind_unhash(remains)

    def toggle(self, sock: Socket, reuse: int, reuseport: int) -> None:
        """Set both flags."""
        sk = _sk(sock)
        sk.sk_reuse, sk.sk_reuseport = reuse, reuseport

    def fchown(self, sock: Socket, uid: int) -> None:
        """fchown(2)."""
        _sk(sock).sk_uid = uid

    def bindtodevice(self, sock: Socket, device: str) -> None:
        """SO_BINDTODEVICE."""
        _sk(sock).sk_bound_dev_if = self.ifindex[device]

    def close(self, sock: Socket) -> None:
        """close(2)."""
        sk = _sk(sock)
        if isinstance(sk, UdpPortSock):
            udp_lib_unhash(sk)
        elif isinstance(sk, InetConnectionSock):
            inet_unhash(sk)
            sk.sk_state = TCP_CLOSE
            inet_put_port(sk)

    def port_of(self, sock: Socket) -> int:
        """Return the local port."""
        return _sk(sock).sk_num

    def _drop_automatic_port(self, sk: InetConnectionSock) -> None:
        if not sk.sk_userlocks & SOCK_BINDPORT_LOCK:
            inet_put_port(sk)


class FixedPrng(Prng):
    """A generator whose `below` gives one chosen number, to walk through every start of a search."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def below(self, limit: int) -> int:
        """Return the chosen number, folded into [0, limit)."""
        return self.value % limit


def _sk(sock: Socket) -> InetSock:
    assert isinstance(sock.sk, InetSock)
    return sock.sk


def _csk(sock: Socket) -> InetConnectionSock:
    assert isinstance(sock.sk, InetConnectionSock)
    return sock.sk
