"""SOCK_DESTROY of sock_diag(7) on both kernels: who may, what it finds, what the programs behind the sockets see."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.prockit import SCENES, ask, inet_table, inode_names
from twinsock.wire.inet_diag import InetDiagReq

pytestmark = [pytest.mark.root]

LO = b"\x7f\0\0\1"


def destroy(env: Any, protocol: int, local: tuple[bytes, int], remote: tuple[bytes, int] = (b"", 0), family: int = 2) -> list[Any]:
    """Ask for a socket's end; return what the kernel answers."""
    req = InetDiagReq(family, protocol)
    req.src, req.sport = local
    req.dst, req.dport = remote
    return [(msg.type, msg.payload[:4].hex()) for msg in ask(env, 4, 21, 4, req.emit())]


def connection(env: Any) -> Any:
    found = SCENES["connected"](env)
    port = found["c"].getsockname()[1]
    out = [destroy(env, 6, (LO, port), (LO, 5000)), destroy(env, 6, (LO, port), (LO, 5000))]
    env.yield_now()
    out += [attempt(found[name].recv, 1) for name in ("c", "a")] + [attempt(found[name].send, b"x") for name in ("c", "a")]
    return [*out, inet_table(env, "tcp", inode_names(env, found))]


def listener(env: Any) -> Any:
    found = SCENES["queued"](env)
    out = [destroy(env, 6, (LO, 5000)), attempt(found["l"].accept), destroy(env, 6, (LO, 5000))]
    env.yield_now()
    out += [attempt(found["c1"].recv, 1), struct.unpack("=i", found["l"].getsockopt(1, 4, 4))]
    return [*out, inet_table(env, "tcp", inode_names(env, found))]


def datagram_socket(env: Any) -> Any:
    found = SCENES["udp_sockets"](env)
    port = found["c"].getsockname()[1]
    out = [destroy(env, 17, (LO, port), (LO, 6000)), attempt(found["c"].recv, 1), attempt(found["c"].getpeername)]
    out += [destroy(env, 17, (LO, 6000)), found["a"].getsockopt(1, 4), destroy(env, 17, (LO, 9)), destroy(env, 136, (LO, 6002))]
    return [*out, found["a"].getsockname(), found["e"].getsockopt(1, 4)]


def time_wait(env: Any) -> Any:
    found = SCENES["time_wait"](env)
    row = next(line.split() for line in env.proc("tcp").splitlines()[1:] if line.split()[3] == "06")
    out = [destroy(env, 6, (LO, int(row[1].split(":")[1], 16)), (LO, 5000)), env.proc("tcp").count("\n")]
    return [*out, destroy(env, 1, (LO, 1)), destroy(env, 6, (LO, 5000), family=9), len(found)]


@pytest.mark.parametrize("program", [connection, listener, datagram_socket, time_wait])
def test_destroying_sockets_gives_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)
