"""unix_diag's place in NETLINK_SOCK_DIAG (Linux: net/unix/diag.c; what is told of a socket is in diag.py)."""

from twinsock.kernel.net.core.netlink import NetlinkRequest
from twinsock.kernel.net.core.sock_diag import SockDiagHandler
from twinsock.kernel.net.unix.diag import unix_diag_dump, unix_diag_get_exact
from twinsock.uapi.errno import EINVAL
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.wire.unix_diag import parse_req


class UnixDiag(SockDiagHandler):
    """`unix_diag_handler`."""

    def dump(self, req: NetlinkRequest) -> int:
        """A list, or the socket with an inode."""
        asked = parse_req(req.payload)
        if asked is None:
            return -EINVAL
        if req.wants_dump():
            found = unix_diag_dump(req.net, asked)
            return req.start_dump([req.part(SOCK_DIAG_BY_FAMILY, msg.emit()) for msg in found], True)
        err, msg = unix_diag_get_exact(req.net, asked)
        if msg is None:
            return err
        req.answer(SOCK_DIAG_BY_FAMILY, 0, msg.emit())
        return 0
