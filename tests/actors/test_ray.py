"""Real Ray on this machine: the same answers as without it, and a life after its death."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psutil
import pytest

from actors import ray_crew
from actors.crew import LocalCrew
from actors.orders import Offer, Recipe
from actors.pipeline import Pipeline
from actors.ray_crew import RayCrew
from actors.spec import Component, ScienceSpec
from models.candidate import Candidate
from tests.actors.test_pipeline import DIALS, order, spec
from tests.faults.doors import listeners

# Ray leaves sockets, files and a child process of its own to the garbage collector when it is killed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def its_garbage_is_collected_here() -> Iterator[None]:
    """And not amid another test, which would fail for the warning."""
    yield
    gc.collect()


def kill_ray() -> int:
    """SIGKILL every process that Ray started; returns how many."""
    victims = [p for p in psutil.Process().children(recursive=True) if p.is_running()]
    for process in victims:
        process.kill()
    return len(victims)


def before_and_after_a_kill(given: ScienceSpec, ask: Callable[[Pipeline], Awaitable[Any]], cpus: int) -> list[Any]:
    """Two answers of one pipeline; between them every process of Ray is killed."""
    restarts: list[str] = []

    async def work() -> list[Any]:
        pipeline = Pipeline(given, RayCrew(cpus=cpus), on_restart=restarts.append)
        try:
            before = await ask(pipeline)
            found = listeners(os.getpid())
            assert len(found) > 3
            assert [door for door in found if not door.on_loopback] == []
            assert kill_ray() > 3
            return [before, await asyncio.wait_for(ask(pipeline), 400)]
        finally:
            await pipeline.close()

    answers = asyncio.run(work())
    assert len(restarts) == 1
    return answers


def test_ray_plans_as_the_local_crew_does_also_after_all_its_processes_were_killed(monkeypatch):
    monkeypatch.setattr(ray_crew, "roles", lambda spec: ["planner"])  # each actor is a process with much to load
    given = spec(DIALS, planner=Component(name="direct", settings={"capability": "heat"}))

    def ask(pipeline: Pipeline) -> Awaitable[Recipe]:
        return pipeline.plan(Candidate(id="c", parameters={"x": 0.25}), (Offer(capability="heat"),))

    local = asyncio.run(local_answer(given, ask))
    assert [step.capability for step in local.steps] == ["heat"]
    assert before_and_after_a_kill(given, ask, cpus=1) == [local, local]


@pytest.mark.slow
def test_ray_chooses_as_the_local_crew_does_also_after_all_its_processes_were_killed():
    async def ask(pipeline: Pipeline) -> Any:
        return (await pipeline.choose(order())).choices

    local = asyncio.run(local_answer(spec(), ask))
    assert before_and_after_a_kill(spec(), ask, cpus=2) == [local, local]


async def local_answer(given: ScienceSpec, ask: Callable[[Pipeline], Awaitable[Any]]) -> Any:
    pipeline = Pipeline(given, LocalCrew())
    try:
        return await ask(pipeline)
    finally:
        await pipeline.close()
