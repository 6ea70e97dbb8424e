"""Our packetdrill scripts: each describes one behaviour, and both kernels have it."""

from pathlib import Path

import pytest

from tests.netns import netns_missing
from twinsock.runtime.packetdrill.session import Prepared, Verdict, prepare
from twinsock.runtime.packetdrill.twin import TwinMachine
from twinsock.ui.packetdrill_host import play_in_child

SCRIPTS = sorted(Path(__file__).parent.glob("*.pkt"))
# A busy machine is late; what is compared there is what happens, and when roughly.
HOST_TOLERANCE = [("tolerance_usecs", "40000")]


def prepared(path: Path, variant: str, options: list[tuple[str, str]]) -> Prepared:
    script = prepare(str(path), variant, options)
    assert isinstance(script, Prepared), f"{script.line}: {script.message}"
    return script


def told(verdict: Verdict) -> str:
    return f"line {verdict.line} at {verdict.time_s:.6f} s: {verdict.message}\n  script: {verdict.source}\n  kernel: {verdict.got}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_twin_behaves_as_the_script_says(path: Path) -> None:
    script = prepared(path, "ipv4", [])
    verdict = script.play(TwinMachine(script.config))
    assert verdict.outcome == "pass", told(verdict)


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_live_kernel_behaves_as_the_script_says(path: Path) -> None:
    reason = netns_missing(root_needed=True) or ("" if Path("/dev/net/tun").exists() else "there is no /dev/net/tun")
    if reason:
        pytest.skip(reason)
    verdict = play_in_child(prepared(path, "ipv4", HOST_TOLERANCE))
    assert verdict.outcome == "pass", told(verdict)


def test_every_script_says_what_it_shows() -> None:
    assert [path.name for path in SCRIPTS if not path.read_text().startswith("// ")] == []
