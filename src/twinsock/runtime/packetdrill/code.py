"""Python in scripts: `%{ assert tcpi_snd_cwnd == 10 }%`. What the names stand for is noted when the block's time comes; the blocks run
in one program after the script."""

import textwrap
from struct import Struct, unpack_from
from types import CodeType

from twinsock.runtime.packetdrill.cursor import ScriptError
from twinsock.uapi import tcp

_U8 = ["state", "ca_state", "retransmits", "probes", "backoff", "options"]
_LAYOUT = (
    ("I", "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent last_data_recv last_ack_recv pmtu"),
    ("I", "rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans"),
    ("Q", "pacing_rate max_pacing_rate bytes_acked bytes_received"),
    ("I", "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out"),
    ("Q", "delivery_rate busy_time rwnd_limited sndbuf_limited"),
    ("I", "delivered delivered_ce"),
    ("Q", "bytes_sent bytes_retrans"),
    ("I", "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash"),
    ("H", "total_rto total_rto_recoveries"),
    ("I", "total_rto_time received_ce"),
)
_BBR = ("bbr_bw_lo", "bbr_bw_hi", "bbr_min_rtt", "bbr_pacing_gain", "bbr_cwnd_gain")
_MEMINFO = ["RMEM_ALLOC", "RCVBUF", "WMEM_ALLOC", "SNDBUF", "FWD_ALLOC", "WMEM_QUEUED", "OPTMEM", "BACKLOG", "DROPS"]
_CA = ("TCP_CA_Open", "TCP_CA_Disorder", "TCP_CA_CWR", "TCP_CA_Recovery", "TCP_CA_Loss")
TCP_INFO_SIZE = 280
MEMINFO_SIZE = 36
_U32 = Struct("=I")


class Block:
    """One piece of code with the values that its names have."""

    def __init__(self, line: int, code: str, names: dict[str, int]) -> None:
        self.line = line
        self.code = code
        self.names = names


def constants() -> dict[str, int]:
    """Return the constants that code may name."""
    found = {f"TCP_{name}": number for number, name in tcp.TCP_STATE_NAMES.items()}
    found.update({name: getattr(tcp, name) for name in dir(tcp) if name.startswith("TCPI_OPT_")})
    found.update({name: number for number, name in enumerate(_CA)})
    found["TCP_INFINITE_SSTHRESH"] = 0x7FFFFFFF
    return found


def tcp_info_names(data: bytes) -> dict[str, int]:
    """Give the fields of `struct tcp_info`; what the kernel does not have is 0."""
    whole = data.ljust(TCP_INFO_SIZE, b"\0")
    names = {f"tcpi_{name}": whole[i] for i, name in enumerate(_U8)}
    names["tcpi_snd_wscale"], names["tcpi_rcv_wscale"] = whole[6] & 15, whole[6] >> 4
    names["tcpi_delivery_rate_app_limited"] = whole[7] & 1
    names["tcpi_fastopen_client_fail"] = whole[7] >> 1 & 3
    offset = 8
    sizes = {"H": 2, "I": 4, "Q": 8}
    for code, fields in _LAYOUT:
        for name in fields.split():
            names[f"tcpi_{name}"] = unpack_from("=" + code, whole, offset)[0]
            offset += sizes[code]
    return names


def cc_info_names(data: bytes) -> dict[str, int]:
    """Give what the congestion control says of itself: its first words under each name that they may have."""
    words = [value[0] for value in _U32.iter_unpack(data[: len(data) // 4 * 4])]
    names = dict(zip(_BBR, words, strict=False))
    if len(data) == 16:
        names.update(zip(("tcpv_enabled", "tcpv_rttcnt", "tcpv_rtt", "tcpv_minrtt"), words, strict=True))
        names["dctcp_enabled"], names["dctcp_ce_state"] = words[0] & 0xFFFF, words[0] >> 16
        names.update(zip(("dctcp_alpha", "dctcp_ab_ecn", "dctcp_ab_tot"), words[1:], strict=True))
    return names


def meminfo_names(data: bytes) -> dict[str, int]:
    """Give the values of SO_MEMINFO."""
    words = [value[0] for value in _U32.iter_unpack(data[: len(data) // 4 * 4])]
    return dict(zip([f"SK_MEMINFO_{name}" for name in _MEMINFO], words, strict=False))


def run_blocks(blocks: list[Block]) -> None:
    """Run the blocks in order, with the variables of one program. Raises ScriptError, with the line that failed."""
    names: dict[str, object] = {"__name__": "__packetdrill__", **constants()}
    for block in blocks:
        names.update(block.names)
        code = _compile(block)
        try:
            exec(code, names)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise ScriptError(block.line, f"the code exits with {end.code}") from None
        except Exception as error:
            raise ScriptError(_line_of(error, block), _say(error, block)) from None


def _compile(block: Block) -> CodeType:
    text = block.code.rstrip().removesuffix("\\") + "\n"
    head, _, rest = text.lstrip(" \t").partition("\n")
    problem = SyntaxError()
    for candidate in (textwrap.dedent(text), head + "\n" + textwrap.dedent(rest), text.strip()):
        try:
            return compile(candidate, "<code>", "exec")
        except SyntaxError as error:
            problem = error
    raise ScriptError(block.line + (problem.lineno or 1) - 1, f"this is no Python: {problem.msg}")


def _line_of(error: Exception, block: Block) -> int:
    trace = error.__traceback__
    line = 1
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<code>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return block.line + line - 1


def _say(error: Exception, block: Block) -> str:
    if isinstance(error, AssertionError):
        used = {name: value for name, value in block.names.items() if name in block.code}
        values = ", ".join(f"{name} = {value}" for name, value in used.items())
        return "the code's assertion is false" + (f": {values}" if values else f": {error}")
    return f"the code fails: {type(error).__name__}: {error}"
