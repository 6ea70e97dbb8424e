"""Many UDP sockets on one port: which owner a newcomer meets first decides, and beyond ten owners that order changes."""

import random
import socket
from typing import Any

import pytest

from tests.bind_oracle import ADDRESSES, Config, LiveHost, TwinHost
from tests.netns import run_in_netns

pytestmark = [pytest.mark.root, pytest.mark.slow]

TRIALS = 800


def trial(host: Any, seed: int) -> list[int]:
    """Bind owners that get along by SO_REUSEADDR, then newcomers that have only SO_REUSEPORT: their errnos."""
    rng = random.Random(seed)
    port = 2000 + seed
    results = []
    owners = []
    for _ in range(rng.choice((9, 10, 11, 12, 16))):
        config = Config(rng.choice(ADDRESSES), 1, rng.randrange(2), "")
        owners.append(host.create(config, socket.SOCK_DGRAM))
        results.append(host.bind(owners[-1], config.address, port))
    for _ in range(6):
        config = Config(rng.choice(ADDRESSES), 0, 1, "")
        newcomer = host.create(config, socket.SOCK_DGRAM)
        results.append(host.bind(newcomer, config.address, port))
        host.close(newcomer)
    for sock in owners:
        host.close(sock)
    return results


def all_trials(host_type: type) -> list[list[int]]:
    """Play every trial on one kind of host."""
    host = host_type()
    return [trial(host, seed) for seed in range(TRIALS)]


def test_newcomers_to_a_crowd_meet_the_same_owner_first() -> None:
    live = run_in_netns(all_trials, LiveHost)
    twin = all_trials(TwinHost)
    assert [seed for seed in range(TRIALS) if live[seed] != twin[seed]] == []
