"""What more is known of the elements: how stiff, how large as ions, and what a universal potential learned of them."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np

from models.blocks.composition import ELEMENTS, Compositions, element_table, fill_by_group

_FILE = Path(__file__).parents[1] / "data" / "element_knowledge.csv"
_STATISTICS = ("minimum", "maximum", "mean", "deviation")


@cache
def element_knowledge() -> tuple[np.ndarray, tuple[str, ...]]:
    """Tabulated properties of the elements and CHGNet's vectors of them, float64 (94, p) without gaps; their names.

    Properties are from pymatgen's periodic table (Ong et al., Comput. Mater. Sci. 2013,
    10.1016/j.commatsci.2012.10.028); one that is not known is the mean of the element's group. ``potential_1`` and so
    on are the sixteen principal components of the atom embedding of CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 2023,
    10.1038/s42256-023-00716-3): what energies and forces of 1.6 million structures say of an element's likeness to
    others. ``python -m models.blocks.element_knowledge`` makes the file again.
    """
    with _FILE.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    return np.array([[float(x) for x in row[1:]] for row in rows]), tuple(header[1:])


@cache
def standard_vectors() -> np.ndarray:
    """These and the properties of ``element_table``, standardised, float32 (95, q) for networks; row 0 is padding."""
    table = np.concatenate([element_table()[0], element_knowledge()[0]], axis=1)
    standard = np.clip((table - table.mean(axis=0)) / table.std(axis=0), -4.0, 4.0)
    return np.concatenate([np.zeros((1, standard.shape[1])), standard]).astype(np.float32)


def knowledge_names() -> list[str]:
    """Names of the columns of ``knowledge_features``."""
    return [f"{name}_{statistic}" for statistic in _STATISTICS for name in element_knowledge()[1]]


def knowledge_features(given: Compositions) -> np.ndarray:
    """Minimum, maximum, mean and mean absolute deviation of each property over a composition, float64 (n, 4 p)."""
    table = np.concatenate([np.zeros((1, element_knowledge()[0].shape[1])), element_knowledge()[0]])
    values, there = table[given.numbers], (given.fractions > 0)[:, :, None]
    low = np.where(there, values, np.inf).min(axis=1)
    high = np.where(there, values, -np.inf).max(axis=1)
    mean = np.einsum("nk,nkp->np", given.fractions, values)
    deviation = np.einsum("nk,nkp->np", given.fractions, np.abs(values - mean[:, None, :]))
    # Sums in another order differ in the last bits; a tree's thresholds must not see that.
    return np.round(np.concatenate([low, high, mean, deviation], axis=1), 9)


def make() -> None:
    """Write the file from pymatgen's table and CHGNet's weights."""
    from chgnet.model.model import CHGNet
    from pymatgen.core import Element

    tabulated = (
        "youngs_modulus", "rigidity_modulus", "brinell_hardness", "mineral_hardness", "poissons_ratio",
        "velocity_of_sound", "coefficient_of_linear_thermal_expansion", "electrical_resistivity", "metallic_radius",
        "van_der_waals_radius", "atomic_radius_calculated", "average_ionic_radius", "average_cationic_radius",
        "average_anionic_radius",
    )  # fmt: skip
    elements = [Element.from_Z(z) for z in range(1, ELEMENTS + 1)]
    columns = {name: [_number(getattr(e, name)) for e in elements] for name in tabulated}
    columns["electrical_resistivity"] = [np.log10(max(x, 1e-9)) for x in columns["electrical_resistivity"]]
    states = [e.common_oxidation_states or e.oxidation_states or (0,) for e in elements]
    columns |= {"highest_oxidation": [max(s) for s in states], "lowest_oxidation": [min(s) for s in states]}
    energies = [list(e.ionization_energies) for e in elements]
    columns["third_ionization_eV"] = [e[2] or np.nan if len(e) > 2 else np.nan for e in energies]
    fields = [[q / r for q, r in e.ionic_radii.items() if q > 0] for e in elements]
    columns["ionic_field_per_A"] = [max(f, default=np.nan) for f in fields]
    names, table = list(columns), np.array(list(columns.values()), dtype=float).T
    fill_by_group(table, np.array([e.group for e in elements]), decimals=15)
    embedding = CHGNet.load(verbose=False).atom_embedding.embedding.weight.detach().numpy()[:ELEMENTS].astype(float)
    embedding -= embedding.mean(axis=0)
    left, strength, _ = np.linalg.svd(embedding, full_matrices=False)
    parts = (left * strength)[:, :16]
    parts *= np.sign(parts[np.abs(parts).argmax(axis=0), np.arange(parts.shape[1])])
    with _FILE.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["symbol", *names, *(f"potential_{k + 1}" for k in range(parts.shape[1]))])
        for element, row in zip(elements, np.concatenate([table, parts], axis=1), strict=True):
            writer.writerow([element.symbol, *(f"{x:.6g}" for x in row)])


def _number(value: object) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan
    return found if found != 0 else np.nan


if __name__ == "__main__":
    make()
