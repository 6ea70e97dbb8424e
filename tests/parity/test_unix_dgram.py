"""Datagram UNIX sockets: connect, flow control, readiness, peers that go; and what each size is charged."""

import pytest

from tests.parity.unix_system import DGRAM, NONBLOCK, SEQPACKET, STREAM, System, same, un

pytestmark = pytest.mark.root

OOB, PEEK, DONTWAIT, NOSIGNAL = 1, 2, 0x40, 0x4000
INQ, OUTQ = 0x541B, 0x5411
UNSPEC = b"\0\0"


def _seconds(milliseconds: int) -> bytes:
    return (0).to_bytes(8, "little") + (milliseconds * 1000).to_bytes(8, "little")


def _fill(k: System, fd: int, data: bytes = b"x", addr: bytes = b"") -> object:
    """Send until that would block; return how many and the error."""
    count = 0
    while True:
        ret = k.sendto(fd, data, addr, DONTWAIT) if addr else k.send(fd, data, DONTWAIT)
        if isinstance(ret, str):
            return count, ret
        count += 1


def test_connect_errors_of_datagram_sockets_come_in_linux_order() -> None:
    def program(k: System) -> object:
        k.touch("file")
        k.listener(STREAM, "stream")
        k.listener(STREAM, "\0stream")
        k.close(k.bound(DGRAM, "stale"))
        k.bound(DGRAM, "ok")
        out = []
        for target in ("none", "file", "stream", "\0stream", "stale", "file/x", "ok"):
            out += [k.connect(k.socket(DGRAM), un(target)), k.sendto(k.socket(DGRAM), b"x", un(target))]
        for raw in (b"", b"\1", b"\1\0", b"\2\0abc", b"\1\0" + b"a" * 109):
            out += [k.connect(k.socket(DGRAM), raw), k.sendto(k.socket(DGRAM), b"x", raw)]
        return out

    same(program)


def test_a_connected_receiver_refuses_third_parties() -> None:
    def program(k: System) -> object:
        a, b = k.bound(DGRAM, "\0a"), k.bound(DGRAM, "\0b")
        early, late, far = k.socket(DGRAM), k.socket(DGRAM), k.socket(DGRAM)
        out = [k.connect(early, un("\0a")), k.send(early, b"before"), k.connect(a, un("\0b")), k.poll(a), k.poll(b)]
        out += [k.send(early, b"after"), k.connect(late, un("\0a")), k.sendto(far, b"x", un("\0a")), k.recv(a, 9), k.recv(a, 9, DONTWAIT)]
        out += [k.connect(b, un("\0a")), k.send(b, b"friend"), k.recvfrom(a, 9), k.sendto(a, b"self", un("\0a"))]
        out += [k.connect(a, UNSPEC), k.send(a, b"x"), k.send(early, b"again"), k.recvfrom(a, 9), k.getpeername(a), k.poll(b)]
        return [*out, k.connect(a, b"\0"), k.connect(a, UNSPEC), k.connect(k.socket(DGRAM), UNSPEC + b"xyz")]

    same(program)


def test_a_socket_connected_to_itself_works() -> None:
    def program(k: System) -> object:
        a = k.bound(DGRAM, "\0a")
        out = [k.connect(a, un("\0a")), k.send(a, b"me"), k.poll(a), k.recvfrom(a, 9), k.sendto(a, b"x", un("\0a"))]
        out.append(_fill(k, a))
        return [*out, k.poll(a), k.connect(k.socket(DGRAM), un("\0a")), k.ioctl(a, INQ), k.ioctl(a, OUTQ)]

    same(program)


