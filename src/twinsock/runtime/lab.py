"""Small networks to try things in: namespaces of one twin, and cables between them, as `ip netns` and `ip link` would make them."""

from twinsock.kernel.boot import net_init_loopback
from twinsock.kernel.drivers.veth import veth_newlink
from twinsock.kernel.fs.proc.net import read_proc_net
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import NetDevice, dev_open
from twinsock.kernel.net.core.net_namespace import copy_net_ns
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.runtime.facade import TwinEnv
from twinsock.wire.ip import parse_addr


def new_namespace(kernel: Kernel) -> TwinEnv:
    """Make a network namespace with `lo` up and a process in it: what `ip netns add` and `ip netns exec` do."""
    net = copy_net_ns(kernel.tasks[0])
    net_init_loopback(net)
    return TwinEnv(kernel, net)


def connect_namespaces(left: TwinEnv, left_address: str, right: TwinEnv, right_address: str) -> None:
    """Join two namespaces by a veth pair named eth0 at both ends; an address is written 10.0.0.1/24. Raises OSError, ValueError."""
    err, *ends = veth_newlink(left.task.net, "eth0", right.task.net, "eth0")
    left.check(err)
    for env, end, address in ((left, ends[0], left_address), (right, ends[1], right_address)):
        assert end is not None
        _configure(env, end, address)


def _configure(env: TwinEnv, dev: NetDevice, address: str) -> None:
    host, slash, length = address.partition("/")
    if not slash or not length.isdecimal() or int(length) > 32:
        raise ValueError(f"an address is written 10.0.0.1/24, not {address!r}")
    env.check(inet_insert_ifa(dev, InIfaddr(parse_addr(host), int(length))))
    env.check(dev_open(dev))


def read_proc(env: TwinEnv, name: str) -> str:
    """Return the text of /proc/net/NAME as the environment's process sees it."""
    return read_proc_net(env.task, name)
