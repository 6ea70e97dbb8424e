"""Stream and sequenced-packet connections: listen, connect, accept, send, receive, shutdown, close, readiness."""

import pytest

from tests.parity.unix_system import ALL_BITS, DGRAM, NONBLOCK, SEQPACKET, STREAM, System, same, un

pytestmark = pytest.mark.root

OOB, PEEK, TRUNC, DONTWAIT, WAITALL, NOSIGNAL = 1, 2, 0x20, 0x40, 0x100, 0x4000
INQ, OUTQ, ATMARK, UNIXFILE = 0x541B, 0x5411, 0x8905, 0x89E0
CONNECTED_TYPES = pytest.mark.parametrize("type_", [STREAM, SEQPACKET])
ALL_TYPES = pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])


@ALL_TYPES
def test_listen_needs_a_name_a_connection_type_and_no_connection(type_: int) -> None:
    def program(k: System) -> object:
        fd = k.socket(type_)
        out = [k.listen(fd, 5), k.accept(fd), k.bind(fd, un("\0n")), k.accept(fd), k.listen(fd, 5), k.listen(fd, 3), k.getint(fd, 30)]
        a, _ = k.socketpair(type_)
        out += [k.listen(a, 1), k.bind(a, un("\0pair")), k.listen(a, 1), k.accept(a)]
        client = k.socket(type_)
        out += [k.connect(client, un("\0n")), k.bind(client, un("\0c")), k.listen(client, 1)]
        return [*out, k.poll(fd), k.poll(a), k.poll(client), k.connect(fd, un("\0n")), k.bind(fd, un("\0again"))]

    same(program)


@CONNECTED_TYPES
@pytest.mark.parametrize("backlog", [0, 1, 2, 5, -1, 100000])
def test_backlog_b_takes_b_plus_one_connections(type_: int, backlog: int) -> None:
    def program(k: System) -> object:
        k.listener(type_, "\0n", backlog)
        results = [k.connect(k.socket(type_ | NONBLOCK), un("\0n")) for _ in range(12)]
        return [results, k.connect(k.socket(type_ | NONBLOCK), un("\0none"))]

    same(program)


def test_backlog_may_be_lowered_and_raised_later() -> None:
    def program(k: System) -> object:
        fd = k.listener(STREAM, "\0n", 0)
        out = [k.connect(k.socket(STREAM | NONBLOCK), un("\0n")) for _ in range(2)]
        k.listen(fd, 2)
        out += [k.connect(k.socket(STREAM | NONBLOCK), un("\0n")) for _ in range(3)]
        k.listen(fd, 0)
        k.accept(fd)
        return [*out, k.connect(k.socket(STREAM | NONBLOCK), un("\0n"))]

    same(program)


def test_backlog_is_clamped_to_somaxconn_of_4096() -> None:
    def program(k: System) -> object:
        k.limit_files(20000)
        k.listener(STREAM, "\0n", 100000)
        done = 0
        while k.connect(fd := int(k.socket(STREAM | NONBLOCK)), un("\0n")) == 0:
            k.close(fd)
            done += 1
        return done

    assert same(program) == 4097


@CONNECTED_TYPES
def test_connect_errors_come_in_linux_order(type_: int) -> None:
    def program(k: System) -> object:
        other = SEQPACKET if type_ == STREAM else STREAM
        k.touch("file")
        k.mkdir("dir")
        k.listener(other, "other")
        k.listener(other, "\0other")
        k.bound(type_, "bound")
        k.bound(DGRAM, "dgram")
        k.close(k.listener(type_, "stale"))
        k.listener(type_, "\0l")
        targets = ["none", "none/x", "file/x", "file", "dir", "other", "\0other", "bound", "dgram", "stale", "\0none", "\0l"]
        fresh = [k.connect(k.socket(type_), un(t)) for t in targets]
        connected, listening = k.client(type_, "\0l"), k.listener(type_, "\0me")
        own = k.bound(type_, "\0own")
        more = [[k.connect(fd, un(t)) for t in targets] for fd in (connected, listening)]
        raw = [k.connect(k.socket(type_), a) for a in (b"", b"\1", b"\1\0", b"\0\0", b"\2\0abc", b"\0\0abc", b"\1\0" + b"a" * 109)]
        return [fresh, more, raw, k.connect(own, un("\0own")), k.connect(listening, un("\0me")), k.connect(k.socket(type_), un("\0own"))]

    same(program)


