"""BPF iterators over sockets: one program per question, assembled here, filtered in the kernel, gone after the read.

* `task_file` visits every descriptor of every process: who holds which socket, and the socket's reuse flags.
* `tcp` and `udp` visit the sockets of the caller's network namespace, those without a descriptor too (TIME_WAIT,
  connections that the kernel finishes, the kernel's own).

Each record is a few 64-bit words. Linux: kernel/bpf/task_iter.c, net/ipv4/tcp_ipv4.c, net/ipv4/udp.c. Needs CAP_BPF
and CAP_PERFMON, little endian, the first pid namespace. Left out: sockets that are bound but neither listen nor are
connected, which `tcp` does not visit; they have descriptors, so `task_file` does.
"""

from __future__ import annotations

import os
from errno import EOPNOTSUPP

from twinsock.host.bpf import load_iterator, open_iterator, read_all
from twinsock.host.bpf_asm import R0, R1, R2, R3, R6, R7, R8, R9, R10, Assembler
from twinsock.host.btf import FUNCTIONS, MEMBERS, OPTIONAL, kernel_layout
from twinsock.inspect.owners import THREAD_BIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from twinsock.host.btf import Layout
    from twinsock.inspect.owners import OwnerTable

_SEQ_WRITE = 127
_SKC_TO_TCP_SOCK = 137
_SOCK_FROM_FILE = 162
_SKC_TO_UNIX_SOCK = 178

_S_IFMT = 0xF000
_S_IFSOCK = 0xC000
_AF_UNIX = 1
_AF_INET6 = 10
_TCP_LISTEN = 10
_TCP_TIME_WAIT = 6
_TCP_NEW_SYN_RECV = 12
_FILTER_MAX = 500

REUSEADDR = 1
REUSEPORT = 2
V6ONLY = 4
NO_SOCKET = 16
"""The program has closed it: no struct socket."""
NO_FILE = 32
"""A socket without a file: the kernel's own."""

HOLDER_WORDS = 3
_TASK_RECORD = 8 * HOLDER_WORDS
SOCKET_WORDS = 7
_SOCKET_RECORD = 8 * SOCKET_WORDS


class SocketFacts:
    """One record of the tcp or udp iterator."""

    def __init__(self, record: memoryview) -> None:
        word = record.cast("Q")
        self.cookie = word[0]
        self.port = word[1] & 0xFFFF
        self.peer_port = (word[1] >> 24 & 0xFF) | (word[1] >> 8 & 0xFF00)
        self.state = word[1] >> 32 & 0xFF
        self.family = word[1] >> 40 & 0xFF
        self.flags = word[1] >> 48 & 0xFF
        self.inode = word[2]
        size = 16 if self.family == _AF_INET6 else 4
        self.address = bytes(record[24 : 24 + size])
        self.peer = bytes(record[40 : 40 + size])


def sockets_of_tasks(table: OwnerTable, inodes: Collection[int] | None, pid: int = 0) -> None:
    """Fill the table with every descriptor that is a socket, or one of these; raises OSError if BPF is refused."""
    words = memoryview(_run("bpf_iter_task_file", _task_file_program(kernel_layout(), inodes), pid)).cast("Q")
    found = words[0::HOLDER_WORDS].tolist()
    holders = words[1::HOLDER_WORDS].tolist()
    facts = words[2::HOLDER_WORDS].tolist()
    if inodes is not None and len(inodes) > _FILTER_MAX:
        wanted = inodes if isinstance(inodes, (set, frozenset, dict)) else set(inodes)
        kept = [row for row, inode in enumerate(found) if inode in wanted]
        found = [found[row] for row in kept]
        holders = [holders[row] for row in kept]
        facts = [facts[row] for row in kept]
    table.add_all(found, holders, len(found))
    table.set_facts(found, facts)


def sockets_of_namespace(protocol: str, ports: Iterable[int] = ()) -> list[SocketFacts]:
    """List the "tcp" or "udp" sockets of the calling thread's network namespace, or those with these local ports."""
    program = _socket_program(kernel_layout(), protocol, sorted(set(ports)))
    view = memoryview(_run("bpf_iter_" + protocol, program, 0))
    return [SocketFacts(view[at : at + _SOCKET_RECORD]) for at in range(0, len(view), _SOCKET_RECORD)]


