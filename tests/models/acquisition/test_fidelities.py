from __future__ import annotations

import numpy as np
import pytest
from arraypool import ArrayPool, observe

from models.acquisition import BayesAcquisition
from models.errors import DataError
from models.fidelity import Fidelity
from models.observation import Objective

M = Objective(name="M")
QUICK = Fidelity(name="quick", reading="quick_M", cost=0.1)


def branin(X):
    x, y = 15 * X[:, 0] - 5, 15 * X[:, 1]
    bowl = (y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6) ** 2
    return -(bowl + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)


POOL = ArrayPool(np.random.default_rng(0).random((400, 2)))
FULL = branin(POOL.features)
CHEAP = 0.8 * FULL + 20 * (POOL.features[:, 0] - 0.5) - 8 * POOL.features[:, 1] + 10


def done(choice, cheap=CHEAP):
    row = int(choice.candidate.id[4:])
    values = {"quick_M": float(cheap[row])} if choice.candidate.fidelity else {"M": float(FULL[row])}
    return observe(POOL, row, values).model_copy(update={"candidate": choice.candidate})


def regret(fidelities, seed, spend, cheap=CHEAP):
    """What the best full measurement lacks after spending ``spend`` full measurements' worth."""
    initial = 6 if fidelities else 4
    acquisition = BayesAcquisition([M], initial=initial, shortlist=24, mc_samples=8, fidelities=fidelities)
    seen, spent = [], 0.0
    while True:
        choice = acquisition.choose(POOL, seen, [], 1, seed=1000 * seed + len(seen))[0]
        spent += 0.1 if choice.candidate.fidelity else 1.0
        if spent > spend + 1e-9:
            return FULL.max() - max(o.values.get("M", -100.0) for o in seen)
        seen.append(done(choice, cheap))


def chooser(**settings):
    return BayesAcquisition([M], **{"initial": 6, "shortlist": 24, "mc_samples": 8, "fidelities": [QUICK], **settings})


def history(n):
    seen = []
    while len(seen) < n:
        seen.append(done(chooser().choose(POOL, seen, [], 1, seed=len(seen))[0]))
    return seen


def test_the_start_is_mostly_cheap_and_partly_full():
    fidelities = [c.candidate.fidelity for c in chooser().choose(POOL, [], [], 6, seed=0)]
    assert fidelities == ["quick", "quick", "", "quick", "quick", ""]


def test_a_candidate_is_taken_once_at_each_fidelity():
    seen = history(14)
    taken = [(o.candidate.id, o.candidate.fidelity) for o in seen]
    assert len(set(taken)) == len(taken)
    assert {fidelity for _, fidelity in taken} == {"", "quick"}


def test_a_pending_cheap_experiment_is_not_asked_for_again():
    seen = history(10)
    first = chooser().choose(POOL, seen, [], 1, seed=0)[0]
    second = chooser().choose(POOL, seen, [first.candidate], 1, seed=0)[0]
    assert (first.candidate.id, first.candidate.fidelity) != (second.candidate.id, second.candidate.fidelity)
    batch = chooser().choose(POOL, seen, [], 3, seed=0)
    assert len({(c.candidate.id, c.candidate.fidelity) for c in batch}) == 3


def test_what_costs_as_much_as_the_full_measurement_is_not_worth_it():
    seen = history(12)
    dear = QUICK.model_copy(update={"cost": 1.0})
    assert chooser(fidelities=[dear]).choose(POOL, seen, [], 1, seed=0)[0].candidate.fidelity == ""
    assert "quick_M" not in chooser().choose(POOL, seen, [], 1, seed=0)[0].predicted


@pytest.mark.slow
def test_two_fidelities_find_more_for_the_same_cost_than_one():
    graded = [regret([QUICK], seed, 14) for seed in range(5)]
    alone = [regret([], seed, 14) for seed in range(5)]
    assert np.mean(graded) < 0.7 * np.mean(alone)


@pytest.mark.parametrize(
    ("fidelities", "said"),
    [
        ([QUICK, QUICK], "a name of its own"),
        ([QUICK.model_copy(update={"of": "Q"})], "no measured objective"),
        ([QUICK.model_copy(update={"reading": "M"})], "is an objective"),
    ],
)
def test_mistakes_are_named(fidelities, said):
    with pytest.raises(DataError, match=said):
        BayesAcquisition([M], fidelities=fidelities)
