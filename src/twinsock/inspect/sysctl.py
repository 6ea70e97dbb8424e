"""The sysctls of a namespace that bind(2), listen(2) and connect(2) obey, ip(7), tcp(7)."""

from __future__ import annotations

from twinsock.uapi.errno import ENOENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort

PORT_RANGE_DEFAULT = (32768, 60999)


def read_sysctl(port: KernelPort, name: str, netns: int = 0) -> str | None:
    """Read a sysctl, `net.ipv4.tcp_fin_timeout` or with slashes; None if this kernel has none. Raises OSError.

    Where a part has a dot of its own (an interface `eth0.5`), the name is spelled with slashes, as sysctl(8) allows.
    """
    path = name if "/" in name else name.replace(".", "/")
    try:
        return port.read("/proc/sys/" + path, netns).decode("ascii", "replace").strip()
    except OSError as error:
        if error.errno == ENOENT:
            return None
        raise


def read_number(port: KernelPort, name: str, default: int, netns: int = 0) -> int:
    """Read a sysctl's first number, or the default where this kernel has none. Raises OSError."""
    words = (read_sysctl(port, name, netns) or "").split()
    try:
        return int(words[0]) if words else default
    except ValueError:
        return default


def parse_port_list(text: str) -> list[tuple[int, int]]:
    """Parse ip_local_reserved_ports, `8080,9000-9010`, to (first, last) ranges; what is no range is left out."""
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if first.isdecimal() and (last.isdecimal() if dash else True):
            found.append((int(first), int(last) if dash else int(first)))
    return found


class BindSysctls:
    """The values of one namespace; the defaults are those of Linux 6.18."""

    def __init__(self) -> None:
        self.port_range = PORT_RANGE_DEFAULT  # ip_local_port_range, both ends included
        self.reserved: list[tuple[int, int]] = []  # ip_local_reserved_ports
        self.unprivileged_port_start = 1024
        self.autobind_reuse = 0  # ip_autobind_reuse
        self.nonlocal_bind = 0  # ip_nonlocal_bind, IPv4
        self.nonlocal_bind6 = 0
        self.bindv6only = 0
        self.ipv6 = True  # the kernel has IPv6
        self.disable_ipv6 = 0  # net.ipv6.conf.all.disable_ipv6
        self.somaxconn = 4096
        self.tcp_tw_reuse = 2
        self.tcp_tw_reuse_delay_ms = 1000
        self.tcp_fin_timeout = 60
        self.tcp_max_tw_buckets = 0
        self.tcp_l3mdev_accept = 0
        self.udp_l3mdev_accept = 0
        self.raw_l3mdev_accept = 1

    def is_reserved(self, number: int) -> bool:
        """Tell whether the kernel keeps a port out of its own choice."""
        return any(first <= number <= last for first, last in self.reserved)


_NUMBERS = (
    ("unprivileged_port_start", "net/ipv4/ip_unprivileged_port_start"),
    ("autobind_reuse", "net/ipv4/ip_autobind_reuse"),
    ("nonlocal_bind", "net/ipv4/ip_nonlocal_bind"),
    ("somaxconn", "net/core/somaxconn"),
    ("tcp_tw_reuse", "net/ipv4/tcp_tw_reuse"),
    ("tcp_tw_reuse_delay_ms", "net/ipv4/tcp_tw_reuse_delay"),
    ("tcp_fin_timeout", "net/ipv4/tcp_fin_timeout"),
    ("tcp_max_tw_buckets", "net/ipv4/tcp_max_tw_buckets"),
    ("tcp_l3mdev_accept", "net/ipv4/tcp_l3mdev_accept"),
    ("udp_l3mdev_accept", "net/ipv4/udp_l3mdev_accept"),
    ("raw_l3mdev_accept", "net/ipv4/raw_l3mdev_accept"),
)
_NUMBERS6 = (
    ("nonlocal_bind6", "net/ipv6/ip_nonlocal_bind"),
    ("disable_ipv6", "net/ipv6/conf/all/disable_ipv6"),
)


def bind_sysctls(port: KernelPort, netns: int = 0) -> BindSysctls:
    """Read what bind() obeys in a namespace. Raises OSError, PermissionError where it cannot be entered."""
    values = BindSysctls()
    text = read_sysctl(port, "net/ipv4/ip_local_port_range", netns) or ""
    words = text.split()
    if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal():
        values.port_range = (int(words[0]), int(words[1]))
    values.reserved = parse_port_list(read_sysctl(port, "net/ipv4/ip_local_reserved_ports", netns) or "")
    bindv6only = read_sysctl(port, "net/ipv6/bindv6only", netns)
    values.ipv6 = bindv6only is not None
    values.bindv6only = 1 if bindv6only == "1" else 0
    for field, name in _NUMBERS + (_NUMBERS6 if values.ipv6 else ()):
        setattr(values, field, read_number(port, name, getattr(values, field), netns))
    return values
