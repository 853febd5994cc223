"""Sanvito's cascade: Heusler alloys from prototypes, through gates, to Curie temperatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.blocks.composition import element_numbers, element_table, parse
from models.blocks.materials import Materials
from models.predictors.property import TabularModel

_SITES = 3


class HeuslerForest(TabularModel):
    """Regression on what stands on which site (Sanvito et al., Sci. Adv. 2017).

    A formula names its sites in order (X2YZ: X, Y, Z); the elements of the first three, with their properties,
    differences and the count of valence electrons, are features beside the statistics. The paper calibrates a
    regression of the Curie temperature on known magnets and sends calculated Heuslers through it; ``cascade`` is its
    screening.
    """

    citation = "10.1126/sciadv.1602241"
    summary = "a forest on the elements of each site, for Heusler alloys"
    speed = "880"
    trees, share = 400, 0.5

    def features(self, materials: Materials) -> np.ndarray:
        """Statistics, and each site's properties in the order of the formula."""
        return np.concatenate([site_features(materials.formulas), super().features(materials)], axis=1)


def site_features(formulas: Sequence[str]) -> np.ndarray:
    """Properties of the first three elements as written, their differences, valence electrons: (n, 6 p + 5)."""
    table, names = element_table()
    valence = table[:, [names.index(f"{shell}_valence") for shell in "spd"]].sum(axis=1)
    valence = np.where(
        table[:, names.index("p_valence")] > 0, valence - 10 * (table[:, names.index("d_valence")] == 10), valence
    )
    known = element_numbers()
    sites, counts = np.zeros((len(formulas), _SITES), dtype=np.int64), np.zeros((len(formulas), _SITES))
    electrons = np.zeros(len(formulas))
    for i, formula in enumerate(formulas):
        amounts = parse(formula)
        electrons[i] = sum(n * valence[known[el] - 1] for el, n in amounts.items())
        pairs = [(known[el], n) for el, n in amounts.items()][:_SITES]
        pairs += [pairs[-1]] * (_SITES - len(pairs))
        sites[i], counts[i] = zip(*pairs, strict=True)
    per_site = table[sites - 1]
    steps = [per_site[:, a] - per_site[:, b] for a, b in ((0, 1), (0, 2), (1, 2))]
    columns = [per_site.reshape(len(formulas), -1), *steps, counts, electrons[:, None], np.abs(electrons - 24)[:, None]]
    return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class Gate:
    """One step of a cascade: a name, a rule (materials -> (n,) True stays), how many came and how many stayed."""

    name: str
    rule: Callable[[Materials], np.ndarray]
    taken: int = 0
    passed: int = 0


def cascade(materials: Materials, gates: Sequence[Gate]) -> tuple[np.ndarray, list[Gate]]:
    """Send materials through gates, cheapest first; return the rows that passed all and the gates with their counts."""
    rows, counted = np.arange(len(materials)), []
    for gate in gates:
        kept = rows[np.asarray(gate.rule(materials.take(rows)), dtype=bool)]
        counted.append(Gate(gate.name, gate.rule, len(rows), len(kept)))
        rows = kept
    return rows, counted


def full_heuslers(elements: Sequence[str]) -> Materials:
    """All X2YZ with three different elements: k (k - 1) (k - 2), Y before Z being another site than Z before Y."""
    names = [f"{x}2{y}{z}" for x in elements for y in elements for z in elements if len({x, y, z}) == _SITES]
    return Materials.build(names)
