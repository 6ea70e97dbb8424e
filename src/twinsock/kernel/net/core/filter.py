"""Classic BPF: checking, running, and attaching to sockets, SO_ATTACH_FILTER of socket(7) (Linux: net/core/filter.c).

The filter sees the bytes that the protocol hands it: from the transport header on for UDP, TCP and raw sockets, the payload for
UNIX and netlink; loads at SKF_LL_OFF and SKF_NET_OFF reach the headers before them. Left out: eBPF."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import BPF_CGROUP_INET_INGRESS, cgroup_bpf_run_filter_skb
from twinsock.kernel.net.core.sock import SOCK_FILTER_LOCKED, Sock
from twinsock.kernel.net.core.sock_mem import sock_kfree_s, sock_kmalloc
from twinsock.kernel.net.core.sock_reuseport import ReuseportProg, reuseport_attach_prog
from twinsock.uapi import filter as bpf
from twinsock.uapi.errno import EFAULT, EINVAL, ENOENT, ENOMEM, EPERM
from twinsock.uapi.if_ import ETH_P_IP, ETH_P_IPV6
from twinsock.uapi.in6 import IPPROTO_ICMPV6
from twinsock.uapi.in_ import IPPROTO_ICMP, IPPROTO_IGMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.netlink import NLA_HDRLEN, NLA_TYPE_MASK
from twinsock.uapi.socket import SOCK_RAW
from twinsock.wire.ethernet import Ethhdr
from twinsock.wire.ip6 import skip_exthdrs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.sched.task import Task

_INSN_SIZE: Final = 8
_FPROG_SIZE: Final = 16
_PROG_SIZE: Final = 96  # struct bpf_prog without instructions
_PROLOGUE: Final = 3
_U32: Final = 0xFFFFFFFF
_AD_OFF: Final = bpf.SKF_AD_OFF & _U32
_NET_OFF: Final = bpf.SKF_NET_OFF & _U32
_LL_OFF: Final = bpf.SKF_LL_OFF & _U32
_EIGHT_BYTE_HEADERS: Final[tuple[int, ...]] = (IPPROTO_ICMP, IPPROTO_IGMP, IPPROTO_UDP, IPPROTO_ICMPV6, IPPROTO_UDPLITE)

_ALU_OPS: Final[tuple[int, ...]] = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0)
_JMP_OPS: Final[tuple[int, ...]] = (bpf.BPF_JEQ, bpf.BPF_JGT, bpf.BPF_JGE, bpf.BPF_JSET)
_ANCILLARY: Final[tuple[int, ...]] = (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60)


class SockFilter:
    """`struct sock_filter`: one instruction."""

    def __init__(self, code: int, jt: int, jf: int, k: int) -> None:
        self.code = code
        self.jt = jt
        self.jf = jf
        self.k = k


class SkFilter:
    """`struct sk_filter`: a checked program, shared by the sockets that inherit it."""

    def __init__(self, insns: list[SockFilter], raw: bytes) -> None:
        self.insns = insns
        self.raw = raw

    def charge(self) -> int:
        """Return the option memory that the program takes: that of the eBPF program it is turned into."""
        count = _PROLOGUE
        loads = False
        for insn in self.insns:
            count += ebpf_len(insn)
            loads = loads or is_packet_load(insn)
        return _PROG_SIZE + 8 * (count + (_LOAD_PROLOGUE if loads else 0))


class CbpfReuseportProg(ReuseportProg):
    """A classic program that chooses the member of a reuseport group; it sees the payload behind the transport header."""

    def __init__(self, prog: SkFilter) -> None:
        self.prog = prog

    def run(self, skb: SkBuff, hdr_len: int) -> int:
        """Return the slot that the program chose."""
        return bpf_prog_run(self.prog, skb, skb.l4_bytes()[hdr_len:])


def parse_insns(raw: bytes) -> list[SockFilter]:
    """Split a program into its instructions."""
    insns: list[SockFilter] = []
    for start in range(0, len(raw), _INSN_SIZE):
        code = int.from_bytes(raw[start : start + 2], "little")
        k = int.from_bytes(raw[start + 4 : start + 8], "little")
        insns.append(SockFilter(code, raw[start + 2], raw[start + 3], k))
    return insns


# The size of the eBPF program that Linux makes of a classic one. Measured: 6.18, tests/parity/test_filters.py.

_LOAD_PROLOGUE: Final = 4
_MSH_EXTRA: Final = 6
_ANCILLARY_LEN: Final[tuple[int, ...]] = (2, 2, 4, 4, 4, 1, 1, 4, 1, 4, 1, 1, 3, 4, 4, 2)


def is_packet_load(insn: SockFilter) -> bool:
    """Tell whether an instruction reads bytes of the packet."""
    code = insn.code
    if code == bpf.BPF_LDX | bpf.BPF_B | bpf.BPF_MSH:
        return True
    if code & 7 != bpf.BPF_LD:
        return False
    return code & 0xE0 == bpf.BPF_IND or (code & 0xE0 == bpf.BPF_ABS and insn.k < _AD_OFF)


def ebpf_len(insn: SockFilter) -> int:
    """Return how many eBPF instructions replace a classic one."""
    code, k = insn.code, insn.k
    kind = code & 7
    if is_packet_load(insn):
        return _load_len(code, k)
    if kind == bpf.BPF_LD and code & 0xE0 == bpf.BPF_ABS:
        return _ANCILLARY_LEN[(k - _AD_OFF) // 4]
    if kind == bpf.BPF_RET:
        return 1 if code & 0x18 == bpf.BPF_A else 2
    if kind == bpf.BPF_ALU and code & bpf.BPF_X and code & 0xF0 in (bpf.BPF_DIV, bpf.BPF_MOD):
        return 5
    if kind == bpf.BPF_JMP and code & 0xF0 != bpf.BPF_JA:
        sign = 1 if not code & bpf.BPF_X and k >> 31 else 0
        single = insn.jf == 0 or (insn.jt == 0 and code & 0xF0 != bpf.BPF_JSET)
        return sign + (1 if single else 2)
    return 1


def _load_len(code: int, k: int) -> int:
    extra = _MSH_EXTRA if code & 7 == bpf.BPF_LDX else 0
    if code & 7 != bpf.BPF_LDX and code & 0xE0 == bpf.BPF_IND:
        return 9 if k else 8
    if k >> 31:
        return 8 + extra
    length = (14 if code & 0x18 != bpf.BPF_B else 13) + extra
    return length - 1 if k == 0 else length if k < 0x8000 else length + 2


# Checking


def bpf_check_classic(insns: list[SockFilter]) -> int:
    """Refuse what cannot be run: 0 or -EINVAL."""
    flen = len(insns)
    for pc in range(flen):
        insn = insns[pc]
        if not chk_code_allowed(insn.code) or not _check_operands(insn, pc, flen):
            return -EINVAL
    if insns[flen - 1].code not in (bpf.BPF_RET | bpf.BPF_K, bpf.BPF_RET | bpf.BPF_A):
        return -EINVAL
    return check_load_and_stores(insns)


def chk_code_allowed(code: int) -> bool:
    """Tell whether an operation exists."""
    kind = code & 7
    if code > 0xFF:
        return False
    if kind == bpf.BPF_ALU:
        return code & 0xF0 in _ALU_OPS if code & 0xF0 != bpf.BPF_NEG else code == bpf.BPF_ALU | bpf.BPF_NEG
    if kind == bpf.BPF_LD:
        if code & 0xE0 in (bpf.BPF_ABS, bpf.BPF_IND):
            return code & 0x18 in (bpf.BPF_W, bpf.BPF_H, bpf.BPF_B)
        return code & 0xF8 in (bpf.BPF_LEN, bpf.BPF_IMM, bpf.BPF_MEM)
    if kind == bpf.BPF_LDX:
        return code & 0xF8 in (bpf.BPF_LEN, bpf.BPF_IMM, bpf.BPF_MEM, bpf.BPF_MSH | bpf.BPF_B)
    if kind in (bpf.BPF_ST, bpf.BPF_STX):
        return code & 0xF8 == 0
    if kind == bpf.BPF_JMP:
        return code == bpf.BPF_JMP | bpf.BPF_JA or code & 0xF0 in _JMP_OPS
    if kind == bpf.BPF_RET:
        return code & 0xF8 in (bpf.BPF_K, bpf.BPF_A)
    return code & 0xF8 in (bpf.BPF_TAX, bpf.BPF_TXA)


def _check_operands(insn: SockFilter, pc: int, flen: int) -> bool:
    code, k = insn.code, insn.k
    kind = code & 7
    if kind == bpf.BPF_ALU and not code & bpf.BPF_X:
        op = code & 0xF0
        if op in (bpf.BPF_DIV, bpf.BPF_MOD):
            return k != 0
        return k < 32 if op in (bpf.BPF_LSH, bpf.BPF_RSH) else True
    if kind in (bpf.BPF_ST, bpf.BPF_STX) or (kind in (bpf.BPF_LD, bpf.BPF_LDX) and code & 0xE0 == bpf.BPF_MEM):
        return k < bpf.BPF_MEMWORDS
    if code == bpf.BPF_JMP | bpf.BPF_JA:
        return k < flen - pc - 1
    if kind == bpf.BPF_JMP:
        return pc + insn.jt + 1 < flen and pc + insn.jf + 1 < flen
    if kind == bpf.BPF_LD and code & 0xE0 == bpf.BPF_ABS and k >= _AD_OFF:
        return k - _AD_OFF in _ANCILLARY
    return True


def check_load_and_stores(insns: list[SockFilter]) -> int:
    """Refuse programs that read scratch memory which they did not write on every path: 0 or -EINVAL."""
    flen = len(insns)
    masks = [0xFFFF] * flen
    memvalid = 0
    for pc in range(flen):
        insn = insns[pc]
        code = insn.code
        memvalid &= masks[pc]
        if code & 7 in (bpf.BPF_ST, bpf.BPF_STX):
            memvalid |= 1 << insn.k
        elif code in (bpf.BPF_LD | bpf.BPF_MEM, bpf.BPF_LDX | bpf.BPF_MEM):
            if not memvalid >> insn.k & 1:
                return -EINVAL
        elif code == bpf.BPF_JMP | bpf.BPF_JA:
            masks[pc + 1 + insn.k] &= memvalid
            memvalid = 0xFFFF
        elif code & 7 == bpf.BPF_JMP:
            masks[pc + 1 + insn.jt] &= memvalid
            masks[pc + 1 + insn.jf] &= memvalid
            memvalid = 0xFFFF
    return 0


# Running


def bpf_prog_run(prog: SkFilter, skb: SkBuff, data: bytes, frame: bytes = b"", header_len: int = 0) -> int:
    """Run a program over a packet: the number of bytes to keep, 0 drops it. `frame` is the packet from its link header on, if known."""
    view = _View(skb, data, frame, header_len)
    a = x = pc = 0
    mem = [0] * bpf.BPF_MEMWORDS
    insns = prog.insns
    while True:
        insn = insns[pc]
        pc += 1
        code, k = insn.code, insn.k
        kind = code & 7
        if kind == bpf.BPF_LD:
            a = _load(code, k, a, x, mem, view)
            if a < 0:
                return 0
        elif kind == bpf.BPF_LDX:
            x = _loadx(code, k, mem, view)
            if x < 0:
                return 0
        elif kind == bpf.BPF_ST:
            mem[k] = a
        elif kind == bpf.BPF_STX:
            mem[k] = x
        elif kind == bpf.BPF_ALU:
            a = _alu(code & 0xF0, a, x if code & bpf.BPF_X else k)
            if a < 0:
                return 0
        elif kind == bpf.BPF_JMP:
            if code & 0xF0 == bpf.BPF_JA:
                pc += k
            else:
                pc += insn.jt if _jump(code & 0xF0, a, x if code & bpf.BPF_X else k) else insn.jf
        elif kind == bpf.BPF_RET:
            return a if code & 0x18 == bpf.BPF_A else k
        elif code & 0xF8 == bpf.BPF_TAX:
            x = a
        else:
            a = x


def _load(code: int, k: int, a: int, x: int, mem: list[int], view: _View) -> int:
    """Return the new accumulator, -1 for a load outside of the packet."""
    mode = code & 0xE0
    if mode == bpf.BPF_IMM:
        return k
    if mode == bpf.BPF_MEM:
        return mem[k]
    if mode == bpf.BPF_LEN:
        return len(view.data)
    if mode == bpf.BPF_ABS and k >= _AD_OFF:
        return _ancillary(k - _AD_OFF, a, x, view)
    offset = k if mode == bpf.BPF_ABS else (k + x) & _U32
    size = 4 if code & 0x18 == bpf.BPF_W else 2 if code & 0x18 == bpf.BPF_H else 1
    return _packet_load(offset, size, view)


def _packet_load(offset: int, size: int, view: _View) -> int:
    """Read from the data, or at a negative offset from a header before it; -1 outside of the packet."""
    data = view.data
    if offset >> 31:
        if offset >= _NET_OFF:
            offset -= _NET_OFF
            data = view.from_network()
        elif offset >= _LL_OFF:
            offset -= _LL_OFF
            data = view.from_link()
        else:
            return -1
    if offset + size > len(data):
        return -1
    return int.from_bytes(data[offset : offset + size], "big")


class _View:
    """A packet as a program sees it: `data` at offset 0, the headers before it at negative offsets."""

    def __init__(self, skb: SkBuff, data: bytes, frame: bytes, header_len: int) -> None:
        self.skb = skb
        self.data = data
        self.frame = frame
        self.header_len = header_len

    def from_network(self) -> bytes:
        """Give the packet from its network header on; a packet without one has it at its start."""
        if self.frame:
            return self.frame[self.header_len :]
        skb, sk = self.skb, self.skb.sk
        if sk is not None and sk.sk_type == SOCK_RAW:
            return self.data if skb.nh6 is None else skb.nh6.emit(len(self.data)) + self.data
        return skb.l3_bytes() if skb.nh4 is not None or skb.nh6 is not None else self.data

    def from_link(self) -> bytes:
        """Give a packet that came from a device from its link header on; nothing for others."""
        if self.frame:
            return self.frame
        skb, dev = self.skb, self.skb.dev
        if dev is None or (skb.nh4 is None and skb.nh6 is None):
            return b""
        data = self.from_network()
        if not dev.has_link_addr():
            return data
        proto = skb.protocol if skb.mac_proto < 0 else skb.mac_proto
        return Ethhdr(skb.mac_dest or bytes(6), skb.mac_source or bytes(6), proto).emit() + data


def _ancillary(what: int, a: int, x: int, view: _View) -> int:
    """Return a value about the packet that is not in its bytes."""
    skb, data = view.skb, view.data
    if what == bpf.SKF_AD_PROTOCOL:
        return skb.protocol
    if what == bpf.SKF_AD_PKTTYPE:
        return skb.pkt_type
    if what == bpf.SKF_AD_IFINDEX:
        return -1 if skb.dev is None else skb.dev.ifindex
    if what == bpf.SKF_AD_MARK:
        return skb.mark
    if what == bpf.SKF_AD_HATYPE:
        return -1 if skb.dev is None else skb.dev.type
    if what == bpf.SKF_AD_CPU:
        return 0 if skb.sk is None else skb.sk.sk_net.kernel.cpu
    if what == bpf.SKF_AD_ALU_XOR_X:
        return a ^ x
    if what == bpf.SKF_AD_RANDOM:
        return 0 if skb.sk is None else skb.sk.sk_net.kernel.prng.u32()
    if what == bpf.SKF_AD_PAY_OFFSET:
        return _payload_offset(view)
    if what == bpf.SKF_AD_NLATTR:
        return nla_find(data, a, len(data), x)
    if what == bpf.SKF_AD_NLATTR_NEST:
        size = int.from_bytes(data[a : a + 2], "little") if a + NLA_HDRLEN <= len(data) else 0
        return nla_find(data, a + NLA_HDRLEN, a + size, x) if NLA_HDRLEN <= size <= len(data) - a else 0
    return 0


def nla_find(data: bytes, start: int, end: int, type_: int) -> int:
    """Return where the netlink attribute of a type begins, 0 when there is none."""
    while start + NLA_HDRLEN <= end:
        size = int.from_bytes(data[start : start + 2], "little")
        if not NLA_HDRLEN <= size <= end - start:
            return 0
        if int.from_bytes(data[start + 2 : start + 4], "little") & NLA_TYPE_MASK == type_:
            return start
        start += (size + 3) & ~3
    return 0


def _payload_offset(view: _View) -> int:
    """Return how far behind the first byte that the program sees the payload begins (skb_get_poff)."""
    net = view.from_network()
    version = net[0] >> 4 if len(net) >= 20 else 0
    if view.skb.protocol not in (ETH_P_IP, ETH_P_IPV6) or version not in (4, 6):
        return 0
    if version == 4:
        protocol, offset = net[9], (net[0] & 15) * 4
    else:
        protocol, offset = skip_exthdrs(net[6], net[40:])
        offset += 40
    header = 8 if protocol in _EIGHT_BYTE_HEADERS else 0
    if protocol == IPPROTO_TCP and len(net) > offset + 12:
        header = max(net[offset + 12] >> 4 << 2, 20)
    return len(view.data) - len(net) + offset + header


def _loadx(code: int, k: int, mem: list[int], view: _View) -> int:
    mode = code & 0xE0
    if mode == bpf.BPF_IMM:
        return k
    if mode == bpf.BPF_MEM:
        return mem[k]
    if mode == bpf.BPF_LEN:
        return len(view.data)
    value = _packet_load(k, 1, view)
    return -1 if value < 0 else (value & 0xF) << 2


def _alu(op: int, a: int, operand: int) -> int:
    """Return the result, -1 for a division by zero."""
    if op == bpf.BPF_ADD:
        return (a + operand) & _U32
    if op == bpf.BPF_SUB:
        return (a - operand) & _U32
    if op == bpf.BPF_MUL:
        return (a * operand) & _U32
    if op == bpf.BPF_DIV:
        return a // operand if operand else -1
    if op == bpf.BPF_MOD:
        return a % operand if operand else -1
    if op == bpf.BPF_AND:
        return a & operand
    if op == bpf.BPF_OR:
        return a | operand
    if op == bpf.BPF_XOR:
        return a ^ operand
    if op == bpf.BPF_LSH:
        return (a << (operand & 31)) & _U32
    if op == bpf.BPF_RSH:
        return a >> (operand & 31)
    return -a & _U32


def _jump(op: int, a: int, operand: int) -> bool:
    if op == bpf.BPF_JEQ:
        return a == operand
    if op == bpf.BPF_JGT:
        return a > operand
    if op == bpf.BPF_JGE:
        return a >= operand
    return a & operand != 0


def sk_filter_trim_cap(sk: Sock, skb: SkBuff, data: bytes, cap: int) -> int:
    """Let the cgroup's programs and the socket's filter see a packet: the bytes to keep (`cap` at least), or -EPERM to drop it."""
    err = cgroup_bpf_run_filter_skb(sk, skb, BPF_CGROUP_INET_INGRESS)
    if err < 0:
        return err
    prog = sk.sk_filter
    if prog is None:
        return len(data)
    save = skb.sk
    skb.sk = sk
    keep = bpf_prog_run(prog, skb, data)
    skb.sk = save
    if keep == 0:
        return -EPERM
    return min(max(keep, cap), len(data))


# Attaching


def _prog_from_user(task: Task, sk: Sock, optval: bytes) -> tuple[int, SkFilter | None]:
    """Read and check a struct sock_fprog: (0 or -errno, program)."""
    if len(optval) != _FPROG_SIZE:
        return -EINVAL, None
    flen = int.from_bytes(optval[:2], "little")
    pointer = int.from_bytes(optval[8:16], "little")
    if sk.sock_flag(SOCK_FILTER_LOCKED):
        return -EPERM, None
    if pointer == 0 or flen == 0 or flen > bpf.BPF_MAXINSNS:
        return -EINVAL, None
    raw = task.copy_from_user(pointer, flen * _INSN_SIZE)
    if raw is None:
        return -EFAULT, None
    insns = parse_insns(raw)
    err = bpf_check_classic(insns)
    return (err, None) if err else (0, SkFilter(insns, raw))


def sk_attach_filter(task: Task, sk: Sock, optval: bytes) -> int:
    """SO_ATTACH_FILTER: 0 or -errno."""
    err, prog = _prog_from_user(task, sk, optval)
    if prog is None:
        return err
    if sock_kmalloc(sk, prog.charge()):
        return -ENOMEM
    if sk.sk_filter is not None:
        sock_kfree_s(sk, sk.sk_filter.charge())
    sk.sk_filter = prog
    return 0


def sk_detach_filter(sk: Sock) -> int:
    """SO_DETACH_FILTER: 0, -ENOENT without a filter, -EPERM when it is locked."""
    if sk.sock_flag(SOCK_FILTER_LOCKED):
        return -EPERM
    if sk.sk_filter is None:
        return -ENOENT
    sock_kfree_s(sk, sk.sk_filter.charge())
    sk.sk_filter = None
    return 0


def sk_get_filter(sk: Sock, optlen: int) -> tuple[int, bytes]:
    """SO_GET_FILTER: (0 or -errno, the program); the kernel counts its answer in instructions, so a program sees as many bytes."""
    prog = sk.sk_filter
    if prog is None:
        return 0, b""
    count = len(prog.insns)
    if optlen == 0:
        return 0, bytes(count)  # the length alone
    if optlen < count:
        return -EINVAL, b""
    return 0, prog.raw[:count]


def sk_reuseport_attach(task: Task, sk: Sock, optval: bytes) -> int:
    """SO_ATTACH_REUSEPORT_CBPF: 0 or -errno."""
    err, prog = _prog_from_user(task, sk, optval)
    return err if prog is None else reuseport_attach_prog(sk, CbpfReuseportProg(prog))


def sk_reuseport_detach(sk: Sock) -> int:
    """SO_DETACH_REUSEPORT_BPF: 0 or -ENOENT."""
    group = sk.sk_reuseport_cb
    if group is None:
        return -ENOENT if sk.sk_reuseport else -EINVAL
    if group.prog is None:
        return -ENOENT
    group.prog = None
    return 0
