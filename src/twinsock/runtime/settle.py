"""Starts the interpreter again with the settings that make runs equal: PYTHONHASHSEED fixed and address space randomisation off.

Both are needed, since the order of a set depends on hashes of strings and on addresses. This file imports nothing heavy, so that the
first of the two starts is short."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinsock.runtime.facade import TwinEnv

_ADDR_NO_RANDOMIZE = 0x0040000
_FAILED = "TWINSOCK_ASLR"


class Request:
    """What `twinsock run` was asked for."""

    def __init__(self) -> None:
        self.program = ""
        self.is_module = False
        self.args: list[str] = []
        self.seed = 0
        self.hostname = "twin"
        self.sysctls: list[tuple[str, str]] = []
        self.pcap = ""
        self.pcap_devices: list[str] = []  # none: every device
        self.trace = ""  # a file, "-" for the standard error output
        self.drops = ""  # a file, "-" for the standard error output
        self.realtime = False
        self.tap = ""  # a TAP device of the real kernel that is this host's eth0
        self.tap_address = ""
        self.watchdog_s = 10  # 0: no watchdog
        self.at_end: Callable[[TwinEnv], object] | None = None  # called when the program has ended
        self.allowed: list[str] = []


def settle(hash_seed: int) -> None:
    """Execute the same command again, unless the settings are right."""
    fixed = os.environ.get("PYTHONHASHSEED") == str(hash_seed)
    try:
        with open("/proc/self/personality") as file:
            plain = bool(int(file.read(), 16) & _ADDR_NO_RANDOMIZE)
    except OSError:
        plain = False
    if fixed and (plain or os.environ.get(_FAILED) == "on"):
        return
    if not plain and not _no_randomize():
        os.environ[_FAILED] = "on"
        why = "personality(2) is not permitted, so that addresses stay random: the order of sets may differ between runs"
        print("twinsock run: " + why, file=sys.stderr)
    os.environ["PYTHONHASHSEED"] = str(hash_seed)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _no_randomize() -> bool:
    """Turn address space randomisation off for what this process executes next."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    old = libc.personality(0xFFFFFFFF)
    return bool(old >= 0 and libc.personality(old | _ADDR_NO_RANDOMIZE) >= 0)
