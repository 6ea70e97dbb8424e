"""What a run is told: addresses, tolerances, definitions. Options of the script, overridden by those of the command line."""

import socket

from twinsock.runtime.packetdrill.cursor import ScriptError

VARIANTS = ("ipv4", "ipv4-mapped-ipv6", "ipv6")
# Options that need nothing here: how the reference finds its device, and what it prints.
_WITHOUT_EFFECT = (
    "verbose",
    "v",
    "dry_run",
    "speed",
    "gateway_ip",
    "netmask_ip",
    "init_scripts",
    "code_command",
    "code_format",
    "code_sockopt",
)
_NUMBERS = ("bind_port", "connect_port", "mss", "mtu", "tolerance_usecs", "tcp_ts_tick_usecs", "psp_udp_port", "hz")


class Config:
    """The options of one run."""

    def __init__(self, variant: str = "ipv4") -> None:
        self.variant = variant
        self.local_ip = ""
        self.remote_ip = ""
        self.bind_port = 8080
        self.connect_port = 8080
        self.mss = 0  # size of the segments that a larger packet going in stands for; 0: it is one segment
        self.mtu = 1520 if variant == "ipv6" else 1500
        self.tolerance_usecs = 4000
        self.tolerance_percent = 12.5
        self.tcp_ts_tick_usecs = 0
        self.tcp_ts_ecr_scaled = False
        self.strict_segments = False
        self.send_omit_free = False
        self.non_fatal = ""
        self.psp_udp_port = 0
        self.hz = 250
        self.definitions = _definitions(variant)

    def is_ipv6_wire(self) -> bool:
        """Tell whether packets are IPv6."""
        return self.variant == "ipv6"

    def ip_version(self) -> int:
        """Return the version of the packets."""
        return 6 if self.is_ipv6_wire() else 4

    def family(self) -> int:
        """Return the address family of the sockets."""
        return 2 if self.variant == "ipv4" else 10

    def addresses(self) -> tuple[bytes, bytes]:
        """Return the local and the remote address as they stand in packets. Raises ScriptError."""
        if self.is_ipv6_wire():
            return _pton(6, self.local_ip or "fd3d:0a0b:17d6::1"), _pton(6, self.remote_ip or "fd3d:fa7b:d17d::1")
        return _pton(4, self.local_ip or "192.168.0.1"), _pton(4, self.remote_ip or "192.0.2.1")

    def apply(self, options: list[tuple[str, str]], line: int = 1) -> None:
        """Take options over. Raises ScriptError."""
        for name, value in options:
            self._apply(name, value, line)

    def check(self) -> None:
        """Refuse what no device can be set up with. Raises ScriptError."""
        self.addresses()
        lowest = 1280 if self.is_ipv6_wire() else 68
        if not lowest <= self.mtu <= 65535:
            raise ScriptError(0, f"the mtu is {lowest} to 65535, not {self.mtu}")
        if not 1 <= self.hz <= 1000:
            raise ScriptError(0, f"there are 1 to 1000 ticks per second, not {self.hz}")
        for name in ("bind_port", "connect_port"):
            if not 1 <= getattr(self, name) <= 65535:
                raise ScriptError(0, f"--{name} is 1 to 65535, not {getattr(self, name)}")

    def _apply(self, name: str, value: str, line: int) -> None:
        if name in _WITHOUT_EFFECT:
            return
        if name in ("strict_segments", "tcp_ts_ecr_scaled", "send_omit_free"):
            setattr(self, name, True)
        elif name == "ip_version":
            if value not in VARIANTS:
                raise ScriptError(line, f"--ip_version is one of {', '.join(VARIANTS)}, not {value!r}")
            if value != self.variant:
                self.mtu = 1520 if value == "ipv6" else 1500
                usual = _definitions(self.variant)
                own = {name: text for name, text in self.definitions.items() if usual.get(name) != text}
                self.definitions = {**_definitions(value), **own}
            self.variant = value
        elif name in ("local_ip", "remote_ip", "non_fatal"):
            setattr(self, name, value)
        elif name in _NUMBERS:
            if not value.isascii() or not value.isdecimal() or len(value) > 9:
                raise ScriptError(line, f"--{name} takes a number, not {value!r}")
            setattr(self, name, int(value))
        elif name == "tolerance_percent":
            if not value.replace(".", "", 1).isdecimal():
                raise ScriptError(line, f"--{name} takes a number, not {value!r}")
            self.tolerance_percent = float(value)
        elif name in ("define", "D"):
            key, equals, text = value.partition("=")
            if not key.isidentifier() or not equals:
                raise ScriptError(line, f"--define takes NAME=VALUE, not {value!r}")
            self.definitions[key] = text
        else:
            raise ScriptError(line, f"unknown option --{name}")


def _definitions(variant: str) -> dict[str, str]:
    """Return the words that the usual runner defines."""
    six = variant == "ipv6"
    found = {
        "TFO_COOKIE": "c1d1e9742a47a9bc" if six else "3021b9d889017eeb",
        "TFO_COOKIE_ZERO": "82af1a8f9a205c34" if six else "b7c12350a90dc8f5",
        "CMSG_LEVEL_IP": "SOL_IP" if variant == "ipv4" else "SOL_IPV6",
        "CMSG_TYPE_RECVERR": "IP_RECVERR" if variant == "ipv4" else "IPV6_RECVERR",
    }
    if not six:
        found["CODE"] = "host_unreachable"
    return found


def _pton(version: int, text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET if version == 4 else socket.AF_INET6, text)
    except OSError:
        raise ScriptError(1, f"{text!r} is no IPv{version} address") from None
