"""/proc/net text of Linux 6.18 as records."""

from twinsock.inspect.procnet import parse_inet, parse_unix

TCP = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000001 00:00000000 00000000  1000        0 26576 1 00000000abcdef01 100 0 0 10 0
   1: 0100007F:1F90 0200007F:C350 06 00000000:00000000 03:0000176E 00000000     0        0 0 3 00000000abcdef02
   2: 0100007F:1F90 02000
"""
TCP6 = b"""  sl local_address remote_address st tx_queue rx_queue
   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 7 1
"""
RAW = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
"""
UNIX = b"""Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 2025 /run/a path with spaces.sock
0000000000000000: 00000003 00000000 00000000 0001 03 2026
0000000000000000: 00000002 00000000 00000000 0002 01 2027 @abstract@x
garbage
"""


def test_tcp_lines_become_records_and_broken_lines_vanish():
    listener, time_wait = parse_inet(TCP, 2, 6)
    assert (listener.state, listener.local, listener.local_port) == (10, b"\x7f\0\0\1", 8080)
    assert (listener.uid, listener.inode, listener.rqueue, listener.wqueue) == (1000, 26576, 1, -1)
    assert (time_wait.state, time_wait.remote, time_wait.remote_port) == (6, b"\x7f\0\0\2", 50000)
    assert (time_wait.timer, time_wait.expires_ms) == (3, 59_980)


def test_ip6_words_are_in_host_order_and_v6only_is_not_known():
    (listener,) = parse_inet(TCP6, 10, 6)
    assert (listener.local, listener.local_port, listener.v6only) == (bytes(15) + b"\1", 53, None)


def test_a_raw_sockets_port_is_its_protocol():
    (raw,) = parse_inet(RAW, 2, 255)
    assert (raw.protocol, raw.local_port, raw.state, raw.inode) == (255, 1, 7, 4711)


def test_unix_names_keep_their_spaces_and_abstract_ones_their_nul():
    listener, connected, datagram = parse_unix(UNIX)
    assert (listener.state, listener.name, listener.inode) == (10, b"/run/a path with spaces.sock", 2025)
    assert (connected.state, connected.name) == (1, None)
    assert (datagram.state, datagram.type, datagram.name) == (7, 2, b"\0abstract\0x")
