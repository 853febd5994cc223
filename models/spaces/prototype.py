"""Crystals made by decorating prototypes, lazily: forty thousand candidates are a table of small integers."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from models import elements
from models.candidate import Candidate, Crystal
from models.errors import SpaceError, UnknownNameError
from models.features import composition_features, miedema_interface_enthalpy, weighted_sum
from models.spaces.base import EnumerableSpace
from models.spaces.lattice import Template
from models.spaces.spec import PrototypeSpec

LARGEST = 20_000_000
"""Raw decorations that one space may enumerate; beyond it memory, not time, is the limit."""

SITE_PROPERTIES = ("valence_electrons", "electronegativity", "radius_A", "unpaired_d", "moment_muB")
"""Elemental properties that are given site by site."""


class PrototypeSpace(EnumerableSpace):
    """All decorations of the prototypes of a spec.

    Ids read ``L2_1-Co2MnSi``: the prototype and the formula in the order of its labels. Labels that are ``equivalent``
    carry their elements in a fixed order (s and d block before p block, then by electronegativity), so that every
    crystal is one candidate. Numbering: prototype by prototype, then by the elements of the labels in turn.

    The template of the cascade: Sanvito et al., Sci. Adv. 2017, 10.1126/sciadv.1602241.
    """

    def __init__(self, spec: PrototypeSpec, base_dir: Path = Path()):
        """Enumerate. Raises SpaceError (nothing left, too many), UnknownNameError (not an element)."""
        self.spec = spec
        self._base_dir = base_dir
        used = {label for p in spec.prototypes for label in p.labels}
        named = dict.fromkeys(el for label in sorted(used) for el in spec.elements_of(label))
        elements.check_symbols(named)
        self._symbols = tuple(sorted(named, key=elements.symbols().index))
        self._rows = [self._decorations(p) for p in range(len(spec.prototypes))]
        self._starts = np.concatenate([[0], np.cumsum([len(rows) for rows in self._rows])])
        if self.size == 0:
            raise SpaceError(
                "the space is empty: no decoration puts allowed and distinct elements on all sites; "
                "add elements, or set distinct: false"
            )

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return int(self._starts[-1])

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements of the space, by atomic number."""
        return self._symbols

    @cached_property
    def templates(self) -> tuple[Template, ...]:
        """The bare crystals, one a prototype; built when first needed (pymatgen is slow to import)."""
        return tuple(Template(p, self._base_dir) for p in self.spec.prototypes)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return self._feature_names

    @cached_property
    def _feature_names(self) -> tuple[str, ...]:
        return tuple(self._features_of(0, self._rows[0][:1])[1])

    def __getitem__(self, index: int) -> Candidate:
        p, row = self._locate(index)
        template = self.templates[p]
        decoration = [self._symbols[j] for j in row]
        composition: dict[str, float] = {}
        for el, n in zip(decoration, template.counts.tolist(), strict=True):
            composition[el] = composition.get(el, 0.0) + n
        scale = float(template.scales(row[None, :], self._symbols)[0])
        crystal = Crystal(
            lattice_A=tuple(tuple(x) for x in (template.lattice_A * scale).tolist()),
            species=tuple(decoration[j] for j in template.site_labels),
            frac_coords=tuple(tuple(x) for x in template.frac_coords.tolist()),
        )
        return Candidate(
            id=self._name(p, decoration),
            composition=composition,
            prototype=template.name,
            sites=dict(zip(template.labels, decoration, strict=True)),
            crystal=crystal,
        )

    def name_of(self, index: int) -> str:
        """Id of candidate number ``index`` without making it."""
        p, row = self._locate(index)
        return self._name(p, [self._symbols[j] for j in row])

    def index_of(self, candidate: Candidate | str) -> int:
        """Number of a candidate or an id; equivalent labels may be written in any order.

        Raises:
            UnknownNameError: not in this space, with the reason.
        """
        name = candidate if isinstance(candidate, str) else candidate.id
        prototype, _, formula = name.partition("-")
        known = [p.name for p in self.spec.prototypes]
        if prototype not in known:
            raise UnknownNameError(f"{name!r} names no prototype of this space; they are {', '.join(known)}")
        p = known.index(prototype)
        if isinstance(candidate, Candidate) and set(candidate.sites) == set(self.spec.prototypes[p].labels):
            decoration = [candidate.sites[label] for label in self.spec.prototypes[p].labels]
        else:
            decoration = re.findall(r"([A-Z][a-z]?)\d*", formula)
        row = self._canonical(p, decoration)
        at = int(np.searchsorted(self._codes[p], self._code(row[None, :])[0])) if row is not None else -1
        if row is None or at >= len(self._codes[p]) or self._codes[p][at] != self._code(row[None, :])[0]:
            raise UnknownNameError(
                f"{name!r} is not in this space: {prototype} takes one element on each of "
                f"{', '.join(self.spec.prototypes[p].labels)} out of the lists of the campaign"
            )
        return int(self._starts[p]) + at

    def amounts_at(self, indices: np.ndarray) -> np.ndarray:
        """Atoms per formula unit, shape (len(indices), len(self.elements))."""
        out = np.zeros((len(indices), len(self._symbols)))
        for p, at, rows in self._by_prototype(indices):
            out[at] = self._amounts(p, rows)
        return out

    def features_at(self, indices: np.ndarray) -> np.ndarray:
        """Features of candidates by number, shape (len(indices), d): see ``models/spaces/__init__.py``."""
        out = np.zeros((len(indices), len(self.feature_names)))
        column = {name: j for j, name in enumerate(self.feature_names)}
        for p, at, rows in self._by_prototype(indices):
            values, names = self._features_of(p, rows)
            out[at[:, None], [column[name] for name in names]] = values
        return out

    def volumes_A3_per_atom(self, indices: np.ndarray) -> np.ndarray:
        """Cell volume guesses, in A^3 per atom, shape (len(indices),)."""
        out = np.zeros(len(indices))
        for p, at, rows in self._by_prototype(indices):
            template = self.templates[p]
            out[at] = template.scales(rows, self._symbols) ** 3 * template.volume_A3 / template.atoms_per_cell
        return out

    def sites_at(self, indices: np.ndarray, label: str) -> np.ndarray:
        """Index into ``elements`` of what sits on ``label``, -1 where the prototype has no such label; (n,)."""
        out = np.full(len(indices), -1)
        for p, at, rows in self._by_prototype(indices):
            labels = self.spec.prototypes[p].labels
            if label in labels:
                out[at] = rows[:, labels.index(label)]
        return out

    def decorations_at(self, indices: np.ndarray) -> Iterator[tuple[Template, np.ndarray, np.ndarray]]:
        """Candidates by number, prototype by prototype.

        Yields:
            A template, positions (m,) in ``indices`` of its decorations, and those, (m, labels) index into
            ``elements``.
        """
        for p, at, rows in self._by_prototype(indices):
            yield self.templates[p], at, rows

    # -- enumeration ---------------------------------------------------------------------------------------------

    @cached_property
    def _rank(self) -> np.ndarray:
        """The order in which equivalent labels carry their elements."""

        def key(el: str) -> tuple[bool, float, int]:
            return elements.block(el) == "p", elements.electronegativity(el), elements.symbols().index(el)

        order = sorted(range(len(self._symbols)), key=lambda j: key(self._symbols[j]))
        return np.argsort(order)

    def _decorations(self, p: int) -> np.ndarray:
        prototype = self.spec.prototypes[p]
        column = {el: j for j, el in enumerate(self._symbols)}
        allowed = [sorted(column[el] for el in self.spec.elements_of(label)) for label in prototype.labels]
        raw = math.prod(len(members) for members in allowed)
        if raw > LARGEST:
            raise SpaceError(
                f"prototype {prototype.name} has {raw:,} raw decorations, more than {LARGEST:,}: "
                "shorten the element lists, or split the campaign"
            )
        grids = np.meshgrid(*(np.array(members, dtype=np.int16) for members in allowed), indexing="ij")
        rows = np.stack([grid.ravel() for grid in grids], axis=1)
        if self.spec.distinct:
            for a, b in itertools.combinations(range(rows.shape[1]), 2):
                rows = rows[rows[:, a] != rows[:, b]]
        for group in prototype.equivalent:
            at = [prototype.labels.index(label) for label in group]
            rows = rows[~self._has_smaller_twin(rows[:, at], [allowed[j] for j in at])]
        return rows

    def _has_smaller_twin(self, rows: np.ndarray, allowed: list[list[int]]) -> np.ndarray:
        """True where an allowed exchange of these columns comes earlier in the canonical order; shape (n,)."""
        base = len(self._symbols)
        weights = base ** np.arange(rows.shape[1] - 1, -1, -1)
        permitted = np.zeros((rows.shape[1], base), dtype=bool)
        for j, members in enumerate(allowed):
            permitted[j, members] = True
        code = self._rank[rows] @ weights
        out = np.zeros(len(rows), dtype=bool)
        for order in itertools.permutations(range(rows.shape[1])):
            twin = rows[:, order]
            possible = permitted[np.arange(rows.shape[1]), twin].all(axis=1)
            out |= possible & (self._rank[twin] @ weights < code)
        return out

    def _canonical(self, p: int, decoration: Sequence[str]) -> np.ndarray | None:
        prototype = self.spec.prototypes[p]
        if len(decoration) != len(prototype.labels) or any(el not in self._symbols for el in decoration):
            return None
        row = np.array([self._symbols.index(el) for el in decoration], dtype=np.int64)
        for group in prototype.equivalent:
            at = [prototype.labels.index(label) for label in group]
            twins = [
                [int(row[j]) for j in order]
                for order in itertools.permutations(at)
                if all(
                    self._symbols[int(row[j])] in self.spec.elements_of(label)
                    for j, label in zip(order, group, strict=True)
                )
            ]
            if not twins:
                return None
            row[at] = min(twins, key=lambda twin: [int(self._rank[j]) for j in twin])
        return row

    @cached_property
    def _codes(self) -> list[np.ndarray]:
        return [self._code(rows) for rows in self._rows]

    def _code(self, rows: np.ndarray) -> np.ndarray:
        weights = len(self._symbols) ** np.arange(rows.shape[1] - 1, -1, -1)
        return rows.astype(np.int64) @ weights

    def _locate(self, index: int) -> tuple[int, np.ndarray]:
        if not 0 <= index < self.size:
            raise IndexError(f"candidate {index} of a space of {self.size}")
        p = int(np.searchsorted(self._starts, index, side="right")) - 1
        return p, self._rows[p][index - self._starts[p]]

    def _by_prototype(self, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield (prototype number, positions in ``indices``, decorations)."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and (indices.min() < 0 or indices.max() >= self.size):
            raise IndexError(f"candidates {indices.min()} to {indices.max()} of a space of {self.size}")
        for p in range(len(self._rows)):
            at = np.flatnonzero((indices >= self._starts[p]) & (indices < self._starts[p + 1]))
            if len(at):
                yield p, at, self._rows[p][indices[at] - self._starts[p]].astype(np.int64)

    def _name(self, p: int, decoration: Sequence[str]) -> str:
        counts = self.templates[p].counts.tolist()
        formula = "".join(f"{el}{n}" if n != 1 else el for el, n in zip(decoration, counts, strict=True))
        return f"{self.spec.prototypes[p].name}-{formula}"

    # -- features ------------------------------------------------------------------------------------------------

    def _amounts(self, p: int, rows: np.ndarray) -> np.ndarray:
        out = np.zeros((len(rows), len(self._symbols)))
        for j, n in enumerate(self.templates[p].counts.tolist()):
            np.add.at(out, (np.arange(len(rows)), rows[:, j]), n)
        return out

    def _features_of(self, p: int, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Features of decorations of one prototype; the names cover all prototypes, absent sites being zero."""
        composition, names = composition_features(self._amounts(p, rows), self._symbols)
        columns = [composition]
        for label_group in self._label_groups:
            labels = self.spec.prototypes[p].labels
            at = [labels.index(label) for label in label_group if label in labels]
            title = "".join(label_group)
            for prop in SITE_PROPERTIES:
                value = elements.values(prop, self._symbols)[rows[:, at]] if at else np.zeros((len(rows), 1))
                columns.append(weighted_sum(value, np.full(value.shape[1], 1.0 / value.shape[1]))[:, None])
                names.append(f"{title}_{prop}")
                if len(label_group) > 1:
                    columns.append(np.ptp(value, axis=1)[:, None])
                    names.append(f"{title}_{prop}_difference")
        contact, contact_names = self._contact_features(p, rows)
        columns.append(contact)
        names += contact_names
        if len(self._rows) > 1:
            one_hot = np.zeros((len(rows), len(self._rows)))
            one_hot[:, p] = 1.0
            columns.append(one_hot)
            names += [f"is_{prototype.name}" for prototype in self.spec.prototypes]
        return np.hstack(columns), names

    @cached_property
    def _label_groups(self) -> list[tuple[str, ...]]:
        """Labels and groups of equivalent labels of all prototypes; each group is described order-free."""
        groups: dict[tuple[str, ...], None] = {}
        for prototype in self.spec.prototypes:
            grouped = {label: tuple(group) for group in prototype.equivalent for label in group}
            for label in prototype.labels:
                groups[grouped.get(label, (label,))] = None
        return list(groups)

    def _contact_features(self, p: int, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """What neighbours do to each other, averaged over ``Template.contacts``."""
        contacts = self.templates[p].contacts
        pairs = [(i, j, contacts[i, j]) for i, j in np.argwhere(contacts > 0).tolist()]

        def average(table: np.ndarray) -> np.ndarray:
            return sum((w * table[rows[:, i], rows[:, j]] for i, j, w in pairs), np.zeros(len(rows)))

        def table(name: str) -> tuple[np.ndarray, np.ndarray]:
            value = elements.values(name, self._symbols)
            return value[:, None], value[None, :]

        chi, radius = table("electronegativity"), table("radius_A")
        unpaired, moment = table("unpaired_d"), table("moment_muB")
        features = {
            "contact_electronegativity_difference": np.abs(chi[0] - chi[1]),
            "contact_radius_mismatch": np.abs(np.log(radius[0] / radius[1])),
            "contact_unpaired_d_product": unpaired[0] * unpaired[1],
            "contact_moment_product": moment[0] * moment[1],
        }
        miedema = miedema_interface_enthalpy(self._symbols)
        if miedema is not None:
            features["contact_miedema"] = miedema
        return np.column_stack([average(t) for t in features.values()]), list(features)


def decoration_count(n_elements: int, n_labels: int, equivalent: Sequence[int] = ()) -> int:
    """Number of decorations of ``n_labels`` sites with distinct elements out of one list, in closed form.

    N! / (N - k)! divided by g! for every group of g equivalent labels; 19,635 for a full Heusler (k = 3, one pair)
    over 35 elements.
    """
    return math.perm(n_elements, n_labels) // math.prod(math.factorial(g) for g in equivalent)
