"""Operation by operation: the kernel functions on the way of each one, as the live kernel's tracepoints record them, stand in the same
order in the twin's function graph."""

import os
import select
import socket
import time
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from tests.call_operations import operations
from tests.call_paths import is_within
from tests.netns import netns_missing, run_in_netns
from tests.parity.test_call_stacks import network_part
from twinsock.host.tracefs import TraceInstance
from twinsock.kernel.boot import start_kernel
from twinsock.runtime.facade import TwinEnv
from twinsock.runtime.function_graph import FunctionGraph

pytestmark = pytest.mark.root

# operations on whose way one of the twin's functions bears a name of ours, or lies elsewhere
OTHER = (
    "connect() TCP IPv4",
    "close() TCP IPv4, passive",
    "connect() TCP IPv4, refused",
    "connect() TCP IPv4, not accepted",
    "sendto() UDP IPv4, nobody there",
    "socket() TCP IPv6",
    "socket() TCP IPv6, client",
    "connect() TCP IPv6",
    "send() TCP IPv6",
    "sendmsg() TCP IPv6",
    "write() TCP IPv6",
    "shutdown() TCP IPv6",
    "close() TCP IPv6, passive",
    "connect() TCP IPv6, refused",
    "socket() TCP IPv6, again",
    "connect() TCP IPv6, not accepted",
    "close() TCP IPv6, with a reset",
    "socket() UDP IPv6",
    "socket() UDP IPv6, client",
    "sendto() UDP IPv6",
    "send() UDP IPv6",
    "sendto() UDP IPv6, nobody there",
    "sendto() raw",
)
_CACHES = """
    sock_inode_cache TCP TCPv6 UDP UDPv6 RAW UNIX UNIX-STREAM PING tcp_bind_bucket tcp_bind2_bucket request_sock_TCP request_sock_TCPv6
    tw_sock_TCP eventpoll_epi
"""
_NAMES = " || ".join(f'name == "{cache}"' for cache in _CACHES.split())
EVENTS = (
    ("kmem/kmem_cache_alloc", _NAMES),
    ("kmem/kmem_cache_free", _NAMES),
    ("sock/inet_sock_set_state", ""),
    ("net/net_dev_queue", ""),
    ("tcp/tcp_rcv_space_adjust", ""),
    ("sock/sock_send_length", ""),
    ("sock/sock_recv_length", ""),
    ("tcp/tcp_receive_reset", ""),
    ("tcp/tcp_destroy_sock", ""),
)
# more of what is no part of the network code: the tracer, allocators, and the way from read(2) and write(2) to a file
PLUMBING = ("call_trace_sock", "alloc_skb", "sock_alloc_send_pskb", "inet_bind2_bucket_create", "inet_bind_bucket_create", "ksys_", "vfs_")

Stack = tuple[str, list[str]]


def recorded() -> list[tuple[str, list[Stack]]]:
    """Run each operation under a tracing instance: (operation, its stacks from the system call inwards)."""
    env = SimpleNamespace(socket=socket, os=os, select=select)
    trace = TraceInstance()
    try:
        trace.follow(os.getpid())
        for event, condition in EVENTS:
            trace.enable(event, condition, stack=True)
        trace.start()
        marks = []
        for name, work in operations(env):
            begin = time.monotonic_ns()
            work()
            marks.append((name, begin, time.monotonic_ns()))
        events = trace.read(final=True)
    finally:
        trace.close()
    found = []
    for name, begin, end in marks:
        mine = [event for event in events if event.stack and begin <= event.time_ns <= end]
        found.append((name, [(event.name, list(reversed(event.stack))) for event in mine]))
    return found


def twin_paths() -> dict[str, list[tuple[str, ...]]]:
    """Return the paths of the twin's call tree for each operation."""
    graph = FunctionGraph(TwinEnv(start_kernel(1)))
    marks: list[tuple[str, int, int]] = []

    def program(env: Any) -> None:
        for name, work in operations(env):
            begin = len(graph.roots)
            work()
            marks.append((name, begin, len(graph.roots)))

    graph.run(program)
    return {name: [path for root in graph.roots[begin:end] for path in root.paths()] for name, begin, end in marks}


@cache
def both() -> tuple[dict[str, list[Stack]], dict[str, list[tuple[str, ...]]]]:
    """Record on both kernels, once."""
    reason = netns_missing(root_needed=True)
    if reason:
        pytest.skip(reason)
    try:
        host: Any = run_in_netns(recorded, timeout=60)
    except Exception as error:  # a child's error comes back as its text
        if "tracing" in str(error) or "tracefs" in str(error):
            pytest.skip(f"no tracefs here: {error}")
        raise
    return dict(host), twin_paths()


@pytest.mark.parametrize("name", [name for name, _ in operations(SimpleNamespace(socket=socket, os=os, select=select))])
def test_the_way_of_an_operation_is_the_twins_too(name: str, request: pytest.FixtureRequest) -> None:
    host, twin = both()
    if not host[name]:
        pytest.skip("no tracepoint on its way")
    if name in OTHER:
        request.applymarker(pytest.mark.xfail(reason="another name on its way", strict=False))
    ways = [(event, [part for part in network_part(stack) if not part.startswith(PLUMBING)]) for event, stack in host[name]]
    lost = [f"{event}: {' > '.join(way)}" for event, way in ways if not any(is_within(path, way) for path in twin[name])]
    assert not lost, "\n".join(lost)