def reuse_by_cookie(protocol: str, ports: Iterable[int] = ()) -> dict[int, int]:
    """Map each socket's cookie to its reuse bits, for the calling thread's network namespace: fast for many."""
    program = _socket_program(kernel_layout(), protocol, sorted(set(ports)))
    words = memoryview(_run("bpf_iter_" + protocol, program, 0)).cast("Q")
    bits = [word >> 48 & 7 for word in words[1::SOCKET_WORDS].tolist()]
    return dict(zip(words[0::SOCKET_WORDS].tolist(), bits, strict=True))


def receivers_of_descriptors() -> list[tuple[int, int, int]]:
    """List (tid, fd, inode) of UNIX sockets with undelivered descriptors, and of listeners with a waiting connection.

    What waits in a connection that is not accepted yet is counted in the listener's fdinfo only.
    """
    return _rows(_task_file_program(kernel_layout(), None, receivers_only=True))


def files_but_sockets() -> list[tuple[int, int, int]]:
    """List (tid, fd, inode) of every descriptor that is no socket."""
    return _rows(_other_files_program(kernel_layout()))


def kernel_sockets(protocol: str) -> list[int]:
    """List the inodes of the "tcp" or "udp" sockets of the calling thread's namespace that have no file."""
    program = _socket_program(kernel_layout(), protocol, [], kernel_only=True)
    return memoryview(_run("bpf_iter_" + protocol, program, 0)).cast("Q")[2::SOCKET_WORDS].tolist()


def _rows(program: bytes) -> list[tuple[int, int, int]]:
    words = memoryview(_run("bpf_iter_task_file", program, 0)).cast("Q")
    rows = range(0, len(words), HOLDER_WORDS)
    return [((words[at + 1] & ~THREAD_BIT) >> 32, words[at + 1] & 0xFFFFFFFF, words[at]) for at in rows]


def _run(function: str, program: bytes, pid: int) -> bytes:
    """Load a program, read one run of it and drop everything."""
    loaded = load_iterator(program, kernel_layout()[function], "twinsock")
    try:
        run = open_iterator(loaded, pid)
        try:
            return read_all(run)
        finally:
            os.close(run)
    finally:
        os.close(loaded)


def _task_file_program(layout: Layout, inodes: Collection[int] | None, receivers_only: bool = False) -> bytes:
    """Emit (inode, pid << 32 | fd, netns | flags << 32 | state << 40 | family << 48) of each socket's descriptor."""
    at = _bytes_of(layout)
    asm = _start_file(at)
    asm.jump_if("ne", R2, _S_IFSOCK, "out")
    asm.load(8, R9, R1, at["inode.i_ino"])
    if inodes is not None and len(inodes) <= _FILTER_MAX:
        asm.unless_in(R9, sorted(inodes), "out")
    asm.store(8, R10, -_TASK_RECORD, R9)
    asm.op_register("mov", R1, R7)
    asm.call(_SOCK_FROM_FILE)
    asm.jump_if("eq", R0, 0, "out")
    asm.load(8, R9, R0, at["socket.sk"])
    _emit_holder(asm, at)
    asm.op("mov", R7, 0)
    asm.jump_if("eq", R9, 0, "facts")
    if receivers_only:
        _only_receivers(asm, at)
    _gather_flags(asm, layout, R9)
    asm.op("lsh", R7, 32)
    _or_field(asm, at["sock_common.skc_state"], 1, 40)
    _or_field(asm, at["sock_common.skc_family"], 2, 48)
    asm.load(8, R1, R9, at["sock_common.skc_net.net"])
    asm.load(4, R2, R1, at["net.ns.inum"])
    asm.op_register("or", R7, R2)
    asm.label("facts")
    asm.store(8, R10, 16 - _TASK_RECORD, R7)
    return _finish(asm, _TASK_RECORD)


