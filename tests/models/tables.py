"""Small tables of materials that tests make themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.blocks.composition import element_numbers, element_table
from models.blocks.materials import Cell, Materials

SYMBOLS = ("Li", "Na", "K", "Mg", "Ca", "Ti", "V", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Al", "Ga")


def rock_salt(a: str, x: str, edge_A: float) -> Cell:
    """The primitive cell of rock salt."""
    lattice = 0.5 * edge_A * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    known = element_numbers()
    return Cell(lattice, np.array([known[a], known[x]]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]))


def cubic_perovskite(a: str, b: str, x: str, edge_A: float = 4.0) -> Cell:
    """The five-atom cell."""
    known = element_numbers()
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    numbers = np.array([known[s] for s in (a, b, x, x, x)])
    return Cell(edge_A * np.eye(3), numbers, np.array(frac, dtype=float))


def supercell(cell: Cell, times: tuple[int, int, int]) -> Cell:
    """The same crystal in a larger cell."""
    shifts = np.stack(np.meshgrid(*map(np.arange, times), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    frac = ((cell.frac[None] + shifts) / np.array(times)).reshape(-1, 3)
    return Cell(cell.lattice * np.array(times)[:, None], np.tile(cell.numbers, len(shifts)), frac)


def turned(cell: Cell, seed: int = 0) -> Cell:
    """The same crystal, rotated, shifted, its atoms in another order, described by other lattice vectors."""
    draw = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(draw.normal(size=(3, 3)))
    order = draw.permutation(len(cell.numbers))
    change = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]])
    frac = (cell.frac[order] + draw.random(3)) @ np.linalg.inv(change)
    return Cell(change @ cell.lattice @ rotation.T, cell.numbers[order], frac)


def salts(edges: bool = True) -> Materials:
    """180 rock salts AX."""
    table, names = element_table()
    radius = dict(zip(element_numbers(), table[:, names.index("covalent_radius_A")], strict=True))
    pairs = [(a, x) for a in SYMBOLS for x in ("O", "S", "Se", "F", "Cl", "Br", "N", "P", "C", "H", "Te", "I")]
    cells = [rock_salt(a, x, 2.0 * (radius[a] + radius[x])) for a, x in pairs] if edges else None
    return Materials.build([f"{a}{x}" for a, x in pairs], cells)


def ionic_target(materials: Materials) -> np.ndarray:
    """A smooth function of the elements: minus the difference of electronegativity, and a bit of mass."""
    table, names = element_table()
    chi, mass = table[:, names.index("electronegativity")], table[:, names.index("mass_g_per_mol")]
    z = materials.compositions.numbers[:, :2] - 1
    return -np.abs(chi[z[:, 0]] - chi[z[:, 1]]) + 0.003 * mass[z].mean(axis=1)


def as_frame(materials: Materials, **columns: np.ndarray) -> pd.DataFrame:
    """As a file would have it."""
    symbols = {number: symbol for symbol, number in element_numbers().items()}
    rows = {"formula": materials.formulas}
    if materials.cells[0] is not None:
        cells = [c for c in materials.cells if c is not None]
        rows["lattice_matrix_ang"] = [c.lattice.reshape(-1).tolist() for c in cells]
        rows["species"] = [[symbols[z] for z in c.numbers.tolist()] for c in cells]
        rows["frac_coords"] = [c.frac.reshape(-1).tolist() for c in cells]
    return pd.DataFrame({**rows, **columns})
