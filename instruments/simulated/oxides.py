"""Oxides and carbonates of the simulated solid-state laboratory: free energies, crystals, what is stable, what reacts.

Oxygen and carbon dioxide come from and go to the gas, so that the energy that counts is the grand potential
phi = G - n_O mu_O - n_CO2 kT ln p_CO2, and only the other elements must balance.
"""

from __future__ import annotations

import bisect
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from instruments.errors import LabError
from instruments.simulated.references import element

TABLE = Path(__file__).with_name("oxides.json")
"""Made by ``benchmarks/oxide_phases.py``, which names the sources."""
BOLTZMANN_EV = 8.617333e-5
OXYGEN_BAR: Mapping[str, float] = {"air": 0.21, "O2": 1.0, "N2": 1e-5, "Ar": 1e-5, "vacuum": 1e-7, "H2/N2": 1e-18}
"""Partial pressure of oxygen in each atmosphere that the furnace has."""
CARBON_DIOXIDE_BAR = 0.01
"""In a crucible from which it only slowly gets away."""
CO2_G_PER_MOL = 44.01
TINY = 1e-9


@dataclass(frozen=True)
class Oxide:
    """One phase.

    Attributes:
        formula: reduced.
        metals: element -> atoms a formula unit, of all that does not leave as gas.
        oxygen: atoms a formula unit beside those in ``co2`` units of CO2.
        g_eV: free energy of formation a formula unit, without CO2, at the table's temperatures.
        melting_K: where it melts, roughly.
        lattice_A, species, frac_coords: crystal.
    """

    formula: str
    metals: dict[str, float]
    oxygen: float
    co2: float
    g_eV: list[float]
    melting_K: float
    lattice_A: list[list[float]]
    species: list[str]
    frac_coords: list[list[float]]

    @property
    def n_metals(self) -> float:
        """Atoms a formula unit that do not leave as gas."""
        return sum(self.metals.values())

    @property
    def g_per_mol(self) -> float:
        """Grams a mole."""
        metals = sum(n * element(el).mass_g_per_mol for el, n in self.metals.items())
        return metals + self.oxygen * element("O").mass_g_per_mol + self.co2 * CO2_G_PER_MOL


@dataclass(frozen=True)
class Reaction:
    """What two phases (or one) turn into: moles for one mole of metal atoms, and the energy that it gives."""

    reactants: dict[str, float]
    products: dict[str, float]
    driving_eV: float


