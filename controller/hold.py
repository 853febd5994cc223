"""A controller's hold on a lab: the host processes that it keeps alive, and the dispatcher that speaks with them."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller import events as ev
from controller.campaign import Campaign, expand_path
from controller.dispatcher import Dispatcher, InstrumentInfo
from controller.errors import CampaignError, LabNeedsPerson
from controller.hosts import HostSpec, LocalHosts
from controller.lab import OPERATOR, own_envelope
from controller.labdir import LabDirectory
from controller.locks import Holder
from controller.offers import offer_of
from controller.optimal import NOT_INSTALLED, solver_version
from controller.safety import unknown_names
from controller.science import measured_names
from controller.state import State
from controller.stopper import OnStop
from instruments.keys import create_lab_keys
from models.quantities import derived_names
from models.spaces.spec import TableSpec

log = logging.getLogger(__name__)

SUPERVISE_S = 0.25
OLD_HOSTS_END_S = 10.0
"""How long a host that still runs with older settings may take to finish and end."""


class Hold:
    """The hosts and the dispatcher of one controller.

    Args:
        lab: the lab's directory.
        campaign: whose ``lab`` section says which instruments there are.
        base_dir: where the campaign's relative paths start.
        lab_dir: where those of the lab section start.
        mine: who we are, with our epoch, as the lease says.
        on_event, on_stop: see ``Dispatcher`` and ``LocalHosts``.
    """

    def __init__(
        self,
        lab: LabDirectory,
        campaign: Campaign,
        base_dir: Path,
        lab_dir: Path,
        mine: Holder,
        *,
        on_event: Callable[[str, str, str], None],
        on_stop: OnStop,
    ) -> None:
        self._campaign = campaign
        instruments = campaign.lab.instruments
        create_lab_keys(lab.keys, list(instruments), operators=[OPERATOR])
        self.remote = {name for name, instrument in instruments.items() if instrument.remote}
        specs = [
            HostSpec(
                name,
                instrument.driver,
                host_settings(campaign, name, base_dir, lab_dir, lab.world),
                own_envelope(campaign.lab, campaign.safety, name),
                instrument.process,
            )
            for name, instrument in instruments.items()
            if not instrument.remote
        ]
        self.hosts = LocalHosts(lab.path, specs, keys=lab.keys, endpoint_file=lab.endpoint_file, on_event=on_event)
        self.dispatcher = Dispatcher(
            keys=lab.keys,
            epoch=mine["epoch"],
            endpoint_file=lab.endpoint_file,
            address=campaign.lab.listen,
            loss_timeout_s=campaign.lab.timeout_s,
            on_event=on_event,
            on_stop=on_stop,
            about=mine,
        )
        self._outdated: list[str] = []

    @property
    def instruments(self) -> dict[str, InstrumentInfo]:
        """What the dispatcher knows now, for the display."""
        return self.dispatcher.instruments

    async def start(self) -> None:
        """Open the sockets and start the hosts. Raises LabError."""
        await self.dispatcher.start()
        self._outdated = [name for name, how in self.hosts.start().items() if how == "outdated"]

    async def connected(self) -> None:
        """Wait until every instrument is there, with the settings of now. Raises LabError, LabNeedsPerson."""
        lab = self._campaign.lab
        if self._outdated:
            await self.dispatcher.wait_for(self._outdated, lab.timeout_s)
            for name in self._outdated:
                await self.dispatcher.release(name)
            busy = await asyncio.to_thread(self.hosts.wait_for_end, self._outdated, OLD_HOSTS_END_S)
            if busy:
                raise LabNeedsPerson(
                    f"still working under an older lab file: {', '.join(busy)}. Each ends by itself when it has "
                    "finished; then resume."
                )
            self.hosts.start()
            for name in self._outdated:
                self.instruments[name].connected = False
        await self.dispatcher.wait_for(list(lab.instruments), lab.timeout_s)

    async def supervise(self, ready: Callable[[], bool], look: Callable[[], None]) -> None:
        """Keep the hosts alive, and notice a stop that is not our doing; for ever."""
        while True:
            await asyncio.sleep(SUPERVISE_S)
            self.hosts.supervise()
            if ready():
                await self.stop_if_latched()
            look()

    async def stop_if_latched(self) -> None:
        """One instrument that is latched in a stop of which the journal does not know stops the whole lab."""
        latched = [name for name, info in self.instruments.items() if info.stopped]
        if latched and not self.dispatcher.stopping:
            await self.dispatcher.stop_all("its host says that an emergency stop is latched", by=latched[0])

    async def reset(self, who: str, reason: str) -> tuple[str, ...]:
        """Tell the instruments that are still latched what a person has said; returns which. Raises LabError."""
        latched = sorted(name for name, info in self.instruments.items() if info.stopped)
        for name in latched:
            await self.dispatcher.reset(name, who=who[:200], reason=reason, timeout_s=30.0)
        return tuple(latched)

    async def close(self, *, finished: bool, fenced: bool) -> None:
        """Let go. Hosts on this machine end; those elsewhere wait, and so do all where another has taken the lab."""
        await self.dispatcher.close(release=not fenced, spare=self.remote)
        if fenced:
            self.hosts.leave()
        else:
            await asyncio.to_thread(self.hosts.terminate, grace_s=0.0 if finished else 10.0)

    def announcements(self, state: State) -> list[ev.Event]:
        """What instruments offer, as events, where it is new."""
        events: list[ev.Event] = []
        for name, info in sorted(self.instruments.items()):
            offers = tuple(offer_of(c) for c in sorted(info.capabilities.values(), key=lambda c: c.name))
            known = state.instruments.get(name)
            if known is None or tuple(known.offers.values()) != offers:
                events.append(ev.InstrumentAnnounced(instrument=name, driver=info.driver, offers=offers))
        return events

    def check(self) -> None:
        """Say before the first command what would go wrong later. Raises CampaignError.

        A quantity that no instrument reports would cost the whole budget, a limit with a slip of the pen would leave a
        door open, and a policy for an act that cannot be done twice would do harm.
        """
        campaign = self._campaign
        if campaign.lab.scheduler == "optimal" and not solver_version():
            raise CampaignError(f"lab.scheduler: optimal. {NOT_INSTALLED}; or say auto or plain.")
        offers = {
            name: list(info.capabilities.values())
            for name, info in self.instruments.items()
            if name in campaign.lab.instruments
        }
        everything = [c for capabilities in offers.values() for c in capabilities]
        if unknown := unknown_names(campaign.safety, [c.name for c in everything]):
            raise CampaignError(f"safety: no instrument offers what {', '.join(unknown)} names; correct the name.")
        for name, instrument in campaign.lab.instruments.items():
            if unknown := unknown_names(instrument, [c.name for c in offers.get(name, [])]):
                raise CampaignError(
                    f"lab.instruments.{name}: it does not offer what {', '.join(unknown)} names; correct the name."
                )
        for capability in campaign.lab.policies.unknown:
            twice = [c.idempotent for c in everything if c.name == capability]
            if not twice or not all(twice):
                why = "does harm when it is done twice" if twice else "is offered by no instrument"
                raise CampaignError(
                    f"policies.unknown.{capability}: {capability} {why}; a policy may decide only where every "
                    "instrument announces it as idempotent. Remove the line: a person will be asked."
                )
        if not all(c.quantities for c in everything):
            return  # somebody does not say what it reports
        offered = sorted({name for c in everything for name in c.quantities})
        for name in measured_names(campaign):
            if name not in offered and name not in derived_names():
                near = difflib.get_close_matches(name, offered, n=1)
                fix = f"Did you mean {near[0]!r}?" if near else f"They report: {', '.join(offered)}."
                raise CampaignError(f"{campaign.name}: no instrument reports {name!r}. {fix}")


def host_settings(campaign: Campaign, name: str, base_dir: Path, lab_dir: Path, world: Path) -> dict[str, Any]:
    """The settings that a driver is given: the file's own, with paths resolved and the obvious filled in."""
    instrument = campaign.lab.instruments[name]
    settings = dict(instrument.settings)
    if "file" in settings:
        settings["file"] = str(expand_path(settings["file"], lab_dir).resolve())
    if instrument.driver.startswith("simulated."):
        settings.setdefault("world", str(world.resolve()))
    if instrument.driver == "table" and isinstance(campaign.space, TableSpec):
        settings.setdefault("file", str(expand_path(campaign.space.file, base_dir).resolve()))
        settings.setdefault("quantities", list(measured_names(campaign)))
        if isinstance(campaign.space.parameters, list):
            columns = [*campaign.space.parameters, *filter(None, [campaign.space.composition])]
            settings.setdefault("parameters", list(dict.fromkeys(columns)))
    if instrument.driver == "function":
        settings.setdefault("quantities", list(measured_names(campaign)))
        where, _, attribute = str(settings.get("function", "")).rpartition(":")
        if where.endswith(".py"):
            settings["function"] = f"{expand_path(where, lab_dir).resolve()}:{attribute}"
    return settings
