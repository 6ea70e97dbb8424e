"""sendmsg, recvmsg, sendmmsg, recvmmsg: headers of every odd shape, over a UNIX pair and UDP."""

import struct
from typing import Any

import pytest

from tests.parity import host_msg
from tests.parity.harness import assert_parity
from twinsock.kernel.net import socket as calls

pytestmark = [pytest.mark.root]


def twin_msg(spec: dict[str, Any]) -> calls.UserMsghdr:
    umsg = calls.UserMsghdr()
    if "room" in spec:
        umsg.room = spec["room"]
        umsg.out_name = calls.UserSockaddr(min(spec.get("name_room", 128), 128) if spec.get("name_room", 128) >= 0 else -1)
        umsg.control = b"" if spec.get("control_room") else None
        umsg.controllen = spec.get("control_room", 0)
        return umsg
    umsg.iov = spec.get("iov", [b""])
    umsg.name = spec.get("name")
    umsg.namelen = spec.get("namelen", len(spec.get("name") or b""))
    umsg.control = spec.get("control", b"")
    umsg.controllen = spec.get("controllen", len(umsg.control or b""))
    return umsg


def twin_received(ret: int, umsg: calls.UserMsghdr) -> Any:
    assert umsg.out_name is not None
    return ret, umsg.data[:ret], umsg.out_name.addr, umsg.out_name.addrlen, umsg.flags, umsg.control or b""


