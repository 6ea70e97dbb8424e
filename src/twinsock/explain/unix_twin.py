"""Load what a host has at a UNIX socket's name into the twin, and ask the twin's own bind(2) and connect(2).

Nothing here decides anything: folders and files are put into the twin's tree with their owners and modes, sockets into
its tables, and what unix_bind(), unix_stream_connect() and unix_dgram_connect() return is the answer. What only the
host's own path walk knows (links, access control lists, security modules) came with the facts. listen(2) has nothing to
refuse to a socket that was just bound.
"""

from __future__ import annotations

from twinsock.inspect.facts import CAP_FULL, DIRECTORY, FILE, NOTHING, OTHER, SOCKET, SYMLINK
from twinsock.kernel.fs.namei import MAY_EXEC, Inode, SuperBlock, inode_permission
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.unix.adopt import adopt_unix, fill_queue, init_names, new_unix_sock, sockaddr_un
from twinsock.kernel.net.unix.names import unix_bind
from twinsock.kernel.sched.task import Cred, Task
from twinsock.uapi.fcntl import O_NONBLOCK
from twinsock.uapi.socket import SOCK_DGRAM
from twinsock.uapi.tcp import TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.facts import Folder, UnixSnapshot
    from twinsock.inspect.unix import UnixRecord

_TYPE_BITS = {SOCKET: 0o140000, FILE: 0o100000, DIRECTORY: 0o040000, SYMLINK: 0o120000, OTHER: 0o020000}
_BACKLOG = 128


class UnixTwin:
    """A snapshot in the twin: its namespace, its part of the file system, and the task that asks."""

    def __init__(self, snapshot: UnixSnapshot) -> None:
        self.snapshot = snapshot
        self.kernel = Kernel()
        self.net = self.kernel.init_net
        if snapshot.question.connect:
            from twinsock.kernel.net.unix.af_unix import af_unix_init

            self.family = af_unix_init(self.kernel)
        else:
            init_names(self.net)
        self.task = Task(self.kernel, self.net, None, self._cred(), 1, "why")
        self.folders: list[tuple[Folder, Inode]] = []
        self.name = snapshot.question.path.split(b"\0")[0]
        abstract = snapshot.question.path.startswith(b"\0")
        inode = None if abstract else self._make_tree()
        if abstract:
            self.name = snapshot.question.path
        for record in snapshot.sockets:
            if not record.accepted and (abstract or inode is not None):
                self._adopt(record, inode)

    def ask(self) -> int:
        """Make the question's call: 0 or the errno, positive."""
        question = self.snapshot.question
        addr = sockaddr_un(self.name)
        if not question.connect:
            return -unix_bind(self.task, new_unix_sock(self.net, question.type), addr)
        from twinsock.kernel.net.core.net import Socket
        from twinsock.kernel.net.unix.af_unix import unix_stream_connect
        from twinsock.kernel.net.unix.dgram import unix_dgram_connect
        from twinsock.kernel.net.unix.unix_sock import unix_sk

        sock = Socket(question.type)
        err = self.family.create(self.task, self.net, sock, 0, 0)
        if err:
            return -err
        if question.type == SOCK_DGRAM:
            return -unix_dgram_connect(self.task, unix_sk(sock), addr)
        return -unix_stream_connect(self.task, sock, addr, O_NONBLOCK)

    def closed_folder(self) -> Folder | None:
        """Give the first folder on the way that may not be searched."""
        for folder, inode in self.folders:
            if inode_permission(self.task, inode, MAY_EXEC):
                return folder
        return None

    def path_of(self, wanted: Folder) -> str:
        """Write the path of a folder on the way."""
        names = [folder.name for folder, _inode in self.folders]
        at = [folder for folder, _inode in self.folders].index(wanted)
        return (b"/".join(names[: at + 1]) or b"/").decode("utf-8", "backslashreplace")

    def _cred(self) -> Cred:
        """Give the credentials of the question."""
        task, question = self.snapshot.task, self.snapshot.question
        uid = task.uid if question.uid < 0 else question.uid
        cred = Cred(uid, task.gid, self.kernel.init_user_ns)
        if uid == task.uid:
            cred.groups = list(task.groups)
            cred.cap_effective = task.caps
        else:
            cred.gid = cred.egid = cred.sgid = cred.fsgid = -1  # not known
            cred.cap_effective = CAP_FULL if uid == 0 else 0
        return cred

    def _make_tree(self) -> Inode | None:
        """Make the folders on the way to the path, and what is there."""
        snapshot = self.snapshot
        tree = self.kernel.rootfs = SuperBlock(self.kernel, with_proc=False)
        here = tree.root
        here.children.clear()
        for number, folder in enumerate(snapshot.folders):
            mode = _TYPE_BITS[folder.kind] | folder.mode
            if number:
                here = tree.add(here, folder.name, mode, folder.uid, folder.gid)
            else:
                here.i_mode, here.i_uid, here.i_gid = mode, folder.uid, folder.gid
            self.folders.append((folder, here))
        last = self.name.rpartition(b"/")[2]
        self.name = b"".join([b"/" + folder.name for folder in snapshot.folders[1:] + snapshot.missing]) + b"/" + last
        tree.read_only = snapshot.read_only
        if snapshot.kind == NOTHING or not here.is_dir():
            return None
        return tree.add(here, last, _TYPE_BITS[snapshot.kind] | snapshot.mode, snapshot.uid, snapshot.gid)

    def _adopt(self, record: UnixRecord, inode: Inode | None) -> None:
        """Give a socket of the host the name."""
        sk = adopt_unix(self.net, record.type, self.name, inode)
        sk.sk_state = record.state
        sk.sk_shutdown = record.shutdown
        if record.state == TCP_LISTEN:
            sk.sk_max_ack_backlog = _BACKLOG if record.wqueue is None else record.wqueue
            fill_queue(sk, record.rqueue or 0)
        elif record.type == SOCK_DGRAM and record.peer:
            sk.peer = new_unix_sock(self.net, record.type)
