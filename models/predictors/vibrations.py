"""Vibrations of a crystal whose cells move alike, from force constants, and what they say in numbers of one length."""

from __future__ import annotations

import numpy as np

from models.blocks.composition import element_table
from models.blocks.materials import Cell

WAVENUMBER = 521.4709
"""cm^-1 of a mode with an eigenvalue of 1 eV/(A^2 u)."""
_SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3)
_PROPERTIES = ("Z", "electronegativity", "covalent_radius_A", "row", "column")


def modes(force_constants: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers at the centre of the Brillouin zone, and which atoms move.

    Args:
        force_constants: (3 N, 3 N), eV/A^2, of N atoms moved with their images.
        numbers: (N,) atomic numbers.

    Returns:
        (3 N,) cm^-1 from the highest down, negative where the crystal falls apart; (3 N, N) how much of each mode's
        kinetic energy each atom has.
    """
    weight = np.repeat(_property("mass_g_per_mol")[numbers - 1], 3) ** -0.5
    values, vectors = np.linalg.eigh(force_constants * weight[:, None] * weight[None, :])
    values, vectors = values[::-1], vectors[:, ::-1]
    shares = (vectors.T.reshape(len(values), -1, 3) ** 2).sum(axis=2)
    return np.sign(values) * np.sqrt(np.abs(values)) * WAVENUMBER, shares


def vibration_features(force_constants: np.ndarray, cell: Cell) -> np.ndarray:
    """Numbers that say how a crystal vibrates, float64 (37,).

    Quantiles of the wavenumbers; for the highest mode and for the atom that is held most firmly: what elements move,
    their masses, wavenumber, and how many atoms share in it.
    """
    numbers = cell.numbers
    wave, shares = modes(force_constants, numbers)
    of_atoms = np.stack([_property(name)[numbers - 1] for name in _PROPERTIES], axis=1)
    mass = _property("mass_g_per_mol")[numbers - 1]
    quantiles = np.quantile(wave, _SHARES)
    root = np.sqrt((wave.clip(0) ** 2).mean())
    whole = [*quantiles, *(quantiles[1:] / max(quantiles[0], 1.0)), wave[:6].mean(), root]
    top = shares[0]
    width = 1.0 / (len(numbers) * (top**2).sum())
    mode = [*(top @ of_atoms), float(top @ mass), width, float(top[numbers == 1].sum())]
    held = np.stack([force_constants[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] for i in range(len(numbers))])
    stiff = np.linalg.eigvalsh(held)[:, ::-1].clip(0)
    alone = np.sqrt(stiff[:, 0] / mass) * WAVENUMBER  # were all others at rest
    firm = int(alone.argmax())
    atom = [alone[firm], alone.mean(), stiff[firm, 0], stiff[firm].mean(), stiff.max(), *of_atoms[firm], mass[firm]]
    ratio = [alone[firm] / max(wave[0], 1.0), np.log(max(wave[0], 1.0)), np.log(max(alone[firm], 1.0))]
    return np.array([*whole, *mode, *atom, *ratio], dtype=float)


def _property(name: str) -> np.ndarray:
    table, names = element_table()
    return table[:, names.index(name)]
