"""`twinsock trace` without a kernel: lines of trace_pipe, stacks, addresses, the tree."""

import socket
import struct

import pytest

from twinsock.host.tracefs import arguments_of, parse_line
from twinsock.ui.trace_text import Tree, path_of, result_text, sockaddr_text, socket_arguments


def test_lines_of_the_pipe_are_parsed() -> None:
    event = parse_line("         my-tool-9035    [001] .....  1234.567890: sys_bind(fd: 3, umyaddr: 0x7f10, addrlen: 0x10)")
    assert event is not None and (event.command, event.tid, event.time_ns, event.name) == ("my-tool", 9035, 1234567890000, "sys_bind")
    assert arguments_of(event.text) == {"fd": 3, "umyaddr": 0x7F10, "addrlen": 16}
    event = parse_line("   a b-1 [000] d..2.  1.000001: sys_bind -> 0xffffffffffffff9e")
    assert event is not None and event.name == "sys_bind ->" and arguments_of(event.text) == {"ret": 2**64 - 98}
    event = parse_line("   <idle>-0 [000] ..s..  1.5: inet_sock_set_state: family=AF_INET sport=1")
    assert event is not None and (event.name, event.text) == ("inet_sock_set_state", "family=AF_INET sport=1")


@pytest.mark.parametrize("line", ["", "CPU:0 [LOST 12 EVENTS]", "# comment", " => func", "x [1", "x-1 [000] .. : y"])
def test_what_is_no_event_is_left_out(line: str) -> None:
    assert parse_line(line) is None


def test_the_way_begins_at_the_system_call_and_ends_before_the_tracepoint() -> None:
    stack = ["trace_event_raw_event_kmem_cache_alloc", "kmem_cache_alloc_lru_noprof", "sock_alloc_inode", "alloc_inode", "sock_alloc"]
    stack += ["__sock_create.part.0", "__sys_socket", "__x64_sys_socket", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"]
    assert " > ".join(path_of(stack)) == "socket() > __sys_socket > __sock_create > sock_alloc > alloc_inode > sock_alloc_inode"


def test_ways_with_one_beginning_are_drawn_once() -> None:
    tree = Tree("")
    tree.add(["socket()", "__sys_socket", "sock_alloc"], "new inode")
    tree.add(["socket()", "__sys_socket", "inet_create", "sk_alloc"], "new TCP")
    assert tree.below[0].lines() == ["socket() > __sys_socket", "├─ sock_alloc   new inode", "└─ inet_create > sk_alloc   new TCP"]


@pytest.mark.parametrize(
    ("data", "length", "text"),
    [
        (struct.pack("=H", 2) + b"\x1f\x90\x7f\0\0\1" + bytes(8), 16, "127.0.0.1:8080"),
        (struct.pack("=H", 10) + b"\0\x50" + bytes(4) + bytes(15) + b"\1" + bytes(4), 28, "[::1]:80"),
        (struct.pack("=H", 10) + b"\0\x50" + bytes(4) + b"\xfe\x80" + bytes(13) + b"\1" + struct.pack("=I", 3), 28, "[fe80::1%3]:80"),
        (struct.pack("=H", 1) + b"/run/x.sock\0garbage", 20, "/run/x.sock"),
        (struct.pack("=H", 1) + b"\0ab\0c", 7, "@ab@c"),
        (struct.pack("=H", 1), 2, "(autobind)"),
        (struct.pack("=H", 1) + b"/a\x1b[31m", 9, "/a?[31m"),
        (struct.pack("=H", 0) + bytes(14), 16, "AF_UNSPEC"),
        (b"", 0, "0 bytes"),
        (struct.pack("=H", 2), 2, "AF_INET"),
    ],
)
def test_addresses_of_calls_are_written_out(data: bytes, length: int, text: str) -> None:
    assert sockaddr_text(data, length) == text


def test_arguments_and_results_have_names() -> None:
    assert socket_arguments(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 17) == "AF_INET6, SOCK_DGRAM|SOCK_NONBLOCK, 17"
    assert result_text(-98) == "-1 EADDRINUSE (Address already in use)" and result_text(3) == "3"
