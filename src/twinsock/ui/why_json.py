"""The answer of `twinsock why` as JSON; docs/why.md is its schema."""

from __future__ import annotations

import json

from twinsock.inspect.address import format_address
from twinsock.inspect.unix import format_name
from twinsock.uapi.errno import ERRNO_NAMES
from twinsock.uapi.socket import AF_UNIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Blocker, Report
    from twinsock.inspect.facts import Question

SCHEMA = "twinsock.why/1"


def write_json(report: Report) -> str:
    """Write the report as one JSON object."""
    return json.dumps(as_dict(report), indent=2) + "\n"


def as_dict(report: Report) -> dict[str, object]:
    """Give the report as plain values."""
    return {
        "schema": SCHEMA,
        "target": report.target,
        "question": _question(report.question),
        "result": report.result,
        "exit_code": report.exit_code(),
        "call": report.call or None,
        "errno": ERRNO_NAMES.get(report.errno) if report.errno else None,
        "rule": report.rule,
        "sentence": report.sentence,
        "unless": report.unless or None,
        "port": report.port,
        "kernel_path": report.path,
        "blockers": [_blocker(blocker) for blocker in report.blockers],
        "variants": [
            {
                "options": variant.label,
                "asked": variant.asked,
                "result": variant.result,
                "call": variant.call or None,
                "errno": ERRNO_NAMES.get(variant.errno) if variant.errno else None,
            }
            for variant in report.variants
        ],
        "remedies": [{"action": remedy.action, "text": remedy.text, "verified": remedy.verified} for remedy in report.remedies],
        "next_free": report.next_free,
        "elsewhere": report.elsewhere,
        "notes": report.notes,
        "proof": {"text": report.proof, "agrees": report.proof_agrees} if report.proof else None,
    }


def _question(question: Question) -> dict[str, object]:
    unix = question.family == AF_UNIX
    return {
        "verb": "connect" if question.connect else "bind",
        "address": format_name(question.path) if unix else format_address(question.address),
        "port": question.port,
        "reuseaddr": question.reuseaddr,
        "reuseport": question.reuseport,
        "v6only": None if question.v6only < 0 else bool(question.v6only),
        "device": question.device or None,
        "freebind": question.freebind,
        "transparent": question.transparent,
        "listen": question.listen,
        "own_fd": question.held_fd if question.held >= 0 else None,
        "uid": None if question.uid < 0 else question.uid,
        "pid": question.pid or None,
        "netns": question.netns or None,
    }


def _blocker(blocker: Blocker) -> dict[str, object]:
    return {
        "state": blocker.state,
        "local": blocker.local,
        "remote": blocker.remote or None,
        "device": blocker.device or None,
        "netns": blocker.netns or None,
        "uid": None if blocker.uid < 0 else blocker.uid,
        "inode": blocker.inode or None,
        "cookie": blocker.cookie or None,
        "count": blocker.count,
        "reuseaddr": None if blocker.reuse < 0 else bool(blocker.reuse & 1),
        "reuseport": None if blocker.reuse < 0 else bool(blocker.reuse & 2),
        "holders": [
            {
                "pid": holder.pid,
                "fd": holder.fd,
                "comm": holder.comm,
                "command": holder.command,
                "uid": holder.uid,
                "unit": holder.unit or None,
                "parents": holder.parents,
                "inherited": holder.inherited,
                "running_ms": None if holder.running_ms < 0 else holder.running_ms,
            }
            for holder in blocker.holders
        ],
        "ghost": {"kind": blocker.ghost_kind or "orphan", "text": blocker.ghost, "pid": blocker.ghost_pid} if blocker.ghost else None,
        "since_ms": None if blocker.since_ms < 0 else blocker.since_ms,
        "lasts_ms": None if blocker.lasts_ms < 0 else blocker.lasts_ms,
        "rule": blocker.rule,
        "why": blocker.why,
        "facts": blocker.facts,
    }
