"""Real Ray on this machine: the same answers as without it, and a life after its death."""

from __future__ import annotations

import asyncio
import os

import psutil
import pytest

from actors.crew import LocalCrew
from actors.pipeline import Pipeline
from actors.ray_crew import RayCrew
from tests.actors.test_pipeline import choose, order, spec
from tests.faults.doors import listeners

# Ray leaves sockets, files and a child process of its own to the garbage collector when it is killed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def kill_ray() -> int:
    """SIGKILL every process that Ray started; returns how many."""
    victims = [p for p in psutil.Process().children(recursive=True) if p.is_running()]
    for process in victims:
        process.kill()
    return len(victims)


def test_ray_answers_as_the_local_crew_does_also_after_all_its_processes_were_killed():
    restarts: list[str] = []

    async def work() -> tuple:
        pipeline = Pipeline(spec(), RayCrew(cpus=2), on_restart=restarts.append)
        try:
            before = await pipeline.choose(order())
            found = listeners(os.getpid())
            assert len(found) > 4
            assert [door for door in found if not door.on_loopback] == []
            assert kill_ray() > 4
            after = await asyncio.wait_for(pipeline.choose(order()), 400)
            return before.choices, after.choices
        finally:
            await pipeline.close()

    before, after = asyncio.run(work())
    (local,) = choose(order(), crew=LocalCrew())
    assert before == after == local.choices
    assert len(restarts) == 1
