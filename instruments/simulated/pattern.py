"""Powder diffraction patterns: reflections of a crystal, and their profile on an angular grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from instruments.simulated.cell import scaled, volume_A3
from instruments.simulated.references import element, mass_g_per_mol

if TYPE_CHECKING:
    import numpy as np

WAVELENGTH_A = {"CuKa": 1.54184, "CuKa1": 1.54056, "MoKa": 0.71073, "CoKa": 1.79026}
CAGLIOTI_DEG2 = (0.02, -0.01, 0.015)
"""U, V, W of the instrument: FWHM^2 = U tan^2(theta) + V tan(theta) + W (Caglioti 1958, 0029-554X(58)90029-X)."""
LORENTZ_SHARE = 0.5
REACH_FWHM = 12.0
"""A peak is cut off this many widths from its centre."""


@dataclass(frozen=True)
class Reflections:
    """Powder lines of one crystal.

    Attributes:
        spacing_A: lattice plane spacing of each line, shape (n,).
        strength: multiplicity times |F|^2 divided by (cell volume x cell mass), shape (n,): times Lorentz-polarisation
            it is proportional to the area of the peak a gram of this phase gives in a mixture (Hill and Howard 1987,
            doi:10.1107/S0021889887086199), so that weights fitted to several phases are mass fractions.
    """

    spacing_A: np.ndarray
    strength: np.ndarray


def reflections(cell: Mapping[str, Any], wavelength_A: float, max_two_theta_deg: float) -> Reflections:
    """Compute the lines of a crystal (``lattice_A``, ``species``, ``frac_coords``) with pymatgen's XRDCalculator."""
    import numpy as np
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.core import Lattice, Structure

    structure = Structure(Lattice(cell["lattice_A"]), list(cell["species"]), cell["frac_coords"])
    calculator: Any = XRDCalculator
    pattern = calculator(wavelength=wavelength_A).get_pattern(
        structure, scaled=False, two_theta_range=(0, min(max_two_theta_deg, 179.0))
    )
    spacing = np.array(pattern.d_hkls, dtype=float)
    area = np.array(pattern.y, dtype=float) / lorentz_polarisation(spacing, wavelength_A)
    area /= volume_A3(cell["lattice_A"]) * mass_g_per_mol(list(cell["species"]))
    keep = area > 1e-4 * area.max(initial=0.0)
    return Reflections(spacing[keep], area[keep])


@cache
def element_reflections(symbol: str, wavelength_A: float, max_two_theta_deg: float) -> Reflections:
    """Lines of an element in its ground-state structure; kept, since every sample needs them again."""
    return reflections(element(symbol).cell, wavelength_A, max_two_theta_deg)


def scaled_cell(cell: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """The same crystal with every edge times ``factor``."""
    return {**cell, "lattice_A": scaled(cell["lattice_A"], factor)}


def lorentz_polarisation(spacing_A: np.ndarray, wavelength_A: float) -> np.ndarray:
    """(1 + cos^2 2theta) / (sin^2 theta cos theta) of an unpolarised beam on a powder."""
    import numpy as np

    theta = np.arcsin(wavelength_A / (2 * spacing_A))
    return (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))


def profile(
    lines: Reflections,
    grid_deg: np.ndarray,
    wavelength_A: float,
    *,
    edge_factor: float = 1.0,
    zero_shift_deg: float = 0.0,
    displacement_deg: float = 0.0,
    broadening: float = 1.0,
) -> np.ndarray:
    """Pseudo-Voigt pattern of one gram of a phase on an even 2theta grid, shape (len(grid_deg),), arbitrary units.

    Args:
        lines: the phase.
        grid_deg: 2theta, even steps.
        wavelength_A: of the beam.
        edge_factor: every plane spacing is multiplied by it.
        zero_shift_deg: added to every 2theta.
        displacement_deg: a sample out of plane shifts each line by this times cos(theta).
        broadening: factor on the instrument's width.
    """
    import numpy as np

    sine = wavelength_A / (2 * lines.spacing_A * edge_factor)
    seen = sine < 0.999
    theta = np.arcsin(sine[seen])
    area = lines.strength[seen] * lorentz_polarisation(lines.spacing_A[seen] * edge_factor, wavelength_A)
    center = np.degrees(2 * theta) + zero_shift_deg + displacement_deg * np.cos(theta)
    u, v, w = CAGLIOTI_DEG2
    width = broadening * np.sqrt(u * np.tan(theta) ** 2 + v * np.tan(theta) + w)

    # One row a line and one column a grid point within its reach, so that the cost follows the peaks, not the grid.
    step = (grid_deg[-1] - grid_deg[0]) / (len(grid_deg) - 1)
    inside = (center > grid_deg[0] - 2) & (center < grid_deg[-1] + 2)
    center, width, area = center[inside], width[inside], area[inside]
    total = np.zeros(len(grid_deg))
    if not len(center):
        return total
    reach = int(REACH_FWHM * width.max() / step) + 1
    index = np.rint((center - grid_deg[0]) / step).astype(int)[:, None] + np.arange(-reach, reach + 1)[None, :]
    x = (grid_deg[0] + index * step - center[:, None]) / (width[:, None] / 2)
    gauss = np.sqrt(np.log(2) / np.pi) * np.exp(-np.log(2) * x**2)
    peak = (LORENTZ_SHARE / np.pi / (1 + x**2) + (1 - LORENTZ_SHARE) * gauss) / (width[:, None] / 2) * area[:, None]
    valid = (index >= 0) & (index < len(grid_deg)) & (np.abs(x) < 2 * REACH_FWHM)
    np.add.at(total, index[valid], peak[valid])
    return total
