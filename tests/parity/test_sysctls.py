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
    special = (sysctl.PORT_RANGE, sysctl.PRIV_PORT, sysctl.BITMAP, sysctl.PING_RANGE, sysctl.STRING, sysctl.ACTION, sysctl.NAMES)
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


NEIGH_TEXTS = (
    "0",
    "1",
    "2",
    "3",
    "99",
    "100",
    "101",
    "1000",
    "86400",
    "-1",
    "2147483647",
    "2147483648",
    "4294967296",
    "x",
    "",
    " 7",
    "7 8",
)
NEIGH_NAMES = ("base_reachable_time", "base_reachable_time_ms", "delay_first_probe_time", "locktime", "mcast_resolicit", "mcast_solicit")
NEIGH_NAMES += ("retrans_time", "retrans_time_ms", "ucast_solicit", "unres_qlen", "unres_qlen_bytes")


def neighbour_values(env: Any) -> Any:
    out: list[Any] = []
    for family in ("ipv4", "ipv6"):
        for name in NEIGH_NAMES:
            out.append((family, name, [env.sysctl(f"{family}/neigh/{which}/{name}") for which in ("default", "lo", "all", "none")]))
            out.append(writes(env, f"{family}/neigh/lo/{name}", NEIGH_TEXTS))
    return out


def test_neighbour_times_take_and_refuse_the_same_texts() -> None:
    assert_parity(neighbour_values)


def actions_and_lists(env: Any) -> Any:
    out: list[Any] = []
    for family in ("ipv4", "ipv6"):
        out.append(
            [env.sysctl(f"{family}/route/flush"), *[env.sysctl(f"{family}/route/flush", text) for text in ("1", "-1", "0", "5 6", "x", "")]]
        )
    out.append(writes(env, "ipv6/icmp/ratemask", ("0-255", "1,2,3", "", "256", "x", "128-129", "0-1,3-127")))
    for text in ("reno", "nonsense", "", "reno cubic"):
        out.append(env.sysctl("ipv4/tcp_allowed_congestion_control", text))
    out.append("reno" in str(env.sysctl("ipv4/tcp_available_congestion_control")))
    return [*out, env.sysctl("ipv4/tcp_available_congestion_control", "reno")]


def test_entries_that_act_and_lists_of_numbers_and_names() -> None:
    assert_parity(actions_and_lists)


def test_the_folders_of_neighbours_and_devices_list_what_can_be_read() -> None:
    def program(env: Any) -> Any:
        found = {}
        for folder in ("ipv4/neigh", "ipv6/neigh/lo", "ipv4/conf", "ipv6/conf/lo"):
            names = env.os.listdir(f"/proc/sys/net/{folder}")
            found[folder] = (names == sorted(names), {"lo", "default", "all", "ucast_solicit", "accept_dad", "enhanced_dad"} & set(names))
        return found

    assert_parity(program)


def test_limits_of_files_are_read_and_set() -> None:
    def program(env: Any) -> Any:
        read = [env.os.read(env.os.open(f"/proc/sys/fs/{name}", 0), 100).split() for name in ("file-nr", "file-max", "nr_open")]
        assert len(read[0]) == 3 and read[0][2] == read[1][0]
        return read[0][1], read[2], int(read[0][0]) > 0, [env.os.stat(f"/proc/sys/fs/{name}").st_mode for name in ("file-nr", "nr_open")]

    assert_parity(program)


def mtu_of_ipv6(env: Any) -> Any:
    texts = ("1279", "1280", "1400", "1500", "1501", "65535", "65536", "65537", "0", "-1", "x")
    out = [writes(env, f"ipv6/conf/{which}/mtu", texts) for which in ("all", "default", "lo", "none")]
    out.append(env.sysctl("ipv6/conf/lo/mtu", "1300"))
    sock = env.socket.socket(10, 2)
    sock.connect(("::1", 9))
    return [*out, sock.getsockopt(41, 24)]  # IPV6_MTU


def test_the_mtu_of_ipv6_is_bounded_by_the_device_and_obeyed() -> None:
    assert_parity(mtu_of_ipv6)
