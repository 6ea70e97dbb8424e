"""What a simulation makes go wrong in a program's calls, within what the manual pages allow: short reads, partial writes, a call that
would block though poll(2) said otherwise, an accept(2) that is slow."""

from twinsock.kernel.kernel import Prng


class CallFaults:
    """The settings of one host."""

    def __init__(self, seed: int) -> None:
        self.prng = Prng(seed)
        self.accept_delay_ns = 0
        self.chance = 0  # of 2**32: how often a transfer is cut short
        self.spurious = 0  # of 2**32: how often a call that does not block says EAGAIN once more
        self.count = 0  # how often something went wrong

    def cut(self, size: int) -> int:
        """Return how many bytes a read or write of a stream may transfer."""
        if not self.chance or size < 2 or self.prng.u32() >= self.chance:
            return size
        self.count += 1
        return 1 + self.prng.below(size - 1)

    def again(self) -> bool:
        """Tell whether a call that does not block has to be made once more."""
        if not self.spurious or self.prng.u32() >= self.spurious:
            return False
        self.count += 1
        return True
