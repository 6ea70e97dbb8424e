"""Who may import whom: DESIGN's table of layers, and the order inside kernel/net."""

import sys

import pytest

from tests.arch.sources import Source, imports_of, is_below, sources

# Other layers of twinsock that a layer may import.
MAY_IMPORT = {
    "uapi": (),
    "wire": ("uapi",),
    "kernel": ("uapi", "wire"),
    "runtime": ("uapi", "wire", "kernel"),
    "host": ("uapi", "wire"),
    "inspect": ("uapi", "wire"),
    "explain": (
        "uapi",
        "kernel",
        "inspect.records",
        "inspect.owners",
        "inspect.facts",
        "inspect.links",
        "inspect.address",
        "inspect.unix",
        "inspect.findings",
    ),
    "parity": ("uapi", "wire", "kernel", "runtime"),
    "ui": ("uapi", "inspect", "explain", "runtime", "host", "parity"),
    "sim": ("uapi", "wire", "kernel", "runtime", "inspect", "ui"),
    "": ("ui", "sim"),
}

# What the table does not say, with the reason.
ALSO = {
    ("host", "inspect.owners"): "the records in which a KernelPort says who owns a socket",
    ("runtime", "inspect.owners"): "the same, for the twin",
}

# The standard library, where a layer may not use all of it at run time.
STANDARD = {
    "uapi": {"__future__"},
    "wire": {"__future__", "abc", "collections", "struct"},
    "kernel": {"__future__", "abc", "collections", "heapq", "mypy_extensions"},
}

# Doors to the outside: closed for a layer that does no I/O.
IO = """
    _socket asyncio ctypes fcntl glob http io mmap multiprocessing os pathlib select selectors shutil signal socket ssl
    subprocess tempfile threading time urllib
"""
NO_IO = {"explain": set(IO.split())}

# Packages from elsewhere, imported by name where they are what a file is for.
PACKAGES = {"src/twinsock/pytest_plugin.py": {"pytest"}}

# Inside kernel/net: a folder imports those of a lower rank and itself.
NET = "twinsock.kernel.net"
RANK = {"core": 0, "ipv4": 1, "unix": 1, "netlink": 1, "packet": 1, "sched": 1, "ipv6": 2}


def layer_violations(source: Source) -> list[str]:
    """Return the imports that the table of layers does not allow, one line each."""
    if source.layer not in MAY_IMPORT:
        return [f"{source.path}: the folder {source.layer}/ is in no table of layers"]
    bad = []
    own = f"twinsock.{source.layer}" if source.layer else "twinsock.__version__"
    extra = [package for layer, package in ALSO if layer == source.layer]
    allowed = [own, *(f"twinsock.{package}" for package in [*MAY_IMPORT[source.layer], *extra])]
    for item in imports_of(source):
        if item.top == "twinsock":
            ok = any(is_below(item.name, package) for package in allowed)
        elif item.only_types:
            ok = True
        elif source.layer in STANDARD:
            ok = item.top in STANDARD[source.layer]
        else:
            known = item.top in sys.stdlib_module_names or item.top in PACKAGES.get(source.path, ())
            ok = known and item.top not in NO_IO.get(source.layer, ())
        if not ok:
            bad.append(f"{source.path}:{item.line}: {source.layer or 'twinsock'} may not import {item.name}")
    return bad


def net_violations(source: Source) -> list[str]:
    """Return the imports inside kernel/net which go upwards or sideways; types alone may, as in a C header."""
    if not is_below(source.module, "twinsock.kernel"):
        return []
    own = _net_folder(source.module)
    bad = []
    for item in imports_of(source):
        theirs = _net_folder(item.name)
        if theirs not in RANK or theirs == own:
            continue
        if source.module == f"{NET}.socket":
            ok = theirs == "core"
        else:
            ok = item.only_types or own not in RANK or RANK[theirs] < RANK[own]
        if not ok:
            bad.append(f"{source.path}:{item.line}: kernel/net/{own} may not import {item.name}")
    return bad