def _other_files_program(layout: Layout) -> bytes:
    """Emit (inode, pid << 32 | fd, 0) of each descriptor that is no socket."""
    at = _bytes_of(layout)
    asm = _start_file(at)
    asm.jump_if("eq", R2, _S_IFSOCK, "out")
    asm.load(8, R9, R1, at["inode.i_ino"])
    asm.store(8, R10, -_TASK_RECORD, R9)
    _emit_holder(asm, at)
    asm.store_constant(8, R10, 16 - _TASK_RECORD, 0)
    return _finish(asm, _TASK_RECORD)


def _start_file(at: dict[str, int]) -> Assembler:
    """Begin a task_file program: r6 context, r7 file, r8 task, r1 the file's inode, r2 its type."""
    asm = Assembler()
    asm.op_register("mov", R6, R1)
    asm.load(8, R7, R6, 24)
    asm.jump_if("eq", R7, 0, "out")
    asm.load(8, R8, R6, 8)
    asm.jump_if("eq", R8, 0, "out")
    asm.load(8, R1, R7, at["file.f_inode"])
    asm.load(2, R2, R1, at["inode.i_mode"])
    asm.op("and", R2, _S_IFMT)
    return asm


def _emit_holder(asm: Assembler, at: dict[str, int]) -> None:
    """Store pid << 32 | fd; a thread with a table of its own is stored by its own number, with THREAD_BIT."""
    asm.load(4, R1, R8, at["task_struct.tgid"])
    asm.load(4, R2, R8, at["task_struct.pid"])
    asm.op_register("mov", R3, R2)
    asm.op("lsh", R3, 32)
    asm.jump_if_equal(R1, R2, "leader")
    asm.op("mov", R1, 1)
    asm.op("lsh", R1, THREAD_BIT.bit_length() - 1)
    asm.op_register("or", R3, R1)
    asm.label("leader")
    asm.load(4, R1, R6, 16)
    asm.op_register("or", R3, R1)
    asm.store(8, R10, 8 - _TASK_RECORD, R3)


def _only_receivers(asm: Assembler, at: dict[str, int]) -> None:
    """Leave unless r9 is a UNIX socket with descriptors in its queue, or a listener with anything in it."""
    asm.op_register("mov", R1, R9)
    asm.call(_SKC_TO_UNIX_SOCK)
    asm.jump_if("eq", R0, 0, "out")
    asm.load(4, R1, R0, at["unix_sock.scm_stat.nr_fds"])
    asm.jump_if("ne", R1, 0, "receiver")
    asm.load(1, R1, R9, at["sock_common.skc_state"])
    asm.jump_if("ne", R1, _TCP_LISTEN, "out")
    asm.load(4, R1, R9, at["sock.sk_receive_queue.qlen"])
    asm.jump_if("eq", R1, 0, "out")
    asm.label("receiver")


def _socket_program(layout: Layout, protocol: str, ports: list[int], kernel_only: bool = False) -> bytes:
    """Emit cookie, ports and flags, inode, address and peer of each socket of the namespace."""
    at = _bytes_of(layout)
    asm = Assembler()
    asm.op_register("mov", R6, R1)
    asm.load(8, R9, R6, 8)
    asm.jump_if("eq", R9, 0, "out")
    asm.load(2, R8, R9, at["sock_common.skc_num"])
    if ports:
        asm.unless_in(R8, ports, "out")
    asm.load(8, R1, R9, at["sock_common.skc_cookie"])
    asm.store(8, R10, -_SOCKET_RECORD, R1)
    _gather_flags(asm, layout, R9)
    asm.store_constant(8, R10, 16 - _SOCKET_RECORD, 0)
    asm.op_register("mov", R0, R9)
    if protocol == "tcp":
        asm.load(1, R1, R9, at["sock_common.skc_state"])
        asm.jump_if("eq", R1, _TCP_TIME_WAIT, "closed")
        asm.jump_if("eq", R1, _TCP_NEW_SYN_RECV, "closed")
        asm.op_register("mov", R1, R9)
        asm.call(_SKC_TO_TCP_SOCK)
        asm.jump_if("eq", R0, 0, "closed")
    asm.load(8, R1, R0, at["sock.sk_socket"])
    asm.jump_if("eq", R1, 0, "closed")
    if "sock.sk_ino" in at:
        asm.load(8, R2, R0, at["sock.sk_ino"])
        asm.store(8, R10, 16 - _SOCKET_RECORD, R2)
    asm.load(8, R1, R1, at["socket.file"])
    asm.jump_if("ne", R1, 0, "out" if kernel_only else "common")
    asm.op("or", R7, NO_FILE)
    asm.jump("common")
    asm.label("closed")
    if kernel_only:
        asm.jump("out")
    else:
        asm.op("or", R7, NO_SOCKET)
    asm.label("common")
    _emit_common(asm, at)
    return _finish(asm, _SOCKET_RECORD)


