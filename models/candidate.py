"""What may be made: a composition, optionally a crystal, plus process parameters."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pymatgen.core import Structure

Value = float | int | str
"""A process parameter: continuous, integer or categorical."""


class Crystal(BaseModel):
    """An unrelaxed crystal as plain numbers, so that it travels without pymatgen.

    Attributes:
        lattice_A: 3 x 3 row vectors of the cell, in angstrom.
        species: element symbol of each of the N sites.
        frac_coords: N x 3 fractional coordinates.
    """

    model_config = ConfigDict(frozen=True)

    lattice_A: tuple[tuple[float, float, float], ...]
    species: tuple[str, ...]
    frac_coords: tuple[tuple[float, float, float], ...]

    def to_pymatgen(self) -> Structure:
        """Return the crystal as a pymatgen ``Structure``."""
        from pymatgen.core import Lattice, Structure

        return Structure(Lattice(self.lattice_A), list(self.species), [list(x) for x in self.frac_coords])


class Candidate(BaseModel):
    """One thing that the lab could make and measure.

    Attributes:
        id: unique in its space, readable (``L2_1-Co2MnSi``, ``row-17``), safe as a file name.
        composition: element symbol -> atoms per formula unit; empty for a pure parameter recipe.
        prototype: name of the structure prototype, or ``""``.
        sites: site label of the prototype -> element symbol.
        crystal: unrelaxed crystal, or ``None`` where only the composition is known.
        parameters: process parameters by name, in the units that the campaign declares.
        fidelity: at which it is to be made and measured (``models.fidelity``); empty: in full.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    composition: dict[str, float] = Field(default_factory=dict)
    prototype: str = ""
    sites: dict[str, str] = Field(default_factory=dict)
    crystal: Crystal | None = None
    parameters: dict[str, Value] = Field(default_factory=dict)
    fidelity: str = Field(default="", exclude_if=lambda name: not name)

    @property
    def formula(self) -> str:
        """The formula in the order of the prototype's sites, e.g. ``Co2MnSi``; ``""`` without a composition."""
        return "".join(f"{el}{n:g}" if n != 1 else el for el, n in self.composition.items())


def digest(value: Any) -> str:
    """Return the SHA-256 (first 16 hex digits) of a JSON-like value; equal content gives an equal digest."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=lambda v: v.model_dump(mode="json"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
