"""Unmodified programs under `twinsock run`, each a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
pytestmark = pytest.mark.slow


def run(*args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `twinsock run` with arguments."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "twinsock", "run", *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)


def run_text(folder: Path, text: str, *options: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a program given as text."""
    path = folder / "prog.py"
    path.write_text(text)
    return run(*options, str(path), timeout=timeout)


def test_threads_with_blocking_sockets_talk_and_an_hour_of_sleep_passes_at_once() -> None:
    done = run(str(PROGRAMS / "echo_threads.py"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sorted(lines[:4]) == [f"CLIENT {number}" for number in range(4)]
    assert lines[4:] == ["slept 3600.0"]


def test_asyncio_streams_work_as_they_are() -> None:
    done = run(str(PROGRAMS / "asyncio_streams.py"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sorted(lines[:20]) == sorted(f"LINE {number}" for number in range(20))
    assert lines[20:] == ["slept 3600.0", "thread done"]


def test_http_server_and_urllib_work_and_time_is_virtual() -> None:
    done = run("--host", "web1", str(PROGRAMS / "web.py"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "['path /0', 'path /1', 'path /2', 'path /3', 'path /4']" in done.stdout
    assert "empty after 5.0" in done.stdout
    assert "2026-01-01 2026 web1 " in done.stdout


def test_tls_works_with_blocking_sockets_with_asyncio_and_under_https() -> None:
    done = run(str(PROGRAMS / "tls.py"))
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first == "TLSv1.3 True The read operation timed out"
    assert sorted(rest[:2]) == [
        "client: Hostname mismatch, certificate is not valid for 'other.example'.",
        "server: SSLV3_ALERT_BAD_CERTIFICATE",
    ]
    assert rest[2:] == ["TLSv1.3 b'HELLO\\n'", "200 b'/page'"]


@pytest.mark.parametrize("program", ["echo_threads.py", "asyncio_streams.py", "web.py"])
def test_one_seed_gives_the_same_output_each_time(program: str) -> None:
    assert len({run("--seed", "5", str(PROGRAMS / program)).stdout for _ in range(3)}) == 1


def test_another_seed_gives_other_random_numbers() -> None:
    assert len({run("--seed", str(seed), str(PROGRAMS / "web.py")).stdout for seed in range(2)}) == 2


def test_exit_code_is_that_of_the_program(tmp_path: Path) -> None:
    assert run_text(tmp_path, "import sys; sys.exit(7)").returncode == 7
    done = run_text(tmp_path, "raise ValueError('no')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: no"
    assert "twinsock" not in done.stderr


def test_deadlock_is_named_with_the_line_that_waits(tmp_path: Path) -> None:
    done = run_text(tmp_path, "import socket\na, b = socket.socketpair()\na.recv(1)\n")
    assert done.returncode == 124
    assert "deadlock" in done.stderr
    assert "MainThread (task 2) waits in recvfrom(), called at " in done.stderr
    assert "prog.py:3" in done.stderr


@pytest.mark.parametrize(
    "text, call",
    [
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen()"),
        ("import os; os.fork()", "os.fork()"),
        ("import os; os.system('true')", "os.system()"),
        ("import ctypes; ctypes.CDLL(None).socket(2, 1, 0)", "the C function socket()"),
    ],
)
def test_what_would_leave_the_simulation_is_refused_by_name(tmp_path: Path, text: str, call: str) -> None:
    done = run_text(tmp_path, text)
    assert done.returncode == 1
    assert "Escape: " in done.stderr
    assert call in done.stderr
    assert "--allow" in done.stderr


def test_an_allowed_escape_reaches_the_real_world(tmp_path: Path) -> None:
    done = run_text(tmp_path, "import subprocess; print(subprocess.run(['true']).returncode)", "--allow", "subprocess")
    assert (done.stdout, done.returncode) == ("0\n", 0)


def test_a_sysctl_and_a_capture_file_take_effect(tmp_path: Path) -> None:
    text = "print(open('/proc/sys/net/core/somaxconn').read())\nimport socket\nsocket.create_server(('127.0.0.1', 7))\n"
    text += "socket.create_connection(('127.0.0.1', 7))\n"
    done = run_text(tmp_path, text, "--sysctl", "net.core.somaxconn=16", "--pcap", str(tmp_path / "out.pcapng"))
    assert done.stdout == "16\n\n"
    assert (tmp_path / "out.pcapng").read_bytes()[:4] == b"\n\r\r\n"
    assert (tmp_path / "out.pcapng").stat().st_size > 300


@pytest.mark.parametrize(
    "args, words",
    [
        ([], "which program?"),
        (["--sede", "1", "x.py"], "did you mean --seed"),
        (["--seed"], "a value is missing"),
        (["nothing.py"], "nothing.py: No such file or directory"),
        (["--sysctl", "net.core.nothing=1", str(PROGRAMS / "web.py")], "no such setting"),
        (["--allow", "all", "x.py"], "one of subprocess"),
    ],
)
def test_wrong_usage_gives_one_line_and_code_two(args: list[str], words: str) -> None:
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_sets_of_threads_tasks_futures_and_sockets_have_one_order_wherever_the_program_lies(tmp_path: Path) -> None:
    text = """
import asyncio, concurrent.futures, socket, threading
def order(things): return [things.index(thing) for thing in set(things)]
print(order([threading.Thread() for _ in range(40)]), order([socket.socket() for _ in range(40)]))
print(order([threading.Lock() for _ in range(40)]), order([concurrent.futures.Future() for _ in range(40)]))
async def main():
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(asyncio.sleep(1)) for _ in range(40)]
    print(order(tasks), order([loop.create_future() for _ in range(40)]), isinstance(tasks[0], asyncio.Future), repr(tasks[0])[:11])
asyncio.run(main())
"""
    deep = tmp_path / "a" / ("long name " * 15)
    deep.mkdir(parents=True)
    first = run_text(tmp_path, text)
    assert first.stdout.splitlines()[2].endswith("True <Task pendi")
    assert run_text(deep, text).stdout == first.stdout


def test_a_deadlock_in_one_test_of_a_suite_leaves_the_others_alone(tmp_path: Path) -> None:
    text = """
import socket, unittest
a, b = socket.socketpair()
class Cases(unittest.TestCase):
    def test_a_hangs(self): a.recv(1)
    def test_b_passes(self): a.send(b"x")
unittest.main(verbosity=2)
"""
    done = run_text(tmp_path, text)
    assert "test_a_hangs (__main__.Cases.test_a_hangs) ... ERROR" in done.stderr
    assert "test_b_passes (__main__.Cases.test_b_passes) ... ok" in done.stderr
    assert "MainThread (task 2) waits in recvfrom()" in done.stderr


def test_a_thread_that_only_polls_lets_the_others_run_and_time_pass(tmp_path: Path) -> None:
    text = """
import select, socket, threading, time
a, b = socket.socketpair()
threading.Thread(target=lambda: (time.sleep(5), b.send(b"x"))).start()
ready = select.poll(); ready.register(a, select.POLLIN)
always = select.poll(); always.register(b, select.POLLOUT)
while not ready.poll(0): always.poll(1000)
print(int(time.monotonic()), time.process_time() > 4)
"""
    assert run_text(tmp_path, text).stdout == "5 True\n"


def test_a_loop_without_any_call_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prog.py"
    path.write_text("import threading\nready = []\nthreading.Timer(1, ready.append, [1]).start()\nwhile not ready: pass\n")
    command = [sys.executable, "-m", "twinsock", "run", "--watchdog", "1", str(path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        line = child.stderr.readline()
        child.kill()
    assert line.startswith("twinsock run: task 2 has run for 1 s without a call, others wait: ")
    assert line.endswith("prog.py:4 (<module>)\n")


def test_real_files_and_pipes_of_the_outside_are_waited_for(tmp_path: Path) -> None:
    text = """
import select, socket, sys
a, b = socket.socketpair()
print(select.select([0, a], [], [])[0], sys.stdin.readline())
epoll = select.epoll(); epoll.register(0); print(epoll.poll())
"""
    path = tmp_path / "prog.py"
    path.write_text(text)
    command = [sys.executable, "-m", "twinsock", "run", str(path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        output, _ = child.communicate("hello\n", timeout=60)
    assert output == "[0] hello\n\n[(0, 16)]\n"


def test_real_time_passes_where_it_is_asked_for(tmp_path: Path) -> None:
    text = "import time\nbegin = time.time()\ntime.sleep(0.4)\nprint(begin)\n"
    before = time.time()
    done = run_text(tmp_path, text, "--realtime")
    assert time.time() - before >= 0.4
    assert before - 1 < float(done.stdout) < time.time()


def test_trace_and_sockets_are_written_when_the_program_has_ended(tmp_path: Path) -> None:
    text = "import socket, time\ns = socket.create_server(('127.0.0.1', 7))\ntime.sleep(2)\ns.settimeout(1)\n"
    text += "try: s.accept()\nexcept TimeoutError: pass\n"
    done = run_text(tmp_path, text, "--trace", str(tmp_path / "trace"), "--ss")
    assert "LISTEN 0      128        127.0.0.1:7" in done.stderr
    lines = (tmp_path / "trace").read_text().splitlines()
    assert "[    0.000000] 2 bind(3, ('127.0.0.1', 7), 16) = 0" in lines
    assert "[    2.000000] 2 poll([3:0x1->0x0], 1000) = 0 <1.000000>" in lines
    assert lines[-1].startswith("+++ exited with 0 after 3.000000000 s and ")


def test_only_the_devices_that_were_named_are_captured(tmp_path: Path) -> None:
    text = "import socket\ns = socket.create_server(('127.0.0.1', 7))\nsocket.create_connection(('127.0.0.1', 7)).close()\n"
    sizes = []
    for options in ([], ["--pcap-device", "lo"], ["--pcap-device", "eth0"]):
        assert run_text(tmp_path, text, "--pcap", str(tmp_path / "out"), *options).returncode == 0
        sizes.append((tmp_path / "out").stat().st_size)
    assert sizes[0] == sizes[1] > sizes[2]


def test_a_program_may_allow_itself_more_descriptors_beside_real_files_that_are_open(tmp_path: Path) -> None:
    text = """
import resource, socket
held = open(__file__)
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 3000))
socks = []
try:
    while True: socks.append(socket.socket())
except OSError as error: print(error.errno, resource.getrlimit(resource.RLIMIT_NOFILE))
numbers = [sock.fileno() for sock in socks]
print(len(numbers), numbers[0], numbers[-1], held.fileno() in numbers, open(__file__).fileno() >= 2000, len(held.read()) > 100)
"""
    done = run_text(tmp_path, text)
    assert done.stdout == "24 (2000, 3000)\n1996 3 1999 False True True\n"


def test_interrupts_and_interval_timers_reach_the_main_thread(tmp_path: Path) -> None:
    text = """
import _thread, signal, threading, time
threading.Timer(1, _thread.interrupt_main).start()
try: time.sleep(10)
except KeyboardInterrupt: print("interrupted after", time.monotonic())
rang = []
signal.signal(signal.SIGVTALRM, lambda *args: rang.append(1))
signal.setitimer(signal.ITIMER_VIRTUAL, 0.1, 0.1)
while len(rang) < 3: time.process_time()
print("rang", len(rang))
"""
    assert run_text(tmp_path, text).stdout == "interrupted after 1.0\nrang 3\n"


BULK = """
import socket, threading
server = socket.create_server(("127.0.0.1", 8000))
def serve():
    sock, _ = server.accept()
    count = 0
    while data := sock.recv(65536):
        count += len(data)
    sock.sendall(str(count).encode())
thread = threading.Thread(target=serve)
thread.start()
sock = socket.create_connection(("127.0.0.1", 8000))
sock.sendall(bytes(300000))
sock.shutdown(socket.SHUT_WR)
print(sock.recv(100))
thread.join()
"""
COMPLAINTS = (
    "_ws.malformed or tcp.checksum.status==0 or ip.checksum.status==0 or tcp.analysis.lost_segment or tcp.analysis.ack_lost_segment"
)


@pytest.mark.slow
@pytest.mark.needs("tshark", "capinfos")
def test_tshark_reads_a_capture_of_a_bulk_transfer_without_complaint(tmp_path: Path) -> None:
    pcap = tmp_path / "out.pcapng"
    assert run_text(tmp_path, BULK, "--pcap", str(pcap)).stdout == "b'300000'\n"
    verify = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    assert subprocess.run(["tshark", "-r", str(pcap), *verify, "-Y", COMPLAINTS], capture_output=True, check=True).stdout == b""
    assert subprocess.run(["capinfos", str(pcap)], capture_output=True, check=True).stderr == b""
