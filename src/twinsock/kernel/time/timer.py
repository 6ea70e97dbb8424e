"""Virtual time: the clock that several simulated hosts share, and its timers (Linux: kernel/time/timer.c, hrtimer.c).

Jiffy timers are rounded as Linux's timer wheel rounds them; high-resolution timers fire exactly. Nothing here reads a real
clock: time passes only when `Clock.run_next` pops the heap."""

from __future__ import annotations

import heapq

from twinsock.kernel.lib.extending import mypyc_attr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NSEC_PER_SEC: Final = 1_000_000_000
NSEC_PER_MSEC: Final = 1_000_000
NSEC_PER_USEC: Final = 1_000
INITIAL_JIFFIES: Final = 300 * 250  # any start will do; programs see differences only
_LVL_SIZE: Final = 64
_LVL_DEPTH: Final = 9


@mypyc_attr(allow_interpreted_subclasses=True)
class Timer:
    """One timer. Subclasses override `fire`; an idle timer has seq 0."""

    def __init__(self) -> None:
        self.expires_ns = 0
        self.expires = 0  # the tick asked for, before rounding: what tables show (wheel timers only)
        self.seq = 0
        self.entry = 0  # its key in the clock's heap, 0: it is not there; a timer that is idle or armed for later may be
        self.entry_ns = 0

    def fire(self) -> None:
        """Run when virtual time reaches `expires_ns`; the timer is idle again by then."""
        raise NotImplementedError

    def pending(self) -> bool:
        """Tell whether the timer is armed."""
        return self.seq != 0


NO_TIMER: Final = Timer()  # stands where a timer was that its owner no longer needs


class SoftirqRunner:
    """What a clock knows of a host: it lets softirqs run after a timer."""

    def do_softirq(self) -> None:
        """Run what timers queued."""
        raise NotImplementedError


class Clock:
    """Virtual nanoseconds, the timer heap and the order of everything that happens at one instant."""

    def __init__(self, now_ns: int = 0, hz: int = 250) -> None:
        self.now_ns = now_ns  # monotonic, since boot
        self.realtime_offset_ns = 0  # CLOCK_REALTIME minus CLOCK_MONOTONIC
        self.hz = hz
        self.jiffy_ns = NSEC_PER_SEC // hz
        # A timer that is disarmed, or armed for later, stays where it is in the heap and is moved when that place comes up:
        # most timers of TCP never fire. The heap holds numbers only, so that it keeps nothing alive that is gone.
        self._heap: list[tuple[int, int]] = []  # (instant, key)
        self._entries: dict[int, Timer] = {}  # by key
        self._seq = 0
        self.hosts: list[SoftirqRunner] = []
        self.in_timer = False  # a timer is firing: softirqs wait until it is done

    def jiffies(self) -> int:
        """Return the tick counter."""
        return INITIAL_JIFFIES + self.now_ns // self.jiffy_ns

    def msecs_to_jiffies(self, msecs: int) -> int:
        """Convert milliseconds to ticks, rounding up."""
        return (msecs * self.hz + 999) // 1000

    def nsecs_to_jiffies_up(self, nsecs: int) -> int:
        """Convert nanoseconds to ticks, rounding up."""
        return (nsecs + self.jiffy_ns - 1) // self.jiffy_ns

    def mod_timer(self, timer: Timer, expires: int) -> None:
        """Arm a wheel timer for tick `expires`, rounded up to the granularity of its wheel level."""
        timer.expires = expires
        self._arm(timer, (self._wheel_tick(expires) - INITIAL_JIFFIES) * self.jiffy_ns)

    def mod_timer_ns(self, timer: Timer, delay_ns: int) -> None:
        """Arm a wheel timer `delay_ns` from now (rounded up to ticks first)."""
        self.mod_timer(timer, self.jiffies() + (delay_ns + self.jiffy_ns - 1) // self.jiffy_ns)

    def hrtimer_start(self, timer: Timer, expires_ns: int) -> None:
        """Arm a high-resolution timer for the absolute instant `expires_ns`."""
        self._arm(timer, expires_ns)

    def del_timer(self, timer: Timer) -> bool:
        """Disarm a timer; tell whether it was armed."""
        was_pending = timer.seq != 0
        timer.seq = 0
        return was_pending

    def timer_shutdown(self, timer: Timer) -> None:
        """Disarm a timer for good: the clock forgets it."""
        timer.seq = 0
        if timer.entry:
            del self._entries[timer.entry]
            timer.entry = 0

    def next_event_ns(self) -> int:
        """Return the instant of the next timer, or -1 when none is armed."""
        heap = self._heap
        entries = self._entries
        while heap:
            when, key = heap[0]
            timer = entries.get(key)
            if timer is not None and timer.seq == key:
                return when
            heapq.heappop(heap)
            if timer is not None:
                del entries[key]
                timer.entry = 0
                if timer.seq:
                    self._enter(timer)
        return -1

    def run_next(self, limit_ns: int = -1) -> bool:
        """Advance to the next timer and fire it, unless it lies beyond `limit_ns`; tell whether one fired."""
        when = self.next_event_ns()
        if when < 0 or (limit_ns >= 0 and when > limit_ns):
            return False
        timer = self._entries.pop(heapq.heappop(self._heap)[1])
        timer.entry = 0
        if when > self.now_ns:
            self.now_ns = when
        timer.seq = 0
        self.in_timer = True
        timer.fire()
        self.in_timer = False
        for host in self.hosts:
            host.do_softirq()
        return True

    def advance_to(self, when_ns: int) -> None:
        """Fire every timer up to `when_ns` and leave the clock there."""
        while self.run_next(when_ns):
            pass
        if when_ns > self.now_ns:
            self.now_ns = when_ns

    def _arm(self, timer: Timer, when_ns: int) -> None:
        self._seq += 1
        timer.seq = self._seq
        timer.expires_ns = when_ns if when_ns > self.now_ns else self.now_ns
        if timer.entry:
            if timer.entry_ns <= timer.expires_ns:
                return
            del self._entries[timer.entry]
        self._enter(timer)

    def _enter(self, timer: Timer) -> None:
        timer.entry = timer.seq
        timer.entry_ns = timer.expires_ns
        self._entries[timer.seq] = timer
        heapq.heappush(self._heap, (timer.expires_ns, timer.seq))

    def _wheel_tick(self, expires: int) -> int:
        """Round a tick up as the wheel does: level n holds 64 buckets of 8**n ticks."""
        delta = expires - self.jiffies()
        if delta < 0:
            return self.jiffies() + 1
        level = 0
        while level < _LVL_DEPTH - 1 and delta >= (_LVL_SIZE - 1) << (3 * level):
            level += 1
        shift = 3 * level
        return ((expires + (1 << shift)) >> shift) << shift
