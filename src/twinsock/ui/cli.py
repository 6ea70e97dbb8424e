"""The `twinsock` command: picks the subcommand and imports only what that one needs."""

from __future__ import annotations

import sys

COMMANDS = {
    "why": ("twinsock.ui.why", "why can (or could) an address not be bound or reached, and what helps"),
    "ss": ("twinsock.ui.ss", "sockets as ss(8) lists them, and what it lacks"),
    "trace": ("twinsock.ui.trace", "the kernel's way through the socket layer, live; every socket call that fails"),
    "listeners": ("twinsock.ui.listeners", "health of every listening socket: queue, drops, who does not accept"),
    "packetdrill": ("twinsock.ui.packetdrill", "scripts of system calls and packets, on the twin or on the live kernel"),
