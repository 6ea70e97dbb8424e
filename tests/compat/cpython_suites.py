"""CPython's own tests on the twin and on the real kernel, test by test.

    python tests/compat/cpython_suites.py                         every suite; writes docs/cpython-tests.md
    python tests/compat/cpython_suites.py test_socket test_ssl    some suites; prints the table
    python tests/compat/cpython_suites.py --json out.json         the figures for other tools

Each suite runs as `python -m test SUITE` in a network namespace of its own (where that is permitted) and as
`twinsock run -m test SUITE`, and both write JUnit results, which are compared name by name. A test that passes on the kernel and does not
on the twin needs a line in DIFFERENCES; exit code 1 if one has none, or if a line is not needed any more."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cpython-tests.md"
_SUITES = """
    test_socket test_select test_selectors test_epoll test_poll test_socketserver test_ssl
    test_asyncio.test_streams test_asyncio.test_sock_lowlevel test_asyncio.test_selector_events test_asyncio.test_server
    test_httplib test_httpservers test_urllib2_localnet test_ftplib test_smtplib test_poplib test_imaplib test_xmlrpc
    test_queue test_thread test_threading test_threading_local test_time test_signal
"""
SUITES = _SUITES.split()
# left out on both sides: these reach for the hypervisor, which answers in a network namespace of its own with silence
IGNORED = {"test_socket": "*VSOCK*"}
RESOURCES = {"test_socketserver": "network"}  # what `-u` has to allow for a suite to run at all
DIFFERENCES: dict[str, str] = {  # pattern of "suite:Class.test" -> id in docs/deviations.md and what it is, in a few words
    "test_socketserver:*orking*": "D-run-1: os.fork()",
    "test_thread:TestForkInThread.*": "D-run-1: os.fork()",
    "test_threading:SubinterpThreadingTests.*": "D-run-1: sub-interpreters",
    "test_asyncio.test_streams:StreamTests.test_unclosed_resource_warnings": "D-run-1: warned of what the refused test before it left open",
    "test_signal:PidfdSignalTest.*": "D-run-1: descriptors of processes",
    "test_threading:InterruptMainTests.test_can_interrupt_tight_loops": "D-run-4: a signal waits for the next call",
}
LIMIT_S = 900.0
KERNEL_TRIES = 3
ORDER = ("pass", "fail", "skip")


def command(where: str, python: str, suite: str, results: str) -> list[str]:
    """Return the command which runs a suite."""
    allowed = ["-u", RESOURCES[suite]] if suite in RESOURCES else []
    left_out = ["-i", IGNORED[suite]] if suite in IGNORED else []
    tail = [*allowed, *left_out, "--junit-xml", results, suite]
    if where == "twin":
        return [python, "-m", "twinsock", "run", "-m", "test", *tail]
    alone = [python, "-m", "test", *tail]
    if shutil.which("unshare") and subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0:
        return ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *alone]
    return alone


def run(where: str, python: str, suite: str) -> dict[str, tuple[str, str]]:
    """Run a suite; return "Class.test" -> (status, why). A suite that did not end has the one test "(suite)"."""
    with tempfile.TemporaryDirectory(prefix="suites-") as folder:
        results = os.path.join(folder, "results.xml")
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        try:
            done = subprocess.run(
                command(where, python, suite, results), cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return {"(suite)": ("fail", f"did not end within {LIMIT_S:.0f} s")}
        if not os.path.exists(results):
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            return {"(suite)": ("fail", last[0])}
        return parse(ET.parse(results).getroot(), suite)


def run_on_kernel(python: str, suite: str) -> dict[str, tuple[str, str]]:
    """Run a suite on the real kernel, again while something fails: on a busy machine its short time limits do not hold."""
    best = run("kernel", python, suite)
    for _ in range(KERNEL_TRIES - 1):
        if not count(best)["fail"]:
            break
        again = run("kernel", python, suite)
        if len(again) > len(best) or count(again)["fail"] < count(best)["fail"]:
            best = again
    return best


def parse(root: ET.Element, suite: str) -> dict[str, tuple[str, str]]:
    """Read JUnit results; of several results of one test the worst counts."""
    found: dict[str, tuple[str, str]] = {}
    for case in root.iter("testcase"):
        name = (case.get("name") or "").removeprefix(f"test.{suite}.")
        status, why = "pass", ""
        for child in case:
            if child.tag in ("failure", "error"):
                status, why = "fail", _last_line(child)
            elif child.tag == "skipped" and status == "pass":
                status, why = "skip", (child.text or "").strip()
        if name not in found or (status == "fail" and found[name][0] != "fail"):
            found[name] = (status, why)
    return found


def _last_line(element: ET.Element) -> str:
    lines = ("".join(element.itertext()) or "?").strip().splitlines()
    return lines[-1] if lines else "?"


def count(results: dict[str, tuple[str, str]]) -> dict[str, int]:
    """Count results by status."""
    return {status: sum(1 for found, _ in results.values() if found == status) for status in ORDER}


def compare(suite: str, kernel: dict[str, tuple[str, str]], twin: dict[str, tuple[str, str]]) -> list[dict[str, str]]:
    """List the tests that pass on the kernel and do not on the twin, with the reason if there is one."""
    rows = []
    for name, (status, _) in sorted(kernel.items()):
        other, why = twin.get(name, ("fail", twin.get("(suite)", ("", "not run"))[1]))
        if status == "pass" and other != "pass":
            rows.append({"test": f"{suite}:{name}", "twin": other, "says": why, "why": reason(f"{suite}:{name}", why)})
    return rows


def reason(test: str, says: str) -> str:
    """Return why a test differs, "" if nobody said."""
    refused = re.search(r"Escape: (subprocess|os\.\w+)\S*\(\) would leave the simulation", says)
    if refused:
        return f"D-run-1: {refused[1]}"
    return next((why for pattern, why in DIFFERENCES.items() if fnmatchcase(test, pattern)), "")


def measure(python: str, suites: list[str]) -> dict[str, object]:
    """Run suites both ways."""
    version = subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True, check=True
    )
    rows, differences = [], []
    for suite in suites:
        kernel, twin = run_on_kernel(python, suite), run("twin", python, suite)
        if not kernel:
            continue
        rows.append({"suite": suite, "kernel": count(kernel), "twin": count(twin)})
        found = compare(suite, kernel, twin)
        differences += found
        print(f"{suite}: kernel {_words(count(kernel))}, twin {_words(count(twin))}", file=sys.stderr, flush=True)
        for row in found:
            print(
                f"    {row['test']} {row['twin']}: {row['says']} {'| ' + row['why'] if row['why'] else '(not explained)'}", file=sys.stderr
            )
    return {"python": version.stdout.strip(), "kernel": platform.release(), "suites": rows, "differences": differences}


def _words(counts: dict[str, int]) -> str:
    return " ".join(f"{counts[status]} {status}" for status in ORDER if counts[status]) or "nothing"


def page(report: dict[str, object]) -> str:
    """Write the report as a page."""
    out = [
        "# CPython's own tests on the twin",
        "",
        f"CPython {report['python']}, beside Linux {report['kernel']} in a fresh network namespace. Made by",
        "`python tests/compat/cpython_suites.py`, which runs `python -m test SUITE` and `twinsock run -m test SUITE` and compares them.",
        "Left out on both sides: "
        + ", ".join(f"{pattern} of {suite}" for suite, pattern in IGNORED.items())
        + ". What fails on the kernel",
        "failed there in each of three tries on a busy machine.",
        "",
        "| suite | kernel: pass | fail | skip | twin: pass | fail | skip |",
        "|---|---|---|---|---|---|---|",
    ]
    rows: list[dict[str, object]] = report["suites"]  # type: ignore[assignment]
    for row in [*rows, _total(rows)]:
        cells = [str(row[where][status]) for where in ("kernel", "twin") for status in ORDER]  # type: ignore[index]
        out.append(f"| {row['suite']} | " + " | ".join(cells) + " |")
    out += ["", "## What passes on the kernel and not on the twin", ""]
    differences: list[dict[str, str]] = report["differences"]  # type: ignore[assignment]
    if not differences:
        return "\n".join([*out, "Nothing.", ""])
    out += ["| test | on the twin | why |", "|---|---|---|"]
    out += [f"| {row['test']} | {row['twin']} | {row['why'] or 'not explained: ' + row['says'].replace('|', '/')} |" for row in differences]
    return "\n".join([*out, ""])


def _total(rows: list[dict[str, object]]) -> dict[str, object]:
    def add(where: str) -> dict[str, int]:
        return {status: sum(row[where][status] for row in rows) for status in ORDER}  # type: ignore[index, misc]

    return {"suite": "together", "kernel": add("kernel"), "twin": add("twin")}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", help="suites as python -m test names them; all of the list if none is given")
    parser.add_argument("--python", default=sys.executable, help="which interpreter, with its test package")
    parser.add_argument("--output", type=Path, help=f"the page to write; {PAGE.relative_to(ROOT)} when every suite runs")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    report = measure(args.python, args.suites or SUITES)
    text = page(report)
    target = args.output or (None if args.suites else PAGE)
    if target:
        target.write_text(text)
    else:
        print(text)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    differences: list[dict[str, str]] = report["differences"]  # type: ignore[assignment]
    return 1 if any(not row["why"] for row in differences) else 0


if __name__ == "__main__":
    raise SystemExit(main())
