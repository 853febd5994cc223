from __future__ import annotations

import numpy as np
import pytest
from arraypool import ArrayPool, ids, observe
from pydantic import ValidationError

from models.acquisition import BayesAcquisition
from models.acquisition.effort import Effort
from models.acquisition.problem import build_problem
from models.errors import DataError
from models.observation import Objective
from models.outlook import Bench, Outlook

M = Objective(name="M")


def line(n=101, **computed):
    """Two equal hills on a line, one at 0.25 and one at 0.75, and what is known of each place."""
    x = np.linspace(0, 1, n)
    return ArrayPool(x[:, None], {"x": x, **computed})


def hills(pool, rows):
    x = pool.features[:, 0]
    return [observe(pool, r, {"M": float(np.cos(4 * np.pi * (x[r] - 0.25)))}) for r in rows]


def chosen(pool, effort, outlook=None, rows=(0, 20, 30, 50, 70, 80, 100), seen=None):
    acquisition = BayesAcquisition([M], initial=3, shortlist=64, mc_samples=32, effort=effort)
    told = {} if outlook is None else {"outlook": outlook}
    return acquisition.choose(pool, seen or hills(pool, rows), [], 1, seed=0, **told)[0]


def at(choice):
    return choice.candidate.parameters["x0"]


def test_of_two_equal_hopes_the_cheaper_is_chosen():
    dear_right = {"money": {"base": 1, "per": {"x": 20}}, "per_hour": 0}
    dear_left = {"money": {"base": 21, "per": {"x": -20}}, "per_hour": 0}
    assert at(chosen(line(), dear_right)) < 0.5 < at(chosen(line(), dear_left))


def test_at_the_end_of_the_budget_prices_no_longer_matter():
    pool = line()
    dear = {"money": {"base": 1, "per": {"x": 20}}, "per_hour": 0}
    free = chosen(pool, None)
    assert ids([chosen(pool, dear, Outlook(budget_left=0.0))]) == ids([free])
    assert ids([chosen(pool, {**dear, "exponent": 0.0})]) == ids([free])


def two_ovens(pool):
    """Left of the middle a candidate needs the tube furnace, right of it the box furnace."""
    x = pool.features[:, 0]
    pool._computed["tube_h"], pool._computed["box_h"] = 4.0 * (x < 0.5), 4.0 * (x >= 0.5)
    return {"hours": {"tube": {"per": {"tube_h": 1}}, "box": {"per": {"box_h": 1}}}}


@pytest.mark.parametrize(("busy", "idle_side"), [("tube", "right"), ("box", "left")])
def test_what_an_idle_instrument_can_make_goes_first(busy, idle_side):
    pool = line()
    lab = {name: Bench(capabilities=(name,), free_in_h=20.0 if name == busy else 0.0) for name in ("tube", "box")}
    choice = chosen(pool, two_ovens(pool), Outlook(instruments=lab))
    assert (at(choice) >= 0.5) == (idle_side == "right")
    assert choice.effort["hours"] == 4.0
    assert choice.effort["waste_h"] == 0.0


def test_when_everything_is_busy_alike_nothing_is_wasted():
    pool = line()
    lab = {name: Bench(capabilities=(name,), free_in_h=20.0) for name in ("tube", "box")}
    effort = Effort.model_validate(two_ovens(pool))
    prices = effort.prices(pool, build_problem(pool, [], [], [M], []), [], Outlook(instruments=lab))
    assert prices.waste_h.tolist() == [0.0] * 101
    assert prices.price.tolist() == [4.0] * 101


def test_what_cannot_end_in_time_is_not_chosen_unless_nothing_can():
    pool = line()
    effort = {"hours": {"heat": {"base": 1, "per": {"x": 10}}}}
    assert at(chosen(pool, effort, Outlook(hours_left=4.0), rows=(0, 10, 20, 40, 90))) <= 0.3
    assert chosen(pool, effort, Outlook(hours_left=0.1)) is not None


def test_durations_are_learnt_from_the_experiments_that_were_done():
    pool = line()
    seen = [
        o.model_copy(update={"hours": {"heat": 1.0 + 9.0 * o.candidate.parameters["x0"]}})
        for o in hills(pool, range(0, 101, 10))
    ]
    problem = build_problem(pool, seen, [], [M], [])
    prices = Effort(hours={"heat": "learned"}).prices(pool, problem, seen, Outlook())
    assert prices.hours == pytest.approx(1.0 + 9.0 * pool.features[:, 0], rel=0.1)
    few = Effort(hours={"heat": "learned"}).prices(pool, problem, seen[:3], Outlook())
    assert len(set(few.hours.tolist())) == 1
    assert at(chosen(pool, {"hours": {"heat": "learned"}}, rows=(), seen=seen)) < 0.5


def test_a_campaign_that_weighs_costs_spends_less_on_the_way_to_the_best():
    rng = np.random.default_rng(5)
    X = rng.random((300, 2))
    hours = 1 + 19 * X[:, 0]
    pool = ArrayPool(X, {"hours": hours})
    value = np.exp(-12 * ((X[:, 0] - 0.25) ** 2 + (X[:, 1] - 0.6) ** 2)) + 0.6 * np.exp(-12 * (X[:, 0] - 0.9) ** 2)

    def spent(effort, seed):
        acquisition = BayesAcquisition([M], initial=4, shortlist=8, mc_samples=8, effort=effort)
        seen, total = [], 0.0
        while not seen or max(o.values["M"] for o in seen) < 0.98 * value.max():
            choice = acquisition.choose(pool, seen, [], 1, seed=10 * seed + len(seen))[0]
            row = int(choice.candidate.id[4:])
            seen.append(observe(pool, row, {"M": float(value[row])}))
            total += hours[row]
        return total

    weighed = sum(spent({"hours": {"heat": {"per": {"hours": 1}}}}, seed) for seed in range(2))
    assert weighed < 0.9 * sum(spent(None, seed) for seed in range(2))


def test_mistakes_are_named():
    with pytest.raises(ValidationError, match="moneyy"):
        Effort.model_validate({"moneyy": 1})
    by_gas = Effort.model_validate({"money": {"per": {"gas": {"air": 1.0}}}})
    pool = line()
    with pytest.raises(DataError, match="gas"):
        by_gas.prices(pool, build_problem(pool, [], [], [M], []), [], Outlook())
