"""The text of `twinsock ss --help`, from the table of options."""

from __future__ import annotations

from twinsock.ui.ss_options import OPTIONS

_HEAD = """\
usage: twinsock ss [options] [FILTER]

Lists sockets. The options, the filter and the plain output are those of ss(8).

"""
_TAIL = """
FILTER   [state NAME | exclude NAME]... [EXPRESSION]
  sport = :80      dport ge :1024      src 10.0.0.0/8      dst [::1]:443      dst 10.0.0.1:https
  dev eth0         fwmark = 0x1/0xff   cgroup /system.slice/x.service         autobound
  src unix:/run/*  and or not ( )      = != < <= > >= (eq ne lt le gt ge)

examples
  twinsock ss -tlnp                                  who listens
  twinsock ss -tn dst 10.0.0.0/8 and dport = :443    connections
  twinsock ss -tan --all-netns -p                    in every network namespace, containers too
  twinsock ss -tan --group-by state,local_port       how many of each
  twinsock ss -tlnp --unit --reuse --ghosts          units, SO_REUSE*, sockets without a descriptor
  twinsock ss -tanie --json | jq '.sockets[] | select(.tcp_info.retrans > 0)'

exit codes: 0   2 wrong usage, or the kernel refuses
"""


def help_text() -> str:
    """Give the whole text."""
    lines = []
    for short, long, value, text in OPTIONS:
        left = f"-{short}, --{long}" if short else f"    --{long}"
        lines.append(f"  {left + (' ' + value if value else ''):<24} {text}")
    return _HEAD + "\n".join(lines) + "\n" + _TAIL
