"""`struct net`: a network namespace with its tables, sysctls and counters (Linux: net/core/net_namespace.c, include/net/netns/*.h).

Sysctls sit in fields that keep Linux's name; net/core/sysctl tables map their /proc/sys path, range and errors to them."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.kernel.net.core.addrs import AddressView
from twinsock.kernel.net.core.netns_tcp import NetnsTcp
from twinsock.kernel.sched.task import UserNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.neighbour import NeighTable
    from twinsock.kernel.net.core.protocol import NetProtocol, PacketTap
    from twinsock.kernel.net.core.sock import Proto, Sock
    from twinsock.kernel.net.ipv4.bind_observer import BindObserver
    from twinsock.kernel.net.ipv4.devinet import Ipv4Devconf
    from twinsock.kernel.net.ipv4.fib_table import FibTables
    from twinsock.kernel.net.ipv4.icmp import IcmpState
    from twinsock.kernel.net.ipv4.inet_fragment import FqdirBase
    from twinsock.kernel.net.ipv4.inet_hashtables import InetHashinfo
    from twinsock.kernel.net.ipv4.udp_table import UdpTable
    from twinsock.kernel.net.ipv6.addrconf import Ipv6Devconf
    from twinsock.kernel.net.ipv6.route import Fib6Tables
    from twinsock.kernel.net.unix.unix_sock import NetnsUnix
    from twinsock.kernel.sched.task import Task


@mypyc_attr(allow_interpreted_subclasses=True)
class PernetOperations:
    """`struct pernet_operations`: what a subsystem does when a namespace comes and goes."""

    def init(self, net: Net) -> None:
        """Set the namespace up."""

    def exit(self, net: Net) -> None:
        """Take down what `init` made; runs in the reverse order of registration."""


class NetnsCore:
    """`struct netns_core`."""

    def __init__(self) -> None:
        self.sysctl_somaxconn = 4096
        self.sysctl_optmem_max = 131072
        self.sysctl_txrehash = 1


class NetnsIpv4(NetnsTcp):
    """`struct netns_ipv4`: the sysctls of net.ipv4 that belong to a namespace (defaults: sheet 01, 1.10)."""

    def __init__(self) -> None:
        super().__init__()
        self.ip_local_ports_low = 32768
        self.ip_local_ports_high = 60999
        self.sysctl_local_reserved_ports: list[tuple[int, int]] = []  # sorted (low, high) ranges
        self.sysctl_ip_prot_sock = 1024  # ip_unprivileged_port_start
        self.sysctl_ip_nonlocal_bind = 0
        self.sysctl_ip_autobind_reuse = 0
        self.sysctl_tcp_tw_reuse = 2
        self.sysctl_tcp_tw_reuse_delay = 1000
        self.sysctl_tcp_l3mdev_accept = 0
        self.sysctl_udp_l3mdev_accept = 0
        self.sysctl_raw_l3mdev_accept = 1
        self.sysctl_ip_default_ttl = 64
        self.sysctl_ip_no_pmtu_disc = 0
        self.sysctl_ip_fwd_use_pmtu = 0
        self.sysctl_ip_early_demux = 1
        self.sysctl_icmp_echo_ignore_all = 0
        self.sysctl_icmp_echo_ignore_broadcasts = 1
        self.sysctl_icmp_ignore_bogus_error_responses = 1
        self.sysctl_icmp_errors_use_inbound_ifaddr = 0
        self.sysctl_icmp_ratelimit = 1000  # ms per message and peer
        self.sysctl_icmp_ratemask = 6168
        self.sysctl_icmp_msgs_per_sec = 1000
        self.sysctl_icmp_msgs_burst = 50
        self.sysctl_igmp_max_memberships = 20
        self.sysctl_igmp_max_msf = 10
        self.ping_group_range = [1, 0]  # low above high: nobody
        self.sysctl_udp_rmem_min = 4096
        self.sysctl_udp_wmem_min = 4096
        self.ip_rt_min_pmtu = 552
        self.ip_rt_mtu_expires_ms = 600_000
        self.sysctl_udp_early_demux = 1
        self.ip_rt_min_advmss = 256
        self.rt_genid = 1  # routes of another generation are looked up again
        self.devconf_all: Ipv4Devconf | None = None  # net.ipv4.conf.all; None until IPv4 is registered
        self.devconf_dflt: Ipv4Devconf | None = None
        self.fib: FibTables | None = None
        self.arp_tbl: NeighTable | None = None
        self.icmp: IcmpState | None = None
        self.fqdir: FqdirBase | None = None  # reassembly


class NetnsIpv6:
    """`struct netns_ipv6`: the sysctls of net.ipv6 that belong to a namespace."""

    def __init__(self) -> None:
        self.sysctl_bindv6only = 0
        self.sysctl_ip_nonlocal_bind = 0
        self.sysctl_auto_flowlabels = 1
        self.sysctl_flowlabel_consistency = 1
        self.sysctl_icmpv6_echo_ignore_all = 0
        self.sysctl_icmpv6_echo_ignore_multicast = 0
        self.sysctl_icmpv6_ratelimit = 100  # ms per message and peer
        self.ip6_rt_mtu_expires_ms = 600_000
        self.sysctl_icmpv6_ratemask: list[tuple[int, int]] = [(0, 1), (3, 127)]
        self.sysctl_icmpv6_echo_ignore_anycast = 0
        self.sysctl_anycast_src_echo_reply = 0
        self.ip6_rt_min_advmss = 1220
        self.rt_genid = 1
        self.devconf_all: Ipv6Devconf | None = None
        self.devconf_dflt: Ipv6Devconf | None = None
        self.fib: Fib6Tables | None = None
        self.nd_tbl: NeighTable | None = None
        self.fqdir: FqdirBase | None = None


class Net:
    """A network namespace."""

    def __init__(self, kernel: Kernel, user_ns: UserNamespace) -> None:
        self.kernel = kernel
        self.user_ns = user_ns
        self.inum = kernel.new_ns_inode()
        self.net_cookie = kernel.gen_net_cookie()
        self.count = 1  # references that keep it alive: tasks, user sockets, open nsfs files
        self.core = NetnsCore()
        self.ipv4 = NetnsIpv4()
        self.ipv6 = NetnsIpv6()
        self.unx: NetnsUnix | None = None  # made when the family is registered
        self.nl_socks: list[list[Sock]] = []  # netlink sockets that own a port id, by protocol
        self.packet_socks: list[Sock] = []
        self.sockets_used = 0  # "sockets: used" of /proc/net/sockstat
        self.prot_inuse: list[int] = [0] * 64  # by Proto.inuse_idx
        self.tcp_hashinfo: InetHashinfo | None = None  # made by the first TCP socket
        self.udp_table: UdpTable | None = None  # made by the first UDP socket
        self.udplite_table: UdpTable | None = None
        self.addrs = AddressView()  # which addresses are ours
        self.bind_observer: BindObserver | None = None  # told why bind(2) says no
        self.dev_base: list[NetDevice] = []  # in order of ifindex of creation
        self.loopback_dev: NetDevice | None = None
        self.ifindex = 0  # the last one given
        self.ptype_all: list[PacketTap] | None = None  # taps on every device
        self.inet_protos: list[NetProtocol | None] = kernel.inet_protos
        self.inet6_protos: list[NetProtocol | None] = kernel.inet6_protos
        # counters, indexed by the constants of uapi/snmp.py
        self.ip_statistics = [0] * 38
        self.icmp_statistics = [0] * 29
        self.icmpmsg_statistics = [0] * 512  # by type: received, then sent at 256 + type
        self.tcp_statistics = [0] * 15
        self.net_statistics = [0] * 135
        self.udp_statistics = [0] * 9
        self.udplite_statistics = [0] * 9
        self.ip6_statistics = [0] * 39  # IPSTATS_MIB_*, IP6STATS_MIB_INTOOBIGERRORS last
        self.icmp6_statistics = [0] * 6  # ICMP6_MIB_*
        self.icmp6msg_statistics = [0] * 512
        self.udp6_statistics = [0] * 9
        self.udplite6_statistics = [0] * 9
        kernel.nets.append(self)

    def sock_prot_inuse_add(self, prot: Proto, val: int) -> None:
        """Count a socket entering (+1) or leaving (-1) the protocol's tables."""
        self.prot_inuse[prot.inuse_idx] += val

    def is_init_net(self) -> bool:
        """Tell whether this is the namespace the host booted with."""
        return self is self.kernel.init_net


def get_net(net: Net) -> Net:
    """Take a reference."""
    net.count += 1
    return net


def put_net(net: Net) -> None:
    """Drop a reference; the last one destroys the namespace."""
    net.count -= 1
    if net.count == 0:
        cleanup_net(net)


def setup_net(net: Net) -> None:
    """Run every subsystem's init for a new namespace."""
    for ops in net.kernel.pernet_list:
        ops.init(net)


def cleanup_net(net: Net) -> None:
    """Run every subsystem's exit, newest first, and forget the namespace."""
    kernel = net.kernel
    for i in range(len(kernel.pernet_list) - 1, -1, -1):
        kernel.pernet_list[i].exit(net)
    for i in range(len(kernel.nets)):
        if kernel.nets[i] is net:
            del kernel.nets[i]
            break


def copy_net_ns(task: Task) -> Net:
    """Make a namespace owned by the task's user namespace; the reference belongs to the caller."""
    net = Net(task.kernel, task.cred.user_ns)
    setup_net(net)
    return net


def register_pernet_subsys(kernel: Kernel, ops: PernetOperations) -> None:
    """Have `ops` set up every namespace, those that exist already first."""
    kernel.pernet_list.append(ops)
    for net in kernel.nets:
        ops.init(net)
