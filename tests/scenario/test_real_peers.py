"""Real programs on the other side of a TUN or TAP device talk to the twin, in real time: bytes, loss, both directions."""

import hashlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.netns import run_in_netns
from tests.tapkit import REAL, TWIN, Beside, digest_of, pattern, read_head, receive_all, send_all, serve_http

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("ip")]
SIZE = 3_000_000
BLOCK = pattern(1 << 20)


def in_netns(program: Any, *args: Any) -> Any:
    return run_in_netns(program, *args, timeout=120.0)


def curl_fetches_and_uploads(ethernet: bool, offload: bool, folder: str) -> tuple[list[tuple[str, int, str]], str, int]:
    beside = Beside(ethernet, offload, loss=1.0)
    down, up = Path(folder, "down"), Path(folder, "up")
    up.write_bytes((BLOCK * 3)[:SIZE])

    def program(beside: Beside) -> list[tuple[str, int, str]]:
        listener = beside.listen(80)
        server = beside.env.spawn(serve_http, beside, listener, SIZE, BLOCK, 2)
        assert beside.wait(beside.start("curl", "-sS", "--max-time", "100", "-o", str(down), f"http://{TWIN}/file")) == 0
        assert beside.wait(beside.start("curl", "-sS", "--max-time", "100", "-T", str(up), f"http://{TWIN}/up")) == 0
        done: list[tuple[str, int, str]] = server.join()
        return done

    done = beside.run(program)
    return done, hashlib.sha256(down.read_bytes()).hexdigest(), beside.bridge.lost_in + beside.netem.drops


@pytest.mark.needs("curl")
@pytest.mark.parametrize(("ethernet", "offload"), [(False, False), (True, True)], ids=["tun", "tap-offload"])
def test_curl_fetches_and_uploads_through_loss(ethernet: bool, offload: bool, tmp_path: Path) -> None:
    done, got, lost = in_netns(curl_fetches_and_uploads, ethernet, offload, str(tmp_path))
    assert done[0] == ("GET", SIZE, got)
    assert done[1][:2] == ("PUT", SIZE)
    assert done[1][2] == hashlib.sha256((tmp_path / "up").read_bytes()).hexdigest()
    assert lost > 0


def fetch_from_real_server(folder: str) -> tuple[str, int, str]:
    beside = Beside(ethernet=True, loss=1.0)

    def program(beside: Beside) -> tuple[str, int, str]:
        beside.start(sys.executable, "-m", "http.server", "--bind", REAL, "--directory", folder, "8000", stderr=subprocess.DEVNULL)
        sock = beside.connect(8000)
        sock.sendall(b"GET /file HTTP/1.0\r\n\r\n")
        head, rest = read_head(sock)
        return head.split("\r\n")[0], *receive_all(sock, -1, rest)

    return beside.run(program)  # type: ignore[no-any-return]


def test_the_twin_fetches_from_a_real_server(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BLOCK + BLOCK)
    status, size, digest = in_netns(fetch_from_real_server, str(tmp_path))
    assert (status, size) == ("HTTP/1.0 200 OK", 2 * len(BLOCK))
    assert digest == digest_of(size, BLOCK)


def echo_datagrams_and_pings() -> tuple[list[bytes], int]:
    beside = Beside(offload=False)

    def program(beside: Beside) -> tuple[list[bytes], int]:
        real = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        real.bind((REAL, 0))
        real.settimeout(20)
        ping = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        ping.setblocking(False)
        ours = beside.env.socket.socket(2, 2)
        ours.bind((TWIN, 7))
        echoed = []
        for size in (0, 1, 1400, 5000):
            real.sendto(bytes([size & 255]) * size, (TWIN, 7))
            data, peer = ours.recvfrom(65536)
            ours.sendto(data, peer)
            beside.env.sleep_ns(5_000_000)
            echoed.append(real.recv(65536))
        ping.sendto(b"\x08\x00\xf7\xf8\x00\x05\x00\x02", (TWIN, 0))
        replies = 0
        for _ in range(500):
            beside.env.sleep_ns(10_000_000)
            try:
                replies += ping.recv(100)[20] == 0
            except BlockingIOError:
                continue
            break
        return echoed, replies

    return beside.run(program)  # type: ignore[no-any-return]


def test_datagrams_fragments_and_pings_go_both_ways() -> None:
    echoed, replies = in_netns(echo_datagrams_and_pings)
    assert [len(data) for data in echoed] == [0, 1, 1400, 5000]
    assert replies == 1


def send_to_real_program(folder: str) -> str:
    beside = Beside(loss=0.5)
    code = (
        "import socket,sys;s=socket.create_server(('10.9.0.1',9)).accept()[0];f=open(sys.argv[1],'wb')\nwhile d:=s.recv(65536):f.write(d)"
    )

    def program(beside: Beside) -> str:
        sink = beside.start(sys.executable, "-c", code, folder + "/got")
        sock = beside.connect(9)
        digest = send_all(sock, SIZE, BLOCK)
        sock.close()
        assert beside.wait(sink) == 0
        return digest

    return beside.run(program)  # type: ignore[no-any-return]


def test_a_real_program_takes_every_byte(tmp_path: Path) -> None:
    assert in_netns(send_to_real_program, str(tmp_path)) == hashlib.sha256((tmp_path / "got").read_bytes()).hexdigest()
