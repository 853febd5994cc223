from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from arraypool import ArrayPool, ids, observe
from hypothesis import given, settings
from hypothesis import strategies as st

from models.acquisition import BayesAcquisition, RandomAcquisition, bayes, hypervolume, surrogate
from models.acquisition.montecarlo import MonteCarlo
from models.candidate import Candidate
from models.errors import DataError, UnknownNameError
from models.observation import Choice, Constraint, Objective
from models.roles import Acquisition

M = Objective(name="M")
COST = Objective(name="cost", direction="minimize", source="computed")
WIDTH = Objective(name="width", direction="minimize")
PHASE = Constraint(name="phase", at_least=0.5)


def alloys(n=800):
    """Magnetisation peaks beside a region where no phase forms; the cost is known."""
    X = np.random.default_rng(7).random((n, 4))
    return ArrayPool(X, {"cost": 1 + 2 * X[:, 2] + X[:, 0]})


def make(pool, row):
    x = pool.features[row]
    phase = float(1 / (1 + np.exp(-20 * (0.75 - x[0]))))
    if phase < 0.5:
        return observe(pool, row, {"phase": phase}, "failed_synthesis")
    magnet = float(2 * np.exp(-4 * ((x[0] - 0.7) ** 2 + (x[1] - 0.3) ** 2)) + 0.2 * x[3])
    return observe(pool, row, {"phase": phase, "M": magnet, "width": float(x[1] + 0.1 * x[3])})


def history(pool, n, seed=0):
    return [make(pool, int(r)) for r in np.random.default_rng(seed).choice(len(pool), n, replace=False)]


def quick(objectives=(M, COST), constraints=(PHASE,), **settings):
    return BayesAcquisition(objectives, constraints, **{"initial": 6, "shortlist": 32, "mc_samples": 32, **settings})


def campaign(acquisition, pool, budget, q, seed):
    seen = []
    while len(seen) < budget:
        for choice in acquisition.choose(pool, seen, [], q, seed=seed * 1000 + len(seen)):
            seen.append(make(pool, int(choice.candidate.id[4:])))
    return seen


def reached(pool, seen):
    cost = pool.computed("cost")
    good = [[o.values["M"], cost[int(o.candidate.id[4:])]] for o in seen if o.outcome == "measured"]
    return hypervolume(np.array(good).reshape(-1, 2), [0.0, 4.0], [1, -1])


def test_is_an_acquisition():
    assert isinstance(quick(), Acquisition)


@pytest.mark.slow
def test_beats_random_with_two_objectives_and_a_region_that_fails():
    pool = alloys()
    chosen = [reached(pool, campaign(quick(), pool, 20, 4, seed)) for seed in range(2)]
    chance = [reached(pool, campaign(RandomAcquisition(), pool, 20, 4, seed)) for seed in range(20)]
    optimum = reached(pool, [make(pool, i) for i in range(len(pool))])
    assert min(chosen) > np.quantile(chance, 0.9)
    assert optimum - min(chosen) < 0.2 * (optimum - np.mean(chance))


def test_a_narrow_early_front_does_not_hide_what_lies_beyond_its_ends():
    pool = alloys()
    cheap = [r for r in range(len(pool)) if pool.computed("cost")[r] < 1.4 and make(pool, r).outcome == "measured"]
    choices = quick().choose(pool, [*history(pool, 12), *(make(pool, r) for r in cheap[:10])], [], 4, seed=0)
    assert max(c.predicted["cost"].mean for c in choices) > 1.4


def test_one_objective_finds_the_best_candidate():
    pool = alloys(300)
    best = max(o.values["M"] for o in (make(pool, i) for i in range(300)) if o.outcome == "measured")
    seen = campaign(quick([M]), pool, 24, 3, 0)
    assert max(o.values.get("M", 0) for o in seen) > 0.97 * best


