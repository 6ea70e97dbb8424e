"""The scenario API, used as its users do: every test here runs on simulated hosts, for several seeds."""

import asyncio
import errno
import signal
import socket
import threading
import time

import pytest

import twinsock
from twinsock import sim

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PORT = 8000


def serve() -> None:
    """Answer every line in capitals, each connection in a thread."""
    listener = socket.create_server(("", PORT))
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=answer, args=(conn,), daemon=True).start()


def answer(conn: socket.socket) -> None:
    with conn:
        while data := conn.recv(65536):
            conn.sendall(data.upper())


def ask(size: int, host: str = "server") -> bytes:
    """Send so many bytes and wait for as many."""
    with socket.create_connection((host, PORT)) as conn:
        sender = threading.Thread(target=conn.sendall, args=(b"x" * size,))
        sender.start()
        got = b""
        while len(got) < size:
            data = conn.recv(65536)
            if not data:
                raise EOFError(f"{len(got)} of {size} bytes")
            got += data
        sender.join()
        return got


@twinsock.test(seeds=10)
def test_everything_arrives_through_loss_disorder_and_a_partition(sim: sim.Simulation) -> None:
    sim.conditions(latency=("1ms", "5ms"), loss=0.03, duplicate=0.02, reorder=0.02)
    server = sim.host("server", serve)
    client = sim.host("client")
    job = client.run(ask, 200_000)
    sim.sleep("20ms")
    with sim.partition(server, client):
        sim.sleep(3)
        assert not job.done()
    assert job.result(timeout=600) == b"X" * 200_000


@twinsock.test(seeds=3)
@pytest.mark.parametrize("word", [b"one", b"two"])
async def test_async_scenarios_talk_to_async_servers(word: bytes) -> None:
    async def serve_async() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle, "0.0.0.0", PORT)
        async with server:
            await server.serve_forever()

    sim.host("server", serve_async)
    await asyncio.sleep(1800)
    reader, writer = await asyncio.open_connection("server", PORT)
    writer.write(word + b"\n")
    assert await reader.read() == word.upper() + b"\n"
    writer.close()
    assert await sim.current().hosts["server"].run(lambda: 6 * 7) == 42


@twinsock.test(seeds=3)
def test_a_crashed_host_is_silent_and_answers_again_after_its_restart() -> None:
    server = sim.host("server", serve)
    client = sim.host("client")
    sim.sleep(1)
    assert client.call(ask, 10) == b"X" * 10
    server.crash()
    job = client.run(ask, 10)
    sim.sleep("900ms")
    assert not job.done()
    server.restart()
    assert job.result(timeout=5) == b"X" * 10
    assert server.starts == 2


@twinsock.test(seeds=2)
def test_sigterm_runs_handlers_and_without_one_ends_the_process_on_the_spot_as_a_crash_does() -> None:
    ended: list[str] = []

    def sleeper(name: str, handle: bool) -> None:
        def stop(*args: object) -> None:
            raise SystemExit(0)

        if handle:
            signal.signal(signal.SIGTERM, stop)
        try:
            time.sleep(100)
        finally:
            ended.append(name)

    crashed, killed = sim.host("crashed", sleeper, "crashed", False), sim.host("killed", sleeper, "killed", False)
    stopped = sim.host("stopped", sleeper, "stopped", True)
    sim.sleep(1)
    crashed.crash()
    killed.terminate()
    stopped.terminate()
    sim.sleep(200)
    assert ended == ["stopped"]
    assert killed.main_job is not None and stopped.main_job is not None
    with pytest.raises(sim.JobFailed, match="signal 15"):
        killed.main_job.result()
    assert stopped.main_job.result() is None


@twinsock.test(seeds=2)
def test_the_end_of_a_process_closes_what_its_threads_still_use() -> None:
    def main() -> None:
        listener = socket.create_server(("", PORT))
        threading.Thread(target=listener.accept, daemon=True).start()
        time.sleep(1)

    server = sim.host("server", main)
    sim.sleep("500ms")
    assert "LISTEN" in server.ss("-tln")
    sim.sleep(1)
    assert "LISTEN" not in server.ss("-tln")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("server", PORT))


@twinsock.test(seeds=2)
def test_a_paused_host_acknowledges_but_does_not_answer() -> None:
    server = sim.host("server", serve)
    client = sim.host("client")
    sim.sleep(1)
    with server.pause():
        job = client.run(ask, 10)
        sim.sleep(10)
        assert not job.done()
        assert "ESTAB" in client.ss("-tn")
    assert job.result(timeout=1) == b"X" * 10