class Messages:
    """The four calls on either kernel."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def sendmsg(self, fd: int, spec: dict[str, Any], flags: int = 0x4040) -> int:
        if self.env.kind == "host":
            return host_msg.sendmsg(fd, spec, flags)
        return calls.sys_sendmsg(self.env.task, fd, twin_msg(spec), flags)

    def recvmsg(self, fd: int, spec: dict[str, Any], flags: int = 0x40) -> Any:
        if self.env.kind == "host":
            return host_msg.recvmsg(fd, spec, flags)
        umsg = twin_msg(spec)
        ret = calls.sys_recvmsg(self.env.task, fd, umsg, flags)
        return ret if ret < 0 else twin_received(ret, umsg)

    def sendmmsg(self, fd: int, specs: list[dict[str, Any]], flags: int = 0x4040) -> Any:
        if self.env.kind == "host":
            return host_msg.sendmmsg(fd, specs, flags)
        umsgs = [twin_msg(spec) for spec in specs]
        ret = calls.sys_sendmmsg(self.env.task, fd, umsgs, flags)
        return ret, [umsg.msg_len for umsg in umsgs[: max(ret, 0)]]

    def recvmmsg(self, fd: int, specs: list[dict[str, Any]], flags: int = 0x40) -> Any:
        if self.env.kind == "host":
            return host_msg.recvmmsg(fd, specs, flags)
        umsgs = [twin_msg(spec) for spec in specs]
        ret = calls.sys_recvmmsg(self.env.task, fd, umsgs, flags, -1)
        return ret, [twin_received(umsg.msg_len, umsg) for umsg in umsgs[: max(ret, 0)]]


def udp_pair(env: Any) -> tuple[int, int]:
    a, b = env.sys.socket(2, 2, 0), env.sys.socket(2, 2, 0)
    for fd, port in ((a, 5001), (b, 5002)):
        addr = struct.pack("=H", 2) + struct.pack("!HI8x", port, 0x7F000001)
        env.sys.bind(fd, addr, 16)
    for fd, port in ((a, 5002), (b, 5001)):
        addr = struct.pack("=H", 2) + struct.pack("!HI8x", port, 0x7F000001)
        env.sys.connect(fd, addr, 16)
    return a, b


def pair(env: Any, kind: str) -> tuple[int, int]:
    if kind == "udp":
        return udp_pair(env)
    a, b = env.sys.socketpair(1, {"stream": 1, "dgram": 2, "seqpacket": 5}[kind], 0)[1]
    return a, b


def cmsg(level: int, type_: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("=Qii", 16 + len(data) if length is None else length, level, type_) + data + bytes(-len(data) % 8)


def odd_headers(env: Any, kind: str) -> Any:
    m = Messages(env)
    a, b = pair(env, kind)
    out: list[Any] = []
    specs: list[dict[str, Any]] = [
        {"iov": [b"one"]},
        {"iov": [b"", b"a", b"", b"bc"]},
        {"iov": []},
        {"iov": [b""] * 1024},
        {"iov": [b"x"] * 1025},
        {"iov": None},
        {"iov": [b"n"], "name": b"", "namelen": 0},
        {"iov": [b"n"], "name": b"\0" * 8, "namelen": -1},
        {"iov": [b"c"], "control": None, "controllen": 16},
        {"iov": [b"c"], "control": b"", "controllen": 0},
        {"iov": [b"c"], "control": cmsg(1, 1, b"")},
        {"iov": [b"c"], "control": cmsg(1, 1, struct.pack("=i", 0))},
        {"iov": [b"c"], "control": cmsg(1, 1, struct.pack("=i", 99))},
        {"iov": [b"c"], "control": cmsg(1, 1, b"", 15)},
        {"iov": [b"c"], "control": cmsg(1, 1, b"", 200)},
        {"iov": [b"c"], "control": b"\0" * 15},
        {"iov": [b"c"], "control": cmsg(1, 99, b"1234")},
        {"iov": [b"c"], "control": cmsg(99, 1, b"1234")},
        {"iov": [b"c"], "control": cmsg(1, 36, struct.pack("=i", 5))},
        {"iov": [b"c"], "control": cmsg(1, 36, b"12")},
        {"iov": [b"c"], "control": cmsg(1, 4, b"1234")},
        {"iov": [b"c"], "control": cmsg(1, 37, struct.pack("=i", 3))},
        {"iov": [b"c"], "control": cmsg(1, 81, struct.pack("=i", 3))},
        {"iov": [b"c"], "control": cmsg(1, 61, bytes(8))},
        {"iov": [b"c"], "control": cmsg(1, 12, struct.pack("=i", 6))},
        {"iov": [b"c"], "control": cmsg(99, 1, b"1") + cmsg(1, 99, b"")},
    ]
    for spec in specs:
        out.append(m.sendmsg(a, spec))
        out.append(m.recvmsg(b, {"room": 100, "control_room": 0 if spec.get("control") else 64}))
        if out[-1] != -11 and kind != "stream":
            env.sys.recvfrom(b, 100, 0x40)
    out += [m.sendmsg(a, {"iov": [b"f"]}, flag | 0x4040) for flag in (-(2**31), 0x8, 0x80000, 0x8000000, 0x200)]
    out += [m.recvmsg(b, {"room": 10}, -(2**31)), m.recvmsg(b, {"room": 10, "name_room": -1})]
    out += [m.recvmsg(b, {"room": room, "name_room": 2}, flags | 0x40) for room in (0, 1, 5) for flags in (2, 0x20, 0x22, 0x40000000)]
    fds = [env.os.pipe()[0], 999]
    out += [m.sendmsg(fd, {"iov": [b"x"]}) for fd in fds] + [m.recvmsg(fd, {"room": 1}) for fd in fds]
    return out


def several_messages(env: Any, kind: str) -> Any:
    m = Messages(env)
    a, b = pair(env, kind)
    texts = [{"iov": [text]} for text in (b"one", b"two", b"three")]
    out = [m.sendmmsg(a, texts), m.recvmmsg(b, [{"room": 4, "control_room": 32}] * 5), m.recvmmsg(b, [{"room": 4}] * 2)]
    bad = {"iov": [b"z"], "control": cmsg(1, 99, b"")}
    out += [m.sendmmsg(a, [texts[0], bad, texts[1]]), m.sendmmsg(a, [bad, texts[0]]), m.sendmmsg(a, [])]
    out += [m.recvmmsg(b, [{"room": 4}] * 3, 0x10000), m.recvmmsg(b, [{"room": 4}] * 3), m.recvmmsg(b, [])]
    env.sys.sendto(a, b"12", 0, None, 0)
    out += [m.recvmmsg(b, [{"room": 1}] * 3, 0x22 | 0x40), m.recvmmsg(b, [{"room": 1}] * 3)]
    return [*out, m.sendmmsg(99, texts), m.recvmmsg(99, [{"room": 1}])]


KINDS = ["stream", "dgram", "seqpacket", "udp"]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_headers_are_treated_alike(kind: str) -> None:
    assert_parity(odd_headers, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_several_messages_in_one_call_agree(kind: str) -> None:
    assert_parity(several_messages, kind)
