"""What to make a target from: sets of precursors, likeliest first, learnt from published syntheses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.blocks.boosting import Boosting
from models.blocks.composition import compositions, parse
from models.blocks.trained import Stored, part, prefixed, trained
from models.errors import DataError, NotFittedError
from models.synthesis.listwise import ListwiseNetwork
from models.synthesis.literature import FILES, KnownRecipe, data_folder, key, read_recipes
from models.synthesis.precursor_features import consider
from models.synthesis.precursor_library import RecipeLibrary
from models.synthesis.spelling import Spellings, curated_rows

_VERSION = 3
_BATCH = 64
_MEMBERS = 2  # sets of trees, and networks beside them
_ROUNDS = 250


@dataclass(frozen=True)
class PrecursorSet:
    """One answer.

    Attributes:
        precursors: formulas as chemists write them, sorted.
        score: probability that this is the set that a paper on the target reports; all sets of a target sum to 1.
    """

    precursors: tuple[str, ...]
    score: float


class PrecursorRecommender:
    """Votes of known recipes for each element's source and for whole sets, ranked by boosted trees.

    For each element of the target, every recipe votes for the precursors that brought it there, the more the more like
    its target is (three encodings of the composition, several widths). Products of the likeliest sources and the sets
    of the most similar targets are the candidates; boosted trees, which judge each by itself, and networks, which judge
    them against each other, rank them by votes, recipes whose targets are spelt alike, pairs that go together, kinds of
    precursors and the oxygen balance. Both were taught by recipes that were asked for without their own row.
    """

    citation = "10.1021/jacs.4c05840"
    summary = "sets of precursors for a solid-state synthesis, learnt from text-mined recipes"

    def __init__(self, *, targets: int = 5000, members: int = _MEMBERS, seed: int = 0) -> None:
        """``targets``: at most so many recipes teach the ranking (all vote); ``members`` rankers of either kind."""
        self.targets, self.members, self.seed = targets, members, seed
        self._library: RecipeLibrary | None = None
        self._spellings: Spellings | None = None
        self._rankers: list[Boosting] = []
        self._networks: list[ListwiseNetwork] = []

    @classmethod
    def load(cls, folder: Path | None = None) -> PrecursorRecommender:
        """Trained on the public data (``ATHANOR_DATA``) at first use, then from the cache (``ATHANOR_CACHE``).

        Raises:
            DataError: the data are not there; the message says what to set.
        """
        folder = data_folder("synthesis") if folder is None else folder
        made = cls()
        files = [folder / name for name in FILES if (folder / name).is_file()]
        if not files:
            raise DataError(f"{folder} holds none of {', '.join(FILES)}; set ATHANOR_DATA to the data folder")
        settings = {
            "version": _VERSION,
            "targets": made.targets,
            "members": made.members,
            "seed": made.seed,
            "rounds": _ROUNDS,
        }

        def train() -> Stored:
            made.fit(read_recipes(folder))
            return made.arrays()

        made.restore(*trained("precursors", files, settings, train, minutes=3))
        return made

    def fit(self, recipes: Sequence[KnownRecipe]) -> None:
        """Learn from recipes. Raises DataError where there are too few curated ones to learn a ranking from."""
        library = RecipeLibrary.from_recipes(recipes)
        keys = [key(recipe.target.items()) for recipe in recipes]
        asked: dict[tuple[str, int], list[int]] = defaultdict(list)
        for i, recipe in enumerate(recipes):
            if recipe.source == "folds":
                asked[recipe.name, recipe.origin].append(i)
        hidden = _own_rows(recipes, keys)
        spellings = Spellings(library, [recipes[i].name for i in curated_rows(library)])
        rows = list(asked.values())
        order = np.random.default_rng(self.seed).permutation(len(rows))[: self.targets]
        features: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for start in range(0, len(order), _BATCH):
            batch = [rows[i] for i in order[start : start + _BATCH]]
            fractions = library.fractions[[own[0] for own in batch]]
            similarity = library.similarities(fractions)
            for own, target, like in zip(batch, fractions, similarity, strict=True):
                without = np.unique(np.concatenate([np.array(own), hidden[keys[own[0]]]]))
                found = consider(library, target, like, without)
                if found is None:
                    continue
                true = {tuple(np.flatnonzero(library.sets[library.set_of[i]]).tolist()) for i in own}
                said = spellings.features(library, recipes[own[0]].name, target, like, found.chosen, without)
                features.append(np.concatenate([found.features, said], axis=1))
                labels.append(np.array([one in true for one in found.sets]))
        if sum(bool(y.any()) for y in labels) < 20:
            raise DataError("fewer than 20 recipes can be told from the others: too few to learn a ranking from")
        X, y = np.concatenate(features), np.concatenate(labels)
        self._library, self._spellings, self._rankers, self._networks = library, spellings, [], []
        for member in range(self.members):
            ranker = Boosting(
                rounds=_ROUNDS, rate=0.05, leaves=15 * (member % 2 + 1), leaf=40 // (member % 2 + 1), features=0.3,
                seed=self.seed + member,
            )  # fmt: skip
            ranker.fit(X, y)
            self._rankers.append(ranker)
            network = ListwiseNetwork(seed=self.seed + member)
            network.fit_lists(X, y, np.array([len(some) for some in labels]))
            self._networks.append(network)

    def recommend(self, target: str, top: int = 5) -> list[PrecursorSet]:
        """Return at most ``top`` sets for a formula, likeliest first; none where an element has no known source.

        Raises:
            DataError: the formula cannot be read.
            NotFittedError: neither ``fit`` nor ``load`` was called.
        """
        if self._library is None or self._spellings is None:
            raise NotFittedError("call PrecursorRecommender.load() or fit(recipes) first")
        fractions = compositions([parse(target)]).dense()
        similarity = self._library.similarities(fractions)[0]
        found = consider(self._library, fractions[0], similarity)
        if found is None:
            return []
        said = self._spellings.features(self._library, target, fractions[0], similarity, found.chosen)
        X = np.concatenate([found.features, said], axis=1)
        odds = np.mean([ranker.predict(X) for ranker in self._rankers], axis=0)
        alone = -np.logaddexp(0.0, -odds)
        among = np.mean([network.log_probability(X) for network in self._networks], axis=0)
        score = np.exp(0.5 * (alone - np.logaddexp.reduce(alone) + among))
        score /= score.sum()
        names = self._library.precursors.names
        order = np.argsort(-score, kind="stable")[:top]
        return [PrecursorSet(tuple(sorted(names[p] for p in found.sets[i])), float(score[i])) for i in order]

    def arrays(self) -> Stored:
        """For a checkpoint. Raises NotFittedError."""
        if self._library is None or self._spellings is None:
            raise NotFittedError("fit the recommender before keeping it")
        out = prefixed("library", self._library.arrays())
        for i, ranker in enumerate(self._rankers):
            out |= prefixed(f"ranker{i}", ranker.arrays())
        for i, network in enumerate(self._networks):
            out |= prefixed(f"network{i}", network.arrays())
        return out, {
            "precursors": list(self._library.precursors.names),
            "spellings": list(self._spellings.names),
            "rankers": len(self._rankers),
        }

    def restore(self, arrays: dict[str, np.ndarray], header: dict[str, object]) -> None:
        """Take what ``arrays`` gave. Raises DataError where it does not fit."""
        names, spelt, count = (header.get(name) for name in ("precursors", "spellings", "rankers"))
        if not isinstance(names, list) or not isinstance(spelt, list) or not isinstance(count, int):
            raise DataError("the stored recommender is damaged; delete the file and train again")
        self._library = RecipeLibrary.from_arrays(names, part("library", arrays))
        self._spellings = Spellings(self._library, spelt)
        self._rankers = [Boosting() for _ in range(count)]
        self._networks = [ListwiseNetwork() for _ in range(count)]
        for i, (ranker, network) in enumerate(zip(self._rankers, self._networks, strict=True)):
            ranker.restore(part(f"ranker{i}", arrays))
            network.restore(part(f"network{i}", arrays))


def _own_rows(recipes: Sequence[KnownRecipe], keys: Sequence[object]) -> dict[object, np.ndarray]:
    """Composition -> the mined recipes to hide when it is asked for: every row of a table that has it in its series."""
    rows_of: dict[int, list[int]] = defaultdict(list)
    with_key: dict[object, set[int]] = defaultdict(set)
    for i, recipe in enumerate(recipes):
        with_key[keys[i]]  # an entry for every composition
        if recipe.source == "mined":
            rows_of[recipe.origin].append(i)
            with_key[keys[i]].add(recipe.origin)
    return {
        composition: np.array(sorted(i for origin in origins for i in rows_of[origin]), dtype=np.int64)
        for composition, origins in with_key.items()
    }
