"""A small chemistry to learn: each element has its source, but manganese's depends on its company."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd

SOURCES = {
    "Ca": "CaCO3", "Sr": "SrCO3", "Ba": "BaCO3", "La": "La2O3", "Nd": "Nd2O3", "Sm": "Sm2O3",
    "Ti": "TiO2", "Zr": "ZrO2", "Fe": "Fe2O3", "Co": "Co3O4", "Sn": "SnO2",
}  # fmt: skip
EARTHS = ("Ca", "Sr", "Ba")


def sources(elements: tuple[str, ...]) -> tuple[str, ...]:
    """What this chemistry makes a compound of the elements from."""
    manganese = "MnO2" if set(elements) & set(EARTHS) else "Mn2O3"
    return tuple(sorted({manganese if e == "Mn" else SOURCES[e] for e in elements}))


def targets() -> list[tuple[str, tuple[str, ...]]]:
    """Perovskites of one A and two B elements at two ratios."""
    out = []
    for a, (b, c) in itertools.product(("Ca", "Sr", "Ba", "La", "Nd", "Sm"), itertools.combinations(
        ("Ti", "Zr", "Fe", "Co", "Sn", "Mn"), 2)):  # fmt: skip
        for x in (0.2, 0.5):
            out.append((f"{a}{b}{1 - x:g}{c}{x:g}O3", sources((a, b, c))))
    return out


def write_tables(folder: Path) -> Path:
    """The three tables, as the public data have them, in ``folder``/synthesis."""
    made = folder / "synthesis"
    made.mkdir(parents=True, exist_ok=True)
    rows = targets()
    pd.DataFrame(
        {
            "target": [t for t, _ in rows], "test_fold": [i % 4 + 1 for i in range(len(rows))],
            "n_recipes": 1, "precursor_sets": [";".join(p) for _, p in rows],
        }
    ).to_parquet(made / "precursor_folds.parquet")  # fmt: skip
    pd.DataFrame(
        {"target": ["BaTiO3", "LaMnO3"], "precursors": ["BaCO3;TiO2", "La2O3;Mn2O3"], "doi": ["a", "b"]}
    ).to_parquet(made / "recipes_with_year.parquet")
    mined = []
    for i, (target, precursors) in enumerate(rows[::3]):
        hot = 1300.0 if "Zr" in target else 1000.0
        mined.append(
            {
                "targets_expanded": target, "precursors": ";".join(precursors) + ";Al2O3", "doi": f"10.1/{i}",
                "T_max_C": hot + 10 * (i % 5), "t_at_Tlast_h": 6.0 + i % 6, "t_last_h": 6.0 + i % 6,
                "atmospheres": "air" if i % 3 else "", "heating_steps": "[]",
            }
        )  # fmt: skip
    pd.DataFrame(mined).to_parquet(made / "textmined_solid_state.parquet")
    return folder
