"""The trainer: versions follow from the results alone, are made again where they are lost, and serve if good."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.crew import LocalCrew, roles
from actors.orders import ChoiceAnswer, ChoiceOrder, TrainingOrder, TrainingReport
from actors.pipeline import Pipeline
from actors.spec import Component, ScienceSpec
from models.observation import Objective
from models.retraining import Retraining
from models.spaces.spec import parse_space
from tests.models.predictors.small_models import NAME, TABLE, TARGET, seen


def spec(folder: Path, model: str = "Linear", *, kept: bool = False, **trainer: Any) -> ScienceSpec:
    """A table of salts; ``kept``: versions are kept in the folder."""
    formulas = [formula.replace("NaN", "Na1N1") for formula in TABLE.formulas]  # no gap, a nitride
    lines = ["formula,y", *(f"{f},{y}" for f, y in zip(formulas, TARGET.tolist(), strict=True))]
    (folder / "salts.csv").write_text("\n".join(lines) + "\n")
    space = {"kind": "table", "file": "salts.csv", "parameters": ["formula"], "composition": "formula"}
    return ScienceSpec(
        seed=1,
        space=parse_space(space),
        base_dir=str(folder),
        objectives=(Objective(name="y"),),
        acquisition=Component(name="random"),
        predictor=Component(name="property", settings={"model": f"{NAME}:{model}", "keep": 20}),
        trainer=Retraining(**trainer),
        versions_dir=str(folder / "models") if kept else "",
    )


def ask(given: ScienceSpec, work: Callable[[Pipeline], Awaitable[Any]], crew: Any = None) -> Any:
    async def run() -> Any:
        pipeline = Pipeline(given, crew or LocalCrew())
        try:
            return await work(pipeline)
        finally:
            await pipeline.close()

    return asyncio.run(run())


def train(given: ScienceSpec, *numbers: int) -> list[TrainingReport]:
    async def work(pipeline: Pipeline) -> list[TrainingReport]:
        return [await pipeline.train(TrainingOrder(observations=seen(n))) for n in numbers]

    return ask(given, work)


def choose(given: ScienceSpec, n: int, trained_on: int, model: str) -> ChoiceAnswer:
    order = ChoiceOrder(
        decision=1, q=2, seed=5, observations=seen(n), pending=(), trained_on=trained_on, model=model
    )  # fmt: skip
    return ask(given, lambda pipeline: pipeline.choose(order))


def same(report: TrainingReport) -> dict[str, Any]:
    return report.model_dump(exclude={"seconds"})


def test_only_a_campaign_with_a_trainer_has_one(tmp_path):
    given = spec(tmp_path)
    assert "trainer" in roles(given)
    assert "trainer" not in roles(given.model_copy(update={"trainer": None}))


def test_versions_follow_from_the_results_alone_wherever_the_chain_is_taken_up(tmp_path):
    one_by_one = train(spec(tmp_path, cold_every=4), *range(1, 16))
    at_once = train(spec(tmp_path, cold_every=4), 15)
    assert same(one_by_one[-1]) == same(at_once[0])
    assert [r.cold for r in one_by_one] == [k % 4 == 0 for k in range(15)]
    assert len({r.candidate for r in one_by_one}) == 15


def test_a_lost_trainer_takes_its_versions_from_the_runs_folder_and_trains_none_again(tmp_path):
    given = spec(tmp_path, kept=True)
    first = train(given, *range(1, 13))
    files = sorted((tmp_path / "models").glob("*.npz"))
    assert len(files) == 8, "not more than it needs"
    broken = given.model_copy(update={"predictor": None})  # whatever is trained now, breaks
    (again,) = train(given, 12)
    assert again == first[-1]
    assert train(broken, 12)[0].reason.startswith("the training on 12 results broke")


def test_a_damaged_file_is_made_again(tmp_path):
    given = spec(tmp_path, kept=True)
    first = train(given, *range(1, 13))
    for file in (tmp_path / "models").glob("*.npz"):
        file.write_bytes(file.read_bytes()[:-100])
    assert same(train(given, 12)[0]) == same(first[-1])


def test_a_model_that_is_worse_on_held_out_results_is_not_published(tmp_path):
    reports = train(spec(tmp_path, "Fickle"), *range(10, 21))
    worse = [r for r in reports if not r.published]
    assert len(worse) >= 3
    assert all(r.candidate != r.serving for r in worse)
    new, old = worse[-1].scores["y"]
    assert new > old
    published = [r for r in reports if r.published]
    assert published
    assert all(r.candidate == r.serving for r in published)


def test_a_training_that_breaks_leaves_the_version_that_serves(tmp_path):
    *_, last, broken = train(spec(tmp_path, "Breaking"), *range(1, 14))
    assert not broken.published
    assert "too much for it" in broken.reason
    assert broken.serving == last.serving != ""


def test_a_decision_screens_with_the_version_that_it_names(tmp_path):
    given = spec(tmp_path)
    reports = {r.n_observations: r for r in train(given, *range(10, 16))}
    answer = choose(given, 15, 14, reports[14].serving)
    stage = next(stage for stage in answer.stages if stage.stage == "ensemble")
    assert stage.model == reports[14].serving
    assert stage.passed < stage.taken
    assert 0.0 <= stage.detail["false_negative_rate"] <= 1.0
    assert answer.fallbacks == ()
    other = choose(given, 15, 14, "0123456789abcdef")
    assert other.choices == answer.choices
    assert "made again" in other.fallbacks[0]
    nothing = choose(given, 2, 0, "")
    assert next(stage for stage in nothing.stages if stage.stage == "ensemble").passed == len(TABLE)


def test_a_choice_that_names_an_old_version_is_the_same_after_newer_ones(tmp_path):
    given = spec(tmp_path)
    (report,) = train(given, 12)
    order = ChoiceOrder(
        decision=1, q=2, seed=5, observations=seen(13), pending=(), trained_on=12, model=report.serving
    )  # fmt: skip

    async def work(pipeline: Pipeline) -> ChoiceAnswer:
        for n in range(12, 30):
            await pipeline.train(TrainingOrder(observations=seen(n)))
        return await pipeline.choose(order)

    assert ask(given, work).choices == choose(given, 13, 12, report.serving).choices


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_trainer_killed_amid_a_training_makes_the_same_version_in_its_next_life(tmp_path):
    from actors.ray_crew import RayCrew
    from tests.actors.test_ray import kill_ray

    given, restarts = spec(tmp_path, kept=True), []
    given = given.model_copy(
        update={"predictor": Component(name="property", settings={"model": "magnetisation", "epochs": 40})}
    )

    async def work() -> TrainingReport:
        pipeline = Pipeline(given, RayCrew(cpus=2), on_restart=restarts.append)
        try:
            await pipeline.train(TrainingOrder(observations=seen(8)))
            training = asyncio.ensure_future(pipeline.train(TrainingOrder(observations=seen(12))))
            await asyncio.sleep(0.3)
            assert not training.done()
            assert kill_ray() > 4
            return await asyncio.wait_for(training, 400)
        finally:
            await pipeline.close()

    report = asyncio.run(work())
    gc.collect()  # what a killed Ray leaves, not amid another test
    assert len(restarts) == 1
    (local,) = train(given.model_copy(update={"versions_dir": ""}), 12)
    assert same(report) == same(local)
