"""The options of `twinsock ss`: those of ss(8) with the same meaning, and what it lacks.

One table is the source of the parser, the help and the shell completion.
"""

from __future__ import annotations

from twinsock.ui.args import UsageError, did_you_mean, printable

INET_TABLES = ("raw", "udp", "tcp", "mptcp")
UNIX_TABLES = ("unix_stream", "unix_dgram", "unix_seqpacket")
PACKET_TABLES = ("packet_raw", "packet_dgram")
VSOCK_TABLES = ("vsock_stream", "vsock_dgram")
TABLES = ("netlink", *PACKET_TABLES, *UNIX_TABLES, *INET_TABLES, *VSOCK_TABLES, "xdp")
"""In the order in which they are shown."""
GONE_TABLES = ("dccp", "sctp", "tipc")
"""Known to ss(8), and without a reader here."""
QUERIES = {
    "all": TABLES,
    "inet": INET_TABLES,
    "unix": UNIX_TABLES,
    "packet": PACKET_TABLES,
    "vsock": VSOCK_TABLES,
    "u_str": ("unix_stream",),
    "u_dgr": ("unix_dgram",),
    "u_seq": ("unix_seqpacket",),
    "p_raw": ("packet_raw",),
    "p_dgr": ("packet_dgram",),
    "v_str": ("vsock_stream",),
    "v_dgr": ("vsock_dgram",),
} | {name: (name,) for name in TABLES}
FAMILIES = ("inet", "inet6", "unix", "link", "netlink", "vsock", "xdp")

LISTEN, CLOSE, TIME_WAIT, SYN_RECV, SYN_SENT, ESTABLISHED = 1 << 10, 1 << 7, 1 << 6, 1 << 3, 1 << 2, 1 << 1
BOUND_INACTIVE = 1 << 13
ALL_STATES = 0xFFF
CONNECTED = ALL_STATES & ~(LISTEN | CLOSE | TIME_WAIT | SYN_RECV)
STATES = {
    "established": ESTABLISHED,
    "estab": ESTABLISHED,
    "syn-sent": SYN_SENT,
    "syn-recv": SYN_RECV,
    "fin-wait-1": 1 << 4,
    "fin-wait-2": 1 << 5,
    "time-wait": TIME_WAIT,
    "unconnected": CLOSE,
    "closed": CLOSE,
    "close-wait": 1 << 8,
    "last-ack": 1 << 9,
    "listening": LISTEN,
    "listen": LISTEN,
    "closing": 1 << 11,
    "bound-inactive": BOUND_INACTIVE,
    "all": ALL_STATES,
    "connected": ALL_STATES & ~(CLOSE | LISTEN),
    "synchronized": ALL_STATES & ~(CLOSE | LISTEN | SYN_SENT),
    "bucket": SYN_RECV | TIME_WAIT,
    "big": ALL_STATES & ~(SYN_RECV | TIME_WAIT),
}

