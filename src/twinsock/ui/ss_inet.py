"""Rows of TCP, UDP, MPTCP and RAW sockets as ss(8) writes them."""

from __future__ import annotations

from itertools import islice
from sys import byteorder

from twinsock.inspect.address import format_address
from twinsock.inspect.columns import Columns, alike
from twinsock.inspect.stream import InetSocket, consumed, sockets
from twinsock.uapi.in_ import IPPROTO_TCP, IPPROTO_UDP
from twinsock.ui.ss_sheet import STATE_NAMES, Batch, BatchKit, is_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinsock.inspect.stream import Run
    from twinsock.ui.ss_run import View
    from twinsock.ui.ss_sheet import Row, Sheet

IPPROTO_MPTCP = 262
PROTOCOLS = {"tcp": IPPROTO_TCP, "udp": IPPROTO_UDP, "raw": 255, "mptcp": IPPROTO_MPTCP}
_AF_INET = 2
_INET_DIAG_SKV6ONLY = 11
_SMALL_RUN = 8
_FIXED_BYTES = 88  # of a message: netlink's header and struct inet_diag_msg
_NO_DEVICE = b"\0\0\0\0"
_BATCH_BYTES = 1 << 20
_PREPARED_BATCHES = 8  # asked about at once


def add_runs(sheet: Sheet, view: View, table: str, found: list[Run], netns: int) -> None:
    """Add a dump's sockets in order: long runs as batches, odd ones row by row."""
    detailed = view.wants_extra(table)
    host = _resolved_word(view) if view.resolve else _host_of_word
    kit = BatchKit(table, host, lambda number: ":" + view.service(number, table), view.numeric, view.users_of(table))
    if detailed:
        kit.users = view.users_column
        for chunk in _chunks(view, found):
            _add_detailed(sheet, view, kit, chunk, netns)
        return
    alike_pieces: list[bytes] = []
    size = alike_stride = 0
    for stride, data in found:
        pieces, piece_stride = _plain_pieces(stride, data)
        if alike_pieces and (piece_stride != alike_stride or size > _BATCH_BYTES):
            sheet.add_batch(Batch(kit, alike_stride, b"".join(alike_pieces)))
            alike_pieces = []
            size = 0
        if pieces:
            alike_pieces += pieces
            size += len(data)
            alike_stride = piece_stride
        else:
            for sock in sockets([(stride, data)], PROTOCOLS[table], netns):
                sheet.add(row_of(view, table, sock, view.users(sock.inode)))
    if alike_pieces:
        sheet.add_batch(Batch(kit, alike_stride, b"".join(alike_pieces)))


def _chunks(view: View, found: list[Run]) -> Iterator[list[tuple[bytes, Run]]]:
    """Give the runs by some thousand sockets, and let each go after that."""
    chunk: list[tuple[bytes, Run]] = []
    size = 0
    limit = _BATCH_BYTES * _PREPARED_BATCHES if view.prepares() else _BATCH_BYTES
    for layout, run in alike(consumed(found)):
        chunk.append((layout, run))
        size += len(run[1])
        if size > limit:
            yield chunk
            chunk = []
            size = 0
    if chunk:
        yield chunk


