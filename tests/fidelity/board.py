"""How faithful the twin is, in figures: ./dev fidelity

    ./dev fidelity                     run everything again and write docs/fidelity.md
    ./dev fidelity tcp udp             run some areas again
    ./dev fidelity --minutes 30 fuzz   so long for each campaign
    ./dev fidelity --render            write the page from the figures of the last runs

Each area keeps the figures of its last run, with kernel and date, in docs/fidelity.json. Needs root."""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "fidelity.json"
PAGE = ROOT / "docs" / "fidelity.md"
BAR = 40

# area -> what it is, files of tests/parity by the beginning of their names, areas of docs/deviations.md
TESTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "bind": ("who may have which address and port", ("bind_", "reuseport_"), ("bind",)),
    "tcp": ("TCP: states, timers, loss, options, wire", ("tcp_", "tw_"), ("tcp",)),
    "udp": ("UDP and UDP-Lite", ("udp_",), ("udp",)),
    "unix": ("UNIX sockets and descriptors in messages", ("unix_",), ("unix", "fs")),
    "ip": ("IPv4, IPv6, ICMP, raw and packet sockets", ("ip_", "raw_", "packet_", "filters"), ("ip", "packet")),
    "calls": (
        "system calls, descriptors, poll, epoll",
        ("socket_", "messages", "descr", "poll", "splice", "timers", "sol_"),
        ("inet", "bpf"),
    ),
    "tables": ("/proc/net, sock_diag, ss", ("proc_", "diag_"), ("proc", "diag")),
    "netlink": ("netlink sockets and rtnetlink", ("netlink_",), ("netlink", "rtnl")),
    "host": ("namespaces, sysctls, devices", ("namespaces", "sysctls", "dev_"), ("ns", "sysctl", "dev")),
    "paths": ("kernel functions on the way of each operation", ("call_",), ()),
}
# area -> what it is, module, arguments, pattern of (cases, differences) in what it prints
CAMPAIGNS: dict[str, tuple[str, str, list[str], str]] = {
    "fuzz": ("random programs of all calls", "tests.fuzz.main", ["--resume"], r"fuzz: (\d+) programs.*?(\d+) kinds of difference"),
    "pairs": ("every pair of sockets on one port", "tests.campaign.bind_pairs", [], r"bind_pairs: (\d+) of .*?(\d+) mismatches"),
    "sequences": (
        "random sequences of bind, listen, connect",
        "tests.campaign.bind_sequences",
        [],
        r"bind_sequences: (\d+) sequences.*?(\d+) mismatches",
    ),
    "programs": ("random TCP programs", "tests.campaign.tcp_programs", [], r"tcp_programs: (\d+) programs.*?(\d+) differences"),
}


def files_of(area: str) -> list[str]:
    """List the test files of an area."""
    found = []
    for path in sorted((ROOT / "tests" / "parity").glob("test_*.py")):
        if path.stem.removeprefix("test_").startswith(TESTS[area][1]):
            found.append(str(path.relative_to(ROOT)))
    return found


