"""The answer of `twinsock listeners` as one JSON document; the schema is in docs/listeners.md."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.findings import Finding
    from twinsock.explain.listeners import Share, Window
    from twinsock.inspect.findings import Listener, ListenSpace
    from twinsock.ui.listeners import Look


def as_json(look: Look, sick: bool) -> dict[str, object]:
    """Write one look."""
    spaces = []
    for space, shares in zip(look.spaces, look.shares, strict=True):
        listeners = [
            _listener(space, one, look.findings[id(one)], look.window) for one in space.listeners if look.findings[id(one)] or not sick
        ]
        spaces.append(
            {
                "netns": space.netns,
                "label": space.label,
                "own": space.own,
                "somaxconn": _or_null(space.somaxconn),
                "tcp_syncookies": _or_null(space.syncookies),
                "listeners": listeners,
                "counters": [_share(share) for share in shares],
            }
        )
    return {"seconds": look.window.seconds if look.window is not None else None, "namespaces": spaces}


def _or_null(number: int) -> int | None:
    return None if number < 0 else number


def _listener(space: ListenSpace, one: Listener, findings: list[Finding], window: Window | None) -> dict[str, object]:
    from twinsock.explain.listeners import name_of
    from twinsock.ui.tool import finding_json

    protocol, _, address = name_of(one).partition(" ")
    meanwhile = window.drops(one) if window is not None and one.drops >= 0 else None
    return {
        "protocol": protocol,
        "address": address,
        "inode": one.inode,
        "cookie": one.cookie,
        "queue": _or_null(one.queue),
        "limit": _or_null(one.limit),
        "at_somaxconn": one.tcp is not None and one.limit == space.somaxconn,
        "drops": _or_null(one.drops),
        "drops_meanwhile": meanwhile,
        "drops_per_second": round(meanwhile / window.seconds, 3) if meanwhile is not None and window is not None else None,
        "syn_recv": one.syn_recv if one.tcp is not None else None,
        "oldest_ms": _or_null(one.oldest_ms),
        "members": one.members,
        "owners": [
            {
                "pid": owner.pid,
                "comm": owner.comm,
                "unit": owner.unit,
                "state": owner.state,
                "fds_open": _or_null(owner.fds_open),
                "fds_max": _or_null(owner.fds_max),
            }
            for owner in one.owners
        ],
        "ghost": {"kind": one.ghost_kind, "text": one.ghost} if one.ghost_kind else None,
        "verdict": findings[0].rule if findings else "ok",
        "findings": [finding_json(finding) for finding in findings],
    }


def _share(share: Share) -> dict[str, object]:
    return {
        "name": share.name,
        "value": share.value,
        "of": [{"cookie": one.cookie, "part": part} for one, part in share.of],
        "exact": share.exact,
        "unattributed": share.unattributed,
        "why": share.why,
    }
