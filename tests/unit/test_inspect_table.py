"""SocketTable: columns of netlink bytes, whatever the lengths of the messages."""

import random

from twinsock.inspect.sockets import find_again, inet_sockets, visible_sockets
from twinsock.inspect.table import socket_table
from twinsock.uapi.errno import ENOENT, EPERM, ESRCH
from twinsock.wire.inet_diag import InetDiagMsg
from twinsock.wire.netlink import DumpInterrupted, nlmsg, nlmsg_done


class RecordedPort:
    """Answers with datagrams made beforehand; an exception in their place is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def netlink(self, protocol, request, netns=0):
        for datagram in self.answers.pop(0):
            if isinstance(datagram, Exception):
                raise datagram
            yield memoryview(bytearray(datagram))


def socket_message(number, attributes):
    msg = InetDiagMsg(2, 1 + number % 11)
    msg.src, msg.dst, msg.sport, msg.dport = b"\x7f\0\0\1", b"\x0a\0\0\2", number & 0xFFFF, 443
    msg.inode, msg.cookie, msg.attributes = number, number << 33, attributes
    return nlmsg(20, 2, msg.emit())


def datagrams(lengths, per_datagram=40):
    messages = [socket_message(i, [(8, b"\3"), (22, b"\x52\0")][:n]) for i, n in enumerate(lengths)]
    chunks = [b"".join(messages[i : i + per_datagram]) for i in range(0, len(messages), per_datagram)]
    chunks[-1] += nlmsg_done(2, 0, 0)
    return chunks


def test_equal_messages_make_one_group_in_the_kernels_order():
    table = socket_table(RecordedPort(datagrams([2] * 1000)), families=[2])
    assert len(table.groups) == 1
    assert table.column("inode") == list(range(1000))
    assert table.column("state") == [1 + i % 11 for i in range(1000)]
    assert table.column("local_port") == list(range(1000))
    assert set(table.column("remote_port")) == {443}


def test_mixed_lengths_lose_nothing():
    random.seed(7)
    lengths = [random.choice([0, 1, 2]) for _ in range(1000)]
    table = socket_table(RecordedPort(datagrams(lengths)), families=[2])
    assert sorted(table.column("inode")) == list(range(1000))
    assert sorted(record.local_port for record in table.records()) == list(range(1000))
    for row, inode in enumerate(table.column("inode")):
        record = table.record(row)
        assert (record.inode, record.cookie) == (inode, inode << 33)
        assert record.sockopt == (0x52 if lengths[inode] == 2 else None)


def test_fields_and_records_agree():
    table = socket_table(RecordedPort(datagrams([2] * 30)), families=[2])
    for fields, record in zip(table.groups[0].fields(), table.records(), strict=True):
        family, state, _timer, _retransmits, local, remote, ifindex, cookie, *_rest, inode = fields
        assert (family, state, local[:4], remote[:4]) == (record.family, record.state, record.local, record.remote)
        assert (ifindex, cookie, inode) == (record.ifindex, record.cookie, record.inode)


def test_a_truncated_datagram_ends_quietly():
    data = datagrams([2] * 10)[0]
    for cut in range(0, len(data), 4):
        table = socket_table(RecordedPort([data[:cut]]), families=[2])
        assert table.column("inode") == list(range(min(10, cut // len(socket_message(0, [(8, b"\3"), (22, b"\x52\0")])))))


def test_messages_that_are_no_sockets_are_passed_over():
    other = nlmsg(3, 2, bytes(len(socket_message(0, [])) - 16))
    mixed = socket_message(0, []) + other + socket_message(1, [(8, b"")]) + socket_message(2, []) + nlmsg(1, 0, b"")
    table = socket_table(RecordedPort([mixed, other * 3]), families=[2])
    assert sorted(table.column("inode")) == [0, 1, 2]


def test_an_interrupted_dump_is_asked_again():
    port = RecordedPort([*datagrams([2] * 5), DumpInterrupted()], datagrams([2] * 3))
    assert socket_table(port, families=[2]).column("inode") == [0, 1, 2]
    port = RecordedPort([*datagrams([2] * 5), DumpInterrupted()], datagrams([2] * 3))
    assert len(inet_sockets(port, 2, 6)) == 3


def test_a_missing_handler_is_said_once():
    table = socket_table(RecordedPort([OSError(ENOENT, "x")], [OSError(ENOENT, "x")]), protocols=[255])
    assert len(table) == 0
    assert table.notes == ["this kernel has no sock_diag handler for RAW sockets"]


def test_a_hidden_and_a_vanished_namespace_become_notes():
    answers = [
        [OSError(EPERM, "network namespace 7: needs CAP_SYS_ADMIN")],
        [OSError(ESRCH, "network namespace 8 is gone")],
        datagrams([2]),
    ]
    table = socket_table(RecordedPort(*answers), families=[2], namespaces=[7, 8, 9])
    assert table.notes == ["network namespace 7: needs CAP_SYS_ADMIN", "network namespace 8 is gone"]
    assert [group.netns for group in table.groups] == [9]
    notes = []
    assert visible_sockets(RecordedPort(answers[1]), 2, 6, notes, netns=8) == []
    assert notes == ["network namespace 8 is gone"]


def test_another_socket_on_the_same_port_is_not_taken_for_the_one_looked_for():
    first = inet_sockets(RecordedPort(datagrams([2] * 3)), 2, 6)[2]
    other = [socket_message(7, [])]
    assert find_again(RecordedPort(other, datagrams([2] * 2)), first) is None
    found = find_again(RecordedPort(other, datagrams([2] * 3)), first)
    assert found is not None
    assert found.cookie == first.cookie
