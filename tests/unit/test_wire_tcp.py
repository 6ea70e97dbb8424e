"""TCP header bytes: what is emitted parses back, checksums hold, bad options end the list."""

from hypothesis import given
from hypothesis import strategies as st

from twinsock.wire.l4 import pseudo_sum4, pseudo_sum6
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_SYN, Tcphdr, emit, emit_options, parse

U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)


@st.composite
def headers(draw: st.DrawFn) -> Tcphdr:
    th = Tcphdr(draw(U16), draw(U16), draw(U32), draw(U32), draw(st.integers(0, 0x1FF)), draw(U16))
    th.urg_ptr = draw(U16)
    shape = draw(st.integers(0, 3))
    if shape == 0:
        th.mss = draw(st.integers(0, 0xFFFF))
        th.wscale = draw(st.integers(-1, 14))
        th.sack_ok = draw(st.booleans())
        th.ts = draw(st.booleans())
        th.fastopen = draw(st.none() | st.binary(max_size=12))
        th.fastopen_exp = th.fastopen is not None and draw(st.booleans())
    elif shape == 1:
        th.ts = draw(st.booleans())
        th.sacks = draw(st.none() | st.lists(st.tuples(U32, U32), min_size=1, max_size=3))
    if th.ts:
        th.tsval, th.tsecr = draw(U32), draw(U32)
    return th


def fields(th: Tcphdr) -> tuple[object, ...]:
    head = (th.source, th.dest, th.seq, th.ack_seq, th.flags, th.window, th.urg_ptr)
    return (*head, th.mss, th.wscale, th.sack_ok, th.ts, th.tsval, th.tsecr, th.sacks, th.fastopen, th.fastopen_exp)


@given(headers(), st.binary(max_size=40))
def test_an_emitted_segment_parses_back_with_a_good_checksum(th: Tcphdr, payload: bytes) -> None:
    psum = pseudo_sum4(0x7F000001, 0x7F000002, 6, th.header_len() + len(payload))
    data = emit(th, payload, psum)
    back = parse(data, 0, -1, psum)
    assert back is not None
    assert fields(back) == fields(th)
    assert not back.csum_bad
    assert len(data) == th.header_len() + len(payload)
    assert emit(back, payload, psum) == data


@given(headers(), st.binary(min_size=2, max_size=40), st.data())
def test_a_changed_byte_breaks_the_checksum(th: Tcphdr, payload: bytes, data: st.DataObject) -> None:
    psum = pseudo_sum6(bytes(16), bytes(15) + b"\1", 6, th.header_len() + len(payload))
    raw = bytearray(emit(th, payload, psum))
    raw[-1] ^= data.draw(st.integers(1, 255))
    back = parse(bytes(raw), 0, -1, psum)
    assert back is not None and back.csum_bad


@given(st.binary(max_size=80))
def test_any_bytes_parse_without_an_exception(data: bytes) -> None:
    parse(data)


def test_syn_options_stand_in_linux_order() -> None:
    th = Tcphdr(flags=TCPHDR_SYN)
    th.mss, th.sack_ok, th.ts, th.tsval, th.wscale = 1460, True, True, 1, 7
    assert emit_options(th) == bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")
    th.ts = False
    assert emit_options(th) == bytes.fromhex("020405b4 0101 0402 01 030307")


def test_a_malformed_option_ends_the_list() -> None:
    good = emit(Tcphdr(1, 2, 3, 4, TCPHDR_ACK, 5))
    raw = bytes((good[12] + 0x20,))
    th = parse(good[:12] + raw + good[13:] + bytes.fromhex("02 01 05b4 04 02 0101"))
    assert th is not None and th.mss == 0 and not th.sack_ok