@pytest.mark.parametrize("qlen", [10, 1, 0, 3, 50])
def test_receiver_takes_one_message_more_than_max_dgram_qlen(qlen: int) -> None:
    def program(k: System) -> object:
        k.max_dgram_qlen(qlen)
        receiver = k.bound(DGRAM, "\0r")
        connected, free = k.socket(DGRAM), k.socket(DGRAM)
        k.connect(connected, un("\0r"))
        out = [_fill(k, connected), _fill(k, free, addr=un("\0r")), k.poll(connected), k.poll(free), k.poll(receiver)]
        out += [k.recv(receiver, 9), k.poll(connected), _fill(k, connected), k.poll(connected)]
        a, b = k.socketpair(DGRAM)
        return [*out, _fill(k, a), k.poll(a), k.poll(b)]

    same(program)


def test_max_dgram_qlen_counts_when_the_socket_was_made() -> None:
    def program(k: System) -> object:
        before = k.bound(DGRAM, "\0before")
        k.max_dgram_qlen(2)
        k.bound(DGRAM, "\0after")
        sender = k.socket(DGRAM)
        return [_fill(k, sender, addr=un("\0before")), _fill(k, sender, addr=un("\0after")), k.poll(before)]

    same(program)


def test_poller_of_a_full_peer_wakes_when_the_peer_reads() -> None:
    def program(k: System) -> object:
        receiver = k.bound(DGRAM, "\0r")
        sender = k.socket(DGRAM)
        k.connect(sender, un("\0r"))
        _fill(k, sender)
        k.later(20, lambda other: other.recv(receiver, 9))
        begin = k.now_ms()
        out = [k.poll(sender, 4, 2000), 10 < k.now_ms() - begin < 1500, k.send(sender, b"x"), k.poll(sender)]
        k.later(20, lambda other: other.close(receiver))
        return [*out, k.poll(sender, 4, 2000), k.send(sender, b"x"), k.poll(sender)]

    same(program)


def test_poller_of_a_full_peer_wakes_when_it_is_disconnected() -> None:
    def program(k: System) -> object:
        k.bound(DGRAM, "\0r")
        sender = k.socket(DGRAM)
        k.connect(sender, un("\0r"))
        _fill(k, sender)
        k.later(20, lambda other: other.connect(sender, UNSPEC))
        return [k.poll(sender), k.poll(sender, 4, 2000), k.poll(sender)]

    same(program)


def test_blocked_sender_wakes_when_the_receiver_reads_times_out_or_the_receiver_goes() -> None:
    def program(k: System) -> object:
        receiver = k.bound(DGRAM, "\0r")
        sender, free = k.socket(DGRAM), k.socket(DGRAM)
        k.connect(sender, un("\0r"))
        _fill(k, sender)
        k.later(20, lambda other: other.recv(receiver, 9))
        out = [k.send(sender, b"y")]
        k.later(20, lambda other: other.recv(receiver, 9))
        out.append(k.sendto(free, b"z", un("\0r")))
        k.setsockopt(sender, 1, 21, _seconds(20))
        out.append(k.send(sender, b"t"))
        k.later(20, lambda other: other.shutdown(receiver, 0))
        k.setsockopt(sender, 1, 21, _seconds(400))
        out.append(k.send(sender, b"shutdown wakes no sender"))
        k.setsockopt(sender, 1, 21, bytes(16))
        other_receiver = k.bound(DGRAM, "\0q")
        k.connect(sender, un("\0q"))
        _fill(k, sender)
        k.later(20, lambda other: other.close(other_receiver))
        return [*out, k.send(sender, b"c"), k.send(sender, b"c"), k.getpeername(sender)]

    same(program)


def test_peer_closed_gives_refused_once_and_drops_the_association() -> None:
    def program(k: System) -> object:
        out = []
        for pair in (True, False):
            if pair:
                a, b = k.socketpair(DGRAM)
            else:
                b, a = k.bound(DGRAM, "\0b"), k.socket(DGRAM)
                k.connect(a, un("\0b"))
            k.send(a, b"unread")
            k.send(b, b"reply")
            k.close(b)
            out += [k.poll(a), k.getpeername(a), k.send(a, b"x"), k.getpeername(a), k.send(a, b"x"), k.recv(a, 9, DONTWAIT), k.poll(a)]
        return [*out, k.signals()]

    same(program)


