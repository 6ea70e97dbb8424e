"""`twinsock up`: programs of the real kernel talk to a simulated host through a TAP device, and it to them."""

import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns import run_in_netns
from tests.scenario.tool_kit import until

pytestmark = [pytest.mark.root, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
TWIN, OUTER = "10.7.0.2", "10.7.0.1"


@contextmanager
def up(*command: str, cwd: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run `twinsock up` until the block ends."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    full = [sys.executable, "-m", "twinsock", "up", "--tap", "twin0", "--address", f"{TWIN}/24", "--", *command]

    def heed_sigint() -> None:  # which a shell has its background jobs ignore
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(full, cwd=cwd, env=env, text=True, preexec_fn=heed_sigint, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def get(path: str) -> bytes:
    """Fetch from the simulated host."""
    conn = http.client.HTTPConnection(TWIN, 8000, timeout=30)
    conn.request("GET", path)
    return conn.getresponse().read()


def answers() -> bool:
    try:
        return bool(get("/"))
    except OSError:
        return False


def test_http_server_on_the_twin_serves_programs_of_this_machine(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)

    def body() -> None:
        with up("-m", "http.server", "8000", cwd=tmp_path) as process:
            assert until(answers, 30)
            assert hashlib.sha256(get("/data")).digest() == hashlib.sha256(data).digest()
            if shutil.which("curl"):
                done = subprocess.run(["curl", "-sS", f"http://{TWIN}:8000/data"], capture_output=True, check=True, timeout=60)
                assert done.stdout == data
            if shutil.which("ping"):
                done = subprocess.run(["ping", "-c", "2", "-i", "0.2", "-W", "10", TWIN], capture_output=True, check=False, timeout=60)
                assert b" 0% packet loss" in done.stdout
            with socket.socket() as refused:
                assert refused.connect_ex((TWIN, 81)) == 111
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        assert until(lambda: "twin0" not in [name for _, name in socket.if_nameindex()])

    run_in_netns(body, timeout=120)


def test_a_program_on_the_twin_reaches_servers_of_this_machine(tmp_path: Path) -> None:
    size = 2_000_000
    (tmp_path / "client.py").write_text(
        "import hashlib, socket, sys\n"
        f"with socket.create_connection(('{OUTER}', 9000), timeout=60) as conn:\n"
        f"    data = bytes(range(256)) * {size // 256}\n"
        "    conn.sendall(data)\n"
        "    conn.shutdown(socket.SHUT_WR)\n"
        "    back = b''.join(iter(lambda: conn.recv(65536), b''))\n"
        "print(len(back), back == data)\n"
    )

    def echo(listener: socket.socket) -> None:
        conn, _ = listener.accept()
        with conn:
            conn.sendall(b"".join(iter(lambda: conn.recv(65536), b"")))

    def body() -> None:
        with socket.create_server(("", 9000)) as listener:
            thread = threading.Thread(target=echo, args=(listener,))
            thread.start()
            with up(str(tmp_path / "client.py")) as process:
                out, err = process.communicate(timeout=100)
            assert (out, err, process.returncode) == (f"{size // 256 * 256} True\n", "", 0)
            thread.join()

    run_in_netns(body, timeout=120)


def test_what_cannot_be_is_said_in_a_line() -> None:
    def body() -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        for arguments, message in (
            (["--tap", "twin0", "--", "x.py"], "--address is missing"),
            (["--tap", "twin0", "--address", "10.7.0.2", "--", "x.py"], "written as 10.7.0.2/24"),
            (["--tap", "a name that is too long", "--address", f"{TWIN}/24", "--", "-m", "this"], "15 characters"),
            (["--tap", "lo", "--address", f"{TWIN}/24", "--", "-m", "this"], "lo"),
            (["--tapp", "x"], "did you mean --tap"),
            (["--tap", "twin0", "--address", f"{TWIN}/24", "--", "nothing.py"], "nothing.py: No such file"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "twinsock", "up", *arguments], env=env, capture_output=True, text=True, check=False
            )
            assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr

    run_in_netns(body, timeout=60)
