"""`why` on the live kernel: whose question it is, who holds a socket beside its program, and what permission hides."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.netns import Netns, fresh_netns
from tests.scenario.why_kit import actions, bound, listener, port_of, time_wait, why, why_text
from twinsock.host.bpf import bpf_call, pinned_address

pytestmark = [pytest.mark.root, pytest.mark.slow]
Runner = Callable[..., Any]
NOBODY = 65534


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def test_a_process_at_its_descriptor_limit_cannot_make_a_socket(in_netns: Runner) -> None:
    def program() -> None:
        child = subprocess.Popen(["sh", "-c", "echo up; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (3, 3))
        try:
            answer = why("8080", "--pid", str(child.pid), prove=False)
            assert (answer["errno"], answer["call"], answer["rule"]) == ("EMFILE", "socket", "descriptor-limit")
            assert any(action.startswith(f"prlimit --pid {child.pid}") for action in actions(answer))
        finally:
            child.kill()
            child.communicate()

    in_netns(program)


def test_a_process_is_asked_for_with_its_user_and_capabilities(in_netns: Runner) -> None:
    def program() -> None:
        child = subprocess.Popen(["sleep", "30"], preexec_fn=become_nobody)
        try:
            answer = why("80", "--pid", str(child.pid))
            assert (answer["errno"], answer["rule"]) == ("EACCES", "privileged-port")
            assert f"sleep (pid {child.pid})" in answer["sentence"]
            assert why("8080", "--pid", str(child.pid))["result"] == "ok"
        finally:
            child.kill()
            child.wait()

    in_netns(program)


def test_what_nobody_cannot_see_of_time_wait_is_reasoned_over_and_said(in_netns: Runner) -> None:
    def program() -> None:
        port = str(time_wait())
        become_nobody()
        answer = why(port, "--reuseaddr", prove=False)
        assert (answer["result"], answer["exit_code"], answer["unless"]) == ("unknown", 3, "SO_REUSEADDR")
        assert why(port, "--reuseaddr")["result"] == "fails"
        assert "which needs root to see" in answer["sentence"]
        assert answer["blockers"][0]["reuseaddr"] is None
        assert why(port)["result"] == "fails"
        assert why("8080")["result"] == "ok"

    in_netns(program)


def test_a_child_that_inherited_a_listener_is_named_after_its_parent_is_gone(in_netns: Runner) -> None:
    def program() -> None:
        server = listener("0.0.0.0", 8080)
        os.set_inheritable(server.fileno(), True)
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
        fd = server.fileno()
        server.close()
        try:
            answer = why("8080")
            (blocker,) = answer["blockers"]
            assert [(holder["pid"], holder["fd"], holder["comm"]) for holder in blocker["holders"]] == [(child.pid, fd, "sleep")]
            assert blocker["holders"][0]["inherited"]
            assert actions(answer)[0] == f"kill {child.pid}"
        finally:
            child.kill()
            child.wait()

    in_netns(program)


def test_a_listener_that_several_processes_share_has_to_be_let_go_by_all(in_netns: Runner) -> None:
    def program() -> None:
        server = listener("0.0.0.0", 8080)
        os.set_inheritable(server.fileno(), True)
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
        try:
            answer = why("8080")
            (blocker,) = answer["blockers"]
            assert {holder["pid"] for holder in blocker["holders"]} == {os.getpid(), child.pid}
            assert {f"kill {os.getpid()}", f"kill {child.pid}"} == set(actions(answer)[0].split(" && "))
        finally:
            child.kill()
            child.wait()

    in_netns(program)


def test_a_listener_inside_an_unread_message_is_a_ghost_with_a_keeper(in_netns: Runner) -> None:
    def program() -> None:
        sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        server = listener("0.0.0.0", 8080)
        socket.send_fds(sender, [b"x"], [server.fileno()])
        server.close()
        answer = why("8080")
        (blocker,) = answer["blockers"]
        assert blocker["holders"] == []
        assert (blocker["ghost"]["kind"], blocker["ghost"]["pid"]) == ("in flight", os.getpid())
        assert f"kill {os.getpid()}" in actions(answer)
        assert receiver.fileno() >= 0

    in_netns(program)


def test_a_namespace_that_only_a_descriptor_holds_can_be_asked_by_its_number() -> None:
    with fresh_netns() as lonely:
        kept = in_lonely(lonely)
        try:
            answer = why("8080", "--netns", str(lonely.inode))
            assert answer["rule"] == "listener"
            assert answer["blockers"][0]["holders"][0]["pid"] == os.getpid()
        finally:
            kept.close()


def test_a_listener_in_a_namespace_without_process_and_name_is_told_of_as_elsewhere(
    in_netns: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinsock.host.files._QUICK_LOOK", 10_000_000)  # whatever else runs on this machine
    with fresh_netns() as lonely:
        kept = in_lonely(lonely)
        inode = lonely.inode
    with contextlib.closing(kept):  # it alone keeps the namespace

        def program() -> None:
            for port, expected in (("8080", True), ("8081", False)):
                lines = [line for line in why(port)["elsewhere"] if str(inode) in line]
                assert bool(lines) == expected
                assert all(f"(pid {os.getppid()})" in line for line in lines)

        in_netns(program)


def in_lonely(lonely: Netns) -> socket.socket:
    """Make a listener in a namespace without moving there for good: in a thread that ends."""
    from concurrent.futures import ThreadPoolExecutor

    def make() -> socket.socket:
        lonely.enter()
        return listener("0.0.0.0", 8080)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


def test_a_namespace_that_vanishes_in_the_middle_is_one_clear_line(in_netns: Runner) -> None:
    def program() -> None:
        code, out, err = why_text("8080", "--netns", "1234567")
        assert (code, out) == (2, "")
        assert "there is no network namespace 1234567" in err
        code, out, err = why_text("8080", "--pid", "4194000")
        assert (code, out) == (2, "")
        assert "there is no process 4194000" in err

    in_netns(program)


def test_waiting_ends_when_the_address_is_free(in_netns: Runner) -> None:
    def program() -> None:
        sock = bound("0.0.0.0", 8080)
        helper = f"import time,os; time.sleep(0.3); os.kill({os.getpid()}, 10)"
        with contextlib.closing(sock):
            signal.signal(signal.SIGUSR1, lambda *_: sock.close())
            subprocess.Popen([sys.executable, "-c", helper])
            answer = why("8080", "--wait", "30", prove=False)
            assert answer["result"] == "ok"
        with bound("0.0.0.0", 8080) as again:
            answer = why(str(port_of(again)), "--wait", "0.1", prove=False)
            assert (answer["result"], answer["exit_code"]) == ("fails", 1)

    in_netns(program)


def test_the_text_is_plain_when_piped_and_fits_the_terminal(in_netns: Runner) -> None:
    def program() -> None:
        server = listener("0.0.0.0", 8080)
        code, out, err = why_text("8080")
        assert (code, err) == (1, "")
        assert "\x1b" not in out
        assert out.startswith("tcp://0.0.0.0:8080  bind() fails: EADDRINUSE\n")
        assert f"(pid {os.getpid()})" in out
        assert port_of(server) == 8080

    in_netns(program)


def deny_bind4(cgroup: str) -> int:
    """Attach a program to a cgroup which refuses every IPv4 bind(); gives its descriptor."""
    refuse = b"\xb7\0\0\0\0\0\0\0" + b"\x95\0\0\0\0\0\0\0"  # r0 = 0; exit
    code, _code = pinned_address(bytearray(refuse))
    licence, _licence = pinned_address(bytearray(b"Dual BSD/GPL\0"))
    load = bytearray(128)
    load[0:4] = (18).to_bytes(4, "little")  # BPF_PROG_TYPE_CGROUP_SOCK_ADDR
    load[4:8] = (2).to_bytes(4, "little")
    load[8:24] = code.to_bytes(8, "little") + licence.to_bytes(8, "little")
    load[68:72] = (8).to_bytes(4, "little")  # BPF_CGROUP_INET4_BIND
    program = bpf_call(5, load)
    assert program >= 0, program
    folder = os.open(cgroup, os.O_RDONLY)
    attach = bytearray(32)
    attach[0:12] = folder.to_bytes(4, "little") + program.to_bytes(4, "little") + (8).to_bytes(4, "little")
    attached = bpf_call(8, attach)
    os.close(folder)
    if attached < 0:
        pytest.skip(f"no BPF program can be attached to a cgroup here: errno {-attached}")
    return program


def test_a_bpf_program_of_the_cgroup_leaves_the_answer_open_until_it_is_proven(in_netns: Runner) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    if not mounts:
        pytest.skip("no cgroup v2 is mounted")
    folder = f"{mounts[0]}/twinsock-test-{os.getpid()}"
    os.mkdir(folder)

    def program() -> None:
        denier = deny_bind4(folder)
        child = subprocess.Popen(["sleep", "30"])
        try:
            Path(folder, "cgroup.procs").write_text(str(child.pid))
            answer = why("8080", "--pid", str(child.pid), prove=False)
            assert (answer["result"], answer["exit_code"], answer["rule"], answer["errno"]) == ("unknown", 3, "cgroup-bpf", "EPERM")
            answer = why("8080", "--pid", str(child.pid))
            assert (answer["result"], answer["errno"]) == ("fails", "EPERM")
            assert why("tcp://[::1]:8080", "--pid", str(child.pid))["result"] == "ok"
        finally:
            child.kill()
            child.wait()
            os.close(denier)

    try:
        in_netns(program)
    finally:
        os.rmdir(folder)


def test_a_seccomp_filter_of_the_process_is_mentioned(in_netns: Runner) -> None:
    code = "import ctypes,struct,sys;libc=ctypes.CDLL(None);f=ctypes.create_string_buffer(struct.pack('HBBI',6,0,0,0x7fff0000));"
    code += (
        "p=struct.pack('HxxxxxxQ',1,ctypes.addressof(f));libc.prctl(38,1,0,0,0);r=libc.prctl(22,2,p);print(r,flush=True);sys.stdin.read()"
    )

    def program() -> None:
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"0\n"
        answer = why("8080", "--pid", str(child.pid), prove=False)
        assert any("seccomp" in note for note in answer["notes"])
        child.communicate()

    in_netns(program)