def _emit_common(asm: Assembler, at: dict[str, int]) -> None:
    """Store ports, state, family and flags (r7), and both addresses of the sock_common in r9."""
    asm.op("lsh", R7, 48)
    asm.op_register("or", R7, R8)
    asm.load(2, R1, R9, at["sock_common.skc_dport"])
    asm.op("lsh", R1, 16)
    asm.op_register("or", R7, R1)
    _or_field(asm, at["sock_common.skc_state"], 1, 32)
    _or_field(asm, at["sock_common.skc_family"], 2, 40)
    asm.store(8, R10, 8 - _SOCKET_RECORD, R7)
    for offset in range(24, _SOCKET_RECORD, 8):
        asm.store_constant(8, R10, offset - _SOCKET_RECORD, 0)
    asm.load(2, R1, R9, at["sock_common.skc_family"])
    asm.jump_if("eq", R1, _AF_INET6, "ipv6")
    for offset, name in ((24, "sock_common.skc_rcv_saddr"), (40, "sock_common.skc_daddr")):
        asm.load(4, R1, R9, at[name])
        asm.store(4, R10, offset - _SOCKET_RECORD, R1)
    asm.jump("write")
    asm.label("ipv6")
    for offset, name in ((24, "sock_common.skc_v6_rcv_saddr"), (40, "sock_common.skc_v6_daddr")):
        for half in (0, 8):
            asm.load(8, R1, R9, at[name] + half)
            asm.store(8, R10, offset + half - _SOCKET_RECORD, R1)
    asm.label("write")


def _gather_flags(asm: Assembler, layout: Layout, sock: int) -> None:
    """Put REUSEADDR, REUSEPORT and V6ONLY of a sock_common into r7."""
    asm.op("mov", R7, 0)
    for name, mask, flag in (
        ("sock_common.skc_reuse", 0xF, REUSEADDR),
        ("sock_common.skc_reuseport", 1, REUSEPORT),
        ("sock_common.skc_ipv6only", 1, V6ONLY),
    ):
        asm.load(1, R1, sock, layout[name] // 8)
        asm.op("and", R1, mask << layout[name] % 8)
        asm.jump_if("eq", R1, 0, name)
        asm.op("or", R7, flag)
        asm.label(name)


def _or_field(asm: Assembler, offset: int, size: int, shift: int) -> None:
    """r7 |= field of the sock_common in r9, shifted"""
    asm.load(size, R1, R9, offset)
    asm.op("lsh", R1, shift)
    asm.op_register("or", R7, R1)


def _finish(asm: Assembler, size: int) -> bytes:
    """Write the record at the end of the stack to the iterator's output and return."""
    asm.load(8, R1, R6, 0)
    asm.load(8, R1, R1, 0)
    asm.op_register("mov", R2, R10)
    asm.op("add", R2, -size)
    asm.op("mov", R3, size)
    asm.call(_SEQ_WRITE)
    asm.label("out")
    asm.op("mov", R0, 0)
    asm.exit()
    return asm.code()


def _bytes_of(layout: Layout) -> dict[str, int]:
    """Turn bit offsets into byte offsets; raises OSError if the kernel lacks something that is needed."""
    missing = [name for name in (*FUNCTIONS, *MEMBERS) if name not in layout and name not in OPTIONAL]
    if missing:
        raise OSError(EOPNOTSUPP, "this kernel's BTF does not describe " + ", ".join(missing))
    return {name: bits // 8 for name, bits in layout.items()}
