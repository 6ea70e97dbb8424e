"""Puts the twin's leaf modules under the standard library, before the program imports anything.

What is already loaded and has taken hold of a real leaf module (threading, socket, random, ...) is forgotten, so that the program loads
it afresh on top of the twin; twinsock itself keeps the real ones. What cannot be put on the twin is fenced by an audit hook: it raises
`Escape`, which names the call and the way out (Twin: D-run-1)."""

import datetime
import gc
import importlib
import sys
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

from twinsock.runtime import serial
from twinsock.runtime.leaf import os_calls
from twinsock.runtime.process import Escape, Process, install_process, process

LEAVES = ("_socket", "select", "_thread", "time", "_signal")
# Modules of the standard library that hold on to a leaf, directly or through one another: forgotten where they are loaded.
FORGET = """
    _asyncio _queue _strptime asyncio calendar concurrent contextlib_ ctypes_ email http importlib.metadata_ logging multiprocessing
    queue random sched secrets selectors shutil signal socket socketserver ssl _ssl subprocess tempfile threading
    urllib uuid _threading_local tracemalloc_ unittest doctest pdb asyncore asynchat smtplib ftplib
"""
WAYS_OUT = {
    "subprocess": "run it outside the simulation, or pass --allow subprocess to let it see the real world",
    "fork": "use threads or asyncio, or pass --allow fork",
    "exec": "start the other program with a `twinsock run` of its own, or pass --allow exec",
    "socket": "use the module socket, which is the twin's, or pass --allow socket",
    "ctypes": "use the module socket, or pass --allow ctypes",
}
EVENTS = {
    "subprocess.Popen": ("subprocess", "subprocess.Popen()"),
    "os.system": ("subprocess", "os.system()"),
    "os.posix_spawn": ("subprocess", "os.posix_spawn()"),
    "os.spawn": ("subprocess", "os.spawn*()"),
    "os.fork": ("fork", "os.fork()"),
    "os.forkpty": ("fork", "os.forkpty()"),
    "os.exec": ("exec", "os.exec*()"),
    "socket.__new__": ("socket", "a socket of the host"),
    "socket.getaddrinfo": ("", ""),
}
_C_CALLS = """
    socket socketpair bind connect listen accept accept4 send sendto sendmsg recv recvfrom recvmsg epoll_create epoll_create1 epoll_wait
    poll ppoll select pselect fork vfork clone system popen posix_spawn nanosleep clock_nanosleep sleep usleep
"""
C_CALLS = frozenset(_C_CALLS.split())


def install(host: Process) -> None:
    """Put everything in place for one process."""
    install_process(host)
    leaves = {name: build(name) for name in LEAVES}
    forget()
    for name, module in leaves.items():
        sys.modules[name] = module
    sys.meta_path.insert(0, Absent())
    for name in (*ABSENT, *LATE):
        sys.modules.pop(name, None)
    thread = leaves["_thread"]
    importlib.import_module("functools").RLock = thread.RLock  # type: ignore[attr-defined]
    importlib.import_module("_frozen_importlib")._thread = thread  # type: ignore[attr-defined]
    os_calls.install()
    _install_datetime()
    _install_random()
    sys.addaudithook(lambda event, args: fence(event, args) if event in EVENTS or event == "ctypes.dlsym" else None)
    gc.collect()
    gc.freeze()


def build(name: str) -> ModuleType:
    """Make a leaf module: ours where we have the name, the constants of the real one, a fence for each other call."""
    real = importlib.import_module(name)
    ours = importlib.import_module(f"twinsock.runtime.leaf.{name}")
    module = ModuleType(name, real.__doc__)
    for key, value in vars(real).items():
        if key.startswith("__") or hasattr(ours, key):
            continue
        plain = isinstance(value, int | float | str | tuple) or key in PURE or type(value).__name__ == "PyCapsule"
        setattr(module, key, value if plain else _fenced(f"{name}.{key}"))
    for key in dir(real):
        if not key.startswith("__") and hasattr(ours, key):
            value = getattr(ours, key)
            if isinstance(value, FunctionType):
                value.__module__ = "signal" if name == "_signal" else name
            setattr(
                module, key, staticmethod(value) if isinstance(value, FunctionType) else value
            )  # as in C, no method where a class keeps it
    return module