@CONNECTED_TYPES
def test_connecting_to_a_listener_that_shut_down_reading_is_refused(type_: int) -> None:
    def program(k: System) -> object:
        fd = k.listener(type_, "\0n")
        k.client(type_, "\0n")
        out = [k.shutdown(fd, 0), k.poll(fd), k.connect(k.socket(type_), un("\0n"))]
        out += [k.accept(fd, NONBLOCK) > 0]
        k.fcntl(fd, 4, NONBLOCK)
        out.append(k.accept(fd))
        k.fcntl(fd, 4, 0)
        return [*out, k.accept(fd)]

    same(program)


@CONNECTED_TYPES
def test_client_may_send_before_accept_and_leave_before_accept(type_: int) -> None:
    def program(k: System) -> object:
        listener = k.listener(type_, "\0n", 1)
        stays, leaves = k.client(type_, "\0n"), k.client(type_, "\0n")
        out = [k.send(stays, b"early"), k.send(leaves, b"bye"), k.poll(stays), k.poll(listener), k.close(leaves)]
        out.append(k.connect(k.socket(type_ | NONBLOCK), un("\0n")))
        a, b = k.accept(listener), k.accept(listener)
        out += [k.poll(a), k.poll(b), k.recv(a, 9), k.recv(b, 9), k.recv(b, 9), k.send(b, b"x", NOSIGNAL), k.poll(b), k.poll(a)]
        k.fcntl(listener, 4, NONBLOCK)
        return [*out, k.accept(listener), k.poll(listener)]

    same(program)


@CONNECTED_TYPES
def test_closing_the_listener_resets_clients_that_wait(type_: int) -> None:
    def program(k: System) -> object:
        listener = k.listener(type_, "\0n")
        silent, sender = k.client(type_, "\0n"), k.client(type_, "\0n")
        out = [k.send(sender, b"x"), k.close(listener), k.poll(silent), k.poll(sender)]
        for fd in (silent, sender):
            out += [k.send(fd, b"y", NOSIGNAL), k.recv(fd, 9), k.recv(fd, 9), k.send(fd, b"y", NOSIGNAL), k.poll(fd)]
        return [*out, k.getpeername(silent)]

    same(program)


@CONNECTED_TYPES
@pytest.mark.parametrize("unread", [False, True])
def test_peer_closing_gives_end_of_file_or_one_reset(type_: int, unread: bool) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        if unread:
            k.send(a, b"lost")
        k.send(b, b"last")
        k.close(b)
        out = [k.poll(a), k.recv(a, 2, PEEK), k.recv(a, 2), k.recv(a, 9), k.recv(a, 9), k.recv(a, 9), k.poll(a)]
        return [*out, k.send(a, b"x"), k.signals(), k.send(a, b""), k.write(a, b"x"), k.signals(), k.getint(a, 4), k.shutdown(a, 2)]

    same(program)


