"""Small pictures as SVG text: earlier values of a figure with its limit, or one bar for each label.

Made of text: a plotting library needs some fifty times as long, for each check of a run.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 480, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 28, 24
_LINE, _LIMIT = "#1f77b4", "#d62728"


def trend(title: str, history: Sequence[tuple[datetime, float]], limit: float | None) -> str:
    """Return a line through at least one value, oldest first, and the limit if there is one."""
    values = [value for _, value in history]
    shown = values if limit is None else [*values, limit]
    low, high = min(shown), max(shown)
    first, last = history[0][0].timestamp(), history[-1][0].timestamp()

    def y(value: float) -> float:
        return _height(value, low, high)

    def x(at: datetime) -> float:
        share = (at.timestamp() - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    points = [(x(at), y(value)) for at, value in history]
    line = " ".join(f"{across},{down}" for across, down in points)
    parts = [
        _label(_LEFT - 6, y(high) + 4, f"{high:.6g}", "end"),
        _label(_LEFT - 6, y(low) + 4, f"{low:.6g}", "end"),
        _label(_LEFT, HEIGHT - 8, f"{history[0][0]:%Y-%m-%d}"),
        _label(WIDTH - _RIGHT, HEIGHT - 8, f"{history[-1][0]:%Y-%m-%d}", "end"),
        f'<polyline points="{line}" fill="none" stroke="{_LINE}"/>',
        *(f'<circle cx="{across}" cy="{down}" r="2" fill="{_LINE}"/>' for across, down in points),
    ]
    if limit is not None:
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(limit)}" y2="{y(limit)}"'
            f' stroke="{_LIMIT}" stroke-dasharray="5 3"/>'
        )
    return _picture(title, parts)


def bars(title: str, values: Sequence[tuple[str, float]]) -> str:
    """Return one bar for each of at least one label, in their order; negative values are zero."""
    high = max(value for _, value in values)
    step = (WIDTH - _LEFT - _RIGHT) / len(values)
    parts = [
        _label(_LEFT - 6, _height(high, 0, high) + 4, f"{high:.6g}", "end"),
        _label(_LEFT - 6, HEIGHT - _BOTTOM + 4, "0", "end"),
        _label(_LEFT, HEIGHT - 8, values[0][0]),
        _label(WIDTH - _RIGHT, HEIGHT - 8, values[-1][0], "end"),
    ]
    for number, (label, value) in enumerate(values):
        top = _height(max(value, 0), 0, high) if high > 0 else HEIGHT - _BOTTOM
        parts.append(
            f'<rect x="{_LEFT + number * step:.1f}" y="{top}" width="{step * 0.8:.1f}"'
            f' height="{HEIGHT - _BOTTOM - top:.1f}" fill="{_LINE}">'
            f"<title>{escape(label)}: {value:.6g}</title></rect>"
        )
    return _picture(title, parts)


def in_markdown(title: str, picture: str) -> str:
    """Return Markdown with the picture inside."""
    encoded = base64.b64encode(picture.encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded})"


def _height(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _label(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(title: str, parts: Sequence[str]) -> str:
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
            f' viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="10">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{WIDTH / 2}" y="16" font-size="12" text-anchor="middle">{escape(title)}'
            "</text>",
            *parts,
            "</svg>",
        ]
    )
