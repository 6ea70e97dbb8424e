"""/proc/sys/net: which entries there are, who sees and may write them, what they do (Linux: net/sysctl_net.c and the tables beside
the protocols).

    sysctl_read(task, "net/core/somaxconn")            (0, "4096\\n")
    sysctl_write(task, "net/core/somaxconn", b"128")   0 or -errno

Most entries are numbers in a field. An entry of the initial namespace alone does not exist elsewhere (-ENOENT); a few are shown
read-only there (-EACCES)."""

from __future__ import annotations

from twinsock.kernel import sysctl
from twinsock.kernel.net.core.dev import dev_get_by_name
from twinsock.kernel.net.core.neighbour import NeighParms
from twinsock.kernel.net.ipv4.devinet import inet_forward_change
from twinsock.kernel.net.ipv4.inet_fragment import FqdirBase
from twinsock.kernel.net.ipv4.tcp_cong_init import AVAILABLE
from twinsock.kernel.net.ipv6.addrconf import addrconf_forward_change, dev_disable_change, dev_forward_change
from twinsock.kernel.net.sysctl_tables import DEVCONF_BOOLS, FS, IPV4, IPV6, NEIGH, NET_CORE, UNIX, make_table
from twinsock.kernel.sysctl import CtlTable
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EACCES, EINVAL, ENOENT, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

_TABLE: Final[dict[str, CtlTable]] = make_table(NET_CORE + IPV4 + IPV6 + UNIX + FS)
_IPV6_MIN_MTU: Final = 1280
_ETHERNET_TRUESIZE: Final = 2090  # what a frame of 1514 bytes counts in a queue


def sysctl_find(net: Net, path: str) -> CtlTable | None:
    """Return the entry that a namespace shows under a path, or None."""
    entry = _TABLE.get(path)
    if entry is None:
        return _devconf_entry(net, path) or _neigh_entry(net, path)
    if entry.global_only and not net.is_init_net():
        return None
    return entry if hasattr(_holder(net, entry), entry.field) else None


def sysctl_list(net: Net) -> list[str]:
    """Return every path below /proc/sys/net that the namespace shows, sorted; net.*.conf.* aside."""
    return sorted([path for path in _TABLE if sysctl_find(net, path) is not None])


def sysctl_mode(net: Net, entry: CtlTable) -> int:
    """Return the mode that the namespace shows."""
    return entry.mode if net.is_init_net() else entry.mode & entry.child_mode


def _devconf_entry(net: Net, path: str) -> CtlTable | None:
    """Return an entry of net.ipv4.conf.* or net.ipv6.conf.*, whose fields are named like the files."""
    parts = path.split("/")
    if len(parts) != 5 or parts[0] != "net" or parts[2] != "conf":
        return None
    if parts[1] == "ipv6" and parts[4] == "mtu":
        return _mtu6_entry(net, path, parts[3])
    entry = CtlTable(path, f"{parts[1]}/{parts[3]}", parts[4])
    holder = _holder(net, entry)
    if holder is None or not isinstance(getattr(holder, parts[4], None), int):
        return None
    if parts[4] in DEVCONF_BOOLS:
        entry.low, entry.high = 0, 1
    return entry


def _mtu6_entry(net: Net, path: str, which: str) -> CtlTable | None:
    """Return net.ipv6.conf.*.mtu: a device's lies between IPv6's least and its own."""
    entry = CtlTable(path, f"mtu6/{which}", "mtu6", sysctl.INT, _IPV6_MIN_MTU)
    dev = dev_get_by_name(net, which)
    if dev is not None:
        entry.high = dev.mtu
    return entry if _holder(net, entry) is not None else None


def _neigh_entry(net: Net, path: str) -> CtlTable | None:
    """Return an entry of net.ipv4.neigh.* or net.ipv6.neigh.*."""
    parts = path.split("/")
    if len(parts) != 5 or parts[0] != "net" or parts[2] != "neigh":
        return None
    for name, field, kind4, kind6 in NEIGH:
        if name == parts[4]:
            kind = kind4 if parts[1] == "ipv4" else kind6
            entry = CtlTable(
                path, f"neigh-{parts[1]}/{parts[3]}", field, kind, sysctl.INT_MIN if kind in (sysctl.SECONDS, sysctl.TICKS) else 0
            )
            return entry if _holder(net, entry) is not None else None
    return None


