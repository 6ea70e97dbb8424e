"""A packetdrill script on the live kernel: in a child process, which alone moves into the new namespace."""

from __future__ import annotations

import json
import os
import signal
import traceback

from twinsock.host.tun_machine import HostMachine
from twinsock.runtime.packetdrill.session import Prepared, Verdict

SECONDS_MAX = 300


def play_in_child(prepared: Prepared) -> Verdict:
    """Play a script in a child and give its verdict."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        signal.alarm(SECONDS_MAX)
        _child(prepared, writer)
    os.close(writer)
    data = b""
    try:
        while chunk := os.read(reader, 65536):
            data += chunk
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    verdict = Verdict(prepared.path, prepared.config.variant, "fail", 0, f"a call did not return within {SECONDS_MAX} seconds")
    if data:
        verdict.__dict__.update(json.loads(data))
    return verdict


def _child(prepared: Prepared, writer: int) -> None:
    """Play, write the verdict, end the process."""
    config = prepared.config
    try:
        local, remote = config.addresses()
        verdict = prepared.play(HostMachine(local, remote, config.mtu, config.hz))
    except OSError as error:
        verdict = Verdict(prepared.path, config.variant, "unavailable", 0, f"the live kernel cannot be used: {error.strerror or error}")
    except BaseException:
        verdict = Verdict(prepared.path, config.variant, "error", 0, traceback.format_exc().strip().splitlines()[-1])
    os.write(writer, json.dumps(verdict.__dict__).encode())
    os._exit(0)
