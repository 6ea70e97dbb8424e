"""The judge from outside: the unmodified ss(8) prints the twin's files exactly as it prints the live kernel's, for the same program."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.parity.harness import on_host, on_twin
from tests.parity.prockit import SCENES, inode_names
from twinsock.wire.inet_diag import ALL_STATES, InetDiagReq
from twinsock.wire.netlink import nlmsg

pytestmark = [pytest.mark.root, pytest.mark.skipif(shutil.which("ss") is None, reason="needs ss(8)")]

FILES = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix", "sockstat", "sockstat6", "snmp")
COMMANDS = {
    "tcp": ("-tane", "-tano", "-ltn", "-4tan"),
    "udp": ("-uane", "-uan", "-6uan"),
    "raw": ("-wan", "-wane"),
    "unix": ("-xa",),
}
DIAG_COMMANDS = ("-tan", "-tane", "-tanm", "-tano", "-ltn", "-tan --tos", "-tan --inet-sockopt", "-tanO", "-tan --cgroup")
# With -i: what is measured in time, and what follows from it, differs from run to run.
MEASURED = "rto|rtt|ato|minrtt|rcv_rtt|rcv_space|rcv_ssthresh|snd_wnd|rcv_wnd|lastsnd|lastrcv|lastack|busy|sndbuf_limited|rwnd_limited"
MEASURED += "|backoff|cwnd|ssthresh|delivered|data_segs_out|data_segs_in|segs_out|segs_in|reordering|reord_seen|retrans|unacked|app_limited"
INFO_EXTENSIONS = 0x5A  # INFO, CONG, TOS, SKMEMINFO


def raw_dump(env: Any, extensions: int = 0x40) -> bytes:
    """Return the bytes of a dump of TCP over IPv4 and IPv6, as ss -D writes them."""
    data = b""
    for family in (2, 10):
        sock = env.socket.socket(16, 3, 4)
        sock.setblocking(False)
        sock.send(nlmsg(20, 0x301, InetDiagReq(family, 6, ALL_STATES & ~(1 << 13), extensions).emit(), 7))
        while True:
            try:
                data += sock.recv(65536)
            except BlockingIOError:
                break
            if data[-20:][4:6] == b"\3\0":
                data = data[:-20]
                break
    return data + nlmsg(3, 2, bytes(4))


def collect(env: Any, scene: str) -> tuple[dict[str, str], bytes, dict[int, str]]:
    """Set a scene and read the files."""
    sockets = SCENES[scene](env)
    return {name: env.proc(name) for name in FILES}, raw_dump(env), inode_names(env, sockets)


@cache
def collected(scene: str) -> tuple[Any, Any]:
    """Collect a scene's files on both kernels."""
    return on_host(collect, scene), on_twin(collect, scene)


def printed(found: Any, arguments: str, diag: bool, folder: Path) -> list[str]:
    """Run ss on a kernel's files and return its lines without what differs from run to run."""
    texts, dump, inodes = found
    environ = {**os.environ, "LC_ALL": "C"}
    for name, text in texts.items():
        (folder / name).write_text(text)
        environ[f"PROC_NET_{name.upper()}"] = str(folder / name)
    if diag:
        (folder / "dump").write_bytes(dump)
        environ["TCPDIAG_FILE"] = str(folder / "dump")
    done = subprocess.run(["ss", "-n", *arguments.split()], env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    lines = []
    for line in done.stdout.splitlines():
        line = re.sub(r"\bino:(\d+)", lambda m: "ino:" + inodes.get(int(m[1]), m[1]), line)
        line = re.sub(r"\bsk([:=])[0-9a-f]+", r"sk\1", line)
        line = re.sub(r":(3[3-9]\d{3}|[45]\d{4}|60\d{3}|32[89]\d\d)\b", ":port", line)
        line = re.sub(r"timer:\((\w+),[^,]*,", r"timer:(\1,", line)
        lines.append(" ".join(line.split()))
    return sorted(lines)


@pytest.mark.parametrize("arguments", [word for words in COMMANDS.values() for word in words])
@pytest.mark.parametrize("scene", SCENES)
def test_ss_prints_the_files_of_both_kernels_alike(scene: str, arguments: str, tmp_path: Path) -> None:
    host, twin = collected(scene)
    assert printed(twin, arguments, False, tmp_path) == printed(host, arguments, False, tmp_path)


@pytest.mark.parametrize("arguments", DIAG_COMMANDS)
@pytest.mark.parametrize("scene", SCENES)
def test_ss_prints_a_dump_of_both_kernels_alike(scene: str, arguments: str, tmp_path: Path) -> None:
    host, twin = collected(scene)
    assert printed(twin, arguments, True, tmp_path) == printed(host, arguments, True, tmp_path)


def test_ss_counts_sockets_from_the_files_of_both_kernels_alike(tmp_path: Path) -> None:
    host, twin = collected("connected")
    for found in (host, twin):
        found[0]["sockstat"] = re.sub(r"(orphan|alloc|mem) \d+", r"\1 0", found[0]["sockstat"])
    assert printed(twin, "-s", False, tmp_path) == printed(host, "-s", False, tmp_path)


def collect_info(env: Any, scene: str) -> tuple[dict[str, str], bytes, dict[int, str]]:
    """Set a scene with the congestion control that both kernels have, and dump it with everything."""
    env.sysctl("ipv4/tcp_congestion_control", "reno")
    sockets = SCENES[scene](env)
    return {}, raw_dump(env, INFO_EXTENSIONS), inode_names(env, sockets)


@pytest.mark.parametrize("scene", ["listeners", "connected"])
def test_ss_prints_what_tcp_knows_of_both_kernels_alike(scene: str, tmp_path: Path) -> None:
    def lines(found: Any) -> list[str]:
        text = [re.sub(rf"\b({MEASURED}):\S+ ?", "", line) for line in printed(found, "-tani", True, tmp_path)]
        return sorted(re.sub(r"\b(send|pacing_rate|delivery_rate) \S+ ?", "", line) for line in text)

    assert lines(on_twin(collect_info, scene)) == lines(on_host(collect_info, scene))


def collect_others(env: Any) -> tuple[dict[str, str], bytes, dict[int, str]]:
    """Packet and netlink sockets."""
    raw, cooked = env.socket.socket(17, 3, env.socket.htons(3)), env.socket.socket(17, 2, 0)
    env.sys.bind(cooked.fileno(), b"\x11\0\x08\0\1\0\0\0" + bytes(12), 20)
    route = env.socket.socket(16, 3, 0)
    route.bind((77, 1))
    diag = env.socket.socket(16, 3, 4)
    diag.bind((78, 0))
    texts = {name: env.proc(name) for name in ("packet", "netlink")}
    return texts, b"", inode_names(env, {"raw": raw, "cooked": cooked, "route": route, "diag": diag})


@pytest.mark.parametrize(
    "arguments", ["-0a", "-0ae", "-f link -a", "-f netlink -a", "-f netlink -ae", "-A packet_raw -a", "-A packet_dgram -a"]
)
def test_ss_prints_packet_and_netlink_sockets_of_both_kernels_alike(arguments: str, tmp_path: Path) -> None:
    def lines(found: Any) -> list[str]:
        rows = printed(found, arguments, False, tmp_path)
        return [row for row in rows if "netlink" not in arguments or re.search(r":7[78]\b|Recv-Q", row)]

    assert lines(on_twin(collect_others)) == lines(on_host(collect_others))
