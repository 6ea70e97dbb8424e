"""NetlinkSocket: where an answer ends, and what is an error, told from datagrams made by hand."""

import pytest

from twinsock.host.netlink import BUFFER_SIZE, NetlinkSocket
from twinsock.host.port import HostPort
from twinsock.uapi.errno import EINVAL, ENOENT
from twinsock.uapi.netlink import (
    NETLINK_ROUTE,
    NETLINK_SOCK_DIAG,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    NLMSG_DONE,
)
from twinsock.wire.netlink import NLMSGHDR, S32, DumpInterrupted, nlmsg, nlmsg_done, nlmsg_error

DUMP = nlmsg(20, NLM_F_REQUEST | NLM_F_DUMP, b"")
GET = nlmsg(20, NLM_F_REQUEST, b"")


class ScriptedSocket:
    """Answers each request with the next list of datagrams; their sequence numbers become the request's."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.ready = []
        self.closed = False

    def setsockopt(self, level, name, value):
        pass

    def send(self, request):
        sequence = NLMSGHDR.unpack_from(request)[3]
        self.ready = [self._numbered(datagram, sequence) for datagram in self.answers.pop(0)]

    def recv_into(self, buffer, _size, _flags):
        datagram = self.ready.pop(0)
        buffer[: len(datagram)] = datagram[: len(buffer)]
        return len(datagram)

    def close(self):
        self.closed = True

    @staticmethod
    def _numbered(datagram, sequence):
        data = bytearray(datagram)
        at = 0
        while at + 16 <= len(data):
            size, type_, flags, seq, portid = NLMSGHDR.unpack_from(data, at)
            NLMSGHDR.pack_into(data, at, size, type_, flags, sequence + seq, portid)
            at += size + 3 & ~3
        return bytes(data)


def message(payload, flags=NLM_F_MULTI, seq=0):
    return nlmsg(20, flags, payload, seq)


def asked(request, *datagrams, protocol=NETLINK_SOCK_DIAG):
    sock = NetlinkSocket(protocol, ScriptedSocket(datagrams))
    return [bytes(view) for view in sock.ask(request)], sock


@pytest.mark.parametrize("protocol", [NETLINK_SOCK_DIAG, NETLINK_ROUTE])
def test_a_dump_ends_with_its_done_in_a_datagram_of_its_own_or_in_the_last(protocol):
    done = nlmsg_done(NLM_F_MULTI, 0, 0)
    for datagrams in ([message(b"1234"), message(b"5678"), done], [message(b"1234"), message(b"5678") + done]):
        views, sock = asked(DUMP, *datagrams, protocol=protocol)
        assert len(views) == len(datagrams)
        assert sock.clean


def test_bytes_that_look_like_a_done_inside_a_message_do_not_end_the_dump():
    fake = message(b"name" + NLMSGHDR.pack(20, NLMSG_DONE, 0, 1, 0) + S32.pack(0))
    views, _sock = asked(DUMP, fake, message(b"more"), nlmsg_done(NLM_F_MULTI, 0, 0))
    assert len(views) == 3


def test_a_refused_request_raises_its_errno():
    for request in (DUMP, GET):
        with pytest.raises(FileNotFoundError):
            asked(request, nlmsg_error(-ENOENT, request, 0, 0))


def test_a_dump_that_fails_at_its_end_raises():
    with pytest.raises(OSError) as caught:
        asked(DUMP, message(b"1234"), nlmsg(NLMSG_DONE, NLM_F_MULTI, S32.pack(-EINVAL)))
    assert caught.value.errno == EINVAL


def test_one_flagged_message_makes_the_whole_dump_interrupted():
    flagged = message(b"1") + message(b"2", NLM_F_MULTI | NLM_F_DUMP_INTR) + message(b"3")
    with pytest.raises(DumpInterrupted):
        asked(DUMP, flagged, nlmsg_done(NLM_F_MULTI, 0, 0), protocol=NETLINK_ROUTE)


def test_a_single_answer_needs_no_done_and_an_acknowledgement_is_waited_for():
    views, sock = asked(GET, message(b"x", 0))
    assert len(views) == 1
    assert sock.clean
    wants_ack = nlmsg(20, NLM_F_REQUEST | NLM_F_ACK, b"")
    assert asked(wants_ack, nlmsg_error(0, GET, 0, 0))[0] == []
    assert len(asked(wants_ack, message(b"x", 0), nlmsg_error(0, GET, 0, 0))[0]) == 1


def test_answers_to_an_older_request_are_passed_over():
    views, _sock = asked(GET, message(b"old", 0, seq=7), message(b"new", 0))
    assert [view[16:19] for view in views] == [b"new"]


def test_a_message_that_does_not_fit_is_asked_for_again_in_a_larger_buffer(monkeypatch):
    monkeypatch.setattr(NetlinkSocket, "buffer_size", BUFFER_SIZE)
    large = message(bytes(BUFFER_SIZE), 0)
    sock = NetlinkSocket(NETLINK_SOCK_DIAG, ScriptedSocket([large], [large]))
    with pytest.raises(DumpInterrupted):
        list(sock.ask(GET))
    assert [len(view) for view in sock.ask(GET)] == [len(large)]
    assert len(NetlinkSocket(NETLINK_SOCK_DIAG, ScriptedSocket()).buffer) >= len(large)


def test_a_port_keeps_a_socket_that_was_read_to_the_end_and_closes_one_that_was_not():
    port = HostPort()
    done = nlmsg_done(NLM_F_MULTI, 0, 0)
    scripted = ScriptedSocket([message(b"1"), done], [message(b"1"), done])
    port._idle[(0, NETLINK_SOCK_DIAG)] = NetlinkSocket(NETLINK_SOCK_DIAG, scripted)
    assert len(list(port.netlink(NETLINK_SOCK_DIAG, DUMP))) == 2
    assert not scripted.closed
    for _view in port.netlink(NETLINK_SOCK_DIAG, DUMP):
        break
    assert scripted.closed
    assert port._idle == {}
