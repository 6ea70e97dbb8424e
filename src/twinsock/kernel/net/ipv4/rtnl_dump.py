"""An IPv4 route as a netlink message (Linux: fib_dump_info() of net/ipv4/fib_semantics.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import nla_u32
from twinsock.kernel.net.ipv4.fib_table import FibInfo
from twinsock.uapi.rtnetlink import RTA_DST, RTA_GATEWAY, RTA_METRICS, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTA_TABLE
from twinsock.uapi.socket import AF_INET
from twinsock.wire.netlink import nlattrs
from twinsock.wire.rtnetlink import RtMsg


def _ip(addr: int) -> bytes:
    return addr.to_bytes(4, "big")


def put_metrics(msg: RtMsg, metrics: list[int]) -> None:
    """Add RTA_METRICS with those that are set (rtnetlink_put_metrics)."""
    found = [(which, nla_u32(value)) for which, value in enumerate(metrics) if value]
    if found:
        msg.attributes.append((RTA_METRICS, nlattrs(found)))


def fib_dump_info(tb_id: int, prefix: int, plen: int, fi: FibInfo) -> RtMsg:
    """Describe a route."""
    msg = RtMsg(AF_INET, tb_id if tb_id < 256 else 252, fi.type)
    msg.dst_len = plen
    msg.protocol = fi.protocol
    msg.scope = fi.scope
    msg.flags = fi.flags
    msg.attributes.append((RTA_TABLE, nla_u32(tb_id)))
    if plen:
        msg.attributes.append((RTA_DST, _ip(prefix)))
    if fi.priority:
        msg.attributes.append((RTA_PRIORITY, nla_u32(fi.priority)))
    put_metrics(msg, fi.metrics)
    if fi.prefsrc:
        msg.attributes.append((RTA_PREFSRC, _ip(fi.prefsrc)))
    if fi.gw:
        msg.attributes.append((RTA_GATEWAY, _ip(fi.gw)))
    if fi.dev is not None:
        msg.attributes.append((RTA_OIF, nla_u32(fi.dev.ifindex)))
    return msg
