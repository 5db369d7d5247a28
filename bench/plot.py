"""The comparison as a picture: an SVG of bars on a logarithmic scale, one panel a scenario and door. Needs no library."""

import math
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from bench import comparison
from bench.document import Cell, Document

WIDTH: Final = 860
_LABEL: Final = 150
_FIGURE: Final = 90
_ROW: Final = 20
_PANEL: Final = 44
_COLOURS: Final = {"aweigh": "#0b6e4f", "bare-loop": "#9aa5b1"}
_OTHERS: Final = "#5b8db8"


def picture(documents: Sequence[Document], concurrency: int) -> str:
    """Requests per second with so many in flight; each panel has its own scale, from one to its quickest."""
    parts: list[str] = []
    top = 10
    for document in documents:
        for door in ("rest", "grpc"):
            shown = [cell for cell in comparison.cells(document, door, concurrency) if cell.samples]
            if shown:
                parts += _panel(document, door, shown, top)
                top += _PANEL + _ROW * len(shown)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>', *parts, "</svg>", ""])


def _panel(document: Document, door: str, shown: Sequence[Cell], top: int) -> list[str]:
    title = f"{document.scenario}: {comparison.door_title(document, door, shown[0].concurrency)}, requests/s (logarithmic)"
    highest = math.log(max(cell.per_second for cell in shown) + 1)
    parts = [f'<text x="10" y="{top + 18}" font-weight="bold">{escape(title)}</text>']
    for at, cell in enumerate(shown):
        y = top + 28 + _ROW * at
        width = max(1.0, (WIDTH - _LABEL - _FIGURE) * math.log(cell.per_second + 1) / highest)
        colour = next((colour for name, colour in _COLOURS.items() if cell.server.startswith(name)), _OTHERS)
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(cell.server)}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_ROW - 5}" fill="{colour}"/>',
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 12}">{cell.per_second:,.0f}</text>',
        ]
    return parts
