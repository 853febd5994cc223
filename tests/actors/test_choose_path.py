"""Whatever the data are, the acquisition's role chooses, and what it did instead of the usual is written down."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

sys.path.insert(0, str(Path(__file__).parents[1] / "models" / "acquisition"))
from arraypool import ArrayPool, observe

from actors.acquisition import AcquisitionRole
from actors.orders import ChoiceAnswer, ChoiceOrder
from actors.predictor import PredictorRole
from actors.spec import Component, ScienceSpec
from models.candidate import Candidate
from models.errors import UnknownNameError
from models.observation import Constraint, Objective
from models.spaces.spec import SpaceSpec

DIALS = {"kind": "parameters", "parameters": {"x0": {"low": 0, "high": 1}}}


class Described(ArrayPool):
    """Candidates that are only names: their features, which may be anything, are descriptors from elsewhere."""

    def __getitem__(self, index):
        return Candidate(id=f"row-{index}")

    def featurize(self, candidates):
        return self.features[[int(c.id[4:]) for c in candidates]]


class Breaks:
    """An acquisition of somebody's own that does not keep its promise."""

    error: Exception = ZeroDivisionError("no variance")

    def __init__(self, **_: object) -> None: ...

    def choose(self, *_: object, **__: object) -> list:
        raise self.error


class Names(Breaks):
    error = UnknownNameError("no such quantity")


class BlindScreen:
    def __init__(self, **_: object) -> None: ...

    def fit(self, observations: object) -> None:
        raise RuntimeError("the forest burnt")

    def predict(self, candidates: object) -> list:
        return []


def spec(acquisition: str = "pareto", *, initial: int = 3, **more: object) -> ScienceSpec:
    settings = {"initial": initial, "shortlist": 4, "mc_samples": 8} if acquisition == "pareto" else {}
    return ScienceSpec(
        seed=0,
        space=TypeAdapter(SpaceSpec).validate_python(DIALS),
        base_dir=".",
        objectives=(Objective(name="y"),),
        constraints=(Constraint(name="phase", at_least=0.5),),
        acquisition=Component(name=acquisition, settings=settings),
        **more,  # type: ignore[arg-type]
    )


def choose(role: AcquisitionRole, pool: ArrayPool, seen: list, pending: list, q: int) -> ChoiceAnswer:
    role._pool = pool  # type: ignore[assignment]
    order = ChoiceOrder(decision=1, q=q, seed=7, observations=tuple(seen), pending=tuple(pending))
    return role.choose(order, (None, []))


number = st.sampled_from([0.0, 1.0, -1.0, 0.3, 1e300, -1e300, 1e-300, 5e8, float("nan"), float("inf")])
feature = st.sampled_from([0.0, 1.0, 0.5, -3.0, 1e12, -1e300, float("nan"), float("inf")])
result = st.fixed_dictionaries({}, optional={"y": number, "phase": number})
outcome = st.sampled_from(["measured", "measured", "failed_synthesis", "failed_measurement"])


@settings(max_examples=25, deadline=None)
@given(
    features=st.lists(st.lists(feature, min_size=2, max_size=2), min_size=1, max_size=12),
    results=st.lists(st.tuples(result, outcome), max_size=10),
    repeat=st.booleans(),
    pending=st.integers(0, 2),
    q=st.integers(1, 3),
    initial=st.integers(0, 4),
)
def test_odd_data_never_end_a_campaign(features, results, repeat, pending, q, initial):
    pool = Described(features)
    seen = [observe(pool, i % len(pool), values, how) for i, (values, how) in enumerate(results)]
    waiting = [pool[len(pool) - 1 - i] for i in range(min(pending, len(pool)))]
    more = {"looks_ahead": True, "measure_at_most": 3 if repeat else 1}
    answer = choose(AcquisitionRole(spec(initial=initial, **more)), pool, seen, waiting, q)
    taken = {o.candidate.id for o in seen} | {c.id for c in waiting}
    assert len(answer.choices) == min(q, len(pool) - len(taken))
    assert len({c.candidate.id for c in answer.choices}) == len(answer.choices)
    new = [c for c in answer.choices if c.method != "replicate"]
    assert not {c.candidate.id for c in new} & taken
    assert len(answer.choices) - len(new) <= (1 if repeat else 0)
    assert not any("broke" in words or "models failed" in words for words in answer.fallbacks)
    assert ChoiceAnswer.model_validate_json(answer.model_dump_json()).fallbacks == answer.fallbacks
    if answer.prospects is not None:
        assert len(answer.prospects.gains) == len(answer.choices)


