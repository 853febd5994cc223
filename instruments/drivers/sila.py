"""A device behind a SiLA 2 server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruments.driver import Job, Outcome, Progress
from instruments.drivers.base import Silent, Stopped, need
from instruments.drivers.mapped import MappedInstrument
from instruments.errors import InstrumentFault, LabError, Refused


class SilaInstrument(MappedInstrument):
    """Capabilities mapped onto properties and commands; see ``MappedInstrument``.

    Addresses are ``Feature.Property`` and ``Feature.Command`` as the server's feature definitions name them;
    ``arguments`` map the command's own names to parameters (``{Target: temperature_C}``), ``results`` name fields of
    its response. An observable command is followed until it is done. Properties are read-only: there is no ``write``.

    Settings beside those of ``MappedInstrument``:
        host, port: of the server.
        certificate: PEM file of the server's certificate or its authority.
        insecure: True speaks without encryption; for loopback only.
        poll_s: how often an observable command is looked at.
    """

    name = "SiLA device"

    def __init__(
        self,
        *,
        workdir: Path,
        host: str,
        port: int,
        capabilities: Mapping[str, Mapping[str, Any]],
        stop: Mapping[str, Any] | None = None,
        certificate: str = "",
        insecure: bool = False,
        poll_s: float = 0.2,
    ) -> None:
        super().__init__(workdir=workdir, capabilities=capabilities, stop=stop)
        if insecure and host not in ("127.0.0.1", "localhost", "::1"):
            raise LabError("insecure is for loopback only; give the server's certificate")
        if any(m.write for m in self.maps.values()) or self.stop_map.get("write"):
            raise LabError("SiLA properties cannot be written; call a command")
        self._library, self._framework = need("sila2.client", "sila"), need("sila2.framework", "sila")
        self.host, self.port, self.insecure, self.poll_s = host, port, insecure, poll_s
        try:
            self._certificate = Path(certificate).read_bytes() if certificate else None
        except OSError as error:
            raise LabError(f"cannot read the certificate {certificate} ({error})") from None
        self._client: Any = None
        self._said: Any = None  # the last response

    def read_value(self, address: str) -> Any:
        """Value of ``Feature.Property``."""
        return self._try(lambda client: _member(client, address).get())

    def write_value(self, address: str, value: Any) -> None:
        """There is no such thing in SiLA 2."""
        raise Refused(f"{address}: SiLA properties cannot be written")

    def invoke(self, address: str, arguments: Any, progress: Progress) -> Any:
        """Call ``Feature.Command`` and follow it to its end where it is observable."""
        named = arguments if isinstance(arguments, Mapping) else {}
        running = self._try(lambda client: _member(client, address)(**named))
        if not hasattr(running, "get_responses"):
            self._said = running
            return running
        while not self._try(lambda client: running.done):
            progress(float(running.progress or 0.0), f"{address}: {running.status}")
            self.wait(self.poll_s)
        self._said = self._try(lambda client: running.get_responses())
        return self._said

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """As ``MappedInstrument`` does; a response that itself says ``failed`` or ``fault`` is no success."""
        self._said = None
        outcome = super().act(job, given, progress)
        status, report = (str(getattr(self._said, name, "")) for name in ("Status", "Report"))
        if status == "fault":
            raise InstrumentFault(f"{self.host}:{self.port}: {report[:2_000]}")
        return (
            Outcome("failed", message=report[:2_000], duration_s=outcome.duration_s) if status == "failed" else outcome
        )

    def close(self) -> None:
        """Close the channel; the next exchange opens another."""
        client, self._client = self._client, None
        if client is not None:
            client._channel.close()

    def _try(self, call: Any) -> Any:
        with self.wire:
            try:
                if self._client is None:
                    self._client = self._library.SilaClient(
                        self.host, self.port, root_certs=self._certificate, insecure=self.insecure
                    )
                return call(self._client)
            except Stopped:
                raise
            except self._framework.SilaConnectionError as error:
                self.close()
                raise Silent(f"{self.host}:{self.port}: {error}; look at the server and the network") from None
            except self._framework.ValidationError as error:
                raise Refused(f"{self.host}:{self.port} refuses the value: {error}") from None
            except self._framework.SilaError as error:
                raise InstrumentFault(f"{self.host}:{self.port}: {type(error).__name__}: {error}") from None
            except (OSError, RuntimeError, ConnectionError) as error:
                self.close()
                raise Silent(f"{self.host}:{self.port}: {type(error).__name__}: {error}") from None


def _member(client: Any, address: str) -> Any:
    feature, _, member = address.partition(".")
    try:
        return getattr(getattr(client, feature), member)
    except AttributeError:
        raise Refused(f"the server has no {address}; write Feature.Property or Feature.Command") from None
