"""Writing and reading /proc/sys/net in a fresh namespace: the same texts on the live kernel and on the twin."""

from typing import Any

import pytest

from tests.parity.harness import assert_parity, on_host, on_twin
from twinsock.kernel import sysctl
from twinsock.kernel.net.sysctl_tables import IPV4, IPV6, NET_CORE, UNIX, make_table

pytestmark = [pytest.mark.root]

TABLE = make_table(NET_CORE + IPV4 + IPV6 + UNIX)
LIMITS = ("0", "1", "2", "3", "4", "5", "6", "7", "16", "17", "31", "32", "47", "48", "127", "128", "255", "256", "1000", "1001", "4607")
LIMITS += ("4608", "65535", "65536", "86400", "86401", "119999", "120001", "2147483", "8589935", "2147483647", "2147483648", "4294967295")
LIMITS += ("4294967296", "9223372036854775807", "18446744073709551616")
TEXTS = (
    *LIMITS,
    "-1",
    "-0",
    "-31",
    "-32",
    "+1",
    "0x10",
    "010",
    "08",
    " 7",
    "7 ",
    "7\n",
    "\t7\n\n",
    "7x",
    "x",
    "",
    " ",
    "\n",
    "7 8",
    "7,8",
    "7 x",
)
TEXTS += ("1 2 3", "1 2 3 4", "5 4", "5\t6\t7", "1 x 3", "1 -2 3", "0x", "00000000000000000000007", "7\0", "7\0 8", "--1", "1e3", "0.5")
PORT_TEXTS = ("1024 65535", "65535 65535", "1023 2000", "0 5", "1 5", "30000", "60000 50000", "40000 40001", "2000 65536", "40000 40002 5")
RESERVED_TEXTS = (
    "1,2,3",
    "5-9,7-20",
    "1-3,4",
    "9,1",
    "80-70",
    "65535",
    "65536",
    "1,",
    ",1",
    "1-",
    "1 2",
    "1,2\n3",
    "\n",
    "x",
    "-1",
    "",
    "1,x",
    "7-9 ",
)


def writes(env: Any, path: str, texts: tuple[str, ...]) -> Any:
    """Return the entry's text before, and what each write returns and leaves behind."""
    out: list[Any] = [env.sysctl(path)]
    for text in texts:
        out.append((text, env.sysctl(path, text), env.sysctl(path)))
    return out


def every_number(env: Any, paths: list[str]) -> Any:
    return {path: writes(env, path, TEXTS) for path in paths}


def numbers() -> list[str]:
    special = (sysctl.PORT_RANGE, sysctl.PRIV_PORT, sysctl.BITMAP, sysctl.PING_RANGE, sysctl.STRING)
    return [path[4:] for path, entry in TABLE.items() if entry.kind not in special and not entry.global_only]


def test_numbers_take_and_refuse_the_same_texts() -> None:
    exist = [path for path in numbers() if on_twin_exists(path)]
    assert len(exist) > 25
    assert_parity(every_number, exist)


def on_twin_exists(path: str) -> bool:
    return not isinstance(on_twin(lambda env: env.sysctl(path)), int)


def port_settings(env: Any) -> Any:
    return [
        writes(env, "ipv4/ip_local_port_range", PORT_TEXTS),
        writes(env, "ipv4/ip_unprivileged_port_start", ("0", "80", "1023", "40000", "40001", "65535", "65536", "-1")),
        writes(env, "ipv4/ip_local_port_range", ("79 100", "39999 50000", "40000 50000")),
        writes(env, "ipv4/ip_local_reserved_ports", RESERVED_TEXTS),
    ]


def test_port_ranges_follow_the_same_rules() -> None:
    assert_parity(port_settings)


def global_entries(env: Any) -> Any:
    return [env.sysctl(path[4:]) for path, entry in TABLE.items() if entry.global_only] + [
        (env.sysctl(path), env.sysctl(path, "5000")) for path in ("core/rmem_max", "core/wmem_default", "core/nonsense")
    ]


def test_global_entries_are_hidden_or_read_only_in_other_namespaces() -> None:
    assert_parity(global_entries)


def as_nobody(env: Any) -> Any:
    env.setuid(65534)
    return [(env.sysctl(path), env.sysctl(path, "5000")) for path in ("core/somaxconn", "core/rmem_max", "ipv6/bindv6only")]


def test_nobody_may_read_but_not_write() -> None:
    assert_parity(as_nobody)


def test_every_entry_exists_on_the_host_or_is_global() -> None:
    paths = [path[4:] for path, entry in TABLE.items() if not entry.global_only]
    assert [path for path, text in zip(paths, on_host(lambda env: [env.sysctl(p) for p in paths]), strict=True) if text == -2] == []


FORWARDING = [
    "ipv4/ip_forward",
    *[f"ipv4/conf/{which}/{name}" for which in ("all", "default", "lo") for name in ("forwarding", "accept_redirects", "send_redirects")],
    *[f"ipv6/conf/{which}/{name}" for which in ("all", "default", "lo") for name in ("forwarding", "disable_ipv6")],
]
CHANGES = (
    ("ipv4/ip_forward", "1"),
    ("ipv4/ip_forward", "0"),
    ("ipv4/ip_forward", "5"),
    ("ipv4/conf/all/forwarding", "0"),
    ("ipv4/conf/lo/forwarding", "1"),
    ("ipv4/conf/default/forwarding", "1"),
    ("ipv4/conf/all/accept_redirects", "1"),
    ("ipv4/conf/all/forwarding", "7"),
    ("ipv4/conf/all/forwarding", "x"),
    ("ipv4/conf/all/forwarding", "0"),
    ("ipv4/ip_forward", "-1"),
    ("ipv6/conf/lo/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/forwarding", "0"),
    ("ipv6/conf/all/forwarding", "2"),
    ("ipv6/conf/lo/disable_ipv6", "1"),
    ("ipv6/conf/lo/disable_ipv6", "0"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "1"),
)


def can_bind(env: Any, family: int, host: str) -> bool:
    try:
        env.socket.socket(family, 2).bind((host, 0))
    except OSError:
        return False
    return True


def side_effects(env: Any) -> Any:
    """Return all of FORWARDING after each change, and whether ::1 is there."""
    out = [[env.sysctl(path) for path in FORWARDING]]
    for path, text in CHANGES:
        out.append((path, text, env.sysctl(path, text), [env.sysctl(other) for other in FORWARDING], can_bind(env, 10, "::1")))
    return out


def test_forwarding_and_disabling_spread_to_the_same_entries() -> None:
    assert_parity(side_effects)


def frag_limits(env: Any) -> Any:
    out = []
    for prefix in ("ipv4/ipfrag", "ipv6/ip6frag"):
        for name, text in (("high", "3145727"), ("high", "3145728"), ("low", "3145729"), ("low", "0"), ("high", "100"), ("low", "101")):
            out.append((prefix, name, text, env.sysctl(f"{prefix}_{name}_thresh", text), env.sysctl(f"{prefix}_{name}_thresh")))
    return out


def test_reassembly_limits_bound_each_other() -> None:
    assert_parity(frag_limits)
