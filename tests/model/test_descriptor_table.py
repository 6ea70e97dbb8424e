"""A descriptor table against a naive model: a dict of numbers, and a set of open files."""

import errno

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.eventfd import EventFdFile, sys_eventfd2
from twinsock.kernel.fs.fcntl import sys_fcntl
from twinsock.kernel.fs.file import dup_files, put_files_struct, sys_close, sys_dup, sys_dup2, sys_dup3
from twinsock.uapi.fcntl import F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, O_CLOEXEC
from twinsock.uapi.resource import RLIMIT_NOFILE

LIMIT = 12
NUMBERS = st.integers(min_value=-1, max_value=LIMIT + 2)


class DescriptorTable(RuleBasedStateMachine):
    """Every call on the twin, and the same on a dict {number: (file, close-on-exec)}."""

    def __init__(self) -> None:
        super().__init__()
        self.task = start_kernel().new_task("model")
        self.task.rlim_cur[RLIMIT_NOFILE] = LIMIT
        self.model: dict[int, tuple[int, bool]] = {}
        self.files = 0
        self.copies: list[dict[int, tuple[int, bool]]] = []
        self.tables: list[object] = []

    def lowest(self, start: int = 0) -> int:
        fd = start
        while fd in self.model:
            fd += 1
        return fd if fd < LIMIT else -errno.EMFILE

    @rule(cloexec=st.booleans())
    def open(self, cloexec: bool) -> None:
        fd = self.lowest()
        assert sys_eventfd2(self.task, 0, O_CLOEXEC if cloexec else 0) == fd
        if fd >= 0:
            self.files += 1
            self.model[fd] = (self.files, cloexec)
            file = self.task.files.lookup(fd)
            assert isinstance(file, EventFdFile)
            file.count = self.files

    @rule(fd=NUMBERS)
    def close(self, fd: int) -> None:
        want = 0 if self.model.pop(fd, None) else -errno.EBADF
        assert sys_close(self.task, fd) == want

    @rule(fd=NUMBERS)
    def dup(self, fd: int) -> None:
        new = self.lowest() if fd in self.model else -errno.EBADF
        assert sys_dup(self.task, fd) == new
        if new >= 0:
            self.model[new] = (self.model[fd][0], False)

    @rule(fd=NUMBERS, new=NUMBERS, cloexec=st.booleans())
    def dup3(self, fd: int, new: int, cloexec: bool) -> None:
        want = new
        if fd == new:
            want = -errno.EINVAL
        elif not 0 <= new < LIMIT or fd not in self.model:
            want = -errno.EBADF
        assert sys_dup3(self.task, fd, new, O_CLOEXEC if cloexec else 0) == want
        if want >= 0:
            self.model[new] = (self.model[fd][0], cloexec)

    @rule(fd=NUMBERS, new=NUMBERS)
    def dup2(self, fd: int, new: int) -> None:
        if fd == new:
            want = fd if fd in self.model else -errno.EBADF
            assert sys_dup2(self.task, fd, new) == want
            return
        want = new if 0 <= new < LIMIT and fd in self.model else -errno.EBADF
        assert sys_dup2(self.task, fd, new) == want
        if want >= 0:
            self.model[new] = (self.model[fd][0], False)

    @rule(fd=NUMBERS, start=NUMBERS, cloexec=st.booleans())
    def dupfd(self, fd: int, start: int, cloexec: bool) -> None:
        if fd not in self.model:
            want = -errno.EBADF
        elif not 0 <= start < LIMIT:
            want = -errno.EINVAL
        else:
            want = self.lowest(start)
        assert sys_fcntl(self.task, fd, F_DUPFD_CLOEXEC if cloexec else F_DUPFD, start) == want
        if want >= 0:
            self.model[want] = (self.model[fd][0], cloexec)

    @rule()
    def fork(self) -> None:
        if len(self.copies) < 3:
            self.tables.append(dup_files(self.task.files))
            self.copies.append(dict(self.model))

    @rule()
    def child_ends(self) -> None:
        if self.copies:
            self.copies.pop()
            put_files_struct(self.tables.pop(), self.task)

    @invariant()
    def numbers_show_the_same_files(self) -> None:
        for fd in range(LIMIT + 2):
            file = self.task.files.lookup(fd)
            assert (file is not None) == (fd in self.model)
            if isinstance(file, EventFdFile):
                assert file.count == self.model[fd][0]
                assert sys_fcntl(self.task, fd, F_GETFD, 0) == int(self.model[fd][1])

    @invariant()
    def files_live_as_long_as_somebody_has_them(self) -> None:
        alive = {entry[0] for table in [self.model, *self.copies] for entry in table.values()}
        assert self.task.kernel.nr_files == len(alive)


DescriptorTable.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)


@pytest.mark.slow
class TestDescriptorTable(DescriptorTable.TestCase):
    """Run the machine."""
