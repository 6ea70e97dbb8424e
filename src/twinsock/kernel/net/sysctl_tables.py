"""The entries of /proc/sys/net that a behaviour of the twin reads: path, field, kind and range (Linux: net/core/sysctl_net_core.c,
net/ipv4/sysctl_net_ipv4.c, net/ipv6/sysctl_net_ipv6.c, net/unix/sysctl_net_unix.c).

A line is `file holder field kind low high`; the bounds may be left out. `g` before the file: in the initial namespace alone; `r`: read-only
in other namespaces.

Twin: D-sysctl-1: an entry that nothing in the twin reads does not exist."""

from __future__ import annotations

from twinsock.kernel import sysctl
from twinsock.kernel.sysctl import CtlTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_KINDS: Final[dict[str, int]] = {
    "int": sysctl.INT,
    "u8": sysctl.U8,
    "uint": sysctl.UINT,
    "ulong": sysctl.ULONG,
    "jiffies": sysctl.JIFFIES,
    "ms_jiffies": sysctl.MS_JIFFIES,
    "msecs": sysctl.MSECS,
    "port_range": sysctl.PORT_RANGE,
    "priv_port": sysctl.PRIV_PORT,
    "bitmap": sysctl.BITMAP,
    "ping_range": sysctl.PING_RANGE,
    "string": sysctl.STRING,
    "fastopen_key": sysctl.FASTOPEN_KEY,
    "seconds": sysctl.SECONDS,
    "userhz": sysctl.USERHZ,
    "ticks": sysctl.TICKS,
    "queue": sysctl.QUEUE,
    "action": sysctl.ACTION,
    "file_nr": sysctl.FILE_NR,
    "names": sysctl.NAMES,
}

NET_CORE: Final = """
core/somaxconn core sysctl_somaxconn int 0
core/optmem_max core sysctl_optmem_max int 0
core/txrehash core sysctl_txrehash u8 0 1
r core/rmem_max kernel sysctl_rmem_max int 2304
r core/wmem_max kernel sysctl_wmem_max int 4608
r core/rmem_default kernel sysctl_rmem_default int 2304
r core/wmem_default kernel sysctl_wmem_default int 4608
g core/max_skb_frags kernel sysctl_max_skb_frags int 1 17
g core/mem_pcpu_rsv kernel sysctl_mem_pcpu_rsv int 256
g core/netdev_max_backlog kernel netdev_max_backlog int
"""

FS: Final = """
fs/file-max kernel file_max ulong
fs/file-nr kernel nr_files file_nr
fs/nr_open kernel nr_open uint 8 2147483584
fs/epoll/max_user_watches kernel max_user_watches ulong
"""

UNIX: Final = """
unix/max_dgram_qlen unix sysctl_max_dgram_qlen int
"""

