"""Peak shapes: the pseudo-Voigt of Thompson, Cox and Hastings, summed over reflections on an even grid."""

from __future__ import annotations

import numpy as np

_REACH_WIDTHS = 14.0
_LN2 = float(np.log(2.0))


def width_and_mixing(gauss: np.ndarray, lorentz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Full width at half maximum of the peak and its Lorentzian share, from the widths of the two parts (degrees).

    Thompson, Cox and Hastings, J. Appl. Cryst. 20, 79 (1987).
    """
    g, h = gauss, lorentz
    fifth = g**5 + 2.69269 * g**4 * h + 2.42843 * g**3 * h**2 + 4.47163 * g**2 * h**3 + 0.07842 * g * h**4 + h**5
    width = fifth**0.2
    ratio = h / width
    return width, 1.36603 * ratio - 0.47719 * ratio**2 + 0.11116 * ratio**3


def summed_peaks(
    start_deg: float,
    step_deg: float,
    n: int,
    centres_deg: np.ndarray,
    areas: np.ndarray,
    widths_deg: np.ndarray,
    mixing: np.ndarray,
) -> np.ndarray:
    """Sum of pseudo-Voigt peaks at ``start + i step``, i < n. Tails end 14 widths from the centre."""
    total = np.zeros(n + 1)
    if len(centres_deg) == 0:
        return total[:n]
    half = np.maximum((_REACH_WIDTHS * widths_deg / step_deg).astype(int) + 1, 4)
    middle = np.round((centres_deg - start_deg) / step_deg).astype(int)
    # peaks of like reach share one rectangular array
    for low, high in _bands(half):
        chosen = (half > low) & (half <= high)
        if not chosen.any():
            continue
        index = middle[chosen, None] + np.arange(-high, high + 1)
        x = start_deg + step_deg * index - centres_deg[chosen, None]
        width, eta = widths_deg[chosen, None], mixing[chosen, None]
        u = (2 * x / width) ** 2
        shape = eta * (2 / np.pi) / (1 + u) + (1 - eta) * 2 * np.sqrt(_LN2 / np.pi) * np.exp(-_LN2 * u)
        index = np.where((index >= 0) & (index < n), index, n)
        total += np.bincount(index.ravel(), (shape * areas[chosen, None] / width).ravel(), minlength=n + 1)
    return total[:n]


def _bands(half: np.ndarray) -> list[tuple[int, int]]:
    top = int(half.max())
    edges = [0]
    while edges[-1] < top:
        edges.append(min(top, max(24, 2 * edges[-1])))
    return list(zip(edges[:-1], edges[1:]))
