"""The twin tells of each scene what the live kernel told when it was recorded (tests/golden/record_proc.py)."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parity.harness import on_twin
from tests.parity.prockit import SCENES
from tests.parity.test_proc_inet import tell

GOLDEN: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("proc_scenes.json").read_text())


@pytest.mark.parametrize("scene", SCENES)
def test_scene_is_told_as_it_was_recorded(scene: str) -> None:
    twin = tell_on_twin(scene)
    assert {name: twin[name] for name in GOLDEN[scene]} == GOLDEN[scene]


def tell_on_twin(scene: str) -> dict[str, Any]:
    """Tell a scene on the twin, in the shapes of JSON."""
    tables = dict(on_twin(tell, scene))
    tables["sockstat"] = [pair for pair in tables["sockstat"] if pair[0] not in ("TCP: orphan", "TCP: alloc")]
    found: dict[str, Any] = json.loads(json.dumps(tables))
    return found
