"""Calls everything that the leaf modules of this Python have, once: prints what each call did, one line each, for two kernels to compare.

A name whose call would hang, or change the machine, is called so that it fails before that."""

import _queue
import _signal
import _socket
import _thread
import os
import select
import time

_signal.signal(_signal.SIGALRM, lambda *args: None)
_signal.signal(_signal.SIGUSR1, lambda *args: None)
_a, _b = _socket.socketpair()
_server = _socket.socket()
_server.bind(("127.0.0.1", 0))
_server.listen()
_udp = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
_epoll = select.epoll()
_poll = select.poll()
_lock = _thread.allocate_lock()
_rlock = _thread.RLock()
_queue_ = _queue.SimpleQueue()


def _soon() -> None:
    """Have a signal sent in a moment."""
    _signal.setitimer(_signal.ITIMER_REAL, 0.05)


def _blocked() -> set[int]:
    _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGUSR1])
    os.kill(os.getpid(), _signal.SIGUSR1)
    return {_signal.SIGUSR1}


def _sent() -> None:
    _a.send(b"data")


def _connected() -> None:
    _soon_client = _socket.socket()
    _soon_client.connect(_server.getsockname())
    _kept.append(_soon_client)


_kept: list[object] = []
_ROOM = bytearray(10)
CALLS = {
    "_socket": {
        "CAPI": lambda: type(_socket.CAPI).__name__,
        "CMSG_LEN": lambda: _socket.CMSG_LEN(4),
        "CMSG_SPACE": lambda: _socket.CMSG_SPACE(4),
        "SocketType": lambda: _socket.SocketType is _socket.socket,
        "close": lambda: _socket.close(_socket.socket().detach()),
        "dup": lambda: _kept.append(_socket.socket(fileno=_socket.dup(_udp.fileno()))),
        "error": lambda: _socket.error is OSError,
        "gaierror": lambda: issubclass(_socket.gaierror, OSError),
        "getaddrinfo": lambda: len(_socket.getaddrinfo("127.0.0.1", 80)),
        "getdefaulttimeout": lambda: _socket.getdefaulttimeout(),
        "gethostbyaddr": lambda: _socket.gethostbyaddr("127.0.0.1")[0],
        "gethostbyname": lambda: _socket.gethostbyname("localhost"),
        "gethostbyname_ex": lambda: _socket.gethostbyname_ex("localhost")[2],
        "gethostname": lambda: type(_socket.gethostname()),
        "getnameinfo": lambda: _socket.getnameinfo(("127.0.0.1", 80), _socket.NI_NUMERICHOST | _socket.NI_NUMERICSERV),
        "getprotobyname": lambda: _socket.getprotobyname("tcp"),
        "getservbyname": lambda: _socket.getservbyname("http", "tcp"),
        "getservbyport": lambda: _socket.getservbyport(80, "tcp"),
        "has_ipv6": lambda: _socket.has_ipv6,
        "herror": lambda: issubclass(_socket.herror, OSError),
        "htonl": lambda: _socket.htonl(1),
        "htons": lambda: _socket.htons(1),
        "if_indextoname": lambda: _socket.if_indextoname(1),
        "if_nameindex": lambda: _socket.if_nameindex()[0],
        "if_nametoindex": lambda: _socket.if_nametoindex("lo"),
        "inet_aton": lambda: _socket.inet_aton("1.2.3.4"),
        "inet_ntoa": lambda: _socket.inet_ntoa(b"abcd"),
        "inet_ntop": lambda: _socket.inet_ntop(_socket.AF_INET, b"abcd"),
        "inet_pton": lambda: _socket.inet_pton(_socket.AF_INET6, "::1"),
        "ntohl": lambda: _socket.ntohl(1),
        "ntohs": lambda: _socket.ntohs(1),
        "setdefaulttimeout": lambda: _socket.setdefaulttimeout(None),
        "sethostname": lambda: _socket.sethostname("x" * 65),
        "socket": lambda: _socket.socket().family,
        "socketpair": lambda: len(_socket.socketpair()),
        "timeout": lambda: _socket.timeout is TimeoutError,
    },
    "_socket.socket": {
        "_accept": lambda: (_connected(), _socket.close(_server._accept()[0]))[1],
        "bind": lambda: _socket.socket().bind(("127.0.0.1", 0)),
        "close": lambda: _socket.socket().close(),
        "connect": lambda: _connected(),
        "connect_ex": lambda: _socket.socket().connect_ex(("127.0.0.1", 1)),
        "detach": lambda: _socket.close(_socket.socket().detach()),
        "family": lambda: _udp.family,
        "fileno": lambda: type(_udp.fileno()),
        "getblocking": lambda: _udp.getblocking(),
        "getpeername": lambda: _udp.getpeername(),
        "getsockname": lambda: _udp.getsockname(),
        "getsockopt": lambda: _udp.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE),
        "gettimeout": lambda: _udp.gettimeout(),
        "listen": lambda: _socket.socket().listen(),
        "proto": lambda: _socket.socket().proto,
        "recv": lambda: (_sent(), _b.recv(10))[1],
        "recv_into": lambda: (_sent(), _b.recv_into(_ROOM))[1],
        "recvfrom": lambda: (_sent(), _b.recvfrom(10))[1],
        "recvfrom_into": lambda: (_sent(), _b.recvfrom_into(_ROOM))[1],
        "recvmsg": lambda: (_sent(), _b.recvmsg(10))[1],
        "recvmsg_into": lambda: (_sent(), _b.recvmsg_into([_ROOM]))[1],
        "send": lambda: (_a.send(b"data"), _b.recv(10)),
        "sendall": lambda: (_a.sendall(b"data"), _b.recv(10)),
        "sendmsg": lambda: (_a.sendmsg([b"da", b"ta"]), _b.recv(10)),
        "sendmsg_afalg": lambda: _a.sendmsg_afalg([b"x"], op=0),
        "sendto": lambda: _udp.sendto(b"x", ("127.0.0.1", 9)),
        "setblocking": lambda: _udp.setblocking(True),
        "setsockopt": lambda: _udp.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1),
        "settimeout": lambda: _udp.settimeout(5),
        "shutdown": lambda: _socket.socket().shutdown(2),
        "timeout": lambda: _udp.timeout,
        "type": lambda: _udp.type,
    },
    "select": {
        "epoll": lambda: select.epoll().fileno() > 2,
        "error": lambda: select.error is OSError,
        "poll": lambda: select.poll().poll(0),
        "select": lambda: select.select([], [], [], 0),
    },
    "select.epoll": {
        "close": lambda: select.epoll().close(),
        "closed": lambda: _epoll.closed,
        "fileno": lambda: type(_epoll.fileno()),
        "fromfd": lambda: select.epoll.fromfd(os.dup(_epoll.fileno())).closed,
        "modify": lambda: _epoll.modify(_server, select.EPOLLIN),
        "poll": lambda: _epoll.poll(0),
        "register": lambda: _epoll.register(_server),
        "unregister": lambda: (_epoll.register(_udp), _epoll.unregister(_udp)),
    },
    "select.poll": {
        "modify": lambda: _poll.modify(_server, select.POLLIN),
        "poll": lambda: _poll.poll(0),
        "register": lambda: _poll.register(_server, select.POLLIN),
        "unregister": lambda: (_poll.register(_udp), _poll.unregister(_udp)),
    },
    "_thread": {
        "LockType": lambda: isinstance(_lock, _thread.LockType),
        "_ThreadHandle": lambda: _thread._ThreadHandle().is_done(),
        "_get_main_thread_ident": lambda: type(_thread._get_main_thread_ident()),
        "_make_thread_handle": lambda: _thread._make_thread_handle(7).ident,
        "_shutdown": lambda: _thread._shutdown(),
        "start_joinable_thread": lambda: _thread.start_joinable_thread(lambda: time.sleep(0.01)).join(),
        "RLock": lambda: _thread.RLock().acquire(),
        "_ExceptHookArgs": lambda: _thread._ExceptHookArgs.__name__,
        "_count": lambda: _thread._count(),
        "_excepthook": lambda: callable(_thread._excepthook),
        "_is_main_interpreter": lambda: _thread._is_main_interpreter(),
        "_local": lambda: vars(_thread._local()),
        "_set_sentinel": lambda: _thread._set_sentinel().locked(),
        "allocate": lambda: _thread.allocate().locked(),
        "allocate_lock": lambda: _thread.allocate_lock().locked(),
        "daemon_threads_allowed": lambda: _thread.daemon_threads_allowed(),
        "error": lambda: _thread.error is RuntimeError,
        "exit": lambda: _thread.exit(),
        "exit_thread": lambda: _thread.exit_thread(),
        "get_ident": lambda: type(_thread.get_ident()),
        "get_native_id": lambda: type(_thread.get_native_id()),
        "interrupt_main": lambda: _thread.interrupt_main(_signal.SIGUSR1),
        "lock": lambda: _thread.lock is _thread.LockType,
        "stack_size": lambda: _thread.stack_size(),
        "start_new": lambda: (_thread.start_new(_kept.append, (1,)), None)[1],
        "start_new_thread": lambda: (_thread.start_new_thread(_kept.append, (1,)), None)[1],
    },
    "_thread.lock": {
        "_at_fork_reinit": lambda: _thread.allocate_lock()._at_fork_reinit(),
        "acquire": lambda: _lock.acquire(),
        "acquire_lock": lambda: _lock.acquire_lock(False),
        "locked": lambda: _lock.locked(),
        "locked_lock": lambda: _lock.locked_lock(),
        "release": lambda: _lock.release(),
        "release_lock": lambda: _lock.release_lock(),
    },
    "_thread.RLock": {
        "_acquire_restore": lambda: _rlock._acquire_restore((1, _thread.get_ident())),
        "_at_fork_reinit": lambda: _thread.RLock()._at_fork_reinit(),
        "_is_owned": lambda: _rlock._is_owned(),
        "_recursion_count": lambda: _rlock._recursion_count(),
        "_release_save": lambda: _rlock._release_save()[0],
        "acquire": lambda: _rlock.acquire(timeout=1),
        "release": lambda: _thread.RLock().release(),
    },
    "time": {
        "asctime": lambda: len(time.asctime()),
        "clock_getres": lambda: time.clock_getres(time.CLOCK_MONOTONIC),
        "clock_gettime": lambda: type(time.clock_gettime(time.CLOCK_REALTIME)),
        "clock_gettime_ns": lambda: type(time.clock_gettime_ns(time.CLOCK_BOOTTIME)),
        "clock_settime": lambda: time.clock_settime(99, 1.0),
        "clock_settime_ns": lambda: time.clock_settime_ns(99, 1),
        "ctime": lambda: time.ctime(0),
        "get_clock_info": lambda: time.get_clock_info("monotonic").monotonic,
        "gmtime": lambda: time.gmtime(0).tm_year,
        "localtime": lambda: len(time.localtime()),
        "mktime": lambda: type(time.mktime(time.localtime(0))),
        "monotonic": lambda: type(time.monotonic()),
        "monotonic_ns": lambda: type(time.monotonic_ns()),
        "perf_counter": lambda: type(time.perf_counter()),
        "perf_counter_ns": lambda: type(time.perf_counter_ns()),
        "process_time": lambda: type(time.process_time()),
        "process_time_ns": lambda: type(time.process_time_ns()),
        "pthread_getcpuclockid": lambda: type(time.pthread_getcpuclockid(_thread.get_ident())),
        "sleep": lambda: time.sleep(0.01),
        "strftime": lambda: time.strftime("%Y", time.gmtime(0)),
        "strptime": lambda: time.strptime("1970", "%Y").tm_year,
        "struct_time": lambda: time.struct_time(range(9)).tm_mon,
        "thread_time": lambda: type(time.thread_time()),
        "thread_time_ns": lambda: type(time.thread_time_ns()),
        "time": lambda: type(time.time()),
        "time_ns": lambda: type(time.time_ns()),
        "tzname": lambda: type(time.tzname),
        "tzset": lambda: time.tzset(),
    },
    "_signal": {
        "ItimerError": lambda: issubclass(_signal.ItimerError, OSError),
        "alarm": lambda: _signal.alarm(0),
        "default_int_handler": lambda: _signal.default_int_handler(2, None),
        "getitimer": lambda: _signal.getitimer(_signal.ITIMER_REAL),
        "getsignal": lambda: callable(_signal.getsignal(_signal.SIGALRM)),
        "pause": lambda: (_soon(), _signal.pause())[1],
        "pidfd_send_signal": lambda: _signal.pidfd_send_signal(-1, 0),
        "pthread_kill": lambda: _signal.pthread_kill(_thread.get_ident(), _signal.SIGUSR1),
        "pthread_sigmask": lambda: _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGUSR2]),
        "raise_signal": lambda: _signal.raise_signal(_signal.SIGUSR1),
        "set_wakeup_fd": lambda: _signal.set_wakeup_fd(-1),
        "setitimer": lambda: _signal.setitimer(_signal.ITIMER_VIRTUAL, 0),
        "siginterrupt": lambda: _signal.siginterrupt(_signal.SIGUSR1, False),
        "signal": lambda: callable(_signal.signal(_signal.SIGUSR1, lambda *args: None)),
        "sigpending": lambda: _signal.sigpending(),
        "sigtimedwait": lambda: (_signal.sigtimedwait(_blocked(), 1).si_signo, _signal.sigtimedwait([_signal.SIGUSR1], 0.01)),
        "sigwait": lambda: _signal.sigwait(_blocked()),
        "sigwaitinfo": lambda: _signal.sigwaitinfo(_blocked()).si_signo,
        "strsignal": lambda: _signal.strsignal(2),
        "struct_siginfo": lambda: _signal.struct_siginfo(range(7)).si_code,
        "valid_signals": lambda: len(_signal.valid_signals()),
    },
    "_queue": {
        "Empty": lambda: issubclass(_queue.Empty, Exception),
        "SimpleQueue": lambda: _queue.SimpleQueue().empty(),
    },
    "_queue.SimpleQueue": {
        "empty": lambda: _queue_.empty(),
        "get": lambda: _queue_.get(timeout=0.01),
        "get_nowait": lambda: _queue_.get_nowait(),
        "put": lambda: _queue_.put(1),
        "put_nowait": lambda: _queue_.put_nowait(2),
        "qsize": lambda: _queue_.qsize(),
    },
}
PLACES = {
    "_socket": _socket,
    "_socket.socket": _socket.socket,
    "select": select,
    "select.epoll": select.epoll,
    "select.poll": type(_poll),
    "_thread": _thread,
    "_thread.lock": _thread.LockType,
    "_thread.RLock": _thread.RLock,
    "time": time,
    "_signal": _signal,
    "_queue": _queue,
    "_queue.SimpleQueue": _queue.SimpleQueue,
}


def names(place: object) -> list[str]:
    """List what a module or class has of its own, without dunder names; constants as name=value."""
    found = []
    for name in sorted(dir(place)):
        value = getattr(place, name)
        if isinstance(value, int | float) and not isinstance(value, bool) and not isinstance(place, type):
            found.append(f"{name}={value}")
        elif not name.startswith("__"):
            found.append(name)
    return found


def outcome(call: object) -> str:
    """Make a call; say what came of it."""
    try:
        return repr(call())  # type: ignore[operator]
    except BaseException as error:
        return f"{type(error).__name__} {getattr(error, 'errno', None)}"


if __name__ == "__main__":
    for where, place in PLACES.items():
        here = names(place)
        for name in here:
            plain = name.partition("=")[0]
            if "=" in name or plain in ("timezone", "altzone", "daylight", "tzname"):
                print(f"{where}.{name}")
            else:
                print(f"{where}.{name}: {outcome(CALLS[where][name]) if name in CALLS[where] else 'no call here: add one'}")