def sysctl_folders(net: Net) -> list[str]:
    """Return the paths of net.*.conf.* and net.*.neigh.*, sorted."""
    found: list[str] = []
    for family, conf in (("ipv4", net.ipv4.devconf_dflt), ("ipv6", net.ipv6.devconf_dflt)):
        names = [] if conf is None else conf.names()
        devices = [dev.name for dev in net.dev_base]
        paths = [f"net/{family}/conf/{which}/{name}" for which in ("all", "default", *devices) for name in names]
        paths += [f"net/{family}/neigh/{which}/{name}" for which in ("default", *devices) for name, *_rest in NEIGH]
        found += [path for path in paths if sysctl_find(net, path) is not None]
    return sorted(found)


def _holder(net: Net, entry: CtlTable) -> object:
    """Return the object that has an entry's field."""
    name = entry.holder
    if name == "core":
        return net.core
    if name == "ipv4":
        return net.ipv4
    if name == "ipv6":
        return net.ipv6
    if name == "unix":
        return getattr(net, "unx", None)
    if name == "kernel":
        return net.kernel
    family, _, which = name.partition("/")
    if family == "mtu6" and which not in ("all", "default"):
        dev6 = dev_get_by_name(net, which)
        return None if dev6 is None else dev6.ip6_ptr
    if family.startswith("neigh-"):
        return _neigh_parms(net, family == "neigh-ipv4", which)
    netns = net.ipv4 if family == "ipv4" else net.ipv6
    if which == "all":
        return netns.devconf_all
    if which == "frag":
        return netns.fqdir
    if which == "default":
        return netns.devconf_dflt
    for dev in net.dev_base:
        if dev.name == which:
            in_dev = getattr(dev, "ip_ptr" if family == "ipv4" else "ip6_ptr", None)
            return getattr(in_dev, "cnf", None)
    return None


def _neigh_parms(net: Net, ipv4: bool, which: str) -> NeighParms | None:
    """Return the neighbour parameters of a device, or the defaults."""
    table = net.ipv4.arp_tbl if ipv4 else net.ipv6.nd_tbl
    if table is None:
        return None
    if which == "default":
        return table.parms if net.is_init_net() else None
    dev = dev_get_by_name(net, which)
    return None if dev is None else table.parms_of(dev)


def net_ctl_permissions(task: Task, net: Net, entry: CtlTable) -> int:
    """Return the rwx bits that the task has on an entry."""
    mode = sysctl_mode(net, entry)
    if task.ns_capable(net.user_ns, CAP_NET_ADMIN) or task.cred.euid == net.user_ns.owner:
        return mode >> 6 & 7
    if task.cred.egid == 0:
        return mode >> 3 & 7
    return mode & 7


def _get(net: Net, entry: CtlTable) -> list[int]:
    value = getattr(_holder(net, entry), entry.field)
    return value if isinstance(value, list) else [value]


def _put(net: Net, entry: CtlTable, values: list[int]) -> None:
    holder = _holder(net, entry)
    value = getattr(holder, entry.field)
    if isinstance(value, list):
        value[:] = values
    else:
        setattr(holder, entry.field, values[0])


def sysctl_read(task: Task, path: str) -> tuple[int, str]:
    """Read an entry: (0, text), or (-ENOENT or -EACCES, nothing)."""
    net = task.net
    entry = sysctl_find(net, path)
    if entry is None:
        return -ENOENT, ""
    if not net_ctl_permissions(task, net, entry) & 4:
        return -EACCES, ""
    return 0, sysctl_show(net, entry)


