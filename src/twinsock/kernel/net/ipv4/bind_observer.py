"""What a bind(2) saw, told while it decides: each owner of the port, and the rule or the excuse.

`Net.bind_observer` is None in normal runs. The rules themselves are in inet_connection_sock.py and udp_table.py; an observer
only listens, so an explanation cannot differ from the decision."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.sock import Sock, SockCommon

# Verdicts about one owner: above 0 it refuses N, below 0 it lets N pass.
RULE_NO_SHARED_FLAG: Final = 1  # no flag that both have
RULE_LISTENING: Final = 2  # both SO_REUSEADDR, but the owner listens
RULE_OTHER_UID: Final = 3  # both SO_REUSEPORT, but the sockets belong to different users
RULE_IN_GROUP: Final = 4  # both SO_REUSEPORT, but N is a member of a group already
RULE_AUTOMATIC: Final = 5  # an automatic port is never shared
PASS_SELF: Final = -1  # never told
PASS_DEVICE: Final = -2  # bound to different devices
PASS_ADDRESS: Final = -3  # the addresses do not overlap
PASS_REUSEADDR: Final = -4  # both have it, the owner does not listen
PASS_REUSEPORT: Final = -5  # both have it, same user
PASS_REUSEPORT_TIME_WAIT: Final = -6  # both have it, the owner is in TIME_WAIT: any user

RULE_NAMES: Final = {
    RULE_NO_SHARED_FLAG: "no shared flag",
    RULE_LISTENING: "owner listens",
    RULE_OTHER_UID: "other user",
    RULE_IN_GROUP: "already in a group",
    RULE_AUTOMATIC: "automatic port",
    PASS_DEVICE: "other device",
    PASS_ADDRESS: "other address",
    PASS_REUSEADDR: "reuseaddr",
    PASS_REUSEPORT: "reuseport",
    PASS_REUSEPORT_TIME_WAIT: "reuseport, TIME_WAIT",
}

# Shortcuts that skip the owners.
SHORTCUT_FORCE_REUSE: Final = 1  # TCP_REPAIR
SHORTCUT_REUSEPORT: Final = 2  # the bucket remembers a SO_REUSEPORT owner of the same user whose address covers N's
SHORTCUT_GROUP_MATE: Final = 3  # UDP: the first overlapping owner is a SO_REUSEPORT mate; the others are not looked at


@mypyc_attr(allow_interpreted_subclasses=True)
class BindObserver:
    """Listens to bind(2) and listen(2); subclasses keep what they need."""

    def owner_seen(self, sk: Sock, owner: SockCommon, port: int, verdict: int) -> None:
        """An owner of `port` was compared with `sk`: a RULE_* that refuses, or a PASS_*."""

    def shortcut(self, sk: Sock, port: int, reason: int) -> None:
        """The owners of `port` were not, or not all, looked at: a SHORTCUT_*."""

    def port_skipped(self, sk: Sock, port: int) -> None:
        """The search for an automatic port passed a reserved port."""

    def range_exhausted(self, sk: Sock, low: int, high: int) -> None:
        """The search for an automatic port from `low` to `high` (both included) found none."""

    def refused(self, sk: Sock, function: str, err: int) -> None:
        """A kernel function returns -errno; told from the innermost one outwards, so the last one told is the system call's own."""
