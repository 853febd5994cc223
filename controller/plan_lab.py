"""A route compiled for a lab: what its instruments announced, inside what its people allow."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from actors.orders import Offer, Recipe, compile_recipe
from controller.errors import AthanorError, CampaignError
from controller.lab import LabFile, load_lab, own_envelope
from controller.labdir import LabDirectory
from controller.offers import offer_of
from controller.rundir import RunDirectory
from controller.safety import narrowed
from instruments.errors import InstrumentError
from instruments.registry import resolve_driver
from models.route import Route


def compile_for(folder: Path, routes: Sequence[Route]) -> Recipe:
    """Return the best route that a lab can carry out, as steps; without steps and with the reason where there is none.

    Raises:
        CampaignError: no lab file there, a wrong one, or nothing is known of what its instruments can do.
    """
    return compile_recipe(list(routes), offers_of(folder))


def offers_of(folder: Path) -> tuple[Offer, ...]:
    """Return what a lab announced: in its last run, else what the drivers of its file say when asked.

    Instruments on other machines can only be asked by a run. Raises CampaignError like ``compile_for``.
    """
    file, _ = load_lab(folder)
    for run in reversed(LabDirectory(folder if folder.is_dir() else folder.parent).runs()):
        try:
            announced = RunDirectory(run).load().offers()
        except (AthanorError, OSError):
            continue
        if announced:
            return narrowed(file.safety, announced)
    offers = [offer for name in file.instruments for offer in _of_driver(file, name)]
    if not offers:
        raise CampaignError(f"{folder}: all instruments are on other machines and no run has asked them yet; run one")
    return tuple(offers)


def _of_driver(file: LabFile, name: str) -> tuple[Offer, ...]:
    instrument = file.instruments[name]
    if instrument.remote:
        return ()
    with tempfile.TemporaryDirectory() as workdir:
        try:
            driver = resolve_driver(instrument.driver)(workdir=Path(workdir), **instrument.settings)
            capabilities = driver.capabilities()
        except (InstrumentError, TypeError, ValueError, OSError) as error:
            raise CampaignError(
                f"instruments.{name}: {instrument.driver} cannot be asked what it can do: {error}"
            ) from error
    offers = [offer_of(capability) for capability in capabilities]
    return narrowed(own_envelope(file, file.safety, name), offers)
