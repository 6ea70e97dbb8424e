"""What a script says: events with their times, system calls with their arguments, packets. Plain data, made by `parser`."""

ABSOLUTE = 0
RELATIVE = 1
ANY_TIME = 2

INBOUND = 0
OUTBOUND = 1


class EventTime:
    """When an event happens, in nanoseconds; `end_ns` ends a range, `return_ns` is when a blocking call returns (-1: none)."""

    def __init__(self, kind: int, start_ns: int = 0, end_ns: int = -1, return_ns: int = -1) -> None:
        self.kind = kind
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.return_ns = return_ns


class Event:
    """Something that happens at a line of a script."""

    def __init__(self, line: int, time: EventTime, text: str) -> None:
        self.line = line
        self.time = time
        self.text = text  # as written, without the time


class ShellEvent(Event):
    """A command between backquotes."""

    command = ""


class CodeEvent(Event):
    """Python between %{ and }%."""

    code = ""


# Arguments of calls


class Expr:
    """An argument; this class itself is the `...`."""


class Num(Expr):
    """A number, or constants joined by |."""

    def __init__(self, value: int, text: str) -> None:
        self.value = value
        self.text = text


class Str(Expr):
    """A string."""

    def __init__(self, value: bytes) -> None:
        self.value = value


class Items(Expr):
    """[a, b, ...]"""

    def __init__(self, items: list[Expr]) -> None:
        self.items = items


class Call(Expr):
    """name(a, ...), such as inet6_addr("::1")."""

    def __init__(self, name: str, args: list[Expr]) -> None:
        self.name = name
        self.args = args


class Either(Expr):
    """a or b"""

    def __init__(self, choices: list[Expr]) -> None:
        self.choices = choices


class Field(Expr):
    """name=value or name(size)=value inside braces; a value alone has the name ""."""

    def __init__(self, name: str, size: Expr | None, value: Expr) -> None:
        self.name = name
        self.size = size
        self.value = value


class Struct(Expr):
    """{a=1, b=2} or {..., 10}"""

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields

    def get(self, name: str) -> Expr | None:
        """Return a field's value, or None."""
        for field in self.fields:
            if field.name == name:
                return field.value
        return None


class SyscallEvent(Event):
    """A system call: `result` None is written `...`; `errno` is a name or ""."""

    name = ""
    args: list[Expr] = []
    result: int | None = 0
    errno = ""


# Packets


class TcpOption:
    """One option: `kind` is the word that the language has for it, `data` and `numbers` what follows."""

    def __init__(self, kind: str, numbers: list[int] | None = None, data: bytes = b"") -> None:
        self.kind = kind
        self.numbers = [] if numbers is None else numbers
        self.data = data


class IpInfo:
    """What a script says about the IP header; -1 or "" is nothing."""

    def __init__(self) -> None:
        self.ecn = ""  # ect0 ect1 ect01 ce noecn
        self.tos = -1
        self.ttl = -1
        self.flowlabel = -1


class Quote:
    """The quoted packet of an ICMP message: protocol, and for TCP the sequence range."""

    def __init__(self, protocol: str, start: int, length: int) -> None:
        self.protocol = protocol
        self.start = start
        self.length = length


class PacketEvent(Event):
    """A packet that goes in or must come out."""

    direction = INBOUND
    ip: IpInfo
    protocol = "tcp"  # tcp udp icmp
    sport = 0
    dport = 0
    # tcp
    flags = 0
    ace = -1  # the three-bit counter when the flags are written as a digit
    seq = 0
    length = 0
    ack = 0
    has_ack = False
    win = -1
    urg = 0
    options: list[TcpOption] | None = None  # None: <...>, not looked at
    # icmp
    icmp_type = 0
    icmp_code = 0
    icmp_mtu = -1
    icmp_id = -1
    icmp_family = 4
    quote: Quote | None = None


class Script:
    """A parsed script."""

    def __init__(self) -> None:
        self.options: list[tuple[str, str]] = []  # names without dashes
        self.init: ShellEvent | None = None
        self.cleanup: ShellEvent | None = None
        self.events: list[Event] = []
