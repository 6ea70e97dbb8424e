"""Parsers of /proc/PID and the owner table, on synthetic text."""

import pytest

from tests.arch.test_startup import heavy_imports
from twinsock.host.bpf import permitted
from twinsock.host.ghosts import fixed_sockets_of, has_word, hides_processes, scm_fds_of
from twinsock.host.processes import close_on_exec_of, parse_cmdline, parse_stat, status_field
from twinsock.host.units import name_of_cgroup, name_of_process
from twinsock.inspect.owners import HIDDEN, IO_URING, ORPHAN, THREAD_BIT, Ghost, OwnerTable, Process, Unlisted

ID = "0123456789abcdef" * 4


class FakeProcesses:
    """A ProcessSource over a dict."""

    def __init__(self, parents: dict[int, int]) -> None:
        self.parent_of = parents
        self.answers: dict[int, Ghost] = {}
        self.searches: list[list[int]] = []

    def process(self, pid: int) -> Process:
        process = Process(pid)
        process.comm = self.comm(pid)
        process.ppid = self.parent_of.get(pid, 0)
        return process

    def comm(self, pid: int) -> str:
        return f"p{pid}"

    def thread_group(self, tid: int) -> int:
        return tid - tid % 10

    def unlisted(self, holders: list[tuple[int, int, int]]) -> dict[int, Unlisted]:
        return {}

    def close_on_exec(self, tid: int, fd: int) -> int:
        return fd & 1

    def parents(self, pid: int) -> list[Process]:
        return [self.process(self.parent_of[pid])] if pid in self.parent_of else []

    def ghosts(self, inodes: list[int], hidden: int) -> dict[int, Ghost]:
        self.searches.append(inodes)
        return {inode: self.answers[inode] for inode in inodes}


def table_with(*holders: tuple[int, int, int]) -> OwnerTable:
    table = OwnerTable(FakeProcesses({20: 10}), "proc")
    for inode, pid, fd in holders:
        table.add(inode, pid << 32 | fd)
    return table


def test_an_owner_is_found_with_its_descriptor_and_process() -> None:
    table = table_with((7, 20, 3))
    (owner,) = table.owners_of(7)
    assert (owner.pid, owner.fd, owner.tid, owner.comm, owner.ppid, owner.close_on_exec) == (20, 3, 20, "p20", 10, 1)
    assert table.quality(7) == "exact"
    assert table.ghost(7) is None
    assert [process.pid for process in table.parents(20)] == [10]


def test_a_socket_in_several_processes_is_shared_by_that_many() -> None:
    table = table_with((7, 20, 3), (7, 10, 3), (7, 10, 4), (8, 10, 5))
    assert table.pid_fds(7) == [(10, 3), (10, 4), (20, 3)]
    assert table.quality(7) == "shared by 2"
    assert table.quality(8) == "exact"


def test_columns_and_single_rows_build_the_same_table() -> None:
    rows = [(7, 10 << 32 | 3), (8, 10 << 32 | 4), (7, 20 << 32 | 3), (7, 30 << 32 | 3), (9, 30 << 32 | 4)]
    one = table_with()
    for inode, packed in rows:
        one.add(inode, packed)
    other = table_with()
    other.add_all([row[0] for row in rows], [row[1] for row in rows], len(rows))
    assert (one.first, one.more) == (other.first, other.more)


def test_a_thread_with_a_table_of_its_own_is_named_with_its_process() -> None:
    table = table_with()
    table.add(7, THREAD_BIT | 23 << 32 | 4)
    assert table.pid_fds(7) == [(20, 4)]
    (owner,) = table.owners_of(7)
    assert (owner.pid, owner.tid, owner.fd) == (20, 23, 4)


def test_ghosts_are_searched_for_once_and_together() -> None:
    source = FakeProcesses({})
    source.answers = {
        5: Ghost(IO_URING, "in a ring", 4, 9, True),
        6: Ghost(HIDDEN, "hidden: needs CAP_SYS_PTRACE", -1, -1, False),
    }
    table = OwnerTable(source, "proc")
    table.explain_ghosts([5, 6, 0])
    assert table.quality(5) == IO_URING
    assert table.quality(6) == "hidden: needs CAP_SYS_PTRACE"
    assert table.quality(0) == ORPHAN
    assert source.searches == [[5, 6]]


