"""`--prove`: really try it through host.prove, and compare with what the twin said."""

from __future__ import annotations

from twinsock.explain.report import FAILS, OK, UNKNOWN
from twinsock.host.prove import Attempt, prove
from twinsock.inspect.address import format_address
from twinsock.inspect.unix import format_name
from twinsock.uapi.errno import ERRNO_NAMES
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.socket import AF_UNIX, SOCK_DGRAM, SOCK_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Report
    from twinsock.inspect.facts import Question


def add_proof(report: Report) -> None:
    """Try it and add what the kernel said. Raises OSError."""
    if report.question.held >= 0:
        report.proof = "not tried: listen() on the process's own socket would change that socket."
        return
    tried = prove(attempt_of(report.question))
    if not tried.tried:
        report.proof = f"could not be tried: {tried.text}"
        return
    said = "succeeded" if not tried.errno else f"{tried.call}() failed with {ERRNO_NAMES.get(tried.errno, str(tried.errno))}"
    expected = 0 if report.result == OK else report.errno
    if report.result == UNKNOWN:
        report.proof = f"really tried: {said}, which settles what was open."
        report.proof_agrees = tried.errno in (0, report.errno)
        report.result = FAILS if tried.errno else OK
        report.errno = tried.errno
    else:
        same_call = not tried.errno or tried.call.partition(" ")[0] == report.call
        report.proof_agrees = tried.errno == expected and same_call
        report.proof = f"really tried: {said}, {'as predicted' if report.proof_agrees else 'which is not what was predicted'}."
    for difference in tried.differences:
        report.proof += f" ({difference})"


def attempt_of(question: Question) -> Attempt:
    """Write the question as an attempt."""
    if question.family == AF_UNIX:
        attempt = Attempt(AF_UNIX, question.type)
        if question.connect:
            attempt.connect_to = format_name(question.path)
        else:
            attempt.address = format_name(question.path)
    else:
        attempt = Attempt(question.family, SOCK_DGRAM if question.protocol == IPPROTO_UDP else SOCK_STREAM, question.protocol)
        zone = f"%{question.zone}" if question.zone else ""
        address = format_address(question.address) + zone
        if question.connect:
            attempt.connect_to = address
            attempt.connect_port = question.port
        else:
            attempt.address = address
            attempt.port = question.port
    attempt.reuseaddr = 1 if question.reuseaddr else -1
    attempt.reuseport = 1 if question.reuseport else -1
    attempt.v6only = question.v6only
    attempt.freebind = 1 if question.freebind else -1
    attempt.transparent = 1 if question.transparent else -1
    attempt.device = question.device
    attempt.listen = question.listen
    attempt.netns = question.netns
    attempt.pid = question.pid
    attempt.uid = question.uid
    return attempt
