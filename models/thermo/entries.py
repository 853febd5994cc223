"""Phases with what is known of their energies, one list a chemical system, from the public data."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np

from models.errors import DataError
from models.thermo import formulas, tables

GRID_K = np.arange(300.0, 2001.0, 100.0)
"""Temperatures at which Gibbs energies are kept; between them they are interpolated."""
_KJ_PER_MOL_IN_EV = 1.0 / 96.485
_NOT_SOLID = frozenset({"(g)", "(l)", "(d,l)", "(l,g)", "(d,g)", "(liq)", "(d,c)", "(bent,g)", "(linear,g)"})
"""Phase descriptions of FREED that are gases, melts or dissolved species all the way from room temperature."""


@dataclass(frozen=True, eq=False)
class Phase:
    """A condensed phase of one composition, in its most stable form.

    Attributes:
        formula: reduced, as in the Materials Project.
        atoms: element -> atoms a formula unit.
        energy_eV_per_atom: 0 K formation energy of the Materials Project; None where it has none.
        decomposition_eV_per_atom: to the other phases of its system at 0 K, negative or 0 on the hull.
        gibbs_eV_per_atom: experimental Gibbs energy of formation at ``GRID_K``, nan beyond the measured range.
        volume_A3_per_atom: computed; nan where not known.
    """

    formula: str
    atoms: Mapping[str, float]
    energy_eV_per_atom: float | None = None
    decomposition_eV_per_atom: float | None = None
    gibbs_eV_per_atom: np.ndarray | None = None
    volume_A3_per_atom: float = np.nan

    @cached_property
    def key(self) -> formulas.Key:
        """What identifies the composition."""
        return formulas.key_of(tuple(self.atoms.items()))

    @cached_property
    def n_atoms(self) -> float:
        """Atoms a formula unit."""
        return sum(self.atoms.values())


@dataclass(frozen=True, eq=False)
class _Table:
    """Columns of the computed energies, and the rows of each chemical system."""

    formulas: Sequence[str]
    energies: Sequence[float]
    decompositions: Sequence[float]
    rows: Mapping[str, Sequence[int]]


def thermo_folder() -> Path:
    """Return the folder of thermochemical data. Raises DataError where ``ATHANOR_DATA`` does not lead to it."""
    return _folder(os.environ.get("ATHANOR_DATA", ""))


@lru_cache(maxsize=8)
def _folder(root: str) -> Path:
    folder = Path(root or "-") / "thermo"
    if not folder.is_dir():
        raise DataError(
            f"no thermochemical data in {str(folder)!r}: set ATHANOR_DATA to the folder of public data that has "
            "`thermo` in it (docs/data.md)"
        )
    return folder


def phases(elements: Iterable[str]) -> tuple[Phase, ...]:
    """Return every known phase made of these elements and no others, the elements themselves included.

    Raises:
        DataError: ``ATHANOR_DATA`` is not set, or has no ``thermo`` folder.
    """
    return _phases(str(thermo_folder()), tuple(sorted(set(elements))))


def phase(formula: str) -> Phase | None:
    """Return the phase of a composition, None where neither computation nor experiment knows it."""
    wanted = formulas.key(formula)
    return next(
        (p for p in _system(str(thermo_folder()), "-".join(sorted(el for el, _ in wanted))) if p.key == wanted), None
    )


def phases_with_all(chemsys: str) -> tuple[Phase, ...]:
    """Return the phases that hold every element of a chemical system (``Ba-O-Ti``) and no other."""
    return _system(str(thermo_folder()), chemsys)


@lru_cache(maxsize=256)
def _phases(folder: str, elements: tuple[str, ...]) -> tuple[Phase, ...]:
    systems = itertools.chain.from_iterable(itertools.combinations(elements, n) for n in range(1, len(elements) + 1))
    return tuple(itertools.chain.from_iterable(_system(folder, "-".join(system)) for system in systems))


@lru_cache(maxsize=4096)
def _system(folder: str, chemsys: str) -> tuple[Phase, ...]:
    """Return the phases that hold all elements of a chemical system."""
    if "-" not in chemsys:
        return (Phase(chemsys, {chemsys: 1.0}, 0.0, 0.0, np.zeros(len(GRID_K))),)
    table, known, volumes = _computed(folder), measured(folder).get(chemsys, {}), _volumes(folder)
    found: dict[formulas.Key, Phase] = {}
    for i in table.rows.get(chemsys, ()):
        formula = table.formulas[i]
        key = formulas.key(formula)
        found[key] = Phase(
            formula,
            formulas.atoms(formula),
            table.energies[i],
            table.decompositions[i],
            known.get(key),
            volumes.get(formula, np.nan),
        )
    for key, gibbs in known.items():
        if key not in found:
            formula = formulas.reduced("".join(f"{el}{share:g}" for el, share in _whole(key)))
            found[key] = Phase(
                formula,
                formulas.atoms(formula),
                gibbs_eV_per_atom=gibbs,
                volume_A3_per_atom=volumes.get(formula, np.nan),
            )
    return tuple(found.values())


def _whole(key: formulas.Key) -> list[tuple[str, float]]:
    """Return shares of atoms as the smallest whole numbers, up to 60 a formula unit."""
    for n in range(1, 61):
        numbers = [share * n for _, share in key]
        if all(abs(x - round(x)) < 1e-3 and round(x) > 0 for x in numbers):
            return [(el, float(round(x))) for (el, _), x in zip(key, numbers, strict=True)]
    return list(key)


@cache
def _computed(folder: str) -> _Table:
    columns = ["reduced_formula", "chemsys", "formation_energy_eV_atom", "decomposition_energy_eV_atom"]
    table = tables.read(Path(folder) / "mp_dft0K_formation_energies.parquet", columns).to_pydict()
    rows: dict[str, list[int]] = {}
    for i, chemsys in enumerate(table["chemsys"]):
        rows.setdefault(chemsys, []).append(i)
    return _Table(table[columns[0]], table[columns[2]], table[columns[3]], rows)


@cache
def _volumes(folder: str) -> Mapping[str, float]:
    table = tables.read(Path(folder) / "oqmd_volume_partial.parquet", ["reduced_formula", "volume_A3_atom"])
    names, numbers = table["reduced_formula"].to_pylist(), table["volume_A3_atom"].to_pylist()
    return {name: x for name, x in zip(names, numbers, strict=True) if x is not None and x == x}


@cache
def measured(folder: str) -> Mapping[str, Mapping[formulas.Key, np.ndarray]]:
    """Return chemical system -> composition -> Gibbs energy of formation at the grid, eV/atom, of condensed phases.

    Of several forms (rutile, anatase) the most stable one at each temperature counts. Beyond what was measured the
    last 200 K go on in a straight line: the entropy of formation changes little there.
    """
    known = tables.read(Path(folder) / "freed_full_phases.parquet", ["freed_id", "formula", "phase_desc"]).to_pydict()
    points = tables.read(Path(folder) / "freed_full_gibbs_T.parquet").to_pydict()
    curves: dict[int, np.ndarray] = {}
    for number, T_K, gibbs in zip(points["freed_id"], points["T_K"], points["dGf_kJ_mol"], strict=True):
        curve = curves.setdefault(number, np.full(len(GRID_K), np.nan))
        if 300 <= T_K <= 2000:
            curve[round((T_K - 300) / 100)] = gibbs * _KJ_PER_MOL_IN_EV
    out: dict[str, dict[formulas.Key, np.ndarray]] = {}
    for number, formula, desc in zip(known["freed_id"], known["formula"], known["phase_desc"], strict=True):
        curve = curves.get(number)
        if desc.replace(" ", "") in _NOT_SOLID or curve is None or not np.isfinite(curve[:2]).all():
            continue
        try:
            held = formulas.atoms(formula)
        except DataError:
            continue
        if len(held) < 2:
            continue
        key = formulas.key_of(tuple(held.items()))
        curve = _extended(curve / sum(held.values()))
        system = out.setdefault("-".join(sorted(held)), {})
        system[key] = np.minimum(system[key], curve) if key in system else curve
    return out


@cache
def enthalpies_eV_per_atom(folder: str) -> Mapping[formulas.Key, float]:
    """Return composition -> experimental heat of formation at 298 K of the most stable condensed phase, eV per atom."""
    columns = ["formula", "phase_desc", "dHf298_kJ_mol"]
    known = tables.read(Path(folder) / "freed_full_phases.parquet", columns).to_pydict()
    out: dict[formulas.Key, float] = {}
    for formula, desc, heat in zip(*(known[name] for name in columns), strict=True):
        if desc.replace(" ", "") in _NOT_SOLID or heat is None or heat != heat:
            continue
        try:
            held = formulas.atoms(formula)
        except DataError:
            continue
        key = formulas.key_of(tuple(held.items()))
        out[key] = min(out.get(key, np.inf), heat * _KJ_PER_MOL_IN_EV / sum(held.values()))
    return out


def _extended(curve: np.ndarray) -> np.ndarray:
    last = int(np.flatnonzero(np.isfinite(curve))[-1])
    first = max(0, last - 2)
    slope = (curve[last] - curve[first]) / (GRID_K[last] - GRID_K[first])
    line = curve[last] + slope * (GRID_K - GRID_K[last])
    return np.where(np.isfinite(curve), curve, line)


def gas_gibbs_eV(formula: str) -> np.ndarray:
    """Return the experimental Gibbs energy of formation of a gas at 1 bar at ``GRID_K``, eV a molecule.

    NIST-JANAF where it has the gas, else FREED's gas phase; 0 for O2, N2 and H2, which are references.

    Raises:
        DataError: the gas is in neither.
    """
    return _gas(str(thermo_folder()), formula)


@cache
def _gas(folder: str, formula: str) -> np.ndarray:
    if len(formulas.atoms(formula)) == 1:
        return np.zeros(len(GRID_K))
    janaf = tables.read(Path(folder) / "nist_janaf_gibbs_formation.parquet").to_pydict()
    points = [
        (T_K, gibbs)
        for name, T_K, gibbs in zip(janaf["formula"], janaf["T_K"], janaf["dGf_eV_per_formula_unit"], strict=True)
        if len(name) <= len(formula) + 1 and _same(name, formula)
    ]
    if not points:
        columns = ["freed_id", "formula", "phase_desc"]
        known = tables.read(Path(folder) / "freed_full_phases.parquet", columns).to_pydict()
        gas = {
            number
            for number, name, desc in zip(*(known[column] for column in columns), strict=True)
            if name == formula and desc == "(g)"
        }
        rows = tables.read(Path(folder) / "freed_full_gibbs_T.parquet").to_pydict()
        points = [
            (T_K, gibbs * _KJ_PER_MOL_IN_EV)
            for number, T_K, gibbs in zip(rows["freed_id"], rows["T_K"], rows["dGf_kJ_mol"], strict=True)
            if number in gas
        ]
    if not points:
        raise DataError(f"no Gibbs energy of the gas {formula}: routes with it cannot be judged")
    temperatures, energies = np.array(sorted(points)).T
    return np.interp(GRID_K, temperatures, energies)


def _same(name: str, formula: str) -> bool:
    try:
        return formulas.atoms(name) == formulas.atoms(formula)
    except DataError:
        return False


@cache
def _element_gibbs(folder: str) -> Mapping[str, np.ndarray]:
    rows = tables.read(Path(folder) / "element_gibbs_factsage.parquet").to_pydict()
    points: dict[str, list[tuple[float, float]]] = {}
    for element, T_K, gibbs in zip(rows["element"], rows["T_K"], rows["G_eV_atom"], strict=True):
        points.setdefault(element, []).append((T_K, gibbs))
    return {el: np.interp(GRID_K, *np.array(sorted(pairs)).T) for el, pairs in points.items()}


def element_gibbs_eV(element: str) -> np.ndarray | None:
    """Return the absolute Gibbs energy of an element at ``GRID_K``, eV/atom (its enthalpy at 298 K is 0), or None."""
    return _element_gibbs(str(thermo_folder())).get(element)
