"""Draw docs/performance.svg from the newest figure of each name in bench/history.jsonl: bars of figure over target, or over peer.

python bench/chart.py"""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BAR, GAP, LEFT, WIDTH = 16, 6, 330, 420


def newest() -> dict[str, dict[str, object]]:
    """Return the newest result by what it measures."""
    found = {}
    for line in (ROOT / "bench" / "history.jsonl").read_text().splitlines():
        result = json.loads(line)
        found[str(result["name"]).partition(":")[0]] = result
    return found


def share(result: dict[str, object]) -> float:
    """Return how much of the target, or of the peer's figure, was reached."""
    target = result.get("target")
    return float(str(result["figure"])) / float(str(target)) if target else float(str(result["ratio"]))


def main() -> None:
    """Draw."""
    rows = [(name, result) for name, result in newest().items() if result["unit"] != "bytes"]
    height = len(rows) * (BAR + GAP) + 40
    size = f'width="{LEFT + WIDTH + 150}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">']
    parts.append(f'<text x="{LEFT}" y="14">share of the target (dark), or of the peer (light); the line is 1</text>')
    for number, (name, result) in enumerate(rows):
        y = 24 + number * (BAR + GAP)
        part = share(result)
        length = min(part, 1.5) / 1.5 * WIDTH
        colour = "#1f5a94" if result.get("target") else "#8fb4d8"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>')
        label = f"{part:.2f}, {float(str(result['figure'])):,.4g} {result['unit']}"
        parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 12}">{label}</text>')
    line = LEFT + WIDTH / 1.5
    parts.append(f'<line x1="{line:.0f}" y1="20" x2="{line:.0f}" y2="{height - 14}" stroke="#888" stroke-dasharray="3"/></svg>')
    (ROOT / "docs" / "performance.svg").write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
