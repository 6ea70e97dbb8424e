"""What /proc/net/unix and unix_diag tell of UNIX sockets, and how epoll wakes on them."""

import pytest

from tests.parity.unix_system import DGRAM, SEQPACKET, STREAM, System, same, un
from twinsock.wire.unix_diag import UnixDiagReq

pytestmark = pytest.mark.root

DONTWAIT = 0x40
IN, OUT, ET, ONESHOT, RDHUP = 0x1, 0x4, 0x80000000, 0x40000000, 0x2000
SHOW_ALL = 0x7F


def _busy(k: System) -> list[int]:
    """Make sockets in every state; return those with a file in order of creation."""
    fds: list[int] = [k.socket(type_) for type_ in (STREAM, DGRAM, SEQPACKET)]
    for type_ in (STREAM, SEQPACKET):
        listener = k.listener(type_, f"\0listen{type_}", 3)
        first, second, third = (k.client(type_, f"\0listen{type_}") for _ in range(3))
        accepted = k.accept(listener)
        k.send(first, b"one")
        k.send(second, b"two")
        k.close(third)
        fds += [listener, first, second, accepted]
    path = k.listener(STREAM, "path", 1)
    bound = k.bound(DGRAM, "\0with\0nul\0")
    moved = k.bound(DGRAM, "gone")
    k.unlink("gone")
    sender = k.client(DGRAM, "\0with\0nul\0")
    for data in (b"12345", b"1"):
        k.send(sender, data)
    fds += [path, bound, moved, sender]
    for type_ in (STREAM, DGRAM, SEQPACKET):
        a, b = k.socketpair(type_)
        k.send(a, b"pair")
        k.shutdown(a, 1)
        fds += [a, b]
    lonely, peer = k.socketpair(STREAM)
    k.close(peer)
    return [*fds, lonely]


def _numbers(k: System, fds: list[int]) -> dict[int, str]:
    return {k.ino(fd): f"socket{i}" for i, fd in enumerate(fds)} | {0: "none"}


def test_proc_net_unix_shows_the_same_rows() -> None:
    def program(k: System) -> object:
        names = _numbers(k, _busy(k))
        head, *rows = k.proc_net_unix().split("\n")[:-1]
        out = []
        for row in rows:
            number, inode = row.split()[0], row.split()[6]
            out.append(row.replace(number, "", 1).replace(f" {int(inode):5d}", f" {names[int(inode)]}", 1))
        return [head, sorted(out)]

    same(program)


def test_abstract_names_are_listed_last_in_the_order_of_their_chains() -> None:
    def program(k: System) -> object:
        for i in range(60):
            k.bound((STREAM, DGRAM, SEQPACKET)[i % 3], f"\0name{i}")
        return [row.split("@")[1] for row in k.proc_net_unix().split("\n") if "@" in row]

    same(program)


def test_newest_socket_of_a_chain_is_listed_first() -> None:
    def program(k: System) -> object:
        k.listener(STREAM, "\0n")
        client = k.client(STREAM, "\0n")
        return [row.split()[1:6] for row in k.proc_net_unix().split("\n") if "@n" in row and row.split()[6] != "0"], k.getpeername(client)

    same(program)


@pytest.mark.parametrize("show", [0, 1, 2, 4, 8, 16, 32, 64, SHOW_ALL, 0xFFFFFF80])
def test_unix_diag_tells_the_same_of_every_socket(show: int) -> None:
    def program(k: System) -> object:
        names = _numbers(k, _busy(k))
        files = {k.file_ino("path"): "path"}
        out = []
        for msg in k.diag(UnixDiagReq(0xFFFFFFFF, show)):
            attributes = []
            for kind, value in msg.attributes:
                ids = [int.from_bytes(value[i : i + 4], "little") for i in range(0, len(value), 4)]
                if kind == 1:
                    attributes.append((kind, files.get(ids[0], "unlinked"), len(value)))
                elif kind in (2, 3):
                    attributes.append((kind, [names[i] for i in ids]))
                else:
                    attributes.append((kind, value))
            out.append([msg.type, msg.state, names[msg.inode], attributes])
        return sorted(map(repr, out))

    same(program)


@pytest.mark.parametrize("states", [0, 1 << 1, 1 << 7, 1 << 10, 1 << 1 | 1 << 10, 0xFFF & ~(1 << 7)])
def test_unix_diag_lists_the_states_asked_for(states: int) -> None:
    def program(k: System) -> object:
        names = _numbers(k, _busy(k))
        return sorted((msg.state, names[msg.inode]) for msg in k.diag(UnixDiagReq(states, 0)))

    same(program)


def test_unix_diag_finds_one_socket_by_inode_and_cookie() -> None:
    def program(k: System) -> object:
        fd = k.bound(DGRAM, "\0n")
        ino = k.ino(fd)
        cookie = int.from_bytes(k.getsockopt(fd, 1, 57, 8), "little")
        out = []
        for req in (
            UnixDiagReq(0, SHOW_ALL, ino),
            UnixDiagReq(0, SHOW_ALL, ino, cookie),
            UnixDiagReq(0, 0, ino, cookie + 1),
            UnixDiagReq(0, 0, 0),
            UnixDiagReq(0, 0, 999999999),
        ):
            got = k.diag(req, dump=False)
            out.append(got if isinstance(got, str) else [(m.type, m.state, m.inode == ino, m.cookie == cookie, m.attributes) for m in got])
        return out

    same(program)


