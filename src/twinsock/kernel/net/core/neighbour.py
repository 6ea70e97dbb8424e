"""Who has which link address: the state machine that ARP and neighbour discovery share (Linux: net/core/neighbour.c; RFC 4861 7.3).

    NONE > INCOMPLETE > REACHABLE > STALE > DELAY > PROBE > REACHABLE
              |                                       |
              +------------> FAILED <-----------------+

Left out: garbage collection (D-ip-7), proxies."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dev import dev_queue_xmit
from twinsock.kernel.net.core.rtnl_notify import neigh_notify
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.time.timer import NSEC_PER_MSEC, Timer
from twinsock.uapi.rtnetlink import (
    NUD_DELAY,
    NUD_FAILED,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_NONE,
    NUD_PERMANENT,
    NUD_PROBE,
    NUD_REACHABLE,
    NUD_STALE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net

NUD_IN_TIMER: Final = NUD_INCOMPLETE | NUD_REACHABLE | NUD_DELAY | NUD_PROBE
NUD_VALID: Final = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY
NUD_CONNECTED: Final = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE

NEIGH_UPDATE_F_OVERRIDE: Final = 1
NEIGH_UPDATE_F_WEAK_OVERRIDE: Final = 2
NEIGH_UPDATE_F_ADMIN: Final = 0x80000000
_AF_INET: Final = 2


class NeighParms:
    """`struct neigh_parms`: net.ipv4.neigh.* and net.ipv6.neigh.*; times in ms."""

    def __init__(self) -> None:
        self.mcast_solicit = 3
        self.ucast_solicit = 3
        self.mcast_resolicit = 0
        self.retrans_time_ms = 1000
        self.base_reachable_time_ms = 30000
        self.delay_first_probe_time_ms = 5000
        self.gc_stale_time_ms = 60000
        self.unres_qlen_bytes = 212992
        self.locktime_ms = 1000
        self.reachable_time_ns = 0  # drawn from [0.5, 1.5) of the base
        self.own: list[str] = []  # a device's: fields that were set for it, and follow the defaults no more

    def copy(self) -> NeighParms:
        """Return equal parameters, for a device."""
        other = NeighParms()
        other.mcast_solicit = self.mcast_solicit
        other.ucast_solicit = self.ucast_solicit
        other.mcast_resolicit = self.mcast_resolicit
        other.retrans_time_ms = self.retrans_time_ms
        other.base_reachable_time_ms = self.base_reachable_time_ms
        other.delay_first_probe_time_ms = self.delay_first_probe_time_ms
        other.gc_stale_time_ms = self.gc_stale_time_ms
        other.unres_qlen_bytes = self.unres_qlen_bytes
        other.locktime_ms = self.locktime_ms
        other.reachable_time_ns = self.reachable_time_ns
        return other


class Neighbour(Timer):
    """`struct neighbour`: one next hop on one device. `ha` is valid in the NUD_VALID states."""

    def __init__(self, tbl: NeighTable, key: bytes, dev: NetDevice) -> None:
        super().__init__()
        self.tbl = tbl
        self.parms = tbl.parms_of(dev)
        self.key = key
        self.dev = dev
        self.nud_state = NUD_NONE
        self.ha = b""
        self.probes = 0
        self.confirmed_ns = 0
        self.used_ns = 0
        self.updated_ns = 0
        self.dead = False
        self.is_router = False
        self.arp_queue: deque[SkBuff] | None = None
        self.arp_queue_len_bytes = 0

    def fire(self) -> None:
        """Move on when the state's time is over, neigh_timer_handler()."""
        clock = self.dev.net.kernel.clock
        now = clock.now_ns
        parms = self.parms
        delay_ns = parms.delay_first_probe_time_ms * NSEC_PER_MSEC
        retrans_ns = parms.retrans_time_ms * NSEC_PER_MSEC
        next_ns = 0
        state = self.nud_state
        if state & NUD_REACHABLE:
            if now <= self.confirmed_ns + parms.reachable_time_ns:
                next_ns = self.confirmed_ns + parms.reachable_time_ns
            elif now <= self.used_ns + delay_ns:
                self._become(NUD_DELAY)
                next_ns = now + delay_ns
            else:
                self._become(NUD_STALE)
        elif state & NUD_DELAY:
            if now <= self.confirmed_ns + delay_ns:
                self._become(NUD_REACHABLE)
                next_ns = self.confirmed_ns + parms.reachable_time_ns
            else:
                self._become(NUD_PROBE)
                self.probes = 0
                next_ns = now + retrans_ns
        elif state & (NUD_PROBE | NUD_INCOMPLETE):
            next_ns = now + retrans_ns
        if self.nud_state & (NUD_INCOMPLETE | NUD_PROBE) and self.probes >= self._max_probes():
            self._become(NUD_FAILED)
            self._invalidate()
        elif self.nud_state & NUD_IN_TIMER:
            self._arm(next_ns)
            if self.nud_state & (NUD_INCOMPLETE | NUD_PROBE):
                self._probe()
        if self.nud_state != state and self.nud_state != NUD_DELAY:
            neigh_notify(self)

    def event_send(self, skb: SkBuff | None) -> bool:
        """Prepare for a packet: True when it was queued or dropped, False when it may be sent now, neigh_event_send()."""
        clock = self.dev.net.kernel.clock
        self.used_ns = clock.now_ns
        state = self.nud_state
        if state & (NUD_CONNECTED | NUD_DELAY | NUD_PROBE):
            return False
        if self.dead:
            if skb is not None:
                kfree_skb_reason(skb, dropreason.NEIGH_DEAD)
            return True
        probe_now = False
        if not state & (NUD_STALE | NUD_INCOMPLETE):
            self.probes = self.parms.ucast_solicit
            self._become(NUD_INCOMPLETE)
            self._arm(clock.now_ns + self.parms.retrans_time_ms * NSEC_PER_MSEC)
            probe_now = True
        elif state & NUD_STALE:
            self._become(NUD_DELAY)
            self._arm(clock.now_ns + self.parms.delay_first_probe_time_ms * NSEC_PER_MSEC)
            return False
        if skb is not None:
            self._queue(skb)
        if probe_now:
            self._probe()
        return True

    def resolve_output(self, skb: SkBuff) -> int:
        """Send a packet to this neighbour once its address is known, neigh_resolve_output()."""
        if not self.nud_state & NUD_CONNECTED and self.event_send(skb):
            return 0
        dev = self.dev
        skb.mac_dest = self.ha
        skb.mac_source = dev.dev_addr
        return dev_queue_xmit(skb)

    def confirm(self) -> None:
        """Note that the neighbour answers, as TCP does on progress."""
        self.confirmed_ns = self.dev.net.kernel.clock.now_ns

    def update(self, lladdr: bytes, new: int, flags: int) -> None:
        """Take in what was heard or configured: an address (b"": none) and a state, neigh_update()."""
        old = self.nud_state
        now = self.dev.net.kernel.clock.now_ns
        if not flags & NEIGH_UPDATE_F_ADMIN and old & (NUD_NOARP | NUD_PERMANENT):
            return
        if not new & NUD_VALID:
            self._go_invalid(new, old)
            return
        if not lladdr:
            if not old & NUD_VALID:
                return
            lladdr = self.ha
        if new & NUD_CONNECTED:
            self.confirmed_ns = now
        update_addr = True
        if old & NUD_VALID and lladdr != self.ha and not flags & NEIGH_UPDATE_F_OVERRIDE:
            update_addr = False
            if flags & NEIGH_UPDATE_F_WEAK_OVERRIDE and old & NUD_CONNECTED:
                lladdr = self.ha
                new = NUD_STALE
            else:
                return
        elif old & NUD_VALID and lladdr == self.ha and new == NUD_STALE and not flags & NEIGH_UPDATE_F_ADMIN:
            new = old
        changed = new != old or (update_addr and lladdr != self.ha)
        if new != old or lladdr != self.ha:
            self.updated_ns = now
        if new != old:
            self.dev.net.kernel.clock.del_timer(self)
            self._become(new)
            if new & NUD_IN_TIMER:
                self._arm(now + (self.parms.reachable_time_ns if new & NUD_REACHABLE else 0))
        if update_addr and lladdr != self.ha:
            self.ha = lladdr
            if not new & NUD_CONNECTED:
                self.confirmed_ns = now - 2 * self.parms.base_reachable_time_ms * NSEC_PER_MSEC
        if not old & NUD_VALID:
            self._flush_queue()
        if changed:
            neigh_notify(self)

    def _go_invalid(self, new: int, old: int) -> None:
        self.dev.net.kernel.clock.del_timer(self)
        self._become(new)
        failed = bool(old & (NUD_INCOMPLETE | NUD_PROBE) and new & NUD_FAILED)
        if failed:
            self._invalidate()
        if failed or old & NUD_VALID:
            neigh_notify(self)

    def _become(self, state: int) -> None:
        self.nud_state = state

    def _max_probes(self) -> int:
        parms = self.parms
        return parms.ucast_solicit + (parms.mcast_resolicit if self.nud_state & NUD_PROBE else parms.mcast_solicit)

    def _arm(self, when_ns: int) -> None:
        clock = self.dev.net.kernel.clock
        clock.mod_timer_ns(self, max(when_ns - clock.now_ns, clock.jiffy_ns))

    def _probe(self) -> None:
        queue = self.arp_queue
        self.tbl.solicit(self, queue[-1] if queue else None)
        self.probes += 1

    def _queue(self, skb: SkBuff) -> None:
        if self.arp_queue is None:
            self.arp_queue = deque()
        queue = self.arp_queue
        while queue and self.arp_queue_len_bytes + skb.truesize > self.parms.unres_qlen_bytes:
            oldest = queue.popleft()
            self.arp_queue_len_bytes -= oldest.truesize
            self.tbl.unres_discards += 1
            kfree_skb_reason(oldest, dropreason.NEIGH_QUEUEFULL)
        queue.append(skb)
        self.arp_queue_len_bytes += skb.truesize

    def _flush_queue(self) -> None:
        queue = self.arp_queue
        self.arp_queue = None
        self.arp_queue_len_bytes = 0
        while queue:
            self.resolve_output(queue.popleft())

    def _invalidate(self) -> None:
        self.tbl.res_failed += 1
        queue = self.arp_queue
        self.arp_queue = None
        self.arp_queue_len_bytes = 0
        while queue:
            self.tbl.error_report(self, queue.popleft())