def run_tests(area: str) -> dict[str, Any]:
    """Run the parity tests of an area: how many agree."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-q", "-p", "no:cacheprovider", "--timeout", "600", f"--junitxml={report}", *files_of(area)]
        subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
        cases = failed = skipped = 0
        for suite in ET.parse(report).getroot().iter("testsuite"):
            cases += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
            known = sum(one.get("type") == "pytest.xfail" for one in suite.iter("skipped"))  # differs, and the test says so
            failed, skipped = failed + known, skipped - known
    return {"cases": cases - skipped, "differ": failed}


def run_campaign(area: str, minutes: float) -> dict[str, Any]:
    """Run a campaign: cases and differences of its last line."""
    _, module, words, pattern = CAMPAIGNS[area]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", module, "--minutes", str(minutes), *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    found = re.findall(pattern, done.stdout)
    if not found:
        raise SystemExit(f"{module} said nothing that counts:\n{done.stdout[-500:]}{done.stderr[-500:]}")
    cases, differ = found[-1]
    return {"cases": int(cases.replace(",", "")), "differ": int(differ)}


def deviations() -> dict[str, int]:
    """Count the rows of docs/deviations.md by area."""
    rows = re.findall(r"^\| D-([a-z]+)-\d+ ", (ROOT / "docs" / "deviations.md").read_text(), re.MULTILINE)
    return {area: rows.count(area) for area in rows}


def load() -> dict[str, Any]:
    """Read the figures of earlier runs."""
    found: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    return found


def render(data: dict[str, Any]) -> str:
    """Make the page."""
    known = deviations()
    cases = sum(row["cases"] for row in data.values())
    differ = sum(row["differ"] for row in data.values())
    total = f"{cases:,} cases compared, {differ:,} of them differ"
    lines = [
        "# How faithful is the twin?",
        "",
        "The same programs ran on Linux and on the twin, and everything that a program can see was compared: results, errors, poll bits,",
        "`/proc`, counters, sock_diag, packets. `./dev fidelity` runs it all again and writes this page.",
        "",
        f"**{total}**, beyond {sum(known.values())} entries of [deviations.md](deviations.md).",
        "",
        "```",
    ]
    width = max((len(area) for area in data), default=1)
    for area in order(data):
        row = data[area]
        share = 1 - row["differ"] / row["cases"] if row["cases"] else 0.0
        full = int(share * BAR)
        lines.append(f"{area:<{width}}  {'█' * full}{'░' * (BAR - full)}  {percent(share)} of {row['cases']:,}")
    lines += [
        "```",
        "",
        "A full bar: in every case the twin did what Linux did. A case of `fuzz` is a whole program of up to 26 calls, one of",
    ]
    lines += ["`paths` an operation; what differs there is the name of a function, not what a program sees.", ""]
    lines += ["| area | what | cases | agree | known deviations | Linux | run on |", "|---|---|---:|---:|---:|---|---|"]
    for area in order(data):
        row = data[area]
        listed = sum(known.get(name, 0) for name in TESTS[area][2]) if area in TESTS else ""
        what = TESTS[area][0] if area in TESTS else CAMPAIGNS[area][0]
        agree = row["cases"] - row["differ"]
        lines.append(f"| {area} | {what} | {row['cases']:,} | {agree:,} | {listed} | {row['kernel']} | {row['date']} |")
    lines += [
        "",
        "What is not compared, because it is chance or time: numbers of ephemeral ports (but one stays the same one), inodes, cookies,",
        "remaining ticks, order of hash chains, counts of the whole machine. A run of Linux that was slow is no evidence. A difference",
        "of `fuzz` is a kind: of those programs that differ in the same place the shortest is kept.",
        "",
        "Packetdrill's public scripts and ours: [packetdrill.md](packetdrill.md). One program of yours: [parity.md](parity.md).",
    ]
    return "\n".join(lines) + "\n"


def percent(share: float) -> str:
    """Show a share without rounding up to all."""
    text = f"{share * 100:.3f}".rstrip("0").rstrip(".") if share < 1 else "100"
    return ("99.999" if text == "100" and share < 1 else text) + " %"


def order(data: dict[str, Any]) -> list[str]:
    """List the areas that have figures, in the order of the tables above."""
    return [area for area in [*TESTS, *CAMPAIGNS] if area in data]


def main() -> int:
    """Run areas and write the page."""
    parser = argparse.ArgumentParser(prog="./dev fidelity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    areas = [*TESTS, *CAMPAIGNS]
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(areas) + "; all when none is named")
    parser.add_argument("--minutes", type=float, default=5.0, help="for each campaign (5)")
    parser.add_argument("--render", action="store_true", help="run nothing")
    args = parser.parse_args()
    unknown = [area for area in args.areas if area not in areas]
    if unknown:
        parser.error(f"no such area: {', '.join(unknown)}")
    if not args.render and os.geteuid() != 0:
        print("fidelity: the live kernel's side needs root", file=sys.stderr)
        return 2
    data = load()
    for area in [] if args.render else args.areas or areas:
        print(f"== {area}", flush=True)
        row = run_tests(area) if area in TESTS else run_campaign(area, args.minutes)
        row |= {"kernel": os.uname().release.partition("-")[0], "date": datetime.date.today().isoformat()}
        data[area] = row
        print(f"   {row['cases']} cases, {row['differ']} differ", flush=True)
        DATA.write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(render(data))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
