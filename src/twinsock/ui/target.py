"""From what a user types (`8080`, `udp://[::]:53`, `unix:/run/x.sock`) to a Question's address."""

from __future__ import annotations

import _socket
from os import fsencode

from twinsock.inspect.facts import Question
from twinsock.uapi.in_ import IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from twinsock.uapi.un import UNIX_PATH_MAX
from twinsock.ui.args import UsageError, printable

FORMS = "8080, 127.0.0.1:8080, tcp://[::]:8080, udp://0.0.0.0:53, unix:/run/x.sock or unix:@name"
_PROTOCOLS = {"tcp": IPPROTO_TCP, "udp": IPPROTO_UDP, "mptcp": IPPROTO_MPTCP}
_UNIX_TYPES = {"unix": SOCK_STREAM, "unix-stream": SOCK_STREAM, "unix-dgram": SOCK_DGRAM, "unix-seqpacket": SOCK_SEQPACKET}


def parse_target(text: str, connect: bool) -> Question:
    """Read an address. Raises UsageError."""
    question = Question()
    question.connect = connect
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _UNIX_TYPES:
        question.type = _UNIX_TYPES[scheme]
        _set_path(question, rest.removeprefix("//") if rest.startswith("///") else rest)
        return question
    if text.startswith("/"):
        _set_path(question, text)
        return question
    family = 0
    if "/" in text and "://" not in text:
        text, _slash, name = text.rpartition("/")
        family = _set_protocol(question, name)
    elif "://" in text:
        scheme, _, text = text.partition("://")
        family = _set_protocol(question, scheme)
        text = text.removesuffix("/")
    elif colon and scheme.rstrip("46") in _PROTOCOLS and rest:
        family = _set_protocol(question, scheme)
        text = rest
    host, port = _split(text)
    _set_host(question, host, family)
    question.port = _port(port, question.protocol)
    return question


def _set_protocol(question: Question, name: str) -> int:
    """Understand tcp, udp6 and the like; gives the address family they imply, or 0."""
    protocol = _PROTOCOLS.get(name[:-1] if name[-1:] in ("4", "6") else name)
    if protocol is None:
        raise UsageError(f"unknown protocol {printable(name)}; write tcp, udp, mptcp or unix")
    question.protocol = protocol
    return AF_INET if name[-1] == "4" else AF_INET6 if name[-1] == "6" else 0


def _split(text: str) -> tuple[str, str]:
    """Split HOST:PORT; a bare word is a port."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not port.startswith(":") or ":" not in host:
            raise UsageError(f"cannot read {printable(text)}; write an IPv6 address and its port as [::1]:8080")
        return host, port[1:]
    host, colon, port = text.rpartition(":")
    if ":" in host:
        raise UsageError(f"cannot read {printable(text)}; write an IPv6 address and its port as [::1]:8080")
    if not colon and "." in text:
        raise UsageError(f"no port in {printable(text)}; write {printable(text)}:8080")
    return (host, port) if colon else ("", text)


def _set_host(question: Question, host: str, family: int) -> None:
    """Set family and address; no host means the wildcard (connect: loopback, which is where the kernel sends it)."""
    if host in ("", "*"):
        question.family = family or AF_INET
        question.address = bytes(16 if family == AF_INET6 else 4)
        return
    address, _, question.zone = host.partition("%")
    for kind in (AF_INET, AF_INET6):
        try:
            question.address = _socket.inet_pton(kind, address)
        except (OSError, ValueError):
            continue
        question.family = kind
        if family and kind != family:
            raise UsageError(f"{printable(address)} is not an IPv{4 if family == AF_INET else 6} address")
        if question.zone and kind == AF_INET:
            raise UsageError(f"an IPv4 address has no zone: {printable(host)}")
        return
    if question.zone:
        raise UsageError(f"{printable(address)} is not an IPv6 address")
    _resolve(question, host, family)


def _resolve(question: Question, host: str, family: int) -> None:
    """Look a host name up; the first answer counts."""
    if all(char in "0123456789." for char in host):
        raise UsageError(f"{printable(host)} is not an IPv4 address")
    try:
        found = _socket.getaddrinfo(host, None, family or _socket.AF_UNSPEC, _socket.SOCK_STREAM)
    except (OSError, ValueError):
        raise UsageError(f"cannot find the address of {printable(host)}; write it as a number, or one of {FORMS}") from None
    for kind, _type, _protocol, _name, address in found:
        if kind in (AF_INET, AF_INET6):
            question.family = kind
            question.address = _socket.inet_pton(kind, str(address[0]).partition("%")[0])
            return
    raise UsageError(f"{printable(host)} has no IP address")


def _port(text: str, protocol: int) -> int:
    """Read a port number or a service name."""
    if text.isascii() and text.isdecimal():
        if len(text) > 9 or int(text) > 65535:
            raise UsageError(f"port {printable(text)} does not exist; ports go from 0 to 65535")
        return int(text)
    if text.isascii() and text and text.replace("-", "").replace("_", "").isalnum():
        try:
            return _socket.getservbyname(text, "udp" if protocol == IPPROTO_UDP else "tcp")
        except OSError:
            pass
    raise UsageError(
        f"cannot read the address {printable(text)}; write it as {FORMS}" if text else f"no port; write the address as {FORMS}"
    )


def _set_path(question: Question, text: str) -> None:
    """Set a UNIX socket's name."""
    question.family = AF_UNIX
    question.protocol = 0
    question.address = b""
    question.path = fsencode(text)
    if text.startswith("@"):
        question.path = b"\0" + question.path[1:]
    elif b"\0" in question.path:
        raise UsageError("a path cannot contain a zero byte")
    if not text:
        raise UsageError("no path; write unix:/run/x.sock, or unix:@name for an abstract name")
    if len(question.path) > UNIX_PATH_MAX:
        raise UsageError(f"a UNIX socket's path has at most {UNIX_PATH_MAX} bytes; this one has {len(question.path)}")
