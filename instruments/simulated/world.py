"""The simulated matter: what each sample really is. Instruments act on it; the controller never reads it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from instruments.errors import LabError, Refused
from instruments.files import write_whole


@dataclass(frozen=True)
class Phase:
    """A crystalline part of a sample.

    Attributes:
        formula: of the phase; ``target`` is True for the one that was wanted, False for left-over elements.
        mass_fraction: 0..1 of the sample.
        lattice_A, species, frac_coords: its crystal as it really is.
        moments_muB: magnitude of each site's moment as far as it adds to the magnetisation (0 in an antiferromagnet).
    """

    formula: str
    target: bool
    mass_fraction: float
    lattice_A: list[list[float]]
    species: list[str]
    frac_coords: list[list[float]]
    moments_muB: list[float]


@dataclass(frozen=True)
class Sample:
    """One button of metal.

    Attributes:
        id: the controller's name for it.
        mass_g: what is there.
        phases: what it consists of.
        made: the outcome that the maker reported: ``status``, ``readings``, ``duration_s``, ``message``.
        history: one entry an act on it, ``{"command_id", "instrument"}``, in order. A command that truly acted twice
            stands here twice; a measurement that was merely repeated stands here once.
    """

    id: str
    mass_g: float
    phases: list[Phase]
    made: dict[str, Any]
    history: list[dict[str, str]] = field(default_factory=list)

    def acts(self, command_id: str) -> int:
        """How many times a command acted on this sample."""
        return sum(entry["command_id"] == command_id for entry in self.history)


class World:
    """A folder that the hosts of one laboratory share: one JSON file a sample, replaced atomically and durably."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._samples = self.path / "samples"
        try:
            self._samples.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(f"the world folder {self.path} cannot be made: {error}; give a writable path") from error

    def get(self, sample: str) -> Sample | None:
        """Return the sample, or ``None`` where there is none."""
        try:
            row = json.loads(self._file(sample).read_text())
        except FileNotFoundError:
            return None
        return Sample(**row | {"phases": [Phase(**phase) for phase in row["phases"]]})

    def need(self, sample: str) -> Sample:
        """Return the sample. Raises Refused where there is none: nothing lies on the stage."""
        found = self.get(sample)
        if found is None:
            raise Refused(f"there is no sample {sample!r} on the stage: make it first")
        return found

    def samples(self) -> list[str]:
        """Ids of all samples, sorted."""
        return sorted(json.loads(path.read_text())["id"] for path in self._samples.glob("*.json"))

    def put(self, sample: Sample, command_id: str, instrument: str) -> None:
        """Write what an act made of a sample, adding the act to the history of what lay there before."""
        with self._lock():
            before = self.get(sample.id)
            history = [*(before.history if before else []), {"command_id": command_id, "instrument": instrument}]
            self._write(Sample(sample.id, sample.mass_g, sample.phases, sample.made, history))

    def touch(self, sample: str, command_id: str, instrument: str) -> None:
        """Note that a measurement looked at a sample; noting it again changes nothing."""
        with self._lock():
            found = self.need(sample)
            if not found.acts(command_id):
                found.history.append({"command_id": command_id, "instrument": instrument})
                self._write(found)

    def _file(self, sample: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", sample):
            raise Refused(f"sample id {sample!r} cannot be a file name: use letters, digits, and . _ + -")
        return self._samples / f"{sample}.json"

    def _write(self, sample: Sample) -> None:
        write_whole(self._file(sample.id), json.dumps(asdict(sample)))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        # Several hosts share the folder; the kernel drops the lock of one that is killed.
        import fcntl

        with (self.path / ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
