"""Explaining a choice: what was expected of it, from which features, and what its result changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.acquisition.bayes import BayesAcquisition
from models.acquisition.crude import with_crude
from models.acquisition.reproducible import reproducible
from models.acquisition.study import Study
from models.acquisition.surrogate import GaussianProcess, Surrogate
from models.candidate import Candidate
from models.explanation import Belief, Explanation, Lesson
from models.observation import Observation, Prediction
from models.roles import Pool

_SAMPLE = 512  # rows that stand for the pool
_USUAL = 64  # of them, for the usual value of a feature


def explain(
    acquisition: BayesAcquisition,
    pool: Pool,
    observations: Sequence[Observation],
    pending: Sequence[Candidate],
    candidate: Candidate,
    *,
    seed: int,
    before: Sequence[Observation] = (),
    after: Sequence[Observation] = (),
) -> Explanation:
    """Return what the models believed about a candidate and what its result taught.

    Args:
        acquisition: whose models are asked.
        pool, observations, pending, seed: what the decision saw.
        candidate: what was chosen.
        before, after: the results up to the candidate's own, without it and with it; ``after`` empty: none yet.
    """
    pool = with_crude(pool, acquisition.knowledge.crude)
    with reproducible(acquisition.threads, seed):
        hashed = acquisition.seen(pool, observations, pending)
        then = Study.of(acquisition, pool, observations, pending, seed)
        wiser = Study.of(acquisition, pool, after, (), seed) if after else None
        lessons = {}
        if wiser is not None:
            lessons = _lessons(candidate, Study.of(acquisition, pool, before, (), seed), wiser)
        if then is None:
            return Explanation(data_hash=hashed, lessons=lessons)
        x, sample = then.points([candidate])[0], then.sample(_SAMPLE)
        beliefs = {name: _belief(then, name, x, sample, seed) for name in then.beliefs.surrogates}
        model_hash = then.beliefs.model_hash
        return Explanation(
            data_hash=hashed, model_hash=model_hash, beliefs=beliefs, lessons=lessons, note=then.beliefs.note
        )


def _belief(study: Study, name: str, x: Tensor, sample: Tensor, seed: int) -> Belief:
    surrogate, scale = study.beliefs.surrogates[name], study.beliefs.scales[name]
    std = float(surrogate.predict(x[None])[1][0])
    names = study.feature_names
    shuffled = _importance(surrogate, sample, seed)
    effects = _effects(surrogate, x, sample[:: max(1, len(sample) // _USUAL)]) * scale.factor
    return Belief(
        expected=study.beliefs.predictions(x, {})[name],
        doubt_std=std * scale.factor,
        noise_std=surrogate.noise_std * scale.factor,
        pool_doubt_std=float(surrogate.predict(sample)[1].mean()) * scale.factor,
        lengthscales=_lengthscales(surrogate, names),
        importance=_ranked(names, shuffled / max(float(shuffled.sum()), 1e-12)),
        effects=_ranked(names, effects),
    )


def _importance(surrogate: Surrogate, sample: Tensor, seed: int) -> np.ndarray:
    """Mean absolute change of the prediction when a feature is shuffled over the sample, (d,)."""
    rng, known = np.random.default_rng(seed), surrogate.predict(sample)[0]
    changes = np.zeros(sample.shape[1])
    for j in range(sample.shape[1]):
        other = sample.clone()
        other[:, j] = sample[torch.from_numpy(rng.permutation(len(sample))), j]
        changes[j] = float((surrogate.predict(other)[0] - known).abs().mean())
    return changes


def _effects(surrogate: Surrogate, x: Tensor, sample: Tensor) -> np.ndarray:
    """The prediction at a point less its mean over the sample's values of each feature, (d,)."""
    here = float(surrogate.predict(x[None])[0][0])
    effects = np.zeros(len(x))
    for j in range(len(x)):
        others = x.repeat(len(sample), 1)
        others[:, j] = sample[:, j]
        effects[j] = here - float(surrogate.predict(others)[0].mean())
    return effects


def _lengthscales(surrogate: Surrogate, names: Sequence[str]) -> dict[str, float]:
    if not isinstance(surrogate, GaussianProcess):
        return {}
    found = dict(zip(names, map(float, surrogate.lengthscale), strict=True))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _ranked(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """Largest magnitude first."""
    order = np.argsort(-np.abs(values), kind="stable")
    return {names[int(j)]: float(values[j]) for j in order}


def _lessons(candidate: Candidate, ignorant: Study | None, wiser: Study) -> dict[str, Lesson]:
    found = {}
    for name, surrogate in wiser.beliefs.surrogates.items():
        scale, sample = wiser.beliefs.scales[name], wiser.sample(_SAMPLE)
        here = wiser.points([candidate])
        after, (means, doubts) = _true_value(wiser, name, here), surrogate.predict(sample)
        before = shift = doubt = None
        if ignorant is not None and name in ignorant.beliefs.surrogates:
            earlier, its = ignorant.beliefs.surrogates[name], ignorant.beliefs.scales[name]
            before, (old, old_doubts) = _true_value(ignorant, name, here), earlier.predict(sample)
            moved = (means * scale.factor + scale.shift) - (old * its.factor + its.shift)
            shift, doubt = float(moved.abs().mean()), float(old_doubts.mean()) * its.factor
        found[name] = Lesson(
            before=before,
            after=after,
            pool_shift=shift,
            pool_doubt_before_std=doubt,
            pool_doubt_after_std=float(doubts.mean()) * scale.factor,
        )
    return found


def _true_value(study: Study, name: str, x: Tensor) -> Prediction:
    mean, std = (float(v[0]) for v in study.beliefs.surrogates[name].predict(x))
    centre, spread = study.beliefs.scales[name].mean_std(mean, std)
    return Prediction(mean=centre, std=spread)
