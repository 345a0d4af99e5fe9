# SPDX-License-Identifier: MPL-2.0
"""Bars with their spread, as SVG."""
import statistics
from xml.sax.saxutils import escape

WIDTH, LABEL, BAR, GAP, HEAD, MARGIN = 760, 170, 16, 6, 34, 16
OURS, OTHERS = "#1f6feb", "#8c959f"
TEXT = 'font-family="sans-serif" font-size="12"'
# Readable on a light page and on a dark one.
STYLE = "<style>text{fill:#24292f}@media(prefers-color-scheme:dark){text{fill:#d0d7de}}</style>"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _panel(y, title, unit, bars):
    most = max(max(values) for _, values in bars) or 1
    room = WIDTH - LABEL - 110
    parts = [f'<text x="{MARGIN}" y="{y + 18}" {TEXT} font-weight="bold">{escape(title)}</text>']
    y += HEAD
    for label, values in bars:
        middle = statistics.median(values)
        length = max(room * middle / most, 1)
        low, high = (LABEL + room * edge / most for edge in (min(values), max(values)))
        color = OURS if label.startswith("ours") else OTHERS
        center = y + BAR / 2
        parts.append(f'<text x="{LABEL - 8}" y="{center + 4}" {TEXT} text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{color}"/>')
        if len(values) > 1:
            parts.append(f'<path d="M{low:.1f} {center}H{high:.1f}M{low:.1f} {y + 4}v{BAR - 8}M{high:.1f} {y + 4}v{BAR - 8}"'
                         ' stroke="#d4a72c" stroke-width="1.5" fill="none"/>')
        edge = max(LABEL + length, high if len(values) > 1 else 0) + 6
        parts.append(f'<text x="{edge:.1f}" y="{center + 4}" {TEXT}>{number(middle)} {escape(unit)}</text>')
        y += BAR + GAP
    return y + GAP, parts


def svg(panels):
    """panels: [(title, unit, [(label, [values])])]"""
    y, parts = MARGIN, []
    for title, unit, bars in panels:
        y, more = _panel(y, title, unit, bars)
        parts += more
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + MARGIN}" '
            f'viewBox="0 0 {WIDTH} {y + MARGIN}">{STYLE}\n' + "\n".join(parts) + "\n</svg>\n")
