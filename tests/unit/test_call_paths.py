"""The function names under a system call are Linux's, in Linux's order: the function graph is made of them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from tests.call_paths import every_call
from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.eventpoll import EpollEvent, sys_epoll_create1, sys_epoll_ctl
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.net.socket import sys_accept4, sys_bind, sys_listen, sys_send, sys_setsockopt, sys_socket, sys_socketpair
from twinsock.runtime.facade import TwinEnv
from twinsock.runtime.function_graph import FunctionGraph, draw, main

pytestmark = pytest.mark.pure


def names_under(call: Callable[[], object]) -> list[str]:
    """Return the names of the functions that a call enters, in order."""
    names: list[str] = []

    def profile(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return names


def assert_path(call: Callable[[], object], *path: str) -> None:
    """Fail unless the names occur in this order."""
    names = iter(names_under(call))
    missing = [name for name in path if name not in names]
    assert not missing


def test_calls_go_through_the_functions_that_linux_goes_through() -> None:
    task = start_kernel().new_task()
    fds: list[int] = []
    sys_socketpair(task, 1, 1, 0, fds)
    listener = sys_socket(task, 1, 1, 0)
    ep = sys_epoll_create1(task, 0)
    create = ("sys_socket", "__sys_socket", "__sys_socket_create", "sock_create", "__sock_create", "security_socket_create", "sock_alloc")
    assert_path(lambda: sys_socket(task, 1, 1, 0), *create, "sock_alloc_inode", "sock_map_fd", "get_unused_fd_flags", "sock_alloc_file")
    bind = ("__sys_bind", "sock_from_file", "move_addr_to_kernel", "__sys_bind_socket", "security_socket_bind")
    assert_path(lambda: sys_bind(task, listener, b"\1\0\0x", 4), *bind)
    assert_path(lambda: sys_listen(task, listener, 1), "__sys_listen", "__sys_listen_socket", "security_socket_listen")
    accept = ("__sys_accept4", "__sys_accept4_file", "get_unused_fd_flags", "do_accept", "sock_from_file", "sock_alloc", "sock_alloc_file")
    assert_path(lambda: sys_accept4(task, fds[0], None, 0), *accept, "security_socket_accept")
    assert_path(lambda: sys_send(task, fds[0], b"x", 0), "__sys_sendto", "__sock_sendmsg", "sock_sendmsg_nosec", "unix_stream_sendmsg")
    assert_path(lambda: sys_setsockopt(task, fds[0], 1, 2, b"1234", 4), "__sys_setsockopt", "do_sock_setsockopt", "sk_setsockopt")
    assert_path(lambda: sys_poll(task, [Pollfd(fds[0], 1)], 0), "do_sys_poll", "do_poll", "do_pollfd", "vfs_poll", "sock_poll", "unix_poll")
    add = ("do_epoll_ctl", "ep_insert", "ep_item_poll", "vfs_poll", "sock_poll", "unix_poll", "poll_wait")
    assert_path(lambda: sys_epoll_ctl(task, ep, 1, fds[0], EpollEvent(1, 0)), *add)
    close = ("sys_close", "file_close_fd", "fput_close_sync", "__fput", "sock_close", "__sock_release")
    assert_path(lambda: sys_close(task, listener), *close)


# For each call of a TCP program the functions that the live kernel goes through, each below the one before it.
TCP_PATHS = [
    ("socket", "__sys_socket __sys_socket_create sock_create __sock_create inet_create sk_alloc"),
    ("socket", "__sys_socket __sock_create sock_alloc sock_alloc_inode"),
    ("socket", "__sys_socket __sock_create inet_create tcp_v4_init_sock tcp_init_sock"),
    ("socket", "__sys_socket sock_map_fd sock_alloc_file"),
    ("bind", "__sys_bind __sys_bind_socket inet_bind inet_bind_sk __inet_bind inet_csk_get_port inet_bind_hash"),
    ("listen", "__sys_listen __sys_listen_socket inet_listen __inet_listen_sk inet_csk_listen_start inet_csk_get_port"),
    ("listen", "__sys_listen __sys_listen_socket inet_listen __inet_listen_sk inet_csk_listen_start inet_hash"),
    ("accept4", "__sys_accept4 __sys_accept4_file do_accept inet_accept inet_csk_accept"),
    ("accept4", "__sys_accept4 do_accept inet_accept sock_graft"),
    ("accept4", "__sys_accept4 do_accept inet_getname"),
    ("connect", "__sys_connect __sys_connect_file inet_stream_connect __inet_stream_connect tcp_v4_connect inet_bhash2_update_saddr"),
    ("connect", "tcp_v4_connect __inet_hash_connect __inet_check_established"),
    ("connect", "tcp_v4_connect tcp_connect __tcp_transmit_skb ip_queue_xmit"),
    ("connect", "tcp_v4_rcv tcp_v4_do_rcv tcp_rcv_state_process tcp_v4_conn_request tcp_conn_request inet_csk_reqsk_queue_hash_add"),
    ("connect", "tcp_v4_rcv tcp_check_req tcp_v4_syn_recv_sock tcp_create_openreq_child"),
    (
        "send",
        "__sys_sendto __sock_sendmsg sock_sendmsg_nosec inet_sendmsg tcp_sendmsg tcp_sendmsg_locked tcp_push",
    ),
    ("send", "tcp_sendmsg_locked __tcp_push_pending_frames tcp_write_xmit __tcp_transmit_skb"),
    ("recvfrom", "__sys_recvfrom sock_recvmsg inet_recvmsg tcp_recvmsg tcp_recvmsg_locked"),
    ("close", "file_close_fd"),
    ("close", "fput_close_sync __fput sock_close __sock_release inet_release tcp_close __tcp_close"),
]


@pytest.fixture(scope="module")
def graph() -> FunctionGraph:
    """Trace one program that makes every call of a TCP connection."""
    graph = FunctionGraph(TwinEnv(start_kernel(1)))
    assert graph.run(every_call) == b"x" * 10
    return graph


@pytest.mark.parametrize(("call", "names"), TCP_PATHS)
def test_the_function_graph_contains_the_path_of_each_tcp_call(graph: FunctionGraph, call: str, names: str) -> None:
    paths = [path for root in graph.system_calls([call]) for path in root.paths()]
    wanted = names.split()
    assert any(all(name in rest for name in wanted) for rest in (iter(path) for path in paths))


def test_the_function_graph_is_the_same_for_the_same_seed(graph: FunctionGraph) -> None:
    again = FunctionGraph(TwinEnv(start_kernel(1)))
    again.run(every_call)
    assert [draw(root, -1, True) for root in again.roots] == [draw(root, -1, True) for root in graph.roots]


ECHO = str(Path(__file__).parents[2] / "examples" / "echo.py")


def test_trace_prints_the_tree_of_a_script_that_knows_nothing_of_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([ECHO, "--only", "listen", "--depth", "3"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "hello"
    assert out[1:] == [
        "program[2]  sys_listen() = 0",
        "  __sys_listen",
        "    sock_from_file",
        "    __sys_listen_socket",
    ]


def test_trace_writes_json_with_virtual_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([ECHO, "--json", "--only=accept"]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    (call,) = document["calls"]
    assert (call["name"], call["result"], call["calls"][0]["name"]) == ("sys_accept4", 5, "__sys_accept4")
    assert call["end_ns"] >= call["start_ns"] >= 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "which program?"),
        (["a.py", "b.py"], "one program at a time"),
        (["--depth", "0", "a.py"], "takes a positive number"),
        (["--bogus", "a.py"], "no such option"),
        (["/nonexistent/a.py"], "No such file"),
        (["--only"], "needs a value"),
    ],
)
def test_trace_refuses_bad_usage_in_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("import asyncio", 2, "would use the host's sockets"),
        ("import socket\nsocket.socket(99)", 1, "line 2: OSError"),
        ("def (", 2, "prog.py:1"),
        ("import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 1))\ns.listen()\ns.accept()", 1, "deadlock"),
        ("raise SystemExit(7)", 7, ""),
    ],
)
def test_trace_says_what_a_program_did_wrong(
    source: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prog.py"
    path.write_text(source)
    assert main([str(path)]) == code
    assert message in capsys.readouterr().err
