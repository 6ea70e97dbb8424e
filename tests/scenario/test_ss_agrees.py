"""`twinsock ss` prints what ss(8) prints, byte for byte, for sockets of every kind in a namespace of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import Netns, fresh_netns, netns_missing
from twinsock.inspect.filter import compiled
from twinsock.inspect.stream import kept, runs
from twinsock.ui.ss_filter import Parser

ROOT = Path(__file__).resolve().parents[2]
WORLD = Path(__file__).with_name("ss_world.py")
MISSING = netns_missing(root_needed=True) or ("" if shutil.which("ss") else "needs ss(8)")
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

# What changes between two calls: times, and the tools' own netlink sockets.
_TIMES = re.compile(r"\b\d+(\.\d+)?(ms|sec|min)\d*(ms|sec)?\b|(?<=lastsnd:)\d+|(?<=lastrcv:)\d+|(?<=lastack:)\d+")
_OWN = re.compile(r"^(nl +)?UNCONN +\d+ +\d+ +(4|tcpdiag):(?!0|kernel).*$\n", re.MULTILINE)
_GLOBAL = re.compile(r"TCP: +\d+ (\(estab \d+, closed) \d+,")  # what is allocated counts other namespaces too
_PADDING = re.compile(r" +$", re.MULTILINE)
MATRIX = """
-tar|-tan -r|-uani|-uanim|-Mani|-tan|-tn|-t|-ta|-tln|-tl|-tlnp|-tanp|-tan4|-tan6|-tanH|-tlH|-tanT|-tanO
-taneo|-tane|-tano|-tanm|-tanmO|-tani|-tai|-tanieO|-tanmi|-tanmiepo|-tan --tos|-tan --cgroup|-tan --inet-sockopt
-tane --tos --cgroup|-tanei --inet-sockopt|-taeimO --inet-sockopt
-uan|-uar|-ua|-uanp|-uane|-uanemp|-uanm|-wan|-wa|-wane|-wanp|-Man|-Mane|-tuan|-twuMan|-tuwa
-xan|-xa|-xl|-xanp|-xane|-xanm|-xanemp|-x|-xlH|-0an|-0a|-0ane|-0anm|-0anemp|-0aenmO
-f netlink -an|-f netlink -a|-f netlink -ane|-f netlink -anm|-an|-a|-l||-anp|-ae|-aepmO|-s|-f inet -an|-f inet6 -an|-f unix -an|-f link -an
-A tcp,unix_dgram -an|-A all -an|-A inet -tan|-A unix_seqpacket -a|-A netlink,udp -an
-tan state established|-ta state listening|state listening|-a state bucket|-tn exclude established|-t state connected sport 8080
-tan state time-wait|-tan state synchronized exclude fin-wait-2|-an state big
-tan sport = :8080|-tan sport gt :8080 and dport lt 9000|-tan dst 127.0.0.0/8|-tan src 127.0.0.2|-tan dst [::1]:8090
-tan ( sport = :22 or sport = :443 ) and not dst 127.0.0.1|-tan ! sport = :22|-tan dev lo|-uan dev lo|-tan sport != 22
-ta sport = :http-alt|-xa src unix:/*|-xa src /*/seq|-tan sport >= 8000 & sport <= 8082 || dport 22|-an src 127.0.0.1
-tan fwmark = 0|-tan dst :8080|-tan dst 127.0.0.1:8080|-tan src inet6:[::1]:443|-tan dport < 9000|-tan sport <= 100 ( dport 0 )
"""
CASES = [case for line in MATRIX.strip().splitlines() for case in line.split("|") if "||" not in case]


@pytest.fixture(scope="module")
def world() -> Iterator[Netns]:
    with (
        fresh_netns() as ns,
        subprocess.Popen([sys.executable, str(WORLD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=ns.enter) as maker,
    ):
        assert maker.stdin is not None and maker.stdout is not None
        assert maker.stdout.readline() == b"ready\n"
        yield ns
        maker.stdin.close()


def run(ns: Netns, command: list[str]) -> str:
    """Run a command in the namespace and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=ns.enter, env=environment, check=True).stdout


def ours(ns: Netns, *arguments: str) -> str:
    return run(ns, [sys.executable, "-m", "twinsock", "ss", *arguments])


def normalised(text: str, exact: bool) -> str:
    text = _GLOBAL.sub(r"TCP: N \1 N,", _OWN.sub("", _TIMES.sub("T", text)))
    return text if exact else _PADDING.sub("", text)


@pytest.mark.parametrize("case", CASES)
def test_plain_output_is_that_of_ss(world: Netns, case: str) -> None:
    arguments = case.split()
    # Where times stand in a row its padding depends on them; netlink sockets of ss itself widen columns.
    exact = not set("ieo") & set("".join(word for word in arguments if word.startswith("-") and word[1:2] != "-"))
    for _attempt in range(5):  # a retransmission between the two changes counters: then ss differs from itself, too
        theirs = normalised(run(world, ["ss", *arguments]), exact)
        mine = normalised(ours(world, *arguments), exact)
        if mine == theirs or theirs == normalised(run(world, ["ss", *arguments]), exact):
            break
    assert mine == theirs


