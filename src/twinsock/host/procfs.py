"""Files of /proc and /sys, read whole and without the io module's buffers."""

from __future__ import annotations

import os

_CHUNK = 65536


def read_file(path: str, limit: int = 1 << 30) -> bytes:
    """Read a file to its end. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        first = os.read(fd, _CHUNK)
        if not first:
            return first
        parts = [first]
        size = len(first)
        while size < limit:
            part = os.read(fd, _CHUNK)
            if not part:
                break
            parts.append(part)
            size += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(fd)