@pytest.mark.parametrize(
    "values",
    [[2.0] * 8, [1.0], [0.0, 1e300, -1e300, 0.0], [1.0, float("nan"), 2.0], [1.0 + 1e-15 * k for k in range(8)]],
    ids=["constant", "one", "huge", "nan", "almost-constant"],
)
def test_hard_targets_are_modelled_all_the_same(values):
    pool = ArrayPool(np.random.default_rng(0).random((30, 3)))
    seen = [observe(pool, i, {"y": v, "phase": 1.0}) for i, v in enumerate(values)]
    answer = choose(AcquisitionRole(spec(initial=0, looks_ahead=True)), pool, seen, [], 2)
    assert len(answer.choices) == 2
    assert all(c.method in {"qLogNEI", "logEI", "initial-design"} for c in answer.choices)


def test_while_everything_is_infeasible_something_is_chosen_and_nothing_is_promised():
    pool = ArrayPool(np.random.default_rng(0).random((30, 2)))
    seen = [observe(pool, i, {"phase": 0.0}, "failed_synthesis") for i in range(8)]
    answer = choose(AcquisitionRole(spec(looks_ahead=True)), pool, seen, [], 2)
    assert len(answer.choices) == 2
    assert answer.prospects is None


def test_an_acquisition_that_breaks_is_replaced_by_chance_among_what_is_feasible_and_it_is_written_down():
    pool = ArrayPool(np.random.default_rng(0).random((30, 2)), {"phase": np.arange(30) / 30})
    seen = [observe(pool, 29, {"y": 1.0})]
    answer = choose(AcquisitionRole(spec(f"{__name__}:Breaks")), pool, seen, [pool[28]], 4)
    rows = {int(c.candidate.id[4:]) for c in answer.choices}
    assert len(rows) == 4
    assert rows <= set(range(15, 28))
    (said,) = answer.fallbacks
    assert "ZeroDivisionError: no variance" in said
    assert "at random" in said
    again = choose(AcquisitionRole(spec(f"{__name__}:Breaks")), pool, seen, [pool[28]], 4)
    assert again.choices == answer.choices


def test_what_nobody_knows_stays_an_error():
    pool = ArrayPool(np.zeros((3, 1)))
    with pytest.raises(UnknownNameError):
        choose(AcquisitionRole(spec(f"{__name__}:Names")), pool, [], [], 1)


def test_a_screen_that_breaks_lets_everything_pass_and_says_so():
    role = PredictorRole(spec(predictor=Component(name=f"{__name__}:BlindScreen")))
    role._pool = ArrayPool(np.random.default_rng(0).random((9, 1)))  # type: ignore[assignment]
    mask, reports = role.screen([observe(role._pool, i, {"y": float(i), "phase": 1.0}) for i in range(9)])
    assert mask is None
    assert "the forest burnt" in reports[-1].note


def test_prospects_that_cannot_be_worked_out_leave_the_choices(monkeypatch):
    from models.acquisition import look_ahead

    def fail(*_, **__):
        raise MemoryError("too much")

    monkeypatch.setattr(look_ahead, "look_ahead", fail)
    pool = ArrayPool(np.random.default_rng(0).random((30, 2)))
    answer = choose(AcquisitionRole(spec(looks_ahead=True)), pool, [], [], 2)
    assert len(answer.choices) == 2
    assert answer.fallbacks == ("no prospects (MemoryError: too much)",)
