"""At which temperature, for how long and in which gas: distributions learnt from published firings."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from models.blocks.boosting import Boosting
from models.blocks.composition import compositions, element_numbers, element_table, magpie_features, parse
from models.blocks.trained import Stored, part, prefixed, trained
from models.errors import DataError, NotFittedError
from models.route import Interval
from models.synthesis.firings import ATMOSPHERES, Firing, groups, read_ceilings, read_firings
from models.synthesis.literature import composition, data_folder, key
from models.synthesis.precursor_library import KINDS, Precursors, encodings

_VERSION = 1
_LEVELS = (0.05, 0.95)
_KERNELS = ((2, 0.02, 2.0), (2, 0.1, 2.0), (0, 0.03, 1.0), (2, 0.005, 0.0), (1, 0.05, 4.0))
"""(encoding, width, power): a firing counts exp((s - 1) / width) times the likeness of its precursors to a power."""
_CHUNK = 256
_CALIBRATE = 4  # one target in so many calibrates the intervals
_ROUNDS = 350
_SEALED = frozenset({"S", "Se", "Te", "P", "As", "I", "Hg", "Cd", "Tl", "Zn", "K", "Na", "Rb", "Cs"})


@dataclass(frozen=True)
class Conditions:
    """What to do with the mixture.

    Attributes:
        temperature_C: highest temperature; 90 % of papers lie between low and high.
        hours: at that temperature.
        atmosphere: ``air``, ``O2``, ``N2``, ``Ar``, ``H2/N2`` or ``vacuum`` (a sealed, evacuated tube).
    """

    temperature_C: Interval
    hours: Interval
    atmosphere: str


class ConditionsModel:
    """Boosted quantiles on composition, precursors and the firings of like targets, with conformal intervals.

    No interval ends above the melting or decomposition point of the target, where that is known. What an
    oxygen-free target may not see (air, O2) is never answered for one.
    """

    citation = "10.1021/acs.chemmater.2c01293"
    summary = "temperature, time and atmosphere of a solid-state synthesis, learnt from text-mined firings"

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self._known: _Known | None = None
        self._trees: dict[str, Boosting] = {}
        self._stretch = np.zeros(2)
        self._ceilings: dict[object, float] = {}

    @classmethod
    def load(cls, folder: Path | None = None) -> ConditionsModel:
        """Trained on the public data (``ATHANOR_DATA``) at first use, then from the cache (``ATHANOR_CACHE``).

        Raises:
            DataError: the data are not there; the message says what to set.
        """
        folder = data_folder("synthesis") if folder is None else folder
        made = cls()
        melting = folder.parent / "thermo" / "melting_points_s4.parquet"
        files = [folder / "textmined_solid_state.parquet", *([melting] if melting.is_file() else [])]

        def train() -> Stored:
            made.fit(read_firings(folder), read_ceilings(folder.parent / "thermo"))
            return made.arrays()

        settings = {"version": _VERSION, "rounds": _ROUNDS, "seed": made.seed}
        made.restore(*trained("conditions", files, settings, train, minutes=3))
        return made

    def fit(self, firings: Sequence[Firing], ceilings: Mapping[object, float] | None = None) -> None:
        """Learn from firings; a target's own and its paper's others teach nothing about it.

        Raises:
            DataError: fewer than 40 firings.
        """
        if len(firings) < 40:
            raise DataError(f"{len(firings)} firings are too few to learn conditions from")
        known = _Known.of(firings)
        X = known.features([f.target for f in firings], [f.precursors for f in firings], known.own())
        truth = {"temperature": known.temperature_C, "hours": np.log(known.hours)}
        held = np.random.default_rng(self.seed).permutation(known.target.max() + 1)[known.target] % _CALIBRATE == 0
        self._ceilings = dict(ceilings or {})
        self._trees = {}
        for i, (name, y) in enumerate(truth.items()):
            told = np.isfinite(y)
            teach = told & ~held & ~np.isin(known.paper, known.paper[held])
            ends = {level: self._grow(X[teach], y[teach], level, name) for level in _LEVELS}
            low, high = (ends[level].predict(X[told & held]) for level in _LEVELS)
            miss = np.sort(np.maximum(low - y[told & held], y[told & held] - high))
            rank = int(np.ceil((len(miss) + 1) * (_LEVELS[1] - _LEVELS[0]))) - 1
            self._stretch[i] = miss[min(rank, len(miss) - 1)] if len(miss) else 0.0
            for level in (_LEVELS[0], 0.5, _LEVELS[1]):
                self._trees[f"{name}{level}"] = self._grow(X[told], y[told], level, name)
        labelled = known.gas >= 0
        for i, gas in enumerate(ATMOSPHERES):
            trees = Boosting(rounds=60, rate=0.1, leaves=8, features=0.3, seed=self.seed)
            if 0 < (known.gas == i).sum() < labelled.sum():
                trees.fit(X[labelled], (known.gas == i)[labelled])
                self._trees[gas] = trees
        self._known = known

    def _grow(self, X: np.ndarray, y: np.ndarray, level: float, name: str) -> Boosting:
        middle = level == 0.5
        rounds = _ROUNDS if name == "temperature" and middle else _ROUNDS // 3
        trees = Boosting(
            loss="absolute_error" if middle else "quantile", quantile=None if middle else level, rounds=rounds,
            rate=0.05 if middle else 0.08, leaves=24 if middle else 12, leaf=15, features=0.25, seed=self.seed,
        )  # fmt: skip
        trees.fit(X, y)
        return trees

    def predict(self, target: str, precursors: Sequence[str]) -> Conditions:
        """Return the conditions for making a formula from precursors.

        Raises:
            DataError: a formula cannot be read.
            NotFittedError: neither ``fit`` nor ``load`` was called.
        """
        return self.predict_all([target], [precursors])[0]

    def predict_all(self, targets: Sequence[str], precursors: Sequence[Sequence[str]]) -> list[Conditions]:
        """``predict`` of many at once."""
        if self._known is None:
            raise NotFittedError("call ConditionsModel.load() or fit(firings) first")
        amounts = [parse(target) for target in targets]
        for name in {p for one in precursors for p in one}:
            parse(name)
        X = self._known.features(amounts, [tuple(one) for one in precursors], None)
        out = []
        spans = [self._span(i, name, X) for i, name in enumerate(("temperature", "hours"))]
        odds = np.full((len(X), len(ATMOSPHERES)), -np.inf)
        for i, gas in enumerate(ATMOSPHERES):
            if gas in self._trees:
                odds[:, i] = self._trees[gas].predict(X)
        for row, atoms in enumerate(amounts):
            ceiling = self._ceilings.get(key(atoms.items()), np.inf)
            low, value, high = (min(float(x), ceiling) for x in spans[0][row])
            hours = [float(np.exp(x)) for x in spans[1][row]]
            out.append(
                Conditions(
                    Interval(value=value, low=low, high=high), Interval(value=hours[1], low=hours[0], high=hours[2]),
                    _atmosphere(odds[row], atoms, precursors[row]),
                )
            )  # fmt: skip
        return out

    def _span(self, i: int, name: str, X: np.ndarray) -> np.ndarray:
        """(n, 3): low, middle, high, in order."""
        low, middle, high = (self._trees[f"{name}{level}"].predict(X) for level in (_LEVELS[0], 0.5, _LEVELS[1]))
        low, high = low - self._stretch[i], high + self._stretch[i]
        return np.stack([np.minimum(low, middle), middle, np.maximum(high, middle)], axis=1)

    def arrays(self) -> Stored:
        """For a checkpoint. Raises NotFittedError."""
        if self._known is None:
            raise NotFittedError("fit the model before keeping it")
        out, header = self._known.arrays()
        for name, trees in self._trees.items():
            out |= prefixed(f"trees.{name}", trees.arrays())
        out["stretch"] = self._stretch
        ceilings = [[list(map(list, found)), value] for found, value in self._ceilings.items()]  # type: ignore[call-overload]
        return out, {**header, "trees": list(self._trees), "ceilings": ceilings}

    def restore(self, arrays: dict[str, np.ndarray], header: dict[str, object]) -> None:
        """Take what ``arrays`` gave. Raises DataError where it does not fit."""
        try:
            self._known = _Known.from_arrays(arrays, header)
            self._trees = {}
            for name in header["trees"]:  # type: ignore[attr-defined]
                self._trees[name] = Boosting()
                self._trees[name].restore(part(f"trees.{name}", arrays))
            self._stretch = arrays["stretch"]
            pairs: list = header["ceilings"]  # type: ignore[assignment]
            self._ceilings = {tuple((s, n) for s, n in found): value for found, value in pairs}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the stored conditions are damaged ({error}); delete the file and train again") from error


def _atmosphere(odds: np.ndarray, atoms: Mapping[str, float], precursors: Sequence[str]) -> str:
    """Likeliest gas that the target bears."""
    if "O" not in atoms:
        elements = [p for p in precursors if len(composition(p) or ()) == 1]
        if any(p in _SEALED for p in elements):
            return "vacuum"
        odds = np.where(np.isin(ATMOSPHERES, ("air", "O2")), -np.inf, odds)
        if not np.isfinite(odds).any():
            return "N2" if "N" in atoms else "Ar"
    return ATMOSPHERES[int(np.argmax(odds))] if np.isfinite(odds).any() else "air"


@cache
def _melting_K() -> dict[str, float]:
    """Formula -> melting point of common powders."""
    with (Path(__file__).parents[1] / "data" / "precursors.csv").open(newline="", encoding="utf-8") as stream:
        known = {row["formula"]: float(row["melting_K"]) for row in csv.DictReader(stream)}
    table, names = element_table()
    return known | {symbol: float(table[z - 1, names.index("melting_K")]) for symbol, z in element_numbers().items()}


class _Known:
    """n firings: what they were, and votes of those like a question."""

    def __init__(
        self, names: Sequence[str], fractions: np.ndarray, used: np.ndarray, temperature_C: np.ndarray,
        hours: np.ndarray, gas: np.ndarray, paper: np.ndarray, target: np.ndarray,
    ) -> None:  # fmt: skip
        self.names = tuple(names)
        self.fractions, self.used = fractions.astype(np.float32), used.astype(np.float32)
        self.temperature_C, self.hours, self.gas = temperature_C, hours, gas
        self.paper, self.target = paper, target
        self.encodings = encodings(self.fractions)
        self._place = {name: i for i, name in enumerate(self.names)}
        with np.errstate(invalid="ignore"):
            self._log_hours = np.log(hours)

    @classmethod
    def of(cls, firings: Sequence[Firing]) -> _Known:
        names = sorted({p for f in firings for p in f.precursors})
        place = {name: i for i, name in enumerate(names)}
        used = np.zeros((len(firings), len(names)), dtype=np.float32)
        for i, firing in enumerate(firings):
            used[i, [place[p] for p in firing.precursors]] = 1.0
        gas = np.array([ATMOSPHERES.index(f.atmosphere) if f.atmosphere else -1 for f in firings])
        return cls(
            names, compositions([f.target for f in firings]).dense(), used,
            np.array([f.temperature_C for f in firings]), np.array([f.hours for f in firings]), gas,
            groups([f.paper for f in firings]), groups([key(f.target.items()) for f in firings]),
        )  # fmt: skip

    def own(self) -> np.ndarray:
        """(n, 2): paper and target of each firing, to leave them out of its own votes."""
        return np.stack([self.paper, self.target], axis=1)

    def features(
        self, targets: Sequence[Mapping[str, float]], precursors: Sequence[tuple[str, ...]], own: np.ndarray | None
    ) -> np.ndarray:
        """(m, d): statistics of the elements, of the precursors, and votes of like firings."""
        given = compositions(targets)
        dense = given.dense().astype(np.float32)
        votes = np.concatenate(
            [
                self._votes(
                    dense[i : i + _CHUNK], precursors[i : i + _CHUNK], None if own is None else own[i : i + _CHUNK]
                )
                for i in range(0, len(dense), _CHUNK)
            ]
        )
        return np.concatenate([magpie_features(given), dense, _precursor_features(precursors), votes], axis=1).astype(
            np.float32
        )

    def _votes(self, dense: np.ndarray, precursors: Sequence[tuple[str, ...]], own: np.ndarray | None) -> np.ndarray:
        asked = np.zeros((len(dense), len(self.names)), dtype=np.float32)
        for i, one in enumerate(precursors):
            asked[i, [self._place[p] for p in one if p in self._place]] = 1.0
        shared = asked @ self.used.T
        sizes = np.array([len(one) for one in precursors], dtype=np.float32)[:, None]
        like = shared / np.maximum(sizes + self.used.sum(axis=1)[None] - shared, 1.0)
        cosines = [a @ b.T for a, b in zip(encodings(dense), self.encodings, strict=True)]
        usable = np.ones_like(like)
        if own is not None:
            usable = ((own[:, :1] != self.paper[None]) & (own[:, 1:] != self.target[None])).astype(np.float32)
        columns = []
        centre = float(self.temperature_C.mean())
        offset = (self.temperature_C - centre).astype(np.float32)
        told = np.isfinite(self._log_hours)
        log_hours = np.where(told, self._log_hours, 0.0).astype(np.float32)
        for j, width, power in _KERNELS:
            weight = usable * np.exp((cosines[j] - 1.0) / width) * (like**power + 1e-3)
            total = weight.sum(axis=1) + 1e-12
            mean = weight @ offset / total
            spread = np.sqrt(np.maximum(weight @ offset**2 / total - mean**2, 0.0))
            columns += [mean + centre, spread, np.log(total)]
            if power == 2.0:
                columns.append(weight @ log_hours / (weight @ told.astype(np.float32) + 1e-12))
                columns += [weight @ (self.gas == g).astype(np.float32) / total for g in range(len(ATMOSPHERES))]
        return np.stack([*columns, *((c * usable).max(axis=1) for c in cosines)], axis=1)

    def arrays(self) -> Stored:
        rows, columns = np.nonzero(self.fractions)
        arrays = {
            "row": rows.astype(np.int32), "element": columns.astype(np.int16),
            "fraction": self.fractions[rows, columns], "used": np.packbits(self.used > 0, axis=1),
            "temperature_C": self.temperature_C, "hours": self.hours, "gas": self.gas, "paper": self.paper,
            "target": self.target,
        }  # fmt: skip
        return prefixed("known", arrays), {"precursors": list(self.names)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], header: dict[str, object]) -> _Known:
        own = part("known", arrays)
        names: list[str] = header["precursors"]  # type: ignore[assignment]
        fractions = np.zeros((len(own["gas"]), len(element_numbers())), dtype=np.float32)
        fractions[own["row"], own["element"]] = own["fraction"]
        used = np.unpackbits(own["used"], axis=1, count=len(names))
        rest = [own[name] for name in ("temperature_C", "hours", "gas", "paper", "target")]
        return cls(names, fractions, used, *rest)


def _precursor_features(precursors: Sequence[tuple[str, ...]]) -> np.ndarray:
    """(m, kinds + 5): how many of each kind; in all; melting points (lowest, mean, highest), and how many are known."""
    names = sorted({p for one in precursors for p in one})
    place, described, melting = {name: i for i, name in enumerate(names)}, Precursors(names), _melting_K()
    out = np.zeros((len(precursors), len(KINDS) + 5))
    for i, one in enumerate(precursors):
        out[i, : len(KINDS)] = np.bincount(described.kind[[place[p] for p in one]], minlength=len(KINDS))
        points = [melting[p] for p in one if p in melting]
        told = [min(points), np.mean(points), max(points)] if points else [0.0, 0.0, 0.0]
        out[i, len(KINDS) :] = [len(one), *told, len(points)]
    return out
