"""`athanor lab init`, `lab check` and `lab host-config`: a lab's files, made and looked over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from controller.errors import CampaignError, RunStateError
from controller.lab import OPERATOR, LabFile, load_lab, own_envelope
from controller.labdir import LabDirectory
from controller.safety import Safety
from controller.source import Source
from instruments.errors import InstrumentError, LabError
from instruments.host_config import HostConfig
from instruments.keys import CONTROLLER, REGISTRY, create_lab_keys, load_registry, load_secret
from instruments.registry import resolve_driver
from instruments.transport import CHANNELS, Channel, address_of

_TEMPLATE = """\
# A lab for Athanor: its instruments, and what nobody may do with them, whatever a campaign asks for.
# A campaign uses it with `lab: path/to/this/folder`. Check it: athanor lab check {folder}
athanor_lab: 1
name: {name}
description: say where it stands and who answers for it

# Simulated instruments: replace them one by one. Every key of this file: docs/lab.md.
clock: simulated                  # wall for real instruments
instruments:
  furnace:
    driver: simulated.box_furnace
    # limits: {{sinter.temperature_C: {{high: 1100}}}}     # this one alone; inside the lab's own limits below
  diffractometer:
    driver: simulated.diffractometer
{remote}
# Where the controller listens; the stop channel takes the next port. Loopback, unless hosts run on other machines:
# listen: tcp://0.0.0.0:5570

# The safety envelope: checked when a recipe is compiled, before each command, and by each instrument's host.
safety:
  limits:                         # capability.parameter
    sinter.temperature_C: {{low: 20, high: 1500}}
    # sinter.ramp_C_per_min: {{high: 10}}     # what is limited must be given by every recipe
  allowed:                        # the only words that a parameter may be
    sinter.atmosphere: [air, O2, N2, Ar, vacuum]
  forbidden:
    elements: [Hg, Cd, Tl, As]
  # max: {{grams: 500}}             # each campaign may use so much

# What is decided without a person, only for what an instrument announces as idempotent: repeat, failed or discard.
policies:
  unknown: {{diffract: repeat}}
"""

_REMOTE = """\
  # {name}:                        # a host of its own on another machine: athanor lab host-config {folder} {name} ...
  #   driver: "my_package.drivers:MyDriver"
  #   settings: {{port: /dev/ttyUSB0}}
  #   remote: true
