"""Makes instruments/simulated/elements.json: every element in its ground-state structure, relaxed with CHGNet.

    python benchmarks/element_references.py            # all elements, about ten minutes of one core
    python benchmarks/element_references.py Fe Mn B    # recompute some, keep the others

Structures: stable form at low temperature and pressure, lattice parameters in angstrom as measured, from
J. Donohue, The Structures of the Elements (Wiley, 1974); P. Villars, Pearson's Handbook (ASM, 1997); and the AFLOW
Encyclopedia of Crystallographic Prototypes, Mehl et al., Comput. Mater. Sci. 136, S1 (2017),
doi:10.1016/j.commatsci.2017.01.017. Choices where nature or the potential leaves one:
Li and Na as bcc (the low-temperature close-packed forms differ by about 1 meV/atom); C as graphite; P as black
phosphorus; B as alpha-boron (beta-boron has 105 atoms and partial occupation); Sn as diamond (grey); Ce as
alpha-Ce; H2 as the ordered fcc crystal (Pa-3); O2 as alpha; noble gases and Po, At, Fr, Ra are left out (CHGNet was
not trained on the latter four).

Each start with a free axis or coordinate is relaxed in cell and positions (FIRE, 1e-3 eV/A), and then goes through
the isotropic equation of state that the oracle uses for compounds. Where CHGNet would leave the measured space group
(In, Bi, Pa), the measured shape is kept and the row says so. Molecular and layered crystals take the relaxed cell as
it is, since stretching a cell stretches the bonds inside the molecules; without dispersion forces their packing is
soft and too wide, which costs little energy.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from instruments.simulated.oracle import POTENTIAL, equation_of_state, potential
from instruments.simulated.references import TABLE

FCC = (
    "Al 4.0496 Ca 5.5884 Ni 3.524 Cu 3.6149 Sr 6.0849 Rh 3.8034 Pd 3.8907 Ag 4.0853 Ir 3.839 Pt 3.9242 Au 4.0782 "
    "Pb 4.9508 Ce 4.85 Yb 5.4847 Ac 5.67 Th 5.084"
)
BCC = (
    "Li 3.51 Na 4.29 K 5.328 V 3.03 Cr 2.91 Fe 2.8665 Rb 5.585 Nb 3.3004 Mo 3.147 Cs 6.141 Ba 5.028 Eu 4.5827 "
    "Ta 3.3013 W 3.1652"
)
HCP = (
    "Be 2.2858 3.5843 Mg 3.2094 5.2108 Sc 3.3091 5.2733 Ti 2.9508 4.6855 Co 2.5071 4.0695 Zn 2.6649 4.9468 "
    "Y 3.6482 5.7318 Zr 3.2316 5.1475 Tc 2.738 4.394 Ru 2.7058 4.2816 Cd 2.9794 5.6186 Gd 3.6336 5.7810 "
    "Tb 3.6055 5.6966 Dy 3.5915 5.6501 Ho 3.5778 5.6178 Er 3.5592 5.5850 Tm 3.5375 5.5540 Lu 3.5052 5.5494 "
    "Hf 3.1964 5.0511 Re 2.7608 4.4580 Os 2.7348 4.3918 Tl 3.4566 5.5248"
)
DHCP = "La 3.7740 12.171 Pr 3.6721 11.8326 Nd 3.6582 11.7966 Pm 3.65 11.65"
DIAMOND = "Si 5.4310 Ge 5.6579 Sn 6.4892"
ARSENIC = "As 3.7598 10.5475 .22707 Sb 4.3084 11.2740 .23349 Bi 4.5460 11.8623 .23400"
SELENIUM = "Se 4.3662 4.9536 .2254 Te 4.4572 5.9290 .2633"

THIRD = (1 / 3, 2 / 3, 1 / 4)
SPECIAL: dict[str, tuple[str, str, tuple[float, ...], list[tuple[float, ...]]]] = {
    # symbol: (name, space group, (a, b, c, alpha, beta, gamma), one position of each orbit)
    "H": ("alpha-N2 type, ordered H2", "Pa-3", (5.31,) * 3 + (90,) * 3, [(0.0402,) * 3]),
    "B": (
        "alpha-B12",
        "R-3m",
        (4.908, 4.908, 12.567, 90, 90, 120),
        [(0.1189, -0.1189, 0.8912), (0.1969, -0.1969, 0.0243)],
    ),
    "C": ("A9 graphite", "P6_3/mmc", (2.464, 2.464, 6.711, 90, 90, 120), [(0, 0, 1 / 4), THIRD]),
    "N": ("alpha-N2", "Pa-3", (5.649,) * 3 + (90,) * 3, [(0.0562,) * 3]),
    "O": ("alpha-O2", "C2/m", (5.403, 3.429, 5.086, 90, 132.53, 90), [(0.1025, 0, 0.161)]),
    "F": ("alpha-F2", "C2/c", (5.50, 3.28, 7.28, 90, 102.17, 90), [(0.285, 0.307, 0.0955)]),
    "P": ("A17 black phosphorus", "Cmce", (3.3136, 10.478, 4.3763, 90, 90, 90), [(0, 0.10168, 0.08056)]),
    "S": (
        "A16 alpha-S8",
        "Fddd:2",
        (10.437, 12.845, 24.369, 90, 90, 90),
        [(0.8554, 0.9526, 0.9516), (0.7844, 0.0301, 0.0763), (0.7069, 0.9795, 0.0040), (0.7862, 0.9073, 0.1290)],
    ),
    "Cl": ("A14", "Cmce", (6.145, 4.395, 8.154, 90, 90, 90), [(0, 0.1167, 0.1023)]),
    "Mn": (
        "A12 alpha-Mn",
        "I-43m",
        (8.9125,) * 3 + (90,) * 3,
        [(0, 0, 0), (0.317,) * 3, (0.357, 0.357, 0.035), (0.089, 0.089, 0.282)],
    ),
    "Ga": ("A11", "Cmce", (4.5192, 7.6586, 4.5258, 90, 90, 90), [(0, 0.1539, 0.081)]),
    "Br": ("A14", "Cmce", (6.567, 4.467, 8.694, 90, 90, 90), [(0, 0.1401, 0.1190)]),
    "In": ("A6", "I4/mmm", (3.2523, 3.2523, 4.9461, 90, 90, 90), [(0, 0, 0)]),
    "I": ("A14", "Cmce", (7.136, 4.686, 9.784, 90, 90, 90), [(0, 0.15434, 0.11741)]),
    "Sm": ("C19 alpha-Sm", "R-3m", (3.6290, 3.6290, 26.207, 90, 90, 120), [(0, 0, 0), (0, 0, 0.2222)]),
    "Hg": ("A10", "R-3m", (3.457, 3.457, 6.664, 90, 90, 120), [(0, 0, 0)]),
    "Pa": ("Aa", "I4/mmm", (3.925, 3.925, 3.238, 90, 90, 90), [(0, 0, 0)]),
    "U": ("A20 alpha-U", "Cmcm", (2.8537, 5.8695, 4.9548, 90, 90, 90), [(0, 0.1025, 1 / 4)]),
}
MOLECULAR = {"H", "N", "O", "F", "S", "Cl", "Br", "I", "C", "P"}
"""Molecular and layered crystals: bonds of very different strength, so that no isotropic scan is meaningful."""
RIGID = {"A1", "A2", "A4"}
"""Nothing but the volume is free."""
FERROMAGNETIC = {"Fe", "Co", "Ni"}


def starting_structures() -> dict[str, tuple[str, str, Any]]:
    """Return symbol -> (name, space group, conventional pymatgen Structure as measured), by atomic number."""
    from pymatgen.core import Element, Lattice, Structure

    def build(symbol: str, group: str, cell: tuple[float, ...], sites: Sequence[tuple[float, ...]]) -> Structure:
        return Structure.from_spacegroup(
            group, Lattice.from_parameters(*cell), [symbol] * len(sites), [list(site) for site in sites], tol=1e-4
        )

    def rows(text: str, width: int) -> list[tuple[str, list[float]]]:
        words = text.split()
        return [(words[i], [float(w) for w in words[i + 1 : i + width]]) for i in range(0, len(words), width)]

    found: dict[str, tuple[str, str, Any]] = {}
    for text, name, group, sites in (
        (FCC, "A1 fcc", "Fm-3m", [(0, 0, 0)]),
        (BCC, "A2 bcc", "Im-3m", [(0, 0, 0)]),
        (DIAMOND, "A4 diamond", "Fd-3m", [(0, 0, 0)]),
    ):
        for symbol, (a,) in rows(text, 2):
            found[symbol] = (name, group, build(symbol, group, (a, a, a, 90, 90, 90), sites))
    for text, name, sites in ((HCP, "A3 hcp", [THIRD]), (DHCP, "A3' dhcp", [(0, 0, 0), THIRD])):
        for symbol, (a, c) in rows(text, 3):
            found[symbol] = (name, "P6_3/mmc", build(symbol, "P6_3/mmc", (a, a, c, 90, 90, 120), sites))
    for symbol, (a, c, z) in rows(ARSENIC, 4):
        found[symbol] = ("A7", "R-3m", build(symbol, "R-3m", (a, a, c, 90, 90, 120), [(0, 0, z)]))
    for symbol, (a, c, x) in rows(SELENIUM, 4):
        found[symbol] = ("A8", "P3_121", build(symbol, "P3_121", (a, a, c, 90, 90, 120), [(x, 0, 1 / 3)]))
    for symbol, (name, group, cell, sites) in SPECIAL.items():
        found[symbol] = (name, group, build(symbol, group, cell, sites))
    return dict(sorted(found.items(), key=lambda item: Element(item[0]).Z))


def reference(symbol: str, name: str, group: str, start: Any) -> dict[str, Any]:
    """Relax one element and return its row of the table.

    Raises:
        RuntimeError: CHGNet finds no minimum.
    """
    from chgnet.model.dynamics import StructOptimizer
    from pymatgen.core import Element, Structure
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
    from pymatgen.symmetry.groups import SpaceGroup

    structure = start.get_primitive_structure()
    name = f"{name}, {group.split(':')[0]}"
    if name.split()[0] not in RIGID:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the device
            optimizer = StructOptimizer(model=potential(), use_device="cpu")
        relaxed: Any = optimizer.relax(structure, fmax=1e-3, steps=600, verbose=False)["final_structure"]
        kept = SpacegroupAnalyzer(relaxed, symprec=0.05)
        if kept.get_space_group_number() == SpaceGroup(group).int_number:
            structure = relaxed
        elif symbol in MOLECULAR:
            structure = relaxed
            name += f" (relaxed to {kept.get_space_group_symbol()})"
        else:
            name += f" (shape as measured; CHGNet prefers {kept.get_space_group_symbol()})"
    if symbol not in MOLECULAR:
        state = equation_of_state(structure)
        if not state.bound:
            raise RuntimeError(f"{symbol}: CHGNet finds no minimum of the energy near the measured cell")
        structure = Structure(structure.lattice.matrix * state.edge_factor, structure.species, structure.frac_coords)
    prediction = potential().predict_structure(structure, task="em")
    element = Element(symbol)
    return {
        "structure": name,
        "lattice_A": [[round(float(x), 6) for x in row] for row in structure.lattice.matrix],
        "species": [symbol] * len(structure),
        "frac_coords": [[round(float(x), 6) for x in row] for row in structure.frac_coords],
        "energy_eV_per_atom": round(float(prediction["e"]), 6),
        "volume_A3_per_atom": round(structure.volume / len(structure), 5),
        "moment_muB_per_atom": round(float(abs(prediction["m"]).mean()), 4),
        "ferromagnetic": symbol in FERROMAGNETIC,
        "mass_g_per_mol": float(element.atomic_mass),
        "melting_point_K": element.melting_point and float(element.melting_point),
        "boiling_point_K": element.boiling_point and float(element.boiling_point),
    }


def main(symbols: list[str]) -> None:
    """Compute the asked elements (all when none is named) and rewrite the table."""
    starts = starting_structures()
    rows = json.loads(TABLE.read_text())["elements"] if TABLE.exists() else {}
    for symbol in symbols or starts:
        name, group, start = starts[symbol]
        try:
            row = reference(symbol, name, group, start)
        except RuntimeError as error:
            print(f"FAILED {error}", flush=True)
            continue
        rows[symbol] = row
        change = row["volume_A3_per_atom"] / (start.volume / len(start)) - 1
        print(
            f"{symbol:2} {row['structure']:28} E {row['energy_eV_per_atom']:9.4f} eV/atom  "
            f"V {row['volume_A3_per_atom']:7.3f} A3/atom ({change:+.1%})  m {row['moment_muB_per_atom']:.2f}",
            flush=True,
        )
    ordered = {symbol: rows[symbol] for symbol in starts if symbol in rows}
    lines = ",\n".join(f'  "{symbol}": {json.dumps(row)}' for symbol, row in ordered.items())
    TABLE.write_text(f'{{"potential": {json.dumps(POTENTIAL)}, "elements": {{\n{lines}\n}}}}\n')
    print(f"{len(ordered)} elements written to {TABLE}; missing: {[s for s in starts if s not in ordered]}")


if __name__ == "__main__":
    main(sys.argv[1:])
