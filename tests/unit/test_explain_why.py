"""The verdict from hand-made snapshots: rules, reasoning over hidden flags, remedies, and how the answer is drawn."""

from twinsock.explain.report import FAILS, OK, UNKNOWN, Report
from twinsock.explain.twin import AdoptedHost
from twinsock.explain.verdict import explain
from twinsock.explain.words import is_time_wait, quote, show_ms, show_target, state_of
from twinsock.inspect.facts import FLAGS_UNKNOWN, REUSEADDR, REUSEPORT, Question, Snapshot, TaskRecord
from twinsock.inspect.links import Address, Link, Links, Route
from twinsock.inspect.owners import OwnerTable, Process, Unlisted
from twinsock.inspect.records import SocketRecord
from twinsock.uapi.errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EMFILE, ENFILE
from twinsock.uapi.rtnetlink import RTN_LOCAL
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED, TCP_FIN_WAIT2, TCP_LISTEN, TCP_TIME_WAIT
from twinsock.ui.term import Paper, clean, wrap
from twinsock.ui.why_json import as_dict
from twinsock.ui.why_text import draw

LOOPBACK = b"\x7f\0\0\1"


class NoGhosts:
    """A ProcessSource with one process, `server`, and nothing hidden."""

    def process(self, pid: int) -> Process:
        process = Process(pid)
        process.comm = "server"
        process.cmdline = ["server", "--port", "8080"]
        process.unit = "web.service" if pid == 7 else ""
        return process

    def comm(self, pid: int) -> str:
        return "server"

    def thread_group(self, tid: int) -> int:
        return tid

    def unlisted(self, holders: list[tuple[int, int, int]]) -> dict[int, Unlisted]:
        return {}

    def close_on_exec(self, tid: int, fd: int) -> int:
        return 1

    def parents(self, pid: int) -> list[Process]:
        return []

    def ghosts(self, inodes: list[int], hidden: int) -> dict[int, object]:
        return {}


def question(port: int = 8080, address: bytes = bytes(4)) -> Question:
    made = Question()
    made.port = port
    made.address = address
    made.family = AF_INET if len(address) == 4 else AF_INET6
    return made


def snapshot_of(asked: Question, *sockets: tuple[SocketRecord, int], uid: int = 0, caps: int = (1 << 41) - 1) -> Snapshot:
    task = TaskRecord(0)
    task.uid = uid
    task.caps = caps
    made = Snapshot(asked, task)
    made.nearby_ports = [8081, 8082, 8083]
    for record, flags in sockets:
        made.sockets.append(record)
        made.flags.append(flags)
        made.counts.append(1)
    made.links = Links([Link(1, "lo")])
    made.addresses = [Address(AF_INET, LOOPBACK, 8, 1)]
    made.routes = [Route(AF_INET, RTN_LOCAL, b"\x7f\0\0\0", 8)]
    owners = OwnerTable(NoGhosts(), "twin")  # type: ignore[arg-type]
    for record in made.sockets:
        if record.inode:
            owners.add(record.inode, 7 << 32 | 3)
    made.owners = owners
    return made


def record_of(state: int, local: bytes = bytes(4), inode: int = 5, uid: int = 0) -> SocketRecord:
    made = SocketRecord(AF_INET if len(local) == 4 else AF_INET6, 6, state)
    made.local = local
    made.local_port = 8080
    made.remote = bytes(len(local))
    made.inode = inode
    made.uid = uid
    return made


def waiting(local: bytes = LOOPBACK, expires_ms: int = 30_000) -> SocketRecord:
    made = record_of(TCP_TIME_WAIT, local, 0)
    made.timer = 3
    made.expires_ms = expires_ms
    made.remote = LOOPBACK
    made.remote_port = 40000
    return made


def test_a_free_port_is_free_and_needs_no_remedy() -> None:
    report = explain(snapshot_of(question()))
    assert (report.result, report.rule, report.exit_code()) == (OK, "free", 0)
    assert report.remedies == [] and report.blockers == []