@twinsock.test(seeds=2)
def test_held_packets_arrive_in_order_when_they_are_released() -> None:
    got: list[bytes] = []

    def receive() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", PORT))
            while len(got) < 5:
                got.append(sock.recv(100))

    server = sim.host("server", receive)
    sender = sim.host("sender")
    sim.sleep("1s")
    with sim.hold(sender, server):
        with_socket = sender.run(send_numbers, 5)
        sim.sleep(5)
        assert (got, with_socket.done()) == ([], True)
    sim.sleep(1)
    assert got == [b"0", b"1", b"2", b"3", b"4"]


def send_numbers(count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(count):
            sock.sendto(str(number).encode(), ("server", PORT))


@twinsock.test(seeds=2)
def test_a_rule_judges_packet_by_packet() -> None:
    seen: list[sim.Packet] = []

    def no_syn_for_a_while(packet: sim.Packet) -> object:
        seen.append(packet)
        if packet.flags == "S" and sim.now() < 4:
            return sim.DROP
        return "10ms" if packet.protocol == "tcp" else sim.PASS

    sim.host("server", serve)
    client = sim.host("client")
    with sim.rule(no_syn_for_a_while):
        client.call(ask, 10)
    assert sim.now() > 4
    assert {packet.protocol for packet in seen} >= {"tcp"}
    assert {packet.dest_port for packet in seen if packet.source == "client"} >= {PORT}


@twinsock.test(seeds=2)
def test_a_one_way_partition_lets_the_other_way_through() -> None:
    server, client = sim.host("server", serve), sim.host("client")
    sim.sleep(1)
    with sim.partition(server, client, oneway=True):
        job = client.run(ask, 10)
        sim.sleep("500ms")
        assert "SYN-RECV" in server.ss("-tan")
        assert "SYN-SENT" in client.ss("-tan")
    assert job.result(timeout=5)


@twinsock.test(seeds=5)
def test_calls_may_go_wrong_and_data_is_whole_all_the_same() -> None:
    server, client = sim.host("server", serve), sim.host("client")
    sim.buggify(short=0.5)
    for _ in range(10):
        assert client.call(ask, 50_000, timeout=60) == b"X" * 50_000
    assert server.faults.count + client.faults.count > 0
    sim.heal()
    before = client.faults.count
    assert client.call(ask, 50_000, timeout=60) == b"X" * 50_000
    assert client.faults.count == before


@twinsock.test
def test_hosts_have_limits_settings_and_clocks_of_their_own() -> None:
    def open_many() -> int:
        socks = []
        try:
            while True:
                socks.append(socket.socket())
        except OSError as error:
            assert error.errno == errno.EMFILE
            return len(socks)

    small = sim.host("small", nofile=20, sysctl={"net.core.somaxconn": 7}, clock_skew=3600)
    other = sim.host("other")
    assert small.call(open_many) == 17
    assert (small.sysctl("net.core.somaxconn"), other.sysctl("net.core.somaxconn")) == ("7", "4096")
    assert small.call(time.time) - other.call(time.time) == pytest.approx(3600)
    assert small.call(socket.gethostname) == "small"
    assert other.call(socket.gethostbyname, "small") == small.address
    with pytest.raises(sim.JobFailed, match="PermissionError"):
        other.run(socket.create_server, ("", 80), uid=1000).result()


@twinsock.test
def test_conditions_and_names_that_make_no_sense_are_refused() -> None:
    sim.host("a")
    for wrong, message in (
        (lambda: sim.conditions(loss=2), "between 0 and 1"),
        (lambda: sim.conditions(latency="5 weeks"), "a duration"),
        (lambda: sim.conditions(bandwidth="fast"), "a bandwidth"),
        (lambda: sim.partition("a", "b"), "no host 'b'"),
        (lambda: sim.host("a"), "already"),
        (lambda: sim.host("b", address="10.0.0.1"), "taken"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(TypeError, match="delay"):
        sim.conditions(delay=3)


@twinsock.test
def test_counters_and_tables_of_a_host_can_be_read_at_any_instant() -> None:
    server, client = sim.host("server", serve), sim.host("client")
    sim.sleep(1)
    client.call(ask, 10)
    assert server.counters()["TcpPassiveOpens"] == 1
    assert f":{PORT:04X}" in server.proc("/proc/net/tcp")
    sim.sleep("10ms")
    assert "TIME-WAIT" in client.ss("-tan")


@twinsock.test
def test_six_is_spoken_too() -> None:
    server = sim.host("server")

    def serve_six() -> bytes:
        with socket.create_server(("::", PORT), family=socket.AF_INET6) as listener:
            conn, _ = listener.accept()
            with conn:
                return conn.recv(10)

    job = server.run(serve_six)
    sim.sleep("100ms")
    with socket.create_connection(("fd00::2", PORT)) as conn:
        conn.sendall(b"six")
        assert job.result() == b"six"
