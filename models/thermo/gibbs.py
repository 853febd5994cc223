"""Gibbs energies of formation of solids and gases at temperature and partial pressure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from models import elements
from models.errors import DataError
from models.thermo import entries
from models.thermo.corrections import shipped
from models.thermo.entries import GRID_K, Phase

BOLTZMANN_eV_PER_K = 8.617333e-5
_MEASURED_STD_eV_PER_ATOM = 0.01
_ATOM_VOLUME_A3 = 13.0
"""An atom of a typical oxide, where no computed volume is known; the descriptor depends on its logarithm only."""
AIR_bar: Mapping[str, float] = {"O2": 0.21, "N2": 0.78, "CO2": 4e-4, "H2O": 0.01, "NH3": 1e-6, "NO2": 1e-6}
"""Partial pressures over a crucible that fresh air reaches."""
ATMOSPHERES_bar: Mapping[str, Mapping[str, float]] = {
    "air": AIR_bar,
    "O2": {**AIR_bar, "O2": 1.0, "N2": 1e-3},
    "N2": {**AIR_bar, "O2": 1e-5, "N2": 1.0, "H2O": 1e-4},
    "Ar": {**AIR_bar, "O2": 1e-5, "N2": 1e-4, "H2O": 1e-4},
    "H2/N2": {**AIR_bar, "O2": 1e-18, "N2": 0.95, "H2O": 1e-3},
    "vacuum": {"O2": 1e-8, "N2": 1e-6, "CO2": 1e-6, "H2O": 1e-6, "NH3": 1e-8, "NO2": 1e-8},
}
"""What flows over the sample. ``N2`` and ``Ar`` are technical gases with 10 ppm of oxygen."""


@dataclass(frozen=True, eq=False)
class Solids:
    """Gibbs energies of phases.

    Attributes:
        phases: n of them.
        gibbs_eV_per_atom: (n, 18) at ``GRID_K``, of formation from the elements.
        std_eV_per_atom: (n,) standard deviation.
        measured: (n,) True where the curve is experimental.
    """

    phases: tuple[Phase, ...]
    gibbs_eV_per_atom: np.ndarray
    std_eV_per_atom: np.ndarray
    measured: np.ndarray
    index: Mapping[tuple, int] = field(default_factory=dict)

    def at(self, temperature_K: float) -> np.ndarray:
        """Return the Gibbs energies of formation at a temperature, eV per atom, shape (n,)."""
        return interpolate(self.gibbs_eV_per_atom, temperature_K)


def interpolate(curves: np.ndarray, temperature_K: float) -> np.ndarray:
    """Return values of curves (..., 18) on ``GRID_K`` at a temperature; beyond the ends, the end's line goes on."""
    i = int(np.clip(np.searchsorted(GRID_K, temperature_K) - 1, 0, len(GRID_K) - 2))
    share = (temperature_K - GRID_K[i]) / (GRID_K[i + 1] - GRID_K[i])
    return curves[..., i] * (1 - share) + curves[..., i + 1] * share


@lru_cache(maxsize=128)
def solids(phases: tuple[Phase, ...]) -> Solids:
    """Return the Gibbs energies of phases, experimental where there is one, else estimated from the computed energy.

    Estimate: the computed 0 K formation energy, brought to experiment by ``models.thermo.corrections``, plus Bartel's
    descriptor of the vibrational part, minus the elements' own Gibbs energies (all for 300 to 2000 K). Phases that have
    neither an experiment nor a computation, or an element whose Gibbs energy is not known, are left out.

    Citation: Bartel et al., Nat. Commun. 9, 4168 (2018), doi:10.1038/s41467-018-06682-4.
    """
    curves = [(phase, _curve(phase)) for phase in phases]
    kept = [(phase, found) for phase, found in curves if found is not None]
    return Solids(
        tuple(phase for phase, _ in kept),
        np.array([gibbs for _, (gibbs, _) in kept]).reshape(-1, len(GRID_K)),
        np.array([std for _, (_, std) in kept]),
        np.array([phase.gibbs_eV_per_atom is not None for phase, _ in kept], bool),
        {phase.key: i for i, (phase, _) in enumerate(kept)},
    )


@lru_cache(maxsize=20_000)
def _curve(phase: Phase) -> tuple[np.ndarray, float] | None:
    """Return the Gibbs energies of a phase (18,) and their standard deviation, None where nothing gives them."""
    if phase.gibbs_eV_per_atom is not None:
        return phase.gibbs_eV_per_atom, _MEASURED_STD_eV_PER_ATOM if len(phase.atoms) > 1 else 0.0
    if phase.energy_eV_per_atom is None or any(entries.element_gibbs_eV(el) is None for el in phase.atoms):
        return None
    energy = phase.energy_eV_per_atom + shipped().of(phase.atoms)
    return energy + descriptor_eV_per_atom(phase), shipped().std(phase.atoms)


def descriptor_eV_per_atom(phase: Phase) -> np.ndarray:
    """Return G(T) minus the formation enthalpy at ``GRID_K``, by Bartel's descriptor and the elements' energies."""
    total = phase.n_atoms
    volume = phase.volume_A3_per_atom if phase.volume_A3_per_atom == phase.volume_A3_per_atom else _ATOM_VOLUME_A3
    mass = reduced_mass_amu(phase.atoms)
    own = (-2.48e-4 * np.log(volume) - 8.94e-5 * mass / volume) * GRID_K + 0.181 * np.log(GRID_K) - 0.882
    shares = [(el, n / total) for el, n in phase.atoms.items()]
    return own - sum(share * _gibbs_of(el) for el, share in shares)


def _gibbs_of(element: str) -> np.ndarray:
    gibbs = entries.element_gibbs_eV(element)
    if gibbs is None:
        raise DataError(f"no Gibbs energy of the element {element}")
    return gibbs


def reduced_mass_amu(atoms: Mapping[str, float]) -> float:
    """Return the mean reduced mass over pairs of unlike elements, weighted by their amounts, as in the descriptor."""
    names = list(atoms)
    masses = elements.values("mass_g_per_mol", names)
    counts = np.array([atoms[el] for el in names])
    total, weights = 0.0, 0.0
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            weight = counts[i] + counts[j]
            total += weight * masses[i] * masses[j] / (masses[i] + masses[j])
            weights += weight
    return total / weights if weights else float(masses[0])


def gas_eV(formula: str, temperature_K: float | np.ndarray, pressure_bar: float) -> np.ndarray:
    """Return the Gibbs energy of formation of a gas at a partial pressure, eV a molecule.

    From experiment (``models.thermo.entries.gas_gibbs_eV``), ideal gas: + kT ln p. Raises DataError.
    """
    at_1_bar = np.interp(temperature_K, GRID_K, entries.gas_gibbs_eV(formula))
    return at_1_bar + BOLTZMANN_eV_PER_K * np.asarray(temperature_K) * np.log(pressure_bar)


def gases_eV(gases: Sequence[str], temperature_K: float, atmosphere: str | Mapping[str, float]) -> np.ndarray:
    """Return the Gibbs energies of gases at their partial pressures in an atmosphere, by name or as bar each.

    Raises:
        DataError: an atmosphere or a gas that is not known.
    """
    pressures = ATMOSPHERES_bar.get(atmosphere) if isinstance(atmosphere, str) else atmosphere
    if pressures is None:
        raise DataError(f"no atmosphere {atmosphere!r}; known: {', '.join(ATMOSPHERES_bar)}")
    return np.array([float(gas_eV(gas, temperature_K, pressures.get(gas, 1e-6))) for gas in gases])