"""


def init_lab(
    folder: Path, *, hosts: Sequence[str] = (), operators: Sequence[str] = (), observers: Sequence[str] = ()
) -> list[str]:
    """Make a lab's folder: ``lab.yaml``, keys, registry. What is there already is kept, so more names can be added.

    Returns:
        Lines that say what was made and what to do next.

    Raises:
        CampaignError: a name that cannot be one, or is another role's; a lab file that is wrong.
    """
    lab = LabDirectory(folder)
    lines: list[str] = []
    if not lab.file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        remote = "".join(_REMOTE.format(name=name, folder=folder) for name in hosts)
        name = "".join(c if c.isalnum() or c in "_.-" else "-" for c in folder.resolve().name).strip("-._") or "lab"
        lab.file.write_text(_TEMPLATE.format(folder=folder, name=name[:64], remote=remote), encoding="utf-8")
        lines.append(f"wrote {lab.file}")
    instruments = list(load_lab(lab.file)[0].instruments)
    before = {entry.name for entry in load_registry(lab.keys).keys} if (lab.keys / REGISTRY).exists() else set()
    try:
        registry = create_lab_keys(
            lab.keys,
            list(dict.fromkeys([*instruments, *hosts])),
            operators=list(dict.fromkeys([OPERATOR, *operators])),
            observers=observers,
        )
    except LabError as error:
        raise CampaignError(str(error)) from error
    lines += [f"made {lab.keys / entry.name}.key ({entry.role})" for entry in registry.keys if entry.name not in before]
    lines += [
        f"{name} has a key and is not in {lab.file} yet: add it under instruments"
        for name in hosts
        if name not in instruments
    ]
    lines.append(f"next: athanor lab check {folder}, then `lab: {folder.resolve()}` in a campaign")
    return lines


def check_lab(folder: Path) -> list[str]:
    """Look a lab over. Returns lines that say what it is; raises CampaignError with a line a mistake."""
    lab = LabDirectory(folder)
    file, source = load_lab(lab.file)
    wrong: list[str] = []
    for name, instrument in file.instruments.items():
        if not instrument.remote:
            try:
                resolve_driver(instrument.driver)
            except InstrumentError as error:
                wrong.append(str(source.problem(("instruments", name), str(error))))
    wrong += _wrong_keys(lab, file, source)
    if wrong:
        raise CampaignError("\n".join(wrong))
    rows = [
        f"  {name:<16} {instrument.driver or 'its own driver'}{', on another machine' if instrument.remote else ''}"
        for name, instrument in file.instruments.items()
    ]
    people = [
        f"{entry.name} ({entry.role})"
        for entry in load_registry(lab.keys).keys
        if entry.role in ("operator", "observer")
    ]
    return [
        f"{lab.file}: ok. {file.name}: {len(file.instruments)} instruments, {file.clock} clock, {file.listen}",
        *rows,
        f"  people: {', '.join(people)}",
    ]


def _wrong_keys(lab: LabDirectory, file: LabFile, source: Source) -> list[str]:
    try:
        registry = load_registry(lab.keys)
        for name in (CONTROLLER, OPERATOR):
            load_secret(lab.keys, name)
    except LabError as error:
        return [f"{lab.keys}: {error}. `athanor lab init {lab.path}` makes what is missing."]
    hosts = {entry.name for entry in registry.keys if entry.role == "host"}
    return [
        str(source.problem(("instruments", name), f"it has no key. `athanor lab init {lab.path}` makes it."))
        for name in file.instruments
        if name not in hosts
    ]


def write_host_config(folder: Path, name: str, controller: str, out: Path | None = None) -> list[str]:
    """Write the file of a host on another machine; return lines that say what to copy there and how to start it.

    Args:
        folder: the lab's.
        name: of the instrument.
        controller: where the controller's work channel can be reached from there, e.g. ``tcp://lab-pc:5570``.
        out: where to write; ``NAME.json`` here by default.

    Raises:
        CampaignError: no such instrument, or an address that is none.
    """
    lab = LabDirectory(folder)
    file, _ = load_lab(lab.file)
    instrument = file.instruments.get(name)
    if instrument is None:
        raise CampaignError(f"{lab.file}: no instrument {name!r}; it knows {', '.join(file.instruments)}.")
    try:
        endpoints: dict[Channel, str] = {channel: address_of(channel, controller) for channel in CHANNELS}
        load_secret(lab.keys, name)
    except LabError as error:
        raise CampaignError(str(error)) from error
    if controller.endswith(":*"):
        raise CampaignError(f"{controller}: a host elsewhere needs the port that `listen` of {lab.file} says.")
    config = HostConfig(
        name=name,
        driver=instrument.driver or "my_package.drivers:MyDriver",
        settings=instrument.settings,
        envelope=own_envelope(file, Safety(), name),
        workdir=Path(name),
        keys=Path("keys"),
        endpoints=endpoints,
        linger_s=None,
    )
    path = out or Path(f"{name}.json")
    if path.exists():
        raise RunStateError(f"{path}: there already. Give another place with --out, or move it away.")
    path.write_text(config.model_dump_json(indent=1, exclude_none=False) + "\n", encoding="utf-8")
    lines = [
        f"wrote {path}: it belongs to {name}'s machine, with, beside it in keys/ (mode 0600, nothing else):",
        f"  {lab.keys / f'{name}.key'}",
        f"  {lab.keys / REGISTRY}",
        f"there: pip install athanor; athanor-host --config {path.name}",
    ]
    if not instrument.remote:
        lines.append(f"and say `remote: true` under instruments.{name} in {lab.file}, or it is started here as well")
    if file.listen.startswith(("tcp://127.", "tcp://localhost")):
        lines.append(f"and say `listen: tcp://0.0.0.0:5570` (or the like) in {lab.file}: it listens on loopback only")
    return lines
