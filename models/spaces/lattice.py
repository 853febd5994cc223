"""The bare crystal of a prototype: which label sits where, who touches whom, how large the cell may be."""

from __future__ import annotations

import itertools
import math
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models import elements
from models.errors import SpaceError
from models.spaces.spec import Prototype

if TYPE_CHECKING:
    from pymatgen.core import Structure

_PLACEHOLDERS = tuple(el for el in elements.symbols() if el not in elements.NONMETALS)

PACKING = 0.92
"""Volume of an intermetallic over the summed volumes of its atoms: the median of 1,439 relaxed full Heuslers."""


class Template:
    """A prototype's primitive cell with labels on its sites.

    Attributes:
        labels: site labels in the order of the formula.
        lattice_A: 3 x 3 row vectors as given by the user, in angstrom.
        frac_coords: (n, 3).
        site_labels: (n,) index into ``labels``.
        counts: (labels,) atoms of each label in the formula unit (smallest whole numbers).
        atoms_per_cell: n.
    """

    def __init__(self, prototype: Prototype, base_dir: Path):
        """Build the cell. Raises SpaceError where symmetry, file or sites do not make one."""
        self.name = prototype.name
        self.labels = prototype.labels
        structure, stands_for = _structure(prototype, base_dir)
        structure = structure.get_primitive_structure(tolerance=0.01)
        self.lattice_A = np.array(structure.lattice.matrix, dtype=float)
        self.frac_coords = np.round(np.array(structure.frac_coords, dtype=float) % 1.0, 9) % 1.0
        self.site_labels = np.array([self.labels.index(stands_for[site.specie.symbol]) for site in structure])
        self.atoms_per_cell = len(self.site_labels)
        in_cell = np.bincount(self.site_labels, minlength=len(self.labels))
        self.counts = in_cell // math.gcd(*in_cell.tolist())
        self.rescale = prototype.rescale

    @cached_property
    def volume_A3(self) -> float:
        """Volume of the primitive cell as given."""
        return float(abs(np.linalg.det(self.lattice_A)))

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Label of an atom, label of a neighbour, distance (angstrom), for all neighbours up to twice the nearest."""
        shifts = np.array(list(itertools.product(range(-2, 3), repeat=3)))
        delta = self.frac_coords[None, :, None, :] + shifts[None, None] - self.frac_coords[:, None, None, :]
        distance = np.linalg.norm(delta @ self.lattice_A, axis=-1)
        distance[distance < 1e-6] = np.inf
        close = distance <= 2.0 * distance.min(axis=(1, 2))[:, None, None]
        i, j, _ = np.nonzero(close)
        return self.site_labels[i], self.site_labels[j], distance[close]

    @cached_property
    def contacts(self) -> np.ndarray:
        """How much each two labels touch, (labels, labels), symmetric, sum 1.

        A neighbour at distance d counts (d_nearest / d)^6, d_nearest being that atom's shortest distance: second
        neighbours of a body-centred lattice weigh 0.42, those of a perovskite's anion hardly.
        """
        a, b, d = self._pairs
        nearest = np.array([d[a == label].min() for label in range(len(self.labels))])
        out = np.zeros((len(self.labels), len(self.labels)))
        np.add.at(out, (a, b), (nearest[a] / d) ** 6)
        out = out + out.T
        return out / out.sum()

    def scales(self, decorations: np.ndarray, symbols: tuple[str, ...]) -> np.ndarray:
        """Return the factor on all cell lengths for each decoration, (n,).

        Alloys: the atoms' volumes add up (Vegard). Salts and oxides: hard spheres of Shannon's radii (Acta Cryst. A
        1976, 10.1107/S0567739476001551) touch, in the most plausible oxidation states. A guess to start a relaxation
        from: about 3 % for intermetallics, 5 % for perovskites and rock salts.

        Args:
            decorations: (n, labels) index into ``symbols``.
            symbols: elements of the space.
        """
        if not self.rescale:
            return np.ones(len(decorations))
        volumes, nonmetal = _volumes_A3(symbols)
        out = np.cbrt(PACKING * volumes[decorations][:, self.site_labels].sum(axis=1) / self.volume_A3)
        for row in np.flatnonzero(nonmetal[decorations].any(axis=1)):
            ionic = self._ionic_scale([symbols[j] for j in decorations[row]])
            out[row] = ionic if ionic is not None else out[row]
        return out

    def _ionic_scale(self, decoration: list[str]) -> float | None:
        charges = neutral_charges(decoration, self.counts)
        if charges is None:
            return None
        radii = [elements.ionic_radius_A(el, q) for el, q in zip(decoration, charges, strict=True)]
        a, b, d = self._pairs
        best = 0.0
        for i, j in itertools.product(range(len(decoration)), repeat=2):
            ri, rj = radii[i], radii[j]
            touching = (a == i) & (b == j)
            if charges[i] > 0 > charges[j] and ri is not None and rj is not None and touching.any():
                best = max(best, (ri + rj) / float(d[touching].min()))
        return best or None


@cache
def _volumes_A3(symbols: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Volume of an atom of each element, and whether it is a nonmetal."""
    return elements.values("volume_A3", symbols), np.array([el in elements.NONMETALS for el in symbols])


