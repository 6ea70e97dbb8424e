"""Starting a host: the kernel, its protocol families and the initial namespace (Linux: init/main.c and the initcalls).

Each family has one function that registers it. They run in Linux's order, which shows in /proc/net/protocols."""

from twinsock.kernel.drivers.loopback import loopback_init
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import dev_open
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.ipv4.inet_init import inet_init
from twinsock.kernel.net.ipv4.ip_init import ip_init
from twinsock.kernel.net.ipv4.tcp_init import tcp_init
from twinsock.kernel.net.ipv6.inet6_init import inet6_init
from twinsock.kernel.net.ipv6.ip6_init import ip6_init
from twinsock.kernel.net.ipv6.tcp_ipv6 import tcpv6_init
from twinsock.kernel.net.netlink_init import netlink_protocols_init
from twinsock.kernel.net.packet.af_packet import packet_init
from twinsock.kernel.net.unix.af_unix import af_unix_init
from twinsock.kernel.sched.task import Task
from twinsock.kernel.time.timer import Clock


def start_kernel(seed: int = 0, clock: Clock | None = None) -> Kernel:
    """Boot a host with every protocol family; `init_net` exists, and pid 1 is `kernel.tasks[0]`."""
    kernel = Kernel(seed, clock)
    do_initcalls(kernel)
    net_init_loopback(kernel.init_net)
    kernel.new_task("init")
    return kernel


def do_initcalls(kernel: Kernel) -> None:
    """Register subsystems and families, each before those that need it."""
    netlink_protocols_init(kernel)
    ip_init(kernel)
    tcp_init(kernel)
    inet_init(kernel)
    af_unix_init(kernel)
    ip6_init(kernel)
    tcpv6_init(kernel)
    inet6_init(kernel)
    packet_init(kernel)
    loopback_init(kernel)


def net_init_loopback(net: Net) -> None:
    """Bring a namespace's `lo` up, as start-up scripts do."""
    if net.loopback_dev is not None:
        dev_open(net.loopback_dev)


def init_task(kernel: Kernel) -> Task:
    """Return pid 1, whose descriptor table, credentials and namespaces programs inherit."""
    return kernel.tasks[0]
