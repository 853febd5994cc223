from __future__ import annotations

import numpy as np
import pytest

from models.acquisition import BayesAcquisition
from models.observation import Constraint, Objective, Observation
from models.pool import CandidatePool
from models.roles import Condition
from models.spaces import build_space

Y = Objective(name="y")
SPACE = build_space(
    {
        "kind": "parameters",
        "parameters": {
            **{f"x{j}": {"low": 0, "high": 1} for j in range(5)},
            "n": {"type": "int", "low": 1, "high": 9},
            "gas": {"type": "categorical", "values": ["a", "b", "c"]},
        },
        "constraints": [{"expression": "x0 * x1", "at_most": 0.5}],
    }
)


def truth(p):
    bowl = sum((p[f"x{j}"] - 0.15 * (j + 2)) ** 2 for j in range(5))
    return float(-bowl - 0.01 * (p["n"] - 4) ** 2 - {"a": 0.1, "b": 0.0, "c": 0.2}[p["gas"]])


def observed(candidate, k):
    return Observation(
        experiment=f"e{k}", candidate=candidate, values={"y": truth(candidate.parameters)}, outcome="measured"
    )


def pool_of(n, seed, incumbents=()):
    pool = CandidatePool(SPACE)
    pool.absorb(SPACE.propose(n, Condition(seed=seed, incumbents=tuple(incumbents))))
    return pool


def chooser(refine, **more):
    return BayesAcquisition([Y], initial=8, shortlist=32, mc_samples=32, refine=refine, **more)


def test_the_search_finds_what_is_worth_more_than_anything_proposed():
    seen = [observed(c, k) for k, c in enumerate(SPACE.propose(25, Condition(seed=3)))]
    pool = pool_of(256, 4)
    plain, searched = (chooser(refine).choose(pool, seen, [], 1, seed=0)[0] for refine in (False, True))
    assert searched.value > plain.value + 0.1
    assert pool.position_of(searched.candidate) is None
    assert SPACE.satisfies(searched.candidate.parameters)
    assert chooser(True).choose(pool, seen, [], 1, seed=0)[0] == searched


def test_the_search_keeps_constraints_on_what_is_known():
    seen = [observed(c, k) for k, c in enumerate(SPACE.propose(20, Condition(seed=3)))]
    limit = Constraint(name="x2", at_most=0.3)
    choices = chooser(True, constraints=[limit]).choose(pool_of(256, 4), seen, [], 4, seed=0)
    assert len({c.candidate.id for c in choices}) == 4
    assert all(c.candidate.parameters["x2"] <= 0.3 for c in choices)


@pytest.mark.slow
def test_a_campaign_that_searches_ends_nearer_to_the_optimum():
    def best(refine, seed):
        seen = [observed(c, k) for k, c in enumerate(SPACE.propose(8, Condition(seed=seed)))]
        while len(seen) < 28:
            ranked = sorted(seen, key=lambda o: -o.values["y"])
            pool = pool_of(512, 100 * seed + len(seen), [o.candidate for o in ranked[:8]])
            choices = chooser(refine).choose(pool, seen, [], 1, seed=len(seen))
            seen.append(observed(choices[0].candidate, len(seen)))
        return max(o.values["y"] for o in seen)

    searched, plain = ([best(refine, seed) for seed in range(4)] for refine in (True, False))
    assert np.mean(searched) > np.mean(plain)
