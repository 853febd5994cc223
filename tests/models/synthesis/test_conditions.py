"""Temperature, time and gas, learnt from a small chemistry: zirconates are fired hotter."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import DataError, NotFittedError
from models.synthesis import conditions as module
from models.synthesis.conditions import ConditionsModel
from models.synthesis.firings import Firing, read_firings
from models.synthesis.literature import composition, key
from tests.models.synthesis.recipes import targets, write_tables


@pytest.fixture(autouse=True, scope="module")
def _few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROUNDS", 60)
        yield


def firings(seed: int = 0) -> list[Firing]:
    draw = np.random.default_rng(seed)
    out = []
    for i, (target, precursors) in enumerate(targets()):
        hot = 1350.0 if "Zr" in target else 1000.0
        gas = "O2" if "Co" in target else "air"
        out.append(
            Firing(
                dict(composition(target) or ()), precursors, hot + 40.0 * draw.normal(),
                float(np.exp(2.0 + 0.3 * draw.normal())), gas, f"10.1/{i}",
            )
        )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def model():
    made = ConditionsModel()
    made.fit(firings(), {key({"Ba": 1, "Sn": 1, "O": 3}.items()): 900.0})
    return made


def test_what_is_like_hot_targets_is_fired_hot(model):
    zirconate = model.predict("BaZr0.6Ti0.4O3", ("BaCO3", "TiO2", "ZrO2")).temperature_C
    titanate = model.predict("BaSn0.4Ti0.6O3", ("BaCO3", "SnO2", "TiO2")).temperature_C
    assert zirconate.value > titanate.value + 150
    assert zirconate.low <= zirconate.value <= zirconate.high


def test_the_intervals_hold_for_new_papers(model):
    fresh = firings(seed=7)
    told = model.predict_all(["".join(f"{e}{n:g}" for e, n in f.target.items()) for f in fresh],
                             [f.precursors for f in fresh])  # fmt: skip
    for name in ("temperature_C", "hours"):
        inside = [getattr(c, name).low <= getattr(f, name) <= getattr(c, name).high for c, f in zip(told, fresh)]
        assert 0.8 <= np.mean(inside) <= 1.0
    width = np.mean([c.temperature_C.high - c.temperature_C.low for c in told])
    assert width < 500  # the chemistry's own spread is 350


def test_nothing_is_fired_above_its_melting_point(model):
    told = model.predict("BaSnO3", ("BaCO3", "SnO2")).temperature_C
    assert told.high <= 900.0 and told.low <= told.value <= told.high


def test_the_gas_is_learnt(model):
    assert model.predict("SrCo0.5Ti0.5O3", ("Co3O4", "SrCO3", "TiO2")).atmosphere == "O2"
    assert model.predict("SrZr0.5Ti0.5O3", ("SrCO3", "TiO2", "ZrO2")).atmosphere == "air"


@pytest.mark.parametrize(
    ("target", "precursors", "gas"), [("ZnSe", ("Se", "Zn"), "vacuum"), ("TiFe", ("Fe", "Ti"), "Ar")]
)
def test_what_has_no_oxygen_sees_none(model, target, precursors, gas):
    assert model.predict(target, precursors).atmosphere == gas


def test_a_faulty_row_teaches_nothing(tmp_path):
    import pandas as pd

    folder = write_tables(tmp_path) / "synthesis"
    path = folder / "textmined_solid_state.parquet"
    table = pd.read_parquet(path)
    good = len(read_firings(folder))
    table.loc[0, "T_max_C"] = 4720.0
    table.loc[1, "precursors"] = "?;TiO2"
    table.to_parquet(path)
    assert len(read_firings(folder)) == good - 2


def test_it_trains_once_and_then_comes_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATHANOR_DATA", str(write_tables(tmp_path / "data")))
    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path / "cache"))
    asked = ("BaZr0.6Ti0.4O3", ("BaCO3", "TiO2", "ZrO2"))
    first = ConditionsModel.load().predict(*asked)
    monkeypatch.setattr(ConditionsModel, "fit", lambda *_: pytest.fail("trained again"))
    assert ConditionsModel.load().predict(*asked) == first


def test_what_is_no_formula_is_refused(model):
    with pytest.raises(DataError, match="B=O"):
        model.predict("BaTiO3", ("B=O",))


def test_before_it_has_learnt_it_says_what_to_call():
    with pytest.raises(NotFittedError, match="load"):
        ConditionsModel().predict("BaTiO3", ("BaCO3", "TiO2"))