def test_a_listener_is_in_the_way_and_its_unit_is_to_be_stopped() -> None:
    report = explain(snapshot_of(question(), (record_of(TCP_LISTEN), 0)))
    assert (report.result, report.errno, report.call, report.rule) == (FAILS, EADDRINUSE, "bind", "listener")
    assert report.blockers[0].holders[0].unit == "web.service"
    assert report.remedies[0].action == "systemctl stop web.service"
    assert report.next_free == [8081, 8082, 8083]
    assert report.path[0] == "__sys_bind" and report.path[-1] == "inet_csk_bind_conflict"


def test_hidden_flags_that_decide_make_the_answer_unknown() -> None:
    asked = question()
    asked.reuseaddr = True
    report = explain(snapshot_of(asked, (waiting(), FLAGS_UNKNOWN)))
    assert (report.result, report.exit_code(), report.unless) == (UNKNOWN, 3, "SO_REUSEADDR")
    assert "needs root to see" in report.sentence


def test_hidden_flags_that_do_not_decide_leave_the_answer_certain() -> None:
    report = explain(snapshot_of(question(), (waiting(), FLAGS_UNKNOWN)))
    assert report.result == FAILS
    asked = question()
    asked.reuseaddr = True
    assert explain(snapshot_of(asked, (record_of(TCP_LISTEN), FLAGS_UNKNOWN))).result == FAILS


def test_hidden_reuseport_of_one_user_is_named_as_what_decides() -> None:
    asked = question()
    asked.reuseport = True
    report = explain(snapshot_of(asked, (record_of(TCP_LISTEN), FLAGS_UNKNOWN)))
    assert (report.result, report.unless) == (UNKNOWN, "SO_REUSEPORT")


def test_time_wait_offers_the_flag_only_where_it_helps() -> None:
    with_flag = explain(snapshot_of(question(), (waiting(), REUSEADDR)))
    assert with_flag.remedies[0].action == "setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)"
    without = explain(snapshot_of(question(), (waiting(), 0)))
    assert "--wait" in without.remedies[0].action
    assert without.blockers[0].lasts_ms == 30_000
    assert all(remedy.verified for remedy in without.remedies)


def test_several_sockets_in_the_way_are_all_named_and_alike_ones_counted() -> None:
    children = [(record_of(TCP_ESTABLISHED, LOOPBACK, 20 + number), 0) for number in range(5)]
    for number, (child, _flags) in enumerate(children):
        child.remote_port = 50000 + number
    report = explain(snapshot_of(question(), *children, (record_of(TCP_LISTEN), 0)))
    assert [(blocker.state, blocker.count) for blocker in report.blockers] == [("LISTEN", 1), ("ESTABLISHED", 5)]


def test_requests_that_no_socket_owns_yet_are_no_owners_of_the_port() -> None:
    request = record_of(3, LOOPBACK, 0)
    assert explain(snapshot_of(question(), (request, 0))).result == OK


def test_fin_wait2_without_a_program_is_the_small_kind_of_socket() -> None:
    made = record_of(TCP_FIN_WAIT2, LOOPBACK, 0)
    made.timer = 3
    assert is_time_wait(made) and state_of(made) == "FIN_WAIT2"


def test_a_low_port_needs_the_capability_and_another_port_does_not() -> None:
    report = explain(snapshot_of(question(80), uid=1000, caps=0))
    assert (report.errno, report.rule) == (EACCES, "privileged-port")
    assert explain(snapshot_of(question(8080), uid=1000, caps=0)).result == OK


def test_an_address_of_another_host_is_not_available() -> None:
    report = explain(snapshot_of(question(8080, b"\xc0\0\2\1")))
    assert (report.errno, report.rule) == (EADDRNOTAVAIL, "not-local")
    assert any("IP_FREEBIND" in remedy.action for remedy in report.remedies)


def test_a_process_at_its_limit_fails_before_bind() -> None:
    asked = question()
    asked.pid = 42
    made = snapshot_of(asked)
    made.task.fds_open = made.task.fds_max = 1024
    report = explain(made)
    assert (report.errno, report.call) == (EMFILE, "socket")


