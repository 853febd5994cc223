"""What the literature does and what thermodynamics allows, in one score a route."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from models.synthesis.landscape import Landscape

DRIVEN, BARRIER, RIVAL_PER_eV, POWDER = 0.22, -0.11, 0.98, -2.18
"""Weights of thermodynamics in the logarithm of a route's odds: of the log probability that it is driven, of the log
barrier, of the strongest competitor's energy, of each further powder.

Conditional logit on 575 targets of the text-mined folds beside ``custom``; on 574 others the right set is among the
first five 86.3 % of the time instead of 84.3 % (first: 68.2 % both). Beside the learnt recommender thermodynamics adds
nothing to the order (500 targets of a fold that it had not seen: 84.8 and 97.6 % alone, 84.4 and 97.6 % with it).
"""


def custom(found: Landscape) -> np.ndarray:
    """Return how usual each set of powders is, (m,): the logarithm of the product of their shares of their elements."""
    fixed = found.reactions.fixed
    bought = np.array([p.bought for p in found.precursors], float)
    holds = np.array([[el in p.phase.atoms for el in fixed] for p in found.precursors])
    shares = np.where(holds, bought[:, None] / np.maximum(1.0, bought @ holds), np.nan)
    words = np.append(np.log(np.nanmean(shares, axis=1)), 0.0)
    return words[found.reactions.sets].sum(axis=1)


def allowed(found: Landscape) -> np.ndarray:
    """Return what thermodynamics adds to the logarithm of the odds of each reaction, (m,)."""
    driven = np.maximum(log_ndtr(-found.energy_eV_per_atom / found.std_eV_per_atom), -20.0)
    height = np.log1p(np.minimum(found.barrier_eV, 1e9))
    powders = (found.reactions.sets >= 0).sum(axis=1)
    return (
        DRIVEN * driven + BARRIER * height + RIVAL_PER_eV * found.competition.strongest_eV_per_atom + POWDER * powders
    )


def shares(words: np.ndarray) -> np.ndarray:
    """Return probabilities that sum to 1 from logarithms of odds."""
    if not len(words):
        return words
    odds = np.exp(words - words.max())
    return odds / odds.sum()