def _net_folder(module: str) -> str:
    return module.removeprefix(NET + ".").partition(".")[0] if module.startswith(NET + ".") else ""


@pytest.mark.parametrize("check", [layer_violations, net_violations])
def test_every_import_follows_the_table_of_layers(check: object) -> None:
    assert callable(check)
    assert [line for source in sources("src") for line in check(source)] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("uapi/errno.py", "import struct"),
        ("uapi/errno.py", "from twinsock.wire import ip"),
        ("wire/ip.py", "import os"),
        ("wire/ip.py", "from twinsock.kernel.kernel import Kernel"),
        ("kernel/net/core/sock.py", "import random"),
        ("kernel/net/core/sock.py", "def f():\n    from time import monotonic"),
        ("kernel/net/core/sock.py", "from weakref import ref"),
        ("kernel/net/core/sock.py", "import twinsock.runtime.clock"),
        ("kernel/net/core/sock.py", "from .....runtime import clock"),
        ("runtime/clock.py", "from twinsock import host"),
        ("host/netlink.py", "from twinsock.kernel.kernel import Kernel"),
        ("host/netlink.py", "import psutil"),
        ("inspect/tables.py", "from twinsock.host.port import HostPort"),
        ("inspect/tables.py", "if TYPE_CHECKING:\n    from twinsock.kernel.kernel import Kernel"),
        ("explain/why.py", "from pathlib import Path"),
        ("explain/why.py", "from twinsock.host.port import HostPort"),
        ("ui/cli.py", "from twinsock.wire import ip"),
        ("ui/cli.py", "from twinsock.kernel.kernel import Kernel"),
        ("__init__.py", "from twinsock.kernel.kernel import Kernel"),
        ("misc/help.py", ""),
    ],
)
def test_an_import_against_the_layers_is_found(path: str, text: str) -> None:
    assert layer_violations(Source(f"src/twinsock/{path}", text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("core/sock.py", "from twinsock.kernel.net.ipv4.tcp import tcp_prot"),
        ("core/sock.py", "from twinsock.kernel.net import ipv4"),
        ("ipv4/tcp.py", "from twinsock.kernel.net.ipv6.tcp_ipv6 import tcpv6_prot"),
        ("unix/af_unix.py", "from twinsock.kernel.net.netlink.af_netlink import NetlinkSock"),
        ("ipv4/tcp.py", "def f():\n    from ..ipv6 import tcp_ipv6"),
        ("socket.py", "from twinsock.kernel.net.ipv4.af_inet import inet_create"),
        ("socket.py", "if TYPE_CHECKING:\n    from twinsock.kernel.net.ipv4.tcp import TcpSock"),
    ],
)
def test_an_import_upwards_inside_the_network_code_is_found(path: str, text: str) -> None:
    assert net_violations(Source(f"src/twinsock/kernel/net/{path}", text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("core/sock.py", "if TYPE_CHECKING:\n    from twinsock.kernel.net.ipv4.tcp import TcpSock"),
        ("ipv4/tcp.py", "from collections import deque\nfrom twinsock.kernel.net.core.sock import Sock"),
        ("ipv6/tcp_ipv6.py", "from twinsock.kernel.net.ipv4.tcp import TcpSock"),
        ("socket.py", "from twinsock.kernel.net.core.net import Socket"),
    ],
)
def test_an_import_downwards_or_of_a_type_is_allowed(path: str, text: str) -> None:
    source = Source(f"src/twinsock/kernel/net/{path}", text)
    assert layer_violations(source) + net_violations(source) == []


def test_every_exception_in_the_table_is_in_use() -> None:
    used = {
        (source.layer, package)
        for source in sources("src")
        for item in imports_of(source)
        for layer, package in ALSO
        if layer == source.layer and is_below(item.name, f"twinsock.{package}")
    }
    assert used == set(ALSO)