def _add_detailed(sheet: Sheet, view: View, kit: BatchKit, chunk: list[tuple[bytes, Run]], netns: int) -> None:
    """Add sockets with what is told of each behind its addresses."""
    from twinsock.ui.ss_extra import inet_extra

    table = kit.netid
    view.prepare([run for _layout, run in chunk], PROTOCOLS[table], netns)
    tables: dict[bytes, list[bytes]] = {}
    for layout, (_stride, data) in chunk:
        tables.setdefault(layout, []).append(data)
    strides = {layout: stride for layout, (stride, _data) in chunk}
    texts: dict[bytes, Iterator[str]] = {}
    for layout, pieces in tables.items():
        texts[layout] = iter(inet_extra(view, Columns(strides[layout], b"".join(pieces)), PROTOCOLS[table]))
    pieces = []
    extras: list[str] = []
    for layout, (stride, data) in chunk:
        own = islice(texts[layout], len(data) // stride)
        if is_plain(stride, data, _AF_INET):
            pieces += [data[start : start + _FIXED_BYTES] for start in range(0, len(data), stride)]
            extras += own
            continue
        if pieces:
            sheet.add_batch(Batch(kit, _FIXED_BYTES, b"".join(pieces), extras))
            pieces, extras = [], []
        for sock, text in zip(sockets([(stride, data)], PROTOCOLS[table], netns), own, strict=True):
            sheet.add(row_of(view, table, sock, text))
    if pieces:
        sheet.add_batch(Batch(kit, _FIXED_BYTES, b"".join(pieces), extras))


def _plain_pieces(stride: int, data: bytes) -> tuple[list[bytes], int]:
    """Give a run as it is, or the fixed part of the messages of a short one, and their stride; nothing if it is not plain."""
    if len(data) >= _SMALL_RUN * stride:
        return ([data], stride) if is_plain(stride, data, _AF_INET) else ([], 0)
    starts = range(0, len(data), stride)
    for start in starts:
        if data[start + 16] != _AF_INET or data[start + 56 : start + 60] != _NO_DEVICE:
            return [], 0
    return [data[start : start + _FIXED_BYTES] for start in starts], _FIXED_BYTES


def sockets_from_proc(view: View, table: str, netns: int, error: OSError) -> Iterator[InetSocket]:
    """Read /proc/net where sock_diag has no handler or refuses; a note says what is missing."""
    from twinsock.inspect.procnet import proc_sockets

    name = table.upper()
    condition = view.condition(netns)
    if isinstance(error, ProcessLookupError) or table == "mptcp":
        view.note(f"{name} sockets are not shown: {error.strerror}")
        return
    if table != "raw":
        view.note(f"{name} sockets are from /proc, without details: {error.strerror}")
    for family in view.options.families:
        try:
            found = proc_sockets(view.port, family, PROTOCOLS[table], netns)
        except OSError as refused:
            view.note(f"{name} sockets are not shown: {refused.strerror}")
            continue
        for record in found:
            sock = InetSocket(PROTOCOLS[table], netns)
            sock.family = record.family
            sock.state = record.state
            sock.local, sock.local_port = record.local, record.local_port
            sock.remote, sock.remote_port = record.remote, record.remote_port
            sock.rqueue, sock.wqueue = record.rqueue, max(record.wqueue, 0)
            sock.timer, sock.expires_ms, sock.retransmits = record.timer, record.expires_ms, record.retransmits
            sock.uid, sock.inode = record.uid, record.inode
            if view.options.states >> record.state & 1 and (condition is None or condition.matches(sock.subject())):
                yield sock


def row_of(view: View, table: str, sock: InetSocket, extra: str) -> Row:
    """Write one socket; `extra` is what follows the addresses."""
    local, lport, peer, pport = endpoints(view, table, sock)
    return (
        *(table, STATE_NAMES[sock.state], str(sock.rqueue), str(sock.wqueue)),
        *(local, ":" + lport, peer, ":" + pport, extra),
    )


def endpoints(view: View, table: str, sock: InetSocket) -> tuple[str, str, str, str]:
    """Write both addresses and ports."""
    v6only = bool(sock.attributes.get(_INET_DIAG_SKV6ONLY, b"\0")[0])
    device = "%" + view.device(sock.ifindex, sock.netns) if sock.ifindex else ""
    local = _host(view, sock.local, v6only) + device
    peer = _host(view, sock.remote, v6only)
    return local, view.service(sock.local_port, table), peer, view.service(sock.remote_port, table)


def _host(view: View, address: bytes, v6only: bool) -> str:
    if len(address) == 16 and not v6only and not any(address):
        return "*"
    if view.resolve and any(address):
        return view.host_name(address)
    return format_address(address) if len(address) == 4 else f"[{format_address(address)}]"


def _resolved_word(view: View) -> Callable[[int], str]:
    return lambda word: _host(view, word.to_bytes(4, byteorder), False)


def _host_of_word(word: int) -> str:
    return format_address(word.to_bytes(4, byteorder))