FILTERS = """
sport = :8080|sport != :8080|sport < 100|sport >= 8080 and sport <= 8090|dport 22 or dport 0|not ( sport 22 or dst 127.0.0.0/8 )
dst 127.0.0.0/31|src 127.0.0.2|dst [::1]|src [::]/0|dst 0.0.0.0/0|src [::ffff:127.0.0.1]:8090|dst 127.0.0.1:40007|src *:8080
src unix:*|not src unix:*
dev lo|not dev lo|dev != lo or sport 443|cgroup /|! cgroup /|( sport 22 ) ( src 127.0.0.1 ) ! ! dport 0|sport = 70000|sport < 70000
"""


@pytest.mark.parametrize("text", [case for line in FILTERS.strip().splitlines() for case in line.split("|")])
def test_a_filter_means_the_same_to_the_kernel_and_to_us(world: Netns, text: str) -> None:
    def both() -> tuple[list[bytes], list[bytes]]:
        from twinsock.host.port import HostPort
        from twinsock.ui.ss_names import cgroup_number

        port = HostPort()
        condition = Parser(text.split(), lambda name: 1, cgroup_number, False).parse()
        program = compiled(condition)
        assert program
        by_kernel = runs(port, (2, 10), 6, 0xFFF, 0, program)
        by_us = kept(runs(port, (2, 10), 6, 0xFFF), condition)

        def cookies(found: list[tuple[int, bytes]]) -> list[bytes]:
            return [data[at + 60 : at + 68] for stride, data in found for at in range(0, len(data), stride)]

        return cookies(by_kernel), cookies(by_us)

    kernel, us = world.run(both)
    assert kernel == us


def test_json_tells_flags_owners_and_tcp_info(world: Netns) -> None:
    document = json.loads(ours(world, "-tlniemp", "--reuse", "--ghosts", "--unit", "--json"))
    assert document["schema"] == "twinsock.ss/1"
    by_port = {sock["local_port"]: sock for sock in document["sockets"]}
    assert by_port[8082]["reuseport"] is True and by_port[22]["reuseport"] is False and by_port[22]["reuseaddr"] is True
    assert by_port[22]["recv_q"] == 1 and by_port[22]["send_q"] == 128
    assert [user["command"] for user in by_port[8080]["users"]] == [by_port[8080]["command"]]
    assert by_port[8090]["v6only"] is False and by_port[8091]["v6only"] is True
    assert by_port[8080]["tcp_info"]["state"] == 10 and by_port[8080]["skmem"]["drops"] == 0


def test_groups_count_what_the_list_shows(world: Netns) -> None:
    rows = ours(world, "-tanH").splitlines()
    groups = json.loads(ours(world, "-tan", "--group-by", "state", "--json"))["groups"]
    assert {group["state"]: group["count"] for group in groups} == {
        state: sum(row.startswith(state) for row in rows) for state in {row.split()[0] for row in rows}
    }


def test_sorting_and_csv_have_every_socket(world: Netns) -> None:
    lines = ours(world, "-tln", "--sort", "-local_port", "--csv").splitlines()
    ports = [int(line.split(",")[7]) for line in lines[1:]]
    assert ports == sorted(ports, reverse=True) and len(ports) == len(ours(world, "-tlnH").splitlines())


def test_bound_only_sockets_are_listed_on_request(world: Netns) -> None:
    assert "127.0.0.1:7777" in ours(world, "-tBn")
    assert "127.0.0.1:7777" not in ours(world, "-tan")


def test_all_namespaces_include_this_one(world: Netns) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "twinsock", "ss", "-tlnH", "--all-netns"]
    rows = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.splitlines()
    assert any(row.split()[0] == str(world.inode) and "0.0.0.0:8080" in row for row in rows)


def test_a_user_sees_the_sockets_and_is_told_that_processes_are_hidden(world: Netns) -> None:
    def as_nobody() -> None:
        world.enter()
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from twinsock.ui.ss import main; sys.exit(main(sys.argv[1:]))"
    import tempfile

    with tempfile.TemporaryDirectory() as folder:  # the checkout may be in a folder that is closed for others
        os.chmod(folder, 0o755)
        shutil.copytree(ROOT / "src/twinsock", f"{folder}/twinsock", ignore=shutil.ignore_patterns("__pycache__"))
        command = ["/usr/bin/python3", "-c", code, folder, "-tlnp"]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=as_nobody, cwd="/")
    assert done.returncode == 0 and "0.0.0.0:8080" in done.stdout and "users:" not in done.stdout
    assert "hidden" in done.stderr


def test_parquet_has_the_sockets_of_json(world: Netns, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'twinsock[parquet]'")
    path = tmp_path / "sockets.parquet"
    ours(world, "-tan", "--parquet", str(path))
    rows = parquet.read_table(str(path)).to_pylist()
    wanted = json.loads(ours(world, "-tan", "--json"))["sockets"]
    assert len(rows) == len(wanted) > 20
    names = ("state", "local_address", "local_port", "remote_address", "remote_port", "inode", "cookie")
    assert [[row[name] for name in names] for row in rows] == [[sock[name] for name in names] for sock in wanted]
    assert {type(row["local_port"]) for row in rows} == {int}
