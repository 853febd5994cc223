"""Sets of precursors that could make a target, and what speaks for each: the votes of known recipes, the oxygen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.blocks.composition import element_numbers
from models.synthesis.precursor_library import KINDS, RecipeLibrary, bound_mask

_KERNELS = ((2, 0.01), (2, 0.04), (2, 0.15), (0, 0.01), (0, 0.06), (1, 0.02), (1, 0.1))
"""(encoding, width) of the votes: a recipe at cosine s counts exp((s - 1) / width)."""
_VOTES = len(_KERNELS) + 4
_ALL = len(_KERNELS) + 1
_MIX = np.array([0.2, 0.3, 0.1, 0.1, 0.05, 0.1, 0.05, 0.05, 0.0, 0.05, 0.0])
_JOINT = (0, 1, 2, 3, 5, 7)  # votes that are taken on whole sets too
_TWICE = 0.7  # log-probability that a second source of one element costs
_PRIOR = 1e-3
_OPTIONS, _BEAM, _PRODUCTS, _KIN, _NEAR = 6, 40, 24, 14, 60
_LOCAL = 400  # nearest recipes whose whole sets are compared
_SAME, _CLOSE = 0.9995, 0.99
_EQUAL = 1e-4


@dataclass(frozen=True)
class Considered:
    """k sets of precursors for one target.

    Attributes:
        sets: (k,) ids of precursors, sorted.
        chosen: (k, p) the same, ones among zeros.
        features: (k, d).
        belief: (k,) what the votes alone say, a logarithm.
        nearest: highest cosine of any known target's fractions.
    """

    sets: list[tuple[int, ...]]
    chosen: np.ndarray
    features: np.ndarray
    belief: np.ndarray
    nearest: float


@dataclass(frozen=True)
class _Options:
    ids: np.ndarray
    share: np.ndarray  # (o, votes)


def consider(
    library: RecipeLibrary, fractions: np.ndarray, similarity: np.ndarray, without: np.ndarray | None = None
) -> Considered | None:
    """Return the sets to choose from, with features; None where an element has no known source.

    Args:
        library: known recipes.
        fractions: (94,) of the target.
        similarity: (3, n) of ``library.similarities``.
        without: rows of the library that must not be looked at.
    """
    bound = (fractions > 0) & bound_mask()
    usable = np.ones(len(library), dtype=np.float32)
    if without is not None:
        usable[without] = 0.0
    shared = library.bound_float @ bound.astype(np.float32)
    either: np.ndarray = library.bound_float.sum(axis=1) + float(bound.sum()) - shared
    overlap = shared / np.maximum(either, 1.0)
    weights = _weights(library, similarity, overlap, usable)
    foreign = np.asarray((library.precursors.brings & ~bound[None]).sum(axis=1))
    distance = np.asarray(np.abs(library.precursors.fractions - fractions[None]).max(axis=1))  # 0: the target itself
    allowed = np.asarray((foreign == 0) & (distance >= _EQUAL))
    elements = np.flatnonzero(bound)
    options = [_options(library, int(element), weights, allowed) for element in elements]
    if not len(elements) or any(one is None for one in options):
        return None
    known = [one for one in options if one is not None]
    kin = np.where(usable > 0, similarity[2] + 0.3 * similarity[1] + 0.3 * overlap, -9.0)
    sets = _candidates(library, known, kin, allowed, bound)
    if not sets:
        return None
    closeness = np.where(usable > 0, similarity[2] + 0.5 * overlap, -9.0)
    near = np.argpartition(-closeness, min(_LOCAL, len(closeness)) - 1)[:_LOCAL]
    near = near[usable[near] > 0]
    best = [float(row.max()) for row in np.where(usable > 0, similarity, -1.0)]
    whole = _Whole(library, near, weights, similarity, allowed, bound)
    chosen = np.zeros((len(sets), len(library.precursors.names)), dtype=np.float32)
    for i, one in enumerate(sets):
        chosen[i, list(one)] = 1.0
    votes, least = _element_votes(chosen, elements, known, library)
    joint, exact = whole.votes(chosen)
    belief = votes @ _MIX
    share = np.exp(belief - belief.max())
    number = element_numbers()
    at = [fractions[number[symbol] - 1] for symbol in "OCNH"]
    of_target = [len(elements), *at, *best, float(overlap[usable > 0].max()), whole.same_system]
    features = np.concatenate(
        [
            votes, least, joint, exact, _pairs(library, chosen, without), _kinds(library, chosen, len(elements)),
            _balance(library, chosen, fractions, elements), votes - votes.max(axis=0), joint - joint.max(axis=0),
            (share / share.sum())[:, None], np.argsort(np.argsort(-belief))[:, None],
            np.repeat([of_target], len(sets), axis=0),
        ],
        axis=1,
    )  # fmt: skip
    return Considered(sets, chosen, features.astype(np.float32), belief, best[0])


def _weights(library: RecipeLibrary, similarity: np.ndarray, overlap: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(n, votes): how much each recipe counts in each vote."""
    base = library.weight * usable
    curated = base * library.curated
    columns = [base * np.exp((similarity[j] - 1.0) / width) for j, width in _KERNELS]
    columns += [base * overlap**4, base, curated * np.exp((similarity[2] - 1.0) / 0.04)]
    return np.stack([*columns, curated * np.exp((similarity[1] - 1.0) / 0.05) * overlap], axis=1)


