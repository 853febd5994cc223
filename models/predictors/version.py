"""A version of a campaign's predictor: what was learned as plain arrays with a hash, and when a new one may serve."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.blocks import checkpoint
from models.blocks.calibration import AdaptiveFactor
from models.candidate import Candidate
from models.errors import DataError
from models.observation import Observation
from models.predictors.crude import build_model
from models.predictors.left_out import LeftOut, known
from models.predictors.members import Ensemble
from models.retraining import Retraining

if TYPE_CHECKING:
    from models.predictors.learned import PropertyPredictor


@dataclass(frozen=True)
class Version:
    """Everything that decides a prediction, without code: it can be sent, hashed and kept.

    Attributes:
        arrays: of every quantity.
        header: model, how many observations it was taught with (``taught``), and the quantities.
    """

    arrays: Mapping[str, np.ndarray]
    header: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 (16 digits) of all of it."""
        total = hashlib.sha256(json.dumps(dict(self.header), sort_keys=True).encode())
        for name, array in sorted(self.arrays.items()):
            array = np.ascontiguousarray(array)
            total.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
        return total.hexdigest()[:16]

    @property
    def taught(self) -> int:
        """How many observations the weights were taught with."""
        return int(self.header["taught"])

    @classmethod
    def of(cls, model: str, taught: int, learned: Mapping[str, LeftOut]) -> Version:
        """Take down what was learned."""
        arrays: dict[str, np.ndarray] = {}
        rows = []
        for place, (name, one) in enumerate(learned.items()):
            members = one.ensemble.members if one.ensemble is not None else []
            for k, member in enumerate(members):
                arrays |= {f"{place}/{k}/{key}": array for key, array in member.arrays().items()}
            arrays |= {f"{place}/truth": one.truth, f"{place}/mean": one.mean, f"{place}/std": one.std}
            arrays[f"{place}/scores"] = np.array(one.intervals.scores, dtype=float)
            row: dict[str, Any] = {"name": name, "prior": list(one.prior), "members": len(members)}
            rows.append({**row, "miss": one.intervals.miss, "noted": one.noted})
        return cls(arrays, {"model": model, "taught": taught, "quantities": rows})

    def restore(self, model: str) -> dict[str, LeftOut]:
        """Make the models again. Raises DataError where it is damaged or of another model."""
        if self.header.get("model") != model:
            raise DataError(f"the version is of {self.header.get('model')}, not of {model}")
        learned: dict[str, LeftOut] = {}
        try:
            for place, row in enumerate(self.header["quantities"]):
                mine = checkpoint.nested(self.arrays, str(place))
                ensemble = None
                if row["members"]:
                    ensemble = Ensemble(model, {"targets": 1}, (row["name"],))
                    for k in range(row["members"]):
                        member = build_model(model)
                        member.restore(checkpoint.nested(mine, str(k)))
                        ensemble.members.append(member)
                prior = (float(row["prior"][0]), float(row["prior"][1]))
                intervals = AdaptiveFactor(mine["scores"], miss=float(row["miss"]))
                left_out = (mine["truth"], mine["mean"], mine["std"])
                learned[row["name"]] = LeftOut(prior, ensemble, *left_out, intervals, int(row["noted"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the version is damaged ({error})") from error
        return learned

    def save(self, path: Path, more: Mapping[str, Any]) -> None:
        """Write a file, whole or not at all, with ``more`` in its header."""
        checkpoint.save(path, self.arrays, {"version": dict(self.header), "hash": self.hash, **more})

    @classmethod
    def load(cls, path: Path) -> tuple[Version, dict[str, Any]]:
        """Read what ``save`` wrote, and its header. Raises DataError where it is damaged."""
        arrays, header = checkpoint.load(path)
        version = cls(arrays, header.get("version") or {})
        if header.get("hash") != version.hash:
            raise DataError(f"{path} is damaged: its hash is {version.hash}, not {header.get('hash')}; delete it")
        return version, header


@dataclass(frozen=True)
class Verdict:
    """Whether a new version serves from now on, and why.

    Attributes:
        published: it does.
        scores: quantity -> (of the new version, of the one that served), mean continuous ranked probability score of
            the held-out results in the quantity's unit; less is better. Nothing where there was none to compare with.
        judged: how many results that is.
        reason: in words.
    """

    published: bool
    scores: dict[str, tuple[float, float]]
    judged: int
    reason: str


def retrain(
    predictor: PropertyPredictor,
    serving: PropertyPredictor | None,
    observations: Sequence[Observation],
    settings: Retraining,
    *,
    cold: bool,
) -> Verdict:
    """Teach ``predictor`` with all observations and judge it against the one that serves.

    A result is judged by the member that has never learned from it, in both versions, so the judgement is honest also
    where the result is old. The intervals of whichever serves take note of every new result.

    Args:
        predictor: fresh; is taught.
        serving: the version that serves, or ``None``; its intervals are moved.
        observations: all, those that ``serving`` was taught with first.
        settings: of the trainer.
        cold: from scratch; otherwise on from the weights that serve.
    """
    predictor.go_on(observations, None if cold else serving)
    if serving is None:
        return Verdict(True, {}, 0, "the first")
    scores: dict[str, tuple[float, float]] = {}
    judged, gained = 0, False
    for name, new in predictor.learned.items():
        candidates, y = known(observations, name)
        old = serving.learned.get(name)
        if old is None:
            gained = True
            continue
        _note_results(old, candidates, y)
        new.intervals = AdaptiveFactor(np.array(new.intervals.scores), miss=old.intervals.miss)
        if old.ensemble is None:
            gained = gained or new.ensemble is not None
            continue
        latest = slice(max(0, len(y) - settings.window), None)
        pair = [_scores(one, predictor.seed, candidates, y)[latest] for one in (new, old)]
        scores[name] = (float(pair[0].mean()), float(pair[1].mean()))
        judged = max(judged, len(pair[0]))
    if gained:
        return Verdict(True, scores, judged, "it knows a quantity that the one before did not")
    if not scores:
        return Verdict(True, {}, 0, "too few results to judge by")
    ratio = float(np.mean([new / max(old, 1e-300) for new, old in scores.values()]))
    better = ratio <= 1.0 + settings.tolerance
    return Verdict(
        better, scores, judged, f"{ratio:.3f} times the error of the one before on {judged} held-out results"
    )


def _scores(learned: LeftOut, seed: int, candidates: Sequence[Candidate], y: np.ndarray) -> np.ndarray:
    mean, std = learned.unseen(candidates, seed)
    return ranked_probability_score(y, mean, std * learned.factor)


def _note_results(serving: LeftOut, candidates: Sequence[Candidate], y: np.ndarray) -> None:
    """Move the intervals by the results that have come since, each as it was foreseen by the whole ensemble."""
    new = slice(serving.noted, len(y))
    if serving.ensemble is not None and serving.noted < len(y):
        mean, std = serving.ensemble.predict_inputs(serving.inputs(candidates[new]))
        for told in zip(y[new].tolist(), mean[:, 0].tolist(), std[:, 0].tolist(), strict=True):
            serving.intervals.update(*told)
    serving.noted = len(y)


def ranked_probability_score(truth: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of Gaussians, (n,), in the unit of the truth; less is better.

    The absolute error of one who is certain; doubt helps where it is warranted. Gneiting and Raftery, J. Am. Stat.
    Assoc. 2007, 10.1198/016214506000001437.
    """
    from scipy.special import ndtr

    std = np.maximum(std, 1e-12)
    z = (truth - mean) / std
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    return std * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / np.sqrt(np.pi))
