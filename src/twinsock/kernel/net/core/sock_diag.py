"""NETLINK_SOCK_DIAG: which family's handler a request goes to, sock_diag(7) (Linux: net/core/sock_diag.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkInput, NetlinkRequest
from twinsock.uapi.errno import EINVAL, ENOENT, EOPNOTSUPP, ESTALE
from twinsock.uapi.inet_diag import DCCPDIAG_GETSOCK, TCPDIAG_GETSOCK
from twinsock.uapi.sock_diag import SKNLGRP_MAX, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY
from twinsock.uapi.socket import AF_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.sock import SockCommon

NO_COOKIE = 0xFFFFFFFFFFFFFFFF
_REQ_SIZE = 2  # struct sock_diag_req: family and protocol


class SockDiagHandler:
    """`struct sock_diag_handler`: the sockets of one address family."""

    has_destroy = False

    def dump(self, req: NetlinkRequest) -> int:
        """Answer SOCK_DIAG_BY_FAMILY: a list, or one socket."""
        raise NotImplementedError

    def destroy(self, req: NetlinkRequest) -> int:
        """Answer SOCK_DESTROY."""
        return -EOPNOTSUPP

    def rcv_compat(self, req: NetlinkRequest) -> int:
        """Answer TCPDIAG_GETSOCK and DCCPDIAG_GETSOCK, which came before families."""
        return -EOPNOTSUPP


class SockDiagInput(NetlinkInput):
    """The kernel's end."""

    def __init__(self) -> None:
        super().__init__(SKNLGRP_MAX, nonroot_recv=True)
        self.handlers: list[SockDiagHandler | None] = [None] * AF_MAX
        self.inet_compat: SockDiagHandler | None = None

    def rcv_msg(self, req: NetlinkRequest) -> int:
        """Take a request."""
        if req.type in (TCPDIAG_GETSOCK, DCCPDIAG_GETSOCK):
            return -EOPNOTSUPP if self.inet_compat is None else self.inet_compat.rcv_compat(req)
        if req.type not in (SOCK_DIAG_BY_FAMILY, SOCK_DESTROY):
            return -EINVAL
        if len(req.payload) < _REQ_SIZE or req.payload[0] >= AF_MAX:
            return -EINVAL
        handler = self.handlers[req.payload[0]]
        if handler is None:
            return -ENOENT
        if req.type == SOCK_DIAG_BY_FAMILY:
            return handler.dump(req)
        return handler.destroy(req) if handler.has_destroy else -EOPNOTSUPP


def sock_diag_check_cookie(sk: SockCommon, cookie: int) -> int:
    """Compare a socket's cookie with the one asked for: 0 or -ESTALE."""
    if cookie == NO_COOKIE:
        return 0
    return 0 if sk.sock_gen_cookie() == cookie else -ESTALE
