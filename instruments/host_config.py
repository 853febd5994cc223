"""What a host process is told: one JSON file an instrument."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from instruments.transport import Channel, read_endpoints


class HostConfig(BaseModel):
    """The host's file.

    Attributes:
        name: of the instrument, and of its CURVE key.
        driver: for ``instruments.registry.resolve_driver``.
        settings: keyword arguments of the driver.
        workdir: the host's own folder: ledger, driver's files.
        keys: folder with ``NAME.key`` and ``registry.json``.
        endpoint_file: where a local controller writes its endpoints; or
        endpoints: the addresses of a remote one, ``{"work": ..., "stop": ...}``.
        heartbeat_s: between signs of life.
        lease_s: without a controller for so long, the instrument goes to its safe state.
        linger_s: without a controller for so long, the process ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    driver: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    workdir: Path
    keys: Path
    endpoint_file: Path | None = None
    endpoints: dict[Channel, str] | None = None
    heartbeat_s: float = Field(default=1.0, gt=0)
    lease_s: float = Field(default=30.0, gt=0)
    linger_s: float = Field(default=600.0, ge=0)

    @property
    def ledger(self) -> Path:
        """The instrument's ledger."""
        return self.workdir / "ledger.sqlite"

    def find(self) -> dict[Channel, str] | None:
        """Where the controller listens, as far as is known now."""
        return read_endpoints(self.endpoint_file) if self.endpoint_file else self.endpoints
