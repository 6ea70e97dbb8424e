"""One run of `twinsock ss`: asks the kernel for each table and keeps what the rows have in common."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from twinsock.inspect.filter import Condition
    from twinsock.inspect.links import Links
    from twinsock.inspect.netlink_sockets import NetlinkRecord
    from twinsock.inspect.owners import Ghost, OwnerTable
    from twinsock.inspect.packet import PacketRecord
    from twinsock.inspect.port import KernelPort
    from twinsock.inspect.stream import InetSocket, Run
    from twinsock.inspect.unix import UnixRecord
    from twinsock.inspect.virtual import VsockRecord, XdpRecord
    from twinsock.ui.ss_options import Options
    from twinsock.ui.ss_sheet import Row, Sheet

_EXTRA = ("extended", "memory", "info", "options", "tos", "cgroup", "inet-sockopt", "reuse", "unit", "ghosts", "threads")
_CHUNK = 20_000
_PID_LIMIT = 1 << 22  # above: a thread with a table of its own
_REUSE_TEXT = {-1: "?", 0: "-", 1: "addr", 2: "port", 3: "addr,port"}
_SERVICE_PROTOCOL = {"tcp": "tcp", "udp": "udp", "mptcp": "tcp"}


class View:
    """What to show of each socket, and the look-ups that rows share."""

    def __init__(self, port: KernelPort, options: Options) -> None:
        self.port = port
        self.options = options
        self.numeric = options.has("numeric")
        self.resolve = options.has("resolve")
        self.notes: list[str] = []
        self.owners: OwnerTable | None = None
        self._conditions: dict[int, Condition] = {}
        self._links: dict[int, Links] = {}
        self._services: dict[tuple[int, str], str] = {}
        self._ephemeral: tuple[int, int] | None = None
        self._users: dict[int, str] = {}
        self._hosts: dict[bytes, str] = {}
        self._heads: dict[int, str] = {}  # pid -> the text of a holder up to its descriptor
        self._reuse: dict[int, int] = {}
        self.show_users = options.has("processes", "threads")
        self.ours = options.has("reuse", "unit", "ghosts")

    def condition(self, netns: int) -> Condition | None:
        """Read the filter as it is to be understood in a namespace. Raises UsageError."""
        if not self.options.words:
            return None
        if netns not in self._conditions:
            from twinsock.ui.ss_filter import Parser
            from twinsock.ui.ss_names import cgroup_number

            names = all(table.startswith(("unix", "netlink")) for table in self.options.tables)
            parser = Parser(self.options.words, lambda name: self._ifindex(name, netns), cgroup_number, names)
            self._conditions[netns] = parser.parse()
        return self._conditions[netns]

    def _ifindex(self, name: str, netns: int) -> int:
        """Find an interface by name or number. Raises UsageError."""
        from twinsock.ui.args import UsageError, printable

        link = self.links(netns).by_name.get(name)
        if link is not None:
            return link.index
        if name.isascii() and name.isdecimal() and len(name) < 10:
            return int(name)
        raise UsageError(f"there is no interface {printable(name)}")

    def links(self, netns: int) -> Links:
        """List the interfaces of a namespace, once."""
        links = self._links.get(netns)
        if links is None:
            from twinsock.inspect.links import Links, get_links

            try:
                links = get_links(self.port, netns)
            except OSError as error:  # the namespace may have ended meanwhile
                self.note(f"names of interfaces are not shown: {error.strerror}")
                links = Links([])
            self._links[netns] = links
        return links

    def note(self, sentence: str) -> None:
        """Keep a sentence for the end, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def wants_extra(self, table: str) -> bool:
        """Tell whether rows show more than addresses and holders."""
        return self.resolve or self.options.has(*_EXTRA)

    def users_of(self, table: str) -> Callable[[Sequence[int]], list[str]] | None:
        """Give the writer of the last column for a column of inodes, None if nothing is shown."""
        return self.users_column if self.show_users else None

    def users_column(self, inodes: Sequence[int]) -> list[str]:
        """Write the holders of many sockets; most have one."""
        owners = self.owners
        if owners is None:
            return [""] * len(inodes)
        heads = self._heads
        packed = owners.packed_of(inodes)
        for pid in {holder >> 32 for holder in packed}:
            if pid not in heads:
                heads[pid] = f' users:(("{owners.source.comm(pid)}",pid={pid},fd=' if 0 < pid < _PID_LIMIT else ""
        more = owners.more
        texts = [f"{heads[holder >> 32]}{holder & 0xFFFFFFFF}))" for holder in packed]
        if more or "" in heads.values():
            for row, holder in enumerate(packed):
                if not heads[holder >> 32] or inodes[row] in more:
                    texts[row] = self.users(inodes[row])
        return texts

    def users(self, inode: int) -> str:
        """Write who holds a socket: ` users:(("sshd",pid=7,fd=3))`; nothing if nobody is known to."""
        if not inode or self.owners is None or not self.show_users:
            return ""
        text = self._users.get(inode)
        if text is None:
            owners = self.owners
            name = owners.source.comm
            tid = self.options.has("threads")
            parts = [f'("{name(pid)}",pid={pid},{f"tid={pid}," if tid else ""}fd={fd})' for pid, fd in owners.pid_fds(inode)]
            text = self._users[inode] = f" users:({','.join(parts)})" if parts else ""
        return text

    def service(self, number: int, table: str) -> str:
        """Write a port: `*` for 0, a service's name where wanted and known."""
        if not number:
            return "*"
        if self.numeric:
            return str(number)
        key = (number, table)
        text = self._services.get(key)
        if text is None:
            text = self._services[key] = self._service_name(number, table)
        return text

    def _service_name(self, number: int, table: str) -> str:
        import _socket

        if table == "raw":
            from twinsock.ui.ss_names import protocol_name

            return protocol_name(number)
        if self._ephemeral is None:
            self._ephemeral = (32768, 60999)
            words = self.port.read("/proc/sys/net/ipv4/ip_local_port_range").split()
            if len(words) == 2:
                self._ephemeral = (int(words[0]), int(words[1]))
        if self._ephemeral[0] <= number <= self._ephemeral[1]:
            return str(number)
        try:
            return _socket.getservbyport(number, _SERVICE_PROTOCOL.get(table, "tcp"))
        except OSError:
            return str(number)

    def host_name(self, address: bytes) -> str:
        """Look the name of an address up; the address if it has none."""
        import _socket

        from twinsock.inspect.address import format_address, unmapped

        if address not in self._hosts:
            try:
                self._hosts[address] = _socket.getnameinfo((format_address(unmapped(address)), 0), _socket.NI_NAMEREQD)[0]
            except OSError:
                text = format_address(address)
                self._hosts[address] = text if len(address) == 4 else f"[{text}]"
        return self._hosts[address]

    def device(self, index: int, netns: int) -> str:
        """Name an interface."""
        return self.links(netns).name(index)

    def cgroup(self, number: int) -> str:
        """Name a cgroup by its number: its path below the mount of cgroup2, or `unreachable:NUMBER`."""
        from twinsock.ui.ss_names import cgroup_path

        return cgroup_path(number)

    def our_extra(self, inode: int, cookie: int) -> str:
        """Write what ss(8) lacks: reuse flags, the unit or container, the ghost that holds the socket."""
        if not self.ours:
            return ""
        text = ""
        if self.options.has("reuse"):
            text += " reuse:" + _REUSE_TEXT[self.reuse(cookie)]
        if self.options.has("unit"):
            unit = self.unit(inode)
            text += f" unit:{unit}" if unit else ""
        if self.options.has("ghosts"):
            ghost = self.ghost(inode)
            if ghost is not None:
                pid = f",pid={ghost.pid}" if ghost.pid >= 0 else ""
                fd = f",fd={ghost.fd}" if ghost.fd >= 0 else ""
                text += f" ghost:({ghost.kind}{pid}{fd})"
        return text

    def reuse(self, cookie: int) -> int:
        """Tell REUSEADDR 1 | REUSEPORT 2 of a prepared socket, -1 if it cannot be seen."""
        return self._reuse.get(cookie, -1)

    def unit(self, inode: int) -> str:
        """Name the systemd unit or the container of the first holder."""
        holders = self.owners.pid_fds(inode) if self.owners is not None and inode else []
        return self.owners.source.process(holders[0][0]).unit_or_container if self.owners is not None and holders else ""

    def ghost(self, inode: int) -> Ghost | None:
        """Tell why a socket is in no descriptor table; None if it is in one, or has no inode."""
        return self.owners.ghost(inode) if self.owners is not None and inode else None

    def prepared(self, found: Iterable[InetSocket], netns: int) -> Iterator[InetSocket]:
        """Pass sockets on, after asking about many at once what is dear to ask about one."""
        if not self.prepares():
            yield from found
            return
        chunk: list[InetSocket] = []
        for sock in found:
            chunk.append(sock)
            if len(chunk) == _CHUNK:
                self._prepare(chunk, netns)
                yield from chunk
                chunk = []
        self._prepare(chunk, netns)
        yield from chunk

    def prepares(self) -> bool:
        """Tell whether sockets have to be asked about before they are shown."""
        return self.options.has("reuse", "ghosts")

    def prepare(self, found: list[Run], protocol: int, netns: int) -> None:
        """Ask about the sockets of some runs at once."""
        if self.prepares():
            from twinsock.inspect.stream import sockets

            self._prepare(list(sockets(found, protocol, netns)), netns)

    def _prepare(self, chunk: list[InetSocket], netns: int) -> None:
        if self.options.has("reuse") and chunk:
            flags = self.port.reuse_flags(netns, chunk)
            self._reuse = {sock.cookie: bits for sock, bits in zip(chunk, flags, strict=True)}
        if self.options.has("ghosts") and self.owners is not None:
            self.owners.explain_ghosts([sock.inode for sock in chunk if sock.inode])


