"""The few ids and offsets of kernel structures that the BPF iterators need, read from /sys/kernel/btf/vmlinux.

BTF describes every type of the running kernel. Walking its 126,000 types takes a tenth of a second, so the answers are
kept in a small text file under the XDG cache directory, named after the kernel's release and build; the file is used
only if it and its folder belong to us and nobody else can write them. Linux: include/uapi/linux/btf.h.
"""

import os
from errno import EOPNOTSUPP

_PATH = "/sys/kernel/btf/vmlinux"
_MAGIC = 0xEB9F
_KIND_STRUCT = 4
_KIND_UNION = 5
_KIND_FUNC = 12
_MODIFIERS = (8, 9, 10, 11, 18)
_WORDS_AFTER = {1: 1, 2: 0, 3: 3, 7: 0, 8: 0, 9: 0, 10: 0, 11: 0, 12: 0, 14: 1, 16: 0, 17: 1, 18: 0}
_WORDS_PER_MEMBER = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}

FUNCTIONS = ("bpf_iter_task_file", "bpf_iter_tcp", "bpf_iter_udp")
MEMBERS = (
    "file.f_inode",
    "inode.i_mode",
    "inode.i_ino",
    "task_struct.tgid",
    "task_struct.pid",
    "socket.sk",
    "socket.file",
    "sock.sk_socket",
    "sock.sk_protocol",
    "sock_common.skc_state",
    "sock_common.skc_family",
    "sock_common.skc_reuse",
    "sock_common.skc_reuseport",
    "sock_common.skc_ipv6only",
    "sock_common.skc_net.net",
    "sock_common.skc_cookie",
    "sock_common.skc_num",
    "sock_common.skc_dport",
    "sock_common.skc_rcv_saddr",
    "sock_common.skc_daddr",
    "sock_common.skc_v6_rcv_saddr",
    "sock_common.skc_v6_daddr",
    "net.ns.inum",
    "unix_sock.scm_stat.nr_fds",
    "sock.sk_receive_queue.qlen",
    "sock.sk_ino",
)
OPTIONAL = ("sock.sk_ino",)
"""Linux: since 6.18; without it the tcp and udp iterators show no inode."""

Layout = dict[str, int]
"""Function name -> BTF id; "struct.member" -> offset in bits."""


def kernel_layout() -> Layout:
    """Return ids and bit offsets for the running kernel, from the cache or from BTF; raises OSError if there is none."""
    name = _cache_name()
    folder = _cache_folder()
    if folder >= 0:
        try:
            known = _read_cache(folder, name)
            if known is None:
                known = _read_btf()
                _write_cache(folder, name, known)
            return known
        finally:
            os.close(folder)
    return _read_btf()


def parse_btf(data: bytes, functions: tuple[str, ...], members: tuple[str, ...]) -> Layout:
    """Find ids of functions and bit offsets of members (through anonymous unions and nested structs) in a BTF blob."""
    if len(data) < 24 or int.from_bytes(data[:2], "little") != _MAGIC:
        raise OSError(EOPNOTSUPP, "the kernel's BTF has an unknown format")
    header = memoryview(data)[:24].cast("I")
    start = header[1] + header[2]
    words = memoryview(data)[start : start + header[3]].cast("I")
    start = header[1] + header[4]
    strings = data[start : start + header[5]]
    structs = {path.partition(".")[0] for path in members}
    wanted = {_string_offset(strings, name): name for name in (*functions, *structs)}
    positions, found = _walk(words, wanted)
    layout: Layout = {}
    for name in functions:
        for type_id in found.get(name, []):
            if words[positions[type_id] + 1] >> 24 & 31 == _KIND_FUNC:
                layout[name] = type_id
    for path in members:
        struct, _, rest = path.partition(".")
        for type_id in found.get(struct, []):
            if words[positions[type_id] + 1] >> 24 & 31 == _KIND_STRUCT:
                offset = _member_offset(words, positions, strings, type_id, rest.split("."))
                if offset >= 0:
                    layout[path] = offset
    return layout


