"""Quantities that are computed: from a candidate alone (``computed``), or from several readings (``derived``).

Readings of the simulated instruments: furnace ``sample_mass_g``, ``mass_loss_pct``; diffractometer
``lattice_parameter_A`` (conventional cell), ``cell_volume_A3_per_atom``, ``phase_fraction`` (0..1, of the target
phase), ``rwp_pct``; magnetometer ``moment_A_m2`` (of the whole sample, >= 0), ``field_T``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models import elements
from models.candidate import Candidate
from models.errors import DataError, UnknownNameError

MU_0 = 1.25663706127e-6
"""Vacuum permeability, N/A^2 (CODATA 2022)."""
BOHR_MAGNETON = 9.2740100657e-24
"""A m^2 (CODATA 2022)."""
AVOGADRO = 6.02214076e23
"""1/mol, exact."""

Computed = Callable[[np.ndarray, Sequence[str]], np.ndarray]
"""``f(amounts, symbols)``: (n, k) atoms per formula unit and the element of each column -> (n,)."""


def mass_fractions(amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
    """Return the weight fraction of each element, (n, k), from atoms per formula unit (n, k)."""
    masses = amounts * elements.values("mass_g_per_mol", symbols)
    return masses / masses.sum(axis=1, keepdims=True)


def hhi_production(amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
    """Supply-risk Herfindahl-Hirschman index of today's production, 0..10,000, weighted by mass; low is safe.

    Gaultois et al., Chem. Mater. 2013, 10.1021/cm400893e. Below 1,500 a market counts as unconcentrated, above 2,500
    as highly concentrated.
    """
    return _by_mass("hhi_production", amounts, symbols)


def hhi_reserve(amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
    """Supply-risk Herfindahl-Hirschman index of known reserves, as ``hhi_production``: the risk in the long run."""
    return _by_mass("hhi_reserve", amounts, symbols)


def price_USD_per_kg(amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
    """Price of the elements by weight, USD/kg, at prices of 2013: an order of magnitude, not an offer."""
    return _by_mass("price_USD_per_kg", amounts, symbols)


def molar_mass_g_per_mol(amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
    """Mass of one mole of formula units, g/mol."""
    return amounts @ elements.values("mass_g_per_mol", symbols)


def valence_electrons_per_atom(amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
    """Valence electrons an atom (6 in a half-metallic Heusler without moment)."""
    return amounts @ elements.values("valence_electrons", symbols) / amounts.sum(axis=1)


def _by_mass(name: str, amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
    used = np.flatnonzero(amounts.any(axis=0)).tolist()
    kept = [symbols[j] for j in used]
    return mass_fractions(amounts[:, used], kept) @ elements.values(name, kept)


_COMPUTED: dict[str, Computed] = {
    "hhi": hhi_production,  # the review's magnets and MatterGen mean production; reserves only on request
    "hhi_production": hhi_production,
    "hhi_reserve": hhi_reserve,
    "price_USD_per_kg": price_USD_per_kg,
    "molar_mass_g_per_mol": molar_mass_g_per_mol,
    "valence_electrons_per_atom": valence_electrons_per_atom,
}


def computed_names() -> tuple[str, ...]:
    """Names that ``computed`` knows."""
    return tuple(_COMPUTED)


def computed(name: str) -> Computed:
    """Return the function of a computed quantity. Raises UnknownNameError that lists the names."""
    if name not in _COMPUTED:
        raise UnknownNameError(f"no computed quantity {name!r}; known: {', '.join(_COMPUTED)}")
    return _COMPUTED[name]


def compute(name: str, candidates: Sequence[Candidate]) -> np.ndarray:
    """Return a computed quantity of candidates, (n,); a numeric process parameter of that name counts too.

    Raises:
        UnknownNameError: neither a computed quantity nor a parameter.
        DataError: a candidate has no composition.
    """
    if name not in _COMPUTED and candidates and all(_is_number(c.parameters.get(name)) for c in candidates):
        return np.array([float(c.parameters[name]) for c in candidates])
    function = computed(name)
    bare = [c.id for c in candidates if not c.composition]
    if bare:
        raise DataError(f"{name} needs a composition, and {bare[0]!r} has none; add one, or drop this objective")
    symbols = tuple(dict.fromkeys(el for c in candidates for el in c.composition))
    elements.check_symbols(symbols)
    if not candidates:
        return np.zeros(0)
    return function(elements.amounts([c.composition for c in candidates], symbols), symbols)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Derived:
    """A quantity of a sample that follows from several readings.

    Attributes:
        name: with the unit.
        needs: readings, by name.
        function: ``f(readings, candidate)``, the candidate giving the composition.
        meaning: one line for a report.
    """

    name: str
    needs: tuple[str, ...]
    function: Callable[[Mapping[str, float], Candidate], float]
    meaning: str

    def __call__(self, readings: Mapping[str, float], candidate: Candidate) -> float | None:
        """The value; ``None`` where a reading is missing or not finite, so that nothing is invented."""
        values = [readings.get(name) for name in self.needs]
        if any(value is None or not np.isfinite(value) for value in values):
            return None
        return self.function(readings, candidate)


def _xray_density(readings: Mapping[str, float], candidate: Candidate) -> float:
    atoms = sum(candidate.composition.values())
    if not atoms:
        raise DataError(f"the density needs a composition, and {candidate.id!r} has none")
    grams_per_atom = float(compute("molar_mass_g_per_mol", [candidate])[0]) / atoms / AVOGADRO
    return grams_per_atom / (readings["cell_volume_A3_per_atom"] * 1e-24)


def _saturation_magnetization(readings: Mapping[str, float], candidate: Candidate) -> float:
    volume_m3 = readings["sample_mass_g"] / _xray_density(readings, candidate) * 1e-6
    return MU_0 * readings["moment_A_m2"] / volume_m3


def _moment_per_formula_unit(readings: Mapping[str, float], candidate: Candidate) -> float:
    formula_units = readings["sample_mass_g"] / float(compute("molar_mass_g_per_mol", [candidate])[0]) * AVOGADRO
    return readings["moment_A_m2"] / formula_units / BOHR_MAGNETON


_DERIVED: dict[str, Derived] = {
    d.name: d
    for d in (
        Derived(
            "saturation_magnetization_T",
            ("moment_A_m2", "sample_mass_g", "cell_volume_A3_per_atom"),
            _saturation_magnetization,
            "mu_0 M of the sample: measured moment over its volume, which is mass over X-ray density; a sample that is "
            "not single-phase counts whole",
        ),
        Derived(
            "moment_muB_per_formula_unit",
            ("moment_A_m2", "sample_mass_g"),
            _moment_per_formula_unit,
            "measured moment over the number of formula units in the sample's mass",
        ),
        Derived(
            "xray_density_g_per_cm3",
            ("cell_volume_A3_per_atom",),
            _xray_density,
            "mass of the composition's average atom over the measured volume of an atom",
        ),
    )
}


def derived_names() -> tuple[str, ...]:
    """Names that ``derived`` knows."""
    return tuple(_DERIVED)


def derived(name: str) -> Derived:
    """Return a derived quantity with the readings it needs. Raises UnknownNameError that lists the names."""
    if name not in _DERIVED:
        raise UnknownNameError(f"no derived quantity {name!r}; known: {', '.join(_DERIVED)}")
    return _DERIVED[name]


def derive(name: str, readings: Mapping[str, float], candidate: Candidate) -> float | None:
    """Return derived quantity ``name``, or None where a reading that it needs is missing or not finite."""
    return derived(name)(readings, candidate)
