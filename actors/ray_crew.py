"""The crew on Ray: one actor a role, on this machine or on a cluster. The only place that knows Ray.

Ray runs no physical action, so nothing here needs to be exactly-once: a lost actor is made again and asked again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from actors.crew import build_role, roles
from actors.errors import ComputeLost
from actors.ray_doors import LOOPBACK, check_private, private_folder, shut_cluster, shut_private
from actors.spec import ScienceSpec

_OBJECT_STORE_BYTES = 150_000_000


class RayCrew:
    """Ray actors for the roles.

    Args:
        address: of a running cluster (``auto``, ``ray://...``); ``None`` starts a private one on this machine.
        cpus: of the private cluster; ``None`` takes what the machine has.
    """

    def __init__(self, address: str | None = None, cpus: int | None = None) -> None:
        self._address, self._cpus = address, cpus
        self._actors: dict[str, Any] = {}

    @property
    def lost(self) -> tuple[type[BaseException], ...]:
        """What Ray raises when actors, raylet or the control store are gone."""
        from ray import exceptions

        return (exceptions.RayActorError, exceptions.RaySystemError, exceptions.ObjectLostError, ConnectionError)

    async def start(self, spec: ScienceSpec) -> None:
        """Connect and make one actor a role, each with the resources that its stage asks for."""
        await asyncio.to_thread(self._start, spec)

    def _start(self, spec: ScienceSpec) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if self._address is None:
            shut_private()
        else:
            shut_cluster()
        import ray

        try:
            if ray.is_initialized():
                ray.shutdown()
            if self._address is None:
                _start_private(ray, self._cpus)
            else:
                ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
            self._actors = {name: self._actor(ray, name, spec) for name in roles(spec)}
        except Exception as error:  # Ray raises a bare one where a node is slow to come up
            where = self._address or "this machine"
            raise ComputeLost(
                f"Ray on {where} could not be started: {error}. `athanor doctor` tests it; "
                "`compute: {backend: local}` in the campaign does without."
            ) from error

    @staticmethod
    def _actor(ray: Any, name: str, spec: ScienceSpec) -> Any:
        stage = spec.stage(name)
        threads = {key: str(stage.threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        remote = ray.remote(
            num_cpus=stage.cpus,
            num_gpus=stage.gpus,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": threads},
        )(RoleActor)
        return remote.remote(name, spec.model_dump_json())

    def submit(self, role: str, method: str, *arguments: Any) -> Any:
        """Call an actor; the handle is Ray's object reference, which Ray resolves where it is an argument."""
        return self._actors[role].call.remote(method, *arguments)

    async def result(self, handle: Any) -> Any:
        """Wait for a reference."""
        return await asyncio.wrap_future(handle.future())

    async def close(self) -> None:
        """Leave the cluster; a private one ends with it."""
        import ray

        await asyncio.to_thread(ray.shutdown)


def knock() -> str:
    """Start a private Ray, ask it one thing and end it; returns Ray's version. Raises ComputeLost."""
    shut_private()
    import ray

    try:
        try:
            _start_private(ray, 1)
            answer = ray.get(ray.remote(num_cpus=1, max_retries=0)(_answer).remote(), timeout=60)
        finally:
            ray.shutdown()
    except Exception as error:
        raise ComputeLost(f"Ray does not answer: {error}") from error
    if answer != _answer():
        raise ComputeLost(f"Ray answered {answer!r}")
    return ray.__version__


def _start_private(ray: Any, cpus: int | None) -> None:
    ray.init(
        address="local",  # whatever RAY_ADDRESS says
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=_OBJECT_STORE_BYTES,
        _node_ip_address=LOOPBACK,
        _temp_dir=str(private_folder() / "ray"),
    )
    check_private(ray)


def _answer() -> int:
    return 42


class RoleActor:
    """What runs in an actor's process: one role."""

    def __init__(self, name: str, spec_json: str) -> None:
        self._role = build_role(name, ScienceSpec.model_validate_json(spec_json))
        if name == "acquisition":
            from actors.sweepers import RaySweep

            self._role.spread(RaySweep())

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the role."""
        return getattr(self._role, method)(*arguments)
