"""Columns of inet_diag messages: what is cut out of many messages is what parsing each of them gives."""

from struct import pack

from hypothesis import given, settings
from hypothesis import strategies as st

from twinsock.inspect.columns import COOKIE, EXPIRES, INODE, RETRANSMITS, TIMER, UID, Columns, alike
from twinsock.inspect.stream import sockets
from twinsock.inspect.tcp_info import PLACES, parse_tcp_info
from twinsock.uapi.inet_diag import INET_DIAG_CONG, INET_DIAG_INFO, INET_DIAG_SHUTDOWN
from twinsock.ui.ss_extra import Line
from twinsock.wire.inet_diag import InetDiagMsg


def message(number: int, info: bytes, congestion: bytes) -> bytes:
    """Make a socket's message with the attributes that are not empty."""
    msg = InetDiagMsg(2, 1)
    msg.src, msg.dst = b"\x7f\0\0\1", b"\x7f\0\0\2"
    msg.timer, msg.retrans, msg.expires = number % 5, number % 7, number * 3
    msg.uid, msg.inode, msg.cookie = number % 2, 1000 + number, number << 33 | 5
    msg.attributes = [(INET_DIAG_SHUTDOWN, bytes([number % 4]))]
    msg.attributes += [(type_, data) for type_, data in ((INET_DIAG_INFO, info), (INET_DIAG_CONG, congestion)) if data]
    body = msg.emit()
    return pack("=IHHII", 16 + len(body), 20, 2, 0, 0) + body


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 104, 248]), st.sampled_from([b"", b"reno\0", b"cubic\0"])), min_size=1, max_size=12))
def test_columns_say_what_parsing_each_message_says(kinds: list[tuple[int, bytes]]) -> None:
    made = [message(number, (bytes(range(256)) * 2)[number : number + size], name) for number, (size, name) in enumerate(kinds)]
    runs = []
    for one in made:  # neighbours of one length are a run, whatever is in them
        if runs and runs[-1][0] == len(one):
            runs[-1] = (len(one), runs[-1][1] + one)
        else:
            runs.append((len(one), one))
    pieces = list(alike(runs))
    assert b"".join([data for _layout, (_stride, data) in pieces]) == b"".join(made)
    seen = []
    for _layout, (stride, data) in pieces:
        rows = Columns(stride, data)
        parsed = list(sockets([(stride, data)], 6, 0))
        assert rows.words(INODE) == [sock.inode for sock in parsed] and rows.longs(COOKIE) == [sock.cookie for sock in parsed]
        assert rows.words(UID) == [sock.uid for sock in parsed] and rows.words(EXPIRES) == [sock.expires_ms for sock in parsed]
        assert rows.bytes_at(TIMER) == [sock.timer for sock in parsed]
        assert rows.bytes_at(RETRANSMITS) == [sock.retransmits for sock in parsed]
        for attribute in rows.places:
            assert rows.values(attribute) == [sock.attributes[attribute] for sock in parsed]
        for name in PLACES:
            assert rows.info(name) == [parse_tcp_info(sock.attributes.get(INET_DIAG_INFO, b"")).get(name, 0) for sock in parsed]
        seen += parsed
    assert [sock.inode for sock in seen] == [1000 + number for number in range(len(made))]


def test_a_line_joins_what_is_the_same_with_what_differs() -> None:
    line = Line(3)
    line.text("a")
    line.number("zero", [0, 0, 0])
    line.number("same", [4, 4, 4])
    line.of([1, 2, 1], lambda value: f" {value:x}")
    line.of_tuples(([1, 2, 3], [0, 0, 1]), lambda key: "{}/{}".format(*key))
    line.text("z")
    assert line.texts() == ["a same:4 11/0z", "a same:4 22/0z", "a same:4 13/1z"]
    assert Line(2).texts() == ["", ""]
