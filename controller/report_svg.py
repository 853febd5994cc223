"""Charts as SVG text: axes, curves, dots and bars that take their colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

Points = Iterable[tuple[float, float]]


class Chart:
    """One pair of axes. Data outside the ranges is not clipped: give ranges that hold it.

    Args:
        x, y: (low, high) of the axes, in data units; ``nice_range`` makes good ones.
        x_label, y_label: with the unit.
        title: what a screen reader says.
        width, height: in user units; the page scales the drawing.
        x_whole: ticks at whole numbers only.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        x_label: str,
        y_label: str,
        title: str,
        width: int = 540,
        height: int = 360,
        x_whole: bool = False,
        y_ticks: Sequence[tuple[float, str]] | None = None,
        left: int = 68,
    ) -> None:
        self.x, self.y, self.width, self.height = _spread(x), _spread(y), width, height
        self.left, self.right, self.top, self.bottom = left, 14, 14, 46
        self.title, self._parts, self._legend = title, [], []
        self._axes(x_label, y_label, x_whole, y_ticks)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Data to drawing coordinates."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        wide = self.width - self.left - self.right
        return self.left + across * wide, self.height - self.bottom - up * (self.height - self.top - self.bottom)

    def line(self, points: Points, style: str, *, steps: bool = False) -> None:
        """A curve; NaN breaks it. ``steps`` holds each value until the next point."""
        runs: list[list[tuple[float, float]]] = [[]]
        for x, y in points:
            if math.isfinite(x) and math.isfinite(y):
                runs[-1].append((x, y))
            elif runs[-1]:
                runs.append([])
        for run in runs:
            if steps:
                run = [p for i, (x, y) in enumerate(run) for p in ([(x, run[i - 1][1]), (x, y)] if i else [(x, y)])]
            if run:
                self._parts.append(f'<polyline class="{style}" points="{self._path(run)}"/>')

    def band(self, x: Sequence[float], low: Sequence[float], high: Sequence[float], style: str) -> None:
        """The area between two curves; only where both are known."""
        known = [(a, b, c) for a, b, c in zip(x, low, high, strict=True) if math.isfinite(b) and math.isfinite(c)]
        if len(known) > 1:
            edge = [(a, c) for a, _, c in known] + [(a, b) for a, b, _ in reversed(known)]
            self._parts.append(f'<polygon class="{style}" points="{self._path(edge)}"/>')

    def dot(self, x: float, y: float, style: str, *, tip: str = "", radius: float = 4.5) -> None:
        """A point, with a text that shows on hovering."""
        px, py = self.at(x, y)
        said = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(f'<circle class="{style}" cx="{px:.1f}" cy="{py:.1f}" r="{radius:g}">{said}</circle>')

    def whisker(self, x: float, low: float, high: float, style: str = "whisker") -> None:
        """A vertical error bar."""
        (px, a), (_, b) = self.at(x, low), self.at(x, high)
        self._parts.append(f'<line class="{style}" x1="{px:.1f}" y1="{a:.1f}" x2="{px:.1f}" y2="{b:.1f}"/>')

    def bar(self, x0: float, x1: float, y0: float, y1: float, style: str, tip: str = "") -> None:
        """A filled rectangle."""
        (a, b), (c, d) = self.at(x0, y0), self.at(x1, y1)
        said = f"<title>{escape(tip)}</title>" if tip else ""
        wide, tall = abs(c - a), abs(b - d)
        wide = wide - 0.8 if wide > 4 else wide  # neighbours of one colour stay apart
        size = f'width="{max(wide, 0.5):.2f}" height="{max(tall, 0.5):.2f}"'
        self._parts.append(f'<rect class="{style}" x="{min(a, c):.2f}" y="{min(b, d):.2f}" {size}>{said}</rect>')

    def text(self, x: float, y: float, words: str, *, dx: float = 0, dy: float = 0, anchor: str = "start") -> None:
        """Words at a place, moved by (dx, dy) drawing units."""
        px, py = self.at(x, y)
        place = f'x="{px + dx:.1f}" y="{py + dy:.1f}" text-anchor="{anchor}"'
        self._parts.append(f'<text class="note" {place}>{escape(words)}</text>')

    def legend(self, shape: str, style: str, words: str) -> None:
        """An entry above the axes; ``shape`` is ``line``, ``dot`` or ``bar``."""
        self._legend.append((shape, style, words))

    def svg(self) -> str:
        """The drawing."""
        legend, rows = self._drawn_legend()
        top = 22 * rows
        box = f"0 {-top} {self.width} {self.height + top}"
        body = "".join(self._parts)
        said = escape(self.title, quote=True)
        return f'<svg class="chart" viewBox="{box}" role="img" aria-label="{said}">{legend}{body}</svg>'

    def _path(self, points: Points) -> str:
        return " ".join(f"{px:.1f},{py:.1f}" for px, py in (self.at(x, y) for x, y in points))

    def _axes(self, x_label: str, y_label: str, x_whole: bool, y_ticks: Sequence[tuple[float, str]] | None) -> None:
        bottom, right = self.height - self.bottom, self.width - self.right
        for value in ticks(*self.x, whole=x_whole, count=max(3, self.width // 90)):
            px = self.at(value, self.y[0])[0]
            self._parts.append(f'<line class="grid" x1="{px:.1f}" y1="{self.top}" x2="{px:.1f}" y2="{bottom}"/>')
            place = f'x="{px:.1f}" y="{bottom + 17}" text-anchor="middle"'
            self._parts.append(f'<text class="tick" {place}>{_tick(value)}</text>')
        marks = y_ticks or [(value, _tick(value)) for value in ticks(*self.y, count=max(3, self.height // 60))]
        for value, words in marks:
            py = self.at(self.x[0], value)[1]
            if y_ticks is None:
                self._parts.append(f'<line class="grid" x1="{self.left}" y1="{py:.1f}" x2="{right}" y2="{py:.1f}"/>')
            place = f'x="{self.left - 8}" y="{py + 4:.1f}" text-anchor="end"'
            self._parts.append(f'<text class="tick" {place}>{escape(words)}</text>')
        middle = (self.left + right) / 2
        self._parts.append(
            f'<text class="axis" x="{middle:.0f}" y="{self.height - 8}" text-anchor="middle">{escape(x_label)}</text>'
        )
        if y_label:
            turn = f'transform="translate(16 {(self.top + bottom) / 2:.0f}) rotate(-90)"'
            self._parts.append(f'<text class="axis" {turn} text-anchor="middle">{escape(y_label)}</text>')
        self._parts.append(f'<path class="frame" d="M{self.left} {self.top}V{bottom}H{right}"/>')

    def _drawn_legend(self) -> tuple[str, int]:
        parts, x, row = [], float(self.left), 0
        for shape, style, words in self._legend:
            wide = 34 + 7.4 * len(words)
            if x > self.left and x + wide > self.width:
                x, row = float(self.left), row + 1
            y = -22 * (self._rows() - row) + 16
            if shape == "line":
                parts.append(f'<line class="{style}" x1="{x:.0f}" y1="{y - 4}" x2="{x + 18:.0f}" y2="{y - 4}"/>')
            elif shape == "dot":
                parts.append(f'<circle class="{style}" cx="{x + 9:.0f}" cy="{y - 4}" r="4.5"/>')
            else:
                parts.append(f'<rect class="{style}" x="{x + 2:.0f}" y="{y - 10}" width="14" height="11"/>')
            parts.append(f'<text class="note" x="{x + 24:.0f}" y="{y}">{escape(words)}</text>')
            x += wide
        return "".join(parts), self._rows()

    def _rows(self) -> int:
        x, rows = float(self.left), 1 if self._legend else 0
        for _, _, words in self._legend:
            wide = 34 + 7.4 * len(words)
            if x > self.left and x + wide > self.width:
                x, rows = float(self.left), rows + 1
            x += wide
        return rows


def nice_range(values: Iterable[float], *, margin: float = 0.06) -> tuple[float, float]:
    """A range that holds all finite values, with a margin; (0, 1) for none."""
    known = [float(v) for v in values if math.isfinite(v)]
    if not known:
        return 0.0, 1.0
    low, high = _spread((min(known), max(known)))
    return low - margin * (high - low), high + margin * (high - low)


def ticks(low: float, high: float, *, count: int = 6, whole: bool = False) -> list[float]:
    """About ``count`` round numbers within [low, high]."""
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _spread(pair: tuple[float, float]) -> tuple[float, float]:
    low, high = pair
    if high > low:
        return low, high
    half = abs(low) * 0.1 or 0.5
    return low - half, high + half


def _tick(value: float) -> str:
    if abs(value) < 1e-12:
        return "0"
    plain = 1e-3 <= abs(value) < 1e6
    words = (f"{value:,.6g}" if abs(value) >= 10_000 else f"{value:.6g}") if plain else f"{value:.2g}"
    return words.replace("-", "−")