def test_a_machine_without_a_file_left_fails_before_bind_unless_the_caller_is_its_administrator() -> None:
    made = snapshot_of(question(), uid=1000, caps=0)
    made.task.files_open = made.task.files_max = 5000
    report = explain(made)
    assert (report.errno, report.call, report.rule) == (ENFILE, "socket", "file-limit")
    assert "5000" in report.sentence and report.path[-1] == "alloc_empty_file"
    assert any("fs.file-max=" in remedy.action for remedy in report.remedies)
    for errno, files, fds in ((0, 4999, 0), (EMFILE, 5000, 10)):
        made = snapshot_of(question(), uid=1000, caps=0)
        made.task.files_open, made.task.files_max = files, 5000
        made.task.fds_open, made.task.fds_max = fds, 10
        assert explain(made).errno == errno
    made = snapshot_of(question())
    made.task.files_open = made.task.files_max = 5000
    assert explain(made).result == OK
    made.task.userns = 4026532999  # capabilities of another user namespace do not count
    assert explain(made).errno == ENFILE


def test_the_table_of_options_is_the_twins_and_marks_what_was_asked() -> None:
    report = explain(snapshot_of(question(), (record_of(TCP_CLOSE), REUSEADDR | REUSEPORT)))
    assert [(variant.label, variant.result, variant.asked) for variant in report.variants] == [
        ("none of them", FAILS, True),
        ("SO_REUSEADDR", OK, False),
        ("SO_REUSEPORT", OK, False),
        ("SO_REUSEADDR + SO_REUSEPORT", OK, False),
    ]


def test_udp_sockets_are_judged_oldest_first_across_both_families() -> None:
    asked = question()
    asked.protocol = 17
    old, new = record_of(TCP_CLOSE, inode=5), record_of(TCP_CLOSE, bytes(16), inode=9)
    old.protocol = new.protocol = 17
    attempt = AdoptedHost(snapshot_of(asked, (old, 0), (new, 0))).attempt(asked, [0, 0])
    assert [index for index, _rule in attempt.hits] == [1]


def drawn(report: Report, width: int) -> list[str]:
    paper = Paper(False, width)
    draw(paper, report)
    return paper.text().splitlines()


def test_nothing_is_wider_than_the_terminal() -> None:
    asked = question(8080, bytes(16))
    child = record_of(TCP_ESTABLISHED, bytes.fromhex("20010db8000000010002000300040005"), 21)
    child.remote, child.remote_port = bytes.fromhex("20010db8aaaabbbbccccddddeeeeffff"), 54321
    made = snapshot_of(asked, (record_of(TCP_LISTEN, bytes(16)), 0), (child, 0), (waiting(), FLAGS_UNKNOWN))
    for width in (80, 60):
        assert [line for line in drawn(explain(made), width) if len(line) > width] == []


def test_names_from_strangers_cannot_steer_the_terminal() -> None:
    assert clean("a\x1b[2Jb\nc") == "a?[2Jb?c"
    assert wrap("a bb ccc", 4) == ["a bb", "ccc"]
    assert wrap("x" * 9, 4) == ["x" * 9]


def test_json_has_the_documented_keys() -> None:
    answer = as_dict(explain(snapshot_of(question(), (record_of(TCP_LISTEN), 0))))
    assert sorted(answer) == [
        *("blockers", "call", "elsewhere", "errno", "exit_code", "kernel_path", "next_free", "notes", "port", "proof"),
        *("question", "remedies", "result", "rule", "schema", "sentence", "target", "unless", "variants"),
    ]
    assert answer["schema"] == "twinsock.why/1"


def test_targets_times_and_shell_words_are_written_as_people_do() -> None:
    assert show_target(question(80, bytes(16))) == "tcp://[::]:80"
    assert [show_ms(ms) for ms in (300, 59_000, 600_000, 9_000_000, 200_000_000)] == ["0.3 s", "59 s", "10 min", "2 h", "2 days"]
    assert quote("a b'c") == "'a b'\\''c'" and quote("/run/x.sock") == "/run/x.sock"
