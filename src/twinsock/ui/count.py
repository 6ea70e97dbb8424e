"""`twinsock count`: the kernel's socket counters, explained by the sockets that exist."""

from __future__ import annotations

from twinsock.ui.tool import ALL_NETNS, COMMON, DEEP, NETNS, WATCH, is_gone, look_again, no_words, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.count import Field
    from twinsock.inspect.findings import CountSnapshot, CountSpace
    from twinsock.ui.asked import Asked
    from twinsock.ui.term import Paper
    from twinsock.ui.tool import Tool

OPTIONS = (
    ("", "zero", "", "show counters that are 0, too"),
    WATCH,
    NETNS,
    ALL_NETNS,
    DEEP,
    *COMMON,
)
HELP = """\
usage: twinsock count [options]

Takes every counter of /proc/net/sockstat and sockstat6 apart: which sockets it counts, which counters are global and
which belong to one network namespace, and what is left over. For your namespace, unless told otherwise.

OPTIONS

examples
  twinsock count                   why is "TCP: alloc" so much larger than what ss shows?
  twinsock count --all-netns
  twinsock count --netns blue --json

exit codes: 0 everything is explained   1 something is left over   2 wrong usage   3 left over, and something is hidden
"""
LIMIT_S = 1.0
HIDDEN_LIMIT_S = 0.25
PAUSE_S = 0.02


def main(argv: list[str], kernel: Asked | None = None) -> int:
    """Run the command and return its exit code."""
    return run("count", argv, OPTIONS, HELP, work, kernel)


class Answer:
    """One reconciliation."""

    def __init__(self, snapshot: CountSnapshot) -> None:
        from twinsock.explain.count import count_fields, global_fields

        self.snapshot = snapshot
        self.spaces: list[tuple[CountSpace, list[Field]]] = [
            (space, count_fields(snapshot, space)) for space in snapshot.spaces if space.wanted
        ]
        self.globals = global_fields(snapshot)

    def fields(self) -> list[Field]:
        """List all counters."""
        return [*self.globals, *[field for _space, fields in self.spaces for field in fields]]

    def rests(self) -> list[int]:
        """List what each counter has left over."""
        return [field.unaccounted() for field in self.fields()]

    def rest(self) -> tuple[int, int]:
        """Add up what is left over: of the namespaces, and of the counters of the whole machine, which others move."""
        of_spaces = [abs(field.unaccounted()) for _space, fields in self.spaces for field in fields]
        return sum(of_spaces), sum([abs(field.unaccounted()) for field in self.globals])


def work(tool: Tool) -> int:
    """Count, as often as asked. Raises OSError and UsageError."""
    no_words(tool.args)

    def look() -> int:
        from twinsock.explain.count import exit_code

        answer = _steady_answer(tool)
        hidden = bool(answer.snapshot.hidden_processes or answer.snapshot.hidden_spaces or tool.hidden)
        code = exit_code(answer.fields(), hidden)
        if tool.args.has("--json"):
            from twinsock.ui.tool import write_json

            write_json(tool, "count", code, _as_json(answer))
        else:
            _draw(tool, answer)
        return code

    return look_again(tool, look)


def _steady_answer(tool: Tool) -> Answer:
    """Count again while something is left over that may settle, for a second at most. Raises OSError and UsageError.

    Sockets come and go meanwhile; a closed netlink socket is in no table, but counts until its RCU grace period is over.
    """
    from twinsock.explain.count import may_linger

    wanted = [one.inode for one in tool.namespaces(False)]
    best = last = _reconcile(tool, wanted)
    # Sockets of processes that hide their descriptors stay left over: waiting long helps little.
    limit = HIDDEN_LIMIT_S if best.snapshot.hidden_processes else LIMIT_S
    end_ns = tool.port.now_ns() + int(limit * 1e9)
    pause = PAUSE_S
    while any(best.rest()):
        left = (end_ns - tool.port.now_ns()) / 1e9
        if left <= 0:
            break
        tool.port.sleep(min(pause, left))
        pause *= 2
        answer = _reconcile(tool, wanted)
        if answer.rest() < best.rest():
            best = answer
        if answer.rests() == last.rests() and not may_linger(answer.fields()):
            break  # it will not change
        last = answer
    return best