class NeighTable:
    """`struct neigh_table`: the neighbours of one address family in one namespace."""

    def __init__(self, net: Net, family: int) -> None:
        self.net = net
        self.family = family
        self.parms = NeighParms()
        self.parms.reachable_time_ns = self.draw_reachable_time(self.parms)
        self.dev_parms: dict[int, NeighParms] = {}  # by index of the device
        self.by_dev: dict[int, dict[bytes, Neighbour]] = {}
        self.unres_discards = 0
        self.res_failed = 0

    def solicit(self, neigh: Neighbour, skb: SkBuff | None) -> None:
        """Ask for the address on the wire; `skb` is a packet that waits for it."""
        raise NotImplementedError

    def error_report(self, neigh: Neighbour, skb: SkBuff) -> None:
        """Tell the sender of a packet that its next hop does not answer."""
        raise NotImplementedError

    def constructor(self, neigh: Neighbour) -> None:
        """Give a new entry its address where that needs no asking (multicast, broadcast, no link addresses)."""
        raise NotImplementedError

    def lookup(self, key: bytes, dev: NetDevice) -> Neighbour | None:
        """Find an entry."""
        entries = self.by_dev.get(dev.ifindex)
        return None if entries is None else entries.get(key)

    def lookup_or_create(self, key: bytes, dev: NetDevice) -> Neighbour:
        """Find an entry or make one."""
        entries = self.by_dev.get(dev.ifindex)
        if entries is None:
            entries = {}
            self.by_dev[dev.ifindex] = entries
        neigh = entries.get(key)
        if neigh is None:
            neigh = Neighbour(self, key, dev)
            self.constructor(neigh)
            entries[key] = neigh
        return neigh

    def delete(self, neigh: Neighbour) -> None:
        """Remove an entry, `ip neigh del`; packets that wait are dropped."""
        self.net.kernel.clock.del_timer(neigh)
        neigh.dead = True
        if neigh.nud_state & NUD_VALID:
            neigh.nud_state = NUD_NONE
        queue = neigh.arp_queue
        neigh.arp_queue = None
        while queue:
            kfree_skb_reason(queue.popleft(), dropreason.NEIGH_DEAD)
        entries = self.by_dev.get(neigh.dev.ifindex)
        if entries is not None and entries.get(neigh.key) is neigh:
            del entries[neigh.key]
            neigh_notify(neigh, True)

    def ifdown(self, dev: NetDevice) -> None:
        """Forget everything about a device that goes down, neigh_ifdown()."""
        for neigh in list(self.by_dev.get(dev.ifindex, {}).values()):
            self.delete(neigh)

    def entries(self) -> list[Neighbour]:
        """List all entries, device by device."""
        found: list[Neighbour] = []
        for entries in self.by_dev.values():
            found.extend(entries.values())
        return found

    def parms_of(self, dev: NetDevice) -> NeighParms:
        """Return a device's parameters, at first a copy of the defaults, which are those of the initial namespace."""
        parms = self.dev_parms.get(dev.ifindex)
        if parms is None:
            init = self.net.kernel.init_net
            table = init.ipv4.arp_tbl if self.family == _AF_INET else init.ipv6.nd_tbl
            parms = (self.parms if table is None else table.parms).copy()
            self.dev_parms[dev.ifindex] = parms
        return parms

    def draw_reachable_time(self, parms: NeighParms) -> int:
        """Return how long an answer is trusted, about the base time."""
        base = parms.base_reachable_time_ms
        if base <= 0:
            return 0
        return (base // 2 + self.net.kernel.prng.below(base)) * NSEC_PER_MSEC
