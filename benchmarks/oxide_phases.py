"""Makes instruments/simulated/oxides.json: the thermodynamics and crystals of the simulated solid-state laboratory.

    ATHANOR_DATA=... python -m benchmarks.oxide_phases

Every oxide within 50 meV/atom of the hull of the systems below whose crystal is in the public data. Sources: energies
at 0 K of the Materials Project (CC BY 4.0) as in CrabNet's CritExam sets (MIT); crystals of the Materials Project as in
CDVAE's MP-20 and MPTS-52 (MIT, Apache-2.0), Matbench and the sets of DFT superconductors. Free energies with
temperature: Bartel et al., Nat. Commun. 9, 4168 (2018), doi:10.1038/s41467-018-06682-4, elements from
reaction-network (BSD). Carbonates stand against the oxide and CO2 by their measured enthalpy and entropy of
decomposition (CRC Handbook), since computed energies of carbonates do not.

What of the list below is known to form and lies above that hull at 1,000 to 1,400 K in air is lowered until it is
stable.

The furnace's truth is thus not the planner's belief, which has experimental free energies where there are any.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

TARGETS = re.findall(
    r"\w+",
    "BaTiO3 SrTiO3 CaTiO3 MgTiO3 LaAlO3 LaFeO3 LaMnO3 YAlO3 SrZrO3 BaZrO3 CaSnO3 BaSnO3 "
    "NaNbO3 KNbO3 LiNbO3 Li3NbO4 LiTaO3 LiAlO2 LiMn2O4 Li2MnO3 LiFeO2 MgAl2O4 ZnFe2O4 MgFe2O4 SrAl2O4 "
    "BaAl2O4 CaFe2O4 MgNb2O6 Li2SiO3 Li4SiO4 Mg2SiO4 CaSiO3 SrMoO4 BaWO4 MgWO4 Li2MoO4 Na2MoO4 YMnO3 "
    "YFeO3 SrMnO3 BaMnO3 MgGa2O4 LiGaO2 LaGaO3 ZnMn2O4 Ba3MgNb2O9 Ba2YNbO6 Ba2YTaO6 LiAlSiO4 Li2MgSiO4 "
    "Li2CaSiO4 CaTiSiO5 Sr2YTaO6 Li2CaGeO4 La2MnNiO6 Li2Ti3ZnO8",
)
CARBONATES = {
    # carbonate: (oxide, enthalpy of decomposition in kJ, entropy in J/K, of melting or decomposition in K)
    "Li2CO3": ("Li2O", 224.0, 161.0, 996.0),
    "Na2CO3": ("Na2O", 322.0, 154.0, 1124.0),
    "K2CO3": ("K2O", 394.0, 153.0, 1172.0),
    "MgCO3": ("MgO", 100.7, 175.0, 1000.0),
    "CaCO3": ("CaO", 178.5, 160.0, 1300.0),
    "SrCO3": ("SrO", 234.5, 171.0, 1450.0),
    "BaCO3": ("BaO", 269.0, 172.0, 1450.0),
    "MnCO3": ("MnO", 115.5, 188.0, 900.0),
}
NEAR_HULL_EV = 0.05
MARGIN_EV = 0.01
TEMPERATURES_K = list(range(300, 2001, 100))
KJ_PER_MOL = 96.485
OUT = Path("instruments/simulated/oxides.json")


def main() -> None:
    import pandas as pd
    from pymatgen.core import Composition

    data = Path(os.environ["ATHANOR_DATA"])
    with Path("models/data/precursors.csv").open() as stream:
        melting_K = {row["formula"]: float(row["melting_K"]) for row in csv.DictReader(stream)}
    crystals = read_crystals(data)
    energies = pd.read_parquet(data / "thermo/mp_dft0K_formation_energies.parquet")
    element_G = pd.read_parquet(data / "thermo/element_gibbs_factsage.parquet")
    element_eV = {el: dict(zip(g.T_K, g.G_eV_atom, strict=True)) for el, g in element_G.groupby("element")}
    systems = [{e.symbol for e in Composition(t)} - {"O"} for t in TARGETS]
    rows: dict[str, dict[str, Any]] = {}
    for formula, atomic, above in zip(
        energies.reduced_formula,
        energies.formation_energy_eV_atom,
        energies.decomposition_energy_eV_atom,
        strict=True,
    ):
        atoms = {e.symbol: n for e, n in Composition(formula).items()}
        metals = set(atoms) - {"O"}
        wanted = metals and "O" in atoms and any(metals <= system for system in systems)
        near = above <= NEAR_HULL_EV or Composition(formula).reduced_formula in {
            Composition(t).reduced_formula for t in TARGETS
        }
        if not wanted or not near or formula not in crystals or formula in rows:
            continue
        crystal = crystals[formula]
        g = [
            round(free_energy_eV(atoms, atomic, volume_A3(crystal), element_eV, T) * sum(atoms.values()), 4)
            for T in TEMPERATURES_K
        ]
        rows[formula] = {
            "metals": {el: n for el, n in atoms.items() if el != "O"},
            "oxygen": atoms["O"],
            "co2": 0,
            "g_eV": g,
            "melting_K": melting_estimate_K(atoms, melting_K),
            **crystal,
        }
    for carbonate, (oxide, enthalpy, entropy, at_K) in CARBONATES.items():
        if oxide not in rows or carbonate not in crystals:
            print("left out:", carbonate)
            continue
        g = [
            round(g - (enthalpy - T * entropy / 1000) / KJ_PER_MOL, 4)
            for g, T in zip(rows[oxide]["g_eV"], TEMPERATURES_K, strict=True)
        ]
        rows[carbonate] = {**rows[oxide], "co2": 1, "g_eV": g, "melting_K": at_K, **crystals[carbonate]}
    stabilise(rows)
    for target in TARGETS:
        if Composition(target).reduced_formula not in rows:
            print("no crystal or energy:", target)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows[name], separators=(',', ':'))}" for name in sorted(rows))
    source = (__doc__ or "").split("\n\n")[2].replace("\n", " ")
    OUT.write_text(
        f'{{"source": {json.dumps(source)},\n"temperatures_K": {json.dumps(TEMPERATURES_K)},\n'
        f'"phases": {{\n{lines}\n}}}}\n'
    )
    print(len(rows), "phases,", OUT.stat().st_size // 1024, "kB")


def stabilise(rows: dict[str, dict[str, Any]]) -> None:
    """Lower what is known to form where the computed energies leave it up to some 50 meV above the hull."""
    from pymatgen.core import Composition

    from instruments.simulated.oxides import Oxide, Oxides

    for _ in range(3):
        for target in TARGETS:
            name = Composition(target).reduced_formula
            if name not in rows:
                continue
            phases = {formula: Oxide(formula=formula, **row) for formula, row in rows.items()}
            table = Oxides([float(T) for T in TEMPERATURES_K], phases)
            above = [table.alone(name, float(T), "air") for T in (1000, 1200, 1400)]
            worst = max((reaction.driving_eV for reaction in above if reaction), default=0.0)
            if worst > 0:
                shift = (worst + MARGIN_EV) * phases[name].n_metals
                rows[name]["g_eV"] = [round(g - shift, 4) for g in rows[name]["g_eV"]]
                print(f"{name} lowered by {1000 * worst + 1000 * MARGIN_EV:.0f} meV a metal atom")


def read_crystals(data: Path) -> dict[str, dict[str, Any]]:
    """Reduced formula -> primitive crystal, of the set named first and the lowest energy above the hull."""
    import numpy as np
    import pandas as pd
    from pymatgen.core import Composition, Lattice, Structure

    found: dict[str, tuple[tuple[int, float], Any]] = {}
    for rank, name in enumerate(("mp20", "mpts52", "dielectric", "matbench_phonons", "supercon_dft_tc")):
        frame = pd.read_parquet(data / f"structures/{name}.parquet")
        above = frame["e_above_hull_eV_per_atom"] if "e_above_hull_eV_per_atom" in frame else [0.04] * len(frame)
        for cell, species, coords, energy in zip(
            frame.lattice_matrix_ang, frame.species, frame.frac_coords, above, strict=True
        ):
            if "O" not in set(species) or len(species) > 120:
                continue
            formula = Composition(Counter(species)).reduced_formula
            key = (0 if rank < 2 else rank, float(energy))
            if formula not in found or key < found[formula][0]:
                found[formula] = (key, (np.reshape(cell, (3, 3)), list(species), np.reshape(coords, (-1, 3))))
    with gzip.open(data / "thermo/mp_computed_entries.jsonl.gz", "rt") as stream:
        for line in stream:
            row = json.loads(line)
            if "O" not in row["composition"]:
                continue
            formula = Composition(Counter(row["species"])).reduced_formula
            key = (9, row["energy_eV"] / row["natoms"])
            if formula not in found or key < found[formula][0]:
                lattice = np.reshape(row["lattice"], (3, 3))
                found[formula] = (key, (lattice, row["species"], np.reshape(row["frac_coords"], (-1, 3))))
    crystals = {}
    for formula, (_, (cell, species, coords)) in found.items():
        crystals[formula] = lambda c=cell, s=species, x=coords: Structure(Lattice(c), s, x).get_primitive_structure()
    return _Lazy(crystals)


class _Lazy(dict[str, Any]):
    def __getitem__(self, formula: str) -> dict[str, Any]:
        structure = super().__getitem__(formula)()
        return {
            "lattice_A": [[round(float(x), 5) for x in row] for row in structure.lattice.matrix],
            "species": [site.specie.symbol for site in structure],
            "frac_coords": [[round(float(x) % 1, 5) for x in site.frac_coords] for site in structure],
        }


def volume_A3(crystal: dict[str, Any]) -> float:
    """A3 an atom."""
    import numpy as np

    return abs(float(np.linalg.det(np.array(crystal["lattice_A"])))) / len(crystal["species"])


def free_energy_eV(
    atoms: dict[str, float], formation_eV: float, volume: float, element_eV: dict[str, dict[float, float]], T: float
) -> float:
    """Free energy of formation in eV/atom at T (Bartel's descriptor; elements at the same T)."""
    from pymatgen.core import Element

    total = sum(atoms.values())
    mass = {el: float(Element(el).atomic_mass) for el in atoms}
    names = list(atoms)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    reduced = sum((atoms[a] + atoms[b]) * mass[a] * mass[b] / (mass[a] + mass[b]) for a, b in pairs)
    reduced /= (len(names) - 1) * total
    descriptor = (-2.48e-4 * math.log(volume) - 8.94e-5 * reduced / volume) * T + 0.181 * math.log(T) - 0.882
    return formation_eV + descriptor - sum(n / total * element_eV[el][T] for el, n in atoms.items())


def melting_estimate_K(atoms: dict[str, float], melting_K: dict[str, float]) -> float:
    """Mean of the cations' common oxides, weighted by cations; compounds melt a tenth lower than that."""
    from pymatgen.core import Composition

    best: dict[str, float] = {}
    for formula, at_K in melting_K.items():
        symbols = {e.symbol for e in Composition(formula)}
        if "O" in symbols and len(symbols) == 2:
            (metal,) = symbols - {"O"}
            best[metal] = max(best.get(metal, 0.0), at_K)
    metals = {el: n for el, n in atoms.items() if el != "O"}
    mean = sum(n * best[el] for el, n in metals.items()) / sum(metals.values())
    return round(mean if len(metals) == 1 else 0.9 * mean)


if __name__ == "__main__":
    main()
