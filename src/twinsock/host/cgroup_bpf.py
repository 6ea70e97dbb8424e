"""BPF programs attached to a cgroup that have a say in socket(2), bind(2) and connect(2): BPF_PROG_QUERY of bpf(2).

systemd's SocketBindDeny=, IPAddressDeny= and RestrictNetworkInterfaces= are such programs. Linux lets CAP_NET_ADMIN ask
how many there are; what they decide cannot be told from outside.
"""

from __future__ import annotations

import os

from twinsock.host.bpf import bpf_call

_BPF_PROG_QUERY = 16
_QUERY_EFFECTIVE = 1
_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_ATTACH_TYPES = (
    (2, "sock_create"),
    (8, "bind4"),
    (9, "bind6"),
    (12, "post_bind4"),
    (13, "post_bind6"),
    (10, "connect4"),
    (11, "connect6"),
    (0, "ingress"),
    (1, "egress"),
)


def programs_of(cgroup: str) -> list[str]:
    """Name the hooks at which programs of a cgroup or its ancestors run. Raises OSError, EPERM without CAP_NET_ADMIN."""
    error = FileNotFoundError(2, "no cgroup v2 file system is mounted")
    for mount in _MOUNTS:
        if not os.path.exists(mount + "/cgroup.controllers"):
            continue
        folder = os.open(mount + cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return [name for number, name in _ATTACH_TYPES if _count(folder, number)]
        finally:
            os.close(folder)
    raise error


def _count(folder: int, attach_type: int) -> int:
    """Count the effective programs at one hook. Raises OSError."""
    attr = bytearray(64)
    attr[0:4] = folder.to_bytes(4, "little")
    attr[4:8] = attach_type.to_bytes(4, "little")
    attr[8:12] = _QUERY_EFFECTIVE.to_bytes(4, "little")
    result = bpf_call(_BPF_PROG_QUERY, attr)
    if result < 0 and result != -22:  # EINVAL: a hook that this kernel does not have
        raise OSError(-result, os.strerror(-result))
    return int.from_bytes(attr[24:28], "little") if result >= 0 else 0
