"""The elements in their ground-state structures, with the same potential that the oracle uses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from instruments.errors import LabError

TABLE = Path(__file__).with_name("elements.json")
"""Made by ``benchmarks/element_references.py``, which holds the sources of the structures."""


@dataclass(frozen=True)
class Element:
    """One element.

    Attributes:
        symbol: chemical symbol.
        structure: Strukturbericht symbol or name of the ground-state structure, and its space group.
        lattice_A, species, frac_coords: primitive cell relaxed with CHGNet.
        energy_eV_per_atom, volume_A3_per_atom: of that cell.
        moment_muB_per_atom: mean magnitude over the sites.
        ferromagnetic: True for those that keep a net moment at room temperature (Fe, Co, Ni).
        mass_g_per_mol, melting_point_K, boiling_point_K: at ordinary pressure; ``None`` where not known.
    """

    symbol: str
    structure: str
    lattice_A: list[list[float]]
    species: list[str]
    frac_coords: list[list[float]]
    energy_eV_per_atom: float
    volume_A3_per_atom: float
    moment_muB_per_atom: float
    ferromagnetic: bool
    mass_g_per_mol: float
    melting_point_K: float | None
    boiling_point_K: float | None

    @property
    def cell(self) -> dict[str, Any]:
        """The crystal as a target: ``formula``, ``lattice_A``, ``species``, ``frac_coords``."""
        return {
            "formula": self.symbol,
            "lattice_A": self.lattice_A,
            "species": self.species,
            "frac_coords": self.frac_coords,
        }


def element(symbol: str) -> Element:
    """Return the reference of one element. Raises LabError where there is none, listing those there are."""
    try:
        return _table()[symbol]
    except KeyError:
        raise LabError(
            f"no simulated matter for element {symbol!r}: take it out of the space; there are: {' '.join(_table())}"
        ) from None


def element_symbols() -> list[str]:
    """Symbols of all elements that the simulated laboratory has, by atomic number."""
    return list(_table())


def mass_g_per_mol(species: list[str]) -> float:
    """Molar mass of the listed atoms."""
    return sum(element(s).mass_g_per_mol for s in species)


@cache
def _table() -> dict[str, Element]:
    return {symbol: Element(symbol=symbol, **row) for symbol, row in json.loads(TABLE.read_text())["elements"].items()}
