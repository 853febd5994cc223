"""How strongly an element scatters and absorbs X-rays."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from models.errors import UnknownNameError

ANODES = {"Cr": 2.28970, "Fe": 1.93604, "Co": 1.78897, "Cu": 1.54056, "Mo": 0.70930, "Ag": 0.55941}
"""Kα1 wavelength in Å of the usual anodes."""

KALPHA2 = {"Cr": 2.29361, "Fe": 1.93998, "Co": 1.79285, "Cu": 1.54439, "Mo": 0.71359, "Ag": 0.56380}
"""Kα2 wavelength in Å of the same anodes; half as strong as Kα1."""

_ENERGY_KEV_A = 12.39842
_ELECTRON_RADIUS_A = 2.8179403e-5


def scattering_factor(element: str, s2: np.ndarray, wavelength_A: float) -> np.ndarray:
    """Complex atomic scattering factor f0(s) + f' + i f'' in electrons.

    Args:
        element: symbol.
        s2: (sin θ / λ)² in Å⁻², any shape.
        wavelength_A: wavelength in Å; f' and f'' are interpolated between the Kα lines of six anodes.

    Raises:
        UnknownNameError: an element beyond uranium.

    The fit of f0 is by Waasmaier and Kirfel, Acta Cryst. A 51, 416 (1995); f' and f'' by Chantler, J. Phys. Chem.
    Ref. Data 24, 71 (1995).
    """
    a, c, b, _ = _row(element)
    f1, f2 = anomalous(element, wavelength_A)
    return (a * np.exp(-b * np.asarray(s2)[..., None])).sum(-1) + c + f1 + 1j * f2


def anomalous(element: str, wavelength_A: float) -> tuple[float, float]:
    """f' and f'' in electrons at a wavelength in Å, linear in the energy between the tabulated lines."""
    table = _row(element)[3]
    energies = np.array([_ENERGY_KEV_A / ANODES[name] for name in ANODES])
    energy = _ENERGY_KEV_A / wavelength_A
    f1, f2 = (float(np.interp(energy, energies, table[i::2])) for i in range(2))
    if energy > energies[-1]:
        f2 *= (energies[-1] / energy) ** 2
    return f1, f2


def attenuation_per_cm(counts: dict[str, float], volume_A3: float, wavelength_A: float) -> float:
    """Linear photoelectric attenuation coefficient in 1/cm of a cell that holds ``counts`` atoms in ``volume_A3``."""
    section = sum(n * 2 * _ELECTRON_RADIUS_A * wavelength_A * anomalous(e, wavelength_A)[1] for e, n in counts.items())
    return section / volume_A3 * 1e8


@cache
def _row(element: str) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    try:
        values = _table()["H" if element == "D" else element]
    except KeyError:
        raise UnknownNameError(f"{element}: no X-ray scattering factor; elements from H to U have one.") from None
    return values[:5], float(values[5]), values[6:11], values[11:]


@cache
def _table() -> dict[str, np.ndarray]:
    with (files("models") / "data" / "xray_scattering.csv").open() as handle:
        rows = list(csv.reader(handle))[1:]
    return {row[0]: np.array([float(v) for v in row[1:]]) for row in rows}
