"""Peak shapes: the pseudo-Voigt of Thompson, Cox and Hastings, summed over reflections on an even grid."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

_REACH_WIDTHS = 12.0
_LN2 = float(np.log(2.0))


@dataclass(frozen=True, eq=False)
class Peaks:
    """A list of peaks.

    Attributes:
        centres_deg, areas, widths_deg, mixing: (n,); the mixing is the Lorentzian share of a pseudo-Voigt.
    """

    centres_deg: np.ndarray
    areas: np.ndarray
    widths_deg: np.ndarray
    mixing: np.ndarray


def width_and_mixing(gauss: np.ndarray, lorentz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Full width at half maximum of the peak and its Lorentzian share, from the widths of the two parts (degrees).

    Thompson, Cox and Hastings, J. Appl. Cryst. 20, 79 (1987).
    """
    g, h = gauss, lorentz
    fifth = g**5 + 2.69269 * g**4 * h + 2.42843 * g**3 * h**2 + 4.47163 * g**2 * h**3 + 0.07842 * g * h**4 + h**5
    width = fifth**0.2
    ratio = h / width
    return width, 1.36603 * ratio - 0.47719 * ratio**2 + 0.11116 * ratio**3


class Comb:
    """The peaks of a list on the grid ``start + i step``, i < n: their sum, and how it moves with the peaks.

    Tails end 12 widths from the centre. Peaks of like reach share one rectangular array.
    """

    def __init__(self, peaks: Peaks, start_deg: float, step_deg: float, n: int, *, derivatives: bool = False) -> None:
        self.peaks, self.n = peaks, n
        half = np.maximum((_REACH_WIDTHS * peaks.widths_deg / step_deg).astype(int) + 1, 4)
        middle = np.round((peaks.centres_deg - start_deg) / step_deg).astype(int)
        self.blocks = []
        for low, high in _bands(half):
            chosen = np.flatnonzero((half > low) & (half <= high) & (peaks.areas > 0))
            if len(chosen) == 0:
                continue
            index = middle[chosen, None] + np.arange(-high, high + 1)
            x = start_deg + step_deg * index - peaks.centres_deg[chosen, None]
            shapes = _shapes(x, peaks.widths_deg[chosen, None], peaks.mixing[chosen, None], derivatives)
            self.blocks.append((chosen, np.where((index >= 0) & (index < n), index, n).ravel(), shapes))

    def total(self) -> np.ndarray:
        """Sum of all peaks, (n,)."""
        return self._sum(lambda chosen, shapes: shapes[0] * self.peaks.areas[chosen, None])

    def moved(self, other: Peaks) -> np.ndarray:
        """First-order change of the sum when the peaks become those of ``other``, (n,)."""
        p = self.peaks
        area = other.areas - p.areas
        centre = p.areas * (other.centres_deg - p.centres_deg)
        width = p.areas * (other.widths_deg - p.widths_deg)
        mixing = p.areas * (other.mixing - p.mixing)

        def change(k: np.ndarray, shapes: tuple[np.ndarray, ...]) -> np.ndarray:
            total = shapes[0] * area[k, None]
            for shape, amount in zip(shapes[1:], (centre, width, mixing)):
                if amount.any():
                    total = total + shape * amount[k, None]
            return total

        return self._sum(change)

    def _sum(self, weighted) -> np.ndarray:
        total = np.zeros(self.n + 1)
        for chosen, index, shapes in self.blocks:
            total += np.bincount(index, weighted(chosen, shapes).ravel(), minlength=self.n + 1)
        return total[: self.n]


def _shapes(x: np.ndarray, width: np.ndarray, eta: np.ndarray, derivatives: bool) -> tuple[np.ndarray, ...]:
    """The profile of unit area and its derivatives with respect to centre, width and mixing."""
    u = (2 * x / width) ** 2
    lorentz = (2 / np.pi) / width / (1 + u)
    gauss = 2 * np.sqrt(_LN2 / np.pi) / width * np.exp(-_LN2 * u)
    shape = eta * lorentz + (1 - eta) * gauss
    if not derivatives:
        return (shape,)
    slope_l, slope_g = lorentz / (1 + u), _LN2 * gauss  # minus the derivatives with respect to u
    slope = eta * slope_l + (1 - eta) * slope_g
    return shape, slope * 8 * x / width**2, slope * 2 * u / width - shape / width, lorentz - gauss


def _bands(half: np.ndarray) -> list[tuple[int, int]]:
    edges = [0]
    top = int(half.max(initial=0))
    while edges[-1] < top:
        edges.append(min(top, max(24, 2 * edges[-1])))
    return list(itertools.pairwise(edges))