def test_starts_with_a_design_and_goes_on_with_models():
    pool = alloys()
    first = quick().choose(pool, [], [], 6, seed=1)
    assert {c.method for c in first} == {"initial-design"}
    seen = [make(pool, int(c.candidate.id[4:])) for c in first]
    assert {c.method for c in quick().choose(pool, seen[:4], [first[4].candidate], 3, seed=1)} == {
        "initial-design",
        "qLogNEHVI",
    }
    assert {c.method for c in quick().choose(pool, seen, [], 2, seed=1)} == {"qLogNEHVI"}
    assert {c.method for c in quick([M]).choose(pool, seen, [], 2, seed=1)} == {"qLogNEI"}


def test_a_design_goes_on_while_no_result_has_come():
    pool = alloys()
    pending = [pool[i] for i in range(20)]
    assert quick().choose(pool, [], pending, 1, seed=0)[0].method == "initial-design"


def test_a_design_goes_on_while_every_measurement_fails():
    pool = alloys()
    seen = [observe(pool, i, {}, "failed_measurement") for i in range(10)]
    choices = quick().choose(pool, seen, [], 3, seed=0)
    assert {c.method for c in choices} == {"initial-design"}
    assert len(set(ids(choices)) - {f"row-{i}" for i in range(10)}) == 3


def test_a_choice_explains_itself():
    pool = alloys()
    first, second = quick().choose(pool, history(pool, 15), [], 2, seed=0)
    row = int(first.candidate.id[4:])
    assert set(first.predicted) == {"M", "phase", "cost"}
    assert first.predicted["cost"].mean == pytest.approx(pool.computed("cost")[row])
    assert first.predicted["cost"].std == 0
    assert first.predicted["M"].std > 0
    assert 0 <= first.feasibility <= 1
    assert first.runner_up is not None
    assert first.runner_up[0] not in ids([first, second])
    assert first.runner_up[1] <= first.value
    assert first.model_hash
    assert first.data_hash == second.data_hash
    assert first.note == ""
    assert Choice.model_validate_json(first.model_dump_json()) == first


def test_predictions_are_in_the_units_of_the_data():
    pool = alloys()
    seen = history(pool, 60)
    scaled = [o.model_copy(update={"values": {k: 1e6 * v + 5e6 for k, v in o.values.items()}}) for o in seen]
    plain = quick([M], []).choose(pool, seen, [], 1, seed=0)[0]
    large = quick([M], []).choose(pool, scaled, [], 1, seed=0)[0]
    assert large.candidate == plain.candidate
    assert large.predicted["M"].mean == pytest.approx(1e6 * plain.predicted["M"].mean + 5e6, rel=1e-3)
    truth = make(pool, int(plain.candidate.id[4:])).values.get("M", 0)
    assert abs(plain.predicted["M"].mean - truth) < 4 * plain.predicted["M"].std


def test_equal_arguments_give_equal_choices_whatever_came_before():
    pool, acquisition = alloys(), quick()
    seen, pending = history(pool, 12), [pool[3], pool[5]]
    first = acquisition.choose(pool, seen, pending, 3, seed=5)
    torch.manual_seed(99)
    acquisition.choose(pool, seen[:7], [], 2, seed=8)
    assert acquisition.choose(pool, seen, pending, 3, seed=5) == first


def test_another_process_chooses_the_same_bytes():
    script = (
        "import test_bayes as t; pool = t.alloys();"
        "choices = t.quick().choose(pool, t.history(pool, 15), [pool[1]], 2, seed=3);"
        "print(*(c.model_dump_json() for c in choices), sep='\\n')"
    )
    here = Path(__file__).parent
    other = {"PYTHONPATH": os.pathsep.join([str(here), str(here.parents[2])]), "PYTHONHASHSEED": "7"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "2", **other}, stdout=subprocess.PIPE
    )
    pool = alloys()
    choices = quick().choose(pool, history(pool, 15), [pool[1]], 2, seed=3)
    assert {c.method for c in choices} == {"qLogNEHVI"}
    assert process.communicate(timeout=180)[0].decode().splitlines() == [c.model_dump_json() for c in choices]


