"""Any system as the predictor of a campaign."""

from __future__ import annotations

import numpy as np
import pytest

from models.blocks.materials import Materials
from models.candidate import Candidate
from models.errors import NotFittedError
from models.observation import Objective, Observation
from models.pool import CandidatePool
from models.predictors.learned import PropertyPredictor
from models.predictors.pool_materials import pool_materials
from models.roles import Predictor
from models.spaces.prototype import PrototypeSpace
from models.spaces.spec import Prototype, PrototypeSpec
from tests.models.prototypes import L2_1, PEROVSKITE
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


def heuslers() -> PrototypeSpace:
    return PrototypeSpace(
        PrototypeSpec(kind="prototype", prototypes=[Prototype(**L2_1)], elements={"*": ["Co", "Mn", "Fe", "Al", "Si"]})
    )


def test_a_pool_of_decorations_becomes_materials_without_making_the_candidates():
    space = PrototypeSpace(
        PrototypeSpec(
            kind="prototype", prototypes=[Prototype(**L2_1), Prototype(**PEROVSKITE)],
            elements={"*": ["Co", "Mn", "Al", "O"]}, distinct=False,
        )
    )  # fmt: skip
    pool = CandidatePool(space)
    pool.absorb(np.arange(len(space))[::-1])
    rows = np.arange(len(pool))[::3]
    quick, slow = pool_materials(pool, rows), Materials.from_candidates([pool[int(i)] for i in rows])
    assert quick.formulas == slow.formulas and quick.flags == slow.flags
    assert np.array_equal(quick.compositions.dense(), slow.compositions.dense())
    for one, other in zip(quick.cells, slow.cells, strict=True):
        assert np.array_equal(one.numbers, other.numbers) and np.array_equal(one.frac, other.frac)
        assert one.lattice == pytest.approx(other.lattice, rel=1e-12)


@pytest.mark.slow
def test_a_screen_by_arrays_believes_what_it_would_of_each_candidate():
    space = heuslers()
    pool = CandidatePool(space)
    pool.absorb(np.arange(len(space)))
    results = [
        Observation(experiment=f"e{i}", candidate=space[i], values={"y": float(i % 7)}, outcome="measured")
        for i in range(0, len(space), 2)
    ]
    predictor = PropertyPredictor(objectives=[Objective(name="y")], model="cgat", epochs=2)
    predictor.fit(results)
    mean, std = predictor.predict_array(pool)["y"]
    slow = [b["y"] for b in predictor.predict([space[i] for i in range(len(space))])]
    assert mean == pytest.approx(np.array([b.mean for b in slow]), rel=1e-5)
    assert std == pytest.approx(np.array([b.std for b in slow]), rel=1e-5)
    mask, detail = predictor.screen(pool, results, fitted=True)
    assert mask is not None and detail["observations"] == len(results)
