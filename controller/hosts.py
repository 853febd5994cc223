"""Local instrument hosts: one operating-system process an instrument, started, found again, restarted, ended.

A host outlives its controller on purpose: it finishes what it is doing and waits. Who is alive is told by the lock on
the host's ledger, which the kernel gives up with the process, never by a process id alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import instruments
from instruments.host_config import HEARTBEAT_S, HostConfig
from instruments.ledger import lock_path
from instruments.limits import Envelope
from instruments.process import ProcessIdentity, living_holder

log = logging.getLogger("athanor.hosts")

BACK_OFF_S, BACK_OFF_MAX_S = 0.5, 30.0
STEADY_S = 60.0
"""A host that has lived so long is forgiven its earlier ends."""
POLL_S = 0.02
SETTLE_S = 0.2
YOUNG_S = 0.5
"""A process that has just been started, with others in it perhaps, is still coming up."""


@dataclass(frozen=True)
class HostSpec:
    """One instrument to host on this machine: its name (and key's), driver, settings (JSON), and what it may do.

    Those with the same word as ``process`` share one; ``""``: it has its own.
    """

    name: str
    driver: str
    settings: dict[str, Any] = field(default_factory=dict)
    envelope: Envelope = field(default_factory=Envelope)
    process: str = ""


@dataclass
class _Hosted:
    config: HostConfig
    group: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    wait_s: float = BACK_OFF_S
    due: float | None = None  # when to start it again


class LocalHosts:
    """The host processes of one run directory.

    Args:
        run_dir: the hosts' files are in ``run_dir/hosts``: ``NAME.json`` (config), ``NAME.log``, ``NAME/`` (workdir).
        specs: the instruments.
        keys: folder made by ``create_lab_keys``.
        endpoint_file: the dispatcher's.
        lease_s, linger_s, heartbeat_s: see ``HostConfig``.
        on_event: called with (``host-started`` | ``host-attached`` | ``host-ended`` | ``host-killed``, name, detail).
        python: interpreter of the hosts.
    """

    def __init__(
        self,
        run_dir: Path,
        specs: Sequence[HostSpec],
        *,
        keys: Path,
        endpoint_file: Path,
        lease_s: float = 30.0,
        linger_s: float = 600.0,
        heartbeat_s: float = HEARTBEAT_S,
        on_event: Callable[[str, str, str], None] | None = None,
        python: str = sys.executable,
    ):
        self.folder = run_dir.absolute() / "hosts"
        self._on_event, self._python = on_event, python
        self._hosts = {
            spec.name: _Hosted(
                HostConfig(
                    name=spec.name,
                    driver=spec.driver,
                    settings=spec.settings,
                    envelope=spec.envelope,
                    workdir=self.folder / spec.name,
                    keys=keys.absolute(),
                    endpoint_file=endpoint_file.absolute(),
                    lease_s=lease_s,
                    linger_s=linger_s,
                    heartbeat_s=heartbeat_s,
                    process=spec.process,
                ),
                spec.process,
            )
            for spec in specs
        }

    def start(self) -> dict[str, str]:
        """Start every host that does not live yet. Returns name -> ``started``, ``attached``, or
        ``outdated`` where it lives with another configuration than ours."""
        return {name: self._start(hosted) for name, hosted in self._hosts.items()}

    def supervise(self) -> list[str]:
        """Start dead hosts again, each after a growing pause. Call about twice a second; returns who was started."""
        restarted = []
        now = time.monotonic()
        for name, hosted in self._hosts.items():
            if self._identity(hosted) is not None:
                if now - hosted.started > STEADY_S:
                    hosted.wait_s = BACK_OFF_S
                hosted.due = None
            elif hosted.due is None:
                if hosted.process is not None and hosted.process.poll() is None:
                    continue  # it is still coming up
                hosted.due = now + hosted.wait_s
                hosted.wait_s = min(2 * hosted.wait_s, BACK_OFF_MAX_S)
                code = hosted.process.returncode if hosted.process else "unknown"
                self._tell("host-ended", name, f"exit code {code}; {self._last_words(name)}")
            elif now >= hosted.due:
                hosted.due = None
                self._start(hosted)
                restarted.append(name)
        return restarted

    def pids(self) -> dict[str, int | None]:
        """Name -> process id of the living host, or None."""
        identities = {name: self._identity(hosted) for name, hosted in self._hosts.items()}
        return {name: identity.pid if identity else None for name, identity in identities.items()}

    def ledgers(self) -> dict[str, Path]:
        """Name -> the host's ledger (see ``instruments.ledger.starts``)."""
        return {name: hosted.config.ledger for name, hosted in self._hosts.items()}

    def leave(self) -> None:
        """Let the hosts live on, for the next controller to find (see ``linger_s``); this object is done with them."""
        for hosted in self._hosts.values():
            if hosted.process is not None and hosted.process.poll() is None:
                hosted.process.returncode = 0  # ours no longer: Popen must not warn about a child left behind
            hosted.process = None

    def terminate(self, *, grace_s: float = 0.0, timeout_s: float = 10.0) -> None:
        """End all hosts; none is left behind.

        Hosts that were released get ``grace_s`` to finish what they run. Then SIGTERM: the driver is stopped, what
        came of the running command is recorded. What lives after ``timeout_s`` more is killed.
        """
        self._wait(grace_s)
        self._signal(signal.SIGTERM)
        self._wait(timeout_s)
        for name in self._signal(signal.SIGKILL):
            self._tell("host-killed", name, f"it did not end in {timeout_s:g} s; {self._last_words(name)}")
        self._wait(5.0)
        for hosted in self._hosts.values():
            if hosted.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    hosted.process.wait(1.0)  # it may be dead and not yet reaped

    def wait_for_end(self, names: Iterable[str], timeout_s: float) -> list[str]:
        """Wait until these hosts have ended by themselves; returns those that have not."""
        deadline = time.monotonic() + timeout_s
        while left := [name for name in names if self._identity(self._hosts[name]) is not None]:
            if time.monotonic() >= deadline:
                return left
            time.sleep(POLL_S)
        return []

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._living() and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _signal(self, number: signal.Signals) -> list[str]:
        living = self._living()
        for identity in living.values():
            if identity.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(identity.pid, number)
        return list(living)

    def _living(self) -> dict[str, ProcessIdentity]:
        """Everything that lives, holding its ledger or still coming up."""
        living = {}
        for name, hosted in self._hosts.items():
            identity = self._identity(hosted)
            if identity is None and hosted.process is not None and hosted.process.poll() is None:
                identity = ProcessIdentity.of(hosted.process.pid)
            if identity is not None:
                living[name] = identity
        return living

    def _identity(self, hosted: _Hosted) -> ProcessIdentity | None:
        if hosted.process is not None:
            hosted.process.poll()  # do not leave a zombie
        return living_holder(lock_path(hosted.config.ledger))

    def _start(self, hosted: _Hosted) -> str:
        name, config = hosted.config.name, hosted.config
        identity = self._identity(hosted)
        young = time.monotonic() - hosted.started < YOUNG_S
        hosted.started = time.monotonic()
        if identity is not None:
            self._tell("host-attached", name, f"process {identity.pid} was alive")
            return "attached" if self._is_current(config) else "outdated"
        if hosted.process is not None:
            try:
                hosted.process.wait(0.0 if young else SETTLE_S)  # killed, it gives up its ledger before it is gone
            except subprocess.TimeoutExpired:
                return "started"  # it is still coming up
        together = [one for one in self._hosts.values() if hosted.group and one.group == hosted.group] or [hosted]
        for one in together:
            one.config.workdir.mkdir(parents=True, exist_ok=True)
            self._file(one.config.name).write_text(one.config.model_dump_json(indent=1))
        root = str(Path(instruments.__file__).absolute().parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        files = [str(self._file(one.config.name)) for one in together]
        with self._log(hosted).open("ab") as out:
            process = subprocess.Popen(
                [self._python, "-m", "instruments.host", "--config", *files],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # Ctrl-C at the controller must not reach an instrument amid an act
            )
        for one in together:
            one.process, one.started, one.due = process, hosted.started, None
            self._tell("host-started", one.config.name, f"process {process.pid}")
        return "started"

    def _is_current(self, config: HostConfig) -> bool:
        try:
            return self._file(config.name).read_text() == config.model_dump_json(indent=1)
        except OSError:
            return False

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _log(self, hosted: _Hosted) -> Path:
        return self.folder / f"{hosted.group or hosted.config.name}.log"

    def _last_words(self, name: str) -> str:
        path = self._log(self._hosts[name])
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2_000))
            lines = file.read().decode(errors="replace").strip().splitlines()
            if lines:
                return f"{path} ends with: {lines[-1][:500]}"
        return f"see {path}"

    def _tell(self, kind: str, name: str, detail: str) -> None:
        log.info("%s %s: %s", kind, name, detail)
        if self._on_event is not None:
            self._on_event(kind, name, detail)