def test_read_only_file_system_refuses_new_names_and_serves_old_ones() -> None:
    def program(k: System) -> object:
        k.listener(STREAM, "s")
        k.read_only()
        fd = k.socket(STREAM)
        out = [k.bind(fd, un("t")), k.bind(fd, un("s")), k.bind(fd, un("none/t")), k.bind(fd, un("\0abs")), k.connect(fd, un("s"))]
        out += [k.unlink("s"), k.unlink("none"), k.rename("s", "u"), k.mkdir("d"), k.chmod("s", 0o700), k.touch("f")]
        k.seteuid(65534)
        return [*out, k.connect(k.socket(STREAM), un("s")), k.bind(k.socket(STREAM), un("t"))]

    same(program)


# epoll


@pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])
@pytest.mark.parametrize("extra", [0, ET, ONESHOT, ET | ONESHOT])
def test_epoll_reports_data_room_and_end_in_every_mode(type_: int, extra: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        reader, writer = k.epoll(b, IN | RDHUP | OUT | extra), k.epoll(a, OUT | extra)
        out = [k.epoll_wait(reader), k.epoll_wait(reader), k.epoll_wait(writer), k.epoll_wait(writer)]
        for data in (b"x", b"yy"):
            k.send(a, data)
            out += [k.epoll_wait(reader), k.epoll_wait(reader), k.epoll_wait(writer)]
        out += [k.recv(b, 1), k.epoll_wait(reader), k.epoll_wait(writer), k.recv(b, 9), k.epoll_wait(reader), k.epoll_wait(writer)]
        while k.send(a, b"x" * 1000, DONTWAIT) == 1000:
            pass
        out += [k.epoll_wait(writer), k.epoll_wait(reader)]
        while isinstance(k.recv(b, 1000, DONTWAIT), tuple):
            out.append(k.epoll_wait(writer))
        out += [k.epoll_wait(reader), k.shutdown(a, 1), k.epoll_wait(reader), k.epoll_wait(writer), k.epoll_wait(reader)]
        return [*out, k.shutdown(b, 1), k.epoll_wait(writer), k.close(a), k.epoll_wait(reader), k.epoll_wait(reader)]

    same(program)


@pytest.mark.parametrize("extra", [0, ET, ONESHOT])
def test_epoll_on_a_listener_reports_each_connection(extra: int) -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, SEQPACKET):
            listener = k.listener(type_, f"\0{type_}", 5)
            ep = k.epoll(listener, IN | OUT | extra)
            out.append(k.epoll_wait(ep))
            for _ in range(2):
                k.client(type_, f"\0{type_}")
                out += [k.epoll_wait(ep), k.epoll_wait(ep)]
            k.accept(listener)
            out.append(k.epoll_wait(ep))
            k.accept(listener)
            out += [k.epoll_wait(ep), k.shutdown(listener, 0), k.epoll_wait(ep)]
        return out

    same(program)


@pytest.mark.parametrize("extra", [0, ET])
def test_epoll_on_a_sender_wakes_when_the_full_receiver_reads(extra: int) -> None:
    def program(k: System) -> object:
        receiver = k.bound(DGRAM, "\0r")
        sender = k.client(DGRAM, "\0r")
        ep = k.epoll(sender, OUT | extra)
        out = [k.epoll_wait(ep)]
        while k.send(sender, b"x", DONTWAIT) == 1:
            pass
        out.append(k.epoll_wait(ep))
        for _ in range(3):
            out += [k.recv(receiver, 9), k.epoll_wait(ep), k.epoll_wait(ep)]
        while k.send(sender, b"x", DONTWAIT) == 1:
            pass
        k.later(20, lambda other: other.recv(receiver, 9))
        out.append(k.epoll_wait(ep, 1000))
        k.close(receiver)
        return [*out, k.epoll_wait(ep), k.send(sender, b"x"), k.epoll_wait(ep)]

    same(program)


def test_epoll_wakes_for_urgent_bytes_and_errors() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(STREAM)
        ep = k.epoll(b, 2 | ET)
        out = [
            k.epoll_wait(ep),
            k.send(a, b"ab", 1),
            k.epoll_wait(ep),
            k.epoll_wait(ep),
            k.recv(b, 1, 1),
            k.send(a, b"c"),
            k.epoll_wait(ep),
        ]
        other = k.epoll(a, ET)
        k.send(a, b"left")
        k.close(b)
        return [*out, k.epoll_wait(other), k.getint(a, 4), k.epoll_wait(other), k.poll(a)]

    same(program)


def test_sigio_is_sent_for_data_room_and_hangup() -> None:
    def program(k: System) -> object:
        out = []
        a, b = k.socketpair(STREAM)
        out += [k.fcntl(b, 8, k.pid), k.fcntl(b, 4, 0o20000), k.signals(), k.send(a, b"x", 1), k.signals()]
        return out

    same(program)