def sysctl_show(net: Net, entry: CtlTable) -> str:
    """Return the text of an entry."""
    ipv4 = net.ipv4
    if entry.kind == sysctl.PORT_RANGE:
        return sysctl.format_ints([ipv4.ip_local_ports_low, ipv4.ip_local_ports_high])
    if entry.kind == sysctl.BITMAP:
        return sysctl.format_bitmap(getattr(_holder(net, entry), entry.field))
    if entry.kind == sysctl.NAMES:
        return " ".join(getattr(_holder(net, entry), entry.field)) + "\n"
    if entry.kind == sysctl.FILE_NR:
        return sysctl.format_ints([net.kernel.nr_files, 0, net.kernel.file_max])
    if entry.kind == sysctl.FASTOPEN_KEY:
        return _show_fastopen_key(net)
    if entry.kind == sysctl.STRING:
        return f"{getattr(_holder(net, entry), entry.field)}\n"
    values = _get(net, entry)
    clock = net.kernel.clock
    if entry.kind == sysctl.JIFFIES:
        values = [value // clock.hz for value in values]
    elif entry.kind == sysctl.MS_JIFFIES:
        values = [value * 1000 // clock.hz for value in values]
    elif entry.kind == sysctl.USERHZ:
        return ("-" if values[0] < 0 else "") + sysctl.format_ints([abs(values[0]) * clock.hz // 1000 * 100 // clock.hz])
    elif entry.kind in (sysctl.SECONDS, sysctl.TICKS):
        values = [value // (1000 if entry.kind == sysctl.SECONDS else 1000 // clock.hz) for value in values]
    elif entry.kind == sysctl.QUEUE:
        values = [value // _ETHERNET_TRUESIZE for value in values]
    return sysctl.format_ints(values)


def sysctl_write(task: Task, path: str, text: bytes) -> int:
    """Write an entry at offset 0: 0 or -errno."""
    net = task.net
    entry = sysctl_find(net, path)
    if entry is None:
        return -ENOENT
    if not net_ctl_permissions(task, net, entry) & 2:
        return -EACCES
    if not text:
        return 0
    return sysctl_store(net, entry, text)


def sysctl_store(net: Net, entry: CtlTable, text: bytes) -> int:
    """Parse a text into an entry: 0 or -EINVAL."""
    kind = entry.kind
    if kind == sysctl.PORT_RANGE:
        return ipv4_local_port_range(net, text)
    if kind == sysctl.PRIV_PORT:
        return ipv4_privileged_ports(net, entry, text)
    if kind == sysctl.BITMAP:
        err, ranges = sysctl.parse_bitmap(text, entry.high + 1)
        if not err:
            setattr(_holder(net, entry), entry.field, ranges)
        return err
    if kind == sysctl.NAMES:
        return _store_names(net, entry, text)
    if kind == sysctl.PING_RANGE:
        return ipv4_ping_group_range(net, entry, text)
    if kind == sysctl.STRING:
        return _store_string(net, entry, text)
    if kind == sysctl.FASTOPEN_KEY:
        return _store_fastopen_key(net, text)
    if entry.field == "sysctl_tcp_reordering":
        entry = CtlTable(entry.path, entry.holder, entry.field, kind, 1, getattr(net.ipv4, "sysctl_tcp_max_reordering", 300))
    if entry.field in ("high_thresh", "low_thresh"):
        entry = _frag_limits(net, entry)
    old = list(_get(net, entry))
    values = list(old)
    if kind in (sysctl.U8, sysctl.UINT):
        err = sysctl.write_uint(text, values, entry)
    elif kind == sysctl.ULONG:
        err = sysctl.write_ulongs(text, values, entry)
    elif kind in (sysctl.MS_JIFFIES, sysctl.MSECS):
        err = sysctl.write_msecs(text, values)
        ticks = net.kernel.clock.msecs_to_jiffies(values[0])
        if not err:
            values[0] = ticks if kind == sysctl.MS_JIFFIES else ticks * 1000 // net.kernel.clock.hz
    else:
        err = _write_scaled(net, text, values, entry)
    if not err or kind not in (sysctl.MS_JIFFIES, sysctl.MSECS):
        if kind == sysctl.ACTION:
            values = [old[0] + 1]
        _put(net, entry, values)
        if entry.holder.startswith("neigh-"):
            neigh_proc_update(net, entry, values[0])
        elif values != old:
            _changed(net, entry, old[0], values[0])
    return err


def _write_scaled(net: Net, text: bytes, values: list[int], entry: CtlTable) -> int:
    """Parse numbers in the unit of the text into the unit of the field: 0 or -EINVAL."""
    kind, hz = entry.kind, net.kernel.clock.hz
    if kind == sysctl.JIFFIES:
        return sysctl.write_ints(text, values, entry, hz)
    if kind == sysctl.USERHZ:
        return sysctl.write_userhz(text, values, hz)
    if kind == sysctl.ACTION and entry.path.startswith("net/ipv4/"):
        return 0  # Linux: whatever is written
    if kind == sysctl.TICKS:
        err = sysctl.write_ints(text, values, entry, 1)
        if not err:
            values[0] = values[0] * 1000 // hz
        return err
    scale = _ETHERNET_TRUESIZE if kind == sysctl.QUEUE else 1000 if kind == sysctl.SECONDS else 1
    return sysctl.write_ints(text, values, entry, scale)


def neigh_proc_update(net: Net, entry: CtlTable, value: int) -> None:
    """A default holds for every device that has no value of its own; the time to trust an answer is drawn anew."""
    ipv4 = entry.holder.startswith("neigh-ipv4")
    table = net.ipv4.arp_tbl if ipv4 else net.ipv6.nd_tbl
    which = entry.holder.partition("/")[2]
    parms = _neigh_parms(net, ipv4, which)
    if table is None or parms is None:
        return
    changed = [parms]
    if which == "default":
        for dev in net.dev_base:
            other = table.parms_of(dev)
            if entry.field not in other.own:
                setattr(other, entry.field, value)
                changed.append(other)
    elif entry.field not in parms.own:
        parms.own.append(entry.field)
    if entry.field == "base_reachable_time_ms":
        for other in changed:
            other.reachable_time_ns = table.draw_reachable_time(other)


def _frag_limits(net: Net, entry: CtlTable) -> CtlTable:
    """Bound the two limits of reassembly memory by each other."""
    fqdir = _holder(net, entry)
    assert isinstance(fqdir, FqdirBase)
    if entry.field == "high_thresh":
        return CtlTable(entry.path, entry.holder, entry.field, entry.kind, fqdir.low_thresh, entry.high)
    return CtlTable(entry.path, entry.holder, entry.field, entry.kind, 0, fqdir.high_thresh)


def _changed(net: Net, entry: CtlTable, old: int, new: int) -> None:
    """Do what follows from another value of a net.*.conf.* entry."""
    family, _, which = entry.holder.partition("/")
    if entry.field == "forwarding" and family == "ipv4":
        devinet_sysctl_forward(net, which, new)
    elif entry.field == "forwarding":
        addrconf_fixup_forwarding(net, which, old, new)
    elif entry.field == "mtu6" and net.ipv6.fib is not None:
        net.ipv6.fib.flush_cache()
    elif entry.field == "disable_ipv6":
        addrconf_disable_ipv6(net, which, old, new)


def devinet_sysctl_forward(net: Net, which: str, new: int) -> None:
    """Routes depend on forwarding; `all` changes every device and the default."""
    if which == "all":
        inet_forward_change(net, new)
    elif net.ipv4.fib is not None:
        net.ipv4.fib.flush_cache()


def addrconf_fixup_forwarding(net: Net, which: str, old: int, new: int) -> None:
    """A device becomes a router or a host; `all` changes every device and the default."""
    if which == "all":
        addrconf_forward_change(net, new)
        return
    dev = dev_get_by_name(net, which)
    if dev is not None and dev.ip6_ptr is not None:
        dev.ip6_ptr.cnf.forwarding = old
        dev_forward_change(dev.ip6_ptr, new)


def addrconf_disable_ipv6(net: Net, which: str, old: int, new: int) -> None:
    """Take IPv6 away from a device, or give it back; `all` changes every device and the default."""
    if which != "all":
        dev = dev_get_by_name(net, which)
        if dev is not None and dev.ip6_ptr is not None:
            dev_disable_change(dev.ip6_ptr, old, new)
        return
    if net.ipv6.devconf_dflt is not None:
        net.ipv6.devconf_dflt.disable_ipv6 = new
    for dev in net.dev_base:
        if dev.ip6_ptr is not None:
            before = dev.ip6_ptr.cnf.disable_ipv6
            dev.ip6_ptr.cnf.disable_ipv6 = new
            dev_disable_change(dev.ip6_ptr, before, new)


def _store_string(net: Net, entry: CtlTable, text: bytes) -> int:
    value = text.split(b"\n")[0].split(b"\0")[0].strip().decode("latin-1")
    if value not in AVAILABLE:
        return -ENOENT
    if not net.is_init_net() and value not in net.kernel.tcp_allowed_cc:
        return -EPERM
    setattr(_holder(net, entry), entry.field, value)
    return 0


def _store_names(net: Net, entry: CtlTable, text: bytes) -> int:
    """tcp_allowed_congestion_control: those that exist, else -ENOENT."""
    names = text.decode("latin-1").split("\0")[0].split()
    if any(name not in AVAILABLE for name in names):
        return -ENOENT
    setattr(_holder(net, entry), entry.field, [name for name in AVAILABLE if name in names])
    return 0


def sysctl_add_ranges(net: Net, entry: CtlTable, text: bytes) -> int:
    """Add to a list of numbers, as a write behind the beginning does: 0 or -EINVAL."""
    err, ranges = sysctl.parse_bitmap(text, entry.high + 1)
    if not err:
        holder = _holder(net, entry)
        setattr(holder, entry.field, sysctl.merge_ranges(getattr(holder, entry.field) + ranges))
    return err


def _show_fastopen_key(net: Net) -> str:
    """Write the keys of TCP Fast Open: four words each, zeros before there is one."""
    ops = net.kernel.fastopen_ops
    key = b"" if ops is None else ops.net_key(net)
    words = [f"{int.from_bytes(key[i : i + 4], 'little'):08x}" for i in range(0, len(key), 4)] or ["00000000"] * 4
    return ",".join(["-".join(words[i : i + 4]) for i in range(0, len(words), 4)]) + "\n"


def _store_fastopen_key(net: Net, text: bytes) -> int:
    """Read one or two keys, `%x-%x-%x-%x` each; what follows a whole key is ignored."""
    ops = net.kernel.fastopen_ops
    key = b""
    for part in text.decode("latin-1").split(",", 1):
        fields = part.strip().split("-", 3)
        if len(fields) < 4:
            return -EINVAL
        for i, field in enumerate(fields):
            digits = _hex_prefix(field) if i == 3 else field
            if not digits or _hex_prefix(digits) != digits:
                return -EINVAL
            key += (int(digits, 16) & 0xFFFFFFFF).to_bytes(4, "little")
    if ops is not None:
        ops.set_net_key(net, key)
    return 0


def _hex_prefix(text: str) -> str:
    end = 0
    while end < len(text) and text[end] in "0123456789abcdefABCDEF":
        end += 1
    return text[:end]


def ipv4_local_port_range(net: Net, text: bytes) -> int:
    """ip_local_port_range: two ports in order, not below ip_unprivileged_port_start."""
    ipv4 = net.ipv4
    ports = [ipv4.ip_local_ports_low, ipv4.ip_local_ports_high]
    err = sysctl.write_ints(text, ports, CtlTable("", "", "", sysctl.INT, 1, 65535), 1)
    if err:
        return err
    if ports[1] < ports[0] or ports[0] < ipv4.sysctl_ip_prot_sock:
        return -EINVAL
    if not (ports[0] ^ ports[1]) & 1:
        net.kernel.log.append("ip_local_port_range: prefer different parity for start/end values.")
    ipv4.ip_local_ports_low, ipv4.ip_local_ports_high = ports[0], ports[1]
    return 0


def ipv4_privileged_ports(net: Net, entry: CtlTable, text: bytes) -> int:
    """ip_unprivileged_port_start: not above the range of automatic ports."""
    ports = [net.ipv4.sysctl_ip_prot_sock]
    err = sysctl.write_ints(text, ports, entry, 1)
    if err:
        return err
    if net.ipv4.ip_local_ports_low < ports[0]:
        return -EINVAL
    net.ipv4.sysctl_ip_prot_sock = ports[0]
    return 0


def ipv4_ping_group_range(net: Net, entry: CtlTable, text: bytes) -> int:
    """ping_group_range: a pair of groups; a pair in the wrong order allows nobody."""
    groups = list(_get(net, entry))
    err = sysctl.write_ulongs(text, groups, entry)
    if err:
        return err
    if groups[0] == sysctl.UINT_MAX or groups[1] == sysctl.UINT_MAX:
        return -EINVAL
    _put(net, entry, [1, 0] if groups[1] < groups[0] else groups)
    return 0
