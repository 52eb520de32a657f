#!/usr/bin/env python3
"""Draws what share of the machine's limits each program reaches, from the files of `run.sh --json`.

Usage: bench/peers/plot.py FILE.json... -o docs/performance.svg

Decoding: weights read per second, of what plain reading reaches. Prefill: arithmetic per second, of what multiplying alone
reaches; only where the files have that limit. Each file has a label: its instructions, depth and type of keys and values.
"""
import argparse
import json
import pathlib
import sys
from xml.sax.saxutils import escape

COLORS = {"inkstone": "#2f74c8", "llama.cpp": "#b96a00", "ik_llama.cpp": "#16805a", "OpenVINO": "#8a4fbf", "mistral.rs": "#b8325e"}  # dark enough for white words
GRAY = "#787878"  # of equal contrast with white and with near-black
BAR, GROUP_GAP, FILE_GAP = 24, 18, 26
LEFT, TOP, PLOT_HEIGHT, PANEL_HEIGHT = 70, 92, 200, 292
PANELS = [("decode_share", "Decoding", "% of the read limit"), ("prefill_share", "Prefill", "% of the arithmetic limit")]


def text(x, y, words, size=12, anchor="middle", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def line(x1, x2, y, width):
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRAY}" stroke-width="{width}"/>'


def label(report):
    """What sets a file apart, such as "amx, depth 4096, KV q8_0"."""
    first = next(iter(report["types"].values()))
    parts = [first["runs"]["inkstone"][0]["target"].removeprefix("cpu/")]
    parts += [f"depth {report['depth']}"] if report["depth"] else []
    parts += [f"KV {report['kv']}"] if report["kv"] != "f16" else []
    return ", ".join(parts)


def groups_of(report, share):
    """[(type, [(program, share), ...]), ...] of the types that have this share."""
    groups = [(kind, [(name, row[share]) for name, row in result["programs"].items() if share in row])
              for kind, result in report["types"].items()]
    return [group for group in groups if group[1]]


def block_width(report, groups):
    bars = sum(len(bars) * BAR + GROUP_GAP for _, bars in groups)
    return max(bars, 7 * len(label(report)))


def bars_of_group(x, base, bars, scale):
    for name, share in bars:
        height = share * scale
        yield (f'<rect x="{x + 1:.1f}" y="{base - height:.1f}" width="{BAR - 2}" height="{height:.1f}" rx="1.5" '
               f'fill="{COLORS.get(name, GRAY)}"><title>{escape(name)}: {100 * share:.1f} %</title></rect>')
        inside = height > 18
        yield text(x + BAR / 2, base - height + (13 if inside else -4), f"{100 * share:.0f}", 11,
                   extra=' fill="#fff"' if inside else "")
        x += BAR


def panel(top, width, blocks, title, axis):
    """Axes, grid and bars; blocks: [(report, groups), ...]."""
    highest = max(share for _, groups in blocks for _, bars in groups for _, share in bars)
    steps = max(5, int(highest * 5) + 1)  # of 20 %
    scale = PLOT_HEIGHT / (steps / 5)
    base = top + 28 + PLOT_HEIGHT
    yield text(LEFT, top + 8, title, 14, "start", ' font-weight="bold"')
    yield text(22, base - PLOT_HEIGHT / 2, axis, extra=f' transform="rotate(-90 22 {base - PLOT_HEIGHT / 2:.1f})"')
    for step in range(steps + 1):
        y = base - step / 5 * scale
        yield line(LEFT, width - 20, y, 1.5 if step in (0, 5) else 0.3)
        yield text(LEFT - 8, y + 4, f"{20 * step}", anchor="end")
    x = LEFT + FILE_GAP / 2
    for report, groups in blocks:
        block = block_width(report, groups)
        left = x + (block - sum(len(bars) * BAR + GROUP_GAP for _, bars in groups)) / 2
        for kind, bars in groups:
            yield from bars_of_group(left + GROUP_GAP / 2, base, bars, scale)
            left += len(bars) * BAR + GROUP_GAP
            yield text(left - (len(bars) * BAR + GROUP_GAP) / 2, base + 17, kind)
        yield text(x + block / 2, base + 34, label(report))
        x += block + FILE_GAP


def legend(names):
    x = LEFT
    for name in names:
        yield f'<rect x="{x}" y="64" width="12" height="12" rx="1.5" fill="{COLORS.get(name, GRAY)}"/>'
        yield text(x + 18, 74, name, anchor="start")
        x += 42 + 7 * len(name)


def heading(report):
    return f"{report['shape']}, {report['cpu']}, {report['threads']} threads, {report['date']}"


def draw(reports):
    panels = [(title, axis, [(r, groups_of(r, share)) for r in reports if groups_of(r, share)]) for share, title, axis in PANELS]
    panels = [p for p in panels if p[2]]
    title = "How near to the machine's limits"
    widths = [LEFT + 20 + sum(block_width(*block) + FILE_GAP for block in blocks) for _, _, blocks in panels]
    width = max(*widths, LEFT + 20 + 7 * len(heading(reports[0])), 480)
    names = list(dict.fromkeys(name for r in reports for t in r["types"].values() for name in t["programs"]))
    height = TOP + PANEL_HEIGHT * len(panels) + 14
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" '
             f'role="img" font-family="system-ui, sans-serif" fill="{GRAY}">',
             f"<title>{escape(title)}</title>", text(LEFT, 26, title, 17, "start", ' font-weight="bold"'),
             text(LEFT, 47, heading(reports[0]), 12, "start"), *legend(names)]
    for index, (name, axis, blocks) in enumerate(panels):
        parts += panel(TOP + index * PANEL_HEIGHT, width, blocks, name, axis)
    parts += [text(LEFT + (width - 20 - LEFT) / 2, height - 10, "type of the weights, and Inkstone's instruction set"), "</svg>"]
    return "\n".join(parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE.json")
    parser.add_argument("-o", "--out", type=pathlib.Path, required=True, metavar="FILE.svg")
    o = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in o.files]
    if len({(r["shape"], r["cpu"], r["threads"]) for r in reports}) > 1:
        sys.exit("one plot shows one model on one machine with one number of threads; these files differ in them")
    if any("prefill_share" not in row for r in reports for t in r["types"].values() for row in t["programs"].values()):
        print("a file without an arithmetic limit gets no prefill bars", file=sys.stderr)
    o.out.write_text(draw(reports))


if __name__ == "__main__":
    main()
