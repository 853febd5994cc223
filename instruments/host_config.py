"""What a host process is told: one JSON file an instrument."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from instruments.limits import Envelope
from instruments.transport import Channel, read_endpoints

HEARTBEAT_S = 2.0
"""A host that is silent for three and a half of these is not there."""


class HostConfig(BaseModel):
    """The host's file.

    Attributes:
        name: of the instrument, and of its CURVE key.
        driver: for ``instruments.registry.resolve_driver``.
        settings: keyword arguments of the driver.
        envelope: what the lab allows this instrument, whatever its driver could do; whoever asks for more is refused.
        workdir: the host's own folder: ledger, driver's files. Relative paths start at the file's folder.
        keys: folder with ``NAME.key`` and ``registry.json``.
        endpoint_file: where a local controller writes its endpoints; or
        endpoints: the addresses of a remote one, ``{"work": ..., "stop": ...}``.
        heartbeat_s: between signs of life.
        lease_s: without a controller for so long, the instrument goes to its safe state.
        linger_s: without a controller for so long, the process ends; never where it is null.
        process: of those that share a process, a common name: their ledgers are made durable together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    driver: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    envelope: Envelope = Envelope()
    workdir: Path
    keys: Path
    endpoint_file: Path | None = None
    endpoints: dict[Channel, str] | None = None
    heartbeat_s: float = Field(default=HEARTBEAT_S, gt=0)
    lease_s: float = Field(default=30.0, gt=0)
    linger_s: float | None = Field(default=600.0, ge=0)
    process: str = ""

    @classmethod
    def load(cls, path: Path) -> HostConfig:
        """Read a host's file. Raises OSError, pydantic's ValidationError."""
        config = cls.model_validate_json(path.read_text())
        here = path.absolute().parent
        return config.model_copy(update={"workdir": here / config.workdir, "keys": here / config.keys})

    @property
    def ledger(self) -> Path:
        """The instrument's ledger."""
        return self.workdir / "ledger.sqlite"

    @property
    def log(self) -> Path:
        """The log of the process; instruments that share one share it."""
        return self.workdir.parent / self.process if self.process else self.ledger.with_suffix("")

    def find(self) -> dict[Channel, str] | None:
        """Where the controller listens, as far as is known now."""
        return read_endpoints(self.endpoint_file) if self.endpoint_file else self.endpoints
