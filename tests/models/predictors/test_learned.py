"""Any system as the predictor of a campaign."""

from __future__ import annotations

import numpy as np
import pytest

from models.candidate import Candidate
from models.errors import NotFittedError
from models.observation import Objective, Observation
from models.predictors.learned import PropertyPredictor
from models.roles import Predictor
from tests.models.tables import ionic_target, salts

TABLE = salts(edges=False)
TARGET = ionic_target(TABLE)


def seen(rows) -> list[Observation]:
    out = []
    for i in rows:
        made = Candidate(id=f"row-{i}", composition={"".join(p): 1.0 for p in _parts(TABLE.formulas[i])})
        out.append(Observation(experiment=f"e{i}", candidate=made, values={"y": TARGET[i]}, outcome="measured"))
    return out


def _parts(formula: str) -> list[str]:
    from models.blocks.composition import parse

    return list(parse(formula))


ROWS = np.random.default_rng(0).permutation(len(TABLE))


def test_a_system_is_a_predictor_of_a_campaign():
    predictor = PropertyPredictor(objectives=[Objective(name="y")], model="melting-gp")
    assert isinstance(predictor, Predictor)
    with pytest.raises(NotFittedError):
        predictor.predict([])
    predictor.fit(seen(ROWS[:90]))
    held = seen(ROWS[90:])
    beliefs = [b["y"] for b in predictor.predict([o.candidate for o in held])]
    truth = np.array([o.values["y"] for o in held])
    mean, std = np.array([b.mean for b in beliefs]), np.array([b.std for b in beliefs])
    assert np.abs(mean - truth).mean() < 0.5 * np.abs(truth - np.median(truth)).mean()
    assert 0.75 <= np.mean(np.abs(mean - truth) <= 1.645 * std) <= 1.0


def test_equal_results_give_equal_beliefs_and_few_results_claim_little():
    predictors = [PropertyPredictor(objectives=[Objective(name="y")], model="melting-gp") for _ in range(2)]
    for predictor in predictors:
        predictor.fit(seen(ROWS[:20]))
    assert predictors[0].version() == predictors[1].version()
    predictors[0].fit(seen(ROWS[:3]))
    one, two = predictors[0].predict([o.candidate for o in seen(ROWS[50:52])])
    assert one == two
    assert one["y"].mean == pytest.approx(TARGET[ROWS[:3]].mean())