def _options(library: RecipeLibrary, element: int, weights: np.ndarray, allowed: np.ndarray) -> _Options | None:
    """Precursors that bring the element and nothing foreign, and the share of each vote that each has."""
    source = library.sources[element]
    if source is None:
        return None
    rows, bringing, taken = source
    votes = taken @ weights[rows]
    keep = (votes[:, _ALL] > 0) & allowed[bringing]
    if not keep.any():
        return None
    votes = votes[keep]
    total = votes.sum(axis=0)
    prior = votes[:, _ALL] + 0.1
    extra = _PRIOR * np.maximum(total, 1e-6) + 1e-9
    return _Options(bringing[keep], (votes + extra * (prior / prior.sum())[:, None]) / (total + extra))


def _candidates(
    library: RecipeLibrary, options: Sequence[_Options], kin: np.ndarray, allowed: np.ndarray, bound: np.ndarray
) -> list[tuple[int, ...]]:
    """Products of the elements' likeliest sources, and the sets of like targets, completed."""
    tops: list[list[tuple[float, int]]] = []
    for one in options:
        score = np.exp(np.log(one.share) @ _MIX)
        order = np.argsort(-score, kind="stable")[:_OPTIONS]
        tops.append([(float(np.log(score[k])), int(one.ids[k])) for k in order if score[k] > 3e-3 * score[order[0]]])
    beam: list[tuple[float, frozenset[int]]] = [(0.0, frozenset())]
    for top in sorted(tops, key=len):
        grown: dict[frozenset[int], float] = {}
        for score, chosen in beam:
            for log_share, p in top:
                value = score + (0.0 if p in chosen else log_share)
                grown[chosen | {p}] = max(value, grown.get(chosen | {p}, -np.inf))
        beam = sorted(((v, s) for s, v in grown.items()), key=lambda pair: (-pair[0], sorted(pair[1])))[:_BEAM]
    found = dict.fromkeys(chosen for _, chosen in beam[:_PRODUCTS])
    near = np.argpartition(-kin, min(_NEAR, len(kin)) - 1)[:_NEAR]
    near = near[np.argsort(-kin[near], kind="stable")]
    elements, added, seen = np.flatnonzero(bound), 0, set()
    for row in library.set_of[near]:
        if row in seen:
            continue
        seen.add(row)
        chosen = frozenset(np.flatnonzero(library.sets[row] & allowed).tolist())
        covered = library.precursors.bringing(sorted(chosen))
        chosen |= {top[0][1] for element, top in zip(elements, tops, strict=True) if not covered[element]}
        if chosen not in found:
            found[chosen] = None
            added += 1
        if added >= _KIN:
            break
    return [tuple(sorted(chosen)) for chosen in found]


def _element_votes(
    chosen: np.ndarray, elements: np.ndarray, options: Sequence[_Options], library: RecipeLibrary
) -> tuple[np.ndarray, np.ndarray]:
    """Sum over the elements, and least, of log share of the chosen sources, (k, votes) each."""
    total = np.zeros((len(chosen), _VOTES))
    least = np.zeros_like(total)
    for element, one in zip(elements, options, strict=True):
        log_share = np.log(chosen[:, one.ids] @ one.share + 1e-9)
        twice = chosen @ library.precursors.brings[:, element].astype(np.float32) > 1
        log_share = np.maximum(log_share, -12.0) - _TWICE * twice[:, None]
        total += log_share
        least = np.minimum(least, log_share)
    return total, least


