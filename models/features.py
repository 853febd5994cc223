"""Elemental statistics that do not depend on the order in which atoms are written.

The Magpie idea (Ward et al., npj Comput. Mater. 2016, 10.1038/npjcompumats.2016.28) cut to the properties that carry
metallic magnetism and stability, and Miedema's model for the heat of mixing (de Boer et al., Cohesion in Metals, 1988).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models import elements

COMPOSITION_STATISTICS: tuple[tuple[str, str], ...] = (
    ("valence_electrons", "mean"),
    ("d_electrons", "mean"),
    ("unpaired_d", "mean"),
    ("moment_muB", "mean"),
    ("electronegativity", "mean"),
    ("electronegativity", "std"),
    ("radius_A", "mean"),
    ("radius_A", "std"),
    ("melting_K", "mean"),
    ("p_electrons", "mean"),
)
"""(elemental property, statistic over the atoms) of every composition."""


def composition_features(amounts: np.ndarray, symbols: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return statistics of compositions, shape (n, 12), and their names.

    Besides ``COMPOSITION_STATISTICS``: the excess of valence electrons over six an atom, whose magnitude is the
    Slater-Pauling moment per atom of half-metallic Heuslers (24 electrons in a full one, 18 in a half one;
    Galanakis et al., Phys. Rev. B 2002, 10.1103/PhysRevB.66.174429), signed and absolute.

    Args:
        amounts: (n, len(symbols)) atoms per formula unit, any scale.
        symbols: the element of each column.
    """
    fraction = amounts / weighted_sum(amounts, np.ones(len(symbols)))[:, None]
    columns, names = [], []
    for prop, statistic in COMPOSITION_STATISTICS:
        value = elements.values(prop, symbols)
        mean = weighted_sum(fraction, value)
        if statistic == "mean":
            columns.append(mean)
        else:
            columns.append(np.sqrt(np.maximum(weighted_sum(fraction, value**2) - mean**2, 0.0)))
        names.append(f"{prop}_{statistic}")
    excess = weighted_sum(fraction, elements.values("valence_electrons", symbols)) - 6.0
    columns += [excess, np.abs(excess)]
    names += ["slater_pauling", "slater_pauling_magnitude"]
    return np.column_stack(columns), names


def weighted_sum(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return ``weights @ values``, (n,), summed column by column.

    A matrix product may differ in the last bit with the number of rows; features must not, since a campaign that is
    resumed has to choose the same candidates.
    """
    out = np.zeros(len(weights))
    for j in np.flatnonzero(weights.any(axis=0)).tolist():
        out += weights[:, j] * values[j]
    return out


def miedema_interface_enthalpy(symbols: Sequence[str]) -> np.ndarray | None:
    """Return Miedema's interfacial term between every two elements, shape (k, k), in V^2 (negative binds).

    -(dphi)^2 + Q/P (d n_ws^(1/3))^2 - R/P for a transition metal with a polyvalent non-transition one, with
    Q/P = 9.4 V^2/(d.u.)^(2/3) and R/P the product of the elements' R factors (solid alloys).
    ``None`` where an element has no Miedema parameters (oxygen, halogens): the model does not cover it.
    """
    if not all(elements.has(name, symbols) for name in ("miedema_phi_V", "miedema_n", "miedema_R_V2")):
        return None
    phi = elements.values("miedema_phi_V", symbols)
    density = np.cbrt(elements.values("miedema_n", symbols))
    factor = elements.values("miedema_R_V2", symbols)
    transition = np.array([elements.block(el) in "df" for el in symbols])
    mixed = transition[:, None] != transition[None, :]
    hybrid = np.where(mixed, factor[:, None] * factor[None, :], 0.0)
    out = -((phi[:, None] - phi[None, :]) ** 2) + 9.4 * (density[:, None] - density[None, :]) ** 2 - hybrid
    np.fill_diagonal(out, 0.0)
    return out