# (short, long, name of its value or "", help)
OPTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("t", "tcp", "", "TCP sockets"),
    ("u", "udp", "", "UDP sockets"),
    ("x", "unix", "", "UNIX sockets"),
    ("w", "raw", "", "RAW sockets"),
    ("0", "packet", "", "PACKET sockets"),
    ("M", "mptcp", "", "MPTCP sockets"),
    ("", "vsock", "", "VSOCK sockets"),
    ("", "xdp", "", "XDP sockets"),
    ("4", "ipv4", "", "IPv4 only"),
    ("6", "ipv6", "", "IPv6 only"),
    ("f", "family", "FAMILY", "inet, inet6, unix, link, netlink, vsock or xdp"),
    ("A", "query", "LIST", "tables, with commas: all, inet, tcp, udp, unix_stream, netlink, ...; !NAME leaves one out"),
    ("", "socket", "LIST", "the same as --query"),
    ("a", "all", "", "in all states"),
    ("l", "listening", "", "those that wait for others only"),
    ("B", "bound-inactive", "", "TCP sockets that are bound and neither listen nor are connected"),
    ("n", "numeric", "", "numbers instead of names of services"),
    ("r", "resolve", "", "names of hosts"),
    ("p", "processes", "", "who holds them"),
    ("T", "threads", "", "the same, by thread"),
    ("e", "extended", "", "user, inode, cookie, cgroup, v6only, shutdown"),
    ("m", "memory", "", "memory"),
    ("i", "info", "", "what TCP knows: tcp_info"),
    ("o", "options", "", "timers"),
    ("", "tos", "", "type of service, traffic class"),
    ("", "cgroup", "", "path of the cgroup"),
    ("", "inet-sockopt", "", "IP options"),
    ("s", "summary", "", "counts only"),
    ("H", "no-header", "", "no header line"),
    ("O", "oneline", "", "one line per socket"),
    ("N", "net", "NAME", "in this network namespace: a name of `ip netns`, a pid or an inode number"),
    ("F", "filter", "FILE", "read the filter from a file, - for standard input"),
    ("", "all-netns", "", "in every network namespace, with a column that names it"),
    ("", "reuse", "", "SO_REUSEADDR and SO_REUSEPORT"),
    ("", "unit", "", "systemd unit or container of the holder"),
    ("", "ghosts", "", "what keeps sockets alive that no descriptor refers to"),
    ("", "sort", "COLUMN", "sort by a column of --json; -COLUMN: largest first"),
    ("", "group-by", "COLUMN", "count by a column of --json, or by several with commas"),
    ("", "json", "", "one JSON document; the schema is in docs/ss.md"),
    ("", "csv", "", "comma separated values with a header line"),
    ("", "parquet", "FILE", "write an Apache Parquet file (needs pyarrow)"),
    ("h", "help", "", "this text"),
    ("V", "version", "", "the version"),
)
REFUSED = {
    "K": "it does not close sockets; ss -K does, and twinsock why PORT says what to stop instead",
    "kill": "it does not close sockets; ss -K does, and twinsock why PORT says what to stop instead",
    "D": "it writes no raw dumps; --json, --csv and --parquet are for programs",
    "diag": "it writes no raw dumps; --json, --csv and --parquet are for programs",
    "b": "it does not show socket filters; ss -b does",
    "bpf": "it does not show socket filters; ss -b does",
    "E": "it does not wait for events; ss -E does, and twinsock trace shows what happens to sockets",
    "events": "it does not wait for events; ss -E does, and twinsock trace shows what happens to sockets",
    "Z": "it does not show SELinux contexts; ss -Z does",
    "context": "it does not show SELinux contexts; ss -Z does",
    "z": "it does not show SELinux contexts; ss -z does",
    "contexts": "it does not show SELinux contexts; ss -z does",
    "d": "it does not know DCCP, which Linux 6.16 dropped",
    "dccp": "it does not know DCCP, which Linux 6.16 dropped",
    "S": "it does not know SCTP; ss -S does",
    "sctp": "it does not know SCTP; ss -S does",
    "tipc": "it does not know TIPC; ss --tipc does",
    "tipcinfo": "it does not know TIPC; ss --tipcinfo does",
}
_SHORT = {short: long for short, long, _value, _help in OPTIONS if short}
_LONG = {long: value for _short, long, value, _help in OPTIONS}
_TABLE_OPTIONS = {
    "tcp": ("tcp",),
    "udp": ("udp",),
    "unix": UNIX_TABLES,
    "raw": ("raw",),
    "packet": PACKET_TABLES,
    "mptcp": ("mptcp",),
    "vsock": VSOCK_TABLES,
    "xdp": ("xdp",),
}
_FAMILY_TABLES = {
    "inet": INET_TABLES,
    "inet6": INET_TABLES,
    "unix": UNIX_TABLES,
    "link": PACKET_TABLES,
    "netlink": ("netlink",),
    "vsock": VSOCK_TABLES,
    "xdp": ("xdp",),
}


class Options:
    """A parsed command line: which sockets, and how to show them."""

    def __init__(self) -> None:
        self.given: list[str] = []  # long names, in order
        self._names: set[str] = set()
        self.values: dict[str, str] = {}
        self.tables: list[str] = []
        self.families: tuple[int, ...] = (2, 10)
        self.states = CONNECTED
        self.words: list[str] = []  # the filter, without its states

    def has(self, *names: str) -> bool:
        """Tell whether one of these options was given."""
        return not self._names.isdisjoint(names)

    def give(self, name: str) -> None:
        """Note that an option was given."""
        self.given.append(name)
        self._names.add(name)


def parse(argv: list[str]) -> Options:
    """Read a command line. Raises UsageError."""
    options = Options()
    words = _split(argv, options)
    if "filter" in options.values:
        words = _read_filter(options.values["filter"]) + words
    options.words, states = take_states([piece for word in words for piece in word.split()])
    _choose_tables(options)
    if states is not None:
        options.states = states
    elif options.has("all"):
        options.states = ALL_STATES | (BOUND_INACTIVE if options.has("bound-inactive") else 0)
    elif options.has("listening"):
        options.states = LISTEN | CLOSE
    if options.has("bound-inactive") and states is None and not options.has("all"):
        options.states = BOUND_INACTIVE | (options.states if options.has("listening") else 0)
    return options


def _split(argv: list[str], options: Options) -> list[str]:
    """Sort a command line into options and words, as getopt_long(3) does."""
    words: list[str] = []
    index = 0
    while index < len(argv):
        arg = argv[index]
        index += 1
        if arg == "--":
            return words + argv[index:]
        if arg.startswith("--"):
            name, equals, value = arg[2:].partition("=")
            index = _take(options, _full_name(name), equals == "=", value, argv, index)
        elif arg.startswith("-") and len(arg) > 1:
            rest = arg[1:]
            while rest:
                letter, rest = rest[0], rest[1:]
                if letter in REFUSED:
                    raise UsageError(f"-{letter}: {REFUSED[letter]}")
                if letter not in _SHORT:
                    raise UsageError(f"unknown option -{printable(letter)} (twinsock ss --help)")
                name = _SHORT[letter]
                if _LONG[name]:
                    index = _take(options, name, bool(rest), rest, argv, index)
                    break
                _take(options, name, False, "", argv, index)
        else:
            words.append(arg)
    return words


