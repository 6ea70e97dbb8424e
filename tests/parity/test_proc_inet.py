"""/proc/net's tables of Internet sockets, sockstat and inet_diag: the live kernel and the twin tell the same of the same program."""

from functools import cache
from typing import Any

import pytest

from tests.parity.harness import on_host, on_twin
from tests.parity.prockit import INET_TABLES, SCENES, diag, inet_table, inode_names

pytestmark = [pytest.mark.root]

DUMPS = {
    "diag tcp": (2, 6),
    "diag tcp6": (10, 6),
    "diag udp": (2, 17),
    "diag udp6": (10, 17),
    "diag udplite": (2, 136),
}
ATTEMPTS = 12


def sockstat(env: Any, name: str) -> dict[str, int]:
    """Return the numbers of sockstat or sockstat6, by group and name."""
    found = {}
    for line in env.proc(name).splitlines():
        group, *words = line.split()
        for key, value in zip(words[::2], words[1::2], strict=True):
            found[f"{group} {key}"] = int(value)
    return found


def tell(env: Any, scene: str) -> dict[str, Any]:
    """Set a scene and read every table."""
    before = sockstat(env, "sockstat")
    sockets = SCENES[scene](env)
    inodes = inode_names(env, sockets)
    after = sockstat(env, "sockstat")
    found: dict[str, Any] = {name: inet_table(env, name, inodes) for name in INET_TABLES}
    found["sockstat"] = tuple((key, after[key] - before[key]) for key in after if not key.endswith(" mem"))
    found["sockstat6"] = tuple(sockstat(env, "sockstat6").items())
    for name, (family, protocol) in DUMPS.items():
        found[name] = diag(env, inodes, family, protocol, ext=0)
        found[name + " with everything"] = diag(env, inodes, family, protocol, ext=0x7B)
    return found


@cache
def told(scene: str, attempt: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell a scene on both kernels."""
    return on_host(tell, scene), on_twin(tell, scene)


@pytest.mark.parametrize("table", [*INET_TABLES, *DUMPS, *(name + " with everything" for name in DUMPS), "sockstat6"])
@pytest.mark.parametrize("scene", SCENES)
def test_both_kernels_tell_the_same_of_a_scene(scene: str, table: str) -> None:
    host, twin = told(scene, 0)
    assert twin[table] == host[table]


@pytest.mark.parametrize("scene", SCENES)
def test_sockstat_changes_by_the_same_numbers(scene: str) -> None:
    for attempt in range(ATTEMPTS):  # "alloc" and "orphan" count the sockets of every namespace, of other programs too
        host, twin = told(scene, attempt)
        if twin["sockstat"] == host["sockstat"]:
            return
    assert twin["sockstat"] == host["sockstat"]