@CONNECTED_TYPES
def test_reset_is_reported_by_so_error_once(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.send(a, b"lost")
        k.close(b)
        return [k.getint(a, 4), k.getint(a, 4), k.recv(a, 9), k.poll(a)]

    same(program)


@CONNECTED_TYPES
@pytest.mark.parametrize("how", [0, 1, 2])
def test_shutdown_of_one_end_shows_at_both(type_: int, how: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.send(a, b"a")
        k.send(b, b"b")
        out = [k.shutdown(a, how), k.poll(a), k.poll(b)]
        out += [k.send(a, b"x", NOSIGNAL), k.send(b, b"x", NOSIGNAL), k.send(a, b"", NOSIGNAL), k.send(b, b"", NOSIGNAL)]
        out += [k.recv(a, 1, DONTWAIT), k.recv(b, 1, DONTWAIT), k.recv(a, 9, DONTWAIT), k.recv(b, 9, DONTWAIT), k.poll(a), k.poll(b)]
        out += [k.shutdown(b, 1), k.poll(a), k.poll(b), k.recv(a, 9, DONTWAIT), k.recv(b, 9, DONTWAIT)]
        return [*out, k.shutdown(a, 3), k.shutdown(a, -1), k.shutdown(a, 7), k.signals()]

    same(program)


@ALL_TYPES
@pytest.mark.parametrize("how", [0, 1, 2])
def test_shutdown_works_without_a_connection(type_: int, how: int) -> None:
    def program(k: System) -> object:
        fd = k.socket(type_)
        out = [k.poll(fd), k.shutdown(fd, how), k.poll(fd), k.recv(fd, 9, DONTWAIT), k.send(fd, b"x", NOSIGNAL)]
        k.listener(STREAM, "\0l")
        return [*out, k.bind(fd, un("\0n")), k.listen(fd, 2), k.poll(fd), k.connect(k.socket(type_ | NONBLOCK), un("\0n"))]

    same(program)


@pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])
def test_calls_on_an_unconnected_socket(type_: int) -> None:
    def program(k: System) -> object:
        fd = k.socket(type_)
        out = [k.send(fd, b"x"), k.send(fd, b""), k.recv(fd, 9, DONTWAIT), k.sendto(fd, b"x", un("\0none")), k.sendto(fd, b"x", b"\1\0")]
        out += [k.sendto(fd, b"x", b"\2\0abc"), k.send(fd, b"x", OOB), k.recv(fd, 1, OOB), k.recv(fd, 0, DONTWAIT), k.read(fd, 0)]
        out += [k.ioctl(fd, INQ), k.ioctl(fd, OUTQ), k.ioctl(fd, ATMARK), k.ioctl(fd, UNIXFILE), k.ioctl(fd, 0x5401)]
        return [*out, k.signals()]

    same(program)


@CONNECTED_TYPES
def test_sendto_with_an_address_on_a_connected_socket(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.bound(type_, "\0n")
        out = [
            k.sendto(a, b"x", un("\0n")),
            k.sendto(a, b"y", b"\2\0zz"),
            k.sendto(a, b"z", b"\1"),
            k.recv(b, 9, DONTWAIT),
            k.recv(b, 9, DONTWAIT),
        ]
        k.close(b)
        return [*out, k.sendto(a, b"x", un("\0n"))]

    same(program)


def test_stream_merges_messages_and_seqpacket_keeps_them_apart() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, SEQPACKET):
            a, b = k.socketpair(type_)
            for data in (b"ab", b"", b"cd", b"e"):
                out.append(k.send(a, data))
            out += [k.ioctl(b, INQ), k.ioctl(a, OUTQ)]
            out += [
                k.recv(b, 3, PEEK),
                k.recv(b, 1),
                k.recv(b, 9, DONTWAIT),
                k.recv(b, 9, DONTWAIT),
                k.recv(b, 9, DONTWAIT),
                k.recv(b, 9, DONTWAIT),
            ]
            out += [k.ioctl(b, INQ), k.ioctl(a, OUTQ)]
        return out

    same(program)


