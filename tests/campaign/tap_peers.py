"""Gigabytes between the twin and real programs over a TAP device, with injected loss in both directions: checksums and speeds.

The peers are Debian's curl, nginx, iperf3, nc and ping; what is not installed is left out by name. Real time: a twin of Python beside
the live kernel.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.netns import netns_missing, run_in_netns
from tests.tapkit import REAL, TWIN, Beside, digest_of, pattern, read_head, receive_all, send_all, serve_http

BLOCK = pattern(1 << 22)
IPERF_PORT = 5201
PARAM_EXCHANGE, CREATE_STREAMS, TEST_START, TEST_RUNNING, EXCHANGE_RESULTS, DISPLAY_RESULTS = 9, 10, 1, 2, 13, 14
Row = tuple[str, int, float, bool]  # what, bytes, seconds, whether it is right


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, size: int) -> None:
    """Write what `send_all` would send."""
    with path.open("wb") as file:
        for at in range(0, size, len(BLOCK)):
            file.write(BLOCK[: size - at])


def curl_from_twin(beside: Beside, size: int, folder: Path) -> list[Row]:
    """Let curl fetch and upload."""
    server = beside.env.spawn(serve_http, beside, beside.listen(80), size, BLOCK, 2)
    rows = []
    start = time.monotonic()
    failed = beside.wait(beside.start("curl", "-sS", "-o", str(folder / "down"), f"http://{TWIN}/file"))
    seconds = time.monotonic() - start
    rows.append(("curl fetches from the twin", size, seconds, not failed and file_digest(folder / "down") == digest_of(size, BLOCK)))
    write_file(folder / "up", size)
    start = time.monotonic()
    failed = beside.wait(beside.start("curl", "-sS", "-T", str(folder / "up"), f"http://{TWIN}/file"))
    seconds = time.monotonic() - start
    rows.append(("curl uploads to the twin", size, seconds, not failed and server.join()[1] == ("PUT", size, digest_of(size, BLOCK))))
    return rows


def nginx_to_twin(beside: Beside, size: int, folder: Path) -> list[Row]:
    """Fetch from nginx."""
    write_file(folder / "file", size)
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; user root; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; sendfile on; server {{ listen {REAL}:8080; root {folder}; }} }}\n"
    )
    beside.start("nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr", stderr=subprocess.DEVNULL)
    sock = beside.connect(8080)
    start = time.monotonic()
    sock.sendall(b"GET /file HTTP/1.1\r\nHost: twin\r\nConnection: close\r\n\r\n")
    head, rest = read_head(sock)
    got, digest = receive_all(sock, size, rest)
    right = head.startswith("HTTP/1.1 200") and (got, digest) == (size, digest_of(size, BLOCK))
    return [("the twin fetches from nginx", size, time.monotonic() - start, right)]


def nc_both_ways(beside: Beside, size: int, folder: Path) -> list[Row]:
    """Send to a listening nc, and let another one send."""
    with (folder / "nc-got").open("wb") as sink:
        listening = beside.start("nc", "-l", REAL, "4000", stdout=sink)
        sock = beside.connect(4000)
        start = time.monotonic()
        digest = send_all(sock, size, BLOCK)
        sock.close()
        beside.wait(listening)
    rows = [("the twin sends to nc -l", size, time.monotonic() - start, file_digest(folder / "nc-got") == digest)]
    write_file(folder / "nc-file", size)
    listener = beside.listen(4001)
    start = time.monotonic()
    with (folder / "nc-file").open("rb") as source:
        beside.start("nc", "-N", TWIN, "4001", stdin=source)
    answer = receive_all(listener.accept()[0])
    rows.append(("nc sends to the twin", size, time.monotonic() - start, answer == (size, digest)))
    return rows


def iperf3_server(listener: Any, seconds: float) -> int:
    """Be the server of one iperf3 test with one stream; return the bytes of the stream."""
    control, _peer = listener.accept()

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = control.recv(count - len(data))
            assert piece
            data += piece
        return data

    exactly(37)
    control.sendall(bytes([PARAM_EXCHANGE]))
    params = json.loads(exactly(int.from_bytes(exactly(4), "big")))
    control.sendall(bytes([CREATE_STREAMS]))
    stream, _peer = listener.accept()
    assert len(stream.recv(37)) == 37
    control.sendall(bytes([TEST_START]))
    control.sendall(bytes([TEST_RUNNING]))
    moved = 0
    control.setblocking(False)
    stream.settimeout(0.1)
    ended = False
    deadline = time.monotonic() + seconds + 60
    while not ended and time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            moved += stream.send(BLOCK[: 1 << 18]) if params.get("reverse") else len(stream.recv(1 << 18))
        with contextlib.suppress(BlockingIOError):
            ended = bool(control.recv(1))  # TEST_END
    stream.settimeout(None)
    if params.get("reverse"):
        stream.shutdown(1)  # the client waits for more
    control.setblocking(True)
    control.sendall(bytes([EXCHANGE_RESULTS]))
    exactly(int.from_bytes(exactly(4), "big"))
    totals = {"id": 1, "bytes": moved, "retransmits": 0, "jitter": 0, "errors": 0, "packets": 0, "start_time": 0, "end_time": seconds}
    results = {"cpu_util_total": 0, "cpu_util_user": 0, "cpu_util_system": 0, "sender_has_retransmits": 0, "streams": [totals]}
    text = json.dumps(results).encode()
    control.sendall(len(text).to_bytes(4, "big") + text)
    control.sendall(bytes([DISPLAY_RESULTS]))
    exactly(1)
    for sock in (stream, control, listener):
        sock.close()
    return moved


def iperf3_both_ways(beside: Beside, size: int, folder: Path) -> list[Row]:
    """Let iperf3 measure against a server on the twin."""
    rows = []
    for flags, name in (([], "iperf3 to the twin"), (["-R"], "iperf3 from the twin (-R)")):
        server = beside.env.spawn(iperf3_server, beside.listen(IPERF_PORT), 5.0)
        with (folder / "iperf.json").open("wb") as out:
            failed = beside.wait(beside.start("iperf3", "-c", TWIN, "-t", "5", "-J", *flags, stdout=out))
        server.join()
        report = json.loads((folder / "iperf.json").read_text())
        total = report.get("end", {}).get("sum_received" if flags else "sum_sent", {})
        rows.append((name, int(total.get("bytes", 0)), float(total.get("seconds", 1)), not failed and total.get("bytes", 0) > 0))
    return rows


def ping_the_twin(beside: Beside, size: int, folder: Path) -> list[Row]:
    """Let ping ask, with small and with fragmented requests."""
    rows = []
    for payload in (56, 4000):
        with (folder / "ping").open("wb") as out:
            beside.wait(beside.start("ping", "-c", "100", "-i", "0.01", "-s", str(payload), "-W", "2", TWIN, stdout=out))
        text = (folder / "ping").read_text()
        received = int(text.partition(" packets transmitted, ")[2].split()[0])
        rows.append((f"ping -s {payload}: {received} of 100 answered", received * payload, 1.0, received > 80))
    return rows


STEPS: dict[str, Callable[[Beside, int, Path], list[Row]]] = {
    "curl": curl_from_twin,
    "nginx": nginx_to_twin,
    "nc": nc_both_ways,
    "iperf3": iperf3_both_ways,
    "ping": ping_the_twin,
}


def one_step(name: str, size: int, loss: float) -> list[Row]:
    """Run the exchange with one peer in the calling process's namespace."""
    beside = Beside(ethernet=True, offload=True, loss=loss)
    with tempfile.TemporaryDirectory() as folder:
        rows: list[Row] = beside.run(lambda beside: STEPS[name](beside, size, Path(folder)))
    lost = beside.bridge.lost_in + beside.netem.drops
    return [(f"{what} ({lost} packets lost)" if loss else what, count, seconds, right) for what, count, seconds, right in rows]


def main() -> int:
    """Exchange with every peer that is installed; 1 when a checksum is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no further peer after this time")
    parser.add_argument("--seed", type=int, default=1, help="accepted, as by every campaign; the machine's timing decides")
    parser.add_argument("--megabytes", type=int, default=1000, help="of each transfer")
    parser.add_argument("--loss", type=float, default=0.1, help="percent, in each direction")
    args = parser.parse_args()
    reason = netns_missing(root_needed=True)
    if reason:
        print(f"tap_peers: {reason}", file=sys.stderr)
        return 2
    end = time.monotonic() + args.minutes * 60
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    failed = 0
    print("| exchange | megabytes | MB/s | right |\n| --- | --- | --- | --- |")
    for name in STEPS:
        if shutil.which(name) is None or time.monotonic() > end:
            print(f"| {name} | left out | | |")
            continue
        rows: Any = run_in_netns(one_step, name, args.megabytes * 1_000_000, args.loss, timeout=600.0)
        for what, count, seconds, right in rows:
            print(f"| {what} | {count / 1e6:.1f} | {count / seconds / 1e6:.1f} | {'yes' if right else 'NO'} |", flush=True)
            failed += not right
    print(f"\ntap_peers: {failed} wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
