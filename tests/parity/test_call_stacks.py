"""The twin's call tree contains the stacks that the live kernel's own tracepoints record for the same program."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from tests.call_paths import every_call, is_within, plain
from tests.netns import netns_missing, run_in_netns
from twinsock.host.tracefs import TraceInstance
from twinsock.kernel.boot import start_kernel
from twinsock.runtime.facade import TwinEnv
from twinsock.runtime.function_graph import FunctionGraph

pytestmark = pytest.mark.root

EVENTS = (
    ("kmem/kmem_cache_alloc", 'name == "sock_inode_cache" || name == "TCP"'),
    ("kmem/kmem_cache_free", 'name == "request_sock_TCP" || name == "TCP"'),
    ("sock/inet_sock_set_state", ""),
    ("net/net_dev_queue", ""),
    ("tcp/tcp_rcv_space_adjust", ""),
)
# the tracer's own functions, the allocator, entry code, the way from a device's queue to a protocol and the cloning of a listener, which
# are one call each on the twin
PLUMBING = [
    "trace_event",
    "raw_event",
    "kmem_cache",
    "do_syscall",
    "entry_SYSCALL",
    "alloc_inode",
    "handle_softirqs",
    "do_softirq",
    "local_bh_enable",
    "net_rx_action",
    "napi_poll",
    "process_backlog",
    "netif_receive_skb_one_core",
    "ip_local_deliver_finish",
    "sk_prot_alloc",
    "clone_lock",
    "inet_sk_set_state",
]


def recorded_stacks() -> list[tuple[str, list[str]]]:
    """Run the program under a tracing instance; return (tracepoint, functions from the system call inwards)."""
    import socket

    trace = TraceInstance()
    try:
        trace.follow(os.getpid())
        for event, condition in EVENTS:
            assert trace.enable(event, condition, stack=True), event
        trace.start()
        every_call(SimpleNamespace(socket=socket))
        events = trace.read(final=True)
    finally:
        trace.close()
    return [(event.name, list(reversed(event.stack))) for event in events if event.stack]


def twin_paths() -> list[tuple[str, ...]]:
    graph = FunctionGraph(TwinEnv(start_kernel(1)))
    assert graph.run(every_call) == b"x" * 10
    return [path for root in graph.roots for path in root.paths()]


def network_part(stack: list[str]) -> list[str]:
    """Return the names of a stack that the twin should have, without the variants' marks."""
    return [plain(name) for name in stack if not name.startswith("__x64_") and not any(part in name for part in PLUMBING)]


def test_each_stack_that_the_kernel_recorded_is_a_path_of_the_twins_call_tree() -> None:
    reason = netns_missing(root_needed=True)
    if reason:
        pytest.skip(reason)
    try:
        stacks: Any = run_in_netns(recorded_stacks)
    except Exception as error:  # a child's error comes back as its text
        if "tracing" in str(error) or "tracefs" in str(error):
            pytest.skip(f"no tracefs here: {error}")
        raise
    entered = {name.removeprefix("__x64_") for _, stack in stacks for name in stack if name.startswith("__x64_")}
    assert {"sys_socket", "sys_listen", "sys_connect", "sys_accept4", "sys_sendto", "sys_recvfrom", "sys_close"} <= entered
    paths = twin_paths()
    missing = []
    for event, stack in stacks:
        wanted = network_part(stack)
        if not any(is_within(path, wanted) for path in paths):
            missing.append(f"{event}: {' > '.join(wanted)}")
    assert not missing, f"{len(missing)} of {len(stacks)} stacks are no path of the twin's tree:\n" + "\n".join(dict.fromkeys(missing))
