"""`twinsock parity` on programs: the same, a difference that is known, without root, wrong usage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns import netns_missing

ROOT = Path(__file__).parents[2]

WEB = """\
import http.server, threading, urllib.request

class Hello(http.server.BaseHTTPRequestHandler):
    wbufsize = -1  # one write, so that no reader sees a part of it

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, *words):
        pass

server = http.server.HTTPServer(("127.0.0.1", 8000), Hello)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen("http://127.0.0.1:8000/").read())
server.shutdown()
"""
PAIR = """\
def program(env):
    a, b = env.socket.socketpair()
    a.send(b"x")
    u = env.socket.socket(env.socket.AF_INET, env.socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    u.sendto(b"to myself", u.getsockname())
    return b.recv(9), u.recv(9)
"""
REPAIR = "import socket\ns = socket.socket()\ns.setsockopt(socket.IPPROTO_TCP, 19, 1)\n"  # Twin: D-tcp-6


def parity(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    env = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    return subprocess.run([sys.executable, "-m", "twinsock", "parity", *args], capture_output=True, text=True, env=env, timeout=110)


def write(folder: Path, text: str) -> str:
    path = folder / "prog.py"
    path.write_text(text)
    return str(path)


@pytest.fixture
def namespaces() -> None:
    """Skip where no network namespace is to be had."""
    reason = netns_missing()
    if reason:
        pytest.skip(reason)


@pytest.mark.root
@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("text", [WEB, PAIR], ids=["http.server", "program(env)"])
def test_a_program_that_meets_the_same_kernel_twice(text: str, tmp_path: Path) -> None:
    done = parity("--json", write(tmp_path, text))
    answer = json.loads(done.stdout)
    assert answer["difference"] is None, answer
    assert (done.returncode, answer["same"], answer["schema"]) == (0, True, "twinsock.parity/1")
    assert answer["compared"]["calls"] >= 6
    assert answer["compared"]["counters"] > 200


@pytest.mark.root
@pytest.mark.usefixtures("namespaces")
def test_the_proc_texts_after_every_call_are_compared_on_demand(tmp_path: Path) -> None:
    done = parity("--every-call", "--json", "--sysctl", "net.ipv4.tcp_sack=0", write(tmp_path, PAIR))
    answer = json.loads(done.stdout)
    assert answer["difference"] is None, answer
    assert answer["compared"]["counters"] > 1000


@pytest.mark.root
@pytest.mark.usefixtures("namespaces")
def test_a_known_deviation_is_shown_side_by_side(tmp_path: Path) -> None:
    if netns_missing(root_needed=True):
        pytest.skip("TCP_REPAIR needs root")
    done = parity(write(tmp_path, REPAIR))
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert lines[0].startswith("differs  ")
    assert "  Linux  s1.setsockopt(6, 19, 1) = None" in lines
    assert "  twin   s1.setsockopt(6, 19, 1) = EPERM" in lines


@pytest.mark.root
def test_a_packetdrill_script_is_played_on_both() -> None:
    if netns_missing(root_needed=True) or not os.path.exists("/dev/net/tun"):
        pytest.skip("needs root and a TUN device")
    done = parity(str(ROOT / "tests/packet/closed_port_resets.pkt"))
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["  Linux  passes", "  twin   passes"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "which program?"),
        (["--jsn", "x.py"], "did you mean --json"),
        (["--sysctl", "kernel.x=1", "x.py"], "--sysctl: NAME=VALUE"),
        (["nothing.py"], "nothing.py: No such file"),
        (["nothing.pkt"], "nothing.pkt: No such file"),
        (["--timeout"], "needs a value"),
    ],
)
def test_wrong_usage_gives_one_line_and_code_two(args: list[str], words: str) -> None:
    done = parity(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
