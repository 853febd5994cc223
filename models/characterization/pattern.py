"""A measured powder pattern: read it, and put it on an even grid with believable errors."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.characterization.refinement import Grid
from models.errors import DataError

_FEWEST_POINTS = 50
_MOST_POINTS = 2600
_MISFIT = 0.02


@dataclass(frozen=True, eq=False)
class Pattern:
    """Intensity over 2θ, angles ascending.

    Attributes:
        two_theta_deg, intensity: (n,).
        wavelength_A: where the file says it.
        name: where the file says it.
    """

    two_theta_deg: np.ndarray
    intensity: np.ndarray
    wavelength_A: float | None = None
    name: str = ""

    @classmethod
    def of(cls, two_theta_deg: Any, intensity: Any, **more: Any) -> Pattern:
        """Check two sequences. Raises DataError: of unequal length, too few, not finite, flat, or angles beyond 180."""
        try:
            x, y = np.asarray(two_theta_deg, float).ravel(), np.asarray(intensity, float).ravel()
        except (TypeError, ValueError) as error:
            raise DataError(f"a pattern needs numbers: {error}.") from error
        if len(x) != len(y):
            raise DataError(f"a pattern needs an intensity for each angle: {len(x)} angles, {len(y)} intensities.")
        if len(x) < _FEWEST_POINTS:
            raise DataError(f"a pattern of {len(x)} points is too short; give at least {_FEWEST_POINTS}.")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise DataError("a pattern must not hold NaN or infinity; leave such points out.")
        if x.min() <= 0 or x.max() >= 180:
            raise DataError(f"2θ runs from {x.min():g} to {x.max():g}; it must lie between 0 and 180 degrees.")
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
        if np.ptp(y) <= 0 or np.ptp(x) <= 0:
            raise DataError("the pattern is flat: nothing was measured.")
        return cls(x, y, **more)


def read_pattern(file: str | Path) -> Pattern:
    """The first pattern of a file; see :func:`read_patterns`."""
    return next(read_patterns(file))


def read_patterns(file: str | Path) -> Iterator[Pattern]:
    """Read ``.xy``, ``.xye``, ``.csv``, ``.dat``, ``.txt`` (two columns or more), ``.json``, or ``.jsonl`` (many).

    JSON: ``two_theta`` and ``intensity`` (or ``counts``), or instead of the angles ``two_theta_start`` and
    ``two_theta_end``; ``kalpha1_A`` or ``wavelength_A`` and ``name`` where known.

    Raises:
        DataError: no such file, or it is no pattern; the message says which line.
    """
    path = Path(file)
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8", errors="replace")
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}.") from error
    try:
        if text.lstrip()[:1] in ("{", "["):
            for record in _records(text):
                yield pattern_of_record(record)
        else:
            yield _columns(text)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def pattern_of_record(record: Mapping[str, Any]) -> Pattern:
    """A pattern of a JSON object (see :func:`read_pattern`). Raises DataError."""
    intensity = next((record[k] for k in ("intensity", "intensities", "counts", "y") if k in record), None)
    angles = next((record[k] for k in ("two_theta", "two_theta_deg", "2theta", "x") if k in record), None)
    if intensity is None:
        raise DataError("no field `intensity` or `counts` in it.")
    if angles is None:
        try:
            angles = np.linspace(float(record["two_theta_start"]), float(record["two_theta_end"]), len(intensity))
        except (KeyError, TypeError, ValueError):
            raise DataError("no field `two_theta`, nor `two_theta_start` and `two_theta_end`, in it.") from None
    wavelength = record.get("wavelength_A", record.get("kalpha1_A"))
    if wavelength is not None and not isinstance(wavelength, int | float):
        raise DataError("`wavelength_A` must be a number in Å.")
    return Pattern.of(angles, intensity, wavelength_A=wavelength, name=str(record.get("name", "")))


def grid_of(pattern: Pattern) -> tuple[Grid, float]:
    """The pattern on an even grid fine enough for its peaks, and the typical width of its peaks in degrees."""
    x, y = pattern.two_theta_deg, pattern.intensity
    native = float(np.median(np.diff(x)))
    width = max(_typical_width(x, y), 2 * native)
    span = x[-1] - x[0]
    step = max(min(width / 3.5, 0.05), native, span / _MOST_POINTS)
    n = int(span / step) + 1
    edges = x[0] + step * (np.arange(n + 1) - 0.5)
    which = np.clip(np.digitize(x, edges) - 1, 0, n - 1)
    count = np.bincount(which, minlength=n)
    mean = np.bincount(which, y, minlength=n) / np.maximum(count, 1)
    centre = np.bincount(which, x, minlength=n) / np.maximum(count, 1)
    angles = x[0] + step * np.arange(n)
    # the mean belongs to the mean angle of its points, not to the middle of the bin
    value = np.interp(angles, centre[count > 0], mean[count > 0])
    noise = _noise(y) / np.sqrt(max(1.0, step / native))
    error = np.interp(angles, x, noise)
    net = np.maximum(value - _floor(value, int(3 * width / step)), 0.0)
    sigma = np.hypot(error, _MISFIT * net)
    return Grid(float(angles[0]), step, value, np.maximum(sigma, 1e-9 * np.ptp(y)), _background(angles)), width


def _background(angles: np.ndarray) -> np.ndarray:
    u = np.linspace(-1, 1, len(angles))
    polynomials = np.polynomial.chebyshev.chebvander(u, 9)
    return np.concatenate([polynomials, (1 / np.maximum(angles, 0.3))[:, None]], 1)


def _floor(y: np.ndarray, reach: int) -> np.ndarray:
    """A crude background from below: opening by a window wider than a peak, smoothed."""
    size = 2 * max(reach, 3) + 1
    opened = _windows(_windows(_smooth(y, 3), size).min(1), size).max(1)
    return _smooth(opened, size)


def _noise(y: np.ndarray) -> np.ndarray:
    """Standard deviation of each point from its neighbours: the smooth part cancels in second differences."""
    rough = np.abs(np.diff(y, 2, prepend=y[0], append=y[-1])) / np.sqrt(6) / 0.6745
    size = min(101, len(y) // 4)
    every = max(1, len(y) // 400)
    places = np.arange(0, len(y), every)
    local = np.median(_windows(rough, size)[places], axis=1)
    return np.maximum(np.interp(np.arange(len(y)), places, _smooth(local, 9)), 1e-6 * np.ptp(y))


def _typical_width(x: np.ndarray, y: np.ndarray) -> float:
    """Lower quartile of the widths at half height of the strong peaks, in degrees."""
    step = float(np.median(np.diff(x)))
    net = _smooth(y, max(1, round(0.03 / step)))
    net = net - _floor(net, round(1.0 / step))
    near = max(1, round(0.15 / step))
    tops = np.flatnonzero((net == _windows(net, 2 * near + 1).max(1)) & (net > 0.15 * net.max()))
    widths = []
    for top in tops:
        below = net < net[top] / 2
        left, right = np.flatnonzero(below[:top]), np.flatnonzero(below[top:])
        if len(left) and len(right):
            widths.append((top + right[0] - left[-1] - 1) * step)
    return float(np.clip(np.quantile(widths, 0.25), 0.01, 1.5)) if widths else 0.15


def _windows(y: np.ndarray, size: int) -> np.ndarray:
    """A window of ``size`` points around each, the ends repeated."""
    return sliding_window_view(np.pad(y, (size // 2, (size - 1) // 2), mode="edge"), size)


def _smooth(y: np.ndarray, size: int) -> np.ndarray:
    size = min(size, len(y))
    return np.convolve(np.pad(y, (size // 2, (size - 1) // 2), mode="edge"), np.full(size, 1 / size), mode="valid")


def _records(text: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(text)
        rows = found if isinstance(found, list) else [found]
    except ValueError:
        rows = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except ValueError as error:
                    raise DataError(f"line {number} is not JSON: {error}.") from error
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise DataError("a JSON pattern is an object with `two_theta` and `intensity`.")
    return rows


def _columns(text: str) -> Pattern:
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = _fields(line)
        if len(fields) < 2:
            continue
        try:
            rows.append((float(fields[0]), float(fields[1])))
        except ValueError:
            if rows:
                raise DataError(f"line {number}: {line.strip()[:40]!r} is not an angle and an intensity.") from None
    if not rows:
        raise DataError("no two columns of numbers in it; a pattern is 2θ and intensity.")
    return Pattern.of([r[0] for r in rows], [r[1] for r in rows])


def _fields(line: str) -> Sequence[str]:
    if line.lstrip()[:1] in ("#", "!", "'", ";", "*"):
        return []
    for separator in (",", ";", "\t"):
        if separator in line:
            return [f.strip() for f in next(csv.reader([line], delimiter=separator))]
    return line.split()
