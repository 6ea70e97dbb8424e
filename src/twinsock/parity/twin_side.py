"""A program on the twin, in virtual time: `python -m twinsock.parity.twin_side REQUEST`."""

import json
import os
import posix
import sys

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.proc.net import proc_net_text
from twinsock.kernel.fs.proc.root import proc_write
from twinsock.kernel.net.core.dev import NetDevice, dev_add_tap
from twinsock.kernel.net.core.protocol import PacketTap
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.parity.program import FD_REPORT, PROC_FILES, SETTLE_S, Request, run_program, seed_random
from twinsock.parity.record import Recorder, wrap_os_calls, wrap_select_module, wrap_socket_module
from twinsock.runtime.baton import Deadlock
from twinsock.runtime.facade import KilledBySignal
from twinsock.runtime.install import install
from twinsock.runtime.process import Process
from twinsock.runtime.runner import DEADLOCK, deadlock_text
from twinsock.runtime.settle import settle

REPORT = 4000  # where the descriptor is kept, away from those that stand for the twin's


class ListTap(PacketTap):
    """Keeps the packets that a device sends."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def deliver(self, skb: SkBuff, dev: NetDevice, outgoing: bool) -> None:
        """Keep a packet from its IP header on."""
        if outgoing:
            self.packets.append(skb.l3_bytes())


def proc_texts(host: Process) -> dict[str, str]:
    """Let things settle and return the texts of /proc/net that are compared."""
    host.sleep_ns(int(SETTLE_S * 1e9))
    net = host.first.net
    texts = {name: proc_net_text(net, name) for name in PROC_FILES}
    return {name: text for name, text in texts.items() if text is not None}


def _raise_limit() -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(REPORT + 96, hard), hard))


def main(request: Request) -> None:
    """Run the program and end the process."""
    _raise_limit()
    os.dup2(FD_REPORT, REPORT, False)
    os.close(FD_REPORT)
    recorder = Recorder(REPORT)
    kernel = start_kernel(request.seed)
    host = Process(kernel, request.seed, "twin")
    for name, value in request.sysctls:
        if proc_write(host.first, "/proc/sys/" + name.replace(".", "/"), value.encode()) < 0:
            recorder.line("unavailable", f"the twin has no sysctl {name}, or does not take {value}")
            posix._exit(3)
    tap = ListTap()
    if request.packets:
        dev_add_tap(kernel.init_net.dev_base[0], tap)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[os.getpid() % len(os.sched_getaffinity(0))]})
    install(host)
    sys.modules["_socket"] = wrap_socket_module(recorder, sys.modules["_socket"])
    sys.modules["select"] = wrap_select_module(recorder, sys.modules["select"])
    wrap_os_calls(recorder)
    seed_random(request.seed)
    if request.every_call:
        recorder.after_call = lambda: proc_texts(host)

    def at_end(result: object) -> None:
        recorder.after_call = None
        recorder.line("result", recorder.plain(result))
        recorder.line("end", proc_texts(host))
        recorder.line("packets", tap.packets, 0)

    def body() -> None:
        try:
            code = run_program(request, at_end)
        except KilledBySignal as killed:
            code = 128 + int(killed.args[0])
        recorder.line("exit", code)
        posix._exit(code)

    host.baton.spawn(host.first, body)
    host.baton.drive(host.first)
    failure = host.baton.failure
    if isinstance(failure, Deadlock):
        recorder.line("deadlock", deadlock_text(host))
        posix._exit(DEADLOCK)
    recorder.line("broken", repr(failure))
    posix._exit(1)


if __name__ == "__main__":
    os.set_inheritable(FD_REPORT, True)
    settle(0)
    main(Request(**json.loads(sys.argv[1])))
