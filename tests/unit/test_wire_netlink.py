"""Netlink and inet_diag bytes: what is emitted parses back, and broken bytes do no harm."""

from hypothesis import given
from hypothesis import strategies as st

from tests.builds import fields
from twinsock.wire.inet_diag import InetDiagMsg, InetDiagReq, parse_msg, parse_req
from twinsock.wire.netlink import nlattrs, nlmsg, parse_attributes, parse_messages, spans

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)
attributes = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=5)


@given(st.lists(st.tuples(u16, u16, u32, u32, st.binary(max_size=50)), max_size=5))
def test_messages_of_a_datagram_come_back_padded_to_four(messages):
    data = b"".join(nlmsg(type_, flags, body, seq, portid) for type_, flags, seq, portid, body in messages)
    assert [(m.type, m.flags, m.seq, m.portid, m.payload) for m in parse_messages(data)] == messages
    assert b"".join(m.emit() for m in parse_messages(data)) == data


@given(attributes)
def test_attributes_come_back_from_their_bytes(attrs):
    data = nlattrs(attrs)
    assert parse_attributes(data, 0, len(data)) == attrs


@given(st.binary(max_size=200))
def test_broken_bytes_parse_to_something(data):
    parse_attributes(data, 0, len(data))
    spans(memoryview(data))
    parse_msg(data, 0, len(data))
    parse_req(data)


@st.composite
def inet_messages(draw):
    size, family = draw(st.sampled_from([(4, 2), (16, 10)]))
    msg = InetDiagMsg(family, draw(u8))
    msg.src, msg.dst = draw(st.binary(min_size=size, max_size=size)), draw(st.binary(min_size=size, max_size=size))
    msg.timer, msg.retrans, msg.sport, msg.dport = draw(u8), draw(u8), draw(u16), draw(u16)
    msg.ifindex, msg.cookie, msg.expires, msg.rqueue = draw(u32), draw(u64), draw(u32), draw(u32)
    msg.wqueue, msg.uid, msg.inode, msg.attributes = draw(u32), draw(u32), draw(u32), draw(attributes)
    return msg


@given(inet_messages())
def test_a_socket_comes_back(msg):
    data = msg.emit()
    again = parse_msg(data, 0, len(data))
    assert again is not None
    assert fields(again) == fields(msg)
    assert again.emit() == data


@given(u8, st.sampled_from([6, 17, 136, 262]), u32, u16, u16, u32, u64, st.binary(max_size=24), st.sampled_from([2, 10]))
def test_a_request_comes_back(ext, protocol, states, sport, dport, ifindex, cookie, bytecode, family):
    req = InetDiagReq(family, protocol, states, ext)
    req.sport, req.dport, req.ifindex, req.cookie, req.bytecode = sport, dport, ifindex, cookie, bytecode
    req.src = req.dst = b"\x7f\0\0\1" if family == 2 else b"\xfe" * 16
    again = parse_req(req.emit())
    assert again is not None
    assert fields(again) == fields(req)


def test_a_socket_recorded_from_linux_6_18_parses():
    data = bytes.fromhex(
        "020a0000"
        "93dd0000"
        "7f000001000000000000000000000000"
        "00000000000000000000000000000000"
        "00000000"
        "0200000000000000"
        "00000000"
        "00000000"
        "03000000"
        "00000000"
        "d0670000"
        "0500080000000000"
        "08000f0000000000"
        "0c0015000100000000000000"
        "0600160052000000"
    )
    msg = parse_msg(data, 0, len(data))
    assert msg is not None
    assert (msg.family, msg.state, msg.sport, msg.src, msg.wqueue) == (2, 10, 37853, b"\x7f\0\0\1", 3)
    assert msg.attributes == [(8, b"\0"), (15, b"\0" * 4), (21, b"\1" + b"\0" * 7), (22, b"\x52\0")]
    assert msg.emit() == data
