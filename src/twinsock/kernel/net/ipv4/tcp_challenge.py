"""Challenge acknowledgements and their rate limits (Linux: net/ipv4/tcp_input.c; RFC 5961)."""

from twinsock.kernel.net.ipv4.tcp_control import tcp_send_ack
from twinsock.kernel.net.ipv4.tcp_sock import TcpSkb, TcpSock
from twinsock.kernel.net.ipv4.tcp_state import tcp_jiffies32
from twinsock.uapi.snmp import LINUX_MIB_TCPACKSKIPPEDCHALLENGE, LINUX_MIB_TCPCHALLENGEACK
from twinsock.wire.tcp import TCPHDR_SYN


def tcp_oow_rate_limited(sk: TcpSock, skb: TcpSkb | None, mib: int) -> bool:
    """Tell whether an answer to an unacceptable segment would be one too many, tcp_invalid_ratelimit."""
    if skb is not None and skb.seq != skb.end_seq and not skb.tcp_flags & TCPHDR_SYN:
        return False
    now = tcp_jiffies32(sk)
    last = sk.last_oow_ack_time
    if last and 0 <= now - last < sk.sk_net.ipv4.sysctl_tcp_invalid_ratelimit:
        sk.sk_net.net_statistics[mib] += 1
        return True
    sk.last_oow_ack_time = now
    return False


def tcp_send_challenge_ack(sk: TcpSock) -> None:
    """Ask the peer to prove itself, RFC 5961 3.2, 4.2, 5.2."""
    if tcp_oow_rate_limited(sk, None, LINUX_MIB_TCPACKSKIPPEDCHALLENGE):
        return
    sk.sk_net.net_statistics[LINUX_MIB_TCPCHALLENGEACK] += 1
    tcp_send_ack(sk)
