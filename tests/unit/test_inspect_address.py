"""Addresses as text: the C library is the judge."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinsock.inspect.address import format_address, format_endpoint, parse_address, unmapped

sparse_ip6 = st.lists(st.sampled_from([0, 0, 0, 1, 0xFF, 0xFFFF, 0x1234]), min_size=8, max_size=8).map(
    lambda words: b"".join(word.to_bytes(2, "big") for word in words)
)


@given(st.binary(min_size=4, max_size=4))
def test_ip4_agrees_with_the_c_library(address):
    assert format_address(address) == socket.inet_ntop(socket.AF_INET, address)
    assert parse_address(format_address(address)) == address


@given(st.one_of(sparse_ip6, st.binary(min_size=16, max_size=16)))
def test_ip6_agrees_with_the_c_library(address):
    assert format_address(address) == socket.inet_ntop(socket.AF_INET6, address)
    assert parse_address(format_address(address)) == address


@given(st.one_of(st.text(alphabet="0123456789abf:.", max_size=24), st.text(max_size=12)))
def test_what_the_c_library_refuses_is_refused(text):
    try:
        expected = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError, UnicodeError):
        expected = None
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("address", "port", "v6only", "device", "text"),
    [
        (bytes(4), 80, False, "", "0.0.0.0:80"),
        (bytes(4), 80, False, "eth0", "0.0.0.0%eth0:80"),
        (bytes(16), 80, False, "", "*:80"),
        (bytes(16), 80, True, "", "[::]:80"),
        (bytes(16), 0, None, "", "[::]:*"),
        (bytes(15) + b"\1", 443, False, "", "[::1]:443"),
        (b"\0" * 10 + b"\xff\xff\x7f\0\0\1", 443, False, "", "[::ffff:127.0.0.1]:443"),
        (b"\xfe\x80" + bytes(13) + b"\1", 1, True, "lo", "[fe80::1]%lo:1"),
    ],
)
def test_endpoints_read_as_ss_prints_them(address, port, v6only, device, text):
    assert format_endpoint(address, port, v6only, device) == text


def test_only_mapped_addresses_are_unmapped():
    assert unmapped(parse_address("::ffff:10.0.0.1")) == b"\x0a\0\0\1"
    assert unmapped(parse_address("::1")) == bytes(15) + b"\1"
