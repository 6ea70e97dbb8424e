"""Gather who uses the ports of a namespace's automatic range: every TCP and UDP socket whose local port lies in it."""

from __future__ import annotations

from twinsock.inspect.facts import Question, Snapshot, TaskRecord
from twinsock.inspect.gather import add_sockets
from twinsock.inspect.gather_connect import find_way, mark_automatic
from twinsock.inspect.sysctl import bind_sysctls
from twinsock.uapi.in_ import IPPROTO_TCP, IPPROTO_UDP
from twinsock.uapi.inet_diag import INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE
from twinsock.wire.inet_diag import bc_and, bc_autobound, bc_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort


def take_range_snapshot(port: KernelPort, netns: int, protocol: int, to: Question | None = None) -> Snapshot:
    """Read the sockets of the range, and the way to a destination if one is asked about. Raises OSError and NotAvailable."""
    question = Question() if to is None else to.copy()
    question.protocol = protocol
    question.connect = True
    question.netns = netns
    snapshot = Snapshot(question, TaskRecord(0))
    snapshot.netns = netns
    snapshot.now_ns = port.now_ns()
    snapshot.sysctls = bind_sysctls(port, netns)
    low, high = snapshot.sysctls.port_range
    here = bc_and(bc_port(INET_DIAG_BC_S_GE, low), bc_port(INET_DIAG_BC_S_LE, high))
    add_sockets(port, snapshot, here, keep_all=True)
    if protocol == IPPROTO_TCP:
        mark_automatic(port, snapshot, bc_and(here, bc_autobound()))
        if to is not None:
            snapshot.way = find_way(port, snapshot)
    assert protocol in (IPPROTO_TCP, IPPROTO_UDP)
    return snapshot