@pytest.mark.parametrize(
    ("path", "unit", "engine", "container", "pod"),
    [
        ("/system.slice/nginx.service", "nginx.service", "", "", ""),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", "", "", ""),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/dev.service", "dev.service", "", "", ""),
        ("/user.slice/user-1000.slice/session-2.scope", "session-2.scope", "", "", ""),
        (f"/system.slice/docker-{ID}.scope", "", "docker", ID, ""),
        (f"/docker/{ID}", "", "docker", ID, ""),
        (f"/docker/{ID}/init.scope", "", "docker", ID, ""),
        (f"/machine.slice/libpod-{ID}.scope/container", "", "podman", ID, ""),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_ab.slice/cri-containerd-{ID}.scope",
            "",
            "containerd",
            ID,
            "12-ab",
        ),
        (f"/kubepods/besteffort/pod12-ab/{ID}", "", "kubernetes", ID, "12-ab"),
        (f"/system.slice/containerd.service/kubepods-pod12.slice:cri-containerd:{ID}", "", "containerd", ID, "12"),
        ("/lxc.payload.web/system.slice/nginx.service", "", "lxc", "web", ""),
        ("/lxc/web", "", "lxc", "web", ""),
        ("/machine.slice/machine-web\\x2d1.scope", "", "nspawn", "web-1", ""),
        (f"/ecs/task/{ID}", "", "container", ID, ""),
        ("/", "", "", "", ""),
    ],
)
def test_a_cgroup_path_names_its_unit_or_container(path: str, unit: str, engine: str, container: str, pod: str) -> None:
    name = name_of_cgroup(path)
    assert (name.unit, name.engine, name.container, name.pod) == (unit, engine, container, pod)


def test_a_unit_of_a_user_carries_the_user() -> None:
    assert name_of_cgroup("/user.slice/user-1000.slice/user@1000.service/app.slice/dev.service").user_unit_uid == 1000
    assert name_of_cgroup("/system.slice/nginx.service").user_unit_uid == -1


def test_the_version_2_line_wins_unless_it_says_nothing() -> None:
    hybrid = "12:cpu:/system.slice\n1:name=systemd:/system.slice/a.service\n0::/\n"
    assert name_of_process(hybrid).unit == "a.service"
    assert name_of_process("1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n").unit == "b.service"
    assert name_of_process("4:memory:/x\n0::/\n").path == "/"
    assert name_of_process("").path == ""


def test_a_command_name_with_brackets_and_blanks_is_read_whole() -> None:
    fields = "S 4242 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0"
    assert parse_stat(f"17 (a) (b c) {fields}\n") == ("a) (b c", 4242, 98765)
    assert parse_stat("") == ("", -1, -1)
    assert parse_stat("17 (x) S 1") == ("x", -1, -1)


def test_a_command_line_is_split_at_nul() -> None:
    assert parse_cmdline("python3\0-m\0http.server\0") == ["python3", "-m", "http.server"]
    assert parse_cmdline("nginx: worker process\0\0\0") == ["nginx: worker process"]
    assert parse_cmdline("") == []


def test_status_fields_are_found_by_line() -> None:
    status = "Name:\tUid:\nTgid:\t12\nUid:\t33\t33\t33\t33\n"
    assert status_field(status, "Uid:") == "33\t33\t33\t33"
    assert status_field(status, "Gid:") == ""


def test_close_on_exec_is_an_octal_flag() -> None:
    assert close_on_exec_of("pos:\t0\nflags:\t02000002\nmnt_id:\t8\n") == 1
    assert close_on_exec_of("pos:\t0\nflags:\t02\nmnt_id:\t8\n") == 0
    assert close_on_exec_of("") == -1


def test_fixed_files_of_a_ring_are_listed() -> None:
    fdinfo = "SqMask:\t0x7\nUserFiles:\t3\n    0: socket:[41]\n    1: /tmp/x\n    2: socket:[42]\nUserBufs:\t0\n"
    assert fixed_sockets_of(fdinfo) == [41, 42]
    assert fixed_sockets_of("pos:\t0\n") == []


def test_undelivered_descriptors_are_counted() -> None:
    assert scm_fds_of("pos:\t0\nflags:\t02\nino:\t5\nscm_fds: 2\n") == 2
    assert scm_fds_of("pos:\t0\nflags:\t02\n") == 0


def test_a_proc_that_hides_other_users_is_recognised() -> None:
    assert hides_processes("sysfs /sys sysfs rw 0 0\nproc /proc proc rw,relatime,hidepid=invisible 0 0\n")
    assert hides_processes("proc /proc proc rw,hidepid=2 0 0\n")
    assert not hides_processes("proc /proc proc rw,hidepid=1 0 0\nproc /chroot/proc proc rw,hidepid=2 0 0\n")


def test_asking_for_owners_loads_no_heavy_module() -> None:
    heavy = heavy_imports("from twinsock.host.owners import find_owners\nfind_owners([1], method='proc')")
    assert heavy == set()


@pytest.mark.skipif(not permitted(), reason="BPF iterators need CAP_BPF and CAP_PERFMON in the first pid namespace")
def test_asking_bpf_for_owners_and_flags_loads_no_heavy_module() -> None:
    code = "from twinsock.host.owners import find_owners\nfind_owners([1], method='bpf')\n"
    assert heavy_imports(code + "from twinsock.host.reuse import reuse_flags\nreuse_flags(0, [])") == set()


def test_an_inode_is_found_only_as_a_whole_word() -> None:
    text = "123 4567 89\n12 3\n"
    assert [word for word in ("123", "4567", "89", "12", "3", "1", "456", "567") if has_word(text, word)] == [
        "123",
        "4567",
        "89",
        "12",
        "3",
    ]
