"""Who carries out a role's calls: a crew of Ray actors, or one thread in this process."""

from __future__ import annotations

import asyncio
import importlib
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from actors.spec import ScienceSpec

ROLES = {
    "generator": "actors.generator:GeneratorRole",
    "predictor": "actors.predictor:PredictorRole",
    "acquisition": "actors.acquisition:AcquisitionRole",
    "planner": "actors.planner:PlannerRole",
    "trainer": "actors.trainer:TrainerRole",
}


class Crew(Protocol):
    """Runs methods of roles. A handle stands for a result that may not be there yet and may be an argument."""

    async def start(self, spec: ScienceSpec) -> None:
        """Build the roles (again). Raises ComputeLost."""
        ...

    def submit(self, role: str, method: str, *arguments: Any) -> Any:
        """Begin a call and return its handle; calls of one role run in the order of submission."""
        ...

    async def result(self, handle: Any) -> Any:
        """Wait for a handle. Raises what the method raised, or one of ``lost`` where the crew died."""
        ...

    @property
    def lost(self) -> tuple[type[BaseException], ...]:
        """Exceptions that mean that the crew died, not that a call was wrong."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


def roles(spec: ScienceSpec) -> list[str]:
    """The roles that a campaign needs."""
    return [name for name in ROLES if name != "trainer" or spec.trainer is not None]


def build_role(name: str, spec: ScienceSpec) -> Any:
    """Make a role, and hold its libraries to the threads that the campaign allows.

    Two processes with two threads each on two cores ran twenty times slower. What does not use torch does not load it.
    """
    module, _, attribute = ROLES[name].partition(":")
    role = getattr(importlib.import_module(module), attribute)(spec)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(spec.stage(name).threads)
    return role


class LocalCrew:
    """All roles in one worker thread of this process: starts at once, for small campaigns, tests and replays."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="science")
        self._roles: dict[str, Any] = {}
        self._spec: ScienceSpec | None = None

    @property
    def lost(self) -> tuple[type[BaseException], ...]:
        """A thread does not die alone."""
        return ()

    async def start(self, spec: ScienceSpec) -> None:
        """Remember what to build; roles are built at their first call."""
        self._spec, self._roles = spec, {}

    def submit(self, role: str, method: str, *arguments: Any) -> Future[Any]:
        """Queue a call on the one thread."""
        return self._executor.submit(self._call, role, method, arguments)

    def _call(self, role: str, method: str, arguments: tuple[Any, ...]) -> Any:
        if role not in self._roles:
            if self._spec is None:
                raise RuntimeError("start the crew first")
            self._roles[role] = build_role(role, self._spec)
        # One thread runs in order, so a handle among the arguments is done by now.
        given = [a.result() if isinstance(a, Future) else a for a in arguments]
        return getattr(self._roles[role], method)(*given)

    async def result(self, handle: Future[Any]) -> Any:
        """Wait without blocking the event loop."""
        return await asyncio.wrap_future(handle)

    async def close(self) -> None:
        """End the thread; what is queued is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)
