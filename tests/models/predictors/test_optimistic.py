import numpy as np
import pytest

from models.candidate import Candidate
from models.observation import Constraint, Objective, Observation
from models.predictors.ensemble import EnsemblePredictor
from models.predictors.optimistic import optimistic_screen

RNG = np.random.default_rng(0)
GRID = RNG.random((600, 2))


class GridPool:
    """Points of the plane; ``cost`` is known for each."""

    feature_names = ("a", "b")

    def __init__(self, X):
        self.features = X

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        return Candidate(
            id=f"p-{index}", parameters={"a": float(self.features[index, 0]), "b": float(self.features[index, 1])}
        )

    def featurize(self, candidates):
        return np.array([[float(c.parameters["a"]), float(c.parameters["b"])] for c in candidates]).reshape(-1, 2)

    def computed(self, name):
        from models.errors import UnknownNameError

        if name != "cost":
            raise UnknownNameError(name)
        return self.features[:, 1]


POOL = GridPool(GRID)
STRENGTH = Objective(name="strength")
COST = Objective(name="cost", direction="minimize", source="computed")
FORMS = Constraint(name="phase", at_least=0.5)


def strength(X):
    return X[:, 0] * 2


def phase(X):
    return (X[:, 0] + X[:, 1] < 1.2).astype(float)


def observed(n, pool=POOL):
    out = []
    for i in np.random.default_rng(n).choice(len(pool), n, replace=False):
        x = pool.features[[i]]
        values = {"phase": float(phase(x)[0])}
        formed = values["phase"] > 0.5
        if formed:
            values |= {"strength": float(strength(x)[0]), "cost": float(x[0, 1])}
        outcome = "measured" if formed else "failed_synthesis"
        out.append(Observation(experiment=str(i), candidate=pool[int(i)], values=values, outcome=outcome))
    return out


def screened(observations, objectives=(STRENGTH, COST), constraints=(FORMS,), keep=20, pool=POOL):
    predictor = EnsemblePredictor(pool, objectives=objectives, constraints=constraints)
    return optimistic_screen(predictor, pool, observations, objectives, constraints, keep)


def test_what_is_worth_making_stays_and_much_else_goes():
    seen = observed(60)
    result = screened(seen)
    made = np.array([[o.values["strength"], -o.values["cost"]] for o in seen if o.outcome == "measured"])
    points = np.column_stack([strength(GRID), -GRID[:, 1]])
    beaten = np.array([(made > p).all(axis=1).any() for p in points])
    good = (phase(GRID) > 0.5) & ~beaten
    assert good.sum() > 5
    assert (good & ~result.mask).sum() <= 0.15 * good.sum()
    assert result.passed < 0.6 * len(POOL)
    assert result.infeasible + result.uninteresting >= len(POOL) - result.passed
    assert result.infeasible > 0
    assert result.uninteresting > 0


def test_the_false_negative_rate_is_a_share_of_the_observed_front():
    result = screened(observed(60))
    assert 0 <= result.false_negative_rate <= 0.5
    assert 1 <= result.judged <= 60


def test_nothing_is_dropped_before_anything_is_known():
    result = screened([])
    assert result.mask.all()
    assert np.isnan(result.false_negative_rate)


def test_at_least_keep_candidates_stay_and_never_none():
    for keep in (1, 50, 600, 10_000):
        assert screened(observed(100), keep=keep).passed >= min(keep, len(POOL))


def test_where_nothing_has_formed_yet_the_most_likely_ones_stay():
    bad = [o for o in observed(80) if o.outcome == "failed_synthesis"]
    assert len(bad) > 8
    assert screened(bad).passed >= 20


def test_a_constraint_that_nobody_has_measured_drops_nobody():
    plain, with_it = (
        screened(observed(40), constraints=c) for c in ((FORMS,), (FORMS, Constraint(name="rust", at_most=0.1)))
    )
    assert with_it.infeasible == plain.infeasible
    assert with_it.uninteresting == 0, "no observation is known to be feasible, so none beats anybody"


def test_a_constraint_on_a_computed_quantity_is_exact():
    result = screened(observed(40), objectives=(STRENGTH,), constraints=(Constraint(name="cost", at_most=0.3),), keep=1)
    assert result.mask.any()
    assert (GRID[result.mask, 1] <= 0.3).all()


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_handful_of_observations_is_no_reason_to_drop_the_pool(n):
    assert screened(observed(n)).passed > len(POOL) / 4


def test_an_empty_pool_stays_empty():
    empty = GridPool(np.zeros((0, 2)))
    predictor = EnsemblePredictor(empty, objectives=[STRENGTH])
    assert optimistic_screen(predictor, empty, observed(10), [STRENGTH], [], 5).passed == 0


def test_the_predictor_screens_by_itself_and_reports_numbers():
    predictor = EnsemblePredictor(POOL, objectives=[STRENGTH, COST], constraints=[FORMS], keep=20)
    assert predictor.screen(POOL, observed(5)) == (None, {"observations": 5.0})
    mask, detail = predictor.screen(POOL, observed(60))
    np.testing.assert_array_equal(mask, screened(observed(60)).mask)
    assert set(detail) >= {"infeasible", "uninteresting", "judged", "false_negative_rate", "trees_strength"}
    assert all(isinstance(v, float) and np.isfinite(v) for v in detail.values())