def fill(sheet: Sheet, view: View, netns: int) -> None:
    """Ask for each table in turn and add its rows. Raises OSError."""
    tables = view.options.tables
    asked: list[str] = []
    for table in tables:
        kind = table.partition("_")[0]
        if kind in ("raw", "udp", "tcp", "mptcp"):
            _fill_inet(sheet, view, table, netns)
        elif kind not in asked:
            asked.append(kind)
            for row in _other_rows(view, kind, netns):
                sheet.add(row)


def _other_rows(view: View, kind: str, netns: int) -> list[Row]:
    """Ask for UNIX, PACKET, NETLINK, VSOCK or XDP sockets; what the kernel has no handler for becomes a note."""
    from twinsock.ui import ss_other

    options = view.options
    try:
        if kind == "unix":
            return [ss_other.unix_row(view, record) for record in unix_records(view, netns)]
        if kind == "vsock":
            return [ss_other.vsock_row(view, record) for record in vsock_records(view, netns)]
        if not options.states >> ss_other.CLOSED & 1:
            return []
        if kind == "packet":
            return [ss_other.packet_row(view, record) for record in packet_records(view, netns)]
        if kind == "netlink":
            return [ss_other.netlink_row(view, record) for record in netlink_records(view, netns)]
        return [ss_other.xdp_row(view, record) for record in xdp_records(view, netns)]
    except OSError as error:
        excuse(view, kind.upper(), error)
        return []


