"""What a run knows of its sockets: descriptors, connections, the one under test."""

import struct

from twinsock.runtime.packetdrill.config import Config
from twinsock.runtime.packetdrill.live import CHILD, LISTENING, NEW, Connection
from twinsock.runtime.packetdrill.packets import LivePacket
from twinsock.runtime.packetdrill.script import INBOUND, PacketEvent

_FIRST_REMOTE_PORT = 34000


class State:
    """The sockets of a run."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.fds: dict[int, int] = {}  # script's -> live
        self.sockets: dict[int, Connection] = {}  # by the script's descriptor
        self.connections: list[Connection] = []
        self.under_test: Connection | None = None
        self.start_ns = 0
        self.start_realtime_ns = 0
        self.next_remote_port = _FIRST_REMOTE_PORT

    def new_socket(self, script_fd: int, live_fd: int, type_: int) -> None:
        """Note a socket that the script made: it is the one under test."""
        conn = Connection(type_)
        conn.live_fd = live_fd
        self.fds[script_fd] = live_fd
        self.sockets[script_fd] = conn
        self.connections.append(conn)
        self.under_test = conn

    def accepted(self, script_fd: int, live_fd: int) -> None:
        """Note a descriptor that accept(2) gave: it belongs to the first child that has none."""
        self.fds[script_fd] = live_fd
        for conn in self.connections:
            if conn.state == CHILD and conn.live_fd < 0:
                conn.live_fd = live_fd
                self.sockets[script_fd] = conn
                return
        conn = Connection()
        conn.live_fd = live_fd
        self.sockets[script_fd] = conn

    def sockaddr(self, local: bool, port: int) -> bytes:
        """Return the address that `...` stands for."""
        config = self.config
        addr = config.addresses()[0 if local else 1]
        if config.variant == "ipv4":
            return struct.pack("=H", 2) + port.to_bytes(2, "big") + addr + bytes(8)
        if config.variant == "ipv4-mapped-ipv6":
            addr = bytes(10) + b"\xff\xff" + addr
        return struct.pack("=H", 10) + port.to_bytes(2, "big") + bytes(4) + addr + bytes(4)

    def connection_for(self, event: PacketEvent) -> Connection | None:
        """Find, or make, the connection that a packet of the script belongs to."""
        if event.sport:
            ports = (event.sport, event.dport) if event.direction == INBOUND else (event.dport, event.sport)
            for conn in self.connections:
                if conn.script_ports == ports:
                    return conn
            if event.direction == INBOUND and self.under_test is not None and self.under_test.state == CHILD:
                listener = [conn for conn in self.connections if conn.state == LISTENING]
                if listener:
                    return self._child(listener[-1], ports)
        else:
            ports = None
        conn_or_none = self.under_test
        if conn_or_none is not None and conn_or_none.state == LISTENING and event.direction == INBOUND and event.protocol != "icmp":
            return self._child(conn_or_none, ports)
        if conn_or_none is not None:
            conn_or_none.script_ports = conn_or_none.script_ports or ports
            if conn_or_none.type == 2 and conn_or_none.local_port == 0:
                conn_or_none.local_port = conn_or_none.bind_port
        return conn_or_none

    def _child(self, listener: Connection, ports: tuple[int, int] | None) -> Connection:
        child = Connection(listener.type)
        child.state = CHILD
        child.script_ports = ports
        child.local_port = listener.bind_port or self.config.bind_port
        child.remote_port = self.next_remote_port
        self.next_remote_port += 1
        self.connections.append(child)
        self.under_test = child
        return child

    def belongs(self, packet: LivePacket, conn: Connection) -> bool:
        """Tell whether a packet that went out is this connection's; one without ports yet takes the first new one."""
        if conn.local_port and conn.remote_port:
            return conn.owns(packet)
        if packet.dport != (conn.remote_port or self.config.connect_port) or conn.state != NEW:
            return False
        return not any(other.owns(packet) for other in self.connections)
