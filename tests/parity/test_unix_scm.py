"""Descriptors, credentials and pidfds on UNIX messages."""

import errno
import struct

import pytest

from tests.parity.unix_system import (
    DGRAM,
    NOBODY,
    SCM_RIGHTS,
    SEQPACKET,
    SOL_SOCKET,
    STREAM,
    System,
    cmsg,
    creds,
    rights,
    same,
    un,
)

pytestmark = pytest.mark.root

PEEK, DONTWAIT, CLOEXEC = 2, 0x40, 0x40000000
PASSCRED, PEERCRED, PASSPIDFD, PEERPIDFD, PASSRIGHTS, PEERGROUPS = 16, 17, 76, 77, 83, 59
F_GETFD = 1
ALL_TYPES = pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])


def _creds(k: System, got: object) -> object:
    """Show control messages with the own pid as 1."""
    if not hasattr(got, "cmsgs"):
        return got
    out = []
    for level, kind, data in got.cmsgs:
        if kind == 2 and len(data) == 12:
            pid, uid, gid = struct.unpack("iII", data)
            out.append(("creds", 1 if pid == k.pid else pid, uid, gid))
        elif kind == 2:
            out.append(("cut", len(data), data[4:]))
        elif kind in (1, 4):
            out.append((level, kind, len(data)))
        else:
            out.append((level, kind, data))
    return [got.ret, got.data, out, got.flags, got.raw_control]