IPV4: Final = """
ipv4/ip_local_port_range ipv4 - port_range
ipv4/ip_local_reserved_ports ipv4 sysctl_local_reserved_ports bitmap 0 65535
ipv4/ip_unprivileged_port_start ipv4 sysctl_ip_prot_sock priv_port 0 65535
ipv4/ip_nonlocal_bind ipv4 sysctl_ip_nonlocal_bind u8
ipv4/ip_autobind_reuse ipv4 sysctl_ip_autobind_reuse u8 0 1
ipv4/ip_default_ttl ipv4 sysctl_ip_default_ttl u8 1 255
ipv4/ip_no_pmtu_disc ipv4 sysctl_ip_no_pmtu_disc u8
ipv4/ip_forward_use_pmtu ipv4 sysctl_ip_fwd_use_pmtu u8
ipv4/ip_early_demux ipv4 sysctl_ip_early_demux u8
ipv4/ping_group_range ipv4 ping_group_range ping_range 0 4294967294
ipv4/icmp_echo_ignore_all ipv4 sysctl_icmp_echo_ignore_all u8 0 1
ipv4/icmp_echo_ignore_broadcasts ipv4 sysctl_icmp_echo_ignore_broadcasts u8 0 1
ipv4/icmp_ignore_bogus_error_responses ipv4 sysctl_icmp_ignore_bogus_error_responses u8 0 1
ipv4/icmp_errors_use_inbound_ifaddr ipv4 sysctl_icmp_errors_use_inbound_ifaddr u8 0 1
ipv4/icmp_ratemask ipv4 sysctl_icmp_ratemask int
ipv4/icmp_msgs_per_sec ipv4 sysctl_icmp_msgs_per_sec int 0
ipv4/icmp_msgs_burst ipv4 sysctl_icmp_msgs_burst int 0
ipv4/ip_forward ipv4/all forwarding int
ipv4/ipfrag_high_thresh ipv4/frag high_thresh ulong
ipv4/ipfrag_low_thresh ipv4/frag low_thresh ulong
ipv4/ipfrag_time ipv4/frag timeout jiffies
ipv4/ipfrag_max_dist ipv4/frag max_dist int 0
ipv4/icmp_ratelimit ipv4 sysctl_icmp_ratelimit msecs
ipv4/route/min_pmtu ipv4 ip_rt_min_pmtu int 68
ipv4/route/min_adv_mss ipv4 ip_rt_min_advmss int
ipv4/route/mtu_expires ipv4 ip_rt_mtu_expires_ms seconds
ipv4/route/flush ipv4 rt_genid action
ipv4/igmp_max_memberships ipv4 sysctl_igmp_max_memberships int
ipv4/igmp_max_msf ipv4 sysctl_igmp_max_msf int
ipv4/udp_rmem_min ipv4 sysctl_udp_rmem_min int 1
ipv4/udp_wmem_min ipv4 sysctl_udp_wmem_min int 1
ipv4/udp_l3mdev_accept ipv4 sysctl_udp_l3mdev_accept u8 0 1
ipv4/raw_l3mdev_accept ipv4 sysctl_raw_l3mdev_accept u8 0 1
ipv4/tcp_l3mdev_accept ipv4 sysctl_tcp_l3mdev_accept u8 0 1
ipv4/tcp_rmem ipv4 sysctl_tcp_rmem int 1
ipv4/tcp_wmem ipv4 sysctl_tcp_wmem int 1
ipv4/tcp_max_syn_backlog ipv4 sysctl_max_syn_backlog int
ipv4/tcp_max_tw_buckets ipv4 sysctl_max_tw_buckets int
ipv4/tcp_syncookies ipv4 sysctl_tcp_syncookies u8
ipv4/tcp_syn_retries ipv4 sysctl_tcp_syn_retries u8 1 127
ipv4/tcp_synack_retries ipv4 sysctl_tcp_synack_retries u8
ipv4/tcp_syn_linear_timeouts ipv4 sysctl_tcp_syn_linear_timeouts u8 0 127
ipv4/tcp_retries1 ipv4 sysctl_tcp_retries1 u8 0 255
ipv4/tcp_retries2 ipv4 sysctl_tcp_retries2 u8
ipv4/tcp_orphan_retries ipv4 sysctl_tcp_orphan_retries u8
ipv4/tcp_fin_timeout ipv4 sysctl_tcp_fin_timeout jiffies
ipv4/tcp_keepalive_time ipv4 sysctl_tcp_keepalive_time jiffies
ipv4/tcp_keepalive_intvl ipv4 sysctl_tcp_keepalive_intvl jiffies
ipv4/tcp_keepalive_probes ipv4 sysctl_tcp_keepalive_probes u8
ipv4/tcp_abort_on_overflow ipv4 sysctl_tcp_abort_on_overflow u8
ipv4/tcp_migrate_req ipv4 sysctl_tcp_migrate_req u8 0 1
ipv4/tcp_tw_reuse ipv4 sysctl_tcp_tw_reuse u8 0 2
ipv4/tcp_tw_reuse_delay ipv4 sysctl_tcp_tw_reuse_delay uint 1 60000
ipv4/tcp_stdurg ipv4 sysctl_tcp_stdurg u8
ipv4/tcp_rfc1337 ipv4 sysctl_tcp_rfc1337 u8
ipv4/tcp_timestamps ipv4 sysctl_tcp_timestamps u8
ipv4/tcp_window_scaling ipv4 sysctl_tcp_window_scaling u8
ipv4/tcp_sack ipv4 sysctl_tcp_sack u8
ipv4/tcp_dsack ipv4 sysctl_tcp_dsack u8
ipv4/tcp_ecn ipv4 sysctl_tcp_ecn u8 0 2
ipv4/tcp_ecn_fallback ipv4 sysctl_tcp_ecn_fallback u8 0 1
ipv4/tcp_early_retrans ipv4 sysctl_tcp_early_retrans u8 0 4
ipv4/tcp_recovery ipv4 sysctl_tcp_recovery u8
ipv4/tcp_thin_linear_timeouts ipv4 sysctl_tcp_thin_linear_timeouts u8
ipv4/tcp_slow_start_after_idle ipv4 sysctl_tcp_slow_start_after_idle u8
ipv4/tcp_retrans_collapse ipv4 sysctl_tcp_retrans_collapse u8
ipv4/tcp_reordering ipv4 sysctl_tcp_reordering int 1 300
ipv4/tcp_max_reordering ipv4 sysctl_tcp_max_reordering int 1
ipv4/tcp_frto ipv4 sysctl_tcp_frto u8
ipv4/tcp_no_metrics_save ipv4 sysctl_tcp_nometrics_save u8
ipv4/tcp_no_ssthresh_metrics_save ipv4 sysctl_tcp_no_ssthresh_metrics_save u8 0 1
ipv4/tcp_moderate_rcvbuf ipv4 sysctl_tcp_moderate_rcvbuf u8
ipv4/tcp_tso_win_divisor ipv4 sysctl_tcp_tso_win_divisor u8
ipv4/tcp_limit_output_bytes ipv4 sysctl_tcp_limit_output_bytes int
ipv4/tcp_challenge_ack_limit ipv4 sysctl_tcp_challenge_ack_limit int
ipv4/tcp_min_tso_segs ipv4 sysctl_tcp_min_tso_segs u8 1
ipv4/tcp_tso_rtt_log ipv4 sysctl_tcp_tso_rtt_log u8
ipv4/tcp_min_rtt_wlen ipv4 sysctl_tcp_min_rtt_wlen int 0 86400
ipv4/tcp_autocorking ipv4 sysctl_tcp_autocorking u8 0 1
ipv4/tcp_invalid_ratelimit ipv4 sysctl_tcp_invalid_ratelimit ms_jiffies
ipv4/tcp_pacing_ss_ratio ipv4 sysctl_tcp_pacing_ss_ratio int 0 1000
ipv4/tcp_pacing_ca_ratio ipv4 sysctl_tcp_pacing_ca_ratio int 0 1000
ipv4/tcp_mtu_probing ipv4 sysctl_tcp_mtu_probing u8
ipv4/tcp_mtu_probe_floor ipv4 sysctl_tcp_mtu_probe_floor int 48 65535
ipv4/tcp_base_mss ipv4 sysctl_tcp_base_mss int
ipv4/tcp_min_snd_mss ipv4 sysctl_tcp_min_snd_mss int 48 65535
ipv4/tcp_probe_threshold ipv4 sysctl_tcp_probe_threshold int
ipv4/tcp_probe_interval ipv4 sysctl_tcp_probe_interval uint 0 17179869
ipv4/tcp_notsent_lowat ipv4 sysctl_tcp_notsent_lowat uint 0 4294967295
ipv4/tcp_comp_sack_delay_ns ipv4 sysctl_tcp_comp_sack_delay_ns ulong
ipv4/tcp_comp_sack_slack_ns ipv4 sysctl_tcp_comp_sack_slack_ns ulong
ipv4/tcp_comp_sack_nr ipv4 sysctl_tcp_comp_sack_nr u8
ipv4/tcp_backlog_ack_defer ipv4 sysctl_tcp_backlog_ack_defer u8 0 1
ipv4/tcp_reflect_tos ipv4 sysctl_tcp_reflect_tos u8 0 1
ipv4/tcp_adv_win_scale ipv4 sysctl_tcp_adv_win_scale int -31 31
ipv4/tcp_app_win ipv4 sysctl_tcp_app_win u8 0 31
ipv4/tcp_shrink_window ipv4 sysctl_tcp_shrink_window u8 0 1
ipv4/tcp_fwmark_accept ipv4 sysctl_tcp_fwmark_accept u8
ipv4/tcp_early_demux ipv4 sysctl_tcp_early_demux u8
ipv4/tcp_workaround_signed_windows ipv4 sysctl_tcp_workaround_signed_windows u8
ipv4/tcp_fastopen ipv4 sysctl_tcp_fastopen int
ipv4/tcp_fastopen_key ipv4 tcp_fastopen_ctx fastopen_key
ipv4/tcp_fastopen_blackhole_timeout_sec ipv4 sysctl_tcp_fastopen_blackhole_timeout int 0
ipv4/tcp_rto_min_us ipv4 sysctl_tcp_rto_min_us int 1
ipv4/tcp_rto_max_ms ipv4 sysctl_tcp_rto_max_ms int 1000 120000
ipv4/tcp_pingpong_thresh ipv4 sysctl_tcp_pingpong_thresh u8 1
ipv4/tcp_congestion_control ipv4 tcp_congestion_control string
ipv4/tcp_available_congestion_control kernel tcp_available_cc names
ipv4/tcp_allowed_congestion_control kernel tcp_allowed_cc names
ipv4/udp_early_demux ipv4 sysctl_udp_early_demux u8
g ipv4/tcp_mem kernel sysctl_tcp_mem ulong
g ipv4/udp_mem kernel sysctl_udp_mem ulong
g ipv4/tcp_max_orphans kernel sysctl_tcp_max_orphans int
"""

