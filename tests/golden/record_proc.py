"""Record what the live kernel tells of the scenes in tests/parity/prockit.py: python -m tests.golden.record_proc (root).

Pointers, inodes and ports chosen by the kernel are normalised by prockit; sockstat has only what belongs to the namespace."""

import json
from pathlib import Path

from tests.parity.prockit import SCENES
from tests.parity.test_proc_inet import told

FILE = Path(__file__).with_name("proc_scenes.json")


def record() -> None:
    """Write the file."""
    found = {}
    for scene in SCENES:
        tables = dict(told(scene, 0)[0])
        tables["sockstat"] = [pair for pair in tables["sockstat"] if pair[0] not in ("TCP: orphan", "TCP: alloc")]
        found[scene] = tables
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    record()
