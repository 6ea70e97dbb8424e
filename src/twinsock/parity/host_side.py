"""A program on the live kernel, in a network namespace of its own: `python -m twinsock.parity.host_side REQUEST`.

The calling process moves into the namespace, so it is a child that ends with the program. Time of day starts where it does on the twin,
and the module random from the same seed, so that what programs print of both is equal as far as it can be."""

import ctypes
import fcntl
import gc
import json
import os
import resource
import sys
import time
from typing import Any

from twinsock.parity.program import FD_REPORT, PROC_FILES, SETTLE_S, Request, forget_stdlib, run_program, seed_random
from twinsock.parity.record import Recorder, wrap_os_calls, wrap_select_module, wrap_socket_module

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_PACKET_OUTGOING, _PACKET_STATISTICS = 4, 6
_SOL_PACKET, _SO_RCVBUFFORCE = 263, 33
CAPTURE_BYTES = 64 << 20


def unshare_net() -> bool:
    """Move into a network namespace of one's own; tell whether that took a user namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return False
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, f"no network namespace can be had: {os.strerror(error)}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def raise_loopback() -> None:
    """Set `lo` up."""
    import _socket

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM, 0)
    fcntl.ioctl(sock, _SIOCSIFFLAGS, b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, "little") + bytes(22))
    sock.close()


class Capture:
    """A packet socket on every device, read when the program has ended."""

    def __init__(self) -> None:
        import _socket

        sock = _socket.socket(_socket.AF_PACKET, _socket.SOCK_DGRAM, _socket.htons(3))
        try:
            sock.setsockopt(_socket.SOL_SOCKET, _SO_RCVBUFFORCE, CAPTURE_BYTES)
        except PermissionError:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, CAPTURE_BYTES)  # as much as the sysctl allows
        fd = os.dup2(sock.fileno(), FD_REPORT + 1, False)
        sock.close()
        self.sock = _socket.socket(_socket.AF_PACKET, _socket.SOCK_DGRAM, 0, fd)
        self.sock.setblocking(False)
        self.inode = os.fstat(fd).st_ino

    def packets(self) -> tuple[list[bytes], int]:
        """Return what went out, from the IP header on, and how many packets there was no room for."""
        found = []
        while True:
            try:
                data, address = self.sock.recvfrom(1 << 17)
            except BlockingIOError:
                break
            if address[2] == _PACKET_OUTGOING:
                found.append(data)
        lost = int.from_bytes(self.sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)[4:8], "little")
        return found, lost


def proc_texts(read: Any = os.read, opened: Any = os.open, close: Any = os.close) -> dict[str, str]:
    """Return the texts of /proc/net that are compared."""
    found = {}
    for name in PROC_FILES:
        try:
            fd = opened(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        data = b""
        while chunk := read(fd, 1 << 20):
            data += chunk
        close(fd)
        found[name] = data.decode("latin-1")
    return found


def _shift_clock(epoch_s: int) -> None:
    """Have the time of day start at an instant."""
    shift_ns = epoch_s * 1_000_000_000 - time.time_ns()
    real_ns, real_gmtime, real_localtime = time.time_ns, time.gmtime, time.localtime
    clock: Any = time
    clock.time_ns = lambda: real_ns() + shift_ns
    clock.time = lambda: (real_ns() + shift_ns) / 1e9
    clock.gmtime = lambda seconds=None: real_gmtime(clock.time() if seconds is None else seconds)
    clock.localtime = lambda seconds=None: real_localtime(clock.time() if seconds is None else seconds)


def main(request: Request) -> None:
    """Run the program and end the process."""
    recorder = Recorder(FD_REPORT)
    try:
        with_user = unshare_net()
        raise_loopback()
    except OSError as error:
        recorder.line("unavailable", str(error.strerror))
        os._exit(3)
    recorder.line("kernel", os.uname().release, with_user)
    for name, value in request.sysctls:
        try:
            with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
                file.write(value)
        except OSError as error:
            recorder.line("unavailable", f"the sysctl {name}: {error.strerror}")
            os._exit(3)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    capture = Capture() if request.packets else None
    if capture is not None:
        recorder.line("capture", capture.inode)
    import _socket
    import select

    forget_stdlib()
    sys.modules["_socket"] = wrap_socket_module(recorder, _socket)
    sys.modules["select"] = wrap_select_module(recorder, select)
    wrap_os_calls(recorder)
    seed_random(request.seed)
    _shift_clock(request.epoch_s)
    write_line, texts, sleep = recorder.line, proc_texts, time.sleep

    def settled() -> dict[str, str]:
        sleep(SETTLE_S)
        return texts()

    if request.every_call:
        recorder.after_call = settled
    gc.collect()

    def at_end(result: object) -> None:
        recorder.after_call = None
        write_line("result", recorder.plain(result))
        write_line("end", settled())
        if capture is not None:
            write_line("packets", *capture.packets())

    code = run_program(request, at_end)
    write_line("exit", code)
    os._exit(code)


if __name__ == "__main__":
    main(Request(**json.loads(sys.argv[1])))
