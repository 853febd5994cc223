"""The measurements of stiff-semiconductors.yaml: Cohen's relation for tetrahedral semiconductors, and a rough indent.

B = (1971 - 220 ionicity) d^-3.5, GPa with the bond length d in angstrom and an ionicity of 0, 1 or 2 for groups IV-IV,
III-V and II-VI; M. L. Cohen, Phys. Rev. B 32, 7988 (1985), 10.1103/PhysRevB.32.7988.
"""

import hashlib

GROUP = {
    **dict.fromkeys(("Be", "Mg", "Zn", "Cd"), 2), **dict.fromkeys(("B", "Al", "Ga", "In"), 3),
    **dict.fromkeys(("C", "Si", "Ge"), 4), **dict.fromkeys(("N", "P", "As", "Sb"), 5),
    **dict.fromkeys(("O", "S", "Se", "Te"), 6),
}  # fmt: skip
RADIUS_A = {
    "B": 0.85, "Al": 1.23, "Ga": 1.23, "In": 1.41, "Be": 0.98, "Mg": 1.40, "Zn": 1.23, "Cd": 1.41, "Si": 1.17,
    "Ge": 1.22, "C": 0.77, "N": 0.72, "P": 1.12, "As": 1.22, "Sb": 1.40, "O": 0.73, "S": 1.13, "Se": 1.22, "Te": 1.40,
}  # fmt: skip


def press(target):
    """Bulk modulus from the change of the cell under pressure."""
    metal, other = sorted(set(target["species"]), key=lambda symbol: GROUP[symbol])
    gap = abs(GROUP[metal] + GROUP[other] - 8)  # electrons that no bond has room for make it soft
    ionicity = (GROUP[other] - GROUP[metal]) / 2
    stiffness_GPa = (1971 - 220 * ionicity) * (RADIUS_A[metal] + RADIUS_A[other]) ** -3.5
    return {"bulk_modulus_GPa": stiffness_GPa * 0.8**gap}


def indent(target):
    """Hardness of a rough surface: a tenth of the bulk modulus, give or take a fifth, the same for each crystal."""
    luck = int(hashlib.sha256("".join(sorted(target["species"])).encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return {"hardness_GPa": 0.1 * press(target)["bulk_modulus_GPa"] * (0.8 + 0.4 * luck)}
