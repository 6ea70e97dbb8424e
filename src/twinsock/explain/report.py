"""Report: the whole answer to one Question, ready to be drawn or written as JSON."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.facts import Question

OK = "ok"
FAILS = "fails"
UNKNOWN = "unknown"


class Holder:
    """One process that holds a socket."""

    def __init__(self, pid: int, fd: int, comm: str, uid: int) -> None:
        self.pid = pid
        self.fd = fd
        self.comm = comm
        self.uid = uid
        self.command = ""
        self.unit = ""  # systemd unit or container
        self.parents: list[str] = []  # "bash (pid 4)", nearest first
        self.running_ms = -1
        self.inherited = False  # the descriptor passes on to programs that it starts


class Blocker:
    """One socket in the way (or `count` that are alike), and why it is."""

    def __init__(self, index: int) -> None:
        self.index = index  # into Snapshot.sockets; -1 for a UNIX socket's path
        self.state = ""
        self.local = ""
        self.remote = ""
        self.device = ""
        self.netns = 0
        self.uid = -1
        self.inode = 0
        self.cookie = 0
        self.count = 1
        self.reuse = -1  # REUSEADDR 1, REUSEPORT 2; -1 unknown
        self.holders: list[Holder] = []
        self.ghost = ""  # who keeps it if no process does
        self.ghost_kind = ""
        self.ghost_pid = -1  # the process through which it lives, -1 unknown
        self.lasts_ms = -1  # -1: until its program lets go of it
        self.since_ms = -1  # how long it has been there, at most
        self.rule = ""  # short name, stable
        self.why = ""  # in words
        self.facts: list[str] = []


class Variant:
    """What another set of options would get."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.result = OK
        self.errno = 0
        self.call = ""
        self.asked = False  # it is the question itself


class Remedy:
    """One thing that helps."""

    def __init__(self, action: str, text: str, verified: bool) -> None:
        self.action = action  # a command or a line of code
        self.text = text  # what it does, and its price
        self.verified = verified  # the twin says that bind() and listen() succeed after it


class Report:
    """The answer."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.target = ""  # "tcp://0.0.0.0:8080"
        self.result = OK
        self.call = ""  # the call that fails: socket, setsockopt, bind, listen, connect
        self.errno = 0
        self.rule = ""
        self.sentence = ""
        self.unless = ""  # result "unknown": what it depends on
        self.port = 0  # the port that port 0 would get, or the question's
        self.path: list[str] = []  # kernel functions, outermost first
        self.blockers: list[Blocker] = []
        self.variants: list[Variant] = []
        self.remedies: list[Remedy] = []
        self.notes: list[str] = []
        self.elsewhere: list[str] = []
        self.next_free: list[int] = []
        self.proof = ""  # what --prove saw
        self.proof_agrees: bool | None = None

    def exit_code(self) -> int:
        """0 would succeed, 1 would fail, 3 cannot tell without more permission."""
        return 0 if self.result == OK else 1 if self.result == FAILS else 3