@dataclass
class Oxides:
    """The table: what there is, what it turns into. Results are kept, since a furnace asks the same again and again."""

    temperatures_K: list[float]
    phases: dict[str, Oxide]
    _kept: dict[Any, Any] = field(default_factory=dict)

    def __contains__(self, formula: str) -> bool:
        return formula in self.phases

    def __getitem__(self, formula: str) -> Oxide:
        return self.phases[formula]

    def of(self, metals: set[str]) -> list[Oxide]:
        """All oxides of nothing but these metals: what may form. No carbonate does, CO2 leaves for good."""
        return self._remember(
            ("of", frozenset(metals)),
            lambda: [p for p in self.phases.values() if set(p.metals) <= metals and not p.co2],
        )

    def potential_eV(self, formula: str, temperature_K: float, atmosphere: str) -> float:
        """Grand potential of a formula unit."""
        phase, kT = self.phases[formula], BOLTZMANN_EV * temperature_K
        oxygen_eV = 0.5 * kT * math.log(OXYGEN_BAR[atmosphere])
        gas_eV = phase.oxygen * oxygen_eV + phase.co2 * kT * math.log(CARBON_DIOXIDE_BAR)
        return self._energy_eV(phase, temperature_K) - gas_eV

    def equilibrium(self, metals: Mapping[str, float], temperature_K: float, atmosphere: str) -> dict[str, float]:
        """Moles of the phases of lowest energy that hold these moles of metals. Raises LabError where none do."""
        key = ("equilibrium", tuple(sorted(metals.items())), temperature_K, atmosphere)
        return self._remember(key, lambda: self._solve(metals, temperature_K, atmosphere))

    def alone(self, formula: str, temperature_K: float, atmosphere: str) -> Reaction | None:
        """What a phase turns into by itself (a carbonate, an oxide that gives off or takes up oxygen), or ``None``."""

        def found() -> Reaction | None:
            phase = self.phases[formula]
            metals = {el: n / phase.n_metals for el, n in phase.metals.items()}
            products = self.equilibrium(metals, temperature_K, atmosphere)
            gain = self.potential_eV(formula, temperature_K, atmosphere) / phase.n_metals - sum(
                n * self.potential_eV(name, temperature_K, atmosphere) for name, n in products.items()
            )
            return Reaction({formula: 1 / phase.n_metals}, products, gain) if gain > 1e-4 else None

        return self._remember(("alone", formula, temperature_K, atmosphere), found)

    def between(self, one: str, other: str, temperature_K: float, atmosphere: str) -> Reaction | None:
        """What two phases form where they touch: the mixing ratio and products that give most energy, or ``None``."""
        first, second = sorted((one, other))
        key = ("between", first, second, temperature_K, atmosphere)
        return self._remember(key, lambda: self._meet(first, second, temperature_K, atmosphere))

    def atoms(self, formula: str) -> dict[str, float]:
        """Atoms of any formula, also of what is not in the table (a nitrate). Raises LabError."""
        found = parse(formula)
        for symbol in found:
            element(symbol)
        return found

    def _remember(self, key: Any, work: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = work()
        return self._kept[key]

    def _energy_eV(self, phase: Oxide, temperature_K: float) -> float:
        at = self.temperatures_K
        i = min(max(bisect.bisect(at, temperature_K) - 1, 0), len(at) - 2)
        share = (temperature_K - at[i]) / (at[i + 1] - at[i])
        return phase.g_eV[i] + share * (phase.g_eV[i + 1] - phase.g_eV[i])

    def _solve(self, metals: Mapping[str, float], temperature_K: float, atmosphere: str) -> dict[str, float]:
        names = [phase.formula for phase in self.of(set(metals))]
        if len(metals) == 1 and names:
            (symbol, amount), *_ = metals.items()
            best = min(
                names, key=lambda n: self.potential_eV(n, temperature_K, atmosphere) / self.phases[n].metals[symbol]
            )
            return {best: amount / self.phases[best].metals[symbol]}
        if len(metals) == 2:
            return self._tie_line(names, metals, temperature_K, atmosphere)
        cost = [self.potential_eV(name, temperature_K, atmosphere) for name in names]
        rows = [[self.phases[name].metals.get(el, 0.0) for name in names] for el in metals]
        solution = _minimum(cost, rows, list(metals.values()))
        if solution is None:
            raise LabError(f"no simulated oxides hold {', '.join(metals)}: take them out of the space")
        return {name: n for name, n in zip(names, solution, strict=True) if n > TINY}

    def _tie_line(
        self, names: list[str], metals: Mapping[str, float], temperature_K: float, atmosphere: str
    ) -> dict[str, float]:
        """The two phases on either side of a mixture of two metals that have the lowest energy."""
        (_, second), whole = metals, sum(metals.values())
        at = metals[second] / whole
        points = [self._point(name, second, temperature_K, atmosphere) for name in names]
        best, found = math.inf, {}
        for x, energy, name in points:
            if abs(x - at) < TINY and energy < best:
                best, found = energy, {name: whole / self.phases[name].n_metals}
        for x, energy, name in points:
            for y, other_energy, other in points:
                if x < at - TINY and y > at + TINY:
                    share = (at - x) / (y - x)
                    mixed = (1 - share) * energy + share * other_energy
                    if mixed < best - 1e-12:
                        best = mixed
                        found = {
                            name: (1 - share) * whole / self.phases[name].n_metals,
                            other: share * whole / self.phases[other].n_metals,
                        }
        if not found:
            raise LabError(f"no simulated oxides hold {', '.join(metals)}: take them out of the space")
        return found

    def _point(self, name: str, metal: str, temperature_K: float, atmosphere: str) -> tuple[float, float, str]:
        """(share of a metal among the metals, potential a metal atom, name)."""
        phase = self.phases[name]
        n = phase.n_metals
        return phase.metals.get(metal, 0.0) / n, self.potential_eV(name, temperature_K, atmosphere) / n, name

    def _between_two(
        self, one: str, other: str, metals: list[str], temperature_K: float, atmosphere: str
    ) -> tuple[dict[str, float], dict[str, float], float] | None:
        """(used, made, gain) of the best reaction of two phases of the same two metals: to one product in between."""
        x, energy, _ = self._point(one, metals[1], temperature_K, atmosphere)
        y, other_energy, _ = self._point(other, metals[1], temperature_K, atmosphere)
        if abs(x - y) < TINY:
            return None
        best = None
        for product in self.of(set(metals)):
            z, lower, name = self._point(product.formula, metals[1], temperature_K, atmosphere)
            share = (z - x) / (y - x)
            if not 1e-6 < share < 1 - 1e-6 or name in (one, other):
                continue
            gain = (1 - share) * energy + share * other_energy - lower
            if best is None or gain > best[2]:
                used = {one: (1 - share) / self.phases[one].n_metals, other: share / self.phases[other].n_metals}
                best = used, {name: 1 / product.n_metals}, gain
        return best

    def _meet(self, one: str, other: str, temperature_K: float, atmosphere: str) -> Reaction | None:
        metals = sorted({*self.phases[one].metals, *self.phases[other].metals})
        found = (
            self._between_two(one, other, metals, temperature_K, atmosphere)
            if len(metals) == 2
            else self._between_more(one, other, metals, temperature_K, atmosphere)
        )
        if found is None:
            return None
        used, made, gain = found
        apart = [self.alone(name, temperature_K, atmosphere) for name in (one, other)]
        gain -= sum(a.driving_eV * used[name] * self.phases[name].n_metals for a, name in zip(apart, used) if a)
        return Reaction(used, made, gain) if gain > 1e-4 else None

    def _between_more(
        self, one: str, other: str, metals: list[str], temperature_K: float, atmosphere: str
    ) -> tuple[dict[str, float], dict[str, float], float] | None:
        """The same for more metals: any products, at the mixing ratio that gives most (a linear programme)."""
        names = [phase.formula for phase in self.of(set(metals))]
        columns = [self.phases[name] for name in names]
        ends = (self.phases[one], self.phases[other])
        # Variables: products, then the two reactants, of one mole of metal atoms in all.
        cost = [self.potential_eV(name, temperature_K, atmosphere) for name in names]
        cost += [-self.potential_eV(end.formula, temperature_K, atmosphere) for end in ends]
        rows = [[p.metals.get(el, 0.0) for p in columns] + [-end.metals.get(el, 0.0) for end in ends] for el in metals]
        rows.append([0.0] * len(columns) + [end.n_metals for end in ends])
        solution = _minimum(cost, rows, [0.0] * len(metals) + [1.0])
        if solution is None:
            return None
        made = {name: n for name, n in zip(names, solution, strict=False) if n > TINY}
        used = {end.formula: n for end, n in zip(ends, solution[len(names) :], strict=True)}
        if min(used.values()) < 1e-6 or set(made) <= {one, other}:
            return None  # one of them alone does better, or they keep side by side
        return used, made, -sum(c * x for c, x in zip(cost, solution, strict=True))


@cache
def load(path: str = "") -> Oxides:
    """Read a table of phases, by default the one that ships. Raises LabError where it is not one."""
    file = Path(path) if path else TABLE
    try:
        table = json.loads(file.read_text())
        phases = {name: Oxide(formula=name, **row) for name, row in table["phases"].items()}
        return Oxides([float(T) for T in table["temperatures_K"]], phases)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"{file} is no table of phases ({error}); make one with benchmarks/oxide_phases.py") from error


def parse(formula: str) -> dict[str, float]:
    """Element -> atoms of a formula with or without brackets. Raises LabError."""
    tokens = re.findall(r"([A-Z][a-z]?|\(|\))(\d*\.?\d*)", formula)
    if "".join(symbol + count for symbol, count in tokens) != formula or not tokens:
        raise LabError(f"{formula!r} is not a formula such as Ba(NO3)2")
    stack: list[dict[str, float]] = [{}]
    for symbol, count in tokens:
        n = float(count or 1)
        if symbol == "(":
            stack.append({})
            continue
        group = {symbol: 1.0} if symbol != ")" else stack.pop()
        if not stack:
            raise LabError(f"{formula!r}: a bracket closes that was not opened")
        for el, amount in group.items():
            stack[-1][el] = stack[-1].get(el, 0.0) + n * amount
    if len(stack) != 1:
        raise LabError(f"{formula!r}: a bracket is left open")
    return stack[0]


def _minimum(cost: list[float], rows: list[list[float]], right: list[float]) -> list[float] | None:
    from scipy.optimize import linprog

    found = linprog(cost, A_eq=rows, b_eq=right, bounds=(0, None), method="highs")
    return [float(x) for x in found.x] if found.success else None