@ALL_TYPES
@pytest.mark.parametrize("flags", [0, TRUNC, PEEK, PEEK | TRUNC, WAITALL | DONTWAIT])
def test_short_buffers_truncate_by_type(type_: int, flags: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.send(a, b"0123456789")
        k.send(a, b"next")
        out = [k.message(b, 4, 0, flags), k.recv(b, 0, flags | DONTWAIT), k.message(b, 4, 0, flags | DONTWAIT)]
        return [*out, k.recv(b, 99, DONTWAIT), k.recv(b, 99, DONTWAIT), k.recv(b, 99, DONTWAIT)]

    same(program)


@ALL_TYPES
def test_receiving_tells_the_sender_s_name(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.send(a, b"unnamed")
        out = [k.recvfrom(b, 99), k.bind(a, un("\0name"))]
        k.send(a, b"named")
        out.append(k.recvfrom(b, 99))
        k.send(a, b"gone")
        k.close(a)
        return [*out, k.recvfrom(b, 99)]

    same(program)


@ALL_TYPES
def test_peek_offset_moves_with_peeks_and_reads(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        out = [k.getint(b, 42), k.setint(b, 42, 2), k.getint(b, 42)]
        for data in (b"abcd", b"efg", b"hij"):
            k.send(a, data)
        for size, flags in ((1, PEEK), (2, PEEK), (9, PEEK), (2, 0), (3, PEEK), (9, PEEK), (9, PEEK), (1, 0), (9, PEEK), (99, 0)):
            out += [k.recv(b, size, flags | DONTWAIT), k.getint(b, 42)]
        return [*out, k.setint(b, 42, -1), k.getint(b, 42), k.setint(b, 42, -5), k.getint(b, 42)]

    same(program)


@CONNECTED_TYPES
def test_rcvlowat_delays_a_blocking_read(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        out = [k.setint(b, 18, 4), k.getint(b, 18), k.setint(b, 18, 0), k.getint(b, 18), k.setint(b, 18, 4)]
        k.send(a, b"ab")
        k.later(20, lambda other: other.send(a, b"cd"))
        return [*out, k.poll(b), k.recv(b, 9), k.recv(b, 9, DONTWAIT)]

    same(program)


def test_waitall_collects_until_the_buffer_is_full() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(STREAM)
        k.send(a, b"ab")
        k.later(20, lambda other: other.send(a, b"cdef"))
        out = [k.recv(b, 5, WAITALL), k.recv(b, 9, DONTWAIT)]
        k.send(a, b"zz")
        k.later(20, lambda other: other.close(a))
        return [*out, k.recv(b, 5, WAITALL), k.recv(b, 5, WAITALL)]

    same(program)


@ALL_TYPES
def test_blocking_receive_wakes_for_data_timeout_and_close(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.later(20, lambda other: other.send(a, b"x"))
        out = [k.recv(b, 9)]
        k.setsockopt(b, 1, 20, (0).to_bytes(8, "little") + (30000).to_bytes(8, "little"))
        begin = k.now_ms()
        out += [k.recv(b, 9), 25 < k.now_ms() - begin < 1500]
        if type_ != DGRAM:
            k.setsockopt(b, 1, 20, bytes(16))
            k.later(10, lambda other: other.close(a))
            out.append(k.recv(b, 9))
        return out

    same(program)


@CONNECTED_TYPES
def test_blocking_accept_wakes_for_a_connection_and_for_shutdown(type_: int) -> None:
    def program(k: System) -> object:
        listener = k.listener(type_, "\0n")
        k.later(20, lambda other: other.client(type_, "\0n"))
        out = [k.accept(listener) > 0]
        k.setsockopt(listener, 1, 20, (0).to_bytes(8, "little") + (20000).to_bytes(8, "little"))
        out.append(k.accept(listener))
        k.setsockopt(listener, 1, 20, bytes(16))
        k.later(20, lambda other: other.shutdown(listener, 0))
        return [*out, k.accept(listener), k.poll(listener)]

    same(program)


@CONNECTED_TYPES
def test_blocking_connect_waits_for_room_times_out_or_is_refused(type_: int) -> None:
    def program(k: System) -> object:
        listener = k.listener(type_, "\0n", 0)
        k.client(type_, "\0n")
        fd = k.socket(type_)
        k.setsockopt(fd, 1, 21, (0).to_bytes(8, "little") + (20000).to_bytes(8, "little"))
        begin = k.now_ms()
        out = [k.connect(fd, un("\0n")), 15 < k.now_ms() - begin < 1500]
        k.setsockopt(fd, 1, 21, bytes(16))
        k.later(20, lambda other: other.accept(listener))
        out.append(k.connect(fd, un("\0n")))
        k.later(20, lambda other: other.listen(listener, 3))
        out.append(k.connect(k.socket(type_), un("\0n")))
        k.listen(listener, 0)
        k.later(20, lambda other: other.close(listener))
        return [*out, k.connect(k.socket(type_), un("\0n"))]

    same(program)


@CONNECTED_TYPES
def test_blocking_send_waits_for_the_reader(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        while k.send(a, b"x" * 1000, DONTWAIT) == 1000:
            pass
        k.later(20, lambda other: [other.recv(b, 1000) for _ in range(80)])
        out = [k.poll(a), k.send(a, b"y" * 1000), k.poll(b, 0, 300)]
        while k.send(a, b"x" * 1000, DONTWAIT) == 1000:
            pass
        k.setsockopt(a, 1, 21, (0).to_bytes(8, "little") + (20000).to_bytes(8, "little"))
        out.append(k.send(a, b"z" * 1000))
        k.setsockopt(a, 1, 21, bytes(16))
        k.later(20, lambda other: other.close(b))
        return [*out, k.send(a, b"q", NOSIGNAL)]

    same(program)


@ALL_TYPES
def test_poll_waits_for_data_room_and_hangup(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.later(20, lambda other: other.send(a, b"x"))
        out = [k.poll(b, 1, 2000), k.recv(b, 1)]
        while k.send(a, b"x" * 1000, DONTWAIT) == 1000:
            pass
        out.append(k.poll(a))
        k.later(20, lambda other: [other.recv(b, 1000, DONTWAIT) for _ in range(300)])
        out.append(k.poll(a, 4, 2000))
        k.later(20, lambda other: other.close(b))
        return [*out, k.poll(a, 1, 5000)]

    same(program)


def test_poll_reports_writable_at_a_quarter_of_the_buffer() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            a, b = k.socketpair(type_)
            k.setint(a, 7, 8000)
            out.append(k.getint(a, 7))
            for _ in range(30):
                out += [k.send(a, b"x", DONTWAIT), k.poll(a), k.ioctl(a, OUTQ)]
            for _ in range(30):
                out += [k.recv(b, 1, DONTWAIT), k.poll(a)]
        return out

    same(program)


def test_poll_with_few_events_asked_for_answers_those_only() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(DGRAM)
        k.send(a, b"x")
        return [[k.poll(b, events) for events in (0, 1, 4, 0x40, 0x300, ALL_BITS)], k.poll(a, 1), k.poll(a, 0x200)]

    same(program)


@pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])
def test_inq_and_outq_count_unread_bytes_and_memory(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        out = []
        for data in (b"12345", b"", b"1234567"):
            k.send(a, data)
            out += [k.ioctl(b, INQ), k.ioctl(a, OUTQ), k.ioctl(a, INQ), k.ioctl(b, OUTQ)]
        for size in (2, 9, 9):
            out += [k.recv(b, size, DONTWAIT), k.ioctl(b, INQ), k.ioctl(a, OUTQ)]
        listener = k.listener(STREAM, "\0l")
        client = k.client(STREAM, "\0l")
        k.send(client, b"x")
        return [*out, k.ioctl(listener, INQ), k.ioctl(listener, OUTQ), k.ioctl(client, OUTQ), k.ioctl(listener, ATMARK)]

    same(program)


def test_so_inq_reports_what_is_left_after_a_stream_read() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            a, b = k.socketpair(type_)
            out += [k.setint(b, 84, v) for v in (1, 0, 2, -1, 1)]
            out += [k.getint(b, 84), k.setsockopt(b, 1, 84, b"\1"), k.setsockopt(b, 1, 84, bytes(8))]
            k.send(a, b"hello")
            for size, room, flags in ((1, 100, PEEK), (1, 100, 0), (1, 16, 0), (1, 0, 0), (9, 20, 0), (1, 100, DONTWAIT)):
                out.append(k.message(b, size, room, flags | DONTWAIT))
            k.close(a)
            out.append(k.message(b, 1, 100) if type_ != DGRAM else None)
        return out

    same(program)


def test_other_option_levels_and_options_of_the_family() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            fd = k.socket(type_)
            out += [k.setsockopt(fd, level, 1, bytes(4)) for level in (0, 6, 17, 41, 255, 999)]
            out += [k.getsockopt(fd, level, 1, 4) for level in (0, 6, 17, 41, 255, 999)]
            out += [k.setint(fd, 15, 1), k.setint(fd, 15, 0), k.setint(fd, 2, 1), k.getint(fd, 2), k.setint(fd, 60, 1), k.setint(fd, 17, 1)]
            out += [k.getint(fd, name) for name in (3, 4, 7, 8, 30, 38, 39, 16, 76, 83, 34)]
            out += [k.getsockopt(fd, 1, name, 64) for name in (31, 17, 59, 77, 28)]
        return out

    same(program)


@pytest.mark.parametrize("type_", range(-1, 12))
@pytest.mark.parametrize("protocol", [-1, 0, 1, 2])
def test_socket_and_socketpair_take_three_types_and_two_protocols(type_: int, protocol: int) -> None:
    def program(k: System) -> object:
        fd, pair = k.socket(type_, protocol), k.pair(type_, protocol)
        out = [fd if isinstance(fd, str) else [k.getint(fd, 3), k.getint(fd, 38), k.getint(fd, 39)]]
        if isinstance(pair, str):
            return [*out, pair]
        a, b = pair
        return [*out, k.getint(a, 3), k.getint(a, 38), k.poll(a), k.peercred(b), k.getsockname(a), k.send(a, b"x"), k.recv(b, 9)]

    same(program)


def test_zerocopy_flag_is_ignored() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(STREAM)
        return [k.send(a, b"x", 0x4000000), k.recv(b, 9), k.recv(a, 9, 0x2000 | DONTWAIT), k.poll(a)]

    same(program)


def test_unix_file_ioctl_needs_a_path_and_privilege() -> None:
    def program(k: System) -> object:
        fds = [k.bound(STREAM, "s"), k.bound(DGRAM, "\0n"), k.socket(STREAM)]
        out = [k.ioctl(fd, UNIXFILE) for fd in fds[1:]]
        k.seteuid(65534)
        return [*out, [k.ioctl(fd, UNIXFILE) for fd in fds]]

    same(program)


def test_interrupting_nothing_connect_twice_and_reuse_after_failure() -> None:
    def program(k: System) -> object:
        k.listener(STREAM, "\0l")
        fd = k.socket(STREAM)
        out = [k.connect(fd, un("\0none")), k.poll(fd), k.connect(fd, un("\0l")), k.poll(fd), k.connect(fd, un("\0l")), k.shutdown(fd, 2)]
        return [*out, k.connect(fd, un("\0l")), k.connect(fd, b"\0\0" + bytes(14)), k.poll(fd)]

    same(program)


@ALL_TYPES
def test_flags_that_mean_nothing_here_are_ignored(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        out = []
        for flag in (4, 8, 0x10, 0x20, 0x80, 0x200, 0x400, 0x800, 0x2000, 0x8000, 0x10000, 0x40000, 0x20000000):
            out += [k.send(a, b"x", flag | DONTWAIT), k.message(b, 9, 0, DONTWAIT)]
        for flag in (4, 8, 0x10, 0x80, 0x200, 0x400, 0x800, 0x2000, 0x8000, 0x10000, 0x20000000):
            k.send(a, b"y")
            out += [k.message(b, 9, 0, flag | DONTWAIT), k.recv(b, 9, flag | DONTWAIT)]
        return out

    same(program)
