"""Serves one of our own instruments as a SiLA 2 device: ``python -m instruments.drivers.sila_server --help``."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from instruments.driver import Driver, Job, Outcome
from instruments.drivers.base import Notes, need
from instruments.errors import InstrumentError, LabError, Refused
from instruments.limits import violations

FEATURE = """<?xml version="1.0" encoding="utf-8" ?>
<Feature SiLA2Version="1.0" FeatureVersion="1.0" MaturityLevel="Draft" Originator="io.github.athanor" Category="lab"
 xmlns="http://www.sila-standard.org" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.sila-standard.org
 https://gitlab.com/SiLA2/sila_base/raw/master/schema/FeatureDefinition.xsd">
  <Identifier>AthanorInstrument</Identifier>
  <DisplayName>Athanor Instrument</DisplayName>
  <Description>One instrument. A command id is carried out at most once; asked again, its report comes.</Description>
  <Command>
    <Identifier>Run</Identifier><DisplayName>Run</DisplayName><Description>Carry out one command.</Description>
    <Observable>Yes</Observable>
    {parameters}
    <Response><Identifier>Report</Identifier><DisplayName>Report</DisplayName>
      <Description>JSON: status, readings, duration_s, message.</Description>
      <DataType><Basic>String</Basic></DataType></Response>
    <Response><Identifier>Status</Identifier><DisplayName>Status</DisplayName>
      <Description>ok, failed or fault.</Description><DataType><Basic>String</Basic></DataType></Response>
  </Command>
  <Command>
    <Identifier>Stop</Identifier><DisplayName>Stop</DisplayName>
    <Description>Go to the safe state at once.</Description><Observable>No</Observable>
  </Command>
  {properties}
</Feature>"""
PARAMETERS = {
    "CommandId": "Unique for ever.",
    "Capability": "One of the capabilities.",
    "Sample": "Id of the sample.",
    "Parameters": "JSON object.",
}
PROPERTIES = {"Capabilities": "JSON: name to limits, quantities, idempotent.", "Health": "JSON: quick facts."}


def serve_driver(
    driver: Driver, workdir: Path, *, name: str, host: str = "127.0.0.1", port: int = 50052, insecure: bool = False
) -> Any:
    """Start a SiLA 2 server for a driver and return it (``stop()`` ends it).

    Encrypted with a key made for this server; clients need ``WORKDIR/sila.pem``. What was begun is noted in ``workdir``
    before the driver is called, so a repeated command id is answered and never acts twice, across restarts too.

    Raises:
        LabError: sila2 is not installed, or an insecure server was asked for off loopback.
    """
    if insecure and host not in ("127.0.0.1", "localhost", "::1"):
        raise LabError("insecure is for loopback only")
    framework, library = need("sila2.framework", "sila"), need("sila2.server", "sila")
    notes, one = Notes(Path(workdir) / "sila-notes.json"), threading.Lock()
    feature = framework.Feature(_xml())

    class Implementation(library.FeatureImplementationBase):
        def get_Capabilities(self, *, metadata: Any) -> str:
            return json.dumps({c.name: _plain(asdict(c)) for c in driver.capabilities()})

        def get_Health(self, *, metadata: Any) -> str:
            return json.dumps(driver.health(), default=str)

        def Stop(self, *, metadata: Any) -> None:
            driver.stop()

        def Run(
            self, CommandId: str, Capability: str, Sample: str, Parameters: str, *, metadata: Any, instance: Any
        ) -> tuple[str, str]:
            if not one.acquire(blocking=False):
                raise Refused("busy with another command")
            try:
                instance.begin_execution()
                job = Job(CommandId, Capability, Sample, _object(Parameters), 0)

                def progress(fraction: float, message: str = "") -> None:
                    instance.progress = min(max(float(fraction), 0.0), 1.0)

                outcome = _once(driver, notes, job, progress)
            finally:
                one.release()
            report = {key: value for key, value in asdict(outcome).items() if key != "arrays"}
            return json.dumps(_plain(report)), outcome.status

    server = library.SilaServer(
        server_name=name, server_type="AthanorInstrument", server_description=f"Athanor instrument {name}",
        server_version="1.0", server_vendor_url="https://github.com/athanor",
    )  # fmt: skip
    server.set_feature_implementation(feature, Implementation(server))
    if insecure:
        server.start_insecure(host, port, enable_discovery=False)
    else:
        make = need("sila2.server.encryption", "sila").generate_self_signed_certificate
        key, certificate = make(server.server_uuid, host)
        (Path(workdir) / "sila.pem").write_bytes(certificate)
        server.start(host, port, key, certificate, enable_discovery=False)
    return server


def _once(driver: Driver, notes: Notes, job: Job, progress: Any) -> Outcome:
    if (earlier := notes.outcome(job.command_id)) is not None:
        return earlier
    if notes.get(job.command_id) is not None:
        found = driver.inspect(job)
        if found is None or found.status == "untouched":
            raise Refused(f"command {job.command_id} was begun before and its outcome is unknown; reconcile it")
        return found
    capability = next((c for c in driver.capabilities() if c.name == job.capability), None)
    if capability is None:
        return Outcome("failed", message=f"cannot {job.capability}; nothing was done")
    if found_wrong := violations(capability, job.parameters):
        return Outcome("failed", message=f"outside the limits, nothing was done: {'; '.join(found_wrong)}")
    notes.put(job.command_id, phase="begun")
    try:
        outcome = driver.run(job, progress)
    except Exception as error:
        outcome = Outcome("fault", message=f"{type(error).__name__}: {error}")
    notes.put(job.command_id, phase="done", outcome=asdict(outcome) | {"arrays": {}})
    return outcome


def _xml() -> str:
    def part(tag: str, name: str, text: str, extra: str = "") -> str:
        kind = "<DataType><Basic>String</Basic></DataType>"
        return (
            f"<{tag}><Identifier>{name}</Identifier><DisplayName>{name}</DisplayName>"
            f"<Description>{text}</Description>{extra}{kind}</{tag}>"
        )

    return FEATURE.format(
        parameters="".join(part("Parameter", name, text) for name, text in PARAMETERS.items()),
        properties="".join(
            part("Property", name, text, "<Observable>No</Observable>") for name, text in PROPERTIES.items()
        ),
    )


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Refused(f"Parameters is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refused("Parameters must be a JSON object")
    return found


def _plain(value: Any) -> Any:
    """JSON has neither infinity nor NaN: they become text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


def main(arguments: list[str] | None = None) -> int:
    """Serve a driver until interrupted. Returns 0, or 2 for wrong settings."""
    from instruments.registry import resolve_driver

    parser = argparse.ArgumentParser(prog="python -m instruments.drivers.sila_server", description="Serve a driver.")
    parser.add_argument("driver", help="a built-in name or package.module:Class")
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=50052)
    given = parser.parse_args(arguments)
    try:
        driver = resolve_driver(given.driver)(workdir=given.workdir, **given.settings)
        server = serve_driver(driver, given.workdir, name=given.driver, host=given.host, port=given.port)
    except (InstrumentError, TypeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"SiLA 2 on {given.host}:{given.port}; clients need {given.workdir / 'sila.pem'}")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        driver.stop()
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
