"""Tools for the live kernel, run on the twin: `ss` with its filters and columns, the snapshot and verdict of `why`, owners, links."""

from typing import Any

from tests.unit.test_twin_port import run
from twinsock.explain.report import FAILS, OK
from twinsock.explain.verdict import explain
from twinsock.inspect.facts import Question
from twinsock.inspect.gather import take_snapshot
from twinsock.inspect.links import get_addresses, get_links, get_local_routes
from twinsock.runtime.port import TwinFiles, TwinPort
from twinsock.uapi.errno import EADDRINUSE
from twinsock.ui.ss_options import parse
from twinsock.ui.ss_run import View, fill
from twinsock.ui.ss_sheet import Sheet

LO = "127.0.0.1"


def busy(env: Any) -> list[Any]:
    """Make a listener with a connection, and a socket of each other family."""
    listener = env.socket.socket()
    listener.bind((LO, 5000))
    listener.listen(5)
    client = env.socket.socket()
    client.connect((LO, 5000))
    udp = env.socket.socket(2, 2)
    udp.bind((LO, 6000))
    netlink = env.socket.socket(16, 3, 2)
    netlink.bind((77, 1))
    return [listener, client, udp, netlink, env.socket.socket(17, 3, 0x0300), *env.socket.socketpair()]


def rows_of(port: TwinPort, *arguments: str) -> str:
    """Give what `twinsock ss` prints."""
    options = parse(list(arguments))
    view = View(port, options)
    if options.has("processes"):
        view.owners = port.owners()
    sheet = Sheet(netid=len(options.tables) > 1, state=True, header=True)
    fill(sheet, view, 0)
    return "".join(sheet.texts())


def test_why_explains_a_refused_bind_of_the_twin() -> None:
    def program(env: Any, port: TwinPort) -> None:
        sockets = busy(env)
        question = Question()
        question.address, question.port = b"\x7f\0\0\1", 5000
        report = explain(take_snapshot(port, TwinFiles(port), question))
        assert (report.result, report.errno) == (FAILS, EADDRINUSE)
        question.port = 5999
        assert explain(take_snapshot(port, TwinFiles(port), question)).result == OK
        assert len(sockets) == 7

    run(program)


def test_links_addresses_and_routes_of_the_twin_are_read() -> None:
    def program(env: Any, port: TwinPort) -> None:
        assert list(get_links(port).by_name) == ["lo"]
        assert {address.address for address in get_addresses(port)} == {b"\x7f\0\0\1", bytes(15) + b"\1"}
        assert get_local_routes(port, 2)

    run(program)


def test_twinsock_ss_lists_every_family_of_the_twin() -> None:
    def program(env: Any, port: TwinPort) -> None:
        sockets = busy(env)
        tcp = rows_of(port, "-tanp")
        assert [line.split()[:2] for line in tcp.splitlines()][1:] == [["LISTEN", "1"], ["ESTAB", "0"], ["ESTAB", "0"]]
        assert f"pid={env.task.pid},fd={sockets[0].fileno()}" in tcp
        assert "127.0.0.1:6000" in rows_of(port, "-uan")
        assert rows_of(port, "-xan").count("u_str") == 2 or "ESTAB" in rows_of(port, "-xan")
        assert rows_of(port, "-tan", "sport", "=", "5000").count("127.0.0.1:5000") >= 2
        assert "77" in rows_of(port, "-a", "-f", "netlink")
        assert "*" in rows_of(port, "-0an")

    run(program)


def test_files_of_a_task_say_who_it_is() -> None:
    def program(env: Any, port: TwinPort) -> None:
        me = env.task
        assert port.read("/proc/self/comm") == b"program\n"
        assert port.read(f"/proc/{me.pid}/cgroup") == b"0::/\n"
        assert b"Max open files            1024                 524288               files     \n" in port.read("/proc/self/limits")
        assert f"Pid:\t{me.pid}\n".encode() in port.read("/proc/self/status")
        assert port.read("/proc/thread-self/net/tcp") == port.read("/proc/net/tcp")
        assert port.read("/proc/sys/net/core/somaxconn") == b"4096\n"

    run(program)
