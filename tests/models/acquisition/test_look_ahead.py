from __future__ import annotations

import numpy as np
import pytest
from arraypool import ArrayPool, observe

from models.acquisition import BayesAcquisition
from models.acquisition.look_ahead import look_ahead
from models.observation import Choice, Constraint, Objective
from models.prospects import Prospects

Y = Objective(name="y")
LOSS = Objective(name="y", direction="minimize")


def line(n=41):
    return ArrayPool(np.linspace(0, 1, n)[:, None])


def hill(x):
    return 3.0 * np.exp(-20 * (x - 0.62) ** 2)


def measured(pool, rows, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [observe(pool, r, {"y": hill(pool.features[r, 0]) + noise * rng.standard_normal()}) for r in rows]


def ask(pool, seen, *, pending=(), objective=Y, constraints=(), at_most=1, row=None, q=1):
    acquisition = BayesAcquisition([objective], list(constraints), initial=2)
    if row is None:
        choices = acquisition.choose(pool, seen, pending, q, seed=0)
    else:
        choices = [Choice(candidate=pool[row], value=0.0, method="qLogNEI")]
    return look_ahead(acquisition, pool, seen, pending, choices, seed=0, measure_at_most=at_most)


def test_the_expected_improvement_falls_as_the_optimum_is_closed_in():
    pool = line()
    few = ask(pool, measured(pool, [0, 10, 20, 30, 40]))[1]
    many = ask(pool, measured(pool, [0, 5, 10, 15, 20, 23, 24, 25, 26, 27, 30, 35, 40]))[1]
    assert few is not None and many is not None
    assert 0 <= many.expected_improvement < 0.2 * few.expected_improvement
    assert many.best in {"row-24", "row-25"}
    assert many.best_mean == pytest.approx(3.0, abs=0.1)


def test_numbers_are_in_the_objectives_unit_and_minimising_is_its_mirror():
    pool = line()
    seen = measured(pool, [0, 8, 16, 24, 32, 40], noise=0.1)
    plain = ask(pool, seen, row=28)[1]
    larger = [o.model_copy(update={"values": {"y": 5.0 - 1000 * o.values["y"]}}) for o in seen]
    scaled = ask(pool, larger, objective=LOSS, row=28)[1]
    for name in ("expected_improvement", "noise_std", "best_std"):
        assert getattr(scaled, name) == pytest.approx(1000 * getattr(plain, name), rel=1e-3)
    assert scaled.best_mean == pytest.approx(5.0 - 1000 * plain.best_mean, rel=1e-3)
    assert scaled.best == plain.best


def test_expected_improvement_agrees_with_the_closed_form_of_the_choices_own_prediction():
    from scipy.stats import norm

    pool = line()
    seen = measured(pool, [0, 8, 16, 24, 32, 40])
    choices, prospects = ask(pool, seen)
    belief = choices[0].predicted["y"]
    std = np.sqrt(belief.std**2 - prospects.noise_std**2)
    z = (belief.mean - prospects.best_mean) / std
    assert prospects.expected_improvement == pytest.approx(std * (norm.pdf(z) + z * norm.cdf(z)), rel=0.02)


def test_what_is_pending_lowers_what_there_is_to_gain():
    pool = line()
    seen = measured(pool, [0, 10, 20, 30, 40])
    alone, after = ask(pool, seen, row=25)[1], ask(pool, seen, row=25, pending=[pool[24]])[1]
    assert after.expected_improvement < alone.expected_improvement


def test_nothing_that_counts_means_no_prospects():
    pool = line()
    assert ask(pool, [], row=3)[1] is None
    failed = [observe(pool, r, {"phase": 0.1}, "failed_synthesis") for r in (1, 2, 3)]
    phase = Constraint(name="phase", at_least=0.5)
    choices, prospects = ask(pool, failed, constraints=[phase], row=3)
    assert prospects is None
    assert len(choices) == 1


def crowd():
    """A hill of twenty-one candidates, all but the poor one at its foot measured twice, with noise."""
    pool = line(21)
    return pool, measured(pool, [r for r in range(20) for _ in range(2)], noise=0.6)


def test_a_noisy_best_is_measured_again_where_exploring_promises_less():
    pool, seen = crowd()
    choices, prospects = ask(pool, seen, row=20, at_most=3)
    assert choices[0].method == "replicate"
    assert 10 <= int(choices[0].candidate.id[4:]) <= 15  # on top of the hill
    assert choices[0].runner_up[0] == "row-20"
    assert choices[0].value > choices[0].runner_up[1]
    assert "repeats e" in choices[0].note
    assert prospects.gains == (choices[0].value,)


def test_without_noise_nothing_is_repeated():
    pool = line()
    seen = measured(pool, [0, 5, 10, 15, 20, 23, 24, 25, 30, 35, 40])
    assert ask(pool, seen, at_most=5)[0][0].method != "replicate"


def test_a_candidate_is_measured_at_most_so_often_and_never_while_it_is_pending():
    pool, seen = crowd()
    every = [pool[r] for r in range(20)]
    assert ask(pool, seen, row=20, at_most=2)[0][0].method == "qLogNEI"  # all have been measured twice
    assert ask(pool, seen, row=20, at_most=3)[0][0].method == "replicate"
    assert ask(pool, seen, row=20, at_most=3, pending=every)[0][0].method == "qLogNEI"


def test_only_the_least_wanted_choice_of_a_batch_gives_way():
    pool, seen = crowd()
    pool = ArrayPool(np.append(pool.features[:, 0], [0.99, 0.98])[:, None])
    choices, prospects = ask(pool, seen, at_most=9, q=3)
    assert [c.method == "replicate" for c in choices] == [False, False, True]
    assert len({c.candidate.id for c in choices}) == len(prospects.gains) == 3


def test_equal_arguments_give_equal_answers():
    pool = line()
    seen = measured(pool, [0, 8, 16, 24, 32, 40], noise=0.5)
    assert ask(pool, seen, at_most=3) == ask(pool, seen, at_most=3)
    prospects = ask(pool, seen)[1]
    assert Prospects.model_validate_json(prospects.model_dump_json()) == prospects