@ALL_TYPES
def test_descriptors_arrive_and_refer_to_the_same_file(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        c, d = k.socketpair(STREAM)
        out = [k.sendmsg(a, b"x", rights(c, d)), k.fdinfo(b), k.close(c), k.poll(d)]
        got = k.recvmsg(b, 9, 200)
        out.append(_creds(k, got))
        new_c, new_d = got.fds()
        k.send(new_c, b"through")
        out += [k.recv(d, 9), k.send(new_d, b"back"), k.recv(new_c, 9), k.fdinfo(b), k.fcntl(new_c, F_GETFD)]
        k.sendmsg(a, b"y", rights(d))
        got = k.recvmsg(b, 9, 200, CLOEXEC)
        return [*out, _creds(k, got), [k.fcntl(fd, F_GETFD) for fd in got.fds()]]

    same(program)


@ALL_TYPES
@pytest.mark.parametrize("count", [0, 1, 2, 252, 253, 254, 300])
def test_at_most_253_descriptors_go_in_one_message(type_: int, count: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        out = [k.sendmsg(a, b"x", rights(*[a] * count))]
        two = rights(*[a] * (count // 2)) + rights(*[b] * (count - count // 2))
        out += [k.sendmsg(a, b"y", two), k.fdinfo(b)]
        for _ in range(2):
            out.append(_creds(k, k.recvmsg(b, 1, 2000, DONTWAIT)))
        return out

    same(program)


@ALL_TYPES
def test_a_bad_descriptor_fails_the_whole_send(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        out = [k.sendmsg(a, b"x", rights(*fds)) for fds in ((a, 999), (-1,), (a, -5, b))]
        return [*out, k.recv(b, 9, DONTWAIT), k.fdinfo(b)]

    same(program)


@pytest.mark.parametrize(
    "control",
    [
        struct.pack("Qii", 15, 1, 1) + bytes(8),
        struct.pack("Qii", 0, 1, 1) + bytes(8),
        struct.pack("Qii", 25, 1, 1) + bytes(8),
        struct.pack("Qii", 16, 1, 1),
        struct.pack("Qii", 17, 1, 1) + bytes(8),
        struct.pack("Qii", 24, 1, 3) + bytes(8),
        struct.pack("Qii", 24, 1, 4) + bytes(8),
        struct.pack("Qii", 24, 1, 99) + bytes(8),
        struct.pack("Qii", 24, 6, 1) + bytes(8),
        struct.pack("Qii", 24, 0, 99) + bytes(8),
        struct.pack("Qii", 24, 1, 2) + bytes(8),
        struct.pack("Qii", 32, 1, 2) + bytes(16),
        bytes(8),
        bytes(15),
        struct.pack("Qii", 16, 6, 1) + struct.pack("Qii", 15, 1, 1),
        struct.pack("Qii", 20, 1, 37) + bytes(8),
    ],
    ids=lambda control: control.hex(),
)
def test_malformed_control_data_is_refused_as_linux_refuses_it(control: bytes) -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            a, b = k.socketpair(type_)
            out += [k.sendmsg(a, b"x", control), k.message(b, 9, 100, DONTWAIT), k.sendmsg(k.socket(type_), b"x", control)]
        return out

    same(program)


@pytest.mark.parametrize("room", [0, 1, 15, 16, 19, 20, 23, 24, 27, 28, 31, 32, 36, 40, 100])
@ALL_TYPES
def test_small_control_buffers_take_what_fits_and_set_ctrunc(room: int, type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.sendmsg(a, b"x", rights(a, a, a, a, a))
        before = k.dup(a)
        got = k.recvmsg(b, 9, room)
        out = [_creds(k, got), len(got.fds()), k.fdinfo(b), k.dup(a) - before]
        k.setint(b, PASSCRED, 1)
        k.setint(b, PASSPIDFD, 1)
        k.sendmsg(a, b"x", rights(a, a))
        got = k.recvmsg(b, 9, room)
        return [*out, _creds(k, got)]

    same(program)


@ALL_TYPES
def test_plain_reads_and_closes_drop_the_descriptors(type_: int) -> None:
    def program(k: System) -> object:
        out = []
        for how in range(4):
            a, b = k.socketpair(type_)
            c, d = k.socketpair(STREAM)
            k.sendmsg(a, b"x", rights(c))
            k.close(c)
            out.append(k.poll(d))
            if how == 0:
                out.append(k.recv(b, 9))
            elif how == 1:
                out.append(_creds(k, k.recvmsg(b, 9)))
            elif how == 2:
                out.append(k.read(b, 9))
            else:
                k.close(b)
            out.append(k.poll(d))
        return out

    same(program)


def test_streams_stop_behind_descriptors_and_join_before_them() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(STREAM)
        out = []
        k.sendmsg(a, b"AB", rights(a))
        k.send(a, b"CD")
        out += [_creds(k, k.recvmsg(b, 9, 100)), _creds(k, k.recvmsg(b, 9, 100))]
        k.send(a, b"12")
        k.sendmsg(a, b"34", rights(a))
        out.append(_creds(k, k.recvmsg(b, 9, 100)))
        k.sendmsg(a, b"abcdef", rights(a))
        k.sendmsg(a, b"gh", rights(a, a))
        for size in (2, 2, 9, 9):
            out.append(_creds(k, k.recvmsg(b, size, 100, DONTWAIT)))
        k.sendmsg(a, b"x" * 100000, rights(a))
        out += [_creds(k, k.recvmsg(b, 200000, 100))[0], k.recv(b, 200000)[0]]
        out += [k.sendmsg(a, b"", rights(a)), k.recvmsg(b, 9, 100, DONTWAIT), k.fdinfo(b)]
        return out

    same(program)


@ALL_TYPES
def test_peeking_duplicates_the_descriptors(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.sendmsg(a, b"1", rights(a))
        k.sendmsg(a, b"2", rights(a, a))
        out = [_creds(k, k.recvmsg(b, 9, 100, PEEK)), k.fdinfo(b), _creds(k, k.recvmsg(b, 9, 100, PEEK))]
        return [*out, _creds(k, k.recvmsg(b, 9, 100)), k.fdinfo(b), _creds(k, k.recvmsg(b, 9, 100)), k.fdinfo(b)]

    same(program)


@ALL_TYPES
def test_empty_messages_may_carry_descriptors_except_on_streams(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        out = [k.sendmsg(a, b"", rights(a)), k.poll(b), k.fdinfo(b)]
        return [*out, _creds(k, k.recvmsg(b, 9, 100, DONTWAIT)) if type_ != STREAM else k.recvmsg(b, 9, 100, DONTWAIT)]

    same(program)


@ALL_TYPES
@pytest.mark.parametrize("free", [0, 1, 2, 5, 9])
def test_receiver_s_descriptor_limit_cuts_the_list(type_: int, free: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.sendmsg(a, b"data", rights(a, a, a, a, a))
        top = k.dup(a)
        k.close(top)
        k.limit_files(top + free)
        got = k.recvmsg(b, 9, 200)
        return [_creds(k, got), [fd - top for fd in got.fds()], k.dup(a) if free == 5 else None]

    same(program)


@ALL_TYPES
def test_receiver_may_refuse_descriptors_with_passrights(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        out = [k.getint(b, PASSRIGHTS), k.sendmsg(a, b"1", rights(a)), k.setint(b, PASSRIGHTS, 0), k.getint(b, PASSRIGHTS)]
        out += [k.sendmsg(a, b"2", rights(a)), k.send(a, b"3"), k.fdinfo(b)]
        out.append(_creds(k, k.recvmsg(b, 9, 100, DONTWAIT)))
        out.append(_creds(k, k.recvmsg(b, 9, 100, DONTWAIT)))
        out += [
            k.setint(a, PASSRIGHTS, 0),
            k.setint(b, PASSRIGHTS, 1),
            k.sendmsg(a, b"4", rights(a)),
            _creds(k, k.recvmsg(b, 9, 100, DONTWAIT)),
        ]
        return out

    same(program)


@pytest.mark.parametrize("type_", [STREAM, SEQPACKET])
def test_options_about_control_data_are_inherited_from_the_listener(type_: int) -> None:
    def program(k: System) -> object:
        listener = k.listener(type_, "\0n")
        for option, value in ((PASSCRED, 1), (PASSPIDFD, 1), (PASSRIGHTS, 0)):
            k.setint(listener, option, value)
        client = k.client(type_, "\0n")
        out = [k.sendmsg(client, b"x", rights(client)), k.send(client, b"y")]
        k.setint(listener, PASSCRED, 0)
        fd = k.accept(listener)
        out += [k.getint(fd, option) for option in (PASSCRED, PASSPIDFD, PASSRIGHTS, 7, 8)]
        return [*out, _creds(k, k.recvmsg(fd, 9, 200, DONTWAIT))]

    same(program)


def test_too_many_descriptors_in_flight_stop_an_unprivileged_user() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(DGRAM)
        k.limit_files(60)
        out = []
        k.seteuid(54321, 54321)
        for _ in range(9):
            out.append(k.sendmsg(a, b"x", rights(*[a] * 10)))
        out.append(k.send(a, b"plain"))
        for _ in range(2):
            k.recv(b, 9)
        out += [k.sendmsg(a, b"x", rights(a)) for _ in range(14)]
        k.seteuid(0)
        return [*out, k.sendmsg(a, b"x", rights(a)), k.fdinfo(b)]

    same(program)


def test_own_credentials_are_filled_in_when_either_side_asked() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            for sender, receiver, later in ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1), (0, 1, 1)):
                a, b = k.socketpair(type_)
                k.setint(a, PASSCRED, sender)
                k.setint(b, PASSCRED, receiver)
                k.send(a, b"x")
                k.setint(b, PASSCRED, later)
                out.append(_creds(k, k.recvmsg(b, 9, 100)))
        return out

    same(program)


def test_data_sent_before_accept_carries_credentials_always() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, SEQPACKET):
            for option in (0, 1):
                name = f"\0n{type_}{option}"
                listener = k.listener(type_, name)
                k.setint(listener, PASSCRED, option)
                client = k.client(type_, name)
                k.send(client, b"early")
                fd = k.accept(listener)
                k.setint(fd, PASSCRED, 1)
                out.append(_creds(k, k.recvmsg(fd, 9, 100)))
        return out

    same(program)


def test_explicit_credentials_are_checked() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(DGRAM)
        k.setint(b, PASSCRED, 1)
        tries = [
            (k.pid, 0, 0),
            (k.pid, 5, 6),
            (1, 0, 0),
            (0, 0, 0),
            (-1, 0, 0),
            (99999999, 0, 0),
            (k.pid, 2**32 - 1, 0),
            (k.pid, 0, 2**32 - 1),
            (1, 2**32 - 1, 0),
        ]
        tries += [(k.pid, NOBODY, NOBODY), (k.pid, NOBODY, 0), (k.pid, 0, NOBODY)]
        out = []
        for uid in (0, NOBODY):
            k.seteuid(uid)
            for args in tries:
                out.append((args[0] == k.pid, args[1:], k.sendmsg(a, b"x", creds(*args))))
        k.seteuid(0)
        while (got := k.recvmsg(b, 9, 100, DONTWAIT)) != errno.errorcode[errno.EAGAIN]:
            out.append(_creds(k, got))
        return out

    same(program)


def test_credentials_are_the_real_ids_and_peercred_the_effective_ones() -> None:
    def program(k: System) -> object:
        k.seteuid(1234)
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            a, b = k.socketpair(type_)
            k.setint(b, PASSCRED, 1)
            k.send(a, b"x")
            out += [_creds(k, k.recvmsg(b, 9, 100)), k.peercred(a), k.peercred(b)]
        return out

    same(program)


def test_peercred_belongs_to_listen_and_connect_time() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, SEQPACKET):
            listener = k.bound(type_, f"\0{type_}")
            out.append(k.peercred(listener))
            k.seteuid(1111)
            k.listen(listener, 5)
            k.seteuid(2222)
            client = k.client(type_, f"\0{type_}")
            k.seteuid(3333)
            fd = k.accept(listener)
            out += [k.peercred(listener), k.peercred(client), k.peercred(fd)]
            k.listen(listener, 3)
            k.seteuid(0)
            k.close(fd)
            out += [k.peercred(client), k.peercred(k.client(type_, f"\0{type_}")), k.setsockopt(client, 1, PEERCRED, bytes(12))]
        fd = k.bound(DGRAM, "\0d")
        other = k.client(DGRAM, "\0d")
        return [*out, k.peercred(fd), k.peercred(other), k.peercred(k.socket(STREAM))]

    same(program)


def test_peer_groups_and_peer_pidfd_exist_where_peercred_does() -> None:
    def program(k: System) -> object:
        k.seteuid(1000)
        a, _ = k.socketpair(STREAM)
        fd = k.socket(STREAM)
        out = [k.getsockopt(s, 1, PEERGROUPS, 64) for s in (a, fd)]
        out.append([isinstance(k.getint(s, PEERPIDFD), int) or k.getint(s, PEERPIDFD) for s in (a, fd)])
        return [*out, k.getsockopt(a, 1, 31, 64)]

    same(program)


@ALL_TYPES
def test_passpidfd_adds_a_descriptor_of_the_sender(type_: int) -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(type_)
        k.send(a, b"before")
        k.setint(b, PASSPIDFD, 1)
        out = [_creds(k, k.recvmsg(b, 9, 100))]
        k.send(a, b"after")
        got = k.recvmsg(b, 9, 100)
        out.append(_creds(k, got))
        fd = struct.unpack("i", got.cmsgs[0][2])[0]
        out += [k.fcntl(fd, F_GETFD), k.poll(fd, 1), k.setint(b, PASSCRED, 1)]
        k.sendmsg(a, b"all", rights(a))
        got = k.recvmsg(b, 9, 200)
        return [*out, _creds(k, got), k.message(b, 9, 100, DONTWAIT)]

    same(program)


def test_streams_do_not_join_messages_of_different_writers() -> None:
    def program(k: System) -> object:
        out = []
        for passcred in (0, 1):
            a, b = k.socketpair(STREAM)
            k.setint(b, PASSCRED, passcred)
            k.send(a, b"one")
            k.send(a, b"two")
            k.sendmsg(a, b"six", creds(k.pid, 6, 6))
            k.send(a, b"end")
            for _ in range(3):
                out.append(_creds(k, k.recvmsg(b, 99, 100, DONTWAIT)))
            k.send(a, b"abc")
            k.sendmsg(a, b"def", creds(k.pid, 7, 7))
            out += [k.recv(b, 99, PEEK | DONTWAIT), k.recv(b, 99, DONTWAIT), k.recv(b, 99, DONTWAIT)]
        return out

    same(program)


def test_descriptors_of_every_kind_of_socket_can_travel() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(STREAM)
        listener = k.listener(STREAM, "\0l")
        waiting = k.client(STREAM, "\0l")
        k.sendmsg(a, b"x", rights(listener))
        k.close(listener)
        out = [k.poll(waiting), k.connect(k.socket(STREAM), un("\0l"))]
        fd = k.recvmsg(b, 1, 100).fds()[0]
        accepted = k.accept(fd)
        return [*out, k.send(waiting, b"hi"), k.recv(accepted, 9)]

    same(program)


def test_unix_control_messages_of_other_levels_are_ignored() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(DGRAM)
        control = cmsg(0, 8, bytes(4)) + cmsg(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", a)) + cmsg(41, 5, bytes(8))
        return [k.sendmsg(a, b"x", control), _creds(k, k.recvmsg(b, 9, 100))]

    same(program)


# Cycles


def _in_use(k: System, fd: int) -> object:
    """Tell what the other end of a pair sees: IN|HUP|RDHUP once the socket in flight is gone.

    Linux looks for cycles when some UNIX socket is closed for good."""
    k.close(k.socket(STREAM))
    return k.poll(fd, 0x2000 | 0x10 | 0x1, 200)


def test_a_socket_sent_to_itself_is_collected() -> None:
    def program(k: System) -> object:
        a, b = k.socketpair(DGRAM)
        probe, watched = k.socketpair(STREAM)
        k.sendmsg(b, b"x", rights(a, b, watched))
        k.close(watched)
        out = [k.poll(probe)]
        k.close(a)
        k.close(b)
        return [*out, _in_use(k, probe)]

    same(program)


def test_two_sockets_that_hold_each_other_are_collected() -> None:
    def program(k: System) -> object:
        a, a2 = k.socketpair(STREAM)
        b, b2 = k.socketpair(STREAM)
        probe, watched = k.socketpair(STREAM)
        k.sendmsg(a2, b"x", rights(b, watched))
        k.sendmsg(b2, b"x", rights(a))
        for fd in (watched, a, b):
            k.close(fd)
        out = [k.poll(probe)]
        k.close(a2)
        k.close(b2)
        return [*out, _in_use(k, probe)]

    same(program)


def test_a_cycle_that_somebody_can_read_stays() -> None:
    def program(k: System) -> object:
        a, a2 = k.socketpair(STREAM)
        b, b2 = k.socketpair(STREAM)
        k.sendmsg(a2, b"1", rights(b))
        k.sendmsg(b2, b"2", rights(a))
        k.close(b)
        k.close(b2)
        k.close(a2)
        k.close(k.socket(STREAM))
        got = k.recvmsg(a, 9, 100)
        out = [_creds(k, got)]
        inner = k.recvmsg(got.fds()[0], 9, 100)
        return [*out, _creds(k, inner), k.poll(inner.fds()[0])]

    same(program)


def test_a_listener_in_its_own_embryo_s_queue_is_collected() -> None:
    def program(k: System) -> object:
        listener = k.listener(STREAM, "\0l")
        client = k.client(STREAM, "\0l")
        probe, watched = k.socketpair(STREAM)
        k.sendmsg(client, b"x", rights(listener, watched))
        k.close(watched)
        k.close(listener)
        out = [k.poll(probe), k.connect(k.socket(STREAM | 0o4000), un("\0l"))]
        k.close(client)
        return [*out, _in_use(k, probe), k.connect(k.socket(STREAM), un("\0l"))]

    same(program)


def test_the_client_in_its_own_unaccepted_connection_is_collected() -> None:
    def program(k: System) -> object:
        listener = k.listener(STREAM, "\0l")
        client = k.client(STREAM, "\0l")
        probe, watched = k.socketpair(STREAM)
        k.sendmsg(client, b"x", rights(client, listener, watched))
        for fd in (watched, client):
            k.close(fd)
        out = [k.poll(probe)]
        k.close(listener)
        return [*out, _in_use(k, probe)]

    same(program)


def test_a_long_chain_of_sockets_in_sockets_is_freed_without_recursion() -> None:
    def program(k: System) -> object:
        k.limit_files(5000)
        probe, watched = k.socketpair(STREAM)
        held = watched
        for _ in range(1500):
            a, b = k.socketpair(STREAM)
            k.sendmsg(a, b"x", rights(held))
            k.close(held)
            k.close(a)
            held = b
        out = [k.poll(probe)]
        k.close(held)
        return [*out, _in_use(k, probe)]

    same(program)
