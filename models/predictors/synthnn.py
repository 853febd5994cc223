"""Can it be made: from a formula to the probability that the compound is synthesizable."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from models.blocks.boosting import Boosting
from models.blocks.composition import ELEMENTS, Compositions, feature_names, magpie_features, parse
from models.blocks.perceptron import Perceptron
from models.blocks.trained import Stored, part, prefixed, trained
from models.errors import DataError, NotFittedError
from models.predictors.fired_compounds import FiredCompounds, fractions_of
from models.predictors.known_compounds import Compound, KnownCompounds, compound
from models.synthesis.literature import FILES, data_folder, read_recipes

POSITIVES, LABELLED, MP, COD, OXIDES = (
    "synthnn_positive_formulas.parquet", "pu_compositions.parquet", "mp_ehull_by_formula.parquet",
    "cod_formulas.parquet", "ternary_oxides_curated.parquet",
)  # fmt: skip
_VERSION = 5
_RATIO = 20
_DRAWN = 4  # generated formulas a positive that are trained on; each stands for _RATIO / _DRAWN
_MOST = 16_000  # positives that teach
_LARGEST = 8  # number of atoms of an element in a formula with random proportions
_WHOLE = 4096
_KNOWN = 0.99  # least of a compound among the positives: that it was made is a fact
_ELSEWHERE = 50.0  # times as often: a record of the COD, of a formula that was made and of one that was only calculated
_EPOCHS, _ROUNDS = 8, 100
_NETWORKS = 2  # that tell compounds from generated formulas, beside a set of trees
_SOLID_STATE, _TREES = "solid_state", "trees"
_FORMULA = 2 * ELEMENTS  # columns that only networks see, the last ones
_MEMBERS = 2  # sets of trees on ternary oxides, which are few; their mean is asked
_OXYGEN = 8
_OTHERWISE = 0.6  # how likely a ternary oxide is made that no solid-state reaction is expected to make
_PROPERTIES = (
    "mendeleev_number", "column", "row", "covalent_radius_A", "electronegativity", "electron_affinity_eV",
    "ionization_eV", "p_valence", "d_valence", "f_valence", "molar_volume_cm3", "most_common_oxidation",
)  # fmt: skip


class SynthNN:
    """Positive-unlabelled learning of synthesizability (Antoniuk et al., npj Comput. Mater. 2023).

    The paper's task and negatives: compounds with a record against artificial formulas at 20:1. Its network saw the
    formula; these, and boosted trees beside them, see too what known and calculated compounds say of it by
    substitution, and statistics of the elements. A further network tells records from the Materials Project's other
    formulas; further trees, on curated labels, ternary oxides made by solid-state reaction from those made otherwise.
    """

    citation = "10.1038/s41524-023-01114-4"
    summary = "probability that a compound can be made, from its formula"

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self._known: KnownCompounds | None = None
        self._calculated = KnownCompounds(())
        self._recorded: set[Compound] = set()
        self._fired = FiredCompounds(())
        self._models: dict[str, Boosting | Perceptron] = {}

    @classmethod
    def load(cls, folder: Path | None = None) -> SynthNN:
        """Trained on the public data (``ATHANOR_DATA``) at first use, then from the cache (``ATHANOR_CACHE``).

        Raises:
            DataError: the data are not there; the message says what to set.
        """
        folder = data_folder("synthesizability") if folder is None else folder
        if not (folder / POSITIVES).is_file():
            raise DataError(f"no {POSITIVES} in {folder}; set ATHANOR_DATA to the data folder")
        files = [folder / name for name in (POSITIVES, LABELLED, MP, COD, OXIDES) if (folder / name).is_file()]
        files += [
            folder.parent / "synthesis" / name for name in FILES if (folder.parent / "synthesis" / name).is_file()
        ]
        made = cls()

        def train() -> Stored:
            made.fit(*read_compounds(folder), read_recorded(folder), read_fired(folder), read_calculated(folder))
            return made.arrays()

        settings = {"version": _VERSION, "epochs": _EPOCHS, "rounds": _ROUNDS, "seed": made.seed}
        made.restore(*trained("synthnn", files, settings, train, minutes=3))
        return made

    def fit(
        self, positives: Sequence[Compound], unlabelled: Sequence[Compound] = (),
        oxides: Sequence[tuple[Compound, bool]] = (), recorded: Sequence[Compound] = (),
        fired: Sequence[Compound] = (), calculated: Sequence[Compound] = (),
    ) -> None:  # fmt: skip
        """Learn from compounds with a record.

        Args:
            positives: compounds that have been made.
            unlabelled: calculated compounds without a record.
            oxides: ternary oxides, and whether a solid-state reaction makes them.
            recorded: formulas that some other table lists, minerals and solid solutions among them: they are looked up,
                but teach nothing.
            fired: targets of published solid-state reactions.
            calculated: compounds without a record that someone thought worth calculating; what they say of others is
                learnt, beside what positives say.

        Raises:
            DataError: fewer than 50 positives.
        """
        positives = list(dict.fromkeys(positives))
        if len(positives) < 50:
            raise DataError(f"{len(positives)} compounds are too few to learn from")
        draw = np.random.default_rng(self.seed)
        self._known, self._models = KnownCompounds(positives), {}
        self._calculated = KnownCompounds(calculated)
        self._recorded = set(recorded)
        self._fired = FiredCompounds(fired)
        teach = [positives[i] for i in draw.permutation(len(positives))[:_MOST]]
        X = self._with_formula(teach)
        generated = self._with_formula(generate(positives, _DRAWN * len(teach), draw))
        for member in range(_NETWORKS):
            self._learn(f"generated{member}", X, generated, _RATIO / _DRAWN)
        trees = Boosting(rounds=_ROUNDS, rate=0.1, leaves=31, leaf=30, features=0.3, seed=self.seed)
        self._learn(f"generated_{_TREES}", X[:, :-_FORMULA], generated[:, :-_FORMULA], _RATIO / _DRAWN, trees)
        others = [one for one in dict.fromkeys(unlabelled) if not self.has_record(one)]
        if len(others) >= 50:
            others = [others[i] for i in draw.permutation(len(others))[:_MOST]]
            self._learn("unlabelled", X, self._with_formula(others), len(teach) / len(others))
        self.fit_oxides(oxides)

    def fit_oxides(self, oxides: Sequence[tuple[Compound, bool]]) -> None:
        """Learn anew which ternary oxides a solid-state reaction makes; below 20 of either kind teach nothing."""
        labels = np.array([made for _, made in oxides], dtype=bool)
        self._models = {name: one for name, one in self._models.items() if not name.startswith(_SOLID_STATE)}
        if 20 <= labels.sum() <= len(labels) - 20:
            compounds = [one for one, _ in oxides]
            X = self._solid_state_features(compounds, self.features(compounds))
            for member in range(_MEMBERS):
                trees = Boosting(
                    rounds=250, rate=0.03, leaves=6, leaf=12, features=0.2, ridge=5.0, seed=self.seed + member
                )
                trees.fit(X, labels)
                self._models[f"{_SOLID_STATE}{member}_{_TREES}"] = trees

    def solid_state(self, compounds: Sequence[Compound], *, look_up: bool = True) -> np.ndarray:
        """Probability (n,) that a solid-state reaction makes a ternary oxide; ``look_up``: recipes on it count."""
        X = self._solid_state_features(compounds, self.features(compounds), look_up=look_up)
        return self._odds(_SOLID_STATE, X)

    def _solid_state_features(
        self, compounds: Sequence[Compound], X: np.ndarray, *, look_up: bool = True
    ) -> np.ndarray:
        return np.concatenate([X, self._fired.features(compounds, look_up=look_up), fractions_of(compounds)], axis=1)

    def _learn(
        self, name: str, positive: np.ndarray, negative: np.ndarray, weight: float, model: Boosting | None = None
    ) -> None:
        y = np.arange(len(positive) + len(negative)) < len(positive)
        seed = self.seed + len(self._models)
        self._models[name] = model or Perceptron(hidden=(192, 96), drop=0.2, epochs=_EPOCHS, batch=256, seed=seed)
        self._models[name].fit(np.concatenate([positive, negative]), y, np.where(y, 1.0, weight))

    def _with_formula(self, compounds: Sequence[Compound], X: np.ndarray | None = None) -> np.ndarray:
        """What networks see: ``features``, the share of each element, rooted, and which are there."""
        shares = fractions_of(compounds)
        return np.concatenate([self.features(compounds) if X is None else X, np.sqrt(shares), shares > 0], axis=1)

    def features(self, compounds: Sequence[Compound]) -> np.ndarray:
        """(n, d): what known compounds say, and statistics of the elements. Raises NotFittedError."""
        if self._known is None:
            raise NotFittedError("call SynthNN.load() or fit(positives) first")
        width = max((len(one) for one in compounds), default=1)
        numbers, fractions = np.zeros((len(compounds), width), dtype=np.int64), np.zeros((len(compounds), width))
        for i, one in enumerate(compounds):
            numbers[i, : len(one)], fractions[i, : len(one)] = zip(*one, strict=True)
        fractions /= np.maximum(fractions.sum(axis=1, keepdims=True), 1e-12)
        elements = magpie_features(Compositions(numbers, fractions))[:, _columns()].astype(np.float32)
        said = [self._known.features(compounds), self._calculated.features(compounds)]
        return np.concatenate([*said, elements], axis=1)

    def predict(self, formulas: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Probability of each formula, (n,), NaN where it cannot be read; and a flag: why not, or ``has a record``.

        Raises:
            NotFittedError: neither ``fit`` nor ``load`` was called.
        """
        out, flags, rows, read = np.full(len(formulas), np.nan), [""] * len(formulas), [], []
        for i, formula in enumerate(formulas):
            try:
                read.append(compound(parse(str(formula))))
                rows.append(i)
            except DataError as error:
                flags[i] = str(error)
        for start in range(0, len(rows), _WHOLE):
            out[rows[start : start + _WHOLE]] = self.probability(read[start : start + _WHOLE])
        for i, one in zip(rows, read, strict=True):
            if self.has_record(one):
                flags[i] = "has a record"
        return out, flags

    def probability(self, compounds: Sequence[Compound], *, look_up: bool = True) -> np.ndarray:
        """Probability of each compound, (n,); ``look_up``: records count.

        One among the positives has been made, whatever was learnt. A record elsewhere multiplies the odds: formulas
        of that table may lack hydrogen or be solid solutions, and what was drawn at random meets some by chance.
        """
        X = self.features(compounds)
        seen = self._with_formula(compounds, X)
        made = self._odds("generated", seen) * self._odds("unlabelled", seen)
        if look_up and self._known is not None:
            elsewhere = np.array([one in self._recorded for one in compounds], dtype=bool)
            made = np.where(elsewhere, _ELSEWHERE * made / (1.0 + (_ELSEWHERE - 1.0) * made), made)
            made = np.where([one in self._known.compounds for one in compounds], np.maximum(made, _KNOWN), made)
        ternary = [i for i, one in enumerate(compounds) if len(one) == 3 and any(z == _OXYGEN for z, _ in one)]
        if ternary:
            Y = self._solid_state_features([compounds[i] for i in ternary], X[ternary], look_up=look_up)
            made[ternary] *= _OTHERWISE + (1 - _OTHERWISE) * self._odds(_SOLID_STATE, Y)
        return made

    def has_record(self, one: Compound) -> bool:
        """True where a compound is among the positives or the further records."""
        return one in self._recorded or (self._known is not None and one in self._known.compounds)

    def _odds(self, name: str, X: np.ndarray) -> np.ndarray:
        """Probability (n,) by the models of a name, whose mean is taken; 1 where nothing taught them."""
        odds = [model.predict(X) for found, model in self._models.items() if found.startswith(name)]
        return 1.0 / (1.0 + np.exp(-np.mean(odds, axis=0))) if odds else np.ones(len(X))

    def arrays(self) -> Stored:
        """For a checkpoint. Raises NotFittedError."""
        if self._known is None:
            raise NotFittedError("fit the model before keeping it")
        out = (
            prefixed("known", _packed(sorted(self._known.compounds)))
            | prefixed("calculated", _packed(sorted(self._calculated.compounds)))
            | prefixed("recorded", _packed(sorted(self._recorded)))
            | prefixed("fired", _packed(self._fired.compounds))
        )
        for name, model in self._models.items():
            out |= prefixed(name, model.arrays())
        return out, {"models": list(self._models)}

    def restore(self, arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
        """Take what ``arrays`` gave. Raises DataError where it does not fit."""
        try:
            self._known = KnownCompounds(_unpacked(part("known", arrays)))
            self._calculated = KnownCompounds(_unpacked(part("calculated", arrays)))
            self._recorded = set(_unpacked(part("recorded", arrays)))
            self._fired = FiredCompounds(_unpacked(part("fired", arrays)))
            self._models = {name: Boosting() if name.endswith(_TREES) else Perceptron() for name in header["models"]}
            for name, model in self._models.items():
                model.restore(part(name, arrays))
        except (KeyError, ValueError) as error:
            raise DataError(f"the stored SynthNN is damaged ({error}); delete the file and train again") from error


def _packed(compounds: Sequence[Compound]) -> dict[str, np.ndarray]:
    return {
        "length": np.array([len(one) for one in compounds], dtype=np.int16),
        "element": np.array([z for one in compounds for z, _ in one], dtype=np.int16),
        "share": np.array([share for one in compounds for _, share in one], dtype=np.float64),
    }


def _unpacked(arrays: dict[str, np.ndarray]) -> list[Compound]:
    pairs = list(zip(arrays["element"].tolist(), arrays["share"].tolist(), strict=True))
    ends = np.cumsum(arrays["length"]).tolist()
    return [tuple(pairs[a:b]) for a, b in pairwise([0, *ends])]


@cache
def _columns() -> list[int]:
    """Columns of ``magpie_features`` that are used: few enough that training takes minutes."""
    names = feature_names()
    wanted = {
        f"{prop}_{statistic}" for prop in _PROPERTIES for statistic in ("minimum", "maximum", "mean", "deviation")
    }
    last = names.index("elements")
    return [j for j, name in enumerate(names) if name in wanted or j >= last]


def generate(
    positives: Sequence[Compound], count: int, draw: np.random.Generator, *, natural: float = 0.5
) -> list[Compound]:
    """Artificial formulas: elements drawn as often as positives have them, as many as a random positive has.

    None is a positive; none has an element twice.

    Args:
        positives: compounds that have been made.
        count: how many.
        draw: source of randomness.
        natural: share with the proportions of a random positive; the others have random integers from 1 to 8.
    """
    every = np.array([z for one in positives for z, _ in one])
    known, out = set(positives), []
    while len(out) < count:
        pattern = positives[int(draw.integers(len(positives)))]
        drawn = every[draw.integers(len(every), size=len(pattern))].tolist()
        if len(set(drawn)) < len(drawn):
            continue
        shares = [share for _, share in pattern]
        if draw.random() >= natural:
            whole = draw.integers(1, _LARGEST + 1, size=len(pattern))
            shares = [round(float(x), 3) for x in whole / whole.sum()]
        made = tuple(sorted(zip(drawn, shares, strict=True)))
        if made not in known:
            out.append(made)
    return out


def read_recorded(folder: Path) -> list[Compound]:
    """Compounds of the Crystallography Open Database, in so far as the table is there."""
    import pandas as pd

    return _compounds(pd.read_parquet(folder / COD)["formula"]) if (folder / COD).is_file() else []


def read_fired(folder: Path) -> list[Compound]:
    """Targets of published solid-state reactions, where the tables of ``synthesis/`` are beside this folder."""
    recipes = folder.parent / "synthesis"
    if not any((recipes / name).is_file() for name in FILES):
        return []
    return list(dict.fromkeys(compound(dict(recipe.target)) for recipe in read_recipes(recipes)))


def read_labelled(folder: Path) -> dict[Compound, bool]:
    """Formulas of a late release of the Materials Project -> whether the ICSD has a record; none without the table."""
    import pandas as pd

    if not (folder / LABELLED).is_file():
        return {}
    table = pd.read_parquet(folder / LABELLED)
    out: dict[Compound, bool] = {}
    for formula, label in zip(table["formula"], table["label"], strict=True):
        for one in _compounds([formula]):
            out[one] = out.get(one, False) or label == "P"
    return out


def read_calculated(folder: Path) -> list[Compound]:
    """Formulas of the Materials Project, of any release whose table is there, that have no record."""
    import pandas as pd

    labelled = read_labelled(folder)
    out = [one for one, recorded in labelled.items() if not recorded]
    if (folder / MP).is_file():
        out += _compounds(pd.read_parquet(folder / MP)["formula"])
    made = {one for one, recorded in labelled.items() if recorded} | set(read_recorded(folder))
    made |= set(_compounds(pd.read_parquet(folder / POSITIVES)["formula"]))
    return [one for one in dict.fromkeys(out) if one not in made]


def read_compounds(folder: Path) -> tuple[list[Compound], list[Compound], list[tuple[Compound, bool]]]:
    """Positives, formulas of the Materials Project without a record, ternary oxides with their labels.

    Those without a record are the labelled ones, where that table is there: the table of energies is of an older
    release, which has few of them, and teaches less of them although it is ten times as long.
    """
    import pandas as pd

    labelled = read_labelled(folder)
    positives = _compounds(pd.read_parquet(folder / POSITIVES)["formula"])
    positives = list(dict.fromkeys([*positives, *(one for one, recorded in labelled.items() if recorded)]))
    calculated = read_calculated(folder)
    unlabelled = [one for one in calculated if one in labelled] or calculated
    oxides: dict[Compound, bool] = {}
    if (folder / OXIDES).is_file():
        table = pd.read_parquet(folder / OXIDES)
        answers = zip(table["composition"], table["solid_state_synthesized_composition"], strict=True)
        for formula, answer in answers:
            if answer in ("y", "n") and (found := _compounds([formula])):
                oxides[found[0]] = oxides.get(found[0], False) or answer == "y"
    return positives, unlabelled, list(oxides.items())


def _compounds(formulas: Any) -> list[Compound]:
    out = []
    for formula in formulas:
        try:
            out.append(compound(parse(str(formula))))
        except DataError:
            continue
    return out