def _full_name(name: str) -> str:
    """Complete a long option's name where only one begins so. Raises UsageError."""
    if name in REFUSED:
        raise UsageError(f"--{name}: {REFUSED[name]}")
    if name in _LONG:
        return name
    near = [known for known in _LONG if name and known.startswith(name)]
    if len(near) == 1:
        return near[0]
    hint = (
        f"; did you mean {' or '.join('--' + known for known in near)}?"
        if near
        else did_you_mean("--" + name, tuple(["--" + known for known in _LONG]))
    )
    raise UsageError(f"unknown option --{printable(name)}{hint}")


def _take(options: Options, name: str, has_value: bool, value: str, argv: list[str], index: int) -> int:
    """Store one option and return the index behind its value. Raises UsageError."""
    options.give(name)
    if not _LONG[name]:
        if has_value:
            raise UsageError(f"--{name} takes no value")
        return index
    if not has_value:
        if index >= len(argv):
            raise UsageError(f"--{name} needs a value: {_LONG[name]}")
        value = argv[index]
        index += 1
    if not value:
        raise UsageError(f"--{name} needs a value: {_LONG[name]}")
    if name in ("query", "socket"):
        value = options.values["query"] + "," + value if "query" in options.values else value
        name = "query"
    options.values[name] = value
    return index


def _read_filter(path: str) -> list[str]:
    """Read the words of a filter file. Raises UsageError."""
    import sys

    try:
        if path == "-":
            return sys.stdin.read().split()
        with open(path) as file:
            return file.read().split()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the filter {printable(path)}: {error}") from None


def take_states(words: list[str]) -> tuple[list[str], int | None]:
    """Take `state X` and `exclude X` off the front of a filter. Raises UsageError."""
    states: int | None = None
    while words and words[0] in ("state", "exclude", "excl"):
        if len(words) < 2:
            raise UsageError(f"{words[0]} needs the name of a state: {', '.join(STATES)}")
        name = words[1].lower()
        bits = STATES.get(name)
        if bits is None:
            raise UsageError(f"there is no state {printable(name)}{did_you_mean(name, tuple(STATES)) or ': ' + ', '.join(STATES)}")
        if words[0] == "state":
            states = (states or 0) | bits
        else:
            states = (ALL_STATES if states is None else states) & ~bits
        words = words[2:]
    if states == 0:
        raise UsageError("no state is left to show")
    return words, states


def _choose_tables(options: Options) -> None:
    """Work out which tables to ask, and of which families. Raises UsageError."""
    chosen: list[str] = []
    for name in options.given:
        chosen += _TABLE_OPTIONS.get(name, ())
    if "query" in options.values:
        chosen += _query(options.values["query"], chosen)
    four, six = options.has("ipv4"), options.has("ipv6")
    family = options.values.get("family", "")
    if family:
        if family not in _FAMILY_TABLES:
            raise UsageError(f"there is no family {printable(family)}; write one of {', '.join(FAMILIES)}")
        four |= family == "inet"
        six |= family == "inet6"
        if not chosen:
            chosen += _FAMILY_TABLES[family]
    if (four or six) and not chosen:
        chosen += INET_TABLES
    if four != six:
        options.families = (2,) if four else (10,)
    if options.has("bound-inactive") and not chosen:
        chosen.append("tcp")
    options.tables = [name for name in TABLES if name in chosen or not chosen]
    if four or six or family in ("unix", "link", "netlink", "vsock", "xdp"):
        wanted = [*(INET_TABLES if four or six else ()), *_FAMILY_TABLES.get(family, ())]
        options.tables = [name for name in options.tables if name in wanted]
        if not options.tables:
            raise UsageError("no table is left to show: the families and the tables exclude each other")


def _query(text: str, before: list[str]) -> list[str]:
    """Read the list of -A. Raises UsageError."""
    chosen: list[str] = []
    dropped: list[str] = []
    for item in text.split(","):
        name = item.lstrip("!").strip().lower()
        if name in GONE_TABLES:
            raise UsageError(f"-A {name}: {REFUSED[name]}")
        if name not in QUERIES:
            raise UsageError(f"there is no table {printable(item)}{did_you_mean(name, tuple(QUERIES)) or ': ' + ', '.join(QUERIES)}")
        (dropped if item.startswith("!") else chosen).extend(QUERIES[name])
    if dropped and not chosen and not before:
        chosen += TABLES
    return [name for name in chosen if name not in dropped]