def test_the_state_of_torch_is_left_as_it_was():
    pool = alloys()
    torch.manual_seed(1)
    threads, expected = torch.get_num_threads(), torch.rand(1)
    torch.manual_seed(1)
    quick().choose(pool, history(pool, 10), [], 1, seed=0)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(1), expected)


def test_pending_points_push_the_next_choice_away():
    pool = ArrayPool(np.linspace(0, 1, 201)[:, None])
    seen = [observe(pool, r, {"M": float(np.sin(9 * pool.features[r, 0]))}) for r in (0, 40, 80, 120, 160, 200)]
    first = quick([M], []).choose(pool, seen, [], 1, seed=0)[0]
    second = quick([M], []).choose(pool, seen, [first.candidate], 1, seed=0)[0]
    batch = quick([M], []).choose(pool, seen, [], 2, seed=0)
    assert abs(first.candidate.parameters["x0"] - second.candidate.parameters["x0"]) > 0.02
    assert batch[0].candidate == first.candidate
    assert abs(batch[0].candidate.parameters["x0"] - batch[1].candidate.parameters["x0"]) > 0.02


def test_what_fails_is_avoided():
    pool = alloys()
    choices = quick().choose(pool, history(pool, 40), [], 6, seed=0)
    assert all(c.feasibility > 0.3 for c in choices)
    assert sum(make(pool, int(c.candidate.id[4:])).outcome == "measured" for c in choices) >= 5


def test_a_failed_synthesis_without_a_reason_is_avoided_too():
    pool = alloys()
    seen = [o if o.outcome == "measured" else o.model_copy(update={"values": {}}) for o in history(pool, 40)]
    choices = quick(constraints=[]).choose(pool, seen, [], 4, seed=0)
    assert "synthesis_success" in choices[0].predicted
    assert sum(make(pool, int(c.candidate.id[4:])).outcome == "measured" for c in choices) >= 3


def test_while_all_fail_it_looks_for_what_works():
    pool = ArrayPool(np.random.default_rng(0).random((400, 2)))

    def synthesise(row):
        phase = float(pool.features[row].sum() / 2)
        if phase < 0.85:
            return observe(pool, row, {"phase": phase}, "failed_synthesis")
        return observe(pool, row, {"phase": phase, "M": 1.0})

    constraint = Constraint(name="phase", at_least=0.85)
    failing = [r for r in range(400) if pool.features[r].sum() < 1.2][:8]
    seen = [synthesise(r) for r in failing]
    assert quick([M], [constraint]).choose(pool, seen, [], 1, seed=0)[0].method == "feasibility-search"
    for _ in range(10):
        choice = quick([M], [constraint]).choose(pool, seen, [], 1, seed=0)[0]
        seen.append(synthesise(int(choice.candidate.id[4:])))
    assert any(o.outcome == "measured" for o in seen)


def test_computed_objectives_alone_need_no_model_of_them():
    pool = alloys()
    feasible = {i for i in range(len(pool)) if make(pool, i).outcome == "measured"}
    choice = quick([COST]).choose(pool, history(pool, 40), [], 1, seed=0)[0]
    cheapest = min(feasible, key=lambda i: pool.computed("cost")[i])
    assert choice.method == "logEI"
    assert choice.predicted["cost"].mean == pytest.approx(pool.computed("cost")[cheapest])


def test_minimizing_is_maximizing_the_negative():
    pool = alloys()
    seen = history(pool, 20)
    negated = [o.model_copy(update={"values": {**o.values, "width": -o.values.get("width", np.nan)}}) for o in seen]
    down = quick([WIDTH]).choose(pool, seen, [], 2, seed=0)
    up = quick([Objective(name="width")]).choose(pool, negated, [], 2, seed=0)
    assert ids(down) == ids(up)


