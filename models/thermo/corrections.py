"""Corrections that bring computed formation energies to experiment, one number an element and kind of compound.

The Materials Project's 0 K energies err by element (TiO2 is bound 0.26 eV an atom too strongly, CO2 0.42), and a
reaction that takes one phase from computation and another from experiment inherits the difference. A ridge regression
over the compounds that have both, FREED's heat of formation at 298 K and the computed energy, tells how much an atom
of each element is off in compounds with oxygen, and in others. What it cannot explain is the uncertainty of a
corrected energy.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from models.thermo import entries

_FILE = Path(__file__).parents[1] / "data" / "energy_corrections.csv"
_RIDGE = 0.3
OXYGEN, OTHER = "oxygen", "other"


@dataclass(frozen=True)
class Corrections:
    """What to add to computed energies.

    Attributes:
        per_atom_eV: (kind of compound, element) -> eV for each atom of it.
        std_eV_per_atom: kind of compound -> what is left over, standard deviation by leave-one-out.
    """

    per_atom_eV: Mapping[tuple[str, str], float]
    std_eV_per_atom: Mapping[str, float]

    def of(self, atoms: Mapping[str, float]) -> float:
        """Return the correction of a compound in eV per atom, to be added to its computed formation energy."""
        kind = kind_of(atoms)
        total = sum(atoms.values())
        return sum(n * self.per_atom_eV.get((kind, el), 0.0) for el, n in atoms.items()) / total

    def std(self, atoms: Mapping[str, float]) -> float:
        """Return the standard deviation of a corrected energy, eV per atom."""
        return self.std_eV_per_atom[kind_of(atoms)]


def kind_of(atoms: Mapping[str, float]) -> str:
    """Return in which of the two regressions a compound is."""
    return OXYGEN if "O" in atoms else OTHER


@cache
def shipped() -> Corrections:
    """Return the corrections in ``models/data/energy_corrections.csv``, which ``fit`` made."""
    numbers: dict[tuple[str, str], float] = {}
    spread: dict[str, float] = {}
    with _FILE.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["element"] == "std":
                spread[row["kind"]] = float(row["eV_per_atom"])
            else:
                numbers[row["kind"], row["element"]] = float(row["eV_per_atom"])
    return Corrections(numbers, spread)


def fit() -> Corrections:
    """Learn the corrections from all compounds with a computed and an experimental energy (seconds).

    Raises:
        DataError: ``ATHANOR_DATA`` is not set.
    """
    numbers: dict[tuple[str, str], float] = {}
    spread: dict[str, float] = {}
    pairs = _pairs()
    for kind in (OXYGEN, OTHER):
        rows = [(atoms, error) for atoms, error in pairs if kind_of(atoms) == kind]
        names = sorted({el for atoms, _ in rows for el in atoms})
        shares = np.array([[atoms.get(el, 0.0) / sum(atoms.values()) for el in names] for atoms, _ in rows])
        errors = np.array([error for _, error in rows])
        keep = np.ones(len(rows), bool)
        for _ in range(3):  # a wrong phase or an unlike polymorph must not bend the rest
            weights, left_out = _ridge(shares[keep], errors[keep])
            residual = errors - shares @ weights
            keep = np.abs(residual) < 4 * 1.4826 * np.median(np.abs(residual[keep]))
        spread[kind] = float(np.std(left_out))
        numbers.update({(kind, el): float(w) for el, w in zip(names, weights, strict=True)})
    return Corrections(numbers, spread)


def write(corrections: Corrections) -> None:
    """Write the table that ships."""
    with _FILE.open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(["kind", "element", "eV_per_atom"])
        for kind, std in corrections.std_eV_per_atom.items():
            out.writerow([kind, "std", f"{std:.4f}"])
        for (kind, element), number in sorted(corrections.per_atom_eV.items()):
            out.writerow([kind, element, f"{number:.4f}"])
    shipped.cache_clear()


def _ridge(shares: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights, and the residual that each row has when it is left out."""
    inverse = np.linalg.inv(shares.T @ shares + _RIDGE**2 * np.eye(shares.shape[1]))
    leverage = np.einsum("ij,jk,ik->i", shares, inverse, shares)
    weights = inverse @ shares.T @ errors
    return weights, (errors - shares @ weights) / (1 - leverage)


def _pairs() -> list[tuple[Mapping[str, float], float]]:
    """Return compounds with experimental minus computed formation energy, eV per atom."""
    folder = str(entries.thermo_folder())
    out = []
    for chemsys, curves in entries.measured(folder).items():
        for phase in entries.phases_with_all(chemsys):
            if phase.energy_eV_per_atom is not None and phase.key in curves:
                measured = entries.enthalpies_eV_per_atom(folder).get(phase.key)
                if measured is not None and np.isfinite(measured):
                    out.append((phase.atoms, measured - phase.energy_eV_per_atom))
    return out


if __name__ == "__main__":
    write(fit())
