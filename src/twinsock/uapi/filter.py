"""Classic BPF opcodes, `<linux/filter.h>`, `<linux/bpf_common.h>`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BPF_LL_OFF: Final = -2097152
BPF_NET_OFF: Final = -1048576
BPF_ADD: Final = 0
BPF_IMM: Final = 0
BPF_JA: Final = 0
BPF_K: Final = 0
BPF_LD: Final = 0
BPF_TAX: Final = 0
BPF_W: Final = 0
BPF_LDX: Final = 1
BPF_MAJOR_VERSION: Final = 1
BPF_MINOR_VERSION: Final = 1
BPF_ST: Final = 2
BPF_STX: Final = 3
BPF_ALU: Final = 4
BPF_JMP: Final = 5
BPF_RET: Final = 6
BPF_MISC: Final = 7
BPF_H: Final = 8
BPF_X: Final = 8
BPF_A: Final = 16
BPF_B: Final = 16
BPF_JEQ: Final = 16
BPF_MEMWORDS: Final = 16
BPF_SUB: Final = 16
BPF_ABS: Final = 32
BPF_JGT: Final = 32
BPF_MUL: Final = 32
BPF_DIV: Final = 48
BPF_JGE: Final = 48
BPF_IND: Final = 64
BPF_JSET: Final = 64
BPF_OR: Final = 64
BPF_AND: Final = 80
BPF_LSH: Final = 96
BPF_MEM: Final = 96
BPF_RSH: Final = 112
BPF_LEN: Final = 128
BPF_NEG: Final = 128
BPF_TXA: Final = 128
BPF_MOD: Final = 144
BPF_MSH: Final = 160
BPF_XOR: Final = 160
BPF_MAXINSNS: Final = 4096

SKF_LL_OFF: Final = -0x200000
SKF_NET_OFF: Final = -0x100000
SKF_AD_OFF: Final = -0x1000
SKF_AD_PROTOCOL: Final = 0x0
SKF_AD_PKTTYPE: Final = 0x4
SKF_AD_IFINDEX: Final = 0x8
SKF_AD_NLATTR: Final = 0xC
SKF_AD_NLATTR_NEST: Final = 0x10
SKF_AD_MARK: Final = 0x14
SKF_AD_QUEUE: Final = 0x18
SKF_AD_HATYPE: Final = 0x1C
SKF_AD_RXHASH: Final = 0x20
SKF_AD_CPU: Final = 0x24
SKF_AD_ALU_XOR_X: Final = 0x28
SKF_AD_VLAN_TAG: Final = 0x2C
SKF_AD_VLAN_TAG_PRESENT: Final = 0x30
SKF_AD_PAY_OFFSET: Final = 0x34
SKF_AD_RANDOM: Final = 0x38
SKF_AD_VLAN_TPID: Final = 0x3C
SKF_AD_MAX: Final = 0x40
