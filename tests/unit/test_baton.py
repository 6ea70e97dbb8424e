"""Tasks under a baton: one runs at a time, time moves when all sleep, a deadlock names who waits for what."""

import pytest

from tests.builds import COMPILED
from twinsock.kernel.boot import start_kernel
from twinsock.runtime.baton import Deadlock
from twinsock.runtime.facade import KilledBySignal, TwinEnv


def test_time_passes_only_while_every_task_sleeps() -> None:
    env = TwinEnv(start_kernel())

    def program(env: TwinEnv) -> list[tuple[str, int]]:
        log: list[tuple[str, int]] = []

        def sleeper(name: str, seconds: int) -> None:
            env.time.sleep(seconds)
            log.append((name, env.time.monotonic_ns()))

        for handle in [env.spawn(sleeper, "long", 3600), env.spawn(sleeper, "short", 1)]:
            handle.join()
        return log

    log = env.run(program)
    assert [name for name, _ in log] == ["short", "long"]
    assert log[0][1] == 1_000_000_000
    assert log[1][1] == 3_600_000_000_000


def test_a_deadlock_names_the_call_of_every_task() -> None:
    env = TwinEnv(start_kernel())

    def program(env: TwinEnv) -> None:
        r, _ = env.os.pipe()
        _ = env.spawn(env.os.read, r, 1)
        env.select.epoll().poll()

    calls = ("poll", "read") if COMPILED else ("sys_epoll_wait", "sys_read")  # compiled functions have no frames
    with pytest.raises(Deadlock, match=rf"(?s)no task can run.*program\[\d+\] waits in {calls[0]}.*waits in {calls[1]}"):
        env.run(program)


def test_an_exception_of_the_program_comes_out_of_run() -> None:
    env = TwinEnv(start_kernel())
    with pytest.raises(ZeroDivisionError):
        env.run(lambda env: 1 // 0)


def test_an_exception_of_a_task_comes_out_of_join() -> None:
    env = TwinEnv(start_kernel())
    with pytest.raises(OSError, match="Bad file descriptor"):
        env.run(lambda env: env.spawn(env.os.close, 99).join())


def test_the_same_seed_gives_the_same_order_of_events() -> None:
    def program(env: TwinEnv) -> list[bytes]:
        r, w = env.os.pipe()
        tasks = [env.spawn(env.os.write, w, bytes([65 + i])) for i in range(8)]
        for task in tasks:
            task.join()
        return [env.os.read(r, 1) for _ in tasks]

    runs = [TwinEnv(start_kernel(seed=3)).run(program) for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]


def test_a_signal_without_handler_ends_the_task() -> None:
    env = TwinEnv(start_kernel())

    def program(env: TwinEnv) -> None:
        env.os.kill(env.os.getpid(), 15)

    with pytest.raises(KilledBySignal):
        env.run(program)


def test_programs_start_with_descriptor_three() -> None:
    assert TwinEnv(start_kernel()).run(lambda env: env.os.pipe()) == (3, 4)


def test_tasks_left_over_end_with_the_program() -> None:
    env = TwinEnv(start_kernel())
    log: list[str] = []

    def forever(env: TwinEnv) -> None:
        try:
            env.os.read(env.os.pipe()[0], 1)
        finally:
            log.append("unwound")

    def program(env: TwinEnv) -> str:
        env.spawn(forever, env)
        env.yield_now()
        return "done"

    assert env.run(program) == "done"
    assert log == ["unwound"]


def test_two_hosts_share_a_baton_and_a_clock() -> None:
    first = TwinEnv(start_kernel())
    kernel = start_kernel(seed=2, clock=first.kernel.clock)
    second = TwinEnv(kernel, baton=first.baton)
    times: list[int] = []

    def other() -> None:
        second.sleep_ns(5_000_000)
        times.append(kernel.clock.now_ns)

    def program(env: TwinEnv) -> int:
        env.sleep_ns(9_000_000)
        return env.kernel.clock.now_ns

    first.baton.spawn(second.first, other)
    assert first.run(program) == 9_000_000
    assert times == [5_000_000]
