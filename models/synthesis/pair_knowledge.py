"""What failed syntheses teach: which precursors react with each other to what, and where a mixture is trapped."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from models import elements
from models.errors import DataError
from models.synthesis.hazards import key_of
from models.synthesis.trial import Trial

_GASEOUS = frozenset("OCHN")
_READING = "weight_fraction_"
MATTERS = 0.03
"""Weight fraction from which a phase is taken for real."""


@dataclass(frozen=True)
class Way:
    """Precursors, those of them that are fired first (none: all together), and the highest temperature."""

    precursors: tuple[str, ...]
    first: tuple[str, ...]
    temperature_C: float

    @property
    def mixture(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Without the temperature."""
        return self.precursors, self.first


@dataclass(frozen=True)
class Result:
    """What came of one way to a target.

    Attributes:
        way: what was done.
        target: what was wanted.
        purity: weight fraction of the target.
        phases: weight fraction of everything else that was found, by formula.
        unreacted: weight fraction of precursors, or of the oxides that they become by themselves.
    """

    way: Way
    target: str
    purity: float
    phases: Mapping[str, float]
    unreacted: float


@dataclass(frozen=True)
class PairReaction:
    """Two precursors that reacted: to what, and at which temperature it was seen."""

    pair: frozenset[str]
    product: str
    temperature_C: float


def metals_of(formula: str) -> frozenset[str]:
    """Elements of a formula that do not leave as gas."""
    try:
        return frozenset(_atoms(formula)) - _GASEOUS
    except DataError:
        return frozenset()


def result_of(trial: Trial) -> Result | None:
    """Return what a trial says, or ``None`` where nothing was fired or nobody looked."""
    fired = [op.parameters for op in trial.operations if op.capability == "fire"]
    looked = [op.parameters for op in trial.operations if op.capability == "identify"]
    if not fired or not looked or "phase_fraction" not in trial.readings:
        return None
    mixed = [op.parameters for op in trial.operations if op.capability == "weigh_mix"]
    staged = any(op.parameters.get("add_g") for op in trial.operations)
    first = tuple(sorted(mixed[0].get("precursors_g", {}))) if staged and mixed else ()
    temperature_C = max(float(parameters["temperature_C"]) for parameters in fired)
    precursors = tuple(sorted(trial.precursors_g))
    target = str(looked[-1]["target_formula"])
    phases = {
        name.removeprefix(_READING): x
        for name, x in trial.readings.items()
        if name.startswith(_READING) and key_of(name.removeprefix(_READING)) != key_of(target)
    }
    singles = [metals_of(name) for name in precursors]
    unreacted = sum(x for name, x in phases.items() if any(metals_of(name) <= metals for metals in singles))
    return Result(Way(precursors, first, temperature_C), target, trial.readings["phase_fraction"], phases, unreacted)


def pair_reactions(results: Sequence[Result]) -> list[PairReaction]:
    """Return the reactions between two precursors that the results show without doubt.

    A phase that is neither the target nor what a precursor becomes by itself was made by the one pair of precursors
    (of those that were together in the furnace) that have its metals; where several pairs may have made it, nothing is
    learnt.
    """
    found: dict[tuple[frozenset[str], str], float] = {}
    for result in results:
        together = result.way.first or result.way.precursors
        for phase, x in result.phases.items():
            metals = metals_of(phase)
            if x < MATTERS or any(metals <= metals_of(name) for name in result.way.precursors):
                continue
            pairs = [
                frozenset(pair)
                for pair in itertools.combinations(together, 2)
                if metals <= metals_of(pair[0]) | metals_of(pair[1])
            ]
            if len(pairs) == 1:
                key = (pairs[0], phase)
                found[key] = min(found.get(key, math.inf), result.way.temperature_C)
    return [PairReaction(pair, product, at_C) for (pair, product), at_C in sorted(found.items(), key=_by_name)]


def _by_name(item: tuple[tuple[frozenset[str], str], float]) -> tuple[list[str], str]:
    (pair, product), _ = item
    return sorted(pair), product


class Beliefs:
    """Free energies as the planner knows them, for the driving force that is left in a mixture of phases."""

    def left_eV(self, result: Result, atmosphere: str = "air") -> float | None:
        """Return the energy a metal atom that a mixture would still give on its way to the target.

        ``None`` where an energy is not known. Little is left where a synthesis is trapped; much where it is only slow.
        """
        temperature_K = result.way.temperature_C + 273.15
        target = self._per_metal_eV(result.target, temperature_K, atmosphere)
        parts = []
        for name, x in result.phases.items():
            here = self._per_metal_eV(name, temperature_K, atmosphere)
            atoms, metals = _atoms(name), metals_of(name)
            if here is None or not metals:
                return None
            mass = sum(n * float(elements.values("mass_g_per_mol", [el])[0]) for el, n in atoms.items())
            parts.append((x / mass * sum(atoms[el] for el in metals), here))
        whole = sum(n for n, _ in parts)
        if target is None or not whole:
            return None
        return sum(n * energy for n, energy in parts) / whole - target

    def combined_eV(self, one: str, other: str, temperature_C: float, atmosphere: str = "air") -> float | None:
        """Return what two powders give a metal atom, as oxides, by forming the best compound of their metals.

        ``None`` where they have a metal in common, or nothing is known.
        """
        from models.thermo import entries

        kinds = [metals_of(one), metals_of(other)]
        if any(len(kind) != 1 for kind in kinds) or kinds[0] == kinds[1]:
            return None
        temperature_K = temperature_C + 273.15
        try:
            known = [phase.formula for phase in entries.phases({*kinds[0], *kinds[1], "O"})]
        except DataError:
            return None
        energies = {name: self._per_metal_eV(name, temperature_K, atmosphere) for name in known}
        ends = [
            min((e for name, e in energies.items() if e is not None and metals_of(name) == kind), default=None)
            for kind in kinds
        ]
        if ends[0] is None or ends[1] is None:
            return None
        best = None
        for name, energy in energies.items():
            metals = metals_of(name)
            if energy is None or metals != kinds[0] | kinds[1]:
                continue
            atoms = _atoms(name)
            share = sum(atoms[el] for el in kinds[0]) / sum(atoms[el] for el in metals)
            gain = share * ends[0] + (1 - share) * ends[1] - energy
            best = gain if best is None else max(best, gain)
        return best

    def _per_metal_eV(self, formula: str, temperature_K: float, atmosphere: str) -> float | None:
        return _per_metal_eV(formula, round(temperature_K, -1), atmosphere)


@lru_cache(maxsize=4096)
def _per_metal_eV(formula: str, temperature_K: float, atmosphere: str) -> float | None:
    from models.thermo import entries, formulas, gibbs

    atoms = _atoms(formula)
    metals = metals_of(formula)
    if not set(atoms) <= metals | {"O"} or not metals:
        return None  # a carbonate stands for the oxide that it becomes
    try:
        known = gibbs.solids(entries.phases(set(atoms)))
    except DataError:
        return None
    place = known.index.get(formulas.key(formula))
    if place is None:
        return None
    total = float(known.at(temperature_K)[place]) * sum(atoms.values())
    kT = gibbs.BOLTZMANN_eV_PER_K * temperature_K
    pressure = gibbs.ATMOSPHERES_bar.get(atmosphere, gibbs.AIR_bar)["O2"]
    return (total - 0.5 * atoms.get("O", 0.0) * kT * math.log(pressure)) / sum(atoms[el] for el in metals)


@lru_cache(maxsize=4096)
def _atoms(formula: str) -> dict[str, float]:
    return elements.parse_formula(formula)
