"""Files of /proc that tell of the machine: uptime, stat, loadavg, version (Linux: fs/proc/uptime.c, stat.c, loadavg.c, version.c).

The twin has one processor that is never busy: it has no other work than what it simulates in no time."""

from __future__ import annotations

from twinsock.kernel.fs.namei import Inode
from twinsock.kernel.fs.proc.generic import ProcSuper, ReadOnlyInode
from twinsock.uapi.stat import S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel

MACHINE_FILES: Final[tuple[str, ...]] = ("stat", "uptime", "loadavg", "version")
OSTYPE: Final = "Linux"
OSRELEASE: Final = "6.18.0-twin"
VERSION: Final = "#1 SMP"
_NS_PER_S: Final = 1_000_000_000
_NS_PER_CENTI: Final = 10_000_000


class MachineFile(ReadOnlyInode):
    """One of them."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str) -> None:
        super().__init__(sb, parent, name, S_IFREG | 0o444, name)
        self.what = name

    def records(self) -> tuple[int, list[bytes]]:
        """Make the text."""
        return 0, [machine_text(self.sb.kernel, self.what).encode("latin-1")]


def machine_text(kernel: Kernel, name: str) -> str:
    """Return the text of a file."""
    clock = kernel.clock
    centi = clock.now_ns // _NS_PER_CENTI
    if name == "uptime":
        seconds = f"{centi // 100}.{centi % 100:02d}"
        return f"{seconds} {seconds}\n"
    if name == "version":
        return f"{OSTYPE} version {OSRELEASE} (twinsock) {VERSION}\n"
    running = len([task for task in kernel.tasks if task.runnable])
    if name == "loadavg":
        last = max([task.pid for task in kernel.tasks], default=0)
        return f"0.00 0.00 0.00 {running}/{len(kernel.tasks)} {last}\n"
    idle = f"0 0 0 {centi} 0 0 0 0 0 0\n"
    booted = clock.realtime_offset_ns // _NS_PER_S
    return (
        f"cpu  {idle}cpu0 {idle}intr 0\nctxt 0\nbtime {booted}\nprocesses {len(kernel.tasks)}\nprocs_running {running}\nprocs_blocked 0\n"
    )