def test_the_reference_point_says_what_is_of_interest():
    pool = alloys()
    seen = history(pool, 40)
    strong = M.model_copy(update={"reference": 1.5}), COST.model_copy(update={"reference": 4.0})
    cheap = M.model_copy(update={"reference": 0.0}), COST.model_copy(update={"reference": 1.3})
    first, second = (quick(objectives).choose(pool, seen, [], 1, seed=0)[0].predicted for objectives in (strong, cheap))
    assert first["M"].mean > second["M"].mean
    assert first["cost"].mean > 1.3 > second["cost"].mean


def test_three_objectives():
    pool = alloys()
    assert {c.method for c in quick([M, COST, WIDTH]).choose(pool, history(pool, 15), [], 2, seed=0)} == {"qLogNEHVI"}


def test_constraints_on_computed_quantities_hold_for_every_choice():
    pool = alloys()
    limit = Constraint(name="cost", at_most=2.0)
    for seen in ([], history(pool, 15)):
        choices = quick([M], [PHASE, limit]).choose(pool, seen, [], 5, seed=0)
        assert len(choices) == 5
        assert all(pool.computed("cost")[int(c.candidate.id[4:])] <= 2.0 for c in choices)


def test_an_exhausted_pool_gives_fewer_then_none():
    pool = alloys(20)
    seen, pending = history(pool, 12), []
    pending = [pool[i] for i in range(20) if f"row-{i}" not in {o.candidate.id for o in seen}][:3]
    rest = quick().choose(pool, seen, pending, 9, seed=0)
    assert len(set(ids(rest))) == 5
    assert quick().choose(pool, seen, pending + [c.candidate for c in rest], 2, seed=0) == []
    assert quick().choose(ArrayPool(np.empty((0, 3)), {"cost": []}), seen, [], 2, seed=0) == []
    assert quick().choose(pool, seen, [], 0, seed=0) == []


def test_an_id_listed_twice_is_chosen_once():
    X = np.random.default_rng(0).random((10, 2))
    pool = ArrayPool(np.concatenate([X, X]), ids=[f"row-{i % 10}" for i in range(20)])
    seen = [observe(pool, i, {"M": float(i)}) for i in range(6)]
    assert sorted(ids(quick([M], []).choose(pool, seen, [], 8, seed=0))) == ["row-6", "row-7", "row-8", "row-9"]


def test_identical_features_still_give_new_candidates():
    pool = ArrayPool(np.ones((300, 3)))
    seen = [observe(pool, i, {"M": float(i % 7)}) for i in range(290)]
    choices = quick([M], []).choose(pool, seen, [], 20, seed=0)
    assert sorted(ids(choices)) == [f"row-{i}" for i in range(290, 300)]
    assert not any(c.note for c in choices)