def _walk(words: memoryview, wanted: dict[int, str]) -> tuple[list[int], dict[str, list[int]]]:
    """Note where each type starts, and the ids of the wanted names."""
    positions = [0]
    found: dict[str, list[int]] = {}
    at = 0
    end = len(words)
    append = positions.append
    after = _WORDS_AFTER
    per_member = _WORDS_PER_MEMBER
    while at < end:
        if words[at] in wanted:
            found.setdefault(wanted[words[at]], []).append(len(positions))
        info = words[at + 1]
        kind = info >> 24 & 31
        append(at)
        at += 3 + (per_member[kind] * (info & 0xFFFF) if kind in per_member else after[kind])
    return positions, found


def _member_offset(words: memoryview, positions: list[int], strings: bytes, type_id: int, path: list[str]) -> int:
    """Return the offset in bits of a member path inside a struct or union, -1 if it is not there."""
    at = positions[type_id]
    while words[at + 1] >> 24 & 31 in _MODIFIERS:
        type_id = words[at + 2]
        at = positions[type_id]
    info = words[at + 1]
    if info >> 24 & 31 not in (_KIND_STRUCT, _KIND_UNION):
        return -1
    bitfields = info >> 31
    for member in range(at + 3, at + 3 + 3 * (info & 0xFFFF), 3):
        offset = words[member + 2] & 0xFFFFFF if bitfields else words[member + 2]
        start = words[member]
        name = strings[start : strings.index(b"\0", start)].decode()
        rest = path if not name else path[1:] if name == path[0] else None
        if rest is None:
            continue
        if name and not rest:
            return int(offset)
        inner = _member_offset(words, positions, strings, words[member + 1], rest)
        if inner >= 0:
            return int(offset) + inner
    return -1


def _string_offset(strings: bytes, name: str) -> int:
    return strings.find(b"\0" + name.encode() + b"\0") + 1 or -1


def _read_btf() -> Layout:
    with open(_PATH, "rb") as file:
        return parse_btf(file.read(), FUNCTIONS, MEMBERS)


def _cache_name() -> str:
    system = os.uname()
    build = "".join(char if char.isalnum() else "-" for char in system.release + "-" + system.version)
    return f"btf-{build}-{os.stat(_PATH).st_size}-{len(FUNCTIONS) + len(MEMBERS)}"


def _cache_folder() -> int:
    """Open our cache folder, made if need be; -1 if there is none that only we can write."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", ""), ".cache")
    if not base.startswith("/"):
        return -1
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    parent = -1
    try:
        os.makedirs(base, 0o700, exist_ok=True)
        parent = os.open(base, flags)
        if not _is_ours(parent):
            return -1
        if "twinsock" not in os.listdir(parent):
            os.mkdir("twinsock", 0o700, dir_fd=parent)
        folder = os.open("twinsock", flags, dir_fd=parent)
    except OSError:
        return -1
    finally:
        if parent >= 0:
            os.close(parent)
    if _is_ours(folder):
        return folder
    os.close(folder)
    return -1


def _is_ours(fd: int) -> bool:
    """Tell whether a file belongs to us and nobody else may write it."""
    status = os.fstat(fd)
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _read_cache(folder: int, name: str) -> Layout | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    try:
        text = os.read(fd, 1 << 16).decode("ascii", "replace") if _is_ours(fd) else ""
    finally:
        os.close(fd)
    layout: Layout = {}
    for line in text.splitlines():
        key, _, number = line.partition(" ")
        if number.isdecimal():
            layout[key] = int(number)
    return layout if text.endswith("\nend\n") else None


def _write_cache(folder: int, name: str, layout: Layout) -> None:
    """Write the cache file in one step; that it cannot be written is no failure."""
    text = "".join(f"{key} {number}\n" for key, number in layout.items()) + "end\n"
    part = f"{name}.{os.getpid()}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(part, flags, 0o600, dir_fd=folder)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        return
