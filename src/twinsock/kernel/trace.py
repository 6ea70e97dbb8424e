"""Tracepoints with Linux's names; an object that is None when nobody listens."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.net.core.sock import SockCommon


@mypyc_attr(allow_interpreted_subclasses=True)
class Trace:
    """Receives tracepoints; listeners subclass it."""

    def inet_sock_set_state(self, sk: SockCommon, oldstate: int, newstate: int) -> None:
        """sock:inet_sock_set_state."""

    def kfree_skb(self, skb: SkBuff, reason: str) -> None:
        """skb:kfree_skb, with a reason of net/core/dropreason.py."""

    def syn_dropped(self, skb: SkBuff, counter: str) -> None:
        """A listener took a SYN and did nothing with it: Linux has a counter for this, and no drop reason."""