def _reconcile(tool: Tool, wanted: list[int]) -> Answer:
    """Count once. Raises OSError."""
    from twinsock.inspect.gather_count import take_count

    everyone = tool.port.namespaces(tool.args.has("--deep"))
    known = [one for one in everyone if one.accessible]
    named = [one for one in tool.port.namespaces(True) if one.inode in wanted] if set(wanted) - {one.inode for one in known} else []
    snapshot = take_count(tool.port, [*known, *named], wanted, tool.notes)
    snapshot.hidden_spaces += len([one for one in everyone if not one.accessible and not is_gone(one)])
    return Answer(snapshot)


def _draw(tool: Tool, answer: Answer) -> None:
    """Write the counters."""
    from twinsock.explain.count import ghosts_of
    from twinsock.ui.columns import heading
    from twinsock.ui.tool import paper, write_paper

    sheet = paper(tool)
    for space, fields in answer.spaces:
        heading(sheet, space.label + (" (this one)" if space.own else ""))
        _draw_fields(tool, sheet, answer, fields)
        kinds = ghosts_of(space)
        if kinds:
            sheet.prose("of these in no descriptor table: " + ", ".join([f"{count} {kind}" for kind, count in kinds.items()]), 2)
        _draw_holders(sheet, answer, space)
    heading(sheet, "the whole machine")
    _draw_fields(tool, sheet, answer, answer.globals)
    if answer.snapshot.hidden_processes:
        tool.note(f"the descriptors of {answer.snapshot.hidden_processes} processes (needs CAP_SYS_PTRACE or the same user)")
    write_paper(tool, sheet)


def _draw_fields(tool: Tool, sheet: Paper, answer: Answer, fields: list[Field]) -> None:
    """Write each counter and its parts."""
    from twinsock.explain.count import hints
    from twinsock.ui.term import BOLD, RED

    for field in fields:
        rest = field.unaccounted()
        if not field.value and not rest and not tool.args.has("--zero"):
            continue
        title, _, name = field.name.partition(" ")
        sheet.line(f"  {sheet.paint(f'{title}: {name} {field.value}', BOLD)}")
        for part in field.parts:
            sheet.prose(part.text, 13, f"{part.count:>11}")
        if rest:
            text = "unaccounted" if rest > 0 else "more found than counted"
            why = "; ".join(hints(answer.snapshot, field))
            sheet.prose(text + (": " + why if why else ""), 13, f"{abs(rest):>11}", RED)


def _draw_holders(sheet: Paper, answer: Answer, space: CountSpace) -> None:
    """Name the processes that hold most of the sockets which no table lists."""
    from twinsock.ui.term import clean

    top = holders_of_unlisted(answer, space)[:5]
    if top:
        names = [f"{comm} (pid {pid}) {count}" for pid, comm, count in top]
        sheet.prose(clean("sockets that no table lists are held by " + ", ".join(names)), 2)


def holders_of_unlisted(answer: Answer, space: CountSpace) -> list[tuple[int, str, int]]:
    """List (pid, name, count) of who holds sockets that no table lists, most first."""
    owners = answer.snapshot.owners
    counts: dict[int, int] = {}
    for one in space.unlisted:
        counts[one.pid] = counts.get(one.pid, 0) + 1
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(pid, owners.source.comm(pid) if owners is not None else "", count) for pid, count in ranked]


def _as_json(answer: Answer) -> dict[str, object]:
    """Write the answer; the schema is in docs/count.md."""
    from twinsock.explain.count import ghosts_of, hints

    def write(field: Field) -> dict[str, object]:
        return {
            "name": field.name,
            "scope": field.scope,
            "value": field.value,
            "parts": [{"count": part.count, "kind": part.kind, "text": part.text} for part in field.parts],
            "unaccounted": field.unaccounted(),
            "tolerance": field.tolerance,
            "moving": field.moving,
            "hints": hints(answer.snapshot, field),
        }

    spaces = []
    for space, fields in answer.spaces:
        holders = [{"pid": pid, "comm": comm, "count": count} for pid, comm, count in holders_of_unlisted(answer, space)[:50]]
        spaces.append(
            {
                "netns": space.netns,
                "label": space.label,
                "own": space.own,
                "fields": [write(field) for field in fields],
                "ghosts": ghosts_of(space),
                "unlisted_holders": holders,
            }
        )
    return {"namespaces": spaces, "global": [write(field) for field in answer.globals]}
