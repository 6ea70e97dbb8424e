"""One script from its file to a verdict."""

import os

from twinsock.runtime.baton import Deadlock
from twinsock.runtime.packetdrill.config import Config
from twinsock.runtime.packetdrill.cursor import ScriptError
from twinsock.runtime.packetdrill.machine import Machine
from twinsock.runtime.packetdrill.parser import parse_options, parse_script
from twinsock.runtime.packetdrill.run import Failure, Player
from twinsock.runtime.packetdrill.script import Script

SCRIPT_BYTES_MAX = 1 << 22

DROPS_SHOWN = 3


class Verdict:
    """What became of a script: `outcome` is "pass", "fail" (the kernel did something else) or "error" (the script makes no sense)."""

    def __init__(self, path: str, variant: str, outcome: str, line: int = 0, message: str = "") -> None:
        self.path = path
        self.variant = variant
        self.outcome = outcome
        self.line = line
        self.message = message
        self.time_s = -1.0  # of the script, where it failed
        self.source = ""  # the line as written
        self.expected = ""
        self.got = ""
        self.dropped: list[str] = []  # the last packets that the kernel did not want, and why
        self.wall_s = 0.0


class Prepared:
    """A script that has been read."""

    def __init__(self, path: str, script: Script, config: Config) -> None:
        self.path = path
        self.script = script
        self.config = config

    def play(self, machine: Machine) -> Verdict:
        """Play it; nothing is raised but what is a fault of ours."""
        player = Player(self.script, self.config, machine, os.path.dirname(self.path))
        try:
            machine.run(player.play)
        except Failure as failure:
            verdict = Verdict(self.path, self.config.variant, "fail", failure.line, failure.message)
            verdict.time_s = failure.time_ns / 1e9
            verdict.source, verdict.expected, verdict.got = failure.event.text, failure.expected, failure.got
            verdict.dropped = machine.dropped()[-DROPS_SHOWN:]
            return verdict
        except ScriptError as error:
            return Verdict(self.path, self.config.variant, "fail" if player.played else "error", error.line, error.message)
        except Deadlock:
            event = player.current
            verdict = Verdict(self.path, self.config.variant, "fail", event.line if event else 0, "this waits for ever")
            verdict.source = event.text if event else ""
            return verdict
        return Verdict(self.path, self.config.variant, "pass")


def prepare(path: str, variant: str, options: list[tuple[str, str]]) -> Prepared | Verdict:
    """Read a script; `options` are those of the command line, which win. Gives an "error" when it cannot be read."""
    config = Config(variant)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(SCRIPT_BYTES_MAX + 1)
        if len(text) > SCRIPT_BYTES_MAX:
            raise ScriptError(0, f"a script has at most {SCRIPT_BYTES_MAX} bytes")
        config.apply(parse_options(text))
        config.apply(options, 0)
        config.check()
        return Prepared(path, parse_script(text, config.definitions, config.ip_version()), config)
    except ScriptError as error:
        return Verdict(path, config.variant, "error", error.line, error.message)
    except OSError as error:
        return Verdict(path, config.variant, "error", 0, str(error.strerror))
