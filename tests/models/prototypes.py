"""Prototypes and element lists that several tests decorate."""

ELEMENTS = [
    *("Li", "B", "Mg", "Al", "Si", "Ca", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "Zr"),
    *("Nb", "Mo", "Ru", "Rh", "Pd", "Ag", "In", "Sn", "Sb", "Hf", "Ta", "W", "Re", "Ir", "Pt", "Au", "Bi"),
]

L2_1 = {
    "name": "L2_1",
    "spacegroup": "Fm-3m",
    "a_A": 5.8,
    "sites": {"X": [[0.25, 0.25, 0.25]], "Y": [[0, 0, 0]], "Z": [[0.5, 0.5, 0.5]]},
    "equivalent": [["Y", "Z"]],
}
XA = {
    "name": "XA",
    "spacegroup": "F-43m",
    "a_A": 5.8,
    "sites": {"X": [[0, 0, 0], [0.25, 0.25, 0.25]], "Y": [[0.5, 0.5, 0.5]], "Z": [[0.75, 0.75, 0.75]]},
    "equivalent": [["Y", "Z"]],
}
PEROVSKITE = {
    "name": "perovskite",
    "spacegroup": "Pm-3m",
    "a_A": 4.0,
    "sites": {"A": [[0, 0, 0]], "B": [[0.5, 0.5, 0.5]], "X": [[0.5, 0.5, 0]]},
}