def test_a_gaussian_process_that_fails_is_a_forest_and_the_note_says_so(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("not positive definite")

    monkeypatch.setattr(surrogate.GaussianProcess, "conditioned", fail)
    pool = alloys()
    choices = quick().choose(pool, history(pool, 30), [], 2, seed=0)
    assert {c.method for c in choices} == {"logEHVI"}
    assert all("random forest" in c.note for c in choices)
    assert ids(choices) == ids(quick().choose(pool, history(pool, 30), [], 2, seed=0))


def test_monte_carlo_that_fails_leaves_the_closed_form(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("singular")

    monkeypatch.setattr(MonteCarlo, "scores", fail)
    pool = alloys()
    choices = quick().choose(pool, history(pool, 15), [], 2, seed=0)
    assert {c.method for c in choices} == {"logEHVI"}
    assert all("singular" in c.note for c in choices)


def test_models_that_fail_do_not_stop_the_lab(monkeypatch):
    def fail(*_, **__):
        raise MemoryError("too much")

    monkeypatch.setattr(bayes.Beliefs, "fit", fail)
    pool = alloys()
    choices = quick().choose(pool, history(pool, 15), [], 2, seed=0)
    assert len(choices) == 2
    assert all("MemoryError" in c.note for c in choices)


def test_closed_form_and_monte_carlo_agree_on_what_is_good(monkeypatch):
    pool = alloys()
    seen = history(pool, 30)
    chosen = quick(shortlist=64, mc_samples=256).choose(pool, seen, [], 1, seed=0)[0]
    monkeypatch.setattr(MonteCarlo, "scores", lambda *_: 1 / 0)
    ranked = quick(shortlist=64).choose(pool, seen, [], 10, seed=0)
    assert chosen.candidate.id in ids(ranked)


def test_a_pool_of_tens_of_thousands_is_not_made_to_be_searched():
    pool = alloys(30_000)
    seen = history(pool, 10)
    pool.made = 0
    quick().choose(pool, seen, [], 2, seed=0)
    assert pool.made < 200


@pytest.mark.parametrize("objectives", [[], [M, M]])
def test_senseless_objectives_are_refused(objectives):
    with pytest.raises(DataError, match="objectives"):
        BayesAcquisition(objectives, [])


def test_an_objective_that_cannot_be_computed_is_an_error():
    with pytest.raises(UnknownNameError):
        quick([COST]).choose(ArrayPool(np.zeros((3, 1))), [], [], 1, seed=0)


number = st.sampled_from([0.0, 1.0, -1.0, 0.3, 1e300, -1e300, 1e-300, 5e8, float("nan"), float("inf")])
result = st.fixed_dictionaries({}, optional={"M": number, "width": number, "phase": number, "other": number})
outcome = st.sampled_from(["measured", "measured", "failed_synthesis", "failed_measurement"])
feature = st.sampled_from([0.0, 1.0, 0.5, -3.0, 1e12, 1e300, -1e300, float("nan"), float("inf")])


@settings(max_examples=40, deadline=None)
@given(
    features=st.lists(st.lists(feature, min_size=2, max_size=2), min_size=1, max_size=12),
    results=st.lists(st.tuples(result, outcome), max_size=10),
    objectives=st.lists(st.sampled_from([M, WIDTH, COST]), min_size=1, max_size=3, unique_by=lambda o: o.name),
    constraints=st.lists(
        st.sampled_from([PHASE, Constraint(name="M", at_most=1.0), Constraint(name="other", at_least=0, at_most=1)]),
        max_size=2,
        unique_by=lambda c: c.name,
    ),
    pending=st.integers(0, 2),
    q=st.integers(1, 4),
    initial=st.integers(0, 4),
    seed=st.integers(-(2**70), 2**70),
)
def test_odd_data_never_end_a_campaign(features, results, objectives, constraints, pending, q, initial, seed):
    pool = ArrayPool(features, {"cost": np.arange(len(features), dtype=float)})
    seen = [observe(pool, i % len(pool), values, how) for i, (values, how) in enumerate(results)]
    waiting = [pool[len(pool) - 1 - i] for i in range(min(pending, len(pool)))]
    acquisition = quick(objectives, constraints, initial=initial, shortlist=4, mc_samples=8)
    choices = acquisition.choose(pool, seen, waiting, q, seed=seed)
    taken = {o.candidate.id for o in seen} | {c.id for c in waiting}
    assert len(choices) == min(q, len(pool) - len(taken))
    assert len(set(ids(choices)) - taken) == len(choices)
    assert all(np.isfinite(c.value) for c in choices)
    assert not any("models failed" in c.note for c in choices)
    assert all(json.loads(c.model_dump_json())["data_hash"] for c in choices)
    assert all(np.isfinite([p.mean, p.std]).all() for c in choices for p in c.predicted.values())


def test_candidates_of_other_spaces_may_be_observed():
    pool = alloys()
    outsider = Candidate(id="elsewhere", parameters={"x0": 0.5, "x1": 9.0, "x2": -4.0, "x3": 0.5})
    seen = [*history(pool, 10), history(pool, 1)[0].model_copy(update={"candidate": outsider})]
    assert len(quick().choose(pool, seen, [outsider], 2, seed=0)) == 2