IPV6: Final = """
ipv6/bindv6only ipv6 sysctl_bindv6only u8
ipv6/ip_nonlocal_bind ipv6 sysctl_ip_nonlocal_bind u8
ipv6/auto_flowlabels ipv6 sysctl_auto_flowlabels u8 0 3
ipv6/flowlabel_consistency ipv6 sysctl_flowlabel_consistency u8
ipv6/icmp/echo_ignore_all ipv6 sysctl_icmpv6_echo_ignore_all u8
ipv6/icmp/echo_ignore_multicast ipv6 sysctl_icmpv6_echo_ignore_multicast u8
ipv6/ip6frag_high_thresh ipv6/frag high_thresh ulong
ipv6/ip6frag_low_thresh ipv6/frag low_thresh ulong
ipv6/ip6frag_time ipv6/frag timeout jiffies
ipv6/route/min_adv_mss ipv6 ip6_rt_min_advmss int
ipv6/route/mtu_expires ipv6 ip6_rt_mtu_expires_ms seconds
ipv6/route/flush ipv6 rt_genid action
ipv6/icmp/ratelimit ipv6 sysctl_icmpv6_ratelimit msecs
ipv6/icmp/ratemask ipv6 sysctl_icmpv6_ratemask bitmap 0 255
ipv6/icmp/echo_ignore_anycast ipv6 sysctl_icmpv6_echo_ignore_anycast u8
ipv6/anycast_src_echo_reply ipv6 sysctl_anycast_src_echo_reply u8
"""