def test_connecting_elsewhere_throws_away_what_the_old_peer_sent() -> None:
    def program(k: System) -> object:
        a, b, c = k.bound(DGRAM, "\0a"), k.bound(DGRAM, "\0b"), k.bound(DGRAM, "\0c")
        k.connect(a, un("\0b"))
        k.connect(b, un("\0a"))
        k.send(b, b"lost")
        out = [k.ioctl(a, INQ), k.connect(a, un("\0c")), k.poll(a), k.recv(a, 9, DONTWAIT), k.poll(b), k.recv(b, 9, DONTWAIT)]
        out += [k.send(b, b"x"), k.getint(b, 4), k.send(a, b"to c"), k.recvfrom(c, 9), k.connect(a, un("\0c")), k.poll(c)]
        k.send(c, b"no peer")
        return [*out, k.sendto(c, b"mail", un("\0a")), k.connect(a, UNSPEC), k.recv(a, 9, DONTWAIT), k.poll(a), k.poll(c)]

    same(program)


def test_shutdown_stops_one_direction_of_a_datagram_socket() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(DGRAM)
        k.send(a, b"queued")
        out = [k.shutdown(b, 0), k.poll(b), k.poll(a), k.send(a, b"x"), k.recv(b, 9, DONTWAIT), k.recv(b, 9, DONTWAIT), k.recv(b, 9)]
        out += [
            k.shutdown(a, 1),
            k.send(a, b"x"),
            k.poll(a),
            k.send(b, b"back"),
            k.recv(a, 9),
            k.poll(b),
            k.shutdown(b, 2),
            k.poll(b),
            k.send(b, b"x"),
        ]
        return [*out, k.signals()]

    same(program)


def test_order_of_errors_when_sending_a_datagram() -> None:
    def program(k: System) -> object:
        big = b"x" * 300000
        fd, shut = k.socket(DGRAM), k.socket(DGRAM)
        k.shutdown(shut, 1)
        out = []
        for sock in (fd, shut):
            for data in (b"x", big):
                out += [
                    k.send(sock, data),
                    k.sendto(sock, data, un("none")),
                    k.sendto(sock, data, un("\0none")),
                    k.sendto(sock, data, b"\2\0a"),
                ]
                out += [k.send(sock, data, OOB), k.sendto(sock, data, b"\1\0", OOB)]
        return out

    same(program)


def test_pending_error_is_reported_before_data() -> None:
    def program(k: System) -> object:
        a, b = k.bound(DGRAM, "\0a"), k.bound(DGRAM, "\0b")
        k.connect(a, un("\0b"))
        k.connect(b, un("\0a"))
        k.send(a, b"for b")
        k.send(b, b"for a")
        k.connect(a, UNSPEC)
        return [k.poll(b), k.recv(b, 9), k.recv(b, 9, DONTWAIT), k.send(b, b"x"), k.recv(a, 9, DONTWAIT)]

    same(program)


def test_empty_messages_are_delivered_and_peeked() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (DGRAM, SEQPACKET):
            a, b = k.socketpair(type_)
            out += [
                k.send(a, b""),
                k.poll(b),
                k.recv(b, 9, PEEK),
                k.recv(b, 9, PEEK),
                k.ioctl(b, INQ),
                k.recv(b, 9),
                k.recv(b, 9, DONTWAIT),
            ]
            k.send(a, b"")
            k.send(a, b"x")
            k.setint(b, 42, 0)
            out += [k.recv(b, 9, PEEK), k.recv(b, 9, PEEK), k.recv(b, 9, PEEK | DONTWAIT), k.recv(b, 9), k.recv(b, 9)]
        return out

    same(program)


@pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])
def test_messages_are_charged_their_memory_at_every_size_step(type_: int) -> None:
    def program(k: System) -> object:
        out = []
        edges = (192, 704, 1728, 3776, 4096, 7872, 8192, 16064, 20160, 32768, 36544, 40640, 73088, 85696, 89792, 131072, 212960)
        for edge in edges:
            for size in (edge - 1, edge, edge + 1):
                a, _ = k.socketpair(type_)
                k.setint(a, 32, 1 << 22)
                out.append((size, k.send(a, b"x" * size, DONTWAIT), k.ioctl(a, OUTQ)))
        return out

    same(program)


@pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])
@pytest.mark.parametrize("size", [1, 100, 1000, 4096, 5000, 20000, 200000, 212960, 212961, 1000000])
def test_send_buffer_limits_what_waits_at_the_peer(type_: int, size: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        sizes = []
        while not isinstance(ret := k.send(a, b"x" * size, DONTWAIT), str) and len(sizes) < 1000:
            sizes.append(ret)
        return [
            len(sizes),
            sum(sizes),
            ret,
            k.ioctl(a, OUTQ),
            k.ioctl(b, INQ),
            k.poll(a),
            k.getsockopt(a, 1, 55, 36),
            k.getsockopt(b, 1, 55, 36),
        ]

    same(program)


@pytest.mark.parametrize("sndbuf", [0, 2304, 4000, 10000, 100000, 300000])
def test_smaller_send_buffers_limit_size_and_number(sndbuf: int) -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            for size in (1, 1500, 30000):
                a, b = k.socketpair(type_)
                k.setint(a, 7, sndbuf)
                sent = [k.send(a, b"x" * size, DONTWAIT) for _ in range(5)]
                limit = k.getint(a, 7) - 32
                out += [
                    sent,
                    k.ioctl(a, OUTQ),
                    k.poll(a),
                    k.send(a, b"x" * limit, DONTWAIT),
                    k.send(a, b"x" * (limit + 1), DONTWAIT),
                    k.poll(b),
                ]
        return out

    same(program)


def test_receive_buffer_is_not_used() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            a, b = k.socketpair(type_)
            k.setint(b, 8, 0)
            out += [k.getint(b, 8), _fill(k, a, b"x" * 1000), k.getsockopt(b, 1, 55, 36)]
        return out

    same(program)


def test_closed_sender_s_messages_stay_readable_with_its_name() -> None:
    def program(k: System) -> object:
        receiver = k.bound(DGRAM, "\0r")
        sender = k.bound(DGRAM, "\0s")
        k.sendto(sender, b"one", un("\0r"))
        k.close(sender)
        again = k.bound(DGRAM, "\0s")
        k.sendto(again, b"two", un("\0r"))
        return [k.recvfrom(receiver, 9), k.recvfrom(receiver, 9), k.recv(receiver, 9, DONTWAIT | NONBLOCK)]

    same(program)


def test_timestamps_come_with_datagrams_but_not_with_streams() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            for option in (29, 35, 63, 64):
                a, b = k.socketpair(type_)
                k.send(a, b"early")
                out.append(k.setint(b, option, 1))
                k.send(a, b"late")
                for _ in range(2):
                    got = k.recvmsg(b, 5, 100, DONTWAIT)
                    out.append(got if isinstance(got, str) else (got.data, [(level, kind, len(data)) for level, kind, data in got.cmsgs]))
        return out

    same(program)


def test_a_filter_drops_or_cuts_datagrams_in_silence() -> None:
    def program(k: System) -> object:
        # ldb [0]; jeq 'd', 0, 1; ret 0; ret 2
        code = [(0x30, 0, 0, 0), (0x15, 0, 1, ord("d")), (6, 0, 0, 0), (6, 0, 0, 2)]
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            a, b = k.socketpair(type_)
            out.append(k.attach_filter(b, code))
            for data in (b"drop", b"keep", b""):
                out += [k.send(a, data), k.ioctl(a, OUTQ), k.recv(b, 9, DONTWAIT)]
        return out

    same(program)