ABSENT = ("_uuid",)
LATE = ("_queue", "_ssl")  # put on the twin when the program imports it

# functions which only convert
_PURE = "CMSG_LEN CMSG_SPACE getprotobyname getservbyname getservbyport htonl htons inet_aton inet_ntoa inet_ntop inet_pton ntohl ntohs"
PURE = frozenset(_PURE.split())


def _fenced(name: str) -> Any:
    """Make a function that says that it is not on the twin."""

    def refuse(*args: object, **kw: object) -> None:
        raise Escape(f"{name}() is not on the twin; leave it out there")

    refuse.__name__ = name.rpartition(".")[2]
    return refuse


class Absent:
    """Has imports of C modules that would wait for real, or ask the machine, fail: their users have code in Python for that.

    Those of LATE are made from the real module and ours; runtime/serial.py changes some of the standard library."""

    def __init__(self) -> None:
        self.inside = False  # the real module of LATE is being imported

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Refuse ABSENT, make LATE, know nothing of other names."""
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}: not on the twin", name=name)
        if name in serial.SERIAL:
            return serial.spec_of(name, path)
        return ModuleSpec(name, self) if name in LATE and not self.inside else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make the module: the real one's names, ours above them."""
        self.inside = True
        try:
            real = importlib.import_module(spec.name)
            ours = importlib.import_module(f"twinsock.runtime.leaf.{spec.name}")
        finally:
            self.inside = False
            sys.modules.pop(spec.name, None)
        module = ModuleType(spec.name, real.__doc__)
        own = [key for key in vars(ours) if key in vars(real) and not key.startswith("__")]
        module.__dict__.update({key: value for key, value in vars(real).items() if not key.startswith("__")})
        module.__dict__.update({key: vars(ours)[key] for key in own})
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it was made."""


def forget() -> None:
    """Forget modules which hold on to real leaves."""
    tops = FORGET.split()
    for name in list(sys.modules):
        if name.partition(".")[0] in tops:
            del sys.modules[name]


def fence(event: str, args: tuple[Any, ...]) -> None:
    """Refuse what would leave the simulation. Raises Escape."""
    if event == "ctypes.dlsym":
        symbol = args[1]
        if symbol not in C_CALLS:
            return
        kind, call = "ctypes", f"ctypes: the C function {symbol}()"
    else:
        kind, call = EVENTS[event]
    if kind and kind not in process().allowed:
        raise Escape(f"{call} would leave the simulation: {WAYS_OUT[kind]}")


def _install_datetime() -> None:
    """Have datetime.now() and utcnow() tell virtual time; the class stays the same."""
    clock = sys.modules["time"]

    def now(cls: Any, tz: Any = None) -> Any:
        """Return the time of day, virtual."""
        return cls.fromtimestamp(clock.time(), tz)

    def utcnow(cls: Any) -> Any:
        """Return the time of day in UTC, virtual."""
        return cls.utcfromtimestamp(clock.time())

    names: Any = gc.get_referents(datetime.datetime.__dict__)[0]
    names["now"] = classmethod(now)
    names["utcnow"] = classmethod(utcnow)
    sys._clear_type_cache()


def _install_random() -> None:
    """Seed the module random from the simulation instead of from the machine."""
    import random

    seed = random.Random.seed

    def seeded(self: Any, a: Any = None, version: int = 2) -> None:
        """Seed, from the simulation if nothing is given."""
        seed(self, int.from_bytes(process().random_bytes(32), "little") if a is None else a, version)

    random.Random.seed = seeded  # type: ignore[method-assign]
    instance: Any = random._inst
    random.seed = instance.seed
    random.seed()
