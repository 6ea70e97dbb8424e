"""The kernel that a command asks: the one this process runs on, or a twin."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.gather import Files
    from twinsock.inspect.port import KernelPort
    from twinsock.runtime.facade import TwinEnv


class Asked:
    """A kernel and its file system; `live` is the one this process runs on."""

    def __init__(self, port: KernelPort, files: Files, live: bool) -> None:
        self.port = port
        self.files = files
        self.live = live


def live_kernel() -> Asked:
    """Open the kernel that this process runs on."""
    from twinsock.host.files import HostFiles
    from twinsock.host.port import HostPort

    return Asked(HostPort(), HostFiles(), True)


def twin_of(env: TwinEnv) -> Asked:
    """Open the twin as the process of an environment sees it."""
    from twinsock.runtime.port import TwinFiles, TwinPort

    port = TwinPort(env.kernel, env.task)
    return Asked(port, TwinFiles(port), False)


def command_on_twin(env: TwinEnv, *argv: str) -> int:
    """Run a command on the twin, as `command_on_twin(env, "listeners", "--json")`: prints, and returns the exit code."""
    from twinsock.ui.cli import HOST_COMMANDS, run

    if argv[0] not in HOST_COMMANDS:
        raise ValueError(f"{argv[0]} is no command that asks a kernel; these do: {', '.join(HOST_COMMANDS)}")
    return run(argv[0], list(argv[1:]), twin_of(env))