class _Whole:
    """The sets of the nearest recipes, without what the target does not contain."""

    def __init__(
        self, library: RecipeLibrary, near: np.ndarray, weights: np.ndarray, similarity: np.ndarray,
        allowed: np.ndarray, bound: np.ndarray,
    ) -> None:  # fmt: skip
        rows, first = np.unique(library.set_of[near], return_inverse=True)
        packed = np.packbits(library.sets[rows] & allowed[None], axis=1)
        different, again = np.unique(packed, axis=0, return_inverse=True)
        self.sets = np.unpackbits(different, axis=1, count=library.sets.shape[1]).astype(bool)
        group = np.ravel(again)[first]
        count = len(self.sets)
        same = (library.set_brings[library.set_of[near]] == bound[None]).all(axis=1)
        self.same_system = int(same.sum())
        weight = weights[near][:, list(_JOINT)]
        self.all = np.stack([np.bincount(group, weights=w, minlength=count) for w in weight.T], axis=1)
        weight = weight * same[:, None]
        self.exact = np.stack([np.bincount(group, weights=w, minlength=count) for w in weight.T], axis=1)
        self.most = np.full((count, 3), -1.0)
        for j in range(3):
            np.maximum.at(self.most[:, j], group[same], similarity[j, near[same]])
        alike = similarity[0, near]
        self.papers = np.stack(
            [np.bincount(group, weights=(alike > bar) & same, minlength=count) for bar in (_SAME, _CLOSE)], axis=1
        )

    def votes(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each candidate (k, p): agreement of the near recipes, (k, 12); those with just this set, (k, 11)."""
        sets = self.sets.astype(np.float32)
        shared = chosen @ sets.T
        size, sizes = chosen.sum(axis=1)[:, None], sets.sum(axis=1)[None]
        inside = ((shared == sizes) & (sizes > 0)).astype(np.float64)
        total = self.all.sum(axis=0) + 1e-12
        like = shared / np.maximum(size + sizes - shared, 1.0)
        joint = np.concatenate([inside @ self.all / total, like @ self.all / total], axis=1)
        exact = np.tile([0.0] * len(_JOINT) + [-1.0] * 3 + [0.0] * 2, (len(chosen), 1))
        share = np.concatenate([self.exact / (self.exact.sum(axis=0) + 1e-12), self.most, self.papers], axis=1)
        i, j = np.nonzero((shared == sizes) & (shared == size))
        exact[i] = share[j]
        return joint, exact


def _pairs(library: RecipeLibrary, chosen: np.ndarray, without: np.ndarray | None) -> np.ndarray:
    """How often the rarest and the mean pair were used together, and how common the precursors are, (k, 4)."""
    used = np.flatnonzero(chosen.any(axis=0))
    together = library.together[np.ix_(used, used)].copy()
    if without is not None and len(without):
        left = library.sets[library.set_of[without]][:, used].astype(np.float64)
        together -= (left * library.weight[without][:, None]).T @ left
    alone = np.diag(together)
    pair = np.log((np.maximum(together, 0.0) + 0.2) / (np.minimum(alone[:, None], alone[None]) + 1.0))
    out = np.zeros((len(chosen), 4))
    popularity = np.log(np.maximum(alone, 0.0) + 1.0)
    for i, row in enumerate(chosen[:, used] > 0):
        ids = np.flatnonzero(row)
        out[i, 2:] = popularity[ids].min(), popularity[ids].mean()
        if len(ids) > 1:
            values = pair[np.ix_(ids, ids)][np.triu_indices(len(ids), 1)]
            out[i, :2] = values.min(), values.mean()
    return out


def _kinds(library: RecipeLibrary, chosen: np.ndarray, elements: int) -> np.ndarray:
    """How many precursors are of each kind, and how many there are beyond one an element, (k, kinds + 1)."""
    one_hot = np.eye(len(KINDS))[library.precursors.kind]
    return np.concatenate([chosen @ one_hot, chosen.sum(axis=1, keepdims=True) - elements], axis=1)


def _balance(library: RecipeLibrary, chosen: np.ndarray, fractions: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """What does not balance, the smallest amount, and O, C and H an atom of the target, (k, 6).

    Oxygen that the precursors lack (above 0: oxidation) or have too much of (below 0: reduction).
    """
    number = element_numbers()
    oxygen, carbon, hydrogen = (number[symbol] - 1 for symbol in "OCH")
    wanted = fractions[elements]
    out = np.zeros((len(chosen), 6))
    for i, row in enumerate(chosen):
        ids = np.flatnonzero(row)
        amounts = library.precursors.amounts[ids]
        matrix = amounts[:, elements].T
        used = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
        lack = fractions[oxygen] - used @ library.precursors.oxygen[ids]
        out[i] = (
            np.abs(matrix @ used - wanted).sum(), used.min(), lack, abs(lack), used @ amounts[:, carbon],
            used @ amounts[:, hydrogen],
        )  # fmt: skip
    return out