# net.*.neigh.DEVICE.*: file, field of NeighParms, kind for IPv4, kind for IPv6
NEIGH: Final[tuple[tuple[str, str, int, int], ...]] = (
    ("base_reachable_time", "base_reachable_time_ms", sysctl.SECONDS, sysctl.SECONDS),
    ("base_reachable_time_ms", "base_reachable_time_ms", sysctl.MSECS, sysctl.MSECS),
    ("delay_first_probe_time", "delay_first_probe_time_ms", sysctl.SECONDS, sysctl.SECONDS),
    ("locktime", "locktime_ms", sysctl.USERHZ, sysctl.USERHZ),
    ("mcast_resolicit", "mcast_resolicit", sysctl.INT, sysctl.INT),
    ("mcast_solicit", "mcast_solicit", sysctl.INT, sysctl.INT),
    ("retrans_time", "retrans_time_ms", sysctl.USERHZ, sysctl.TICKS),
    ("retrans_time_ms", "retrans_time_ms", sysctl.MSECS, sysctl.MSECS),
    ("ucast_solicit", "ucast_solicit", sysctl.INT, sysctl.INT),
    ("unres_qlen", "unres_qlen_bytes", sysctl.QUEUE, sysctl.QUEUE),
    ("unres_qlen_bytes", "unres_qlen_bytes", sysctl.INT, sysctl.INT),
)

# files of net.*.conf.* that take 0 and 1 only
DEVCONF_BOOLS: Final[tuple[str, ...]] = ("ioam6_enabled", "force_forwarding", "ra_honor_pio_life", "ra_honor_pio_pflag")


def make_table(text: str) -> dict[str, CtlTable]:
    """Read the lines of the tables above."""
    table: dict[str, CtlTable] = {}
    for line in text.split("\n"):
        words = line.split()
        if not words:
            continue
        flag = words.pop(0) if len(words[0]) == 1 else ""
        low = int(words[4]) if len(words) > 4 else sysctl.INT_MIN
        high = int(words[5]) if len(words) > 5 else sysctl.ULONG_MAX if words[3] == "ulong" else sysctl.INT_MAX
        field = "ip_local_ports_low" if words[2] == "-" else words[2]
        path = words[0] if words[0].startswith("fs/") else "net/" + words[0]
        entry = CtlTable(path, words[1], field, _KINDS[words[3]], low, high)
        entry.global_only = flag == "g"
        if entry.kind == sysctl.FASTOPEN_KEY:
            entry.mode = 0o600
        elif entry.kind == sysctl.ACTION:
            entry.mode = 0o200
        elif entry.kind == sysctl.FILE_NR or entry.field == "tcp_available_cc":
            entry.mode = 0o444
        entry.child_mode = 0o444 if flag == "r" or entry.field == "tcp_allowed_cc" else entry.mode
        table[entry.path] = entry
    return table