def neutral_charges(decoration: list[str], counts: np.ndarray) -> list[int] | None:
    """Return common oxidation states that add up to zero with the most electronegative element negative, or None.

    Among several, the one with the smallest charges.
    """
    options = [elements.oxidation_states(el) for el in decoration]
    if not all(options):
        return None
    chi = [elements.electronegativity(el) for el in decoration]
    anion = chi.index(max(chi))
    neutral = [
        list(charges)
        for charges in itertools.product(*options)
        if abs(sum(q * n for q, n in zip(charges, counts, strict=True))) < 1e-6 and charges[anion] < 0
    ]
    return min(neutral, key=lambda charges: (sum(abs(q) for q in charges), charges), default=None)


def _structure(prototype: Prototype, base_dir: Path) -> tuple[Structure, dict[str, str]]:
    """Return the conventional pymatgen Structure and the label for which each of its elements stands."""
    from pymatgen.core import Lattice, Structure

    if prototype.file is not None:
        path = base_dir / prototype.file
        if not path.exists():
            raise SpaceError(f"prototype {prototype.name}: file {path} does not exist")
        try:
            structure = Structure.from_file(str(path))
        except Exception as error:
            raise SpaceError(f"prototype {prototype.name}: {path} is not a readable CIF or POSCAR ({error})") from error
        present = {site.specie.symbol for site in structure if site.is_ordered}
        if not structure.is_ordered or present != set(prototype.sites):
            raise SpaceError(
                f"prototype {prototype.name}: {path} has the elements {sorted(present)}"
                f"{'' if structure.is_ordered else ' and mixed sites'}, but sites names {sorted(prototype.sites)}"
            )
        return structure, {el: str(label) for el, label in prototype.sites.items()}
    stands_for = dict(zip(_PLACEHOLDERS, prototype.labels, strict=False))
    symbol_of = {label: el for el, label in stands_for.items()}
    cell = prototype.lattice
    lattice = (
        Lattice.from_parameters(cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma)
        if cell is not None
        else Lattice.cubic(prototype.a_A or 1.0)
    )
    species, coords = [], []
    for label, positions in prototype.sites.items():
        for position in positions:
            species.append(symbol_of[label])
            coords.append(list(position))
    try:
        structure = Structure.from_spacegroup(prototype.spacegroup or 1, lattice, species, coords)
    except Exception as error:
        raise SpaceError(
            f"prototype {prototype.name}: spacegroup {prototype.spacegroup!r} with these sites and lattice is not a "
            f"crystal ({error})"
        ) from error
    if not structure.is_valid(tol=0.05 * min(lattice.abc)):
        raise SpaceError(
            f"prototype {prototype.name}: two sites coincide; list one position for each Wyckoff orbit, not all of them"
        )
    return structure, stands_for