def excuse(view: View, name: str, error: OSError) -> None:
    """Make a note of a missing handler, permission or namespace; other errors are raised."""
    from twinsock.inspect.port import NotAvailable

    if not isinstance(error, (NotAvailable, PermissionError, ProcessLookupError)):
        raise error
    if not isinstance(error, NotAvailable) or name.lower() in view.options.given:
        view.note(f"{name} sockets are not shown: {error.strerror}")


def unix_records(view: View, netns: int) -> list[UnixRecord]:
    from twinsock.inspect.unix import SHOW_ALL, format_name, unix_sockets
    from twinsock.ui import ss_other
    from twinsock.ui.ss_other import UNIX_TYPES

    found = unix_sockets(view.port, view.options.states, SHOW_ALL, netns, view.notes)
    chosen = [record for record in found if UNIX_TYPES.get(record.type, ("",))[0] in view.options.tables]
    condition = view.condition(netns)
    if condition is None:
        return chosen
    names = {record.inode: format_name(record.name) for record in found if record.name}
    return [record for record in chosen if condition.matches(ss_other.unix_subject(record, names))]


def packet_records(view: View, netns: int) -> list[PacketRecord]:
    from twinsock.inspect.packet import SHOW_ALL, packet_sockets
    from twinsock.ui import ss_other
    from twinsock.ui.ss_other import PACKET_TYPES

    found = packet_sockets(view.port, SHOW_ALL, netns)
    chosen = [record for record in found if PACKET_TYPES.get(record.type, ("",))[0] in view.options.tables]
    condition = view.condition(netns)
    return [record for record in chosen if condition is None or condition.matches(ss_other.packet_subject(record))]


def netlink_records(view: View, netns: int) -> list[NetlinkRecord]:
    from twinsock.inspect.netlink_sockets import SHOW_ALL, netlink_sockets
    from twinsock.ui import ss_other

    condition = view.condition(netns)
    found = netlink_sockets(view.port, SHOW_ALL, netns, False)
    return [record for record in found if condition is None or condition.matches(ss_other.netlink_subject(record))]


def vsock_records(view: View, netns: int) -> list[VsockRecord]:
    from twinsock.inspect.virtual import vsock_sockets
    from twinsock.ui.ss_other import VSOCK_TYPES

    found = vsock_sockets(view.port, view.options.states, netns)
    return [record for record in found if VSOCK_TYPES.get(record.type, ("",))[0] in view.options.tables]


def xdp_records(view: View, netns: int) -> list[XdpRecord]:
    from twinsock.inspect.virtual import xdp_sockets

    return xdp_sockets(view.port, netns)


def _fill_inet(sheet: Sheet, view: View, table: str, netns: int) -> None:
    from twinsock.inspect.port import NotAvailable
    from twinsock.ui.ss_inet import add_runs, row_of, sockets_from_proc

    try:
        found = inet_runs(view, table, netns)
    except OSError as error:
        if not isinstance(error, (NotAvailable, PermissionError, ProcessLookupError)):
            raise
        for sock in sockets_from_proc(view, table, netns, error):
            extra = view.users(sock.inode) + view.our_extra(sock.inode, sock.cookie)
            sheet.add(row_of(view, table, sock, extra))
        return
    add_runs(sheet, view, table, found, netns)


def inet_runs(view: View, table: str, netns: int) -> list[Run]:
    """Dump one table of internet sockets with what is to be shown of them. Raises OSError."""
    from twinsock.inspect.filter import compiled
    from twinsock.inspect.stream import dump_kept
    from twinsock.ui.ss_inet import PROTOCOLS

    ext = 0
    if view.wants_extra(table):
        from twinsock.ui.ss_extra import extensions

        ext = extensions(view)
    condition = view.condition(netns)
    program = compiled(condition) if condition else b""
    options = view.options
    return dump_kept(view.port, options.families, PROTOCOLS[table], options.states, ext, program, condition, netns)
